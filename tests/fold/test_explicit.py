"""`fold.Fold`: programs written for mxnet-fold compute what their samples compute one by one.

The one idea: the same program is run with a Fold and with plain calls; values and gradients agree. Each defect that
mxnet-fold is known for has a test of its own.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import glueball as mx
from glueball import autograd, fold, gluon, nd
from glueball.base.errors import ArgumentError, MXNetError
from glueball.fold.execute import Engine

E, H = 4, 3


def dense(units: int, seed: int, **options: Any) -> Any:
    layer = gluon.nn.Dense(units, in_units=E, **options)
    layer.initialize()
    layer.weight.set_data(nd.array(np.random.default_rng(seed).normal(size=(units, E))))
    return layer


def row(seed: int, size: int = E) -> Any:
    return nd.array(np.random.default_rng(seed).normal(size=(1, size)))


def close(a: Any, b: Any) -> None:
    np.testing.assert_allclose(a.asnumpy(), b.asnumpy(), rtol=1e-5, atol=1e-6)


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the groups that run."""
    found: list[int] = []
    original = Engine._run

    def counted(self: Any, layout: Any) -> None:
        found.append(layout.sizes[layout.group])
        original(self, layout)

    monkeypatch.setattr(Engine, "_run", counted)
    return found


# -- the uses that mxnet-fold is known by ------------------------------------------------------------------------------
class Cell(gluon.HybridBlock):
    """A childsum cell, called as mxnet-fold's example does."""

    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.word = gluon.nn.Dense(H, in_units=E)
            self.sums = gluon.nn.Dense(H, in_units=H, use_bias=False)

    def hybrid_forward(self, F: Any, x: Any, hs: Any, cs: Any) -> Any:
        h = self.word(x)
        if hs:
            h = h + self.sums(F.add_n(*hs))
        c = F.sin(h)
        return F.tanh(h), F.add_n(c, *cs)


def cell_call(cell: Any, x: Any, states: Any) -> Any:
    return cell(x, *states)


def encode(call: Callable[..., Any], cell: Any, tree: Any) -> Any:
    children = [encode(call, cell, child) for child in tree[1:]]
    return call(cell_call, cell, row(tree[0]), ([h for h, _ in children], [c for _, c in children]))


TREES: list[Any] = [(1, (2,), (3, (4,))), (5,), (6, (7, (8,), (9,), (1,)))]


@pytest.mark.parametrize("hybridize", [True, False])
def test_trees(hybridize: bool, groups: list[int]) -> None:
    cell, head, loss = Cell(), gluon.nn.Dense(2, in_units=H), gluon.loss.L2Loss()
    cell.initialize()
    head.initialize()
    if hybridize:
        cell.hybridize()
        head.hybridize()
    found = []
    for folded in (True, False):
        f = fold.Fold()
        with autograd.record():
            predictions: list[Any] = []
            losses: list[Any] = []
            for number, tree in enumerate(TREES):
                call = (lambda op, *a, f=f: f.record(0, op, *a).split(2)) if folded else lambda op, *a: op(*a)
                _, c = encode(call, cell, tree)
                target = row(number, 2)
                prediction = f.record(0, head, c) if folded else head(c)
                predictions.append(prediction)
                losses.append(f.record(0, loss, prediction, target) if folded else loss(prediction, target))
            answers, total = f([predictions, losses]) if folded else (nd.concat(*predictions, dim=0),
                                                                      nd.concat(*losses, dim=0))
        total.backward()
        assert type(answers) is nd.NDArray
        found.append([answers, total, *[p.grad().copy() for p in [*cell.collect_params().values(),
                                                                  *head.collect_params().values()]]])
    for a, b in zip(*found):
        close(a, b)
    if hybridize:
        assert max(groups) >= 5  # all leaves together
        assert len(groups) <= 4 + 1 + 1 + 4  # levels, head, loss, and what joins


def test_a_shared_result_and_an_operator_of_nd() -> None:
    embed = gluon.nn.Embedding(10, 1)
    embed.initialize()
    f = fold.Fold()
    lazy = [f.record(0, embed, nd.array([i % 10])) for i in range(15)]
    shared = f.record(0, nd.concat, *lazy).no_batch()
    found = f([[f.record(0, nd.dot, lazy[i % 10], shared) for i in range(30)]])[0]
    values = embed(nd.array([i % 10 for i in range(15)]))
    assert found.shape == (30, 15)
    close(found, nd.concat(*[nd.dot(values[i % 10:i % 10 + 1], values.T) for i in range(30)], dim=0))


@pytest.mark.parametrize("kind", [gluon.rnn.LSTMCell, gluon.rnn.GRUCell, gluon.rnn.RNNCell])
@pytest.mark.parametrize("layout", ["NTC", "TNC"])
def test_unroll(kind: Any, layout: str, groups: list[int]) -> None:
    cell = kind(H, input_size=E)
    cell.initialize()
    cell.hybridize()
    f = fold.Fold()
    sequences = [nd.array(np.random.default_rng(n).normal(size=(1, n, E) if layout == "NTC" else (n, 1, E)))
                 for n in (3, 1, 5)]
    nodes = [fold.fold_unroll(cell, f, length, x, layout=layout) for length, x in zip((3, 1, 5), sequences)]
    found = f([[o for outputs, _ in nodes for o in outputs], *[[states[i] for _, states in nodes] for i in
                                                               range(len(cell.state_info()))]])
    plain = [cell.unroll(length, x, layout=layout) for length, x in zip((3, 1, 5), sequences)]
    close(found[0], nd.concat(*[o for outputs, _ in plain for o in outputs], dim=0))
    for i, states in enumerate(found[1:]):
        close(states, nd.concat(*[ends[i] for _, ends in plain], dim=0))


def test_unroll_of_steps_and_states_that_are_results() -> None:
    cell = gluon.rnn.LSTMCell(H, input_size=E)
    cell.initialize()
    f = fold.Fold()
    x = [f.record(0, nd.tanh, row(i)) for i in range(3)]
    _, first = fold.fold_unroll(cell, f, 2, x[:2])
    _, states = fold.fold_unroll(cell, f, 1, x[2:], begin_state=first)
    expected = cell.unroll(3, [nd.tanh(row(i)) for i in range(3)])[1]
    for a, b in zip(f([[s] for s in states]), expected):
        close(a, b)


def test_gradients_reach_inputs_although_recording_came_first() -> None:
    cell = gluon.rnn.GRUCell(H, input_size=E)
    cell.initialize()
    x = nd.array(np.random.default_rng(1).normal(size=(1, 4, E)))
    x.attach_grad()
    f = fold.Fold()
    outputs, _ = fold.fold_unroll(cell, f, 4, x)
    with autograd.record():
        f([outputs])[0].sum().backward()
    folded = x.grad.copy()
    with autograd.record():
        cell.unroll(4, x, merge_outputs=True)[0].sum().backward()
    close(folded, x.grad)


# -- what mxnet-fold gets wrong ----------------------------------------------------------------------------------------
def test_an_operator_of_two_results_of_equal_arguments() -> None:
    a, b, f = dense(H, 1), dense(H, 2), fold.Fold()
    x = row(0)
    one, two = f.record(0, a, x), f.record(0, b, x)
    found = f([[f.record(0, nd.tanh, one), f.record(0, nd.tanh, two)]])[0]
    close(found, nd.concat(nd.tanh(a(x)), nd.tanh(b(x)), dim=0))
    assert abs(found[0] - found[1]).sum().asscalar() > 1e-3


def test_every_sample_may_have_a_shared_argument_of_its_own() -> None:
    f = fold.Fold()
    tables = [nd.array(np.random.default_rng(i).normal(size=(E, 2))) for i in range(2)]
    shared = [f.record(0, nd.exp, table).no_batch() for table in tables]
    found = f([[f.record(0, nd.dot, row(i), shared[min(i, 1)]) for i in range(4)]])[0]
    expected = [nd.dot(row(i), nd.exp(tables[min(i, 1)])) for i in range(4)]
    close(found, nd.concat(*expected, dim=0))


def test_shared_results_come_once_and_only_alone() -> None:
    f = fold.Fold()
    one, two = f.record(0, nd.exp, row(0)).no_batch(), f.record(0, nd.exp, row(1)).no_batch()
    close(f([[one, one]], reset=False)[0], nd.exp(row(0)))
    with pytest.raises(ArgumentError, match="no_batch"):
        f([[one, two]])


def test_every_list_is_joined_along_its_own_axis() -> None:
    f = fold.Fold()
    rows = [f.record(0, nd.tanh, row(i)) for i in range(3)]
    columns = [f.record(1, nd.transpose, node) for node in rows]
    joined_rows, joined_columns, again = f([rows, columns, rows])
    assert joined_rows.shape == again.shape == (3, E)
    assert joined_columns.shape == (E, 3)
    close(joined_rows, joined_columns.T)
    f = fold.Fold()
    with pytest.raises(ArgumentError, match=r"list 1: batch axes \[0, 1\]"):
        f([[f.record(0, nd.tanh, row(0))], [f.record(0, nd.tanh, row(0)), f.record(1, nd.tanh, row(0))]])


def test_expand_dims() -> None:
    f = fold.Fold()
    node = f.record(0, nd.tanh, row(0))
    wide = node.expand_dims(1)
    deep = wide.expand_dims(0)
    found = f([[node], [wide], [deep], [f.record(0, nd.relu, wide)]])
    assert [v.shape for v in found] == [(1, E), (1, 1, E), (1, 1, 1, E), (1, 1, E)]


def test_results_of_different_shapes() -> None:
    f, net = fold.Fold(), dense(2, 1, flatten=False)
    lengths = (2, 5, 1, 5)
    nodes = [f.record(0, net, nd.ones((n, E)) * n) for n in lengths]
    close(f([nodes])[0], nd.concat(*[net(nd.ones((n, E)) * n) for n in lengths], dim=0))


def test_equal_calls_draw_different_numbers() -> None:
    f, x = fold.Fold(), nd.ones((1, 200))
    with autograd.record():
        found = f([[f.record(0, nd.Dropout, x) for _ in range(2)]])[0].asnumpy()
    assert (found[0] != found[1]).any()


def test_the_device_is_that_of_the_call() -> None:
    def state() -> Any:
        return nd.zeros((1, 2))

    f = fold.Fold()
    with mx.cpu(1):
        assert f([[f.record(0, state)]])[0].context == mx.cpu(1)
    f = fold.Fold(ctx=mx.cpu(1))
    assert f([[f.record(0, state)]])[0].context == mx.cpu(1)
    assert f([[f.record(0, nd.tanh, row(0).as_in_context(mx.cpu(1)))]])[0].context == mx.cpu(1)


# -- further ways to use it --------------------------------------------------------------------------------------------
def test_records_can_be_run_again() -> None:
    net = dense(1, 1, use_bias=False)
    f = fold.Fold()
    nodes = [f.record(0, net, row(i)) for i in range(3)]
    first = f([nodes], reset=False)[0]
    net.weight.set_data(net.weight.data() * 2)
    close(f([nodes])[0], first * 2)
    with pytest.raises(ArgumentError, match="forgotten"):
        f([nodes])
    assert repr(f) == "Fold of 0 calls"


def test_only_what_is_needed_runs() -> None:
    called: list[int] = []
    f = fold.Fold()

    def noted(x: Any) -> Any:
        called.append(len(called))
        return x

    nodes = [f.record(0, noted, row(i)) for i in range(3)]
    f([[f.record(0, nd.tanh, nodes[1])]])
    assert len(called) == 1


def test_parts_and_nested_arguments() -> None:
    def step(x: Any, more: dict[str, Any], states: tuple[Any, list[Any]]) -> Any:
        return [x + more["bias"] * more["scale"], (states[0], states[1][0] - x)]

    f = fold.Fold()
    nodes = [f.record(0, step, row(i), {"bias": f.record(0, nd.tanh, row(9)), "scale": 2}, (row(i + 1), [row(i + 2)]))
             for i in range(3)]
    deep = [node[1][1] for node in nodes]
    assert len(nodes[0][0:2]) == 2
    whole, parts = f([nodes, deep])
    close(whole[0], nd.concat(*[row(i) + nd.tanh(row(9)) * 2 for i in range(3)], dim=0))
    close(whole[1][0], nd.concat(*[row(i + 1) for i in range(3)], dim=0))
    close(parts, nd.concat(*[row(i + 2) - row(i) for i in range(3)], dim=0))


def test_vectors_are_joined_along_their_axis() -> None:
    f = fold.Fold()
    nodes = [f.record(0, nd.sum, row(i), 1) for i in range(3)]
    mixed = [f.record(0, nd.tanh, nd.ones((n,)) * n) for n in (2, 3)]
    found, others = f([nodes, mixed])
    close(found, nd.concat(*[row(i).sum(axis=1) for i in range(3)], dim=0))
    close(others, nd.tanh(nd.array([2, 2, 3, 3, 3])))


def test_inside_a_scope_and_where_folding_is_off() -> None:
    net = dense(2, 1)
    expected = nd.concat(*[nd.tanh(net(row(i))) for i in range(3)], dim=0)
    for mode in ("on", "off"):
        f = fold.Fold()
        with fold.batching(mode=mode):
            found = f([[f.record(0, nd.tanh, f.record(0, net, row(i))) for i in range(3)]])[0] * 1
        close(found, expected)


def test_what_was_recorded_is_shown() -> None:
    f = fold.Fold()
    for i in range(3):
        f.record(0, nd.tanh, row(i))
    text = repr(f)
    assert "3 x tanh, batch axis 0" in text
    assert "test_explicit.py:" in text


# -- mistakes ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("run", "text"), [
    (lambda f, n: f.record(-1, nd.tanh, row(0)), "counted from the front"),
    (lambda f, n: f.record(nd.tanh, row(0)), "batch axis"),
    (lambda f, n: f.record(0, row(0), row(0)), "callable"),
    (lambda f, n: f.record(0, nd.tanh, fold.Fold().record(0, nd.tanh, row(0))), "another one"),
    (lambda f, n: f([fold.Fold().record(0, nd.tanh, row(0))]), "lists of results"),
    (lambda f, n: f([n]), "list 0"),
    (lambda f, n: f([[n], []]), "list 1: an empty list"),
    (lambda f, n: f([[n, row(0)]]), "lists of results"),
    (lambda f, n: n["h"], "place"),
    (lambda f, n: n[:], "with an end"),
    (lambda f, n: n.split(0), "number of parts"),
    (lambda f, n: f([[n[7]]]), r"no such part"),
    (lambda f, n: fold.Fold(ctx="cpu"), "device"),
    (lambda f, n: fold.fold_unroll(gluon.rnn.RNNCell(2), f, 3, nd.ones((1, 4, 2))), "length"),
    (lambda f, n: fold.fold_unroll(gluon.rnn.RNNCell(2), f, 0, nd.ones((1, 4, 2))), "at least one step"),
])
def test_mistakes_are_named(run: Callable[[Any, Any], Any], text: str) -> None:
    f = fold.Fold()
    with pytest.raises(ArgumentError, match=text):
        run(f, f.record(0, nd.tanh, row(0)))


def test_unpacking_a_result_says_how() -> None:
    f = fold.Fold()
    with pytest.raises(TypeError, match=r"split\(2\)"):
        _, _ = f.record(0, nd.tanh, row(0))


def test_an_error_names_the_line_of_its_record() -> None:
    def broken(x: Any) -> Any:
        raise KeyError("nothing there")

    f = fold.Fold()
    node = f.record(0, broken, row(0))
    with pytest.raises(KeyError) as caught:
        f([[node]])
    notes = "".join(getattr(caught.value, "__notes__", ())) + str(caught.value)
    assert "recorded at" in notes
    assert "test_explicit.py" in notes


def test_results_that_are_not_arrays_are_named() -> None:
    f = fold.Fold()
    with pytest.raises(MXNetError, match="int"):
        f([[f.record(0, lambda x: 3, row(0))]])
