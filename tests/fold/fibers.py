"""What the tests of fibers share: a flusher that logs, programs that park, and the two kinds of fiber.

The one idea: programs are functions that log what they do and park; a flusher logs what it was asked for. The log is
the whole observable behaviour, so tests compare it.

Not here: the fixture `kind`, which runs a test with both kinds of fiber (conftest.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from glueball.fold.fiber import Hub, park, run_fibers

try:
    import greenlet
except ImportError:
    greenlet = None

NEEDS_GREENLET = pytest.mark.skipif(greenlet is None, reason="greenlet is not installed")
KINDS = [pytest.param("greenlet", marks=NEEDS_GREENLET), "threads"]


class Flushes:
    """Logs what was demanded; fails at the flush with number `fails_at`."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.log: list[list[Any]] = []
        self.fails_at = fails_at

    def flush(self, demanded: Sequence[Any]) -> None:
        self.log.append(list(demanded))
        if len(self.log) - 1 == self.fails_at:
            raise ZeroDivisionError("in the flush")


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


def inner(functions: Any, width: int | None = None) -> list[Any]:
    """A map inside a fiber."""
    return run_fibers(functions, width, Flushes())[0]
