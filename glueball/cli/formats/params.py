"""`.params`: lists and dictionaries of arrays, as every version of MXNet wrote them, by their heads alone.

The layout is told in docs/formats.md; ndarray/serialize.py reads the same with values, and needs torch for that.
"""

from __future__ import annotations

import os
import struct
from math import prod
from typing import Any, BinaryIO

from . import Array, Facts, damaged

__all__ = ["DTYPES", "facts"]

DTYPES = [("float32", 4), ("float64", 8), ("float16", 2), ("uint8", 1), ("int32", 4), ("int8", 1), ("int64", 8),
          ("bool", 1), ("int16", 2), ("uint16", 2), ("uint32", 4), ("uint64", 8), ("bfloat16", 2)]
"""Name and bytes of the element types, by their flag in the file."""

_MAGICS = {0xF993FAC8: "V1 (MXNet 0.12)", 0xF993FAC9: "V2 (MXNet 1.0 to 1.9)", 0xF993FACA: "V3 (sizes of 0, scalars)"}
_STORAGE = {0: "dense", -1: "dense", 1: "row-sparse", 2: "CSR"}


class _Heads:
    """A cursor that reads heads, steps over values, and believes no length that the file has no room for."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self.file, self.path, self.size = file, path, os.path.getsize(path)

    def take(self, code: str, what: str) -> Any:
        need = struct.calcsize("<" + code)
        data = self.file.read(need) if need <= self.size - self.file.tell() else b""
        if len(data) < need:
            raise damaged(self.path, f"The file ends inside {what}.", f"{self.size} bytes, {need} more were needed")
        return struct.unpack("<" + code, data)

    def skip(self, count: int, what: str) -> None:
        if count > self.size - self.file.tell():
            raise damaged(self.path, f"The file ends inside {what}.",
                          f"{self.size - self.file.tell()} bytes where {count} are announced")
        self.file.seek(count, os.SEEK_CUR)

    def shape(self, code: str = "q", axes: int | None = None) -> list[int]:
        number = int(self.take("i", "a shape")[0]) if axes is None else axes
        if not -1 <= number <= 32:
            raise damaged(self.path, f"An array of {number} axes is not possible.", f"at byte {self.file.tell()}")
        found = list(self.take(f"{number}{code}", "a shape")) if number > 0 else []
        if any(size < -1 for size in found):
            raise damaged(self.path, f"A size is negative: {found}.", f"at byte {self.file.tell()}")
        return found

    def dtype(self) -> tuple[str, int]:
        flag = int(self.take("i", "an element type")[0])
        if not 0 <= flag < len(DTYPES):
            raise damaged(self.path, f"Element type {flag} is unknown.", f"at byte {self.file.tell() - 4}")
        return DTYPES[flag]


def facts(path: str) -> Facts:
    """Read names, shapes and element types."""
    with open(path, "rb") as file:
        heads = _Heads(file, path)
        _, _, count = heads.take("QQQ", "the header")
        if count > heads.size // 8:
            raise damaged(path, f"{count} arrays cannot be in a file of {heads.size} bytes.")
        found = [_array(heads) for _ in range(count)]
        (names,) = heads.take("Q", "the number of names")
        if names not in (0, count):
            raise damaged(path, f"There are {names} names for {count} arrays.")
        texts = [_name(heads) for _ in range(names)] or [f"[{i}]" for i in range(count)]
        if file.tell() != heads.size:
            raise damaged(path, f"{heads.size - file.tell()} bytes follow the end.")
    versions = sorted({version for version, *_ in found})
    arrays = [Array(name, shape, dtype, size) for name, (_, shape, dtype, size, _) in zip(texts, found)]
    notes = [f"{name} is {kind}; it is loaded as a dense array." for name, (*_, kind) in zip(texts, found)
             if kind != "dense"]
    if count and not names:
        notes.append("The arrays have no names: this is a list, not the parameters of a network.")
    return Facts("params", ", ".join(versions) or "empty", parameters=arrays, notes=notes)


def _name(heads: _Heads) -> str:
    (length,) = heads.take("Q", "a name")
    if length > heads.size:
        raise damaged(heads.path, f"A name of {length} bytes is not possible.")
    return bytes(heads.take(f"{length}s", "a name")[0]).decode("utf-8")


def _array(heads: _Heads) -> tuple[str, list[int] | None, str | None, int, str]:
    """Read one array's head: (version, shape, element type, bytes of values, storage)."""
    (magic,) = heads.take("I", "an array")
    if magic not in _MAGICS and magic > 32:
        raise damaged(heads.path, f"{magic:#x} does not begin an array.", f"at byte {heads.file.tell() - 4}")
    version = _MAGICS.get(magic, "V0 (before MXNet 0.12)")
    if magic in (0xF993FAC9, 0xF993FACA):
        (storage,) = heads.take("i", "a storage type")
        if storage not in _STORAGE:
            raise damaged(heads.path, f"Storage type {storage} is unknown.", f"at byte {heads.file.tell() - 4}")
        if storage > 0:
            return (version, *_sparse(heads, storage))
        axes = int(heads.take("i", "a shape")[0])
        shape = heads.shape(axes=axes)
        absent = (magic == 0xF993FAC9 and axes == 0) or axes == -1 or -1 in shape
    else:
        shape = heads.shape() if magic == 0xF993FAC8 else heads.shape("I", magic)
        absent = not shape
    if absent:
        return version, None, None, 0, "dense"
    heads.skip(8, "a device")
    dtype, size = heads.dtype()
    heads.skip(prod(shape) * size, f"an array of shape {tuple(shape)}")
    return version, shape, dtype, prod(shape) * size, "dense"


def _sparse(heads: _Heads, storage: int) -> tuple[list[int], str, int, str]:
    stored, shape = heads.shape(), heads.shape()
    heads.skip(8, "a device")
    dtype, size = heads.dtype()
    indices = [(heads.dtype()[1], heads.shape()) for _ in range(storage)]  # row-sparse: rows; CSR: pointers, columns
    total = prod(stored) * size + sum(one * prod(sizes) for one, sizes in indices)
    heads.skip(total, f"a sparse array of shape {tuple(shape)}")
    return shape, dtype, total, _STORAGE[storage]
