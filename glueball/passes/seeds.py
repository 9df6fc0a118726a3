"""Dropout falls into drawing a seed and what the seed decides, which is arithmetic like any other: kernels take it in.

Law: for the same state of torch's generator the same elements are dropped, and values and gradients are those of
Dropout; a second run changes nothing. It runs before differentiation, so that the gradient is arithmetic as well.
"""

from __future__ import annotations

from ..ops.dropout import active
from ..ops.opdef import TensorType, lookup
from ..symbol.graph import Node, Value
from .normalise import is_operator
from .program import Growing, Program, rebuild

__all__ = ["draw_seeds"]


def draw_seeds(program: Program) -> Program:
    """Put `_draw_seed` and `_dropped` in the place of Dropout."""
    if not any(is_operator(n, "Dropout") for n in program.order):
        return program

    def visit(node: Node, inputs: tuple[Value, ...], types: Growing) -> Value | None:
        if not is_operator(node, "Dropout") or not active(node.attrs, program.training):
            return None
        kind, seed_kind = types[node]
        seed = Node(lookup("_draw_seed"), f"{node.name}_seed", (), {}, {}, node.origin, node.serial)
        attrs = lookup("_dropped").typed({"p": node.attrs["p"], "axes": node.attrs["axes"]})
        made = Node(lookup("_dropped"), node.name, (inputs[0], Value(seed)), attrs, node.hints, node.origin,
                    node.serial)  # fmt: skip
        seed_types: tuple[TensorType, ...] = (seed_kind,)
        types[seed], types[made] = seed_types, (kind,)
        return Value(made)

    return rebuild(program, visit)
