"""Expressions of one element of a row: an immutable graph of arithmetic whose equal parts are one object.

The one idea: nodes are interned when they are made ("hash-consed"), and the functions that make them apply the few
identities that lose nothing in floating point (x·1 = x, a - (-b) = a + b, constants). So common parts are found for
nothing, two equal segments are the same objects, and the object itself is the key of the compiled code.

A node is exact about NaN, infinities and signed zeros; comparisons are those of IEEE 754. `total` and `peak` are one
number per row, of all its columns, and may occur inside other expressions: exp(x - peak(x)).

Not here: derivatives (derivative.py), operators of the table as expressions (operators.py), values (evaluate.py),
machine code (segment.py, emit.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias, final
from weakref import WeakValueDictionary

from ...base.errors import ArgumentError, explain

__all__ = [
    "Expr", "Operand", "UNARY", "input", "constant", "add", "sub", "mul", "div", "neg", "exp", "expm1",
    "log", "log1p", "sqrt", "rsqrt", "reciprocal", "square", "abs", "sign", "relu", "sigmoid", "tanh", "softsign",
    "softrelu", "erf", "floor", "ceil", "trunc", "maximum", "minimum", "select", "power", "topological",
    "inputs_of", "number_of", "index_of", "total", "peak", "column_index", "row_index", "column_count", "row_count",
    "uniform", "remade", "REDUCTIONS", "POSITIONS", "varying",
]  # fmt: skip

Operand: TypeAlias = "Expr | float"

# Functions of one value that a node can be; everything else of one value is made of them.
UNARY = (
    "neg", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "abs", "sigmoid", "tanh", "softsign", "softrelu", "erf",
    "floor", "ceil", "trunc",
)  # fmt: skip
_PREDICATES = ("lt", "le", "eq", "ne")  # of `select`; with NaN only "ne" holds
REDUCTIONS = ("total", "peak")  # one number per row, of all its columns
POSITIONS = ("column_index", "row_index", "column_count", "row_count")


@final
class Expr:
    """One node.

    op : "input", "constant", a name of `UNARY`, "add", "sub", "mul", "div", "maximum", "minimum", "select", a name of
        `REDUCTIONS` or `POSITIONS`, or "uniform"
    args : the nodes it is made of; of "select": left and right of the comparison, value if true, value if false
    value : the input's index, the constant's number, the predicate of "select", or the stream of "uniform"; else None

    >>> x, y = input(0), input(1)
    >>> (x + y) is (y + x), x * 1.0 is x
    (True, True)
    """

    __slots__ = ("op", "args", "value", "serial", "__weakref__")

    op: str
    args: tuple[Expr, ...]
    value: int | float | str | None
    serial: int

    def __add__(self, other: Operand) -> Expr:
        return add(self, other)

    def __radd__(self, other: Operand) -> Expr:
        return add(other, self)

    def __sub__(self, other: Operand) -> Expr:
        return sub(self, other)

    def __rsub__(self, other: Operand) -> Expr:
        return sub(other, self)

    def __mul__(self, other: Operand) -> Expr:
        return mul(self, other)

    def __rmul__(self, other: Operand) -> Expr:
        return mul(other, self)

    def __truediv__(self, other: Operand) -> Expr:
        return div(self, other)

    def __rtruediv__(self, other: Operand) -> Expr:
        return div(other, self)

    def __neg__(self) -> Expr:
        return neg(self)

    def __repr__(self) -> str:
        if self.op == "input":
            return f"x{self.value}"
        if self.op == "constant":
            return repr(self.value)
        name = self.op if self.value is None else f"{self.op}.{self.value}"
        return f"{name}({', '.join(map(repr, self.args))})"


_nodes: WeakValueDictionary[tuple[object, ...], Expr] = WeakValueDictionary()
_count = 0


def _make(op: str, args: tuple[Expr, ...] = (), value: int | float | str | None = None) -> Expr:
    global _count
    # float.hex tells 0.0 from -0.0 and finds NaN equal to itself
    key = (op, value.hex() if isinstance(value, float) else value, args)
    node = _nodes.get(key)
    if node is None:
        node = Expr.__new__(Expr)
        node.op, node.args, node.value, node.serial = op, args, value, _count
        _count += 1
        node = _nodes.setdefault(key, node)
    return node


def input(index: int) -> Expr:
    """Return the element of input number `index`."""
    return _make("input", (), index)


def constant(value: float) -> Expr:
    """Return a number; float32 segments round it to float32."""
    return _make("constant", (), float(value))


def _node(value: Operand) -> Expr:
    return value if isinstance(value, Expr) else constant(value)


def number_of(node: Expr) -> float | None:
    """Return the number that a node is; None: it is no constant."""
    return node.value if node.op == "constant" and isinstance(node.value, float) else None


def index_of(node: Expr) -> int | None:
    """Return the index of the input that a node is; None: it is no input."""
    return node.value if node.op == "input" and isinstance(node.value, int) else None


# -- arithmetic ------------------------------------------------------------------------------------------------------


def add(left: Operand, right: Operand) -> Expr:
    """Return left + right."""
    a, b = _node(left), _node(right)
    p, q = number_of(a), number_of(b)
    if p is not None and q is not None:
        return constant(p + q)
    if b.op == "neg":
        return sub(a, b.args[0])
    if a.op == "neg":
        return sub(b, a.args[0])
    if a is b:
        return mul(a, 2.0)
    return _make("add", (a, b) if a.serial <= b.serial else (b, a))


def sub(left: Operand, right: Operand) -> Expr:
    """Return left - right."""
    a, b = _node(left), _node(right)
    p, q = number_of(a), number_of(b)
    if p is not None and q is not None:
        return constant(p - q)
    if q == 0 and math.copysign(1.0, q) > 0:
        return a
    if b.op == "neg":
        return add(a, b.args[0])
    return _make("sub", (a, b))


def mul(left: Operand, right: Operand) -> Expr:
    """Return left · right."""
    a, b = _node(left), _node(right)
    p, q = number_of(a), number_of(b)
    if p is not None and q is not None:
        return constant(p * q)
    if p is not None:
        a, b, q = b, a, p
    if q == 1:
        return a
    if q == -1:
        return neg(a)
    if a.op == "neg" and b.op == "neg":
        return mul(a.args[0], b.args[0])
    return _make("mul", (a, b) if a.serial <= b.serial else (b, a))


def div(left: Operand, right: Operand) -> Expr:
    """Return left / right."""
    a, b = _node(left), _node(right)
    q = number_of(b)
    if q is not None and q != 0 and math.isfinite(q) and abs_is_power_of_two(q):
        return mul(a, 1.0 / q)  # exact
    return _make("div", (a, b))


def abs_is_power_of_two(value: float) -> bool:
    """Return whether dividing by a number is exactly multiplying by its inverse, in float32, too."""
    mantissa, exponent = math.frexp(value)
    return math.fabs(mantissa) == 0.5 and -100 < exponent < 100


def neg(x: Operand) -> Expr:
    """Return -x."""
    a = _node(x)
    p = number_of(a)
    if p is not None:
        return constant(-p)
    return a.args[0] if a.op == "neg" else _make("neg", (a,))


# -- functions -------------------------------------------------------------------------------------------------------


def exp(x: Operand) -> Expr:
    """Return eˣ; where x is the logarithm of a softmax, the softmax: more exact, and its exponential is there already.

    >>> shifted = input(0) - peak(input(0))
    >>> exp(shifted - log(total(exp(shifted))))
    div(exp(sub(x0, peak(x0))), total(exp(sub(x0, peak(x0)))))
    """
    a = _node(x)
    if a.op == "sub" and a.args[1].op == "log":
        above, below = _make("exp", (a.args[0],)), a.args[1].args[0]
        if below.op == "total" and below.args[0] is above:
            return div(above, below)
    return _make("exp", (a,))


def expm1(x: Operand) -> Expr:
    """Return eˣ - 1, precise near 0."""
    return _make("expm1", (_node(x),))


def log(x: Operand) -> Expr:
    """Return the natural logarithm."""
    return _make("log", (_node(x),))


def log1p(x: Operand) -> Expr:
    """Return log(1 + x), precise near 0."""
    return _make("log1p", (_node(x),))


def sqrt(x: Operand) -> Expr:
    """Return the square root."""
    return _make("sqrt", (_node(x),))


def rsqrt(x: Operand) -> Expr:
    """Return 1 / √x."""
    return _make("rsqrt", (_node(x),))


def reciprocal(x: Operand) -> Expr:
    """Return 1 / x."""
    return div(1.0, x)


def square(x: Operand) -> Expr:
    """Return x²."""
    return mul(x, x)


def abs(x: Operand) -> Expr:
    """Return |x|."""
    return _make("abs", (_node(x),))


def sign(x: Operand) -> Expr:
    """Return -1, 0 or 1; 0 for NaN."""
    return select("lt", 0.0, x, 1.0, select("lt", x, 0.0, -1.0, 0.0))


def relu(x: Operand) -> Expr:
    """Return x where x > 0, NaN where x is NaN, else 0."""
    return select("le", x, 0.0, 0.0, x)


def sigmoid(x: Operand) -> Expr:
    """Return 1 / (1 + e⁻ˣ)."""
    return _make("sigmoid", (_node(x),))


def tanh(x: Operand) -> Expr:
    """Return the hyperbolic tangent."""
    return _make("tanh", (_node(x),))


def softsign(x: Operand) -> Expr:
    """Return x / (1 + |x|)."""
    return _make("softsign", (_node(x),))


def softrelu(x: Operand) -> Expr:
    """Return log(1 + eˣ)."""
    return _make("softrelu", (_node(x),))


def erf(x: Operand) -> Expr:
    """Return the Gauss error function."""
    return _make("erf", (_node(x),))


def floor(x: Operand) -> Expr:
    """Round down."""
    return _make("floor", (_node(x),))


def ceil(x: Operand) -> Expr:
    """Round up."""
    return _make("ceil", (_node(x),))


def trunc(x: Operand) -> Expr:
    """Drop the fraction."""
    return _make("trunc", (_node(x),))


def maximum(left: Operand, right: Operand) -> Expr:
    """Return the greater; NaN if one is NaN. Ties hand the gradient to the left."""
    return _make("maximum", (_node(left), _node(right)))


def minimum(left: Operand, right: Operand) -> Expr:
    """Return the smaller; NaN if one is NaN. Ties hand the gradient to the left."""
    return _make("minimum", (_node(left), _node(right)))


def select(predicate: str, left: Operand, right: Operand, yes: Operand, no: Operand) -> Expr:
    """Return `yes` where the comparison holds, else `no`; predicate: "lt", "le", "eq", "ne", "gt", "ge".

    >>> select("gt", input(0), 0.0, input(0), 0.0)
    select.lt(0.0, x0, x0, 0.0)
    """
    a, b, x, y = _node(left), _node(right), _node(yes), _node(no)
    if predicate in ("gt", "ge"):
        predicate, a, b = {"gt": "lt", "ge": "le"}[predicate], b, a
    if predicate not in _PREDICATES:
        raise ArgumentError(
            explain("select", "There is no such predicate.", expected="lt, le, eq, ne, gt, ge", received=predicate)
        )
    return x if x is y else _make("select", (a, b, x, y), predicate)


def power(x: Operand, exponent: float) -> Expr | None:
    """Return x to a power that a few multiplications and roots give exactly enough; None for all others."""
    base = _node(x)
    if exponent == 0.5:
        return sqrt(base)
    if exponent == -0.5:
        return rsqrt(base)
    if exponent == -1:
        return reciprocal(base)
    if exponent == -2:
        return reciprocal(square(base))
    if exponent in (1, 2, 3, 4):
        squared = square(base)
        return (base, squared, squared * base, squared * squared)[int(exponent) - 1]
    return None


# -- rows ------------------------------------------------------------------------------------------------------------


def total(x: Operand) -> Expr:
    """Return the sum over the columns of the row: one number per row.

    >>> x = input(0)
    >>> shifted = exp(x - peak(x))
    >>> shifted / total(shifted)
    div(exp(sub(x0, peak(x0))), total(exp(sub(x0, peak(x0)))))
    """
    return _make("total", (_node(x),))


def peak(x: Operand) -> Expr:
    """Return the greatest over the columns of the row; NaN if one is NaN. Ties share the gradient evenly."""
    return _make("peak", (_node(x),))


def column_index() -> Expr:
    """Return the position in the row, from 0; exact in float32 up to 2**24."""
    return _make("column_index")


def row_index() -> Expr:
    """Return the row's number, from 0; exact in float32 up to 2**24."""
    return _make("row_index")


def column_count() -> Expr:
    """Return the number of columns: total(x) / column_count() is the mean of the row."""
    return _make("column_count")


def row_count() -> Expr:
    """Return the number of rows."""
    return _make("row_count")


def uniform(seed: Expr, stream: int = 0) -> Expr:
    """Return a random number from [0, 1), another for every element, seed and stream.

    It depends on nothing but (seed, stream, row · columns + column): not on blocks, threads or the width of vectors.
    random_bits.py says which numbers and where their quality is documented.

    Parameters
    ----------
    seed : an input of format int64 that is one number per row (usually one for all, of row stride 0)
    stream : tells apart the draws of one seed, 0 to 2**31 - 1

    Raises
    ------
    ArgumentError : the seed is no input

    >>> keep = select("lt", uniform(input(1)), 0.9, input(0) / 0.9, 0.0)
    """
    if index_of(seed) is None:
        raise ArgumentError(explain("uniform", "The seed is computed.", expected="an input", received=seed))
    return _make("uniform", (seed,), int(stream))


# -- making again ----------------------------------------------------------------------------------------------------


def remade(node: Expr, args: Sequence[Expr]) -> Expr:
    """Return a node of the same kind over other arguments, simplified like a new one.

    >>> remade(uniform(input(0), 3), [input(7)])
    uniform.3(x7)
    """
    if not node.args:
        return node
    if node.op == "select":
        return select(str(node.value), *args)
    if node.op == "uniform":
        return uniform(args[0], int(node.value or 0))
    return globals()[node.op](*args)


# -- looking at graphs -----------------------------------------------------------------------------------------------


def topological(outputs: Iterable[Expr]) -> list[Expr]:
    """Return all nodes, arguments before what is made of them."""
    order: list[Expr] = []
    seen: set[Expr] = set()
    stack = [(node, False) for node in outputs]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((argument, False) for argument in node.args if argument not in seen)
    return order


def inputs_of(outputs: Sequence[Expr]) -> list[int]:
    """Return the indices of the inputs that outputs depend on, in ascending order."""
    return sorted(index for node in topological(outputs) if (index := index_of(node)) is not None)


def varying(order: Iterable[Expr], columns: frozenset[int]) -> set[Expr]:
    """Return the nodes that are not the same for all columns of a row.

    Parameters
    ----------
    order : nodes, arguments before what is made of them
    columns : indices of the inputs that are one number per row
    """
    found: set[Expr] = set()
    for node in order:
        index = index_of(node)
        if index is not None:
            if index not in columns:
                found.add(node)
        elif node.op in ("column_index", "uniform") or (node.op not in REDUCTIONS and not found.isdisjoint(node.args)):
            found.add(node)
    return found
