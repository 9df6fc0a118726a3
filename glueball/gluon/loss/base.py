"""The base of losses: `Loss`, and the weighting and reshaping that all of them share.

The one idea: an elementwise loss, times an optional constant `weight` and an optional array `sample_weight`, averaged
over all axes but the batch's.
"""

from __future__ import annotations

from numbers import Number
from typing import Any

from ... import ndarray as nd
from ...base.errors import ArgumentError, MXNetError, ShapeError, explain
from ..hybrid import HybridBlock

__all__ = ["Loss", "_apply_weighting", "_reshape_like"]  # the latter two by their known names: users' losses call them


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
        _check_weights(loss, sample_weight)
        loss = F.broadcast_mul(loss, sample_weight)
    if weight is not None:
        if not isinstance(weight, Number):
            raise ArgumentError(
                explain(
                    "loss",
                    "weight must be a number.",
                    expected="a number",
                    received=f"weight={weight!r}",
                    fix="weights that differ between samples go into the call: loss(pred, label, sample_weight)",
                )
            )
        loss = loss * weight
    return loss


def _check_weights(values: Any, sample_weight: Any) -> None:
    """Refuse weights that would make more of a loss than there is: (batch,) of (batch, 1) makes (batch, batch)."""
    try:
        loss, weights = ((a.shape if isinstance(a, nd.NDArray) else a._sizes) for a in (values, sample_weight))
    except (AttributeError, MXNetError):  # a graph of sizes that nobody knows yet
        return
    padded = (1,) * (len(loss) - len(weights)) + weights
    if len(padded) == len(loss) and all(w in (1, size) for w, size in zip(padded, loss)):
        return
    one_each = len(weights) == 1 and loss[:1] == weights
    raise ShapeError(
        explain(
            "loss",
            "sample_weight does not fit the loss of each sample.",
            expected=f"a shape that broadcasts to {loss}",
            received=weights,
            fix=f"sample_weight.reshape({(-1, *(1,) * (len(loss) - 1))})" if one_each
            else "one weight for each sample, or for each number of the loss",
        )
    )  # fmt: skip


def _reshape_like(F: Any, x: Any, y: Any) -> Any:
    """Give `x` the shape of `y`, so that labels (batch,) meet predictions (batch, 1)."""
    if F is not nd:
        return F.reshape_like(x, y)
    if x.shape == y.shape:
        return x
    if x.size != y.size:
        raise ShapeError(
            explain(
                "loss",
                "Predictions and labels differ in size.",
                expected=f"{y.shape}",
                received=f"{x.shape}",
                fix="as many outputs of the last layer as there are numbers in a label, or a loss for classes "
                "(SoftmaxCrossEntropyLoss)",
            )
        )
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
            raise ArgumentError(
                explain(
                    type(self).__name__,
                    "weight must be a number.",
                    expected="a number or None",
                    received=f"weight={weight!r}",
                )
            )
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
