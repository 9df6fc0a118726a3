"""Convolutions of 1×1 kernels as own products: near the sum in float64, whatever the sizes and threads, on every kind
of processor; what there is no code for is ATen's.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import autograd, nd
from glueball.base import config
from glueball.executor.native import available, pointwise, why_not
from glueball.gluon import nn

from ...threads import threads
from .test_panels import KINDS, compiler_for

pytestmark = pytest.mark.skipif(not available(), reason=why_not() or "")

CASES = st.fixed_dictionaries({
    "n": st.integers(1, 3), "high": st.integers(4, 13), "wide": st.integers(4, 13),
    "channels": st.sampled_from([32, 64, 96]), "filters": st.sampled_from([32, 64, 128]), "bias": st.booleans(),
    "threads": st.sampled_from([1, 2, 3]), "near": st.sampled_from([1 << 8, 1 << 11, 1 << 17]),
    "stride": st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 3)]), "seed": st.integers(0, 99),
})  # fmt: skip


@pytest.fixture(params=list(KINDS))
def processor(request, monkeypatch):
    """Let products be compiled for one kind of processor, however small they are."""
    compiler = compiler_for(request.param)
    monkeypatch.setattr(pointwise, "compiler", lambda: compiler)
    monkeypatch.setattr(pointwise, "_LANES", compiler.vector_bytes // 4)
    monkeypatch.setattr(pointwise, "_LEAST_ROWS", 12)
    monkeypatch.setattr(pointwise, "LEAST", 0)
    yield request.param
    pointwise._blocks.cache_clear()


def images(*shape, dtype=torch.float32):
    return torch.randn(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)


def by_torch(data, weight, bias, grad, stride=(1, 1)):
    """Return the result and all gradients in float64."""
    given = [t.double().requires_grad_() for t in (data, weight, bias)]
    out = torch.conv2d(*given, stride)
    return [out.detach(), *torch.autograd.grad(out, given, grad.double())]


def agree(found, wanted):
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one.double(), other, rtol=0, atol=1e-5 * float(other.abs().max()))


def test_is_the_sum(processor, monkeypatch):
    @given(CASES)
    @settings(max_examples=30)
    def check(case):
        torch.manual_seed(case["seed"])
        monkeypatch.setattr(pointwise, "_NEAR", case["near"])
        pointwise._blocks.cache_clear()
        data, stride = images(case["n"], case["channels"], case["high"], case["wide"]), case["stride"]
        weight, bias = torch.randn(case["filters"], case["channels"], 1, 1), torch.randn(case["filters"])
        if not case["bias"]:
            bias.zero_()
        grad = images(*torch.conv2d(data, weight, None, stride).shape)
        assert grad.shape[0] * grad.shape[2] * grad.shape[3] < 12 or (
            pointwise._serves(data, weight, case["filters"], stride) and pointwise._serves(grad, weight, data.shape[1]))
        with threads(case["threads"]):
            out = pointwise.convolution(data, weight, bias if case["bias"] else None, stride)
            found = pointwise.gradients(grad, data, weight, stride, (True, True, True))
        assert out.is_contiguous(memory_format=torch.channels_last) or out.numel() == max(out.shape)
        agree([out, *found], by_torch(data, weight, bias, grad, stride))

    check()


OTHERS = {
    "channels": lambda: (images(2, 20, 8, 8), torch.randn(32, 20, 1, 1)),
    "filters": lambda: (images(2, 32, 8, 8), torch.randn(20, 32, 1, 1)),
    "a larger kernel": lambda: (images(2, 32, 8, 8), torch.randn(32, 32, 3, 3)),
    "channels first": lambda: (torch.randn(2, 32, 8, 8), torch.randn(32, 32, 1, 1)),
    "another type": lambda: (images(2, 32, 8, 8, dtype=torch.float64), torch.randn(32, 32, 1, 1).double()),
    "a strided weight": lambda: (images(2, 32, 8, 8), torch.randn(32, 64, 1, 1)[:, ::2]),
    "few rows": lambda: (images(1, 32, 3, 3), torch.randn(32, 32, 1, 1)),
    "nothing": lambda: (images(0, 32, 8, 8), torch.randn(32, 32, 1, 1)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_there_is_no_code_for(name, processor):
    data, weight = OTHERS[name]()
    out = pointwise.convolution(data, weight, None, (1, 1))
    torch.testing.assert_close(out, torch.conv2d(data, weight))
    grad = torch.randn_like(out)
    found = pointwise.gradients(grad, data, weight, (1, 1), (True, True, False))
    if name != "nothing":
        agree(found[:2], by_torch(data, weight, weight.new_zeros(len(weight)), grad)[1:3])
    assert [f is not None for f in found] == [True, True, False]


def test_on_the_tape(processor):
    """What is differentiated by torch stays with torch."""
    data, weight = images(2, 32, 8, 8), torch.randn(32, 32, 1, 1, requires_grad=True)
    pointwise.convolution(data, weight, None, (1, 1)).sum().backward()
    assert weight.grad is not None


@pytest.mark.skipif(not config.get("GLUEBALL_JIT"), reason="no machine code here")
def test_networks_use_it(monkeypatch):
    """A hybridized network's 1×1 convolutions are such products, forward and back; GLUEBALL_JIT=0 leaves them to the
    library.
    """
    made = []
    product = pointwise._product
    monkeypatch.setattr(pointwise, "_product", lambda *given: made.append(given[2]) or product(*given))
    monkeypatch.setattr(pointwise, "_LANES", pointwise.compiler().vector_bytes // 4)
    results = []
    for hybridized in (False, True):
        mx.random.seed(5)
        net = nn.HybridSequential()
        net.add(nn.Conv2D(64, 1, in_channels=32, use_bias=False), nn.BatchNorm(), nn.Activation("relu"),
                nn.Conv2D(64, 1, in_channels=64, strides=2), nn.Conv2D(32, 1, in_channels=64))  # fmt: skip
        net.initialize(mx.init.Xavier())
        x = nd.random.normal(shape=(32, 32, 16, 16))
        x.attach_grad()
        if hybridized:
            net.hybridize()
        with autograd.record():
            loss = net(x).square().mean()
        loss.backward()
        results.append([loss.asnumpy(), x.grad.asnumpy(), *(p.grad().asnumpy() for p in net.collect_params().values()
                                                            if p.grad_req != "null")])  # fmt: skip
        assert made == ([True] * 3 + [False] * 3 if hybridized else [])
    for found, wanted in zip(*reversed(results)):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * abs(wanted).max())
    made.clear()
    monkeypatch.setenv("GLUEBALL_JIT", "0")
    net.hybridize()
    net(x)
    assert not made
