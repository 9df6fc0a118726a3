"""Runs a unit's Program on the stacked values of many samples.

The one idea: a slot holds the rows of all samples as they lie in the arenas; for every step it is decided once how it
runs on them: `rows` (the kernel as it is: axis 0 is the samples'), `stack` (a leading axis for the samples), `linear`
(rows, with the weight's gradient put off), `plain` (nothing of a sample in it), or `loop` (once per sample). Under
torch's grad mode the steps go on torch's tape, group by group.

Not here: where rows come from (execute.py), the batching rules of operators (ops/rules/batch.py, operators.py).
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, final

import torch

from ..executor.interpret import run_operator
from ..ops.opdef import OpDef
from ..ops.rules.batch import keeps_rows
from .explicit_steps import ConcatStep, LinearStep, MoveStep, PlaceStep, SegmentStep
from .functions import Segments
from .fuse import Segment, column_slices, fuse
from .operators import run_rows, run_stacked
from .steps import REDUCTIONS, Program, Step

__all__ = ["Body", "Mode", "can_be_ragged"]

Tensor = torch.Tensor
Mode = str
Runner = Callable[[list[Any], "Run"], None]


# operators whose gradients do not depend on the values of their inputs
_VALUELESS = frozenset({"broadcast_add", "broadcast_sub", "elemwise_add", "elemwise_sub", "add_n", "Embedding", "take",
                        "Concat", "stack", "Reshape", "_copy", "transpose", "slice_axis", "sum", "mean"})


@final
class Run:
    """What one run of a body is told beside its inputs."""

    __slots__ = ("count", "segments", "tape", "outs")

    def __init__(self, count: int, segments: Segments | None, tape: Any,
                 outs: Mapping[int, Tensor] | None = None) -> None:
        """Outs : by slot, where a segment is to write what it computes."""
        self.count, self.segments, self.tape, self.outs = count, segments, tape, outs


def _batched_slots(program: Program) -> list[bool]:
    batched = [False] * len(program.types)
    for slot in program.arguments:
        batched[slot] = True
    for step in program.steps:
        per_sample = any(s is not None and batched[s] for s in step.inputs) or (
            isinstance(step.op, OpDef) and step.op.random)
        for slot in step.outputs:
            batched[slot] = per_sample
    return batched


def choose(program: Program, step: Step, batched: Sequence[bool], training: bool) -> Mode:
    """Return how a step runs; see the module's text."""
    op = step.op
    if isinstance(op, str):
        return op
    flags = [s is not None and batched[s] for s in step.inputs]
    if not any(flags) and not op.random:
        return "plain"
    shapes = [None if s is None else program.shape(s) for s in step.inputs]
    own = [shape for shape, flag in zip(shapes, flags) if flag and shape is not None]
    if op.name == "FullyConnected" and flags == [True, *(False,) * (len(flags) - 1)]:
        shared = [s for s in step.inputs[1:] if s is not None]
        if len(own[0]) == 2 and all(s in program.shared for s in shared):
            return "linear"
    if not any(flags):
        return "loop"  # random numbers out of nothing: each sample draws its own
    if all(len(shape) >= 2 and shape[0] == own[0][0] for shape in own) and keeps_rows(
            op, step.attrs, shapes, flags, training):
        outs = [program.shape(s) for s in step.outputs[:op.num_visible(step.attrs)]]
        if all(out and out[0] == own[0][0] for out in outs):
            return "rows"
    return "stack"


def can_be_ragged(program: Program, ragged: Sequence[bool], training: bool) -> bool:
    """Whether the number of rows of the arguments marked `ragged` may differ from sample to sample.

    True when every step only ever sees rows, so that more rows of one sample are like more samples.
    """
    batched = _batched_slots(program)
    loose = dict(zip(program.arguments, ragged))
    for step in program.steps:
        op = step.op
        if isinstance(op, str):
            return False
        flags = [s is not None and batched[s] for s in step.inputs]
        if not any(flags):
            if op.random:
                return False
            continue
        if not all(loose.get(s, False) for s, flag in zip(step.inputs, flags) if flag and s is not None):
            return False
        shapes = [None if s is None else program.shape(s) for s in step.inputs]
        first = next(shape[0] for shape, flag in zip(shapes, flags) if flag and shape)
        if any(flag and (not shape or shape[0] != first) for shape, flag in zip(shapes, flags)):
            return False
        if not keeps_rows(op, step.attrs, shapes, flags, training):
            return False
        for slot in step.outputs:
            shape = program.shape(slot)
            if not shape or shape[0] != first:
                return False
            loose[slot] = True
    return all(loose.get(s, False) for s in program.results)


@final
class Body:
    """A program made ready to run on stacked values.

    ragged : the arguments' rows are simply rows, of any number per sample (see can_be_ragged)
    """

    def __init__(self, program: Program, training: bool, ragged: bool = False) -> None:
        self.program, self.training, self.ragged = program, training, ragged
        self.batched = _batched_slots(program)
        self.modes: list[Mode] = [self._mode(step) for step in program.steps]
        self.parts = _column_parts(program, self.modes)
        taken = _taken(program, self.parts)
        mode_of = {id(step): mode for step, mode in zip(program.steps, self.modes)}
        rest = replace(program, steps=tuple(s for s in program.steps if not taken.issuperset(s.outputs)))
        self.placed = fuse(rest, self.batched, {slot: [p for p, _, _ in found] for slot, found in self.parts.items()},
                           ragged)
        self.steps: list[Runner] = [SegmentStep(item) if isinstance(item, Segment) else
                                    self._runner(item, mode_of[id(item)]) for item in self.placed]
        # every step knows its own gradient: no tape is needed
        self.explicit = all(isinstance(step, (SegmentStep, LinearStep, ConcatStep, PlaceStep)) or (
            isinstance(step, MoveStep) and step.word != "max") for step in self.steps)
        self.explicit = self.explicit and all(self.batched[slot] for slot in program.results)
        # results that segments can write where they are to be stored: one row each
        self.written = {slot for item in self.placed if isinstance(item, Segment) for slot in item.outputs
                        if slot in program.results and program.shape(slot)[:-1] in ((), (1,))}
        self._active: dict[Any, list[bool]] = {}
        self.random = training and any(isinstance(s.op, OpDef) and s.op.random for s in program.steps)
        # positions in program.shared: read by any step, and differentiated by the group's own tape
        self.used = [i for i, slot in enumerate(program.shared) if slot in program.results or any(
            slot in step.inputs for step in program.steps)]
        # … and whose values gradients are computed from
        needed = {slot for s, mode in zip(program.steps, self.modes) if getattr(s.op, "name", s.op) not in _VALUELESS
                  for slot in (s.inputs[:2] if mode == "linear" else s.inputs)}
        self.watched = [i for i in self.used if program.shared[i] in needed]
        self.direct = [i for i in self.used if self._used_directly(program.shared[i])]
        self.size = len(program.types)
        # as commands (commands.py): whether it can be written so; by whether what backward needs is kept
        self.writable: bool | None = None
        self.forwards: dict[tuple[bool, bool], Any] = {}

    def _mode(self, step: Step) -> Mode:
        mode = choose(self.program, step, self.batched, self.training)
        return "rows" if self.ragged and mode == "stack" else mode

    def _used_directly(self, slot: int) -> bool:
        """Whether a shared slot's gradient must come from the group's tape (linear layers put theirs off)."""
        return slot in self.program.results or any(
            slot in step.inputs and mode != "linear" for step, mode in zip(self.program.steps, self.modes))

    def active(self, needs: tuple[bool, ...], wanted: tuple[bool, ...]) -> list[bool]:
        """Return, per slot, whether gradients flow through it, when some arguments and shared tensors want them."""
        found = self._active.get((needs, wanted))
        if found is None:
            found = self._active[needs, wanted] = [False] * self.size
            for slots, flags in ((self.program.arguments, needs), (self.program.shared, wanted)):
                for slot, flag in zip(slots, flags):
                    found[slot] = flag
            steps: Any = self.steps
            for step in steps:
                step.activate(found)
        return found

    def results(self, values: Sequence[Any], run: Run) -> list[Tensor]:
        """Return the rows of the results from the values of all slots."""
        return [values[slot] if self.batched[slot] else self._repeated(slot, values[slot], run)
                for slot in self.program.results]

    def values(self, arguments: Sequence[Tensor], shared: Sequence[Tensor], run: Run) -> list[Any]:
        """Return the values of all slots."""
        values: list[Any] = [None] * self.size
        for slot, value in zip(self.program.arguments, arguments):
            shape = self.program.shape(slot)
            if value.dim() == 1 and len(shape) == 1 and not self.ragged:
                edges = self.program.levels[slot] == "edge" and run.segments is not None
                count = run.segments.edges if edges and run.segments is not None else run.count
                value = value.reshape(count, *shape)  # vectors of any length, here all of one: one row each
            values[slot] = value
        for slot, value in zip(self.program.shared, shared):
            values[slot] = value
        for step in self.steps:
            step(values, run)
        return values

    def _repeated(self, slot: int, value: Tensor, run: Run) -> Tensor:
        """Rows of a result that is the same for every sample."""
        stacked = value.expand(run.count, *value.shape)
        return _to_rows(stacked, len(self.program.shape(slot)))

    # -- how each step runs --------------------------------------------------------------------------------------------
    def _runner(self, step: Step, mode: Mode) -> Runner:
        inputs, outputs, attrs = step.inputs, step.outputs, step.attrs
        if mode == "spread" or mode in REDUCTIONS:
            source = inputs[0] or 0
            shape = self.program.shape(source)
            return MoveStep(mode, source, outputs[0], shape if len(shape) >= 2 and shape[0] != 1 else None,
                            attrs.get("ties") == "first")
        op: Any = step.op
        if mode == "linear":
            slots, parts = [outputs[0]], [(0, int(attrs["num_hidden"]))]
            if outputs[0] in self.parts:
                slots = [slot for slot, _, _ in self.parts[outputs[0]]]
                parts = [(begin, end) for _, begin, end in self.parts[outputs[0]]]
            return LinearStep(inputs[0] or 0, inputs[1] or 0, inputs[2] if len(inputs) > 2 else None, slots, parts)
        widths = _joined_columns(self.program, step, self.batched, self.ragged)
        if widths:
            return ConcatStep([s for s in inputs if s is not None], widths, outputs[0])
        if _places(self.program, step, self.batched, self.ragged):
            return PlaceStep(inputs[0] or 0, outputs[0], op.name == "argmin")
        if mode == "plain":
            names = [spec for spec, slot in zip(op.input_names, inputs) if slot is not None]

            def run_plain(values: list[Any], run: Run) -> None:
                found = run_operator(op, [values[s] for s in inputs if s is not None], attrs, self.training,
                                     None if op.variadic else names)
                for slot, value in zip(outputs, found):
                    values[slot] = value
            return run_plain
        if mode == "rows":
            return self._rows_runner(step)
        return self._stack_runner(step, mode)

    def _rows_runner(self, step: Step) -> Runner:
        op: Any = step.op
        inputs, outputs, attrs = step.inputs, step.outputs, step.attrs
        vectors = [not self.ragged and len(self.program.shape(s)) == 1 for s in outputs]
        sizes = [(self.program.shape(s) or (1,))[0] for s in outputs]

        def run_on_rows(values: list[Any], run: Run) -> None:
            found = run_rows(op, [None if s is None else values[s] for s in inputs], attrs, self.training)
            for slot, value, vector, size in zip(outputs, found, vectors, sizes):
                values[slot] = value.view(-1, size or 1) if vector else value
        return run_on_rows

    def _stack_runner(self, step: Step, mode: Mode) -> Runner:
        op: Any = step.op
        inputs, outputs, attrs = step.inputs, step.outputs, step.attrs
        flags = [s is not None and self.batched[s] for s in inputs]
        shapes = [None if s is None else self.program.shape(s) for s in inputs]
        ranks = [len(self.program.shape(s)) for s in outputs]
        edges = step.level == "edge"

        def run_on_stack(values: list[Any], run: Run) -> None:
            count = run.segments.edges if edges and run.segments is not None else run.count
            given = [None if s is None else values[s].reshape(count, *shape) if flag and shape is not None and
                     len(shape) >= 2 else values[s] for s, flag, shape in zip(inputs, flags, shapes)]
            found = (run_stacked(op, given, flags, attrs, self.training) if mode == "stack" else
                     _drawn(op, given, attrs, self.training, count))
            for slot, value, rank in zip(outputs, found, ranks):
                values[slot] = _to_rows(value, rank)
        return run_on_stack


def _to_rows(stacked: Tensor, rank: int) -> Tensor:
    """Return (N, *shape) as rows: (N·b, *rest) for values of two or more axes."""
    return stacked.flatten(0, 1) if rank >= 2 else stacked


def _joined_columns(program: Program, step: Step, batched: Sequence[bool], ragged: bool) -> list[int]:
    """Return the widths of what a step puts side by side; empty where it does something else."""
    if getattr(step.op, "name", None) != "Concat":
        return []
    slots = [s for s in step.inputs if s is not None]
    shapes = [program.shape(s) for s in slots]
    rank = len(shapes[0])
    if rank not in ((2,) if ragged else (1, 2)) or int(step.attrs["dim"]) not in (rank - 1, -1):
        return []
    if not all(batched[s] for s in slots):
        return []
    alike = {(shape[:-1], program.types[s].dtype) for shape, s in zip(shapes, slots)}
    return [shape[-1] for shape in shapes] if len(alike) == 1 else []


def _places(program: Program, step: Step, batched: Sequence[bool], ragged: bool) -> bool:
    """Whether a step finds the place of the greatest or smallest element of values of one row, of all their elements or
    along the row.
    """
    if getattr(step.op, "name", None) not in ("argmax", "argmin") or ragged:
        return False
    slot = step.inputs[0]
    if slot is None or not batched[slot]:
        return False
    shape, axis = program.shape(slot), step.attrs["axis"]
    if shape[:-1] not in ((), (1,)) or not shape or not shape[-1] or axis not in (None, -1, len(shape) - 1):
        return False
    return program.shape(step.outputs[0]) in ((1,), (1, 1))


def _taken(program: Program, parts: Mapping[int, Sequence[tuple[int, int, int]]]) -> set[int]:
    """Return the slots that linear layers compute as parts, and those that are only cut into such parts."""
    own = {slot for found in parts.values() for slot, _, _ in found}
    taken, bases = set(own), set(parts)
    for step in program.steps:
        if step.inputs and step.inputs[0] in bases and not isinstance(step.op, str) and step.op.name in (
                "slice_axis", "SliceChannel"):
            taken.update(step.outputs)
            bases.update(slot for slot in step.outputs if slot not in own)  # slices of a slice
    return taken


def _column_parts(program: Program, modes: Sequence[Mode]) -> dict[int, list[tuple[int, int, int]]]:
    """Return, per slot of a linear layer's result of which only slices are read, (slot, begin, end) of the slices.

    They become views of one product, and their gradients are put together once.
    """
    readers: dict[int, list[Step]] = {}
    for step in program.steps:
        for slot in step.inputs:
            if slot is not None:
                readers.setdefault(slot, []).append(step)
    found: dict[int, list[tuple[int, int, int]]] = {}
    for step, mode in zip(program.steps, modes):
        slot = step.outputs[0]
        if mode != "linear" or slot in program.results or not readers.get(slot):
            continue
        parts = _all_parts(program, readers, slot, 0, int(step.attrs["num_hidden"]))
        if parts and all(a[2] <= b[1] for a, b in pairwise(parts)):
            found[slot] = parts
    return found


def _all_parts(program: Program, readers: Mapping[int, Sequence[Step]], slot: int, low: int,
               size: int) -> list[tuple[int, int, int]]:
    """Return the columns that all readers of a slot cut out of it, slices of slices taken together; empty where some
    reader wants the whole.
    """
    found: list[tuple[int, int, int]] = []
    for reader in readers[slot]:
        cut = column_slices(reader, size)
        if not cut:
            return []
        for part, begin, end in cut:
            used = readers.get(part, ())
            deeper = [] if not used or part in program.results else _all_parts(program, readers, part, low + begin,
                                                                              end - begin)
            if used or part in program.results:
                found += deeper or [(part, low + begin, low + end)]
    return sorted(found, key=lambda p: p[1])


def _drawn(op: OpDef, given: Sequence[Any], attrs: Mapping[str, Any], training: bool, count: int) -> list[Tensor]:
    """Run an operator that draws numbers, once per sample."""
    names = [name for name, value in zip(op.input_names, given) if value is not None]
    own = [value for value in given if value is not None]
    results = [run_operator(op, own, attrs, training, None if op.variadic else names) for _ in range(count)]
    return [torch.stack(parts) for parts in zip(*results)]
