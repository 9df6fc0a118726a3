"""Convolutions of 3×3 kernels by Winograd's way, in compiled plans: weights at the points, and the convolution itself.

The one idea: tiles of 4 × 4 or 7 × 7 results are products at 6 × 6 or 9 × 9 points (base/tilings.py): 36
multiplications in place of 144, 81 in place of 441. In a plan this is machine code (executor/native/winograd.py), which
computes in float32 whatever the arrays are; the kernels here take the weights back out of their values at the points
and call torch: for other devices, and for data with infinities or NaN, which would spread over whole tiles.

    weights at the points: (filters / WIDE, points², C, WIDE), the order in which products read them; never bfloat16 or
    float16, for there rounding at the points would be felt

Made by a pass, never by a user: passes/winograd.py. They have no gradients, for gradients are taken before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from ..base import aten
from ..base.tilings import FOUR, SEVEN, TILINGS, Rows, Tiling
from .attributes import Shape
from .convolution import _np_convolution
from .opdef import Tensor, operator, unsupported
from .prediction import _np_activated
from .rules.check import A, S, check
from .rules.layers import formula

__all__ = ["WIDE", "How", "points_of", "weight_of", "tiling_of", "convolved", "activated", "weight_gradient"]

WIDE = 32  # filters side by side in memory

How: TypeAlias = "tuple[Sequence[int], str, float, float]"
"""pad, act, low and high of `_winograd_convolution`."""

_HALVES = (torch.bfloat16, torch.float16)
_NO_GRADIENT = unsupported("passes put it into compiled plans, after differentiation")
_NO_BATCH = unsupported("passes put it into compiled plans")


def _square(rows: Rows) -> Tensor:
    """Return the matrix that applies `rows` to both axes."""
    one = torch.tensor(rows, dtype=torch.float64)
    return torch.kron(one, one)


def points_of(weight: Tensor, turned: bool = False, seven: bool = False) -> Tensor:
    """Return weights (F, C, 3, 3) at the points; `turned`: of the kernel that the gradient of the data is made with."""
    tiling = SEVEN if seven else FOUR
    if weight.dtype in _HALVES:
        weight = weight.float()
    if turned:
        weight = weight.flip(2, 3).transpose(0, 1)
    filters, channels = weight.shape[:2]
    panels = weight.reshape(filters // WIDE, WIDE, channels, 9).permute(0, 3, 2, 1).reshape(filters // WIDE, 9, -1)
    found = torch.matmul(_square(tiling.weights).to(weight), panels)
    return found.view(filters // WIDE, tiling.square, channels, WIDE)


def tiling_of(points: Tensor) -> Tiling:
    """Return the way that weights at the points were made for."""
    return next(tiling for tiling in TILINGS.values() if tiling.square == points.shape[1])


def weight_of(points: Tensor) -> Tensor:
    """Return the weights (F, C, 3, 3) that have these values at the points."""
    panels, square, channels, wide = points.shape
    back = _square(tiling_of(points).unweights).to(points)
    found = torch.matmul(back, points.reshape(panels, square, -1))
    return found.view(panels, 3, 3, channels, wide).permute(0, 4, 3, 1, 2).reshape(panels * wide, channels, 3, 3)


def activated(out: Tensor, act: str, low: float, high: float) -> Tensor:
    """Apply an activation to an array that may be written over; see `_winograd_convolution`."""
    if act == "relu":
        return out.relu_()
    if act == "clip":
        return out.clamp_(low, high)
    return torch.nn.functional.leaky_relu_(out, low) if act == "leaky" else out


def convolved(data: Tensor, points: Tensor, bias: Tensor | None, residual: Tensor | None, how: How) -> Tensor:
    """Do what `_winograd_convolution` says with torch."""
    pad, act, low, high = how
    out = torch.conv2d(data, weight_of(points).to(data.dtype), bias, 1, list(pad))
    return activated(out if residual is None else out.add_(residual), act, low, high)


def weight_gradient(grad: Tensor, data: Tensor, pad: Sequence[int]) -> Tensor:
    """Do what `_winograd_weight_gradient` says with torch."""
    weight = data.new_empty(grad.shape[1], data.shape[1], 3, 3)
    found = aten.convolution_backward(grad, data, weight, [grad.shape[1]], [1, 1], list(pad), [1, 1], False, [0, 0], 1,
                                      [False, True, False])[1]  # fmt: skip
    return weight if found is None else found.contiguous()


def _np_square(rows: Rows) -> np.ndarray:
    return np.kron(np.array(rows), np.array(rows))


def _np_points(w: np.ndarray, turned: bool = False, seven: bool = False) -> np.ndarray:
    if turned:
        w = w[:, :, ::-1, ::-1].swapaxes(0, 1)
    found = np.einsum("pq,fcq->fpc", _np_square((SEVEN if seven else FOUR).weights), w.reshape(*w.shape[:2], 9))
    return found.reshape(-1, WIDE, *found.shape[1:]).transpose(0, 2, 3, 1)


def _points_shape(attrs: Mapping[str, Any], shapes: Sequence[Any], dtypes: Sequence[Any]) -> Any:
    filters, channels = shapes[0][:2]
    if attrs["turned"]:
        filters, channels = channels, filters
    kind = torch.float32 if dtypes[0] in _HALVES else dtypes[0]
    return [((filters // WIDE, (SEVEN if attrs["seven"] else FOUR).square, channels, WIDE), kind)]


def _emit_points(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str:
    return f"convolve.points_of({args[0]}, {attrs['turned']}, {attrs['seven']})"


@operator(
    emit=_emit_points,
    infer=formula(_points_shape),
    gradient=_NO_GRADIENT,
    batch=_NO_BATCH,
    check=check(S(A(32, 3, 3, 3), grad=False), S(A(2, 64, 3, 3), turned=True, grad=False),
                S(A(32, 2, 3, 3), seven=True, grad=False), ref=_np_points),
)  # fmt: skip
def _winograd_weight(weight: Tensor, turned: bool = False, seven: bool = False) -> Tensor:
    """Bring weights (F, C, 3, 3) to Winograd's points.

    turned : they are those of the convolution that makes the data's gradient. F, or where `turned` C, is a multiple of
    32. seven : for tiles of 7 × 7 results, and not 4 × 4
    """
    return points_of(weight, turned, seven)


def _np_winograd(
    x: np.ndarray,
    points: np.ndarray,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    pad: Sequence[int] = (1, 1),
    act: str = "none",
    low: float = 0.0,
    high: float = 0.0,
    **_: Any,
) -> np.ndarray:
    tiling = next(t for t in TILINGS.values() if t.square == points.shape[1])
    w = np.einsum("qp,apcw->awcq", _np_square(tiling.unweights), points).reshape(-1, x.shape[1], 3, 3)
    out = _np_convolution(x, w, bias, kernel=(3, 3), num_filter=len(w), pad=tuple(pad))
    return _np_activated(out if residual is None else out + residual, act, low, high)


def _result_shape(attrs: Mapping[str, Any], shapes: Sequence[Any], dtypes: Sequence[Any]) -> Any:
    (n, _, high, wide), points = shapes[0], shapes[1]
    up, side = attrs["pad"]
    return [((n, points[0] * points[3], high + 2 * up - 2, wide + 2 * side - 2), dtypes[0])]


def _emit_convolution(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str:
    given = list(args)
    if attrs["no_bias"]:
        given.insert(2, "None")
    if not attrs["added"]:
        given.append("None")
    how: How = tuple(attrs["pad"]), attrs["act"], attrs["low"], attrs["high"]
    return f"convolve.convolution({', '.join(given)}, {how!r})"


@operator(
    emit=_emit_convolution,
    when={"bias": lambda a: not a["no_bias"], "residual": lambda a: a["added"]},
    infer=formula(_result_shape),
    gradient=_NO_GRADIENT,
    batch=_NO_BATCH,
    check=check(
        S(A(2, 2, 5, 4), A(1, 36, 2, 32), A(32), act="relu", grad=False),
        S(A(1, 1, 3, 6), A(2, 36, 1, 32), None, A(1, 64, 1, 4), pad=(0, 0), no_bias=True, added=True, grad=False),
        S(A(1, 1, 5, 9), A(1, 81, 1, 32), A(32), grad=False),
        S(A(1, 1, 3, 3), A(1, 36, 1, 32), A(32), act="clip", low=-0.5, high=0.5, grad=False),
        S(A(1, 1, 3, 3), A(1, 36, 1, 32), A(32), act="leaky", low=0.1, pad=(2, 0), grad=False),
        ref=_np_winograd,
    ),
)
def _winograd_convolution(
    data: Tensor,
    points: Tensor,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    pad: Shape = (1, 1),
    no_bias: bool = False,
    added: bool = False,
    act: str = "none",
    low: float = 0.0,
    high: float = 0.0,
) -> Tensor:
    """Compute act(residual + convolution of data (N, C, H, W) + bias) with weights that `_winograd_weight` made.

    act : none, relu, clip (between `low` and `high`), or leaky (values below 0 are multiplied by `low`)
    """
    return convolved(data, points, bias, residual, (pad, act, low, high))


def _np_weight_gradient(g: np.ndarray, x: np.ndarray, pad: Sequence[int] = (1, 1), seven: bool = False) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2))
    high, wide = g.shape[2:]
    found = [[np.einsum("nfyx,ncyx->fc", g, x[:, :, i : i + high, j : j + wide]) for j in range(3)] for i in range(3)]
    return np.array(found).transpose(2, 3, 0, 1)


def _emit_gradient(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str:
    return f"convolve.weight_gradient({args[0]}, {args[1]}, {attrs['pad']!r}, {attrs['seven']})"


@operator(
    emit=_emit_gradient,
    infer=formula(lambda attrs, shapes, dtypes: [((shapes[0][1], shapes[1][1], 3, 3), dtypes[0])]),
    gradient=_NO_GRADIENT,
    batch=_NO_BATCH,
    check=check(
        S(A(2, 3, 5, 4), A(2, 2, 5, 4), grad=False),
        S(A(1, 2, 2, 5), A(1, 3, 4, 5), pad=(0, 1), grad=False),
        ref=_np_weight_gradient,
    ),
)
def _winograd_weight_gradient(grad: Tensor, data: Tensor, pad: Shape = (1, 1), seven: bool = False) -> Tensor:
    """Compute the gradient (F, C, 3, 3) of a convolution's weights from its result's gradient and its data.

    seven : with tiles of 7 × 7 results, and not 4 × 4
    """
    return weight_gradient(grad, data, pad)
