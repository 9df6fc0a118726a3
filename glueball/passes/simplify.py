"""Algebra: operators that change nothing are left out.

Law: the results are equal, bit for bit; a second run changes nothing. Rules are rows of a table: operator name ->
does it pass input 0 on?
"""
from __future__ import annotations

from collections.abc import Callable

from ..ops.opdef import TensorType
from ..symbol.graph import Node, Value
from .program import Program, Types, rebuild

__all__ = ["simplify"]

Rule = Callable[[Node, tuple[TensorType, ...], TensorType, bool], bool]


def _same_type(node: Node, types: tuple[TensorType, ...], source: TensorType, training: bool) -> bool:
    return types[0] == source


def _always(node: Node, types: tuple[TensorType, ...], source: TensorType, training: bool) -> bool:
    return True


def _scalar(neutral: float) -> Rule:
    return lambda node, types, source, training: node.attrs["scalar"] == neutral and types[0] == source


_PASS_ON: dict[str, Rule] = {
    "_copy": _always, "BlockGrad": _always, "make_loss": _always, "Cast": _same_type, "amp_cast": _same_type,
    "_sum_to": _same_type, "_expand_to": _same_type, "broadcast_to": _same_type, "broadcast_like": _same_type,
    "reshape_like": _same_type, "Reshape": _same_type, "Flatten": _same_type, "expand_dims": _same_type,
    "squeeze": _same_type, "_mul_scalar": _scalar(1), "_div_scalar": _scalar(1),
    "Dropout": lambda node, types, source, training: (not training and node.attrs["mode"] == "training")
    or node.attrs["p"] == 0,
}


def simplify(program: Program) -> Program:
    """Leave out operators that return their first input; runs after differentiation, so stops of gradients have done
    their work.
    """
    def visit(node: Node, inputs: tuple[Value, ...], types: Types) -> Value | None:
        rule = _PASS_ON.get(node.op.name) if node.op is not None else None
        if rule is not None and node.num_visible == 1 and rule(node, types[node],
                                                               types[inputs[0].node][inputs[0].index],
                                                               program.training):
            return inputs[0]
        return None

    return rebuild(program, visit)
