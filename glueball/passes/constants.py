"""Constants: what can be computed without any input is computed once, when the plan is made.

Law: results are unchanged. Only small values (up to LIMIT elements) without randomness are kept; large ones are
cheaper to make anew than to hold.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ops.opdef import OpDef
from ..symbol.graph import Node, Value
from .program import Program, Types, rebuild

__all__ = ["fold_constants", "LIMIT", "RECIPE"]

LIMIT = 65536
RECIPE = "recipe"
"""The attribute of a constant that holds the node that was evaluated, over constants of this pass."""


def fold_constants(program: Program, run: Callable[[OpDef, Sequence[Any], Any], Any]) -> Program:
    """Evaluate operators whose inputs are constants of this pass; `run(op, tensors, attrs)` is the executor's."""
    values: dict[Node, Any] = {}
    constants = dict(program.constants)

    def visit(node: Node, inputs: tuple[Value, ...], types: Types) -> Value | None:
        op = node.op
        if op is None or op.random or op.mutates or op.takes_training or op.dynamic or node.num_outputs != 1:
            return None
        if not all(v.node in values for v in inputs):
            return None
        size = 1
        for s in types[node][0].shape or ():
            size *= s or 0
        if size > LIMIT:
            return None
        recipe = Node(op, node.name, inputs, node.attrs, node.hints, node.origin, node.serial)
        made = Node(None, f"_folded{len(values)}", attrs={RECIPE: recipe})
        values[made] = constants[made] = run(op, [values[v.node] for v in inputs], node.attrs)
        return Value(made, 0)

    result = rebuild(program, visit)
    read = set(result.order)
    return Program(result.outputs, result.types, result.training, {n: v for n, v in constants.items() if n in read})
