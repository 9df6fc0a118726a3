"""Convolutions of 1×1 kernels: each pixel's channels times a weight, rows of a table channels last.

The one idea: the library's convolution makes its result in memory of torch's allocator, which does not find such arrays
a place where others were (buffers.py); code of our own writes wherever it is told to, as fast. A block of rows stays in
a core's cache while panels of the weight (panels.py), two vectors of columns each, pass by; the last rows of all
overlap those before them. Called like segments (emit.py), with `ARGUMENTS`.

Not here: the call (pointwise.py), the loop of the product (products.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from .phrases import Part, add, arguments, at, define, fetch, least, load, loop, module, mul, store
from .products import VECTORS, product, spaced
from .vector_math import Format, Writer

__all__ = ["Pixels", "ARGUMENTS"]

ARGUMENTS = ("blocks", "block_rows", "block_panels", "blocks_across", "rows", "panels", "depth", "columns", "data",
             "weight", "bias", "out")  # fmt: skip
"""Names of the arguments after the counter of blocks. A block is `block_rows` rows, a multiple of the height, and
`block_panels` panels; depth, columns : channels of data (rows, depth) and results (rows, columns), whole vectors and
whole panels; bias : (columns,)."""


@final
@dataclass(frozen=True, slots=True)
class Pixels:
    """The function. height : how many rows are kept in registers; there are at least so many."""

    height: int

    cost = 1

    def module(self, name: str, kind: Format, vector_bytes: int) -> str:
        """Return the text of the function and of its part."""
        lanes = vector_bytes // kind.size
        return module([self._driver(name, kind, lanes), self._rows(kind, lanes)])

    def _rows(self, kind: Format, lanes: int) -> Part:
        """The product of some rows and a panel."""
        w = Writer(kind, lanes)
        pointers, rows = spaced(w, "%data", self.height, "%depth")
        bias = [load(w, at(w, "%bias", u * lanes)) for u in range(VECTORS)]
        sums = product(w, "entry", pointers, rows, "1", ("%panel", VECTORS * lanes))
        for r, row in enumerate(sums):
            place = at(w, "%out", mul(w, "%columns", r))
            for u, total in enumerate(row):
                store(w, w.binary("fadd", total, bias[u]), at(w, place, u * lanes))
        w.lines.append("  ret void")
        return define("internal void @rows(ptr %data, i64 %depth, ptr %panel, ptr %bias, ptr %out, i64 %columns)", w)

    def _driver(self, name: str, kind: Format, lanes: int) -> Part:
        """The loop over blocks, and in each over panels and rows."""
        w = Writer(kind, lanes)
        arguments(w, ARGUMENTS, ("data", "weight", "bias", "out"))
        w.lines += [f"  %last = sub i64 %rows, {self.height}", f"  %size = mul i64 %depth, {VECTORS * lanes}"]
        fetch(w)
        down, across = w.put("udiv i64 %b, %blocks_across"), w.put("urem i64 %b, %blocks_across")
        start, first = mul(w, down, "%block_rows"), mul(w, across, "%block_panels")
        end = least(w, add(w, start, "%block_rows"), "%rows")
        with loop(w, "p", first, least(w, add(w, first, "%block_panels"), "%panels")) as p:
            panel, column = at(w, "%weight.p", mul(w, p, "%size")), mul(w, p, VECTORS * lanes)
            bias, out = at(w, "%bias.p", column), at(w, "%out.p", column)
            with loop(w, "r", start, end, self.height) as r:
                row = least(w, r, "%last")
                data, place = at(w, "%data.p", mul(w, row, "%depth")), at(w, out, mul(w, row, "%columns"))
                w.lines.append(f"  call void @rows(ptr {data}, i64 %depth, ptr {panel}, ptr {bias}, ptr {place}, "
                               "i64 %columns)")  # fmt: skip
        w.lines.append("  br label %fetch")
        return define(f"void @{name}(ptr %args)", w)
