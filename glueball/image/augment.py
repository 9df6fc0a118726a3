"""Augmenters: random changes of an image, as objects that can be listed, composed and written down (`dumps`).

The one idea: an augmenter is a call from an image (height × width × channels) to an image; `CreateAugmenter` makes the
usual list of them. Colour changes need float images, so `CastAug` comes before them in that list. Randomness: Python's
generator (and NumPy's for the lighting noise), as in MXNet 1.x. For boxes too: detection.py. As layers for gluon.data:
gluon/data/vision/transforms.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ndarray as nd
from ..base import resample
from ..base.errors import ArgumentError, explain
from . import functional

__all__ = [
    "Augmenter",
    "BrightnessJitterAug",
    "CastAug",
    "CenterCropAug",
    "ColorJitterAug",
    "ColorNormalizeAug",
    "ContrastJitterAug",
    "CreateAugmenter",
    "ForceResizeAug",
    "HorizontalFlipAug",
    "HueJitterAug",
    "LightingAug",
    "RandomCropAug",
    "RandomGrayAug",
    "RandomOrderAug",
    "RandomSizedCropAug",
    "ResizeAug",
    "SaturationJitterAug",
    "SequentialAug",
]

LUMINANCE = (0.299, 0.587, 0.114)
# ImageNet's colours: mean, deviation, and the principal components of their differences (Krizhevsky et al., 2012,
# section 4.1).
IMAGENET_MEAN = (123.68, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
EIGENVALUES = (55.46, 4.794, 1.148)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])
_FROM_YIQ = np.array([[1.0, 0.956, 0.621], [1.0, -0.272, -0.647], [1.0, -1.107, 1.705]])


class Augmenter:
    """Base class: keeps the arguments for `dumps`. Override `__call__`."""

    def __init__(self, **kwargs: Any) -> None:
        self._kwargs = {
            key: value.asnumpy().tolist()
            if isinstance(value, nd.NDArray)
            else value.tolist()
            if isinstance(value, np.ndarray)
            else value
            for key, value in kwargs.items()
        }

    def dumps(self) -> Any:
        """Return the class's name in small letters and its arguments, as JSON.

        >>> CastAug().dumps()
        '["castaug", {"type": "float32"}]'
        """
        return json.dumps([type(self).__name__.lower(), self._kwargs])

    def __call__(self, src: nd.NDArray) -> nd.NDArray:
        """Return the changed image."""
        raise NotImplementedError(
            explain(type(self).__name__, "An augmenter defines __call__(src), which returns an image.")
        )


class SequentialAug(Augmenter):
    """Apply augmenters one after another."""

    def __init__(self, ts: Sequence[Augmenter]) -> None:
        super().__init__()
        self.ts = list(ts)

    def dumps(self) -> Any:
        """Return name and the parts' descriptions."""
        return [type(self).__name__.lower(), [part.dumps() for part in self.ts]]

    def __call__(self, src: nd.NDArray) -> nd.NDArray:
        """Return the changed image."""
        for part in self.ts:
            src = part(src)
        return src


class RandomOrderAug(SequentialAug):
    """Apply augmenters in a random order."""

    def __call__(self, src: nd.NDArray) -> nd.NDArray:
        """Return the changed image."""
        parts = list(self.ts)
        random.shuffle(parts)
        for part in parts:
            src = part(src)
        return src


# ------------------------------------------------------------------------------------------------------------- geometry
class ResizeAug(Augmenter):
    """Resize the shorter side to `size`."""

    def __init__(self, size: int, interp: int = 2) -> None:
        super().__init__(size=size, interp=interp)
        self.size, self.interp = size, interp

    def __call__(self, src: nd.NDArray) -> nd.NDArray:
        """Return the resized image."""
        return functional.resize_short(src, self.size, self.interp)


class ForceResizeAug(Augmenter):
    """Resize to `size` (width, height), whatever the proportions."""

    def __init__(self, size: tuple[int, int], interp: int = 2) -> None:
        super().__init__(size=size, interp=interp)
        self.size, self.interp = size, interp

    def __call__(self, src: nd.NDArray) -> nd.NDArray:
        """Return the resized image."""
        return functional.imresize(src, *self.size, interp=self.interp)


class RandomCropAug(Augmenter):
    """Crop a random part of `size` (width, height)."""

    def __init__(self, size: tuple[int, int], interp: int = 2) -> None:
        super().__init__(size=size, interp=interp)
        self.size, self.interp = size, interp

    def __call__(self, src: nd.NDArray) -> nd.NDArray:
        """Return the part."""
        return functional.random_crop(src, self.size, self.interp)[0]


class RandomSizedCropAug(Augmenter):
    """Crop a part of random `area` and aspect `ratio` and resize it to `size` (width, height)."""

    def __init__(
        self, size: tuple[int, int], area: Any, ratio: tuple[float, float], interp: int = 2, **kwargs: Any
    ) -> None:
        super().__init__(size=size, area=area, ratio=ratio, interp=interp)
        self.size, self.area, self.ratio, self.interp = size, kwargs.pop("min_area", area), ratio, interp
        if kwargs:
            raise TypeError(explain("RandomSizedCropAug", "Unknown argument.", received=", ".join(kwargs)))

    def __call__(self, src: nd.NDArray) -> nd.NDArray:
        """Return the part, resized."""
        return functional.random_size_crop(src, self.size, self.area, self.ratio, self.interp)[0]


class CenterCropAug(Augmenter):
    """Crop the middle, of `size` (width, height)."""

    def __init__(self, size: tuple[int, int], interp: int = 2) -> None:
        super().__init__(size=size, interp=interp)
        self.size, self.interp = size, interp

    def __call__(self, src: nd.NDArray) -> nd.NDArray:
        """Return the part."""
        return functional.center_crop(src, self.size, self.interp)[0]


class HorizontalFlipAug(Augmenter):
    """Mirror left and right with probability `p`."""

    def __init__(self, p: float) -> None:
        super().__init__(p=p)
        self.p = p

    def __call__(self, src: nd.NDArray) -> nd.NDArray:
        """Return the image or its mirror image."""
        return nd.flip(src, axis=1) if random.random() < self.p else src


# --------------------------------------------------------------------------------------------------------------- colour
class CastAug(Augmenter):
    """Change the dtype."""

    def __init__(self, typ: str = "float32") -> None:
        super().__init__(type=typ)
        self.typ = typ

    def __call__(self, src: nd.NDArray) -> nd.NDArray:
        """Return the image in the new dtype."""
        return src.astype(self.typ)


def _grey(src: nd.NDArray) -> nd.NDArray:
    return nd.sum(src * nd.array(LUMINANCE, dtype=src.dtype), axis=2, keepdims=True)


class BrightnessJitterAug(Augmenter):
    """Multiply by a factor between 1 - `brightness` and 1 + `brightness`."""

    def __init__(self, brightness: float) -> None:
        super().__init__(brightness=brightness)
        self.brightness = brightness

    def __call__(self, src: nd.NDArray) -> nd.NDArray:
        """Return the changed image."""
        return src * (1 + random.uniform(-self.brightness, self.brightness))


class ContrastJitterAug(Augmenter):
    """Mix with the image's mean luminance, the image's share being between 1 - `contrast` and 1 + `contrast`."""

    def __init__(self, contrast: float) -> None:
        super().__init__(contrast=contrast)
        self.contrast = contrast

    def __call__(self, src: nd.NDArray) -> nd.NDArray:
        """Return the changed image."""
        share = 1 + random.uniform(-self.contrast, self.contrast)
        return src * share + nd.mean(_grey(src)) * (1 - share)


class SaturationJitterAug(Augmenter):
    """Mix with the grey image, the image's share being between 1 - `saturation` and 1 + `saturation`."""

    def __init__(self, saturation: float) -> None:
        super().__init__(saturation=saturation)
        self.saturation = saturation

    def __call__(self, src: nd.NDArray) -> nd.NDArray:
        """Return the changed image."""
        share = 1 + random.uniform(-self.saturation, self.saturation)
        return src * share + _grey(src) * (1 - share)


class HueJitterAug(Augmenter):
    """Turn the colours in the YIQ plane by an angle between -`hue` and `hue` half turns."""

    def __init__(self, hue: float) -> None:
        super().__init__(hue=hue)
        self.hue = hue

    def __call__(self, src: nd.NDArray) -> nd.NDArray:
        """Return the changed image."""
        angle = random.uniform(-self.hue, self.hue) * np.pi
        turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
        return nd.dot(src, nd.array((_FROM_YIQ @ turn @ _TO_YIQ).T, dtype=src.dtype))


class ColorJitterAug(RandomOrderAug):
    """Brightness, contrast and saturation (each if not 0) in a random order."""

    def __init__(self, brightness: float, contrast: float, saturation: float) -> None:
        parts: list[Augmenter] = []
        if brightness > 0:
            parts.append(BrightnessJitterAug(brightness))
        if contrast > 0:
            parts.append(ContrastJitterAug(contrast))
        if saturation > 0:
            parts.append(SaturationJitterAug(saturation))
        super().__init__(parts)


class LightingAug(Augmenter):
    """Add the principal components of the colours, weighted by normal noise of deviation `alphastd` times their
    eigenvalues.
    """

    def __init__(self, alphastd: float, eigval: Any, eigvec: Any) -> None:
        super().__init__(alphastd=alphastd, eigval=eigval, eigvec=eigvec)
        self.alphastd, self.eigval, self.eigvec = alphastd, np.asarray(eigval), np.asarray(eigvec)

    def __call__(self, src: nd.NDArray) -> nd.NDArray:
        """Return the changed image."""
        noise = np.random.normal(0, self.alphastd, size=(3,))
        return src + nd.array(np.dot(self.eigvec * noise, self.eigval), dtype=src.dtype)


class ColorNormalizeAug(Augmenter):
    """Subtract `mean` and divide by `std`, each a number or one for each channel, or None."""

    def __init__(self, mean: Any, std: Any) -> None:
        super().__init__(mean=mean, std=std)
        self.mean = None if mean is None else nd.array(mean)
        self.std = None if std is None else nd.array(std)

    def __call__(self, src: nd.NDArray) -> nd.NDArray:
        """Return the changed image."""
        return functional.color_normalize(src, self.mean, self.std)


class RandomGrayAug(Augmenter):
    """Make the image grey (three equal channels) with probability `p`."""

    def __init__(self, p: float) -> None:
        super().__init__(p=p)
        self.p = p

    def __call__(self, src: nd.NDArray) -> nd.NDArray:
        """Return the image, or it without colour."""
        if random.random() < self.p:
            weights = np.repeat(
                [[0.21], [0.72], [0.07]], 3, axis=1
            )  # the weights of MXNet 1.x here, not those of LUMINANCE
            src = nd.dot(src, nd.array(weights, dtype=src.dtype))
        return src


# ------------------------------------------------------------------------------------------------------------- the list
def check_data_shape(data_shape: Sequence[int], where: str) -> tuple[int, int, int]:
    """Return a shape (3 or 1, height, width), or raise."""
    if len(data_shape) != 3 or data_shape[0] not in (1, 3) or min(data_shape) < 1:
        raise ArgumentError(
            explain(
                where, "data_shape is (channels, height, width) with 1 or 3 channels.", received=repr(tuple(data_shape))
            )
        )
    return tuple(data_shape)  # type: ignore[return-value]


def colour_augmenters(
    mean: Any,
    std: Any,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    pca_noise: float,
    rand_gray: float,
) -> list[Augmenter]:
    """Return the colour part of the usual list: cast, jitters, lighting, grey, normalisation."""
    made: list[Augmenter] = [CastAug()]
    if brightness or contrast or saturation:
        made.append(ColorJitterAug(brightness, contrast, saturation))
    if hue:
        made.append(HueJitterAug(hue))
    if pca_noise > 0:
        made.append(LightingAug(pca_noise, np.array(EIGENVALUES), np.array(EIGENVECTORS)))
    if rand_gray > 0:
        made.append(RandomGrayAug(rand_gray))
    mean = np.array(IMAGENET_MEAN) if mean is True else mean
    std = np.array(IMAGENET_STD) if std is True else std
    if mean is not None or std is not None:
        made.append(ColorNormalizeAug(mean, std))
    return made


def CreateAugmenter(
    data_shape: Sequence[int],
    resize: int = 0,
    rand_crop: bool = False,
    rand_resize: bool = False,
    rand_mirror: bool = False,
    mean: Any = None,
    std: Any = None,
    brightness: float = 0,
    contrast: float = 0,
    saturation: float = 0,
    hue: float = 0,
    pca_noise: float = 0,
    rand_gray: float = 0,
    inter_method: int = 2,
) -> list[Augmenter]:
    """Return the usual list of augmenters for training or testing.

    Parameters
    ----------
    data_shape : (channels, height, width)
        Of the result.
    resize : int
        First resize the shorter side to this, if not 0.
    rand_crop, rand_resize, rand_mirror : bool
        Crop at random rather than in the middle; with random area and aspect; mirror half of the images.
    mean, std : array, True or None
        Normalise; True takes ImageNet's.
    brightness, contrast, saturation, hue, pca_noise : float
        Strength of these changes.
    rand_gray : float
        Probability of a grey image.
    inter_method : int
        Interpolation, as for `imresize`.

    Examples
    --------
    >>> [type(augmenter).__name__ for augmenter in CreateAugmenter((3, 8, 8), rand_crop=True, mean=True)]
    ['RandomCropAug', 'CastAug', 'ColorNormalizeAug']
    """
    _, height, width = check_data_shape(data_shape, "CreateAugmenter")
    resample.choose_method(inter_method)
    made: list[Augmenter] = [ResizeAug(resize, inter_method)] if resize > 0 else []
    size = (width, height)
    if rand_resize:
        if not rand_crop:
            raise ArgumentError(
                explain("CreateAugmenter", "rand_resize is a kind of random crop.", fix="Also give rand_crop=True.")
            )
        made.append(RandomSizedCropAug(size, 0.08, (3 / 4, 4 / 3), inter_method))
    else:
        made.append(RandomCropAug(size, inter_method) if rand_crop else CenterCropAug(size, inter_method))
    if rand_mirror:
        made.append(HorizontalFlipAug(0.5))
    return made + colour_augmenters(mean, std, brightness, contrast, saturation, hue, pca_noise, rand_gray)
