"""What `explain()` says: true in numbers, readable, and nobody can see that a plan was looked at."""

from __future__ import annotations

import json
import os
import re
import time
import xml.etree.ElementTree as ET
from itertools import pairwise
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.base import config
from glueball.executor.insight.explanation import Explanation
from glueball.executor.insight.table import amount, duration
from glueball.executor.jit.assemble import Words
from glueball.executor.jit.partition import usable
from glueball.gluon import nn

with_regions = pytest.mark.skipif(not usable() or not config.get("GLUEBALL_JIT"), reason="no regions here")


def _net() -> nn.HybridSequential:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, padding=1), nn.BatchNorm(), nn.Activation("relu"), nn.Conv2D(4, 3, padding=1, groups=2))
    net.add(nn.Dropout(0.5), *[nn.Dense(8, activation="tanh") for _ in range(5)], nn.LayerNorm(), nn.Dense(3))
    net.initialize()
    net.hybridize()
    return net


def _trained(net: nn.HybridSequential, x: nd.NDArray) -> None:
    with autograd.record():
        y = net(x)
    y.backward()


X = (2, 2, 6, 6)


@with_regions
def test_facts_of_a_plan_are_those_of_the_network() -> None:
    net = _net()
    _trained(net, nd.ones(X))
    found = net.explain()
    assert isinstance(found, str) and found.text == str(found) == repr(found)
    (plan,) = found.plans
    forward = {op.name: step for step in plan.steps if step.phase == "forward" for op in step.operators}
    conv = forward[net[0].name + "_fwd"]
    assert conv.kind == "library" and conv.flops == 2 * prod((2, 4, 6, 6)) * 2 * 9
    assert forward[net[3].name + "_fwd"].flops == 2 * prod((2, 4, 6, 6)) * 2 * 9  # two groups of two channels
    assert "library" in conv.why and not conv.advice
    products = [
        unit for step in plan.steps for unit in step.units if unit.kind == "product" and step.phase == "forward"
    ]
    assert [unit.flops for unit in products] == [2 * 2 * 144 * 8, *[2 * 2 * 8 * 8] * 4, 2 * 2 * 8 * 3]
    assert [unit.operators[0].block for unit in products] == [net[i].name for i in (5, 6, 7, 8, 9, 11)]
    backward = [op for step in plan.steps if step.phase == "backward" for op in step.operators]
    assert all(op.backward for op in backward) and {op.name for op in backward} >= {net[0].name + "_fwd"}
    assert all(op.line.rpartition(":")[0].endswith("test_explain.py") for op in backward)
    assert 0 < plan.planned < plan.naive and plan.kept > 0 and plan.seconds is None and plan.compile_seconds > 0
    assert plan.steps == found.steps and plan.flops == sum(step.flops for step in plan.steps)


@with_regions
def test_compiling_includes_the_wait_for_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    complete = Words.complete

    def slow(words: Words) -> None:
        time.sleep(0.2)
        complete(words)

    monkeypatch.setattr(Words, "complete", slow)
    net, loss = _net(), gluon.loss.L2Loss()
    _trained(net, nd.ones(X))
    (plan,) = net.explain().plans
    regions = sum("region" in step.name for step in plan.steps)
    assert regions and plan.compile_seconds > 0.2 * regions
    step = gluon.contrib.CompiledStep(net, loss, gluon.Trainer(net.collect_params(), "sgd"))
    step(nd.ones(X), nd.ones((2, 3)))
    assert step.explain().main.compile_seconds > 0.2


@with_regions
def test_a_weight_that_is_put_in_order_is_a_unit_of_its_own() -> None:
    net = nn.HybridSequential()
    net.add(nn.Dense(32, activation="relu", in_units=16), nn.Dense(32, in_units=32))
    net.initialize()
    net.hybridize()
    net(nd.ones((64, 16)))
    found = net.explain(profile=True, rounds=2)
    (step,) = found.steps
    assert {"pack", "product", "kernel"} == {unit.kind for unit in step.units} and "by panels" in found
    products = [unit for unit in step.units if unit.kind == "product"]
    assert [unit.operators[0].name for unit in products] == [f"{net[i].name}_fwd" for i in (0, 1)]


@with_regions
def test_it_says_why_steps_are_outside_of_regions_and_what_to_do() -> None:
    class Odd(gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            y = F.softmax(F.sigmoid(x) * 2, axis=1)
            return F.sort(F.tanh(y) + 1, axis=-1), F.Cast(F.cast(x, "float16") * 2, "float32")

    net = Odd()
    net.hybridize()
    net(nd.ones((3, 4, 5)))
    found = net.explain()
    why = {step.operators[0].operator: (step.why, step.advice) for step in found.steps if step.kind != "region"}
    assert "axis=1" in why["softmax"][0] and "transpose" in why["softmax"][1]
    assert "no rule" in why["sort"][0] and why["sort"][1]
    assert "type" in why["Cast"][0] and why["Cast"][1]
    assert "advice: " in found and "test_explain.py:" in found


def test_without_regions_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLUEBALL_JIT", "0")
    net = nn.Dense(3, in_units=2)
    net.initialize()
    net.hybridize()
    net(nd.ones((1, 2)))
    (plan,) = net.explain().plans
    assert "none of them in regions" in net.explain() and "GLUEBALL_JIT=1" in plan.steps[0].advice


def test_profiling_fills_in_times_and_disturbs_nothing() -> None:
    net = _net()
    x = nd.random.normal(shape=X)
    _trained(net, x)

    def state() -> list[np.ndarray]:
        return [array.asnumpy().copy() for p in net.collect_params().values()
                for array in (p.data(), *([p.grad()] if p.grad_req != "null" else []))]  # fmt: skip

    before = state()
    mx.random.seed(5)
    expected = nd.random.uniform(shape=3).asnumpy()
    mx.random.seed(5)
    kept = x.asnumpy().copy()
    found = net.explain(x, profile=True, rounds=3)
    np.testing.assert_array_equal(nd.random.uniform(shape=3).asnumpy(), expected)
    np.testing.assert_array_equal(x.asnumpy(), kept)
    for a, b in zip(state(), before):
        np.testing.assert_array_equal(a, b)
    (plan,) = found.plans
    assert plan.seconds is not None and all(step.seconds and step.seconds > 0 for step in plan.steps)
    assert all(unit.seconds is not None for step in plan.steps for unit in step.units)
    assert "share" in found and "µs" in found and "GFLOP/s" in found
    shares = [float(s) for s in re.findall(r"^ {2,4}\d+ .* ([\d.]+)%", found, re.MULTILINE)]
    assert len(shares) == len(plan.steps) and sum(shares) == pytest.approx(100, abs=0.1 * len(shares))
    _trained(net, x)  # the plan still works


def test_made_up_inputs_are_valid_indices() -> None:
    net = nn.HybridSequential()
    net.add(nn.Embedding(5, 4), nn.Dense(3))
    net.initialize()
    net.hybridize()
    net(nd.array([[1, 2]]))
    assert net.explain(profile=True, rounds=2).plans[0].seconds


def test_a_network_whose_first_call_failed_has_no_plans() -> None:
    net = nn.Dense(3, in_units=2)
    net.initialize()
    net.hybridize()
    with pytest.raises(mx.MXNetError):
        net(nd.ones((1, 5)))
    assert net.explain(profile=True).plans == () and "0 signature(s)" in net.explain()


def test_only_what_was_compiled_for_these_arrays() -> None:
    net = nn.Dense(3, in_units=2)
    net.initialize()
    net.hybridize()
    net(nd.ones((1, 2)))
    net(nd.ones((4, 2)))
    assert len(net.explain().plans) == 2
    assert "(4, 2)" in net.explain(nd.ones((4, 2))).plans[0].signature and len(net.explain(nd.ones((4, 2))).plans) == 1
    with pytest.raises(mx.MXNetError, match="call the block with them first"):
        net.explain(nd.ones((5, 2)))


def _step() -> tuple[gluon.contrib.CompiledStep, nd.NDArray, nd.NDArray]:
    net = nn.HybridSequential()
    net.add(nn.Dense(8, activation="relu", in_units=5), nn.Dense(3, in_units=8))
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.1})
    return gluon.contrib.CompiledStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer), nd.ones((4, 5)), nd.ones(4)


@pytest.mark.parametrize("own", [False, True])
def test_a_compiled_step_is_profiled_on_copies(own: bool) -> None:
    step, x, y = _step()
    step(x, y)
    params = step._both.collect_params().values()
    before = [p.data().asnumpy().copy() for p in params]
    count = step._trainer._optimizer.num_update
    found = step.explain(*((x, y) if own else ()), profile=True, rounds=3)
    for p, value in zip(params, before):
        np.testing.assert_array_equal(p.data().asnumpy(), value)
    assert step._trainer._optimizer.num_update == count
    (plan,) = found.plans
    assert plan.calls == 1 and plan.seconds and "update of" in found
    with pytest.raises(mx.MXNetError, match="compiled for other arrays"):
        step.explain(nd.ones((3, 5)), nd.ones(3), profile=True)


@with_regions
def test_files_of_every_ending(tmp_path: Path) -> None:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(2, 1), *[nn.Dense(6, activation="sigmoid") for _ in range(9)], nn.Dense(7))
    net.initialize()
    net.hybridize()
    _trained(net, nd.ones(X))
    found = net.explain(profile=True, rounds=2)
    for ending in ("svg", "html", "txt", "json"):
        found.save(tmp_path / f"plan.{ending}")
    root = ET.parse(tmp_path / "plan.svg").getroot()
    words = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"forward", "backward"} <= set(words) and any("memory over time" in word for word in words)
    boxes = [box.get("class") for box in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert {"region", "library"} <= set(boxes)
    data = json.loads((tmp_path / "plan.json").read_text())
    assert data["plans"][0]["flops"] == found.plans[0].flops
    assert data["plans"][0]["steps"][0]["operators"][0]["name"]
    assert (tmp_path / "plan.txt").read_text() == found + "\n"
    assert "<svg" in (tmp_path / "plan.html").read_text() and "<svg" in found._repr_html_()
    assert found._repr_svg_() == (tmp_path / "plan.svg").read_text()
    pytest.importorskip("matplotlib")
    found.save(os.fspath(tmp_path / "plan.png"), plan=0)
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")


@with_regions
def test_a_short_plan_shows_what_is_inside_of_its_regions() -> None:
    step, x, y = _step()
    step(x, y)
    root = ET.fromstring(step.explain()._repr_svg_() or "")
    boxes = {box.get("class") for box in root.iter("{http://www.w3.org/2000/svg}rect")}
    assert {"region", "kernel", "product"} <= boxes


def test_files_that_cannot_be_written() -> None:
    net = nn.Dense(3, in_units=2)
    net.initialize()
    net.hybridize()
    net(nd.ones((1, 2)))
    with pytest.raises(mx.MXNetError, match=r"\.svg"):
        net.explain().save("plan.gif")
    with pytest.raises(mx.MXNetError, match="no such plan"):
        net.explain().save("plan.svg", plan=1)
    with pytest.raises(mx.MXNetError, match="no plan to be drawn"):
        Explanation("nothing").save("plan.svg")


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(["dense", "act", "norm", "conv", "pool"]), min_size=1, max_size=40))
def test_pictures_stay_short_and_inside_their_frame(layers: list[str]) -> None:
    net = nn.HybridSequential()
    make = {"dense": lambda: nn.Dense(6, flatten=False), "act": lambda: nn.Activation("tanh"), "norm": nn.LayerNorm,
            "conv": lambda: nn.Conv2D(2, 1), "pool": lambda: nn.MaxPool2D(1)}  # fmt: skip
    net.add(*[make[name]() for name in layers])
    net.initialize()
    net.hybridize()
    net(nd.ones((1, 2, 3, 3)))
    root = ET.fromstring(net.explain()._repr_svg_() or "")
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    assert height < 1900
    for box in list(root)[3:]:
        if box.tag.endswith("rect"):
            x, y, w, h = (float(box.get(name, 0)) for name in ("x", "y", "width", "height"))
            assert x >= 0 and y >= 0 and x + w <= width + 0.1 and y + h <= height


@given(st.floats(1e-9, 1e6), st.floats(0, 1e15))
def test_numbers_have_three_digits(seconds: float, number: float) -> None:
    text, unit = duration(seconds).removeprefix("< ").split(" ")
    assert unit in ("s", "ms", "µs") and (seconds > 1000 or len(text.strip("0").replace(".", "")) <= 3)
    value, prefix = amount(number, "B").split(" ")
    scale = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[prefix]
    assert float(value) * scale == pytest.approx(number, rel=6e-3, abs=6e-3)


# -- the profiler's trace ----------------------------------------------------------------------------------------------
@pytest.fixture
def profiler(tmp_path: Path):
    mx.profiler.set_config(filename=os.fspath(tmp_path / "trace.json"), profile_regions=True)
    yield tmp_path / "trace.json"
    mx.profiler.stop()
    mx.profiler.set_config(filename="profile.json")


@with_regions
def test_the_trace_nests_calls_steps_and_units(profiler: Path) -> None:
    net = _net()
    x = nd.ones(X)
    _trained(net, x)
    plain = next(iter(net._cached.entries.values())).plans
    functions = [(plan.forward, plan.backward) for plan in plain.values()]
    step, *batch = _step()
    step(*batch)
    mx.profiler.start()
    for _ in range(2):
        _trained(net, x)
        step(*batch)
    mx.profiler.stop()
    assert [(plan.forward, plan.backward) for plan in plain.values()] == functions  # nothing stays behind
    mx.profiler.dump()
    events = json.loads(profiler.read_text())["traceEvents"]
    spans = {kind: [e for e in events if e.get("cat") == kind and e["ph"] == "X"] for kind in ("plan", "step", "unit")}
    names = [e["name"] for e in spans["plan"]]
    assert names.count(f"{net.name} forward") == names.count(f"{net.name} backward") == 2
    assert names.count("CompiledStep") == 2
    assert any(e["name"].startswith("Convolution " + net[0].name) for e in spans["step"])
    assert any(e["name"].startswith("product (2 x 144)") for e in spans["unit"])
    for inner, outer in pairwise(("unit", "step", "plan")):
        for e in spans[inner]:
            around = [o for o in spans[outer] if o["tid"] == e["tid"] and o["ts"] <= e["ts"] + 0.01
                      and e["ts"] + e["dur"] <= o["ts"] + o["dur"] + 0.01]  # fmt: skip
            assert len(around) == 1, (e["name"], outer)
    for call in spans["plan"]:
        inside = sum(e["dur"] for e in spans["step"] if e["tid"] == call["tid"] and call["ts"] <= e["ts"]
                     and e["ts"] < call["ts"] + call["dur"])  # fmt: skip
        assert 0 < inside <= call["dur"] + 0.01
    table = mx.profiler.dumps()
    assert table.index("Calls of compiled") < table.index("Steps of compiled") < table.index("Kernels")
    rows = json.loads(mx.profiler.dumps(reset=True, format="json"))
    assert {"name": f"{net.name} forward", "category": "plan", "count": 2}.items() <= rows[0].items() or any(
        row["name"] == f"{net.name} forward" and row["count"] == 2 for row in rows
    )


def test_plans_that_are_compiled_while_theprofiler_runs_are_in_the_trace(profiler: Path) -> None:
    mx.profiler.start()
    net = nn.Dense(3, in_units=2)
    net.initialize()
    net.hybridize()
    with pytest.raises(mx.MXNetError):
        net(nd.ones((1, 3)))
    net(nd.ones((1, 2)))
    marker = mx.profiler.Marker(mx.profiler.Domain("mine"), "here")
    marker.mark()
    mx.profiler.stop()
    mx.profiler.dump()
    events = json.loads(profiler.read_text())["traceEvents"]
    (call,) = [e for e in events if e.get("cat") == "plan"]
    (mark,) = [e for e in events if e.get("name") == "mine::here"]
    assert 0 < mark["ts"] - call["ts"] < 5e6  # one clock, in microseconds
    mx.profiler.dumps(reset=True)
    with pytest.raises(mx.MXNetError, match="order"):
        mx.profiler.dumps(sort_by="colour")
    with pytest.raises(mx.MXNetError, match="format"):
        mx.profiler.dumps(format="xml")
