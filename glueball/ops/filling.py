"""Filling a larger array from a smaller one: tile, repeat, Pad, diagonals.

The one idea: elements are repeated, or stand among a constant; the gradient adds the repetitions up and drops the
constant. Stretching axes of size 1 is in broadcast.py, changes of shape in shape_ops.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..base.errors import ArgumentError, ShapeError, explain
from .attributes import Shape
from .broadcast import _axes_of
from .opdef import REQUIRED, Grad, Tensor, Value, lookup, operator
from .rules.check import A, S, check
from .rules.layers import formula
from .rules.shapes import on_diagonal
from .shape_ops import _reshape_to, one_axis, product

# -- repetition ------------------------------------------------------------------------------------------------------


def _summed(value: Value, interleaved: Sequence[int], axes: Sequence[int], shape: tuple[int, ...]) -> Value:
    """Return a gradient seen with interleaved repetitions, summed over these, in the input's shape."""
    return _reshape_to(lookup("sum")(_reshape_to(value, shape=tuple(interleaved)), axis=tuple(axes)), shape=shape)


@operator(
    method=True,
    check=check(
        S(A(2, 3), reps=(2,)),
        S(A(2, 3), reps=(2, 1, 3)),
        S(A(2), reps=(2, 2)),
        S(A(2, 3), reps=()),
        S(A(0, 3), reps=(2, 1)),
        ref=np.tile,
        errors=[((A(2),), {"reps": (-1,)}, "reps")],
    ),
)
def tile(data: Tensor, reps: Shape = REQUIRED) -> Tensor:
    """Repeat the whole array reps[i] times along axis i, axes counted from the last."""
    if any(n < 0 for n in _axes_of(reps)):
        raise ArgumentError(
            explain("tile", "A number of repetitions is negative.", expected="reps >= 0", received=f"reps={reps}")
        )
    return torch.tile(data, _axes_of(reps))


@tile.grad
def _(c: Grad) -> Value:
    reps, shape = _axes_of(c.attrs["reps"]), c.shape()
    rank = max(len(reps), len(shape))
    reps = (1,) * (rank - len(reps)) + reps
    full = (1,) * (rank - len(shape)) + shape
    return _summed(c.g, [n for pair in zip(reps, full) for n in pair], range(0, 2 * rank, 2), shape)


@operator(
    method=True,
    check=check(
        S(A(2, 3), repeats=2),
        S(A(2, 3), repeats=3, axis=1),
        S(A(2, 3), repeats=2, axis=-2),
        S(A(0, 3), repeats=2, axis=1),
        ref=np.repeat,
        errors=[((A(2),), {"repeats": -1}, "repeats"), ((A(2),), {"repeats": 2, "axis": 1}, "axis")],
    ),
)
def repeat(data: Tensor, repeats: int = REQUIRED, axis: int | None = None) -> Tensor:
    """Repeat every element `repeats` times along an axis; without axis, of the flattened array."""
    if repeats < 0:
        raise ArgumentError(
            explain(
                "repeat",
                "The number of repetitions is negative.",
                expected="repeats >= 0",
                received=f"repeats={repeats}",
            )
        )
    if axis is None:
        return data.reshape(-1, 1).expand(data.numel(), repeats).reshape(-1)
    at = one_axis("repeat", axis, data.dim())
    return torch.repeat_interleave(data, repeats, dim=at)


@repeat.grad
def _(c: Grad) -> Value:
    shape, times = c.shape(), c.attrs["repeats"]
    if c.attrs["axis"] is None:
        return _summed(c.g, (product(shape), times), (1,), shape)
    at = one_axis("repeat", c.attrs["axis"], len(shape))
    return _summed(c.g, (*shape[: at + 1], times, *shape[at + 1 :]), (at + 1,), shape)


# -- padding ---------------------------------------------------------------------------------------------------------


def _source_rows(size: int, before: int, after: int, mode: str, device: Any) -> Tensor:
    """Return which row of an axis each row of the padded axis repeats."""
    rows = torch.arange(-before, size + after, device=device)
    if mode == "edge":
        return rows.clamp(0, size - 1)
    return size - 1 - (size - 1 - rows.abs()).abs()


def _pairs(where: str, mode: str, width: Sequence[int], shape: Sequence[int]) -> list[tuple[int, int]]:
    """Return (before, after) of each axis; what does not fit the shape or the mode is refused."""
    if mode not in ("constant", "edge", "reflect"):
        raise ArgumentError(
            explain(where, "There is no such mode.", expected="constant, edge or reflect", received=repr(mode))
        )
    if len(width) != 2 * len(shape):
        raise ArgumentError(
            explain(
                where,
                "pad_width does not fit the number of axes.",
                expected=f"{2 * len(shape)} numbers (before, after of each axis)",
                received=tuple(width),
            )
        )
    pairs = list(zip(width[::2], width[1::2]))
    if any(n < 0 for n in width):
        raise ArgumentError(
            explain(
                where, "A width is negative.", expected="pad_width >= 0", received=tuple(width), fix="cut with slice"
            )
        )
    if mode == "reflect" and any(max(pair) >= size for pair, size in zip(pairs, shape) if max(pair)):
        raise ShapeError(
            explain(
                where,
                "Reflection needs more rows than there are.",
                expected="widths smaller than the axis",
                received=f"pad_width={tuple(width)} for shape {tuple(shape)}",
            )
        )
    return pairs


def _np_pad(x: np.ndarray, mode: str, pad_width: Any, constant_value: float = 0.0) -> np.ndarray:
    pairs = list(zip(pad_width[::2], pad_width[1::2]))
    options: dict[str, Any] = {"constant_values": constant_value} if mode == "constant" else {}
    how: Any = mode
    return np.pad(x, pairs, mode=how, **options)


def _padded(attrs: Mapping[str, Any], shapes: Sequence[Any], dtypes: Sequence[Any]) -> Any:
    """The type of Pad's result."""
    pairs = _pairs("Pad", attrs["mode"], attrs["pad_width"], shapes[0])
    return [(tuple(before + size + after for size, (before, after) in zip(shapes[0], pairs)), dtypes[0])]


@operator(
    aliases=("pad",),
    method=True,
    infer=formula(_padded),
    check=check(
        S(A(1, 2, 3, 4), mode="constant", pad_width=(0, 0, 0, 0, 1, 2, 2, 1), constant_value=2.5),
        S(A(1, 2, 3, 4), mode="edge", pad_width=(0, 0, 0, 0, 1, 2, 2, 1)),
        S(A(1, 2, 3, 4), mode="reflect", pad_width=(0, 0, 0, 0, 1, 2, 3, 1)),
        S(A(1, 2, 2, 3, 4), mode="edge", pad_width=(0, 0, 0, 0, 1, 1, 0, 2, 2, 1)),
        S(A(2, 3), mode="constant", pad_width=(1, 0, 0, 2)),
        S(A(3, 2), mode="reflect", pad_width=(2, 1, 0, 0)),
        ref=_np_pad,
        errors=[
            ((A(1, 1, 2, 2),), {"mode": "constant", "pad_width": (1, 1)}, "8 numbers"),
            ((A(1, 1, 2, 2),), {"mode": "reflect", "pad_width": (0, 0, 0, 0, 2, 2, 0, 0)}, "smaller than the axis"),
            ((A(1, 1, 2, 2),), {"mode": "symmetric", "pad_width": (0,) * 8}, "constant, edge or reflect"),
        ],
    ),
)
def Pad(data: Tensor, mode: str = REQUIRED, pad_width: Shape = REQUIRED, constant_value: float = 0.0) -> Tensor:
    """Add rows before and after each axis: a constant, the edge repeated, or a reflection.

    Pad_width = (before, after) of every axis.
    """
    pairs = _pairs("Pad", mode, pad_width, data.shape)
    if mode == "constant":
        return torch.nn.functional.pad(data, [n for pair in reversed(pairs) for n in pair], value=constant_value)
    for axis, (before, after) in enumerate(pairs):
        if before or after:
            rows = _source_rows(data.shape[axis], before, after, mode, data.device)
            data = torch.index_select(data, axis, rows)
    return data if any(pad_width) else data.clone()


@Pad.grad
def _(c: Grad) -> Value:
    return _pad_backward(c.g, mode=c.attrs["mode"], pad_width=c.attrs["pad_width"])


def _np_pad_backward(g: np.ndarray, mode: str, pad_width: Any) -> np.ndarray:
    for axis, (before, after) in enumerate(zip(pad_width[::2], pad_width[1::2])):
        size = g.shape[axis] - before - after
        rows = _source_rows(size, before, after, mode, "cpu").numpy()
        kept = np.moveaxis(np.zeros((*g.shape[:axis], size, *g.shape[axis + 1 :])), axis, 0)
        for at, row in enumerate(rows):
            if mode != "constant" or 0 <= at - before < size:
                kept[at - before if mode == "constant" else row] += np.moveaxis(g, axis, 0)[at]
        g = np.moveaxis(kept, 0, axis)
    return g


@operator(
    check=check(
        S(A(1, 2, 5, 6), mode="constant", pad_width=(0, 0, 0, 0, 1, 2, 2, 1)),
        S(A(1, 2, 5, 6), mode="edge", pad_width=(0, 0, 0, 0, 1, 2, 2, 1)),
        S(A(1, 2, 5, 6), mode="reflect", pad_width=(0, 0, 0, 0, 1, 1, 2, 1)),
        ref=_np_pad_backward,
    )
)
def _pad_backward(grad: Tensor, mode: str = REQUIRED, pad_width: Shape = REQUIRED) -> Tensor:
    """Add the gradients of added rows to those of the rows they repeat (or drop them): the gradient of Pad."""
    for axis, (before, after) in enumerate(zip(pad_width[::2], pad_width[1::2])):
        size = grad.shape[axis] - before - after
        if not (before or after):
            continue
        if mode == "constant":
            grad = grad.narrow(axis, before, size)
        else:
            rows = _source_rows(size, before, after, mode, grad.device)
            kept = torch.zeros(
                (*grad.shape[:axis], size, *grad.shape[axis + 1 :]), dtype=grad.dtype, device=grad.device
            )
            grad = kept.index_add(axis, rows, grad)
    return grad.contiguous() if any(pad_width) else grad.clone()


@_pad_backward.grad
def _(c: Grad) -> Value:
    return Pad(c.g, mode=c.attrs["mode"], pad_width=c.attrs["pad_width"])


# -- diagonals -------------------------------------------------------------------------------------------------------


def _np_diag(x: np.ndarray, k: int = 0, axis1: int = 0, axis2: int = 1) -> np.ndarray:
    return np.diag(x, k) if x.ndim == 1 else np.diagonal(x, k, axis1, axis2)


@operator(
    view="copy",
    method=True,
    infer=formula(on_diagonal),
    check=check(
        S(A(3)),
        S(A(3), k=1),
        S(A(3), k=-2),
        S(A(3, 4)),
        S(A(3, 4), k=-1),
        S(A(2, 3, 3), axis1=1, axis2=2),
        S(A(2, 3, 4), k=1, axis1=-1, axis2=0),
        ref=_np_diag,
        errors=[((A(2, 3),), {"k": 5}, "diagonal")],
    ),
)
def diag(data: Tensor, k: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """Take the k-th diagonal of the planes of two axes.

    Of an array of one axis, make the matrix that has it as k-th diagonal.
    """
    if data.dim() == 1:
        return torch.diag_embed(data, k)
    first, second = one_axis("diag", axis1, data.dim()), one_axis("diag", axis2, data.dim())
    if not -data.shape[first] < k < data.shape[second]:
        raise ArgumentError(
            explain(
                "diag",
                "There is no such diagonal.",
                expected=f"-{data.shape[first]} < k < {data.shape[second]}",
                received=f"k={k}",
            )
        )
    return torch.diagonal(data, k, first, second)


@diag.grad
def _(c: Grad) -> Value:
    if len(c.shape()) == 1:
        return diag(c.g, k=c.attrs["k"])
    return _diag_backward(c.g, shape=c.shape(), k=c.attrs["k"], axis1=c.attrs["axis1"], axis2=c.attrs["axis2"])


def _np_diag_backward(g: np.ndarray, shape: Any, k: int, axis1: int, axis2: int) -> np.ndarray:
    whole = np.zeros(shape, g.dtype)
    places = np.diagonal(np.arange(whole.size).reshape(shape), k, axis1, axis2)
    whole.reshape(-1)[places] = g
    return whole


@operator(
    check=check(
        S(A(3), shape=(3, 4), k=0, axis1=0, axis2=1),
        S(A(2, 2), shape=(2, 3, 3), k=1, axis1=1, axis2=2),
        ref=_np_diag_backward,
    )
)
def _diag_backward(grad: Tensor, shape: Shape = REQUIRED, k: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """Put a diagonal into zeros: the gradient of diag."""
    return torch.diagonal_scatter(
        torch.zeros(tuple(shape), dtype=grad.dtype, device=grad.device), grad, k, axis1, axis2
    )


@_diag_backward.grad
def _(c: Grad) -> Value:
    return diag(c.g, k=c.attrs["k"], axis1=c.attrs["axis1"], axis2=c.attrs["axis2"])
