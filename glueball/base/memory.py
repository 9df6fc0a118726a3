"""Memory of the CPU that was freed stays with the process, to be used again.

The one idea: the C library hands large blocks back to the system when they are freed and gets them anew, page by page
and filled with zeros, a moment later. A training step that makes and drops gigabytes of arrays spends a third of its
time there. `keep_freed` tells the C library to keep them, as caching allocators do; `release` gives back what is free.
The first run of a plan leaves what stays (states of an optimiser, compiled code, the library's caches) scattered among
its arrays, and the second no longer fits into the holes: a `Settling` gives everything back once in between.
Only glibc has these switches; elsewhere nothing happens. On a GPU torch's allocator keeps memory by itself.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, final

from . import config

__all__ = ["keep_freed", "release", "on_release", "Settling"]

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # names of mallopt's parameters, from malloc.h
LARGE = 1 << 27  # bytes of arrays from which holes between them matter

_owners: list[Callable[[], None]] = []


def on_release(forget: Callable[[], None]) -> None:
    """Call `forget` before memory is given back: whoever keeps some lets go of it."""
    _owners.append(forget)


@cache
def _library() -> Any:
    """Return the C library when it is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "mallopt") and hasattr(library, "gnu_get_libc_version") else None
    except OSError:
        return None


@cache
def keep_freed() -> bool:
    """Keep freed memory from now on, unless GLUEBALL_KEEP_MEMORY=0; return whether that is so."""
    library = _library()
    if library is None or not config.get("GLUEBALL_KEEP_MEMORY"):
        return False
    # blocks come from the heap whatever their size, and the heap does not shrink
    return bool(library.mallopt(_MMAP_MAX, 0)) and bool(library.mallopt(_TRIM_THRESHOLD, -1))  # -1: never


def release() -> bool:
    """Give free memory back to the system now; return whether there was any."""
    for forget in _owners:
        forget()
    library = _library()
    return library is not None and bool(library.malloc_trim(ctypes.c_size_t(0)))


@final
class Settling:
    """Before the second run of what makes many bytes of arrays, free memory is given back, once.

    >>> once = Settling(LARGE)
    >>> [once.run() for _ in range(3)]
    [False, True, False]
    >>> small = Settling(1)
    >>> [small.run() for _ in range(3)]
    [False, False, False]
    """

    __slots__ = ("_left",)

    def __init__(self, size: int) -> None:
        self._left = 2 if size >= LARGE else 0

    def run(self) -> bool:
        """Say that it runs now; return whether memory was given back before."""
        if self._left:
            self._left -= 1
            if not self._left:
                release()
                return True
        return False
