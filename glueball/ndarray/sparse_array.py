"""The classes of sparse arrays: CSRNDArray (a matrix by rows) and RowSparseNDArray (only some rows are kept).

The one idea: a sparse array is an NDArray whose dense tensor is made when somebody asks for it, so every operator works
on it and gives a dense result. What changes values in place replaces the stored parts as a whole.

Not here: making them, and arithmetic on stored values (sparse.py, which is `nd.sparse`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..base import context as contexts
from ..base import dtype as dtypes
from ..base.context import Context
from ..base.errors import ArgumentError, ShapeError, UnsupportedError, explain
from .ndarray import NDArray, to_array

__all__ = ["BaseSparseNDArray", "CSRNDArray", "RowSparseNDArray", "cast_storage"]


class BaseSparseNDArray(NDArray):
    """What both kinds of sparse arrays share; see CSRNDArray and RowSparseNDArray.

    `_values` holds the stored elements or rows, `_shape` the shape of the whole, `_indices` the columns (csr) or rows.
    """

    __slots__ = ("_values", "_indices", "_shape")
    _values: torch.Tensor
    _indices: torch.Tensor
    _shape: tuple[int, ...]

    def _dense(self) -> torch.Tensor:
        raise NotImplementedError

    def _with(self, values: torch.Tensor) -> Any:
        """Return an array with other stored values in the same places."""
        raise NotImplementedError

    def _moved(self, context: Context) -> Any:
        """Return a copy on a device."""
        raise NotImplementedError

    def _take_over(self, other: Any) -> None:
        self._values, self._indices = other._values, other._indices

    @property
    def _t(self) -> torch.Tensor:  # type: ignore[override]  # made on demand instead of kept
        return self._dense()

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self._shape

    @property
    def dtype(self) -> Any:
        """Element type, as a NumPy scalar type."""
        return dtypes.as_numpy(self._values.dtype)

    @property
    def dtype_name(self) -> str:
        """Element type as text."""
        return dtypes.name_of(self._values.dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._shape)

    @property
    def data(self) -> NDArray:
        """The stored values (csr) or rows (row_sparse)."""
        return NDArray(self._values, self._ctx)

    @property
    def indices(self) -> NDArray:
        """Where they stand: the column of each value (csr), or the row numbers (row_sparse); int64."""
        return NDArray(self._indices, self._ctx)

    def asnumpy(self) -> np.ndarray:
        """Return a dense NumPy copy."""
        return NDArray(self._dense(), self._ctx).asnumpy()

    def todense(self) -> NDArray:
        """Return a dense copy."""
        return NDArray(self._dense(), self._ctx)

    def tostype(self, stype: str) -> Any:
        """Convert to a storage type: 'default', 'csr' or 'row_sparse'."""
        return self.todense() if stype == "default" else cast_storage(self, stype)

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """Return the array with another element type."""
        return self._with(self._values.to(dtypes.as_torch(dtype), copy=copy))

    def copy(self) -> Any:
        """Return a copy."""
        return self._moved(self._ctx)

    detach = copy

    def copyto(self, other: Any) -> Any:
        """Copy into another array, sparse or dense, or to a device; returns the target."""
        if isinstance(other, Context):
            return self._moved(other)
        other._assign(self._dense())
        return other

    def as_in_context(self, context: Context) -> Any:
        """Return this array, or a copy on another device."""
        context = contexts.as_context(context)
        return self if context is self._ctx else self._moved(context)

    as_in_ctx = as_in_context

    def attach_grad(self, grad_req: str = "write", stype: str | None = None) -> None:
        """Refused: gradients are taken with respect to dense arrays."""
        raise UnsupportedError(
            explain(
                f"{type(self).__name__}.attach_grad",
                "Gradients are taken with respect to dense arrays.",
                fix="use x = x.tostype('default') first",
            )
        )

    def wait_to_read(self) -> None:
        """Wait until the value is there (on a GPU)."""
        self.data.wait_to_read()

    def _assign(self, tensor: torch.Tensor) -> None:
        if tuple(tensor.shape) != self._shape:
            raise ShapeError(explain("copy", "The shapes differ.", expected=self._shape, received=tuple(tensor.shape)))
        dense = NDArray(tensor.detach().to(self._values), self._ctx)
        self._take_over(cast_storage(dense, self.stype))

    def _writable(self, what: str) -> torch.Tensor:
        raise UnsupportedError(
            explain(
                what,
                f"Single elements of a {type(self).__name__} cannot be changed in place.",
                fix="assign the whole with x[:] = y, or use x.tostype('default')",
            )
        )

    def __setitem__(self, key: Any, value: Any) -> None:
        if not (isinstance(key, slice) and key == slice(None)):
            self._writable("x[...] = y")
        if isinstance(value, (int, float)):
            self._assign(torch.full(self._shape, value, dtype=self._values.dtype))
        else:
            self._assign(to_array(value, self._ctx)._t)

    def __repr__(self) -> str:
        return f"\n<{type(self).__name__} {'x'.join(map(str, self._shape))} @{self._ctx}>"

    def __len__(self) -> int:
        return self._shape[0]

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()


class CSRNDArray(BaseSparseNDArray):
    """A matrix in compressed sparse rows: row r holds `data[indptr[r]:indptr[r + 1]]` in columns `indices[...]`."""

    __slots__ = ("_indptr",)
    _indptr: torch.Tensor

    def __init__(
        self, values: torch.Tensor, indptr: torch.Tensor, indices: torch.Tensor, shape: tuple[int, ...], ctx: Context
    ) -> None:
        self._values, self._indptr, self._indices, self._shape = values, indptr, indices, tuple(shape)
        self._ctx, self._ag = ctx, None

    @property
    def stype(self) -> str:
        """Storage type."""
        return "csr"

    @property
    def indptr(self) -> NDArray:
        """Where each row begins in `data`, and where the last one ends; int64, shape (rows + 1,)."""
        return NDArray(self._indptr, self._ctx)

    def _rows(self) -> torch.Tensor:
        rows = torch.arange(self._shape[0], device=self._indptr.device)
        return torch.repeat_interleave(rows, self._indptr.diff())

    def _dense(self) -> torch.Tensor:
        dense = torch.zeros(self._shape, dtype=self._values.dtype, device=self._values.device)
        return dense.index_put_((self._rows(), self._indices), self._values, accumulate=True)

    def _with(self, values: torch.Tensor) -> CSRNDArray:
        return CSRNDArray(values, self._indptr, self._indices, self._shape, self._ctx)

    def _moved(self, context: Context) -> CSRNDArray:
        device = context.check()
        parts = [t.to(device, copy=True) for t in (self._values, self._indptr, self._indices)]
        return CSRNDArray(parts[0], parts[1], parts[2], self._shape, context)

    def _take_over(self, other: Any) -> None:
        super()._take_over(other)
        self._indptr = other._indptr

    def asscipy(self) -> Any:
        """Return a scipy.sparse.csr_matrix."""
        try:
            import scipy.sparse  # optional
        except ImportError:
            raise UnsupportedError(explain("asscipy", "SciPy is not installed.", fix="pip install scipy")) from None
        parts = tuple(t.cpu().numpy() for t in (self._values, self._indices, self._indptr))
        return scipy.sparse.csr_matrix(parts, shape=self._shape)

    def __getitem__(self, key: Any) -> CSRNDArray:
        """Return row `key`, or the rows of a slice of step 1, as a CSRNDArray."""
        if isinstance(key, (int, np.integer)):
            row = int(key) + (self._shape[0] if key < 0 else 0)
            if not 0 <= row < self._shape[0]:
                raise IndexError(f"row {key} is out of range for {self._shape[0]} rows")
            key = slice(row, row + 1)
        if not isinstance(key, slice) or key.step not in (None, 1):
            raise UnsupportedError(
                explain(
                    "CSRNDArray[...]",
                    "Rows are chosen by a number or a slice without a step.",
                    received=repr(key),
                    fix="use x.tostype('default')[...]",
                )
            )
        begin, end, _ = key.indices(self._shape[0])
        end = max(begin, end)
        first, last = int(self._indptr[begin]), int(self._indptr[end])
        indptr = self._indptr[begin : end + 1] - first
        shape = (end - begin, *self._shape[1:])
        return CSRNDArray(self._values[first:last].clone(), indptr, self._indices[first:last].clone(), shape, self._ctx)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        parts = (self.data.asnumpy(), self.indices.asnumpy(), self.indptr.asnumpy())
        return _rebuild, ("csr", parts, self._shape, self.dtype_name, str(self._ctx))


class RowSparseNDArray(BaseSparseNDArray):
    """An array of which only some rows are stored: row `indices[i]` is `data[i]`, the others are zero."""

    __slots__ = ()

    def __init__(self, values: torch.Tensor, indices: torch.Tensor, shape: tuple[int, ...], ctx: Context) -> None:
        self._values, self._indices, self._shape = values, indices, tuple(shape)
        self._ctx, self._ag = ctx, None

    @property
    def stype(self) -> str:
        """Storage type."""
        return "row_sparse"

    def _dense(self) -> torch.Tensor:
        dense = torch.zeros(self._shape, dtype=self._values.dtype, device=self._values.device)
        return dense.index_copy_(0, self._indices, self._values)

    def _with(self, values: torch.Tensor) -> RowSparseNDArray:
        return RowSparseNDArray(values, self._indices, self._shape, self._ctx)

    def _moved(self, context: Context) -> RowSparseNDArray:
        device = context.check()
        values, indices = self._values.to(device, copy=True), self._indices.to(device, copy=True)
        return RowSparseNDArray(values, indices, self._shape, context)

    def __getitem__(self, key: Any) -> RowSparseNDArray:
        """Return the array itself for `x[:]`; other parts need `retain` or a dense array."""
        if isinstance(key, slice) and key == slice(None):
            return self
        raise UnsupportedError(
            explain(
                "RowSparseNDArray[...]",
                "Only x[:] is possible.",
                received=repr(key),
                fix="use x.retain(rows), or x.tostype('default')[...]",
            )
        )

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        parts = (self.data.asnumpy(), self.indices.asnumpy())
        return _rebuild, ("row_sparse", parts, self._shape, self.dtype_name, str(self._ctx))


def _rebuild(stype: str, parts: tuple[Any, ...], shape: tuple[int, ...], dtype: str, ctx: str) -> Any:
    """Undo pickling: values (in their own dtype), then positions."""
    context = contexts.as_context(ctx)
    values = to_array(parts[0], context, dtype)._t
    positions = [torch.tensor(part, device=values.device) for part in parts[1:]]
    if stype == "row_sparse":
        return RowSparseNDArray(values, positions[0], shape, context)
    return CSRNDArray(values, positions[1], positions[0], shape, context)


def row_starts(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Return indptr of ascending row numbers."""
    return torch.cat([rows.new_zeros(1), torch.bincount(rows, minlength=count).cumsum(0)])


def check_matrix(stype: str, shape: tuple[int, ...]) -> None:
    """Raise unless `stype` is csr and the shape a matrix's."""
    if stype != "csr":
        raise ArgumentError(
            explain(
                "storage type",
                "Unknown storage type.",
                expected="'default', 'csr' or 'row_sparse'",
                received=repr(stype),
            )
        )
    if len(shape) != 2:
        raise ShapeError(explain("csr", "Only a matrix can be stored as csr.", expected="2 axes", received=shape))


def cast_storage(data: NDArray, stype: str) -> Any:
    """Return the array in another storage type.

    >>> from glueball import nd
    >>> cast_storage(nd.eye(2), "csr").indices.asnumpy().tolist()
    [0, 1]
    """
    if stype == data.stype:
        return data.copy() if isinstance(data, BaseSparseNDArray) else data
    if stype == "default":
        return data.tostype("default")
    tensor = data._t.detach()
    if stype == "row_sparse":
        rows = (tensor.reshape(tensor.shape[0], -1) != 0).any(1).nonzero().reshape(-1)
        return RowSparseNDArray(tensor[rows], rows, tuple(tensor.shape), data._ctx)
    check_matrix(stype, tuple(tensor.shape))
    rows, columns = tensor.nonzero(as_tuple=True)
    return CSRNDArray(tensor[rows, columns], row_starts(rows, tensor.shape[0]), columns, tuple(tensor.shape), data._ctx)
