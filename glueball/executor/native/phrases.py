"""Phrases of LLVM's language that all compiled functions are made of: arguments, loops, addresses, loads and stores.

The one idea: a loop is a `with` statement, and what is written inside is its body; labels and counters have the loop's
name, so names differ within a function. Sizes are 64-bit integers.

Not here: arithmetic of vectors (vector_math.py), element types that are converted on the way (memory.py), what the
arguments of segments are (frame.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from .memory import MEMORY
from .vector_math import Writer

__all__ = ["Part", "loop", "define", "module", "function", "arguments", "fetch", "at", "load", "store", "mul", "add",
           "least", "splat", "first_lanes"]  # fmt: skip

Part: TypeAlias = "tuple[str, set[str]]"  # the text of a function, and what it declares


@contextmanager
def loop(w: Writer, name: str, start: str | int, end: str, step: int = 1) -> Iterator[str]:
    """Write a loop around what is written inside; nothing is done where start ≥ end. Yields the counter's name."""
    w.lines += [
        f"  br label %{name}.pre",
        f"{name}.pre:",
        f"  %{name}.any = icmp slt i64 {start}, {end}",
        f"  br i1 %{name}.any, label %{name}, label %{name}.out",
        f"{name}:",
        f"  %{name}.i = phi i64 [ {start}, %{name}.pre ], [ %{name}.n, %{name}.end ]",
    ]
    yield f"%{name}.i"
    w.lines += [
        f"  br label %{name}.end",
        f"{name}.end:",
        f"  %{name}.n = add i64 %{name}.i, {step}",
        f"  %{name}.more = icmp slt i64 %{name}.n, {end}",
        f"  br i1 %{name}.more, label %{name}, label %{name}.out",
        f"{name}.out:",
    ]


def define(head: str, w: Writer) -> Part:
    """Return a function of what was written. head : its name and arguments."""
    body = "\n".join(w.lines)
    return f"define {head} {{\nentry:\n{body}\n}}\n", w.declared


def module(parts: Sequence[Part]) -> str:
    """Return the text of a module with these functions."""
    declared = sorted({line for _, lines in parts for line in lines})
    return "\n".join([text for text, _ in parts] + declared) + "\n"


def function(name: str, w: Writer) -> str:
    """Return the text of a module with one function, called like a segment (emit.py), of what was written."""
    return module([define(f"void @{name}(ptr %args)", w)])


def arguments(w: Writer, names: Sequence[str], addresses: Sequence[str]) -> None:
    """Write the loading of 64-bit arguments, the second and further ones at %args. %name : one of them; %name.a : where
    it lies; %name.p : as a pointer, of those that are `addresses`
    """
    for index, name in enumerate(names, 1):
        w.lines += [f"  %{name}.a = getelementptr i64, ptr %args, i64 {index}",
                    f"  %{name} = load i64, ptr %{name}.a"]  # fmt: skip
        if name in addresses:
            w.lines.append(f"  %{name}.p = inttoptr i64 %{name} to ptr")


def fetch(w: Writer, at_end: Sequence[str] = ()) -> None:
    """Write the loop over blocks, whose counter is the first argument: %b is a block's number, of %blocks. What follows
    ends in a jump to "fetch". at_end : what is done when there are no more
    """
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
    ]


def at(w: Writer, base: str, offset: str | int, kind: str = "") -> str:
    """Write an address, so many elements after another. kind : of the elements; "": those that are computed in"""
    return w.put(f"getelementptr {MEMORY[kind].raw if kind else w.kind.name}, ptr {base}, i64 {offset}")


def load(w: Writer, place: str) -> str:
    """Write the loading of a vector."""
    return w.put(f"load {w.vector}, ptr {place}, align {w.kind.size}")


def store(w: Writer, value: str, place: str) -> None:
    """Write the storing of a vector."""
    w.lines.append(f"  store {w.vector} {value}, ptr {place}, align {w.kind.size}")


def mul(w: Writer, a: str, b: str | int) -> str:
    """Write a product of integers."""
    return w.put(f"mul i64 {a}, {b}")


def add(w: Writer, a: str, b: str | int) -> str:
    """Write a sum of integers."""
    return w.put(f"add i64 {a}, {b}")


def least(w: Writer, a: str, b: str) -> str:
    """Write the lesser of two integers."""
    w.declared.add("declare i64 @llvm.smin.i64(i64, i64)")
    return w.put(f"call i64 @llvm.smin.i64(i64 {a}, i64 {b})")


def splat(w: Writer, scalar: str, kind: str) -> str:
    """Write a vector of one number of an LLVM type; return its name."""
    vector = f"<{w.width} x {kind}>"
    one = w.put(f"insertelement {vector} poison, {kind} {scalar}, i32 0")
    return w.put(f"shufflevector {vector} {one}, {vector} poison, <{w.width} x i32> zeroinitializer")


def first_lanes(w: Writer, count: str, skip: int = 0) -> str:
    """Return the mask of as many lanes as `count` says, without the first `skip` of them."""
    few = splat(w, count, "i64")
    lanes = ", ".join(f"i64 {lane + skip}" for lane in range(w.width))
    return w.put(f"icmp slt <{w.width} x i64> <{lanes}>, {few}")
