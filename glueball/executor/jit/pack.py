"""Which products of a region are done by own code, with weights that are put in order once per call (native/panels.py).

The one idea: bringing a weight into order costs as much as a few rows of a product with it, so it pays where the
products with a weight have rows enough between them; a weight that many steps share is packed once. For a weight's
gradient (a turned left operand) of a batch that is not too large both operands are packed. All other products (many
small ones in one; a few columns) are the library's.

Not here: the code (native/panels.py), its arguments (encode.py).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple, TypeAlias

from ..native.panels import SIDE, panel_size
from .units import Buffer, Pack, Product, Stored, Unit

__all__ = ["Choice", "Factors", "choose", "pack"]

_ROWS = 16  # of all products with a weight, from which packing it pays
_COLUMNS = 8  # fewer would leave most of a panel empty
_MANY_ROWS = 256  # beyond which a weight of a single panel would leave threads without work
_DEEPEST = 4096  # a panel stays in the cache of a core
_SHALLOW = 256  # rows behind a weight's gradient, beyond which packing both operands takes longer than it saves
_LARGEST = 1 << 22  # elements: packing takes as much memory as the weight

Choice: TypeAlias = "tuple[int, int]"  # of a product: its right operand's panels and those of a turned left one; or -1


class Factors(NamedTuple):
    """What decides how a product is done. left, right : buffer, offset, stride"""

    m: int
    n: int
    k: int
    count: int
    turn_left: bool
    turn_right: bool
    left: tuple[Hashable, int, int]
    right: tuple[Hashable, int, int]


def _fits(unit: Factors, lanes: int, threads: int) -> bool:
    panels, _ = panel_size(unit.k, unit.n, lanes)
    return (unit.count == 1 and unit.n >= _COLUMNS and SIDE <= unit.k <= _DEEPEST and unit.k * unit.n <= _LARGEST
            and (not unit.turn_left or (unit.m >= _ROWS and unit.k <= _SHALLOW))
            and (panels >= threads or unit.m <= _MANY_ROWS))  # fmt: skip


def choose(products: Sequence[Factors], lanes: int, threads: int) -> list[Choice]:
    """Return which panels every product takes; panels are numbered in the order of their first use.

    lanes : numbers of a vector; threads : that share the work
    """
    keys: list[Hashable] = []
    rows: dict[Hashable, int] = {}
    for unit in products:
        key = (unit.right, unit.turn_right, unit.k, unit.n) if _fits(unit, lanes, threads) else None
        keys.append(key)
        rows[key] = rows.get(key, 0) + unit.m
    made: dict[Hashable, int] = {}
    found: list[Choice] = []
    for unit, key in zip(products, keys):
        right = left = -1
        if key is not None and rows[key] >= _ROWS:
            right = made.setdefault(key, len(made))
            if unit.turn_left:
                left = made.setdefault((unit.left, False, unit.k, unit.m), len(made))
        found.append((right, left))
    return found


def pack(units: Sequence[Unit], lanes: int, threads: int) -> list[Unit]:
    """Return the units with those that pack weights before the first product that uses each; numbers them anew."""
    products = [unit for unit in units if isinstance(unit, Product)]
    choices = iter(choose([_factors(unit) for unit in products], lanes, threads))
    made: list[Stored] = []
    found: list[Unit] = []

    def packed(which: int, place: Stored, turned: bool, depth: int, columns: int) -> Stored | None:
        if which == len(made):
            panels, size = panel_size(depth, columns, lanes)
            made.append(Stored(Buffer(panels * size), 0, 1, panels * size, panels * size, len(found)))
            found.append(Pack(len(found), place, turned, depth, columns, made[-1]))
        return made[which] if which >= 0 else None

    for unit in units:
        if isinstance(unit, Product):
            right, left = next(choices)
            unit.packed = packed(right, unit.right, unit.turn_right, unit.k, unit.n)
            unit.packed_left = packed(left, unit.left, False, unit.k, unit.m)
        unit.number = len(found)
        found.append(unit)
    return found


def _factors(unit: Product) -> Factors:
    left, right = ((place.buffer, place.offset, place.stride) for place in (unit.left, unit.right))
    return Factors(unit.m, unit.n, unit.k, unit.count, unit.turn_left, unit.turn_right, left, right)
