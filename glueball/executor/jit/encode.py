"""A region's units as words for the driver: instructions, arguments of kernels, and which words are addresses.

The one idea: every unit becomes a piece by itself, in which addresses are left out: places are named by their order.

Not here: how pieces are put together (assemble.py), where scratch buffers lie (memory.py).
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from math import prod
from typing import Any, TypeAlias, final

import numpy as np
import torch

from ..native import expression as e
from ..native import machine
from ..native.compile import Kernel as Code
from ..native.compile import compiler, parallel
from ..native.copies import Copies
from ..native.emit import Segment
from ..native.panels import FewRows, Panels, best_height, panel_size, turned_height
from ..native.places import BLOCK, PARALLEL
from .assemble import Piece, Words, assemble
from .driver import GUARD, KERNEL, PRODUCT
from .memory import Layout
from .units import Buffer, Copy, Kernel, Pack, Product, Stored, Unit

__all__ = ["Encoder", "base_of", "code_of", "encode"]

Place: TypeAlias = "tuple[Buffer | None, int]"  # elements from a buffer's begin; None: bytes of the unit's own memory
Operand: TypeAlias = "tuple[Place, int]"  # place, row stride

_BLOCKS = 4  # of rows, per thread, where sums down the rows are shared out
_INSTRUCTION_WORDS = 6
_LARGE = 8_000_000  # multiplications from which a product keeps all threads busy by itself
_WORTH = 500_000  # below, waking threads costs more than they do
_PRODUCT_WORDS = 27
_ROWS_WORTH = 150_000  # multiplications of own code from which threads pay
_PACK_WORTH = 30_000  # elements of a weight


def _place(place: Stored) -> Place:
    return place.buffer, place.offset


@final
class Encoder:
    """Makes pieces, each from a unit."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype, self.itemsize = dtype, dtype.itemsize
        self.made = Piece()

    def piece(self, unit: Unit) -> Piece:
        """Return what a unit becomes."""
        made = self.made = Piece()
        if isinstance(unit, Kernel):
            self.kernel(unit)
        elif isinstance(unit, Copy):
            self.copy(unit)
        elif isinstance(unit, Product):
            if unit.packed is not None:
                self.few_rows(unit, unit.packed)
            else:
                self.product(unit)
        elif isinstance(unit, Pack):
            self.packing(unit)
        else:
            made.instructions += [GUARD, 4, 0, unit.what + 1]
            self._address(True, 2, _place(unit.flag), self.itemsize - 4)
        return made

    def _address(self, instruction: bool, word: int, place: Place, more: int = 0) -> None:
        """Let a word be the address of a place, and so many bytes more."""
        buffer, offset = place
        if buffer is None:
            self.made.own.append((instruction, word, offset))
        else:
            self.made.places.append((buffer, offset))
            self.made.addresses.append((instruction, word, more))

    def product(self, unit: Product) -> None:
        """Append a product: for a library that counts by columns the factors change places."""
        products = machine()
        assert products is not None  # the partition looked
        single = self.dtype is torch.float32
        one = struct.unpack("<q", struct.pack("<f4x", 1.0) if single else struct.pack("<d", 1.0))[0]
        size = self.itemsize
        left, right = unit.left, unit.right
        apart = [size * step for steps in (unit.steps, unit.leaps) for step in (steps[1], steps[0], steps[2])]
        self.made.instructions += [
            PRODUCT, _PRODUCT_WORDS, products[0 if single else 1], ord("T" if unit.turn_right else "N"),
            ord("T" if unit.turn_left else "N"), unit.n, unit.m, unit.k, one, 0,
            0, right.stride if right.rows > 1 else right.columns, 0, left.stride if left.rows > 1 else left.columns,
            0, unit.result.stride if unit.result.rows > 1 else unit.n, unit.count, *apart[:3],
            0, *_team(unit), unit.inner, *apart[3:],
        ]  # fmt: skip
        for word, place in ((10, right), (12, left), (14, unit.result)):
            self._address(True, word, _place(place))

    def copy(self, unit: Copy) -> None:
        """Append a copy: the last axis is the columns, the longest of the others the rows."""
        *others, (columns, column_from, column_to) = unit.axes
        others = others or [(1, 0, 0)]
        rows, row_from, row_to = max(others, key=lambda axis: axis[0])
        others.remove((rows, row_from, row_to))
        outer = prod(size for size, *_ in others)
        threads = torch.get_num_threads()
        if outer * rows * columns < _PACK_WORTH or parallel() is None:
            threads = 1
        height = rows if threads == 1 else -(-rows // -(-2 * threads // outer))
        down = -(-rows // height)
        threads = min(threads, outer * down)
        code = compiler().later(Copies(column_from == column_to == 1), self.dtype)
        self._code(code, (threads, [outer * down, down, height, rows, columns]),
                   [_place(unit.source), row_from, column_from, _place(unit.result), row_to, column_to,
                    len(others), *(number for axis in reversed(others) for number in axis)])  # fmt: skip

    def packing(self, unit: Pack) -> None:
        """Append the packing of a weight."""
        shared = self._panels(unit.depth, unit.columns, unit.depth * unit.columns >= _PACK_WORTH)
        source = unit.source
        step = source.stride if source.rows > 1 else source.columns
        code = compiler().later(Panels(unit.turned), self.dtype)
        self._code(code, shared, [_place(source), step, _place(unit.result)])

    def few_rows(self, unit: Product, packed: Stored) -> None:
        """Append a product with a weight in order."""
        shared = self._panels(unit.k, unit.n, unit.m * unit.k * unit.n >= _ROWS_WORTH)
        left, result, lanes = unit.packed_left or unit.left, unit.result, compiler().vector_bytes
        wide = result.stride if result.rows > 1 else unit.n
        if unit.packed_left is not None:  # columns of panels
            panel = 2 * lanes // self.itemsize
            height, steps = turned_height(lanes), [1, panel, panel_size(unit.k, unit.m, panel // 2)[1], unit.m - 1]
        else:
            step = left.stride if left.rows > 1 else left.columns
            height = best_height(unit.m, lanes)
            steps = [step, 1, 2 * lanes // self.itemsize * step, unit.m - height]
        code = compiler().later(FewRows(height), self.dtype)
        self._code(code, shared, [unit.m, _place(left), *steps, _place(packed), _place(result), wide])

    def _panels(self, depth: int, columns: int, worth: bool) -> tuple[int, list[int]]:
        """Return threads, and the arguments that say how panels are shared out."""
        many, _ = panel_size(depth, columns, compiler().vector_bytes // self.itemsize)
        threads = min(torch.get_num_threads(), many) if worth and parallel() is not None else 1
        each = many if threads == 1 else -(-many // (2 * threads))
        return threads, [-(-many // each), each, many, depth, columns]

    def _code(self, code: Code, shared: tuple[int, list[int]], rest: Sequence[int | Place]) -> None:
        """Append a call of code whose arguments are numbers and addresses."""
        made = self.made
        at = len(made.arguments)
        made.arguments += [0, *shared[1]]
        for value in rest:
            if isinstance(value, tuple):
                self._address(False, len(made.arguments), value)
                value = 0
            made.arguments.append(value)
        self._call(code, shared[0], at)

    def kernel(self, unit: Kernel) -> None:
        """Append a kernel, and what its sums down the rows need."""
        columns = unit.size if unit.columns is None else unit.columns
        rows = unit.size // columns
        code, segment, flat, used = code_of(unit, self.dtype)
        operands, sums = self._operands(unit, used, columns)
        if flat and all(stride == columns for _, stride in operands):
            rows, columns = 1, rows * columns
            operands = [(place, columns) for place, _ in operands]
        threads = torch.get_num_threads()
        if rows * columns * (code.cost + 4 * len(operands)) < PARALLEL or parallel() is None:
            threads = 1
        if threads == 1 or not sums:
            self._rows(code, segment, rows, columns, operands, threads, rows if sums else 0)
            return
        # every block sums by itself; a second kernel adds up what they found
        height = -(-rows // (_BLOCKS * threads))
        blocks = -(-rows // height)
        partial: list[Operand] = [((None, self.made.reserve(blocks * columns * self.itemsize)), columns) for _ in sums]
        first = len(segment.inputs) + len(segment.outputs)
        operands[first : first + len(sums)] = partial
        self._rows(code, segment, rows, columns, operands, threads, height)
        adding = Segment((0,), frozenset(), (), row_sums=(e.input(0),), fresh=True)
        second = compiler().later(adding, self.dtype)
        for place, total in zip(partial, sums):
            self._rows(second, adding, blocks, columns, [place, total], 1, blocks)

    def _operands(self, unit: Kernel, used: Sequence[int], columns: int) -> tuple[list[Operand], list[Operand]]:
        """Return the operands of a kernel, and those of the sums alone."""
        inputs = list(unit.inputs)
        operands: list[Operand] = []
        for index in used:
            buffer, offset, stride, _kind = inputs[index]
            operands.append(((buffer, offset), columns if stride == -1 else stride))
        operands += [(_place(place), columns if place.together else place.stride) for _, place in unit.outputs]
        sums: list[Operand] = [(_place(place), columns) for _, place in unit.sums]
        operands += sums
        operands += [(_place(place), 1 if place.together else place.stride) for _, place in unit.row_outputs]
        return operands, sums

    def _rows(self, code: Code, segment: Segment, rows: int, columns: int, operands: Sequence[Operand], threads: int,
              block_rows: int) -> None:  # fmt: skip
        """Append the call of a kernel; block_rows: of sums down the rows, 0: as is good for the threads."""
        height, width = block_rows or rows, columns
        if threads > 1 and not block_rows:
            height = max(1, min(-(-rows // threads), BLOCK // columns))
            width = columns if columns <= BLOCK or segment.whole_rows else BLOCK
        down, across = -(-rows // height), -(-columns // width)
        threads = min(threads, down * across)
        arguments = self.made.arguments
        at = len(arguments)
        arguments += [0, rows, columns, height, width, down * across, across]
        for place, stride in operands:
            self._address(False, len(arguments), place)
            arguments += [0, stride]
        self._call(code, threads, at)

    def _call(self, code: Code, threads: int, at: int) -> None:
        """Append the instruction of a call whose arguments begin at a word."""
        made, team = self.made, parallel()
        begin = len(made.instructions)
        made.codes.append((begin + 2, code))
        made.calls.append((begin + 3, at))
        made.instructions += [KERNEL, _INSTRUCTION_WORDS, 0, 0, threads, _address(team) if threads > 1 else 0]


_Known: TypeAlias = "tuple[Code, Segment, bool, tuple[int, ...]]"
_codes: dict[Any, _Known] = {}  # for kernels that have been met, by all that their code depends on


def code_of(unit: Kernel, dtype: torch.dtype) -> _Known:
    """Return the code of a kernel, what it was made of, whether its rows may be taken for one, and the inputs it reads:
    begun to be compiled when it is met for the first time in a process.
    """
    outputs, sums, numbers = [tuple([x for x, _ in results]) for results in (unit.outputs, unit.sums, unit.row_outputs)]
    kinds = tuple([(kind in ("column", "one"), buffer.format) for buffer, _, _, kind in unit.inputs])
    key = outputs, sums, numbers, kinds, dtype
    known = _codes.get(key)
    if known is None:
        used = e.inputs_of([*outputs, *sums, *numbers])
        own = str(dtype).removeprefix("torch.")
        formats = [kinds[i][1] for i in used] + [None] * (len(outputs) + len(sums) + len(numbers))
        singles = frozenset(i for i in used if kinds[i][0])
        segment = Segment(tuple(used), singles, outputs, sums, numbers=numbers, fresh=bool(sums),
                          formats=tuple(f or own for f in formats) if any(formats) else ())  # fmt: skip
        known = _codes[key] = compiler().later(segment, dtype), segment, segment.flat, tuple(used)
    return known


def _team(unit: Product) -> tuple[int, int]:
    """Return how many threads share out the matrices of a product, and their pool: the library's own threads gain
    little from small ones.
    """
    threads, team = torch.get_num_threads(), parallel()
    one = unit.m * unit.n * unit.k
    if team is None or not 2 <= threads <= unit.count or one > _LARGE or one * unit.count < _WORTH:
        return 1, 0
    return threads, _address(team)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def encode(units: Sequence[Unit], layout: Layout, inputs: int, dtype: torch.dtype) -> Words:
    """Return a region's units as words; begins to compile the kernels.

    inputs : how many inputs the region has
    """
    encoder = Encoder(dtype)
    pieces = [encoder.piece(unit) for unit in units]
    found: list[tuple[int, int]] = []  # bases and bytes
    for buffer, offset in (place for piece in pieces for place in piece.places):
        found.append((base_of(buffer, inputs), layout.offsets.get(buffer, 0) + offset * dtype.itemsize))
    bases, offsets = np.array(found, np.int64).reshape(-1, 2).T
    return assemble(pieces, np.arange(len(pieces)), bases, offsets, layout.size)


def base_of(buffer: Buffer, inputs: int) -> int:
    """Return which base a buffer's addresses are counted from. inputs : how many inputs the region has"""
    return 1 if buffer.role == "scratch" else 2 + buffer.index + (inputs if buffer.role == "output" else 0)
