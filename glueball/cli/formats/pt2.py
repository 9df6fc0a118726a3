"""`.pt2`: a program of torch.export. Its graph is JSON in the archive; its pickled sample inputs are left alone."""

from __future__ import annotations

import json
import os
import zipfile
from math import prod
from typing import Any

from ...base.files import unpacking_bound
from . import Array, Facts, Layer, damaged

__all__ = ["facts"]

_TYPES = [("unknown", 0), ("uint8", 1), ("int8", 1), ("int16", 2), ("int32", 4), ("int64", 8), ("float16", 2),
          ("float32", 4), ("float64", 8), ("complex32", 4), ("complex64", 8), ("complex128", 16), ("bool", 1),
          ("bfloat16", 2)]


def facts(path: str) -> Facts:
    """Read the graph of the first program."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        root = names[0].partition("/")[0]
        models = [name for name in names if name.startswith(f"{root}/models/") and name.endswith(".json")]
        if not models:
            compiled = any(name.endswith(".so") for name in names)
            note = "It holds compiled code (AOTInductor) and no graph." if compiled else "It holds no program."
            return Facts("pt2", "unknown", notes=[note])
        allowed, claimed = unpacking_bound(os.path.getsize(path)), archive.getinfo(models[0]).file_size
        if claimed > allowed:
            raise damaged(path, "Its graph would unpack to more than is believed of a file of its size.",
                          f"{claimed} bytes, at most {allowed} are unpacked")
        program = json.loads(archive.read(models[0]))
    graph, signature = program["graph_module"]["graph"], program["graph_module"]["signature"]
    values = graph["tensor_values"]
    found = Facts("pt2", f"schema {program['schema_version']['major']}.{program['schema_version']['minor']}")
    found.metadata = {"torch": str(program.get("torch_version", ""))}
    for spec in signature["input_specs"]:
        ((kind, content),) = spec.items()
        argument = content["arg"].get("as_tensor", content["arg"]) if isinstance(content.get("arg"), dict) else {}
        name = argument.get("name", "")
        if kind in ("parameter", "buffer"):
            found.parameters.append(_array(content.get("parameter_name") or content["buffer_name"], values.get(name)))
        elif kind == "user_input" and name:
            found.inputs.append(_array(name, values.get(name)))
    for node in graph["nodes"]:
        results = [out["as_tensor"]["name"] for out in node["outputs"] if "as_tensor" in out]
        reads = [entry["arg"]["as_tensor"]["name"] for entry in node["inputs"] if "as_tensor" in entry["arg"]]
        shape = _array("", values.get(results[0])).shape if results else None
        operator = node["target"].removeprefix("torch.ops.")
        found.layers.append(Layer(results[0] if results else node.get("name") or "", operator, reads, shape))
    found.outputs = [_array(one["as_tensor"]["name"], values.get(one["as_tensor"]["name"]))
                     for one in graph["outputs"] if "as_tensor" in one]
    return found


def _array(name: str, value: dict[str, Any] | None) -> Array:
    if value is None:
        return Array(name, None, None)
    shape = [size.get("as_int", (size.get("as_expr") or {}).get("expr_str")) for size in value["sizes"]]
    dtype, each = _TYPES[value["dtype"]] if value["dtype"] < len(_TYPES) else (str(value["dtype"]), 0)
    known = all(isinstance(size, int) for size in shape)
    return Array(name, shape, dtype, prod(shape) * each if known else None)
