"""SequenceMask, SequenceLast, SequenceReverse: operators on sequences of unequal lengths that were padded to one array.

The one idea: data are (T, N, …) with axis=0 or (N, T, …) with axis=1, and `sequence_length` (N,) says how many steps
of each are real. Everything is masks and index arithmetic without loops over the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..base.errors import ArgumentError, ShapeError, explain
from .opdef import Grad, Tensor, Value, from_kernel, operator
from .rules.check import A, S, check
from .rules.infer import same_shape
from .rules.layers import Probing
from .rules.shapes import last_step, masked

_SIZED: dict[str, Any] = {
    "when": {"sequence_length": lambda a: a["use_sequence_length"]},
    "nondiff": ("sequence_length",),
}


def _lengths(where: str, data: Tensor, sequence_length: Tensor | None, used: bool, axis: int) -> Tensor | None:
    """Check axis and lengths; None: every sequence has full length."""
    if axis not in (0, 1) or data.dim() < 2:
        raise ArgumentError(
            explain(
                where,
                "The time axis must be 0 or 1, of data with at least 2 axes.",
                received=f"axis={axis}, data {tuple(data.shape)}",
            )
        )
    if not used:
        return None
    if sequence_length is None:
        raise ArgumentError(
            explain(where, "use_sequence_length=True needs the input sequence_length.", received="None")
        )
    if sequence_length.shape != (data.shape[1 - axis],):
        raise ShapeError(
            explain(
                where,
                "The lengths do not fit.",
                expected=f"shape ({data.shape[1 - axis]},), one per sequence",
                received=f"sequence_length {tuple(sequence_length.shape)}, data {tuple(data.shape)}",
            )
        )
    return sequence_length


def _inside(data: Tensor, lengths: Tensor, axis: int) -> Tensor:
    """True at the real steps; of the data's rank."""
    steps = torch.arange(data.shape[axis], device=data.device, dtype=lengths.dtype)
    mask = steps[:, None] < lengths[None] if axis == 0 else steps[None] < lengths[:, None]
    return mask.view(*mask.shape, *(1,) * (data.dim() - 2))


def _np_mask(
    x: np.ndarray,
    lengths: np.ndarray | None = None,
    use_sequence_length: bool = False,
    value: float = 0.0,
    axis: int = 0,
) -> np.ndarray:
    out = x.copy()
    if lengths is not None:
        for i, n in enumerate(lengths.astype(int)):
            out[(slice(n, None), i) if axis == 0 else (i, slice(n, None))] = value
    return out


_LENGTHS = np.array([1.0, 3.0])
_MISFIT = ((A(3, 2), A(3)), {"use_sequence_length": True}, r"shape \(2,\)")


@operator(
    **_SIZED,
    infer=Probing(result=masked),
    check=check(
        S(A(3, 2, 2)),
        S(A(3, 2, 2), _LENGTHS, use_sequence_length=True),
        S(A(2, 4), _LENGTHS, use_sequence_length=True, value=-1.0, axis=1),
        ref=_np_mask,
        errors=[
            _MISFIT,
            ((A(3, 2),), {"axis": 2}, "must be 0 or 1"),
            ((A(3, 2),), {"use_sequence_length": True}, "needs the input"),
        ],
    ),
)
def SequenceMask(
    data: Tensor,
    sequence_length: Tensor | None = None,
    use_sequence_length: bool = False,
    value: float = 0.0,
    axis: int = 0,
) -> Tensor:
    """Set the steps from sequence_length on to `value`; without `use_sequence_length` copy.

    >>> nd.SequenceMask(nd.ones((3, 2)), nd.array([1, 3]), use_sequence_length=True).asnumpy().tolist()
    [[1.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    """
    lengths = _lengths("SequenceMask", data, sequence_length, use_sequence_length, axis)
    return data.clone() if lengths is None else data.masked_fill(~_inside(data, lengths, axis), value)


@SequenceMask.grad
def _(c: Grad) -> Value:
    if not c.attrs["use_sequence_length"]:
        return c.g if len(c.ins) == 1 else (c.g, None)
    return SequenceMask(c.g, c.ins[1], use_sequence_length=True, axis=c.attrs["axis"]), None


def _np_last(
    x: np.ndarray, lengths: np.ndarray | None = None, use_sequence_length: bool = False, axis: int = 0
) -> np.ndarray:
    x = np.moveaxis(x, axis, 0)
    return x[-1] if lengths is None else x[lengths.astype(int) - 1, np.arange(x.shape[1])]


@operator(
    **_SIZED,
    infer=Probing(result=last_step),
    gradient=from_kernel,
    check=check(
        S(A(3, 2, 2)),
        S(A(3, 2, 2), _LENGTHS, use_sequence_length=True),
        S(A(2, 4), _LENGTHS, use_sequence_length=True, axis=1),
        ref=_np_last,
        errors=[_MISFIT],
    ),
)
def SequenceLast(
    data: Tensor, sequence_length: Tensor | None = None, use_sequence_length: bool = False, axis: int = 0
) -> Tensor:
    """Take the last real step of each sequence: (T, N, …) or (N, T, …) becomes (N, …).

    >>> nd.SequenceLast(nd.array([[1, 2], [3, 4]]), nd.array([1, 2]), use_sequence_length=True).asnumpy().tolist()
    [1.0, 4.0]
    """
    lengths = _lengths("SequenceLast", data, sequence_length, use_sequence_length, axis)
    if lengths is None:
        return data.select(axis, -1).clone()
    rows = torch.arange(data.shape[1 - axis], device=data.device)
    last = lengths.long() - 1
    return data[last, rows] if axis == 0 else data[rows, last]


def _np_reverse(
    x: np.ndarray, lengths: np.ndarray | None = None, use_sequence_length: bool = False, axis: int = 0
) -> np.ndarray:
    if lengths is None:
        return np.flip(x, axis)
    out = x.copy()
    for i, n in enumerate(lengths.astype(int)):
        out[:n, i] = x[:n, i][::-1]
    return out


@operator(
    **_SIZED,
    infer=same_shape,
    check=check(
        S(A(3, 2, 2)),
        S(A(3, 2, 2), _LENGTHS, use_sequence_length=True),
        ref=_np_reverse,
        errors=[_MISFIT, ((A(3, 2),), {"axis": 1}, "time axis must be 0")],
    ),
)
def SequenceReverse(
    data: Tensor, sequence_length: Tensor | None = None, use_sequence_length: bool = False, axis: int = 0
) -> Tensor:
    """Reverse the real steps of each sequence (T, N, …) and leave the padding in its place.

    >>> nd.SequenceReverse(nd.array([[1, 2], [3, 4]]), nd.array([1, 2]), use_sequence_length=True).asnumpy().tolist()
    [[1.0, 4.0], [3.0, 2.0]]
    """
    if axis != 0:
        raise ArgumentError(
            explain(
                "SequenceReverse",
                "The time axis must be 0.",
                received=f"axis={axis}",
                fix="swap the axes with x.swapaxes(0, 1)",
            )
        )
    lengths = _lengths("SequenceReverse", data, sequence_length, use_sequence_length, axis)
    if lengths is None:
        return data.flip(0)
    steps = torch.arange(data.shape[0], device=data.device)[:, None]
    ends = lengths.long()[None]
    places = torch.where(steps < ends, ends - 1 - steps, steps).view(*data.shape[:2], *(1,) * (data.dim() - 2))
    return data.gather(0, places.expand(data.shape))


@SequenceReverse.grad
def _(c: Grad) -> Value:
    back = SequenceReverse(c.g, *c.ins[1:], use_sequence_length=c.attrs["use_sequence_length"])
    return back if len(c.ins) == 1 else (back, None)


def _fill_lengths(attrs: Mapping[str, Any], shapes: list[Any]) -> list[Any]:
    """The lengths have the size of the batch axis."""
    data = shapes[0]
    return shapes if len(shapes) < 2 or data is None or len(data) < 2 else [data, (data[1 - attrs["axis"]],)]


for _sized in (SequenceMask, SequenceLast, SequenceReverse):
    _sized.fill(_fill_lengths)
