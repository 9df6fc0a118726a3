"""From a graph to an `.onnx` file: choose the open sizes, lower, check, write.

The one idea: what is written is our own graph (no second tracer, no torch), so an export takes milliseconds; the time
goes into running the file once, to compare it. Nothing is written before the comparison has passed, and the file
appears under its name only when it is whole. Tracing a network and its own numbers come from gluon/onnx_file.py.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import onnx

from ..base import dtype as dtypes
from ..base.context import cpu
from ..base.errors import ArgumentError, explain
from ..base.files import draft_folder, write_atomically
from ..base.naming import bare_name
from ..ndarray import NDArray, array, serialize, zeros
from ..ops.opdef import TensorType
from ..symbol import load as load_symbol
from ..symbol.graph import Node, Value, topological
from ..symbol.symbol import Symbol
from .lowering import Plan, lower
from .sizes import fixed_sizes, open_sizes, size_at
from .verify import ExportError, Source, compare, load, structure

__all__ = ["Trial", "Trials", "export_model", "plan_of", "write"]

_LARGEST = 2**31 - 2**20  # protobuf's limit of one message, less room for the graph


class Trial(NamedTuple):
    """One comparison: what is special about it, the inputs by name, and what the network itself answers."""

    what: str
    feeds: Mapping[str, np.ndarray]
    expected: Sequence[np.ndarray]


Trials: TypeAlias = Callable[[Plan], Iterable[Trial]]  # of a plan, because whether its batch is open is known then


def plan_of(outputs: Sequence[Value], data: Sequence[Node], known: Mapping[Node, TensorType],
            arrays: Mapping[Node, NDArray], open_batch: bool, name: str = "network",
            metadata: Mapping[str, str] | None = None) -> Plan:
    """Return what is to be written; axis 0 of the inputs is left open where that is asked for and possible."""
    read = set(topological(outputs))
    used = [node for node in data if node in read]
    axes = {node: 0 for node in used if known[node].shape}
    batches = {shape[0] for node in axes if (shape := known[node].shape)}
    sizes = open_sizes(outputs, known, axes) if open_batch and len(batches) == 1 else None
    axes = axes if sizes is not None else {}
    return Plan(outputs, used, sizes or fixed_sizes(outputs, known),
                {node: (one.detach().asnumpy(), dtypes.name_of(one._t.dtype)) for node, one in arrays.items()},
                axes, name, {"glueball.format": "1", **(metadata or {})})


def write(plan: Plan, path: str | os.PathLike[str], trials: Trials | None = None, check: bool = True) -> str:
    """Write a plan to `path` (".onnx" is added where it is missing) once it has passed; return the path."""
    path = os.fspath(path)
    path = path if path.endswith(".onnx") else f"{path}.onnx"
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    origins: dict[str, str] = {}
    model = lower(plan, origins)
    if sum(len(weight.raw_data) for weight in model.graph.initializer) > _LARGEST:
        return _write_large(model, path, lambda draft: _check(draft, plan, trials, origins) if check else None)
    data = model.SerializeToString()
    if check:
        _check(data, plan, trials, origins)
    write_atomically(path, data)
    return path


def _check(model: Source, plan: Plan, trials: Trials | None, origins: Mapping[str, str]) -> None:
    """ONNX's checker, then the numbers."""
    structure(model, origins)
    with ThreadPoolExecutor(1) as beside:  # onnxruntime arranges the weights while the network computes
        loading = beside.submit(load, model, origins)
        tried = list(trials(plan)) if trials is not None else []
        answer = loading.result()
    names = [f"output{i}" for i in range(len(plan.outputs))] if len(plan.outputs) > 1 else ["output"]
    kinds = [dtypes.name_of(plan.sizes[value.node][value.index].dtype) for value in plan.outputs]
    for trial in tried:
        _refuse_empty_sequences(plan, trial)
        compare(answer(trial.feeds), trial.expected, names, kinds, trial.what)


def _refuse_empty_sequences(plan: Plan, trial: Trial) -> None:
    """Stop before onnxruntime ends the whole process: it does where LSTM or GRU are given no step or no sample."""
    batch = next((trial.feeds[node.name].shape[axis] for node, axis in plan.open_axis.items()), 0)
    for node in topological(plan.outputs):
        if node.op is not None and node.op.name == "RNN" and any(0 not in row.shape for row in plan.sizes[node]):
            data = node.inputs[0]
            shape = tuple(size_at(size, batch) for size in plan.sizes[data.node][data.index].shape)
            if 0 in shape:
                made = f", made at {node.origin}" if node.origin else ""
                raise ExportError(explain("export to ONNX", f"RNN ({node.name!r}{made}) is given nothing {trial.what}, "
                                          "and onnxruntime cannot run that.",
                                          expected="at least one step of one sample", received=shape,
                                          fix="give an example with samples, or check=False"))


def _write_large(model: onnx.ModelProto, path: str, checked: Callable[[str], None]) -> str:
    """Write a model of more than 2 GB: the graph in `path`, the weights in `path.data`.

    Where a model lies there already, its weights keep their name until the graph is replaced, and the new ones are in
    `path.data.1` (and the next time in `path.data` again): after a crash the graph that is there has its own weights.
    """
    folder, name = os.path.split(os.path.abspath(path))
    taken = _weights_of(path)
    location = f"{name}.data.1" if f"{name}.data" in taken else f"{name}.data"
    with draft_folder(path) as place:
        draft = os.path.join(place, name)
        onnx.save_model(model, draft, save_as_external_data=True, all_tensors_to_one_file=True, location=location)
        checked(draft)
        for written in (f"{draft}", os.path.join(place, location)):
            with open(written, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(os.path.join(place, location), os.path.join(folder, location))
        os.replace(draft, path)
    for old in {f"{name}.data", f"{name}.data.1"} - {location}:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, old))
    return path


def _weights_of(path: str) -> set[str]:
    """Return the names of the files in which the weights of the model at `path` lie, if there is one."""
    try:
        old = onnx.load_model(path, load_external_data=False)
    except Exception:  # none, or nothing that can be read: there is nothing to keep
        return set()
    return {entry.value for tensor in old.graph.initializer for entry in tensor.external_data
            if entry.key == "location"}


def export_model(sym: Symbol | str, params: Mapping[str, NDArray] | str, in_shapes: Sequence[Sequence[int]],
                 in_types: Any = "float32", onnx_file_path: str = "model.onnx", dynamic: bool = False) -> str:
    """Write a symbol and its parameters (or their files) as ONNX, by the arguments of MXNet 1.9's `onnx.export_model`.

    Parameters
    ----------
    sym : Symbol or str
        The graph, or the path of a `-symbol.json` file.
    params : dict of str to NDArray, or str
        The parameters by name ("arg:" and "aux:" are taken off), or the path of a `.params` file.
    in_shapes : list of tuple of int
        The shapes of the inputs, in the order of the symbol's arguments that have no parameter; labels of loss
        layers may be left out.
    in_types : dtype, or list of dtypes
        Element types of the inputs.
    dynamic : bool
        Leave axis 0 of the inputs open.

    Returns
    -------
    str
        The path of the file.
    """
    if isinstance(sym, str):
        sym = load_symbol(sym)
    if isinstance(params, str):
        loaded = serialize.load(params) or {}  # a network without parameters has an empty file
        if not isinstance(loaded, dict):
            raise ArgumentError(explain("onnx.export_model", f"{params} holds no names.", expected="named parameters"))
        params = loaded
    by_name = {bare_name(name): value for name, value in params.items()}
    outputs = list(sym._outputs)
    variables = [node for node in topological(outputs) if node.is_variable]
    data = [node for node in variables if node.name not in by_name]
    shapes = [tuple(shape) for shape in in_shapes]
    types = list(in_types) if isinstance(in_types, (list, tuple)) else [in_types] * len(shapes)
    if len(shapes) > len(data) or any(not node.name.endswith("label") for node in data[len(shapes):]):
        raise ArgumentError(explain("onnx.export_model", "The shapes do not fit the inputs.",
                                    expected=f"a shape for each of {', '.join(node.name for node in data)}",
                                    received=f"{len(shapes)} shapes"))
    known = {node: TensorType(shape, dtypes.as_torch(kind)) for node, shape, kind in zip(data, shapes, types)}
    arrays = {node: by_name[node.name] for node in variables if node.name in by_name}
    known |= {node: TensorType(a.shape, a._t.dtype) for node, a in arrays.items()}

    def trials(plan: Plan) -> Iterable[Trial]:
        own = next((shapes[data.index(node)][axis] for node, axis in plan.open_axis.items()), 0)
        yield _trial("with random inputs", sym, plan, data, len(shapes), arrays, own)
        if plan.open_axis:
            yield _trial("with another batch size", sym, plan, data, len(shapes), arrays, max(2 * own, 1))

    return write(plan_of(outputs, data[: len(shapes)], known, arrays, dynamic), onnx_file_path, trials)


def _trial(what: str, sym: Symbol, plan: Plan, data: Sequence[Node], count: int, arrays: Mapping[Node, NDArray],
           batch: int) -> Trial:
    """What a symbol answers for random inputs (the first `count` of `data`; the others are labels) of a batch size."""
    random, feeds = np.random.RandomState(0), dict[str, np.ndarray]()
    held = {node.name: one for node, one in arrays.items()}
    for index, node in enumerate(data):
        sized = plan.sizes[node][0]
        shape = tuple(size_at(size, batch) for size in sized.shape)
        if index >= count:
            held[node.name] = zeros(shape)
            continue
        feeds[node.name] = random.uniform(-1, 1, shape).astype(dtypes.as_numpy(dtypes.name_of(sized.dtype)))
        held[node.name] = array(feeds[node.name], dtype=feeds[node.name].dtype)
    auxiliary = sym.list_auxiliary_states()
    executor = sym.bind(cpu(), {name: one for name, one in held.items() if name not in auxiliary},
                        aux_states={name: held[name] for name in auxiliary if name in held})
    return Trial(what, feeds, [one.asnumpy() for one in executor.forward(is_train=False)])
