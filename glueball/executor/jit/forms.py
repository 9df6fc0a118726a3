"""Units whose numbers, arrays and memory are places in tables: what the units of a region are for any size.

The one idea: a form and tables for one size are a unit. Forms with one key become the same words but for addresses, so
that only one of them has to be written down for a size.

Not here: how forms are found (resized.py), how they become words (arrangement.py).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeAlias

import torch

from ..native.expression import Expr
from .encode import code_of
from .units import Buffer, Copy, Guard, Kernel, Kind, Operand, Pack, Product, Stored, Unit

__all__ = ["ZERO", "CopyForm", "Form", "GuardForm", "KernelForm", "PackForm", "Place", "ProductForm", "Results",
           "key_of", "made", "operands_of", "sample"]  # fmt: skip

Place: TypeAlias = "tuple[int, int, int, int, int, int]"  # buffer, then numbers: see Stored
Results: TypeAlias = "list[tuple[Expr, int]]"  # places

ZERO = 0  # the place of the number 0


class KernelForm(NamedTuple):
    """A kernel in numbers of numbers, buffers and places. operands : buffer, offset, stride, kind, index"""

    old: Kernel
    size: int
    columns: int | None
    operands: list[tuple[int, int, int, Kind, int]]
    groups: tuple[Results, Results, Results]


class ProductForm(NamedTuple):
    """A product: m, n, k, count, steps, inner and leaps; left, right and result; buffers of panels, if there are."""

    old: Product
    numbers: list[int]
    places: list[int]
    packed: tuple[int, int] = (-1, -1)


class CopyForm(NamedTuple):
    """A copy: its axes, three numbers each; source and result."""

    old: Copy
    numbers: list[int]
    places: tuple[int, int]


class GuardForm(NamedTuple):
    """A guard, and the place of its flag."""

    old: Guard
    flag: int


class PackForm(NamedTuple):
    """The packing of a weight. result : a buffer"""

    source: int
    turned: bool
    depth: int
    columns: int
    result: int


Form: TypeAlias = "KernelForm | ProductForm | CopyForm | GuardForm | PackForm"


def operands_of(form: Form, places: Sequence[Place]) -> list[tuple[int, int]]:
    """Return buffers and offsets of what a unit reads and writes, in the order in which `made` asks for them."""
    if isinstance(form, KernelForm):
        results = [place for group in form.groups for _, place in group]
        return [*((buffer, offset) for buffer, offset, *_ in form.operands), *(places[p][:2] for p in results)]
    if isinstance(form, ProductForm):
        return [*(places[p][:2] for p in form.places), *((buffer, ZERO) for buffer in form.packed if buffer >= 0)]
    if isinstance(form, CopyForm):
        return [places[p][:2] for p in form.places]
    return [places[form.flag][:2]] if isinstance(form, GuardForm) else [places[form.source][:2], (form.result, ZERO)]


def key_of(form: Form, places: Sequence[Place], dtype: torch.dtype) -> Hashable:
    """Return what a unit's words depend on, but for addresses: equal for forms that are done alike for every size."""

    def shapes(own: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        return tuple([places[p][2:5] for p in own])

    if isinstance(form, KernelForm):
        kinds = tuple([(stride, kind) for _, _, stride, kind, _ in form.operands])
        results = tuple([shapes([p for _, p in group]) for group in form.groups])
        return id(code_of(form.old, dtype)), form.size, form.columns, kinds, results
    if isinstance(form, ProductForm):
        ways = form.old.turn_left, form.old.turn_right, *(buffer >= 0 for buffer in form.packed)
        return "product", tuple(form.numbers), shapes(form.places), ways
    if isinstance(form, CopyForm):
        return "copy", tuple(form.numbers)
    if isinstance(form, GuardForm):
        return "guard", form.old.what
    return "pack", shapes([form.source]), form.turned, form.depth, form.columns


def made(form: Form, numbers: Sequence[int], stored: Callable[[int], Stored], buffer: Callable[[int], Buffer]) -> Unit:
    """Return the unit for a size; its number is not known yet. stored, buffer : give places and buffers"""
    if isinstance(form, KernelForm):
        inputs: dict[Operand, int] = {
            (buffer(b), numbers[o], numbers[s], kind): index for b, o, s, kind, index in form.operands
        }
        outputs, row_outputs, sums = ([(x, stored(p)) for x, p in group] for group in form.groups)
        columns = None if form.columns is None else numbers[form.columns]
        return Kernel(0, numbers[form.size], columns, inputs, outputs, row_outputs, sums)
    if isinstance(form, GuardForm):
        return Guard(0, stored(form.flag), form.old.what)
    if isinstance(form, CopyForm):
        found = [numbers[number] for number in form.numbers]
        return Copy(0, stored(form.places[0]), stored(form.places[1]), tuple(zip(found[::3], found[1::3], found[2::3])))
    if isinstance(form, PackForm):
        source, result = stored(form.source), Stored(buffer(form.result), 0, 1, 1, 1, 0)
        return Pack(0, source, form.turned, numbers[form.depth], numbers[form.columns], result)
    m, n, k, count, s0, s1, s2, inner, *leaps = [numbers[number] for number in form.numbers]
    left, right, result = [stored(place) for place in form.places]
    panels = [Stored(buffer(b), 0, 1, 1, 1, 0) if b >= 0 else None for b in form.packed]
    return Product(0, m, n, k, left, right, form.old.turn_left, form.old.turn_right, result, count,
                   (s0, s1, s2), inner, (leaps[0], leaps[1], leaps[2]), *panels)  # fmt: skip


def sample(form: Form, numbers: Sequence[int], places: Sequence[Place],
           formats: Sequence[str | None]) -> tuple[Unit, dict[Buffer, int]]:  # fmt: skip
    """Return a unit of which every operand has a buffer of its own, and which of `operands_of` has each.

    formats : of buffers
    """
    own: dict[Buffer, int] = {}

    def buffer(number: int) -> Buffer:
        found = Buffer(0, "scratch", -1, formats[number])
        own[found] = len(own)
        return found

    def stored(number: int) -> Stored:
        b, _, rows, columns, stride, _ = places[number]
        return Stored(buffer(b), 0, numbers[rows], numbers[columns], numbers[stride], 0)

    return made(form, numbers, stored, buffer), own
