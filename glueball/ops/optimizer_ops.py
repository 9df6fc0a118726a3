"""Update steps of optimisers as operators: sgd_update, adam_update, lamb_update_phase1, … for client code that calls them itself.

The one idea: an operator returns the new weight (give ``out=weight`` to update in place) and changes its states in place; all of them
first compute the gradient that counts, clip(rescale_grad · grad), by `_scaled`. `mp_` variants keep a float32 copy of a half-precision
weight, `multi_` variants update several weights in one call. The optimisers of glueball.optimizer have their own, fused rules.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ..base.errors import ArgumentError, explain
from .attributes import Floats
from .opdef import REQUIRED, Tensor, operator, unsupported
from .rules.check import A, Sample, S, check

_NO_GRADIENT = unsupported("an update step is the end of differentiation")
_POSITIVE = {"low": 0.1, "high": 1.0}  # second moments


def _scaled(grad: Tensor, rescale: float, clip: float) -> Tensor:
    """Return clip(rescale · grad); a negative `clip` means none."""
    grad = grad * rescale
    return grad.clamp_(-clip, clip) if clip >= 0 else grad


def _np_scaled(grad: np.ndarray, rescale: float = 1.0, clip: float = -1.0) -> np.ndarray:
    grad = grad * rescale
    return np.clip(grad, -clip, clip) if clip >= 0 else grad


def _update(*, aliases: Sequence[str] = (), mutates: Sequence[str], **rules: Any) -> Callable[[Callable[..., Any]], Any]:
    """Declare an update operator: no gradient, no tape, states changed in place."""
    def make(function: Callable[..., Any]) -> Any:
        made = operator(aliases=aliases, mutates=tuple(mutates), gradient=_NO_GRADIENT, **rules)(function)
        made.kernel = torch.no_grad()(function)
        return made
    return make


# ---- stochastic gradient descent ------------------------------------------------------------------------------------------------------------
def _np_sgd(w: np.ndarray, g: np.ndarray, lr: float, wd: float = 0.0, rescale_grad: float = 1.0, clip_gradient: float = -1.0) -> np.ndarray:
    return w - lr * (_np_scaled(g, rescale_grad, clip_gradient) + wd * w)


def _np_sgd_mom(w: np.ndarray, g: np.ndarray, m: np.ndarray, lr: float, momentum: float = 0.0, **options: float) -> np.ndarray:
    return _np_sgd(w, g, lr, **options) + momentum * m


def _sgd(weight: Tensor, grad: Tensor, lr: Any, wd: Any, rescale: float, clip: float) -> Tensor:
    return weight - (_scaled(grad, rescale, clip) + weight * wd) * lr


def _sgd_mom(weight: Tensor, grad: Tensor, mom: Tensor, lr: Any, momentum: float, wd: Any, rescale: float, clip: float) -> Tensor:
    mom.mul_(momentum).sub_((_scaled(grad, rescale, clip) + weight * wd) * lr)
    return weight + mom


def _samples(states: int, positive: int = 0, **attrs: Any) -> list[Sample]:
    """Two samples: plain, and with everything that scales and clips; the last `positive` states are positive."""
    arrays = [A(3, 2)] * (2 + states - positive) + [A(3, 2, **_POSITIVE)] * positive
    return [S(*arrays, grad=False, lr=0.1, **attrs), S(*arrays, grad=False, lr=0.1, wd=0.1, rescale_grad=0.5, clip_gradient=0.2, **attrs)]


@_update(mutates=(), check=check(*_samples(0), ref=_np_sgd))
def sgd_update(weight: Tensor, grad: Tensor, lr: float = REQUIRED, wd: float = 0.0, rescale_grad: float = 1.0, clip_gradient: float = -1.0,
               lazy_update: bool = True) -> Tensor:
    """Return weight − lr · (clip(rescale_grad · grad) + wd · weight)."""
    return _sgd(weight, grad, lr, wd, rescale_grad, clip_gradient)


@_update(mutates=("mom",), check=check(*_samples(1, momentum=0.9), ref=_np_sgd_mom))
def sgd_mom_update(weight: Tensor, grad: Tensor, mom: Tensor, lr: float = REQUIRED, momentum: float = 0.0, wd: float = 0.0, rescale_grad: float = 1.0,
                   clip_gradient: float = -1.0, lazy_update: bool = True) -> Tensor:
    """Update mom ← momentum · mom − lr · (g + wd · weight) and return weight + mom."""
    return _sgd_mom(weight, grad, mom, lr, momentum, wd, rescale_grad, clip_gradient)


def _half(samples: Sequence[Sample]) -> list[Sample]:
    """Samples of a mixed-precision operator: half-precision weight and gradient, and the float32 weight at the end."""
    made = []
    for sample in samples:
        count = len(sample.inputs)
        inputs = [A(3, 2, dtype="float16")] * 2 + [A(3, 2, dtype="float32")] * (count - 2) + [A(3, 2, dtype="float32")]
        made.append(Sample(tuple(inputs), sample.attrs, False))
    return made


def _master(weight: Tensor, weight32: Tensor, new: Tensor) -> Tensor:
    """Keep the new weight in float32 and return it in the weight's own dtype."""
    weight32.copy_(new)
    return new.to(weight.dtype)


@_update(mutates=("weight32",), check=check(*_half(_samples(0)), ref=lambda w, g, m, **k: _np_sgd(m, g, **k).astype(np.float16), rtol=2e-3))
def mp_sgd_update(weight: Tensor, grad: Tensor, weight32: Tensor, lr: float = REQUIRED, wd: float = 0.0, rescale_grad: float = 1.0,
                  clip_gradient: float = -1.0, lazy_update: bool = True) -> Tensor:
    """Do `sgd_update` on the float32 copy of a half-precision weight."""
    return _master(weight, weight32, _sgd(weight32, grad.float(), lr, wd, rescale_grad, clip_gradient))


@_update(mutates=("mom", "weight32"), check=check(*_half(_samples(1, momentum=0.9)), rtol=2e-3,
                                                  ref=lambda w, g, m, x, **k: _np_sgd_mom(x, g, m, **k).astype(np.float16)))
def mp_sgd_mom_update(weight: Tensor, grad: Tensor, mom: Tensor, weight32: Tensor, lr: float = REQUIRED, momentum: float = 0.0, wd: float = 0.0,
                      rescale_grad: float = 1.0, clip_gradient: float = -1.0, lazy_update: bool = True) -> Tensor:
    """Do `sgd_mom_update` on the float32 copy of a half-precision weight."""
    return _master(weight, weight32, _sgd_mom(weight32, grad.float(), mom, lr, momentum, wd, rescale_grad, clip_gradient))


def _np_nag(w: np.ndarray, g: np.ndarray, m: np.ndarray, lr: float, momentum: float = 0.0, **options: float) -> np.ndarray:
    step = w - _np_sgd(w, g, lr, **options)
    return w + momentum * (momentum * m - step) - step


def _nag(weight: Tensor, grad: Tensor, mom: Tensor, lr: float, momentum: float, wd: float, rescale: float, clip: float) -> Tensor:
    step = (_scaled(grad, rescale, clip) + weight * wd) * lr
    mom.mul_(momentum).sub_(step)
    return weight + mom * momentum - step


@_update(mutates=("mom",), check=check(*_samples(1, momentum=0.9), ref=_np_nag))
def nag_mom_update(weight: Tensor, grad: Tensor, mom: Tensor, lr: float = REQUIRED, momentum: float = 0.0, wd: float = 0.0, rescale_grad: float = 1.0,
                   clip_gradient: float = -1.0) -> Tensor:
    """Nesterov's momentum: s = lr · (g + wd · weight); mom ← momentum · mom − s; return weight + momentum · mom − s."""
    return _nag(weight, grad, mom, lr, momentum, wd, rescale_grad, clip_gradient)


@_update(mutates=("mom", "weight32"), check=check(*_half(_samples(1, momentum=0.9)), rtol=2e-3,
                                                  ref=lambda w, g, m, x, **k: _np_nag(x, g, m, **k).astype(np.float16)))
def mp_nag_mom_update(weight: Tensor, grad: Tensor, mom: Tensor, weight32: Tensor, lr: float = REQUIRED, momentum: float = 0.0, wd: float = 0.0,
                      rescale_grad: float = 1.0, clip_gradient: float = -1.0) -> Tensor:
    """Do `nag_mom_update` on the float32 copy of a half-precision weight."""
    return _master(weight, weight32, _nag(weight32, grad.float(), mom, lr, momentum, wd, rescale_grad, clip_gradient))


# ---- signs ---------------------------------------------------------------------------------------------------------------------------------
@_update(mutates=(), check=check(*_samples(0), ref=lambda w, g, lr, wd=0.0, **k: w - lr * (np.sign(g) + wd * w)))
def signsgd_update(weight: Tensor, grad: Tensor, lr: float = REQUIRED, wd: float = 0.0, rescale_grad: float = 1.0, clip_gradient: float = -1.0) -> Tensor:
    """Return weight − lr · (sign(grad) + wd · weight)."""
    return weight - (torch.sign(_scaled(grad, rescale_grad, clip_gradient)) + weight * wd) * lr


def _np_signum(w: np.ndarray, g: np.ndarray, m: np.ndarray, lr: float, momentum: float = 0.0, wd: float = 0.0, rescale_grad: float = 1.0,
               clip_gradient: float = -1.0, wd_lh: float = 0.0) -> np.ndarray:
    new = momentum * m - (1 - momentum) * (_np_scaled(g, rescale_grad, clip_gradient) + wd * w)
    return (1 - lr * wd_lh) * w + lr * np.sign(new)


@_update(mutates=("mom",), check=check(*_samples(1, momentum=0.9), *_samples(1, momentum=0.5, wd_lh=0.1), ref=_np_signum))
def signum_update(weight: Tensor, grad: Tensor, mom: Tensor, lr: float = REQUIRED, momentum: float = 0.0, wd: float = 0.0, rescale_grad: float = 1.0,
                  clip_gradient: float = -1.0, wd_lh: float = 0.0) -> Tensor:
    """Update mom ← momentum · mom − (1 − momentum) · (g + wd · weight); return (1 − lr · wd_lh) · weight + lr · sign(mom)."""
    mom.mul_(momentum).sub_((_scaled(grad, rescale_grad, clip_gradient) + weight * wd) * (1 - momentum))
    return weight * (1 - lr * wd_lh) + torch.sign(mom) * lr


# ---- adaptive rates -------------------------------------------------------------------------------------------------------------------------
def _moments(grad: Tensor, mean: Tensor, var: Tensor, beta1: float, beta2: float) -> None:
    """Move the running mean and mean square of the gradient, in place."""
    mean.mul_(beta1).add_(grad, alpha=1 - beta1)
    var.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)


def _np_adam(w: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, lr: float, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8,
             wd: float = 0.0, rescale_grad: float = 1.0, clip_gradient: float = -1.0) -> np.ndarray:
    g = _np_scaled(g * rescale_grad + wd * w, 1.0, clip_gradient)
    return w - lr * (beta1 * m + (1 - beta1) * g) / (np.sqrt(beta2 * v + (1 - beta2) * g * g) + epsilon)


@_update(mutates=("mean", "var"), check=check(*_samples(2, 1), *_samples(2, 1, beta1=0.5, epsilon=0.1), ref=_np_adam))
def adam_update(weight: Tensor, grad: Tensor, mean: Tensor, var: Tensor, lr: float = REQUIRED, beta1: float = 0.9, beta2: float = 0.999,
                epsilon: float = 1e-8, wd: float = 0.0, rescale_grad: float = 1.0, clip_gradient: float = -1.0, lazy_update: bool = True) -> Tensor:
    """Adam without bias correction (put it into `lr`); the gradient is clipped after wd · weight has been added."""
    _moments(_scaled(grad * rescale_grad + weight * wd, 1.0, clip_gradient), mean, var, beta1, beta2)
    return weight - mean / (var.sqrt() + epsilon) * lr


def _np_adamw(w: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, r: np.ndarray, lr: float, eta: float, beta1: float = 0.9,
              beta2: float = 0.999, epsilon: float = 1e-8, wd: float = 0.0, clip_gradient: float = -1.0) -> np.ndarray:
    g = _np_scaled(g, r, clip_gradient)
    step = lr * (beta1 * m + (1 - beta1) * g) / (np.sqrt(beta2 * v + (1 - beta2) * g * g) + epsilon)
    return w - eta * (step + wd * w)


def _adamw(weight: Tensor, grad: Tensor, mean: Tensor, var: Tensor, rescale: Tensor, lr: float, eta: float, beta1: float, beta2: float, epsilon: float,
           wd: float, clip: float) -> Tensor:
    """Loss scaling writes an overflow as a factor of 0 or one that is not finite: then nothing changes (decided without a look at the value)."""
    factor = rescale.reshape(()).to(weight.dtype)
    counts = torch.isfinite(factor) & (factor != 0)
    grad = grad * torch.where(counts, factor, torch.zeros_like(factor))
    grad = torch.where(counts, grad.clamp(-clip, clip) if clip >= 0 else grad, torch.zeros_like(grad))
    new_mean, new_var = mean.clone(), var.clone()
    _moments(grad, new_mean, new_var, beta1, beta2)
    mean.copy_(torch.where(counts, new_mean, mean))
    var.copy_(torch.where(counts, new_var, var))
    return torch.where(counts, weight - (mean / (var.sqrt() + epsilon) * lr + weight * wd) * eta, weight)


_ADAMW = (A(3, 2), A(3, 2), A(3, 2), A(3, 2, **_POSITIVE), np.array([0.5]))


@_update(aliases=("_contrib_adamw_update",), mutates=("mean", "var"), check=check(
    S(*_ADAMW, grad=False, lr=0.1, eta=0.5, wd=0.1), S(*_ADAMW, grad=False, lr=0.1, eta=1.0, clip_gradient=0.1), ref=_np_adamw))
def _adamw_update(weight: Tensor, grad: Tensor, mean: Tensor, var: Tensor, rescale_grad: Tensor, lr: float = REQUIRED, eta: float = REQUIRED,
                  beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, wd: float = 0.0, clip_gradient: float = -1.0) -> Tensor:
    """Adam with decoupled weight decay: weight − eta · (lr · mean / (√var + epsilon) + wd · weight); no change where rescale_grad is 0 or not finite."""
    return _adamw(weight, grad, mean, var, rescale_grad, lr, eta, beta1, beta2, epsilon, wd, clip_gradient)


@_update(aliases=("_contrib_mp_adamw_update",), mutates=("mean", "var", "weight32"), check=check(
    S(A(3, 2, dtype="float16"), A(3, 2, dtype="float16"), A(3, 2, dtype="float32"), A(3, 2, dtype="float32", **_POSITIVE), A(3, 2, dtype="float32"),
      np.array([0.5], np.float32), grad=False, lr=0.1, eta=0.5, wd=0.1),
    ref=lambda w, g, m, v, x, r, **k: _np_adamw(x, g, m, v, r, **k).astype(np.float16), rtol=2e-3))
def _mp_adamw_update(weight: Tensor, grad: Tensor, mean: Tensor, var: Tensor, weight32: Tensor, rescale_grad: Tensor, lr: float = REQUIRED,
                     eta: float = REQUIRED, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, wd: float = 0.0,
                     clip_gradient: float = -1.0) -> Tensor:
    """Do `_adamw_update` on the float32 copy of a half-precision weight."""
    return _master(weight, weight32, _adamw(weight32, grad.float(), mean, var, rescale_grad, lr, eta, beta1, beta2, epsilon, wd, clip_gradient))


def _np_rmsprop(w: np.ndarray, g: np.ndarray, n: np.ndarray, lr: float, gamma1: float = 0.95, epsilon: float = 1e-8, wd: float = 0.0,
                rescale_grad: float = 1.0, clip_gradient: float = -1.0, clip_weights: float = -1.0) -> np.ndarray:
    g = _np_scaled(g * rescale_grad + wd * w, 1.0, clip_gradient)
    return _np_scaled(w - lr * g / np.sqrt((1 - gamma1) * g * g + gamma1 * n + epsilon), 1.0, clip_weights)


@_update(mutates=("n",), check=check(*_samples(1, 1), *_samples(1, 1, clip_weights=0.3, gamma1=0.5), ref=_np_rmsprop))
def rmsprop_update(weight: Tensor, grad: Tensor, n: Tensor, lr: float = REQUIRED, gamma1: float = 0.95, epsilon: float = 1e-8, wd: float = 0.0,
                   rescale_grad: float = 1.0, clip_gradient: float = -1.0, clip_weights: float = -1.0) -> Tensor:
    """RMSProp (Tieleman and Hinton 2012): n ← γ·n + (1 − γ)·g²; return weight − lr · g / √(n + epsilon)."""
    grad = _scaled(grad * rescale_grad + weight * wd, 1.0, clip_gradient)
    n.mul_(gamma1).addcmul_(grad, grad, value=1 - gamma1)
    return _scaled(weight - grad * lr / (n + epsilon).sqrt(), 1.0, clip_weights)


def _np_rmspropalex(w: np.ndarray, g: np.ndarray, n: np.ndarray, s: np.ndarray, d: np.ndarray, lr: float, gamma1: float = 0.95, gamma2: float = 0.9,
                    epsilon: float = 1e-8, wd: float = 0.0, rescale_grad: float = 1.0, clip_gradient: float = -1.0,
                    clip_weights: float = -1.0) -> np.ndarray:
    g = _np_scaled(g * rescale_grad + wd * w, 1.0, clip_gradient)
    n, s = gamma1 * n + (1 - gamma1) * g * g, gamma1 * s + (1 - gamma1) * g
    return _np_scaled(w + gamma2 * d - lr * g / np.sqrt(n - s * s + epsilon), 1.0, clip_weights)


_ALEX = (A(3, 2), A(3, 2), A(3, 2, low=0.5, high=1.0), A(3, 2, low=-0.3, high=0.3), A(3, 2))


@_update(mutates=("n", "g", "delta"), check=check(S(*_ALEX, grad=False, lr=0.1), S(*_ALEX, grad=False, lr=0.1, wd=0.1, clip_gradient=0.2, clip_weights=0.3),
                                                  ref=_np_rmspropalex))
def rmspropalex_update(weight: Tensor, grad: Tensor, n: Tensor, g: Tensor, delta: Tensor, lr: float = REQUIRED, gamma1: float = 0.95,
                       gamma2: float = 0.9, epsilon: float = 1e-8, wd: float = 0.0, rescale_grad: float = 1.0, clip_gradient: float = -1.0,
                       clip_weights: float = -1.0) -> Tensor:
    """RMSProp with momentum and a centred second moment (Graves 2013): delta ← γ2·delta − lr·grad / √(n − g² + epsilon)."""
    grad = _scaled(grad * rescale_grad + weight * wd, 1.0, clip_gradient)
    n.mul_(gamma1).addcmul_(grad, grad, value=1 - gamma1)
    g.mul_(gamma1).add_(grad, alpha=1 - gamma1)
    delta.mul_(gamma2).sub_(grad * lr / (n - g * g + epsilon).sqrt())
    return _scaled(weight + delta, 1.0, clip_weights)


def _np_ftrl(w: np.ndarray, g: np.ndarray, z: np.ndarray, n: np.ndarray, lr: float, lamda1: float = 0.01, beta: float = 1.0, wd: float = 0.0,
             rescale_grad: float = 1.0, clip_gradient: float = -1.0) -> np.ndarray:
    g = _np_scaled(g, rescale_grad, clip_gradient)
    z = z + g - (np.sqrt(n + g * g) - np.sqrt(n)) / lr * w
    return (np.sign(z) * lamda1 - z) / ((beta + np.sqrt(n + g * g)) / lr + wd) * (np.abs(z) > lamda1)


@_update(mutates=("z", "n"), check=check(*_samples(2, 1), *_samples(2, 1, lamda1=0.5), ref=_np_ftrl))
def ftrl_update(weight: Tensor, grad: Tensor, z: Tensor, n: Tensor, lr: float = REQUIRED, lamda1: float = 0.01, beta: float = 1.0, wd: float = 0.0,
                rescale_grad: float = 1.0, clip_gradient: float = -1.0) -> Tensor:
    """Follow the regularised leader (McMahan et al. 2013); weights whose |z| stays below lamda1 become 0."""
    grad = _scaled(grad, rescale_grad, clip_gradient)
    before = n.sqrt()
    n.addcmul_(grad, grad)
    after = n.sqrt()
    z.add_(grad - (after - before) / lr * weight)
    return torch.where(z.abs() > lamda1, (torch.sign(z) * lamda1 - z) / ((after + beta) / lr + wd), torch.zeros_like(z))


def _np_ftml(w: np.ndarray, g: np.ndarray, d: np.ndarray, v: np.ndarray, z: np.ndarray, lr: float, t: int, beta1: float = 0.6, beta2: float = 0.999,
             epsilon: float = 1e-8, wd: float = 0.0, rescale_grad: float = 1.0, clip_grad: float = -1.0) -> np.ndarray:
    g = _np_scaled(g * rescale_grad + wd * w, 1.0, clip_grad)
    new = (1 - beta1 ** t) / lr * (np.sqrt((beta2 * v + (1 - beta2) * g * g) / (1 - beta2 ** t)) + epsilon)
    return -(beta1 * z + (1 - beta1) * g - (new - beta1 * d) * w) / new


_FTML = (A(3, 2), A(3, 2), A(3, 2, **_POSITIVE), A(3, 2, **_POSITIVE), A(3, 2))


@_update(mutates=("d", "v", "z"), check=check(S(*_FTML, grad=False, lr=0.1, t=3), S(*_FTML, grad=False, lr=0.1, t=1, wd=0.1, clip_grad=0.2),
                                              ref=_np_ftml))
def ftml_update(weight: Tensor, grad: Tensor, d: Tensor, v: Tensor, z: Tensor, lr: float = REQUIRED, beta1: float = 0.6, beta2: float = 0.999,
                epsilon: float = 1e-8, t: int = REQUIRED, wd: float = 0.0, rescale_grad: float = 1.0, clip_grad: float = -1.0) -> Tensor:
    """Follow the moving leader (Zheng and Kwok 2017) at step `t`."""
    grad = _scaled(grad * rescale_grad + weight * wd, 1.0, clip_grad)
    v.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    new = ((v / (1 - beta2 ** t)).sqrt() + epsilon) * ((1 - beta1 ** t) / lr)
    z.mul_(beta1).add_(grad, alpha=1 - beta1).sub_((new - d * beta1) * weight)
    d.copy_(new)
    return -z / new


def _np_lamb1(w: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, t: int, wd: float, beta1: float = 0.9, beta2: float = 0.999,
              epsilon: float = 1e-6, bias_correction: bool = True, rescale_grad: float = 1.0, clip_gradient: float = -1.0) -> np.ndarray:
    g = _np_scaled(g, rescale_grad, clip_gradient)
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
    if bias_correction:
        m, v = m / (1 - beta1 ** t), v / (1 - beta2 ** t)
    return m / (np.sqrt(v) + epsilon) + wd * w


def _lamb1(weight: Tensor, grad: Tensor, mean: Tensor, var: Tensor, beta1: float, beta2: float, epsilon: float, t: int, correct: bool, wd: float,
           rescale: float, clip: float) -> Tensor:
    _moments(_scaled(grad, rescale, clip), mean, var, beta1, beta2)
    m, v = (mean / (1 - beta1 ** t), var / (1 - beta2 ** t)) if correct else (mean, var)
    return m / (v.sqrt() + epsilon) + weight * wd


_LAMB = (A(3, 2), A(3, 2), A(3, 2), A(3, 2, **_POSITIVE))


@_update(mutates=("mean", "var"), check=check(S(*_LAMB, grad=False, t=2, wd=0.1), S(*_LAMB, grad=False, t=2, wd=0.0, bias_correction=False, clip_gradient=0.1),
                                              ref=_np_lamb1))
def lamb_update_phase1(weight: Tensor, grad: Tensor, mean: Tensor, var: Tensor, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-6,
                       t: int = REQUIRED, bias_correction: bool = True, wd: float = REQUIRED, rescale_grad: float = 1.0,
                       clip_gradient: float = -1.0) -> Tensor:
    """The direction of LAMB (You et al. 2019): Adam's, plus wd · weight. `lamb_update_phase2` makes the step."""
    return _lamb1(weight, grad, mean, var, beta1, beta2, epsilon, t, bias_correction, wd, rescale_grad, clip_gradient)


@_update(mutates=("mean", "var"), check=check(S(A(3, 2, dtype="float16"), A(3, 2, dtype="float16"), *[A(3, 2, dtype="float32", **_POSITIVE)] * 3, grad=False,
                                                t=2, wd=0.1), ref=lambda w, g, m, v, x, **k: _np_lamb1(x, g.astype(np.float32), m, v, **k), rtol=1e-4))
def mp_lamb_update_phase1(weight: Tensor, grad: Tensor, mean: Tensor, var: Tensor, weight32: Tensor, beta1: float = 0.9, beta2: float = 0.999,
                          epsilon: float = 1e-6, t: int = REQUIRED, bias_correction: bool = True, wd: float = REQUIRED, rescale_grad: float = 1.0,
                          clip_gradient: float = -1.0) -> Tensor:
    """Do `lamb_update_phase1` in float32, with the float32 copy of the weight."""
    return _lamb1(weight32, grad.float(), mean, var, beta1, beta2, epsilon, t, bias_correction, wd, rescale_grad, clip_gradient)


def _np_lamb2(w: np.ndarray, g: np.ndarray, r1: np.ndarray, r2: np.ndarray, lr: float, lower_bound: float = -1.0, upper_bound: float = -1.0) -> np.ndarray:
    r1 = np.maximum(r1, lower_bound) if lower_bound >= 0 else r1
    r1 = np.minimum(r1, upper_bound) if upper_bound >= 0 else r1
    return w - lr * np.where((r1 == 0) | (r2 == 0), 1.0, r1 / np.where(r2 == 0, 1, r2)) * g


def _lamb2(weight: Tensor, g: Tensor, r1: Tensor, r2: Tensor, lr: float, lower: float, upper: float) -> Tensor:
    r1 = r1.clamp_min(lower) if lower >= 0 else r1
    r1 = r1.clamp_max(upper) if upper >= 0 else r1
    ratio = torch.where((r1 == 0) | (r2 == 0), torch.ones_like(r1), r1 / r2)
    return weight - g * ratio * lr


@_update(mutates=(), check=check(S(A(3, 2), A(3, 2), A(1, **_POSITIVE), A(1, **_POSITIVE), grad=False, lr=0.1),
                                 S(A(3, 2), A(3, 2), A(1, **_POSITIVE), np.zeros(1), grad=False, lr=0.1, lower_bound=0.2, upper_bound=0.5), ref=_np_lamb2))
def lamb_update_phase2(weight: Tensor, g: Tensor, r1: Tensor, r2: Tensor, lr: float = REQUIRED, lower_bound: float = -1.0,
                       upper_bound: float = -1.0) -> Tensor:
    """Make LAMB's step along `g`: weight − lr · (r1 / r2) · g with the norms r1 of the weight, kept between the bounds, and r2 of `g`."""
    return _lamb2(weight, g, r1, r2, lr, lower_bound, upper_bound)


@_update(mutates=("weight32",), check=check(S(A(3, 2, dtype="float16"), A(3, 2, dtype="float32"), np.ones(1, np.float32), np.full(1, 2.0, np.float32),
                                              A(3, 2, dtype="float32"), grad=False, lr=0.1),
                                            ref=lambda w, g, r1, r2, x, **k: _np_lamb2(x, g, r1, r2, **k).astype(np.float16), rtol=2e-3))
def mp_lamb_update_phase2(weight: Tensor, g: Tensor, r1: Tensor, r2: Tensor, weight32: Tensor, lr: float = REQUIRED, lower_bound: float = -1.0,
                          upper_bound: float = -1.0) -> Tensor:
    """Do `lamb_update_phase2` on the float32 copy of a half-precision weight."""
    return _master(weight, weight32, _lamb2(weight32, g, r1, r2, lr, lower_bound, upper_bound))


def _np_group_adagrad(w: np.ndarray, g: np.ndarray, h: np.ndarray, lr: float, rescale_grad: float = 1.0, clip_gradient: float = -1.0,
                      epsilon: float = 1e-5) -> np.ndarray:
    g = _np_scaled(g, rescale_grad, clip_gradient)
    return w - lr * g / (np.sqrt(h + (g * g).mean(tuple(range(1, g.ndim)), keepdims=True)) + epsilon)


@_update(mutates=("history",), check=check(S(A(3, 2), A(3, 2), A(3, 1, **_POSITIVE), grad=False, lr=0.1), S(A(3, 2), A(3, 2), A(3, 1, **_POSITIVE), grad=False,
                                                                                                  lr=0.1, clip_gradient=0.1), ref=_np_group_adagrad))
def _contrib_group_adagrad_update(weight: Tensor, grad: Tensor, history: Tensor, lr: float = REQUIRED, rescale_grad: float = 1.0,
                                  clip_gradient: float = -1.0, epsilon: float = 1e-5) -> Tensor:
    """AdaGrad with one rate per row: history (rows, 1) adds up each row's mean squared gradient."""
    grad = _scaled(grad, rescale_grad, clip_gradient)
    history.add_((grad * grad).reshape(grad.shape[0], -1).mean(1).reshape(history.shape))
    return weight - grad * lr / (history.sqrt() + epsilon).reshape(-1, *(1,) * (grad.dim() - 1))


# ---- several weights in one call --------------------------------------------------------------------------------------------------------------
def _groups(name: str, data: Sequence[Tensor], count: int, size: int) -> Iterator[tuple[Tensor, ...]]:
    """Yield the arrays of each weight: weight, gradient and states stand together."""
    if len(data) != count * size:
        raise ArgumentError(explain(name, "The number of arrays does not fit num_weights.", expected=f"{size} arrays for each of {count} weights",
                                    received=len(data)))
    return (tuple(data[size * i:size * (i + 1)]) for i in range(count))


def _multi_sgd(name: str, data: Sequence[Tensor], count: int, lrs: Any, wds: Any, momentum: float | None, mixed: bool, rescale: float,
               clip: float) -> tuple[Tensor, ...]:
    size = 2 + (momentum is not None) + mixed
    results = []
    for position, (weight, grad, *states) in enumerate(_groups(name, data, count, size)):
        start = states[-1] if mixed else weight
        grad = grad.to(start.dtype)
        if momentum is None:
            new = _sgd(start, grad, lrs[position], wds[position], rescale, clip)
        else:
            new = _sgd_mom(start, grad, states[0], lrs[position], momentum, wds[position], rescale, clip)
        results.append(_master(weight, start, new) if mixed else new)
    return tuple(results)


def _np_multi(size: int, momentum: bool, mixed: bool, preloaded: bool = False) -> Callable[..., Any]:
    def reference(*data: np.ndarray, lrs: Any = None, wds: Any = None, num_weights: int = 1, **options: Any) -> tuple[np.ndarray, ...]:
        if preloaded:
            *rest, lrs, wds = data
            data = tuple(rest)
        results = []
        for i in range(num_weights):
            weight, grad, *states = data[size * i:size * (i + 1)]
            start = states[-1] if mixed else weight
            arrays = [start, grad.astype(start.dtype), states[0]] if momentum else [start, grad.astype(start.dtype)]
            results.append((_np_sgd_mom if momentum else _np_sgd)(*arrays, lr=lrs[i], wd=wds[i], **options).astype(weight.dtype))
        return tuple(results)
    return reference


def _multi_check(size: int, momentum: bool, mixed: bool, preloaded: bool = False) -> Any:
    half = "float16" if mixed else "float32"
    arrays: list[Any] = []
    for shape in ((3, 2), (4,)):
        arrays += [A(*shape, dtype=half), A(*shape, dtype=half), *[A(*shape, dtype="float32") for _ in range(size - 2)]]
    attrs: dict[str, Any] = {"num_weights": 2, **({"momentum": 0.9} if momentum else {})}
    if preloaded:
        arrays += [np.array([0.1, 0.2], np.float32), np.array([0.0, 0.1], np.float32)]
    else:
        attrs.update(lrs=(0.1, 0.2), wds=(0.0, 0.1))
    return check(S(*arrays, grad=False, **attrs), ref=_np_multi(size, momentum, mixed, preloaded), rtol=2e-3 if mixed else 1e-5,
                 errors=[((A(3),), attrs if not preloaded else {"num_weights": 2}, "num_weights")])


def _count(attrs: Any) -> int:
    return attrs["num_weights"]


@_update(mutates=(), outputs=_count, check=_multi_check(2, False, False))
def multi_sgd_update(*data: Tensor, lrs: Floats = REQUIRED, wds: Floats = REQUIRED, rescale_grad: float = 1.0, clip_gradient: float = -1.0,
                     num_weights: int = 1) -> Any:
    """Do `sgd_update` for several weights: data are weight, grad of each in turn, `lrs` and `wds` one number per weight."""
    return _multi_sgd("multi_sgd_update", data, num_weights, lrs, wds, None, False, rescale_grad, clip_gradient)


@_update(mutates=("data",), outputs=_count, check=_multi_check(3, True, False))
def multi_sgd_mom_update(*data: Tensor, lrs: Floats = REQUIRED, wds: Floats = REQUIRED, momentum: float = 0.0, rescale_grad: float = 1.0,
                         clip_gradient: float = -1.0, num_weights: int = 1) -> Any:
    """Do `sgd_mom_update` for several weights: data are weight, grad, mom of each in turn."""
    return _multi_sgd("multi_sgd_mom_update", data, num_weights, lrs, wds, momentum, False, rescale_grad, clip_gradient)


@_update(mutates=("data",), outputs=_count, check=_multi_check(3, False, True))
def multi_mp_sgd_update(*data: Tensor, lrs: Floats = REQUIRED, wds: Floats = REQUIRED, rescale_grad: float = 1.0, clip_gradient: float = -1.0,
                        num_weights: int = 1) -> Any:
    """Do `mp_sgd_update` for several weights: data are weight, grad, weight32 of each in turn."""
    return _multi_sgd("multi_mp_sgd_update", data, num_weights, lrs, wds, None, True, rescale_grad, clip_gradient)


@_update(mutates=("data",), outputs=_count, check=_multi_check(4, True, True))
def multi_mp_sgd_mom_update(*data: Tensor, lrs: Floats = REQUIRED, wds: Floats = REQUIRED, momentum: float = 0.0, rescale_grad: float = 1.0,
                            clip_gradient: float = -1.0, num_weights: int = 1) -> Any:
    """Do `mp_sgd_mom_update` for several weights: data are weight, grad, mom, weight32 of each in turn."""
    return _multi_sgd("multi_mp_sgd_mom_update", data, num_weights, lrs, wds, momentum, True, rescale_grad, clip_gradient)


@_update(mutates=(), outputs=_count, check=_multi_check(2, False, False, True))
def preloaded_multi_sgd_update(*data: Tensor, rescale_grad: float = 1.0, clip_gradient: float = -1.0, num_weights: int = 1) -> Any:
    """As `multi_sgd_update`, with the learning rates and decays as the last two arrays."""
    return _multi_sgd("preloaded_multi_sgd_update", data[:-2], num_weights, data[-2] if data else (), data[-1] if data else (), None, False, rescale_grad, clip_gradient)


@_update(mutates=("data",), outputs=_count, check=_multi_check(3, True, False, True))
def preloaded_multi_sgd_mom_update(*data: Tensor, momentum: float = 0.0, rescale_grad: float = 1.0, clip_gradient: float = -1.0,
                                   num_weights: int = 1) -> Any:
    """As `multi_sgd_mom_update`, with the learning rates and decays as the last two arrays."""
    return _multi_sgd("preloaded_multi_sgd_mom_update", data[:-2], num_weights, data[-2:-1] and data[-2], data[-1], momentum, False, rescale_grad, clip_gradient)


def _np_lars(lr: np.ndarray, w: np.ndarray, g: np.ndarray, wd: np.ndarray, eta: float, eps: float, rescale_grad: float = 1.0) -> np.ndarray:
    norm = np.sqrt(w)
    return np.where((w > 0) & (g > 0), lr * eta * norm / (np.sqrt(g) * rescale_grad + wd * norm + eps), lr)


@_update(mutates=(), check=check(S(*[A(4, **_POSITIVE)] * 4, grad=False, eta=0.1, eps=1e-3, rescale_grad=0.5),
                                 S(A(2), np.array([0.0, 1.0]), np.array([1.0, 0.0]), A(2), grad=False, eta=0.1, eps=1e-3), ref=_np_lars))
def multi_lars(lrs: Tensor, weights_sum_sq: Tensor, grads_sum_sq: Tensor, wds: Tensor, eta: float = REQUIRED, eps: float = REQUIRED,
               rescale_grad: float = 1.0) -> Tensor:
    """LARS (You et al. 2017): each learning rate times eta · |w| / (|g| + wd · |w| + eps), where both norms are positive."""
    norm = weights_sum_sq.sqrt()
    scaled = lrs * eta * norm / (grads_sum_sq.sqrt() * rescale_grad + wds * norm + eps)
    return torch.where((weights_sum_sq > 0) & (grads_sum_sq > 0), scaled, lrs)


@_update(mutates=("data",), outputs=lambda attrs: attrs["num_arrays"], variadic_count="num_arrays", check=check(
    S(A(3, 2), A(4), grad=False, num_arrays=2), ref=lambda *x, num_arrays: tuple(np.zeros_like(a) for a in x)))
def reset_arrays(*data: Tensor, num_arrays: int = REQUIRED) -> Any:
    """Set arrays to 0 in place."""
    return tuple(array.zero_().clone() for array in data)
