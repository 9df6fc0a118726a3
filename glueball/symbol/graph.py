"""The graph: immutable nodes, values, and the order in which they are visited.

The one idea: a Node is an operator applied to Values (or a variable, `op is None`); it never changes after it was
made, so graphs share nodes freely and passes build new ones. Shapes and dtypes are not in the graph: inference
returns them beside it (infer.py).
"""
from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

from ..ops.opdef import OpDef, TensorType

__all__ = ["Node", "Value", "Graph", "topological", "execution_order", "variables"]


_serial = itertools.count()


@final
class Node:
    """One operator call or variable.

    attrs : typed values, complete (defaults filled in). hints : textual attributes (`__shape__`, `__lr_mult__`, user
    attributes). origin : `file:line` of the user's code that made it, for error messages. serial : counts nodes in
    the order they were made; a copy keeps it.
    """

    __slots__ = ("op", "name", "inputs", "attrs", "hints", "origin", "serial", "_key")

    def __init__(self, op: OpDef | None, name: str, inputs: tuple[Value, ...] = (),
                 attrs: Mapping[str, Any] | None = None, hints: Mapping[str, str] | None = None, origin: str = "",
                 serial: int | None = None) -> None:
        self.op = op
        self.name = name
        self.inputs = inputs
        self.attrs: Mapping[str, Any] = attrs or {}
        self.hints: Mapping[str, str] = hints or {}
        self.origin = origin
        self.serial = next(_serial) if serial is None else serial
        self._key: tuple[Any, ...] | None = None

    @property
    def is_variable(self) -> bool:
        """Whether this is an input of the graph rather than an operator."""
        return self.op is None

    @property
    def attr_key(self) -> tuple[Any, ...]:
        """The attributes as a hashable value."""
        if self._key is None:
            self._key = tuple(self.attrs[name] for name in self.op.attr_names) if self.op is not None else ()
        return self._key

    @property
    def num_outputs(self) -> int:
        """Number of values the node computes."""
        return 1 if self.op is None else self.op.num_outputs(self.attrs)

    @property
    def num_visible(self) -> int:
        """Number of values a user sees."""
        return 1 if self.op is None else self.op.num_visible(self.attrs)

    def __repr__(self) -> str:
        return f"<{'variable' if self.op is None else self.op.name} {self.name}>"


class Value(NamedTuple):
    """One result of a node."""

    node: Node
    index: int = 0


@final
@dataclass(frozen=True, slots=True)
class Graph:
    """Outputs with the variables they are computed from, in call order, and the types of everything once inferred."""

    inputs: tuple[Node, ...]
    outputs: tuple[Value, ...]
    types: Mapping[Node, tuple[TensorType, ...]]

    @property
    def order(self) -> list[Node]:
        """Nodes in an order in which each comes after its inputs."""
        return topological(self.outputs)

    def type_of(self, value: Value) -> TensorType:
        """The type of a value."""
        return self.types[value.node][value.index]


def topological(outputs: Iterable[Value]) -> list[Node]:
    """Return the nodes that `outputs` depend on, depth first, inputs before users (the order of model files)."""
    order: list[Node] = []
    seen: set[Node] = set()
    for output in outputs:
        if output.node in seen:
            continue
        stack: list[tuple[Node, int]] = [(output.node, 0)]
        seen.add(output.node)
        while stack:
            node, position = stack.pop()
            if position < len(node.inputs):
                stack.append((node, position + 1))
                child = node.inputs[position].node
                if child not in seen:
                    seen.add(child)
                    stack.append((child, 0))
            else:
                order.append(node)
    return order


def execution_order(outputs: Sequence[Value]) -> list[Node]:
    """Return the nodes in an order to run them: as `topological`, but random numbers are drawn in the order of the
    traced program.
    """
    order = topological(outputs)
    drawing = [node for node in order if node.op is not None and node.op.random]
    in_turn = sorted(drawing, key=lambda node: node.serial)
    return order if drawing == in_turn else topological([*[Value(node) for node in in_turn], *outputs])


def variables(order: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """Return (arguments, auxiliary states): variables that operators update in place are auxiliary."""
    auxiliary: set[Node] = set()
    for node in order:
        if node.op is not None and node.op.mutates and not node.op.variadic:
            names = present(node)
            auxiliary.update(v.node for v, name in zip(node.inputs, names) if name in node.op.mutates
                             and v.node.is_variable)
    found = [node for node in order if node.is_variable]
    return [n for n in found if n not in auxiliary], [n for n in found if n in auxiliary]


def present(node: Node) -> tuple[str, ...]:
    """Return the names of a node's inputs, in order."""
    assert node.op is not None  # callers ask about operators
    if node.op.variadic:
        return tuple(f"arg{i}" for i in range(len(node.inputs)))
    names = node.op.present_inputs(node.attrs)
    if len(names) == len(node.inputs):
        return names
    given = node.hints.get("__inputs__")
    return tuple(given.split(",")) if given else node.op.input_names[:len(node.inputs)]
