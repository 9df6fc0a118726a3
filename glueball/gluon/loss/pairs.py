"""Losses that compare samples with each other: triplets, cosine embedding, smoothed deep metric learning.

Each takes two or three arrays of embeddings, a row per sample, and tells which rows should be near each other.
"""

from __future__ import annotations

import math
from typing import Any

from .base import Loss, _apply_weighting, _reshape_like
from .regression import KLDivLoss

__all__ = ["TripletLoss", "CosineEmbeddingLoss", "SDMLLoss"]


class TripletLoss(Loss):
    """An anchor must be nearer to the positive than to the negative: max(0, Σ(pred - positive)² - Σ(pred - negative)² +
    margin).

    Parameters
    ----------
    margin : float
        By how much.
    weight, batch_axis
        As for `L2Loss`.

    Inputs and outputs: **pred** (the anchors), **positive**, **negative**, all of one size; **loss** (batch,), summed
    over the other axes.

    Examples
    --------
    >>> from glueball import nd
    >>> TripletLoss()(nd.array([[0]]), nd.array([[1]]), nd.array([[1]])).asnumpy()
    array([1.], dtype=float32)
    """

    def __init__(self, margin: float = 1, weight: float | None = None, batch_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._margin = margin

    def hybrid_forward(self, F: Any, pred: Any, positive: Any, negative: Any) -> Any:
        """Return the triplet loss of each sample."""
        near = F.square(_reshape_like(F, positive, pred) - pred)
        far = F.square(_reshape_like(F, negative, pred) - pred)
        loss = F.relu(F.sum(near - far, axis=self._batch_axis, exclude=True) + self._margin)
        return _apply_weighting(F, loss, self._weight, None)


class CosineEmbeddingLoss(Loss):
    """Pairs that belong together (label 1) should point the same way, others (label -1) not.

    loss = 1 - cos(input1, input2) for label 1, max(0, cos - margin) for label -1.

    Parameters
    ----------
    weight : float or None
        Constant factor.
    batch_axis : int
        Axis of the samples.
    margin : float
        Cosine that a pair of label -1 may reach, -1 to 1.

    Inputs and outputs: **input1**, **input2** (batch, n), **label** (batch,), **sample_weight** that broadcasts to
    (batch, 1); **loss** (batch, 1).

    Examples
    --------
    >>> from glueball import nd
    >>> CosineEmbeddingLoss()(nd.array([[1, 0]]), nd.array([[0, 1]]), nd.array([1])).asnumpy()
    array([[1.]], dtype=float32)
    """

    def __init__(self, weight: float | None = None, batch_axis: int = 0, margin: float = 0, **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._margin = margin

    def hybrid_forward(self, F: Any, input1: Any, input2: Any, label: Any, sample_weight: Any = None) -> Any:
        """Return the loss of each pair."""
        input1 = _reshape_like(F, input1, input2)
        label = F.reshape(label, shape=(-1, 1))
        product = F.reshape(F.sum(input1 * input2, axis=-1), shape=(-1, 1))
        lengths = F.reshape(F.norm(input1, axis=-1), shape=(-1, 1)) * F.reshape(F.norm(input2, axis=-1), shape=(-1, 1))
        cosine = product / F.clip(lengths, a_min=1e-12, a_max=math.inf)
        loss = (1 - cosine) * (label == 1) + F.relu(cosine - self._margin) * (label == -1)
        return _apply_weighting(F, loss, self._weight, sample_weight)


class SDMLLoss(Loss):
    """Smoothed deep metric learning: each row of `x1` should find its partner, the same row of `x2`, among all rows.

    Softmax over negative squared distances, compared by `KLDivLoss` with smoothed one-hot labels.

    Parameters
    ----------
    smoothing_parameter : float
        Probability that is spread over the other rows.
    weight, batch_axis
        Kept for the signature; the loss of a pair is not weighted.

    Inputs and outputs: **x1**, **x2** (batch, n); **loss** (batch,).

    Source: Bonadiman, Kumar, Mittal, "Large Scale Question Paraphrase Retrieval with Smoothed Deep Metric Learning",
    2019.

    Examples
    --------
    >>> from glueball import nd
    >>> SDMLLoss(0.5)(nd.zeros((2, 3)), nd.zeros((2, 3))).asnumpy().round(4) + 0
    array([0., 0.], dtype=float32)
    """

    def __init__(
        self, smoothing_parameter: float = 0.3, weight: float | None = 1.0, batch_axis: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self.kl_loss = KLDivLoss(from_logits=True)
        self.smoothing_parameter = smoothing_parameter

    def hybrid_forward(self, F: Any, x1: Any, x2: Any) -> Any:
        """Return the divergence of each row."""
        difference = F.broadcast_sub(F.expand_dims(x1, axis=1), F.expand_dims(x2, axis=0))
        distances = F.sum(F.square(difference), axis=2)
        row = F.contrib.arange_like(x1, axis=0)
        own = F.broadcast_equal(F.expand_dims(row, axis=1), F.expand_dims(row, axis=0))
        others = F.sum(1 - own, axis=1, keepdims=True)
        spread = F.broadcast_div(1 - own, F.clip(others, a_min=1.0, a_max=math.inf))
        labels = own * (1 - self.smoothing_parameter) + spread * self.smoothing_parameter
        return self.kl_loss(F.log_softmax(-distances, axis=1), labels)
