"""Changing the shape and the order of axes: Reshape and its codes, Flatten, transpose, flips, repetition, padding, diagonals.

The one idea: no operator here computes; each moves elements, and its gradient moves them back (`_reshape_to` is the exact reshape that
gradients use, without codes). Reshape, Flatten, expand_dims, squeeze and reshape_like may share memory with their input; all others give
copies to an eager caller and views to a compiled plan. Slices are in slicing.py, joining and splitting in joining.py, stretching in
broadcast.py, blocks and patches in blocks.py.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch

from ..base.errors import ArgumentError, ShapeError, explain
from .attributes import Axis, Shape
from .broadcast import _axes_of
from .opdef import REQUIRED, Grad, OpDef, Tensor, TensorType, Value, lookup, operator
from .rules.check import A, S, check
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
        raise ShapeError(explain(where, "There is no such axis.", expected=f"-{rank} <= axis < {rank}, for an array of {rank} axes", received=axis))
    return axis + rank if axis < 0 else axis


def several_axes(where: str, axes: Any, rank: int) -> tuple[int, ...]:
    """Return axes counted from the front; doubles are refused."""
    found = tuple(one_axis(where, a, rank) for a in _axes_of(axes))
    if len(set(found)) != len(found):
        raise ArgumentError(explain(where, "An axis is named twice.", expected="each axis once", received=axes))
    return found


# -- Reshape and its codes -----------------------------------------------------------------------------------------------------------


def _split_in_two(size: int, first: int, second: int) -> tuple[int, int]:
    """Return the two sizes of code -4, one of which may be -1."""
    if first == -1 and second == -1:
        raise ArgumentError(explain("Reshape", "Both parts of a -4 are -1.", expected="one known part", received="(-4, -1, -1)"))
    first = size // second if first == -1 and second else first
    second = size // first if second == -1 and first else second
    if first * second != size:
        raise ShapeError(explain("Reshape", f"Code -4 cannot split the size {size}.", expected=f"two sizes whose product is {size}",
                                 received=(first, second)))
    return first, second


def _follow_codes(shape: Sequence[int], codes: Sequence[int]) -> list[int]:
    """Return the sizes that codes stand for, -1 still in them."""
    out: list[int] = []
    at, position = 0, 0

    def take() -> int:
        nonlocal at
        if at >= len(shape):
            raise ShapeError(explain("Reshape", "The codes ask for more axes than there are.", expected=f"codes for the {len(shape)} axes of {tuple(shape)}",
                                     received=tuple(codes)))
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
                raise ArgumentError(explain("Reshape", "Code -4 needs two sizes after it.", expected="(-4, a, b)", received=tuple(codes)))
            out.extend(_split_in_two(take(), codes[position], codes[position + 1]))
            position += 2
        elif code < -4:
            raise ArgumentError(explain("Reshape", "There is no such code.", expected="0 copy, -1 infer, -2 rest, -3 merge two, -4 split in two, "
                                        "or a size", received=code))
        else:
            out.append(code)
            at += 1
    return out


def reshaped(shape: Sequence[int], codes: Sequence[int], reverse: bool = False) -> tuple[int, ...]:
    """Return the shape that Reshape's codes give for a known shape.

    0 copies a size, -1 is inferred from the rest, -2 copies all remaining sizes, -3 merges two, -4 splits one into the two sizes after
    it (one of which may be -1). With `reverse` both are matched from the right.

    >>> reshaped((2, 3, 4), (0, -1)), reshaped((2, 3, 4), (-4, 1, 2, -3)), reshaped((10, 5, 4), (-1, 0), reverse=True)
    ((2, 12), (1, 2, 12), (50, 4))
    """
    shape, codes = tuple(shape), tuple(codes)
    out = _follow_codes(shape[::-1], codes[::-1])[::-1] if reverse else _follow_codes(shape, codes)
    total, unknown = product(shape), out.count(-1)
    known = product([n for n in out if n != -1])
    if unknown > 1:
        raise ArgumentError(explain("Reshape", "Only one size can be inferred.", expected="at most one -1", received=codes))
    if unknown and known and total % known == 0:
        out[out.index(-1)] = total // known
    elif unknown and not known and total == 0:
        out[out.index(-1)] = 0
    if product(out) != total or -1 in out:
        raise ShapeError(explain("Reshape", f"The {total} elements of {shape} do not fit.", expected=f"a shape of {total} elements", received=codes,
                                 fix="use -1 for one size to have it inferred"))
    return tuple(out)


def _old_target(shape: Sequence[int], target: Sequence[int], keep_highest: bool) -> tuple[int, ...]:
    """Return what the old attributes target_shape (0: inferred) and keep_highest mean."""
    sizes = [-1 if n == 0 else n for n in target]
    if keep_highest:
        sizes[0] = shape[0]
    return tuple(sizes)


def _np_reshape(x: np.ndarray, shape: Any = (), reverse: bool = False, target_shape: Any = (), keep_highest: bool = False) -> np.ndarray:
    return x.reshape(reshaped(x.shape, shape or _old_target(x.shape, target_shape, keep_highest), reverse))


_NUMBERS = A(2, 3, 4)


@final
class _Reshaping(InferRule):
    """The result's shape follows from the attributes; one unknown size of the data follows from a result that is known."""

    def forward(self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], training: bool) -> list[TensorType]:
        shape = tuple(ins[0].shape or ())
        wanted = attrs["shape"] or _old_target(shape, attrs["target_shape"], attrs["keep_highest"])
        return [TensorType(reshaped(shape, wanted, attrs["reverse"]), ins[0].dtype)]

    def partial(self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType],
                outs: Sequence[TensorType]) -> tuple[list[TensorType], list[TensorType]]:
        data, result = ins[0].shape, outs[0].shape
        if data is not None and result is not None and list(data).count(None) == 1 and None not in result:
            known = product([size for size in data if size is not None])
            total = product(result)  # type: ignore[arg-type]  # complete
            if known and total % known == 0:
                ins = [TensorType(tuple(total // known if size is None else size for size in data), ins[0].dtype)]
        return list(ins), list(outs)


@operator(aliases=("reshape",), view="share", infer=_Reshaping(),
          check=check(S(_NUMBERS, shape=(4, -1)), S(_NUMBERS, shape=(0, -1)), S(_NUMBERS, shape=(-3, 0)), S(_NUMBERS, shape=(-4, 1, 2, -2)),
                      S(_NUMBERS, shape=(-1, 0), reverse=True), S(A(0, 3), shape=(-1, 5)), S(A(0, 3), shape=(0, 1, 3)), S(_NUMBERS, target_shape=(0, 4)), ref=_np_reshape,
                      errors=[((_NUMBERS,), {"shape": (5, 5)}, "24 elements"), ((_NUMBERS,), {"shape": (5, -1)}, "24 elements"), ((_NUMBERS,), {"shape": (-1, -1)}, "at most one -1"),
                              ((_NUMBERS,), {"shape": (0, 0, 0, 0)}, "more axes"), ((_NUMBERS,), {"shape": (-7, 1)}, "no such code"),
                              ((_NUMBERS,), {"shape": (-4, 3, 5, -2)}, "split the size 2")]))
def Reshape(data: Tensor, shape: Shape = (), reverse: bool = False, target_shape: Shape = (), keep_highest: bool = False) -> Tensor:
    """Give the data another shape; codes: 0 copy, -1 infer, -2 the rest, -3 merge two, -4 split in two; reverse matches from the right."""
    if not reverse and shape and all(n > 0 or n == -1 for n in shape):  # the common case needs no codes
        try:
            return data.reshape(shape)
        except RuntimeError:
            pass  # the codes' own checks below say why
    codes = shape or _old_target(data.shape, target_shape, keep_highest)
    return data.reshape(reshaped(data.shape, codes, reverse))


def _reshape_back(c: Grad) -> Value:
    return (_reshape_to(c.g, shape=c.shape()), *(None,) * (len(c.ins) - 1))


Reshape.grad(_reshape_back)


@operator(view="share", gradient=_reshape_back, check=check(S(_NUMBERS, shape=(6, 4)), S(A(0, 3), shape=(2, 0)), S(A(1), shape=(1, 1)), ref=np.reshape))
def _reshape_to(data: Tensor, shape: Shape = REQUIRED) -> Tensor:
    """Give the data exactly this shape (no codes; 0 is a size): the gradient of reshaping."""
    return data.reshape(tuple(shape))


def _like_range(begin: int | None, end: int | None, rank: int) -> tuple[int, int]:
    begin = 0 if begin is None else begin
    end = rank if end is None else end
    return begin + rank if begin < 0 else begin, end + rank if end < 0 else end


def _np_reshape_like(x: np.ndarray, y: np.ndarray, lhs_begin: Any = None, lhs_end: Any = None, rhs_begin: Any = None, rhs_end: Any = None) -> np.ndarray:
    a, b = _like_range(lhs_begin, lhs_end, x.ndim)
    p, q = _like_range(rhs_begin, rhs_end, y.ndim)
    return x.reshape(x.shape[:a] + y.shape[p:q] + x.shape[b:])


@operator(view="share", method=True, nondiff=("rhs",), gradient=_reshape_back,
          check=check(S(A(6), A(2, 3)), S(A(30, 7), A(15, 2, 4), lhs_begin=0, lhs_end=1, rhs_begin=0, rhs_end=2),
                      S(A(30, 7), A(15, 2, 4), lhs_begin=-2, lhs_end=-1, rhs_begin=0, rhs_end=-1), ref=_np_reshape_like,
                      errors=[((A(6), A(5)), {}, "elements")]))
def reshape_like(lhs: Tensor, rhs: Tensor, lhs_begin: int | None = None, lhs_end: int | None = None, rhs_begin: int | None = None,
                 rhs_end: int | None = None) -> Tensor:
    """Give lhs the shape of rhs, or put the axes rhs_begin..rhs_end of rhs in place of the axes lhs_begin..lhs_end of lhs."""
    a, b = _like_range(lhs_begin, lhs_end, lhs.dim())
    p, q = _like_range(rhs_begin, rhs_end, rhs.dim())
    target = tuple(lhs.shape[:a]) + tuple(rhs.shape[p:q]) + tuple(lhs.shape[b:])
    if product(target) != lhs.numel():
        raise ShapeError(explain("reshape_like", f"The {lhs.numel()} elements of {tuple(lhs.shape)} do not fit.", expected=f"{product(target)} elements",
                                 received=target))
    return lhs.reshape(target)


@operator(aliases=("flatten",), view="share", method=True, gradient=_reshape_back,
          check=check(S(_NUMBERS), S(A(3)), S(A(0, 3, 2)), S(A(2, 0)), ref=lambda x: x.reshape(x.shape[0], int(np.prod(x.shape[1:])))))
def Flatten(data: Tensor) -> Tensor:
    """Merge all axes but the first: (batch, ...) to (batch, features)."""
    return data.reshape(data.shape[0], product(data.shape[1:]))


@operator(view="share", method=True, gradient=_reshape_back,
          check=check(S(A(2, 3), axis=0), S(A(2, 3), axis=-1), S(A(0, 3), axis=1), ref=np.expand_dims, errors=[((A(2, 3),), {"axis": 3}, "axis")]))
def expand_dims(data: Tensor, axis: int = REQUIRED) -> Tensor:
    """Insert an axis of size 1 at position `axis`."""
    return torch.unsqueeze(data, one_axis("expand_dims", axis, data.dim() + 1))


def _np_squeeze(x: np.ndarray, axis: Any = None) -> np.ndarray:
    return np.atleast_1d(np.squeeze(x, tuple(axis) if isinstance(axis, list) else axis))


@operator(view="share", method=True, gradient=_reshape_back,
          check=check(S(A(1, 3, 1)), S(A(1, 3, 1), axis=0), S(A(1, 3, 1), axis=(0, -1)), S(A(1, 1)), S(A(0, 1)), ref=_np_squeeze,
                      errors=[((A(2, 3),), {"axis": 0}, "size 1")]))
def squeeze(data: Tensor, axis: Axis = None) -> Tensor:
    """Remove the axes of size 1, or the named ones; at least one axis stays."""
    axes = range(data.dim()) if axis is None else several_axes("squeeze", axis, data.dim())
    if axis is not None and any(data.shape[a] != 1 for a in axes):
        raise ShapeError(explain("squeeze", "Only axes of size 1 can be removed.", expected="size 1", received=f"axis={axis} of shape {tuple(data.shape)}"))
    gone = {a for a in axes if data.shape[a] == 1}
    return data.reshape(tuple(n for a, n in enumerate(data.shape) if a not in gone) or (1,))


# -- order of axes and elements ------------------------------------------------------------------------------------------------------


@operator(view="copy", method=True,
          check=check(S(_NUMBERS), S(_NUMBERS, axes=(1, 0, 2)), S(_NUMBERS, axes=(2, 0, 1)), S(A(0, 3)), ref=lambda x, axes=None: np.transpose(x, axes),
                      errors=[((_NUMBERS,), {"axes": (0, 1)}, "3 axes"), ((_NUMBERS,), {"axes": (0, 1, 1)}, "twice")]))
def transpose(data: Tensor, axes: Shape = ()) -> Tensor:
    """Reorder the axes; without `axes` reverse them."""
    if not axes:
        return data.permute(tuple(range(data.dim() - 1, -1, -1)))
    if len(axes) != data.dim():
        raise ArgumentError(explain("transpose", "The order does not name every axis.", expected=f"{data.dim()} axes", received=tuple(axes)))
    return data.permute(several_axes("transpose", axes, data.dim()))


@transpose.grad
def _(c: Grad) -> Value:
    rank = len(c.shape())
    axes = several_axes("transpose", c.attrs["axes"], rank) or tuple(range(rank - 1, -1, -1))
    return transpose(c.g, axes=tuple(axes.index(a) for a in range(rank)))


@operator(aliases=("swapaxes",), view="copy", method=True,
          check=check(S(_NUMBERS, dim1=0, dim2=2), S(_NUMBERS, dim1=-1, dim2=1), S(A(0, 3), dim1=0, dim2=1), ref=lambda x, dim1, dim2: np.swapaxes(x, dim1, dim2),
                      errors=[((A(2, 3),), {"dim1": 0, "dim2": 2}, "axis")]))
def SwapAxis(data: Tensor, dim1: int = 0, dim2: int = 0) -> Tensor:
    """Exchange two axes."""
    return data.transpose(one_axis("SwapAxis", dim1, data.dim()), one_axis("SwapAxis", dim2, data.dim()))


@SwapAxis.grad
def _(c: Grad) -> Value:
    return SwapAxis(c.g, dim1=c.attrs["dim1"], dim2=c.attrs["dim2"])


@operator(aliases=("flip",), method=True,
          check=check(S(_NUMBERS, axis=1), S(_NUMBERS, axis=(0, 2)), S(A(0, 3), axis=0), S(A(3), axis=-1), ref=np.flip,
                      errors=[((A(2, 3),), {"axis": 2}, "axis")]))
def reverse(data: Tensor, axis: Shape = REQUIRED) -> Tensor:
    """Reverse the order of elements along one or several axes."""
    return torch.flip(data, several_axes("reverse", axis, data.dim()))


@reverse.grad
def _(c: Grad) -> Value:
    return reverse(c.g, axis=c.attrs["axis"])


# -- repetition ----------------------------------------------------------------------------------------------------------------------


def _summed(value: Value, interleaved: Sequence[int], axes: Sequence[int], shape: tuple[int, ...]) -> Value:
    """Return a gradient seen with interleaved repetitions, summed over these, in the input's shape."""
    return _reshape_to(lookup("sum")(_reshape_to(value, shape=tuple(interleaved)), axis=tuple(axes)), shape=shape)


@operator(method=True, check=check(S(A(2, 3), reps=(2,)), S(A(2, 3), reps=(2, 1, 3)), S(A(2), reps=(2, 2)), S(A(2, 3), reps=()), S(A(0, 3), reps=(2, 1)), ref=np.tile,
                                   errors=[((A(2),), {"reps": (-1,)}, "reps")]))
def tile(data: Tensor, reps: Shape = REQUIRED) -> Tensor:
    """Repeat the whole array reps[i] times along axis i, axes counted from the last."""
    if any(n < 0 for n in _axes_of(reps)):
        raise ArgumentError(explain("tile", "A number of repetitions is negative.", expected="reps >= 0", received=f"reps={reps}"))
    return torch.tile(data, _axes_of(reps))


@tile.grad
def _(c: Grad) -> Value:
    reps, shape = _axes_of(c.attrs["reps"]), c.shape()
    rank = max(len(reps), len(shape))
    reps = (1,) * (rank - len(reps)) + reps
    full = (1,) * (rank - len(shape)) + shape
    return _summed(c.g, [n for pair in zip(reps, full) for n in pair], range(0, 2 * rank, 2), shape)


@operator(method=True, check=check(S(A(2, 3), repeats=2), S(A(2, 3), repeats=3, axis=1), S(A(2, 3), repeats=2, axis=-2), S(A(0, 3), repeats=2, axis=1), ref=np.repeat,
                                   errors=[((A(2),), {"repeats": -1}, "repeats"), ((A(2),), {"repeats": 2, "axis": 1}, "axis")]))
def repeat(data: Tensor, repeats: int = REQUIRED, axis: int | None = None) -> Tensor:
    """Repeat every element `repeats` times along an axis; without axis, of the flattened array."""
    if repeats < 0:
        raise ArgumentError(explain("repeat", "The number of repetitions is negative.", expected="repeats >= 0", received=f"repeats={repeats}"))
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
    return _summed(c.g, (*shape[: at + 1], times, *shape[at + 1:]), (at + 1,), shape)


# -- padding -------------------------------------------------------------------------------------------------------------------------


def _source_rows(size: int, before: int, after: int, mode: str) -> list[int]:
    """Return which row of an axis each row of the padded axis repeats."""
    rows = range(-before, size + after)
    if mode == "edge":
        return [min(max(r, 0), size - 1) for r in rows]
    return [size - 1 - abs(size - 1 - abs(r)) for r in rows]


def _pairs(where: str, mode: str, width: Sequence[int], shape: Sequence[int]) -> list[tuple[int, int]]:
    """Return (before, after) of each axis; what does not fit the shape or the mode is refused."""
    if mode not in ("constant", "edge", "reflect"):
        raise ArgumentError(explain(where, "There is no such mode.", expected="constant, edge or reflect", received=repr(mode)))
    if len(width) != 2 * len(shape):
        raise ArgumentError(explain(where, "pad_width does not fit the number of axes.", expected=f"{2 * len(shape)} numbers (before, after of each axis)",
                                    received=tuple(width)))
    pairs = list(zip(width[::2], width[1::2]))
    if any(n < 0 for n in width):
        raise ArgumentError(explain(where, "A width is negative.", expected="pad_width >= 0", received=tuple(width), fix="cut with slice"))
    if mode == "reflect" and any(max(pair) >= size for pair, size in zip(pairs, shape) if max(pair)):
        raise ShapeError(explain(where, "Reflection needs more rows than there are.", expected="widths smaller than the axis",
                                 received=f"pad_width={tuple(width)} for shape {tuple(shape)}"))
    return pairs


def _np_pad(x: np.ndarray, mode: str, pad_width: Any, constant_value: float = 0.0) -> np.ndarray:
    pairs = list(zip(pad_width[::2], pad_width[1::2]))
    return np.pad(x, pairs, mode=mode, **({"constant_values": constant_value} if mode == "constant" else {}))


@operator(aliases=("pad",), method=True,
          check=check(S(A(1, 2, 3, 4), mode="constant", pad_width=(0, 0, 0, 0, 1, 2, 2, 1), constant_value=2.5),
                      S(A(1, 2, 3, 4), mode="edge", pad_width=(0, 0, 0, 0, 1, 2, 2, 1)), S(A(1, 2, 3, 4), mode="reflect", pad_width=(0, 0, 0, 0, 1, 2, 3, 1)),
                      S(A(1, 2, 2, 3, 4), mode="edge", pad_width=(0, 0, 0, 0, 1, 1, 0, 2, 2, 1)), S(A(2, 3), mode="constant", pad_width=(1, 0, 0, 2)),
                      S(A(3, 2), mode="reflect", pad_width=(2, 1, 0, 0)), ref=_np_pad,
                      errors=[((A(1, 1, 2, 2),), {"mode": "constant", "pad_width": (1, 1)}, "8 numbers"),
                              ((A(1, 1, 2, 2),), {"mode": "reflect", "pad_width": (0, 0, 0, 0, 2, 2, 0, 0)}, "smaller than the axis"),
                              ((A(1, 1, 2, 2),), {"mode": "symmetric", "pad_width": (0,) * 8}, "constant, edge or reflect")]))
def Pad(data: Tensor, mode: str = REQUIRED, pad_width: Shape = REQUIRED, constant_value: float = 0.0) -> Tensor:
    """Add rows before and after each axis: a constant, the edge repeated, or a reflection; pad_width = (before, after) of every axis."""
    pairs = _pairs("Pad", mode, pad_width, data.shape)
    if mode == "constant":
        return torch.nn.functional.pad(data, [n for pair in reversed(pairs) for n in pair], value=constant_value)
    for axis, (before, after) in enumerate(pairs):
        if before or after:
            rows = torch.tensor(_source_rows(data.shape[axis], before, after, mode), device=data.device)
            data = torch.index_select(data, axis, rows)
    return data if any(pad_width) else data.clone()


@Pad.grad
def _(c: Grad) -> Value:
    return _pad_backward(c.g, mode=c.attrs["mode"], pad_width=c.attrs["pad_width"])


def _np_pad_backward(g: np.ndarray, mode: str, pad_width: Any) -> np.ndarray:
    for axis, (before, after) in enumerate(zip(pad_width[::2], pad_width[1::2])):
        size = g.shape[axis] - before - after
        rows = np.array(_source_rows(size, before, after, mode))
        kept = np.moveaxis(np.zeros((*g.shape[:axis], size, *g.shape[axis + 1:])), axis, 0)
        for at, row in enumerate(rows):
            if mode != "constant" or 0 <= at - before < size:
                kept[at - before if mode == "constant" else row] += np.moveaxis(g, axis, 0)[at]
        g = np.moveaxis(kept, 0, axis)
    return g


@operator(check=check(S(A(1, 2, 5, 6), mode="constant", pad_width=(0, 0, 0, 0, 1, 2, 2, 1)), S(A(1, 2, 5, 6), mode="edge", pad_width=(0, 0, 0, 0, 1, 2, 2, 1)),
                      S(A(1, 2, 5, 6), mode="reflect", pad_width=(0, 0, 0, 0, 1, 1, 2, 1)), ref=_np_pad_backward))
def _pad_backward(grad: Tensor, mode: str = REQUIRED, pad_width: Shape = REQUIRED) -> Tensor:
    """Add the gradients of added rows to those of the rows they repeat (or drop them): the gradient of Pad."""
    for axis, (before, after) in enumerate(zip(pad_width[::2], pad_width[1::2])):
        size = grad.shape[axis] - before - after
        if not (before or after):
            continue
        if mode == "constant":
            grad = grad.narrow(axis, before, size)
        else:
            rows = torch.tensor(_source_rows(size, before, after, mode), device=grad.device)
            kept = torch.zeros((*grad.shape[:axis], size, *grad.shape[axis + 1:]), dtype=grad.dtype, device=grad.device)
            grad = kept.index_add(axis, rows, grad)
    return grad.contiguous() if any(pad_width) else grad.clone()


@_pad_backward.grad
def _(c: Grad) -> Value:
    return Pad(c.g, mode=c.attrs["mode"], pad_width=c.attrs["pad_width"])


# -- diagonals -----------------------------------------------------------------------------------------------------------------------


def _np_diag(x: np.ndarray, k: int = 0, axis1: int = 0, axis2: int = 1) -> np.ndarray:
    return np.diag(x, k) if x.ndim == 1 else np.diagonal(x, k, axis1, axis2)


@operator(view="copy", method=True,
          check=check(S(A(3)), S(A(3), k=1), S(A(3), k=-2), S(A(3, 4)), S(A(3, 4), k=-1), S(A(2, 3, 3), axis1=1, axis2=2), S(A(2, 3, 4), k=1, axis1=-1, axis2=0), ref=_np_diag,
                      errors=[((A(2, 3),), {"k": 5}, "diagonal")]))
def diag(data: Tensor, k: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """Take the k-th diagonal of the planes of two axes; of an array of one axis, make the matrix that has it as k-th diagonal."""
    if data.dim() == 1:
        return torch.diag_embed(data, k)
    first, second = one_axis("diag", axis1, data.dim()), one_axis("diag", axis2, data.dim())
    if not -data.shape[first] < k < data.shape[second]:
        raise ArgumentError(explain("diag", "There is no such diagonal.", expected=f"-{data.shape[first]} < k < {data.shape[second]}", received=f"k={k}"))
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


@operator(check=check(S(A(3), shape=(3, 4), k=0, axis1=0, axis2=1), S(A(2, 2), shape=(2, 3, 3), k=1, axis1=1, axis2=2), ref=_np_diag_backward))
def _diag_backward(grad: Tensor, shape: Shape = REQUIRED, k: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """Put a diagonal into zeros: the gradient of diag."""
    return torch.diagonal_scatter(torch.zeros(tuple(shape), dtype=grad.dtype, device=grad.device), grad, k, axis1, axis2)


@_diag_backward.grad
def _(c: Grad) -> Value:
    return diag(c.g, k=c.attrs["k"], axis1=c.attrs["axis1"], axis2=c.attrs["axis2"])
