"""Where the operands of a segment lie, and the call of compiled code.

The one idea: an operand is a pointer and a row stride, so slices cost nothing: a `Split` array gives several operands
without a view of each. Whatever else an array may be (transposed, expanded) is made contiguous first.

Not here: which operands a segment has (run.py).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from ...base.errors import ArgumentError, ContextError, DTypeError, ShapeError, explain
from .compile import Kernel, parallel

__all__ = [
    "Kind", "Split", "Item", "Place", "place", "places_of", "side_by_side", "call", "launch", "parts", "first",
    "changed", "mixed", "BLOCK", "PARALLEL",
]  # fmt: skip

Kind: TypeAlias = Literal["full", "row", "column"]
Place: TypeAlias = "tuple[int, int]"  # pointer, row stride in elements

BLOCK = 8192  # elements that a thread takes at a time
PARALLEL = 1_500_000  # elements · weight from which threads pay: about 25 µs of one thread


@final
@dataclass(frozen=True, slots=True)
class Split:
    """An (N, sum of sizes) array that stands for several full inputs of a segment: its slices along axis 1."""

    tensor: Tensor
    sizes: tuple[int, ...]


Item: TypeAlias = "Tensor | Split"


def parts(items: Sequence[Item]) -> list[Tensor]:
    """Return one array per input: split arrays as views."""
    found: list[Tensor] = []
    for item in items:
        if isinstance(item, Split):
            found.extend(item.tensor.split(item.sizes, 1))
        else:
            found.append(item)
    return found


def first(items: Sequence[Item]) -> Tensor:
    """Return the first array."""
    item = items[0]
    return item.tensor if isinstance(item, Split) else item


def place(tensor: Tensor, kept: list[Tensor]) -> Place:
    """Return where an (N, H) array lies; a contiguous copy, which `kept` holds, where its columns do not."""
    across, step = tensor.stride()
    if step != 1 and tensor.shape[1] != 1:
        tensor = tensor.contiguous()
        kept.append(tensor)
        across = tensor.stride(0)
    return tensor.data_ptr(), across


def side_by_side(start: Place, count: int, columns: int, itemsize: int) -> list[Place]:
    """Return the places of `count` slices of an array, `columns` wide each."""
    pointer, across = start
    return [(pointer + k * columns * itemsize, across) for k in range(count)]


def _size(items: Sequence[Item], kinds: Sequence[Kind], like: int | None) -> tuple[int, int]:
    """Return N and H; like: the first full input."""
    index = 0
    sized: dict[str, Any] = {}
    for item in items:
        if isinstance(item, Split):
            if like is not None and like < index + len(item.sizes):
                return item.tensor.shape[0], item.sizes[0]
            index += len(item.sizes)
            continue
        if index == like:
            if item.dim() != 2:
                raise ShapeError(explain("Rows", "A full input has two axes.", expected="(N, H)",
                                         received=tuple(item.shape)))  # fmt: skip
            rows, columns = item.shape
            return rows, columns
        if index < len(kinds):
            sized[kinds[index]] = item.shape
        index += 1
    return sized["column"][0] if "column" in sized else 1, sized["row"][-1] if "row" in sized else 1


def _named(items: Sequence[Item]) -> Iterator[tuple[Tensor, Sequence[int] | None]]:
    for item in items:
        yield (item.tensor, item.sizes) if isinstance(item, Split) else (item, None)


def places_of(
    items: Sequence[Item], kinds: Sequence[Kind], like: int | None, dtype: torch.dtype
) -> tuple[int, int, list[Place], list[Tensor]]:
    """Check the inputs of a segment; return N, H, a place per input, and copies to be kept until the call is over.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, ContextError : they do not fit
    """
    rows, columns = _size(items, kinds, like)
    places: list[Place] = []
    kept: list[Tensor] = []
    count = len(kinds)
    cpu = bool(items) and first(items).is_cpu
    for tensor, sizes in _named(items):
        index = len(places)
        if tensor.is_cpu is not cpu:
            raise mixed(f"Input {index}", first(items), tensor)
        if tensor.dtype is not dtype:
            raise DTypeError(explain("Rows", f"Input {index} has another element type.", expected=dtype,
                                     received=tensor.dtype))  # fmt: skip
        if index >= count:
            places.append((0, 0))
            continue
        shape, kind = tensor.shape, kinds[index]
        if sizes is not None:
            number = len(sizes)
            if (shape != (rows, columns * number) or sizes != (columns,) * number
                    or kinds[index : index + number] != ("full",) * number):  # fmt: skip
                raise ShapeError(explain("Rows", f"Input {index} cannot be split.",
                                         expected=f"{number} full inputs of {(rows, columns)} side by side",
                                         received=f"{tuple(shape)} into {sizes}"))  # fmt: skip
            places += side_by_side(place(tensor, kept), number, columns, tensor.itemsize)
        elif kind == "full":
            if shape != (rows, columns):
                raise _misfit(index, kind, (rows, columns), shape)
            places.append(place(tensor, kept))
        elif kind == "column":
            if shape != (rows, 1):
                raise _misfit(index, kind, (rows, 1), shape)
            places.append((tensor.data_ptr(), tensor.stride(0)))
        else:
            if shape != (columns,) and shape != (1, columns):
                raise _misfit(index, kind, (columns,), shape)
            if tensor.stride(-1) != 1 and columns != 1:
                tensor = tensor.contiguous()
                kept.append(tensor)
            places.append((tensor.data_ptr(), 0))
    if len(places) != count:
        raise ArgumentError(explain("Rows", "The number of tensors is wrong.", expected=count, received=len(places)))
    return rows, columns, places, kept


def _misfit(index: int, kind: str, expected: tuple[int, ...], received: Sequence[int]) -> ShapeError:
    return ShapeError(explain("Rows", f"Input {index} ({kind}) has another shape.", expected=expected,
                              received=tuple(received)))  # fmt: skip


def mixed(what: str, one: Tensor, other: Tensor) -> ContextError:
    """Return the error for arrays on two devices."""
    return ContextError(explain("Rows", f"{what} is on another device.", expected=one.device, received=other.device))


def changed(targets: Sequence[Tensor]) -> None:
    """Tell torch's tape that arrays were written."""
    seen = [target for target in targets if not target.is_inference()]
    if seen:
        increment_version(seen)


def call(
    kernel: Kernel, rows: int, columns: int, places: Sequence[Place], block_rows: int = 0, across: bool = True
) -> None:
    """Run compiled code.

    Parameters
    ----------
    places : of the operands, in the order of emit.py
    block_rows : rows per block of sums over rows; 0: there are none
    across : whether blocks may cut rows into pieces
    """
    operands: list[int] = []
    for pointer_and_stride in places:
        operands += pointer_and_stride
    launch(kernel, rows, columns, operands, block_rows, across)


def launch(
    kernel: Kernel, rows: int, columns: int, operands: list[int], block_rows: int = 0, across: bool = True
) -> None:
    """Run compiled code; see `call`. operands : pointer, row stride, pointer, row stride, …"""
    if not rows or not columns:
        return
    if across and not block_rows and operands[1::2].count(columns) * 2 == len(operands):
        rows, columns = 1, rows * columns
    if rows * columns * (kernel.cost + 2 * len(operands)) < PARALLEL:
        arguments = array("q", [0, rows, columns, block_rows or rows, columns, -(-rows // (block_rows or rows)), 1])
        arguments.extend(operands)
        kernel.function(arguments.buffer_info()[0])
        return
    threads = torch.get_num_threads()
    height, width = block_rows or rows, columns
    if threads > 1:
        height = block_rows or max(1, min(rows, BLOCK // columns))
        width = columns if not across or columns <= BLOCK else BLOCK
    down, side = -(-rows // height), -(-columns // width)
    arguments = array("q", [0, rows, columns, height, width, down * side, side, *operands])
    team = parallel() if threads > 1 and down * side > 1 else None
    if team is None:
        kernel.function(arguments.buffer_info()[0])
    else:
        team(kernel.address, arguments.buffer_info()[0], min(threads, down * side), 0)
