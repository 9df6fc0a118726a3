"""Reverse-mode differentiation of a graph by the operators' own gradient rules.

Law: running the gradient graph gives what the tape gives for the same program (tests/executor/test_hybridize_laws.py).
The one idea: walk the nodes backwards, hand each rule symbols for its inputs, results and result gradients, and add
up what arrives at a value. Operators whose gradient is `from_kernel` become a `_vjp` node; those without one stop the
flow, as they do on the tape.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..base.naming import Prefix
from ..dispatch import exact
from ..ops.opdef import Grad, TensorType, Unsupported, from_kernel, lookup
from ..symbol.graph import Node, Value, present
from ..symbol.symbol import Symbol
from ..symbol.tracer import Tracer

__all__ = ["differentiate"]

Types = Mapping[Node, tuple[TensorType, ...]]


def differentiate(
    outputs: Sequence[Value],
    order: Sequence[Node],
    types: Types,
    wrt: Sequence[Node],
    heads: Sequence[Value],
    head_types: Sequence[TensorType],
    training: bool,
) -> tuple[list[Value | None], dict[Node, tuple[TensorType, ...]]]:
    """Return one gradient value per node in `wrt` (None: nothing flows there) and the types of all nodes, new ones
    included.

    Parameters
    ----------
    outputs, order, types : the graph, its nodes in order, and their types
    wrt : variables to differentiate for
    heads, head_types : one gradient variable per output
    """
    needed = _on_path(order, set(wrt))
    tracer = Tracer(training)
    tracer.types.update(types)
    arrived: dict[Value, list[Symbol]] = {}
    for output, head, kind in zip(outputs, heads, head_types):
        tracer.declare(head.node, kind)
        if output.node in needed:
            arrived.setdefault(output, []).append(Symbol([head]))
    with tracer, exact():
        for node in reversed(order):
            if node.op is None or node not in needed:
                continue
            with Prefix(f"{node.name}/"):  # what computes a gradient says whose it is
                grads = [_total(arrived.pop(Value(node, i), [])) for i in range(node.num_outputs)]
                if all(g is None for g in grads):
                    continue
                found = _apply(node, grads, types, needed, training)
            for value, gradient in zip(node.inputs, found):
                if gradient is not None and value.node in needed:
                    arrived.setdefault(value, []).append(gradient)
        found = [_total(arrived.get(Value(node, 0), [])) for node in wrt]
        for gradient in found:
            if gradient is not None:
                tracer.type_of(gradient._outputs[0])
    return [None if g is None else g._outputs[0] for g in found], tracer.types


def _on_path(order: Sequence[Node], wrt: set[Node]) -> set[Node]:
    """Return the nodes whose value depends differentiably on `wrt`."""
    needed = set(wrt)
    for node in order:
        if node.op is None or isinstance(node.op.gradient, Unsupported):
            continue
        names = present(node)
        if any(v.node in needed and name not in node.op.nondiff for v, name in zip(node.inputs, names)):
            needed.add(node)
    return needed


def _total(parts: list[Symbol]) -> Symbol | None:
    if not parts:
        return None
    if len(parts) > 2:
        return lookup("add_n")(*parts)
    return parts[0] if len(parts) == 1 else lookup("elemwise_add")(*parts)


def _apply(node: Node, grads: list[Symbol | None], types: Types, needed: set[Node], training: bool) -> list[Any]:
    op = node.op
    assert op is not None  # the caller skips variables
    ins = [Symbol([v]) for v in node.inputs]
    in_types = [types[v.node][v.index] for v in node.inputs]
    if op.gradient is from_kernel:
        return _from_kernel(node, ins, in_types, grads, types, needed, training)
    outs = [Symbol([Value(node, i)]) for i in range(node.num_outputs)]
    names = present(node)
    needs = [v.node in needed and name not in op.nondiff for v, name in zip(node.inputs, names)]
    # an optional input in the middle is absent: rules see None there
    if not op.variadic and names != op.input_names[:len(names)]:
        by_name = dict(zip(names, ins))
        type_by_name = dict(zip(names, in_types))
        full_ins = [by_name.get(n) for n in op.input_names]
        full_types = [type_by_name.get(n, TensorType()) for n in op.input_names]
        wanted = dict(zip(names, needs))
        full_needs = [wanted.get(n, False) for n in op.input_names]
        result = op.gradient(Grad(op, full_ins, outs, grads, node.attrs, full_types, types[node], training, full_needs))
        result = list(result) if isinstance(result, (tuple, list)) else [result]
        by_result = dict(zip(op.input_names, result))
        return [by_result.get(n) for n in names]
    result = op.gradient(Grad(op, ins, outs, grads, node.attrs, in_types, types[node], training, needs))
    result = list(result) if isinstance(result, (tuple, list)) else [result]
    return result + [None] * (len(ins) - len(result))


def _from_kernel(node: Node, ins: list[Symbol], in_types: list[TensorType], grads: list[Symbol | None], types: Types,
                 needed: set[Node], training: bool) -> list[Any]:
    op = node.op
    assert op is not None
    names = present(node)
    wrt = tuple(i for i, (v, name, kind) in enumerate(zip(node.inputs, names, in_types))
                if v.node in needed and name not in op.nondiff and kind.dtype.is_floating_point)
    if not wrt:
        return [None] * len(ins)
    heads = []
    for index, gradient in enumerate(grads):
        if not types[node][index].dtype.is_floating_point:
            continue
        heads.append(gradient if gradient is not None else lookup("zeros_like")(Symbol([Value(node, index)])))
    attrs = tuple(node.attrs.items())
    result = lookup("_vjp")(*ins, *heads, op=op.name, op_attrs=attrs, inputs=names, wrt=wrt, op_training=training)
    parts = list(result)
    out: list[Any] = [None] * len(ins)
    for position, index in enumerate(wrt):
        out[index] = parts[position]
    return out
