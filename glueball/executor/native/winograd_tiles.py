"""Tiles of images on the way to Winograd's points: functions that the convolution and its weights' gradient share.

The one idea: 6 × 6 pixels of the data (a tile and what its results see) or 4 × 4 of a gradient become 36 values,
channels in vectors. A tile that reaches beyond its image is read from a patch with zeros around, so there is one way.

Not here: products at the points (winograd.py, winograd_gradient.py), weights (winograd_weights.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from ...ops.winograd import A_POINT as A
from ...ops.winograd import B_POINT as B
from ...ops.winograd import POINTS, TILE
from .phrases import Part, add, at, define, load, loop, mul, store
from .vector_math import Format, Writer

__all__ = ["PAD", "heights", "patch", "tile_of_data", "tile_of_gradient", "place_of", "Image", "DATA",
           "to_points", "note_lost"]  # fmt: skip

PAD = 16  # numbers between rows of spread data, so that they do not all meet in one set of the cache


def heights(lanes: int) -> tuple[int, int]:
    """Return how many rows of a product are kept in registers: as a rule, and for what is left."""
    return (12, 4) if lanes == 16 else (6, 2)


def _of_data(w: Writer, d: Sequence[str]) -> list[str]:
    """Write the way of six numbers to the points: coefficients of Π (x − q) over the other points q."""

    def pair(square: float, point: float) -> tuple[str, str]:
        even = w.fma(w.number(-square), d[2], d[4])
        odd = w.fma(w.number(-square), d[1], d[3])
        return w.fma(w.number(point), odd, even), w.fma(w.number(-point), odd, even)

    first = w.fma(w.number(-2.5), d[2], w.binary("fadd", d[0], d[4]))
    last = w.fma(w.number(-2.5), d[3], w.binary("fadd", d[1], d[5]))
    return [first, *pair(2.0, A), *pair(0.5, B), last]


def _of_gradient(w: Writer, g: Sequence[str]) -> list[str]:
    """Write the values at the points of a polynomial with four coefficients."""

    def pair(square: float, point: float) -> tuple[str, str]:
        even = w.fma(w.number(square), g[2], g[0])
        odd = w.fma(w.number(square), g[3], g[1])
        return w.fma(w.number(point), odd, even), w.fma(w.number(-point), odd, even)

    return [g[0], *pair(0.5, A), *pair(2.0, B), g[3]]


def patch(kind: Format, lanes: int) -> Part:
    """The function that copies size × size pixels, with zeros beyond the image; `step` : from pixel to pixel of it."""
    w = Writer(kind, lanes)
    with loop(w, "i", 0, "%size") as i:
        y = add(w, "%top", i)
        y_in = w.put(f"icmp ult i64 {y}, %high")
        with loop(w, "j", 0, "%size") as j:
            x = add(w, "%left", j)
            x_in = w.put(f"icmp ult i64 {x}, %wide")
            inside = w.put(f"and i1 {y_in}, {x_in}")
            pixel = mul(w, add(w, mul(w, y, "%wide"), x), "%step")
            to = at(w, "%patch", mul(w, add(w, mul(w, i, "%size"), j), "%channels"))
            w.lines += [f"  br i1 {inside}, label %copy, label %clear", "copy:"]
            source = at(w, "%image", pixel)
            with loop(w, "c", 0, "%channels", lanes) as c:
                store(w, load(w, at(w, source, c)), at(w, to, c))
            w.lines += ["  br label %next", "clear:"]
            with loop(w, "z", 0, "%channels", lanes) as c:
                store(w, "zeroinitializer", at(w, to, c))
            w.lines += ["  br label %next", "next:"]
    w.lines.append("  ret void")
    return define("internal void @patch(ptr %image, i64 %top, i64 %left, i64 %high, i64 %wide, i64 %step, "
                  "i64 %channels, ptr %patch, i64 %size)", w)  # fmt: skip


def _tile(kind: Format, lanes: int, name: str, size: int, spread: Callable[[Writer, Sequence[str]], list[str]]) -> Part:
    """The function that brings size × size pixels to the points; `far` from the values at one point to the next."""
    w = Writer(kind, lanes)
    rows = ["%pixels"]
    for _ in range(size - 1):
        rows.append(at(w, rows[-1], "%down"))
    steps = ["0", "%across", *(mul(w, "%across", j) for j in range(2, size))]
    with loop(w, "c", 0, "%channels", lanes) as c:
        starts = [at(w, row, c) for row in rows]
        columns = [spread(w, [load(w, at(w, start, step)) for start in starts]) for step in steps]
        out = at(w, "%spread", c)
        for i in range(POINTS):
            for value in spread(w, [column[i] for column in columns]):
                store(w, value, out)
                out = at(w, out, "%far")
    w.lines.append("  ret void")
    return define(f"internal void @{name}(ptr %pixels, i64 %down, i64 %across, i64 %channels, ptr %spread, i64 %far)",
                  w)  # fmt: skip


def tile_of_data(kind: Format, lanes: int) -> Part:
    """6 × 6 pixels."""
    return _tile(kind, lanes, "tile_of_data", POINTS, _of_data)


def tile_of_gradient(kind: Format, lanes: int) -> Part:
    """4 × 4 pixels."""
    return _tile(kind, lanes, "tile_of_gradient", TILE, _of_gradient)


def place_of(w: Writer, t: str) -> tuple[str, str, str]:
    """Write which image tile `t` belongs to, and the row and column of its first result: %down × %across tiles each."""
    each = mul(w, "%down", "%across")
    image, rest = w.put(f"udiv i64 {t}, {each}"), w.put(f"urem i64 {t}, {each}")
    y, x = w.put(f"udiv i64 {rest}, %across"), w.put(f"urem i64 {rest}, %across")
    return image, mul(w, y, TILE), mul(w, x, TILE)


@final
@dataclass(frozen=True, slots=True)
class Image:
    """Where tiles are read, in names of values.

    function : which brings them to the points, and `size` × `size` pixels
    data : address of the first channel; high, wide : of an image; step : from pixel to pixel; channels : that are read
    pads : rows and columns by which a tile begins before its first result; None: it does not
    """

    function: str
    size: int
    data: str
    high: str
    wide: str
    step: str
    channels: str
    pads: tuple[str, str] | None


DATA = Image("tile_of_data", POINTS, "%data.p", "%high", "%wide", "%depth", "%depth", ("%pad_high", "%pad_wide"))
"""The data of a convolution, by the names of its function's arguments."""


def to_points(w: Writer, name: str, tile: str, image: Image, to: str, far: str) -> None:
    """Write the way of a tile to the points, through %piece where it reaches beyond its image. name : of the loop that
    this is the first in, for labels
    """
    number, top, left = place_of(w, tile)
    if image.pads is not None:
        top, left = (w.put(f"sub i64 {start}, {pad}") for start, pad in zip((top, left), image.pads))
    line = mul(w, image.wide, image.step)
    start = at(w, image.data, mul(w, mul(w, number, image.high), line))
    inner = [w.put(f"icmp sge i64 {edge}, 0") for edge in (top, left)]
    inner += [w.put(f"icmp sle i64 {add(w, edge, image.size)}, {size}")
              for edge, size in ((top, image.high), (left, image.wide))]  # fmt: skip
    inside = inner[0]
    for each in inner[1:]:
        inside = w.put(f"and i1 {inside}, {each}")
    direct = at(w, start, mul(w, add(w, mul(w, top, image.wide), left), image.step))
    narrow = mul(w, image.channels, image.size)
    w.lines += [f"  br i1 {inside}, label %inner.{name}, label %edge.{name}", f"edge.{name}:",
                f"  call void @patch(ptr {start}, i64 {top}, i64 {left}, i64 {image.high}, i64 {image.wide}, "
                f"i64 {image.step}, i64 {image.channels}, ptr %piece, i64 {image.size})",
                f"  br label %inner.{name}", f"inner.{name}:"]  # fmt: skip

    def either(kind: str, one: str, other: str) -> str:
        return w.put(f"phi {kind} [ {one}, %{name} ], [ {other}, %edge.{name} ]")

    pixels, down = either("ptr", direct, "%piece"), either("i64", line, narrow)
    across = either("i64", image.step, image.channels)
    w.lines.append(f"  call void @{image.function}(ptr {pixels}, i64 {down}, i64 {across}, i64 {image.channels}, "
                   f"ptr {to}, i64 {far})")  # fmt: skip


def note_lost(w: Writer, name: str, values: Sequence[str], flag: str) -> None:
    """Write the setting of a flag where one of some vectors is not finite. name : for labels"""
    total = w.binary("fmul", values[0], w.number(0.0))
    for value in values[1:]:
        total = w.fma(value, w.number(0.0), total)
    some = w.put(f"fcmp uno {w.vector} {total}, {total}")
    any_ = w.put(f"icmp ne i{w.width} {w.put(f'bitcast {w.mask} {some} to i{w.width}')}, 0")
    w.lines += [f"  br i1 {any_}, label %lost{name}, label %kept{name}", f"lost{name}:", f"  store i64 1, ptr {flag}",
                f"  br label %kept{name}", f"kept{name}:"]  # fmt: skip
