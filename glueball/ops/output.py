"""Output layers with a gradient of their own: SoftmaxOutput, the regression outputs, SVMOutput; CTCLoss.

The one idea: forward they are predictions, backward they are the loss: the gradient ignores what comes from above
(unless out_grad), so `own_gradient=True` and a private backward operator for each. CTCLoss is an ordinary loss and
only lives here as their neighbour. MakeLoss and IdentityAttachKLSparseReg are in passing.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch

from ..base.errors import ArgumentError, ShapeError, explain
from .opdef import Grad, Tensor, Value, from_kernel, operator, unsupported
from .rules.check import A, S, check
from .rules.infer import same_shape
from .rules.layers import Probing, formula
from .rules.shapes import alike, labelled
from .softmax import check_labels

_NO_SECOND = unsupported(
    "the gradient of an output layer is a loss gradient by definition, not the derivative of anything"
)
_NORMALIZATIONS = ("null", "batch", "valid")


# -- SoftmaxOutput -----------------------------------------------------------------------------------------------------
def _softmax(data: Tensor, multi_output: bool, preserve_shape: bool) -> Tensor:
    if multi_output:
        return torch.softmax(data, 1)
    if preserve_shape or data.dim() == 2:
        return torch.softmax(data, -1)
    return torch.softmax(data.flatten(1), 1).view(data.shape)


def _label_shape(data: Sequence[int], multi_output: bool, preserve_shape: bool) -> tuple[int, ...]:
    return (data[0], *data[2:]) if multi_output else tuple(data[:-1]) if preserve_shape else tuple(data[:1])


def _np_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _np_softmax_output(
    x: np.ndarray, label: np.ndarray, multi_output: bool = False, preserve_shape: bool = False, **_: Any
) -> np.ndarray:
    if multi_output or preserve_shape or x.ndim == 2:
        return _np_softmax(x, 1 if multi_output else -1)
    return _np_softmax(x.reshape(x.shape[0], -1), 1).reshape(x.shape)


_CLASSES = np.array([0.0, 3.0, 1.0])


@operator(
    aliases=("Softmax",),
    own_gradient=True,
    nondiff=("label",),
    infer=Probing(result=labelled),
    check=check(
        S(A(3, 4), _CLASSES, grad=False),
        S(A(2, 3, 4), A(2, 4, ints=3), multi_output=True, grad=False),
        S(A(2, 3), A(2, 3), grad=False),
        S(A(2, 3, 4), A(2, 3, ints=4), preserve_shape=True, grad=False),
        S(A(2, 3, 4), A(2, ints=9), grad=False),
        ref=_np_softmax_output,
        errors=[
            ((A(3, 4), A(2)), {}, r"label of shape \(3,\)"),
            ((A(3, 4), _CLASSES), {"normalization": "mean"}, "null, batch, valid"),
        ],
    ),
)
def SoftmaxOutput(
    data: Tensor,
    label: Tensor,
    grad_scale: float = 1.0,
    ignore_label: float = -1.0,
    multi_output: bool = False,
    use_ignore: bool = False,
    preserve_shape: bool = False,
    normalization: str = "null",
    out_grad: bool = False,
    smooth_alpha: float = 0.0,
) -> Tensor:
    """Compute the softmax; its gradient is that of the cross-entropy with `label`: softmax − one_hot(label), whatever
    comes from above.

    data (N, K) and label (N,); multi_output: data (N, K, …) and label (N, …); preserve_shape: data (…, K) and label
    (…). A label of the data's shape holds probabilities. The gradient is multiplied by grad_scale and divided, with
    normalization="batch", by N (preserve_shape: by the number of labels), with "valid" by the number of labels that
    are not `ignore_label`, and with multi_output (unless "valid") by the number of positions. `use_ignore`: no
    gradient where the label is `ignore_label`. `smooth_alpha`: the target is 1 − α for the label and α/(K − 1) for
    the others. `out_grad`: multiply by the gradient from above after all.

    >>> nd.SoftmaxOutput(nd.zeros((1, 2)), nd.array([1])).asnumpy().tolist()
    [[0.5, 0.5]]
    """
    if normalization not in _NORMALIZATIONS:
        raise ArgumentError(
            explain(
                "SoftmaxOutput",
                "There is no such normalization.",
                expected=", ".join(_NORMALIZATIONS),
                received=normalization,
            )
        )
    wanted = _label_shape(data.shape, multi_output, preserve_shape)
    if label.shape != data.shape and label.shape != wanted and label.numel() != prod(wanted):
        raise ShapeError(
            explain(
                "SoftmaxOutput",
                "The label does not fit the data.",
                expected=f"label of shape {wanted}, class numbers",
                received=f"label {tuple(label.shape)}, data {tuple(data.shape)}",
                fix="for one class per position use multi_output=True (classes on axis 1) or preserve_shape (last)",
            )
        )
    return _softmax(data, multi_output, preserve_shape)


@SoftmaxOutput.fill
def _(attrs: Mapping[str, Any], shapes: Sequence[Any]) -> list[Any]:
    return [
        shapes[0],
        _label_shape(shapes[0], attrs["multi_output"], attrs["preserve_shape"]) if shapes[1] is None else shapes[1],
    ]


@SoftmaxOutput.grad
def _(c: Grad) -> Value:
    kept = {k: v for k, v in c.attrs.items() if k != "out_grad"}
    head = (c.g,) if c.attrs["out_grad"] else ()
    return _softmax_output_backward(c.out, c.ins[1], *head, **kept), None


def _np_softmax_output_backward(
    y: np.ndarray,
    label: np.ndarray,
    grad_scale: float = 1.0,
    ignore_label: float = -1.0,
    use_ignore: bool = False,
    normalization: str = "null",
    smooth_alpha: float = 0.0,
    **_: Any,
) -> np.ndarray:
    """For data (N, K)."""
    classes = y.shape[1]
    target = np.where(np.arange(classes) == label[:, None], 1 - smooth_alpha, smooth_alpha / (classes - 1))
    kept = label != ignore_label if use_ignore else np.ones(label.shape, bool)
    count = {"null": 1, "batch": len(y), "valid": max(1, (label != ignore_label).sum()) if use_ignore else len(y)}[
        normalization
    ]
    return grad_scale / count * (y - target) * kept[:, None]


@operator(
    gradient=_NO_SECOND,
    nondiff=("label",),
    infer=same_shape,
    check=check(
        S(A(3, 4), _CLASSES),
        S(A(3, 4), _CLASSES, use_ignore=True, ignore_label=3.0, normalization="valid", grad_scale=0.5),
        S(A(3, 4), _CLASSES, smooth_alpha=0.1, normalization="batch"),
        ref=_np_softmax_output_backward,
    ),
)
def _softmax_output_backward(
    output: Tensor,
    label: Tensor,
    head: Tensor | None = None,
    grad_scale: float = 1.0,
    ignore_label: float = -1.0,
    multi_output: bool = False,
    use_ignore: bool = False,
    preserve_shape: bool = False,
    normalization: str = "null",
    smooth_alpha: float = 0.0,
) -> Tensor:
    """Compute the gradient of SoftmaxOutput from its result and the label (see there for the attributes)."""
    if label.shape == output.shape:
        back = (output - label.to(output.dtype)) * grad_scale
        return back if head is None else back * head
    rows = output.flatten(1) if not (multi_output or preserve_shape) else output
    axis = 1 if multi_output else rows.dim() - 1
    classes, positions = rows.shape[axis], 1
    if multi_output:
        positions = rows[0, 0].numel() if rows.numel() else 1
    index = label.reshape([n for i, n in enumerate(rows.shape) if i != axis]).long().unsqueeze(axis)
    inside = ((index >= 0) & (index < classes)).to(rows.dtype)
    rest = smooth_alpha / (classes - 1) if smooth_alpha and classes > 1 else 0.0
    back = (rows - rest if rest else rows.clone()).scatter_add(
        axis, index.clamp(0, classes - 1), inside * (smooth_alpha + rest - 1.0)
    )
    scale: Any = grad_scale
    if use_ignore:
        back = back * (index != int(ignore_label)).to(rows.dtype)
    if normalization == "batch":
        scale = scale / max(1, rows.shape[0] if multi_output else index.numel())
    elif normalization == "valid":
        valid = (index != int(ignore_label)).sum().clamp(min=1).to(rows.dtype) if use_ignore else index.numel()
        scale = scale / valid
    if normalization != "valid":
        scale = scale / positions
    back = (back * scale).view(output.shape)
    return back if head is None else back * head


# -- regression outputs ------------------------------------------------------------------------------------------------
def _regression_fill(attrs: Mapping[str, Any], shapes: Sequence[Any]) -> list[Any]:
    """A missing label has the data's shape; data (N, 1) take a label (N,)."""
    data, label = shapes
    if label is None:
        label = data[:1] if len(data) == 2 and data[1] == 1 else data
    return [data, label]


def _check_regression(where: str, data: Tensor, label: Tensor) -> None:
    if label.shape != data.shape and label.numel() != data.numel():
        raise ShapeError(
            explain(
                where,
                "The label does not fit the data.",
                expected=f"label of shape {tuple(data.shape)}",
                received=f"label {tuple(label.shape)}",
            )
        )


def _regression(name: str, kind: str) -> dict[str, Any]:
    reference = (
        (lambda x, y, grad_scale=1.0: 1 / (1 + np.exp(-x))) if kind == "logistic" else (lambda x, y, grad_scale=1.0: x)
    )
    samples = (S(A(3, 4), A(3, 4), grad=False), S(A(3, 1), A(3), grad_scale=2.0, grad=False))
    return {
        "own_gradient": True,
        "nondiff": ("label",),
        "infer": Probing(result=alike),
        "filler": _regression_fill,
        "gradient": _regression_gradient(kind),
        "check": check(*samples, ref=reference, errors=[((A(3, 4), A(3, 3)), {}, r"label of shape \(3, 4\)")]),
    }


def _regression_gradient(kind: str) -> Any:
    def rule(c: Grad) -> Value:
        return _regression_backward(
            c.out, c.ins[1], grad_scale=c.attrs["grad_scale"], absolute=kind == "absolute"
        ), None

    return rule


@operator(**_regression("LinearRegressionOutput", "linear"))
def LinearRegressionOutput(data: Tensor, label: Tensor, grad_scale: float = 1.0) -> Tensor:
    """Return the data; their gradient is grad_scale·(data − label)/(outputs per sample), whatever comes from above."""
    _check_regression("LinearRegressionOutput", data, label)
    return data.clone()


@operator(**_regression("MAERegressionOutput", "absolute"))
def MAERegressionOutput(data: Tensor, label: Tensor, grad_scale: float = 1.0) -> Tensor:
    """Return the data; their gradient is grad_scale·sign(data − label)/(outputs per sample), whatever comes from
    above.
    """
    _check_regression("MAERegressionOutput", data, label)
    return data.clone()


@operator(**_regression("LogisticRegressionOutput", "logistic"))
def LogisticRegressionOutput(data: Tensor, label: Tensor, grad_scale: float = 1.0) -> Tensor:
    """Return sigmoid(data); the gradient is grad_scale·(sigmoid(data) − label)/(outputs per sample), whatever comes
    from above.
    """
    _check_regression("LogisticRegressionOutput", data, label)
    return torch.sigmoid(data)


def _np_regression_backward(
    y: np.ndarray, label: np.ndarray, grad_scale: float = 1.0, absolute: bool = False
) -> np.ndarray:
    difference = y - label.reshape(y.shape)
    return (np.sign(difference) if absolute else difference) * grad_scale / (label.size / len(label))


@operator(
    gradient=_NO_SECOND,
    nondiff=("label",),
    infer=same_shape,
    check=check(
        S(A(3, 4), A(3, 4)),
        S(A(3, 1), A(3), grad_scale=2.0),
        S(A(3, 4), A(3, 4), absolute=True),
        ref=_np_regression_backward,
    ),
)
def _regression_backward(output: Tensor, label: Tensor, grad_scale: float = 1.0, absolute: bool = False) -> Tensor:
    """Compute grad_scale·(output − label)/(outputs per sample), or of the sign of the difference."""
    difference = output - label.reshape(output.shape).to(output.dtype)
    per_sample = label.numel() // label.shape[0] if label.dim() and label.shape[0] else 1
    return (difference.sign() if absolute else difference) * (grad_scale / max(1, per_sample))


# -- SVMOutput ---------------------------------------------------------------------------------------------------------
@operator(
    own_gradient=True,
    nondiff=("label",),
    infer=Probing(result=labelled),
    check=check(
        S(A(3, 4), _CLASSES, grad=False),
        ref=lambda x, label, **_: x,
        errors=[((A(3, 4), A(2)), {}, r"label of shape \(3,\)")],
    ),
)
def SVMOutput(
    data: Tensor, label: Tensor, margin: float = 1.0, regularization_coefficient: float = 1.0, use_linear: bool = False
) -> Tensor:
    """Return the data (N, K); their gradient is that of the squared (with `use_linear` the plain) hinge loss with
    class numbers `label` (N,).
    """
    if label.shape != data.shape[:-1]:
        raise ShapeError(
            explain(
                "SVMOutput",
                "The label does not fit the data.",
                expected=f"label of shape {tuple(data.shape[:-1])}",
                received=f"label {tuple(label.shape)}",
            )
        )
    return data.clone()


@SVMOutput.fill
def _(attrs: Mapping[str, Any], shapes: Sequence[Any]) -> list[Any]:
    return [shapes[0], shapes[0][:-1] if shapes[1] is None else shapes[1]]


@SVMOutput.grad
def _(c: Grad) -> Value:
    return _svm_backward(c.out, c.ins[1], **c.attrs), None


def _np_svm_backward(
    x: np.ndarray,
    label: np.ndarray,
    margin: float = 1.0,
    regularization_coefficient: float = 1.0,
    use_linear: bool = False,
) -> np.ndarray:
    """Labelled class: wants data above the margin. Every other class: wants data below −margin."""
    sign = np.where(np.arange(x.shape[1]) == label[:, None], 1.0, -1.0)
    room = margin - sign * x
    return -sign * regularization_coefficient * (room > 0) * (1 if use_linear else 2 * room)


@operator(
    gradient=_NO_SECOND,
    nondiff=("label",),
    infer=same_shape,
    check=check(
        S(A(3, 4), _CLASSES),
        S(A(3, 4), _CLASSES, margin=0.5, regularization_coefficient=2.0, use_linear=True),
        ref=_np_svm_backward,
    ),
)
def _svm_backward(
    output: Tensor,
    label: Tensor,
    margin: float = 1.0,
    regularization_coefficient: float = 1.0,
    use_linear: bool = False,
) -> Tensor:
    """Compute the gradient of SVMOutput."""
    mine = torch.arange(output.shape[-1], device=output.device) == label.long().unsqueeze(-1)
    sign = torch.where(mine, 1.0, -1.0).to(output.dtype)
    room = margin - sign * output
    step = (room > 0).to(output.dtype) if use_linear else 2 * room.clamp(min=0)
    return -regularization_coefficient * sign * step


# -- CTCLoss -----------------------------------------------------------------------------------------------------------
def _np_ctc(
    data: np.ndarray,
    label: np.ndarray,
    *lengths: np.ndarray,
    use_data_lengths: bool = False,
    use_label_lengths: bool = False,
    blank_label: str = "first",
) -> np.ndarray:
    """By summing over all paths (tiny samples only)."""
    from itertools import groupby, product

    steps, batch, classes = data.shape
    blank = 0 if blank_label == "first" else classes - 1
    given = list(lengths)
    sizes = given.pop(0).astype(int) if use_data_lengths else np.full(batch, steps)
    counts = given.pop(0).astype(int) if use_label_lengths else None
    out = np.zeros(batch)
    for n in range(batch):
        row = label[n].astype(int).tolist()
        padding = 0 if blank_label == "first" else -1
        wanted = row[: counts[n]] if counts is not None else row[: row.index(padding)] if padding in row else row
        prob, total = _np_softmax(data[: sizes[n], n], 1), 0.0
        for path in product(range(classes), repeat=int(sizes[n])):
            if [k for k, _ in groupby(path) if k != blank] == wanted:
                total += np.prod(prob[np.arange(len(path)), path])
        out[n] = -np.log(total)
    return out


_CTC_LABEL = np.array([[1.0, 2.0], [2.0, 0.0]])


@operator(
    aliases=("ctc_loss", "_contrib_ctc_loss", "_contrib_CTCLoss"),
    output_names=("output0",),
    gradient=from_kernel,
    nondiff=("label", "data_lengths", "label_lengths"),
    when={"data_lengths": lambda a: a["use_data_lengths"], "label_lengths": lambda a: a["use_label_lengths"]},
    infer=formula(lambda a, shapes, dtypes: [(shapes[0][1:2], dtypes[0])]),
    check=check(
        S(A(4, 2, 3), _CTC_LABEL),
        S(A(4, 2, 3), np.array([[0.0, 1.0], [1.0, -1.0]]), blank_label="last"),
        S(
            A(4, 2, 3),
            np.array([[1.0, 2.0], [2.0, 1.0]]),
            np.array([3.0, 4.0]),
            np.array([1.0, 2.0]),
            use_data_lengths=True,
            use_label_lengths=True,
        ),
        ref=_np_ctc,
        grad_rtol=1e-3,
        second_order=False,  # torch has no second derivative of its CTC kernel
        errors=[
            ((A(4, 2, 3), A(3, 2)), {}, r"label \(2, "),
            ((A(4, 2, 3), _CTC_LABEL), {"blank_label": "middle"}, "first, last"),
            ((A(4, 2, 3), np.array([[1, 5], [2, 0]], np.float32)), {}, "from 0 to 2"),
        ],
    ),
)
def CTCLoss(
    data: Tensor,
    label: Tensor,
    data_lengths: Tensor | None = None,
    label_lengths: Tensor | None = None,
    use_data_lengths: bool = False,
    use_label_lengths: bool = False,
    blank_label: str = "first",
) -> Tensor:
    """Compute the connectionist temporal classification loss of each sequence.

    data (T, N, K), not normalised (the softmax is taken here); label (N, L) of class numbers. blank_label="first":
    class 0 is the blank and 0 pads the labels; "last": class K − 1 is the blank and −1 pads. Lengths (N,) take part
    with use_data_lengths, use_label_lengths. The result has shape (N,).

    >>> nd.CTCLoss(nd.zeros((3, 1, 2)), nd.array([[1]])).asnumpy().round(3).tolist()
    [0.28...]
    """
    if blank_label not in ("first", "last"):
        raise ArgumentError(
            explain("CTCLoss", "There is no such blank_label.", expected="first, last", received=blank_label)
        )
    steps, batch, classes = data.shape
    if label.dim() != 2 or label.shape[0] != batch:
        raise ShapeError(
            explain(
                "CTCLoss",
                "The label does not fit the data.",
                expected=f"data (T, N, K) and label ({batch}, L)",
                received=f"data {tuple(data.shape)}, label {tuple(label.shape)}",
            )
        )
    if use_label_lengths and not use_data_lengths and label_lengths is None:
        data_lengths, label_lengths = None, data_lengths  # given by position, without the absent data_lengths
    targets = label.long()
    padding = 0 if blank_label == "first" else -1
    if use_label_lengths and label_lengths is not None:
        counts = label_lengths.long()
    else:
        counts = (targets != padding).long().cumprod(1).sum(1)
    check_labels("CTCLoss", targets, classes if padding == 0 else classes - 1, -1)
    sizes = (
        data_lengths.long()
        if use_data_lengths and data_lengths is not None
        else torch.full((batch,), steps, device=data.device)
    )
    logs = torch.log_softmax(data.float() if data.dtype in (torch.float16, torch.bfloat16) else data, 2)
    loss = torch.nn.functional.ctc_loss(
        logs, targets.clamp(min=0), sizes, counts, blank=0 if padding == 0 else classes - 1, reduction="none"
    )
    return loss.to(data.dtype)
