"""nd.sparse: making arrays that store only what is not zero, and arithmetic on what they store.

The one idea: any operator works on a sparse array, as on its dense values. Worth doing on the stored values alone are
`dot` with a dense matrix (with its gradient), scaling, and functions that keep zeros; two of a kind stay of the kind.

Not here: the classes (sparse_array.py), sparse gradients (gradients are dense), sparse files (serialize.py reads them
as dense arrays and writes dense ones), sparse symbols (`sym.sparse` composes the dense operators).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

import numpy as np
import torch

from ..base import context as contexts
from ..base import dtype as dtypes
from ..base.context import Context
from ..base.errors import DTypeError, ShapeError, explain
from ..ops.opdef import lookup
from . import creation
from .ndarray import NDArray
from .sparse_array import BaseSparseNDArray, CSRNDArray, RowSparseNDArray, cast_storage, check_matrix, row_starts

__all__ = [
    "BaseSparseNDArray",
    "CSRNDArray",
    "RowSparseNDArray",
    "csr_matrix",
    "row_sparse_array",
    "array",
    "zeros",
    "empty",
    "cast_storage",
    "dot",
    "retain",
    "add",
    "subtract",
    "multiply",
    "divide",
]


# ------------------------------------------------------------------------------------------------------------ creation
def _values_of(source: Any, context: Context, dtype: Any) -> torch.Tensor:
    """Return a tensor with a copy; its dtype is `dtype`, the source's if it is an array, else float32."""
    if dtype is None and isinstance(source, (np.ndarray, NDArray)):
        dtype = source.dtype
    return creation.array(source, context, dtype)._t


def _positions(source: Any, context: Context) -> torch.Tensor:
    values = source.asnumpy() if isinstance(source, NDArray) else np.asarray(source)
    return torch.tensor(values.astype(np.int64).reshape(-1), device=context.check())


def _is_shape(arg: Any) -> bool:
    return isinstance(arg, tuple) and len(arg) > 0 and all(isinstance(s, (int, np.integer)) for s in arg)


def csr_matrix(arg1: Any, shape: Any = None, ctx: Context | None = None, dtype: Any = None) -> CSRNDArray:
    """Return a matrix in compressed sparse rows.

    Parameters
    ----------
    arg1 : a dense matrix (NDArray, NumPy, lists), a CSRNDArray, a scipy.sparse matrix, a shape (M, N) for zeros,
        `(data, indices, indptr)`, or `(data, (rows, columns))`
    shape : (M, N); found from the indices when left out
    dtype : that of the given array, else float32

    Raises
    ------
    ShapeError
        When the indices do not fit the shape.

    >>> x = csr_matrix(([1, 2, 3], [0, 2, 1], [0, 2, 3]), shape=(2, 4))
    >>> x.asnumpy().tolist()
    [[1.0, 0.0, 2.0, 0.0], [0.0, 3.0, 0.0, 0.0]]
    """
    context = contexts.as_context(ctx)
    if hasattr(arg1, "tocsr"):
        arg1 = arg1.tocsr()
        arg1, shape, dtype = (arg1.data, arg1.indices, arg1.indptr), arg1.shape, dtype or arg1.dtype
    if _is_shape(arg1):
        return zeros("csr", arg1, context, dtype)
    if isinstance(arg1, tuple) and len(arg1) == 2:
        return _from_coordinates(arg1[0], arg1[1], shape, context, dtype)
    if isinstance(arg1, tuple) and len(arg1) == 3:
        values = _values_of(arg1[0], context, dtype).reshape(-1)
        indices, indptr = _positions(arg1[1], context), _positions(arg1[2], context)
        columns = int(indices.max()) + 1 if len(indices) else 0
        return _checked(CSRNDArray(values, indptr, indices, shape or (len(indptr) - 1, columns), context))
    dense = NDArray(_values_of(arg1, context, dtype), context)
    _check_shape(dense.shape, shape)
    return cast_storage(dense, "csr")


def _from_coordinates(data: Any, places: Any, shape: Any, context: Context, dtype: Any) -> CSRNDArray:
    values = _values_of(data, context, dtype).reshape(-1)
    rows, columns = (_positions(each, context) for each in places)
    order = torch.argsort(rows, stable=True)
    if shape is None:
        shape = (int(rows.max()) + 1, int(columns.max()) + 1)
    if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= shape[0]):
        raise ShapeError(
            explain(
                "csr_matrix",
                "A row is outside of the shape.",
                expected=f"rows below {shape[0]}",
                received=f"row {int(rows.max())}",
            )
        )
    return _checked(CSRNDArray(values[order], row_starts(rows, shape[0]), columns[order], shape, context))


def _checked(array: CSRNDArray) -> CSRNDArray:
    """Return the array if its parts fit each other, so that no later read goes astray."""
    rows, columns = array._shape
    starts, indices = array._indptr, array._indices
    problem = None
    if (
        len(starts) != rows + 1
        or int(starts[0]) != 0
        or int(starts[-1]) != len(indices)
        or bool((starts.diff() < 0).any())
    ):
        problem = f"indptr must have {rows + 1} rising numbers from 0 to the number of values, {len(indices)}."
    elif len(indices) != len(array._values):
        problem = f"There are {len(array._values)} values and {len(indices)} indices."
    elif len(indices) and (int(indices.min()) < 0 or int(indices.max()) >= columns):
        problem = f"A column is outside of the shape: columns are 0 to {columns - 1}."
    if problem is not None:
        raise ShapeError(
            explain(
                "csr_matrix",
                problem,
                received=f"shape {array._shape}, indptr {starts.tolist()[:9]}, indices {indices.tolist()[:9]}",
            )
        )
    return array


def row_sparse_array(arg1: Any, shape: Any = None, ctx: Context | None = None, dtype: Any = None) -> RowSparseNDArray:
    """Return an array of which only some rows are stored.

    Parameters
    ----------
    arg1 : a dense array, a RowSparseNDArray, a shape for zeros, or `(data, indices)`: rows and their numbers
    shape : shape of the whole; found from the indices when left out
    dtype : that of the given array, else float32

    >>> row_sparse_array(([[1, 2]], [2]), shape=(3, 2)).asnumpy().tolist()
    [[0.0, 0.0], [0.0, 0.0], [1.0, 2.0]]
    """
    context = contexts.as_context(ctx)
    if isinstance(arg1, tuple) and len(arg1) == 2 and not _is_shape(arg1):
        values, indices = _values_of(arg1[0], context, dtype), _positions(arg1[1], context)
        order = torch.argsort(indices)
        if shape is None:
            shape = (int(indices.max()) + 1 if len(indices) else 0, *values.shape[1:])
        rows = shape[0]
        if len(indices) != values.shape[0] or tuple(values.shape[1:]) != tuple(shape[1:]):
            raise ShapeError(
                explain(
                    "row_sparse_array",
                    "Data, indices and shape do not fit.",
                    expected=f"({len(indices)}, {', '.join(map(str, shape[1:]))})",
                    received=tuple(values.shape),
                )
            )
        if len(indices) and (int(indices.min()) < 0 or int(indices.max()) >= rows):
            raise ShapeError(
                explain(
                    "row_sparse_array",
                    "A row is outside of the shape.",
                    expected=f"rows below {rows}",
                    received=indices.tolist()[:9],
                )
            )
        return RowSparseNDArray(values[order], indices[order], tuple(shape), context)
    if _is_shape(arg1):
        return zeros("row_sparse", arg1, context, dtype)
    dense = NDArray(_values_of(arg1, context, dtype), context)
    _check_shape(dense.shape, shape)
    return cast_storage(dense, "row_sparse")


def _check_shape(found: tuple[int, ...], wanted: Any) -> None:
    if wanted is not None and tuple(wanted) != found:
        raise ShapeError(
            explain("sparse array", "The shape differs from the array's.", expected=wanted, received=found)
        )


def array(source_array: Any, ctx: Context | None = None, dtype: Any = None) -> Any:
    """Return a copy of a sparse array (ours or scipy.sparse); dense sources belong to nd.array."""
    if isinstance(source_array, BaseSparseNDArray):
        context = source_array._ctx if ctx is None else contexts.as_context(ctx)
        made = source_array._moved(context)
        return made if dtype is None else made.astype(dtype)
    if hasattr(source_array, "tocsr"):
        return csr_matrix(source_array, ctx=ctx, dtype=dtype)
    raise DTypeError(
        explain(
            "nd.sparse.array",
            "The source is not sparse.",
            received=type(source_array).__name__,
            expected="a CSRNDArray, RowSparseNDArray or scipy.sparse matrix",
            fix="use nd.array(x), or nd.sparse.csr_matrix(x)",
        )
    )


def zeros(stype: str, shape: Any, ctx: Context | None = None, dtype: Any = None, **kwargs: Any) -> Any:
    """Return an array of zeros of a storage type: 'default', 'csr' or 'row_sparse'.

    >>> zeros("csr", (2, 3)).data.shape
    (0,)
    """
    if stype == "default":
        return creation.zeros(shape, ctx, dtype)
    context = contexts.as_context(ctx)
    sizes = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(int(s) for s in shape)
    options: dict[str, Any] = {"device": context.check()}
    none = torch.zeros(0, dtype=torch.int64, **options)
    kind = dtypes.as_torch(dtype)
    if stype == "row_sparse":
        return RowSparseNDArray(torch.zeros((0, *sizes[1:]), dtype=kind, **options), none, sizes, context)
    check_matrix(stype, sizes)
    starts = torch.zeros(sizes[0] + 1, dtype=torch.int64, **options)
    return CSRNDArray(torch.zeros(0, dtype=kind, **options), starts, none, sizes, context)


def empty(stype: str, shape: Any, ctx: Context | None = None, dtype: Any = None) -> Any:
    """Return an array of a storage type to be filled; it holds zeros."""
    return zeros(stype, shape, ctx, dtype)


# ---------------------------------------------------------------------------------------------------------- arithmetic
def dot(
    lhs: Any, rhs: Any, transpose_a: bool = False, transpose_b: bool = False, forward_stype: str | None = None
) -> Any:
    """Return the matrix product; for a CSRNDArray and a dense matrix only stored values are multiplied.

    lhs : csr (M, K) with rhs (K, N) → (M, N); with `transpose_a` csr (K, M). Other combinations are multiplied dense.
    The gradient with respect to the dense side is dense. forward_stype 'csr' or 'row_sparse' converts the result.

    >>> from glueball import nd
    >>> dot(csr_matrix(([2.0], [1], [0, 1]), shape=(1, 2)), nd.array([[1], [3]])).asnumpy().tolist()
    [[6.0]]
    """
    kinds = (torch.float32, torch.float64)
    direct = isinstance(lhs, CSRNDArray) and isinstance(rhs, NDArray) and not isinstance(rhs, BaseSparseNDArray)
    if direct and rhs.ndim <= 2 and not transpose_b and lhs._values.dtype in kinds and lhs.dtype == rhs.dtype:
        places = torch.stack([lhs._rows(), lhs._indices])
        shape = lhs._shape
        if transpose_a:
            places, shape = places.flip(0), shape[::-1]
        if rhs.shape[0] != shape[1]:
            raise ShapeError(
                explain(
                    "sparse.dot",
                    "The sizes that are summed over differ.",
                    expected=f"rhs with {shape[1]} rows",
                    received=f"lhs {lhs.shape}, rhs {rhs.shape}",
                )
            )
        stored = torch.sparse_coo_tensor(places, lhs._values, shape, check_invariants=False)
        column = rhs._t.reshape(-1, 1) if rhs.ndim == 1 else rhs._t
        product = torch.sparse.mm(stored, column)
        result = NDArray._wrap(product.reshape(-1) if rhs.ndim == 1 else product, lhs._ctx)
    else:
        result = lookup("dot")(lhs, rhs, transpose_a=transpose_a, transpose_b=transpose_b)
    return cast_storage(result, forward_stype) if forward_stype not in (None, "default") else result


def retain(data: RowSparseNDArray, indices: Any) -> RowSparseNDArray:
    """Return a row-sparse array with only the stored rows whose numbers are in `indices`.

    >>> x = row_sparse_array(([[1.0], [2.0]], [0, 2]), shape=(3, 1))
    >>> retain(x, [2]).asnumpy().tolist()
    [[0.0], [0.0], [2.0]]
    """
    if not isinstance(data, RowSparseNDArray):
        raise DTypeError(
            explain(
                "sparse.retain",
                "Rows are retained of a RowSparseNDArray.",
                received=type(data).__name__,
                fix="use x.tostype('row_sparse')",
            )
        )
    kept = torch.isin(data._indices, _positions(indices, data._ctx))
    return RowSparseNDArray(data._values[kept], data._indices[kept], data._shape, data._ctx)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _combined(operator: str, keeps: bool) -> Callable[[Any, Any], Any]:
    """Return a function of two arrays; two of one sparse kind give that kind if `keeps` (zero with zero stays zero)."""

    def function(lhs: Any, rhs: Any) -> Any:
        stypes = {each.stype if isinstance(each, NDArray) else "number" for each in (lhs, rhs)}
        dense = [each.todense() if isinstance(each, BaseSparseNDArray) else each for each in (lhs, rhs)]
        result = _OPERATIONS[operator](dense[0], dense[1])
        return cast_storage(result, stypes.pop()) if keeps and len(stypes) == 1 else result

    return function


_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
}
_added, _subtracted = _combined("add", True), _combined("subtract", True)
_multiplied, _divided = _combined("multiply", True), _combined("divide", False)


def add(lhs: Any, rhs: Any) -> Any:
    """Return lhs + rhs; two sparse arrays of one kind give that kind, anything else a dense array."""
    return _added(lhs, rhs)


def subtract(lhs: Any, rhs: Any) -> Any:
    """Return lhs - rhs; two sparse arrays of one kind give that kind, anything else a dense array."""
    return _subtracted(lhs, rhs)


def multiply(lhs: Any, rhs: Any) -> Any:
    """Return lhs * rhs element by element; a sparse array times a number, or two of one kind, stays sparse."""
    if isinstance(lhs, BaseSparseNDArray) and _is_number(rhs):
        return lhs._with(torch.mul(lhs._values, rhs))
    if isinstance(rhs, BaseSparseNDArray) and _is_number(lhs):
        return rhs._with(torch.mul(rhs._values, lhs))
    return _multiplied(lhs, rhs)


def divide(lhs: Any, rhs: Any) -> Any:
    """Return lhs / rhs element by element; a sparse array divided by a number stays sparse."""
    if isinstance(lhs, BaseSparseNDArray) and _is_number(rhs):
        return lhs._with(torch.div(lhs._values, rhs))
    return _divided(lhs, rhs)


def _in_place(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return the method of `x += y`: the result replaces what x stores; x keeps its kind."""

    def method(self: BaseSparseNDArray, other: Any) -> BaseSparseNDArray:
        self._assign(function(self, other)._t)
        return self

    return method


for _sign, _function in (("add", add), ("sub", subtract), ("mul", multiply), ("truediv", divide)):
    setattr(BaseSparseNDArray, f"__{_sign}__", lambda self, other, _function=_function: _function(self, other))
    setattr(BaseSparseNDArray, f"__i{_sign}__", _in_place(_function))
    setattr(BaseSparseNDArray, f"__r{_sign}__", lambda self, other, _function=_function: _function(other, self))
setattr(BaseSparseNDArray, "__neg__", lambda self: self._with(-self._values))  # noqa: B010 (beside the others)


def _retain_method(self: RowSparseNDArray, indices: Any) -> RowSparseNDArray:
    """Return the array with only the rows in `indices`; the other rows become zero."""
    return retain(self, indices)


setattr(RowSparseNDArray, "retain", _retain_method)  # noqa: B010 (beside the others)

# functions f with f(0) = 0: they act on the stored values and keep the kind
_KEEP_ZEROS = (
    "abs",
    "sign",
    "relu",
    "sqrt",
    "cbrt",
    "square",
    "sin",
    "tan",
    "sinh",
    "tanh",
    "arcsin",
    "arctan",
    "arcsinh",
    "arctanh",
    "expm1",
    "log1p",
    "round",
    "rint",
    "ceil",
    "floor",
    "trunc",
    "fix",
    "degrees",
    "radians",
    "negative",
)


def _on_values(name: str) -> Callable[..., Any]:
    def function(data: Any) -> Any:
        found = lookup(name)
        return data._with(found(data.data)._t) if isinstance(data, BaseSparseNDArray) else found(data)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Compute {name} element by element; a sparse array stays sparse, since {name}(0) = 0."
    return function


for _name in _KEEP_ZEROS:
    globals()[_name] = _on_values(_name)
    setattr(BaseSparseNDArray, _name, globals()[_name])
__all__ += list(_KEEP_ZEROS)
