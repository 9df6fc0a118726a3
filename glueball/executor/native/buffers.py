"""Memory for large arrays of compiled plans: one range of addresses, in which holes that meet become one hole.

The one idea: arrays are placed in the smallest hole that takes them, and a block is free the moment its last tensor is
gone, so no plan has to say when it is done with one, and what a user keeps is safe. Arrays of a training step come and
go in nearly the reverse order, so little is lost between them: 3 % for ResNet-50. The C library's allocator loses a
third: an aligned array needs a hole that is larger than the one it leaves, and small objects get between.

Not here: keeping what the C library frees (base/memory.py).
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
import weakref
from collections import deque
from contextlib import suppress
from typing import final

import torch
from torch import Tensor

from ...base.memory import on_release

__all__ = ["Heap", "empty_like", "empty_images", "scratch", "in_order", "LEAST"]

LEAST = 1 << 18  # bytes from which an array lies here
_PAGE = mmap.PAGESIZE
_NO_RESERVE = 0x4000  # MAP_NORESERVE of Linux: addresses alone cost nothing


def _addresses() -> int:
    """Return the size of a heap that never runs out; 0 where addresses alone cost memory, or are limited."""
    if sys.platform != "linux":
        return 0
    import resource  # not on all systems; the limit is that of `ulimit -v`

    unlimited = resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
    return os.sysconf("SC_PHYS_PAGES") * _PAGE if unlimited else 0


def _reserved(size: int) -> mmap.mmap | None:
    """Return memory that the system gives when it is touched; None where it gives no such range."""
    try:
        if sys.platform != "linux":
            return mmap.mmap(-1, size)
        memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE)
    except OSError:  # so many addresses are not allowed
        return None
    with suppress(OSError):  # a kernel without huge pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


@final
class Heap:
    """A range of addresses of which tensors take blocks. size : of it in bytes; 0: nothing is ever placed here

    >>> heap = Heap(1 << 20)
    >>> a, b = heap.take(5000), heap.take(5000)
    >>> heap.used, heap.reach, b.data_ptr() - a.data_ptr()
    (16384, 16384, 8192)
    >>> del a
    >>> heap.used, heap.take(8192).data_ptr() < b.data_ptr(), heap.take(1 << 20) is None
    (8192, True, True)
    """

    def __init__(self, size: int) -> None:
        self._lock = threading.Lock()
        self._memory = _reserved(size) if size else None
        self._holes = {} if self._memory is None else {0: size}  # start -> end
        self._taken: dict[int, tuple[int, int, object]] = {}  # by the number of a reference: start, end, the reference
        self._gone: deque[object] = deque()  # references whose memory nobody holds any more
        self.reach = 0

    @property
    def used(self) -> int:
        """Bytes of blocks that are held. `reach`: bytes up to the end of the last block that there ever was."""
        with self._lock:
            self._collect()
            return sum(end - start for start, end, _ in self._taken.values())

    def take(self, size: int) -> Tensor | None:
        """Return so many bytes that nobody else holds, as numbers of 8 bits; None where there is no room."""
        size = -(-size // _PAGE) * _PAGE
        with self._lock:
            self._collect()
            found = [(end - start, start) for start, end in self._holes.items() if end - start >= size]
            if not found or self._memory is None:
                return None
            room, start = min(found)
            del self._holes[start]
            if room > size:
                self._holes[start + size] = start + room
            block = memoryview(self._memory)[start : start + size]
            # the collector of garbage may free tensors anywhere, while the lock is held too: they wait to be collected
            reference = weakref.ref(block, self._gone.append)
            self._taken[id(reference)] = start, start + size, reference
            self.reach = max(self.reach, start + size)
        return torch.frombuffer(block, dtype=torch.uint8)

    def _collect(self) -> None:
        """Make holes of blocks that nobody holds."""
        while self._gone:
            start, end, _ = self._taken.pop(id(self._gone.popleft()))
            before = next((first for first, last in self._holes.items() if last == start), start)
            self._holes[before] = self._holes.pop(end, end)

    def release(self) -> None:
        """Give the memory of holes back to the system."""
        with self._lock:
            self._collect()
            for start, end in self._holes.items():
                last = min(end, self.reach)
                if sys.platform == "linux" and self._memory is not None and start < last:
                    self._memory.madvise(mmap.MADV_DONTNEED, start, last - start)


    def outlive_forks(self) -> None:
        """Let forks wait for whoever takes memory just now: a child would inherit a lock that nobody opens."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._lock.acquire, after_in_parent=self._lock.release,
                                after_in_child=self._lock.release)  # fmt: skip


_passing = Heap(_addresses())
_kept = Heap(_addresses())  # of what is handed out: it must not stand between what comes and goes
for _heap in (_passing, _kept):
    on_release(_heap.release)
    _heap.outlive_forks()


def _place(size: int, kept: bool = False) -> Tensor:
    """Return memory of a heap, of torch's allocator where it is too little for one or has no room."""
    found = (_kept if kept else _passing).take(size) if size >= LEAST else None
    return torch.empty(size, dtype=torch.uint8) if found is None else found[:size]


def empty_like(tensor: Tensor) -> Tensor:
    """Return an array of the same type, shape and strides; `tensor` is dense."""
    size = tensor.numel() * tensor.element_size()
    if size < LEAST:
        return torch.empty_like(tensor)
    return _place(size).view(tensor.dtype).as_strided(tensor.shape, tensor.stride())


def empty_images(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return an array (N, C, H, W) whose channels lie side by side."""
    n, channels, high, wide = shape
    whole = _place(n * channels * high * wide * dtype.itemsize).view(dtype)
    return whole.as_strided(shape, (channels * high * wide, 1, channels * wide, channels))


def scratch(count: int) -> Tensor:
    """Return memory for so many numbers of float32, for as long as it is held."""
    return _place(count * 4).view(torch.float32)


def in_order(tensor: Tensor) -> Tensor:
    """Return an array whose last axis lies side by side, in memory of its own kind where it is large: what is handed
    out and kept does not then lie scattered among arrays that come and go.
    """
    size = tensor.numel() * tensor.element_size()
    taped = tensor.requires_grad and torch.is_grad_enabled()
    if size < LEAST or not tensor.is_cpu or taped:
        return tensor.contiguous()
    return _place(size, True).view(tensor.dtype).view(tensor.shape).copy_(tensor)
