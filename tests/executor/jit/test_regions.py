"""Law: a plan with regions computes what the same plan computes with ATen, in values and gradients.

Networks that use every rule of a region (products, softmax, norms, losses, parts and wholes) are run with regions and
without, over shapes with axes of 1, both precisions, one and two threads.
"""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.base import config
from glueball.base.errors import ArgumentError
from glueball.executor import plan
from glueball.executor.jit.partition import usable

from ...threads import threads

pytestmark = pytest.mark.skipif(not usable() or not config.get("GLUEBALL_JIT"), reason="no regions here")

PIECES = {
    "dense": lambda F, x, y, w, b: F.FullyConnected(x, w, b, num_hidden=6),
    "plain dense": lambda F, x, y, w, b: F.FullyConnected(x, w, no_bias=True, num_hidden=6),
    "relu": lambda F, x, y, w, b: F.relu(x) + y,
    "gelu": lambda F, x, y, w, b: F.LeakyReLU(x, act_type="gelu"),
    "row": lambda F, x, y, w, b: F.broadcast_mul(x, F.reshape(b, (1, 6))),
    "column": lambda F, x, y, w, b: F.broadcast_sub(x, F.mean(x, axis=-1, keepdims=True)),
    "softmax": lambda F, x, y, w, b: F.softmax(x),
    "log softmax": lambda F, x, y, w, b: F.log_softmax(x) * 0.1,
    "norm": lambda F, x, y, w, b: F.LayerNorm(x, b, F.relu(b)),
    "gates": lambda F, x, y, w, b: F.concat(*[F.sigmoid(p) for p in F.split(F.FullyConnected(
        x, w, b, num_hidden=6), 3, axis=1)], dim=1),
    "halves": lambda F, x, y, w, b: F.concat(F.tanh(F.slice_axis(x, axis=1, begin=2, end=6)),
                                             F.slice_axis(y, axis=1, begin=0, end=2), dim=1),
    "stack": lambda F, x, y, w, b: F.sum(F.stack(x * 2, F.exp(-F.abs(y)), axis=1), axis=1),
    "rows": lambda F, x, y, w, b: F.slice_axis(F.concat(F.relu(x), y + 1, dim=0), axis=0, begin=0, end=None),
    "gram": lambda F, x, y, w, b: F.dot(F.dot(x, y, transpose_b=True), y),
    "batch": lambda F, x, y, w, b: F.reshape(F.batch_dot(F.softmax(F.batch_dot(
        F.reshape(x, (-1, 2, 3)), F.reshape(y, (-1, 2, 3)), transpose_b=True)), F.reshape(x, (-1, 2, 3))), (-1, 6)),
    "twice": lambda F, x, y, w, b: F.broadcast_add(x * y, F.sum(x * y, axis=1, keepdims=True)),
}
STEPS = st.lists(st.tuples(st.sampled_from(sorted(PIECES)), st.integers(0, 9), st.integers(0, 9)), min_size=2,
                 max_size=8)


class Pieces(gluon.HybridBlock):
    """A network of pieces; ends in a loss per sample."""

    def __init__(self, steps, loss):
        super().__init__()
        self.steps, self.loss = steps, loss
        with self.name_scope():
            self.w = self.params.get("w", shape=(6, 6))
            self.b = self.params.get("b", shape=(6,))

    def hybrid_forward(self, F, x, y, label, w, b):
        values = [x, y]
        rows = x
        for name, left, right in self.steps:
            one, two = (values[k % len(values)] for k in (left, right))
            value = PIECES[name](F, one, two, w, b)
            values.append(F.slice_like(value, rows, axes=(0,)))
        return self.loss(values[-1], label), values[len(values) // 2] * 1.5


def run(steps, rows, dtype, loss, jit, monkeypatch):
    monkeypatch.setenv("GLUEBALL_JIT", str(int(jit)))
    rng = np.random.default_rng(5)
    net = Pieces(steps, loss)
    net.initialize(mx.init.Constant(0.0))
    net.cast(dtype)
    for parameter, shape in ((net.w, (6, 6)), (net.b, (6,))):
        parameter.set_data(nd.array(rng.normal(size=shape), dtype=dtype))
    x, y = (nd.array(rng.normal(size=(rows, 6)), dtype=dtype) for _ in range(2))
    label = nd.array(rng.integers(0, 6, size=(rows,)), dtype=dtype)
    net.hybridize()
    for array in (x, y):
        array.attach_grad()
    for _ in range(2):
        with autograd.record():
            outputs = net(x, y, label)
            total = outputs[0].sum() + outputs[1].sum()
        total.backward()
    used = [p for p in (net.w, net.b) if any(name.endswith(p.name) for name in [])] or [net.w, net.b]
    grads = [p.grad().asnumpy() for p in used if p.data()._fresh_grad]
    return [o.asnumpy() for o in outputs] + [x.grad.asnumpy(), y.grad.asnumpy(), *grads]


@given(STEPS, st.sampled_from([1, 2, 5]), st.sampled_from(["float64", "float32"]), st.booleans())
@settings(max_examples=60)
def test_regions_equal_aten(steps, rows, dtype, classes):
    loss = gluon.loss.SoftmaxCrossEntropyLoss() if classes else lambda x, label: (x * x).mean(axis=1)
    with pytest.MonkeyPatch.context() as patch:
        with_regions, without = (run(steps, rows, dtype, loss, jit, patch) for jit in (True, False))
    assert len(with_regions) == len(without)
    tolerance = 1e-9 if dtype == "float64" else 2e-4
    for a, b in zip(with_regions, without):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def mlp(units=(64, 32)):
    net = gluon.nn.HybridSequential()
    for size in units:
        net.add(gluon.nn.Dense(size, activation="relu"))
    net.add(gluon.nn.Dense(10))
    net.initialize(mx.init.Xavier())
    return net


def test_an_mlp_is_one_region_each_way():
    net = mlp()
    net.hybridize()
    x = nd.ones((16, 20))
    with autograd.record():
        out = net(x)
    out.backward()
    (entry,) = net._cached.entries.values()
    (plan,) = entry.plans.values()
    assert [len(source.regions) for source in plan.sources.values()] == [1, 1]
    assert "product (16 × 20) · (20 × 64)" in net.explain()
    assert "sums down the rows" in net.explain()


def test_many_rows_are_shared_out_to_threads_with_the_same_sums():
    class Net(gluon.HybridBlock):
        def hybrid_forward(self, F, x, b):
            return F.sum(F.tanh(F.broadcast_add(x, b)), axis=1)

    x, b = nd.random.normal(shape=(5000, 300)), nd.random.normal(shape=(1, 300))
    found = []
    for count in (1, 2):
        with threads(count):
            net = gluon.nn.HybridSequential()
            net.add(gluon.nn.Dense(300, activation="tanh", in_units=300))
            mx.random.seed(1)
            net.initialize(mx.init.Xavier())
            net.hybridize()
            with autograd.record():
                net(x).sum().backward()
            found.append([p.grad().asnumpy() for p in net.collect_params().values()])
    for a, c in zip(*found):
        np.testing.assert_allclose(a, c, rtol=1e-4, atol=1e-3)
    assert b.shape == (1, 300)


@pytest.mark.parametrize("label, message", [(10, "label - 1"), (-1, "sample_weight"), (float("nan"), "label")])
def test_a_label_that_is_no_class_is_refused_as_without_regions(label, message):
    class Net(gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.net, self.loss = mlp(), gluon.loss.SoftmaxCrossEntropyLoss()

        def hybrid_forward(self, F, x, y):
            return self.loss(self.net(x), y)

    net = Net()
    net.hybridize()
    x, y = nd.ones((4, 20)), nd.array([1.0, 2.0, 3.0, 4.0])
    good = net(x, y).asnumpy()
    with pytest.raises(ArgumentError, match=message):
        net(x, nd.array([1.0, label, 3.0, 4.0]))
    np.testing.assert_array_equal(net(x, y).asnumpy(), good)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float64"])
def test_labels_of_any_type_are_read_as_they_are(dtype):
    net, loss = mlp(), gluon.loss.SoftmaxCrossEntropyLoss()
    x, y = nd.random.normal(shape=(6, 20)), nd.array([0, 9, 3, 4, 2, 1], dtype=dtype)
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.0})
    step = gluon.contrib.CompiledStep(net, loss, trainer)
    expected = loss(net(x), y).asnumpy()
    np.testing.assert_allclose(step(x, y).asnumpy(), expected, rtol=1e-5)
    assert step.explain().count("region of") == 1
    if dtype != "uint8":
        with pytest.raises(ArgumentError, match="sample_weight"):
            step(x, y - 1)


def test_arrays_that_do_not_lie_together_are_read_as_they_are():
    net = mlp()
    x = nd.random.normal(shape=(20, 16))
    expected = net(x.T).asnumpy()
    net.hybridize()
    np.testing.assert_allclose(net(x.T).asnumpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net(nd.array(np.repeat(x.asnumpy(), 2, 1))[:, ::2].T).asnumpy(), expected, rtol=1e-5,
                               atol=1e-6)


def test_results_keep_their_values_when_the_next_call_runs():
    net = mlp()
    net.hybridize()
    x, z = nd.random.normal(shape=(4, 20)), nd.random.normal(shape=(4, 20))
    first = net(x)
    kept = first.asnumpy().copy()
    net(z)
    np.testing.assert_array_equal(first.asnumpy(), kept)


def test_calls_from_several_threads_do_not_disturb_each_other():
    from concurrent.futures import ThreadPoolExecutor

    net = mlp()
    net.hybridize()
    batches = [nd.random.normal(shape=(32, 20)) for _ in range(8)]
    expected = [net(batch).asnumpy() for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for a, b in zip(pool.map(lambda batch: net(batch).asnumpy(), batches), expected):
                np.testing.assert_array_equal(a, b)


def test_random_numbers_are_drawn_in_the_order_of_the_program(monkeypatch):
    monkeypatch.setattr(plan, "SMALL", 0)  # a plan, not the tape

    class Net(gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.net = gluon.nn.Dense(6, in_units=6)

        def hybrid_forward(self, F, x, y):
            late = F.Dropout(self.net(F.sort(x, axis=1)), p=0.5)  # waits for an operator, and then for a region
            early = F.Dropout(y, p=0.5)
            return late, early

    net = Net()
    net.initialize()
    found = []
    for hybrid in (False, True):
        net.hybridize(hybrid)
        mx.random.seed(4)
        with autograd.record():
            found.append([o.asnumpy() for o in net(nd.ones((5, 6)), nd.ones((5, 6)))])
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_what_is_empty_or_no_float_stays_with_aten():
    net = mlp()
    net(nd.ones((4, 20)))
    net.hybridize()
    assert net(nd.zeros((0, 20))).shape == (0, 10)
    assert not any(source.regions for entry in net._cached.entries.values() for plan in entry.plans.values()
                   for source in plan.sources.values())


def _part(F, x, axis, begin, end):
    return F.slice_axis(x, axis=axis, begin=begin, end=end)


AS_THEY_LIE = {
    "one place thrice": lambda F, x, y: F.softmax(F.reshape(F.stack(x, F.tanh(x), x, axis=2), (4, 18))),
    "part as rows of another length": lambda F, x, y: F.softmax(F.reshape(_part(F, F.dot(x, y), 1, 0, 4), (8, 2))),
    "parts of two lengths": lambda F, x, y: (F.reshape(_part(F, x, 1, 0, 3), (2, 6))
                                             + F.reshape(_part(F, F.reshape(y, (3, 12)), 1, 2, 6), (2, 6))),
    "part as numbers of rows": lambda F, x, y: F.broadcast_add(
        F.reshape(F.concat(x, x, dim=1), (4, 3, 4)), F.reshape(_part(F, F.dot(x, y), 1, 1, 4), (4, 3, 1))),
    "part as a row": lambda F, x, y: F.broadcast_mul(F.reshape(F.concat(x, _part(F, y, 0, 0, 4), dim=1), (4, 4, 3)),
                                                     F.reshape(_part(F, F.dot(x, y), 1, 2, 5), (1, 4, 3))),
    "transposed, then rows": lambda F, x, y: F.softmax(F.transpose(F.reshape(x * 2, (2, 3, 4)), (1, 0, 2)) * 1.5),
    "place in a whole, read as rows": lambda F, x, y: (lambda z: F.concat(
        F.concat(z, x, dim=1), F.softmax(F.reshape(_part(F, z, 1, 0, 3), (4, 3))), dim=1))(F.tanh(F.dot(x, y))),
    "matrices of more axes": lambda F, x, y: F.batch_dot(F.reshape(x, (2, 1, 3, 4)), F.reshape(x + 1, (2, 1, 3, 4)),
                                                         transpose_b=True),
}  # fmt: skip


class Expression(gluon.HybridBlock):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def hybrid_forward(self, F, x, y):
        return self.function(F, x, y)


@pytest.mark.parametrize("name", sorted(AS_THEY_LIE))
def test_operands_are_put_together_before_they_are_read(name):
    found = []
    rng = np.random.default_rng(2)
    data = [rng.normal(size=shape) for shape in ((4, 6), (6, 6))]
    for hybrid in (False, True):
        net = Expression(AS_THEY_LIE[name])
        if hybrid:
            net.hybridize()
        x, y = (nd.array(each, dtype="float64") for each in data)
        x.attach_grad()
        y.attach_grad()
        with autograd.record():
            out = net(x, y)
            total = (out * nd.array(np.arange(out.size).reshape(out.shape), dtype="float64")).sum()
        total.backward()
        found.append([out.asnumpy(), x.grad.asnumpy(), y.grad.asnumpy()])
    for plain, compiled in zip(*found):
        np.testing.assert_allclose(compiled, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("side, tape", [(6, True), (40, False)])
def test_few_operators_stay_on_the_tape_only_if_they_do_little(side, tape):
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Conv2D(16, 3, padding=1, in_channels=3, activation="tanh"), gluon.nn.MaxPool2D(),
            gluon.nn.Dense(4, in_units=16 * (side // 2) ** 2))  # fmt: skip
    net.initialize(mx.init.Xavier())
    x = nd.random.normal(shape=(8, 3, side, side))
    found = []
    for hybrid in (False, True):
        net.hybridize(hybrid)
        with autograd.record():
            out = net(x)
            loss = out * out
        loss.backward()
        found.append([out.asnumpy(), *[p.grad().asnumpy() for p in net.collect_params().values()]])
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * abs(a).max())
    (entry,) = net._cached.entries.values()
    (made,) = entry.plans.values()
    assert (set(made.sources) == {"taped"}) is tape
