"""Residual networks, versions 1 and 2.

Source: He et al., "Deep Residual Learning for Image Recognition", 2015 (V1: convolution, norm, activation) and
"Identity Mappings in Deep Residual Networks", 2016 (V2: norm, activation, convolution). In V1 bottlenecks the stride is
at the first convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....base.context import cpu
from ....base.errors import ArgumentError, explain
from ... import nn
from ...hybrid import HybridBlock
from .classifier import Classifier, finish

__all__ = [
    "ResNetV1",
    "ResNetV2",
    "BasicBlockV1",
    "BasicBlockV2",
    "BottleneckV1",
    "BottleneckV2",
    "resnet18_v1",
    "resnet34_v1",
    "resnet50_v1",
    "resnet101_v1",
    "resnet152_v1",
    "resnet18_v2",
    "resnet34_v2",
    "resnet50_v2",
    "resnet101_v2",
    "resnet152_v2",
    "get_resnet",
]


def _conv3x3(channels: int, stride: int, in_channels: int) -> nn.Conv2D:
    return nn.Conv2D(channels, kernel_size=3, strides=stride, padding=1, use_bias=False, in_channels=in_channels)


def _conv1x1(channels: int, stride: int, in_channels: int = 0) -> nn.Conv2D:
    return nn.Conv2D(channels, kernel_size=1, strides=stride, use_bias=False, in_channels=in_channels)


class _BlockV1(HybridBlock):
    """relu(shortcut(x) + body(x)); the shortcut is a convolution where sizes change."""

    body: nn.HybridSequential

    def _shortcut(self, channels: int, stride: int, downsample: bool, in_channels: int) -> None:
        self.downsample = None
        if downsample:
            self.downsample = nn.HybridSequential(prefix="")
            self.downsample.add(_conv1x1(channels, stride, in_channels), nn.BatchNorm())

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the sum of body and shortcut, rectified."""
        body = self.body(x)
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.Activation(shortcut + body, act_type="relu")


class BasicBlockV1(_BlockV1):
    """Two 3×3 convolutions and a shortcut (ResNet-18 and -34, version 1).

    Parameters
    ----------
    channels : int
        Channels of the result.
    stride : int
        Step of the first convolution.
    downsample : bool
        Whether the shortcut is a convolution.
    in_channels : int
        Channels of the data; 0: taken from the first call.
    """

    def __init__(
        self, channels: int, stride: int, downsample: bool = False, in_channels: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.body = nn.HybridSequential(prefix="")
        self.body.add(
            _conv3x3(channels, stride, in_channels),
            nn.BatchNorm(),
            nn.Activation("relu"),
            _conv3x3(channels, 1, channels),
            nn.BatchNorm(),
        )
        self._shortcut(channels, stride, downsample, in_channels)


class BottleneckV1(_BlockV1):
    """A 1×1, a 3×3 and a 1×1 convolution and a shortcut (ResNet-50 and deeper, version 1).

    Parameters as for `BasicBlockV1`; the inner convolutions have a quarter of the channels.
    """

    def __init__(
        self, channels: int, stride: int, downsample: bool = False, in_channels: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        inner = channels // 4
        self.body = nn.HybridSequential(prefix="")
        self.body.add(
            nn.Conv2D(inner, kernel_size=1, strides=stride),
            nn.BatchNorm(),
            nn.Activation("relu"),
            _conv3x3(inner, 1, inner),
            nn.BatchNorm(),
            nn.Activation("relu"),
            nn.Conv2D(channels, kernel_size=1, strides=1),
            nn.BatchNorm(),
        )
        self._shortcut(channels, stride, downsample, in_channels)


class BasicBlockV2(HybridBlock):
    """Two times norm, activation, 3×3 convolution, and a shortcut (ResNet-18 and -34, version 2).

    Parameters as for `BasicBlockV1`.
    """

    def __init__(
        self, channels: int, stride: int, downsample: bool = False, in_channels: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.bn1 = nn.BatchNorm()
        self.conv1 = _conv3x3(channels, stride, in_channels)
        self.bn2 = nn.BatchNorm()
        self.conv2 = _conv3x3(channels, 1, channels)
        self.downsample = _conv1x1(channels, stride, in_channels) if downsample else None

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the sum of body and shortcut."""
        active = F.Activation(self.bn1(x), act_type="relu")
        shortcut = x if self.downsample is None else self.downsample(active)
        body = self.conv1(active)
        body = self.conv2(F.Activation(self.bn2(body), act_type="relu"))
        return body + shortcut


class BottleneckV2(HybridBlock):
    """Three times norm, activation, convolution (1×1, 3×3, 1×1), and a shortcut (ResNet-50 and deeper, version 2).

    Parameters as for `BasicBlockV1`; the inner convolutions have a quarter of the channels.
    """

    def __init__(
        self, channels: int, stride: int, downsample: bool = False, in_channels: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        inner = channels // 4
        self.bn1 = nn.BatchNorm()
        self.conv1 = _conv1x1(inner, 1)
        self.bn2 = nn.BatchNorm()
        self.conv2 = _conv3x3(inner, stride, inner)
        self.bn3 = nn.BatchNorm()
        self.conv3 = _conv1x1(channels, 1)
        self.downsample = _conv1x1(channels, stride, in_channels) if downsample else None

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the sum of body and shortcut."""
        active = F.Activation(self.bn1(x), act_type="relu")
        shortcut = x if self.downsample is None else self.downsample(active)
        body = self.conv1(active)
        body = self.conv2(F.Activation(self.bn2(body), act_type="relu"))
        body = self.conv3(F.Activation(self.bn3(body), act_type="relu"))
        return body + shortcut


def _stage(block: type, count: int, channels: int, stride: int, index: int, in_channels: int) -> nn.HybridSequential:
    """Return one stage: `count` blocks, the first of which may shrink the image and change the channels."""
    stage = nn.HybridSequential(prefix=f"stage{index}_")
    with stage.name_scope():
        stage.add(block(channels, stride, channels != in_channels, in_channels=in_channels, prefix=""))
        for _ in range(count - 1):
            stage.add(block(channels, 1, False, in_channels=channels, prefix=""))
    return stage


def _check(owner: str, layers: Sequence[int], channels: Sequence[int]) -> None:
    if len(layers) != len(channels) - 1:
        raise ArgumentError(
            explain(
                owner,
                "channels must have one entry more than layers (the first is the stem's).",
                expected=f"{len(layers) + 1} channels",
                received=f"layers={list(layers)}, channels={list(channels)}",
            )
        )


def _stem(features: nn.HybridSequential, channels: int, thumbnail: bool) -> None:
    """Add the first layers: one convolution for thumbnails (CIFAR), or the large one that shrinks the image by four."""
    if thumbnail:
        features.add(_conv3x3(channels, 1, 0))
    else:
        features.add(
            nn.Conv2D(channels, 7, 2, 3, use_bias=False), nn.BatchNorm(), nn.Activation("relu"), nn.MaxPool2D(3, 2, 1)
        )


class ResNetV1(Classifier):
    """Residual network, version 1.

    Parameters
    ----------
    block : class
        `BasicBlockV1` or `BottleneckV1`.
    layers : sequence of int
        Number of blocks of each stage.
    channels : sequence of int
        Channels of the stem, then of each stage.
    classes : int
        Number of classes.
    thumbnail : bool
        Images are small (32×32): the stem does not shrink them.
    """

    def __init__(
        self,
        block: type,
        layers: Sequence[int],
        channels: Sequence[int],
        classes: int = 1000,
        thumbnail: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check("ResNetV1", layers, channels)
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            _stem(self.features, channels[0], thumbnail)
            for i, count in enumerate(layers):
                self.features.add(_stage(block, count, channels[i + 1], 1 if i == 0 else 2, i + 1, channels[i]))
            self.features.add(nn.GlobalAvgPool2D())
            self.output = nn.Dense(classes, in_units=channels[-1])


class ResNetV2(Classifier):
    """Residual network, version 2.

    Parameters as for `ResNetV1`, with `BasicBlockV2` or `BottleneckV2`.
    """

    def __init__(
        self,
        block: type,
        layers: Sequence[int],
        channels: Sequence[int],
        classes: int = 1000,
        thumbnail: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check("ResNetV2", layers, channels)
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            self.features.add(nn.BatchNorm(scale=False, center=False))
            _stem(self.features, channels[0], thumbnail)
            for i, count in enumerate(layers):
                self.features.add(_stage(block, count, channels[i + 1], 1 if i == 0 else 2, i + 1, channels[i]))
            self.features.add(nn.BatchNorm(), nn.Activation("relu"), nn.GlobalAvgPool2D(), nn.Flatten())
            self.output = nn.Dense(classes, in_units=channels[-1])


BASIC, DEEP = (64, 64, 128, 256, 512), (64, 256, 512, 1024, 2048)
SPECIFICATIONS = {
    18: ("basic", (2, 2, 2, 2), BASIC),
    34: ("basic", (3, 4, 6, 3), BASIC),
    50: ("bottleneck", (3, 4, 6, 3), DEEP),
    101: ("bottleneck", (3, 4, 23, 3), DEEP),
    152: ("bottleneck", (3, 8, 36, 3), DEEP),
}
NETWORKS = {1: ResNetV1, 2: ResNetV2}
BLOCKS = {
    1: {"basic": BasicBlockV1, "bottleneck": BottleneckV1},
    2: {"basic": BasicBlockV2, "bottleneck": BottleneckV2},
}


def get_resnet(
    version: int, num_layers: int, pretrained: bool = False, ctx: Any = cpu(), root: str | None = None, **kwargs: Any
) -> Classifier:
    """Return a residual network.

    Parameters
    ----------
    version : {1, 2}
    num_layers : {18, 34, 50, 101, 152}
    pretrained, ctx, root, classes
        As for `get_model`.
    """
    if num_layers not in SPECIFICATIONS or version not in NETWORKS:
        raise ArgumentError(
            explain(
                "get_resnet",
                "There is no such residual network.",
                expected=f"version 1 or 2, num_layers {', '.join(map(str, SPECIFICATIONS))}",
                received=f"version={version}, num_layers={num_layers}",
            )
        )
    kind, layers, channels = SPECIFICATIONS[num_layers]
    net = NETWORKS[version](BLOCKS[version][kind], layers, channels, **kwargs)
    return finish(net, f"resnet{num_layers}_v{version}", pretrained, ctx, root)


def resnet18_v1(**kwargs: Any) -> Classifier:
    """Return ResNet-18, version 1; parameters as for `get_model`."""
    return get_resnet(1, 18, **kwargs)


def resnet34_v1(**kwargs: Any) -> Classifier:
    """Return ResNet-34, version 1; parameters as for `get_model`."""
    return get_resnet(1, 34, **kwargs)


def resnet50_v1(**kwargs: Any) -> Classifier:
    """Return ResNet-50, version 1; parameters as for `get_model`."""
    return get_resnet(1, 50, **kwargs)


def resnet101_v1(**kwargs: Any) -> Classifier:
    """Return ResNet-101, version 1; parameters as for `get_model`."""
    return get_resnet(1, 101, **kwargs)


def resnet152_v1(**kwargs: Any) -> Classifier:
    """Return ResNet-152, version 1; parameters as for `get_model`."""
    return get_resnet(1, 152, **kwargs)


def resnet18_v2(**kwargs: Any) -> Classifier:
    """Return ResNet-18, version 2; parameters as for `get_model`."""
    return get_resnet(2, 18, **kwargs)


def resnet34_v2(**kwargs: Any) -> Classifier:
    """Return ResNet-34, version 2; parameters as for `get_model`."""
    return get_resnet(2, 34, **kwargs)


def resnet50_v2(**kwargs: Any) -> Classifier:
    """Return ResNet-50, version 2; parameters as for `get_model`."""
    return get_resnet(2, 50, **kwargs)


def resnet101_v2(**kwargs: Any) -> Classifier:
    """Return ResNet-101, version 2; parameters as for `get_model`."""
    return get_resnet(2, 101, **kwargs)


def resnet152_v2(**kwargs: Any) -> Classifier:
    """Return ResNet-152, version 2; parameters as for `get_model`."""
    return get_resnet(2, 152, **kwargs)
