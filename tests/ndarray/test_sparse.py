"""Sparse arrays: what they store, that every operator agrees with the dense array, and what is refused."""

from __future__ import annotations

import pickle
import types
from typing import Any

import numpy as np
import pytest

from glueball import autograd, nd
from glueball.base.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError
from glueball.ndarray import sparse

DENSE = np.array([[1, 0, 2, 0], [0, 0, 0, 0], [0, 3, 0, 4]], np.float32)


def make(stype: str) -> Any:
    return nd.array(DENSE).tostype(stype)


def test_csr_stores_values_columns_and_row_starts() -> None:
    x = nd.sparse.csr_matrix(([1, 2, 3, 4], [0, 2, 1, 3], [0, 2, 2, 4]), shape=(3, 4))
    assert (x.stype, x.shape, x.dtype, len(x)) == ("csr", (3, 4), np.float32, 3)
    np.testing.assert_array_equal(x.asnumpy(), DENSE)
    y = nd.sparse.csr_matrix(DENSE)
    for ours in (x, y):
        assert ours.data.asnumpy().tolist() == [1, 2, 3, 4]
        assert ours.indices.asnumpy().tolist() == [0, 2, 1, 3]
        assert ours.indptr.asnumpy().tolist() == [0, 2, 2, 4]


def test_dtypes_follow_arrays_and_are_float32_for_lists() -> None:
    assert nd.sparse.csr_matrix(np.eye(3)).dtype == np.float64
    assert nd.sparse.csr_matrix([[1, 0]]).dtype == np.float32
    assert nd.sparse.csr_matrix(np.eye(3), dtype="float32").dtype == np.float32


def test_shape_is_found_from_coordinates() -> None:
    x = nd.sparse.csr_matrix(([5.0, 7.0], ([1, 0], [0, 2])))
    assert x.asnumpy().tolist() == [[0, 0, 7], [5, 0, 0]]


def test_row_sparse_stores_rows_in_order() -> None:
    x = nd.sparse.row_sparse_array((DENSE[[2, 0]], [2, 0]), shape=(3, 4))
    assert x.indices.asnumpy().tolist() == [0, 2] and x.stype == "row_sparse"
    np.testing.assert_array_equal(x.asnumpy(), DENSE)
    assert x.retain(nd.array([1, 2])).indices.asnumpy().tolist() == [2]
    np.testing.assert_array_equal(x.tostype("csr").asnumpy(), DENSE)


@pytest.mark.parametrize("stype", ["csr", "row_sparse"])
def test_copies_and_conversions(stype: str) -> None:
    import glueball as mx

    x = make(stype)
    for y in (
        x.copy(),
        x.copyto(mx.cpu(1)),
        x.as_in_context(mx.cpu(1)),
        pickle.loads(pickle.dumps(x)),
        x.astype("float64"),
    ):
        assert y.stype == stype
        np.testing.assert_array_equal(y.asnumpy(), DENSE)
    target = nd.zeros((3, 4))
    np.testing.assert_array_equal(x.copyto(target).asnumpy(), DENSE)
    assert type(x.tostype("default")) is nd.NDArray and x.todense().stype == "default"
    for zero in (nd.zeros((2, 3), stype=stype), nd.sparse.empty(stype, (2, 3))):
        assert zero.stype == stype and not zero.asnumpy().any() and zero.shape == (2, 3)


@pytest.mark.parametrize("stype", ["csr", "row_sparse"])
def test_arithmetic_agrees_with_dense_and_keeps_the_kind_where_it_can(stype: str) -> None:
    x, d = make(stype), nd.array(DENSE)
    cases = [
        (x + x, d + d, stype), (x - x, d - d, stype), (x * x, d * d, stype), (x * 2, d * 2, stype),
        (2 * x, d * 2, stype),
        (x / 4, d / 4, stype), (-x, -d, stype), (x.square(), d.square(), stype), (nd.sparse.abs(x), d.abs(), stype),
        (x + 1, d + 1, "default"), (1 - x, 1 - d, "default"), (x + d, d + d, "default"), (d * x, d * d, "default"),
        (nd.exp(x), nd.exp(d), "default"), (nd.sparse.sum(x, axis=0), d.sum(axis=0), "default"),
        (x > 0, d > 0, "default"),
    ]  # fmt: skip
    for ours, dense, kind in cases:
        assert ours.stype == kind
        np.testing.assert_array_equal(ours.asnumpy(), dense.asnumpy())
    x *= 3
    x += d
    assert x.stype == stype
    np.testing.assert_array_equal(x.asnumpy(), DENSE * 4)
    x[:] = 0
    assert x.data.shape[0] == 0


def test_rows_of_csr() -> None:
    x = make("csr")
    np.testing.assert_array_equal(x[1:3].asnumpy(), DENSE[1:3])
    np.testing.assert_array_equal(x[-1].asnumpy(), DENSE[-1:])
    assert x[1:3].stype == "csr" and x[2:1].shape == (0, 4)


@pytest.mark.parametrize("transpose", [False, True])
def test_dot_and_its_gradient_for_the_dense_side(transpose: bool) -> None:
    x, left = make("csr"), DENSE.T if transpose else DENSE
    w = nd.random.normal(shape=(left.shape[1], 5))
    w.attach_grad()
    with autograd.record():
        y = nd.sparse.dot(x, w, transpose_a=transpose)
        loss = (y * y).sum()
    loss.backward()
    np.testing.assert_allclose(y.asnumpy(), left @ w.asnumpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(w.grad.asnumpy(), 2 * left.T @ left @ w.asnumpy(), rtol=1e-4, atol=1e-5)


def test_dot_of_vectors_of_dense_with_csr_and_to_another_kind() -> None:
    x = make("csr")
    np.testing.assert_allclose(nd.sparse.dot(x, nd.ones((4,))).asnumpy(), DENSE.sum(1))
    np.testing.assert_allclose(nd.sparse.dot(nd.ones((2, 3)), x).asnumpy(), np.ones((2, 3)) @ DENSE)
    assert nd.sparse.dot(x, nd.ones((3, 2)), transpose_a=True, forward_stype="row_sparse").stype == "row_sparse"


def test_sources_of_scipy_are_taken() -> None:
    """An object with the interface of scipy.sparse: SciPy itself need not be installed."""
    parts = {"data": DENSE[DENSE != 0], "indices": np.array([0, 2, 1, 3]), "indptr": np.array([0, 2, 2, 4])}
    like = types.SimpleNamespace(**parts, shape=(3, 4), dtype=np.dtype("float32"))
    like.tocsr = lambda: like
    np.testing.assert_array_equal(nd.sparse.csr_matrix(like).asnumpy(), DENSE)
    np.testing.assert_array_equal(nd.sparse.array(like).asnumpy(), DENSE)


def test_saved_as_dense(tmp_path: Any) -> None:
    nd.save(str(tmp_path / "x"), {"x": make("csr")})
    np.testing.assert_array_equal(nd.load(str(tmp_path / "x"))["x"].asnumpy(), DENSE)


def refusals() -> list[tuple[Any, type[Exception], str]]:
    csr, rows = make("csr"), make("row_sparse")
    return [
        (lambda: nd.sparse.csr_matrix(([1.0], [9], [0, 1]), shape=(1, 2)), ShapeError, "outside of the shape"),
        (lambda: nd.sparse.csr_matrix(([1.0], [0], [0, 2]), shape=(1, 2)), ShapeError, "indptr"),
        (lambda: nd.sparse.csr_matrix(([1.0, 2.0], [0], [0, 1]), shape=(1, 2)), ShapeError, "2 values and 1 indices"),
        (lambda: nd.sparse.csr_matrix(([1.0], ([5], [0])), shape=(1, 2)), ShapeError, "row"),
        (lambda: nd.sparse.csr_matrix(np.eye(2), shape=(3, 3)), ShapeError, "differs"),
        (lambda: nd.sparse.row_sparse_array(([[1.0]], [4]), shape=(3, 1)), ShapeError, "outside"),
        (lambda: nd.sparse.row_sparse_array(([[1.0]], [0]), shape=(3, 2)), ShapeError, "do not fit"),
        (lambda: nd.sparse.zeros("coo", (2, 2)), ArgumentError, "Unknown storage type"),
        (lambda: nd.zeros((2, 2, 2), stype="csr"), ShapeError, "matrix"),
        (lambda: nd.sparse.array(np.eye(2)), DTypeError, "not sparse"),
        (lambda: nd.sparse.retain(csr, [0]), DTypeError, "RowSparseNDArray"),
        (lambda: nd.sparse.dot(csr, nd.ones((3, 2))), ShapeError, "rhs with 4 rows"),
        (lambda: csr.attach_grad(), UnsupportedError, "dense"),
        (lambda: csr.__setitem__(0, 1), UnsupportedError, "in place"),
        (lambda: csr[0:3:2], UnsupportedError, "slice"),
        (lambda: csr[7], IndexError, "out of range"),
        (lambda: rows[0], UnsupportedError, "retain"),
        (lambda: nd.zeros((1, 1)).copyto(csr), ShapeError, "differ"),
    ]


@pytest.mark.parametrize("number", range(18))
def test_refusals_say_what_to_do(number: int) -> None:
    call, kind, text = refusals()[number]
    with pytest.raises(kind, match=text):
        call()


def test_public_names() -> None:
    for name in sparse.__all__:
        assert getattr(nd.sparse, name) is getattr(sparse, name)
