"""LossScaler: the factor that keeps small float16 gradients from vanishing.

The one idea: the factor grows while all goes well and shrinks when a gradient overflows; a step whose gradients
overflowed is left out. bfloat16 has the range of float32 and needs no factor: its scaler stays at 1.

Source: P. Micikevicius et al., "Mixed Precision Training", 2018, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from ... import ndarray as nd
from ...ndarray import NDArray

__all__ = ["LossScaler"]


@final
class LossScaler:
    """Holds `loss_scale` and adapts it.

    Parameters
    ----------
    init_scale : the first factor
    scale_factor : what the factor is multiplied with after `scale_window` good steps, and divided by after a bad one
    scale_window : steps without overflow before the factor grows; 0: the factor never changes

    >>> from glueball import nd
    >>> scaler = LossScaler(init_scale=8.0, scale_window=1)
    >>> scaler.update([nd.array([float("inf")])]), scaler.loss_scale
    (True, 4.0)
    >>> scaler.update([nd.array([1.0])]), scaler.loss_scale
    (False, 8.0)
    """

    MAX = 2.0**24

    def __init__(self, init_scale: float = 2.0**16, scale_factor: float = 2.0, scale_window: int = 2000) -> None:
        self.loss_scale = float(init_scale)
        self._factor, self._window, self._good = scale_factor, scale_window, 0

    def has_overflow(self, gradients: Sequence[NDArray]) -> bool:
        """Return whether a gradient has an element that is infinite or not a number."""
        by_device: dict[object, list[NDArray]] = {}
        for gradient in gradients:
            by_device.setdefault(gradient.context, []).append(gradient)
        checks = [nd.multi_all_finite(*each, num_arrays=len(each)) for each in by_device.values()]
        return any(check.asscalar() == 0 for check in checks)

    def update(self, gradients: Sequence[NDArray]) -> bool:
        """Adapt the factor to the gradients of a step; return whether they overflowed."""
        overflow = self.has_overflow(gradients)
        if not self._window:
            return overflow
        if overflow:
            self.loss_scale, self._good = max(1.0, self.loss_scale / self._factor), 0
        else:
            self._good += 1
            if self._good >= self._window:
                self.loss_scale, self._good = min(self.MAX, self.loss_scale * self._factor), 0
        return overflow
