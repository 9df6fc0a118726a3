"""Laws of a schedule, on programs made up by hypothesis: what groups must be, whatever the program.

Every call runs once; what a call reads was made in a group before; a signature that only feeds itself gets as many
groups as its longest chain has calls; the two ways to find groups, on lists and on arrays, find the same ones; and the
rows that are laid out for groups are each value's own, in the order of the calls.
"""
from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball import cpu
from glueball.fold.arena import Store
from glueball.fold.execute import Work
from glueball.fold.future import OFFSET
from glueball.fold.kinds import Pool
from glueball.fold.signature import Argument, Output, Signature
from glueball.fold.steps import Program

engine: Any = sys.modules["glueball.fold.schedule"]
layout: Any = sys.modules["glueball.fold.layout"]
POOL = Pool(cpu(), torch.float32, (2,))
VALUES_BEFORE = 7  # computed in earlier flushes
# (calls of one signature read so many single values, lists of children, and give so many results)
FORMS = ((1, 0, 1), (2, 0, 1), (1, 1, 2), (0, 2, 1), (1, 0, 3))


def _signature(singles: int, lists: int, results: int, rows: int = 1) -> Signature:
    arguments = tuple(Argument(POOL, rows, number >= singles) for number in range(singles + lists))
    program = Program((), (), (), (), (), ())
    return Signature("unit", program, arguments, tuple(Output(POOL, rows) for _ in range(results)), (), False,
                     False, False, "")


@st.composite
def programs(draw: st.DrawFn, rows: int = 1) -> tuple[list[Work], int]:
    """Calls of some signatures in an order, each of which reads values made before it; all take so many rows."""
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
        some = calls[kind]
        fixed = np.array([single for _, single, _ in some], np.int64).reshape(len(some), singles) << OFFSET
        children = np.array([len(listed[0]) for _, _, listed in some], np.int64) if lists else None
        refs = [np.array([ref for _, _, listed in some for ref in listed[j]], np.int64) << OFFSET
                for j in range(lists)]
        ids = np.array([number for number, *_ in some])
        works.append(Work.of(_signature(*forms[kind], rows), ids, fixed, children, refs))
    return works, following


def _by_arrays(works: list[Work], values: int) -> Any:
    before = engine.FEW
    engine.FEW = -1
    try:
        return engine.schedule(works, values)
    finally:
        engine.FEW = before


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


@settings(max_examples=150, deadline=None)
@given(programs())
def test_lists_and_arrays_find_the_same_groups(program: tuple[list[Work], int]) -> None:
    works, values = program
    few, many = engine.schedule(works, values), _by_arrays(works, values)
    assert [(index, calls.tolist()) for index, calls in few.groups] == [
        (index, calls.tolist()) for index, calls in many.groups]
    assert (few.component, few.recurrent, few.outside) == (many.component, many.recurrent, many.outside)


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


def test_nothing_to_run_makes_no_group() -> None:
    assert engine.schedule([], 3).groups == [] == _by_arrays([], 3).groups


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
    layouts = layout.lay_out(works, planned.groups, store, [False] * len(works))
    made = np.concatenate([work.ids + result for work in works for result in range(len(work.signature.outputs))])
    assert sorted(store.rows[made].tolist()) == list(range(values * rows, values * rows + len(made) * rows, rows))
    assert arena.used == values * rows + len(made) * rows
    arena.data = torch.arange(arena.used)[:, None].expand(-1, 2)  # every row says where it lies
    done = [0] * len(works)
    for index, calls in planned.groups:
        found, work = layouts[index], works[index]
        begin, end = done[index], done[index] + len(calls)
        number = int(np.searchsorted(np.cumsum(found.sizes), end))  # of the group among those of its signature
        for result, (_, firsts) in enumerate(found.writes):
            wanted = firsts[number] + rows * np.arange(len(calls))
            assert store.rows[work.ids[calls] + result].tolist() == wanted.tolist()
        for position, reads in enumerate(found.reads):
            starts = store.rows[work.references(position, calls) >> OFFSET]
            taken, _ = reads.take(begin, end)
            assert taken[:, 0].tolist() == [start + row for start in starts.tolist() for row in range(rows)]
        done[index] = end
