"""Products of a few rows with a weight that was put in order beforehand: the packing, and the product.

The one idea: a library spends most of a product of few rows on bringing the weight into the order that its inner loop
wants, each time anew. Where many products share a weight (the steps of an unrolled cell) that is done once: panels of
as many columns as two vectors hold, row after row. The product reads a panel from front to back and keeps the results
of `height` rows in registers; the last rows of a product overlap those before them, so there is no other height.
Steps are arguments, so rows that are columns of panels themselves (a turned operand) are read by the same code.

Both are called like segments (emit.py: `void f(int64 *arguments)`, the first a counter of blocks), with arguments

    Panels:  1 blocks · 2 panels of a block · 3 panels · 4 depth K · 5 columns N · 6 address, 7 step of the weight
             8 address of the panels
    FewRows: 1 blocks · 2 panels of a block · 3 panels · 4 depth K · 5 columns N · 6 rows M · 7 address of the rows
             8 step from row to row, 9 along the depth, 10 from one group of 2 · lanes rows to the next
             11 first row of the last tile · 12 address of the panels · 13 address, 14 row stride of the result

A panel has ⌈K / lanes⌉ · lanes rows of 2 · lanes numbers (`panel_size`), so that it is written in whole squares.

Not here: which products are done so (jit/pack.py), who fills in the arguments (jit/encode.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from .memory import load, store
from .phrases import arguments, at, fetch, first_lanes, function
from .products import VECTORS, product, spaced
from .vector_math import Format, Writer

__all__ = ["SIDE", "Panels", "FewRows", "best_height", "heights", "turned_height", "panel_size"]

SIDE = 4
"""Of the squares in which a turned weight is put in order: numbers of 16 bytes, at most."""
_HEIGHTS = (1, 2, 4, 6, 8, 10, 12)  # few: another number of rows should find code that is there
_POINTERS = ("data", "panels", "result", "weight")


def best_height(rows: int, vector_bytes: int) -> int:
    """Return how many rows are kept in registers: of a few heights the one whose tiles take the least time.

    >>> best_height(20, 64), best_height(64, 64), best_height(20, 32), best_height(3, 64)
    (10, 8, 4, 2)
    """
    least = 2 if vector_bytes == 64 else 4  # rows that hide how long an addition takes

    def time(height: int) -> tuple[int, int]:  # reading the panel takes as long as one row
        return -(-rows // height) * (max(height, least) + 1), -height

    return min((height for height in heights(vector_bytes) if height <= rows), key=time)


def heights(vector_bytes: int) -> tuple[int, ...]:
    """Return all that `best_height` may return: those for which there are registers.

    >>> heights(32)
    (1, 2, 4, 6)
    """
    most = 12 if vector_bytes == 64 else 6
    return tuple(height for height in _HEIGHTS if height <= most)


def turned_height(vector_bytes: int) -> int:
    """Return how many rows are kept in registers where they are columns of panels; it divides a panel's width.

    >>> turned_height(64), turned_height(16)
    (8, 4)
    """
    return 8 if vector_bytes == 64 else 4


def panel_size(depth: int, columns: int, lanes: int) -> tuple[int, int]:
    """Return how many panels a weight takes, and how many numbers each.

    >>> panel_size(20, 100, 16)
    (4, 1024)
    """
    return -(-columns // (VECTORS * lanes)), -(-depth // lanes) * lanes * VECTORS * lanes


def _own(kind: Format) -> str:
    return "float32" if kind.size == 4 else "float64"


def _each_panel(w: Writer) -> None:
    """Write the loop over blocks and over their panels: %p is its number, %panel its address, %column its first one."""
    lanes = w.width
    w.lines += [
        f"  %deep.1 = add i64 %depth, {lanes - 1}",
        f"  %deep = and i64 %deep.1, {-lanes}",
        f"  %size = mul i64 %deep, {VECTORS * lanes}",
    ]
    fetch(w)
    w.lines += [
        "  %p0 = mul i64 %b, %each",
        "  %p1.1 = add i64 %p0, %each",
        "  %p1 = call i64 @llvm.smin.i64(i64 %p1.1, i64 %many)",
        "  br label %next",
        "next:",
        "  %p = phi i64 [ %p0, %block ], [ %p.n, %over ]",
        "  %p.n = add i64 %p, 1",
        "  %p.more = icmp slt i64 %p, %p1",
        "  br i1 %p.more, label %begin, label %fetch",
        "over:",
        "  br label %next",
        "begin:",
        "  %p.at = mul i64 %p, %size",
        f"  %panel = getelementptr {w.kind.name}, ptr %panels.p, i64 %p.at",
        f"  %column = mul i64 %p, {VECTORS * lanes}",
        "  %there = sub i64 %columns, %column",
        f"  %whole = icmp sge i64 %there, {VECTORS * lanes}",
    ]
    w.declared.add("declare i64 @llvm.smin.i64(i64, i64)")


@final
@dataclass(frozen=True, slots=True)
class Panels:
    """Puts a weight in order: element (k, j) is weight[k · step + j], or where `turned` weight[j · step + k]; that
    takes a depth of at least `SIDE`.
    """

    turned: bool

    cost = 1

    def module(self, name: str, kind: Format, vector_bytes: int) -> str:
        """Return the text of the function."""
        w = Writer(kind, vector_bytes // kind.size)
        arguments(w, ("blocks", "each", "many", "depth", "columns", "weight", "step", "panels"), _POINTERS)
        _each_panel(w)
        if self.turned:
            self._squares(w)
        else:
            self._rows(w)
        return function(name, w)

    def _rows(self, w: Writer) -> None:
        """Write the copying of a panel's rows."""
        masks = [first_lanes(w, "%there", u * w.width) for u in range(VECTORS)]
        source = at(w, "%weight.p", "%column")
        w.lines += [
            "  br label %row",
            "row:",
            "  %k = phi i64 [ 0, %begin ], [ %k.n, %row.end ]",
            "  %k.at = mul i64 %k, %step",
            f"  %from = getelementptr {w.kind.name}, ptr {source}, i64 %k.at",
            f"  %k.to = mul i64 %k, {VECTORS * w.width}",
            f"  %to = getelementptr {w.kind.name}, ptr %panel, i64 %k.to",
        ]
        for chosen in _cases(w, masks, "row.end", w.width * w.kind.size == 64):
            for u, mask in enumerate(chosen):
                found = load(w, _own(w.kind), at(w, "%from", u * w.width), mask)
                store(w, _own(w.kind), found, at(w, "%to", u * w.width), None)
        w.lines += ["row.end:", "  %k.n = add i64 %k, 1", "  %k.more = icmp slt i64 %k.n, %depth",
                    "  br i1 %k.more, label %row, label %over"]  # fmt: skip

    def _squares(self, w: Writer) -> None:
        """Write the turning of squares as wide as 16 bytes, as many at once as a vector holds. The last ones along the
        depth overlap those before them; beyond the last column numbers of that one are repeated.
        """
        side = 16 // w.kind.size
        w.lines += [
            f"  %last = sub i64 %depth, {side}",
            "  br label %square",
            "square:",
            "  %u = phi i64 [ 0, %begin ], [ %u.2, %square.end ]",
            "  %k.0 = phi i64 [ 0, %begin ], [ %k.2, %square.end ]",
            "  %k = call i64 @llvm.smin.i64(i64 %k.0, i64 %last)",
            "  %first.1 = add i64 %column, %u",
            "  %end = sub i64 %columns, 1",
            "  %first = call i64 @llvm.smin.i64(i64 %first.1, i64 %end)",
            "  %first.at = mul i64 %first, %step",
            "  %first.k = add i64 %first.at, %k",
            f"  %row.0 = getelementptr {w.kind.name}, ptr %weight.p, i64 %first.k",
            "  %down = sub i64 %end, %first.1",
        ]
        parts: list[str] = []
        for row in range(w.width):
            parts.append(w.put(f"load <{side} x {w.kind.name}>, ptr %row.{row}, align {w.kind.size}"))
            there = w.put(f"icmp sgt i64 %down, {row}")
            step = w.put(f"select i1 {there}, i64 %step, i64 0")
            w.lines.append(f"  %row.{row + 1} = getelementptr {w.kind.name}, ptr %row.{row}, i64 {step}")
        values = [_joined(w, parts[k::side], side) for k in range(side)]
        target = at(w, at(w, "%panel", "%u"), w.put(f"mul i64 %k, {VECTORS * w.width}"))
        for row, value in enumerate(_turned(w, values, side)):
            store(w, _own(w.kind), value, at(w, target, row * VECTORS * w.width), None)
        w.lines += [
            "  br label %square.end",
            "square.end:",
            f"  %k.1 = add i64 %k.0, {side}",
            "  %k.more = icmp slt i64 %k.1, %depth",
            "  %k.2 = select i1 %k.more, i64 %k.1, i64 0",
            f"  %u.1 = add i64 %u, {w.width}",
            "  %u.2 = select i1 %k.more, i64 %u, i64 %u.1",
            f"  %u.more = icmp slt i64 %u.2, {VECTORS * w.width}",
            "  br i1 %u.more, label %square, label %over",
        ]


def _cases(w: Writer, masks: Sequence[str], end: str, free: bool) -> Iterator[Sequence[str | None]]:
    """Write the branches for a whole panel and for a part of one, around what is written between.

    free : whether masks cost nothing: then there is no other branch, which is less to compile
    """
    cases: list[tuple[str, Sequence[str | None]]] = [("part", masks)]
    if not free:
        cases.append(("all", [None] * len(masks)))
        w.lines.append("  br i1 %whole, label %all, label %part")
    else:
        w.lines.append("  br label %part")
    for label, chosen in cases:
        w.lines.append(f"{label}:")
        yield chosen
        w.lines.append(f"  br label %{end}")


def _joined(w: Writer, parts: list[str], size: int) -> str:
    """Return vectors of so many numbers as one."""
    while len(parts) > 1:
        order = ", ".join(f"i32 {i}" for i in range(2 * size))
        parts = [w.put(f"shufflevector <{size} x {w.kind.name}> {a}, <{size} x {w.kind.name}> {b}, "
                       f"<{2 * size} x i32> <{order}>") for a, b in zip(parts[::2], parts[1::2])]  # fmt: skip
        size *= 2
    return parts[0]


def _turned(w: Writer, rows: list[str], side: int) -> list[str]:
    """Return the columns of squares that lie side by side in vectors."""

    def chosen(a: str, b: str, pattern: Sequence[int]) -> str:  # pattern: of one square, the second one's from side on
        order = ", ".join(f"i32 {begin + i % side + (i >= side) * w.width}" for begin in range(0, w.width, side)
                          for i in pattern)  # fmt: skip
        return w.put(f"shufflevector {w.vector} {a}, {w.vector} {b}, <{w.width} x i32> <{order}>")

    if side == 2:
        return [chosen(rows[0], rows[1], pattern) for pattern in ((0, 2), (1, 3))]
    pairs = [chosen(a, b, pattern) for pattern in ((0, 4, 1, 5), (2, 6, 3, 7)) for a, b in (rows[:2], rows[2:])]
    return [chosen(a, b, pattern) for a, b in (pairs[:2], pairs[2:]) for pattern in ((0, 1, 4, 5), (2, 3, 6, 7))]


@final
@dataclass(frozen=True, slots=True)
class FewRows:
    """The product of rows and panels.

    height : how many rows are kept in registers; where the rows are columns of panels it divides a panel's width
    """

    height: int

    cost = 1

    def module(self, name: str, kind: Format, vector_bytes: int) -> str:
        """Return the text of the function."""
        w = Writer(kind, vector_bytes // kind.size)
        arguments(w, ("blocks", "each", "many", "depth", "columns", "rows", "data", "step", "deeper", "group",
                      "low", "panels", "result", "wide"), _POINTERS)  # fmt: skip
        w.lines.append("  %end = sub i64 %rows, 1")
        _each_panel(w)
        w.lines += [
            "  br label %tile",
            "tile:",
            "  %i0 = phi i64 [ 0, %begin ], [ %i0.n, %tile.end ]",
            "  %i = call i64 @llvm.smin.i64(i64 %i0, i64 %low)",
        ]
        panel = VECTORS * w.width
        before = w.put(f"mul i64 {w.put(f'udiv i64 %i, {panel}')}, %group")
        first = at(w, at(w, "%data.p", before), w.put(f"mul i64 {w.put(f'urem i64 %i, {panel}')}, %step"))
        rows = spaced(w, first, self.height, "%step")
        self._keep(w, product(w, "tile", *rows, "%deeper", ("%panel", panel)))
        return function(name, w)

    def _keep(self, w: Writer, sums: list[list[str]]) -> None:
        """Write the storing of a tile, and the end of the loop over tiles."""
        target = at(w, "%result.p", "%column")
        each = [w.put(f"add i64 %i, {r}") for r in range(self.height)]
        rows = [w.put(f"call i64 @llvm.smin.i64(i64 {row}, i64 %end)") for row in each]
        masks = [first_lanes(w, "%there", u * w.width) for u in range(VECTORS)]
        for chosen in _cases(w, masks, "tile.end", False):
            for number, row in reversed(list(zip(rows, sums))):  # what lies beyond the last row is written over by it
                place = at(w, target, w.put(f"mul i64 %wide, {number}"))
                for u, (value, mask) in enumerate(zip(row, chosen)):
                    store(w, _own(w.kind), value, at(w, place, u * w.width), mask)
        w.lines += ["tile.end:", f"  %i0.n = add i64 %i0, {self.height}", "  %i0.more = icmp slt i64 %i0.n, %rows",
                    "  br i1 %i0.more, label %tile, label %over"]  # fmt: skip
