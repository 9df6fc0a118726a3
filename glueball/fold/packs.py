"""Weights put in order for products of few rows (product.h), once per scope.

The one idea: bringing a weight into the order that the inner loop of a product reads costs about as much as a product
with three rows. A scope multiplies by the same weight level after level, so it pays as soon as there are a few groups;
before that, products are called in the library that torch uses. A weight that is written to is packed anew.

Not here: the products (runner.c).
"""
from __future__ import annotations

from typing import Any, final

import torch

from ..executor.native import machine
from .core import compiled

__all__ = ["Packs"]

Tensor = torch.Tensor
_ENOUGH = 24  # rows, from which on packing pays; a group counts as at least _GROUP of them
_GROUP = 8


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
