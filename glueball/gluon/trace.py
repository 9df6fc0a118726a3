"""Tracing a block: from a call with arrays to a graph with named inputs.

The one idea: `trace(block, args)` runs the block's forward once on symbols whose types are those of the arguments. It
returns a Traced: outputs, data variables, parameters and constants that the graph reads. Deferred initialisation,
hybridize() and export() all start here.
"""
from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, final

from .. import symbol as sym
from ..base.errors import MXNetError, explain
from ..base.modes import TRAINING
from ..base.naming import NameManager
from ..base.tree import flatten, unflatten
from ..executor.cached_op import CachedOp, TracedGraph
from ..ndarray import NDArray, serialize
from ..ndarray.ndarray import values_of
from ..ops.opdef import TensorType
from ..symbol.graph import Node, Value, topological, variables
from ..symbol.infer import infer
from ..symbol.symbol import Symbol
from ..symbol.tracer import Tracer
from .block import Block, as_arrays, explain_call
from .parameter import Parameter

__all__ = ["trace", "infer_parameters", "make_cached_op", "trace_for_export", "export_block", "Traced"]


@final
@dataclass(slots=True)
class Traced:
    """What one forward pass wrote down."""

    outputs: list[Symbol]
    structure: Any
    data: list[Node]
    parameters: dict[Node, Parameter]
    tracer: Tracer


def trace(block: Block, args: tuple[Any, ...], training: bool, known: bool = True) -> Traced:
    """Run the block's forward on symbols shaped like `args` (of unknown shape when `known` is False)."""
    found, structure = flatten(list(args), NDArray)
    names = ["data"] if len(found) == 1 else [f"data{i}" for i in range(len(found))]
    symbols = [sym.Variable(name) for name in names]
    tracer = Tracer(training)
    for symbol, array in zip(symbols, found):
        tracer.declare(
            symbol._outputs[0].node,
            TensorType(array.shape, values_of(array).dtype) if known else TensorType(None, values_of(array).dtype),
        )
    token = TRAINING.set(training)
    try:
        with NameManager(), tracer:
            out = block.forward(*unflatten(structure, symbols))
    except TypeError as error:
        explain_call(error, block, args)
        raise
    finally:
        TRAINING.reset(token)
    parts, out_structure = flatten(out, (Symbol, NDArray))
    outputs: list[Symbol] = []
    for part in parts:
        if isinstance(part, NDArray):
            part = Symbol._of(tracer.constant(part))
        outputs.append(part)
    if any(len(p) != 1 for p in outputs):
        out_structure, outputs = _spread(out_structure, outputs)
    if not outputs:
        raise MXNetError(explain(block.name, "A hybridized forward must return arrays.", received=type(out).__name__,
                                 fix="end it with `return`" if out is None else None))
    parameters = {s._outputs[0].node: p for p, s in tracer.parameters.items()}
    return Traced(outputs, out_structure, [s._outputs[0].node for s in symbols], parameters, tracer)


def _spread(structure: Any, outputs: list[Symbol]) -> tuple[Any, list[Symbol]]:
    """Turn symbols of several outputs into lists of single ones (F.split returned as it is)."""
    nested, flat_structure = flatten(unflatten(structure, [list(p) if len(p) != 1 else p for p in outputs]), Symbol)
    return flat_structure, nested


def infer_parameters(block: Block, args: tuple[Any, ...]) -> None:
    """Fill in the unknown sizes of all parameters that a call with `args` would use."""
    traced = trace(block, as_arrays(args), TRAINING.get())
    order = topological([s._outputs[0] for s in traced.outputs])
    known = {node: traced.tracer.types.get(node, (TensorType(),))[0] for node in order if node.is_variable}
    types = infer([s._outputs[0] for s in traced.outputs], known, traced.tracer.training, order)
    for node, parameter in traced.parameters.items():
        shape = types[node][0].shape if node in types else None
        if shape is not None:
            parameter.shape = tuple(0 if s is None else s for s in shape)


def make_cached_op(block: Any) -> Any:
    """Return the compiled callable of a block."""
    def build(args: tuple[Any, ...], training: bool) -> TracedGraph:
        traced = trace(block, args, training)
        outputs = [s._outputs[0] for s in traced.outputs]
        effects = [Value(node) for node in traced.tracer.effects]
        order = topological([*outputs, *effects])
        known = {node: traced.tracer.types.get(node, (TensorType(),))[0] for node in order if node.is_variable}
        types = infer(outputs, known, training, order)
        missing = [p for n, p in traced.parameters.items() if n in types and p._data is None]
        for node, parameter in traced.parameters.items():
            shape = types[node][0].shape if any(parameter is p for p in missing) else None
            if shape is not None:
                parameter.shape = tuple(0 if s is None else s for s in shape)
        forgotten = [p for p in missing if p._deferred is None]
        if forgotten:
            block.initialize_late(forgotten, flatten(list(args), NDArray)[0][0]._ctx)
        for parameter in missing:
            parameter._finish_deferred_init()
        return TracedGraph(outputs, traced.structure, traced.data,
                           [(n, p) for n, p in traced.parameters.items() if n in types],
                           [(n, a) for n, a in traced.tracer.constants.items() if n in types], types, effects,
                           traced.tracer.asked, traced.tracer.decides)
    return CachedOp(block.name, build, **block._flags)


def trace_for_export(block: Block, args: tuple[Any, ...]) -> tuple[Traced, bool]:
    """Return the trace in predict mode: without shapes where the forward asks for none, so that it serves any batch and
    reshapes keep their codes; and whether it asked.
    """
    try:
        traced = trace(block, args, False, known=False)
        outputs = [s._outputs[0] for s in traced.outputs]
        order, given = topological(outputs), zip(traced.data, flatten(list(args), NDArray)[0])
        known = {node: traced.tracer.types.get(node, (TensorType(),))[0] for node in order if node.is_variable}
        known |= {node: TensorType(array.shape, array._t.dtype) for node, array in given}
        infer(outputs, known, False, order)  # + of unknown shapes was written down as that of equal ones
        return traced, False
    except (MXNetError, TypeError, AttributeError, ValueError):
        return trace(block, args, False), True


def export_block(block: Any, path: str, epoch: int) -> tuple[str, str]:
    """Write a traced block as symbol JSON and parameters; see HybridBlock.export."""
    if block._cached is None or not block._cached.last_args:
        raise RuntimeError("Please first call block.hybridize() and then run forward with this block at least once "
                           "before calling export.")
    args = block._cached.last_args
    traced, _ = trace_for_export(block, args)
    outputs = [s._outputs[0] for s in traced.outputs]
    order = topological(outputs)
    auxiliary = set(variables(order)[1])
    arrays: dict[str, NDArray] = {}
    for node in order:
        if not node.is_variable or node in traced.data:
            continue
        value = traced.parameters[node].data() if node in traced.parameters else traced.tracer.constants[node]
        arrays[f"{'aux' if node in auxiliary else 'arg'}:{node.name}"] = value.detach()
    symbol_file, param_file = f"{path}-symbol.json", f"{path}-{epoch:04d}.params"
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    Symbol(outputs).save(symbol_file)
    serialize.save(param_file, arrays)
    return symbol_file, param_file


