"""The report of a scope: what was batched, what was not and why, where the time went."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

__all__ = ["Report"]


@final
@dataclass(slots=True)
class Report:
    """Statistics of one scope."""

    flushes: list[Any] = field(default_factory=list)

    def begin(self, reason: str, works: Sequence[Any], planned: Any, scheduling: float) -> None:
        """Note a flush that is about to run."""
        self.flushes.append((reason, [w.signature for w in works], [(i, len(c)) for i, c in planned.groups], scheduling))

    def end(self, seconds: float) -> None:
        """Note that it ran."""
