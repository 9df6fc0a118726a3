"""What is cheap to compute is computed again in backward instead of being kept: normalised, rectified arrays are half
of what training a convolutional network would hold.

Law: values and gradients are equal bit for bit; a second run changes nothing more. The one idea: backward reads
copies of cheap forward nodes, whose own inputs are kept anyway. A chain of shortcuts is cheap only link by link: every
second link is kept. It runs when forward and backward are one program, before they are split.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ops.opdef import TensorType
from ..symbol.graph import Node, Value, topological
from .program import Growing, Program, rebuild

__all__ = ["recompute", "DEPTH", "LATE"]

LATE = "__late__"  # the hint of a node that runs when its result is needed, not when it could: it saves memory
DEPTH = 2  # so many cheap nodes may follow each other


def recompute(program: Program, results: Sequence[Value]) -> Program:
    """Let backward compute cheap values of forward itself. results : what forward returns or does"""
    forward = {node for node in topological(results) if not node.is_variable}
    if len(forward) == sum(not n.is_variable for n in program.order):
        return program
    returned = set(results)
    cheap = _cheap(program, forward, returned)
    if not cheap:
        return program
    copies: dict[Node, Node] = {}

    def copy(value: Value, types: Growing) -> Value:
        """Return a value that backward computes."""
        node = value.node
        if node not in cheap:
            return value
        made = copies.get(node)
        if made is None:
            made = copies[node] = Node(node.op, f"{node.name}_again", tuple(copy(v, types) for v in node.inputs),
                                       node.attrs, {**node.hints, LATE: "1"}, node.origin, node.serial)  # fmt: skip
            kinds: tuple[TensorType, ...] = types[node]
            types[made] = kinds
        return Value(made, value.index)

    def visit(node: Node, inputs: tuple[Value, ...], types: Growing) -> Value | None:
        if node in forward or node in copies.values():
            return None
        given = tuple(copy(v, types) for v in _shaped(node, inputs))
        if given == inputs:
            return None
        new = Node(node.op, node.name, given, node.attrs, node.hints, node.origin, node.serial)
        types[new] = types[node]
        return Value(new)

    return rebuild(program, visit)


def _shaped(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
    """Let the gradient of a maximum, which reads nothing of its data but the shape, read what is there anyway."""
    assert node.op is not None  # rebuild keeps variables
    if node.op.name == "_pooling_backward" and node.attrs["pool_type"] == "max" and len(inputs) > 2:
        data = inputs[1].node
        if data.op is not None and data.op.name == "_normalise":
            return (inputs[0], data.inputs[0], *inputs[2:])
    return inputs


def _cheap(program: Program, forward: set[Node], returned: set[Value]) -> set[Node]:
    """Return the forward nodes to compute again."""
    depth: dict[Node, int] = {}
    for node in program.order:
        if node not in forward or node.op is None or node.op.name != "_normalise" or Value(node) in returned:
            continue
        deep = 1 + max(depth.get(v.node, 0) for v in node.inputs)
        if deep <= DEPTH:
            depth[node] = deep
    return set(depth)
