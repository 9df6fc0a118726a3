"""Winograd's convolution: 36 multiplications for 16 results of a 3×3 kernel, where the sum has 144, or 81 for 49.

The one idea: base/tilings.py says what is computed. Here data (pixels that a tile of results sees) are brought to the
points ("spread"), multiplied there by what the weights are at the points, and brought back ("gathered"): products
(tiles × channels)·(channels × filters), one for each point. One function does all three for blocks of tiles, so that
what lies between stays in the processor's cache; channels lie side by side (N, H, W, C) and are what vectors hold. It
is called like segments (emit.py), with `ARGUMENTS`; in a thread's scratch memory are

    spread data (points², tiles of a block, C + 16) · products of a panel (tiles of a block, points², WIDE)
    · a patch (points, points, C)

Results that are not finite before anything is added set the argument `lost`: the caller then takes the plain sum. C is
a multiple of 16, filters of WIDE. Data, results and what is added may be of another type in memory; bias and all
between is what is computed in. Not here: what is done so (passes/winograd.py), the call (convolve.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from ...base.tilings import FOUR, TILINGS, Tiling
from ...ops.winograd import WIDE
from . import memory
from .phrases import Part, add, arguments, at, define, fetch, least, load, loop, module, mul, splat, store
from .points import from_points
from .products import product, spaced
from .vector_math import Format, Writer
from .winograd_tiles import DATA, PAD, heights, held, note_lost, patch, pixel, place_of, tile_of_data, to_points

__all__ = ["Winograd", "ARGUMENTS"]

ARGUMENTS = (
    "taken", "tiles", "block_tiles", "block_panels", "blocks", "blocks_across", "panels", "depth",  # 1 to 8
    "data", "high", "wide", "pad_high", "pad_wide", "down", "across",
    "points", "out", "out_high", "out_wide", "columns", "bias", "residual", "slope", "low", "top",
    "scratch", "scratch_size", "products", "patch", "lost",
)  # fmt: skip
"""Names of the arguments after the counter of blocks. taken : threads that have a part of the scratch memory; tiles :
in all, down × across of each image; depth, columns : channels of data and results; bias, residual : 0 where there is
none; slope : of negative results; low, top : their limits; products, patch : where in a thread's part they begin, in
elements; lost : is made 1 where a result is not finite."""


@final
@dataclass(frozen=True, slots=True)
class Winograd:
    """The function of a whole convolution. tile : results of a tile, per axis; data : type of data, results and what is
    added, in memory
    """

    tile: int = FOUR.tile
    data: str = "float32"

    cost = 1

    def module(self, name: str, kind: Format, vector_bytes: int) -> str:
        """Return the text of the function and of its parts."""
        lanes = vector_bytes // kind.size
        tiling = TILINGS[self.tile]
        parts = [_driver(name, Writer(kind, lanes), self.data, tiling), patch(kind, lanes, self.data),
                 tile_of_data(kind, lanes, self.data, tiling),
                 _tile_out(Writer(kind, lanes), self.data, tiling)]  # fmt: skip
        return module([*parts, *(_rows(kind, lanes, height, tiling.square) for height in heights(lanes))])


def _tile_out(w: Writer, data: str, tiling: Tiling) -> Part:
    """One tile of a panel's filters from the points, with all that follows."""
    lanes, tile, points = w.width, tiling.tile, tiling.points
    held(w, tile * points)
    limits = [splat(w, f"%{name}", w.kind.name) for name in ("slope", "low", "top")]
    height = least(w, "%rows", str(tile))
    with loop(w, "u", 0, str(WIDE), lanes) as u:
        w.lines.append("  br i1 %biased, label %bias.load, label %bias.end")
        w.lines.append("bias.load:")
        loaded = load(w, at(w, "%bias", u))
        w.lines += ["  br label %bias.end", "bias.end:"]
        bias = w.put(f"phi {w.vector} [ zeroinitializer, %u ], [ {loaded}, %bias.load ]")
        start, target, more = at(w, "%products", u), at(w, "%out", u, data), at(w, "%residual", u, data)
        with loop(w, "j", 0, str(points)) as j:
            column, line = at(w, start, mul(w, j, WIDE)), at(w, "%held", mul(w, j, lanes))
            values = [load(w, at(w, column, i * points * WIDE)) for i in range(points)]
            for i, value in enumerate(from_points(w, tiling.results, values)):
                store(w, value, at(w, line, i * points * lanes))
        with loop(w, "i", 0, height) as i:
            line = at(w, "%held", mul(w, i, points * lanes))
            values = from_points(w, tiling.results, [load(w, at(w, line, j * lanes)) for j in range(points)])
            note_lost(w, values, "%lost")
            offset = mul(w, "%down", i)
            places = at(w, target, offset, data), at(w, more, offset, data)
            for j, value in enumerate(values):
                _finish(w, j, w.binary("fadd", value, bias), places, limits, data)
            w.lines += ["  br label %row.end", "row.end:"]
    w.lines.append("  ret void")
    one = w.kind.name
    return define(f"internal void @tile_out(ptr %products, ptr %out, ptr %residual, i64 %down, i64 %columns, "
                     f"i64 %rows, i64 %cols, ptr %bias, i1 %biased, i1 %added, {one} %slope, {one} %low, {one} %top, "
                     f"ptr %lost)", w)  # fmt: skip


def _finish(w: Writer, j: int, value: str, places: tuple[str, str], limits: Sequence[str], data: str) -> None:
    """Write the addition, the activation and the storing of one vector of results, where it lies in the image."""
    slope, low, top = limits
    w.lines += [f"  %at{j} = icmp sgt i64 %cols, {j}", f"  br i1 %at{j}, label %put{j}, label %row.end", f"put{j}:"]
    step = mul(w, "%columns", j)
    w.lines += [f"  br i1 %added, label %add{j}, label %sum{j}", f"add{j}:"]
    added = w.binary("fadd", value, pixel(w, data, at(w, places[1], step, data)))
    w.lines += [f"  br label %sum{j}", f"sum{j}:"]
    value = w.put(f"phi {w.vector} [ {value}, %put{j} ], [ {added}, %add{j} ]")
    value = w.choose("olt", value, w.number(0.0), w.binary("fmul", value, slope), value)
    value = w.choose("olt", value, low, low, value)
    value = w.choose("ogt", value, top, top, value)
    memory.store(w, data, memory.narrowed(w, data, value), at(w, places[0], step, data), None)


def _rows(kind: Format, lanes: int, height: int, square: int) -> Part:
    """The product of some rows and a panel."""
    w = Writer(kind, lanes)
    for r, row in enumerate(product(w, "entry", *spaced(w, "%data", height, "%step"), "1", ("%panel", WIDE))):
        for u, s in enumerate(row):
            store(w, s, at(w, "%result", r * square * WIDE + u * lanes))
    w.lines.append("  ret void")
    return define(f"internal void @rows{height}(ptr %data, i64 %step, ptr %panel, i64 %depth, ptr %result)", w)


def _driver(name: str, w: Writer, data: str, tiling: Tiling) -> Part:
    """The loop over blocks."""
    arguments(w, ARGUMENTS, ("data", "points", "out", "bias", "residual", "scratch"))
    w.lines += [
        "  %own = atomicrmw add ptr %taken.a, i64 1 monotonic",
        "  %own.at = mul i64 %own, %scratch_size",
        f"  %spread = getelementptr {w.kind.name}, ptr %scratch.p, i64 %own.at",
        f"  %product = getelementptr {w.kind.name}, ptr %spread, i64 %products",
        f"  %piece = getelementptr {w.kind.name}, ptr %spread, i64 %patch",
        *(
            line
            for name in ("slope", "low", "top")
            for line in (f"  %{name}.i = trunc i64 %{name} to i32", f"  %{name}.f = bitcast i32 %{name}.i to float")
        ),
        "  %added = icmp ne i64 %residual, 0",
        "  %biased = icmp ne i64 %bias, 0",
        f"  %row = add i64 %depth, {PAD}",
        "  %far = mul i64 %row, %block_tiles",
    ]
    fetch(w)
    w.lines += [
        "  %b.down = udiv i64 %b, %blocks_across",
        "  %b.across = urem i64 %b, %blocks_across",
        "  %t0 = mul i64 %b.down, %block_tiles",
        "  %p0 = mul i64 %b.across, %block_panels",
    ]
    t1 = least(w, add(w, "%t0", "%block_tiles"), "%tiles")
    p1 = least(w, add(w, "%p0", "%block_panels"), "%panels")
    count = w.put(f"sub i64 {t1}, %t0")
    with loop(w, "in", 0, count) as t:
        to_points(w, "in", add(w, "%t0", t), DATA, at(w, "%spread", mul(w, t, "%row")), "%far", data, tiling)
    with loop(w, "p", "%p0", p1) as p:
        _products(w, p, count, tiling.square)
        with loop(w, "back", 0, count) as t:
            _gather_tile(w, t, p, data, tiling)
    w.lines.append("  br label %fetch")
    return define(f"void @{name}(ptr %args)", w)


def _products(w: Writer, p: str, count: str, square: int) -> None:
    """Write the products at the points for one panel, two vectors of it at a time."""
    tall, short = heights(w.width)
    most = w.put(f"sub i64 {count}, {tall - short}")  # so many rows are worth the greater height
    size = mul(w, "%depth", WIDE)
    first = mul(w, p, square)
    with loop(w, "point", 0, str(square)) as point, loop(w, "part", 0, str(WIDE), 2 * w.width) as part:
        panel = at(w, at(w, "%points.p", mul(w, add(w, first, point), size)), part)
        rows = at(w, "%spread", mul(w, point, "%far"))
        to = at(w, at(w, "%product", mul(w, point, WIDE)), part)
        w.lines += ["  br label %tall", "tall:", "  %r = phi i64 [ 0, %part ], [ %r.n, %tall.do ]",
                    f"  %r.some = icmp slt i64 %r, {most}", "  br i1 %r.some, label %tall.do, label %short",
                    "tall.do:"]  # fmt: skip
        _some_rows(w, tall, "%r", rows, panel, to, square)
        w.lines += ["  br label %tall", "short:", "  %q = phi i64 [ %r, %tall ], [ %q.n, %short.do ]",
                    f"  %q.some = icmp slt i64 %q, {count}", "  br i1 %q.some, label %short.do, label %short.out",
                    "short.do:"]  # fmt: skip
        _some_rows(w, short, "%q", rows, panel, to, square)
        w.lines += ["  br label %short", "short.out:"]


def _some_rows(w: Writer, height: int, now: str, rows: str, panel: str, to: str, square: int) -> None:
    """Write the call for some rows from number `now` on, and the number of the next."""
    source, target = at(w, rows, mul(w, now, "%row")), at(w, to, mul(w, now, square * WIDE))
    w.lines += [f"  call void @rows{height}(ptr {source}, i64 %row, ptr {panel}, i64 %depth, ptr {target})",
                f"  {now}.n = add i64 {now}, {height}"]  # fmt: skip


def _gather_tile(w: Writer, t: str, p: str, data: str, tiling: Tiling) -> None:
    """Write the way of a tile back from the points."""
    image, y, x = place_of(w, add(w, "%t0", t), tiling.tile)
    pixel = add(w, mul(w, add(w, mul(w, image, "%out_high"), y), "%out_wide"), x)
    column = mul(w, p, WIDE)
    offset = add(w, mul(w, pixel, "%columns"), column)
    out, more = at(w, "%out.p", offset, data), at(w, "%residual.p", offset, data)
    source = at(w, "%product", mul(w, t, tiling.square * WIDE))
    line = mul(w, "%out_wide", "%columns")
    rows, cols = w.put(f"sub i64 %out_high, {y}"), w.put(f"sub i64 %out_wide, {x}")
    bias, one = at(w, "%bias.p", column), w.kind.name
    w.lines.append(f"  call void @tile_out(ptr {source}, ptr {out}, ptr {more}, i64 {line}, i64 %columns, i64 {rows}, "
                   f"i64 {cols}, ptr {bias}, i1 %biased, i1 %added, {one} %slope.f, {one} %low.f, {one} %top.f, "
                   f"ptr %lost.a)")  # fmt: skip
