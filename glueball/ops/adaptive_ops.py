"""Update steps with adaptive rates as operators: Adam, AdamW, RMSProp, FTRL, FTML, LAMB, and AdaGrad by rows.

The one idea: as in optimizer_ops.py, an operator returns the new weight and changes its states in place; `_moments`
moves the running mean and mean square of the gradient that all of these divide by.
"""

from __future__ import annotations

import numpy as np
import torch

from .opdef import REQUIRED, Tensor
from .optimizer_ops import POSITIVE, master, np_scaled, scaled, update, update_samples
from .rules.check import A, S, check


def _moments(grad: Tensor, mean: Tensor, var: Tensor, beta1: float, beta2: float) -> None:
    """Move the running mean and mean square of the gradient, in place."""
    mean.mul_(beta1).add_(grad, alpha=1 - beta1)
    var.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)


def _np_adam(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
) -> np.ndarray:
    g = np_scaled(g * rescale_grad + wd * w, 1.0, clip_gradient)
    return w - lr * (beta1 * m + (1 - beta1) * g) / (np.sqrt(beta2 * v + (1 - beta2) * g * g) + epsilon)


@update(
    mutates=("mean", "var"),
    check=check(*update_samples(2, 1), *update_samples(2, 1, beta1=0.5, epsilon=0.1), ref=_np_adam),
)
def adam_update(
    weight: Tensor,
    grad: Tensor,
    mean: Tensor,
    var: Tensor,
    lr: float = REQUIRED,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    lazy_update: bool = True,
) -> Tensor:
    """Adam without bias correction (put it into `lr`); the gradient is clipped after wd · weight has been added."""
    _moments(scaled(grad * rescale_grad + weight * wd, 1.0, clip_gradient), mean, var, beta1, beta2)
    return weight - mean / (var.sqrt() + epsilon) * lr


def np_adamw(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    r: np.ndarray,
    lr: float,
    eta: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    wd: float = 0.0,
    clip_gradient: float = -1.0,
) -> np.ndarray:
    g = np_scaled(g, r, clip_gradient)
    step = lr * (beta1 * m + (1 - beta1) * g) / (np.sqrt(beta2 * v + (1 - beta2) * g * g) + epsilon)
    return w - eta * (step + wd * w)


def adamw_step(
    weight: Tensor,
    grad: Tensor,
    mean: Tensor,
    var: Tensor,
    rescale: Tensor,
    lr: float,
    eta: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    wd: float,
    clip: float,
) -> Tensor:
    """Loss scaling writes an overflow as a factor of 0 or one that is not finite: then nothing changes (decided
    without a look at the value)."""
    factor = rescale.reshape(()).to(weight.dtype)
    counts = torch.isfinite(factor) & (factor != 0)
    grad = grad * torch.where(counts, factor, torch.zeros_like(factor))
    grad = torch.where(counts, grad.clamp(-clip, clip) if clip >= 0 else grad, torch.zeros_like(grad))
    new_mean, new_var = mean.clone(), var.clone()
    _moments(grad, new_mean, new_var, beta1, beta2)
    mean.copy_(torch.where(counts, new_mean, mean))
    var.copy_(torch.where(counts, new_var, var))
    return torch.where(counts, weight - (mean / (var.sqrt() + epsilon) * lr + weight * wd) * eta, weight)


_ADAMW = (A(3, 2), A(3, 2), A(3, 2), A(3, 2, **POSITIVE), np.array([0.5]))


@update(
    aliases=("_contrib_adamw_update",),
    mutates=("mean", "var"),
    check=check(
        S(*_ADAMW, grad=False, lr=0.1, eta=0.5, wd=0.1),
        S(*_ADAMW, grad=False, lr=0.1, eta=1.0, clip_gradient=0.1),
        ref=np_adamw,
    ),
)
def _adamw_update(
    weight: Tensor,
    grad: Tensor,
    mean: Tensor,
    var: Tensor,
    rescale_grad: Tensor,
    lr: float = REQUIRED,
    eta: float = REQUIRED,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    wd: float = 0.0,
    clip_gradient: float = -1.0,
) -> Tensor:
    """Adam with decoupled weight decay: weight − eta · (lr · mean / (√var + epsilon) + wd · weight); no change where
    rescale_grad is 0 or not finite."""
    return adamw_step(weight, grad, mean, var, rescale_grad, lr, eta, beta1, beta2, epsilon, wd, clip_gradient)


@update(
    aliases=("_contrib_mp_adamw_update",),
    mutates=("mean", "var", "weight32"),
    check=check(
        S(
            A(3, 2, dtype="float16"),
            A(3, 2, dtype="float16"),
            A(3, 2, dtype="float32"),
            A(3, 2, dtype="float32", **POSITIVE),
            A(3, 2, dtype="float32"),
            np.array([0.5], np.float32),
            grad=False,
            lr=0.1,
            eta=0.5,
            wd=0.1,
        ),
        ref=lambda w, g, m, v, x, r, **k: np_adamw(x, g, m, v, r, **k).astype(np.float16),
        rtol=2e-3,
    ),
)
def _mp_adamw_update(
    weight: Tensor,
    grad: Tensor,
    mean: Tensor,
    var: Tensor,
    weight32: Tensor,
    rescale_grad: Tensor,
    lr: float = REQUIRED,
    eta: float = REQUIRED,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    wd: float = 0.0,
    clip_gradient: float = -1.0,
) -> Tensor:
    """Do `_adamw_update` on the float32 copy of a half-precision weight."""
    return master(
        weight,
        weight32,
        adamw_step(weight32, grad.float(), mean, var, rescale_grad, lr, eta, beta1, beta2, epsilon, wd, clip_gradient),
    )


def _np_rmsprop(
    w: np.ndarray,
    g: np.ndarray,
    n: np.ndarray,
    lr: float,
    gamma1: float = 0.95,
    epsilon: float = 1e-8,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    clip_weights: float = -1.0,
) -> np.ndarray:
    g = np_scaled(g * rescale_grad + wd * w, 1.0, clip_gradient)
    return np_scaled(w - lr * g / np.sqrt((1 - gamma1) * g * g + gamma1 * n + epsilon), 1.0, clip_weights)


@update(
    mutates=("n",),
    check=check(*update_samples(1, 1), *update_samples(1, 1, clip_weights=0.3, gamma1=0.5), ref=_np_rmsprop),
)
def rmsprop_update(
    weight: Tensor,
    grad: Tensor,
    n: Tensor,
    lr: float = REQUIRED,
    gamma1: float = 0.95,
    epsilon: float = 1e-8,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    clip_weights: float = -1.0,
) -> Tensor:
    """RMSProp (Tieleman and Hinton 2012): n ← γ·n + (1 − γ)·g²; return weight − lr · g / √(n + epsilon)."""
    grad = scaled(grad * rescale_grad + weight * wd, 1.0, clip_gradient)
    n.mul_(gamma1).addcmul_(grad, grad, value=1 - gamma1)
    return scaled(weight - grad * lr / (n + epsilon).sqrt(), 1.0, clip_weights)


def _np_rmspropalex(
    w: np.ndarray,
    g: np.ndarray,
    n: np.ndarray,
    s: np.ndarray,
    d: np.ndarray,
    lr: float,
    gamma1: float = 0.95,
    gamma2: float = 0.9,
    epsilon: float = 1e-8,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    clip_weights: float = -1.0,
) -> np.ndarray:
    g = np_scaled(g * rescale_grad + wd * w, 1.0, clip_gradient)
    n, s = gamma1 * n + (1 - gamma1) * g * g, gamma1 * s + (1 - gamma1) * g
    return np_scaled(w + gamma2 * d - lr * g / np.sqrt(n - s * s + epsilon), 1.0, clip_weights)


_ALEX = (A(3, 2), A(3, 2), A(3, 2, low=0.5, high=1.0), A(3, 2, low=-0.3, high=0.3), A(3, 2))


@update(
    mutates=("n", "g", "delta"),
    check=check(
        S(*_ALEX, grad=False, lr=0.1),
        S(*_ALEX, grad=False, lr=0.1, wd=0.1, clip_gradient=0.2, clip_weights=0.3),
        ref=_np_rmspropalex,
    ),
)
def rmspropalex_update(
    weight: Tensor,
    grad: Tensor,
    n: Tensor,
    g: Tensor,
    delta: Tensor,
    lr: float = REQUIRED,
    gamma1: float = 0.95,
    gamma2: float = 0.9,
    epsilon: float = 1e-8,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    clip_weights: float = -1.0,
) -> Tensor:
    """RMSProp with momentum and a centred second moment (Graves 2013): delta ← γ2·delta − lr·grad / √(n − g² +
    epsilon)."""
    grad = scaled(grad * rescale_grad + weight * wd, 1.0, clip_gradient)
    n.mul_(gamma1).addcmul_(grad, grad, value=1 - gamma1)
    g.mul_(gamma1).add_(grad, alpha=1 - gamma1)
    delta.mul_(gamma2).sub_(grad * lr / (n - g * g + epsilon).sqrt())
    return scaled(weight + delta, 1.0, clip_weights)


def _np_ftrl(
    w: np.ndarray,
    g: np.ndarray,
    z: np.ndarray,
    n: np.ndarray,
    lr: float,
    lamda1: float = 0.01,
    beta: float = 1.0,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
) -> np.ndarray:
    g = np_scaled(g, rescale_grad, clip_gradient)
    z = z + g - (np.sqrt(n + g * g) - np.sqrt(n)) / lr * w
    return (np.sign(z) * lamda1 - z) / ((beta + np.sqrt(n + g * g)) / lr + wd) * (np.abs(z) > lamda1)


@update(mutates=("z", "n"), check=check(*update_samples(2, 1), *update_samples(2, 1, lamda1=0.5), ref=_np_ftrl))
def ftrl_update(
    weight: Tensor,
    grad: Tensor,
    z: Tensor,
    n: Tensor,
    lr: float = REQUIRED,
    lamda1: float = 0.01,
    beta: float = 1.0,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
) -> Tensor:
    """Follow the regularised leader (McMahan et al. 2013); weights whose |z| stays below lamda1 become 0."""
    grad = scaled(grad, rescale_grad, clip_gradient)
    before = n.sqrt()
    n.addcmul_(grad, grad)
    after = n.sqrt()
    z.add_(grad - (after - before) / lr * weight)
    return torch.where(z.abs() > lamda1, (torch.sign(z) * lamda1 - z) / ((after + beta) / lr + wd), torch.zeros_like(z))


def _np_ftml(
    w: np.ndarray,
    g: np.ndarray,
    d: np.ndarray,
    v: np.ndarray,
    z: np.ndarray,
    lr: float,
    t: int,
    beta1: float = 0.6,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_grad: float = -1.0,
) -> np.ndarray:
    g = np_scaled(g * rescale_grad + wd * w, 1.0, clip_grad)
    new = (1 - beta1**t) / lr * (np.sqrt((beta2 * v + (1 - beta2) * g * g) / (1 - beta2**t)) + epsilon)
    return -(beta1 * z + (1 - beta1) * g - (new - beta1 * d) * w) / new


_FTML = (A(3, 2), A(3, 2), A(3, 2, **POSITIVE), A(3, 2, **POSITIVE), A(3, 2))


@update(
    mutates=("d", "v", "z"),
    check=check(
        S(*_FTML, grad=False, lr=0.1, t=3), S(*_FTML, grad=False, lr=0.1, t=1, wd=0.1, clip_grad=0.2), ref=_np_ftml
    ),
)
def ftml_update(
    weight: Tensor,
    grad: Tensor,
    d: Tensor,
    v: Tensor,
    z: Tensor,
    lr: float = REQUIRED,
    beta1: float = 0.6,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    t: int = REQUIRED,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_grad: float = -1.0,
) -> Tensor:
    """Follow the moving leader (Zheng and Kwok 2017) at step `t`."""
    grad = scaled(grad * rescale_grad + weight * wd, 1.0, clip_grad)
    v.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    new = ((v / (1 - beta2**t)).sqrt() + epsilon) * ((1 - beta1**t) / lr)
    z.mul_(beta1).add_(grad, alpha=1 - beta1).sub_((new - d * beta1) * weight)
    d.copy_(new)
    return -z / new


def np_lamb_direction(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    t: int,
    wd: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-6,
    bias_correction: bool = True,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
) -> np.ndarray:
    g = np_scaled(g, rescale_grad, clip_gradient)
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
    if bias_correction:
        m, v = m / (1 - beta1**t), v / (1 - beta2**t)
    return m / (np.sqrt(v) + epsilon) + wd * w


def lamb_direction(
    weight: Tensor,
    grad: Tensor,
    mean: Tensor,
    var: Tensor,
    beta1: float,
    beta2: float,
    epsilon: float,
    t: int,
    correct: bool,
    wd: float,
    rescale: float,
    clip: float,
) -> Tensor:
    _moments(scaled(grad, rescale, clip), mean, var, beta1, beta2)
    m, v = (mean / (1 - beta1**t), var / (1 - beta2**t)) if correct else (mean, var)
    return m / (v.sqrt() + epsilon) + weight * wd


_LAMB = (A(3, 2), A(3, 2), A(3, 2), A(3, 2, **POSITIVE))


@update(
    mutates=("mean", "var"),
    check=check(
        S(*_LAMB, grad=False, t=2, wd=0.1),
        S(*_LAMB, grad=False, t=2, wd=0.0, bias_correction=False, clip_gradient=0.1),
        ref=np_lamb_direction,
    ),
)
def lamb_update_phase1(
    weight: Tensor,
    grad: Tensor,
    mean: Tensor,
    var: Tensor,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-6,
    t: int = REQUIRED,
    bias_correction: bool = True,
    wd: float = REQUIRED,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
) -> Tensor:
    """The direction of LAMB (You et al. 2019): Adam's, plus wd · weight. `lamb_update_phase2` makes the step."""
    return lamb_direction(
        weight, grad, mean, var, beta1, beta2, epsilon, t, bias_correction, wd, rescale_grad, clip_gradient
    )


@update(
    mutates=("mean", "var"),
    check=check(
        S(
            A(3, 2, dtype="float16"),
            A(3, 2, dtype="float16"),
            *[A(3, 2, dtype="float32", **POSITIVE)] * 3,
            grad=False,
            t=2,
            wd=0.1,
        ),
        ref=lambda w, g, m, v, x, **k: np_lamb_direction(x, g.astype(np.float32), m, v, **k),
        rtol=1e-4,
    ),
)
def mp_lamb_update_phase1(
    weight: Tensor,
    grad: Tensor,
    mean: Tensor,
    var: Tensor,
    weight32: Tensor,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-6,
    t: int = REQUIRED,
    bias_correction: bool = True,
    wd: float = REQUIRED,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
) -> Tensor:
    """Do `lamb_update_phase1` in float32, with the float32 copy of the weight."""
    return lamb_direction(
        weight32, grad.float(), mean, var, beta1, beta2, epsilon, t, bias_correction, wd, rescale_grad, clip_gradient
    )


def np_lamb_step(
    w: np.ndarray,
    g: np.ndarray,
    r1: np.ndarray,
    r2: np.ndarray,
    lr: float,
    lower_bound: float = -1.0,
    upper_bound: float = -1.0,
) -> np.ndarray:
    r1 = np.maximum(r1, lower_bound) if lower_bound >= 0 else r1
    r1 = np.minimum(r1, upper_bound) if upper_bound >= 0 else r1
    return w - lr * np.where((r1 == 0) | (r2 == 0), 1.0, r1 / np.where(r2 == 0, 1, r2)) * g


def lamb_step(weight: Tensor, g: Tensor, r1: Tensor, r2: Tensor, lr: float, lower: float, upper: float) -> Tensor:
    r1 = r1.clamp_min(lower) if lower >= 0 else r1
    r1 = r1.clamp_max(upper) if upper >= 0 else r1
    ratio = torch.where((r1 == 0) | (r2 == 0), torch.ones_like(r1), r1 / r2)
    return weight - g * ratio * lr


@update(
    mutates=(),
    check=check(
        S(A(3, 2), A(3, 2), A(1, **POSITIVE), A(1, **POSITIVE), grad=False, lr=0.1),
        S(A(3, 2), A(3, 2), A(1, **POSITIVE), np.zeros(1), grad=False, lr=0.1, lower_bound=0.2, upper_bound=0.5),
        ref=np_lamb_step,
    ),
)
def lamb_update_phase2(
    weight: Tensor,
    g: Tensor,
    r1: Tensor,
    r2: Tensor,
    lr: float = REQUIRED,
    lower_bound: float = -1.0,
    upper_bound: float = -1.0,
) -> Tensor:
    """Make LAMB's step along `g`: weight − lr · (r1 / r2) · g with the norms r1 of the weight, kept between the
    bounds, and r2 of `g`."""
    return lamb_step(weight, g, r1, r2, lr, lower_bound, upper_bound)


@update(
    mutates=("weight32",),
    check=check(
        S(
            A(3, 2, dtype="float16"),
            A(3, 2, dtype="float32"),
            np.ones(1, np.float32),
            np.full(1, 2.0, np.float32),
            A(3, 2, dtype="float32"),
            grad=False,
            lr=0.1,
        ),
        ref=lambda w, g, r1, r2, x, **k: np_lamb_step(x, g, r1, r2, **k).astype(np.float16),
        rtol=2e-3,
    ),
)
def mp_lamb_update_phase2(
    weight: Tensor,
    g: Tensor,
    r1: Tensor,
    r2: Tensor,
    weight32: Tensor,
    lr: float = REQUIRED,
    lower_bound: float = -1.0,
    upper_bound: float = -1.0,
) -> Tensor:
    """Do `lamb_update_phase2` on the float32 copy of a half-precision weight."""
    return master(weight, weight32, lamb_step(weight32, g, r1, r2, lr, lower_bound, upper_bound))


def _np_group_adagrad(
    w: np.ndarray,
    g: np.ndarray,
    h: np.ndarray,
    lr: float,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    epsilon: float = 1e-5,
) -> np.ndarray:
    g = np_scaled(g, rescale_grad, clip_gradient)
    return w - lr * g / (np.sqrt(h + (g * g).mean(tuple(range(1, g.ndim)), keepdims=True)) + epsilon)


@update(
    mutates=("history",),
    check=check(
        S(A(3, 2), A(3, 2), A(3, 1, **POSITIVE), grad=False, lr=0.1),
        S(A(3, 2), A(3, 2), A(3, 1, **POSITIVE), grad=False, lr=0.1, clip_gradient=0.1),
        ref=_np_group_adagrad,
    ),
)
def _contrib_group_adagrad_update(
    weight: Tensor,
    grad: Tensor,
    history: Tensor,
    lr: float = REQUIRED,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    epsilon: float = 1e-5,
) -> Tensor:
    """AdaGrad with one rate per row: history (rows, 1) adds up each row's mean squared gradient."""
    grad = scaled(grad, rescale_grad, clip_gradient)
    history.add_((grad * grad).reshape(grad.shape[0], -1).mean(1).reshape(history.shape))
    return weight - grad * lr / (history.sqrt() + epsilon).reshape(-1, *(1,) * (grad.dim() - 1))
