"""The words of a region for a size, from forms: what does not depend on the size is decided before.

The one idea: which products are done by own code is asked for every size; for each answer there is one arrangement:
the order of units, who lives when, which units are done alike. What is left for a size is a table of numbers, memory,
one piece for each kind of unit, and addresses as one sum over all units.

Not here: forms (forms.py), pieces (encode.py).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import final

import numpy as np
import torch

from ..native.panels import panel_size
from .assemble import Integers, Piece, Words, assemble, gathered
from .encode import Encoder, base_of
from .forms import Form, KernelForm, PackForm, Place, ProductForm, key_of, operands_of, sample
from .memory import Lives, Writing
from .pack import Choice, Factors
from .units import Buffer

__all__ = ["Arrangement", "factors"]


def factors(form: ProductForm, numbers: Sequence[int], places: Sequence[Place]) -> Factors:
    """Return what decides how a product is done for a size."""
    m, n, k, count = (numbers[number] for number in form.numbers[:4])
    (b, o, _, _, s, _), (c, p, _, _, t, _) = (places[place] for place in form.places[:2])
    return Factors(m, n, k, count, form.old.turn_left, form.old.turn_right, (b, numbers[o], numbers[s]),
                   (c, numbers[p], numbers[t]))  # fmt: skip


@final
class Arrangement:
    """The units of a region where its products are done in certain ways.

    buffers : any that is like each; elements : their sizes, as numbers; choices : of the products; inputs : how many
    inputs the region has; lanes : numbers of a vector
    """

    def __init__(self, forms: Sequence[Form], places: Sequence[Place], buffers: Sequence[Buffer],
                 elements: Sequence[int], choices: Sequence[Choice], inputs: int, dtype: torch.dtype,
                 lanes: int) -> None:  # fmt: skip
        self._places, self._dtype, self._lanes = places, dtype, lanes
        self._elements = list(enumerate(elements))
        self._formats = [buffer.format for buffer in buffers]
        self._bases = np.array([base_of(buffer, inputs) for buffer in buffers], np.int64)
        self._panels: list[tuple[int, int, int]] = []  # buffer, depth, columns
        units = self._packed(forms, choices, len(buffers))
        scratch = {n for n, buffer in enumerate(buffers) if buffer.role == "scratch"} | {b for b, *_ in self._panels}
        self._scratch = np.array(sorted(scratch), np.int64)
        operands = [operands_of(form, places) for form in units]
        self._operands = [np.array([pair[k] for own in operands for pair in own], np.int64) for k in range(2)]
        self._starts = np.cumsum([0, *map(len, operands)])[:-1]
        self._lives = Lives(
            [[b for b in _touched(form, places) if b in scratch] for form in units],
            {n: _writing(form, places) for n, form in enumerate(units) if isinstance(form, KernelForm)},
        )
        kinds: dict[Hashable, int] = {}
        self._which = np.array([kinds.setdefault(key_of(form, places, dtype), len(kinds)) for form in units], np.int64)
        first: dict[int, Form] = {}
        for kind, form in zip(self._which.tolist(), units):
            first.setdefault(kind, form)
        self._samples = list(first.values())

    def _packed(self, forms: Sequence[Form], choices: Sequence[Choice], count: int) -> list[Form]:
        """Return the forms with those that pack weights."""
        each = iter(choices)
        units: list[Form] = []
        for form in forms:
            if not isinstance(form, ProductForm):
                units.append(form)
                continue
            (m, n, k), choice = form.numbers[:3], next(each)
            wanted = zip(choice, (form.places[1], form.places[0]), (form.old.turn_right, False), (n, m))
            for which, place, turned, columns in wanted:
                if which == len(self._panels):
                    self._panels.append((count + which, k, columns))
                    units.append(PackForm(place, turned, k, columns, count + which))
            right, left = (count + which if which >= 0 else -1 for which in choice)
            units.append(form._replace(packed=(right, left)))
        self._formats += [None] * len(self._panels)
        self._bases = np.concatenate([self._bases, np.ones(len(self._panels), np.int64)])
        return units

    def words(self, numbers: Sequence[int]) -> Words:
        """Return the words for a size."""
        elements = {buffer: numbers[number] for buffer, number in self._elements}
        for buffer, depth, columns in self._panels:
            many, each = panel_size(numbers[depth], numbers[columns], self._lanes)
            elements[buffer] = many * each
        writings = [
            Writing(numbers[size], None if columns is None else numbers[columns],
                    [(b, numbers[o], numbers[s]) for b, o, s in operands], targets)
            for size, columns, operands, targets in self._lives.writings
        ]  # fmt: skip
        itemsize = self._dtype.itemsize
        offsets, size, _ = self._lives.place(elements, writings, itemsize)
        begins = np.zeros(len(self._bases), np.int64)
        begins[self._scratch] = [offsets.get(buffer, 0) for buffer in self._scratch.tolist()]
        encoder = Encoder(self._dtype)
        pieces, named = list(zip(*(self._piece(encoder, form, numbers) for form in self._samples)))
        chosen, counts = gathered(named, self._which)
        chosen += np.repeat(self._starts, counts)
        buffers, places = (column[chosen] for column in self._operands)
        table: Integers = np.array(numbers, np.int64)
        return assemble(pieces, self._which, self._bases[buffers], begins[buffers] + table[places] * itemsize, size)

    def _piece(self, encoder: Encoder, form: Form, numbers: Sequence[int]) -> tuple[Piece, list[int]]:
        """Return the piece of a form, and which operands its words name."""
        unit, own = sample(form, numbers, self._places, self._formats)
        piece = encoder.piece(unit)
        return piece, [own[buffer] for buffer, _ in piece.places]


def _touched(form: Form, places: Sequence[Place]) -> list[int]:
    """Return the buffers of a unit: see memory.py."""
    found = [buffer for buffer, _ in operands_of(form, places)]
    if isinstance(form, ProductForm):
        left, right, result = found[:3]
        packed, packed_left = form.packed
        return [packed_left if packed_left >= 0 else left, packed if packed >= 0 else right, result]
    return found


def _writing(form: KernelForm, places: Sequence[Place]) -> Writing[int]:
    """Return what decides whether a kernel's results may lie over its operands, in places of numbers."""
    readings = [buffer for buffer, *_ in form.operands]
    operands = [(b, o, s) for b, o, s, kind, _ in form.operands if kind == "full" and readings.count(b) == 1]
    return Writing(form.size, form.columns, operands, [places[p][0] for _, p in form.groups[0]])
