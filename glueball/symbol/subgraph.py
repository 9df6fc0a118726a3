"""A piece of a graph as a value: what control-flow operators hold.

The one idea: `cut` takes what a function composed and splits it at a moment: nodes made before it, and variables, are
captured inputs; nodes made since are the sub-graph's own.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, final

from ..ops.opdef import TensorType
from .graph import Node, Value, topological
from .infer import infer

__all__ = ["Subgraph", "cut"]


@final
class Subgraph:
    """Outputs as a function of inputs, given in order."""

    __slots__ = ("inputs", "outputs")
    runner: ClassVar[Callable[..., Any]]  # the interpreter, set by executor/ which stands above

    def __init__(self, inputs: Sequence[Node], outputs: Sequence[Value]) -> None:
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)

    def run(self, tensors: Sequence[Any], training: bool) -> list[Any]:
        """Compute the outputs."""
        return Subgraph.runner(self.outputs, dict(zip(self.inputs, tensors)), training)

    def infer(self, types: Sequence[TensorType], training: bool = False) -> list[TensorType]:
        """Return the types of the outputs."""
        found = infer(self.outputs, dict(zip(self.inputs, types)), training)
        return [found[v.node][v.index] if v.node in found else dict(zip(self.inputs, types))[v.node]
                for v in self.outputs]

    def __repr__(self) -> str:
        return f"<sub-graph of {len(topological(self.outputs))} nodes>"


def cut(outputs: Sequence[Value], placeholders: Sequence[Node], moment: int) -> tuple[Subgraph, list[Value]]:
    """Return the sub-graph of `outputs` made since serial number `moment`, and the values it captures.

    The sub-graph's inputs are the placeholders, then one per captured value.
    """
    own = set(placeholders)
    captured: dict[Value, Node] = {}
    inside = {n for n in topological(outputs) if n.serial >= moment and not n.is_variable}

    def visit(value: Value) -> None:
        if value.node not in own and value.node not in inside and value not in captured:
            captured[value] = Node(None, f"captured{len(captured)}")

    for node in topological(outputs):
        if node in inside:
            for value in node.inputs:
                visit(value)
    for value in outputs:
        visit(value)
    replaced = _replace(outputs, captured, inside)
    return Subgraph([*placeholders, *captured.values()], replaced), list(captured)


def _replace(outputs: Sequence[Value], captured: dict[Value, Node], inside: set[Node]) -> list[Value]:
    """Rebuild the inside with captured values as variables (several results of one node may be captured)."""
    made: dict[Node, Node] = {}

    def place(value: Value) -> Value:
        if value in captured:
            return Value(captured[value], 0)
        return Value(made.get(value.node, value.node), value.index)

    for node in topological(outputs):
        if node in inside:
            made[node] = Node(node.op, node.name, tuple(place(v) for v in node.inputs), node.attrs, node.hints,
                              node.origin, node.serial)
    return [place(v) for v in outputs]


