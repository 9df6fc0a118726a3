"""Greenlets that serve many fibers: which ones are taken again, and that nothing of an ended fiber stays with them.

The one idea: a sample says in which greenlet it ran, and how deep it could go; both are what a user could see.

Not here: what fibers do (test_fiber.py), what a map does (test_map.py).
"""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest

from glueball.fold.fiber import fork, park

from .fibers import NEEDS_GREENLET, greenlet, run

pytestmark = NEEDS_GREENLET

NOTE: ContextVar[str] = ContextVar("note", default="none")


def seat() -> Any:
    """A program that waits once and tells its greenlet."""
    park("value")
    return greenlet.getcurrent()


def seats(count: int) -> list[Any]:
    return run("greenlet", [seat] * count)[0]


def deeper(levels: int, function: Callable[[], Any]) -> Any:
    return deeper(levels - 1, function) if levels else function()


def test_the_next_map_takes_the_same_greenlets() -> None:
    rounds = [seats(5) for _ in range(3)]
    assert len(set(rounds[0])) == 5
    assert set(rounds[0]) == set(rounds[1]) == set(rounds[2])


def test_forked_fibers_leave_theirs_too() -> None:
    def program() -> Any:
        return [greenlet.getcurrent(), fork(seat).result()]

    first, second = ({one for pair in run("greenlet", [program] * 3)[0] for one in pair} for _ in range(2))
    assert len(first) == 6
    assert first == second


def test_another_depth_has_its_own() -> None:
    assert not set(seats(3)) & set(deeper(5, partial(seats, 3)))


def test_many_depths_do_not_pile_up() -> None:
    died = [weakref.ref(one) for depth in range(20) for one in deeper(depth, partial(seats, 2))]
    gc.collect()
    assert 0 < sum(ref() is not None for ref in died) <= 2 * 4


def test_a_deep_map_does_not_take_room_from_the_next() -> None:
    """A greenlet that began deep in a recursion has few frames left; a map further out must not get it."""
    room = sys.getrecursionlimit() // 2
    deeper(room, partial(seats, 3))

    def program() -> int:
        park("value")
        return deeper(room + 100, lambda: 1)

    assert run("greenlet", [program] * 3)[0] == [1, 1, 1]


def test_threads_do_not_share() -> None:
    other: list[Any] = []
    thread = threading.Thread(target=lambda: other.extend(id(one) for one in seats(3)))
    own = seats(3)
    thread.start()
    thread.join()
    assert not {id(one) for one in own} & set(other)


def test_nothing_of_an_ended_fiber_stays() -> None:
    class Sample:
        pass

    def program(sample: Sample) -> None:
        NOTE.set("mine")
        park("value")

    sample = Sample()
    ref = weakref.ref(sample)
    run("greenlet", [partial(program, sample)])
    del sample
    gc.collect()
    assert ref() is None
    assert run("greenlet", [lambda: NOTE.get()])[0] == ["none"]


def test_a_greenlet_goes_on_after_an_error() -> None:
    def fails() -> None:
        park("value")
        raise ZeroDivisionError

    before = set(seats(4))
    with pytest.raises(ZeroDivisionError):
        run("greenlet", [fails, *[seat] * 3])
    assert set(seats(4)) == before
    assert sys.exc_info() == (None, None, None)


def test_a_map_inside_somebodys_greenlet() -> None:
    """Frames below such a greenlet cannot be counted, so a map in it keeps its greenlets to itself."""
    kept = set(seats(2))
    inside = greenlet.greenlet(partial(seats, 2)).switch()
    assert not kept & set(inside)
    assert set(seats(2)) == kept
