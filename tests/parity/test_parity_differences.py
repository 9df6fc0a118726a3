"""The table of differences is sound: every entry names cases that exist, none twice, and the documentation shows it."""

from __future__ import annotations

from pathlib import Path

import reader
from differences import AREAS, BEGIN, DIFFERENCES, END, as_markdown


def test_every_entry_names_golden_cases() -> None:
    for entry in DIFFERENCES:
        known = reader.names(entry.topic.split(" ")[0])
        for match in entry.match:
            found = [name for name in known if name == match or (match[-1] == "*" and name.startswith(match[:-1]))]
            assert found, f"{entry.topic}: no case {match!r}"
        assert entry.topic.startswith(tuple(AREAS)), f"{entry.topic} has no area"


def test_no_case_is_listed_twice() -> None:
    seen: set[tuple[str, str, str]] = set()
    for entry in DIFFERENCES:
        for match in entry.match:
            assert (entry.topic, match, entry.way) not in seen, f"{entry.topic} {match} is listed twice"
            seen.add((entry.topic, match, entry.way))


def test_the_documentation_shows_the_table(repository: Path) -> None:
    page = (repository / "docs" / "differences.md").read_text(encoding="utf-8")
    shown = page[page.index(BEGIN) : page.index(END) + len(END)]
    assert shown == as_markdown(), "put the output of `python tests/parity/differences.py` into docs/differences.md"
