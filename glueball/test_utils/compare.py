"""Comparing arrays: which tolerance belongs to which dtype, and assertions that show where and by how much two arrays
differ.

The one idea: an element is wrong when |a - b| > atol + rtol * |b|; its *violation* is the left side divided by the
right one, and a failed assertion names the element with the largest. Tolerances that are not given come from the dtypes
that meet, the coarser wins. Arrays to compare are made in samples.py; whole symbols are compared in symbols.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ndarray import NDArray

__all__ = [
    "almost_equal",
    "assert_allclose",
    "assert_almost_equal",
    "assert_almost_equal_ignore_nan",
    "assert_almost_equal_with_err",
    "assert_exception",
    "checkShapes",
    "collapse_sum_like",
    "compare_ndarray_tuple",
    "default_atols",
    "default_numeric_eps",
    "default_rtols",
    "effective_dtype",
    "get_atol",
    "get_etol",
    "get_rtol",
    "get_tolerance",
    "get_tols",
    "locationError",
    "np_reduce",
    "same",
    "same_array",
]

_EXACT = ("bool", "int8", "uint8", "int32", "uint32", "int64", "uint64")
Tolerance = float | dict[Any, float] | None


def default_rtols() -> dict[np.dtype[Any], float]:
    """Return the default relative tolerance of each dtype.

    >>> default_rtols()[np.dtype("float32")]
    0.0001
    """
    return _per_dtype(1e-2, 1e-4, 1e-5)


def default_atols() -> dict[np.dtype[Any], float]:
    """Return the default absolute tolerance of each dtype."""
    return _per_dtype(1e-1, 1e-3, 1e-20)


def default_numeric_eps() -> dict[np.dtype[Any], float]:
    """Return the default step of a numeric gradient for each floating dtype: powers of two, so that x + eps is
    exact.
    """
    return {np.dtype("float16"): 2.0**-6, np.dtype("float32"): 2.0**-9, np.dtype("float64"): 2.0**-14}


def _per_dtype(half: float, single: float, double: float) -> dict[np.dtype[Any], float]:
    floats = {np.dtype("float16"): half, np.dtype("float32"): single, np.dtype("float64"): double}
    return {**floats, **{np.dtype(name): 0 for name in _EXACT}}


def effective_dtype(dat: Any) -> np.dtype[Any]:
    """Return the dtype whose tolerance applies to `dat` (float64 for plain numbers, float32 for dtypes NumPy does not
    know).
    """
    dtype = getattr(dat, "dtype", np.float64)
    try:
        return np.dtype(dtype)
    except TypeError:
        return np.dtype("float32")


def get_tolerance(dat: Any, tol: Tolerance, default_tol: dict[np.dtype[Any], float]) -> float:
    """Return `tol` when it is a number, else the entry for the dtype of `dat` in `tol` or in `default_tol`."""
    if isinstance(tol, (int, float, np.number)):
        return float(tol)
    dtype = effective_dtype(dat)
    table = {np.dtype(key): value for key, value in tol.items()} if isinstance(tol, dict) else default_tol
    return table.get(dtype, default_tol.get(dtype, 0.0))


def get_tols(x: Any, y: Any, rtol: Tolerance, atol: Tolerance) -> tuple[float, float]:
    """Return (rtol, atol) for comparing `x` with `y`: the larger of both dtypes' tolerances."""
    rtols, atols = default_rtols(), default_atols()
    return (
        max(get_tolerance(x, rtol, rtols), get_tolerance(y, rtol, rtols)),
        max(get_tolerance(x, atol, atols), get_tolerance(y, atol, atols)),
    )


def get_atol(atol: float | None = None, dtype: Any = np.dtype("float64")) -> float:
    """Return `atol`, or the default of `dtype`."""
    return default_atols()[np.dtype(dtype)] if atol is None else atol


def get_rtol(rtol: float | None = None, dtype: Any = np.dtype("float64")) -> float:
    """Return `rtol`, or the default of `dtype`."""
    return default_rtols()[np.dtype(dtype)] if rtol is None else rtol


def get_etol(etol: float | None = None) -> float:
    """Return the share of elements that may be wrong: `etol`, or none."""
    return 0 if etol is None else etol


def _numpy(array: Any) -> np.ndarray[Any, Any]:
    return array.asnumpy() if isinstance(array, NDArray) else np.asarray(array)


def same(a: Any, b: Any) -> bool:
    """Return whether two arrays hold equal values.

    >>> bool(same(np.ones(3), np.ones(3)))
    True
    """
    return np.array_equal(_numpy(a), _numpy(b))


def same_array(array1: NDArray, array2: NDArray) -> bool:
    """Return whether two NDArrays share memory, by writing through one and reading the other. Values are restored."""
    if array1.shape != array2.shape or not same(array1, array2):
        return False
    array1[:] = array1 + 1
    shared = same(array1, array2)
    array1[:] = array1 - 1
    return shared


def almost_equal(
    a: Any, b: Any, rtol: Tolerance = None, atol: Tolerance = None, equal_nan: bool = False, use_broadcast: bool = True
) -> bool:
    """Return whether two arrays agree within tolerance.

    >>> almost_equal(np.ones(3), np.ones(3) + 1e-9)
    True
    """
    first, second = _numpy(a), _numpy(b)
    rtol, atol = get_tols(a, b, rtol, atol)
    if not use_broadcast and first.shape != second.shape:
        return False
    return bool(np.allclose(first, second, rtol=rtol, atol=atol, equal_nan=equal_nan))


def assert_almost_equal(
    a: Any,
    b: Any,
    rtol: Tolerance = None,
    atol: Tolerance = None,
    names: Sequence[str] = ("a", "b"),
    equal_nan: bool = False,
    use_broadcast: bool = True,
    mismatches: tuple[int, int] = (10, 10),
) -> None:
    """Raise AssertionError unless two arrays agree within tolerance; the message shows the worst elements.

    Parameters
    ----------
    a, b : NDArray, numpy.ndarray or number
    rtol, atol : float or dict of dtype to float, optional
        Defaults depend on the dtypes (`default_rtols`, `default_atols`); the coarser of the two counts.
    names : pair of str
        What the message calls the two.
    mismatches : pair of int
        How many wrong elements the message lists; the second number is accepted for compatibility.
    """
    if not use_broadcast:
        checkShapes(a, b)
    if almost_equal(a, b, rtol, atol, equal_nan=equal_nan):
        return
    first, second = np.broadcast_arrays(_numpy(a), _numpy(b))
    rtol, atol = get_tols(a, b, rtol, atol)
    raise AssertionError(_difference(first, second, rtol, atol, tuple(names), equal_nan, mismatches[0]))


def _violations(
    a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], rtol: float, atol: float, equal_nan: bool
) -> np.ndarray[Any, Any]:
    """Return |a - b| / (atol + rtol |b|) for each element; infinite where exactly one is not a number."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(all="ignore"):
        ratio = np.abs(a - b) / (atol + rtol * np.abs(b) + np.finfo(np.float64).tiny)
    ratio[np.isnan(ratio)] = np.inf
    ratio[a == b] = 0
    if equal_nan:
        ratio[np.isnan(a) & np.isnan(b)] = 0
    return ratio


def _difference(
    a: np.ndarray[Any, Any],
    b: np.ndarray[Any, Any],
    rtol: float,
    atol: float,
    names: tuple[str, ...],
    equal_nan: bool,
    shown: int,
) -> str:
    """Return the text of a failed comparison."""
    ratio = _violations(a, b, rtol, atol, equal_nan)
    worst = [np.unravel_index(flat, ratio.shape) for flat in np.argsort(ratio, axis=None)[::-1][:shown]]
    worst = [index for index in worst if ratio[index] > 1] or worst[:1]
    lines = [
        f"{names[0]} and {names[1]} are not equal: {np.mean(ratio > 1):.2%} of the elements differ, the worst by "
        f"{ratio[worst[0]]:.6g} times the tolerance (rtol={rtol:e}, atol={atol:e}).",
        *(locationError(a, b, tuple(int(part) for part in index), names) for index in worst),
        f" ACTUAL: {np.array2string(a, threshold=100)}",
        f" DESIRED: {np.array2string(b, threshold=100)}",
    ]
    return "\n".join(lines)


def locationError(a: Any, b: Any, index: tuple[int, ...], names: Sequence[str], maxError: bool = False) -> str:
    """Return one line that shows the elements of two arrays at `index`."""
    word = "maximum " if maxError else ""
    return f"Location of {word}error: {index}, {names[0]}={_numpy(a)[index]:.8f}, {names[1]}={_numpy(b)[index]:.8f}"


def checkShapes(a: Any, b: Any) -> None:
    """Raise AssertionError unless two arrays have the same shape."""
    if np.shape(_numpy(a)) != np.shape(_numpy(b)):
        raise AssertionError(
            f"Items are not equal: a.shape = {np.shape(_numpy(a))} and b.shape = {np.shape(_numpy(b))} are not equal"
        )


def assert_almost_equal_with_err(
    a: Any,
    b: Any,
    rtol: Tolerance = None,
    atol: Tolerance = None,
    etol: float | None = None,
    names: Sequence[str] = ("a", "b"),
    equal_nan: bool = False,
    mismatches: tuple[int, int] = (10, 10),
) -> None:
    """Like `assert_almost_equal`, but a share of `etol` of the elements may be wrong."""
    first, second = np.broadcast_arrays(_numpy(a), _numpy(b))
    tolerances = get_tols(a, b, rtol, atol)
    wrong = np.mean(_violations(first, second, *tolerances, equal_nan) > 1) if first.size else 0.0
    if wrong > get_etol(etol):
        raise AssertionError(_difference(first, second, *tolerances, tuple(names), equal_nan, mismatches[0]))


def assert_almost_equal_ignore_nan(
    a: Any, b: Any, rtol: Tolerance = None, atol: Tolerance = None, names: Sequence[str] = ("a", "b")
) -> None:
    """Like `assert_almost_equal`, but positions where either is not a number are left out."""
    first, second = np.copy(_numpy(a)), np.copy(_numpy(b))
    hole = np.isnan(first) | np.isnan(second)
    first[hole] = second[hole] = 0
    assert_almost_equal(first, second, rtol, atol, names)


def assert_allclose(a: Any, b: Any, rtol: float = 1e-07, atol: float = 0, equal_nan: bool = True) -> None:
    """Like `numpy.testing.assert_allclose`, for NDArrays too."""
    assert_almost_equal(a, b, rtol=rtol, atol=atol, equal_nan=equal_nan)


def compare_ndarray_tuple(t1: Any, t2: Any, rtol: Tolerance = None, atol: Tolerance = None) -> None:
    """Compare two (nested) tuples of arrays; None equals None."""
    if t1 is None or t2 is None:
        return
    if isinstance(t1, (tuple, list)):
        for first, second in zip(t1, t2, strict=True):
            compare_ndarray_tuple(first, second, rtol, atol)
    else:
        assert_almost_equal(t1, t2, rtol=rtol, atol=atol)


def assert_exception(f: Callable[..., Any], exception_type: type[BaseException], *args: Any, **kwargs: Any) -> None:
    """Raise AssertionError unless ``f(*args, **kwargs)`` raises `exception_type`."""
    try:
        f(*args, **kwargs)
    except exception_type:
        return
    raise AssertionError(f"{getattr(f, '__name__', f)}: expected {exception_type.__name__}, but nothing was raised")


def np_reduce(
    dat: Any, axis: int | Sequence[int] | None, keepdims: bool, numpy_reduce_func: Callable[..., Any]
) -> np.ndarray[Any, Any]:
    """Reduce over several axes with a NumPy function of one axis.

    >>> np_reduce(np.ones((2, 3)), 1, True, np.sum).shape
    (2, 1)
    """
    dat = np.asarray(dat)
    axes = range(dat.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    wanted = sorted(each % dat.ndim for each in axes)
    for each in reversed(wanted):
        dat = numpy_reduce_func(dat, axis=each)
        if keepdims:
            dat = np.expand_dims(dat, each)
    return dat


def collapse_sum_like(a: Any, shape: Sequence[int]) -> np.ndarray[Any, Any]:
    """Sum `a` over the axes that broadcasting from `shape` would have stretched.

    >>> collapse_sum_like(np.ones((2, 3)), (1, 3))
    array([[2., 2., 2.]])
    """
    a = _numpy(a)
    a = a.sum(axis=tuple(range(a.ndim - len(shape))))
    stretched = tuple(axis for axis, size in enumerate(shape) if size == 1 and a.shape[axis] != 1)
    return a.sum(axis=stretched, keepdims=True) if stretched else a
