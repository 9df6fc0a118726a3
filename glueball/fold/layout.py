"""Where everything lies before anything runs: rows of results and of arguments, for all groups of a flush at once.

The one idea: the schedule says in which order calls run, so the rows of all results are known beforehand, and with them
the rows from which every group will read. They are worked out for all groups in one pass (placer.c) or, by its twin
here, for whole signatures with a few NumPy calls; a group then only looks up where its stretch begins. A stretch of
consecutive rows is a view, any other is gathered.

Not here: the schedule (schedule.py), running groups (execute.py).
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch

from .arena import Arena, Store, spans
from .core import compiled
from .functions import Segments
from .future import OFFSET, OFFSET_MASK
from .kinds import Pool
from .schedule import Planned
from .signature import Signature

__all__ = ["Layout", "Reads", "Table", "lay_out", "stretches"]

Ints = Any  # arrays of int64
Tensor = torch.Tensor
ALL = -1  # stands for the number of a group: all calls at once


@final
class Table:
    """The numbers of the rows that are read in a flush, argument after argument."""

    __slots__ = ("rows", "_index")

    def __init__(self, rows: Ints) -> None:
        self.rows = rows
        self._index: dict[Any, Tensor] = {}

    def index(self, device: Any) -> Tensor:
        """Return them as a tensor."""
        index = self._index.get(device)
        if index is None:
            index = self._index[device] = torch.from_numpy(self.rows).to(device, non_blocking=True)
        return index


@final
@dataclass(slots=True)
class Reads:
    """The rows that one argument of all calls reads, in the order of the calls.

    values : the values read, per call or child; None where nobody wants their gradients. lows : where the rows of each
    group begin in the table, and where the last ones end. starts : per group, its first row where its rows follow each
    other, else -1; the last one is for all calls at once. need : whether its gradient is wanted; None: to be looked at
    group by group
    """

    arena: Arena
    values: Ints
    table: Table
    lows: list[int]
    starts: list[int]
    need: bool | None = False

    def take(self, group: int) -> tuple[Tensor, Any]:
        """Return the rows of a group, or of ALL, and where they lie: a slice or row numbers."""
        start = self.starts[group]
        low, high = (self.lows[group], self.lows[group + 1]) if group >= 0 else (self.lows[0], self.lows[-1])
        if start >= 0:
            count = high - low
            return self.arena.view(start, count), slice(start, start + count)
        data = self.arena.data
        index = self.table.index(data.device).narrow(0, low, high - low)
        return data.index_select(0, index), index


@final
@dataclass(slots=True)
class Layout:
    """All calls of one signature in a flush, in the order they run.

    calls : their numbers in the work. ids : numbers of their first results. reads : per argument. writes : per
    result, its arena and the row at which each group begins. edges : where the children of each call begin. rows :
    where the rows of each call begin (ragged). group : how many groups have run. ahead : the half that runs for all
    calls at once, if there is one. some : whether this is such a half, which runs for the different ones of its
    calls. known : what is the same for all groups (execute.py). counts : per group, how many children, and how many
    each call has where all have the same number
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
    counts: tuple[list[int], list[int | None]] | None = None
    begin: int = 0
    group: int = 0
    ahead: Any = None
    known: Any = None
    bound: Any = None
    some: bool = False

    def segments(self, begin: int, end: int, device: Any) -> Segments | None:
        """Return which children belong to which call of the group that runs."""
        if self.counts is None:
            return None
        assert self.children is not None  # they come together
        edges, same = self.counts
        return Segments(self.children[begin:end], device, (edges[self.group], same[self.group]))


def lay_out(works: Sequence[Any], planned: Planned, store: Store, always: Sequence[bool]) -> list[Layout | None]:
    """Give every result its rows and find the rows of every argument.

    Parameters
    ----------
    always : per work, whether its results always depend on something with a gradient

    Returns
    -------
    list
        per work; None where it has no calls
    """
    placer = compiled("placer")
    return twin(works, planned, store, always) if placer is None else _placed(placer, works, planned, store, always)


def _placed(placer: Any, works: Sequence[Any], planned: Planned, store: Store,
            always: Sequence[bool]) -> list[Layout | None]:
    """Return what `lay_out` returns, worked out by placer.c."""
    known = [store.known.get(work.signature) or _know(work.signature, store) for work in works]
    arenas = list(store.arenas.values())
    table, space, found, used = placer.lay_out(
        [work.parts for work in works], [spec for spec, _, _ in known], planned.order, planned.turns, planned.sizes,
        store.rows, store.gradient, [arena.used for arena in arenas], always)
    for arena, count in zip(arenas, used):
        if arena.used != count:
            arena.room(count)
    rows, numbers = Table(np.frombuffer(table, np.int64)), np.frombuffer(space, np.int64)
    order, sizes = planned.order, planned.sizes
    layouts: list[Layout | None] = []
    first = 0
    for index, (work, (_, sources, targets), parts) in enumerate(zip(works, known, found)):
        count, made = work.count, None
        if parts is not None:
            ids, children, edges, bounds, writes, counts, reads = parts
            made = Layout(work, order[first:first + count], numbers[ids:ids + count], sizes[index], [
                Reads(arena, None if need is False else numbers[low:high], rows, lows, starts, need)
                for arena, (low, high, lows, starts, need) in zip(sources, reads)], list(zip(targets, writes)))
            made.always, made.counts = always[index], counts
            if counts is not None:
                made.edges, made.children = numbers[edges:edges + count + 1], numbers[children:children + count]
            if work.rows is not None:
                made.rows = numbers[bounds:bounds + count + 1]
        layouts.append(made)
        first += count
    return layouts


def _know(signature: Signature, store: Store) -> Any:
    """Return (what placer.c wants to know of a signature, arenas of its arguments, arenas of its results)."""
    sources = [store.arena(argument.pool) for argument in signature.arguments]
    targets = [store.arena(output.pool) for output in signature.outputs]
    numbers = {arena: number for number, arena in enumerate(store.arenas.values())}
    spec = (tuple([a.rows for a in signature.arguments]),
            tuple([signature.recording and a.pool.floating for a in signature.arguments]),
            tuple([o.rows for o in signature.outputs]), tuple([o.pool.floating for o in signature.outputs]),
            tuple([numbers[arena] for arena in targets]))
    store.known[signature] = found = spec, sources, targets
    return found


# -- the same without a compiler ---------------------------------------------------------------------------------------
def twin(works: Sequence[Any], planned: Planned, store: Store, always: Sequence[bool]) -> list[Layout | None]:
    """Return what `lay_out` returns, without the compiled placer."""
    layouts: list[Layout | None] = [None] * len(works)
    first = 0
    for index, work in enumerate(works):
        if not work.count:
            continue
        calls, sizes = planned.order[first:first + work.count], planned.sizes[index]
        first += work.count
        layouts[index] = made = Layout(work, calls, work.ids[calls], sizes, always=always[index])
        if work.children is not None:
            made.children = work.children[calls]
            made.edges = _begins(made.children)
            made.counts = _counts(made.children, made.edges, sizes)
        if work.rows is not None:
            made.rows = _begins(work.rows[calls])
    _place_results(layouts, planned.turns, store)
    present = [made for made in layouts if made is not None]
    for made in present:
        if made.always:
            for number, output in enumerate(made.work.signature.outputs):
                if output.pool.floating:
                    store.gradient[made.ids + number] = True
    if present:
        _find_reads(present, store)
    return layouts


def _counts(children: Ints, edges: Ints, sizes: Sequence[int]) -> tuple[list[int], list[int | None]]:
    """Return Layout.counts."""
    ends: Ints = np.cumsum(sizes)
    starts = ends - sizes
    low, high = (function.reduceat(children, starts) for function in (np.minimum, np.maximum))
    return (edges[ends] - edges[starts]).tolist(), [a if a == b else None for a, b in zip(low.tolist(), high.tolist())]


def _begins(counts: Ints) -> Ints:
    return np.concatenate((_ZERO, np.cumsum(counts)))


_ZERO = np.zeros(1, np.int64)


def _place_results(layouts: Sequence[Layout | None], turns: Sequence[int], store: Store) -> None:
    """Give the results of every group consecutive rows, group after group."""
    total: dict[Pool, int] = {}
    done, groups = [0] * len(layouts), [0] * len(layouts)
    for index in turns:
        made = layouts[index]
        assert made is not None  # every group's work has a layout
        if not made.writes:
            made.writes = [(store.arena(o.pool), []) for o in made.work.signature.outputs]
        size = made.sizes[groups[index]]
        low, high = done[index], done[index] + size
        done[index] = high
        groups[index] += 1
        count = 0 if made.rows is None else int(made.rows[high] - made.rows[low])
        for output, (arena, firsts) in zip(made.work.signature.outputs, made.writes):
            used = total.get(output.pool)
            if used is None:
                used = arena.used
            firsts.append(used)
            total[output.pool] = used + (output.rows * size if made.rows is None else count)
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
    pieces: list[Ints] = []
    found: list[tuple[Layout, Any, Ints, Ints]] = []  # per argument: (layout, argument, values, where each call begins)
    begin = number = 0
    for made in layouts:
        count = len(made.calls)
        for argument in made.work.signature.arguments:
            end = begin + len(parts[number])
            piece, bounds = rows[begin:end], np.arange(count + 1) * argument.rows
            if argument.children and made.edges is not None:
                bounds = made.edges * argument.rows
            if made.rows is not None and not argument.children:
                bounds, piece = made.rows, spans(piece, np.diff(made.rows))
            elif argument.rows != 1:
                piece = spans(piece, argument.rows)
            pieces.append(piece)
            found.append((made, argument, values[begin:end], bounds))
            begin, number = end, number + 1
    _add_reads(found, np.concatenate(pieces), store)


def _add_reads(found: Sequence[tuple[Layout, Any, Ints, Ints]], rows: Ints, store: Store) -> None:
    """Give every layout the reads of its arguments."""
    table, first = Table(rows), 0
    breaks = _breaks(rows)
    for made, argument, values, bounds in found:
        lows = first + bounds[np.cumsum([0, *made.sizes])]
        first = int(lows[-1])
        starts = _starts(rows, breaks, np.append(lows[:-1], lows[0]), np.append(lows[1:], lows[-1]))
        need: bool | None = False
        if made.work.signature.recording and argument.pool.floating:
            need = True if made.always and store.gradient[values].any() else None
        made.reads.append(Reads(store.arena(argument.pool), None if need is False else values, table, lows.tolist(),
                                starts.tolist(), need))


def _breaks(rows: Ints) -> Ints:
    """Return how many times up to a row one did not follow the one before."""
    breaks = np.zeros(len(rows), np.int64)
    np.cumsum(rows[1:] - rows[:-1] != 1, out=breaks[1:])
    return breaks


def stretches(rows: Ints, lows: Ints, highs: Ints) -> Ints:
    """Return the first of rows low to high, for each pair, where they follow each other; -1 for others.

    >>> stretches(np.array([4, 5, 6, 2]), np.array([0, 2]), np.array([3, 4])).tolist()
    [4, -1]
    """
    return _starts(rows, _breaks(rows), lows, highs)


def _starts(rows: Ints, breaks: Ints, lows: Ints, highs: Ints) -> Ints:
    """Return the first row of stretches of the table whose rows follow each other; -1 for others."""
    if not len(rows):
        return np.full(len(lows), -1, np.int64)
    some = highs > lows
    low, high = np.where(some, lows, 0), np.where(some, highs - 1, 0)
    return np.where(some & (breaks[high] == breaks[low]), rows[low], -1)
