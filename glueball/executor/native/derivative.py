"""Reverse-mode derivatives of expressions: one rule per kind of node.

The one idea: the gradient of a segment is another segment, over the same inputs and the gradients of its outputs; so
it shares parts with the forward expressions, is simplified and compiled like them, and can be derived again. A gradient
that is nothing is None, not a constant 0, so that what is not needed is never computed. What is one number per row
(total, peak, and what is made of them) gets the total of the gradients that vary with the column.

Not here: sums over rows and columns for inputs that were broadcast (emit.py adds them up on the way).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from . import expression as e
from .expression import Expr

__all__ = ["gradients"]

# (node, gradient of the node) -> a gradient, or None, for each argument
Rule: TypeAlias = Callable[[Expr, Expr], tuple[Expr | None, ...]]


def _select(y: Expr, g: Expr) -> tuple[Expr | None, ...]:
    left, right, yes, no = y.args
    predicate = str(y.value)
    return (
        None,
        None,
        None if yes.op == "constant" else e.select(predicate, left, right, g, 0.0),
        None if no.op == "constant" else e.select(predicate, left, right, 0.0, g),
    )


def _choice(left_wins: str, right_wins: str) -> Rule:
    def rule(y: Expr, g: Expr) -> tuple[Expr | None, ...]:
        a, b = y.args
        return e.select(left_wins, a, b, g, 0.0), e.select(right_wins, a, b, g, 0.0)

    return rule


def _quotient(y: Expr, g: Expr) -> tuple[Expr | None, ...]:
    left = g / y.args[1]
    return left, -(left * y)


def _soft_sign(y: Expr, g: Expr) -> tuple[Expr | None, ...]:
    return (g / e.square(1.0 + e.abs(y.args[0])),)


def _peak(y: Expr, g: Expr) -> tuple[Expr | None, ...]:
    (x,) = y.args
    share = g / e.total(e.select("eq", x, y, 1.0, 0.0))
    return (e.select("eq", x, y, share, 0.0),)


_RULES: Mapping[str, Rule] = {
    "add": lambda y, g: (g, g),
    "sub": lambda y, g: (g, -g),
    "mul": lambda y, g: (g * y.args[1], g * y.args[0]),
    "div": _quotient,
    "neg": lambda y, g: (-g,),
    "exp": lambda y, g: (g * y,),
    "expm1": lambda y, g: (g * e.exp(y.args[0]),),  # y + 1 would lose every digit of a small e**x
    "log": lambda y, g: (g / y.args[0],),
    "log1p": lambda y, g: (g / (1.0 + y.args[0]),),
    "sqrt": lambda y, g: (g / (y * 2.0),),
    "rsqrt": lambda y, g: (g * y * y * y * -0.5,),
    "abs": lambda y, g: (g * e.sign(y.args[0]),),
    "sigmoid": lambda y, g: (g * ((1.0 - y) * y),),
    "tanh": lambda y, g: (g * (1.0 - y * y),),
    "softsign": _soft_sign,
    "softrelu": lambda y, g: (g * e.sigmoid(y.args[0]),),
    "erf": lambda y, g: (g * (e.exp(-(y.args[0] * y.args[0])) * (2 / math.sqrt(math.pi))),),
    "floor": lambda y, g: (None,),
    "ceil": lambda y, g: (None,),
    "trunc": lambda y, g: (None,),
    "maximum": _choice("ge", "lt"),
    "minimum": _choice("le", "gt"),
    "select": _select,
    "total": lambda y, g: (g,),
    "peak": _peak,
    "uniform": lambda y, g: (None,),
}


def gradients(
    outputs: Sequence[Expr], seeds: Sequence[Expr | None], wrt: Sequence[int], columns: frozenset[int] = frozenset()
) -> list[Expr | None]:
    """Return the gradients of inputs, given those of outputs.

    Parameters
    ----------
    outputs : the expressions that are derived
    seeds : per output its gradient, usually inputs of higher indices; None: there is none
    wrt : indices of the inputs whose gradients are asked for
    columns : indices of the inputs (and seeds) that are one number per row and whose gradients shall be, too; the
        gradient of an input of one number per row that is not named here is to be summed over the columns

    Returns
    -------
    per index in `wrt` the gradient; None where no output depends on the input

    >>> x, g = e.input(0), e.input(1)
    >>> gradients([3.0 - x, e.exp(g)], [g, None], [0])
    [neg(x1)]
    >>> gradients([e.total(x)], [g], [0]), gradients([e.total(x)], [g], [0], frozenset([1]))
    ([total(x1)], [x1])
    """
    order = e.topological(outputs)
    wanted = {e.input(index) for index in wrt}
    reached: set[Expr] = set()  # nodes that depend on a wanted input: only their gradients are built
    for node in order:
        if node in wanted or any(argument in reached for argument in node.args):
            reached.add(node)
    single = _of_rows(order, columns)
    total: dict[Expr, Expr] = {}

    def collect(node: Expr, part: Expr) -> None:
        if node in single and part in e.varying(e.topological([part]), columns):
            part = e.total(part)
        total[node] = e.add(total[node], part) if node in total else part

    for output, seed in zip(outputs, seeds):
        if seed is not None:
            collect(output, seed)
    for node in reversed(order):
        g = total.get(node)
        if g is None or node not in reached or not node.args:
            continue
        for argument, part in zip(node.args, _RULES[node.op](node, g)):
            if part is not None and argument in reached:
                if node.op in e.REDUCTIONS and argument in single:  # the same number in every column
                    part = part * e.column_count()
                collect(argument, part)
    return [total.get(e.input(index)) for index in wrt]


def _of_rows(order: Sequence[Expr], columns: frozenset[int]) -> set[Expr]:
    """Return the nodes whose gradient is one number per row: what is made of totals and of inputs in `columns`."""
    varying = e.varying(order, columns)
    found: set[Expr] = set()
    for node in order:
        index = e.index_of(node)
        if index in columns or node.op in e.REDUCTIONS or (node not in varying and not found.isdisjoint(node.args)):
            found.add(node)
    return found
