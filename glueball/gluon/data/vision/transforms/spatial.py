"""Transforms that move pixels: resize, crop, flip, turn.

The one idea: those whose geometry is fixed, or decided by an operator, are hybrid; those that choose a part by chance
or by the image's own size are plain blocks on `glueball.image`. Sizes are a number (a square) or (width, height).
Interpolation: 0 nearest, 1 linear, 2 cubic, 3 area, 4 Lanczos. Values of pixels are changed in color.py.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from ..... import image
from ..... import ndarray as nd
from .....base.errors import ArgumentError, DTypeError, explain
from ....block import Block
from ....hybrid import HybridBlock

__all__ = [
    "CenterCrop",
    "CropResize",
    "RandomCrop",
    "RandomFlipLeftRight",
    "RandomFlipTopBottom",
    "RandomResizedCrop",
    "RandomRotation",
    "Resize",
    "Rotate",
]


def _width_height(size: int | Sequence[int], where: str) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or any(side < 1 for side in pair):
        raise ArgumentError(explain(where, "A size is a positive number or (width, height).", received=repr(size)))
    return pair


class Resize(HybridBlock):
    """Resize an image or a batch.

    Parameters
    ----------
    size : int or (width, height)
        The new size. A number with `keep_ratio` is for the shorter side.
    keep_ratio : bool
        Keep the proportions.
    interpolation : int

    Examples
    --------
    >>> from glueball import nd
    >>> Resize((7, 5))(nd.zeros((13, 17, 3), dtype="uint8")).shape
    (5, 7, 3)
    """

    def __init__(self, size: int | Sequence[int], keep_ratio: bool = False, interpolation: int = 1) -> None:
        super().__init__()
        _width_height(size, "Resize")
        self._size = size if isinstance(size, int) else tuple(size)
        self._keep, self._interpolation = keep_ratio, interpolation

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the resized image."""
        return F.image.resize(x, size=self._size, keep_ratio=self._keep, interp=self._interpolation)


class CenterCrop(Block):
    """Crop the middle; a smaller image gives its largest part of that shape, enlarged.

    Parameters
    ----------
    size : int or (width, height)
    interpolation : int
    """

    def __init__(self, size: int | Sequence[int], interpolation: int = 1) -> None:
        super().__init__()
        self._size, self._interpolation = _width_height(size, "CenterCrop"), interpolation

    def forward(self, x: nd.NDArray) -> nd.NDArray:
        """Return the part."""
        return image.center_crop(x, self._size, self._interpolation)[0]


class CropResize(HybridBlock):
    """Crop a given part of an image or a batch, and resize it if `size` is given.

    Parameters
    ----------
    x, y : int
        Upper left corner of the part.
    width, height : int
        Of the part.
    size : int or (width, height), optional
        Of the result.
    interpolation : int, optional
        Default linear.
    """

    def __init__(
        self,
        x: int,
        y: int,
        width: int,
        height: int,
        size: int | Sequence[int] | None = None,
        interpolation: int | None = None,
    ) -> None:
        super().__init__()
        if x < 0 or y < 0:
            raise ArgumentError(explain("CropResize", "The corner lies in the image.", received=f"x {x}, y {y}"))
        _width_height((width, height), "CropResize")
        self._x, self._y, self._width, self._height = x, y, width, height
        self._size = None if size is None else _width_height(size, "CropResize")
        self._interpolation = 1 if interpolation is None else interpolation

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the part."""
        part = F.image.crop(x, x=self._x, y=self._y, width=self._width, height=self._height)
        return (
            part
            if self._size is None
            else F.image.resize(part, size=self._size, keep_ratio=False, interp=self._interpolation)
        )


class RandomCrop(Block):
    """Crop a random part, after a border of `pad` pixels on each side was added.

    Parameters
    ----------
    size : int or (width, height)
    pad : int or (horizontal, vertical), optional
    pad_value : number
        Of the border.
    interpolation : int
        For images smaller than `size`.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        pad: int | Sequence[int] | None = None,
        pad_value: float = 0,
        interpolation: int = 1,
    ) -> None:
        super().__init__()
        self._size, self._interpolation, self._pad_value = _width_height(size, "RandomCrop"), interpolation, pad_value
        self._pad = (0, 0) if pad is None else (pad, pad) if isinstance(pad, int) else tuple(pad)
        if len(self._pad) != 2 or any(side < 0 for side in self._pad):
            raise ArgumentError(explain("RandomCrop", "pad is a number or (horizontal, vertical).", received=repr(pad)))

    def forward(self, x: nd.NDArray) -> nd.NDArray:
        """Return the part."""
        across, down = self._pad
        if across or down:
            height, width, channels = x.shape
            larger = nd.full((height + 2 * down, width + 2 * across, channels), self._pad_value, dtype=x.dtype)
            larger[down : down + height, across : across + width] = x
            x = larger
        return image.random_crop(x, self._size, self._interpolation)[0]


class RandomResizedCrop(Block):
    """Crop a part of random area and aspect ratio and resize it.

    Parameters
    ----------
    size : int or (width, height)
        Of the result.
    scale : (low, high)
        The part's share of the image's area.
    ratio : (low, high)
        The part's width over its height.
    interpolation : int
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: int = 1,
    ) -> None:
        super().__init__()
        self._args = (_width_height(size, "RandomResizedCrop"), scale, ratio, interpolation)

    def forward(self, x: nd.NDArray) -> nd.NDArray:
        """Return the part, resized."""
        return image.random_size_crop(x, *self._args)[0]


class RandomFlipLeftRight(HybridBlock):
    """Mirror left and right half of the time."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the image or its mirror image."""
        return F.image.random_flip_left_right(x)


class RandomFlipTopBottom(HybridBlock):
    """Turn upside down (a mirror image) half of the time."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the image or its mirror image."""
        return F.image.random_flip_top_bottom(x)


def _need_float(x: nd.NDArray, where: str) -> None:
    if str(getattr(x.dtype, "__name__", x.dtype)) != "float32":
        raise DTypeError(
            explain(
                where,
                "Only float32 images, channels first, can be turned.",
                received=getattr(x.dtype, "__name__", x.dtype),
                fix="Put it behind ToTensor().",
            )
        )


class Rotate(Block):
    """Turn an image (or batch), float32 and channels first, about its centre; positive degrees are counter-clockwise.

    Parameters
    ----------
    rotation_degrees : float
    zoom_in : bool
        Enlarge until no black corner is seen.
    zoom_out : bool
        Shrink until the whole image is seen.
    """

    def __init__(self, rotation_degrees: float, zoom_in: bool = False, zoom_out: bool = False) -> None:
        super().__init__()
        self._args = (rotation_degrees, zoom_in, zoom_out)

    def forward(self, x: nd.NDArray) -> nd.NDArray:
        """Return the turned image."""
        _need_float(x, "Rotate")
        return image.imrotate(x, *self._args)


class RandomRotation(Block):
    """Turn an image by a random angle, with probability `rotate_with_proba`; otherwise as `Rotate`.

    Parameters
    ----------
    angle_limits : (low, high)
        Degrees.
    zoom_in, zoom_out : bool
    rotate_with_proba : float
    """

    def __init__(
        self,
        angle_limits: Sequence[float],
        zoom_in: bool = False,
        zoom_out: bool = False,
        rotate_with_proba: float = 1.0,
    ) -> None:
        super().__init__()
        if len(angle_limits) != 2 or angle_limits[0] >= angle_limits[1]:
            raise ArgumentError(
                explain(
                    "RandomRotation", "angle_limits is (low, high).", expected="low < high", received=repr(angle_limits)
                )
            )
        if not 0 <= rotate_with_proba <= 1:
            raise ArgumentError(
                explain("RandomRotation", "rotate_with_proba is a probability.", received=rotate_with_proba)
            )
        self._args = (tuple(angle_limits), zoom_in, zoom_out)
        self._probability = rotate_with_proba

    def forward(self, x: nd.NDArray) -> nd.NDArray:
        """Return the turned image, or the image."""
        _need_float(x, "RandomRotation")
        return image.random_rotate(x, *self._args) if random.random() < self._probability else x
