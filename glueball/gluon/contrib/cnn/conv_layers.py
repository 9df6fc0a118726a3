"""`DeformableConvolution` and `ModulatedDeformableConvolution`.

The one idea: an ordinary convolution (started at zero) computes from the data where each point of the kernel looks, and
in the modulated form how much it counts; an operator then samples there. Not here: convolutions with fixed points
(gluon/nn/conv_layers.py).
"""

from __future__ import annotations

from typing import Any

from ....base.errors import ArgumentError, explain
from ...hybrid import HybridBlock
from ...nn import Activation
from ...nn.pooling import sizes

__all__ = ["DeformableConvolution", "ModulatedDeformableConvolution"]


class DeformableConvolution(HybridBlock):
    """Convolve images with kernels whose points are moved by offsets that a second convolution computes.

    Parameters
    ----------
    channels : int
        Number of channels of the result.
    kernel_size, strides, padding, dilation : int or tuple of 2 int
        As for `gluon.nn.Conv2D`.
    groups : int
        Number of groups of channels that are convolved apart.
    num_deformable_group : int
        Number of groups of channels that move apart.
    layout : {'NCHW'}
    use_bias : bool
        Whether a bias is added.
    in_channels : int
        Number of channels of the data; 0: taken from the first call.
    activation : str, optional
        A name that `Activation` knows; none by default.
    weight_initializer, bias_initializer, offset_weight_initializer, offset_bias_initializer : str or Initializer
        How the parameters start.
    offset_use_bias : bool
        Whether the offsets have a bias.
    op_name, adj
        Kept for the signature.

    Parameters learned: `deformable_conv_weight` (channels, in_channels / groups, *kernel_size), `deformable_conv_bias`
    (channels,), `offset_weight` (2 · num_deformable_group · kernel points, in_channels, *kernel_size), `offset_bias`.
    Inputs and outputs: **data** (N, C, H, W) to **out** (N, channels, H', W'), sizes as for `gluon.nn.Conv2D`.

    Raises
    ------
    ArgumentError
        A size has the wrong number of dimensions, or the layout is unknown.

    Source: Dai et al., "Deformable Convolutional Networks", 2017.

    Examples
    --------
    >>> from glueball import nd
    >>> layer = DeformableConvolution(4, 3, padding=1)
    >>> layer.initialize()
    >>> layer(nd.ones((2, 3, 5, 5))).shape
    (2, 4, 5, 5)
    """

    _per_point = 2  # numbers that the second convolution gives for each point of the kernel: row and column

    def __init__(
        self,
        channels: int,
        kernel_size: Any = (1, 1),
        strides: Any = (1, 1),
        padding: Any = (0, 0),
        dilation: Any = (1, 1),
        groups: int = 1,
        num_deformable_group: int = 1,
        layout: str = "NCHW",
        use_bias: bool = True,
        in_channels: int = 0,
        activation: str | None = None,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        offset_weight_initializer: Any = "zeros",
        offset_bias_initializer: Any = "zeros",
        offset_use_bias: bool = True,
        op_name: str | None = None,
        adj: Any = None,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(prefix=prefix, params=params)
        owner = type(self).__name__
        if layout != "NCHW":
            raise ArgumentError(
                explain(owner, "The layout does not fit.", expected="NCHW", received=f"layout={layout!r}")
            )
        kernel = sizes(owner, "kernel_size", kernel_size, 2)
        self._channels, self._in_channels = channels, in_channels
        self._points = num_deformable_group * kernel[0] * kernel[1]
        offsets = self._per_point * self._points
        both: dict[str, Any] = {
            "kernel": kernel,
            "stride": sizes(owner, "strides", strides, 2),
            "dilate": sizes(owner, "dilation", dilation, 2),
            "pad": sizes(owner, "padding", padding, 2),
            "layout": layout,
        }
        self._kwargs_offset = {**both, "num_filter": offsets, "num_group": groups, "no_bias": not offset_use_bias}
        self._kwargs_deformable_conv: dict[str, Any] = {
            **both,
            "num_filter": channels,
            "num_group": groups,
            "no_bias": not use_bias,
            "num_deformable_group": num_deformable_group,
        }
        inner = in_channels // groups
        with self.name_scope():
            self._learn("offset_weight", (offsets, inner, *kernel), offset_weight_initializer)
            self._learn("offset_bias", (offsets,), offset_bias_initializer, offset_use_bias)
            self._learn("deformable_conv_weight", (channels, inner, *kernel), weight_initializer)
            self._learn("deformable_conv_bias", (channels,), bias_initializer, use_bias)
            self.act = None if activation is None else Activation(activation, prefix=f"{activation}_")

    def _learn(self, name: str, shape: tuple[int, ...], init: Any, wanted: bool = True) -> None:
        """Make a parameter and the attribute of its name; None when it is not wanted."""
        setattr(self, name, self.params.get(name, shape=shape, init=init, allow_deferred_init=True) if wanted else None)

    def _alias(self) -> str:
        return "deformable_conv"

    def hybrid_forward(
        self,
        F: Any,
        x: Any,
        offset_weight: Any,
        deformable_conv_weight: Any,
        offset_bias: Any = None,
        deformable_conv_bias: Any = None,
    ) -> Any:
        """Return the convolution at the moved points."""
        offset = F.Convolution(x, offset_weight, offset_bias, cudnn_off=True, **self._kwargs_offset)
        out = self._sample(F, x, offset, deformable_conv_weight, deformable_conv_bias)
        return out if self.act is None else self.act(out)

    def _sample(self, F: Any, x: Any, offset: Any, weight: Any, bias: Any) -> Any:
        return F.contrib.DeformableConvolution(x, offset, weight, bias, name="fwd", **self._kwargs_deformable_conv)

    def __repr__(self) -> str:
        options, shape = self._kwargs_deformable_conv, self._reg_params["deformable_conv_weight"].shape or (0, 0)
        parts = [
            f"{type(self).__name__}({shape[1] or None} -> {shape[0]}",
            f"kernel_size={options['kernel']}",
            f"stride={options['stride']}",
        ]
        if any(options["pad"]):
            parts.append(f"padding={options['pad']}")
        if any(size != 1 for size in options["dilate"]):
            parts.append(f"dilation={options['dilate']}")
        if options["num_group"] != 1:
            parts.append(f"groups={options['num_group']}")
        if options["no_bias"]:
            parts.append("bias=False")
        if self.act is not None:
            parts.append(str(self.act))
        return ", ".join(parts) + ")"


class ModulatedDeformableConvolution(DeformableConvolution):
    """`DeformableConvolution` that also computes how much each point of the kernel counts, from 0 to 2.

    Parameters, inputs and outputs are those of `DeformableConvolution`; the offsets' convolution has 3 instead of 2
    numbers for each point.

    Source: Zhu et al., "Deformable ConvNets v2: More Deformable, Better Results", 2018.

    Examples
    --------
    >>> from glueball import nd
    >>> layer = ModulatedDeformableConvolution(4, 3, padding=1)
    >>> layer.initialize()
    >>> layer(nd.ones((2, 3, 5, 5))).shape
    (2, 4, 5, 5)
    """

    _per_point = 3

    def _alias(self) -> str:
        return "modulated_deformable_conv"

    def _sample(self, F: Any, x: Any, offset: Any, weight: Any, bias: Any) -> Any:
        where = F.slice_axis(offset, axis=1, begin=0, end=2 * self._points)
        much = F.sigmoid(F.slice_axis(offset, axis=1, begin=2 * self._points, end=None)) * 2
        return F.contrib.ModulatedDeformableConvolution(
            x, where, much, weight, bias, name="fwd", **self._kwargs_deformable_conv
        )
