"""Pieces, one for each unit, put together as the words of a region.

The one idea: everything but addresses is known when a region is built, so it is written once; addresses are relocations
(word, base, bytes). The bases are: 0 the words themselves, 1 the scratch block, 2 … the inputs, then the outputs. All
instructions come first, then all arguments. Units that are done alike share a piece, so a long region is a few
look-ups in tables (arrangement.py).

Not here: what the words of a unit are (encode.py), who runs them (driver.py).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from ..native.compile import Kernel as Code
from ..native.compile import compiler
from .driver import END
from .units import Buffer

__all__ = ["Integers", "Piece", "Words", "assemble", "gathered"]

Integers: TypeAlias = "NDArray[np.int64]"

_LINE = 64  # bytes, to which memory is aligned


@final
@dataclass(slots=True)
class Piece:
    """What a unit becomes; numbers of words are counted from its own first instruction, or its own first argument.

    places : what the unit reads and writes (buffer, elements from its begin), by the order in which words name them
    addresses : words that are addresses, one for each of `places`: (of the instructions?, word, bytes from the place)
    own : words that are the address of memory of the unit's own: (of the instructions?, word, bytes from its begin)
    own_bytes : of such memory
    calls : words of instructions that are the address of arguments, and the first of these
    codes : words of instructions that are addresses of code
    """

    instructions: list[int] = field(default_factory=list)
    arguments: list[int] = field(default_factory=list)
    places: list[tuple[Buffer, int]] = field(default_factory=list)
    addresses: list[tuple[bool, int, int]] = field(default_factory=list)
    own: list[tuple[bool, int, int]] = field(default_factory=list)
    own_bytes: int = 0
    calls: list[tuple[int, int]] = field(default_factory=list)
    codes: list[tuple[int, Code]] = field(default_factory=list)

    def reserve(self, size: int) -> int:
        """Return where memory of the unit's own begins, in bytes."""
        offset = self.own_bytes
        self.own_bytes += -(-size // _LINE) * _LINE
        return offset


@final
@dataclass(slots=True)
class Words:
    """What the driver runs. words, relocations : see the module; scratch : bytes of the block; starts : the first word
    of each unit's instructions, and of the end; codes : words that are addresses of code, perhaps not compiled yet
    """

    words: array[int]
    relocations: array[int]
    scratch: int
    starts: list[int]
    codes: list[tuple[int, Code]]

    def complete(self) -> None:
        """Wait for the code, and fill in where it is."""
        compiler().wait([code for _, code in self.codes])
        for word, code in self.codes:
            self.words[word] = code.address
        self.codes.clear()


def gathered(tables: Sequence[Sequence[int]], which: Integers) -> tuple[Integers, Integers]:
    """Return the rows `which` of a ragged table one behind the other, and how long each is.

    >>> rows, lengths = gathered([[1, 2], [], [3]], np.array([2, 0, 1, 2]))
    >>> rows.tolist(), lengths.tolist()
    ([3, 1, 2, 3], [1, 2, 0, 1])
    """
    flat = np.array([number for row in tables for number in row], np.int64)
    sizes = np.array([len(row) for row in tables], np.int64)
    starts, lengths = (np.cumsum(sizes) - sizes)[which], sizes[which]
    begins = np.cumsum(lengths) - lengths
    return flat[np.repeat(starts - begins, lengths) + np.arange(lengths.sum())], lengths


def assemble(pieces: Sequence[Piece], which: Integers, bases: Integers, offsets: Integers, size: int) -> Words:
    """Return the words of units.

    which : the piece of each unit; bases, offsets : base and bytes of all places of all units; size : bytes of the
    scratch block, behind which is what single units need
    """
    instructions, lengths = gathered([piece.instructions for piece in pieces], which)
    arguments, argument_lengths = gathered([piece.arguments for piece in pieces], which)
    first = np.cumsum(lengths) - lengths
    end = int(lengths.sum())
    first_argument = np.cumsum(argument_lengths) - argument_lengths + end + 2

    def addresses(table: Sequence[Sequence[tuple[bool, int, int]]]) -> tuple[Integers, Integers, Integers]:
        """Return which words of the region they are, their bytes, and how many of them each unit has."""
        numbers, counts = gathered([[2 * word + own for own, word, _ in row] for row in table], which)
        more, _ = gathered([[more for *_, more in row] for row in table], which)
        begins = np.where(numbers % 2, np.repeat(first, counts), np.repeat(first_argument, counts))
        return numbers // 2 + begins, more, counts

    calls, counts = gathered([[word for word, _ in piece.calls] for piece in pieces], which)
    called, _ = gathered([[argument for _, argument in piece.calls] for piece in pieces], which)
    calls += np.repeat(first, counts)
    called = (called + np.repeat(first_argument, counts)) * 8
    places, more, _ = addresses([piece.addresses for piece in pieces])
    rows = [np.stack(columns, axis=1)
            for columns in ((places, bases, offsets + more), (calls, np.zeros_like(calls), called))]  # fmt: skip
    if any(piece.own for piece in pieces):
        own, inside, counts = addresses([piece.own for piece in pieces])
        needs = np.array([piece.own_bytes for piece in pieces], np.int64)[which]
        begins = np.cumsum(needs) - needs + size
        rows.append(np.stack([own, np.ones_like(inside), inside + np.repeat(begins, counts)], axis=1))
        size += int(needs.sum())
    made = Words(array("q"), array("q"), size, [*first.tolist(), end], [])
    made.words.frombytes(np.concatenate([instructions, np.array([END, 2], np.int64), arguments]).tobytes())
    made.relocations.frombytes(np.concatenate(rows).tobytes())
    for begin, piece in zip(made.starts, (pieces[number] for number in which.tolist())):
        made.codes += [(begin + word, code) for word, code in piece.codes]
    return made
