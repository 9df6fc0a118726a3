"""Pooling of regions of interest: ROIPooling (maximum of whole pixels) and ROIAlign (average of interpolated points).

The one idea: rois (R, 5) are rows [batch index, x0, y0, x1, y1] in image coordinates; both operators are written with
masks and index arithmetic over all regions at once. A negative batch index marks a row that is not used and gives
zeros. Boxes themselves are in boxes.py and detection.py.
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
from .rules.layers import formula

_REGIONS = np.array([[0, 0, 0, 4, 4], [1, 1, 2, 6, 5], [0, 2, 2, 3, 3], [-1, 0, 0, 3, 3], [1, 5, 5, 9, 9]], np.float32)


def _pair(where: str, value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        value = (value, value)
    if len(value) != 2 or min(value) < 1:
        raise ArgumentError(
            explain(where, "pooled_size needs a height and a width.", expected="two positive numbers", received=value)
        )
    return value[0], value[1]


def _check(where: str, data: Tensor, rois: Tensor) -> None:
    if data.dim() != 4 or rois.dim() != 2 or rois.shape[1] != 5:
        raise ShapeError(
            explain(
                where,
                "The regions do not fit.",
                expected="data (N, C, H, W) and rois (R, 5): batch index, x0, y0, x1, y1",
                received=f"data {tuple(data.shape)}, rois {tuple(rois.shape)}",
            )
        )


def _pooled_types(attrs: Mapping[str, Any], shapes: Sequence[Any], dtypes: Sequence[Any]) -> list[Any]:
    size = _pair("ROI", attrs["pooled_size"])
    channels = shapes[0][1] // (size[0] * size[1]) if attrs.get("position_sensitive") else shapes[0][1]
    return [((shapes[1][0], channels, *size), dtypes[0])]


def _bins(start: Tensor, end: Tensor, count: int, size: int) -> Tensor:
    """True where a pixel of an axis lies in bin b of a region: (R, count, size); bins overlap by up to a pixel."""
    extent = (end - start + 1).clamp(min=1)
    step = extent / count
    number = torch.arange(count, device=start.device, dtype=start.dtype)
    low = (torch.floor(number * step[:, None]) + start[:, None]).clamp(0, size)
    high = (torch.ceil((number + 1) * step[:, None]) + start[:, None]).clamp(0, size)
    pixel = torch.arange(size, device=start.device, dtype=start.dtype)
    return (pixel >= low[..., None]) & (pixel < high[..., None])


def _np_roi_pooling(x: np.ndarray, rois: np.ndarray, pooled_size: Any, spatial_scale: float) -> np.ndarray:
    out = np.zeros((len(rois), x.shape[1], *pooled_size))
    for r, (index, *corners) in enumerate(rois):
        left, top, right, bottom = (int(np.floor(abs(v * spatial_scale) + 0.5) * np.sign(v)) for v in corners)
        steps = max(bottom - top + 1, 1) / pooled_size[0], max(right - left + 1, 1) / pooled_size[1]
        for i, j in np.ndindex(*pooled_size):
            rows = slice(
                *(int(np.clip(v + top, 0, x.shape[2])) for v in (np.floor(i * steps[0]), np.ceil((i + 1) * steps[0])))
            )
            columns = slice(
                *(int(np.clip(v + left, 0, x.shape[3])) for v in (np.floor(j * steps[1]), np.ceil((j + 1) * steps[1])))
            )
            part = x[int(index), :, rows, columns]
            if index >= 0 and part[0].size:
                out[r, :, i, j] = part.max((1, 2))
    return out


@operator(
    nondiff=("rois",),
    gradient=from_kernel,
    infer=formula(_pooled_types),
    check=check(
        S(A(2, 2, 8, 8, distinct=True), _REGIONS, pooled_size=(2, 2), spatial_scale=1.0),
        S(A(2, 2, 6, 6, distinct=True), _REGIONS, pooled_size=(3, 2), spatial_scale=0.5),
        ref=_np_roi_pooling,
        errors=[
            ((A(2, 2, 8, 8), A(3, 4)), {"pooled_size": (2, 2), "spatial_scale": 1.0}, r"rois \(R, 5\)"),
            ((A(2, 2, 8, 8), _REGIONS), {"pooled_size": (2, 0), "spatial_scale": 1.0}, "two positive"),
        ],
    ),
)
def ROIPooling(data: Tensor, rois: Tensor, pooled_size: Shape = REQUIRED, spatial_scale: float = REQUIRED) -> Tensor:
    """Take the maxima of a grid of `pooled_size` bins over each region: data (N, C, H, W), rois (R, 5) → (R, C,
    *pooled_size).

    Corners times spatial_scale are rounded to whole pixels, both ends inclusive. An empty bin gives 0.

    >>> image, rois = nd.arange(16).reshape((1, 1, 4, 4)), nd.array([[0, 0, 0, 1, 1]])
    >>> nd.ROIPooling(image, rois, pooled_size=(1, 1), spatial_scale=1.0).asnumpy().tolist()
    [[[[5.0]]]]
    """
    _check("ROIPooling", data, rois)
    rows, columns = _pair("ROIPooling", pooled_size)
    corners = rois[:, 1:] * spatial_scale
    corners = (corners.abs() + 0.5).floor() * corners.sign()
    left, top, right, bottom = corners.unbind(1)
    used = rois[:, 0] >= 0
    lowest = torch.finfo(data.dtype).min
    regions = data[rois[:, 0].long().clamp(min=0)]  # (R, C, H, W)
    across = _bins(left, right, columns, data.shape[3])[:, None, None]  # (R, 1, 1, PW, W)
    down = _bins(top, bottom, rows, data.shape[2])[:, None, :, :, None]  # (R, 1, PH, H, 1)
    by_column = regions[:, :, :, None].masked_fill(~across, lowest).max(-1)[0]  # (R, C, H, PW)
    found = by_column[:, :, None].masked_fill(~down, lowest).max(3)[0]  # (R, C, PH, PW)
    empty = ~(down.any(3) & across.any(4) & used[:, None, None, None])
    return found.masked_fill(empty, 0)


def _points(start: Tensor, step: Tensor, count: int, samples: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Coordinates (R, count · most) of the sample points of all bins along an axis, and which of them exist."""
    number = torch.arange(most, device=start.device, dtype=start.dtype)
    inside = (number + 0.5) / samples[:, None]  # (R, most), in bins
    bins = torch.arange(count, device=start.device, dtype=start.dtype)
    places = start[:, None, None] + (bins[None, :, None] + inside[:, None, :]) * step[:, None, None]
    exists = (number < samples[:, None])[:, None].expand(-1, count, -1)
    return places.flatten(1), exists.flatten(1)


def _neighbours(places: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two pixels around each coordinate, the weight of the second, and which coordinates count at all (not beyond
    −1 … size).
    """
    counted = (places >= -1) & (places <= size)
    places = places.clamp(0, size - 1)
    low = places.floor().long()
    return low, (low + 1).clamp(max=size - 1), places - low, counted


def _np_roi_align(
    x: np.ndarray,
    rois: np.ndarray,
    pooled_size: Any,
    spatial_scale: float,
    sample_ratio: int = -1,
    position_sensitive: bool = False,
    aligned: bool = False,
) -> np.ndarray:
    height, width = x.shape[2:]
    rows, columns = pooled_size
    channels = x.shape[1] // (rows * columns) if position_sensitive else x.shape[1]
    out = np.zeros((len(rois), channels, rows, columns))

    def at(image: np.ndarray, v: float, u: float) -> np.ndarray:
        if not (-1 <= v <= height and -1 <= u <= width):
            return np.zeros(len(image))
        v, u = min(max(v, 0), height - 1), min(max(u, 0), width - 1)
        i, j = int(v), int(u)
        k, m = min(i + 1, height - 1), min(j + 1, width - 1)
        return (1 - v + i) * ((1 - u + j) * image[:, i, j] + (u - j) * image[:, i, m]) + (v - i) * (
            (1 - u + j) * image[:, k, j] + (u - j) * image[:, k, m]
        )

    for r, (index, *corners) in enumerate(rois.astype(np.float64)):
        if index < 0:
            continue
        left, top, right, bottom = (v * spatial_scale - (0.5 if aligned else 0.0) for v in corners)
        extent = (bottom - top, right - left) if aligned else (max(bottom - top, 1), max(right - left, 1))
        grid = [sample_ratio if sample_ratio > 0 else int(np.ceil(e / n)) for e, n in zip(extent, pooled_size)]
        for i, j in np.ndindex(rows, columns):
            image = (
                x[int(index)].reshape(channels, rows, columns, height, width)[:, i, j]
                if position_sensitive
                else x[int(index)]
            )
            points = [
                at(
                    image,
                    top + (i + (a + 0.5) / grid[0]) * extent[0] / rows,
                    left + (j + (b + 0.5) / grid[1]) * extent[1] / columns,
                )
                for a in range(grid[0])
                for b in range(grid[1])
            ]
            out[r, :, i, j] = sum(points) / max(len(points), 1)
    return out


@operator(
    name="_contrib_ROIAlign",
    nondiff=("rois",),
    gradient=from_kernel,
    infer=formula(_pooled_types),
    check=check(
        S(A(2, 2, 8, 8), _REGIONS, pooled_size=(2, 2), spatial_scale=0.7),
        S(A(2, 2, 8, 8), _REGIONS, pooled_size=(3, 2), spatial_scale=1.0, sample_ratio=2),
        S(A(2, 2, 8, 8), _REGIONS, pooled_size=(2, 2), spatial_scale=0.7, sample_ratio=2, aligned=True),
        S(A(2, 4, 8, 8), _REGIONS, pooled_size=(2, 2), spatial_scale=1.0, position_sensitive=True),
        ref=_np_roi_align,
        errors=[
            ((A(2, 2, 8, 8), A(3, 4)), {"pooled_size": (2, 2), "spatial_scale": 1.0}, r"rois \(R, 5\)"),
            (
                (A(2, 3, 8, 8), _REGIONS),
                {"pooled_size": (2, 2), "spatial_scale": 1.0, "position_sensitive": True},
                "multiple of 4",
            ),
        ],
    ),
)
def ROIAlign(
    data: Tensor,
    rois: Tensor,
    pooled_size: Shape = REQUIRED,
    spatial_scale: float = REQUIRED,
    sample_ratio: int = -1,
    position_sensitive: bool = False,
    aligned: bool = False,
) -> Tensor:
    """Average sample_ratio² interpolated points in each of `pooled_size` bins of each region: (N, C, H, W), (R, 5) →
    (R, C, *pooled_size).

    sample_ratio ≤ 0: as many points as the bin is large, ⌈extent/pooled⌉. Regions are at least one pixel large,
    unless `aligned`, which also shifts them by half a pixel. position_sensitive: bin (i, j) of result channel c comes
    from data channel (c·PH + i)·PW + j.

    >>> image, rois = nd.ones((1, 2, 4, 4)), nd.array([[0, 0, 0, 3, 3]])
    >>> nd.contrib.ROIAlign(image, rois, pooled_size=(2, 2), spatial_scale=1.0).shape
    (1, 2, 2, 2)
    """
    _check("ROIAlign", data, rois)
    rois = rois.detach()  # regions take no gradient
    rows, columns = _pair("ROIAlign", pooled_size)
    channels, height, width = data.shape[1:]
    if position_sensitive and channels % (rows * columns):
        raise ShapeError(
            explain(
                "ROIAlign",
                "position_sensitive needs a channel per bin.",
                expected=f"channels that are a multiple of {rows * columns}",
                received=channels,
            )
        )
    left, top, right, bottom = (rois[:, 1:].to(data.dtype) * spatial_scale - (0.5 if aligned else 0.0)).unbind(1)
    extents = [bottom - top, right - left] if aligned else [(bottom - top).clamp(min=1), (right - left).clamp(min=1)]
    axes = []
    for start, extent, count, size in ((top, extents[0], rows, height), (left, extents[1], columns, width)):
        samples = torch.full_like(extent, sample_ratio) if sample_ratio > 0 else torch.ceil(extent / count).clamp(min=1)
        most = sample_ratio if sample_ratio > 0 else int(samples.max()) if len(rois) else 1
        places, exists = _points(start, extent / count, count, samples, most)
        axes.append((*_neighbours(places, size), exists, samples, most))
    (y0, y1, fy, in_y, some_y, count_y, most_y), (x0, x1, fx, in_x, some_x, count_x, most_x) = axes
    image = rois[:, 0].long()
    batch = image.clamp(min=0)[:, None, None]

    def pick(y: Tensor, x: Tensor) -> Tensor:  # (R, points down, points across, C)
        return data.permute(0, 2, 3, 1)[batch, y[:, :, None], x[:, None, :]]

    across = fx[:, None, :, None]
    upper = torch.lerp(pick(y0, x0), pick(y0, x1), across)
    values = torch.lerp(upper, torch.lerp(pick(y1, x0), pick(y1, x1), across), fy[:, :, None, None])
    counted = ((in_y & some_y)[:, :, None] & (in_x & some_x)[:, None, :] & (image >= 0)[:, None, None])[..., None]
    sums = (values * counted).view(len(rois), rows, most_y, columns, most_x, channels).sum((2, 4))
    pooled = (sums / (count_y * count_x)[:, None, None, None]).permute(0, 3, 1, 2)
    if not position_sensitive:
        return pooled
    own = pooled.reshape(len(rois), channels // (rows * columns), rows, columns, rows, columns)
    return own.diagonal(dim1=2, dim2=4).diagonal(dim1=2, dim2=3)
