"""Arithmetic of an array with a number: what `x + 2`, `2 / x`, `x ** 3` become.

The one idea: the number is cast to the array's type (an int32 array times 0.5 is 0, uint8 wraps around), so results
keep the type. `_r…` variants have the number on the left. Comparisons with a number are in comparison.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from .attributes import Number
from .elementwise import floor
from .opdef import REQUIRED, Grad, Tensor, Value, lookup, operator
from .rules.check import A, Check, S, check
from .rules.infer import same_shape

_NARROW = {
    torch.uint8: (0, 256),
    torch.int8: (-128, 256),
    torch.int16: (-32768, 65536),
}  # lowest value, number of values


def cast_scalar(data: Tensor, scalar: Any) -> Any:
    """Return the number as the array's type sees it: integers truncate, narrow ones wrap around."""
    if data.dtype.is_floating_point:
        return scalar
    whole = int(scalar)
    if data.dtype in _NARROW:
        low, count = _NARROW[data.dtype]
        return (whole - low) % count + low
    return whole


def _samples(ref: Any, scalar: float = 1.5, low: float = -2.0, high: float = 2.0, ints: bool = True) -> Check:
    samples = [
        S(A(2, 3, low=low, high=high), scalar=scalar),
        S(A(0, 3), scalar=scalar),
        S(A(1, low=low, high=high), scalar=-scalar if low < 0 else scalar),
    ]
    if ints:
        samples.append(S(A(2, 3, ints=5, dtype="int32"), scalar=2.7, grad=False))
    return check(
        *samples,
        ref=lambda x, scalar: np.asarray(ref(x, scalar if x.dtype.kind == "f" else int(scalar))).astype(x.dtype),
        errors=[((A(2),), {}, "scalar")],
    )


@operator(
    aliases=("_PlusScalar", "_scatter_plus_scalar"), infer=same_shape, check=_samples(lambda x, scalar: x + scalar)
)
def _plus_scalar(data: Tensor, scalar: Number = REQUIRED, is_int: bool = True) -> Tensor:
    """Compute data + scalar."""
    return torch.add(data, cast_scalar(data, scalar))


@_plus_scalar.grad
def _(c: Grad) -> Value:
    return c.g


@operator(
    aliases=("_MinusScalar", "_scatter_minus_scalar"), infer=same_shape, check=_samples(lambda x, scalar: x - scalar)
)
def _minus_scalar(data: Tensor, scalar: Number = REQUIRED, is_int: bool = True) -> Tensor:
    """Compute data - scalar."""
    return torch.sub(data, cast_scalar(data, scalar))


@_minus_scalar.grad
def _(c: Grad) -> Value:
    return c.g


@operator(aliases=("_RMinusScalar",), infer=same_shape, check=_samples(lambda x, scalar: scalar - x))
def _rminus_scalar(data: Tensor, scalar: Number = REQUIRED, is_int: bool = True) -> Tensor:
    """Compute scalar - data."""
    return torch.rsub(data, cast_scalar(data, scalar))


@_rminus_scalar.grad
def _(c: Grad) -> Value:
    return c.g * -1


@operator(aliases=("_MulScalar",), infer=same_shape, check=_samples(lambda x, scalar: x * scalar))
def _mul_scalar(data: Tensor, scalar: Number = REQUIRED, is_int: bool = True) -> Tensor:
    """Compute data * scalar."""
    return torch.mul(data, cast_scalar(data, scalar))


@_mul_scalar.grad
def _(c: Grad) -> Value:
    return c.g * c.attrs["scalar"]


def _divide(left: Any, right: Any, exact: bool) -> Tensor:
    """Divide; integers drop the fraction."""
    return torch.div(left, right) if exact else torch.div(left, right, rounding_mode="trunc")


def _np_divide(x: Any, y: Any) -> Any:
    return np.trunc(np.divide(x, y))


@operator(
    aliases=("_DivScalar",),
    infer=same_shape,
    check=_samples(lambda x, scalar: x / scalar if x.dtype.kind == "f" else _np_divide(x, scalar)),
)
def _div_scalar(data: Tensor, scalar: Number = REQUIRED, is_int: bool = True) -> Tensor:
    """Compute data / scalar; integers drop the fraction."""
    return _divide(data, cast_scalar(data, scalar), data.dtype.is_floating_point)


@_div_scalar.grad
def _(c: Grad) -> Value:
    return c.g / c.attrs["scalar"]


@operator(aliases=("_RDivScalar",), infer=same_shape, check=_samples(lambda x, scalar: scalar / x, low=0.5, ints=False))
def _rdiv_scalar(data: Tensor, scalar: Number = REQUIRED, is_int: bool = True) -> Tensor:
    """Compute scalar / data; integers drop the fraction."""
    if data.dtype.is_floating_point:
        return torch.mul(torch.reciprocal(data), scalar)
    return torch.div(torch.full_like(data, cast_scalar(data, scalar)), data, rounding_mode="trunc")


@_rdiv_scalar.grad
def _(c: Grad) -> Value:
    return c.g * c.out / (c.x * -1)


@operator(aliases=("_ModScalar",), infer=same_shape, check=_samples(np.mod))
def _mod_scalar(data: Tensor, scalar: Number = REQUIRED, is_int: bool = True) -> Tensor:
    """Compute the remainder of data / scalar, with the sign of scalar; 0 when scalar is 0."""
    divisor = cast_scalar(data, scalar)
    return torch.remainder(data, divisor) if divisor else torch.zeros_like(data)


@_mod_scalar.grad
def _(c: Grad) -> Value:
    return c.g


@operator(
    aliases=("_RModScalar",),
    infer=same_shape,
    own_gradient=True,
    check=_samples(lambda x, scalar: np.mod(scalar, x), low=0.8, ints=False),
)
def _rmod_scalar(data: Tensor, scalar: Number = REQUIRED, is_int: bool = True) -> Tensor:
    """Compute the remainder of scalar / data, with the sign of data; 0 where data is 0."""
    whole = torch.remainder(torch.full_like(data, cast_scalar(data, scalar)), torch.where(data == 0, 1, data))
    return torch.where(data == 0, 0, whole)


@_rmod_scalar.grad
def _(c: Grad) -> Value:
    return c.g * floor(c.attrs["scalar"] / c.x) * -1


@operator(
    aliases=("_PowerScalar",),
    infer=same_shape,
    check=check(
        S(A(2, 3, low=0.3, high=2), scalar=1.5),
        S(A(2, 3), scalar=2),
        S(A(2, 3), scalar=3.0),
        S(A(0, 3), scalar=2.0),
        S(A(2, 2), scalar=1),
        S(A(2, 2), scalar=0),
        S(A(2, 3, ints=5, dtype="int32"), scalar=2, grad=False),
        ref=lambda x, scalar: x**scalar,
    ),
)
def _power_scalar(data: Tensor, scalar: Number = REQUIRED, is_int: bool = True) -> Tensor:
    """Compute data ** scalar."""
    if data.dtype.is_floating_point:
        return torch.pow(data, scalar)
    return torch.pow(data.to(torch.float64), scalar).to(data.dtype)


@_power_scalar.grad
def _(c: Grad) -> Value:
    exponent = c.attrs["scalar"]
    if exponent == 0:
        return c.g * 0
    if exponent == 2:
        return c.g * c.x * 2
    return c.g * c.x ** (exponent - 1) * exponent


@operator(
    aliases=("_RPowerScalar",),
    infer=same_shape,
    check=_samples(lambda x, scalar: np.power(np.abs(scalar), x), low=0.1, ints=False),
)
def _rpower_scalar(data: Tensor, scalar: Number = REQUIRED, is_int: bool = True) -> Tensor:
    """Compute scalar ** data."""
    if data.dtype.is_floating_point:
        return torch.pow(scalar, data)
    return torch.pow(float(scalar), data.to(torch.float64)).to(data.dtype)


@_rpower_scalar.grad
def _(c: Grad) -> Value:
    base = c.attrs["scalar"]
    return c.g * c.out * (math.log(base) if base > 0 else math.nan if base < 0 else 0.0)


@operator(aliases=("_MaximumScalar",), infer=same_shape, check=_samples(np.maximum, scalar=0.5))
def _maximum_scalar(data: Tensor, scalar: Number = REQUIRED, is_int: bool = True) -> Tensor:
    """Compute the greater of data and scalar; where they are equal the gradient is handed on."""
    return torch.clamp_min(data, cast_scalar(data, scalar))


@_maximum_scalar.grad
def _(c: Grad) -> Value:
    return lookup("_where_equal")(c.g, c.x, c.out)


@operator(aliases=("_MinimumScalar",), infer=same_shape, check=_samples(np.minimum, scalar=0.5))
def _minimum_scalar(data: Tensor, scalar: Number = REQUIRED, is_int: bool = True) -> Tensor:
    """Compute the smaller of data and scalar; where they are equal the gradient is handed on."""
    return torch.clamp_max(data, cast_scalar(data, scalar))


@_minimum_scalar.grad
def _(c: Grad) -> Value:
    return lookup("_where_equal")(c.g, c.x, c.out)


@operator(aliases=("_HypotScalar",), infer=same_shape, check=_samples(np.hypot, ints=False))
def _hypot_scalar(data: Tensor, scalar: Number = REQUIRED, is_int: bool = True) -> Tensor:
    """Compute sqrt(data² + scalar²)."""
    if data.dtype.is_floating_point:
        return torch.hypot(data, torch.full_like(data, scalar))
    return torch.hypot(data.to(torch.float64), torch.full_like(data, scalar, dtype=torch.float64)).to(data.dtype)


@_hypot_scalar.grad
def _(c: Grad) -> Value:
    return c.g * c.x / c.out
