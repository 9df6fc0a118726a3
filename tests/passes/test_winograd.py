"""Winograd's way in plans. The law: values are the imperative ones to rounding, with the switch on and off; nothing is
done so that would not pay or cannot be.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import gluon, nd
from glueball.executor.native import available
from glueball.gluon import nn
from glueball.passes import winograd

pytestmark = pytest.mark.skipif(not available(), reason="no llvmlite")


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
    "act": st.sampled_from(["none", "relu", "clip", "leaky"]), "residual": st.booleans(),
})  # fmt: skip


def close(found, wanted, rtol=1e-4):
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol * abs(wanted).max())


@pytest.fixture(autouse=True)
def _however_small(monkeypatch):
    monkeypatch.setattr(winograd, "pays", lambda data, filters, pad: winograd.fits(data, filters, pad))


def operators(net):
    (entry,) = net._cached.entries.values()
    (plan,) = entry.plans.values()
    return [n.op.name for n in plan.program.order if n.op is not None]


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
    (plan,) = entry.plans.values()
    assert [v.node.op.name for v in plan.derived.values] == ["_winograd_weight"]
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
