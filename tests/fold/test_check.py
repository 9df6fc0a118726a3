"""mode="check": right batches pass, and a planted mistake is named with its unit, call and line.

Not here: that batches are right (test_oracle.py).
"""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball import autograd, fold, gluon, init, nd
from glueball.base.errors import MXNetError
from glueball.fold import body, explicit_steps, functions

from .programs import HIDDEN, ChildSum, Model, RandomCell, assert_same, make_samples, random_program, run, tree_program

MODEL = Model(7)
nn = gluon.nn


@settings(max_examples=12)
@given(st.integers(0, 100_000))
def test_generated_programs_pass(seed: int) -> None:
    program, samples = random_program(seed, MODEL), make_samples(seed, 4)
    assert_same(run(program, MODEL, samples, "on"), run(program, MODEL, samples, "check"))


@settings(max_examples=12)
@given(st.integers(0, 100_000))
def test_generated_cells_pass(seed: int) -> None:
    cell = RandomCell(seed, MODEL, 1 + seed % 8)
    cell.hybridize()
    program, samples = tree_program(seed, cell), make_samples(seed, 3)
    assert_same(run(program, MODEL, samples, "on"), run(program, MODEL, samples, "check"))


class Cell(gluon.HybridBlock):
    """The child-sum Tree-LSTM's cell."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        with self.name_scope():
            self.gates = nn.Dense(3 * HIDDEN)
            self.inner = nn.Dense(3 * HIDDEN, use_bias=False)
            self.forget = nn.Dense(HIDDEN)
            self.child = nn.Dense(HIDDEN, use_bias=False)

    def hybrid_forward(self, F: Any, x: Any, hs: Any, cs: Any) -> Any:
        """Return (h, c)."""
        gates = self.gates(x) + self.inner(F.add_n(*hs)) if hs else self.gates(x)
        i, o, u = F.split(gates, 3, axis=1)
        c = F.sigmoid(i) * F.tanh(u)
        for h, cell in zip(hs, cs):
            c = c + F.sigmoid(self.forget(x) + self.child(h)) * cell
        return F.sigmoid(o) * F.tanh(c), c


def _trees(cell: Any, mode: str, dtype: str) -> Any:
    generator = np.random.RandomState(5)
    words = nd.array(generator.randn(40, HIDDEN), dtype=dtype)
    words.attach_grad()

    def node(depth: int, at: int) -> Any:
        children = [node(depth - 1, at * 3 + i + 1) for i in range((at * 7 + depth) % 4)] if depth else []
        return cell(words[at % 40:at % 40 + 1], [h for h, _ in children], [c for _, c in children])
    with autograd.record(), fold.batching(mode):
        roots = [node(3, i) for i in range(5)]
        total = nd.add_n(*[(h * h + c).sum() for h, c in roots])
    total.backward()
    return total.asnumpy(), words.grad.asnumpy(), *[p.grad().asnumpy() for p in cell.collect_params().values()]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("hybridize", [False, True])
def test_the_tree_lstm_passes(dtype: str, hybridize: bool) -> None:
    cell = Cell()
    cell.initialize(init.Normal(0.4))
    cell.cast(dtype)
    if hybridize:
        cell.hybridize()
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    for one, other in zip(_trees(cell, "off", dtype), _trees(cell, "check", dtype), strict=True):
        np.testing.assert_allclose(other, one, tolerance, tolerance)


@pytest.mark.parametrize("mode", ["on", "check"])
def test_the_other_doors_pass(mode: str) -> None:
    cell, gru, dense = Cell(), gluon.rnn.GRUCell(HIDDEN, input_size=HIDDEN), nn.Dense(HIDDEN, in_units=HIDDEN)
    for block in (cell, gru, dense):
        block.initialize(init.Normal(0.4))
        block.cast("float64")
    x = _rows(1, 20, HIDDEN)[0]
    rows = _rows(5, 1, HIDDEN)
    parents = np.array([-1, 0, 0, 2, 2, 2, 5, -1, 7, 7, 9, 9, 9, 12, 12, 12, 12, -1, 17, 18])

    def stepwise(row: Any) -> Any:
        while float(row.sum()) < 3:
            row = row + nd.sigmoid(dense(row))
        return row
    with autograd.record(), fold.batching(mode):
        h, c = fold.tree(cell, x, parents)
        out, states = fold.scan(gru, x, [4, 0, 9, 7])
        ended = fold.map(stepwise, rows)
        total = nd.add_n((h * c).sum(), (out * out).sum(), *[s.sum() for s in states], *[e.sum() for e in ended])
    total.backward()
    assert x.grad.asnumpy().any() and all(r.grad.asnumpy().any() for r in rows)


def _rows(count: int, *shape: int) -> list[Any]:
    generator = np.random.RandomState(2)
    rows = [nd.array(generator.randn(*shape), dtype="float64") for _ in range(count)]
    for row in rows:
        row.attach_grad()
    return rows


def test_a_wrong_batching_rule_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A softmax over the rows of one sample must not see those of the others."""
    xs = _rows(4, 2, 3)
    monkeypatch.setattr(body, "keeps_rows", lambda *_: True)
    with fold.batching():
        wrong = [nd.softmax(nd.tanh(x), axis=0, temperature=1.75) for x in xs]
    assert abs(wrong[1].asnumpy().sum() - 3) > 0.1  # the mistake is there
    with pytest.raises(MXNetError) as caught, fold.batching(mode="check"):
        for x in xs:
            nd.softmax(nd.tanh(x), axis=0, temperature=1.875)
    text = str(caught.value)
    assert "softmax" in text and "call 0 of 4" in text and "test_check.py" in text and "largest difference" in text
    assert "by itself" in text and "tanh" not in text.splitlines()[0]
    with fold.batching(mode="check"):  # nothing of the failed batch is left
        right = nd.tanh(xs[0])
    np.testing.assert_allclose(right.asnumpy(), np.tanh(xs[0].asnumpy()))


def test_a_wrong_value_of_one_sample_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = body.run_rows

    def spoiled(op: Any, *arguments: Any) -> Any:
        results = rows(op, *arguments)
        if op.name == "erf" and results[0].shape[0] > 2:
            results[0][2, 1] += 1e-3
        return results
    monkeypatch.setattr(body, "run_rows", spoiled)
    with pytest.raises(MXNetError, match=r"(?s)erf.*call 2 of 4.*test_check\.py.*0\.001 at \(0, 1\)"):
        with fold.batching(mode="check"):
            for x in _rows(4, 1, 3):
                nd.erf(nd.sin(x))


def test_a_wrong_gradient_of_children_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    spread = functions.spread
    monkeypatch.setattr(explicit_steps, "spread", lambda nodes, segments: spread(nodes, segments) * 2)
    xs = _rows(3, 1, 3)
    with autograd.record(), fold.batching(mode="check"):
        total = nd.add_n(*[nd.add_n(nd.tanh(x), nd.sin(x), nd.cos(x)).sum() for x in xs])
    with pytest.raises(MXNetError, match=r"(?s)add_n.*gradient of an argument.*test_check\.py"):
        total.backward()


def test_a_wrong_gradient_of_a_weight_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = functions.Sink.linear

    def doubled(self: Any, weight: Any, bias: Any, rows: Any, grads: Any, *rest: Any) -> None:
        noted(self, weight, bias, rows * 2, grads, *rest)
    monkeypatch.setattr(functions.Sink, "linear", doubled)
    dense = nn.Dense(2, in_units=3, prefix="suspect_")
    dense.initialize()
    dense.cast("float64")
    with autograd.record(), fold.batching(mode="check"):
        losses = [nd.tanh(dense(x)).sum() for x in _rows(3, 1, 3)]
    with pytest.raises(MXNetError, match=r"(?s)suspect.*gradient of suspect_weight.*sum over 3 calls"):
        autograd.backward(losses)


def test_a_wrong_gradient_in_a_cell_that_is_hoisted_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell()
    cell.initialize(init.Normal(0.4))
    cell.cast("float64")
    cell.hybridize()
    _trees(cell, "check", "float64")
    noted = functions.Sink.linear

    def spoiled(self: Any, weight: Any, bias: Any, rows: Any, grads: Any, *rest: Any) -> None:
        noted(self, weight, bias, rows, grads * 1.01, *rest)
    monkeypatch.setattr(functions.Sink, "linear", spoiled)
    with pytest.raises(MXNetError, match=r"(?s)cell.*gradient of .*weight.*test_check\.py"):
        _trees(cell, "check", "float64")


def test_a_program_for_any_number_of_children_is_compared_with_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rewriting of lists of children is part of what is checked."""
    block = ChildSum()
    block.initialize(init.Normal(0.4))
    block.cast("float64")
    block.hybridize()
    xs = _rows(4, 1, HIDDEN)

    def program(i: int) -> Any:
        return block(nd.sin(xs[i]), [nd.tanh(x) for x in xs[:i + 1]])
    with fold.batching(mode="check"):
        for i in range(4):
            program(i)
    reduce = explicit_steps.reduce_edges

    def spoiled(word: str, edges: Any, *rest: Any) -> Any:
        return reduce(word, edges, *rest) * (1.5 if word == "sum" else 1)
    monkeypatch.setattr(explicit_steps, "reduce_edges", spoiled)
    with pytest.raises(MXNetError, match="(?s)childsum.*call 0 of 4"), fold.batching(mode="check"):
        for i in range(4):
            program(i)


def test_random_calls_are_left_out_and_said_so() -> None:
    drop = nn.Dropout(0.5)
    with autograd.record(), fold.batching(mode="check"):
        outs = [drop(nd.tanh(x)).sum() for x in _rows(3, 1, 50)]
    autograd.backward(outs)
    remarks = [remark for call in drop._fold_unit.calls.values() for remark in call.signature.remarks]
    assert any("random" in remark for remark in remarks)


def test_other_types_and_shapes_pass() -> None:
    with autograd.record(), fold.batching(mode="check"):
        outs = []
        for i, x in enumerate(_rows(4, 2, 3)):
            y = nd.tanh(x)[0:i % 3]
            half, whole = (x * 3).astype("float16"), (x * 3).astype("int32")
            outs += [y.sum(axis=0), nd.softmax(half), whole * 2 + 1, nd.argmax(x, axis=1), x.sum(), nd.max(x, axis=1),
                     (x * float("nan")), (x * float("inf")), nd.stack(y, y)]
    assert all(out.asnumpy() is not None for out in outs)


def test_only_check_pays_for_it() -> None:
    with fold.batching() as scope:
        y = nd.tanh(nd.ones((1, 2)))
    assert scope.mode == "on" and y.folder.engine.checker is None and y.folder.engine.tape.checker is None


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_parameters_that_are_set_anew_before_backward_pass(dtype: str) -> None:
    """What a group ran with is compared, not what its parameters hold by the time of backward."""
    x, net = nd.array([[1.0, 2.0]], dtype=dtype), nn.Dense(2, in_units=2)
    net.initialize()
    net.cast(dtype)
    x.attach_grad()
    with autograd.record(), fold.batching("check"):
        total = nd.add_n(*[net(x * i).sum() for i in range(4)])
    net.weight.grad_req = "null"
    net.weight.grad_req = "write"
    total.backward()
    np.testing.assert_allclose(x.grad.asnumpy(), 6 * net.weight.data().asnumpy().sum(0, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(net.bias.grad().asnumpy(), [4.0, 4.0])


@pytest.mark.parametrize("mode", ["on", "check"])
def test_a_cast_inside_a_scope_comes_after_what_was_recorded(mode: str) -> None:
    x, net = nd.array([[1.0, 2.0]]), nn.Dense(2, in_units=2)
    net.initialize()
    net.hybridize()
    expected = net(x).asnumpy()
    with fold.batching(mode):
        single = [net(x) for _ in range(3)]
        net.cast("float64")
        double = [net(x.astype("float64")) for _ in range(3)]
    assert {y.dtype for y in single} == {np.float32} and {y.dtype for y in double} == {np.float64}
    for y in (*single, *double):
        np.testing.assert_allclose(y.asnumpy(), expected, rtol=1e-5)
