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

_FROM_IMAGE = {
    "ImageRecordIter": "ImageRecordIter",
    "ImageRecordIter_v1": "ImageRecordIter",
    "ImageRecordUInt8Iter": "ImageRecordUInt8Iter",
    "ImageRecordUInt8Iter_v1": "ImageRecordUInt8Iter",
}
_ABSENT = {
    "ImageDetRecordIter": "use image.ImageDetIter, which takes the same files",
    "ImageRecordInt8Iter": "use ImageRecordUInt8Iter and astype",
    "LibSVMIter": "its batches are sparse; read the file with scikit-learn's load_svmlight_file and use NDArrayIter",
    "MXDataIter": "it wrapped iterators written in C++, of which there are none here; DataIter is the base class",
}


def __getattr__(name: str) -> Any:
    if name in _FROM_IMAGE:  # image is above this package; importing it here would be a circle
        from ..image import record_iter

        return getattr(record_iter, _FROM_IMAGE[name])
    if name in _ABSENT:
        raise AttributeError(f"io.{name} is not offered: {_ABSENT[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
