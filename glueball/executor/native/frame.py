"""What every compiled function begins and ends with: its arguments, and the loop that fetches blocks.

The one idea: emit.py says what the arguments are; here they get names: %rows, %columns, %block_rows, %block_columns,
%blocks, %blocks_across, and of operand k the %start and the %stride. In a block, %down and %across are its numbers,
rows go from %r0 to %r1, columns from %c0 to %c1; what follows is written after the label "block" and ends in a jump to
"fetch".

Not here: what is done with a block (emit.py, channels.py, panels.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from .vector_math import Writer

__all__ = ["load_arguments", "named_arguments", "fetch_blocks", "first_lanes", "splat", "function"]

_HEADER = ("counter", "rows", "columns", "block_rows", "block_columns", "blocks", "blocks_across")


def load_arguments(w: Writer, operands: int) -> None:
    """Write the loading of sizes, addresses and strides."""

    def argument(index: int, name: str) -> None:
        w.lines.append(f"  {name}.a = getelementptr i64, ptr %args, i64 {index}")
        w.lines.append(f"  {name} = load i64, ptr {name}.a")

    for index, name in enumerate(_HEADER[1:], 1):
        argument(index, f"%{name}")
    for k in range(operands):
        argument(len(_HEADER) + 2 * k, f"%base{k}")
        argument(len(_HEADER) + 2 * k + 1, f"%stride{k}")
        w.lines.append(f"  %start{k} = inttoptr i64 %base{k} to ptr")


def named_arguments(w: Writer, names: Sequence[str], pointers: Sequence[str]) -> None:
    """Write the loading of arguments by name, the first behind the counter; those that are addresses as `%name.p`,
    too.
    """
    for index, name in enumerate(names, 1):
        w.lines += [f"  %{name}.a = getelementptr i64, ptr %args, i64 {index}",
                    f"  %{name} = load i64, ptr %{name}.a"]  # fmt: skip
        if name in pointers:
            w.lines.append(f"  %{name}.p = inttoptr i64 %{name} to ptr")


def first_lanes(w: Writer, count: str, skip: int = 0) -> str:
    """Return the mask of as many lanes as `count` says, without the first `skip` of them."""
    few = splat(w, count, "i64")
    lanes = ", ".join(f"i64 {lane + skip}" for lane in range(w.width))
    return w.put(f"icmp slt <{w.width} x i64> <{lanes}>, {few}")


def fetch_blocks(w: Writer, at_end: Sequence[str] = ()) -> None:
    """Write the loop over blocks and the limits of each. at_end : what is done when there are no more."""
    w.lines += [
        "  br label %fetch",
        "fetch:",
        "  %b = atomicrmw add ptr %args, i64 1 monotonic",
        "  %some = icmp slt i64 %b, %blocks",
        "  br i1 %some, label %block, label %done",
        "done:",
        *at_end,
        "  ret void",
        "block:",
        "  %down = udiv i64 %b, %blocks_across",
        "  %across = urem i64 %b, %blocks_across",
    ]
    for axis, number, size in (("rows", "%down", "r"), ("columns", "%across", "c")):
        w.lines += [
            f"  %{size}0 = mul i64 {number}, %block_{axis}",
            f"  %{size}e = add i64 %{size}0, %block_{axis}",
            f"  %{size}f = icmp slt i64 %{size}e, %{axis}",
            f"  %{size}1 = select i1 %{size}f, i64 %{size}e, i64 %{axis}",
        ]


def splat(w: Writer, scalar: str, kind: str) -> str:
    """Write a vector of one number of an LLVM type; return its name."""
    vector = f"<{w.width} x {kind}>"
    one = w.put(f"insertelement {vector} poison, {kind} {scalar}, i32 0")
    return w.put(f"shufflevector {vector} {one}, {vector} poison, <{w.width} x i32> zeroinitializer")


def function(name: str, w: Writer) -> str:
    """Return the module of what was written."""
    body, declared = "\n".join(w.lines), "\n".join(sorted(w.declared))
    return f"define void @{name}(ptr %args) {{\nentry:\n{body}\n}}\n\n{declared}\n"
