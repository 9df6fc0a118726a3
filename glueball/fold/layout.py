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
from .functions import Segments
from .future import OFFSET, OFFSET_MASK
from .kinds import Pool

__all__ = ["Layout", "Reads", "lay_out"]

Ints = Any  # arrays of int64
Tensor = torch.Tensor


@final
class Table:
    """The rows that are read in a flush, argument after argument.

    rows : their numbers. breaks : how many times up to here a row did not follow the one before
    """

    __slots__ = ("rows", "breaks", "_index")

    rows: Ints
    breaks: Ints

    def __init__(self) -> None:
        self._index: dict[Any, Tensor] = {}

    def fill(self, rows: Ints) -> None:
        """Take the rows of all arguments."""
        self.rows = rows
        self.breaks = np.zeros(len(rows), np.int64)
        np.cumsum(rows[1:] - rows[:-1] != 1, out=self.breaks[1:])

    def take(self, arena: Arena, low: int, high: int) -> tuple[Tensor, Any]:
        """Return the rows of an arena that a stretch of the table names, and where they lie: a slice or row numbers."""
        if high > low and self.breaks[high - 1] == self.breaks[low]:
            first = int(self.rows[low])
            return arena.view(first, high - low), slice(first, first + high - low)
        device = arena.data.device
        index = self._index.get(device)
        if index is None:
            index = self._index[device] = torch.from_numpy(self.rows).to(device, non_blocking=True)
        index = index[low:high]
        return arena.data.index_select(0, index), index


@final
@dataclass(slots=True)
class Reads:
    """The rows that one argument of all calls reads, in the order of the calls.

    values : the values read, per call or child. table, first : their rows are in the table from here on. bounds : where
    the rows of each call begin (None: every call has `size` of them). need : whether its gradient is wanted; None: to
    be looked at group by group
    """

    arena: Arena
    values: Ints
    table: Table
    first: int
    bounds: Ints | None
    size: int
    need: bool | None = False

    def take(self, begin: int, end: int) -> tuple[Tensor, Any]:
        """Return the rows of calls begin to end, and where they lie: a slice or row numbers."""
        if self.bounds is None:
            return self.table.take(self.arena, self.first + begin * self.size, self.first + end * self.size)
        return self.table.take(self.arena, self.first + int(self.bounds[begin]), self.first + int(self.bounds[end]))


@final
@dataclass(slots=True)
class Layout:
    """All calls of one signature in a flush, in the order they run.

    calls : their numbers in the work. ids : numbers of their first results. reads : per argument. writes : per result,
    its arena and the row at which each group begins. edges : where the children of each call begin. rows : where the
    rows of each call begin (ragged). group : how many groups have run. ahead : the half that runs for all calls at
    once, if there is one. known : what is the same for all groups (execute.py). counts : per group, how many children,
    and how many each call has where all have the same number
    """

    work: Any
    calls: Ints
    ids: Ints
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
    known: Any = None
    counts: tuple[list[int], list[int | None]] | None = None

    def segments(self, begin: int, end: int, device: Any) -> Segments | None:
        """Return which children belong to which call of the group that runs."""
        if self.children is None or self.edges is None:
            return None
        if self.counts is None:
            sizes = np.array(self.sizes, dtype=np.int64)
            ends = np.cumsum(sizes)
            starts = ends - sizes
            low, high = (f.reduceat(self.children, starts) for f in (np.minimum, np.maximum))
            same = [a if a == b else None for a, b in zip(low.tolist(), high.tolist())]
            self.counts = (self.edges[ends] - self.edges[starts]).tolist(), same
        edges, same = self.counts
        return Segments(self.children[begin:end], device, (edges[self.group], same[self.group]))


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
        work, calls = works[index], some[0] if len(some) == 1 else np.concatenate(some)
        layouts[index] = made = Layout(work, calls, work.ids[calls], [len(p) for p in some], always=always[index])
        if work.children is not None:
            made.children = work.children[calls]
            made.edges = _begins(made.children)
        if work.rows is not None:
            made.rows = _begins(work.rows[calls])
    _place_results(layouts, groups, store)
    present = [made for made in layouts if made is not None]
    for made in present:
        if made.always:
            for number, output in enumerate(made.work.signature.outputs):
                if output.pool.floating:
                    store.gradient[made.ids + number] = True
    if present:
        _find_reads(present, store)
    return layouts


def _begins(counts: Ints) -> Ints:
    return np.concatenate((_ZERO, np.cumsum(counts)))


_ZERO = np.zeros(1, np.int64)


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
            used = total.get(output.pool)
            if used is None:
                used = arena.used
            firsts.append(used)
            total[output.pool] = used + (output.rows * len(calls) if made.rows is None else count)
    numbers: list[Ints] = []  # of values, group after group for one result after the other
    firsts, sizes, widths = [], [], []  # of each group: its first row and calls; of each number: its rows
    for made in layouts:
        if made is None:
            continue
        for number, (output, (_, starts)) in enumerate(zip(made.work.signature.outputs, made.writes)):
            numbers.append(made.ids + number if number else made.ids)
            firsts += starts
            sizes += made.sizes
            widths.append(output.rows if made.rows is None else np.diff(made.rows))
    if numbers:
        values = np.concatenate(numbers)
        store.rows[values] = _spread(firsts, np.array(sizes), _widths(widths, numbers), len(values))
    for pool, used in total.items():
        store.arena(pool).room(used)


def _widths(widths: Sequence[Any], numbers: Sequence[Ints]) -> Ints | None:
    """Return the rows of every value; None where all have one."""
    if all(isinstance(width, int) and width == 1 for width in widths):
        return None
    return np.concatenate([np.broadcast_to(width, len(own)) for width, own in zip(widths, numbers)])


def _spread(firsts: Sequence[int], sizes: Ints, widths: Ints | None, count: int) -> Ints:
    """Return the row of every value of groups of so many values that begin at these rows."""
    starts = np.cumsum(sizes) - sizes
    if widths is None:
        before = np.arange(count)
        begins = starts
    else:
        before = np.cumsum(widths) - widths
        begins = before[starts]
    return np.repeat(np.array(firsts) - begins, sizes) + before


def _find_reads(layouts: Sequence[Layout], store: Store) -> None:
    """Find the rows of all arguments of all calls."""
    parts: list[Ints] = []
    for made in layouts:
        work, signature = made.work, made.work.signature
        columns = work.fixed[made.calls].T
        picked = None if made.children is None else spans(work.ends[made.calls] - made.children, made.children)
        parts += [work.lists[number][picked] if argument.children else columns[number]
                  for argument, number in zip(signature.arguments, signature.numbers)]
    if not parts:
        return
    refs = np.concatenate(parts)
    values = refs >> OFFSET
    rows = store.rows[values] + (refs & OFFSET_MASK)
    table, pieces = Table(), []
    begin = first = number = 0
    several = False  # whether any value takes another number of rows than one
    for made in layouts:
        signature = made.work.signature
        for argument in signature.arguments:
            end = begin + len(parts[number])
            own, piece, bounds = values[begin:end], rows[begin:end], None
            if argument.children:
                bounds = made.edges if argument.rows == 1 or made.edges is None else made.edges * argument.rows
            elif made.rows is not None:
                bounds = made.rows
            if bounds is made.rows and bounds is not None:
                several, piece = True, spans(piece, np.diff(bounds))
            elif argument.rows != 1:
                several, piece = True, spans(piece, argument.rows)
            need: bool | None = False
            if signature.recording and argument.pool.floating:
                need = True if made.always and store.gradient[own].any() else None
            made.reads.append(Reads(store.arena(argument.pool), own, table, first, bounds, argument.rows, need))
            pieces.append(piece)
            begin, first, number = end, first + len(piece), number + 1
    table.fill(np.concatenate(pieces) if several else rows)
