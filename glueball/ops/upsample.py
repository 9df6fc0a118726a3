"""Making images larger or smaller: UpSampling (nearest, bilinear) and BilinearResize2D.

The one idea: torch's upsampling kernels forward and backward. UpSampling(bilinear) is a transposed convolution with a
weight, as its name in model files demands. Sampling at computed places is in spatial.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..base import aten
from ..base.errors import ArgumentError, ShapeError, explain
from .attributes import Shape
from .opdef import REQUIRED, Grad, Tensor, Value, from_kernel, operator
from .rules.check import A, S, check
from .rules.layers import probing

_MODES = ("size", "like", "odd_scale", "to_even_down", "to_even_up", "to_odd_down", "to_odd_up")


# -- UpSampling --------------------------------------------------------------------------------------------------------
def _np_upsampling(
    *data: np.ndarray,
    scale: int = 1,
    sample_type: str = "nearest",
    multi_input_mode: str = "concat",
    num_args: int = 1,
    num_filter: int = 0,
) -> np.ndarray:
    if sample_type == "nearest":
        height = data[0].shape[2] * scale
        parts = [x.repeat(height // x.shape[2], 2).repeat(height // x.shape[2], 3) for x in data]
        return np.concatenate(parts, 1) if multi_input_mode == "concat" else np.sum(parts, axis=0)
    x, w = data
    k, pad = w.shape[2], -(-(scale - 1) // 2)
    full = np.zeros((*x.shape[:2], scale * (x.shape[2] - 1) + k, scale * (x.shape[3] - 1) + k))
    for i, j in np.ndindex(*x.shape[2:]):
        full[:, :, i * scale : i * scale + k, j * scale : j * scale + k] += x[:, :, i, j, None, None] * w[None, :, 0]
    return full[:, :, pad : pad + x.shape[2] * scale, pad : pad + x.shape[3] * scale]


@operator(
    infer=probing,
    gradient=from_kernel,
    variadic_count="num_args",
    check=check(
        S(A(1, 2, 3, 3), scale=2, sample_type="nearest"),
        S(A(1, 2, 2, 2), A(1, 3, 4, 4), scale=2, sample_type="nearest"),
        S(A(1, 2, 2, 2), A(1, 2, 4, 4), scale=2, sample_type="nearest", multi_input_mode="sum"),
        S(A(1, 2, 3, 3), A(2, 1, 4, 4), scale=2, sample_type="bilinear", num_filter=2),
        S(A(1, 1, 2, 3), A(1, 1, 5, 5), scale=3, sample_type="bilinear"),
        ref=_np_upsampling,
        errors=[
            ((A(1, 2, 2, 2), A(1, 2, 3, 3)), {"scale": 2, "sample_type": "nearest"}, "divide"),
            ((A(1, 2, 2, 2),), {"scale": 2, "sample_type": "cubic"}, "nearest, bilinear"),
            ((A(1, 2, 2, 2),), {"scale": 2, "sample_type": "bilinear"}, "a weight"),
            (
                (A(1, 2, 2, 2), A(2, 1, 3, 3)),
                {"scale": 2, "sample_type": "bilinear"},
                r"weight of shape \(2, 1, 4, 4\)",
            ),
        ],
    ),
)
def UpSampling(
    *data: Tensor,
    scale: int = REQUIRED,
    num_filter: int = 0,
    sample_type: str = REQUIRED,
    multi_input_mode: str = "concat",
    workspace: int = 512,
) -> Tensor:
    """Make data (N, C, H, W) `scale` times larger.

    "nearest" repeats pixels; further inputs are brought to the same size and concatenated along the channels, or
    summed. "bilinear" takes a second input, a weight (C, 1, k, k) with k = 2·scale − scale mod 2, and convolves each
    channel with it, transposed.

    >>> nd.UpSampling(nd.array([[[[1, 2]]]]), scale=2, sample_type='nearest').asnumpy().tolist()
    [[[[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]]]
    """
    if sample_type == "nearest":
        height, width = data[0].shape[2] * scale, data[0].shape[3] * scale
        if any(height % x.shape[2] or width % x.shape[3] for x in data):
            raise ShapeError(
                explain(
                    "UpSampling",
                    "The sizes of all inputs must divide the result's.",
                    expected=f"divisors of {(height, width)}",
                    received=", ".join(str(tuple(x.shape)) for x in data),
                )
            )
        parts = [torch.nn.functional.interpolate(x, (height, width), mode="nearest") for x in data]
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts, 1) if multi_input_mode == "concat" else torch.stack(parts).sum(0)
    if sample_type != "bilinear":
        raise ArgumentError(
            explain("UpSampling", "There is no such sample_type.", expected="nearest, bilinear", received=sample_type)
        )
    if len(data) != 2:
        raise ArgumentError(
            explain(
                "UpSampling",
                "sample_type='bilinear' needs the data and a weight.",
                expected="2 inputs",
                received=len(data),
            )
        )
    size, channels = 2 * scale - scale % 2, data[0].shape[1]
    if data[1].shape != (channels, 1, size, size):
        raise ShapeError(
            explain(
                "UpSampling",
                "The weight does not fit.",
                expected=f"weight of shape {(channels, 1, size, size)}",
                received=tuple(data[1].shape),
            )
        )
    return torch.conv_transpose2d(data[0], data[1], None, scale, -(-(scale - 1) // 2), 0, channels)


@UpSampling.fill
def _(attrs: Mapping[str, Any], shapes: Sequence[Any]) -> list[Any]:
    if attrs["sample_type"] != "bilinear" or len(shapes) != 2:
        return list(shapes)
    size = 2 * attrs["scale"] - attrs["scale"] % 2
    return [shapes[0], (shapes[0][1], 1, size, size)]


# -- BilinearResize2D --------------------------------------------------------------------------------------------------
def _resized(n: int, size: int, scale: float | None, mode: str) -> int:
    if mode == "odd_scale":
        return int(n * scale) if n % 2 == 0 else int((n - 1) * scale) + 1  # type: ignore[operator]  # checked by the caller
    if mode == "size":
        return size if scale is None else int(n * scale)
    wanted, step = 0 if "even" in mode else 1, 1 if mode.endswith("up") else -1
    return n if n % 2 == wanted else n + step


def _output_size(
    shape: Sequence[int],
    like: Sequence[int] | None,
    height: int,
    width: int,
    scale_height: float | None,
    scale_width: float | None,
    mode: str,
) -> tuple[int, int]:
    where = "BilinearResize2D"
    if mode not in _MODES:
        raise ArgumentError(explain(where, "There is no such mode.", expected=", ".join(_MODES), received=mode))
    if len(shape) != 4:
        raise ShapeError(
            explain(where, "The data have a wrong number of axes.", expected="data (N, C, H, W)", received=tuple(shape))
        )
    if mode == "like":
        if like is None:
            raise ArgumentError(
                explain(
                    where,
                    "mode='like' needs the input like.",
                    expected="BilinearResize2D(data, like, mode='like')",
                    received="None",
                )
            )
        return like[2], like[3]
    if mode == "odd_scale" and (scale_height is None or scale_width is None):
        raise ArgumentError(
            explain(
                where, "mode='odd_scale' needs scale_height and scale_width.", received=f"{scale_height}, {scale_width}"
            )
        )
    size = _resized(shape[2], height, scale_height, mode), _resized(shape[3], width, scale_width, mode)
    if min(size) < 1:
        raise ArgumentError(
            explain(where, "The result would be empty.", expected="a positive height and width", received=size)
        )
    return size


def _np_bilinear(
    x: np.ndarray,
    like: np.ndarray | None = None,
    height: int = 1,
    width: int = 1,
    scale_height: float | None = None,
    scale_width: float | None = None,
    mode: str = "size",
    align_corners: bool = True,
) -> np.ndarray:
    def weights(n: int, m: int) -> np.ndarray:
        if align_corners:
            places = np.arange(m) * ((n - 1) / (m - 1) if m > 1 else 0.0)
        else:
            places = np.maximum((np.arange(m) + 0.5) * n / m - 0.5, 0)
        return np.maximum(0, 1 - np.abs(np.minimum(places, n - 1)[:, None] - np.arange(n)[None]))

    size = _output_size(x.shape, None if like is None else like.shape, height, width, scale_height, scale_width, mode)
    return np.einsum("ih,jw,nchw->ncij", weights(x.shape[2], size[0]), weights(x.shape[3], size[1]), x)


@operator(
    name="_contrib_BilinearResize2D",
    when={"like": lambda a: a["mode"] == "like"},
    nondiff=("like",),
    infer=probing,
    check=check(
        S(A(1, 2, 4, 5), height=7, width=6),
        S(A(1, 2, 4, 5), height=2, width=3, align_corners=False),
        S(A(1, 2, 4, 5), scale_height=1.5, scale_width=2.5),
        S(A(1, 2, 4, 5), A(1, 1, 3, 3), mode="like"),
        S(A(1, 2, 4, 5), height=8, width=10, align_corners=False),
        *(S(A(1, 1, 4, 5), mode=mode, scale_height=1.5, scale_width=1.5) for mode in _MODES[2:]),
        ref=_np_bilinear,
        errors=[
            ((A(1, 2, 4, 5),), {"mode": "like"}, "needs the input like"),
            ((A(1, 2, 4, 5),), {"mode": "up"}, "to_even_down"),
            ((A(2, 4, 5),), {}, r"\(N, C, H, W\)"),
            ((A(1, 2, 4, 5),), {"mode": "odd_scale"}, "scale_height and"),
            ((A(1, 2, 4, 5),), {"height": 0}, "empty"),
        ],
    ),
)
def BilinearResize2D(
    data: Tensor,
    like: Tensor | None = None,
    height: int = 1,
    width: int = 1,
    scale_height: float | None = None,
    scale_width: float | None = None,
    mode: str = "size",
    align_corners: bool = True,
) -> Tensor:
    """Resize data (N, C, H, W) by bilinear interpolation.

    mode "size": to height × width, or by scale_height × scale_width where given; "like": to the size of `like`;
    "odd_scale": by the scales, an odd size n to ⌊(n − 1)·scale⌋ + 1; "to_even_down", "to_even_up", "to_odd_down",
    "to_odd_up": by at most one pixel.

    >>> nd.contrib.BilinearResize2D(nd.array([[[[0, 2]]]]), height=1, width=3).asnumpy().tolist()
    [[[[0.0, 1.0, 2.0]]]]
    """
    size = _output_size(
        data.shape, None if like is None else like.shape, height, width, scale_height, scale_width, mode
    )
    return torch.nn.functional.interpolate(data, size, mode="bilinear", align_corners=align_corners)


@BilinearResize2D.grad
def _(c: Grad) -> Value:
    back = _bilinear_resize_backward(c.g, shape=c.shape(), align_corners=c.attrs["align_corners"])
    return back if len(c.ins) == 1 else (back, None)


def _np_bilinear_backward(g: np.ndarray, shape: tuple[int, ...], align_corners: bool = True) -> np.ndarray:
    units = np.eye(int(np.prod(shape[2:]))).reshape(-1, 1, *shape[2:])
    spread = _np_bilinear(units, None, g.shape[2], g.shape[3], align_corners=align_corners)[:, 0]
    return np.einsum("ncij,uij->ncu", g, spread).reshape(shape)


@operator(
    gradient=from_kernel,
    check=check(
        S(A(1, 2, 7, 6), shape=(1, 2, 4, 5)),
        S(A(1, 2, 2, 3), shape=(1, 2, 4, 5), align_corners=False),
        ref=_np_bilinear_backward,
    ),
)
def _bilinear_resize_backward(grad: Tensor, shape: Shape = REQUIRED, align_corners: bool = True) -> Tensor:
    """Compute the gradient of BilinearResize2D for data of the given shape."""
    return aten.upsample_bilinear2d_backward(grad, grad.shape[2:], shape, align_corners, None, None)
