"""`glueball export`: a graph and its parameters, MXNet's too, as an ONNX file. The work is in onnx/export.py."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence

from .console import amount, fresh, print_json, shape_of
from .formats import symbol as symbol_file
from .models import graph_and_parameters, named_shapes

__all__ = ["EXAMPLES", "arguments", "run", "write_onnx"]

EXAMPLES = """\
Before the file appears ONNX's checker reads it, and onnxruntime runs it beside the graph.

example:
  glueball export model-symbol.json model-0000.params --shape 1,3,224,224"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("symbol", help="the -symbol.json file")
    parser.add_argument("params", nargs="?", help="the .params file; otherwise the newest beside the graph")
    parser.add_argument("--shape", action="append", default=[], metavar="N,C,H,W",
                        help="shape of an input; once per input, in the model's order, or NAME=N,C,H,W")
    parser.add_argument("--fixed", action="store_true", help="keep the batch size of --shape; otherwise it is open")
    parser.add_argument("-o", "--output", help="the file to write; beside the symbol by default")
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Write the file, and say where."""
    graph, parameters = graph_and_parameters(options.symbol, options.params)
    output = options.output or f"{re.sub('(-symbol)?.json$', '', graph)}.onnx"
    path, shapes = write_onnx(graph, parameters, options.shape, output, options.fixed, options.force)
    size = sum(os.path.getsize(one) for one in (path, f"{path}.data") if os.path.exists(one))
    if options.json:
        print_json({"written": path, "bytes": size, "inputs": {name: list(shape) for name, shape in shapes.items()},
                    "open_batch": not options.fixed})
    else:
        shown = ", ".join(f"{name} {shape_of(shape)}" for name, shape in shapes.items())
        print(f"wrote {path}: {amount(size)}, inputs {shown}{'' if options.fixed else ', any batch size'}")
    return 0


def write_onnx(graph: str, parameters: str | None, texts: Sequence[str], output: str, fixed: bool,
               force: bool) -> tuple[str, dict[str, tuple[int, ...]]]:
    """Write a graph and its parameters as ONNX; return the path and the shapes of the inputs."""
    output = output if output.endswith(".onnx") or os.path.isdir(output) else f"{output}.onnx"
    facts = symbol_file.facts(graph, parameters)
    names = [one.name for one in facts.inputs]
    declared = {one.name: one.shape for one in facts.inputs if one.shape and all(size > 0 for size in one.shape)}
    labels = [name for name in names if name.endswith("label")]
    shapes = named_shapes(texts, [*(one for one in names if one not in labels), *labels], [*labels, *declared])
    fresh(output, force, [graph])
    shapes = {**{name: tuple(shape) for name, shape in declared.items()}, **shapes}
    from ..onnx import export_model
    from ..symbol import load

    held = {one.name for one in facts.parameters}
    order = [name for name in load(graph).list_inputs() if name not in held]
    given = [shapes[name] for name in order if name in shapes]
    return export_model(graph, parameters or "", given, onnx_file_path=output, dynamic=not fixed), shapes
