"""Operators of research networks that others build on: fft, ifft, count_sketch (compact bilinear pooling), deformable
convolutions.

The one idea: each is written in plain torch, whose tape gives the gradient. Attention products are in dot.py,
ordinary convolution in convolution.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..base.errors import ArgumentError, ShapeError, explain
from .attributes import Shape
from .convolution import weight_shape
from .opdef import REQUIRED, Tensor, from_kernel, operator
from .rules.check import A, S, check
from .rules.layers import probing


# -- fft, ifft ---------------------------------------------------------------------------------------------------------
def _np_fft(x: np.ndarray, compute_size: int = 128) -> np.ndarray:
    found = np.fft.fft(x)
    return np.stack([found.real, found.imag], -1).reshape(*x.shape[:-1], -1)


@operator(
    name="_contrib_fft", infer=probing, gradient=from_kernel, check=check(S(A(2, 4)), S(A(1, 2, 2, 3)), ref=_np_fft)
)
def fft(data: Tensor, compute_size: int = 128) -> Tensor:
    """Fourier transform along the last axis: real (…, d) → (…, 2·d), real and imaginary parts in turn. `compute_size`
    has no effect.
    """
    return torch.view_as_real(torch.fft.fft(data)).flatten(-2)


def _np_ifft(x: np.ndarray, compute_size: int = 128) -> np.ndarray:
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    return np.fft.ifft(pairs[..., 0] + 1j * pairs[..., 1]).real * pairs.shape[-2]


@operator(
    name="_contrib_ifft",
    infer=probing,
    gradient=from_kernel,
    check=check(S(A(2, 8)), S(A(1, 2, 2, 6)), ref=_np_ifft, errors=[((A(2, 3),), {}, "even")]),
)
def ifft(data: Tensor, compute_size: int = 128) -> Tensor:
    """Inverse Fourier transform of (…, 2·d), real and imaginary parts in turn: the real part (…, d), times d (not
    normalised).
    """
    if data.shape[-1] % 2:
        raise ShapeError(
            explain(
                "ifft",
                "Real and imaginary parts come in pairs.",
                expected="an even last axis",
                received=tuple(data.shape),
            )
        )
    pairs = torch.view_as_complex(data.unflatten(-1, (-1, 2)).contiguous())
    return torch.fft.ifft(pairs, norm="forward").real


# -- count_sketch ------------------------------------------------------------------------------------------------------
def _np_sketch(
    x: np.ndarray, h: np.ndarray, s: np.ndarray, out_dim: int, processing_batch_size: int = 32
) -> np.ndarray:
    out = np.zeros((*x.shape[:-1], out_dim))
    for i, (place, sign) in enumerate(zip(h.ravel().astype(int), s.ravel())):
        out[..., place] += sign * x[..., i]
    return out


_PLACES, _SIGNS = np.array([[0.0, 2.0, 1.0, 2.0]]), np.array([[1.0, -1.0, 1.0, 1.0]])


@operator(
    name="_contrib_count_sketch",
    nondiff=("h", "s"),
    infer=probing,
    gradient=from_kernel,
    check=check(
        S(A(2, 4), _PLACES, _SIGNS, out_dim=3),
        ref=_np_sketch,
        errors=[((A(2, 4), A(1, 3), A(1, 4)), {"out_dim": 3}, r"shape \(1, 4\)")],
    ),
)
def count_sketch(
    data: Tensor, h: Tensor, s: Tensor, out_dim: int = REQUIRED, processing_batch_size: int = 32
) -> Tensor:
    """Project data (…, d) to (…, out_dim): element i is added with sign s[i] at place h[i]; h and s are (1, d).

    >>> places, signs = nd.array([[0, 1, 0]]), nd.array([[1, 1, -1]])
    >>> nd.contrib.count_sketch(nd.array([[1, 2, 3]]), places, signs, out_dim=2).asnumpy().tolist()
    [[-2.0, 2.0]]
    """
    for name, value in (("h", h), ("s", s)):
        if value.numel() != data.shape[-1]:
            raise ShapeError(
                explain(
                    "count_sketch",
                    f"The input {name!r} does not fit.",
                    expected=f"shape (1, {data.shape[-1]})",
                    received=tuple(value.shape),
                )
            )
    return data.new_zeros((*data.shape[:-1], out_dim)).index_add(
        -1, h.reshape(-1).long(), data * s.reshape(-1).to(data.dtype)
    )


# -- deformable convolution --------------------------------------------------------------------------------------------
def _each(value: Any, default: int) -> tuple[int, int]:
    if not value:
        return default, default
    return (value, value) if isinstance(value, int) else tuple(value)


def _places(
    data: Tensor, offset: Tensor, kernel: Sequence[int], stride: Any, dilate: Any, pad: Any, groups: int
) -> tuple[Tensor, Tensor]:
    """Where each kernel point looks: y and x (N·groups, K, H', W') in pixels."""
    rows, columns = offset.shape[2:]
    (dy, dx), (sy, sx), (py, px) = _each(dilate, 1), _each(stride, 1), _each(pad, 0)
    options: dict[str, Any] = {"dtype": data.dtype, "device": data.device}
    shifts = offset.view(-1, kernel[0] * kernel[1], 2, rows, columns)
    point = torch.arange(kernel[0] * kernel[1], **options)
    y = (torch.arange(rows, **options) * sy - py)[None, :, None] + (
        torch.div(point, kernel[1], rounding_mode="floor") * dy
    )[:, None, None]
    x = (torch.arange(columns, **options) * sx - px)[None, None, :] + (point % kernel[1] * dx)[:, None, None]
    return shifts[:, :, 0] + y, shifts[:, :, 1] + x


def _deformed(
    where: str,
    data: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    kernel: Any,
    stride: Any,
    dilate: Any,
    pad: Any,
    filters: int,
    groups: int,
    deformable: int,
    zeros_outside: bool,
) -> Tensor:
    kernel = _each(kernel, 1)
    points, (batch, channels, height, width) = kernel[0] * kernel[1], data.shape
    steps = zip((height, width), kernel, _each(stride, 1), _each(dilate, 1), _each(pad, 0))
    rows, columns = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, d, p in steps)
    for name, value, shape in (
        ("offset", offset, (batch, 2 * deformable * points, rows, columns)),
        ("mask", mask, (batch, deformable * points, rows, columns)),
        ("weight", weight, weight_shape(kernel, filters, channels, groups, False, False)),
    ):
        if value is not None and tuple(value.shape) != shape:
            raise ShapeError(
                explain(
                    where,
                    f"The input {name!r} does not fit.",
                    expected=f"shape {shape}",
                    received=f"{name} {tuple(value.shape)}, data {tuple(data.shape)}",
                )
            )
    y, x = _places(data, offset, kernel, stride, dilate, pad, deformable)
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1).flatten(1, 2)
    parts = data.reshape(batch * deformable, channels // deformable, height, width)
    found = torch.nn.functional.grid_sample(
        parts, grid, mode="bilinear", padding_mode="zeros" if zeros_outside else "border", align_corners=False
    )
    found = found.view(*parts.shape[:2], points, rows, columns)
    if not zeros_outside:
        found = found * ((y >= 0) & (y < height) & (x >= 0) & (x < width))[:, None]
    if mask is not None:
        found = found * mask.view(batch * deformable, 1, points, rows, columns)
    patches = found.reshape(batch, groups, channels // groups * points, rows * columns)
    out = (weight.reshape(groups, filters // groups, -1) @ patches).view(batch, filters, rows, columns)
    return out if bias is None else out + bias.view(1, -1, 1, 1)


def _np_deformed(
    x: np.ndarray,
    offset: np.ndarray,
    mask: np.ndarray | None,
    w: np.ndarray,
    b: np.ndarray | None,
    zeros_outside: bool,
    stride: Any,
    pad: Any,
    num_group: int,
    deformable: int,
) -> np.ndarray:
    """Point by point."""
    stride, pad = stride or (1, 1), pad or (0, 0)
    (batch, channels, height, width), (filters, per_group, rows, columns) = x.shape, w.shape
    out = np.zeros((batch, filters, *offset.shape[2:]))

    def at(n: int, c: int, v: float, u: float) -> float:
        if not zeros_outside:
            if not (0 <= v < height and 0 <= u < width):
                return 0.0
            v, u = min(v, height - 1), min(u, width - 1)
        total, i, j = 0.0, int(np.floor(v)), int(np.floor(u))
        for k, m in ((i, j), (i + 1, j), (i, j + 1), (i + 1, j + 1)):
            if 0 <= k < height and 0 <= m < width:
                total += x[n, c, k, m] * (1 - abs(v - k)) * (1 - abs(u - m))
        return total

    for n, f, i, j in np.ndindex(*out.shape):
        for c, k, m in np.ndindex(per_group, rows, columns):
            channel = f // (filters // num_group) * per_group + c
            point = channel // (channels // deformable) * rows * columns + k * columns + m
            v = i * stride[0] - pad[0] + k + offset[n, 2 * point, i, j]
            u = j * stride[1] - pad[1] + m + offset[n, 2 * point + 1, i, j]
            out[n, f, i, j] += w[f, c, k, m] * at(n, channel, v, u) * (1 if mask is None else mask[n, point, i, j])
    return out if b is None else out + b.reshape(1, -1, 1, 1)


def _np_deformable(
    x: np.ndarray,
    offset: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    stride: Any = (),
    pad: Any = (),
    num_group: int = 1,
    num_deformable_group: int = 1,
    **_: Any,
) -> np.ndarray:
    return _np_deformed(x, offset, None, w, b, False, stride, pad, num_group, num_deformable_group)


def _np_modulated(
    x: np.ndarray,
    offset: np.ndarray,
    mask: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    stride: Any = (),
    pad: Any = (),
    num_group: int = 1,
    num_deformable_group: int = 1,
    **_: Any,
) -> np.ndarray:
    return _np_deformed(x, offset, mask, w, b, True, stride, pad, num_group, num_deformable_group)


def _fill_deformed(attrs: Mapping[str, Any], shapes: Sequence[Any], before: int) -> list[Any]:
    weight = weight_shape(attrs["kernel"], attrs["num_filter"], shapes[0][1], attrs["num_group"], False, False)
    return [*shapes[:before], weight, (attrs["num_filter"],)][: len(shapes)]


_SMALL: dict[str, Any] = {
    "kernel": (2, 2),
    "num_filter": 2,
    "pad": (1, 1),
    "stride": (2, 2),
    "num_deformable_group": 2,
    "num_group": 2,
}


@operator(
    name="_contrib_DeformableConvolution",
    when={"bias": lambda a: not a["no_bias"]},
    infer=probing,
    gradient=from_kernel,
    check=check(
        S(A(1, 2, 4, 4), A(1, 8, 3, 3), A(3, 2, 2, 2), A(3), kernel=(2, 2), num_filter=3),
        S(A(1, 2, 4, 4), A(1, 16, 3, 3), A(2, 1, 2, 2), no_bias=True, **_SMALL),
        ref=_np_deformable,
        grad_rtol=1e-3,
        second_order=False,  # grid_sample has none
        errors=[
            (
                (A(1, 2, 4, 4), A(1, 8, 2, 2), A(3, 2, 2, 2), A(3)),
                {"kernel": (2, 2), "num_filter": 3},
                r"'offset' does not fit",
            )
        ],
    ),
)
def DeformableConvolution(
    data: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    kernel: Shape = REQUIRED,
    stride: Shape = (),
    dilate: Shape = (),
    pad: Shape = (),
    num_filter: int = REQUIRED,
    num_group: int = 1,
    num_deformable_group: int = 1,
    workspace: int = 1024,
    no_bias: bool = False,
    layout: str | None = None,
) -> Tensor:
    """Convolve with kernel points that are moved by offset (N, 2·groups·K, H', W'), y and x of each of the K points
    in pixels.

    Data (N, C, H, W) are interpolated there; places outside the image count as 0. Otherwise as Convolution.
    """
    _plain_layout("DeformableConvolution", layout)
    return _deformed(
        "DeformableConvolution",
        data,
        offset,
        None,
        weight,
        bias,
        kernel,
        stride,
        dilate,
        pad,
        num_filter,
        num_group,
        num_deformable_group,
        False,
    )


@DeformableConvolution.fill
def _(attrs: Mapping[str, Any], shapes: Sequence[Any]) -> list[Any]:
    return _fill_deformed(attrs, shapes, 2)


@operator(
    name="_contrib_ModulatedDeformableConvolution",
    when={"bias": lambda a: not a["no_bias"]},
    infer=probing,
    gradient=from_kernel,
    check=check(
        S(A(1, 2, 4, 4), A(1, 8, 3, 3), A(1, 4, 3, 3), A(3, 2, 2, 2), A(3), kernel=(2, 2), num_filter=3),
        S(A(1, 2, 4, 4), A(1, 16, 3, 3), A(1, 8, 3, 3), A(2, 1, 2, 2), no_bias=True, **_SMALL),
        ref=_np_modulated,
        grad_rtol=1e-3,
        second_order=False,  # as above
        errors=[
            (
                (A(1, 2, 4, 4), A(1, 8, 3, 3), A(1, 2, 3, 3), A(3, 2, 2, 2), A(3)),
                {"kernel": (2, 2), "num_filter": 3},
                r"'mask' does not fit",
            )
        ],
    ),
)
def ModulatedDeformableConvolution(
    data: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    kernel: Shape = REQUIRED,
    stride: Shape = (),
    dilate: Shape = (),
    pad: Shape = (),
    num_filter: int = REQUIRED,
    num_group: int = 1,
    num_deformable_group: int = 1,
    workspace: int = 1024,
    no_bias: bool = False,
    im2col_step: int = 64,
    layout: str | None = None,
) -> Tensor:
    """Do as DeformableConvolution and multiply what each kernel point sees by mask (N, groups·K, H', W')."""
    _plain_layout("ModulatedDeformableConvolution", layout)
    return _deformed(
        "ModulatedDeformableConvolution",
        data,
        offset,
        mask,
        weight,
        bias,
        kernel,
        stride,
        dilate,
        pad,
        num_filter,
        num_group,
        num_deformable_group,
        True,
    )


@ModulatedDeformableConvolution.fill
def _(attrs: Mapping[str, Any], shapes: Sequence[Any]) -> list[Any]:
    return _fill_deformed(attrs, shapes, 3)


def _plain_layout(where: str, layout: str | None) -> None:
    if layout not in (None, "None", "NCHW"):
        raise ArgumentError(explain(where, "Only one layout exists.", expected="NCHW", received=layout))
