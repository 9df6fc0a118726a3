"""One ONNX node as its rule sees it, and the table of rules.

The one idea: a rule is a function from a `Step` (values of the inputs, attributes, the operator set's version) to the
values of the results; `@reads("Name", ...)` puts it in IMPORTERS. What cannot be expressed raises `Refused` with the
reason; the reader collects the reasons of a whole model before it complains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, final

import numpy as np
from onnx import GraphProto

from .builder import Builder
from .held import FOLDED, Held, Needs, Refused, Sequenced, Shape, Varies, common
from .tensors import Array

__all__ = ["IMPORTERS", "Importer", "Step", "reads"]


@final
class Step:
    """An ONNX node that is to become ours."""

    def __init__(self, builder: Builder, kind: str, name: str, version: int, ins: Sequence[Held | Sequenced | None],
                 attrs: Mapping[str, Any], outputs: Sequence[str], around: Any = None) -> None:
        self.builder, self.kind, self.name, self.version = builder, kind, name, version
        self.ins, self.attrs, self.outputs, self.around = tuple(ins), attrs, tuple(outputs), around

    # -- what is given -------------------------------------------------------------------------------------------------
    @property
    def x(self) -> Held:
        """The first input."""
        return self.input(0)

    def input(self, index: int) -> Held:
        """An input that must be there."""
        found = self.maybe(index)
        if found is None:
            raise Refused(f"its input {index} is missing")
        return found

    def maybe(self, index: int) -> Held | None:
        """An input, None where it was left out."""
        found = self.ins[index] if index < len(self.ins) else None
        if isinstance(found, Sequenced):
            raise Refused(f"its input {index} is a sequence")
        return found

    def items(self, index: int) -> tuple[Held, ...]:
        """The values of an input that is a sequence."""
        found = self.ins[index] if index < len(self.ins) else None
        if not isinstance(found, Sequenced):
            raise Refused(f"its input {index} must be a sequence")
        return found.items

    @property
    def all(self) -> list[Held]:
        """All inputs, which must be there."""
        return [self.input(index) for index in range(len(self.ins))]

    def get(self, name: str, default: Any) -> Any:
        """An attribute, or its default; its type must be that of the default."""
        found = self.attrs.get(name, default)
        if default is not None and type(found) is not type(default):
            raise Refused(f"its attribute {name} is {type(found).__name__} and not {type(default).__name__}")
        return found

    def ints(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        """A list of whole numbers among the attributes."""
        found = self.attrs.get(name, default)
        if not isinstance(found, (list, tuple)) or any(not isinstance(one, int) for one in found):
            raise Refused(f"its attribute {name} must be a list of whole numbers")
        return list(found)

    def wants(self, index: int) -> bool:
        """Whether a result is used."""
        return index < len(self.outputs) and bool(self.outputs[index])

    # -- numbers that decide about the graph ---------------------------------------------------------------------------
    def known(self, index: int) -> list[np.ndarray]:
        """The numbers of an input, per world.

        Raises
        ------
        Needs
            They are an input of the model, or follow from one, and its numbers were not given.
        Refused
            They are computed from the data.
        """
        held = self.input(index)
        if held.known is not None:
            return list(held.known)
        if held.varies and self.builder.worlds > 1:
            raise Varies
        if held.sources - self.builder.given:
            raise Needs(held.sources)
        raise Refused(f"its input {index} is computed from the data, and decides about shapes")

    def value(self, index: int) -> np.ndarray:
        """The numbers of an input, the same in all worlds."""
        rows = self.known(index)
        common([row.tolist() for row in rows])
        return rows[0]

    def number(self, index: int) -> Any:
        """The one number that an input is."""
        found = self.value(index)
        if found.size != 1:
            raise Refused(f"its input {index} must be one number")
        return found.ravel()[0]

    def axes(self, index: int, rank: int, default: Sequence[int] | None = None) -> list[int] | None:
        """Axes, an attribute in old operator sets and input `index` in new ones, counted from the front."""
        if self.maybe(index) is not None:
            found = [int(axis) for axis in np.ravel(self.value(index))]
        elif "axes" in self.attrs:
            found = self.ints("axes")
        else:
            return None if default is None else list(default)
        return [self.axis(axis, rank) for axis in found]

    def axis(self, axis: int, rank: int) -> int:
        """An axis counted from the front."""
        if not -rank <= axis < rank:
            raise Refused(f"there is no axis {axis} in an array of {rank} axes")
        return axis % rank

    def inner(self, name: str, given: Sequence[Held]) -> list[Held]:
        """Read a graph among the attributes, with values for its inputs; it sees the values around it."""
        graph = self.attrs.get(name)
        if not isinstance(graph, GraphProto):
            raise Refused(f"its attribute {name} must be a graph")
        return self.around(graph, given)

    def affordable(self, count: int, most: int = FOLDED) -> int:
        """Return a number of elements that are made while the model is read; Refused where they are too many."""
        return self.builder.affordable(count, most)

    # -- writing -------------------------------------------------------------------------------------------------------
    def call(self, name: str, *inputs: Held | None, **attrs: Any) -> Held:
        """Return the first result of one of our operators."""
        return self.builder.call(name, *inputs, **attrs)

    def calls(self, name: str, *inputs: Held | None, **attrs: Any) -> tuple[Held, ...]:
        """Return all results of one of our operators."""
        return self.builder.calls(name, *inputs, **attrs)

    def const(self, value: Any, dtype: str | None = None) -> Held:
        """Return a constant of the first input's element type, or of `dtype`."""
        return self.builder.constant(value, dtype or self.x.dtype)

    def cast(self, held: Held, dtype: str) -> Held:
        """Change the element type."""
        return self.builder.cast(held, dtype)

    def reshape(self, held: Held, targets: Sequence[Shape] | Shape) -> Held:
        """Give another shape: one for all worlds, or one per world."""
        return self.builder.reshape(held, self._per_world(targets))

    def expand(self, held: Held, targets: Sequence[Shape] | Shape) -> Held:
        """Stretch axes of one."""
        return self.builder.expand(held, self._per_world(targets))

    def _per_world(self, targets: Any) -> list[Shape]:
        rows = list(targets)
        return rows if rows and isinstance(rows[0], tuple) else [tuple(rows)] * self.builder.worlds

    def scaled(self, held: Held, factor: float) -> Held:
        """Multiply by a number."""
        return held if factor == 1 else self.call("_mul_scalar", held, scalar=factor)


Importer: TypeAlias = Callable[[Step], "Held | Sequenced | Sequence[Held]"]
IMPORTERS: dict[tuple[str, str], Importer] = {}  # (domain, operator) -> rule


def reads(*names: str, domain: str = "") -> Callable[[Importer], Importer]:
    """Register the rule of one or several ONNX operators."""
    def register(function: Importer) -> Importer:
        for name in names:
            if (domain, name) in IMPORTERS:
                raise TypeError(f"two rules for {name}")
            IMPORTERS[domain, name] = function
        return function
    return register


def array_attribute(step: Step, name: str) -> Array | None:
    """An attribute that holds an array."""
    found = step.attrs.get(name)
    if found is not None and not isinstance(found, Array):
        raise Refused(f"its attribute {name} must be an array")
    return found
