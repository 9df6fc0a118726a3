"""Metrics of whatever you like: Loss (and its old names Torch and Caffe), CustomMetric and `np`, which wrap a function.

The protocol is in `base.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from .base import EvalMetric, check_label_shapes, host, register

__all__ = ["Loss", "Torch", "Caffe", "CustomMetric", "np"]

Names = Sequence[str] | None


@register
class Loss(EvalMetric):
    """The mean of all elements of the predictions; labels are not looked at.

    Examples
    --------
    >>> import glueball as mx
    >>> metric = mx.metric.Loss()
    >>> metric.update(None, mx.nd.array([1, 3]))
    >>> metric.get()
    ('loss', 2.0)
    """

    def __init__(self, name: str = "loss", output_names: Names = None, label_names: Names = None) -> None:
        super().__init__(name, output_names, label_names, has_global_stats=True)

    def update(self, labels: Any, preds: Any) -> None:
        for pred in preds if isinstance(preds, (list, tuple)) else [preds]:
            values = host(pred)
            self._add(float(values.sum()), values.size)


@register
class Torch(Loss):
    """An old name of `Loss`."""

    def __init__(self, name: str = "torch", output_names: Names = None, label_names: Names = None) -> None:
        super().__init__(name, output_names, label_names)


@register
class Caffe(Loss):
    """An old name of `Loss`."""

    def __init__(self, name: str = "caffe", output_names: Names = None, label_names: Names = None) -> None:
        super().__init__(name, output_names, label_names)


@register
class CustomMetric(EvalMetric):
    """A metric from a function of (label, prediction), both NumPy arrays.

    Parameters
    ----------
    feval : callable
        Returns the batch's score, or (sum, count).
    name : str, optional
        Default: the function's name.
    allow_extra_outputs : bool, default False
        Accept more predictions than labels; the first ones are taken.

    Examples
    --------
    >>> import glueball as mx
    >>> metric = mx.metric.CustomMetric(lambda label, pred: abs(label - pred).max(), name="worst")
    >>> metric.update([mx.nd.array([1, 2])], [mx.nd.array([1, 5])])
    >>> name, value = metric.get()
    >>> name, float(value)
    ('worst', 3.0)
    """

    def __init__(
        self,
        feval: Callable[[numpy.ndarray, numpy.ndarray], Any],
        name: str | None = None,
        allow_extra_outputs: bool = False,
        output_names: Names = None,
        label_names: Names = None,
    ) -> None:
        if name is None:
            own: str = getattr(feval, "__name__", type(feval).__name__)
            name = f"custom({own})" if "<" in own else own
        super().__init__(name, output_names, label_names, has_global_stats=True)
        self._feval = feval
        self._allow_extra_outputs = allow_extra_outputs

    def update(self, labels: Any, preds: Any) -> None:
        labels = labels if isinstance(labels, (list, tuple)) else [labels]
        preds = preds if isinstance(preds, (list, tuple)) else [preds]
        if not self._allow_extra_outputs:
            check_label_shapes(labels, preds)
        for label, pred in zip(labels, preds):
            result = self._feval(host(label), host(pred))
            total, count = result if isinstance(result, tuple) else (result, 1)
            self._add(total, count)

    def get_config(self) -> dict[str, Any]:
        """Refused: a function cannot be written down."""
        raise NotImplementedError("CustomMetric cannot be serialized: it holds a Python function.")


def np(
    numpy_feval: Callable[[numpy.ndarray, numpy.ndarray], Any],
    name: str | None = None,
    allow_extra_outputs: bool = False,
) -> CustomMetric:
    """Return a `CustomMetric` for a function of NumPy arrays."""
    return CustomMetric(numpy_feval, name, allow_extra_outputs)
