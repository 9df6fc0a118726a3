"""The functions of `nd.random` and `sym.random`: `uniform`, `normal`, `gamma`, … with numbers or arrays as parameters.

The one idea: both namespaces are one class, told how to call an operator; number parameters go to `_random_*`, arrays
to `_sample_*`.
The operators themselves are in random_ops.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from ..base.errors import ArgumentError, explain
from .opdef import OpDef, lookup

__all__ = ["Distributions"]

Call = Callable[[OpDef, tuple[Any, ...], dict[str, Any], Any], Any]


@final
class Distributions:
    """The random functions of one namespace.

    Parameters
    ----------
    values : the class or classes of arrays and symbols
    call : ``call(op, inputs, attrs, out)`` runs or composes an operator

    All functions take ``shape`` (an int or tuple; one number when left out), ``dtype`` (float32), ``ctx`` and ``out``
    (an array that is filled, and whose shape and dtype count when these are not given).
    """

    def __init__(self, values: type | tuple[type, ...], call: Call) -> None:
        self._values = values
        self._call = call

    def _draw(
        self, name: str, parameters: dict[str, Any], shape: Any, dtype: Any, ctx: Any, out: Any, extra: dict[str, Any]
    ) -> Any:
        """Call `_random_<name>` or `_sample_<name>`, by what the parameters are."""
        arrays = [isinstance(v, self._values) for v in parameters.values()]
        attrs = {**extra, "shape": shape, "dtype": None if dtype == "None" else dtype}
        if out is not None:
            attrs["dtype"] = getattr(out, "dtype", None) if attrs["dtype"] is None else attrs["dtype"]
            attrs["shape"] = out.shape if shape is None and not all(arrays) else shape
            ctx = getattr(out, "context", None) if ctx is None else ctx
        attrs = {k: v for k, v in attrs.items() if v is not None}
        if ctx is not None and not any(arrays):
            attrs["ctx"] = ctx
        if all(arrays):
            return self._call(lookup(f"_sample_{name}"), tuple(parameters.values()), attrs, out)
        if any(arrays):
            kinds = ", ".join(f"{k}: {type(v).__name__}" for k, v in parameters.items())
            raise ArgumentError(
                explain(
                    f"random.{name}",
                    "Arrays and numbers are mixed.",
                    expected="all parameters numbers, or all arrays of one shape",
                    received=kinds,
                    fix="make an array of the number, for example with nd.full(other.shape, number)",
                )
            )
        return self._call(lookup(f"_random_{name}"), (), {**parameters, **attrs}, out)

    def uniform(
        self,
        low: Any = 0,
        high: Any = 1,
        shape: Any = None,
        dtype: Any = None,
        ctx: Any = None,
        out: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Draw uniformly from [low, high).

        >>> from glueball import nd
        >>> nd.random.uniform(0, 1, shape=(2, 3)).shape
        (2, 3)
        """
        return self._draw("uniform", {"low": low, "high": high}, shape, dtype, ctx, out, kwargs)

    def normal(
        self,
        loc: Any = 0,
        scale: Any = 1,
        shape: Any = None,
        dtype: Any = None,
        ctx: Any = None,
        out: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Draw from the normal distribution with mean `loc` and standard deviation `scale`.

        >>> from glueball import nd
        >>> nd.random.normal(nd.array([0, 10]), nd.array([1, 1]), shape=3).shape
        (2, 3)
        """
        return self._draw("normal", {"loc": loc, "scale": scale}, shape, dtype, ctx, out, kwargs)

    def randn(
        self,
        *shape: int,
        loc: Any = 0,
        scale: Any = 1,
        dtype: Any = None,
        ctx: Any = None,
        out: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Draw from the normal distribution; the sizes are positional arguments.

        >>> from glueball import nd
        >>> nd.random.randn(2, 3).shape
        (2, 3)
        """
        return self._draw("normal", {"loc": loc, "scale": scale}, shape or None, dtype, ctx, out, kwargs)

    def exponential(
        self, scale: Any = 1, shape: Any = None, dtype: Any = None, ctx: Any = None, out: Any = None, **kwargs: Any
    ) -> Any:
        """Draw from the exponential distribution with mean `scale`."""
        return self._draw("exponential", {"lam": 1.0 / scale}, shape, dtype, ctx, out, kwargs)

    def gamma(
        self,
        alpha: Any = 1,
        beta: Any = 1,
        shape: Any = None,
        dtype: Any = None,
        ctx: Any = None,
        out: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Draw from the gamma distribution with shape parameter `alpha` and scale `beta` (mean alpha * beta)."""
        return self._draw("gamma", {"alpha": alpha, "beta": beta}, shape, dtype, ctx, out, kwargs)

    def poisson(
        self, lam: Any = 1, shape: Any = None, dtype: Any = None, ctx: Any = None, out: Any = None, **kwargs: Any
    ) -> Any:
        """Draw from the Poisson distribution with mean `lam`."""
        return self._draw("poisson", {"lam": lam}, shape, dtype, ctx, out, kwargs)

    def negative_binomial(
        self,
        k: Any = 1,
        p: Any = 1,
        shape: Any = None,
        dtype: Any = None,
        ctx: Any = None,
        out: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Draw the number of failures before `k` successes, each trial a success with probability `p`."""
        return self._draw("negative_binomial", {"k": k, "p": p}, shape, dtype, ctx, out, kwargs)

    def generalized_negative_binomial(
        self,
        mu: Any = 1,
        alpha: Any = 1,
        shape: Any = None,
        dtype: Any = None,
        ctx: Any = None,
        out: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Draw from the negative binomial distribution with mean `mu` and variance mu + alpha * mu²."""
        return self._draw("generalized_negative_binomial", {"mu": mu, "alpha": alpha}, shape, dtype, ctx, out, kwargs)

    def multinomial(
        self, data: Any, shape: Any = None, get_prob: bool = False, out: Any = None, dtype: Any = "int32", **kwargs: Any
    ) -> Any:
        """Draw indices with the probabilities along the last axis of `data`; with `get_prob` also the logarithms of
        their probabilities.

        >>> from glueball import nd
        >>> nd.random.multinomial(nd.array([[0, 1], [1, 0]])).asnumpy().tolist()
        [1, 0]
        """
        attrs = {**kwargs, "get_prob": get_prob, "dtype": dtype}
        if shape is not None:
            attrs["shape"] = shape
        return self._call(lookup("_sample_multinomial"), (data,), attrs, out)

    def randint(
        self, low: int, high: int, shape: Any = None, dtype: Any = None, ctx: Any = None, out: Any = None, **kwargs: Any
    ) -> Any:
        """Draw integers from low, …, high - 1 (int32 unless `dtype` says otherwise).

        >>> from glueball import nd
        >>> int(nd.random.randint(3, 4).asscalar())
        3
        """
        return self._draw("randint", {"low": low, "high": high}, shape, dtype, ctx, out, kwargs)

    def shuffle(self, data: Any, out: Any = None, **kwargs: Any) -> Any:
        """Put the rows of `data` in random order; the data stay as they are."""
        return self._call(lookup("_shuffle"), (data,), kwargs, out)

    def _like(self, name: str, data: Any, attrs: dict[str, Any], out: Any) -> Any:
        return self._call(lookup(f"_random_{name}_like"), (data,), attrs, out)

    def uniform_like(self, data: Any, low: float = 0, high: float = 1, out: Any = None, **kwargs: Any) -> Any:
        """Draw uniformly from [low, high), in the shape and dtype of `data`."""
        return self._like("uniform", data, {"low": low, "high": high, **kwargs}, out)

    def normal_like(self, data: Any, loc: float = 0, scale: float = 1, out: Any = None, **kwargs: Any) -> Any:
        """Draw from the normal distribution, in the shape and dtype of `data`."""
        return self._like("normal", data, {"loc": loc, "scale": scale, **kwargs}, out)

    def exponential_like(self, data: Any, lam: float = 1, out: Any = None, **kwargs: Any) -> Any:
        """Draw from the exponential distribution with rate `lam`, in the shape and dtype of `data`."""
        return self._like("exponential", data, {"lam": lam, **kwargs}, out)

    def gamma_like(self, data: Any, alpha: float = 1, beta: float = 1, out: Any = None, **kwargs: Any) -> Any:
        """Draw from the gamma distribution, in the shape and dtype of `data`."""
        return self._like("gamma", data, {"alpha": alpha, "beta": beta, **kwargs}, out)

    def poisson_like(self, data: Any, lam: float = 1, out: Any = None, **kwargs: Any) -> Any:
        """Draw from the Poisson distribution, in the shape and dtype of `data`."""
        return self._like("poisson", data, {"lam": lam, **kwargs}, out)

    def negative_binomial_like(self, data: Any, k: float = 1, p: float = 1, out: Any = None, **kwargs: Any) -> Any:
        """Draw from the negative binomial distribution, in the shape and dtype of `data`."""
        return self._like("negative_binomial", data, {"k": k, "p": p, **kwargs}, out)

    def generalized_negative_binomial_like(
        self, data: Any, mu: float = 1, alpha: float = 1, out: Any = None, **kwargs: Any
    ) -> Any:
        """Draw from the negative binomial distribution given by mean and dispersion, in the shape and dtype of
        `data`."""
        return self._like("generalized_negative_binomial", data, {"mu": mu, "alpha": alpha, **kwargs}, out)
