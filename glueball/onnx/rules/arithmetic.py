"""Arithmetic element by element: functions of one array, with numbers, of two arrays; comparisons; casts; softmax.

The one idea: most operators are one row of a table, the others a line of ONNX operators. Comparisons give 0 and 1 in
the type of their inputs, as Gluon's do.
"""

from __future__ import annotations

import math

import numpy as np

from ...ops.activation import SELU_ALPHA, SELU_SCALE
from ..call import Call, Refused, Rule, on_reals, rows, rule

_DIRECT = {
    "relu": "Relu", "abs": "Abs", "sign": "Sign", "_contrib_sign_ste": "Sign",
    "elemwise_add": "Add", "elemwise_sub": "Sub", "elemwise_mul": "Mul", "elemwise_div": "Div",
    "broadcast_add": "Add", "broadcast_sub": "Sub", "broadcast_mul": "Mul", "broadcast_div": "Div",
    "_power": "Pow", "broadcast_power": "Pow", "_maximum": "Max", "broadcast_maximum": "Max",
    "_minimum": "Min", "broadcast_minimum": "Min",
}  # fmt: skip
_REAL = {"sigmoid": "Sigmoid", "tanh": "Tanh", "softsign": "Softsign", "exp": "Exp", "log": "Log", "sqrt": "Sqrt",
         "reciprocal": "Reciprocal", "sin": "Sin", "cos": "Cos"}
_SINGLE = {"erf": "Erf", "tan": "Tan", "arcsin": "Asin", "arccos": "Acos", "arctan": "Atan", "sinh": "Sinh",
           "cosh": "Cosh", "arcsinh": "Asinh", "arccosh": "Acosh", "arctanh": "Atanh"}  # no double in onnxruntime
_SAME = ("_copy", "BlockGrad", "make_loss", "MakeLoss", "_contrib_gradientmultiplier", "IdentityAttachKLSparseReg",
         "cast_storage", "LinearRegressionOutput", "MAERegressionOutput", "SVMOutput",
         "_identity_with_attr_like_rhs")
_COMPARISONS = {"equal": "Equal", "not_equal": "Equal", "greater": "Greater", "greater_equal": "GreaterOrEqual",
                "lesser": "Less", "lesser_equal": "LessOrEqual"}
_LOGIC = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor"}


def direct(kind: str) -> Rule:
    """The ONNX operator of the same meaning."""
    return lambda c: c.op(kind, *c.ins)


rows({name: direct(kind) for name, kind in _DIRECT.items()})
rows({name: on_reals(direct(kind)) for name, kind in _REAL.items()})
rows({name: on_reals(direct(kind), "float32") for name, kind in _SINGLE.items()})
rows(dict.fromkeys(_SAME, lambda c: c.op("Identity", c.x)))


# -- functions of one array --------------------------------------------------------------------------------------------
def _truncated(c: Call, value: str) -> str:
    return c.op("Mul", c.op("Sign", value), c.op("Floor", c.op("Abs", value)))


def _cube_root(c: Call) -> str:
    return c.op("Mul", c.op("Sign", c.x), c.op("Pow", c.op("Abs", c.x), c.const(1 / 3)))


def _half_away(c: Call) -> str:
    size = c.op("Floor", c.op("Add", c.op("Abs", c.x), c.const(0.5)))
    return c.op("Identity", c.x) if c.whole else c.op("Mul", c.op("Sign", c.x), size)


def _unless_whole(function: Rule) -> Rule:
    return lambda c: c.op("Identity", c.x) if c.whole else function(c)


def _softplus(c: Call, value: str) -> str:
    return c.op("Softplus", value)


rows({
    "square": lambda c: c.op("Mul", c.x, c.x),
    "ceil": _unless_whole(direct("Ceil")),
    "floor": _unless_whole(direct("Floor")),
    "trunc": _unless_whole(lambda c: _truncated(c, c.x)),
    "fix": _unless_whole(lambda c: _truncated(c, c.x)),
    "round": _half_away,
    "_contrib_round_ste": _half_away,
    "rint": _unless_whole(lambda c: c.op("Ceil", c.op("Sub", c.x, c.const(0.5)))),
    "negative": lambda c: c.op("Sub", c.const(0), c.x) if c.dtype().startswith("uint") else c.op("Neg", c.x),
    "logical_not": lambda c: c.cast(c.op("Not", c.truth(c.x, 0)), c.out_dtype()),
    "_contrib_isnan": lambda c: c.filled(0) if c.whole else c.cast(c.op("IsNaN", c.x), c.out_dtype()),
    "_contrib_isinf": lambda c: c.cast(c.op("IsInf", c.x), c.out_dtype()),
    "LogisticRegressionOutput": lambda c: c.op("Sigmoid", c.x),
})  # fmt: skip
rows({name: on_reals(function) for name, function in {
    "rsqrt": lambda c: c.op("Reciprocal", c.op("Sqrt", c.x)),
    "cbrt": _cube_root,
    "rcbrt": lambda c: c.op("Reciprocal", _cube_root(c)),
    "expm1": lambda c: c.op("Sub", c.op("Exp", c.x), c.const(1)),
    "log1p": lambda c: c.op("Log", c.op("Add", c.x, c.const(1))),
    "log2": lambda c: c.op("Mul", c.op("Log", c.x), c.const(1 / math.log(2))),
    "log10": lambda c: c.op("Mul", c.op("Log", c.x), c.const(1 / math.log(10))),
    "degrees": lambda c: c.op("Mul", c.x, c.const(180 / math.pi)),
    "radians": lambda c: c.op("Mul", c.x, c.const(math.pi / 180)),
    "hard_sigmoid": lambda c: c.op("HardSigmoid", c.x, alpha=c["alpha"], beta=c["beta"]),
    "_contrib_div_sqrt_dim": lambda c: c.op("Div", c.x, c.const(math.sqrt(c.size(c.rank() - 1)))),
}.items()})  # fmt: skip


@rule("add_n")
def _sum(c: Call) -> str:
    if not c.whole:
        return c.op("Sum", *c.ins)
    total = c.x
    for value in c.ins[1:]:
        total = c.op("Add", total, value)
    return c.op("Identity", total) if len(c.ins) == 1 else total


@rule("zeros_like", "ones_like")
def _filled(c: Call) -> str:
    return c.op("Expand", c.const(int(c.name == "ones_like"), c.out_dtype()), c.op("Shape", c.x))


@rule("_contrib_isfinite")
def _finite(c: Call) -> str:
    odd = c.op("Or", c.op("IsNaN", c.x), c.op("IsInf", c.x))
    return c.cast(c.op("Not", odd), c.out_dtype())


@rule("_contrib_quadratic")
@on_reals
def _quadratic(c: Call) -> str:
    inner = c.op("Add", c.op("Mul", c.x, c.const(c["a"])), c.const(c["b"]))
    return c.op("Add", c.op("Mul", inner, c.x), c.const(c["c"]))


@rule("clip")
def _clip(c: Call) -> str:
    low, high = c["a_min"], c["a_max"]
    if c.whole:
        edge = np.iinfo(c.dtype())
        low, high = (min(max(int(v), edge.min), edge.max) if math.isfinite(v) else (edge.min if v < 0 else edge.max)
                     for v in (low, high))
    return c.op("Min", c.op("Max", c.x, c.const(low)), c.const(high))


@rule("smooth_l1")
@on_reals
def _smooth_l1(c: Call) -> str:
    square = c["scalar"] ** 2
    size = c.op("Abs", c.x)
    near = c.op("Mul", c.op("Mul", c.x, c.x), c.const(0.5 * square))
    far = c.op("Sub", size, c.const(0.5 / square))
    return c.op("Where", c.op("Less", size, c.const(1 / square)), near, far)


@rule("Dropout")
def _dropout(c: Call) -> str:
    if c["mode"] == "always":
        raise Refused("mode='always' draws a new mask at every call")
    return c.op("Identity", c.x)


@rule("amp_multicast")
def _multicast(c: Call) -> list[str]:
    return [c.cast(value, c.out_dtype(i), c.dtype(i)) for i, value in enumerate(c.ins)]


@rule("Cast", "amp_cast")
def _cast(c: Call) -> str:
    goal = c.out_dtype()
    if c.dtype() == goal:
        return c.op("Identity", c.x)
    return c.cast(c.x, goal)


# -- activations -------------------------------------------------------------------------------------------------------
@rule("Activation")
def _activation(c: Call) -> str:
    kind = c["act_type"]
    simple = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softrelu": "Softplus", "softsign": "Softsign"}
    if kind in simple:
        return c.op(simple[kind], c.x)
    if kind == "log_sigmoid":
        return c.op("Neg", _softplus(c, c.op("Neg", c.x)))
    return c.op("Mul", c.x, c.op("Tanh", _softplus(c, c.x)))  # mish


@rule("LeakyReLU")
def _leaky(c: Call) -> str:
    kind = c["act_type"]
    if kind == "leaky":
        return c.op("LeakyRelu", c.x, alpha=c["slope"])
    if kind == "rrelu":
        return c.op("LeakyRelu", c.x, alpha=(c["lower_bound"] + c["upper_bound"]) / 2)
    if kind == "elu":
        return c.op("Elu", c.x, alpha=c["slope"])
    if kind == "selu":
        return c.op("Selu", c.x, alpha=SELU_ALPHA, gamma=SELU_SCALE)
    if kind == "gelu":
        bell = c.op("Add", c.op("Erf", c.op("Mul", c.x, c.const(1 / math.sqrt(2)))), c.const(1))
        return c.op("Mul", c.op("Mul", c.x, c.const(0.5)), bell)
    gamma = c.ins[1]
    if c.rank(1) == 1 and c.rank() > 2 and c.size(0, 1) != 1:
        gamma = c.op("Unsqueeze", gamma, c.ints(*range(1, c.rank() - 1)))
    return c.op("PRelu", c.x, gamma)


# -- with a number -----------------------------------------------------------------------------------------------------
def _cut(c: Call) -> np.ndarray:
    """The number as the kernels see it beside whole ones: cut, and of their type."""
    return np.asarray(int(c["scalar"])).astype(c.dtype())


def _number(c: Call) -> str:
    return c.const(_cut(c) if c.whole else c["scalar"])


def _with_number(kind: str, swapped: bool = False) -> Rule:
    return lambda c: c.op(kind, _number(c), c.x) if swapped else c.op(kind, c.x, _number(c))


def _modulo(c: Call, over: str, by: str) -> str:
    """The remainder with the sign of the divisor, as Python's; 0 where the divisor is 0."""
    zero = c.const(0)
    nothing = c.op("Equal", by, zero)
    by = c.op("Where", nothing, c.const(1), by)
    if c.whole:
        return c.op("Where", nothing, zero, c.op("Mod", over, by))
    return c.op("Where", nothing, zero, c.op("Sub", over, c.op("Mul", c.op("Floor", c.op("Div", over, by)), by)))


def _modulo_number(c: Call) -> str:
    if c.whole and int(_cut(c)) in (-1, 0, 1):
        return c.filled(0)  # not computed: the least number % -1 ends the process in onnxruntime
    return _modulo(c, c.x, _number(c))


def _hypotenuse(c: Call, other: str) -> str:
    return c.op("Sqrt", c.op("Add", c.op("Mul", c.x, c.x), c.op("Mul", other, other)))


rows({
    "_plus_scalar": _with_number("Add"), "_minus_scalar": _with_number("Sub"),
    "_rminus_scalar": _with_number("Sub", swapped=True), "_mul_scalar": _with_number("Mul"),
    "_div_scalar": _with_number("Div"), "_rdiv_scalar": _with_number("Div", swapped=True),
    "_mod_scalar": _modulo_number, "_rmod_scalar": lambda c: _modulo(c, _number(c), c.x),
    "_power_scalar": _with_number("Pow"), "_rpower_scalar": _with_number("Pow", swapped=True),
    "_maximum_scalar": _with_number("Max"), "_minimum_scalar": _with_number("Min"),
    "_hypot_scalar": lambda c: _hypotenuse(c, _number(c)),
    "_mod": lambda c: _modulo(c, *c.ins), "broadcast_mod": lambda c: _modulo(c, *c.ins),
    "_hypot": lambda c: _hypotenuse(c, c.ins[1]), "broadcast_hypot": lambda c: _hypotenuse(c, c.ins[1]),
})  # fmt: skip


# -- comparisons and logic ---------------------------------------------------------------------------------------------
def _compared(name: str, with_number: bool) -> Rule:
    def compare(c: Call) -> str:
        found = c.op(_COMPARISONS[name], c.x, _number(c) if with_number else c.ins[1])
        return c.cast(c.op("Not", found) if name == "not_equal" else found, c.out_dtype())
    return compare


def _joined(name: str, with_number: bool) -> Rule:
    def join(c: Call) -> str:
        other = c.const(bool(c["scalar"]), "bool") if with_number else c.truth(c.ins[1], 1)
        return c.cast(c.op(_LOGIC[name], c.truth(c.x, 0), other), c.out_dtype())
    return join


for _table, _make in ((_COMPARISONS, _compared), (_LOGIC, _joined)):
    for _name in _table:
        rows({f"_{_name}": _make(_name, False), f"broadcast_{_name}": _make(_name, False),
              f"_{_name}_scalar": _make(_name, True)})


# -- softmax -----------------------------------------------------------------------------------------------------------
def _scaled(c: Call, sign: float = 1.0) -> str:
    factor = sign / (c["temperature"] or 1.0)
    return c.x if factor == 1 else c.op("Mul", c.x, c.const(factor))


def _finished(c: Call, value: str) -> str:
    return c.cast(value, c.out_dtype(), c.dtype())


@rule("softmax", "log_softmax", "softmin")
def _softmax(c: Call) -> str:
    if c.whole:
        raise Refused("it is of whole numbers; x.astype('float32') before it")
    axis = c.axis(c["axis"])
    data = _scaled(c, -1.0 if c.name == "softmin" else 1.0)
    if not c["use_length"] or c.name != "softmax":
        return _finished(c, c.op("LogSoftmax" if c.name == "log_softmax" else "Softmax", data, axis=axis))
    count = c.op("Range", c.const(0, "int64"), c.op("Squeeze", c.sizes([c.shape()[axis]])), c.const(1, "int64"))
    others = [a for a in range(c.rank()) if a != axis]
    steps = c.op("Unsqueeze", count, c.ints(*others)) if others else count
    ends = c.op("Unsqueeze", c.cast(c.ins[1], "int64", c.dtype(1)), c.ints(axis))
    inside = c.op("Less", steps, ends)
    shares = c.op("Softmax", c.op("Where", inside, data, c.const(-1e30 if c.dtype() != "float16" else -6e4)), axis=axis)
    return _finished(c, c.op("Where", inside, shares, c.const(0)))


@rule("SoftmaxActivation")
def _softmax_activation(c: Call) -> str:
    return c.op("Softmax", c.x, axis=1 if c["mode"] == "channel" else c.rank() - 1)


@rule("SoftmaxOutput")
def _softmax_output(c: Call) -> str:
    if c["multi_output"]:
        return c.op("Softmax", c.x, axis=1)
    if c["preserve_shape"] or c.rank() == 2:
        return c.op("Softmax", c.x, axis=c.rank() - 1)
    return c.reshape(c.op("Softmax", c.op("Flatten", c.x, axis=1), axis=1), c.out_shape())
