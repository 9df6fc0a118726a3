"""Futures that are let go, whose memory the next ones take, and scalars that reads share: nothing of it is to be seen.

Not here: values of futures (test_recording.py, test_oracle.py), ways to read them (test_bug_classes.py).
"""

from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest

from glueball import autograd, fold, nd
from glueball.fold.future import Future


def test_the_next_futures_have_nothing_of_the_last() -> None:
    x = nd.array([[1.0, 2.0]])
    for turn in range(3):
        with fold.batching():
            read, written, part, plain = (x + turn for _ in range(4))
            read.asnumpy()
            written[:] = 7
            row = part[0:1]
            assert [f._ag for f in (read, written, part, plain)] == [None] * 4
            fresh = plain * 2
            assert fresh._value is None and fresh.ref >= 0
            fresh[:] = 5  # with the state of a part it could not be written to
        assert fresh.asnumpy().tolist() == [[5, 5]] and row.asnumpy().tolist() == [[1 + turn, 2 + turn]]


def test_what_a_future_held_is_let_go() -> None:
    with fold.batching():
        made = nd.ones((1, 3)) * 2
        told: list[str] = []
        itself = weakref.ref(made, lambda _: told.append("gone"))
        tensor = weakref.ref(made._t)
        del made
        assert itself() is None and tensor() is None and told == ["gone"]


def test_more_futures_than_are_kept() -> None:
    """A class is held by each of its objects, also by those that wait to be made again."""
    counts = []
    for _ in range(3):
        with fold.batching():
            x = nd.ones((1, 2))
            kept = [x * 2 for _ in range(20_000)]
        assert kept[-1].asnumpy().tolist() == [[2, 2]]
        del kept, x
        gc.collect()
        counts.append(sys.getrefcount(Future))
    assert counts[1] == counts[2] <= counts[0] + 20_000


def test_a_long_chain_is_let_go() -> None:
    x = nd.ones((1, 2))
    x.attach_grad()
    with autograd.record(), fold.batching():
        y = x
        for _ in range(3000):
            y = y + 1
    kept = [y]
    for _ in range(100_000):  # lists in lists, a future at the end
        kept = [kept]
    del y, kept
    assert x.asnumpy().tolist() == [[1, 1]]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8"])
@pytest.mark.parametrize("number", [0.0, -0.0, 1.0, 63.0, 64.0, 0.5, 200.0])
def test_scalars_are_those_of_arrays(dtype: str, number: float) -> None:
    array = nd.array([number]).astype(dtype)
    with fold.batching():
        found = [(array + 0 if number else array * 1).asscalar() for _ in range(2)]
    for one in found:
        assert type(one) is np.dtype(dtype).type is type(array.asscalar())
        assert one == array.asscalar() and np.signbit(one) == np.signbit(array.asscalar())


def test_what_is_no_number() -> None:
    with fold.batching():
        for text in ("nan", "inf", "-inf"):
            np.testing.assert_equal((nd.array([float(text)]) * 1).asscalar(), np.float32(text))
