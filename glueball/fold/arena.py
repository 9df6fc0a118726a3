"""Arenas: where the values of a scope live, one growing tensor of rows per Pool.

The one idea: a group writes its results into consecutive rows, so a value is (pool, row), gathering arguments is one
`index_select`, and a run of consecutive rows is a view. Rows are never overwritten; writes go through `.data`, whose
version counter torch's tape does not watch, because views of other rows are saved there.
"""
from __future__ import annotations

from typing import Any, final

import numpy as np
import torch

from .future import OFFSET, OFFSET_MASK
from .kinds import Pool
from .packs import Packs

__all__ = ["Arena", "Store", "spans"]

_AHEAD = 8  # so many times the rows that are needed are taken at most


def _roomy(count: int) -> int:
    """Return a rounder number that is about an eighth larger: scopes of about as many rows then take memory of the same
    size, which is at hand and was written to before.
    """
    step = 1 << max(count.bit_length() - 3, 0)
    return -(-(count + count // 8) // step) * step


@final
class Arena:
    """Rows of one pool."""

    __slots__ = ("pool", "data", "used", "_expected", "_of", "_read", "_written")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.used = 0
        self._expected = pool.used
        self.data = torch.empty((0, *pool.rest), dtype=pool.dtype, device=pool.ctx.torch_device)
        self._of: torch.Tensor | None = None
        self._read = self._written = self.data

    def _alias(self) -> None:
        self._of, self._read, self._written = self.data, self.data.data, self.data.data

    def view(self, start: int, count: int) -> torch.Tensor:
        """Return rows to be read, as a view that does not notice writes to other rows."""
        if self._of is not self.data:
            self._alias()
        return self._read.narrow(0, start, count)

    def target(self, start: int, count: int) -> torch.Tensor:
        """Return rows to be written, as a view."""
        if self._of is not self.data:
            self._alias()
        return self._written.narrow(0, start, count)

    def alone(self, start: int, count: int) -> bool:
        """Whether rows that have been given their place are all there are: then `put` takes them without a copy."""
        return start == 0 and count == self.used and self.data.shape[0] == self.used

    def reserve(self, count: int) -> None:
        """Make room for `count` more rows."""
        needed = self.used + count
        if needed > self.data.shape[0]:
            expected = min(self._expected, _AHEAD * needed)  # as in the scope before: every growth copies all there is
            size = _roomy(expected) if expected > needed else needed if self.used == 0 else max(
                needed, 2 * self.data.shape[0])
            grown = torch.empty((size, *self.pool.rest), dtype=self.pool.dtype, device=self.data.device)
            grown[:self.used] = self.data[:self.used]
            self.data = grown

    def room(self, used: int) -> None:
        """Make room up to row `used`, which are taken from now on."""
        self.reserve(used - self.used)
        self.used = self.pool.used = used

    def put(self, start: int, rows: torch.Tensor) -> None:
        """Store rows that have been given their place."""
        if self.alone(start, rows.shape[0]) and rows.is_contiguous():
            self.data = rows.detach()  # the only group of this pool: no copy
        else:
            self.target(start, rows.shape[0]).copy_(rows.detach())

    def append(self, rows: torch.Tensor) -> int:
        """Store rows; return the number of the first one."""
        count = rows.shape[0]
        if self.used == 0 and self.data.shape[0] < count:
            self.data = rows.detach()  # the first and perhaps only group of this pool: no copy
            self.used = self.pool.used = count
            return 0
        start = self.used
        self.reserve(count)
        self.data.data[start:start + count] = rows.detach()
        self.used = self.pool.used = start + count
        return start

    def take(self, start: np.ndarray[Any, Any], count: np.ndarray[Any, Any] | int) -> tuple[torch.Tensor, Any]:
        """Return the rows of values that start at `start` and take `count` rows each, and where they lay: a slice
        when they follow each other (then the tensor is a view), else a tensor of row numbers.
        """
        rows = start if isinstance(count, int) and count == 1 else spans(start, count)
        size = len(rows)
        if size == 0:
            return self.data[:0], slice(0, 0)
        first, last = int(rows[0]), int(rows[-1])
        if last - first == size - 1 and (size <= 2 or bool((rows[1:] - rows[:-1] == 1).all())):
            return self.data.data[first:last + 1], slice(first, last + 1)
        index = torch.from_numpy(rows)
        if self.data.is_cuda:
            index = index.to(self.data.device, non_blocking=True)
        return self.data.index_select(0, index), index

    def fetch(self, place: Any) -> torch.Tensor:
        """Return rows by the place that `take` gave."""
        if isinstance(place, tuple) and isinstance(place[0], torch.Tensor):  # of columns
            return self.data.index_select(0, place[0])[:, place[1]]
        return self.data.index_select(0, place) if isinstance(place, torch.Tensor) else self.data.data[place]


def spans(start: np.ndarray[Any, Any], count: np.ndarray[Any, Any] | int) -> np.ndarray[Any, Any]:
    """Return start[0], start[0]+1, … (count[0] of them), start[1], …

    >>> spans(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    if isinstance(count, int):
        return (start[:, None] + np.arange(count)).reshape(-1)
    total = int(count.sum())
    ends = np.cumsum(count)
    return np.repeat(start - (ends - count), count) + np.arange(total)


@final
class Store:
    """All arenas of a scope, and the row at which each value starts.

    known : of signatures, by layout.py. same : by value number, the value that it is another name of (sharing.py); None
    where all are their own
    """

    def __init__(self) -> None:
        self.known: dict[Any, Any] = {}
        self.arenas: dict[Pool, Arena] = {}
        self.rows = np.full(1024, -1, dtype=np.int64)  # by value number; -1: not computed yet
        self.packs = Packs()
        self.same: Any = None
        self._names: list[tuple[Any, Any]] = []
        self.gradient = np.zeros(1024, dtype=bool)  # by value number: does it depend on something with a gradient?

    def arena(self, pool: Pool) -> Arena:
        """Return the arena of a pool."""
        found = self.arenas.get(pool)
        if found is None:
            found = self.arenas[pool] = Arena(pool)
        return found

    def rename(self, values: Any, others: Any) -> None:
        """Let values be other names of values that are still to be computed; `settle` when they are."""
        if self.same is None:
            self.same = np.arange(len(self.rows))
        self.same[values] = others
        self._names.append((values, others))

    def settle(self) -> None:
        """Give values with another name the place of that."""
        for values, others in self._names:
            self.rows[values], self.gradient[values] = self.rows[others], self.gradient[others]
        self._names.clear()

    def origin(self, refs: Any) -> Any:
        """Return references with values by their first name; the same array where they are."""
        if self.same is None:
            return refs
        values = refs >> OFFSET
        firsts = self.same[values]
        return refs if (firsts == values).all() else firsts << OFFSET | refs & OFFSET_MASK

    def fit(self, values: int) -> None:
        """Make the tables long enough for so many values."""
        if values > len(self.rows):
            size = max(values, 2 * len(self.rows))
            rows, gradient = np.full(size, -1, dtype=np.int64), np.zeros(size, dtype=bool)
            rows[:len(self.rows)], gradient[:len(self.gradient)] = self.rows, self.gradient
            self.rows, self.gradient = rows, gradient
            if self.same is not None:
                self.same = np.concatenate([self.same, np.arange(len(self.same), size)])
