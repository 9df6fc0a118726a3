"""Law: a plan that was derived for a further size computes what the imperative program does, as one that was compiled
for that size, in values, gradients and updates; and what is odd is compiled as always.
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.base import config
from glueball.base.errors import ArgumentError
from glueball.executor import family, plan
from glueball.executor.jit.encode import encode
from glueball.executor.jit.partition import usable
from glueball.executor.native.compile import compiler
from glueball.executor.native.panels import FewRows, heights
from glueball.gluon import nn

from .jit.test_regions import STEPS as PIECES
from .jit.test_regions import Pieces
from .programs import STEPS, Program

SIZES = st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 8, 33]), min_size=4, max_size=7)
regions = pytest.mark.skipif(not usable() or not config.get("GLUEBALL_JIT"), reason="no regions here")


def derived(net):
    """Return the sizes of a network's first argument for which plans were derived."""
    return [key[3][0][0] for key, entry in net._cached.entries.items() if entry.family is not None and entry.plans]


def check_words(net):
    """See that the words of derived regions are those that their units are written down as."""
    for entry in net._cached.entries.values():
        for found in entry.plans.values() if entry.family is not None else ():
            for region in [region for source in found.sources.values() for region in source.regions]:
                again = encode(region.units, region.layout, len(region.inputs), region.dtype)
                assert region._words.relocations == again.relocations
                assert (region.scratch, region._words.starts) == (again.scratch, again.starts)
                again.complete()
                region._words.complete()
                assert region._words.words == again.words


def run(net, *arrays):
    """Return outputs and gradients of one recorded pass from a fixed seed."""
    mx.random.seed(7)
    for array in arrays[:2]:
        array.attach_grad()
    with autograd.record():
        outputs = net(*arrays)
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        total = sum((o * (i + 1)).sum() for i, o in enumerate(outputs))
    total.backward()
    params = [p for p in net.collect_params().values() if p.grad_req != "null"]
    found = [o.asnumpy() for o in outputs] + [a.grad.asnumpy() for a in arrays[:2]]
    found += [p.grad().asnumpy() for p in params]
    net.collect_params().zero_grad()
    return found


def alike(left, right, tolerance=1e-9):
    assert len(left) == len(right)
    for a, b in zip(left, right):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@given(STEPS, SIZES, st.sampled_from([0, 8, 99]))
@settings(max_examples=60)
def test_programs_of_any_size(steps, sizes, small):
    rng = np.random.default_rng(0)
    net, plain = Program(steps), Program(steps)
    for one in (net, plain):
        one.initialize(mx.init.Xavier())
        one.cast("float64")
        one(nd.ones((2, 3), dtype="float64"), nd.ones((2, 3), dtype="float64"))
    for a, b in zip(net.collect_params().values(), plain.collect_params().values()):
        a.set_data(b.data())
    net.hybridize()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "SMALL", small)
        for rows in [4, 6, *sizes]:
            x, y = (nd.array(rng.normal(size=(rows, 3)), dtype="float64") for _ in range(2))
            try:
                expected = run(plain, x, y)
            except mx.base.MXNetError as error:  # no rows: some operators refuse
                with pytest.raises(type(error)):
                    run(net, x, y)
                continue
            alike(run(net, x, y), expected)
    check_words(net)


@regions
@given(PIECES, SIZES, st.booleans())
@settings(max_examples=40)
def test_regions_of_any_size(steps, sizes, classes):
    rng = np.random.default_rng(5)
    loss = gluon.loss.SoftmaxCrossEntropyLoss() if classes else lambda x, label: (x * x).mean(axis=1)
    net, plain = Pieces(steps, loss), Pieces(steps, loss)
    for shape, names in (((6, 6), "w"), ((6,), "b")):
        data = nd.array(rng.normal(size=shape), dtype="float64")
        for one in (net, plain):
            parameter = getattr(one, names)
            parameter.initialize()
            parameter.cast("float64")
            parameter.set_data(data)
    net.hybridize()
    for rows in [4, 6, *[size or 7 for size in sizes]]:
        x, y = (nd.array(rng.normal(size=(rows, 6)), dtype="float64") for _ in range(2))
        label = nd.array(rng.integers(0, 6, size=(rows,)), dtype="float64")
        alike(run(net, x, y, label), run(plain, x, y, label))
    check_words(net)


class Unrolled(gluon.HybridBlock):
    """An LSTM over five steps."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.cell = gluon.rnn.LSTMCell(6, input_size=4)

    def hybrid_forward(self, F, x):
        return self.cell.unroll(5, x, layout="NTC", merge_outputs=True)[0]


class Attention(gluon.HybridBlock):
    """Products of many matrices, transposes."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.project = nn.Dense(24, flatten=False, in_units=8)

    def hybrid_forward(self, F, x):
        def by_head(part):
            return F.reshape(F.transpose(F.reshape(part, (0, 0, -4, 2, -1)), (0, 2, 1, 3)), (-3, 0, 0))

        q, k, v = (by_head(part) for part in F.split(self.project(x), num_outputs=3, axis=2))
        attended = F.batch_dot(F.softmax(F.batch_dot(q * 0.5, k, transpose_b=True)), v)
        return F.reshape(F.transpose(F.reshape(attended, (-4, -1, 2, 0, 0)), (0, 2, 1, 3)), (0, 0, -3))


def made(name):
    net = {"lstm": Unrolled, "attention": Attention, "mlp": nn.HybridSequential, "images": nn.HybridSequential}[name]()
    if name == "mlp":
        net.add(nn.Dense(16, activation="relu"), nn.LayerNorm(), nn.Dropout(0.0), nn.Dense(3))
    if name == "images":
        net.add(nn.Conv2D(4, 3, activation="relu"), nn.BatchNorm(), nn.MaxPool2D(2), nn.Flatten(), nn.Dense(3))
    net.initialize(mx.init.Xavier())
    return net


SHAPES = {"lstm": (5, 4), "attention": (5, 8), "mlp": (7,), "images": (2, 8, 8)}


def words(region):
    """What a region's driver is told, but for addresses."""
    found = list(region._words.words)
    for place in region._words.relocations[::3]:
        found[place] = 0
    return found


@regions
@pytest.mark.parametrize("name", ["mlp", "lstm", "images", "attention"])
def test_a_derived_plan_is_the_compiled_one(name):
    net, other = made(name), made(name)
    net(nd.ones((2, *SHAPES[name])))
    net.hybridize()
    other.hybridize()
    rng = np.random.default_rng(1)
    for rows in (4, 6, 9, 32, 7, 2):  # other products are done by own code for 2 than for 9
        x = nd.array(rng.normal(size=(rows, *SHAPES[name])))
        for one in (net, other):
            with autograd.record():
                out = one(x)
            out.backward()
        other._cached.families.clear()  # compiled as if nothing had been there before
    assert derived(net) == [9, 32, 7, 2]
    assert derived(other) == []
    for mine, its in list(zip(net._cached.entries.values(), other._cached.entries.values()))[2:]:
        (one,), (two,) = mine.plans.values(), its.plans.values()
        for left, right in zip(one.sources.values(), two.sources.values()):
            assert left.text == right.text
            for a, b in zip(left.regions, right.regions, strict=True):
                assert [a.line(unit) for unit in a.units] == [b.line(unit) for unit in b.units]
                assert a._words.relocations == b._words.relocations
                assert words(a) == words(b)
                assert a.shapes == b.shapes
    assert net.explain().count("(9, ") >= 1


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_steps_of_many_sizes(name):
    nets, losses = [made(name), made(name)], gluon.loss.L2Loss()
    rng = np.random.default_rng(2)
    for net in nets:
        net(nd.ones((2, *SHAPES[name])))
    for a, b in zip(*(net.collect_params().values() for net in nets)):
        b.set_data(a.data())
    trainers = [gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01}) for net in nets]
    step = gluon.contrib.CompiledStep(nets[0], losses, trainers[0])
    for rows in (4, 6, 3, 33, 1, 2, 9, 4, 33):
        x = nd.array(rng.normal(size=(rows, *SHAPES[name])))
        y = nd.array(rng.normal(size=nets[1](x).shape))
        found = step(x, y)
        with autograd.record():
            expected = losses(nets[1](x), y)
        expected.backward()
        trainers[1].step(rows)
        np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), rtol=2e-3, atol=1e-4)
    for a, b in zip(*(net.collect_params().values() for net in nets)):
        np.testing.assert_allclose(a.data().asnumpy(), b.data().asnumpy(), rtol=2e-3, atol=2e-3)


def network(forward):
    class Net(gluon.HybridBlock):
        def hybrid_forward(self, F, *args):
            return forward(F, *args)

    net = Net()
    net.hybridize()
    return net


ODD = {
    "cut off": (lambda F, x: F.slice(x, begin=(0, 0), end=(5, 3)), [8, 9, 3, 5, 7]),
    "every second": (lambda F, x: F.slice(x, begin=(None, None), end=(None, None), step=(2, 1)), [4, 5, 8, 11, 2]),
    "a branch": (lambda F, x: x * 2 if x.shape[0] > 6 else x * 3, [8, 9, 3, 5, 7]),
    "squares": (lambda F, x: F.reshape(F.dot(x, x, transpose_b=True), (-1,)), [4, 5, 8, 2, 3]),
    "the last": (lambda F, x: x[-1], [4, 5, 8, 2, 3]),
    "halves": (lambda F, x: F.split(x, 2, axis=0)[1] + 1, [4, 6, 8, 2, 10]),
    "sizes in values": (lambda F, x: x * x.shape[0], [4, 5, 8, 2, 3]),
    "mean": (lambda F, x: F.broadcast_sub(x, F.mean(x, axis=0, keepdims=True)), [4, 5, 8, 2, 33]),
    "counted": (lambda F, x: F.broadcast_add(x, F.reshape(F.sum(F.ones_like(x)), (1, 1))), [4, 5, 8, 2, 33]),
    "repeated": (lambda F, x: F.tile(F.repeat(x, 3, axis=0), (2, 1)), [4, 5, 8, 2, 33]),
}


@pytest.mark.parametrize("name", sorted(ODD))
def test_what_depends_on_sizes_in_other_ways(name):
    forward, sizes = ODD[name]
    net = network(forward)
    plain = network(forward)
    plain.hybridize(False)
    for rows in sizes:
        x = nd.array(np.random.default_rng(rows).normal(size=(rows, 3)))
        results = []
        for one in (net, plain):
            x.attach_grad()
            with autograd.record():
                out = one(x)
                (out * out).sum().backward()
            results.append([out.asnumpy(), x.grad.asnumpy()])
        alike(*results, 1e-5)


@regions
def test_what_a_third_size_needs_is_there_before():
    net = made("lstm")
    net.hybridize()
    for rows in (20, 21):
        with autograd.record():
            net(nd.ones((rows, *SHAPES["lstm"])))
    family._ahead.rest()
    (known,) = net._cached.families.values()
    assert len(known.forms) == 2
    assert None not in known.forms.values()
    compiler().rest()
    assert all(compiler().later(FewRows(height), torch.float32).address for height in heights(compiler().vector_bytes))


def test_nothing_is_compared_for_bases_that_were_given_up(monkeypatch):
    jobs, asked = [], []
    monkeypatch.setattr(family._ahead, "add", jobs.append)
    known = family.Family()
    for size in (4, 6, 9):
        known.forms["graph"] = None  # nothing in common so far
        known.offer((size, 3), f"compiled for {size}")
        known.ahead("mask", lambda *given: asked.append(given))
    first, second = jobs
    first()
    assert not asked
    second()
    assert [given[:2] for given in asked] == [("compiled for 6", "compiled for 9")]


def test_a_process_is_copied_when_nothing_is_being_compared():
    done = []
    family._ahead.add(lambda: (time.sleep(0.05), done.append(1)))
    child = os.fork()
    if child == 0:
        os._exit(0 if done else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_sizes_that_do_not_fit_are_refused_as_ever():
    net = network(lambda F, x: F.split(F.exp(x), 2, axis=0)[1] + 1)
    for rows in (4, 6, 8):
        net(nd.ones((rows, 3)))
    with pytest.raises(mx.base.MXNetError):
        net(nd.ones((7, 3)))


@regions
def test_errors_of_a_derived_region():
    net = made("mlp")
    net.hybridize()
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    loss.hybridize()
    for rows in (4, 6, 9):
        with autograd.record():
            loss(net(nd.ones((rows, 7))), nd.zeros((rows,)))
    assert derived(loss) == [9]
    with autograd.record(), pytest.raises(ArgumentError, match="none of the classes"):
        loss(net(nd.ones((9, 7))), nd.array([0, 1, 2, 5, 0, 0, 0, 0, 0]))


def test_gradients_of_gradients_of_a_derived_plan():
    net = network(lambda F, x, h: F.tanh(F.elemwise_add(x, F.zeros((0, 3))) + 2 * h) * x)
    for rows in (4, 6, 9):
        x, h = nd.array(np.random.default_rng(rows).normal(size=(rows, 3))), nd.ones((rows, 3))
        x.attach_grad()
        with autograd.record():
            (first,) = autograd.grad(net(x, h).sum(), [x], create_graph=True)
            (first * first).sum().backward()
        t = np.tanh(x.asnumpy() + 2)
        g = t + x.asnumpy() * (1 - t * t)
        dg = 2 * (1 - t * t) - 2 * x.asnumpy() * t * (1 - t * t)
        np.testing.assert_allclose(x.grad.asnumpy(), 2 * g * dg, rtol=1e-4, atol=1e-5)
    assert derived(net) == [9]


def test_much_larger_arrays_are_compiled_anew():
    net = made("mlp")
    net(nd.ones((2, 7)))
    net.hybridize()
    for rows in (4, 6, 12, 400, 500, 450):
        net(nd.ones((rows, 7)))
    assert derived(net) == [12, 450]


def test_plans_are_bounded(monkeypatch):
    monkeypatch.setattr(family, "MOST", 4)
    net = made("mlp")
    net.hybridize()
    for rows in (1, 4, 6, 1, 9, 12, 1, 13):
        net(nd.ones((rows, 7)))
    assert [key[3][0][0] for key in net._cached.entries] == [1, 9, 12, 13]  # those that were used last
    step = gluon.contrib.CompiledStep(net, gluon.loss.L2Loss(), gluon.Trainer(net.collect_params(), "sgd"))
    for rows in (4, 6, 9, 12, 13, 14):
        step(nd.ones((rows, 7)), nd.ones((rows, 3)))
    assert len(step._entries) == 4
