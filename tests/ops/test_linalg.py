"""Linear algebra beyond the operator matrix: gradients of symmetric factorisations, and identities as laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball import autograd, nd
from glueball.base.errors import DTypeError

F64 = "float64"
sizes = st.integers(1, 4)
seeds = st.integers(0, 1000)


def positive(size: int, seed: int) -> np.ndarray:
    base = np.random.default_rng(seed).uniform(-1, 1, (size, size))
    return base @ base.T + 2 * np.eye(size)


def matrix(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (rows, columns))


@pytest.mark.parametrize("name", ["potrf", "syevd"])
def test_gradient_along_symmetric_changes(name: str) -> None:
    start, step = positive(4, 1), positive(4, 2)
    operator = getattr(nd.linalg, name)
    weights = [matrix(4, 4, 3), np.arange(1.0, 5.0)][: 1 if name == "potrf" else 2]
    if name == "syevd":
        weights[0] = weights[0] * 0  # eigenvectors are unique up to signs only

    def total(array: nd.NDArray) -> nd.NDArray:
        results = operator(array)
        results = results if isinstance(results, list) else [results]
        return sum(((r * nd.array(w, dtype=F64)).sum() for r, w in zip(results, weights)), nd.zeros((1,), dtype=F64))

    x = nd.array(start, dtype=F64)
    x.attach_grad()
    with autograd.record():
        value = total(x)
    value.backward()
    gradient = x.grad.asnumpy()
    ends = [total(nd.array(start + size * step, dtype=F64)).asscalar() for size in (1e-5, -1e-5)]
    assert np.allclose(gradient, gradient.T)
    assert (gradient * step).sum() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


@settings(max_examples=30)
@given(size=sizes, columns=sizes, seed=seeds, transpose=st.booleans(), lower=st.booleans(), rightside=st.booleans())
def test_a_triangular_solve_undoes_the_product(size: int, columns: int, seed: int, **how: bool) -> None:
    a = nd.array(positive(size, seed), dtype=F64)
    shape = (columns, size) if how["rightside"] else (size, columns)
    b = matrix(*shape, seed + 1)
    product = nd.linalg.trmm(a, nd.array(b, dtype=F64), alpha=2.0, **how)
    assert np.allclose(nd.linalg.trsm(a, product, alpha=0.5, **how).asnumpy(), b)


@settings(max_examples=30)
@given(size=st.integers(1, 4), offset=st.integers(-3, 3), lower=st.booleans(), seed=seeds)
def test_packing_and_unpacking(size: int, offset: int, lower: bool, seed: int) -> None:
    triangle = nd.array(matrix(2, size * (size + 1) // 2, seed), dtype=F64)
    made = nd.linalg.maketrian(triangle, offset=offset, lower=lower)
    assert np.array_equal(nd.linalg.extracttrian(made, offset=offset, lower=lower).asnumpy(), triangle.asnumpy())
    diagonal = nd.array(matrix(2, size, seed), dtype=F64)
    made = nd.linalg.makediag(diagonal, offset=offset)
    assert np.array_equal(nd.linalg.extractdiag(made, offset=offset).asnumpy(), diagonal.asnumpy())


@settings(max_examples=20)
@given(size=sizes, seed=seeds)
def test_factorisations_agree(size: int, seed: int) -> None:
    a = nd.array(positive(size, seed), dtype=F64)
    factor = nd.linalg.potrf(a)
    assert np.allclose(nd.linalg.syrk(factor).asnumpy(), a.asnumpy())
    assert np.allclose(nd.linalg.potri(factor).asnumpy(), nd.linalg.inverse(a).asnumpy())
    logarithm = nd.linalg.slogdet(a)[1].asscalar()
    assert 2 * nd.linalg.sumlogdiag(factor).asscalar() == pytest.approx(logarithm, abs=1e-9)
    assert np.log(nd.linalg.det(a).asscalar()) == pytest.approx(logarithm, abs=1e-9)


def test_half_precision_is_refused_in_words() -> None:
    with pytest.raises(DTypeError, match="float32 or float64"):
        nd.linalg.potrf(nd.ones((2, 2), dtype="float16"))
