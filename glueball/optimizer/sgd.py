"""Gradient descent and its close kin: SGD, NAG, Signum, SGLD, DCASGD, and the trivial `Test`.

Each class is a `state` and a `rule` on plain tensors, in the order of operations of Gluon 1.x: rescale, clip, add
wd·w. SGD has a fused kernel besides. The protocol is in `optimizer.py`; LARS and LBSGD, which scale steps per layer,
are in `large_batch.py`.
"""

from __future__ import annotations

from typing import Any

import torch

from ..base import aten
from .optimizer import Arithmetic, Optimizer, Step, register

__all__ = ["SGD", "NAG", "Signum", "SGLD", "DCASGD", "Test", "ccSGD"]

Tensor = torch.Tensor


@register
class SGD(Optimizer):
    r"""Stochastic gradient descent with momentum and weight decay.

    v ← μ·v − lr·(clip(rescale·g) + wd·w);  w ← w + v

    Parameters
    ----------
    momentum : float, default 0
        μ; without momentum no state is kept.
    lazy_update : bool, default True
        Accepted for sparse gradients of Gluon 1.x; gradients here are dense and every row is updated.

    Examples
    --------
    >>> import glueball as mx
    >>> weight, updater = mx.nd.ones((1,)), mx.optimizer.get_updater(mx.optimizer.SGD(learning_rate=0.1, momentum=0.9))
    >>> for _ in range(2):
    ...     updater(0, mx.nd.ones((1,)), weight)
    >>> round(weight.asscalar().item(), 6)
    0.71
    """

    def __init__(self, momentum: float = 0.0, lazy_update: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum = momentum
        self.lazy_update = lazy_update

    def state(self, weight: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros_like(weight),) if self.momentum else ()

    def rule(self, w: Arithmetic, g: Arithmetic, state: tuple[Arithmetic, ...], step: Step) -> None:
        g = self.gradient(g).add(w, alpha=step.wd)
        if state:
            w.add_(state[0].mul_(self.momentum).add_(g, alpha=-step.lr))
        else:
            w.add_(g, alpha=-step.lr)

    def rule_list(
        self, weights: list[Tensor], grads: list[Tensor], states: tuple[list[Tensor], ...], step: Step
    ) -> None:
        if self.clip_gradient is not None or not self.rescale_grad or not step.lr:
            return super().rule_list(weights, grads, states, step)
        # lr·(rescale·g + wd·w) = lr·rescale·(g + wd/rescale·w): the kernel then needs no rescaled copy of the gradient.
        aten.fused_sgd_(
            weights,
            grads,
            states[0] if states else [],
            gradient_factor=-step.lr * self.rescale_grad,
            weight_decay=step.wd / self.rescale_grad,
            momentum=self.momentum,
        )


@register
class ccSGD(SGD):
    """An old name of `SGD`."""


@register
class NAG(SGD):
    r"""Nesterov's accelerated gradient.

    w ← w + μ·v' − lr·g', where v' = μ·v − lr·g' and g' = clip(rescale·g) + wd·w; then v ← v' with the new w's decay

    *Source*: Nesterov 1983, in the form of Sutskever et al. 2013 with the gradient taken at the shifted point.
    """

    def __init__(self, momentum: float = 0.0, **kwargs: Any) -> None:
        super().__init__(momentum=momentum, **kwargs)

    rule_list = Optimizer.rule_list

    def rule(self, w: Arithmetic, g: Arithmetic, state: tuple[Arithmetic, ...], step: Step) -> None:
        g, decay = self.gradient(g), step.lr * step.wd
        if not state:
            w.add_(g.add(w, alpha=step.wd), alpha=-step.lr)
            return
        velocity = state[0].mul_(self.momentum).add_(g, alpha=-step.lr)
        w.mul_(1.0 - decay * (1.0 + self.momentum)).add_(velocity, alpha=self.momentum).add_(g, alpha=-step.lr)
        if decay:
            velocity.add_(w, alpha=-decay)  # of the new weight: what MXNet's kernel computes, whose output is its input


@register
class Signum(Optimizer):
    r"""Steps of one size in the direction of the sign of the momentum (SignSGD without momentum).

    m ← μ·m − (1 − μ)·(clip(rescale·g) + wd·w);  w ← (1 − lr·wd_lh)·w + lr·sign(m); and without momentum
    w ← (1 − lr·wd)·w − lr·sign(g)

    Parameters
    ----------
    learning_rate : float, default 0.01
    momentum : float, default 0.9
    wd_lh : float, default 0
        Weight decay in the manner of Loshchilov and Hutter, beside the sign.

    Notes
    -----
    *Source*: Bernstein et al. 2018, signSGD.
    """

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.9, wd_lh: float = 0.0, **kwargs: Any) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.momentum = momentum
        self.wd_lh = wd_lh

    def state(self, weight: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros_like(weight),) if self.momentum else ()

    def rule(self, w: Arithmetic, g: Arithmetic, state: tuple[Arithmetic, ...], step: Step) -> None:
        g = self.gradient(g)
        if state:
            decay, g = (
                self.wd_lh,
                state[0].mul_(self.momentum).add_(g.add(w, alpha=step.wd), alpha=self.momentum - 1.0).neg(),
            )
        else:
            decay = step.wd
        w.mul_(1.0 - step.lr * decay).add_(g.sign(), alpha=-step.lr)


@register
class SGLD(Optimizer):
    r"""Stochastic gradient Langevin dynamics: descent with noise that samples from a posterior.

    w ← w − lr/2·(clip(rescale·g) + wd·w) + ε, with ε normal of variance lr

    *Source*: Welling and Teh 2011.
    """

    rule_list = Optimizer.one_by_one

    def rule(self, w: Tensor, g: Tensor, state: tuple[Tensor, ...], step: Step) -> None:
        w.add_(self.gradient(g).add(w, alpha=step.wd), alpha=-step.lr / 2)
        w.add_(torch.randn_like(w), alpha=step.lr**0.5)


@register
class DCASGD(Optimizer):
    r"""Asynchronous SGD that compensates the delay of a gradient by the distance the weight has moved.

    v ← μ·v − lr·(g' + wd·w + λ·g'²·(w − w_before));  w_before ← w;  w ← w + v, with g' = clip(rescale·g)

    Parameters
    ----------
    momentum : float, default 0
    lamda : float, default 0.04
        λ, the strength of the compensation.

    Notes
    -----
    *Source*: Zheng et al. 2016.
    """

    def __init__(self, momentum: float = 0.0, lamda: float = 0.04, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.momentum = momentum
        self.lamda = lamda

    def state(self, weight: Tensor) -> tuple[Tensor, ...]:
        return (weight.clone(), torch.zeros_like(weight)) if self.momentum else (weight.clone(),)

    def rule(self, w: Arithmetic, g: Arithmetic, state: tuple[Arithmetic, ...], step: Step) -> None:
        g, before = self.gradient(g), state[0]
        change = g.add(w, alpha=step.wd).addcmul_(g.mul(g), w.sub(before), value=self.lamda).mul_(-step.lr)
        before.copy_(w)
        w.add_(state[1].mul_(self.momentum).add_(change) if self.momentum else change)


@register
class Test(Optimizer):
    """Add the rescaled gradient to the weight: for tests of the machinery around an optimiser."""

    __test__ = False  # pytest collects classes of this name

    def state(self, weight: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros_like(weight),)

    def rule(self, w: Arithmetic, g: Arithmetic, state: tuple[Arithmetic, ...], step: Step) -> None:
        w.add_(g.mul(self.rescale_grad))
        state[0].copy_(w)
