"""Optimisers of `mx.optimizer.contrib`: GroupAdaGrad, AdaGrad with one number per row.

AdamW, which Gluon 1.x offered only as operators, is registered like any other and lives in `adam.py`.
"""

from __future__ import annotations

from typing import Any

import torch

from ..base.errors import ArgumentError, explain
from .adam import AdamW
from .optimizer import Optimizer, Step, register

__all__ = ["GroupAdaGrad", "AdamW"]

Tensor = torch.Tensor


@register
class GroupAdaGrad(Optimizer):
    r"""AdaGrad for embeddings: one running sum per row of the weight.

    h ← h + mean(g'², axis=1);  w ← w − lr·g'/√(h + eps), with g' = clip(rescale·g)

    Parameters
    ----------
    eps : float, default 1e-5
        Weight decay is not supported, as in Gluon 1.x.
    """

    def __init__(self, eps: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.float_stable_eps = eps

    rule_list = Optimizer.one_by_one

    def state(self, weight: Tensor) -> tuple[Tensor, ...]:
        if weight.dim() != 2:
            raise ArgumentError(
                explain(
                    "GroupAdaGrad",
                    "It keeps one number per row of a matrix.",
                    expected="weights of two dimensions",
                    received=f"shape {tuple(weight.shape)}",
                    fix="use AdaGrad for this weight",
                )
            )
        return (weight.new_zeros(weight.shape[0], 1),)

    def rule(self, w: Tensor, g: Tensor, state: tuple[Tensor, ...], step: Step) -> None:
        if step.wd:
            raise ArgumentError(
                explain("GroupAdaGrad", "It has no weight decay.", expected="wd=0", received=f"wd={step.wd}")
            )
        g, history = self.gradient(g), state[0]
        history.add_((g * g).mean(dim=1, keepdim=True))
        w.addcdiv_(g, (history + self.float_stable_eps).sqrt(), value=-step.lr)
