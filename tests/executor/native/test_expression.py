"""Expressions: interning and exact identities, derivatives against differences, operators against their kernels."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from glueball.base.errors import ArgumentError
from glueball.executor.native import EXPRESSIONS, compile_rows, input
from glueball.executor.native import expression as e
from glueball.executor.native.derivative import gradients
from glueball.executor.native.evaluate import evaluate
from glueball.executor.native.expression import Expr
from glueball.ops.opdef import lookup

x, y, z = input(0), input(1), input(2)
DOUBLE = torch.float64


def test_equal_expressions_are_one_object() -> None:
    """Interning: commutative operands in either order, functions, constants; -0.0 and NaN are kept apart rightly."""
    assert e.sigmoid(x + y) is e.sigmoid(y + x)
    assert x * y + 2.0 is 2.0 + y * x
    assert x - y is not y - x
    assert e.constant(0.0) is not e.constant(-0.0)
    assert e.constant(math.nan) is e.constant(math.nan)
    assert e.select("gt", x, y, x, y) is e.select("lt", y, x, x, y)


def test_identities_are_the_exact_ones() -> None:
    """x·1, x - 0, -(-x), a + (-b), a power of two's quotient; but x·0 and x + 0 are not x or 0 for every x."""
    assert x * 1.0 is x and x - 0.0 is x and e.neg(-x) is x and x / 1.0 is x
    assert x + (-y) is x - y and x - (-y) is x + y and x * -1.0 is -x
    assert (x / 4.0) is x * 0.25
    assert (x / 3.0).op == "div"
    assert (x * 0.0).op == "mul" and (x + 0.0).op == "add"
    assert e.constant(2.0) + 3.0 is e.constant(5.0)


def test_the_softmax_of_its_logarithm() -> None:
    """exp(log softmax) is the quotient itself; of other sums it stays what it is."""
    shifted = x - e.peak(x)
    whole = e.total(e.exp(shifted))
    assert e.exp(shifted - e.log(whole)) is e.exp(shifted) / whole
    assert e.exp(shifted - e.log(e.total(shifted))).op == "exp"
    assert e.exp(x - e.log(whole)).op == "exp"


@pytest.mark.parametrize("node", [
    x + y, x - y, e.exp(x), e.select("eq", x, y, 1.0, x), e.uniform(x, 5), e.total(x), e.peak(y), e.maximum(x, y),
    e.column_index(), e.constant(2.5), x, e.rsqrt(y),
], ids=repr)  # fmt: skip
def test_nodes_are_remade(node: Expr) -> None:
    """Over the same arguments a node is itself; over others it is what they make."""
    assert e.remade(node, node.args) is node
    if node.args:
        assert e.inputs_of([e.remade(node, [z] * len(node.args))]) == [2]


def test_unknown_predicate_is_refused() -> None:
    """A misspelt comparison names those that there are."""
    with pytest.raises(ArgumentError, match="lt, le, eq, ne, gt, ge"):
        e.select("<", x, y, x, y)


def test_gradient_of_what_is_not_reached_is_none() -> None:
    """Nothing is computed for inputs that no output depends on, nor through constants and roundings."""
    g = input(3)
    assert gradients([x * y], [g], [0, 2]) == [g * y, None]
    assert gradients([x * y], [None], [0]) == [None]
    assert gradients([e.floor(x)], [g], [0]) == [None]
    assert gradients([x, x * y], [g, None], [0]) == [g]


RANGES = {"log": (0.2, 3.0), "log1p": (-0.8, 3.0), "sqrt": (0.2, 3.0), "rsqrt": (0.2, 3.0)}


@pytest.mark.parametrize("name", e.UNARY)
def test_derivatives_of_one_value(name: str) -> None:
    """The rule equals a central difference, at first and second order."""
    low, high = RANGES.get(name, (-2.2, 2.4))
    at = torch.linspace(low, high, 23, dtype=DOUBLE) + 0.013
    step = 1e-6
    function = getattr(e, name)(x)
    for _ in range(2):
        (rule,) = gradients([function], [e.constant(1.0)], [0])
        up, down = (evaluate([function], [at + d])[0] for d in (step, -step))
        actual = evaluate([rule], [at])[0] if rule is not None else torch.zeros(())
        torch.testing.assert_close(
            actual.to(DOUBLE).expand_as(at), ((up - down) / (2 * step)).expand_as(at), rtol=2e-8, atol=2e-9
        )
        if rule is None:
            break
        function = rule


TWO = {
    "add": e.add, "sub": e.sub, "mul": e.mul, "div": e.div, "maximum": e.maximum, "minimum": e.minimum,
    "select": lambda a, b: e.select("lt", a, b, a * a, e.exp(b)), "relu": lambda a, b: e.relu(a) * b,
    "power": lambda a, b: e.power(a, 3) * b, "sign": lambda a, b: e.sign(a) * b,
}  # fmt: skip


@pytest.mark.parametrize("name", TWO)
def test_derivatives_of_two_values(name: str) -> None:
    """The rules for both arguments equal central differences."""
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.rand(40, dtype=DOUBLE, generator=generator) * 3 - 1.49 for _ in range(2))
    function, step = TWO[name](x, y), 1e-6
    rules = gradients([function], [e.constant(1.0)], [0, 1])
    for k, rule in enumerate(rules):
        up, down = (evaluate([function], [a + d * (k == 0), b + d * (k == 1)])[0] for d in (step, -step))
        actual = torch.zeros(40, dtype=DOUBLE) if rule is None else evaluate([rule], [a, b])[0].expand(40)
        torch.testing.assert_close(actual, (up - down) / (2 * step), rtol=1e-7, atol=1e-8)


def test_powers() -> None:
    """Powers that are exact enough are expressions, others are not."""
    at = torch.linspace(0.3, 3, 19, dtype=DOUBLE)
    for exponent in (0.5, -0.5, -1, -2, 1, 2, 3, 4):
        made = e.power(x, exponent)
        assert made is not None
        torch.testing.assert_close(evaluate([made], [at])[0], at**exponent, rtol=1e-14, atol=0)
    assert e.power(x, 1.7) is None


ATTRIBUTES: dict[str, list[dict[str, object]]] = {
    "Activation": [{"act_type": name} for name in
                   ("relu", "sigmoid", "tanh", "softrelu", "softsign", "log_sigmoid", "mish")],
    "LeakyReLU": [{"act_type": name, "slope": 0.3} for name in ("leaky", "elu", "selu", "gelu")],
    "clip": [{"a_min": -0.5, "a_max": 0.75}],
    "hard_sigmoid": [{"alpha": 0.5, "beta": 0.25}],
    "smooth_l1": [{"scalar": 1.5}],
    "_contrib_quadratic": [{"a": 1.5, "b": -2.0, "c": 0.25}],
    "_power_scalar": [{"scalar": s} for s in (2, 3.0, 0.5, -1, 1)],
}  # fmt: skip
ARITY = {"add_n": 3, "_where_equal": 3}
CASES = [(name, attrs) for name in EXPRESSIONS
         for attrs in ATTRIBUTES.get(name, [{"scalar": 0.75}] if name.endswith("_scalar") else [{}])]  # fmt: skip


def arity(name: str) -> int:
    """Return how many arrays an operator takes."""
    if name in ARITY:
        return ARITY[name]
    return 2 if name.startswith(("elemwise_", "broadcast_", "_relu_", "_sigmoid_", "_tanh_")) or (
        name.startswith("_") and not name.endswith("_scalar") and name not in ("_copy", "_contrib_quadratic")
    ) else 1


@pytest.mark.parametrize("name, attrs", CASES, ids=[f"{n}-{next(iter(a.values()), '')}" for n, a in CASES])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_rows_of_the_table_are_their_operators(name: str, attrs: dict[str, object], dtype: torch.dtype) -> None:
    """An operator's expression, compiled, has the value and the gradient of its kernel."""
    op, count = lookup(name), arity(name)
    generator = torch.Generator().manual_seed(5)
    low = 0.2 if name in ("log", "sqrt", "rsqrt", "log1p") or attrs.get("scalar") == 0.5 else -2.0
    tensors = [torch.rand(7, 19, dtype=dtype, generator=generator) * (2 - low) + low for _ in range(count)]
    if count > 1 and name != "add_n":
        tensors[1][:2] = tensors[0][:2]  # ties
    made = EXPRESSIONS[name](attrs, *map(input, range(count)))
    assert made is not None
    rows = compile_rows([made], ["full"] * count, dtype)
    rtol = 3e-6 if dtype is torch.float32 else 1e-12
    torch.testing.assert_close(rows.forward(tensors)[0], op.kernel(*tensors, **attrs), rtol=rtol, atol=rtol)
    if op.own_gradient or name.startswith("_") and name.endswith("_backward"):
        return
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    result = op.kernel(*leaves, **attrs)
    if not result.requires_grad:
        return
    head = torch.rand(result.shape, dtype=dtype, generator=generator)
    expected = torch.autograd.grad(result, leaves, head, allow_unused=True)
    actual = rows.backward(tensors, [head], [True] * count)
    for mine, theirs in itertools.zip_longest(actual, expected):
        if mine is None or theirs is None:
            assert all(g is None or not g.any() for g in (mine, theirs))
        else:
            torch.testing.assert_close(mine, theirs, rtol=2 * rtol, atol=2 * rtol)


def test_what_the_table_leaves_to_kernels() -> None:
    """Slopes arranged by axes, random slopes, odd powers: None."""
    assert EXPRESSIONS["LeakyReLU"]({"act_type": "prelu"}, x, y) is None
    assert EXPRESSIONS["LeakyReLU"]({"act_type": "rrelu"}, x) is None
    assert EXPRESSIONS["_power_scalar"]({"scalar": 1.7}, x) is None
    assert EXPRESSIONS["Activation"]({"act_type": "swish"}, x) is None
