"""Random numbers: `_random_*` (number parameters), `_sample_*` (array parameters), `_random_*_like`, multinomial
draws and shuffling.

The one idea: a family of distributions is one function `draw(parameters, shape)`; the three operators of each
(`_random_`, `_sample_`, `_random_..._like`) differ only in where parameters and shape come from. All kernels draw
from torch's default generator of the device, in the order in which they run, so that eager, traced and compiled
programs see the same numbers; `mx.random.seed` seeds it.

Not here: the friendly functions `nd.random.*` (ndarray/random.py), the seed (random.py), Dropout (nn families),
random images (image_ops.py), densities (random_pdf.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch

from ..base import aten
from ..base.context import current_context
from ..base.errors import ArgumentError, explain
from .attributes import DType, Shape
from .opdef import REQUIRED, Grad, OpDef, Tensor, TensorType, Value, operator, unsupported
from .rules.check import A, Check, S, check
from .rules.infer import InferRule, same_shape

_NO_INPUT = unsupported("it draws random numbers and has no input that a gradient could flow to")
RANDOM = "random numbers: the law checks their mean and spread"


@final
class _Drawn(InferRule):
    """The result has the shape and dtype of the attributes, after the shape of the parameters where these are
    arrays."""

    def forward(
        self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], training: bool
    ) -> list[TensorType]:
        dtype = attrs["dtype"] or torch.float32
        if not ins:
            return [TensorType(attrs["shape"] or (1,), dtype)]
        shape = tuple(ins[0].shape or ())
        return [TensorType(shape + tuple(attrs["shape"] or ()), dtype)]


drawn = _Drawn()


def no_gradient(c: Grad) -> Value:
    """The gradient rule of draws: nothing flows through them to their parameters."""
    return (None,) * len(c.ins)


def require(condition: bool, where: str, expected: str, **received: Any) -> None:
    """Refuse a parameter outside the distribution's domain."""
    if not condition:
        raise ArgumentError(
            explain(
                where,
                "The distribution has no such parameter.",
                expected=expected,
                received=", ".join(f"{k}={v}" for k, v in received.items()),
            )
        )


# ---- the distributions: tensors or numbers in, `like` gives shape, dtype and device
def _uniform(like: Tensor, low: Any, high: Any) -> Tensor:
    if isinstance(low, Tensor):
        return torch.rand_like(like).mul_(high - low).add_(low)
    return like.uniform_(min(low, high), max(low, high))


def _normal(like: Tensor, loc: Any, scale: Any) -> Tensor:
    if isinstance(loc, Tensor):
        return torch.randn_like(like).mul_(scale).add_(loc)
    return like.normal_(loc, scale)


def _exponential(like: Tensor, lam: Any) -> Tensor:
    return like.exponential_(1.0).div_(lam)


def _expanded(like: Tensor, value: Any) -> Tensor:
    """A parameter as a float tensor in the shape of the result."""
    kind = like.dtype if like.dtype in (torch.float32, torch.float64) else torch.float32
    if isinstance(value, Tensor):
        return value.to(kind).expand(like.shape)
    return torch.full_like(like, value, dtype=kind)


def _gamma(like: Tensor, alpha: Any, beta: Any) -> Tensor:
    return aten.standard_gamma(_expanded(like, alpha)).mul_(beta).to(like.dtype)


def _poisson(like: Tensor, lam: Any) -> Tensor:
    return torch.poisson(_expanded(like, lam)).to(like.dtype)


def _negative_binomial(like: Tensor, k: Any, p: Any) -> Tensor:
    rate = aten.standard_gamma(_expanded(like, k)).mul_((1.0 - p) / p)
    return torch.poisson(rate).to(like.dtype)


def _generalized_negative_binomial(like: Tensor, mu: Any, alpha: Any) -> Tensor:
    mean, spread = _expanded(like, mu), _expanded(like, alpha)
    tiny = torch.finfo(mean.dtype).tiny
    rate = aten.standard_gamma(1.0 / spread.clamp_min(1e-6)).mul_(spread * mean).clamp_min_(tiny)
    return torch.poisson(torch.where(spread > 1e-6, rate, mean)).to(like.dtype)  # no spread: Poisson itself


def _empty(shape: Sequence[int] | None, dtype: torch.dtype | None) -> Tensor:
    """A tensor to be filled, on the current context's device."""
    return torch.empty(tuple(shape) if shape else (1,), dtype=dtype or torch.float32, device=current_context().check())


def _sampled(
    draw: Callable[..., Tensor], shape: Sequence[int] | None, dtype: torch.dtype | None, *parameters: Tensor
) -> Tensor:
    """Draw `shape` numbers for each element of the parameter arrays."""
    where = f"_sample{draw.__name__}"
    if any(p.shape != parameters[0].shape for p in parameters):
        raise ArgumentError(
            explain(
                where,
                "The parameter arrays differ in shape.",
                expected="equal shapes",
                received=", ".join(str(tuple(p.shape)) for p in parameters),
            )
        )
    extra = tuple(shape or ())
    like = torch.empty(tuple(parameters[0].shape) + extra, dtype=dtype or torch.float32, device=parameters[0].device)
    kind = like.dtype if like.dtype in (torch.float32, torch.float64) else torch.float32
    wide = [p.detach().to(kind).reshape(tuple(p.shape) + (1,) * len(extra)) for p in parameters]
    return draw(like, *wide)


# ---- checks
def _moments(mean: Callable[..., Any], spread: Callable[..., Any]) -> Callable[..., bool]:
    """Build a law: mean and standard deviation of the draws lie within six standard errors of what the distribution
    has.

    Both functions take attributes (or parameter arrays, which stand before the drawn axes) by position and name.
    """

    def law(inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> bool:
        given = {k: v for k, v in attrs.items() if k not in ("shape", "dtype", "ctx")}
        drawn_numbers = np.asarray(outputs[0], dtype=np.float64)
        if drawn_numbers.size < 100:
            return bool(np.isfinite(drawn_numbers).all())
        if inputs and not given:  # _sample_*: one row for each parameter
            draws = drawn_numbers.reshape(inputs[0].size, -1)
            parameters = [np.asarray(p, dtype=np.float64).ravel() for p in inputs]
        else:
            draws, parameters = drawn_numbers.reshape(1, -1), []
        count = draws.shape[1]
        m, s = np.asarray(mean(*parameters, **given)), np.asarray(spread(*parameters, **given))
        near_mean = np.abs(draws.mean(1) - m) <= 6 * s / math.sqrt(count) + 1e-3
        near_spread = np.abs(draws.std(1) - s) <= 0.15 * s + 1e-3
        return bool(np.all(near_mean) and np.all(near_spread))

    return law


def _check(attrs: dict[str, Any], law: Callable[..., bool], bad: tuple[dict[str, Any], str] | None = None) -> Check:
    errors = [((), {**bad[0], "shape": (2,)}, bad[1])] if bad else []
    return check(
        S(shape=(40, 60), **attrs),
        S(shape=(2, 0), **attrs),
        S(shape=(3,), dtype="float64", **attrs),
        S(shape=(4,), dtype="float16", **attrs),
        ref=RANDOM,
        law=law,
        errors=errors,
    )


def _check_sample(*parameters: Any, law: Callable[..., bool]) -> Check:
    empty = [A(0, 2) for _ in parameters]
    unequal = (tuple(np.ones(n + 2, np.float32) for n in range(len(parameters))), {}, "differ in shape")
    return check(
        S(*parameters, shape=(3000,)),
        S(*parameters, shape=(2, 3)),
        S(*parameters),
        S(*empty, shape=(2,)),
        ref=RANDOM,
        law=law,
        errors=[unequal] if len(parameters) > 1 else [],
    )


def _check_like(attrs: dict[str, Any], law: Callable[..., bool]) -> Check:
    return check(S(A(40, 60), **attrs), S(A(0, 3), **attrs), S(A(2, dtype="float32")), ref=RANDOM, law=law)


_uniform_law = _moments(
    lambda low=0.0, high=1.0: (low + high) / 2, lambda low=0.0, high=1.0: (high - low) / math.sqrt(12)
)
_normal_law = _moments(lambda loc=0.0, scale=1.0: loc, lambda loc=0.0, scale=1.0: scale)
_exponential_law = _moments(lambda lam=1.0: 1 / lam, lambda lam=1.0: 1 / lam)
_gamma_law = _moments(lambda alpha=1.0, beta=1.0: alpha * beta, lambda alpha=1.0, beta=1.0: np.sqrt(alpha) * beta)
_poisson_law = _moments(lambda lam=1.0: lam, lambda lam=1.0: np.sqrt(lam))
_negative_binomial_law = _moments(lambda k=1, p=1.0: k * (1 - p) / p, lambda k=1, p=1.0: np.sqrt(k * (1 - p)) / p)
_generalized_law = _moments(lambda mu=1.0, alpha=1.0: mu, lambda mu=1.0, alpha=1.0: np.sqrt(mu + alpha * mu * mu))


# ---- number parameters
@operator(
    aliases=("random_uniform", "uniform", "_contrib_uniform"),
    random=True,
    infer=drawn,
    gradient=_NO_INPUT,
    check=_check({"low": -1.0, "high": 3.0}, _uniform_law),
)
def _random_uniform(
    low: float = 0.0, high: float = 1.0, shape: Shape | None = None, dtype: DType | None = None
) -> Tensor:
    """Draw from the uniform distribution over [low, high)."""
    return _uniform(_empty(shape, dtype), low, high)


@operator(
    aliases=("random_normal", "normal"),
    random=True,
    infer=drawn,
    gradient=_NO_INPUT,
    check=_check({"loc": 2.0, "scale": 0.5}, _normal_law, ({"scale": -1.0}, "scale >= 0")),
)
def _random_normal(
    loc: float = 0.0, scale: float = 1.0, shape: Shape | None = None, dtype: DType | None = None
) -> Tensor:
    """Draw from the normal distribution with mean `loc` and standard deviation `scale`."""
    require(scale >= 0, "_random_normal", "scale >= 0", scale=scale)
    return _normal(_empty(shape, dtype), loc, scale)


@operator(
    aliases=("random_exponential", "exponential"),
    random=True,
    infer=drawn,
    gradient=_NO_INPUT,
    check=_check({"lam": 2.5}, _exponential_law, ({"lam": 0.0}, "lam > 0")),
)
def _random_exponential(lam: float = 1.0, shape: Shape | None = None, dtype: DType | None = None) -> Tensor:
    """Draw from the exponential distribution with rate `lam` (mean 1 / lam)."""
    require(lam > 0, "_random_exponential", "lam > 0", lam=lam)
    return _exponential(_empty(shape, dtype), lam)


@operator(
    aliases=("random_gamma",),
    random=True,
    infer=drawn,
    gradient=_NO_INPUT,
    check=_check({"alpha": 3.0, "beta": 0.5}, _gamma_law, ({"alpha": 0.0}, "alpha > 0")),
)
def _random_gamma(
    alpha: float = 1.0, beta: float = 1.0, shape: Shape | None = None, dtype: DType | None = None
) -> Tensor:
    """Draw from the gamma distribution with shape `alpha` and scale `beta` (mean alpha * beta)."""
    require(alpha > 0 and beta > 0, "_random_gamma", "alpha > 0 and beta > 0", alpha=alpha, beta=beta)
    return _gamma(_empty(shape, dtype), alpha, beta)


@operator(
    aliases=("random_poisson", "poisson"),
    random=True,
    infer=drawn,
    gradient=_NO_INPUT,
    check=_check({"lam": 4.0}, _poisson_law, ({"lam": -1.0}, "lam >= 0")),
)
def _random_poisson(lam: float = 1.0, shape: Shape | None = None, dtype: DType | None = None) -> Tensor:
    """Draw from the Poisson distribution with mean `lam`."""
    require(lam >= 0, "_random_poisson", "lam >= 0", lam=lam)
    return _poisson(_empty(shape, dtype), lam)


@operator(
    aliases=("random_negative_binomial", "negative_binomial"),
    random=True,
    infer=drawn,
    gradient=_NO_INPUT,
    check=_check({"k": 5, "p": 0.4}, _negative_binomial_law, ({"p": 0.0}, "0 < p <= 1")),
)
def _random_negative_binomial(
    k: float = 1, p: float = 1.0, shape: Shape | None = None, dtype: DType | None = None
) -> Tensor:
    """Draw the number of failures before `k` successes, each trial a success with probability `p`."""
    require(k > 0 and 0 < p <= 1, "_random_negative_binomial", "k > 0 and 0 < p <= 1", k=k, p=p)
    return _negative_binomial(_empty(shape, dtype), k, p)


@operator(
    aliases=("random_generalized_negative_binomial", "generalized_negative_binomial"),
    random=True,
    infer=drawn,
    gradient=_NO_INPUT,
    check=_check({"mu": 3.0, "alpha": 0.5}, _generalized_law, ({"mu": -1.0}, "mu >= 0")),
)
def _random_generalized_negative_binomial(
    mu: float = 1.0, alpha: float = 1.0, shape: Shape | None = None, dtype: DType | None = None
) -> Tensor:
    """Draw from the negative binomial distribution with mean `mu` and variance mu + alpha * mu² (alpha 0: Poisson)."""
    require(
        mu >= 0 and alpha >= 0, "_random_generalized_negative_binomial", "mu >= 0 and alpha >= 0", mu=mu, alpha=alpha
    )
    return _generalized_negative_binomial(_empty(shape, dtype), mu, alpha)


def _integers_law(inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> bool:
    drawn_numbers = np.asarray(outputs[0])
    inside = bool(((drawn_numbers >= attrs["low"]) & (drawn_numbers < attrs["high"])).all())
    return inside and (drawn_numbers.size < 100 or len(np.unique(drawn_numbers)) == attrs["high"] - attrs["low"])


@final
class _DrawnIntegers(InferRule):
    """As `_Drawn`, with int32 as the default dtype."""

    def forward(
        self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], training: bool
    ) -> list[TensorType]:
        return [TensorType(attrs["shape"] or (1,), attrs["dtype"] or torch.int32)]


@operator(
    aliases=("random_randint",),
    random=True,
    infer=_DrawnIntegers(),
    gradient=_NO_INPUT,
    check=check(
        S(low=-3, high=5, shape=(30, 20)),
        S(low=0, high=7, shape=(2, 0)),
        S(low=2, high=3, shape=(4,), dtype="int64"),
        ref=RANDOM,
        law=_integers_law,
        errors=[((), {"low": 3, "high": 3}, "low < high")],
    ),
)
def _random_randint(
    low: int = REQUIRED, high: int = REQUIRED, shape: Shape | None = None, dtype: DType | None = None
) -> Tensor:
    """Draw integers from low, …, high - 1, each equally likely; int32 unless `dtype` says otherwise."""
    require(low < high, "_random_randint", "low < high", low=low, high=high)
    return _empty(shape, dtype or torch.int32).random_(low, high)


# ---- array parameters
@operator(
    aliases=("sample_uniform",),
    random=True,
    infer=drawn,
    gradient=no_gradient,
    check=_check_sample(A(2, low=-2, high=0), A(2, low=1, high=2), law=_uniform_law),
)
def _sample_uniform(low: Tensor, high: Tensor, shape: Shape | None = None, dtype: DType | None = None) -> Tensor:
    """Draw `shape` numbers uniform over [low, high) for each element of the parameter arrays: result shape =
    low.shape + shape."""
    return _sampled(_uniform, shape, dtype, low, high)


@operator(
    aliases=("sample_normal",),
    random=True,
    infer=drawn,
    gradient=no_gradient,
    check=_check_sample(A(2, low=-2, high=0), A(2, low=1, high=2), law=_normal_law),
)
def _sample_normal(mu: Tensor, sigma: Tensor, shape: Shape | None = None, dtype: DType | None = None) -> Tensor:
    """Draw `shape` numbers for each mean and standard deviation in the parameter arrays."""
    return _sampled(_normal, shape, dtype, mu, sigma)


@operator(
    aliases=("sample_exponential",),
    random=True,
    infer=drawn,
    gradient=no_gradient,
    check=_check_sample(A(3, low=1, high=4), law=_exponential_law),
)
def _sample_exponential(lam: Tensor, shape: Shape | None = None, dtype: DType | None = None) -> Tensor:
    """Draw `shape` numbers for each rate in `lam`."""
    return _sampled(_exponential, shape, dtype, lam)


@operator(
    aliases=("sample_gamma",),
    random=True,
    infer=drawn,
    gradient=no_gradient,
    check=_check_sample(A(2, low=1, high=4), A(2, low=0.5, high=2), law=_gamma_law),
)
def _sample_gamma(alpha: Tensor, beta: Tensor, shape: Shape | None = None, dtype: DType | None = None) -> Tensor:
    """Draw `shape` numbers for each shape parameter `alpha` and scale `beta`."""
    return _sampled(_gamma, shape, dtype, alpha, beta)


@operator(
    aliases=("sample_poisson",),
    random=True,
    infer=drawn,
    gradient=no_gradient,
    check=_check_sample(A(3, low=1, high=9), law=_poisson_law),
)
def _sample_poisson(lam: Tensor, shape: Shape | None = None, dtype: DType | None = None) -> Tensor:
    """Draw `shape` numbers for each mean in `lam`."""
    return _sampled(_poisson, shape, dtype, lam)


@operator(
    aliases=("sample_negative_binomial",),
    random=True,
    infer=drawn,
    gradient=no_gradient,
    check=_check_sample(A(2, low=2, high=6), A(2, low=0.3, high=0.7), law=_negative_binomial_law),
)
def _sample_negative_binomial(k: Tensor, p: Tensor, shape: Shape | None = None, dtype: DType | None = None) -> Tensor:
    """Draw `shape` numbers of failures before `k` successes of probability `p`, for each element of the parameter
    arrays."""
    return _sampled(_negative_binomial, shape, dtype, k, p)


@operator(
    aliases=("sample_generalized_negative_binomial",),
    random=True,
    infer=drawn,
    gradient=no_gradient,
    check=_check_sample(A(2, low=1, high=4), A(2, low=0.2, high=0.6), law=_generalized_law),
)
def _sample_generalized_negative_binomial(
    mu: Tensor, alpha: Tensor, shape: Shape | None = None, dtype: DType | None = None
) -> Tensor:
    """Draw `shape` numbers for each mean `mu` and dispersion `alpha`."""
    return _sampled(_generalized_negative_binomial, shape, dtype, mu, alpha)


# ---- the shape of another array
def _like(draw: Callable[..., Tensor], data: Tensor, *parameters: float) -> Tensor:
    return draw(torch.empty_like(data, memory_format=torch.contiguous_format), *parameters)


@operator(
    aliases=("random_uniform_like", "uniform_like"),
    random=True,
    infer=same_shape,
    gradient=no_gradient,
    nondiff=("data",),
    check=_check_like({"low": -1.0, "high": 3.0}, _uniform_law),
)
def _random_uniform_like(data: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Draw an array of the shape, dtype and device of `data`, uniform over [low, high)."""
    return _like(_uniform, data, low, high)


@operator(
    aliases=("random_normal_like", "normal_like"),
    random=True,
    infer=same_shape,
    gradient=no_gradient,
    nondiff=("data",),
    check=_check_like({"loc": 2.0, "scale": 0.5}, _normal_law),
)
def _random_normal_like(data: Tensor, loc: float = 0.0, scale: float = 1.0) -> Tensor:
    """Draw an array like `data` from the normal distribution."""
    require(scale >= 0, "_random_normal_like", "scale >= 0", scale=scale)
    return _like(_normal, data, loc, scale)


@operator(
    aliases=("random_exponential_like", "exponential_like"),
    random=True,
    infer=same_shape,
    gradient=no_gradient,
    nondiff=("data",),
    check=_check_like({"lam": 2.5}, _exponential_law),
)
def _random_exponential_like(data: Tensor, lam: float = 1.0) -> Tensor:
    """Draw an array like `data` from the exponential distribution with rate `lam`."""
    require(lam > 0, "_random_exponential_like", "lam > 0", lam=lam)
    return _like(_exponential, data, lam)


@operator(
    aliases=("random_gamma_like", "gamma_like"),
    random=True,
    infer=same_shape,
    gradient=no_gradient,
    nondiff=("data",),
    check=_check_like({"alpha": 3.0, "beta": 0.5}, _gamma_law),
)
def _random_gamma_like(data: Tensor, alpha: float = 1.0, beta: float = 1.0) -> Tensor:
    """Draw an array like `data` from the gamma distribution."""
    require(alpha > 0 and beta > 0, "_random_gamma_like", "alpha > 0 and beta > 0", alpha=alpha, beta=beta)
    return _like(_gamma, data, alpha, beta)


@operator(
    aliases=("random_poisson_like", "poisson_like"),
    random=True,
    infer=same_shape,
    gradient=no_gradient,
    nondiff=("data",),
    check=_check_like({"lam": 4.0}, _poisson_law),
)
def _random_poisson_like(data: Tensor, lam: float = 1.0) -> Tensor:
    """Draw an array like `data` from the Poisson distribution."""
    require(lam >= 0, "_random_poisson_like", "lam >= 0", lam=lam)
    return _like(_poisson, data, lam)


@operator(
    aliases=("random_negative_binomial_like", "negative_binomial_like"),
    random=True,
    infer=same_shape,
    gradient=no_gradient,
    nondiff=("data",),
    check=_check_like({"k": 5, "p": 0.4}, _negative_binomial_law),
)
def _random_negative_binomial_like(data: Tensor, k: float = 1, p: float = 1.0) -> Tensor:
    """Draw an array like `data` from the negative binomial distribution."""
    require(k > 0 and 0 < p <= 1, "_random_negative_binomial_like", "k > 0 and 0 < p <= 1", k=k, p=p)
    return _like(_negative_binomial, data, k, p)


@operator(
    aliases=("random_generalized_negative_binomial_like", "generalized_negative_binomial_like"),
    random=True,
    infer=same_shape,
    gradient=no_gradient,
    nondiff=("data",),
    check=_check_like({"mu": 3.0, "alpha": 0.5}, _generalized_law),
)
def _random_generalized_negative_binomial_like(data: Tensor, mu: float = 1.0, alpha: float = 1.0) -> Tensor:
    """Draw an array like `data` from the negative binomial distribution given by mean and dispersion."""
    require(
        mu >= 0 and alpha >= 0,
        "_random_generalized_negative_binomial_like",
        "mu >= 0 and alpha >= 0",
        mu=mu,
        alpha=alpha,
    )
    return _like(_generalized_negative_binomial, data, mu, alpha)
