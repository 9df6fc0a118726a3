"""Groups that run in one native call give what they give one by one: on random cells, and where streams are unusual.

The one idea: a cell is a list of instructions over values of different widths, drawn by hypothesis: layers, slices,
columns side by side, vectors shared by all, children. The same program is run with the runner and without it.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glueball import autograd, fold, gluon, init, nd
from glueball.base.errors import MXNetError
from glueball.fold import execute, packs, stream

needs_runner = pytest.mark.skipif(not stream.usable(), reason="there is no compiled runner here")
X = 3  # columns of a word


class Cell(gluon.HybridBlock):
    """Instructions over a list of values; the first two are the word and the first child's (or the last step's) state.

    Each makes one value: "dense" of some width, "cut" (some columns), "join" (columns side by side), a function,
    a "product" or "sum" of two (by columns where one is wider), "vector" (times a row that all share), "children"
    (a sum over the children's gated states), "mean" (of the children).
    """

    def __init__(self, recipe: Sequence[tuple[str, int, int, int]], state: int, lists: bool) -> None:
        super().__init__()
        self.recipe, self.state, self.lists = recipe, state, lists
        self.layers: dict[int, Any] = {}
        with self.name_scope():
            widths = [X, state]
            for number, (kind, a, b, size) in enumerate(recipe):
                left, right = widths[a % len(widths)], widths[b % len(widths)]
                if kind == "dense":
                    self._layer(number, size, left)
                elif kind in ("product", "sum") and left != right and 1 not in (left, right):
                    self._layer(number, left, right)
                elif kind == "vector":
                    setattr(self, f"row{number}", self.params.get(f"row{number}", shape=(left,)))
                elif kind == "children":
                    self._layer(number, state, state)
                widths.append({"dense": size, "cut": max(left - 1, 1), "join": left + right, "product": max(left, right)
                               if 1 in (left, right) else left, "sum": max(left, right) if 1 in (left, right) else left,
                               "children": state, "mean": state}.get(kind, left))
            self._layer(len(recipe), state, sum(widths[-3:]))

    def _layer(self, number: int, units: int, width: int) -> None:
        layer = gluon.nn.Dense(units, in_units=width, flatten=False, use_bias=number % 2 == 0)
        self.layers[number] = layer
        setattr(self, f"layer{number}", layer)

    def hybrid_forward(self, F: Any, x: Any, hs: Any, **rows: Any) -> Any:
        """Return (new state, another value)."""
        children = hs if self.lists else [hs]
        values, widths = [x, F.add_n(*children) if len(children) > 1 else children[0]], [X, self.state]
        for number, (kind, a, b, _) in enumerate(self.recipe):
            left, wide = values[a % len(values)], widths[a % len(values)]
            right, other = values[b % len(values)], widths[b % len(values)]
            layer = self.layers.get(number)
            if kind == "dense":
                made, width = layer(left), layer._units
            elif kind == "cut":
                width = max(wide - 1, 1)
                made = F.slice_axis(left, axis=1, begin=wide - width, end=wide)
            elif kind == "join":
                made, width = F.concat(left, right, dim=1), wide + other
            elif kind in ("product", "sum"):
                right = right if layer is None else layer(right)
                made = F.broadcast_mul(left, right) if kind == "product" else F.broadcast_add(left, right)
                width = wide if layer is not None else max(wide, other)
            elif kind == "vector":
                made, width = F.broadcast_mul(left, rows[f"row{number}"]), wide
            elif kind == "children":
                made = F.add_n(*[F.sigmoid(layer(h)) * h for h in children]) if len(children) > 1 else (
                    F.sigmoid(layer(children[0])) * children[0])
                width = self.state
            elif kind == "mean":
                made = F.add_n(*children) / len(children) if len(children) > 1 else children[0] / 1
                width = self.state
            else:
                made, width = getattr(F, kind)(left), wide
            values.append(made)
            widths.append(width)
        out = F.tanh(self.layers[len(self.recipe)](F.concat(*values[-3:], dim=1)))
        return out, values[-1]


KINDS = ("dense", "cut", "join", "tanh", "sigmoid", "relu", "square", "product", "sum", "vector", "children", "mean")
instructions = st.tuples(st.sampled_from(KINDS), st.integers(0, 9), st.integers(0, 9), st.integers(1, 5))


def make(recipe: Sequence[tuple[str, int, int, int]], state: int, lists: bool, dtype: str) -> Cell:
    """Return a cell with weights, hybridized."""
    cell = Cell(recipe, state, lists)
    cell.initialize(init.Zero())
    cell.cast(dtype)
    numbers = np.random.default_rng(0)
    for parameter in cell.collect_params().values():
        parameter.set_data(nd.array(numbers.normal(size=parameter.shape) * 0.5, dtype=dtype))
    cell.hybridize()
    return cell


def outcome(cell: Cell, shape: Sequence[int], dtype: str, streamed: bool, seen: set[int],
            monkeypatch: pytest.MonkeyPatch, training: bool = True, different: int = 0) -> list[np.ndarray]:
    """Run chains (of such lengths) or trees, and read some of the results; return these and all gradients.

    different : how many words there are; 0: each is another one
    """
    if not streamed:
        monkeypatch.setattr(execute, "usable", lambda: False)
    numbers = np.random.default_rng(1)
    table = [nd.array(numbers.normal(size=(1, X)), dtype=dtype) for _ in range(different or sum(shape))]
    for word in table:
        word.attach_grad()
    left = iter(table)
    words = [[table[numbers.integers(different)] if different else next(left) for _ in range(n)] for n in shape]
    for parameter in cell.collect_params().values():
        parameter.zero_grad()

    def chain(row: Sequence[Any]) -> list[Any]:
        state: Any = nd.zeros((1, cell.state), dtype=dtype)
        made: list[Any] = []
        for number, word in enumerate(row):
            children = [state, *made[-(number % 3):]] if number % 3 else [state]
            state, other = cell(word, children if cell.lists else state)
            made.append(state)
            if number in seen:
                made.append(state)  # read twice by those that follow
        return [state, other] if len(row) % 2 else [state]

    def run() -> list[Any]:
        with fold.batching():
            return [value for row in words for value in chain(row)]

    if training:
        with autograd.record():
            outs = run()
            loss = nd.add_n(*[(out * out).sum() for out in outs])
        loss.backward()
    else:
        outs = run()
    monkeypatch.undo()
    found = [out.asnumpy() for out in outs]
    if training:
        found += [p.grad().asnumpy() for p in cell.collect_params().values()]
        found += [word.grad.asnumpy() for word in table]
    return found


@needs_runner
@settings(max_examples=40, deadline=None)
@given(st.lists(instructions, min_size=1, max_size=7), st.integers(1, 4), st.booleans(),
       st.lists(st.integers(1, 6), min_size=1, max_size=5), st.sampled_from(["float32", "float64"]), st.booleans(),
       st.sets(st.integers(0, 5), max_size=2), st.integers(0, 3))
@example([("dense", 0, 0, 1)], 1, False, [2], "float32", True, set(), 0)  # what runs ahead is a result itself
@example([("dense", 0, 0, 3), ("cut", 2, 2, 2)], 2, False, [5, 3, 4], "float64", True, set(), 2)
def test_random_cells(recipe: Any, state: int, lists: bool, shape: list[int], dtype: str, training: bool,
                      seen: set[int], different: int) -> None:
    """Values and gradients do not depend on whether groups run in one native call."""
    cell = make(recipe, state, lists, dtype)
    with pytest.MonkeyPatch.context() as patch:
        expected = outcome(cell, shape, dtype, False, seen, patch, training, different)
    with pytest.MonkeyPatch.context() as patch:
        received = outcome(cell, shape, dtype, True, seen, patch, training, different)
    for a, b in zip(expected, received):
        np.testing.assert_allclose(a, b, rtol=1e-9 if dtype == "float64" else 2e-3,
                                   atol=1e-11 if dtype == "float64" else 1e-4)


def chains(lengths: Sequence[int], cell: Any) -> list[Any]:
    """Return the last outputs of an LSTM on chains of such lengths."""
    numbers, outs = np.random.default_rng(0), []
    for length in lengths:
        states = cell.begin_state(batch_size=1)
        for _ in range(length):
            out, states = cell(nd.array(numbers.normal(size=(1, X))), states)
        outs.append(out)
    return outs


def lstm() -> Any:
    """Return an LSTM with weights."""
    cell = gluon.rnn.LSTMCell(4, input_size=X)
    cell.initialize(init.Normal(0.5))
    cell.hybridize()
    return cell


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the groups that run in native calls."""
    found: list[int] = []
    run = stream.run_parts

    def noted(environments: Any, order: Any, reached: Any = None) -> Any:
        found.append(-len(order) if reached is not None else len(order))
        return run(environments, order, reached)

    monkeypatch.setattr(stream, "run_parts", noted)
    return found


@needs_runner
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("hidden", "count", "packed"), [(8, 1, True), (20, 13, True), (33, 25, True), (16, 120, True),
                                                         (20, 13, False)])
def test_products_of_all_sizes(hidden: int, count: int, packed: bool, dtype: str,
                               monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole panels of a weight and parts of one, few rows and many, threads; and products of torch's library."""
    if not packed:
        monkeypatch.setattr(packs.Packs, "address", lambda *given: 0)
    cell = gluon.rnn.LSTMCell(hidden, input_size=X)
    cell.initialize(init.Normal(0.5))
    cell.cast(dtype)
    cell.hybridize()
    numbers = np.random.default_rng(0)
    words = [[nd.array(numbers.normal(size=(1, X)), dtype=dtype) for _ in range(2 + i % 4)] for i in range(count)]

    def result() -> list[np.ndarray]:
        outs: list[Any] = []
        for row in words:
            for word in row:
                word.attach_grad()
        with autograd.record(), fold.batching():
            for row in words:
                states = cell.begin_state(batch_size=1, dtype=dtype)
                for word in row:
                    out, states = cell(word, states)
                outs.append((out * out).sum())
            total = nd.add_n(*outs)
        total.backward()
        return [total.asnumpy(), *[p.grad().asnumpy() for p in cell.collect_params().values()],
                *[word.grad.asnumpy() for row in words for word in row]]

    received = result()
    monkeypatch.setattr(execute, "usable", lambda: False)
    for a, b in zip(result(), received):
        np.testing.assert_allclose(a, b, rtol=1e-9 if dtype == "float64" else 2e-3,
                                   atol=1e-11 if dtype == "float64" else 1e-4)


@needs_runner
def test_one_call_forward_and_one_backward(counted: list[int]) -> None:
    """All levels of a recurrent net run in one call each."""
    cell = lstm()
    with autograd.record(), fold.batching():
        total = nd.add_n(*[out.sum() for out in chains([3, 5, 2], cell)])
    assert counted == [5]
    total.backward()
    assert counted == [5, -5]


@needs_runner
def test_a_second_pass_computes_anew(counted: list[int]) -> None:
    """Each sample's loss has its own pass; what the first one used up is computed once more, to the same gradients."""
    cell = lstm()
    weight = cell.i2h_weight

    def gradient(separately: bool) -> np.ndarray:
        weight.zero_grad()
        with autograd.record(), fold.batching():
            losses = [(out * out).sum() for out in chains([3, 5, 2], cell)]
            total = nd.add_n(*losses)
        if not separately:
            total.backward()
            return weight.grad().asnumpy()
        found = np.zeros(weight.shape, np.float32)
        for loss in losses:
            loss.backward()
            found += weight.grad().asnumpy()
        return found

    whole, parts = gradient(False), gradient(True)
    np.testing.assert_allclose(whole, parts, rtol=1e-4, atol=1e-6)
    assert counted == [5, -5, 5, -5, 5, -5, 5, -5]


@needs_runner
def test_retained_values_are_not_computed_again(counted: list[int]) -> None:
    """retain_graph keeps what a second pass through the same groups needs."""
    cell = lstm()
    with autograd.record(), fold.batching():
        total = nd.add_n(*[out.sum() for out in chains([3, 5, 2], cell)])
    total.backward(retain_graph=True)
    first = cell.h2h_weight.grad().asnumpy()
    total.backward()
    np.testing.assert_array_equal(first, cell.h2h_weight.grad().asnumpy())
    assert counted == [5, -5, -5]


@needs_runner
def test_a_weight_that_was_written_to(counted: list[int]) -> None:
    """The message names the unit and its line."""
    cell = lstm()
    with autograd.record(), fold.batching():
        total = nd.add_n(*[out.sum() for out in chains([3, 2], cell)])
    cell.h2h_weight.data()[:] = 0
    with pytest.raises(MXNetError, match=r"changed in place after it was recorded(.|\n)*test_stream\.py"):
        total.backward()
    assert counted == [3, -3]


@needs_runner
def test_groups_that_a_pass_does_not_come_to() -> None:
    """Values that are not numbers, in groups which a loss does not depend on, leave a recurrent weight alone."""
    cell = lstm()
    good, bad = nd.ones((1, X)), nd.full((1, X), np.nan)
    with autograd.record(), fold.batching():
        states = cell.begin_state(batch_size=1)
        for _ in range(2):
            out, states = cell(good, states)
        loss = out.sum()
        for _ in range(3):
            _, states = cell(bad, states)
    loss.backward()
    gradient = cell.h2h_weight.grad().asnumpy()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).sum() > 0


@needs_runner
def test_report_of_a_stream() -> None:
    """Each group has its own times and bytes."""
    cell = lstm()
    with autograd.record(), fold.batching():
        total = nd.add_n(*[out.sum() for out in chains([3, 5, 2], cell)])
    total.backward()
    report = fold.last_report()
    own = [group for group in report.runs if "lstm" in group.signature.name and not group.hoisted]
    assert [group.width for group in own] == [3, 3, 2, 1, 1]
    assert all(group.begin <= group.gathered <= group.end for group in own)
    facts = next(kind for kind in report.kinds if "lstm" in kind.signature.name)
    assert facts.backward > 0


@needs_runner
@pytest.mark.parametrize("training", [False, True])
def test_two_weights_of_different_shapes_in_the_same_memory(training: bool) -> None:
    memory = nd.array(np.random.RandomState(0).randn(24), dtype="float64")
    wide, narrow = memory.reshape((4, 6)), memory.reshape((6, 4))[0:4]  # reshape and slices share it
    xs, ys = [[nd.array(np.random.RandomState(i).randn(1, n), dtype="float64") for i in range(40)] for n in (6, 4)]

    def run(mode: str) -> np.ndarray:
        for x in xs + ys:
            x.attach_grad()
        with autograd.record(training), fold.batching(mode):
            found = [nd.FullyConnected(x, w, no_bias=True, num_hidden=4) for x, w in
                     [*((x, wide) for x in xs), *((y, narrow) for y in ys)]]
            total = nd.add_n(*[nd.tanh(v) for v in found]).sum()
        if training:
            total.backward()
        return np.concatenate([v.asnumpy().ravel() for v in found] + [x.grad.asnumpy().ravel() for x in xs + ys])

    np.testing.assert_allclose(run("on"), run("off"), rtol=1e-12)
