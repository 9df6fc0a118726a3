"""CompiledStep: a step makes what the ordinary lines make, for every optimiser, and says when it runs those instead."""
from __future__ import annotations

import numpy as np
import pytest

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.base.errors import ArgumentError
from glueball.executor.jit.partition import usable

OPTIMIZERS = ["sgd", "nag", "signum", "adam", "adamw", "adamax", "nadam", "rmsprop", "adagrad", "adadelta", "ftml",
              "ftrl", "dcasgd", "lars", "lamb"]


def small(hidden="tanh"):
    mx.random.seed(1)
    net = gluon.nn.HybridSequential(prefix="small_")
    with net.name_scope():  # the same names, and so the same order of parameters, every time
        net.add(gluon.nn.Dense(7, activation=hidden, in_units=5), gluon.nn.Dense(3, in_units=7))
    net.initialize(mx.init.Xavier())
    return net


def data(rows=8):
    rng = np.random.default_rng(0)
    return nd.array(rng.normal(size=(rows, 5)), dtype="float32"), nd.array(np.arange(rows) % 3)


def train(compiled, optimizer, settings, steps=4, change=None, net=None):
    net = small() if net is None else net
    trainer = gluon.Trainer(net.collect_params(), optimizer, dict(settings))
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    step = gluon.contrib.CompiledStep(net, loss, trainer)
    losses = []
    for number in range(steps):
        x, y = data(8 if number != 2 else 6)  # a last batch that is smaller
        if change is not None:
            change(number, trainer)
        if compiled:
            values = step(x, y)
        else:
            with autograd.record():
                values = loss(net(x), y)
            values.backward()
            trainer.step(x.shape[0])
        losses.append(values.asnumpy())
    return losses, [p.data().asnumpy() for p in net.collect_params().values()], step, trainer


def compare(left, right, tolerance=2e-6):
    for a, b in zip([*left[0], *left[1]], [*right[0], *right[1]]):
        np.testing.assert_allclose(a, b, rtol=tolerance * 10, atol=tolerance)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser_does_what_it_does_without(optimizer):
    settings = {"learning_rate": 0.05, "wd": 0.01, "clip_gradient": 0.4}
    compare(train(True, optimizer, settings), train(False, optimizer, settings))


def test_momentum_schedules_and_multipliers():
    settings = {"momentum": 0.9, "wd": 0.1, "lr_scheduler": mx.lr_scheduler.FactorScheduler(2, 0.5, base_lr=0.1)}

    def change(number, trainer):
        trainer._params[0].lr_mult = 0.5
        if number == 3:
            trainer.optimizer.momentum = 0.5

    compare(train(True, "sgd", settings, 5, change), train(False, "sgd", settings, 5, change))


def test_states_are_the_trainers(tmp_path):
    losses, weights, step, trainer = train(True, "adam", {"learning_rate": 0.1})
    assert step.reason is None or not usable()
    trainer.save_states(tmp_path / "s")
    _, _, _, other = train(False, "adam", {"learning_rate": 0.1})
    mine, theirs = trainer._updaters[0].states, other._updaters[0].states
    assert mine.keys() == theirs.keys()
    for index, states in mine.items():
        for a, b in zip(states, theirs[index]):
            np.testing.assert_allclose(a.asnumpy(), b.asnumpy(), rtol=1e-4, atol=1e-7)


def test_batch_norm_and_dropout_are_in_train_mode():
    def build():
        mx.random.seed(2)
        net = gluon.nn.HybridSequential()
        net.add(gluon.nn.Dense(6, in_units=5), gluon.nn.BatchNorm(), gluon.nn.Dropout(0.5), gluon.nn.Dense(3))
        net.initialize(mx.init.Xavier())
        net(data()[0])
        mx.random.seed(9)
        return net

    compare(train(True, "sgd", {"learning_rate": 0.1}, net=build()),
            train(False, "sgd", {"learning_rate": 0.1}, net=build()))


@pytest.mark.parametrize("how, reason", [
    ("add", "grad_req='add'"),
    ("unused", "does not use"),
    ("norms", "norm"),
    ("half", "updates in its own way"),
])
def test_what_cannot_be_compiled_runs_the_ordinary_lines(how, reason):
    net = small()
    params = net.collect_params()
    optimizer, settings = "sgd", {"learning_rate": 0.1}
    if how == "add":
        params.setattr("grad_req", "add")
    if how == "unused":
        extra = gluon.Parameter("extra", shape=(1,))
        extra.initialize()
        params = [*params.values(), extra]
    if how == "norms":
        optimizer = "lamb"
    if how == "half":
        settings["multi_precision"] = True
    trainer = gluon.Trainer(params, optimizer, settings)
    step = gluon.contrib.CompiledStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)
    if how == "unused":
        with pytest.raises(UserWarning, match="has not been updated by backward"):
            step(*data())
        assert step.reason is not None and reason in step.reason
        return
    before = net[0].weight.data().asnumpy()
    step(*data())
    assert step.reason is not None and reason in step.reason
    assert reason in step.explain()
    assert not np.array_equal(before, net[0].weight.data().asnumpy())


def test_a_wrong_label_changes_nothing():
    net = small()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.1})
    step = gluon.contrib.CompiledStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)
    x, y = data()
    step(x, y)
    before = [p.data().asnumpy() for p in net.collect_params().values()]
    with pytest.raises(ArgumentError, match="A label is none of the classes"):
        step(x, y + 5)
    for parameter, value in zip(net.collect_params().values(), before):
        np.testing.assert_array_equal(parameter.data().asnumpy(), value)
    assert trainer.optimizer.num_update == 1
    step(x, y)
    assert trainer.optimizer.num_update == 2


def test_mistakes_are_explained():
    net = small()
    trainer = gluon.Trainer(net.collect_params(), "sgd")
    with pytest.raises(ArgumentError, match="write the network as HybridBlock"):
        gluon.contrib.CompiledStep(gluon.nn.Sequential(), gluon.loss.L2Loss(), trainer)
    with pytest.raises(ArgumentError, match="Expected: a Trainer"):
        gluon.contrib.CompiledStep(net, gluon.loss.L2Loss(), net)
    step = gluon.contrib.CompiledStep(net, gluon.loss.L2Loss(), trainer)
    with pytest.raises(ArgumentError, match="data and labels"):
        step(nd.ones((2, 5)))
    with pytest.raises(mx.MXNetError, match="make a step first"):
        step.explain()


def test_a_changed_network_is_compiled_anew():
    net = small()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    step = gluon.contrib.CompiledStep(net, gluon.loss.SoftmaxCrossEntropyLoss(), trainer)
    x, y = data()
    step(x, y)
    net.hybridize()
    net.add(gluon.nn.Activation("relu"))
    with autograd.record():
        expected = gluon.loss.SoftmaxCrossEntropyLoss()(net(x), y).asnumpy()
    np.testing.assert_allclose(step(x, y).asnumpy(), expected, rtol=1e-5)


def test_other_peoples_arrays_networks_and_empty_batches_are_named():
    import torch

    net, other, loss = small(), small(), gluon.loss.SoftmaxCrossEntropyLoss()
    step = gluon.contrib.CompiledStep(net, loss, gluon.Trainer(net.collect_params(), "sgd"))
    x, y = data()
    with pytest.raises(ArgumentError, match=r"torch\.Tensor(.|\n)*nd\.from_torch"):
        step(torch.ones(8, 5), torch.zeros(8))
    with pytest.raises(ArgumentError, match="no sample in the batch"):
        step(x[:0], y[:0])
    if usable():
        step = gluon.contrib.CompiledStep(net, loss, gluon.Trainer(other.collect_params(), "sgd"))
        with pytest.raises(ArgumentError, match="none of the network's parameters"):
            step(x, y)
