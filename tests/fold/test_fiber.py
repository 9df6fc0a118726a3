"""Fibers: order, rounds, context and depth, on greenlets and on threads alike.

The one idea: programs are functions that log what they do and park; a flusher logs what it was asked for. The log is
the whole observable behaviour, so it is compared: with what is written down here, with a model that needs no fibers,
and between the two kinds.

Not here: failures (test_fiber_failures.py), forks and maps inside maps (test_fiber_nesting.py).
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glueball import autograd
from glueball.base.errors import ArgumentError
from glueball.base.modes import is_recording, is_training
from glueball.fold import switch
from glueball.fold.fiber import Hub, current_hub, fork, in_fiber, park

from .fibers import KINDS, NEEDS_GREENLET, Flushes, Special, inner, notes, run, steps


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


@NEEDS_GREENLET
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
