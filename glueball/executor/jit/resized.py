"""A region for another size, from two that were built: the same units with other numbers.

The one idea: two regions with the same units, over the same expressions, differ in numbers alone: elements, rows,
strides, offsets. Where memory lies and how work is shared out is decided anew, as for a region that is built (memory,
encode). Not here: whether the numbers may be trusted for another size (executor/family.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias, final

from ..affine import Affine, Different, Line, value
from ..native.expression import Expr
from .region import Region
from .units import Buffer, Copy, Guard, Kernel, Kind, Product, Stored, Unit

__all__ = ["RegionForm"]

_Place: TypeAlias = "tuple[int, int, int, int, int, int]"  # buffer, then numbers: see Stored
_Results: TypeAlias = "list[tuple[Expr, int]]"  # places


class _Kernel(NamedTuple):
    """A kernel in numbers of numbers, buffers and places. operands : buffer, offset, stride, kind, index"""

    old: Kernel
    size: int
    columns: int | None
    operands: list[tuple[int, int, int, Kind, int]]
    groups: tuple[_Results, _Results, _Results]


class _Product(NamedTuple):
    """A product: m, n, k, count, steps, inner and leaps; left, right and result."""

    old: Product
    numbers: list[int]
    places: list[int]


class _Copy(NamedTuple):
    """A copy: its axes, three numbers each; source and result."""

    old: Copy
    numbers: list[int]
    places: tuple[int, int]


class _Guard(NamedTuple):
    """A guard, and the place of its flag."""

    old: Guard
    flag: int


_Form: TypeAlias = "_Kernel | _Product | _Copy | _Guard"


@final
class RegionForm:
    """What two regions have in common.

    Raises
    ------
    Different : they have more than sizes to tell them apart
    """

    def __init__(self, one: Region, two: Region, line: Line) -> None:
        if len(one.plain) != len(two.plain) or one.dtype != two.dtype or len(one.nodes) != len(two.nodes):
            raise Different("units")
        self.base, self._line = one, line
        self._numbers: dict[int | Affine, int] = {}
        self._buffers: dict[Buffer, tuple[int, Buffer, int]] = {}  # number, its twin, elements
        self._places: dict[_Place, int] = {}
        self._units = [self._unit(a, b) for a, b in zip(one.plain, two.plain)]
        self._shapes = line.lift(one.shapes, two.shapes)

    def _number(self, a: int, b: int) -> int:
        return self._numbers.setdefault(self._line.number(a, b), len(self._numbers))

    def _buffer(self, a: Buffer, b: Buffer) -> int:
        known = self._buffers.get(a)
        if known is None:
            if (a.role, a.index, a.format) != (b.role, b.index, b.format):
                raise Different("memory")
            known = self._buffers[a] = len(self._buffers), b, self._number(a.elements, b.elements)
        if known[1] is not b:
            raise Different("memory")
        return known[0]

    def _place(self, a: Stored, b: Stored) -> int:
        number = self._number
        form = (self._buffer(a.buffer, b.buffer), number(a.offset, b.offset), number(a.rows, b.rows),
                number(a.columns, b.columns), number(a.stride, b.stride), number(a.ready, b.ready))  # fmt: skip
        return self._places.setdefault(form, len(self._places))

    def _unit(self, a: Unit, b: Unit) -> _Form:
        if isinstance(a, Kernel) and isinstance(b, Kernel):
            return self._kernel(a, b)
        if isinstance(a, Product) and isinstance(b, Product):
            if (a.turn_left, a.turn_right) != (b.turn_left, b.turn_right):
                raise Different("products")
            numbers = [self._number(x, y) for x, y in zip(_sizes(a), _sizes(b))]
            places = [self._place(x, y) for x, y in zip((a.left, a.right, a.result), (b.left, b.right, b.result))]
            return _Product(a, numbers, places)
        if isinstance(a, Copy) and isinstance(b, Copy) and len(a.axes) == len(b.axes):
            pairs = [(x, y) for mine, its in zip(a.axes, b.axes) for x, y in zip(mine, its)]
            places = (self._place(a.source, b.source), self._place(a.result, b.result))
            return _Copy(a, [self._number(x, y) for x, y in pairs], places)
        if isinstance(a, Guard) and isinstance(b, Guard) and a.what == b.what:
            return _Guard(a, self._place(a.flag, b.flag))
        raise Different("units")

    def _kernel(self, a: Kernel, b: Kernel) -> _Kernel:
        if (a.columns is None) != (b.columns is None) or len(a.inputs) != len(b.inputs):
            raise Different("kernels")
        operands: list[tuple[int, int, int, Kind, int]] = []
        for (one, index), (two, other) in zip(a.inputs.items(), b.inputs.items()):
            if index != other or one[3] != two[3] or (one[2] < 0) != (two[2] < 0):
                raise Different("operands")
            operands.append((self._buffer(one[0], two[0]), self._number(one[1], two[1]), self._number(one[2], two[2]),
                             one[3], index))  # fmt: skip
        groups = (self._results(a.outputs, b.outputs), self._results(a.row_outputs, b.row_outputs),
                  self._results(a.sums, b.sums))  # fmt: skip
        columns = None if a.columns is None or b.columns is None else self._number(a.columns, b.columns)
        return _Kernel(a, self._number(a.size, b.size), columns, operands, groups)

    def _results(self, mine: list[tuple[Expr, Stored]], its: list[tuple[Expr, Stored]]) -> _Results:
        if len(mine) != len(its) or any(x is not y for (x, _), (y, _) in zip(mine, its)):
            raise Different("expressions")
        return [(x, self._place(p, q)) for (x, p), (_, q) in zip(mine, its)]

    def at(self, size: int) -> Region:
        """Return the region for a size.

        Raises
        ------
        Different : some number makes no sense there
        """
        numbers = [form.base + form.slope * size if isinstance(form, Affine) else form for form in self._numbers]
        if any(found < (1 if isinstance(form, Affine) else -1) for found, form in zip(numbers, self._numbers)):
            raise Different("a size below 1")
        buffers = [Buffer(numbers[elements], old.role, old.index, old.format)
                   for old, (_, _, elements) in self._buffers.items()]  # fmt: skip
        places = [Stored(buffers[b], numbers[o], numbers[r], numbers[c], numbers[s], numbers[ready])
                  for b, o, r, c, s, ready in self._places]  # fmt: skip
        units = [_made(form, numbers, buffers, places) for form in self._units]
        return self.base.again(units, value(self._shapes, size))


def _sizes(unit: Product) -> tuple[int, ...]:
    return unit.m, unit.n, unit.k, unit.count, *unit.steps, unit.inner, *unit.leaps


def _made(form: _Form, numbers: Sequence[int], buffers: Sequence[Buffer],
          places: Sequence[Stored]) -> Unit:  # fmt: skip
    if isinstance(form, _Kernel):
        outputs, row_outputs, sums = ([(x, places[p]) for x, p in group] for group in form.groups)
        inputs: dict[tuple[Buffer, int, int, Kind], int] = {
            (buffers[b], numbers[o], numbers[s], kind): index for b, o, s, kind, index in form.operands
        }
        columns = None if form.columns is None else numbers[form.columns]
        return Kernel(form.old.number, numbers[form.size], columns, inputs, outputs, row_outputs, sums)
    old = form.old
    if isinstance(form, _Guard):
        return Guard(old.number, places[form.flag], form.old.what)
    if isinstance(form, _Copy):
        found = [numbers[number] for number in form.numbers]
        source, result = (places[place] for place in form.places)
        return Copy(old.number, source, result, tuple(zip(found[::3], found[1::3], found[2::3])))
    m, n, k, count, s0, s1, s2, inner, *leaps = [numbers[number] for number in form.numbers]
    left, right, result = [places[place] for place in form.places]
    return Product(old.number, m, n, k, left, right, form.old.turn_left, form.old.turn_right, result, count,
                   (s0, s1, s2), inner, (leaps[0], leaps[1], leaps[2]))  # fmt: skip
