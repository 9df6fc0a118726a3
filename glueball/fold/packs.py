"""Products of our own: weights put in order once per scope (product.h), and gradients of weights (outer.h).

The one idea: bringing a weight into the order that the inner loop of a product reads costs about as much as a product
with three rows. A scope multiplies by the same weight level after level, so it pays as soon as there are a few groups;
before that, products are called in the library that torch uses. A weight that is written to is packed anew. The
gradient of a weight is a product of the same kind, with inputs as the weight; there it pays from a few columns on.

Not here: the products (runner.c), which gradients there are (functions.py).
"""
from __future__ import annotations

from typing import Any, final

import torch

from ..executor.native import machine
from .core import compiled

__all__ = ["Packs", "add_outer"]

Tensor = torch.Tensor
_ENOUGH = 24  # rows, from which on packing pays; a group counts as at least _GROUP of them
_GROUP = 8
_NARROW = 24  # columns, below which one side of a gradient of a weight is left to torch


@final
class Packs:
    """The packed weights of a scope."""

    __slots__ = ("_held", "_seen", "_width")

    def __init__(self) -> None:
        self._held: dict[tuple[Any, ...], tuple[int, Tensor, Tensor]] = {}  # (version, weight, packed)
        self._seen: dict[tuple[Any, ...], int] = {}
        self._width = -1

    def address(self, weight: Tensor, low: int, high: int, across: bool, rows: int, groups: int) -> int:
        """Return where rows low to high of a weight lie in order, or 0 while that does not pay.

        Parameters
        ----------
        across : for products with the weight, rather than with its transpose
        rows, groups : how many rows will be multiplied, in so many groups
        """
        # the same memory may be weights of several shapes: reshape and slices share it
        key = (weight.data_ptr(), weight.dtype, weight.shape[1], low, high, across)
        held = self._held.get(key)
        if held is not None and held[0] == weight._version:
            return held[2].data_ptr()
        seen = self._seen[key] = self._seen.get(key, 0) + max(rows, _GROUP * groups)
        if seen < _ENOUGH:
            return 0
        packed = self._packed(weight, low, high, across)
        if packed is None:
            return 0
        self._held[key] = weight._version, weight, packed
        return packed.data_ptr()

    def _packed(self, weight: Tensor, low: int, high: int, across: bool) -> Tensor | None:
        runner: Any = compiled("runner")
        if self._width < 0:
            self._width = runner.panel_width()
        if not self._width or high == low:
            return None
        words = machine()
        assert words is not None  # somebody is about to run groups
        width, step = self._width // weight.itemsize, weight.shape[1]
        inner, columns = (high - low, step) if across else (step, high - low)
        packed = weight.new_empty(-(-columns // width) * width * inner, requires_grad=False)
        runner.pack(words.buffer_info()[0], weight.data_ptr() + low * step * weight.itemsize, step, across, inner,
                    columns, packed.data_ptr(), weight.dtype is torch.float64)
        return packed


def add_outer(grads: Tensor, rows: Tensor, target: Tensor, add: bool, sums: Tensor | None) -> bool:
    """Compute a weight's gradient, and those of a bias; False where that is better done by torch.

    Parameters
    ----------
    grads, rows
        (calls, outputs) and (calls, inputs).
    target
        (outputs, inputs), for gradsᵀ · rows; `add`: to what is there.
    sums
        (outputs,), to which the sums of the columns of `grads` are added.
    """
    runner, words = compiled("runner"), machine()
    count, (height, width) = len(rows), target.shape
    if runner is None or words is None or not runner.panel_width() or not count or min(height, width) < _NARROW:
        return False
    if rows.dtype not in (torch.float32, torch.float64) or not rows.is_cpu:
        return False
    if any(tensor.stride(1) != 1 or tensor.dtype is not rows.dtype for tensor in (grads, rows, target)):
        return False
    panel = runner.panel_width() // rows.itemsize
    packed = rows.new_empty(count * (-(-width // panel) * panel))
    runner.outer(words.buffer_info()[0], count, grads.data_ptr(), grads.stride(0), height, rows.data_ptr(),
                 rows.stride(0), width, target.data_ptr(), target.stride(0), 0 if sums is None else sums.data_ptr(),
                 packed.data_ptr(), add, rows.dtype is torch.float64)
    return True
