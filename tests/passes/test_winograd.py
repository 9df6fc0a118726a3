"""Winograd's way in plans. The law: values are the imperative ones to rounding, with the switch on and off; nothing is
done so that would not pay or cannot be.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import autograd, gluon, nd, sym
from glueball.base import config
from glueball.executor import plan
from glueball.executor.native import available
from glueball.gluon import nn
from glueball.passes import winograd
from glueball.symbol.graph import Node

from .test_passes import program

pytestmark = pytest.mark.skipif(not available() or not config.get("GLUEBALL_JIT"), reason="no machine code here")


class Net(gluon.HybridBlock):
    """3×3 convolutions, some of which can be done so."""

    def __init__(self, case):
        super().__init__()
        self.case = case
        with self.name_scope():
            self.one = nn.Conv2D(64, 3, padding=case["pad"], in_channels=case["channels"], use_bias=case["bias"])
            self.norm = nn.BatchNorm(in_channels=64)
            self.two = nn.Conv2D(64, 3, padding=1, in_channels=64, strides=case["stride"], groups=case["groups"])
            self.three = nn.Conv2D(64, 3, padding=case["dilation"], dilation=case["dilation"], in_channels=64)

    def hybrid_forward(self, F, x):
        act = {"none": lambda x: x, "relu": F.relu, "clip": lambda x: F.clip(x, -1, 1),
               "half": lambda x: F.clip(x, -1, float("inf")),
               "leaky": lambda x: F.LeakyReLU(x, slope=0.1)}[self.case["act"]]  # fmt: skip
        x = act(self.norm(self.one(x)))
        y = self.two(x)
        z = self.three(y)
        return act(y + z if self.case["residual"] else z)


CASES = st.fixed_dictionaries({
    "rows": st.integers(1, 2), "high": st.integers(4, 11), "wide": st.integers(4, 11),
    "pad": st.sampled_from([0, 1, 2]),
    "channels": st.sampled_from([16, 20, 32]), "bias": st.booleans(), "stride": st.sampled_from([1, 1, 2]),
    "groups": st.sampled_from([1, 1, 2]), "dilation": st.sampled_from([1, 1, 2]),
    "act": st.sampled_from(["none", "relu", "clip", "half", "leaky"]), "residual": st.booleans(),
})  # fmt: skip


def close(found, wanted, rtol=1e-4):
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol * abs(wanted).max())


@pytest.fixture(autouse=True)
def _however_small(monkeypatch):
    monkeypatch.setattr(plan, "SMALL", 0)
    monkeypatch.setattr(winograd, "best_tile", lambda data, filters, pad, *_: 4 * winograd.fits(data, filters, pad))


def operators(net):
    (entry,) = net._cached.entries.values()
    (made,) = entry.plans.values()
    return [n.op.name for n in made.program.order if n.op is not None]


@given(CASES)
@settings(max_examples=40)
def test_predictions(case):
    mx.random.seed(1)
    net = Net(case)
    net.initialize(mx.init.Normal(0.1))
    x = nd.random.normal(shape=(case["rows"], case["channels"], case["high"], case["wide"]))
    wanted = net(x).asnumpy()
    net.hybridize()
    for _ in range(2):
        close(net(x).asnumpy(), wanted)
    plain = case["stride"] == case["groups"] == 1
    expected = (case["channels"] != 20) + plain + (case["dilation"] == 1)
    assert operators(net).count("_winograd_convolution") == expected


def test_the_switch(monkeypatch):
    net = nn.Conv2D(32, 3, padding=1, in_channels=16)
    net.initialize()
    x = nd.random.normal(shape=(1, 16, 8, 8))
    wanted = net(x).asnumpy()
    net.hybridize()
    close(net(x).asnumpy(), wanted)
    assert "_winograd_convolution" in operators(net)
    monkeypatch.setenv("GLUEBALL_WINOGRAD", "0")
    net.hybridize()
    close(net(x).asnumpy(), wanted)
    assert "_winograd_convolution" not in operators(net)


def test_weights_go_to_the_points_once_and_again_when_they_change():
    net = nn.Conv2D(32, 3, padding=1, in_channels=16)
    net.initialize()
    net.hybridize()
    x = nd.random.normal(shape=(1, 16, 8, 8))
    first = net(x).asnumpy()
    (entry,) = net._cached.entries.values()
    (made,) = entry.plans.values()
    assert [v.node.op.name for v in made.derived.values] == ["_winograd_weight"]
    net.weight.set_data(net.weight.data() * 2)
    net.bias.set_data(net.bias.data() * 2)
    close(net(x).asnumpy(), first * 2)
    text = str(net.explain(x, profile=True))
    assert "convolution 3×3 by Winograd's way" in text and "1 of them by Winograd's way" in text


def test_what_is_not_finite_stays_where_it_was():
    net = nn.Conv2D(32, 3, padding=1, in_channels=16)
    net.initialize()
    x = nd.random.normal(shape=(1, 16, 12, 12))
    x[0, 0, 5, 5] = np.inf
    x[0, 1, 1, 2] = np.nan
    wanted = net(x).asnumpy()
    net.hybridize()
    found = net(x).asnumpy()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(wanted))


def gradients(net, x, loss_of):
    with autograd.record():
        loss = loss_of(net(x))
    loss.backward()
    found = {name: p.grad().asnumpy() for name, p in net.collect_params().items() if p.grad_req != "null"}
    return loss.asnumpy(), {**found, "data": x.grad.asnumpy()}


@given(CASES)
@settings(max_examples=40)
def test_training(case):
    """Values and all gradients are the imperative ones; statistics of a batch may be there or not."""
    if case["act"] != "none":  # where a value is near 0 rounding decides on which side: gradients would differ
        case = {**case, "act": "leaky"}
    mx.random.seed(1)
    net = Net(case)
    net.initialize(mx.init.Normal(0.1))
    x = nd.random.normal(shape=(case["rows"], case["channels"], case["high"], case["wide"]))
    x.attach_grad()
    loss_of = lambda out: (out * out).mean()
    wanted, slopes = gradients(net, x, loss_of)
    net.hybridize()
    for _ in range(2):
        found, own = gradients(net, x, loss_of)
        close(found, wanted)
        for name, slope in slopes.items():
            size = max(abs(slope).max(), 1e-3 * max(abs(s).max() for s in slopes.values()))
            np.testing.assert_allclose(own[name], slope, rtol=0, atol=2e-3 * size, err_msg=name)
    made = operators(net)
    plain = 1 + (case["stride"] == case["groups"] == 1) + (case["dilation"] == 1) - (case["channels"] == 20)
    assert made.count("_winograd_weight_gradient") == plain
    assert made.count("_winograd_convolution") == 2 * plain - (case["channels"] == 16)  # data's: filters of 32
    (entry,) = net._cached.entries.values()
    (compiled,) = entry.plans.values()
    assert all(most_points(source) <= 1 for source in compiled.sources.values())


def most_points(source):
    """Return how many arrays of weights at the points are there at a time."""
    waiting, most = set(), 0
    for step in source.steps:
        if isinstance(step, Node) and step.op.name == "_winograd_weight":
            waiting.add(step)
        most = max(most, len(waiting))
        waiting -= {v.node for v in step.inputs}
    return most


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_small_types(dtype, monkeypatch):
    """Arrays of bfloat16 and float16 have tiles of 7 × 7; values and gradients are the imperative ones to rounding."""
    monkeypatch.setattr(winograd, "best_tile", lambda data, filters, pad, *_: 7 * winograd.fits(data, filters, pad))
    mx.random.seed(1)
    net = nn.HybridSequential()
    net.add(nn.Conv2D(32, 3, padding=1, in_channels=32), nn.LeakyReLU(0.1), nn.Conv2D(32, 3, in_channels=32))
    net.initialize(mx.init.Normal(0.1))
    net.cast(dtype)
    x = nd.random.normal(shape=(2, 32, 11, 9)).astype(dtype)
    x.attach_grad()
    asked = lambda: gradients(net, x, lambda out: (out.astype("float32") ** 2).mean())
    wanted, slopes = asked()
    net.hybridize()
    found, own = asked()
    rounding = 0.02 if dtype == "bfloat16" else 0.003
    close(found, wanted, rounding)
    for name, slope in slopes.items():
        close(own[name].astype("float32"), slope.astype("float32"), rounding)
    made = operators(net)
    assert made.count("_winograd_weight_gradient") == 2 and made.count("_winograd_convolution") == 4


def test_sizes_with_tiles_of_their_own(monkeypatch):
    """Two sizes that differ in their tiles have no structure in common from which a third would follow."""
    monkeypatch.setattr(winograd, "best_tile", lambda data, filters, pad, *_: (4, 7, 7)[data[0] % 3])
    net = nn.Conv2D(32, 3, padding=1, in_channels=32)
    net.initialize(mx.init.Normal(0.1))
    batches = [nd.random.normal(shape=(rows, 32, 9, 9)) for rows in (3, 4, 5, 6)]
    wanted = [gradients(net, x, lambda out: (out * out).mean()) for x in batches if x.attach_grad() is None]
    net.hybridize()
    for x, (loss, slopes) in zip(batches, wanted):
        found, own = gradients(net, x, lambda out: (out * out).mean())
        close(found, loss)
        for name, slope in slopes.items():
            close(own[name], slope, 1e-3)


@pytest.mark.parametrize(("speed", "tile"), [(1, 7), (2, 7), (8, 0)])
def test_bfloat16_depends_on_the_processor(speed, tile, monkeypatch):
    """Where the library multiplies bfloat16 eight times as fast as float32, it is left to it."""
    monkeypatch.undo()  # the model itself
    monkeypatch.setattr(winograd.aten, "bfloat16_speed", lambda: speed)
    bfloat16 = winograd.as_torch("bfloat16")
    assert winograd.best_tile((16, 64, 56, 56), 64, (1, 1), bfloat16, True) == tile
    assert winograd.best_tile((16, 64, 56, 56), 64, (1, 1), again=True) == 4


def test_a_compiled_step():
    """Losses of some steps are those of the ordinary lines."""
    losses = []
    for compiled in (False, True):
        mx.random.seed(3)
        net = nn.HybridSequential()
        net.add(
            nn.Conv2D(32, 3, padding=1, in_channels=16),
            nn.BatchNorm(),
            nn.Activation("relu"),
            *(nn.Conv2D(32, 3, padding=1, in_channels=32) for _ in range(2)),
            nn.GlobalAvgPool2D(),
            nn.Dense(4),
        )
        net.initialize(mx.init.Xavier())
        x, y = nd.random.normal(shape=(4, 16, 9, 9)), nd.array([0, 1, 2, 3])
        loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
        trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.5})
        step = gluon.contrib.CompiledStep(net, loss_of, trainer)
        own = []
        for _ in range(5):
            if compiled:
                own.append(step(x, y).asnumpy())
                continue
            with autograd.record():
                loss = loss_of(net(x), y)
            loss.backward()
            trainer.step(4)
            own.append(loss.asnumpy())
        losses.append(np.array(own))
        if compiled:
            assert "gradient of 3×3 weights by Winograd's way" in str(step.explain())
            (entry,) = step._entries.values()
            assert most_points(entry.plan.source) == 1
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3, atol=1e-4)


def test_a_second_run_changes_nothing():
    form = {"kernel": (3, 3), "num_filter": 32, "pad": (1, 1)}
    out = sym.Convolution(sym.Variable("x"), sym.Variable("w"), sym.Variable("b"), **form)
    p = program(out, x=(1, 16, 8, 8), w=(32, 16, 3, 3), b=(32,))
    once = winograd.winograd_convolutions(p)
    names = [n.op.name for n in once.order if n.op is not None]
    assert names == ["_winograd_weight", "_winograd_convolution"]
    twice = winograd.winograd_convolutions(once)
    assert [n.op.name for n in twice.order if n.op is not None] == names
