"""SqueezeNet.

Source: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size", 2016.
"""

from __future__ import annotations

from typing import Any

from ....base.context import cpu
from ....base.errors import ArgumentError, explain
from ... import nn
from ...contrib.nn import HybridConcurrent
from .classifier import Classifier, finish

__all__ = ["SqueezeNet", "squeezenet1_0", "squeezenet1_1"]

# version -> channels and kernel of the stem, then fire modules by their squeezed channels (expanded: four times as
# many), 0 for a pooling
SPECIFICATIONS = {
    "1.0": (96, 7, (0, 16, 16, 32, 0, 32, 48, 48, 64, 0, 64)),
    "1.1": (64, 3, (0, 16, 16, 0, 32, 32, 0, 48, 48, 64, 64)),
}


def _conv(channels: int, kernel_size: int, padding: int = 0) -> nn.HybridSequential:
    made = nn.HybridSequential(prefix="")
    made.add(nn.Conv2D(channels, kernel_size, padding=padding), nn.Activation("relu"))
    return made


def _fire(squeezed: int) -> nn.HybridSequential:
    """Return a fire module: few channels, then many, half of them by 1×1 and half by 3×3 kernels."""
    paths = HybridConcurrent(axis=1, prefix="")
    made = nn.HybridSequential(prefix="")
    made.add(_conv(squeezed, 1))
    paths.add(_conv(4 * squeezed, 1), _conv(4 * squeezed, 3, 1))
    made.add(paths)
    return made


class SqueezeNet(Classifier):
    """Fire modules with poolings between them; a 1×1 convolution gives the classes.

    Parameters
    ----------
    version : {'1.0', '1.1'}
    classes : int
        Number of classes.
    """

    def __init__(self, version: str, classes: int = 1000, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if version not in SPECIFICATIONS:
            raise ArgumentError(
                explain("SqueezeNet", "There is no such version.", expected="'1.0' or '1.1'", received=repr(version))
            )
        channels, kernel, modules = SPECIFICATIONS[version]
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            self.features.add(nn.Conv2D(channels, kernel_size=kernel, strides=2), nn.Activation("relu"))
            for squeezed in modules:
                self.features.add(_fire(squeezed) if squeezed else nn.MaxPool2D(pool_size=3, strides=2, ceil_mode=True))
            self.features.add(nn.Dropout(0.5))
            self.output = nn.HybridSequential(prefix="")
            self.output.add(nn.Conv2D(classes, kernel_size=1), nn.Activation("relu"), nn.AvgPool2D(13), nn.Flatten())


def get_squeezenet(
    version: str, pretrained: bool = False, ctx: Any = cpu(), root: str | None = None, **kwargs: Any
) -> SqueezeNet:
    """Return a SqueezeNet of version '1.0' or '1.1'; the other parameters as for `get_model`."""
    return finish(SqueezeNet(version, **kwargs), f"squeezenet{version}", pretrained, ctx, root)


def squeezenet1_0(**kwargs: Any) -> SqueezeNet:
    """Return SqueezeNet 1.0; parameters as for `get_model`."""
    return get_squeezenet("1.0", **kwargs)


def squeezenet1_1(**kwargs: Any) -> SqueezeNet:
    """Return SqueezeNet 1.1; parameters as for `get_model`."""
    return get_squeezenet("1.1", **kwargs)
