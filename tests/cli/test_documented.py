"""What docs/command_line.md shows is what commands print: console blocks are run and compared; "..." is the rest."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from glueball.cli import COMMANDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "command_line.md"
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_page(in_tmp_path: Path, call: Any) -> None:
    """The blocks of the page, in order."""
    pytest.importorskip("PIL")
    pytest.importorskip("onnxruntime")
    checker, commands = doctest.OutputChecker(), 0
    for language, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(text, str(PAGE), "exec"), {})
            continue
        for part in re.split(r"^\$ glueball ", text, flags=re.MULTILINE)[1:]:
            command, _, wanted = part.partition("\n")
            seen = call(*shlex.split(command))
            found, commands = seen.out + seen.err, commands + 1
            options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            assert checker.check_output(wanted, found, options), f"glueball {command}\n{found}"
    assert commands >= 10


def test_every_command_has_its_place() -> None:
    """No command is left out of the page."""
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"glueball {name}" not in text and f"`{name}" not in text] == []
