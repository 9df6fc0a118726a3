"""From a traced graph to a Program; with lists of children, to one that serves any number of them.

The one idea: a graph traced for k children contains k copies of the same computation. One copy, written over the
list's symbol, becomes steps on level "edge"; where the copies meet, the meeting must be a sum, mean or maximum over all
of them, and becomes a reduction. Anything else is refused with a reason in words.

Not here: the program (steps.py), whether a program means the same as a graph (verify.py), running it (body.py).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..base.errors import MXNetError, explain
from ..ops.opdef import OpDef, TensorType
from ..symbol.graph import Node, Value, execution_order, present
from .steps import Level, Program, Step

__all__ = ["to_program"]

Types = Mapping[Node, tuple[TensorType, ...]]
UNKNOWN = TensorType()


class ProgramBuilder:
    """Hands out slots and collects steps."""

    def __init__(self) -> None:
        self.types: list[TensorType] = []
        self.levels: list[Level] = []
        self.steps: list[Step] = []

    def slot(self, kind: TensorType, level: Level = "node") -> int:
        """Return a new slot."""
        self.types.append(kind)
        self.levels.append(level)
        return len(self.types) - 1

    def step(self, op: OpDef | str, attrs: Mapping[str, Any], inputs: Sequence[int | None],
             kinds: Sequence[TensorType], level: Level = "node", origin: str = "") -> tuple[int, ...]:
        """Append a step; return the slots of its results."""
        outputs = tuple(self.slot(kind, level) for kind in kinds)
        self.steps.append(Step(op, attrs, tuple(inputs), outputs, level, origin))
        return outputs

    def finish(self, arguments: Sequence[int], shared: Sequence[int], results: Sequence[int]) -> Program:
        """Return the program."""
        return Program(tuple(self.types), tuple(self.levels), tuple(arguments), tuple(shared), tuple(self.steps),
                       tuple(results))


def in_signature_order(op: OpDef, node: Node, slots: Sequence[int]) -> tuple[int | None, ...]:
    """Place the slots of a node's inputs in the order of the operator's signature, None where one is absent."""
    if op.variadic:
        return tuple(slots)
    given = dict(zip(present(node), slots))
    return tuple(given.get(name) for name in op.input_names)


def to_program(outputs: Sequence[Value], arguments: Sequence[Node], shared: Sequence[Node], types: Types) -> Program:
    """Turn a graph without lists of children into a Program: every step on level "node".

    Parameters
    ----------
    outputs
        Results of the graph, in order.
    arguments, shared
        Variables of the call's arguments, in order; parameters and constants.
    types
        Type of every value of every node that the outputs depend on.

    Raises
    ------
    MXNetError
        When the graph reads a variable that is neither an argument nor shared.
    """
    builder = ProgramBuilder()
    slots: dict[Value, int] = {}
    for variable in (*arguments, *shared):
        slots[Value(variable)] = builder.slot(types.get(variable, (UNKNOWN,))[0])
    for node in execution_order(outputs):
        if node.op is None:
            if Value(node) not in slots:
                raise MXNetError(explain("fold", "A graph reads a variable that it is given no value for.",
                                         expected=", ".join(v.node.name for v in slots), received=node.name))
            continue
        inputs = in_signature_order(node.op, node, [slots[v] for v in node.inputs])
        made = builder.step(node.op, node.attrs, inputs, types[node], origin=node.origin)
        slots.update({Value(node, i): slot for i, slot in enumerate(made)})
    return builder.finish([slots[Value(n)] for n in arguments], [slots[Value(n)] for n in shared],
                          [slots[v] for v in outputs])
