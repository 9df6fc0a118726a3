"""`bulk` and `set_bulk_size`: hints to MXNet's scheduler, accepted so that programs run; `hybridize()` does what they
were for.

The one idea: operators run when they are called, so there is nothing to bulk; the size is remembered and handed back
as programs expect.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["bulk", "set_bulk_size"]

_size: ContextVar[int] = ContextVar("glueball_bulk_size", default=0)


def set_bulk_size(size: int) -> int:
    """Remember a size and return the one before.

    >>> before = set_bulk_size(10)
    >>> set_bulk_size(before)
    10
    """
    before = _size.get()
    _size.set(size)
    return before


@contextmanager
def bulk(size: int) -> Generator[None, None, None]:
    """Remember a size inside a `with` block.

    >>> with bulk(10):
    ...     pass
    """
    before = set_bulk_size(size)
    try:
        yield
    finally:
        set_bulk_size(before)
