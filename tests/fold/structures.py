"""What the tests of `fold.tree`, `fold.dag` and `fold.scan` share: cells, their inputs, the recursion they stand for.

The one idea: `outcome` gives values and all gradients of a computation in double precision, and `same` compares two of
them, so a test states only the two ways to compute.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from glueball import autograd, gluon, nd

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


def stacked() -> Any:
    stack = gluon.rnn.HybridSequentialRNNCell()
    stack.add(gluon.rnn.LSTMCell(SIZE, input_size=SIZE))
    stack.add(gluon.rnn.ResidualCell(gluon.rnn.GRUCell(SIZE, input_size=SIZE)))
    return stack


RECURRENT: list[Callable[[], Any]] = [lambda: gluon.rnn.RNNCell(SIZE, input_size=SIZE),
                                      lambda: gluon.rnn.LSTMCell(SIZE, input_size=SIZE),
                                      lambda: gluon.rnn.GRUCell(SIZE, input_size=SIZE), stacked]
