"""Winograd's ways for 3×3 kernels: how many results a tile has, at which points it is computed, and the three matrices
between numbers and points.

The one idea: m results next to each other, from three weights, are coefficients of a product of two polynomials, which
is known from its values at m + 2 points: so many multiplications in place of 3m, and their square for m × m results in
place of 9m². Points come in pairs ±p, with 0 or without, and ∞: sums of even and of odd powers then serve two points.
More results to a tile save more and round worse.

Not here: what is computed with them (ops/winograd.py), code (executor/native/points.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias, final

import numpy as np
from numpy.polynomial import polynomial

__all__ = ["Tiling", "FOUR", "SEVEN", "TILINGS", "Rows"]

Rows: TypeAlias = "tuple[tuple[float, ...], ...]"


@final
@dataclass(frozen=True, slots=True)
class Tiling:
    """Tiles of `tile` × `tile` results. pairs : points p > 0 of pairs ±p; zero : whether 0 is a point, too

    Rows of the matrices are points, in the order (0), p, -p, …, ∞; the two of a pair are equal in even columns and
    differ in the sign in odd ones.

    >>> FOUR.points, FOUR.square, SEVEN.points, SEVEN.square
    (6, 36, 9, 81)
    """

    tile: int
    pairs: tuple[float, ...]
    zero: bool

    @property
    def points(self) -> int:
        """How many points there are per axis: as many as pixels that a tile of results sees."""
        return self.tile + 2

    @property
    def square(self) -> int:
        """How many points there are in all."""
        return self.points * self.points

    @property
    def weights(self) -> Rows:
        """What brings three weights to the points: 1, p, p², divided by Π (p - q) over the other finite points q."""
        return _weights(self)

    @property
    def data(self) -> Rows:
        """What brings pixels to the points: coefficients of Π (x - q) over the other finite points q."""
        return _data(self)

    @property
    def results(self) -> Rows:
        """What results take from the points, and what brings their gradients there: 1, p, p², …"""
        return _results(self)

    @property
    def unweights(self) -> Rows:
        """What brings weights back from the points: its product with `weights` is 1."""
        return _unweights(self)


FOUR = Tiling(4, (0.5**0.5, 2.0**0.5), True)
"""A quarter of the multiplications, two to three times the rounding of the plain sum: for numbers of any size."""

SEVEN = Tiling(7, (0.25, 0.7, 1.1, 2.2), False)
"""5.4 times fewer, rounding near 1e-5 of the results: for arrays whose own rounding is coarser by two digits."""

TILINGS: Mapping[int, Tiling] = {FOUR.tile: FOUR, SEVEN.tile: SEVEN}


def _rows(rows: Sequence[Sequence[float]], width: int) -> Rows:
    return tuple((*map(float, row), *[0.0] * (width - len(row))) for row in rows)


def _product(a: Sequence[float], b: Sequence[float]) -> Sequence[float]:
    """Return the product of two polynomials."""
    return [float(value) for value in polynomial.polymul(a, b)]


def _others(tiling: Tiling, point: float | None) -> Sequence[float]:
    """Return coefficients of Π (x² - q²) over the other pairs, times x where 0 is a point."""
    found: Sequence[float] = [0.0, 1.0] if tiling.zero and point != 0 else [1.0]
    for q in tiling.pairs:
        if q != point:
            found = _product(found, [-q * q, 0.0, 1.0])
    return found


@cache
def _weights(tiling: Tiling) -> Rows:
    rows: list[Sequence[float]] = [[1 / _others(tiling, 0.0)[0]]] if tiling.zero else []
    for p in tiling.pairs:
        product = 2 * p * float(polynomial.polyval(p, _others(tiling, p)))
        rows += [[1 / product, sign * p / product, p * p / product] for sign in (1, -1)]
    return _rows([*rows, [0.0, 0.0, 1.0]], 3)


@cache
def _data(tiling: Tiling) -> Rows:
    rows: list[Sequence[float]] = [_others(tiling, 0.0)] if tiling.zero else []
    for p in tiling.pairs:
        rows.append(_product([p, 1.0], _others(tiling, p)))
        rows.append([value * (-1) ** k for k, value in enumerate(rows[-1])])
    return _rows([*rows, _others(tiling, None)], tiling.points)


@cache
def _results(tiling: Tiling) -> Rows:
    rows: list[Sequence[float]] = [[1.0]] if tiling.zero else []
    for p in tiling.pairs:
        rows += [[(sign * p) ** k for k in range(tiling.tile)] for sign in (1, -1)]
    return _rows([*rows, [*[0.0] * (tiling.tile - 1), 1.0]], tiling.tile)


@cache
def _unweights(tiling: Tiling) -> Rows:
    return _rows(np.linalg.pinv(np.array(tiling.weights)).tolist(), tiling.points)
