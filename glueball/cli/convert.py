"""`glueball convert A B`: parameters and models from one format into another, told by B's ending.

The one idea: B is written under another name, read back and compared with what A held, and only then gets its name.
Arrays go between `.params`, `.safetensors` and `.npz` with their names and element types; a graph becomes ONNX
(export.py), and ONNX a graph with its parameters (gluon.load); both become programs of torch.export.
"""

from __future__ import annotations

import argparse
import os
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..base.errors import MXNetError
from ..base.naming import bare_name
from .console import amount, count, existing, fresh, print_json, refuse, replacing
from .export import write_onnx
from .formats import facts_of, kind_of
from .formats import symbol as symbol_file
from .models import Model, graph_and_parameters, named_shapes, open_model

__all__ = ["EXAMPLES", "arguments", "run"]

EXAMPLES = """\
example:
  glueball convert model-0000.params model.safetensors
  glueball convert model.safetensors model.params --dtype float16
  glueball convert model-symbol.json model.onnx --shape 1,3,224,224
  glueball convert model.onnx model-symbol.json           (and model-0000.params)"""

_ARRAYS = (".params", ".safetensors", ".npz", ".npy")
_DTYPES = ("float16", "bfloat16", "float32", "float64")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("source", metavar="A", help=".params, .safetensors, .npz, .npy, -symbol.json or .onnx")
    parser.add_argument("target", metavar="B", help="the file to write; its ending says the format: the same, or .pt2")
    parser.add_argument("--params", metavar="FILE", help="the parameters of a -symbol.json; otherwise those beside it")
    parser.add_argument("--shape", action="append", default=[], metavar="N,C,H,W",
                        help="of graphs: the shape of an input; once per input, or NAME=N,C,H,W")
    parser.add_argument("--fixed", action="store_true", help="to .onnx and .pt2: keep the batch size of --shape")
    parser.add_argument("--dtype", choices=_DTYPES, help="change the element type of floating-point arrays")
    parser.add_argument("--bare-names", action="store_true", help="leave the `arg:` and `aux:` of exported names out")
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Convert, and say what was written."""
    kind = kind_of(existing(options.source))
    ending = os.path.splitext(options.target)[1]
    if ending in _ARRAYS and kind in ("params", "safetensors", "numpy", "onnx"):
        facts: dict[str, Any] = _arrays(options, kind, ending)
    elif ending == ".onnx" and kind in ("symbol", "params", "safetensors"):
        graph, parameters = graph_and_parameters(options.source, options.params)
        path, shapes = write_onnx(graph, parameters, options.shape, options.target, options.fixed, options.force)
        facts = {"written": [path], "inputs": {name: list(shape) for name, shape in shapes.items()},
                 "bytes": os.path.getsize(path), "compared": "onnxruntime's answers with the graph's"}
    elif ending == ".json" and kind == "onnx":
        facts = _graph(options)
    elif ending == ".pt2" and kind in ("symbol", "params", "safetensors", "onnx"):
        facts = _program(options, kind)
    else:
        raise refuse(f"There is no way from {kind} to {ending or 'a name without an ending'}.", received=options.target,
                     expected=_WAYS.get(kind, "a file of parameters or a model as the source"), usage=True)
    if options.json:
        print_json(facts)
    else:
        arrays = f"{count(facts['arrays'], 'array')}, " if "arrays" in facts else ""
        print(f"wrote {' and '.join(facts['written'])}: {arrays}{amount(facts['bytes'])}; "
              f"compared: {facts['compared']}")
    return 0


_WAYS = {"symbol": "a name ending in .onnx or .pt2",
         "onnx": "a name ending in -symbol.json, .pt2, .params, .safetensors or .npz",
         "params": "a name ending in .safetensors, .npz, .params, .onnx or .pt2",
         "safetensors": "a name ending in .params, .npz, .safetensors, .onnx or .pt2",
         "numpy": "a name ending in .params, .safetensors or .npz"}


# ------------------------------------------------------------------------------------------------------------- arrays
def _arrays(options: argparse.Namespace, kind: str, ending: str) -> dict[str, Any]:
    """Read all arrays, write them, read them back."""
    from .. import gluon, nd

    source, target = options.source, fresh(options.target, options.force, [options.source])
    facts_of(source)  # damage is told before anything large is read
    if kind == "onnx":
        loaded: Any = {name: one.data() for name, one in gluon.load(source).collect_params().items()}
    else:
        loaded = nd.load(source)
    named = isinstance(loaded, Mapping)
    held: dict[str, Any] = dict(loaded) if named else {str(i): one for i, one in enumerate(loaded)}
    if options.bare_names:
        bare = {bare_name(name): one for name, one in held.items()}
        if len(bare) < len(held):
            raise refuse("Two arrays would have the same name.", received=source, fix="leave --bare-names out")
        held = bare
    if options.dtype:
        held = {name: one.astype(options.dtype) if _name(one) in _DTYPES else one for name, one in held.items()}
    with replacing(target) as draft:
        if ending in (".npz", ".npy"):
            _write_numpy(draft, held, ending)
        else:
            nd.save(draft, held if named or ending == ".safetensors" else list(held.values()))
        _compare(held, nd.load(draft), target)
        size = os.path.getsize(draft)
    return {"written": [target], "arrays": len(held), "bytes": size, "compared": "every value, read back"}


def _name(array: Any) -> str:
    from ..base.dtype import name_of

    return name_of(array._t.dtype)


def _write_numpy(path: str, arrays: Mapping[str, Any], ending: str) -> None:
    """Write `.npz` entry by entry (np.savez cannot hold a name such as "file"), or `.npy`."""
    if ending == ".npy" and len(arrays) != 1:
        raise refuse("An .npy file holds one array.", received=count(len(arrays), "array"), fix="name the output .npz")
    for name, one in arrays.items():
        if _name(one) == "bfloat16":
            raise refuse("NumPy has no bfloat16.", received=name, fix="--dtype float32, or another format")
    if ending == ".npy":
        with open(path, "wb") as file:
            np.lib.format.write_array(file, next(iter(arrays.values())).asnumpy(), allow_pickle=False)
        return
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, one in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, one.asnumpy(), allow_pickle=False)


def _compare(held: Mapping[str, Any], loaded: Any, target: str) -> None:
    """Refuse a file that holds anything else than what was to be written: bit by bit."""
    again: Mapping[str, Any] = (loaded if isinstance(loaded, Mapping)
                                else dict(zip(held, loaded)) if len(loaded) == len(held) else {})
    for name in [*held, *again]:
        if name not in held or name not in again or _content(held[name]) != _content(again[name]):
            raise refuse(f"What was written does not read back the same: {name}.", received=target,
                         fix="nothing was kept; please report this")


def _content(array: Any) -> tuple[Any, ...]:
    """Return all that an array is: nan is equal to nan, and -0 is not 0."""
    return array.shape, _name(array), array.asnumpy().tobytes()


# -------------------------------------------------------------------------------------------------------------- graphs
def _graph(options: argparse.Namespace) -> dict[str, Any]:
    """Write an ONNX model as a graph and its parameters, and compare their answers."""
    from .. import gluon, nd, sym

    prefix = re.sub(r"(-symbol)?\.json$", "", options.target)
    targets = [fresh(f"{prefix}{end}", options.force, [options.source]) for end in ("-symbol.json", "-0000.params")]
    facts = facts_of(options.source)
    block: Any = gluon.load(options.source)
    reading, shapes = block.general, {}
    if reading is None:  # the graph depends on sizes: it is written for one call's
        shapes = _sizes(facts.inputs, options.shape)
        feeds = [nd.zeros(shapes[one.name], dtype=one.dtype) for one in facts.inputs]
        outputs, constants = _graph_of_one_call(block, feeds)
    else:
        outputs, constants = reading.outputs, reading.constants
    symbol = sym.Group([sym.Symbol([value]) for value in outputs])
    auxiliary, read = set(symbol.list_auxiliary_states()), set(symbol.list_inputs())
    arrays = {name: one.data() for name, one in block.collect_params().items() if reading is not None or name in read}
    arrays.update({node.name: array for node, array in constants.items() if node.name in read})
    with replacing(targets[0]) as graph, replacing(targets[1]) as parameters:
        symbol.save(graph)
        nd.save(parameters, {f"{'aux' if name in auxiliary else 'arg'}:{name}": one for name, one in arrays.items()})
        compared = _answers(open_model(options.source), open_model(graph, parameters), shapes)
        size = os.path.getsize(graph) + os.path.getsize(parameters)
    if shapes:
        compared += f"; for {', '.join(f'{name} {list(shape)}' for name, shape in shapes.items())} only"
    return {"written": targets, "arrays": len(arrays), "bytes": size, "compared": compared}


def _graph_of_one_call(block: Any, feeds: list[Any]) -> tuple[Any, Any]:
    """Return the outputs and the constants of the graph for these inputs, whose numbers are not those of any call."""
    try:
        found = block._graph_for(feeds)
    except MXNetError:
        if not block._needed:
            raise
        found = None  # those numbers lead nowhere
    if found is None or block._needed:
        raise refuse("The numbers of an input decide about the graph, so that it cannot be written once for all.",
                     expected="a graph that follows from the sizes of its inputs",
                     received=f"an input {' and '.join(sorted(block._needed))}", fix="run the ONNX file itself")
    return found


def _known(declared: Any) -> dict[str, tuple[int, ...]]:
    """Return the sizes that inputs declare, for a batch of 1."""
    known = {one.name: [1, *one.shape[1:]] for one in declared if one.shape}
    return {name: tuple(shape) for name, shape in known.items() if all(isinstance(n, int) and n > 0 for n in shape)}


def _sizes(declared: Any, texts: list[str]) -> dict[str, tuple[int, ...]]:
    """Return the sizes of one call: those of --shape, else the declared ones."""
    fixed = {one.name: tuple(one.shape) for one in declared
             if one.shape is not None and all(isinstance(size, int) for size in one.shape)}
    known = {**_known(declared), **fixed}
    return {**known, **named_shapes(texts, [one.name for one in declared], list(known))}


def _program(options: argparse.Namespace, kind: str) -> dict[str, Any]:
    """Write a model as a program of torch.export, which is compared with the graph before it appears."""
    from .. import gluon, nd

    if kind == "onnx":
        graph, parameters, declared = options.source, None, facts_of(options.source).inputs
    else:
        graph, parameters = graph_and_parameters(options.source, options.params)
        declared = symbol_file.facts(graph, parameters).inputs
    block = gluon.load(graph, parameters)
    names = [node.name for node in block._data_nodes]
    known = _known(declared)
    shapes = {**known, **named_shapes(options.shape, names, list(known))}
    target = fresh(options.target, options.force, [options.source])
    path = block.export(target, format="pt2", inputs=[nd.ones(shapes[name]) for name in names],
                        dynamic_batch=not options.fixed)
    return {"written": [path], "inputs": {name: list(shapes[name]) for name in names}, "bytes": os.path.getsize(path),
            "compared": "torch's answers with the graph's"}


def _answers(first: Model, second: Model, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Run two models on the same random numbers, of these shapes where they are given."""
    if any(one.dtype != "float32" for one in first.inputs) or first.path == second.path:
        return "nothing (inputs that are not float32)"
    if any(one.shape is None for one in first.inputs if one.name not in shapes):
        return "nothing (inputs of open shape)"
    sizes = [list(shapes[one.name]) if one.name in shapes else
             [size if isinstance(size, int) else 2 if axis == 0 else 0 for axis, size in enumerate(one.shape or [])]
             for one in first.inputs]
    if any(0 in one for one in sizes):
        return "nothing (inputs of open shape)"
    random = np.random.RandomState(0)
    feeds = [random.uniform(-1, 1, one).astype(np.float32) for one in sizes]
    wanted = first.answer(dict(zip([one.name for one in first.inputs], feeds)))
    found = second.answer(dict(zip([one.name for one in first.inputs], feeds)))
    for (name, old), (_, new) in zip(wanted, found):
        near = 1e-4 * max(float(np.abs(old).max(initial=0)), 1)
        if old.shape != new.shape or not np.allclose(old, new, rtol=1e-4, atol=near):
            raise refuse(f"The graph answers something else than the ONNX model: {name}.",
                         fix="nothing was written; please report this")
    return "the graph's answers with onnxruntime's"
