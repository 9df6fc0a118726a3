"""Samplers: in which order a data set is read.

The one idea: a sampler is an iterable of indices with a length, and nothing else; a `BatchSampler` groups the indices
of another. Batches of samples are made in dataloader.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ...base.errors import ArgumentError, explain

__all__ = ["BatchSampler", "FilterSampler", "IntervalSampler", "RandomSampler", "Sampler", "SequentialSampler"]


class Sampler:
    """Base class: an iterable of sample indices that knows its length. Override `__iter__` and `__len__`."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(explain(type(self).__name__, "A sampler defines __iter__, which yields indices."))

    def __len__(self) -> int:
        raise NotImplementedError(explain(type(self).__name__, "A sampler defines __len__, the number of its indices."))


def _count(value: Any, where: str, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ArgumentError(explain(where, f"{name} is an integer of at least {least}.", received=repr(value)))
    return int(value)


class SequentialSampler(Sampler):
    """The indices start, start + 1 ... start + length - 1.

    >>> list(SequentialSampler(3, start=5))
    [5, 6, 7]
    """

    def __init__(self, length: int, start: int = 0) -> None:
        self._length = _count(length, "SequentialSampler", "length", 0)
        self._start = start

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._start, self._start + self._length))

    def __len__(self) -> int:
        return self._length


class RandomSampler(Sampler):
    """The indices 0 ... length - 1 in a new random order at each pass (drawn from NumPy's global generator).

    >>> sorted(RandomSampler(4))
    [0, 1, 2, 3]
    """

    def __init__(self, length: int) -> None:
        self._length = _count(length, "RandomSampler", "length", 0)

    def __iter__(self) -> Iterator[int]:
        return iter(np.random.permutation(self._length).tolist())

    def __len__(self) -> int:
        return self._length


class FilterSampler(Sampler):
    """The indices of those samples of `dataset` for which `fn` is true, in order; `fn` is asked once, now.

    >>> list(FilterSampler(lambda sample: sample > 1, [1, 2, 3]))
    [1, 2]
    """

    def __init__(self, fn: Callable[[Any], Any], dataset: Any) -> None:
        self._indices = [index for index in range(len(dataset)) if fn(dataset[index])]

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)


class IntervalSampler(Sampler):
    """Every `interval`-th index; with `rollover` it goes round again from 1, 2 ... until all have been visited.

    >>> list(IntervalSampler(7, 3))
    [0, 3, 6, 1, 4, 2, 5]
    >>> list(IntervalSampler(7, 3, rollover=False))
    [0, 3, 6]
    """

    def __init__(self, length: int, interval: int, rollover: bool = True) -> None:
        self._length = _count(length, "IntervalSampler", "length", 0)
        self._interval = _count(interval, "IntervalSampler", "interval", 1)
        if self._interval > self._length:
            raise ArgumentError(
                explain(
                    "IntervalSampler",
                    "The interval exceeds the length.",
                    expected=f"at most {length}",
                    received=interval,
                )
            )
        self._rollover = rollover

    def __iter__(self) -> Iterator[int]:
        for start in range(self._interval if self._rollover else 1):
            yield from range(start, self._length, self._interval)

    def __len__(self) -> int:
        return self._length if self._rollover else (self._length + self._interval - 1) // self._interval


class BatchSampler(Sampler):
    """Lists of `batch_size` indices of another sampler.

    Parameters
    ----------
    sampler : Sampler
        Where the indices come from.
    batch_size : int
        How many go into a batch.
    last_batch : str
        What becomes of an incomplete last batch: ``"keep"`` yields it, ``"discard"`` drops it, ``"rollover"`` puts its
        indices at the head of the next pass.

    Examples
    --------
    >>> batches = BatchSampler(SequentialSampler(5), 3, "rollover")
    >>> list(batches), list(batches)
    ([[0, 1, 2]], [[3, 4, 0], [1, 2, 3]])
    """

    def __init__(self, sampler: Iterable[Any], batch_size: int, last_batch: str = "keep") -> None:
        self._sampler = sampler
        self._batch_size = _count(batch_size, "BatchSampler", "batch_size", 1)
        if last_batch not in ("keep", "discard", "rollover"):
            raise ArgumentError(
                explain(
                    "BatchSampler",
                    "last_batch is unknown.",
                    received=repr(last_batch),
                    expected="'keep', 'discard' or 'rollover'",
                )
            )
        self._last_batch = last_batch
        self._left_over: list[Any] = []

    def __iter__(self) -> Iterator[list[Any]]:
        batch, self._left_over = self._left_over, []
        for index in self._sampler:
            batch.append(index)
            if len(batch) == self._batch_size:
                yield batch
                batch = []
        if batch and self._last_batch == "keep":
            yield batch
        elif batch and self._last_batch == "rollover":
            self._left_over = batch

    def __len__(self) -> int:
        count = len(self._sampler)  # type: ignore[arg-type]
        if self._last_batch == "keep":
            return (count + self._batch_size - 1) // self._batch_size
        return (count + len(self._left_over)) // self._batch_size
