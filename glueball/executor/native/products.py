"""The product of a few rows and a panel, which stays in registers while it goes along the depth.

The one idea: a panel is two vectors wide; for every step along the depth its two vectors are read once, and one number
of each row, so there are two sums per row: as many rows as there are registers for hide how long an addition takes.

Not here: where rows and panels lie and what becomes of the sums (panels.py, winograd.py, winograd_gradient.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .phrases import at, load, splat
from .vector_math import Writer

__all__ = ["VECTORS", "spaced", "product"]

VECTORS = 2  # side by side in a panel
_GROUP = 3  # rows that are addressed from one pointer


def spaced(w: Writer, first: str, height: int, step: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return pointers and rows, as `product` takes them, of so many rows a step apart. A pointer serves three."""
    pointers = {"x0": first}
    for row in range(_GROUP, height, _GROUP):
        pointers[f"x{row}"] = at(w, pointers[f"x{row - _GROUP}"], w.put(f"mul i64 {step}, {_GROUP}"))
    offsets = ("", step, w.put(f"mul i64 {step}, 2"))
    return pointers, [(f"x{row - row % _GROUP}", offsets[row % _GROUP]) for row in range(height)]


def product(
    w: Writer,
    before: str,
    pointers: Mapping[str, str],
    rows: Sequence[tuple[str, str]],
    deeper: str,
    panel: tuple[str, int],
) -> list[list[str]]:
    """Write the loop along %depth, after the block `before`; what follows is written after the label "keep". Return the
    names of the sums, by rows.

    pointers : by name where they begin, each `deeper` elements further in the next step; rows : the pointer of each and
    how far behind it the row is, "" for nothing; panel : where it begins, and its step
    """
    kind = w.kind.name
    sums = [[f"%s{r}.{u}" for u in range(VECTORS)] for r in range(len(rows))]
    w.lines += ["  br label %along", "along:", f"  %k = phi i64 [ 0, %{before} ], [ %k.n, %along ]"]
    moving: dict[str, tuple[str, str | int]] = {name: (start, deeper) for name, start in pointers.items()}
    moving["w"] = panel
    w.lines += [f"  %{name} = phi ptr [ {start}, %{before} ], [ %{name}.n, %along ]"
                for name, (start, _) in moving.items()]  # fmt: skip
    w.lines += [f"  {s} = phi {w.vector} [ zeroinitializer, %{before} ], [ {s}.n, %along ]"
                for row in sums for s in row]  # fmt: skip
    parts = [load(w, at(w, "%w", u * w.width)) for u in range(VECTORS)]
    for (name, offset), row in zip(rows, sums):
        place = at(w, f"%{name}", offset) if offset else f"%{name}"
        number = splat(w, w.put(f"load {kind}, ptr {place}, align {w.kind.size}"), kind)
        w.lines += [f"  {s}.n = bitcast {w.vector} {w.fma(number, part, s)} to {w.vector}"
                    for s, part in zip(row, parts)]  # fmt: skip
    w.lines += [f"  %{name}.n = getelementptr {kind}, ptr %{name}, i64 {step}" for name, (_, step) in moving.items()]
    w.lines += ["  %k.n = add i64 %k, 1", "  %k.more = icmp slt i64 %k.n, %depth",
                "  br i1 %k.more, label %along, label %keep", "keep:"]  # fmt: skip
    return [[f"{s}.n" for s in row] for row in sums]
