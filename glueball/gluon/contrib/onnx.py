"""ONNX by the names of MXNet 1.x: `import_model`, `import_to_gluon`, `get_model_metadata`, `export_model`.

The one idea: the work is `glueball.onnx.import_model`, which returns a block; here the same graph comes as a symbol and
two dictionaries of arrays, as code of 1.x expects it.
"""

from __future__ import annotations

import os
from typing import Any

from ...base.errors import UnsupportedError, explain
from ...ndarray import NDArray
from ...onnx import export_model
from ...onnx import import_model as _block_of
from ...symbol.graph import topological, variables
from ...symbol.symbol import Symbol
from ..onnx_block import ONNXBlock

__all__ = ["export_model", "get_model_metadata", "import_model", "import_to_gluon"]


def import_model(model_file: str | os.PathLike[str]) -> tuple[Symbol, dict[str, NDArray], dict[str, NDArray]]:
    """Return an ONNX model as (symbol, arguments, auxiliary states).

    Constants of the graph are among the arguments. `glueball.onnx.import_model` returns a block instead.

    Raises
    ------
    UnsupportedError
        Operators that are not read, or a graph that is another one for other sizes: that is no one symbol.
    """
    block: ONNXBlock = _block_of(model_file)
    reading = block.general
    if reading is None:
        raise UnsupportedError(explain("contrib.onnx.import_model", "The graph depends on the sizes of its inputs, so "
                                       "no one symbol serves all.", received=os.fspath(model_file),
                                       fix="use glueball.onnx.import_model, with shapes={'data': (1, 3, 224, 224)} to "
                                           "fix them, or without"))
    arrays = {node: parameter.data() for node, parameter in block._nodes.items()} | dict(reading.constants)
    states = set(variables(topological(reading.outputs))[1])
    arguments = {node.name: array for node, array in arrays.items() if node not in states}
    return Symbol(reading.outputs), arguments, {node.name: arrays[node] for node in states}


def import_to_gluon(model_file: str | os.PathLike[str], ctx: Any = None) -> ONNXBlock:
    """Return an ONNX model as a SymbolBlock with its parameters on `ctx`."""
    return _block_of(model_file, ctx=ctx)


def get_model_metadata(model_file: str | os.PathLike[str]) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    """Return names and shapes of a model's inputs and outputs (0 for open sizes).

    >>> from glueball import nd
    >>> from glueball.gluon import nn
    >>> import os, tempfile
    >>> net = nn.Dense(3); net.initialize()
    >>> with tempfile.TemporaryDirectory() as place:
    ...     path = net.export(os.path.join(place, "net"), format="onnx", inputs=[nd.ones((1, 2))], check=False)
    ...     get_model_metadata(path)
    {'input_tensor_data': [('data', (0, 2))], 'output_tensor_data': [('output', (0, 3))]}
    """
    from ...onnx.read import open_model

    model = open_model(model_file)
    given = [(one.name, tuple(size if isinstance(size, int) else 0 for size in one.shape or ())) for one in
             model.inputs]
    made = [(value.name, tuple(int(dim.dim_value) for dim in value.type.tensor_type.shape.dim))
            for value in model.proto.graph.output]
    return {"input_tensor_data": given, "output_tensor_data": made}
