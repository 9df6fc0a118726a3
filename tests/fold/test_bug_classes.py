"""One test per way in which batching by itself has gone wrong, here or in the systems before.

The one idea: each test is a few lines of per-sample code in which a known mistake would show: calls that look alike and
are not, values read in the middle, scopes that end in errors.
`agree` runs it with and without folding and compares values and gradients.

Not here: arrays, weights and modes that change (test_changes.py), gradients (test_gradients.py), random programs
(test_oracle.py).
"""
from __future__ import annotations

import copy
import gc
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glueball import autograd, fold, gluon, init, nd
from glueball.base.context import cpu
from glueball.base.errors import ContextError, DTypeError, MXNetError
from glueball.fold import body
from glueball.fold.future import Future

from .agreement import H, agree, arrays, layer

nn = gluon.nn


# -- calls that look alike ---------------------------------------------------------------------------------------------
def test_the_same_function_of_different_functions() -> None:
    """mxnet-fold found nodes by a hash that left the operator out: f(A(x)) and f(B(x)) were one."""
    agree(lambda x: [nd.tanh(nd.sigmoid(x)), nd.tanh(nd.relu(x)), nd.tanh(nd.tanh(x)), nd.tanh(x)], arrays())


def test_layers_of_equal_structure_do_not_share_weights() -> None:
    """Branch `fold` used the first call's weights for all."""
    one, two = layer(), layer()
    agree(lambda x: [one(x), two(x), two(one(x)), one(two(x))], arrays(), one, two)


def test_hybridized_blocks_of_equal_structure_do_not_share_weights() -> None:
    made = []
    for _ in range(2):
        block = nn.HybridSequential()
        block.add(layer(), nn.Activation("tanh"), layer())
        block.hybridize()
        made.append(block)
    one, two = made
    agree(lambda x: [one(x), two(x), two(one(x)), one(two(x))], arrays(), one, two)


def test_weights_given_as_arrays_do_not_share() -> None:
    w, v = arrays(2, (H, H), seed=1)
    bias = arrays(1, (H,), seed=2)[0]
    agree(lambda x: [nd.FullyConnected(x, w, bias, num_hidden=H), nd.FullyConnected(x, v, bias, num_hidden=H),
                     nd.dot(x, w), nd.dot(x, v), x + bias, nd.broadcast_mul(x, bias)], arrays(), leaves=[w, v, bias])


def test_a_weight_of_each_sample() -> None:
    weights = iter(arrays(8, (H, H), seed=1))
    pairs = list(zip(arrays(), weights))
    found = []
    for mode in ("off", "on"):
        with autograd.record(), fold.batching(mode):
            outs = [nd.FullyConnected(x, nd.tanh(w), no_bias=True, num_hidden=H) for x, w in pairs]
        autograd.backward(outs)
        found.append([o.asnumpy() for o in outs] + [a.grad.asnumpy() for pair in pairs for a in pair])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


@pytest.mark.parametrize("function", [
    lambda x, c: x + c, lambda x, c: c - x, lambda x, c: x * c, lambda x, c: c / (x * x + 1), lambda x, c: x / c,
    lambda x, c: nd.maximum(x, c), lambda x, c: x > c, lambda x, c: x.clip(-abs(c), abs(c)),
    lambda x, c: (x * x + 1) ** c], ids=range(9))
def test_constants_that_are_nearly_the_same(function: Any) -> None:
    """DyNet #555: 1.1, 1.2 and 1.3 were batched as one constant."""
    constants = [1.1, 1.2, 1.3, 1, 1.0, 2, 1.1000000000000001, 1.1 + 1e-12, np.float32(1.1), np.float64(1.2), -1.1]
    agree(lambda x: [function(x, c) for c in constants], arrays())


def test_zeros_of_both_signs_and_no_number() -> None:
    xs = arrays()
    agree(lambda x: [x * 0.0, x * -0.0, x + float("nan"), x * float("inf"), x + 0.0, 1.0 / (x * 0.0), 1.0 / (x * -0.0),
                     nd.maximum(x, float("nan"))], xs[:2])
    signs = []
    for mode in ("off", "on"):
        with fold.batching(mode):
            outs = [x.abs() * c for x in xs for c in (0.0, -0.0)]
        signs.append([np.signbit(o.asnumpy()) for o in outs])
    np.testing.assert_array_equal(*signs)


class Scaled(gluon.HybridBlock):
    """A block that takes a number."""

    def hybrid_forward(self, F: Any, x: Any, factor: Any) -> Any:
        """Return x times the factor."""
        return F.tanh(x) * factor


@pytest.mark.parametrize("factors", [[1, 1.0, True, 2], [0.0, -0.0], [1.1, 1.2], [0, False, 0.0]], ids=range(4))
def test_numbers_given_to_blocks(factors: list[Any]) -> None:
    block = Scaled()
    block.hybridize()
    agree(lambda x: [block(x, f) for f in factors], arrays(), block)
    with fold.batching():
        outs = [block(nd.ones((1, H)), f) for f in factors]
    assert [np.signbit(o.asnumpy()).all() for o in outs] == [np.signbit(float(f)) for f in factors]


def test_attributes_that_print_alike() -> None:
    fine = [np.array([0.123456789012]), np.array([0.123456789999])]
    agree(lambda x: [x * nd.array(f, dtype="float64") for f in fine], arrays(), tolerance=1e-15)
    long = [np.arange(3000.0), np.arange(3000.0)]
    long[1][1500] = -1
    agree(lambda x: [nd.broadcast_mul(x, nd.array(v, dtype="float64")) for v in long], arrays(shape=(1, 1)))


def test_attributes_of_one_operator() -> None:
    xs = arrays(shape=(4, H))
    agree(lambda x: [x.sum(axis=0), x.sum(axis=1), x.sum(axis=(0, 1)), x.sum(axis=1, keepdims=True),
                     nd.softmax(x, axis=0), nd.softmax(x, axis=1), nd.softmax(x, temperature=2.0),
                     nd.slice_axis(x, axis=0, begin=1, end=3), nd.slice_axis(x, axis=0, begin=2, end=4),
                     nd.slice_axis(x, axis=1, begin=0, end=2), x.reshape((H, 4)), x.reshape((-1,)), x.reshape((2, -1)),
                     x.transpose(), nd.transpose(x, axes=(0, 1)), nd.tile(x, (2, 1)), nd.repeat(x, 2, axis=0),
                     nd.flip(x, axis=0), nd.flip(x, axis=1), nd.concat(x, x, dim=0), nd.concat(x, x, dim=1),
                     nd.stack(x, x, axis=0), nd.stack(x, x, axis=1), nd.stack(x, x, axis=2)], xs)


def test_types_do_not_mix() -> None:
    xs = arrays()
    agree(lambda x: [nd.tanh(x), nd.tanh(x.astype("float32")), nd.tanh(x.astype("float32")).astype("float64"),
                     x.astype("int32") * 2, x.astype("int32").astype("float32") * 2], xs, tolerance=1e-6)


def test_modes_do_not_mix() -> None:
    """Train and predict mode, recorded or not, are different calls."""
    dense, drop = layer(), nn.Dropout(0.9)

    def program(x: Any) -> Any:
        first = drop(dense(x))  # predict mode: the identity
        with autograd.pause():
            second = dense(x) * 2
        with autograd.predict_mode():
            third = drop(dense(x))
        return [first, second, third, first * second]
    agree(program, arrays(), dense)


def test_dropout_in_train_mode_draws_for_each_sample() -> None:
    drop = nn.Dropout(0.5)
    x = nd.ones((1, 200))
    with autograd.record(), fold.batching():
        outs = [drop(x) for _ in range(4)]
    values = [o.asnumpy() for o in outs]
    assert all(set(np.unique(v)) == {0.0, 2.0} for v in values)
    assert not any(np.array_equal(values[0], v) for v in values[1:])  # equal calls, but not one call


def test_outputs_of_one_call_are_told_apart() -> None:
    agree(lambda x: [nd.split(x, H, axis=1)[i] * (i + 1) for i in range(H)] + [nd.add_n(*nd.split(x, H, axis=1))],
          arrays())


# -- structure ---------------------------------------------------------------------------------------------------------
def test_a_shared_argument_that_is_a_member_of_another_batch() -> None:
    """DyNet #1258: an argument that all calls share was itself not the first result of an earlier batch."""
    xs = arrays(5)
    found = []
    for mode in ("off", "on"):
        with autograd.record(), fold.batching(mode):
            rows = [nd.tanh(x) for x in xs]
            matrix = nd.dot(rows[3], rows[3], transpose_a=True)
            outs = [nd.dot(row, matrix) * rows[2] for row in rows]
        autograd.backward(outs)
        found.append([o.asnumpy() for o in outs] + [x.grad.asnumpy() for x in xs])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_sums_that_feed_products() -> None:
    """DyNet #1666: a batched + whose results enter a batched *."""
    agree(lambda x: [(x + x) * (x + 1), (x + x * 2) * (x + x), (x * x + x) * x + (x * x)], arrays())


def test_auxiliary_results_are_not_overwritten() -> None:
    """DyNet #1490: what an operator keeps for backward was overwritten by the next batch of the same operator."""
    def program(x: Any) -> Any:
        for _ in range(4):
            x = nd.softmax(nd.LayerNorm(x, gamma, beta)) * 3
        return [x, nd.log_softmax(x), nd.max(x, axis=1), nd.topk(x, k=2, ret_typ="value")]
    gamma, beta = arrays(2, (H,), seed=5)
    agree(program, arrays(6), leaves=[gamma, beta])


def test_more_signatures_than_calls() -> None:
    """DyNet #754: every call is different."""
    ops = [nd.tanh, nd.sigmoid, nd.relu, nd.exp, nd.square, nd.abs, nd.softsign, nd.erf, nd.sin, nd.cos]
    agree(lambda x: nd.add_n(*[op(x + i) for i, op in enumerate(ops)]), arrays(1))


def test_no_calls_at_all() -> None:
    """DyNet #1357: nothing to schedule."""
    with fold.batching():
        pass
    with autograd.record(), fold.batching():
        x = nd.ones((2, 2))
    assert x.asnumpy().sum() == 4
    agree(lambda x: x, arrays())
    agree(lambda x: [x, x], arrays())
    agree(lambda x: x, [])


def test_results_that_nobody_uses() -> None:
    def program(x: Any) -> Any:
        nd.tanh(x)
        unused = dense(x)
        del unused
        return nd.sigmoid(x)
    dense = layer()
    agree(program, arrays(), dense)


def test_deep_chains_of_different_lengths() -> None:
    dense = layer()

    def program(pair: Any) -> Any:
        x, depth = pair
        for _ in range(depth):
            x = nd.tanh(dense(x)) + x
        return x
    xs = arrays(5)
    agree(lambda i: program((xs[i], [0, 1, 17, 5, 17][i])), range(5), dense, leaves=xs)


def test_two_cells_that_feed_each_other() -> None:
    one, two = layer(), layer()

    def program(i: int) -> Any:
        x = xs[i]
        for step in range(i + 1):
            x = nd.tanh(one(x)) if (step + i) % 2 else nd.sigmoid(two(x))
        return x
    xs = arrays(6)
    agree(program, range(6), one, two, leaves=xs)


def test_a_row_of_a_matrix_and_the_matrix() -> None:
    agree(lambda x: [x[0], x[1:3], x[-1], x[0:1] + x[3:4], x[1] * x[2], x * 2, x[:, 1], x[1, 2], x[..., 0:2], x[:]],
          arrays(shape=(4, H)))


def test_parts_of_results() -> None:
    def program(x: Any) -> Any:
        y = nd.tanh(x)
        return [y[0], y[1:3], y[-1], y[0:1] + y[3:4], y[1] * y[2], y * 2, y[:, 1], y[1, 2], y[..., 0:2], y[:], y[2:2],
                y[::2], y[::-1], y[[0, 2]], y[nd.array([1, 1], dtype="int32")], y[None], y[np.array([3, 0])],
                y[1:][1:], y[1:3][0], y[3][1:], y[3][2]]
    agree(program, arrays(shape=(4, H)))


def test_iteration_and_unpacking() -> None:
    def program(x: Any) -> Any:
        a, b = nd.tanh(x)
        return [a * b, *list(nd.sigmoid(x)), nd.add_n(*nd.relu(x)), len(nd.tanh(x)) * x]
    agree(program, arrays(shape=(2, H)))


def test_arguments_by_name_and_from_numpy() -> None:
    table = np.arange(3.0 * H).reshape(3, H)
    agree(lambda x: [nd.broadcast_add(lhs=x, rhs=x), nd.FullyConnected(data=x, weight=w, bias=None, num_hidden=2,
                                                                      no_bias=True), nd.sum(data=x, axis=1),
                     nd.concat(*[x, x], dim=1), nd.where(condition=x > 0, x=x, y=-x),
                     x + nd.array(table[0:1], dtype="float64"),
                     nd.dot(x, nd.array(table, dtype="float64"), transpose_b=True), 2 * x, 1 - x, 2 ** x, 1 / (x + 9)],
          arrays(), leaves=[w := arrays(1, (2, H), seed=9)[0]])


def test_children_of_all_numbers() -> None:
    def sum_of(i: int) -> Any:
        rows = [nd.tanh(x) for x in xs[:i]]
        return [nd.add_n(*rows), nd.concat(*rows, dim=0), nd.stack(*rows), sum(rows), nd.add_n(*rows, *rows)]
    xs = arrays(5)
    agree(sum_of, range(1, 6), leaves=xs)


def test_one_array_as_many_arguments() -> None:
    agree(lambda x: [nd.add_n(x, x, x), x + x, x * x, nd.concat(x, x), nd.dot(x, x, transpose_b=True),
                     nd.broadcast_add(x, x), nd.where(x, x, x)], arrays())
    x = arrays(1)[0]
    agree(lambda _: [nd.add_n(x, x, nd.tanh(x)), x * nd.tanh(x) * x], range(3), leaves=[x])


def test_shapes_of_all_ranks() -> None:
    for shape in [(1,), (H,), (1, H), (2, H), (1, 2, H), (2, 1, H), (2, 2, 2, 2), (0, H), (1, 0), (0,)]:
        agree(lambda x: [nd.tanh(x), x + x, x * 2, (nd.tanh(x) + 1).sum(), nd.reshape(x, (-1,)) if x.size else x,
                         x.expand_dims(0), nd.sum(x, axis=0), nd.concat(x, x, dim=0)], arrays(3, shape))


def test_vectors_of_different_lengths() -> None:
    xs = [arrays(1, (n,), seed=n)[0] for n in (1, 3, 2, 3)]
    agree(lambda x: [nd.tanh(x), x.sum(), nd.softmax(x), x * x, x[0], x[-1], x[1:], nd.concat(x, x, dim=0)], xs)


def test_operators_on_sequences_of_different_lengths() -> None:
    """Calls that differ in the number of rows only run together where rows are independent, and only there."""
    one = nd.ones((1, 4), dtype="float64")
    agree(lambda x: [x.reshape((-1, 2)), x.reshape((0, 2, 2)), x.reshape((-1, 1, 4)), x.expand_dims(0), x.T,
                     nd.slice_axis(x, axis=0, begin=0, end=1), nd.slice_axis(x, axis=0, begin=-1, end=None),
                     nd.tile(x, (2, 1)), nd.repeat(x, 2, axis=0), nd.flip(x, axis=0), nd.sort(x, axis=0),
                     nd.topk(x, k=1, axis=0, ret_typ="value"), nd.argsort(x, axis=1), nd.cumsum(x, axis=0),
                     nd.mean(x, axis=0), x.norm(axis=0), nd.swapaxes(x, 0, 1), nd.concat(x, one, dim=0),
                     nd.one_hot(nd.argmax(x, axis=1), 4, dtype="float64"), nd.pick(x, nd.argmax(x, axis=1)),
                     nd.batch_dot(x.expand_dims(0), x.expand_dims(0), transpose_b=True), nd.linalg.syrk(x),
                     nd.broadcast_like(x[0:1], x), nd.take(x, nd.array([0], dtype="int32")), nd.stack(x, x, axis=0),
                     nd.where(x > 0, x, nd.zeros_like(x)), nd.split(x, 2, axis=1)[1], x == x],
          [arrays(1, (n, 4), seed=n)[0] for n in (1, 2, 3, 4, 4, 6)])


def test_operators_on_vectors_of_different_lengths() -> None:
    agree(lambda x: [nd.sort(x), nd.flip(x, axis=0), nd.softmax(x, axis=0), x.reshape((1, -1)), x.expand_dims(1),
                     nd.tile(x, (2,)), nd.dot(x, x), x.norm(), nd.max(x), x.argmax(axis=0), nd.stack(x, x),
                     nd.concat(x, x, dim=0), x[::-1], x[-1:], nd.repeat(x, 2), nd.where(x > 0, x, x),
                     nd.log_softmax(x), nd.clip(x, -1, 1), nd.broadcast_to(x.reshape((1, -1)), (3, x.shape[0]))],
          [arrays(1, (n,), seed=n)[0] for n in (1, 2, 3, 4, 4, 6)])


def test_losses_of_sequences() -> None:
    loss, dense = gluon.loss.SoftmaxCrossEntropyLoss(), layer(5)
    squared = gluon.loss.L2Loss()
    xs = [arrays(1, (n, H), seed=n)[0] for n in (1, 3, 2, 3)]
    labels = [nd.array(np.arange(n) % 5, dtype="float64") for n in (1, 3, 2, 3)]

    def program(i: int) -> Any:
        each = loss(dense(xs[i]), labels[i])
        return [each, each.sum(), each.mean(), (each * each).sum(), nd.max(each), each[0], each[0:1],
                squared(dense(xs[i]), nd.one_hot(labels[i], 5, dtype="float64")).sum(), each.reshape((-1, 1))]
    agree(program, range(4), dense, leaves=xs)


def test_hybridized_blocks_on_vectors_of_different_lengths() -> None:
    class Total(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return F.sum(F.tanh(x) * x)
    block = Total()
    block.hybridize()
    xs = [arrays(1, (n, H), seed=n)[0] for n in (1, 3, 2, 3)]
    agree(lambda x: [block(x), block(x.sum(axis=1)), block(x[0]), block(x.sum(axis=1)) * block(x.sum(axis=0))], xs)


def test_vectors_of_an_earlier_scope() -> None:
    class Total(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return F.sum(F.tanh(x) * F.softmax(x))
    block, found = Total(), []
    block.hybridize()
    xs = [arrays(1, (n, H), seed=n)[0] for n in (1, 3, 2, 3)]
    for mode in ("off", "on"):
        for x in xs:
            x.zero_grad()
        with autograd.record():
            with fold.batching(mode):
                vectors = [nd.tanh(x).sum(axis=1) for x in xs]
            with fold.batching(mode):
                outs = [f(v) for v in vectors for f in (block, nd.softmax, nd.sum, lambda v: v * 2)]
        autograd.backward(outs)
        found.append([o.asnumpy() for o in outs] + [x.grad.asnumpy() for x in xs])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


@pytest.mark.parametrize("shape", [(2, 4), (1, 4), (4,)])
def test_losses(shape: tuple[int, ...]) -> None:
    xs, labels = arrays(shape=shape), arrays(3, shape, seed=3, attach=False)
    target, first = nd.sigmoid(labels[0]), nd.ones(shape[:1], dtype="float64")
    weight = nd.sigmoid(labels[1])[:, 0:1] if len(shape) > 1 else nd.sigmoid(labels[1])
    loss = gluon.loss
    for each in (loss.L1Loss(), loss.L2Loss(), loss.SigmoidBCELoss(), loss.HuberLoss(), loss.HingeLoss(),
                 loss.SquaredHingeLoss(), loss.LogisticLoss(), loss.KLDivLoss(from_logits=False),
                 loss.PoissonNLLLoss()):
        agree(lambda x: [each(nd.tanh(x), target), each(nd.tanh(x), target, weight), each(x, nd.sigmoid(x))], xs)
    agree(lambda x: [loss.CosineEmbeddingLoss()(nd.tanh(x), nd.sin(x), first),
                     loss.TripletLoss()(nd.tanh(x), nd.sin(x), target)], xs)


def test_control_flow_operators_and_functions_of_the_user() -> None:
    class Twice(autograd.Function):
        def forward(self, x: Any) -> Any:
            y = nd.exp(x)
            self.save_for_backward(y)
            return y

        def backward(self, dy: Any) -> Any:
            return dy * self.saved_tensors[0] * 2

    def program(x: Any) -> Any:
        y = nd.tanh(x)
        out, state = nd.contrib.foreach(lambda d, s: (d + s, d * s), x, y[0])
        chosen = nd.contrib.cond(y.sum() > 0, lambda: y * 2, lambda: y * 3)
        steps, _ = nd.contrib.while_loop(lambda i, s: i < 3, lambda i, s: ([s], [i + 1, s * 2]),
                                         [nd.array([0], dtype="float64"), y], max_iterations=4)
        return [out, state, chosen, steps[0], Twice()(y) * x, nd.sin(Twice()(y))]
    agree(program, arrays(shape=(2, H)))


def test_words() -> None:
    words, counts = nn.Embedding(7, H), nd.array([1.0, 2, 3, 4, 5, 6, 7], dtype="float64")
    words.initialize(init.Normal(0.5))
    words.cast("float64")
    ids = [nd.array(v, dtype=t) for v, t in [([1, 2, 3], "int32"), ([0], "int32"), ([6, 6], "int32"),
                                             ([1, 5, 1, 0], "float64"), ([2], "int64")]]
    agree(lambda x: [words(x), words(x).sum(axis=0), nd.take(counts, x), nd.one_hot(x, 7, dtype="float64"),
                     words(x)[0:1], words(x)[-1], nd.take(nd.tanh(words(x)), nd.array([0], dtype="int32"))],
          ids, words)


def test_blocks_with_lists_and_missing_arguments() -> None:
    class Odd(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any, more: Any = None, scale: Any = 1) -> Any:
            if more is None:
                return F.tanh(x) * scale
            total = F.tanh(x)
            for one in more:
                total = total + F.sigmoid(one) * scale
            return total, F.max(total, axis=1)
    block = Odd()
    block.hybridize()
    other = Odd()

    def program(x: Any) -> Any:
        y = nd.sin(x)
        return [block(x), *block(x, [y, y]), *block(y, [y]), *block(y, (y, x, y)), *other(x, [y]), other(y),
                *block(y, [y, y, y]), *block(y, [])]
    agree(program, arrays(), block)


# -- values that are read ----------------------------------------------------------------------------------------------
def test_every_way_to_read() -> None:
    with fold.batching():
        for i in range(3):
            y = nd.tanh(nd.ones((1, 1)) * i) + i
            expected = np.tanh(i) + i
            assert abs(float(y) - expected) < 1e-6 and int(y) == int(expected) and bool(y) == bool(expected)
            assert abs(y.asscalar() - expected) < 1e-6 and type(y.asscalar()) is np.float32
            assert abs(y.item() - expected) < 1e-6 and type(y.item()) is float
            assert "NDArray" in repr(y) or "Future" in repr(y)
            assert np.asarray(y).shape == (1, 1) and y.tolist()[0][0] == pytest.approx(expected)
            assert f"{y}" and y.size == 1 and y.ndim == 2 and y.shape == (1, 1)
            y.wait_to_read()
            row = nd.ones((2, 3)) * i
            assert row[1, 2].asscalar() == i and len(row) == 2 and [r.shape for r in row] == [(3,), (3,)]
            assert (row == row).asnumpy().all() and (row > 5).sum().asscalar() == 0
            position = (row * 0 + nd.array([0.0, 1, 0])).argmax(axis=1)
            assert int(position[0].asscalar()) == 1
            assert [10, 11, 12][position[0].astype("int32")] == 11
            with pytest.raises(ValueError, match="ambiguous"):
                bool(row)
        nd.waitall()


def test_choices_by_value() -> None:
    def program(x: Any) -> Any:
        y = nd.tanh(dense(x))
        while float(y.sum()) < 2:
            y = y + 0.5
        return [y, y * 2 if y[0, 0] > y[0, 1] else y * 3, nd.ones((1, 1)) * int(y.argmax(axis=1).asscalar())]
    dense = layer()
    agree(program, arrays(), dense)


def test_copies_and_files(tmp_path: Path) -> None:
    with fold.batching():
        y = nd.tanh(nd.ones((2, H)))
        assert isinstance(y, Future)
        deep, shallow, sent = copy.deepcopy(y), copy.copy(y), pickle.loads(pickle.dumps(y))
        nd.save(str(tmp_path / "values"), {"y": y})
        target = nd.zeros((2, H))
        y.copyto(target)
        same = y.as_in_context(y.context)
        again = nd.array(y)
    loaded = nd.load(str(tmp_path / "values"))["y"]
    for one in (deep, shallow, sent, loaded, target, same, again, y.copy(), y.astype("float32"), y.to_torch()):
        np.testing.assert_allclose(np.asarray(one), np.tanh(np.ones((2, H))), 1e-6)
    deep[:] = 0
    assert y.asnumpy().all()


# -- scopes ------------------------------------------------------------------------------------------------------------
def test_an_error_leaves_no_trace() -> None:
    x = nd.ones((1, H))
    with pytest.raises(ZeroDivisionError):
        with autograd.record(), fold.batching():
            lost = nd.tanh(x)
            raise ZeroDivisionError
    assert not autograd.is_recording() and gc.isenabled()
    with pytest.raises(MXNetError, match="never computed"):
        lost.asnumpy()
    agree(lambda v: nd.tanh(v) * x.astype("float64"), arrays())
    with pytest.raises(MXNetError):
        with fold.batching():
            nd.dot(nd.tanh(nd.ones((2, 3))), nd.ones((2, 3)))
    assert gc.isenabled()
    agree(lambda v: nd.tanh(v) * x.astype("float64"), arrays())


def test_an_error_that_is_caught_inside() -> None:
    with fold.batching():
        first = nd.tanh(nd.ones((1, H)))
        with pytest.raises(MXNetError):
            nd.dot(first, first)
        with pytest.raises(IndexError):
            first[7]
        second = first * 2
    np.testing.assert_allclose(second.asnumpy(), 2 * np.tanh(np.ones((1, H))), 1e-6)


def test_modes_of_a_scope() -> None:
    with pytest.raises(MXNetError, match="no such mode"):
        fold.batching("fast")
    with fold.batching("off"):
        assert type(nd.tanh(nd.ones((1, 1)))) is nd.NDArray
    with fold.batching():
        outer = nd.tanh(nd.ones((1, 1)))
        with fold.batching("off"):
            inner = nd.tanh(outer)
            assert type(inner) is nd.NDArray
        assert type(outer) is Future and type(nd.tanh(inner)) is Future


def test_recording_inside_a_scope() -> None:
    found = []
    for mode in ("off", "on"):
        xs, dense = arrays(), layer()
        dense.weight.set_data(nd.ones((H, H)) * 0.3)
        with fold.batching(mode):
            free = [nd.tanh(dense(x)) for x in xs]
            with autograd.record():
                losses = [(nd.tanh(dense(x)) * f).sum() for x, f in zip(xs, free)]
            autograd.backward(losses)
        found.append([loss.asnumpy() for loss in losses] + [dense.weight.grad().asnumpy()] +
                     [x.grad.asnumpy() for x in xs])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_errors_of_a_batch_are_those_of_the_call() -> None:
    """What fails only when the batch runs is said in the operator's own words, with the user's line."""
    with pytest.raises(DTypeError, match=r"(?s)dot: The element types differ.*test_bug_classes\.py"):
        with fold.batching():
            for _ in range(3):
                nd.dot(nd.tanh(nd.ones((1, 2))), nd.tanh(nd.ones((2, 1), dtype="float64")))
    with pytest.raises(ContextError, match="different devices"), fold.batching():
        nd.tanh(nd.ones((1, 2), ctx=cpu(0))) + nd.tanh(nd.ones((1, 2), ctx=cpu(1)))


def test_errors_of_a_batch_alone_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("out of luck")
    monkeypatch.setattr(body, "run_rows", broken)
    monkeypatch.setattr(body, "run_stacked", broken)
    with pytest.raises(MXNetError, match=r"(?s)arctan.*out of luck.*3 calls.*test_bug_classes\.py"), fold.batching():
        for x in arrays(3):
            nd.arctan(x)
