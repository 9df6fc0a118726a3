"""Sums down the rows of a table of pixels (rows) and channels (columns), and what is written on the way.

The one idea: where a row has only a few vectors, everything that belongs to a channel (a mean, a factor, the sum) stays
in registers while a strip of them goes down the rows of a block; a segment (emit.py) loads and stores it for every row.
Wider rows are read one after the other, a few vectors at a time: memory wants to be read in its order.

Called like a segment: operands are the inputs, the outputs, and the sums, one row of sums per block of rows, which are
overwritten. Data lie in memory as `format`, numbers per channel as the type that is computed in. Sums depend on the
size of blocks, not on threads.

Not here: reductions along rows, numbers per row (segment.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from .emit import cost, operation
from .expression import Expr, index_of, topological
from .frame import fetch_blocks, load_arguments
from .memory import MEMORY, load, narrowed, store, widened
from .phrases import function, splat
from .segment import Segment
from .vector_math import Format, Writer

__all__ = ["Channels"]

_REGISTERS = 20  # that may hold what belongs to channels; the rest is for a row
_TOGETHER = (4, 2)  # vectors side by side: as many as there are registers for


@final
@dataclass(frozen=True, slots=True)
class Channels:
    """What one function computes.

    format : how data lie in memory (a name of memory.MEMORY)
    data : per input whether it is an array of data (or numbers per channel)
    outputs : expressions of the inputs, written as arrays of data
    sums : expressions that are summed down the rows, at least one
    """

    format: str
    data: tuple[bool, ...]
    outputs: tuple[Expr, ...]
    sums: tuple[Expr, ...]

    @property
    def cost(self) -> int:
        """About how many additions one element costs."""
        return cost(Segment(tuple(range(len(self.data))), frozenset(), self.outputs, self.sums))

    def module(self, name: str, kind: Format, vector_bytes: int) -> str:
        """Return the text of the function."""
        w = Writer(kind, vector_bytes // kind.size)
        load_arguments(w, len(self.data) + len(self.outputs) + len(self.sums))
        fetch_blocks(w)
        _Body(w, self).strips()
        return function(name, w)


@final
class _Body:
    """The text of a block: strips of several vectors, then of one, then of what is left of one."""

    def __init__(self, w: Writer, what: Channels) -> None:
        self.w, self.what = w, what
        self.own = "float32" if w.kind.size == 4 else "float64"
        self.order = topological((*what.outputs, *what.sums))
        arrays = {node for node in self.order if (index := index_of(node)) is not None and what.data[index]}
        self.moving = set(arrays)  # nodes that differ from row to row
        for node in self.order:
            if not self.moving.isdisjoint(node.args):
                self.moving.add(node)
        first = len(what.data)
        self.read = sorted(index for node in arrays if (index := index_of(node)) is not None)
        self.written = range(first, first + len(what.outputs))
        self.fresh = ""
        self.summed = range(first + len(what.outputs), first + len(what.outputs) + len(what.sums))

    def strips(self) -> None:
        """Write the loops over the columns of a block."""
        w = self.w
        held = {a for node in self.order if node in self.moving for a in node.args if a not in self.moving and a.args}
        held |= {node for node in self.order if index_of(node) is not None and node not in self.moving}
        many = next((n for n in _TOGETHER if n * (len(held) + len(self.what.sums)) <= _REGISTERS), _TOGETHER[-1])
        w.lines += [
            f"  %narrow = icmp sle i64 %columns, {many * w.width}",
            "  %high = select i1 %narrow, i64 %block_rows, i64 1",
            "  br label %group",
            "group:",  # of rows from %g0 to %g1
            "  %g0 = phi i64 [ %r0, %block ], [ %ge, %group.end ]",
            "  %ge = add i64 %g0, %high",
            "  %gf = icmp slt i64 %ge, %r1",
            "  %g1 = select i1 %gf, i64 %ge, i64 %r1",
            "  %fresh = icmp eq i64 %g0, %r0",
        ]
        self.fresh = splat(w, "%fresh", "i1")
        w.lines.append("  br label %many")
        for label, before, start, vectors, after in (("many", "group", "%c0", many, "one"),
                                                     ("one", "many", "%j.many", 1, "last")):  # fmt: skip
            w.lines += [
                f"{label}:",
                f"  %j.{label} = phi i64 [ {start}, %{before} ], [ %n.{label}, %{label}.end ]",
                f"  %n.{label} = add i64 %j.{label}, {vectors * w.width}",
                f"  %fits.{label} = icmp sle i64 %n.{label}, %c1",
                f"  br i1 %fits.{label}, label %{label}.begin, label %{after}",
                f"{label}.begin:",
            ]
            self._strip(label, vectors, None)
            w.lines += [f"  br label %{label}.end", f"{label}.end:", f"  br label %{label}"]
        w.lines += ["last:", "  %j.last = phi i64 [ %j.one, %one ]", "  %left = sub i64 %c1, %j.last",
                    "  %rest = icmp sgt i64 %left, 0", "  br i1 %rest, label %last.begin, label %group.end",
                    "last.begin:"]  # fmt: skip
        lanes = ", ".join(f"i32 {lane}" for lane in range(w.width))
        few = splat(w, w.put("trunc i64 %left to i32"), "i32")
        self._strip("last", 1, w.put(f"icmp slt <{w.width} x i32> <{lanes}>, {few}"))
        w.lines += ["  br label %group.end", "group.end:", "  br i1 %gf, label %group, label %fetch"]

    def _strip(self, label: str, vectors: int, mask: str | None) -> None:
        """Write the way down the rows for some vectors of columns."""
        w = self.w
        every = range(vectors)
        columns = [f"%j.{label}"] + [w.put(f"add i64 %j.{label}, {w.width * u}") for u in every[1:]]
        held = [self._held(column, mask) for column in columns]
        moved = [*self.read, *self.written]
        for k in moved:
            w.lines.append(f"  %o.{label}.{k} = mul i64 %g0, %stride{k}")
            w.lines.append(f"  %a.{label}.{k} = add i64 %o.{label}.{k}, {columns[0]}")
            w.lines.append(f"  %p.{label}.{k} = {self._element(k, f'%start{k}.p', f'%a.{label}.{k}')}")
        sums = [[f"%s.{label}.{s}.{u}" for u in every] for s in self.summed]
        places: list[list[str]] = []
        before: list[list[str]] = []
        for k in self.summed:
            row = w.put(f"mul i64 %down, %stride{k}")
            places.append([w.put(self._element(k, f"%start{k}.p", w.put(f"add i64 {row}, {c}"))) for c in columns])
            old = [load(w, self.own, place, mask) for place in places[-1]]
            before.append([w.put(f"select {w.mask} {self.fresh}, {w.vector} zeroinitializer, {w.vector} {each}")
                           for each in old])  # fmt: skip
        w.lines += [f"  br label %{label}.row", f"{label}.row:",
                    f"  %i.{label} = phi i64 [ %g0, %{label}.begin ], [ %i.{label}.n, %{label}.row ]"]  # fmt: skip
        for k in moved:
            w.lines.append(f"  %q.{label}.{k} = phi ptr [ %p.{label}.{k}, %{label}.begin ], "
                           f"[ %q.{label}.{k}.n, %{label}.row ]")  # fmt: skip
        for group, values in zip(sums, before):
            w.lines += [f"  {total} = phi {w.vector} [ {value}, %{label}.begin ], [ {total}.n, %{label}.row ]"
                        for total, value in zip(group, values)]  # fmt: skip
        names = [self._row(label, u, dict(held[u]), mask) for u in every]
        for k, node in zip(self.written, self.what.outputs):
            for u in every:
                raw = narrowed(w, self.what.format, names[u][node])
                store(w, self.what.format, raw, self._at(label, k, u), mask)
        for group, node in zip(sums, self.what.sums):
            w.lines += [f"  {group[u]}.n = fadd {w.vector} {group[u]}, {names[u][node]}" for u in every]
        for k in moved:
            w.lines.append(f"  %q.{label}.{k}.n = {self._element(k, f'%q.{label}.{k}', f'%stride{k}')}")
        w.lines += [f"  %i.{label}.n = add i64 %i.{label}, 1",
                    f"  %more.{label} = icmp slt i64 %i.{label}.n, %g1",
                    f"  br i1 %more.{label}, label %{label}.row, label %{label}.sums", f"{label}.sums:"]  # fmt: skip
        for group, own in zip(sums, places):
            for total, place in zip(group, own):
                store(w, self.own, f"{total}.n", place, mask)

    def _element(self, k: int, start: str, offset: str) -> str:
        """Return the instruction that moves an address of operand k by so many of its elements."""
        moved = k in self.read or k in self.written
        raw = MEMORY[self.what.format].raw if moved else self.w.kind.name
        return f"getelementptr {raw}, ptr {start}, i64 {offset}"

    def _at(self, label: str, k: int, u: int) -> str:
        """Return the address of vector u of operand k in this row."""
        pointer = f"%q.{label}.{k}"
        return self.w.put(self._element(k, pointer, str(self.w.width * u))) if u else pointer

    def _held(self, column: str, mask: str | None) -> dict[Expr, str]:
        """Write the loading and computing of what is the same for all rows."""
        w, names = self.w, dict[Expr, str]()
        for node in self.order:
            if node in self.moving:
                continue
            index = index_of(node)
            if index is None:
                names[node] = operation(w, node, [names[a] for a in node.args])
            else:
                names[node] = load(w, self.own, w.put(self._element(index, f"%start{index}.p", column)), mask)
        return names

    def _row(self, label: str, u: int, names: dict[Expr, str], mask: str | None) -> dict[Expr, str]:
        """Write the loading and computing of what differs from row to row; returns the names of all nodes."""
        for node in self.order:
            if node not in self.moving:
                continue
            index = index_of(node)
            if index is None:
                names[node] = operation(self.w, node, [names[a] for a in node.args])
            else:
                raw = load(self.w, self.what.format, self._at(label, index, u), mask)
                names[node] = widened(self.w, self.what.format, raw)
        return names
