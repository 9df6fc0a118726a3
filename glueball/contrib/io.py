"""DataLoaderIter: a gluon DataLoader as a DataIter, for code that reads `provide_data` and batches with a pad.

The one idea: the last batch is filled up by repeating its first samples, and `pad` says how many.
"""

from __future__ import annotations

from typing import Any, final

from .. import ndarray as nd
from ..io import DataBatch, DataDesc, DataIter
from ..ndarray import NDArray

__all__ = ["DataLoaderIter"]


@final
class DataLoaderIter(DataIter):
    """Wraps a loader whose samples are (data, label).

    >>> from glueball import gluon, nd
    >>> samples = gluon.data.ArrayDataset(nd.ones((3, 2)), nd.ones((3,)))
    >>> [batch.pad for batch in DataLoaderIter(gluon.data.DataLoader(samples, batch_size=2))]
    [0, 1]
    """

    def __init__(
        self, loader: Any, data_name: str = "data", label_name: str = "softmax_label", dtype: str = "float32"
    ) -> None:
        super().__init__()
        self._loader, self._dtype = loader, dtype
        data, label = next(iter(loader))
        self.batch_size = data.shape[0]
        self.provide_data = [DataDesc(data_name, data.shape, dtype)]
        self.provide_label = [DataDesc(label_name, label.shape, dtype)]
        self._iterator = iter(loader)

    def reset(self) -> None:
        """Start over."""
        self._iterator = iter(self._loader)

    def next(self) -> DataBatch:
        """Return the next batch; StopIteration at the end."""
        data, label = next(self._iterator)
        pad = self.batch_size - data.shape[0]
        return DataBatch(data=[self._filled(data, pad)], label=[self._filled(label, pad)], pad=pad)

    def _filled(self, rows: NDArray, pad: int) -> NDArray:
        rows = rows.astype(self._dtype)
        while pad > 0:
            part = rows[:pad]
            rows, pad = nd.concat(rows, part, dim=0), pad - part.shape[0]
        return rows
