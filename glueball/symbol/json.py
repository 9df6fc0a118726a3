"""Graphs as JSON: the `-symbol.json` format of MXNet, written as 1.9.1 writes it, read in all dialects since 0.8.

The one idea: in a file every attribute is text; `from_json` types each one by the operator's schema at once, so the
graph holds values. Attributes an operator does not know are kept as hints. Layout and traps: docs/formats.md;
control flow (`subgraphs`) is translated in json_control.py. Nothing is executed.
"""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ..base.errors import FileFormatError, MXNetError, UnsupportedError, explain
from ..ops.attributes import to_text
from ..ops.opdef import OpDef, known, lookup
from .compose import initial_hints
from .graph import Node, Value, topological
from .json_control import CONTROL, Malformed, read_control, write_control
from .symbol import Symbol

__all__ = ["to_json", "from_json", "fromjson", "load", "load_json", "node_attrs"]

MXNET_VERSION = 10901  # the version whose dialect is written
_HIDDEN = ("ctx_group", "lr_mult", "wd_mult", "force_mirroring", "mirror_stage")
_MOST_OUTPUTS = 1 << 16  # of one node: a number in a file must not decide how much is allocated


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


def with_plain_names(attrs: dict[str, str]) -> dict[str, str]:
    """Return textual attributes in which `__lr_mult__` and its like are also found as `lr_mult`."""
    return attrs | {key: attrs[f"__{key}__"] for key in _HIDDEN if f"__{key}__" in attrs}


def to_json(outputs: Sequence[Value]) -> str:
    """Return the JSON text of a graph."""
    return json.dumps({**_graph(outputs), "attrs": {"mxnet_version": ["int", MXNET_VERSION]}}, indent=2)


def _graph(outputs: Sequence[Value]) -> dict[str, Any]:
    """Return a graph, or a sub-graph, as the dictionary that is written."""
    order = topological(outputs)
    number = {node: i for i, node in enumerate(order)}
    nodes: list[dict[str, Any]] = []
    row_ptr = [0]
    for node in order:
        if node.op is not None and node.op.name == "_torch_module":
            raise UnsupportedError(explain("tojson", "A torch module is part of the network, which this format cannot "
                                           "carry.", received=node.name,
                                           fix="net.export(path, format='pt2') writes it with the rest; "
                                               "net.save_parameters(path) writes its weights"))
        inputs, subgraphs = node.inputs, []
        entry: dict[str, Any] = {"op": node.op.name if node.op else "null", "name": node.name}
        if node.op is not None and node.op.name in CONTROL:
            attrs, inputs, subgraphs = write_control(node)
        else:
            attrs = node_attrs(node)
        if attrs:
            entry["attrs"] = attrs
        entry["inputs"] = [[number[v.node], v.index, 0] for v in inputs]
        if subgraphs:
            entry["subgraphs"] = [_graph(values) for values in subgraphs]
        nodes.append(entry)
        row_ptr.append(row_ptr[-1] + node.num_outputs)
    return {"nodes": nodes, "arg_nodes": [i for i, n in enumerate(order) if n.is_variable], "node_row_ptr": row_ptr,
            "heads": [[number[v.node], v.index, 0] for v in outputs]}


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
            if text == "None" and op.attr_by_name[key].annotation in ("bool", "int", "float", "Shape", "DType"):
                continue  # not chosen (`cudnn_off`): the default
            attrs[key] = text
        else:
            hints[_hidden(key)] = text
    return op.typed(attrs), hints


def _hidden(key: str) -> str:
    return f"__{key}__" if key in _HIDDEN else key


def _operator(name: str) -> OpDef:
    """Return the operator of a name in a file; `_sparse_` names are the same operators on stored rows."""
    return lookup(name[8:] if name.startswith("_sparse_") and not known(name) and known(name[8:]) else name)


def from_json(text: str, where: str = "symbol JSON") -> list[Value]:
    """Return the outputs of the graph in a JSON text."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(where, f"this is not JSON: {error}.") from None
    version = 800
    attrs = data.get("attrs") if isinstance(data, dict) else None
    stamp = attrs.get("mxnet_version") if isinstance(attrs, dict) else None
    if isinstance(stamp, list) and len(stamp) == 2 and isinstance(stamp[1], int):
        version = stamp[1]
    return _read_graph(data, version, where)


def _read_graph(data: Any, version: int, where: str) -> list[Value]:
    """Return the outputs of a graph or sub-graph."""
    if not isinstance(data, dict) or not isinstance(data.get("nodes"), list) or not isinstance(data.get("heads"), list):
        raise _bad(where, "the keys 'nodes' and 'heads' are missing.")
    for position, entry in enumerate(data["nodes"]):
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("op"), str)
            or not isinstance(entry.get("name"), str)
        ):
            raise _bad(where, f"node {position} has no 'op' and 'name'.")
        if not isinstance(entry.get("inputs", []), list):
            raise _bad(where, f"the inputs of node {entry['name']!r} are not a list.")
    moved = _moved_hints(data["nodes"], where)
    nodes: list[Node] = []
    for position, entry in enumerate(data["nodes"]):
        try:
            nodes.append(_read_node(entry, position, nodes, version, where, moved))
        except (FileFormatError, UnsupportedError):
            raise
        except MXNetError as error:  # what an operator says about its attributes
            raise FileFormatError(f"{where}: node {entry['name']!r}: {error}") from None
    return [_value(head, nodes, len(nodes), where, "a head") for head in data["heads"]]


_Moved: TypeAlias = dict[int, dict[str, "str | None"]]


def _moved_hints(entries: Sequence[Mapping[str, Any]], where: str) -> _Moved:
    """Return what old files say at an operator about its variables: `weight_lr_mult` of `fc1` is `__lr_mult__` of
    `fc1_weight`. By node: hints that a variable gets, and None for keys that an operator loses.
    """
    moved: _Moved = {}
    for position, entry in enumerate(entries):
        texts = None if entry["op"] == "null" else _node_texts(entry, where)
        for key, text in (texts or {}).items():
            argument, hidden = next(((key[:-len(h) - 1], h) for h in _HIDDEN if key.endswith(f"_{h}")), ("", ""))
            if not argument or argument.startswith("_") or not known(entry["op"]):
                continue
            names, sources = lookup(entry["op"]).input_names, entry.get("inputs", [])
            source = sources[names.index(argument)] if argument in names[:len(sources)] else None
            number = source[0] if isinstance(source, list) and source else None
            if isinstance(number, int) and 0 <= number < len(entries) and entries[number]["op"] == "null":
                moved.setdefault(number, {})[f"__{hidden}__"] = text
                moved.setdefault(position, {})[key] = None
    return moved


def _value(entry: Any, nodes: Sequence[Node], limit: int, where: str, what: str) -> Value:
    if not isinstance(entry, list) or len(entry) < 2 or not all(isinstance(v, int)
                                                                for v in entry) or not 0 <= entry[0] < limit:
        raise _bad(where, f"{what} refers to {entry!r}, but only nodes 0 to {limit - 1} come before it.")
    node = nodes[entry[0]]
    if not 0 <= entry[1] < node.num_outputs:
        raise _bad(where, f"{what} refers to output {entry[1]} of {node.name!r}, which has {node.num_outputs}.")
    return Value(node, entry[1])


def _read_node(entry: Mapping[str, Any], position: int, nodes: list[Node], version: int, where: str,
               moved: _Moved) -> Node:
    name, texts = entry["name"], _node_texts(entry, where)
    inputs = [_value(v, nodes, position, where, f"node {name!r}") for v in entry.get("inputs", [])]
    if entry["op"] == "null":
        own = {_hidden(k): v for k, v in texts.items()}
        return Node(None, name, hints=own | {k: v for k, v in moved.get(position, {}).items() if v is not None})
    texts = {k: v for k, v in texts.items() if k not in moved.get(position, {})}
    fused = entry["op"] == "_contrib_BatchNormWithReLU"  # as two operators
    op = _operator("BatchNorm" if fused else entry["op"])
    if op.name in CONTROL:
        return _read_control_node(op, entry, inputs, texts, version, where)
    if any(spec.required and spec.annotation == "Any" for spec in op.attrs):
        raise UnsupportedError(explain(where, f"node {name!r} ({op.name}) holds an object of Python, and no file does.",
                                       fix="write the network down in layers and operators"))
    if entry.get("subgraphs"):
        raise _bad(where, f"node {name!r} ({op.name}) has sub-graphs, which only control flow has.")
    attrs, hints = _split(op, texts, version)
    if not op.variadic:
        wanted = op.present_inputs(attrs)
        if len(inputs) < len(wanted):
            if version >= 900:
                raise _bad(where, f"node {name!r} ({op.name}) has {len(inputs)} inputs instead of {len(wanted)}.")
            inputs += [Value(Node(None, f"{name}_{missing}", hints=initial_hints(op, missing)))
                       for missing in wanted[len(inputs):]]
        if len(inputs) > len(op.inputs):
            raise _bad(where,
                       f"node {name!r} ({op.name}) has {len(inputs)} inputs, at most {len(op.inputs)} are possible.")
        if len(inputs) > len(wanted):
            hints["__inputs__"] = ",".join(op.input_names[:len(inputs)])
    node = Node(op, name, tuple(inputs), attrs, hints)
    if not 0 < node.num_outputs <= _MOST_OUTPUTS:
        raise _bad(where, f"node {name!r} ({op.name}) claims {node.num_outputs} outputs.")
    if fused:
        return Node(lookup("relu"), f"{name}_relu", (Value(node),))
    return node


def _read_control_node(op: OpDef, entry: Mapping[str, Any], inputs: list[Value], texts: dict[str, str], version: int,
                       where: str) -> Node:
    graphs = entry.get("subgraphs")
    if not isinstance(graphs, list):
        raise _bad(where, f"node {entry['name']!r} ({op.name}) has no sub-graphs.")
    read = [_read_graph(graph, version, f"{where}, inside {entry['name']!r}") for graph in graphs]
    try:
        attrs, inputs = read_control(op, texts, inputs, read)
    except Malformed as error:
        raise _bad(where, f"the sub-graphs of node {entry['name']!r} do not fit together: {error}.") from None
    hints = {k: v for k, v in texts.items() if k.startswith("__")}
    return Node(op, entry["name"], tuple(inputs), attrs, hints)


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
