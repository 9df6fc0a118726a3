"""A network as an ONNX file: example inputs, a trace in predict mode, and the numbers that the file is held to.

The one idea: the network itself is the oracle: the file must answer what the block answers, for the examples and,
with an open batch, for another batch. How a graph becomes ONNX is in glueball/onnx.
"""
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..autograd import pause
from ..base.errors import MXNetError
from ..base.tree import flatten, unflatten
from ..ndarray import NDArray
from ..ops.opdef import TensorType
from ..symbol.graph import Node, topological
from .block import Block
from .example_inputs import example_arguments, wider
from .trace import Traced, trace, trace_for_export

__all__ = ["export_onnx"]


def export_onnx(block: Any, path: str | os.PathLike[str], inputs: Any = None, dynamic_batch: bool = True,
                check: bool = True, metadata: Mapping[str, str] | None = None) -> str:
    """Write a network as one self-contained ONNX file (opset 18) that predicts what the network predicts.

    Parameters
    ----------
    block : HybridBlock
        An initialised network; dropout is left out and running statistics are used, as in predict mode.
    path : str
        Where to write; ".onnx" is added where it is missing. Above 2 GB the weights lie beside it, in `path.data`.
    inputs : NDArray, or sequence of NDArray, optional
        Example inputs, which also serve the comparison. By default arrays of the shapes of the last hybridized call.
    dynamic_batch : bool
        Leave axis 0 of the inputs open, under the name "batch", where the network allows it.
    check : bool
        Run ONNX's checker, and onnxruntime on the examples (and on another batch size), before anything is written.
    metadata : mapping of str to str, optional
        Further properties of the file (a description, labels).

    Returns
    -------
    str
        The path of the file.

    Raises
    ------
    UnsupportedError
        An operator that ONNX cannot express; all of them are named, with your lines. Or onnx is not installed.
    ExportError
        The file would compute something else.
    """
    from ..onnx import plan_of, write  # onnx is an extra: nobody who does not export needs it
    args = example_arguments(block, inputs)
    samples, structure = flatten(list(args), NDArray)
    traced, asked = trace_for_export(block, args)
    second = None
    if dynamic_batch and (larger := wider(samples)):
        dynamic_batch = not asked or _same_for(block, unflatten(structure, larger), traced)
        if dynamic_batch and check:
            second = _second(block, structure, traced.data, larger)
            dynamic_batch = second is not None
    outputs = [symbol._outputs[0] for symbol in traced.outputs]
    known = {node: TensorType(a.shape, a._t.dtype) for node, a in zip(traced.data, samples)}
    arrays: dict[Node, NDArray] = {}
    for node in topological(outputs):
        if node.is_variable and node not in known:
            held = traced.parameters.get(node)
            arrays[node] = traced.tracer.constants[node] if held is None else held.data()
            known[node] = TensorType(arrays[node].shape, arrays[node]._t.dtype)
    plan = plan_of(outputs, traced.data, known, arrays, dynamic_batch, block.name or "network", metadata)

    def trials(plan: Any) -> Iterator[Any]:
        yield _trial("with the example inputs", block, structure, traced.data, samples)
        if plan.open_axis and second is not None:
            yield second

    return write(plan, path, trials, check)


def _same_for(block: Block, args: Any, traced: Traced) -> bool:
    """Whether a forward that looks at shapes becomes the same graph for another batch: else it wrote the size down."""
    try:
        other = trace(block, tuple(args), False)
    except (MXNetError, TypeError, AttributeError, ValueError, IndexError):
        return False
    mine, theirs = ([(s.tojson(), s._outputs[0].index) for s in one.outputs] for one in (traced, other))
    held, found = (list(one.tracer.constants.values()) for one in (traced, other))
    return mine == theirs and len(held) == len(found) and all(
        a.shape == b.shape and np.array_equal(a.asnumpy(), b.asnumpy()) for a, b in zip(held, found))


def _second(block: Any, structure: Any, names: Sequence[Node], wider: Sequence[NDArray]) -> Any:
    """The trial of another batch size; None where the network refuses one (in code that no result may depend on)."""
    try:
        return _trial("with another batch size", block, structure, names, wider)
    except MXNetError:
        return None


def _trial(what: str, block: Block, structure: Any, names: Sequence[Node], samples: Sequence[NDArray]) -> Any:
    from ..onnx import Trial
    with pause():
        found, _ = flatten([block(*unflatten(structure, list(samples)))], NDArray)
    return Trial(what, {node.name: a.asnumpy() for node, a in zip(names, samples)}, [one.asnumpy() for one in found])
