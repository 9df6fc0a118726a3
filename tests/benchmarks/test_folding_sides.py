"""The sides of the folding benchmarks F1–F3 compute the same: losses, answers, gradients and a step of training."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
CASES = {
    "f1": ("f1_tree_lstm", "sick_pairs", 6),
    "f2": ("f2_sentiment", "sst_reviews", 3),
    "f3": ("f3_tagger", "tagged_sentences", 3),
}


@pytest.fixture(scope="module", params=CASES, ids=str)
def workload(request: pytest.FixtureRequest) -> Iterator[tuple[Any, list[Any], dict[str, np.ndarray]]]:
    """A benchmark's module, a few samples, and the parameters that all sides start from."""
    before, paths = set(sys.modules), list(sys.path)
    sys.path[:0] = [str(FOLDER), str(FOLDER / "folding")]
    try:
        name, make, count = CASES[request.param]
        module = import_module(name)
        samples = getattr(import_module("data"), make)(count, seed=5)
        yield module, samples, module.parameters()
    finally:
        sys.path[:] = paths
        for name in set(sys.modules) - before:
            if str(FOLDER) in (getattr(sys.modules[name], "__file__", None) or ""):
                del sys.modules[name]


def copies(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value.copy() for name, value in given.items()}


def agree(module: Any, samples: list[Any], given: dict[str, np.ndarray], other: Any) -> None:
    """Hold a side to the program of one sample in torch."""
    expected = module.PerSample(copies(given), samples)
    assert other.loss(samples) == pytest.approx(expected.loss(samples), rel=1e-5)
    np.testing.assert_allclose(other.infer(samples), expected.infer(samples), rtol=1e-4, atol=1e-5)
    found = other.gradients(samples)
    for name, right in expected.gradients(samples).items():
        np.testing.assert_allclose(found[name], right, rtol=1e-3, atol=1e-5 * (1 + abs(right).max()), err_msg=name)
    for side in (other, expected):
        side.train(samples)
    assert other.loss(samples) == pytest.approx(expected.loss(samples), rel=1e-3)


def test_the_batch_by_hand_is_the_program_of_one_sample(workload: Any) -> None:
    module, samples, given = workload
    agree(module, samples, given, module.Batched(copies(given), samples))


@pytest.mark.parametrize("hybridize", [False, True], ids=["plain", "hybridized"])
def test_ours_folded_is_the_program_of_one_sample(workload: Any, hybridize: bool) -> None:
    module, samples, given = workload
    agree(module, samples, given, module.ours(hybridize, "on")(copies(given), samples))


@pytest.mark.oracle
def test_the_same_gluon_code_runs_on_mxnet(workload: Any) -> None:
    """MXNet as a worker in its own Python, by the file that is ours: what the benchmark of the 2017 chart needs."""
    module, samples, given = workload
    remote = import_module("remote")
    name = module.GluonSide.__module__
    worker = remote.Remote(os.environ["GLUEBALL_ORACLE_PYTHON"], name, given, samples, {"hybridize": True})
    try:
        expected = module.PerSample(copies(given), samples)
        everything = [list(range(len(samples)))]
        assert worker.ask("loss", batches=everything) == pytest.approx(expected.loss(samples), rel=1e-4)
        outputs = worker.arrays("infer", everything[0])["outputs"]
        np.testing.assert_allclose(outputs, expected.infer(samples), rtol=1e-3, atol=1e-4)
        assert worker.ask("time", batches=everything, mode="train") > 0
    finally:
        worker.close()
