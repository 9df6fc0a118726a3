"""A batch normalisation takes away what is equal in a channel, so the bias of a convolution before it moves nothing:
its gradient is zero, and the reading of the whole gradient that would add up to it is left out.

Law: gradients are the same to rounding (what was added up is the rounding of a sum that is zero); a second run changes
nothing. It runs after differentiation, on what passes/normalise.py made: statistics of the convolution's own result,
whose gradient comes from the normalisation alone.
"""

from __future__ import annotations

from ..ops.opdef import TensorType, lookup
from ..symbol.graph import Node, Value
from .normalise import is_operator
from .program import Growing, Program, rebuild

__all__ = ["leave_out_biases"]

_BIAS = 2  # the result of `_convolution_backward` that is the bias's gradient


def _of_normalised(gradient: Value) -> bool:
    """Whether a gradient is what a normalisation by the data's own statistics sends to these data."""
    node = gradient.node
    if gradient.index != 0 or not is_operator(node, "_normalise_backward"):
        return False
    data, mean, inverse = node.inputs[1], node.inputs[4], node.inputs[5]
    statistics = mean.node
    return (is_operator(statistics, "_batch_statistics") and statistics.inputs[0] == data
            and (mean.index, inverse) == (0, Value(statistics, 1)))  # fmt: skip


def leave_out_biases(program: Program) -> Program:
    """Let the gradients of biases before a batch normalisation be zeros."""
    if not any(is_operator(n, "_normalise_backward") for n in program.order):
        return program
    zeros: dict[Value, Value] = {}  # what is no longer computed -> what stands for it

    def visit(node: Node, inputs: tuple[Value, ...], types: Growing) -> Value | None:
        attrs = node.attrs
        if is_operator(node, "_convolution_backward") and attrs["output_mask"][_BIAS] and _of_normalised(inputs[0]):
            *kept, bias = types[node]
            attrs = {**attrs, "output_mask": (*attrs["output_mask"][:_BIAS], 0)}
            made = Node(node.op, node.name, inputs, attrs, node.hints, node.origin, node.serial)
            types[made] = (*kept, bias._replace(shape=(0,)))
            zeros[Value(made, _BIAS)] = Value(_zeros(node, bias, types))
            return Value(made)
        given = tuple(zeros.get(v, v) for v in inputs)
        if given == inputs:
            return None
        made = Node(node.op, node.name, given, attrs, node.hints, node.origin, node.serial)
        types[made] = types[node]
        return Value(made)

    found = rebuild(program, visit)
    outputs = tuple(None if v is None else zeros.get(v, v) for v in found.outputs)
    return Program(outputs, found.types, found.training, found.constants)


def _zeros(near: Node, kind: TensorType, types: Growing) -> Node:
    op = lookup("_zeros")
    attrs = op.typed({"shape": kind.shape, "dtype": kind.dtype})
    made = Node(op, f"{near.name}_bias", (), attrs, {}, near.origin, near.serial)
    types[made] = (kind,)
    return made
