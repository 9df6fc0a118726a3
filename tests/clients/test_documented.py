"""The short programs in other languages that README.md and docs/portability.md show: they are the same, and they run.

Each is run where its language is, on the network of clients/make_model.py, and must print what Python's onnxruntime
answers. Node's package is looked for where `make clients` puts it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

onnxruntime = pytest.importorskip("onnxruntime")
ROOT = Path(__file__).resolve().parent.parent.parent
NODE = ROOT / "build" / "clients" / "node" / "node_modules"
PROBES = {"js": ["node", "-e", "require('onnxruntime-node')"], "perl": ["perl", "-MFFI::Platypus", "-e", "1"]}
PROBES["r"] = ["Rscript", "-e", "1"]
INTERPRETERS = {"js": "node", "perl": "perl", "r": "Rscript"}
LIBRARY = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.*[0-9]*"))


def block(page: str, language: str) -> str:
    """Return the one block of a language on a page."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, and the two libraries that the pages say to compile."""
    if not shutil.which("cc") or not LIBRARY:
        pytest.skip("no C compiler (cc), or no shared library in this onnxruntime")
    path = tmp_path_factory.mktemp("documented")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(ROOT / "clients/make_model.py"), str(path)], env=environment, check=True)
    commands = re.findall(r"`(cc [^`]*)`", (ROOT / "docs/portability.md").read_text(encoding="utf-8"))
    assert len(commands) == 2
    for command in commands:
        name = re.search(r"-o (\S+)", command).group(1)
        subprocess.run(command.replace(name, str(path / name)).split(), cwd=ROOT, check=True)
    return path


@pytest.mark.parametrize("language", ["js", "perl", "r"])
def test_readme_and_page_show_the_same(language: str) -> None:
    """There is one short program per language."""
    assert block("README.md", language) == block("docs/portability.md", language)


@pytest.mark.parametrize("language", ["js", "perl", "r"])
def test_short_programs(language: str, folder: Path) -> None:
    """A short program prints the ten probabilities."""
    environment = {**os.environ, "NODE_PATH": str(NODE), "GLUEBALL_ORT": str(LIBRARY[0])}
    here = shutil.which(INTERPRETERS[language])
    if not here or subprocess.run(PROBES[language], env=environment, capture_output=True, check=False).returncode:
        pytest.skip(f"`{' '.join(PROBES[language])}` does not run here")
    program = folder / f"short.{language}"
    program.write_text(block("docs/portability.md", language))
    done = subprocess.run(
        [here, program.name], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(str(folder / "digits.onnx"))
    wanted = session.run(None, {"data": np.full((1, 1, 8, 8), 0.5, np.float32)})[0][0]
    np.testing.assert_allclose([float(one) for one in done.stdout.split()], wanted, atol=1e-6)
