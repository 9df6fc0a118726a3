"""Convolutions of 1×1 kernels in compiled plans, and the gradient of their data, as products into given memory.

The one idea: where channels lie side by side such a convolution is a product (pixels, channels) · (channels, filters),
and the gradient of its data another one with the weight turned round. Where there is no code for an array, ATen's calls
do the same. Gradients of weights are left to these: they are small.

Not here: the code (pixels.py), in which plans (ops/convolution.py).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ...base import aten, config
from .buffers import LEAST, empty_images, scratch
from .compile import available, compiler, on_threads
from .panels import Panels, best_height
from .pixels import Pixels
from .products import VECTORS

__all__ = ["convolution", "gradients"]

_NEAR = 1 << 17  # elements of data that stay in a core's cache
_TURNS = 6  # blocks for each thread at least, so that threads end together
_LEAST_ROWS = 256  # a weight is put in order for every call
_LANES = 16  # of a vector: with fewer registers the library is faster


def convolution(data: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int]) -> Tensor:
    """Compute the convolution of data (N, C, H, W) with weight (F, C, 1, 1)."""
    if not _serves(data, weight, weight.shape[0], stride) or bias is not None and not bias.is_contiguous():
        return torch.conv2d(data, weight, bias, stride)
    return _product(_taken(data, stride), weight, True, weight.shape[0], bias)


def gradients(
    grad: Tensor, data: Tensor, weight: Tensor, stride: tuple[int, int], wanted: Sequence[bool]
) -> Sequence[Tensor | None]:
    """Compute the gradients for data, weight and bias of a convolution, as far as they are wanted."""
    own = wanted[0] and _serves(grad, weight, weight.shape[1])
    mask = [wanted[0] and not own, *wanted[1:]]
    found: list[Tensor | None] = [None, None, None]
    if any(mask):
        found = list(aten.convolution_backward(grad, data, weight, [grad.shape[1]], stride, [0, 0], [1, 1], False,
                                               [0, 0], 1, mask))  # fmt: skip
    if own:
        found[0] = _spread(_product(grad, weight, False, weight.shape[1], None), data, stride)
    return found


def _taken(data: Tensor, stride: tuple[int, int]) -> Tensor:
    """Return the pixels that are read."""
    if stride == (1, 1):
        return data
    some = data[:, :, :: stride[0], :: stride[1]]
    return empty_images(tuple(some.shape), data.dtype).copy_(some)


def _spread(grad: Tensor, data: Tensor, stride: tuple[int, int]) -> Tensor:
    """Return the gradient of the pixels that are read as that of all."""
    if stride == (1, 1):
        return grad
    every = empty_images(tuple(data.shape), grad.dtype).zero_()
    every[:, :, :: stride[0], :: stride[1]] = grad
    return every


def _serves(data: Tensor, weight: Tensor, columns: int, stride: tuple[int, int] = (1, 1)) -> bool:
    """Whether native code runs on these arrays, and pays."""
    if torch.is_grad_enabled() and (data.requires_grad or weight.requires_grad):
        return False
    if not all(t.is_cpu and t.dtype is torch.float32 for t in (data, weight)) or not available():
        return False
    lanes = compiler().vector_bytes // 4
    n, depth, high, wide = data.shape
    rows = n * -(-high // stride[0]) * -(-wide // stride[1])
    return (weight.shape[2:] == (1, 1) and lanes == _LANES and rows >= _LEAST_ROWS and rows * columns * 4 >= LEAST
            and not (depth % lanes or columns % (VECTORS * lanes)) and weight.is_contiguous()
            and data.is_contiguous(memory_format=torch.channels_last) and bool(config.get("GLUEBALL_JIT")))  # fmt: skip


def _product(data: Tensor, weight: Tensor, turned: bool, columns: int, bias: Tensor | None) -> Tensor:
    """Return data (N, C, H, W) times a weight: (columns, C) where it is turned, else (C, columns)."""
    n, depth, high, wide = data.shape
    threads, rows = torch.get_num_threads(), n * high * wide
    lanes = compiler().vector_bytes // 4
    panels = columns // (VECTORS * lanes)
    packed, out = scratch(depth * columns), empty_images((n, columns, high, wide), torch.float32)
    each = -(-panels // threads)
    step = weight.shape[1]
    order = array("q", [0, -(-panels // each), each, panels, depth, columns, weight.data_ptr(), step,
                        packed.data_ptr()])  # fmt: skip
    on_threads(compiler().kernel(Panels(turned), torch.float32), order, threads)
    height = best_height(rows, compiler().vector_bytes)
    block_rows, block_panels = _blocks(rows, depth, panels, height, threads)
    blocks, across = -(-rows // block_rows), -(-panels // block_panels)
    added = torch.zeros(columns) if bias is None else bias
    arguments = array("q", [0, blocks * across, block_rows, block_panels, across, rows, panels, depth, columns,
                            data.data_ptr(), packed.data_ptr(), added.data_ptr(), out.data_ptr()])  # fmt: skip
    on_threads(compiler().kernel(Pixels(height), torch.float32), arguments, threads)
    return out


@lru_cache(1024)
def _blocks(rows: int, depth: int, panels: int, height: int, threads: int) -> tuple[int, int]:
    """Return how many rows and panels make a block."""
    near = max(height, _NEAR // depth // height * height)
    fair = -(-rows // (threads * height)) * height
    block_rows = min(near, fair)
    blocks = -(-rows // block_rows)
    across = min(panels, max(1, -(-threads * _TURNS // blocks)))
    return block_rows, -(-panels // across)
