"""Law: a hybridized block computes what the imperative one does, in values, gradients and running statistics, on
generated programs.

The plan is run twice (the second call runs no Python of the block), with passes and without, and against the
interpreter.
"""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import autograd, nd
from glueball.executor import plan, recorded

from .programs import STEPS, Program


def run(net, x, y, training=True):
    """Return outputs and gradients of one recorded pass from a fixed seed."""
    mx.random.seed(7)
    for array in (x, y):
        array.attach_grad()
    with autograd.record(train_mode=training):
        outputs = net(x, y)
        total = sum((o * (i + 1)).sum() for i, o in enumerate(outputs))
    total.backward()
    params = [p for p in net.collect_params().values() if p.grad_req != "null"]
    found = [o.asnumpy() for o in outputs] + [x.grad.asnumpy(), y.grad.asnumpy()] + [p.grad().asnumpy() for p in params]
    net.collect_params().zero_grad()
    return found


def fresh(steps, rows, dtype="float64"):
    rng = np.random.default_rng(0)
    net = Program(steps)
    net.initialize(mx.init.Xavier())
    net.cast(dtype)
    x, y = (nd.array(rng.normal(size=(rows, 3)), dtype=dtype) for _ in range(2))
    mx.random.seed(1)
    net(x, y)
    return net, x, y


def statistics(net):
    return [p.data().asnumpy() for p in net.collect_params(".*running.*").values()]


def compare(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@given(STEPS, st.sampled_from([1, 2, 4]), st.booleans(), st.sampled_from([0, 8, 99]))
@settings(max_examples=150)
def test_hybridized_equals_imperative(steps, rows, training, small):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "SMALL", small)  # graphs up to this size run on torch's tape
        check_hybridized(steps, rows, training)


def check_hybridized(steps, rows, training):
    net, x, y = fresh(steps, rows)
    values = {k: v.data().copy() for k, v in net.collect_params().items()}
    expected, moved = run(net, x, y, training), statistics(net)
    for p, v in values.items():
        net.collect_params()[p].set_data(v)
    net.hybridize()
    compare(run(net, x, y, training), expected)
    compare(statistics(net), moved)
    for p, v in values.items():
        net.collect_params()[p].set_data(v)
    compare(run(net, x, y, training), expected)


@given(STEPS)
@settings(max_examples=40)
def test_passes_change_nothing(steps):
    with pytest.MonkeyPatch.context() as patch:
        net, x, y = fresh(steps, 2)
        net.hybridize()
        optimised = run(net, x, y, False)
        patch.setenv("GLUEBALL_PASSES", "0")
        net.hybridize()
        compare(run(net, x, y, False), optimised)


@given(STEPS)
@settings(max_examples=40)
def test_plan_equals_interpreter(steps):
    with pytest.MonkeyPatch.context() as patch:
        net, x, y = fresh(steps, 2)
        net.hybridize()
        planned = run(net, x, y)
        patch.setattr(recorded, "_interpret", True)
        net.hybridize()
        compare(run(net, x, y), planned)


@given(STEPS)
@settings(max_examples=30)
def test_second_order_equals_imperative(steps):
    steps = [s for s in steps if s[0] not in ("dropped",)] or [("tanh", 0)]
    net, x, y = fresh(steps, 2)
    found = []
    for _ in range(2):
        x.attach_grad()
        with autograd.record(train_mode=False):
            z = net(x, y)[0].sum() * 1.0
            if not z._t.requires_grad:
                return
            g = autograd.grad(z, x, create_graph=True)[0][0]
            total = (g * g).sum()
        if not total._t.requires_grad:
            return
        total.backward()
        found.append([g.asnumpy(), x.grad.asnumpy()])
        net.hybridize()
    compare(*found)


@given(STEPS, st.lists(st.integers(1, 4), min_size=3, max_size=6))
@settings(max_examples=25)
def test_interleaved_signatures(steps, sizes):
    net, x, y = fresh(steps, 2)
    rng = np.random.default_rng(3)
    inputs = {n: [nd.array(rng.normal(size=(n, 3)), dtype="float64") for _ in range(2)] for n in set(sizes)}
    expected = {n: [o.asnumpy() for o in net(*inputs[n])] for n in set(sizes)}
    net.hybridize()
    for n in sizes:
        compare([o.asnumpy() for o in net(*inputs[n])], expected[n])
