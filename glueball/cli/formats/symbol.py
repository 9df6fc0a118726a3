"""`-symbol.json`: a graph of MXNet or Glueball, with the parameters of the file that lies beside it.

Here operators stay texts; symbol/json.py reads the same as a graph that can be run.
"""

from __future__ import annotations

import glob
import json
import os
import re
from typing import Any

from ...base.naming import bare_name
from . import Array, Facts, Layer, damaged, facts_of, kind_of

__all__ = ["facts", "parameters_beside"]

_WEIGHTS = ("weight", "bias", "gamma", "beta", "mean", "var", "parameters", "alpha")


def parameters_beside(path: str) -> str | None:
    """Return the file of parameters of a graph: the newest epoch of `NAME-NNNN.params`, or NAME with another ending."""
    name = re.sub(r"(-symbol)?\.json$", "", path)
    epochs = [one for ending in ("params", "safetensors") for one in glob.glob(f"{glob.escape(name)}-*.{ending}")
              if re.fullmatch(r"-\d{4,}", os.path.splitext(one[len(name):])[0])]
    if epochs:
        return max(epochs, key=lambda one: int(os.path.splitext(one)[0].rpartition("-")[2]))
    return next((one for ending in (".params", ".safetensors", ".npz") if os.path.exists(one := name + ending)), None)


def facts(path: str, parameters: str | None = None) -> Facts:
    """Read operators, and what is known of the parameters."""
    with open(path, encoding="utf-8") as file:
        graph = json.load(file)
    if not isinstance(graph, dict) or not isinstance(graph.get("nodes"), list) or "heads" not in graph:
        keys = ", ".join(list(graph)[:5]) if isinstance(graph, dict) else type(graph).__name__
        raise damaged(path, "This JSON is no graph: the keys 'nodes' and 'heads' are missing.", keys,
                      "give the -symbol.json that export wrote")
    nodes: list[dict[str, Any]] = graph["nodes"]
    names = [node["name"] for node in nodes]
    for position, node in enumerate(nodes):
        for source, *_ in node.get("inputs", []):
            if not 0 <= source < position:
                raise damaged(path, f"Node {node['name']!r} reads itself, or a node that does not come before it.",
                              f"node {source} as an input of node {position}")
    layers = [Layer(node["name"], node["op"], [names[entry[0]] for entry in node.get("inputs", [])])
              for node in nodes if node["op"] != "null"]
    variables = {node["name"]: _hint(node) for node in nodes if node["op"] == "null"}
    found = Facts("symbol", _version(graph), layers=layers)
    missing = _parameters(found, variables, parameters or parameters_beside(path))
    known = {one.name for one in found.parameters} | missing
    found.inputs = [Array(name, shape, None) for name, shape in variables.items() if name not in known]
    found.outputs = [Array(names[head[0]] + (f"[{head[1]}]" if head[1] else ""), None, None) for head in graph["heads"]]
    return found


def _parameters(found: Facts, variables: dict[str, Any], beside: str | None) -> set[str]:
    """Fill the parameters in; return the names of those that are certainly missing."""
    weights = [name for name in variables if name.endswith(_WEIGHTS)]
    if beside is None or kind_of(beside) not in ("params", "safetensors", "numpy"):
        found.parameters = [Array(name, variables[name], None) for name in weights]
        if weights:
            found.notes.append("No file of parameters lies beside it: what is an input is told by the names.")
        return set()
    held = {bare_name(one.name): one for one in facts_of(beside).parameters}
    found.metadata["parameters"] = os.path.basename(beside)
    found.parameters = [Array(name, held[name].shape, held[name].dtype, held[name].bytes)
                        for name in variables if name in held]
    missing = [name for name in weights if name not in held]
    if missing:
        found.notes.append(f"{beside} has no {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}.")
    if extra := len(held.keys() - variables.keys()):
        found.notes.append(f"{beside} holds {extra} arrays that this graph does not read.")
    return set(missing)


def _hint(node: dict[str, Any]) -> list[int] | None:
    """Return the shape that a variable was declared with."""
    texts = {**node.get("param", {}), **node.get("attr", {}), **node.get("attrs", {})}
    sizes = re.findall(r"-?\d+", texts.get("__shape__", ""))
    return [int(size) for size in sizes] or None


def _version(graph: dict[str, Any]) -> str:
    stamp = graph.get("attrs", {}).get("mxnet_version")
    if not stamp:
        return "format of MXNet before 0.9"
    number = int(stamp[1])
    return f"format of MXNet {number // 10000}.{number // 100 % 100}.{number % 100}"
