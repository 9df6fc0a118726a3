"""Convolutions and transposed convolutions in one, two and three dimensions.

The one idea: all six layers are `_Conv`, told the number of space dimensions and the operator; it completes and checks
the sizes once and keeps the operator's keywords in one dictionary. Pooling and padding are in pooling.py (and can be
imported from here).
"""

from __future__ import annotations

from typing import Any, TypeVar

from ...base.errors import ArgumentError, explain
from ..hybrid import HybridBlock
from .activations import Activation
from .pooling import (
    AvgPool1D,
    AvgPool2D,
    AvgPool3D,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    GlobalAvgPool3D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    GlobalMaxPool3D,
    MaxPool1D,
    MaxPool2D,
    MaxPool3D,
    ReflectionPad2D,
    sizes,
)

__all__ = [
    "Conv1D",
    "Conv2D",
    "Conv3D",
    "Conv1DTranspose",
    "Conv2DTranspose",
    "Conv3DTranspose",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPool3D",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalAvgPool3D",
    "ReflectionPad2D",
]

LAYOUTS = {1: ("NCW",), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}  # by the number of space dimensions


def _check(owner: str, n: int, layout: str, channels: int, in_channels: int, groups: int) -> None:
    """Refuse an unknown layout, and channels that groups do not divide."""
    if layout not in LAYOUTS[n]:
        known = " or ".join(LAYOUTS[n])
        raise ArgumentError(explain(owner, "The layout does not fit.", expected=known, received=f"layout={layout!r}"))
    for what, count in (("channels", channels), ("in_channels", in_channels)):
        if count < 0 or count % groups or (what == "channels" and not count):
            problem = f"{what} must be a positive multiple of groups."
            raise ArgumentError(
                explain(owner, problem, expected=f"a multiple of {groups}", received=f"{what}={count}, groups={groups}")
            )


class _Conv(HybridBlock):
    """What all convolutions share. `_dimensions` and `_op_name` are set by each class."""

    _dimensions = 2

    def __init__(
        self,
        channels: int,
        kernel_size: Any,
        strides: Any,
        padding: Any,
        dilation: Any,
        groups: int,
        layout: str,
        in_channels: int = 0,
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        adj: Any = None,
        op_name: str = "Convolution",
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(prefix=prefix, params=params)
        owner, n = type(self).__name__, self._dimensions
        _check(owner, n, layout, channels, in_channels, groups)
        kernel = sizes(owner, "kernel_size", kernel_size, n)
        self._channels = channels
        self._in_channels = in_channels
        self._op_name = op_name
        self._kwargs: dict[str, Any] = {
            "kernel": kernel,
            "stride": sizes(owner, "strides", strides, n),
            "dilate": sizes(owner, "dilation", dilation, n),
            "pad": sizes(owner, "padding", padding, n),
            "num_filter": channels,
            "num_group": groups,
            "no_bias": not use_bias,
            "layout": layout,
        }
        if adj is not None:
            self._kwargs["adj"] = sizes(owner, "output_padding", adj, n)
        with self.name_scope():
            self.weight = self.params.get(
                "weight", shape=self._weight_shape(kernel), init=weight_initializer, allow_deferred_init=True
            )
            if use_bias:
                self.bias = self.params.get("bias", shape=(channels,), init=bias_initializer, allow_deferred_init=True)
            else:
                self.bias = None
            self.act = None if activation is None else Activation(activation, prefix=f"{activation}_")

    def _weight_shape(self, kernel: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the weight: output channels (for Deconvolution the data's), then the rest as in the layout."""
        groups = self._kwargs["num_group"]
        if self._op_name == "Deconvolution":
            first, second = self._in_channels, self._channels // groups
        else:
            first, second = self._channels, self._in_channels // groups
        return (first, second, *kernel) if self._kwargs["layout"][1] == "C" else (first, *kernel, second)

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        """Return ``act(convolution(x, weight) + bias)``."""
        out = getattr(F, self._op_name)(x, weight, bias, name="fwd", **self._kwargs)
        return out if self.act is None else self.act(out)

    def _alias(self) -> str:
        return "conv"

    def __repr__(self) -> str:
        options, shape = self._kwargs, self.weight.shape or (0, 0)
        parts = [
            f"{type(self).__name__}({shape[1] or None if self._op_name == 'Convolution' else shape[1]} -> {shape[0]}",
            f"kernel_size={options['kernel']}",
            f"stride={options['stride']}",
        ]
        if any(options["pad"]):
            parts.append(f"padding={options['pad']}")
        if any(size != 1 for size in options["dilate"]):
            parts.append(f"dilation={options['dilate']}")
        if options["num_group"] != 1:
            parts.append(f"groups={options['num_group']}")
        if self.bias is None:
            parts.append("bias=False")
        if self.act is not None:
            parts.append(str(self.act))
        return ", ".join(parts) + ")"


_CONVOLUTION = """{what}

    Parameters
    ----------
    channels : int
        Number of channels of the result.
    kernel_size, strides, padding, dilation : int or tuple of {n} int
        Size of the kernel, step between two windows, zeros around the data, step between two points of the kernel; per
        space dimension.
    groups : int
        Number of groups of channels that are convolved apart; channels and in_channels must be multiples of it.
    layout : {layouts}
        Order of the axes of the data: batch N, channel C, then space.
    activation : str, optional
        A name that `Activation` knows; none by default.
    use_bias : bool
        Whether a bias is added.
    weight_initializer, bias_initializer : str or Initializer, optional
        How the parameters start.
    in_channels : int
        Number of channels of the data; 0: taken from the first call.

    Parameters learned: `weight` (channels, in_channels / groups, *kernel_size), `bias` (channels,).
    Inputs and outputs: **data** ({data}) to **out** of the same layout, whose space sizes are
    floor((size + 2·padding - dilation·(kernel - 1) - 1) / stride) + 1.

    Raises
    ------
    ArgumentError
        A size has the wrong number of dimensions, the layout is unknown, or channels are not a multiple of groups.

    Examples
    --------
    >>> from glueball import nd
    >>> layer = {name}(4, 3, padding=1)
    >>> layer.initialize()
    >>> layer(nd.ones((2, 3{space}))).shape
    (2, 4{space})
    """

_TRANSPOSED = """{what}

    The gradient of a convolution with respect to its data, as a layer of its own: it enlarges where the convolution
    shrinks.

    Parameters
    ----------
    channels : int
        Number of channels of the result.
    kernel_size, strides, padding, dilation : int or tuple of {n} int
        Those of the convolution that is turned around.
    output_padding : int or tuple of {n} int
        Rows added on one side of the result; less than the stride.
    groups, layout, activation, use_bias, weight_initializer, bias_initializer, in_channels
        As for `Conv{n}D`.

    Parameters learned: `weight` (in_channels, channels / groups, *kernel_size), `bias` (channels,).
    Inputs and outputs: **data** ({data}) to **out** of the same layout, whose space sizes are
    (size - 1)·stride - 2·padding + dilation·(kernel - 1) + output_padding + 1.

    Raises
    ------
    ArgumentError
        A size has the wrong number of dimensions, the layout is unknown, or channels are not a multiple of groups.

    Examples
    --------
    >>> from glueball import nd
    >>> layer = {name}(4, 2, strides=2)
    >>> layer.initialize()
    >>> layer(nd.ones((2, 3{space}))).shape
    (2, 4{twice})
    """


Layer = TypeVar("Layer", bound=_Conv)


def _documented(cls: type[Layer]) -> type[Layer]:
    """Write a class's docstring from the text that all dimensions share, so that each fact stands in one place."""
    n = cls._dimensions
    text = _TRANSPOSED if cls.__name__.endswith("Transpose") else _CONVOLUTION
    cls.__doc__ = text.format(
        what=cls.__doc__,
        n=n,
        name=cls.__name__,
        data=", ".join(LAYOUTS[n][0]),
        space=", 4" * n,
        twice=", 8" * n,
        layouts="{" + ", ".join(map(repr, LAYOUTS[n])) + "}",
    )
    return cls


@_documented
class Conv1D(_Conv):
    """Convolve sequences, for example over time."""

    _dimensions = 1

    def __init__(
        self,
        channels: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        layout: str = "NCW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            channels,
            kernel_size,
            strides,
            padding,
            dilation,
            groups,
            layout,
            in_channels,
            activation,
            use_bias,
            weight_initializer,
            bias_initializer,
            **kwargs,
        )


@_documented
class Conv2D(_Conv):
    """Convolve images."""

    def __init__(
        self,
        channels: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: Any = (0, 0),
        dilation: Any = (1, 1),
        groups: int = 1,
        layout: str = "NCHW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            channels,
            kernel_size,
            strides,
            padding,
            dilation,
            groups,
            layout,
            in_channels,
            activation,
            use_bias,
            weight_initializer,
            bias_initializer,
            **kwargs,
        )


@_documented
class Conv3D(_Conv):
    """Convolve volumes or films."""

    _dimensions = 3

    def __init__(
        self,
        channels: int,
        kernel_size: Any,
        strides: Any = (1, 1, 1),
        padding: Any = (0, 0, 0),
        dilation: Any = (1, 1, 1),
        groups: int = 1,
        layout: str = "NCDHW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            channels,
            kernel_size,
            strides,
            padding,
            dilation,
            groups,
            layout,
            in_channels,
            activation,
            use_bias,
            weight_initializer,
            bias_initializer,
            **kwargs,
        )


@_documented
class Conv1DTranspose(_Conv):
    """Convolve sequences the other way round."""

    _dimensions = 1

    def __init__(
        self,
        channels: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        layout: str = "NCW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            channels,
            kernel_size,
            strides,
            padding,
            dilation,
            groups,
            layout,
            in_channels,
            activation,
            use_bias,
            weight_initializer,
            bias_initializer,
            adj=output_padding,
            op_name="Deconvolution",
            **kwargs,
        )


@_documented
class Conv2DTranspose(_Conv):
    """Convolve images the other way round."""

    def __init__(
        self,
        channels: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: Any = (0, 0),
        output_padding: Any = (0, 0),
        dilation: Any = (1, 1),
        groups: int = 1,
        layout: str = "NCHW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            channels,
            kernel_size,
            strides,
            padding,
            dilation,
            groups,
            layout,
            in_channels,
            activation,
            use_bias,
            weight_initializer,
            bias_initializer,
            adj=output_padding,
            op_name="Deconvolution",
            **kwargs,
        )


@_documented
class Conv3DTranspose(_Conv):
    """Convolve volumes the other way round."""

    _dimensions = 3

    def __init__(
        self,
        channels: int,
        kernel_size: Any,
        strides: Any = (1, 1, 1),
        padding: Any = (0, 0, 0),
        output_padding: Any = (0, 0, 0),
        dilation: Any = (1, 1, 1),
        groups: int = 1,
        layout: str = "NCDHW",
        activation: str | None = None,
        use_bias: bool = True,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            channels,
            kernel_size,
            strides,
            padding,
            dilation,
            groups,
            layout,
            in_channels,
            activation,
            use_bias,
            weight_initializer,
            bias_initializer,
            adj=output_padding,
            op_name="Deconvolution",
            **kwargs,
        )
