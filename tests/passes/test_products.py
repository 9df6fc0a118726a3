"""Products by one weight become one, where none waits for another; values and gradients stay."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import autograd, gluon, nd


class Cells(gluon.HybridBlock):
    """An unrolled cell; `waits`: its input is the last output, too."""

    def __init__(self, steps, waits=False):
        super().__init__()
        self.steps, self.waits = steps, waits
        with self.name_scope():
            self.read = gluon.nn.Dense(4, in_units=3)
            self.keep = gluon.nn.Dense(4, in_units=4)
            self.back = gluon.nn.Dense(3, in_units=4)

    def hybrid_forward(self, F, x):
        state, found = None, []
        for part in F.split(x, self.steps, axis=1, squeeze_axis=True):
            if self.waits and state is not None:
                part = part + self.back(state)
            projected = self.read(part)
            state = F.tanh(projected if state is None else projected + self.keep(state))
            found.append(state)
        return F.stack(*found, axis=1)


def run(waits, jit, monkeypatch):
    monkeypatch.setenv("GLUEBALL_JIT", jit)
    mx.random.seed(3)
    net = Cells(5, waits)
    net.initialize(mx.init.Xavier())
    x = nd.random.normal(shape=(2, 5, 3))
    x.attach_grad()
    found = []
    for hybrid in (False, True):
        if hybrid:
            net.hybridize()
        with autograd.record():
            out = net(x)
        out.backward()
        found.append([out.asnumpy(), x.grad.asnumpy(), *[p.grad().asnumpy() for p in net.collect_params().values()
                                                         if p.data()._fresh_grad or waits]])
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    (entry,) = net._cached.entries.values()
    (plan,) = entry.plans.values()
    return [node.op.name for node in plan.program.order if node.op is not None]


@pytest.mark.parametrize("jit", ["0", "1"])
def test_input_projections_and_gradients_of_all_steps_are_one_product_each(jit, monkeypatch):
    names = run(False, jit, monkeypatch)
    assert names.count("FullyConnected") == 1 + 4  # all inputs at once; a state after the other
    assert names.count("_linear_backward_weight") == 2
    assert names.count("_linear_backward_bias") == 2


def test_projections_that_wait_for_each_other_stay_apart(monkeypatch):
    names = run(True, "1", monkeypatch)
    assert names.count("FullyConnected") == 5 + 4 + 4
    assert names.count("_linear_backward_weight") == 3


class Paths(gluon.HybridBlock):
    """The sum of paths through a few layers, each path in an order of its own."""

    def __init__(self, paths):
        super().__init__()
        self.paths = paths
        with self.name_scope():
            self.a, self.b, self.c = (gluon.nn.Dense(4, in_units=4) for _ in range(3))

    def hybrid_forward(self, F, x):
        found = [x]
        for path in self.paths:
            y = x
            for name in path:
                y = F.tanh(getattr(self, name)(y))
            found.append(y)
        return F.add_n(*found)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=4), min_size=1, max_size=5))
@example([["a", "b"], ["b", "a"]])  # either order of two layers waits for the other
@example([["a", "b"], ["b", "c"], ["c", "a"]])
def test_layers_that_are_used_in_any_order_give_the_same(paths):
    net = Paths(paths)
    net.initialize(mx.init.Xavier())
    x = nd.random.normal(shape=(3, 4))
    expected = net(x).asnumpy()
    net.hybridize()
    np.testing.assert_allclose(net(x).asnumpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_long_chain_is_no_deep_recursion():
    class Long(gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.layer = gluon.nn.Dense(2, in_units=2)

        def hybrid_forward(self, F, x):
            y = x
            for _ in range(1100):
                y = F.sin(y)
            return self.layer(x) + self.layer(y)

    net = Long()
    net.initialize()
    x = nd.random.normal(shape=(1, 2))
    expected = net(x).asnumpy()
    net.hybridize()
    np.testing.assert_allclose(net(x).asnumpy(), expected, rtol=1e-5, atol=1e-6)
