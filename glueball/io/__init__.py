"""io: the batch iterators of Gluon 1.x's older, symbolic interface (new code takes gluon.data).

batch.py has the base classes, iterators.py those over arrays, files.py those over files of numbers. The iterators over
images are written in `glueball.image` on top of this package and appear here when asked for.
"""

from __future__ import annotations

from typing import Any

from .batch import DataBatch, DataDesc, DataIter
from .files import CSVIter, MNISTIter
from .iterators import NDArrayIter, PrefetchingIter, ResizeIter

__all__ = [
    "CSVIter",
    "DataBatch",
    "DataDesc",
    "DataIter",
    "ImageRecordIter",
    "ImageRecordUInt8Iter",
    "MNISTIter",
    "NDArrayIter",
    "PrefetchingIter",
    "ResizeIter",
]

_FROM_IMAGE = ("ImageRecordIter", "ImageRecordUInt8Iter")


def __getattr__(name: str) -> Any:
    if name in _FROM_IMAGE:  # image is above this package; importing it here would be a circle
        from ..image import record_iter

        return getattr(record_iter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
