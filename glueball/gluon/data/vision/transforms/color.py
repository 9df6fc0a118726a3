"""Transforms that change the values of pixels by chance: brightness, contrast, saturation, hue, lighting, grey.

The one idea: each draws a factor between 1 - strength and 1 + strength (not below 0) and leaves the rest to an
operator of `F.image`, so all are hybrid. They work on images of bytes (results are cut to 0..255) and of floats,
height × width × channels. Geometry: spatial.py.
"""

from __future__ import annotations

from typing import Any

from .....base.errors import ArgumentError, explain
from ....hybrid import HybridBlock

__all__ = [
    "RandomBrightness",
    "RandomColorJitter",
    "RandomContrast",
    "RandomGray",
    "RandomHue",
    "RandomLighting",
    "RandomSaturation",
]


def _strength(value: float, where: str) -> float:
    if value < 0:
        raise ArgumentError(explain(where, "The strength is not negative.", received=value))
    return value


class _Factor(HybridBlock):
    """Draw a factor and apply the operator that a subclass names."""

    _operator: str

    def __init__(self, strength: float) -> None:
        super().__init__()
        strength = _strength(strength, type(self).__name__)
        self._low, self._high = max(0.0, 1.0 - strength), 1.0 + strength

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the changed image."""
        return getattr(F.image, self._operator)(x, self._low, self._high)


class RandomBrightness(_Factor):
    """Multiply by a factor between 1 - `brightness` and 1 + `brightness`."""

    _operator = "random_brightness"

    def __init__(self, brightness: float) -> None:
        super().__init__(brightness)


class RandomContrast(_Factor):
    """Mix with the mean luminance; the image's share is between 1 - `contrast` and 1 + `contrast`."""

    _operator = "random_contrast"

    def __init__(self, contrast: float) -> None:
        super().__init__(contrast)


class RandomSaturation(_Factor):
    """Mix with the grey image; the image's share is between 1 - `saturation` and 1 + `saturation`."""

    _operator = "random_saturation"

    def __init__(self, saturation: float) -> None:
        super().__init__(saturation)


class RandomHue(_Factor):
    """Turn the colours by up to `hue` (1: a half turn)."""

    _operator = "random_hue"

    def __init__(self, hue: float) -> None:
        super().__init__(hue)


class RandomColorJitter(HybridBlock):
    """Brightness, contrast, saturation and hue in a random order.

    Parameters
    ----------
    brightness, contrast, saturation, hue : float
        The strengths; 0 leaves one out.
    """

    def __init__(self, brightness: float = 0, contrast: float = 0, saturation: float = 0, hue: float = 0) -> None:
        super().__init__()
        self._args = tuple(_strength(value, "RandomColorJitter") for value in (brightness, contrast, saturation, hue))

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the changed image."""
        return F.image.random_color_jitter(x, *self._args)


class RandomLighting(HybridBlock):
    """Add ImageNet's principal colour components, weighted by normal noise of deviation `alpha`."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self._alpha = _strength(alpha, "RandomLighting")

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the changed image."""
        return F.image.random_lighting(x, self._alpha)


class RandomGray(HybridBlock):
    """Make the image grey (three equal channels) with probability `p`.

    The luminance is 0.299 red + 0.587 green + 0.114 blue.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ArgumentError(explain("RandomGray", "p is a probability.", expected="0 <= p <= 1", received=p))
        self._p = p

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the image, or it without colour."""
        chosen = F.random.uniform(0, 1, shape=(1,)) < self._p
        # a saturation of 0 is the grey image, whatever the dtype
        return F.contrib.cond(chosen, lambda: F.image.random_saturation(x, 0.0, 0.0), lambda: x)
