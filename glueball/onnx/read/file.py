"""From a path, bytes or a ModelProto to a checked model: opset, inputs with their types, initializers, functions.

The one idea: everything that later code relies on is checked here once: the file parses, names are defined before they
are used and only once, and opsets are ones whose meaning is known. What the operators mean is in operators/.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import onnx
from google.protobuf.message import DecodeError

from ...base.errors import MXNetError, UnsupportedError, explain
from .tensors import Array, Beside, array_of, element_name, refusal, shape_of

__all__ = ["OPSETS", "Declared", "Model", "Source", "checked_nodes", "open_model"]

Source: TypeAlias = "str | os.PathLike[str] | bytes | onnx.ModelProto"
OPSETS = range(1, 29)  # 28: the newest whose changes were read; what the first ones had as attributes is refused
_LARGEST_DIM = 2**40


@dataclass(frozen=True, slots=True)
class Declared:
    """What a model says about an input: sizes (a number, or the name of an open one) and element type."""

    name: str
    shape: tuple[int | str, ...] | None
    dtype: str


@dataclass(frozen=True, slots=True)
class Model:
    """A checked model."""

    name: str
    proto: onnx.ModelProto
    opsets: Mapping[str, int]
    inputs: tuple[Declared, ...]
    outputs: tuple[str, ...]
    weights: Mapping[str, Array]
    directory: str | None
    functions: Mapping[tuple[str, str], onnx.FunctionProto]


def open_model(source: Source) -> Model:
    """Read and check a model.

    Raises
    ------
    FileFormatError
        It is no ONNX model, or contradicts itself.
    UnsupportedError
        An opset or element type outside of what is read.
    """
    directory, name = None, "ONNX model"
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        directory = os.path.dirname(os.path.abspath(name))
        with open(source, "rb") as file:
            source = file.read()
    if isinstance(source, (bytes, bytearray, memoryview)):
        proto = onnx.ModelProto()
        try:
            proto.ParseFromString(bytes(source))
        except DecodeError as error:
            raise refusal(name, "This is no ONNX model.", str(error)) from None
    elif isinstance(source, onnx.ModelProto):
        proto = source
    else:
        raise TypeError(explain("onnx.import_model", "A model is expected.", expected="a path, bytes or a ModelProto",
                                received=type(source).__name__))
    try:
        return _checked(proto, directory, name)
    except MXNetError:
        raise
    except Exception as error:  # bytes where there should be text, and whatever else protobuf lets pass
        raise refusal(name, "This is no ONNX model, or a damaged one.", f"{type(error).__name__}: {error}") from None


def _checked(proto: onnx.ModelProto, directory: str | None, name: str) -> Model:
    if not proto.HasField("graph") or not proto.ir_version or not proto.opset_import:
        raise refusal(name, "This is no ONNX model.", "no graph, version or operator set")
    opsets = {("" if entry.domain == "ai.onnx" else entry.domain): int(entry.version) for entry in proto.opset_import}
    version = opsets.get("", OPSETS.stop - 1)
    if version not in OPSETS:
        raise UnsupportedError(explain(name, f"Operator set {version} is not read.",
                                       expected=f"{OPSETS.start} to {OPSETS.stop - 1}", received=version,
                                       fix="onnx.version_converter.convert_version(model, 18) may help"))
    graph = proto.graph
    if graph.sparse_initializer:
        raise UnsupportedError(explain(name, "Sparse weights are not supported.",
                                       received=graph.sparse_initializer[0].values.name))
    weights: dict[str, Array] = {}
    beside = Beside(directory)
    for tensor in graph.initializer:
        if not tensor.name or tensor.name in weights:
            raise refusal(name, "A weight has no name, or that of another.", tensor.name)
        weights[tensor.name] = array_of(tensor, beside, f"weight {tensor.name!r}")
    proto = _with_own_states(proto, weights)
    graph = proto.graph
    inputs = [_declared(value) for value in graph.input if value.name not in weights]
    functions = {(function.domain, function.name): function for function in proto.functions}
    known = {*weights, *(one.name for one in inputs)}
    if len(known) != len(weights) + len(inputs) or "" in known:
        raise refusal(name, "An input has no name, or that of another.")
    outputs = tuple(value.name for value in graph.output)
    checked_nodes(graph.node, outputs, known, name)
    if not outputs:
        raise refusal(name, "The graph has no output.")
    return Model(name, proto, opsets, tuple(inputs), outputs, weights, directory, functions)


def _with_own_states(proto: onnx.ModelProto, weights: dict[str, Array]) -> onnx.ModelProto:
    """Give every BatchNormalization a mean and a variance of its own; exporters keep equal weights (zeros) once.

    Running statistics are written while training, so they must not be another layer's shift as well.
    """
    same = {name: name for name in weights}  # a weight, by the names that Identity gives it
    uses: dict[str, int] = {}
    for node in proto.graph.node:
        if node.op_type == "Identity" and len(node.input) == len(node.output) == 1 and node.input[0] in same:
            same[node.output[0]] = same[node.input[0]]
            continue
        for name in node.input:
            uses[same.get(name, name)] = uses.get(same.get(name, name), 0) + 1
    shared = [(i, at) for i, node in enumerate(proto.graph.node) for at in (3, 4)
              if node.op_type == "BatchNormalization" and len(node.input) == 5 and node.input[at] in same
              and uses[same[node.input[at]]] > 1]
    if shared:
        own = onnx.ModelProto()
        own.CopyFrom(proto)
        proto = own
    for i, at in shared:
        node = proto.graph.node[i]
        name = f"{node.name or node.output[0]}.{'running_mean' if at == 3 else 'running_var'}"
        if name not in weights:
            weights[name] = weights[same[node.input[at]]]
            node.input[at] = name
    return proto


def _declared(value: onnx.ValueInfoProto) -> Declared:
    where = f"input {value.name!r}"
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise UnsupportedError(explain(where, "Only arrays can be inputs.", received=kind or "no type"))
    tensor = value.type.tensor_type
    dtype = element_name(tensor.elem_type, where)
    if not tensor.HasField("shape"):
        return Declared(value.name, None, dtype)
    shape: list[int | str] = []
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value >= 0:
            if dim.dim_value > _LARGEST_DIM:
                raise refusal(where, "This size is not possible.", dim.dim_value)
            shape.append(int(dim.dim_value))
        else:
            shape.append(dim.dim_param or f"{value.name}.{axis}")
    shape_of([size for size in shape if isinstance(size, int)] + [1] * sum(isinstance(s, str) for s in shape), where)
    return Declared(value.name, tuple(shape), dtype)


def checked_nodes(nodes: Iterable[onnx.NodeProto], outputs: Sequence[str], known: set[str], where: str) -> None:
    """Check that every value is made once, and before it is read.

    known : names of the values that are there already (inputs, weights, and for a sub-graph those around it)
    """
    made: set[str] = set()
    for node in nodes:
        if not all(isinstance(text, str) for text in (node.op_type, node.domain, node.name, *node.input, *node.output)):
            raise refusal(where, "A name is not UTF-8 text.", repr(node.op_type))
        for value in node.input:
            if value and value not in known and value not in made:
                raise refusal(where, f"{node.op_type} ({node.name!r}) reads a value that nothing made before it.",
                              value)
        for value in node.output:
            if value and value in made:
                raise refusal(where, f"{node.op_type} ({node.name!r}) makes a value for the second time.", value)
            made.add(value)
    for value in outputs:
        if not value or value not in made and value not in known:
            raise refusal(where, "Nothing makes this output.", value)


def attribute_of(attribute: onnx.AttributeProto, array: Callable[[onnx.TensorProto, str], Array], where: str) -> Any:
    """Return the value of an attribute: number, text, list, Array (which `array` reads), or a graph as it stands."""
    kinds = onnx.AttributeProto
    kind = attribute.type
    if kind == kinds.FLOAT:
        return float(attribute.f)
    if kind == kinds.INT:
        return int(attribute.i)
    if kind == kinds.STRING:
        return attribute.s.decode("utf-8", "replace")
    if kind == kinds.TENSOR:
        return array(attribute.t, where)
    if kind == kinds.GRAPH:
        return attribute.g
    if kind == kinds.FLOATS:
        return [float(value) for value in attribute.floats]
    if kind == kinds.INTS:
        return [int(value) for value in attribute.ints]
    if kind == kinds.STRINGS:
        return [value.decode("utf-8", "replace") for value in attribute.strings]
    raise UnsupportedError(explain(where, "An attribute of this kind is not supported.",
                                   received=f"{attribute.name}: {kinds.AttributeType.Name(kind)}"))
