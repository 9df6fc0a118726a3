"""Sequences of arrays: made, taken apart, joined, where their length is known while the model is read.

The one idea: a sequence is a list here (`Sequenced`, held.py) and vanishes; the arrays in it are values as all others.
One that is an input or output of the model is refused.
"""

from __future__ import annotations

import numpy as np

from ..held import Held, Refused, Sequenced
from ..node import Step, reads


@reads("SequenceEmpty", "SequenceConstruct")
def _construct(s: Step) -> Sequenced:
    return Sequenced(s.all)


@reads("SequenceLength")
def _length(s: Step) -> Held:
    return s.builder.known(np.array(len(s.items(0)), np.int64))


def _place(s: Step, index: int, count: int) -> int:
    """A place among `count`, counted from the end where it is negative."""
    at = int(s.number(index))
    if not -count <= at < count:
        raise Refused(f"there is no place {at} among {count}")
    return at % count


@reads("SequenceAt")
def _at(s: Step) -> Held:
    items = s.items(0)
    return items[_place(s, 1, len(items))]


@reads("SequenceInsert")
def _insert(s: Step) -> Sequenced:
    items = list(s.items(0))
    at = len(items)
    if s.maybe(2) is not None and int(s.number(2)) != at:
        at = _place(s, 2, at)
    return Sequenced([*items[:at], s.input(1), *items[at:]])


@reads("SequenceErase")
def _erase(s: Step) -> Sequenced:
    items = s.items(0)
    at = _place(s, 1, len(items)) if s.maybe(1) is not None else len(items) - 1
    return Sequenced([*items[:at], *items[at + 1 :]])


@reads("ConcatFromSequence")
def _concat(s: Step) -> Held:
    items = s.items(0)
    if not items:
        raise Refused("its sequence is empty")
    rank = items[0].rank
    if s.get("new_axis", 0):
        return s.call("stack", *items, axis=s.axis(s.get("axis", 0), rank + 1))
    return s.call("Concat", *items, dim=s.axis(s.get("axis", 0), rank))


@reads("SplitToSequence")
def _split(s: Step) -> Sequenced:
    axis, given = s.axis(s.get("axis", 0), s.x.rank), s.maybe(1)
    size = s.x.size(axis)
    if given is None:
        widths = [1] * s.affordable(size)
    elif given.rank == 0:
        width = int(s.number(1))
        if width < 1:
            raise Refused(f"parts of {width} are not possible")
        widths = [min(width, size - begin) for begin in range(0, s.affordable(size), width)]
    else:
        widths = [int(n) for n in s.value(1)]
    if sum(widths) != size or any(n < 0 for n in widths):
        raise Refused(f"parts of {widths} do not make {size}")
    parts, begin = list[Held](), 0
    for width in widths:
        part = s.call("slice_axis", s.x, axis=axis, begin=begin, end=begin + width)
        if given is None and not s.get("keepdims", 1):
            part = s.reshape(part, [shape[:axis] + shape[axis + 1 :] for shape in part.shapes])
        parts.append(part)
        begin += width
    return Sequenced(parts)
