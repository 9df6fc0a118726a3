"""What convolutions of 1×1 kernels are made of in compiled plans: every so many pixels, and products of matrices.

The one idea: a 1×1 kernel sees one pixel, so with a stride it is a plain convolution of the pixels that it meets, and
its gradients are products of matrices (pixels × channels). Where channels lie side by side these are the arrays as they
are. Made by a pass, never by a user: passes/pointwise.py. They have no gradients, for gradients are taken before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .attributes import REQUIRED, Shape
from .opdef import Tensor, operator, unsupported
from .rules.check import A, S, check
from .rules.layers import formula

_NO_GRADIENT = unsupported("passes put it into compiled plans, after differentiation")
_NO_BATCH = unsupported("passes put it into compiled plans")


def _order(data: Tensor) -> torch.memory_format:
    last = data.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _subsample_shape(attrs: Mapping[str, Any], shapes: Sequence[Any], dtypes: Sequence[Any]) -> Any:
    n, channels, high, wide = shapes[0]
    down, across = attrs["step"]
    return [((n, channels, -(-high // down), -(-wide // across)), dtypes[0])]


@operator(
    infer=formula(_subsample_shape),
    gradient=_NO_GRADIENT,
    batch=_NO_BATCH,
    check=check(
        S(A(2, 3, 5, 4), step=(2, 3), grad=False),
        S(A(1, 2, 4, 4), step=(1, 2), grad=False),
        ref=lambda x, step: x[:, :, :: step[0], :: step[1]],
    ),
)
def _subsample(data: Tensor, step: Shape = REQUIRED) -> Tensor:
    """Return every `step`-th pixel, from the first one on, of data (N, C, H, W)."""
    return data[:, :, :: step[0], :: step[1]].contiguous(memory_format=_order(data))


def _np_spread(data: np.ndarray, step: Sequence[int], size: Sequence[int]) -> np.ndarray:
    found = np.zeros((*data.shape[:2], *size), data.dtype)
    found[:, :, :: step[0], :: step[1]] = data
    return found


@operator(
    infer=formula(lambda attrs, shapes, dtypes: [((*shapes[0][:2], *attrs["size"]), dtypes[0])]),
    gradient=_NO_GRADIENT,
    batch=_NO_BATCH,
    check=check(
        S(A(2, 3, 3, 2), step=(2, 3), size=(5, 4), grad=False),
        S(A(1, 2, 4, 2), step=(1, 2), size=(4, 4), grad=False),
        ref=_np_spread,
    ),
)
def _spread(data: Tensor, step: Shape = REQUIRED, size: Shape = REQUIRED) -> Tensor:
    """Return images (N, C, *size) that have data (N, C, h, w) as every `step`-th pixel, and zeros elsewhere."""
    out = torch.empty((*data.shape[:2], *size), dtype=data.dtype, device=data.device, memory_format=_order(data))
    out.zero_()[:, :, :: step[0], :: step[1]] = data
    return out


def _pixels(data: Tensor) -> Tensor:
    """Return the matrix (pixels × channels) of an array (N, C, H, W)."""
    return data.permute(0, 2, 3, 1).reshape(-1, data.shape[1])


def _gradient_types(attrs: Mapping[str, Any], shapes: Sequence[Any], dtypes: Sequence[Any]) -> Any:
    return [(shape if used else (0,), dtypes[0]) for shape, used in zip(shapes[1:], attrs["output_mask"])]


def _np_gradients(g: np.ndarray, x: np.ndarray, w: np.ndarray, output_mask: Sequence[int]) -> tuple[np.ndarray, ...]:
    found = np.einsum("nfyx,fc->ncyx", g, w[:, :, 0, 0]), np.einsum("nfyx,ncyx->fc", g, x)[:, :, None, None]
    return tuple(each if used else np.zeros(0, g.dtype) for each, used in zip(found, output_mask))


@operator(
    outputs=2,
    infer=formula(_gradient_types),
    gradient=_NO_GRADIENT,
    batch=_NO_BATCH,
    check=check(
        S(A(2, 3, 2, 4), A(2, 5, 2, 4), A(3, 5, 1, 1), output_mask=(1, 1), grad=False),
        S(A(2, 3, 2, 4), A(2, 5, 2, 4), A(3, 5, 1, 1), output_mask=(1, 0), grad=False),
        S(A(2, 3, 2, 4), A(2, 5, 2, 4), A(3, 5, 1, 1), output_mask=(0, 1), grad=False),
        ref=_np_gradients,
    ),
)
def _pointwise_backward(
    grad: Tensor, data: Tensor, weight: Tensor, output_mask: Shape = REQUIRED
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of a plain 1×1 convolution's data (N, C, H, W) and weights (F, C, 1, 1) from its result's.

    output_mask : which of the two; the other has no numbers
    """
    n, filters, high, wide = grad.shape
    rows = _pixels(grad)
    found = weights = grad.new_empty(0)
    if output_mask[0]:
        found = torch.mm(rows, weight.reshape(filters, -1)).view(n, high, wide, -1).permute(0, 3, 1, 2)
    if output_mask[1]:
        weights = torch.mm(rows.t(), _pixels(data))[:, :, None, None]
    return found, weights
