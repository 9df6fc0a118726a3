"""Activation layers: `Activation` by name, and those with a parameter or a constant of their own.

The one idea: a layer only keeps its constants; the mathematics is one operator (`Activation`, `LeakyReLU`), so the
eager call, the traced graph and an exported file all show the same node. Not here: the operators (ops/), layers that
hold other layers (basic_layers.py).
"""

from __future__ import annotations

from typing import Any

from ...base.errors import ArgumentError, explain
from ...base.registry import closest
from ...initializer import Constant, Initializer
from ..hybrid import HybridBlock

__all__ = ["Activation", "LeakyReLU", "PReLU", "ELU", "SELU", "Swish", "GELU"]

ACTIVATIONS = ("relu", "sigmoid", "tanh", "softrelu", "softsign")


class Activation(HybridBlock):
    """Apply an activation function element by element.

    Parameters
    ----------
    activation : {'relu', 'sigmoid', 'tanh', 'softrelu', 'softsign'}
        softrelu is log(1 + exp(x)), softsign is x / (1 + |x|).

    Inputs and outputs: **data** of any shape; **out** of the same shape.

    Raises
    ------
    ArgumentError
        The name is not one of these.

    Examples
    --------
    >>> from glueball import nd
    >>> Activation('relu')(nd.array([-1, 2])).asnumpy()
    array([0., 2.], dtype=float32)
    """

    def __init__(self, activation: str, **kwargs: Any) -> None:
        if activation not in ACTIVATIONS:
            raise ArgumentError(
                explain(
                    "Activation",
                    "There is no activation of this name.",
                    expected=", ".join(ACTIVATIONS),
                    received=repr(activation),
                    fix=f"{closest(str(activation), list(ACTIVATIONS))} For leaky, prelu, elu, selu, gelu and swish "
                    "there are layers of their own.",
                )
            )
        self._act_type = activation
        super().__init__(**kwargs)

    def _alias(self) -> str:
        return self._act_type

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return ``f(x)``."""
        return F.Activation(x, act_type=self._act_type, name="fwd")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._act_type})"


class LeakyReLU(HybridBlock):
    """Leaky rectifier: x for x > 0, else alpha · x.

    Parameters
    ----------
    alpha : float
        Slope of the negative part, at least 0.

    Inputs and outputs: **data** of any shape; **out** of the same shape.

    Raises
    ------
    ArgumentError
        `alpha` is negative.

    Examples
    --------
    >>> from glueball import nd
    >>> LeakyReLU(0.5)(nd.array([-1, 2])).asnumpy()
    array([-0.5,  2. ], dtype=float32)
    """

    def __init__(self, alpha: float, **kwargs: Any) -> None:
        if alpha < 0:
            raise ArgumentError(
                explain("LeakyReLU", "The slope must not be negative.", expected="alpha >= 0", received=alpha)
            )
        super().__init__(**kwargs)
        self._alpha = alpha

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return ``max(x, 0) + alpha * min(x, 0)``."""
        return F.LeakyReLU(x, act_type="leaky", slope=self._alpha, name="fwd")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._alpha})"


class PReLU(HybridBlock):
    """Leaky rectifier whose slope is learned.

    Parameters
    ----------
    alpha_initializer : Initializer
        How the slopes start; 0.25 by default.
    in_channels : int
        1: one slope for all; otherwise one for each channel (axis 1).

    Parameters learned: `alpha` (in_channels,). Inputs and outputs: **data** (batch, channel, ...); **out** of the same
    shape.

    Source: He et al., "Delving Deep into Rectifiers", 2015, section 2.1.

    Examples
    --------
    >>> from glueball import nd
    >>> layer = PReLU()
    >>> layer.initialize()
    >>> layer(nd.array([[-1, 2]])).asnumpy()
    array([[-0.25,  2.  ]], dtype=float32)
    """

    def __init__(
        self, alpha_initializer: Initializer | str = Constant(0.25), in_channels: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.alpha = self.params.get("alpha", shape=(in_channels,), init=alpha_initializer)

    def hybrid_forward(self, F: Any, x: Any, alpha: Any) -> Any:
        """Return ``max(x, 0) + alpha * min(x, 0)``."""
        return F.LeakyReLU(x, gamma=alpha, act_type="prelu", name="fwd")


class ELU(HybridBlock):
    """Exponential linear unit: x for x > 0, else alpha · (exp(x) - 1).

    Source: Clevert, Unterthiner, Hochreiter, "Fast and Accurate Deep Network Learning by Exponential Linear Units",
    2016.

    Parameters
    ----------
    alpha : float
        The value that the negative part tends to, with its sign turned.

    Examples
    --------
    >>> from glueball import nd
    >>> ELU()(nd.array([-1000, 2])).asnumpy()
    array([-1.,  2.], dtype=float32)
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._alpha = alpha

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return ``max(x, 0) + alpha * (exp(min(x, 0)) - 1)``."""
        return F.LeakyReLU(x, act_type="elu", slope=self._alpha)


class SELU(HybridBlock):
    """Scaled exponential linear unit; keeps zero mean and unit variance from layer to layer.

    Source: Klambauer et al., "Self-Normalizing Neural Networks", 2017.

    Examples
    --------
    >>> from glueball import nd
    >>> SELU()(nd.array([0, 1])).asnumpy()
    array([0.      , 1.050701], dtype=float32)
    """

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return ``1.0507 * elu(x, alpha=1.6733)``."""
        return F.LeakyReLU(x, act_type="selu", name="fwd")


class GELU(HybridBlock):
    """Gaussian error linear unit: x · Φ(x), Φ the distribution function of the standard normal (exact, by erf).

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.

    Examples
    --------
    >>> from glueball import nd
    >>> GELU()(nd.array([0, 1])).asnumpy().round(4)
    array([0.    , 0.8413], dtype=float32)
    """

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return ``x * (1 + erf(x / sqrt(2))) / 2``."""
        return F.LeakyReLU(x, act_type="gelu", name="fwd")


class Swish(HybridBlock):
    """Swish, also called SiLU: x · sigmoid(beta · x).

    Parameters
    ----------
    beta : float
        Steepness of the gate.

    Source: Ramachandran, Zoph, Le, "Searching for Activation Functions", 2017.

    Examples
    --------
    >>> from glueball import nd
    >>> Swish()(nd.array([0, 1])).asnumpy().round(4)
    array([0.    , 0.7311], dtype=float32)
    """

    def __init__(self, beta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._beta = beta

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return ``x * sigmoid(beta * x)``."""
        return x * F.sigmoid(x * self._beta, name="fwd")
