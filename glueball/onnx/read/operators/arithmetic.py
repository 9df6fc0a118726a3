"""Element by element: functions of one array, arithmetic and comparisons of two, activations, Where, Clip, Cast.

The one idea: most ONNX operators have one of ours under another name (`_SAME`); a constant of one element becomes the
scalar form, which compiled plans like best. Comparisons answer with booleans, as ONNX wants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ....base.dtype import as_numpy
from ..held import Held, Refused
from ..node import IMPORTERS, Importer, Step, array_attribute, reads
from ..tensors import element_name

_SAME: Mapping[str, str] = {
    "Abs": "abs", "Acos": "arccos", "Acosh": "arccosh", "Asin": "arcsin", "Asinh": "arcsinh", "Atan": "arctan",
    "Atanh": "arctanh", "Ceil": "ceil", "Cos": "cos", "Cosh": "cosh", "Erf": "erf", "Exp": "exp", "Floor": "floor",
    "Log": "log", "Neg": "negative", "Reciprocal": "reciprocal", "Relu": "relu",
    "Sigmoid": "sigmoid", "Sign": "sign", "Sin": "sin", "Sinh": "sinh", "Softsign": "softsign", "Sqrt": "sqrt",
    "Tan": "tan", "Tanh": "tanh",
}


def _same(name: str) -> Importer:
    return lambda s: s.call(name, s.x)


for _onnx, _ours in _SAME.items():
    IMPORTERS["", _onnx] = _same(_ours)


@reads("Identity", "Dropout")
def _identity(s: Step) -> Any:
    if s.kind == "Identity":
        return s.x
    if s.maybe(2) is not None and bool(np.any(s.value(2))):
        ratio = s.maybe(1)
        share = 0.5 if ratio is None else float(s.number(1))
        if share:
            raise Refused("it draws a mask with a generator of its own")
    rate = float(s.number(1)) if s.maybe(1) is not None else float(s.attrs.get("ratio", 0.5))
    ones = [s.builder.known(np.ones((), np.bool_))] if s.wants(1) else []
    value = s.x if s.wants(1) or s.maybe(2) is not None else s.call("Dropout", s.x, p=rate)
    return [value, *(s.expand(one, s.x.shapes) for one in ones)]


# -- two arrays --------------------------------------------------------------------------------------------------------
_ARITHMETIC = {
    "Add": ("broadcast_add", "_plus_scalar", "_plus_scalar"),
    "Sub": ("broadcast_sub", "_minus_scalar", "_rminus_scalar"),
    "Mul": ("broadcast_mul", "_mul_scalar", "_mul_scalar"),
    "Div": ("broadcast_div", "_div_scalar", "_rdiv_scalar"),
    "Pow": ("broadcast_power", "_power_scalar", "_rpower_scalar"),
    "Max": ("broadcast_maximum", "_maximum_scalar", "_maximum_scalar"),
    "Min": ("broadcast_minimum", "_minimum_scalar", "_minimum_scalar"),
}


def _number(held: Held, other: Held) -> float | None:
    """The number that a constant of one element is, where it does not add an axis; floats only."""
    if not held.fixed or held.known is None or not held.is_float or other.fixed or not other.is_float:
        return None
    if any(row.size != 1 for row in held.known) or held.rank > other.rank:
        return None
    numbers = {float(row.ravel()[0]) for row in held.known}
    return numbers.pop() if len(numbers) == 1 and all(math.isfinite(n) for n in numbers) else None


def _pair(s: Step, kind: str, a: Held, b: Held) -> Held:
    arrays, right, left = _ARITHMETIC[kind]
    number = _number(b, a)
    if number is not None:
        return s.call(right, a, scalar=number)
    number = _number(a, b)
    if number is not None:
        return s.call(left, b, scalar=number)
    return s.call(arrays, a, b)


def _wide(s: Step, *values: Held) -> list[Held]:
    """Unsigned numbers as int64, for kernels know few of them; 64-bit ones keep their bits."""
    if any(held.dtype in ("uint16", "uint32", "uint64") for held in values):
        return [held if held.fixed and held.dtype == "int64" else s.cast(held, "int64") for held in values]
    return list(values)


def _small(*values: Held) -> tuple[Held, ...]:
    """Numbers that int64 holds."""
    if any(held.dtype == "uint64" and not held.fixed for held in values):
        raise Refused("unsigned numbers of 64 bits are not divided")
    return values


def _shifted(s: Step, *values: Held) -> list[Held]:
    """Unsigned 64-bit numbers as int64 in the same order: the least one becomes -2⁶³."""
    edge = s.const(-(2**63), "int64")
    return [s.call("broadcast_add", s.cast(held, "int64"), edge) for held in values]


def _two(s: Step) -> list[Held]:
    """The two inputs; before operator set 7 the second one's axes may lie within the first one's."""
    a, b = s.x, s.input(1)
    if s.version < 7 and s.get("broadcast", 0) and b.rank and "axis" in s.attrs:
        at = s.axis(s.get("axis", 0), a.rank)
        b = s.reshape(b, [shape + (1,) * (a.rank - at - b.rank) for shape in b.shapes])
    return [a, b]


@reads("Add", "Sub", "Mul")
def _arithmetic(s: Step) -> Held:
    return s.cast(_pair(s, s.kind, *_wide(s, *_two(s))), s.x.dtype)


@reads("Div")
def _div(s: Step) -> Held:
    first, second = _two(s)
    if first.is_float:
        return _pair(s, "Div", first, second)
    if _both_fixed(s, first, second):
        rows = [_truncated(x, y) for x, y in zip(first.known or (), second.known or ())]
        return s.builder.known(rows, first.dtype)
    a, b = _wide(s, *_small(first, second))
    rest = _remainder(s, a, b, truncated=True)
    whole = s.call("broadcast_sub", a, rest)  # a multiple of b, so that real numbers divide it to the nearest whole
    found = s.call("broadcast_div", s.cast(whole, "float64"), s.cast(b, "float64"))
    return s.cast(s.call("rint", found), first.dtype)


def _both_fixed(s: Step, a: Held, b: Held) -> bool:
    """Whether the numbers of both are known and so few that what they make together can be, too."""
    if a.fixed and b.fixed:
        s.affordable(sum(math.prod(np.broadcast_shapes(x, y)) for x, y in zip(a.shapes, b.shapes)))
        return True
    return False


def _truncated(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray((x - np.fmod(x, y)) // y)


@reads("Pow")
def _pow(s: Step) -> Held:
    exponent = _two(s)[1]
    if s.x.dtype == exponent.dtype and s.x.is_float:
        return _pair(s, "Pow", s.x, exponent)
    if exponent.fixed and s.x.is_float:
        return _pair(s, "Pow", s.x, s.cast(exponent, s.x.dtype))
    wide = [s.cast(held, "float64") for held in (s.x, exponent)]
    found = s.call("broadcast_power", *wide)
    return s.cast(found if s.x.is_float else s.call("trunc", found), s.x.dtype)


@reads("Max", "Min", "Sum", "Mean")
def _many(s: Step) -> Held:
    ordered = s.x.dtype == "uint64" and s.kind in ("Max", "Min")
    values = _shifted(s, *s.all) if ordered else _wide(s, *s.all)
    found = values[0]
    kind = {"Max": "Max", "Min": "Min"}.get(s.kind, "Add")
    for other in values[1:]:
        found = _pair(s, kind, found, other)
    if ordered:
        found = _shifted(s, found)[0]
    return s.cast(s.scaled(found, 1 / len(values)) if s.kind == "Mean" else found, s.x.dtype)


def _remainder(s: Step, a: Held, b: Held, truncated: bool) -> Held:
    """a - b·(a/b), rounded to zero or down."""
    if _both_fixed(s, a, b):
        function = np.fmod if truncated else np.mod
        return s.builder.known([np.asarray(function(x, y)) for x, y in zip(a.known or (), b.known or ())], a.dtype)
    found = s.call("broadcast_mod", a, b)  # the sign of the divisor
    if not truncated:
        return found
    zero = s.const(0, a.dtype)
    odd = s.call("broadcast_mul", s.call("broadcast_not_equal", found, zero),
                 s.call("broadcast_not_equal", s.call("broadcast_lesser", a, zero),
                        s.call("broadcast_lesser", found, zero)))
    return s.call("broadcast_sub", found, s.call("broadcast_mul", odd, b))


@reads("Mod")
def _mod(s: Step) -> Held:
    truncated = bool(s.get("fmod", 0))
    if s.x.is_float and not truncated:
        raise Refused("real numbers need fmod=1")
    a, b = _wide(s, *_small(s.x, s.input(1)))
    return s.cast(_remainder(s, a, b, truncated), s.x.dtype)


@reads("Round")
def _round(s: Step) -> Held:
    return halves_to_even(s, s.x)


def halves_to_even(s: Step, x: Held) -> Held:
    """Round; halves go to the even neighbour, and our own rounding takes them down."""
    below = s.call("floor", x)
    rest = s.call("broadcast_sub", x, below)
    odd = s.call("_mod_scalar", below, scalar=2.0)
    above = s.call("_greater_scalar", rest, scalar=0.5)
    up = s.call("where", s.call("_equal_scalar", rest, scalar=0.5), odd, above)
    return s.call("broadcast_add", below, up)


# -- comparisons and logic ---------------------------------------------------------------------------------------------
_COMPARISONS = {"Equal": "broadcast_equal", "Greater": "broadcast_greater", "Less": "broadcast_lesser",
                "GreaterOrEqual": "broadcast_greater_equal", "LessOrEqual": "broadcast_lesser_equal",
                "And": "broadcast_logical_and", "Or": "broadcast_logical_or", "Xor": "broadcast_logical_xor"}


@reads(*_COMPARISONS)
def _comparison(s: Step) -> Held:
    a, b = _two(s)
    if "uint64" in (a.dtype, b.dtype) and s.kind != "Equal" and not (a.fixed and b.fixed):
        a, b = _shifted(s, a, b)
    return s.cast(s.call(_COMPARISONS[s.kind], *_wide(s, a, b)), "bool")


@reads("Not")
def _not(s: Step) -> Held:
    return s.cast(s.call("logical_not", s.x), "bool")


@reads("IsNaN", "IsInf")
def _special(s: Step) -> Held:
    if s.kind == "IsNaN":
        return s.cast(s.call("_contrib_isnan", s.x), "bool")
    found = s.call("_contrib_isinf", s.x)
    both = s.get("detect_negative", 1), s.get("detect_positive", 1)
    if both == (1, 1):
        return s.cast(found, "bool")
    if both == (0, 0):
        return s.cast(s.call("zeros_like", found), "bool")
    side = s.call("broadcast_lesser" if both[0] else "broadcast_greater", s.x, s.const(0))
    return s.cast(s.call("broadcast_mul", s.cast(found, "float32"), s.cast(side, "float32")), "bool")


@reads("Where")
def _where(s: Step) -> Held:
    condition, x, y = s.input(0), s.input(1), s.input(2)
    shapes = [tuple(np.broadcast_shapes(*three)) for three in zip(condition.shapes, x.shapes, y.shapes)]
    if condition.fixed and not (x.fixed and y.fixed) and condition.known is not None:
        if all(row.all() for row in condition.known):
            return s.expand(x, shapes)
        if not any(row.any() for row in condition.known):
            return s.expand(y, shapes)
    if all(held.shapes == shapes for held in (condition, x, y)):
        return s.call("where", condition, x, y)
    return s.call("where", *(_stretched(s, held, shapes) for held in (condition, x, y)))


def _stretched(s: Step, held: Held, shapes: list[tuple[int, ...]]) -> Held:
    """Broadcast to shapes of which another input has the open sizes."""
    if held.shapes == shapes:
        return held
    if len(set(shapes)) > 1:
        for other in s.all:
            if other.shapes == shapes:
                zeros = s.cast(s.call("zeros_like", other), "bool")
                if held.dtype == "bool":
                    return s.cast(s.call("broadcast_logical_or", held, zeros), "bool")
                if not held.is_float:
                    return s.call("broadcast_add", held, s.cast(zeros, held.dtype))
                rank = held.rank
                raised = s.reshape(held, [(1,) * (len(shapes[0]) - rank) + shape for shape in held.shapes])
                return s.call("broadcast_like", raised, other)
    return s.expand(held, shapes)


@reads("Clip")
def _clip(s: Step) -> Held:
    if s.version < 11:
        low, high = s.attrs.get("min", -math.inf), s.attrs.get("max", math.inf)
        return s.call("clip", s.x, a_min=float(low), a_max=float(high))
    bounds = [s.maybe(1), s.maybe(2)]
    numbers = [None if b is None or b.known is None else float(s.number(i + 1)) for i, b in enumerate(bounds)]
    if s.x.is_float and all(b is None or n is not None for b, n in zip(bounds, numbers)):
        low, high = (edge if n is None else n for n, edge in zip(numbers, (-math.inf, math.inf)))
        return s.call("clip", s.x, a_min=low, a_max=high)
    found = s.x
    for bound, kind in zip(bounds, ("broadcast_maximum", "broadcast_minimum")):
        found = found if bound is None else s.call(kind, found, bound)
    return found


@reads("Cast", "CastLike")
def _cast(s: Step) -> Held:
    target = element_name(s.get("to", 0), s.name) if s.kind == "Cast" else s.input(1).dtype
    if target == "bool":
        return s.cast(s.call("broadcast_not_equal", s.x, s.const(0)), "bool") if s.x.dtype != "bool" else s.x
    if s.x.fixed and s.x.known is not None and target != "bfloat16" and s.x.dtype != "bfloat16":
        with np.errstate(all="ignore"):
            return s.builder.known([row.astype(as_numpy(target)) for row in s.x.known], target)
    return s.cast(s.x, target)


# -- activations -------------------------------------------------------------------------------------------------------
@reads("LeakyRelu", "Elu")
def _leaky(s: Step) -> Held:
    kind, slope = ("leaky", 0.01) if s.kind == "LeakyRelu" else ("elu", 1.0)
    return s.call("LeakyReLU", s.x, act_type=kind, slope=s.get("alpha", slope))


@reads("PRelu")
def _prelu(s: Step) -> Held:
    slope = s.input(1)
    if s.version < 7 and slope.rank == 1 and s.x.rank > 2 and slope.size(0) > 1:
        slope = s.reshape(slope, (slope.size(0), *[1] * (s.x.rank - 2)))
    sizes = slope.shape
    channel = s.x.rank > 1 and slope.rank >= s.x.rank - 1 and all(
        size == 1 for axis, size in enumerate(sizes) if axis - slope.rank + s.x.rank != 1)
    if s.x.is_float and channel and s.x.rank > 1 and math.prod(sizes) in (1, s.x.size(1)):
        return s.call("LeakyReLU", s.x, s.reshape(slope, (math.prod(sizes),)), act_type="prelu")
    positive = s.call("broadcast_maximum", s.x, s.const(0))
    negative = s.call("broadcast_minimum", s.x, s.const(0))
    return s.call("broadcast_add", positive, s.call("broadcast_mul", slope, negative))


@reads("Selu")
def _selu(s: Step) -> Held:
    alpha, gamma = s.get("alpha", 1.67326319217681884765625), s.get("gamma", 1.05070102214813232421875)
    return s.scaled(s.call("LeakyReLU", s.x, act_type="elu", slope=alpha), gamma)


@reads("Celu")
def _celu(s: Step) -> Held:
    alpha = s.get("alpha", 1.0)
    inner = s.call("LeakyReLU", s.call("_div_scalar", s.x, scalar=alpha), act_type="elu", slope=1.0)
    return s.scaled(inner, alpha)


@reads("Gelu")
def _gelu(s: Step) -> Held:
    if s.get("approximate", "none") == "none":
        return s.call("LeakyReLU", s.x, act_type="gelu")
    cube = s.scaled(s.call("broadcast_mul", s.x, s.call("square", s.x)), 0.044715)
    inner = s.scaled(s.call("broadcast_add", s.x, cube), math.sqrt(2 / math.pi))
    return s.call("broadcast_mul", s.scaled(s.x, 0.5), s.call("_plus_scalar", s.call("tanh", inner), scalar=1.0))


@reads("HardSigmoid", "HardSwish")
def _hard(s: Step) -> Held:
    alpha, beta = (s.get("alpha", 0.2), s.get("beta", 0.5)) if s.kind == "HardSigmoid" else (1 / 6, 0.5)
    gate = s.call("hard_sigmoid", s.x, alpha=alpha, beta=beta)
    return gate if s.kind == "HardSigmoid" else s.call("broadcast_mul", s.x, gate)


@reads("Softplus")
def _softplus(s: Step) -> Held:
    return s.call("Activation", s.x, act_type="softrelu")


@reads("Mish", "Swish")
def _gated(s: Step) -> Held:
    if s.kind == "Mish":
        return s.call("broadcast_mul", s.x, s.call("tanh", s.call("Activation", s.x, act_type="softrelu")))
    return s.call("broadcast_mul", s.x, s.call("sigmoid", s.scaled(s.x, s.get("alpha", 1.0))))


@reads("ThresholdedRelu")
def _thresholded(s: Step) -> Held:
    above = s.call("_greater_scalar", s.x, scalar=s.get("alpha", 1.0))
    return s.call("where", above, s.x, s.call("zeros_like", s.x))


@reads("Shrink")
def _shrink(s: Step) -> Held:
    edge, bias = s.get("lambd", 0.5), s.get("bias", 0.0)
    x = s.x if s.x.is_float else s.cast(s.x, "float32")
    nothing = s.call("zeros_like", x)
    high, low = s.call("_greater_scalar", x, scalar=edge), s.call("_lesser_scalar", x, scalar=-edge)
    above = s.call("where", high, s.call("_minus_scalar", x, scalar=bias), nothing)
    below = s.call("where", low, s.call("_plus_scalar", x, scalar=bias), nothing)
    return s.cast(s.call("broadcast_add", above, below), s.x.dtype)


# -- constants ---------------------------------------------------------------------------------------------------------
@reads("Constant")
def _constant(s: Step) -> Held:
    found = array_attribute(s, "value")
    if found is not None:
        return s.builder.stored(found)
    for name, kind in (("value_float", "float32"), ("value_floats", "float32"), ("value_int", "int64"),
                       ("value_ints", "int64")):
        if name in s.attrs:
            return s.const(s.attrs[name], kind)
    raise Refused(f"a constant of {', '.join(s.attrs) or 'nothing'} is no array here")
