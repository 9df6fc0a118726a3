"""Arithmetic of two arrays, with and without broadcasting; stretching one array to a shape; sums of many.

The one idea: `elemwise_*` need equal shapes, `broadcast_*` follow NumPy; both refuse unequal dtypes; the gradient of
a broadcast input is the gradient summed over the axes that were stretched (`_sum_to`). Rules of broadcasting
operators compute on values of unequal shapes, so they call `broadcast_*`, never a bare sign. With a number on one
side: scalar.py; comparisons and logic: comparison.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..base.errors import ArgumentError, DTypeError, ShapeError, explain
from .attributes import Shape
from .elementwise import floor
from .opdef import REQUIRED, Grad, Tensor, Value, from_kernel, lookup, operator
from .rules.check import A, Check, S, binary, check
from .rules.emit import text
from .rules.infer import broadcast_shapes, broadcasting, elementwise
from .rules.layers import formula
from .rules.shapes import stretched, target


def same_dtype(where: str, lhs: Tensor, rhs: Tensor) -> None:
    """Refuse arrays of two dtypes."""
    if lhs.dtype is not rhs.dtype:
        received = f"{lhs.dtype} and {rhs.dtype}".replace("torch.", "")
        raise DTypeError(
            explain(
                where,
                "The element types differ.",
                expected="one dtype",
                received=received,
                fix="convert one of them, for example with x.astype('float32')",
            )
        )


def apply_broadcast(where: str, function: Callable[[Tensor, Tensor], Tensor], lhs: Tensor, rhs: Tensor) -> Tensor:
    """Apply a broadcasting function of torch; unequal dtypes and shapes that do not fit are refused in words."""
    same_dtype(where, lhs, rhs)
    try:
        return function(lhs, rhs)
    except RuntimeError:
        broadcast_shapes(tuple(lhs.shape), tuple(rhs.shape), where)  # raises when the shapes are the reason
        raise


def same_shape_and_dtype(where: str, lhs: Tensor, rhs: Tensor) -> None:
    """Refuse arrays of two shapes or dtypes (elemwise_*)."""
    if lhs.shape != rhs.shape:
        raise ShapeError(
            explain(
                where,
                "The shapes differ.",
                expected="equal shapes",
                received=f"{tuple(lhs.shape)} and {tuple(rhs.shape)}",
                fix=f"use {where.replace('elemwise', 'broadcast')} to stretch axes of size 1",
            )
        )
    same_dtype(where, lhs, rhs)


def _np_sum_to(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    x = x.sum(axis=tuple(range(x.ndim - len(shape))))
    return x.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1), keepdims=True)


@operator(
    infer=formula(target),
    check=check(S(A(2, 3, 4), shape=(3, 1)), S(A(2, 3), shape=(2, 3)), S(A(2, 3), shape=(1,)), ref=_np_sum_to),
)
def _sum_to(data: Tensor, shape: Shape = REQUIRED) -> Tensor:
    """Sum over the axes along which `shape` would be stretched to the data's shape: the gradient of broadcasting."""
    return data.sum_to_size(shape) if tuple(data.shape) != tuple(shape) else data.clone()


@_sum_to.grad
def _(c: Grad) -> Value:
    return _expand_to(c.g, shape=c.shape())


@operator(
    infer=formula(target),
    view="copy",
    emit=text("{0}.expand({shape})"),
    check=check(S(A(3, 1), shape=(2, 3, 4)), S(A(1), shape=(2, 3)), ref=np.broadcast_to),
)
def _expand_to(data: Tensor, shape: Shape = REQUIRED) -> Tensor:
    """Stretch to `shape` by NumPy's rules."""
    return data.expand(shape)


@_expand_to.grad
def _(c: Grad) -> Value:
    return _sum_to(c.g, shape=c.shape())


def reduced(c: Grad, gradient: Value, index: int) -> Value:
    """Return a gradient in the result's shape, summed to the shape of input `index`."""
    shape = c.shape(index)
    return gradient if shape == c.out_types[0].shape else _sum_to(gradient, shape=shape)


# -- equal shapes ----------------------------------------------------------------------------------------------------


def _equal_shapes(ref: Any, low: float = -2.0, high: float = 2.0) -> Check:
    return binary(ref, low=low, high=high, broadcast=False, errors=[((A(2, 3), A(2, 1)), {}, "shape")])


def _any_shapes(ref: Any, low: float = -2.0, high: float = 2.0) -> Check:
    return binary(
        ref, low=low, high=high, errors=[((A(2, 3), A(2, 2)), {}, "shape"), ((A(2), A(2, dtype="int32")), {}, "type")]
    )


@operator(
    aliases=("_plus", "_Plus", "_add", "_grad_add"),
    emit=text("torch.add({0}, {1})"),
    infer=elementwise,
    inplace="{0}.add_({1})",
    check=_equal_shapes(np.add),
)
def elemwise_add(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Add two arrays of equal shape."""
    same_shape_and_dtype("elemwise_add", lhs, rhs)
    return torch.add(lhs, rhs)


@elemwise_add.grad
def _(c: Grad) -> Value:
    return c.g, c.g


@operator(
    aliases=("_minus", "_Minus", "_sub"),
    emit=text("torch.sub({0}, {1})"),
    infer=elementwise,
    inplace="{0}.sub_({1})",
    check=_equal_shapes(np.subtract),
)
def elemwise_sub(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Subtract two arrays of equal shape."""
    same_shape_and_dtype("elemwise_sub", lhs, rhs)
    return torch.sub(lhs, rhs)


@elemwise_sub.grad
def _(c: Grad) -> Value:
    return c.g, c.g * -1


@operator(
    aliases=("_mul", "_Mul"),
    emit=text("torch.mul({0}, {1})"),
    infer=elementwise,
    inplace="{0}.mul_({1})",
    check=_equal_shapes(np.multiply),
)
def elemwise_mul(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Multiply two arrays of equal shape."""
    same_shape_and_dtype("elemwise_mul", lhs, rhs)
    return torch.mul(lhs, rhs)


@elemwise_mul.grad
def _(c: Grad) -> Value:
    return c.g * c.ins[1], c.g * c.ins[0]


def _quotient(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Divide; integers drop the fraction."""
    return torch.div(lhs, rhs) if lhs.dtype.is_floating_point else torch.div(lhs, rhs, rounding_mode="trunc")


@operator(aliases=("_div", "_Div", "_scatter_elemwise_div"), infer=elementwise, check=_equal_shapes(np.divide, low=0.5))
def elemwise_div(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Divide two arrays of equal shape; integers drop the fraction."""
    same_shape_and_dtype("elemwise_div", lhs, rhs)
    return _quotient(lhs, rhs)


@elemwise_div.grad
def _(c: Grad) -> Value:
    left = c.g / c.ins[1]
    return left, left * c.out * -1


def _power(lhs: Tensor, rhs: Tensor) -> Tensor:
    if lhs.dtype.is_floating_point:
        return torch.pow(lhs, rhs)
    return torch.pow(lhs.to(torch.float64), rhs.to(torch.float64)).to(lhs.dtype)


@operator(name="_power", aliases=("_Power",), infer=elementwise, check=_equal_shapes(np.power, low=0.3))
def _power_array(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Compute lhs ** rhs for arrays of equal shape."""
    same_shape_and_dtype("_power", lhs, rhs)
    return _power(lhs, rhs)


def _remainder(lhs: Tensor, rhs: Tensor) -> Tensor:
    zero = rhs == 0
    return torch.where(zero, 0, torch.remainder(lhs, torch.where(zero, 1, rhs)))


@operator(name="_mod", aliases=("_Mod",), infer=elementwise, own_gradient=True, check=_equal_shapes(np.mod, low=0.8))
def _mod(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Compute the remainder of lhs / rhs, with the sign of rhs, for arrays of equal shape; 0 where rhs is 0."""
    same_shape_and_dtype("_mod", lhs, rhs)
    return _remainder(lhs, rhs)


@operator(name="_maximum", aliases=("_Maximum",), infer=elementwise, own_gradient=True, check=_equal_shapes(np.maximum))
def _maximum(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Compute the greater element of two arrays of equal shape; ties hand the gradient to lhs."""
    same_shape_and_dtype("_maximum", lhs, rhs)
    return torch.maximum(lhs, rhs)


@operator(name="_minimum", aliases=("_Minimum",), infer=elementwise, own_gradient=True, check=_equal_shapes(np.minimum))
def _minimum(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Compute the smaller element of two arrays of equal shape; ties hand the gradient to lhs."""
    same_shape_and_dtype("_minimum", lhs, rhs)
    return torch.minimum(lhs, rhs)


def _length(lhs: Tensor, rhs: Tensor) -> Tensor:
    if lhs.dtype.is_floating_point:
        return torch.hypot(lhs, rhs)
    return torch.hypot(lhs.to(torch.float64), rhs.to(torch.float64)).to(lhs.dtype)


@operator(name="_hypot", aliases=("_Hypot",), infer=elementwise, check=_equal_shapes(np.hypot, low=0.3))
def _hypot(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Compute sqrt(lhs² + rhs²) for arrays of equal shape."""
    same_shape_and_dtype("_hypot", lhs, rhs)
    return _length(lhs, rhs)


# -- with broadcasting -----------------------------------------------------------------------------------------------


@operator(aliases=("broadcast_plus",), emit=text("torch.add({0}, {1})"), infer=broadcasting, check=_any_shapes(np.add))
def broadcast_add(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Add two arrays, stretching axes of size 1."""
    return apply_broadcast("broadcast_add", torch.add, lhs, rhs)


@broadcast_add.grad
def _(c: Grad) -> Value:
    return reduced(c, c.g, 0), reduced(c, c.g, 1)


@operator(
    aliases=("broadcast_minus",), emit=text("torch.sub({0}, {1})"), infer=broadcasting, check=_any_shapes(np.subtract)
)
def broadcast_sub(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Subtract two arrays, stretching axes of size 1."""
    return apply_broadcast("broadcast_sub", torch.sub, lhs, rhs)


@broadcast_sub.grad
def _(c: Grad) -> Value:
    return reduced(c, c.g, 0), reduced(c, c.g, 1) * -1


@operator(emit=text("torch.mul({0}, {1})"), infer=broadcasting, check=_any_shapes(np.multiply))
def broadcast_mul(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Multiply two arrays, stretching axes of size 1."""
    return apply_broadcast("broadcast_mul", torch.mul, lhs, rhs)


@broadcast_mul.grad
def _(c: Grad) -> Value:
    return reduced(c, broadcast_mul(c.g, c.ins[1]), 0), reduced(c, broadcast_mul(c.g, c.ins[0]), 1)


@operator(infer=broadcasting, check=_any_shapes(np.divide, low=0.5))
def broadcast_div(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Divide two arrays, stretching axes of size 1; integers drop the fraction."""
    return apply_broadcast("broadcast_div", _quotient, lhs, rhs)


@broadcast_div.grad
def _(c: Grad) -> Value:
    left = broadcast_div(c.g, c.ins[1])
    return reduced(c, left, 0), reduced(c, left * c.out, 1) * -1


@operator(infer=broadcasting, check=_any_shapes(np.power, low=0.3))
def broadcast_power(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Compute lhs ** rhs, stretching axes of size 1."""
    return apply_broadcast("broadcast_power", _power, lhs, rhs)


def _power_gradient(c: Grad) -> Value:
    base, exponent = c.ins
    return (
        reduced(c, _power_backward_base(c.g, base, exponent), 0),
        reduced(c, _power_backward_exponent(c.g, base, c.out), 1),
    )


broadcast_power.grad(_power_gradient)
_power_array.grad(_power_gradient)


@operator(
    infer=formula(stretched),
    gradient=from_kernel,
    check=check(
        S(A(2, 3), A(2, 3, low=0.3), A(2, 3)),
        S(A(2, 3), A(2, 1, low=0.3), A(3)),
        ref=lambda g, x, y: g * y * x ** (y - 1),
    ),
)
def _power_backward_base(grad: Tensor, base: Tensor, exponent: Tensor) -> Tensor:
    """Compute grad * exponent * base ** (exponent - 1), and 0 where the exponent is 0.

    The gradient of a power by its base.
    """
    return torch.where(exponent == 0, 0, grad * exponent * torch.pow(base, exponent - 1))


@operator(
    infer=formula(stretched),
    gradient=from_kernel,
    check=check(
        S(A(2, 3), A(2, 3, low=0.3), A(2, 3)),
        S(A(2, 3), A(2, 1, low=0.3), A(2, 3)),
        ref=lambda g, x, out: g * out * np.log(x),
    ),
)
def _power_backward_exponent(grad: Tensor, base: Tensor, result: Tensor) -> Tensor:
    """Compute grad * result * log(base), and 0 where result and base are 0: the gradient of a power by its exponent."""
    return torch.where((base == 0) & (result == 0), 0, grad * result * torch.log(base))


@operator(infer=broadcasting, own_gradient=True, check=_any_shapes(np.mod, low=0.8))
def broadcast_mod(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Compute the remainder of lhs / rhs, with the sign of rhs, stretching axes of size 1; 0 where rhs is 0."""
    return apply_broadcast("broadcast_mod", _remainder, lhs, rhs)


def _mod_gradient(c: Grad) -> Value:
    wholes = floor(broadcast_div(c.ins[0], c.ins[1]))
    return reduced(c, c.g, 0), reduced(c, c.g * wholes, 1) * -1


broadcast_mod.grad(_mod_gradient)
_mod.grad(_mod_gradient)


@operator(infer=broadcasting, own_gradient=True, check=_any_shapes(np.maximum))
def broadcast_maximum(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Compute the greater element, stretching axes of size 1; ties hand the gradient to lhs."""
    return apply_broadcast("broadcast_maximum", torch.maximum, lhs, rhs)


@operator(infer=broadcasting, own_gradient=True, check=_any_shapes(np.minimum))
def broadcast_minimum(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Compute the smaller element, stretching axes of size 1; ties hand the gradient to lhs."""
    return apply_broadcast("broadcast_minimum", torch.minimum, lhs, rhs)


def _choice_gradient(left_wins: str, right_wins: str) -> Any:
    """Return the rule that hands the gradient to the side whose element was taken."""

    def rule(c: Grad) -> Value:
        return (
            reduced(c, c.g * lookup(left_wins)(c.ins[0], c.ins[1]), 0),
            reduced(c, c.g * lookup(right_wins)(c.ins[0], c.ins[1]), 1),
        )

    return rule


for _op, _left, _right in (
    (broadcast_maximum, "greater_equal", "lesser"),
    (broadcast_minimum, "lesser_equal", "greater"),
    (_maximum, "greater_equal", "lesser"),
    (_minimum, "lesser_equal", "greater"),
):
    _op.grad(_choice_gradient(f"broadcast_{_left}", f"broadcast_{_right}"))


@operator(infer=broadcasting, check=_any_shapes(np.hypot, low=0.3))
def broadcast_hypot(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Compute sqrt(lhs² + rhs²), stretching axes of size 1."""
    return apply_broadcast("broadcast_hypot", _length, lhs, rhs)


def _hypot_gradient(c: Grad) -> Value:
    share = c.g / c.out
    return reduced(c, broadcast_mul(share, c.ins[0]), 0), reduced(c, broadcast_mul(share, c.ins[1]), 1)


broadcast_hypot.grad(_hypot_gradient)
_hypot.grad(_hypot_gradient)


# -- stretching one array --------------------------------------------------------------------------------------------


def _stretched(where: str, shape: Sequence[int], target: Sequence[int], literal: bool = False) -> tuple[int, ...]:
    """Return the target, checked against the data's shape; 0 is read as "keep" unless it is taken literally."""
    if len(shape) != len(target):
        raise ShapeError(
            explain(
                where,
                "The numbers of axes differ.",
                expected=f"{len(shape)} axes, as in {tuple(shape)}",
                received=tuple(target),
                fix="add axes of size 1 first, with reshape or expand_dims",
            )
        )
    full = tuple(n if literal else n or size for n, size in zip(target, shape))
    if any(size not in (1, n) for n, size in zip(full, shape)):
        raise ShapeError(
            explain(
                where, "Only axes of size 1 can be stretched.", expected=f"sizes of {full}, or 1", received=tuple(shape)
            )
        )
    return full


def _np_broadcast_to(x: np.ndarray, shape: Any) -> np.ndarray:
    return np.broadcast_to(x, tuple(n or size for n, size in zip(shape, x.shape)))


@operator(
    view="copy",
    method=True,
    check=check(
        S(A(2, 1, 3), shape=(2, 4, 3)),
        S(A(1, 3), shape=(2, 0)),
        S(A(1, 0), shape=(3, 0)),
        ref=_np_broadcast_to,
        errors=[((A(3),), {"shape": (2, 3)}, "axes"), ((A(2, 3),), {"shape": (2, 4)}, "size 1")],
    ),
)
def broadcast_to(data: Tensor, shape: Shape = ()) -> Tensor:
    """Stretch axes of size 1 to `shape`; 0 in `shape` keeps a size."""
    return data.expand(_stretched("broadcast_to", data.shape, shape))


def _stretch_gradient(c: Grad) -> Value:
    return (_sum_to(c.g, shape=c.shape()) if c.shape() != c.out_types[0].shape else c.g, *(None,) * (len(c.ins) - 1))


broadcast_to.grad(_stretch_gradient)


def _axes_of(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value or ())


def _np_broadcast_axis(x: np.ndarray, axis: Any, size: Any) -> np.ndarray:
    shape = list(x.shape)
    for a, n in zip(_axes_of(axis), _axes_of(size)):
        shape[a] = n
    return np.broadcast_to(x, shape)


@operator(
    aliases=("broadcast_axes",),
    view="copy",
    method=True,
    check=check(
        S(A(2, 1, 3), axis=1, size=4),
        S(A(1, 1, 3), axis=(0, 1), size=(2, 4)),
        S(A(2, 1), axis=-1, size=3),
        ref=_np_broadcast_axis,
        errors=[((A(2, 3),), {"axis": 1, "size": 4}, "size 1"), ((A(2, 1),), {"axis": (0, 1), "size": (2,)}, "sizes")],
    ),
)
def broadcast_axis(data: Tensor, axis: Shape = (), size: Shape = ()) -> Tensor:
    """Stretch the axes `axis`, all of size 1, to the sizes `size`."""
    axes, sizes = _axes_of(axis), _axes_of(size)
    if len(axes) != len(sizes):
        raise ArgumentError(
            explain(
                "broadcast_axis", "The numbers of axes and sizes differ.", expected=f"{len(axes)} sizes", received=sizes
            )
        )
    target = list(data.shape)
    for a, n in zip(axes, sizes):
        if not -data.ndim <= a < data.ndim:
            raise ShapeError(
                explain(
                    "broadcast_axis",
                    "There is no such axis.",
                    expected=f"-{data.ndim} <= axis < {data.ndim}",
                    received=a,
                )
            )
        target[a] = n
    return data.expand(_stretched("broadcast_axis", data.shape, target))


broadcast_axis.grad(_stretch_gradient)


def _np_broadcast_like(x: np.ndarray, like: np.ndarray, lhs_axes: Any = None, rhs_axes: Any = None) -> np.ndarray:
    shape = list(x.shape if lhs_axes else like.shape)
    for left, right in zip(lhs_axes or (), rhs_axes or ()):
        shape[left] = like.shape[right]
    return np.broadcast_to(x, shape)


@operator(
    view="copy",
    method=True,
    nondiff=("rhs",),
    check=check(
        S(A(1, 3), A(2, 3)),
        S(A(2, 1), A(5, 4), lhs_axes=(1,), rhs_axes=(1,)),
        S(A(1, 1, 3), A(4, 5), lhs_axes=(0, 1), rhs_axes=(-2, -1)),
        S(A(1, 3), A(0, 3)),
        ref=_np_broadcast_like,
        errors=[((A(3), A(2, 3)), {}, "axes"), ((A(2, 3), A(4, 3)), {}, "size 1")],
    ),
)
def broadcast_like(lhs: Tensor, rhs: Tensor, lhs_axes: Shape | None = None, rhs_axes: Shape | None = None) -> Tensor:
    """Stretch lhs to the shape of rhs, or only `lhs_axes` to the sizes of `rhs_axes`."""
    if lhs_axes is None or rhs_axes is None:
        return lhs.expand(_stretched("broadcast_like", lhs.shape, tuple(rhs.shape), literal=True))
    left, right = _axes_of(lhs_axes), _axes_of(rhs_axes)
    if len(left) != len(right):
        raise ArgumentError(
            explain(
                "broadcast_like",
                "lhs_axes and rhs_axes differ in length.",
                expected=f"{len(left)} axes",
                received=right,
            )
        )
    target = list(lhs.shape)
    for a, b in zip(left, right):
        target[a] = rhs.shape[b]
    return lhs.expand(_stretched("broadcast_like", lhs.shape, target, literal=True))


broadcast_like.grad(_stretch_gradient)


# -- many arrays -----------------------------------------------------------------------------------------------------


@operator(
    aliases=("ElementWiseSum",),
    infer=elementwise,
    variadic_count="num_args",
    check=check(
        S(A(2, 3)),
        S(A(2, 3), A(2, 3), A(2, 3)),
        S(A(0, 3), A(0, 3)),
        ref=lambda *xs: np.sum(xs, axis=0),
        errors=[((A(2), A(1)), {}, "shape"), ((), {}, "at least one")],
    ),
)
def add_n(*args: Tensor) -> Tensor:
    """Add any number of arrays of equal shape."""
    if not args:
        raise ArgumentError(
            explain("add_n", "There is nothing to add.", expected="at least one array", received="none")
        )
    for other in args[1:]:
        same_shape_and_dtype("add_n", args[0], other)
    if len(args) == 1:
        return args[0].clone()
    total = torch.add(args[0], args[1])
    for other in args[2:]:
        total = torch.add(total, other)
    return total


@add_n.grad
def _(c: Grad) -> Value:
    return (c.g,) * len(c.ins)
