"""An ONNX graph while it is being written: nodes, weights, names.

The one idea: a value is the text of its name. `node` adds an operator and returns the names of its results; `constant`
keeps one copy of equal small arrays. What is written is plain ONNX of opset 18, IR version 10 or lower, so that any
runtime since 2023 reads it. Which node an operator becomes is not known here (rules/).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from .names import Names
from .sizes import Affine, Size

__all__ = ["IR_VERSION", "OPSET", "Writer", "element_type", "tensor"]

OPSET = 18  # LayerNormalization, Pad with axes, Split with num_outputs: what models need, and runtimes of 2023 have
IR_VERSION = 8

_ELEMENTS: Mapping[str, int] = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}


def element_type(name: str) -> int:
    """Return ONNX's number of an element type's public name."""
    return _ELEMENTS[name]


def tensor(name: str, array: np.ndarray, dtype: str | None = None) -> onnx.TensorProto:
    """Return an array as ONNX holds it: little-endian bytes. A bfloat16 array comes as float32 numbers."""
    dtype = dtype or array.dtype.name
    if dtype == "bfloat16":
        bits = np.ascontiguousarray(array, "<f4").view("<u4")
        data = (bits >> 16).astype("<u2").tobytes()  # exact: the numbers were bfloat16 before
    else:
        data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    made = onnx.TensorProto(name=name, data_type=element_type(dtype), dims=array.shape)
    made.raw_data = data
    return made


class Writer:
    """Collects the nodes and weights of one graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.origin = ""  # what is being written: an operator of ours, and the user's line
        self.origins: dict[str, str] = {}  # the origin of each node, by its name
        self.weights: dict[str, onnx.TensorProto] = {}
        self.names = Names()
        self._constants: dict[tuple[Any, ...], str] = {}
        self._batch: str | None = None
        self._batch_source: tuple[str, int] | None = None

    def node(self, kind: str, inputs: Sequence[str], hint: str, outputs: int = 1, **attrs: Any) -> tuple[str, ...]:
        """Add an operator and return the names of its results."""
        names = tuple(self.names.fresh(hint if i == 0 else f"{hint}_out{i}") for i in range(outputs))
        given = {key: value for key, value in attrs.items() if value is not None}
        self.nodes.append(helper.make_node(kind, list(inputs), list(names), name=names[0], **given))
        self.origins[names[0]] = self.origin
        return names

    def weight(self, name: str, array: np.ndarray, dtype: str) -> str:
        """Add a parameter under its own name."""
        name = self.names.fresh(name)
        self.weights[name] = tensor(name, array, dtype)
        return name

    def constant(self, array: Any, dtype: str | None = None) -> str:
        """Return the name of a constant array; equal small ones are kept once."""
        array = np.asarray(array)
        key = (dtype or array.dtype.name, array.shape, array.tobytes())
        found = self._constants.get(key)
        if found is None:
            found = self.names.fresh("constant")
            self.weights[found] = tensor(found, array, dtype)
            self._constants[key] = found
        return found

    def opened(self, source: str, axis: int) -> None:
        """Say which input's axis is the batch."""
        self._batch_source = (source, axis)

    def batch(self) -> str:
        """Return the batch size as an int64 vector of one element, read from the input at run time."""
        if self._batch is None:
            if self._batch_source is None:
                raise ValueError("no input has an open axis")
            source, axis = self._batch_source
            self._batch = self.node("Shape", [source], "batch_size", start=axis, end=axis + 1)[0]
        return self._batch

    def sizes(self, shape: Sequence[Size]) -> str:
        """Return sizes as an int64 vector: a constant, or computed from the batch size."""
        if not any(isinstance(size, Affine) for size in shape):
            return self.constant(np.array(shape, np.int64))
        parts: list[str] = []
        for size in shape:
            if not isinstance(size, Affine):
                parts.append(self.constant(np.array([size], np.int64)))
                continue
            part = self.batch()
            if size.slope != 1:
                part = self.node("Mul", [part, self.constant(np.array([size.slope], np.int64))], "size")[0]
            if size.rest:
                part = self.node("Add", [part, self.constant(np.array([size.rest], np.int64))], "size")[0]
            parts.append(part)
        return parts[0] if len(parts) == 1 else self.node("Concat", parts, "sizes", axis=0)[0]

    def rename(self, old: str, new: str) -> None:
        """Give a node's result another name wherever it occurs."""
        for node in self.nodes:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    if name == old:
                        names[i] = new
