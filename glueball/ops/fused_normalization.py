"""BatchNorm in train mode in parts, which passes make of it: its statistics, and everything that is done element by
element afterwards, with an addition and a ReLU.

The one idea: the statistics take one reading of the data; normalising, scaling, adding a shortcut and rectifying
another. So backward takes two, and what it needs of the result it computes again from the data. In a plan these
operators are native code (executor/native/normalise.py); their kernels here say the same in torch's operators: for
other devices and element types, and for gradients of gradients.

Not here: who puts them in the place of BatchNorm (passes/normalise.py), BatchNorm itself (normalization.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..base.writes import note_write
from .normalization import along
from .opdef import Grad, Tensor, Value, from_kernel, operator, unsupported
from .rules.check import A, S, check
from .rules.layers import formula
from .rules.shapes import like_data_and_gains


def per_channel(values: Tensor, data: Tensor) -> Tensor:
    """Return numbers (C,) so that they meet axis 1 of the data."""
    return values.view(1, -1, *(1,) * (data.dim() - 2))


def statistics(
    data: Tensor, moving_mean: Tensor, moving_var: Tensor, momentum: float, eps: float
) -> tuple[Tensor, Tensor]:
    """Compute the mean and 1/√(var + eps) of each channel with torch; move the statistics."""
    with torch.no_grad():
        axes = [0, *range(2, data.dim())]
        whole = data if data.dtype in (torch.float32, torch.float64) else data.float()
        var, mean = torch.var_mean(whole, axes, correction=0)
        move(moving_mean, moving_var, mean, var, momentum)
        return mean, (var + eps).rsqrt_()


def move(moving_mean: Tensor, moving_var: Tensor, mean: Tensor, var: Tensor, momentum: float) -> None:
    """Let moving ← momentum·moving + (1 − momentum)·batch, with the biased variance."""
    moving_mean.data.mul_(momentum).add_(mean.to(moving_mean.dtype), alpha=1 - momentum)
    moving_var.data.mul_(momentum).add_(var.to(moving_var.dtype), alpha=1 - momentum)
    note_write(moving_mean, moving_var)


def _np_statistics(
    x: np.ndarray, moving_mean: np.ndarray, moving_var: np.ndarray, eps: float = 1e-3, momentum: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
    axes = (0, *range(2, x.ndim))
    return x.mean(axes), 1 / np.sqrt(x.var(axes) + eps)


def _emit_statistics(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str:
    return f"normalise.statistics({', '.join(args)}, {attrs['momentum']}, {attrs['eps']})"


@operator(
    emit=_emit_statistics,
    outputs=2,
    mutates=("moving_mean", "moving_var"),
    infer=formula(lambda attrs, shapes, dtypes: [(shapes[1], dtypes[1])] * 2),
    gradient=unsupported("the gradient of _normalise goes through the statistics"),
    batch=unsupported("statistics of a whole batch, in compiled plans"),
    check=check(
        S(A(3, 2, 4, 2), A(2), A(2, low=0.5), eps=1e-5),
        S(A(5, 3), A(3), A(3, low=0.5), momentum=0.5),
        ref=_np_statistics,
    ),
)
def _batch_statistics(
    data: Tensor, moving_mean: Tensor, moving_var: Tensor, eps: float = 1e-3, momentum: float = 0.9
) -> tuple[Tensor, Tensor]:
    """Compute the mean and 1/√(var + eps) of each channel of data (N, C, size…), and move the moving statistics."""
    return statistics(data, moving_mean, moving_var, momentum, eps)


def _np_normalise(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    inverse: np.ndarray,
    residual: np.ndarray | None = None,
    eps: float = 1e-3,
    fix_gamma: bool = False,
    relu: bool = False,
    added: bool = False,
) -> np.ndarray:
    out = (x - along(mean, x, 1)) * along(inverse * (1 if fix_gamma else gamma), x, 1) + along(beta, x, 1)
    out = out if residual is None else out + residual
    return np.maximum(out, 0) if relu else out


def normalised(
    data: Tensor,
    gamma: Tensor | None,
    beta: Tensor,
    mean: Tensor,
    inverse: Tensor,
    residual: Tensor | None,
    eps: float,
    relu: bool,
) -> Tensor:
    """Do what `_normalise` says with torch; on the tape the statistics are functions of the data."""
    if torch.is_grad_enabled() and data.requires_grad:
        out = torch.batch_norm(data, gamma, beta, None, None, True, 0.0, eps, False)
    else:
        scale = inverse if gamma is None else inverse * gamma
        out = ((data - per_channel(mean, data)) * per_channel(scale, data) + per_channel(beta, data)).to(data.dtype)
    out = out if residual is None else out + residual
    return torch.relu(out) if relu else out


def _arguments(args: Sequence[str], attrs: Mapping[str, Any], gamma: int, rest: int) -> list[str]:
    """Return the arguments of native code: None stands for a gamma that counts as 1, and for what is absent."""
    given = list(args) + ["None"] * (rest - len(args))
    if attrs["fix_gamma"]:
        given[gamma] = "None"
    return given


def _emit_normalise(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str:
    given = _arguments(args, attrs, 1, 6)
    return f"normalise.forward({', '.join(given)}, {attrs['eps']}, {attrs['relu']})"


@operator(
    emit=_emit_normalise,
    when={"residual": lambda a: a["added"]},
    nondiff=("mean", "inverse"),
    infer=formula(lambda attrs, shapes, dtypes: [(shapes[0], dtypes[0])]),
    batch=unsupported("it belongs to statistics of a whole batch, in compiled plans"),
    check=check(
        S(A(3, 2, 4, 2), A(2), A(2), A(2), A(2, low=0.5), grad=False),
        S(A(3, 2), A(2), A(2), A(2), A(2, low=0.5), A(3, 2), relu=True, added=True, grad=False),
        S(A(3, 2, 2, 2), A(2), A(2), A(2), A(2, low=0.5), fix_gamma=True, relu=True, grad=False),
        ref=_np_normalise,
    ),
)
def _normalise(
    data: Tensor,
    gamma: Tensor,
    beta: Tensor,
    mean: Tensor,
    inverse: Tensor,
    residual: Tensor | None = None,
    eps: float = 1e-3,
    fix_gamma: bool = False,
    relu: bool = False,
    added: bool = False,
) -> Tensor:
    """Compute relu(gamma·(data − mean)·inverse + beta + residual) with the statistics of `data` itself.

    Its gradient for `data` counts the way through the statistics. `relu`, `added`: whether there are a ReLU and a
    residual. `eps` is what the statistics were made with.
    """
    return normalised(data, None if fix_gamma else gamma, beta, mean, inverse, residual, eps, relu)


@_normalise.grad
def _(c: Grad) -> Value:
    relu, added = c.attrs["relu"], c.attrs["added"]
    given = [c.g, *c.ins[:5]]
    if relu and added:
        given.append(c.out)  # without a shortcut the sign of the result follows from the data
    found = _normalise_backward(*given, fix_gamma=c.attrs["fix_gamma"], relu=relu, added=relu and added)
    to_residual = (found[3] if relu else c.g,) if added else ()
    return (found[0], found[1], found[2], None, None, *to_residual)


def _np_normalise_backward(
    g: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    inverse: np.ndarray,
    result: np.ndarray | None = None,
    fix_gamma: bool = False,
    relu: bool = False,
    added: bool = False,
) -> tuple[np.ndarray, ...]:
    axes = (0, *range(2, x.ndim))
    hat = (x - along(mean, x, 1)) * along(inverse, x, 1)
    scale = along(np.ones_like(gamma) if fix_gamma else gamma, x, 1)
    if relu:
        g = np.where((hat * scale + along(beta, x, 1) if result is None else result) > 0, g, 0)
    back = g - g.mean(axes, keepdims=True) - hat * (g * hat).mean(axes, keepdims=True)
    to_gamma = np.zeros_like(gamma) if fix_gamma else (g * hat).sum(axes)
    return scale * along(inverse, x, 1) * back, to_gamma, g.sum(axes), g if added else np.zeros(0)


def backward(
    grad: Tensor,
    data: Tensor,
    gamma: Tensor | None,
    beta: Tensor,
    mean: Tensor,
    inverse: Tensor,
    result: Tensor | None,
    relu: bool,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Do what `_normalise_backward` says with torch; no gradient of gamma where there is none."""
    axes = [0, *range(2, data.dim())]
    centred = data - per_channel(mean, data)  # of the statistics' type: half precision is not summed in itself
    scale = inverse if gamma is None else inverse * gamma
    if relu:
        sign = centred * per_channel(scale, data) + per_channel(beta, data) if result is None else result
        grad = torch.where(sign <= 0, 0, grad)
    given, grad = grad, grad.to(centred.dtype)
    count = data.numel() // max(data.shape[1], 1)
    to_beta, with_data = grad.sum(axes), (grad * centred).sum(axes)
    mean_part = per_channel(scale * to_beta / count, data)
    slope = per_channel(scale * inverse * inverse * with_data / count, data)
    to_data = (grad * per_channel(scale, data) - mean_part - centred * slope).to(data.dtype)
    return to_data, None if gamma is None else with_data * inverse, to_beta, given


def _emit_backward(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str:
    return f"normalise.backward({', '.join(_arguments(args, attrs, 2, 7))}, {attrs['relu']}, {args[2]})"


def _over_gradient(attrs: Mapping[str, Any]) -> str:
    """The call that may write a result over the gradient that comes in."""
    args = ["{0}", "{1}", "None" if attrs["fix_gamma"] else "{2}", *(f"{{{k}}}" for k in range(3, 6))]
    result = "{6}" if attrs["added"] else "None"
    return f"normalise.backward({', '.join(args)}, {result}, {attrs['relu']}, {{2}}, True)"


def _backward_types(attrs: Mapping[str, Any], shapes: Sequence[Any], dtypes: Sequence[Any]) -> list[Any]:
    gains = like_data_and_gains(attrs, shapes, dtypes)
    return [*gains, gains[0] if attrs["added"] else ((0,), dtypes[0])]


@operator(
    emit=_emit_backward,
    inplace=_over_gradient,
    outputs=4,
    when={"result": lambda a: a["added"]},
    nondiff=("mean", "inverse", "result"),
    infer=formula(_backward_types),
    gradient=from_kernel,
    batch=unsupported("a gradient in a compiled plan; folding differentiates whole groups of calls"),
    check=check(
        S(A(3, 2, 4, 2), A(3, 2, 4, 2), A(2), A(2), A(2), A(2, low=0.5), grad=False),
        S(A(3, 2), A(3, 2), A(2), A(2), A(2), A(2, low=0.5), relu=True, fix_gamma=True, grad=False),
        S(A(3, 2), A(3, 2), A(2), A(2), A(2), A(2, low=0.5), A(3, 2), relu=True, added=True, grad=False),
        ref=_np_normalise_backward,
    ),
)
def _normalise_backward(
    grad: Tensor,
    data: Tensor,
    gamma: Tensor,
    beta: Tensor,
    mean: Tensor,
    inverse: Tensor,
    result: Tensor | None = None,
    fix_gamma: bool = False,
    relu: bool = False,
    added: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the gradients of `_normalise` for data, gamma, beta and residual.

    `result` is what it computed, given where it was rectified after an addition (`added`); without an addition an array
    of size 0 stands in the last place.
    """
    found = backward(grad, data, None if fix_gamma else gamma, beta, mean, inverse, result, relu)
    to_gamma = torch.zeros_like(gamma) if found[1] is None else found[1]
    return found[0], to_gamma, found[2], found[3] if added else grad.new_empty(0)
