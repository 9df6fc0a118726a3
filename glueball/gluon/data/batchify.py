"""From a list of samples to a batch: the default, and the pieces from which others are put together.

The one idea: a batchify function takes the list of samples and returns arrays whose first axis is the batch. Samples
that are tuples become a list with one batch for each part. Who calls them is in dataloader.py; the way back from a
worker process is in transport.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import ndarray as nd
from ...base.errors import ArgumentError, DTypeError, ShapeError, explain

__all__ = ["Append", "AsList", "Group", "Pad", "Stack", "default_batchify_fn", "default_mp_batchify_fn"]

_RAGGED = (
    "Pad them with gluon.data.batchify.Pad(), e.g. DataLoader(..., batchify_fn=batchify.Pad()) or, for samples "
    "(data, label), batchify.Group(batchify.Pad(), batchify.Stack()); or keep them apart with batchify.AsList() and "
    "let glueball.fold batch the computation."
)


def default_batchify_fn(data: Sequence[Any]) -> Any:
    """Stack samples into a batch.

    NDArrays and NumPy arrays are stacked and keep their dtype, numbers become a vector of NumPy's dtype for them
    (int64, float64), tuples a list of batches, dictionaries a dictionary of batches.

    Raises
    ------
    ShapeError
        The samples differ in shape; the message names the two that do.

    Examples
    --------
    >>> data, label = default_batchify_fn([(np.zeros(3), 0), (np.ones(3), 1)])
    >>> data.shape, label.asnumpy()
    ((2, 3), array([0, 1]))
    """
    return _default(data, "sample")


def default_mp_batchify_fn(data: Sequence[Any]) -> Any:
    """The same as `default_batchify_fn`: the loader moves batches out of its workers through shared memory by
    itself.
    """
    return _default(data, "sample")


def _default(data: Sequence[Any], what: str) -> Any:
    _require_some(data, "default_batchify_fn")
    first = data[0]
    if isinstance(first, nd.NDArray):
        _require_one_shape([sample.shape for sample in data], what)
        return nd.stack(*data, axis=0)
    if isinstance(first, tuple):
        return [_default(part, f"part {number} of {what}") for number, part in enumerate(_parts(data, what))]
    if isinstance(first, dict):
        return {key: _default([sample[key] for sample in data], f"entry {key!r} of {what}") for key in first}
    return _from_numpy(_stack(data, what, "default_batchify_fn"))


def _require_some(data: Sequence[Any], where: str) -> None:
    if len(data) == 0:
        raise ArgumentError(
            explain(
                where, "There is no sample to make a batch of.", fix="A batch sampler must not yield an empty list."
            )
        )


def _parts(data: Sequence[Any], what: str) -> list[tuple[Any, ...]]:
    length = len(data[0])
    for position, sample in enumerate(data):
        if len(sample) != length:
            raise ShapeError(
                explain(
                    "default_batchify_fn",
                    f"Each {what} has the same number of parts.",
                    expected=f"{length} parts, as position 0 of the batch",
                    received=f"{len(sample)} parts at position {position}",
                )
            )
    return list(zip(*data))


def _require_one_shape(shapes: Sequence[tuple[int, ...]], what: str, where: str = "default_batchify_fn") -> None:
    for position, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ShapeError(
                explain(
                    where,
                    f"The samples of a batch differ in shape ({what}).",
                    expected=f"shape {shapes[0]}, as at position 0 of the batch",
                    received=f"shape {shape} at position {position}",
                    fix=_RAGGED,
                )
            )


def _stack(data: Sequence[Any], what: str, where: str) -> np.ndarray:
    """Return samples (arrays, numbers, nested lists of numbers) as one NumPy array."""
    try:
        arrays = [sample.asnumpy() if isinstance(sample, nd.NDArray) else np.asarray(sample) for sample in data]
    except ValueError:  # NumPy's "inhomogeneous shape"
        raise ShapeError(explain(where, f"A {what} is a nested list of unequal lengths.", fix=_RAGGED)) from None
    _require_one_shape([array.shape for array in arrays], what, where)
    batch = np.stack(arrays)
    if batch.dtype.kind not in "biuf":
        raise DTypeError(
            explain(
                where,
                f"A {what} is no number and no array of numbers.",
                received=type(data[0]).__name__,
                fix="Transform it into numbers, or give the loader batchify_fn=batchify.AsList().",
            )
        )
    return batch


def _from_numpy(batch: np.ndarray) -> nd.NDArray:
    """Return an array that was made here, and that nobody else holds, without copying it."""
    return nd.from_numpy(batch, zero_copy=True)


class Stack:
    """Stack samples of one shape along a new first axis.

    >>> Stack()([[1, 2], [3, 4]]).shape
    (2, 2)
    """

    def __init__(self, use_shared_mem: bool = False) -> None:
        # Accepted for compatibility: batches always leave a worker through shared memory.
        del use_shared_mem

    def __call__(self, data: Sequence[Any]) -> nd.NDArray:
        """Return shape (batch, ...)."""
        _require_some(data, "batchify.Stack")
        return _from_numpy(_stack(data, "sample", "batchify.Stack"))


class Pad:
    """Pad samples at the end of every axis to the largest size in the batch, then stack them.

    Parameters
    ----------
    val : number
        What to fill with.
    dtype : dtype, optional
        Of the batch; by default that of the samples.
    round_to : int, optional
        Padded sizes are rounded up to a multiple of this.
    ret_length : bool
        Also return the original sizes of the first axis, int32, as `valid_length` of the recurrent layers wants them.

    Raises
    ------
    ShapeError
        The samples differ in their number of dimensions.

    Examples
    --------
    >>> Pad()([[1, 2, 3], [4]]).asnumpy()
    array([[1, 2, 3],
           [4, 0, 0]])
    """

    def __init__(
        self,
        val: float = 0,
        dtype: Any = None,
        round_to: int | None = None,
        use_shared_mem: bool = False,
        *,
        ret_length: bool = False,
    ) -> None:
        del use_shared_mem  # as in Stack
        if round_to is not None and round_to < 1:
            raise ArgumentError(explain("batchify.Pad", "round_to is positive.", received=round_to))
        self._val, self._dtype, self._round_to, self._ret_length = val, dtype, round_to, ret_length

    def __call__(self, data: Sequence[Any]) -> Any:
        """Return shape (batch, ...), or that and shape (batch,)."""
        _require_some(data, "batchify.Pad")
        arrays = [sample.asnumpy() if isinstance(sample, nd.NDArray) else np.asarray(sample) for sample in data]
        for position, array in enumerate(arrays):
            if array.ndim != arrays[0].ndim or array.ndim == 0:
                raise ShapeError(
                    explain(
                        "batchify.Pad",
                        "Padding needs samples of one number of dimensions, at least 1.",
                        expected=f"{max(arrays[0].ndim, 1)} dimensions",
                        received=f"shape {array.shape} at position {position}",
                    )
                )
        sizes = np.max([array.shape for array in arrays], axis=0)
        if self._round_to is not None:
            sizes = -(-sizes // self._round_to) * self._round_to
        batch = np.full(
            (len(arrays), *sizes), self._val, dtype=np.result_type(*arrays) if self._dtype is None else None
        )
        for row, array in zip(batch, arrays):
            row[tuple(slice(size) for size in array.shape)] = array
        padded = nd.array(batch, dtype=batch.dtype if self._dtype is None else self._dtype)
        if not self._ret_length:
            return padded
        return padded, nd.array([array.shape[0] for array in arrays], dtype="int32")


class Append:
    """Keep samples apart: a list of arrays, each with a batch axis of one (`expand`) at `batch_axis`.

    >>> [array.shape for array in Append()([[1, 2, 3], [4]])]
    [(1, 3), (1, 1)]
    """

    def __init__(self, expand: bool = True, batch_axis: int = 0, use_shared_mem: bool = False) -> None:
        del use_shared_mem  # as in Stack
        self._expand, self._batch_axis = expand, batch_axis

    def __call__(self, data: Sequence[Any]) -> list[nd.NDArray]:
        """Return one array for each sample."""
        _require_some(data, "batchify.Append")
        arrays = [_stack([sample], "sample", "batchify.Append")[0] for sample in data]
        return [_from_numpy(np.expand_dims(array, self._batch_axis) if self._expand else array) for array in arrays]


class Group:
    """One batchify function for each part of the samples.

    >>> data, label = Group(Pad(), Stack())([([1, 2], 0), ([3], 1)])
    >>> data.shape, label.shape
    ((2, 2), (2,))
    """

    def __init__(self, fn: Any, *args: Callable[[Sequence[Any]], Any]) -> None:
        functions = tuple(fn) if isinstance(fn, (list, tuple)) else (fn,)
        if args and isinstance(fn, (list, tuple)):
            raise ArgumentError(explain("batchify.Group", "Give the functions as a list or one by one, not both."))
        self._functions = (*functions, *args)
        for function in self._functions:
            if not callable(function):
                raise TypeError(explain("batchify.Group", "Batchify functions are callable.", received=repr(function)))

    def __call__(self, data: Sequence[Any]) -> tuple[Any, ...]:
        """Return one batch for each part."""
        _require_some(data, "batchify.Group")
        for position, sample in enumerate(data):
            if not isinstance(sample, (tuple, list)) or len(sample) != len(self._functions):
                parts = f"{len(sample)} parts" if isinstance(sample, (tuple, list)) else type(sample).__name__
                raise ShapeError(
                    explain(
                        "batchify.Group",
                        "There is one function for each part of a sample.",
                        expected=f"{len(self._functions)} parts",
                        received=f"{parts} at position {position}",
                    )
                )
        return tuple(function(list(part)) for function, part in zip(self._functions, zip(*data)))


class AsList:
    """Leave the samples as they are, in a list.

    >>> AsList()(["one", "two"])
    ['one', 'two']
    """

    def __call__(self, data: Sequence[Any]) -> list[Any]:
        """Return the samples."""
        return list(data)
