"""The report of a scope: what was batched, what was not and why, where the time went."""
from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any, final

from .facts import Flush

__all__ = ["Report", "last_report"]

_last: list[Report] = []


@final
class Report:
    """What one scope did."""

    __slots__ = ("opened", "closed", "flushes", "backward", "apart", "at_once", "clock", "_rows")

    def __init__(self) -> None:
        self.opened = perf_counter()
        self.closed = 0.0
        self.flushes: list[Flush] = []
        self.backward: list[tuple[Any, float]] = []
        self.apart: dict[str, str] = {}
        self.at_once: dict[tuple[str, str], str] = {}
        self.clock: Any = None
        self._rows: Any = None

    def begin(self, reason: str, works: Sequence[Any], planned: Any, clocks: tuple[float, float, float]) -> None:
        """Note a flush that is about to run."""
        flush = Flush(reason, works, planned, clocks)
        self.flushes.append(flush)
        self.clock = flush.marks.append

    def ahead(self, work: Any, halves: Any, begin: float, gathered: float) -> None:
        """Note that the first half of a unit has run for all its calls."""
        self.flushes[-1].ahead.append((work, halves, begin, gathered, perf_counter()))

    def prepared(self, begin: float) -> None:
        """Note that a body was made."""
        self.flushes[-1].prepared.append((begin, perf_counter()))

    def end(self) -> None:
        """Note that the flush has run."""
        self.flushes[-1].ended = perf_counter()

    def close(self, rows: Any) -> None:
        """Note that the scope was left; rows: where each value lies."""
        self.closed, self._rows = perf_counter(), rows
        _last[:] = [self]


def last_report() -> Report:
    """Return the report of the last scope."""
    return _last[0]
