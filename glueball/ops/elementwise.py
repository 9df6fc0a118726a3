"""Functions of one array, element by element: exp, log, roots, relu, sigmoid, rounding, gamma, … .

The one idea: a line of kernel and a line of gradient each; shapes and dtypes pass through (`same_shape`), so integers
are computed in floating point and truncated back. Sines and their kin are in trigonometry.py, functions that hand the
data on unchanged in passing.py, comparisons and arithmetic of two arrays in broadcast.py, with a number in scalar.py,
activations with parameters in activation.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from ..base import aten
from ..base.errors import ArgumentError, explain
from .opdef import REQUIRED, Grad, Tensor, Value, from_kernel, lookup, operator
from .rules.check import A, S, binary, check, unary
from .rules.emit import text
from .rules.grad import zero
from .rules.infer import elementwise, same_shape


def through_float(function: Callable[[Tensor], Tensor], data: Tensor) -> Tensor:
    """Apply a function that needs floating point to integers: the result is truncated to the data's own type."""
    return function(data.to(torch.float64)).to(data.dtype)


def _np_sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# -- activations without parameters ----------------------------------------------------------------------------------


@operator(
    emit=text("torch.relu({0})"),
    infer=same_shape,
    method=True,
    inplace="{0}.relu_()",
    check=unary(lambda x: np.maximum(x, 0)),
)
def relu(data: Tensor) -> Tensor:
    """Compute max(data, 0) element by element; the gradient at 0 is 0."""
    return torch.relu(data)


@relu.grad
def _(c: Grad) -> Value:
    return _relu_backward(c.g, c.out)


@operator(
    infer=elementwise,
    gradient=from_kernel,
    nondiff=("result",),
    check=binary(lambda g, y: g * (y > 0), broadcast=False),
)
def _relu_backward(grad: Tensor, result: Tensor) -> Tensor:
    """Compute grad where out > 0, else 0: the gradient of relu from its result."""
    return aten.threshold_backward(grad, result, 0)


@operator(infer=same_shape, method=True, inplace="{0}.sigmoid_()", check=unary(_np_sigmoid))
def sigmoid(data: Tensor) -> Tensor:
    """Compute 1 / (1 + exp(-data)) element by element."""
    return torch.sigmoid(data) if data.is_floating_point() else through_float(torch.sigmoid, data)


@sigmoid.grad
def _(c: Grad) -> Value:
    return _sigmoid_backward(c.g, c.out)


@operator(infer=elementwise, gradient=from_kernel, check=binary(lambda g, y: g * y * (1 - y), broadcast=False))
def _sigmoid_backward(grad: Tensor, result: Tensor) -> Tensor:
    """Compute grad * out * (1 - out): the gradient of sigmoid from its result."""
    return aten.sigmoid_backward(grad, result)


@operator(infer=same_shape, method=True, inplace="{0}.tanh_()", check=unary(np.tanh))
def tanh(data: Tensor) -> Tensor:
    """Compute the hyperbolic tangent element by element."""
    return torch.tanh(data) if data.is_floating_point() else through_float(torch.tanh, data)


@tanh.grad
def _(c: Grad) -> Value:
    return _tanh_backward(c.g, c.out)


@operator(infer=elementwise, gradient=from_kernel, check=binary(lambda g, y: g * (1 - y * y), broadcast=False))
def _tanh_backward(grad: Tensor, result: Tensor) -> Tensor:
    """Compute grad * (1 - out²): the gradient of tanh from its result."""
    return aten.tanh_backward(grad, result)


@operator(infer=same_shape, check=unary(lambda x: x / (1 + np.abs(x))))
def softsign(data: Tensor) -> Tensor:
    """Compute data / (1 + |data|) element by element."""
    return data / (1 + torch.abs(data)) if data.is_floating_point() else through_float(softsign.kernel, data)


@softsign.grad
def _(c: Grad) -> Value:
    return c.g / square(1 + abs(c.x))


@operator(
    infer=same_shape,
    check=check(
        S(A(2, 3)),
        S(A(2, 3, low=-5, high=5), alpha=0.3, beta=0.25),
        S(A(0, 3)),
        ref=lambda x, alpha=0.2, beta=0.5: np.clip(alpha * x + beta, 0, 1),
    ),
)
def hard_sigmoid(data: Tensor, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """Compute max(0, min(1, alpha * data + beta)) element by element."""
    found = torch.nn.functional.hardtanh(data * alpha + beta, 0.0, 1.0)  # no gradient at the edges, unlike clamp
    return found.to(data.dtype)


@hard_sigmoid.grad
def _(c: Grad) -> Value:
    return c.g * (c.out > 0) * (c.out < 1) * c.attrs["alpha"]


# -- exponentials, logarithms, powers --------------------------------------------------------------------------------


@operator(infer=same_shape, method=True, inplace="{0}.exp_()", check=unary(np.exp))
def exp(data: Tensor) -> Tensor:
    """Compute e**data element by element."""
    return torch.exp(data) if data.is_floating_point() else through_float(torch.exp, data)


@exp.grad
def _(c: Grad) -> Value:
    return c.g * c.out


@operator(infer=same_shape, method=True, check=unary(np.expm1))
def expm1(data: Tensor) -> Tensor:
    """Compute e**data - 1 element by element, precise near 0."""
    return torch.expm1(data) if data.is_floating_point() else through_float(torch.expm1, data)


@expm1.grad
def _(c: Grad) -> Value:
    return c.g * (c.out + 1)


@operator(infer=same_shape, method=True, check=unary(np.log, low=0.2))
def log(data: Tensor) -> Tensor:
    """Compute the natural logarithm element by element."""
    return torch.log(data) if data.is_floating_point() else through_float(torch.log, data)


@log.grad
def _(c: Grad) -> Value:
    return c.g / c.x


@operator(infer=same_shape, method=True, check=unary(np.log10, low=0.2))
def log10(data: Tensor) -> Tensor:
    """Compute the logarithm to base 10 element by element."""
    return torch.log10(data) if data.is_floating_point() else through_float(torch.log10, data)


@log10.grad
def _(c: Grad) -> Value:
    return c.g / (c.x * math.log(10))


@operator(infer=same_shape, method=True, check=unary(np.log2, low=0.2))
def log2(data: Tensor) -> Tensor:
    """Compute the logarithm to base 2 element by element."""
    return torch.log2(data) if data.is_floating_point() else through_float(torch.log2, data)


@log2.grad
def _(c: Grad) -> Value:
    return c.g / (c.x * math.log(2))


@operator(infer=same_shape, method=True, check=unary(np.log1p, low=-0.8))
def log1p(data: Tensor) -> Tensor:
    """Compute log(1 + data) element by element, precise near 0."""
    return torch.log1p(data) if data.is_floating_point() else through_float(torch.log1p, data)


@log1p.grad
def _(c: Grad) -> Value:
    return c.g / (c.x + 1)


@operator(infer=same_shape, method=True, check=unary(np.square))
def square(data: Tensor) -> Tensor:
    """Compute data² element by element."""
    return torch.mul(data, data)


@square.grad
def _(c: Grad) -> Value:
    return c.g * c.x * 2


@operator(infer=same_shape, method=True, inplace="{0}.sqrt_()", check=unary(np.sqrt, low=0.2))
def sqrt(data: Tensor) -> Tensor:
    """Compute the square root element by element; the gradient at 0 is infinite."""
    return torch.sqrt(data) if data.is_floating_point() else through_float(torch.sqrt, data)


@sqrt.grad
def _(c: Grad) -> Value:
    return c.g / (c.out * 2)


@operator(infer=same_shape, method=True, check=unary(lambda x: 1 / np.sqrt(x), low=0.2))
def rsqrt(data: Tensor) -> Tensor:
    """Compute 1 / sqrt(data) element by element."""
    return torch.rsqrt(data) if data.is_floating_point() else through_float(torch.rsqrt, data)


@rsqrt.grad
def _(c: Grad) -> Value:
    return c.g * c.out * c.out * c.out * -0.5


def _cube_root(data: Tensor) -> Tensor:
    return torch.sign(data) * torch.pow(torch.abs(data), 1 / 3)


@operator(infer=same_shape, method=True, own_gradient=True, check=unary(np.cbrt, low=0.2))
def cbrt(data: Tensor) -> Tensor:
    """Compute the cube root element by element, negative for negative data; the gradient at 0 is infinite."""
    return _cube_root(data) if data.is_floating_point() else through_float(_cube_root, data)


@cbrt.grad
def _(c: Grad) -> Value:
    return c.g / (square(c.out) * 3)


@operator(infer=same_shape, method=True, own_gradient=True, check=unary(lambda x: 1 / np.cbrt(x), low=0.2))
def rcbrt(data: Tensor) -> Tensor:
    """Compute 1 / cbrt(data) element by element."""
    return torch.reciprocal(_cube_root(data)) if data.is_floating_point() else through_float(rcbrt.kernel, data)


@rcbrt.grad
def _(c: Grad) -> Value:
    return c.g * c.out / (c.x * -3)


@operator(infer=same_shape, method=True, check=unary(lambda x: 1 / x, low=0.4))
def reciprocal(data: Tensor) -> Tensor:
    """Compute 1 / data element by element."""
    return torch.reciprocal(data) if data.is_floating_point() else through_float(torch.reciprocal, data)


@reciprocal.grad
def _(c: Grad) -> Value:
    return negative(c.g * square(c.out))


# -- signs and rounding ----------------------------------------------------------------------------------------------


@operator(infer=same_shape, aliases=("_np_negative",), inplace="{0}.neg_()", check=unary(np.negative))
def negative(data: Tensor) -> Tensor:
    """Compute -data element by element."""
    return torch.neg(data)


@negative.grad
def _(c: Grad) -> Value:
    return negative(c.g)


@operator(infer=same_shape, method=True, inplace="{0}.abs_()", check=unary(np.abs))
def abs(data: Tensor) -> Tensor:
    """Compute |data| element by element; the gradient at 0 is 0."""
    return torch.abs(data)


@abs.grad
def _(c: Grad) -> Value:
    return c.g * sign(c.x)


@operator(infer=same_shape, method=True, gradient=zero, check=unary(np.sign))
def sign(data: Tensor) -> Tensor:
    """Compute -1, 0 or 1 by the sign of each element; the gradient is 0."""
    return torch.sign(data)


def _half_away(data: Tensor) -> Tensor:
    return torch.trunc(data + torch.copysign(torch.full_like(data, 0.5), data))


def _np_round(x: np.ndarray) -> np.ndarray:
    return np.trunc(x + np.copysign(0.5, x))


@operator(
    infer=same_shape,
    method=True,
    gradient=zero,
    check=check(
        S(A(2, 3, low=-3, high=3)), S(np.array([-1.5, -0.5, 0.5, 1.5, 2.5]), grad=False), S(A(0, 3)), ref=_np_round
    ),
)
def round(data: Tensor) -> Tensor:
    """Round to the nearest whole number, halves away from zero; the gradient is 0."""
    return _half_away(data) if data.is_floating_point() else data.clone()


@operator(
    infer=same_shape,
    method=True,
    gradient=zero,
    check=check(
        S(A(2, 3, low=-3, high=3)),
        S(np.array([-1.5, -0.5, 0.5, 1.5, 2.5]), grad=False),
        S(A(0, 3)),
        ref=lambda x: np.ceil(x - 0.5),
    ),
)
def rint(data: Tensor) -> Tensor:
    """Round to the nearest whole number, halves downwards; the gradient is 0."""
    return torch.ceil(data - 0.5) if data.is_floating_point() else data.clone()


@operator(infer=same_shape, method=True, gradient=zero, check=unary(np.ceil))
def ceil(data: Tensor) -> Tensor:
    """Round up to a whole number; the gradient is 0."""
    return torch.ceil(data)


@operator(infer=same_shape, method=True, gradient=zero, check=unary(np.floor))
def floor(data: Tensor) -> Tensor:
    """Round down to a whole number; the gradient is 0."""
    return torch.floor(data)


@operator(infer=same_shape, method=True, gradient=zero, check=unary(np.trunc))
def trunc(data: Tensor) -> Tensor:
    """Drop the fraction; the gradient is 0."""
    return torch.trunc(data)


@operator(infer=same_shape, method=True, gradient=zero, check=unary(np.fix))
def fix(data: Tensor) -> Tensor:
    """Round to the nearest whole number towards zero; the gradient is 0."""
    return torch.trunc(data)


@operator(
    name="_contrib_round_ste", infer=same_shape, own_gradient=True, check=check(S(A(2, 3), grad=False), ref=_np_round)
)
def round_ste(data: Tensor) -> Tensor:
    """Round as `round`, but hand the gradient through unchanged (straight-through estimator)."""
    return _half_away(data)


@round_ste.grad
def _(c: Grad) -> Value:
    return c.g


@operator(
    name="_contrib_sign_ste", infer=same_shape, own_gradient=True, check=check(S(A(2, 3), grad=False), ref=np.sign)
)
def sign_ste(data: Tensor) -> Tensor:
    """Compute the sign, but hand the gradient through unchanged (straight-through estimator)."""
    return torch.sign(data)


@sign_ste.grad
def _(c: Grad) -> Value:
    return c.g


@operator(
    infer=same_shape,
    gradient=zero,
    check=check(S(A(2, 3)), S(A(4, ints=3)), S(A(0, 3)), ref=lambda x: (x == 0).astype(x.dtype)),
)
def logical_not(data: Tensor) -> Tensor:
    """Compute 1 where an element is 0, else 0, in the data's own type."""
    return torch.eq(data, 0).to(data.dtype)


# -- limits ----------------------------------------------------------------------------------------------------------


@operator(
    infer=same_shape,
    method=True,
    check=check(
        S(A(2, 3, low=-3, high=3), a_min=-1.0, a_max=1.0),
        S(A(0, 3), a_min=0.0, a_max=1.0),
        S(A(5, ints=9, dtype="int32"), a_min=2.0, a_max=5.0, grad=False),
        ref=np.clip,
        errors=[((A(2),), {"a_min": 1.0}, "a_max")],
    ),
)
def clip(data: Tensor, a_min: float = REQUIRED, a_max: float = REQUIRED) -> Tensor:
    """Limit every element to [a_min, a_max]; the gradient is handed on inside and at both edges."""
    if data.is_floating_point():
        return torch.clamp(data, a_min, a_max)
    low, high = (_whole(value, data.dtype) for value in (a_min, a_max))
    return torch.clamp(data, low, high)


def _whole(limit: float, dtype: torch.dtype) -> int:
    """Return a limit as the nearest number that an integer type can hold."""
    if dtype is torch.bool:
        return int(bool(limit))
    info = torch.iinfo(dtype)
    if math.isinf(limit):
        return info.min if limit < 0 else info.max
    return max(info.min, min(info.max, int(limit)))


@clip.grad
def _(c: Grad) -> Value:
    return lookup("_where_equal")(c.g, c.x, c.out)


def _np_smooth_l1(x: np.ndarray, scalar: float = 1.0) -> np.ndarray:
    s = scalar * scalar
    return np.where(np.abs(x) < 1 / s, 0.5 * s * x * x, np.abs(x) - 0.5 / s)


@operator(
    infer=same_shape,
    check=check(S(A(2, 3, low=-3, high=3)), S(A(2, 3, low=-3, high=3), scalar=2.0), S(A(0, 3)), ref=_np_smooth_l1),
)
def smooth_l1(data: Tensor, scalar: float = 1.0, is_int: bool = True) -> Tensor:
    """Compute 0.5 (s·x)² where |x| < 1/s², else |x| - 0.5/s², for s = scalar: the Huber loss of box regression."""
    s = scalar * scalar
    size = torch.abs(data)
    return torch.where(size < 1 / s, 0.5 * s * data * data, size - 0.5 / s).to(data.dtype)


@smooth_l1.grad
def _(c: Grad) -> Value:
    return c.g * clip(c.x * (c.attrs["scalar"] ** 2), a_min=-1.0, a_max=1.0)


# -- error and gamma functions ---------------------------------------------------------------------------------------


@operator(infer=same_shape, check=unary(np.vectorize(math.erf, otypes=[float])))
def erf(data: Tensor) -> Tensor:
    """Compute the Gauss error function, 2/sqrt(pi) times the integral of exp(-t²) from 0 to data."""
    return torch.erf(data) if data.is_floating_point() else through_float(torch.erf, data)


@erf.grad
def _(c: Grad) -> Value:
    return c.g * exp(negative(square(c.x))) * (2 / math.sqrt(math.pi))


@operator(
    infer=same_shape,
    check=check(
        S(A(2, 3, low=-0.9, high=0.9)),
        S(A(0, 3)),
        ref="checked through erf, its inverse",
        law=lambda ins, outs, attrs: np.allclose(np.vectorize(math.erf, otypes=[float])(outs[0]), ins[0], atol=1e-5),
    ),
)
def erfinv(data: Tensor) -> Tensor:
    """Compute the inverse of the Gauss error function; infinite at ±1, NaN beyond."""
    return torch.erfinv(data)


@erfinv.grad
def _(c: Grad) -> Value:
    return c.g * exp(square(c.out)) * (math.sqrt(math.pi) / 2)


@operator(infer=same_shape, own_gradient=True, check=unary(np.vectorize(math.gamma, otypes=[float]), low=0.5, high=4.0))
def gamma(data: Tensor) -> Tensor:
    """Compute the gamma function, (n-1)! at whole n; defined for negative data, too."""
    magnitude = torch.exp(torch.lgamma(data))
    # lgamma gives log|gamma|: left of 0 the sign alternates with every whole number
    odd = torch.remainder(torch.floor(data), 2) != 0
    return torch.where((data < 0) & odd, -magnitude, magnitude)


@gamma.grad
def _(c: Grad) -> Value:
    return c.g * c.out * digamma(c.x)


@operator(infer=same_shape, check=unary(np.vectorize(math.lgamma, otypes=[float]), low=0.5, high=4.0))
def gammaln(data: Tensor) -> Tensor:
    """Compute log|gamma(data)| element by element."""
    return torch.lgamma(data)


@gammaln.grad
def _(c: Grad) -> Value:
    return c.g * digamma(c.x)


def _np_digamma(x: np.ndarray) -> np.ndarray:
    result, y = np.zeros_like(x), np.array(x)
    for _ in range(8):  # psi(x) = psi(x + 1) - 1/x, until the asymptotic series is exact enough
        result, y = result - 1 / y, y + 1
    return result + np.log(y) - 1 / (2 * y) - 1 / (12 * y**2) + 1 / (120 * y**4) - 1 / (252 * y**6)


@operator(infer=same_shape, check=unary(_np_digamma, low=0.5, high=4.0))
def digamma(data: Tensor) -> Tensor:
    """Compute the derivative of log(gamma(data)) element by element."""
    return torch.digamma(data)


@digamma.grad
def _(c: Grad) -> Value:
    return c.g * _polygamma(c.x, n=1)


def _np_trigamma(x: np.ndarray, n: int) -> np.ndarray:
    x, step = x.astype(np.float64), 1e-4
    return (_np_digamma(x + step) - _np_digamma(x - step)) / (2 * step)


@operator(
    infer=same_shape,
    check=check(S(A(2, 3, low=0.5, high=4.0), n=1), ref=_np_trigamma, errors=[((A(2),), {"n": -1}, "n")]),
)
def _polygamma(data: Tensor, n: int = REQUIRED) -> Tensor:
    """Compute the n-th derivative of digamma element by element."""
    if n < 0:
        raise ArgumentError(explain("_polygamma", "The order is negative.", expected="n >= 0", received=n))
    return torch.polygamma(n, data)


@_polygamma.grad
def _(c: Grad) -> Value:
    return c.g * _polygamma(c.x, n=c.attrs["n"] + 1)


# -- small compositions ----------------------------------------------------------------------------------------------


@operator(
    name="_contrib_quadratic",
    infer=same_shape,
    check=check(S(A(2, 3), a=1.0, b=2.0, c=3.0), S(A(0, 3)), ref=lambda x, a=0.0, b=0.0, c=0.0: a * x * x + b * x + c),
)
def quadratic(data: Tensor, a: float = 0.0, b: float = 0.0, c: float = 0.0) -> Tensor:
    """Compute a·data² + b·data + c element by element."""
    return (data * data * a + data * b + c).to(data.dtype)


@quadratic.grad
def _(c: Grad) -> Value:
    return c.g * (c.x * (2 * c.attrs["a"]) + c.attrs["b"])


@operator(
    name="_contrib_div_sqrt_dim",
    infer=same_shape,
    check=check(S(A(2, 3)), S(A(2, 3, 4)), ref=lambda x: x / math.sqrt(x.shape[-1])),
)
def div_sqrt_dim(data: Tensor) -> Tensor:
    """Divide by the square root of the last axis' size: the scale of dot-product attention."""
    return (data / math.sqrt(data.shape[-1])).to(data.dtype)


@div_sqrt_dim.grad
def _(c: Grad) -> Value:
    return c.g / math.sqrt(c.shape()[-1])
