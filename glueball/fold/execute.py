"""The engine of a scope: runs what was recorded, group by group.

The one idea: at a flush every queue becomes arrays of row references; the schedule says which calls run together;
a group gathers its arguments' rows, runs its signature's body on them, and stores the result's rows. What a group did
is noted on the tape (backward.py).

Not here: which groups there are (schedule.py), how a program runs on rows (body.py).
"""
from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain
from typing import Any, final

import numpy as np
import torch

from ..base.aten import set_grad_mode
from .arena import Store, spans
from .backward import Entry, Tape, attach
from .body import Body, Run
from .explain import Report
from .functions import Segments
from .future import OFFSET, OFFSET_MASK, Future
from .kinds import Kind
from .schedule import schedule
from .signature import Signature

__all__ = ["Engine", "Work"]

Tensor = torch.Tensor
Ints = "np.ndarray[Any, Any]"


@final
class Work:
    """The recorded calls of one signature, as arrays. Calls are numbered 0 … count-1 in the order of the program."""

    __slots__ = ("signature", "ids", "count", "fixed", "children", "ends", "lists", "rows")

    def __init__(self, signature: Signature, queue: Any) -> None:
        self.signature = signature
        self.ids = np.array(queue.ids, dtype=np.int64)
        self.count = len(self.ids)
        self.rows = np.array(queue.rows, dtype=np.int64) if signature.ragged else None
        listed = sum(a.children for a in signature.arguments)
        plain = len(signature.arguments) - listed
        self.lists: list[Any] = []
        if not listed:
            flat = np.fromiter(chain.from_iterable(queue.refs), np.int64, self.count * plain)
            self.children, self.ends = None, None
            self.fixed = flat.reshape(self.count, plain)
            return
        children = np.array(queue.children, dtype=np.int64)
        self.children, self.ends = children, np.cumsum(children)
        lengths = plain + listed * children
        flat = np.fromiter(chain.from_iterable(queue.refs), np.int64, int(lengths.sum()))
        starts = np.cumsum(lengths) - lengths
        self.fixed = flat[starts[:, None] + np.arange(plain)] if plain else np.empty((self.count, 0), np.int64)
        self.lists = [flat[spans(starts + plain + j * children, children)] for j in range(listed)]

    def references(self, argument: int, calls: Any) -> Any:
        """Return the references of one argument for some calls; for a list of children those of all children."""
        before = self.signature.arguments[:argument]
        if not self.signature.arguments[argument].children:
            return self.fixed[calls, sum(not a.children for a in before)]
        assert self.children is not None and self.ends is not None
        counts = self.children[calls]
        return self.lists[sum(a.children for a in before)][spans(self.ends[calls] - counts, counts)]

    def all_references(self) -> list[tuple[Any, Any]]:
        """Return (references, number of the call) pairs of all arguments."""
        own = np.arange(self.count)
        pairs = [(self.fixed[:, i], own) for i in range(self.fixed.shape[1])]
        if self.children is not None:
            owner = np.repeat(own, self.children)
            pairs += [(refs, owner) for refs in self.lists]
        return pairs


@final
class Engine:
    """Runs the calls of one folder and holds their values."""

    def __init__(self, folder: Any) -> None:
        self.folder = folder
        self.store = Store()
        self.tape = Tape(self.store)
        self.report = Report()

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
            return attach(self.tape, rows, kind.pool, start, kind.rows)
        return rows

    def number(self, future: Future) -> Any:
        """Return the only element of a value."""
        arena, start = self._place(future)
        return arena.data[start].item()

    # -- running -------------------------------------------------------------------------------------------------------
    def flush(self, demanded: Sequence[Future] | None, reason: str) -> None:
        """Run the recorded calls: all of them, or what the demanded values need and what can ride along."""
        folder, begin = self.folder, time.perf_counter()
        self._store_externals(folder.fresh)
        folder.fresh = []
        works = [Work(signature, queue) for signature, queue in folder.queues.items()]
        folder.queues = {}
        folder.waiting = 0
        self.store.fit(folder.next)
        planned = schedule(works, folder.next)
        self._make_room(works)
        scheduled = time.perf_counter()
        self.report.begin(reason, works, planned, scheduled - begin)
        self.tape.open()
        try:
            for index, calls in planned.groups:
                self._run(works[index], calls)
        finally:
            self.tape.close()
        self.report.end(time.perf_counter() - scheduled)

    def _store_externals(self, fresh: Sequence[tuple[int, Kind, Any]]) -> None:
        """Put arrays from outside into the arenas."""
        by_pool: dict[Any, list[tuple[int, Kind, Any]]] = {}
        for item in fresh:
            by_pool.setdefault(item[1].pool, []).append(item)
        self.store.fit(self.folder.next)
        for pool, items in by_pool.items():
            arena = self.store.arena(pool)
            tensors = [array._t.detach().reshape(kind.rows, *pool.rest) for _, kind, array in items]
            start = arena.append(tensors[0] if len(tensors) == 1 else torch.cat(tensors))
            for (ref, kind, array), _ in zip(items, tensors):
                value = ref >> OFFSET
                self.store.rows[value] = start
                if pool.floating and array._t.requires_grad:
                    self.store.gradient[value] = True
                    self.tape.sources.append((array._t, pool, start, kind.rows))
                start += kind.rows

    def _make_room(self, works: Sequence[Work]) -> None:
        """Let the arenas grow once for all rows to come."""
        needed: dict[Any, int] = {}
        parts: dict[Any, int] = {}
        for work in works:
            total = int(work.rows.sum()) if work.rows is not None else 0
            for output in work.signature.outputs:
                needed[output.pool] = needed.get(output.pool, 0) + (output.rows * work.count or total)
                parts[output.pool] = parts.get(output.pool, 0) + 1
        for pool, rows in needed.items():
            self.store.arena(pool).reserve(rows)

    def _run(self, work: Work, calls: Any) -> None:
        """Run one group."""
        signature, store = work.signature, self.store
        inputs: list[Tensor] = []
        places: list[tuple[Any, Any]] = []
        segments = None
        rows = None if work.rows is None else work.rows[calls]
        needs: list[bool] = []
        for position, argument in enumerate(signature.arguments):
            refs = work.references(position, calls)
            values = refs >> OFFSET
            starts = store.rows[values] + (refs & OFFSET_MASK)
            tensor, place = store.arena(argument.pool).take(starts, argument.rows or rows)
            if argument.children and segments is None and work.children is not None:
                segments = Segments(work.children[calls], tensor.device)
            needs.append(signature.recording and argument.pool.floating and bool(store.gradient[values].any()))
            inputs.append(tensor)
            places.append((argument.pool, place))
        shared = [tensor_of(s, signature.arguments[0].pool.ctx) for s in signature.shared]
        taped = signature.recording and (any(needs) or any(t.requires_grad for t in shared))
        body = signature.compiled.get("body")
        if body is None:
            body = signature.compiled["body"] = Body(signature.program, signature.training, signature.ragged)
        before = torch.is_grad_enabled()
        set_grad_mode(taped)
        try:
            if taped:
                inputs = [t.requires_grad_() if need else t for t, need in zip(inputs, needs)]
            outputs = body.run(inputs, shared, Run(len(calls), segments, self.tape if taped else None))
        finally:
            set_grad_mode(before)
        written = self._write(work, calls, outputs, rows, taped)
        if taped:
            direct = [t for t, slot in zip(shared, signature.program.shared) if t.requires_grad and
                      slot in body.direct]
            self.tape.add(Entry(signature, [t for t, need in zip(inputs, needs) if need],
                                [p for p, need in zip(places, needs) if need], outputs, written, direct),
                          [t for t in shared if t.requires_grad])

    def _write(self, work: Work, calls: Any, outputs: Sequence[Tensor], rows: Any, taped: bool) -> list[Any]:
        """Store the results' rows; return where they are."""
        store, written = self.store, []
        ids = work.ids[calls]
        for index, (output, tensor) in enumerate(zip(work.signature.outputs, outputs)):
            start = store.arena(output.pool).append(tensor)
            count = tensor.shape[0]
            if output.rows:
                offsets = np.arange(len(calls)) * output.rows
            else:
                offsets = np.cumsum(rows) - rows
            store.rows[ids + index] = start + offsets
            if taped and output.pool.floating and tensor.requires_grad:
                store.gradient[ids + index] = True
            written.append((output.pool, start, start + count))
        return written


def tensor_of(shared: Any, ctx: Any) -> Tensor:
    """Return the tensor of a shared array, or of a Parameter on a device."""
    held = getattr(shared, "_data", None)
    return (shared if held is None else held[ctx])._t  # type: ignore[no-any-return]
