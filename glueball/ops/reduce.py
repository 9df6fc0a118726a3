"""Reductions: sum, mean, prod, max, min, argmax, norm, moments, cumulative sums, over axes or over everything.

The one idea: `axis` is None or () for all axes, a number or a tuple; `exclude` takes the others; a reduction over
everything gives the shape (1,), never (). Gradients first put the removed axes back (`_restored`), then stretch.
Every element that ties for a maximum gets the full gradient. The trailing underscores of the functions' names keep
the built-ins `sum`, `max` and `min` usable here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ..base.errors import ArgumentError, explain
from .attributes import Axis, DType, Shape
from .broadcast import _expand_to
from .elementwise import sign
from .opdef import Grad, Tensor, Value, from_kernel, lookup, operator
from .passing import Cast
from .rules.check import A, Check, S, check
from .rules.grad import zero
from .rules.layers import formula
from .rules.shapes import reduced, stretched
from .shape_ops import _reshape_to, product, reverse, several_axes


def reduced_axes(where: str, axis: Any, exclude: bool, rank: int) -> tuple[int, ...]:
    """Return the axes that a reduction removes, counted from the front, in order.

    >>> reduced_axes("sum", (-1,), True, 3)
    (0, 1)
    """
    return _reduced_axes(where, tuple(axis) if type(axis) is list else axis, exclude, rank)


@lru_cache(maxsize=1024)  # the same few calls come again at every step of a training
def _reduced_axes(where: str, axis: Any, exclude: bool, rank: int) -> tuple[int, ...]:
    if axis is None or axis == ():
        return tuple(range(rank))
    axes = several_axes(where, axis, rank)
    return tuple(a for a in range(rank) if (a in axes) != exclude)


def _shaped(result: Tensor) -> Tensor:
    """Return a full reduction in the shape (1,)."""
    return result if result.dim() else result.reshape(1)


def _kept(c: Grad, value: Value, axes: Sequence[int]) -> Value:
    """Return a value of the reduced shape with the removed axes put back as size 1."""
    kept = tuple(1 if a in axes else n for a, n in enumerate(c.shape()))
    return value if kept == c.out_types[0].shape else _reshape_to(value, shape=kept)


def _restored(c: Grad, value: Value, axes: Sequence[int]) -> Value:
    """Return a value of the reduced shape, stretched to the input's shape."""
    shape = c.shape()
    kept = _kept(c, value, axes)
    return kept if all(shape[a] == 1 for a in axes) else _expand_to(kept, shape=shape)


def _axes(c: Grad) -> tuple[int, ...]:
    return reduced_axes(c.op.name, c.attrs["axis"], c.attrs.get("exclude", False), len(c.shape()))


# -- samples and references ------------------------------------------------------------------------------------------


def _np_reduce(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def reference(x: np.ndarray, axis: Any = None, keepdims: bool = False, exclude: bool = False) -> np.ndarray:
        axes = reduced_axes("reference", axis, exclude, x.ndim)
        return np.atleast_1d(function(x, axis=axes, keepdims=keepdims)).astype(x.dtype)

    return reference


def _samples(
    function: Callable[..., Any], empty: bool = True, low: float = -2.0, distinct: bool = False, **options: Any
) -> Check:
    def numbers(*shape: int) -> Any:
        return A(*shape, low=low, high=2.0, distinct=distinct)

    samples = [
        S(numbers(2, 3, 4)),
        S(numbers(2, 3, 4), axis=1),
        S(numbers(2, 3, 4), axis=(0, -1), keepdims=True),
        S(numbers(2, 3, 4), axis=1, exclude=True),
        S(numbers(2, 3), axis=(0, 1)),
        S(numbers(4), axis=0),
        S(numbers(2, 3), keepdims=True),
        S(numbers(3), axis=()),
        S(A(2, 3, ints=9, dtype="int32"), axis=1),
    ]
    if empty:
        samples.append(S(A(0, 3), axis=0))
    return check(
        *samples,
        ref=_np_reduce(function),
        errors=[((A(2, 3),), {"axis": 2}, "axis"), ((A(2, 3),), {"axis": (0, 0)}, "twice")],
        **options,
    )


# -- sums and products -----------------------------------------------------------------------------------------------


@operator(infer=formula(reduced), name="sum", aliases=("sum_axis",), method=True, check=_samples(np.sum))
def sum_(data: Tensor, axis: Axis = None, keepdims: bool = False, exclude: bool = False) -> Tensor:
    """Sum over axes."""
    axes = reduced_axes("sum", axis, exclude, data.dim())
    if not axes:
        return data.clone()
    if data.is_floating_point():
        return _shaped(torch.sum(data, axes, keepdims))
    return _shaped(torch.sum(data, axes, keepdims, dtype=data.dtype))  # torch would widen integers


@sum_.grad
def _(c: Grad) -> Value:
    return _restored(c, c.g, _axes(c))


def _np_mean(x: np.ndarray, axis: Any, keepdims: bool) -> np.ndarray:
    return np.trunc(np.mean(x, axis, keepdims=keepdims)) if x.dtype.kind == "i" else np.mean(x, axis, keepdims=keepdims)


@operator(infer=formula(reduced), method=True, check=_samples(_np_mean, empty=False))
def mean(data: Tensor, axis: Axis = None, keepdims: bool = False, exclude: bool = False) -> Tensor:
    """Average over axes."""
    axes = reduced_axes("mean", axis, exclude, data.dim())
    if not axes:
        return data.clone()
    if data.is_floating_point():
        return _shaped(torch.mean(data, axes, keepdims))
    total = torch.sum(data, axes, keepdims, dtype=torch.int64)
    return _shaped(torch.div(total, product([data.shape[a] for a in axes]), rounding_mode="trunc")).to(data.dtype)


@mean.grad
def _(c: Grad) -> Value:
    axes = _axes(c)
    count = product([c.shape()[a] for a in axes])
    return _restored(c, c.g / count if count != 1 else c.g, axes)


def _product_over(data: Tensor, axes: Sequence[int], keepdims: bool) -> Tensor:
    """Multiply over several axes, one after the other (torch takes one at a time)."""
    for axis in sorted(axes, reverse=True):
        data = torch.prod(data, axis, keepdims, dtype=data.dtype)
    return _shaped(data)


@operator(infer=formula(reduced), method=True, gradient=from_kernel, check=_samples(np.prod, low=0.5))
def prod(data: Tensor, axis: Axis = None, keepdims: bool = False, exclude: bool = False) -> Tensor:
    """Multiply over axes."""
    axes = reduced_axes("prod", axis, exclude, data.dim())
    return _product_over(data, axes, keepdims) if axes else data.clone()


_HOLES = np.array([[1.0, np.nan, 3.0], [2.0, -1.0, np.nan]])


def _with_holes(function: Callable[..., Any]) -> Check:
    return check(
        S(A(2, 3, 4)),
        S(A(2, 3, 4), axis=(0, 2)),
        S(_HOLES, axis=1, grad=False),
        S(_HOLES, grad=False),
        S(A(0, 3), axis=0),
        ref=_np_reduce(function),
    )


@operator(infer=formula(reduced), method=True, check=_with_holes(np.nansum))
def nansum(data: Tensor, axis: Axis = None, keepdims: bool = False, exclude: bool = False) -> Tensor:
    """Sum over axes, NaN counting as 0."""
    axes = reduced_axes("nansum", axis, exclude, data.dim())
    known = torch.where(torch.isnan(data), 0, data)
    return _shaped(torch.sum(known, axes, keepdims, dtype=data.dtype)) if axes else known


@nansum.grad
def _(c: Grad) -> Value:
    return _restored(c, c.g, _axes(c)) * (1 - lookup("_contrib_isnan")(c.x))


@operator(infer=formula(reduced), method=True, gradient=from_kernel, check=_with_holes(np.nanprod))
def nanprod(data: Tensor, axis: Axis = None, keepdims: bool = False, exclude: bool = False) -> Tensor:
    """Multiply over axes, NaN counting as 1."""
    axes = reduced_axes("nanprod", axis, exclude, data.dim())
    known = torch.where(torch.isnan(data), 1, data)
    return _product_over(known, axes, keepdims) if axes else known


@operator(infer=formula(reduced), name="_square_sum", check=_samples(lambda x, **how: np.sum(x * x, **how)))
def _square_sum(data: Tensor, axis: Axis = None, keepdims: bool = False, exclude: bool = False) -> Tensor:
    """Sum the squares over axes."""
    return sum_.kernel(data * data, axis, keepdims, exclude)


@_square_sum.grad
def _(c: Grad) -> Value:
    return _restored(c, c.g, _axes(c)) * c.x * 2


# -- extremes --------------------------------------------------------------------------------------------------------


def _extreme_gradient(c: Grad) -> Value:
    """The full gradient to every element that equals the extreme."""
    axes = _axes(c)
    return lookup("_where_equal")(_kept(c, c.g, axes), c.x, _kept(c, c.out, axes))


_EXTREME_ERRORS = "over an empty axis"


def _nonempty(where: str, data: Tensor, axes: Sequence[int]) -> None:
    if any(data.shape[a] == 0 for a in axes):
        raise ArgumentError(
            explain(
                where,
                "There is no extreme over an empty axis.",
                expected="sizes of at least 1",
                received=tuple(data.shape),
            )
        )


def _extreme_checks(function: Callable[..., Any]) -> Check:
    found = _samples(function, empty=False, distinct=True)
    return check(
        *found.samples, ref=found.reference, errors=[*found.errors, ((A(0, 3),), {"axis": 0}, _EXTREME_ERRORS)]
    )


@operator(
    infer=formula(reduced),
    name="max",
    aliases=("max_axis",),
    method=True,
    own_gradient=True,
    gradient=_extreme_gradient,
    check=_extreme_checks(np.max),
)
def max_(data: Tensor, axis: Axis = None, keepdims: bool = False, exclude: bool = False) -> Tensor:
    """Take the greatest element over axes; all elements that tie get the full gradient."""
    axes = reduced_axes("max", axis, exclude, data.dim())
    _nonempty("max", data, axes)
    return _shaped(torch.amax(data, axes, keepdims)) if axes else data.clone()


@operator(
    infer=formula(reduced),
    name="min",
    aliases=("min_axis",),
    method=True,
    own_gradient=True,
    gradient=_extreme_gradient,
    check=_extreme_checks(np.min),
)
def min_(data: Tensor, axis: Axis = None, keepdims: bool = False, exclude: bool = False) -> Tensor:
    """Take the smallest element over axes; all elements that tie get the full gradient."""
    axes = reduced_axes("min", axis, exclude, data.dim())
    _nonempty("min", data, axes)
    return _shaped(torch.amin(data, axes, keepdims)) if axes else data.clone()


def _np_arg(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def reference(x: np.ndarray, axis: int | None = None, keepdims: bool = False) -> np.ndarray:
        return np.atleast_1d(function(x, axis=axis, keepdims=keepdims)).astype(x.dtype)

    return reference


def _arg_checks(function: Callable[..., Any]) -> Check:
    return check(
        S(A(2, 3, 4)),
        S(A(2, 3, 4), axis=1),
        S(A(2, 3, 4), axis=-1, keepdims=True),
        S(A(3, 4), keepdims=True),
        S(A(4, 6, ints=3), axis=1),
        S(A(4, 6, ints=3, dtype="int32"), axis=0),
        S(A(4), axis=0),
        ref=_np_arg(function),
        errors=[((A(2, 3),), {"axis": 2}, "axis"), ((A(0, 3),), {"axis": 0}, _EXTREME_ERRORS)],
    )


def _arg(where: str, function: Callable[..., Tensor], data: Tensor, axis: int | None, keepdims: bool) -> Tensor:
    axes = reduced_axes(where, axis, False, data.dim())
    _nonempty(where, data, axes)
    return _shaped(function(data, axes[0] if axis is not None else None, keepdims)).to(data.dtype)


@operator(method=True, gradient=zero, check=_arg_checks(np.argmax))
def argmax(data: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Find the index of the greatest element, the first of several, in the data's own type."""
    return _arg("argmax", torch.argmax, data, axis, keepdims)


@operator(method=True, gradient=zero, check=_arg_checks(np.argmin))
def argmin(data: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Find the index of the smallest element, the first of several, in the data's own type."""
    return _arg("argmin", torch.argmin, data, axis, keepdims)


@operator(
    method=True,
    gradient=zero,
    check=check(
        S(A(2, 3)), S(A(2, 3, 4)), ref=lambda x: np.argmax(x, axis=1).astype(x.dtype), errors=[((A(3),), {}, "axis")]
    ),
)
def argmax_channel(data: Tensor) -> Tensor:
    """Find the index of the greatest element along axis 1, in the data's own type."""
    return _arg("argmax_channel", torch.argmax, data, 1, False)


# -- norms and moments -----------------------------------------------------------------------------------------------


def _np_norm(
    x: np.ndarray, ord: int = 2, axis: Any = None, keepdims: bool = False, out_dtype: Any = None
) -> np.ndarray:
    axes = reduced_axes("reference", axis, False, x.ndim)
    size = (
        np.sum(np.abs(x), axis=axes, keepdims=keepdims)
        if ord == 1
        else np.sqrt(np.sum(x * x, axis=axes, keepdims=keepdims))
    )
    return np.atleast_1d(size)


@operator(
    method=True,
    check=check(
        S(A(2, 3, 4)),
        S(A(2, 3, 4), axis=1),
        S(A(2, 3, 4), ord=1, axis=(0, 1), keepdims=True),
        S(A(2, 3), ord=1),
        S(A(3), axis=0),
        S(A(0, 3), axis=0, grad=False),
        S(A(2, 3), axis=1, out_dtype="float64"),
        ref=_np_norm,
        errors=[((A(2),), {"ord": 3}, "1 or 2"), ((A(2),), {"axis": 1}, "axis")],
    ),
)
def norm(
    data: Tensor, ord: int = 2, axis: Axis = None, out_dtype: DType | None = None, keepdims: bool = False
) -> Tensor:
    """Compute the sum of magnitudes (ord=1) or the Euclidean length (ord=2) over axes.

    The gradient at a zero vector is 0.
    """
    if ord not in (1, 2):
        raise ArgumentError(explain("norm", "There is no such order.", expected="ord = 1 or 2", received=ord))
    axes = reduced_axes("norm", axis, False, data.dim())
    if data.is_floating_point():
        return _shaped(torch.linalg.vector_norm(data, ord, axes, keepdims, dtype=out_dtype))
    return _shaped(torch.linalg.vector_norm(data.to(torch.float64), ord, axes, keepdims)).to(out_dtype or data.dtype)


@norm.grad
def _(c: Grad) -> Value:
    axes, kind = _axes(c), c.in_types[0].dtype
    grad = c.g
    if c.out_types[0].dtype is not kind:
        grad = Cast(grad, dtype=kind)
    if c.attrs["ord"] == 1:
        return _restored(c, grad, axes) * sign(c.x)
    length = Cast(c.out, dtype=kind) if c.out_types[0].dtype is not kind else c.out
    return _restored(c, _ratio(grad, length), axes) * c.x


@operator(
    infer=formula(stretched),
    check=check(
        S(A(2, 3), A(2, 3, low=0.5)),
        S(np.array([1.0, 2.0]), np.array([0.0, 2.0]), grad=False),
        ref=lambda a, b: np.where(b == 0, 0, a / np.where(b == 0, 1, b)),
    )
)
def _ratio(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Compute lhs / rhs, and 0 where rhs is 0 (so that the gradient of a norm at 0 is 0, not NaN)."""
    none = rhs == 0
    return torch.where(none, 0, lhs / torch.where(none, 1, rhs))


@_ratio.grad
def _(c: Grad) -> Value:
    share = _ratio(c.g, c.ins[1])
    return share, share * c.out * -1


def _np_moments(x: np.ndarray, axes: Any, keepdims: bool = False) -> tuple[np.ndarray, ...]:
    return tuple(np.atleast_1d(f(x, axis=tuple(axes), keepdims=keepdims)) for f in (np.mean, np.var))


@operator(
    outputs=2,
    output_names=("mean", "var"),
    check=check(
        S(A(2, 3, 4), axes=(0, 1)),
        S(A(2, 3), axes=(0,), keepdims=True),
        S(A(2, 3), axes=(0, 1)),
        ref=_np_moments,
        errors=[((A(2, 3),), {}, "axes"), ((A(2, 3),), {"axes": (2,)}, "axis")],
    ),
)
def moments(data: Tensor, axes: Shape | None = None, keepdims: bool = False) -> tuple[Tensor, Tensor]:
    """Compute mean and (biased) variance over axes."""
    if not axes:
        raise ArgumentError(
            explain(
                "moments",
                "The axes are missing.",
                expected="axes=(...), all of them for the moments of everything",
                received=axes,
            )
        )
    over = reduced_axes("moments", axes, False, data.dim())
    variance, average = torch.var_mean(data, over, correction=0, keepdim=keepdims)
    return _shaped(average), _shaped(variance)


@moments.grad
def _(c: Grad) -> Value:
    axes = reduced_axes("moments", c.attrs["axes"], False, len(c.shape()))
    count = product([c.shape()[a] for a in axes])
    parts = []
    if c.grads[0] is not None:
        parts.append(_restored(c, c.grads[0] / count, axes))
    if c.grads[1] is not None:
        parts.append(_restored(c, c.grads[1] * (2 / count), axes) * (c.x - _restored(c, c.outs[0], axes)))
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _np_cumsum(x: np.ndarray, axis: int | None = None, dtype: Any = None) -> np.ndarray:
    return np.cumsum(x, axis, dtype or x.dtype)


@operator(
    name="_np_cumsum",
    aliases=("cumsum",),
    check=check(
        S(A(2, 3), axis=1),
        S(A(2, 3), axis=-2),
        S(A(2, 3)),
        S(A(0, 3), axis=0),
        S(A(2, 3), dtype="float64"),
        S(A(2, 3, ints=5, dtype="int32"), dtype="float32"),
        S(A(2, 3, ints=9, dtype="int32"), axis=0),
        ref=_np_cumsum,
        errors=[((A(2, 3),), {"axis": 2}, "axis")],
    ),
)
def cumsum(a: Tensor, axis: int | None = None, dtype: DType | None = None) -> Tensor:
    """Add up along an axis; without axis, along the flattened array."""
    if axis is None:
        return torch.cumsum(a.reshape(-1), 0, dtype=dtype or a.dtype)
    return torch.cumsum(a, several_axes("cumsum", axis, a.dim())[0], dtype=dtype or a.dtype)


@cumsum.grad
def _(c: Grad) -> Value:
    kind = c.in_types[0].dtype
    axis = 0 if c.attrs["axis"] is None else several_axes("cumsum", c.attrs["axis"], len(c.shape()))[0]
    back = reverse(cumsum(reverse(c.g, axis=(axis,)), axis=axis), axis=(axis,))
    if c.attrs["axis"] is None:
        back = _reshape_to(back, shape=c.shape())
    return back if c.out_types[0].dtype is kind else Cast(back, dtype=kind)
