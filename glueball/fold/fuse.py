"""Element-wise steps of a program gathered into native segments.

The one idea: between the matrix products of a cell lie many small element-wise steps, each a pass over memory. They are
ranked by the products they wait for, put off as far as their readers allow, and all of one rank and size become one
piece of machine code (executor/native), forward and backward. Columns cut out of an element-wise result are computed
as such: split(a + b) adds column by column and never makes a + b.

Not here: the compiler (executor/native), how the remaining steps run (body.py).
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from ..executor.native import EXPRESSIONS, Expr, Rows, Split, available, compile_rows, input
from ..ops.opdef import OpDef
from .steps import Program, Step

__all__ = ["Segment", "fuse", "column_slices"]

_DTYPES = (torch.float32, torch.float64)


@final
@dataclass(frozen=True, slots=True)
class Leaf:
    """An input of a segment: columns begin to end of a slot."""

    slot: int
    begin: int
    end: int
    kind: str


@final
@dataclass(frozen=True, slots=True)
class Segment:
    """Machine code that computes the slots `outputs` from `leaves`."""

    rows: Rows
    leaves: tuple[Leaf, ...]
    outputs: tuple[int, ...]
    widths: tuple[int, ...]  # of the leaves' slots

    def items(self, values: list[Any]) -> list[tuple[Any, Sequence[Leaf]]]:
        """Return the arrays to run on, taken from a list of slots, each with the leaves it stands for."""
        given: list[tuple[Any, Sequence[Leaf]]] = []
        for leaves, whole in self.together():
            leaf = leaves[0]
            tensor = values[leaf.slot]
            if leaf.kind == "row":
                given.append((tensor.reshape(-1)[leaf.begin:leaf.end], leaves))
            elif leaf.kind == "column" or (whole and len(leaves) == 1):
                given.append((tensor, leaves))
            elif whole:
                given.append((Split(tensor, tuple(a.end - a.begin for a in leaves)), leaves))
            else:
                given += [(tensor[:, a.begin:a.end], (a,)) for a in leaves]
        return given

    def together(self) -> Sequence[tuple[Sequence[Leaf], bool]]:
        """Return leaves that lie side by side in one slot together, and whether they are all of it."""
        found = _TOGETHER.get(self.leaves)
        if found is not None:
            return found
        found, index = [], 0
        while index < len(self.leaves):
            leaf = self.leaves[index]
            together = [leaf]
            while leaf.kind == "full" and index + len(together) < len(self.leaves):
                after = self.leaves[index + len(together)]
                if after.slot != leaf.slot or after.begin != together[-1].end or after.kind != "full":
                    break
                together.append(after)
            found.append((tuple(together), leaf.begin == 0 and together[-1].end == self.widths[index]))
            index += len(together)
        _TOGETHER[self.leaves] = found
        return found


_TOGETHER: dict[tuple[Leaf, ...], list[tuple[Sequence[Leaf], bool]]] = {}


def column_slices(step: Step, size: int) -> list[tuple[int, int, int]] | None:
    """Return (slot, begin, end) of the columns that a step cuts out of a matrix of `size` columns; None when it does
    something else.
    """
    op = step.op
    if isinstance(op, str):
        return None
    attrs = step.attrs
    if op.name == "slice_axis" and attrs["axis"] in (1, -1):
        begin, end = int(attrs["begin"]), size if attrs["end"] is None else int(attrs["end"])
        begin, end = begin + size * (begin < 0), end + size * (end < 0)
        return [(step.outputs[0], begin, end)] if 0 <= begin < end <= size else None
    if op.name == "SliceChannel" and attrs["axis"] in (1, -1) and not attrs["squeeze_axis"]:
        width = size // len(step.outputs)
        return [(slot, i * width, (i + 1) * width) for i, slot in enumerate(step.outputs)]
    return None


@final
class _Fusion:
    """Sorts the steps of one program; see the module's text."""

    def __init__(self, program: Program, batched: Sequence[bool], parts: Mapping[int, Sequence[int]],
                 ragged: bool) -> None:
        self.program, self.batched, self.parts, self.ragged = program, batched, parts, ragged
        self.elementwise: dict[int, Step] = {}  # by the slot of the result
        self.cuts: dict[int, tuple[int, int, int]] = {}  # slot -> (slot cut from, begin, end)
        self.readers: dict[int, list[Step]] = {}
        self.rank: dict[int, int] = {}  # of slots
        for step in program.steps:
            for slot in step.inputs:
                if slot is not None:
                    self.readers.setdefault(slot, []).append(step)
        for step in program.steps:
            self._classify(step)

    def _shape(self, slot: int) -> tuple[int, ...]:
        return self.program.types[slot].shape or ()  # type: ignore[return-value]  # known: the program was traced

    def _classify(self, step: Step) -> None:
        ranks = [self.rank.get(s, 0) for s in step.inputs if s is not None]
        rank = max(ranks, default=0)
        if self._is_elementwise(step):
            self.elementwise[step.outputs[0]] = step
        elif self._is_cut(step):
            size = self._shape(step.inputs[0] or 0)[1]
            for slot, begin, end in column_slices(step, size) or ():
                self.cuts[slot] = (step.inputs[0] or 0, begin, end)
        else:
            rank += 1
        for slot in step.outputs:
            self.rank[slot] = rank
            for part in self.parts.get(slot, ()):
                self.rank[part] = rank

    def _is_cut(self, step: Step) -> bool:
        """Whether a step cuts columns out of an element-wise result (out of others they are views anyway)."""
        base = step.inputs[0] if step.inputs else None
        if base is None or not (base in self.elementwise or base in self.cuts) or len(self._shape(base)) != 2:
            return False
        return bool(column_slices(step, self._shape(base)[1]))

    def _is_elementwise(self, step: Step) -> bool:
        op = step.op
        if isinstance(op, str) or op.name not in EXPRESSIONS or len(step.outputs) != 1:
            return False
        out = self.program.types[step.outputs[0]]
        if out.dtype not in _DTYPES or not out.shape or len(out.shape) > 2 or not self.batched[step.outputs[0]]:
            return False
        if self.ragged and len(out.shape) == 1:  # elements one after the other, not one row per sample
            return False
        kinds = [self._kind(slot, out.shape) for slot in step.inputs if slot is not None]  # type: ignore[arg-type]
        if None in kinds or "full" not in kinds or any(s is None for s in step.inputs):
            return False
        return EXPRESSIONS[op.name](step.attrs, *[input(i) for i in range(len(kinds))]) is not None

    def _kind(self, slot: int, shape: tuple[int, ...]) -> str | None:
        """Return how a slot takes part in a step whose result has a shape."""
        own, dtype = self.program.types[slot].shape, self.program.types[slot].dtype
        if dtype not in _DTYPES or own is None:
            return None
        if self.batched[slot]:
            if own == shape:
                return "full"
            return "column" if len(shape) == 2 and own == (shape[0], 1) else None
        return "row" if own in ((shape[-1],), (1, shape[-1])) and shape[-1] > 1 else None

    def _postpone(self) -> None:
        """Move element-wise results to the rank of their first readers."""
        results = set(self.program.results)
        for step in reversed(self.program.steps):
            slot = step.outputs[0]
            if slot not in self.elementwise and slot not in self.cuts:
                continue
            later: list[int] = []
            for out in step.outputs:
                if out in results:
                    later.append(self.rank[out] if not self.readers.get(out) else self.rank[slot])
                for reader in self.readers.get(out, ()):
                    other = reader.outputs[0]
                    light = other in self.elementwise or other in self.cuts
                    later.append(self.rank[other] if light else self.rank[other] - 1)
            if later:
                for out in step.outputs:
                    self.rank[out] = max(self.rank[out], min(later))

    def placed(self) -> list[Any]:
        """Return steps and segments in the order to run them."""
        self._postpone()
        results = set(self.program.results)
        wanted: dict[tuple[int, str, int, Any, int], list[int]] = {}
        for slot in [*self.elementwise, *self.cuts]:
            outside = slot in results or any(self._leaves_rank(reader, slot) for reader in self.readers.get(slot, ()))
            if outside:
                shape, level = self._shape(slot), self.program.levels[slot]
                width = shape[-1]
                key = (self.rank[slot], level, width, self.program.types[slot].dtype, shape[0] if len(shape) > 1 else 0)
                wanted.setdefault(key, []).append(slot)
        made = {slot for slots in wanted.values() for slot in slots}
        order: list[tuple[int, int, Any]] = []
        for step in self.program.steps:
            if step.outputs[0] not in self.elementwise and step.outputs[0] not in self.cuts:
                order.append((self.rank[step.outputs[0]], 0, step))
        for number, (key, slots) in enumerate(sorted(wanted.items(), key=lambda item: item[0][:3])):
            order.append((key[0], 1 + number, self._segment(slots, made, key[3])))
        return [item for _, _, item in sorted(order, key=lambda entry: entry[:2])]

    def _leaves_rank(self, reader: Step, slot: int) -> bool:
        other = reader.outputs[0]
        if other in self.elementwise and self._kind(slot, self._shape(other)) != "full":
            return True  # a column beside full rows is made by a segment of its own width
        return not (other in self.elementwise or other in self.cuts) or self.rank[other] > self.rank[slot]

    def _segment(self, slots: Sequence[int], made: set[int], dtype: Any) -> Segment:
        leaves: dict[Leaf, None] = {}
        rank = self.rank[slots[0]]

        def visit(use: Callable[[Leaf], Any]) -> list[Any]:
            memory: dict[tuple[int, int, int], Any] = {}

            def build(slot: int, begin: int, end: int) -> Any:
                found = memory.get((slot, begin, end))
                if found is None:
                    found = memory[slot, begin, end] = compute(slot, begin, end)
                return found

            def compute(slot: int, begin: int, end: int) -> Any:
                inside = slot not in made or self.rank[slot] == rank
                if slot in self.cuts and inside:
                    base, low, _ = self.cuts[slot]
                    return build(base, low + begin, low + end)
                step = self.elementwise.get(slot) if inside else None
                if step is None:
                    return use(Leaf(slot, begin, end, "full"))
                shape = self._shape(slot)
                arguments: list[Any] = []
                for source in step.inputs:
                    assert source is not None  # element-wise steps have all their inputs
                    kind = self._kind(source, shape)
                    arguments.append(build(source, begin, end) if kind == "full" else
                                     use(Leaf(source, begin, end, "row") if kind == "row" else
                                         Leaf(source, 0, 1, "column")))
                assert isinstance(step.op, OpDef)
                return EXPRESSIONS[step.op.name](step.attrs, *arguments)

            return [build(slot, 0, self._shape(slot)[-1]) for slot in slots]

        zero = input(0)

        def note(leaf: Leaf) -> Expr:
            leaves.setdefault(leaf)
            return zero

        visit(note)
        ordered = sorted(leaves, key=lambda leaf: (leaf.kind, leaf.slot, leaf.begin, leaf.end))
        number = {leaf: i for i, leaf in enumerate(ordered)}
        outputs: list[Expr] = visit(lambda leaf: input(number[leaf]))
        rows = compile_rows(outputs, [leaf.kind for leaf in ordered], dtype)  # type: ignore[misc]  # the words of Kind
        return Segment(rows, tuple(ordered), tuple(slots), tuple(self._shape(leaf.slot)[-1] for leaf in ordered))


def fuse(program: Program, batched: Sequence[bool], parts: Mapping[int, Sequence[int]],
         ragged: bool = False) -> list[Any]:
    """Return the steps of a program, element-wise ones gathered into segments, in the order to run them.

    parts : further slots that the step which makes a slot computes with it
    ragged : vectors are elements of samples one after the other; see Body

    Without a native compiler, or where nothing would be saved, the steps come back as they are.
    """
    light = sum(isinstance(s.op, OpDef) and s.op.name in EXPRESSIONS for s in program.steps)
    if not light or len(program.steps) < 2 or not available():
        return list(program.steps)
    return _Fusion(program, batched, parts, ragged).placed()
