"""mx.engine: how many operators 1.9.1's engine ran in one go; here a number that is kept and changes nothing.

The one idea: Glueball has no engine of its own. Single calls run at once, and hybridize() runs a whole graph as one
plan, which is what bulk execution was for.

>>> with bulk(30):
...     set_bulk_size(15)
30
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["bulk", "set_bulk_size"]

_SIZE: ContextVar[int] = ContextVar("glueball_bulk_size", default=0)


def set_bulk_size(size: int) -> int:
    """Keep the number, which changes nothing; return the one before."""
    before = _SIZE.get()
    _SIZE.set(size)
    return before


@contextmanager
def bulk(size: int) -> Iterator[None]:
    """Within `with`: keep the number, which changes nothing."""
    token = _SIZE.set(size)
    try:
        yield
    finally:
        _SIZE.reset(token)
