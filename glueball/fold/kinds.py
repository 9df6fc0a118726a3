"""Kinds: what is known of a value before it is computed, interned so that comparing two is `is`.

The one idea: values are stored as rows of one tensor per Pool (device, dtype, shape of a row). A value of two or more
axes takes one row per element of its first axis; a vector or scalar takes one row, or, where its length differs from
sample to sample (`ragged`), one row per element. So (1, H) and (H,) share a pool, and `x[i:i+1]` of a matrix is only
another row number.

Not here: the tensors (arena.py).
"""
from __future__ import annotations

from math import prod
from typing import Any, final

from ..ops.opdef import TensorType

__all__ = ["Kind", "Pool", "kind_of", "kind_of_type", "NO_CHILDREN"]

NO_CHILDREN = object()  # stands for an empty list in the key of a call


@final
class Pool:
    """A family of rows that are stored together. used: how many rows the latest scope had, see arena.py."""

    __slots__ = ("ctx", "dtype", "rest", "floating", "used")

    def __init__(self, ctx: Any, dtype: Any, rest: tuple[int, ...]) -> None:
        self.ctx, self.dtype, self.rest = ctx, dtype, rest
        self.floating: bool = dtype.is_floating_point
        self.used = 0

    def __repr__(self) -> str:
        return f"<rows {self.rest} {str(self.dtype).removeprefix('torch.')} {self.ctx}>"


@final
class Kind:
    """Device, dtype and shape of one value, and how it lies in its pool.

    rows : how many rows it takes; ragged : whether calls that differ only in that number may be run together;
    size : how many elements it has; children, outside : stand for a list of such values, and for such an array from
    outside, in the keys of calls. A vector from outside may be stored element by element, one of the scope lies already
    """

    __slots__ = ("ctx", "dtype", "shape", "size", "pool", "rows", "ragged", "children", "outside", "_parts")

    def __init__(self, ctx: Any, dtype: Any, shape: tuple[int, ...], ragged: bool) -> None:
        self.ctx, self.dtype, self.shape, self.size = ctx, dtype, shape, prod(shape)
        rows_apart = len(shape) >= 2 or ragged
        self.rows: int = shape[0] if rows_apart and len(shape) > 0 else 1
        self.ragged = rows_apart and (ragged or self.rows != 1)
        self.pool = _pool(ctx, dtype, tuple(shape[1:]) if rows_apart else shape)
        self.children = object()
        self.outside: Any = object() if len(shape) == 1 else self
        self._parts: dict[int, Kind] = {}

    def part(self, rows: int) -> Kind:
        """Return the kind of so many rows of a value of this kind; -1: of one row, without its axis."""
        found = self._parts.get(rows)
        if found is None:
            rest = self.shape[1:]
            found = self._parts[rows] = kind_of(self.ctx, self.dtype, rest if rows < 0 else (rows, *rest))
        return found

    def __repr__(self) -> str:
        return f"<{self.shape} {str(self.dtype).removeprefix('torch.')} {self.ctx}>"


_pools: dict[tuple[Any, Any, tuple[int, ...]], Pool] = {}
_kinds: dict[tuple[Any, Any, tuple[int, ...], bool], Kind] = {}


def _pool(ctx: Any, dtype: Any, rest: tuple[int, ...]) -> Pool:
    key = (ctx, dtype, rest)
    found = _pools.get(key)
    if found is None:
        found = _pools[key] = Pool(ctx, dtype, rest)
    return found


def kind_of(ctx: Any, dtype: Any, shape: tuple[int, ...], ragged: bool = False) -> Kind:
    """Return the kind of a value; `ragged` vectors are stored element by element."""
    key = (ctx, dtype, tuple(shape), ragged)
    found = _kinds.get(key)
    if found is None:
        found = _kinds[key] = Kind(ctx, dtype, tuple(shape), ragged)
    return found


def kind_of_type(ctx: Any, of: TensorType, ragged: bool = False) -> Kind:
    """Return the kind of a result; `ragged`: as a vector it is stored element by element."""
    shape: tuple[int, ...] = of.shape  # type: ignore[assignment]  # types of recorded calls are complete
    return kind_of(ctx, of.dtype, shape, ragged and len(shape) == 1)
