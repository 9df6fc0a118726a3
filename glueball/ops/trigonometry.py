"""Sines, cosines and their inverses, hyperbolic ones too, degrees and radians.

The one idea: a line of kernel and a line of gradient each, as in elementwise.py.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from .elementwise import rsqrt, square, through_float
from .opdef import Grad, Tensor, Value, operator
from .rules.check import unary
from .rules.infer import same_shape


@operator(infer=same_shape, method=True, check=unary(np.sin))
def sin(data: Tensor) -> Tensor:
    """Compute the sine element by element (radians)."""
    return torch.sin(data) if data.is_floating_point() else through_float(torch.sin, data)


@sin.grad
def _(c: Grad) -> Value:
    return c.g * cos(c.x)


@operator(infer=same_shape, method=True, check=unary(np.cos))
def cos(data: Tensor) -> Tensor:
    """Compute the cosine element by element (radians)."""
    return torch.cos(data) if data.is_floating_point() else through_float(torch.cos, data)


@cos.grad
def _(c: Grad) -> Value:
    return c.g * sin(c.x) * -1


@operator(infer=same_shape, method=True, check=unary(np.tan, low=-1.2, high=1.2))
def tan(data: Tensor) -> Tensor:
    """Compute the tangent element by element (radians)."""
    return torch.tan(data) if data.is_floating_point() else through_float(torch.tan, data)


@tan.grad
def _(c: Grad) -> Value:
    return c.g * (square(c.out) + 1)


@operator(infer=same_shape, method=True, check=unary(np.arcsin, low=-0.9, high=0.9))
def arcsin(data: Tensor) -> Tensor:
    """Compute the inverse sine element by element (radians); NaN outside [-1, 1]."""
    return torch.asin(data) if data.is_floating_point() else through_float(torch.asin, data)


@arcsin.grad
def _(c: Grad) -> Value:
    return c.g * rsqrt(1 - square(c.x))


@operator(infer=same_shape, method=True, check=unary(np.arccos, low=-0.9, high=0.9))
def arccos(data: Tensor) -> Tensor:
    """Compute the inverse cosine element by element (radians); NaN outside [-1, 1]."""
    return torch.acos(data) if data.is_floating_point() else through_float(torch.acos, data)


@arccos.grad
def _(c: Grad) -> Value:
    return c.g * rsqrt(1 - square(c.x)) * -1


@operator(infer=same_shape, method=True, check=unary(np.arctan))
def arctan(data: Tensor) -> Tensor:
    """Compute the inverse tangent element by element (radians)."""
    return torch.atan(data) if data.is_floating_point() else through_float(torch.atan, data)


@arctan.grad
def _(c: Grad) -> Value:
    return c.g / (square(c.x) + 1)


@operator(infer=same_shape, method=True, check=unary(np.sinh))
def sinh(data: Tensor) -> Tensor:
    """Compute the hyperbolic sine element by element."""
    return torch.sinh(data) if data.is_floating_point() else through_float(torch.sinh, data)


@sinh.grad
def _(c: Grad) -> Value:
    return c.g * cosh(c.x)


@operator(infer=same_shape, method=True, check=unary(np.cosh))
def cosh(data: Tensor) -> Tensor:
    """Compute the hyperbolic cosine element by element."""
    return torch.cosh(data) if data.is_floating_point() else through_float(torch.cosh, data)


@cosh.grad
def _(c: Grad) -> Value:
    return c.g * sinh(c.x)


@operator(infer=same_shape, method=True, check=unary(np.arcsinh))
def arcsinh(data: Tensor) -> Tensor:
    """Compute the inverse hyperbolic sine element by element."""
    return torch.asinh(data) if data.is_floating_point() else through_float(torch.asinh, data)


@arcsinh.grad
def _(c: Grad) -> Value:
    return c.g * rsqrt(square(c.x) + 1)


@operator(infer=same_shape, method=True, check=unary(np.arccosh, low=1.2, high=3.0))
def arccosh(data: Tensor) -> Tensor:
    """Compute the inverse hyperbolic cosine element by element; NaN below 1."""
    return torch.acosh(data) if data.is_floating_point() else through_float(torch.acosh, data)


@arccosh.grad
def _(c: Grad) -> Value:
    return c.g * rsqrt(square(c.x) - 1)


@operator(infer=same_shape, method=True, check=unary(np.arctanh, low=-0.9, high=0.9))
def arctanh(data: Tensor) -> Tensor:
    """Compute the inverse hyperbolic tangent element by element; infinite at ±1."""
    return torch.atanh(data) if data.is_floating_point() else through_float(torch.atanh, data)


@arctanh.grad
def _(c: Grad) -> Value:
    return c.g / (1 - square(c.x))


@operator(infer=same_shape, method=True, check=unary(np.degrees))
def degrees(data: Tensor) -> Tensor:
    """Convert radians to degrees."""
    return torch.rad2deg(data) if data.is_floating_point() else through_float(torch.rad2deg, data)


@degrees.grad
def _(c: Grad) -> Value:
    return c.g * (180 / math.pi)


@operator(infer=same_shape, method=True, check=unary(np.radians))
def radians(data: Tensor) -> Tensor:
    """Convert degrees to radians."""
    return torch.deg2rad(data) if data.is_floating_point() else through_float(torch.deg2rad, data)


@radians.grad
def _(c: Grad) -> Value:
    return c.g * (math.pi / 180)
