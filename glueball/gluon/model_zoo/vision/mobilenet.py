"""MobileNets.

Source: Howard et al., "MobileNets", 2017;
Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018.
"""

from __future__ import annotations

from typing import Any

from ....base.context import cpu
from ... import nn
from ...hybrid import HybridBlock
from .classifier import Classifier, finish

__all__ = [
    "MobileNet",
    "MobileNetV2",
    "mobilenet1_0",
    "mobilenet_v2_1_0",
    "mobilenet0_75",
    "mobilenet_v2_0_75",
    "mobilenet0_5",
    "mobilenet_v2_0_5",
    "mobilenet0_25",
    "mobilenet_v2_0_25",
    "get_mobilenet",
    "get_mobilenet_v2",
]

# (channels, stride) of each separable convolution of version 1
SEPARABLE = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)
# (expansion, channels, repetitions, stride of the first) of version 2
BOTTLENECKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class RELU6(HybridBlock):
    """The rectifier, cut at 6."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return ``min(max(x, 0), 6)``."""
        return F.clip(x, a_min=0, a_max=6, name="relu6")


def _add_conv(
    out: nn.HybridSequential,
    channels: int,
    kernel: int = 1,
    stride: int = 1,
    pad: int = 0,
    groups: int = 1,
    active: bool = True,
    relu6: bool = False,
) -> None:
    """Add convolution, norm, and activation if it is `active`."""
    out.add(nn.Conv2D(channels, kernel, stride, pad, groups=groups, use_bias=False), nn.BatchNorm(scale=True))
    if active:
        out.add(RELU6() if relu6 else nn.Activation("relu"))


class LinearBottleneck(HybridBlock):
    """Widen, convolve each channel, narrow without activation; plus the data where the shape stays.

    Parameters
    ----------
    in_channels, channels : int
        Channels of data and result.
    t : int
        By how much it is widened.
    stride : int
        Step of the middle convolution.
    """

    def __init__(self, in_channels: int, channels: int, t: int, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_shortcut = stride == 1 and in_channels == channels
        with self.name_scope():
            self.out = nn.HybridSequential(prefix="")
            _add_conv(self.out, in_channels * t, relu6=True)
            _add_conv(self.out, in_channels * t, kernel=3, stride=stride, pad=1, groups=in_channels * t, relu6=True)
            _add_conv(self.out, channels, active=False)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the narrowed result, plus the data."""
        out = self.out(x)
        return F.elemwise_add(out, x) if self.use_shortcut else out


class MobileNet(Classifier):
    """Separable convolutions: each channel apart, then 1×1 across channels.

    Parameters
    ----------
    multiplier : float
        Channels, relative to the full network.
    classes : int
        Number of classes.
    """

    def __init__(self, multiplier: float = 1.0, classes: int = 1000, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="")
            with self.features.name_scope():
                width = int(32 * multiplier)
                _add_conv(self.features, width, kernel=3, stride=2, pad=1)
                for channels, stride in SEPARABLE:
                    _add_conv(self.features, width, kernel=3, stride=stride, pad=1, groups=width)
                    width = int(channels * multiplier)
                    _add_conv(self.features, width)
                self.features.add(nn.GlobalAvgPool2D(), nn.Flatten())
            self.output = nn.Dense(classes)


class MobileNetV2(Classifier):
    """Linear bottlenecks with shortcuts between their narrow ends.

    Parameters
    ----------
    multiplier : float
        Channels, relative to the full network.
    classes : int
        Number of classes.
    """

    def __init__(self, multiplier: float = 1.0, classes: int = 1000, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.features = nn.HybridSequential(prefix="features_")
            with self.features.name_scope():
                width = int(32 * multiplier)
                _add_conv(self.features, width, kernel=3, stride=2, pad=1, relu6=True)
                for expansion, channels, count, stride in BOTTLENECKS:
                    for i in range(count):
                        narrow = int(channels * multiplier)
                        self.features.add(LinearBottleneck(width, narrow, expansion, stride if i == 0 else 1))
                        width = narrow
                _add_conv(self.features, int(1280 * multiplier) if multiplier > 1 else 1280, relu6=True)
                self.features.add(nn.GlobalAvgPool2D())
            self.output = nn.HybridSequential(prefix="output_")
            with self.output.name_scope():
                self.output.add(nn.Conv2D(classes, 1, use_bias=False, prefix="pred_"), nn.Flatten())


def _suffix(multiplier: float) -> str:
    """Return a multiplier as names write it: 1.0, 0.75, 0.5, 0.25."""
    text = f"{multiplier:.2f}"
    return text[:-1] if text.endswith("0") else text


def get_mobilenet(
    multiplier: float, pretrained: bool = False, ctx: Any = cpu(), root: str | None = None, **kwargs: Any
) -> MobileNet:
    """Return a MobileNet, version 1.

    Parameters
    ----------
    multiplier : float
        Channels, relative to the full network; trained parameters exist for 0.25, 0.5, 0.75 and 1.
    pretrained, ctx, root, classes
        As for `get_model`.
    """
    return finish(MobileNet(multiplier, **kwargs), f"mobilenet{_suffix(multiplier)}", pretrained, ctx, root)


def get_mobilenet_v2(
    multiplier: float, pretrained: bool = False, ctx: Any = cpu(), root: str | None = None, **kwargs: Any
) -> MobileNetV2:
    """Return a MobileNet, version 2; parameters as for `get_mobilenet`."""
    return finish(MobileNetV2(multiplier, **kwargs), f"mobilenetv2_{_suffix(multiplier)}", pretrained, ctx, root)


def mobilenet1_0(**kwargs: Any) -> MobileNet:
    """Return MobileNet; parameters as for `get_model`."""
    return get_mobilenet(1.0, **kwargs)


def mobilenet0_75(**kwargs: Any) -> MobileNet:
    """Return MobileNet with 3/4 of the channels; parameters as for `get_model`."""
    return get_mobilenet(0.75, **kwargs)


def mobilenet0_5(**kwargs: Any) -> MobileNet:
    """Return MobileNet with 1/2 of the channels; parameters as for `get_model`."""
    return get_mobilenet(0.5, **kwargs)


def mobilenet0_25(**kwargs: Any) -> MobileNet:
    """Return MobileNet with 1/4 of the channels; parameters as for `get_model`."""
    return get_mobilenet(0.25, **kwargs)


def mobilenet_v2_1_0(**kwargs: Any) -> MobileNetV2:
    """Return MobileNetV2; parameters as for `get_model`."""
    return get_mobilenet_v2(1.0, **kwargs)


def mobilenet_v2_0_75(**kwargs: Any) -> MobileNetV2:
    """Return MobileNetV2 with 3/4 of the channels; parameters as for `get_model`."""
    return get_mobilenet_v2(0.75, **kwargs)


def mobilenet_v2_0_5(**kwargs: Any) -> MobileNetV2:
    """Return MobileNetV2 with 1/2 of the channels; parameters as for `get_model`."""
    return get_mobilenet_v2(0.5, **kwargs)


def mobilenet_v2_0_25(**kwargs: Any) -> MobileNetV2:
    """Return MobileNetV2 with 1/4 of the channels; parameters as for `get_model`."""
    return get_mobilenet_v2(0.25, **kwargs)
