"""Recorded calls of compiled blocks that stand on no tape of torch's (ndarray/chain.py).

The law: whatever is between compiled calls and backward(), values and gradients are those of the same program
uncompiled. The examples: what takes calls out of their chain, and what must not.
"""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.base.errors import AutogradError
from glueball.ndarray.chain import SPENT, Result, State
from glueball.ndarray.leaf import Leaf

WIDTH = 4


class Cell(gluon.HybridBlock):
    """tanh(x·w) and a second result of it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.dense = gluon.nn.Dense(WIDTH, in_units=WIDTH)

    def hybrid_forward(self, F, x):
        y = F.tanh(self.dense(x))
        return y, y * 2


def networks(hybridize):
    """Two cells and a loss with fixed weights."""
    cells, loss = [Cell(prefix="a_"), Cell(prefix="b_")], gluon.loss.L2Loss()
    for number, cell in enumerate(cells):
        cell.initialize()
        numbers = np.random.RandomState(number)
        for parameter in cell.collect_params().values():
            parameter.set_data(nd.array(numbers.uniform(-1, 1, parameter.shape)))
    for block in (*cells, loss):
        block.hybridize(hybridize)
    return cells, loss


STEPS = st.lists(st.sampled_from(["a", "b", "second", "plain", "skip", "read", "peek", "detach", "leaf", "mix"]),
                 min_size=1, max_size=6)  # fmt: skip
ENDS = st.sampled_from(["backward", "twice", "two losses", "both losses", "head gradients", "grad", "higher", "again"])


def step(name, cells, value, before):
    """Return the next value of a program."""
    if name in ("a", "b"):
        return cells[name == "b"](value)[0]
    if name == "second":
        return cells[0](value)[1]
    if name == "plain":
        return value * 3
    if name == "skip":
        return value + before
    if name == "peek":
        assert np.isfinite(value.asnumpy()).all() and value.shape == (2, WIDTH)
    if name == "read":
        assert float(value.sum().asscalar()) == pytest.approx(float(value.asnumpy().sum()), abs=1e-4)
    if name == "detach":
        return value.detach() * 2 + before
    if name == "leaf":
        value.attach_grad()
    if name == "mix":
        return cells[0](value)[0] + cells[1](before)[1]
    return value


def run(steps, end, compiled_loss, request, hybridize):
    """Return every number that a user sees of a program."""
    cells, loss = networks(hybridize)
    parameters = [p for cell in cells for p in cell.collect_params().values()]
    for parameter in parameters:
        parameter.grad_req = request
    loss.hybridize(hybridize and compiled_loss)
    x, y = nd.array(np.linspace(-1, 1, 2 * WIDTH).reshape(2, WIDTH)), nd.ones((2, WIDTH))
    x.attach_grad()
    seen = []
    for _ in range(2):  # the second time signatures are known
        with autograd.record():
            before = value = cells[0](x)[0]
            for name in steps:
                before, value = value, step(name, cells, value, before)
            values = loss(value, y)
            others = loss(cells[1](x)[0], y) if end in ("two losses", "both losses") else None
            found = []
            if end in ("grad", "higher"):
                found = autograd.grad(values, [x, parameters[0].data()] if connected(steps) else [values],
                                      create_graph=end == "higher")  # fmt: skip
                if end == "higher" and connected(steps):
                    (found[0] ** 2).sum().backward()
        if end == "backward":
            values.backward()
        elif end == "twice":
            values.backward(retain_graph=True)
            values.backward()
        elif end == "two losses":
            autograd.backward([values, others])
        elif end == "both losses":
            others.backward(retain_graph=True)
            values.backward(retain_graph=True)
        elif end == "head gradients":
            values.backward(nd.array([0.5, -2.0]))
        elif end == "again":
            values.backward()
            with pytest.raises(AutogradError, match="used up"):
                values.backward()
        gradients = [x.grad, *(p.grad() for p in parameters)] if request != "null" else [x.grad]
        seen += [array.asnumpy() for array in (values, value, *found, *gradients)]
    return seen


def connected(steps):
    """Whether the end of a program depends on its beginning on the tape."""
    return "leaf" not in steps


@settings(max_examples=60, deadline=None)
@given(STEPS, ENDS, st.booleans(), st.sampled_from(["write", "add", "null"]))
def test_compiled_programs_equal_plain_ones(steps, end, compiled_loss, request):
    if request == "null" and end in ("grad", "higher"):
        end = "backward"
    plain = run(steps, end, compiled_loss, request, False)
    compiled = run(steps, end, compiled_loss, request, True)
    assert len(plain) == len(compiled)
    for a, b in zip(plain, compiled):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


@pytest.fixture
def trained():
    """A compiled network and loss that have run once, and data."""
    net, loss = gluon.nn.HybridSequential(), gluon.loss.SoftmaxCrossEntropyLoss()
    net.add(gluon.nn.Dense(8, activation="tanh"), gluon.nn.Dense(3))
    net.initialize()
    net.hybridize()
    loss.hybridize()
    x, y = nd.random.normal(shape=(5, 4)), nd.array([0, 1, 2, 0, 1])
    with autograd.record():
        values = loss(net(x), y)
    values.backward()
    return net, loss, x, y


def chained(array):
    """Whether an array is in a chain."""
    return type(array._ag) is Result and array._ag.call.state is State.CHAINED


def gradients(net):
    return {name: p.grad().asnumpy() for name, p in net.collect_params().items()}


def test_the_four_lines_need_no_tape_of_torchs(trained, monkeypatch):
    net, loss, x, y = trained
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    weight = next(iter(net.collect_params().values()))
    shown, before = weight.grad(), weight.data().asnumpy()
    monkeypatch.setattr("glueball.base.aten.run_backward", None)  # whoever calls it fails
    with autograd.record():
        out = net(x)
        values = loss(out, y)
    assert chained(out) and chained(values)
    assert values.shape == (5,) and values.dtype is np.float32 and values.size == 5 and values.ndim == 1
    assert np.isfinite(values.asnumpy()).all() and values.tolist() and values.detach().asnumpy().all()
    values.wait_to_read()
    assert chained(out) and chained(values)  # looking does not put them on a tape
    values.backward()
    trainer.step(5)
    assert weight.grad() is shown and (weight.data().asnumpy() != before).any()


def test_what_a_program_sees_of_such_an_array_is_an_ndarray(trained):
    net, _, x, _ = trained
    with autograd.record():
        out = net(x)
    assert type(out) is nd.NDArray
    with pytest.raises(AttributeError, match="'NDArray' object has no attribute 'colour'"):
        out.colour
    assert not hasattr(out, "colour") and chained(out)


def test_hooks_of_torch_are_called(trained):
    net, loss, x, y = trained
    data = next(iter(net.collect_params().values())).data()
    told = []
    handle = data.to_torch().register_hook(lambda g: told.append(g.clone()) or g * 2)
    with autograd.record():
        loss(net(x), y).backward()
    twice = data.grad.asnumpy()
    handle.remove()
    with autograd.record():
        loss(net(x), y).backward()
    assert len(told) == 1
    np.testing.assert_allclose(twice, 2 * data.grad.asnumpy(), rtol=1e-6)
    handle = data.to_torch().register_post_accumulate_grad_hook(told.append)
    with autograd.record():
        loss(net(x), y).backward()
    handle.remove()
    assert len(told) == 2


def test_torch_differentiates_what_it_is_handed(trained):
    net, loss, x, y = trained
    with autograd.record():
        loss(net(x), y).backward()
        wanted = gradients(net)
        values = loss(net(x), y)
    for parameter in net.collect_params().values():
        parameter.zero_grad()
    values.to_torch().sum().backward()
    for name, found in gradients(net).items():
        np.testing.assert_allclose(found, wanted[name], rtol=1e-5)


def test_anomaly_mode_is_torchs_business(trained):
    net, loss, x, y = trained
    with autograd.record():
        values = loss(net(x), y)
    with pytest.warns(UserWarning, match="Anomaly Detection"), torch.autograd.detect_anomaly():
        values.backward()
    assert values._ag == SPENT  # torch's tape, not the chain, was used up


def test_a_used_up_tape_says_so(trained):
    net, loss, x, y = trained
    with autograd.record():
        out = net(x)
        values, others = loss(out, y), loss(out, y)
        values.backward()
        again = values * 2  # reading is no error, going back is
        with pytest.raises(AutogradError, match="used up"):
            values.backward()
        with pytest.raises(AutogradError, match="used up"):
            again.backward()
        with pytest.raises(AutogradError, match="used up"):
            others.backward()
        with pytest.raises(AutogradError, match="used up"):
            autograd.grad(out.sum() + others.sum(), net[0].weight.data())
        with pytest.raises(AutogradError, match="used up"):
            autograd.grad(again, out)
        assert autograd.grad(out * 2, out)[0].asnumpy().tolist() == [[2.0] * 3] * 5


def test_changed_weights_are_noticed(trained):
    net, loss, x, y = trained
    with autograd.record():
        values = loss(net(x), y)
    net[1].weight.set_data(nd.ones((3, 8)))
    with pytest.raises(AutogradError, match="changed in place"):
        values.backward()


def test_an_error_inside_leaves_no_gradient_half_done(trained):
    net, loss, x, y = trained
    before = gradients(net)
    with pytest.raises(mx.MXNetError, match="class"), autograd.record():
        loss(net(x), nd.array([0, 1, 2, 0, 9]))
    with autograd.record():
        values = loss(net(x), y)
    with pytest.raises(mx.MXNetError, match="shape"):
        values.backward(nd.ones((2,)))
    for name, found in gradients(net).items():
        np.testing.assert_array_equal(found, before[name])
    values.backward()
    for name, found in gradients(net).items():
        np.testing.assert_allclose(found, before[name], rtol=1e-6)


def test_a_head_gradient_of_another_type_is_converted(trained):
    net, loss, x, y = trained
    wanted = gradients(net)
    with autograd.record():
        values = loss(net(x), y)
    values.backward(nd.ones((5,), dtype="float64"))
    for name, found in gradients(net).items():
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted[name], rtol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_that_are_recorded_count_no_path_twice(compiled):
    double = gluon.nn.Dense(1, use_bias=False, in_units=1)
    double.initialize(mx.init.Constant(3.0))
    double.hybridize(compiled)
    weight = double.weight.data()
    with autograd.record():
        y = double(double(nd.ones((1, 1))))  # w²
        (first,) = autograd.grad(y, weight, create_graph=True)
        (second,) = autograd.grad(first, weight)
    assert (first.item(), second.item()) == (6.0, 2.0)


class Passing(gluon.HybridBlock):
    """x + w + v: gradients that are one another."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.v, self.w = (self.params.get(name, shape=(2, 3), init="ones") for name in "vw")

    def hybrid_forward(self, F, x, v, w):
        return F.tanh(x) + v + w


def test_gradient_arrays_never_share_memory():
    net = Passing()
    net.initialize()
    net.hybridize()
    heads = nd.full((2, 3), 5.0)
    for _ in range(2):
        with autograd.record():
            values = net(nd.zeros((2, 3)))
        values.backward(heads)
    first, second = (net.collect_params()[net.prefix + name].grad() for name in "vw")
    first[:] = 7
    assert heads.asnumpy().tolist() == second.asnumpy().tolist() == [[5.0] * 3] * 2


def test_dropout_masks_of_forward_and_backward_agree():
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(64, use_bias=False, in_units=1), gluon.nn.Dropout(0.5))
    net.initialize(mx.init.One())
    net.hybridize()
    x = nd.ones((3, 1))
    for read in (False, True):
        with autograd.record():
            values = net(x)
            if read:
                values * 1
        values.backward()
        kept = values.asnumpy()
        assert 0 < (kept == 0).sum() < kept.size
        np.testing.assert_allclose(net[0].weight.grad().asnumpy()[:, 0], kept.sum(0), rtol=1e-6)


def test_statistics_move_once_per_recorded_call():
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(4), gluon.nn.BatchNorm(momentum=0.5))
    net.initialize()
    net.hybridize()
    x = nd.random.normal(shape=(8, 3))
    with autograd.record():
        net(x)
    moving = net[1].running_mean
    moving.set_data(nd.zeros(4))
    with autograd.record():
        values = net(x)
    once = moving.data().asnumpy()
    values.sum()  # puts it on the tape
    values.backward()
    assert (once != 0).any()
    np.testing.assert_array_equal(moving.data().asnumpy(), once)


def test_threads_record_and_go_back_on_their_own(trained):
    net, loss, x, y = trained
    wanted, failed = gradients(net), []

    def work():
        try:
            for _ in range(5):
                with autograd.record():
                    values = loss(net(x), y)
                values.backward()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    for name, found in gradients(net).items():
        np.testing.assert_allclose(found, wanted[name], rtol=1e-5)


def test_a_long_chain_goes_back_and_leaves():
    cell = gluon.nn.Dense(2, in_units=2, activation="tanh")
    cell.initialize()
    cell.hybridize()
    found = []
    for read in (False, True):
        h = nd.ones((1, 2))
        with autograd.record():
            for _ in range(1500):
                h = cell(h)
            if read:
                h = h * 1
        h.backward()
        found.append(cell.weight.grad().asnumpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-7)


def test_memory_is_freed_without_the_collector(trained):
    net, loss, x, y = trained
    gc.disable()
    try:
        for read in (False, True):
            with autograd.record():
                out = net(x)
                values = loss(out, y)
                if read:
                    values.sum()
            held = [weakref.ref(array) for array in (out, values, out._t if read else out._ag.tensor)]
            values.backward()
            del out, values
            assert [reference() for reference in held] == [None] * 3
    finally:
        gc.enable()


def test_parameters_that_moved_on_get_no_old_gradient(trained):
    net, loss, x, y = trained
    weight = net[1].weight
    with autograd.record():
        values = loss(net(x), y)
    old = weight.data()._ag
    assert isinstance(old, Leaf)
    old.fresh = False
    weight.data().attach_grad()
    values.backward()
    assert not old.fresh and not weight.grad().asnumpy().any()


def test_folding_takes_such_arrays_in(trained):
    net, loss, x, y = trained
    with autograd.record():
        loss(net(x), y).backward()
        wanted = gradients(net)
        out = net(x)
        with mx.fold.batching():
            values = loss(out, y)
        values.backward()
    for name, found in gradients(net).items():
        np.testing.assert_allclose(found, wanted[name], rtol=1e-5)
