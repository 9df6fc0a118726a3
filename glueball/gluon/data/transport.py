"""How a batch travels from a worker process to the loader: pickled, with its arrays beside the pickle in shared memory.

The one idea: the shared memory has no name. A worker copies a batch into an anonymous file (`memfd_create`, or a
temporary file that is deleted at once) and sends the file's descriptor through the socket; whoever dies, and however,
the kernel frees it, so there is nothing to clean up and no `/dev/shm` to fill. Small batches, and all of them where
descriptors cannot be sent (Windows), go through the pipe. The arrays of a received batch lie in the shared memory
itself: nothing is copied on this side. The processes are in workers.py.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import socket
import tempfile
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from ... import ndarray as nd

__all__ = ["Message", "receive", "send"]

Message = tuple[Any, ...]

_ALIGN = 64  # bytes; vector instructions like it
_INLINE = 16 * 1024  # bytes; below this a pipe is as fast as mapping memory
_UNKNOWN_TO_NUMPY = {torch.bfloat16: torch.int16}  # sent as a type of the same size
_DESCRIPTORS = hasattr(socket, "SCM_RIGHTS")


# ------------------------------------------------------------------------------------------------------------- pickling
def _rebuild_tensor(array: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(array).view(dtype)


def _rebuild_ndarray(array: np.ndarray, dtype: torch.dtype) -> nd.NDArray:
    return nd.from_torch(_rebuild_tensor(array, dtype))


def _plain(tensor: torch.Tensor) -> tuple[np.ndarray, torch.dtype]:
    """Return a tensor's memory as a NumPy array, bit for bit, and its dtype."""
    tensor = tensor.detach().cpu().contiguous()
    stand_in = _UNKNOWN_TO_NUMPY.get(tensor.dtype)
    return (tensor if stand_in is None else tensor.view(stand_in)).numpy(), tensor.dtype


class _Pickler(pickle.Pickler):
    """Arrays of all kinds leave their memory out of the pickle."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is nd.NDArray:
            return _rebuild_ndarray, _plain(obj.to_torch())
        if type(obj) is torch.Tensor:
            return _rebuild_tensor, _plain(obj)
        return NotImplemented


def _pack(value: Any) -> list[memoryview]:
    """Return the pickle of `value` and the memory of its arrays."""
    stream, buffers = io.BytesIO(), []
    _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(value)
    return [stream.getbuffer(), *(buffer.raw() for buffer in buffers)]


def _offsets(sizes: list[int]) -> list[int]:
    offsets, position = [], 0
    for size in sizes:
        offsets.append(position)
        position += -(-size // _ALIGN) * _ALIGN
    return [*offsets, position]


# -------------------------------------------------------------------------------------------------------- shared memory
def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("glueball-batch", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(descriptor: int, chunk: memoryview, offset: int) -> None:
    position = 0
    while position < chunk.nbytes:
        position += os.pwrite(descriptor, chunk[position:], offset + position)


def send(connection: Connection, head: Message, value: Any) -> None:
    """Send a small head and any picklable value. A value that cannot be pickled raises before anything is sent."""
    chunks = _pack(value)
    sizes = [chunk.nbytes for chunk in chunks]
    offsets = _offsets(sizes)
    if offsets[-1] <= _INLINE or not _DESCRIPTORS:
        connection.send_bytes(pickle.dumps((head, [bytes(chunk) for chunk in chunks], None)))
        return
    descriptor = _anonymous_file()
    try:
        os.ftruncate(descriptor, offsets[-1])
        for offset, chunk in zip(offsets, chunks):
            _write(descriptor, chunk, offset)  # twice as fast as copying into a fresh mapping, page fault by page fault
        connection.send_bytes(pickle.dumps((head, None, sizes)))
        reduction.send_handle(connection, descriptor, None)  # the pid is for Windows
    finally:
        os.close(descriptor)


def receive(connection: Connection) -> tuple[Message, list[Any]]:
    """Return the head and what `unpack` needs. Raises EOFError or OSError when the sender died."""
    head, inline, sizes = pickle.loads(connection.recv_bytes())  # noqa: S301  (our own worker wrote it)
    if inline is not None:
        return head, [bytearray(chunk) for chunk in inline]  # writable, as shared memory is
    try:
        descriptor = reduction.recv_handle(connection)
    except RuntimeError as error:
        raise EOFError("the sender died between a message and its memory") from error
    offsets = _offsets(sizes)
    try:
        memory = memoryview(mmap.mmap(descriptor, offsets[-1]))
    finally:
        os.close(descriptor)
    return head, [memory[offset : offset + size] for offset, size in zip(offsets, sizes)]


def unpack(chunks: list[Any]) -> Any:
    """Return the value; its arrays keep the memory alive and free it with the last of them."""
    return pickle.loads(chunks[0], buffers=chunks[1:])  # noqa: S301  (our own worker wrote it)
