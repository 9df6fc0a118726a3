"""The operator table's elementwise members as expressions.

The one idea: a row per operator, from its attributes and arguments to an expression of the same value and the same
gradient (at ties and corners, too). An operator that is not listed, or a row that returns None for its attributes,
stays with its kernel.

Not here: the operators themselves (glueball/ops).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, TypeAlias

from ...ops.activation import SELU_ALPHA, SELU_SCALE
from . import expression as e
from .expression import Expr

__all__ = ["EXPRESSIONS", "Row"]

Row: TypeAlias = Callable[..., "Expr | None"]  # (attrs, *arguments)


def _softrelu_gated(x: Expr) -> Expr:
    return x * e.tanh(e.softrelu(x))


_ACTIVATIONS: Mapping[str, Callable[[Expr], Expr]] = {
    "relu": e.relu,
    "sigmoid": e.sigmoid,
    "tanh": e.tanh,
    "softrelu": e.softrelu,
    "softsign": e.softsign,
    "log_sigmoid": lambda x: -e.softrelu(-x),
    "mish": _softrelu_gated,
}


def _activation(attrs: Mapping[str, Any], x: Expr) -> Expr | None:
    function = _ACTIVATIONS.get(attrs["act_type"])
    return function(x) if function else None


def _leaky(attrs: Mapping[str, Any], x: Expr, *gamma: Expr) -> Expr | None:
    kind = attrs.get("act_type", "leaky")
    slope = float(attrs.get("slope", 0.25))
    if gamma and kind != "prelu":
        return None
    if kind == "leaky":
        return e.select("gt", x, 0.0, x, x * slope)
    if kind == "elu":
        return e.select("gt", x, 0.0, x, e.expm1(x) * slope)
    if kind == "selu":
        return e.select("gt", x, 0.0, x * SELU_SCALE, e.expm1(x) * (SELU_SCALE * SELU_ALPHA))
    if kind == "gelu":
        return x * 0.5 * (1.0 + e.erf(x * math.sqrt(0.5)))
    return None  # prelu's slopes are arranged by axes, rrelu draws numbers


def _clip(attrs: Mapping[str, Any], x: Expr) -> Expr:
    return e.minimum(e.maximum(x, float(attrs["a_min"])), float(attrs["a_max"]))


def _hard_sigmoid(attrs: Mapping[str, Any], x: Expr) -> Expr:
    line = x * float(attrs.get("alpha", 0.2)) + float(attrs.get("beta", 0.5))
    # no gradient at the edges themselves
    return e.select("le", line, 0.0, 0.0, e.select("ge", line, 1.0, 1.0, line))


def _smooth_l1(attrs: Mapping[str, Any], x: Expr) -> Expr:
    s = float(attrs.get("scalar", 1.0)) ** 2
    size = e.abs(x)
    return e.select("lt", size, 1 / s, x * x * (0.5 * s), size - 0.5 / s)


def _quadratic(attrs: Mapping[str, Any], x: Expr) -> Expr:
    a, b, c = (float(attrs.get(name, 0.0)) for name in "abc")
    return x * x * a + x * b + c


def _scalar(function: Callable[[Expr, float], Expr | None]) -> Row:
    def row(attrs: Mapping[str, Any], x: Expr) -> Expr | None:
        return function(x, float(attrs["scalar"]))

    return row


def _plain(function: Callable[..., Expr]) -> Row:
    def row(attrs: Mapping[str, Any], *arguments: Expr) -> Expr:
        return function(*arguments)

    return row


def _compare(predicate: str) -> Callable[[Any, Any], Expr]:
    return lambda x, y: e.select(predicate, x, y, 1.0, 0.0)


_ONE: Mapping[str, Callable[[Expr], Expr]] = {
    "relu": e.relu, "sigmoid": e.sigmoid, "tanh": e.tanh, "softsign": e.softsign, "exp": e.exp, "expm1": e.expm1,
    "log": e.log, "log1p": e.log1p, "square": e.square, "sqrt": e.sqrt, "rsqrt": e.rsqrt, "reciprocal": e.reciprocal,
    "negative": e.neg, "abs": e.abs, "sign": e.sign, "erf": e.erf, "ceil": e.ceil, "floor": e.floor, "trunc": e.trunc,
    "fix": e.trunc, "rint": lambda x: e.ceil(x - 0.5), "_copy": lambda x: x,
    "logical_not": lambda x: e.select("eq", x, 0.0, 1.0, 0.0),
}  # fmt: skip

_TWO: Mapping[str, Callable[[Any, Any], Expr]] = {
    "add": e.add, "sub": e.sub, "mul": e.mul, "div": e.div,
}  # fmt: skip
_RELATIONS = {
    "equal": "eq", "not_equal": "ne", "greater": "gt", "greater_equal": "ge", "lesser": "lt", "lesser_equal": "le",
}  # fmt: skip

_SCALARS: Mapping[str, Callable[[Expr, float], Expr | None]] = {
    "_plus_scalar": e.add,
    "_minus_scalar": e.sub,
    "_rminus_scalar": lambda x, c: e.sub(c, x),
    "_mul_scalar": e.mul,
    "_div_scalar": e.div,
    "_rdiv_scalar": lambda x, c: e.reciprocal(x) * c,
    "_maximum_scalar": e.maximum,
    "_minimum_scalar": e.minimum,
    "_power_scalar": e.power,
    **{f"_{name}_scalar": _compare(predicate) for name, predicate in _RELATIONS.items()},
}

EXPRESSIONS: dict[str, Row] = {
    **{name: _plain(function) for name, function in _ONE.items()},
    **{f"elemwise_{name}": _plain(function) for name, function in _TWO.items()},
    **{f"broadcast_{name}": _plain(function) for name, function in _TWO.items()},
    **{f"{kind}_{name}": _plain(function) for kind in ("", "broadcast")
       for name, function in (("maximum", e.maximum), ("minimum", e.minimum))},
    **{f"{kind}_{name}": _plain(_compare(predicate)) for kind in ("", "broadcast")
       for name, predicate in _RELATIONS.items()},
    **{name: _scalar(function) for name, function in _SCALARS.items()},
    "add_n": lambda attrs, *xs: reduce(e.add, xs),
    "Activation": _activation,
    "LeakyReLU": _leaky,
    "clip": _clip,
    "hard_sigmoid": _hard_sigmoid,
    "smooth_l1": _smooth_l1,
    "_contrib_quadratic": _quadratic,
    "_where_equal": _plain(lambda g, x, y: e.select("eq", x, y, g, 0.0)),
    "_relu_backward": _plain(lambda g, y: e.select("le", y, 0.0, 0.0, g)),
    "_sigmoid_backward": _plain(lambda g, y: g * ((1.0 - y) * y)),
    "_tanh_backward": _plain(lambda g, y: g * (1.0 - y * y)),
}  # fmt: skip
"""Operator name -> (attributes, *arguments as expressions) -> its result as an expression, or None."""
