"""Operators of plans that only predict: normalisation absorbed by weights, and convolutions that finish what follows.

The one idea: with statistics that stand still BatchNorm is a factor and a summand per channel, which the weights and
the bias of the layer before it can take; what depends on parameters alone is then computed once and kept
(executor/derived.py). A convolution adds its bias, a shortcut, and applies an activation while its result is still at
hand: `aten.finished_convolution`, one call of oneDNN on weights that lie as it wants them (`_arranged_weight`).

Made by passes, never by a user: passes/absorb.py, passes/finish.py. They have no gradients, for prediction takes none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..base import aten
from .attributes import Shape
from .convolution import _np_convolution, per_axis
from .opdef import Tensor, operator, unsupported
from .rules.check import A, S, check
from .rules.infer import same_shape
from .rules.layers import formula
from .rules.shapes import convolved

_NO_GRADIENT = unsupported("plans that predict take no gradients")
_NO_BATCH = unsupported("passes put it into compiled plans")


def factors(gamma: Tensor, moving_var: Tensor, eps: float, fix_gamma: bool) -> Tensor:
    """Return what BatchNorm multiplies each channel by."""
    inverse = (moving_var + eps).rsqrt()
    return inverse if fix_gamma else inverse * gamma


def _np_factors(gamma: np.ndarray, var: np.ndarray, eps: float, fix_gamma: bool) -> np.ndarray:
    return (1 if fix_gamma else gamma) / np.sqrt(var + eps)


def _np_weight(
    weight: np.ndarray, gamma: np.ndarray, var: np.ndarray, eps: float = 1e-3, fix_gamma: bool = True, axis: int = 0
) -> np.ndarray:
    sizes = [1] * weight.ndim
    sizes[axis] = -1
    return weight * _np_factors(gamma, var, eps, fix_gamma).reshape(sizes)


@operator(
    infer=formula(lambda attrs, shapes, dtypes: [(shapes[0], dtypes[0])]),
    gradient=_NO_GRADIENT,
    batch=_NO_BATCH,
    check=check(
        S(A(3, 2, 2, 2), A(3), A(3, low=0.5), grad=False),
        S(A(2, 3, 2), A(3), A(3, low=0.5), fix_gamma=False, eps=1e-5, axis=1, grad=False),
        ref=_np_weight,
    ),
)
def _absorbed_weight(
    weight: Tensor, gamma: Tensor, moving_var: Tensor, eps: float = 1e-3, fix_gamma: bool = True, axis: int = 0
) -> Tensor:
    """Multiply the weights of each channel, along `axis`, by gamma/√(moving_var + eps): by 1/√… with `fix_gamma`."""
    sizes = [1] * weight.dim()
    sizes[axis] = -1
    return weight * factors(gamma, moving_var, eps, fix_gamma).to(weight.dtype).view(sizes)


def _np_bias(
    beta: np.ndarray,
    gamma: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    bias: np.ndarray | None = None,
    eps: float = 1e-3,
    fix_gamma: bool = True,
    biased: bool = False,
) -> np.ndarray:
    return ((0 if bias is None else bias) - mean) * _np_factors(gamma, var, eps, fix_gamma) + beta


@operator(
    when={"bias": lambda a: a["biased"]},
    infer=formula(lambda attrs, shapes, dtypes: [(shapes[0], dtypes[0])]),
    gradient=_NO_GRADIENT,
    batch=_NO_BATCH,
    check=check(
        S(A(3), A(3), A(3), A(3, low=0.5), grad=False),
        S(A(3), A(3), A(3), A(3, low=0.5), A(3), fix_gamma=False, eps=1e-5, biased=True, grad=False),
        ref=_np_bias,
    ),
)
def _absorbed_bias(
    beta: Tensor,
    gamma: Tensor,
    moving_mean: Tensor,
    moving_var: Tensor,
    bias: Tensor | None = None,
    eps: float = 1e-3,
    fix_gamma: bool = True,
    biased: bool = False,
) -> Tensor:
    """Compute (bias − moving_mean)·gamma/√(moving_var + eps) + beta; `biased`: whether there is a bias."""
    away = -moving_mean if bias is None else bias - moving_mean
    return (away * factors(gamma, moving_var, eps, fix_gamma) + beta).to(beta.dtype)


@operator(
    infer=same_shape,
    gradient=_NO_GRADIENT,
    batch=_NO_BATCH,
    check=check(S(A(2, 3, 2, 2), grad=False), ref=lambda weight: weight),
)
def _arranged_weight(
    weight: Tensor,
    stride: Shape = (1, 1),
    dilate: Shape = (1, 1),
    pad: Shape = (0, 0),
    num_group: int = 1,
    data: Shape = (),
) -> Tensor:
    """Arrange a convolution's weights (F, C/num_group, h, w) in memory as is best for `data`, the data's shape.

    Without `data` it is a plain copy. The result is for `_finished_convolution` and `_added_convolution` only.
    """
    return aten.arranged_weight(weight, stride, dilate, pad, num_group, data) if data else weight.clone()


def _np_finished(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None, act: str = "none", low: float = 0.0, high: float = 0.0,
    **attrs: Any,
) -> np.ndarray:  # fmt: skip
    out = _np_convolution(x, w, b, kernel=w.shape[2:], num_filter=w.shape[0], **attrs)
    return _np_activated(out, act, low, high)


def _np_activated(out: np.ndarray, act: str, low: float, high: float) -> np.ndarray:
    if act == "relu":
        return np.maximum(out, 0)
    if act == "clip":
        return np.clip(out, low, high)
    return np.where(out > 0, out, out * low) if act == "leaky" else out


def _np_added(
    residual: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    act: str = "none",
    **attrs: Any,
) -> np.ndarray:
    out = _np_finished(x, w, b, **attrs) + residual
    return np.maximum(out, 0) if act == "relu" else out


def _arguments(attrs: Mapping[str, Any]) -> str:
    names = ("stride", "dilate", "pad", "num_group", "act")
    numbers = () if attrs["act"] in ("none", "relu") else (attrs["low"], attrs["high"])
    return ", ".join(repr(value) for value in (*(attrs[name] for name in names), *numbers))


def _with_bias(args: Sequence[str], attrs: Mapping[str, Any]) -> str:
    return ", ".join([*args, "None"] if attrs["no_bias"] else args)


def _emit_finished(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str:
    return f"aten.finished_convolution({_with_bias(args, attrs)}, {_arguments(attrs)})"


def _types(attrs: Mapping[str, Any], shapes: Sequence[Any], dtypes: Sequence[Any]) -> Any:
    weight = shapes[1]
    return convolved({**attrs, "kernel": weight[2:], "num_filter": weight[0], "layout": None}, shapes, dtypes)


@operator(
    emit=_emit_finished,
    when={"bias": lambda a: not a["no_bias"]},
    infer=formula(_types),
    gradient=_NO_GRADIENT,
    batch=_NO_BATCH,
    check=check(
        S(A(2, 3, 5, 4), A(4, 3, 3, 2), A(4), act="relu", stride=(2, 1), pad=(1, 0), grad=False),
        S(A(2, 4, 5, 4), A(4, 2, 3, 1), A(4), act="clip", low=-0.5, high=0.5, num_group=2, dilate=(2, 1), grad=False),
        S(A(1, 2, 3, 3), A(3, 2, 1, 1), A(3), act="leaky", low=0.1, grad=False),
        S(A(1, 2, 3, 3), A(3, 2, 1, 1), no_bias=True, grad=False),
        ref=_np_finished,
    ),
)
def _finished_convolution(
    data: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Shape = (1, 1),
    dilate: Shape = (1, 1),
    pad: Shape = (0, 0),
    num_group: int = 1,
    no_bias: bool = False,
    act: str = "none",
    low: float = 0.0,
    high: float = 0.0,
) -> Tensor:
    """Compute act(convolution of data (N, C, H, W) + bias).

    act : none, relu, clip (between `low` and `high`), or leaky (values below 0 are multiplied by `low`)
    """
    return aten.finished_convolution(data, weight, bias, per_axis(stride, 1, 2), per_axis(dilate, 1, 2),
                                     per_axis(pad, 0, 2), num_group, act, low, high)  # fmt: skip


def _emit_added(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str:
    return f"aten.added_convolution({_with_bias(args, attrs)}, {_arguments(attrs)})"


def _over_residual(attrs: Mapping[str, Any]) -> str:
    """The call that may write over the residual."""
    given = _with_bias(["{0}", "{1}", "{2}"] if attrs["no_bias"] else ["{0}", "{1}", "{2}", "{3}"], attrs)
    return f"aten.added_convolution({given}, {_arguments(attrs)}, overwrite=True)"


@operator(
    emit=_emit_added,
    when={"bias": lambda a: not a["no_bias"]},
    inplace=_over_residual,
    infer=formula(lambda attrs, shapes, dtypes: [(shapes[0], dtypes[0])]),
    gradient=_NO_GRADIENT,
    batch=_NO_BATCH,
    check=check(
        S(A(2, 4, 3, 3), A(2, 3, 5, 4), A(4, 3, 3, 2), A(4), act="relu", stride=(2, 1), pad=(1, 0), grad=False),
        S(A(1, 4, 3, 3), A(1, 2, 3, 3), A(4, 1, 1, 1), num_group=2, no_bias=True, grad=False),
        ref=_np_added,
    ),
)
def _added_convolution(
    residual: Tensor,
    data: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Shape = (1, 1),
    dilate: Shape = (1, 1),
    pad: Shape = (0, 0),
    num_group: int = 1,
    no_bias: bool = False,
    act: str = "none",
) -> Tensor:
    """Compute act(residual + convolution of data (N, C, H, W) + bias); act : none or relu."""
    return aten.added_convolution(residual, data, weight, bias, per_axis(stride, 1, 2), per_axis(dilate, 1, 2),
                                  per_axis(pad, 0, 2), num_group, act)  # fmt: skip
