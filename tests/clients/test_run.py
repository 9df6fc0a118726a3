"""clients/run.py: what counts as agreement, and when it fails. The clients themselves are `make clients`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

CLIENTS = Path(__file__).resolve().parent.parent.parent / "clients"


@pytest.fixture(scope="module")
def run() -> Any:
    """The program, as a module."""
    specification = importlib.util.spec_from_file_location("clients_run", CLIENTS / "run.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules["clients_run"] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


def test_difference(run: Any) -> None:
    """Classes must be the same, numbers but for the last digit, and no line may be missing."""
    wanted = "3 0.900000  1 0.100000\n4 0.700000  0 0.300000\n"
    assert run.difference(wanted, wanted) == ""
    assert run.difference(wanted.replace("0.900000", "0.900001"), wanted) == ""
    assert "line 1" in run.difference(wanted.replace("0.900000", "0.900010"), wanted)
    assert "line 2" in run.difference(wanted.replace("4 0.7", "5 0.7"), wanted)
    assert run.difference(wanted[:23], wanted) == "1 lines instead of 2"
    assert run.difference("", wanted) == "0 lines instead of 2"
    assert "line 1" in run.difference("3\n4\n", wanted)
    assert "line 1" in run.difference("3 many  1 few\n4 0.7  0 0.3\n", wanted)
    assert "line 1" in run.difference(wanted.replace("0.900000", "nan"), wanted)


@pytest.mark.parametrize(
    ("verdicts", "ci", "status"),
    [
        (["yes"] * 9 + ["skipped"] * 4, True, 0),
        (["yes"] * 8 + ["skipped"] * 5, True, 1),
        (["yes"] * 2 + ["skipped"] * 11, False, 0),
        (["yes"] * 12 + ["FAILED"], False, 1),
    ],
)
def test_exit_status(
    run: Any, verdicts: list[str], ci: bool, status: int, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A mismatch fails always; too few languages fail where CI says so; a skipped one tells why."""
    monkeypatch.setenv("CI", "true" if ci else "")
    outcomes = [run.Outcome(one, verdict, 0.1, "no rustc") for one, verdict in zip(run.LANGUAGES, verdicts)]
    assert run.report(outcomes) == status
    printed = capsys.readouterr().out
    assert f"{verdicts.count('yes')} of 13 languages" in printed
    assert printed.count("skipped  ") == verdicts.count("skipped")


def test_nothing_is_installed_unasked(run: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Without --install what is missing is named, with the command that gets it."""
    monkeypatch.setattr(run.shutil, "which", lambda name: None)
    monkeypatch.setattr(run, "execute", lambda *a, **k: pytest.fail("a command was run"))
    run.advise([one for one in run.LANGUAGES if one.name in ("Lua", "Rust")])
    assert "Nothing was installed" in (printed := capsys.readouterr().out)
    assert "apt-get install --no-install-recommends luajit rustc" in printed


def test_each_language_has_client_and_readme(run: Any) -> None:
    """A directory per language, with a few lines that tell how it is built and run."""
    folders = {"C++": "cpp"}
    for language in run.LANGUAGES:
        folder = CLIENTS / folders.get(language.name, language.name.lower())
        lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()
        assert 3 <= len(lines) <= 20, folder
