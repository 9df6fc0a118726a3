"""`fold.scan` equals the loop over the steps that it stands for.

The one idea: the same recurrent cell is called step by step, and outputs, last states and all gradients must agree, for
random lengths (0 too), in both directions, in and outside of a scope. All in double precision.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball import autograd, fold, gluon, nd
from glueball.base.errors import ArgumentError

from .structures import RECURRENT, SIZE, made, outcome, rows_for, same


class Counter(gluon.HybridBlock):
    """A user's cell of one state and another output size, whose states are a tuple."""

    def hybrid_forward(self, F: Any, x: Any, states: Any) -> Any:
        new = F.sin(states[0] + x)
        return F.concat(new, x * states[0], dim=1), (new,)


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
