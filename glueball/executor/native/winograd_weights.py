"""Weights of 3×3 kernels to Winograd's points, and the sums at the points back to weights' gradients.

The one idea: weights (F, C, 3, 3) are an array in which some step leads from a filter to the next and another from a
channel to the next; with both as arguments the same code serves the convolution and, filters and channels exchanged and
kernels turned round, the gradient of its data. Vectors hold filters, which lie apart: they are gathered and scattered.

Called like segments (emit.py), with `ARGUMENTS`. Not here: the call (convolve.py), products (winograd.py,
winograd_gradient.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from ...ops.winograd import FROM_WEIGHT, POINTS, SQUARE, WIDE
from .phrases import add, arguments, at, fetch, function, least, load, loop, mul, splat, store
from .vector_math import Format, Writer
from .winograd_tiles import note_lost

__all__ = ["Weights", "ARGUMENTS"]

ARGUMENTS = ("blocks", "block_depth", "chunks", "depth", "weight", "next_filter", "next_channel", "next_number",
             "points", "lost")  # fmt: skip
"""Names of the arguments after the counter of blocks. A block is `block_depth` channels of a panel, which has so many
`chunks`; weight : address of the first number of the first kernel, next_… : steps from it, in elements; points :
address; lost : is made 1 where a gradient is not finite."""


@final
@dataclass(frozen=True, slots=True)
class Weights:
    """The function between weights and points. back : from sums at the points to gradients."""

    back: bool

    cost = 1

    def module(self, name: str, kind: Format, vector_bytes: int) -> str:
        """Return the text of the function."""
        w = Writer(kind, vector_bytes // kind.size)
        arguments(w, ARGUMENTS, ("weight", "points"))
        lanes = f"<{w.width} x i64>"
        each = ", ".join(f"i64 {lane}" for lane in range(w.width))
        apart = w.put(f"mul {lanes} <{each}>, {splat(w, '%next_filter', 'i64')}")
        far = mul(w, "%depth", WIDE)
        fetch(w)
        panel, chunk = w.put("udiv i64 %b, %chunks"), w.put("urem i64 %b, %chunks")
        start = mul(w, chunk, "%block_depth")
        end = least(w, add(w, start, "%block_depth"), "%depth")
        filters = mul(w, panel, WIDE)
        block = at(w, "%points.p", mul(w, mul(w, panel, SQUARE), far))
        with loop(w, "u", 0, str(WIDE), w.width) as u:
            column = at(w, "%weight.p", mul(w, add(w, filters, u), "%next_filter"))
            there = at(w, block, u)
            with loop(w, "d", start, end) as d:
                kernel = at(w, column, mul(w, d, "%next_channel"))
                numbers = [w.put(f"getelementptr {kind.name}, ptr {at(w, kernel, mul(w, '%next_number', k))}, "
                                 f"{lanes} {apart}") for k in range(9)]  # fmt: skip
                values = at(w, there, mul(w, d, WIDE))
                places = [values]
                for _ in range(SQUARE - 1):
                    places.append(at(w, places[-1], far))
                if self.back:
                    _back(w, numbers, places)
                else:
                    _forth(w, numbers, places)
        w.lines.append("  br label %fetch")
        return function(name, w)


def _forth(w: Writer, numbers: Sequence[str], places: Sequence[str]) -> None:
    """Write the way of a kernel to the points."""
    suffix = f"{w.suffix}.v{w.width}p0"
    w.declared.add(f"declare {w.vector} @llvm.masked.gather.{suffix}(<{w.width} x ptr>, i32, {w.mask}, {w.vector})")
    given = [w.put(f"call {w.vector} @llvm.masked.gather.{suffix}(<{w.width} x ptr> {place}, i32 {w.kind.size}, "
                   f"{w.mask} splat (i1 true), {w.vector} zeroinitializer)") for place in numbers]  # fmt: skip
    columns = [_at_points(w, given[j::3]) for j in range(3)]
    for i in range(POINTS):
        for j, value in enumerate(_at_points(w, [column[i] for column in columns])):
            store(w, value, places[POINTS * i + j])


def _at_points(w: Writer, g: Sequence[str]) -> list[str]:
    """Write the values at the points of a polynomial with three coefficients, as `FROM_WEIGHT` says."""
    found = [g[0]]
    for one, point, square in FROM_WEIGHT[1:5:2]:
        even = w.fma(w.number(square), g[2], w.binary("fmul", w.number(one), g[0]))
        odd = w.binary("fmul", w.number(point), g[1])
        found += [w.binary("fadd", even, odd), w.binary("fsub", even, odd)]
    return [*found, g[2]]


def _back(w: Writer, numbers: Sequence[str], places: Sequence[str]) -> None:
    """Write the way of sums at the points to the gradient of a kernel."""
    columns = [_from_points(w, [load(w, place) for place in places[j::POINTS]]) for j in range(POINTS)]
    found = [value for i in range(3) for value in _from_points(w, [column[i] for column in columns])]
    note_lost(w, ".any", found, "%lost.a")
    suffix = f"{w.suffix}.v{w.width}p0"
    w.declared.add(f"declare void @llvm.masked.scatter.{suffix}({w.vector}, <{w.width} x ptr>, i32, {w.mask})")
    for value, place in zip(found, numbers):
        w.lines.append(f"  call void @llvm.masked.scatter.{suffix}({w.vector} {value}, <{w.width} x ptr> {place}, "
                       f"i32 {w.kind.size}, {w.mask} splat (i1 true))")  # fmt: skip


def _from_points(w: Writer, m: Sequence[str]) -> list[str]:
    """Write the transpose of `_at_points`."""
    found = [m[0], w.number(0.0), m[5]]
    for k, (one, point, square) in zip((1, 3), FROM_WEIGHT[1:5:2]):
        even, odd = w.binary("fadd", m[k], m[k + 1]), w.binary("fsub", m[k], m[k + 1])
        found = [w.fma(w.number(factor), value, total)
                 for factor, value, total in zip((one, point, square), (even, odd, even), found)]  # fmt: skip
    return found
