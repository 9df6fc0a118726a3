"""The engine of a scope: runs what was recorded, group by group.

The one idea: at a flush every queue becomes arrays of row references; the schedule says which calls run together;
a group gathers its arguments' rows, runs its signature's body on them, and stores the result's rows. What a group did
is noted on the tape (backward.py).

Not here: which groups there are (schedule.py), how a program runs on rows (body.py).
"""
from __future__ import annotations

import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
import torch

from ..base.aten import set_grad_mode
from ..base.memory import keep_freed
from .arena import Store
from .backward import Entry, Tape, attach
from .body import Body, Run
from .check import Checker, blame
from .explain import Report
from .explicit_steps import Trace
from .functions import Segments
from .future import OFFSET, OFFSET_MASK, Future
from .hoist import Halves, different, split
from .kinds import Kind, Pool
from .layout import ALL, Layout, Reads, lay_out
from .outside import take_in
from .rounds import rounds
from .schedule import Planned, schedule
from .sharing import repeatable, share
from .signature import Signature
from .stream import Part, Stream, bind, usable
from .work import Work

__all__ = ["Engine", "Work"]

Tensor = torch.Tensor


@final
@dataclass(slots=True)
class _Gathered:
    """Rows of one argument. place: where they lay. need: whether their gradient is wanted. values: the numbers of the
    values, one per call, or with `children` one per child.
    """

    tensor: Tensor
    pool: Pool
    place: Any
    need: bool
    values: Any = None
    children: bool = False


@final
@dataclass(slots=True)
class _Computed:
    """What running a body gave. flows: whether gradients flow through each output. inputs, direct: what torch's tape of
    the group can differentiate: gathered rows that need gradients, and shared tensors. trace: where no tape is needed.
    """

    outputs: list[Tensor]
    flows: list[bool]
    taped: bool = False
    inputs: list[Tensor] = field(default_factory=list)
    direct: list[Tensor] = field(default_factory=list)
    trace: Trace | None = None


@final
class _Known:
    """What is the same for all groups of a signature in a flush.

    shared : its shared tensors. wanted : which of them want gradients. used, direct : those that do of the tensors that
    the body reads, and of those that torch's tape differentiates. watched : see Entry
    """

    __slots__ = ("body", "shared", "wanted", "used", "direct", "watched")

    def __init__(self, signature: Signature, body: Body) -> None:
        self.body = body
        self.shared = shared = [tensor_of(s, signature.arguments[0].pool.ctx) for s in signature.shared]
        self.wanted = tuple([t.requires_grad for t in shared])
        self.used = [shared[i] for i in body.used if self.wanted[i]]
        self.direct = [shared[i] for i in body.direct if self.wanted[i]]
        self.watched = [shared[i] for i in body.watched]


@final
@dataclass(slots=True)
class _Ahead:
    """The half of a signature that runs for all calls at once, and its results: (pool, rows per call, need).

    whole : all calls as one group, where that is run as commands. reads : of its arguments. read : where it runs for
    the different ones of the calls only, which row of its results each call reads
    """

    halves: Halves
    first: Body
    second: Body
    results: list[tuple[Pool, int, bool]] = field(default_factory=list)
    whole: Layout | None = None
    reads: list[Reads] = field(default_factory=list)
    read: Reads | None = None

    def choose(self, layout: Layout, every: bool) -> int:
        """Find out for which calls the half will run; return how many. every: for all of them."""
        self.reads = [layout.reads[position] for position in self.halves.given]
        arguments = layout.work.signature.arguments
        every = every or not repeatable(self.first.program) or any(arguments[p].rows != 1 for p in self.halves.given)
        found = None if every else different(self.reads, layout.sizes)
        if found is None:
            return len(layout.calls)
        self.reads, self.read = found
        return self.reads[0].lows[-1] - self.reads[0].lows[0]


@final
class Engine:
    """Runs the calls of one folder and holds their values."""

    def __init__(self, folder: Any) -> None:
        self.folder: Any = folder
        self.store = Store()
        keep_freed()  # a step of training needs again what the step before has just freed
        self.tape = Tape(self.store)
        self.token: Tensor | None = None  # not the tape's own: nodes of torch's tape lead to the tape
        self.checker = self.tape.checker = Checker(self, tensor_of) if folder.check else None
        self.report = Report()
        self.tape.noted = self.report.backward
        self.rounds = rounds(self.store, tensor_of) if self.checker is None else None

    def end(self) -> None:
        """The scope has ended. What futures lead to must not lead back to the folder: memory is freed at once."""
        if self.checker is None:
            self.folder = None

    # -- values --------------------------------------------------------------------------------------------------------
    def has(self, future: Future) -> bool:
        """Whether a value has been computed."""
        value = future.ref >> OFFSET
        return value < len(self.store.rows) and self.store.rows[value] >= 0

    def _place(self, future: Future) -> tuple[Any, int]:
        start = int(self.store.rows[future.ref >> OFFSET]) + (future.ref & OFFSET_MASK)
        return self.store.arena(future.kind.pool), start

    def value(self, future: Future) -> Tensor:
        """Return a value as a tensor of its own; on torch's tape when it depends on something with a gradient."""
        arena, start = self._place(future)
        kind = future.kind
        rows = arena.data[start:start + kind.rows].reshape(kind.shape).clone()
        if self.store.gradient[future.ref >> OFFSET] and kind.pool.floating:
            value = int(self.store.origin(np.array([future.ref]))[0]) >> OFFSET
            return attach(self.token, self.tape, rows, kind.pool, slice(start, start + kind.rows), value)
        return rows

    def joined(self, refs: Any, kind: Kind) -> Tensor:
        """Return values of one kind, row after row, as one tensor (rows, ...); on torch's tape as `value` does."""
        refs = self.store.origin(refs)
        values, arena = refs >> OFFSET, self.store.arena(kind.pool)
        rows, place = arena.take(self.store.rows[values] + (refs & OFFSET_MASK), kind.rows)
        rows = rows.clone() if isinstance(place, slice) else rows
        if kind.pool.floating and self.store.gradient[values].any():
            return attach(self.token, self.tape, rows, kind.pool, place, values)
        return rows

    def number(self, future: Future) -> Any:
        """Return the only element of a value."""
        arena, start = self._place(future)
        return arena.data[start].item()

    def numbers(self, futures: list[Future]) -> None:
        """Give every future of one element its number: one copy for all of a pool instead of one each."""
        if self.rounds is not None:
            futures = self.rounds.numbers(futures)
        by_kind: dict[Kind, list[Future]] = {}
        for future in futures:
            if future._value is None and future.ref >= 0:
                by_kind.setdefault(future.kind, []).append(future)
        for kind, some in by_kind.items():
            if kind.size == 1:
                refs = np.array([future.ref for future in some])
                starts = self.store.rows[refs >> OFFSET] + (refs & OFFSET_MASK)
                rows, _ = self.store.arena(kind.pool).take(starts, 1)
                for future, number in zip(some, rows.reshape(-1).tolist()):
                    future._value = number

    # -- running -------------------------------------------------------------------------------------------------------
    def flush(self, reason: str, plan: Any = schedule) -> None:
        """Run all recorded calls.

        plan : finds the groups; the doors that are given structure as arrays remember them
        """
        folder, begin = self.folder, time.perf_counter()
        self.store.fit(folder.next)
        if folder.fresh:
            self.tape.sources += take_in(folder.fresh, self.store)
            folder.fresh = []
        stored = time.perf_counter()
        if self.rounds is not None and plan is schedule and not self.tape.waiting:
            ran = self.rounds.run(folder)
            if ran is not None:
                return self.report.round(reason, ran, folder.next, (begin, stored))
        works = [Work.merged([*queue.blocks, Work.queued(signature, queue)] if queue.ids else queue.blocks)
                 for signature, queue in folder.queues.items()]
        folder.queues = {}
        folder.waiting = 0
        shared = 0
        if self.checker is None:
            works, shared = share(works, self.store)
        planned = (schedule if shared else plan)(works, folder.next)
        always = [w.signature.recording and any(tensor_of(s, w.signature.arguments[0].pool.ctx).requires_grad
                                                for s in w.signature.shared) for w in works]
        layouts = lay_out(works, planned, self.store, always)
        self.report.begin(reason, works, planned, (begin, stored, time.perf_counter()), shared)
        self._hoist(layouts, planned)
        self.tape.open()
        try:
            self._run_all(layouts, planned.turns)
            self.store.settle()
            if self.rounds is not None:
                self.rounds.learn(layouts, planned)
        finally:
            self.token = self.tape.close(self.token)
        for layout in layouts:
            if layout is not None:
                layout.bound = None  # it leads back to the layout
        self.report.end()

    def _run_all(self, layouts: Sequence[Layout | None], turns: Sequence[int]) -> None:
        """Run groups in their order; those that follow each other and can be written as commands in one native call."""
        waiting: list[int] = []
        native = self.checker is None and usable()
        for index in turns:
            layout = layouts[index]
            assert layout is not None  # every group's work has one
            group = layout.group
            try:
                if layout.known is None:
                    if layout.ahead is not None and native and self._bind_ahead(layout):
                        waiting.append(~index)
                    elif layout.ahead is not None:
                        self._stream(layouts, waiting)
                        waiting = []
                        self._run_ahead(layout)
                    self._prepare(layout, native)
                if layout.bound is not None:
                    waiting.append(index)
                    continue
                self._stream(layouts, waiting)
                waiting = []
                self._run(layout)
            except Exception as error:
                begins = sum(layout.sizes[:group])
                calls = layout.calls[begins:begins + layout.sizes[group]]
                raise blame(self.checker or Checker(self, tensor_of), layout.work, calls, error) from error
        self._stream(layouts, waiting)

    def _stream(self, layouts: Sequence[Layout | None], turns: Sequence[int]) -> None:
        """Run groups in one native call. turns : numbers of works; ~number: their halves that run ahead."""
        if not turns:
            return
        count: dict[int, int] = {}
        for index in turns:
            count[index] = count.get(index, 0) + 1
        parts: list[Part] = []
        for index, groups in count.items():
            layout = layouts[max(index, ~index)]
            assert layout is not None  # every group's work has one
            if index < 0:
                layout = layout.ahead.whole
            part = Part(layout.bound, layout.group, groups, layout.begin)
            layout.group, layout.begin = part.group + groups, part.end
            parts.append(part)
            if layout.bound.active is not None:
                self.tape.share(layout.known.used)
        number = {index: i for i, index in enumerate(count)}
        made = Stream(parts, array("q", [number[index] for index in turns]))
        clocks = made.run(self.store)
        flush = self.report.current
        for index, before, gathered, end in zip(turns, clocks[::2], clocks[1::2], clocks[2::2]):
            if index >= 0:
                flush.marks += (gathered, end)
            else:
                layout = layouts[~index]
                assert layout is not None  # every group's work has one
                ran = layout.ahead.whole.sizes[0]
                flush.ahead.append((layout.work, layout.ahead.halves, before, gathered, end, ran))
        taped = made.taped()
        if taped is not None:
            self.tape.entries.append(taped)

    # -- what runs once for all levels ---------------------------------------------------------------------------------
    def _hoist(self, layouts: Sequence[Layout | None], planned: Planned) -> None:
        """Find out which signatures have a part that need not wait for its levels."""
        for index, layout in enumerate(layouts):
            if layout is None or len(layout.sizes) < 2 or not planned.recurrent[index] or layout.rows is not None:
                continue
            signature, key = layout.work.signature, tuple(planned.outside[index])
            if key not in signature.compiled:
                halves = split(signature.program, key)
                signature.compiled[key] = halves and (halves, Body(halves.first, signature.training),
                                                      Body(halves.second, signature.training))
            made = signature.compiled[key]
            if made:
                layout.ahead = _Ahead(*made)

    def _bind_ahead(self, layout: Layout) -> bool:
        """Make the first half ready to run as commands, as one group of all calls; False where it cannot."""
        ahead, work = layout.ahead, layout.work
        program = ahead.first.program
        if not ahead.first.explicit or any(argument.rows != 1 for argument in work.signature.arguments):
            return False
        count = ahead.choose(layout, False)
        whole = Layout(work, layout.calls, layout.ids, [count], [
            replace(read, lows=[read.lows[0], read.lows[-1]], starts=[read.starts[-1]]) for read in ahead.reads])
        whole.some = ahead.read is not None
        types = [program.types[slot] for slot in program.results]
        context = work.signature.arguments[0].pool.ctx
        whole.writes = [(self.store.arena(Pool(context, found.dtype, tuple(found.shape or ())[-1:])), [0])
                        for found in types]
        whole.known = known = _Known(work.signature, ahead.first)
        whole.bound = bound = bind(whole, ahead.first, known, self.store)
        if bound is None:
            return False
        ahead.whole = whole
        for (arena, _), slot in zip(whole.writes, program.results):
            arena.room(count)
            ahead.results.append((arena.pool, 1, bound.active is not None and bound.active[slot]))
        return True

    def _run_ahead(self, layout: Layout) -> None:
        """Run the first half for all calls of a signature; its results are arenas of their own."""
        work, ahead, begin = layout.work, layout.ahead, time.perf_counter()
        count = ahead.choose(layout, self.checker is not None)
        gathered = [self._gather(layout, position, 0, len(layout.calls), ALL, reads)
                    for position, reads in zip(ahead.halves.given, ahead.reads)]
        filled, known = time.perf_counter(), _Known(work.signature, ahead.first)
        made = _compute(self.tape, work.signature, ahead.first, gathered, count, None, known)
        self.report.ahead(work, ahead.halves, begin, filled, count)
        written: list[tuple[Pool, int, int]] = []
        for tensor, flows in zip(made.outputs, made.flows):
            pool = Pool(work.signature.arguments[0].pool.ctx, tensor.dtype, tuple(tensor.shape[1:]))
            arena = self.store.arena(pool)
            arena.data, arena.used = tensor.detach().contiguous(), tensor.shape[0]
            ahead.results.append((pool, tensor.shape[0] // max(count, 1), flows))
            written.append((pool, 0, tensor.shape[0]))
        if made.taped:
            self._note(layout, gathered, made, written, ahead.first, 0, len(layout.calls), None, known, count)

    # -- one group -----------------------------------------------------------------------------------------------------
    def _gather(self, layout: Layout, position: int, begin: int, end: int, group: int,
                reads: Reads | None = None) -> _Gathered:
        """Return the rows of one argument of a group, which is calls begin to end; reads: those of the argument."""
        reads = reads or layout.reads[position]
        tensor, place = reads.take(group)
        need, children = reads.need, layout.work.signature.arguments[position].children
        if need is False:
            return _Gathered(tensor, reads.arena.pool, place, need)
        low, high = (begin, end) if layout.edges is None or not children else (
            int(layout.edges[begin]), int(layout.edges[end]))
        values = reads.values[low:high]
        if need is None:
            need = bool(self.store.gradient[values].any())
        return _Gathered(tensor, reads.arena.pool, place, need, values, children)

    def _prepare(self, layout: Layout, native: bool) -> None:
        """Do what the first group of a signature needs; native: whether groups can be run as commands."""
        signature, ahead = layout.work.signature, layout.ahead
        if ahead is None:
            body = signature.compiled.get("body")
            if body is None:
                started = time.perf_counter()
                body = signature.compiled["body"] = Body(signature.program, signature.training, signature.ragged)
                self.report.prepared(started)
        else:
            body = ahead.second
        layout.known = _Known(signature, body)
        if native and body.explicit:
            layout.bound = bind(layout, body, layout.known, self.store)

    def _run(self, layout: Layout) -> None:
        """Run the next group of a signature."""
        signature, ahead, known = layout.work.signature, layout.ahead, layout.known
        begin, end = layout.begin, layout.begin + layout.sizes[layout.group]
        positions = range(len(layout.reads)) if ahead is None else ahead.halves.kept
        gathered = [self._gather(layout, i, begin, end, layout.group) for i in positions]
        if ahead is not None:
            gathered += self._crossing(ahead, begin, end, layout.group)
        body: Body = known.body
        segments = layout.segments(begin, end, gathered[0].tensor.device)
        outs = self._targets(layout, body)
        self.report.clock(time.perf_counter())
        made = _compute(self.tape, signature, body, gathered, end - begin, segments, known, outs)
        calls = layout.calls[begin:end]
        written = self._write(layout, calls, made, body, outs)
        if made.taped:
            self._note(layout, gathered, made, written, body, begin, end, segments, known)
        layout.begin = end
        layout.group += 1
        self.report.clock(time.perf_counter())
        if self.checker is not None:
            self.checker.values(layout.work, calls)

    def _crossing(self, ahead: _Ahead, begin: int, end: int, group: int) -> list[_Gathered]:
        """Return what calls begin to end read of the results of the half that ran before."""
        found: list[_Gathered] = []
        for crossing in ahead.halves.frontier:
            pool, size, need = ahead.results[crossing.result]
            if ahead.read is None:
                tensor = self.store.arena(pool).view(begin * size, (end - begin) * size)
                place: Any = slice(begin * size, end * size)
            else:
                tensor, place = replace(ahead.read, arena=self.store.arena(pool)).take(group)
            if crossing.end - crossing.begin != (pool.rest[-1] if pool.rest else 1):
                place = place, slice(crossing.begin, crossing.end)
                tensor = tensor[:, crossing.begin:crossing.end]
            found.append(_Gathered(tensor, pool, place, need))
        return found

    def _targets(self, layout: Layout, body: Body) -> dict[int, Tensor]:
        """Return the rows of results that segments can write by themselves."""
        group, outs = layout.group, {}
        for (arena, firsts), slot in zip(layout.writes, body.program.results):
            if slot in body.written and slot not in outs:
                start, count = firsts[group], layout.sizes[group]
                if not arena.alone(start, count):
                    outs[slot] = arena.target(start, count)
        return outs

    def _write(self, layout: Layout, calls: Any, made: _Computed, body: Body,
               outs: Mapping[int, Tensor]) -> list[Any]:
        """Store the results' rows, where they are not there already; return where they are."""
        written: list[Any] = []
        for number, ((arena, firsts), tensor, flows) in enumerate(zip(layout.writes, made.outputs, made.flows)):
            start = firsts[layout.group]
            slot = body.program.results[number]
            if outs.get(slot) is not tensor or body.program.results.index(slot) != number:
                arena.put(start, tensor)
            if flows and not layout.always:
                self.store.gradient[layout.work.ids[calls] + number] = True
            written.append((arena.pool, start, start + tensor.shape[0]))
        return written

    def _note(self, layout: Layout, gathered: Sequence[_Gathered], made: _Computed,
              written: list[tuple[Pool, int, int]], body: Body, begin: int, end: int, segments: Segments | None,
              known: _Known, count: int | None = None) -> None:
        """Put a group on the tape: calls begin to end of a layout; count: how many run, where not all do."""
        work, signature = layout.work, layout.work.signature
        places = [(g.pool, g.place, g.need) for g in gathered]

        def again(tape: Tape) -> _Computed:
            fresh = [_Gathered(tape.store.arena(pool).fetch(place), pool, place, need) for pool, place, need in places]
            return _compute(tape, signature, body, fresh, end - begin if count is None else count, segments,
                            _Known(signature, body))

        reads = [(g.values, g.children) for g in gathered if g.need and g.values is not None]
        self.tape.entries.append(Entry(signature, made, [(g.pool, g.place) for g in gathered if g.need], written,
                                       work, layout.calls[begin:end], reads, None if body.random else again,
                                       [(t, t._version) for t in known.watched], layout.ids[begin:end]))


def _compute(tape: Tape, signature: Signature, body: Body, gathered: Sequence[_Gathered], count: int,
             segments: Segments | None, known: _Known, outs: Mapping[int, Tensor] | None = None) -> _Computed:
    """Run a body on gathered rows. outs: where results may be written."""
    needs = tuple([g.need for g in gathered])
    taped = signature.recording and (True in needs or bool(known.used))
    on_tape = taped and not body.explicit
    before = torch.is_grad_enabled()
    if before is not on_tape:
        set_grad_mode(on_tape)
    try:
        run = Run(count, segments, tape if on_tape else None, None if on_tape else outs)
        inputs = [g.tensor.requires_grad_() if on_tape and g.need else g.tensor for g in gathered]
        values = body.values(inputs, known.shared, run)
        outputs = body.results(values, run)
    finally:
        if before is not on_tape:
            set_grad_mode(before)
    run.outs = None
    if not taped:
        return _Computed(outputs, [False] * len(outputs))
    tape.share(known.used)
    if on_tape:
        return _Computed(outputs, [t.requires_grad for t in outputs], True,
                         [g.tensor for g in gathered if g.need], known.direct)
    active = body.active(needs, known.wanted)
    flows = [active[slot] for slot in body.program.results]
    if True not in flows:
        return _Computed(outputs, flows)
    trace = Trace(body, values, run, active, [i for i, need in enumerate(needs) if need])
    return _Computed(outputs, flows, True, [], [], trace)


def tensor_of(shared: Any, ctx: Any) -> Tensor:
    """Return the tensor of a shared array, or of a Parameter on a device."""
    held = getattr(shared, "_data", None)
    return (shared if held is None else held[ctx])._t
