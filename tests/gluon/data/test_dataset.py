"""Data sets and their views."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glueball import nd, recordio
from glueball.base.errors import ArgumentError, ShapeError
from glueball.gluon import data


@given(st.integers(0, 40), st.integers(1, 12))
def test_shards_are_a_partition(length, shards):
    whole = data.SimpleDataset(list(range(length)))
    parts = [list(whole.shard(shards, index)) for index in range(shards)]
    assert [sample for part in parts for sample in part] == list(range(length))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_views():
    base = data.SimpleDataset(list(range(10)))
    assert list(base.take(3)) == [0, 1, 2]
    assert len(base.take(None)) == len(base.take(99)) == 10
    assert list(base.filter(lambda x: x % 3 == 0)) == [0, 3, 6, 9]
    assert list(base.sample(data.SequentialSampler(2, 4))) == [4, 5]
    assert list(base.transform(lambda x: -x).shard(5, 1)) == [-2, -3]


def test_transforms_are_lazy_unless_told_otherwise():
    calls = []

    def count(x):
        calls.append(x)
        return x

    base = data.SimpleDataset([1, 2, 3])
    lazy = base.transform(count)
    assert calls == []
    assert lazy[0] == lazy[0] == 1
    assert calls == [1, 1]
    eager = base.transform(count, lazy=False)
    assert calls == [1, 1, 1, 2, 3]
    assert isinstance(eager, data.SimpleDataset)
    assert list(eager) == [1, 2, 3]
    assert len(calls) == 5


def test_transform_unpacks_tuples():
    pairs = data.ArrayDataset([1, 2], [10, 20])
    assert pairs.transform(lambda x, y: x + y)[1] == 22
    assert pairs.transform_first(lambda x: -x)[1] == (-2, 20)
    assert data.SimpleDataset([5]).transform_first(lambda x: -x)[0] == -5


def test_array_dataset():
    mixed = data.ArrayDataset(nd.array([[0, 1], [2, 3], [4, 5]]), np.arange(3), [5, 6, 7], nd.array([7, 8, 9]))
    first, second, third, fourth = mixed[1]
    assert first.asnumpy().tolist() == [2, 3]
    assert (second, third, fourth) == (1, 6, 8.0)
    assert isinstance(fourth, np.float32)  # a vector of labels gives plain numbers
    assert mixed[0:2][2] == [5, 6]
    assert data.ArrayDataset(nd.zeros((3, 2)))[0].shape == (2,)


@pytest.mark.parametrize(
    "make, message, kind",
    [
        (lambda: data.ArrayDataset(), "At least one array", ArgumentError),
        (lambda: data.ArrayDataset([1], [1, 2]), "2 in array 1", ShapeError),
        (lambda: data.SimpleDataset([1]).shard(3, 3), "0 <= index < 3", ArgumentError),
        (lambda: data.SimpleDataset([1]).shard(0, 0), "num_shards is at least 1", ArgumentError),
        (lambda: data.SimpleDataset([1]).take(-1), "not negative", ArgumentError),
        (lambda: data.SimpleDataset([1]).sample([0]), "expected: a gluon.data.Sampler", TypeError),
    ],
)
def test_errors(make, message, kind):
    with pytest.raises(kind, match=f"(?i){message}"):
        make()


def test_a_data_set_must_have_items_and_a_length():
    empty = type("Mine", (data.Dataset,), {})()
    with pytest.raises(NotImplementedError, match="Mine: A data set defines __getitem__"):
        empty[0]
    with pytest.raises(NotImplementedError, match="Mine: A data set defines __len__"):
        len(empty)


def _negate(x):
    return -x


def test_data_sets_are_picklable():
    views = data.ArrayDataset(np.arange(6), list(range(6))).transform_first(_negate).shard(2, 1)
    assert list(pickle.loads(pickle.dumps(views))) == list(views) == [(-3, 3), (-4, 4), (-5, 5)]


def test_record_file(tmp_path):
    stem = str(tmp_path / "a")
    with recordio.MXIndexedRecordIO(stem + ".idx", stem + ".rec", "w") as out:
        for key in (3, 5, 9):
            out.write_idx(key, b"%d" % key)
    records = data.RecordFileDataset(stem + ".rec")
    assert list(records) == [b"3", b"5", b"9"]
    assert len(records) == 3


def test_series_and_text_that_come_with_the_package():
    train, test = data.series.MaunaLoaCO2(True), data.series.MaunaLoaCO2(False)
    assert len(train.ppmv) + len(test.ppmv) == 2284
    assert (test.mean, test.deviation) == (train.mean, train.deviation)
    past, future = train[5]
    assert past.shape == (52, 1) and future.shape == (1, 1)
    np.testing.assert_allclose(future.asnumpy()[0, 0] * train.deviation + train.mean, train.ppmv[57], rtol=1e-5)
    assert train.ppmv[6] == pytest.approx((316.9 + 317.5) / 2)  # a missing week
    with pytest.raises(ArgumentError, match="must fit into the series"):
        data.series.MaunaLoaCO2(history=5000)
    with pytest.raises(IndexError):
        train[len(train)]
    with pytest.raises(ShapeError):
        data.series.SeriesWindows(np.zeros((2, 2, 2)), 1)

    novel, rest = data.text.PrideAndPrejudice(True), data.text.PrideAndPrejudice(False)
    assert novel.vocabulary == rest.vocabulary
    assert len(novel.text) + len(rest.text) == 231267
    given_part, target = novel[7]
    assert novel.decode(given_part.asnumpy()[1:]) == novel.decode(target.asnumpy()[:-1])
    assert given_part.dtype == np.int32
    assert "".join(novel.decode(novel[i][0].asnumpy()) for i in range(3)) == novel.text[:192]
    with pytest.raises(ArgumentError, match="not in the vocabulary"):
        novel.encode("\u20ac")
    with pytest.raises(ArgumentError, match="must fit into the text"):
        data.text.CharacterSequences("abc", 3)
    with pytest.raises(IndexError):
        novel[len(novel)]
