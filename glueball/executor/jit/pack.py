"""Which products of a region are done by own code, with weights that are put in order once per call (native/panels.py).

The one idea: bringing a weight into order costs as much as a few rows of a product with it, so it pays where the
products with a weight have rows enough between them; a weight that many steps share is packed once. For a weight's
gradient (a turned left operand) of a batch that is not too large both operands are packed. All other products (many
small ones in one; a few columns) are the library's.

Not here: the code (native/panels.py), its arguments (encode.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from ..native.panels import SIDE, panel_size
from .units import Buffer, Pack, Product, Stored, Unit

__all__ = ["pack"]

_ROWS = 16  # of all products with a weight, from which packing it pays
_COLUMNS = 8  # fewer would leave most of a panel empty
_MANY_ROWS = 256  # beyond which a weight of a single panel would leave threads without work
_DEEPEST = 4096  # a panel stays in the cache of a core
_SHALLOW = 256  # rows behind a weight's gradient, beyond which packing both operands takes longer than it saves
_LARGEST = 1 << 22  # elements: packing takes as much memory as the weight

Key: TypeAlias = "tuple[Buffer, int, int, bool, int, int]"


def _key(place: Stored, turned: bool, depth: int, columns: int) -> Key:
    return place.buffer, place.offset, place.stride, turned, depth, columns


def _fits(unit: Product, lanes: int, threads: int) -> bool:
    panels, _ = panel_size(unit.k, unit.n, lanes)
    return (unit.count == 1 and unit.n >= _COLUMNS and SIDE <= unit.k <= _DEEPEST and unit.k * unit.n <= _LARGEST
            and (not unit.turn_left or (unit.m >= _ROWS and unit.k <= _SHALLOW))
            and (panels >= threads or unit.m <= _MANY_ROWS))  # fmt: skip


def pack(units: Sequence[Unit], lanes: int, threads: int) -> list[Unit]:
    """Return the units with those that pack weights before the first product that uses each; numbers them anew.

    lanes : numbers of a vector; threads : that share the work
    """
    rows: dict[Key, int] = {}
    for unit in units:
        if isinstance(unit, Product) and _fits(unit, lanes, threads):
            key = _key(unit.right, unit.turn_right, unit.k, unit.n)
            rows[key] = rows.get(key, 0) + unit.m
    made: dict[Key, Stored] = {}
    found: list[Unit] = []

    def packed(place: Stored, turned: bool, depth: int, columns: int) -> Stored:
        key = _key(place, turned, depth, columns)
        if key not in made:
            panels, size = panel_size(depth, columns, lanes)
            made[key] = Stored(Buffer(panels * size), 0, 1, panels * size, panels * size, len(found))
            found.append(Pack(len(found), place, turned, depth, columns, made[key]))
        return made[key]

    for unit in units:
        if isinstance(unit, Product) and _fits(unit, lanes, threads):
            if rows[_key(unit.right, unit.turn_right, unit.k, unit.n)] >= _ROWS:
                unit.packed = packed(unit.right, unit.turn_right, unit.k, unit.n)
                if unit.turn_left:
                    unit.packed_left = packed(unit.left, False, unit.k, unit.m)
        unit.number = len(found)
        found.append(unit)
    return found
