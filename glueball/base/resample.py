"""Resizing of images on NumPy arrays, with OpenCV's conventions, so that the pixels agree with what MXNet 1.x computed.

The one idea: along one axis every method is a table of *taps*, which source positions and with which weights make
each output pixel; an image is resized by applying the taps along its height and then its width. Pixel centres lie at
half-integers and borders repeat. Methods: 0 nearest, 1 linear, 2 cubic, 3 area, 4 Lanczos; 9 chooses by the sizes and
10 at random. The operator that applies the same taps to arrays on any device is in ops/image_ops.py; decoding is in
image/codec.py.
"""
from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np

from .errors import ArgumentError, ShapeError, explain

__all__ = ["choose_method", "resize", "taps", "Taps", "NEAREST"]

NEAREST, LINEAR, CUBIC, AREA, LANCZOS, BY_SIZE, AT_RANDOM = 0, 1, 2, 3, 4, 9, 10
_CUBIC_A = -0.75  # OpenCV's sharpness; Pillow has -0.5


class Taps(NamedTuple):
    """Where each output position takes its values from."""

    index: np.ndarray   # (output size, taps), source positions
    weight: np.ndarray  # (output size, taps), float32, rows sum to one


def choose_method(interp: int, old: tuple[int, int] | None = None, new: tuple[int, int] | None = None) -> int:
    """Return the method 0..4 for `interp`; 9 is cubic to enlarge, area to shrink, linear otherwise (sizes: height,
    width).

    >>> choose_method(9, (100, 100), (50, 50))
    3
    """
    if interp == BY_SIZE:
        if old is None or new is None:
            return CUBIC
        if new[0] > old[0] and new[1] > old[1]:
            return CUBIC
        return AREA if new[0] < old[0] and new[1] < old[1] else LINEAR
    if interp == AT_RANDOM:
        return random.randint(0, 4)
    if interp not in (NEAREST, LINEAR, CUBIC, AREA, LANCZOS):
        raise ArgumentError(
            explain(
                "image resize",
                "Unknown interpolation.",
                received=repr(interp),
                expected="0 nearest, 1 linear, 2 cubic, 3 area, 4 Lanczos, 9 by size, 10 at random",
            )
        )
    return interp


def taps(old: int, new: int, method: int, shrinking: bool) -> Taps:
    """Return the taps of one axis; `shrinking` says that neither axis grows, which OpenCV's area method asks."""
    scale = old / new
    target = np.arange(new, dtype=np.float64)
    if method == NEAREST:
        return Taps(np.minimum((target * scale).astype(np.int64), old - 1)[:, None], np.ones((new, 1), np.float32))
    if method == AREA and shrinking:
        low, high = target * scale, np.minimum((target + 1) * scale, old)
        first = np.floor(low + 1e-9).astype(np.int64)
        index = first[:, None] + np.arange(int(np.ceil(scale)) + 1)
        weight = np.minimum(index + 1, high[:, None]) - np.maximum(index, low[:, None])
        weight = np.maximum(weight, 0)
    else:
        centre = (target + 0.5) * scale - 0.5
        if method == AREA:  # enlarging by area keeps flat plateaus with short ramps between them
            first = np.floor(target * scale).astype(np.int64)
            ramp = (target + 1) - (first + 1) / scale
            fraction = np.where(ramp <= 0, 0.0, ramp - np.floor(ramp))
        else:
            first = np.floor(centre).astype(np.int64)
            fraction = centre - first
        reach = {CUBIC: 2, LANCZOS: 4}.get(method, 1)
        steps = np.arange(1 - reach, reach + 1)
        index = first[:, None] + steps
        weight = _kernel(np.abs(steps - fraction[:, None]), method)
    weight = weight / weight.sum(axis=1, keepdims=True)
    return Taps(np.clip(index, 0, old - 1), weight.astype(np.float32))


def _kernel(distance: np.ndarray, method: int) -> np.ndarray:
    if method == CUBIC:
        a, near = _CUBIC_A, distance <= 1
        inner = ((a + 2) * distance - (a + 3)) * distance * distance + 1
        outer = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
        return np.where(near, inner, outer)
    if method == LANCZOS:
        return np.sinc(distance) * np.sinc(distance / 4)
    return 1 - distance


def _apply(pixels: np.ndarray, taps: Taps, axis: int) -> np.ndarray:
    shape = [1] * pixels.ndim
    shape[axis] = -1
    out = np.take(pixels, taps.index[:, 0], axis=axis) * taps.weight[:, 0].reshape(shape)
    for column in range(1, taps.index.shape[1]):
        weight = taps.weight[:, column]
        if weight.any():
            out += np.take(pixels, taps.index[:, column], axis=axis) * weight.reshape(shape)
    return out


def resize(pixels: np.ndarray, width: int, height: int, interp: int = LINEAR) -> np.ndarray:
    """Return an image (height, width, channels) of any real type at another size, of the same type.

    >>> resize(np.array([[[0], [100]]], dtype=np.uint8), 4, 1)[0, :, 0]
    array([  0,  25,  75, 100], dtype=uint8)
    """
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise ShapeError(explain("image resize", "An image is height × width × channels.", received=pixels.shape))
    if width < 1 or height < 1:
        raise ArgumentError(explain("image resize", "The new size is positive.",
                                    received=f"width {width}, height {height}"))
    old_height, old_width = pixels.shape[:2]
    if (old_height, old_width) == (height, width):
        return pixels.copy()
    method = choose_method(interp, (old_height, old_width), (height, width))
    shrinking = height <= old_height and width <= old_width
    rows = taps(old_height, height, method, shrinking)
    columns = taps(old_width, width, method, shrinking)
    if method == NEAREST:
        return pixels[rows.index, columns.index[:, 0]]
    work = pixels.astype(np.float32 if pixels.dtype != np.float64 else np.float64)
    if height * old_width <= width * old_height:  # the axis that leaves less to do goes first
        work = _apply(_apply(work, rows, 0), columns, 1)
    else:
        work = _apply(_apply(work, columns, 1), rows, 0)
    if np.issubdtype(pixels.dtype, np.integer):
        limits = np.iinfo(pixels.dtype)
        return np.clip(np.rint(work), limits.min, limits.max).astype(pixels.dtype)
    return work.astype(pixels.dtype)
