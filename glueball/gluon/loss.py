"""Losses: a block that compares predictions with labels and returns one number per sample.

The one idea: an elementwise loss, times an optional constant `weight` and an optional array `sample_weight`, averaged over all axes but the
batch's; `loss.mean()` or `trainer.step(batch_size)` does the rest. Every loss is an ordinary hybrid block written in operators.
Not here: metrics, which are for people and have no gradient (metric.py).
"""
from __future__ import annotations

import math
from numbers import Number
from typing import Any

from .. import ndarray as nd
from ..base.errors import ArgumentError, ShapeError, explain
from ..dispatch import CURRENT
from .hybrid import HybridBlock

__all__ = ["Loss", "L2Loss", "L1Loss", "SigmoidBinaryCrossEntropyLoss", "SigmoidBCELoss", "SoftmaxCrossEntropyLoss", "SoftmaxCELoss", "KLDivLoss",
           "CTCLoss", "HuberLoss", "HingeLoss", "SquaredHingeLoss", "LogisticLoss", "TripletLoss", "PoissonNLLLoss", "CosineEmbeddingLoss",
           "SDMLLoss"]


def _apply_weighting(F: Any, loss: Any, weight: float | None = None, sample_weight: Any = None) -> Any:
    """Multiply a loss by weights.

    Parameters
    ----------
    F : namespace of operators
    loss : values of any shape
    weight : number, optional
    sample_weight : values, optional
        Their shape must broadcast to the loss's: (batch, 1) weighs samples of a (batch, n) loss.
    """
    if sample_weight is not None:
        loss = F.broadcast_mul(loss, sample_weight)
    if weight is not None:
        if not isinstance(weight, Number):
            raise ArgumentError(explain("loss", "weight must be a number.", expected="a number", received=f"weight={weight!r}",
                                        fix="weights that differ between samples go into the call: loss(pred, label, sample_weight)"))
        loss = loss * weight
    return loss


def _reshape_like(F: Any, x: Any, y: Any) -> Any:
    """Give `x` the shape of `y`, so that labels (batch,) meet predictions (batch, 1)."""
    if F is not nd:
        return F.reshape_like(x, y)
    if x.shape == y.shape:
        return x
    if x.size != y.size:
        raise ShapeError(explain("loss", "Predictions and labels differ in size.", expected=f"{y.shape}", received=f"{x.shape}"))
    return x.reshape(y.shape)


class Loss(HybridBlock):
    """Base class of losses.

    Parameters
    ----------
    weight : float or None
        Constant that the loss is multiplied by.
    batch_axis : int
        Axis of the samples: the one that the result keeps.
    """

    def __init__(self, weight: float | None, batch_axis: int, **kwargs: Any) -> None:
        if isinstance(weight, str):
            raise ArgumentError(explain(type(self).__name__, "weight must be a number.", expected="a number or None", received=f"weight={weight!r}"))
        super().__init__(**kwargs)
        self._weight = weight
        self._batch_axis = batch_axis

    def __repr__(self) -> str:
        return f"{type(self).__name__}(batch_axis={self._batch_axis}, w={self._weight})"

    def hybrid_forward(self, F: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the loss; each class says of what."""
        raise TypeError(f"{type(self).__name__} must define hybrid_forward(self, F, pred, label, ...)")

    def _mean(self, F: Any, loss: Any) -> Any:
        """Average over all axes but the batch's."""
        return F.mean(loss, axis=self._batch_axis, exclude=True)


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


class SigmoidBinaryCrossEntropyLoss(Loss):
    """Cross entropy of independent yes-or-no answers.

    With p = sigmoid(pred): loss = -(label · log(p) · pos_weight + (1 - label) · log(1 - p)), computed without overflow.

    Parameters
    ----------
    from_sigmoid : bool
        Whether the predictions are probabilities already; False is more exact.
    weight : float or None
        Constant factor.
    batch_axis : int
        Axis of the samples.

    Inputs and outputs: **pred** of any shape, **label** of the same size with values from 0 to 1, **sample_weight** and **pos_weight**
    (weight of the yes) that broadcast to it; **loss** (batch,), averaged over the other axes.

    Examples
    --------
    >>> from glueball import nd
    >>> SigmoidBinaryCrossEntropyLoss()(nd.array([[0]]), nd.array([[1]])).asnumpy().round(4)
    array([0.6931], dtype=float32)
    """

    def __init__(self, from_sigmoid: bool = False, weight: float | None = None, batch_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._from_sigmoid = from_sigmoid

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None, pos_weight: Any = None) -> Any:
        """Return the mean cross entropy."""
        label = _reshape_like(F, label, pred)
        if self._from_sigmoid:
            tiny = 1e-12  # keeps the logarithm finite
            yes = F.log(pred + tiny) * label
            if pos_weight is not None:
                yes = F.broadcast_mul(yes, pos_weight)
            loss = -(yes + F.log(1.0 - pred + tiny) * (1.0 - label))
        else:
            softplus = F.Activation(-F.abs(pred), act_type="softrelu")  # log(1 + exp(-|x|))
            if pos_weight is None:
                loss = F.relu(pred) - pred * label + softplus
            else:
                factor = 1 + F.broadcast_mul(pos_weight - 1, label)
                loss = pred - pred * label + factor * (softplus + F.relu(-pred))
        return self._mean(F, _apply_weighting(F, loss, self._weight, sample_weight))


SigmoidBCELoss = SigmoidBinaryCrossEntropyLoss


class SoftmaxCrossEntropyLoss(Loss):
    """Cross entropy of one choice among classes: -log softmax(pred)[label].

    Parameters
    ----------
    axis : int
        Axis of the classes.
    sparse_label : bool
        True: labels are class numbers from 0. False: labels are probabilities of the shape of the predictions.
    from_logits : bool
        Whether the predictions are logarithms of probabilities already.
    weight : float or None
        Constant factor.
    batch_axis : int
        Axis of the samples.

    Inputs and outputs: **pred** (batch, ..., classes), **label** of that shape without the axis of the classes (or with it, for
    probabilities), **sample_weight** that broadcasts to (batch, ..., 1); **loss** (batch,), averaged over the other axes.

    Raises
    ------
    ArgumentError
        A label is not among the classes. Checked on the CPU outside of hybridized graphs, unless `sample_weight` is given, which may mask
        such labels; elsewhere labels are clipped to the classes.

    Examples
    --------
    >>> from glueball import nd
    >>> SoftmaxCrossEntropyLoss()(nd.array([[0, 0]]), nd.array([1])).asnumpy().round(4)
    array([0.6931], dtype=float32)
    """

    def __init__(self, axis: int = -1, sparse_label: bool = True, from_logits: bool = False, weight: float | None = None, batch_axis: int = 0,
                 **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._axis = axis
        self._sparse_label = sparse_label
        self._from_logits = from_logits

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        """Return the mean cross entropy."""
        if not self._from_logits:
            pred = F.log_softmax(pred, axis=self._axis)
        if self._sparse_label:
            if F is nd and sample_weight is None and CURRENT.get() is None:
                self._check_labels(pred, label)
            loss = -F.pick(pred, label, axis=self._axis, keepdims=True)
        else:
            loss = -F.sum(pred * _reshape_like(F, label, pred), axis=self._axis, keepdims=True)
        return self._mean(F, _apply_weighting(F, loss, self._weight, sample_weight))

    def _check_labels(self, pred: Any, label: Any) -> None:
        """Refuse labels that are no class; on other devices than the CPU this would cost a synchronisation, so it is left out there."""
        classes = pred.shape[self._axis]
        if label.shape == pred.shape and classes > 1:
            raise ShapeError(explain(type(self).__name__, "The labels have the shape of the predictions.",
                                     expected="class numbers, one per sample", received=f"pred {pred.shape}, label {label.shape}",
                                     fix="for probabilities or one-hot labels use SoftmaxCrossEntropyLoss(sparse_label=False)"))
        if label.context.device_type != "cpu" or not label.size:
            return
        values = label.asnumpy()
        low, high = values.min(), values.max()
        if not (low >= 0 and high < classes):
            wrong = high if not high < classes else low
            hint = f"labels from 1 to {classes} become class numbers with label - 1" if wrong == classes else \
                f"give the last layer at least {int(high) + 1} units" if high > classes else "mask such samples with sample_weight"
            raise ArgumentError(explain(type(self).__name__, "A label is none of the classes.",
                                        expected=f"labels from 0 to {classes - 1}: the predictions have {classes} classes",
                                        received=f"label {wrong:g} in labels from {low:g} to {high:g}", fix=hint))


SoftmaxCELoss = SoftmaxCrossEntropyLoss


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

    Inputs and outputs: **pred** of any shape, **label** (probabilities) of the same shape, **sample_weight** that broadcasts to it;
    **loss** (batch,).

    Examples
    --------
    >>> from glueball import nd
    >>> KLDivLoss(from_logits=False)(nd.array([[0, 0]]), nd.array([[0.5, 0.5]])).asnumpy().round(4) + 0
    array([0.], dtype=float32)
    """

    def __init__(self, from_logits: bool = True, axis: int = -1, weight: float | None = None, batch_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._from_logits = from_logits
        self._axis = axis

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        """Return the divergence."""
        if not self._from_logits:
            pred = F.log_softmax(pred, axis=self._axis)
        loss = label * (F.log(label + 1e-12) - pred)
        return F.sum(_apply_weighting(F, loss, self._weight, sample_weight), axis=self._batch_axis, exclude=True)


class CTCLoss(Loss):
    """Connectionist temporal classification: -log of the probability of all alignments of a label sequence.

    The last class is the blank. Labels are padded with -1 unless `label_lengths` is given.

    Parameters
    ----------
    layout : {'NTC', 'TNC'}
        Axes of the predictions: batch N, time T, class C.
    label_layout : {'NT', 'TN'}
        Axes of the labels.
    weight : float or None
        Constant factor.

    Inputs and outputs: **pred** (N, T, C), not yet through softmax; **label** (N, length); **pred_lengths**, **label_lengths** (N,), optional;
    **loss** (N,).

    Raises
    ------
    ArgumentError
        A layout is unknown.

    Source: Graves et al., "Connectionist Temporal Classification", 2006.

    Examples
    --------
    >>> from glueball import nd
    >>> CTCLoss()(nd.zeros((1, 2, 2)), nd.array([[0]])).asnumpy().round(4)
    array([0.2877], dtype=float32)
    """

    def __init__(self, layout: str = "NTC", label_layout: str = "NT", weight: float | None = None, **kwargs: Any) -> None:
        for what, value, known in (("layout", layout, ("NTC", "TNC")), ("label_layout", label_layout, ("NT", "TN"))):
            if value not in known:
                raise ArgumentError(explain("CTCLoss", f"The {what} is unknown.", expected=" or ".join(known), received=f"{what}={value!r}"))
        self._layout = layout
        self._label_layout = label_layout
        super().__init__(weight, label_layout.index("N"), **kwargs)

    def hybrid_forward(self, F: Any, pred: Any, label: Any, pred_lengths: Any = None, label_lengths: Any = None,
                       sample_weight: Any = None) -> Any:
        """Return the negative log probability of each sample's labels."""
        if self._layout == "NTC":
            pred = F.swapaxes(pred, dim1=0, dim2=1)
        if self._batch_axis == 1:
            label = F.swapaxes(label, dim1=0, dim2=1)
        loss = F.CTCLoss(pred, label, pred_lengths, label_lengths, use_data_lengths=pred_lengths is not None,
                         use_label_lengths=label_lengths is not None, blank_label="last")
        return _apply_weighting(F, loss, self._weight, sample_weight)


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


class HingeLoss(Loss):
    """Hinge: max(0, margin - pred · label) for labels -1 and 1.

    Parameters
    ----------
    margin : float
        Distance that a right answer must keep.
    weight, batch_axis
        As for `L2Loss`, and so are inputs and outputs.

    Examples
    --------
    >>> from glueball import nd
    >>> HingeLoss()(nd.array([0.5, 2]), nd.array([1, -1])).asnumpy()
    array([0.5, 3. ], dtype=float32)
    """

    def __init__(self, margin: float = 1, weight: float | None = None, batch_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._margin = margin

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        """Return the mean hinge loss."""
        loss = F.relu(self._margin - pred * _reshape_like(F, label, pred))
        return self._mean(F, _apply_weighting(F, loss, self._weight, sample_weight))


class SquaredHingeLoss(Loss):
    """Squared hinge: max(0, margin - pred · label)² for labels -1 and 1.

    Parameters, inputs and outputs are those of `HingeLoss`.

    Examples
    --------
    >>> from glueball import nd
    >>> SquaredHingeLoss()(nd.array([0.5, 2]), nd.array([1, -1])).asnumpy()
    array([0.25, 9.  ], dtype=float32)
    """

    def __init__(self, margin: float = 1, weight: float | None = None, batch_axis: int = 0, **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._margin = margin

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        """Return the mean squared hinge loss."""
        loss = F.square(F.relu(self._margin - pred * _reshape_like(F, label, pred)))
        return self._mean(F, _apply_weighting(F, loss, self._weight, sample_weight))


class LogisticLoss(Loss):
    """Logistic: log(1 + exp(-pred · label)) for labels -1 and 1.

    Parameters
    ----------
    weight, batch_axis
        As for `L2Loss`, and so are inputs and outputs.
    label_format : {'signed', 'binary'}
        Labels are -1 and 1, or 0 and 1.

    Raises
    ------
    ArgumentError
        The format is unknown.

    Examples
    --------
    >>> from glueball import nd
    >>> LogisticLoss()(nd.array([0]), nd.array([1])).asnumpy().round(4)
    array([0.6931], dtype=float32)
    """

    def __init__(self, weight: float | None = None, batch_axis: int = 0, label_format: str = "signed", **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        if label_format not in ("signed", "binary"):
            raise ArgumentError(explain("LogisticLoss", "The label format is unknown.", expected="signed or binary",
                                        received=f"label_format={label_format!r}"))
        self._label_format = label_format

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        """Return the mean logistic loss."""
        label = _reshape_like(F, label, pred)
        if self._label_format == "signed":
            label = (label + 1.0) / 2.0
        loss = F.relu(pred) - pred * label + F.Activation(-F.abs(pred), act_type="softrelu")
        return self._mean(F, _apply_weighting(F, loss, self._weight, sample_weight))


class TripletLoss(Loss):
    """An anchor must be nearer to the positive than to the negative: max(0, Σ(pred - positive)² - Σ(pred - negative)² + margin).

    Parameters
    ----------
    margin : float
        By how much.
    weight, batch_axis
        As for `L2Loss`.

    Inputs and outputs: **pred** (the anchors), **positive**, **negative**, all of one size; **loss** (batch,), summed over the other axes.

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


class PoissonNLLLoss(Loss):
    """Negative log likelihood of counts under a Poisson distribution; the mean over everything.

    Parameters
    ----------
    weight : float or None
        Constant factor.
    from_logits : bool
        Whether the predictions are logarithms of rates: exp(pred) - target · pred; otherwise pred - target · log(pred + epsilon).
    batch_axis : int
        Axis of the samples (the result has none).
    compute_full : bool
        Whether Stirling's approximation of log(target!) is added, for targets above 1.

    Inputs and outputs: **pred** of any shape, **target** of the same size, **sample_weight** that broadcasts to it; **loss** (1,).

    Examples
    --------
    >>> from glueball import nd
    >>> PoissonNLLLoss()(nd.array([0]), nd.array([3])).asnumpy()
    array([1.], dtype=float32)
    """

    def __init__(self, weight: float | None = None, from_logits: bool = True, batch_axis: int = 0, compute_full: bool = False,
                 **kwargs: Any) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._from_logits = from_logits
        self._compute_full = compute_full

    def hybrid_forward(self, F: Any, pred: Any, target: Any, sample_weight: Any = None, epsilon: float = 1e-08) -> Any:
        """Return the mean negative log likelihood."""
        target = _reshape_like(F, target, pred)
        loss = F.exp(pred) - target * pred if self._from_logits else pred - target * F.log(pred + epsilon)
        if self._compute_full:
            count = F.clip(target, a_min=1.0, a_max=math.inf)  # smaller ones are masked below; log(0) must not touch them
            stirling = count * F.log(count) - count + 0.5 * F.log(2 * math.pi * count)
            loss = loss + stirling * (target > 1)
        return F.mean(_apply_weighting(F, loss, self._weight, sample_weight))


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

    Inputs and outputs: **input1**, **input2** (batch, n), **label** (batch,), **sample_weight** that broadcasts to (batch, 1);
    **loss** (batch, 1).

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

    Source: Bonadiman, Kumar, Mittal, "Large Scale Question Paraphrase Retrieval with Smoothed Deep Metric Learning", 2019.

    Examples
    --------
    >>> from glueball import nd
    >>> SDMLLoss(0.5)(nd.zeros((2, 3)), nd.zeros((2, 3))).asnumpy().round(4) + 0
    array([0., 0.], dtype=float32)
    """

    def __init__(self, smoothing_parameter: float = 0.3, weight: float | None = 1.0, batch_axis: int = 0, **kwargs: Any) -> None:
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
