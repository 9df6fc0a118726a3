"""`.safetensors`: a length, a JSON of names, types, shapes and places, then the values."""

from __future__ import annotations

import json
import os
from math import prod

from . import Array, Facts, damaged

__all__ = ["facts"]

_NAMES = {"F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2),
          "I64": ("int64", 8), "I32": ("int32", 4), "I16": ("int16", 2), "I8": ("int8", 1), "U8": ("uint8", 1),
          "U16": ("uint16", 2), "U32": ("uint32", 4), "U64": ("uint64", 8), "BOOL": ("bool", 1),
          "F8_E4M3": ("float8_e4m3", 1), "F8_E5M2": ("float8_e5m2", 1)}


def facts(path: str) -> Facts:
    """Read the header, and check that the values it announces are there."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > size - 8:
            raise damaged(path, "The file ends inside its header.", f"{size - 8} bytes where {length} are announced")
        header = json.loads(file.read(length).decode("utf-8"))
    metadata = {str(key): str(value) for key, value in header.pop("__metadata__", {}).items()}
    arrays: list[Array] = []
    for name, one in header.items():
        begin, end = one["data_offsets"]
        dtype, each = _NAMES.get(one["dtype"], (one["dtype"], None))
        if not 0 <= begin <= end or (each is not None and prod(one["shape"]) * each != end - begin):
            raise damaged(path, f"The place of {name!r} does not fit its shape {one['shape']}.", f"{begin} to {end}")
        if end > size - 8 - length:
            raise damaged(path, f"The file ends inside {name!r}.", f"{size - 8 - length} bytes of values, {end} needed")
        arrays.append(Array(name, list(one["shape"]), dtype, end - begin))
    return Facts("safetensors", "1", metadata, parameters=arrays)
