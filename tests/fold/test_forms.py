"""Calls whose form has just been seen are recorded by the objects that it consists of (native/memo.h): what looks alike
must not be taken for the same, and what changed in between must be seen.

The one idea: a program of calls in random order, with forms that differ in one small thing, gives inside a scope what
it gives outside. The twin in Python notes nothing; it runs the same tests under GLUEBALL_CORE=0.

Not here: which calls share a group (test_units.py, test_operator_calls.py), greenlets (test_fiber.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glueball import autograd, fold, gluon, nd
from glueball.base.errors import MXNetError


class Mixed(gluon.HybridBlock):
    """x (1, 3), numbers, words and lists, each of which has another meaning."""

    def hybrid_forward(
        self, F: Any, x: Any, first: Any = None, second: Any = None, third: Any = None, fourth: Any = None
    ) -> Any:
        out = x
        for place, value in enumerate((first, second, third, fourth)):
            if value is None:
                out = out + place
            elif isinstance(value, bool):
                out = out * (3 if value else 5) + place
            elif isinstance(value, (int, float)):
                out = out + value * 7
            elif isinstance(value, (list, tuple)):
                for number, one in enumerate(value):
                    out = out + one * (number + 2 + 10 * place)
            else:
                out = out - value * (place + 11)
        return out, out * 2


def _forms(block: Mixed) -> list[Callable[[Any, Any], Any]]:
    """Calls on two values (1, 3), all with one result."""
    return [
        lambda a, b: block(a)[0],
        lambda a, b: block(a, b)[0],
        lambda a, b: block(b, None, a)[1],
        lambda a, b: block(a, [b, a])[0],
        lambda a, b: block(a, [b], [a])[0],
        lambda a, b: block(a, (b, a), None)[0],
        lambda a, b: block(a, [], [b, a])[0],
        lambda a, b: block(a, 2, b, a)[0],
        lambda a, b: block(a, [b, a], b)[0],
        lambda a, b: block(a, b, [b, a])[0],
        lambda a, b: block(a, True)[0],
        lambda a, b: block(a, 1)[0],
        lambda a, b: block(a, False, True)[0],
        lambda a, b: block(a, nd.ones((1, 3)) * 2)[0],
        lambda a, b: a * 1,
        lambda a, b: a * 2,
        lambda a, b: a * 2.0,
        lambda a, b: a * 2.5,
        lambda a, b: a + True,
        lambda a, b: nd.add_n(a, b),
        lambda a, b: nd.add_n(a, b, a),
        lambda a, b: nd.add_n(a),
        lambda a, b: nd.concat(a, b, dim=0).sum(axis=0, keepdims=True),
        lambda a, b: nd.concat(b, a, dim=1).slice_axis(axis=1, begin=1, end=4),
        lambda a, b: nd.clip(a, -1, 1),
        lambda a, b: nd.clip(a, -1.0, 2),
        lambda a, b: a.softmax(axis=1),
        lambda a, b: a.softmax(axis=0),
    ]


@given(st.lists(st.tuples(st.integers(0, 27), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_forms_that_look_alike_are_not_taken_for_each_other(program: list[tuple[int, int, int]]) -> None:
    block = Mixed()
    block.hybridize()
    forms = _forms(block)

    def run() -> list[Any]:
        values = [nd.array(np.random.default_rng(i).normal(size=(1, 3))) * 1 for i in range(4)]
        made = []
        for form, first, second in program:
            made.append(forms[form](values[first], values[second]))
            values[second] = made[-1].tanh()
        return [*made, *values]

    expected = run()
    with fold.batching():
        found = run()
    for left, right in zip(found, expected):
        np.testing.assert_allclose(left.asnumpy(), right.asnumpy(), rtol=1e-5, atol=1e-6)


def test_an_attribute_that_was_changed_is_another_one() -> None:
    axes = [0, 1]
    with fold.batching():
        x = nd.array([[1.0, 2, 3]]) * 1
        same = [nd.transpose(x, axes=axes) for _ in range(3)]
        axes[:] = [1, 0]
        turned = [nd.transpose(x, axes=axes) for _ in range(3)]
    assert [v.shape for v in same] == [(1, 3)] * 3
    assert [v.shape for v in turned] == [(3, 1)] * 3


def test_modes_and_hooks_are_seen_between_two_calls() -> None:
    dropout, dense, heard = gluon.nn.Dropout(0.999999), gluon.nn.Dense(2, in_units=3), []
    dense.initialize()
    with fold.batching():
        x = nd.ones((1, 3)) * 1
        kept = [dropout(x) for _ in range(3)]
        with autograd.train_mode():
            dropped = [dropout(x) for _ in range(3)]
        before = [dense(x) for _ in range(3)]
        handle = dense.register_forward_hook(lambda *_: heard.append(1))
        between = [dense(x) for _ in range(2)]
        handle.detach()
        after = dense(x)
    assert all((v.asnumpy() == 1).all() for v in kept)
    assert all((v.asnumpy() == 0).all() for v in dropped)
    assert len(heard) == 2
    for value in (*before, *between, after):
        np.testing.assert_allclose(value.asnumpy(), before[0].asnumpy(), rtol=1e-6)


def test_zeros_are_shared_and_their_own() -> None:
    """Zeros of the same shape are found again, of another shape, type or in another scope are not; writing to one
    leaves the others.
    """
    cells = [gluon.rnn.LSTMCell(2, input_size=3), gluon.rnn.GRUCell(2, input_size=3), gluon.rnn.LSTMCell(4)]
    for _ in range(2):
        with fold.batching():
            states = [cell.begin_state(batch_size=size) for cell in cells for size in (1, 2, 1)]
            half = cells[0].begin_state(batch_size=1, dtype="float16")
            states[0][0] += 1
        assert [[v.shape for v in state] for state in states[:3]] == [[(1, 2)] * 2, [(2, 2)] * 2, [(1, 2)] * 2]
        assert [v.shape for v in states[3]] == [(1, 2)]
        assert [v.shape for v in states[8]] == [(1, 4)] * 2
        assert half[0].dtype == np.float16
        assert [v.sum().asscalar() for state in states for v in state] == [2, *[0] * (len(states) * 2 - 4)]


def test_weights_set_anew_are_read() -> None:
    dense = gluon.nn.Dense(1, in_units=3, use_bias=False)
    dense.initialize()
    found = []
    with fold.batching():
        x = nd.ones((1, 3)) * 1
        for value in (1.0, 2.0):
            dense.weight.set_data(nd.full((1, 3), value))
            found += [dense(x) for _ in range(3)]
    assert [v.asscalar() for v in found] == [3, 3, 3, 6, 6, 6]


@pytest.mark.parametrize(
    "read", [lambda v: v.asscalar(), lambda v: v.item(), float, int, bool, lambda v: v.argmax().asscalar()]
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
def test_numbers_are_read_as_without_folding(read: Callable[[Any], Any], dtype: str) -> None:
    def program(x: Any) -> list[Any]:
        seen = []
        for turn in range(3):
            x = x + turn
            seen.append(read(x))
            seen.append(read(x))  # a second time: it is there
        return seen

    samples = [nd.array([[k]], dtype=dtype) for k in range(5)]
    expected = [program(x) for x in samples]
    found = fold.map(program, samples)
    assert found == expected
    assert [[type(v) for v in row] for row in found] == [[type(v) for v in row] for row in expected]


def test_a_block_takes_no_keywords_and_any_number_of_arrays() -> None:
    class Sum(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, first: Any, *others: Any) -> Any:
            return F.add_n(first, *others)

    block = Sum()
    block.hybridize()
    ones = [nd.ones((1, 2)) for _ in range(80)]
    for count in (1, 8, 9, 80):
        assert (block(*ones[:count]).asnumpy() == count).all()
        with fold.batching():
            made = [block(*[v * 1 for v in ones[:count]]) for _ in range(3)]
        assert all((v.asnumpy() == count).all() for v in made)
    with pytest.raises(TypeError, match="keyword"):
        block(ones[0], more=1)


def test_an_error_of_a_sample_that_waits_leaves_everything_clean() -> None:
    ended: list[int] = []

    def program(number: int) -> float:
        x = nd.ones((1, 1)) * number
        try:
            for _ in range(number):
                x = x - 1
                if float(x) == 2 and number == 5:
                    raise ValueError("five")
            return float(x)
        finally:
            ended.append(number)

    with pytest.raises(ValueError, match="five"):
        fold.map(program, [9, 5, 1, 7])
    assert sorted(ended) == [1, 5, 7, 9]
    assert fold.map(program, [2, 3]) == [0.0, 0.0]


def test_whole_numbers_beyond_64_bits() -> None:
    """As constants of a block they are exact; as numbers of an operator they are refused, and the scope is clean."""

    class Times(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any, number: int, exact: bool) -> Any:
            return x * (number / 2**70 if exact else number)

    block = Times()
    block.hybridize()
    with fold.batching():
        x = nd.ones((1, 3)) * 2
        made = [block(x, number, True) for number in (2**70, 2**71, -(2**70), 2**70)]
    assert [v[0, 0].asscalar() for v in made] == [2, 4, -2, 2]
    with pytest.raises(MXNetError, match=r"(?s)_mul_scalar.*64 bits at most"), fold.batching():
        block(nd.ones((1, 3)) * 2, 2**70, False)
    with fold.batching():
        again = block(nd.ones((1, 3)) * 2, 3, False)
    assert again[0, 0].asscalar() == 6
