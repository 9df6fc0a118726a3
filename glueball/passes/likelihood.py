"""Cross entropy in one step: `-pick(log_softmax(x), label)` becomes one operator, and averages over one element vanish.

Law: values and gradients are equal to rounding; a second run changes nothing. It runs before differentiation, so that
backward gains, too. Labels that are no class are an error here, where pick would clip them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..ops.opdef import TensorType, lookup
from ..symbol.graph import Node, Value
from .program import Growing, Program, Types, rebuild

__all__ = ["fuse_likelihood"]


def _is(value: Value, name: str) -> bool:
    return value.node.op is not None and value.node.op.name == name


def _matches(node: Node, uses: Counter[Node]) -> bool:
    """Whether a node is `-pick(log_softmax(x), label)` over the last axis of a matrix, used only here."""
    if node.op is None or node.op.name != "_mul_scalar" or node.attrs["scalar"] != -1:
        return False
    pick = node.inputs[0]
    if not _is(pick, "pick") or uses[pick.node] != 1 or pick.node.attrs["axis"] not in (1, -1):
        return False
    logs = pick.node.inputs[0]
    plain = _is(logs, "log_softmax") and uses[logs.node] == 1 and len(logs.node.inputs) == 1
    attrs = logs.node.attrs
    return plain and attrs["axis"] in (1, -1) and not attrs["temperature"] and not attrs["dtype"]


def _averages_one(node: Node, types: Types) -> bool:
    """Whether a mean or sum runs over axes of size 1 only, so that it is a reshape."""
    if node.op is None or node.op.name not in ("mean", "sum"):
        return False
    before, after = types[node.inputs[0].node][node.inputs[0].index].shape, types[node][0].shape
    sizes = [[s for s in shape or () if s != 1] for shape in (before, after)]
    return sizes[0] == sizes[1] and 0 not in sizes[0]


def fuse_likelihood(program: Program) -> Program:
    """Put the one-step cross entropy in the place of its parts."""
    uses: Counter[Node] = Counter(v.node for node in program.order for v in node.inputs)
    uses.update(v.node for v in program.outputs if v is not None)
    reshape, likelihood = lookup("Reshape"), lookup("_class_likelihood")

    def reshaped(value: Value, node: Node, kind: TensorType, types: Growing) -> Value:
        if _is(value, "Reshape"):
            value = value.node.inputs[0]
        if types[value.node][value.index] == kind:
            return value
        made = Node(reshape, node.name, (value,), reshape.typed({"shape": kind.shape}), node.hints, node.origin,
                    node.serial)
        types[made] = (kind,)
        return Value(made)

    def visit(node: Node, inputs: Sequence[Value], types: Growing) -> Value | None:
        kind = types[node][0] if node in types else TensorType()
        if not kind.known or 0 in (kind.shape or ()):
            return None
        if _averages_one(node, types):
            return reshaped(inputs[0], node, kind, types)
        if not _matches(node, uses):
            return None
        pick = inputs[0].node
        data, label = pick.inputs[0].node.inputs[0], pick.inputs[1]
        data_kind, label_kind = types[data.node][data.index], types[label.node][label.index]
        if len(data_kind.shape or ()) != 2 or label_kind.shape != (data_kind.shape or (0,))[:1]:
            return None
        made = Node(likelihood, node.name, (data, label), {}, node.hints, node.origin, node.serial)
        types[made] = (TensorType(label_kind.shape, data_kind.dtype), data_kind)
        return Value(made) if kind.shape == label_kind.shape else reshaped(Value(made), node, kind, types)

    return rebuild(program, visit)
