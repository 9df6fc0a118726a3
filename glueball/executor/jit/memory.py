"""Where a region's scratch buffers lie: offsets in one block of memory, shared by those never needed at once.

The one idea: a buffer lives from the first unit that writes it to the last that reads it; buffers are placed one after
the other in the order of their birth, each in the smallest gap that is free for all its life. A kernel may write its
result over an operand that it reads for the last time, element by element.

Not here: who needs which buffer (build.py).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from typing import final

from .units import Buffer, Copy, Kernel, Pack, Product, Unit

__all__ = ["Layout", "lay_out"]

_ALIGNED = 64  # bytes: a cache line, and a vector of the widest kind


@final
class Layout:
    """offsets : of scratch buffers, in bytes; size : of the block; naive : what separate buffers would take."""

    def __init__(self, offsets: dict[Buffer, int], size: int, naive: int) -> None:
        self.offsets, self.size, self.naive = offsets, size, naive


def _touched(unit: Unit) -> Iterator[tuple[Buffer, bool]]:
    """Yield the buffers of a unit and whether they are written."""
    if isinstance(unit, Kernel):
        for buffer, *_ in unit.inputs:
            yield buffer, False
        for results in (unit.outputs, unit.row_outputs, unit.sums):
            for _, place in results:
                yield place.buffer, True
    elif isinstance(unit, Product):
        yield (unit.packed_left or unit.left).buffer, False
        yield (unit.packed or unit.right).buffer, False
        yield unit.result.buffer, True
    elif isinstance(unit, (Copy, Pack)):
        yield unit.source.buffer, False
        yield unit.result.buffer, True
    else:
        yield unit.flag.buffer, False


def _lives(units: Sequence[Unit]) -> dict[Buffer, tuple[int, int]]:
    found: dict[Buffer, tuple[int, int]] = {}
    for unit in units:
        for buffer, _ in _touched(unit):
            if buffer.role == "scratch":
                first, _last = found.get(buffer, (unit.number, 0))
                found[buffer] = first, unit.number
    return found


def _overwritten(units: Sequence[Unit], lives: dict[Buffer, tuple[int, int]]) -> dict[Buffer, Buffer]:
    """Return for results the operand that they may lie over."""
    found: dict[Buffer, Buffer] = {}
    taken: set[Buffer] = set()
    for unit in units:
        if not isinstance(unit, Kernel):
            continue
        readings = [buffer for buffer, *_ in unit.inputs]
        free = [buffer for buffer, offset, stride, kind in unit.inputs if kind == "full" and not offset
                and stride in (-1, unit.columns) and buffer.role == "scratch" and lives[buffer][1] == unit.number
                and buffer.elements == unit.size and readings.count(buffer) == 1 and buffer not in taken]  # fmt: skip
        for _, place in unit.outputs:
            target = place.buffer
            if free and target.role == "scratch" and target.elements == unit.size and lives[target][0] == unit.number:
                found[target] = free.pop()
                taken.add(found[target])
    return found


def lay_out(units: Sequence[Unit], itemsize: int) -> Layout:
    """Return where the scratch buffers of a region lie."""
    lives = _lives(units)
    over = _overwritten(units, lives)
    offsets: dict[Buffer, int] = {}
    placed: list[tuple[int, int, int]] = []  # offset, end, last unit; in order, of what still lives
    naive = whole = 0
    for buffer, (first, last) in sorted(lives.items(), key=lambda item: item[1][0]):
        need = -(-buffer.elements * itemsize // _ALIGNED) * _ALIGNED
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
    return Layout(offsets, whole, naive)
