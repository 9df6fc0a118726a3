"""1×1 convolutions in training plans. The law: values and gradients are the imperative ones to rounding; convolutions
of the same data share the pixels that they meet; what has padding or groups stays as it is.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import autograd, gluon, nd, sym
from glueball.executor import plan
from glueball.gluon import nn
from glueball.ops.opdef import lookup
from glueball.passes import pipeline, pointwise

from ..executor.native.test_winograd import error
from .test_passes import program
from .test_winograd import operators


@pytest.fixture(autouse=True)
def _however_small(monkeypatch):
    monkeypatch.setattr(plan, "SMALL", 0)
    monkeypatch.setattr(pointwise.aten, "bfloat16_speed", lambda: 2)


class Stage(gluon.HybridBlock):
    """Where a stage of ResNet begins: two strided convolutions of the same data, and a plain one."""

    def __init__(self, case):
        super().__init__()
        with self.name_scope():
            self.way = nn.Conv2D(8, 1, strides=case["step"], in_channels=6, use_bias=case["bias"])
            self.short = nn.Conv2D(8, 1, strides=case["step"], in_channels=6, groups=case["groups"], use_bias=False)
            self.last = nn.Conv2D(4, 1, in_channels=8, use_bias=False)

    def hybrid_forward(self, F, x):
        x = F.LeakyReLU(x, slope=0.5)
        return self.last(F.LeakyReLU(self.way(x) * 2, slope=0.5) + self.short(x))


CASES = st.fixed_dictionaries({
    "step": st.sampled_from([1, 2, (1, 3)]), "groups": st.sampled_from([1, 1, 2]), "bias": st.booleans(),
    "rows": st.integers(1, 3), "high": st.integers(1, 7), "wide": st.integers(1, 7),
    "dtype": st.sampled_from(["float32", "bfloat16", "float16"]), "rows_at_most": st.sampled_from([0, 4096]),
})  # fmt: skip


def gradients(net, x):
    with autograd.record():
        loss = (net(x).astype("float32") ** 2).mean()
    loss.backward()
    found = {name: p.grad() for name, p in net.collect_params().items()}
    return {name: value.astype("float32").asnumpy() for name, value in {**found, "data": x.grad, "loss": loss}.items()}


def twice(p):
    """Run the pass, and again: that changes nothing."""
    once = pointwise.pointwise_convolutions(p)
    again = pointwise.pointwise_convolutions(once)
    assert [n.op and n.op.name for n in again.order] == [n.op and n.op.name for n in once.order]
    return again


@given(CASES)
@settings(max_examples=30)
def test_training(case):
    mx.random.seed(1)
    net = Stage(case)
    net.initialize(mx.init.Normal(0.5))
    net.cast(case["dtype"])
    x = nd.random.normal(shape=(case["rows"], 6, case["high"], case["wide"])).astype(case["dtype"])
    x.attach_grad()
    wanted = gradients(net, x)
    net.hybridize()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pointwise, "ROWS", case["rows_at_most"])
        patch.setattr(pipeline, "pointwise_convolutions", twice)
        found = gradients(net, x)
    for name, value in wanted.items():
        rtol = {"float32": 1e-5, "float16": 0.004, "bfloat16": 0.03}[case["dtype"]]
        np.testing.assert_allclose(found[name], value, rtol=0, atol=rtol * max(abs(value).max(), 1e-3), err_msg=name)
    made = operators(net)
    strided = case["step"] != 1 and case["dtype"] != "float32"
    assert made.count("_subsample") == made.count("_spread") == (1 if strided else 0)
    few = case["dtype"] == "bfloat16" and case["rows_at_most"]
    assert made.count("_pointwise_backward") == (3 - case["bias"] - (case["groups"] == 2) if few else 0)


def test_plans_that_do_not_train_stay():
    """A plan of forward alone has no gradients to gain from."""
    form = {"kernel": (1, 1), "num_filter": 4, "stride": (2, 2), "no_bias": True}
    p = program(sym.Convolution(sym.Variable("x"), sym.Variable("w"), **form), x=(1, 3, 4, 4), w=(4, 3, 1, 1))
    assert pointwise.pointwise_convolutions(p) is p


def test_errors_of_products_are_the_librarys():
    """Gradients in bfloat16 as products and from the library, beside float64."""
    torch.manual_seed(0)
    data, weight, grad = torch.randn(4, 64, 7, 7), torch.randn(128, 64, 1, 1), torch.randn(4, 128, 7, 7)
    small = [t.bfloat16().contiguous(memory_format=torch.channels_last) for t in (grad, data, weight)]
    rest = (None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, True, False])
    exact = torch.ops.aten.convolution_backward(*(t.double() for t in small), *rest)
    library = torch.ops.aten.convolution_backward(*small, *rest)
    found = lookup("_pointwise_backward").kernel(*small, output_mask=(1, 1))
    for own, other, wanted in zip(found, library, exact):
        assert own.dtype == torch.bfloat16 and own.shape == wanted.shape
        assert error(own, wanted) < 1.02 * error(other, wanted)
