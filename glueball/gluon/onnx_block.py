"""A block made of an ONNX model: SymbolBlock with the graph that `onnx/read` returns.

The one idea: one graph serves all sizes wherever that can be. Where it cannot (a size decides what is computed, or the
numbers of an input do), the model is read again for the sizes of a call, and the graphs are kept per signature. All of
them share the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base import dtype as dtypes
from ..base.errors import MXNetError, ShapeError, TraceError, explain
from ..dispatch import Symbolic
from ..ndarray import NDArray, from_numpy
from ..symbol.graph import Node, Value, topological, variables
from ..symbol.symbol import Symbol
from ..symbol.tracer import current_tracer
from .symbol_block import SymbolBlock

if TYPE_CHECKING:
    from ..onnx.read import Model, Reading

__all__ = ["ONNXBlock", "block_of"]

_KEPT = 16  # graphs for sizes of calls; the oldest goes first


class ONNXBlock(SymbolBlock):
    """An ONNX model as a block; `glueball.onnx.import_model` makes it.

    Parameters
    ----------
    model : Model
        A checked model.
    shapes : dict of str to tuple, optional
        Other shapes of inputs than it declares.
    ctx : Context, optional
        Where the parameters are made.
    """

    def __init__(self, model: Model, shapes: Mapping[str, Sequence[int | str]] | None = None, ctx: Any = None) -> None:
        from ..onnx.read import variables_of, worlds_of

        self._model, self._declared = model, _redeclared(model, shapes or {})
        data, parameters = variables_of(model)
        self._variables = data, parameters
        self._needed: frozenset[str] = frozenset()
        self._readings: dict[Any, Reading] = {}
        self._general = self._generally(worlds_of(self._declared))
        outputs = self._general.outputs if self._general is not None else [Value(node) for node in data.values()]
        super().__init__(Symbol(list(outputs)), [Symbol._of(node) for node in data.values()])
        self._data_nodes = list(data.values())
        self._reg_params.clear()
        self._nodes.clear()
        self.params._params.clear()
        read_here = set(topological(outputs)) if self._general is not None else set(parameters.values())
        states = set(variables(topological(outputs))[1])
        for name, node in parameters.items():
            if node in read_here:
                self._take(name, node, node in states, ctx)

    def _take(self, name: str, node: Node, is_state: bool, ctx: Any) -> None:
        """Make the parameter of a weight, with its value."""
        array = self._model.weights[name]
        parameter = self.params.get(name, shape=array.data.shape, dtype=dtypes.as_numpy(array.dtype))
        if is_state:
            parameter.grad_req = "null"
        value = from_numpy(array.data, zero_copy=False)
        if array.dtype == "bfloat16":
            value = value.astype("bfloat16")
            parameter._dtype = "bfloat16"
        parameter._load_init(value, ctx)
        self._nodes[node] = parameter
        self._reg_params[name] = parameter

    def _generally(self, worlds: Sequence[Mapping[str, tuple[int, ...]]]) -> Reading | None:
        """Return the graph that serves all sizes, None where there is none."""
        from ..onnx.read import Needs, Varies, read

        if not worlds:
            return None
        kinds = {one.name: one.dtype for one in self._declared}
        try:
            return read(self._model, *self._variables, worlds, kinds)
        except Varies:
            return None
        except Needs as needs:
            self._needed = needs.names
            return None
        except MXNetError:
            if len(worlds) == 1:
                raise  # these are the very sizes of the model
            return None  # numbers that stand for open sizes need not fit the model

    @property
    def general(self) -> Reading | None:
        """The graph that serves all sizes; None where each call's sizes have one of their own."""
        return self._general

    # -- calls ---------------------------------------------------------------------------------------------------------
    def forward(self, x: Any, *args: Any) -> Any:
        """Run the model on arrays, or compose it onto symbols; inputs take the element types that it declares."""
        given = [v for a in (x, *args) for v in (a if isinstance(a, (list, tuple)) else [a])]
        if len(given) == len(self._declared):
            given = [self._typed(value, one.dtype) for value, one in zip(given, self._declared)]
        return super().forward(*given)

    def _typed(self, value: Any, dtype: str) -> Any:
        """Whole numbers and truths as the model declares them; Gluon's data are real numbers by default."""
        if isinstance(value, NDArray) and value.dtype_name != dtype and not ("float" in dtype and value.dtype_name in (
                "float16", "bfloat16", "float32", "float64")):
            return value.astype(dtype)
        if isinstance(value, Symbol) and "float" not in dtype:
            tracer = current_tracer()
            if tracer is not None and dtypes.name_of(tracer.type_of(value._outputs[0]).dtype) != dtype:
                return value.astype(dtype)
        return value

    def _graph_for(self, given: Sequence[Any]) -> tuple[Sequence[Value], Mapping[Node, NDArray]]:
        known = [_type_of(value) for value in given]
        if self._general is not None:
            self._check(known)
            return self._general.outputs, self._general.constants
        if any(shape is None for shape, _ in known):
            raise TraceError(explain("ONNX model", "Its graph depends on the sizes of its inputs.",
                                     expected="arrays, or symbols whose shapes are known", received="symbols",
                                     fix="hybridize() and call it with arrays"))
        tracer = current_tracer()
        if tracer is not None:
            tracer.asked = True  # what is traced serves these sizes only
        found = self._reading(given, {one.name: row for one, row in zip(self._declared, known)})
        return found.outputs, found.constants

    def _check(self, known: Sequence[tuple[tuple[int, ...] | None, str | None]]) -> None:
        """Sizes that the model fixes must be those; its graph was made for them."""
        for one, (shape, _) in zip(self._declared, known):
            if shape is not None and one.shape is not None and (len(shape) != len(one.shape) or any(
                    isinstance(wanted, int) and wanted != size for wanted, size in zip(one.shape, shape))):
                raise ShapeError(explain(f"input {one.name!r}", "The model fixes other sizes.", expected=one.shape,
                                         received=shape, fix="import_model(path, shapes={"
                                         f"{one.name!r}: ('batch', ...)}}) opens sizes, where the graph allows it"))

    def _reading(self, given: Sequence[Any], known: Mapping[str, Any]) -> Reading:
        """Return the graph for these sizes (and, where inputs decide about it, for their numbers)."""
        from ..onnx.read import Needs, read

        names = [one.name for one in self._declared]
        self._check(list(known.values()))
        for _ in range(len(names) + 1):
            values: dict[str, np.ndarray] = {}
            for name, value in zip(names, given):
                if name in self._needed:
                    if isinstance(value, Symbolic):
                        raise TraceError(explain("ONNX model", f"The numbers of the input {name!r} decide about its "
                                                 "graph, and are not known while it is traced.",
                                                 fix="call the model without hybridize()"))
                    values[name] = value.asnumpy()
            key = (*known.values(), *((name, row.tobytes()) for name, row in values.items()))
            if key in self._readings:
                return self._readings[key]
            try:
                shapes = {name: row[0] for name, row in known.items()}
                made = read(self._model, *self._variables, [shapes], {n: row[1] for n, row in known.items()}, values)
            except Needs as needs:
                self._needed |= needs.names
                continue
            if len(self._readings) >= _KEPT:
                del self._readings[next(iter(self._readings))]
            self._readings[key] = made
            for node in variables(topological(made.outputs))[1]:
                if node in self._nodes:
                    self._nodes[node].grad_req = "null"
            return made
        raise MXNetError(explain("ONNX model", "Its graph does not follow from its inputs."))


def _type_of(value: Any) -> tuple[tuple[int, ...] | None, str | None]:
    """Shape and element type, None where a symbol does not know them."""
    if isinstance(value, Symbol):
        tracer = current_tracer()
        kind = None if tracer is None else tracer.type_of(value._outputs[0])
        if kind is None or not kind.known or kind.shape is None:
            return None, None
        return tuple(size or 0 for size in kind.shape), dtypes.name_of(kind.dtype)
    return tuple(value.shape), value.dtype_name


def _redeclared(model: Model, shapes: Mapping[str, Sequence[int | str]]) -> list[Any]:
    """The inputs with other shapes than the model says."""
    from ..onnx.read.file import Declared

    names = [one.name for one in model.inputs]
    for name in shapes:
        if name not in names:
            raise MXNetError(explain("onnx.import_model", f"The model has no input {name!r}.",
                                     expected=", ".join(names), received=name))
    return [Declared(one.name, tuple(shapes[one.name]), one.dtype) if one.name in shapes else one
            for one in model.inputs]


def block_of(source: Any, shapes: Mapping[str, Sequence[int | str]] | None = None, ctx: Any = None) -> ONNXBlock:
    """Return the block of a model: see `glueball.onnx.import_model`."""
    from ..onnx.read import open_model

    return ONNXBlock(open_model(source), shapes, ctx)
