"""Blocks that take lists of children become programs for any number of them, or a reason in words.

The one idea: a program found from a trace for some number of children must give the block's own values for every other
number. Cells in the styles that people write, cells that must be refused, and cells made up by hypothesis.
"""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball import autograd, fold, gluon, nd
from glueball.fold.ragged import find_ragged, to_program
from glueball.fold.steps import Program
from glueball.fold.verify import agrees, run_program
from glueball.gluon import nn
from glueball.gluon.trace import make_cached_op

SIZE = 4
SHAPES = ((1, SIZE), (SIZE,))


class Cell(gluon.HybridBlock):
    """A block whose forward is a function of the test."""

    def __init__(self, rule: Any) -> None:
        super().__init__()
        self.rule = rule
        with self.name_scope():
            for name in ("own", "left", "right", "gate"):
                setattr(self, name, nn.Dense(SIZE, in_units=SIZE, flatten=False))
            self.score = nn.Dense(1, in_units=SIZE, flatten=False)
            self.wide = nn.Dense(3 * SIZE, in_units=SIZE, flatten=False)
            self.drop = nn.Dropout(0.5)
            self.norm = nn.BatchNorm(in_channels=SIZE)
            self.layer_norm = nn.LayerNorm(in_channels=SIZE)
            self.shift = self.params.get("shift", shape=(1, SIZE), init="uniform")

    def hybrid_forward(self, F: Any, x: Any, hs: Any, cs: Any, shift: Any) -> Any:
        """Apply the rule."""
        self.shifted = shift
        return self.rule(F, self, x, hs, cs)


def sample(count, shape=(1, SIZE)):
    def array():
        return nd.array(np.random.randn(*shape), dtype="float32")
    return array(), [array() for _ in range(count)], [array() for _ in range(count)]


def traced(cell, args, training=False):
    """Return what find_ragged and agrees take, and the parameters' values."""
    graph = make_cached_op(cell).build(args, training)
    nodes = iter(graph.data)
    arguments = [[next(nodes) for _ in a] if isinstance(a, list) else next(nodes) for a in args]
    shared = [*graph.parameters, *graph.constants]
    values = [(v if isinstance(v, nd.NDArray) else v.data())._t for _, v in shared]
    return (graph.outputs, arguments, [n for n, _ in shared], graph.types), values


def made(rule, count=3, shape=(1, SIZE), training=False):
    cell = Cell(rule)
    cell.initialize()
    graph, values = traced(cell, sample(count, shape), training)
    return cell, find_ragged(*graph, training=training), values


def interpreted(program, args, values):
    return [t.detach().numpy() for t in run_program(
        program, [[c._t for c in a] if isinstance(a, list) else a._t for a in args], values)]


def listed(result):
    return list(result) if isinstance(result, (list, tuple)) else [result]


def check_everywhere(cell, program, values, shape=(1, SIZE), counts=(1, 2, 3, 4, 5)):
    """The program gives the block's values for every number of children."""
    assert isinstance(program, Program), program
    for count in counts:
        args = sample(count, shape)
        for expected, found in zip(listed(cell(*args)), interpreted(program, args, values), strict=True):
            np.testing.assert_allclose(found, expected.asnumpy(), rtol=1e-4, atol=1e-5)
        assert agrees(program, *traced(cell, args)[0]), count


def child_sum(F, cell, x, hs, cs):
    gates = cell.wide(x) + cell.wide(F.add_n(*hs))
    i, o, u = F.split(gates, 3, axis=-1)
    c = F.sigmoid(i) * F.tanh(u)
    forget = cell.left(x)
    for h, c_of in zip(hs, cs):
        c = c + F.sigmoid(forget + cell.right(h)) * c_of
    return F.sigmoid(o) * F.tanh(c), c


def attention(F, cell, x, hs, cs):
    stacked = F.stack(*hs, axis=0)
    scores = F.softmax(cell.score(F.tanh(F.broadcast_add(cell.left(stacked), cell.right(x)))), axis=0)
    return F.sum(F.broadcast_mul(scores, stacked), axis=0)


def exponentials(F, cell, x, hs, cs):
    powers = [F.exp(cell.score(h * x)) for h in hs]
    total = F.add_n(*powers)
    return F.add_n(*[F.broadcast_mul(F.broadcast_div(p, total), c) for p, c in zip(powers, cs)])


def loop_with_tail(F, cell, x, hs, cs):
    total = hs[0] + x
    for h in hs[1:]:
        total = total + h
        total = total + x
    return total


def running_maximum(F, cell, x, hs, cs):
    best = hs[0]
    for h in hs[1:]:
        best = F.maximum(best, h)
    return F.maximum(best, x)


def two_layers(F, cell, x, hs, cs):
    middle = F.tanh(cell.own(sum(hs)) + x)
    again = sum(F.sigmoid(cell.left(middle) + cell.right(h)) * c for h, c in zip(hs, cs))
    return again, F.mean(F.stack(*[cell.gate(h) * again for h in hs], axis=0), axis=0)


def from_zeros(F, cell, x, hs, cs):
    total = F.zeros_like(hs[0])
    for h in hs:
        total = total + cell.left(h)
    return total


def multi_term_loop(F, cell, x, hs, cs):
    total = x
    for h, c in zip(hs, cs):
        total = total + cell.left(h) - c
        total = total + h * c
    return F.tanh(total)


def by_split(F, cell, x, hs, cs):
    parts = F.split(cell.gate(F.stack(*hs, axis=0)), num_outputs=len(hs), axis=0, squeeze_axis=True)
    return F.add_n(*[F.sigmoid(p) * c for p, c in zip(parts if len(hs) > 1 else [parts], cs)])


def by_slices(F, cell, x, hs, cs):
    joined = F.stack(*hs, axis=0)
    total = x
    for i, c in enumerate(cs):
        total = total + cell.left(joined[i]) * c
    return total


def attention_with_node(F, cell, x, hs, cs):
    stacked = F.stack(cell.own(x), *[cell.own(h) for h in hs], axis=0)
    weights = F.softmax(F.broadcast_add(cell.score(cell.left(stacked)), cell.score(x)), axis=0)
    return F.sum(F.broadcast_mul(weights, stacked), axis=0)


def weights_with_node(F, cell, x, hs, cs):
    weights = F.log_softmax(F.stack(*hs, x, axis=0), axis=0)
    total = F.slice_axis(weights, axis=0, begin=len(hs), end=len(hs) + 1)[0] * x
    for i, c in enumerate(cs):
        total = total + weights[i] * c
    return total


STYLES = {
    "childsum": child_sum,
    "python sum": lambda F, cell, x, hs, cs: F.tanh(cell.own(x) + cell.left(sum(hs))),
    "add_n": lambda F, cell, x, hs, cs: F.tanh(cell.own(x) + cell.left(F.add_n(*hs))),
    "add_n with the node": lambda F, cell, x, hs, cs: F.tanh(F.add_n(x, *hs)),
    "add_n of both lists": lambda F, cell, x, hs, cs: F.add_n(*hs, *[cell.left(c) for c in cs]),
    "stack, sum": lambda F, cell, x, hs, cs: x + F.sum(F.stack(*hs, axis=0), axis=0),
    "stack in the middle": lambda F, cell, x, hs, cs: x + F.stack(*hs, axis=-2).sum(axis=-2),
    "stacks multiplied": lambda F, cell, x, hs, cs: F.sum(
        F.sigmoid(F.broadcast_add(cell.left(F.stack(*hs, axis=0)), cell.own(x))) * F.stack(*cs, axis=0), axis=0) + x,
    "mean of a stack": lambda F, cell, x, hs, cs: x * F.mean(F.stack(*hs, axis=0), axis=0),
    "sum / k": lambda F, cell, x, hs, cs: cell.left(sum(hs) / len(hs)) + x,
    "sum * 1/k": lambda F, cell, x, hs, cs: cell.left(F.add_n(*hs) * (1.0 / len(hs))) + x,
    "sum of h / k": lambda F, cell, x, hs, cs: x + sum(F.tanh(h) / len(hs) for h in hs),
    "(sum + sum) / k": lambda F, cell, x, hs, cs: (F.add_n(*hs) + F.add_n(*cs)) / len(hs),
    "maximum of a stack": lambda F, cell, x, hs, cs: x + F.max(F.stack(*hs, axis=0), axis=0),
    "minimum of a stack": lambda F, cell, x, hs, cs: x + F.min(F.stack(*hs, axis=0), axis=0),
    "running maximum": running_maximum,
    "attention": attention,
    "exponentials": exponentials,
    "log_softmax": lambda F, cell, x, hs, cs: F.sum(F.log_softmax(F.stack(*hs, axis=0), axis=0, temperature=2.0) *
                                                    F.stack(*cs, axis=0), axis=0) * x,
    "softmin": lambda F, cell, x, hs, cs: F.max(F.softmin(F.stack(*hs, axis=0), axis=0), axis=0) * x,
    "one list": lambda F, cell, x, hs, cs: F.tanh(x + sum(cell.left(c) for c in cs)),
    "no list": lambda F, cell, x, hs, cs: F.tanh(cell.own(x)),
    "two layers": two_layers,
    "per child x": lambda F, cell, x, hs, cs: sum(cell.left(h) + x for h in hs),
    "loop that ends with x": loop_with_tail,
    "per child parameter": lambda F, cell, x, hs, cs: F.add_n(*[F.broadcast_add(h, cell.shifted) for h in hs]),
    "from zeros": from_zeros,
    "several terms": multi_term_loop,
    "split again": by_split,
    "indexed again": by_slices,
    "norms": lambda F, cell, x, hs, cs: F.add_n(*[cell.layer_norm(h) * x for h in hs]),
    "leaky": lambda F, cell, x, hs, cs: sum(F.LeakyReLU(cell.left(h) + F.LeakyReLU(x)) for h in hs),
    "twice": lambda F, cell, x, hs, cs: F.add_n(*hs) + F.add_n(*hs) - F.add_n(*cs),
    "total of squares": lambda F, cell, x, hs, cs: x * F.sqrt(F.sum(F.square(F.stack(*hs, axis=0)))),
    "all in all": lambda F, cell, x, hs, cs: F.mean(F.stack(*hs, axis=0)) * x,
    "sum with the node": lambda F, cell, x, hs, cs: F.sum(F.tanh(F.stack(x, *hs, axis=0)), axis=0),
    "mean with the node": lambda F, cell, x, hs, cs: F.mean(cell.left(F.stack(*hs, x, axis=0)), axis=0),
    "maximum with the node": lambda F, cell, x, hs, cs: F.max(F.stack(x, *hs, cell.own(x), axis=0), axis=0),
    "attention with the node": attention_with_node,
    "weights with the node": weights_with_node,
    "dropout": lambda F, cell, x, hs, cs: sum(cell.drop(h) for h in hs) + cell.drop(x),
}
ROWS_ONLY = {
    "concat, sum": lambda F, cell, x, hs, cs: x + F.sum(F.concat(*hs, dim=0), axis=0, keepdims=True),
    "concat, mean": lambda F, cell, x, hs, cs: x + F.expand_dims(F.mean(F.concat(*hs, dim=0), axis=0), axis=0),
    "layer on concat": lambda F, cell, x, hs, cs: F.max(
        cell.left(F.concat(*hs, dim=0)) * F.concat(*cs, dim=0), axis=0, keepdims=True) - x,
    "attention by dot": lambda F, cell, x, hs, cs: F.dot(
        F.softmax(F.dot(x, F.concat(*hs, dim=0), transpose_b=True), axis=-1), F.concat(*cs, dim=0)),
    "attention by batch_dot": lambda F, cell, x, hs, cs: F.reshape(F.batch_dot(
        F.expand_dims(F.softmax(F.concat(*[cell.score(h) for h in hs], dim=1), axis=1), axis=1),
        F.stack(*hs, axis=1)), (1, SIZE)),
    "wide concat": lambda F, cell, x, hs, cs: x * F.sum(F.tanh(F.concat(*hs, dim=1)), axis=1, keepdims=True),
    "softmax over everything": lambda F, cell, x, hs, cs: x * F.max(
        F.softmax(F.concat(*hs, dim=1), axis=1), axis=1, keepdims=True),
    "query tiled": lambda F, cell, x, hs, cs: F.dot(F.softmax(cell.score(F.tanh(
        F.tile(cell.left(x), reps=(len(hs), 1)) + F.concat(*hs, dim=0))), axis=0), F.concat(*cs, dim=0),
        transpose_a=True),
    "query repeated": lambda F, cell, x, hs, cs: F.slice_axis(F.sum(F.concat(
        F.broadcast_axis(x, axis=0, size=len(hs)), F.concat(*hs, dim=0), dim=1), axis=0, keepdims=True),
        axis=1, begin=2, end=2 + SIZE),
    "query concatenated": lambda F, cell, x, hs, cs: F.sum(
        F.concat(*[x for _ in hs], dim=0) * F.concat(*hs, dim=0), axis=0, keepdims=True),
    "query broadcast": lambda F, cell, x, hs, cs: cell.left(F.max(F.concat(
        F.broadcast_like(x, F.concat(*hs, dim=0)), F.concat(*hs, dim=0), dim=1), axis=0, keepdims=True)[:, 1:SIZE + 1]),

    "reshaped": lambda F, cell, x, hs, cs: F.sum(F.reshape(F.concat(*hs, dim=1), (len(hs), SIZE)), axis=0,
                                                 keepdims=True) * x,
}


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("style", STYLES)
def test_styles(style, count):
    cell, program, values = made(STYLES[style], count)
    check_everywhere(cell, program, values)


@pytest.mark.parametrize("style", STYLES)
def test_styles_on_vectors(style):
    cell, program, values = made(STYLES[style], 3, (SIZE,))
    check_everywhere(cell, program, values, (SIZE,), (1, 2, 4))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("style", ROWS_ONLY)
def test_styles_with_concat(style, count):
    cell, program, values = made(ROWS_ONLY[style], count)
    check_everywhere(cell, program, values)


def positions(F, cell, x, hs, cs):
    return sum(h * (i + 1.0) for i, h in enumerate(hs))


REFUSED = {
    "left and right": (2, lambda F, cell, x, hs, cs: cell.left(hs[0]) + cell.right(hs[1]) + x, "treats the children"),
    "a weight per position": (3, positions, "treats the children differently"),
    "one child left out": (3, lambda F, cell, x, hs, cs: sum(hs[1:]) + x, "treats the children differently"),
    "the first child": (3, lambda F, cell, x, hs, cs: cell.left(hs[0]), "child 0 alone"),
    "a product": (2, lambda F, cell, x, hs, cs: hs[0] * hs[1] * x, "mixes single children"),
    "neighbours": (3, lambda F, cell, x, hs, cs: F.add_n(*[h * c for h, c in zip(hs, cs[1:] + cs[:1])]), "mixes"),
    "a list returned": (3, lambda F, cell, x, hs, cs: [cell.left(h) for h in hs], "child 0 alone"),
    "a stack returned": (3, lambda F, cell, x, hs, cs: F.stack(*hs, axis=0), "a value for each child"),
    "out of order": (3, lambda F, cell, x, hs, cs: F.sum(F.stack(*hs[::-1], axis=0), axis=0), "in order"),
    "differences": (3, lambda F, cell, x, hs, cs: F.sum(F.sort(F.stack(*hs, axis=0), axis=0), axis=0),
                    "sort on joined children"),
    "a slice across children": (3, lambda F, cell, x, hs, cs: x * F.slice_axis(
        F.concat(*hs, dim=1), axis=1, begin=1, end=SIZE + 1), "slice_axis on joined children"),
    "a layer over the concatenation": (2, lambda F, cell, x, hs, cs: F.FullyConnected(
        F.concat(*hs, dim=1), F.concat(cell.shifted, cell.shifted * 2, dim=1), no_bias=True,
        num_hidden=1) * x,
        "FullyConnected on joined children"),
    "some of the children": (3, lambda F, cell, x, hs, cs: F.tanh(hs[0] + hs[1]) + hs[2],
                             "the child itself of child 0 has no counterpart for child 2"),
    "a random weight per child": (3, lambda F, cell, x, hs, cs: sum(cell.drop(x) * h for h in hs), "differently"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_words(name):
    count, rule, words = REFUSED[name]
    _, reason, _ = made(rule, count)
    assert isinstance(reason, str)
    assert words in reason


def test_the_reason_names_the_line():
    _, reason, _ = made(lambda F, cell, x, hs, cs: hs[0] * hs[1])
    assert isinstance(reason, str)
    assert "test_ragged.py:" in reason


def test_a_state_that_is_updated_is_refused_in_train_mode_only():
    def rule(F, cell, x, hs, cs):
        return sum(cell.norm(h) for h in hs)
    with autograd.train_mode():
        _, reason, _ = made(rule, training=True)
    assert reason.startswith("BatchNorm updates a state in train mode")
    cell, program, values = made(rule)
    check_everywhere(cell, program, values)


def test_calls_that_do_not_show_enough():
    cell = Cell(STYLES["add_n"])
    cell.initialize()
    (outputs, arguments, shared, types), _ = traced(cell, sample(1))
    assert "1 child" in str(find_ragged(outputs, arguments, shared, types))
    x, hs, cs = sample(3)
    (outputs, arguments, shared, types), _ = traced(cell, (x, hs, cs[:2]))
    assert "different lengths: 3, 2" in str(find_ragged(outputs, arguments, shared, types))
    hs[1] = nd.ones((2, SIZE))
    cell = Cell(lambda F, cell, x, hs, cs: F.add_n(*[F.sum(h, axis=0, keepdims=True) for h in hs]))
    cell.initialize()
    (outputs, arguments, shared, types), _ = traced(cell, (x, hs, cs))
    assert "differ in shape or dtype" in str(find_ragged(outputs, arguments, shared, types))


def test_without_lists_every_step_is_of_the_node():
    cell = nn.Dense(SIZE, in_units=SIZE, activation="relu")
    cell.initialize()
    x = nd.ones((1, SIZE))
    graph, values = traced(cell, (x,))
    for program in (find_ragged(*graph), to_program(*graph)):
        assert isinstance(program, Program)
        assert set(program.levels) == {"node"}
        np.testing.assert_allclose(interpreted(program, [x], values)[0], cell(x).asnumpy(), rtol=1e-6)
        assert agrees(program, *graph)


# -- what the trace cannot tell, another trace does --------------------------------------------------------------------
def test_a_literal_half_is_told_from_a_mean_by_another_count():
    def rule(F, cell, x, hs, cs):
        return F.add_n(*hs) * 0.5 + x
    cell, as_mean, _ = made(rule, 2)
    second, _ = traced(cell, sample(3))
    assert isinstance(as_mean, Program)
    assert not agrees(as_mean, *second)
    program = find_ragged(*second)
    assert isinstance(program, Program)
    assert all(agrees(program, *traced(cell, sample(k))[0]) for k in (1, 2, 4))


@pytest.mark.parametrize("rule", [
    lambda F, cell, x, hs, cs: F.add_n(*hs) / len(hs) ** 0.5,
    lambda F, cell, x, hs, cs: F.add_n(*hs) + (len(hs) - 1) * x,
    lambda F, cell, x, hs, cs: F.add_n(*hs) if len(hs) == 3 else F.max(F.stack(*hs, axis=0), axis=0),
    lambda F, cell, x, hs, cs: F.add_n(*hs) if len(hs) == 3 else F.add_n(*cs),
], ids=["scaled by the square root", "x as often as children", "another reduction", "another list"])
def test_another_count_disagrees(rule):
    cell, program, _ = made(rule, 3)
    assert isinstance(program, Program)
    graph, _ = traced(cell, sample(2))
    assert not agrees(program, *graph)


def test_a_different_structure_disagrees():
    cell, program, _ = made(STYLES["add_n"])
    outputs, arguments, shared, types = traced(cell, sample(2))[0]
    assert not agrees(program, outputs, arguments, shared[:-1], types)
    assert not agrees(program, outputs, [arguments[0], arguments[0], arguments[2]], shared, types)
    assert not agrees(program, [*outputs, *outputs], arguments, shared, types)


# -- the program itself ------------------------------------------------------------------------------------------------
def names(program, level):
    return [s.op if isinstance(s.op, str) else s.op.name for s in program.steps if s.level == level]


def test_childsum_has_the_least_steps_per_child():
    """What belongs to the node is computed once and spread once; a child's part is one layer and its gate."""
    _, program, _ = made(STYLES["childsum"], 5)
    assert isinstance(program, Program)
    assert names(program, "edge") == ["FullyConnected", "spread", "elemwise_add", "sigmoid", "elemwise_mul"]
    assert names(program, "node").count("sum") == 2


def test_stacks_leave_no_trace():
    _, program, _ = made(STYLES["stacks multiplied"], 4)
    assert isinstance(program, Program)
    assert not {"stack", "expand_dims", "Concat"} & {*names(program, "edge"), *names(program, "node")}


def test_each_child_draws_its_own_mask():
    with autograd.train_mode():
        cell, program, values = made(lambda F, cell, x, hs, cs: sum(cell.drop(h) for h in hs), training=True)
    assert isinstance(program, Program)
    assert names(program, "edge") == ["Dropout"]
    ones = [torch.ones(1, 1000) for _ in range(2)]
    total, = run_program(program, [torch.ones(1, SIZE), ones, ones], values, training=True)
    assert sorted(set(total.flatten().tolist())) == [0.0, 2.0, 4.0]


def test_two_masks_on_one_child_stay_two():
    with autograd.train_mode():
        _, program, _ = made(lambda F, cell, x, hs, cs: sum(cell.drop(h) + cell.drop(h) for h in hs), training=True)
    assert isinstance(program, Program)
    assert names(program, "edge").count("Dropout") == 2


def test_the_random_state_is_left_alone():
    before = torch.get_rng_state()
    cell, program, _ = made(STYLES["dropout"])
    torch.set_rng_state(before)
    graph, _ = traced(cell, sample(2))
    assert agrees(program, *graph)
    assert isinstance(find_ragged(*graph), Program)
    assert torch.equal(torch.get_rng_state(), before)


def test_gradients_of_attention():
    """The shift of the softmax is taken out of the tape; gradients are the block's all the same."""
    cell, program, values = made(STYLES["attention"])
    x, hs, cs = sample(4)
    for h in hs:
        h.attach_grad()
    with autograd.record():
        loss = (cell(x, hs, cs) ** 2).sum()
    loss.backward()
    leaves = [h._t.detach().clone().requires_grad_() for h in hs]
    result, = run_program(program, [x._t, leaves, [c._t for c in cs]], [v.detach() for v in values])
    (result ** 2).sum().backward()
    for leaf, h in zip(leaves, hs):
        np.testing.assert_allclose(leaf.grad.numpy(), h.grad.asnumpy(), rtol=1e-4, atol=1e-6)


# -- cells made up -----------------------------------------------------------------------------------------------------
EDGE = st.recursive(
    st.sampled_from(["h", "c", "x", "shift", "made"]),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["tanh", "sigmoid", "left", "right", "drop", "scaled", "negative"]), inner),
        st.tuples(st.sampled_from(["add", "sub", "mul", "max"]), inner, inner)), max_leaves=5)
MEETINGS = ("add_n", "sum", "loop", "stack sum", "stack mean", "stack max", "mean", "concat sum", "running max",
            "softmax")


def edge_value(F, cell, rule, names):
    if isinstance(rule, str):
        return names[rule]
    name, *rest = rule
    a, *b = [edge_value(F, cell, r, names) for r in rest]
    if name == "drop":
        a = a * names["h"]
    if name in ("left", "right", "drop"):
        return getattr(cell, name)(a)
    if name in ("tanh", "sigmoid", "negative"):
        return getattr(F, name)(a)
    if name == "scaled":
        return a * 0.7 + 0.1
    return {"add": F.broadcast_add, "sub": F.broadcast_sub, "mul": F.broadcast_mul, "max": F.broadcast_maximum}[name](
        a, b[0])


def meet(F, name, values, start):
    stacked = F.stack(*values, axis=0)
    if name == "loop":
        for value in values:
            start = start + value
        return start
    if name == "running max":
        for value in values:
            start = F.broadcast_maximum(value, start)
        return start
    return {"add_n": lambda: F.add_n(*values), "sum": lambda: sum(values), "mean": lambda: sum(values) / len(values),
            "stack sum": lambda: F.sum(stacked, axis=0), "stack mean": lambda: F.mean(stacked, axis=0),
            "stack max": lambda: F.max(stacked, axis=0),
            "concat sum": lambda: F.sum(F.concat(*values, dim=0), axis=0, keepdims=True),
            "softmax": lambda: F.sum(F.softmax(stacked, axis=0) * stacked, axis=0)}[name]()


@settings(max_examples=60)
@given(st.lists(st.tuples(EDGE, st.sampled_from(MEETINGS)), min_size=1, max_size=3), st.sampled_from([3, 4, 5]))
def test_made_up_cells(stages, count):
    """Whatever is done to every child alike and put together by a known reduction serves any number of children."""
    def rule(F, cell, x, hs, cs):
        value = x
        for edge, meeting in stages:
            parts = [edge_value(F, cell, ("mul", edge, "h"), {"h": h, "c": c, "x": x, "shift": cell.shifted,
                                                              "made": value}) for h, c in zip(hs, cs)]
            value = F.tanh(meet(F, meeting, parts, value)) + x
        return value
    cell, program, values = made(rule, count)
    check_everywhere(cell, program, values, counts=(1, 2, 3, 4))


def folded_and_not(cell, counts, shape):
    """Return (values, gradients) of calls that feed each other, as they are and folded."""
    args = [sample(k, shape) for k in counts]
    leaves = [a for x, hs, _ in args for a in (x, *hs)]
    cell.hybridize()
    found = []
    for mode in ("off", "on"):
        for leaf in leaves:
            leaf.attach_grad()
        cell.collect_params().zero_grad()
        with autograd.record(train_mode=False):
            with fold.batching(mode):
                outs = []
                for x, hs, cs in args:
                    once = listed(cell(x * 1, [h * 1 for h in hs], [c * 1 for c in cs]))
                    again = listed(cell(x * 1, [once[0] * 1, *[h * 1 for h in hs]], [*[c * 1 for c in cs], x * 2]))
                    outs += [*once, *again]
                total = nd.add_n(*[(out * out).sum() for out in outs])
        total.backward()
        weights = [p.grad() for p in cell.collect_params().values() if p.grad_req != "null"]
        found.append(([o.asnumpy() for o in outs], [g.asnumpy() for g in (*weights, *[leaf.grad for leaf in leaves])]))
    return found


@pytest.mark.parametrize("style", [*STYLES, *ROWS_ONLY])
def test_folded_calls(style):
    """Under fold.batching() calls with any number of children give the values and gradients of the block."""
    cell = Cell({**STYLES, **ROWS_ONLY}[style])
    cell.initialize()
    (values, gradients), (folded_values, folded_gradients) = folded_and_not(cell, (2, 1, 3, 5, 2), (1, SIZE))
    for expected, found in zip([*values, *gradients], [*folded_values, *folded_gradients], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("style", ["maximum of a stack", "minimum of a stack", "running maximum"])
def test_gradients_of_equal_children(style):
    """Equal children get the gradients that the block gives them: all of them, or the first."""
    cell = Cell(STYLES[style])
    cell.initialize()
    same, other, x = (nd.array(np.random.randn(1, SIZE), dtype="float32") for _ in range(3))
    given = [[same, other, same], [same, same, other, same]]
    gradients = []
    for mode in ("off", "on"):
        leaves = [[h.copy() for h in hs] for hs in given]
        for h in (h for hs in leaves for h in hs):
            h.attach_grad()
        cell.hybridize()
        with autograd.record():
            with fold.batching(mode):
                outs = [cell(x, hs, hs) for hs in leaves]
                total = nd.add_n(*[(out * x).sum() for out in outs])
        total.backward()
        gradients.append([h.grad.asnumpy() for hs in leaves for h in hs])
    for eager, folded in zip(*gradients):
        np.testing.assert_allclose(folded, eager, rtol=1e-5, atol=1e-6)
