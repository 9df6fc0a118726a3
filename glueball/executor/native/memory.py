"""Element types in memory: how vectors of them are loaded and stored, whole and in part.

The one idea: everything is computed in float32 or float64; an operand of another type is converted on the way, by
integer operations where processors differ (bfloat16, float16), so all of them give the same bits. Stores round to
nearest, ties to even; a NaN stays one. Stores to integers drop the fraction; what does not fit is undefined there, and
so is NaN. 64-bit integers are exact in float32 up to 2**24.

Not here: the loops around it (emit.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from .vector_math import Writer

__all__ = ["Memory", "MEMORY", "load", "store", "widened", "narrowed"]


@final
@dataclass(frozen=True, slots=True)
class Memory:
    """A type in memory.

    raw : LLVM's name of what is loaded
    size : bytes
    suffix : in names of intrinsics
    """

    raw: str
    size: int
    suffix: str


MEMORY: Mapping[str, Memory] = {
    "float32": Memory("float", 4, "f32"), "float64": Memory("double", 8, "f64"), "bfloat16": Memory("i16", 2, "i16"),
    "float16": Memory("i16", 2, "i16"), "int8": Memory("i8", 1, "i8"), "uint8": Memory("i8", 1, "i8"),
    "bool": Memory("i8", 1, "i8"), "int32": Memory("i32", 4, "i32"), "int64": Memory("i64", 8, "i64"),
}  # fmt: skip
"""torch's name of an element type -> how it lies in memory."""


def load(w: Writer, kind: str, pointer: str, mask: str | None) -> str:
    """Write the loading of a vector as it is in memory; with a mask only of the elements that it has, others are 0."""
    m = MEMORY[kind]
    vector, suffix = f"<{w.width} x {m.raw}>", f"v{w.width}{m.suffix}"
    if not mask:
        return w.put(f"load {vector}, ptr {pointer}, align {m.size}")
    w.declared.add(f"declare {vector} @llvm.masked.load.{suffix}.p0(ptr, i32, {w.mask}, {vector})")
    return w.put(f"call {vector} @llvm.masked.load.{suffix}.p0(ptr {pointer}, i32 {m.size}, {w.mask} {mask}, "
                 f"{vector} zeroinitializer)")  # fmt: skip


def store(w: Writer, kind: str, raw: str, pointer: str, mask: str | None) -> None:
    """Write the storing of a vector that is as in memory; with a mask only of the elements that it has."""
    m = MEMORY[kind]
    vector, suffix = f"<{w.width} x {m.raw}>", f"v{w.width}{m.suffix}"
    if not mask:
        w.lines.append(f"  store {vector} {raw}, ptr {pointer}, align {m.size}")
        return
    w.declared.add(f"declare void @llvm.masked.store.{suffix}.p0({vector}, ptr, i32, {w.mask})")
    w.lines.append(f"  call void @llvm.masked.store.{suffix}.p0({vector} {raw}, ptr {pointer}, i32 {m.size}, "
                   f"{w.mask} {mask})")  # fmt: skip


def widened(w: Writer, kind: str, raw: str) -> str:
    """Return a vector from memory in the type that is computed in."""
    if MEMORY[kind].raw == w.kind.name:
        return raw
    source = f"<{w.width} x {MEMORY[kind].raw}>"
    if kind == "float64":
        return w.put(f"fptrunc {source} {raw} to {w.vector}")
    if kind in ("uint8", "bool"):
        return w.put(f"uitofp {source} {raw} to {w.vector}")
    if kind in ("int8", "int32", "int64"):
        return w.put(f"sitofp {source} {raw} to {w.vector}")
    if kind == "bfloat16":
        whole = _integer(w, "shl", _as(w, "zext", source, raw), 16)
        raw = w.put(f"bitcast <{w.width} x i32> {whole} to <{w.width} x float>")
    elif kind == "float16":
        raw = _from_half(w, _as(w, "zext", source, raw))
    return raw if w.kind.size == 4 else w.put(f"fpext <{w.width} x float> {raw} to {w.vector}")


def narrowed(w: Writer, kind: str, value: str) -> str:
    """Return a vector in the type that is computed in as it is in memory."""
    m = MEMORY[kind]
    if m.raw == w.kind.name:
        return value
    target = f"<{w.width} x {m.raw}>"
    if kind == "float64":
        return w.put(f"fpext {w.vector} {value} to {target}")
    if kind == "bool":
        condition = w.put(f"fcmp une {w.vector} {value}, {w.number(0.0)}")
        return w.put(f"zext {w.mask} {condition} to {target}")
    if kind == "int64":
        return w.put(f"fptosi {w.vector} {value} to {target}")
    if kind in ("int32", "int8", "uint8"):
        whole = w.put(f"fptosi {w.vector} {value} to <{w.width} x i32>")
        return whole if kind == "int32" else _as(w, "trunc", f"<{w.width} x i32>", whole, m.raw)
    if w.kind.size == 8:
        value = w.put(f"fptrunc {w.vector} {value} to <{w.width} x float>")
    if kind == "float32":
        return value
    bits = w.put(f"bitcast <{w.width} x float> {value} to <{w.width} x i32>")
    half = _to_bfloat(w, bits, value) if kind == "bfloat16" else _to_half(w, bits)
    return _as(w, "trunc", f"<{w.width} x i32>", half, "i16")


# -- bits ------------------------------------------------------------------------------------------------------------


def _as(w: Writer, op: str, source: str, value: str, target: str = "i32") -> str:
    return w.put(f"{op} {source} {value} to <{w.width} x {target}>")


def _integer(w: Writer, op: str, a: str, b: str | int) -> str:
    """An operation on 32-bit integers."""
    return w.put(f"{op} <{w.width} x i32> {a}, {b if isinstance(b, str) else f'splat (i32 {b})'}")


def _pick(w: Writer, condition: str, yes: str, no: str) -> str:
    return w.put(f"select {w.mask} {condition}, <{w.width} x i32> {yes}, <{w.width} x i32> {no}")


def _compare(w: Writer, predicate: str, a: str, b: int) -> str:
    return w.put(f"icmp {predicate} <{w.width} x i32> {a}, splat (i32 {b})")


def _to_bfloat(w: Writer, bits: str, value: str) -> str:
    odd = _integer(w, "and", _integer(w, "lshr", bits, 16), 1)
    rounded = _integer(w, "lshr", _integer(w, "add", _integer(w, "add", bits, odd), 0x7FFF), 16)
    lost = w.put(f"fcmp uno <{w.width} x float> {value}, {value}")
    return _pick(w, lost, "splat (i32 32704)", rounded)  # 0x7FC0


def _from_half(w: Writer, half: str) -> str:
    """Shift exponent and fraction into place and multiply by 2**112: exact for subnormal numbers, too."""
    size = _integer(w, "shl", _integer(w, "and", half, 0x7FFF), 13)
    floating = f"<{w.width} x float>"
    small = w.put(f"bitcast <{w.width} x i32> {size} to {floating}")
    scaled = w.put(f"fmul {floating} {small}, splat (float 0x{0x46F0000000000000:016X})")
    bits = w.put(f"bitcast {floating} {scaled} to <{w.width} x i32>")
    endless = _compare(w, "uge", size, 0x0F800000)  # infinity and NaN keep their fraction
    bits = _pick(w, endless, _integer(w, "or", size, 0x7F800000), bits)
    sign = _integer(w, "shl", _integer(w, "and", half, 0x8000), 16)
    return w.put(f"bitcast <{w.width} x i32> {_integer(w, 'or', bits, sign)} to {floating}")


def _to_half(w: Writer, bits: str) -> str:
    """Normal numbers are rounded in integers; adding 0.5 does it for subnormal ones, whose step is 2**-24."""
    size = _integer(w, "and", bits, 0x7FFFFFFF)
    odd = _integer(w, "and", _integer(w, "lshr", size, 13), 1)
    # the exponent's bias goes from 127 to 15: subtract 112 << 23
    normal = _integer(w, "lshr", _integer(w, "add", _integer(w, "add", size, odd), 0xFFF - (112 << 23)), 13)
    floating = f"<{w.width} x float>"
    small = w.put(f"bitcast <{w.width} x i32> {size} to {floating}")
    moved = w.put(f"fadd {floating} {small}, splat (float 5.0e-01)")
    subnormal = _integer(w, "sub", w.put(f"bitcast {floating} {moved} to <{w.width} x i32>"), 0x3F000000)
    found = _pick(w, _compare(w, "ult", size, 113 << 23), subnormal, normal)
    found = _pick(w, _compare(w, "uge", size, 0x477FF000), "splat (i32 31744)", found)  # infinite from 65520
    found = _pick(w, _compare(w, "ugt", size, 0x7F800000), "splat (i32 32256)", found)  # NaN
    return _integer(w, "or", found, _integer(w, "and", _integer(w, "lshr", bits, 16), 0x8000))
