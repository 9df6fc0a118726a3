"""Material for tests: random shapes, arrays and matrices, and MNIST.

The one idea: everything follows NumPy's global seed, so `np.random.seed(0)` repeats a whole test. Arrays are compared
in compare.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import ndarray as nd
from ..base.context import Context
from ..base.errors import ArgumentError, explain
from ..ndarray import NDArray

__all__ = [
    "DummyIter",
    "assign_each",
    "assign_each2",
    "create_2d_tensor",
    "create_sparse_array",
    "create_sparse_array_zd",
    "create_vector",
    "default_dtype",
    "get_identity_mat",
    "get_identity_mat_batch",
    "get_mnist",
    "get_mnist_iterator",
    "new_matrix_with_real_eigvals_2d",
    "new_matrix_with_real_eigvals_nd",
    "new_orthonormal_matrix_2d",
    "new_sym_matrix_with_real_eigvals_2d",
    "new_sym_matrix_with_real_eigvals_nd",
    "rand_coord_2d",
    "rand_ndarray",
    "rand_shape_2d",
    "rand_shape_3d",
    "rand_shape_nd",
    "rand_sparse_ndarray",
    "random_arrays",
    "random_sample",
    "random_uniform_arrays",
]

Array = np.ndarray[Any, Any]


def default_dtype() -> type[np.float32]:
    """Return the dtype arrays have when none is given: float32."""
    return np.float32


# ------------------------------------------------------------------------------------------------------- shapes
def rand_shape_nd(num_dim: int, dim: int | Sequence[int] = 10, allow_zero_size: bool = False) -> tuple[int, ...]:
    """Return a random shape with `num_dim` axes of at most `dim` (one number, or one per axis).

    >>> len(rand_shape_nd(3))
    3
    """
    low = 0 if allow_zero_size else 1
    highest = [dim] * num_dim if isinstance(dim, int) else list(dim)
    return tuple(int(np.random.randint(low, high + 1)) for high in highest)


def rand_shape_2d(dim0: int = 10, dim1: int = 10, allow_zero_size: bool = False) -> tuple[int, ...]:
    """Return a random shape of two axes."""
    return rand_shape_nd(2, (dim0, dim1), allow_zero_size)


def rand_shape_3d(dim0: int = 10, dim1: int = 10, dim2: int = 10, allow_zero_size: bool = False) -> tuple[int, ...]:
    """Return a random shape of three axes."""
    return rand_shape_nd(3, (dim0, dim1, dim2), allow_zero_size)


def rand_coord_2d(x_low: int, x_high: int, y_low: int, y_high: int) -> tuple[int, int]:
    """Return a random (row, column) with x_low <= row < x_high and y_low <= column < y_high."""
    return int(np.random.randint(x_low, x_high)), int(np.random.randint(y_low, y_high))


# ------------------------------------------------------------------------------------------------------- arrays
def random_arrays(*shapes: tuple[int, ...]) -> Array | list[Array]:
    """Return normally distributed float32 arrays, one per shape; a single one is not wrapped in a list."""
    arrays = [np.asarray(np.random.randn(*shape), dtype=np.float32) for shape in shapes]
    return arrays[0] if len(arrays) == 1 else arrays


def random_uniform_arrays(
    *shapes: tuple[int, ...], low: float = 0.0, high: float = 1.0, dtype: Any = np.float32
) -> list[Array]:
    """Return uniformly distributed arrays, one per shape."""
    return [np.random.uniform(low, high, size=shape).astype(dtype) for shape in shapes]


def random_sample(population: Sequence[Any], k: int) -> list[Any]:
    """Return `k` distinct elements in their original order."""
    return [population[index] for index in sorted(np.random.permutation(len(population))[:k])]


def rand_ndarray(
    shape: tuple[int, ...],
    stype: str = "default",
    density: float | None = None,
    dtype: Any = None,
    modifier_func: Callable[[float], float] | None = None,
    shuffle_csr_indices: bool = False,
    distribution: str | None = None,
    ctx: Context | None = None,
) -> NDArray:
    """Return a random NDArray: normally distributed when dense, uniform on [-1, 1) with zeros when sparse.

    Parameters
    ----------
    shape : tuple of int
    stype : {"default", "csr", "row_sparse"}
    density : float, optional
        Share of elements (rows for "row_sparse") that are not zero; random by default.
    modifier_func : callable, optional
        Applied to every non-zero element of a sparse array.
    """
    if stype == "default":
        return nd.array(np.random.standard_normal(shape), dtype=dtype or default_dtype(), ctx=ctx)
    return rand_sparse_ndarray(
        shape,
        stype,
        density=density,
        dtype=dtype,
        modifier_func=modifier_func,
        shuffle_csr_indices=shuffle_csr_indices,
        distribution=distribution,
        ctx=ctx,
    )[0]


def rand_sparse_ndarray(
    shape: tuple[int, ...],
    stype: str,
    density: float | None = None,
    dtype: Any = None,
    distribution: str | None = None,
    data_init: float | None = None,
    rsp_indices: Sequence[int] | None = None,
    modifier_func: Callable[[float], float] | None = None,
    shuffle_csr_indices: bool = False,
    ctx: Context | None = None,
) -> tuple[Any, Any]:
    """Return a random sparse NDArray and its parts: (values, indices), or (indptr, indices, data) for "csr"."""
    if distribution not in (None, "uniform"):
        raise ArgumentError(
            explain(
                "rand_sparse_ndarray",
                "Unknown distribution.",
                expected="'uniform' or None",
                received=distribution,
                fix="Leave `distribution` out.",
            )
        )
    density = np.random.rand() if density is None else density
    dense = np.random.uniform(-1, 1, size=shape) if data_init is None else np.full(shape, data_init, dtype=float)
    if modifier_func is not None:
        dense = np.vectorize(modifier_func, otypes=[float])(dense)
    if stype == "row_sparse":
        kept = np.zeros(shape[0], dtype=bool)
        kept[list(rsp_indices) if rsp_indices is not None else np.flatnonzero(np.random.rand(shape[0]) < density)] = (
            True
        )
        dense[~kept] = 0
    else:
        dense[np.random.rand(*shape) >= density] = 0
    array: Any = nd.array(dense, dtype=dtype or default_dtype(), ctx=ctx).tostype(stype)
    if stype == "row_sparse":
        return array, (array.data, array.indices)
    return array, (array.indptr, array.indices, array.data)


def create_sparse_array(
    shape: tuple[int, ...],
    stype: str,
    data_init: float | None = None,
    rsp_indices: Sequence[int] | None = None,
    dtype: Any = None,
    modifier_func: Callable[[float], float] | None = None,
    density: float = 0.5,
    shuffle_csr_indices: bool = False,
) -> Any:
    """Return a random sparse NDArray without its parts."""
    return rand_sparse_ndarray(
        shape,
        stype,
        density=density,
        dtype=dtype,
        data_init=data_init,
        rsp_indices=rsp_indices,
        modifier_func=modifier_func,
    )[0]


def create_sparse_array_zd(
    shape: tuple[int, ...],
    stype: str,
    density: float,
    data_init: float | None = None,
    rsp_indices: Sequence[int] | None = None,
    dtype: Any = None,
    modifier_func: Callable[[float], float] | None = None,
    shuffle_csr_indices: bool = False,
) -> Any:
    """Return a random sparse NDArray whose density may be zero."""
    rows = () if stype == "row_sparse" and density == 0 else rsp_indices
    return create_sparse_array(shape, stype, data_init, rows, dtype, modifier_func, density)


def create_vector(size: int, dtype: Any = np.int64) -> NDArray:
    """Return 0, 1, ..., size - 1."""
    return nd.arange(0, size, dtype=dtype)


def create_2d_tensor(rows: int, columns: int, dtype: Any = np.int64) -> NDArray:
    """Return an array of shape (rows, columns) in which every element is the number of its row."""
    return nd.array(np.repeat(np.arange(rows), columns).reshape(rows, columns), dtype=dtype)


def assign_each(the_input: Any, function: Callable[[Any], Any] | None) -> Array:
    """Return `function` of each element; the input itself when there is no function."""
    array = np.array(the_input)
    return array if function is None else np.vectorize(function, otypes=[array.dtype])(array)


def assign_each2(input1: Any, input2: Any, function: Callable[[Any, Any], Any] | None) -> Array:
    """Return `function` of each pair of elements; a copy of the first input when there is no function."""
    array = np.array(input1)
    return array if function is None else np.vectorize(function, otypes=[array.dtype])(array, np.asarray(input2))


# ----------------------------------------------------------------------------------------------------- matrices
def get_identity_mat(size: int) -> NDArray:
    """Return the identity matrix of shape (size, size)."""
    return nd.array(np.eye(size))


def get_identity_mat_batch(size: int) -> NDArray:
    """Return two identity matrices, shape (2, size, size)."""
    return nd.array(np.stack([np.eye(size)] * 2))


def new_orthonormal_matrix_2d(n: int) -> Array:
    """Return a random orthonormal matrix of shape (n, n)."""
    return np.linalg.qr(np.random.randn(n, n))[0]


def new_matrix_with_real_eigvals_2d(n: int) -> Array:
    """Return a random matrix of shape (n, n) whose eigenvalues are real: a triangular matrix seen in another basis."""
    basis = new_orthonormal_matrix_2d(n)
    return basis @ np.triu(np.random.randn(n, n)) @ basis.T


def new_sym_matrix_with_real_eigvals_2d(n: int) -> Array:
    """Return a random symmetric matrix of shape (n, n)."""
    matrix = np.random.randn(n, n)
    return (matrix + matrix.T) / 2


def new_matrix_with_real_eigvals_nd(shape: tuple[int, ...]) -> Array:
    """Return random matrices with real eigenvalues; the last two sizes of `shape` must be equal."""
    return _stacked(shape, new_matrix_with_real_eigvals_2d)


def new_sym_matrix_with_real_eigvals_nd(shape: tuple[int, ...]) -> Array:
    """Return random symmetric matrices; the last two sizes of `shape` must be equal."""
    return _stacked(shape, new_sym_matrix_with_real_eigvals_2d)


def _stacked(shape: tuple[int, ...], make: Callable[[int], Array]) -> Array:
    return np.stack([make(shape[-1]) for _ in range(int(np.prod(shape[:-2])))]).reshape(shape)


# --------------------------------------------------------------------------------------------------------- data
def get_mnist() -> dict[str, Array]:
    """Return MNIST as float32 images in [0, 1], shape (N, 1, 28, 28), and labels, shape (N,).

    Returns
    -------
    dict
        Keys `train_data`, `train_label`, `test_data`, `test_label`. The files are found as `gluon.data.vision.MNIST`
        finds them.
    """
    from ..gluon.data.vision import MNIST

    found: dict[str, Array] = {}
    for key, train in (("train", True), ("test", False)):
        images, labels = MNIST(train=train)[:]
        pixels = images.asnumpy() if isinstance(images, NDArray) else np.asarray(images)
        found[f"{key}_data"] = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
        found[f"{key}_label"] = np.asarray(labels)
    return found


def get_mnist_iterator(
    batch_size: int, input_shape: tuple[int, ...], num_parts: int = 1, part_index: int = 0
) -> tuple[Any, Any]:
    """Return (training, validation) iterators over MNIST; images are flat when `input_shape` has one axis."""
    from ..io import NDArrayIter

    data = get_mnist()
    iterators = []
    for key in ("train", "test"):
        images = data[f"{key}_data"].reshape((-1, *input_shape))[part_index::num_parts]
        labels = data[f"{key}_label"][part_index::num_parts]
        iterators.append(NDArrayIter(images, labels, batch_size, shuffle=key == "train"))
    return iterators[0], iterators[1]


class DummyIter:
    """An endless iterator that returns the first batch of another again and again, for timing without the cost of
    loading.
    """

    def __init__(self, real_iter: Any) -> None:
        self.real_iter = real_iter
        self.provide_data = real_iter.provide_data
        self.provide_label = real_iter.provide_label
        self.batch_size = real_iter.batch_size
        self.the_batch = next(real_iter)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.the_batch

    next = __next__

    def reset(self) -> None:
        """Do nothing: there is no position."""
