"""What need not wait: the part of a unit that does not depend on the unit's own results.

The one idea: where calls of a unit feed each other (a tree's cell), some arguments come from elsewhere (the words).
Steps that see only those are taken out of the levels and run once for all calls: W·x of all nodes is then one matrix
product instead of one per level, and so is its gradient. Both halves keep the numbers of the slots.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from ..ops.opdef import OpDef
from .steps import Program

__all__ = ["Halves", "split"]

_WORTH = frozenset({"FullyConnected", "dot", "batch_dot", "Convolution", "Deconvolution", "Embedding", "_linalg_gemm2"})


@final
@dataclass(frozen=True, slots=True)
class Halves:
    """A program in two parts. first: its arguments are `given` (positions in the whole program's arguments), its
    results the `frontier` slots; second: its arguments are the positions `kept`, then the frontier.
    """

    first: Program
    second: Program
    given: tuple[int, ...]
    kept: tuple[int, ...]
    frontier: tuple[int, ...]


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
    frontier = tuple(s for step in early for s in step.outputs if s in used and s in free)
    first = replace(program, steps=tuple(early), results=frontier)
    read = {s for step in early for s in step.inputs}
    given = tuple(i for i, s in enumerate(program.arguments) if s in free and s in read)
    first = replace(first, arguments=tuple(program.arguments[i] for i in given))
    kept = tuple(i for i, s in enumerate(program.arguments) if s in used)
    second = replace(program, steps=tuple(late), arguments=(*[program.arguments[i] for i in kept], *frontier))
    return Halves(first, second, given, kept, frontier)
