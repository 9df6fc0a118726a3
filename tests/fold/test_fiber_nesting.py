"""Fibers inside fibers: functions forked by a sample, and maps inside a map.

The one idea: what a sample starts waits for the same flushes as everything else and ends with the sample that started
it; the log of what was flushed and of what ended shows both, on greenlets and on threads alike.
"""

from __future__ import annotations

import gc
import threading
import weakref
from functools import partial
from typing import Any

import pytest

from glueball.base.errors import ArgumentError, MXNetError
from glueball.fold.fiber import Hub, fork, park

from .fibers import Flushes, Special, fail_after, inner, notes, run, steps


# -- forks -------------------------------------------------------------------------------------------------------------
def test_children_wait_for_the_same_flush(kind: str) -> None:
    def total(tree: Any) -> int:
        if isinstance(tree, int):
            park(tree)
            return tree
        handles = [fork(total, child) for child in tree]
        return sum(handle.result() for handle in handles)

    results, flushes = run(kind, [partial(total, [1, [2, 3], [[4]]]), partial(total, [5])])
    assert results == [10, 5]
    assert flushes.log == [[1, 2, 3, 4, 5]]


def test_a_fork_begins_at_once(kind: str) -> None:
    log: list[str] = []

    def child() -> None:
        log.append("child begins")
        park(0)
        log.append("child ends")

    def program() -> None:
        log.append("before")
        handle = fork(child)
        log.append("after")
        assert not handle.done
        handle.join()
        assert handle.done
        log.append("joined")

    run(kind, [program])
    assert log == ["before", "child begins", "after", "child ends", "joined"]


def test_only_what_can_be_called_is_forked(kind: str) -> None:
    def program() -> None:
        fork(3)  # type: ignore[arg-type]

    with pytest.raises(ArgumentError, match="function to run(?s:.*)not fork"):
        run(kind, [program])
    with pytest.raises(ArgumentError, match="function to run"):
        program()


def test_forks_do_not_count_for_the_width(kind: str) -> None:
    def program() -> list[int]:
        handles = [fork(steps(i, 2)) for i in range(5)]
        return [handle.result() for handle in handles]

    results, flushes = run(kind, [program, program], width=1)
    assert results == [[0, 1, 2, 3, 4]] * 2
    assert [len(row) for row in flushes.log] == [5] * 4


def test_an_error_of_a_fork_is_raised_where_it_is_asked_for(kind: str) -> None:
    def program() -> str:
        handle = fork(fail_after, 1)
        try:
            handle.result()
        except Special:
            return "caught"
        return "missed"

    assert run(kind, [program, steps("other", 3)])[0] == ["caught", "other"]


def test_an_error_nobody_asks_for_is_not_lost(kind: str) -> None:
    def program() -> str:
        fork(fail_after, 2)
        return "done"

    with pytest.raises(Special) as caught:
        run(kind, [steps(0, 5), program])
    assert "raised in sample 1" in notes(caught.value)


def test_a_sample_waits_for_what_it_forked(kind: str) -> None:
    log: list[str] = []

    def child() -> None:
        park(0)
        log.append("child")

    def program() -> None:
        fork(child)

    run(kind, [program])
    assert log == ["child"]


def test_forks_end_with_who_forked(kind: str) -> None:
    ended: list[str] = []

    def child(name: str) -> None:
        try:
            for step in range(9):
                park(step)
        finally:
            ended.append(name)

    def program() -> None:
        fork(child, "first")
        fork(child, "second")
        fail_after(2)

    with pytest.raises(Special):
        run(kind, [program])
    assert ended == ["first", "second"]


def test_waiting_for_each_other_is_an_error(kind: str) -> None:
    handles: list[Any] = []

    def waits_for(i: int) -> Any:
        park(0)
        return handles[i].result()

    def program() -> None:
        handles.append(fork(waits_for, 1))
        handles.append(fork(waits_for, 0))

    with pytest.raises(MXNetError, match="wait for each other"):
        run(kind, [program])


def test_a_handle_outlives_its_map(kind: str) -> None:
    handles: list[Any] = []
    run(kind, [lambda: handles.append(fork(steps("a", 2)))])
    assert handles[0].result() == "a"

    def program() -> None:
        handles.append(fork(steps("b", 9)))
        fail_after(1)

    with pytest.raises(Special):
        run(kind, [program])
    with pytest.raises(MXNetError, match="stopped before it had a result"):
        handles[1].result()


def test_a_handle_is_no_use_to_another_thread(kind: str) -> None:
    seen: list[BaseException] = []

    def asks(handle: Any) -> None:
        try:
            handle.result()
        except MXNetError as error:
            seen.append(error)

    def program() -> None:
        handle = fork(steps("a", 1))
        thread = threading.Thread(target=asks, args=(handle,))
        thread.start()
        thread.join()

    run(kind, [program])
    assert "only a fiber of the same map can wait" in str(seen[0])


def test_forks_that_ended_are_not_kept(kind: str) -> None:
    """A long search that forks all the time does not collect the results of what is over."""
    class Thing:
        pass

    def child() -> Thing:
        park(0)
        return Thing()

    def program() -> int:
        seen = [weakref.ref(fork(child).result()) for _ in range(20)]
        gc.collect()
        return sum(reference() is not None for reference in seen)

    assert run(kind, [program])[0] == [0]


def test_an_interrupt_in_a_fork_stops_all_at_once(kind: str) -> None:
    def child() -> None:
        park(0)
        raise KeyboardInterrupt

    flushes = Flushes()

    def program() -> None:
        fork(child)
        for step in range(9):
            park(step)

    with pytest.raises(KeyboardInterrupt):
        Hub(flushes, kind).run([program, steps(0, 9)])
    assert len(flushes.log) == 1


# -- maps inside maps --------------------------------------------------------------------------------------------------
def test_inner_samples_wait_for_the_same_flush(kind: str) -> None:
    def program(i: int) -> list[Any]:
        return inner([steps((i, j), 2) for j in range(3)])

    results, flushes = run(kind, [partial(program, i) for i in range(2)])
    assert results == [[(0, 0), (0, 1), (0, 2)], [(1, 0), (1, 1), (1, 2)]]
    assert [len(row) for row in flushes.log] == [6, 6]
    assert flushes.log[0] == [((i, j), 0) for i in range(2) for j in range(3)]


def test_inner_width(kind: str) -> None:
    def program(i: int) -> list[Any]:
        return inner((steps((i, j), 1) for j in range(4)), width=2)

    results, flushes = run(kind, [partial(program, i) for i in range(2)])
    assert results == [[(i, j) for j in range(4)] for i in range(2)]
    assert [len(row) for row in flushes.log] == [4, 4]


def test_inner_map_of_nothing(kind: str) -> None:
    assert run(kind, [lambda: inner([]), lambda: inner([steps("a", 0)])])[0] == [[], ["a"]]


def test_inner_errors_can_be_caught(kind: str) -> None:
    ended: list[str] = []

    def sibling() -> None:
        try:
            for step in range(9):
                park(step)
        finally:
            ended.append("sibling")

    def program() -> str:
        try:
            inner([sibling, lambda: fail_after(1), sibling])
        except Special as error:
            assert "raised in sample 1" in notes(error)
            return "caught"
        return "missed"

    results, _ = run(kind, [program, steps("other", 4)])
    assert results == ["caught", "other"]
    assert ended == ["sibling"] * 2


def test_inner_errors_carry_both_numbers(kind: str) -> None:
    with pytest.raises(Special) as caught:
        run(kind, [steps(0, 3), steps(1, 3), lambda: inner([steps(2, 1), lambda: fail_after(1)])])
    assert "raised in sample 1" in notes(caught.value)
    assert "raised in sample 2" in notes(caught.value)


def test_outer_errors_stop_the_inner_samples(kind: str) -> None:
    ended: list[str] = []

    def program(name: str) -> None:
        try:
            for step in range(9):
                park(step)
        finally:
            ended.append(name)

    def outer() -> None:
        try:
            inner(partial(program, f"inner {i}") for i in range(3))
        finally:
            ended.append("outer")

    with pytest.raises(Special):
        run(kind, [outer, lambda: fail_after(2)])
    assert ended == ["inner 0", "inner 1", "inner 2", "outer"]


def test_an_error_of_an_inner_iterator_is_the_outer_samples(kind: str) -> None:
    def functions() -> Any:
        yield steps(0, 5)
        raise ValueError("inner samples")

    def program() -> str:
        try:
            inner(functions())
        except ValueError:
            return "caught"
        return "missed"

    assert run(kind, [program, steps("other", 2)])[0] == ["caught", "other"]


def test_three_levels(kind: str) -> None:
    def level(depth: int, name: tuple[int, ...]) -> Any:
        if depth == 0:
            park(name)
            return name
        return inner(partial(level, depth - 1, (*name, i)) for i in range(2))

    results, flushes = run(kind, [partial(level, 2, (i,)) for i in range(2)])
    assert results == [[[(i, j, k) for k in range(2)] for j in range(2)] for i in range(2)]
    assert flushes.log == [[(i, j, k) for i in range(2) for j in range(2) for k in range(2)]]
