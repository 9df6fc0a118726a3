"""A traced graph as an ONNX model: every node by its rule, inputs and outputs named, what cannot be said collected.

The one idea: `lower` walks the graph once; a rule that refuses does not stop it, so that the user reads all reasons at
once, each with the line of code that made the operator. Tracing, checking and files are in export.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import onnx
from onnx import helper

from ..base import dtype as dtypes
from ..symbol.graph import Node, Value, topological
from .call import Call, Refused
from .rules import RULES
from .sizes import Affine, Size, Sized
from .verify import inexpressible
from .writer import IR_VERSION, OPSET, Writer, element_type

__all__ = ["RULES", "Plan", "lower"]


@dataclass(frozen=True)
class Plan:
    """What is to be written: a graph, its sizes, and the arrays of its parameters (NumPy, with public dtype names)."""

    outputs: Sequence[Value]
    inputs: Sequence[Node]
    sizes: Mapping[Node, tuple[Sized, ...]]
    arrays: Mapping[Node, tuple[Any, str]]
    open_axis: Mapping[Node, int] = field(default_factory=dict)
    name: str = "network"
    metadata: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def dynamic(self) -> bool:
        """Whether sizes depend on values somewhere: inference then says 0, which means nothing."""
        return any(node.op is not None and node.op.dynamic for node in topological(self.outputs))


def lower(plan: Plan, origins: dict[str, str] | None = None) -> onnx.ModelProto:
    """Return the model; raises UnsupportedError that names every operator ONNX cannot express.

    origins : filled with the operator and the user's line that each node comes from, by the node's name
    """
    writer = Writer()
    names: dict[Value, str] = {Value(node): writer.names.fresh(node.name) for node in plan.inputs}
    inputs = [_declared(names[Value(node)], plan.sizes[node][0]) for node in plan.inputs if node in plan.sizes]
    for node, axis in list(plan.open_axis.items())[:1]:
        writer.opened(names[Value(node)], axis)
    count = len(plan.outputs)
    outputs = [writer.names.fresh("output" if count == 1 else f"output{i}") for i in range(count)]
    refusals: list[str] = []
    for node in topological(plan.outputs):
        if node.op is None:
            if node in plan.arrays:
                names[Value(node)] = writer.weight(node.name, *plan.arrays[node])
            else:
                names.setdefault(Value(node), "")  # the label of a loss layer, which prediction does not read
            continue
        writer.origin = f"{node.op.name} ({node.name!r}{f', made at {node.origin}' if node.origin else ''})"
        try:
            results = _apply(writer, node.op.name, node, names, plan)
        except Refused as error:
            refusals.append(f"{writer.origin}: {error}")
            results = [writer.names.fresh(f"missing_{node.name}")] * node.num_outputs
        names.update({Value(node, i): name for i, name in enumerate(results)})
    if refusals:
        raise inexpressible(refusals, "replace them, or use export(format='symbol'), which Glueball and MXNet 1.x read")
    if origins is not None:
        origins.update(writer.origins)
    _name_outputs(writer, [names[value] for value in plan.outputs], outputs)
    writer.nodes = _needed(writer.nodes, outputs)
    graph = helper.make_graph(
        writer.nodes, plan.name, inputs,
        [_declared(name, plan.sizes[value.node][value.index], plan.dynamic)
         for name, value in zip(outputs, plan.outputs)],
        list(_used(writer).values()))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                              producer_name="glueball")
    helper.set_model_props(model, dict(plan.metadata))
    return model


def _apply(writer: Writer, operator: str, node: Node, names: Mapping[Value, str], plan: Plan) -> list[str]:
    """Write one node and return the names of its results."""
    function = RULES.get(operator)
    if function is None:
        raise Refused("it has no ONNX rule")
    call = Call(writer, operator, node, [names[value] for value in node.inputs],
                [plan.sizes[value.node][value.index] for value in node.inputs], plan.sizes[node])
    if not plan.dynamic and all(0 in row.shape for row in plan.sizes[node]):
        return [call.filled(0, index) for index in range(node.num_outputs)]  # nothing to compute; runtimes refuse some
    found = function(call)
    return [found] if isinstance(found, str) else list(found)


def _declared(name: str, sized: Sized, dynamic: bool = False) -> onnx.ValueInfoProto:
    sizes = [None if dynamic and size == 0 else _dim(size) for size in sized.shape]
    return helper.make_tensor_value_info(name, element_type(dtypes.name_of(sized.dtype)), sizes)


def _dim(size: Size) -> int | str | None:
    """A number, "batch" for the batch itself, or a dimension without a name for what is computed from it."""
    if not isinstance(size, Affine):
        return size
    return "batch" if size == Affine(1, 0) else None


def _name_outputs(writer: Writer, found: Sequence[str], wanted: Sequence[str]) -> None:
    """Give the results their public names; an input, a weight, or what is returned twice goes through Identity."""
    produced = {name for node in writer.nodes for name in node.output}
    done: set[str] = set()
    for old, new in zip(found, wanted):
        if old in produced and old not in done and found.count(old) == 1:
            writer.rename(old, new)
        else:
            writer.nodes.append(helper.make_node("Identity", [old], [new], name=new))
        done.add(old)


def _needed(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on: results that an operator hides are mostly read by nobody."""
    wanted, kept = set(outputs), list[onnx.NodeProto]()
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _used(writer: Writer) -> dict[str, onnx.TensorProto]:
    """The weights that a node reads."""
    read = {name for node in writer.nodes for name in node.input}
    return {name: weight for name, weight in writer.weights.items() if name in read}
