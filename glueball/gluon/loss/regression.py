"""Losses for numbers and distributions: L1, L2, Huber, Poisson, Kullback-Leibler.

Each is a formula on label and prediction, averaged (Kullback-Leibler: summed) over all axes but the batch's.
"""

from __future__ import annotations

import math
from typing import Any

from .base import Loss, _apply_weighting, _reshape_like

__all__ = ["L2Loss", "L1Loss", "HuberLoss", "PoissonNLLLoss", "KLDivLoss"]


class L2Loss(Loss):
    """Half the squared difference: weight / 2 · (label - pred)².

    Parameters
    ----------
    weight : float or None
        Constant factor.
    batch_axis : int
        Axis of the samples.

    Inputs and outputs: **pred** of any shape, **label** of the same size, **sample_weight** that broadcasts to it;
    **loss** (batch,), averaged over the other axes.

    Examples
    --------
    >>> from glueball import nd
    >>> L2Loss()(nd.array([[1, 2]]), nd.array([[1, 4]])).asnumpy()
    array([1.], dtype=float32)
    """

    def __init__(self, weight: float | None = 1.0, batch_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._half = None if weight is None else weight / 2

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        """Return the mean of half the squared difference."""
        loss = F.square(_reshape_like(F, label, pred) - pred)
        return self._mean(F, _apply_weighting(F, loss, self._half, sample_weight))


class L1Loss(Loss):
    """Absolute difference: |label - pred|.

    Parameters, inputs and outputs are those of `L2Loss`; weight is None by default.

    Examples
    --------
    >>> from glueball import nd
    >>> L1Loss()(nd.array([[1, 2]]), nd.array([[1, 4]])).asnumpy()
    array([1.], dtype=float32)
    """

    def __init__(self, weight: float | None = None, batch_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        """Return the mean absolute difference."""
        loss = F.abs(_reshape_like(F, label, pred) - pred)
        return self._mean(F, _apply_weighting(F, loss, self._weight, sample_weight))


class HuberLoss(Loss):
    """Squared near zero, absolute beyond `rho`: d² / (2·rho) for d = |label - pred| <= rho, else d - rho / 2.

    Parameters
    ----------
    rho : float
        Where the two meet.
    weight, batch_axis
        As for `L2Loss`, and so are inputs and outputs.

    Examples
    --------
    >>> from glueball import nd
    >>> HuberLoss()(nd.array([0, 0]), nd.array([0.5, 2])).asnumpy()
    array([0.125, 1.5  ], dtype=float32)
    """

    def __init__(self, rho: float = 1, weight: float | None = None, batch_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._rho = rho

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        """Return the mean Huber loss."""
        loss = F.abs(_reshape_like(F, label, pred) - pred)
        loss = F.where(loss > self._rho, loss - 0.5 * self._rho, (0.5 / self._rho) * F.square(loss))
        return self._mean(F, _apply_weighting(F, loss, self._weight, sample_weight))


class PoissonNLLLoss(Loss):
    """Negative log likelihood of counts under a Poisson distribution; the mean over everything.

    Parameters
    ----------
    weight : float or None
        Constant factor.
    from_logits : bool
        Whether the predictions are logarithms of rates: exp(pred) - target · pred; otherwise pred - target · log(pred +
        epsilon).
    batch_axis : int
        Axis of the samples (the result has none).
    compute_full : bool
        Whether Stirling's approximation of log(target!) is added, for targets above 1.

    Inputs and outputs: **pred** of any shape, **target** of the same size, **sample_weight** that broadcasts to it;
    **loss** (1,).

    Examples
    --------
    >>> from glueball import nd
    >>> PoissonNLLLoss()(nd.array([0]), nd.array([3])).asnumpy()
    array([1.], dtype=float32)
    """

    def __init__(
        self,
        weight: float | None = None,
        from_logits: bool = True,
        batch_axis: int = 0,
        compute_full: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._from_logits = from_logits
        self._compute_full = compute_full

    def hybrid_forward(self, F: Any, pred: Any, target: Any, sample_weight: Any = None, epsilon: float = 1e-08) -> Any:
        """Return the mean negative log likelihood."""
        target = _reshape_like(F, target, pred)
        loss = F.exp(pred) - target * pred if self._from_logits else pred - target * F.log(pred + epsilon)
        if self._compute_full:
            count = F.clip(
                target, a_min=1.0, a_max=math.inf
            )  # smaller ones are masked below; log(0) must not touch them
            stirling = count * F.log(count) - count + 0.5 * F.log(2 * math.pi * count)
            loss = loss + stirling * (target > 1)
        return F.mean(_apply_weighting(F, loss, self._weight, sample_weight))


class KLDivLoss(Loss):
    """Kullback-Leibler divergence: label · (log(label) - pred), summed over all axes but the batch's.

    Parameters
    ----------
    from_logits : bool
        Whether the predictions are logarithms of probabilities; otherwise log_softmax is applied.
    axis : int
        Axis of that log_softmax.
    weight : float or None
        Constant factor.
    batch_axis : int
        Axis of the samples.

    Inputs and outputs: **pred** of any shape, **label** (probabilities) of the same shape, **sample_weight** that
    broadcasts to it; **loss** (batch,).

    Examples
    --------
    >>> from glueball import nd
    >>> KLDivLoss(from_logits=False)(nd.array([[0, 0]]), nd.array([[0.5, 0.5]])).asnumpy().round(4) + 0
    array([0.], dtype=float32)
    """

    def __init__(
        self, from_logits: bool = True, axis: int = -1, weight: float | None = None, batch_axis: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._from_logits = from_logits
        self._axis = axis

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        """Return the divergence."""
        if not self._from_logits:
            pred = F.log_softmax(pred, axis=self._axis)
        loss = label * (F.log(label + 1e-12) - pred)
        return F.sum(_apply_weighting(F, loss, self._weight, sample_weight), axis=self._batch_axis, exclude=True)
