"""Where everything lies before anything runs: rows of results and of arguments, for all groups of a flush at once.

The one idea: the schedule says in which order calls run, so the rows of all results are known beforehand, and with them
the rows from which every group will read. They are worked out for whole signatures with a few NumPy calls; a group then
only cuts its stretch out. A stretch of consecutive rows is a view, any other is gathered.

Not here: the schedule (schedule.py), running groups (execute.py).
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch

from .arena import Arena, Store, spans
from .future import OFFSET, OFFSET_MASK
from .kinds import Pool

__all__ = ["Layout", "Reads", "lay_out"]

Ints = Any  # arrays of int64
Tensor = torch.Tensor


@final
@dataclass(slots=True)
class Reads:
    """The rows that one argument of all calls reads, in the order of the calls.

    values : the values read, per call or child. rows : their rows. index : the same on the device. breaks : how many
    times up to here a row did not follow the one before. bounds : where the rows of each call begin (None: every call
    has `size` of them). need : whether its gradient is wanted; None: to be looked at group by group
    """

    arena: Arena
    values: Ints
    rows: Ints
    index: Tensor
    breaks: Ints
    bounds: Ints | None
    size: int
    need: bool | None = False

    def stretch(self, begin: int, end: int) -> tuple[int, int]:
        """Return the stretch of rows of calls begin to end."""
        if self.bounds is None:
            return begin * self.size, end * self.size
        return int(self.bounds[begin]), int(self.bounds[end])

    def take(self, begin: int, end: int) -> tuple[Tensor, Any]:
        """Return the rows of calls begin to end, and where they lie: a slice or row numbers."""
        low, high = self.stretch(begin, end)
        if high > low and self.breaks[high - 1] == self.breaks[low]:
            first = int(self.rows[low])
            place = slice(first, first + high - low)
            return self.arena.data.data[place], place
        index = self.index[low:high]
        return self.arena.data.index_select(0, index), index


@final
@dataclass(slots=True)
class Layout:
    """All calls of one signature in a flush, in the order they run.

    calls : their numbers in the work. reads : per argument. writes : per result, its arena and the row at which each
    group begins. edges : where the children of each call begin. rows : where the rows of each call begin (ragged).
    group : how many groups have run. ahead : the half that runs for all calls at once, if there is one
    """

    work: Any
    calls: Ints
    sizes: list[int]
    reads: list[Reads] = field(default_factory=list)
    writes: list[tuple[Arena, list[int]]] = field(default_factory=list)
    edges: Ints | None = None
    children: Ints | None = None
    rows: Ints | None = None
    always: bool = False
    begin: int = 0
    group: int = 0
    ahead: Any = None


def lay_out(works: Sequence[Any], groups: Sequence[tuple[int, Ints]], store: Store,
            always: Sequence[bool]) -> list[Layout | None]:
    """Give every result its rows and find the rows of every argument.

    Parameters
    ----------
    groups : (number of a work, numbers of its calls), in the order to run them
    always : per work, whether its results always depend on something with a gradient
    """
    parts: dict[int, list[Ints]] = {}
    for index, calls in groups:
        parts.setdefault(index, []).append(calls)
    layouts: list[Layout | None] = [None] * len(works)
    for index, some in parts.items():
        calls = some[0] if len(some) == 1 else np.concatenate(some)
        layouts[index] = made = Layout(works[index], calls, [len(p) for p in some], always=always[index])
        work = works[index]
        if work.children is not None:
            made.children = work.children[calls]
            made.edges = _begins(made.children)
        if work.rows is not None:
            made.rows = _begins(work.rows[calls])
    _place_results(layouts, groups, store)
    makers = np.zeros(len(store.rows), dtype=bool)  # by value: made in this flush by calls that always have gradients
    for made in layouts:
        if made is not None and made.always:
            for number, output in enumerate(made.work.signature.outputs):
                if output.pool.floating:
                    makers[made.work.ids[made.calls] + number] = True
    for made in layouts:
        if made is not None:
            made.reads = [_reads(made, position, store, makers)
                          for position in range(len(made.work.signature.arguments))]
    store.gradient[makers[:len(store.gradient)]] = True
    return layouts


def _begins(counts: Ints) -> Ints:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))


def _place_results(layouts: Sequence[Layout | None], groups: Sequence[tuple[int, Ints]], store: Store) -> None:
    """Give the results of every group consecutive rows, group after group."""
    total: dict[Pool, int] = {}
    done = [0] * len(layouts)
    for index, calls in groups:
        made = layouts[index]
        assert made is not None  # every group's work has a layout
        if not made.writes:
            made.writes = [(store.arena(o.pool), []) for o in made.work.signature.outputs]
        low, high = done[index], done[index] + len(calls)
        done[index] = high
        count = 0 if made.rows is None else int(made.rows[high] - made.rows[low])
        for output, (arena, firsts) in zip(made.work.signature.outputs, made.writes):
            used = total.get(output.pool, arena.used)
            firsts.append(used)
            total[output.pool] = used + (output.rows * len(calls) if made.rows is None else count)
    for made in layouts:
        if made is None:
            continue
        ids, sizes = made.work.ids[made.calls], np.array(made.sizes)
        ends = np.cumsum(sizes)
        within = np.arange(len(ids)) - np.repeat(ends - sizes, sizes)
        for number, (output, (_, firsts)) in enumerate(zip(made.work.signature.outputs, made.writes)):
            if made.rows is None:
                offsets = within * output.rows
            else:
                offsets = made.rows[:-1] - np.repeat(made.rows[ends - sizes], sizes)
            store.rows[ids + number] = np.repeat(np.array(firsts), sizes) + offsets
    for pool, used in total.items():
        arena = store.arena(pool)
        arena.room(used)


def _reads(made: Layout, position: int, store: Store, makers: Ints) -> Reads:
    work, argument = made.work, made.work.signature.arguments[position]
    refs = work.references(position, made.calls)
    values = refs >> OFFSET
    rows = store.rows[values] + (refs & OFFSET_MASK)
    bounds: Ints | None = None
    if argument.children:
        bounds = made.edges if argument.rows == 1 or made.edges is None else made.edges * argument.rows
        rows = rows if argument.rows == 1 else spans(rows, argument.rows)
    elif made.rows is not None:
        bounds = made.rows
        rows = spans(rows, np.diff(made.rows))
    elif argument.rows != 1:
        rows = spans(rows, argument.rows)
    breaks = np.concatenate((np.zeros(1, np.int64), np.cumsum(rows[1:] - rows[:-1] != 1))) if len(rows) else rows
    index = torch.from_numpy(rows)
    arena = store.arena(argument.pool)
    if arena.data.is_cuda:
        index = index.to(arena.data.device, non_blocking=True)
    need: bool | None = False
    if work.signature.recording and argument.pool.floating:
        known = bool(makers[values].any()) or bool(store.gradient[values].any())
        need = True if made.always and known else None
    return Reads(arena, values, rows, index, breaks, bounds, argument.rows, need)
