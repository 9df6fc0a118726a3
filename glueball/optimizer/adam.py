"""Adam and its kin: Adam, AdamW, Adamax, Nadam, FTML.

The one idea: all keep a running mean of gradients (and of their squares or sizes) and correct it for having started at
zero, by the count of the weight's own updates, `step.t`. Adam and AdamW have a fused kernel besides. The protocol is in
`optimizer.py`; LAMB, which scales Adam's steps per layer, is in `large_batch.py`.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ..base import aten
from ..base.aten import TensorList
from .optimizer import Arithmetic, Optimizer, Step, register

__all__ = ["Adam", "AdamW", "Adamax", "Nadam", "FTML"]

Tensor = torch.Tensor


@register
class Adam(Optimizer):
    r"""Steps scaled by running means of the gradient and of its square.

    m ← β1·m + (1 − β1)·g';  v ← β2·v + (1 − β2)·g'²;  w ← w − lr·√(1 − β2^t)/(1 − β1^t) · m/(√v + ε), with g' =
    clip(rescale·g + wd·w)

    Parameters
    ----------
    learning_rate : float, default 0.001
    beta1, beta2 : float, default 0.9 and 0.999
    epsilon : float, default 1e-8
    lazy_update : bool, default True
        Accepted for sparse gradients of Gluon 1.x; gradients here are dense and every row is updated.

    Notes
    -----
    *Source*: Kingma and Ba 2015, section 2, the variant with ε beside the uncorrected √v.

    Examples
    --------
    >>> import glueball as mx
    >>> weight, adam = mx.nd.ones((1,)), mx.optimizer.Adam(learning_rate=0.1)
    >>> adam.update(0, weight, mx.nd.ones((1,)), adam.create_state(0, weight))
    >>> round(weight.asscalar().item(), 4)
    0.9
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        lazy_update: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.lazy_update = lazy_update

    def state(self, weight: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros_like(weight), torch.zeros_like(weight))

    def rule(self, w: Arithmetic, g: Arithmetic, state: tuple[Arithmetic, ...], step: Step) -> None:
        self.descend(w, self.decayed_gradient(w, g, step), state, step)

    def descend(self, w: Arithmetic, g: Arithmetic, state: tuple[Arithmetic, ...], step: Step) -> None:
        """The rule after rescaling, clipping and weight decay."""
        mean, variance = state
        mean.mul_(self.beta1).add_(g, alpha=1.0 - self.beta1)
        variance.mul_(self.beta2).addcmul_(g, g, value=1.0 - self.beta2)
        correction = math.sqrt(1.0 - self.beta2**step.t) / (1.0 - self.beta1**step.t)
        w.addcdiv_(mean, variance.sqrt().add_(self.epsilon), value=-step.lr * correction)

    def rule_list(
        self, weights: list[Tensor], grads: list[Tensor], states: tuple[list[Tensor], ...], step: Step
    ) -> None:
        if self.clip_gradient is not None:
            return super().rule_list(weights, grads, states, step)
        if self.rescale_grad != 1.0:
            grads = TensorList(grads).mul(self.rescale_grad).tensors
        if step.wd:
            grads = TensorList(grads).add(TensorList(weights), alpha=step.wd).tensors
        self.fused(weights, grads, states, step)

    def fused(self, weights: list[Tensor], grads: list[Tensor], states: tuple[list[Tensor], ...], step: Step) -> None:
        """`descend` as one kernel, whose ε stands beside the corrected √v and is therefore larger."""
        aten.fused_adam_(
            weights,
            grads,
            *states,
            step=_count(step.t, weights[0].device),
            lr=step.lr,
            beta1=self.beta1,
            beta2=self.beta2,
            eps=self.epsilon / math.sqrt(1.0 - self.beta2**step.t),
        )


def _count(t: int, device: torch.device) -> Tensor:
    return torch.full((), float(t), device=device)


@register
class AdamW(Adam):
    r"""Adam with weight decay beside the step instead of inside the gradient.

    w ← w − lr·(√(1 − β2^t)/(1 − β1^t) · m/(√v + ε) + wd·w), m and v of the gradient without decay

    Parameters
    ----------
    learning_rate : float, default 0.001
    beta1, beta2 : float, default 0.9 and 0.999
    epsilon : float, default 1e-6
    correct_bias : bool, default True
        False leaves the correction √(1 − β2^t)/(1 − β1^t) out.

    Notes
    -----
    *Source*: Loshchilov and Hutter 2019, algorithm 2 with the schedule inside `lr`.
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-6,
        correct_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon, **kwargs)
        self.correct_bias = correct_bias

    def rule(self, w: Arithmetic, g: Arithmetic, state: tuple[Arithmetic, ...], step: Step) -> None:
        mean, variance = state
        g = self.gradient(g)
        mean.mul_(self.beta1).add_(g, alpha=1.0 - self.beta1)
        variance.mul_(self.beta2).addcmul_(g, g, value=1.0 - self.beta2)
        correction = math.sqrt(1.0 - self.beta2**step.t) / (1.0 - self.beta1**step.t) if self.correct_bias else 1.0
        w.mul_(1.0 - step.lr * step.wd).addcdiv_(mean, variance.sqrt().add_(self.epsilon), value=-step.lr * correction)

    def rule_list(
        self, weights: list[Tensor], grads: list[Tensor], states: tuple[list[Tensor], ...], step: Step
    ) -> None:
        if self.clip_gradient is not None or not self.correct_bias:
            return Optimizer.rule_list(self, weights, grads, states, step)
        if self.rescale_grad != 1.0:
            grads = TensorList(grads).mul(self.rescale_grad).tensors
        if step.wd:
            TensorList(weights).mul_(1.0 - step.lr * step.wd)
        self.fused(weights, grads, states, step)


@register
class Adamax(Optimizer):
    r"""Adam with the largest recent gradient in place of the root of the mean square.

    m ← β1·m + (1 − β1)·g';  u ← max(β2·u, \|g'\|);  w ← w − lr/(1 − β1^t) · m/u, with g' = clip(rescale·g + wd·w)

    *Source*: Kingma and Ba 2015, section 7.1.
    """

    def __init__(self, learning_rate: float = 0.002, beta1: float = 0.9, beta2: float = 0.999, **kwargs: Any) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta1 = beta1
        self.beta2 = beta2

    def state(self, weight: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros_like(weight), torch.zeros_like(weight))

    def rule(self, w: Arithmetic, g: Arithmetic, state: tuple[Arithmetic, ...], step: Step) -> None:
        mean, largest = state
        g = self.decayed_gradient(w, g, step)
        mean.mul_(self.beta1).add_(g, alpha=1.0 - self.beta1)
        largest.copy_(largest.mul(self.beta2).maximum(g.abs()))
        # A weight whose gradient has been 0 from the start has mean 0 and largest 0: it stays.
        w.addcdiv_(mean, largest.clone().clamp_min_(_TINY), value=-step.lr / (1.0 - self.beta1**step.t))


_TINY = 1e-35


@register
class Nadam(Optimizer):
    r"""Adam with Nesterov momentum, whose factor grows towards β1 as updates go by.

    With μ_t = β1·(1 − 0.96^(t·schedule_decay)/2), M_t = μ_1·…·μ_t and g' = clip(rescale·g + wd·w):
    m ← β1·m + (1 − β1)·g';  v ← β2·v + (1 − β2)·g'²;
    w ← w − lr·((1 − μ_t)·g'/(1 − M_t) + μ_{t+1}·m/(1 − M_{t+1})) / (√(v/(1 − β2^t)) + ε)

    Notes
    -----
    *Source*: Dozat 2016. M_t follows each weight's own count; Gluon 1.x multiplied one shared number on for every
    weight.
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        schedule_decay: float = 0.004,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.schedule_decay = schedule_decay
        self._products = [1.0]  # M_0, M_1, …

    def state(self, weight: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros_like(weight), torch.zeros_like(weight))

    def momentum_at(self, t: int) -> float:
        """Return μ_t."""
        return self.beta1 * (1.0 - 0.5 * 0.96 ** (t * self.schedule_decay))

    def product_to(self, t: int) -> float:
        """Return M_t."""
        while len(self._products) <= t:
            self._products.append(self._products[-1] * self.momentum_at(len(self._products)))
        return self._products[t]

    def rule(self, w: Arithmetic, g: Arithmetic, state: tuple[Arithmetic, ...], step: Step) -> None:
        mean, variance = state
        g, t = self.decayed_gradient(w, g, step), step.t
        mean.mul_(self.beta1).add_(g, alpha=1.0 - self.beta1)
        variance.mul_(self.beta2).addcmul_(g, g, value=1.0 - self.beta2)
        ahead = g.mul((1.0 - self.momentum_at(t)) / (1.0 - self.product_to(t)))
        ahead.add_(mean, alpha=self.momentum_at(t + 1) / (1.0 - self.product_to(t + 1)))
        w.addcdiv_(ahead, variance.div(1.0 - self.beta2**t).sqrt_().add_(self.epsilon), value=-step.lr)


@register
class FTML(Optimizer):
    r"""Follow the moving leader.

    v ← β2·v + (1 − β2)·g'²;  d' = (1 − β1^t)/lr·(√(v/(1 − β2^t)) + ε);  z ← β1·z + (1 − β1)·g' − (d' − β1·d)·w;  d ←
    d';  w ← −z/d

    with g' = clip(rescale·g + wd·w).

    Notes
    -----
    *Source*: Zheng and Kwok 2017.
    """

    def __init__(self, beta1: float = 0.6, beta2: float = 0.999, epsilon: float = 1e-8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon

    def state(self, weight: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros_like(weight), torch.zeros_like(weight), torch.zeros_like(weight))

    def rule(self, w: Arithmetic, g: Arithmetic, state: tuple[Arithmetic, ...], step: Step) -> None:
        distance, variance, leader = state
        g, t = self.decayed_gradient(w, g, step), step.t
        variance.mul_(self.beta2).addcmul_(g, g, value=1.0 - self.beta2)
        new = variance.div(1.0 - self.beta2**t).sqrt_().add_(self.epsilon).mul_((1.0 - self.beta1**t) / step.lr)
        sigma = new.add(distance, alpha=-self.beta1)
        leader.mul_(self.beta1).add_(g, alpha=1.0 - self.beta1).addcmul_(sigma, w, value=-1.0)
        distance.copy_(new)
        w.copy_(leader.div(new).neg())
