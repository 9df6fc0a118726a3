"""Pool first: a maximum commutes with a rising function, so `pool(tanh(x))` becomes `tanh(pool(x))`, on a quarter of
the elements or fewer.

Law: values are equal bit for bit, gradients to rounding; a second run changes nothing. It runs before
differentiation, so that backward gains, too. Only for functions that never fall, used once, and windows that hold no
padding.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..symbol.graph import Node, Value
from .program import Program, Types, rebuild

__all__ = ["pool_first"]

_RISING = frozenset({"relu", "sigmoid", "tanh", "softrelu", "softsign"})


def _rises(node: Node, rectified: bool) -> bool:
    """Whether a node applies one function, which never falls, to each element; `rectified`: ReLU counts."""
    if node.op is None or not rectified and "relu" in (node.op.name, node.attrs.get("act_type")):
        return False
    return node.op.name in ("relu", "sigmoid", "tanh", "softsign") or (node.op.name == "Activation"
                                                                       and node.attrs["act_type"] in _RISING)


def _takes_maxima(node: Node) -> bool:
    if node.op is None or node.op.name != "Pooling" or node.attrs["pool_type"] != "max":
        return False
    return bool(node.attrs["global_pool"]) or (node.attrs["pooling_convention"] == "valid"
                                               and not any(node.attrs["pad"] or ()))


def pool_first(program: Program, rectified: bool = True) -> Program:
    """Exchange rising functions with the maximum pooling that follows them; `rectified`: ReLU, too."""
    uses: Counter[Node] = Counter(v.node for node in program.order for v in node.inputs)
    uses.update(v.node for v in program.outputs if v is not None)

    def visit(node: Node, inputs: Sequence[Value], types: Types) -> Value | None:
        if not _takes_maxima(node) or uses[node.inputs[0].node] != 1 or not _rises(inputs[0].node, rectified):
            return None
        function = inputs[0].node
        pooled = Node(node.op, node.name, function.inputs, node.attrs, node.hints, node.origin, node.serial)
        applied = Node(function.op, function.name, (Value(pooled, 0),), function.attrs, function.hints, function.origin,
                       node.serial)
        own: Any = types  # rebuild's own dictionary
        own.update({pooled: types[node], applied: (types[node][0],)})
        return Value(applied, 0)

    return rebuild(program, visit)
