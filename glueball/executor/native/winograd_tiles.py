"""Tiles of images on the way to Winograd's points: functions that the convolution and its weights' gradient share.

The one idea: the pixels that a tile of results sees, or a tile of a gradient, become values at the points, channels in
vectors: first all columns, then all rows. A tile that reaches beyond its image is read from a patch with zeros around,
so there is one way. Pixels may be of any type in memory (memory.py); values at the points are what is computed in.

Not here: products at the points (winograd.py, winograd_gradient.py), weights (winograd_weights.py), the sums themselves
(points.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from ...base.tilings import Rows, Tiling
from . import memory
from .phrases import Part, add, at, define, load, loop, mul, store
from .points import at_points
from .vector_math import Format, Writer

__all__ = ["PAD", "heights", "held", "pixel", "patch", "tile_of_data", "tile_of_gradient", "place_of", "Image", "DATA",
           "to_points", "note_lost"]  # fmt: skip

PAD = 16  # numbers between rows of spread data, so that they do not all meet in one set of the cache


def heights(lanes: int) -> tuple[int, int]:
    """Return how many rows of a product are kept in registers: as a rule, and for what is left."""
    return (12, 4) if lanes == 16 else (6, 2)


def held(w: Writer, vectors: int) -> None:
    """Write that a function has room for so many vectors, at %held."""
    w.lines.append(f"  %held = alloca {w.kind.name}, i64 {vectors * w.width}, align {w.width * w.kind.size}")


def pixel(w: Writer, kind: str, place: str) -> str:
    """Write the loading of a vector of an array, of the type `kind` in memory."""
    return memory.widened(w, kind, memory.load(w, kind, place, None))


def patch(kind: Format, lanes: int, data: str) -> Part:
    """The function that copies size × size pixels, with zeros beyond the image; `step` : from pixel to pixel of it."""
    w = Writer(kind, lanes)
    with loop(w, "i", 0, "%size") as i:
        y = add(w, "%top", i)
        y_in = w.put(f"icmp ult i64 {y}, %high")
        with loop(w, "j", 0, "%size") as j:
            x = add(w, "%left", j)
            x_in = w.put(f"icmp ult i64 {x}, %wide")
            inside = w.put(f"and i1 {y_in}, {x_in}")
            place = mul(w, add(w, mul(w, y, "%wide"), x), "%step")
            to = at(w, "%patch", mul(w, add(w, mul(w, i, "%size"), j), "%channels"), data)
            w.lines += [f"  br i1 {inside}, label %copy, label %clear", "copy:"]
            source = at(w, "%image", place, data)
            with loop(w, "c", 0, "%channels", lanes) as c:
                found = memory.load(w, data, at(w, source, c, data), None)
                memory.store(w, data, found, at(w, to, c, data), None)
            w.lines += ["  br label %next", "clear:"]
            with loop(w, "z", 0, "%channels", lanes) as c:
                memory.store(w, data, "zeroinitializer", at(w, to, c, data), None)
            w.lines += ["  br label %next", "next:"]
    w.lines.append("  ret void")
    return define("internal void @patch(ptr %image, i64 %top, i64 %left, i64 %high, i64 %wide, i64 %step, "
                  "i64 %channels, ptr %patch, i64 %size)", w)  # fmt: skip


def _tile(kind: Format, lanes: int, data: str, name: str, rows: Rows) -> Part:
    """The function that brings size × size pixels to the points; `far` from the values at one point to the next."""
    w = Writer(kind, lanes)
    size = len(rows[0])
    held(w, size * len(rows))
    downs = [mul(w, "%down", i) for i in range(size)]
    with loop(w, "c", 0, "%channels", lanes) as c:
        start = at(w, "%pixels", c, data)
        with loop(w, "j", 0, str(size)) as j:
            column = at(w, start, mul(w, j, "%across"), data)
            values = [pixel(w, data, at(w, column, down, data)) for down in downs]
            to = at(w, "%held", mul(w, j, lanes))
            for i, value in enumerate(at_points(w, rows, values)):
                store(w, value, at(w, to, i * size * lanes))
        first = at(w, "%spread", c)
        with loop(w, "i", 0, str(len(rows))) as i:
            line = at(w, "%held", mul(w, i, size * lanes))
            out = at(w, first, mul(w, mul(w, i, len(rows)), "%far"))
            for value in at_points(w, rows, [load(w, at(w, line, j * lanes)) for j in range(size)]):
                store(w, value, out)
                out = at(w, out, "%far")
    w.lines.append("  ret void")
    return define(f"internal void @{name}(ptr %pixels, i64 %down, i64 %across, i64 %channels, ptr %spread, i64 %far)",
                  w)  # fmt: skip


def tile_of_data(kind: Format, lanes: int, data: str, tiling: Tiling) -> Part:
    """The pixels that a tile of results sees."""
    return _tile(kind, lanes, data, "tile_of_data", tiling.data)


def tile_of_gradient(kind: Format, lanes: int, data: str, tiling: Tiling) -> Part:
    """A tile of results' gradients."""
    return _tile(kind, lanes, data, "tile_of_gradient", tiling.results)


def place_of(w: Writer, t: str, tile: int) -> tuple[str, str, str]:
    """Write which image tile `t` belongs to, and the row and column of its first result: %down × %across tiles each."""
    each = mul(w, "%down", "%across")
    image, rest = w.put(f"udiv i64 {t}, {each}"), w.put(f"urem i64 {t}, {each}")
    y, x = w.put(f"udiv i64 {rest}, %across"), w.put(f"urem i64 {rest}, %across")
    return image, mul(w, y, tile), mul(w, x, tile)


@final
@dataclass(frozen=True, slots=True)
class Image:
    """Where tiles are read, in names of values.

    function : which brings them to the points
    data : address of the first channel; high, wide : of an image; step : from pixel to pixel; channels : that are read
    pads : rows and columns by which a tile begins before its first result; None: it does not, and sees no more
    """

    function: str
    data: str
    high: str
    wide: str
    step: str
    channels: str
    pads: tuple[str, str] | None


DATA = Image("tile_of_data", "%data.p", "%high", "%wide", "%depth", "%depth", ("%pad_high", "%pad_wide"))
"""The data of a convolution, by the names of its function's arguments."""


def to_points(w: Writer, name: str, tile: str, image: Image, to: str, far: str, kind: str, tiling: Tiling) -> None:
    """Write the way of a tile to the points, through %piece where it reaches beyond its image. name : of the loop that
    this is the first in, for labels; kind : of the image in memory
    """
    number, top, left = place_of(w, tile, tiling.tile)
    size = tiling.tile
    if image.pads is not None:
        size = tiling.points
        top, left = (w.put(f"sub i64 {start}, {pad}") for start, pad in zip((top, left), image.pads))
    line = mul(w, image.wide, image.step)
    start = at(w, image.data, mul(w, mul(w, number, image.high), line), kind)
    inner = [w.put(f"icmp sge i64 {edge}, 0") for edge in (top, left)]
    inner += [w.put(f"icmp sle i64 {add(w, edge, size)}, {limit}")
              for edge, limit in ((top, image.high), (left, image.wide))]  # fmt: skip
    inside = inner[0]
    for each in inner[1:]:
        inside = w.put(f"and i1 {inside}, {each}")
    direct = at(w, start, mul(w, add(w, mul(w, top, image.wide), left), image.step), kind)
    narrow = mul(w, image.channels, size)
    w.lines += [f"  br i1 {inside}, label %inner.{name}, label %edge.{name}", f"edge.{name}:",
                f"  call void @patch(ptr {start}, i64 {top}, i64 {left}, i64 {image.high}, i64 {image.wide}, "
                f"i64 {image.step}, i64 {image.channels}, ptr %piece, i64 {size})",
                f"  br label %inner.{name}", f"inner.{name}:"]  # fmt: skip

    def either(what: str, one: str, other: str) -> str:
        return w.put(f"phi {what} [ {one}, %{name} ], [ {other}, %edge.{name} ]")

    pixels, down = either("ptr", direct, "%piece"), either("i64", line, narrow)
    across = either("i64", image.step, image.channels)
    w.lines.append(f"  call void @{image.function}(ptr {pixels}, i64 {down}, i64 {across}, i64 {image.channels}, "
                   f"ptr {to}, i64 {far})")  # fmt: skip


def note_lost(w: Writer, values: Sequence[str], flag: str) -> None:
    """Write the setting of a flag where one of the numbers in some vectors is not finite: times 0, only those do not
    vanish.
    """
    total = w.binary("fmul", values[0], w.number(0.0))
    for value in values[1:]:
        total = w.fma(value, w.number(0.0), total)
    some = w.put(f"fcmp uno {w.vector} {total}, {total}")
    any_ = w.put(f"icmp ne i{w.width} {w.put(f'bitcast {w.mask} {some} to i{w.width}')}, 0")
    w.lines += [f"  br i1 {any_}, label %lost.any, label %kept", "lost.any:", f"  store i64 1, ptr {flag}",
                "  br label %kept", "kept:"]  # fmt: skip
