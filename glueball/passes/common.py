"""Common subexpressions: equal operators on equal inputs are computed once.

Law: the results are unchanged; running the pass twice changes nothing more. Random operators and those that update a
state stay apart.
"""
from __future__ import annotations

from typing import Any

from ..symbol.graph import Node, Value
from .program import Program, Types, rebuild

__all__ = ["merge_common"]


def merge_common(program: Program) -> Program:
    """Merge nodes of the same operator, attributes and inputs."""
    seen: dict[Any, Node] = {}

    def visit(node: Node, inputs: tuple[Value, ...], types: Types) -> Value | None:
        op = node.op
        if op is None or op.random or (op.mutates and program.training):
            return None
        try:
            key = (op, inputs, node.attr_key)
            found = seen.get(key)
        except TypeError:  # an attribute that cannot be hashed
            return None
        if found is not None:
            return Value(found, 0)
        new = node if inputs == node.inputs else Node(op, node.name, inputs, node.attrs, node.hints, node.origin,
                                                      node.serial)
        seen[key] = new
        return Value(new, 0)

    return rebuild(program, visit)
