"""Where a region's scratch buffers lie: offsets in one block of memory, shared by those never needed at once.

The one idea: a buffer lives from the first unit that writes it to the last that reads it; buffers are placed one after
the other in the order of their birth, each in the smallest gap that is free for all its life. A kernel may write its
result over an operand that it reads for the last time, element by element.

Who lives when does not depend on sizes (`Lives`), so it is found once for all sizes of a region (resized.py).

Not here: who needs which buffer (build.py).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Hashable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar, final

from .units import Buffer, Copy, Kernel, Pack, Product, Unit

__all__ = ["Layout", "Lives", "Writing", "lay_out", "touched", "writing"]

_ALIGNED = 64  # bytes: a cache line, and a vector of the widest kind


@final
class Layout:
    """offsets : of scratch buffers, in bytes; size : of the block; naive : what separate buffers would take."""

    def __init__(self, offsets: dict[Buffer, int], size: int, naive: int) -> None:
        self.offsets, self.size, self.naive = offsets, size, naive


def touched(unit: Unit) -> list[Buffer]:
    """Return the buffers of a unit, in order."""
    if isinstance(unit, Kernel):
        results = (*unit.outputs, *unit.row_outputs, *unit.sums)
        return [*(buffer for buffer, *_ in unit.inputs), *(place.buffer for _, place in results)]
    if isinstance(unit, Product):
        return [(unit.packed_left or unit.left).buffer, (unit.packed or unit.right).buffer, unit.result.buffer]
    return [unit.source.buffer, unit.result.buffer] if isinstance(unit, (Copy, Pack)) else [unit.flag.buffer]


K = TypeVar("K", bound=Hashable)


class Writing(NamedTuple, Generic[K]):
    """A kernel's operands that are whole arrays (buffer, offset, stride), and the buffers of its outputs. Numbers are
    numbers, or places in a list of them.
    """

    size: int
    columns: int | None
    operands: list[tuple[K, int, int]]
    targets: list[K]


def writing(unit: Kernel) -> Writing[Buffer]:
    """Return what decides whether a kernel's results may lie over its operands."""
    readings = [buffer for buffer, *_ in unit.inputs]
    operands = [(buffer, offset, stride) for buffer, offset, stride, kind in unit.inputs
                if kind == "full" and readings.count(buffer) == 1]  # fmt: skip
    return Writing(unit.size, unit.columns, operands, [place.buffer for _, place in unit.outputs])


@final
class Lives(Generic[K]):
    """From which unit to which scratch buffers live: what there is to know before sizes are.

    touched : per unit the scratch buffers that it reads or writes; kernels : what each unit that is one writes
    """

    def __init__(self, touched: Sequence[Sequence[K]], kernels: Mapping[int, Writing[K]]) -> None:
        found: dict[K, tuple[int, int]] = {}
        for number, buffers in enumerate(touched):
            for buffer in buffers:
                found[buffer] = found[buffer][0] if buffer in found else number, number
        self.lives = sorted(found.items(), key=lambda item: item[1][0])
        self.writings: list[Writing[K]] = []
        for number, writes in kernels.items():
            operands = [one for one in writes.operands if one[0] in found and found[one[0]][1] == number]
            targets = [buffer for buffer in writes.targets if buffer in found and found[buffer][0] == number]
            if operands and targets:
                self.writings.append(writes._replace(operands=operands, targets=targets))

    def _overwritten(self, elements: Mapping[K, int], writings: Sequence[Writing[K]]) -> dict[K, K]:
        """Return for results the operand that they may lie over: read for the last time, element by element."""
        found: dict[K, K] = {}
        for size, columns, operands, targets in writings:
            free = [buffer for buffer, offset, stride in operands
                    if not offset and stride in (-1, columns) and elements[buffer] == size]  # fmt: skip
            for target in targets:
                if free and elements[target] == size:
                    found[target] = free.pop()
        return found

    def place(self, elements: Mapping[K, int], writings: Sequence[Writing[K]], itemsize: int,
              ) -> tuple[dict[K, int], int, int]:  # fmt: skip
        """Return where the buffers lie, in bytes, how many bytes that takes, and how many if each had its own.

        elements : of the buffers; writings : those of this object, in numbers
        """
        over = self._overwritten(elements, writings)
        offsets: dict[K, int] = {}
        placed: list[tuple[int, int, int]] = []  # offset, end, last unit; in order, of what still lives
        naive = whole = 0
        for buffer, (first, last) in self.lives:
            need = -(-elements[buffer] * itemsize // _ALIGNED) * _ALIGNED
            naive += need
            below = over.get(buffer)
            offset = 0
            if below is not None:
                offset = offsets[below]
            else:
                placed = [one for one in placed if one[2] >= first]  # those that follow are born no earlier
                for start, end, _died in placed:
                    if start < offset + need and offset < end:
                        offset = end
            offsets[buffer] = offset
            insort(placed, (offset, offset + need, last))
            whole = max(whole, offset + need)
        return offsets, whole, naive


def lay_out(units: Sequence[Unit], itemsize: int) -> Layout:
    """Return where the scratch buffers of a region lie."""
    buffers = [[buffer for buffer in touched(unit) if buffer.role == "scratch"] for unit in units]
    lives = Lives(buffers, {unit.number: writing(unit) for unit in units if isinstance(unit, Kernel)})
    return Layout(*lives.place({b: b.elements for b, _ in lives.lives}, lives.writings, itemsize))
