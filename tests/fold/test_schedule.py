"""Laws of a schedule, on programs made up by hypothesis: what groups must be, whatever the program.

Every call runs once; what a call reads was made in a group before; a signature that only feeds itself gets as many
groups as its longest chain has calls; rows that are laid out are each value's own, in the order of the calls; and the
compiled planner and placer find the same as their twins in Python.
"""
from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball import cpu
from glueball.fold.arena import Store
from glueball.fold.core import compiled
from glueball.fold.future import OFFSET
from glueball.fold.kinds import Pool
from glueball.fold.signature import Argument, Output, Signature
from glueball.fold.steps import Program
from glueball.fold.work import Work

engine: Any = sys.modules["glueball.fold.schedule"]
layout: Any = sys.modules["glueball.fold.layout"]
POOL = Pool(cpu(), torch.float32, (2,))
VALUES_BEFORE = 7  # computed in earlier flushes
# (calls of one signature read so many single values, lists of children, and give so many results)
FORMS = ((1, 0, 1), (2, 0, 1), (1, 1, 2), (0, 2, 1), (1, 0, 3))


class Queue:
    """What a recorder writes down of one signature."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.refs: list[int] = []
        self.children: list[int] = []
        self.rows: list[int] = []


def _signature(singles: int, lists: int, results: int, rows: int = 1, recording: bool = False) -> Signature:
    """Rows: of every value; 0: they differ, but are one for children."""
    arguments = tuple(Argument(POOL, rows or number >= singles, number >= singles) for number in range(singles + lists))
    program = Program((), (), (), (), (), ())
    return Signature("unit", program, arguments, tuple(Output(POOL, rows) for _ in range(results)), (), False,
                     recording, not rows, "")


@st.composite
def programs(draw: st.DrawFn, rows: int = 1) -> tuple[list[Work], int]:
    """Calls of some signatures in an order, each of which reads values made before it; all take so many rows, and with
    0 rows each call its own number of them. They come as a recorder writes them down, or as arrays.
    """
    forms = draw(st.lists(st.sampled_from(FORMS), min_size=1, max_size=4))
    kinds = draw(st.lists(st.integers(0, len(forms) - 1), min_size=1, max_size=30))
    calls: list[list[tuple[int, list[int], list[list[int]]]]] = [[] for _ in forms]
    following = VALUES_BEFORE
    for kind in kinds:
        singles, lists, results = forms[kind]
        earlier = st.integers(max(0, following - 12), following - 1)
        if draw(st.integers(0, 9)) == 0:
            following += 1  # an array from outside: a number that no call makes
        children = draw(st.integers(0, 3))
        calls[kind].append((following, draw(st.lists(earlier, min_size=singles, max_size=singles)),
                            draw(st.lists(st.lists(earlier, min_size=children, max_size=children),
                                          min_size=lists, max_size=lists))))
        following += results
    works: list[Work] = []
    order = list(dict.fromkeys(kinds))
    for kind in order:
        singles, lists, _ = forms[kind]
        some, signature = calls[kind], _signature(*forms[kind], rows, draw(st.booleans()))
        sizes = draw(st.lists(st.integers(0, 3), min_size=len(some), max_size=len(some))) if not rows else []
        if draw(st.booleans()) and (not lists or all(listed[0] for _, _, listed in some)):
            queue = Queue()
            queue.ids, queue.rows = [number for number, *_ in some], sizes
            queue.refs = [ref << OFFSET for _, single, listed in some for ref in [*single, *[r for own in listed
                                                                                              for r in own]]]
            queue.children = [len(listed[0]) for _, _, listed in some] if lists else []
            works.append(Work.queued(signature, queue))
            continue
        fixed = np.array([single for _, single, _ in some], np.int64).reshape(len(some), singles) << OFFSET
        children = np.array([len(listed[0]) for _, _, listed in some], np.int64) if lists else None
        refs = [np.array([ref for _, _, listed in some for ref in listed[j]], np.int64) << OFFSET
                for j in range(lists)]
        ids = np.array([number for number, *_ in some])
        works.append(Work.of(signature, ids, fixed, children, refs, None if rows else np.array(sizes, np.int64)))
    return works, following


def _reads(work: Work) -> list[set[int]]:
    """The values that each call reads."""
    found: list[set[int]] = [set() for _ in range(work.count)]
    for refs, calls in work.all_references():
        for ref, call in zip((refs >> OFFSET).tolist(), calls.tolist()):
            found[call].add(ref)
    return found


@settings(max_examples=150, deadline=None)
@given(programs())
def test_every_call_runs_once_after_what_it_reads(program: tuple[list[Work], int]) -> None:
    works, values = program
    planned = engine.schedule(works, values)
    reads = [_reads(work) for work in works]
    pending = {int(number) + result for work in works for number in work.ids
               for result in range(len(work.signature.outputs))}
    seen: set[tuple[int, int]] = set()
    for index, calls in planned.groups:
        assert len(calls)
        for call in calls.tolist():
            assert (index, call) not in seen
            seen.add((index, call))
            assert not reads[index][call] & pending
        for call in calls.tolist():
            first = int(works[index].ids[call])
            pending -= set(range(first, first + len(works[index].signature.outputs)))
    assert len(seen) == sum(work.count for work in works)
    assert not pending


def _facts(made: Any) -> Any:
    """All that a layout says, as plain numbers."""
    def plain(numbers: Any) -> Any:
        return None if numbers is None else numbers.tolist()

    return None if made is None else (
        plain(made.calls), plain(made.ids), made.sizes, plain(made.edges), plain(made.children), plain(made.rows),
        made.always, made.counts, [firsts for _, firsts in made.writes],
        [(plain(r.values), r.lows, r.starts, r.need, plain(r.table.rows)) for r in made.reads])


def _store(values: int, gradients: Sequence[int] = ()) -> Store:
    """A store in which all values that there are have been computed, of three rows each."""
    store = Store()
    store.fit(values)
    store.arena(POOL).append(torch.zeros(3 * values, 2))
    store.rows[:values] = 3 * np.arange(values)
    store.gradient[list(gradients)] = True
    return store


@pytest.mark.skipif(compiled("planner") is None, reason="there was no compiler")
@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2).flatmap(programs))
def test_the_compiled_planner_finds_what_its_twin_finds(program: tuple[list[Work], int]) -> None:
    works, values = program
    found, wanted = engine.schedule(works, values), engine.twin(works, values)
    assert [(index, calls.tolist()) for index, calls in found.groups] == [
        (index, calls.tolist()) for index, calls in wanted.groups]
    assert found.order.tolist() == wanted.order.tolist()
    assert (found.turns, found.sizes, found.component, found.recurrent, found.outside) == (
        wanted.turns, wanted.sizes, wanted.component, wanted.recurrent, wanted.outside)


@pytest.mark.skipif(compiled("placer") is None, reason="there was no compiler")
@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2).flatmap(programs), st.lists(st.booleans(), min_size=4, max_size=4),
       st.sets(st.integers(0, VALUES_BEFORE - 1)))
def test_the_compiled_placer_finds_what_its_twin_finds(program: tuple[list[Work], int], flows: list[bool],
                                                       gradients: set[int]) -> None:
    works, values = program
    planned = engine.twin(works, values)
    stores = [_store(values, sorted(gradients)) for _ in range(2)]
    found = layout.lay_out(works, planned, stores[0], flows[:len(works)])
    wanted = layout.twin(works, planned, stores[1], flows[:len(works)])
    assert list(map(_facts, found)) == list(map(_facts, wanted))
    assert stores[0].rows.tolist() == stores[1].rows.tolist()
    assert stores[0].gradient.tolist() == stores[1].gradient.tolist()
    assert stores[0].arena(POOL).used == stores[1].arena(POOL).used


@pytest.mark.skipif(compiled("planner") is None, reason="there was no compiler")
@pytest.mark.parametrize("change", [
    {"ids": [7, 99]}, {"ids": [7]}, {"ids": [-1, 8]}, {"refs": [1]}, {"refs": [1, 2, 3]}, {"children": [-1, 1]},
    {"children": [1]}, {"children": [2, 1]}])
def test_calls_that_do_not_fit_together_are_refused(change: dict[str, list[int]]) -> None:
    parts = {"ids": [7, 8], "refs": [0, 1 << OFFSET], "children": [1, 0], **change}
    ids, refs, children = (np.array(parts[name], np.int64) for name in ("ids", "refs", "children"))
    tuples = [(ids, refs, None, None, None, 1, 0, 1)] if "children" not in change else [
        (ids, refs[:1], children, None, None, 0, 1, 1)]
    with pytest.raises(ValueError, match="do not fit together"):
        compiled("planner").schedule(tuples, 9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=40))
def test_a_signature_that_feeds_itself_has_a_group_per_level(steps: list[int]) -> None:
    """Call n reads the result of call n - 1 - steps[n], or something from outside where there is none."""
    reads = [VALUES_BEFORE + n - 1 - step if n > step else 0 for n, step in enumerate(steps)]
    level: list[int] = []
    for read in reads:
        level.append(1 + level[read - VALUES_BEFORE] if read else 1)
    ids = np.arange(len(reads)) + VALUES_BEFORE
    work = Work.of(_signature(1, 0, 1), ids, np.array(reads)[:, None] << OFFSET)
    planned = engine.schedule([work], VALUES_BEFORE + len(reads))
    assert len(planned.groups) == max(level)
    assert [len(calls) for _, calls in planned.groups] == np.bincount(level)[1:].tolist()


@pytest.mark.skipif(compiled("placer") is None, reason="there was no compiler")
@pytest.mark.parametrize("change", [
    {"order": [0]}, {"order": [0, 2]}, {"order": [-1, 0]}, {"turns": [0]}, {"turns": [0, 1]}, {"turns": [0, 0, 0]},
    {"sizes": [[2, 1]]}, {"sizes": [[2]]}, {"sizes": []}, {"rows": [0, 0]}, {"rows": [-1] * 9}, {"gradient": [False]},
    {"used": []}, {"used": [-1]}, {"always": []}])
def test_groups_that_do_not_fit_the_calls_are_refused(change: dict[str, list[Any]]) -> None:
    ids, refs = np.array([7, 8], np.int64), np.array([0, 7 << OFFSET], np.int64)
    given = {"order": [0, 1], "turns": [0, 0], "sizes": [[1, 1]], "rows": [0] * 7 + [-1] * 2, "gradient": [False] * 9,
             "used": [7], "always": [False]}

    def lay_out(order: Any, turns: Any, sizes: Any, rows: Any, gradient: Any, used: Any, always: Any) -> Any:
        return compiled("placer").lay_out(
            [(ids, refs, None, None, None, 1, 0, 1)], [((1,), (False,), (1,), (True,), (0,))],
            np.array(order, np.int64), turns, sizes, np.array(rows, np.int64), np.array(gradient), used, always)

    table, _, _, used = lay_out(**given)
    assert (np.frombuffer(table, np.int64).tolist(), used) == ([0, 7], [9])
    with pytest.raises(ValueError, match="do not fit together"):
        lay_out(**{**given, **change})


def test_nothing_to_run_makes_no_group() -> None:
    assert engine.schedule([], 3).groups == [] == engine.twin([], 3).groups
    assert layout.lay_out([], engine.schedule([], 3), Store(), []) == []


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3).flatmap(lambda rows: st.tuples(st.just(rows), programs(rows))))
def test_rows_are_laid_out_for_every_call(drawn: tuple[int, tuple[list[Work], int]]) -> None:
    rows, (works, values) = drawn
    store = Store()
    store.fit(values)
    arena = store.arena(POOL)
    arena.append(torch.zeros(values * rows, 2))
    store.rows[:values] = np.arange(values) * rows  # what no call makes has been stored before
    planned = engine.schedule(works, values)
    layouts = layout.lay_out(works, planned, store, [False] * len(works))
    made = np.concatenate([work.ids + result for work in works for result in range(len(work.signature.outputs))])
    assert sorted(store.rows[made].tolist()) == list(range(values * rows, values * rows + len(made) * rows, rows))
    assert arena.used == values * rows + len(made) * rows
    arena.data = torch.arange(arena.used)[:, None].expand(-1, 2)  # every row says where it lies
    done = [0] * len(works)
    for index, calls in planned.groups:
        found, work = layouts[index], works[index]
        end = done[index] + len(calls)
        number = int(np.searchsorted(np.cumsum(found.sizes), end))  # of the group among those of its signature
        for result, (_, firsts) in enumerate(found.writes):
            wanted = firsts[number] + rows * np.arange(len(calls))
            assert store.rows[work.ids[calls] + result].tolist() == wanted.tolist()
        for position, reads in enumerate(found.reads):
            starts = store.rows[work.references(position, calls) >> OFFSET]
            taken, place = reads.take(number)
            assert taken[:, 0].tolist() == [start + row for start in starts.tolist() for row in range(rows)]
            assert isinstance(place, slice) == (taken.numel() > 0 and bool((taken[1:, 0] - taken[:-1, 0] == 1).all()))
        done[index] = end
    for found, work in zip(layouts, works):
        for position, reads in enumerate(found.reads):
            starts = store.rows[work.references(position, found.calls) >> OFFSET].tolist()
            assert reads.take(layout.ALL)[0][:, 0].tolist() == [start + row for start in starts for row in range(rows)]


def test_a_scope_takes_memory_for_what_the_scope_before_had() -> None:
    pool = Pool(cpu(), torch.float32, (7,))
    sizes = []
    for first, more in ((40, 60), (38, 60), (41, 59), (40, 300)):
        arena = Store().arena(pool)
        arena.room(first)
        before = arena.data
        arena.data[:] = 3
        arena.room(first + more)
        sizes.append(arena.data.shape[0])
        assert arena.data[:first].eq(3).all()
        assert (arena.data is before) == (len(sizes) in (2, 3))  # no copy where it was expected
    assert sizes[1] == sizes[2] >= 100
    assert sizes[3] >= 340
