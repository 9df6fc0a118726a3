"""A convolution finishes what follows it: the addition of a shortcut, and ReLU, clip or leaky ReLU, in its own call.

Law: the values are the same to rounding; a second run changes nothing. Only in plans that predict, for float32 images
with channels first on a CPU, and for weights that depend on parameters alone (`fixed`): they are brought into the order
that the library wants for data of this shape, once.

Runs after normalisation has been absorbed (absorb.py) and before the order in memory is decided (layout.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from ..base.dtype import as_torch
from ..ops.opdef import TensorType, lookup
from ..symbol.graph import Node, Value
from .absorb import fixed_nodes
from .normalise import is_operator, uses_of
from .program import Growing, Program, rebuild

__all__ = ["finish_convolutions"]

_FLOAT32 = as_torch("float32")


def finish_convolutions(program: Program, fixed: Collection[Node], arrange: bool = True) -> Program:
    """Put finished convolutions in the place of convolutions and of what follows them; those that are done by
    Winograd's way (winograd.py) take it along, too.

    arrange : whether weights are brought into the library's order for this shape; without, they are left as they are
    """
    if program.training or not any(is_operator(n, "Convolution", "_winograd_convolution") for n in program.order):
        return program
    return _with_activation(_with_addition(_finished(program, fixed_nodes(program, fixed), arrange)))


def _made(name: str, node: Node, inputs: tuple[Value, ...], attrs: Mapping[str, Any], kind: TensorType,
          types: Growing) -> Value:  # fmt: skip
    op = lookup(name)
    made = Node(op, node.name, inputs, op.typed(attrs), node.hints, node.origin, node.serial)
    types[made] = (kind,)
    return Value(made)


def _pair(value: Any, default: int) -> tuple[int, int]:
    one, other = tuple(value) or (default, default)
    return one, other


def _finished(program: Program, fixed: set[Node], arrange: bool) -> Program:
    def visit(node: Node, inputs: tuple[Value, ...], types: Growing) -> Value | None:
        kind = types[node][0]
        if not is_operator(node, "Convolution") or any(v.node not in fixed for v in node.inputs[1:]):
            return None
        given = types[inputs[0].node][inputs[0].index]
        if any(types[v.node][v.index].dtype != _FLOAT32 for v in inputs) or not given.known or 0 in (given.shape or ()):
            return None
        if len(kind.shape or ()) != 4 or node.attrs["layout"] not in (None, "None", "NCHW"):
            return None
        data, weight, *bias = inputs
        form = {"stride": _pair(node.attrs["stride"], 1), "dilate": _pair(node.attrs["dilate"], 1),
                "pad": _pair(node.attrs["pad"], 0), "num_group": node.attrs["num_group"]}  # fmt: skip
        if arrange:
            weight = _made("_arranged_weight", node, (weight,), {**form, "data": given.shape},
                           types[weight.node][weight.index], types)  # fmt: skip
        return _made("_finished_convolution", node, (data, weight, *bias), {**form, "no_bias": not bias}, kind,
                     types)  # fmt: skip

    return rebuild(program, visit)


def _open(value: Value, uses: Counter[Value]) -> bool:
    """Whether a value is a finished convolution that has room for more and that nobody else reads."""
    node = value.node
    if not is_operator(node, "_finished_convolution", "_winograd_convolution") or node.attrs.get("added"):
        return False
    return node.attrs["act"] == "none" and uses[value] == 1


def _with_addition(program: Program) -> Program:
    uses = uses_of(program)

    def visit(node: Node, inputs: tuple[Value, ...], types: Growing) -> Value | None:
        if not is_operator(node, "elemwise_add", "broadcast_add", "_plus") or len(inputs) != 2:
            return None
        kinds = [types[v.node][v.index] for v in inputs]
        ends = [k for k in (0, 1) if _open(node.inputs[k], uses)]
        if not ends or kinds[0] != kinds[1]:
            return None
        main = max(ends, key=lambda k: inputs[k].node.serial)  # the one that is computed last
        conv = inputs[main].node
        if is_operator(conv, "_winograd_convolution"):
            if conv.attrs["added"]:
                return None
            return _made("_winograd_convolution", conv, (*conv.inputs, inputs[1 - main]),
                         {**conv.attrs, "added": True}, kinds[0], types)  # fmt: skip
        attrs = {k: conv.attrs[k] for k in ("stride", "dilate", "pad", "num_group", "no_bias")}
        return _made("_added_convolution", conv, (inputs[1 - main], *conv.inputs), attrs, kinds[0], types)

    return rebuild(program, visit)


def _activation(node: Node) -> dict[str, Any] | None:
    """Return the activation that a node applies to each element, in the words of `_finished_convolution`."""
    if is_operator(node, "relu") or is_operator(node, "Activation") and node.attrs["act_type"] == "relu":
        return {"act": "relu"}
    if is_operator(node, "clip"):
        return {"act": "clip", "low": node.attrs["a_min"], "high": node.attrs["a_max"]}
    if is_operator(node, "LeakyReLU") and node.attrs["act_type"] == "leaky":
        return {"act": "leaky", "low": node.attrs["slope"]}
    return None


def _with_activation(program: Program) -> Program:
    uses = uses_of(program)

    def visit(node: Node, inputs: tuple[Value, ...], types: Growing) -> Value | None:
        act = _activation(node)
        if act is None or len(inputs) != 1 or uses[node.inputs[0]] != 1:
            return None
        conv = inputs[0].node
        room = (is_operator(conv, "_finished_convolution", "_winograd_convolution")
                or is_operator(conv, "_added_convolution") and act["act"] == "relu")  # fmt: skip
        if not room or conv.attrs["act"] != "none":
            return None
        return _made(conv.op.name if conv.op else "", conv, conv.inputs, {**conv.attrs, **act}, types[conv][0], types)

    return rebuild(program, visit)
