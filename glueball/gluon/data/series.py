"""Time series: windows over a series as (past, next value) samples, and a real series that comes with the package.

The one idea: a forecasting sample is `history` values and the `horizon` values that follow; both are slices of one
array, scaled once. Text is in text.py. Where the data come from, and their licence, stands in _data/README.md.
"""

from __future__ import annotations

import csv
import os
from typing import Any

import numpy as np

from ... import ndarray as nd
from ...base.errors import ArgumentError, ShapeError, explain
from .dataset import Dataset

__all__ = ["MaunaLoaCO2", "SeriesWindows"]

_CO2_FILE = os.path.join(os.path.dirname(__file__), "_data", "mauna_loa_co2.csv")


class SeriesWindows(Dataset):
    """Samples (past, future) cut from a series at every step.

    Parameters
    ----------
    series : array
        Shape (time,) or (time, features), float32.
    history : int
        Steps of the past in a sample.
    horizon : int
        Steps to foretell.

    Examples
    --------
    >>> past, future = SeriesWindows(np.arange(5.0), history=3)[1]
    >>> past.shape, future.asnumpy().tolist()
    ((3, 1), [[4.0]])
    """

    def __init__(self, series: Any, history: int, horizon: int = 1) -> None:
        values = np.asarray(series.asnumpy() if isinstance(series, nd.NDArray) else series, dtype=np.float32)
        if values.ndim not in (1, 2):
            raise ShapeError(
                explain("SeriesWindows", "A series has shape (time,) or (time, features).", received=values.shape)
            )
        if history < 1 or horizon < 1 or history + horizon > len(values):
            raise ArgumentError(
                explain(
                    "SeriesWindows",
                    "A window must fit into the series.",
                    expected=f"history and horizon of at least 1, together at most {len(values)}",
                    received=f"history {history}, horizon {horizon}",
                )
            )
        self._values = values.reshape(len(values), -1)
        self._history, self._horizon = history, horizon

    def __getitem__(self, idx: int) -> tuple[nd.NDArray, nd.NDArray]:
        if not -len(self) <= idx < len(self):
            raise IndexError(
                explain("SeriesWindows", "The index is out of range.", expected=f"below {len(self)}", received=idx)
            )
        start = idx % len(self)
        middle = start + self._history
        return nd.array(self._values[start:middle]), nd.array(self._values[middle : middle + self._horizon])

    def __len__(self) -> int:
        return len(self._values) - self._history - self._horizon + 1


class MaunaLoaCO2(SeriesWindows):
    """Carbon dioxide in the air at Mauna Loa, Hawaii, weekly 1958-2001: a trend and a season to be learnt.

    A sample is (past, future) with shapes (history, 1) and (horizon, 1), float32, standardised by the mean and
    deviation of the training part (`mean`, `deviation`; multiply and add to come back to ppmv). The first 80 % of the
    time are for training; weeks without a measurement are filled linearly. `dates` and `ppmv` hold the series of this
    part.

    Parameters
    ----------
    train : bool
        The first 80 % of the weeks or the rest.
    history, horizon : int
        Weeks in a sample and weeks to foretell.

    Examples
    --------
    >>> data = MaunaLoaCO2(train=True, history=52)
    >>> len(data), data[0][0].shape, data.dates[0]
    (1775, (52, 1), '1958-03-29')
    """

    def __init__(self, train: bool = True, history: int = 52, horizon: int = 1) -> None:
        with open(_CO2_FILE, encoding="ascii", newline="") as file:
            rows = list(csv.DictReader(file))
        values = np.array([float(row["co2_ppmv"] or "nan") for row in rows])
        weeks = np.arange(len(values))
        known = ~np.isnan(values)
        values = np.interp(weeks, weeks[known], values[known])
        cut = int(0.8 * len(values))
        self.mean, self.deviation = float(values[:cut].mean()), float(values[:cut].std())
        part = slice(None, cut) if train else slice(cut, None)
        self.dates = [row["date"] for row in rows[part]]
        self.ppmv = values[part]
        super().__init__((self.ppmv - self.mean) / self.deviation, history, horizon)
