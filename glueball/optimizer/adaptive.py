"""Optimisers that scale each element by the gradients it has seen: AdaGrad, AdaDelta, RMSProp, Ftrl.

Each class is a `state` and a `rule` on plain tensors, in the order of operations of Gluon 1.x. The protocol is in
`optimizer.py`; the optimisers with a running mean corrected for its start are in `adam.py`.
"""

from __future__ import annotations

from typing import Any

import torch

from .optimizer import Arithmetic, Optimizer, Step, register

__all__ = ["AdaGrad", "AdaDelta", "RMSProp", "Ftrl"]

Tensor = torch.Tensor


@register
class AdaGrad(Optimizer):
    r"""Steps divided by the root of the sum of all squared gradients.

    h ← h + g'²;  w ← w − lr·(g'/√(h + eps) + wd·w), with g' = clip(rescale·g)

    Parameters
    ----------
    eps : float, default 1e-7

    Notes
    -----
    *Source*: Duchi, Hazan and Singer 2011.
    """

    def __init__(self, eps: float = 1e-7, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.float_stable_eps = eps

    def state(self, weight: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros_like(weight),)

    def rule(self, w: Arithmetic, g: Arithmetic, state: tuple[Arithmetic, ...], step: Step) -> None:
        g, history = self.gradient(g), state[0]
        history.addcmul_(g, g)
        change = g.div(history.add(self.float_stable_eps).sqrt_()).add_(w, alpha=step.wd)
        w.add_(change, alpha=-step.lr)


@register
class AdaDelta(Optimizer):
    r"""Steps in units of the weight itself: no learning rate is used.

    s ← ρ·s + (1 − ρ)·g'²;  Δ = √(d + ε)/√(s + ε)·g';  d ← ρ·d + (1 − ρ)·Δ²;  w ← w − Δ − wd·w, with g' =
    clip(rescale·g)

    Parameters
    ----------
    rho : float, default 0.9
    epsilon : float, default 1e-5

    Notes
    -----
    *Source*: Zeiler 2012.
    """

    def __init__(self, rho: float = 0.9, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rho = rho
        self.epsilon = epsilon

    def state(self, weight: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros_like(weight), torch.zeros_like(weight))

    def rule(self, w: Arithmetic, g: Arithmetic, state: tuple[Arithmetic, ...], step: Step) -> None:
        squares, changes = state
        g = self.gradient(g)
        squares.mul_(self.rho).addcmul_(g, g, value=1.0 - self.rho)
        change = changes.add(self.epsilon).sqrt_().div_(squares.add(self.epsilon).sqrt_()).mul_(g)
        changes.mul_(self.rho).addcmul_(change, change, value=1.0 - self.rho)
        w.mul_(1.0 - step.wd).add_(change, alpha=-1.0)


@register
class RMSProp(Optimizer):
    r"""Steps divided by the root of a running mean of squared gradients.

    n ← γ1·n + (1 − γ1)·g'²;  w ← w − lr·g'/√(n + ε); and when centred
    m ← γ1·m + (1 − γ1)·g';  Δ ← γ2·Δ − lr·g'/√(n − m² + ε);  w ← w + Δ, with g' = clip(rescale·g + wd·w)

    Parameters
    ----------
    learning_rate : float, default 0.001
    gamma1 : float, default 0.9
        Decay of the running means.
    gamma2 : float, default 0.9
        Momentum, used when centred.
    epsilon : float, default 1e-8
    centered : bool, default False
        Divide by the running standard deviation instead of the root mean square.
    clip_weights : float, optional
        Weights are limited to ±clip_weights after each update.

    Notes
    -----
    *Source*: Tieleman and Hinton 2012; centred: Graves 2013, equations 38 to 45.
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        gamma1: float = 0.9,
        gamma2: float = 0.9,
        epsilon: float = 1e-8,
        centered: bool = False,
        clip_weights: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.gamma1 = gamma1
        self.gamma2 = gamma2
        self.epsilon = epsilon
        self.centered = centered
        self.clip_weights = clip_weights

    def state(self, weight: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.zeros_like(weight) for _ in range(3 if self.centered else 1))

    def rule(self, w: Arithmetic, g: Arithmetic, state: tuple[Arithmetic, ...], step: Step) -> None:
        g, squares = self.decayed_gradient(w, g, step), state[0]
        squares.mul_(self.gamma1).addcmul_(g, g, value=1.0 - self.gamma1)
        if self.centered:
            mean, change = state[1:]
            mean.mul_(self.gamma1).add_(g, alpha=1.0 - self.gamma1)
            spread = squares.add(self.epsilon).addcmul_(mean, mean, value=-1.0).sqrt_()
            w.add_(change.mul_(self.gamma2).addcdiv_(g, spread, value=-step.lr))
        else:
            w.addcdiv_(g, squares.add(self.epsilon).sqrt_(), value=-step.lr)
        if self.clip_weights:
            w.clamp_(-self.clip_weights, self.clip_weights)


@register
class Ftrl(Optimizer):
    r"""Follow the regularised leader, per coordinate; L1 regularisation makes weights exactly 0.

    z ← z + g' − (√(n + g'²) − √n)/lr·w;  n ← n + g'²;
    w ← −shrink(z, λ1)/((β + √n)/lr + wd), where shrink(z, λ) = sign(z)·max(\|z\| − λ, 0) and g' = clip(rescale·g)

    Parameters
    ----------
    lamda1 : float, default 0.01
        λ1, the L1 coefficient.
    learning_rate : float, default 0.1
    beta : float, default 1

    Notes
    -----
    *Source*: McMahan et al. 2013, algorithm 1; `wd` is its λ2.
    """

    def __init__(self, lamda1: float = 0.01, learning_rate: float = 0.1, beta: float = 1, **kwargs: Any) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.lamda1 = lamda1
        self.beta = beta

    def state(self, weight: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros_like(weight), torch.zeros_like(weight))

    def rule(self, w: Arithmetic, g: Arithmetic, state: tuple[Arithmetic, ...], step: Step) -> None:
        leader, squares = state
        g = self.gradient(g)
        root = squares.sqrt()
        squares.addcmul_(g, g)
        new_root = squares.sqrt()
        leader.add_(g).addcmul_(new_root.sub(root), w, value=-1.0 / step.lr)
        shrunk = leader.sign().mul_(leader.abs().add_(-self.lamda1).clamp_min_(0.0))
        w.copy_(shrunk.div_(new_root.add_(self.beta).mul_(1.0 / step.lr).add_(step.wd)).neg())
