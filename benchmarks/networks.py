"""The networks whose training step is timed in this process: MLP 784-64-64-10 with SGD and LeNet with Adam, batch 64,
in torch and in ours.

The one idea: they are written once, in jit/ (gluon_side.py, torch_side.py, and the numbers in workloads.py); here they
become functions that do one step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "folding"))
sys.path.insert(0, str(Path(__file__).resolve().parent / "jit"))

from gluon_side import GluonSide
from torch_side import TorchSide
from workloads import Batch, arrays

BATCH = Batch(64)


def sides(network: str) -> dict[str, Callable[[], Any]]:
    """Return one training step of each side."""
    given, samples = arrays(network, BATCH.size), [BATCH]
    made = {
        "torch eager": TorchSide(given, samples, network),
        "ours imperative": GluonSide(given, samples, "glueball", network, hybridize=False),
        "ours hybridized": GluonSide(given, samples, "glueball", network),
    }
    return {name: partial(side.train, samples) for name, side in made.items()}
