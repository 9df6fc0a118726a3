"""Batchify functions: shapes, dtypes, and what they say about samples that do not fit together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glueball import nd
from glueball.base.errors import ArgumentError, DTypeError, ShapeError
from glueball.gluon.data import batchify, default_batchify_fn, default_mp_batchify_fn


@pytest.mark.parametrize(
    "samples, shape, dtype",
    [
        ([1, 2], (2,), "int64"),
        ([0.5, 1], (2,), "float64"),
        ([np.int32(1)], (1,), "int32"),
        ([np.zeros(2, "float32")] * 3, (3, 2), "float32"),
        ([[1, 2], [3, 4]], (2, 2), "int64"),
        ([nd.zeros((2,), dtype="uint8")] * 2, (2, 2), "uint8"),
        ([True, False], (2,), "bool"),
        ([np.float16(1)], (1,), "float16"),
    ],
)
def test_default_keeps_dtypes_as_1_9(samples, shape, dtype):
    for function in (default_batchify_fn, default_mp_batchify_fn):
        batch = function(samples)
        assert isinstance(batch, nd.NDArray)
        assert (batch.shape, np.dtype(batch.dtype).name) == (shape, dtype)


def test_default_structures():
    batch = default_batchify_fn([(np.zeros(2), (1, {"name": 3.0})), (np.ones(2), (2, {"name": 4.0}))])
    assert isinstance(batch, list)
    assert batch[0].asnumpy().tolist() == [[0, 0], [1, 1]]
    assert batch[1][0].asnumpy().tolist() == [1, 2]
    assert batch[1][1]["name"].asnumpy().tolist() == [3, 4]


@pytest.mark.parametrize(
    "samples, what",
    [
        ([np.zeros(2), np.zeros(3)], "sample"),
        ([nd.zeros(2), nd.zeros(3)], "sample"),
        ([(1, [1, 2]), (1, [1, 2, 3])], "part 1 of sample"),
        ([[[1], [2, 3]]], "nested list of unequal lengths"),
    ],
)
def test_ragged_batches_are_told_what_to_do(samples, what):
    with pytest.raises(ShapeError, match=what) as error:
        default_batchify_fn(samples)
    assert "batchify.Pad()" in str(error.value) and "fold" in str(error.value)


def test_default_refuses_what_is_no_number():
    with pytest.raises(DTypeError, match=r"(?s)Received: str.*AsList"):
        default_batchify_fn(["a", "b"])
    with pytest.raises(ShapeError, match="1 parts at position 1"):
        default_batchify_fn([(1, 2), (1,)])
    with pytest.raises(ArgumentError, match="no sample"):
        default_batchify_fn([])


@given(st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=5), st.integers(1, 4))
def test_pad_keeps_the_samples_and_fills_the_rest(samples, multiple):
    padded, lengths = batchify.Pad(val=-1, dtype="int32", round_to=multiple, ret_length=True)(
        [np.array(s, "int32") for s in samples]
    )
    longest = max(map(len, samples))
    assert padded.shape == (len(samples), -(-longest // multiple) * multiple)
    for row, length, sample in zip(padded.asnumpy(), lengths.asnumpy(), samples):
        assert length == len(sample)
        assert row[:length].tolist() == sample
        assert (row[length:] == -1).all()


def test_pad_dtypes_and_axes():
    batch = batchify.Pad()([np.ones((1, 2), "float32"), nd.ones((2, 1))])
    assert batch.asnumpy().tolist() == [[[1, 1], [0, 0]], [[1, 0], [1, 0]]]
    assert np.dtype(batch.dtype) == np.float32
    assert np.dtype(batchify.Pad(dtype="float16")([[1], [2, 3]]).dtype) == np.float16
    with pytest.raises(ShapeError, match=r"shape \(1, 1\) at position 1"):
        batchify.Pad()([[1], [[1]]])
    with pytest.raises(ShapeError, match="at least 1"):
        batchify.Pad()([1, 2])
    with pytest.raises(ArgumentError, match="round_to"):
        batchify.Pad(round_to=0)


def test_the_other_pieces():
    assert [a.shape for a in batchify.Append()([[1, 2], [1]])] == [(1, 2), (1, 1)]
    assert [a.shape for a in batchify.Append(batch_axis=1)([[1, 2], [1]])] == [(2, 1), (1, 1)]
    assert [a.shape for a in batchify.Append(expand=False)([[1, 2], [1]])] == [(2,), (1,)]
    assert batchify.AsList()([1, "a"]) == [1, "a"]
    padded, stacked, kept = batchify.Group(batchify.Pad(), batchify.Stack(), batchify.AsList())(
        [([1], 2, "x"), ([1, 2], 3, "y")]
    )
    assert padded.shape == (2, 2) and stacked.asnumpy().tolist() == [2, 3] and kept == ["x", "y"]
    assert batchify.Group([batchify.Stack()])([(1,), (2,)])[0].shape == (2,)
    with pytest.raises(ShapeError, match="samples of a batch differ"):
        batchify.Stack()([[1], [1, 2]])
    with pytest.raises(ShapeError, match="2 parts at position 0"):
        batchify.Group(batchify.Stack())([(1, 2)])
    with pytest.raises(TypeError, match="callable"):
        batchify.Group(3)
    with pytest.raises(ArgumentError, match="not both"):
        batchify.Group([batchify.Stack()], batchify.Stack())
