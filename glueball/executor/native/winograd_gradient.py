"""The gradient of 3×3 kernels by Winograd's way: sums over all tiles of data and results' gradients at the points.

The one idea: what the convolution multiplies at a point, its gradient multiplies there, too: products
(channels × tiles)·(tiles × filters), with data brought to the points as before and gradients by the transpose of the
way back. Rows of a product are channels, which lie side by side in spread data, so nothing has to be put in order. The
sums then go from the points to the weights (winograd_weights.py). Called like segments (emit.py), with `ARGUMENTS`; in
a thread's scratch memory are

    spread data (points², tiles of a block, C + 16) · spread gradients of a panel (points², tiles of a block, WIDE)
    · a patch

    sums: (parts, panels, points², C, WIDE): threads share tiles or panels out, and a part of the tiles has its own
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from ...base.tilings import FOUR, TILINGS, Tiling
from ...ops.winograd import WIDE
from .memory import MEMORY
from .phrases import Part, add, arguments, at, define, fetch, least, load, loop, module, mul, store
from .products import product
from .vector_math import Format, Writer
from .winograd_tiles import DATA, PAD, Image, heights, patch, tile_of_data, tile_of_gradient, to_points

__all__ = ["WinogradGradient", "ARGUMENTS"]

ARGUMENTS = (
    "taken", "tiles", "part_tiles", "block_tiles", "block_panels", "blocks", "blocks_across", "panels", "depth",
    "data", "high", "wide", "pad_high", "pad_wide", "down", "across", "grad", "out_high", "out_wide", "columns",
    "sums", "part_size", "scratch", "scratch_size", "gradients", "patch",
)  # fmt: skip
"""Names of the arguments after the counter of blocks; see winograd.py. part_tiles : tiles that a block adds up, in
steps of block_tiles; part_size : of sums, in elements; gradients : where in scratch memory spread gradients begin."""

_GRADIENT = Image("tile_of_gradient", "%panel.grad", "%out_high", "%out_wide", "%columns", str(WIDE), None)


@final
@dataclass(frozen=True, slots=True)
class WinogradGradient:
    """The function of the sums. tile : results of a tile, per axis; data : type of data and gradients in memory"""

    tile: int = FOUR.tile
    data: str = "float32"

    cost = 1

    def module(self, name: str, kind: Format, vector_bytes: int) -> str:
        """Return the text of the function and of its parts."""
        lanes = vector_bytes // kind.size
        tiling = TILINGS[self.tile]
        tiles = [make(kind, lanes, self.data, tiling) for make in (tile_of_data, tile_of_gradient)]
        tiles.append(patch(kind, lanes, self.data))
        tiles += [_sums(kind, lanes, height) for height in heights(lanes)]
        return module([_driver(name, Writer(kind, lanes), self.data, tiling), *tiles])


def _sums(kind: Format, lanes: int, height: int) -> Part:
    """Some rows of a product, added to what is there but at first."""
    w = Writer(kind, lanes)
    rows = [("x", str(r or "")) for r in range(height)]
    sums = product(w, "entry", {"x": "%data"}, rows, "%step", ("%grad", WIDE))
    w.lines.append("  br i1 %fresh, label %first, label %later")
    for label in ("first", "later"):
        w.lines.append(f"{label}:")
        for r, row in enumerate(sums):
            for u, s in enumerate(row):
                place = at(w, "%result", r * WIDE + u * lanes)
                store(w, s if label == "first" else w.binary("fadd", s, load(w, place)), place)
        w.lines.append("  ret void")
    return define(f"internal void @sums{height}(ptr %data, i64 %step, ptr %grad, i64 %depth, ptr %result, i1 %fresh)",
                  w)  # fmt: skip


def _driver(name: str, w: Writer, data: str, tiling: Tiling) -> Part:
    """The loop over blocks, and in each over tiles and panels."""
    arguments(w, ARGUMENTS, ("data", "grad", "sums", "scratch"))
    w.lines += [
        "  %own = atomicrmw add ptr %taken.a, i64 1 monotonic",
        "  %own.at = mul i64 %own, %scratch_size",
        f"  %spread = getelementptr {w.kind.name}, ptr %scratch.p, i64 %own.at",
        f"  %spread.grad = getelementptr {w.kind.name}, ptr %spread, i64 %gradients",
        f"  %piece = getelementptr {w.kind.name}, ptr %spread, i64 %patch",
        f"  %row = add i64 %depth, {PAD}",
        "  %far = mul i64 %row, %block_tiles",
        f"  %far.grad = mul i64 %block_tiles, {WIDE}",
    ]
    fetch(w)
    part, across = w.put("udiv i64 %b, %blocks_across"), w.put("urem i64 %b, %blocks_across")
    start, first = mul(w, part, "%part_tiles"), mul(w, across, "%block_panels")
    end = least(w, add(w, start, "%part_tiles"), "%tiles")
    last = least(w, add(w, first, "%block_panels"), "%panels")
    sums = at(w, "%sums.p", mul(w, part, "%part_size"))
    w.lines += ["  br label %steps", "steps:", f"  %t0 = phi i64 [ {start}, %block ], [ %t0.n, %p.out ]",
                "  %t0.n = add i64 %t0, %block_tiles", f"  %t0.some = icmp slt i64 %t0, {end}",
                "  br i1 %t0.some, label %step.do, label %fetch", "step.do:",
                f"  %fresh = icmp eq i64 %t0, {start}"]  # fmt: skip
    count = w.put(f"sub i64 {least(w, '%t0.n', end)}, %t0")
    with loop(w, "in", 0, count) as t:
        to_points(w, "in", add(w, "%t0", t), DATA, at(w, "%spread", mul(w, t, "%row")), "%far", data, tiling)
    with loop(w, "p", first, last) as p:
        w.lines.append(f"  %panel.grad = getelementptr {MEMORY[data].raw}, ptr %grad.p, i64 {mul(w, p, WIDE)}")
        with loop(w, "grads", 0, count) as t:
            to = at(w, "%spread.grad", mul(w, t, WIDE))
            to_points(w, "grads", add(w, "%t0", t), _GRADIENT, to, "%far.grad", data, tiling)
        _products(w, p, count, sums, tiling.square)
    w.lines.append("  br label %steps")
    return define(f"void @{name}(ptr %args)", w)


def _products(w: Writer, p: str, count: str, sums: str, square: int) -> None:
    """Write the products at the points for one panel, two vectors of it at a time."""
    tall, short = heights(w.width)
    first = mul(w, p, square)
    with loop(w, "point", 0, str(square)) as point, loop(w, "part", 0, str(WIDE), 2 * w.width) as part:
        rows = at(w, "%spread", mul(w, point, "%far"))
        panel = at(w, at(w, "%spread.grad", mul(w, point, "%far.grad")), part)
        to = at(w, at(w, sums, mul(w, mul(w, add(w, first, point), "%depth"), WIDE)), part)
        ways = (("tall", tall, "%r", "0", "part"), ("short", short, "%q", "%r", "tall"))
        for label, height, now, begin, before in ways:
            w.lines += [
                *([f"  br label %{label}"] if label == "tall" else []),
                f"{label}:",
                f"  {now} = phi i64 [ {begin}, %{before} ], [ {now}.n, %{label}.do ]",
                f"  {now}.n = add i64 {now}, {height}",
                f"  {now}.some = icmp sle i64 {now}.n, %depth",
                f"  br i1 {now}.some, label %{label}.do, label %{'short' if label == 'tall' else 'short.out'}",
                f"{label}.do:",
            ]
            source, target = at(w, rows, now), at(w, to, mul(w, now, WIDE))
            w.lines += [f"  call void @sums{height}(ptr {source}, i64 %row, ptr {panel}, i64 {count}, ptr {target}, "
                        "i1 %fresh)", f"  br label %{label}"]  # fmt: skip
        w.lines.append("short.out:")
