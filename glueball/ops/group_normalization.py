"""Normalising by groups and neighbours: InstanceNorm, GroupNorm, LRN, L2Normalization.

The one idea: an InstanceNorm is a GroupNorm with a group per channel, and both are one native kernel with one
backward kernel; the other two are plain arithmetic. BatchNorm and LayerNorm, and the messages they share with these,
are in normalization.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..base import aten
from ..base.errors import ArgumentError, ShapeError, explain
from .normalization import along, fill_channels, misfit, numpy_normalize
from .opdef import REQUIRED, Grad, Tensor, Value, from_kernel, operator
from .rules.check import A, S, check
from .rules.layers import Probing, formula
from .rules.shapes import groups_normalised, like_data_and_gains, like_first


# -- InstanceNorm, GroupNorm -------------------------------------------------------------------------------------------
def _grouped(data: Tensor, gamma: Tensor, beta: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    batch, channels = data.shape[:2]
    size = data[0, 0].numel() if batch and channels else 1
    return aten.group_norm(data.contiguous(), gamma, beta, batch, channels, size, groups, eps)


def _np_instance_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float = 1e-3) -> np.ndarray:
    return numpy_normalize(x, tuple(range(2, x.ndim)), eps)[0] * along(gamma, x, 1) + along(beta, x, 1)


@operator(
    outputs=3,
    visible=1,
    infer=Probing(result=groups_normalised),
    check=check(
        S(A(2, 3, 4), A(3), A(3)),
        S(A(2, 3, 4, 2), A(3), A(3), eps=1e-5),
        ref=_np_instance_norm,
        errors=[((A(2, 3, 4), A(4), A(3)), {}, "does not fit axis 1")],
    ),
)
def InstanceNorm(data: Tensor, gamma: Tensor, beta: Tensor, eps: float = 1e-3) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise each channel of each sample along its spatial axes, then multiply by gamma and add beta, both (C,).

    >>> nd.InstanceNorm(nd.array([[[1.0, 3.0]]]), nd.ones(1), nd.zeros(1), eps=0.0).asnumpy().tolist()
    [[[-1.0, 1.0]]]
    """
    try:
        return _grouped(data, gamma, beta, data.shape[1], eps)
    except RuntimeError as error:
        raise misfit("InstanceNorm", data, 1, {"gamma": gamma, "beta": beta}, error) from None


@InstanceNorm.fill
def _(attrs: Mapping[str, Any], shapes: Sequence[Any]) -> list[Any]:
    return fill_channels({}, shapes)


@InstanceNorm.grad
def _(c: Grad) -> Value:
    return tuple(
        _group_norm_backward(c.g, c.x, c.ins[1], c.outs[1], c.outs[2], num_groups=c.shape()[1], eps=c.attrs["eps"])
    )


def _np_group_norm(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    num_groups: int = 1,
    eps: float = 1e-5,
    output_mean_var: bool = False,
) -> Any:
    parts = x.reshape(x.shape[0], num_groups, -1)
    hat, mean, var = numpy_normalize(parts, (2,), eps)
    out = (hat * gamma[:, None] + beta[:, None]).reshape(x.shape)
    return (out, mean[..., 0], np.sqrt(var + eps)[..., 0]) if output_mean_var else out


@operator(
    outputs=3,
    visible=lambda a: 3 if a["output_mean_var"] else 1,
    output_names=("output", "mean", "std"),
    infer=Probing(result=groups_normalised),
    check=check(
        S(A(2, 4, 3), A(2), A(2), num_groups=2),
        S(A(2, 3, 2, 2), A(1), A(1), eps=1e-3),
        S(A(2, 4, 3), A(2), A(2), num_groups=2, output_mean_var=True, grad=False),
        ref=_np_group_norm,
        errors=[
            ((A(2, 4, 3), A(4), A(4)), {"num_groups": 2}, r"expected|Expected: shape \(2,\)"),
            ((A(2, 4, 3), A(3), A(3)), {"num_groups": 3}, "must divide"),
        ],
    ),
)
def GroupNorm(
    data: Tensor, gamma: Tensor, beta: Tensor, num_groups: int = 1, eps: float = 1e-5, output_mean_var: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise each group of channels of each sample, then multiply by gamma and add beta, both (num_groups,).

    `output_mean_var` shows mean and √(var + eps) of shape (N, num_groups), too; they take no gradient.

    >>> nd.GroupNorm(nd.ones((2, 4, 3)), nd.ones(2), nd.zeros(2), num_groups=2).shape
    (2, 4, 3)
    """
    channels = data.shape[1]
    if channels % num_groups:
        raise ArgumentError(
            explain(
                "GroupNorm",
                "num_groups must divide the number of channels.",
                expected=f"a divisor of {channels}",
                received=num_groups,
            )
        )
    for name, value in (("gamma", gamma), ("beta", beta)):
        if value.shape != (num_groups,):
            raise ShapeError(
                explain(
                    "GroupNorm",
                    f"The input {name!r} needs one number per group.",
                    expected=f"shape ({num_groups},)",
                    received=f"{name} {tuple(value.shape)}",
                )
            )
    repeats = channels // num_groups
    out, mean, inverse = _grouped(
        data, gamma.repeat_interleave(repeats), beta.repeat_interleave(repeats), num_groups, eps
    )
    return (out, mean.detach(), inverse.detach().reciprocal()) if output_mean_var else (out, mean, inverse)


@GroupNorm.fill
def _(attrs: Mapping[str, Any], shapes: Sequence[Any]) -> list[Any]:
    return [shapes[0], *[(attrs["num_groups"],)] * (len(shapes) - 1)]


@GroupNorm.grad
def _(c: Grad) -> Value:
    return tuple(
        _group_norm_backward(
            c.g,
            c.x,
            c.ins[1],
            c.outs[1],
            c.outs[2],
            num_groups=c.attrs["num_groups"],
            eps=c.attrs["eps"],
            inverted=c.attrs["output_mean_var"],
        )
    )


def _np_group_norm_backward(
    g: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    mean: np.ndarray,
    spread: np.ndarray,
    num_groups: int = 1,
    eps: float = 1e-5,
    inverted: bool = False,
) -> tuple[np.ndarray, ...]:
    parts, head = x.reshape(x.shape[0], num_groups, -1), g.reshape(x.shape[0], num_groups, -1)
    inverse = (1 / spread if inverted else spread)[..., None]
    hat = (parts - mean[..., None]) * inverse
    scaled = head * gamma[:, None]
    back = scaled - scaled.mean(2, keepdims=True) - hat * (scaled * hat).mean(2, keepdims=True)
    return (inverse * back).reshape(x.shape), (head * hat).sum((0, 2)), head.sum((0, 2))


@operator(
    infer=formula(like_data_and_gains),
    outputs=3,
    gradient=from_kernel,
    nondiff=("mean", "spread"),
    check=check(
        S(A(2, 4, 3), A(2, 4, 3), A(2), A(2, 2), A(2, 2, low=0.5), num_groups=2, grad=False),
        S(A(2, 4, 3), A(2, 4, 3), A(2), A(2, 2), A(2, 2, low=0.5), num_groups=2, inverted=True, grad=False),
        ref=_np_group_norm_backward,
    ),
)
def _group_norm_backward(
    grad: Tensor,
    data: Tensor,
    gamma: Tensor,
    mean: Tensor,
    spread: Tensor,
    num_groups: int = 1,
    eps: float = 1e-5,
    inverted: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients of GroupNorm for data, gamma and beta from its mean and 1/√(var + eps) (`inverted`: √(var
    + eps)).
    """
    batch, channels = data.shape[:2]
    size = data[0, 0].numel() if batch and channels else 1
    wide = gamma if gamma.shape[0] == channels else gamma.repeat_interleave(channels // num_groups)
    if torch.is_grad_enabled() and (grad.requires_grad or data.requires_grad or gamma.requires_grad):
        return _differentiable_again(grad, data, gamma, wide, num_groups, eps)
    found = aten.group_norm_backward(
        grad.contiguous(),
        data.contiguous(),
        mean,
        spread.reciprocal() if inverted else spread,
        wide,
        batch,
        channels,
        size,
        num_groups,
        [True, True, True],
    )
    if gamma.shape[0] == channels:
        return found
    return found[0], found[1].view(num_groups, -1).sum(1), found[2].view(num_groups, -1).sum(1)


def _differentiable_again(
    grad: Tensor, data: Tensor, gamma: Tensor, wide: Tensor, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The same from the forward pass by torch's tape: the backward kernel has no derivative of its own."""
    leaves = [t if t.requires_grad else t.detach().requires_grad_() for t in (data, gamma)]
    wide = leaves[1] if wide is gamma else leaves[1].repeat_interleave(wide.shape[0] // groups)
    out = _grouped(leaves[0], wide, torch.zeros_like(wide), groups, eps)[0]
    to_data, to_gamma = torch.autograd.grad(out, leaves, grad, create_graph=True)
    axes = tuple(range(2, grad.dim()))
    to_beta = grad.sum((0, *axes)).view(gamma.shape[0], -1).sum(1)
    return to_data, to_gamma, to_beta


# -- LRN, L2Normalization ----------------------------------------------------------------------------------------------
def _np_lrn(x: np.ndarray, alpha: float = 1e-4, beta: float = 0.75, knorm: float = 2.0, nsize: int = 1) -> np.ndarray:
    squares = np.pad(x * x, [(0, 0), (nsize // 2, nsize // 2), *[(0, 0)] * (x.ndim - 2)])
    total = sum(squares[:, i : i + x.shape[1]] for i in range(nsize))
    return x / (knorm + alpha / nsize * total) ** beta


@operator(
    infer=Probing(result=like_first),
    gradient=from_kernel,
    check=check(
        S(A(2, 5, 3, 3), nsize=3),
        S(A(2, 5, 3, 3), nsize=5, alpha=0.1, beta=0.5, knorm=1.0),
        ref=_np_lrn,
        errors=[((A(1, 2, 3, 3),), {"nsize": 4}, "odd")],
    ),
)
def LRN(data: Tensor, alpha: float = 1e-4, beta: float = 0.75, knorm: float = 2.0, nsize: int = REQUIRED) -> Tensor:
    """Divide by (knorm + alpha/nsize · Σ data²)^beta, the sum over `nsize` neighbouring channels (axis 1)."""
    if nsize % 2 == 0:
        raise ArgumentError(explain("LRN", "nsize must be odd.", received=nsize))
    return torch.nn.functional.local_response_norm(data, nsize, alpha, beta, knorm)


def _np_l2(x: np.ndarray, eps: float = 1e-10, mode: str = "instance") -> np.ndarray:
    axes = {"instance": tuple(range(1, x.ndim)), "channel": (1,), "spatial": tuple(range(2, x.ndim))}[mode]
    return x / np.sqrt((x * x).sum(axes, keepdims=True) + eps)


@operator(
    infer=Probing(result=like_first),
    gradient=from_kernel,
    check=check(
        S(A(2, 3, 4)),
        S(A(2, 3, 2, 2), mode="channel", eps=0.1),
        S(A(2, 3, 4), mode="spatial"),
        S(A(4)),
        ref=_np_l2,
        errors=[
            ((A(2, 3),), {"mode": "row"}, "instance, channel, spatial"),
            ((A(2, 3),), {"mode": "spatial"}, "3 axes"),
        ],
    ),
)
def L2Normalization(data: Tensor, eps: float = 1e-10, mode: str = "instance") -> Tensor:
    """Divide by √(Σ data² + eps), the sum over all axes but the first ("instance"), over axis 1 ("channel"), or over
    axes 2… ("spatial").

    >>> nd.L2Normalization(nd.array([[3.0, 4.0]])).asnumpy().round(3).tolist()
    [[0.6..., 0.8...]]
    """
    if mode not in ("instance", "channel", "spatial"):
        raise ArgumentError(
            explain("L2Normalization", "There is no such mode.", expected="instance, channel, spatial", received=mode)
        )
    if mode == "spatial" and data.dim() < 3:
        raise ShapeError(
            explain("L2Normalization", "mode='spatial' needs data of at least 3 axes.", received=tuple(data.shape))
        )
    axes: tuple[int, ...] = (1,) if mode == "channel" else tuple(range(1 if mode == "instance" else 2, data.dim()))
    square = data * data
    total = square.sum(axes, keepdim=True) if axes else square  # data of one axis: each number is a sample
    return (data / (total + eps).sqrt()).to(data.dtype)
