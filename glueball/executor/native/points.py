"""Numbers to Winograd's points and back, as straight lines of vector arithmetic.

The one idea: rows of a matrix that belong to points p and -p are even and odd columns, added and subtracted; so two
points, or two results on the way back, cost little more than one. Factors of 1 cost nothing.

Not here: the matrices (base/tilings.py), loops (winograd_tiles.py, winograd.py, winograd_weights.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...base.tilings import Rows
from .vector_math import Writer

__all__ = ["at_points", "from_points"]


def at_points(w: Writer, rows: Rows, values: Sequence[str]) -> list[str]:
    """Write the product of a matrix and `values`: a value for each row."""
    zero = _has_zero(rows)
    found = [_total(w, zip(row, values)) for row in rows[:zero]]
    for row in rows[zero:-1:2]:
        found += _pair(w, row, values)
    return [*found, _total(w, zip(rows[-1], values))]


def from_points(w: Writer, rows: Rows, values: Sequence[str]) -> list[str]:
    """Write the product of a transposed matrix and `values`: a value for each column."""
    zero = _has_zero(rows)
    pairs = range(zero, len(rows) - 1, 2)
    parts = [{k: w.binary(op, values[k], values[k + 1]) for k in pairs} for op in ("fadd", "fsub")]
    found: list[str] = []
    for column in range(len(rows[0])):
        terms = [(rows[k][column], values[k]) for k in (*range(zero), len(rows) - 1)]
        terms += [(rows[k][column], parts[column % 2][k]) for k in pairs]
        found.append(_total(w, terms))
    return found


def _has_zero(rows: Rows) -> int:
    return 1 - len(rows) % 2  # beside pairs and ∞


def _total(w: Writer, terms: Iterable[tuple[float, str]]) -> str:
    """Write Σ factor · value."""
    total = ""
    for factor, value in sorted(((f, v) for f, v in terms if f), key=lambda term: term[0] != 1):
        if not total:
            total = value if factor == 1 else w.binary("fmul", w.number(factor), value)
        else:
            total = w.binary("fadd", total, value) if factor == 1 else w.fma(w.number(factor), value, total)
    return total


def _pair(w: Writer, row: Sequence[float], values: Sequence[str]) -> tuple[str, str]:
    """Write the sum of a row, and the one with the signs of odd columns changed."""
    (f, even), (g, odd) = (_apart(w, row[k::2], values[k::2]) for k in (0, 1))
    if f == 1:
        return w.fma(w.number(g), odd, even), w.fma(w.number(-g), odd, even)
    if g == 1:
        return w.fma(w.number(f), even, odd), w.fma(w.number(f), even, w.put(f"fneg {w.vector} {odd}"))
    even, odd = w.binary("fmul", w.number(f), even), w.binary("fmul", w.number(g), odd)
    return w.binary("fadd", even, odd), w.binary("fsub", even, odd)


def _apart(w: Writer, row: Sequence[float], values: Sequence[str]) -> tuple[float, str]:
    """Return a factor, and what it has to be multiplied by to be the sum of a row: the factor is 1 where one of the
    row's is.
    """
    factor = 1.0 if 1.0 in row else [f for f in row if f][-1]
    return factor, _total(w, ((f / factor, value) for f, value in zip(row, values)))
