"""SymbolBlock: a graph as a block; how exported models come back.

The one idea: the graph's variables are either inputs (named at construction) or parameters; running it composes the
graph onto the inputs, or, on arrays, runs the graph's operators one by one through the door, so recording,
hybridizing and fine-tuning work as for any block.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import initializer
from .. import symbol as sym
from ..base import dtype as dtypes
from ..base.errors import ArgumentError, FileFormatError, MXNetError, explain
from ..base.naming import bare_name
from ..dispatch import invoke
from ..ndarray import NDArray, serialize
from ..ops.opdef import TensorType
from ..passes.sizes import has_open_size, with_sizes
from ..symbol.graph import Node, Value, execution_order, present, topological, variables
from ..symbol.infer import infer
from ..symbol.prediction import predictions
from ..symbol.rewrite import substitute
from ..symbol.symbol import Symbol, declared_type
from ..symbol.tracer import Tracer, current_tracer
from .block import as_arrays
from .hybrid import HybridBlock
from .parameter import tracer_symbol
from .parameter_dict import ParameterDict

__all__ = ["SymbolBlock", "arrays_by_name", "check_inputs"]


class SymbolBlock(HybridBlock):
    """A block made of symbols.

    Parameters
    ----------
    outputs : Symbol or list of Symbols to compute
    inputs : Symbol or list of Symbols (variables) that the block is called with
    params : ParameterDict to take parameters from
    """

    def __init__(self, outputs: Any, inputs: Any, params: Any = None) -> None:
        shared = ParameterDict("")
        if params is not None:
            shared.update(params)
        super().__init__(prefix="", params=shared)
        outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        flat = [s for i in inputs for s in i]
        for value in flat:
            if not isinstance(value, Symbol) or not value._outputs[0].node.is_variable:
                raise MXNetError(explain("SymbolBlock", "Inputs must be variables.", received=repr(value),
                                         fix="use sym.Variable('data')"))
        self._values = [v for o in outputs for v in o._outputs]
        order = topological(self._values)
        self._has_open_sizes = any(has_open_size(n) for n in order)
        self._with_sizes: dict[Any, Any] = {}
        by_name = {n.name: n for n in order if n.is_variable}
        self._data_nodes: list[Node] = [by_name[s.name] if s.name in by_name else s._outputs[0].node for s in flat]
        chosen = set(self._data_nodes)
        arguments, auxiliary = variables(order)
        self._nodes: dict[Node, Any] = {}
        for node in [*arguments, *auxiliary]:
            if node in chosen:
                continue
            kind = declared_type(node)
            shape = None if kind.shape is None else tuple(0 if s is None else s for s in kind.shape)
            options: dict[str, Any] = {"allow_deferred_init": True, "shape": shape,
                                       "dtype": dtypes.as_numpy(kind.dtype)}
            if node in auxiliary:
                options["grad_req"] = "null"
            options |= _hinted(node)
            parameter = self.params.get(node.name, **options)
            self._nodes[node] = parameter
            self._reg_params[node.name] = parameter
        self._prefix = ""

    def _alias(self) -> str:
        return "symbolblock"

    def __repr__(self) -> str:
        outputs = ", ".join(v.node.name for v in self._values)
        inputs = ", ".join(n.name for n in self._data_nodes)
        return f"SymbolBlock(\n<{outputs}> : {inputs} -> {len(self._nodes)} parameters\n)"

    @staticmethod
    def imports(symbol_file: str, input_names: Any, param_file: str | None = None, ctx: Any = None,
                allow_missing: bool = False, ignore_extra: bool = False) -> SymbolBlock:
        """Return a block from `-symbol.json` and `.params` files; see HybridBlock.export.

        input_names : names of the variables that are data. Labels of old output layers need not be listed.
        """
        graph = sym.load(symbol_file)
        names = [input_names] if isinstance(input_names, str) else list(input_names)
        check_inputs("SymbolBlock.imports", graph, names, symbol_file)
        values = list(graph._outputs)
        bare = {} if param_file is None else arrays_by_name("SymbolBlock.imports", param_file)
        if param_file is not None:
            values = predictions(values, {*names, *bare})
        block = SymbolBlock([Symbol(values)], [sym.Variable(n) for n in names])
        if param_file is not None:
            block._without_gradients(bare)
            block.collect_params().load_dict(bare, ctx, allow_missing, ignore_extra, "", param_file, cast_dtype=True,
                                             dtype_source="saved")
        elif ctx is not None:
            block.collect_params().reset_ctx(ctx)
        return block

    def _without_gradients(self, arrays: Mapping[str, NDArray]) -> None:
        """Whole numbers and truths of a file are constants: indices, sizes, masks."""
        for name, parameter in self.collect_params().items():
            if name in arrays and not arrays[name]._t.dtype.is_floating_point:
                parameter.grad_req = "null"

    def forward(self, x: Any, *args: Any) -> Any:
        """Run the graph on arrays, or compose it onto symbols."""
        given = [v for a in (x, *args) for v in (a if isinstance(a, (list, tuple)) else [a])]
        if len(given) != len(self._data_nodes):
            raise MXNetError(explain("SymbolBlock", "The number of inputs does not fit.",
                                     expected=", ".join(n.name for n in self._data_nodes), received=len(given),
                                     fix="give one array per input, in this order"))
        tracer = current_tracer()
        if tracer is not None:
            symbols = [v if isinstance(v, Symbol) else Symbol._of(tracer.constant(v)) for v in given]
            return self._composed(symbols, tracer)
        if given and all(isinstance(v, Symbol) for v in given):
            return self._composed(given, None)
        given = as_arrays(tuple(given))
        if not all(isinstance(v, NDArray) for v in given):
            raise MXNetError(explain("SymbolBlock", "It is called with arrays, or with symbols.",
                                     expected="all of one kind", received=", ".join(type(v).__name__ for v in given),
                                     fix="convert data with nd.array(data); beside symbols, use sym.Variable(name)"))
        outputs, constants = self._graph_for(given)
        values: dict[Node, list[Any]] = {node: [value] for node, value in zip(self._data_nodes, given)}
        params = self._ready_params(given[0], tuple(given[1:]), given[0]._ctx) if self._nodes else {}
        for node, parameter in self._nodes.items():
            values[node] = [params[parameter.name]]
        for node, array in constants.items():
            values[node] = [array.as_in_context(given[0]._ctx)]
        outputs = self._sized(outputs, {node: TensorType(row[0].shape, row[0]._t.dtype)
                                        for node, row in values.items()})
        for node in execution_order(outputs):
            if node not in values:
                values[node] = _run(node, [values[v.node][v.index] for v in node.inputs])
        return _grouped([values[v.node][v.index] for v in outputs])

    def _composed(self, given: Sequence[Symbol], tracer: Tracer | None) -> Any:
        """Return the graph on symbols; its parameters are variables, or what a tracer has for them."""
        outputs, constants = self._graph_for(given)
        mapping = {node: value._outputs[0] for node, value in zip(self._data_nodes, given)}
        for node, parameter in self._nodes.items():
            mapping[node] = (parameter.var() if tracer is None else tracer_symbol(tracer, parameter))._outputs[0]
        if tracer is not None:
            mapping.update({node: Value(tracer.constant(array)) for node, array in constants.items()})
        return _grouped([Symbol([v]) for v in substitute(outputs, mapping)])

    def _graph_for(self, given: Sequence[Any]) -> tuple[Sequence[Value], Mapping[Node, NDArray]]:
        """Return the outputs to compute for these inputs, and the arrays of the constants that they read."""
        return self._values, {}

    def _sized(self, outputs: Sequence[Value], known: dict[Node, TensorType]) -> Any:
        """Return the outputs of the graph in which sizes that its nodes leave open (first states) fit these inputs."""
        if not self._has_open_sizes:
            return outputs
        key = tuple((kind.shape, kind.dtype) for kind in known.values())
        if key not in self._with_sizes:
            self._with_sizes[key] = with_sizes(outputs, infer(outputs, known))[0]
        return self._with_sizes[key]

    def hybrid_forward(self, F: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Not used: `forward` does it all."""
        return self.forward(x, *args)

    def cast(self, dtype: Any) -> None:
        """Change the element type of all parameters but those that normalisation keeps in float32."""
        self._clear_cached_op()
        for node, parameter in self._nodes.items():
            if not (
                dtypes.name_of(dtype) in ("float16", "bfloat16")
                and node.name.endswith(("gamma", "beta", "mean", "var"))
            ):
                parameter.cast(dtype)


def check_inputs(who: str, graph: Symbol, names: Sequence[str], file: str) -> None:
    """Refuse names of inputs that the graph in a file does not have."""
    known = graph.list_inputs()
    for name in names:
        if name not in known:
            raise ArgumentError(explain(who, f"The graph has no input {name!r}.", expected=", ".join(known[:5]),
                                        received=file, fix="give the names of the variables that are data"))


def arrays_by_name(who: str, file: str) -> dict[str, NDArray]:
    """Return the arrays of a file of parameters, under their names in the graph."""
    arrays = serialize.load(file) or {}  # a network without parameters has an empty file
    if isinstance(arrays, list):
        raise FileFormatError(explain(who, "The file of parameters has no names.",
                                      expected="arrays by name, as net.export writes them",
                                      received=f"{len(arrays)} arrays without names in {file}",
                                      fix='nd.save(file, {"arg:name": array, ...})'))
    return {bare_name(name): array for name, array in arrays.items()}


def _hinted(node: Node) -> dict[str, Any]:
    """Return what a variable's hints say about its training: factors of its rates, its initialiser."""
    options: dict[str, Any] = {}
    for key in ("lr_mult", "wd_mult"):
        text = node.hints.get(f"__{key}__", "1.0")
        try:
            options[key] = float(text)
        except ValueError:
            raise MXNetError(explain(f"variable {node.name!r}", f"Its {key} is not a number.", expected="a number",
                                     received=repr(text), fix=f"sym.Variable(name, {key}=1.0)")) from None
    if "__init__" in node.hints:
        try:
            options["init"] = initializer.create(node.hints["__init__"])
        except (MXNetError, TypeError, ValueError):  # of a user's own class: the block's initialiser serves
            pass
    return options


def _grouped(results: list[Any]) -> Any:
    return results[0] if len(results) == 1 else results


def _run(node: Node, inputs: list[NDArray]) -> list[Any]:
    op = node.op
    assert op is not None  # variables have values
    if op.variadic:
        result = invoke(op, inputs, dict(node.attrs))
    else:
        by_name = dict(zip(present(node), inputs))
        result = invoke(op, [by_name.get(n) for n in op.input_names], dict(node.attrs))
    return list(result) if isinstance(result, (list, tuple)) else [result]
