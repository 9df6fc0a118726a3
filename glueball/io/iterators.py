"""Iterators over arrays in memory, and iterators over iterators: NDArrayIter, ResizeIter, PrefetchingIter.

The one idea of NDArrayIter: a cursor runs over a (shuffled) list of sample numbers, and what happens at the end, where
a batch is not full, is decided in one place (`_rows`). The base classes are in batch.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from .. import ndarray as nd
from ..base.errors import ArgumentError, explain
from .batch import DataBatch, DataDesc, DataIter, no_array, one_length, positive

__all__ = ["NDArrayIter", "PrefetchingIter", "ResizeIter"]


def named_arrays(data: Any, default_name: str, where: str, allow_empty: bool) -> list[tuple[str, nd.NDArray]]:
    """Return named NDArrays for an array, a list or a dictionary of arrays; NumPy arrays become float32, as `nd.array`
    does.
    """
    if data is None:
        data = []
    if isinstance(data, (np.ndarray, nd.NDArray)):
        data = [data]
    if isinstance(data, (list, tuple)):
        if any(not isinstance(array, (np.ndarray, nd.NDArray)) for array in data):
            raise no_array(where, data)
        names = [default_name] if len(data) == 1 else [f"_{number}_{default_name}" for number in range(len(data))]
        data = dict(zip(names, data))
    if not isinstance(data, dict):
        raise no_array(where, data)
    if not data and not allow_empty:
        raise ArgumentError(explain(where, "There is no data.", received=repr(data)))
    return [(name, array if isinstance(array, nd.NDArray) else nd.array(array)) for name, array in data.items()]


class NDArrayIter(DataIter):
    """Batches of arrays in memory.

    Parameters
    ----------
    data : array, or list or dict of arrays
        Inputs; the first axis counts the samples. NumPy arrays become float32, NDArrays keep their dtype.
    label : the same, optional
        Labels.
    batch_size : int
        Samples in a batch.
    shuffle : bool
        A new random order (NumPy's generator) at each pass.
    last_batch_handle : str
        ``"pad"`` fills the last batch from the start and counts the rest in `pad`; ``"discard"`` leaves it out;
        ``"roll_over"`` keeps its samples for the head of the next pass.
    data_name, label_name : str
        Names, where the arrays have none.
    layout : str
        For the descriptions.

    Examples
    --------
    >>> batches = NDArrayIter(np.arange(5.0), batch_size=2)
    >>> [(batch.data[0].asnumpy().tolist(), batch.pad) for batch in batches]
    [([0.0, 1.0], 0), ([2.0, 3.0], 0), ([4.0, 0.0], 1)]
    """

    def __init__(
        self,
        data: Any,
        label: Any = None,
        batch_size: int = 1,
        shuffle: bool = False,
        last_batch_handle: str = "pad",
        data_name: str = "data",
        label_name: str = "softmax_label",
        layout: str = "NCHW",
    ) -> None:
        super().__init__(positive(batch_size, "NDArrayIter"))
        if last_batch_handle not in ("pad", "discard", "roll_over"):
            raise ArgumentError(
                explain(
                    "NDArrayIter",
                    "last_batch_handle is unknown.",
                    expected="'pad', 'discard' or 'roll_over'",
                    received=repr(last_batch_handle),
                )
            )
        self.data = named_arrays(data, data_name, "NDArrayIter", allow_empty=False)
        self.label = named_arrays(label, label_name, "NDArrayIter", allow_empty=True)
        self.num_data = one_length([*self.data, *self.label], "NDArrayIter")
        self.last_batch_handle = last_batch_handle
        self.shuffle = shuffle
        self.layout = layout
        self.idx = np.arange(self.num_data)
        self._left_over = self.idx[:0]
        self._start()

    @property
    def provide_data(self) -> list[DataDesc]:  # type: ignore[override]
        """Descriptions of the inputs."""
        return [self._describe(name, array) for name, array in self.data]

    @property
    def provide_label(self) -> list[DataDesc]:  # type: ignore[override]
        """Descriptions of the labels."""
        return [self._describe(name, array) for name, array in self.label]

    def _describe(self, name: str, array: nd.NDArray) -> DataDesc:
        return DataDesc(name, (self.batch_size, *array.shape[1:]), array.dtype, self.layout)

    def _start(self) -> None:
        if self.shuffle:
            np.random.shuffle(self.idx)
        self._order = np.concatenate([self._left_over, self.idx])
        self._rolled = len(self._left_over)
        self._left_over = self.idx[:0]
        self.cursor = -self.batch_size

    def reset(self) -> None:
        """Start the next pass; with ``"roll_over"`` what was left of this one comes first."""
        if self.last_batch_handle == "roll_over" and len(self._order) - self.batch_size < self.cursor < len(
            self._order
        ):
            self._left_over = self._order[self.cursor :]
        self._start()

    def hard_reset(self) -> None:
        """Start over, without what was left."""
        self._left_over = self.idx[:0]
        self._start()

    def iter_next(self) -> bool:
        """Move on by a batch."""
        self.cursor += self.batch_size
        return (
            self.cursor < len(self._order)
            if self.last_batch_handle == "pad"
            else self.cursor + self.batch_size <= len(self._order)
        )

    def _rows(self) -> nd.NDArray:
        if not 0 <= self.cursor < len(self._order):
            raise ArgumentError(
                explain(
                    "NDArrayIter", "There is no current batch.", fix="Call next(), and reset() at the end of a pass."
                )
            )
        numbers = np.arange(self.cursor, self.cursor + self.batch_size) % len(self._order)
        return nd.array(self._order[numbers], dtype="int64")

    def getdata(self) -> list[nd.NDArray]:
        """Return the inputs of the current batch."""
        rows = self._rows()
        return [array[rows] for _, array in self.data]

    def getlabel(self) -> list[nd.NDArray]:
        """Return the labels of the current batch."""
        rows = self._rows()
        return [array[rows] for _, array in self.label]

    def getpad(self) -> int:
        """Return how many samples at the end are padding, or at the head come from the pass before."""
        if self.last_batch_handle == "pad":
            return max(self.cursor + self.batch_size - len(self._order), 0)
        return self._rolled if self.cursor == 0 else 0


class _WholeBatches(DataIter):
    """An iterator whose `iter_next` puts a whole batch into `current_batch`."""

    current_batch: DataBatch | None = None

    def next(self) -> DataBatch:
        """Return the next batch."""
        if not self.iter_next():
            raise StopIteration
        return self._batch

    @property
    def _batch(self) -> DataBatch:
        if self.current_batch is None:
            raise ArgumentError(explain(type(self).__name__, "There is no current batch.", fix="Call next() first."))
        return self.current_batch

    def getdata(self) -> Any:
        """Return the inputs of the current batch."""
        return self._batch.data

    def getlabel(self) -> Any:
        """Return the labels of the current batch."""
        return self._batch.label

    def getindex(self) -> Any:
        """Return the sample numbers of the current batch."""
        return self._batch.index

    def getpad(self) -> int | None:
        """Return the padding of the current batch."""
        return self._batch.pad


class ResizeIter(_WholeBatches):
    """Another iterator with passes of `size` batches, however many it has: it starts over, or is cut short.

    Parameters
    ----------
    data_iter : DataIter
        Where the batches come from.
    size : int
        Batches in a pass.
    reset_internal : bool
        Whether `reset` also resets `data_iter`; without, the next pass goes on where this one ended.
    """

    def __init__(self, data_iter: DataIter, size: int, reset_internal: bool = True) -> None:
        super().__init__(data_iter.batch_size)
        self.data_iter, self.size, self.reset_internal = data_iter, positive(size, "ResizeIter", "size"), reset_internal
        self.cur = 0
        self.provide_data, self.provide_label = data_iter.provide_data, data_iter.provide_label
        bucket_key = getattr(data_iter, "default_bucket_key", None)
        if bucket_key is not None:
            self.default_bucket_key = bucket_key

    def reset(self) -> None:
        """Start the next pass."""
        self.cur = 0
        if self.reset_internal:
            self.data_iter.reset()

    def iter_next(self) -> bool:
        """Move on by a batch."""
        if self.cur == self.size:
            return False
        try:
            self.current_batch = self.data_iter.next()
        except StopIteration:
            self.data_iter.reset()
            self.current_batch = self.data_iter.next()
        self.cur += 1
        return True


class PrefetchingIter(_WholeBatches):
    """One or several iterators read in advance, each in a thread of its own, their batches joined.

    Parameters
    ----------
    iters : DataIter or list of DataIter
        They must have batches of one size and as many of them.
    rename_data, rename_label : list of dict, optional
        For each iterator, new names for its arrays.

    Raises
    ------
    ArgumentError
        The iterators do not end together. What an iterator raises in its thread is raised by `next`.
    """

    def __init__(
        self,
        iters: Any,
        rename_data: Sequence[dict[str, str]] | None = None,
        rename_label: Sequence[dict[str, str]] | None = None,
    ) -> None:
        self.iters = list(iters) if isinstance(iters, (list, tuple)) else [iters]
        if not self.iters:
            raise ArgumentError(explain("PrefetchingIter", "At least one iterator is needed."))
        super().__init__(self.iters[0].provide_data[0].shape[0])
        self.provide_data = self._renamed("provide_data", rename_data)
        self.provide_label = self._renamed("provide_label", rename_label)
        self._threads = ThreadPoolExecutor(len(self.iters), thread_name_prefix="PrefetchingIter")
        self._ahead: list[Future[DataBatch | None]] = []
        self._request()

    def _renamed(self, attribute: str, rename: Sequence[dict[str, str]] | None) -> list[DataDesc]:
        names = rename if rename is not None else [{}] * len(self.iters)
        if len(names) != len(self.iters):
            raise ArgumentError(
                explain(
                    "PrefetchingIter",
                    "There is one dictionary of names for each iterator.",
                    expected=len(self.iters),
                    received=len(names),
                )
            )
        described: list[tuple[DataDesc, dict[str, str]]] = [
            (entry if isinstance(entry, DataDesc) else DataDesc(*entry), new)
            for iterator, new in zip(self.iters, names)
            for entry in getattr(iterator, attribute)
        ]
        return [
            DataDesc(new.get(entry.name, entry.name), entry.shape, entry.dtype, entry.layout)
            for entry, new in described
        ]

    def _request(self) -> None:
        self._ahead = [self._threads.submit(_next_or_none, iterator.next) for iterator in self.iters]

    def reset(self) -> None:
        """Start the next pass."""
        for future in self._ahead:
            # wait: an iterator must not be reset while a thread reads it; what it raised belongs to the old pass
            future.exception()
        for iterator in self.iters:
            iterator.reset()
        self._request()

    def iter_next(self) -> bool:
        """Move on by a batch."""
        batches = [future.result() for future in self._ahead]
        ended = [batch is None for batch in batches]
        if any(ended) and not all(ended):
            raise ArgumentError(
                explain(
                    "PrefetchingIter",
                    "The iterators do not end together.",
                    received=f"iterator {ended.index(True)} ended before iterator {ended.index(False)}",
                )
            )
        if all(ended):
            return False
        first = batches[0]
        assert first is not None  # noqa: S101  (all or none have ended)
        if any(batch is not None and batch.pad != first.pad for batch in batches):
            raise ArgumentError(
                explain(
                    "PrefetchingIter",
                    "The iterators pad their batches differently.",
                    received=[batch.pad for batch in batches if batch is not None],
                )
            )
        self.current_batch = DataBatch(
            [array for batch in batches if batch is not None for array in batch.data],
            [array for batch in batches if batch is not None for array in batch.label or []],
            first.pad,
            first.index,
            provide_data=self.provide_data,
            provide_label=self.provide_label,
        )
        self._request()
        return True

    def __del__(self) -> None:
        threads = getattr(self, "_threads", None)
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)


def _next_or_none(read: Callable[[], DataBatch]) -> DataBatch | None:
    try:
        return read()
    except StopIteration:  # a Future cannot carry it
        return None
