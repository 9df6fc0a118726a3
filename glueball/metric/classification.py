"""Metrics of classification: Accuracy, TopKAccuracy, F1, MCC, PCC, and the likelihoods CrossEntropy,
NegativeLogLikelihood, Perplexity.

Labels are class numbers; predictions are scores along a class axis. F1, MCC and PCC come from one table of counts,
(predicted, true), kept per interval and per epoch. The protocol is in `base.py`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ndarray as nd
from ..base.errors import ArgumentError, ShapeError, explain
from ..ndarray import NDArray
from .base import EvalMetric, alias, check_label_shapes, host, pairs, register

__all__ = ["Accuracy", "TopKAccuracy", "F1", "MCC", "PCC", "CrossEntropy", "NegativeLogLikelihood", "Perplexity"]

Names = Sequence[str] | None


def _decide(metric: EvalMetric, label: Any, pred: Any, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (true, predicted) class numbers, flat; scores are decided by their largest along `axis`."""
    if tuple(np.shape(pred)) != tuple(np.shape(label)):
        if axis >= len(np.shape(pred)):
            raise ShapeError(
                explain(
                    metric.name_text(),
                    f"Predictions have no class axis {axis}.",
                    expected="scores of shape (batch, classes) beside labels of shape (batch,)",
                    received=f"predictions {tuple(np.shape(pred))}, labels {tuple(np.shape(label))}",
                )
            )
        if np.shape(pred)[axis] == 1:
            warnings.warn(
                f"{metric.name_text()}: predictions of shape {tuple(np.shape(pred))} have a single class, so class 0 "
                "is always predicted. For a network with one output compare labels with (output > 0) of their shape.",
                stacklevel=3,
            )
        # On a GPU the decision is made there, so that one number per sample travels.
        on_device = isinstance(pred, NDArray) and pred.context.device_type == "gpu"
        decided = host(nd.argmax(pred, axis=axis)) if on_device else host(pred).argmax(axis=axis)
    else:
        decided = host(pred)
    predicted, true = decided.astype(np.int32).reshape(-1), host(label).astype(np.int32).reshape(-1)
    check_label_shapes(true, predicted)
    return true, predicted


@alias("acc")
class Accuracy(EvalMetric):
    """The share of samples whose largest score is at the label.

    Parameters
    ----------
    axis : int, default 1
        The class axis of predictions. Predictions of the labels' own shape are class numbers already.

    Examples
    --------
    >>> import glueball as mx
    >>> metric = mx.metric.Accuracy()
    >>> metric.update(mx.nd.array([1, 0]), mx.nd.array([[0.1, 0.9], [0.2, 0.8]]))
    >>> metric.get()
    ('accuracy', 0.5)
    """

    def __init__(
        self, axis: int = 1, name: str = "accuracy", output_names: Names = None, label_names: Names = None
    ) -> None:
        super().__init__(name, output_names, label_names, axis=axis, has_global_stats=True)
        self.axis = axis

    def update(self, labels: Any, preds: Any) -> None:
        for label, pred in pairs(self, labels, preds):
            true, predicted = _decide(self, label, pred, self.axis)
            self._add(int(np.count_nonzero(true == predicted)), true.size)


@alias("top_k_accuracy", "top_k_acc")
class TopKAccuracy(EvalMetric):
    """The share of samples whose label is among the `top_k` largest scores (shape (batch, classes)).

    Examples
    --------
    >>> import glueball as mx
    >>> metric = mx.metric.TopKAccuracy(top_k=2)
    >>> metric.update(mx.nd.array([0]), mx.nd.array([[0.3, 0.5, 0.2]]))
    >>> metric.get()
    ('top_k_accuracy_2', 1.0)
    """

    def __init__(
        self, top_k: int = 1, name: str = "top_k_accuracy", output_names: Names = None, label_names: Names = None
    ) -> None:
        super().__init__(name, output_names, label_names, top_k=top_k, has_global_stats=True)
        if top_k < 1:
            raise ArgumentError(
                explain(
                    "TopKAccuracy", "top_k is a number of classes.", expected="1 or more", received=f"top_k={top_k}"
                )
            )
        self.top_k = top_k
        self.name = f"{name}_{top_k}" if top_k > 1 else name

    def update(self, labels: Any, preds: Any) -> None:
        for label, pred in pairs(self, labels, preds):
            scores, true = host(pred), host(label).astype(np.int32).reshape(-1)
            if scores.ndim > 2:
                raise ShapeError(
                    explain(
                        self.name_text(),
                        "Predictions should be no more than 2 dims.",
                        expected="(batch, classes)",
                        received=scores.shape,
                    )
                )
            check_label_shapes(true, scores)
            if scores.ndim == 1:
                best = scores.astype(np.int32)[:, None]
            else:
                count = min(self.top_k, scores.shape[1])
                best = np.argpartition(scores.astype(np.float32), scores.shape[1] - count, axis=1)[:, -count:]
            self._add(int(np.count_nonzero((best == true[:, None]).any(axis=1))), true.size)


class _Counted(EvalMetric):
    """A metric of the table of counts[true, predicted], summed over batches ('micro') or averaged over their scores
    ('macro').
    """

    def __init__(self, name: str, output_names: Names, label_names: Names, average: str, **kwargs: Any) -> None:
        if average not in ("macro", "micro"):
            raise ArgumentError(
                explain(f"metric {name!r}", "Unknown average.", expected="'macro' or 'micro'", received=repr(average))
            )
        self.average = average
        super().__init__(name, output_names, label_names, has_global_stats=True, **kwargs)

    def score(self, counts: np.ndarray) -> float:
        """Return the score of a table of counts[true, predicted]."""
        raise NotImplementedError

    def table(self, label: Any, pred: Any) -> np.ndarray:
        """Return the table of counts of a batch."""
        true, predicted = _decide(self, label, pred, 1)
        size = int(max(true.max(initial=0), predicted.max(initial=0), 1)) + 1
        if min(true.min(initial=0), predicted.min(initial=0)) < 0:
            raise ArgumentError(
                explain(self.name_text(), "Class numbers start at 0.", received=int(min(true.min(), predicted.min())))
            )
        counts = np.zeros((size, size))
        np.add.at(counts, (true, predicted), 1)
        return counts

    def reset(self) -> None:
        super().reset()
        self.counts = self.global_counts = np.zeros((2, 2))

    def reset_local(self) -> None:
        super().reset_local()
        self.counts = np.zeros((2, 2))

    def update(self, labels: Any, preds: Any) -> None:
        batch = np.zeros((2, 2))
        for label, pred in pairs(self, labels, preds):
            batch = _sum(batch, self.table(label, pred))
        if self.average == "macro":
            self._add(self.score(batch), 1)
            return
        self.counts, self.global_counts = _sum(self.counts, batch), _sum(self.global_counts, batch)
        self.num_inst, self.global_num_inst = self.counts.sum(), self.global_counts.sum()
        self.sum_metric = self.score(self.counts) * self.num_inst
        self.global_sum_metric = self.score(self.global_counts) * self.global_num_inst


def _sum(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Add two tables, the smaller one padded with zeros."""
    size = max(len(left), len(right))
    total = np.zeros((size, size))
    total[: len(left), : len(left)] += left
    total[: len(right), : len(right)] += right
    return total


class _Binary(_Counted):
    """A `_Counted` metric of two classes."""

    def table(self, label: Any, pred: Any) -> np.ndarray:
        if len(np.shape(pred)) == 1:
            raise ShapeError(
                explain(
                    self.name_text(),
                    "It takes a score for each of the two classes.",
                    expected="predictions of shape (batch, 2)",
                    received=tuple(np.shape(pred)),
                    fix="stack them: nd.stack(1 - p, p, axis=1)",
                )
            )
        counts = super().table(label, pred)
        if len(counts) > 2:
            raise ArgumentError(
                explain(
                    self.name_text(),
                    "It currently only supports binary classification.",
                    expected="classes 0 and 1",
                    received=f"class {len(counts) - 1}",
                    fix="use PCC for several classes",
                )
            )
        return counts


@register
class F1(_Binary):
    """The harmonic mean of precision and recall of class 1: 2·tp/(2·tp + fp + fn).

    Parameters
    ----------
    average : {'macro', 'micro'}
        Average the scores of the batches, or take the score of all samples.
    """

    def __init__(
        self, name: str = "f1", output_names: Names = None, label_names: Names = None, average: str = "macro"
    ) -> None:
        super().__init__(name, output_names, label_names, average)

    def score(self, counts: np.ndarray) -> float:
        true_positive, errors = counts[1, 1], counts[0, 1] + counts[1, 0]
        return 2.0 * true_positive / (2.0 * true_positive + errors) if true_positive else 0.0


@register
class MCC(_Binary):
    """Matthews' correlation coefficient of two classes; 0 when either class is never seen and never predicted.

    Parameters
    ----------
    average : {'macro', 'micro'}
        Average the scores of the batches, or take the score of all samples.
    """

    def __init__(
        self, name: str = "mcc", output_names: Names = None, label_names: Names = None, average: str = "macro"
    ) -> None:
        super().__init__(name, output_names, label_names, average)

    def score(self, counts: np.ndarray) -> float:
        (tn, fp), (fn, tp) = counts
        if not counts.sum():
            return 0.0
        # An empty factor is left out, so that one-sided predictions score 0 instead of dividing by it.
        denominator = math.prod(math.sqrt(term) for term in (tp + fp, tp + fn, tn + fp, tn + fn) if term)
        return (tp * tn - fp * fn) / denominator


@register
class PCC(_Counted):
    """The correlation of true and predicted classes, for any number of classes (MCC for two).

    *Source*: Gorodkin 2004, the R_K statistic.
    """

    def __init__(
        self, name: str = "pcc", output_names: Names = None, label_names: Names = None, has_global_stats: bool = True
    ) -> None:
        super().__init__(name, output_names, label_names, "micro")
        self._has_global_stats = has_global_stats

    def score(self, counts: np.ndarray) -> float:
        total, true, predicted = counts.sum(), counts.sum(axis=1), counts.sum(axis=0)
        covariance = np.trace(counts) * total - true @ predicted
        spread = (total**2 - true @ true) * (total**2 - predicted @ predicted)
        return float(covariance / math.sqrt(spread)) if spread else float("nan")


def _picked(metric: EvalMetric, label: Any, pred: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return (true class, its probability) per sample."""
    probabilities, true = host(pred), host(label).astype(np.int64).reshape(-1)
    probabilities = probabilities.reshape(-1, probabilities.shape[-1])
    if len(true) != len(probabilities):
        raise ShapeError(
            explain(
                metric.name_text(),
                "There must be one label per row of probabilities.",
                expected=f"{len(probabilities)} labels",
                received=len(true),
            )
        )
    return true, probabilities[np.arange(len(true)), _checked(metric, true, probabilities.shape[-1])]


def _checked(metric: EvalMetric, true: np.ndarray, classes: int) -> np.ndarray:
    outside = (true < 0) | (true >= classes)
    if outside.any():
        raise ArgumentError(
            explain(
                metric.name_text(),
                "A label is out of range.",
                expected=f"class numbers from 0 to {classes - 1}",
                received=int(true[outside][0]),
            )
        )
    return true


@alias("ce")
class CrossEntropy(EvalMetric):
    """The mean of −log(p + eps), p the probability predicted for the label.

    Parameters
    ----------
    eps : float, default 1e-12
    """

    def __init__(
        self, eps: float = 1e-12, name: str = "cross-entropy", output_names: Names = None, label_names: Names = None
    ) -> None:
        super().__init__(name, output_names, label_names, eps=eps, has_global_stats=True)
        self.eps = eps

    def update(self, labels: Any, preds: Any) -> None:
        for label, pred in pairs(self, labels, preds):
            true, probability = _picked(self, label, pred)
            self._add(float(-np.log(probability + self.eps).sum()), true.size)


@alias("nll_loss")
class NegativeLogLikelihood(CrossEntropy):
    """The same number as `CrossEntropy`, under its other name."""

    def __init__(
        self, eps: float = 1e-12, name: str = "nll-loss", output_names: Names = None, label_names: Names = None
    ) -> None:
        super().__init__(eps, name, output_names, label_names)


@register
class Perplexity(EvalMetric):
    """exp of the mean of −log p, p the probability predicted for the label.

    Parameters
    ----------
    ignore_label : int or None
        Samples with this label (padding) do not count.
    axis : int, default -1
        The class axis.

    Examples
    --------
    >>> import glueball as mx
    >>> metric = mx.metric.Perplexity(ignore_label=None)
    >>> metric.update(mx.nd.array([0, 1]), mx.nd.array([[0.25, 0.75], [0.75, 0.25]]))
    >>> name, value = metric.get()
    >>> name, round(value, 4)
    ('perplexity', 4.0)
    """

    def __init__(
        self,
        ignore_label: int | None,
        axis: int = -1,
        name: str = "perplexity",
        output_names: Names = None,
        label_names: Names = None,
    ) -> None:
        super().__init__(name, output_names, label_names, ignore_label=ignore_label, has_global_stats=True)
        self.ignore_label = ignore_label
        self.axis = axis

    def update(self, labels: Any, preds: Any) -> None:
        loss, count = 0.0, 0
        for label, pred in pairs(self, labels, preds):
            scores, true = host(pred), host(label).astype(np.int64).reshape(-1)
            scores = np.moveaxis(scores, self.axis, -1).reshape(-1, scores.shape[self.axis])
            if len(true) != len(scores):
                raise ShapeError(
                    explain(
                        self.name_text(),
                        "There must be one label per row of probabilities.",
                        expected=f"{len(scores)} labels",
                        received=len(true),
                    )
                )
            if self.ignore_label is not None:
                kept = true != self.ignore_label
                true, scores = true[kept], scores[kept]
            probability = scores[np.arange(len(true)), _checked(self, true, scores.shape[-1])]
            loss -= float(np.log(np.maximum(1e-10, probability)).sum())
            count += true.size
        self._add(loss, count)

    def finish(self, total: float, count: float) -> float:
        return math.exp(total / count) if count else float("nan")
