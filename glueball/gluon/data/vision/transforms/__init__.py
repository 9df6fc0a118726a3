"""gluon.data.vision.transforms: what is done to an image before it enters a batch, as blocks.

The one idea: a transform takes an image, height × width × channels, and gives one; `ToTensor` turns it to channels
first and float, and `Normalize` and `Rotate` come behind that. compose.py strings transforms together, spatial.py
moves pixels, color.py changes their values. Transforms that do the same to a whole batch as to each image in it have
`batchable = True`, and a loader without workers uses that.
"""

from __future__ import annotations

from .color import (
    RandomBrightness,
    RandomColorJitter,
    RandomContrast,
    RandomGray,
    RandomHue,
    RandomLighting,
    RandomSaturation,
)
from .compose import Cast, Compose, HybridCompose, HybridRandomApply, Normalize, RandomApply, ToTensor
from .spatial import (
    CenterCrop,
    CropResize,
    RandomCrop,
    RandomFlipLeftRight,
    RandomFlipTopBottom,
    RandomResizedCrop,
    RandomRotation,
    Resize,
    Rotate,
)

__all__ = [
    "Cast",
    "CenterCrop",
    "Compose",
    "CropResize",
    "HybridCompose",
    "HybridRandomApply",
    "Normalize",
    "RandomApply",
    "RandomBrightness",
    "RandomColorJitter",
    "RandomContrast",
    "RandomCrop",
    "RandomFlipLeftRight",
    "RandomFlipTopBottom",
    "RandomGray",
    "RandomHue",
    "RandomLighting",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSaturation",
    "Resize",
    "Rotate",
    "ToTensor",
]
