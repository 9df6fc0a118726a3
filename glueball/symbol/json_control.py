"""Control flow in `-symbol.json` files: `_foreach`, `_while_loop` and `_cond` as MXNet 1.3 to 1.9 writes them.

The one idea: a file lists a sub-graph's variables in the order in which its outputs reach them, and says by number
("locations") which of them is a row, a state or a captured value; here a sub-graph's inputs have a fixed order
(ops/control_flow.py). This file translates between the two; the graphs themselves are read and written by json.py.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..base.errors import UnsupportedError, explain
from ..ops.attributes import PARSERS
from ..ops.opdef import OpDef, lookup
from .graph import Node, Value, topological
from .subgraph import Subgraph

__all__ = ["CONTROL", "Malformed", "read_control", "write_control"]

CONTROL = {"_foreach": 1, "_while_loop": 2, "_cond": 3}  # how many sub-graphs each has in a file


class Malformed(ValueError):
    """What a file says about a sub-graph does not fit together."""


def _variables(outputs: Sequence[Value]) -> list[Node]:
    return [node for node in topological(outputs) if node.is_variable]


# -- reading -----------------------------------------------------------------------------------------------------------
def _chosen(items: Sequence[Any], texts: Mapping[str, str], key: str) -> list[Any]:
    """Return the items whose numbers stand in attribute `key`."""
    try:
        numbers = PARSERS["Shape"](texts[key])
    except (KeyError, ValueError, TypeError, SyntaxError):
        raise Malformed(f"{key}={texts.get(key)!r} is not a list of numbers") from None
    if not all(0 <= number < len(items) for number in numbers):
        raise Malformed(f"{key}={texts[key]!r} names what is not there: there are {len(items)}")
    return [items[number] for number in numbers]


def _count(texts: Mapping[str, str], key: str, limit: int) -> int:
    try:
        value = PARSERS["int"](texts[key])
    except (KeyError, ValueError, TypeError, SyntaxError):
        raise Malformed(f"{key}={texts.get(key)!r} is not a number") from None
    if not 0 <= value <= limit:
        raise Malformed(f"{key}={value} is not possible: at most {limit} fit")
    return value


def read_control(
    op: OpDef, texts: Mapping[str, str], inputs: list[Value], graphs: Sequence[list[Value]]
) -> tuple[dict[str, Any], list[Value]]:
    """Return the typed attributes and the inputs of a control-flow node of a file; raises Malformed."""
    if len(graphs) != CONTROL[op.name]:
        raise Malformed(f"{len(graphs)} sub-graphs instead of {CONTROL[op.name]}")
    attrs, values = {"_foreach": _read_foreach, "_while_loop": _read_while, "_cond": _read_cond}[op.name](
        texts, inputs, graphs)
    return op.typed(attrs), values


def _read_foreach(texts: Mapping[str, str], inputs: list[Value],
                  graphs: Sequence[list[Value]]) -> tuple[dict[str, Any], list[Value]]:
    held = _variables(graphs[0])
    rows, states, captured = (_chosen(held, texts, key) for key in ("in_data_locs", "in_state_locs", "remain_locs"))
    ordered = [*rows, *states, *captured]
    if len(ordered) != len(inputs) or set(ordered) != set(held) or not rows:
        raise Malformed(f"{len(inputs)} inputs for {len(rows)} rows, {len(states)} states, {len(captured)} others")
    total = len(graphs[0])
    out_count = _count(texts, "num_out_data", total)
    if total - out_count != len(states):
        raise Malformed(f"{total - out_count} new states for {len(states)} states")
    return {"body": Subgraph(ordered, graphs[0]), "data_count": len(rows), "state_count": len(states),
            "out_count": out_count, "total": total}, inputs


def _read_while(texts: Mapping[str, str], inputs: list[Value],
                graphs: Sequence[list[Value]]) -> tuple[dict[str, Any], list[Value]]:
    condition, body = graphs
    asked, done = _variables(condition), _variables(body)
    numbers = list(range(len(inputs)))
    asked_from, done_from = _chosen(numbers, texts, "cond_input_locs"), _chosen(numbers, texts, "func_input_locs")
    if len(asked_from) != len(asked) or len(done_from) != len(done):
        raise Malformed("the locations do not fit the sub-graphs' inputs")
    loop = _chosen(list(range(len(done))), texts, "func_var_locs")
    states = [done_from[position] for position in loop]  # as numbers of inputs
    out_count = _count(texts, "num_out_data", len(body))
    if len(body) - out_count != len(states) or len(condition) != 1 or len(set(loop)) != len(loop):
        raise Malformed(f"{len(body) - out_count} new loop variables for {len(states)}")
    by_number = dict(zip(asked_from, asked))
    held = [by_number.pop(number, None) or Node(None, f"unused{i}") for i, number in enumerate(states)]
    captured = [position for position in range(len(done)) if position not in loop]
    attrs = {"condition": Subgraph([*held, *by_number.values()], condition),
             "body": Subgraph([done[position] for position in [*loop, *captured]], body),
             "cond_captured": len(by_number), "state_count": len(states), "out_count": out_count,
             "max_iterations": _count(texts, "max_iterations", 1 << 31), "total": len(body)}
    return attrs, [inputs[i] for i in [*by_number, *states, *[done_from[position] for position in captured]]]


def _read_cond(texts: Mapping[str, str], inputs: list[Value],
               graphs: Sequence[list[Value]]) -> tuple[dict[str, Any], list[Value]]:
    from .rewrite import substitute
    given = [_chosen(inputs, texts, key) for key in ("cond_input_locs", "then_input_locs", "else_input_locs")]
    held = [_variables(graph) for graph in graphs]
    if any(len(a) != len(b) for a, b in zip(given, held)) or len(graphs[0]) != 1 or len(graphs[1]) != len(graphs[2]):
        raise Malformed("the locations do not fit the sub-graphs' inputs")
    [predicate] = graphs[0]
    if predicate.node.op is lookup("_copy"):  # as it is written when the condition is computed outside
        predicate = predicate.node.inputs[0]
    [predicate] = substitute([predicate], dict(zip(held[0], given[0])))
    attrs = {"then": Subgraph(held[1], graphs[1]), "other": Subgraph(held[2], graphs[2]),
             "then_count": len(given[1]), "total": len(graphs[1])}
    return attrs, [predicate, *given[1], *given[2]]


# -- writing -----------------------------------------------------------------------------------------------------------
def _own_outputs(graph: Subgraph) -> list[Value]:
    """Return the outputs, none of which is an input itself: such a one is copied, as a file needs it."""
    copy = lookup("_copy")
    return [Value(Node(copy, f"{v.node.name}_copy{i}", (v,), copy.typed({}))) if v.node.is_variable else v
            for i, v in enumerate(graph.outputs)]


def _locations(wanted: Sequence[Node], held: Sequence[Node], node: Node, what: str) -> str:
    for number, variable in enumerate(wanted):
        if variable not in held:
            raise UnsupportedError(explain("tojson", f"{what} {number} of {node.name!r} is not used inside the loop, "
                                           "which this format cannot carry.", received=variable.name,
                                           fix="leave it out of the loop"))
    return str([held.index(variable) for variable in wanted])


def write_control(node: Node) -> tuple[dict[str, str], tuple[Value, ...], list[list[Value]]]:
    """Return the attributes, inputs and sub-graphs (by their outputs) with which a control-flow node is written."""
    assert node.op is not None  # a control-flow operator
    a, inputs, name = node.attrs, node.inputs, node.op.name
    graphs = [a[key] for key in ("condition", "body", "then", "other") if isinstance(a.get(key), Subgraph)]
    outputs = [_own_outputs(graph) for graph in graphs]
    held = [_variables(values) for values in outputs]
    texts = {"num_outputs": str(a["total"])}
    if name == "_foreach":
        n, m = a["data_count"], a["state_count"]
        sources = graphs[0].inputs
        texts |= {"in_data_locs": _locations(sources[:n], held[0], node, "data"),
                  "in_state_locs": _locations(sources[n:n + m], held[0], node, "state"),
                  "remain_locs": _locations(sources[n + m:], held[0], node, "value"),
                  "num_out_data": str(a["out_count"])}
    elif name == "_while_loop":
        before, m = a["cond_captured"], a["state_count"]
        asked, done = graphs[0].inputs, graphs[1].inputs
        place = {v: before + i if i < m else i - m for i, v in enumerate(asked)}
        texts |= {"cond_input_locs": str([place[v] for v in held[0]]),
                  "func_input_locs": str([before + done.index(v) for v in held[1]]),
                  "func_var_locs": _locations(done[:m], held[1], node, "loop variable"),
                  "num_out_data": str(a["out_count"]), "max_iterations": str(a["max_iterations"])}
    else:
        copy, truth = lookup("_copy"), Node(None, "predicate")
        outputs.insert(0, [Value(Node(copy, "predicate_copy", (Value(truth),), copy.typed({})))])
        given = dict(zip([*graphs[0].inputs, *graphs[1].inputs], inputs[1:]))
        inputs = (inputs[0], *dict.fromkeys(given.values()))  # MXNet's backward needs each value once
        texts |= {"cond_input_locs": "[0]", "then_input_locs": str([inputs.index(given[v], 1) for v in held[0]]),
                  "else_input_locs": str([inputs.index(given[v], 1) for v in held[1]])}
    texts["num_args"] = str(len(inputs) + len(outputs))
    texts.update({k: v for k, v in node.hints.items() if k != "__inputs__"})
    return dict(sorted(texts.items())), inputs, outputs
