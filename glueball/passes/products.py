"""One large product for many small ones that share a weight: the input projections of an unrolled cell, and the sums of
its weights' gradients.

The one idea: rows of a product are independent, so products by one weight are one product of all their rows, provided
that none of them waits for another; and a sum of gradients, each a product over the rows of one step, is one product
over the rows of all steps. The results are the same to rounding.

Not here: where the rows are put together for nothing (executor/jit/build.py).
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ops.opdef import TensorType, lookup
from ..symbol.graph import Node, Value
from .program import Program, Types, rebuild

__all__ = ["project_together", "sum_in_products"]


def project_together(program: Program) -> Program:
    """Let FullyConnected nodes with one weight, one bias and as many rows, none of which depends on another, be one."""
    groups: dict[Any, list[Node]] = {}
    for node in program.order:
        if node.op is not None and node.op.name == "FullyConnected" and _flat(program.types, node.inputs[0]):
            key = (node.inputs[1:], node.attr_key, node.hints.get("__inputs__"), _rows(program.types, node.inputs[0]))
            groups.setdefault(key, []).append(node)
    chosen = [nodes for nodes in groups.values() if len(nodes) > 1]
    if not chosen:
        return program
    wanted = {node: number for number, nodes in enumerate(chosen) for node in nodes}
    below: dict[Node, frozenset[int]] = {}  # which groups a node depends on
    after: list[set[int]] = [set() for _ in chosen]  # which groups a group depends on
    for node in program.order:
        found = frozenset().union(*(below[v.node] for v in node.inputs)) if node.inputs else frozenset[int]()
        number = wanted.get(node)
        if number is not None and number in found:
            del wanted[node]  # it waits for one of its own group
            number = None
        if number is not None:
            after[number] |= found
        below[node] = found | {number} if number is not None else found
    kept = _in_some_order(after)
    groups_left = [[node for node in nodes if node in wanted] for number, nodes in enumerate(chosen) if number in kept]
    return _projected(program, [nodes for nodes in groups_left if len(nodes) > 1])


def _in_some_order(after: Sequence[set[int]]) -> set[int]:
    """Return groups of which none waits for itself by way of others: a(b(x)) + b(a(x)) has only one."""
    kept: set[int] = set()
    for number, needs in enumerate(after):
        reached: set[int] = set()
        waiting = [other for other in needs if other in kept]
        while waiting:
            other = waiting.pop()
            if other not in reached:
                reached.add(other)
                waiting += [one for one in after[other] if one in kept or one == number]
        if number not in reached:
            kept.add(number)
    return kept


def _projected(program: Program, groups: Sequence[Sequence[Node]]) -> Program:
    """Return the program with each group as one product, made as soon as all its rows are there."""
    group_of = {node: nodes for nodes in groups for node in nodes}
    types: dict[Node, tuple[TensorType, ...]] = dict(program.types)
    made: dict[Node, Node] = {}
    instead: dict[Node, Value] = {}

    def place(value: Value) -> Value:
        return instead[value.node] if value.node in instead else Value(made[value.node], value.index)

    def needs(node: Node) -> list[Value]:
        group = group_of.get(node)
        return list(node.inputs) if group is None else [*(n.inputs[0] for n in group), *node.inputs[1:]]

    def visit(node: Node) -> None:
        """Copy a node, or make its group's product, when all that it needs is there."""
        group = group_of.get(node)
        if group is not None:
            _join(group, [place(n.inputs[0]) for n in group], [place(v) for v in node.inputs[1:]], types, instead)
            return
        if node.is_variable:
            made[node] = node
            return
        inputs = tuple(place(v) for v in node.inputs)
        new = node if inputs == node.inputs else Node(node.op, node.name, inputs, node.attrs, node.hints, node.origin,
                                                      node.serial)
        types[new] = types[node]
        made[node] = new

    for last in program.order:
        waiting = [last]  # a group needs the rows of its later members, which may come after it in the order
        while waiting:
            node = waiting[-1]
            missing = [v.node for v in needs(node) if v.node not in made and v.node not in instead]
            waiting += missing
            if not missing:
                waiting.pop()
                if node not in made and node not in instead:
                    visit(node)
    return Program(tuple(None if v is None else place(v) for v in program.outputs), types, program.training,
                   program.constants)


def _join(group: Sequence[Node], data: list[Value], rest: list[Value], types: dict[Node, tuple[TensorType, ...]],
          instead: dict[Node, Value]) -> None:
    rows = _rows(types, group[0].inputs[0]) * len(group)
    features = types[data[0].node][data[0].index].shape or ()
    kind = types[group[0]][0]
    units = group[0].attrs["num_hidden"]
    op = lookup("Concat")
    joined = Node(op, f"{group[0].name}_rows", tuple(data), op.typed({"dim": 0, "num_args": len(data)}),
                  origin=group[0].origin)
    types[joined] = (TensorType((rows, *features[1:]), kind.dtype),)
    first = group[0]
    whole = Node(first.op, f"{first.name}_together", (Value(joined), *rest), first.attrs, first.hints, first.origin)
    types[whole] = (TensorType((rows, units), kind.dtype),)
    cut = lookup("SliceChannel")  # whose gradient puts the parts' gradients together, without zeros around each
    where = cut.typed({"axis": 0, "num_outputs": len(group), "squeeze_axis": False})
    parts = Node(cut, f"{first.name}_parts", (Value(whole),), where, origin=first.origin)
    types[parts] = types[first] * len(group)
    for index, node in enumerate(group):
        instead[node] = Value(parts, index)


def sum_in_products(program: Program) -> Program:
    """Let a sum of gradients of one weight, each from the rows of one step, be one product of all rows."""
    def visit(node: Node, inputs: tuple[Value, ...], types: Types) -> Value | None:
        if node.op is None or node.op.name not in ("add_n", "elemwise_add"):
            return None
        # backward comes to the last step first; in the order of the steps other sums have the same rows put together
        parts = _terms(inputs)[::-1]
        for name in ("_linear_backward_weight", "_linear_backward_bias"):
            if len(parts) > 1 and all(_is(value, name, types) for value in parts):
                return _summed([value.node for value in parts], types)
        return None

    return rebuild(program, visit)


def _terms(inputs: Sequence[Value]) -> list[Value]:
    found: list[Value] = []
    waiting = list(inputs)
    while waiting:
        value = waiting.pop(0)
        op = value.node.op
        if op is not None and op.name in ("add_n", "elemwise_add"):
            waiting[:0] = value.node.inputs
        else:
            found.append(value)
    return found


def _is(value: Value, name: str, types: Types) -> bool:
    op = value.node.op
    return op is not None and op.name == name and all(_flat(types, v) for v in value.node.inputs)


def _summed(nodes: Sequence[Node], types: Any) -> Value:
    op = lookup("Concat")
    wholes: list[Value] = []
    for column in zip(*(node.inputs for node in nodes)):
        kind = types[column[0].node][column[0].index]
        rows = sum(_rows(types, value) for value in column)
        whole = Node(op, f"{column[0].node.name}_rows", tuple(column), op.typed({"dim": 0, "num_args": len(column)}))
        types[whole] = (TensorType((rows, *(kind.shape or ())[1:]), kind.dtype),)
        wholes.append(Value(whole))
    first = nodes[0]
    made = Node(first.op, f"{first.name}_together", tuple(wholes), first.attrs, first.hints, first.origin)
    types[made] = types[first]
    return Value(made)


def _flat(types: Types, value: Value) -> bool:
    """Whether a value has two axes of known sizes."""
    shape = types[value.node][value.index].shape
    return shape is not None and len(shape) == 2 and None not in shape


def _rows(types: Types, value: Value) -> int:
    shape = types[value.node][value.index].shape
    return (shape[0] or 0) if shape else 0
