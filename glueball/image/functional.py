"""Reading, resizing, cropping, turning and normalising images: functions on NDArrays, height × width × channels, red
first.

The one idea: geometry is computed on NumPy arrays (base/resample.py) and the result is an NDArray of the dtype that
came in; codec.py decodes. Functions that draw random numbers use Python's generator, as MXNet 1.x does: seed it with
`random.seed`. The same as composable objects is in augment.py, as layers in gluon/data/vision/transforms.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ndarray as nd
from ..base import resample
from ..base.errors import ArgumentError, DTypeError, ShapeError, explain
from . import codec

__all__ = [
    "center_crop",
    "color_normalize",
    "fixed_crop",
    "imdecode",
    "imread",
    "imresize",
    "imrotate",
    "is_np_array",
    "random_crop",
    "random_rotate",
    "random_size_crop",
    "resize_short",
    "scale_down",
]

Size = tuple[int, int]  # width, height
Box = tuple[int, int, int, int]  # x0, y0, width, height


def is_np_array() -> bool:
    """Return False: arrays are NDArrays here (the NumPy mode of MXNet 1.6 and later is not part of Gluon 1.x code)."""
    return False


def to_numpy(src: Any, where: str) -> np.ndarray:
    """Return an image as a NumPy array (height, width, channels)."""
    pixels = src.asnumpy() if isinstance(src, nd.NDArray) else np.asarray(src)
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise ShapeError(explain(where, "An image is height × width × channels.", received=f"shape {pixels.shape}"))
    return pixels


def from_numpy(pixels: np.ndarray) -> nd.NDArray:
    """Return a NumPy array as an NDArray of the same dtype."""
    return nd.array(pixels, dtype=pixels.dtype)


# --------------------------------------------------------------------------------------------------------------- decode
def imdecode(buf: Any, flag: int = 1, to_rgb: bool = True, out: nd.NDArray | None = None) -> nd.NDArray:
    """Decode an image.

    Parameters
    ----------
    buf : bytes, or uint8 array of one dimension
        The encoded image: JPEG, PNG ... whatever Pillow reads.
    flag : int
        1 for three channels, 0 for one (grey), -1 as stored.
    to_rgb : bool
        Channels red, green, blue; False gives blue, green, red (OpenCV's order).
    out : NDArray, optional
        Where to put the result; of the same shape.

    Returns
    -------
    NDArray
        Shape (height, width, channels), uint8.

    Raises
    ------
    FileFormatError
        This is no image, or a damaged one.
    """
    return _decode(buf, flag, to_rgb, out, "the buffer")


def imread(filename: str | os.PathLike[str], flag: int = 1, to_rgb: bool = True) -> nd.NDArray:
    """Read and decode an image file; parameters and result as for `imdecode`."""
    return _decode(codec.read_bytes(filename, "image.imread"), flag, to_rgb, None, f"file {os.fspath(filename)!r}")


def _decode(buf: Any, flag: int, to_rgb: bool, out: nd.NDArray | None, name: str) -> nd.NDArray:
    if flag not in (-1, 0, 1):
        raise ArgumentError(
            explain("image.imdecode", "flag is 1 (colour), 0 (grey) or -1 (as stored).", received=repr(flag))
        )
    if isinstance(buf, nd.NDArray):
        buf = buf.asnumpy()
    if isinstance(buf, np.ndarray):
        if buf.dtype != np.uint8:
            raise DTypeError(
                explain(
                    "image.imdecode",
                    "A buffer consists of bytes.",
                    expected="bytes or a uint8 array",
                    received=str(buf.dtype),
                )
            )
        buf = buf.tobytes()
    if isinstance(buf, str) or not isinstance(buf, (bytes, bytearray, memoryview)):
        raise DTypeError(
            explain(
                "image.imdecode",
                "A buffer consists of bytes.",
                received=type(buf).__name__,
                fix="Open files in binary mode, or use image.imread(filename).",
            )
        )
    pixels = codec.decode(bytes(buf), {1: "colour", 0: "grey", -1: "as stored"}[flag], name)
    if not to_rgb and pixels.shape[2] >= 3:
        pixels = pixels[:, :, [2, 1, 0, *range(3, pixels.shape[2])]]
    image = from_numpy(np.ascontiguousarray(pixels))
    if out is None:
        return image
    if out.shape != image.shape:
        raise ShapeError(
            explain("image.imdecode", "The image does not fit into `out`.", expected=image.shape, received=out.shape)
        )
    out[:] = image
    return out


# --------------------------------------------------------------------------------------------------------------- resize
def imresize(src: Any, w: int, h: int, interp: int = 1) -> nd.NDArray:
    """Return an image resized to width `w` and height `h`.

    `interp`: 0 nearest, 1 linear, 2 cubic, 3 area, 4 Lanczos, 9 by size (cubic to enlarge, area to shrink), 10 at
    random. The results agree with OpenCV's to one grey level.

    >>> imresize(nd.zeros((4, 6, 3), dtype="uint8"), 3, 2).shape
    (2, 3, 3)
    """
    return from_numpy(resample.resize(to_numpy(src, "image.imresize"), w, h, interp))


def resize_short(src: Any, size: int, interp: int = 2) -> nd.NDArray:
    """Return an image resized so that its shorter side is `size`; the longer one is rounded down.

    >>> resize_short(nd.zeros((13, 17, 3), dtype="uint8"), 8).shape
    (8, 10, 3)
    """
    height, width = to_numpy(src, "image.resize_short").shape[:2]
    new = (size, size * height // width) if height > width else (size * width // height, size)
    return imresize(src, *new, interp=interp)


def scale_down(src_size: Size, size: Size) -> Size:
    """Return `size` (width, height) scaled down, in proportion, until it fits into `src_size`.

    >>> scale_down((640, 480), (720, 120))
    (640, 106)
    """
    width, height = size
    if src_size[1] < height:
        width, height = width * src_size[1] / height, src_size[1]
    if src_size[0] < width:
        width, height = src_size[0], height * src_size[0] / width
    return int(width), int(height)


# ----------------------------------------------------------------------------------------------------------------- crop
def fixed_crop(src: Any, x0: int, y0: int, w: int, h: int, size: Size | None = None, interp: int = 2) -> nd.NDArray:
    """Return the part of an image with upper left corner (x0, y0), width `w` and height `h`, resized to `size` if
    given.

    >>> fixed_crop(nd.zeros((13, 17, 3), dtype="uint8"), 1, 2, 5, 4, size=(8, 6)).shape
    (6, 8, 3)
    """
    pixels = to_numpy(src, "image.fixed_crop")
    part = pixels[y0 : y0 + h, x0 : x0 + w]
    if x0 < 0 or y0 < 0 or 0 in part.shape:
        raise ShapeError(
            explain(
                "image.fixed_crop",
                "The part does not lie in the image.",
                expected=f"a part of {pixels.shape[1]} × {pixels.shape[0]} (width × height)",
                received=f"corner ({x0}, {y0}), width {w}, height {h}",
            )
        )
    if size is not None and (w, h) != tuple(size):
        part = resample.resize(part, size[0], size[1], interp)
    return from_numpy(np.ascontiguousarray(part))


def center_crop(src: Any, size: Size, interp: int = 2) -> tuple[nd.NDArray, Box]:
    """Return the middle of an image and its place; a smaller image gives the largest part of that shape, enlarged.

    >>> part, box = center_crop(nd.zeros((13, 17, 3), dtype="uint8"), (9, 7))
    >>> part.shape, box
    ((7, 9, 3), (4, 3, 9, 7))
    """
    height, width = to_numpy(src, "image.center_crop").shape[:2]
    new_width, new_height = scale_down((width, height), size)
    x0, y0 = (width - new_width) // 2, (height - new_height) // 2
    return fixed_crop(src, x0, y0, new_width, new_height, size, interp), (x0, y0, new_width, new_height)


def random_crop(src: Any, size: Size, interp: int = 2) -> tuple[nd.NDArray, Box]:
    """Return a random part of `size` (width, height) and its place; a smaller image as for `center_crop`."""
    height, width = to_numpy(src, "image.random_crop").shape[:2]
    new_width, new_height = scale_down((width, height), size)
    x0, y0 = random.randint(0, width - new_width), random.randint(0, height - new_height)
    return fixed_crop(src, x0, y0, new_width, new_height, size, interp), (x0, y0, new_width, new_height)


def random_size_crop(
    src: Any, size: Size, area: float | tuple[float, float], ratio: tuple[float, float], interp: int = 2, **kwargs: Any
) -> tuple[nd.NDArray, Box]:
    """Return a part of random area and aspect ratio, resized to `size`, and its place (the usual crop to train on
    ImageNet).

    Parameters
    ----------
    src : NDArray
        Shape (height, width, channels).
    size : (width, height)
        Of the result.
    area : (low, high) or low
        The part's share of the image's area.
    ratio : (low, high)
        The part's width over its height.
    """
    if "min_area" in kwargs:  # the name of the argument before 1.3
        area = kwargs.pop("min_area")
    if kwargs:
        raise TypeError(explain("image.random_size_crop", "Unknown argument.", received=", ".join(kwargs)))
    height, width = to_numpy(src, "image.random_size_crop").shape[:2]
    low, high = (area, 1.0) if isinstance(area, (int, float)) else area
    for _ in range(10):
        wanted = random.uniform(low, high) * height * width
        aspect = math.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1])))
        new_width, new_height = round(math.sqrt(wanted * aspect)), round(math.sqrt(wanted / aspect))
        if 0 < new_width <= width and 0 < new_height <= height:
            x0, y0 = random.randint(0, width - new_width), random.randint(0, height - new_height)
            return fixed_crop(src, x0, y0, new_width, new_height, size, interp), (x0, y0, new_width, new_height)
    return center_crop(src, size, interp)


# --------------------------------------------------------------------------------------------------------------- colour
def color_normalize(src: Any, mean: Any, std: Any = None) -> nd.NDArray:
    """Return (src - mean) / std for a float image; mean and std are a number or one for each channel, None leaves them
    out.
    """
    image = src if isinstance(src, nd.NDArray) else nd.array(src)
    if np.dtype(image.dtype).kind in "iu":
        raise DTypeError(
            explain(
                "image.color_normalize",
                "Integers would be cut off below zero.",
                expected="a float image",
                received=np.dtype(image.dtype).name,
                fix="src.astype('float32')",
            )
        )
    if mean is not None:
        image = image - _channels(mean, image)
    return image if std is None else image / _channels(std, image)


def _channels(value: Any, image: nd.NDArray) -> Any:
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, nd.NDArray):
        return value.astype(image.dtype)
    return nd.array(value, dtype=image.dtype)


# ----------------------------------------------------------------------------------------------------------------- turn
def imrotate(src: nd.NDArray, rotation_degrees: Any, zoom_in: bool = False, zoom_out: bool = False) -> nd.NDArray:
    """Turn images about their centre, counter-clockwise for positive degrees, with linear interpolation.

    Parameters
    ----------
    src : NDArray
        Shape (channels, height, width) or (batch, channels, height, width), **float32, channels first**.
    rotation_degrees : float or NDArray
        One angle, or one for each image of the batch.
    zoom_in : bool
        Enlarge until no black corner is seen.
    zoom_out : bool
        Shrink until the whole image is seen.

    Returns
    -------
    NDArray
        Of the shape of `src`; black where there is no image.
    """
    if zoom_in and zoom_out:
        raise ArgumentError(explain("image.imrotate", "zoom_in and zoom_out exclude each other."))
    if np.dtype(src.dtype) != np.float32:
        raise DTypeError(
            explain(
                "image.imrotate",
                "Images to turn are float32, channels first.",
                received=np.dtype(src.dtype).name,
                fix="Use it behind transforms.ToTensor().",
            )
        )
    if src.ndim not in (3, 4):
        raise ShapeError(
            explain(
                "image.imrotate",
                "An image is channels × height × width, a batch has one axis more.",
                received=src.shape,
            )
        )
    pixels = src.asnumpy()
    batch = pixels if src.ndim == 4 else pixels[None]
    degrees = (
        rotation_degrees.asnumpy()
        if isinstance(rotation_degrees, nd.NDArray)
        else np.asarray(rotation_degrees, np.float64)
    )
    if degrees.ndim == 1 and src.ndim == 3 and degrees.size != 1:
        raise ShapeError(
            explain("image.imrotate", "One image is turned by one angle.", received=f"{degrees.size} angles")
        )
    if degrees.size not in (1, len(batch)):
        raise ShapeError(
            explain(
                "image.imrotate",
                "There is one angle for each image.",
                expected=f"{len(batch)} angles",
                received=f"{degrees.size} angles",
            )
        )
    angles = np.broadcast_to(np.deg2rad(degrees.reshape(-1)), (len(batch),))
    turned = np.stack([_rotate(image, float(angle), zoom_in, zoom_out) for image, angle in zip(batch, angles)])
    return nd.array(turned if src.ndim == 4 else turned[0])


def _rotate(image: np.ndarray, angle: float, zoom_in: bool, zoom_out: bool) -> np.ndarray:
    """Return one image (channels, height, width), turned."""
    height, width = image.shape[1:]
    cosine, sine = math.cos(angle), math.sin(angle)
    scale = 1.0
    if zoom_in or zoom_out:
        c, s = abs(cosine), abs(sine)
        spread = max((width * c + height * s) / width, (width * s + height * c) / height)
        scale = 1 / spread if zoom_in else spread
    y, x = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij")
    from_x = scale * (x * cosine - y * sine) + (width - 1) / 2
    from_y = scale * (x * sine + y * cosine) + (height - 1) / 2
    return _sample(image, from_x, from_y)


def _sample(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return an image (channels, height, width) at positions, linearly interpolated, with zeros outside."""
    height, width = image.shape[1:]
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    out = np.zeros((image.shape[0], *x.shape), np.float32)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        j, i = left + column, top + row
        weight = np.abs(1 - column - (x - left)) * np.abs(1 - row - (y - top))
        inside = (j >= 0) & (j < width) & (i >= 0) & (i < height)
        out += image[:, np.clip(i, 0, height - 1), np.clip(j, 0, width - 1)] * (weight * inside).astype(np.float32)
    return out


def random_rotate(
    src: nd.NDArray, angle_limits: Sequence[float], zoom_in: bool = False, zoom_out: bool = False
) -> nd.NDArray:
    """Turn an image, or each of a batch, by a random angle between two limits in degrees (see `imrotate`)."""
    low, high = angle_limits
    if src.ndim == 3:
        return imrotate(src, random.uniform(low, high), zoom_in, zoom_out)
    return imrotate(src, nd.array([random.uniform(low, high) for _ in range(src.shape[0])]), zoom_in, zoom_out)
