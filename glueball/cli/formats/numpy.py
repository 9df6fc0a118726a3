"""`.npy` and `.npz`: NumPy's arrays, by their heads. Arrays of Python objects are pickles and are only named."""

from __future__ import annotations

import os
import zipfile
from math import prod
from typing import Any, BinaryIO

import numpy as np

from . import Array, Facts, damaged

__all__ = ["facts"]


def facts(path: str) -> Facts:
    """Read names, shapes and element types."""
    arrays: list[Array] = []
    version = ""
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            one, version = _head(file, os.path.basename(path), os.path.getsize(path), path)
        return Facts("npy", version, parameters=[one], notes=_pickles([one]))
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as file:
                one, version = _head(file, entry.filename.removesuffix(".npy"), entry.file_size, path)
            arrays.append(one)
    return Facts("npz", version, parameters=arrays, notes=_pickles(arrays))


def _head(file: Any, name: str, size: int, path: str) -> tuple[Array, str]:
    stream: BinaryIO = file
    try:
        major, minor = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    except ValueError as error:
        raise damaged(path, f"The head of {name} cannot be read: {error}.") from None
    total = prod(shape) * dtype.itemsize
    if not dtype.hasobject and stream.tell() + total > size:
        raise damaged(path, f"The file ends inside {name}.", f"{size - stream.tell()} bytes of values, {total} needed")
    return Array(name, list(shape), str(dtype), total), f"{major}.{minor}"


def _pickles(arrays: list[Array]) -> list[str]:
    objects = [one.name for one in arrays if one.dtype == "object"]
    return [f"{', '.join(objects)}: Python objects, which are pickled and are not loaded."] if objects else []
