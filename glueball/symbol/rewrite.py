"""Rebuilding graphs: substitute values for values. Nodes are immutable, so everything above a change is made anew and
the rest is shared.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from .graph import Node, Value, topological

__all__ = ["substitute"]


def substitute(outputs: Sequence[Value], mapping: Mapping[Node, Value], rename: str | None = None) -> list[Value]:
    """Return the outputs with the first result of each node in `mapping` replaced; `rename` gives the output node a
    new name.
    """
    made: dict[Node, Node] = {}
    heads = {v.node for v in outputs}

    def place(value: Value) -> Value:
        if value.node in mapping and value.index == 0:
            return mapping[value.node]
        return Value(made[value.node], value.index)

    for node in topological(outputs):
        if node in mapping:
            made[node] = node
            continue
        inputs = tuple(place(v) for v in node.inputs)
        name = rename if rename and node in heads and not node.is_variable else node.name
        same = inputs == node.inputs and name == node.name
        made[node] = node if same else Node(node.op, name, inputs, node.attrs, node.hints, node.origin)
    return [place(v) for v in outputs]
