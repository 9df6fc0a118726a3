"""DataLoader: from a data set to batches, in this process, in threads, or in worker processes.

The one idea: an iterator keeps a window of `prefetch` batches under way and hands them out in the sampler's order;
*who* makes them (a pool of processes or threads) is behind two calls, submit and collect. Without workers a batch is
made when it is asked for, and a plain array data set is then indexed once for the whole batch. How samples become a
batch is in batchify.py, the processes are in workers.py.
"""

from __future__ import annotations

import collections
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import numpy as np
import torch

from ... import ndarray as nd
from ...base.errors import ArgumentError, explain
from . import sampler as samplers
from .batchify import default_batchify_fn, default_mp_batchify_fn
from .dataset import gather_of
from .workers import DataLoaderError, SampleFailure, WorkerPool, default_start_method, failure_message, fetch

__all__ = ["DataLoader", "DataLoaderError", "default_batchify_fn", "default_mp_batchify_fn"]


class DataLoader:
    """Batches of a data set, to be iterated over, once for each epoch.

    Parameters
    ----------
    dataset : Dataset
        Anything with `__getitem__` and `__len__`.
    batch_size : int
        Samples in a batch; required unless `batch_sampler` is given.
    shuffle : bool
        A new random order at each epoch; not together with `sampler`.
    sampler : Sampler, optional
        In which order samples are read.
    last_batch : str, optional
        ``"keep"`` (default), ``"discard"`` or ``"rollover"``: what becomes of an incomplete last batch.
    batch_sampler : Sampler, optional
        Yields lists of indices; replaces the four arguments above.
    batchify_fn : callable, optional
        Makes a batch from a list of samples (see `gluon.data.batchify`).
    num_workers : int
        Processes (or threads) that read samples; 0 reads them here. The processes stay from epoch to epoch.
    pin_memory : bool
        Put batches into page-locked memory, from which they are copied to a CUDA device faster. Without CUDA it does
        nothing.
    pin_device_id : int
        Accepted for compatibility: page-locked memory serves every device.
    prefetch : int, optional
        Batches under way at once; default twice the number of workers.
    thread_pool : bool
        Threads in place of processes: for data sets that spend their time outside Python (decoding, files).
    timeout : float
        Seconds to wait for a batch of a worker before it is an error.
    auto_reload : bool
        Start on the next epoch's batches as soon as one ends.
    start_method : str, optional
        ``"fork"`` or ``"spawn"``; default fork on Linux and spawn elsewhere (reasons in workers.py).

    Raises
    ------
    DataLoaderError
        A sample could not be read, in whichever process: the message names its index and carries the traceback. So is a
        worker that died or that took longer than `timeout`.

    Notes
    -----
    Random transforms in worker processes draw from generators (Python's, NumPy's and Glueball's) that are seeded for
    each batch from the state of NumPy's generator here: seed NumPy and the epoch repeats, however many workers there
    are.

    Examples
    --------
    >>> from glueball.gluon.data import ArrayDataset
    >>> loader = DataLoader(ArrayDataset(np.zeros((5, 3), np.float32), np.arange(5)), batch_size=2)
    >>> [(data.shape, label.shape) for data, label in loader]
    [((2, 3), (2,)), ((2, 3), (2,)), ((1, 3), (1,))]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = None,
        shuffle: bool = False,
        sampler: Iterable[Any] | None = None,
        last_batch: str | None = None,
        batch_sampler: Iterable[Sequence[Any]] | None = None,
        batchify_fn: Callable[[list[Any]], Any] | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
        pin_device_id: int = 0,
        prefetch: int | None = None,
        thread_pool: bool = False,
        timeout: float | None = 120,
        auto_reload: bool = False,
        *,
        start_method: str | None = None,
    ) -> None:
        self._pool: WorkerPool | _ThreadPool | None = None
        self._waiting: _Epoch | None = None
        if num_workers < 0:
            raise ArgumentError(explain("DataLoader", "num_workers is not negative.", received=num_workers))
        if prefetch is not None and prefetch < 0:
            raise ArgumentError(explain("DataLoader", "prefetch is not negative.", received=prefetch))
        if timeout is not None and timeout <= 0:
            raise ArgumentError(explain("DataLoader", "timeout is a positive number of seconds.", received=timeout))
        self._dataset = dataset
        self._batch_sampler = _make_batch_sampler(dataset, batch_size, shuffle, sampler, last_batch, batch_sampler)
        self._batchify_fn = batchify_fn if batchify_fn is not None else default_batchify_fn
        self._num_workers = num_workers
        self._pin_memory = pin_memory and torch.cuda.is_available()
        self._pin_device_id = pin_device_id
        self._prefetch = max(1, 2 * num_workers if prefetch is None else prefetch)
        self._thread_pool = thread_pool
        self._timeout = timeout
        self._auto_reload = auto_reload
        self._start_method = start_method or default_start_method()
        self._epoch = 0
        if auto_reload:
            self.refresh()

    def __len__(self) -> int:
        """Return the number of batches of the next epoch."""
        return len(self._batch_sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        if self._num_workers == 0:
            return self._iterate_here()
        if not self._auto_reload:
            return self._new_epoch()
        return self._iterate_and_reload()

    def refresh(self) -> None:
        """Throw batches made in advance away and start on a new epoch (with `auto_reload`)."""
        if self._waiting is not None:
            self._waiting.close()
        self._waiting = self._new_epoch() if self._num_workers else None

    def clean(self) -> None:
        """Stop the worker processes; the next epoch starts new ones."""
        if self._waiting is not None:
            self._waiting.close()
            self._waiting = None
        if self._pool is not None:
            self._pool.stop()
            self._pool = None

    def _iterate_here(self) -> Iterator[Any]:
        gather = gather_of(self._dataset) if self._batchify_fn in _DEFAULTS else None
        for indices in self._batch_sampler:
            batch = gather(indices) if gather is not None else None
            yield self._pinned(_fetch_here(self._dataset, indices, self._batchify_fn) if batch is None else batch)

    def _iterate_and_reload(self) -> Iterator[Any]:
        epoch = self._waiting if self._waiting is not None else self._new_epoch()
        self._waiting = None
        yield from epoch
        self._waiting = self._new_epoch()

    def _new_epoch(self) -> _Epoch:
        if self._pool is None or not self._pool.alive:
            if self._thread_pool:
                self._pool = _ThreadPool(self._num_workers, self._dataset, self._batchify_fn)
            else:
                self._pool = WorkerPool(self._num_workers, self._start_method, self._dataset, self._batchify_fn)
        self._epoch += 1
        return _Epoch(self._pool, iter(self._batch_sampler), self._prefetch, self._timeout, self._seed(), self._pinned)

    def _seed(self) -> int:
        """Return a seed that follows NumPy's generator without drawing from it (so workers do not change the
        shuffling).
        """
        _, keys, position, *_ = np.random.get_state(legacy=True)
        return zlib.crc32(np.asarray(keys).tobytes(), int(position) * 65537 + self._epoch)

    def _pinned(self, batch: Any) -> Any:
        return _pin(batch) if self._pin_memory else batch


_DEFAULTS = (default_batchify_fn, default_mp_batchify_fn)


def _make_batch_sampler(
    dataset: Any,
    batch_size: int | None,
    shuffle: bool,
    sampler: Iterable[Any] | None,
    last_batch: str | None,
    batch_sampler: Iterable[Sequence[Any]] | None,
) -> Iterable[Sequence[Any]]:
    if batch_sampler is not None:
        given = {
            "batch_size": batch_size is not None,
            "shuffle": bool(shuffle),
            "sampler": sampler is not None,
            "last_batch": last_batch is not None,
        }
        if any(given.values()):
            names = ", ".join(name for name, is_given in given.items() if is_given)
            raise ArgumentError(
                explain(
                    "DataLoader",
                    "batch_sampler decides everything about the order.",
                    expected="no batch_size, shuffle, sampler or last_batch",
                    received=names,
                )
            )
        return batch_sampler
    if batch_size is None:
        raise ArgumentError(
            explain("DataLoader", "The batch size is missing.", fix="Give batch_size=..., or a batch_sampler.")
        )
    if sampler is None:
        length = len(dataset)
        sampler = samplers.RandomSampler(length) if shuffle else samplers.SequentialSampler(length)
    elif shuffle:
        raise ArgumentError(
            explain(
                "DataLoader",
                "A sampler decides the order, so shuffle has no meaning.",
                fix="Leave shuffle out, or use gluon.data.RandomSampler.",
            )
        )
    return samplers.BatchSampler(sampler, batch_size, last_batch or "keep")


def _fetch_here(dataset: Any, indices: Sequence[Any], batchify: Callable[[list[Any]], Any]) -> Any:
    try:
        return fetch(dataset, indices, batchify)
    except SampleFailure as failure:
        cause = failure.__cause__
        message, index = failure_message(
            indices, failure.position, f"{type(cause).__name__}: {cause}", "in this process"
        )
    raise DataLoaderError(message, index) from cause


def _pin(value: Any) -> Any:
    """Return arrays, in whatever structure, in page-locked memory."""
    if isinstance(value, nd.NDArray):
        return nd.from_torch(value.to_torch().pin_memory())
    if isinstance(value, (list, tuple)):
        parts = [_pin(part) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    if isinstance(value, dict):
        return {key: _pin(part) for key, part in value.items()}
    return value


class _Epoch:
    """The batches of one epoch, made in advance and handed out in order."""

    def __init__(
        self,
        pool: WorkerPool | _ThreadPool,
        batches: Iterator[Sequence[Any]],
        prefetch: int,
        timeout: float | None,
        seed: int,
        finish: Callable[[Any], Any],
    ) -> None:
        self._pool, self._batches, self._timeout, self._finish = pool, batches, timeout, finish
        self._seed, self._count = seed, 0
        self._under_way: collections.deque[int] = collections.deque()
        for _ in range(prefetch):
            self._submit()

    def _submit(self) -> None:
        indices = next(self._batches, None)
        if indices is not None:
            self._under_way.append(self._pool.submit(list(indices), (self._seed + self._count) % 2**32))
            self._count += 1

    def __iter__(self) -> _Epoch:
        return self

    def __next__(self) -> Any:
        if not self._under_way:
            raise StopIteration
        number = self._under_way.popleft()
        try:
            batch = self._pool.collect(number, self._timeout)
        except BaseException:
            self.close()
            raise
        self._submit()
        return self._finish(batch)

    def close(self) -> None:
        """Give up the batches under way."""
        while self._under_way:
            self._pool.abandon(self._under_way.popleft())

    def __del__(self) -> None:
        if hasattr(self, "_under_way"):
            self.close()


class _ThreadPool:
    """The same two calls as WorkerPool, by threads of this process."""

    def __init__(self, count: int, dataset: Any, batchify: Callable[[list[Any]], Any]) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="DataLoader thread")
        self._dataset, self._batchify = dataset, batchify
        self._futures: dict[int, Future[Any]] = {}
        self._batches: dict[int, Sequence[Any]] = {}
        self._next_task = 0
        self.alive = True

    def submit(self, indices: Sequence[Any], seed: int) -> int:
        number = self._next_task
        self._next_task += 1
        self._batches[number] = indices
        self._futures[number] = self._executor.submit(_fetch_here, self._dataset, indices, self._batchify)
        return number

    def abandon(self, number: int) -> None:
        self._futures.pop(number).cancel()
        self._batches.pop(number)

    def collect(self, number: int, timeout: float | None) -> Any:
        indices, future = self._batches.pop(number), self._futures.pop(number)
        try:
            return future.result(timeout)
        except FutureTimeoutError:
            if future.done():
                raise
            self.alive = False
            self._executor.shutdown(wait=False, cancel_futures=True)
            raise DataLoaderError(
                explain(
                    "DataLoader",
                    f"No batch came for {timeout} seconds from a thread that reads the samples {list(indices)[:8]}.",
                    fix="Raise DataLoader(timeout=...).",
                )
            ) from None

    def stop(self) -> None:
        self.alive = False
        self._executor.shutdown(wait=False, cancel_futures=True)
