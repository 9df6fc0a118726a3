"""Writes a segment as LLVM text: one function that runs over rows and columns of its arrays.

The one idea: vectors are explicit in the text (no optimiser has to find them) and equal parts are already one node, so
what is left for LLVM is choosing instructions and registers: milliseconds. The function gets everything else at run
time: sizes, pointers, row strides. Work is cut into blocks, and every thread that calls the function fetches blocks
from a counter until there are no more; what is summed over rows is summed per block, so results do not depend on the
number of threads.

Layout of the argument, an array of 64-bit integers: `_HEADER` names the first ones (counter is 0 at first); then
(pointer, row stride in elements) of every operand: inputs, outputs, sums over rows (one row per block of rows), sums
over columns.

Not here: machine code (compile.py), filling in the arguments (run.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from .expression import Expr, index_of, number_of, topological
from .vector_math import FUNCTIONS, Format, Writer

__all__ = ["Segment", "write_module", "cost"]

_HEADER = ("counter", "rows", "columns", "block_rows", "block_columns", "blocks", "blocks_across")
_BINARY = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_PREDICATES = {"lt": "olt", "le": "ole", "eq": "oeq", "ne": "une"}
# Relative to an addition, for the choice of the number of threads
_COSTS = {"exp": 12, "expm1": 14, "tanh": 20, "sigmoid": 18, "log": 24, "log1p": 30, "softrelu": 45, "erf": 35,
          "div": 5, "sqrt": 5, "rsqrt": 8, "softsign": 7}  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class Segment:
    """What one function computes.

    inputs : the indices of the inputs it reads; columns : those of them that are one number per row
    outputs : results written as whole arrays
    row_sums : results summed over rows, per block; column_sums : results summed over columns
    """

    inputs: tuple[int, ...]
    columns: frozenset[int]
    outputs: tuple[Expr, ...]
    row_sums: tuple[Expr, ...] = ()
    column_sums: tuple[Expr, ...] = ()

    @property
    def results(self) -> tuple[Expr, ...]:
        """All results, in the order of the operands."""
        return self.outputs + self.row_sums + self.column_sums


def cost(segment: Segment) -> int:
    """Return about how many additions one element costs."""
    return sum(_COSTS.get(node.op, 1) for node in topological(segment.results))


def _evaluate(w: Writer, segment: Segment, loaded: dict[int, str]) -> list[str]:
    """Write the arithmetic; return the names of the results."""
    names: dict[Expr, str] = {}
    for node in topological(segment.results):
        args = [names[argument] for argument in node.args]
        index, number = index_of(node), number_of(node)
        if index is not None:
            name = loaded[index]
        elif number is not None:
            name = w.number(number)
        elif node.op in _BINARY:
            name = w.binary(_BINARY[node.op], *args)
        elif node.op == "select":
            name = w.choose(_PREDICATES[str(node.value)], *args)
        elif node.op in ("maximum", "minimum"):
            a, b = args  # b where one is NaN; then a where a is
            name = w.choose("ogt" if node.op == "maximum" else "olt", a, b, a, b)
            name = w.choose("uno", a, a, a, name)
        else:
            name = FUNCTIONS[node.op](w, args[0])
        names[node] = name
    return [names[result] for result in segment.results]


class _Body:
    """The text of the function, block by block."""

    def __init__(self, segment: Segment, kind: Format, width: int) -> None:
        self.segment = segment
        self.w = Writer(kind, width)
        self.text = self.w.lines
        self.wide = [k for k, index in enumerate(segment.inputs) if index not in segment.columns]
        inputs, outputs = len(segment.inputs), len(segment.outputs)
        self.first_output = inputs
        self.first_row_sum = inputs + outputs
        self.first_column_sum = self.first_row_sum + len(segment.row_sums)
        self.operands = self.first_column_sum + len(segment.column_sums)

    def argument(self, index: int, name: str) -> None:
        """Write the loading of one 64-bit argument."""
        self.text += [f"  {name}.a = getelementptr i64, ptr %args, i64 {index}", f"  {name} = load i64, ptr {name}.a"]

    def blocks(self) -> None:
        """Write the loop over blocks and the limits of each."""
        for index, name in enumerate(_HEADER[1:], 1):
            self.argument(index, f"%{name}")
        self.text += [
            "  br label %fetch",
            "fetch:",
            "  %b = atomicrmw add ptr %args, i64 1 monotonic",
            "  %some = icmp slt i64 %b, %blocks",
            "  br i1 %some, label %block, label %done",
            "done:",
            "  ret void",
            "block:",
            "  %down = udiv i64 %b, %blocks_across",
            "  %across = urem i64 %b, %blocks_across",
        ]
        for axis, number, size in (("rows", "%down", "r"), ("columns", "%across", "c")):
            self.text += [
                f"  %{size}0 = mul i64 {number}, %block_{axis}",
                f"  %{size}e = add i64 %{size}0, %block_{axis}",
                f"  %{size}f = icmp slt i64 %{size}e, %{axis}",
                f"  %{size}1 = select i1 %{size}f, i64 %{size}e, i64 %{axis}",
            ]

    def rows(self) -> None:
        """Write the loop over rows: addresses of the operands, numbers that hold for a whole row."""
        kind, w = self.w.kind, self.w
        self.text += ["  br label %row", "row:", "  %i = phi i64 [ %r0, %block ], [ %i1, %rowend ]"]
        for k in range(self.operands):
            at = len(_HEADER) + 2 * k
            self.argument(at, f"%base{k}")
            self.argument(at + 1, f"%stride{k}")
            row = "%down" if self.first_row_sum <= k < self.first_column_sum else "%i"
            self.text += [
                f"  %offset{k} = mul i64 {row}, %stride{k}",
                f"  %start{k} = inttoptr i64 %base{k} to ptr",
                f"  %p{k} = getelementptr {kind.name}, ptr %start{k}, i64 %offset{k}",
            ]
        for k, index in enumerate(self.segment.inputs):
            if index in self.segment.columns:
                self.text += [
                    f"  %one{k} = load {kind.name}, ptr %p{k}",
                    f"  %in{k} = insertelement {w.vector} poison, {kind.name} %one{k}, i32 0",
                    f"  %x{k} = shufflevector {w.vector} %in{k}, {w.vector} poison, <{w.width} x i32> zeroinitializer",
                ]

    def load(self, name: str, pointer: str, mask: str | None) -> None:
        """Write the loading of a vector; with a mask only of the elements that it has, the others are 0."""
        w, size = self.w, self.w.kind.size
        if mask:
            w.declared.add(f"declare {w.vector} @llvm.masked.load.{w.suffix}.p0(ptr, i32, {w.mask}, {w.vector})")
            self.text.append(
                f"  {name} = call {w.vector} @llvm.masked.load.{w.suffix}.p0(ptr {pointer}, i32 {size}, "
                f"{w.mask} {mask}, {w.vector} zeroinitializer)"
            )
        else:
            self.text.append(f"  {name} = load {w.vector}, ptr {pointer}, align {size}")

    def store(self, value: str, pointer: str, mask: str | None) -> None:
        """Write the storing of a vector; with a mask only of the elements that it has."""
        w, size = self.w, self.w.kind.size
        if mask:
            w.declared.add(f"declare void @llvm.masked.store.{w.suffix}.p0({w.vector}, ptr, i32, {w.mask})")
            self.text.append(
                f"  call void @llvm.masked.store.{w.suffix}.p0({w.vector} {value}, ptr {pointer}, i32 {size}, "
                f"{w.mask} {mask})"
            )
        else:
            self.text.append(f"  store {w.vector} {value}, ptr {pointer}, align {size}")

    def columns(self) -> None:
        """Write the loop over columns: load, compute, store, each vector whole or in part."""
        w, kind = self.w, self.w.kind
        sums = range(len(self.segment.column_sums))
        self.text += ["  br label %column", "column:", "  %j = phi i64 [ %c0, %row ], [ %j1, %next ]"]
        self.text += [f"  %s{k} = phi {w.vector} [ zeroinitializer, %row ], [ %t{k}, %next ]" for k in sums]
        self.text += [
            "  %left = sub i64 %c1, %j",
            f"  %whole = icmp sge i64 %left, {w.width}",
            *(f"  %q{k} = getelementptr {kind.name}, ptr %p{k}, i64 %j" for k in self._moving()),
            "  br i1 %whole, label %loadall, label %loadsome",
            "loadall:",
        ]
        for k in self.wide:
            self.load(f"%x{k}.all", f"%q{k}", None)
        lanes = ", ".join(f"i32 {lane}" for lane in range(w.width))
        index = f"<{w.width} x i32>"
        self.text += [
            "  br label %compute",
            "loadsome:",
            "  %few = trunc i64 %left to i32",
            f"  %lane = insertelement {index} poison, i32 %few, i32 0",
            f"  %lanes = shufflevector {index} %lane, {index} poison, {index} zeroinitializer",
            f"  %part.some = icmp ult {index} <{lanes}>, %lanes",
        ]
        for k in self.wide:
            self.load(f"%x{k}.some", f"%q{k}", "%part.some")
        self.text += [
            "  br label %compute",
            "compute:",
            f"  %part = phi {w.mask} [ splat (i1 true), %loadall ], [ %part.some, %loadsome ]",
            *(f"  %x{k} = phi {w.vector} [ %x{k}.all, %loadall ], [ %x{k}.some, %loadsome ]" for k in self.wide),
        ]
        results = _evaluate(w, self.segment, {index: f"%x{k}" for k, index in enumerate(self.segment.inputs)})
        self.finish(results)

    def _moving(self) -> list[int]:
        """The operands that are addressed by column."""
        return [*self.wide, *range(self.first_output, self.first_column_sum)]

    def finish(self, results: Sequence[str]) -> None:
        """Write what happens to the results, and the ends of the loops."""
        w, kind, segment = self.w, self.w.kind, self.segment
        outputs, row_sums = len(segment.outputs), len(segment.row_sums)
        for k, value in enumerate(results[outputs + row_sums :]):
            self.text += [
                f"  %u{k} = select {w.mask} %part, {w.vector} {value}, {w.vector} zeroinitializer",
                f"  %t{k} = fadd {w.vector} %s{k}, %u{k}",
            ]
        self.text.append("  br i1 %whole, label %storeall, label %storesome")
        for name, mask in (("all", None), ("some", "%part")):
            self.text.append(f"store{name}:")
            for k, value in enumerate(results[:outputs], self.first_output):
                self.store(value, f"%q{k}", mask)
            for k, value in enumerate(results[outputs : outputs + row_sums], self.first_row_sum):
                self.load(f"%old{k}.{name}", f"%q{k}", mask)
                self.text.append(f"  %new{k}.{name} = fadd {w.vector} %old{k}.{name}, {value}")
                self.store(f"%new{k}.{name}", f"%q{k}", mask)
            self.text.append("  br label %next")
        self.text += [
            "next:",
            f"  %j1 = add i64 %j, {w.width}",
            "  %more = icmp slt i64 %j1, %c1",
            "  br i1 %more, label %column, label %rowend",
            "rowend:",
        ]
        for k in range(len(segment.column_sums)):
            self.text += [
                f"  %sum{k} = call reassoc {kind.name} @llvm.vector.reduce.fadd.{w.suffix}({kind.name} 0.0, "
                f"{w.vector} %t{k})",
                f"  store {kind.name} %sum{k}, ptr %p{self.first_column_sum + k}",
            ]
            w.declared.add(f"declare {kind.name} @llvm.vector.reduce.fadd.{w.suffix}({kind.name}, {w.vector})")
        self.text += [
            "  %i1 = add i64 %i, 1",
            "  %again = icmp slt i64 %i1, %r1",
            "  br i1 %again, label %row, label %fetch",
        ]


def write_module(name: str, segment: Segment, kind: Format, vector_bytes: int) -> str:
    """Return the text of a module with one function `void name(int64 *arguments)`.

    Parameters
    ----------
    name : of the function
    kind : the element type
    vector_bytes : the size of the processor's vectors
    """
    body = _Body(segment, kind, vector_bytes // kind.size)
    body.blocks()
    body.rows()
    body.columns()
    return f"""
define void @{name}(ptr %args) {{
{chr(10).join(body.text)}
}}

{chr(10).join(sorted(body.w.declared))}
"""
