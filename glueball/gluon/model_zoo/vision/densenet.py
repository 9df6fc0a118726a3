"""Densely connected networks.

Source: Huang et al., "Densely Connected Convolutional Networks", 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....base.context import cpu
from ....base.errors import ArgumentError, explain
from ... import nn
from ...contrib.nn import HybridConcurrent, Identity
from .classifier import Classifier, finish

__all__ = ["DenseNet", "densenet121", "densenet161", "densenet169", "densenet201"]

# depth -> channels of the stem, channels that each layer adds, layers of each stage
SPECIFICATIONS = {
    121: (64, 32, (6, 12, 24, 16)),
    161: (96, 48, (6, 12, 36, 24)),
    169: (64, 32, (6, 12, 32, 32)),
    201: (64, 32, (6, 12, 48, 32)),
}


def _layer(growth_rate: int, bn_size: int, dropout: float) -> HybridConcurrent:
    """Return one layer: its data, joined with `growth_rate` new channels."""
    new = nn.HybridSequential(prefix="")
    new.add(
        nn.BatchNorm(),
        nn.Activation("relu"),
        nn.Conv2D(bn_size * growth_rate, kernel_size=1, use_bias=False),
        nn.BatchNorm(),
        nn.Activation("relu"),
        nn.Conv2D(growth_rate, kernel_size=3, padding=1, use_bias=False),
    )
    if dropout:
        new.add(nn.Dropout(dropout))
    both = HybridConcurrent(axis=1, prefix="")
    both.add(Identity(), new)
    return both


def _stage(count: int, bn_size: int, growth_rate: int, dropout: float, index: int) -> nn.HybridSequential:
    stage = nn.HybridSequential(prefix=f"stage{index}_")
    with stage.name_scope():
        for _ in range(count):
            stage.add(_layer(growth_rate, bn_size, dropout))
    return stage


def _transition(channels: int) -> nn.HybridSequential:
    """Return what stands between two stages: fewer channels, half the size."""
    transition = nn.HybridSequential(prefix="")
    transition.add(
        nn.BatchNorm(),
        nn.Activation("relu"),
        nn.Conv2D(channels, kernel_size=1, use_bias=False),
        nn.AvgPool2D(pool_size=2, strides=2),
    )
    return transition


class DenseNet(Classifier):
    """Network whose layers see the results of all layers before them in their stage.

    Parameters
    ----------
    num_init_features : int
        Channels of the stem.
    growth_rate : int
        Channels that each layer adds.
    block_config : sequence of int
        Layers of each stage.
    bn_size : int
        Inner channels of a layer, in multiples of `growth_rate`.
    dropout : float
        Rate of the dropout behind each layer.
    classes : int
        Number of classes.
    """

    def __init__(
        self,
        num_init_features: int,
        growth_rate: int,
        block_config: Sequence[int],
        bn_size: int = 4,
        dropout: float = 0,
        classes: int = 1000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            self.features.add(
                nn.Conv2D(num_init_features, kernel_size=7, strides=2, padding=3, use_bias=False),
                nn.BatchNorm(),
                nn.Activation("relu"),
                nn.MaxPool2D(pool_size=3, strides=2, padding=1),
            )
            channels = num_init_features
            for i, count in enumerate(block_config):
                self.features.add(_stage(count, bn_size, growth_rate, dropout, i + 1))
                channels += count * growth_rate
                if i != len(block_config) - 1:
                    channels //= 2
                    self.features.add(_transition(channels))
            self.features.add(nn.BatchNorm(), nn.Activation("relu"), nn.AvgPool2D(pool_size=7), nn.Flatten())
            self.output = nn.Dense(classes)


def get_densenet(
    num_layers: int, pretrained: bool = False, ctx: Any = cpu(), root: str | None = None, **kwargs: Any
) -> DenseNet:
    """Return a densely connected network.

    Parameters
    ----------
    num_layers : {121, 161, 169, 201}
    pretrained, ctx, root, classes
        As for `get_model`.
    """
    if num_layers not in SPECIFICATIONS:
        raise ArgumentError(
            explain(
                "get_densenet",
                "There is no DenseNet of this depth.",
                expected=", ".join(map(str, SPECIFICATIONS)),
                received=num_layers,
            )
        )
    return finish(DenseNet(*SPECIFICATIONS[num_layers], **kwargs), f"densenet{num_layers}", pretrained, ctx, root)


def densenet121(**kwargs: Any) -> DenseNet:
    """Return DenseNet-121; parameters as for `get_model`."""
    return get_densenet(121, **kwargs)


def densenet161(**kwargs: Any) -> DenseNet:
    """Return DenseNet-161; parameters as for `get_model`."""
    return get_densenet(161, **kwargs)


def densenet169(**kwargs: Any) -> DenseNet:
    """Return DenseNet-169; parameters as for `get_model`."""
    return get_densenet(169, **kwargs)


def densenet201(**kwargs: Any) -> DenseNet:
    """Return DenseNet-201; parameters as for `get_model`."""
    return get_densenet(201, **kwargs)
