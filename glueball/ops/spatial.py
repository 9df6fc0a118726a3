"""Sampling an image at computed places: GridGenerator, BilinearSampler, SpatialTransformer; and Correlation of two
feature maps.

The one idea: a grid (N, 2, H, W) holds x and y in [−1, 1], where ±1 are the centres of the border pixels; sampling is
torch's grid_sample with zeros outside. Resizing to a fixed size is in upsample.py, cropping in slicing.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..base.errors import ArgumentError, ShapeError, explain
from .attributes import Shape
from .opdef import REQUIRED, Tensor, from_kernel, operator
from .rules.check import A, S, check
from .rules.layers import probing


def _pixels(height: int, width: int, like: Tensor) -> Tensor:
    """The grid (2, H, W) that samples every pixel at its own place."""
    y = torch.linspace(-1, 1, height, dtype=like.dtype, device=like.device)
    x = torch.linspace(-1, 1, width, dtype=like.dtype, device=like.device)
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)])


def _affine_grid(theta: Tensor, target: Sequence[int]) -> Tensor:
    """theta (N, 6), rows of (2, 3) matrices, applied to every target pixel (x, y, 1)."""
    height, width = target
    pixels = _pixels(height, width, theta).view(2, -1)
    places = torch.cat([pixels, torch.ones_like(pixels[:1])])
    return (theta.view(-1, 2, 3) @ places).view(-1, 2, height, width)


def _sample(data: Tensor, grid: Tensor) -> Tensor:
    return torch.nn.functional.grid_sample(
        data, grid.permute(0, 2, 3, 1), mode="bilinear", padding_mode="zeros", align_corners=True
    )


def _target(where: str, target_shape: Any) -> tuple[int, int]:
    if not isinstance(target_shape, (tuple, list)) or len(target_shape) != 2 or min(target_shape) < 1:
        raise ArgumentError(
            explain(
                where,
                "target_shape needs a height and a width.",
                expected="two positive numbers",
                received=target_shape,
            )
        )
    return target_shape[0], target_shape[1]


def _np_grid(x: np.ndarray, transform_type: str = "affine", target_shape: Any = (0, 0)) -> np.ndarray:
    if transform_type == "affine":
        height, width = target_shape
        ys, xs = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
        return np.einsum("nij,jhw->nihw", x.reshape(-1, 2, 3), np.stack([xs, ys, np.ones_like(xs)]))
    height, width = x.shape[2:]
    ys, xs = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    return np.stack([(x[:, 0] + xs) * 2 / (width - 1) - 1, (x[:, 1] + ys) * 2 / (height - 1) - 1], 1)


@operator(
    infer=probing,
    gradient=from_kernel,
    check=check(
        S(A(2, 6), transform_type="affine", target_shape=(3, 4)),
        S(A(1, 2, 3, 4), transform_type="warp"),
        ref=_np_grid,
        errors=[
            ((A(2, 5),), {"transform_type": "affine", "target_shape": (3, 4)}, r"\(N, 6\)"),
            ((A(2, 6),), {"transform_type": "affine"}, "height and a width"),
            ((A(2, 6),), {"transform_type": "spline"}, "affine, warp"),
            ((A(2, 6),), {"transform_type": "warp"}, r"\(N, 2, H, W\)"),
        ],
    ),
)
def GridGenerator(data: Tensor, transform_type: str = REQUIRED, target_shape: Shape = (0, 0)) -> Tensor:
    """Make a sampling grid (N, 2, H, W) of x and y in [−1, 1].

    "affine": data (N, 6) are matrices [[a, b, c], [d, e, f]] that map target pixels (x, y, 1); "warp": data (N, 2, H,
    W) are shifts in pixels, added to each pixel's own place.

    >>> nd.GridGenerator(nd.array([[1, 0, 0, 0, 1, 0]]), transform_type='affine', target_shape=(2, 3)).shape
    (1, 2, 2, 3)
    """
    if transform_type == "affine":
        if data.dim() != 2 or data.shape[1] != 6:
            raise ShapeError(
                explain(
                    "GridGenerator",
                    "An affine transform needs six numbers per sample.",
                    expected="data (N, 6)",
                    received=tuple(data.shape),
                )
            )
        return _affine_grid(data, _target("GridGenerator", target_shape))
    if transform_type != "warp":
        raise ArgumentError(
            explain(
                "GridGenerator", "There is no such transform_type.", expected="affine, warp", received=transform_type
            )
        )
    if data.dim() != 4 or data.shape[1] != 2:
        raise ShapeError(
            explain(
                "GridGenerator",
                "A warp needs one shift per pixel.",
                expected="data (N, 2, H, W)",
                received=tuple(data.shape),
            )
        )
    height, width = data.shape[2:]
    steps = torch.tensor([2 / max(1, width - 1), 2 / max(1, height - 1)], dtype=data.dtype, device=data.device)
    return data * steps.view(1, 2, 1, 1) + _pixels(height, width, data)


def _np_sampler(x: np.ndarray, grid: np.ndarray, cudnn_off: Any = None) -> np.ndarray:
    batch, channels, height, width = x.shape
    out = np.zeros((batch, channels, *grid.shape[2:]))
    for n in range(batch):
        for i, j in np.ndindex(*grid.shape[2:]):
            u, v = (grid[n, 0, i, j] + 1) * (width - 1) / 2, (grid[n, 1, i, j] + 1) * (height - 1) / 2
            for row in (int(np.floor(v)), int(np.floor(v)) + 1):
                for column in (int(np.floor(u)), int(np.floor(u)) + 1):
                    if 0 <= row < height and 0 <= column < width:
                        out[n, :, i, j] += x[n, :, row, column] * (1 - abs(v - row)) * (1 - abs(u - column))
    return out


@operator(
    infer=probing,
    gradient=from_kernel,
    check=check(
        S(A(2, 3, 4, 5), A(2, 2, 3, 2, low=-1.3, high=1.3)),
        ref=_np_sampler,
        grad_rtol=1e-3,
        second_order=False,  # torch has no second derivative of grid_sample
        errors=[((A(2, 3, 4, 5), A(2, 3, 3, 2)), {}, r"grid \(2, 2, H, W\)")],
    ),
)
def BilinearSampler(data: Tensor, grid: Tensor, cudnn_off: bool | None = None) -> Tensor:
    """Sample data (N, C, H, W) at the places of grid (N, 2, H', W') by bilinear interpolation, zeros outside; the
    result is (N, C, H', W').

    >>> nd.BilinearSampler(nd.array([[[[0, 4]]]]), nd.zeros((1, 2, 1, 1))).asnumpy().tolist()
    [[[[2.0]]]]
    """
    if data.dim() != 4 or grid.dim() != 4 or grid.shape[:2] != (data.shape[0], 2):
        raise ShapeError(
            explain(
                "BilinearSampler",
                "The grid does not fit the data.",
                expected=f"data (N, C, H, W) and grid ({data.shape[0]}, 2, H, W)",
                received=f"data {tuple(data.shape)}, grid {tuple(grid.shape)}",
            )
        )
    return _sample(data, grid)


@operator(
    infer=probing,
    gradient=from_kernel,
    check=check(
        S(A(2, 3, 4, 5), A(2, 6), target_shape=(3, 2), transform_type="affine", sampler_type="bilinear"),
        ref=lambda x, loc, target_shape, **_: _np_sampler(x, _np_grid(loc, "affine", target_shape)),
        grad_rtol=1e-3,
        second_order=False,  # as above
        errors=[
            (
                (A(1, 1, 4, 4), A(1, 6)),
                {"target_shape": (2, 2), "transform_type": "warp", "sampler_type": "bilinear"},
                "affine",
            ),
            (
                (A(1, 1, 4, 4), A(1, 5)),
                {"target_shape": (2, 2), "transform_type": "affine", "sampler_type": "bilinear"},
                r"loc \(1, 6\)",
            ),
        ],
    ),
)
def SpatialTransformer(
    data: Tensor,
    loc: Tensor,
    target_shape: Shape = (0, 0),
    transform_type: str = REQUIRED,
    sampler_type: str = REQUIRED,
    cudnn_off: bool | None = None,
) -> Tensor:
    """Sample data (N, C, H, W) on the affine grid of loc (N, 6): BilinearSampler after GridGenerator; the result is
    (N, C, *target_shape).
    """
    if transform_type != "affine" or sampler_type != "bilinear":
        raise ArgumentError(
            explain(
                "SpatialTransformer",
                "Only one transform and one sampler exist.",
                expected="transform_type='affine', sampler_type='bilinear'",
                received=f"{transform_type!r}, {sampler_type!r}",
            )
        )
    if loc.shape != (data.shape[0], 6):
        raise ShapeError(
            explain(
                "SpatialTransformer",
                "The transform does not fit the data.",
                expected=f"loc ({data.shape[0]}, 6)",
                received=f"loc {tuple(loc.shape)}, data {tuple(data.shape)}",
            )
        )
    return _sample(data, _affine_grid(loc, _target("SpatialTransformer", target_shape)))


@SpatialTransformer.fill
def _(attrs: Mapping[str, Any], shapes: Sequence[Any]) -> list[Any]:
    return [shapes[0], (shapes[0][0], 6)]


def _np_correlation(
    a: np.ndarray,
    b: np.ndarray,
    kernel_size: int = 1,
    max_displacement: int = 1,
    stride1: int = 1,
    stride2: int = 1,
    pad_size: int = 0,
    is_multiply: bool = True,
) -> np.ndarray:
    p, k, reach = pad_size, kernel_size, max_displacement // stride2
    a, b = (np.pad(v, [(0, 0), (0, 0), (p, p), (p, p)]) for v in (a, b))
    rows, columns = (-(-(n - 2 * (max_displacement + k // 2)) // stride1) for n in a.shape[2:])
    shifts = [(i * stride2, j * stride2) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]
    out = np.zeros((len(a), len(shifts), rows, columns))
    for s, (dy, dx) in enumerate(shifts):
        for i, j in np.ndindex(rows, columns):
            y, x = i * stride1 + max_displacement, j * stride1 + max_displacement
            one, two = a[:, :, y : y + k, x : x + k], b[:, :, y + dy : y + dy + k, x + dx : x + dx + k]
            out[:, s, i, j] = (one * two if is_multiply else np.abs(one - two)).mean((1, 2, 3))
    return out


@operator(
    infer=probing,
    gradient=from_kernel,
    check=check(
        S(A(1, 2, 5, 5), A(1, 2, 5, 5), pad_size=1),
        S(A(1, 2, 6, 6), A(1, 2, 6, 6), kernel_size=3, max_displacement=2, stride1=2, stride2=2, pad_size=2),
        S(A(1, 1, 4, 4), A(1, 1, 4, 4), max_displacement=1, pad_size=1, is_multiply=False),
        ref=_np_correlation,
        errors=[
            ((A(1, 2, 5, 5), A(1, 2, 4, 5)), {}, "one shape"),
            ((A(1, 2, 5, 5), A(1, 2, 5, 5)), {"kernel_size": 2}, "odd"),
            ((A(1, 2, 3, 3), A(1, 2, 3, 3)), {"max_displacement": 4}, "too small"),
        ],
    ),
)
def Correlation(
    data1: Tensor,
    data2: Tensor,
    kernel_size: int = 1,
    max_displacement: int = 1,
    stride1: int = 1,
    stride2: int = 1,
    pad_size: int = 0,
    is_multiply: bool = True,
) -> Tensor:
    """Compare each patch of data1 (N, C, H, W) with the patches of data2 displaced by up to `max_displacement` in
    steps of `stride2`.

    A result channel per displacement holds the mean over the patch and the channels of the products (is_multiply) or
    of the absolute differences. Patches are kernel_size² and lie `stride1` apart; both inputs are padded by
    `pad_size` zeros.
    """
    if data1.shape != data2.shape or data1.dim() != 4:
        raise ShapeError(
            explain(
                "Correlation",
                "The inputs do not fit.",
                expected="two arrays (N, C, H, W) of one shape",
                received=f"{tuple(data1.shape)} and {tuple(data2.shape)}",
            )
        )
    if kernel_size % 2 == 0:
        raise ArgumentError(explain("Correlation", "kernel_size must be odd.", received=kernel_size))
    first, second = (torch.nn.functional.pad(v, [pad_size] * 4) for v in (data1, data2))
    height, width = (n - 2 * max_displacement for n in first.shape[2:])
    if min(height, width) < kernel_size:
        raise ShapeError(
            explain(
                "Correlation",
                "The padded data are too small for this displacement and kernel.",
                expected=f"sizes of at least {2 * max_displacement + kernel_size}",
                received=tuple(first.shape[2:]),
            )
        )
    reach = max_displacement // stride2
    centre = first[:, :, max_displacement : max_displacement + height, max_displacement : max_displacement + width]
    shifts = [i * stride2 for i in range(-reach, reach + 1)]
    maps = []
    for dy in shifts:
        for dx in shifts:
            top, left = max_displacement + dy, max_displacement + dx
            other = second[:, :, top : top + height, left : left + width]
            maps.append((centre * other if is_multiply else (centre - other).abs()).mean(1))
    return torch.nn.functional.avg_pool2d(torch.stack(maps, 1), kernel_size, stride1)
