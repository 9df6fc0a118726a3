"""gluon.load: a model file of any kind as a block.

The one idea: the ending says what a file is; what the parameters' file does not give a value is an input. Graphs are
read by symbol/json.py, arrays by ndarray/serialize.py, ONNX by onnx/; the block is a SymbolBlock. A file of parameters
alone is not a model: `load_parameters` of the network that it belongs to reads it (files.py).
"""
from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from .. import symbol as sym
from ..base.errors import ArgumentError, explain
from ..symbol.prediction import inputs_without_value, predictions
from ..symbol.symbol import Symbol
from .symbol_block import SymbolBlock, arrays_by_name, check_inputs

__all__ = ["load"]

_GRAPH = "-symbol.json"
_ARRAYS = (".params", ".safetensors", ".npz")


def load(model: str | os.PathLike[str], params: str | os.PathLike[str] | int | None = None, ctx: Any = None,
         inputs: Sequence[str] | None = None) -> SymbolBlock:
    """Return the model in a file as a block, ready to be called, trained on, hybridized or exported.

    Parameters
    ----------
    model : str or path
        ``NAME-symbol.json`` of Glueball or of any MXNet from 0.8 on, ``NAME.onnx``, or the bare ``NAME`` before
        ``-symbol.json``.
    params : str or path, or int, optional
        The file of parameters beside a graph, or the number of its epoch. Left out: ``NAME-NNNN.params`` of the
        newest epoch.
    ctx : Context, optional
        Where parameters live.
    inputs : sequence of str, optional
        Names of the inputs, in the order of a call. Left out: the variables that have no value in the file of
        parameters. Labels of old output layers (SoftmaxOutput, …) that are not named are dropped: the layer then gives
        its prediction.

    Raises
    ------
    ArgumentError
        The file holds parameters and no network, its kind is unknown, or no parameters are there.
    FileFormatError
        A file is damaged.
    FileNotFoundError
        There is no such file.

    Examples
    --------
    >>> import os, tempfile
    >>> from glueball import gluon, nd
    >>> net = gluon.nn.Dense(2)
    >>> net.initialize()
    >>> net.hybridize()
    >>> x = nd.ones((1, 3))
    >>> y = net(x)
    >>> name = os.path.join(tempfile.mkdtemp(), "model")
    >>> files = net.export(name, epoch=7)
    >>> again = gluon.load(name + "-symbol.json")         # finds model-0007.params
    >>> bool((again(x) == y).asnumpy().all())
    True
    """
    if not isinstance(model, (str, os.PathLike)):
        raise ArgumentError(explain("gluon.load", "The name of a file is expected.", expected="a str or a path",
                                    received=type(model).__name__))
    path = os.fspath(model)
    if path.endswith(".onnx"):
        return _load_onnx(path, params, ctx, inputs)
    if path.endswith(_ARRAYS):
        path, params = _graph_beside(path, params)
    elif not path.endswith(".json"):
        if not os.path.exists(path + _GRAPH):
            raise _unknown(path)
        path += _GRAPH
    name = path[:-len(_GRAPH)] if path.endswith(_GRAPH) else path[:-len(".json")]
    graph = sym.load(path)
    file = _parameter_file(name, params)
    if file is None and inputs is None and len(graph.list_inputs()) > 1:
        raise ArgumentError(explain("gluon.load", f"There are no parameters beside {path!r}.",
                                    expected=f"{name}-NNNN.params", received=", ".join(graph.list_inputs()[:5]),
                                    fix="give the file of parameters, or inputs=[...] for a network without values"))
    if inputs is not None:
        check_inputs("gluon.load", graph, inputs, path)
    arrays = {} if file is None else arrays_by_name("gluon.load", file)
    return _block(graph, arrays, ctx, inputs, path if file is None else file, file is not None)


def _block(graph: Symbol, arrays: dict[str, Any], ctx: Any, inputs: Sequence[str] | None, where: str,
           complete: bool) -> SymbolBlock:
    """Return the block of a graph: what `arrays` does not name is an input."""
    values = list(graph._outputs)
    if complete:
        values = predictions(values, {*arrays, *(inputs or ())})
    names = list(inputs) if inputs is not None else inputs_without_value(values, arrays)
    block = SymbolBlock([Symbol(values)], [sym.Variable(name) for name in names])
    if complete:  # a file may hold more than the graph reads: a slice of a larger network, an optimiser's arrays
        block._without_gradients(arrays)
        block.collect_params().load_dict(arrays, ctx, False, True, "", where, cast_dtype=True, dtype_source="saved")
    elif ctx is not None:
        block.collect_params().reset_ctx(ctx)
    return block


def _load_onnx(path: str, params: Any, ctx: Any, inputs: Sequence[str] | None) -> SymbolBlock:
    if params is not None or inputs is not None:
        raise ArgumentError(explain("gluon.load", "An ONNX file says itself what its parameters and inputs are.",
                                    received=repr(inputs if params is None else params),
                                    fix=f"gluon.load({path!r})"))
    if not os.path.exists(path):
        raise _unknown(path)
    return import_module("glueball.onnx").import_model(path, ctx=ctx)


def _graph_beside(path: str, params: Any) -> tuple[str, str]:
    """Return the graph that lies beside a file of parameters, and that file."""
    stem = re.sub(r"(-\d{4,})?\.\w+$", "", path)
    if params is not None or not os.path.exists(stem + _GRAPH):
        raise ArgumentError(explain(
            "gluon.load", "A file of parameters holds no network.",
            expected=f"a network, such as {os.path.basename(stem)}{_GRAPH} beside it", received=path,
            fix=f"build the network and call net.load_parameters({path!r}), or gluon.load('NAME{_GRAPH}', {path!r})"))
    return stem + _GRAPH, path


def _parameter_file(name: str, params: Any) -> str | None:
    """Return the file of parameters that is meant: given, of an epoch, or the newest."""
    if isinstance(params, int):
        file = f"{name}-{params:04d}.params"
        if os.path.exists(file):
            return file
        epochs = ", ".join(str(epoch) for epoch, _ in _epochs(name)) or "none"
        raise FileNotFoundError(explain("gluon.load", f"There are no parameters of epoch {params}.", received=file,
                                        expected=f"epochs {epochs}"))
    if params is not None:
        return os.fspath(params)
    found = _epochs(name)
    return found[-1][1] if found else None


def _epochs(name: str) -> list[tuple[int, str]]:
    """Return (epoch, file) of all parameters beside a graph, the newest last."""
    folder, base = os.path.split(name)
    pattern = re.compile(re.escape(base) + r"-(\d{4,})\.(params|safetensors)")
    matches = [(entry, pattern.fullmatch(entry)) for entry in os.listdir(folder or ".")]
    return sorted((int(m.group(1)), os.path.join(folder, entry)) for entry, m in matches if m)


def _unknown(path: str) -> Exception:
    if not os.path.exists(path):
        return FileNotFoundError(explain("gluon.load", "There is no such model.", received=path,
                                         expected=f"a file, or the name before {_GRAPH}"))
    return ArgumentError(explain("gluon.load", "The ending does not say what the file is.", received=path,
                                 expected=f"NAME{_GRAPH} or NAME.onnx",
                                 fix="for a file of parameters: build the network, then net.load_parameters(...)"))
