"""Prediction of image networks: normalisation absorbed by weights, convolutions that finish what follows. The law:
values are the imperative ones to rounding, whatever surrounds the layers, and a second run of a pass changes nothing.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import gluon, nd, sym
from glueball.base import aten
from glueball.executor.native import available
from glueball.gluon import nn
from glueball.passes import normalise
from glueball.passes.absorb import absorb_normalisation, fixed_nodes
from glueball.passes.finish import finish_convolutions

from .test_passes import operators, program

native = pytest.mark.skipif(not available(), reason="no llvmlite")


class Net(gluon.HybridBlock):
    """Convolutions with what may surround them."""

    def __init__(self, case):
        super().__init__()
        self.case = case
        form = {"use_bias": case["bias"], "groups": case["groups"]}
        with self.name_scope():
            self.first = nn.Conv2D(4, 3, padding=1, strides=case["stride"], in_channels=4, **form)
            self.one = nn.BatchNorm(scale=case["scale"], center=case["center"], in_channels=4,
                                    use_global_stats=case["global_stats"])  # fmt: skip
            self.second = nn.Conv2D(4, 3, padding=case["dilation"], dilation=case["dilation"], in_channels=4, **form)
            self.two = nn.BatchNorm(in_channels=4, axis=case["axis"], epsilon=1e-3)
            self.up = nn.Conv2DTranspose(4, 2, strides=2, in_channels=4, use_bias=case["bias"])
            self.last = nn.Dense(4, in_units=4)
            self.three = nn.BatchNorm(in_channels=4)

    def active(self, F, x):
        name = self.case["act"]
        acts = {"none": lambda: x, "relu": lambda: F.relu(x), "relu layer": lambda: F.Activation(x, act_type="relu"),
                "clip": lambda: F.clip(x, 0, 6),
                "half": lambda: F.clip(x, -float("inf"), 1), "leaky": lambda: F.LeakyReLU(x, slope=0.1),
                "tanh": lambda: F.tanh(x)}  # fmt: skip
        return acts[name]()

    def hybrid_forward(self, F, x):
        case = self.case
        if case["before"]:
            x = self.active(F, self.one(x))
        convolved = self.first(x)
        y = self.active(F, self.one(convolved))
        if case["pool"]:
            y = F.Pooling(y, kernel=(2, 2), stride=(2, 2), pool_type="max")
        z = self.second(y)
        z = z if case["axis"] == 2 and z.shape[2] != 4 else self.two(z)
        z = {"none": lambda: z, "left": lambda: y + z, "right": lambda: z + y, "self": lambda: z + z,
             "conv": lambda: z + self.one(self.second(y))}[case["residual"]]()  # fmt: skip
        z = self.active(F, z)
        z = z + F.sum(convolved) if case["shared"] else z
        if case["up"]:
            z = self.one(self.up(z))
        z = F.Pooling(z, global_pool=True, pool_type="avg", kernel=(1, 1))
        return self.three(self.last(F.Flatten(z)))


CASES = st.fixed_dictionaries({
    "rows": st.integers(1, 3), "size": st.sampled_from([2, 4, 5, 8]), "stride": st.sampled_from([1, 2]),
    "dilation": st.sampled_from([1, 2]), "groups": st.sampled_from([1, 2, 4]), "bias": st.booleans(),
    "scale": st.booleans(), "center": st.booleans(), "global_stats": st.booleans(),
    "axis": st.sampled_from([1, 1, 1, -3, 2]), "before": st.booleans(),
    "act": st.sampled_from(["none", "relu", "relu layer", "clip", "half", "leaky", "tanh"]), "pool": st.booleans(),
    "residual": st.sampled_from(["none", "left", "right", "self", "conv"]), "shared": st.booleans(),
    "up": st.booleans(), "dtype": st.sampled_from(["float32", "float32", "float64"]), "least": st.booleans(),
})  # fmt: skip


def randomise(net):
    for parameter in net.collect_params(".*(running_var|gamma)").values():
        parameter.set_data(nd.random.uniform(0.5, 2, shape=parameter.shape, dtype=parameter.dtype))
    for parameter in net.collect_params(".*(running_mean|beta)").values():
        parameter.set_data(nd.random.normal(shape=parameter.shape, dtype=parameter.dtype))


def close(found, wanted, rtol=1e-4):
    wanted = wanted.asnumpy()
    np.testing.assert_allclose(found.asnumpy(), wanted, rtol=rtol, atol=rtol * max(1e-3, abs(wanted).max()))


@given(CASES)
@settings(max_examples=80)
def test_networks_predict_what_the_imperative_ones_do(case):
    if case["pool"] and case["size"] // case["stride"] < 2:
        case = {**case, "pool": False}
    least, normalise.LEAST = normalise.LEAST, 1 if case["least"] else normalise.LEAST
    try:
        mx.random.seed(1)
        net = Net(case)
        net.initialize(mx.init.Normal(0.5))
        net.cast(case["dtype"])
        randomise(net)
        x = nd.random.normal(shape=(case["rows"], 4, case["size"], case["size"]), dtype=case["dtype"])
        wanted = net(x)
        net.hybridize()
        for _ in range(2):
            close(net(x), wanted)
    finally:
        normalise.LEAST = least


ZOO = ["resnet18_v1", "resnet18_v2", "mobilenet0.25", "mobilenetv2_0.25", "squeezenet1.1", "densenet121", "vgg11_bn",
       "vgg11", "alexnet", "inceptionv3"]  # fmt: skip


@pytest.mark.parametrize(("name", "finishing"), [*((name, True) for name in ZOO), ("resnet18_v1", False),
                                                  ("mobilenetv2_0.25", False)])  # fmt: skip
def test_networks_of_the_zoo(name, finishing, monkeypatch):
    """Two networks show what the fall-back does."""
    monkeypatch.setattr(aten, "has_finished_convolution", aten.has_finished_convolution and finishing)
    size = {"inceptionv3": 299, "alexnet": 224, "squeezenet1.1": 224, "densenet121": 224}.get(name, 64)
    mx.random.seed(0)
    net = gluon.model_zoo.vision.get_model(name, classes=10)
    net.initialize(mx.init.Xavier())
    for rows in (1, 3):
        x = nd.random.normal(shape=(rows, 3, size, size))
        net(x)
        randomise(net)
        wanted = net(x)
        net.hybridize()
        close(net(x), wanted, rtol=2e-4)
        close(net(x), wanted, rtol=2e-4)
        net.hybridize(False)


def test_weights_are_arranged_once():
    """A convolution without a normalisation has nothing else to compute from parameters."""
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, in_channels=3), nn.Flatten(), nn.Dense(2))
    net.initialize()
    net.hybridize()
    net(nd.ones((1, 3, 8, 8)))
    (entry,) = net._cached.entries.values()
    (plan,) = entry.plans.values()
    assert [v.node.op.name for v in plan.derived.values] == ["_arranged_weight"]
    assert "_finished_convolution" in {getattr(s, "op", None) and s.op.name for s in plan.sources["forward"].steps}


def residual(act="relu"):
    x = sym.Variable("x")
    conv = sym.Convolution(x, kernel=(3, 3), pad=(1, 1), num_filter=4, no_bias=True, name="c")
    norm = sym.BatchNorm(conv, name="n", fix_gamma=False)
    return sym.Activation(sym.broadcast_add(x, norm), act_type=act)


SHAPES = {"x": (2, 4, 8, 8), "c_weight": (4, 4, 3, 3), "n_gamma": (4,), "n_beta": (4,), "n_moving_mean": (4,),
          "n_moving_var": (4,)}  # fmt: skip


def parameters_of(p, *data):
    return {n for n in p.order if n.is_variable and n.name not in data}


def test_one_call_for_a_block():
    p = program(residual(), False, **SHAPES)
    fixed = parameters_of(p, "x")
    p = absorb_normalisation(p, fixed, True)
    assert operators(p) == ["_absorbed_weight", "_absorbed_bias", "Convolution", "broadcast_add", "Activation"]
    assert operators(absorb_normalisation(p, fixed, True)) == operators(p)
    q = finish_convolutions(p, fixed)
    assert operators(q) == ["_absorbed_weight", "_arranged_weight", "_absorbed_bias", "_added_convolution"]
    assert q.order[-1].attrs["act"] == "relu"
    assert operators(finish_convolutions(q, fixed)) == operators(q)
    assert "_arranged_weight" not in operators(finish_convolutions(p, fixed, arrange=False))


@pytest.mark.parametrize("data", ["c_weight", "n_gamma", "n_moving_var"])
def test_what_data_reach_stays(data):
    p = program(residual(), False, **SHAPES)
    found = operators(absorb_normalisation(p, parameters_of(p, "x", data), False))
    assert "BatchNorm" in found and "_absorbed_weight" not in found


def test_only_prediction_absorbs():
    p = program(residual(), True, **SHAPES)
    assert absorb_normalisation(p, parameters_of(p, "x"), True) is p
    assert finish_convolutions(p, parameters_of(p, "x")) is p


def test_chance_is_not_fixed():
    x = sym.Variable("x")
    p = program(sym.exp(x) + sym.random.normal(shape=(2,)), False, x=(2,))
    found = fixed_nodes(p, {n for n in p.order if n.is_variable})
    assert {n.name if n.op is None else n.op.name for n in found} == {"x", "exp"}


@native
def test_what_is_not_absorbed_is_one_step():
    x = sym.Variable("x")
    norm = sym.relu(sym.BatchNorm(x, name="n", fix_gamma=False))
    conv = sym.Convolution(norm, kernel=(1, 1), num_filter=4, no_bias=True, name="c")
    p = program(conv, False, **{**SHAPES, "x": (2, 4, 64, 64), "c_weight": (4, 4, 1, 1)})
    found = absorb_normalisation(p, parameters_of(p, "x"), True)
    assert operators(found).count("_normalise") == 1 and not {"BatchNorm", "relu"} & set(operators(found))


def test_explain_says_what_was_absorbed():
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, in_channels=3), nn.BatchNorm(), nn.Activation("relu"))
    net.initialize()
    net.hybridize()
    net(nd.ones((1, 3, 8, 8)))
    text = str(net.explain())
    assert "1 normalisation(s) absorbed by weights" in text and "1 convolution(s) that finish" in text
    assert "2 value(s)" in text and "_finished_convolution" in str(net.explain(profile=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("where", ["data", "weight", "statistics"])
def test_what_is_no_number_stays_none(bad: float, where: str) -> None:
    """The library's ReLU makes 0 of NaN; a network that has diverged must not look healthy."""
    net = nn.HybridSequential()
    net.add(nn.Conv2D(16, 3, padding=1), nn.BatchNorm(), nn.Activation("relu"), nn.Conv2D(4, 1, activation="relu"))
    net.initialize()
    x = nd.random.normal(shape=(2, 16, 9, 9))
    net(x)
    net.hybridize()
    net(x)  # the plan and what it keeps are made of numbers
    if where == "data":
        x[0, 3, 4, 4] = bad
    else:
        array = (net[0].weight if where == "weight" else net[1].running_mean).data()
        array[:1] = bad
    found = net(x).asnumpy()
    net.hybridize(False)
    wanted = net(x).asnumpy()
    assert bad == bad or np.isnan(wanted).any()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
