"""`fold.tree`, `fold.dag` and `fold.scan` equal the recursion or the loop that they stand for.

The one idea: the same cell is called node by node with folding off, and both values and all gradients must agree, for
random forests, graphs and sequences, in every order of the nodes, in and outside of a scope. All in double precision.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball import autograd, fold, gluon, nd
from glueball.base.errors import ArgumentError, ShapeError, UnsupportedError
from glueball.fold import arrays
from glueball.fold.execute import Engine

SIZE = 3


class ChildSum(gluon.HybridBlock):
    """Two states, any number of children."""

    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.words = gluon.nn.Dense(4 * SIZE, in_units=SIZE)
            self.sums = gluon.nn.Dense(3 * SIZE, in_units=SIZE, use_bias=False)
            self.forget = gluon.nn.Dense(SIZE, in_units=SIZE, use_bias=False)

    def hybrid_forward(self, F: Any, x: Any, hs: Any, cs: Any) -> Any:
        words = self.words(x)
        gates = F.slice_axis(words, axis=1, begin=0, end=3 * SIZE)
        if hs:
            gates = gates + self.sums(F.add_n(*hs))
        i, o, u = F.split(gates, num_outputs=3, axis=1)
        c = F.sigmoid(i) * F.tanh(u)
        if hs:
            word = F.slice_axis(words, axis=1, begin=3 * SIZE, end=4 * SIZE)
            c = c + F.add_n(*[F.sigmoid(word + self.forget(h)) * old for h, old in zip(hs, cs)])
        return F.sigmoid(o) * F.tanh(c), c


class Attention(gluon.HybridBlock):
    """One bare state; the children are weighed by a softmax."""

    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.word = gluon.nn.Dense(SIZE, in_units=SIZE)

    def hybrid_forward(self, F: Any, x: Any, hs: Any) -> Any:
        x = F.tanh(self.word(x))
        if not hs:
            return x
        rows = F.concat(*hs, dim=0)
        return x + F.dot(F.softmax(F.dot(x, rows, transpose_b=True)), rows)


class InOrder(gluon.HybridBlock):
    """Three states in a list, of two shapes; the order of the children counts, so each fan-out is its own unit."""

    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.word = gluon.nn.Dense(SIZE, in_units=SIZE)

    def hybrid_forward(self, F: Any, x: Any, a: Any, b: Any, d: Any) -> Any:
        own = F.tanh(self.word(x))
        for place, (left, right, deep) in enumerate(zip(a, b, d)):
            own = own + F.tanh(left * (place + 1) - right) * F.broadcast_add(deep, F.zeros_like(own))
        return [own, F.sin(own), F.sum(own, axis=1, keepdims=True)]


class Vector(gluon.HybridBlock):
    """A state without a batch axis, and word numbers for rows."""

    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.table = gluon.nn.Embedding(7, SIZE)

    def hybrid_forward(self, F: Any, x: Any, hs: Any) -> Any:
        own = F.reshape(self.table(x), shape=(SIZE,))
        return F.tanh(F.add_n(own, *hs)) if hs else own


CELLS: list[Callable[[], Any]] = [ChildSum, Attention, InOrder, Vector]


def made(kind: Callable[[], Any], seed: int = 1) -> Any:
    """Return a cell in double precision with weights that depend on the seed only."""
    cell = kind()
    cell.initialize()
    cell.cast("float64")
    numbers = np.random.default_rng(seed)
    for parameter in cell.collect_params().values():
        parameter.set_data(nd.array(numbers.normal(size=parameter.shape), dtype="float64"))
    return cell


def rows_for(cell: Any, count: int, seed: int = 0) -> Any:
    numbers = np.random.default_rng(seed)
    if isinstance(cell, Vector):
        return nd.array(numbers.integers(0, 7, count), dtype="int32")
    x = nd.array(numbers.normal(size=(count, SIZE)), dtype="float64")
    x.attach_grad()
    return x


def by_hand(cell: Any, x: Any, read: Sequence[Sequence[int]]) -> list[Any]:
    """The recursion: node i reads the states of the nodes read[i]."""
    memory: dict[int, list[Any]] = {}
    lists = {ChildSum: 2, InOrder: 3}.get(type(cell), 1)

    def states(node: int) -> list[Any]:
        if node not in memory:
            others = [states(n) for n in read[node]]
            out = cell(x[node:node + 1], *[[s[i] for s in others] for i in range(lists)])
            memory[node] = list(out) if isinstance(out, (list, tuple)) else [out]
        return memory[node]

    every = [states(node) for node in range(len(read))]
    return [nd.concat(*[s[i].reshape((1, -1)) for s in every], dim=0) for i in range(lists)]


def outcome(cell: Any, x: Any, run: Callable[[], Any]) -> list[np.ndarray[Any, Any]]:
    """Values of all states and gradients of everything, where every element counts differently."""
    with autograd.record():
        states = run()
        states = list(states) if isinstance(states, (list, tuple)) else [states]
        loss = nd.zeros((1,), dtype="float64")
        for state in states:
            weights = np.cos(np.arange(state.size)).reshape(state.shape)
            loss = loss + (state * nd.array(weights, dtype="float64")).sum()
    loss.backward()
    found = [state.asnumpy() for state in states] + [p.grad().asnumpy() for p in cell.collect_params().values()]
    return found if x.grad is None else [*found, x.grad.asnumpy()]


def same(a: Sequence[Any], b: Sequence[Any]) -> None:
    assert len(a) == len(b)
    for left, right in zip(a, b):
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-12)


def children_of(parents: Sequence[int]) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in parents]
    for node, parent in enumerate(parents):
        if parent >= 0:
            found[parent].append(node)
    return found


@st.composite
def forests(draw: Any) -> list[int]:
    """Parents of a forest with its nodes in any order."""
    count = draw(st.integers(1, 12))
    above = [draw(st.integers(-1, node - 1)) for node in range(count)]
    order = draw(st.permutations(range(count)))
    parents = [-1] * count
    for node, parent in enumerate(above):
        parents[order[node]] = order[parent] if parent >= 0 else -1
    return parents


@st.composite
def graphs(draw: Any) -> tuple[int, list[tuple[int, int]]]:
    count = draw(st.integers(1, 8))
    order = draw(st.permutations(range(count)))
    pairs = [(a, b) for b in range(count) for a in range(b)]
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=10)) if pairs else []
    return count, [(order[a], order[b]) for a, b in chosen]


@pytest.mark.parametrize("kind", CELLS)
@settings(max_examples=8, deadline=None)
@given(parents=forests(), where=st.sampled_from(["outside", "scope", "off"]), hybridize=st.booleans())
def test_a_tree_is_its_recursion(kind: Any, parents: list[int], where: str, hybridize: bool) -> None:
    cell = made(kind)
    x = rows_for(cell, len(parents))
    expected = outcome(cell, x, lambda: by_hand(cell, x, children_of(parents)))
    if hybridize:
        cell.hybridize()

    def run() -> Any:
        if where == "outside":
            return fold.tree(cell, x, parents)
        with fold.batching(mode="on" if where == "scope" else "off"):
            return fold.tree(cell, x, parents)

    same(outcome(cell, x, run), expected)


@pytest.mark.parametrize("kind", [ChildSum, Attention, InOrder])
@settings(max_examples=8, deadline=None)
@given(graph=graphs(), inside=st.booleans())
def test_a_dag_is_its_recursion(kind: Any, graph: tuple[int, list[tuple[int, int]]], inside: bool) -> None:
    count, edges = graph
    cell = made(kind)
    x = rows_for(cell, count)
    read: list[list[int]] = [[] for _ in range(count)]
    for source, target in edges:
        read[target].append(source)
    expected = outcome(cell, x, lambda: by_hand(cell, x, read))

    def run() -> Any:
        if not inside:
            return fold.dag(cell, x, edges)
        with fold.batching():
            return fold.dag(cell, x, np.array(edges))

    same(outcome(cell, x, run), expected)


def test_results_are_put_together_as_the_cell_does() -> None:
    x = rows_for(None, 2)
    assert isinstance(fold.tree(made(ChildSum), x, [-1, 0]), tuple)
    assert isinstance(fold.tree(made(InOrder), x, [-1, 0]), list)
    assert type(fold.tree(made(Attention), x, [-1, 0])) is nd.NDArray
    with fold.batching():
        inside = fold.tree(made(Attention), x, [-1, 0])
        assert isinstance(inside, nd.NDArray)
        assert type(inside) is not nd.NDArray  # a value to come
        assert inside.shape == (2, SIZE)
    assert [s.shape for s in fold.tree(made(InOrder), x, [-1, 0])] == [(2, SIZE), (2, SIZE), (2, 1)]


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("mode", ["on", "off"])
def test_lists_of_trees(kind: Any, mode: str) -> None:
    cell = made(kind)
    x = rows_for(cell, 6)
    parts, parents = [x[:3], x[3:3], x[3:]], [np.array([1, -1, 1]), np.array([]), [2, -1, 1]]
    whole = fold.tree(cell, x, [1, -1, 1, 5, -1, 4])
    with fold.batching(mode=mode):
        found = fold.tree(cell, parts, parents)
    for one, many in zip(*[[v] if kind in (Attention, Vector) else v for v in (whole, found)]):
        assert [m.shape[0] for m in many] == [3, 0, 3]
        np.testing.assert_allclose(np.concatenate([m.asnumpy() for m in many]), one.asnumpy(), rtol=1e-9)


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("mode", ["on", "off"])
def test_no_nodes(kind: Any, mode: str) -> None:
    cell = made(kind)
    x = rows_for(cell, 3)[:0]
    with fold.batching(mode=mode):
        found = fold.tree(cell, x, [])
    found = [found] if kind in (Attention, Vector) else list(found)
    assert [f.shape for f in found] == [(0, SIZE), (0, SIZE), (0, 1)][:len(found)]


def test_a_deep_chain_and_a_wide_node() -> None:
    cell = made(ChildSum)
    count = 1500
    x = rows_for(cell, count)
    chain = np.arange(1, count + 1)
    chain[-1] = -1
    steps = by_hand_chain(cell, x)
    np.testing.assert_allclose(fold.tree(cell, x, chain)[0].asnumpy(), steps, rtol=1e-9, atol=1e-12)
    wide = np.zeros(count, int)
    wide[0] = -1
    expected = outcome(cell, x, lambda: by_hand(cell, x, children_of(wide.tolist())))
    same(outcome(cell, x, lambda: fold.tree(cell, x, wide)), expected)


def by_hand_chain(cell: Any, x: Any) -> Any:
    states: Any = None
    rows = []
    for node in range(len(x)):
        states = cell(x[node:node + 1], *([], []) if states is None else [[s] for s in states])
        rows.append(states[0].asnumpy())
    return np.concatenate(rows)


def test_rows_from_a_network_get_their_gradients() -> None:
    cell, table = made(Attention), gluon.nn.Embedding(5, SIZE)
    table.initialize()
    table.cast("float64")
    words = nd.array([1, 2, 1, 4], dtype="int32")
    found = []
    for run in (lambda e: fold.tree(cell, e, [-1, 0, 0, 1]), lambda e: by_hand(cell, e, [[1, 2], [3], [], []])[0]):
        with autograd.record():
            loss = (run(table(words)) ** 2).sum()
        loss.backward()
        found.append(table.weight.grad().asnumpy())
    same(found[:1], found[1:])


def test_trees_in_a_scope_run_together_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = made(ChildSum)
    head = gluon.nn.Dense(2, in_units=SIZE)
    head.initialize()
    head.cast("float64")
    trees = [[-1, 0, 0], [1, -1], [1, 2, -1, 2], [-1]]
    xs = [rows_for(cell, len(parents), seed) for seed, parents in enumerate(trees)]
    groups: list[int] = []
    original = Engine._run

    def counted(self: Any, layout: Any) -> None:
        groups.append(layout.sizes[layout.group])
        original(self, layout)

    monkeypatch.setattr(Engine, "_run", counted)
    with autograd.record():
        with fold.batching():
            answers = [head(fold.tree(cell, x, parents)[0][:1]) for x, parents in zip(xs, trees)]
        nd.concat(*answers, dim=0).sum().backward()
    assert len(groups) <= 3 + 1 + 1  # levels, rows of the results, the head
    folded = [a.asnumpy() for a in answers] + [x.grad.asnumpy() for x in xs]
    with autograd.record():
        plain = [head(by_hand(cell, x, children_of(parents))[0][:1]) for x, parents in zip(xs, trees)]
        nd.concat(*plain, dim=0).sum().backward()
    same(folded, [a.asnumpy() for a in plain] + [x.grad.asnumpy() for x in xs])


def test_a_tree_of_values_that_were_recorded_and_a_tree_on_a_tree() -> None:
    first, second = made(Attention, 1), made(Attention, 2)
    x = rows_for(first, 4)
    parents = [-1, 0, 0, 1]
    expected = outcome(first, x, lambda: by_hand(second, by_hand(first, nd.tanh(x) * 2, [[1, 2], [3], [], []])[0],
                                                 [[1, 2], [3], [], []]))

    def run() -> Any:
        with fold.batching():
            return fold.tree(second, fold.tree(first, nd.tanh(x) * 2, parents), parents)

    same(outcome(first, x, run), expected)


def test_inside_map_samples_share_the_groups() -> None:
    cell = made(Attention)

    def deepest(sample: int) -> int:
        x = rows_for(cell, 3, sample)
        states = fold.tree(cell, x, [-1, 0, 1])
        return int(states[0].argmax(axis=0).asscalar()) + int(fold.tree(cell, states, [-1, 0, 1])[2, 0] > 0)

    folded = fold.map(deepest, range(5))
    assert folded == [deepest(sample) for sample in range(5)]


# -- remembered structures ---------------------------------------------------------------------------------------------
def test_structures_that_come_again_are_not_scheduled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[int] = []
    original = arrays.schedule

    def counted(works: Any, values: int) -> Any:
        planned.append(len(works))
        return original(works, values)

    monkeypatch.setattr(arrays, "schedule", counted)
    parents = np.array([-1, 0, 0, 2, 2, 2, 3])
    cells = [made(kind) for kind in (ChildSum, InOrder)]
    for _ in range(3):
        for cell in cells:  # one unit for any fan-out, and a unit for each: other groups
            x = rows_for(cell, 7)
            same(outcome(cell, x, lambda c=cell, x=x: fold.tree(c, x, parents)),
                 outcome(cell, x, lambda c=cell, x=x: by_hand(c, x, children_of(parents.tolist()))))
    assert len(planned) == 2
    parents[6] = 0  # the same array, other contents
    x = rows_for(cells[0], 7)
    same(outcome(cells[0], x, lambda: fold.tree(cells[0], x, parents)),
         outcome(cells[0], x, lambda: by_hand(cells[0], x, children_of(parents.tolist()))))
    assert len(planned) == 3


def test_only_so_many_structures_are_remembered() -> None:
    cell = made(Attention)
    for count in range(2, arrays.REMEMBERED + 6):
        fold.tree(cell, nd.zeros((count, SIZE), dtype="float64"), [-1] + [0] * (count - 1))
    info = arrays.nodes_of_parents.cache_info()
    assert info.currsize == info.maxsize == arrays.REMEMBERED


def test_a_cell_that_changes_is_traced_again() -> None:
    class Scaled(gluon.HybridBlock):
        factor = 1.0

        def __init__(self) -> None:
            super().__init__()
            self.inner = gluon.nn.Dense(1, use_bias=False, in_units=1)

        def hybrid_forward(self, F: Any, x: Any, hs: Any) -> Any:
            return self.inner(F.add_n(x, *hs)) * self.factor

    def weights(value: float) -> Any:
        dense = gluon.nn.Dense(1, use_bias=False, in_units=1)
        dense.initialize(init="ones")
        dense.weight.set_data(nd.array([[value]]))
        return dense

    cell = Scaled()
    cell.inner = weights(1)
    x = nd.ones((2, 1))

    def root() -> float:
        return float(fold.tree(cell, x, [-1, 0])[0])

    assert root() == 2
    unit = cell.__dict__["_fold_whole"][1]
    assert root() == 2
    assert cell.__dict__["_fold_whole"][1] is unit  # nothing changed
    cell.factor = 10.0
    assert root() == 110
    cell.inner = weights(2)
    assert root() == 420


# -- sequences ---------------------------------------------------------------------------------------------------------
class Counter(gluon.HybridBlock):
    """A user's cell of one state and another output size, whose states are a tuple."""

    def hybrid_forward(self, F: Any, x: Any, states: Any) -> Any:
        new = F.sin(states[0] + x)
        return F.concat(new, x * states[0], dim=1), (new,)


def stacked() -> Any:
    stack = gluon.rnn.HybridSequentialRNNCell()
    stack.add(gluon.rnn.LSTMCell(SIZE, input_size=SIZE))
    stack.add(gluon.rnn.ResidualCell(gluon.rnn.GRUCell(SIZE, input_size=SIZE)))
    return stack


RECURRENT: list[Callable[[], Any]] = [lambda: gluon.rnn.RNNCell(SIZE, input_size=SIZE),
                                      lambda: gluon.rnn.LSTMCell(SIZE, input_size=SIZE),
                                      lambda: gluon.rnn.GRUCell(SIZE, input_size=SIZE), stacked]


def unrolled(cell: Any, x: Any, lengths: Sequence[int], first: Sequence[Any], reverse: bool) -> list[Any]:
    outs: list[Any] = [None] * len(x)
    finals = []
    start = 0
    for number, length in enumerate(lengths):
        states = [s[number:number + 1] for s in first]
        for step in list(range(start, start + length))[::-1 if reverse else 1]:
            outs[step], states = cell(x[step:step + 1], states)
        finals.append(states)
        start += length
    return [nd.concat(*outs, dim=0), *[nd.concat(*states, dim=0) for states in zip(*finals)]]


@pytest.mark.parametrize("kind", RECURRENT)
@settings(max_examples=6, deadline=None)
@given(lengths=st.lists(st.integers(0, 5), min_size=1, max_size=5).filter(any), reverse=st.booleans(),
       given_states=st.booleans(), where=st.sampled_from(["outside", "scope", "off"]))
def test_a_scan_is_its_loop(kind: Any, lengths: list[int], reverse: bool, given_states: bool, where: str) -> None:
    cell = made(kind)
    x = rows_for(cell, sum(lengths))
    first = cell.begin_state(len(lengths), dtype="float64")
    if given_states:
        first = [nd.array(np.random.default_rng(i).normal(size=s.shape), dtype="float64") for i, s in enumerate(first)]
    expected = outcome(cell, x, lambda: unrolled(cell, x, lengths, first, reverse))

    def run() -> Any:
        def scanned() -> Any:
            outs, states = fold.scan(cell, x, lengths, first if given_states else None, reverse)
            return [outs, *states]

        if where == "outside":
            return scanned()
        with fold.batching(mode="on" if where == "scope" else "off"):
            return scanned()

    same(outcome(cell, x, run), expected)


def test_scan_is_unroll_for_every_sequence() -> None:
    cell = made(RECURRENT[1])
    sequences = [rows_for(cell, length, length) for length in (4, 1, 6)]
    outs, states = fold.scan(cell, sequences)
    for number, sequence in enumerate(sequences):
        expected, ends = cell.unroll(len(sequence), sequence.expand_dims(0), merge_outputs=True)
        np.testing.assert_allclose(outs[number].asnumpy(), expected[0].asnumpy(), rtol=1e-9)
        for state, end in zip(states, ends):
            np.testing.assert_allclose(state[number:number + 1].asnumpy(), end.asnumpy(), rtol=1e-9)


def test_one_sequence_needs_no_lengths_and_a_users_cell_its_states() -> None:
    cell, x = Counter(), rows_for(None, 4)
    state = nd.ones((1, SIZE), dtype="float64")
    outs, (end,) = fold.scan(cell, x, state=state)
    expected = unrolled(cell, x, [4], [state], False)
    same([outs.asnumpy(), end.asnumpy()], [e.asnumpy() for e in expected])
    with pytest.raises(ArgumentError, match="begins"):
        fold.scan(cell, x)


def test_first_states_get_gradients() -> None:
    cell, x = made(RECURRENT[2]), rows_for(None, 5)
    state = nd.array(np.random.default_rng(3).normal(size=(2, SIZE)), dtype="float64")
    state.attach_grad()
    found = []
    for run in (lambda: fold.scan(cell, x, [3, 2], state)[0], lambda: unrolled(cell, x, [3, 2], [state], False)[0]):
        with autograd.record():
            loss = (run() ** 2).sum()
        loss.backward()
        found.append(state.grad.asnumpy())
    same(found[:1], found[1:])


def test_scans_of_no_steps() -> None:
    cell = made(RECURRENT[1])
    for mode in ("on", "off"):
        with fold.batching(mode=mode):
            outs, states = fold.scan(cell, nd.zeros((0, SIZE), dtype="float64"), [0, 0])
        assert outs.shape == (0, SIZE)
        assert [s.shape for s in states] == [(2, SIZE), (2, SIZE)]
        assert not states[0].asnumpy().any()


def test_sizes_that_are_not_known_yet_are_found() -> None:
    cell = gluon.rnn.LSTMCell(SIZE)
    cell.initialize()
    assert fold.scan(cell, nd.ones((3, 7)))[0].shape == (3, SIZE)
    assert cell.i2h_weight.shape == (4 * SIZE, 7)


# -- mistakes ----------------------------------------------------------------------------------------------------------
X = nd.ones((3, SIZE), dtype="float64")


@pytest.mark.parametrize(("run", "error", "text"), [
    (lambda c: fold.tree(c, X, [1, 0, -1]), ArgumentError, "0 -> 1 -> 0"),
    (lambda c: fold.tree(c, X, [-1, 1, 0]), ArgumentError, "1 -> 1"),
    (lambda c: fold.tree(c, [X, X], [[-1, 0, 0], [-1, 2, 1]]), ArgumentError, r"4 -> 5 -> 4 \(x\[1\] begins with"),
    (lambda c: fold.tree(c, X, [-1, 3, 0]), ArgumentError, r"3 at parents\[1\]"),
    (lambda c: fold.tree(c, X, [-1, 0, -2]), ArgumentError, r"-2 at parents\[2\]"),
    (lambda c: fold.tree(c, [X], [[-1, 0, 7]]), ArgumentError, r"7 at parents\[0\]\[2\]"),
    (lambda c: fold.tree(c, X, [-1, 0.5, 0]), ArgumentError, r"0.5 at parents\[1\]"),
    (lambda c: fold.tree(c, X, [True, False, True]), ArgumentError, "array of bool"),
    (lambda c: fold.tree(c, X, [-1, 0]), ShapeError, "expected: 3 numbers"),
    (lambda c: fold.tree(c, X, [[-1, 0, 0]]), ShapeError, "one axis"),
    (lambda c: fold.tree(c, [X, X], [[-1, 0, 0]]), ShapeError, "2 arrays"),
    (lambda c: fold.tree(c, [X, X], np.array([-1, 0, 0])), ShapeError, "ndarray"),
    (lambda c: fold.tree(c, [X, nd.ones((2, 5), dtype="float64")], [[-1, 0, 0], [-1, 0]]), ShapeError, r"x\[1\]"),
    (lambda c: fold.tree(c, [], []), ArgumentError, "no array in the list"),
    (lambda c: fold.tree(c, nd.ones((3, 5), dtype="float64"), [-1, 0, 0]), Exception, "in_units|raised by the cell"),
    (lambda c: fold.dag(c, X, [(0, 1), (1, 2), (2, 0)]), ArgumentError, "-> .* -> "),
    (lambda c: fold.dag(c, X, [(0, 1), (5, 2)]), ArgumentError, r"5 at edges\[1, 0\]"),
    (lambda c: fold.dag(c, X, [0, 1, 2]), ShapeError, r"\(edges, 2\)"),
    (lambda c: fold.scan(c, X, [1, 2]), ArgumentError, "begins"),
    (lambda c: fold.tree(gluon.nn.Sequential(), X, [-1, 0, 0]), ArgumentError, "hybrid_forward"),
    (lambda c: fold.tree(lambda x, hs: x, X, [-1, 0, 0]), ArgumentError, "HybridBlock"),
])
def test_mistakes_are_named(run: Callable[[Any], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"(?i){text}"):
        run(made(ChildSum))


def test_mistakes_in_sequences_are_named() -> None:
    cell = made(RECURRENT[0])
    for lengths, text in (([2, 2], "add up"), ([4, -1], r"-1 at lengths\[1\]"), ([1.5, 1.5], r"1.5 at lengths\[0\]")):
        with pytest.raises(ValueError, match=text):
            fold.scan(cell, X, lengths)
    with pytest.raises(ShapeError, match=r"state\[0\] of shape \(2, \.\.\.\)"):
        fold.scan(cell, X, [1, 2], [nd.ones((3, SIZE), dtype="float64")])
    for kind in (gluon.rnn.BidirectionalCell(cell, made(RECURRENT[0])), gluon.rnn.ZoneoutCell(made(RECURRENT[0]), 0.5)):
        with pytest.raises(UnsupportedError, match="fold.scan"):
            fold.scan(kind, X)

    class Grows(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any, states: Any) -> Any:
            return x, [F.concat(states[0], x, dim=1)]

    with pytest.raises(ShapeError, match="shapes of those that it is given"):
        fold.scan(Grows(), X, state=[nd.ones((1, SIZE), dtype="float64")])


def test_mistakes_of_cells_are_named() -> None:
    class TooFew(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any, hs: Any) -> Any:
            return x, x

    class Widens(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any, hs: Any) -> Any:
            return F.concat(x, *hs, dim=1) if hs else x

    class Looks(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any, hs: Any) -> Any:
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(ShapeError, match="1 states, because toofew"):
        fold.tree(TooFew(), X, [-1, 0, 0])
    with pytest.raises(ShapeError, match="nodes that read 2, such as node 0"):
        fold.tree(Widens(), X, [-1, 0, 0])
    with pytest.raises(UnsupportedError, match=r"fold\.map"):
        fold.tree(Looks(), X, [-1, 0, 0])
    hooked = made(ChildSum)
    hooked.register_forward_hook(lambda *args: None)
    with pytest.raises(UnsupportedError, match="Hooks"):
        fold.tree(hooked, X, [-1, 0, 0])


def test_a_cell_that_was_not_initialized_is_and_says_so() -> None:
    with pytest.warns(UserWarning, match="before initialize"):
        assert fold.tree(Attention(), nd.ones((2, SIZE)), [-1, 0]).shape == (2, SIZE)


def test_not_inside_a_traced_network() -> None:
    class Around(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.cell = made(Attention)

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return fold.tree(self.cell, x, [-1, 0, 0])

    net = Around()
    assert net(X).shape == (3, SIZE)
    net.hybridize()
    with pytest.raises(UnsupportedError, match="traced network"):
        net(X)
