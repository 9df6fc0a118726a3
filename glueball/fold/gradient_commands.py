"""The gradient of a body as commands for the compiled runner.

The one idea: as in explicit_steps.py the steps are walked in reverse, but what is a choice there, whether a gradient is
the first of its slot or is added to another, is known when the commands are written. Gradients of results are rows
already, those of linear layers' results are kept for all groups (the weight's gradient is made of them at the end),
those of arguments are added to the rows that they came from.

Not here: running it, and the gradients of weights (stream.py).
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from .commands import (
    ADD,
    COPY,
    FILL,
    FIXED,
    GATHERED,
    GRADS,
    IS_THERE,
    PRODUCT,
    REDUCE,
    RESULT,
    SCATTER,
    SPREAD,
    SUM,
    SUMS,
    Forward,
    Operand,
    Region,
    Writer,
    argument_root,
    packed_root,
    result_root,
)
from .explicit_steps import ConcatStep, LinearStep, MoveStep, PlaceStep, SegmentStep

__all__ = ["Backward", "Use", "RowSum"]

_NOWHERE = Operand(FIXED, -1)


@final
@dataclass(slots=True)
class _Gradient:
    """A slot's gradient. filled: the columns that have been written."""

    place: Operand
    width: int
    filled: list[tuple[int, int]] = field(default_factory=list)

    def gaps(self, begin: int, end: int) -> list[tuple[int, int]]:
        """Return the columns of a stretch that have not been written."""
        found: list[tuple[int, int]] = []
        for low, high in [*sorted(self.filled), (end, end)]:
            if low > begin:
                found.append((begin, min(low, end)))
            begin = max(begin, high)
            if begin >= end:
                break
        return found


@final
@dataclass(frozen=True, slots=True)
class Use:
    """A linear layer whose weight's gradient is to be made. place, width : of the gradient of columns from `low` on,
    which is kept, or lies in the rows of a result.
    """

    step: LinearStep
    place: Operand
    low: int
    width: int
    edge: bool


@final
@dataclass(frozen=True, slots=True)
class RowSum:
    """The gradient of a part of a shared vector; offset: where its sum lies, in bytes."""

    slot: int
    begin: int
    end: int
    offset: int


@final
class Backward(Writer):
    """The commands of a gradient.

    forward : the commands of the body, which kept what it needs. active : per slot, whether gradients flow through it.
    needs : per argument. present : per result, whether there are gradients of it

    grads : the memory of gradients that are kept. sums : bytes of those of shared vectors
    """

    def __init__(self, forward: Forward, active: Sequence[bool], needs: Sequence[bool],
                 present: Sequence[bool]) -> None:
        super().__init__(forward.body)
        self.forward, self.active = forward, active
        self.grads = Region(GRADS, True)
        self.uses: list[Use] = []
        self.row_sums: list[RowSum] = []
        self.sums = 0
        self._held: dict[int, _Gradient] = {}
        self._columns: dict[int, Operand] = {}  # places of gradients that are columns of a linear layer's
        self._whole: dict[int, Operand] = {}  # by a layer's first slot
        self._rows: dict[int, Operand] = {}  # by result of a half that ran for some calls
        for step in self.body.steps:
            if isinstance(step, LinearStep) and active[step.slots[0]] and not self._is_bare(step, present):
                self._reserve(step)
        self._start(present)
        self.translate(reversed(self.body.steps))
        reads: list[tuple[int, bool]] = []
        for number, slot in enumerate(self.program.arguments[:forward.frontier]):
            if needs[number]:
                reads.append((argument_root(self.body, number) + 4, self.edge(slot)))
                self._scatter(number, slot)
        if forward.some:
            self._scatter_crossing(needs)
        self.code = self.words(reads)

    def _place(self, step: PlaceStep) -> None:
        """No gradient flows through the place of a maximum."""

    # -- where things are ----------------------------------------------------------------------------------------------
    def _value(self, slot: int) -> Operand | None:
        """Return where a slot's values are; None for shared arrays."""
        forward, arguments = self.forward, self.program.arguments
        place = forward.place.get(slot)
        if forward.some and slot in arguments[forward.frontier:]:
            return forward.crossed(arguments.index(slot), self)
        if place is not None and place.mode == GATHERED:
            target = self.forward.operands[place.target]
            return place._replace(target=self.operand(target), flags=place.flags | IS_THERE)
        return place

    def _is_bare(self, step: LinearStep, present: Sequence[bool]) -> bool:
        """Whether a layer's result is a result and nothing else: its gradient is used where it lies."""
        slot = step.slots[0]
        numbers = [number for number, other in enumerate(self.program.results) if other == slot]
        read = any(slot in other.reads() for other in self.body.steps)
        return len(step.slots) == 1 and len(numbers) == 1 and present[numbers[0]] and not read

    def _reserve(self, step: LinearStep) -> None:
        """Find room for the gradient of a layer's result, whose parts lie side by side."""
        slot = step.slots[0]
        size, high = self.size(slot), max(end for _, end in step.parts)
        whole = self._whole[slot] = self.grads.take(self.edge(slot), (high - step.low) * size)
        for part, (begin, _) in zip(step.slots, step.parts):
            self._columns[part] = whole.columns((begin - step.low) * size)

    def _start(self, present: Sequence[bool]) -> None:
        """The gradients of results are rows already."""
        for number, (slot, here) in enumerate(zip(self.program.results, present)):
            if not here or not self.active[slot]:
                continue
            root, size = result_root(self.body, number), self.size(slot)
            width, edge = self.width(slot), self.edge(slot)
            rows = Operand(RESULT, root + 2, stride=width * size, extra=root + 1)
            if slot in self._held or slot in self.program.arguments[self.forward.frontier:]:
                target, add = self._into(slot, 0, width)
                if add:
                    self.command(ADD, edge, target, self.operand(rows), width, self.double(slot))
                else:  # it goes where the gradient of what crosses belongs
                    self.command(COPY, edge, target, self.operand(rows), width * size)
                continue
            place = self._columns.get(slot)
            if place is not None:
                self.command(COPY, edge, self.operand(place), self.operand(rows), width * size)
            self._held[slot] = _Gradient(place or rows, width, [(0, width)])

    def _state(self, slot: int) -> _Gradient:
        state = self._held.get(slot)
        if state is None:
            width = self.width(slot)
            place, filled = self._columns.get(slot), []
            if place is None and slot in self.program.arguments[self.forward.frontier:]:
                number, shared = self.program.arguments.index(slot), self._shared_columns(slot)
                if not self.forward.some:
                    place = self.forward.place[slot]._replace(root=argument_root(self.body, number) + 3)
                    filled = [(0, width)] if shared else []
                elif not shared:
                    place = self._beside(number)
            if place is None:
                place = self.scratch.take(self.edge(slot), width * self.size(slot))
            state = self._held[slot] = _Gradient(place, width, filled)
        return state

    def _beside(self, number: int) -> Operand:
        """Return where the gradient of an argument from a half that ran for some calls is collected: beside those of
        others that are columns of the same result, to be added to its rows together.
        """
        result, stride, begin = self.forward.crossing[number - self.forward.frontier]
        if result not in self._rows:
            self._rows[result] = self.scratch.take(False, stride)
        return self._rows[result].columns(begin)

    def _shared_columns(self, slot: int) -> bool:
        """Whether other arguments are columns of the same result as this one from the half that ran before."""
        def columns(other: int) -> tuple[int, int, int]:
            result, _, begin = frontier[arguments.index(other)]
            return result, begin, begin + self.width(other) * self.size(other)

        frontier, arguments = self.forward.crossing, self.program.arguments[self.forward.frontier:]
        result, begin, end = columns(slot)
        return any(other != slot and mine == result and low < end and begin < high
                   for other in arguments for mine, low, high in (columns(other),))

    def _into(self, slot: int, begin: int, end: int) -> tuple[int, bool]:
        """Return the operand for a gradient of columns of a slot, and whether it is to be added to what is there."""
        state = self._state(slot)
        add = any(low < end and begin < high for low, high in state.filled)
        if add:
            self._zero(slot, state, begin, end)
        else:
            state.filled.append((begin, end))
        return self.operand(state.place.columns(begin * self.size(slot))), add

    def _zero(self, slot: int, state: _Gradient, begin: int, end: int) -> None:
        """Write zeros to columns that nothing was written to."""
        size = self.size(slot)
        for low, high in state.gaps(begin, end):
            self.command(FILL, self.edge(slot), self.operand(state.place.columns(low * size)), -1, (high - low) * size,
                         0)
            state.filled.append((low, high))

    def _finished(self, slot: int) -> int:
        """Return the operand of a slot's gradient, which is complete; -1 where there is none."""
        state = self._held.get(slot)
        if state is None or not state.filled or not self.active[slot]:
            return -1
        self._zero(slot, state, 0, state.width)
        return self.operand(state.place)

    # -- steps ---------------------------------------------------------------------------------------------------------
    def _linear(self, step: LinearStep) -> None:
        given = [self._finished(slot) for slot in step.slots]
        if all(g < 0 for g in given):
            return
        slot = step.slots[0]
        size, edge, whole = self.size(slot), self.edge(slot), self._whole.get(slot) or self._held[slot].place
        reached = step.low
        for number, (begin, end) in sorted(enumerate(step.parts), key=lambda item: item[1]):
            low = reached if given[number] >= 0 else min(reached, begin)
            high = begin if given[number] >= 0 else end
            if high > low:
                self.command(FILL, edge, self.operand(whole.columns((low - step.low) * size)), -1, (high - low) * size,
                             0)
            reached = end
        width = reached - step.low
        self.uses.append(Use(step, whole, step.low, width, edge))
        if self.active[step.data]:
            inner = self.width(step.data)
            target, add = self._into(step.data, 0, inner)
            weight = self.shared(step.weight, step.low * inner * size, inner * size)
            self.command(PRODUCT, self.double(slot), edge, self.operand(whole), weight, target, inner, width, 0, add,
                         packed_root(self.body, self.body.steps.index(step)) + 1, -1)

    def _segment(self, step: SegmentStep) -> None:
        segment = step.segment
        given = [self._finished(slot) for slot in segment.outputs]
        if all(g < 0 for g in given):
            return
        leaves = segment.leaves
        plan = segment.rows.plan([None if g < 0 else g for g in given], [self.active[leaf.slot] for leaf in leaves])
        if not plan.segment.results:
            return
        columns, edge = step.direct.columns, self.edge(segment.outputs[0])
        block = plan.block(columns)
        count = len(leaves)
        operands = [self.leaf(leaves[i], self._value(leaves[i].slot)) if i < count else given[i - count]
                    for i in plan.inputs]
        added: list[tuple[int, int, int, int]] = []  # (target, source, columns, double)
        for index in (*plan.order[0], *plan.order[2]):
            leaf = leaves[index]
            size, width = self.size(leaf.slot), leaf.end - leaf.begin
            target, add = self._into(leaf.slot, leaf.begin, leaf.end)
            if add:
                source = self.operand(self.scratch.take(edge, width * size))
                added.append((target, source, width, self.double(leaf.slot)))
                target = source
            operands.append(target)
        sums: list[int] = []
        for index in plan.order[1]:
            leaf = leaves[index]
            part = self.operand(self.scratch.take(edge, columns * self.size(leaf.slot)))
            self.command(FILL, edge, part, -1, columns * self.size(leaf.slot), block)
            sums.append(part)
        middle = len(plan.order[0]) + len(plan.inputs)
        operands[middle:middle] = sums
        self.kernel(step, plan.kernel(), operands, plan.across, block)
        for target, source, width, double in added:
            self.command(ADD, edge, target, source, width, double)
        for index, part in zip(plan.order[1], sums):
            leaf = leaves[index]
            target = self.operand(Operand(FIXED, SUMS, self.sums, stride=columns * self.size(leaf.slot)))
            self.command(REDUCE, edge, target, part, columns, self.double(leaf.slot), block)
            self.row_sums.append(RowSum(leaf.slot, leaf.begin, leaf.end, self.sums))
            self.sums += -(-columns * self.size(leaf.slot) // 64) * 64

    def _move(self, step: MoveStep) -> None:
        gradient = self._finished(step.target)
        if gradient < 0 or not self.active[step.source]:
            return
        width = self.width(step.source)
        target, add = self._into(step.source, 0, width)
        self.command(SUM if step.word == "spread" else SPREAD, 0, target, gradient, width, self.double(step.source),
                     add, step.word == "mean")

    def _concat(self, step: ConcatStep) -> None:
        whole = self._finished(step.target)
        if whole < 0:
            return
        place, size = self._held[step.target].place, self.size(step.target)
        readers = [slot for other in self.body.steps for slot in other.reads()]
        for slot, begin in zip(step.sources, step.begins):
            if not self.active[slot]:
                continue
            own, width = place.columns(begin * size), self.width(slot)
            if readers.count(slot) == 1 and slot not in self._held and slot not in self._columns and (
                    slot not in self.program.arguments[self.forward.frontier:]):
                self._held[slot] = _Gradient(own, width, [(0, width)])  # columns of the whole, as they are
                continue
            target, add = self._into(slot, 0, width)
            if add:
                self.command(ADD, self.edge(slot), target, self.operand(own), width, self.double(slot))
            else:
                self.command(COPY, self.edge(slot), target, self.operand(own), width * size)

    def _scatter(self, number: int, slot: int, columns: int = 0, stride: int = 0) -> None:
        """Add an argument's gradient to the rows of whoever made it.

        columns : how many there are with those that go with it. stride : of the rows added to, in bytes; 0: as wide
        """
        gradient = self._finished(slot)
        if gradient < 0:
            return
        width = columns or self.width(slot)
        root = argument_root(self.body, number)
        self.command(SCATTER, self.edge(slot), root + 3, gradient, width, self.double(slot), root + 1,
                     stride or width * self.size(slot))

    def _scatter_crossing(self, needs: Sequence[bool]) -> None:
        """Add gradients to the rows of a half that ran for some calls; those that lie side by side in one go."""
        frontier, arguments = self.forward.frontier, self.program.arguments
        crossing = enumerate(self.forward.crossing, frontier)
        runs: list[list[int]] = []  # numbers of arguments
        last: tuple[int, int] | None = None
        for result, begin, number in sorted((result, begin, number) for number, (result, _, begin) in crossing):
            slot = arguments[number]
            if not needs[number] or self._finished(slot) < 0:
                continue
            beside = self._held[slot].place == self._rows.get(result, _NOWHERE).columns(begin)
            if last == (result, begin) and beside:
                runs[-1].append(number)
            else:
                runs.append([number])
            last = (result, begin + self.width(slot) * self.size(slot)) if beside else None
        for run in runs:
            width = sum(self.width(arguments[number]) for number in run)
            self._scatter(run[0], arguments[run[0]], width, self.forward.crossing[run[0] - frontier][1])
