"""nd.add, nd.maximum, nd.equal …: functions of two arguments, either of which may be a number.

The one idea: a row per function: the broadcasting operator, the operator for a number on the right, and for a number
on the left. The rows serve nd and sym alike.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dispatch import invoke
from ..ops.opdef import lookup
from .ndarray import NDArray

__all__ = ["ROWS", "make"]

# name: (two arrays, number on the right, number on the left)
ROWS: dict[str, tuple[str, str, str]] = {
    "add": ("broadcast_add", "_plus_scalar", "_plus_scalar"),
    "subtract": ("broadcast_sub", "_minus_scalar", "_rminus_scalar"),
    "multiply": ("broadcast_mul", "_mul_scalar", "_mul_scalar"),
    "divide": ("broadcast_div", "_div_scalar", "_rdiv_scalar"),
    "true_divide": ("broadcast_div", "_div_scalar", "_rdiv_scalar"),
    "modulo": ("broadcast_mod", "_mod_scalar", "_rmod_scalar"),
    "power": ("broadcast_power", "_power_scalar", "_rpower_scalar"),
    "maximum": ("broadcast_maximum", "_maximum_scalar", "_maximum_scalar"),
    "minimum": ("broadcast_minimum", "_minimum_scalar", "_minimum_scalar"),
    "hypot": ("broadcast_hypot", "_hypot_scalar", "_hypot_scalar"),
    "equal": ("broadcast_equal", "_equal_scalar", "_equal_scalar"),
    "not_equal": ("broadcast_not_equal", "_not_equal_scalar", "_not_equal_scalar"),
    "greater": ("broadcast_greater", "_greater_scalar", "_lesser_scalar"),
    "greater_equal": ("broadcast_greater_equal", "_greater_equal_scalar", "_lesser_equal_scalar"),
    "lesser": ("broadcast_lesser", "_lesser_scalar", "_greater_scalar"),
    "lesser_equal": ("broadcast_lesser_equal", "_lesser_equal_scalar", "_greater_equal_scalar"),
    "logical_and": ("broadcast_logical_and", "_logical_and_scalar", "_logical_and_scalar"),
    "logical_or": ("broadcast_logical_or", "_logical_or_scalar", "_logical_or_scalar"),
    "logical_xor": ("broadcast_logical_xor", "_logical_xor_scalar", "_logical_xor_scalar"),
}
_NUMBERS = (bool, int, float, np.number, np.bool_)
_PYTHON: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide, "true_divide": np.divide,
    "modulo": np.mod, "power": np.power, "maximum": np.maximum, "minimum": np.minimum, "hypot": np.hypot,
    "equal": np.equal, "not_equal": np.not_equal, "greater": np.greater, "greater_equal": np.greater_equal,
    "lesser": np.less, "lesser_equal": np.less_equal, "logical_and": np.logical_and, "logical_or": np.logical_or,
    "logical_xor": np.logical_xor}


def make(name: str) -> Callable[[Any, Any], Any]:
    """Return the function of a row."""
    arrays, right, left = ROWS[name]

    def function(lhs: Any, rhs: Any) -> Any:
        if isinstance(rhs, _NUMBERS):
            if isinstance(lhs, _NUMBERS):
                return _PYTHON[name](lhs, rhs).item()
            return invoke(lookup(right), (lhs,), {"scalar": rhs})
        if isinstance(lhs, _NUMBERS):
            return invoke(lookup(left), (rhs,), {"scalar": lhs})
        return invoke(lookup(arrays), (lhs, rhs), {})

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"Compute {name.replace('_', ' ')} of two arrays or of an array and a number, stretching axes of size 1."
    )
    return function


def install(namespace: dict[str, Any]) -> list[str]:
    """Put every function into a module's namespace; returns the names."""
    for name in ROWS:
        namespace[name] = make(name)
    return list(ROWS)


def histogram(a: NDArray, bins: Any = 10, range: Any = None) -> Any:
    """Return (counts, edges) of the values; `bins` is a number of equal bins or an array of edges."""
    if isinstance(bins, NDArray):
        return tuple(invoke(lookup("_histogram"), (a, bins), {}))
    low_high = range if range is not None else (float(a.min().asscalar()), float(a.max().asscalar()))
    return tuple(invoke(lookup("_histogram"), (a,), {"bin_cnt": int(bins), "range": low_high}))


def split_v2(ary: Any, indices_or_sections: Any, axis: int = 0, squeeze_axis: bool = False) -> Any:
    """Split along an axis into equal sections (a number) or before the given indices (a tuple)."""
    if isinstance(indices_or_sections, int):
        attrs: dict[str, Any] = {"indices": (), "sections": indices_or_sections}
    else:
        attrs = {"indices": (0, *indices_or_sections), "sections": 0}
    return invoke(lookup("_split_v2"), (ary,), {**attrs, "axis": axis, "squeeze_axis": squeeze_axis})
