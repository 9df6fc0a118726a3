"""A body as commands for the compiled runner (runner.c): which operands there are, and what is done with them.

The one idea: what a group does is the same for all groups of a signature but for where rows lie, and that is a linear
function of a few numbers of the group. So a body becomes, once, an array of words: operands (how an address follows
from the group) and commands (product, segment, sum, …). `Forward` is that for running the body; gradient_commands.py
does it for its gradient.

Bodies that know their own gradients and whose values are one row each can be written so; of others `writable` says no,
and they run step by step (execute.py).

Not here: addresses, memory, and what happens around a run (stream.py); the words' meaning in C (runner.c).
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias, final

import numpy as np
import torch

from ..executor.native import available
from .explicit_steps import ConcatStep, LinearStep, MoveStep, PlaceStep, SegmentStep

__all__ = ["Operand", "Region", "Writer", "Forward", "writable", "SCRATCH", "KEEP", "GRADS", "SUMS", "shared_root",
           "argument_root", "result_root", "packed_root", "roots", "NODES", "GATHERED", "RESULT"]

Words: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"

# roots: addresses that a flush gives; first memory of the run, then shared arrays, arguments (rows, place of the first
# in the table, per group the first row or -1, gradient rows, values), results (rows, first row of each group, gradient
# rows), two packed weights per step
SCRATCH, KEEP, GRADS, SUMS, _FIRST = range(5)
FIXED, NODES, EDGES, RESULT, GATHERED = range(5)  # modes of operands
MUST_COPY, IS_THERE = 1, 2
PRODUCT, FILL, KERNEL, COPY, ADD, SUM, SPREAD, SCATTER, REDUCE, PLACE = range(1, 11)
_HEADER = 6  # words of a program before its operands
_MOST_OPERANDS, _MOST_OF_A_KERNEL = 256, 96  # as in runner.c
_DTYPES = (torch.float32, torch.float64)


class Operand(NamedTuple):
    """Where rows lie: base + row · stride, as runner.c reads it.

    base = root + offset + most · (calls of the largest group) + total · (calls of the run), and both for children.
    extra : root of the first rows of results, or of the place of the first row in the table. edge, target, flags : of
    rows that are gathered: whether they are children's, the number of the operand to gather into, and how; columns of
    rows that are there already lie where they do in the rows
    """

    mode: int
    root: int
    offset: int = 0
    most: int = 0
    most_edges: int = 0
    total: int = 0
    total_edges: int = 0
    stride: int = 0
    extra: int = 0
    edge: int = 0
    target: int = 0
    flags: int = 0

    def columns(self, begin: int) -> Operand:
        """Return what lies so many bytes to the right."""
        there = IS_THERE if begin and self.mode == GATHERED else 0
        return self._replace(offset=self.offset + begin, flags=self.flags | there)


@final
class Region:
    """Memory of a run that is cut into arrays of rows. whole: for the rows of all groups, or of one at a time."""

    __slots__ = ("root", "whole", "nodes", "edges")

    def __init__(self, root: int, whole: bool) -> None:
        self.root, self.whole = root, whole
        self.nodes = self.edges = 0  # bytes per call, per child

    @property
    def used(self) -> bool:
        """Whether anything lies there."""
        return self.nodes + self.edges > 0

    def take(self, edge: bool, stride: int) -> Operand:
        """Return an array of rows of `stride` bytes."""
        nodes, edges = self.nodes, self.edges
        if edge:
            self.edges += stride
        else:
            self.nodes += stride
        if self.whole:
            return Operand(EDGES if edge else NODES, self.root, total=nodes, total_edges=edges, stride=stride)
        return Operand(FIXED, self.root, most=nodes, most_edges=edges, stride=stride)


def shared_root(index: int) -> int:
    """Return the root of a shared array."""
    return _FIRST + index


def argument_root(body: Any, index: int) -> int:
    """Return the first root of an argument."""
    return _FIRST + len(body.program.shared) + 5 * index


def result_root(body: Any, index: int) -> int:
    """Return the first root of a result."""
    return argument_root(body, len(body.program.arguments)) + 3 * index


def packed_root(body: Any, index: int) -> int:
    """Return the root of a step's weight as it was put in order for products; the next one is for its gradient."""
    return result_root(body, len(body.program.results)) + 2 * index


def roots(body: Any) -> int:
    """Return how many roots there are."""
    return packed_root(body, len(body.steps))


def writable(body: Any) -> bool:
    """Whether a body can be run as commands: it knows its gradient, and every value is one row."""
    program = body.program
    if not body.explicit or body.ragged or not available():
        return False
    slots = {slot for step in body.steps for slot in (*step.reads(), *step.writes())}
    slots |= {*program.results}
    for slot in slots:
        if slot in program.shared:
            continue
        shape, dtype = program.types[slot].shape, program.types[slot].dtype
        if not shape or shape[:-1] not in ((), (1,)) or not shape[-1] or dtype not in _DTYPES:
            return False
    for slot in slots.intersection(program.shared):
        if program.types[slot].dtype not in _DTYPES:
            return False
    for step in body.steps:
        types = {program.types[slot].dtype for slot in (*step.reads(), *step.writes())}
        if len(types) != 1 or (isinstance(step, MoveStep) and step.word == "max"):
            return False
    return True


class Writer(ABC):
    """Operands and commands of one program."""

    def __init__(self, body: Any) -> None:
        self.body, self.program = body, body.program
        self.scratch = Region(SCRATCH, False)
        self._operands: dict[Operand, int] = {}
        self._commands: list[int] = []
        self.gathered: dict[int, Operand] = {}  # rows of results of a half that ran for some calls
        self.fits = True  # whether the runner has room for so many operands

    @property
    def operands(self) -> list[Operand]:
        """The operands by number."""
        return list(self._operands)

    def operand(self, operand: Operand) -> int:
        """Return the number of an operand."""
        return self._operands.setdefault(operand, len(self._operands))

    def command(self, name: int, *words: int) -> None:
        """Add a command."""
        self._commands += (name, 2 + len(words), *words)

    def words(self, reads: Sequence[tuple[int, bool]] = ()) -> Words:
        """Return the program. reads: roots of the values that arguments read, and whether there is one per child."""
        self.fits = self.fits and len(self._operands) <= _MOST_OPERANDS
        operands = [word for operand in self._operands for word in operand]
        begin = _HEADER + len(operands)
        end = begin + len(self._commands)
        header = [len(self._operands), _HEADER, begin, end, len(reads), end]
        return np.array([*header, *operands, *self._commands, *[int(w) for pair in reads for w in pair]], np.int64)

    def translate(self, steps: Iterable[Any]) -> None:
        """Add the commands of steps, each by the method for its class; `writable` knows the same classes."""
        methods: dict[type, Callable[[Any], None]] = {
            LinearStep: self._linear, SegmentStep: self._segment, MoveStep: self._move, PlaceStep: self._place,
            ConcatStep: self._concat}
        for step in steps:
            methods[type(step)](step)

    @abstractmethod
    def _linear(self, step: LinearStep) -> None: ...

    @abstractmethod
    def _segment(self, step: SegmentStep) -> None: ...

    @abstractmethod
    def _move(self, step: MoveStep) -> None: ...

    @abstractmethod
    def _place(self, step: PlaceStep) -> None: ...

    @abstractmethod
    def _concat(self, step: ConcatStep) -> None: ...

    def edge(self, slot: int) -> bool:
        """Whether a slot holds a row per child."""
        return self.program.levels[slot] == "edge"

    def width(self, slot: int) -> int:
        """Return the columns of a slot."""
        return self.program.shape(slot)[-1]

    def size(self, slot: int) -> int:
        """Return the bytes of an element of a slot."""
        return self.program.types[slot].dtype.itemsize

    def double(self, slot: int) -> int:
        """Return 1 for slots of double precision."""
        return int(self.program.types[slot].dtype is torch.float64)

    def shared(self, slot: int, offset: int, stride: int) -> int:
        """Return the number of the operand that is a shared array from some byte on."""
        return self.operand(Operand(FIXED, shared_root(self.program.shared.index(slot)), offset, stride=stride))

    def kernel(self, step: Any, kernel: Any, operands: Sequence[int], across: bool, block: int) -> None:
        """Add the machine code of a segment."""
        edge = self.edge(step.segment.outputs[0])
        self.fits = self.fits and len(operands) <= _MOST_OF_A_KERNEL
        self.command(KERNEL, kernel.address, kernel.cost, across, step.direct.columns, block, edge,
                     step.direct.dtype.itemsize, len(operands), *operands)

    def leaf(self, leaf: Any, place: Operand | None) -> int:
        """Return the operand of a leaf of a segment; place: of its slot, if it is no shared array."""
        offset = leaf.begin * self.size(leaf.slot)
        if place is None:
            return self.shared(leaf.slot, offset, 0)
        return self.operand(place.columns(offset))


@final
class Forward(Writer):
    """A body's commands.

    keep : whether what backward reads is kept for all groups, rather than written over by the next one. frontier: per
    argument that comes from a half that ran before, the number of the result there, the bytes of its rows and where in
    them the argument begins; some: that half ran for the different ones of the calls only, so its rows are gathered

    place : by slot, where its rows are. kept : the memory that is kept
    """

    def __init__(self, body: Any, keep: bool, frontier: Sequence[tuple[int, int, int]], some: bool = False) -> None:
        super().__init__(body)
        self.keep, self.some = keep, some
        self.kept = Region(KEEP, True)
        self.own = self.kept if keep else self.scratch
        self.place: dict[int, Operand] = {}
        program = self.program
        self._results = {slot: number for number, slot in reversed([*enumerate(program.results)])}
        self._written: set[int] = set()  # results that lie where they belong
        self.crossing = frontier
        self.frontier = len(program.arguments) - len(frontier)
        self._arguments(frontier)
        self.translate(body.steps)
        for number, slot in enumerate(program.results):
            if number not in self._written:
                self.command(COPY, self.edge(slot), self.operand(self._result(number)), self.operand(self.place[slot]),
                             self.width(slot) * self.size(slot))
        self.code = self.words()
        self.backwards: dict[Any, Any] = {}  # by what wants gradients and of which results there are any

    def _arguments(self, frontier: Sequence[tuple[int, int, int]]) -> None:
        """Find where arguments lie: gathered rows, or rows of the half that ran before."""
        program, steps = self.program, self.body.steps
        used = {slot for step in steps for slot in step.reads()} | {*program.results}
        copied = {step.data for step in steps if isinstance(step, LinearStep)} if self.keep else set()
        joined = self._joined()
        for number, slot in enumerate(program.arguments):
            root = argument_root(self.body, number)
            if number >= self.frontier:
                _, stride, begin = frontier[number - self.frontier]
                self.place[slot] = (self.crossed(number, self) if self.some else
                                    Operand(NODES, root, begin, stride=stride))
                continue
            if slot not in used:
                continue
            stride = self.width(slot) * self.size(slot)
            place = joined.get(slot)
            target = self.own.take(self.edge(slot), stride) if place is None else place
            flags = MUST_COPY if slot in copied or place is not None else 0
            self.place[slot] = Operand(GATHERED, root, stride=stride, extra=root + 1, edge=int(self.edge(slot)),
                                       target=self.operand(target), flags=flags)
            self.operand(self.place[slot])

    def crossed(self, number: int, writer: Writer) -> Operand:
        """Return an argument from a half that ran for some calls, gathered for these commands or for the gradient's:
        whole rows, of which arguments are columns. Keeping them for backward would cost more than doing it once more.
        """
        result, stride, begin = self.crossing[number - self.frontier]
        first = [other for other, _, _ in self.crossing].index(result)
        root = argument_root(self.body, self.frontier + first)
        if result not in writer.gathered:
            target = writer.operand(writer.scratch.take(False, stride))
            writer.gathered[result] = Operand(GATHERED, root, stride=stride, extra=root + 1, target=target)
            writer.operand(writer.gathered[result])
        whole = writer.gathered[result]
        return whole._replace(offset=begin, flags=IS_THERE)

    def _joined(self) -> dict[int, Operand]:
        """Find arguments that are only put beside others: they are gathered to where they belong."""
        found: dict[int, Operand] = {}
        program = self.program
        readers = [slot for step in self.body.steps for slot in step.reads()] + [*program.results]
        for step in self.body.steps:
            if not isinstance(step, ConcatStep) or step.target in self._results:
                continue
            size = self.size(step.target)
            whole = self.place[step.target] = self.own.take(self.edge(step.target), step.width * size)
            for slot, begin in zip(step.sources, step.begins):
                if slot in program.arguments[:self.frontier] and readers.count(slot) == 1:
                    found[slot] = whole.columns(begin * size)
        return found

    def _result(self, number: int) -> Operand:
        root, slot = result_root(self.body, number), self.program.results[number]
        return Operand(RESULT, root, stride=self.width(slot) * self.size(slot), extra=root + 1)

    def _new(self, slot: int) -> Operand:
        """Return where a step writes a slot."""
        number = self._results.get(slot)
        if number is None:
            place = self.own.take(self.edge(slot), self.width(slot) * self.size(slot))
        else:
            self._written.add(number)
            place = self._result(number)
        self.place[slot] = place
        return place

    # -- steps ---------------------------------------------------------------------------------------------------------
    def _linear(self, step: LinearStep) -> None:
        size, inner, slot = self.size(step.data), self.width(step.data), step.slots[0]
        low, high = step.low, max(end for _, end in step.parts)
        if len(step.slots) == 1:
            whole = self._new(slot)
        else:
            whole = self.own.take(self.edge(slot), (high - low) * size)
            for part, (begin, _) in zip(step.slots, step.parts):
                self.place[part] = whole.columns((begin - low) * size)
        target, edge = self.operand(whole), self.edge(slot)
        bias = -1 if step.bias is None else self.shared(step.bias, low * size, 0)
        weight = self.shared(step.weight, low * inner * size, inner * size)
        self.command(PRODUCT, self.double(slot), edge, self.operand(self.place[step.data]), weight, target, high - low,
                     inner, 1, 0, packed_root(self.body, self.body.steps.index(step)), bias)

    def _segment(self, step: SegmentStep) -> None:
        segment = step.segment
        leaves = [self.leaf(leaf, self.place.get(leaf.slot)) for leaf in segment.leaves]
        operands = [leaves[i] for i in segment.rows.used]
        operands += [self.operand(self._new(slot)) for slot in segment.outputs]
        self.kernel(step, segment.rows.kernel(), operands, segment.rows.across, 0)

    def _move(self, step: MoveStep) -> None:
        target, source = self.operand(self._new(step.target)), self.operand(self.place[step.source])
        self.command(SPREAD if step.word == "spread" else SUM, 0, target, source, self.width(step.source),
                     self.double(step.source), 0, step.word == "mean")

    def _place(self, step: PlaceStep) -> None:
        target, source = self.operand(self._new(step.target)), self.operand(self.place[step.source])
        self.command(PLACE, self.edge(step.source), target, source, self.width(step.source), self.double(step.source),
                     step.smallest)

    def _concat(self, step: ConcatStep) -> None:
        whole = self.place.get(step.target) or self._new(step.target)
        size = self.size(step.target)
        for slot, begin in zip(step.sources, step.begins):
            place, target = self.place[slot], self.operand(whole.columns(begin * size))
            if place.mode == GATHERED and place.target == target:
                continue  # its rows were gathered to there
            self.command(COPY, self.edge(step.target), target, self.operand(place), self.width(slot) * size, 0)
