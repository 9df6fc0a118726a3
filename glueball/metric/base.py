"""The metrics' protocol: sums and counts, local and global, and how labels and predictions arrive.

The one idea: a metric is a running sum and a running count, kept twice: since the last `reset_local` (a log interval)
and since the last `reset` (an epoch). `update` adds to both through `_add`. Arrays are read as NumPy in one place,
`host`, which waits for the device. The metrics themselves are in `classification.py`, `regression.py` and `custom.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from ..base.errors import ArgumentError, ShapeError, explain
from ..base.registry import Registry
from ..ndarray import NDArray

__all__ = ["EvalMetric", "CompositeEvalMetric", "register", "alias", "create", "check_label_shapes", "host", "pairs"]

MetricClass = TypeVar("MetricClass", bound="type[EvalMetric]")


def host(array: Any) -> np.ndarray:
    """Return an NDArray, NumPy array or list as a NumPy array."""
    return array.asnumpy() if isinstance(array, NDArray) else np.asarray(array)


def check_label_shapes(labels: Any, preds: Any, wrap: bool = False, shape: bool = False) -> tuple[Any, Any]:
    """Raise unless there are as many labels as predictions.

    Parameters
    ----------
    labels, preds : list of arrays, or arrays
    wrap : bool
        Return single arrays as lists of one.
    shape : bool
        Compare the arrays' shapes instead of their lengths.

    Raises
    ------
    ShapeError (a ValueError)
    """
    label_size, pred_size = (labels.shape, preds.shape) if shape else (len(labels), len(preds))
    if label_size != pred_size:
        raise ShapeError(
            explain("metric", f"Shape of labels {label_size} does not match shape of predictions {pred_size}.")
        )
    if wrap:
        labels = labels if isinstance(labels, (list, tuple)) else [labels]
        preds = preds if isinstance(preds, (list, tuple)) else [preds]
    return labels, preds


def pairs(metric: EvalMetric, labels: Any, preds: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (label, prediction) for every output, from lists of arrays or two single arrays."""
    labels = labels if isinstance(labels, (list, tuple)) else [labels]
    preds = preds if isinstance(preds, (list, tuple)) else [preds]
    if len(labels) != len(preds):
        raise ShapeError(
            explain(
                metric.name_text(),
                "Every output needs labels: the lists differ in length.",
                expected=f"{len(preds)} arrays of labels for {len(preds)} arrays of predictions",
                received=len(labels),
                fix="call metric.update(labels, predictions) with lists of equal length, or with two arrays",
            )
        )
    yield from zip(labels, preds)


class EvalMetric:
    """Base class: override `update` and add to `sum_metric` and `num_inst` (through ``self._add(total, count)``).

    Parameters
    ----------
    name : str
    output_names, label_names : list of str, optional
        Which entries of the dictionaries that `update_dict` gets; default all.

    Examples
    --------
    >>> import glueball as mx
    >>> class Largest(mx.metric.EvalMetric):
    ...     def update(self, labels, preds):
    ...         for pred in preds:
    ...             self._add(max(pred.asnumpy()), 1)
    >>> metric = Largest("largest")
    >>> metric.update([], [mx.nd.array([1, 3, 2])])
    >>> name, value = metric.get()
    >>> name, float(value)
    ('largest', 3.0)
    """

    def __init__(
        self,
        name: str,
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.name: Any = str(name)
        self.output_names = output_names
        self.label_names = label_names
        self._has_global_stats = bool(kwargs.pop("has_global_stats", False))
        self._kwargs = kwargs
        self.num_inst: float = 0
        self.sum_metric: float = 0.0
        self.global_num_inst: float = 0
        self.global_sum_metric: float = 0.0
        self.reset()

    def __str__(self) -> str:
        return f"EvalMetric: {dict(self.get_name_value())}"

    def name_text(self) -> str:
        """The name for messages."""
        return f"metric {self.name!r}"

    def get_config(self) -> dict[str, Any]:
        """Return what the metric was made with."""
        return {
            **self._kwargs,
            "metric": type(self).__name__,
            "name": self.name,
            "output_names": self.output_names,
            "label_names": self.label_names,
        }

    def update(self, labels: Any, preds: Any) -> None:
        """Take in the labels and predictions of a batch (lists of arrays, or two arrays)."""
        raise NotImplementedError(f"{type(self).__name__} must define update(self, labels, preds).")

    def update_dict(self, label: dict[str, Any], pred: dict[str, Any]) -> None:
        """`update` with the entries named by `label_names` and `output_names`, or all of them."""
        self.update(
            self._chosen(label, self.label_names, "label_names"), self._chosen(pred, self.output_names, "output_names")
        )

    def _chosen(self, arrays: dict[str, Any], names: Sequence[str] | None, which: str) -> list[Any]:
        if names is None:
            return list(arrays.values())
        missing = [name for name in names if name not in arrays]
        if missing:
            raise ArgumentError(
                explain(
                    self.name_text(),
                    f"There is no array named {missing[0]!r}, which {which} asks for.",
                    received=", ".join(arrays),
                )
            )
        return [arrays[name] for name in names]

    def _add(self, total: float, count: float) -> None:
        """Add to the sums and counts, local and global."""
        self.sum_metric += total
        self.num_inst += count
        self.global_sum_metric += total
        self.global_num_inst += count

    def reset(self) -> None:
        """Forget everything."""
        self.num_inst = 0
        self.sum_metric = 0.0
        self.global_num_inst = 0
        self.global_sum_metric = 0.0

    def reset_local(self) -> None:
        """Forget what came since the last `reset_local`, and keep the global sums."""
        self.num_inst = 0
        self.sum_metric = 0.0

    def finish(self, total: float, count: float) -> float:
        """Return the value for a sum and a count: their quotient unless overridden; NaN of nothing."""
        return total / count if count else float("nan")

    def get(self) -> tuple[Any, Any]:
        """Return (name, value) since the last reset, local or full."""
        return self.name, self.finish(self.sum_metric, self.num_inst)

    def get_global(self) -> tuple[Any, Any]:
        """Return (name, value) since the last full reset."""
        if not self._has_global_stats:
            return self.get()
        return self.name, self.finish(self.global_sum_metric, self.global_num_inst)

    def get_name_value(self) -> list[tuple[str, Any]]:
        """Return `get` as a list of (name, value)."""
        return _listed(*self.get())

    def get_global_name_value(self) -> list[tuple[str, Any]]:
        """Return `get_global` as a list of (name, value)."""
        return _listed(*self.get_global())


def _listed(name: Any, value: Any) -> list[tuple[str, Any]]:
    names, values = (name if isinstance(name, list) else [name]), (value if isinstance(value, list) else [value])
    return list(zip(names, values))


_registry: Registry[EvalMetric] = Registry("metric", EvalMetric)


def register(klass: MetricClass, name: str | None = None) -> MetricClass:
    """Register a metric class under its lower-case name, or under `name`."""
    _registry.register(klass, *([name] if name else []))
    return klass


def alias(*aliases: str) -> Callable[[MetricClass], MetricClass]:
    """Return a decorator that registers a metric class under further names."""
    return _registry.alias(*aliases)  # type: ignore[return-value]


def create(metric: Any, *args: Any, **kwargs: Any) -> EvalMetric:
    """Return a metric for an instance, a registered name, a function of (label, pred), or a list of these.

    Raises
    ------
    ArgumentError
        For an unknown name, with the closest known ones.

    Examples
    --------
    >>> import glueball as mx
    >>> mx.metric.create(["acc", "mse"]).get()
    (['accuracy', 'mse'], [nan, nan])
    """
    if isinstance(metric, (list, tuple)):
        composite = CompositeEvalMetric(*args, **kwargs)
        for child in metric:
            composite.add(create(child))
        return composite
    if callable(metric) and not isinstance(metric, (EvalMetric, type)):
        return _registry.create("custommetric", metric, *args, **kwargs)
    return _registry.create(metric, *args, **kwargs)


@alias("composite")
class CompositeEvalMetric(EvalMetric):
    """Several metrics updated together; `get` returns a list of names and a list of values.

    Examples
    --------
    >>> import glueball as mx
    >>> metric = mx.metric.CompositeEvalMetric(["acc", "mae"])
    >>> metric.update(mx.nd.array([1, 0]), mx.nd.array([1, 1]))
    >>> metric.get_name_value()
    [('accuracy', 0.5), ('mae', 0.5)]
    """

    def __init__(
        self,
        metrics: Sequence[Any] | None = None,
        name: str = "composite",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        self.metrics: list[EvalMetric] = [create(metric) for metric in metrics or ()]
        super().__init__(name, output_names, label_names, has_global_stats=True)

    def add(self, metric: Any) -> None:
        """Add a metric."""
        self.metrics.append(create(metric))

    def get_metric(self, index: int) -> EvalMetric:
        """Return the metric at a position."""
        if not 0 <= index < len(self.metrics):
            raise ArgumentError(
                explain(
                    self.name_text(),
                    f"Metric index {index} is out of range.",
                    expected=f"0 to {len(self.metrics) - 1}",
                    received=index,
                )
            )
        return self.metrics[index]

    def update_dict(self, labels: dict[str, Any], preds: dict[str, Any]) -> None:
        if self.label_names is not None:
            labels = {name: array for name, array in labels.items() if name in self.label_names}
        if self.output_names is not None:
            preds = {name: array for name, array in preds.items() if name in self.output_names}
        for metric in self.metrics:
            metric.update_dict(labels, preds)

    def update(self, labels: Any, preds: Any) -> None:
        for metric in self.metrics:
            metric.update(labels, preds)

    def reset(self) -> None:
        for metric in self.metrics:
            metric.reset()

    def reset_local(self) -> None:
        for metric in self.metrics:
            metric.reset_local()

    def _collected(self, scores: Sequence[list[tuple[str, Any]]]) -> tuple[list[str], list[Any]]:
        flat = [score for own in scores for score in own]
        return [name for name, _ in flat], [value for _, value in flat]

    def get(self) -> tuple[list[str], list[Any]]:
        return self._collected([metric.get_name_value() for metric in self.metrics])

    def get_global(self) -> tuple[list[str], list[Any]]:
        return self._collected([metric.get_global_name_value() for metric in self.metrics])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "metrics": [metric.get_config() for metric in self.metrics]}
