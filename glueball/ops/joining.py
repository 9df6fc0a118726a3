"""Joining arrays along an axis and splitting them: Concat, stack, SliceChannel (split), split_v2.

The one idea: each is the other's gradient. Reordering inside one array is in shape_ops.py, cutting pieces out in
slicing.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..base.errors import ArgumentError, DTypeError, ShapeError, explain
from .attributes import Shape
from .opdef import REQUIRED, Grad, Tensor, Value, lookup, operator
from .rules.check import A, S, check
from .rules.emit import many
from .rules.layers import formula
from .rules.shapes import joined, stacked
from .shape_ops import one_axis
from .slicing import slice_axis


def _joinable(where: str, data: Sequence[Tensor]) -> None:
    """Refuse to join nothing, or arrays of several types."""
    if not data:
        raise ArgumentError(explain(where, "There is nothing to join.", expected="at least one array", received="none"))
    kinds = {t.dtype for t in data}
    if len(kinds) > 1:
        raise DTypeError(
            explain(
                where,
                "The element types differ.",
                expected="one dtype",
                received=", ".join(str(t.dtype).removeprefix("torch.") for t in data),
                fix="convert with x.astype('float32')",
            )
        )


def _np_concat(*xs: np.ndarray, dim: int = 1) -> np.ndarray:
    return np.concatenate(xs, dim)


@operator(
    infer=formula(joined),
    emit=many("torch.cat(({0}), {dim})"),
    aliases=("concat",),
    variadic_count="num_args",
    check=check(
        S(A(2, 3), A(2, 4)),
        S(A(2, 3), A(1, 3), A(2, 3), dim=0),
        S(A(2, 3, 1), A(2, 3, 2), dim=-1),
        S(A(2, 3)),
        S(A(0, 3), A(2, 3), dim=0),
        ref=_np_concat,
        errors=[
            ((A(2, 3), A(3, 3)), {"dim": 1}, "axis 0"),
            ((A(2, 3), A(2, 3)), {"dim": 2}, "axis"),
            ((A(2), A(2, dtype="int32")), {"dim": 0}, "types"),
            ((), {}, "at least one"),
        ],
    ),
)
def Concat(*data: Tensor, dim: int = 1) -> Tensor:
    """Join arrays along the axis `dim`; all other sizes must be equal."""
    _joinable("Concat", data)
    first = data[0]
    axis = one_axis("Concat", dim, first.dim())
    if len(data) == 1:
        return first.clone()
    try:
        if all(other.dim() == first.dim() for other in data):
            return torch.cat(data, axis)
    except RuntimeError:
        pass  # said in words below
    raise _misfit(data, axis)


def _misfit(data: Sequence[Tensor], axis: int) -> ShapeError:
    """The error for the first array that cannot be joined."""
    first = tuple(data[0].shape)
    for position, other in enumerate(data):
        shape = tuple(other.shape)
        wrong = [a for a, (n, m) in enumerate(zip(first, shape)) if n != m and a != axis]
        if wrong or len(shape) != len(first):
            what = f"the sizes of axis {wrong[0]} differ" if wrong else "the numbers of axes differ"
            wanted = f"{first}, but for axis {axis}"
            return ShapeError(
                explain("Concat", f"Array {position} does not fit: {what}.", expected=wanted, received=shape)
            )
    return ShapeError(explain("Concat", "The arrays do not fit.", received=[tuple(t.shape) for t in data]))


@Concat.grad
def _(c: Grad) -> Value:
    if len(c.ins) == 1:
        return (c.g,)
    axis = one_axis("Concat", c.attrs["dim"], len(c.shape()))
    gradients, at = [], 0
    for index in range(len(c.ins)):
        size = c.shape(index)[axis]
        gradients.append(slice_axis(c.g, axis=axis, begin=at, end=at + size))
        at += size
    return tuple(gradients)


def _np_stack(*xs: np.ndarray, axis: int = 0) -> np.ndarray:
    return np.stack(xs, axis)


@operator(
    infer=formula(stacked),
    emit=many("torch.stack(({0}), {axis})"),
    variadic_count="num_args",
    check=check(
        S(A(2, 3), A(2, 3)),
        S(A(2, 3), A(2, 3), A(2, 3), axis=-1),
        S(A(2, 3), axis=1),
        S(A(0, 2), A(0, 2)),
        ref=_np_stack,
        errors=[((A(2), A(3)), {}, "shape"), ((A(2), A(2)), {"axis": 2}, "axis"), ((), {}, "at least one")],
    ),
)
def stack(*data: Tensor, axis: int = 0) -> Tensor:
    """Join arrays of equal shape along a new axis."""
    _joinable("stack", data)
    for position, other in enumerate(data[1:], 1):
        if other.shape != data[0].shape:
            raise ShapeError(
                explain(
                    "stack",
                    f"The shape of array {position} differs.",
                    expected=tuple(data[0].shape),
                    received=tuple(other.shape),
                )
            )
    return torch.stack(data, one_axis("stack", axis, data[0].dim() + 1))


@stack.grad
def _(c: Grad) -> Value:
    axis = one_axis("stack", c.attrs["axis"], len(c.shape()) + 1)
    parts = SliceChannel(c.g, num_outputs=len(c.ins), axis=axis, squeeze_axis=True)
    return tuple(parts[i] for i in range(len(c.ins))) if len(c.ins) > 1 else (parts,)


def _np_split(x: np.ndarray, num_outputs: int, axis: int = 1, squeeze_axis: bool = False) -> tuple[np.ndarray, ...]:
    return tuple(p.squeeze(axis) if squeeze_axis else p for p in np.split(x, num_outputs, axis))


@operator(
    aliases=("split",),
    view="copy",
    method=True,
    outputs=lambda attrs: attrs["num_outputs"],
    check=check(
        S(A(2, 4, 3), num_outputs=2),
        S(A(2, 4), num_outputs=4, squeeze_axis=True),
        S(A(2, 3), num_outputs=3, axis=-1),
        S(A(2, 3), num_outputs=1),
        S(A(0, 4), num_outputs=2),
        ref=_np_split,
        errors=[
            ((A(2, 3),), {"num_outputs": 2}, "equal parts"),
            ((A(2, 4),), {"num_outputs": 2, "squeeze_axis": True}, "size 1"),
            ((A(2, 4),), {"num_outputs": 2, "axis": 2}, "axis"),
        ],
    ),
)
def SliceChannel(data: Tensor, num_outputs: int = REQUIRED, axis: int = 1, squeeze_axis: bool = False) -> list[Tensor]:
    """Split into num_outputs equal parts along an axis; squeeze_axis removes it when the parts have size 1."""
    at = one_axis("SliceChannel", axis, data.dim())
    size = data.shape[at]
    if num_outputs < 1 or size % num_outputs:
        raise ShapeError(
            explain(
                "SliceChannel",
                f"Axis {at} of size {size} cannot be split into {num_outputs} equal parts.",
                expected=f"a size divisible by num_outputs={num_outputs}",
                received=tuple(data.shape),
            )
        )
    if squeeze_axis and size != num_outputs:
        raise ShapeError(
            explain(
                "SliceChannel",
                "squeeze_axis removes an axis of size 1 only.",
                expected=f"num_outputs={size}",
                received=num_outputs,
            )
        )
    if squeeze_axis:
        return list(data.unbind(at))
    return (
        list(data.split(size // num_outputs if size else 0, at))
        if size
        else [data.narrow(at, 0, 0) for _ in range(num_outputs)]
    )


def _complete_gradients(c: Grad) -> list[Value]:
    """Return the gradients of all outputs, zeros for those that nothing uses."""
    return [lookup("zeros_like")(out) if g is None else g for g, out in zip(c.grads, c.outs)]


@SliceChannel.grad
def _(c: Grad) -> Value:
    axis = one_axis("SliceChannel", c.attrs["axis"], len(c.shape()))
    grads = _complete_gradients(c)
    return stack(*grads, axis=axis) if c.attrs["squeeze_axis"] else Concat(*grads, dim=axis)


def _split_count(attrs: Mapping[str, Any]) -> int:
    return attrs["sections"] or len(attrs["indices"])


def _np_split_v2(
    x: np.ndarray, indices: Any, axis: int = 1, squeeze_axis: bool = False, sections: int = 0
) -> tuple[np.ndarray, ...]:
    parts = np.split(x, sections or list(indices)[1:], axis)
    return tuple(p.squeeze(axis) if squeeze_axis else p for p in parts)


@operator(
    view="copy",
    outputs=_split_count,
    check=check(
        S(A(2, 6), indices=(0, 1, 4)),
        S(A(6, 2), indices=(), sections=3, axis=0),
        S(A(2, 3), indices=(), sections=3, squeeze_axis=True),
        ref=_np_split_v2,
        errors=[
            ((A(2, 3),), {"indices": (0, 5)}, "size 3"),
            ((A(2, 3),), {"indices": (), "sections": 2}, "equal parts"),
        ],
    ),
)
def _split_v2(
    data: Tensor, indices: Shape = REQUIRED, axis: int = 1, squeeze_axis: bool = False, sections: int = 0
) -> list[Tensor]:
    """Split at `indices` (the begin of every part, the first 0), or into `sections` equal parts."""
    at = one_axis("split_v2", axis, data.dim())
    size = data.shape[at]
    if sections:
        if size % sections:
            raise ShapeError(
                explain(
                    "split_v2",
                    f"Axis {at} of size {size} cannot be split into {sections} equal parts.",
                    expected=f"a size divisible by {sections}",
                    received=tuple(data.shape),
                )
            )
        begins = list(range(0, size, size // sections)) if size else [0] * sections
    else:
        begins = list(indices)
    ends = [*begins[1:], size]
    if any(not 0 <= b <= e <= size for b, e in zip(begins, ends)):
        raise ShapeError(
            explain(
                "split_v2",
                f"The indices do not fit an axis of size {size}.",
                expected=f"rising numbers from 0 to {size}",
                received=tuple(begins),
            )
        )
    parts = [data.narrow(at, b, e - b) for b, e in zip(begins, ends)]
    if not squeeze_axis:
        return parts
    if any(p.shape[at] != 1 for p in parts):
        raise ShapeError(
            explain(
                "split_v2",
                "squeeze_axis removes an axis of size 1 only.",
                expected="parts of size 1",
                received=tuple(begins),
            )
        )
    return [p.squeeze(at) for p in parts]


@_split_v2.grad
def _(c: Grad) -> Value:
    axis = one_axis("split_v2", c.attrs["axis"], len(c.shape()))
    grads = _complete_gradients(c)
    return stack(*grads, axis=axis) if c.attrs["squeeze_axis"] else Concat(*grads, dim=axis)
