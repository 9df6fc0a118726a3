"""Cutting pieces out of an array by position, and writing them back: slice, slice_axis, slice_like, Crop, … .

The one idea: every piece is described by (begin, end, step) of each axis; `_pieces` turns these, with None and
negative numbers, into first index, number of rows and step, and the gradient of each cut is `_slice_into`, which puts
the piece back into zeros. Taking rows by an array of indices is in index.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ..base.errors import ArgumentError, ShapeError, explain
from .attributes import Number, Shape
from .opdef import REQUIRED, Grad, Tensor, Value, lookup, operator
from .rules.check import A, S, check
from .rules.layers import formula
from .rules.shapes import sliced_window, target
from .shape_ops import one_axis, several_axes


class _Piece(NamedTuple):
    """The rows first, first + step, … (count of them) of one axis."""

    first: int
    count: int
    step: int


def _pieces(where: str, shape: Sequence[int], begin: Any, end: Any, step: Any) -> list[_Piece]:
    """Return the piece of each axis that is named; None means from the start, or to the end."""
    begin, end = _listed(begin), _listed(end)
    step = _listed(step) or [None] * len(begin)
    if len(begin) > len(shape):
        raise ShapeError(
            explain(
                where,
                "More axes are cut than there are.",
                expected=f"at most {len(shape)} numbers, for shape {tuple(shape)}",
                received=f"begin={tuple(begin)}",
            )
        )
    if not len(begin) == len(end) == len(step):
        raise ArgumentError(
            explain(
                where,
                "begin, end and step differ in length.",
                expected=f"{len(begin)} numbers each",
                received=f"end={tuple(end)}, step={tuple(step)}",
            )
        )
    pieces = []
    for axis, (b, e, s) in enumerate(zip(begin, end, step)):
        if s == 0:
            raise ArgumentError(
                explain(where, f"The step of axis {axis} is 0.", expected="a step other than 0", received=tuple(step))
            )
        rows = range(*slice_object(b, e, s).indices(shape[axis]))
        pieces.append(_Piece(rows.start, len(rows), rows.step))
    return pieces


def _listed(value: Any) -> list[Any]:
    """Return begin, end or step as a list; one number means one axis."""
    return [value] if isinstance(value, int) or value is None else list(value)


slice_object = slice  # the built-in, which the operator of the same name hides below


def _cut(data: Tensor, pieces: Sequence[_Piece]) -> Tensor:
    """Return the view (a copy for negative steps) of the pieces."""
    for axis, (first, count, step) in enumerate(pieces):
        if step < 0:
            low = first + (count - 1) * step if count else 0
            rows = data.narrow(axis, low, (count - 1) * -step + 1 if count else 0)
            data = torch.flip(rows, (axis,))
            data = data[(slice_object(None),) * axis + (slice_object(None, None, -step),)]
        elif first or count != data.shape[axis] or step != 1:
            data = (
                data[(slice_object(None),) * axis + (slice_object(first, first + count * step, step),)]
                if count
                else data.narrow(axis, 0, 0)
            )
    return data


def _np_key(begin: Any, end: Any, step: Any = ()) -> tuple[Any, ...]:
    steps = _listed(step) if step else [None] * len(_listed(begin))
    return tuple(slice_object(b, e, s) for b, e, s in zip(_listed(begin), _listed(end), steps))


def _np_slice(x: np.ndarray, begin: Any, end: Any, step: Any = ()) -> np.ndarray:
    return x[_np_key(begin, end, step)]


_M = A(4, 5)


@operator(
    infer=formula(sliced_window),
    aliases=("crop",),
    view="copy",
    method=True,
    check=check(
        S(_M, begin=(1, 2), end=(3, 4)),
        S(_M, begin=(1, None), end=(None, 3)),
        S(_M, begin=(None, -3), end=(None, -1)),
        S(_M, begin=(1,), end=(3,)),
        S(_M, begin=(3, 0), end=(0, 5), step=(-1, 2)),
        S(_M, begin=(None, None), end=(None, None), step=(-2, -1)),
        S(_M, begin=(2,), end=(2,)),
        S(_M, begin=(0, 2), end=(2, 9)),
        S(_M, begin=(9,), end=(10,)),
        ref=_np_slice,
        errors=[
            ((_M,), {"begin": (0, 0, 0), "end": (1, 1, 1)}, "at most 2"),
            ((_M,), {"begin": (0,), "end": (1,), "step": (0,)}, "step"),
            ((_M,), {"begin": (0,), "end": (1, 2)}, "length"),
        ],
    ),
)
def slice(data: Tensor, begin: Shape = REQUIRED, end: Shape = REQUIRED, step: Shape = ()) -> Tensor:
    """Cut out begin[i]:end[i]:step[i] of each axis i; None means from the start, or to the end.

    Steps may be negative.
    """
    return _cut(data, _pieces("slice", data.shape, begin, end, step))


@slice.grad
def _(c: Grad) -> Value:
    return _slice_into(c.g, shape=c.shape(), begin=c.attrs["begin"], end=c.attrs["end"], step=c.attrs["step"])


def _np_slice_into(g: np.ndarray, shape: Any, begin: Any, end: Any, step: Any = ()) -> np.ndarray:
    whole = np.zeros(shape, g.dtype)
    whole[_np_key(begin, end, step)] = g
    return whole


def _fill_in(whole: Tensor, pieces: Sequence[_Piece], value: Any) -> Tensor:
    """Write value into the pieces of a fresh array; negative steps are turned round first."""
    key: list[Any] = []
    turned = []
    for axis, (first, count, step) in enumerate(pieces):
        low = first if step > 0 else first + (count - 1) * step
        key.append(slice_object(low, low + count * abs(step), abs(step)) if count else slice_object(0, 0))
        if step < 0:
            turned.append(axis)
    if turned and isinstance(value, torch.Tensor):
        value = torch.flip(value, turned)
    whole[tuple(key)] = value
    return whole


@operator(
    infer=formula(target),
    check=check(
        S(A(2, 2), shape=(4, 5), begin=(1, 2), end=(3, 4)),
        S(A(3, 3), shape=(4, 5), begin=(3, 0), end=(0, 5), step=(-1, 2)),
        S(A(0, 5), shape=(4, 5), begin=(2,), end=(2,)),
        ref=_np_slice_into,
    ),
)
def _slice_into(
    grad: Tensor, shape: Shape = REQUIRED, begin: Shape = REQUIRED, end: Shape = REQUIRED, step: Shape = ()
) -> Tensor:
    """Put a piece into zeros of `shape`: the gradient of slice."""
    whole = torch.zeros(tuple(shape), dtype=grad.dtype, device=grad.device)
    return _fill_in(whole, _pieces("slice", shape, begin, end, step), grad)


@_slice_into.grad
def _(c: Grad) -> Value:
    return slice(c.g, begin=c.attrs["begin"], end=c.attrs["end"], step=c.attrs["step"])


def _axis_piece(axis: int, begin: int, end: int | None) -> dict[str, Any]:
    """Return begin and end for `slice` that cut one axis only."""
    return {"begin": (None,) * axis + (begin,), "end": (None,) * axis + (end,)}


def _np_slice_axis(x: np.ndarray, axis: int, begin: int, end: int | None) -> np.ndarray:
    return np.moveaxis(np.moveaxis(x, axis, 0)[begin:end], 0, axis)


def _axis_range(shape: Sequence[int], axis: int, begin: int, end: int | None) -> tuple[int, int, int]:
    """Return (axis, begin, end) counted from the front; what lies outside is refused."""
    at = one_axis("slice_axis", axis, len(shape))
    size = shape[at]
    first = begin + size if begin < 0 else begin
    last = size if end is None else end + size if end < 0 else end
    if not 0 <= first <= last <= size:
        raise ShapeError(
            explain(
                "slice_axis",
                f"The range does not fit axis {at} of size {size}.",
                expected=f"0 <= begin <= end <= {size}",
                received=f"begin={begin}, end={end}",
            )
        )
    return at, first, last


@operator(
    view="copy",
    method=True,
    check=check(
        S(_M, axis=0, begin=1, end=3),
        S(_M, axis=1, begin=-3, end=None),
        S(_M, axis=-1, begin=0, end=-1),
        S(_M, axis=0, begin=2, end=2),
        ref=_np_slice_axis,
        errors=[
            ((_M,), {"axis": 1, "begin": 2, "end": 7}, "size 5"),
            ((_M,), {"axis": 2, "begin": 0, "end": 1}, "axis"),
        ],
    ),
)
def slice_axis(data: Tensor, axis: int = REQUIRED, begin: int = REQUIRED, end: int | None = REQUIRED) -> Tensor:
    """Cut out begin:end of one axis; end may be None."""
    at, first, last = _axis_range(data.shape, axis, begin, end)
    return data.narrow(at, first, last - first)


@slice_axis.grad
def _(c: Grad) -> Value:
    at, first, last = _axis_range(c.shape(), c.attrs["axis"], c.attrs["begin"], c.attrs["end"])
    return _slice_into(c.g, shape=c.shape(), **_axis_piece(at, first, last))


def _like_sizes(shape: Sequence[int], like: Sequence[int], axes: Any) -> list[int]:
    """Return the sizes that slice_like cuts to."""
    if axes is None or axes == () or axes == []:
        if len(shape) != len(like):
            raise ShapeError(
                explain(
                    "slice_like",
                    "The numbers of axes differ.",
                    expected=f"{len(shape)} axes",
                    received=tuple(like),
                    fix="name the axes: axes=(...)",
                )
            )
        pairs = [(a, a) for a in range(len(shape))]
    else:
        pairs = list(zip(several_axes("slice_like", axes, len(shape)), several_axes("slice_like", axes, len(like))))
    sizes = list(shape)
    for at, other in pairs:
        if like[other] > shape[at]:
            raise ShapeError(
                explain(
                    "slice_like",
                    f"Axis {at} is too small.",
                    expected=f"a size of at least {like[other]}",
                    received=tuple(shape),
                )
            )
        sizes[at] = like[other]
    return sizes


def _np_slice_like(x: np.ndarray, like: np.ndarray, axes: Any = ()) -> np.ndarray:
    return x[tuple(slice_object(0, n) for n in _like_sizes(x.shape, like.shape, axes))]


@operator(
    view="copy",
    method=True,
    nondiff=("shape_like",),
    check=check(
        S(_M, A(2, 3)),
        S(_M, A(2, 3), axes=(0,)),
        S(A(4, 5, 6), A(2, 3), axes=(0, -1)),
        ref=_np_slice_like,
        errors=[((_M, A(2)), {}, "axes"), ((_M, A(6, 2)), {}, "too small")],
    ),
)
def slice_like(data: Tensor, shape_like: Tensor, axes: Shape = ()) -> Tensor:
    """Cut every axis (or those named) to the size it has in shape_like, from the front."""
    for axis, size in enumerate(_like_sizes(data.shape, shape_like.shape, axes)):
        data = data.narrow(axis, 0, size)
    return data


@slice_like.grad
def _(c: Grad) -> Value:
    end = c.out_types[0].shape or ()
    return _slice_into(c.g, shape=c.shape(), begin=(0,) * len(end), end=end), None


def _crop_corner(
    shape: Sequence[int], like: Sequence[int] | None, offset: Any, h_w: Any, center_crop: bool
) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of Crop."""
    height, width = (like[2], like[3]) if like is not None else tuple(h_w)
    top, left = ((shape[2] - height) // 2, (shape[3] - width) // 2) if center_crop else tuple(offset)
    if min(top, left) < 0 or top + height > shape[2] or left + width > shape[3]:
        raise ShapeError(
            explain(
                "Crop",
                "The window leaves the image.",
                expected=f"a window within {shape[2]} x {shape[3]}",
                received=f"{height} x {width} at ({top}, {left})",
            )
        )
    return top, left, height, width


def _np_crop(
    x: np.ndarray,
    like: np.ndarray | None = None,
    offset: Any = (0, 0),
    h_w: Any = (0, 0),
    center_crop: bool = False,
    num_args: int = 1,
) -> np.ndarray:
    top, left, height, width = _crop_corner(x.shape, None if like is None else like.shape, offset, h_w, center_crop)
    return x[:, :, top : top + height, left : left + width]


@operator(
    variadic_count="num_args",
    check=check(
        S(A(1, 2, 5, 6), h_w=(3, 3), offset=(1, 2)),
        S(A(1, 2, 5, 6), A(1, 1, 2, 3), center_crop=True),
        ref=_np_crop,
        errors=[((A(1, 1, 4, 4),), {"h_w": (5, 5)}, "leaves the image")],
    ),
)
def Crop(*data: Tensor, offset: Shape = (0, 0), h_w: Shape = (0, 0), center_crop: bool = False) -> Tensor:
    """Cut a window out of images (N, C, H, W): of size h_w, or of the second array's height and width.

    At offset, or in the middle.
    """
    image, *others = data
    like = others[0].shape if others else None
    top, left, height, width = _crop_corner(image.shape, like, offset, h_w, center_crop)
    return image[:, :, top : top + height, left : left + width].clone()


@Crop.grad
def _(c: Grad) -> Value:
    like = c.shape(1) if len(c.ins) > 1 else None
    top, left, height, width = _crop_corner(c.shape(), like, c.attrs["offset"], c.attrs["h_w"], c.attrs["center_crop"])
    back = _slice_into(
        c.g, shape=c.shape(), begin=(None, None, top, left), end=(None, None, top + height, left + width)
    )
    return (back,) if like is None else (back, lookup("zeros_like")(c.ins[1]))


def _np_slice_assign(x: np.ndarray, y: np.ndarray, begin: Any, end: Any, step: Any = ()) -> np.ndarray:
    x[_np_key(begin, end, step)] = y
    return x


@operator(
    aliases=("_crop_assign",),
    check=check(
        S(_M, A(2, 2), begin=(1, 2), end=(3, 4)),
        S(_M, A(3, 3), begin=(3, 0), end=(0, 5), step=(-1, 2)),
        ref=_np_slice_assign,
        errors=[((_M, A(2, 3)), {"begin": (1, 2), "end": (3, 4)}, "shape")],
    ),
)
def _slice_assign(lhs: Tensor, rhs: Tensor, begin: Shape = REQUIRED, end: Shape = REQUIRED, step: Shape = ()) -> Tensor:
    """Return lhs with the piece begin:end:step replaced by rhs."""
    pieces = _pieces("_slice_assign", lhs.shape, begin, end, step)
    wanted = tuple(p.count for p in pieces) + tuple(lhs.shape[len(pieces) :])
    if tuple(rhs.shape) != wanted:
        raise ShapeError(
            explain(
                "_slice_assign",
                "The value has another shape than the piece.",
                expected=wanted,
                received=tuple(rhs.shape),
            )
        )
    return _fill_in(lhs.clone(), pieces, rhs)


@_slice_assign.grad
def _(c: Grad) -> Value:
    where = {key: c.attrs[key] for key in ("begin", "end", "step")}
    return _slice_assign_scalar(c.g, scalar=0.0, **where), slice(c.g, **where)


def _np_slice_assign_scalar(x: np.ndarray, begin: Any, end: Any, scalar: float = 0.0, step: Any = ()) -> np.ndarray:
    x[_np_key(begin, end, step)] = scalar
    return x


@operator(
    aliases=("_crop_assign_scalar",),
    check=check(
        S(_M, begin=(1, 2), end=(3, 4), scalar=2.0),
        S(_M, begin=(3, 0), end=(0, 5), step=(-1, 2)),
        ref=_np_slice_assign_scalar,
    ),
)
def _slice_assign_scalar(
    data: Tensor, scalar: Number = 0.0, begin: Shape = REQUIRED, end: Shape = REQUIRED, step: Shape = ()
) -> Tensor:
    """Return the data with the piece begin:end:step set to a number."""
    return _fill_in(data.clone(), _pieces("_slice_assign_scalar", data.shape, begin, end, step), scalar)


@_slice_assign_scalar.grad
def _(c: Grad) -> Value:
    return _slice_assign_scalar(c.g, scalar=0.0, **{key: c.attrs[key] for key in ("begin", "end", "step")})
