"""Rarer layers: `Concurrent`, `HybridConcurrent`, `Identity`, `PixelShuffle1D/2D/3D`, `SparseEmbedding`,
`SyncBatchNorm`.

The one idea: what is only arrangement (branches, a shuffle of pixels) is written in the operators that every layer uses
and needs no parameters. Not here: the layers of everyday (gluon/nn).
"""

from __future__ import annotations

import math
from typing import Any

from .... import ndarray as nd
from ....base.errors import UnsupportedError, explain
from ...block import Block
from ...hybrid import HybridBlock
from ...nn import BatchNorm, HybridSequential, Sequential
from ...nn.pooling import sizes

__all__ = [
    "Concurrent",
    "HybridConcurrent",
    "Identity",
    "SparseEmbedding",
    "SyncBatchNorm",
    "PixelShuffle1D",
    "PixelShuffle2D",
    "PixelShuffle3D",
]


class Concurrent(Sequential):
    """Feed the same data to every child and join the results along an axis.

    Parameters
    ----------
    axis : int
        Axis along which results are joined.

    Examples
    --------
    >>> from glueball import nd
    >>> from glueball.gluon import nn
    >>> net = Concurrent(axis=1)
    >>> net.add(nn.Dense(3), nn.Dense(4))
    >>> net.initialize()
    >>> net(nd.ones((2, 5))).shape
    (2, 7)
    """

    def __init__(self, axis: int = -1, prefix: str | None = None, params: Any = None) -> None:
        super().__init__(prefix=prefix, params=params)
        self.axis = axis

    def forward(self, x: Any) -> Any:
        """Return the children's results, joined."""
        return nd.concat(*[block(x) for block in self._children.values()], dim=self.axis)


class HybridConcurrent(HybridSequential):
    """Feed the same data to every child and join the results along an axis; the children are hybrid blocks.

    Parameters
    ----------
    axis : int
        Axis along which results are joined.

    Examples
    --------
    >>> from glueball import nd
    >>> from glueball.gluon import nn
    >>> net = HybridConcurrent(axis=1)
    >>> net.add(Identity(), nn.Dense(4))
    >>> net.initialize()
    >>> net(nd.ones((2, 5))).shape
    (2, 9)
    """

    def __init__(self, axis: int = -1, prefix: str | None = None, params: Any = None) -> None:
        super().__init__(prefix=prefix, params=params)
        self.axis = axis

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the children's results, joined."""
        return F.concat(*[block(x) for block in self._children.values()], dim=self.axis)


class Identity(HybridBlock):
    """Return the data as they are; useful beside other branches and as a placeholder.

    Examples
    --------
    >>> from glueball import nd
    >>> Identity()(nd.ones((2,))).asnumpy()
    array([1., 1.], dtype=float32)
    """

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return ``x``."""
        return x


class SparseEmbedding(Block):
    """`gluon.nn.Embedding` whose gradient is meant to hold only the rows that were used.

    The weight and its gradient are kept in full: the name serves code that asks for it; the numbers are those of
    `Embedding`.

    Parameters
    ----------
    input_dim, output_dim : int
        Number of rows and length of a vector.
    dtype : str
        Element type of the weight.
    weight_initializer : str or Initializer, optional
        How the weight starts.

    Examples
    --------
    >>> from glueball import nd
    >>> layer = SparseEmbedding(10, 4)
    >>> layer.initialize()
    >>> layer(nd.array([0, 9])).shape
    (2, 4)
    """

    def __init__(
        self, input_dim: int, output_dim: int, dtype: Any = "float32", weight_initializer: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._kwargs = {"input_dim": input_dim, "output_dim": output_dim, "dtype": dtype, "sparse_grad": True}
        with self.name_scope():
            self.weight = self.params.get("weight", shape=(input_dim, output_dim), init=weight_initializer, dtype=dtype)

    def forward(self, x: Any) -> Any:
        """Return ``weight[x]``."""
        return nd.Embedding(
            x, self.weight.data(getattr(x, "context", None)), name="fwd", **self._kwargs
        )  # a NumPy array has no context

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self._kwargs['input_dim']} -> "
            f"{self._kwargs['output_dim']}, {self._kwargs['dtype']})"
        )


class SyncBatchNorm(BatchNorm):
    """`BatchNorm` under the name that code written for several devices uses.

    Devices of one process run one after another here, so mean and variance are those of the device's own part of the
    batch; asking for more than one device is refused rather than computed differently from what the name says.

    Parameters
    ----------
    in_channels : int
        Number of channels; 0: taken from the first call.
    num_devices : int, optional
        Only 1 (or None, which means it) is possible.
    momentum, epsilon, center, scale, use_global_stats, beta_initializer, gamma_initializer, running_mean_initializer, \
running_variance_initializer
        As for `BatchNorm`.

    Raises
    ------
    UnsupportedError
        `num_devices` is greater than 1.

    Examples
    --------
    >>> from glueball import nd
    >>> layer = SyncBatchNorm()
    >>> layer.initialize()
    >>> layer(nd.ones((2, 3))).shape
    (2, 3)
    """

    def __init__(
        self,
        in_channels: int = 0,
        num_devices: int | None = None,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        use_global_stats: bool = False,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        running_mean_initializer: Any = "zeros",
        running_variance_initializer: Any = "ones",
        **kwargs: Any,
    ) -> None:
        if num_devices is not None and num_devices > 1:
            raise UnsupportedError(
                explain(
                    "SyncBatchNorm",
                    "Statistics cannot be joined across the devices of one process, which run in turn.",
                    expected="num_devices=1",
                    received=f"num_devices={num_devices}",
                    fix="use nn.BatchNorm with a larger batch per device, or nn.GroupNorm",
                )
            )
        super().__init__(
            1,
            momentum,
            epsilon,
            center,
            scale,
            use_global_stats,
            beta_initializer,
            gamma_initializer,
            running_mean_initializer,
            running_variance_initializer,
            in_channels,
            **kwargs,
        )

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in self._kwargs.items() if key != "axis")
        channels = (self.gamma.shape or (0,))[0] or None
        return f"SyncBatchNorm({settings}, ndev=1, key={self.prefix!r}, in_channels={channels})"


class _PixelShuffle(HybridBlock):
    """What the three shuffles share: the factors. Each moves blocks of channels into space."""

    def __init__(self, factor: Any, n: int) -> None:
        super().__init__()
        self._factors = sizes(type(self).__name__, "factor", factor, n)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._factors})"


class PixelShuffle1D(_PixelShuffle):
    """Enlarge sequences by a factor, taking the new points from channels: (N, f·C, W) to (N, C, W·f).

    Parameters
    ----------
    factor : int or tuple of 1 int
        By how much.

    Examples
    --------
    >>> from glueball import nd
    >>> PixelShuffle1D(2)(nd.ones((1, 8, 3))).shape
    (1, 4, 6)
    """

    def __init__(self, factor: Any) -> None:
        super().__init__(factor, 1)
        self._factor = self._factors[0]

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the enlarged sequences."""
        x = F.reshape(x, shape=(0, -4, -1, self._factor, 0))
        x = F.transpose(x, axes=(0, 1, 3, 2))
        return F.reshape(x, shape=(0, 0, -3))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._factor})"


class PixelShuffle2D(_PixelShuffle):
    """Enlarge images by factors, taking the new pixels from channels: (N, f1·f2·C, H, W) to (N, C, H·f1, W·f2).

    Parameters
    ----------
    factor : int or tuple of 2 int
        By how much along height and width.

    Source: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
    Neural Network", 2016.

    Examples
    --------
    >>> from glueball import nd
    >>> PixelShuffle2D((2, 3))(nd.ones((1, 12, 3, 5))).shape
    (1, 2, 6, 15)
    """

    def __init__(self, factor: Any) -> None:
        super().__init__(factor, 2)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the enlarged images."""
        first, second = self._factors
        x = F.reshape(x, shape=(0, -4, -1, first * second, 0, 0))
        x = F.reshape(x, shape=(0, 0, -4, first, second, 0, 0))
        x = F.transpose(x, axes=(0, 1, 4, 2, 5, 3))
        return F.reshape(x, shape=(0, 0, -3, -3))


class PixelShuffle3D(_PixelShuffle):
    """Enlarge volumes by factors, taking the new points from channels: (N, f1·f2·f3·C, D, H, W) to (N, C, D·f1, H·f2,
    W·f3).

    Parameters
    ----------
    factor : int or tuple of 3 int
        By how much along depth, height and width.

    Examples
    --------
    >>> from glueball import nd
    >>> PixelShuffle3D((2, 3, 4))(nd.ones((1, 48, 3, 5, 7))).shape
    (1, 2, 6, 15, 28)
    """

    def __init__(self, factor: Any) -> None:
        super().__init__(factor, 3)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the enlarged volumes; one factor after the other moves behind its axis."""
        first, second, third = self._factors
        x = F.reshape(x, shape=(0, -4, -1, math.prod(self._factors), 0, 0, 0))
        x = F.swapaxes(x, dim1=2, dim2=3)
        x = F.reshape(x, shape=(0, 0, 0, -4, first, second * third, 0, 0))
        x = F.reshape(x, shape=(0, 0, -3, 0, 0, 0))
        x = F.swapaxes(x, dim1=3, dim2=4)
        x = F.reshape(x, shape=(0, 0, 0, 0, -4, second, third, 0))
        x = F.reshape(x, shape=(0, 0, 0, -3, 0, 0))
        x = F.swapaxes(x, dim1=4, dim2=5)
        return F.reshape(x, shape=(0, 0, 0, 0, -3))
