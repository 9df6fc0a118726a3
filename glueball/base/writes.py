"""Writes that torch's version counter does not see, and memory that others may write to.

The one idea: whoever keeps something computed from an array must know when the array has changed. torch counts writes
per array (`_version`); two kinds escape it. Moving statistics are written off the tape on purpose, without a count, for
they are no part of any gradient: `note_write` counts them, per memory. Memory that was handed out (DLPack, a torch
tensor, another process) can be written at any time by anybody: `lend` marks it, and its contents must be compared.
`UNSEEN.total` changes with every such event, so that one comparison says that there was none.

Who keeps what, and looks here: executor/derived.py.
"""

from __future__ import annotations

import itertools
from typing import Any, final

import torch

__all__ = ["UNSEEN", "note_write", "lend", "is_lent", "unseen_writes"]


@final
class _Unseen:
    """total : changes whenever memory is written unseen or handed out; lost : changes with writes to unknown memory."""

    __slots__ = ("total", "lost", "_numbers")

    def __init__(self) -> None:
        self.total = self.lost = 0
        self._numbers = itertools.count(1)  # drawn by one instruction: threads never get the same one

    def happened(self) -> None:
        """Say that something happened; call it after the memory has been marked."""
        self.total = next(self._numbers)


UNSEEN = _Unseen()


def note_write(*tensors: torch.Tensor) -> None:
    """Count a write to each tensor's memory that torch does not count; call it after writing.

    >>> mean = torch.zeros(2)
    >>> before = unseen_writes(mean); note_write(mean[1:].data); unseen_writes(mean) - before
    1
    """
    if torch.compiler.is_compiling():  # executor/inductor.py notes for the whole program
        return
    for tensor in tensors:
        try:
            storage: Any = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):  # a wrapper without memory of its own
            UNSEEN.lost += 1
            continue
        storage.unseen_writes = getattr(storage, "unseen_writes", 0) + 1  # torch keeps attributes with the memory
    UNSEEN.happened()


def unseen_writes(tensor: torch.Tensor) -> int:
    """Return how many writes to the tensor's memory have been noted."""
    return getattr(tensor.untyped_storage(), "unseen_writes", 0)


def lend(tensor: torch.Tensor) -> None:
    """Mark the tensor's memory: from now on others may write to it at any time.

    >>> a = torch.zeros(2)
    >>> lend(a[1:]); is_lent(a), is_lent(a.clone())
    (True, False)
    """
    storage: Any = tensor.untyped_storage()
    if not getattr(storage, "lent", False):
        storage.lent = True
        UNSEEN.happened()


def is_lent(tensor: torch.Tensor) -> bool:
    """Whether others may write to the tensor's memory: it was handed out, or processes share it."""
    return bool(getattr(tensor.untyped_storage(), "lent", False)) or (tensor.is_cpu and tensor.is_shared())
