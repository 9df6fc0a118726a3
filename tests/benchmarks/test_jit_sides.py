"""The sides of the JIT benchmarks train and answer alike, their driver refuses one that does not, and the page of
results keeps the newest figure of each claim.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / "tools", ROOT / "benchmarks", ROOT / "benchmarks" / "folding", ROOT / "benchmarks" / "jit"]
OURS = {"library": "glueball", "hybridize": True}


@pytest.fixture(scope="module")
def load() -> Iterator[Any]:
    """Imports the benchmarks' modules, which are programs and not a package, as they run with --smoke."""
    before, paths, given = set(sys.modules), list(sys.path), list(sys.argv)
    sys.path[:0] = [str(folder) for folder in FOLDERS]
    sys.argv = ["benchmark", "--smoke"]
    try:
        yield import_module
    finally:
        sys.path[:], sys.argv[:] = paths, given
        for name in set(sys.modules) - before:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(tuple(map(str, FOLDERS))):
                del sys.modules[name]


def side(load: Any, module: str, network: str, **options: Any) -> Any:
    workloads = load("workloads")
    return load(module).make(workloads.arrays(network, 4, small=True), [workloads.Batch(4)], network=network, **options)


def agree(load: Any, network: str, one: Any, other: Any, tolerance: float = 1e-4, steps: int = 3) -> None:
    """Hold two sides to each other: what they say, and the losses of some steps."""
    batch = load("workloads").Batch(4)
    expected = one.infer([batch])
    np.testing.assert_allclose(other.infer([batch]), expected, rtol=tolerance, atol=tolerance * abs(expected).max())
    losses = one.losses([batch] * 3)["losses"]
    assert losses[2] < losses[0]
    np.testing.assert_allclose(other.losses([batch] * steps)["losses"], losses[:steps], rtol=10 * tolerance)


@pytest.mark.parametrize("network", ["mlp", "lenet", "lstm", "transformer"])
@pytest.mark.parametrize("how", [{"hybridize": False}, {}, {"compiled_step": True}], ids=["plain", "hybrid", "step"])
def test_ours_is_the_network_in_torch(load: Any, network: str, how: dict[str, Any]) -> None:
    ours = side(load, "gluon_side", network, **{**OURS, **how})
    agree(load, network, side(load, "torch_side", network), ours)


def test_our_resnet_is_the_one_in_torch(load: Any) -> None:
    torch = side(load, "torch_side", "resnet50", channels_last=True)
    # two steps: the second update makes of rounding a thousand times as much, for torch's own two layouts as well
    agree(load, "resnet50", torch, side(load, "gluon_side", "resnet50", **OURS), tolerance=1e-4, steps=2)


def test_the_fused_lstm_is_the_loop_over_its_cell(load: Any) -> None:
    agree(load, "lstm", side(load, "torch_side", "lstm"), side(load, "torch_side", "lstm", looped=True))


@pytest.mark.oracle
@pytest.mark.parametrize("network", ["mlp", "lenet", "lstm", "transformer"])
def test_the_same_gluon_code_runs_on_mxnet(load: Any, network: str) -> None:
    drive, workloads = load("drive"), load("workloads")
    given, batches = workloads.arrays(network, 4, small=True), [workloads.Batch(4)]
    options = {"library": "mxnet", "network": network}
    python = os.environ["GLUEBALL_ORACLE_PYTHON"]
    worker = drive.Remote(python, "gluon_side", given, batches, options, drive.FOLDERS)
    try:
        expected = side(load, "torch_side", network)
        found = worker.arrays("losses", [0] * 3)["losses"]
        np.testing.assert_allclose(found, expected.losses(batches * 3)["losses"], rtol=1e-3)
    finally:
        worker.close()


def test_imperative_steps_go_on_where_compiled_ones_ended(load: Any) -> None:
    """`plain` and `train` are the same step: what `first_step` of the driver takes the difference of."""
    batch = load("workloads").Batch(4)
    one, other = (side(load, "gluon_side", "mlp", **OURS) for _ in range(2))
    one.plain([batch, batch])
    other.train([batch, batch])
    np.testing.assert_allclose(one.losses([batch])["losses"], other.losses([batch])["losses"], rtol=1e-5)


def test_a_side_that_computes_something_else_is_not_timed(load: Any) -> None:
    drive, step = load("drive"), load("mlp").STEP
    sides = {**drive.torch_eager("mlp"), **drive.ours("mlp")}
    made = {title: drive.Local(load(p.module).make(drive.arrays("mlp", 4), [drive.Batch(4)], **p.options), [
        drive.Batch(4)]) for title, p in sides.items()}  # fmt: skip
    drive.check(step, made)
    made[drive.EAGER].side.optimizer.param_groups[0]["lr"] *= 1.2
    with pytest.raises(SystemExit, match=r"'ours' against 'torch eager'.*is not"):
        drive.check(step, made)


def test_a_side_that_does_not_learn_is_not_timed(load: Any) -> None:
    drive, step = load("drive"), load("mlp").STEP
    still = drive.Local(side(load, "torch_side", "mlp"), [drive.Batch(4)])
    still.side.optimizer.param_groups[0]["lr"] = 0.0
    with pytest.raises(SystemExit, match="does not learn"):
        drive.check(step, {"still": still})


def test_smoke_leaves_slow_and_missing_peers_out_and_says_so(load: Any, capsys: Any) -> None:
    drive, step = load("drive"), load("mlp").STEP
    kept = drive.chosen(step.sides)
    assert drive.OURS in kept
    assert drive.EAGER in kept
    assert not {drive.COMPILE, drive.JAX, drive.MXNET} & kept.keys()
    assert "left out: torch.compile (smoke)" in capsys.readouterr().out


def test_only_takes_titles_or_parts_of_them(load: Any, monkeypatch: Any) -> None:
    drive, step = load("drive"), load("mlp").STEP
    monkeypatch.setattr(sys, "argv", ["benchmark", "--only", "ours,fused"])
    assert list(drive.chosen(step.sides)) == ["ours", "torch eager fused update"]


def test_a_benchmark_reports_its_claims(load: Any, capsys: Any) -> None:
    drive, step = load("drive"), load("mlp").STEP
    drive.speed(replace(step, sides={**drive.ours("mlp"), **drive.torch_eager("mlp")}))
    text = capsys.readouterr().out
    assert "MLP step, ours / torch eager" in text
    assert "JAX" not in text


def test_new_sizes_and_first_steps_are_extra_milliseconds(load: Any, capsys: Any) -> None:
    drive, step = load("drive"), load("mlp").STEP
    alone = replace(step, sides=drive.ours("mlp"), claims=drive.at_most("a new size, ms", 10, 2))
    drive.new_size(alone, [3, 2])
    drive.first_step(alone)
    assert capsys.readouterr().out.count("a new size, ms, ours") == 2 * len(alone.sides)


def test_memory_of_a_process_of_its_own(load: Any, capsys: Any) -> None:
    drive, step = load("drive"), load("mlp").STEP
    drive.memory(replace(step, sides=drive.torch_eager("mlp"), claims=[]))
    assert " MB" in capsys.readouterr().out


def test_claims_count_at_most_and_at_least(load: Any) -> None:
    drive, page = load("drive"), load("results_page")
    (first, second), times = drive.faster("net", "peer", 1.15, 1.4), {"ours": 2.0, "peer": 2.4}  # one was left out
    assert first.value(times) == pytest.approx(1.2)
    assert second.value(times) is None
    assert page.verdict({"value": 1.2, "must": 1.15, "aim": 1.4, "sense": "≥"}).startswith("must reached")
    assert drive.shorter("net", "peer", 0.9, 0.5)[0].value(times) == pytest.approx(2 / 2.4)


def test_the_page_keeps_the_newest_figure_of_each_claim(load: Any) -> None:
    def record(value: float, *peers: str) -> dict[str, Any]:
        rows = [{"what": peer, "value": value} for peer in peers]
        return {"benchmark": "MLP", "claims": rows, "medians": dict.fromkeys(peers, value)}

    found = load("results_page").newest([record(1.0, "torch", "JAX"), record(2.0, "torch")])["MLP"]
    assert {row["what"]: row["value"] for row in found["claims"]} == {"torch": 2.0, "JAX": 1.0}
    assert found["medians"] == {"torch": 2.0, "JAX": 1.0}
