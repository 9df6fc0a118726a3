"""Golden cases: element-wise operators, scalars, comparisons, reductions, casts, products."""

from __future__ import annotations

from operator_cases import case, d, distinct, f, i, run, u

ANY = [
    "relu",
    "sigmoid",
    "tanh",
    "exp",
    "abs",
    "square",
    "sign",
    "sin",
    "cos",
    "arctan",
    "sinh",
    "cosh",
    "arcsinh",
    "softsign",
    "erf",
    "cbrt",
    "degrees",
    "radians",
    "negative",
    "expm1",
    "identity",
    "BlockGrad",
    "stop_gradient",
    "ones_like",
    "zeros_like",
    "make_loss",
    "hard_sigmoid",
]
POSITIVE = ["log", "sqrt", "rsqrt", "log2", "log10", "log1p", "reciprocal", "rcbrt", "gamma", "gammaln"]
UNIT = ["arcsin", "arccos", "arctanh", "erfinv", "tan"]
ROUNDING = ["floor", "ceil", "round", "rint", "fix", "trunc", "sign"]
BINARY = ["add", "subtract", "multiply", "divide", "maximum", "minimum", "power", "modulo"]
COMPARE = [
    "equal",
    "not_equal",
    "greater",
    "greater_equal",
    "lesser",
    "lesser_equal",
    "logical_and",
    "logical_or",
    "logical_xor",
]
REDUCE = ["sum", "mean", "prod", "max", "min", "nansum", "nanprod"]


def unary() -> list:
    out = []
    for name in dict.fromkeys(ANY):
        out += [case(name, [f(3, 4)]), case(name, [f(2, 1, 3, dtype="float64")])]
    for name in POSITIVE:
        out += [case(name, [u(0.3, 3, 3, 4)]), case(name, [u(0.3, 3, 5, dtype="float64")])]
    for name in UNIT:
        out += [case(name, [u(-0.9, 0.9, 3, 4)]), case(name, [u(-0.9, 0.9, 5, dtype="float64")])]
    out += [case("arccosh", [u(1.2, 4, 3, 4)]), case("arccosh", [u(1.2, 4, 5, dtype="float64")])]
    ties = [-2.5, -1.5, -0.5, -0.2, 0.0, 0.5, 1.5, 2.5, 2.7]
    for name in ROUNDING:
        out += [case(name, [d(ties)]), case(name, [f(3, 4, scale=3)])]
    out += [case("logical_not", [d([0, 1, 2, -1, 0])]), case("logical_not", [d([0, 1, 3], "int32")])]
    for name in ["relu", "sigmoid", "tanh", "exp", "square"]:
        out.append(case(name, [f(3, 4, dtype="float16")]))
    for name in ["relu", "abs", "square", "sign", "negative", "ones_like", "zeros_like", "identity"]:
        out += [case(name, [i(9, 4, low=-9, dtype="int32")]), case(name, [i(9, 4, low=-9, dtype="int64")])]
    out += [
        case("relu", [d([-1, 0, 1])]),
        case("abs", [d([-1, 0, 1])]),
        case("sqrt", [d([0, 1])]),
        case("log", [d([0, 1, 2])]),
        case("reciprocal", [d([0.5, -2])]),
        case("sqrt", [d([-1, 4])]),
    ]
    out += [
        case("clip", [d([-2, -1, 0, 1, 2])], a_min=-1, a_max=1),
        case("clip", [f(3, 4)], a_min=0, a_max=0.5),
        case("clip", [i(9, 5, dtype="int32")], a_min=2, a_max=5),
    ]
    out += [case("smooth_l1", [f(3, 4, scale=2)], scalar=s) for s in (1.0, 2.0, 0.5)] + [case("smooth_l1", [f(5)])]
    out += [case("hard_sigmoid", [f(3, 4, scale=4)], alpha=0.3, beta=0.4)]
    out += [
        case("MakeLoss", [f(3, 4)]),
        case("MakeLoss", [f(3, 4)], grad_scale=2.0),
        case("MakeLoss", [f(3, 4)], grad_scale=2.0, normalization="batch"),
        case("MakeLoss", [f(3, 4)], normalization="valid", valid_thresh=0.2),
    ]
    for target in ["float16", "float64", "int32", "uint8", "int8", "int64", "float32"]:
        out += [case("cast", [u(0.1, 5, 3, 2)], dtype=target), case("Cast", [i(100, 4, dtype="int32")], dtype=target)]
    out += [
        case("cast", [d([-1.7, -0.5, 0.5, 1.7])], dtype="int32"),
        case("amp_cast", [f(3)], dtype="float16"),
        case("amp_multicast", [f(3), f(3, dtype="float16")], num_outputs=2),
        case("amp_multicast", [f(3), f(3, dtype="float16")], num_outputs=2, cast_narrow=True),
    ]
    out += [
        case("shape_array", [f(2, 3, 4)]),
        case("size_array", [f(2, 3, 4)]),
        case("contrib.isnan", [d([0, float("nan"), float("inf")])]),
        case("contrib.isinf", [d([0, float("nan"), float("-inf")])]),
        case("contrib.isfinite", [d([0, float("nan"), float("inf")])]),
        case("contrib.quadratic", [f(3, 2)], a=1.5, b=-2.0, c=0.5),
        case("contrib.div_sqrt_dim", [f(2, 3, 5)]),
        case("contrib.round_ste", [f(5, scale=3)]),
        case("contrib.sign_ste", [f(5)]),
        case("contrib.gradientmultiplier", [f(3, 2)], scalar=-0.7),
    ]
    return out


def binary() -> list:
    out = []
    for name in BINARY:
        out += [
            case(name, [u(0.5, 3, 3, 4), u(0.5, 3, 3, 4)]),
            case(name, [u(0.5, 3, 3, 1), u(0.5, 3, 1, 4)]),
            case(name, [u(0.5, 3, 3, 4), u(0.5, 3, 4)]),
        ]
    for name in COMPARE:
        out += [case(name, [i(3, 3, 4), i(3, 3, 4)]), case(name, [i(3, 3, 1), i(3, 4)])]
    for name in ["add", "sub", "mul", "div", "maximum", "minimum", "power", "mod", "hypot", "plus", "minus"]:
        op = "broadcast_" + name
        out += [
            case(op, [u(0.5, 3, 3, 4), u(0.5, 3, 3, 4)]),
            case(op, [u(0.5, 3, 2, 3, 1), u(0.5, 3, 1, 1, 4)]),
            case(op, [u(0.5, 3, 3, 1, dtype="float64"), u(0.5, 3, 3, 4, dtype="float64")]),
            case(op, [u(0.5, 3, 2, 3), u(0.5, 3, 3)]),
        ]
    for name in [
        "equal",
        "not_equal",
        "greater",
        "greater_equal",
        "lesser",
        "lesser_equal",
        "logical_and",
        "logical_or",
        "logical_xor",
    ]:
        out += [
            case("broadcast_" + name, [i(3, 3, 4), i(3, 3, 1)]),
            case("broadcast_" + name, [i(3, 4, dtype="int32"), i(3, 1, dtype="int32")]),
        ]
    for name in ["add", "sub", "mul", "div"]:
        op = "elemwise_" + name
        out += [
            case(op, [f(3, 4), u(0.5, 2, 3, 4)]),
            case(op, [f(3, 4), u(0.5, 2, 1, 4)]),
            case(op, [f(3, dtype="float16"), u(0.5, 2, 3, dtype="float16")]),
        ]
    out += [
        case("broadcast_mod", [d([5, -5, 5, -5.5]), d([3, 3, -3, 2])]),
        case("modulo", [d([5, -5]), d([3, -3])]),
        case("broadcast_maximum", [d([1, 2, 3]), d([1, 3, 2])]),
        case("maximum", [d([1, 2]), d([1, 1])]),
        case("minimum", [d([1, 2]), d([1, 1])]),
        case("broadcast_div", [i(9, 4, dtype="int32", low=1), d([2], "int32")]),
        case("broadcast_power", [d([-2, 2, 0]), d([2, -1, 0])]),
        case("broadcast_add", [f(3), d([1, 2, 3], "int32")]),
    ]
    out += [case("add_n", [f(2, 3), f(2, 3), f(2, 3)]), case("add_n", [f(2, 3)]), case("ElementWiseSum", [f(4), f(4)])]
    return out


def scalars() -> list:
    out = []
    for name in [name for name in BINARY if name != "power"] + COMPARE[:6]:  # power calls its operands base and exp
        out += [case(name, [u(0.5, 3, 3, 2)], rhs=2.0), case(name, [i(5, 4, dtype="int32", low=1)], rhs=2)]
    return out


def reductions() -> list:
    out = []
    for name in REDUCE:
        x = u(0.5, 2, 2, 3, 4) if name.endswith("prod") else distinct(2, 3, 4)
        out += [
            case(name, [x]),
            case(name, [x], axis=1),
            case(name, [x], axis=(0, 2), keepdims=True),
            case(name, [x], axis=1, exclude=True),
            case(name, [x], axis=-1, keepdims=True),
            case(name, [f(5, dtype="float64")]),
        ]
    out += [case("max", [d([[1, 2, 2], [3, 3, 1]])], axis=1), case("min", [d([[1, 1, 2], [3, 0, 0]])], axis=1)]
    out += [case("prod", [d([[1, 0, 2], [3, 4, 5]])], axis=1)]
    out += [case("nansum", [d([1, float("nan"), 3])]), case("nanprod", [d([2, float("nan"), 3])])]
    out += [
        case("sum", [i(9, 3, 2, dtype="int32")], axis=0),
        case("sum", [i(9, 3, 2, dtype="int64")]),
        case("mean", [i(9, 3, 2, dtype="int32")], axis=0),
        case("max", [i(9, 3, 2, dtype="int32")], axis=1),
        case("sum_axis", [f(2, 3)], axis=1),
        case("max_axis", [distinct(2, 3)], axis=0),
        case("min_axis", [distinct(2, 3)], axis=0),
        case("sum", [f(2, 3)], axis=()),
    ]
    out += [
        case("norm", [f(3, 4)]),
        case("norm", [f(3, 4)], ord=1, axis=1),
        case("norm", [f(3, 4)], axis=1),
        case("norm", [f(2, 3, 4)], axis=(1, 2), keepdims=True),
        case("norm", [f(2, 3, 4)], axis=(0, 1), ord=1),
        case("norm", [f(3, 4)], axis=1, keepdims=True),
    ]
    out += [case("moments", [f(2, 3, 4)], axes=(0, 2)), case("moments", [f(2, 3, 4)], axes=(1,), keepdims=True)]
    out += [case("cumsum", [f(2, 3)]), case("cumsum", [f(2, 3)], axis=1), case("cumsum", [f(2, 3)], axis=-2)]
    for name in ["argmax", "argmin"]:
        out += [
            case(name, [distinct(3, 4)], _grad=None),
            case(name, [distinct(3, 4)], _grad=None, axis=1),
            case(name, [distinct(2, 3, 4)], _grad=None, axis=-1, keepdims=True),
            case(name, [d([[1, 1, 0], [0, 0, 1]])], _grad=None, axis=1),
        ]
    out += [
        case("argmax_channel", [distinct(3, 4)], _grad=None),
        case("multi_sum_sq", [f(3), f(2, 2)], num_arrays=2),
        case("all_finite", [f(3)], init_output=True),
        case("all_finite", [d([1, float("inf")])], init_output=True),
        case("multi_all_finite", [f(3), d([1, float("nan")])], num_arrays=2, init_output=True),
    ]
    return out


def products() -> list:
    out = [
        case("dot", [f(2, 3), f(3, 4)]),
        case("dot", [f(3, 2), f(3, 4)], transpose_a=True),
        case("dot", [f(2, 3), f(4, 3)], transpose_b=True),
        case("dot", [f(3, 2), f(4, 3)], transpose_a=True, transpose_b=True),
        case("dot", [f(3), f(3)]),
        case("dot", [f(2, 3), f(3)]),
        case("dot", [f(2, 3, 4), f(4, 5)]),
        case("dot", [f(2, 3, 4), f(4, 2, 3)]),
        case("dot", [f(3), f(3, 4)]),
        case("dot", [f(4, 2, 3), f(4, 5)], transpose_a=True),
        case("dot", [f(2, 3), f(2, 4, 3)], transpose_b=True),
        case("dot", [f(2, 3, dtype="float64"), f(3, 2, dtype="float64")]),
    ]
    out += [
        case("batch_dot", [f(2, 3, 4), f(2, 4, 5)]),
        case("batch_dot", [f(2, 4, 3), f(2, 4, 5)], transpose_a=True),
        case("batch_dot", [f(2, 3, 4), f(2, 5, 4)], transpose_b=True),
        case("batch_dot", [f(2, 2), f(2, 2)]),
        case("batch_dot", [f(2, 3, 2, 4), f(2, 3, 4, 2)]),
    ]
    out += [case("khatri_rao", [f(2, 3), f(4, 3)]), case("khatri_rao", [f(2, 2), f(3, 2), f(2, 2)])]
    return out


def make() -> None:
    run("ops_math", unary() + binary())
    run("ops_reduce", reductions() + products())
    run("ops_scalar", scalars())


if __name__ == "__main__":
    make()
