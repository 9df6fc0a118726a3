"""What a region is made of: memory, arrays in it, and the units that run one after the other.

The one idea: a value of the graph is either *stored* (rows of numbers somewhere in a buffer) or *computed* (an
expression of one element that some kernel has at hand), and stays computed until somebody needs its memory. A kernel
runs over a space of rows and columns; an operand takes part in it as a whole array, as one number per column ("row"),
as one number per row ("column"), or as one number.

Not here: which operators become what (rules.py), how units are chosen (build.py), addresses (memory.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Literal, TypeAlias, final

from ..native.expression import Expr

__all__ = [
    "Buffer", "Stored", "Computed", "Constant", "Kernel", "Product", "Copy", "Pack", "Guard", "Unit", "Kind",
    "Arrangement", "arrange",
]  # fmt: skip

Kind: TypeAlias = Literal["full", "row", "column", "one"]
Shape: TypeAlias = "tuple[int, ...]"


@final
@dataclass(eq=False, slots=True)
class Buffer:
    """Memory for some elements.

    role, index : where it is: input or output number `index` of the region, or scratch
    format : the type of the elements where it is not the region's (labels), by the names of native/memory.py
    """

    elements: int
    role: Literal["input", "output", "scratch"] = "scratch"
    index: int = -1
    format: str | None = None


@final
@dataclass(frozen=True, slots=True)
class Stored:
    """An array of rows in a buffer; row i begins at element offset + i·stride. ready: the unit that completes it."""

    buffer: Buffer
    offset: int
    rows: int
    columns: int
    stride: int
    ready: int

    @property
    def together(self) -> bool:
        """Whether the rows follow each other without gaps, so that they can be cut in other ways."""
        return self.rows == 1 or self.stride == self.columns

    def as_rows(self, columns: int) -> Stored | None:
        """Return the same numbers as rows of another length; None where they do not lie so."""
        if columns == self.columns:
            return self
        if not self.together or self.rows * self.columns % columns:
            return None
        return Stored(self.buffer, self.offset, self.rows * self.columns // columns, columns, columns, self.ready)


Operand: TypeAlias = "tuple[Buffer, int, int, Kind]"  # buffer, offset, row stride (-1: as many as columns), kind


@final
@dataclass(eq=False, slots=True)
class Kernel:
    """One loop over rows and columns.

    size : elements; columns : how they are cut into rows (None: it does not matter)
    inputs : operands by their number in the expressions
    outputs : expression of an element -> where it goes; row_outputs: expression of a row, one number per row
    sums : expression of an element -> where its sums down the rows go, one number per column
    """

    number: int
    size: int
    columns: int | None = None
    inputs: dict[Operand, int] = field(default_factory=dict)
    outputs: list[tuple[Expr, Stored]] = field(default_factory=list)
    row_outputs: list[tuple[Expr, Stored]] = field(default_factory=list)
    sums: list[tuple[Expr, Stored]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return 1 if self.columns is None else self.size // self.columns


@final
@dataclass(eq=False, slots=True)
class Product:
    """result (m, n) = op(left) · op(right), so many times; a turned operand is read transposed.

    count : how many; `inner` of them lie `steps` apart (left, right, result), and what follows `leaps` from there
    packed : the right operand in panels (native/panels.py), where own code does the product; packed_left: so is a left
        operand that is turned
    """

    number: int
    m: int
    n: int
    k: int
    left: Stored
    right: Stored
    turn_left: bool
    turn_right: bool
    result: Stored
    count: int = 1
    steps: tuple[int, int, int] = (0, 0, 0)
    inner: int = 1
    leaps: tuple[int, int, int] = (0, 0, 0)
    packed: Stored | None = None
    packed_left: Stored | None = None


@final
@dataclass(eq=False, slots=True)
class Copy:
    """Puts an array whose axes lie in another order in order.

    source, result : buffers, and where in them (the rest of `source` means nothing)
    axes : elements, step in the source, step in the result, outermost first
    """

    number: int
    source: Stored
    result: Stored
    axes: tuple[tuple[int, int, int], ...]


@final
@dataclass(eq=False, slots=True)
class Pack:
    """Puts the right operand (depth, columns) of products in order; a turned one is read transposed."""

    number: int
    source: Stored
    turned: bool
    depth: int
    columns: int
    result: Stored


@final
@dataclass(eq=False, slots=True)
class Guard:
    """Stops the region where a number is not 0. what: the position of the node that complains among the region's."""

    number: int
    flag: Stored
    what: int


Unit: TypeAlias = "Kernel | Product | Copy | Pack | Guard"


@final
@dataclass(frozen=True, slots=True)
class Computed:
    """A value that a kernel has at hand: an expression of an element ("full") or of a row ("column")."""

    kernel: Kernel
    expression: Expr
    kind: Kind


@final
@dataclass(frozen=True, slots=True)
class Constant:
    """A value whose elements are all one number."""

    number: float


Arrangement: TypeAlias = "tuple[int | None, tuple[Kind, ...]]"  # columns that are demanded, kind of each operand


def arrange(out: Shape, shapes: list[Shape]) -> Arrangement | None:
    """Return how operands that are broadcast to a shape take part in a space of rows and columns.

    None where two axes do not suffice.

    >>> arrange((64, 10), [(64, 10), (10,), (64, 1)])
    (10, ('full', 'row', 'column'))
    >>> arrange((2, 3, 4), [(2, 3, 4), (1,)])
    (None, ('full', 'one'))
    """
    padded = [(1,) * (len(out) - len(shape)) + tuple(shape) for shape in shapes]
    simple: list[Kind | None] = ["full" if s == out else "one" if prod(s) == 1 else None for s in padded]
    if None not in simple:
        return None, tuple(kind for kind in simple if kind is not None)
    for cut in range(len(out) - 1, 0, -1):
        kinds: list[Kind] = []
        for shape, kind in zip(padded, simple):
            above, below = shape[:cut], shape[cut:]
            if kind is not None:
                kinds.append(kind)
            elif prod(above) == 1 and below == out[cut:]:
                kinds.append("row")
            elif prod(below) == 1 and above == out[:cut]:
                kinds.append("column")
            else:
                break
        else:
            return prod(out[cut:]), tuple(kinds)
    return None
