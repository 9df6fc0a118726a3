"""Weights of 3×3 kernels to Winograd's points, and the sums at the points back to weights' gradients.

The one idea: weights (F, C, 3, 3) are an array in which some step leads from a filter to the next and another from a
channel to the next; with both as arguments the same code serves the convolution and, filters and channels exchanged and
kernels turned round, the gradient of its data. Vectors hold filters, which lie apart: they are gathered and scattered.

Called like segments (emit.py), with `ARGUMENTS`. Not here: the call (convolve.py), products (winograd.py,
winograd_gradient.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from ...base.tilings import FOUR, TILINGS
from ...ops.winograd import WIDE
from .phrases import add, arguments, at, fetch, function, least, load, loop, mul, splat, store
from .points import at_points, from_points
from .vector_math import Format, Writer
from .winograd_tiles import held, note_lost

__all__ = ["Weights", "ARGUMENTS"]

ARGUMENTS = ("blocks", "block_depth", "chunks", "depth", "weight", "next_filter", "next_channel", "next_number",
             "points", "lost")  # fmt: skip
"""Names of the arguments after the counter of blocks. A block is `block_depth` channels of a panel, which has so many
`chunks`; weight : address of the first number of the first kernel, next_… : steps from it, in elements; points :
address; lost : is made 1 where a gradient is not finite."""


@final
@dataclass(frozen=True, slots=True)
class Weights:
    """The function between weights and points. back : from sums at the points to gradients; tile : of results"""

    back: bool
    tile: int = FOUR.tile

    cost = 1

    def module(self, name: str, kind: Format, vector_bytes: int) -> str:
        """Return the text of the function."""
        w = Writer(kind, vector_bytes // kind.size)
        arguments(w, ARGUMENTS, ("weight", "points"))
        held(w, 3 * TILINGS[self.tile].points)
        lanes = f"<{w.width} x i64>"
        each = ", ".join(f"i64 {lane}" for lane in range(w.width))
        apart = w.put(f"mul {lanes} <{each}>, {splat(w, '%next_filter', 'i64')}")
        far = mul(w, "%depth", WIDE)
        fetch(w)
        panel, chunk = w.put("udiv i64 %b, %chunks"), w.put("urem i64 %b, %chunks")
        start = mul(w, chunk, "%block_depth")
        end = least(w, add(w, start, "%block_depth"), "%depth")
        filters = mul(w, panel, WIDE)
        block = at(w, "%points.p", mul(w, mul(w, panel, TILINGS[self.tile].square), far))
        with loop(w, "d", start, end) as d, loop(w, "u", 0, str(WIDE), w.width) as u:
            column = at(w, "%weight.p", mul(w, add(w, filters, u), "%next_filter"))
            kernel = at(w, column, mul(w, d, "%next_channel"))
            values = at(w, at(w, block, u), mul(w, d, WIDE))
            numbers = [w.put(f"getelementptr {kind.name}, ptr {at(w, kernel, mul(w, '%next_number', k))}, "
                             f"{lanes} {apart}") for k in range(9)]  # fmt: skip
            if self.back:
                self._back(w, numbers, values, far)
            else:
                self._forth(w, numbers, values, far)
        w.lines.append("  br label %fetch")
        return function(name, w)

    def _forth(self, w: Writer, numbers: list[str], values: str, far: str) -> None:
        """Write the way of a kernel to the points."""
        tiling, suffix = TILINGS[self.tile], f"{w.suffix}.v{w.width}p0"
        w.declared.add(f"declare {w.vector} @llvm.masked.gather.{suffix}(<{w.width} x ptr>, i32, {w.mask}, {w.vector})")
        given = [w.put(f"call {w.vector} @llvm.masked.gather.{suffix}(<{w.width} x ptr> {place}, i32 {w.kind.size}, "
                       f"{w.mask} splat (i1 true), {w.vector} zeroinitializer)") for place in numbers]  # fmt: skip
        for j in range(3):
            for i, value in enumerate(at_points(w, tiling.weights, given[j::3])):
                store(w, value, at(w, "%held", (3 * i + j) * w.width))
        with loop(w, "i", 0, str(tiling.points)) as i:
            line = at(w, "%held", mul(w, i, 3 * w.width))
            place = at(w, values, mul(w, mul(w, i, tiling.points), far))
            for value in at_points(w, tiling.weights, [load(w, at(w, line, j * w.width)) for j in range(3)]):
                store(w, value, place)
                place = at(w, place, far)

    def _back(self, w: Writer, numbers: list[str], values: str, far: str) -> None:
        """Write the way of sums at the points to the gradient of a kernel."""
        tiling, suffix = TILINGS[self.tile], f"{w.suffix}.v{w.width}p0"
        downs = [mul(w, far, tiling.points * i) for i in range(tiling.points)]
        with loop(w, "j", 0, str(tiling.points)) as j:
            column = at(w, values, mul(w, j, far))
            line = at(w, "%held", mul(w, j, w.width))
            for i, value in enumerate(from_points(w, tiling.weights, [load(w, at(w, column, d)) for d in downs])):
                store(w, value, at(w, line, i * tiling.points * w.width))
        found: list[str] = []
        for i in range(3):
            line = [load(w, at(w, "%held", (i * tiling.points + j) * w.width)) for j in range(tiling.points)]
            found += from_points(w, tiling.weights, line)
        note_lost(w, found, "%lost.a")
        w.declared.add(f"declare void @llvm.masked.scatter.{suffix}({w.vector}, <{w.width} x ptr>, i32, {w.mask})")
        for value, place in zip(found, numbers):
            w.lines.append(f"  call void @llvm.masked.scatter.{suffix}({w.vector} {value}, <{w.width} x ptr> {place}, "
                           f"i32 {w.kind.size}, {w.mask} splat (i1 true))")  # fmt: skip
