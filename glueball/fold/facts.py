"""What happened in a scope, in numbers: groups, their widths, bytes and times, and the least number of groups possible.

The one idea: while a scope runs only clock readings and references to the arrays of the schedule are kept (two readings
of the clock per group). Everything else, bytes and chains too, is worked out from them when somebody looks.

Not here: reasons and advice (reasons.py), the text (explain.py), the picture (picture.py).
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, final

import numpy as np

from .arena import spans
from .future import OFFSET, OFFSET_MASK
from .signature import Signature

__all__ = ["Flush", "Group", "KindFacts", "groups_of", "kinds_of", "chains"]

Ints = Any  # arrays of int64


@final
@dataclass(slots=True)
class Flush:
    """One flush, as it was noted.

    reason : why it happened
    works, planned : the recorded calls and the schedule
    clocks : when it began, when arrays from outside were stored, when the schedule was ready
    marks : per group, when its arguments were gathered, and when it had ended
    ahead : hoisted halves: (work, halves, begin, gathered, end); prepared : (begin, end) of bodies made for the first time
    ended : when the flush had ended; 0.0 when it failed
    """

    reason: str
    works: Sequence[Any]
    planned: Any
    clocks: tuple[float, float, float]
    marks: list[float] = field(default_factory=list)
    ahead: list[tuple[Any, Any, float, float, float]] = field(default_factory=list)
    prepared: list[tuple[float, float]] = field(default_factory=list)
    ended: float = 0.0

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self.planned.groups)

    @property
    def calls(self) -> int:
        """Number of calls."""
        return sum(work.count for work in self.works)
