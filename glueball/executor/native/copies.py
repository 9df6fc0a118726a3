"""Copies of arrays whose axes lie in any order: any number of axes, any steps, one function for all.

The one idea: two axes are loops, the innermost one with vectors where its numbers lie together on both sides; all other
axes are one number that is taken apart where a block begins. So an array of many matrices is one call however many
there are, and threads share it out.

Called like a segment (emit.py: `void f(int64 *arguments)`, the first a counter of blocks), with arguments

    1 blocks · 2 blocks of one pair of loops · 3 rows of a block · 4 rows · 5 columns
    6 address, 7 row step, 8 column step of what is read · 9 address, 10 row step, 11 column step of what is written
    12 number of further axes · 13 … (size, step of what is read, step of what is written) of each, innermost first

Not here: which axes are the loops (jit/encode.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from .memory import load, store
from .phrases import arguments, fetch, first_lanes, function
from .vector_math import Format, Writer

__all__ = ["Copies"]

_NAMES = ("blocks", "down", "height", "rows", "columns", "from", "from.row", "from.column", "to", "to.row", "to.column",
          "more")  # fmt: skip
_AXES = 13  # where the further axes begin


@final
@dataclass(frozen=True, slots=True)
class Copies:
    """Copies an array. together : whether the columns lie together on both sides (column steps are 1)"""

    together: bool

    cost = 1

    def module(self, name: str, kind: Format, vector_bytes: int) -> str:
        """Return the text of the function."""
        w = Writer(kind, vector_bytes // kind.size)
        arguments(w, _NAMES, ("from", "to"))
        w.declared.add("declare i64 @llvm.smin.i64(i64, i64)")
        _each_block(w)
        w.lines += [
            "begin:",
            f"  %source = getelementptr {kind.name}, ptr %from.p, i64 %read",
            f"  %target = getelementptr {kind.name}, ptr %to.p, i64 %written",
            "  br label %row",
            "row:",
            "  %i = phi i64 [ %r0, %begin ], [ %i.n, %row.end ]",
            "  %s = phi ptr [ %source, %begin ], [ %s.n, %row.end ]",
            "  %t = phi ptr [ %target, %begin ], [ %t.n, %row.end ]",
        ]
        if self.together:
            _vectors(w)
        else:
            _one_by_one(w)
        w.lines += [
            "row.end:",
            f"  %s.n = getelementptr {kind.name}, ptr %s, i64 %from.row",
            f"  %t.n = getelementptr {kind.name}, ptr %t, i64 %to.row",
            "  %i.n = add i64 %i, 1",
            "  %i.more = icmp slt i64 %i.n, %r1",
            "  br i1 %i.more, label %row, label %fetch",
        ]
        return function(name, w)


def _each_block(w: Writer) -> None:
    """Write the loop over blocks: %r0 and %r1 are its rows, %read and %written where the first of them begins."""
    w.lines += [
        f"  %axes = getelementptr i64, ptr %args, i64 {_AXES}",
        f"  %whole = sdiv i64 %columns, {w.width}",
        f"  %even = mul i64 %whole, {w.width}",
    ]
    fetch(w)
    w.lines += [
        "  %piece = udiv i64 %b, %down",
        "  %part = urem i64 %b, %down",
        "  %r0 = mul i64 %part, %height",
        "  %r1.1 = add i64 %r0, %height",
        "  %r1 = call i64 @llvm.smin.i64(i64 %r1.1, i64 %rows)",
        "  %read.0 = mul i64 %r0, %from.row",
        "  %written.0 = mul i64 %r0, %to.row",
        "  br label %place",
        "place:",
        "  %a = phi i64 [ 0, %block ], [ %a.n, %axis ]",
        "  %q = phi i64 [ %piece, %block ], [ %q.n, %axis ]",
        "  %read = phi i64 [ %read.0, %block ], [ %read.n, %axis ]",
        "  %written = phi i64 [ %written.0, %block ], [ %written.n, %axis ]",
        "  %further = icmp slt i64 %a, %more",
        "  br i1 %further, label %axis, label %begin",
        "axis:",
        "  %axis.at = mul i64 %a, 3",
        "  %axis.p = getelementptr i64, ptr %axes, i64 %axis.at",
        "  %size = load i64, ptr %axis.p",
        "  %own.from = getelementptr i64, ptr %axis.p, i64 1",
        "  %from.step = load i64, ptr %own.from",
        "  %own.to = getelementptr i64, ptr %axis.p, i64 2",
        "  %to.step = load i64, ptr %own.to",
        "  %q.n = udiv i64 %q, %size",
        "  %q.r = urem i64 %q, %size",
        "  %read.m = mul i64 %q.r, %from.step",
        "  %read.n = add i64 %read, %read.m",
        "  %written.m = mul i64 %q.r, %to.step",
        "  %written.n = add i64 %written, %written.m",
        "  %a.n = add i64 %a, 1",
        "  br label %place",
    ]


def _vectors(w: Writer) -> None:
    """Write the copying of a row whose numbers lie together: whole vectors, then a part of one."""
    kind, own = w.kind.name, "float32" if w.kind.size == 4 else "float64"
    w.lines += [
        "  %enough = icmp sgt i64 %even, 0",
        "  br i1 %enough, label %along, label %rest",
        "along:",
        "  %j = phi i64 [ 0, %row ], [ %j.n, %along ]",
        f"  %s.j = getelementptr {kind}, ptr %s, i64 %j",
        f"  %t.j = getelementptr {kind}, ptr %t, i64 %j",
    ]
    store(w, own, load(w, own, "%s.j", None), "%t.j", None)
    w.lines += [
        f"  %j.n = add i64 %j, {w.width}",
        "  %j.more = icmp slt i64 %j.n, %even",
        "  br i1 %j.more, label %along, label %rest",
        "rest:",
        "  %odd = icmp slt i64 %even, %columns",
        "  br i1 %odd, label %last, label %row.end",
        "last:",
        "  %left = sub i64 %columns, %even",
        f"  %s.l = getelementptr {kind}, ptr %s, i64 %even",
        f"  %t.l = getelementptr {kind}, ptr %t, i64 %even",
    ]
    mask = first_lanes(w, "%left")
    store(w, own, load(w, own, "%s.l", mask), "%t.l", mask)
    w.lines.append("  br label %row.end")


def _one_by_one(w: Writer) -> None:
    """Write the copying of a row, number by number."""
    kind, size = w.kind.name, w.kind.size
    w.lines += [
        "  br label %along",
        "along:",
        "  %j = phi i64 [ 0, %row ], [ %j.n, %along ]",
        "  %s.m = mul i64 %j, %from.column",
        "  %t.m = mul i64 %j, %to.column",
        f"  %s.j = getelementptr {kind}, ptr %s, i64 %s.m",
        f"  %t.j = getelementptr {kind}, ptr %t, i64 %t.m",
        f"  %one = load {kind}, ptr %s.j, align {size}",
        f"  store {kind} %one, ptr %t.j, align {size}",
        "  %j.n = add i64 %j, 1",
        "  %j.more = icmp slt i64 %j.n, %columns",
        "  br i1 %j.more, label %along, label %row.end",
    ]
