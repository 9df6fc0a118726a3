"""What a segment begins with: its arguments, and the loop that fetches blocks.

The one idea: emit.py says what the arguments are; here they get names: %rows, %columns, %block_rows, %block_columns,
%blocks, %blocks_across, and of operand k the %start and the %stride. In a block, %down and %across are its numbers,
rows go from %r0 to %r1, columns from %c0 to %c1; what follows is written after the label "block" and ends in a jump to
"fetch".

Not here: what is done with a block (emit.py, channels.py), functions with other arguments (phrases.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from .phrases import arguments, fetch
from .vector_math import Writer

__all__ = ["load_arguments", "fetch_blocks"]

_SIZES = ("rows", "columns", "block_rows", "block_columns", "blocks", "blocks_across")


def load_arguments(w: Writer, operands: int) -> None:
    """Write the loading of sizes, addresses and strides."""
    starts = [f"start{k}" for k in range(operands)]
    places = [name for k, start in enumerate(starts) for name in (start, f"stride{k}")]
    arguments(w, (*_SIZES, *places), starts)


def fetch_blocks(w: Writer, at_end: Sequence[str] = ()) -> None:
    """Write the loop over blocks and the limits of each. at_end : what is done when there are no more."""
    fetch(w, at_end)
    w.lines += ["  %down = udiv i64 %b, %blocks_across", "  %across = urem i64 %b, %blocks_across"]
    for axis, number, size in (("rows", "%down", "r"), ("columns", "%across", "c")):
        w.lines += [
            f"  %{size}0 = mul i64 {number}, %block_{axis}",
            f"  %{size}e = add i64 %{size}0, %block_{axis}",
            f"  %{size}f = icmp slt i64 %{size}e, %{axis}",
            f"  %{size}1 = select i1 %{size}f, i64 %{size}e, i64 %{axis}",
        ]
