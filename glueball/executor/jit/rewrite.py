"""Expressions with other inputs: what an expression is over a part of its columns, or in another kernel.

Not here: how expressions are made and simplified (native/expression.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from ..native import expression as e
from ..native.expression import Expr

__all__ = ["ROW_WIDE", "substitute"]

ROW_WIDE = frozenset({"total", "peak", "column_index", "column_count", "uniform"})
"""Operations that look at a whole row, at its size, or at the place in it."""


def substitute(expression: Expr, inputs: Mapping[int, Expr]) -> Expr:
    """Return an expression with its inputs, by number, replaced.

    >>> x, y = e.input(0), e.input(1)
    >>> substitute(x + e.exp(y), {0: e.input(5), 1: e.input(7)})
    add(x5, exp(x7))
    """
    made: dict[Expr, Expr] = {}
    for node in e.topological([expression]):
        index = e.index_of(node)
        if index is not None:
            made[node] = inputs[index]
        else:
            made[node] = e.remade(node, [made[argument] for argument in node.args])
    return made[expression]
