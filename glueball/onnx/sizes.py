"""Sizes of values when the batch size is left open.

The one idea: the graph's own shape inference is asked three times, with three batch sizes. A size that is the same each
time is a number; one that grows by a constant per sample is `Affine`; anything else (or a graph that refuses another
batch size, because its author wrote one down) means that the file must have a fixed batch. No rule of an operator has
to know about open sizes twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from ..base.errors import MXNetError, explain
from ..ops.opdef import TensorType
from ..symbol.graph import Node, Value, topological
from ..symbol.infer import infer

__all__ = ["Affine", "Size", "Sized", "fixed_sizes", "open_sizes", "size_at"]

_PROBES = (11, 13, 17)  # primes that no layer's own size is likely to equal; two give the line, the third checks it


class Affine(NamedTuple):
    """The size `slope * batch + rest`."""

    slope: int
    rest: int


Size: TypeAlias = int | Affine


class Sized(NamedTuple):
    """Sizes and element type of a value."""

    shape: tuple[Size, ...]
    dtype: object


Sizes: TypeAlias = dict[Node, tuple[Sized, ...]]


def fixed_sizes(outputs: Sequence[Value], known: Mapping[Node, TensorType]) -> Sizes:
    """Return the sizes of all values for exactly the inputs in `known`."""
    types = infer(outputs, known, False, topological(outputs))
    found: Sizes = {}
    for node, row in types.items():
        found[node] = tuple(_sized(node, one) for one in row)
    return found


def _sized(node: Node, one: TensorType) -> Sized:
    sizes = tuple(size for size in one.shape or () if size is not None)
    if not one.known or one.shape is None or len(sizes) != len(one.shape):
        raise MXNetError(explain("export to ONNX", f"The type of {node.name!r} does not follow from the inputs.",
                                 expected="a shape and an element type", received=f"{one.shape}, {one.dtype}",
                                 fix="give the shapes of all inputs"))
    return Sized(sizes, one.dtype)


def open_sizes(
    outputs: Sequence[Value], known: Mapping[Node, TensorType], axes: Mapping[Node, int]
) -> Sizes | None:
    """Return the sizes with the axis `axes[input]` of some inputs left open; None where the graph fixes the batch."""
    tries: list[Sizes] = []
    own = next(iter({shape[axis] for node, axis in axes.items() if (shape := known[node].shape)}), None)
    for batch in _PROBES:
        wanted = {node: _with(known[node], axes[node], batch) if node in axes else known[node] for node in known}
        try:
            tries.append(fixed_sizes(outputs, wanted))
        except MXNetError:
            return None
    found: Sizes = {}
    for node, rows in tries[0].items():
        others = [one[node] for one in tries[1:]]
        if any(len(a.shape) != len(b.shape) for other in others for a, b in zip(rows, other)):
            return None
        joined: list[Sized] = []
        for column in zip(rows, *others):
            lines = [_line(sizes) for sizes in zip(*(row.shape for row in column))]
            shape = tuple(size for size in lines if size is not None)
            if len(shape) != len(lines):
                return None
            joined.append(Sized(shape, column[0].dtype))
        found[node] = tuple(joined)
    return found if own is None or _at(found, own) == fixed_sizes(outputs, known) else None


def _at(sizes: Sizes, batch: int) -> Sizes:
    """The sizes for one batch; squeeze and broadcasting may see a batch of one differently, and then it stays fixed."""
    return {node: tuple(Sized(tuple(size_at(size, batch) for size in row.shape), row.dtype) for row in rows)
            for node, rows in sizes.items()}


def size_at(size: Size, batch: int) -> int:
    """Return a size for one batch."""
    return size.slope * batch + size.rest if isinstance(size, Affine) else size


def _with(known: TensorType, axis: int, batch: int) -> TensorType:
    shape = list(known.shape or ())
    shape[axis] = batch
    return TensorType(tuple(shape), known.dtype)


def _line(values: Sequence[Size]) -> Size | None:
    """The size as a function of the batch: a number, a line through all three points, or None."""
    first, second, third = (value for value in values if isinstance(value, int))  # inferred: none of them is open
    if first == second == third:
        return first
    slope, odd = divmod(second - first, _PROBES[1] - _PROBES[0])
    rest = first - slope * _PROBES[0]
    return Affine(slope, rest) if not odd and slope * _PROBES[2] + rest == third else None
