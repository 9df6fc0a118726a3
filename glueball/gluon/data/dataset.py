"""Data sets: anything with `__getitem__(index)` and `__len__`, and views of them (transformed, filtered, sharded,
taken, sampled).

The one idea: a view holds a data set and a list of indices or a function, never a copy, so it may be sent to a worker
process cheaply. `ArrayDataset` can also `gather` a whole batch at once, which the loader uses where no per-sample code
is asked for. Files of images are in vision/, text and series in text.py and series.py, batches in dataloader.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import ndarray as nd
from ... import recordio
from ...base.errors import ArgumentError, ShapeError, explain
from . import sampler as samplers

__all__ = ["ArrayDataset", "Dataset", "RecordFileDataset", "SimpleDataset"]


class Dataset:
    """Base class of data sets. Override `__getitem__` and `__len__`."""

    def __getitem__(self, idx: Any) -> Any:
        raise NotImplementedError(explain(type(self).__name__, "A data set defines __getitem__(index)."))

    def __len__(self) -> int:
        raise NotImplementedError(
            explain(type(self).__name__, "A data set defines __len__, the number of its samples.")
        )

    def filter(self, fn: Callable[[Any], Any]) -> Dataset:
        """Return a view of the samples for which `fn(sample)` is true (asked once for each sample, now).

        >>> list(SimpleDataset([1, 2, 3, 4]).filter(lambda sample: sample % 2))
        [1, 3]
        """
        return _SampledDataset(self, samplers.FilterSampler(fn, self))

    def shard(self, num_shards: int, index: int) -> Dataset:
        """Return part `index` of `num_shards` contiguous parts; the first ones are larger by one where it does not
        divide.

        >>> [list(SimpleDataset(range(5)).shard(2, part)) for part in (0, 1)]
        [[0, 1, 2], [3, 4]]
        """
        if num_shards < 1:
            raise ArgumentError(explain("Dataset.shard", "num_shards is at least 1.", received=num_shards))
        if not 0 <= index < num_shards:
            raise ArgumentError(
                explain(
                    "Dataset.shard",
                    "The shard's index is out of range.",
                    expected=f"0 <= index < {num_shards}",
                    received=index,
                )
            )
        size, larger = divmod(len(self), num_shards)
        start = size * index + min(index, larger)
        return _SampledDataset(self, samplers.SequentialSampler(size + (index < larger), start))

    def take(self, count: int | None) -> Dataset:
        """Return a view of the first `count` samples; None or a number beyond the length takes all.

        >>> list(SimpleDataset([5, 6, 7]).take(2))
        [5, 6]
        """
        if count is not None and count < 0:
            raise ArgumentError(explain("Dataset.take", "count is not negative.", received=count))
        length = len(self)
        return _SampledDataset(self, samplers.SequentialSampler(length if count is None else min(count, length)))

    def sample(self, sampler: samplers.Sampler) -> Dataset:
        """Return a view of the samples whose indices `sampler` gives.

        >>> list(SimpleDataset([5, 6, 7]).sample(samplers.SequentialSampler(2, start=1)))
        [6, 7]
        """
        if not isinstance(sampler, samplers.Sampler):
            raise TypeError(
                explain(
                    "Dataset.sample",
                    "The order is given by a sampler.",
                    expected="a gluon.data.Sampler",
                    received=type(sampler).__name__,
                )
            )
        return _SampledDataset(self, sampler)

    def transform(self, fn: Callable[..., Any], lazy: bool = True) -> Dataset:
        """Return a data set of `fn(*sample)`; with `lazy=False` all are computed now and kept.

        >>> SimpleDataset([1, 2]).transform(lambda sample: sample * 10)[1]
        20
        """
        transformed = _LazyTransformDataset(self, fn)
        if lazy:
            return transformed
        whole = transformed.gather(range(len(self))) if len(self) else None
        if whole is not None:
            return ArrayDataset(*whole) if isinstance(whole, list) else ArrayDataset(whole)
        return SimpleDataset([transformed[index] for index in range(len(transformed))])

    def transform_first(self, fn: Callable[[Any], Any], lazy: bool = True) -> Dataset:
        """Return a data set in which `fn` is applied to the first part of each sample (the data, not the label).

        >>> ArrayDataset([1, 2], ["one", "two"]).transform_first(lambda number: -number)[1]
        (-2, 'two')
        """
        return self.transform(_TransformFirst(fn), lazy)


class SimpleDataset(Dataset):
    """A list (or anything with `__getitem__` and `__len__`) as a data set."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __getitem__(self, idx: Any) -> Any:
        return self._data[idx]

    def __len__(self) -> int:
        return len(self._data)


class _LazyTransformDataset(Dataset):
    def __init__(self, data: Dataset, fn: Callable[..., Any]) -> None:
        self._data = data
        self._fn = fn

    def __getitem__(self, idx: Any) -> Any:
        sample = self._data[idx]
        return self._fn(*sample) if isinstance(sample, tuple) else self._fn(sample)

    def __len__(self) -> int:
        return len(self._data)

    def gather(self, indices: Sequence[int]) -> Any | None:
        """Return a whole batch at once, if the data can and the transform does the same to a batch as to each sample
        in it.
        """
        first_only, transform = False, self._fn
        if isinstance(transform, _TransformFirst):
            first_only, transform = True, transform._fn
        gather = gather_of(self._data) if getattr(transform, "batchable", False) else None
        batch = gather(indices) if gather is not None else None
        if isinstance(batch, list) and first_only:
            return [transform(batch[0]), *batch[1:]]
        return None if batch is None or isinstance(batch, list) else transform(batch)


def gather_of(dataset: Any) -> Callable[[Sequence[int]], Any] | None:
    """Return the `gather` of a data set, unless a subclass has its own `__getitem__`, which would be passed over."""
    for cls in type(dataset).__mro__:
        if "gather" in vars(cls):
            return dataset.gather
        if "__getitem__" in vars(cls):
            return None
    return None


class _TransformFirst:
    """`fn` on the first part of a sample; a class, so that it can be sent to another process where `fn` can."""

    def __init__(self, fn: Callable[[Any], Any]) -> None:
        self._fn = fn

    def __call__(self, first: Any, *rest: Any) -> Any:
        return (self._fn(first), *rest) if rest else self._fn(first)


class _SampledDataset(Dataset):
    def __init__(self, dataset: Dataset, sampler: samplers.Sampler) -> None:
        self._dataset = dataset
        self._indices = list(sampler)

    def __getitem__(self, idx: Any) -> Any:
        return self._dataset[self._indices[idx]]

    def __len__(self) -> int:
        return len(self._indices)

    def gather(self, indices: Sequence[int]) -> Any | None:
        """Return a whole batch at once, where the data can."""
        gather = gather_of(self._dataset)
        return None if gather is None else gather([self._indices[index] for index in indices])


class ArrayDataset(Dataset):
    """Several arrays or lists of one length, read side by side.

    Parameters
    ----------
    *args : NDArray, numpy.ndarray, list or data set
        With one of them a sample is its element; with several, a tuple. A one-dimensional NDArray gives plain numbers.

    Examples
    --------
    >>> ArrayDataset(np.array([[1, 2], [3, 4]]), [0, 1])[1]
    (array([3, 4]), 1)
    """

    def __init__(self, *args: Any) -> None:
        if not args:
            raise ArgumentError(explain("ArrayDataset", "At least one array is needed."))
        self._length = len(args[0])
        self._data: list[Any] = []
        for number, array in enumerate(args):
            if len(array) != self._length:
                raise ShapeError(
                    explain(
                        "ArrayDataset",
                        "The arrays differ in length.",
                        expected=f"{self._length}, as array 0 has",
                        received=f"{len(array)} in array {number}",
                        fix="Each array holds one entry per sample along its first axis.",
                    )
                )
            if isinstance(array, nd.NDArray) and array.ndim == 1:
                array = array.asnumpy()
            self._data.append(array)

    def __getitem__(self, idx: Any) -> Any:
        if len(self._data) == 1:
            return self._data[0][idx]
        return tuple(array[idx] for array in self._data)

    def __len__(self) -> int:
        return self._length

    def gather(self, indices: Sequence[int]) -> Any | None:
        """Return the batch that the default batchify function would make of these samples, or None if it must be asked.

        Only arrays can do it: one indexing operation in place of one for each sample.
        """
        if not all(isinstance(array, (np.ndarray, nd.NDArray)) for array in self._data):
            return None
        batch = [_gather_rows(array, indices) for array in self._data]
        return batch[0] if len(batch) == 1 else batch


def _gather_rows(array: Any, indices: Sequence[int]) -> nd.NDArray:
    if isinstance(array, np.ndarray):
        rows = array[np.asarray(indices, dtype=np.int64)]
        return nd.array(rows, dtype=rows.dtype)
    return array[nd.array(np.asarray(indices, dtype=np.int64), dtype="int64")]


class RecordFileDataset(Dataset):
    """The records of a RecordIO file (`.rec`, with its index `.idx` beside it) as bytes."""

    def __init__(self, filename: str | os.PathLike[str]) -> None:
        self.filename = os.fspath(filename)
        self.idx_file = os.path.splitext(self.filename)[0] + ".idx"
        self._record = recordio.MXIndexedRecordIO(self.idx_file, self.filename, "r")

    def __getitem__(self, idx: Any) -> Any:
        return self._record.read_idx(self._record.keys[idx])

    def __len__(self) -> int:
        return len(self._record.keys)
