"""Sums and maxima over children, put together from single terms in whatever order the user's loop made them.

The one idea: a sum is complete when every expression of a child occurs equally often for all of them; then it is
"sum" over the edges plus what belongs to the node. Additions inside a term are opened only when the terms as they
stand do not fit together.

Not here: which operators add up, and what else a traced value can be (ragged.py).
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..ops.opdef import OpDef, TensorType
from .expression import Algebra, Expression

__all__ = ["COMBINING", "Term", "imbalance", "settle", "signs_of"]

COMBINING = {"elemwise_add": "sum", "broadcast_add": "sum", "add_n": "sum", "elemwise_sub": "sum",
             "broadcast_sub": "sum", "negative": "sum", "_maximum": "max", "broadcast_maximum": "max",
             "_minimum": "min", "broadcast_minimum": "min"}
LARGEST = 20_000  # terms; a sum of sums of sums that opens into more is left alone


class Term(NamedTuple):
    """One summand: of a child, or of the node (child None)."""

    sign: int
    expression: Expression
    child: int | None


def signs_of(op: OpDef, inputs: int) -> list[int]:
    """Return the sign with which each input enters."""
    if op.name in ("elemwise_sub", "broadcast_sub"):
        return [1, -1]
    return [-1] if op.name == "negative" else [1] * inputs


def settle(algebra: Algebra, kind: str, terms: Sequence[Term], count: int, result: TensorType,
           final: bool) -> Expression | None:
    """Return the sum, maximum or minimum of `terms` as an expression of the node when all children are in it.

    With `final` False a sum that looks as if its loop has not ended yet (see _unfinished) is left open.
    """
    opened = _opened(kind, terms)
    for candidate in (list(terms), opened):
        if candidate is None:
            continue
        groups = _grouped(candidate, count, kind)
        if groups is None:
            continue
        if kind == "sum" and not final and opened is not None and _unfinished(opened, count):
            return None
        made = _sum(algebra, groups, count) if kind == "sum" else _extreme(algebra, groups, kind)
        if made is not None and made.type == result:
            return made
    return None


def _opened(kind: str, terms: Sequence[Term]) -> list[Term] | None:
    """Return the terms with every child's additions taken apart; None when there are too many."""
    result: list[Term] = []
    stack = list(reversed(terms))
    while stack:
        term = stack.pop()
        of = term.expression.of
        own_dtype = all(i is not None and i.type.dtype == term.expression.type.dtype for i in of.inputs)
        if term.expression.is_edge and not isinstance(of.op, str) and COMBINING.get(of.name) == kind and own_dtype:
            for sign, part in reversed(list(zip(signs_of(of.op, len(of.inputs)), of.inputs))):
                if part is not None:
                    stack.append(Term(term.sign * sign, part, term.child if part.is_edge else None))
        else:
            result.append(term)
        if len(result) + len(stack) > LARGEST:
            return None
    return result


def _grouped(terms: Sequence[Term], count: int, kind: str) -> dict[Expression, int] | None:
    """Return how often each expression occurs (per child, for expressions of children); None when that differs."""
    of_node: dict[Expression, int] = {}
    of_children: dict[Expression, list[int]] = {}
    order: dict[Expression, None] = {}
    for sign, expression, child in terms:
        order[expression] = None
        if child is None:
            of_node[expression] = of_node.get(expression, 0) + sign
        else:
            of_children.setdefault(expression, [0] * count)[child] += sign
    groups: dict[Expression, int] = {}
    for expression in order:
        if expression in of_node:
            groups[expression] = of_node[expression]
            continue
        found = of_children[expression]
        if 0 in found or (kind == "sum" and len(set(found)) > 1):
            return None
        groups[expression] = found[0]
    return groups


def imbalance(kind: str, terms: Sequence[Term], count: int) -> str:
    """Say in words for which child something is there that another has not, "" when all have the same."""
    seen: dict[Expression, list[int]] = {}
    for sign, expression, child in _opened(kind, terms) or terms:
        if child is not None:
            seen.setdefault(expression, [0] * count)[child] += sign
    for expression, times in seen.items():
        if len(set(times)) > 1:
            most, least = times.index(max(times, key=abs)), times.index(min(times, key=abs))
            name = expression.of.name or "the child itself"
            place = f" (made at {expression.of.origin})" if expression.of.origin else ""
            return f"{name}{place} of child {most} has no counterpart for child {least}"
    return ""


def _unfinished(terms: Sequence[Term], count: int) -> bool:
    """Whether something of the node stands between the children once less than there are children: in a loop that
    adds `h` and then `x` for each child, the last `x` is still to come.
    """
    first = next((i for i, t in enumerate(terms) if t.child is not None), 0)
    times: dict[Expression, int] = {}
    for term in terms[first:]:
        if term.child is None:
            times[term.expression] = times.get(term.expression, 0) + 1
    before = {t.expression for t in terms[:first]}
    return any(n == count - 1 and e not in before for e, n in times.items())


def _sum(algebra: Algebra, groups: dict[Expression, int], count: int) -> Expression | None:
    parts: list[tuple[int, Expression]] = []
    edge = next((e for e, times in groups.items() if e.is_edge and abs(times) == 1), None)
    carried = [(e, times) for e, times in groups.items() if not e.is_edge and e.of.shared and abs(times) >= count]
    for expression, times in groups.items():
        sign, often = (1 if times > 0 else -1), abs(times)
        if expression.is_edge:
            if expression == edge:  # what is shared has no rows of its own to spread: it is added to a child's
                for other, number in carried:
                    expression = _plus(algebra, expression, _times(algebra, other, abs(number) // count),
                                       number * sign > 0)
            parts.append((sign, _times(algebra, algebra.sum(expression, count), often)))
            continue
        each, once = divmod(often, count)
        if each and not expression.of.shared:
            parts.append((sign, _times(algebra, algebra.sum(expression, count), each)))
        elif each and edge is None:
            return None
        if once:
            parts.append((sign, _times(algebra, expression, once)))
    parts.sort(key=lambda part: part[0] < 0)  # begin with something positive
    if not parts:
        return None
    sign, total = parts[0]
    total = total if sign > 0 else algebra.call("negative", total)
    for sign, part in parts[1:]:
        total = _plus(algebra, total, part, sign > 0)
    return total


def _plus(algebra: Algebra, left: Expression, right: Expression, positive: bool) -> Expression:
    name = "add" if positive else "sub"
    return algebra.call(f"elemwise_{name}" if left.shape == right.shape else f"broadcast_{name}", left, right)


def _times(algebra: Algebra, expression: Expression, factor: int) -> Expression:
    return expression if factor == 1 else algebra.call("_mul_scalar", expression, scalar=factor)


def _extreme(algebra: Algebra, groups: dict[Expression, int], kind: str) -> Expression:
    name = "maximum" if kind == "max" else "minimum"
    parts = [algebra.extreme(kind, e, first=True) if e.is_edge else e for e in groups]
    total = parts[0]
    for part in parts[1:]:
        total = algebra.call(f"_{name}" if total.shape == part.shape else f"broadcast_{name}", total, part)
    return total
