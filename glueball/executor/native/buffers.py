"""Memory for the results of native segments, used again as soon as nobody holds them.

The one idea: a buffer is free when its storage has no holder but this pool, so no plan has to say when it is done with
one, and what a user keeps is safe. Large arrays that come and go with every layer then never go through the C
library's allocator, whose holes fit the next array of the same size badly.

Not here: keeping what the C library frees (base/memory.py).
"""

from __future__ import annotations

import mmap
import threading
from bisect import bisect_left
from typing import final

import torch
from torch import Tensor

from ...base import aten
from ...base.memory import on_release

__all__ = ["Pool", "empty_like", "empty_images", "scratch", "in_order", "LEAST"]

LEAST = 1 << 18  # bytes from which an array comes from the pool
_GENEROUS = 4  # a buffer serves an array that fills at least this part of it


def _pages(size: int) -> Tensor:
    """Return new memory of the system's, outside the heap: what stays must not stand between what comes and goes."""
    block = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            block.madvise(mmap.MADV_HUGEPAGE)
        except OSError:  # a kernel without them
            pass
    return torch.frombuffer(block, dtype=torch.uint8)


@final
class Pool:
    """Buffers in ascending size.

    >>> pool = Pool()
    >>> a = pool.take(LEAST)
    >>> b = pool.take(LEAST)
    >>> first = a.data_ptr(); del a
    >>> first == pool.take(LEAST).data_ptr(), first == b.data_ptr(), pool.bytes // LEAST
    (True, False, 2)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sizes: list[int] = []
        self._buffers: list[Tensor] = []

    @property
    def bytes(self) -> int:
        """Bytes held, used or not."""
        return sum(self._sizes)

    def take(self, size: int) -> Tensor:
        """Return bytes that nobody else holds: an array whose storage has at least `size` bytes."""
        with self._lock:
            for index in range(bisect_left(self._sizes, size), len(self._sizes)):
                if self._sizes[index] > size * _GENEROUS:
                    break
                if not aten.shares_memory(self._buffers[index]):
                    return self._buffers[index].detach()
            made = _pages(size)
            index = bisect_left(self._sizes, size)
            self._sizes.insert(index, size)
            self._buffers.insert(index, made)
            return made.detach()

    def clear(self) -> None:
        """Forget all buffers; those in use live on with their users."""
        with self._lock:
            self._sizes.clear()
            self._buffers.clear()


_pool = Pool()
on_release(_pool.clear)


def empty_like(tensor: Tensor) -> Tensor:
    """Return an array of the same type, shape and strides; `tensor` is dense."""
    size = tensor.numel() * tensor.element_size()
    if size < LEAST or not aten.counts_holders:
        return torch.empty_like(tensor)
    return _pool.take(size)[:size].view(tensor.dtype).as_strided(tensor.shape, tensor.stride())


def empty_images(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return an array (N, C, H, W) whose channels lie side by side."""
    n, channels, high, wide = shape
    size = n * channels * high * wide * dtype.itemsize
    if size < LEAST or not aten.counts_holders:
        return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)
    whole = _pool.take(size)[:size].view(dtype)
    return whole.as_strided(shape, (channels * high * wide, 1, channels * wide, channels))


def scratch(count: int) -> Tensor:
    """Return memory for so many numbers of float32, for as long as it is held."""
    size = max(count * 4, LEAST)
    if not aten.counts_holders:
        return torch.empty(count)
    return _pool.take(size)[: count * 4].view(torch.float32)


def in_order(tensor: Tensor) -> Tensor:
    """Return an array whose last axis lies side by side, in memory of the pool where it is large: what is handed out
    and kept does not then lie scattered among arrays that come and go.
    """
    size = tensor.numel() * tensor.element_size()
    taped = tensor.requires_grad and torch.is_grad_enabled()
    if size < LEAST or not aten.counts_holders or not tensor.is_cpu or taped:
        return tensor.contiguous()
    return _pool.take(size)[:size].view(tensor.dtype).view(tensor.shape).copy_(tensor)
