"""The reverse executor: gradients of a whole scope, group by group, in reverse.

The one idea: torch's tape sees one node per flush (`_Flush`) and one per value that somebody reads (`_Read`). A read's
backward puts its gradient into the gradient rows of the scope; the flush's backward then walks its groups in reverse:
the gradient of a group's results are rows, its own small tape gives those of its inputs, which are added to the rows
of whoever made them. Weight gradients of linear layers wait in the Sink until the end of the pass. Flushes are chained
by tokens, so that later groups are always done before earlier ones, and a weight's gradient is returned by the first
flush that used it, when everything has been noted.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np
import torch

from ..base import aten
from ..base.errors import UnsupportedError, explain
from ..base.modes import BACKWARD_PASS, RETAINING
from .arena import Store
from .functions import Sink
from .kinds import Pool
from .signature import Signature
from .stream import Stream, changed

__all__ = ["Entry", "Tape", "attach"]

Tensor = torch.Tensor


@final
@dataclass(slots=True)
class Entry:
    """What one group did, for backward.

    made : what running it gave (execute.py, _Computed); None when it has been used up
    places : where the gathered rows that need gradients came from: a slice of rows, row numbers, or one of these and a
    slice of columns
    written : per result, (pool, first row, end row)
    work, calls : which recorded calls these are
    reads : per argument that needs gradients, the numbers of the values, and whether there is one per child
    again : runs the group once more: a backward pass frees what it has used, and a second pass through the same group
    (another sample's loss) has it computed anew; None where chance is involved
    versions : shared tensors, and how often they had been written to
    ids : the numbers of the first results of the calls
    """

    signature: Signature
    made: Any
    places: list[tuple[Pool, Any]]
    written: list[tuple[Pool, int, int]]
    work: Any
    calls: Any
    reads: list[tuple[Any, bool]]
    again: Callable[[Any], Any] | None
    versions: list[tuple[Tensor, int]]
    ids: Any

    def check_unchanged(self) -> None:
        """Raise when a shared array whose values gradients are computed from was written to since."""
        for tensor, version in self.versions:
            if tensor._version != version:
                raise changed(self.signature)


@final
class Tape:
    """The groups of a scope that take part in gradients."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.entries: list[Entry | Stream] = []
        self.sources: list[tuple[Tensor, Pool, int, int, int]] = []  # from outside: (tensor, pool, row, rows, value)
        self.shared: dict[int, Tensor] = {}  # shared tensors in use, by identity
        self.trigger = torch.zeros((), requires_grad=True)
        self.flushes = 0
        self._new: list[Tensor] = []
        self._begin = self._sources = 0
        self.sink = Sink()
        self.checker: Any = None  # mode="check": compares the gradients of every group
        self.gradients: dict[Pool, Tensor] = {}
        self.reached: Any = np.zeros(0, dtype=bool)  # by value number: whether this pass has come to the value
        self._pass = -1
        self.noted: list[tuple[Any, float]] = []  # for the report: (work, or None at the beginning, when it ended)

    # -- forward -------------------------------------------------------------------------------------------------------
    def open(self) -> None:
        """Begin a flush."""
        self._begin, self._new = len(self.entries), []

    @property
    def waiting(self) -> bool:
        """Whether arrays from outside that want gradients have come since the last flush."""
        return len(self.sources) > self._sources

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Note shared tensors that a group uses."""
        for tensor in tensors:
            if id(tensor) not in self.shared:
                self.shared[id(tensor)] = tensor
                self._new.append(tensor)

    def close(self, token: Tensor | None) -> Tensor | None:
        """End a flush: put it on torch's tape as one node; return its token, which depends on the flush before's.

        The tape does not keep the token, whose node leads back here: memory is freed when the last value is gone.
        """
        sources, self._sources = self.sources[self._sources:], len(self.sources)
        if len(self.entries) == self._begin and not sources:
            return token
        inputs = [*self._new, *[tensor for tensor, *_ in sources]]
        before = torch.is_grad_enabled()
        aten.set_grad_mode(True)
        try:
            flush = _FlushState(self, self.flushes, self._begin, len(self.entries), len(self._new), sources)
            made: Tensor = _Flush.apply(flush, token, *inputs)
        finally:
            aten.set_grad_mode(before)
        self.flushes += 1
        return made

    # -- backward ------------------------------------------------------------------------------------------------------
    def rows(self, pool: Pool) -> Tensor:
        """Return the gradient rows of a pool; zeros at first."""
        if self._pass != BACKWARD_PASS.value:  # a new backward pass: nothing of an unfinished one may remain
            self._pass, self.gradients, self.sink = BACKWARD_PASS.value, {}, Sink()
            self.reached = np.zeros(len(self.store.rows), dtype=bool)
        found = self.gradients.get(pool)
        if found is None:
            arena = self.store.arena(pool)
            found = torch.zeros((arena.used, *pool.rest), dtype=pool.dtype, device=arena.data.device)
            self.gradients[pool] = found
        return found

    def reverse(self, begin: int, end: int) -> None:
        """Walk groups in reverse."""
        self.noted.append((None, time.perf_counter()))
        for index in range(end - 1, begin - 1, -1):
            entry = self.entries[index]
            if isinstance(entry, Stream):
                if self.gradients:
                    entry.reverse(self, RETAINING.value)
                continue
            if not any(pool in self.gradients for pool, _, _ in entry.written) or not self._reach(entry):
                continue
            entry.check_unchanged()
            if entry.made is None and entry.again is not None:
                entry.made = entry.again(self)
            made: Any = entry.made
            assert made is not None  # an entry that cannot be made again is kept
            grads = [self.gradients[pool].narrow(0, start, stop - start) if flows and pool in self.gradients else None
                     for flows, (pool, start, stop) in zip(made.flows, entry.written)]
            if all(g is None for g in grads):
                continue
            keep = RETAINING.value or entry.again is None
            found = (self._differentiate(entry, grads, keep) if self.checker is None else
                     self.checker.reverse(entry, partial(self._differentiate, entry, grads, keep)))
            if not keep:
                entry.made = None
            for (pool, place), gradient in zip(entry.places, found):
                if gradient is not None:
                    rows = self.gradients.get(pool)
                    self._add(self.rows(pool) if rows is None else rows, pool, place, gradient)
            self.noted.append((entry.work, time.perf_counter()))

    def _differentiate(self, entry: Entry, grads: Sequence[Tensor | None], keep: bool) -> Sequence[Tensor | None]:
        """Differentiate a group; note the gradients of shared tensors, return the inputs'."""
        made = entry.made
        if made.trace is not None:
            return made.trace.gradients(grads, self)
        pairs = [(output, gradient) for output, gradient in zip(made.outputs, grads) if gradient is not None]
        given = ([o for o, _ in pairs], [*made.inputs, *made.direct, self.trigger], [g for _, g in pairs], keep, False)
        found = aten.run_gradients(*given)
        count = len(made.inputs)
        for tensor, gradient in zip(made.direct, found[count:]):
            if gradient is not None:
                self.sink.add(tensor, gradient)
        return found[:count]

    def _reach(self, entry: Entry) -> bool:
        """Whether the pass has come to a result of these calls; if so it comes to the arguments of those calls.

        What it does not come to must keep the gradient it has: rows of zeros are not enough to tell.
        """
        work, calls, ids = entry.work, entry.calls, entry.ids
        hit = self.reached[ids]
        times = np.count_nonzero(hit)
        if times < len(hit) and len(work.signature.outputs) > 1:
            for result in range(1, len(work.signature.outputs)):
                hit |= self.reached[ids + result]
            times = np.count_nonzero(hit)
        if not times:
            return False
        for values, children in entry.reads:
            if times < len(hit):
                values = values[np.repeat(hit, work.children[calls]) if children else hit]
            self.reached[values] = True
        return True

    def scatter(self, pool: Pool, place: Any, gradient: Tensor) -> None:
        """Add gradients to the rows they belong to."""
        self._add(self.rows(pool), pool, place, gradient)

    def _add(self, rows: Tensor, pool: Pool, place: Any, gradient: Tensor) -> None:
        if gradient.dim() != rows.dim():  # vectors that are stored element by element
            gradient = gradient.reshape(-1, *pool.rest)
        begin = rows.data_ptr()
        if begin <= gradient.data_ptr() < begin + rows.nbytes:
            gradient = gradient.clone()
        if isinstance(place, slice):
            rows.narrow(0, place.start, place.stop - place.start).add_(gradient)
        elif isinstance(place, torch.Tensor):
            rows.index_add_(0, place, gradient)
        elif isinstance(place[0], torch.Tensor):
            rows[:, place[1]].index_add_(0, place[0], gradient)
        else:
            rows[place].add_(gradient)

    def finish(self) -> None:
        """The pass is over."""
        self.gradients, self.sink, self._pass = {}, Sink(), -1


@final
@dataclass(slots=True)
class _FlushState:
    """The part of the tape that one flush wrote."""

    tape: Tape
    number: int
    begin: int
    end: int
    shared: int
    sources: list[tuple[Tensor, Pool, int, int, int]]


def _refuse_second_order() -> None:
    """Raise when a backward pass is itself to be differentiated: a scope's reverse is not on torch's tape."""
    if torch.is_grad_enabled():
        raise UnsupportedError(explain("backward", "Gradients of gradients do not go through a folded batch.",
                                       expected="backward() or autograd.grad(...) without create_graph",
                                       received="create_graph=True",
                                       fix="compute them with fold.batching(mode='off')"))


@final
class _Flush(torch.autograd.Function):
    """One flush on torch's tape: a token that depends on everything that the flush read from outside."""

    @staticmethod
    def forward(ctx: Any, flush: _FlushState, token: Tensor | None, *tensors: Tensor) -> Tensor:
        """Return the token."""
        ctx.flush, ctx.tensors, ctx.chained = flush, tensors, token is not None
        return torch.zeros(())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Return the gradients of what the flush read from outside."""
        _refuse_second_order()
        flush = ctx.flush
        tape = flush.tape
        tape.reverse(flush.begin, flush.end)
        found: list[Tensor | None] = [tape.sink.collect(t) for t in ctx.tensors[:flush.shared]]
        tape.noted.append(("weights", time.perf_counter()))
        for tensor, pool, start, count, value in flush.sources:
            rows = tape.gradients.get(pool)
            if rows is None or not tape.reached[value]:
                found.append(None)
            else:
                found.append(rows[start:start + count].reshape(tensor.shape).clone())
        if flush.number == 0:
            tape.finish()
        return (None, grads[0] if ctx.chained else None, *found)


@final
class _Read(torch.autograd.Function):
    """A value that somebody reads, on torch's tape."""

    @staticmethod
    def forward(ctx: Any, token: Tensor, value: Tensor, tape: Tape, pool: Pool, place: Any, number: Any) -> Tensor:
        """Return the value."""
        ctx.place = tape, pool, place, number
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Leave the gradient with the scope's rows."""
        _refuse_second_order()
        tape, pool, place, number = ctx.place
        count = place.stop - place.start if isinstance(place, slice) else len(place)
        tape.scatter(pool, place, grads[0].reshape(count, *pool.rest))
        tape.reached[number] = True
        return torch.zeros(()), None, None, None, None, None


def attach(token: Tensor | None, tape: Tape, value: Tensor, pool: Pool, place: Any, number: Any) -> Tensor:
    """Return what has been read of value `number`, or of several, so that gradients of it reach the scope.

    place : a slice of rows, or row numbers
    """
    if token is None:
        return value
    before = torch.is_grad_enabled()
    aten.set_grad_mode(True)
    try:
        return _Read.apply(token, value, tape, pool, place, number)
    finally:
        aten.set_grad_mode(before)
