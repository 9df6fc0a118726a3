"""sym.contrib: control flow that composes, and (from the table) the contrib operators.

The one idea: the body is called once on placeholder symbols; what it composed is cut out as a sub-graph and becomes
the attribute of one operator. Eager twins with the same meaning are in ndarray/contrib.py.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..base.errors import ArgumentError, MXNetError, explain
from ..base.tree import flatten, unflatten
from ..dispatch import Symbolic
from ..ndarray.ndarray import NDArray
from ..ops.opdef import TensorType, lookup
from .compose import compose
from .graph import Node, Value
from .subgraph import cut
from .symbol import Symbol, Variable
from .tracer import current_tracer

__all__ = ["foreach", "while_loop", "cond", "isinf", "isnan", "isfinite"]


def _symbols(value: Any, what: str) -> tuple[list[Symbol], Any]:
    found, structure = flatten(value, (Symbol, NDArray))
    tracer = current_tracer()
    made = []
    for part in found:
        if isinstance(part, NDArray):
            if tracer is None:
                raise MXNetError(explain(what, "Arrays and symbols are mixed.",
                                         fix="use sym.Variable(...) for the arrays"))
            part = Symbol._of(tracer.constant(part))
        made.append(part)
    if any(len(p) != 1 for p in made):
        raise MXNetError(explain(what, "Each input must be one value.", received="a symbol of several outputs"))
    return made, structure


def _placeholder(name: str, like: Symbol, row: bool) -> Symbol:
    """Return a variable for one step (or the whole) of a value, with its type known to the tracer."""
    symbol = Variable(name)
    tracer = current_tracer()
    if tracer is not None:
        kind = tracer.type_of(like._outputs[0])
        shape = kind.shape if not row or kind.shape is None else kind.shape[1:] or (1,)
        tracer.declare(symbol._outputs[0].node, TensorType(shape, kind.dtype))
    return symbol


def _nodes(symbols: Sequence[Symbol]) -> list[Node]:
    return [s._outputs[0].node for s in symbols]


def _values(symbols: Sequence[Symbol]) -> list[Value]:
    return [s._outputs[0] for s in symbols]


def _as_symbols(values: Sequence[Value]) -> list[Symbol]:
    return [Symbol([v]) for v in values]


def _apply(op: str, inputs: Sequence[Symbol], attrs: dict[str, Any], name: str) -> list[Symbol]:
    return list(compose(lookup(op), inputs, attrs, name))


def foreach(body: Callable[..., Any], data: Any, init_states: Any, name: str = "foreach") -> tuple[Any, Any]:
    """Run ``body(step_data, states) -> (outputs, new_states)`` over the leading axis of `data`; returns (stacked
    outputs, last states).
    """
    rows, data_structure = _symbols(data, "foreach")
    states, state_structure = _symbols(init_states, "foreach")
    moment = Node(None, "moment").serial
    step = [_placeholder(f"{name}_data{i}", s, True) for i, s in enumerate(rows)]
    held = [_placeholder(f"{name}_state{i}", s, False) for i, s in enumerate(states)]
    outputs, new_states = body(unflatten(data_structure, step), unflatten(state_structure, held))
    outs, out_structure = _symbols(outputs, "foreach")
    news, new_structure = _symbols(new_states, "foreach")
    if len(news) != len(states):
        raise ArgumentError(explain("foreach", "The body must return as many states as it is given.",
                                    expected=len(states), received=len(news)))
    graph, captured = cut([*_values(outs), *_values(news)], _nodes([*step, *held]), moment)
    attrs = {"body": graph, "data_count": len(rows), "state_count": len(states), "out_count": len(outs),
             "total": len(outs) + len(news)}
    results = _apply("_foreach", [*rows, *states, *_as_symbols(captured)], attrs, name)
    return unflatten(out_structure, results[:len(outs)]), unflatten(new_structure, results[len(outs):])


def while_loop(cond: Callable[..., Any], func: Callable[..., Any], loop_vars: Any, max_iterations: int | None = None,
               name: str = "while_loop") -> tuple[Any, Any]:
    """Run ``func(*loop_vars) -> (outputs, new_loop_vars)`` while ``cond(*loop_vars)`` holds; outputs are padded to
    `max_iterations`.
    """
    if max_iterations is None:
        raise ArgumentError(explain("while_loop", "max_iterations must be given."))
    single = not isinstance(loop_vars, (list, tuple))
    states, structure = _symbols([loop_vars] if single else list(loop_vars), "while_loop")
    moment = Node(None, "moment").serial
    held = [_placeholder(f"{name}_var{i}", s, False) for i, s in enumerate(states)]
    test = cond(*unflatten(structure, held))
    condition, cond_captured = cut(_values([test]), _nodes(held), moment)
    outputs, new_vars = func(*unflatten(structure, held))
    outs, out_structure = _symbols([] if outputs is None else outputs, "while_loop")
    news, new_structure = _symbols(new_vars, "while_loop")
    if len(news) != len(states):
        raise ArgumentError(explain("while_loop", "func must return as many loop variables as it is given.",
                                    expected=len(states), received=len(news)))
    body, captured = cut([*_values(outs), *_values(news)], _nodes(held), moment)
    attrs = {"condition": condition, "body": body, "cond_captured": len(cond_captured), "state_count": len(states),
             "out_count": len(outs),
             "max_iterations": int(max_iterations), "total": len(outs) + len(news)}
    results = _apply("_while_loop", [*_as_symbols(cond_captured), *states, *_as_symbols(captured)], attrs, name)
    return unflatten(out_structure, results[:len(outs)]), unflatten(new_structure, results[len(outs):])


def cond(pred: Any, then_func: Callable[[], Any], else_func: Callable[[], Any], name: str = "cond") -> Any:
    """Return ``then_func()`` or ``else_func()``, whichever `pred` (one element) asks for; only that branch is
    computed.
    """
    if not isinstance(pred, Symbolic):
        return then_func() if bool(pred) else else_func()
    moment = Node(None, "moment").serial
    then, then_structure = _symbols(then_func(), "cond")
    then_graph, then_captured = cut(_values(then), [], moment)
    other, other_structure = _symbols(else_func(), "cond")
    other_graph, other_captured = cut(_values(other), [], moment)
    if len(then) != len(other) or then_structure != other_structure:
        raise ArgumentError(explain("cond", "Both branches must return the same structure.", expected=then_structure,
                                    received=other_structure))
    attrs = {"then": then_graph, "other": other_graph, "then_count": len(then_captured), "total": len(then)}
    inputs: Any = [pred, *_as_symbols(then_captured), *_as_symbols(other_captured)]
    results = _apply("_cond", inputs, attrs, name)
    return unflatten(then_structure, results)


def isnan(data: Symbol) -> Symbol:
    """Return 1 where a value is not a number."""
    return data != data  # type: ignore[return-value]  # a comparison of symbols is a symbol


def isinf(data: Symbol) -> Symbol:
    """Return 1 where a value is infinite."""
    return lookup("abs")(data) == float("inf")


def isfinite(data: Symbol) -> Symbol:
    """Return 1 where a value is a finite number."""
    return lookup("broadcast_logical_and")(data == data, lookup("abs")(data) != float("inf"))


