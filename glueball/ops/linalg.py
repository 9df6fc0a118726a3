"""Linear algebra (`nd.linalg.*`): products, triangular solves, factorisations, determinants, and packing of diagonals
and triangles.

The one idea: each operator works on the last two axes (or on `axis`) and batches over all others; gradients are
torch's own through the kernel. One matrix gives a result of shape (1,) where a batch gives (batch,). `dot` and
`batch_dot` are in dot.py.

What symmetric factorisations (potrf, syevd) do with an unsymmetric matrix: they read its lower triangle, and give a
symmetric gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..base.errors import DTypeError, MXNetError, ShapeError, explain
from .opdef import Tensor, from_kernel, operator
from .rules.check import A, S, check
from .rules.infer import same_shape
from .rules.layers import formula
from .rules.shapes import on_diagonal, squared


def _verify(where: str, *matrices: Tensor, square: bool = False) -> None:
    """Refuse what is not a (square) matrix of 32- or 64-bit floats."""
    for matrix in matrices:
        if matrix.dtype not in (torch.float32, torch.float64):
            raise DTypeError(
                explain(
                    where,
                    "The element type is not supported.",
                    expected="float32 or float64",
                    received=str(matrix.dtype).removeprefix("torch."),
                    fix="convert with x.astype('float32')",
                )
            )
        if matrix.dim() < 2 or (square and matrix.shape[-1] != matrix.shape[-2]):
            raise ShapeError(
                explain(
                    where,
                    "A square matrix is expected." if square else "A matrix is expected.",
                    expected="(…, n, n)" if square else "(…, rows, columns)",
                    received=tuple(matrix.shape),
                )
            )


def _one(result: Tensor) -> Tensor:
    """Give the number that one matrix yields the shape (1,)."""
    return result.reshape(1) if result.dim() == 0 else result


def _t(matrix: np.ndarray, flag: bool) -> np.ndarray:
    return np.swapaxes(matrix, -1, -2) if flag else matrix


# ---- products
def _rows_last_but_one(axis: int, *matrices: Tensor) -> list[Tensor]:
    """Bring the axis of the rows next to that of the columns."""
    return [m if axis in (-2, m.dim() - 2) else m.movedim(axis, -2) for m in matrices]


def _product(where: str, left: Tensor, right: Tensor, transpose_a: bool, transpose_b: bool, axis: int) -> Tensor:
    _verify(where, left, right)
    left, right = _rows_last_but_one(axis, left, right)
    a, b = left.mT if transpose_a else left, right.mT if transpose_b else right
    if a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            explain(
                where,
                "The matrices do not fit.",
                expected="equal batch axes, and as many columns on the left as rows on the right",
                received=f"A {tuple(a.shape)} and B {tuple(b.shape)} after transposition",
            )
        )
    return torch.matmul(a, b)


def _back(axis: int, result: Tensor) -> Tensor:
    return result if axis in (-2, result.dim() - 2) else result.movedim(-2, axis)


def _np_gemm2(
    a: np.ndarray,
    b: np.ndarray,
    transpose_a: bool = False,
    transpose_b: bool = False,
    alpha: float = 1.0,
    axis: int = -2,
) -> np.ndarray:
    a, b = np.moveaxis(a, axis, -2), np.moveaxis(b, axis, -2)
    return np.moveaxis(alpha * (_t(a, transpose_a) @ _t(b, transpose_b)), -2, axis)


@operator(
    aliases=("linalg_gemm2",),
    gradient=from_kernel,
    check=check(
        S(A(3, 4), A(4, 2)),
        S(A(2, 4, 3), A(2, 4, 2), transpose_a=True, alpha=0.5),
        S(A(4, 2, 3), A(3, 2, 5), axis=0),
        S(A(2, 3), A(4, 3), transpose_b=True),
        ref=_np_gemm2,
        errors=[
            ((A(3, 4), A(3, 2)), {}, "do not fit"),
            ((A(3, ints=3, dtype="int32"), A(3, 2)), {}, "float32 or float64"),
        ],
    ),
)
def _linalg_gemm2(
    A: Tensor, B: Tensor, transpose_a: bool = False, transpose_b: bool = False, alpha: float = 1.0, axis: int = -2
) -> Tensor:
    """Return alpha · op(A) · op(B), where op transposes or not; `axis` is that of the rows (columns stand last)."""
    result = _product("linalg.gemm2", A, B, transpose_a, transpose_b, axis)
    return _back(axis, result * alpha if alpha != 1 else result)


@operator(
    aliases=("linalg_gemm",),
    gradient=from_kernel,
    check=check(
        S(A(3, 4), A(4, 2), A(3, 2)),
        S(A(2, 4, 3), A(2, 4, 2), A(2, 3, 2), transpose_a=True, alpha=0.5, beta=2.0),
        S(A(4, 2, 3), A(3, 2, 5), A(4, 2, 5), axis=0),
        ref=lambda a, b, c, beta=1.0, **k: _np_gemm2(a, b, **k) + beta * c,
        errors=[((A(3, 4), A(4, 2), A(1, 1)), {}, "C does not fit")],
    ),
)
def _linalg_gemm(
    A: Tensor,
    B: Tensor,
    C: Tensor,
    transpose_a: bool = False,
    transpose_b: bool = False,
    alpha: float = 1.0,
    beta: float = 1.0,
    axis: int = -2,
) -> Tensor:
    """Return alpha · op(A) · op(B) + beta · C."""
    result = _back(axis, _product("linalg.gemm", A, B, transpose_a, transpose_b, axis))
    if C.shape != result.shape:
        raise ShapeError(
            explain("linalg.gemm", "C does not fit the product.", expected=tuple(result.shape), received=tuple(C.shape))
        )
    return result * alpha + C * beta


@operator(
    aliases=("linalg_syrk",),
    infer=formula(squared),
    gradient=from_kernel,
    check=check(
        S(A(2, 3)),
        S(A(2, 3), transpose=True, alpha=0.5),
        S(A(2, 3, 4)),
        ref=lambda a, transpose=False, alpha=1.0: alpha * _t(a, transpose) @ _t(a, not transpose),
    ),
)
def _linalg_syrk(A: Tensor, transpose: bool = False, alpha: float = 1.0) -> Tensor:
    """Return alpha · A · Aᵀ, or alpha · Aᵀ · A with `transpose`."""
    _verify("linalg.syrk", A)
    return torch.matmul(A.mT, A) * alpha if transpose else torch.matmul(A, A.mT) * alpha


# ---- triangular matrices
def _triangle(matrix: Tensor, lower: bool) -> Tensor:
    return torch.tril(matrix) if lower else torch.triu(matrix)


def _fits(where: str, a: Tensor, b: Tensor, rightside: bool) -> None:
    _verify(where, a, square=True)
    _verify(where, b)
    if b.shape[-1 if rightside else -2] != a.shape[-1] or a.shape[:-2] != b.shape[:-2]:
        raise ShapeError(
            explain(
                where,
                "The matrices do not fit.",
                expected=f"B with {a.shape[-1]} {'columns' if rightside else 'rows'}",
                received=f"A {tuple(a.shape)}, B {tuple(b.shape)}",
            )
        )


def _np_trmm(
    a: np.ndarray,
    b: np.ndarray,
    transpose: bool = False,
    rightside: bool = False,
    lower: bool = True,
    alpha: float = 1.0,
) -> np.ndarray:
    a = _t(np.tril(a) if lower else np.triu(a), transpose)
    return alpha * (b @ a if rightside else a @ b)


@operator(
    aliases=("linalg_trmm",),
    gradient=from_kernel,
    check=check(
        S(A(3, 3), A(3, 2)),
        S(A(3, 3), A(3, 2), transpose=True, alpha=2.0),
        S(A(2, 3, 3), A(2, 2, 3), rightside=True, lower=False),
        ref=_np_trmm,
        errors=[((A(3, 3), A(2, 3)), {}, "do not fit"), ((A(3, 2), A(3, 2)), {}, "square")],
    ),
)
def _linalg_trmm(
    A: Tensor, B: Tensor, transpose: bool = False, rightside: bool = False, lower: bool = True, alpha: float = 1.0
) -> Tensor:
    """Return alpha · op(A) · B for a triangular A, or alpha · B · op(A) with `rightside`."""
    _fits("linalg.trmm", A, B, rightside)
    a = _triangle(A, lower)
    a = a.mT if transpose else a
    return (torch.matmul(B, a) if rightside else torch.matmul(a, B)) * alpha


def _np_trsm(
    a: np.ndarray,
    b: np.ndarray,
    transpose: bool = False,
    rightside: bool = False,
    lower: bool = True,
    alpha: float = 1.0,
) -> np.ndarray:
    inverse = np.linalg.inv(_t(np.tril(a) if lower else np.triu(a), transpose))
    return alpha * (b @ inverse if rightside else inverse @ b)


@operator(
    aliases=("linalg_trsm",),
    gradient=from_kernel,
    check=check(
        S(A(3, 3, posdef=True), A(3, 2)),
        S(A(3, 3, posdef=True), A(3, 2), transpose=True, alpha=2.0),
        S(A(2, 3, 3, posdef=True), A(2, 2, 3), rightside=True, lower=False),
        ref=_np_trsm,
        rtol=1e-4,
        errors=[((A(3, 3), A(2, 3)), {}, "do not fit")],
    ),
)
def _linalg_trsm(
    A: Tensor, B: Tensor, transpose: bool = False, rightside: bool = False, lower: bool = True, alpha: float = 1.0
) -> Tensor:
    """Solve op(A) · X = alpha · B for X with a triangular A, or X · op(A) = alpha · B with `rightside`."""
    _fits("linalg.trsm", A, B, rightside)
    a, upper = (A.mT, lower) if transpose else (A, not lower)
    return torch.linalg.solve_triangular(a, B * alpha, upper=upper, left=not rightside)


# ---- factorisations
def _np_potrf(a: np.ndarray, lower: bool = True) -> np.ndarray:
    return _t(np.linalg.cholesky(a), not lower)


@operator(
    aliases=("linalg_potrf",),
    infer=same_shape,
    gradient=from_kernel,
    check=check(
        S(A(3, 3, posdef=True), grad=False),
        S(A(2, 3, 3, posdef=True), lower=False, grad=False),
        ref=_np_potrf,
        rtol=1e-4,
        errors=[((-np.eye(3),), {}, "positive definite"), ((A(3, 2),), {}, "square")],
    ),
)
def _linalg_potrf(A: Tensor, lower: bool = True) -> Tensor:
    """Factorise a symmetric positive definite matrix: return the triangular L with L · Lᵀ = A (or Lᵀ, with
    ``lower=False``)."""
    _verify("linalg.potrf", A, square=True)
    try:
        factor = torch.linalg.cholesky(A)
    except torch.linalg.LinAlgError as error:
        raise MXNetError(
            explain(
                "linalg.potrf",
                "The matrix is not symmetric positive definite.",
                received=str(error).split(":")[-1].strip(),
                fix="add a small multiple of the identity, A + 1e-6 * I",
            )
        ) from None
    return factor if lower else factor.mT.contiguous()


def _np_potri(a: np.ndarray, lower: bool = True) -> np.ndarray:
    a = np.tril(a) if lower else np.triu(a)
    return np.linalg.inv(a @ _t(a, True) if lower else _t(a, True) @ a)


@operator(
    aliases=("linalg_potri",),
    infer=same_shape,
    gradient=from_kernel,
    check=check(
        S(A(3, 3, posdef=True)),
        S(A(2, 3, 3, posdef=True), lower=False),
        ref=_np_potri,
        rtol=1e-4,
        atol=1e-5,
        errors=[((A(3, 2),), {}, "square")],
    ),
)
def _linalg_potri(A: Tensor, lower: bool = True) -> Tensor:
    """Return the inverse of A · Aᵀ from its triangular factor A."""
    _verify("linalg.potri", A, square=True)
    factor = _triangle(A, lower)
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device).expand(A.shape)
    inverse = torch.linalg.solve_triangular(factor, identity, upper=not lower)
    return torch.matmul(inverse.mT, inverse) if lower else torch.matmul(inverse, inverse.mT)


def _gelqf_law(inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> bool:
    q, factor = outputs
    rows = np.eye(q.shape[-2])
    return bool(
        np.allclose(factor @ q, inputs[0], atol=1e-5)
        and np.allclose(q @ _t(q, True), rows, atol=1e-5)
        and np.allclose(factor, np.tril(factor))
    )


@operator(
    aliases=("linalg_gelqf",),
    outputs=2,
    gradient=from_kernel,
    check=check(
        S(A(2, 3)),
        S(A(2, 3, 3)),
        ref="unique up to signs: the law checks L · Q = A, Q · Qᵀ = 1 and that L is triangular",
        law=_gelqf_law,
        errors=[((A(3, 2),), {}, "as many columns as rows")],
    ),
)
def _linalg_gelqf(A: Tensor) -> Any:
    """Factorise A = L · Q with orthonormal rows Q and a lower triangular L; returns Q, L."""
    _verify("linalg.gelqf", A)
    if A.shape[-1] < A.shape[-2]:
        raise ShapeError(
            explain("linalg.gelqf", "The matrix must have at least as many columns as rows.", received=tuple(A.shape))
        )
    q, r = torch.linalg.qr(A.mT)
    return q.mT.contiguous(), r.mT.contiguous()


def _syevd_law(inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> bool:
    vectors, values = outputs
    return bool(
        np.allclose(_t(vectors, True) * values[..., None, :] @ vectors, inputs[0], atol=1e-4)
        and (np.diff(values) >= 0).all()
    )


@operator(
    aliases=("linalg_syevd",),
    outputs=2,
    gradient=from_kernel,
    check=check(
        S(A(3, 3, posdef=True), grad=False),
        S(A(2, 3, 3, posdef=True), grad=False),
        ref="unique up to signs: the law checks Uᵀ · diag(L) · U = A",
        law=_syevd_law,
        errors=[((A(3, 2),), {}, "square")],
    ),
)
def _linalg_syevd(A: Tensor) -> Any:
    """Return U and L of a symmetric matrix A = Uᵀ · diag(L) · U: eigenvectors as rows, eigenvalues in ascending
    order."""
    _verify("linalg.syevd", A, square=True)
    values, vectors = torch.linalg.eigh(A)
    return vectors.mT.contiguous(), values


# ---- numbers of a matrix
def _np_one(x: Any) -> np.ndarray:
    return np.asarray(x).reshape(1) if np.ndim(x) == 0 else np.asarray(x)


@operator(
    aliases=("linalg_sumlogdiag",),
    gradient=from_kernel,
    check=check(
        S(A(3, 3, low=0.2, high=2.0)),
        S(A(2, 3, 3, low=0.2, high=2.0)),
        ref=lambda a: _np_one(np.log(np.diagonal(a, 0, -2, -1)).sum(-1)),
    ),
)
def _linalg_sumlogdiag(A: Tensor) -> Tensor:
    """Return the sum of the logarithms of the diagonal: log det of a triangular matrix."""
    _verify("linalg.sumlogdiag", A, square=True)
    return _one(torch.log(torch.diagonal(A, 0, -2, -1)).sum(-1))


@operator(
    aliases=("linalg_det",),
    gradient=from_kernel,
    check=check(
        S(A(3, 3, posdef=True)),
        S(A(2, 3, 3, posdef=True)),
        ref=lambda a: _np_one(np.linalg.det(a)),
        rtol=1e-4,
        errors=[((A(3, 2),), {}, "square")],
    ),
)
def _linalg_det(A: Tensor) -> Tensor:
    """Return the determinant."""
    _verify("linalg.det", A, square=True)
    return _one(torch.linalg.det(A))


@operator(
    aliases=("linalg_slogdet",),
    outputs=2,
    gradient=from_kernel,
    check=check(
        S(A(3, 3, posdef=True)),
        S(A(2, 3, 3, posdef=True)),
        ref=lambda a: tuple(_np_one(x) for x in np.linalg.slogdet(a)),
        rtol=1e-4,
        errors=[((A(3, 2),), {}, "square")],
    ),
)
def _linalg_slogdet(A: Tensor) -> Any:
    """Return sign and logarithm of the absolute value of the determinant."""
    _verify("linalg.slogdet", A, square=True)
    sign, logarithm = torch.linalg.slogdet(A)
    return _one(sign), _one(logarithm)


@operator(
    aliases=("linalg_inverse",),
    infer=same_shape,
    gradient=from_kernel,
    check=check(
        S(A(3, 3, posdef=True)),
        S(A(2, 3, 3, posdef=True)),
        ref=np.linalg.inv,
        rtol=1e-4,
        errors=[((np.zeros((2, 2)),), {}, "singular"), ((A(3, 2),), {}, "square")],
    ),
)
def _linalg_inverse(A: Tensor) -> Tensor:
    """Return the inverse."""
    _verify("linalg.inverse", A, square=True)
    try:
        return torch.linalg.inv(A)
    except torch.linalg.LinAlgError:
        raise MXNetError(
            explain("linalg.inverse", "The matrix is singular: it has no inverse.", received=f"shape {tuple(A.shape)}")
        ) from None


# ---- diagonals and triangles as vectors
def _np_makediag(a: np.ndarray, offset: int = 0) -> np.ndarray:
    size = a.shape[-1] + abs(offset)
    result = np.zeros((*a.shape[:-1], size, size), a.dtype)
    index = np.arange(a.shape[-1])
    result[..., index + max(-offset, 0), index + max(offset, 0)] = a
    return result


@operator(
    aliases=("linalg_extractdiag",),
    gradient=from_kernel,
    view="copy",
    check=check(
        S(A(3, 3)),
        S(A(2, 3, 3), offset=1),
        S(A(3, 3), offset=-2),
        ref=lambda a, offset=0: np.diagonal(a, offset, -2, -1),
        errors=[((A(3, 3),), {"offset": 3}, "no diagonal")],
    ),
)
def _linalg_extractdiag(A: Tensor, offset: int = 0) -> Tensor:
    """Return diagonal `offset` of a square matrix (positive: above the main one) as a vector."""
    _verify("linalg.extractdiag", A, square=True)
    if abs(offset) >= A.shape[-1]:
        raise ShapeError(
            explain(
                "linalg.extractdiag",
                f"There is no diagonal {offset}.",
                expected=f"|offset| < {A.shape[-1]}",
                received=tuple(A.shape),
            )
        )
    return torch.diagonal(A, offset, -2, -1)


@operator(
    aliases=("linalg_makediag",),
    infer=formula(on_diagonal),
    gradient=from_kernel,
    check=check(S(A(3)), S(A(2, 3), offset=1), S(A(2, 3), offset=-1), ref=_np_makediag),
)
def _linalg_makediag(A: Tensor, offset: int = 0) -> Tensor:
    """Return square matrices with the vectors `A` on diagonal `offset` and 0 elsewhere."""
    return torch.diag_embed(A, offset)


def _triangle_indices(size: int, offset: int, lower: bool, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a triangle: on and below diagonal `offset`, row by row, when that is negative (or 0 with
    `lower`); else on and above, column by column, so that transposing a matrix keeps the order."""
    if abs(offset) >= size:
        raise ShapeError(
            explain(where, f"There is no diagonal {offset}.", expected=f"|offset| < {size}", received=offset)
        )
    if offset < 0 or (offset == 0 and lower):
        return np.tril_indices(size, offset)
    columns, rows = np.tril_indices(size, -offset)
    return rows, columns


def _np_maketrian(a: np.ndarray, offset: int = 0, lower: bool = True) -> np.ndarray:
    size = int((np.sqrt(8 * a.shape[-1] + 1) - 1) / 2) + abs(offset)
    below = offset < 0 or (offset == 0 and lower)
    result = np.zeros((*a.shape[:-1], size, size), a.dtype)
    result[..., np.tri(size, k=-abs(offset), dtype=bool)] = a
    return _t(result, not below)


def _np_extracttrian(a: np.ndarray, offset: int = 0, lower: bool = True) -> np.ndarray:
    below = offset < 0 or (offset == 0 and lower)
    return _t(a, not below)[..., np.tri(a.shape[-1], k=-abs(offset), dtype=bool)]


@operator(
    aliases=("linalg_extracttrian",),
    gradient=from_kernel,
    check=check(
        S(A(3, 3)),
        S(A(2, 3, 3), offset=1),
        S(A(3, 3), offset=-1),
        S(A(3, 3), lower=False),
        ref=_np_extracttrian,
        errors=[((A(3, 3),), {"offset": 3}, "no diagonal")],
    ),
)
def _linalg_extracttrian(A: Tensor, offset: int = 0, lower: bool = True) -> Tensor:
    """Return a triangle of a square matrix as a vector: a lower one row by row, an upper one column by column.

    Diagonal `offset` bounds the triangle: above it for a positive offset, below it for a negative one; for 0 `lower`
    decides.
    """
    _verify("linalg.extracttrian", A, square=True)
    rows, columns = _triangle_indices(A.shape[-1], offset, lower, "linalg.extracttrian")
    flat = torch.from_numpy(rows * A.shape[-1] + columns).to(A.device)
    return A.flatten(-2).index_select(-1, flat)


@operator(
    aliases=("linalg_maketrian",),
    gradient=from_kernel,
    check=check(
        S(A(6)),
        S(A(2, 3), offset=1),
        S(A(3), offset=-1),
        S(A(3), lower=False),
        ref=_np_maketrian,
        errors=[((A(2),), {}, "m·\\(m \\+ 1\\) / 2")],
    ),
)
def _linalg_maketrian(A: Tensor, offset: int = 0, lower: bool = True) -> Tensor:
    """Return square matrices with the vectors `A` as a triangle and 0 elsewhere: the inverse of `extracttrian`."""
    count = A.shape[-1]
    base = int(((8 * count + 1) ** 0.5 - 1) / 2 + 0.5)
    if base * (base + 1) // 2 != count:
        raise ShapeError(
            explain(
                "linalg.maketrian",
                "The vector does not fill a triangle.",
                expected="m·(m + 1) / 2 numbers",
                received=count,
            )
        )
    size = base + abs(offset)
    rows, columns = _triangle_indices(size, offset, lower, "linalg.maketrian")
    flat = torch.from_numpy(rows * size + columns).to(A.device)
    result = torch.zeros((*A.shape[:-1], size * size), dtype=A.dtype, device=A.device)
    return result.index_copy(-1, flat, A).unflatten(-1, (size, size))
