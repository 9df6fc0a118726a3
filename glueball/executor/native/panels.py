"""Products of a few rows with a weight that was put in order beforehand: the packing, and the product.

The one idea: a library spends most of a product of few rows on bringing the weight into the order that its inner loop
wants, each time anew. Where many products share a weight (the steps of an unrolled cell) that is done once: panels of
as many columns as two vectors hold, row after row. The product reads a panel from front to back and keeps the results
of `height` rows in registers; the last rows of a product overlap those before them, so there is no other height.

Both are called like segments (emit.py: `void f(int64 *arguments)`, the first a counter of blocks), with arguments

    Panels:  1 blocks · 2 panels of a block · 3 panels · 4 depth K · 5 columns N · 6 address, 7 step of the weight
             8 address of the panels
    FewRows: 1 blocks · 2 panels of a block · 3 panels · 4 depth K · 5 columns N · 6 rows M ≥ height
             7 address, 8 row stride of the rows · 9 address of the panels · 10 address, 11 row stride of the result

A panel has ⌈K / lanes⌉ · lanes rows of 2 · lanes numbers (`panel_size`), so that it is written in whole squares.

Not here: which products are done so (jit/pack.py), who fills in the arguments (jit/encode.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from .frame import first_lanes, function, named_arguments, splat
from .memory import load, store
from .vector_math import Format, Writer

__all__ = ["Panels", "FewRows", "best_height", "turned_height", "panel_size"]

_VECTORS = 2  # side by side in a panel
_HEIGHTS = (1, 2, 4, 6, 8, 10, 12)  # few: another number of rows should find code that is there
_POINTERS = ("data", "panels", "result", "weight")
_GROUP = 3  # rows that are addressed from one pointer


def best_height(rows: int, vector_bytes: int) -> int:
    """Return how many rows are kept in registers: of a few heights the one whose tiles take the least time.

    >>> best_height(20, 64), best_height(64, 64), best_height(20, 32), best_height(3, 64)
    (10, 8, 4, 2)
    """
    most, least = (12, 2) if vector_bytes == 64 else (6, 4)  # registers for; rows that hide how long an addition takes

    def time(height: int) -> tuple[int, int]:  # reading the panel takes as long as one row
        return -(-rows // height) * (max(height, least) + 1), -height

    return min((height for height in _HEIGHTS if height <= min(rows, most)), key=time)


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
    return -(-columns // (_VECTORS * lanes)), -(-depth // lanes) * lanes * _VECTORS * lanes


def _own(kind: Format) -> str:
    return "float32" if kind.size == 4 else "float64"


def _each_panel(w: Writer) -> None:
    """Write the loop over blocks and over their panels: %p is its number, %panel its address, %column its first one."""
    lanes = w.width
    w.lines += [
        f"  %deep.1 = add i64 %depth, {lanes - 1}",
        f"  %deep = and i64 %deep.1, {-lanes}",
        f"  %size = mul i64 %deep, {_VECTORS * lanes}",
        "  br label %fetch",
        "fetch:",
        "  %b = atomicrmw add ptr %args, i64 1 monotonic",
        "  %some = icmp slt i64 %b, %blocks",
        "  br i1 %some, label %block, label %done",
        "done:",
        "  ret void",
        "block:",
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
        f"  %column = mul i64 %p, {_VECTORS * lanes}",
        "  %there = sub i64 %columns, %column",
        f"  %whole = icmp sge i64 %there, {_VECTORS * lanes}",
    ]
    w.declared.add("declare i64 @llvm.smin.i64(i64, i64)")


def _at(w: Writer, base: str, offset: str | int) -> str:
    return w.put(f"getelementptr {w.kind.name}, ptr {base}, i64 {offset}")


@final
@dataclass(frozen=True, slots=True)
class Panels:
    """Puts a weight in order: element (k, j) is weight[k · step + j], or where `turned` weight[j · step + k]."""

    turned: bool

    cost = 1

    def module(self, name: str, kind: Format, vector_bytes: int) -> str:
        """Return the text of the function."""
        w = Writer(kind, vector_bytes // kind.size)
        named_arguments(w, ("blocks", "each", "many", "depth", "columns", "weight", "step", "panels"),
                        _POINTERS)  # fmt: skip
        _each_panel(w)
        if self.turned:
            self._squares(w)
        else:
            self._rows(w)
        return function(name, w)

    def _rows(self, w: Writer) -> None:
        """Write the copying of a panel's rows."""
        masks = [first_lanes(w, "%there", u * w.width) for u in range(_VECTORS)]
        source = _at(w, "%weight.p", "%column")
        w.lines += [
            "  br label %row",
            "row:",
            "  %k = phi i64 [ 0, %begin ], [ %k.n, %row.end ]",
            "  %k.at = mul i64 %k, %step",
            f"  %from = getelementptr {w.kind.name}, ptr {source}, i64 %k.at",
            f"  %k.to = mul i64 %k, {_VECTORS * w.width}",
            f"  %to = getelementptr {w.kind.name}, ptr %panel, i64 %k.to",
            "  br i1 %whole, label %all, label %part",
        ]
        for label, chosen in (("all", [None] * _VECTORS), ("part", masks)):
            w.lines.append(f"{label}:")
            for u, mask in enumerate(chosen):
                found = load(w, _own(w.kind), _at(w, "%from", u * w.width), mask)
                store(w, _own(w.kind), found, _at(w, "%to", u * w.width), None)
            w.lines.append("  br label %row.end")
        w.lines += ["row.end:", "  %k.n = add i64 %k, 1", "  %k.more = icmp slt i64 %k.n, %depth",
                    "  br i1 %k.more, label %row, label %over"]  # fmt: skip

    def _squares(self, w: Writer) -> None:
        """Write the turning of squares of as many rows as a vector has lanes."""
        lanes = w.width
        w.lines += [
            "  br label %square",
            "square:",
            "  %u = phi i64 [ 0, %begin ], [ %u.2, %square.end ]",
            "  %k = phi i64 [ 0, %begin ], [ %k.2, %square.end ]",
            "  %first = add i64 %column, %u",
            "  %first.at = mul i64 %first, %step",
            "  %first.k = add i64 %first.at, %k",
            f"  %from = getelementptr {w.kind.name}, ptr %weight.p, i64 %first.k",
            "  %along = sub i64 %depth, %k",
            "  %down = sub i64 %columns, %first",
        ]
        mask = first_lanes(w, "%along")
        values: list[str] = []
        for row in range(lanes):
            there = w.put(f"icmp sgt i64 %down, {row}")
            own = w.put(f"select i1 {there}, {w.mask} {mask}, {w.mask} zeroinitializer")
            values.append(load(w, _own(w.kind), _at(w, "%from", w.put(f"mul i64 %step, {row}")), own))
        low = ", ".join(f"i32 {i // 2 + i % 2 * lanes}" for i in range(lanes))
        high = ", ".join(f"i32 {lanes // 2 + i // 2 + i % 2 * lanes}" for i in range(lanes))
        for _ in range(lanes.bit_length() - 1):  # each stage interleaves rows that are half of all apart
            pairs = list(zip(values[: lanes // 2], values[lanes // 2 :]))
            values = [w.put(f"shufflevector {w.vector} {a}, {w.vector} {b}, <{lanes} x i32> <{order}>")
                      for a, b in pairs for order in (low, high)]  # fmt: skip
        start = w.put(f"mul i64 %k, {_VECTORS * lanes}")
        target = _at(w, _at(w, "%panel", "%u"), start)
        for row, value in enumerate(values):
            store(w, _own(w.kind), value, _at(w, target, row * _VECTORS * lanes), None)
        w.lines += [
            "  br label %square.end",
            "square.end:",
            f"  %k.1 = add i64 %k, {lanes}",
            "  %k.more = icmp slt i64 %k.1, %depth",
            "  %k.2 = select i1 %k.more, i64 %k.1, i64 0",
            f"  %u.1 = add i64 %u, {lanes}",
            "  %u.2 = select i1 %k.more, i64 %u, i64 %u.1",
            f"  %u.more = icmp slt i64 %u.2, {_VECTORS * lanes}",
            "  br i1 %u.more, label %square, label %over",
        ]


@final
@dataclass(frozen=True, slots=True)
class FewRows:
    """The product of rows and panels.

    height : how many rows are kept in registers
    turned : the rows are columns of panels themselves: of the matrix (K, M) whose transpose they are (step: unused);
        the height then divides a panel's width
    """

    height: int
    turned: bool = False

    cost = 1

    def module(self, name: str, kind: Format, vector_bytes: int) -> str:
        """Return the text of the function."""
        w = Writer(kind, vector_bytes // kind.size)
        named_arguments(w, ("blocks", "each", "many", "depth", "columns", "rows", "data", "step", "panels", "result",
                            "wide"), _POINTERS)  # fmt: skip
        # the last tile: the last rows, or where there are zeros beyond them whatever is left
        w.lines.append("  %end = sub i64 %rows, 1")
        w.lines.append(f"  %low = sub i64 %rows, {1 if self.turned else self.height}")
        _each_panel(w)
        w.lines += [
            "  br label %tile",
            "tile:",
            "  %i0 = phi i64 [ 0, %begin ], [ %i0.n, %tile.end ]",
            "  %i = call i64 @llvm.smin.i64(i64 %i0, i64 %low)",
        ]
        if self.turned:
            wide = _VECTORS * w.width
            before = w.put(f"mul i64 {w.put(f'udiv i64 %i, {wide}')}, %size")
            pointers = {0: _at(w, _at(w, "%data.p", before), w.put(f"urem i64 %i, {wide}"))}
        else:
            first = _at(w, "%data.p", w.put("mul i64 %i, %step"))
            pointers = {g: _at(w, first, w.put(f"mul i64 %step, {g}")) for g in range(0, self.height, _GROUP)}
        results = self._depth(w, pointers)
        self._keep(w, results)
        return function(name, w)

    def _depth(self, w: Writer, pointers: dict[int, str]) -> list[list[str]]:
        """Write the loop along the depth; return the names of the sums, by rows."""
        sums = [[f"%s{r}.{u}" for u in range(_VECTORS)] for r in range(self.height)]
        before, kind = "%tile", w.kind.name
        w.lines += ["  %step.2 = mul i64 %step, 2", "  br label %along", "along:",
                    f"  %k = phi i64 [ 0, {before} ], [ %k.n, %along ]",
                    f"  %w = phi ptr [ %panel, {before} ], [ %w.n, %along ]"]  # fmt: skip
        w.lines += [f"  %x{g} = phi ptr [ {p}, {before} ], [ %x{g}.n, %along ]" for g, p in pointers.items()]
        w.lines += [f"  {s} = phi {w.vector} [ zeroinitializer, {before} ], [ {s}.n, %along ]"
                    for row in sums for s in row]  # fmt: skip
        weight = [load(w, _own(w.kind), _at(w, "%w", u * w.width), None) for u in range(_VECTORS)]
        for r, row in enumerate(sums):
            group, rest = (0, r) if self.turned else (r - r % _GROUP, r % _GROUP)
            steps = rest if self.turned else "%step" if rest == 1 else "%step.2"
            place = f"%x{group}" if not rest else _at(w, f"%x{group}", steps)
            number = splat(w, w.put(f"load {kind}, ptr {place}, align {w.kind.size}"), kind)
            for s, part in zip(row, weight):
                found = w.fma(number, part, s)
                w.lines.append(f"  {s}.n = bitcast {w.vector} {found} to {w.vector}")
        along = _VECTORS * w.width if self.turned else 1
        w.lines += [f"  %x{g}.n = getelementptr {kind}, ptr %x{g}, i64 {along}" for g in pointers]
        w.lines += [f"  %w.n = getelementptr {kind}, ptr %w, i64 {_VECTORS * w.width}", "  %k.n = add i64 %k, 1",
                    "  %k.more = icmp slt i64 %k.n, %depth", "  br i1 %k.more, label %along, label %keep",
                    "keep:"]  # fmt: skip
        return [[f"{s}.n" for s in row] for row in sums]

    def _keep(self, w: Writer, sums: list[list[str]]) -> None:
        """Write the storing of a tile, and the end of the loop over tiles."""
        target = _at(w, "%result.p", "%column")
        each = [w.put(f"add i64 %i, {r}") for r in range(self.height)]
        rows = [w.put(f"call i64 @llvm.smin.i64(i64 {row}, i64 %end)") for row in each]
        masks = [first_lanes(w, "%there", u * w.width) for u in range(_VECTORS)]
        w.lines.append("  br i1 %whole, label %all, label %part")
        for label, chosen in (("all", [None] * _VECTORS), ("part", masks)):
            w.lines.append(f"{label}:")
            for number, row in reversed(list(zip(rows, sums))):  # what lies beyond the last row is written over by it
                place = _at(w, target, w.put(f"mul i64 %wide, {number}"))
                for u, (value, mask) in enumerate(zip(row, chosen)):
                    store(w, _own(w.kind), value, _at(w, place, u * w.width), mask)
            w.lines.append("  br label %tile.end")
        w.lines += ["tile.end:", f"  %i0.n = add i64 %i0, {self.height}", "  %i0.more = icmp slt i64 %i0.n, %rows",
                    "  br i1 %i0.more, label %tile, label %over"]  # fmt: skip
