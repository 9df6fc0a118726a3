"""The cross entropy of classes in one operator: what log_softmax and pick compute together, at the cost of two kernels.

The one idea: `_class_likelihood` gives -log softmax(data)[label] per row and keeps the logarithms for its gradient.
Users write log_softmax and pick (or SoftmaxCrossEntropyLoss, which calls this when it runs eagerly);
passes/likelihood.py puts it into compiled graphs. It never appears in files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..base import aten
from ..base.errors import ArgumentError, ShapeError, explain
from .opdef import Grad, Tensor, Value, from_kernel, operator
from .rules.check import A, S, check
from .rules.layers import formula

NOTHING_IGNORED = -(1 << 62)  # torch's kernel skips one label value: one that cannot occur


def _wrong_label(data: Tensor, label: Tensor) -> Exception:
    """Say which label is no class, or which shapes do not fit; called only after torch has refused them."""
    where = "SoftmaxCrossEntropyLoss"
    received = f"pred {tuple(data.shape)}, label {tuple(label.shape)}"
    if data.dim() != 2 or label.dim() != 1 or label.shape[0] != data.shape[0]:
        return ShapeError(
            explain(where, "The labels do not fit the predictions.", expected="one class number per row",
                    received=received)
        )
    return no_such_class(where, data.shape[1], float(label.min()), float(label.max()))


def no_such_class(where: str, classes: int, low: float, high: float) -> ArgumentError:
    """Return the error for labels from `low` to `high` where there are so many classes."""
    wrong = high if not high < classes else low
    hint = (
        f"labels from 1 to {classes} become class numbers with label - 1"
        if wrong == classes
        else f"give the last layer at least {int(high) + 1} units"
        if high > classes
        else "mask such samples with sample_weight"
    )
    return ArgumentError(
        explain(
            where,
            "A label is none of the classes.",
            expected=f"labels from 0 to {classes - 1}: the predictions have {classes} classes",
            received=f"label {wrong:g} in labels from {low:g} to {high:g}",
            fix=hint,
        )
    )


def _np_likelihood(x: np.ndarray, label: np.ndarray) -> np.ndarray:
    high = x.max(1, keepdims=True, initial=-1e30)
    logs = x - high - np.log(np.exp(x - high).sum(1, keepdims=True))
    return -logs[np.arange(len(x)), label.astype(int)]


@operator(
    outputs=2,
    visible=1,
    nondiff=("label",),
    output_names=("output", "logarithms"),
    infer=formula(lambda attrs, shapes, dtypes: [(shapes[1], dtypes[0]), (shapes[0], dtypes[0])]),
    check=check(
        S(A(4, 3), np.array([0.0, 2.0, 1.0, 2.0])),
        S(A(2, 5), np.array([4, 0])),
        S(A(0, 3), np.zeros(0)),
        ref=_np_likelihood,
        errors=[
            ((A(2, 3), np.array([0.0, 3.0])), {}, "label - 1"),
            ((A(2, 3), np.array([0.0, -1.0])), {}, "sample_weight"),
            ((A(2, 3), np.array([0.0, 7.0])), {}, "at least 8 units"),
            ((A(2, 3), np.zeros(3)), {}, "one class number per row"),
        ],
    ),
)
def _class_likelihood(data: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Compute -log softmax(data)[label] for each row.

    data (N, classes), label (N,) with class numbers from 0; result (N,).
    """
    logs = torch.log_softmax(data, 1)
    try:
        out, _ = aten.nll_loss_forward(logs, label.long(), None, 0, NOTHING_IGNORED)
    except (RuntimeError, IndexError):
        raise _wrong_label(data, label) from None
    return out, logs


@_class_likelihood.grad
def _(c: Grad) -> Value:
    return _class_likelihood_backward(c.g, c.ins[1], c.outs[1]), None


def _np_likelihood_backward(g: np.ndarray, label: np.ndarray, logs: np.ndarray) -> np.ndarray:
    hot = np.zeros(logs.shape)
    hot[np.arange(len(logs)), label.astype(int)] = -g
    return hot - np.exp(logs) * hot.sum(1, keepdims=True)


@operator(
    nondiff=("label",),
    gradient=from_kernel,
    infer=formula(lambda attrs, shapes, dtypes: [(shapes[2], dtypes[2])]),
    check=check(
        S(A(4), np.array([0.0, 2.0, 1.0, 2.0]), A(4, 3)), S(A(2), np.array([4, 0]), A(2, 5)),
        ref=_np_likelihood_backward
    ),
)
def _class_likelihood_backward(grad: Tensor, label: Tensor, logarithms: Tensor) -> Tensor:
    """Compute the gradient of _class_likelihood for its data from the logarithms that it kept."""
    unused: Any = logarithms.new_zeros(())
    picked = aten.nll_loss_backward(grad, logarithms, label.long(), None, 0, NOTHING_IGNORED, unused)
    return aten.log_softmax_backward(picked, logarithms, 1, logarithms.dtype)
