"""Sequences of different lengths: SequenceMask, SequenceLast, SequenceReverse.

The one idea: steps are compared with the lengths along the time axis; without lengths the operators are plain slices.
"""

from __future__ import annotations

from ..call import Call, rule


def _steps(c: Call, axis: int) -> str:
    """0, 1, 2 … along the time axis, (T, 1) or (1, T)."""
    size = c.op("Squeeze", c.sizes([c.shape()[axis]]))
    count = c.op("Range", c.const(0, "int64"), size, c.const(1, "int64"))
    return c.op("Unsqueeze", count, c.ints(1 - axis))


def _lengths(c: Call, axis: int) -> str:
    """The lengths as (1, N) or (N, 1)."""
    return c.op("Unsqueeze", c.cast(c.ins[1], "int64", c.dtype(1)), c.ints(axis))


def _widened(c: Call, value: str) -> str:
    """(T, N) with axes of one for the features."""
    return c.op("Unsqueeze", value, c.ints(*range(2, c.rank()))) if c.rank() > 2 else value


@rule("SequenceMask")
def _mask(c: Call) -> str:
    if not c["use_sequence_length"]:
        return c.op("Identity", c.x)
    axis = c["axis"]
    inside = _widened(c, c.op("Less", _steps(c, axis), _lengths(c, axis)))
    return c.op("Where", inside, c.x, c.const(c["value"]))


@rule("SequenceLast")
def _last(c: Call) -> str:
    axis = c["axis"]
    if not c["use_sequence_length"]:
        return c.op("Gather", c.x, c.const(-1, "int64"), axis=axis)
    place = c.op("Sub", _lengths(c, axis), c.const(1, "int64"))
    shape = [1 if a == axis else size for a, size in enumerate(c.shape())]
    places = c.op("Expand", _widened(c, place), c.sizes(shape))
    return c.op("Squeeze", c.op("GatherElements", c.x, places, axis=axis), c.ints(axis))


@rule("SequenceReverse")
def _reverse(c: Call) -> str:
    if not c["use_sequence_length"]:
        return c.slice(c.x, 0, -1, None, -1)
    steps, ends = _steps(c, 0), _lengths(c, 0)
    turned = c.op("Sub", c.op("Sub", ends, c.const(1, "int64")), steps)
    places = c.op("Where", c.op("Less", steps, ends), turned, steps)
    return c.op("GatherElements", c.x, c.op("Expand", _widened(c, places), c.sizes(c.shape())), axis=0)
