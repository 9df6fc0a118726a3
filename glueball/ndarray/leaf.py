"""What `attach_grad` adds to an array: the gradient array, what to do with new gradients, and whether one is fresh.

The one idea: the array's tensor becomes a leaf of torch's tape; a hook takes each gradient out of torch's `.grad` the
moment it is complete and puts it into the array that the user holds, which stays the same object. `write` swaps the
storage in (no copy), `add` adds.

A tensor that is a `torch.nn.Parameter` at the same time (gluon/torch_link.py) keeps its `.grad`: both names are then
one memory. Whose rules a gradient follows is decided by who runs the pass: in ours (`PASSES`) `write` overwrites;
in torch's own passes gradients add up until somebody sets them to zero.
"""
from __future__ import annotations

from threading import get_ident
from typing import Any, final
from weakref import ref

import torch

from ..base.aten import is_symbolic_zero, shares_memory

__all__ = ["Leaf", "PASSES"]

# Threads that are inside a backward pass of ours. The engine serves GPUs on threads of its own, which are not here: for
# their tensors any pass of ours counts.
PASSES: set[int] = set()


@final
class Leaf:
    """Gradient state of one array. `fresh` is set by backward and cleared by whoever used the gradient (Trainer)."""

    __slots__ = ("grad", "req", "fresh", "shared", "tensor", "_hooks")

    def __init__(self, tensor: torch.Tensor, grad: Any, req: str, shared: bool = False) -> None:
        self.grad = grad
        self.req = req
        self.fresh = False
        self.shared = shared
        self.tensor = ref(tensor)  # the tensor holds the hooks
        self._hooks = (tensor.register_post_accumulate_grad_hook(self.show if shared else self.receive),)
        if shared:
            self._hooks += (tensor.register_hook(_Overwrite(self)),)

    def receive(self, tensor: torch.Tensor) -> None:
        """Take a complete gradient over from torch."""
        gradient = tensor.grad
        tensor.grad = None
        if gradient is None:
            return
        if is_symbolic_zero(gradient):
            gradient = torch.zeros_like(tensor)
        self.take(gradient)

    def take(self, gradient: torch.Tensor, others: bool = False) -> None:
        """Take a complete gradient; a copy of it where others have it, or a part of its memory."""
        if not self._hooks:  # the array has another leaf by now
            return
        if self.req == "add":
            self.grad._t.add_(gradient)
        else:
            self.grad._t = gradient.clone() if others or shares_memory(gradient) else gradient
        self.fresh = True

    def show(self, tensor: torch.Tensor) -> None:
        """Show the gradient that torch keeps, in its own memory."""
        gradient = tensor.grad
        if gradient is None:
            return
        if gradient is not self.grad._t:
            if is_symbolic_zero(gradient):
                gradient = tensor.grad = torch.zeros_like(tensor)
            elif shares_memory(gradient):
                gradient = tensor.grad = gradient.clone()
            self.grad._t = gradient
        self.fresh = True

    def release(self) -> None:
        """Detach from the tensor."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = ()


@final
class _Overwrite:
    """Called before a gradient is added to a shared tensor's: in a pass of ours `write` takes the old one away."""

    __slots__ = ("_leaf",)

    def __init__(self, leaf: Leaf) -> None:
        self._leaf = leaf

    def __call__(self, gradient: torch.Tensor) -> None:
        tensor = self._leaf.tensor()
        if tensor is not None and self._leaf.req == "write" and (
            get_ident() in PASSES or (PASSES and not tensor.is_cpu)
        ):
            tensor.grad = None
