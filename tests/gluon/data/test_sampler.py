"""Samplers: the orders they give, and the laws of batching for any sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glueball.base.errors import ArgumentError
from glueball.gluon import data

sizes = st.tuples(st.integers(0, 50), st.integers(1, 12))


def test_orders():
    assert list(data.SequentialSampler(3, 5)) == [5, 6, 7]
    assert list(data.FilterSampler(lambda x: x % 2, list(range(10)))) == [1, 3, 5, 7, 9]
    assert list(data.IntervalSampler(13, 3)) == [0, 3, 6, 9, 12, 1, 4, 7, 10, 2, 5, 8, 11]
    assert list(data.IntervalSampler(13, 3, rollover=False)) == [0, 3, 6, 9, 12]


def test_random_order_follows_the_seed_and_changes():
    np.random.seed(1)
    sampler = data.RandomSampler(100)
    first, second = list(sampler), list(sampler)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(100))
    np.random.seed(1)
    assert list(sampler) == first


@given(sizes)
def test_keep_and_discard(size):
    length, batch_size = size
    for last, expected in (("keep", -(-length // batch_size)), ("discard", length // batch_size)):
        sampler = data.BatchSampler(data.SequentialSampler(length), batch_size, last)
        batches = list(sampler)
        assert len(batches) == len(sampler) == expected
        flat = [index for batch in batches for index in batch]
        assert flat == list(range(length if last == "keep" else length // batch_size * batch_size))
        assert list(sampler) == batches


@given(sizes, st.integers(1, 5))
def test_rollover_loses_nothing(size, passes):
    length, batch_size = size
    sampler = data.BatchSampler(data.SequentialSampler(length), batch_size, "rollover")
    seen = []
    for _ in range(passes):
        expected = len(sampler)
        batches = list(sampler)
        assert len(batches) == expected
        assert all(len(batch) == batch_size for batch in batches)
        seen += [index for batch in batches for index in batch]
    whole = list(range(length)) * passes
    assert seen == whole[: length * passes // batch_size * batch_size]


@given(st.integers(1, 60), st.data())
def test_interval_visits_each_index_once(length, draw):
    interval = draw.draw(st.integers(1, length))
    sampler = data.IntervalSampler(length, interval)
    assert sorted(sampler) == list(range(length))
    assert len(sampler) == length
    short = data.IntervalSampler(length, interval, rollover=False)
    assert len(list(short)) == len(short)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: data.SequentialSampler(-1), "length is an integer of at least 0"),
        (lambda: data.RandomSampler(1.5), "RandomSampler: length is an integer"),
        (lambda: data.BatchSampler([1], 0), "batch_size is an integer of at least 1"),
        (lambda: data.BatchSampler([1], 1, "pad"), "'keep', 'discard' or 'rollover'"),
        (lambda: data.IntervalSampler(3, 4), "The interval exceeds the length"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_a_sampler_must_say_its_order():
    with pytest.raises(NotImplementedError, match="Mine: A sampler defines __iter__"):
        type("Mine", (data.Sampler,), {})().__iter__()
    with pytest.raises(NotImplementedError, match="Mine: A sampler defines __len__"):
        len(type("Mine", (data.Sampler,), {})())


def test_the_old_place_of_the_interval_sampler():
    from glueball.gluon import contrib

    assert contrib.data.IntervalSampler is data.IntervalSampler
