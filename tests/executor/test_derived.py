"""Derived values are never stale: whatever changes a parameter, the next prediction is that of the imperative network.

The law: after any sequence of changes, a hybridized network in predict mode gives what its twin without hybridize()
gives. And what does not change is computed once.
"""

from __future__ import annotations

import os
import tempfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.executor import derived
from glueball.gluon import nn


class Scaled(gluon.HybridBlock):
    """A weight that is computed before it is used, as in weight normalisation."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.weight = self.params.get("weight", shape=(3, 4))

    def hybrid_forward(self, F, x, weight):
        return F.FullyConnected(x, weight / F.sqrt(F.sum(F.square(weight)) + 1), no_bias=True, num_hidden=3)


def network(bias=True):
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, padding=1, use_bias=bias, in_channels=3), nn.BatchNorm(in_channels=4),
            nn.Activation("relu"), nn.Conv2D(4, 1, in_channels=4), nn.BatchNorm(in_channels=4),
            nn.GlobalAvgPool2D(), nn.Flatten(), Scaled())  # fmt: skip
    net.initialize(mx.init.Normal(0.5))
    for parameter in net.collect_params(".*running_var|.*gamma").values():
        parameter.set_data(nd.random.uniform(0.5, 2, shape=parameter.shape))
    return net


def data(rows=2):
    return nd.random.normal(shape=(rows, 3, 6, 6))


def switch(net, active):
    """Let the network run compiled or operator by operator, without forgetting its plans as hybridize() would."""
    net.apply(lambda block: block.__dict__.update(_active=active))


def plain(net, x):
    """Return what the network gives operator by operator."""
    switch(net, False)
    try:
        return net(x).asnumpy()
    finally:
        switch(net, True)


def same(net, x):
    np.testing.assert_allclose(net(x).asnumpy(), plain(net, x), rtol=2e-4, atol=2e-5)


def parameters(net):
    return list(net.collect_params().values())


def plan(net):
    """Return the only plan that predicts, with something derived."""
    (found,) = [p for e in net._cached.entries.values() for p in e.plans.values() if p.derived is not None]
    return found


def assign(net, x):
    for parameter in parameters(net):
        parameter.data()[:] = parameter.data() * 1.1


def one_element(net, x):
    parameters(net)[0].data()[0, 0, 0, 0] += 1.0


def through_a_view(net, x):
    view = parameters(net)[0].data()[1]
    view[:] = view + 1


def set_data(net, x):
    parameters(net)[0].set_data(parameters(net)[0].data() + 1)


def out_argument(net, x):
    array = parameters(net)[0].data()
    nd.broadcast_add(array, nd.ones((1,)), out=array)


def train(net, x, optimizer="sgd", **options):
    trainer = gluon.Trainer(net.collect_params(), optimizer, {"learning_rate": 0.05}, **options)
    for _ in range(2):
        with autograd.record():
            loss = (net(x) ** 2).sum()
        loss.backward()
        trainer.step(1)


def train_adam(net, x):
    train(net, x, "adam")


def statistics_only(net, x):
    with autograd.record():
        net(x)


def statistics_imperatively(net, x):
    switch(net, False)
    with autograd.train_mode():
        net(x)
    switch(net, True)


def compiled_step(net, x):
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.05})
    step = gluon.contrib.CompiledStep(net, gluon.loss.L2Loss(), trainer)
    step(x, nd.zeros((x.shape[0], 3)))


def files(net, x):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.params")
        net.save_parameters(path)
        assign(net, x)
        same(net, x)
        net.load_parameters(path)


def initialise(net, x):
    net.initialize(mx.init.Normal(0.3), force_reinit=True)


def there_and_back(net, x):
    net.cast("float64")
    net(x.astype("float64"))
    net.cast("float32")
    parameters(net)[0].data()[:] *= 1.5


def dlpack(net, x):
    shared = np.from_dlpack(parameters(net)[0].data())
    writable = torch.from_dlpack(parameters(net)[0].data()).numpy()
    writable += 1
    assert shared is not None


def later_through_numpy(net, x):
    """The memory is handed out before a prediction and written to after it."""
    array = net.__dict__.setdefault("_taken", parameters(net)[-3].data().to_torch().detach().numpy())
    net(x)
    array += 0.25


def gradient_request(net, x):
    parameters(net)[0].grad_req = "null" if parameters(net)[0].grad_req == "write" else "write"
    one_element(net, x)


def not_a_number(net, x):
    parameters(net)[-3].data().to_torch()


CHANGES = [assign, one_element, through_a_view, set_data, out_argument, train, train_adam, statistics_only,
           statistics_imperatively, compiled_step, files, initialise, there_and_back, dlpack, later_through_numpy,
           gradient_request, not_a_number]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("bias", [True, False])
def test_a_change_is_noticed(change, bias):
    mx.random.seed(3)
    net, x = network(bias), data()
    net.hybridize()
    same(net, x)
    assert plan(net).derived.values
    for _ in range(2):
        change(net, x)
        same(net, x)
        same(net, x)


@given(st.lists(st.tuples(st.sampled_from(range(len(CHANGES))), st.sampled_from([1, 2, 5])), max_size=4))
@settings(max_examples=10)
def test_sequences_of_changes_are_noticed(changes):
    mx.random.seed(len(changes))
    net, x = network(), data()
    net.hybridize()
    same(net, x)
    for index, rows in changes:
        CHANGES[index](net, x)
        same(net, data(rows))
        same(net, x)


def test_what_does_not_change_is_computed_once(monkeypatch):
    net, x = network(), data()
    net.hybridize()
    net(x)
    computed = []
    monkeypatch.setattr(derived, "interpret", lambda *args: computed.append(args))
    net(x)
    with autograd.record():  # another network moves its statistics
        nn.BatchNorm(in_channels=3).initialize() or nd.BatchNorm(x, nd.ones(3), nd.zeros(3), nd.zeros(3), nd.ones(3))
    x.to_torch()
    net(x)
    with autograd.predict_mode():
        net(x)
    assert computed == []


def test_devices_do_not_drive_each_other_out(monkeypatch):
    net = nn.HybridSequential()
    net.add(nn.Conv2D(2, 3, in_channels=3), nn.BatchNorm(in_channels=2))
    devices = [mx.cpu(0), mx.cpu(1)]
    net.initialize(ctx=devices)
    net.hybridize()
    batches = [nd.ones((1, 3, 4, 4), ctx=ctx) for ctx in devices]
    wanted = [net(x).asnumpy() for x in batches]
    computed = []
    monkeypatch.setattr(derived, "interpret", lambda *args: computed.append(args))
    for x, expected in zip(batches, wanted):
        assert net(x).context == x.context and np.array_equal(net(x).asnumpy(), expected)
    assert computed == []


def test_plans_of_a_block_share_values():
    net = network()
    net.hybridize()
    for rows in range(1, 9):
        same(net, data(rows))
    plans = [p for e in net._cached.entries.values() for p in e.plans.values()]
    assert len(plans) == 8
    assert sum("_arranged_weight" in [n.op.name for n in p.derived.operators] for p in plans) == derived.MOST_ARRANGED
    biases = [next(v for v in p.derived(list(_tensors(net, p))) if v.dim() == 1) for p in plans]
    assert all(b is biases[0] for b in biases)
    before = len(net._cached.store.values)
    assign(net, None)
    same(net, data(1))
    assert len(net._cached.store.values) < before


def _tensors(net, plan):
    """Return what a plan is called with; the data do not matter."""
    yield torch.zeros(1)
    for _, parameter in next(iter(net._cached.entries.values())).graph.parameters:
        yield parameter.data()._t


def test_results_do_not_share_memory_with_what_is_kept():
    class Whole(gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            with self.name_scope():
                self.weight = self.params.get("weight", shape=(3,))

        def hybrid_forward(self, F, x, weight):
            doubled = weight * 2
            return x + doubled, doubled, F.reshape(doubled, (3, 1))

    net, x = Whole(), nd.zeros((3,))
    net.initialize(mx.init.One())
    net.hybridize()
    for _ in range(3):
        for out in net(x):
            assert out.asnumpy().ravel().tolist() == [2, 2, 2]
            out += 5


def test_recording_in_predict_mode_differentiates():
    mx.random.seed(1)
    net, x = network(), data()

    def gradients():
        x.attach_grad()
        with autograd.record(train_mode=False):
            loss = (net(x) ** 2).sum()
        loss.backward()
        return [x.grad.asnumpy(), *[p.grad().asnumpy() for p in parameters(net) if p.grad_req != "null"]]

    wanted = gradients()
    net.hybridize()
    net(x)
    for found, expected in zip(gradients(), wanted):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    same(net, x)


def test_large_values_are_not_kept():
    class Wide(gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            with self.name_scope():
                self.weight = self.params.get("weight", shape=(1, 2))

        def hybrid_forward(self, F, x, weight):
            return F.broadcast_to(F.exp(weight), (70000, 2)) + x

    net = Wide()
    net.initialize()
    net.hybridize()
    net(nd.zeros((70000, 2)))
    (value,) = plan(net).derived.values
    assert value.node.op.name == "exp"


def test_switched_off(monkeypatch):
    monkeypatch.setenv("GLUEBALL_PASSES", "0")
    net, x = network(), data()
    net.hybridize()
    same(net, x)
    assert all(p.derived is None for e in net._cached.entries.values() for p in e.plans.values())
