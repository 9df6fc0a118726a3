"""Optimisers for very large batches, whose steps are scaled per layer by the sizes of weight and step: LARS, LBSGD,
LAMB.

Their rules need the norm of each weight, so they work weight by weight; norms stay on the device (nothing waits for
it). The rules that they scale are SGD's (`sgd.py`) and Adam's (`adam.py`).
"""

from __future__ import annotations

import math
from typing import Any

import torch

from .optimizer import Optimizer, Step, register
from .sgd import SGD

__all__ = ["LARS", "LBSGD", "LAMB"]

Tensor = torch.Tensor


@register
class LARS(SGD):
    r"""SGD whose learning rate follows, layer by layer, the ratio of the weight's norm to the gradient's.

    lr' = lr·η·‖w‖/(‖rescale·g‖ + wd·‖w‖ + eps), then SGD's rule with lr'. Weights named ``…gamma``, ``…beta`` or
    ``…bias`` keep lr.

    Parameters
    ----------
    momentum : float, default 0
    lazy_update : bool, default True
        Accepted for compatibility; gradients are dense.
    eta : float, default 0.001
        η, the trust coefficient.
    eps : float, default 0
    momentum_correction : bool, default True
        Scale the momentum by lr/lr_before when the learning rate changes.

    Notes
    -----
    *Source*: You, Gitman and Ginsburg 2017; momentum correction: Goyal et al. 2017, remark 3.
    """

    def __init__(
        self,
        momentum: float = 0.0,
        lazy_update: bool = True,
        eta: float = 0.001,
        eps: float = 0,
        momentum_correction: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(momentum=momentum, lazy_update=lazy_update, **kwargs)
        self.eta = eta
        self.eps = eps
        self.momentum_correction = momentum_correction
        self.last_lr: float | None = None
        self.cur_lr: float | None = None

    rule_list = Optimizer.one_by_one

    def group(self, index: Any) -> bool:
        """Whether the layer-wise ratio applies to this weight."""
        name = self.idx2name.get(index, str(index)) if index not in self.param_dict else self.param_dict[index].name
        return not name.endswith(("gamma", "beta", "bias"))

    def _get_lrs(self, indices: Any) -> list[float]:
        lr = self.learning_rate
        if lr != self.cur_lr:
            self.last_lr, self.cur_lr = self.cur_lr if self.cur_lr is not None else lr, lr
        return super()._get_lrs(indices)

    def rule(self, w: Tensor, g: Tensor, state: tuple[Tensor, ...], step: Step) -> None:
        lr: Any = step.lr
        if step.group:
            weight_norm, grad_norm = w.norm(), g.norm() * self.rescale_grad
            ratio = self.eta * weight_norm / (grad_norm + step.wd * weight_norm + self.eps)
            lr = torch.where((weight_norm > 0) & (grad_norm > 0), ratio, torch.ones_like(ratio)) * step.lr
        change = self.gradient(g).add(w, alpha=step.wd).mul_(lr)
        if not state:
            w.sub_(change)
            return
        momentum = self.momentum
        if self.momentum_correction and self.last_lr:
            momentum *= (self.cur_lr or 0.0) / self.last_lr
        w.add_(state[0].mul_(momentum).sub_(change))


@register
class LBSGD(Optimizer):
    r"""SGD that adds up `batch_scale` gradients before it moves, and warms up towards a `batch_scale` times larger
    learning rate.

    Parameters
    ----------
    momentum : float, default 0
    multi_precision : bool, default False
    warmup_strategy : {'linear', 'power2', 'sqrt', 'lars'}
        How the learning rate's factor grows from 1 to `batch_scale`; 'lars' takes √(‖w‖²/(‖g‖² + wd·‖w‖²)) within
        [0.01, 100] instead.
    warmup_epochs : int, default 5
    batch_scale : int, default 1
        Gradients per update; for 'lars' too.
    updates_per_epoch : int, default 32
    begin_epoch : int, default 0
    num_epochs : int, default 60

    Notes
    -----
    *Source*: You et al. 2017 ('lars'); Goyal et al. 2017 (warm-up).
    """

    def __init__(
        self,
        momentum: float = 0.0,
        multi_precision: bool = False,
        warmup_strategy: str = "linear",
        warmup_epochs: int = 5,
        batch_scale: int = 1,
        updates_per_epoch: int = 32,
        begin_epoch: int = 0,
        num_epochs: int = 60,
        **kwargs: Any,
    ) -> None:
        super().__init__(multi_precision=multi_precision, **kwargs)
        self.momentum = momentum
        self.warmup_strategy = warmup_strategy
        self.warmup_epochs = warmup_epochs
        self.batch_scale = batch_scale
        self.updates_per_epoch = updates_per_epoch
        self.init_updates = begin_epoch * updates_per_epoch
        self.num_epochs = num_epochs
        self.adaptive = warmup_strategy == "lars"

    rule_list = Optimizer.one_by_one

    def state(self, weight: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros_like(weight), torch.zeros_like(weight)) if self.momentum else (torch.zeros_like(weight),)

    def warmup_factor(self, updates: int) -> float:
        """Return the factor on the learning rate after so many gradients."""
        warmup, largest = self.warmup_epochs * self.updates_per_epoch, float(self.batch_scale)
        if updates >= warmup:
            return largest
        if warmup <= 1:
            return 1.0
        progress = updates / warmup
        shaped = {"linear": progress, "power2": progress**2, "sqrt": math.sqrt(progress)}.get(self.warmup_strategy, 0.0)
        return 1.0 + (largest - 1.0) * shaped

    def rule(self, w: Tensor, g: Tensor, state: tuple[Tensor, ...], step: Step) -> None:
        total = state[0].add_(g)
        updates = self.init_updates + step.t
        if updates % self.batch_scale:
            return
        g = total / self.batch_scale
        total.zero_()
        factor = self._layer_factor(w, g, step.wd) if self.adaptive else self.warmup_factor(updates)
        change = self.gradient(g).add(w, alpha=step.wd).mul_(factor * step.lr)
        w.sub_(change) if len(state) == 1 else w.add_(state[1].mul_(self.momentum).sub_(change))

    def _layer_factor(self, w: Tensor, g: Tensor, wd: float) -> Tensor:
        weight, grad = (w * w).sum(), (g * g).sum()
        return (weight / (grad + wd * weight + 1e-18)).sqrt().clamp(0.01, 100.0)


@register
class LAMB(Optimizer):
    r"""Adam whose step is scaled, layer by layer, to the size of the weight.

    u = m̂/(√v̂ + ε) + wd·w;  w ← w − lr·r·u, with r = min(max(‖w‖, lower), upper)/‖u‖, or 1 where either norm is 0

    Parameters
    ----------
    learning_rate : float, default 0.001
    beta1, beta2 : float, default 0.9 and 0.999
    epsilon : float, default 1e-6
    lower_bound, upper_bound : float, optional
        Limits of ‖w‖.
    bias_correction : bool, default True
        m̂ = m/(1 − β1^t) and v̂ = v/(1 − β2^t); False takes m and v themselves.

    Notes
    -----
    *Source*: You et al. 2020, algorithm 2.
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-6,
        lower_bound: float | None = None,
        upper_bound: float | None = None,
        bias_correction: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.lower_bound = lower_bound
        self.upper_bound = upper_bound
        self.bias_correction = bias_correction

    rule_list = Optimizer.one_by_one

    def state(self, weight: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros_like(weight), torch.zeros_like(weight))

    def rule(self, w: Tensor, g: Tensor, state: tuple[Tensor, ...], step: Step) -> None:
        mean, variance = state
        g = self.gradient(g)
        mean.mul_(self.beta1).add_(g, alpha=1.0 - self.beta1)
        variance.mul_(self.beta2).addcmul_(g, g, value=1.0 - self.beta2)
        mean_factor, variance_factor = 1.0, 1.0
        if self.bias_correction:
            mean_factor, variance_factor = 1.0 - self.beta1**step.t, 1.0 - self.beta2**step.t
        change = (
            (mean / mean_factor).div_((variance / variance_factor).sqrt_().add_(self.epsilon)).add_(w, alpha=step.wd)
        )
        weight_norm, change_norm = w.norm(), change.norm()
        if self.lower_bound is not None or self.upper_bound is not None:
            weight_norm = weight_norm.clamp(self.lower_bound, self.upper_bound)
        ratio = torch.where(
            (weight_norm > 0) & (change_norm > 0), weight_norm / change_norm, torch.ones_like(weight_norm)
        )
        w.sub_(change.mul_(ratio * step.lr))
