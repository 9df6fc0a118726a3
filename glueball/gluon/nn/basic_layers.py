"""The layers of everyday: `Dense`, `Dropout`, `Embedding`. (Containers and normalisations can be imported from here,
too.)

The one idea: everything that an operator needs is put into one dictionary by the constructor; a call passes it on and
computes nothing. Sizes that only the data know are 0 in a parameter's shape and are filled by the first call. Not here:
containers (containers.py), normalisations (normalization.py), convolutions and pooling (conv_layers.py).
"""

from __future__ import annotations

from typing import Any

from ...base.errors import ArgumentError, explain
from ..hybrid import HybridBlock
from .activations import Activation
from .containers import Flatten, HybridLambda, HybridSequential, Lambda, Sequential
from .normalization import BatchNorm, BatchNormReLU, GroupNorm, InstanceNorm, LayerNorm

__all__ = [
    "Sequential",
    "HybridSequential",
    "Dense",
    "Dropout",
    "Embedding",
    "BatchNorm",
    "BatchNormReLU",
    "InstanceNorm",
    "LayerNorm",
    "GroupNorm",
    "Flatten",
    "Lambda",
    "HybridLambda",
]


class Dense(HybridBlock):
    """Fully connected layer: out = activation(data · weightᵀ + bias).

    Parameters
    ----------
    units : int
        Size of the result.
    activation : str, optional
        A name that `Activation` knows; none by default.
    use_bias : bool
        Whether a bias is added.
    flatten : bool
        True: all axes of the data but the first are merged. False: only the last axis takes part.
    dtype : str
        Element type of the parameters.
    weight_initializer, bias_initializer : str or Initializer, optional
        How the parameters start. A weight without one follows `initialize()`.
    in_units : int
        Size of the data; 0: taken from the first call.

    Parameters learned: `weight` (units, in_units), `bias` (units,).
    Inputs and outputs: **data** (batch, ...) to **out** (batch, units), or with ``flatten=False`` (..., in_units) to
    (..., units).

    Raises
    ------
    ArgumentError
        `units` is not a positive number.

    Examples
    --------
    >>> from glueball import nd
    >>> layer = Dense(3, activation='relu')
    >>> layer
    Dense(None -> 3, Activation(relu))
    >>> layer.initialize()
    >>> layer(nd.ones((2, 5))).shape
    (2, 3)
    >>> layer
    Dense(5 -> 3, Activation(relu))
    """

    def __init__(
        self,
        units: int,
        activation: str | None = None,
        use_bias: bool = True,
        flatten: bool = True,
        dtype: Any = "float32",
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_units: int = 0,
        **kwargs: Any,
    ) -> None:
        if isinstance(units, str) or units < 1:
            raise ArgumentError(
                explain(
                    "Dense",
                    "The number of units must be positive.",
                    expected="units: int >= 1",
                    received=f"units={units!r}",
                )
            )
        super().__init__(**kwargs)
        self._units = units
        self._in_units = in_units
        self._flatten = flatten
        self._kwargs = {"num_hidden": units, "no_bias": not use_bias, "flatten": flatten, "name": "fwd"}
        with self.name_scope():
            self.weight = self.params.get(
                "weight", shape=(units, in_units), init=weight_initializer, dtype=dtype, allow_deferred_init=True
            )
            if use_bias:
                self.bias = self.params.get(
                    "bias", shape=(units,), init=bias_initializer, dtype=dtype, allow_deferred_init=True
                )
            else:
                self.bias = None
            self.act = None if activation is None else Activation(activation, prefix=f"{activation}_")

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        """Return ``act(x · weightᵀ + bias)``."""
        out = F.FullyConnected(x, weight, bias, **self._kwargs)
        return out if self.act is None else self.act(out)

    def __repr__(self) -> str:
        units, in_units = self.weight.shape or (self._units, 0)
        return f"{type(self).__name__}({in_units or None} -> {units}, {self.act or 'linear'})"


class Dropout(HybridBlock):
    """Set elements to zero at random while training, and divide the others by 1 - rate.

    Does nothing outside of train mode (`autograd.record()`, `autograd.train_mode()`).

    Parameters
    ----------
    rate : float
        Probability that an element is dropped, 0 to 1. With 0 the layer passes its input on.
    axes : tuple of int
        Axes along which one decision is shared; () decides for every element.

    Inputs and outputs: **data** of any shape; **out** of the same shape.

    Raises
    ------
    ArgumentError
        `rate` is not between 0 and 1.

    Source: Srivastava et al., "Dropout", 2014.

    Examples
    --------
    >>> from glueball import nd
    >>> Dropout(0.5)(nd.ones((3,))).asnumpy()
    array([1., 1., 1.], dtype=float32)
    """

    def __init__(self, rate: float, axes: tuple[int, ...] = (), **kwargs: Any) -> None:
        if isinstance(rate, str) or not 0 <= rate <= 1:
            raise ArgumentError(
                explain("Dropout", "The rate is a probability.", expected="0 <= rate <= 1", received=f"rate={rate!r}")
            )
        super().__init__(**kwargs)
        self._rate = rate
        self._axes = axes

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the data with elements dropped."""
        if self._rate > 0:
            return F.Dropout(x, p=self._rate, axes=self._axes, name="fwd", cudnn_off=False)
        return F.identity(x)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p = {self._rate}, axes={self._axes})"


class Embedding(HybridBlock):
    """Turn indices into vectors: row `data[i]` of the weight.

    Parameters
    ----------
    input_dim : int
        Number of rows (the size of a vocabulary). Indices beyond it are clipped.
    output_dim : int
        Length of a vector.
    dtype : str
        Element type of the weight.
    weight_initializer : str or Initializer, optional
        How the weight starts.
    sparse_grad : bool
        Whether the gradient holds only the rows that were used.

    Parameters learned: `weight` (input_dim, output_dim).
    Inputs and outputs: **data** of any shape (...) to **out** (..., output_dim).

    Raises
    ------
    ArgumentError
        `input_dim` or `output_dim` is not positive.

    Examples
    --------
    >>> from glueball import nd
    >>> layer = Embedding(10, 4)
    >>> layer.initialize()
    >>> layer(nd.array([[0, 9, 2]])).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        dtype: Any = "float32",
        weight_initializer: Any = None,
        sparse_grad: bool = False,
        **kwargs: Any,
    ) -> None:
        if input_dim < 1 or output_dim < 1:
            raise ArgumentError(
                explain(
                    "Embedding",
                    "Both sizes must be positive.",
                    expected="input_dim >= 1, output_dim >= 1",
                    received=f"input_dim={input_dim!r}, output_dim={output_dim!r}",
                )
            )
        super().__init__(**kwargs)
        self._input_dim = input_dim
        self._output_dim = output_dim
        self._kwargs = {"input_dim": input_dim, "output_dim": output_dim, "dtype": dtype, "sparse_grad": sparse_grad}
        with self.name_scope():
            self.weight = self.params.get(
                "weight",
                shape=(input_dim, output_dim),
                init=weight_initializer,
                dtype=dtype,
                allow_deferred_init=True,
                grad_stype="row_sparse" if sparse_grad else "default",
            )

    def hybrid_forward(self, F: Any, x: Any, weight: Any) -> Any:
        """Return ``weight[x]``."""
        return F.Embedding(x, weight, name="fwd", **self._kwargs)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self._kwargs['input_dim']} -> "
            f"{self._kwargs['output_dim']}, {self._kwargs['dtype']})"
        )
