"""One test per way in which batching by itself has gone wrong, here or in the systems before.

The one idea: each test is a few lines of per-sample code in which a known mistake would show: calls that look alike and
are not, arrays that change between the call and its run, gradients that meet in one place, values read in the middle.
`agree` runs it with and without folding and compares values and gradients.

Not here: random programs (test_oracle.py).
"""
from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glueball import autograd, fold, gluon, init, nd
from glueball.base.errors import AutogradError, MXNetError
from glueball.contrib import amp
from glueball.fold.future import Future

H = 3
nn = gluon.nn


def arrays(count: int = 4, shape: tuple[int, ...] = (1, H), dtype: str = "float64", seed: int = 0,
           attach: bool = True) -> list[Any]:
    """Return random arrays, with gradients."""
    generator = np.random.RandomState(seed)
    found = [nd.array(generator.randn(*shape), dtype=dtype) for _ in range(count)]
    for array in found if attach else ():
        array.attach_grad()
    return found


def layer(units: int = H, **options: Any) -> Any:
    """Return a Dense layer with weights."""
    made = nn.Dense(units, in_units=H, flatten=False, **options)
    made.initialize(init.Normal(0.5))
    made.cast("float64")
    return made


def parameters(*blocks: Any) -> list[Any]:
    """Return the parameters of blocks."""
    return [p for block in blocks for p in block.collect_params().values()]


def gradients(params: Sequence[Any], leaves: Sequence[Any]) -> list[np.ndarray]:
    """Return gradients of parameters and of arrays."""
    return [p.grad().asnumpy() for p in params] + [a.grad.asnumpy() for a in leaves if a.grad is not None]


def agree(program: Callable[[Any], Any], xs: Sequence[Any], *blocks: Any, leaves: Sequence[Any] = (),
          tolerance: float = 1e-9) -> None:
    """Run a program on each sample, eagerly and folded; compare results and gradients."""
    found = []
    held = [*[x for x in xs if isinstance(x, nd.NDArray)], *leaves]
    for mode in ("off", "on"):
        for parameter in parameters(*blocks):
            parameter.zero_grad()
        for array in held:
            array.zero_grad()
        with autograd.record(train_mode=False), fold.batching(mode):
            outs = [program(x) for x in xs]
        outs = [list(o) if isinstance(o, (list, tuple)) else [o] for o in outs]
        with autograd.record():
            heads = [(value * value + value).sum() for out in outs for value in out
                     if value.dtype in (np.float32, np.float64)]
        if any(head._t.requires_grad for head in heads):
            autograd.backward([head for head in heads if head._t.requires_grad])
        found.append([v.asnumpy() for out in outs for v in out] + gradients(parameters(*blocks), held))
    for one, other in zip(*found, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        np.testing.assert_allclose(other, one, tolerance, tolerance)


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


# -- arrays that change ------------------------------------------------------------------------------------------------
def test_writing_to_an_argument_after_the_call() -> None:
    for write in (lambda a: a.__setitem__(slice(None), 5.0), lambda a: a.__iadd__(1), lambda a: nd.tanh(a, out=a),
                  lambda a: nd.zeros((1, H), dtype="float64").copyto(a), lambda a: a.__setitem__((0, 1), 7),
                  lambda a: nd.sgd_update(a, a, lr=0.1, out=a)):
        found = []
        for mode in ("off", "on"):
            a, b = arrays(2, attach=False)
            with fold.batching(mode):
                first = nd.tanh(a) + b
                write(a)
                second = nd.tanh(a) + b
                write(b)
                third = a + b
            found.append([v.asnumpy() for v in (first, second, third, a, b)])
        for one, other in zip(*found):
            np.testing.assert_allclose(other, one)


def test_writing_through_a_view() -> None:
    found = []
    for mode in ("off", "on"):
        a = nd.array(np.arange(6.0).reshape(2, 3))
        view, shaped = a[0:1], a.reshape((3, 2))
        with fold.batching(mode):
            first = nd.tanh(a)
            view[:] = 9
            second = nd.tanh(a)
            a[:] = 3
            third = nd.tanh(view)
            shaped[0, 0] = 8
            fourth, fifth = nd.tanh(view), nd.tanh(a)
        found.append([v.asnumpy() for v in (first, second, third, fourth, fifth)])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one)


def test_writing_to_a_weight_after_the_call() -> None:
    found = []
    ones = nd.ones((1, H), dtype="float64")
    for mode in ("off", "on"):
        weights = [nd.ones((H, H), dtype="float64") * i for i in range(4)]
        dense, leaf = layer(), arrays(1)[0]
        dense.weight.set_data(weights[0])
        outs = []
        with fold.batching(mode):
            for weight in weights:
                outs += [dense(ones), nd.tanh(ones) * leaf, nd.FullyConnected(ones, weight, None, num_hidden=H,
                                                                              no_bias=True)]
                dense.weight.set_data(weight)
                leaf[:] = 4
                outs.append(nd.tanh(ones) * leaf)
                leaf += 1
                outs.append(nd.tanh(ones) * leaf)
                weight[0] = 7
                dense.bias.data()[:] = 5
        found.append([v.asnumpy() for v in outs])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one)


def test_stepping_inside_the_scope() -> None:
    found = []
    for mode in ("off", "on"):
        dense, xs = layer(), arrays()
        dense.weight.set_data(nd.ones((H, H), dtype="float64") * 0.3)
        trainer = gluon.Trainer(dense.collect_params(), "sgd", {"learning_rate": 0.5})
        outs = []
        with fold.batching(mode):
            for _ in range(3):
                with autograd.record():
                    losses = [(nd.tanh(dense(x)) + dense.weight.data() * x).sum() for x in xs]
                    total = nd.add_n(*losses)
                before = nd.tanh(dense.weight.data()), dense(xs[0])
                total.backward()
                late = nd.tanh(xs[1]) * dense.weight.data()
                trainer.step(4)
                outs += [total, *before, late, nd.tanh(dense.weight.data()), dense(xs[0])]
        found.append([v.asnumpy() for v in outs])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_writing_to_a_result() -> None:
    found = []
    for mode in ("off", "on"):
        xs = arrays(3, attach=False)
        outs = []
        with fold.batching(mode):
            for x in xs:
                y = nd.tanh(x)
                before = y * 2
                y += 1
                after = y * 2
                y[:] = 3
                later = y * 2
                y[0, 1] = 7
                last = y * 2
                z = nd.sigmoid(x)
                z *= y
                z -= x
                z /= 2
                nd.tanh(x, out=z)
                outs += [before, after, later, last, y, z]
        found.append([v.asnumpy() for v in outs])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one)


def test_two_names_of_one_result_see_a_write() -> None:
    found = []
    for mode in ("off", "on"):
        with fold.batching(mode):
            y = nd.tanh(nd.ones((2, 2)))
            same = y
            y += 1
            first = same * 1
            y[:] = 5
            second = same * 1
        found.append([v.asnumpy() for v in (first, second, same)])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one)


def test_arrays_made_inside_are_apart() -> None:
    found = []
    for mode in ("off", "on"):
        with fold.batching(mode):
            a, b = nd.zeros((2, 2)), nd.zeros((2, 2))
            c = nd.tanh(nd.ones((2, 2)))
            a += 1
            b[0] = 2
            d = nd.zeros((2, 2)) + c
            a[1] = 4
            e = [nd.zeros((1,)) for _ in range(3)]
            for i, one in enumerate(e):
                one[:] = i
            total = nd.concat(*e, dim=0)
        found.append([v.asnumpy() for v in (a, b, c, d, nd.zeros((2, 2)), total)])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one)


def test_a_list_that_changes_after_the_call() -> None:
    class Sum(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, rows: Any) -> Any:
            return F.add_n(*rows)
    block = Sum()
    block.hybridize()

    def program(x: Any) -> Any:
        rows = [nd.tanh(x), nd.sigmoid(x)]
        first = block(rows)
        rows.append(nd.sin(x))
        second = block(rows)
        rows.clear()
        return [first, second]
    agree(program, arrays())


def test_the_identity_of_a_freed_array_is_not_trusted() -> None:
    """Keys made of id() go wrong when an array dies and another takes its place."""
    with fold.batching():
        outs = [nd.tanh(nd.array([[float(i)] * H])) * nd.array([float(i)]) for i in range(50)]
    for i, out in enumerate(outs):
        np.testing.assert_allclose(out.asnumpy(), np.tanh(np.full((1, H), i)) * i, 1e-6)
    for i in range(20):  # one scope after the other, weights that come and go
        weight = nd.array(np.full((1, H), float(i)))
        weight.attach_grad()
        with autograd.record(), fold.batching():
            rows = [nd.FullyConnected(nd.ones((1, H)), weight, no_bias=True, num_hidden=1) for _ in range(2)]
        assert float(rows[1]) == 3 * i
        del weight, rows


# -- gradients ---------------------------------------------------------------------------------------------------------
def test_gradients_of_an_input_of_several_samples() -> None:
    x = arrays(1)[0]
    agree(lambda i: nd.tanh(x * i), range(4), leaves=[x])
    agree(lambda i: nd.tanh(x) * x + i, range(4), leaves=[x])


@pytest.mark.parametrize("request_", ["write", "add", "null"])
def test_gradient_requests(request_: str) -> None:
    found = []
    for mode in ("off", "on"):
        xs, dense = arrays(3, attach=False), layer()
        dense.weight.set_data(nd.ones((H, H)) * 0.3)
        for x in xs:
            x.attach_grad(request_)
        dense.weight.grad_req = request_
        for _ in range(2):
            with autograd.record(), fold.batching(mode):
                outs = [nd.tanh(dense(x)).sum() for x in xs]
            autograd.backward(outs)
        found.append([o.asnumpy() for o in outs] + [x.grad.asnumpy() for x in xs if x.grad is not None]
                     + ([dense.weight.grad().asnumpy()] if request_ != "null" else []) + [dense.bias.grad().asnumpy()])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_attach_grad_on_a_result() -> None:
    found = []
    for mode in ("off", "on"):
        x, dense = arrays(1)[0], layer()
        dense.weight.set_data(nd.ones((H, H)) * 0.3)
        with autograd.record(), fold.batching(mode):
            y = nd.tanh(dense(x))
            y.attach_grad()
            z = nd.zeros((1, H), dtype="float64")
            z.attach_grad()
            outs = [(y * y * (i + 1) + z * y * i).sum() for i in range(3)]
        autograd.backward(outs)
        found.append([y.grad.asnumpy(), z.grad.asnumpy(), x.grad.asnumpy(), dense.weight.grad().asnumpy(),
                      *[o.asnumpy() for o in outs]])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_attach_grad_between_two_uses() -> None:
    found = []
    for mode in ("off", "on"):
        x = arrays(1, attach=False)[0]
        with autograd.record(), fold.batching(mode):
            before = nd.tanh(x)
            x.attach_grad()
            after = nd.tanh(x) * 3
            total = (before + after).sum()
        total.backward()
        found.append([total.asnumpy(), x.grad.asnumpy()])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_autograd_grad() -> None:
    found = []
    for mode in ("off", "on"):
        xs, dense = arrays(), layer()
        dense.weight.set_data(nd.ones((H, H)) * 0.3)
        with autograd.record(), fold.batching(mode):
            total = nd.add_n(*[nd.tanh(dense(x)).sum() for x in xs])
        wanted = autograd.grad(total, [xs[0], dense.weight.data(), xs[2]], retain_graph=True)
        again = autograd.grad(total, [xs[1]])
        found.append([w.asnumpy() for w in (*wanted, *again)] + [x.grad.asnumpy() for x in xs])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_head_gradients() -> None:
    found = []
    for mode in ("off", "on"):
        xs = arrays()
        with autograd.record(), fold.batching(mode):
            outs = [nd.tanh(x) * 2 for x in xs]
        autograd.backward(outs, [nd.ones((1, H), dtype="float64") * i for i in range(4)])
        found.append([x.grad.asnumpy() for x in xs])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_a_second_backward_needs_retain_graph() -> None:
    for mode in ("off", "on"):
        xs = arrays()
        with autograd.record(), fold.batching(mode):
            total = nd.add_n(*[nd.tanh(x).sum() for x in xs])
        total.backward()
        with pytest.raises(AutogradError, match="used up"):
            total.backward()


@pytest.mark.parametrize("hybridize", [False, True])
def test_weights_that_change_between_forward_and_backward(hybridize: bool) -> None:
    """Gradients of old results with new weights are nobody's gradients."""
    found = []
    for mode in ("off", "on"):
        net, xs = nn.HybridSequential(), arrays()
        net.add(layer(), nn.Activation("tanh"), layer())
        for name, parameter in zip("wbwb", net.collect_params().values()):
            parameter.set_data(nd.ones(parameter.shape) * (0.3 if name == "w" else 0.1))
        if hybridize:
            net.hybridize()
        with autograd.record(), fold.batching(mode):
            total = nd.add_n(*[nd.tanh(net(nd.sin(x))).sum() for x in xs])
        net[2].bias.set_data(nd.zeros((H,)))  # no gradient needs its value
        total.backward(retain_graph=True)
        found.append([x.grad.asnumpy() for x in xs] + [p.grad().asnumpy() for p in net.collect_params().values()])
        net[2].weight.set_data(nd.zeros((H, H)))
        with pytest.raises(AutogradError, match="changed in place"):
            total.backward()
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_gradients_of_gradients_say_what_to_do() -> None:
    x = arrays(1)[0]
    with autograd.record():
        with fold.batching():
            y = nd.tanh(x)
        with pytest.raises(MXNetError, match="mode='off'"):
            autograd.grad(y, [x], create_graph=True)[0].backward()


def test_results_are_used_in_ordinary_code() -> None:
    found = []
    for mode in ("off", "on"):
        xs, dense = arrays(), layer()
        dense.weight.set_data(nd.ones((H, H)) * 0.3)
        with autograd.record():
            with fold.batching(mode):
                rows = [nd.tanh(dense(x)) for x in xs]
            joined = nd.concat(*rows, dim=0)
            total = (joined * nd.softmax(joined)).sum() + rows[0].sum() * 2 + rows[1][0, 1]
        total.backward()
        plain = rows[2] * 2 + nd.array(rows[3].asnumpy(), dtype="float64")  # not recorded
        found.append([total.asnumpy(), plain.asnumpy(), dense.weight.grad().asnumpy(), *[x.grad.asnumpy() for x in xs]])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_interleaved_scopes_and_backward_passes() -> None:
    found = []
    for mode in ("off", "on"):
        xs, dense = arrays(), layer()
        dense.weight.set_data(nd.ones((H, H)) * 0.3)
        seen = []
        with autograd.record():
            with fold.batching(mode):
                first = [nd.tanh(dense(x)) for x in xs]
            with fold.batching(mode):
                second = [nd.sigmoid(dense(r)) for r in first]
                early = nd.add_n(*second).sum()
                early.backward(retain_graph=True)
                seen.append(dense.weight.grad().asnumpy())
                third = [s * f for s, f in zip(second, first)]
            late = nd.add_n(*third).sum()
            first_total = first[0].sum()
        for loss in (late, first_total):
            for x in xs:
                x.zero_grad()
            loss.backward(retain_graph=True)
            seen += [dense.weight.grad().asnumpy(), *[x.grad.asnumpy() for x in xs]]
        found.append(seen)
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_stopped_gradients() -> None:
    def program(x: Any) -> Any:
        y = nd.tanh(x)
        with autograd.pause():
            z = nd.exp(y)
        return [y * nd.BlockGrad(y), y * y.detach(), y * z, nd.stop_gradient(y) * x, nd.BlockGrad(x) + z]
    agree(program, arrays())


def test_no_memory_is_kept() -> None:
    x = nd.ones((1, H))
    with fold.batching():
        y = nd.tanh(x)
    reference = weakref.ref(x)
    value = y.asnumpy()
    del x, y
    gc.collect()
    with fold.batching():
        nd.tanh(nd.ones((1, H)))
    gc.collect()
    assert reference() is None and value.shape == (1, H)


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


# -- parameters that change between scopes -----------------------------------------------------------------------------
def _train(mode: str, change: Callable[[Any], None], hybridize: bool) -> list[np.ndarray]:
    net = nn.HybridSequential()
    net.add(layer(), nn.Activation("tanh"), layer(2))
    generator = np.random.RandomState(3)
    for parameter in net.collect_params().values():
        parameter.set_data(nd.array(generator.randn(*parameter.shape), dtype="float64"))
    if hybridize:
        net.hybridize()
    seen = []
    for step in range(3):
        xs = arrays(4, seed=step)
        dtype = net[0].weight.dtype
        with autograd.record(), fold.batching(mode):
            outs = [net(x.astype(dtype)) for x in xs]
        autograd.backward(outs)
        seen += [o.asnumpy() for o in outs] + gradients(parameters(net), xs)
        change(net)
    return seen


def _stepped(net: Any) -> None:
    trainer = net.__dict__.setdefault("trainer_of_the_test", gluon.Trainer(net.collect_params(), "adam"))
    trainer.step(4)


def _hybridized_again(net: Any) -> None:
    net.hybridize(not net._active)


def _replaced(net: Any) -> None:
    for parameter in net.collect_params().values():
        parameter.set_data(parameter.data() * 0.5)


def _other_layer(net: Any) -> None:
    net.add(nn.Activation("sigmoid"))


CHANGES = {"nothing": lambda net: None, "step": _stepped, "set_data": _replaced,
           "cast": lambda net: net.cast("float32"), "hybridize": _hybridized_again, "another layer": _other_layer,
           "initialize": lambda net: net.initialize(init.One(), force_reinit=True),
           "reset_ctx": lambda net: net.collect_params().reset_ctx(net[0].weight.list_ctx()),
           "null": lambda net: net[0].weight.__setattr__("grad_req", "null") or net[0].weight.__setattr__("grad_req",
                                                                                                         "write")}


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_parameters_that_change_between_scopes(change: str, hybridize: bool) -> None:
    expected = _train("off", CHANGES[change], hybridize)
    for one, other in zip(expected, _train("on", CHANGES[change], hybridize), strict=True):
        np.testing.assert_allclose(other, one, 1e-5 if change == "cast" else 1e-9, 1e-6 if change == "cast" else 1e-9)


def test_parameters_loaded_between_scopes(tmp_path: Path) -> None:
    def change(net: Any) -> None:
        for parameter in net.collect_params().values():
            parameter.set_data(parameter.data() + 1)
        net.save_parameters(str(tmp_path / "net"))
        for parameter in net.collect_params().values():
            parameter.set_data(parameter.data() * 0)
        net.load_parameters(str(tmp_path / "net"))
    for one, other in zip(_train("off", change, True), _train("on", change, True), strict=True):
        np.testing.assert_allclose(other, one, 1e-9)


def test_deferred_initialisation_inside_a_scope() -> None:
    for hybridize in (False, True):
        net = nn.HybridSequential()
        net.add(nn.Dense(4, activation="tanh"), nn.Dense(2))
        net.initialize(init.One())
        if hybridize:
            net.hybridize()
        with fold.batching():
            outs = [net(nd.ones((1, H)) * i) for i in range(3)]
        for i, out in enumerate(outs):
            np.testing.assert_allclose(out.asnumpy(), np.full((1, 2), 4 * np.tanh(H * i)), 1e-5)


def test_mixed_precision_switched_on_and_off() -> None:
    net = nn.HybridSequential()
    net.add(nn.Dense(4, in_units=H), nn.Activation("tanh"), nn.Dense(2, in_units=4))
    net.initialize(init.Normal(0.5))
    net.hybridize()
    xs, weight = arrays(dtype="float32", attach=False), nd.ones((2, H))

    def run(mode: str) -> list[np.ndarray]:
        with autograd.record(), fold.batching(mode):
            outs = [v for x in xs for v in (net(x), nd.softmax(net(x)),
                                            nd.FullyConnected(nd.tanh(x), weight, no_bias=True, num_hidden=2))]
        autograd.backward([o for o in outs if o._t.requires_grad])
        return [np.array([o.dtype_name for o in outs])] + [o.asnumpy() for o in outs] + [net[0].weight.grad().asnumpy()]

    def same() -> str:
        expected, received = run("off"), run("on")
        assert expected[0].tolist() == received[0].tolist()
        for one, other in zip(expected[1:], received[1:]):
            np.testing.assert_allclose(other, one, 1e-2, 1e-2)
        return str(expected[0][0])
    assert same() == "float32"
    amp.init("bfloat16")
    try:
        assert same() == "bfloat16"
    finally:
        amp.reset()
    assert same() == "float32"
