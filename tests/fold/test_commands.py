"""What Python writes for the runner is what the runner reads: both name the same words by the same numbers.

The one idea: a word that one side counts otherwise is a wrong address, so the names in runner.c, and in the headers of
rounds, are read as text and compared with those of commands.py and stream.py.
"""
from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from glueball.fold import commands, rounds, stream
from glueball.fold.commands import Operand

SOURCE = Path(commands.__file__).parent / "native" / "runner.c"


def enumerations() -> list[dict[str, int]]:
    """Return the enumerations of runner.c, name -> number."""
    found: list[dict[str, int]] = []
    for body in re.findall(r"enum \{([^}]*)\}", SOURCE.read_text()):
        names: dict[str, int] = {}
        last = -1
        for part in body.split(","):
            name, _, number = part.strip().partition("=")
            last = int(number) if number else last + 1
            names[name.strip()] = last
        found.append(names)
    return found


def named(prefix: str) -> dict[str, int]:
    """Return the enumeration whose names begin so, without that."""
    return next({name.removeprefix(prefix): number for name, number in names.items()} for names in enumerations()
                if all(name.startswith(prefix) for name in names))


def test_commands_and_modes_have_the_same_numbers() -> None:
    if not SOURCE.exists():
        pytest.skip("an installation without sources")
    for first in ("PRODUCT", "FIXED", "MUST_COPY"):
        names = next(names for names in enumerations() if first in names)
        assert names == {name: getattr(commands, name) for name in names}
    assert len(next(names for names in enumerations() if "PRODUCT" in names)) == 10


def test_environments_and_operands_are_written_in_the_order_in_which_they_are_read() -> None:
    if not SOURCE.exists():
        pytest.skip("an installation without sources")
    words = named("E_")
    assert words.pop("ROOTS") == stream._ROOTS
    assert words == {name: getattr(stream, f"_{name}") for name in words}
    fields = named("O_")
    assert fields.pop("WORDS") == len(Operand._fields) == len(fields)
    assert [name.lower() for name in fields] == list(Operand._fields)
    assert named("P_")["READS_AT"] + 1 == commands._HEADER


def test_a_round_writes_where_the_runner_reads() -> None:
    if not SOURCE.exists():
        pytest.skip("an installation without sources")
    words = named("E_")
    known = re.findall(r"E_(\w+) = (\d+)", SOURCE.with_name("prepared.h").read_text())
    assert {name: int(number) for name, number in known} == {name: words[name] for name, _ in known}
    assert words["ROOTS"] == rounds._ROOTS
    text = SOURCE.with_name("round.h").read_text()
    strides = {name: int(number) for name, number in re.findall(r"(ROOTS_OF_\w+|ALIGNED) = (\d+)", text)}
    body = SimpleNamespace(program=SimpleNamespace(shared=[], arguments=[0, 1], results=[0, 1]))
    assert strides == {
        "ROOTS_OF_READ": commands.argument_root(body, 1) - commands.argument_root(body, 0),
        "ROOTS_OF_RESULT": commands.result_root(body, 1) - commands.result_root(body, 0),
        "ALIGNED": stream._ALIGNED,
    }


def test_limits_are_the_same() -> None:
    if not SOURCE.exists():
        pytest.skip("an installation without sources")
    limits = {name: int(number) for name, number in re.findall(r"#define (\w+) +(\d+)", SOURCE.read_text())}
    assert limits["OPERANDS"] == commands._MOST_OPERANDS
    assert limits["KERNEL_OPERANDS"] == commands._MOST_OF_A_KERNEL
