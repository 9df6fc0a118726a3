"""`.onnx`: a model's graph and the heads of its weights, read straight from the protobuf bytes.

The one idea: a protobuf message is fields of (number, wire type, value); a value that nobody asks for is stepped over,
so weights are never touched and the package onnx is not needed. Field numbers are those of onnx.proto. Not here:
reading a model to run it (onnx/).
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from math import prod
from typing import Any

from . import Array, Facts, Layer, damaged

__all__ = ["facts"]

_TYPES = {1: ("float32", 4), 2: ("uint8", 1), 3: ("int8", 1), 4: ("uint16", 2), 5: ("int16", 2), 6: ("int32", 4),
          7: ("int64", 8), 8: ("string", 0), 9: ("bool", 1), 10: ("float16", 2), 11: ("float64", 8), 12: ("uint32", 4),
          13: ("uint64", 8), 14: ("complex64", 8), 15: ("complex128", 16), 16: ("bfloat16", 2)}
_Field = tuple[int, Any]  # number and value: an int, or the (begin, end) of bytes


class _Bytes:
    """The bytes of a file, never copied."""

    def __init__(self, data: Any, path: str) -> None:
        self.data, self.path = data, path

    def number(self, at: int, end: int) -> tuple[int, int]:
        """Read a number of variable length: (value, the place behind it)."""
        value = shift = 0
        while at < end and shift < 64:
            byte = self.data[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return value, at
        raise damaged(self.path, "This is no ONNX model, or it is cut off: a number does not end.", f"at byte {at}")

    def fields(self, begin: int, end: int) -> Iterator[_Field]:
        """Yield the fields of the message between two places."""
        at = begin
        while at < end:
            key, at = self.number(at, end)
            number, kind = key >> 3, key & 7
            if kind == 0:
                value, at = self.number(at, end)
                yield number, value
                continue
            length, at = (8, at) if kind == 1 else (4, at) if kind == 5 else self.number(at, end)
            if kind not in (1, 2, 5) or number == 0 or at + length > end:
                raise damaged(self.path, "This is no ONNX model, or it is cut off.",
                              f"{length} bytes announced at byte {at} of {len(self.data)}")
            yield number, (at, at + length)
            at += length

    def text(self, place: tuple[int, int]) -> str:
        """Return bytes as text."""
        return bytes(self.data[place[0]:place[1]]).decode("utf-8", "replace")

    def message(self, place: tuple[int, int]) -> dict[int, list[Any]]:
        """Return the fields of a message by number."""
        found: dict[int, list[Any]] = {}
        for number, value in self.fields(*place):
            found.setdefault(number, []).append(value)
        return found


def facts(path: str) -> Facts:
    """Read operators, shapes and weights' heads."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        source = _Bytes(data, path)
        model = source.message((0, len(data)))
        if not (model.get(7) and isinstance(model[7][-1], tuple)) or not model.get(8):
            raise damaged(path, "This is no ONNX model: it has no graph or no operator set.",
                          f"fields {sorted(model)}")
        found = Facts("onnx", _version(source, model))
        for number, key in ((2, "producer"), (3, "producer_version"), (6, "description")):
            if model.get(number) and (text := source.text(model[number][-1])):
                found.metadata[key] = text
        for entry in model.get(14, []):
            pair = source.message(entry)
            found.metadata[source.text(pair[1][0])] = source.text(pair[2][0]) if pair.get(2) else ""
        _graph(source, model[7][-1], found)
    return found


def _version(source: _Bytes, model: dict[int, list[Any]]) -> str:
    sets: list[str] = []
    for entry in model[8]:
        one = source.message(entry)
        domain = source.text(one[1][0]) if one.get(1) else ""
        sets.append(f"{domain + ' ' if domain else ''}opset {one.get(2, [0])[0]}")
    return ", ".join([*sets, f"IR {model.get(1, [0])[-1]}"])


def _graph(source: _Bytes, place: tuple[int, int], found: Facts) -> None:
    """Fill in what a graph says."""
    nodes: list[dict[int, list[Any]]] = []
    shapes: dict[str, Array] = {}
    for number, value in source.fields(*place):
        if number == 1:
            nodes.append(source.message(value))
        elif number == 5:
            found.parameters.append(_weight(source, value, found))
        elif number in (11, 12, 13):
            one = _value(source, value)
            shapes[one.name] = one
            if number != 13:
                (found.inputs if number == 11 else found.outputs).append(one)
    weights = {one.name for one in found.parameters}
    found.inputs = [one for one in found.inputs if one.name not in weights]  # old files list weights as inputs, too
    for node in nodes:
        results = [source.text(one) for one in node.get(2, [])]
        name = source.text(node[3][0]) if node.get(3) else results[0] if results else ""
        known = shapes.get(results[0]) if results else None
        domain = source.text(node[7][0]) + "." if node.get(7) and source.text(node[7][0]) else ""
        found.layers.append(Layer(name, domain + source.text(node[4][0]), [source.text(one) for one in node.get(1, [])],
                                  known.shape if known else None))


def _weight(source: _Bytes, place: tuple[int, int], found: Facts) -> Array:
    """Read the head of a weight: dimensions (packed or not), type, name, and where its values are."""
    shape: list[int] = []
    dtype, each, name = "unknown", 0, ""
    for number, value in source.fields(*place):
        if number == 1 and isinstance(value, int):
            shape.append(value)
        elif number == 1:
            at, end = value
            while at < end:
                size, at = source.number(at, end)
                shape.append(size)
        elif number == 2:
            dtype, each = _TYPES.get(value, (f"type {value}", 0))
        elif number == 8:
            name = source.text(value)
        elif number == 13:
            pair = source.message(value)
            if source.text(pair[1][0]) == "location":
                _outside(source.path, source.text(pair[2][0]), found)
    return Array(name, list(shape), dtype, prod(shape) * each)


def _outside(path: str, location: str, found: Facts) -> None:
    there = os.path.exists(os.path.join(os.path.dirname(path), location))
    note = f"Weights lie in {location} beside it" + ("." if there else ", which is not there.")
    if note not in found.notes:
        found.notes.append(note)


def _value(source: _Bytes, place: tuple[int, int]) -> Array:
    """Read an input, an output or a value between: name, element type, sizes."""
    one = source.message(place)
    name = source.text(one[1][0])
    kind = source.message(one[2][0]) if one.get(2) else {}
    if not kind.get(1):
        return Array(name, None, None)  # a sequence, an optional
    tensor = source.message(kind[1][0])
    dtype = _TYPES.get(tensor.get(1, [0])[0], ("unknown", 0))[0]
    if not tensor.get(2):
        return Array(name, None, dtype)
    sizes: list[Any] = []
    for number, value in source.fields(*tensor[2][0]):
        if number == 1:
            size = source.message(value)
            sizes.append(size[1][0] if size.get(1) else source.text(size[2][0]) if size.get(2) else None)
    return Array(name, sizes, dtype)
