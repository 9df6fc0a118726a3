"""Places of several axes at once: gather_nd, scatter_nd, index_copy, index_array, ravel and unravel.

The one idea: indices have the shape (M, ...): row m holds the index along axis m; negative ones count from the end.
Rows of one axis are in index.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..base.errors import ArgumentError, ShapeError, explain
from .attributes import Shape
from .index import take
from .opdef import REQUIRED, Grad, Tensor, Value, operator, unsupported
from .passing import zeros_like
from .rules.check import A, S, check
from .rules.grad import zero
from .rules.layers import formula
from .rules.shapes import places_taken, target
from .shape_ops import one_axis


def _places(where: str, indices: Tensor, shape: Sequence[int]) -> tuple[Tensor, ...]:
    """Return the rows of `indices` (axes, ...) as index arrays of the leading axes."""
    if indices.dim() < 1 or indices.shape[0] > len(shape):
        raise ShapeError(
            explain(
                where,
                "There are more indices than axes.",
                expected=f"indices (M, ...) with M <= {len(shape)}",
                received=tuple(indices.shape),
            )
        )
    return tuple(indices.to(torch.int64).unbind(0))


def _np_places(indices: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(indices.astype(np.int64))


@operator(
    nondiff=("indices",),
    infer=formula(places_taken),
    check=check(
        S(A(2, 3, 4), np.array([[0, 1, 1], [1, -1, -1]])),
        S(A(2, 3), np.array([[0, 1], [1, 2]])),
        S(A(2, 3), np.array([[1, 1, 0]])),
        ref=lambda x, i: x[_np_places(i)],
        errors=[((A(2, 3), A(3, 2)), {}, "more indices"), ((A(2, 3), np.array([[7.0]])), {}, "out of")],
    ),
)
def gather_nd(data: Tensor, indices: Tensor) -> Tensor:
    """Gather data[indices[0], indices[1], …] for indices of shape (M, ...); negative ones count from the end."""
    try:
        return data[_places("gather_nd", indices, data.shape)]
    except IndexError as error:
        raise ShapeError(explain("gather_nd", f"{error}.", expected=f"indices within {tuple(data.shape)}")) from None


@gather_nd.grad
def _(c: Grad) -> Value:
    return _scatter_nd_add(c.g, c.ins[1], shape=c.shape()), None


def _np_scatter_add(g: np.ndarray, indices: np.ndarray, shape: Any) -> np.ndarray:
    whole = np.zeros(shape, g.dtype)
    np.add.at(whole, _np_places(indices), g)
    return whole


@operator(
    infer=formula(target),
    nondiff=("indices",),
    aliases=("_backward_gather_nd",),
    check=check(S(A(3, 4), np.array([[0, 1, 1], [1, 2, 2]]), shape=(2, 3, 4)), ref=_np_scatter_add),
)
def _scatter_nd_add(data: Tensor, indices: Tensor, shape: Shape = REQUIRED) -> Tensor:
    """Add the data up at indices in zeros of `shape`: the gradient of gather_nd."""
    whole = torch.zeros(tuple(shape), dtype=data.dtype, device=data.device)
    return whole.index_put_(_places("scatter_nd", indices, shape), data, accumulate=True)


@_scatter_nd_add.grad
def _(c: Grad) -> Value:
    return gather_nd(c.g, c.ins[1]), None


def _np_scatter(x: np.ndarray, indices: np.ndarray, shape: Any) -> np.ndarray:
    whole = np.zeros(shape, x.dtype)
    whole[_np_places(indices)] = x
    return whole


@operator(
    nondiff=("indices",),
    check=check(
        S(A(3), np.array([[0, 0, 1], [1, 2, 2]]), shape=(2, 3)),
        S(A(2, 2), np.array([[0, 2]]), shape=(3, 2)),
        ref=_np_scatter,
        errors=[((A(3), A(3, 3)), {"shape": (2, 3)}, "more indices")],
    ),
)
def scatter_nd(data: Tensor, indices: Tensor, shape: Shape = REQUIRED) -> Tensor:
    """Write the data at indices (M, ...) into zeros of `shape`; for an index named twice one of the values stays."""
    whole = torch.zeros(tuple(shape), dtype=data.dtype, device=data.device)
    return whole.index_put_(_places("scatter_nd", indices, shape), data)


@scatter_nd.grad
def _(c: Grad) -> Value:
    return gather_nd(c.g, c.ins[1]), None


def _np_scatter_set(x: np.ndarray, y: np.ndarray, indices: np.ndarray, shape: Any) -> np.ndarray:
    x[_np_places(indices)] = y
    return x


@operator(
    nondiff=("indices",), check=check(S(A(2, 3), A(2), np.array([[0, 1], [1, 2]]), shape=(2, 3)), ref=_np_scatter_set)
)
def _scatter_set_nd(lhs: Tensor, rhs: Tensor, indices: Tensor, shape: Shape = REQUIRED) -> Tensor:
    """Return lhs with the elements at indices (M, ...) replaced by rhs."""
    return lhs.index_put(_places("_scatter_set_nd", indices, lhs.shape), rhs)


@_scatter_set_nd.grad
def _(c: Grad) -> Value:
    left = _scatter_set_nd(c.g, zeros_like(c.ins[1]), c.ins[2], shape=c.attrs["shape"])
    return left, gather_nd(c.g, c.ins[2]), None


@operator(
    name="_contrib_index_copy",
    nondiff=("index_vector",),
    check=check(
        S(A(4, 3), np.array([0, 2], dtype=np.int64), A(2, 3)),
        ref=lambda x, i, y: _np_scatter_set(x, y, i[None], None),
        errors=[((A(4, 3), A(2), A(3, 3)), {}, "rows")],
    ),
)
def index_copy(old_tensor: Tensor, index_vector: Tensor, new_tensor: Tensor) -> Tensor:
    """Return old_tensor with the rows index_vector replaced by the rows of new_tensor."""
    if new_tensor.shape != (index_vector.numel(), *old_tensor.shape[1:]):
        raise ShapeError(
            explain(
                "index_copy",
                "The new rows do not fit.",
                expected=f"{index_vector.numel()} rows of shape {tuple(old_tensor.shape[1:])}",
                received=tuple(new_tensor.shape),
            )
        )
    return old_tensor.index_copy(0, index_vector.to(torch.int64), new_tensor)


@index_copy.grad
def _(c: Grad) -> Value:
    return index_copy(c.g, c.ins[1], zeros_like(c.ins[2])), None, take(c.g, c.ins[1], axis=0)


# -- numbers of places -----------------------------------------------------------------------------------------------


def _np_index_array(x: np.ndarray, axes: Any = None) -> np.ndarray:
    everywhere = np.moveaxis(np.asarray(np.indices(x.shape)), 0, -1)
    return everywhere if axes is None else everywhere[..., list(axes)]


@operator(
    name="_contrib_index_array",
    gradient=zero,
    check=check(S(A(2, 3)), S(A(2, 3, 4), axes=(2, 0)), S(A(2, 3), axes=(-1,)), ref=_np_index_array),
)
def index_array(data: Tensor, axes: Shape | None = None) -> Tensor:
    """Return the place of every element along each axis (or those named), as int64 of shape data.shape + (axes,)."""
    chosen = range(data.dim()) if axes is None else [one_axis("index_array", a, data.dim()) for a in axes]
    lines = [
        torch.arange(data.shape[a], device=data.device)
        .reshape([-1 if b == a else 1 for b in range(data.dim())])
        .expand(data.shape)
        for a in chosen
    ]
    return torch.stack(lines, -1)


_WHOLE = unsupported("the result counts places, which do not vary continuously")


@operator(
    aliases=("ravel_multi_index",),
    gradient=_WHOLE,
    check=check(
        S(np.array([[0, 1], [1, 2]], dtype=np.float32), shape=(2, 3)),
        S(A(3, 4, ints=2, dtype="int64"), shape=(2, 3, 2)),
        ref=lambda x, shape: np.ravel_multi_index(tuple(x.astype(int)), shape).astype(x.dtype),
        errors=[((A(3, 2),), {"shape": (2, 3)}, "rows")],
    ),
)
def _ravel_multi_index(data: Tensor, shape: Shape | None = None) -> Tensor:
    """Turn places (axes, N) into flat indices (N,) of an array of `shape`, in the data's type."""
    if shape is None or data.shape[0] != len(shape):
        raise ShapeError(
            explain(
                "ravel_multi_index",
                "Data and shape do not fit.",
                expected=f"{data.shape[0]} rows: one size per row of data",
                received=shape,
            )
        )
    flat = torch.zeros(tuple(data.shape[1:]), dtype=torch.int64, device=data.device)
    for row, size in zip(data.to(torch.int64).unbind(0), shape):
        flat = flat * size + row
    return flat.to(data.dtype)


@operator(
    aliases=("unravel_index",),
    gradient=_WHOLE,
    check=check(
        S(np.array([1, 5], dtype=np.float32), shape=(2, 3)),
        S(A(2, 2, ints=12, dtype="int64"), shape=(2, 3, 2)),
        S(np.array([5], dtype=np.float32), shape=(-1, 3)),
        ref=lambda x, shape: np.stack(np.unravel_index(x.astype(int), [n if n > 0 else 100 for n in shape])).astype(
            x.dtype
        ),
        errors=[((A(2),), {}, "shape")],
    ),
)
def _unravel_index(data: Tensor, shape: Shape | None = None) -> Tensor:
    """Turn flat indices into places (axes, ...) of an array of `shape`, in the data's type.

    The first size may be -1.
    """
    if not shape:
        raise ArgumentError(explain("unravel_index", "The shape is missing.", expected="shape=(...)", received=shape))
    flat, rows = data.to(torch.int64), []
    for size in reversed(tuple(shape)[1:]):
        rows.append(torch.remainder(flat, size))
        flat = torch.div(flat, size, rounding_mode="floor")
    return torch.stack([flat, *reversed(rows)]).to(data.dtype)
