"""Indexing of traced symbols: `x[0]`, `x[:, 1:3]`, `x[..., None]` inside a hybridized forward become slicing
operators.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..base.errors import TraceError, explain
from ..ops.opdef import lookup
from .symbol import Symbol

__all__ = ["read"]


def read(symbol: Symbol, key: Any) -> Symbol:
    """Return the part of a traced value that a basic index selects."""
    parts = key if isinstance(key, tuple) else (key,)
    shape = symbol.shape
    used = sum(1 for p in parts if p is not None and p is not Ellipsis)
    expanded: list[Any] = []
    for part in parts:
        expanded += [slice(None)] * (len(shape) - used) if part is Ellipsis else [part]
    expanded += [slice(None)] * (len(shape) - sum(1 for p in expanded if p is not None))
    begin: list[Any] = []
    end: list[Any] = []
    step: list[Any] = []
    result: list[int] = []
    axis = 0
    for part in expanded:
        if part is None:
            result.append(1)
            continue
        size = shape[axis]
        if isinstance(part, slice):
            start, stop, stride = part.indices(size)
            begin.append(part.start if stride < 0 else _from_the_end(part.start, size, start))
            end.append(part.stop if stride < 0 or part.stop is None else _from_the_end(part.stop, size, stop))
            step.append(stride)
            result.append(len(range(start, stop, stride)))
        elif isinstance(part, (int, np.integer)) and not isinstance(part, bool):
            if not -size <= part < size:
                raise IndexError(f"index {part} is out of bounds for axis {axis} with size {size}")
            index = int(part)
            begin.append(index)
            end.append(index + 1 if index != -1 else None)
            step.append(1)
        elif isinstance(part, Symbol) and len(parts) == 1:
            return lookup("take")(symbol, part, axis=0)
        else:
            raise TraceError(explain("x[key]",
                                     "Inside a hybridized block a key consists of ints, slices, None and Ellipsis.",
                                     received=repr(part), fix="use take, gather_nd, pick or where"))
        axis += 1
    out = symbol
    if any(b not in (0, None) or e not in (n, None) or s != 1 for b, e, s, n in zip(begin, end, step, shape)):
        out = lookup("slice")(out, begin=tuple(begin), end=tuple(end), step=tuple(step))
    target = tuple(result) or (1,)
    if target == shape and len(expanded) == len(shape):
        return out
    if 0 in target:  # which would be a code
        return lookup("_reshape_to")(out, shape=target)
    kept = next((i for i, part in enumerate(expanded) if not isinstance(part, slice)), len(expanded))
    return lookup("Reshape")(out, shape=(0,) * kept + target[kept:])  # 0: whatever that size is, as a batch may grow


def _from_the_end(given: Any, size: int, found: int) -> int:
    """The edge of a slice, still counted from the end where it was given so: the graph then fits other sizes."""
    return int(given) if given is not None and -size <= given < 0 else found
