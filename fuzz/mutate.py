"""Changes that keep a file's outer structure: lengths that lie, attributes with odd values, archives with odd members.

The one idea: libFuzzer changes bytes blindly and rarely gets past a checksum or JSON's commas, so half of all changes
are made here, on the parsed file; what cannot be parsed is left to libFuzzer (`blind`). All randomness comes from the
generator that is passed in.
"""

from __future__ import annotations

import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from typing import Any

__all__ = ["archive", "graph", "headed", "integers", "model"]

Blind = Callable[[bytes], bytes]
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 12, 16, 31, 32, 33, 127, 128, 255, 256, 65535, 65536, 1 << 20, (1 << 28) - 1, 1 << 29,
           (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
TEXTS = ("", "0", "1", "-1", "2", "3", "None", "True", "False", "()", "(1,)", "(2, 2)", "(0, -1)", "(-2,)", "(-3, -3)",
         "(1, 1, 1, 1, 1, 1)", "1e300", "1e-300", "nan", "inf", "-inf", "1099511627776", "-9223372036854775808",
         "9223372036854775808", "(1099511627776, 1099511627776)", "float16", "int64", "bool", "complex64",
         "(" * 40, "[[1]]", "{}", "1.5", "(1.5, 2)", "((1, 2), (3, 4))", "(None, 2)", "1" * 50, "_", "é", "\ud800",
         "lambda: 1", "__import__('os')", "1000000000", "(1000000000,)", "-1000000000", "valid", "same", "relu",
         "leaky", "float32", "xyz")
VALUES: tuple[Any, ...] = (None, True, False, 0, 1, -1, 2, 1 << 40, 1 << 70, -(1 << 70), 1.5, float("nan"),
                           float("inf"), "", "x", [], {}, [0], [[0]], [0, 0], [0, 0, 0], {"a": "b"}, [[]], "\ud800")


def integers(data: bytes, dice: random.Random, blind: Blind) -> bytes:
    """Put a remarkable number at a place that may be a length, move a piece, or leave it to libFuzzer."""
    choice = dice.random()
    if choice < 0.5 or len(data) < 8:
        return blind(data)
    out = bytearray(data)
    if choice < 0.9:
        code = dice.choice("BHIIIQQQQ")
        size = struct.calcsize(code)
        at = dice.randrange(0, max(1, len(data) - size + 1))
        if dice.random() < 0.8:
            at -= at % 4
        near = struct.unpack_from("<" + code, out, at)[0] + dice.choice((-1, 1, 2, -2, 8))
        number = dice.choice(NUMBERS) if dice.random() < 0.6 else near
        struct.pack_into("<" + code, out, at, number % (1 << (8 * size)))
    else:
        a, b = sorted(dice.randrange(len(out) + 1) for _ in range(2))
        at = dice.randrange(len(out) + 1)
        out[at:at] = out[a:b][:256]
    return bytes(out)


def _changed(value: Any, dice: random.Random) -> Any:
    """Return JSON with one part of it changed."""
    if dice.random() < 0.15 or not isinstance(value, (dict, list)) or not value:
        if isinstance(value, bool) or not isinstance(value, (int, str)) or dice.random() < 0.3:
            return dice.choice(VALUES)
        if isinstance(value, int):
            return dice.choice((*NUMBERS, value + 1, value - 1, -value))
        return dice.choice((*TEXTS, value + "x", value[:-1]))
    if isinstance(value, dict):
        key = dice.choice(list(value))
        kind = dice.random()
        if kind < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if kind < 0.2:
            return {**value, dice.choice(("x", key + "1", "__shape__", "__dtype__", "", "../a")): value[key]}
        return {**value, key: _changed(value[key], dice)}
    at = dice.randrange(len(value))
    kind = dice.random()
    if kind < 0.1:
        return value[:at] + value[at + 1:]
    if kind < 0.2 and len(value) < 40:
        return [*value, value[at]]
    return [*value[:at], _changed(value[at], dice), *value[at + 1:]]


def _loads(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _dumps(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "replace")


@cache
def _operators() -> list[str]:
    from glueball.ops import opdef

    return sorted(opdef.TABLE)


def graph(data: bytes, dice: random.Random, blind: Blind) -> bytes:
    """Change an attribute, an operator, an input or any other part of a graph."""
    parsed = _loads(data)
    nodes = parsed.get("nodes") if isinstance(parsed, dict) else None
    if dice.random() < 0.15 or not isinstance(nodes, list) or not nodes or not isinstance(nodes[-1], dict):
        return blind(data)
    node = dice.choice([n for n in nodes if isinstance(n, dict)])
    choice = dice.random()
    if choice < 0.3:
        node["op"] = dice.choice(_operators())
        from glueball.ops.opdef import lookup
        known = lookup(node["op"])
        attrs = node.get("attrs") if isinstance(node.get("attrs"), dict) else {}
        for spec in known.attrs:
            if spec.required or dice.random() < 0.3:
                attrs.setdefault(spec.name, dice.choice(TEXTS))
        node["attrs"] = attrs
        if isinstance(node.get("inputs"), list) and dice.random() < 0.7:
            wanted = len(known.inputs) if not known.variadic else 2
            node["inputs"] = (node["inputs"] + [[0, 0, 0]] * wanted)[:wanted]
    elif choice < 0.7:
        attrs = node.setdefault("attrs", {})
        if isinstance(attrs, dict):
            key = dice.choice(list(attrs) or ["__shape__"])
            attrs[key] = dice.choice(TEXTS)
    else:
        parsed = _changed(parsed, dice)
    return _dumps(parsed)


def model(data: bytes, dice: random.Random, blind: Blind) -> bytes:
    """Change one field of an ONNX model: a size, a name, an operator, an attribute, a weight's bytes."""
    import onnx
    from google.protobuf.message import DecodeError

    proto = onnx.ModelProto()
    if dice.random() < 0.2:
        return blind(data)
    try:
        proto.ParseFromString(data)
    except DecodeError:
        return blind(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        _change_message(proto, dice, blind, 0)
    return proto.SerializeToString()


def _change_message(message: Any, dice: random.Random, blind: Blind, depth: int) -> None:
    present = message.ListFields()
    if not present or dice.random() < 0.06:
        fields = list(message.DESCRIPTOR.fields)
        field = dice.choice(fields)
    else:
        weights = [6 if field.name in ("graph", "node", "attribute", "initializer") else 2 for field, _ in present]
        field = dice.choices([field for field, _ in present], weights)[0]
    value = getattr(message, field.name)
    repeated = hasattr(value, "__len__") and not isinstance(value, (str, bytes)) and not hasattr(value, "ListFields")
    if field.message_type is not None:
        if not repeated:
            _change_message(value, dice, blind, depth + 1)
        elif len(value) and dice.random() < 0.9:
            at = dice.randrange(len(value))
            if dice.random() < 0.06:
                del value[at]
            elif dice.random() < 0.06 and len(value) < 40:
                value.add().CopyFrom(value[at])
            else:
                _change_message(value[at], dice, blind, depth + 1)
        elif len(value) < 40:
            value.add()
        return
    fresh = _scalar(field, dice, blind, value[dice.randrange(len(value))] if repeated and len(value) else value)
    try:
        if not repeated:
            setattr(message, field.name, fresh)
        elif len(value) and dice.random() < 0.8:
            value[dice.randrange(len(value))] = fresh
        elif len(value) < 100:
            value.append(fresh)
    except (TypeError, ValueError):  # out of the field's range
        return


def _scalar(field: Any, dice: random.Random, blind: Blind, old: Any) -> Any:
    if field.cpp_type == field.CPPTYPE_STRING:
        if field.type == field.TYPE_BYTES:
            return blind(old if isinstance(old, bytes) else b"x")[:512]
        return dice.choice((*_onnx_operators(), "x", "w", "", "../x", "y", "/etc/passwd"))
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return dice.choice((0.0, -1.0, 1e30, float("nan"), float("inf"), 0.5))
    if dice.random() < 0.4 and isinstance(old, int):
        return old + dice.choice((-2, -1, 1, 2))
    return dice.choice((*NUMBERS, -1, -2, -(1 << 31), -(1 << 63)))


@cache
def _onnx_operators() -> tuple[str, ...]:
    from glueball.onnx.read.operators import IMPORTERS

    return tuple(sorted(name for _, name in IMPORTERS))


def headed(data: bytes, dice: random.Random, blind: Blind) -> bytes:
    """Change the JSON in front of a safetensors file, with the length in front of it set right."""
    length = int.from_bytes(data[:8], "little")
    header = _loads(data[8:8 + length]) if 0 < length <= len(data) - 8 else None
    if dice.random() < 0.3 or not isinstance(header, dict):
        return blind(data)
    inner = header.get("__metadata__")
    if isinstance(inner, dict) and inner and dice.random() < 0.5:
        key = dice.choice(list(inner))
        parsed = _loads(str(inner[key]).encode("utf-8", "replace"))
        if parsed is not None:
            inner[key] = json.dumps(_changed(parsed, dice))
        else:
            header = _changed(header, dice)
    else:
        header = _changed(header, dice)
    text = _dumps(header)
    return len(text).to_bytes(8, "little") + text + data[8 + length:]


def archive(data: bytes, dice: random.Random, blind: Blind) -> bytes:
    """Change a member of a zip file, and pack it again, so that its checksum is right; or the text of a .npy head."""
    if data[:2] != b"PK" or dice.random() < 0.3:
        return _numpy_head(data, dice, blind)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as source:
            members = [(info.filename, source.read(info)) for info in source.infolist()[:8] if info.file_size < 1 << 16]
    except Exception:
        return blind(data)
    if not members:
        return blind(data)
    at = dice.randrange(len(members))
    name, content = members[at]
    if dice.random() < 0.2:
        name = dice.choice((name, "../" + name, "a", "", "é.npy", "x/y.npy", "a.npy"))
    members[at] = (name, _numpy_head(content, dice, blind))
    out = io.BytesIO()
    packing = dice.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(out, "w", packing) as made, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that occurs twice
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = made.compression
            made.writestr(info, content)
    return out.getvalue()


HEADS = ("'<f4'", "'>f4'", "'|O'", "'<U3'", "'|V8'", "'<M8[s]'", "'<c8'", "'<f16'", "[('a', '<f4')]", "'<f2'", "'|b1'",
         "'<u8'", "'|S5'", "'<f400000000'", "'|V4611686018427387904'")
SHAPES = ("()", "(0,)", "(6,)", "(-1,)", "(1099511627776,)", "(4611686018427387904, 4)", "(0, 4611686018427387904)",
          "(1.5,)", "('a',)", "6", "None", "(True,)", "(" + "1," * 70 + ")")


def _numpy_head(data: bytes, dice: random.Random, blind: Blind) -> bytes:
    if data[:6] != b"\x93NUMPY" or dice.random() < 0.4:
        return blind(data)
    wide = data[6:7] != b"\1"
    start = 12 if wide else 10
    length = int.from_bytes(data[8:start], "little")
    text = (f"{{'descr': {dice.choice(HEADS)}, 'fortran_order': {dice.choice(('True', 'False', 'False', '1'))}, "
            f"'shape': {dice.choice(SHAPES)}, }}\n").encode()
    return data[:8] + len(text).to_bytes(start - 8, "little") + text + data[start + length:]
