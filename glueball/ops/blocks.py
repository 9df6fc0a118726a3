"""Blocks and patches of images, counting arrays: depth_to_space, im2col, col2im, arange_like, histograms, … .

The one idea: each pair (depth_to_space and space_to_depth, im2col and col2im) is its own gradient. Pooling and
convolution are in files of their own; other changes of shape in shape_ops.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..base.errors import ArgumentError, ShapeError, explain
from .attributes import Floats, Shape
from .opdef import REQUIRED, Grad, Tensor, Value, operator, unsupported
from .rules.check import A, S, check
from .rules.grad import zero
from .shape_ops import one_axis, product


def _np_depth_to_space(x: np.ndarray, block_size: int) -> np.ndarray:
    n, c, h, w = x.shape
    b = block_size
    return x.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


@operator(
    method=True,
    check=check(
        S(A(1, 8, 2, 3), block_size=2),
        ref=_np_depth_to_space,
        errors=[((A(1, 6, 2, 2),), {"block_size": 2}, "channels"), ((A(4, 2),), {"block_size": 2}, "4 axes")],
    ),
)
def depth_to_space(data: Tensor, block_size: int = REQUIRED) -> Tensor:
    """Spread channels (N, C·b², H, W) over blocks of b x b pixels: (N, C, H·b, W·b)."""
    b = _block("depth_to_space", data, block_size)
    n, c, h, w = data.shape
    if c % b**2:
        raise ShapeError(
            explain(
                "depth_to_space",
                "The channels cannot be divided.",
                expected=f"a number of channels divisible by {b**2}",
                received=tuple(data.shape),
            )
        )
    return data.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


def _block(where: str, data: Tensor, block_size: int) -> int:
    if data.dim() != 4 or block_size < 1:
        raise ShapeError(
            explain(
                where,
                "Images and a block size are needed.",
                expected="4 axes (N, C, H, W) and block_size >= 1",
                received=f"{tuple(data.shape)}, {block_size}",
            )
        )
    return block_size


@depth_to_space.grad
def _(c: Grad) -> Value:
    return space_to_depth(c.g, block_size=c.attrs["block_size"])


def _np_space_to_depth(x: np.ndarray, block_size: int) -> np.ndarray:
    n, c, h, w = x.shape
    b = block_size
    return x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4).reshape(n, c * b**2, h // b, w // b)


@operator(
    method=True,
    check=check(
        S(A(1, 2, 4, 6), block_size=2),
        ref=_np_space_to_depth,
        errors=[((A(1, 2, 3, 6),), {"block_size": 2}, "divisible")],
    ),
)
def space_to_depth(data: Tensor, block_size: int = REQUIRED) -> Tensor:
    """Gather blocks of b x b pixels into channels: (N, C, H·b, W·b) to (N, C·b², H, W)."""
    b = _block("space_to_depth", data, block_size)
    n, c, h, w = data.shape
    if h % b or w % b:
        raise ShapeError(
            explain(
                "space_to_depth",
                "The image cannot be divided into blocks.",
                expected=f"height and width divisible by {b}",
                received=tuple(data.shape),
            )
        )
    return data.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b**2, h // b, w // b)


@space_to_depth.grad
def _(c: Grad) -> Value:
    return depth_to_space(c.g, block_size=c.attrs["block_size"])


def _windows(where: str, kernel: Any, stride: Any, dilate: Any, pad: Any) -> dict[str, Any]:
    """Return the arguments of torch's unfold and fold."""
    if len(kernel) != 2:
        raise ArgumentError(
            explain(
                where,
                "Only images of two axes have patches here.",
                expected="kernel=(height, width)",
                received=tuple(kernel),
            )
        )
    return {
        "kernel_size": tuple(kernel),
        "stride": tuple(stride) or (1, 1),
        "dilation": tuple(dilate) or (1, 1),
        "padding": tuple(pad) or (0, 0),
    }


def _np_im2col(x: np.ndarray, kernel: Any, stride: Any = (1, 1), dilate: Any = (1, 1), pad: Any = (0, 0)) -> np.ndarray:
    x = np.pad(x, [(0, 0), (0, 0), (pad[0], pad[0]), (pad[1], pad[1])])
    high, wide = [(x.shape[i + 2] - dilate[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1)]
    rows = [
        x[:, c, i * dilate[0] :, j * dilate[1] :][
            :, : high * stride[0] : stride[0], : wide * stride[1] : stride[1]
        ].reshape(len(x), -1)
        for c in range(x.shape[1])
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]
    return np.stack(rows, 1)


@operator(
    check=check(
        S(A(1, 2, 4, 4), kernel=(2, 2)),
        S(A(2, 1, 5, 6), kernel=(3, 2), stride=(2, 1), dilate=(1, 2), pad=(1, 1)),
        ref=_np_im2col,
        errors=[((A(1, 1, 4),), {"kernel": (2,)}, "kernel")],
    )
)
def im2col(data: Tensor, kernel: Shape = REQUIRED, stride: Shape = (), dilate: Shape = (), pad: Shape = ()) -> Tensor:
    """Copy the patches that a convolution sees.

    (N, C, H, W) to (N, C · kernel height · kernel width, number of patches).
    """
    return torch.nn.functional.unfold(data, **_windows("im2col", kernel, stride, dilate, pad))


@im2col.grad
def _(c: Grad) -> Value:
    return col2im(
        c.g, output_size=c.shape()[2:], **{key: c.attrs[key] for key in ("kernel", "stride", "dilate", "pad")}
    )


def _np_col2im(
    x: np.ndarray, output_size: Any, kernel: Any, stride: Any = (1, 1), dilate: Any = (1, 1), pad: Any = (0, 0)
) -> np.ndarray:
    channels = x.shape[1] // product(kernel)
    places = _np_im2col(
        np.arange(1, 1 + channels * product(output_size), dtype=float).reshape(1, channels, *output_size),
        kernel,
        stride,
        dilate,
        pad,
    )[0].astype(int)
    whole = np.zeros((len(x), 1 + channels * product(output_size)))
    for row, values in zip(whole, x):
        np.add.at(row, places, values)
    return whole[:, 1:].reshape(len(x), channels, *output_size)


@operator(
    check=check(
        S(A(1, 8, 4), output_size=(3, 3), kernel=(2, 2)),
        S(A(2, 6, 9), output_size=(5, 5), kernel=(3, 2), stride=(2, 2), pad=(1, 1)),
        ref=_np_col2im,
    )
)
def col2im(
    data: Tensor,
    output_size: Shape = REQUIRED,
    kernel: Shape = REQUIRED,
    stride: Shape = (),
    dilate: Shape = (),
    pad: Shape = (),
) -> Tensor:
    """Add patches up where they came from: the inverse of im2col for patches that do not overlap."""
    return torch.nn.functional.fold(data, tuple(output_size), **_windows("col2im", kernel, stride, dilate, pad))


@col2im.grad
def _(c: Grad) -> Value:
    return im2col(c.g, **{key: c.attrs[key] for key in ("kernel", "stride", "dilate", "pad")})


def _np_arange_like(
    x: np.ndarray, start: float = 0.0, step: float = 1.0, repeat: int = 1, axis: int | None = None
) -> np.ndarray:
    count = x.size if axis is None else x.shape[axis]
    numbers = (start + step * (np.arange(count) // repeat)).astype(x.dtype)
    return numbers.reshape(x.shape) if axis is None else numbers


@operator(
    name="_contrib_arange_like",
    gradient=zero,
    check=check(
        S(A(2, 3, 4)),
        S(A(2, 3, 4), axis=1, start=2.0, step=3.0),
        S(A(2, 3), axis=-1),
        S(A(2, 4), axis=1, repeat=2),
        S(A(4, ints=3, dtype="int32")),
        S(A(0, 2)),
        ref=_np_arange_like,
        errors=[((A(2),), {"axis": 1}, "axis")],
    ),
)
def arange_like(
    data: Tensor, start: float = 0.0, step: float = 1.0, repeat: int = 1, axis: int | None = None
) -> Tensor:
    """Count start, start + step, … in the data's shape and type, or along one axis of it.

    `repeat` gives every number several times.
    """
    count = data.numel() if axis is None else data.shape[one_axis("arange_like", axis, data.dim())]
    steps = torch.arange(count, device=data.device)
    if repeat != 1:
        steps = torch.div(steps, repeat, rounding_mode="floor")
    kind = data.dtype if data.is_floating_point() else torch.float64
    numbers = (steps.to(kind) * step + start).to(data.dtype)
    return numbers.reshape(data.shape) if axis is None else numbers


def _np_histogram(
    x: np.ndarray, bins: np.ndarray | None = None, bin_cnt: int | None = None, range: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    if bin_cnt is None:
        return np.histogram(x, np.asarray(bins))
    counts, edges = np.histogram(x, bin_cnt, tuple(range))
    return counts, edges.astype(x.dtype)


def _edges(data: Tensor, bins: Tensor | None, bin_cnt: int | None, range: Sequence[float] | None) -> Tensor:
    if bin_cnt is None:
        if bins is None:
            raise ArgumentError(
                explain(
                    "_histogram",
                    "The bins are missing.",
                    expected="an array of edges, or bin_cnt and range",
                    received="neither",
                )
            )
        return bins
    if range is None or len(range) != 2 or range[0] >= range[1] or bin_cnt < 1:
        raise ArgumentError(
            explain(
                "_histogram",
                "The range of the bins does not fit.",
                expected="range=(low, high), low < high, and bin_cnt >= 1",
                received=f"range={range}, bin_cnt={bin_cnt}",
            )
        )
    return torch.linspace(range[0], range[1], bin_cnt + 1, dtype=torch.float64, device=data.device).to(data.dtype)


@operator(
    outputs=2,
    output_names=("hist", "bin_edges"),
    gradient=unsupported("counts do not vary continuously"),
    when={"bins": lambda attrs: attrs["bin_cnt"] is None},
    check=check(
        S(A(3, 5), np.array([-1.0, -0.2, 0.3, 1.0])),
        S(A(20, ints=6), None, bin_cnt=4, range=(0.0, 5.0)),
        ref=_np_histogram,
        errors=[((A(3),), {"bin_cnt": 3}, "range")],
    ),
)
def _histogram(
    data: Tensor, bins: Tensor | None = None, bin_cnt: int | None = None, range: Floats | None = None
) -> tuple[Tensor, Tensor]:
    """Count elements between rising edges: given ones, or bin_cnt equal bins over range.

    The last bin includes its upper edge.
    """
    edges = _edges(data, bins, bin_cnt, range)
    flat = data.reshape(-1)
    place = torch.searchsorted(edges, flat, right=True) - 1
    last = edges.numel() - 1
    place = torch.where(flat == edges[last], last - 1, place)
    inside = (place >= 0) & (place < last)
    counts = torch.zeros(last, dtype=torch.int64, device=data.device)
    return counts.index_add_(0, place.clamp(0, last - 1), inside.to(torch.int64)), edges.clone()
