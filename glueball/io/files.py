"""Iterators over files of numbers: CSVIter and MNISTIter. (Images: ../image/record_iter.py, re-exported by this
package.)

The one idea: the file is read at once into arrays and handed out by a cursor that goes round, so that with
`round_batch` every batch is full and the next pass begins where the last one ended, as MXNet 1.x does it. Base
classes: batch.py.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ndarray as nd
from ..base import dtype as dtypes
from ..base.errors import ArgumentError, FileFormatError, ShapeError, explain
from ..base.files import unpack_gzip
from .batch import DataBatch, DataDesc, DataIter, one_length, positive

__all__ = ["CSVIter", "MNISTIter"]


class RoundIter(DataIter):
    """Batches of arrays, going round: a last batch is filled from the start, and then the next pass begins behind
    that.
    """

    def __init__(
        self, data: np.ndarray, label: np.ndarray, batch_size: int, round_batch: bool, names: tuple[str, str]
    ) -> None:
        super().__init__(positive(batch_size, type(self).__name__))
        self._arrays = {names[0]: data, names[1]: label}
        self._length = one_length(list(self._arrays.items()), type(self).__name__)
        self._round_batch = round_batch
        self.provide_data = [DataDesc(names[0], (batch_size, *data.shape[1:]), data.dtype.type)]
        self.provide_label = [DataDesc(names[1], (batch_size, *label.shape[1:]), label.dtype.type)]
        self._start = self._next_start = 0

    def reset(self) -> None:
        """Start the next pass."""
        self._start, self._next_start = self._next_start, 0

    def next(self) -> DataBatch:
        """Return the next batch."""
        if self._start >= self._length:
            raise StopIteration
        numbers = np.arange(self._start, self._start + self.batch_size)
        self._start += self.batch_size
        pad = max(self._start - self._length, 0)
        if self._round_batch:
            self._next_start = pad % self._length
        numbers %= self._length
        data, label = (nd.array(array[numbers], dtype=array.dtype) for array in self._arrays.values())
        return DataBatch([data], [label], pad, numbers)


def _load_csv(path: str | os.PathLike[str], shape: tuple[int, ...], dtype: Any, where: str) -> np.ndarray:
    """Return the rows of a CSV file, each reshaped to `shape`."""
    try:
        try:
            rows = np.loadtxt(path, delimiter=",", dtype=dtype, ndmin=2)
        except ValueError:  # integers may be written as 1.0 or 1e3
            rows = np.loadtxt(path, delimiter=",", dtype=np.float64, ndmin=2).astype(dtype)
    except ValueError as error:
        raise FileFormatError(
            explain(
                where,
                f"{os.fspath(path)!r} is no table of numbers: {str(error).rstrip('.')}.",
                expected="rows of numbers separated by commas, of one length, without a heading",
            )
        ) from None
    wanted = int(np.prod(shape))
    if rows.shape[1] != wanted:
        raise ShapeError(
            explain(
                where,
                f"The rows of {os.fspath(path)!r} do not have the shape asked for.",
                expected=f"{wanted} numbers for shape {shape}",
                received=f"{rows.shape[1]} numbers",
            )
        )
    return rows.reshape(len(rows), *shape)


class CSVIter(RoundIter):
    """Batches from a file of comma-separated numbers, one sample in each row.

    Parameters
    ----------
    data_csv : path
        The inputs.
    data_shape : tuple
        Shape of one sample.
    label_csv : path, optional
        The labels; without them labels are 0.
    label_shape : tuple
        Shape of one label; (1,) gives labels of shape (batch,).
    batch_size : int
        Samples in a batch.
    round_batch : bool
        Go round at the end (see above); False only pads the last batch.
    dtype : str
        ``"float32"``, ``"int32"`` or ``"int64"``.
    data_name, label_name : str
        Names in the descriptions.
    prefetch_buffer : int
        Accepted for compatibility; the file is in memory.

    Raises
    ------
    FileFormatError
        The file is no table of numbers.
    ShapeError
        A row has another number of values than the shape.
    """

    def __init__(
        self,
        data_csv: str | os.PathLike[str],
        data_shape: Sequence[int],
        label_csv: str | os.PathLike[str] = "NULL",
        label_shape: Sequence[int] = (1,),
        batch_size: int = 1,
        round_batch: bool = True,
        dtype: Any = "float32",
        data_name: str = "data",
        label_name: str = "softmax_label",
        prefetch_buffer: int = 4,
    ) -> None:
        del prefetch_buffer
        element = np.dtype(dtypes.as_numpy(dtype))
        data = _load_csv(data_csv, tuple(data_shape), element, "CSVIter")
        if label_csv in ("NULL", None):
            label = np.zeros((len(data), *label_shape), np.float32)
        else:
            label = _load_csv(label_csv, tuple(label_shape), np.float32, "CSVIter")
        label = label[:, 0] if tuple(label_shape) == (1,) else label
        super().__init__(data, label, batch_size, round_batch, (data_name, label_name))


def _read_idx(path: str | os.PathLike[str], dimensions: int) -> np.ndarray:
    """Return the bytes in a file of the IDX format (plain or gzip) with a number of dimensions."""
    with open(path, "rb") as file:
        content = file.read()
    if content[:2] == b"\x1f\x8b":
        content = unpack_gzip(content, f"File {os.fspath(path)!r}")
    head = 4 + 4 * dimensions
    if len(content) < head or content[:4] != bytes([0, 0, 8, dimensions]):
        raise FileFormatError(
            explain(
                "MNISTIter",
                f"{os.fspath(path)!r} is no IDX file of bytes with {dimensions} dimensions.",
                received=f"first bytes {content[:4]!r}",
            )
        )
    shape = tuple(np.frombuffer(content, ">u4", dimensions, 4).tolist())
    if len(content) - head != math.prod(shape):
        raise FileFormatError(
            explain(
                "MNISTIter",
                f"The length of {os.fspath(path)!r} does not agree with its head.",
                expected=f"{shape} bytes from byte {head}",
                received=f"{len(content) - head} bytes",
            )
        )
    return np.frombuffer(content, np.uint8, -1, head).reshape(shape if len(content) > head else (0,) * dimensions)


class MNISTIter(DataIter):
    """Batches of MNIST's own files: images in [0, 1) (divided by 256, as MXNet 1.x does), incomplete last batches left
    out.

    Parameters
    ----------
    image, label : path
        The files, plain or gzip.
    batch_size : int
        Samples in a batch.
    shuffle : bool
        Shuffle once, at the start, by `seed`.
    flat : bool
        Samples of shape (784,) in place of (1, 28, 28).
    num_parts, part_index : int
        Give only one of several contiguous parts.
    seed, silent, data_name, label_name
        The shuffle's seed; accepted for compatibility; names in the descriptions.
    """

    def __init__(
        self,
        image: str | os.PathLike[str] = "./train-images-idx3-ubyte",
        label: str | os.PathLike[str] = "./train-labels-idx1-ubyte",
        batch_size: int = 128,
        shuffle: bool = True,
        flat: bool = False,
        seed: int = 0,
        silent: bool = False,
        num_parts: int = 1,
        part_index: int = 0,
        data_name: str = "data",
        label_name: str = "softmax_label",
        **kwargs: Any,
    ) -> None:
        del silent
        flat = kwargs.pop("input_flat", flat)
        kwargs.pop("prefetch_buffer", None)
        if kwargs:
            raise TypeError(explain("MNISTIter", "Unknown argument.", received=", ".join(kwargs)))
        if not 0 <= part_index < num_parts:
            raise ArgumentError(
                explain(
                    "MNISTIter",
                    "part_index is out of range.",
                    expected=f"0 <= part_index < {num_parts}",
                    received=part_index,
                )
            )
        super().__init__(positive(batch_size, "MNISTIter"))
        images, labels = _read_idx(image, 3), _read_idx(label, 1)
        length = one_length([("image", images), ("label", labels)], "MNISTIter") // num_parts
        order = np.arange(part_index * length, (part_index + 1) * length)
        if shuffle:
            np.random.RandomState(seed).shuffle(order)
        scaled = images[order].astype(np.float32) / 256
        self._images = scaled.reshape(length, -1) if flat else scaled[:, None]
        self._labels = labels[order].astype(np.float32)
        self.provide_data = [DataDesc(data_name, (batch_size, *self._images.shape[1:]))]
        self.provide_label = [DataDesc(label_name, (batch_size,))]
        self._start = 0

    def reset(self) -> None:
        """Start the next pass."""
        self._start = 0

    def next(self) -> DataBatch:
        """Return the next batch."""
        stop = self._start + self.batch_size
        if stop > len(self._labels):
            raise StopIteration
        part = slice(self._start, stop)
        self._start = stop
        return DataBatch([nd.array(self._images[part])], [nd.array(self._labels[part])], 0, np.arange(part.start, stop))
