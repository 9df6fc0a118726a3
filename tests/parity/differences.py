"""Where Glueball deliberately differs from the golden results, and why: the one table (also the source of docs/differences.md).

`match` is a case's id, or its beginning followed by `*`. `kind` is "value" (we answer, differently; also: we answer where
the oracle refuses) or "raises" (we refuse where the oracle answers). An entry that no longer differs fails its test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Difference:
    """One deliberate difference: the topic of the golden data, the case, the kind, and the reason in words."""

    topic: str
    match: str
    kind: Literal["value", "raises"]
    reason: str


DIFFERENCES: tuple[Difference, ...] = ()


def find(topic: str, name: str) -> Difference | None:
    """The entry for a case, or None."""
    for entry in DIFFERENCES:
        exact = entry.match == name
        beginning = entry.match.endswith("*") and name.startswith(entry.match[:-1])
        if entry.topic == topic and (exact or beginning):
            return entry
    return None
