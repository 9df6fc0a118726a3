"""Normalising layers with a backward kernel of their own: BatchNorm and its synchronous form, and LayerNorm.

The one idea: each is torch's native kernel, which returns the statistics that its backward kernel wants, so that the
gradient is one call, too. BatchNorm alone has state: in train mode its forward pass moves moving_mean and moving_var
towards the batch's mean and *biased* variance. InstanceNorm, GroupNorm, LRN and L2Normalization are in
group_normalization.py, softmax in softmax.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..base import aten
from ..base.errors import ShapeError, explain
from ..base.writes import note_write
from .opdef import REQUIRED, Grad, Tensor, Training, Value, from_kernel, operator
from .rules.check import A, S, check
from .rules.layers import Probing, formula, half_keeps_float32
from .rules.shapes import axis_normalised, channels_normalised, like_data_and_gains


def numpy_normalize(x: np.ndarray, axes: tuple[int, ...], eps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(var + eps), mean, var


def along(v: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    return v.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])


# -- BatchNorm ---------------------------------------------------------------------------------------------------------
def _np_batch_norm(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    moving_mean: np.ndarray,
    moving_var: np.ndarray,
    eps: float = 1e-3,
    fix_gamma: bool = True,
    output_mean_var: bool = False,
    axis: int = 1,
    **_: Any,
) -> Any:
    """Outside training: with the moving statistics."""
    scale = along(np.ones_like(gamma) if fix_gamma else gamma, x, axis)
    mean, var = along(moving_mean, x, axis), along(moving_var, x, axis)
    out = (x - mean) / np.sqrt(var + eps) * scale + along(beta, x, axis)
    return (out, moving_mean, 1 / np.sqrt(moving_var + eps)) if output_mean_var else out


def misfit(where: str, data: Tensor, axis: int, parameters: Mapping[str, Tensor | None], error: Exception) -> Exception:
    size = data.shape[axis] if -data.dim() <= axis < data.dim() else None
    for name, value in parameters.items():
        if value is not None and tuple(value.shape) != (size,):
            return ShapeError(
                explain(
                    where,
                    f"The input {name!r} does not fit axis {axis} of the data.",
                    expected=f"shape ({size},)",
                    received=f"{name} {tuple(value.shape)}, data {tuple(data.shape)}",
                    fix="leave in_channels out, or name the channel axis with axis=",
                )
            )
    return ShapeError(
        explain(where, str(error).splitlines()[0], received=f"data {tuple(data.shape)} {str(data.dtype)[6:]}")
    )


def fill_channels(attrs: Mapping[str, Any], shapes: Sequence[Any]) -> list[Any]:
    axis = attrs.get("axis", 1)
    if not -len(shapes[0]) <= axis < len(shapes[0]):
        raise ShapeError(explain("normalisation", f"The data have no axis {axis}.", received=f"data {shapes[0]}"))
    return [shapes[0], *[(shapes[0][axis],)] * (len(shapes) - 1)]


def _train_batch_norm(
    data: Tensor,
    gamma: Tensor | None,
    beta: Tensor,
    moving_mean: Tensor,
    moving_var: Tensor,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise by the batch and move the statistics.

    torch moves the variance towards the unbiased one, b·n/(n − 1). With the moving variance stretched by n/(n − 1)
    before the call and shrunk after it, that is the biased one. `.data` keeps this state off the tape: it is no part
    of any gradient.
    """
    count = data.numel() // data.shape[1] if data.shape[1] else 0
    if count < 2:
        found = aten.batch_norm(data, gamma, beta, None, None, True, 0.0, eps, True)[:3]
        if count == 1:
            moving_mean.data.mul_(momentum).add_(found[1].to(moving_mean.dtype), alpha=1 - momentum)
            moving_var.data.mul_(momentum)
            note_write(moving_mean, moving_var)
        return found
    variance = moving_var.data
    variance.mul_(count / (count - 1))
    found = aten.batch_norm(data, gamma, beta, moving_mean.data, variance, True, 1 - momentum, eps, True)[:3]
    moving_var.data.mul_((count - 1) / count)
    note_write(moving_mean, moving_var)
    return found


def _batch_norm(
    data: Tensor,
    gamma: Tensor,
    beta: Tensor,
    moving_mean: Tensor,
    moving_var: Tensor,
    eps: float,
    momentum: float,
    fix_gamma: bool,
    use_global_stats: bool,
    output_mean_var: bool,
    axis: int,
    training: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    scale: Tensor | None = gamma
    if fix_gamma:  # a gamma on the tape must still get its gradient, 0
        scale = gamma * 0 + 1 if gamma.requires_grad and torch.is_grad_enabled() else None
    try:
        first = data if axis == 1 else data.movedim(axis, 1)
        if training and not use_global_stats:
            out, mean, spread = _train_batch_norm(first, scale, beta, moving_mean, moving_var, momentum, eps)
            if output_mean_var:
                spread = spread.detach()
        else:
            out = aten.batch_norm(first, scale, beta, moving_mean, moving_var, False, momentum, eps, True)[0]
            mean, spread = (
                (moving_mean.clone(), (moving_var + eps).rsqrt()) if output_mean_var else (moving_mean, moving_var)
            )
    except (RuntimeError, IndexError) as error:
        raise misfit(
            "BatchNorm",
            data,
            axis,
            {"gamma": gamma, "beta": beta, "moving_mean": moving_mean, "moving_var": moving_var},
            error,
        ) from None
    return (out if axis == 1 else out.movedim(1, axis)), mean, spread


_channel_samples = (
    S(A(3, 2, 4), A(2), A(2), A(2), A(2, low=0.5)),
    S(A(3, 2), A(2), A(2), A(2), A(2, low=0.5), fix_gamma=False, eps=1e-5),
    S(A(2, 2, 3, 4), A(4), A(4), A(4), A(4, low=0.5), fix_gamma=False, axis=-1, output_mean_var=True),
    S(A(0, 2, 3), A(2), A(2), A(2), A(2, low=0.5)),
)
_channel_errors = [((A(2, 3, 4), A(4), A(4), A(4), A(4)), {}, r"does not fit axis 1 of the data")]


def _emit_batch_norm(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str | None:
    """Outside training the plain call."""
    if (training and not attrs["use_global_stats"]) or attrs["output_mean_var"] or attrs.get("axis", 1) != 1:
        return None
    data, gamma, beta, mean, var = args
    if attrs["fix_gamma"]:
        gamma = "None"
    call = f"torch.batch_norm({data}, {gamma}, {beta}, {mean}, {var}, False, {attrs['momentum']}, {attrs['eps']}, True)"
    return f"({call}, {mean}, {var})"


@operator(
    emit=_emit_batch_norm,
    aliases=("BatchNorm_v1", "CuDNNBatchNorm"),
    outputs=3,
    visible=lambda a: 3 if a["output_mean_var"] else 1,
    output_names=("output", "mean", "var"),
    mutates=("moving_mean", "moving_var"),
    nondiff=("moving_mean", "moving_var"),
    infer=Probing(half_keeps_float32, channels_normalised),
    check=check(*_channel_samples, ref=_np_batch_norm, errors=_channel_errors),
)
def BatchNorm(
    data: Tensor,
    gamma: Tensor,
    beta: Tensor,
    moving_mean: Tensor,
    moving_var: Tensor,
    eps: float = 1e-3,
    momentum: float = 0.9,
    fix_gamma: bool = True,
    use_global_stats: bool = False,
    output_mean_var: bool = False,
    axis: int = 1,
    cudnn_off: bool = False,
    min_calib_range: float | None = None,
    max_calib_range: float | None = None,
    *,
    training: Training = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise along all axes but `axis`: gamma·(data − mean)/√(var + eps) + beta.

    In train mode mean and variance are the batch's, and moving ← momentum·moving + (1 − momentum)·batch (biased
    variance) in the forward pass; otherwise, and with `use_global_stats`, they are moving_mean and moving_var. gamma,
    beta, moving_mean, moving_var (C,). `fix_gamma`: gamma counts as 1 and has the gradient 0. `output_mean_var` shows
    the mean and 1/√(var + eps) that are used, too.

    >>> mean, var = nd.array([2.0]), nd.array([1.0])
    >>> nd.BatchNorm(nd.array([[4.0]]), nd.ones(1), nd.zeros(1), mean, var, eps=0.0).asnumpy().tolist()
    [[2.0]]
    """
    return _batch_norm(
        data,
        gamma,
        beta,
        moving_mean,
        moving_var,
        eps,
        momentum,
        fix_gamma,
        use_global_stats,
        output_mean_var,
        axis,
        training,
    )


BatchNorm.fill(fill_channels)


@operator(
    name="_contrib_SyncBatchNorm",
    outputs=3,
    visible=lambda a: 3 if a["output_mean_var"] else 1,
    output_names=("output", "mean", "var"),
    mutates=("moving_mean", "moving_var"),
    nondiff=("moving_mean", "moving_var"),
    infer=Probing(half_keeps_float32, channels_normalised),
    check=check(S(A(3, 2, 4), A(2), A(2), A(2), A(2, low=0.5), key="a"), ref=_np_batch_norm),
)
def SyncBatchNorm(
    data: Tensor,
    gamma: Tensor,
    beta: Tensor,
    moving_mean: Tensor,
    moving_var: Tensor,
    eps: float = 1e-3,
    momentum: float = 0.9,
    fix_gamma: bool = True,
    use_global_stats: bool = False,
    output_mean_var: bool = False,
    ndev: int = 1,
    key: str = REQUIRED,
    *,
    training: Training = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Do as BatchNorm with axis=1; the statistics are those of this device's part of the batch (`ndev` and `key` have
    no effect).
    """
    return _batch_norm(
        data,
        gamma,
        beta,
        moving_mean,
        moving_var,
        eps,
        momentum,
        fix_gamma,
        use_global_stats,
        output_mean_var,
        1,
        training,
    )


SyncBatchNorm.fill(fill_channels)


@BatchNorm.grad
@SyncBatchNorm.grad
def _(c: Grad) -> Value:
    batch = c.training and not c.attrs["use_global_stats"]
    found = _batch_norm_backward(
        c.g,
        c.x,
        c.ins[1],
        c.outs[1] if batch else c.ins[3],
        c.outs[2] if batch else c.ins[4],
        eps=c.attrs["eps"],
        fix_gamma=c.attrs["fix_gamma"],
        axis=c.attrs.get("axis", 1),
        batch=batch,
    )
    return (*found, None, None)


def _np_batch_norm_backward(
    g: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    mean: np.ndarray,
    spread: np.ndarray,
    eps: float = 1e-3,
    fix_gamma: bool = False,
    axis: int = 1,
    batch: bool = True,
) -> tuple[np.ndarray, ...]:
    axes = tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    inverse = along(spread if batch else 1 / np.sqrt(spread + eps), x, axis)
    hat = (x - along(mean, x, axis)) * inverse
    scale = inverse if fix_gamma else inverse * along(gamma, x, axis)
    back = g - g.mean(axes, keepdims=True) - hat * (g * hat).mean(axes, keepdims=True) if batch else g
    return scale * back, np.zeros_like(gamma) if fix_gamma else (g * hat).sum(axes), g.sum(axes)


@operator(
    infer=formula(like_data_and_gains),
    outputs=3,
    gradient=from_kernel,
    nondiff=("mean", "spread"),
    check=check(
        S(A(3, 2, 4), A(3, 2, 4), A(2), A(2), A(2, low=0.5), grad=False),
        S(A(3, 4, 2), A(3, 4, 2), A(2), A(2), A(2, low=0.5), axis=2, fix_gamma=True, grad=False),
        S(A(3, 2), A(3, 2), A(2), A(2), A(2, low=0.5), batch=False),
        ref=_np_batch_norm_backward,
    ),
)
def _batch_norm_backward(
    grad: Tensor,
    data: Tensor,
    gamma: Tensor,
    mean: Tensor,
    spread: Tensor,
    eps: float = 1e-3,
    fix_gamma: bool = False,
    axis: int = 1,
    batch: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients of BatchNorm for data, gamma and beta.

    `mean` and `spread`: with `batch` the batch's mean and 1/√(var + eps), else the moving mean and variance.
    """
    if not grad.numel():  # torch's kernel would divide by the number of elements
        return torch.zeros_like(data), torch.zeros_like(gamma), torch.zeros_like(gamma)
    if axis != 1:
        grad, data = grad.movedim(axis, 1), data.movedim(axis, 1)
    state = (None, None, mean, spread, True) if batch else (mean, spread, None, None, False)
    to_data, to_gamma, to_beta = aten.batch_norm_backward(
        grad, data, None if fix_gamma else gamma, *state, eps, [True, True, True]
    )
    if fix_gamma:
        to_gamma = torch.zeros_like(gamma)
    return (to_data if axis == 1 else to_data.movedim(1, axis)), to_gamma, to_beta


# -- LayerNorm ---------------------------------------------------------------------------------------------------------
def _np_layer_norm(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, axis: int = -1, eps: float = 1e-5, output_mean_var: bool = False
) -> Any:
    hat, mean, var = numpy_normalize(x, (axis,), eps)
    out = hat * along(gamma, x, axis) + along(beta, x, axis)
    return (out, mean, np.sqrt(var + eps)) if output_mean_var else out


def _emit_layer_norm(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str | None:
    if attrs["axis"] != -1 or attrs["output_mean_var"]:
        return None
    return f"aten.layer_norm({args[0]}, {args[1]}.shape, {args[1]}, {args[2]}, {attrs['eps']})"


@operator(
    emit=_emit_layer_norm,
    outputs=3,
    visible=lambda a: 3 if a["output_mean_var"] else 1,
    output_names=("output", "mean", "std"),
    infer=Probing(result=axis_normalised),
    check=check(
        S(A(2, 3, 4), A(4), A(4)),
        S(A(2, 3, 4), A(3), A(3), axis=1, eps=1e-3),
        S(A(2, 3), A(3), A(3), output_mean_var=True, grad=False),
        S(A(0, 3), A(3), A(3)),
        ref=_np_layer_norm,
        errors=[((A(2, 3), A(2), A(2)), {}, "does not fit axis -1")],
    ),
)
def LayerNorm(
    data: Tensor, gamma: Tensor, beta: Tensor, axis: int = -1, eps: float = 1e-5, output_mean_var: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise along one axis: gamma·(data − mean)/√(var + eps) + beta, gamma and beta of the size of that axis.

    `output_mean_var` shows mean and √(var + eps), too, with the axis kept at size 1; they take no gradient.

    >>> nd.LayerNorm(nd.array([[1.0, 3.0]]), nd.ones(2), nd.zeros(2), eps=0.0).asnumpy().tolist()
    [[-1.0, 1.0]]
    """
    try:
        if axis == -1 or axis == data.dim() - 1:
            found = aten.layer_norm(data, gamma.shape, gamma, beta, eps)
        else:
            out, mean, inverse = aten.layer_norm(data.movedim(axis, -1), gamma.shape, gamma, beta, eps)
            found = out.movedim(-1, axis), mean.movedim(-1, axis), inverse.movedim(-1, axis)
    except RuntimeError as error:
        raise misfit("LayerNorm", data, axis, {"gamma": gamma, "beta": beta}, error) from None
    return (found[0], found[1].detach(), found[2].detach().reciprocal()) if output_mean_var else found


@LayerNorm.fill
def _(attrs: Mapping[str, Any], shapes: Sequence[Any]) -> list[Any]:
    return fill_channels(attrs, shapes)


@LayerNorm.grad
def _(c: Grad) -> Value:
    return tuple(
        _layer_norm_backward(
            c.g, c.x, c.ins[1], c.outs[1], c.outs[2], axis=c.attrs["axis"], inverted=c.attrs["output_mean_var"]
        )
    )


def _np_layer_norm_backward(
    g: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    mean: np.ndarray,
    spread: np.ndarray,
    axis: int = -1,
    inverted: bool = False,
) -> tuple[np.ndarray, ...]:
    others = tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    inverse = 1 / spread if inverted else spread
    hat, scaled = (x - mean) * inverse, g * along(gamma, x, axis)
    back = scaled - scaled.mean(axis, keepdims=True) - hat * (scaled * hat).mean(axis, keepdims=True)
    return inverse * back, (g * hat).sum(others), g.sum(others)


@operator(
    infer=formula(like_data_and_gains),
    outputs=3,
    gradient=from_kernel,
    nondiff=("mean", "spread"),
    check=check(
        S(A(2, 3), A(2, 3), A(3), A(2, 1), A(2, 1, low=0.5), grad=False),
        S(A(2, 3, 4), A(2, 3, 4), A(3), A(2, 1, 4), A(2, 1, 4, low=0.5), axis=1, grad=False),
        S(A(2, 3), A(2, 3), A(3), A(2, 1), A(2, 1, low=0.5), inverted=True, grad=False),
        ref=_np_layer_norm_backward,
    ),
)
def _layer_norm_backward(
    grad: Tensor, data: Tensor, gamma: Tensor, mean: Tensor, spread: Tensor, axis: int = -1, inverted: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients of LayerNorm for data, gamma and beta from its mean and 1/√(var + eps) (`inverted`: √(var
    + eps)).
    """
    if inverted:
        spread = spread.reciprocal()
    if axis == -1 or axis == data.dim() - 1:
        return aten.layer_norm_backward(grad, data, gamma.shape, mean, spread, gamma, gamma, [True, True, True])
    found = aten.layer_norm_backward(
        grad.movedim(axis, -1).contiguous(),
        data.movedim(axis, -1).contiguous(),
        gamma.shape,
        mean.movedim(axis, -1).contiguous(),
        spread.movedim(axis, -1).contiguous(),
        gamma,
        gamma,
        [True, True, True],
    )
    return found[0].movedim(-1, axis), found[1], found[2]
