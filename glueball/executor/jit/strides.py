"""Arrays whose axes lie in any order: what a transposed array is before anybody needs its elements in order.

The one idea: axes are (size, stride) pairs in the order of the value; a reshape changes nothing, a transpose moves
pairs, and a product of many matrices reads its factors where they lie.

Not here: the copy that puts elements in order (build.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

from .units import Buffer, Shape, Stored

__all__ = ["Strided", "Matrices", "merged", "shared_axes", "steps_in_order"]

Axis: TypeAlias = "tuple[int, int]"  # size, stride


@final
@dataclass(frozen=True, slots=True)
class Strided:
    """An array in a buffer whose axes lie in any order: (size, stride) of each, outermost first; not yet put in order.

    The axes may be finer than the value's own, since a reshape changes nothing here.
    """

    buffer: Buffer
    offset: int
    axes: tuple[tuple[int, int], ...]
    ready: int

    def cut(self, shape: Shape) -> list[list[tuple[int, int]]] | None:
        """Return the axes that make up each axis of a shape; None where one would have to be cut between two."""
        left, found = list(self.axes), list[list[tuple[int, int]]]()
        for size in shape:
            own: list[tuple[int, int]] = []
            have = 1
            while have < size:
                if not left:
                    return None
                most, stride = left.pop(0)
                if have * most > size:
                    inner = most * have // size
                    if size % have or most % inner:
                        return None
                    own.append((most // inner, stride * inner))
                    left.insert(0, (inner, stride))
                    have = size
                else:
                    own.append((most, stride))
                    have *= most
            if have != size:
                return None
            found.append(own)
        return found


@final
@dataclass(frozen=True, slots=True)
class Matrices:
    """An array of matrices (…, rows, columns) whose columns lie together. axes : those before the matrices'."""

    array: Strided
    axes: tuple[Axis, ...]
    rows: Axis
    columns: int

    @classmethod
    def of(cls, array: Strided, shape: Shape) -> Matrices | None:
        """Return an array as matrices; None where rows or columns lie in several pieces."""
        cut = array.cut(shape)
        if cut is None or any(len(own) > 1 for own in cut[-2:]) or (cut[-1] and cut[-1][0][1] != 1):
            return None
        rows, columns = (own[0] if own else (1, 1) for own in cut[-2:])
        return cls(array, tuple(axis for own in cut[:-2] for axis in own if axis[0] > 1), rows, columns[0])

    @property
    def first(self) -> Stored:
        """The first of the matrices."""
        return Stored(self.array.buffer, self.array.offset, self.rows[0], self.columns, self.rows[1], self.array.ready)


def shared_axes(left: Sequence[Axis], right: Sequence[Axis]) -> list[tuple[int, int, int]] | None:
    """Return the axes of arrays of as many elements as size, step in one and step in the other, outermost first, and as
    few as possible. None where one's axes would have to be cut between two.

    >>> shared_axes([(16, 98304), (4, 64)], [(64, 8192)])
    [(16, 98304, 32768), (4, 64, 8192)]
    >>> shared_axes([(16, 32768), (4, 8192)], [(64, 8192)])
    [(64, 8192, 8192)]
    """
    one, two = list(left), list(right)
    found: list[tuple[int, int, int]] = []
    while one and two:
        (many, step), (others, own) = one.pop(), two.pop()
        size = min(many, others)
        if many % size or others % size:
            return None
        if many > size:
            one.append((many // size, step * size))
        if others > size:
            two.append((others // size, own * size))
        found.append((size, step, own))
    return merged(found[::-1])


def merged(axes: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Return axes (size, step, step), those as one that go on in the same steps."""
    found: list[tuple[int, int, int]] = []
    for size, step, own in axes:
        if found and found[-1][1:] == (step * size, own * size):
            size *= found.pop()[0]
        found.append((size, step, own))
    return found


def steps_in_order(sizes: Sequence[int], wide: tuple[int, int]) -> list[int] | None:
    """Return how far apart the elements of each axis lie when all are put in order into rows of so many columns, which
    begin a stride apart; stride 0: in one piece. None where an axis goes from one row into the next.
    """
    columns, stride = wide
    steps: list[int] = []
    flat = 1
    for size in reversed(sizes):
        if stride and flat % columns == 0:
            steps.append(flat // columns * stride)
        elif not stride or (columns % flat == 0 and size * flat <= columns):
            steps.append(flat)
        else:
            return None
        flat *= size
    return steps[::-1]
