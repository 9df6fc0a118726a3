"""Makes our graph: operators on values, constants, and computing at once what is known already.

The one idea: `call` looks at its inputs. Are all of them known (sizes, indices, constants), the kernel runs now, once
per world; else the operator becomes a node. So chains of Shape, Gather and Concat vanish, by the operators' own
kernels, and nobody writes them a second time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np

from ...base import dtype as dtypes
from ...base.dtype import as_numpy, as_torch
from ...dispatch import invoke
from ...ndarray import NDArray
from ...ndarray.creation import from_numpy
from ...ops.opdef import TensorType, lookup
from ...symbol.graph import Node, Value
from ...symbol.infer import UNKNOWN, infer_node
from ...symbol.subgraph import cut
from ..names import Names
from .held import FOLDED, Held, Refused, Shape, Varies, common
from .tensors import Array

__all__ = ["Builder"]

_BUDGET = 8 * FOLDED  # elements that are made while one model is read, in all: 128 MiB at 8 bytes each


@final
class Builder:
    """Collects the nodes of one reading."""

    def __init__(self, worlds: int, variables: Mapping[str, Node], given: frozenset[str] = frozenset()) -> None:
        self.worlds, self.variables, self.given = worlds, variables, given  # given: inputs whose numbers are known
        self.inputs: list[Held] = []  # all of them, for their sizes
        self._held: dict[Value, Held] = {}  # what nodes read
        self.constants: dict[Node, NDArray] = {}
        self.origin, self.hint = "", "value"
        self._names = Names(variables)
        self._spent = 0
        self._stored: dict[int, tuple[Array, Held]] = {}

    # -- values --------------------------------------------------------------------------------------------------------
    def known(self, arrays: Sequence[np.ndarray] | np.ndarray, dtype: str | None = None,
              weight: str | None = None, later: Callable[[], Held] | None = None) -> Held:
        """Return a value whose numbers are known; one array stands for all worlds. `later`: see Held."""
        rows = [arrays] * self.worlds if isinstance(arrays, np.ndarray) else list(arrays)
        kind = as_torch(dtype or rows[0].dtype.name)
        return Held([TensorType(tuple(row.shape), kind) for row in rows], rows, weight=weight, later=later)

    def stored(self, array: Array) -> Held:
        """Return an array of the file as a value; the same one each time, however often a loop comes by."""
        if id(array) not in self._stored:
            self._stored[id(array)] = array, self.known(array.data, array.dtype)
        return self._stored[id(array)][1]

    def affordable(self, count: int, most: int = FOLDED) -> int:
        """Return a number of elements that a rule is going to make.

        Raises
        ------
        Refused
            No honest model makes so many while it is read, at once or in all.
        """
        if count > most or self._spent + count > _BUDGET:
            raise Refused(f"{count} numbers would have to be made while the model is read (at most {most} at once, "
                          f"and {_BUDGET} for a model)")
        self._spent += count
        return count

    def place(self, held: Held) -> Value:
        """Return where a value is in the graph; a known one becomes a parameter or a constant."""
        if held.place is None:
            if held.known is None:
                raise Refused("one of its inputs is missing")
            if held.weight is not None:
                held.place = Value(self.variables[held.weight])
            else:
                first = held.known[0]
                if any(row is not first and not _equal(row, first) for row in held.known[1:]):
                    held.place = self._made_of_sizes(held, held.known)
                    self._held[held.place] = held
                    return held.place
                node = Node(None, self._names.fresh("constant"), origin=self.origin)
                self.constants[node] = _array(first, held.dtype)
                held.place = Value(node)
        self._held[held.place] = held
        return held.place

    # -- operators -----------------------------------------------------------------------------------------------------
    def call(self, name: str, *inputs: Held | None, **attrs: Any) -> Held:
        """Return the first result of one of our operators."""
        return self.calls(name, *inputs, **attrs)[0]

    def calls(self, name: str, *inputs: Held | None, **attrs: Any) -> tuple[Held, ...]:
        """Return all results of one of our operators."""
        op = lookup(name)
        typed = op.typed(attrs)
        if op.variadic_count in op.attr_by_name:
            typed[op.variadic_count] = len(inputs)
        given = [held for held in inputs if held is not None]
        if given and all(held.fixed for held in given):
            found = self._computed(op, typed, inputs)
            if found is not None:
                return found
        return self._node(op, typed, inputs)

    def _node(self, op: Any, typed: dict[str, Any], inputs: Sequence[Held | None]) -> tuple[Held, ...]:
        """Make a node of an operator; what it reads goes into the graph."""
        given = [held for held in inputs if held is not None]
        hints: dict[str, str] = {}
        if not op.variadic:
            used = tuple(spec.name for spec, held in zip(op.inputs, inputs) if held is not None)
            if used != op.present_inputs(typed):
                hints["__inputs__"] = ",".join(used)
        places = tuple(self.place(held) for held in given)
        node = Node(op, self._names.fresh(self.hint), places, typed, hints, self.origin)
        per_world = [infer_node(node, [held.types[w] for held in given], (UNKNOWN,) * node.num_outputs)[1]
                     for w in range(self.worlds)]
        if not all(kind.known for kinds in per_world for kind in kinds):
            raise Refused(op.dynamic or f"the type of {op.name}'s result does not follow from those of its inputs")
        sources = frozenset[str]().union(*(held.sources for held in given))
        varies = bool(given) and all(held.fixed or held.varies for held in given)
        return tuple(Held([kinds[i] for kinds in per_world], place=Value(node, i), sources=sources, varies=varies)
                     for i in range(node.num_visible))

    def _computed(self, op: Any, typed: dict[str, Any], inputs: Sequence[Held | None]) -> tuple[Held, ...] | None:
        """Run a kernel on known numbers; None where they are too many."""
        if self._spent > _BUDGET or any(math.prod(shape) > FOLDED for held in inputs if held is not None
                                        for shape in held.shapes):
            return None
        if not op.dynamic:
            rows_in = [held.types for held in inputs if held is not None]
            count = op.num_outputs(typed)
            node = Node(op, "known", tuple(Value(Node(None, "known")) for _ in rows_in), typed)
            for kinds in set(zip(*rows_in)):  # of each world
                for kind in infer_node(node, kinds, (UNKNOWN,) * count)[1]:
                    if kind.shape is None or math.prod(size or 0 for size in kind.shape) > FOLDED:
                        return None
        rows: list[list[Any]] = []
        alike = all(row is held.known[0] for held in inputs if held is not None and held.known for row in held.known)
        for world in range(1 if alike else self.worlds):
            arrays = [None if held is None or held.known is None else _array(held.known[world], held.dtype)
                      for held in inputs]
            found = invoke(op, arrays, {n: v for n, v in typed.items() if n != op.variadic_count})
            rows.append(list(found) if isinstance(found, (list, tuple)) else [found])
        self._spent += sum(one.size for row in rows for one in row)
        rows = rows * self.worlds if alike else rows
        def later(index: int) -> Callable[[], Held] | None:
            return None if alike else lambda: self._node(op, typed, inputs)[index]

        return tuple(self.known([row[i].asnumpy() for row in rows], rows[0][i].dtype_name, later=later(i))
                     for i in range(len(rows[0])))

    def branched(self, condition: Held, then: Callable[[], Sequence[Held]],
                 other: Callable[[], Sequence[Held]]) -> tuple[Held, ...] | None:
        """Return the results of the branch that a value decides about when the graph runs; None where the branches give
        arrays of other shapes or types, or sequences.
        """
        moment = Node(None, "moment").serial
        sides = [list(then()), list(other())]
        first, second = ([getattr(held, "types", None) for held in side] for side in sides)
        if first != second or None in first:
            return None
        graphs = [cut([self.place(held) for held in side], [], moment) for side in sides]
        (one, ones), (two, twos) = graphs
        captured = [self._held[value] for value in (*ones, *twos)]
        return self.calls("_cond", condition, *captured, then=one, other=two, then_count=len(ones), total=len(first))

    # -- what rules need everywhere ------------------------------------------------------------------------------------
    def constant(self, value: Any, dtype: str) -> Held:
        """Return a constant of an element type."""
        return self.known(np.asarray(value, as_numpy(dtype)), dtype)

    def cast(self, held: Held, dtype: str) -> Held:
        """Change the element type; nothing where it is that already."""
        return held if held.dtype == dtype else self.call("Cast", held, dtype=dtype)

    def reshape(self, held: Held, targets: Sequence[Shape]) -> Held:
        """Give a value another shape, per world."""
        if held.fixed:
            return self.known([np.reshape(row, shape) for row, shape in zip(held.known or (), targets)], held.dtype,
                              later=lambda: self.reshape(self._placed(held), targets))
        if held.shapes == list(targets):
            return held
        if all(shape == targets[0] for shape in targets) and all(s == held.shapes[0] for s in held.shapes):
            target = targets[0]
            if target and 0 not in target:
                return self.call("Reshape", held, shape=target)
            return self.call("_reshape_to", held, shape=target)
        common([len(shape) for shape in targets])
        for reverse in (False, True):
            codes = _codes(held.shapes, targets, reverse)
            if codes is not None:
                return self.call("Reshape", held, shape=codes, reverse=reverse)
        raise Varies

    def expand(self, held: Held, targets: Sequence[Shape]) -> Held:
        """Stretch axes of one to the target shapes."""
        if held.shapes == list(targets):
            return held
        self._spent += sum(math.prod(shape) for shape in targets) if held.fixed else 0
        if held.fixed and self._spent <= _BUDGET and all(math.prod(shape) <= FOLDED for shape in targets):
            return self.known([np.ascontiguousarray(np.broadcast_to(row, shape))
                               for row, shape in zip(held.known or (), targets)], held.dtype,
                              later=lambda: self.expand(self._placed(held), targets))
        if targets.count(targets[0]) == len(targets):
            return self.call("_expand_to", held, shape=targets[0])
        return self._along_inputs(held, targets)

    # -- what follows from open sizes ----------------------------------------------------------------------------------
    def _made_of_sizes(self, held: Held, rows: Sequence[np.ndarray]) -> Value:
        """Place known numbers that are others in other worlds: equal, or counted, along axes that are open, or computed
        from such. The graph makes them from the sizes of its inputs (first states, positions, masks of sequences).
        """
        rank = common([row.ndim for row in rows])
        open_axes = [axis for axis in range(rank) if len({row.shape[axis] for row in rows}) > 1]
        cut = [row[tuple(slice(0, 1) if axis in open_axes else slice(None) for axis in range(rank))] for row in rows]
        if open_axes and all(_equal(one, cut[0]) for one in cut):
            if all(np.array_equal(row, np.broadcast_to(one, row.shape)) for row, one in zip(rows, cut)):
                return self.place(self._along_inputs(self.known(cut[0], held.dtype), held.shapes))
            start, step = float(rows[0].flat[0]), float(rows[0].flat[1]) - float(rows[0].flat[0])
            lines = (start + step * np.arange(row.size) for row in rows)
            if cut[0].size == 1 and all(np.array_equal(row.ravel(), line) for row, line in zip(rows, lines)):
                source, axis = self._open_axis([row.shape[open_axes[0]] for row in rows])
                numbers = self.cast(source, held.dtype)
                counted = self.call("_contrib_arange_like", numbers, start=start, step=step, axis=axis)
                return self.place(self.reshape(counted, held.shapes))
        if held.later is None:
            raise Varies
        return self.place(held.later())

    def _placed(self, held: Held) -> Held:
        """A known value as one that the graph makes."""
        return Held(held.types, place=self.place(held), sources=held.sources, varies=True)

    def _along_inputs(self, held: Held, targets: Sequence[Shape]) -> Held:
        """Stretch axes of one to open sizes, which are those of inputs."""
        rank = common([len(shape) for shape in targets])
        found = self.reshape(held, [(1,) * (rank - len(shape)) + shape for shape in held.shapes])
        for axis in range(rank):
            sizes = [shape[axis] for shape in targets]
            if [shape[axis] for shape in found.shapes] == sizes:
                continue
            if sizes.count(sizes[0]) == len(sizes):
                found = self.call("broadcast_axis", found, axis=axis, size=sizes[0])
                continue
            source, own = self._open_axis(sizes)
            found = self.call("broadcast_like", found, source, lhs_axes=(axis,), rhs_axes=(own,))
        return Held(found.types, place=found.place, sources=held.sources, varies=held.fixed or held.varies)

    def _open_axis(self, sizes: Sequence[int]) -> tuple[Held, int]:
        """Return the input, and its axis, that has these sizes."""
        for one in self.inputs:
            for axis, column in enumerate(zip(*one.shapes)):
                if list(column) == list(sizes):
                    return one, axis
        raise Varies


def _codes(given: Sequence[Shape], targets: Sequence[Shape], reverse: bool) -> Shape | None:
    """Return Reshape's codes that mean the targets in all worlds: a number, 0 (the input's size there), one -1."""
    codes: list[int] = []
    rank = len(targets[0])
    for axis in range(rank):
        column = [shape[axis] for shape in targets]
        at = axis - rank if reverse else axis
        own = [shape[at] if -len(shape) <= at < len(shape) else None for shape in given]
        if column.count(column[0]) == len(column) and column[0] > 0:
            codes.append(column[0])
        elif own == column:
            codes.append(0)
        else:
            codes.append(-1)
    return tuple(codes) if codes.count(-1) <= 1 else None


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.array_equal(one, other)


def _array(row: np.ndarray, dtype: str) -> NDArray:
    """A NumPy array as ours, with its element type."""
    made = from_numpy(np.ascontiguousarray(row).reshape(row.shape), zero_copy=False)
    return made if dtypes.name_of(made._t.dtype) == dtype else made.astype(dtype)
