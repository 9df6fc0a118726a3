"""Metrics of regression: MAE, MSE, RMSE, PearsonCorrelation.

Every batch counts once, whatever its size, as in Gluon 1.x: the value is the mean of the batches' scores. The protocol
is in `base.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..base.errors import ArgumentError, explain
from .base import EvalMetric, alias, check_label_shapes, host, pairs, register

__all__ = ["MAE", "MSE", "RMSE", "PearsonCorrelation"]

Names = Sequence[str] | None


class _Distance(EvalMetric):
    """The mean over batches of a distance between labels and predictions."""

    def __init__(self, name: str, output_names: Names = None, label_names: Names = None) -> None:
        super().__init__(name, output_names, label_names, has_global_stats=True)

    def distance(self, difference: np.ndarray) -> float:
        """Return the batch's score from label − prediction."""
        raise NotImplementedError

    def update(self, labels: Any, preds: Any) -> None:
        for label, pred in pairs(self, labels, preds):
            true, predicted = host(label), host(pred)
            true = true.reshape(-1, 1) if true.ndim == 1 else true
            predicted = predicted.reshape(-1, 1) if predicted.ndim == 1 else predicted
            self._add(self.distance(true - predicted), 1)


@register
class MAE(_Distance):
    """The mean absolute error: the mean of |label − prediction|."""

    def __init__(self, name: str = "mae", output_names: Names = None, label_names: Names = None) -> None:
        super().__init__(name, output_names, label_names)

    def distance(self, difference: np.ndarray) -> float:
        return float(np.abs(difference).mean())


@register
class MSE(_Distance):
    """The mean squared error: the mean of (label − prediction)².

    Examples
    --------
    >>> import glueball as mx
    >>> metric = mx.metric.MSE()
    >>> metric.update(mx.nd.array([1, 2]), mx.nd.array([1, 4]))
    >>> metric.get()
    ('mse', 2.0)
    """

    def __init__(self, name: str = "mse", output_names: Names = None, label_names: Names = None) -> None:
        super().__init__(name, output_names, label_names)

    def distance(self, difference: np.ndarray) -> float:
        return float((difference**2.0).mean())


@register
class RMSE(_Distance):
    """The mean over batches of the root of the mean squared error."""

    def __init__(self, name: str = "rmse", output_names: Names = None, label_names: Names = None) -> None:
        super().__init__(name, output_names, label_names)

    def distance(self, difference: np.ndarray) -> float:
        return math.sqrt((difference**2.0).mean())


_MOMENTS = 6  # count, and the sums of x, y, x², y², x·y


@alias("pearsonr")
class PearsonCorrelation(EvalMetric):
    """The correlation of labels and predictions of equal shape.

    Parameters
    ----------
    average : {'macro', 'micro'}
        Average the correlations of the batches, or take the correlation of all samples.
    """

    def __init__(
        self, name: str = "pearsonr", output_names: Names = None, label_names: Names = None, average: str = "macro"
    ) -> None:
        if average not in ("macro", "micro"):
            raise ArgumentError(
                explain(f"metric {name!r}", "Unknown average.", expected="'macro' or 'micro'", received=repr(average))
            )
        self.average = average
        super().__init__(name, output_names, label_names, has_global_stats=True)

    def reset(self) -> None:
        super().reset()
        self.moments, self.global_moments = np.zeros(_MOMENTS), np.zeros(_MOMENTS)

    def reset_local(self) -> None:
        super().reset_local()
        self.moments = np.zeros(_MOMENTS)

    def update(self, labels: Any, preds: Any) -> None:
        for label, pred in pairs(self, labels, preds):
            true, predicted = host(label), host(pred)
            check_label_shapes(true, predicted, shape=True)
            x, y = true.reshape(-1).astype(np.float64), predicted.reshape(-1).astype(np.float64)
            own = np.array([x.size, x.sum(), y.sum(), x @ x, y @ y, x @ y])
            if self.average == "macro":
                self._add(_correlation(own), 1)
                continue
            self.moments, self.global_moments = self.moments + own, self.global_moments + own
            self.num_inst = self.global_num_inst = 1
            self.sum_metric, self.global_sum_metric = _correlation(self.moments), _correlation(self.global_moments)


def _correlation(moments: np.ndarray) -> float:
    count, x, y, xx, yy, xy = moments
    spread = (xx - x * x / count) * (yy - y * y / count)
    return float((xy - x * y / count) / math.sqrt(spread)) if spread > 0 else float("nan")
