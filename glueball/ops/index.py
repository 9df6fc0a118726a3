"""Reading and writing rows of one axis by arrays of indices: take, Embedding, pick, one_hot, where, boolean_mask, … .

The one idea: indices may be of any type, floats are truncated; `clip` brings what is out of range to the nearest row,
`wrap` counts round, `raise` refuses. The gradient of each reading adds the rows' gradients up where they came from.
Several axes at once (gather_nd) are in index_nd.py, cutting by position in slicing.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch

from ..base import aten
from ..base.errors import ArgumentError, DTypeError, ShapeError, explain
from .attributes import DType, Shape
from .opdef import REQUIRED, Grad, OpDef, Tensor, TensorType, Value, from_kernel, operator
from .passing import zeros_like
from .rules.check import A, S, check
from .rules.grad import zero
from .rules.infer import InferRule, unify
from .rules.layers import formula
from .rules.shapes import hot, picked, taken, target
from .shape_ops import one_axis

_MODES = ("clip", "wrap", "raise")


def rows_of(where: str, indices: Tensor, size: int, mode: str) -> Tensor:
    """Return whole-number indices in 0..size-1, by the mode's way with what is out of range."""
    rows = indices.to(torch.int64)
    if mode == "clip":
        return rows.clamp(0, max(size - 1, 0))
    if mode == "wrap":
        return torch.remainder(rows, max(size, 1))
    if mode != "raise":
        raise ArgumentError(explain(where, "There is no such mode.", expected=", ".join(_MODES), received=repr(mode)))
    if rows.device.type != "meta" and rows.numel() and not (int(rows.min()) >= 0 and int(rows.max()) < size):
        raise ShapeError(
            explain(
                where,
                "An index is out of range.",
                expected=f"0 <= index < {size}",
                received=f"indices from {int(rows.min())} to {int(rows.max())}",
            )
        )
    return rows


def _np_rows(indices: np.ndarray, size: int, mode: str) -> np.ndarray:
    rows = np.asarray(indices).astype(np.int64)
    return np.clip(rows, 0, size - 1) if mode == "clip" else rows % size


# -- rows of an axis -------------------------------------------------------------------------------------------------


def _np_take(a: np.ndarray, indices: np.ndarray, axis: int = 0, mode: str = "clip") -> np.ndarray:
    return np.take(a, _np_rows(indices, a.shape[axis], mode), axis)


_TABLE = A(4, 3)


@operator(
    infer=formula(taken),
    method=True,
    nondiff=("indices",),
    check=check(
        S(_TABLE, np.array([1, 9, -1, 1])),
        S(_TABLE, A(2, 2, ints=3), axis=1),
        S(_TABLE, np.array([-1.0, 5.7]), axis=-1, mode="wrap"),
        S(A(2, 3, 4), A(0, ints=3), axis=1),
        ref=_np_take,
        errors=[
            ((_TABLE, np.array([4.0])), {"mode": "raise"}, "out of range"),
            ((_TABLE, A(2)), {"axis": 2}, "axis"),
            ((_TABLE, A(2)), {"mode": "wrong"}, "clip, wrap, raise"),
        ],
    ),
)
def take(a: Tensor, indices: Tensor, axis: int = 0, mode: str = "clip") -> Tensor:
    """Take rows of one axis by an array of indices, whose axes replace it."""
    at = one_axis("take", axis, a.dim())
    rows = rows_of("take", indices, a.shape[at], mode)
    found = torch.index_select(a, at, rows.reshape(-1))
    return found if rows.dim() == 1 else found.reshape((*a.shape[:at], *rows.shape, *a.shape[at + 1 :]))


@take.grad
def _(c: Grad) -> Value:
    return _take_backward(c.g, c.ins[1], shape=c.shape(), axis=c.attrs["axis"], mode=c.attrs["mode"]), None


def _np_take_backward(g: np.ndarray, indices: np.ndarray, shape: Any, axis: int = 0, mode: str = "clip") -> np.ndarray:
    whole = np.zeros(shape, g.dtype)
    at = axis % len(shape)
    rows = _np_rows(indices, shape[at], mode)
    flat = np.moveaxis(g.reshape((*shape[:at], rows.size, *shape[at + 1 :])), at, 0)
    np.add.at(np.moveaxis(whole, at, 0), rows.reshape(-1), flat)
    return whole


@operator(
    infer=formula(target),
    nondiff=("indices",),
    check=check(
        S(A(5, 3), np.array([1, 3, 1, 0, -1]), shape=(4, 3)),
        S(A(4, 2, 2), A(2, 2, ints=3), shape=(4, 3), axis=1),
        ref=_np_take_backward,
    ),
)
def _take_backward(grad: Tensor, indices: Tensor, shape: Shape = REQUIRED, axis: int = 0, mode: str = "clip") -> Tensor:
    """Add rows up at their indices, in zeros of `shape`: the gradient of take."""
    at = one_axis("take", axis, len(shape))
    rows = rows_of("take", indices, shape[at], mode).reshape(-1)
    flat = grad.reshape((*shape[:at], rows.numel(), *shape[at + 1 :]))
    if len(shape) == 2 and at == 0 and flat.is_floating_point():  # an embedding: four times as fast
        return aten.embedding_dense_backward(flat, rows, shape[0], -1, False)
    whole = torch.zeros(tuple(shape), dtype=grad.dtype, device=grad.device)
    return whole.index_add_(at, rows, flat)


@_take_backward.grad
def _(c: Grad) -> Value:
    return take(c.g, c.ins[1], axis=c.attrs["axis"], mode=c.attrs["mode"]), None


@final
class _EmbeddingShapes(InferRule):
    """The weight has the shape of the attributes; its dtype is the attribute's unless known."""

    def partial(
        self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], outs: Sequence[TensorType]
    ) -> tuple[list[TensorType], list[TensorType]]:
        data, weight = ins
        shape = unify((attrs["input_dim"], attrs["output_dim"]), weight.shape, "Embedding (weight)")
        return [
            TensorType(data.shape, data.dtype or torch.float32),
            TensorType(shape, weight.dtype or attrs["dtype"]),
        ], list(outs)

    def forward(
        self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], training: bool
    ) -> list[TensorType]:
        """A row per number: a rule, for a large table would go to torch's shape functions, which import seconds' worth
        of torch at their first use.
        """
        return [TensorType((*(ins[0].shape or ()), attrs["output_dim"]), ins[1].dtype)]


def _np_embedding(data: np.ndarray, weight: np.ndarray, **attrs: Any) -> np.ndarray:
    return weight[_np_rows(data, len(weight), "clip")]


@operator(
    nondiff=("data",),
    infer=_EmbeddingShapes(),
    aliases=("_contrib_SparseEmbedding",),
    check=check(
        S(A(2, 3, ints=4), A(4, 3), input_dim=4, output_dim=3),
        S(np.array([0.0, 9.0, -1.0]), A(4, 3), input_dim=4, output_dim=3, sparse_grad=True),
        S(A(0, ints=4), A(4, 3), input_dim=4, output_dim=3),
        ref=_np_embedding,
        errors=[
            ((A(2), A(4, 3)), {"input_dim": 5, "output_dim": 3}, "weight"),
            ((A(2), A(4, 3)), {"output_dim": 3}, "input_dim"),
        ],
    ),
)
def Embedding(
    data: Tensor,
    weight: Tensor,
    input_dim: int = REQUIRED,
    output_dim: int = REQUIRED,
    dtype: DType = torch.float32,
    sparse_grad: bool = False,
) -> Tensor:
    """Look rows of weight (input_dim, output_dim) up by number; numbers out of range take the nearest row.

    The gradient is dense.
    """
    if tuple(weight.shape) != (input_dim, output_dim):
        raise ShapeError(
            explain(
                "Embedding",
                "The weight has another shape than the attributes say.",
                expected=f"weight {(input_dim, output_dim)}",
                received=tuple(weight.shape),
            )
        )
    return torch.nn.functional.embedding(rows_of("Embedding", data, input_dim, "clip"), weight)


@Embedding.grad
def _(c: Grad) -> Value:
    return None, _take_backward(c.g, c.ins[0], shape=c.shape(1), axis=0)


# -- one element of each row -----------------------------------------------------------------------------------------


def _picked(where: str, index: Tensor, shape: Sequence[int], axis: int | None, mode: str) -> tuple[int, Tensor]:
    """Return the axis and the indices with that axis as size 1."""
    if axis is None:
        raise ArgumentError(explain(where, "The axis is missing.", expected="an axis", received=None))
    at = one_axis(where, axis, len(shape))
    kept = (*shape[:at], 1, *shape[at + 1 :])
    if tuple(index.shape) not in (kept, (*shape[:at], *shape[at + 1 :])) and not (
        len(shape) == 1 and index.numel() == 1
    ):
        raise ShapeError(
            explain(
                where,
                "The indices do not fit the data.",
                expected=f"index of shape {(*shape[:at], *shape[at + 1 :])} or {kept}",
                received=tuple(index.shape),
                fix="one index, or label, for each row; for one-hot labels SoftmaxCrossEntropyLoss(sparse_label=False)",
            )
        )
    return at, rows_of(where, index, shape[at], mode).reshape(kept)


def _np_pick(
    x: np.ndarray, index: np.ndarray, axis: int = -1, keepdims: bool = False, mode: str = "clip"
) -> np.ndarray:
    at = axis % x.ndim
    rows = _np_rows(index, x.shape[at], mode).reshape(*x.shape[:at], 1, *x.shape[at + 1 :])
    found = np.take_along_axis(x, rows, at)
    return found if keepdims else np.atleast_1d(found.squeeze(at))


@operator(
    infer=formula(picked),
    aliases=("choose_element_0index",),
    method=True,
    nondiff=("index",),
    check=check(
        S(A(4, 3), np.array([0, 1, 9, -1])),
        S(A(4, 3), np.array([0, 1, 9]), axis=0, keepdims=True),
        S(A(4, 3), np.array([0, 1, 9, -1]), mode="wrap"),
        S(A(2, 3, 4), A(2, 1, 4, ints=3), axis=1),
        S(A(3), np.array([1])),
        S(A(0, 3), A(0, ints=3)),
        ref=_np_pick,
        errors=[
            ((A(4, 3), A(3)), {}, "indices"),
            ((A(4, 3), A(4)), {"mode": "raise"}, "clip"),
            ((A(4, 3), A(4)), {"axis": None}, "axis"),
        ],
    ),
)
def pick(data: Tensor, index: Tensor, axis: int | None = -1, keepdims: bool = False, mode: str = "clip") -> Tensor:
    """Pick one element along an axis for each position of the others: data[i, index[i]] for a matrix."""
    if mode == "raise":
        raise ArgumentError(explain("pick", "There is no such mode.", expected="clip or wrap", received="'raise'"))
    at, rows = _picked("pick", index, data.shape, axis, mode)
    found = torch.gather(data, at, rows)
    return found if keepdims else found.squeeze(at) if data.dim() > 1 else found


@pick.fill
def _fill_picked(attrs: Mapping[str, Any], shapes: list[Any]) -> list[Any]:
    """The indices have the data's shape without the axis."""
    data, index = shapes
    if data is None or index is not None or attrs["axis"] is None:
        return shapes
    at = attrs["axis"] % len(data)
    return [data, (*data[:at], *data[at + 1 :]) or (1,)]


@pick.grad
def _(c: Grad) -> Value:
    return _pick_backward(
        c.g, c.ins[1], shape=c.shape(), axis=c.attrs["axis"], keepdims=c.attrs["keepdims"], mode=c.attrs["mode"]
    ), None


def _np_pick_backward(
    g: np.ndarray, index: np.ndarray, shape: Any, axis: int = -1, keepdims: bool = False, mode: str = "clip"
) -> np.ndarray:
    whole = np.zeros(shape, g.dtype)
    at = axis % len(shape)
    kept = (*shape[:at], 1, *shape[at + 1 :])
    np.put_along_axis(whole, _np_rows(index, shape[at], mode).reshape(kept), g.reshape(kept), at)
    return whole


@operator(
    infer=formula(target),
    nondiff=("index",),
    check=check(
        S(A(4), A(4, ints=3), shape=(4, 3)),
        S(A(1, 3), A(3, ints=4), shape=(4, 3), axis=0, keepdims=True),
        ref=_np_pick_backward,
    ),
)
def _pick_backward(
    grad: Tensor, index: Tensor, shape: Shape = REQUIRED, axis: int = -1, keepdims: bool = False, mode: str = "clip"
) -> Tensor:
    """Put one element of each row into zeros of `shape`: the gradient of pick."""
    at, rows = _picked("pick", index, shape, axis, mode)
    return torch.zeros(tuple(shape), dtype=grad.dtype, device=grad.device).scatter_(at, rows, grad.reshape(rows.shape))


@_pick_backward.grad
def _(c: Grad) -> Value:
    return pick(c.g, c.ins[1], axis=c.attrs["axis"], keepdims=c.attrs["keepdims"], mode=c.attrs["mode"]), None


@operator(
    nondiff=("indices",),
    check=check(
        S(A(4, 3), A(4, ints=3, dtype="int32")),
        ref=lambda a, i: a[np.arange(len(a)), i],
        errors=[((A(4, 3), A(3, ints=3)), {}, "indices")],
    ),
)
def batch_take(a: Tensor, indices: Tensor) -> Tensor:
    """Pick a[i, indices[i]] for every row i of a matrix (the older name of pick)."""
    at, rows = _picked("batch_take", indices, a.shape, -1, "clip")
    return torch.gather(a, at, rows).reshape(indices.shape)


@batch_take.grad
def _(c: Grad) -> Value:
    return _pick_backward(c.g, c.ins[1], shape=c.shape(), axis=-1), None


def _np_fill(x: np.ndarray, values: np.ndarray, index: np.ndarray) -> np.ndarray:
    x[np.arange(len(x)), index.astype(int)] = values
    return x


@operator(
    nondiff=("rhs",),
    check=check(S(A(4, 3), A(4), A(4, ints=3)), ref=_np_fill, errors=[((A(4, 3), A(4), A(3, ints=3)), {}, "indices")]),
)
def fill_element_0index(lhs: Tensor, mhs: Tensor, rhs: Tensor) -> Tensor:
    """Return the matrix lhs with lhs[i, rhs[i]] replaced by mhs[i] in every row i."""
    at, rows = _picked("fill_element_0index", rhs, lhs.shape, 1, "clip")
    return lhs.scatter(at, rows, mhs.reshape(rows.shape))


@fill_element_0index.grad
def _(c: Grad) -> Value:
    return fill_element_0index(c.g, zeros_like(c.ins[1]), c.ins[2]), pick(c.g, c.ins[2], axis=1), None


# -- choices and masks -----------------------------------------------------------------------------------------------


def _np_one_hot(
    i: np.ndarray, depth: int, on_value: float = 1.0, off_value: float = 0.0, dtype: str = "float32"
) -> np.ndarray:
    return np.where(i.astype(int)[..., None] == np.arange(depth), on_value, off_value).astype(dtype)


@operator(
    infer=formula(hot),
    method=True,
    gradient=zero,
    check=check(
        S(np.array([0.0, 2.0, -1.0, 5.0]), depth=3, grad=False),
        S(A(2, 2, ints=3), depth=3, on_value=5.0, off_value=-1.0, dtype="int32"),
        S(A(0, ints=3), depth=2),
        ref=_np_one_hot,
        errors=[((A(2),), {"depth": 0}, "depth")],
    ),
)
def one_hot(
    indices: Tensor, depth: int = REQUIRED, on_value: float = 1.0, off_value: float = 0.0, dtype: DType = torch.float32
) -> Tensor:
    """Turn numbers into rows of length depth: on_value at the number, off_value elsewhere.

    Out of range gives a row of off_value.
    """
    if depth < 1:
        raise ArgumentError(
            explain("one_hot", "The depth is too small.", expected="depth >= 1", received=f"depth={depth}")
        )
    hot = indices.to(torch.int64).unsqueeze(-1) == torch.arange(depth, device=indices.device)
    if on_value == 1.0 and off_value == 0.0:
        return hot.to(dtype)
    return (
        hot.to(dtype) * (on_value - off_value) + off_value
        if dtype.is_floating_point
        else torch.where(hot, int(on_value), int(off_value)).to(dtype)
    )


@final
class _WhereShapes(InferRule):
    """Both choices and the result have one shape and dtype."""

    def partial(
        self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], outs: Sequence[TensorType]
    ) -> tuple[list[TensorType], list[TensorType]]:
        condition, x, y = ins
        shape = unify(unify(x.shape, y.shape, op.name), outs[0].shape, op.name)
        dtype = x.dtype or y.dtype or outs[0].dtype
        both = TensorType(shape, dtype)
        return [
            TensorType(condition.shape, condition.dtype or dtype),
            TensorType(shape, x.dtype or dtype),
            TensorType(shape, y.dtype or dtype),
        ], [both]

    def forward(
        self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], training: bool
    ) -> list[TensorType]:
        """Return the choices' type, where the condition fits."""
        condition, x, y = ins
        if x == y and x.shape is not None and condition.shape in (x.shape, x.shape[:1]):
            return [x]
        return super().forward(op, attrs, ins, training)


def _np_where(condition: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    condition = condition != 0
    return np.where(condition.reshape(condition.shape + (1,) * (x.ndim - condition.ndim)), x, y)


@operator(
    nondiff=("condition",),
    infer=_WhereShapes(),
    check=check(
        S(A(3, 2, ints=2), A(3, 2), A(3, 2)),
        S(A(3, ints=2, dtype="int32"), A(3, 2), A(3, 2)),
        S(A(0, 2, ints=2), A(0, 2), A(0, 2)),
        ref=_np_where,
        errors=[
            ((A(2, 1), A(2, 2), A(2, 2)), {}, "condition"),
            ((A(2), A(2), A(3)), {}, "shape"),
            ((A(2), A(2), A(2, dtype="int32")), {}, "types"),
        ],
    ),
)
def where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Take x where the condition is not 0, else y; a condition of one axis chooses whole rows."""
    if x.shape != y.shape:
        raise ShapeError(
            explain("where", "The shapes of x and y differ.", expected=tuple(x.shape), received=tuple(y.shape))
        )
    if x.dtype is not y.dtype:
        raise DTypeError(
            explain(
                "where",
                "The element types of x and y differ.",
                expected=str(x.dtype).removeprefix("torch."),
                received=str(y.dtype).removeprefix("torch."),
            )
        )
    if condition.shape != x.shape:
        if condition.dim() != 1 or condition.shape[0] != x.shape[0]:
            raise ShapeError(
                explain(
                    "where",
                    "The condition does not fit.",
                    expected=f"condition of shape {tuple(x.shape)} or ({x.shape[0]},)",
                    received=tuple(condition.shape),
                )
            )
        condition = condition.reshape((-1,) + (1,) * (x.dim() - 1))
    return torch.where(condition != 0, x, y)


@where.grad
def _(c: Grad) -> Value:
    none = zeros_like(c.g)
    return None, where(c.ins[0], c.g, none), where(c.ins[0], none, c.g)


@operator(
    name="_contrib_boolean_mask",
    nondiff=("index",),
    gradient=from_kernel,
    dynamic="the number of rows depends on the values of the mask",
    check=check(
        S(A(4, 3), np.array([0.0, 1.0, 1.0, 0.0])),
        S(A(3, 2), np.array([0.0, 0.0, 0.0]), grad=False),
        S(A(2, 3), np.array([1.0, 0.0, 1.0]), axis=1),
        ref=lambda x, m, axis=0: np.compress(m != 0, x, axis),
        errors=[((A(4, 3), A(3)), {}, "mask")],
    ),
)
def boolean_mask(data: Tensor, index: Tensor, axis: int = 0) -> Tensor:
    """Keep the rows of an axis where the mask (one number per row) is not 0."""
    at = one_axis("boolean_mask", axis, data.dim())
    if tuple(index.shape) != (data.shape[at],):
        raise ShapeError(
            explain(
                "boolean_mask",
                "The mask does not fit.",
                expected=f"a mask of shape ({data.shape[at]},)",
                received=tuple(index.shape),
            )
        )
    return torch.index_select(data, at, torch.nonzero(index).reshape(-1))
