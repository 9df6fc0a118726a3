"""Passes for convolutional networks: order in memory, normalisation in parts, computing again. Laws: values, gradients
and moving statistics are the imperative ones to rounding, and a second run changes nothing.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import autograd, gluon, nd, sym
from glueball.base import config
from glueball.executor.native import available, buffers
from glueball.gluon import nn
from glueball.passes import normalise
from glueball.passes.layout import channels_last
from glueball.passes.normalise import fuse_normalisation
from glueball.passes.recompute import recompute

from .test_passes import operators, program

native = pytest.mark.skipif(not available(), reason="no llvmlite")
compiled = pytest.mark.skipif(not available() or not config.get("GLUEBALL_JIT"), reason="no machine code here")


class Net(gluon.HybridBlock):
    """A residual block with what may surround it."""

    def __init__(self, case):
        super().__init__()
        self.case = case
        groups = 2 if case["grouped"] else 1
        with self.name_scope():
            self.first = nn.Conv2D(case["channels"], 3, padding=1, strides=case["stride"], use_bias=case["bias"])
            self.one = nn.BatchNorm(scale=case["scale"], use_global_stats=case["global_stats"])
            self.second = nn.Conv2D(case["channels"], 3, padding=case["dilation"], dilation=case["dilation"],
                                    groups=groups)
            self.two = nn.BatchNorm()
            self.last = nn.Dense(3)

    def hybrid_forward(self, F, x):
        case = self.case
        y = self.one(self.first(x))
        y = F.relu(y) if case["relu"] else y
        z = self.two(self.second(y))
        z = {"none": lambda: z, "left": lambda: y + z, "right": lambda: z + y}[case["residual"]]()
        z = F.Activation(z, act_type="relu") if case["relu"] else z
        z = z + F.tanh(y) if case["shared"] else z
        if case["pool"]:
            z = F.Pooling(z, kernel=(2, 2), stride=(2, 2), pool_type="max", pooling_convention="full")
        return self.last(z)


CASES = st.fixed_dictionaries({
    "batch": st.integers(1, 3), "inputs": st.sampled_from([1, 3, 4]), "channels": st.sampled_from([2, 6, 34]),
    "size": st.sampled_from([1, 2, 5, 8]), "stride": st.sampled_from([1, 2]), "dilation": st.sampled_from([1, 2]),
    "grouped": st.booleans(), "bias": st.booleans(), "scale": st.booleans(), "global_stats": st.booleans(),
    "relu": st.booleans(), "residual": st.sampled_from(["none", "left", "right"]), "shared": st.booleans(),
    "pool": st.booleans(), "dtype": st.sampled_from(["float32", "float32", "float64"]),
})  # fmt: skip


def step(net, x, training=True):
    """Return the output, the gradient of the data and of parameters, and the statistics."""
    data = x.copy()
    data.attach_grad()
    with autograd.record(train_mode=training):
        out = net(data)
        loss = (out * nd.arange(out.size).astype(out.dtype_name).reshape(out.shape)).sum()
    loss.backward()
    found = {"out": out, "data": data.grad}
    for name, parameter in net._collect_params_with_prefix().items():
        found[name] = parameter.data()
        if parameter.grad_req != "null":
            found[f"gradient of {name}"] = parameter.grad()
    return {name: array.asnumpy() for name, array in found.items()}


@native
@given(CASES)
@settings(max_examples=40)
def test_networks_are_the_imperative_ones(case):
    least, normalise.LEAST = normalise.LEAST, 1
    try:
        mx.random.seed(1)
        net = Net(case)
        net.initialize(mx.init.Normal(0.5))
        net.cast(case["dtype"])
        shape = (case["batch"], case["inputs"], case["size"], case["size"])
        x = nd.random.normal(shape=shape, dtype=case["dtype"]) * 2 + 1
        net(x)
        twin = Net(case)
        twin.initialize()
        twin.cast(case["dtype"])
        twin(x)
        for ours, theirs in zip(twin.collect_params().values(), net.collect_params().values()):
            ours.set_data(theirs.data())
        twin.hybridize()
        for training in (True, True, False):
            wanted, found = step(net, x, training), step(twin, x, training)
            # one or two numbers per channel: what a ReLU lets through is decided by rounding
            exact = case["batch"] * case["size"] ** 2 > 8 * case["stride"] ** 2 or not training
            for name in wanted:
                assert found[name].shape == wanted[name].shape
                if exact or "running" in name or name == "out" and not case["relu"]:
                    scale = max(1.0, *(abs(wanted[other]).max() for other in wanted if other.startswith("grad")))
                    np.testing.assert_allclose(found[name], wanted[name], rtol=2e-3, atol=2e-4 * scale, err_msg=name)
    finally:
        normalise.LEAST = least


def twins(case, dtypes):
    """Return networks with the same weights, cast to several types."""
    mx.random.seed(1)
    nets = [Net(case) for _ in dtypes]
    x = nd.random.normal(shape=(case["batch"], case["inputs"], case["size"], case["size"])) * 2 + 1
    nets[0].initialize(mx.init.Normal(0.5))
    nets[0](x)
    for net in nets[1:]:
        net.initialize()
        net(x)
        for ours, theirs in zip(net.collect_params().values(), nets[0].collect_params().values()):
            ours.set_data(theirs.data())
    for net, dtype in zip(nets, dtypes):
        net.cast(dtype)
    return x, nets


@native
@given(CASES, st.sampled_from(["bfloat16", "float16"]))
@settings(max_examples=15)
def test_half_precision_is_no_further_from_the_truth_than_the_imperative(case, half):
    """Numbers are rounded in other places, so both are measured against float64."""
    case = {**case, "batch": 4, "size": max(case["size"], 5), "global_stats": False}
    least, normalise.LEAST = normalise.LEAST, 1
    try:
        x, (exact, plain, compiled) = twins(case, ["float64", half, half])
        x = x.astype(half)
        compiled.hybridize()
        truth = step(exact, x.astype("float64"))
        wanted, found = step(plain, x), step(compiled, x)
        largest = max(np.linalg.norm(truth[name]) for name in truth if name.startswith("gradient"))
        for name in truth:
            assert found[name].dtype == wanted[name].dtype and found[name].shape == truth[name].shape
            # a gradient that a later normalisation makes 0 is nothing but rounding
            scale = np.linalg.norm(truth[name]) + (largest if name.startswith("gradient") else 1e-3)
            errors = [np.linalg.norm(each[name].astype(np.float64) - truth[name]) / scale for each in (found, wanted)]
            assert errors[0] <= 1.5 * errors[1] + 0.02, (name, errors)
    finally:
        normalise.LEAST = least


def test_half_precision_is_one_step_too():
    x = sym.amp_cast(sym.Variable("x"), dtype="bfloat16")
    weight = sym.amp_cast(sym.Variable("c_weight"), dtype="bfloat16")
    conv = sym.Convolution(x, weight, kernel=(3, 3), pad=(1, 1), num_filter=4, no_bias=True, name="c")
    norm = sym.BatchNorm(conv, name="n", fix_gamma=False)
    p = fuse_normalisation(program(sym.relu(sym.broadcast_add(x, norm)), True, **SHAPES))
    assert operators(p) == ["amp_cast", "amp_cast", "Convolution", "_batch_statistics", "_normalise"]


def residual(channels=4):
    x = sym.Variable("x")
    conv = sym.Convolution(x, kernel=(3, 3), pad=(1, 1), num_filter=channels, no_bias=True, name="c")
    norm = sym.BatchNorm(conv, name="n", fix_gamma=False)
    return sym.Activation(sym.broadcast_add(x, norm), act_type="relu")


SHAPES = {"x": (2, 4, 64, 64), "c_weight": (4, 4, 3, 3), "n_gamma": (4,), "n_beta": (4,), "n_moving_mean": (4,),
          "n_moving_var": (4,)}  # fmt: skip


def test_normalisation_takes_addition_and_relu_along():
    p = fuse_normalisation(program(residual(), True, **SHAPES))
    assert operators(p) == ["Convolution", "_batch_statistics", "_normalise"]
    attrs = p.order[-1].attrs
    assert attrs["relu"] and attrs["added"]
    assert operators(fuse_normalisation(p)) == operators(p)
    assert "BatchNorm" in operators(fuse_normalisation(program(residual(), False, **SHAPES)))


def test_values_come_in_channels_last_once():
    p = channels_last(program(residual(), True, **SHAPES))
    assert operators(p).count("_memory_format") == 1
    assert operators(channels_last(p)) == operators(p)
    no_images = program(sym.tanh(sym.Variable("x")), x=(2, 3, 4, 5))
    assert channels_last(no_images) is no_images


def test_only_backward_computes_again():
    p = fuse_normalisation(program(residual(), True, **SHAPES))
    assert recompute(p, [v for v in p.outputs if v is not None]) is p


def test_statistics_survive_a_mean_far_from_zero():
    from glueball.executor.native import normalise as kernels
    data = (torch.randn(4, 8, 32, 32) + 1e4).contiguous(memory_format=torch.channels_last)
    mean, inverse = kernels.statistics(data, torch.zeros(8), torch.ones(8), 0.9, 0.0)
    exact = data.double()
    torch.testing.assert_close(mean.double(), exact.mean((0, 2, 3)), rtol=1e-6, atol=0)
    torch.testing.assert_close(inverse.double(), exact.var((0, 2, 3), correction=0).rsqrt(), rtol=1e-3, atol=0)


def test_buffers_are_used_again_when_nobody_holds_them():
    like = torch.randn(1, 64, 64, 64).contiguous(memory_format=torch.channels_last)
    one = buffers.empty_like(like)
    place, view = one.data_ptr(), one[0]
    assert one.stride() == like.stride() and one.dtype is like.dtype
    del one
    other = buffers.empty_like(like)
    assert other.data_ptr() != place  # a view holds it
    del view
    assert buffers.empty_like(like).data_ptr() == place
    mx.cpu().empty_cache()
    order = buffers.in_order(like)
    assert order.is_contiguous() and torch.equal(order, like)


@compiled
def test_the_gradient_of_a_bias_before_a_normalisation_is_zero_and_costs_nothing():
    mx.random.seed(3)
    net = nn.HybridSequential()
    net.add(nn.Conv2D(16, 3, padding=1), nn.BatchNorm(), nn.Conv2D(16, 1), nn.BatchNorm(), nn.Conv2D(16, 1))
    net.initialize()
    net.hybridize()
    x = nd.random.normal(shape=(4, 3, 32, 32))
    for _ in range(2):  # the gradients of one step must not be those of the next, nor of each other
        with autograd.record():
            loss = (net(x) ** 2).sum()
        loss.backward()
        first, second, last = (net[k].bias.grad() for k in (0, 2, 4))
        assert (first.asnumpy() == 0).all() and (second.asnumpy() == 0).all() and (last.asnumpy() != 0).any()
        assert all((net[k].weight.grad().asnumpy() != 0).any() for k in (0, 2, 4))
        first[:] = 5
        assert (second.asnumpy() == 0).all()
    calls = ("aten.convolution_backward(", "pointwise.gradients(")
    lines = [line for line in net.explain(code=True).splitlines() if any(call in line for call in calls)]
    assert sorted(line.endswith("True))") for line in lines) == [False, False, True]
