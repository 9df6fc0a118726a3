"""What a release is built from: the settings of cibuildwheel fit the package, and its smoke test can pass and fail.

Not here: building wheels, which takes minutes and compilers (CONTRIBUTING.md, "Build a release").
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from glueball.fold.core import compiled

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WHEELS = PROJECT["tool"]["cibuildwheel"]


def test_there_is_a_wheel_for_every_python_that_is_promised() -> None:
    promised = re.findall(r"Python :: (3)\.(\d+)", "\n".join(PROJECT["project"]["classifiers"]))
    assert [f"cp{major}{minor}-*" for major, minor in promised] == WHEELS["build"]


def test_what_wheels_are_tried_with_is_there() -> None:
    for settings in (WHEELS, WHEELS["windows"]):
        files = re.findall(r"\{project\}/(\S+)", " ".join(settings["test-command"]))
        assert len(files) == 4
        assert all((ROOT / file).is_file() for file in files)


@pytest.mark.parametrize("core", ["0", "1"])
def test_the_smoke_test_notices_missing_parts(core: str, tmp_path: Path) -> None:
    complete = core == "1" and all(compiled(part) for part in ("recorder", "runner", "planner", "placer"))
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/smoke_wheel.py"), "--compiled"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "GLUEBALL_CORE": core},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == (0 if complete else 1), done.stdout + done.stderr
    assert "gives something else" not in done.stdout and "other gradients" not in done.stdout
    assert ("expected compiled parts: recorder, runner" in done.stdout) == (not complete)
    assert ("none, their twins" in done.stdout) == (core == "0")
