"""Ordering: sort, argsort, topk.

The one idea: one stable sort serves all three (of equal elements the one with the lower index comes first); values
carry their indices as a hidden second result, by which the gradient finds its way back. Extremes over axes are in
reduce.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..base.errors import ArgumentError, explain
from .attributes import DType, Shape
from .opdef import REQUIRED, Grad, Tensor, Value, operator
from .rules.check import A, S, check
from .rules.grad import zero
from .rules.layers import formula
from .rules.shapes import rows_gathered, target
from .shape_ops import _reshape_to, one_axis, product


def _sorted(where: str, data: Tensor, axis: int | None, ascending: bool) -> tuple[Tensor, Tensor, int]:
    """Return sorted values, their indices and the axis; without axis, of the flattened array."""
    if axis is None:
        data, axis = data.reshape(-1), 0
    at = one_axis(where, axis, data.dim())
    values, indices = torch.sort(data, dim=at, descending=not ascending, stable=True)
    return values, indices, at


def _np_order(x: np.ndarray, axis: int | None, is_ascend: bool) -> np.ndarray:
    return np.argsort(x if is_ascend else -x, axis=axis, kind="stable")


def _np_sort(x: np.ndarray, axis: int | None = -1, is_ascend: bool = True) -> np.ndarray:
    flat = x.reshape(-1) if axis is None else x
    return np.take_along_axis(flat, _np_order(x, axis, is_ascend), 0 if axis is None else axis)


_DISTINCT = A(3, 4, distinct=True)


@operator(
    method=True,
    outputs=2,
    visible=1,
    check=check(
        S(_DISTINCT),
        S(_DISTINCT, axis=0, is_ascend=False),
        S(_DISTINCT, axis=None),
        S(A(0, 3)),
        S(A(5, ints=9, dtype="int32")),
        ref=_np_sort,
        errors=[((A(2),), {"axis": 1}, "axis")],
    ),
)
def sort(data: Tensor, axis: int | None = -1, is_ascend: bool = True) -> tuple[Tensor, Tensor]:
    """Sort along an axis; without axis (None), the flattened array."""
    values, indices, _ = _sorted("sort", data, axis, is_ascend)
    return values, indices


@sort.grad
def _(c: Grad) -> Value:
    return _back_in_order(c, c.attrs["axis"])


def _back_in_order(c: Grad, axis: int | None) -> Value:
    """Put the gradients of ordered values where the values came from."""
    if axis is None:
        flat = _scatter_rows(c.g, c.outs[1], shape=(product(c.shape()),), axis=0)
        return _reshape_to(flat, shape=c.shape())
    return _scatter_rows(c.g, c.outs[1], shape=c.shape(), axis=axis)


def _np_scatter_rows(x: np.ndarray, rows: np.ndarray, shape: Any, axis: int = -1) -> np.ndarray:
    whole = np.zeros(shape, x.dtype)
    np.put_along_axis(whole, rows.astype(int), x, axis)
    return whole


@operator(
    infer=formula(target),
    nondiff=("rows",),
    check=check(S(A(2, 2), np.array([[3, 0], [1, 2]], dtype=np.float32), shape=(2, 4)), ref=_np_scatter_rows),
)
def _scatter_rows(data: Tensor, rows: Tensor, shape: Shape = REQUIRED, axis: int = -1) -> Tensor:
    """Put elements along an axis at the given rows, into zeros of `shape`: the gradient of sorting."""
    return torch.zeros(tuple(shape), dtype=data.dtype, device=data.device).scatter_(axis, rows.to(torch.int64), data)


@_scatter_rows.grad
def _(c: Grad) -> Value:
    return _gather_rows(c.g, c.ins[1], axis=c.attrs["axis"]), None


@operator(
    infer=formula(rows_gathered),
    nondiff=("rows",),
    check=check(
        S(A(2, 4), np.array([[3, 0], [1, 2]], dtype=np.float32)),
        ref=lambda x, rows, axis=-1: np.take_along_axis(x, rows.astype(int), axis),
    ),
)
def _gather_rows(data: Tensor, rows: Tensor, axis: int = -1) -> Tensor:
    """Take elements along an axis at the given rows."""
    return torch.gather(data, axis, rows.to(torch.int64))


@_gather_rows.grad
def _(c: Grad) -> Value:
    return _scatter_rows(c.g, c.ins[1], shape=c.shape(), axis=c.attrs["axis"]), None


@operator(
    method=True,
    gradient=zero,
    check=check(
        S(_DISTINCT),
        S(A(3, 6, ints=3), axis=1, is_ascend=False),
        S(_DISTINCT, axis=None),
        S(_DISTINCT, axis=0, dtype="int32"),
        ref=lambda x, axis=-1, is_ascend=True, dtype="float32": _np_order(x, axis, is_ascend).astype(dtype),
        errors=[((A(2),), {"axis": 1}, "axis")],
    ),
)
def argsort(data: Tensor, axis: int | None = -1, is_ascend: bool = True, dtype: DType = torch.float32) -> Tensor:
    """Find the indices that sort along an axis; of equal elements the first comes first.

    Without axis (None), of the flattened array.
    """
    return _sorted("argsort", data, axis, is_ascend)[1].to(dtype)


_KINDS = ("value", "indices", "mask", "both")


def _topk_outputs(attrs: Mapping[str, Any]) -> int:
    return 2 if attrs["ret_typ"] in ("value", "both") else 1


def _topk_visible(attrs: Mapping[str, Any]) -> int:
    return 2 if attrs["ret_typ"] == "both" else 1


def _np_topk(
    x: np.ndarray,
    axis: int | None = -1,
    k: int = 1,
    ret_typ: str = "indices",
    is_ascend: bool = False,
    dtype: str = "float32",
) -> Any:
    flat, at = (x.reshape(-1), 0) if axis is None else (x, axis)
    rows = np.argsort(flat if is_ascend else -flat, axis=at, kind="stable")
    rows = np.take(rows, np.arange(k if k > 0 else flat.shape[at]), at)
    if ret_typ == "mask":
        mask = np.zeros(flat.shape, x.dtype)
        np.put_along_axis(mask, rows, 1, at)
        return mask.reshape(x.shape)
    values = np.take_along_axis(flat, rows, at)
    return {"value": values, "indices": rows.astype(dtype), "both": (values, rows.astype(dtype))}[ret_typ]


@operator(
    method=True,
    outputs=_topk_outputs,
    visible=_topk_visible,
    check=check(
        S(_DISTINCT, k=2),
        S(_DISTINCT, k=2, ret_typ="value"),
        S(_DISTINCT, k=2, ret_typ="both", axis=0, is_ascend=True, dtype="int64"),
        S(_DISTINCT, k=2, ret_typ="mask"),
        S(_DISTINCT, k=3, axis=None, ret_typ="value"),
        S(_DISTINCT, k=3, axis=None, ret_typ="mask"),
        S(_DISTINCT, k=0),
        S(A(4, 6, ints=3), k=3),
        S(A(5, ints=9, dtype="int32"), k=2, ret_typ="both"),
        ref=_np_topk,
        errors=[
            ((A(2, 3),), {"k": 5}, "k <= 3"),
            ((A(2, 3),), {"ret_typ": "values"}, "value, indices, mask, both"),
            ((A(2),), {"axis": 1}, "axis"),
        ],
    ),
)
def topk(
    data: Tensor,
    axis: int | None = -1,
    k: int = 1,
    ret_typ: str = "indices",
    is_ascend: bool = False,
    dtype: DType = torch.float32,
) -> Any:
    """Find the k greatest (is_ascend: smallest) elements along an axis; k < 1 takes all.

    ret_typ: "value", "indices" (in dtype), "both", or "mask" (1 at these elements, in the data's shape). axis None:
    of the flattened array.
    """
    if ret_typ not in _KINDS:
        raise ArgumentError(
            explain(
                "topk", "There is no such kind of result.", expected=", ".join(_KINDS), received=f"ret_typ={ret_typ!r}"
            )
        )
    values, indices, at = _sorted("topk", data, axis, is_ascend)
    size = values.shape[at]
    if k > size:
        raise ArgumentError(
            explain("topk", "There are fewer elements than asked for.", expected=f"k <= {size}", received=f"k={k}")
        )
    count = k if k > 0 else size
    values, indices = values.narrow(at, 0, count), indices.narrow(at, 0, count)
    if ret_typ == "mask":
        flat = data.reshape(-1) if axis is None else data
        return (
            torch.zeros_like(flat, memory_format=torch.contiguous_format).scatter_(at, indices, 1).reshape(data.shape)
        )
    if ret_typ == "indices":
        return indices.to(dtype)
    return values.contiguous(), indices.to(dtype)


@topk.grad
def _(c: Grad) -> Value:
    if c.attrs["ret_typ"] in ("indices", "mask"):
        return (None,)
    return _back_in_order(c, c.attrs["axis"])
