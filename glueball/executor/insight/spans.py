"""Plans in the profiler's trace: while the profiler runs, each call of a plan, each of its steps and, when asked for,
each unit of a region is a span inside the one before.

The one idea: a plan's functions are exchanged for watched ones when the profiler starts, and put back when it stops; so
a plan that is not profiled does not even look whether it is.

Not here: switches and files (profiler.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from weakref import WeakSet

from ... import profiler
from ..codegen import Source
from .facts import step_names

__all__ = ["Profiled", "enlist", "spanned"]


class Profiled(Protocol):
    """What runs generated functions: a plan."""

    def watch(self, units: bool) -> None:
        """Run functions that open spans from now on."""
        ...

    def unwatch(self) -> None:
        """Run the plain functions again."""
        ...


_plans: WeakSet[Any] = WeakSet()


def enlist(plan: Profiled) -> None:
    """Let a new plan be known to the profiler."""
    _plans.add(plan)
    if profiler.state() == "run":
        plan.watch(profiler.units_wanted())


def _switch(running: bool) -> None:
    for plan in list(_plans):
        plan.watch(profiler.units_wanted()) if running else plan.unwatch()


profiler.on_change(_switch)


class _Spans(threading.local):
    """The open spans of a thread: a step, and a unit of it."""

    def __init__(self) -> None:
        self.step: Any = None
        self.unit: Any = None

    def close(self) -> None:
        """Close both."""
        for span in (self.unit, self.step):
            if span is not None:
                span.__exit__(None, None, None)
        self.step = self.unit = None


def spanned(name: str, source: Source, units: bool) -> Callable[..., Any]:
    """Return a function that does what a plan's function does, inside of spans.

    name : of the call; units : whether units of regions have spans
    """
    steps, parts = step_names(source)
    spans = _Spans()

    def watch(step: int, unit: int | None) -> None:
        if unit is None:
            spans.close()
            if step < len(steps):
                spans.step = _opened(steps[step], "step")
            return
        if spans.unit is not None:
            spans.unit.__exit__(None, None, None)
            spans.unit = None
        if unit < len(parts[step]):
            spans.unit = _opened(parts[step][unit], "unit")

    function = source.watched(watch, units)

    def call(*arguments: Any) -> Sequence[Any]:
        with profiler.span(name, "plan"):
            try:
                return function(*arguments)
            finally:
                spans.close()

    return call


def _opened(name: str, category: str) -> Any:
    span = profiler.span(name, category)
    span.__enter__()
    return span
