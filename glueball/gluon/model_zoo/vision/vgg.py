"""VGG networks.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....base.context import cpu
from ....base.errors import ArgumentError, explain
from ....initializer import Xavier
from ... import nn
from .classifier import Classifier, finish

__all__ = ["VGG", "vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn", "get_vgg"]

FILTERS = (64, 128, 256, 512, 512)
LAYERS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}  # convolutions of each stage


class VGG(Classifier):
    """Stages of 3×3 convolutions with a maximum pooling behind each, then three dense layers.

    Parameters
    ----------
    layers, filters : sequence of int
        Convolutions of each stage, and their channels.
    classes : int
        Number of classes.
    batch_norm : bool
        Whether each convolution is followed by BatchNorm.
    """

    def __init__(
        self,
        layers: Sequence[int],
        filters: Sequence[int],
        classes: int = 1000,
        batch_norm: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if len(layers) != len(filters):
            raise ArgumentError(
                explain(
                    "VGG",
                    "layers and filters differ in length.",
                    expected="one of each per stage",
                    received=f"layers={list(layers)}, filters={list(filters)}",
                )
            )
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            for count, channels in zip(layers, filters):
                for _ in range(count):
                    self.features.add(
                        nn.Conv2D(
                            channels,
                            kernel_size=3,
                            padding=1,
                            bias_initializer="zeros",
                            weight_initializer=Xavier(rnd_type="gaussian", factor_type="out", magnitude=2),
                        )
                    )
                    if batch_norm:
                        self.features.add(nn.BatchNorm())
                    self.features.add(nn.Activation("relu"))
                self.features.add(nn.MaxPool2D(strides=2))
            for _ in range(2):
                self.features.add(
                    nn.Dense(4096, activation="relu", weight_initializer="normal", bias_initializer="zeros"),
                    nn.Dropout(rate=0.5),
                )
            self.output = nn.Dense(classes, weight_initializer="normal", bias_initializer="zeros")


_BATCH_NORM: dict[str, Any] = {"batch_norm": True}


def get_vgg(num_layers: int, pretrained: bool = False, ctx: Any = cpu(), root: str | None = None, **kwargs: Any) -> VGG:
    """Return a VGG network.

    Parameters
    ----------
    num_layers : {11, 13, 16, 19}
    batch_norm : bool
        Whether each convolution is followed by BatchNorm.
    pretrained, ctx, root, classes
        As for `get_model`.
    """
    if num_layers not in LAYERS:
        raise ArgumentError(
            explain(
                "get_vgg",
                "There is no VGG network of this depth.",
                expected=", ".join(map(str, LAYERS)),
                received=num_layers,
            )
        )
    suffix = "_bn" if kwargs.get("batch_norm") else ""
    return finish(VGG(LAYERS[num_layers], FILTERS, **kwargs), f"vgg{num_layers}{suffix}", pretrained, ctx, root)


def vgg11(**kwargs: Any) -> VGG:
    """Return VGG-11; parameters as for `get_model`."""
    return get_vgg(11, **kwargs)


def vgg13(**kwargs: Any) -> VGG:
    """Return VGG-13; parameters as for `get_model`."""
    return get_vgg(13, **kwargs)


def vgg16(**kwargs: Any) -> VGG:
    """Return VGG-16; parameters as for `get_model`."""
    return get_vgg(16, **kwargs)


def vgg19(**kwargs: Any) -> VGG:
    """Return VGG-19; parameters as for `get_model`."""
    return get_vgg(19, **kwargs)


def vgg11_bn(**kwargs: Any) -> VGG:
    """Return VGG-11 with BatchNorm; parameters as for `get_model`."""
    return get_vgg(11, **kwargs | _BATCH_NORM)


def vgg13_bn(**kwargs: Any) -> VGG:
    """Return VGG-13 with BatchNorm; parameters as for `get_model`."""
    return get_vgg(13, **kwargs | _BATCH_NORM)


def vgg16_bn(**kwargs: Any) -> VGG:
    """Return VGG-16 with BatchNorm; parameters as for `get_model`."""
    return get_vgg(16, **kwargs | _BATCH_NORM)


def vgg19_bn(**kwargs: Any) -> VGG:
    """Return VGG-19 with BatchNorm; parameters as for `get_model`."""
    return get_vgg(19, **kwargs | _BATCH_NORM)
