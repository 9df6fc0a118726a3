"""Fibers that fail: the error keeps its type, names its sample, and the other samples are stopped and cleaned up.

The one idea: whatever is raised, wherever (a sample, the samples' iterator, a flush, a `finally` block, a signal),
the log shows which samples ended and in what order; greenlets and threads write the same log.

Not here: errors of forked functions and of maps inside maps (test_fiber_nesting.py).
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import time
import traceback
import weakref
from functools import partial
from typing import Any

import pytest

from glueball.fold.fiber import Hub, fork, in_fiber, park, run_fibers

from .fibers import Flushes, Special, fail_after, notes, run, steps


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
