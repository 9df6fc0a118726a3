"""Equal calls are computed once, and nobody can tell: values, gradients, reads in between, random numbers.

The one idea: sentences of few words, so that words, phrases and whole samples repeat; the same program runs unfolded.
"""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball import autograd, fold, gluon, init, nd, random
from glueball.fold import execute

nn = gluon.nn
H = 3
SENTENCES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=0, max_size=6)


class Cell(gluon.HybridBlock):
    """A word x (1, H) and its children's states to a state (1, H)."""

    def __init__(self, rate: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        with self.name_scope():
            self.own, self.inner = nn.Dense(H, in_units=H), nn.Dense(H, in_units=H)
            self.drop = nn.Dropout(rate) if rate else None

    def hybrid_forward(self, F: Any, x: Any, below: Any) -> Any:
        """Return the state."""
        made = F.tanh(self.own(x))
        made = made if self.drop is None else self.drop(made)
        return F.tanh(made + self.inner(F.add_n(*below))) if below else made


class Net(gluon.Block):
    """A sentence, read from the right in twos, to a score (1, 1)."""

    def __init__(self, rate: float = 0.0, reads: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._reads = reads
        with self.name_scope():
            self.embed, self.cell = nn.Embedding(4, H), Cell(rate)
            self.score, self.bias = nn.Dense(1, in_units=H), nn.Dense(H, in_units=H)

    def forward(self, words: Any) -> Any:
        """Return the score."""
        x = self.embed(words)
        leaves = [self.cell(x[i:i + 1], []) for i in range(len(words))]
        if self._reads and float(leaves[-1].sum()) > 0:
            leaves[-1] = self.bias(leaves[-1])
        while len(leaves) > 1:
            leaves[-2:] = [self.cell(x[len(leaves) - 2:len(leaves) - 1], leaves[-2:])]
        return self.score(leaves[0]) + x[0:1].sum()


def made(**options: Any) -> Net:
    random.seed(5)
    net = Net(**options)
    net.initialize(init.Normal(0.7))
    net.cast("float64")
    net.cell.hybridize()
    return net


def outcome(net: Net, sentences: list[list[int]], mode: str, dtype: str = "int32", late: bool = False) -> list[Any]:
    """Return scores and gradients; late: the losses are read and summed after the scope, one by one."""
    words = [nd.array(s, dtype=dtype) for s in sentences]
    parameters = [p for _, p in sorted(net.collect_params().items())]
    for parameter in parameters:
        parameter.zero_grad()
    with autograd.record():
        with fold.batching(mode):
            scores = [net(w) for w in words]
            total = nd.add_n(*[s * s for s in scores]) if scores and not late else None
        if late and scores:
            total = nd.add_n(*[s * s for s in scores])
    if total is not None:
        total.backward()
    return [*[s.asnumpy() for s in scores], *[p.grad().asnumpy() for p in parameters]]


def same(one: list[Any], other: list[Any]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@settings(max_examples=40)
@given(SENTENCES, st.booleans(), st.booleans(), st.sampled_from(["int32", "float32"]))
def test_shared_is_unshared(sentences: list[list[int]], reads: bool, late: bool, dtype: str) -> None:
    net = made(reads=reads)
    same(outcome(net, sentences, "off", dtype, late), outcome(net, sentences, "on", dtype, late))
    same(outcome(net, sentences, "off", dtype, late), outcome(net, sentences, "check", dtype, late))


def test_equal_calls_run_once_and_the_report_says_so() -> None:
    net = made()
    outcome(net, [[0, 1, 2], [2, 1, 0], [0, 0, 0]], "on")
    text = fold.explain()
    assert "7 more calls were equal to others and computed once" in text  # six words, and a sum of a first word
    outcome(net, [[0, 1, 2]], "on")
    assert "equal to others" not in fold.explain()


def test_every_name_of_a_value_has_its_gradient() -> None:
    net = made()
    words = [nd.array([1, 1], dtype="int32"), nd.array([1], dtype="int32")]

    def read(mode: str) -> list[Any]:
        with autograd.record():
            with fold.batching(mode):
                xs = [net.embed(w) for w in words]
                leaves = [net.cell(x[i:i + 1], []) for x in xs for i in range(len(x))]
            total = leaves[2].sum() * 3 + leaves[1].sum() * 5  # read outside, the first one not at all
        total.backward()
        return [*[leaf.asnumpy() for leaf in leaves], net.embed.weight.grad().asnumpy(),
                net.cell.own.weight.grad().asnumpy()]

    same(read("off"), read("on"))


def test_random_numbers_are_drawn_for_every_call() -> None:
    net = made(rate=0.5)
    with autograd.record(), fold.batching():
        x = net.embed(nd.array([1] * 200, dtype="int32"))
        leaves = [net.cell(x[i:i + 1], []) for i in range(200)]
    different = {tuple(leaf.asnumpy().ravel().round(9)) for leaf in leaves}
    assert len(different) == 2 ** H
    with fold.batching():
        x = net.embed(nd.array([1] * 20, dtype="int32"))
        leaves = [net.cell(x[i:i + 1], []) for i in range(20)]
    assert len({tuple(leaf.asnumpy().ravel()) for leaf in leaves}) == 1


def test_dropout_in_mode_always_is_drawn_for_every_call() -> None:
    net = made()
    with fold.batching():  # predict mode
        x = net.embed(nd.array([1] * 100, dtype="int32"))
        dropped = [nd.Dropout(x[i:i + 1], p=0.5, mode="always") for i in range(100)]
    assert len({tuple(row.asnumpy().ravel()) for row in dropped}) == 2 ** H


def test_words_of_any_type_are_shared() -> None:
    net = made()
    for dtype in ("bfloat16", "float16", "uint8", "int64"):
        same(outcome(net, [[0, 1, 2], [2, 1, 0]], "off", dtype), outcome(net, [[0, 1, 2], [2, 1, 0]], "on", dtype))


def test_a_shared_value_that_is_written_to_changes_alone() -> None:
    net = made()
    with fold.batching():
        x = net.embed(nd.array([1] * 40, dtype="int32"))
        leaves = [net.cell(x[i:i + 1], []) for i in range(40)]
        leaves[3] += 1
        leaves[5][:] = 7
        after = [leaf * 1 for leaf in leaves]
    first = leaves[0].asnumpy()
    np.testing.assert_allclose(after[3].asnumpy(), first + 1)
    assert (after[5].asnumpy() == 7).all()
    for i in (1, 2, 4, 39):
        np.testing.assert_allclose(after[i].asnumpy(), first)


def test_structures_given_as_arrays_share_too() -> None:
    cell, embed = made().cell, made().embed

    def run(words: Any) -> Any:
        with autograd.record():
            out = fold.tree(cell, embed(nd.array(words, dtype="int32")), np.array([-1, 0, 0, -1, 3, 3]))
            loss = (out * nd.arange(1, 7, dtype="float64").reshape((6, 1))).sum()
        loss.backward()
        return [out.asnumpy(), embed.weight.grad().asnumpy(), cell.own.weight.grad().asnumpy()]

    for words in ([0, 1, 1, 0, 1, 1], [0, 1, 2, 3, 1, 2], [2, 2, 2, 2, 2, 2]):  # one structure, other words
        found = run(words)

        def state(i: int, children: Any, words: Any = words) -> Any:
            x = embed(nd.array(words[i:i + 1], dtype="int32"))
            return cell(x, [state(c, ()) for c in children])

        expected = nd.concat(*[state(i, children) for i, children in
                               ((0, (1, 2)), (1, ()), (2, ()), (3, (4, 5)), (4, ()), (5, ()))], dim=0)
        np.testing.assert_allclose(found[0], expected.asnumpy(), rtol=1e-10)


# -- the half of a cell that waits for nothing, for words that repeat --------------------------------------------------
class Chain(gluon.HybridBlock):
    """A state (1, 2 H) after a word x (1, H); also what a word is to it, which does not depend on the state."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        with self.name_scope():
            self.own, self.inner = nn.Dense(2 * H, in_units=H), nn.Dense(2 * H, in_units=2 * H)

    def hybrid_forward(self, F: Any, x: Any, state: Any) -> Any:
        """Return (state, what the word is)."""
        gate, made = F.split(self.own(x), num_outputs=2, axis=1)
        both = F.concat(F.sigmoid(gate) * made, F.tanh(made), dim=1)
        return F.tanh(both + self.inner(state)), gate


def chained(cell: Any, table: list[Any], sentences: list[list[int]], mode: str, heard: int) -> list[Any]:
    """Return results and gradients of chains, of which only those from `heard` on count."""
    parameters = [p for _, p in sorted(cell.collect_params().items())]
    for word in table:
        word.attach_grad()
        word.grad[:] = 7
    with autograd.record():
        with fold.batching(mode):
            ends: list[Any] = []
            for sentence in sentences:
                state, gates = nd.ones((1, 2 * H), dtype="float64"), []
                for word in sentence:
                    state, gate = cell(table[word], state)
                    gates.append(gate)
                ends.append((state * state).sum() + (gates[0] * gates[-1]).sum())
        loss = nd.add_n(*ends[heard:])
    loss.backward()
    return [*[end.asnumpy() for end in ends], *[p.grad().asnumpy() for p in parameters],
            *[word.grad.asnumpy() for word in table]]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=5), st.integers(0, 4),
       st.booleans())
def test_words_that_repeat_go_through_the_first_half_once(sentences: list[list[int]], heard: int, native: bool) -> None:
    """Values and gradients are the same, and words that nothing that counts has read keep the gradient they had."""
    random.seed(3)
    cell = Chain()
    cell.initialize(init.Normal(0.7))
    cell.cast("float64")
    cell.hybridize()
    table = [nd.array(np.random.default_rng(i).normal(size=(1, H)), dtype="float64") for i in range(4)]
    heard = min(heard, len(sentences) - 1)
    expected = chained(cell, table, sentences, "off", heard)
    with pytest.MonkeyPatch.context() as patch:
        if not native:
            patch.setattr(execute, "usable", lambda: False)
        same(expected, chained(cell, table, sentences, "on", heard))


def test_the_report_says_how_many_words_differ() -> None:
    cell = gluon.rnn.LSTMCell(H, input_size=H)
    cell.initialize()
    cell.hybridize()
    table = [nd.ones((1, H)) * i for i in range(2)]
    with fold.batching():
        state = cell.begin_state(batch_size=1)
        for i in range(10):
            _, state = cell(table[i % 2], state)
    assert "ahead, for the 2 different ones of 10 calls: FullyConnected" in fold.explain()
