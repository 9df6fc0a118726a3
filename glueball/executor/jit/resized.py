"""A region for another size, from two that were built: the same units with other numbers.

The one idea: two regions with the same units, over the same expressions, differ in numbers alone: elements, rows,
strides, offsets. Where memory lies and how work is shared out is decided anew, as for a region that is built (memory,
encode), but once for all units that are alike (arrangement). The units themselves are made when somebody looks at them.
Not here: whether the numbers may be trusted for another size (executor/family.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import final

import torch

from ..affine import Affine, Different, Line, value
from ..native.compile import compiler
from ..native.expression import Expr
from ..native.panels import FewRows, heights
from .arrangement import Arrangement, factors
from .forms import ZERO, CopyForm, Form, GuardForm, KernelForm, Place, ProductForm, Results, made
from .pack import Choice, choose
from .region import Region
from .units import Buffer, Copy, Guard, Kernel, Kind, Product, Stored, Unit

__all__ = ["RegionForm"]


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
        self._numbers: dict[int | Affine, int] = {0: ZERO}
        self._buffers: dict[Buffer, tuple[int, Buffer, int]] = {}  # number, its twin, elements
        self._places: dict[Place, int] = {}
        self._units = [self._unit(a, b) for a, b in zip(one.plain, two.plain)]
        self._products = [unit for unit in self._units if isinstance(unit, ProductForm)]
        self._table = list(self._places)
        shapes = line.lift(one.shapes, two.shapes)
        self._shapes = list(dict.fromkeys(shapes))  # a few, of many results
        self._shape_of = [self._shapes.index(shape) for shape in shapes]
        self._arrangements: dict[tuple[Choice, ...], Arrangement] = {}
        self._prepare()

    def _prepare(self) -> None:
        """Arrange the units as they were in the first region, and let code be compiled for any number of rows."""
        numbers = list(self._numbers)
        self._arrangement(self._at(self._line.one))
        if any(u.packed is not None and not u.turn_left for u in self.base.units if isinstance(u, Product)) and any(
            isinstance(numbers[product.numbers[0]], Affine) for product in self._products
        ):
            for height in heights(compiler().vector_bytes):
                compiler().some_day(FewRows(height), self.base.dtype)
            compiler().begin()

    def _at(self, size: int) -> list[int]:
        return [form.base + form.slope * size if isinstance(form, Affine) else form for form in self._numbers]

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

    def _unit(self, a: Unit, b: Unit) -> Form:
        if isinstance(a, Kernel) and isinstance(b, Kernel):
            return self._kernel(a, b)
        if isinstance(a, Product) and isinstance(b, Product):
            if (a.turn_left, a.turn_right) != (b.turn_left, b.turn_right):
                raise Different("products")
            numbers = [self._number(x, y) for x, y in zip(_sizes(a), _sizes(b))]
            places = [self._place(x, y) for x, y in zip((a.left, a.right, a.result), (b.left, b.right, b.result))]
            return ProductForm(a, numbers, places)
        if isinstance(a, Copy) and isinstance(b, Copy) and len(a.axes) == len(b.axes):
            pairs = [(x, y) for mine, its in zip(a.axes, b.axes) for x, y in zip(mine, its)]
            places = (self._place(a.source, b.source), self._place(a.result, b.result))
            return CopyForm(a, [self._number(x, y) for x, y in pairs], places)
        if isinstance(a, Guard) and isinstance(b, Guard) and a.what == b.what:
            return GuardForm(a, self._place(a.flag, b.flag))
        raise Different("units")

    def _kernel(self, a: Kernel, b: Kernel) -> KernelForm:
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
        return KernelForm(a, self._number(a.size, b.size), columns, operands, groups)

    def _results(self, mine: list[tuple[Expr, Stored]], its: list[tuple[Expr, Stored]]) -> Results:
        if len(mine) != len(its) or any(x is not y for (x, _), (y, _) in zip(mine, its)):
            raise Different("expressions")
        return [(x, self._place(p, q)) for (x, p), (_, q) in zip(mine, its)]

    def at(self, size: int) -> Region:
        """Return the region for a size.

        Raises
        ------
        Different : some number makes no sense there
        """
        numbers = self._at(size)
        if any(found < (1 if isinstance(form, Affine) else -1) for found, form in zip(numbers, self._numbers)):
            raise Different("a size below 1")
        words = self._arrangement(numbers).words(numbers)
        compiler().begin()
        shapes = [value(shape, size) for shape in self._shapes]
        return self.base.again(partial(self._plain, numbers), words, [shapes[number] for number in self._shape_of])

    def _arrangement(self, numbers: Sequence[int]) -> Arrangement:
        """Return the arrangement for a size."""
        dtype, threads = self.base.dtype, torch.get_num_threads()
        lanes = compiler().vector_bytes // dtype.itemsize
        choices = choose([factors(form, numbers, self._table) for form in self._products], lanes, threads)
        key = tuple(choices)
        found = self._arrangements.get(key)
        if found is None:
            elements = [number for _, _, number in self._buffers.values()]
            found = Arrangement(self._units, self._table, list(self._buffers), elements, choices,
                                len(self.base.inputs), dtype, lanes)  # fmt: skip
            self._arrangements[key] = found
        return found

    def _plain(self, numbers: Sequence[int]) -> list[Unit]:
        """Return the units for a size."""
        buffers = [Buffer(numbers[elements], old.role, old.index, old.format)
                   for old, (_, _, elements) in self._buffers.items()]  # fmt: skip
        places = [Stored(buffers[b], numbers[o], numbers[r], numbers[c], numbers[s], numbers[ready])
                  for b, o, r, c, s, ready in self._table]  # fmt: skip
        return [made(form, numbers, places.__getitem__, buffers.__getitem__) for form in self._units]


def _sizes(unit: Product) -> tuple[int, ...]:
    return unit.m, unit.n, unit.k, unit.count, *unit.steps, unit.inner, *unit.leaps
