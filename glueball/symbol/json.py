"""Graphs as JSON: the `-symbol.json` format of MXNet, written as 1.9.1 writes it, read in all dialects since 0.8.

The one idea: in a file every attribute is text; `from_json` types each one by the operator's schema at once, so the
graph holds values. Attributes an operator does not know are kept as hints. Layout and traps: docs/formats.md. Nothing
is executed.
"""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..base.errors import FileFormatError, MXNetError, UnsupportedError, explain
from ..ops.attributes import to_text
from ..ops.opdef import OpDef, lookup
from .graph import Node, Value, topological
from .symbol import Symbol

__all__ = ["to_json", "from_json", "fromjson", "load", "load_json", "node_attrs"]

MXNET_VERSION = 10901  # the version whose dialect is written
_HIDDEN = ("ctx_group", "lr_mult", "wd_mult", "force_mirroring", "mirror_stage")


def node_attrs(node: Node) -> dict[str, str]:
    """Return a node's attributes as text: those that differ from the defaults or must be given, and its hints."""
    texts: dict[str, str] = {}
    if node.op is not None:
        for spec in node.op.attrs:
            value = node.attrs[spec.name]
            if spec.required or value != spec.default:
                texts[spec.name] = to_text(value)
        if node.op.variadic_count is not None:
            texts[node.op.variadic_count] = str(len(node.inputs))
    texts.update({k: v for k, v in node.hints.items() if k != "__inputs__"})
    return dict(sorted(texts.items()))


def to_json(outputs: Sequence[Value]) -> str:
    """Return the JSON text of a graph."""
    order = topological(outputs)
    number = {node: i for i, node in enumerate(order)}
    nodes: list[dict[str, Any]] = []
    row_ptr = [0]
    for node in order:
        if node.op is not None and any(type(v).__name__ == "Graph" or hasattr(v, "_outputs")
                                       for v in node.attrs.values()):
            raise UnsupportedError(explain("tojson",
                                           f"{node.op.name} holds a sub-graph, which this format cannot carry.",
                                           received=node.name))
        if node.op is not None and node.op.name == "_torch_module":
            raise UnsupportedError(explain("tojson", "A torch module is part of the network, which this format cannot "
                                           "carry.", received=node.name,
                                           fix="net.export(path, format='pt2') writes it with the rest; "
                                               "net.save_parameters(path) writes its weights"))
        entry: dict[str, Any] = {"op": node.op.name if node.op else "null", "name": node.name}
        attrs = node_attrs(node)
        if attrs:
            entry["attrs"] = attrs
        entry["inputs"] = [[number[v.node], v.index, 0] for v in node.inputs]
        nodes.append(entry)
        row_ptr.append(row_ptr[-1] + node.num_outputs)
    return json.dumps({"nodes": nodes, "arg_nodes": [i for i, n in enumerate(order) if n.is_variable],
                       "node_row_ptr": row_ptr,
                       "heads": [[number[v.node], v.index, 0] for v in outputs],
                       "attrs": {"mxnet_version": ["int", MXNET_VERSION]}}, indent=2)


def _bad(where: str, problem: str) -> FileFormatError:
    return FileFormatError(explain(where, problem,
                                   expected="a -symbol.json file of MXNet 0.8 or later, or of Glueball"))


def _node_texts(entry: Mapping[str, Any], where: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for key in ("param", "attr", "attrs"):
        part = entry.get(key)
        if part is None:
            continue
        if not isinstance(part, dict) or not all(isinstance(v, str) for v in part.values()):
            raise _bad(where, f"the attributes of node {entry.get('name')!r} are not a dictionary of texts.")
        texts.update(part)
    return texts


def _split(op: OpDef, texts: Mapping[str, str], version: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Return (attributes of the schema, typed; hints)."""
    attrs: dict[str, Any] = {}
    hints: dict[str, str] = {}
    for key, text in texts.items():
        if key == op.variadic_count and key not in op.attr_by_name:
            continue
        if key in op.attr_by_name:
            if op.name in ("argmax", "argmin") and key == "axis" and version < 905 and text == "-1":
                continue
            attrs[key] = text
        elif key in _HIDDEN:
            hints[f"__{key}__"] = text
        else:
            hints[key] = text
    return op.typed(attrs), hints


def from_json(text: str, where: str = "symbol JSON") -> list[Value]:
    """Return the outputs of the graph in a JSON text."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(where, f"this is not JSON: {error}.") from None
    if not isinstance(data, dict) or not isinstance(data.get("nodes"), list) or not isinstance(data.get("heads"), list):
        raise _bad(where, "the keys 'nodes' and 'heads' are missing.")
    version = 800
    stamp = data.get("attrs", {}).get("mxnet_version") if isinstance(data.get("attrs"), dict) else None
    if isinstance(stamp, list) and len(stamp) == 2 and isinstance(stamp[1], int):
        version = stamp[1]
    nodes: list[Node] = []
    for position, entry in enumerate(data["nodes"]):
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("op"), str)
            or not isinstance(entry.get("name"), str)
        ):
            raise _bad(where, f"node {position} has no 'op' and 'name'.")
        nodes.append(_read_node(entry, position, nodes, version, where))
    return [_value(head, nodes, len(nodes), where, "a head") for head in data["heads"]]


def _value(entry: Any, nodes: Sequence[Node], limit: int, where: str, what: str) -> Value:
    if not isinstance(entry, list) or len(entry) < 2 or not all(isinstance(v, int)
                                                                for v in entry) or not 0 <= entry[0] < limit:
        raise _bad(where, f"{what} refers to {entry!r}, but only nodes 0 to {limit - 1} come before it.")
    node = nodes[entry[0]]
    if not 0 <= entry[1] < node.num_outputs:
        raise _bad(where, f"{what} refers to output {entry[1]} of {node.name!r}, which has {node.num_outputs}.")
    return Value(node, entry[1])


def _read_node(entry: Mapping[str, Any], position: int, nodes: list[Node], version: int, where: str) -> Node:
    name, texts = entry["name"], _node_texts(entry, where)
    sources = entry.get("inputs", [])
    if not isinstance(sources, list):
        raise _bad(where, f"the inputs of node {name!r} are not a list.")
    inputs = [_value(v, nodes, position, where, f"node {name!r}") for v in sources]
    if entry["op"] == "null":
        return Node(None, name, hints={(f"__{k}__" if k in _HIDDEN else k): v for k, v in texts.items()})
    if entry.get("subgraphs"):
        raise UnsupportedError(explain(where, f"node {name!r} ({entry['op']}) has sub-graphs, which are not read."))
    op = lookup(entry["op"])
    try:
        attrs, hints = _split(op, texts, version)
    except MXNetError as error:
        raise FileFormatError(f"{where}: node {name!r}: {error}") from None
    if not op.variadic:
        wanted = op.present_inputs(attrs)
        if len(inputs) < len(wanted):
            if version >= 900:
                raise _bad(where, f"node {name!r} ({op.name}) has {len(inputs)} inputs instead of {len(wanted)}.")
            inputs += [Value(Node(None, f"{name}_{missing}")) for missing in wanted[len(inputs):]]
        if len(inputs) > len(op.inputs):
            raise _bad(where,
                       f"node {name!r} ({op.name}) has {len(inputs)} inputs, at most {len(op.inputs)} are possible.")
        if len(inputs) > len(wanted):
            hints["__inputs__"] = ",".join(op.input_names[:len(inputs)])
    return Node(op, name, tuple(inputs), attrs, hints)


def load_json(json_str: str) -> Symbol:
    """Return the symbol of a JSON text."""
    if not isinstance(json_str, str):
        raise TypeError(explain("load_json", "JSON text is expected.", received=type(json_str).__name__))
    return Symbol(from_json(json_str))


fromjson = load_json


def load(fname: str) -> Symbol:
    """Return the symbol in a `-symbol.json` file."""
    with open(fname, encoding="utf-8") as file:
        try:
            text = file.read()
        except UnicodeDecodeError as error:
            raise _bad(fname, f"this is not UTF-8 text: {error}.") from None
    return Symbol(from_json(text, fname))
