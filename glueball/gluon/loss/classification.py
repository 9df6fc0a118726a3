"""Losses for classes: cross entropies, hinges, the logistic loss, and CTC for sequences of classes.

The one idea: predictions come before the softmax or sigmoid, so that each loss can be computed without overflow. Labels
that are no class are refused in words. Not here: losses for numbers (regression.py) and for pairs (pairs.py).
"""

from __future__ import annotations

from typing import Any

from ... import ndarray as nd
from ...base.errors import ArgumentError, ShapeError, explain
from ...dispatch import CURRENT
from ...ops.likelihood import no_such_class
from .base import Loss, _apply_weighting, _reshape_like

__all__ = [
    "SigmoidBinaryCrossEntropyLoss",
    "SigmoidBCELoss",
    "SoftmaxCrossEntropyLoss",
    "SoftmaxCELoss",
    "HingeLoss",
    "SquaredHingeLoss",
    "LogisticLoss",
    "CTCLoss",
]


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

    Inputs and outputs: **pred** of any shape, **label** of the same size with values from 0 to 1, **sample_weight** and
    **pos_weight** (weight of the yes) that broadcast to it; **loss** (batch,), averaged over the other axes.

    Examples
    --------
    >>> from glueball import nd
    >>> SigmoidBinaryCrossEntropyLoss()(nd.array([[0]]), nd.array([[1]])).asnumpy().round(4)
    array([0.6931], dtype=float32)
    """

    def __init__(
        self, from_sigmoid: bool = False, weight: float | None = None, batch_axis: int = 0, **kwargs: Any
    ) -> None:
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

    Inputs and outputs: **pred** (batch, ..., classes), **label** of that shape without the axis of the classes (or with
    it, for probabilities), **sample_weight** that broadcasts to (batch, ..., 1); **loss** (batch,), averaged over the
    other axes.

    Raises
    ------
    ArgumentError
        A label is not among the classes. Checked on the CPU when the loss itself is called (not inside a
        hybridized block), unless `sample_weight` is given, which may mask such labels; elsewhere labels are clipped.

    Examples
    --------
    >>> from glueball import nd
    >>> SoftmaxCrossEntropyLoss()(nd.array([[0, 0]]), nd.array([1])).asnumpy().round(4)
    array([0.6931], dtype=float32)
    """

    def __init__(
        self,
        axis: int = -1,
        sparse_label: bool = True,
        from_logits: bool = False,
        weight: float | None = None,
        batch_axis: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        self._axis = axis
        self._sparse_label = sparse_label
        self._from_logits = from_logits

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        """Return the mean cross entropy."""
        if F is nd and self._one_step(pred, label) and sample_weight is None:
            return _apply_weighting(F, nd._internal._class_likelihood(pred, label), self._weight)
        if not self._from_logits:
            pred = F.log_softmax(pred, axis=self._axis)
        if not self._sparse_label:
            loss = -F.sum(pred * _reshape_like(F, label, pred), axis=self._axis, keepdims=True)
            return self._mean(F, _apply_weighting(F, loss, self._weight, sample_weight))
        loss = -F.pick(pred, label, axis=self._axis, keepdims=True)
        return self._mean(F, _apply_weighting(F, loss, self._weight, sample_weight))

    def _one_step(self, pred: Any, label: Any) -> bool:
        """Whether rows of predictions meet one label each: one operator does it, and checks the labels on its way."""
        if self._from_logits or not self._sparse_label or self._axis not in (-1, 1) or self._batch_axis != 0:
            return False
        return bool(pred.ndim == 2 and label.ndim == 1)

    def __call__(self, *args: Any) -> Any:
        if len(args) == 2 and self._sparse_label and CURRENT.get() is None:
            if type(args[0]) is type(args[1]) is nd.NDArray and not self._one_step(*args):
                self._check_labels(*args)
        return super().__call__(*args)

    def _check_labels(self, pred: Any, label: Any) -> None:
        """Refuse labels that are no class; not on other devices than the CPU, where this would wait for them."""
        if not -pred.ndim <= self._axis < pred.ndim:
            return  # softmax says what is wrong with the axis
        classes = pred.shape[self._axis]
        if label.shape == pred.shape and classes > 1:
            raise ShapeError(
                explain(
                    type(self).__name__,
                    "The labels have the shape of the predictions.",
                    expected="class numbers, one per sample",
                    received=f"pred {pred.shape}, label {label.shape}",
                    fix="for probabilities or one-hot labels use SoftmaxCrossEntropyLoss(sparse_label=False)",
                )
            )
        if label.context.device_type != "cpu" or not label.size:
            return
        values = label.asnumpy()
        low, high = values.min(), values.max()
        if not (low >= 0 and high < classes):
            raise no_such_class(type(self).__name__, classes, low, high)


SoftmaxCELoss = SoftmaxCrossEntropyLoss


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

    def __init__(
        self, weight: float | None = None, batch_axis: int = 0, label_format: str = "signed", **kwargs: Any
    ) -> None:
        super().__init__(weight, batch_axis, **kwargs)
        if label_format not in ("signed", "binary"):
            raise ArgumentError(
                explain(
                    "LogisticLoss",
                    "The label format is unknown.",
                    expected="signed or binary",
                    received=f"label_format={label_format!r}",
                )
            )
        self._label_format = label_format

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
        """Return the mean logistic loss."""
        label = _reshape_like(F, label, pred)
        if self._label_format == "signed":
            label = (label + 1.0) / 2.0
        loss = F.relu(pred) - pred * label + F.Activation(-F.abs(pred), act_type="softrelu")
        return self._mean(F, _apply_weighting(F, loss, self._weight, sample_weight))


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

    Inputs and outputs: **pred** (N, T, C), not yet through softmax; **label** (N, length); **pred_lengths**,
    **label_lengths** (N,), optional; **loss** (N,).

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

    def __init__(
        self, layout: str = "NTC", label_layout: str = "NT", weight: float | None = None, **kwargs: Any
    ) -> None:
        for what, value, known in (("layout", layout, ("NTC", "TNC")), ("label_layout", label_layout, ("NT", "TN"))):
            if value not in known:
                raise ArgumentError(
                    explain(
                        "CTCLoss", f"The {what} is unknown.", expected=" or ".join(known), received=f"{what}={value!r}"
                    )
                )
        self._layout = layout
        self._label_layout = label_layout
        super().__init__(weight, label_layout.index("N"), **kwargs)

    def hybrid_forward(
        self,
        F: Any,
        pred: Any,
        label: Any,
        pred_lengths: Any = None,
        label_lengths: Any = None,
        sample_weight: Any = None,
    ) -> Any:
        """Return the negative log probability of each sample's labels."""
        if self._layout == "NTC":
            pred = F.swapaxes(pred, dim1=0, dim2=1)
        if self._batch_axis == 1:
            label = F.swapaxes(label, dim1=0, dim2=1)
        loss = F.CTCLoss(
            pred,
            label,
            pred_lengths,
            label_lengths,
            use_data_lengths=pred_lengths is not None,
            use_label_lengths=label_lengths is not None,
            blank_label="last",
        )
        return _apply_weighting(F, loss, self._weight, sample_weight)
