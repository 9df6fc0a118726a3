"""Fibers: order, rounds, failures, forks and nesting, on greenlets and on threads alike.

The one idea: programs are functions that log what they do and park; a flusher logs what it was asked for. The log is
the whole observable behaviour, so it is compared: with what is written down here, with a model that needs no fibers,
and between the two kinds.
"""

from __future__ import annotations

import contextlib
import contextvars
import gc
import os
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glueball import autograd
from glueball.base.errors import ArgumentError, MXNetError
from glueball.base.modes import is_recording, is_training
from glueball.fold import switch
from glueball.fold.fiber import Hub, current_hub, fork, in_fiber, park, run_fibers

try:
    import greenlet
except ImportError:
    greenlet = None

KINDS = [pytest.param("greenlet", marks=pytest.mark.skipif(greenlet is None, reason="greenlet is not installed")),
         "threads"]


class Flushes:
    """Logs what was demanded; fails at the flush with number `fails_at`."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.log: list[list[Any]] = []
        self.fails_at = fails_at

    def flush(self, demanded: Sequence[Any]) -> None:
        self.log.append(list(demanded))
        if len(self.log) - 1 == self.fails_at:
            raise ZeroDivisionError("in the flush")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Any:
    """Both kinds of fiber; afterwards no thread is left."""
    before = threading.active_count()
    yield request.param
    assert threading.active_count() == before


def run(kind: str, functions: Any, width: int | None = None, fails_at: int | None = None) -> tuple[list[Any], Flushes]:
    flushes = Flushes(fails_at)
    return Hub(flushes, kind).run(functions, width), flushes


def steps(name: Any, count: int) -> Callable[[], Any]:
    """A program that parks `count` times."""

    def program() -> Any:
        for step in range(count):
            assert park((name, step))
        return name

    return program


def notes(error: BaseException) -> str:
    """The lines that were added to an error."""
    return "\n".join(getattr(error, "__notes__", [])) if sys.version_info >= (3, 11) else str(error.args)


# -- rounds ------------------------------------------------------------------------------------------------------------
def test_rounds_are_in_sample_order(kind: str) -> None:
    results, flushes = run(kind, [steps("a", 2), steps("b", 0), steps("c", 3)])
    assert results == ["a", "b", "c"]
    assert flushes.log == [[("a", 0), ("c", 0)], [("a", 1), ("c", 1)], [("c", 2)]]


def test_width_stays_by_rolling_admission(kind: str) -> None:
    results, flushes = run(kind, [steps(i, n) for i, n in enumerate([3, 1, 1, 1, 2])], width=2)
    assert results == [0, 1, 2, 3, 4]
    assert [[i for i, _ in row] for row in flushes.log] == [[0, 1], [0, 2], [0, 3], [4], [4]]


@pytest.mark.parametrize("width", [1, 2, 7, None])
def test_never_more_than_width_alive(kind: str, width: int | None) -> None:
    alive, most = 0, 0

    def program() -> None:
        nonlocal alive, most
        alive, most = alive + 1, max(most, alive + 1)
        park(0)
        alive -= 1

    run(kind, [program] * 9, width)
    assert most == (width or 9)


def test_nothing_and_one(kind: str) -> None:
    assert run(kind, [])[0] == []
    assert run(kind, [steps("a", 1)])[0] == ["a"]


def test_a_thousand_fibers_wait_together(kind: str) -> None:
    results, flushes = run(kind, [steps(i, 2) for i in range(1000)])
    assert results == list(range(1000))
    assert [len(row) for row in flushes.log] == [1000, 1000]


def test_several_values_at_once(kind: str) -> None:
    _, flushes = run(kind, [lambda: park("a", "b"), lambda: park("c")])
    assert flushes.log == [["a", "b", "c"]]


def test_a_fiber_may_have_a_flusher_of_its_own(kind: str) -> None:
    other = Flushes()
    _, flushes = run(kind, [lambda: park("a"), lambda: park("b", flusher=other), lambda: park("c")])
    assert flushes.log == [["a", "c"]]
    assert other.log == [["b"]]


def test_functions_are_taken_one_by_one(kind: str) -> None:
    """As in a plain loop: the next sample is made when the one before it runs."""
    log: list[str] = []

    def functions() -> Any:
        for i in range(3):
            log.append(f"make {i}")
            yield partial(log.append, f"run {i}")

    run(kind, functions())
    assert log == ["make 0", "run 0", "make 1", "run 1", "make 2", "run 2"]


def test_outside_of_fibers() -> None:
    assert not in_fiber()
    assert current_hub() is None
    assert not park("a")
    assert fork(max, 1, 2).result() == 2
    with pytest.raises(ZeroDivisionError):
        fork(lambda: 1 / 0)


def test_inside_of_fibers(kind: str) -> None:
    hub = Hub(Flushes(), kind)
    assert hub.run([lambda: in_fiber() and current_hub() is hub]) == [True]
    assert not in_fiber()


def test_a_thread_with_a_fibers_context_is_not_the_fiber(kind: str) -> None:
    """A worker thread that was given a copy of the context must not park somebody else."""
    seen: list[Any] = []

    def program() -> None:
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: seen.append(context.run(park, "x")))
        thread.start()
        thread.join()

    _, flushes = run(kind, [program])
    assert seen == [False]
    assert flushes.log == []


# -- failures ----------------------------------------------------------------------------------------------------------
class Special(Exception):
    """An error whose constructor takes what no other takes."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(code)
        self.code, self.reason = code, reason


def fail_after(count: int) -> None:
    """Park, then fail."""
    for step in range(count):
        park(step)
    raise Special(1, reason="")


@pytest.mark.parametrize("moment", [0, 1, 3])
@pytest.mark.parametrize("width", [None, 2])
def test_an_error_stops_all_and_names_its_sample(kind: str, moment: int, width: int | None) -> None:
    ended: list[int] = []

    def program(i: int) -> None:
        try:
            for step in range(4):
                if i == 1 and step == moment:
                    raise Special(7, reason="why")
                park((i, step))
        finally:
            ended.append(i)

    flushes = Flushes()
    with pytest.raises(Special) as caught:
        Hub(flushes, kind).run([partial(program, i) for i in range(5)], width)
    assert (caught.value.code, caught.value.reason) == (7, "why")
    assert "raised in sample 1" in notes(caught.value)
    text = "".join(traceback.format_exception(caught.type, caught.value, caught.tb))
    assert 'raise Special(7, reason="why")' in text
    assert len(flushes.log) == moment
    begun = 2 if moment == 0 else (width or 5)
    assert ended == [1, *[i for i in range(begun) if i != 1]]


@pytest.mark.parametrize("error", [StopIteration(5), GeneratorExit(), KeyError("k"), RecursionError(),
                                   OSError(2, "no file"), SystemExit(3), KeyboardInterrupt()])
def test_every_error_keeps_its_type(kind: str, error: BaseException) -> None:
    def program() -> None:
        park(0)
        raise error

    with pytest.raises(type(error)) as caught:
        run(kind, [steps(0, 3), program])
    assert caught.value is error
    assert "raised in sample 1" in notes(caught.value)


def test_stop_iteration_is_not_the_end_of_the_samples(kind: str) -> None:
    with pytest.raises(StopIteration):
        run(kind, [steps(0, 1), lambda: next(iter([])), steps(2, 1)])


def test_an_error_of_the_samples_iterator(kind: str) -> None:
    ended: list[int] = []

    def program() -> None:
        try:
            park(0)
        finally:
            ended.append(1)

    def functions() -> Any:
        yield program
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more") as caught:
        run(kind, functions())
    assert "while sample 1 was taken" in notes(caught.value)
    assert ended == [1]


def test_an_error_of_the_flush(kind: str) -> None:
    ended: list[int] = []

    def program(i: int) -> None:
        with contextlib.suppress(ZeroDivisionError):
            try:
                for step in range(i + 1):
                    park(step)
            finally:
                ended.append(i)

    with pytest.raises(ZeroDivisionError, match="in the flush") as caught:
        run(kind, [partial(program, i) for i in range(3)], fails_at=1)
    assert "samples 1, 2 waited for" in notes(caught.value)
    assert ended == [0, 1, 2]


def test_a_value_read_in_finally_is_computed_alone(kind: str) -> None:
    """A sample that is stopped does not wait for the others any more."""
    seen: list[bool] = []

    def program() -> None:
        try:
            park(0)
        finally:
            seen.append(park(1))
            seen.append(fork(lambda: park(2)).result())
            flushes = Flushes()
            results, hub = run_fibers([steps("inner", 1)], None, flushes)
            seen.append(results == ["inner"] and hub.flushes == 1)

    with pytest.raises(Special):
        run(kind, [lambda: fail_after(1), program, program])
    assert seen == [False, False, True] * 2


def test_an_error_in_finally_is_a_note(kind: str) -> None:
    def program() -> None:
        try:
            park(0)
        finally:
            raise ValueError("while cleaning")

    with pytest.raises(Special) as caught:
        run(kind, [lambda: fail_after(1), program])
    assert "while sample 1 was stopped, it raised ValueError('while cleaning')" in notes(caught.value)


def test_a_sample_that_swallows_the_stop_runs_to_its_end(kind: str) -> None:
    ended: list[str] = []

    def program() -> None:
        for step in range(3):
            try:
                park(step)
            except BaseException:
                ended.append(f"caught at {step}")
        ended.append("end")

    with pytest.raises(Special):
        run(kind, [program, lambda: fail_after(1)])
    assert ended == ["caught at 1", "end"]


def test_the_hub_is_clean_after_an_error(kind: str) -> None:
    flushes = Flushes()
    hub = Hub(flushes, kind)
    with pytest.raises(Special):
        hub.run([steps(0, 2), lambda: fail_after(1)])
    assert not in_fiber()
    assert hub.run([steps("again", 1)]) == ["again"]
    assert flushes.log[-1] == [("again", 0)]


def test_nothing_is_kept_alive(kind: str) -> None:
    class Thing:
        pass

    things = [Thing() for _ in range(3)]
    seen = [weakref.ref(thing) for thing in things]

    def program(thing: Any) -> None:
        park(thing)

    hub = Hub(Flushes(), kind)
    hub.flusher.log = None  # type: ignore[attr-defined]
    hub.flusher.flush = lambda demanded: None  # type: ignore[method-assign]
    hub.run([partial(program, thing) for thing in things])
    things.clear()
    gc.collect()
    assert [reference() for reference in seen] == [None] * 3


def test_ctrl_c_stops_all(kind: str) -> None:
    """A real signal, while a fiber runs: raised in the sample that ran, the others are stopped."""
    ended: list[Any] = []

    def program(i: int) -> None:
        try:
            for step in range(50):
                park(step)
                if i == 1 and step == 2:
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(0.05)  # in a thread the signal's handler runs meanwhile, in the hub's thread
        except KeyboardInterrupt:
            ended.append(f"interrupt in {i}")
            raise
        finally:
            ended.append(i)

    with pytest.raises(KeyboardInterrupt) as caught:
        run(kind, [partial(program, i) for i in range(3)])
    assert ended == ["interrupt in 1", 1, 0, 2]
    assert "sample 1" in notes(caught.value)


def test_ctrl_c_in_the_last_step_is_not_lost(kind: str) -> None:
    def program() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)

    with pytest.raises(KeyboardInterrupt):
        run(kind, [program])


# -- context and grad mode ---------------------------------------------------------------------------------------------
VARIABLE: contextvars.ContextVar[Any] = contextvars.ContextVar("VARIABLE", default="outside")


def test_fibers_have_their_own_context(kind: str) -> None:
    def program(i: int) -> tuple[Any, Any]:
        before = VARIABLE.get()
        VARIABLE.set(i)
        park(0)
        return before, VARIABLE.get()

    token = VARIABLE.set("caller")
    try:
        assert run(kind, [partial(program, i) for i in range(3)])[0] == [("caller", i) for i in range(3)]
        assert VARIABLE.get() == "caller"
    finally:
        VARIABLE.reset(token)


def test_modes_of_fibers_do_not_mix(kind: str) -> None:
    """Entering and leaving record(), pause() and predict_mode() around a read changes nothing for the others."""
    def state() -> tuple[bool, bool, bool]:
        return is_recording(), is_training(), torch.is_grad_enabled()

    def program(scope: Callable[[], Any], inside: tuple[bool, bool, bool]) -> None:
        for _ in range(3):
            assert state() == (True, True, True)
            with scope():
                assert state() == inside
                park(0)
                assert state() == inside
                with autograd.record():
                    park(0)
                    assert state() == (True, True, True)
                assert state() == inside
            park(0)

    with autograd.record():
        run(kind, [partial(program, autograd.pause, (False, False, False)),
                   partial(program, autograd.predict_mode, (True, False, True)),
                   partial(program, contextlib.nullcontext, (True, True, True))])
        assert state() == (True, True, True)


@pytest.mark.parametrize("grad", [True, False])
def test_flushes_run_in_the_callers_grad_mode(kind: str, grad: bool) -> None:
    seen: list[bool] = []

    class Looks:
        def flush(self, demanded: Sequence[Any]) -> None:
            seen.append(torch.is_grad_enabled())

    def program(mode: bool) -> bool:
        before = torch.is_grad_enabled()
        torch.set_grad_enabled(mode)
        park(0)
        assert torch.is_grad_enabled() is mode
        return before

    with torch.set_grad_enabled(grad):
        assert Hub(Looks(), kind).run([partial(program, m) for m in (True, False, True)]) == [grad] * 3
        assert torch.is_grad_enabled() is grad
    assert seen == [grad]


def test_samples_made_by_a_generator_see_its_modes_only_inside(kind: str) -> None:
    """A generator that holds a scope open across its yields does not change the mode of the samples."""
    seen: list[bool] = []

    def functions() -> Any:
        with autograd.record():
            for _ in range(3):
                assert is_recording()
                assert torch.is_grad_enabled()
                yield lambda: seen.append(is_recording())

    run(kind, functions(), width=1)
    assert seen == [False] * 3
    assert not is_recording()


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
def inner(functions: Any, width: int | None = None) -> list[Any]:
    """A map inside a fiber."""
    return run_fibers(functions, width, Flushes())[0]


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


# -- depth, kinds ------------------------------------------------------------------------------------------------------
def test_deep_recursion(kind: str) -> None:
    """As deep as the limit allows, through calls that use the C stack at every level."""
    class Node:
        def __init__(self, child: Any) -> None:
            self.child = child

        def __call__(self, depth: int) -> int:
            if self.child is None:
                park(depth)
                return depth
            return max([self.child], key=lambda child: 0)(depth + 1)

    tree = None
    levels = 400 if sys.version_info[:2] == (3, 12) else 3000  # 3.12 allows few nested calls that go through C
    for _ in range(levels):
        tree = Node(tree)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(8000)
    try:
        assert run(kind, [partial(tree, 0)] * 3)[0] == [levels - 1] * 3  # type: ignore[arg-type]
    finally:
        sys.setrecursionlimit(limit)


def test_too_deep_recursion_is_an_ordinary_error(kind: str) -> None:
    def forever(depth: int) -> int:
        return forever(depth + 1) + 1

    with pytest.raises(RecursionError) as caught:
        run(kind, [steps(0, 1), partial(forever, 0)])
    assert "raised in sample 1" in notes(caught.value)


def test_the_size_of_thread_stacks_is_put_back() -> None:
    before = threading.stack_size()
    run("threads", [steps(0, 1)])
    assert threading.stack_size() == before


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLUEBALL_FIBERS", "threads")
    assert Hub(Flushes()).kind == "threads"
    monkeypatch.setenv("GLUEBALL_FIBERS", "processes")
    with pytest.raises(ArgumentError, match="'auto', 'greenlet' or 'threads'"):
        Hub(Flushes())


def test_without_greenlet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "greenlet", None)
    monkeypatch.setenv("GLUEBALL_FIBERS", "auto")
    assert switch.backend() == "threads"
    monkeypatch.setenv("GLUEBALL_FIBERS", "greenlet")
    with pytest.raises(ArgumentError, match="pip install greenlet"):
        switch.backend()


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system refuses another thread: the error is raised, and what runs is stopped."""
    start, started, ended = threading.Thread.start, [], []

    def refuses(thread: threading.Thread) -> None:
        started.append(thread)
        if len(started) > 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    def program() -> None:
        try:
            park(0)
        finally:
            ended.append(1)

    monkeypatch.setattr(threading.Thread, "start", refuses)
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="can't start"):
        run("threads", [program] * 4)
    assert ended == [1, 1]
    assert threading.active_count() == before


# -- the law: both kinds do the same, and what a model without fibers says --------------------------------------------
Program = list[Any]
leaf = st.one_of(st.just("park"), st.just("work"), st.just("fail"), st.just("scope"))
widths = st.sampled_from([None, 1, 2])
ops = st.recursive(
    st.lists(leaf, max_size=4),
    lambda body: st.lists(st.one_of(leaf, st.tuples(st.sampled_from(["fork", "fork and join", "try"]), body),
                                    st.tuples(st.just("map"), st.lists(body, max_size=3), widths)), max_size=4),
    max_leaves=8)


def perform(program: Program, name: str, log: list[str]) -> str:
    """Run a random program, logging all it does."""
    handles: list[Any] = []
    try:
        for place, op in enumerate(program):
            here = f"{name}.{place}"
            log.append(f"{here} {op if isinstance(op, str) else op[0]} {is_recording()} {torch.is_grad_enabled()}")
            if op == "park":
                park(here)
            elif op == "scope":
                with autograd.record():
                    park(here)
                    log.append(f"{here} inside {is_recording()} {torch.is_grad_enabled()}")
            elif op == "fail":
                raise Special(place, reason=here)
            elif op[0] in ("fork", "fork and join"):
                handles.append(fork(perform, op[1], here, log))
                if op[0] == "fork and join":
                    log.append(f"{here} joined {handles[-1].result()}")
            elif op[0] == "try":
                with contextlib.suppress(Special):
                    perform(op[1], here, log)
            elif op[0] == "map":
                tasks = [partial(perform, body, f"{here}m{i}", log) for i, body in enumerate(op[1])]
                log.append(f"{here} mapped {inner(tasks, op[2])}")
    except Special as error:
        log.append(f"{name} fails with {error.reason} {notes(error)}")
        raise
    finally:
        log.append(f"{name} ends")
    return f"{name}={len(handles)}"


def observe(kind: str, programs: list[Program], width: int | None) -> tuple[list[str], Any]:
    log: list[str] = []

    class Logs:
        def flush(self, demanded: Sequence[Any]) -> None:
            log.append(f"flush {list(demanded)}")

    tasks = [partial(perform, program, f"s{i}", log) for i, program in enumerate(programs)]
    try:
        return log, Hub(Logs(), kind).run(tasks, width)
    except Special as error:
        return log, (error.reason, notes(error))


@pytest.mark.skipif(greenlet is None, reason="greenlet is not installed")
@given(st.lists(ops, max_size=5), st.sampled_from([None, 1, 2, 3]))
def test_both_kinds_do_the_same(programs: list[Program], width: int | None) -> None:
    before = threading.active_count()
    first = observe("greenlet", programs, width)
    assert first == observe("threads", programs, width)
    assert first == observe("greenlet", programs, width)
    assert threading.active_count() == before


@pytest.mark.parametrize("kind", KINDS)
@given(counts=st.lists(st.integers(0, 5), max_size=8), width=st.sampled_from([None, 1, 2, 3]))
def test_rounds_are_those_of_the_model(kind: str, counts: list[int], width: int | None) -> None:
    """Continuous batching, written down as a loop over lists."""
    left, alive, expected = list(enumerate(counts)), [], []
    while left or alive:
        while left and (width is None or len(alive) < width):
            i, n = left.pop(0)
            if n:
                alive.append((i, n, 0))
        if alive:
            expected.append([(i, step) for i, _, step in alive])
        alive = [(i, n, step + 1) for i, n, step in alive if step + 1 < n]
    results, flushes = run(kind, [steps(i, n) for i, n in enumerate(counts)], width)
    assert results == list(range(len(counts)))
    assert flushes.log == expected
