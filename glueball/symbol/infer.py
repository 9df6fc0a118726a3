"""Shape and dtype inference over a graph.

The one idea: each operator's rule (ops/rules/infer.py) says what its inputs and results tell about each other; sweeps
forward and backward repeat until nothing new is learned. One forward sweep is enough for most graphs. Answers for
complete inputs are remembered per (operator, attributes, types), so tracing the same layer again costs a dictionary
look-up.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..base.errors import MXNetError, ShapeError
from ..ops.opdef import TensorType
from ..ops.rules.infer import complete, unify
from .graph import Node, Value, topological

__all__ = ["infer", "infer_node", "UNKNOWN"]

UNKNOWN = TensorType()
Types = dict[Node, tuple[TensorType, ...]]
_memo: dict[Any, tuple[list[TensorType], list[TensorType]]] = {}


def infer_node(node: Node, ins: Sequence[TensorType], outs: Sequence[TensorType], training: bool = False,
               ) -> tuple[list[TensorType], list[TensorType]]:
    """Return what a node's rule says about its inputs and outputs; errors name the node and the user's line."""
    assert node.op is not None  # variables have no rule
    key = None
    if all(t.known for t in ins):
        key = (node.op, node.attr_key, tuple(ins), training, len(node.inputs))
        try:
            found = _memo.get(key)
        except TypeError:  # an attribute that cannot be hashed (a sub-graph's options)
            found, key = None, None
        if found is not None:
            return found
    try:
        result = complete(node.op, node.attrs, ins, outs, training)
    except MXNetError as error:
        where = f"\n  In {node.name!r}" + (f", made at {node.origin}" if node.origin else "")
        raise type(error)(f"{error}{where}") from None
    if key is not None and all(t.known for t in result[1]):
        if len(_memo) > 20000:
            _memo.clear()
        _memo[key] = result
    return result


def _joined(old: TensorType, new: TensorType, where: str) -> TensorType:
    if old == new:
        return old
    dtype = old.dtype if new.dtype is None else new.dtype
    return TensorType(unify(old.shape, new.shape, where), dtype)


def infer(outputs: Sequence[Value], known: Mapping[Node, TensorType], training: bool = False,
          order: Sequence[Node] | None = None) -> Types:
    """Return the types of all values of all nodes, as far as they can be known.

    Raises ShapeError where what is known contradicts itself.
    """
    order = topological(outputs) if order is None else order
    types: Types = {n: (known.get(n, UNKNOWN),) if n.is_variable else (UNKNOWN,) * n.num_outputs for n in order}
    for sweep in range(20):
        changed = False
        for node in (order if sweep % 2 == 0 else reversed(order)):
            if node.is_variable:
                continue
            outs = types[node]
            ins = [types[v.node][v.index] for v in node.inputs]
            if sweep and all(t.known for t in outs) and all(t.known for t in ins):
                continue
            new_ins, new_outs = infer_node(node, ins, outs, training)
            if len(new_outs) != len(outs):  # a node from a file may claim what its operator does not give
                raise ShapeError(f"{node.name!r} ({node.op.name if node.op else ''}) has {len(new_outs)} results, "
                                 f"not {len(outs)}.")
            for value, old, new in zip(node.inputs, ins, new_ins):
                joined = _joined(old, new, value.node.name)
                if joined != old:
                    row = list(types[value.node])
                    row[value.index] = joined
                    types[value.node] = tuple(row)
                    changed = True
            joined_outs = tuple(_joined(o, n, node.name) for o, n in zip(outs, new_outs))
            if joined_outs != outs:
                types[node] = joined_outs
                changed = True
        if not changed or all(t.known for row in types.values() for t in row):
            break
    return types


def require_complete(types: Types, order: Sequence[Node]) -> None:
    """Raise when something is still unknown, naming the first such variable or node."""
    for node in order:
        if not all(t.known for t in types[node]):
            raise ShapeError(f"The shape of {node.name!r} cannot be inferred from what is given; known so far: "
                             f"{types[node]}")
