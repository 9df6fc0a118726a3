"""Composition: an operator call on symbols becomes a node.

The one idea: attributes are typed at once, inputs that are missing but take part become variables named after the node
(`fullyconnected0_weight`), and arrays met while tracing become constants.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..base.errors import MXNetError, explain, user_frame
from ..base.naming import current_attrs, current_names
from ..dispatch import precise, set_composer
from ..ops.opdef import OpDef
from .graph import Node, Value
from .symbol import Symbol
from .tracer import current_tracer

__all__ = ["compose"]


def _value(op: OpDef, given: Any, name: str) -> Value:
    if isinstance(given, Symbol):
        if len(given._outputs) != 1:
            raise MXNetError(explain(op.name, f"The input {name!r} must be one value.",
                                     received=f"a symbol of {len(given._outputs)} outputs",
                                     fix="choose one, for example s[0]"))
        return given._outputs[0]
    tracer = current_tracer()
    if tracer is not None and hasattr(given, "_t"):
        return Value(tracer.constant(given))
    if tracer is not None:
        from ..ndarray import to_array
        return Value(tracer.constant(to_array(given)))
    raise MXNetError(explain(op.name, f"The input {name!r} must be a Symbol when another one is.",
                             received=type(given).__name__, fix="use sym.Variable(...) and bind the array to it"))


_INITIAL = {("BatchNorm", "moving_mean"): '["zero", {}]', ("BatchNorm", "moving_var"): '["one", {}]',
            ("LeakyReLU", "gamma"): '["Constant", {"value": 0.25}]'}


def initial_hints(op: OpDef, argument: str) -> dict[str, str]:
    """Return the hints of a variable that is made because an operator's input was left out: its initialiser."""
    text = _INITIAL.get((op.name, argument))
    return {} if text is None else {"__init__": text}


def compose(op: OpDef, inputs: Sequence[Any], attrs: Mapping[str, Any], name: str | None = None) -> Symbol:
    """Return the symbol of an operator call."""
    inputs = precise(op, inputs, attrs)
    attrs = dict(attrs)
    user = attrs.pop("attr", None)
    attrs.pop("ctx", None)
    attrs.pop(op.variadic_count or "", None)  # the number of inputs is counted, not believed
    hints = {k: attrs.pop(k) for k in list(attrs) if k.startswith("__") and k.endswith("__")}
    typed = op.typed(attrs)
    if op.variadic_count in op.attr_by_name:
        typed[op.variadic_count] = len(inputs)
    hint = op.name.lower()
    node_name = current_names().get(name, hint)
    hints.update(current_attrs().get(user))
    values: list[Value] = []
    if op.variadic:
        values = [_value(op, given, op.inputs[0].name) for given in inputs]
    else:
        wanted = op.present_inputs(typed)
        used: list[str] = []
        for index, spec in enumerate(op.inputs):
            given = inputs[index] if index < len(inputs) else None
            if given is not None:
                values.append(_value(op, given, spec.name))
                used.append(spec.name)
            elif spec.name in wanted:
                own = {k: v for k, v in hints.items() if k.startswith("__")}
                values.append(Value(Node(None, f"{node_name}_{spec.name}", hints=initial_hints(op, spec.name) | own)))
                used.append(spec.name)
        if tuple(used) != wanted:
            hints["__inputs__"] = ",".join(used)
    node = Node(op, node_name, tuple(values), typed, hints, user_frame(2))
    tracer = current_tracer()
    if op.mutates and tracer is not None and tracer.training:
        tracer.effects.append(node)
    return Symbol._of(node)


set_composer(compose)
