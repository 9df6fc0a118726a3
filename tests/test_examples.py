"""Every program in examples/ runs to its end with --smoke, as a user would start it: in a process of its own.

The one idea: no list of examples to keep: a new file in the directory is a new test.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_example(program: Path, tmp_path: Path) -> None:
    """The program ends well, prints something, and warns about nothing."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "error::DeprecationWarning:__main__",
    }
    done = subprocess.run(
        [sys.executable, str(program), "--smoke"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.strip(), "the example printed nothing"
    assert "Warning" not in done.stderr, done.stderr[-2000:]


def test_twenty_lines() -> None:
    """The promise of the README: at most 20 lines, no input size and no device."""
    text = (ROOT / "examples" / "mnist_in_20_lines.py").read_text()
    code = text.split('"""', 2)[2]
    lines = [line for line in code.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(lines) <= 20
    assert "ctx" not in code
    assert "in_units" not in code
    assert "in_channels" not in code
