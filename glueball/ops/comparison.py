"""Comparisons and logic: equal, greater, logical_and, …; of equal shapes, with broadcasting, and with a number.

The one idea: the three forms of all nine relations come from one table; the result is 0 and 1 in the data's own type,
and no gradient flows. The number is first cast to the array's type. `logical_not` has one input: elementwise.py;
isnan and the like: passing.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from .attributes import Number
from .broadcast import apply_broadcast, reduced, same_shape_and_dtype
from .opdef import REQUIRED, Grad, OpDef, Tensor, Value, operator
from .rules.check import A, Check, S, check
from .rules.grad import zero
from .rules.infer import broadcasting, elementwise, same_shape
from .rules.layers import formula
from .rules.shapes import like_second
from .scalar import cast_scalar


class _Relation(NamedTuple):
    """One row: name, old names of the two-array and of the scalar form, kernel, NumPy reference, sentence."""

    name: str
    old: str
    old_scalar: str
    kernel: Callable[..., Tensor]
    reference: Callable[..., Any]
    words: str


def _logic(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Let a function of two boolean arrays take a number on the right."""

    def apply(lhs: Tensor, rhs: Any) -> Tensor:
        right = rhs if isinstance(rhs, torch.Tensor) else torch.full((), float(rhs), device=lhs.device)
        return function(lhs != 0, right != 0)

    return apply


_RELATIONS = (
    _Relation("equal", "_Equal", "_EqualScalar", torch.eq, np.equal, "equals"),
    _Relation("not_equal", "_Not_Equal", "_NotEqualScalar", torch.ne, np.not_equal, "differs from"),
    _Relation("greater", "_Greater", "_GreaterScalar", torch.gt, np.greater, "is greater than"),
    _Relation(
        "greater_equal",
        "_Greater_Equal",
        "_GreaterEqualScalar",
        torch.ge,
        np.greater_equal,
        "is greater than or equal to",
    ),
    _Relation("lesser", "_Lesser", "_LesserScalar", torch.lt, np.less, "is less than"),
    _Relation(
        "lesser_equal", "_Lesser_Equal", "_LesserEqualScalar", torch.le, np.less_equal, "is less than or equal to"
    ),
    _Relation(
        "logical_and",
        "_Logical_And",
        "_LogicalAndScalar",
        _logic(torch.logical_and),
        np.logical_and,
        "and rhs are both not 0, not",
    ),
    _Relation(
        "logical_or", "_Logical_Or", "_LogicalOrScalar", _logic(torch.logical_or), np.logical_or, "is not 0, or else"
    ),
    _Relation(
        "logical_xor",
        "_Logical_Xor",
        "_LogicalXorScalar",
        _logic(torch.logical_xor),
        np.logical_xor,
        "is not 0, unless so is",
    ),
)
_WORDS = {
    "logical_and": "lhs and rhs are both not 0",
    "logical_or": "lhs or rhs is not 0",
    "logical_xor": "exactly one of lhs and rhs is not 0",
}


def _sentence(row: _Relation, suffix: str) -> str:
    condition = _WORDS.get(row.name, f"lhs {row.words} rhs")
    return f"Compute 1 where {condition}, else 0, in the type of lhs{suffix}; no gradient flows."


def _checks(row: _Relation, broadcast: bool) -> Check:
    samples = [
        S(A(3, 4, ints=3), A(3, 4, ints=3)),
        S(A(3, 4, ints=3, dtype="int32"), A(3, 4, ints=3, dtype="int32")),
        S(A(0, 2), A(0, 2)),
    ]
    if broadcast:
        samples.append(S(A(2, 1, 3, ints=3), A(4, 1, ints=3)))
    bad = ((A(2, 3), A(2, 2)), {}, "shape")
    return check(*samples, ref=lambda a, b: row.reference(a, b).astype(a.dtype), errors=[bad])


def _scalar_checks(row: _Relation) -> Check:
    return check(
        S(A(3, 4, ints=3), scalar=1.0),
        S(A(3, 4, ints=3), scalar=0.0),
        S(A(3, 4, ints=3, dtype="int32"), scalar=1.7),
        S(A(0, 2), scalar=1.0),
        ref=lambda x, scalar: row.reference(x, scalar if x.dtype.kind == "f" else int(scalar)).astype(x.dtype),
    )


def _define(row: _Relation) -> tuple[OpDef, OpDef, OpDef]:
    """Define the three operators of one relation."""
    plain, wide = f"_{row.name}", f"broadcast_{row.name}"

    def two(lhs: Tensor, rhs: Tensor) -> Tensor:
        same_shape_and_dtype(plain, lhs, rhs)
        return row.kernel(lhs, rhs).to(lhs.dtype)

    def broadcast(lhs: Tensor, rhs: Tensor) -> Tensor:
        return apply_broadcast(wide, row.kernel, lhs, rhs).to(lhs.dtype)

    def scalar_form(data: Tensor, scalar: Number = REQUIRED, is_int: bool = True) -> Tensor:
        return row.kernel(data, cast_scalar(data, scalar)).to(data.dtype)

    two.__doc__ = _sentence(row, " (equal shapes)")
    broadcast.__doc__ = _sentence(row, ", stretching axes of size 1")
    scalar_form.__doc__ = _sentence(row, " for lhs = data and rhs = scalar")
    return (
        operator(name=plain, aliases=(row.old,), infer=elementwise, gradient=zero, check=_checks(row, broadcast=False))(
            two
        ),
        operator(name=wide, infer=broadcasting, gradient=zero, check=_checks(row, broadcast=True))(broadcast),
        operator(
            name=f"{plain}_scalar",
            aliases=(row.old_scalar,),
            infer=same_shape,
            gradient=zero,
            check=_scalar_checks(row),
        )(scalar_form),
    )


COMPARISONS: dict[str, tuple[OpDef, OpDef, OpDef]] = {row.name: _define(row) for row in _RELATIONS}


@operator(
    nondiff=("lhs", "rhs"),
    infer=formula(like_second),
    check=check(
        S(A(3, 4), A(3, 4, ints=2), A(3, 4, ints=2)),
        S(A(3, 1), A(3, 4, ints=2), A(3, 1, ints=2)),
        S(A(0, 2), A(0, 2), A(0, 2)),
        ref=lambda g, a, b: np.where(a == b, g, 0),
    ),
)
def _where_equal(grad: Tensor, lhs: Tensor, rhs: Tensor) -> Tensor:
    """Compute grad where lhs = rhs, else 0, in the shape of lhs: the gradient of what hands an input on."""
    return torch.where(lhs == rhs, grad, 0)


@_where_equal.grad
def _(c: Grad) -> Value:
    return reduced(c, _where_equal(c.g, c.ins[1], c.ins[2]), 0), None, None
