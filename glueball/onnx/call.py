"""One operator call as its ONNX rule sees it, and the table of rules.

The one idea: a rule is a function from a `Call` (names of the inputs, typed attributes, sizes) to the names of its
results; `@rule("name", ...)` puts it in RULES. What cannot be said in ONNX raises `Refused` with the reason; the
exporter collects the reasons of a whole network before it complains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..base import dtype as dtypes
from ..symbol.graph import Node
from .sizes import Affine, Size, Sized
from .writer import Writer, element_type

__all__ = ["RULES", "Call", "Refused", "Rule", "on_reals", "rows", "rule"]


class Refused(Exception):
    """This call cannot be expressed; the text says why."""


class Call:
    """An operator call that is to become ONNX nodes."""

    def __init__(self, writer: Writer, name: str, node: Node, ins: Sequence[str], in_sizes: Sequence[Sized],
                 out_sizes: Sequence[Sized]) -> None:
        self.writer, self.node, self.ins, self.attrs = writer, node, tuple(ins), node.attrs
        self.name, self.in_sizes, self.out_sizes = name, tuple(in_sizes), tuple(out_sizes)

    def __getitem__(self, name: str) -> Any:
        """The typed attribute `name`."""
        return self.attrs[name]

    @property
    def x(self) -> str:
        """The first input."""
        return self.ins[0]

    def shape(self, index: int = 0) -> tuple[Size, ...]:
        """Sizes of an input; open ones are Affine."""
        return self.in_sizes[index].shape

    def rank(self, index: int = 0) -> int:
        """Number of axes of an input."""
        return len(self.in_sizes[index].shape)

    def size(self, axis: int, index: int = 0) -> int:
        """One size of an input that must be known."""
        found = self.in_sizes[index].shape[axis]
        if isinstance(found, Affine):
            raise Refused(f"its axis {axis} must have a fixed size, and here it depends on the batch size")
        return found

    def spatial(self, index: int = 0) -> tuple[int, ...]:
        """The sizes behind batch and channels, which must be known."""
        return tuple(self.size(axis, index) for axis in range(2, self.rank(index)))

    def dtype(self, index: int = 0) -> str:
        """Public name of an input's element type."""
        return dtypes.name_of(self.in_sizes[index].dtype)

    @property
    def whole(self) -> bool:
        """Whether the first input holds whole numbers (or truths)."""
        return "float" not in self.dtype()

    def out_shape(self, index: int = 0) -> tuple[Size, ...]:
        """Sizes of a result."""
        return self.out_sizes[index].shape

    def out_dtype(self, index: int = 0) -> str:
        """Public name of a result's element type."""
        return dtypes.name_of(self.out_sizes[index].dtype)

    def axis(self, value: int, index: int = 0) -> int:
        """An axis counted from the front."""
        return value % max(self.rank(index), 1)

    # -- writing -------------------------------------------------------------------------------------------------------
    def op(self, kind: str, *inputs: str, **attrs: Any) -> str:
        """Add an ONNX operator with one result."""
        return self.writer.node(kind, inputs, self.node.name, **attrs)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, **attrs: Any) -> tuple[str, ...]:
        """Add an ONNX operator with several results."""
        return self.writer.node(kind, inputs, self.node.name, outputs=outputs, **attrs)

    def const(self, array: Any, dtype: str | None = None) -> str:
        """A constant of the first input's element type, or of `dtype`."""
        dtype = dtype or self.dtype()
        return self.writer.constant(np.asarray(array, dtypes.as_numpy(dtype)), dtype)

    def ints(self, *values: int) -> str:
        """A constant int64 vector."""
        return self.writer.constant(np.array(values, np.int64))

    def cast(self, value: str, dtype: str, given: str | None = None) -> str:
        """Change the element type (from `given`; left out where it is the same)."""
        return value if given == dtype else self.op("Cast", value, to=element_type(dtype))

    def filled(self, value: float, index: int = 0) -> str:
        """A result of one number throughout."""
        kind, shape = self.out_dtype(index), self.out_shape(index)
        number = self.writer.constant(np.asarray(value, dtypes.as_numpy(kind)), kind)
        return self.op("Expand", number, self.sizes(shape))

    def of_type(self, dtype: str) -> Call:
        """The same call with its first input cast."""
        first = Sized(self.in_sizes[0].shape, dtypes.as_torch(dtype))
        return Call(self.writer, self.name, self.node, [self.cast(self.x, dtype, self.dtype()), *self.ins[1:]],
                    [first, *self.in_sizes[1:]], self.out_sizes)

    def truth(self, value: str, index: int) -> str:
        """An input as booleans: whether it is not zero."""
        return self.cast(value, "bool", self.dtype(index))

    def rows(self, index: int, count: int, mode: str = "clip") -> str:
        """Input `index` as whole numbers in 0..count-1, by take's way with what is out of range."""
        found = self.cast(self.ins[index], "int64", self.dtype(index))
        if mode == "wrap":
            return self.op("Mod", found, self.const(count, "int64"))
        return self.op("Min", self.op("Max", found, self.const(0, "int64")), self.const(count - 1, "int64"))

    def sizes(self, shape: Sequence[Size]) -> str:
        """Sizes as an int64 vector."""
        return self.writer.sizes(shape)

    def reshape(self, value: str, shape: Sequence[Size]) -> str:
        """Reshape; a single open size is left to the runtime."""
        target = [-1 if isinstance(size, Affine) else size for size in shape]
        if target.count(-1) == 1 and 0 not in target:
            return self.op("Reshape", value, self.ints(*target))
        return self.op("Reshape", value, self.sizes(shape), allowzero=1 if 0 in shape else None)

    def transpose(self, value: str, axes: Sequence[int]) -> str:
        """Permute the axes; nothing where they stay."""
        return value if tuple(axes) == tuple(range(len(axes))) else self.op("Transpose", value, perm=list(axes))

    def slice(self, value: str, axis: int, begin: int, end: int | None, step: int = 1) -> str:
        """Cut one axis."""
        edge = np.iinfo(np.int64)
        stop = (edge.max if step > 0 else edge.min) if end is None else end
        return self.op("Slice", value, self.ints(begin), self.ints(stop), self.ints(axis), self.ints(step))


Rule: TypeAlias = Callable[[Call], "str | Sequence[str]"]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register the rule of one or several operators, by canonical name."""
    def register(function: Rule) -> Rule:
        for name in names:
            if name in RULES:
                raise TypeError(f"two ONNX rules for {name}")
            RULES[name] = function
        return function
    return register


def on_reals(function: Rule, exact: str = "float64") -> Rule:
    """Let a rule see real numbers: whole ones are cast, and results cut back to their type, as the kernels do.

    exact : the widest type that runtimes have the function in
    """
    def write(c: Call) -> str | Sequence[str]:
        if not c.whole:
            return function(c)
        found = function(c.of_type(exact))
        return [c.cast(one, c.out_dtype(i)) for i, one in enumerate([found] if isinstance(found, str) else found)]
    return write


def rows(table: Mapping[str, Rule]) -> None:
    """Register a table of rules."""
    for name, function in table.items():
        rule(name)(function)
