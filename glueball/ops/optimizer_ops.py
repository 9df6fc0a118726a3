"""Update steps of gradient descent as operators, for client code that calls them: sgd_update, multi_sgd_update, ….

The one idea: an operator returns the new weight (give ``out=weight`` to update in place) and changes its states in
place; all of them first compute the gradient that counts, clip(rescale_grad · grad), by `scaled`. `mp_` variants keep a
float32 copy of a half-precision weight. Adaptive rules are in adaptive_ops.py, updates of several weights in one call
in multi_update_ops.py. The optimisers of glueball.optimizer have their own, fused rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from .opdef import REQUIRED, Tensor, operator, unsupported
from .rules.check import A, S, Sample, check

_NO_GRADIENT = unsupported("an update step is the end of differentiation")
POSITIVE = {"low": 0.1, "high": 1.0}  # second moments


def scaled(grad: Tensor, rescale: float, clip: float) -> Tensor:
    """Return clip(rescale · grad); a negative `clip` means none."""
    grad = grad * rescale
    return grad.clamp_(-clip, clip) if clip >= 0 else grad


def np_scaled(grad: np.ndarray, rescale: Any = 1.0, clip: float = -1.0) -> np.ndarray:
    grad = grad * rescale
    return np.clip(grad, -clip, clip) if clip >= 0 else grad


def update(*, aliases: Sequence[str] = (), mutates: Sequence[str], **rules: Any) -> Callable[[Callable[..., Any]], Any]:
    """Declare an update operator: no gradient, no tape, states changed in place."""

    def make(function: Callable[..., Any]) -> Any:
        made = operator(aliases=aliases, mutates=tuple(mutates), gradient=_NO_GRADIENT, **rules)(function)
        made.kernel = torch.no_grad()(function)
        return made

    return make


# ---- stochastic gradient descent
def np_sgd(
    w: np.ndarray, g: np.ndarray, lr: float, wd: float = 0.0, rescale_grad: float = 1.0, clip_gradient: float = -1.0
) -> np.ndarray:
    return w - lr * (np_scaled(g, rescale_grad, clip_gradient) + wd * w)


def np_sgd_mom(
    w: np.ndarray, g: np.ndarray, m: np.ndarray, lr: float, momentum: float = 0.0, **options: float
) -> np.ndarray:
    return np_sgd(w, g, lr, **options) + momentum * m


def sgd_step(weight: Tensor, grad: Tensor, lr: Any, wd: Any, rescale: float, clip: float) -> Tensor:
    return weight - (scaled(grad, rescale, clip) + weight * wd) * lr


def sgd_mom_step(
    weight: Tensor, grad: Tensor, mom: Tensor, lr: Any, momentum: float, wd: Any, rescale: float, clip: float
) -> Tensor:
    mom.mul_(momentum).sub_((scaled(grad, rescale, clip) + weight * wd) * lr)
    return weight + mom


def update_samples(states: int, positive: int = 0, **attrs: Any) -> list[Sample]:
    """Two samples: plain, and with everything that scales and clips; the last `positive` states are positive."""
    arrays = [A(3, 2)] * (2 + states - positive) + [A(3, 2, **POSITIVE)] * positive
    return [
        S(*arrays, grad=False, lr=0.1, **attrs),
        S(*arrays, grad=False, lr=0.1, wd=0.1, rescale_grad=0.5, clip_gradient=0.2, **attrs),
    ]


@update(mutates=(), check=check(*update_samples(0), ref=np_sgd))
def sgd_update(
    weight: Tensor,
    grad: Tensor,
    lr: float = REQUIRED,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    lazy_update: bool = True,
) -> Tensor:
    """Return weight − lr · (clip(rescale_grad · grad) + wd · weight)."""
    return sgd_step(weight, grad, lr, wd, rescale_grad, clip_gradient)


@update(mutates=("mom",), check=check(*update_samples(1, momentum=0.9), ref=np_sgd_mom))
def sgd_mom_update(
    weight: Tensor,
    grad: Tensor,
    mom: Tensor,
    lr: float = REQUIRED,
    momentum: float = 0.0,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    lazy_update: bool = True,
) -> Tensor:
    """Update mom ← momentum · mom − lr · (g + wd · weight) and return weight + mom."""
    return sgd_mom_step(weight, grad, mom, lr, momentum, wd, rescale_grad, clip_gradient)


def _half(samples: Sequence[Sample]) -> list[Sample]:
    """Samples of a mixed-precision operator: half-precision weight and gradient, and the float32 weight at the end."""
    made = []
    for sample in samples:
        count = len(sample.inputs)
        inputs = [A(3, 2, dtype="float16")] * 2 + [A(3, 2, dtype="float32")] * (count - 2) + [A(3, 2, dtype="float32")]
        made.append(Sample(tuple(inputs), sample.attrs, False))
    return made


def master(weight: Tensor, weight32: Tensor, new: Tensor) -> Tensor:
    """Keep the new weight in float32 and return it in the weight's own dtype."""
    weight32.copy_(new)
    return new.to(weight.dtype)


@update(
    mutates=("weight32",),
    check=check(*_half(update_samples(0)), ref=lambda w, g, m, **k: np_sgd(m, g, **k).astype(np.float16), rtol=2e-3),
)
def mp_sgd_update(
    weight: Tensor,
    grad: Tensor,
    weight32: Tensor,
    lr: float = REQUIRED,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    lazy_update: bool = True,
) -> Tensor:
    """Do `sgd_update` on the float32 copy of a half-precision weight."""
    return master(weight, weight32, sgd_step(weight32, grad.float(), lr, wd, rescale_grad, clip_gradient))


@update(
    mutates=("mom", "weight32"),
    check=check(
        *_half(update_samples(1, momentum=0.9)),
        rtol=2e-3,
        ref=lambda w, g, m, x, **k: np_sgd_mom(x, g, m, **k).astype(np.float16),
    ),
)
def mp_sgd_mom_update(
    weight: Tensor,
    grad: Tensor,
    mom: Tensor,
    weight32: Tensor,
    lr: float = REQUIRED,
    momentum: float = 0.0,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    lazy_update: bool = True,
) -> Tensor:
    """Do `sgd_mom_update` on the float32 copy of a half-precision weight."""
    return master(
        weight, weight32, sgd_mom_step(weight32, grad.float(), mom, lr, momentum, wd, rescale_grad, clip_gradient)
    )


def _np_nag(
    w: np.ndarray, g: np.ndarray, m: np.ndarray, lr: float, momentum: float = 0.0, **options: float
) -> np.ndarray:
    step = w - np_sgd(w, g, lr, **options)
    return w + momentum * (momentum * m - step) - step


def _nag(
    weight: Tensor, grad: Tensor, mom: Tensor, lr: float, momentum: float, wd: float, rescale: float, clip: float
) -> Tensor:
    step = (scaled(grad, rescale, clip) + weight * wd) * lr
    mom.mul_(momentum).sub_(step)
    return weight + mom * momentum - step


@update(mutates=("mom",), check=check(*update_samples(1, momentum=0.9), ref=_np_nag))
def nag_mom_update(
    weight: Tensor,
    grad: Tensor,
    mom: Tensor,
    lr: float = REQUIRED,
    momentum: float = 0.0,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
) -> Tensor:
    """Nesterov's momentum: s = lr · (g + wd · weight); mom ← momentum · mom − s; return weight + momentum · mom − s."""
    return _nag(weight, grad, mom, lr, momentum, wd, rescale_grad, clip_gradient)


@update(
    mutates=("mom", "weight32"),
    check=check(
        *_half(update_samples(1, momentum=0.9)),
        rtol=2e-3,
        ref=lambda w, g, m, x, **k: _np_nag(x, g, m, **k).astype(np.float16),
    ),
)
def mp_nag_mom_update(
    weight: Tensor,
    grad: Tensor,
    mom: Tensor,
    weight32: Tensor,
    lr: float = REQUIRED,
    momentum: float = 0.0,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
) -> Tensor:
    """Do `nag_mom_update` on the float32 copy of a half-precision weight."""
    return master(weight, weight32, _nag(weight32, grad.float(), mom, lr, momentum, wd, rescale_grad, clip_gradient))


# ---- signs
@update(mutates=(), check=check(*update_samples(0), ref=lambda w, g, lr, wd=0.0, **k: w - lr * (np.sign(g) + wd * w)))
def signsgd_update(
    weight: Tensor,
    grad: Tensor,
    lr: float = REQUIRED,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
) -> Tensor:
    """Return weight − lr · (sign(grad) + wd · weight)."""
    return weight - (torch.sign(scaled(grad, rescale_grad, clip_gradient)) + weight * wd) * lr


def _np_signum(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    lr: float,
    momentum: float = 0.0,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    wd_lh: float = 0.0,
) -> np.ndarray:
    new = momentum * m - (1 - momentum) * (np_scaled(g, rescale_grad, clip_gradient) + wd * w)
    return (1 - lr * wd_lh) * w + lr * np.sign(new)


@update(
    mutates=("mom",),
    check=check(*update_samples(1, momentum=0.9), *update_samples(1, momentum=0.5, wd_lh=0.1), ref=_np_signum),
)
def signum_update(
    weight: Tensor,
    grad: Tensor,
    mom: Tensor,
    lr: float = REQUIRED,
    momentum: float = 0.0,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    wd_lh: float = 0.0,
) -> Tensor:
    """Update mom ← momentum · mom − (1 − momentum) · (g + wd · weight); return (1 − lr · wd_lh) · weight + lr ·
    sign(mom)."""
    mom.mul_(momentum).sub_((scaled(grad, rescale_grad, clip_gradient) + weight * wd) * (1 - momentum))
    return weight * (1 - lr * wd_lh) + torch.sign(mom) * lr
