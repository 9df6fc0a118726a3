"""Batch normalisation of compiled plans as native segments: statistics, normalise + add + ReLU, and their gradients.

The one idea: an array that lies channels last is a table of pixels and channels, so everything per channel is a segment
over rows with an operand per column, and sums per channel are sums down the rows (channels.py). Four readings of the
data in all: one forward for the statistics, one forward and two backward for the rest.

Sums are taken about a pivot near the mean, so the variance does not suffer from a mean far from zero. Data may be
float32, bfloat16 or float16; numbers per channel and all arithmetic are float32. Where there is no native code for an
array (its element type, device or order; no compiler; a tape that is on) torch computes the same:
ops/fused_normalization.py. Not here: which operators become this (passes/normalise.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeAlias

import torch
from torch import Tensor

from ...ops import fused_normalization as plain
from . import expression as e
from .buffers import empty_like
from .channels import Channels
from .compile import Kernel, available, compiler
from .emit import Segment
from .expression import Expr
from .places import Place, call

__all__ = ["statistics", "forward", "backward"]

Kernels: TypeAlias = "tuple[Kernel, ...]"

_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}  # of data, in memory
_BLOCKS, _TALL = 16, 512  # of rows that are summed by themselves: at least so many, of at most so many rows
_TOGETHER = 1 << 16  # elements that a thread takes at a time: long pieces of memory are read faster
_PIVOT_ROWS = 64


def statistics(
    data: Tensor, moving_mean: Tensor, moving_var: Tensor, momentum: float, eps: float
) -> tuple[Tensor, Tensor]:
    """Compute the mean and 1/√(var + eps) of each channel; move the statistics. data (N, C) or (N, C, H, W)."""
    table = _table(data)
    if table is None or not _per_channel(moving_mean, moving_var):
        return plain.statistics(data, moving_mean, moving_var, momentum, eps)
    rows, columns, place = table
    pixels = _pixels(data, rows, columns)
    pivot = pixels[:: -(-rows // _PIVOT_ROWS)].mean(0, dtype=torch.float32)
    sums = _sums(_statistics_kernel(data.dtype), rows, columns, [place, (pivot.data_ptr(), 0)], 2)
    shift, square = sums[0] / rows, sums[1] / rows
    var = square.addcmul_(shift, shift, value=-1).clamp_(0)
    mean = shift.add_(pivot)
    plain.move(moving_mean, moving_var, mean, var, momentum)
    return mean, var.add_(eps).rsqrt_()


def forward(
    data: Tensor,
    gamma: Tensor | None,
    beta: Tensor,
    mean: Tensor,
    inverse: Tensor,
    residual: Tensor | None,
    eps: float,
    relu: bool,
) -> Tensor:
    """Compute relu(gamma·(data − mean)·inverse + beta + residual); see the operator `_normalise`."""
    table = _table(data, residual)
    if table is None or not _per_channel(gamma, beta):
        return plain.normalised(data, gamma, beta, mean, inverse, residual, eps, relu)
    rows, columns, place = table
    scale = inverse if gamma is None else inverse * gamma
    out = empty_like(data)
    operands: list[Place] = [place, (mean.data_ptr(), 0), (scale.data_ptr(), 0), (beta.data_ptr(), 0)]
    if residual is not None:
        operands.append((residual.data_ptr(), columns))
    operands.append((out.data_ptr(), columns))
    call(_forward_kernel(data.dtype, residual is not None, relu), rows, columns, operands, max(1, _TOGETHER // columns))
    return out


def backward(
    grad: Tensor,
    data: Tensor,
    gamma: Tensor | None,
    beta: Tensor,
    mean: Tensor,
    inverse: Tensor,
    result: Tensor | None,
    relu: bool,
    like: Tensor,
    overwrite: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the gradients for data, gamma (whose shape is that of `like`), beta and, where there is a result, the
    residual; see the operator `_normalise_backward`. overwrite : whether `grad` may be written over
    """
    table = _table(data, grad, result)
    if table is None or not _per_channel(gamma, beta):
        found = plain.backward(grad, data, gamma, beta, mean, inverse, result, relu)
        to_gamma = torch.zeros_like(like) if found[1] is None else found[1]
        return found[0], to_gamma, found[2], data.new_empty(0) if result is None else found[3]
    rows, columns, place = table
    first, second = _backward_kernels(data.dtype, relu, result is not None)
    scale = inverse if gamma is None else inverse * gamma
    channels: list[Place] = [(t.data_ptr(), 0) for t in (mean, scale, beta)]
    operands: list[Place] = [(grad.data_ptr(), columns), place, *channels]
    masked = None
    if result is not None:
        masked = grad if overwrite else empty_like(data)
        operands = [operands[0], place, channels[0], (result.data_ptr(), columns), (masked.data_ptr(), columns)]
    to_beta, with_data = _sums(first, rows, columns, operands, 2)
    mean_part = (scale * to_beta).div_(rows)
    slope = (scale * inverse).mul_(inverse).mul_(with_data).div_(rows)
    to_data = grad if overwrite and masked is None else empty_like(data)
    source = grad if masked is None else masked
    operands = [(source.data_ptr(), columns), place, *channels, (mean_part.data_ptr(), 0), (slope.data_ptr(), 0)]
    if result is not None or not relu:
        del operands[4]  # the sign is not needed once more
    call(second, rows, columns, [*operands, (to_data.data_ptr(), columns)], max(1, _TOGETHER // columns))
    to_gamma = torch.zeros_like(like) if gamma is None else with_data.mul_(inverse)
    return to_data, to_gamma, to_beta, data.new_empty(0) if masked is None else masked


# -- tables ------------------------------------------------------------------------------------------------------------


def _table(data: Tensor, *others: Tensor | None) -> tuple[int, int, Place] | None:
    """Return rows, columns and the place of an array as a table of channels; None: native code does not serve."""
    if not data.is_cpu or data.dtype not in _NAMES or not data.numel() or not available():
        return None
    for tensor in (data, *others):
        if tensor is not None and not (_lies(tensor) and tensor.dtype is data.dtype and tensor.shape == data.shape):
            return None
    if torch.is_grad_enabled() and (data.requires_grad or any(t is not None and t.requires_grad for t in others)):
        return None
    columns = data.shape[1]
    return data.numel() // columns, columns, (data.data_ptr(), columns)


def _lies(tensor: Tensor) -> bool:
    """Whether channels lie side by side."""
    if tensor.dim() == 4:
        return tensor.is_contiguous(memory_format=torch.channels_last)
    return tensor.dim() == 2 and tensor.is_contiguous()


def _per_channel(*given: Tensor | None) -> bool:
    """Whether the numbers per channel are float32 and lie side by side."""
    return all(t is None or t.dtype is torch.float32 and t.is_contiguous() for t in given)


def _pixels(data: Tensor, rows: int, columns: int) -> Tensor:
    """Return the table as a view."""
    return data.as_strided((rows, columns), (columns, 1))


def _sums(kernel: Kernel, rows: int, columns: int, operands: Sequence[Place], count: int) -> tuple[Tensor, ...]:
    """Run a kernel whose last operands are `count` sums over rows; return the sums (C,)."""
    block = min(-(-rows // _BLOCKS), _TALL)
    parts = torch.empty((count, -(-rows // block), columns))
    size = parts.stride(0) * parts.element_size()
    start = parts.data_ptr()
    places = [*operands, *[(start + k * size, columns) for k in range(count)]]
    call(kernel, rows, columns, places, block)
    return parts.sum(1).unbind(0)


# -- segments ----------------------------------------------------------------------------------------------------------


def _arrays(data: torch.dtype, wide: str, output: Expr) -> Kernel:
    """Compile what writes an array. wide : per input whether it is an array of the data's type ("x") or numbers per
    channel ("c")
    """
    formats = [_NAMES[data] if each == "x" else "float32" for each in wide + "x"]
    own = () if data is torch.float32 else tuple(formats)
    return compiler().kernel(Segment(tuple(range(len(wide))), frozenset(), (output,), formats=own), torch.float32)


def _summing(data: torch.dtype, wide: str, outputs: tuple[Expr, ...], sums: tuple[Expr, ...]) -> Kernel:
    """Compile what sums down the rows."""
    what = Channels(_NAMES[data], tuple(each == "x" for each in wide), outputs, sums)
    return compiler().kernel(what, torch.float32)


@cache
def _statistics_kernel(data: torch.dtype) -> Kernel:
    """Inputs data, pivot; sums of the difference and of its square."""
    away = e.input(0) - e.input(1)
    return _summing(data, "xc", (), (away, e.square(away)))


@cache
def _forward_kernel(data: torch.dtype, added: bool, relu: bool) -> Kernel:
    """Inputs data, mean, scale, beta, and what is added."""
    x, mean, scale, beta = (e.input(k) for k in range(4))
    out = (x - mean) * scale + beta
    if added:
        out = out + e.input(4)
    return _arrays(data, "xccc" + "x" * added, e.relu(out) if relu else out)


@cache
def _backward_kernels(data: torch.dtype, relu: bool, given: bool) -> Kernels:
    """The two readings. First: gradient, data, mean, then scale and beta, or (`given`) the result; it writes the
    gradient behind the ReLU where the result is given. Second: gradient, data, mean, scale, (beta), the two parts.
    """
    g, x, mean = e.input(0), e.input(1), e.input(2)
    away = x - mean
    if given:
        masked = e.select("le", e.input(3), 0.0, 0.0, g)
        first = _summing(data, "xxcx", (masked,), (masked, masked * away))
    else:
        scale, beta = e.input(3), e.input(4)
        masked = e.select("le", away * scale + beta, 0.0, 0.0, g) if relu else g
        first = _summing(data, "xxccc", (), (masked, masked * away))  # an operand that is not read costs nothing
    again = relu and not given
    scale = e.input(3)
    kept = e.select("le", away * scale + e.input(4), 0.0, 0.0, g) if again else g
    mean_part, slope = e.input(4 + again), e.input(5 + again)
    return first, _arrays(data, "xxcccc" + "c" * again, kept * scale - mean_part - away * slope)
