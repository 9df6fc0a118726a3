"""`glueball summary MODEL`: a table of layers with shapes, parameters and operations, without computing anything.

The one idea: every model becomes a graph, and inference tells all shapes; a network of the zoo is traced and never
given numbers. Operations are counted by executor/insight/work.py.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from .console import amount, print_json, refuse, shape_of, table
from .formats import Array, kind_of
from .formats import symbol as symbol_file
from .models import graph_and_parameters, named_shapes

__all__ = ["EXAMPLES", "arguments", "run"]

EXAMPLES = """\
example:
  glueball summary resnet18_v1 --shape 1,3,224,224
  glueball summary model-symbol.json --shape 1,3,112,112 --json"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="a network of the zoo (resnet18_v1), a -symbol.json, or an .onnx")
    parser.add_argument("--params", metavar="FILE", help="the parameters of a -symbol.json; otherwise those beside it")
    parser.add_argument("--shape", action="append", default=[], metavar="N,C,H,W",
                        help="shape of an input; once per input, or NAME=N,C,H,W")
    parser.add_argument("--classes", type=int, default=1000, help="classes of a network of the zoo (default: 1000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    if os.path.exists(options.model) or re.search(r"[/\\]|\.(json|onnx|params|safetensors|npz)$", options.model):
        graph = _of_file(options)
    else:
        graph = _of_zoo(options)
    facts = _facts(graph)
    if options.json:
        print_json(facts)
        return 0
    inputs = ", ".join(f"{one['name']} {shape_of(one['shape'])}" for one in facts["inputs"])
    print(f"{graph.name}: {inputs}\n")
    rows = [[one["name"], one["operator"], shape_of(one["shape"]),
             f"{one['parameters']:,}" if one["parameters"] else "", amount(one["flops"], "") if one["flops"] else ""]
            for one in facts["layers"]]
    print(table(rows, ["layer", "operator", "output", "parameters", "FLOP"], right=["parameters", "FLOP"]))
    totals = facts["totals"]
    print(f"\nParameters: {totals['parameters']:,} ({amount(totals['bytes'])}); trained {totals['trained']:,}, "
          f"running statistics {totals['statistics']:,}")
    print(f"Operations: {amount(totals['flops'], 'FLOP')} per call, a multiplication and an addition counted as two")
    return 0


class _Graph(NamedTuple):
    """Outputs of a graph, the types of its variables as far as they are known, the names of its inputs."""

    name: str
    values: Sequence[Any]
    known: dict[Any, Any]
    inputs: Sequence[str]


def _of_zoo(options: argparse.Namespace) -> _Graph:
    """Trace a network of the zoo."""
    from .. import sym
    from ..base.registry import closest
    from ..gluon.model_zoo import vision
    from ..ops.opdef import TensorType

    name = options.model.lower()
    models: dict[str, Any] = vision.MODELS
    if name not in models:
        raise refuse("There is neither such a file nor such a network of the zoo.", received=options.model,
                     fix=f"{closest(name, list(models))}; glueball.gluon.model_zoo.vision lists them")
    if options.classes < 1:
        raise refuse("--classes takes a number above 0.", received=options.classes, usage=True)
    side = 299 if "inception" in name else 224
    shape = named_shapes(options.shape or [f"1,3,{side},{side}"], ["data"])["data"]
    data = sym.Variable("data")
    net: Any = vision.get_model(name, classes=options.classes)
    known = {data._outputs[0].node: TensorType(shape, _dtype("float32"))}
    return _Graph(name, list(net(data)._outputs), known, ["data"])


def _of_file(options: argparse.Namespace) -> _Graph:
    """Read a graph; parameters only lend their shapes."""
    from .. import gluon
    from ..base.dtype import name_of
    from ..ops.opdef import TensorType
    from ..symbol import load
    from ..symbol.graph import topological
    from ..symbol.prediction import inputs_without_value, predictions
    from .console import existing

    held: dict[str, Array] = {}
    declared: dict[str, Any] = {}
    if kind_of(existing(options.model, "model file")) == "onnx":
        from .formats import facts_of

        facts, block = facts_of(options.model), gluon.load(options.model)
        values = block._values
        held = {name: Array(name, list(one.shape), name_of(one.data()._t.dtype))
                for name, one in block.collect_params().items()}
        declared = {one.name: [1 if axis == 0 and not isinstance(size, int) else size for axis, size in
                               enumerate(one.shape)] for one in facts.inputs if one.shape is not None}
    else:
        graph, parameters = graph_and_parameters(options.model, options.params, required=False)
        facts = symbol_file.facts(graph, parameters)
        held = {one.name: one for one in facts.parameters}
        declared = {one.name: one.shape for one in facts.inputs if one.shape}
        values = predictions(list(load(graph)._outputs), held)
    declared = {name: shape for name, shape in declared.items() if all(isinstance(n, int) and n > 0 for n in shape)}
    inputs = inputs_without_value(values, held)
    shapes = named_shapes(options.shape, inputs, optional=list(declared))
    nodes = {node.name: node for node in topological(values) if node.is_variable}
    known = {nodes[name]: TensorType(tuple(one.shape), _dtype(one.dtype or "float32"))
             for name, one in held.items() if name in nodes and one.shape is not None}
    known |= {nodes[name]: TensorType(tuple(shape), _dtype("float32"))
              for name, shape in {**declared, **shapes}.items()}
    return _Graph(options.model, values, known, inputs)


def _dtype(name: str) -> Any:
    from ..base.dtype import as_torch

    return as_torch(name)


def _facts(graph: _Graph) -> dict[str, Any]:
    """Infer all shapes and count."""
    from ..executor.insight.work import flops_of
    from ..symbol.graph import topological, variables
    from ..symbol.infer import infer, require_complete

    order = topological(graph.values)
    types = infer(graph.values, graph.known)
    require_complete(types, order)
    arguments, auxiliary = variables(order)
    inputs = [node for node in arguments if node.name in graph.inputs]
    counted: set[Any] = set(inputs)
    layers: list[dict[str, Any]] = []
    for node in order:
        if node.op is None:
            continue
        own = [value.node for value in node.inputs if value.node.is_variable and value.node not in counted]
        counted.update(own)
        layers.append({"name": node.name, "operator": node.op.name, "shape": list(types[node][0].shape or ()),
                       "parameters": sum(_size(types, one) for one in dict.fromkeys(own)),
                       "flops": flops_of(node, types)})
    parameters = [node for node in (*arguments, *auxiliary) if node not in inputs]
    statistics = sum(_size(types, node) for node in auxiliary)
    total = sum(_size(types, node) for node in parameters)
    return {"model": graph.name, "layers": layers,
            "inputs": [{"name": node.name, "shape": list(types[node][0].shape or ())} for node in inputs],
            "outputs": [list(types[value.node][value.index].shape or ()) for value in graph.values],
            "totals": {"parameters": total, "trained": total - statistics, "statistics": statistics,
                       "bytes": sum(_size(types, node) * types[node][0].dtype.itemsize for node in parameters),
                       "flops": sum(layer["flops"] for layer in layers), "layers": len(layers)}}


def _size(types: Any, node: Any) -> int:
    return prod(types[node][0].shape)
