"""Function: an operation whose gradient the user writes.

The one idea: forward runs unrecorded on NDArrays, one node goes on the tape, and backward is called with the output
gradients when the tape comes to it.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..base.errors import AutogradError, explain
from ..base.modes import RECORDING
from ..dispatch import CURRENT
from ..ndarray.ndarray import NDArray
from .scope import pause

__all__ = ["Function"]


class Function:
    """Base of user-defined differentiable functions: write `forward` and `backward`, call the instance.

    >>> from glueball import autograd, nd
    >>> class Sigmoid(autograd.Function):
    ...     def forward(self, x):
    ...         y = 1 / (1 + nd.exp(-x))
    ...         self.save_for_backward(y)
    ...         return y
    ...     def backward(self, dy):
    ...         y, = self.saved_tensors
    ...         return dy * y * (1 - y)
    >>> x = nd.zeros((1,)); x.attach_grad()
    >>> with autograd.record():
    ...     y = Sigmoid()(x)
    >>> y.backward(); x.grad.item()
    0.25
    """

    def __init__(self) -> None:
        self._used = False
        self.saved_tensors: tuple[Any, ...] = ()

    def save_for_backward(self, *args: Any) -> None:
        """Keep arrays for backward, where they are `self.saved_tensors`."""
        self.saved_tensors = args

    def forward(self, *inputs: Any) -> Any:
        """Compute the result(s). Written by the user."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(self, *inputs)")

    def backward(self, *output_grads: Any) -> Any:
        """Compute one gradient per input from one gradient per output. Written by the user."""
        raise NotImplementedError(f"{type(self).__name__} must define backward(self, *output_grads)")

    def __call__(self, *inputs: NDArray) -> Any:
        if getattr(self, "_used", False):
            raise AutogradError(explain(type(self).__name__, "A Function instance serves one call.",
                                        fix="make a new instance for each call"))
        self._used = True
        with pause(train_mode=True):
            result = self.forward(*[x.detach() for x in inputs])
        many = isinstance(result, (list, tuple))
        results = list(result) if many else [result]
        if RECORDING.get() and any(x._t.requires_grad for x in inputs):
            context = inputs[0]._ctx
            tensors = _Node.apply(self, [r._t.detach() for r in results], context, *[x._t for x in inputs])
            results = [NDArray._wrap(t, context) for t in tensors]
        return results if many else results[0]


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Function, results: Sequence[torch.Tensor], context: Any,
                *inputs: torch.Tensor) -> Any:
        ctx.function, ctx.context, ctx.count = function, context, len(inputs)
        return tuple(t.view_as(t) if any(t.data_ptr() == x.data_ptr() for x in inputs) else t for t in results)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        token, current = RECORDING.set(torch.is_grad_enabled()), CURRENT.set(None)  # also inside a scope: run at once
        try:
            found = ctx.function.backward(*[NDArray._wrap(g, ctx.context) for g in grads])
        finally:
            CURRENT.reset(current)
            RECORDING.reset(token)
        found = list(found) if isinstance(found, (list, tuple)) else [found]
        if len(found) != ctx.count:
            raise AutogradError(explain(type(ctx.function).__name__, "backward must return one gradient per input.",
                                        expected=ctx.count, received=len(found)))
        return (None, None, None, *(None if g is None else g._t for g in found))
