"""The rule of mixed precision: which inputs of an operator call are cast, and to what.

The one idea: a `Casts` is a function `(op, inputs, attrs) -> inputs` that the door (eager calls) and composition
(graphs) ask before they do anything; it casts by `amp_cast`, which leaves integers alone and whose gradient casts
back. Gradients are not asked about: they follow the types of the forward pass. The lists are in lists.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

from ...base.dtype import name_of
from ...base.errors import MXNetError, explain
from ...dispatch import exact
from ...gluon.trace import trace
from ...ndarray import NDArray
from ...ops.opdef import OpDef, lookup
from ...symbol import Group, Symbol
from ...symbol.graph import Node, Value, topological, variables
from ...symbol.tracer import current_tracer
from . import lists

__all__ = ["Casts", "convert", "symbol_of", "targets_only"]

Conditions = dict[OpDef, tuple[str, tuple[str, ...]]]


@final
class Casts:
    """The rule for one target type; extra lists of operator names go before the standing ones.

    Parameters
    ----------
    target : 'float16' or 'bfloat16'
    low, float32 : further operators to run in the target type, or in float32
    conditional : further `(operator, attribute, [values])` that need float32
    """

    def __init__(self, target: Any, low: Sequence[str] | None = None, float32: Sequence[str] | None = None,
                 conditional: Sequence[Any] | None = None) -> None:  # fmt: skip
        self.target = lists.target_name(target)
        low_first, float_first = [lookup(n) for n in low or ()], [lookup(n) for n in float32 or ()]
        self._low = {*map(lookup, lists.LOW), *low_first} - set(float_first)
        self._float32 = {*map(lookup, lists.FLOAT32), *float_first} - set(low_first)
        self._widest = {*map(lookup, lists.WIDEST)} - self._low - self._float32
        self._conditional: Conditions = {
            lookup(name): (attribute, tuple(values))
            for name, attribute, values in (*lists.CONDITIONAL, *(conditional or ()))
        }
        self.operators = {*self._low, *self._float32, *self._widest, *self._conditional}

    def __call__(self, op: OpDef, inputs: Sequence[Any], attrs: Mapping[str, Any]) -> Sequence[Any]:
        """Return the inputs as the operator shall get them."""
        if op in self._low:
            return [_cast(value, self.target) for value in inputs]
        if op in self._float32 or self._needs_float32(op, attrs):
            return [_cast(value, "float32") for value in inputs]
        if op in self._widest and len(inputs) > 1:
            return _widened(inputs)
        return inputs

    def _needs_float32(self, op: OpDef, attrs: Mapping[str, Any]) -> bool:
        attribute, values = self._conditional.get(op, ("", ()))
        return bool(values) and attrs.get(attribute, op.defaults.get(attribute)) in values


def _cast(value: Any, dtype: str) -> Any:
    """Cast an array or symbol of floats; other values stay as they are."""
    known = _dtype(value)
    if value is None or known == dtype or known not in _MIXED:
        return value
    return lookup("amp_cast")(value, dtype=dtype)


_MIXED = ("float16", "bfloat16", "float32", None)  # None: the type of a symbol that nothing is known about


def _dtype(value: Any) -> str | None:
    """Return the name of an array's type, or of a symbol's where a tracer knows it."""
    if not isinstance(value, Symbol):
        return getattr(value, "dtype_name", "no array")
    tracer = current_tracer()
    found = tracer.type_of(value._outputs[0]).dtype if tracer is not None and len(value._outputs) == 1 else None
    return None if found is None else name_of(found)


def _widened(inputs: Sequence[Any]) -> Sequence[Any]:
    """Cast all to the widest type among them, if they may differ."""
    names = {_dtype(value) for value in inputs}
    if len(names - {"no array"}) < 2 and None not in names or not names & {*lists.TARGETS, None}:
        return inputs
    if None in names and all(isinstance(value, Symbol) for value in inputs):
        return list(lookup("amp_multicast")(*inputs, num_outputs=len(inputs)))
    widest = "float64" if "float64" in names else "float32"  # float16 and bfloat16 meet in float32
    return [_cast(value, widest) for value in inputs]


def convert(graph: Symbol, casts: Casts, excluded: Sequence[str] = ()) -> Symbol:
    """Return the graph with casts before the operators that the rule names; nodes in `excluded` keep their inputs."""
    made: dict[Node, Node] = {}
    done: dict[tuple[Value, Any], Symbol] = {}

    def ask(node: Node, inputs: list[Symbol]) -> Sequence[Any]:
        if node.op is None or node.name in excluded or not inputs:
            return inputs
        wanted = casts(node.op, inputs, node.attrs)
        return [_shared(done, before, after) for before, after in zip(inputs, wanted)]

    for node in topological(graph._outputs):
        inputs = [Symbol([Value(made[v.node], v.index)]) for v in node.inputs]
        if node.is_variable:
            made[node] = node
            continue
        values = tuple(each._outputs[0] for each in ask(node, inputs))
        made[node] = Node(node.op, node.name, values, node.attrs, node.hints, node.origin)
    return Group([Symbol([Value(made[v.node], v.index)]) for v in graph._outputs])


def _shared(done: dict[tuple[Value, Any], Symbol], before: Symbol, after: Symbol) -> Symbol:
    """Return the one cast of a value to a type, however many operators read it."""
    node = after._outputs[0].node
    if node.op is not lookup("amp_cast"):
        return after
    return done.setdefault((before._outputs[0], node.attrs["dtype"]), after)


def targets_only(graph: Symbol, target: str) -> set[str]:
    """Return the names of variables that are read by casts to the target type only."""
    readers: dict[str, bool] = {}
    for node in topological(graph._outputs):
        low = node.op is lookup("amp_cast") and name_of(node.attrs["dtype"]) == target
        for value in node.inputs:
            if value.node.is_variable:
                readers[value.node.name] = readers.get(value.node.name, True) and low
    return {name for name, only in readers.items() if only}


def symbol_of(block: Any) -> tuple[Symbol, list[Symbol], dict[str, NDArray], dict[str, NDArray]]:
    """Return (graph, inputs, arguments, auxiliary states) of a hybridized block, for prediction."""
    if block._cached is None or not block._cached.last_args:
        raise MXNetError(
            explain(
                "amp", f"The graph of {block.name} is not known yet.", fix="call net.hybridize() and net(data) once"
            )
        )
    with exact():  # no casts: they are what conversion adds
        traced = trace(block, block._cached.last_args, False)
    outputs = [each._outputs[0] for each in traced.outputs]
    arguments, auxiliary = variables(topological(outputs))
    values = {
        node: traced.parameters[node].data() if node in traced.parameters else traced.tracer.constants[node]
        for node in (*arguments, *auxiliary)
        if node not in traced.data
    }
    split = [{node.name: values[node].copy() for node in part if node in values} for part in (arguments, auxiliary)]
    return Group(traced.outputs), [Symbol([Value(node)]) for node in traced.data], split[0], split[1]
