"""Glueball as a backend for ONNX's own tools and test suite: `onnx.backend.base.Backend`.

The one idea: `prepare` imports the model as a block and `run` calls it with NumPy arrays. What is not read is an
error that ONNX's test runner counts as skipped, with the reason. The table of all its cases: tools/onnx_operators.py.
"""

from __future__ import annotations

import unittest
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep

from ..base.errors import FileFormatError, MXNetError, UnsupportedError, explain
from ..ndarray import NDArray, array, from_numpy
from ..symbol.symbol import Symbol
from . import import_model

__all__ = ["GlueballBackend", "NotRead", "Prepared"]


class NotRead(UnsupportedError, unittest.SkipTest):
    """The model holds what is not read; test runners count it as skipped."""


class Prepared(BackendRep):
    """An imported model, called with NumPy arrays."""

    def __init__(self, block: Any) -> None:
        self.block = block

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Return the outputs for inputs in the model's order, or by name."""
        names = [one.name for one in self.block._declared]
        given = [inputs[name] for name in names] if isinstance(inputs, Mapping) else list(inputs)
        try:
            found = self.block(*(_array(value) for value in given)) if names else _constants(self.block)
        except UnsupportedError as error:
            raise NotRead(str(error)) from error
        return tuple(_numpy(value) for value in (found if isinstance(found, (list, tuple)) else [found]))


class GlueballBackend(Backend):
    """Runs ONNX models on the CPU, by importing them."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> Prepared:
        """Import a model.

        Raises
        ------
        NotRead
            It holds operators or element types that are not read.
        """
        if not cls.supports_device(device):
            raise MXNetError(explain("onnx backend", "The device is not supported.", expected="CPU", received=device))
        try:
            return Prepared(import_model(model))
        except UnsupportedError as error:
            raise NotRead(str(error)) from error

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether a model is read."""
        try:
            import_model(model)
        except (UnsupportedError, FileFormatError):
            return False
        return cls.supports_device(device)

    @classmethod
    def run_node(cls, node: onnx.NodeProto, inputs: Any, device: str = "CPU",
                 outputs_info: Sequence[tuple[np.dtype[Any], tuple[int, ...]]] | None = None,
                 **kwargs: Any) -> tuple[Any, ...]:
        """Run one operator; keyword opset_version says by which operator set (by default the newest that is read)."""
        from .read.file import OPSETS

        helper = onnx.helper
        given = [np.asarray(value) for value in inputs]
        names = [name for name in node.input if name]
        values = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
                  for name, value in zip(names, given)]
        results = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        version = int(kwargs.get("opset_version", OPSETS.stop - 1))
        graph = helper.make_graph([node], node.op_type, values, results)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, version)])
        return cls.prepare(model, device).run(given)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether a device is supported: the CPU is."""
        return device.split(":")[0] == "CPU"


def _array(value: Any) -> NDArray:
    """A NumPy array with its element type; bfloat16 is no NumPy type and comes as ml_dtypes has it."""
    given = np.asarray(value)
    if given.dtype.name == "bfloat16":
        return array(given.astype(np.float32)).astype("bfloat16").reshape(given.shape)
    if given.dtype.kind not in "fiub":
        raise UnsupportedError(explain("onnx backend", f"Arrays of {given.dtype} are not supported."))
    return from_numpy(np.ascontiguousarray(given).reshape(given.shape), zero_copy=False)


def _numpy(value: NDArray) -> np.ndarray:
    found = value.asnumpy()
    if value.dtype_name == "bfloat16":
        import ml_dtypes  # onnx depends on it

        return found.astype(ml_dtypes.bfloat16)
    return found


def _constants(block: Any) -> Any:
    """The outputs of a model without inputs."""
    reading = block.general
    held = {node.name: value for node, value in reading.constants.items()}
    held |= {node.name: parameter.data() for node, parameter in block._nodes.items()}
    return Symbol(list(reading.outputs)).eval(**held)
