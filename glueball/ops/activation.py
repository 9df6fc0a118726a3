"""Activations that take a choice or a parameter: Activation(act_type) and LeakyReLU (leaky, prelu, elu, selu, gelu,
rrelu).

The one idea: a name selects one torch function, and for the gradient one backward kernel. The plain functions relu,
sigmoid, tanh are in elementwise.py, softmax in softmax.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import erf
from typing import Any

import numpy as np
import torch

from ..base import aten
from ..base.errors import ArgumentError, ShapeError, explain
from .elementwise import _relu_backward, _sigmoid_backward, _tanh_backward
from .opdef import REQUIRED, Grad, Tensor, Training, Value, from_kernel, operator
from .rules.check import A, S, check
from .rules.infer import elementwise, same_shape
from .rules.layers import Probing, formula
from .rules.shapes import like_data_and_slopes

_functional = torch.nn.functional
_SOFTPLUS_EDGE = 30.0  # beyond it log(1 + e**x) is x to the last bit of float32 and to 1e-13 in float64


def _softplus(data: Tensor) -> Tensor:
    return _functional.softplus(data, 1.0, _SOFTPLUS_EDGE)


_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softrelu": _softplus,
    "softsign": _functional.softsign,
    "log_sigmoid": _functional.logsigmoid,
    "mish": _functional.mish,
}
_FROM_RESULT: Mapping[str, Any] = {"relu": _relu_backward, "sigmoid": _sigmoid_backward, "tanh": _tanh_backward}
_INPLACE: Mapping[str, str] = {"relu": "torch.relu", "sigmoid": "torch.sigmoid", "tanh": "torch.tanh"}


def _no_such(where: str, names: Any, received: str) -> ArgumentError:
    return ArgumentError(explain(where, "There is no such act_type.", expected=", ".join(names), received=received))


_NP: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "softrelu": lambda x: np.log1p(np.exp(x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "log_sigmoid": lambda x: -np.log1p(np.exp(-x)),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
}


def _emit_activation(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str | None:
    function = _INPLACE.get(attrs["act_type"])
    return function and f"{function}({args[0]})"


def _overwrite_activation(attrs: Mapping[str, Any]) -> str | None:
    name = attrs["act_type"]
    return f"{{0}}.{name}_()" if name in ("relu", "sigmoid", "tanh") else None


@operator(
    infer=same_shape,
    emit=_emit_activation,
    inplace=_overwrite_activation,
    check=check(
        *(S(A(2, 3, low=-2, high=2), act_type=name) for name in _NP),
        S(A(0, 3), act_type="relu"),
        ref=lambda x, act_type: _NP[act_type](x),
        errors=[((A(2, 3),), {"act_type": "swish"}, "relu, sigmoid, tanh")],
    ),
)
def Activation(data: Tensor, act_type: str = REQUIRED) -> Tensor:
    """Apply relu, sigmoid, tanh, softrelu = log(1 + eˣ), softsign = x/(1 + |x|), log_sigmoid or mish = x·tanh(log(1 +
    eˣ)).

    >>> nd.Activation(nd.array([-1.0, 2.0]), act_type='relu').asnumpy().tolist()
    [0.0, 2.0]
    """
    try:
        function = _ACTIVATIONS[act_type]
    except KeyError:
        raise _no_such("Activation", _ACTIVATIONS, act_type) from None
    return function(data)


@Activation.grad
def _(c: Grad) -> Value:
    act_type = c.attrs["act_type"]
    from_result = _FROM_RESULT.get(act_type)
    return from_result(c.g, c.out) if from_result else _activation_backward(c.g, c.x, act_type=act_type)


def _np_slope(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    return (function(x + 1e-6) - function(x - 1e-6)) / 2e-6


@operator(
    infer=elementwise,
    gradient=from_kernel,
    check=check(
        *(S(A(2, 3), A(2, 3), act_type=name) for name in ("softrelu", "softsign", "log_sigmoid", "mish")),
        ref=lambda g, x, act_type: g * _np_slope(_NP[act_type], x.astype(np.float64)),
    ),
)
def _activation_backward(grad: Tensor, data: Tensor, act_type: str = REQUIRED) -> Tensor:
    """Compute the gradient of softrelu, softsign, log_sigmoid or mish from its input."""
    if act_type == "softrelu":
        return aten.softplus_backward(grad, data, 1.0, _SOFTPLUS_EDGE)
    if act_type == "softsign":
        return grad / (1 + data.abs()).square()
    if act_type == "log_sigmoid":
        return grad * torch.sigmoid(-data)
    bend, gate = torch.tanh(_softplus(data)), torch.sigmoid(data)
    return grad * (bend + data * gate * (1 - bend * bend))


# -- LeakyReLU ---------------------------------------------------------------------------------------------------------
_KINDS = ("leaky", "prelu", "elu", "selu", "gelu", "rrelu")
SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def _slopes(data: Tensor, gamma: Tensor) -> Tensor:
    """gamma (C,) or (1,) along axis 1 of the data (or gamma already of the data's rank)."""
    if gamma.dim() == 1 and gamma.shape[0] == 1:
        return gamma.view((1,) * data.dim())
    if gamma.dim() == 1 and data.dim() > 1 and gamma.shape[0] == data.shape[1]:
        return gamma.view(1, -1, *(1,) * (data.dim() - 2))
    if gamma.dim() == data.dim() and all(g in (1, d) for g, d in zip(gamma.shape, data.shape)):
        return gamma
    channels = data.shape[1] if data.dim() > 1 else 1
    raise ShapeError(
        explain(
            "LeakyReLU",
            "act_type='prelu' needs one gamma per channel (axis 1), or a single one.",
            expected=f"shape ({channels},) or (1,)",
            received=f"gamma {tuple(gamma.shape)}, data {tuple(data.shape)}",
        )
    )


def _leaky_type(attrs: Mapping[str, Any], shapes: Sequence[Any], dtypes: Sequence[Any]) -> Any:
    """Type of the output (the `meta` kernels would import torch's compiler: seconds); None: ask the kernel."""
    kind = attrs["act_type"]
    if kind == "rrelu" or len(shapes) != 1 + (kind == "prelu") or any(d is not dtypes[0] for d in dtypes):
        return None
    if kind not in _KINDS or not dtypes[0].is_floating_point:
        return None
    if kind == "prelu":
        _slopes(*(torch.empty(shape, device="meta") for shape in shapes))
    return [(shapes[0], dtypes[0])]


def _np_leaky(
    x: np.ndarray,
    gamma: np.ndarray | None = None,
    act_type: str = "leaky",
    slope: float = 0.25,
    lower_bound: float = 0.125,
    upper_bound: float = 0.334,
) -> np.ndarray:
    if gamma is not None:
        slopes = (
            gamma.reshape([-1 if i == min(1, x.ndim - 1) else 1 for i in range(x.ndim)]) if gamma.ndim == 1 else gamma
        )
        return np.where(x > 0, x, slopes * x)
    if act_type == "selu":
        return SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x))
    if act_type == "gelu":
        return x * 0.5 * (1 + np.vectorize(erf, otypes=[np.float64])(x / np.sqrt(2)))
    if act_type == "elu":
        return np.where(x > 0, x, slope * np.expm1(x))
    return np.where(x > 0, x, (slope if act_type == "leaky" else (lower_bound + upper_bound) / 2) * x)


def _emit_leaky(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str | None:
    kind = attrs["act_type"]
    return {
        "leaky": f"torch.nn.functional.leaky_relu({args[0]}, {attrs['slope']!r})",
        "gelu": f"torch.nn.functional.gelu({args[0]})",
        "elu": f"torch.nn.functional.elu({args[0]}, {attrs['slope']!r})",
        "selu": f"torch.selu({args[0]})",
    }.get(kind)


@operator(
    when={"gamma": lambda a: a["act_type"] == "prelu"},
    outputs=lambda a: 2 if a["act_type"] == "rrelu" else 1,
    visible=1,
    output_names=("output", "mask"),
    random=True,
    infer=Probing(result=_leaky_type),
    emit=_emit_leaky,
    check=check(
        *(
            S(A(2, 3, 2, low=-2, high=2), act_type=name, slope=0.1)
            for name in ("leaky", "elu", "selu", "gelu", "rrelu")
        ),
        S(A(2, 3)),
        S(A(2, 3, 2), A(3, low=0.1), act_type="prelu"),
        S(A(2, 3), A(1, low=0.1), act_type="prelu"),
        S(A(2, 3, 4), A(1, 3, 4), act_type="prelu"),
        ref=_np_leaky,
        errors=[
            ((A(2, 3, 4), A(4)), {"act_type": "prelu"}, r"shape \(3,\) or \(1,\)"),
            ((A(2, 3),), {"act_type": "swish"}, "leaky, prelu"),
            ((A(2, 3),), {"act_type": "prelu"}, "gamma"),
        ],
    ),
)
def LeakyReLU(
    data: Tensor,
    gamma: Tensor | None = None,
    act_type: str = "leaky",
    slope: float = 0.25,
    lower_bound: float = 0.125,
    upper_bound: float = 0.334,
    *,
    training: Training = False,
) -> Any:
    """Apply x for x > 0, and else: slope·x ("leaky"), gamma·x ("prelu"), slope·(eˣ − 1) ("elu"), a random slope per
    element ("rrelu").

    "selu" is the scaled elu, "gelu" x·Φ(x). gamma (C,) along axis 1, or (1,). In train mode "rrelu" draws its slopes
    uniformly from [lower_bound, upper_bound], otherwise it takes their mean.

    >>> nd.LeakyReLU(nd.array([-1.0, 2.0]), act_type='leaky', slope=0.5).asnumpy().tolist()
    [-0.5, 2.0]
    """
    if act_type == "leaky":
        return _functional.leaky_relu(data, slope)
    if act_type == "prelu":
        if gamma is None:
            raise ArgumentError(
                explain(
                    "LeakyReLU",
                    "act_type='prelu' needs the input gamma.",
                    expected="LeakyReLU(data, gamma, act_type='prelu')",
                    received="None",
                )
            )
        return aten.prelu_kernel(data, _slopes(data, gamma))
    if act_type == "elu":
        return _functional.elu(data, slope)
    if act_type == "selu":
        return torch.selu(data)
    if act_type == "gelu":
        return _functional.gelu(data)
    if act_type != "rrelu":
        raise _no_such("LeakyReLU", _KINDS, act_type)
    if training:
        mask = torch.where(data > 0, 1.0, torch.empty_like(data).uniform_(lower_bound, upper_bound))
    else:
        mask = torch.where(data > 0, 1.0, torch.full_like(data, (lower_bound + upper_bound) / 2))
    return data * mask, mask


@LeakyReLU.fill
def _(attrs: Mapping[str, Any], shapes: Sequence[Any]) -> list[Any]:
    channels = shapes[0][1] if len(shapes[0]) > 1 else 1
    return [
        shapes[0],
        *(
            [(channels,) if shapes[1] is None or len(shapes[1]) != 1 or shapes[1][0] is None else shapes[1]]
            if len(shapes) > 1
            else []
        ),
    ]


@LeakyReLU.grad
def _(c: Grad) -> Value:
    kind = c.attrs["act_type"]
    if kind == "rrelu":
        return c.g * c.outs[1]
    if kind == "prelu":
        return tuple(_prelu_backward(c.g, c.x, c.ins[1]))
    back = _leaky_relu_backward(c.g, c.x, act_type=kind, slope=c.attrs["slope"])
    return back if len(c.ins) == 1 else (back, None)


@operator(
    infer=elementwise,
    gradient=from_kernel,
    check=check(
        *(S(A(2, 3), A(2, 3), act_type=name, slope=0.3) for name in ("leaky", "elu", "selu", "gelu")),
        ref=lambda g, x, act_type, slope: (
            g * _np_slope(lambda v: _np_leaky(v, None, act_type, slope), x.astype(np.float64))
        ),
    ),
)
def _leaky_relu_backward(grad: Tensor, data: Tensor, act_type: str = "leaky", slope: float = 0.25) -> Tensor:
    """Compute the gradient of LeakyReLU without parameters from its input."""
    if act_type == "leaky":
        return aten.leaky_relu_backward(grad, data, slope, False)
    if act_type == "gelu":
        return aten.gelu_backward(grad, data)
    alpha, scale = (slope, 1.0) if act_type == "elu" else (SELU_ALPHA, SELU_SCALE)
    return aten.elu_backward(grad, alpha, scale, 1.0, False, data)


def _np_prelu_backward(g: np.ndarray, x: np.ndarray, gamma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shape = [-1 if i == 1 else 1 for i in range(x.ndim)]
    axes = tuple(i for i in range(x.ndim) if i != 1)
    return np.where(x > 0, g, g * gamma.reshape(shape)), np.where(x > 0, 0, g * x).sum(axes)


@operator(
    outputs=2,
    infer=formula(like_data_and_slopes),
    gradient=from_kernel,
    check=check(S(A(2, 3, 2), A(2, 3, 2), A(3, low=0.1)), ref=_np_prelu_backward),
)
def _prelu_backward(grad: Tensor, data: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the gradients of LeakyReLU(act_type="prelu") for data and gamma."""
    slopes = _slopes(data, gamma)
    to_data, each = aten.prelu_backward(grad, data, slopes)
    return to_data, each.sum_to_size(slopes.shape).view(gamma.shape)
