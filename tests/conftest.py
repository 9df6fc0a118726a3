"""Shared set-up of the tests: fixed seeds, few threads, and the rules for skipping.

Every test starts from the same seeds, so a failure repeats. Tests marked `gpu` need a CUDA device and tests marked
`oracle` need a Python that has MXNet 1.9.1, named by the variable GLUEBALL_ORACLE_PYTHON; without them they are
skipped, and say so. What the tests compare with lives beside them (tests/golden); helpers that users may want are in
glueball/test_utils.py.
"""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))

# derandomize: the same examples everywhere, so CI never fails on something nobody can repeat.
settings.register_profile("default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", deadline=None, max_examples=1000, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_configure() -> None:
    """Hear Ctrl-C even where whoever began the tests had it ignored (nohup, a shell's background job)."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Seed Python, NumPy and Glueball alike."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    import glueball

    glueball.random.seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The directory of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test inside its own empty directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, with the reason in words."""
    no_gpu = pytest.mark.skip(reason="no CUDA device on this machine")
    no_oracle = pytest.mark.skip(reason="GLUEBALL_ORACLE_PYTHON does not name a Python with MXNet 1.9.1")
    for item in items:
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(no_gpu)
        if "oracle" in item.keywords and not os.environ.get("GLUEBALL_ORACLE_PYTHON"):
            item.add_marker(no_oracle)
