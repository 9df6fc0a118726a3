"""Claim: `import glueball` costs little beyond `import torch`; each in a process of its own, in turn."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from pairs import SMOKE, Claim, report

PROGRAM = (
    "import time, torch\nstart = time.perf_counter()\nfrom glueball import autograd, gluon, "
    "nd\nprint(time.perf_counter() - start)"
)
PLAIN = "import time\nstart = time.perf_counter()\nimport torch\nprint(time.perf_counter() - start)"


CACHE = tempfile.mkdtemp()  # compiled files of both sides: a machine may forbid writing them beside the sources
ENVIRONMENT = {**os.environ, "PYTHONPYCACHEPREFIX": CACHE, "PYTHONDONTWRITEBYTECODE": ""}


def seconds(program: str) -> float:
    """Return what a fresh interpreter prints."""
    root = Path(__file__).resolve().parent.parent
    return float(
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root, env=ENVIRONMENT
        ).stdout
    )


if __name__ == "__main__":
    rounds = 1 if SMOKE else 9
    ours, plain = [], []
    for _ in range(rounds + 1):
        ours.append(seconds(PROGRAM) * 1e3)
        plain.append(seconds(PLAIN) * 1e3)
    found = {"import torch": statistics.median(plain[1:]), "import glueball beyond torch": statistics.median(ours[1:])}
    claim = Claim("import glueball beyond torch", "import glueball beyond torch", None, 350, 150)
    report("import, beyond torch", found, [claim], unit="ms")
