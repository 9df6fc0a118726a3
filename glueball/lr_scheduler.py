"""Learning rates as functions of the number of updates.

The one idea: a scheduler is a pure function. `scheduler(n)` depends on n and the settings only, never on earlier calls,
so a schedule can be plotted and then used. A subclass gives `rate(n)`; the warm-up before it is here. Who counts the
updates: `optimizer/optimizer.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from .base.errors import ArgumentError, explain

__all__ = ["LRScheduler", "FactorScheduler", "MultiFactorScheduler", "PolyScheduler", "CosineScheduler"]


class LRScheduler:
    """Base class of schedulers: ``scheduler(num_update)`` is the learning rate after that many updates.

    Parameters
    ----------
    base_lr : float, default 0.01
        The learning rate to start from, after the warm-up. An optimiser's explicit `learning_rate` replaces it.
    warmup_steps : int, default 0
        Updates of the warm-up.
    warmup_begin_lr : float, default 0
        The learning rate at its start.
    warmup_mode : {'linear', 'constant'}
        Rise in a line to `base_lr`, or stay at `warmup_begin_lr` and then jump.

    Examples
    --------
    >>> from glueball import lr_scheduler
    >>> class Halving(lr_scheduler.LRScheduler):
    ...     def rate(self, num_update):
    ...         return self.base_lr * 0.5 ** num_update
    >>> [Halving(base_lr=1.0)(n) for n in range(3)]
    [1.0, 0.5, 0.25]
    """

    def __init__(
        self, base_lr: float = 0.01, warmup_steps: int = 0, warmup_begin_lr: float = 0, warmup_mode: str = "linear"
    ) -> None:
        name = type(self).__name__
        if not isinstance(warmup_steps, int) or warmup_steps < 0:
            raise ArgumentError(
                explain(
                    name,
                    "warmup_steps is a number of updates.",
                    expected="an int, 0 or more",
                    received=repr(warmup_steps),
                )
            )
        if warmup_begin_lr > base_lr:
            raise ArgumentError(
                explain(
                    name,
                    "The warm-up rises to base_lr.",
                    expected=f"warmup_begin_lr <= base_lr ({base_lr})",
                    received=f"warmup_begin_lr={warmup_begin_lr}",
                )
            )
        if warmup_mode not in ("linear", "constant"):
            raise ArgumentError(
                explain(name, "Unknown warmup_mode.", expected="'linear' or 'constant'", received=repr(warmup_mode))
            )
        self.base_lr = base_lr
        self.warmup_steps = warmup_steps
        self.warmup_begin_lr = warmup_begin_lr
        self.warmup_mode = warmup_mode
        self._warmup_final_lr: float | None = None

    @property
    def warmup_final_lr(self) -> float:
        """The learning rate at the end of the warm-up: `base_lr`, unless it is set."""
        return self.base_lr if self._warmup_final_lr is None else self._warmup_final_lr

    @warmup_final_lr.setter
    def warmup_final_lr(self, lr: float) -> None:
        self._warmup_final_lr = lr

    def get_warmup_lr(self, num_update: int) -> float:
        """Return the learning rate during the warm-up."""
        if self.warmup_mode == "constant":
            return self.warmup_begin_lr
        return self.warmup_begin_lr + (self.warmup_final_lr - self.warmup_begin_lr) * num_update / self.warmup_steps

    def rate(self, num_update: int) -> float:
        """Return the learning rate after the warm-up; `num_update` counts from the start of training."""
        raise NotImplementedError(
            f"{type(self).__name__} must define rate(self, num_update) or __call__(self, num_update)."
        )

    def __call__(self, num_update: int) -> float:
        """Return the learning rate after `num_update` updates."""
        return self.get_warmup_lr(num_update) if num_update < self.warmup_steps else self.rate(num_update)


def _check_factor(scheduler: LRScheduler, factor: float) -> None:
    if factor > 1.0:
        raise ArgumentError(
            explain(
                type(scheduler).__name__,
                "A factor above 1 would raise the learning rate.",
                expected="factor <= 1",
                received=f"factor={factor}",
            )
        )


def _check_max_update(scheduler: LRScheduler, max_update: Any) -> None:
    if not isinstance(max_update, int) or max_update < 1 or max_update <= scheduler.warmup_steps:
        raise ArgumentError(
            explain(
                type(scheduler).__name__,
                "max_update is the number of updates until the final learning rate.",
                expected=f"an int above warmup_steps ({scheduler.warmup_steps}) and 0",
                received=f"max_update={max_update!r}",
            )
        )


class FactorScheduler(LRScheduler):
    """Multiply by `factor` after every `step` updates, down to `stop_factor_lr`.

    Examples
    --------
    >>> from glueball import lr_scheduler
    >>> schedule = lr_scheduler.FactorScheduler(step=2, factor=0.5, base_lr=1.0)
    >>> [schedule(n) for n in (0, 2, 3, 5)]
    [1.0, 1.0, 0.5, 0.25]
    """

    def __init__(
        self,
        step: int,
        factor: float = 1,
        stop_factor_lr: float = 1e-8,
        base_lr: float = 0.01,
        warmup_steps: int = 0,
        warmup_begin_lr: float = 0,
        warmup_mode: str = "linear",
    ) -> None:
        super().__init__(base_lr, warmup_steps, warmup_begin_lr, warmup_mode)
        if step < 1:
            raise ArgumentError(
                explain(
                    "FactorScheduler", "step is a number of updates.", expected="1 or more", received=f"step={step}"
                )
            )
        _check_factor(self, factor)
        self.step = step
        self.factor = factor
        self.stop_factor_lr = stop_factor_lr

    def rate(self, num_update: int) -> float:
        lr, reductions = self.base_lr, max(0, math.ceil(num_update / self.step) - 1)
        if reductions and self.factor != 1:
            lr = max(lr * self.factor**reductions, self.stop_factor_lr)
        return lr


class MultiFactorScheduler(LRScheduler):
    """Multiply by `factor` once more than `step[0]`, `step[1]`, … updates have been made.

    Examples
    --------
    >>> from glueball import lr_scheduler
    >>> schedule = lr_scheduler.MultiFactorScheduler(step=[2, 4], factor=0.5, base_lr=1.0)
    >>> [schedule(n) for n in (2, 3, 5)]
    [1.0, 0.5, 0.25]
    """

    def __init__(
        self,
        step: Sequence[int],
        factor: float = 1,
        base_lr: float = 0.01,
        warmup_steps: int = 0,
        warmup_begin_lr: float = 0,
        warmup_mode: str = "linear",
    ) -> None:
        super().__init__(base_lr, warmup_steps, warmup_begin_lr, warmup_mode)
        if not isinstance(step, (list, tuple)) or not step or step[0] < 1 or any(a >= b for a, b in pairwise(step)):
            raise ArgumentError(
                explain(
                    "MultiFactorScheduler",
                    "step lists numbers of updates.",
                    expected="an increasing list of numbers, each 1 or more",
                    received=f"step={step!r}",
                )
            )
        _check_factor(self, factor)
        self.step = list(step)
        self.factor = factor

    def rate(self, num_update: int) -> float:
        lr = self.base_lr
        for threshold in self.step:
            if num_update > threshold:
                lr *= self.factor
        return lr


class _Descent(LRScheduler):
    """From the learning rate given at construction to `final_lr` at `max_update`, along a curve from 1 to 0."""

    def __init__(
        self,
        max_update: int,
        base_lr: float,
        final_lr: float,
        warmup_steps: int,
        warmup_begin_lr: float,
        warmup_mode: str,
    ) -> None:
        super().__init__(base_lr, warmup_steps, warmup_begin_lr, warmup_mode)
        _check_max_update(self, max_update)
        self.base_lr_orig = base_lr
        self.max_update = max_update
        self.final_lr = final_lr
        self.max_steps = max_update - warmup_steps
        self.warmup_final_lr = base_lr

    def curve(self, progress: float) -> float:
        """Return the height of the curve at a progress from 0 to 1."""
        raise NotImplementedError

    def rate(self, num_update: int) -> float:
        progress = (min(num_update, self.max_update) - self.warmup_steps) / self.max_steps
        return self.final_lr + (self.base_lr_orig - self.final_lr) * self.curve(progress)


class PolyScheduler(_Descent):
    """Fall from `base_lr` to `final_lr` as ``(1 − progress) ** pwr``, until `max_update`; constant after it.

    Examples
    --------
    >>> from glueball import lr_scheduler
    >>> schedule = lr_scheduler.PolyScheduler(max_update=10, base_lr=1.0, pwr=2)
    >>> [schedule(n) for n in (0, 5, 10, 20)]
    [1.0, 0.25, 0.0, 0.0]
    """

    def __init__(
        self,
        max_update: int,
        base_lr: float = 0.01,
        pwr: float = 2,
        final_lr: float = 0,
        warmup_steps: int = 0,
        warmup_begin_lr: float = 0,
        warmup_mode: str = "linear",
    ) -> None:
        super().__init__(max_update, base_lr, final_lr, warmup_steps, warmup_begin_lr, warmup_mode)
        self.power = pwr

    def curve(self, progress: float) -> float:
        return (1.0 - progress) ** self.power


class CosineScheduler(_Descent):
    """Fall from `base_lr` to `final_lr` along half a cosine, until `max_update`; constant after it.

    Examples
    --------
    >>> from glueball import lr_scheduler
    >>> schedule = lr_scheduler.CosineScheduler(max_update=10, base_lr=1.0, warmup_steps=2)
    >>> [round(schedule(n), 3) for n in (0, 1, 2, 6, 10)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def __init__(
        self,
        max_update: int,
        base_lr: float = 0.01,
        final_lr: float = 0,
        warmup_steps: int = 0,
        warmup_begin_lr: float = 0,
        warmup_mode: str = "linear",
    ) -> None:
        super().__init__(max_update, base_lr, final_lr, warmup_steps, warmup_begin_lr, warmup_mode)

    def curve(self, progress: float) -> float:
        return (1.0 + math.cos(math.pi * progress)) / 2.0
