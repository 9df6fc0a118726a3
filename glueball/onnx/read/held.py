"""A value of an ONNX graph while it becomes ours: where it is in our graph, its type, and its numbers where known.

The one idea: a graph is read for several *worlds* at once, in each of which the open sizes are other numbers. A value
has one place in our graph and one type per world; what is computed from sizes alone is known, per world, as numbers.
Where a rule needs one number and the worlds disagree it raises `Varies`: then the graph is read anew for the sizes of
each call. With all sizes fixed there is one world and nothing varies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar, final

import numpy as np

from ...base import dtype as dtypes
from ...ops.opdef import TensorType
from ...symbol.graph import Value

__all__ = ["FOLDED", "Held", "Needs", "Refused", "Sequenced", "Shape", "Varies", "common"]

Shape: TypeAlias = tuple[int, ...]
T = TypeVar("T")

FOLDED = 2**21  # elements: sizes, indices, masks of sequences; larger results are computed when the graph runs


class Refused(Exception):
    """This node cannot be expressed; the text says why."""


class Varies(Exception):
    """A number that must be one is another one in other worlds."""


class Needs(Exception):
    """The numbers of these inputs decide about the graph: it is read anew when they are there."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__(", ".join(sorted(names)))
        self.names = names


def common(values: Sequence[T]) -> T:
    """Return the value that all worlds share.

    Raises
    ------
    Varies
        They do not.
    """
    first = values[0]
    if any(value != first for value in values[1:]):
        raise Varies
    return first


@final
class Held:
    """One value.

    Attributes
    ----------
    types : shape and dtype, per world
    known : the numbers, per world, where they follow from the file and the sizes; NumPy, float32 standing for bfloat16
    place : the value in our graph; None until a known one is used as such
    weight : the name of the parameter whose value `known` is; it is not computed with while reading
    sources : the inputs of the graph that it depends on by value
    varies : its numbers follow from sizes alone, and are made when the graph runs
    later : makes a known value when the graph runs, where its numbers are others in other worlds
    """

    __slots__ = ("known", "later", "place", "sources", "types", "varies", "weight")

    def __init__(self, types: Sequence[TensorType], known: Sequence[np.ndarray] | None = None,
                 place: Value | None = None, weight: str | None = None,
                 sources: frozenset[str] = frozenset(), varies: bool = False,
                 later: Callable[[], Held] | None = None) -> None:
        self.types, self.place, self.weight, self.sources = tuple(types), place, weight, sources
        self.varies, self.later = varies, later
        self.known = None if known is None else tuple(known)

    @property
    def shapes(self) -> list[Shape]:
        """The shape in each world."""
        return [tuple(size or 0 for size in kind.shape or ()) for kind in self.types]

    @property
    def shape(self) -> Shape:
        """The shape, the same in all worlds."""
        return common(self.shapes)

    @property
    def rank(self) -> int:
        """Number of axes."""
        return common([len(shape) for shape in self.shapes])

    def size(self, axis: int) -> int:
        """One size, the same in all worlds."""
        return common([shape[axis] for shape in self.shapes])

    @property
    def dtype(self) -> str:
        """Public name of the element type."""
        return dtypes.name_of(self.types[0].dtype)

    @property
    def is_float(self) -> bool:
        """Whether it holds real numbers."""
        return "float" in self.dtype

    @property
    def fixed(self) -> bool:
        """Whether its numbers are known and no parameter."""
        return self.known is not None and self.weight is None


@final
class Sequenced:
    """A sequence of values; its length is known."""

    __slots__ = ("items",)

    def __init__(self, items: Sequence[Held]) -> None:
        self.items = tuple(items)
