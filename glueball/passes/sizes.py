"""Sizes that only the graph knows: `zeros(shape=(0, 8))` in a graph means "of a batch size to be found out".

The one idea: inference has found the size from whoever uses the value (the first state of a recurrent network meets
the data's batch), so the node is replaced by one that says it. This is no optimisation but part of what a graph
means: it runs before the pass pipeline, always.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..ops.opdef import TensorType
from ..symbol.graph import Node, Value, topological
from .program import Program, Types, rebuild

__all__ = ["with_sizes", "has_open_size"]

_SIZED_BY_USE = frozenset({"_zeros", "_ones", "_full"})


def has_open_size(node: Node) -> bool:
    """Whether a node leaves a size to its users."""
    return node.op is not None and node.op.name in _SIZED_BY_USE and 0 in (node.attrs["shape"] or ())


def with_sizes(
    outputs: Sequence[Value], types: Mapping[Node, tuple[TensorType, ...]]
) -> tuple[Sequence[Value], Mapping[Node, Any]]:
    """Return outputs and types of the graph with every open size written into its node; the same objects where there
    is none.
    """
    if not any(has_open_size(node) for node in topological(outputs)):
        return outputs, types

    def visit(node: Node, inputs: tuple[Value, ...], known: Types) -> Value | None:
        if not has_open_size(node):
            return None
        found = tuple(size or 0 for size in known[node][0].shape or ())
        return Value(Node(node.op, node.name, (), {**node.attrs, "shape": found}, node.hints, node.origin, node.serial))
    program = rebuild(Program(tuple(outputs), types, False), visit)
    return [value for value in program.outputs if value is not None], program.types
