"""Metrics against what MXNet 1.9.1 says of the same inputs (golden_metrics.json), their laws, and what wrong use is
told.
"""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glueball import metric as metrics
from glueball import nd

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "golden_metrics.json").read_text())["records"]
# MXNet's micro-averaged Pearson correlation keeps no global value and forgets nothing on reset_local; ours does both.
OURS_DIFFERS = [("pearsoncorrelation", "micro"), ("pearsonr", "micro")]


def golden_inputs() -> dict[str, Any]:
    """The input batches of the generator script."""
    spec = importlib.util.spec_from_file_location("metric_golden", HERE / "golden_generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.INPUTS


INPUTS = golden_inputs()


@pytest.mark.parametrize("kind", ["NDArray", "numpy"])
@pytest.mark.parametrize("record", GOLDEN, ids=lambda r: f"{r['metric']}-{r['input']}-{r['arguments']}")
def test_same_scores_as_mxnet(record: dict[str, Any], kind: str) -> None:
    make = nd.array if kind == "NDArray" else np.asarray
    metric = metrics.create(record["metric"], **record["arguments"])
    differs = (record["metric"], record["arguments"].get("average")) in OURS_DIFFERS
    batches = INPUTS[record["input"]]
    for step, ((labels, preds), wanted) in enumerate(zip([*batches, batches[-1]], record["scores"], strict=True)):
        after_reset = step == len(batches)
        if after_reset:
            metric.reset_local()
        metric.update([make(a) for a in labels], [make(a) for a in preds])
        got = metric.get_name_value() + metric.get_global_name_value()
        assert [name for name, _ in got] == [name for name, _ in wanted]
        compared = len(got) if not differs else 0 if after_reset else 1
        assert [v for _, v in got][:compared] == pytest.approx([v for _, v in wanted][:compared], rel=2e-5, nan_ok=True)
    assert metric.get_config() == record["config"]


def test_pearson_micro_is_the_correlation_of_all_samples() -> None:
    metric = metrics.PearsonCorrelation(average="micro")
    (x1, y1), (x2, y2) = [(a[0], b[0]) for a, b in INPUTS["regression, vector"]]
    metric.update(x1, y1)
    metric.reset_local()
    metric.update(x2, y2)
    assert metric.get()[1] == pytest.approx(np.corrcoef(x2, y2)[0, 1], rel=1e-5)
    everything = np.corrcoef(np.concatenate([x1, x2]), np.concatenate([y1, y2]))[0, 1]
    assert metric.get_global()[1] == pytest.approx(everything, rel=1e-5)


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=8), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_accuracy_of_batches_is_accuracy_of_all(batches: list[list[int]], random: Any) -> None:
    metric, correct, total = metrics.Accuracy(), 0, 0
    for batch in batches:
        scores = np.array([[random.random() for _ in range(4)] for _ in batch], dtype="float32")
        metric.update(np.array(batch), scores)
        correct += int((scores.argmax(1) == np.array(batch)).sum())
        total += len(batch)
    assert metric.get() == ("accuracy", correct / total)
    assert metric.num_inst == total


def test_accuracy_takes_arrays_lists_and_columns() -> None:
    scores = [[0.1, 0.9], [0.2, 0.8]]
    for labels, preds in [
        (nd.array([1, 0]), nd.array(scores)),
        ([nd.array([1, 0])], [nd.array(scores)]),
        (np.array([1, 0]), np.array(scores)),
        (nd.array([[1], [0]]), nd.array(scores)),
        (nd.array([1, 0]), nd.array([1, 1])),
    ]:
        metric = metrics.Accuracy()
        metric.update(labels, preds)
        assert metric.get() == ("accuracy", 0.5)


def test_reset_forgets_and_nothing_is_nan() -> None:
    metric = metrics.Accuracy()
    metric.update(nd.array([1]), nd.array([1]))
    metric.reset()
    assert math.isnan(metric.get()[1])
    assert math.isnan(metric.get_global()[1])
    assert str(metric) == "EvalMetric: {'accuracy': nan}"


def test_custom_functions() -> None:
    def feval(label: np.ndarray, pred: np.ndarray) -> tuple[float, int]:
        return 2.0, 4

    arrays = [nd.array([1, 0])], [nd.array([0.9, 0.1])]
    for metric in (metrics.CustomMetric(feval), metrics.create(feval), metrics.np(feval)):
        metric.update(*arrays)
        assert metric.get() == ("feval", 0.5)
    difference = metrics.np(lambda label, pred: float(np.abs(label - pred).sum()))
    difference.update(*arrays)
    assert difference.get() == ("custom(<lambda>)", pytest.approx(0.2))
    with pytest.raises(NotImplementedError, match="cannot be serialized"):
        difference.get_config()


def test_extra_outputs_must_be_allowed() -> None:
    arrays = [nd.array([1])], [nd.array([1]), nd.array([2])]
    strict, lenient = (
        metrics.CustomMetric(lambda a, b: 1.0),
        metrics.CustomMetric(lambda a, b: 1.0, allow_extra_outputs=True),
    )
    with pytest.raises(ValueError, match="Shape of labels 1 does not match shape of predictions 2"):
        strict.update(*arrays)
    lenient.update(*arrays)
    assert lenient.get()[1] == 1.0


def test_composite() -> None:
    composite = metrics.create(["acc", metrics.MSE()])
    composite.add("mae")
    composite.update([nd.array([1, 0])], [nd.array([1, 1])])
    assert composite.get() == (["accuracy", "mse", "mae"], [0.5, 0.5, 0.5])
    assert composite.get_global_name_value() == composite.get_name_value()
    assert isinstance(composite.get_metric(1), metrics.MSE)
    assert [child["metric"] for child in composite.get_config()["metrics"]] == ["Accuracy", "MSE", "MAE"]
    composite.reset_local()
    assert math.isnan(composite.get()[1][0])
    assert composite.get_global()[1][0] == 0.5
    composite.reset()
    assert math.isnan(composite.get_global()[1][0])
    with pytest.raises(ValueError, match=r"(?s)index 5 is out of range.*0 to 2"):
        composite.get_metric(5)


def test_update_dict_chooses_by_name() -> None:
    metric = metrics.Accuracy(output_names=["softmax_output"], label_names=["softmax_label"])
    metric.update_dict({"softmax_label": nd.array([1, 0])}, {"extra": None, "softmax_output": nd.array([1, 1])})
    assert metric.get()[1] == 0.5
    with pytest.raises(ValueError, match="no array named 'softmax_label', which label_names asks for"):
        metric.update_dict({"label": nd.array([1])}, {"softmax_output": nd.array([1])})


def test_a_metric_written_as_in_2017() -> None:
    @metrics.register
    class Hits(metrics.EvalMetric):
        def __init__(self) -> None:
            super().__init__("hits")

        def update(self, labels: Any, preds: Any) -> None:
            self.sum_metric += 3
            self.num_inst += 1

    metric = metrics.create("hits")
    metric.update(None, None)
    assert metric.get() == ("hits", 3.0)
    assert metric.get_global() == ("hits", 3.0)


def test_a_single_class_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="single class"):
        metrics.Accuracy().update(nd.array([1, 0]), nd.array([[0.9], [0.2]]))


def test_scores_on_a_gpu_are_decided_there(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnGPU(nd.NDArray):
        __slots__ = ()

        @property
        def context(self) -> Any:
            return SimpleNamespace(device_type="gpu")

    calls, argmax = [], nd.argmax
    monkeypatch.setattr(nd, "argmax", lambda pred, axis: calls.append(axis) or argmax(pred, axis=axis))
    metric = metrics.Accuracy()
    metric.update(nd.array([1, 0]), OnGPU(nd.array([[0.1, 0.9], [0.2, 0.8]])))
    assert metric.get()[1] == 0.5
    assert calls == [1]


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (lambda: metrics.create("acuracy"), "(?s)'acuracy'.*did you mean 'accuracy'"),
        (lambda: metrics.TopKAccuracy(0), "1 or more"),
        (lambda: metrics.TopKAccuracy(2).update(nd.array([1]), nd.zeros((1, 2, 3))), "no more than 2 dims"),
        (lambda: metrics.F1(average="mean"), "'macro' or 'micro'"),
        (lambda: metrics.PearsonCorrelation(average="mean"), "'macro' or 'micro'"),
        (lambda: metrics.F1().update(nd.array([1, 2, 0]), nd.zeros((3, 2))), "only supports binary"),
        (lambda: metrics.F1().update(nd.array([1, 0]), nd.array([0.9, 0.1])), "(?s)shape \\(batch, 2\\).*nd.stack"),
        (lambda: metrics.PCC().update(nd.array([-1, 0]), nd.array([0, 1])), "start at 0"),
        (lambda: metrics.Accuracy().update([nd.array([1, 0])], []), "(?s)lists differ in length.*Received: 1"),
        (
            lambda: metrics.Accuracy().update(nd.array([1, 0]), nd.array([[0.1, 0.9]])),
            "Shape of labels 2 does not match",
        ),
        (lambda: metrics.Accuracy(axis=3).update(nd.array([1]), nd.zeros((1, 2))), "no class axis 3"),
        (lambda: metrics.CrossEntropy().update(nd.ones((3,)), nd.ones((2, 4))), "Expected: 2 labels"),
        (lambda: metrics.CrossEntropy().update(nd.array([7]), nd.ones((1, 4))), "(?s)from 0 to 3.*Received: 7"),
        (lambda: metrics.Perplexity(None).update(nd.array([1, 7]), nd.ones((2, 4))), "Received: 7"),
        (lambda: metrics.Perplexity(None).update(nd.array([1]), nd.ones((2, 4))), "Expected: 2 labels"),
        (
            lambda: metrics.check_label_shapes(nd.ones((2,)), nd.ones((3, 1)), shape=True),
            r"labels \(2,\) does not match shape of predictions \(3, 1\)",
        ),
    ],
)
def test_wrong_use_is_explained(use: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        use()
