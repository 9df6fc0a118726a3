"""Laws of the passes: results stay, a second run changes nothing, and each does what it is for. Generated programs:
tests/executor.
"""
from __future__ import annotations

import numpy as np
import pytest

import glueball as mx
from glueball import autograd, nd, sym
from glueball.executor import plan
from glueball.executor.interpret import run_operator
from glueball.gluon import nn
from glueball.ops.opdef import TensorType
from glueball.passes.common import merge_common
from glueball.passes.constants import fold_constants
from glueball.passes.likelihood import fuse_likelihood
from glueball.passes.pooling import pool_first
from glueball.passes.program import Program
from glueball.passes.simplify import simplify
from glueball.symbol.graph import topological
from glueball.symbol.infer import infer


def program(symbol, training=False, **shapes):
    """Return a Program of a symbol with float32 inputs of the given shapes."""
    import torch
    order = topological(symbol._outputs)
    known = {n: TensorType(tuple(shapes[n.name]), torch.float32) for n in order if n.name in shapes}
    return Program(tuple(symbol._outputs), infer(symbol._outputs, known, training), training)


def operators(p):
    return [n.op.name for n in p.order if n.op is not None]


def fold(p):
    return fold_constants(p, lambda op, tensors, attrs: run_operator(op, tensors, attrs)[0])


X, Y = sym.Variable("x"), sym.Variable("y")


def test_equal_expressions_are_computed_once():
    p = merge_common(program(sym.tanh(X) * sym.tanh(X) + sym.tanh(X), x=(2, 3)))
    assert operators(p).count("tanh") == 1
    assert operators(merge_common(p)) == operators(p)


def test_chance_and_states_stay_apart():
    drop = sym.Dropout(X, p=0.5) + sym.Dropout(X, p=0.5)
    assert operators(merge_common(program(drop, True, x=(2, 3)))).count("Dropout") == 2
    norm = sym.Group([sym.BatchNorm(X, name="a"), sym.BatchNorm(X, name="b")])
    assert operators(merge_common(program(norm, True, x=(2, 3)))).count("BatchNorm") == 2


@pytest.mark.parametrize(("symbol", "left"), [
    (lambda: sym.identity(X) * 1.0, []), (lambda: sym.Reshape(X, shape=(2, 3)), []),
    (lambda: sym.BlockGrad(X) + Y, ["elemwise_add"]), (lambda: sym.Cast(X, dtype="float32"), []),
    (lambda: sym.Cast(X, dtype="float64"), ["Cast"]), (lambda: sym.Dropout(X), []),
    (lambda: sym.Reshape(X, shape=(3, 2)), ["Reshape"])])
def test_what_does_nothing_is_left_out(symbol, left):
    p = simplify(program(symbol(), x=(2, 3), y=(2, 3)))
    assert operators(p) == left and operators(simplify(p)) == left


def test_dropout_stays_in_training():
    assert operators(simplify(program(sym.Dropout(X), True, x=(2, 3)))) == ["Dropout"]


def test_constants_are_computed_when_the_plan_is_made():
    p = fold(program(X + (sym.ones((2, 3)) * 2 + sym.zeros((2, 3))), x=(2, 3)))
    assert operators(p) == ["elemwise_add"] and len(p.constants) == 1
    assert next(iter(p.constants.values())).tolist() == [[2, 2, 2]] * 2
    assert operators(fold(p)) == ["elemwise_add"]


@pytest.mark.parametrize("act", ["relu", "tanh", "sigmoid", "softrelu", "softsign"])
def test_pooling_goes_before_rising_functions(act):
    net = sym.Pooling(sym.Activation(X, act_type=act), kernel=(2, 2), stride=(2, 2), pool_type="max")
    p = pool_first(program(net, x=(1, 2, 4, 4)))
    assert operators(p) == ["Pooling", "Activation"] and operators(pool_first(p)) == ["Pooling", "Activation"]


@pytest.mark.parametrize("net", [
    lambda: sym.Pooling(sym.Activation(X, act_type="relu"), kernel=(2, 2), pool_type="avg"),
    lambda: sym.Pooling(sym.Activation(X, act_type="relu"), kernel=(3, 3), pad=(1, 1), pool_type="max"),
    lambda: sym.Pooling(sym.sin(X), kernel=(2, 2), pool_type="max"),
    lambda: (lambda a: sym.Group([sym.Pooling(a, kernel=(2, 2), pool_type="max"), a]))(sym.tanh(X))])
def test_pooling_stays_where_it_must(net):
    p = program(net(), x=(1, 2, 4, 4))
    assert operators(pool_first(p)) == operators(p)


def test_pooling_first_gives_equal_numbers(monkeypatch):
    monkeypatch.setattr(plan, "SMALL", 0)
    found = []
    x = nd.random.normal(shape=(2, 3, 9, 9))
    x[0, 0] = 0
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, activation="relu"), nn.MaxPool2D(2, 2), nn.Activation("tanh"), nn.GlobalMaxPool2D())
    net.initialize(mx.init.Xavier())
    net(x)
    for hybridized in (False, True):
        net.hybridize(hybridized)
        x.attach_grad()
        with autograd.record():
            y = net(x)
        y.backward()
        found.append((y.asnumpy(), x.grad.asnumpy(), net[0].weight.grad().asnumpy()))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    for a, b in zip(found[0], found[1]):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    text = net.explain(code=True)
    assert "tanh_()" in text and "relu_()" in text


def test_writing_in_place_spares_what_others_see(monkeypatch):
    monkeypatch.setenv("GLUEBALL_JIT", "0")  # of operators that are calls of ATen

    class Net(mx.gluon.HybridBlock):
        def hybrid_forward(self, F, x, w):
            a = F.dot(x, w)
            b = F.relu(a)
            c = F.dot(x, w) * 2
            return b, a, F.sigmoid(c)

    net = Net()
    x, w = nd.random.normal(shape=(3, 4)), nd.random.normal(shape=(4, 2))
    plain = [o.asnumpy() for o in net(x, w)]
    net.hybridize()
    for _ in range(2):
        for a, b in zip(net(x, w), plain):
            np.testing.assert_allclose(a.asnumpy(), b, rtol=1e-6)
    assert "1 in-place" in net.explain(code=True)


def test_cross_entropy_becomes_one_operator():
    label = sym.Variable("label")
    loss = sym.mean(-1 * sym.pick(sym.log_softmax(X), label, keepdims=True), axis=0, exclude=True)
    p = fuse_likelihood(program(loss, x=(4, 3), label=(4,)))
    assert "_class_likelihood" in operators(p) and "log_softmax" not in operators(p) and "mean" not in operators(p)
    assert operators(fuse_likelihood(p)) == operators(p)
    shared = sym.log_softmax(X)
    kept = sym.Group([-1 * sym.pick(shared, label), shared])
    assert "_class_likelihood" not in operators(fuse_likelihood(program(kept, x=(4, 3), label=(4,))))


@pytest.mark.parametrize("weight", [None, 2.5])
def test_the_loss_is_the_same_in_every_way(weight):
    pred, label = nd.random.normal(shape=(5, 4)), nd.array([0, 3, 1, 2, 2])
    found = []
    for hybridized in (False, True):
        loss = mx.gluon.loss.SoftmaxCrossEntropyLoss(weight=weight)
        loss.hybridize(hybridized)
        pred.attach_grad()
        with autograd.record():
            value = loss(pred, label)
        value.backward()
        found.append((value.asnumpy(), pred.grad.asnumpy()))
    logs = nd.log_softmax(pred).asnumpy()
    np.testing.assert_allclose(found[0][0], -logs[range(5), [0, 3, 1, 2, 2]] * (weight or 1), rtol=1e-5)
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    with pytest.raises(mx.MXNetError, match="none of the classes"):
        loss(pred, nd.array([0, 3, 1, 2, 4]))
