"""`fold.tree` and `fold.dag` equal the recursion that they stand for.

The one idea: the same cell is called node by node with folding off, and both values and all gradients must agree, for
random forests and graphs, in every order of the nodes, in and outside of a scope. All in double precision.

Not here: sequences (test_structure_scan.py), mistakes (test_structure_mistakes.py).
"""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball import autograd, fold, gluon, nd
from glueball.fold import arrays
from glueball.fold.execute import Engine

from .structures import (
    CELLS,
    SIZE,
    Attention,
    ChildSum,
    InOrder,
    Vector,
    by_hand,
    children_of,
    made,
    outcome,
    rows_for,
    same,
)


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
