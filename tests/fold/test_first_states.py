"""Rows of zeros made inside a scope: all samples share one, and nobody notices.

The one idea: `nd.zeros((1, n))` inside a scope is a constant until somebody writes to it. Programs that make zeros,
write to them, read them and compute with them are run folded and unfolded and compared; that they are shared, and that
neither writing nor reading runs what was recorded, is seen in the folder and in the report.

Not here: arrays from outside in general (test_places.py), first states of layers (tests/gluon/rnn).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import autograd, fold, gluon, nd
from glueball.fold.scope import current_folder
from glueball.ndarray import NDArray

DENSE = gluon.nn.Dense(3, in_units=3)
DENSE.initialize(mx.init.Xavier())


def test_samples_share_their_first_states() -> None:
    """Sixty-four cells, each with states of its own, bring one row of zeros into the scope."""
    cell = gluon.rnn.LSTMCell(4, input_size=3)
    cell.initialize()
    cell.hybridize()
    xs = [nd.random.normal(shape=(1, 3)) for _ in range(64)]

    def program(x: Any) -> Any:
        return cell(x, [nd.zeros((1, 4)), nd.zeros((1, 4))])[0]

    with fold.batching():
        folded = [program(x) for x in xs]
        folder = current_folder()
        assert folder is not None
        assert len(folder.externals) == 65
    assert fold.last_report().groups == 1
    with fold.batching("off"):
        for found, x in zip(folded, xs):
            np.testing.assert_allclose(found.asnumpy(), program(x).asnumpy(), rtol=1e-5, atol=1e-6)


def test_writing_changes_one_of_them_and_runs_nothing() -> None:
    with fold.batching():
        a, b = nd.zeros((1, 3)), nd.zeros((1, 3))
        before = DENSE(a)
        a[:] = 5
        c = nd.zeros((1, 3))
        c[0, 1] = 2
        after = [DENSE(a), DENSE(b), DENSE(c)]
    assert len(fold.last_report().flushes) == 1
    assert a.asnumpy().tolist() == [[5, 5, 5]]
    assert b.asnumpy().tolist() == [[0, 0, 0]]
    assert c.asnumpy().tolist() == [[0, 2, 0]]
    expected = [DENSE(nd.array(row)).asnumpy() for row in ([[0] * 3], [[5] * 3], [[0] * 3], [[0, 2, 0]])]
    for found, right in zip([before, *after], expected):
        np.testing.assert_allclose(found.asnumpy(), right, rtol=1e-5, atol=1e-6)


def test_reading_runs_nothing() -> None:
    with fold.batching():
        pending = DENSE(nd.ones((1, 3)))
        zeros = nd.zeros((1, 3))
        assert zeros.asnumpy().tolist() == [[0, 0, 0]]
        assert zeros.shape == (1, 3)
        DENSE(zeros + pending)
    assert len(fold.last_report().flushes) == 1


def test_they_outlive_a_scope_that_failed() -> None:
    held: list[Any] = []
    with pytest.raises(ZeroDivisionError), fold.batching():
        held += [nd.zeros((1, 3)), nd.zeros((1, 3))]
        DENSE(held[1])
        raise ZeroDivisionError
    kept, used = held
    kept[:] = 1
    assert (kept + used).asnumpy().tolist() == [[1, 1, 1]]
    with fold.batching():
        found = DENSE(used)
    np.testing.assert_allclose(found.asnumpy(), DENSE(nd.zeros((1, 3))).asnumpy(), rtol=1e-6)


def test_their_gradients_are_their_own() -> None:
    def gradients(mode: str) -> list[Any]:
        with fold.batching(mode):
            state, other = nd.zeros((1, 3)), nd.zeros((1, 3))
            state.attach_grad()
            with autograd.record():
                total = (DENSE(state + other) * nd.array([[1.0, 2.0, 3.0]])).sum()
        total.backward()
        assert other.grad is None
        assert state.grad is not None
        return state.grad.asnumpy().tolist()

    np.testing.assert_allclose(gradients("on"), gradients("off"), rtol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (2, 3), [1, 3], (1, 1), 4, (1, 0), (1, 1 << 17)])
def test_what_is_no_row_is_an_ordinary_array(shape: Any) -> None:
    with fold.batching():
        made = nd.zeros(shape)
        given_out = nd.zeros((1, 3), out=nd.ones((1, 3)))
    assert type(made) is type(given_out) is NDArray
    assert not made.asnumpy().any()


def test_types_are_kept_apart() -> None:
    with fold.batching():
        made = [nd.zeros((1, 3), dtype=kind) for kind in (None, "float64", "int32", "float32")]
    assert [array.dtype for array in made] == [np.float32, np.float64, np.int32, np.float32]


def test_wrong_sizes_are_refused_as_ever() -> None:
    with fold.batching(), pytest.raises(mx.MXNetError, match="negative"):
        nd.zeros((1, -3))


def test_parameters_made_inside_a_scope_are_ordinary_arrays() -> None:
    net = gluon.nn.Dense(1)
    net.initialize(mx.init.Zero())
    with fold.batching():
        net(nd.ones((1, 3)))
    assert type(net.weight.data()) is NDArray


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("zeros"), st.just(0), st.just(0)),
        st.tuples(st.sampled_from(["dense", "write", "read", "increase"]), st.integers(0, 9), st.just(0)),
        st.tuples(st.sampled_from(["add", "assign"]), st.integers(0, 9), st.integers(0, 9)),
    ),
    max_size=12,
)


def run(steps: Any) -> list[Any]:
    """One sample: arrays that are made, changed and computed with; what was read, then all arrays."""
    arrays, seen = [nd.zeros((1, 3)), nd.zeros((1, 3))], []
    for what, i, j in steps:
        a, b = arrays[i % len(arrays)], arrays[j % len(arrays)]
        if what == "zeros":
            arrays.append(nd.zeros((1, 3)))
        elif what == "dense":
            arrays.append(DENSE(a))
        elif what == "add":
            arrays.append(a + b)
        elif what == "write":
            a[0, i % 3] = i
        elif what == "assign":
            a[:] = b
        elif what == "increase":
            a += 1
        else:
            seen.append(a.asnumpy().copy())
    return [*seen, *arrays]


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=4), st.booleans())
def test_programs_give_what_they_give_unfolded(samples: Any, mapped: bool) -> None:
    if mapped:
        found = fold.map(run, samples)
    else:
        with fold.batching():
            found = [run(steps) for steps in samples]
    with fold.batching("off"):
        expected = [run(steps) for steps in samples]
    for left, right in zip(found, expected):
        for a, b in zip(left, right, strict=True):
            a, b = (x.asnumpy() if isinstance(x, NDArray) else x for x in (a, b))
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * (1 + np.abs(b).max()))
