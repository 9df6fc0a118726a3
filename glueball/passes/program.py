"""What passes work on: outputs and types, with inputs fixed; a pass returns a new Program.

`rebuild` is the one helper they share: it copies a program node by node through a function that may answer with
another value.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from ..ops.opdef import TensorType
from ..symbol.graph import Node, Value, execution_order

__all__ = ["Program", "rebuild"]

Types = Mapping[Node, tuple[TensorType, ...]]
Growing = dict[Node, tuple[TensorType, ...]]  # a visit adds the types of the nodes that it makes
Visit = Callable[[Node, tuple[Value, ...], Growing], "Value | None"]


@final
@dataclass(frozen=True, slots=True)
class Program:
    """Values to compute. `constants` are variables whose arrays the plan holds. Entries of `outputs` may be None (a
    gradient that is zero).
    """

    outputs: tuple[Value | None, ...]
    types: Types
    training: bool
    constants: Mapping[Node, Any] = field(default_factory=dict)

    @property
    def order(self) -> list[Node]:
        """Nodes in execution order."""
        return execution_order([v for v in self.outputs if v is not None])

    def type_of(self, value: Value) -> TensorType:
        """The type of a value."""
        return self.types[value.node][value.index]


def rebuild(program: Program, visit: Visit) -> Program:
    """Return the program with each operator node replaced by what `visit(node, new inputs, types of all nodes so
    far)` answers.

    None keeps the node; a Value stands for the node's only used result (or for the same result number when it is a
    node of equal outputs).
    """
    types: dict[Node, tuple[TensorType, ...]] = dict(program.types)
    made: dict[Node, Node] = {}
    instead: dict[Node, Value] = {}

    def place(value: Value) -> Value:
        other = instead.get(value.node)
        if other is not None:
            return other if value.index == 0 else Value(other.node, value.index)
        return Value(made[value.node], value.index)

    for node in program.order:
        if node.is_variable:
            made[node] = node
            continue
        inputs = tuple(place(v) for v in node.inputs)
        answer = visit(node, inputs, types)
        if answer is not None:
            instead[node] = answer
            types.setdefault(answer.node, types[node])
            continue
        new = node if inputs == node.inputs else Node(node.op, node.name, inputs, node.attrs, node.hints, node.origin,
                                                      node.serial)
        types[new] = types[node]
        made[node] = new
    return Program(tuple(None if v is None else place(v) for v in program.outputs), types, program.training,
                   program.constants)
