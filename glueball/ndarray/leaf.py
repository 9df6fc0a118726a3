"""What `attach_grad` adds to an array: the gradient array, what to do with new gradients, and whether one is fresh.

The one idea: the array's tensor becomes a leaf of torch's tape; a hook takes each gradient out of torch's `.grad` the
moment it is complete and puts it into the array that the user holds, which stays the same object. `write` swaps the
storage in (no copy), `add` adds.
"""
from __future__ import annotations

from typing import Any, final

import torch

from ..base.aten import is_symbolic_zero, shares_memory

__all__ = ["Leaf"]


@final
class Leaf:
    """Gradient state of one array. `fresh` is set by backward and cleared by whoever used the gradient (Trainer)."""

    __slots__ = ("grad", "req", "fresh", "_hook")

    def __init__(self, tensor: torch.Tensor, grad: Any, req: str) -> None:
        self.grad = grad
        self.req = req
        self.fresh = False
        self._hook = tensor.register_post_accumulate_grad_hook(self.receive)

    def receive(self, tensor: torch.Tensor) -> None:
        """Take a complete gradient over from torch."""
        gradient = tensor.grad
        tensor.grad = None
        if gradient is None:
            return
        if is_symbolic_zero(gradient):
            gradient = torch.zeros_like(tensor)
        if self.req == "add":
            self.grad._t.add_(gradient)
        else:
            self.grad._t = gradient.clone() if shares_memory(gradient) else gradient
        self.fresh = True

    def release(self) -> None:
        """Detach from the tensor."""
        self._hook.remove()
