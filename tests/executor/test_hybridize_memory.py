"""Memory of plans: what is written in place, shared, or kept alive is never seen from outside."""
from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.base import memory
from glueball.base.errors import AutogradError
from glueball.executor import plan


class Block(gluon.HybridBlock):
    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def hybrid_forward(self, F, *args):
        return self.function(F, *args)


def flat(result):
    return [part for item in result for part in flat(item)] if isinstance(result, (list, tuple)) else [result]


def view_of_itself(F, x, y):
    """A fresh value added to a view of itself: writing in place would read what was just written."""
    a = F.dot(x, y)
    return F.broadcast_add(a, F.transpose(a))


def slice_of_itself(F, x, y):
    a = F.dot(x, y)
    return F.broadcast_mul(a, F.slice_axis(a, axis=1, begin=1, end=2))


def branch_hands_on(F, x, y):
    a, b = F.tanh(x), F.dot(x, y)
    return F.contrib.cond(F.sum(x) > -100, lambda: a, lambda: b), F.relu(a), F.exp(a)


def loop_hands_on(F, x, y):
    a, b = F.tanh(x), F.dot(x, y)
    outputs, states = F.contrib.foreach(lambda row, state: (row, state), a, [b])
    return outputs, states[0], F.relu(a), F.exp(b)


def types_handed_on(F, x, y):
    a, b = F.tanh(x), F.exp(y)
    c, d = F.amp_multicast(a, b, num_outputs=2)
    return c, d, F.relu(b) * 2, F.exp(a) * 2


@pytest.mark.parametrize("function", [view_of_itself, slice_of_itself, branch_hands_on, loop_hands_on,
                                      types_handed_on])
@pytest.mark.parametrize("recorded", [False, True])
def test_in_place_is_never_seen(function, recorded):
    rng = np.random.default_rng(0)
    x, y = (nd.array(rng.normal(size=(3, 3)), dtype="float64") for _ in range(2))
    found = []
    for block in (Block(function), Block(function)):
        if found:
            block.hybridize()
        x.attach_grad()
        y.attach_grad()
        if recorded:
            with autograd.record():
                outputs = flat(block(x, y))
            autograd.backward(outputs)
        else:
            outputs = flat(block(x, y))
        found.append([a.asnumpy() for a in (*outputs, x.grad, y.grad)])
    for left, right in zip(*found):
        np.testing.assert_allclose(left, right, rtol=1e-12)
    shown = [a._t.untyped_storage().data_ptr() for a in (*outputs, x, y)]
    assert len(set(shown)) == len(shown)


def test_an_output_written_to_before_backward_is_an_error():
    block = Block(lambda F, x: F.tanh(x))
    block.hybridize()
    x = nd.array([0.5, 1])
    x.attach_grad()
    with autograd.record():
        y = block(x)
    y[:] = 0
    with pytest.raises(AutogradError, match="changed in place"):
        y.backward()


@pytest.mark.parametrize("use", ["nothing", "retained", "second order"])
def test_a_recording_is_freed_with_its_result(use, monkeypatch):
    monkeypatch.setattr(plan, "SMALL", 0)
    block = Block(lambda F, x: F.tanh(x))
    block.hybridize()
    x = nd.ones((2, 3))
    x.attach_grad()
    with autograd.record():
        y = block(x)
        if use == "second order":
            (autograd.grad(y, x, create_graph=True)[0] ** 2).backward()
    if use == "retained":
        y.backward(retain_graph=True)
    node = weakref.ref(y._t.grad_fn)
    del y
    gc.collect()
    assert node() is None


def stopped(F, x):
    return F.BlockGrad(F.tanh(x)) * x * x


def own_rule(F, x):
    return F.SoftmaxOutput(x, F.zeros_like(F.sum(x, axis=1))) * x


def stopped_in_a_loop(F, x):
    return F.contrib.foreach(lambda row, state: (F.BlockGrad(row) * row * row, state), x, [F.sum(x)])[0]


@pytest.mark.parametrize("function", [stopped, own_rule, stopped_in_a_loop])
def test_operators_keep_their_own_gradients_in_second_order_and_loops(function):
    found = []
    for hybrid in (False, True):
        block = Block(function)
        if hybrid:
            block.hybridize()
        x = nd.array([[0, 1, 2.0], [1, 0, -1]], dtype="float64")
        x.attach_grad()
        with autograd.record():
            y = block(x)
        y.backward()
        first = x.grad.asnumpy()
        with autograd.record():
            y = block(x)
            gradient = autograd.grad(y, x, create_graph=True)[0]
            (gradient * gradient).sum().backward()
        found.append((first, gradient.asnumpy(), x.grad.asnumpy()))
    np.testing.assert_allclose(*found, rtol=1e-12)


@pytest.mark.parametrize("one_call", [False, True])
def test_free_memory_is_given_back_once_before_the_second_step(one_call, monkeypatch):
    monkeypatch.setattr(memory, "LARGE", 1)
    monkeypatch.setattr(plan, "SMALL", 0)
    counted = []
    monkeypatch.setattr(memory, "release", lambda: counted.append(steps))
    net = gluon.nn.Dense(2, in_units=3, activation="tanh")
    net.initialize(mx.init.One())
    net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    measure = gluon.loss.L2Loss()
    compiled = gluon.contrib.CompiledStep(net, measure, trainer)
    x, y = nd.ones((4, 3)), nd.zeros((4, 2))
    for steps in range(4):
        if one_call:
            compiled(x, y)
        else:
            with autograd.record():
                loss = measure(net(x), y)
            loss.backward()
            trainer.step(4)
    assert counted == [1]
