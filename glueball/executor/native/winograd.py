"""Winograd's convolution F(4×4, 3×3): 36 multiplications for 16 results of a 3×3 kernel, where the sum itself has 144.

The one idea: ops/winograd.py says what is computed. Here data (6×6 pixels, a tile) are brought to the points
("spread"), multiplied there by what the weights are at the points, and brought back ("gathered"): 36 products
(tiles × channels)·(channels × filters). One function does all three for blocks of tiles, so that what lies between
stays in the processor's cache; channels lie side by side (N, H, W, C) and are what vectors hold. It is called like
segments (emit.py), with `ARGUMENTS`; in a thread's scratch memory are

    spread data (36, tiles of a block, C + 16) · products of a panel (tiles of a block, 36, WIDE) · a patch (6, 6, C)

Results that are not finite before anything is added set the argument `lost`: the caller then takes the plain sum. C is
a multiple of 16, filters of WIDE. Not here: what is done so (passes/winograd.py), the call (convolve.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from ...ops.winograd import A_POINT as A
from ...ops.winograd import B_POINT as B
from ...ops.winograd import POINTS, SQUARE, TILE, WIDE
from .phrases import Part, add, arguments, at, define, fetch, least, load, loop, module, mul, splat, store
from .products import product, spaced
from .vector_math import Format, Writer
from .winograd_tiles import DATA, PAD, heights, note_lost, patch, place_of, tile_of_data, to_points

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


def _gather(w: Writer, m: Sequence[str]) -> list[str]:
    """Write the way back from the points: four sums Σ pᵏ·m(p)."""
    even = [w.binary("fadd", m[1], m[2]), w.binary("fadd", m[3], m[4])]
    odd = [w.binary("fsub", m[1], m[2]), w.binary("fsub", m[3], m[4])]
    zero = w.binary("fadd", w.binary("fadd", m[0], even[0]), even[1])
    one = w.fma(w.number(A), odd[0], w.binary("fmul", odd[1], w.number(B)))
    two = w.fma(w.number(0.5), even[0], w.binary("fadd", even[1], even[1]))
    three = w.fma(w.number(0.5 * A), odd[0], w.fma(w.number(2 * B), odd[1], m[5]))
    return [zero, one, two, three]


@final
@dataclass(frozen=True, slots=True)
class Winograd:
    """The function of a whole convolution."""

    cost = 1

    def module(self, name: str, kind: Format, vector_bytes: int) -> str:
        """Return the text of the function and of its parts."""
        lanes = vector_bytes // kind.size
        parts = [_driver(name, kind, lanes), patch(kind, lanes), tile_of_data(kind, lanes), _tile_out(kind, lanes)]
        return module([*parts, *(_rows(kind, lanes, height) for height in heights(lanes))])


def _tile_out(kind: Format, lanes: int) -> Part:
    """One tile of a panel's filters from the points, with all that follows."""
    w = Writer(kind, lanes)
    limits = [splat(w, f"%{name}", kind.name) for name in ("slope", "low", "top")]
    with loop(w, "u", 0, str(WIDE), lanes) as u:
        w.lines.append("  br i1 %biased, label %bias.load, label %bias.end")
        w.lines.append("bias.load:")
        loaded = load(w, at(w, "%bias", u))
        w.lines += ["  br label %bias.end", "bias.end:"]
        bias = w.put(f"phi {w.vector} [ zeroinitializer, %u ], [ {loaded}, %bias.load ]")
        start, target, more = at(w, "%products", u), at(w, "%out", u), at(w, "%residual", u)
        columns = [_gather(w, [load(w, at(w, start, (i * POINTS + j) * WIDE)) for i in range(POINTS)])
                   for j in range(POINTS)]  # fmt: skip
        for i in range(TILE):
            w.lines += [f"  %row{i} = icmp sgt i64 %rows, {i}", f"  br i1 %row{i}, label %do{i}, label %done",
                        f"do{i}:"]  # fmt: skip
            values = _gather(w, [column[i] for column in columns])
            note_lost(w, str(i), values, "%lost")
            offset = mul(w, "%down", i)
            places = at(w, target, offset), at(w, more, offset)
            for j, value in enumerate(values):
                _finish(w, f"{i}{j}", f"end{i}", w.binary("fadd", value, bias), places, limits, j)
            w.lines += [f"  br label %end{i}", f"end{i}:"]
        w.lines += ["  br label %done", "done:"]
    w.lines.append("  ret void")
    one = kind.name
    return define(f"internal void @tile_out(ptr %products, ptr %out, ptr %residual, i64 %down, i64 %columns, "
                     f"i64 %rows, i64 %cols, ptr %bias, i1 %biased, i1 %added, {one} %slope, {one} %low, {one} %top, "
                     f"ptr %lost)", w)  # fmt: skip


def _finish(w: Writer, name: str, out: str, value: str, places: tuple[str, str], limits: Sequence[str], j: int) -> None:
    """Write the addition, the activation and the storing of one vector of results, where it lies in the image."""
    slope, low, top = limits
    w.lines += [f"  %at{name} = icmp sgt i64 %cols, {j}", f"  br i1 %at{name}, label %put{name}, label %{out}",
                f"put{name}:"]  # fmt: skip
    step = mul(w, "%columns", j)
    w.lines += [f"  br i1 %added, label %add{name}, label %sum{name}", f"add{name}:"]
    added = w.binary("fadd", value, load(w, at(w, places[1], step)))
    w.lines += [f"  br label %sum{name}", f"sum{name}:"]
    value = w.put(f"phi {w.vector} [ {value}, %put{name} ], [ {added}, %add{name} ]")
    value = w.choose("olt", value, w.number(0.0), w.binary("fmul", value, slope), value)
    value = w.choose("olt", value, low, low, value)
    store(w, w.choose("ogt", value, top, top, value), at(w, places[0], step))


def _rows(kind: Format, lanes: int, height: int) -> Part:
    """The product of some rows and a panel."""
    w = Writer(kind, lanes)
    for r, row in enumerate(product(w, "entry", *spaced(w, "%data", height, "%step"), "1", ("%panel", WIDE))):
        for u, s in enumerate(row):
            store(w, s, at(w, "%result", r * SQUARE * WIDE + u * lanes))
    w.lines.append("  ret void")
    return define(f"internal void @rows{height}(ptr %data, i64 %step, ptr %panel, i64 %depth, ptr %result)", w)


def _driver(name: str, kind: Format, lanes: int) -> Part:
    """The loop over blocks."""
    w = Writer(kind, lanes)
    arguments(w, ARGUMENTS, ("data", "points", "out", "bias", "residual", "scratch"))
    w.lines += [
        "  %own = atomicrmw add ptr %taken.a, i64 1 monotonic",
        "  %own.at = mul i64 %own, %scratch_size",
        f"  %spread = getelementptr {kind.name}, ptr %scratch.p, i64 %own.at",
        f"  %product = getelementptr {kind.name}, ptr %spread, i64 %products",
        f"  %piece = getelementptr {kind.name}, ptr %spread, i64 %patch",
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
        to_points(w, "in", add(w, "%t0", t), DATA, at(w, "%spread", mul(w, t, "%row")), "%far")
    with loop(w, "p", "%p0", p1) as p:
        _products(w, p, count)
        with loop(w, "back", 0, count) as t:
            _gather_tile(w, t, p)
    w.lines.append("  br label %fetch")
    return define(f"void @{name}(ptr %args)", w)


def _products(w: Writer, p: str, count: str) -> None:
    """Write the products at the points for one panel, two vectors of it at a time."""
    tall, short = heights(w.width)
    most = w.put(f"sub i64 {count}, {tall - short}")  # so many rows are worth the greater height
    size = mul(w, "%depth", WIDE)
    first = mul(w, p, SQUARE)
    with loop(w, "point", 0, str(SQUARE)) as point, loop(w, "part", 0, str(WIDE), 2 * w.width) as part:
        panel = at(w, at(w, "%points.p", mul(w, add(w, first, point), size)), part)
        rows = at(w, "%spread", mul(w, point, "%far"))
        to = at(w, at(w, "%product", mul(w, point, WIDE)), part)
        w.lines += ["  br label %tall", "tall:", "  %r = phi i64 [ 0, %part ], [ %r.n, %tall.do ]",
                    f"  %r.some = icmp slt i64 %r, {most}", "  br i1 %r.some, label %tall.do, label %short",
                    "tall.do:"]  # fmt: skip
        _some_rows(w, tall, "%r", rows, panel, to)
        w.lines += ["  br label %tall", "short:", "  %q = phi i64 [ %r, %tall ], [ %q.n, %short.do ]",
                    f"  %q.some = icmp slt i64 %q, {count}", "  br i1 %q.some, label %short.do, label %short.out",
                    "short.do:"]  # fmt: skip
        _some_rows(w, short, "%q", rows, panel, to)
        w.lines += ["  br label %short", "short.out:"]


def _some_rows(w: Writer, height: int, now: str, rows: str, panel: str, to: str) -> None:
    """Write the call for some rows from number `now` on, and the number of the next."""
    source, target = at(w, rows, mul(w, now, "%row")), at(w, to, mul(w, now, SQUARE * WIDE))
    w.lines += [f"  call void @rows{height}(ptr {source}, i64 %row, ptr {panel}, i64 %depth, ptr {target})",
                f"  {now}.n = add i64 {now}, {height}"]  # fmt: skip


def _gather_tile(w: Writer, t: str, p: str) -> None:
    """Write the way of a tile back from the points."""
    image, y, x = place_of(w, add(w, "%t0", t))
    pixel = add(w, mul(w, add(w, mul(w, image, "%out_high"), y), "%out_wide"), x)
    column = mul(w, p, WIDE)
    offset = add(w, mul(w, pixel, "%columns"), column)
    out, more = at(w, "%out.p", offset), at(w, "%residual.p", offset)
    source = at(w, "%product", mul(w, t, SQUARE * WIDE))
    line = mul(w, "%out_wide", "%columns")
    rows, cols = w.put(f"sub i64 %out_high, {y}"), w.put(f"sub i64 %out_wide, {x}")
    bias, one = at(w, "%bias.p", column), w.kind.name
    w.lines.append(f"  call void @tile_out(ptr {source}, ptr {out}, ptr {more}, i64 {line}, i64 %columns, i64 {rows}, "
                   f"i64 {cols}, ptr {bias}, i1 %biased, i1 %added, {one} %slope.f, {one} %low.f, {one} %top.f, "
                   f"ptr %lost.a)")  # fmt: skip
