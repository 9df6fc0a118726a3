"""A region's units as words for the driver: instructions, arguments of kernels, and which words are addresses.

The one idea: everything but addresses is known when a region is built, so it is written once; addresses are relocations
(word, base, bytes). The bases are: 0 the words themselves, 1 the scratch block, 2 … the inputs, then the outputs.

Not here: where scratch buffers lie (memory.py), who runs the words (driver.py).
"""

from __future__ import annotations

import ctypes
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeAlias, final

import torch

from ..native import expression as e
from ..native import machine
from ..native.compile import Kernel as Code
from ..native.compile import compiler, parallel
from ..native.copies import Copies
from ..native.emit import Segment
from ..native.panels import FewRows, Panels, best_height, panel_size, turned_height
from ..native.places import BLOCK, PARALLEL
from .driver import END, GUARD, KERNEL, PRODUCT
from .memory import Layout
from .units import Buffer, Copy, Guard, Kernel, Pack, Product, Stored, Unit

__all__ = ["Code", "Words", "encode"]

Operand: TypeAlias = "tuple[tuple[int, int], int]"  # base and bytes, row stride

_BLOCKS = 4  # of rows, per thread, where sums down the rows are shared out
_INSTRUCTION_WORDS = 6
_LARGE = 8_000_000  # multiplications from which a product keeps all threads busy by itself
_WORTH = 500_000  # below, waking threads costs more than they do
_PRODUCT_WORDS = 27
_ROWS_WORTH = 150_000  # multiplications of own code from which threads pay
_PACK_WORTH = 30_000  # elements of a weight


@final
@dataclass(slots=True)
class Words:
    """What the driver runs. words, relocations : see the module; scratch : bytes of the block; starts : the first word
    of each unit's instructions, and of the end; codes : words that are addresses of code, perhaps not compiled yet
    """

    words: array[int] = field(default_factory=lambda: array("q"))
    relocations: array[int] = field(default_factory=lambda: array("q"))
    scratch: int = 0
    starts: list[int] = field(default_factory=list)
    codes: list[tuple[int, Code]] = field(default_factory=list)

    def complete(self) -> None:
        """Wait for the code, and fill in where it is."""
        compiler().wait([code for _, code in self.codes])
        for word, code in self.codes:
            self.words[word] = code.address
        self.codes.clear()


@final
class _Encoder:
    def __init__(self, layout: Layout, inputs: int, dtype: torch.dtype) -> None:
        self.layout, self.inputs, self.dtype = layout, inputs, dtype
        self.itemsize = dtype.itemsize
        self.instructions: list[list[int]] = []
        self.arguments: list[int] = []
        self.found = Words(scratch=layout.size)
        self.pending: list[tuple[bool, int, int, int]] = []  # of an instruction?, word, base, bytes
        self.count = 0  # words of instructions so far

    def base(self, place: Stored | tuple[Buffer, int]) -> tuple[int, int]:
        """Return base and bytes of an array."""
        buffer, offset = (place.buffer, place.offset) if isinstance(place, Stored) else place
        if buffer.role == "scratch":
            return 1, self.layout.offsets[buffer] + offset * self.itemsize
        return 2 + buffer.index + (self.inputs if buffer.role == "output" else 0), offset * self.itemsize

    def add(self, words: list[int], addresses: dict[int, tuple[int, int]]) -> None:
        """Append an instruction; addresses : of its words, base and bytes."""
        for word, (base, more) in addresses.items():
            self.pending.append((True, self.count + word, base, more))
        self.instructions.append(words)
        self.count += len(words)

    def product(self, unit: Product) -> None:
        """Append a product: for a library that counts by columns the factors change places."""
        products = machine()
        assert products is not None  # the partition looked
        single = self.dtype is torch.float32
        one = struct.unpack("<q", struct.pack("<f4x", 1.0) if single else struct.pack("<d", 1.0))[0]
        size = self.itemsize
        left, right = unit.left, unit.right
        apart = [size * step for steps in (unit.steps, unit.leaps) for step in (steps[1], steps[0], steps[2])]
        self.add(
            [PRODUCT, _PRODUCT_WORDS, products[0 if single else 1], ord("T" if unit.turn_right else "N"),
             ord("T" if unit.turn_left else "N"), unit.n, unit.m, unit.k, one, 0,
             0, right.stride if right.rows > 1 else right.columns, 0, left.stride if left.rows > 1 else left.columns,
             0, unit.result.stride if unit.result.rows > 1 else unit.n, unit.count, *apart[:3],
             0, *_team(unit), unit.inner, *apart[3:]],
            {10: self.base(right), 12: self.base(left), 14: self.base(unit.result)},
        )  # fmt: skip

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
                   [self.base(unit.source), row_from, column_from, self.base(unit.result), row_to, column_to,
                    len(others), *(number for axis in reversed(others) for number in axis)])  # fmt: skip

    def packing(self, unit: Pack) -> None:
        """Append the packing of a weight."""
        shared = self._panels(unit.depth, unit.columns, unit.depth * unit.columns >= _PACK_WORTH)
        source = unit.source
        step = source.stride if source.rows > 1 else source.columns
        code = compiler().later(Panels(unit.turned), self.dtype)
        self._code(code, shared, [self.base(source), step, self.base(unit.result)])

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
        self._code(code, shared, [unit.m, self.base(left), *steps, self.base(packed), self.base(result), wide])

    def _panels(self, depth: int, columns: int, worth: bool) -> tuple[int, list[int]]:
        """Return threads, and the arguments that say how panels are shared out."""
        many, _ = panel_size(depth, columns, compiler().vector_bytes // self.itemsize)
        threads = min(torch.get_num_threads(), many) if worth and parallel() is not None else 1
        each = many if threads == 1 else -(-many // (2 * threads))
        return threads, [-(-many // each), each, many, depth, columns]

    def _code(self, code: Code, shared: tuple[int, list[int]], rest: Sequence[int | tuple[int, int]]) -> None:
        """Append a call of code whose arguments are numbers and addresses (base and bytes)."""
        at = len(self.arguments)
        self.arguments += [0, *shared[1]]
        for value in rest:
            if isinstance(value, tuple):
                self.pending.append((False, len(self.arguments), *value))
                value = 0
            self.arguments.append(value)
        self._instruction(code, shared[0], at)

    def kernel(self, unit: Kernel) -> None:
        """Append a kernel, and what its sums down the rows need."""
        columns = unit.size if unit.columns is None else unit.columns
        rows = unit.size // columns
        code, segment, flat, used = _code(unit, self.dtype)
        operands, sums = self._operands(unit, used, columns)
        if flat and all(stride == columns for _, stride in operands):
            rows, columns = 1, rows * columns
            operands = [(base, columns) for base, _ in operands]
        threads = torch.get_num_threads()
        if rows * columns * (code.cost + 4 * len(operands)) < PARALLEL or parallel() is None:
            threads = 1
        if threads == 1 or not sums:
            self._call(code, segment, rows, columns, operands, threads, rows if sums else 0)
            return
        # every block sums by itself; a second kernel adds up what they found
        height = -(-rows // (_BLOCKS * threads))
        blocks = -(-rows // height)
        partial = [(self._scratch(blocks * columns), columns) for _ in sums]
        first = len(segment.inputs) + len(segment.outputs)
        operands[first : first + len(sums)] = partial
        self._call(code, segment, rows, columns, operands, threads, height)
        adding = Segment((0,), frozenset(), (), row_sums=(e.input(0),), fresh=True)
        second = compiler().later(adding, self.dtype)
        for place, total in zip(partial, sums):
            self._call(second, adding, blocks, columns, [place, total], 1, blocks)

    def _scratch(self, elements: int) -> tuple[int, int]:
        """Return memory that only one kernel needs, behind the scratch block of all units."""
        offset = self.found.scratch
        self.found.scratch += -(-elements * self.itemsize // 64) * 64
        return 1, offset

    def _operands(self, unit: Kernel, used: Sequence[int], columns: int) -> tuple[list[Operand], list[Operand]]:
        """Return the operands of a kernel (base and bytes, row stride), and those of the sums alone."""
        inputs = list(unit.inputs)
        operands: list[Operand] = []
        for index in used:
            buffer, offset, stride, _kind = inputs[index]
            operands.append((self.base((buffer, offset)), columns if stride == -1 else stride))
        operands += [(self.base(place), columns if place.together else place.stride) for _, place in unit.outputs]
        sums = [(self.base(place), columns) for _, place in unit.sums]
        operands += sums
        operands += [(self.base(place), 1 if place.together else place.stride) for _, place in unit.row_outputs]
        return operands, sums

    def _call(self, code: Code, segment: Segment, rows: int, columns: int, operands: Sequence[Operand], threads: int,
              block_rows: int) -> None:  # fmt: skip
        """Append the call of a kernel; block_rows: of sums down the rows, 0: as is good for the threads."""
        height, width = block_rows or rows, columns
        if threads > 1 and not block_rows:
            height = max(1, min(-(-rows // threads), BLOCK // columns))
            width = columns if columns <= BLOCK or segment.whole_rows else BLOCK
        down, across = -(-rows // height), -(-columns // width)
        threads = min(threads, down * across)
        at = len(self.arguments)
        self.arguments += [0, rows, columns, height, width, down * across, across]
        for (base, more), stride in operands:
            self.pending.append((False, len(self.arguments), base, more))
            self.arguments += [0, stride]
        self._instruction(code, threads, at)

    def _instruction(self, code: Code, threads: int, at: int) -> None:
        """Append the instruction of a call whose arguments begin at a word."""
        team: Any = parallel()
        pool = _address(team) if threads > 1 else 0
        self.found.codes.append((self.count + 2, code))
        self.add([KERNEL, _INSTRUCTION_WORDS, 0, 0, threads, pool], {})
        self.pending.append((True, self.count - _INSTRUCTION_WORDS + 3, 0, -1 - at))

    def finish(self) -> Words:
        """Put the words together: instructions first, then arguments."""
        found = self.found
        for instruction in self.instructions:
            found.words.extend(instruction)
        found.words.extend([END, 2])
        found.starts.append(self.count)
        start = len(found.words)
        found.words.extend(self.arguments)
        for own, word, base, more in self.pending:
            if base == 0:
                more = (start - 1 - more) * 8
            found.relocations.extend((word if own else start + word, base, more))
        return found


_Known: TypeAlias = "tuple[Code, Segment, bool, tuple[int, ...]]"
_codes: dict[Any, _Known] = {}  # for kernels that have been met, by all that their code depends on


def _code(unit: Kernel, dtype: torch.dtype) -> _Known:
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
    encoder = _Encoder(layout, inputs, dtype)
    for unit in units:
        encoder.found.starts.append(encoder.count)
        if isinstance(unit, Product):
            if unit.packed is not None:
                encoder.few_rows(unit, unit.packed)
            else:
                encoder.product(unit)
        elif isinstance(unit, Copy):
            encoder.copy(unit)
        elif isinstance(unit, Pack):
            encoder.packing(unit)
        elif isinstance(unit, Guard):
            base, more = encoder.base(unit.flag)
            encoder.add([GUARD, 4, 0, unit.what + 1], {2: (base, more + dtype.itemsize - 4)})
        else:
            encoder.kernel(unit)
    return encoder.finish()
