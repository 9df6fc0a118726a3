"""Models as the commands see them: which files belong together, what the inputs are, and a function that answers.

The one idea: an ONNX file is run by onnxruntime where that is installed, everything else is opened by `gluon.load`;
either way a `Model` is inputs by name and `answer(feeds)`. What a file holds without opening it is in formats/.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from .console import existing, refuse, shape_of, sizes
from .formats import Array, Facts, facts_of, kind_of
from .formats import symbol as symbol_file

__all__ = ["Model", "graph_and_parameters", "named_shapes", "open_model"]


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be run: inputs (name, shape with open sizes, element type) and a function of arrays by name."""

    path: str
    inputs: list[Array]
    answer: Callable[[dict[str, np.ndarray]], list[tuple[str, np.ndarray]]]


def graph_and_parameters(first: str, second: str | None = None, required: bool = True) -> tuple[str, str | None]:
    """Return (-symbol.json, parameters) of two files in either order, or of one and what lies beside it."""
    files = [existing(first, "model file"), *([existing(second, "model file")] if second else [])]
    kinds = {("symbol" if kind_of(one) == "symbol" else "arrays"): one for one in files}
    if kind_of(first) == "onnx" or (second and kind_of(second) == "onnx"):
        raise refuse("An ONNX model is not a graph and its parameters.", received=" ".join(files),
                     expected="NAME-symbol.json and NAME-0000.params", usage=True)
    if len(kinds) < len(files):
        raise refuse("Both files are of the same kind.", expected="a -symbol.json and its .params",
                     received=" ".join(files), usage=True)
    graph = kinds.get("symbol") or re.sub(r"(-\d{4,})?\.\w+$", "", first) + "-symbol.json"
    if not os.path.exists(graph):
        raise refuse("A file of parameters holds no network.", expected=f"its graph, such as {graph}", received=first,
                     fix="name the -symbol.json as well")
    parameters = kinds.get("arrays") or symbol_file.parameters_beside(graph)
    if parameters is None and required:
        raise refuse("There are no parameters beside the graph.", expected=re.sub("(-symbol)?.json$", "", graph)
                     + "-0000.params", received=graph, fix="name the file of parameters as well")
    return graph, parameters


def named_shapes(texts: Sequence[str], inputs: Sequence[str],
                 optional: Sequence[str] = ()) -> dict[str, tuple[int, ...]]:
    """Read `--shape 1,3,224,224` once per input, in order, or `--shape data=1,3,224,224`."""
    found: dict[str, tuple[int, ...]] = {}
    unnamed = [text for text in texts if "=" not in text]
    for text in texts:
        if "=" in text:
            name, _, shape = text.partition("=")
            if name not in inputs:
                raise refuse(f"There is no input {name!r}.", expected=", ".join(inputs), received=text, usage=True)
            found[name] = sizes(shape)
    open_names = [name for name in inputs if name not in found]
    if len(unnamed) > len(open_names):
        raise refuse("There are more shapes than inputs.", expected=f"one for each of {', '.join(inputs) or 'none'}",
                     received=" ".join(texts), usage=True)
    found.update({name: sizes(text) for name, text in zip(open_names, unnamed)})
    missing = [name for name in inputs if name not in found and name not in optional]
    if missing:
        raise refuse("The shape of an input is not known.", received=" ".join(texts) or "no --shape", usage=True,
                     expected=" ".join(f"--shape {name}=..." for name in missing),
                     fix=f"such as --shape {missing[0]}=1,3,224,224")
    return found


def open_model(path: str, parameters: str | None = None) -> Model:
    """Open a model so that it can be run."""
    if kind_of(existing(path, "model file")) == "onnx":
        if parameters is not None:
            raise refuse("An ONNX file carries its parameters.", received=f"--params {parameters}", usage=True)
        facts = facts_of(path)  # says in words what is wrong with a file that is cut off
        return _by_runtime(path) if find_spec("onnxruntime") else _by_gluon(path, None, facts)
    if kind_of(path) not in ("symbol", "params", "safetensors", "numpy"):
        raise refuse("This is no model.", expected="a .onnx or a -symbol.json", received=path,
                     fix="glueball inspect FILE says what it is")
    graph, arrays = graph_and_parameters(path, parameters)
    return _by_gluon(graph, arrays, symbol_file.facts(graph, arrays))


def _by_runtime(path: str) -> Model:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, too
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has its own classes for everything
        raise refuse(f"onnxruntime cannot open the model: {_first_line(error)}", received=path) from None
    inputs = [Array(one.name, list(one.shape), _TYPES.get(one.type, one.type)) for one in session.get_inputs()]
    names = [one.name for one in session.get_outputs()]

    def answer(feeds: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
        try:
            return list(zip(names, [np.asarray(one) for one in session.run(None, feeds)]))
        except Exception as error:
            raise refuse(f"onnxruntime cannot run the model: {_first_line(error)}",
                         expected=", ".join(f"{one.name} {shape_of(one.shape)}" for one in inputs),
                         received=", ".join(f"{name} {one.shape} {one.dtype}" for name, one in feeds.items())) from None

    return Model(path, inputs, answer)


_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16",
          "tensor(uint8)": "uint8", "tensor(int8)": "int8", "tensor(int32)": "int32", "tensor(int64)": "int64",
          "tensor(bool)": "bool"}


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__


def _by_gluon(path: str, parameters: str | None, facts: Facts) -> Model:
    from .. import gluon, nd

    block = gluon.load(path, parameters)
    inputs = [_declared(node.name, facts) for node in block._data_nodes]
    names = [value.node.name for value in block._values]

    def answer(feeds: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
        found = block(*(nd.array(feeds[one.name], dtype=feeds[one.name].dtype) for one in inputs))
        found = found if isinstance(found, (list, tuple)) else [found]
        return list(zip(names, [one.asnumpy() for one in found]))

    return Model(path, inputs, answer)


def _declared(name: str, facts: Facts) -> Array:
    """Say of an input of a graph what its file says: its shape, or at least the channels that the first layer reads."""
    shape = next((one.shape for one in facts.inputs if one.name == name), None)
    weights = {one.name: one.shape for one in facts.parameters}
    for layer in facts.layers if shape is None else []:
        if layer.inputs[:1] == [name] and len(layer.inputs) > 1 and (weight := weights.get(layer.inputs[1])):
            if layer.operator == "Convolution" and len(weight) == 4:
                shape = [None, weight[1], None, None]
            elif layer.operator == "BatchNorm" and weight[0] in (1, 3):
                shape = [None, weight[0], None, None]
            break
    return Array(name, shape, "float32")
