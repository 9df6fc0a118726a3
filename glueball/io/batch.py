"""What an `io` iterator hands out and how it describes it: DataDesc, DataBatch and the base class DataIter.

The one idea: an iterator knows beforehand the names, shapes and dtypes of what it will give (`provide_data`,
`provide_label`), so a network can be bound before the first batch. The iterators themselves are in iterators.py
(arrays), files.py (CSV, MNIST) and ../image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..base.errors import ArgumentError, DTypeError, ShapeError, explain

__all__ = ["DataBatch", "DataDesc", "DataIter"]


class _NameAndShape(NamedTuple):
    name: str
    shape: tuple[int, ...]


class DataDesc(_NameAndShape):
    """Name, shape, dtype and layout of an array that an iterator gives; as a tuple it is (name, shape).

    >>> DataDesc("data", (2, 3))
    DataDesc[data,(2, 3),<class 'numpy.float32'>,NCHW]
    """

    dtype: Any
    layout: str | None

    def __new__(cls, name: str, shape: Sequence[int], dtype: Any = np.float32, layout: str | None = "NCHW") -> DataDesc:
        made = super().__new__(cls, name, tuple(shape))
        made.dtype = dtype
        made.layout = layout
        return made

    def __repr__(self) -> str:
        return f"DataDesc[{self.name},{self.shape},{self.dtype},{self.layout}]"

    @staticmethod
    def get_batch_axis(layout: str | None) -> int:
        """Return where the batch axis (N) is in a layout; 0 if there is no layout.

        >>> DataDesc.get_batch_axis("TNC")
        1
        """
        return 0 if layout is None else layout.find("N")

    @staticmethod
    def get_list(
        shapes: Sequence[tuple[str, Sequence[int]]], types: Sequence[tuple[str, Any]] | None
    ) -> list[DataDesc]:
        """Return descriptions for pairs of name and shape, with dtypes from pairs of name and dtype."""
        dtypes = dict(types) if types is not None else {}
        return [
            DataDesc(name, shape, dtypes[name]) if name in dtypes else DataDesc(name, shape) for name, shape in shapes
        ]


class DataBatch:
    """A batch: lists of arrays `data` and `label`, and how many samples at the end are only padding.

    Parameters
    ----------
    data, label : list of NDArray
        One array for each input; `label` may be None.
    pad : int, optional
        Samples that fill the batch up and do not count.
    index : array, optional
        Numbers of the samples.
    bucket_key : hashable, optional
        For networks that are built for several lengths.
    provide_data, provide_label : list of DataDesc, optional
        Descriptions, where they differ from the iterator's.
    """

    def __init__(
        self,
        data: Any,
        label: Any = None,
        pad: int | None = None,
        index: Any = None,
        bucket_key: Any = None,
        provide_data: Any = None,
        provide_label: Any = None,
    ) -> None:
        for name, arrays in (("data", data), ("label", label)):
            if arrays is not None and not isinstance(arrays, (list, tuple)):
                raise TypeError(
                    explain(
                        "DataBatch",
                        f"{name} is a list of arrays.",
                        received=type(arrays).__name__,
                        fix=f"{name}=[array]",
                    )
                )
        self.data, self.label = data, label
        self.pad, self.index, self.bucket_key = pad, index, bucket_key
        self.provide_data, self.provide_label = provide_data, provide_label

    def __str__(self) -> str:
        shapes = [array.shape for array in self.data]
        labels = [array.shape for array in self.label] if self.label else None
        return f"{type(self).__name__}: data shapes: {shapes} label shapes: {labels}"


class DataIter:
    """Base class of iterators over batches. Override `next`, or the five methods it is made of."""

    provide_data: list[DataDesc]
    provide_label: list[DataDesc]

    def __init__(self, batch_size: int = 0) -> None:
        self.batch_size = batch_size

    def __iter__(self) -> DataIter:
        return self

    def reset(self) -> None:
        """Go back to the first batch."""

    def next(self) -> DataBatch:
        """Return the next batch, or raise StopIteration."""
        if not self.iter_next():
            raise StopIteration
        return DataBatch(data=self.getdata(), label=self.getlabel(), pad=self.getpad(), index=self.getindex())

    def __next__(self) -> DataBatch:
        return self.next()

    def iter_next(self) -> bool:
        """Move to the next batch and return whether there is one."""
        raise NotImplementedError(
            explain(
                type(self).__name__, "An iterator defines next(), or iter_next(), getdata(), getlabel() and getpad()."
            )
        )

    def getdata(self) -> Any:
        """Return the arrays of the current batch."""
        raise NotImplementedError(
            explain(type(self).__name__, "An iterator that defines iter_next() also defines getdata().")
        )

    def getlabel(self) -> Any:
        """Return the labels of the current batch."""
        raise NotImplementedError(
            explain(type(self).__name__, "An iterator that defines iter_next() also defines getlabel().")
        )

    def getindex(self) -> Any:
        """Return the numbers of the samples of the current batch, or None."""
        return None

    def getpad(self) -> int | None:
        """Return how many samples at the end of the current batch are padding."""
        raise NotImplementedError(
            explain(type(self).__name__, "An iterator that defines iter_next() also defines getpad().")
        )


def positive(value: Any, where: str, name: str = "batch_size") -> int:
    """Return a positive integer, or raise."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ArgumentError(explain(where, f"{name} is a positive integer.", received=repr(value)))
    return int(value)


def one_length(arrays: Sequence[tuple[str, Any]], where: str) -> int:
    """Return the length that all named arrays have, or raise."""
    lengths = {name: len(array) for name, array in arrays}
    first = next(iter(lengths.values()))
    if any(length != first for length in lengths.values()):
        raise ShapeError(
            explain(
                where,
                "Data and labels differ in length.",
                expected=f"{first} samples each",
                received=", ".join(f"{length} in {name!r}" for name, length in lengths.items()),
            )
        )
    if first == 0:
        raise ShapeError(explain(where, "There are no samples.", received="arrays of length 0"))
    return first


def no_array(where: str, received: Any) -> DTypeError:
    """Return the error for something that is no array, list or dictionary of arrays."""
    return DTypeError(
        explain(
            where,
            "The input is an array, or a list or dictionary of arrays.",
            expected="NDArray, numpy.ndarray, list or dict of them",
            received=type(received).__name__,
        )
    )
