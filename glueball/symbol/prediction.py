"""Old output layers as predictions: SoftmaxOutput and the regression outputs without the label that nobody feeds.

The one idea: such a layer reads its label in backward only, so where the label (or what it is made of) has no value
the layer is replaced by what it computes forward. Used when model files come back (gluon/symbol_block.py,
gluon/model_file.py); the layers themselves are in ops/output.py.
"""
from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ..ops.opdef import lookup
from .graph import Node, Value, topological, variables

__all__ = ["predictions", "inputs_without_value"]

_PLAIN = {"SoftmaxOutput": "softmax", "LogisticRegressionOutput": "sigmoid", "LinearRegressionOutput": "_copy",
          "MAERegressionOutput": "_copy", "SVMOutput": "_copy"}
_MATRICES = ("FullyConnected", "Flatten")


def predictions(values: Sequence[Value], have: Collection[str]) -> list[Value]:
    """Return outputs in which output layers whose label depends on a variable not named in `have` are predictions."""
    made: dict[Node, Node] = {}
    fed: dict[Node, bool] = {}

    def place(value: Value) -> Value:
        return Value(made[value.node], value.index)

    for node in topological(values):
        fed[node] = node.name in have if node.op is None else all(fed[v.node] for v in node.inputs)
        if node.op is not None and node.op.name in _PLAIN and not all(fed[v.node] for v in node.inputs[1:]):
            made[node] = _plain(node, place(node.inputs[0]))
            fed[node] = fed[node.inputs[0].node]
            continue
        inputs = tuple(place(v) for v in node.inputs)
        made[node] = node if inputs == node.inputs else Node(node.op, node.name, inputs, node.attrs, node.hints,
                                                            node.origin, node.serial)
    return [place(v) for v in values]


def _plain(node: Node, data: Value) -> Node:
    """Return the node that computes what an output layer shows."""
    assert node.op is not None  # an output layer

    def apply(name: str, op: str, *inputs: Value, **attrs: Any) -> Node:
        return Node(lookup(op), name, inputs, lookup(op).typed(attrs), {}, node.origin)

    op = _PLAIN[node.op.name]
    if op != "softmax" or node.attrs["preserve_shape"]:
        return apply(node.name, op, data)
    if node.attrs["multi_output"]:
        return apply(node.name, op, data, axis=1)
    if _is_matrix(data):
        return apply(node.name, op, data)
    rows = apply(f"{node.name}_rows", "Flatten", data)  # one distribution over everything but the batch
    spread = apply(f"{node.name}_softmax", op, Value(rows, 0))
    return apply(node.name, "reshape_like", Value(spread, 0), data)


def _is_matrix(value: Value) -> bool:
    op, attrs = value.node.op, value.node.attrs
    return op is not None and op.name in _MATRICES and attrs.get("flatten", True)


def inputs_without_value(values: Sequence[Value], given: Collection[str]) -> list[str]:
    """Return the names of the arguments that are not in `given`: what a network is called with, in the order of a
    call: `data0`, `data1` … by their numbers, others as they occur.
    """
    names = [n.name for n in variables(topological(values))[0] if n.name not in given]
    if len(names) > 1 and sorted(names) == sorted(f"data{i}" for i in range(len(names))):
        return [f"data{i}" for i in range(len(names))]
    return names
