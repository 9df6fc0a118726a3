"""Optimisers, learning rate schedules, initialisers and metrics against the golden data."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import reader
from support import array, checked, refused_too, same, same_all

import glueball as mx


def run_optimizer(case: dict[str, Any]) -> tuple[Any, list[list[Any]]]:
    options, extra = dict(case["options"]), case.get("extra", {})
    options.setdefault("param_idx2name", {int(k): v for k, v in extra["names"].items()} if "names" in extra else None)
    if options["param_idx2name"] is None:
        options["param_idx2name"] = {0: "a_weight", 1: "b_weight"}
    if "schedule" in extra:
        options["lr_scheduler"] = getattr(mx.lr_scheduler, extra["schedule"]["name"])(**extra["schedule"]["options"])
    optimizer = mx.optimizer.create(case["name"], **options)
    if "lr_mult" in extra:
        optimizer.set_lr_mult({int(k): v for k, v in extra["lr_mult"].items()})
        optimizer.set_wd_mult({int(k): v for k, v in extra["wd_mult"].items()})
    update = mx.optimizer.get_updater(optimizer)
    weights = [array(w) for w in case["start"]]
    steps = []
    for step in case["grads"]:
        for number, grad in enumerate(step):
            update(number, array(grad), weights[number])
        steps.append([w.asnumpy() for w in weights])
    return optimizer, steps


@pytest.mark.parametrize("name", reader.names("optimizers"))
def test_optimizer(name: str) -> None:
    case = reader.case("optimizers", name)

    def compare() -> None:
        if "refused" in case:
            refused_too(lambda: run_optimizer(case))
            return
        optimizer, steps = run_optimizer(case)
        for number, (ours, golden) in enumerate(zip(steps, case["weights"], strict=True)):
            same_all(ours, golden, f"step {number + 1}, weight")
        assert optimizer.learning_rate == pytest.approx(case["learning_rate"])

    checked("optimizers", name, compare)


@pytest.mark.parametrize("name", reader.names("schedules"))
def test_schedule(name: str) -> None:
    case = reader.case("schedules", name)

    def compare() -> None:
        schedule = getattr(mx.lr_scheduler, case["name"])(**case["options"])
        numpy.testing.assert_allclose([schedule(n) for n in range(len(case["values"]))], case["values"], rtol=1e-6)

    checked("schedules", name, compare)


def run_initializer(case: dict[str, Any]) -> Any:
    if "parameter" in case:
        target = mx.nd.full((4,), 9.0)
        mx.init.Uniform(0.0)(mx.init.InitDesc(case["parameter"]) if case["described"] else case["parameter"], target)
        return target
    target = mx.nd.zeros(tuple(case["shape"]))
    initializer = getattr(mx.init, case["name"])(*case["args"], **case["kwargs"])
    initializer(mx.init.InitDesc("x_weight", {"__init__": ""}), target)
    return target


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", reader.names("initializers"))
def test_initializer(name: str) -> None:
    case = reader.case("initializers", name)

    def compare() -> None:
        if "refused" in case:
            refused_too(lambda: run_initializer(case))
            return
        values = run_initializer(case).asnumpy()
        if "facts" in case:
            facts = case["facts"]
            flat = values.reshape(values.shape[0], -1).astype("float64")
            gram = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
            assert values.std() == pytest.approx(facts["std"], rel=0.06)
            assert values.mean() == pytest.approx(0, abs=0.08 * facts["std"])
            assert values.max() == pytest.approx(facts["high"], rel=0.35)
            assert values.min() == pytest.approx(facts["low"], rel=0.35)
            assert numpy.diag(gram).mean() == pytest.approx(facts["gram_diagonal"], rel=0.06)
            off_diagonal = numpy.abs(gram - numpy.diag(numpy.diag(gram))).mean()
            assert off_diagonal == pytest.approx(facts["gram_off_diagonal"], rel=0.25, abs=1e-5)
        else:
            same(values, case["value"] if "value" in case else case["by_name"], "value")
        if "dumps" in case:
            assert getattr(mx.init, case["name"])(*case["args"], **case["kwargs"]).dumps() == case["dumps"]

    checked("initializers", name, compare)


def run_metric(case: dict[str, Any]) -> tuple[Any, list[Any]]:
    metric = mx.metric.create(case["name"], **case["options"])
    empty = [list(pair) for pair in metric.get_name_value()]
    if "empty" in case:
        assert [key for key, _ in empty] == [key for key, _ in case["empty"]]
        numpy.testing.assert_equal([value for _, value in empty], [value for _, value in case["empty"]])
    after = []
    for labels, preds in case["batches"]:
        metric.update([array(x) for x in labels] if labels else 0, [array(x) for x in preds])
        after.append(metric.get_name_value())
    return metric, after


def same_pairs(ours: Any, theirs: list[list[Any]]) -> None:
    assert [key for key, _ in ours] == [key for key, _ in theirs]
    numpy.testing.assert_allclose([float(v) for _, v in ours], [v for _, v in theirs], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", reader.names("metrics"))
def test_metric(name: str) -> None:
    case = reader.case("metrics", name)

    def compare() -> None:
        if "refused" in case:
            refused_too(lambda: run_metric(case))
            return
        metric, after = run_metric(case)
        for ours, golden in zip(after, case["after"], strict=True):
            same_pairs(ours, golden)
        metric.reset_local()
        same_pairs(metric.get_name_value(), case["after_reset_local"])
        same_pairs(metric.get_global_name_value(), case["global"])

    checked("metrics", name, compare)
