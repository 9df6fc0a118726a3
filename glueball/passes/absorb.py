"""Normalisation with statistics that stand still goes into the weights of the layer before it, and what is left of it
takes the addition and the ReLU that follow along.

Law: the values are the same to rounding; a second run changes nothing. Only for plans that predict and take no
gradients, and only where weights and statistics depend on parameters alone (`fixed`), so that the new weights are
computed once and kept (executor/derived.py): for weights made from data there would be nothing to gain.

Convolution, Deconvolution of one group, and Dense, whose result nobody else reads.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod
from typing import Any

from ..base.dtype import as_torch
from ..ops.opdef import OpDef, TensorType, lookup
from ..symbol.graph import Node, Value
from . import normalise as rules
from .normalise import is_operator, uses_of, with_addition, with_relu
from .program import Growing, Program, rebuild

__all__ = ["absorb_normalisation", "fixed_nodes", "ABSORBED"]

ABSORBED = "__absorbed__"  # the hint of a layer that has taken a normalisation in
_DTYPES = tuple(map(as_torch, ("float32", "float64")))
_FIRST = ("BatchNorm", "_contrib_SyncBatchNorm")


def fixed_nodes(program: Program, fixed: Collection[Node]) -> set[Node]:
    """Return the nodes whose values depend on the variables `fixed` only: not on data, chance or state."""
    found: set[Node] = set()
    for node in program.order:
        op = node.op
        if op is None:
            if node in fixed:
                found.add(node)
        elif node.inputs and all(v.node in found for v in node.inputs) and _repeats(op):
            found.add(node)
    return found


def _repeats(op: OpDef) -> bool:
    return not (op.random or op.mutates or op.takes_training or op.dynamic or op.variadic)


def absorb_normalisation(program: Program, fixed: Collection[Node], native: bool) -> Program:
    """Let layers absorb the BatchNorm that follows them; what stays becomes `_normalise` where `native` code serves."""
    if program.training or not any(is_operator(n, *_FIRST) for n in program.order):
        return program
    program = _absorbed(program, fixed_nodes(program, fixed))
    if native and any(is_operator(n, "Convolution", "Deconvolution") for n in program.order):
        program = with_relu(with_addition(_in_one_step(program, fixed_nodes(program, fixed))))
    return program


def _made(name: str, near: Node, inputs: tuple[Value, ...], attrs: Mapping[str, Any], kind: TensorType,
          types: Growing) -> Value:  # fmt: skip
    op = lookup(name)
    made = Node(op, f"{near.name}{name}", inputs, op.typed(attrs), {}, near.origin, near.serial)
    types[made] = (kind,)
    return Value(made)


def _absorbed(program: Program, fixed: set[Node]) -> Program:
    uses = uses_of(program)

    def visit(node: Node, inputs: tuple[Value, ...], types: Growing) -> Value | None:
        if not _plain(node, uses) or any(v.node not in fixed for v in node.inputs[1:]):
            return None
        before, layer = node.inputs[0], inputs[0].node
        axis = _weight_axis(layer, node, types)
        if axis is None or uses[before] != 1 or any(v.node not in fixed for v in before.node.inputs[1:]):
            return None
        _, gamma, beta, mean, var = inputs
        weight, *bias = layer.inputs[1:]
        kinds = [types[v.node][v.index] for v in (weight, beta)]
        if any(types[v.node][v.index].dtype != kinds[0].dtype for v in (*inputs, weight, *bias)):
            return None
        numbers = {"eps": node.attrs["eps"], "fix_gamma": node.attrs["fix_gamma"]}
        scaled = _made("_absorbed_weight", layer, (weight, gamma, var), {**numbers, "axis": axis}, kinds[0], types)
        moved = _made("_absorbed_bias", layer, (beta, gamma, mean, var, *bias), {**numbers, "biased": bool(bias)},
                      kinds[1], types)  # fmt: skip
        made = Node(layer.op, layer.name, (layer.inputs[0], scaled, moved), {**layer.attrs, "no_bias": False},
                    {**layer.hints, ABSORBED: node.name}, layer.origin, node.serial)  # fmt: skip
        types[made] = types[layer]
        return Value(made)

    return rebuild(program, visit)


def _plain(node: Node, uses: Mapping[Value, int]) -> bool:
    """Whether a node is a normalisation of which only the result is used."""
    return (is_operator(node, *_FIRST) and not node.attrs["output_mean_var"]
            and not uses.get(Value(node, 1)) and not uses.get(Value(node, 2)))  # fmt: skip


def _weight_axis(layer: Node, norm: Node, types: Growing) -> int | None:
    """Return the axis of the layer's weights that a factor per channel belongs to; None: it cannot take it."""
    if layer.op is None or ABSORBED in layer.hints:
        return None
    kind = types[layer][0]
    rank = len(kind.shape or ())
    axis = norm.attrs.get("axis", 1)
    axis = axis + rank if axis < 0 else axis
    if kind.dtype not in _DTYPES:
        return None
    if layer.op.name == "FullyConnected":
        return 0 if axis == rank - 1 else None
    if layer.op.name not in ("Convolution", "Deconvolution"):
        return None
    first = layer.attrs["layout"] in (None, "None", "NCW", "NCHW", "NCDHW")
    if axis != (1 if first else rank - 1):
        return None
    if layer.op.name == "Convolution":
        return 0
    return 1 if first and layer.attrs["num_group"] == 1 else None


def _in_one_step(program: Program, fixed: set[Node]) -> Program:
    """Put `_normalise` in the place of what could not be absorbed, where that is large."""
    uses = uses_of(program)

    def visit(node: Node, inputs: tuple[Value, ...], types: Growing) -> Value | None:
        kind = types[inputs[0].node][inputs[0].index] if inputs else TensorType()
        if not _plain(node, uses) or len(kind.shape or ()) != 4 or node.attrs.get("axis", 1) != 1:
            return None
        if any(types[v.node][v.index].dtype != _DTYPES[0] for v in inputs):
            return None
        if any(v.node not in fixed for v in node.inputs[1:]) or prod(s or 0 for s in kind.shape or ()) < rules.LEAST:
            return None
        data, gamma, beta, mean, var = inputs
        each = types[var.node][var.index]
        raised = _made("_plus_scalar", node, (var,), {"scalar": node.attrs["eps"]}, each, types)
        factor = _made("rsqrt", node, (raised,), {}, each, types)
        if not node.attrs["fix_gamma"]:
            factor = _made("elemwise_mul", node, (factor, gamma), {}, each, types)
        return _made("_normalise", node, (data, gamma, beta, mean, factor), {"fix_gamma": True}, kind, types)

    return rebuild(program, visit)
