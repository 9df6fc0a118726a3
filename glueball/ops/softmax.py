"""softmax, log_softmax, softmin, SoftmaxActivation and softmax_cross_entropy.

The one idea: torch's `_softmax` kernels forward and backward; a temperature, a cast or lengths are put around them.
Softmax with a loss gradient of its own is SoftmaxOutput in output.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..base import aten
from ..base.errors import ArgumentError, ShapeError, explain
from .attributes import DType
from .opdef import Grad, Tensor, Value, from_kernel, operator
from .rules.check import A, S, check
from .rules.layers import Probing, formula
from .rules.shapes import like_data_as_asked, like_first


def _np_softmax(
    x: np.ndarray,
    length: np.ndarray | None = None,
    axis: int = -1,
    temperature: float | None = None,
    dtype: str | None = None,
    use_length: bool = False,
) -> np.ndarray:
    x = x.astype(dtype or x.dtype) / (temperature or 1.0)
    if length is not None:
        x = np.where(_np_within(x, length, axis), x, -np.inf)
    e = np.exp(x.astype(np.float64) - np.where(np.isfinite(x), x, -1e30).max(axis, keepdims=True))
    return (e / np.maximum(e.sum(axis, keepdims=True), 1e-300)).astype(x.dtype)


def _np_within(x: np.ndarray, length: np.ndarray, axis: int) -> np.ndarray:
    steps = np.arange(x.shape[axis]).reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
    return steps < np.expand_dims(length, axis)


def _within(data: Tensor, length: Tensor, axis: int) -> Tensor:
    """True where the position along `axis` is below the length of its row."""
    wanted = [n for i, n in enumerate(data.shape) if i != axis % data.dim()]
    if list(length.shape) != wanted:
        raise ShapeError(
            explain(
                "softmax",
                "The lengths do not fit.",
                expected=f"shape {tuple(wanted)}: the data's without axis {axis}",
                received=f"length {tuple(length.shape)}, data {tuple(data.shape)}",
            )
        )
    steps = torch.arange(data.shape[axis], device=data.device, dtype=length.dtype)
    return steps.view([-1 if i == axis % data.dim() else 1 for i in range(data.dim())]) < length.unsqueeze(axis)


def _emit_softmax(function: str) -> Any:
    def emit(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str | None:
        if len(args) > 1 or attrs.get("dtype") is not None or attrs["temperature"] not in (None, 1.0):
            return None
        return f"{function}({args[0]}, {attrs['axis']})"

    return emit


_SAMPLES = (S(A(2, 3)), S(A(2, 3, 4), axis=1), S(A(2, 3), axis=0, temperature=2.5), S(A(0, 3)), S(A(3, 0, 2)))
_SIZED: dict[str, Any] = {
    "when": {"length": lambda a: a["use_length"]},
    "nondiff": ("length",),
    "infer": Probing(result=like_data_as_asked),
}


@operator(
    **_SIZED,
    method=True,
    emit=_emit_softmax("torch.softmax"),
    check=check(
        *_SAMPLES,
        S(A(2, 3), dtype="float64"),
        S(A(3, 4), np.array([1, 4, 2], np.int32), use_length=True),
        S(A(2, 4, 3), np.array([[1, 2, 3], [4, 3, 1]], np.int32), use_length=True, axis=1),
        S(A(2, 3), np.array([0, 2], np.int32), use_length=True),
        ref=_np_softmax,
        errors=[((A(2, 3), A(3)), {"use_length": True}, r"shape \(2,\)")],
    ),
)
def softmax(
    data: Tensor,
    length: Tensor | None = None,
    axis: int = -1,
    temperature: float | None = None,
    dtype: DType | None = None,
    use_length: bool = False,
) -> Tensor:
    """Compute e^(data/temperature) divided by its sum along `axis`.

    length, with `use_length`: the data's shape without `axis`; positions from there on count as −∞ and give 0.

    >>> nd.softmax(nd.zeros((1, 4))).asnumpy().tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    if temperature is not None and temperature != 1.0:
        data = data / temperature
    if length is None or not use_length:
        return torch.softmax(data, axis, dtype)
    inside = _within(data, length, axis)
    if dtype is not None:
        data = data.to(dtype)
    return torch.softmax(data.masked_fill(~inside, torch.finfo(data.dtype).min), axis).masked_fill(~inside, 0)


@operator(
    infer=Probing(result=like_data_as_asked),
    method=True,
    check=check(*_SAMPLES, ref=lambda x, **a: _np_softmax(-x, **a)),
)
def softmin(
    data: Tensor, axis: int = -1, temperature: float | None = None, dtype: DType | None = None, use_length: bool = False
) -> Tensor:
    """Compute the softmax of −data along `axis`."""
    if temperature is not None and temperature != 1.0:
        data = data / temperature
    return torch.softmax(-data, axis, dtype)


def _scaled_grad(c: Grad, backward: Any, sign: float) -> Value:
    temperature, dtype = c.attrs["temperature"], c.in_types[0].dtype
    scale = sign / (temperature or 1.0)
    back = backward(
        c.g, c.out, axis=c.attrs["axis"], scale=scale, dtype=None if dtype == c.out_types[0].dtype else dtype
    )
    return back if len(c.ins) == 1 else (back, None)


@softmax.grad
def _(c: Grad) -> Value:
    return _scaled_grad(c, _softmax_backward, 1.0)


@softmin.grad
def _(c: Grad) -> Value:
    return _scaled_grad(c, _softmax_backward, -1.0)


def _backward_type(attrs: Mapping[str, Any], shapes: Sequence[Any], dtypes: Sequence[Any]) -> list[Any]:
    return [(shapes[1], attrs["dtype"] or dtypes[1])]


@operator(
    infer=formula(_backward_type),
    gradient=from_kernel,
    check=check(
        S(A(2, 3), A(2, 3)),
        S(A(2, 3, 4), A(2, 3, 4), axis=1, scale=0.5),
        ref=lambda g, y, axis=-1, scale=1.0: scale * y * (g - (g * y).sum(axis, keepdims=True)),
    ),
)
def _softmax_backward(
    grad: Tensor, output: Tensor, axis: int = -1, scale: float = 1.0, dtype: DType | None = None
) -> Tensor:
    """Compute scale · out · (grad − Σ grad·out): the gradient of softmax from its result, cast to `dtype` if given."""
    back = aten.softmax_backward(grad, output, axis, output.dtype)
    if scale != 1.0:
        back = back * scale
    return back if dtype is None else back.to(dtype)


@operator(
    infer=Probing(result=like_data_as_asked),
    method=True,
    emit=_emit_softmax("torch.log_softmax"),
    check=check(*_SAMPLES, S(A(2, 3), dtype="float64"), ref=lambda x, **a: np.log(_np_softmax(x, **a))),
)
def log_softmax(
    data: Tensor, axis: int = -1, temperature: float | None = None, dtype: DType | None = None, use_length: bool = False
) -> Tensor:
    """Compute the logarithm of the softmax of data/temperature along `axis`, safely for large data."""
    if temperature is not None and temperature != 1.0:
        data = data / temperature
    return torch.log_softmax(data, axis, dtype)


@log_softmax.grad
def _(c: Grad) -> Value:
    return _scaled_grad(c, _log_softmax_backward, 1.0)


@operator(
    infer=formula(_backward_type),
    gradient=from_kernel,
    check=check(
        S(A(2, 3), A(2, 3)),
        S(A(2, 3, 4), A(2, 3, 4), axis=1, scale=0.5),
        ref=lambda g, y, axis=-1, scale=1.0: scale * (g - np.exp(y) * g.sum(axis, keepdims=True)),
    ),
)
def _log_softmax_backward(
    grad: Tensor, output: Tensor, axis: int = -1, scale: float = 1.0, dtype: DType | None = None
) -> Tensor:
    """Compute scale · (grad − e^out · Σ grad): the gradient of log_softmax from its result, cast to `dtype` if
    given.
    """
    back = aten.log_softmax_backward(grad, output, axis, output.dtype)
    if scale != 1.0:
        back = back * scale
    return back if dtype is None else back.to(dtype)


def _np_activation(x: np.ndarray, mode: str = "instance") -> np.ndarray:
    return _np_softmax(x, axis=1 if mode == "channel" else -1)


@operator(
    infer=Probing(result=like_first),
    check=check(
        S(A(2, 3, 4)),
        S(A(2, 3, 4), mode="channel"),
        S(A(2, 3)),
        ref=_np_activation,
        errors=[((A(2, 3, 4),), {"mode": "row"}, "instance, channel"), ((A(2, 3),), {"mode": "channel"}, "3 axes")],
    ),
)
def SoftmaxActivation(data: Tensor, mode: str = "instance") -> Tensor:
    """Compute the softmax over the last axis ("instance") or over axis 1 ("channel")."""
    if mode == "instance":
        return torch.softmax(data, -1)
    if mode != "channel":
        raise ArgumentError(
            explain("SoftmaxActivation", "There is no such mode.", expected="instance, channel", received=mode)
        )
    if data.dim() < 3:
        raise ShapeError(
            explain("SoftmaxActivation", "mode='channel' needs data of at least 3 axes.", received=tuple(data.shape))
        )
    return torch.softmax(data, 1)


@SoftmaxActivation.grad
def _(c: Grad) -> Value:
    return _softmax_backward(c.g, c.out, axis=1 if c.attrs["mode"] == "channel" else -1)


def check_labels(where: str, label: Tensor, classes: int, ignored: int | None = None) -> None:
    """Refuse class numbers outside 0 … classes − 1 (on the CPU, where looking is cheap); `ignored` is allowed."""
    if label.device.type != "cpu" or not label.numel():
        return
    low, high = (v.item() for v in label.aminmax())
    if low >= 0 and high < classes:
        return
    wrong = [v for v in label.flatten().tolist() if not 0 <= v < classes and v != ignored]
    if wrong:
        raise ArgumentError(
            explain(
                where,
                "A label is out of range.",
                expected=f"class numbers from 0 to {classes - 1}",
                received=f"label {wrong[0]:g}",
                fix="count classes from 0, and give the last layer as many units as there are classes",
            )
        )


def _np_cross_entropy(x: np.ndarray, label: np.ndarray) -> np.ndarray:
    return -np.log(_np_softmax(x))[np.arange(len(x)), label.astype(int)].sum(keepdims=True)


@operator(
    infer=formula(lambda a, shapes, dtypes: [((1,), dtypes[0])]),
    nondiff=("label",),
    check=check(
        S(A(3, 4), np.array([0.0, 3.0, 1.0])),
        ref=_np_cross_entropy,
        errors=[
            ((A(2, 3), np.array([0, 3], np.float32)), {}, "from 0 to 2"),
            ((A(2, 3), A(3)), {}, r"label of shape \(2,\)"),
        ],
    ),
)
def softmax_cross_entropy(data: Tensor, label: Tensor) -> Tensor:
    """Sum −log softmax(data)[label] over the batch: data (N, K), label (N,) of class numbers; the result has shape
    (1,).

    >>> nd.softmax_cross_entropy(nd.zeros((2, 4)), nd.array([0, 3])).asnumpy().round(3).tolist()
    [2.77...]
    """
    if data.dim() != 2 or label.shape != data.shape[:1]:
        raise ShapeError(
            explain(
                "softmax_cross_entropy",
                "The label does not fit the data.",
                expected=f"data (N, K) and label of shape {tuple(data.shape[:1])}",
                received=f"data {tuple(data.shape)}, label {tuple(label.shape)}",
            )
        )
    check_labels("softmax_cross_entropy", label, data.shape[1])
    return torch.nn.functional.cross_entropy(data, label.long(), reduction="sum").view(1)


@softmax_cross_entropy.grad
def _(c: Grad) -> Value:
    return _softmax_cross_entropy_backward(c.g, c.x, c.ins[1]), None


def _np_cross_entropy_backward(g: np.ndarray, x: np.ndarray, label: np.ndarray) -> np.ndarray:
    return g * (_np_softmax(x) - np.eye(x.shape[1])[label.astype(int)])


@operator(
    infer=formula(lambda a, shapes, dtypes: [(shapes[1], dtypes[1])]),
    gradient=from_kernel,
    nondiff=("label",),
    check=check(S(A(1), A(3, 4), np.array([0.0, 3.0, 1.0])), ref=_np_cross_entropy_backward),
)
def _softmax_cross_entropy_backward(grad: Tensor, data: Tensor, label: Tensor) -> Tensor:
    """Compute grad · (softmax(data) − one_hot(label))."""
    ones = torch.ones((), dtype=data.dtype, device=data.device)
    return grad * torch.softmax(data, 1).sub(
        torch.zeros_like(data).scatter(1, label.long().unsqueeze(1), ones.expand(len(label), 1))
    )
