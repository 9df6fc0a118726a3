"""Mean and variance of every column, in two functions: of blocks of rows, and of the blocks together.

The one idea: a block stays in the cache, so it is read twice, first for its mean, then for deviations from it, which is
exact however far from zero numbers lie; memory is read once. Blocks are merged in float64 by the formula of Chan, Golub
and LeVeque ("Updating formulae and a pairwise algorithm for computing sample variances", 1979): M₂ = Σ M₂ᵇ + Σ
nᵇ·(meanᵇ - mean)². Results depend on the size of blocks (256 rows is good), not on threads.

Both are called like segments (emit.py). `Moments`: operands x (N, H), and per block of rows mean and M₂ = Σ(x - mean)²,
(blocks_down, H) each. `Merged`: operands these two, then mean and variance M₂/N, (H,); rows N and block_rows as before,
blocks = blocks_across. N must not be 0.

Not here: sums of other expressions down the rows (Segment.row_sums).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from .frame import fetch_blocks, function, load_arguments, splat
from .memory import MEMORY, load, store, widened
from .vector_math import Format, Writer

__all__ = ["Moments", "Merged"]

_TOGETHER = 4  # vectors of a row that are taken at once: whole lines of the cache, independent sums


def _part(w: Writer) -> str:
    """Write the mask of the columns that are left at %j, less than a vector."""
    few = splat(w, w.put(f"trunc i64 {w.put('sub i64 %c1, %j1')} to i32"), "i32")
    lanes = ", ".join(f"i32 {lane}" for lane in range(w.width))
    return w.put(f"icmp slt <{w.width} x i32> <{lanes}>, {few}")


def _at(w: Writer, k: int, raw: str, row: str, column: str) -> str:
    """Write the address of an element of operand k."""
    offset = w.put(f"add i64 {w.put(f'mul i64 {row}, %stride{k}')}, {column}")
    return w.put(f"getelementptr {raw}, ptr %start{k}, i64 {offset}")


@final
@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and sum of squared deviations of blocks of rows. format : of x; the results are of the type computed in."""

    format: str

    cost = 4

    def module(self, name: str, kind: Format, vector_bytes: int) -> str:
        """Return the text of the function."""
        w = Writer(kind, vector_bytes // kind.size)
        load_arguments(w, 3)
        fetch_blocks(w)
        w.lines += ["  %height = sub i64 %r1, %r0", f"  %count = sitofp i64 %height to {kind.name}", "  br label %many"]
        step = _TOGETHER * w.width
        w.lines += [
            "many:",
            "  %j0 = phi i64 [ %c0, %block ], [ %j0.next, %many.end ]",
            f"  %j0.next = add i64 %j0, {step}",
            "  %fits = icmp sle i64 %j0.next, %c1",
            "  br i1 %fits, label %many.begin, label %one",
            "many.begin:",
        ]
        self._group(w, "many", "%j0", _TOGETHER, None)
        w.lines += [
            "  br label %many.end",
            "many.end:",
            "  br label %many",
            "one:",
            "  %j1 = phi i64 [ %j0, %many ], [ %j1.next, %one.end ]",
            f"  %j1.next = add i64 %j1, {w.width}",
            "  %left = icmp slt i64 %j1, %c1",
            "  br i1 %left, label %one.some, label %fetch",
            "one.some:",
            "  %whole = icmp sle i64 %j1.next, %c1",
            "  br i1 %whole, label %one.begin, label %last.begin",
            "one.begin:",
        ]
        self._group(w, "one", "%j1", 1, None)
        w.lines += ["  br label %one.end", "one.end:", "  br label %one", "last.begin:"]
        self._group(w, "last", "%j1", 1, _part(w))
        w.lines.append("  br label %fetch")
        return function(name, w)

    def _group(self, w: Writer, label: str, column: str, vectors: int, mask: str | None) -> None:
        """Write the loop down the rows for some vectors of columns, and the storing of what it finds."""
        kind, raw = w.kind, MEMORY[self.format].raw
        own = "float32" if kind.size == 4 else "float64"
        columns = [column] + [w.put(f"add i64 {column}, {w.width * u}") for u in range(1, vectors)]

        def row(number: str) -> Sequence[str]:
            return [widened(w, self.format, load(w, self.format, _at(w, 0, raw, number, c), mask)) for c in columns]

        every = range(vectors)
        count = splat(w, "%count", kind.name)

        def loop(name: str, before: str, shifts: Sequence[str], squares: bool) -> tuple[Sequence[str], Sequence[str]]:
            """Write the summing of what is left after a shift, and of its squares; return means and sums of squares."""
            here = f"{label}.{name}"
            sums = [f"%s{u}.{here}" for u in every] + ([f"%q{u}.{here}" for u in every] if squares else [])
            w.lines += [f"  br label %{here}", f"{here}:"]
            w.lines.append(f"  %i.{here} = phi i64 [ %r0, %{before} ], [ %i.{here}.n, %{here} ]")
            w.lines += [f"  {s} = phi {w.vector} [ zeroinitializer, %{before} ], [ {s}.n, %{here} ]" for s in sums]
            left = [w.binary("fsub", value, shift) for value, shift in zip(row(f"%i.{here}"), shifts)]
            for s, value in zip(sums, left + [w.binary("fmul", d, d) for d in left if squares]):
                w.lines.append(f"  {s}.n = fadd {w.vector} {s}, {value}")
            w.lines += [
                f"  %i.{here}.n = add i64 %i.{here}, 1",
                f"  %i.{here}.more = icmp slt i64 %i.{here}.n, %r1",
                f"  br i1 %i.{here}.more, label %{here}, label %{here}.end",
                f"{here}.end:",
            ]
            means = [w.binary("fdiv", f"{s}.n", count) for s in sums[:vectors]]
            rest = [w.binary("fmul", f"{s}.n", mean) for s, mean in zip(sums, means)] if squares else []
            return means, [w.binary("fsub", f"{q}.n", r) for q, r in zip(sums[vectors:], rest)]

        shifts = row("%r0")
        means, _ = loop("mean", f"{label}.begin", shifts, False)
        near = [w.binary("fadd", shift, mean) for shift, mean in zip(shifts, means)]
        means, spread = loop("spread", f"{label}.mean.end", near, True)
        for u in every:
            store(w, own, w.binary("fadd", near[u], means[u]), _at(w, 1, kind.name, "%down", columns[u]), mask)
            store(w, own, spread[u], _at(w, 2, kind.name, "%down", columns[u]), mask)


@final
@dataclass(frozen=True, slots=True)
class Merged:
    """Mean and variance of all rows from those of blocks."""

    cost = 8

    def module(self, name: str, kind: Format, vector_bytes: int) -> str:
        """Return the text of the function."""
        w = Writer(kind, vector_bytes // kind.size)
        load_arguments(w, 4)
        w.lines += [
            "  %above = add i64 %rows, %block_rows",
            "  %above1 = sub i64 %above, 1",
            "  %parts = udiv i64 %above1, %block_rows",
            "  %full = sub i64 %parts, 1",  # the last block may have fewer rows
            "  %before = mul i64 %full, %block_rows",
            "  %rest = sub i64 %rows, %before",
        ]
        for number in ("rows", "block_rows", "rest"):
            w.lines.append(f"  %n.{number} = sitofp i64 %{number} to double")
        fetch_blocks(w)
        w.lines += [
            "  br label %one",
            "one:",
            "  %j1 = phi i64 [ %c0, %block ], [ %j1.next, %one.end ]",
            f"  %j1.next = add i64 %j1, {w.width}",
            "  %left = icmp slt i64 %j1, %c1",
            "  br i1 %left, label %one.some, label %fetch",
            "one.some:",
            "  %whole = icmp sle i64 %j1.next, %c1",
            "  br i1 %whole, label %one.begin, label %last.begin",
            "one.begin:",
        ]
        self._group(w, "one", None)
        w.lines += ["  br label %one.end", "one.end:", "  br label %one", "last.begin:"]
        self._group(w, "last", _part(w))
        w.lines.append("  br label %fetch")
        return function(name, w)

    def _group(self, w: Writer, label: str, mask: str | None) -> None:
        """Write two loops over the blocks for a vector of columns: the mean, then deviations from it."""
        vector = f"<{w.width} x double>"

        def read(k: int, row: str) -> str:
            own = "float32" if w.kind.size == 4 else "float64"
            value = load(w, own, _at(w, k, w.kind.name, row, "%j1"), mask)
            return value if w.kind.size == 8 else w.put(f"fpext {w.vector} {value} to {vector}")

        def write(k: int, value: str) -> None:
            own = "float32" if w.kind.size == 4 else "float64"
            value = value if w.kind.size == 8 else w.put(f"fptrunc {vector} {value} to {w.vector}")
            store(w, own, value, _at(w, k, w.kind.name, "0", "%j1"), mask)

        def op(name: str, a: str, b: str) -> str:
            return w.put(f"{name} {vector} {a}, {b}")

        def loop(name: str, before: str, sums: int) -> str:
            """Write the head of a loop over all blocks but the last; return its label."""
            label_ = f"{label}.{name}"
            w.lines += [f"  br label %{label_}", f"{label_}:",
                        f"  %i.{label_} = phi i64 [ 0, %{before} ], [ %i.{label_}.n, %{label_}.body ]"]  # fmt: skip
            w.lines += [f"  %s{u}.{label_} = phi {vector} [ zeroinitializer, %{before} ], "
                        f"[ %s{u}.{label_}.n, %{label_}.body ]" for u in range(sums)]  # fmt: skip
            w.lines += [f"  %i.{label_}.more = icmp slt i64 %i.{label_}, %full",
                        f"  br i1 %i.{label_}.more, label %{label_}.body, label %{label_}.end",
                        f"{label_}.body:", f"  %i.{label_}.n = add i64 %i.{label_}, 1"]  # fmt: skip
            return label_

        counts = [splat(w, f"%n.{number}", "double") for number in ("rows", "block_rows", "rest")]
        first = read(0, "0")
        a = loop("mean", f"{label}.begin", 1)
        w.lines.append(f"  %s0.{a}.n = fadd {vector} %s0.{a}, {op('fsub', read(0, f'%i.{a}'), first)}")
        w.lines += [f"  br label %{a}", f"{a}.end:"]
        last = read(0, "%full")
        sums = op("fadd", op("fmul", f"%s0.{a}", counts[1]), op("fmul", op("fsub", last, first), counts[2]))
        mean = op("fadd", first, op("fdiv", sums, counts[0]))
        b = loop("spread", f"{a}.end", 2)
        d = op("fsub", read(0, f"%i.{b}"), mean)
        w.lines.append(f"  %s0.{b}.n = fadd {vector} %s0.{b}, {op('fmul', d, d)}")
        w.lines.append(f"  %s1.{b}.n = fadd {vector} %s1.{b}, {read(1, f'%i.{b}')}")
        w.lines += [f"  br label %{b}", f"{b}.end:"]
        d = op("fsub", last, mean)
        squares = op("fadd", op("fmul", f"%s0.{b}", counts[1]), op("fmul", op("fmul", d, d), counts[2]))
        squares = op("fadd", squares, op("fadd", f"%s1.{b}", read(1, "%full")))
        write(2, mean)
        write(3, op("fdiv", squares, counts[0]))
