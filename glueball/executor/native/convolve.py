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
from functools import lru_cache
from math import inf

import torch
from torch import Tensor

from ...base.tilings import FOUR, SEVEN, Tiling
from ...ops import winograd as plain
from ...ops.winograd import WIDE, How
from .buffers import empty_images, scratch
from .compile import available, compiler, on_threads
from .winograd import Winograd
from .winograd_gradient import WinogradGradient
from .winograd_tiles import PAD, heights
from .winograd_weights import Weights

__all__ = ["points_of", "convolution", "weight_gradient"]

_KINDS = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}  # of arrays, in memory
_ALIGN = 1024  # elements: a thread's scratch memory begins on a page
_ON_CHIP, _NEAR = 1 << 17, 1 << 21  # elements of weights at the points that a core's cache, and the chip's, may hold
_RATES = (24, 9, 4)  # bytes per cycle that come from a core's cache, the chip's, and memory
_WEIGHTS = 64  # channels of a block of weights
_DEEP = 256  # channels of which sums are near enough to be read for every 32 tiles
_TILE_IN, _TILE_OUT = 350, 330  # cycles for 16 channels of a tile of 4 × 4 to the points, and back
_LIMITS = {"none": (1.0, -inf, inf), "relu": (1.0, 0.0, inf)}  # slope of negative numbers, lower and upper limit


def points_of(weight: Tensor, turned: bool = False, seven: bool = False) -> Tensor:
    """Return weights (F, C, 3, 3) at the points; see `_winograd_weight`."""
    if not _lies(weight, turned):
        return plain.points_of(weight, turned, seven)
    filters, depth = weight.shape[:2] if not turned else weight.shape[1::-1]
    square = (SEVEN if seven else FOUR).square
    points = scratch(filters * depth * square).view(filters // WIDE, square, depth, WIDE)
    _between(weight.float(), points, turned, False)
    return points


def weight_gradient(grad: Tensor, data: Tensor, pad: Sequence[int], seven: bool = False) -> Tensor:
    """Return the gradient (F, C, 3, 3) of a convolution's weights; see `_winograd_weight_gradient`."""
    n, depth, rows, columns = data.shape
    filters, high, wide = grad.shape[1:]
    if not _serves_gradient(grad, data):
        return plain.weight_gradient(grad, data, pad)
    tiling = SEVEN if seven else FOUR
    tile, square = tiling.tile, tiling.square
    down, across, panels = -(-high // tile), -(-wide // tile), filters // WIDE
    tiles = n * down * across
    threads = torch.get_num_threads()
    parts, part_tiles, block_tiles, block_panels = _gradient_blocks(tiles, depth, panels, threads, square)
    blocks_across = -(-panels // block_panels)
    threads = min(threads, parts * blocks_across)
    gradients = square * block_tiles * (depth + PAD)
    patch = gradients + square * block_tiles * WIDE
    size = -(-(patch + max(square * depth, tile * tile * WIDE)) // _ALIGN) * _ALIGN
    room = scratch(size * threads)
    part_size = panels * square * depth * WIDE
    sums = scratch(parts * part_size)
    arguments = array("q", [
        0, 0, tiles, part_tiles, block_tiles, block_panels, parts * blocks_across, blocks_across, panels, depth,
        data.data_ptr(), rows, columns, pad[0], pad[1], down, across, grad.data_ptr(), high, wide, filters,
        sums.data_ptr(), part_size, room.data_ptr(), size, gradients, patch])  # fmt: skip
    on_threads(compiler().kernel(WinogradGradient(tile, _KINDS[data.dtype]), torch.float32), arguments, threads)
    whole = sums[:part_size]
    for part in range(1, parts):
        whole.add_(sums[part * part_size : (part + 1) * part_size])
    weight = torch.empty(filters, depth, 3, 3)
    if _between(weight, whole.view(panels, square, depth, WIDE), False, True):
        return plain.weight_gradient(grad, data, pad)
    return weight.to(data.dtype)


def _between(weight: Tensor, points: Tensor, turned: bool, back: bool) -> bool:
    """Bring weights to the points, or (`back`) sums at the points to weights' gradients; return whether these are not
    all finite.
    """
    panels, _, depth, _ = points.shape
    steps = (weight.stride(0), weight.stride(1), 1) if not turned else (weight.stride(1), weight.stride(0), -1)
    start = weight.data_ptr() + (8 * weight.element_size() if turned else 0)
    each = min(depth, _WEIGHTS)
    chunks = -(-depth // each)
    arguments = array("q", [0, panels * chunks, each, chunks, depth, start, *steps, points.data_ptr(), 0])
    kernel = compiler().kernel(Weights(back, plain.tiling_of(points).tile), torch.float32)
    on_threads(kernel, arguments, min(torch.get_num_threads(), panels * chunks))
    return bool(arguments[-1])


def convolution(data: Tensor, points: Tensor, bias: Tensor | None, residual: Tensor | None, how: How) -> Tensor:
    """Compute act(residual + convolution of data (N, C, H, W) + bias); see `_winograd_convolution`."""
    pad, act, low, high = how
    n, depth, rows, columns = data.shape
    panels = points.shape[0]
    shape = (n, panels * WIDE, rows + 2 * pad[0] - 2, columns + 2 * pad[1] - 2)
    if not _serves(data, points, bias, residual, shape):
        return plain.convolved(data, points, bias, residual, how)
    tiling = plain.tiling_of(points)
    down, across = -(-shape[2] // tiling.tile), -(-shape[3] // tiling.tile)
    tiles = n * down * across
    threads = torch.get_num_threads()
    block_tiles, block_panels = _blocks(tiles, depth, panels, threads, tiling)
    blocks_across = -(-panels // block_panels)
    blocks = -(-tiles // block_tiles) * blocks_across
    threads = min(threads, blocks)
    products = tiling.square * block_tiles * (depth + PAD)
    patch = products + block_tiles * tiling.square * WIDE
    size = -(-(patch + tiling.square * depth) // _ALIGN) * _ALIGN
    room = scratch(size * threads)
    out = empty_images(shape, data.dtype)
    bias = None if bias is None else bias.float()
    limits = _LIMITS.get(act) or ((1.0, low, high) if act == "clip" else (low, -inf, inf))
    arguments = array("q", [
        0, 0, tiles, block_tiles, block_panels, blocks, blocks_across, panels, depth, data.data_ptr(), rows, columns,
        pad[0], pad[1], down, across, points.data_ptr(), out.data_ptr(), shape[2], shape[3], shape[1],
        0 if bias is None else bias.data_ptr(), 0 if residual is None else residual.data_ptr(), *map(_bits, limits),
        room.data_ptr(), size, products, patch, 0])  # fmt: skip
    on_threads(compiler().kernel(Winograd(tiling.tile, _KINDS[data.dtype]), torch.float32), arguments, threads)
    if arguments[-1]:
        return plain.convolved(data, points, bias, residual, how)
    return out


def _serves(data: Tensor, points: Tensor, bias: Tensor | None, residual: Tensor | None, shape: tuple[int, ...]) -> bool:
    """Whether native code runs on these arrays."""
    given = [t for t in (data, points, bias, residual) if t is not None]
    if torch.is_grad_enabled() and any(t.requires_grad for t in given):
        return False
    if not all(t.is_cpu for t in given) or min(shape) < 1 or data.shape[1] % PAD:
        return False
    if data.dtype not in _KINDS or points.dtype is not torch.float32:
        return False
    if not points.is_contiguous() or bias is not None and not bias.is_contiguous() or points.shape[3] != WIDE:
        return False
    images = [data] if residual is None else [data, residual]
    if residual is not None and (residual.shape != shape or residual.dtype is not data.dtype):
        return False
    return all(t.is_contiguous(memory_format=torch.channels_last) for t in images) and available()


def _bits(value: float) -> int:
    """Return a number's bits as float32."""
    return struct.unpack("<i", struct.pack("<f", value))[0]


def _lies(weight: Tensor, turned: bool) -> bool:
    """Whether native code brings these weights to the points."""
    if torch.is_grad_enabled() and weight.requires_grad or not weight.is_cpu or weight.dtype not in _KINDS:
        return False
    return weight.shape[1 if turned else 0] % WIDE == 0 and min(weight.shape) > 0 and (
        weight.is_contiguous() and available())  # fmt: skip


def _serves_gradient(grad: Tensor, data: Tensor) -> bool:
    """Whether native code makes the gradient of weights."""
    if torch.is_grad_enabled() and (grad.requires_grad or data.requires_grad) or not grad.numel() or not data.numel():
        return False
    if data.shape[1] % PAD or grad.shape[1] % WIDE:
        return False
    return available() and all(
        t.is_cpu and t.dtype is data.dtype and t.dtype in _KINDS and t.is_contiguous(memory_format=torch.channels_last)
        for t in (grad, data)
    )


@lru_cache(1024)
def _blocks(tiles: int, depth: int, panels: int, threads: int, tiling: Tiling) -> tuple[int, int]:
    """Return how many tiles and panels make a block."""
    short = heights(compiler().vector_bytes // 4)[1]
    square = tiling.square
    way = square / FOUR.square
    weights = square * panels * WIDE * depth
    rate = _RATES[0 if weights <= _ON_CHIP else 1 if weights <= _NEAR else 2]

    def whole(count: int) -> int:
        return -(-count // short) * short

    def cost(choice: tuple[int, int]) -> float:
        rows, wide = choice
        blocks = -(-tiles // rows) * -(-panels // wide)
        product = square * wide * (depth * max(2 * rows, 4 * WIDE / rate) + 60)
        spread = square * rows * depth
        far = 1.0 if spread <= _ON_CHIP else 1.05 if spread <= 2 * _ON_CHIP else 1.15
        ways = way * rows * (depth / 16 * _TILE_IN + wide * 2 * _TILE_OUT)
        return -(-blocks // threads) * (product * far + ways)

    heights_ = {whole(-(-tiles // (threads * k))) for k in range(1, 9)} | {8, 12, 16, 24, 32, 36, 48, 64, 96, 128}
    widths = {-(-panels // k) for k in (1, threads, 2 * threads)}
    choices = [(rows, wide) for rows in heights_ for wide in widths if rows <= max(128, whole(tiles)) and rows <= 256]
    return min(((min(rows, whole(tiles)), wide) for rows, wide in choices), key=cost)


@lru_cache(1024)
def _gradient_blocks(tiles: int, depth: int, panels: int, threads: int, square: int) -> tuple[int, int, int, int]:
    """Return for the gradient of weights how many parts tiles are shared out to, and the tiles of a part, of a step of
    it, and the panels of a block.
    """
    rows = 32 if depth <= _DEEP else 64  # sums of more channels are further away: they are read less often
    shared = tiles / threads * depth / 16 * _TILE_IN  # cycles for bringing data to the points, each thread its tiles
    shared *= square / FOUR.square
    added = 3 * square * depth * panels * WIDE * 4 * threads / _RATES[2]  # for sums of its own
    if panels >= threads and shared * (threads - 1) < added or tiles < 2 * threads:
        return 1, tiles, rows, -(-panels // threads)
    each = -(-tiles // threads)
    return -(-tiles // each), each, min(rows, each), panels
