"""Matrix products: dot of any rank, batch_dot, Khatri-Rao, and the interleaved products of fused attention.

The one idea: dot contracts the last axis of lhs with the first of rhs (transpose_a: the first of lhs; transpose_b:
the last of rhs), so every case is one product of two matrices. Factorisations and gemm are in linalg.py,
FullyConnected in linear.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ..base.errors import ArgumentError, ShapeError, explain
from .broadcast import same_dtype
from .opdef import REQUIRED, Grad, Tensor, Value, from_kernel, operator
from .rules.check import A, S, check
from .rules.layers import formula
from .rules.shapes import batch_product, heads_averaged, heads_scored, matrix_product
from .shape_ops import _reshape_to, product


def _sizes(shape: tuple[int, ...], contracts_first: bool) -> tuple[int, tuple[int, ...]]:
    """Return the contracted size and the other sizes."""
    return (shape[0], shape[1:]) if contracts_first else (shape[-1], shape[:-1])


def _layout(
    lhs: tuple[int, ...], rhs: tuple[int, ...], transpose_a: bool, transpose_b: bool
) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Return the contracted size, the remaining sizes of lhs and of rhs; what does not fit is refused."""
    inner, left = _sizes(lhs, transpose_a and len(lhs) > 1)
    other, right = _sizes(rhs, not (transpose_b and len(rhs) > 1))
    if inner != other:
        raise ShapeError(
            explain(
                "dot",
                "The contracted sizes differ.",
                expected=f"{inner}, from lhs {lhs} (transpose_a={transpose_a})",
                received=f"{other}, from rhs {rhs} (transpose_b={transpose_b})",
                fix="transpose_a / transpose_b, or check the layer before",
            )
        )
    return inner, left, right


def _np_dot(a: np.ndarray, b: np.ndarray, transpose_a: bool = False, transpose_b: bool = False) -> np.ndarray:
    left, right = 0 if transpose_a and a.ndim > 1 else a.ndim - 1, b.ndim - 1 if transpose_b and b.ndim > 1 else 0
    return np.atleast_1d(np.tensordot(a, b, (left, right)))


@operator(
    infer=formula(matrix_product),
    check=check(
        S(A(2, 3), A(3, 4)),
        S(A(3, 2), A(3, 4), transpose_a=True),
        S(A(2, 3), A(4, 3), transpose_b=True),
        S(A(3, 2), A(4, 3), transpose_a=True, transpose_b=True),
        S(A(3), A(3)),
        S(A(2, 3), A(3)),
        S(A(3), A(3, 4)),
        S(A(2, 3, 4), A(4, 5, 2)),
        S(A(2, 3, 4), A(2, 5), transpose_a=True),
        S(A(2, 4), A(5, 3, 4), transpose_b=True),
        S(A(0, 3), A(3, 4)),
        S(A(2, 0), A(0, 4)),
        ref=_np_dot,
        errors=[((A(2, 3), A(4, 3)), {}, "contracted sizes"), ((A(2), A(2, dtype="float64")), {}, "type")],
    ),
)
def dot(
    lhs: Tensor, rhs: Tensor, transpose_a: bool = False, transpose_b: bool = False, forward_stype: str | None = None
) -> Tensor:
    """Contract the last axis of lhs with the first of rhs, for arrays of any rank; two vectors give shape (1,).

    transpose_a contracts the first axis of lhs instead, transpose_b the last of rhs. (forward_stype is accepted;
    results are dense.)
    """
    same_dtype("dot", lhs, rhs)
    if lhs.dim() == 2 and rhs.dim() == 2:
        try:
            return torch.mm(lhs.t() if transpose_a else lhs, rhs.t() if transpose_b else rhs)
        except RuntimeError:
            _layout(
                tuple(lhs.shape), tuple(rhs.shape), transpose_a, transpose_b
            )  # raises when the sizes are the reason
            raise
    inner, left, right = _layout(tuple(lhs.shape), tuple(rhs.shape), transpose_a, transpose_b)
    a = lhs.reshape(inner, product(left)).t() if transpose_a and lhs.dim() > 1 else lhs.reshape(product(left), inner)
    b = rhs.reshape(product(right), inner).t() if transpose_b and rhs.dim() > 1 else rhs.reshape(inner, product(right))
    return torch.mm(a, b).reshape((*left, *right) or (1,))


def _matrix_gradients(
    multiply: Any, g: Value, lhs: Value, rhs: Value, transpose_a: bool, transpose_b: bool
) -> tuple[Value, Value]:
    """Return the gradients of a product of matrices (or batches of them) as such products."""
    if transpose_a:
        left = multiply(rhs, g, transpose_a=transpose_b, transpose_b=True)
    else:
        left = multiply(g, rhs, transpose_b=not transpose_b)
    if transpose_b:
        right = multiply(g, lhs, transpose_a=True, transpose_b=transpose_a)
    else:
        right = multiply(lhs, g, transpose_a=not transpose_a)
    return left, right


@dot.grad
def _(c: Grad) -> Value:
    (lhs, rhs), (left_shape, right_shape) = c.ins, (c.shape(0), c.shape(1))
    transpose_a = c.attrs["transpose_a"] and len(left_shape) > 1
    transpose_b = c.attrs["transpose_b"] and len(right_shape) > 1
    if len(left_shape) == len(right_shape) == 2:
        return _matrix_gradients(dot, c.g, lhs, rhs, transpose_a, transpose_b)
    inner, left, right = _layout(left_shape, right_shape, transpose_a, transpose_b)
    rows, columns = product(left), product(right)
    lhs = _reshape_to(lhs, shape=(inner, rows) if transpose_a else (rows, inner))
    rhs = _reshape_to(rhs, shape=(columns, inner) if transpose_b else (inner, columns))
    found = _matrix_gradients(dot, _reshape_to(c.g, shape=(rows, columns)), lhs, rhs, transpose_a, transpose_b)
    return _reshape_to(found[0], shape=left_shape), _reshape_to(found[1], shape=right_shape)


def _np_batch_dot(a: np.ndarray, b: np.ndarray, transpose_a: bool = False, transpose_b: bool = False) -> np.ndarray:
    return np.matmul(a.swapaxes(-1, -2) if transpose_a else a, b.swapaxes(-1, -2) if transpose_b else b)


@operator(
    infer=formula(batch_product),
    check=check(
        S(A(2, 3, 4), A(2, 4, 5)),
        S(A(2, 4, 3), A(2, 4, 5), transpose_a=True),
        S(A(2, 3, 4), A(2, 5, 4), transpose_b=True),
        S(A(2, 4, 3), A(2, 5, 4), transpose_a=True, transpose_b=True),
        S(A(2, 3, 3, 4), A(2, 3, 4, 5)),
        S(A(0, 3, 4), A(0, 4, 5)),
        ref=_np_batch_dot,
        errors=[
            ((A(2, 3), A(3, 2)), {}, "3 axes"),
            ((A(2, 3, 4), A(1, 4, 5)), {}, "batch"),
            ((A(2, 3, 4), A(2, 3, 4)), {}, "inner sizes"),
        ],
    ),
)
def batch_dot(
    lhs: Tensor, rhs: Tensor, transpose_a: bool = False, transpose_b: bool = False, forward_stype: str | None = None
) -> Tensor:
    """Multiply matrices pairwise.

    (..., n, k) with (..., k, m), for arrays of at least 3 axes with equal leading sizes.
    """
    same_dtype("batch_dot", lhs, rhs)
    if lhs.dim() < 3 or rhs.dim() != lhs.dim():
        raise ShapeError(
            explain(
                "batch_dot",
                "Two batches of matrices are needed.",
                expected="two arrays of the same number of axes, at least 3 axes",
                received=f"{tuple(lhs.shape)} and {tuple(rhs.shape)}",
                fix="dot multiplies two matrices",
            )
        )
    if lhs.shape[:-2] != rhs.shape[:-2]:
        raise ShapeError(
            explain(
                "batch_dot", "The batch sizes differ.", expected=tuple(lhs.shape[:-2]), received=tuple(rhs.shape[:-2])
            )
        )
    a = lhs.transpose(-1, -2) if transpose_a else lhs
    b = rhs.transpose(-1, -2) if transpose_b else rhs
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            explain(
                "batch_dot",
                "The inner sizes differ.",
                expected=a.shape[-1],
                received=b.shape[-2],
                fix="transpose_a / transpose_b",
            )
        )
    return torch.bmm(a, b) if lhs.dim() == 3 else torch.matmul(a, b)


@batch_dot.grad
def _(c: Grad) -> Value:
    return _matrix_gradients(batch_dot, c.g, c.ins[0], c.ins[1], c.attrs["transpose_a"], c.attrs["transpose_b"])


def _np_khatri_rao(*matrices: np.ndarray) -> np.ndarray:
    found = matrices[0]
    for m in matrices[1:]:
        found = np.stack([np.kron(found[:, i], m[:, i]) for i in range(m.shape[1])], 1)
    return found


@operator(
    gradient=from_kernel,
    variadic_count="num_args",
    check=check(
        S(A(2, 3), A(4, 3)),
        S(A(2, 2), A(3, 2), A(2, 2)),
        S(A(2, 3)),
        ref=_np_khatri_rao,
        errors=[((A(2, 3), A(2, 2)), {}, "columns")],
    ),
)
def khatri_rao(*args: Tensor) -> Tensor:
    """Multiply matrices column by column by Kronecker's product: (n_i, k) each gives (n_1 · n_2 · …, k)."""
    if len({m.shape[1] for m in args}) != 1:
        raise ShapeError(
            explain(
                "khatri_rao",
                "The numbers of columns differ.",
                expected="equal columns",
                received=[tuple(m.shape) for m in args],
            )
        )
    found, *others = args
    found = found if others else found.clone()
    for m in others:
        found = (found.unsqueeze(1) * m.unsqueeze(0)).reshape(-1, m.shape[1])
    return found


# -- attention with interleaved projections --------------------------------------------------------------------------


def _head(where: str, projected: Any, heads: int, parts: int, which: int) -> Any:
    """Return one projection out of (length, batch, heads · parts · size), as (batch · heads, length, size)."""
    length, batch, width = projected.shape
    if heads < 1 or width % (heads * parts):
        raise ArgumentError(
            explain(
                where,
                f"The width {width} cannot be divided among the heads.",
                expected=f"a multiple of heads * {parts}",
                received=f"heads={heads}",
            )
        )
    one = projected.reshape(length, batch, heads, parts, width // (heads * parts))[:, :, :, which]
    axes = (1, 2, 0, 3)
    one = one.permute(axes) if isinstance(one, torch.Tensor) else one.transpose(axes)
    return one.reshape(batch * heads, length, width // (heads * parts))


def _unheaded(found: Any, heads: int) -> Any:
    """Return (batch · heads, length, size) as (length, batch, heads · size)."""
    rows, length, size = found.shape
    split, axes = found.reshape(rows // heads, heads, length, size), (2, 0, 1, 3)
    return (split.permute(axes) if isinstance(split, torch.Tensor) else split.transpose(axes)).reshape(
        length, rows // heads, heads * size
    )


def _scores(queries: Any, keys: Any) -> Any:
    return (
        queries
        @ (keys.transpose(1, 2) if isinstance(keys, torch.Tensor) else keys.transpose(0, 2, 1))
        / math.sqrt(queries.shape[-1])
    )


def _self_scores(qkv: Any, heads: int) -> Any:
    name = "interleaved_matmul_selfatt_qk"
    return _scores(_head(name, qkv, heads, 3, 0), _head(name, qkv, heads, 3, 1))


@operator(
    name="_contrib_interleaved_matmul_selfatt_qk",
    infer=formula(heads_scored),
    gradient=from_kernel,
    check=check(S(A(5, 2, 24), heads=2), ref=_self_scores, errors=[((A(5, 2, 20),), {"heads": 3}, "heads")]),
)
def interleaved_matmul_selfatt_qk(queries_keys_values: Tensor, heads: int = REQUIRED) -> Tensor:
    """Compute attention scores q·k / sqrt(size) of (length, batch, heads · 3 · size).

    Shape (batch · heads, length, length).
    """
    return _self_scores(queries_keys_values, heads)


def _self_values(qkv: Any, attention: Any, heads: int) -> Any:
    return _unheaded(attention @ _head("interleaved_matmul_selfatt_valatt", qkv, heads, 3, 2), heads)


@operator(
    name="_contrib_interleaved_matmul_selfatt_valatt",
    infer=formula(heads_averaged(3)),
    gradient=from_kernel,
    check=check(S(A(5, 2, 24), A(4, 5, 5), heads=2), ref=_self_values),
)
def interleaved_matmul_selfatt_valatt(queries_keys_values: Tensor, attention: Tensor, heads: int = REQUIRED) -> Tensor:
    """Average the values by attention (batch · heads, length, length): shape (length, batch, heads · size)."""
    return _self_values(queries_keys_values, attention, heads)


def _cross_scores(queries: Any, keys_values: Any, heads: int) -> Any:
    name = "interleaved_matmul_encdec_qk"
    return _scores(_head(name, queries, heads, 1, 0), _head(name, keys_values, heads, 2, 0))


@operator(
    name="_contrib_interleaved_matmul_encdec_qk",
    infer=formula(heads_scored),
    gradient=from_kernel,
    check=check(S(A(5, 2, 8), A(3, 2, 16), heads=2), ref=_cross_scores),
)
def interleaved_matmul_encdec_qk(queries: Tensor, keys_values: Tensor, heads: int = REQUIRED) -> Tensor:
    """Compute scores q·k / sqrt(size) of shape (batch · heads, Lq, Lk).

    queries: (Lq, batch, heads · size); keys_values: (Lk, batch, heads · 2 · size).
    """
    return _cross_scores(queries, keys_values, heads)


def _cross_values(keys_values: Any, attention: Any, heads: int) -> Any:
    return _unheaded(attention @ _head("interleaved_matmul_encdec_valatt", keys_values, heads, 2, 1), heads)


@operator(
    name="_contrib_interleaved_matmul_encdec_valatt",
    infer=formula(heads_averaged(2)),
    gradient=from_kernel,
    check=check(S(A(3, 2, 16), A(4, 5, 3), heads=2), ref=_cross_values),
)
def interleaved_matmul_encdec_valatt(keys_values: Tensor, attention: Tensor, heads: int = REQUIRED) -> Tensor:
    """Average the values of (Lk, batch, heads · 2 · size) by attention (batch · heads, Lq, Lk).

    Shape (Lq, batch, heads · size).
    """
    return _cross_values(keys_values, attention, heads)
