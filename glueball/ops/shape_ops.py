"""Changing the shape and the order of axes: Reshape and its codes, Flatten, expand_dims, squeeze, transpose, flips.

The one idea: no operator here computes; each moves elements, and its gradient moves them back (`_reshape_to` is the
exact reshape that gradients use, without codes). Reshape, Flatten, expand_dims, squeeze and reshape_like may share
memory with their input; all others give copies to an eager caller and views to a compiled plan. Slices are in
slicing.py, joining and splitting in joining.py, stretching in broadcast.py, repetition, padding and diagonals in
filling.py, blocks and patches in blocks.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch

from ..base.errors import ArgumentError, ShapeError, explain
from .attributes import Axis, Shape
from .broadcast import _axes_of
from .opdef import REQUIRED, Grad, OpDef, Tensor, TensorType, Value, operator
from .rules.check import A, S, check
from .rules.emit import text
from .rules.infer import InferRule

__all__ = ["reshaped", "one_axis", "several_axes", "product"]


def product(sizes: Sequence[int]) -> int:
    """Return the product of sizes (1 of none)."""
    total = 1
    for size in sizes:
        total *= size
    return total


def one_axis(where: str, axis: int, rank: int) -> int:
    """Return an axis counted from the front; one that does not exist is refused."""
    if not -rank <= axis < rank:
        raise ShapeError(
            explain(
                where,
                "There is no such axis.",
                expected=f"-{rank} <= axis < {rank}, for an array of {rank} axes",
                received=axis,
            )
        )
    return axis + rank if axis < 0 else axis


def several_axes(where: str, axes: Any, rank: int) -> tuple[int, ...]:
    """Return axes counted from the front; doubles are refused."""
    found = tuple(one_axis(where, a, rank) for a in _axes_of(axes))
    if len(set(found)) != len(found):
        raise ArgumentError(explain(where, "An axis is named twice.", expected="each axis once", received=axes))
    return found


# -- Reshape and its codes -------------------------------------------------------------------------------------------


def _split_in_two(size: int, first: int, second: int) -> tuple[int, int]:
    """Return the two sizes of code -4, one of which may be -1."""
    if first == -1 and second == -1:
        raise ArgumentError(
            explain("Reshape", "Both parts of a -4 are -1.", expected="one known part", received="(-4, -1, -1)")
        )
    first = size // second if first == -1 and second else first
    second = size // first if second == -1 and first else second
    if first * second != size:
        raise ShapeError(
            explain(
                "Reshape",
                f"Code -4 cannot split the size {size}.",
                expected=f"two sizes whose product is {size}",
                received=(first, second),
            )
        )
    return first, second


def _follow_codes(shape: Sequence[int], codes: Sequence[int]) -> list[int]:
    """Return the sizes that codes stand for, -1 still in them."""
    out: list[int] = []
    at, position = 0, 0

    def take() -> int:
        nonlocal at
        if at >= len(shape):
            raise ShapeError(
                explain(
                    "Reshape",
                    "The codes ask for more axes than there are.",
                    expected=f"codes for the {len(shape)} axes of {tuple(shape)}",
                    received=tuple(codes),
                )
            )
        at += 1
        return shape[at - 1]

    while position < len(codes):
        code = codes[position]
        position += 1
        if code == 0:
            out.append(take())
        elif code == -2:
            out.extend(shape[at:])
            at = len(shape)
        elif code == -3:
            first = take()
            out.append(first * take())
        elif code == -4:
            if position + 2 > len(codes):
                raise ArgumentError(
                    explain(
                        "Reshape", "Code -4 needs two sizes after it.", expected="(-4, a, b)", received=tuple(codes)
                    )
                )
            out.extend(_split_in_two(take(), codes[position], codes[position + 1]))
            position += 2
        elif code < -4:
            raise ArgumentError(
                explain(
                    "Reshape",
                    "There is no such code.",
                    expected="0 copy, -1 infer, -2 rest, -3 merge two, -4 split in two, or a size",
                    received=code,
                )
            )
        else:
            out.append(code)
            at += 1
    return out


def reshaped(shape: Sequence[int], codes: Sequence[int], reverse: bool = False) -> tuple[int, ...]:
    """Return the shape that Reshape's codes give for a known shape.

    0 copies a size, -1 is inferred from the rest, -2 copies all remaining sizes, -3 merges two, -4 splits one into
    the two sizes after
    it (one of which may be -1). With `reverse` both are matched from the right.

    >>> reshaped((2, 3, 4), (0, -1)), reshaped((2, 3, 4), (-4, 1, 2, -3)), reshaped((10, 5, 4), (-1, 0), reverse=True)
    ((2, 12), (1, 2, 12), (50, 4))
    """
    shape, codes = tuple(shape), tuple(codes)
    out = _follow_codes(shape[::-1], codes[::-1])[::-1] if reverse else _follow_codes(shape, codes)
    total, unknown = product(shape), out.count(-1)
    known = product([n for n in out if n != -1])
    if unknown > 1:
        raise ArgumentError(
            explain("Reshape", "Only one size can be inferred.", expected="at most one -1", received=codes)
        )
    if unknown and known and total % known == 0:
        out[out.index(-1)] = total // known
    elif unknown and not known and total == 0:
        out[out.index(-1)] = 0
    if product(out) != total or -1 in out:
        raise ShapeError(
            explain(
                "Reshape",
                f"The {total} elements of {shape} do not fit.",
                expected=f"a shape of {total} elements",
                received=codes,
                fix="use -1 for one size to have it inferred",
            )
        )
    return tuple(out)


def _old_target(shape: Sequence[int], target: Sequence[int], keep_highest: bool) -> tuple[int, ...]:
    """Return what the old attributes target_shape (0: inferred) and keep_highest mean."""
    sizes = [-1 if n == 0 else n for n in target]
    if keep_highest:
        sizes[0] = shape[0]
    return tuple(sizes)


def _np_reshape(
    x: np.ndarray, shape: Any = (), reverse: bool = False, target_shape: Any = (), keep_highest: bool = False
) -> np.ndarray:
    return x.reshape(reshaped(x.shape, shape or _old_target(x.shape, target_shape, keep_highest), reverse))


_NUMBERS = A(2, 3, 4)


@final
class _Reshaping(InferRule):
    """The result's shape follows from the attributes.

    One unknown size of the data follows from a result that is known.
    """

    def forward(
        self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], training: bool
    ) -> list[TensorType]:
        shape = tuple(size for size in ins[0].shape or () if size is not None)
        wanted = attrs["shape"] or _old_target(shape, attrs["target_shape"], attrs["keep_highest"])
        return [TensorType(reshaped(shape, wanted, attrs["reverse"]), ins[0].dtype)]

    def partial(
        self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], outs: Sequence[TensorType]
    ) -> tuple[list[TensorType], list[TensorType]]:
        data, result = ins[0].shape, outs[0].shape
        if data is not None and result is not None and list(data).count(None) == 1 and None not in result:
            known = product([size for size in data if size is not None])
            total = product(result)  # type: ignore[arg-type]  # complete
            if known and total % known == 0:
                ins = [TensorType(tuple(total // known if size is None else size for size in data), ins[0].dtype)]
        return list(ins), list(outs)


@operator(
    aliases=("reshape",),
    view="share",
    infer=_Reshaping(),
    check=check(
        S(_NUMBERS, shape=(4, -1)),
        S(_NUMBERS, shape=(0, -1)),
        S(_NUMBERS, shape=(-3, 0)),
        S(_NUMBERS, shape=(-4, 1, 2, -2)),
        S(_NUMBERS, shape=(-1, 0), reverse=True),
        S(A(0, 3), shape=(-1, 5)),
        S(A(0, 3), shape=(0, 1, 3)),
        S(_NUMBERS, target_shape=(0, 4)),
        ref=_np_reshape,
        errors=[
            ((_NUMBERS,), {"shape": (5, 5)}, "24 elements"),
            ((_NUMBERS,), {"shape": (5, -1)}, "24 elements"),
            ((_NUMBERS,), {"shape": (-1, -1)}, "at most one -1"),
            ((_NUMBERS,), {"shape": (0, 0, 0, 0)}, "more axes"),
            ((_NUMBERS,), {"shape": (-7, 1)}, "no such code"),
            ((_NUMBERS,), {"shape": (-4, 3, 5, -2)}, "split the size 2"),
        ],
    ),
)
def Reshape(
    data: Tensor, shape: Shape = (), reverse: bool = False, target_shape: Shape = (), keep_highest: bool = False
) -> Tensor:
    """Give the data another shape; codes: 0 copy, -1 infer, -2 the rest, -3 merge two, -4 split in two.

    Reverse matches from the right.
    """
    if not reverse and shape and 0 not in shape and min(shape) >= -1:  # the common case needs no codes
        try:
            return data.reshape(shape)
        except RuntimeError:
            pass  # the codes' own checks below say why
    codes = shape or _old_target(data.shape, target_shape, keep_highest)
    return data.reshape(reshaped(data.shape, codes, reverse))


def _reshape_back(c: Grad) -> Value:
    return (_reshape_to(c.g, shape=c.shape()), *(None,) * (len(c.ins) - 1))


Reshape.grad(_reshape_back)


@operator(
    view="share",
    emit=text("{0}.reshape({shape})"),
    gradient=_reshape_back,
    check=check(S(_NUMBERS, shape=(6, 4)), S(A(0, 3), shape=(2, 0)), S(A(1), shape=(1, 1)), ref=np.reshape),
)
def _reshape_to(data: Tensor, shape: Shape = REQUIRED) -> Tensor:
    """Give the data exactly this shape (no codes; 0 is a size): the gradient of reshaping."""
    return data.reshape(tuple(shape))


def _like_range(begin: int | None, end: int | None, rank: int) -> tuple[int, int]:
    begin = 0 if begin is None else begin
    end = rank if end is None else end
    return begin + rank if begin < 0 else begin, end + rank if end < 0 else end


def _np_reshape_like(
    x: np.ndarray, y: np.ndarray, lhs_begin: Any = None, lhs_end: Any = None, rhs_begin: Any = None, rhs_end: Any = None
) -> np.ndarray:
    a, b = _like_range(lhs_begin, lhs_end, x.ndim)
    p, q = _like_range(rhs_begin, rhs_end, y.ndim)
    return x.reshape(x.shape[:a] + y.shape[p:q] + x.shape[b:])


@operator(
    view="share",
    method=True,
    nondiff=("rhs",),
    gradient=_reshape_back,
    check=check(
        S(A(6), A(2, 3)),
        S(A(30, 7), A(15, 2, 4), lhs_begin=0, lhs_end=1, rhs_begin=0, rhs_end=2),
        S(A(30, 7), A(15, 2, 4), lhs_begin=-2, lhs_end=-1, rhs_begin=0, rhs_end=-1),
        ref=_np_reshape_like,
        errors=[((A(6), A(5)), {}, "elements")],
    ),
)
def reshape_like(
    lhs: Tensor,
    rhs: Tensor,
    lhs_begin: int | None = None,
    lhs_end: int | None = None,
    rhs_begin: int | None = None,
    rhs_end: int | None = None,
) -> Tensor:
    """Give lhs the shape of rhs, or replace its axes lhs_begin..lhs_end by the axes rhs_begin..rhs_end of rhs."""
    a, b = _like_range(lhs_begin, lhs_end, lhs.dim())
    p, q = _like_range(rhs_begin, rhs_end, rhs.dim())
    target = tuple(lhs.shape[:a]) + tuple(rhs.shape[p:q]) + tuple(lhs.shape[b:])
    if product(target) != lhs.numel():
        raise ShapeError(
            explain(
                "reshape_like",
                f"The {lhs.numel()} elements of {tuple(lhs.shape)} do not fit.",
                expected=f"{product(target)} elements",
                received=target,
            )
        )
    return lhs.reshape(target)


@operator(
    aliases=("flatten",),
    view="share",
    method=True,
    gradient=_reshape_back,
    check=check(
        S(_NUMBERS), S(A(3)), S(A(0, 3, 2)), S(A(2, 0)), ref=lambda x: x.reshape(x.shape[0], int(np.prod(x.shape[1:])))
    ),
)
def Flatten(data: Tensor) -> Tensor:
    """Merge all axes but the first: (batch, ...) to (batch, features)."""
    return data.reshape(data.shape[0], product(data.shape[1:]))


@operator(
    view="share",
    method=True,
    gradient=_reshape_back,
    check=check(
        S(A(2, 3), axis=0),
        S(A(2, 3), axis=-1),
        S(A(0, 3), axis=1),
        ref=np.expand_dims,
        errors=[((A(2, 3),), {"axis": 3}, "axis")],
    ),
)
def expand_dims(data: Tensor, axis: int = REQUIRED) -> Tensor:
    """Insert an axis of size 1 at position `axis`."""
    return torch.unsqueeze(data, one_axis("expand_dims", axis, data.dim() + 1))


def _np_squeeze(x: np.ndarray, axis: Any = None) -> np.ndarray:
    return np.atleast_1d(np.squeeze(x, tuple(axis) if isinstance(axis, list) else axis))


@operator(
    view="share",
    method=True,
    gradient=_reshape_back,
    check=check(
        S(A(1, 3, 1)),
        S(A(1, 3, 1), axis=0),
        S(A(1, 3, 1), axis=(0, -1)),
        S(A(1, 1)),
        S(A(0, 1)),
        ref=_np_squeeze,
        errors=[((A(2, 3),), {"axis": 0}, "size 1")],
    ),
)
def squeeze(data: Tensor, axis: Axis = None) -> Tensor:
    """Remove the axes of size 1, or the named ones; at least one axis stays."""
    axes = range(data.dim()) if axis is None else several_axes("squeeze", axis, data.dim())
    if axis is not None and any(data.shape[a] != 1 for a in axes):
        raise ShapeError(
            explain(
                "squeeze",
                "Only axes of size 1 can be removed.",
                expected="size 1",
                received=f"axis={axis} of shape {tuple(data.shape)}",
            )
        )
    gone = {a for a in axes if data.shape[a] == 1}
    return data.reshape(tuple(n for a, n in enumerate(data.shape) if a not in gone) or (1,))


# -- order of axes and elements --------------------------------------------------------------------------------------


@operator(
    view="copy",
    emit=lambda args, attrs, training: f"{args[0]}.permute({attrs['axes']})" if attrs["axes"] else None,
    method=True,
    check=check(
        S(_NUMBERS),
        S(_NUMBERS, axes=(1, 0, 2)),
        S(_NUMBERS, axes=(2, 0, 1)),
        S(A(0, 3)),
        ref=lambda x, axes=None: np.transpose(x, axes),
        errors=[((_NUMBERS,), {"axes": (0, 1)}, "3 axes"), ((_NUMBERS,), {"axes": (0, 1, 1)}, "twice")],
    ),
)
def transpose(data: Tensor, axes: Shape = ()) -> Tensor:
    """Reorder the axes; without `axes` reverse them."""
    if not axes:
        return data.permute(tuple(range(data.dim() - 1, -1, -1)))
    if len(axes) != data.dim():
        raise ArgumentError(
            explain(
                "transpose", "The order does not name every axis.", expected=f"{data.dim()} axes", received=tuple(axes)
            )
        )
    return data.permute(several_axes("transpose", axes, data.dim()))


@transpose.grad
def _(c: Grad) -> Value:
    rank = len(c.shape())
    axes = several_axes("transpose", c.attrs["axes"], rank) or tuple(range(rank - 1, -1, -1))
    return transpose(c.g, axes=tuple(axes.index(a) for a in range(rank)))


@operator(
    aliases=("swapaxes",),
    view="copy",
    method=True,
    check=check(
        S(_NUMBERS, dim1=0, dim2=2),
        S(_NUMBERS, dim1=-1, dim2=1),
        S(A(0, 3), dim1=0, dim2=1),
        ref=lambda x, dim1, dim2: x.swapaxes(dim1, dim2),
        errors=[((A(2, 3),), {"dim1": 0, "dim2": 2}, "axis")],
    ),
)
def SwapAxis(data: Tensor, dim1: int = 0, dim2: int = 0) -> Tensor:
    """Exchange two axes."""
    return data.transpose(one_axis("SwapAxis", dim1, data.dim()), one_axis("SwapAxis", dim2, data.dim()))


@SwapAxis.grad
def _(c: Grad) -> Value:
    return SwapAxis(c.g, dim1=c.attrs["dim1"], dim2=c.attrs["dim2"])


@operator(
    aliases=("flip",),
    method=True,
    check=check(
        S(_NUMBERS, axis=1),
        S(_NUMBERS, axis=(0, 2)),
        S(A(0, 3), axis=0),
        S(A(3), axis=-1),
        ref=np.flip,
        errors=[((A(2, 3),), {"axis": 2}, "axis")],
    ),
)
def reverse(data: Tensor, axis: Shape = REQUIRED) -> Tensor:
    """Reverse the order of elements along one or several axes."""
    return torch.flip(data, several_axes("reverse", axis, data.dim()))


@reverse.grad
def _(c: Grad) -> Value:
    return reverse(c.g, axis=c.attrs["axis"])
