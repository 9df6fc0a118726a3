"""The command line as a whole: help without imports, words for mistakes, pipes, interrupts, and the small commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import glueball
from glueball.cli import COMMANDS
from glueball.cli.console import in_words

PROGRAM = [sys.executable, "-m", "glueball"]


def test_help_imports_nothing() -> None:
    """`--help` lists all commands, and brings neither torch nor NumPy; so does looking into a file of parameters."""
    program = (
        "import sys; from glueball.cli import main; main(['--help']);"
        "main(['inspect', sys.argv[1]]); print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    golden = Path(__file__).parents[1] / "golden" / "files" / "mlp-0003.params"
    done = subprocess.run([sys.executable, "-c", program, golden], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("False False\n") and "mlp_dense0_weight" in done.stdout
    assert all(name in done.stdout and what in done.stdout for name, what in COMMANDS.items())


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str, call: Any) -> None:
    """`--help` of a command has an example that begins with the command; a wrong option names the help."""
    seen = call(command, "--help")
    assert seen.status == 0 and "example:\n" in seen.out and f"glueball {command} " in seen.out.partition("example:")[2]
    if command != "run":
        seen = call(command, "--no-such-option")
        assert seen.status == 2 and f"glueball {command} --help" in seen.err and not seen.out


def test_general_words(call: Any) -> None:
    """No command, an unknown one, the version."""
    assert call("").status == 2
    assert subprocess.run(PROGRAM, capture_output=True, text=True, check=False).stderr.startswith("usage: glueball")
    seen = call("inspct", "x")
    assert seen.status == 2 and "'inspct'" in seen.err and "did you mean 'inspect'" in seen.err
    assert call("--version").out == f"glueball {glueball.__version__}\n"
    assert call("--nonsense").status == 2


def test_info(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions and settings, as a table and as JSON."""
    monkeypatch.setenv("GLUEBALL_CACHE", "here")
    assert "GLUEBALL_CACHE=here" in call("info").out
    facts = call("info", "--json").facts
    assert facts["glueball"] == glueball.__version__ and facts["settings"]["GLUEBALL_CACHE"] == "here"
    assert facts["packages"]["torch"] and facts["devices"][0] == "cpu(0)"


def test_run_mistakes(call: Any, tmp_path: Path) -> None:
    """A script or a module that is not there, a directory, and nothing at all."""
    assert call("run", "no_such.py").status == 2
    seen = call("run", "-m", "no_such_module.at_all")
    assert seen.status == 2 and "no_such_module" in seen.err
    assert "__main__.py" in call("run", tmp_path).err
    assert subprocess.run([*PROGRAM, "run"], capture_output=True, check=False).returncode == 2


def test_a_reader_that_has_read_enough(models: Path) -> None:
    """`| head` closes the pipe: nothing is complained about."""
    many = " ".join([sys.executable, "-m", "glueball", "inspect", str(models / "net.onnx"), "--json"])
    done = subprocess.run(["sh", "-c", f"{many} | head -c 20"], capture_output=True, text=True, check=False)
    assert len(done.stdout) == 20 and done.stderr == ""


def test_errors_of_the_system_are_words() -> None:
    """What the system refuses is told with the file and, where there is one, the fix."""
    denied = in_words("glueball inspect", PermissionError(13, "Permission denied", "a.params"))
    assert denied.splitlines()[:2] == ["glueball inspect: Permission denied.", "  Received: a.params"]
    assert "Fix: " in denied
    full = in_words("glueball convert", OSError(28, "No space left on device"))
    assert full == "glueball convert: No space left on device."
    assert "memory" in in_words("glueball convert", MemoryError())


def test_a_terminal_without_unicode(models: Path) -> None:
    """What a terminal cannot write becomes a question mark."""
    words = [*PROGRAM, "inspect", str(models / "net.onnx")]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(words, capture_output=True, env=environment, check=True)
    assert b"batch ? 1 ? 8 ? 8" in done.stdout and not done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_leaves_nothing(photos: Path, number: int) -> None:
    """An interrupt while images are packed: one line, status 130, no file that is half written."""
    prefix = photos.parent / "set"
    lines = "".join(f"{i}\t0\tcats/{i % 4}.jpg\n" for i in range(200_000))
    (photos.parent / "set.lst").write_text(lines)
    words = ["im2rec", str(prefix), str(photos), "--num-thread", "2", "--pass-through"]
    process = subprocess.Popen([*PROGRAM, *words], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not any(draft.stat().st_size for draft in photos.parent.glob(".set.rec.*.partial")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, printed = process.communicate(timeout=300)
    assert process.returncode == 130, printed
    assert "interrupted" in printed and "Traceback" not in printed
    assert sorted(os.listdir(photos.parent)) == ["photos", "set.lst"]
