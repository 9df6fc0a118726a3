"""Densities of the random distributions: `random_pdf_normal`, … and their logarithms.

The one idea: each is a logarithm written with lgamma, exponentiated unless `is_log`; parameters of shape (…) go with
samples of shape (…, draws). The draws themselves are in random_ops.py (note that the gamma density has a rate where
the draw has a scale).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ..base.errors import ShapeError, explain
from .opdef import Tensor, from_kernel, operator
from .rules.check import A, Check, S, check

_lgamma = np.vectorize(math.lgamma, otypes=[float])


def _aligned(where: str, sample: Tensor, *parameters: Tensor) -> list[Tensor]:
    """Give parameters a trailing axis for each axis that the sample has beyond them."""
    for parameter in parameters:
        if tuple(sample.shape[: parameter.dim()]) != tuple(parameter.shape):
            raise ShapeError(
                explain(
                    where,
                    "A parameter does not fit the sample.",
                    expected="the leading axes of the sample's shape",
                    received=f"sample {tuple(sample.shape)}, parameter {tuple(parameter.shape)}",
                )
            )
    return [p.reshape(tuple(p.shape) + (1,) * (sample.dim() - p.dim())) for p in parameters]


def _result(logarithm: Tensor, is_log: bool) -> Tensor:
    return logarithm if is_log else torch.exp(logarithm)


def _check(logarithm: Any, *parameters: Any, low: float = 0.5, high: float = 3.0) -> Check:
    """Samples with parameters of one axis, against a NumPy logarithm of the density."""

    def reference(sample: np.ndarray, *given: np.ndarray, is_log: bool = False) -> np.ndarray:
        found = logarithm(sample, *[p.reshape(p.shape + (1,) * (sample.ndim - p.ndim)) for p in given])
        return found if is_log else np.exp(found)

    sample = A(2, 3, low=low, high=high)
    return check(
        S(sample, *parameters),
        S(sample, *parameters, is_log=True),
        ref=reference,
        rtol=1e-4,
        grad_rtol=1e-3,
        errors=[((A(2, 3), *[A(3, low=0.5) for _ in parameters]), {}, "does not fit")],
    )


@operator(
    aliases=("random_pdf_uniform",),
    gradient=from_kernel,
    check=_check(lambda x, a, b: -np.log(b - a) + 0 * x, A(2, low=0.0, high=0.4), A(2, low=3.5, high=5.0)),
)
def _random_pdf_uniform(sample: Tensor, low: Tensor, high: Tensor, is_log: bool = False) -> Tensor:
    """Density of the uniform distribution over [low, high), for samples that lie inside."""
    low, high = _aligned("random_pdf_uniform", sample, low, high)
    return _result((-torch.log(high - low)).expand_as(sample) + sample * 0, is_log)


@operator(
    aliases=("random_pdf_normal",),
    gradient=from_kernel,
    check=_check(
        lambda x, m, s: -0.5 * ((x - m) / s) ** 2 - np.log(s * np.sqrt(2 * np.pi)), A(2), A(2, low=0.5, high=2.0)
    ),
)
def _random_pdf_normal(sample: Tensor, mu: Tensor, sigma: Tensor, is_log: bool = False) -> Tensor:
    """Density of the normal distribution."""
    mu, sigma = _aligned("random_pdf_normal", sample, mu, sigma)
    return _result(-0.5 * ((sample - mu) / sigma) ** 2 - torch.log(sigma) - 0.5 * math.log(2 * math.pi), is_log)


@operator(
    aliases=("random_pdf_exponential",),
    gradient=from_kernel,
    check=_check(lambda x, r: np.log(r) - r * x, A(2, low=0.5, high=2.0)),
)
def _random_pdf_exponential(sample: Tensor, lam: Tensor, is_log: bool = False) -> Tensor:
    """Density of the exponential distribution with rate `lam`."""
    (lam,) = _aligned("random_pdf_exponential", sample, lam)
    return _result(torch.log(lam) - lam * sample, is_log)


@operator(
    aliases=("random_pdf_gamma",),
    gradient=from_kernel,
    check=_check(
        lambda x, a, b: a * np.log(b) + (a - 1) * np.log(x) - b * x - _lgamma(a),
        A(2, low=0.5, high=3.0),
        A(2, low=0.5, high=2.0),
    ),
)
def _random_pdf_gamma(sample: Tensor, alpha: Tensor, beta: Tensor, is_log: bool = False) -> Tensor:
    """Density of the gamma distribution with shape `alpha` and rate `beta`."""
    alpha, beta = _aligned("random_pdf_gamma", sample, alpha, beta)
    return _result(
        alpha * torch.log(beta) + (alpha - 1) * torch.log(sample) - beta * sample - torch.lgamma(alpha), is_log
    )


@operator(
    aliases=("random_pdf_poisson",),
    gradient=from_kernel,
    check=_check(lambda x, m: x * np.log(m) - m - _lgamma(x + 1), A(2, low=0.5, high=4.0)),
)
def _random_pdf_poisson(sample: Tensor, lam: Tensor, is_log: bool = False) -> Tensor:
    """Probability of counts under the Poisson distribution with mean `lam`."""
    (lam,) = _aligned("random_pdf_poisson", sample, lam)
    return _result(sample * torch.log(lam) - lam - torch.lgamma(sample + 1), is_log)


def _negative_binomial(sample: Tensor, k: Tensor, p: Tensor) -> Tensor:
    choices = torch.lgamma(sample + k) - torch.lgamma(sample + 1) - torch.lgamma(k)
    return choices + k * torch.log(p) + sample * torch.log1p(-p)


def _np_negative_binomial(x: np.ndarray, k: np.ndarray, p: np.ndarray) -> np.ndarray:
    return _lgamma(x + k) - _lgamma(x + 1) - _lgamma(k) + k * np.log(p) + x * np.log(1 - p)


@operator(
    aliases=("random_pdf_negative_binomial",),
    gradient=from_kernel,
    check=_check(_np_negative_binomial, A(2, low=1.0, high=4.0), A(2, low=0.2, high=0.8)),
)
def _random_pdf_negative_binomial(sample: Tensor, k: Tensor, p: Tensor, is_log: bool = False) -> Tensor:
    """Probability of counts of failures before `k` successes of probability `p`."""
    k, p = _aligned("random_pdf_negative_binomial", sample, k, p)
    return _result(_negative_binomial(sample, k, p), is_log)


@operator(
    aliases=("random_pdf_generalized_negative_binomial",),
    gradient=from_kernel,
    check=_check(
        lambda x, m, a: _np_negative_binomial(x, 1 / a, 1 / (1 + a * m)),
        A(2, low=1.0, high=4.0),
        A(2, low=0.2, high=0.8),
    ),
)
def _random_pdf_generalized_negative_binomial(
    sample: Tensor, mu: Tensor, alpha: Tensor, is_log: bool = False
) -> Tensor:
    """Probability of counts under the negative binomial distribution with mean `mu` and variance mu + alpha · mu²."""
    mu, alpha = _aligned("random_pdf_generalized_negative_binomial", sample, mu, alpha)
    return _result(_negative_binomial(sample, 1 / alpha, 1 / (1 + alpha * mu)), is_log)


def _np_dirichlet(x: np.ndarray, a: np.ndarray, is_log: bool = False) -> np.ndarray:
    a = a.reshape(a.shape[:-1] + (1,) * (x.ndim - a.ndim) + a.shape[-1:])
    found = ((a - 1) * np.log(x)).sum(-1) + _lgamma(a.sum(-1)) - _lgamma(a).sum(-1)
    return found if is_log else np.exp(found)


@operator(
    aliases=("random_pdf_dirichlet",),
    gradient=from_kernel,
    check=check(
        S(A(2, 4, 3, low=0.1, high=0.8), A(2, 3, low=0.5, high=3.0)),
        S(A(2, 3, low=0.1, high=0.8), A(2, 3, low=0.5, high=3.0), is_log=True),
        ref=_np_dirichlet,
        rtol=1e-4,
        grad_rtol=1e-3,
    ),
)
def _random_pdf_dirichlet(sample: Tensor, alpha: Tensor, is_log: bool = False) -> Tensor:
    """Density of the Dirichlet distribution; the last axis holds the categories of a sample and of `alpha`."""
    alpha = alpha.reshape(tuple(alpha.shape[:-1]) + (1,) * (sample.dim() - alpha.dim()) + (alpha.shape[-1],))
    logarithm = ((alpha - 1) * torch.log(sample)).sum(-1) + torch.lgamma(alpha.sum(-1)) - torch.lgamma(alpha).sum(-1)
    return _result(logarithm, is_log)
