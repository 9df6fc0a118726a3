"""Inception, version 3. Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2015.

The one idea: a module is a list of branches side by side; a branch is a list of steps, each a pooling by name or a
convolution as (channels, kernel, stride, padding). Modules A, C, E keep the size of the image; B and D halve it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....base.context import cpu
from ... import nn
from ...contrib.nn import HybridConcurrent
from .classifier import Classifier, finish

__all__ = ["Inception3", "inception_v3"]

WIDE, TALL = (
    ((1, 7), 1, (0, 3)),
    ((7, 1), 1, (3, 0)),
)  # kernels of the factorised 7×7 convolution, with stride and padding


def _conv(channels: int, kernel: Any = 1, stride: int = 1, padding: Any = 0) -> nn.HybridSequential:
    made = nn.HybridSequential(prefix="")
    made.add(
        nn.Conv2D(channels, kernel, stride, padding, use_bias=False), nn.BatchNorm(epsilon=0.001), nn.Activation("relu")
    )
    return made


def _branch(*steps: Any) -> nn.HybridSequential:
    """Return one branch; a step is "avg", "max", or the arguments of a convolution."""
    branch = nn.HybridSequential(prefix="")
    for step in steps:
        if step == "avg":
            branch.add(nn.AvgPool2D(pool_size=3, strides=1, padding=1))
        elif step == "max":
            branch.add(nn.MaxPool2D(pool_size=3, strides=2))
        else:
            branch.add(_conv(*step))
    return branch


def _module(prefix: str, *branches: Any) -> HybridConcurrent:
    """Return branches side by side, joined along the channels."""
    module = HybridConcurrent(axis=1, prefix=prefix)
    with module.name_scope():
        for steps in branches:
            module.add(steps() if isinstance(steps, Callable) else _branch(*steps))
    return module


def _split(*steps: Any) -> nn.HybridSequential:
    """Return a branch that ends in two: a 1×3 and a 3×1 convolution."""
    branch = nn.HybridSequential(prefix="")
    branch.add(_branch(*steps))
    ends = HybridConcurrent(axis=1, prefix="")
    ends.add(_branch((384, (1, 3), 1, (0, 1))), _branch((384, (3, 1), 1, (1, 0))))
    branch.add(ends)
    return branch


def _module_a(pool_channels: int, prefix: str) -> HybridConcurrent:
    return _module(
        prefix, [(64,)], [(48,), (64, 5, 1, 2)], [(64,), (96, 3, 1, 1), (96, 3, 1, 1)], ["avg", (pool_channels,)]
    )


def _module_b(prefix: str) -> HybridConcurrent:
    return _module(prefix, [(384, 3, 2)], [(64,), (96, 3, 1, 1), (96, 3, 2)], ["max"])


def _module_c(inner: int, prefix: str) -> HybridConcurrent:
    return _module(
        prefix,
        [(192,)],
        [(inner,), (inner, *WIDE), (192, *TALL)],
        [(inner,), (inner, *TALL), (inner, *WIDE), (inner, *TALL), (192, *WIDE)],
        ["avg", (192,)],
    )


def _module_d(prefix: str) -> HybridConcurrent:
    return _module(prefix, [(192,), (320, 3, 2)], [(192,), (192, *WIDE), (192, *TALL), (192, 3, 2)], ["max"])


def _module_e(prefix: str) -> HybridConcurrent:
    return _module(prefix, [(320,)], lambda: _split((384,)), lambda: _split((448,), (384, 3, 1, 1)), ["avg", (192,)])


class Inception3(Classifier):
    """Inception, version 3, for images of 299×299.

    Parameters
    ----------
    classes : int
        Number of classes.
    """

    def __init__(self, classes: int = 1000, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            self.features.add(
                _conv(32, 3, 2),
                _conv(32, 3),
                _conv(64, 3, 1, 1),
                nn.MaxPool2D(pool_size=3, strides=2),
                _conv(80),
                _conv(192, 3),
                nn.MaxPool2D(pool_size=3, strides=2),
                _module_a(32, "A1_"),
                _module_a(64, "A2_"),
                _module_a(64, "A3_"),
                _module_b("B_"),
                _module_c(128, "C1_"),
                _module_c(160, "C2_"),
                _module_c(160, "C3_"),
                _module_c(192, "C4_"),
                _module_d("D_"),
                _module_e("E1_"),
                _module_e("E2_"),
                nn.AvgPool2D(pool_size=8),
                nn.Dropout(0.5),
            )
            self.output = nn.Dense(classes)


def inception_v3(pretrained: bool = False, ctx: Any = cpu(), root: str | None = None, **kwargs: Any) -> Inception3:
    """Return Inception, version 3; parameters as for `get_model`."""
    return finish(Inception3(**kwargs), "inceptionv3", pretrained, ctx, root)
