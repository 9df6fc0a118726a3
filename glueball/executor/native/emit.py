"""Writes a segment as LLVM text: one function that runs over rows and columns of its arrays.

The one idea: vectors are explicit in the text and equal parts are one node, so LLVM only chooses instructions and
registers: milliseconds. All else comes at run time. Work is cut into blocks, which every thread that calls the function
fetches from a counter; what is summed over rows is summed per block, so threads do not change results.

The interface: `void f(int64 *arguments)`, an array of 64-bit integers:

    0 counter         0 at first; without resetting it, a second call does nothing
    1 rows            N
    2 columns         H
    3 block_rows      rows of a block (≥ 1)
    4 block_columns   columns of a block (≥ 1); H where `segment.whole_rows`
    5 blocks          blocks_down · blocks_across; 0 where N is 0
    6 blocks_across   ⌈H / block_columns⌉, at least 1; 1 where `segment.whole_rows`
    7 …               (address, row stride in elements of its format) of every operand: `segment.inputs` in their order,
                      then `outputs`, `row_sums`, `column_sums`, `numbers`

- An input not in `segment.columns` is read at address + i·stride + j (stride 0: one row for all rows), one in `columns`
  at address + i·stride (stride 0: one number for all). Along columns elements are contiguous.
- `outputs` are written at address + i·stride + j. They may be inputs, if they lie exactly on them.
- `row_sums`: row block d adds its sums to the H numbers at address + d·stride, or with `segment.fresh` overwrites them.
  (inputs=(0,), row_sums=(x0,)) with block_rows = N is the second stage, on the partial sums.
- `column_sums`, `numbers`: one number per row at address + i·stride.
- It is computed in float32 or float64 (`Compiler.kernel`'s argument); `segment.formats` says what lies in memory.
- Where `segment.flat` and all strides are H, (N, H) may be given as (1, N·H), cut into blocks across.

Not here: what is computed in which loop (segment.py), loads and stores (memory.py), the loop over blocks (frame.py),
machine code (compile.py), filling in the arguments (places.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf
from typing import final

from .expression import Expr, index_of, number_of, topological
from .frame import fetch_blocks, load_arguments
from .memory import MEMORY, load, narrowed, store, widened
from .phrases import function, splat
from .random_bits import key, uniforms
from .segment import Phase, Schedule, Segment, cost
from .vector_math import FUNCTIONS, Format, Writer

__all__ = ["Segment", "write_module", "cost", "operation"]

_BINARY = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_PREDICATES = {"lt": "olt", "le": "ole", "eq": "oeq", "ne": "une"}
_SCRATCH = 16384  # bytes that are taken from the stack, beyond from the heap


@final
class _Body:
    """The text of the function, block by block.

    block : the label of the block that is being written, for what comes after it
    row : names of what is the same for the whole row
    """

    def __init__(self, segment: Segment, kind: Format, width: int) -> None:
        self.segment, self.schedule = segment, Schedule(segment)
        self.w = Writer(kind, width)
        self.text = self.w.lines
        own = {"float": "float32", "double": "float64"}[kind.name]
        results = segment.results
        self.operands = len(segment.inputs) + len(results)
        self.formats = segment.formats or (own,) * self.operands
        self.operand = {index: k for k, index in enumerate(segment.inputs)}
        first = [len(segment.inputs)]
        for group in (segment.outputs, segment.row_sums, segment.column_sums, segment.numbers):
            first.append(first[-1] + len(group))
        self.outputs, self.row_sums, self.column_sums, self.numbers = (range(a, b) for a, b in pairwise(first))
        self.block = "row"
        self.row: dict[Expr, str] = {}
        self.raw: dict[int, str] = {}
        seeds = [node.args[0] for node in topological(results) if node.op == "uniform"]
        self.seeds = {index_of(seed) for seed in seeds}

    # -- outside the columns -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Write the loading of the arguments, scratch rows, and the loop over blocks."""
        load_arguments(self.w, self.operands)
        kept = len(self.schedule.kept)
        at_end: list[str] = []
        if kept:
            size, width = self.w.kind.size, self.w.width
            self.w.declared |= {"declare ptr @malloc(i64)", "declare void @free(ptr)"}
            self.text += [
                f"  %stack = alloca [{_SCRATCH} x i8], align 64",
                f"  %padded = add i64 %columns, {width - 1}",
                f"  %scratch_row = and i64 %padded, {-width}",
                f"  %scratch_size = mul i64 %scratch_row, {kept * size}",
                f"  %large = icmp ugt i64 %scratch_size, {_SCRATCH}",
                "  br i1 %large, label %heap, label %ready",
                "heap:",
                "  %far = call ptr @malloc(i64 %scratch_size)",
                "  br label %ready",
                "ready:",
                "  %scratch = phi ptr [ %stack, %entry ], [ %far, %heap ]",
            ]
            at_end = ["  br i1 %large, label %release, label %end", "release:", "  call void @free(ptr %scratch)",
                      "  br label %end", "end:"]  # fmt: skip
        fetch_blocks(self.w, at_end)

    def rows(self) -> None:
        """Write the loop over rows: addresses of the operands, the loops over columns, numbers of the whole row."""
        w = self.w
        self.text += ["  br label %row", "row:", "  %i = phi i64 [ %r0, %block ], [ %i1, %rowend ]"]
        for k in range(self.operands):
            row = "%down" if k in self.row_sums else "%i"
            self.text += [
                f"  %offset{k} = mul i64 {row}, %stride{k}",
                f"  %p{k} = getelementptr {MEMORY[self.formats[k]].raw}, ptr %start{k}.p, i64 %offset{k}",
            ]
        if self.segment.row_sums and self.segment.fresh:
            self.text.append("  %first = icmp eq i64 %i, %r0")
        for number, phase in enumerate(self.schedule.phases):
            for node in phase.before:
                self._once(node)
            self._loop(number, phase)
        for node in self.schedule.after:
            self._once(node)
        for k, node in zip(self.numbers, self.segment.numbers):
            raw = narrowed(w, self.formats[k], self.row[node])
            self._store_one(k, raw)
        self.text += [
            "  br label %rowend",
            "rowend:",
            "  %i1 = add i64 %i, 1",
            "  %again = icmp slt i64 %i1, %r1",
            "  br i1 %again, label %row, label %fetch",
        ]

    def _store_one(self, k: int, raw: str) -> None:
        """Write the storing of the first element of a vector, one number of the row."""
        m = MEMORY[self.formats[k]]
        one = self.w.put(f"extractelement <{self.w.width} x {m.raw}> {raw}, i32 0")
        self.text.append(f"  store {m.raw} {one}, ptr %p{k}, align {m.size}")

    def _once(self, node: Expr) -> None:
        """Write what is the same for the whole row, as a vector of it."""
        w, index = self.w, index_of(node)
        if node in self.row:
            return
        if index is not None:
            k = self.operand[index]
            m = MEMORY[self.formats[k]]
            one = w.put(f"load {m.raw}, ptr %p{k}, align {m.size}")
            if index in self.seeds:
                self.row[node] = one
                return
            name = widened(w, self.formats[k], splat(w, one, m.raw))
        elif node.op in ("row_index", "row_count", "column_count"):
            number = {"row_index": "%i", "row_count": "%rows", "column_count": "%columns"}[node.op]
            name = splat(w, w.put(f"sitofp i64 {number} to {w.kind.name}"), w.kind.name)
        elif node.op == "total":  # of something that does not vary
            count = splat(w, w.put(f"sitofp i64 %columns to {w.kind.name}"), w.kind.name)
            name = w.binary("fmul", self.row[node.args[0]], count)
        elif node.op == "peak":
            name = self.row[node.args[0]]
        else:
            name = operation(w, node, [self.row[argument] for argument in node.args])
        self.row[node] = name

    # -- a loop over columns -------------------------------------------------------------------------------------------

    def _loop(self, n: int, phase: Phase) -> None:
        """Write loop number n: load, compute, add up or store, each vector whole or in part."""
        w, segment = self.w, self.segment
        added = [(node, node.args[0]) for node in phase.sums]
        if phase.writes:
            added += [(node, node) for node in segment.column_sums]
        self._begin(n, len(added), len(phase.peaks))
        reads = [self.operand[index] for node in phase.order if (index := index_of(node)) is not None]
        for k in [*reads, *self.outputs, *self.row_sums] if phase.writes else reads:
            self.text.append(f"  %q{n}.{k} = getelementptr {MEMORY[self.formats[k]].raw}, ptr %p{k}, i64 %j{n}")
        part = self._loads(n, reads)
        names = dict(self.row)
        for node in phase.order:
            names[node] = self._varying(n, node, names)
        for k, (_, value) in enumerate(added):
            some = w.put(f"select {w.mask} {part}, {w.vector} {names[value]}, {w.vector} zeroinitializer")
            self.text.append(f"  %t{n}.{k} = fadd {w.vector} %s{n}.{k}, {some}")
        for k, node in enumerate(phase.peaks):
            lowest = w.number(-inf)
            some = w.put(f"select {w.mask} {part}, {w.vector} {names[node.args[0]]}, {w.vector} {lowest}")
            greater = w.put(f"fcmp ogt {w.vector} %m{n}.{k}, {some}")
            lost = w.put(f"fcmp uno {w.vector} {some}, {some}")
            self.text += [
                f"  %n{n}.{k} = select {w.mask} {greater}, {w.vector} %m{n}.{k}, {w.vector} {some}",
                f"  %worse{n}.{k} = or {w.mask} %bad{n}.{k}, {lost}",
            ]
        if phase.writes:
            self._stores(n, names)
        else:
            self.text.append(f"  br label %next{n}")
        self.text += [
            f"next{n}:",
            f"  %j{n}n = add i64 %j{n}, {w.width}",
            f"  %more{n} = icmp slt i64 %j{n}n, %c1",
            f"  br i1 %more{n}, label %column{n}, label %after{n}",
            f"after{n}:",
        ]
        self.block = f"after{n}"
        self._reduce(n, [node for node, _ in added], phase)

    def _begin(self, n: int, sums: int, peaks: int) -> None:
        """Write the head of a loop: its column, and what is carried from one vector to the next."""
        w, before = self.w, self.block
        start = f"%{before} ]"
        self.text += [f"  br label %column{n}", f"column{n}:"]
        self.text.append(f"  %j{n} = phi i64 [ %c0, {start}, [ %j{n}n, %next{n} ]")
        for k in range(sums):
            self.text.append(f"  %s{n}.{k} = phi {w.vector} [ zeroinitializer, {start}, [ %t{n}.{k}, %next{n} ]")
        for k in range(peaks):
            self.text += [
                f"  %m{n}.{k} = phi {w.vector} [ {w.number(-inf)}, {start}, [ %n{n}.{k}, %next{n} ]",
                f"  %bad{n}.{k} = phi {w.mask} [ zeroinitializer, {start}, [ %worse{n}.{k}, %next{n} ]",
            ]

    def _loads(self, n: int, operands: Sequence[int]) -> str:
        """Write the loading of inputs, whole or in part; return the mask of the elements that there are."""
        w, width = self.w, self.w.width
        lanes, index = ", ".join(f"i32 {lane}" for lane in range(width)), f"<{width} x i32>"
        self.text += [
            f"  %left{n} = sub i64 %c1, %j{n}",
            f"  %whole{n} = icmp sge i64 %left{n}, {width}",
            f"  br i1 %whole{n}, label %loadall{n}, label %loadsome{n}",
            f"loadall{n}:",
        ]
        all_ = [load(w, self.formats[k], f"%q{n}.{k}", None) for k in operands]
        self.text += [
            f"  br label %compute{n}",
            f"loadsome{n}:",
            f"  %few{n} = trunc i64 %left{n} to i32",
            f"  %lane{n} = insertelement {index} poison, i32 %few{n}, i32 0",
            f"  %lanes{n} = shufflevector {index} %lane{n}, {index} poison, {index} zeroinitializer",
            f"  %part{n}.some = icmp slt {index} <{lanes}>, %lanes{n}",
        ]
        some = [load(w, self.formats[k], f"%q{n}.{k}", f"%part{n}.some") for k in operands]
        self.text += [
            f"  br label %compute{n}",
            f"compute{n}:",
            f"  %part{n} = phi {w.mask} [ splat (i1 true), %loadall{n} ], [ %part{n}.some, %loadsome{n} ]",
        ]
        for k, whole, few in zip(operands, all_, some):
            vector = f"<{width} x {MEMORY[self.formats[k]].raw}>"
            self.raw[k] = w.put(f"phi {vector} [ {whole}, %loadall{n} ], [ {few}, %loadsome{n} ]")
        return f"%part{n}"

    def _varying(self, n: int, node: Expr, names: dict[Expr, str]) -> str:
        """Write a node that varies with the column; one that is kept is written to its scratch row, or read there."""
        w, index = self.w, index_of(node)
        if index is not None:
            k = self.operand[index]
            return widened(w, self.formats[k], self.raw[k])
        row = self.schedule.kept.get(node)
        place = ""
        if row is not None:
            at = w.put(f"add i64 %j{n}, {w.put(f'mul i64 %scratch_row, {row}')}" if row else f"add i64 %j{n}, 0")
            place = w.put(f"getelementptr {w.kind.name}, ptr %scratch, i64 {at}")
            if self.schedule.first[node] != n:
                return w.put(f"load {w.vector}, ptr {place}, align {w.kind.size}")
        if node.op == "column_index":
            start = splat(w, w.put(f"sitofp i64 %j{n} to {w.kind.name}"), w.kind.name)
            steps = ", ".join(f"{w.kind.name} {float(lane)}" for lane in range(w.width))
            name = w.binary("fadd", start, f"<{steps}>")
        elif node.op == "uniform":
            first = w.put(f"add i64 {w.put('mul i64 %i, %columns')}, %j{n}")
            name = uniforms(w, key(w, names[node.args[0]], int(node.value or 0)), first)
        else:
            name = operation(w, node, [names[argument] for argument in node.args])
        if place:
            self.text.append(f"  store {w.vector} {name}, ptr {place}, align {w.kind.size}")
        return name

    def _stores(self, n: int, names: dict[Expr, str]) -> None:
        """Write the storing of results, whole or in part."""
        w, segment = self.w, self.segment
        values = [(k, narrowed(w, self.formats[k], names[node])) for k, node in zip(self.outputs, segment.outputs)]
        fresh = bool(segment.row_sums) and segment.fresh
        first = splat(self.w, "%first", "i1") if fresh else ""
        self.text.append(f"  br i1 %whole{n}, label %storeall{n}, label %storesome{n}")
        for name, mask in (("all", None), ("some", f"%part{n}")):
            self.text.append(f"store{name}{n}:")
            for k, raw in values:
                store(w, self.formats[k], raw, f"%q{n}.{k}", mask)
            for k, node in zip(self.row_sums, segment.row_sums):
                old = load(w, self.formats[k], f"%q{n}.{k}", mask)
                if fresh:
                    old = w.put(f"select {w.mask} {first}, {w.vector} zeroinitializer, {w.vector} {old}")
                store(w, self.formats[k], w.binary("fadd", old, names[node]), f"%q{n}.{k}", mask)
            self.text.append(f"  br label %next{n}")

    def _reduce(self, n: int, added: Sequence[Expr], phase: Phase) -> None:
        """Write one number of each vector of sums and maxima."""
        w, name = self.w, self.w.kind.name
        for k, node in enumerate(added):
            w.declared.add(f"declare {name} @llvm.vector.reduce.fadd.{w.suffix}({name}, {w.vector})")
            one = w.put(f"call reassoc {name} @llvm.vector.reduce.fadd.{w.suffix}({name} 0.0, {w.vector} %t{n}.{k})")
            if k < len(phase.sums):
                self.row[node] = splat(w, one, name)
            else:
                at = self.column_sums[k - len(phase.sums)]
                self._store_one(at, narrowed(w, self.formats[at], splat(w, one, name)))
        for k, node in enumerate(phase.peaks):
            flags = f"v{w.width}i1"
            w.declared.add(f"declare {name} @llvm.vector.reduce.fmax.{w.suffix}({w.vector})")
            w.declared.add(f"declare i1 @llvm.vector.reduce.or.{flags}({w.mask})")
            one = w.put(f"call nnan {name} @llvm.vector.reduce.fmax.{w.suffix}({w.vector} %n{n}.{k})")
            lost = w.put(f"call i1 @llvm.vector.reduce.or.{flags}({w.mask} %worse{n}.{k})")
            one = w.put(f"select i1 {lost}, {name} 0x7FF8000000000000, {name} {one}")
            self.row[node] = splat(w, one, name)


def operation(w: Writer, node: Expr, args: Sequence[str]) -> str:
    """Write the arithmetic of one node; return the name of the result."""
    number = number_of(node)
    if number is not None:
        return w.number(number)
    if node.op in _BINARY:
        return w.binary(_BINARY[node.op], *args)
    if node.op == "select":
        return w.choose(_PREDICATES[str(node.value)], *args)
    if node.op in ("maximum", "minimum"):
        a, b = args  # b where one is NaN; then a where a is
        name = w.choose("ogt" if node.op == "maximum" else "olt", a, b, a, b)
        return w.choose("uno", a, a, a, name)
    return FUNCTIONS[node.op](w, args[0])


def write_module(name: str, segment: Segment, kind: Format, vector_bytes: int) -> str:
    """Return the text of a module with one function `void name(int64 *arguments)`.

    Parameters
    ----------
    name : of the function
    kind : the type that is computed in
    vector_bytes : the size of the processor's vectors
    """
    body = _Body(segment, kind, vector_bytes // kind.size)
    body.begin()
    body.rows()
    return function(name, body.w)
