"""Convolutions by Winograd's way as calls on tensors: how the work is cut into blocks, scratch memory, threads.

The one idea: a block is some tiles and some panels of filters; how many of each is looked up in a small model of what a
block costs (products, reading the weights, the ways to the points and back), so that threads end together and what they
share stays in their caches. Where there is no native code for an array, or its numbers turn out not to be finite, torch
computes the same from the same weights: ops/winograd.py.

Not here: the code (winograd.py), which convolutions are done so (passes/winograd.py).
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from functools import cache, lru_cache
from math import inf

import torch
from torch import Tensor

from ...ops import winograd as plain
from ...ops.winograd import POINTS, TILE, WIDE
from .buffers import empty_images, scratch
from .compile import Kernel, available, compiler, parallel
from .winograd import PAD, Winograd, heights

__all__ = ["points_of", "convolution"]

_SQUARE = POINTS * POINTS
_ALIGN = 1024  # elements: a thread's scratch memory begins on a page
_ON_CHIP, _NEAR = 1 << 17, 1 << 21  # elements of weights at the points that a core's cache, and the chip's, may hold
_RATES = (24, 9, 4)  # bytes per cycle that come from a core's cache, the chip's, and memory
_TILE_IN, _TILE_OUT = 350, 330  # cycles for 16 channels of a tile to the points, and back
_LIMITS = {"none": (1.0, -inf, inf), "relu": (1.0, 0.0, inf)}  # slope of negative numbers, lower and upper limit


def points_of(weight: Tensor, turned: bool = False) -> Tensor:
    """Return weights (F, C, 3, 3) at the points; see `_winograd_weight`."""
    return plain.points_of(weight, turned)


def convolution(
    data: Tensor,
    points: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    pad: Sequence[int],
    act: str = "none",
    low: float = 0.0,
    high: float = 0.0,
) -> Tensor:
    """Compute act(residual + convolution of data (N, C, H, W) + bias); see `_winograd_convolution`."""
    n, depth, rows, columns = data.shape
    panels = points.shape[0]
    shape = (n, panels * WIDE, rows + 2 * pad[0] - 2, columns + 2 * pad[1] - 2)
    if not _serves(data, points, bias, residual, shape):
        return plain.convolved(data, points, bias, residual, pad, act, low, high)
    down, across = -(-shape[2] // TILE), -(-shape[3] // TILE)
    tiles = n * down * across
    threads = torch.get_num_threads()
    block_tiles, block_panels = _blocks(tiles, depth, panels, threads)
    blocks_across = -(-panels // block_panels)
    blocks = -(-tiles // block_tiles) * blocks_across
    threads = min(threads, blocks)
    products = _SQUARE * block_tiles * (depth + PAD)
    patch = products + block_tiles * _SQUARE * WIDE
    size = -(-(patch + _SQUARE * depth) // _ALIGN) * _ALIGN
    room = scratch(size * threads)
    out = empty_images(shape)
    limits = _LIMITS.get(act) or ((1.0, low, high) if act == "clip" else (low, -inf, inf))
    arguments = array("q", [
        0, 0, tiles, block_tiles, block_panels, blocks, blocks_across, panels, depth, data.data_ptr(), rows, columns,
        pad[0], pad[1], down, across, points.data_ptr(), out.data_ptr(), shape[2], shape[3], shape[1],
        0 if bias is None else bias.data_ptr(), 0 if residual is None else residual.data_ptr(), *map(_bits, limits),
        room.data_ptr(), size, products, patch, 0])  # fmt: skip
    kernel, team = _kernel(), parallel() if threads > 1 else None
    if team is None:
        kernel.function(arguments.buffer_info()[0])
    else:
        team(kernel.address, arguments.buffer_info()[0], threads, 0)
    if arguments[-1]:
        return plain.convolved(data, points, bias, residual, pad, act, low, high)
    return out


def _serves(data: Tensor, points: Tensor, bias: Tensor | None, residual: Tensor | None, shape: tuple[int, ...]) -> bool:
    """Whether native code runs on these arrays."""
    given = [t for t in (data, points, bias, residual) if t is not None]
    if torch.is_grad_enabled() and any(t.requires_grad for t in given):
        return False
    if not all(t.is_cpu and t.dtype is torch.float32 for t in given) or min(shape) < 1 or data.shape[1] % PAD:
        return False
    if not points.is_contiguous() or bias is not None and not bias.is_contiguous() or points.shape[3] != WIDE:
        return False
    images = [data] if residual is None else [data, residual]
    if residual is not None and residual.shape != shape:
        return False
    return all(t.is_contiguous(memory_format=torch.channels_last) for t in images) and available()


def _bits(value: float) -> int:
    """Return a number's bits as float32."""
    return struct.unpack("<i", struct.pack("<f", value))[0]


@cache
def _kernel() -> Kernel:
    return compiler().kernel(Winograd(), torch.float32)


@lru_cache(1024)
def _blocks(tiles: int, depth: int, panels: int, threads: int) -> tuple[int, int]:
    """Return how many tiles and panels make a block."""
    short = heights(compiler().vector_bytes // 4)[1]
    weights = _SQUARE * panels * WIDE * depth
    rate = _RATES[0 if weights <= _ON_CHIP else 1 if weights <= _NEAR else 2]

    def whole(count: int) -> int:
        return -(-count // short) * short

    def cost(choice: tuple[int, int]) -> float:
        rows, wide = choice
        blocks = -(-tiles // rows) * -(-panels // wide)
        product = _SQUARE * wide * (depth * max(2 * rows, 4 * WIDE / rate) + 60)
        spread = _SQUARE * rows * depth
        far = 1.0 if spread <= _ON_CHIP else 1.05 if spread <= 2 * _ON_CHIP else 1.15
        ways = rows * (depth / 16 * _TILE_IN + wide * 2 * _TILE_OUT)
        return -(-blocks // threads) * (product * far + ways)

    heights_ = {whole(-(-tiles // (threads * k))) for k in range(1, 9)} | {8, 12, 16, 24, 32, 36, 48, 64, 96, 128}
    widths = {-(-panels // k) for k in (1, threads, 2 * threads)}
    choices = [(rows, wide) for rows in heights_ for wide in widths if rows <= max(128, whole(tiles)) and rows <= 256]
    return min(((min(rows, whole(tiles)), wide) for rows, wide in choices), key=cost)
