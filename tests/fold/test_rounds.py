"""Rounds give what other flushes give: the same values, groups and rows, without anything being made for them.

The one idea: a program of samples that read values and go where they say is run three times: with rounds, with rounds
taken away, and unfolded. Values are equal (the first two to the last bit) and so are the reports, but for times. That
rounds are taken at all, and left where they must be, is seen from what `Rounds.run` returns.

Not here: the words that rounds and the runner share (test_commands.py), maps in general (test_map_programs.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball import autograd, fold, gluon, nd
from glueball.fold import execute, rounds
from glueball.fold.core import compiled
from glueball.fold.stream import usable

WIDTH = 4
pytestmark = pytest.mark.skipif(compiled("recorder") is None or not usable(), reason="the compiled parts are not there")


class Join(gluon.HybridBlock):
    """Two states (1, WIDTH) become two."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        with self.name_scope():
            self.gates = gluon.nn.Dense(2 * WIDTH, in_units=2 * WIDTH)

    def hybrid_forward(self, F: Any, left: Any, right: Any) -> Any:
        a, b = F.split(self.gates(F.concat(left, right, dim=1)), num_outputs=2, axis=1)
        return F.tanh(a) + left, F.sigmoid(b) * right


class Model(gluon.Block):
    """A cell that joins, one that may run ahead, a scorer, and an embedding whose words repeat."""

    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.words = gluon.nn.Embedding(3, WIDTH)
            self.join = Join()
            self.step = gluon.rnn.RNNCell(WIDTH, input_size=WIDTH)
            self.scorer = gluon.nn.Dense(3, in_units=WIDTH)
        self.initialize()
        draw = np.random.RandomState(5)
        for parameter in self.collect_params().values():
            parameter.set_data(nd.array(draw.uniform(-1, 1, parameter.shape)))
        for block in (self.join, self.step, self.scorer):
            block.hybridize()

    def forward(self, words: Any, plan: list[list[int]]) -> list[Any]:
        rows = self.words(words)
        stack = [rows[i : i + 1] for i in range(len(words))]
        seen: list[Any] = []
        for moves in plan:
            for move in moves:
                a, b = stack[move % len(stack)], stack[(2 * move + 1) % len(stack)]
                if move % 3 == 0:
                    stack.append(self.step(a, [b])[0])
                else:
                    stack.extend(self.join(a, b))
            choice = int(self.scorer(stack[-1]).argmax().asscalar())
            seen.append(choice)
            if choice == 1:
                stack.extend(self.join(stack[0], stack[-1]))
            elif choice == 2 and len(moves) > 1:
                seen.append(float(stack[-2].sum()))  # no step of a round
        return [*seen, stack[-1]]


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


def without(function: Callable[[], Any]) -> Any:
    """Run something with no rounds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "rounds", lambda *_: None)
        return function()


class Counted:
    """How many flushes were rounds, and how many were not."""

    def __init__(self) -> None:
        self.rounds = self.others = 0

    def __str__(self) -> str:
        return f"{self.rounds} rounds, {self.others} other flushes"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    found, run = Counted(), rounds.Rounds.run

    def counting(self: Any, folder: Any) -> Any:
        ran = run(self, folder)
        found.rounds += ran is not None
        found.others += ran is None
        return ran

    monkeypatch.setattr(rounds.Rounds, "run", counting)
    return found


def folded(model: Model, samples: list[Any]) -> tuple[list[list[Any]], str]:
    """Return what samples give, read at the end, and the report without times."""
    found = fold.map(lambda sample: model(*sample), samples)
    return [[*seen, last.asnumpy()] for *seen, last in found], fold.explain(times=False)


def same(left: list[list[Any]], right: list[list[Any]], exact: bool) -> None:
    for a, b in zip(left, right, strict=True):
        assert a[:-1] == (b[:-1] if exact else pytest.approx(b[:-1], rel=1e-4, abs=1e-5))
        np.testing.assert_allclose(a[-1], b[-1], rtol=0 if exact else 1e-4, atol=0 if exact else 1e-5)


SAMPLES = st.lists(
    st.tuples(
        st.lists(st.integers(0, 2), min_size=1, max_size=4),
        st.lists(st.lists(st.integers(0, 8), max_size=3), max_size=9),
    ),
    min_size=1,
    max_size=5,
)


@given(SAMPLES)
@settings(max_examples=40, deadline=None)
def test_rounds_give_what_other_flushes_give(model: Model, samples: Any) -> None:
    arrays = [(nd.array(words, dtype="int32"), plan) for words, plan in samples]
    quick, report = folded(model, arrays)
    slow, expected = without(lambda: folded(model, arrays))
    same(quick, slow, exact=True)
    assert report == expected
    with fold.batching("off"):
        same(quick, [[*seen, last.asnumpy()] for *seen, last in (model(*sample) for sample in arrays)], exact=False)


def regular(count: int) -> list[Any]:
    return [(nd.array([i % 3, 1, 2], dtype="int32"), [[1], [2]] * 8) for i in range(count)]


def test_a_loop_runs_as_rounds(model: Model, counted: Counted) -> None:
    folded(model, regular(6))
    assert counted.rounds >= 6, counted


def test_what_gradients_flow_through_is_no_round(model: Model, counted: Counted) -> None:
    with autograd.record():
        total = nd.add_n(*[last.sum() for *_, last in fold.map(lambda s: model(*s), regular(3))])
    total.backward()
    assert counted.rounds == 0, counted
    quick = model.join.gates.weight.grad().asnumpy()

    def slowly() -> Any:
        with autograd.record():
            total = nd.add_n(*[last.sum() for *_, last in fold.map(lambda s: model(*s), regular(3))])
        total.backward()
        return model.join.gates.weight.grad().asnumpy()

    np.testing.assert_array_equal(quick, without(slowly))


def test_a_weight_may_change_between_rounds(counted: Counted) -> None:
    model = Model()
    weight = model.scorer.weight

    def program(number: int) -> list[int]:
        state, seen = nd.array([[0.5 + number, -1, 1, 2]]), []
        for step in range(30):
            seen.append(int(model.scorer(state).argmax().asscalar()))
            if number == 0 and step == 20:
                weight.set_data(weight.data() * -3)
            if number == 0 and step == 25:
                weight.data()[:] = nd.array([[9.0], [0.0], [0.0]])
        return seen

    start = weight.data().asnumpy().copy()
    quick = fold.map(program, range(3))
    assert counted.rounds >= 10, counted
    weight.set_data(nd.array(start))
    assert quick == without(lambda: fold.map(program, range(3)))
    assert quick[1][10] != quick[1][23] != quick[1][28], quick


def test_numbers_of_every_type_are_read(counted: Counted) -> None:
    types = ("float32", "float64", "int32", "int64", "int8", "uint8", "float16")

    def program(number: int) -> list[Any]:
        rows = [nd.array([number + i], dtype=kind) for i, kind in enumerate(types)]
        return [(row + row).asscalar() for _ in range(2) for row in rows]

    for number, found in enumerate(fold.map(program, range(3))):
        expected = [np.dtype(kind).type(2 * (number + i)) for i, kind in enumerate(types)] * 2
        assert [(type(value), value) for value in found] == [(type(value), value) for value in expected]


def test_memory_of_a_round_may_grow(model: Model, counted: Counted) -> None:
    def program(number: int) -> list[int]:
        state, seen = nd.array([[float(number), 1, 2, 3]]), []
        for _ in range(400):
            state, other = model.join(state, state)
            seen.append(int(other.argmax().asscalar()))
        return seen

    quick = fold.map(program, range(2))
    assert counted.rounds > 300, counted
    assert quick == without(lambda: fold.map(program, range(2)))


def test_what_one_scope_found_out_counts_in_the_next(counted: Counted) -> None:
    """Chains of calls whose arguments come from outside in several ways: each is looked at once, not once a scope."""
    model = Model()

    def program(number: int) -> list[int]:
        state, seen = nd.array([[0.5 + number, -1, 1, 2]]), []
        for turn in range(10):
            kept = state
            for _ in range(2):
                left, right = (state, kept) if turn % 2 else (kept, state)
                state, _ = model.join(left, right)
            seen.append(int(model.scorer(state).argmax().asscalar()))
        return seen

    first = fold.map(program, range(30))
    assert counted.others == 2, counted
    assert fold.map(program, range(30)) == first
    assert counted.others == 3, counted
