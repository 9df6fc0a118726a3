"""What need not wait: the part of a unit that does not depend on the unit's own results.

The one idea: where calls of a unit feed each other (a tree's cell), some arguments come from elsewhere (the words).
Steps that see only those are taken out of the levels and run once for all calls: W·x of all nodes is then one matrix
product instead of one per level, and so is its gradient. Both halves keep the numbers of the slots. Calls that read the
same rows (equal words, sharing.py) are one call of the first half: `different` finds them.

Not here: running the halves (execute.py, stream.py).
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from ..ops.opdef import OpDef
from .fuse import column_slices
from .layout import Reads, Table, stretches
from .steps import Program, Step

__all__ = ["Halves", "split", "different"]

Ints = Any  # arrays of int64

_FEWER = 0.9  # more different calls than this part of all: running those alone does not pay
_WORTH = frozenset({"FullyConnected", "dot", "batch_dot", "Convolution", "Deconvolution", "Embedding", "_linalg_gemm2"})


@final
@dataclass(frozen=True, slots=True)
class Halves:
    """A program in two parts. first: its arguments are `given` (positions in the whole program's arguments); second:
    its arguments are the positions `kept`, then the frontier.
    """

    first: Program
    second: Program
    given: tuple[int, ...]
    kept: tuple[int, ...]
    frontier: tuple[Crossing, ...]


@final
@dataclass(frozen=True, slots=True)
class Crossing:
    """A value that goes from the first half to the second: columns begin to end of a result of the first half."""

    result: int
    begin: int
    end: int


def split(program: Program, outside: Sequence[bool]) -> Halves | None:
    """Split off what depends only on the arguments marked `outside`; None where that is not worth a run of its own.

    Parameters
    ----------
    outside : per argument, whether none of its values is made by calls of the same loop
    """
    free = {slot for slot, flag in zip(program.arguments, outside) if flag and program.levels[slot] == "node"}
    constant = set(program.shared)
    early, late, worth = [], [], False
    for step in program.steps:
        inputs = [s for s in step.inputs if s is not None]
        movable = isinstance(step.op, OpDef) and not step.op.random and step.level == "node" and bool(inputs)
        if movable and all(s in constant for s in inputs):
            constant.update(step.outputs)  # the same for every sample: both halves compute it where they need it
            early.append(step)
            late.append(step)
        elif movable and all(s in free or s in constant for s in inputs):
            free.update(step.outputs)
            early.append(step)
            worth = worth or (isinstance(step.op, OpDef) and step.op.name in _WORTH)
        else:
            late.append(step)
    if not worth:
        return None
    used = {s for step in late for s in step.inputs if s is not None} | set(program.results)
    crossing = [s for step in early for s in step.outputs if s in used and s in free]
    origin = _cut_from(program, early)
    places = [origin.get(s, (s, 0, _width(program, s))) for s in crossing]
    results = tuple(dict.fromkeys(base for base, _, _ in places))
    frontier = tuple(Crossing(results.index(base), begin, end) for base, begin, end in places)
    needed = _ancestors(early, results)
    early = [step for step in early if needed.intersection(step.outputs)]
    read = {s for step in early for s in step.inputs}
    given = tuple(i for i, s in enumerate(program.arguments) if s in free and s in read)
    first = replace(program, steps=tuple(early), results=results,
                    arguments=tuple(program.arguments[i] for i in given))
    kept = tuple(i for i, s in enumerate(program.arguments) if s in used)
    second = replace(program, steps=tuple(late), arguments=(*[program.arguments[i] for i in kept], *crossing))
    return Halves(first, second, given, kept, frontier)


def _width(program: Program, slot: int) -> int:
    shape = program.types[slot].shape
    return shape[-1] if shape else 1  # type: ignore[return-value]  # known: the program was traced


def _cut_from(program: Program, steps: Sequence[Step]) -> dict[int, tuple[int, int, int]]:
    """Return, per slot that is columns of a linear layer's result, (slot of the result, begin, end).

    Its gradient then goes straight into the columns of the whole, instead of being put together from parts.
    """
    linear = {s.outputs[0] for s in steps if isinstance(s.op, OpDef) and s.op.name == "FullyConnected"}
    found: dict[int, tuple[int, int, int]] = {}
    for step in steps:
        base = step.inputs[0] if step.inputs else None
        if base is None or not (base in linear or base in found) or len(program.types[base].shape or ()) != 2:
            continue
        whole, low, _ = found.get(base, (base, 0, 0))
        for slot, begin, end in column_slices(step, _width(program, base)) or ():
            found[slot] = (whole, low + begin, low + end)
    return found


def _ancestors(steps: Sequence[Step], results: Sequence[int]) -> set[int]:
    """Return the slots that results are computed from, themselves among them."""
    needed = set(results)
    for step in reversed(steps):
        if needed.intersection(step.outputs):
            needed.update(s for s in step.inputs if s is not None)
    return needed


def different(reads: Sequence[Reads], sizes: Sequence[int]) -> tuple[list[Reads], Reads] | None:
    """Find the different ones among calls that read one row for each argument.

    Parameters
    ----------
    reads : of all arguments of the first half
    sizes : of the groups of the second one

    Returns
    -------
    What the different calls read, all in one group, and which of their results each call of the second half reads; None
    where there are not many fewer. The numbers of values stay those of all calls.
    """
    columns = [read.table.rows[read.lows[0]:read.lows[-1]] for read in reads]
    count, number = len(columns[0]), columns[0]
    for column in columns[1:]:
        _, number = np.unique(number, return_inverse=True)
        number = number * (int(column.max()) + 1) + column
    kinds, firsts, number = np.unique(number, return_index=True, return_inverse=True)
    if len(kinds) > _FEWER * count:
        return None
    begins = np.arange(len(columns) + 1) * len(kinds)
    table = Table(np.concatenate([column[firsts] for column in columns]))
    starts = stretches(table.rows, begins[:-1], begins[1:]).tolist()
    own = [replace(read, table=table, lows=[begin, begin + len(kinds)], starts=[start, start])
           for read, begin, start in zip(reads, begins.tolist(), starts)]
    ends = np.cumsum([0, *sizes])
    starts = stretches(number, ends[:-1], ends[1:]).tolist()
    return own, Reads(reads[0].arena, None, Table(number), ends.tolist(), [*starts, -1], None)
