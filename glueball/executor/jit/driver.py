"""The one native function that runs a region: it fills in addresses and walks a list of instructions.

The one idea: a region is a list of 64-bit words: instructions, and the arguments of its kernels. What changes from call
to call are the addresses of a few arrays ("bases"); `relocations` say which word is which base plus how many bytes. So
one function, compiled once per process, runs every region of every network without Python in between.

Instructions (first word: which one, second: how many words it has):
  0 end; 1 kernel: its address, its arguments' address, threads, address of the threads' pool;
  2 product: address of the product, 'T' or 'N' twice, m, n, k, alpha, beta, A, lda, B, ldb, C, ldc, count, bytes from
  one A, B, C to the next, a counter, threads, their pool, how many lie so, bytes from one A, B, C to the one as many
  further on; 3 guard: address of a 32-bit word, what to return when it is not 0.

Not here: the words (encode.py), the kernels (native/emit.py).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias, final

import torch

from ..native.compile import Kernel, compiler
from ..native.vector_math import Format

__all__ = ["Driver", "driver", "driver_at", "END", "KERNEL", "PRODUCT", "GUARD"]

END, KERNEL, PRODUCT, GUARD = range(4)

Driver: TypeAlias = Callable[[int, int, int, int, int], int]
"""(words, relocations, how many, bases, first instruction's word) -> 0, or what a guard says"""


_ORDER = ("g3", "g4", "g5", "g6", "g7", "g8", "a", "g11", "b", "g13", "g9", "c", "g15")  # of a product's arguments


def _word(name: str, index: int) -> str:
    return f"  {name}.p = getelementptr i64, ptr %at, i64 {index}\n  {name} = load i64, ptr {name}.p\n"


def _pointer(name: str, index: int) -> str:
    return _word(f"{name}.w", index) + f"  {name} = inttoptr i64 {name}.w to ptr\n"


def _products(name: str) -> str:
    """The function that does the products of one instruction: every thread that calls it takes the next matrix."""
    factors = "".join(f"  %g{k} = getelementptr i64, ptr %at, i64 {k}\n" for k in (3, 4, 5, 6, 7, 8, 9, 11, 13, 15))
    leaps = "".join(
        f"""  %d{x} = mul i64 %rest, %s{x}
  %e{x} = mul i64 %outer, %l{x}
  %f{x} = add i64 %{x}0, %d{x}
  %{x}1 = add i64 %f{x}, %e{x}
"""
        for x in "abc"
    )
    return f"""
define private void @{name}(ptr %at) {{
entry:
{_pointer("%gemm", 2)}{factors}{_word("%many", 16)}{_word("%sa", 17)}{_word("%sb", 18)}{_word("%sc", 19)}
{_word("%a0", 10)}{_word("%b0", 12)}{_word("%c0", 14)}
{_word("%inner", 23)}{_word("%la", 24)}{_word("%lb", 25)}{_word("%lc", 26)}
  %counter = getelementptr i64, ptr %at, i64 20
  br label %fetch
fetch:
  %q = atomicrmw add ptr %counter, i64 1 monotonic
  %some = icmp slt i64 %q, %many
  br i1 %some, label %multiply, label %done
done:
  ret void
multiply:
  %outer = udiv i64 %q, %inner
  %rest = urem i64 %q, %inner
{leaps}  %a = inttoptr i64 %a1 to ptr
  %b = inttoptr i64 %b1 to ptr
  %c = inttoptr i64 %c1 to ptr
  call void %gemm({", ".join(f"ptr %{name}" for name in _ORDER)})
  br label %fetch
}}
"""


_FILL = """entry:
  %some = icmp sgt i64 %count, 0
  br i1 %some, label %fill, label %step
fill:
  %i = phi i64 [ 0, %entry ], [ %i1, %fill ]
  %r0 = mul i64 %i, 3
  %r.a = getelementptr i64, ptr %relocations, i64 %r0
  %which = load i64, ptr %r.a
  %r.b = getelementptr i64, ptr %r.a, i64 1
  %slot = load i64, ptr %r.b
  %r.c = getelementptr i64, ptr %r.a, i64 2
  %plus = load i64, ptr %r.c
  %base.p = getelementptr i64, ptr %bases, i64 %slot
  %base = load i64, ptr %base.p
  %sum = add i64 %base, %plus
  %target = getelementptr i64, ptr %words, i64 %which
  store i64 %sum, ptr %target
  %i1 = add i64 %i, 1
  %more = icmp slt i64 %i1, %count
  br i1 %more, label %fill, label %step
"""  # the relocations: words that are addresses


def _region(name: str, products: str) -> str:
    """The function that fills in addresses and walks the instructions."""
    return f"""
define i64 @{name}(ptr %words, ptr %relocations, i64 %count, ptr %bases, i64 %first) {{
{_FILL}step:
  %here = phi i64 [ %first, %entry ], [ %first, %fill ], [ %next, %after ]
  %at = getelementptr i64, ptr %words, i64 %here
  %code = load i64, ptr %at
{_word("%length", 1)}
  %next = add i64 %here, %length
  switch i64 %code, label %end [ i64 1, label %kernel i64 2, label %product i64 3, label %guard ]
end:
  ret i64 0
kernel:
{_pointer("%function", 2)}{_pointer("%arguments", 3)}{_word("%crew", 4)}{_pointer("%pool", 5)}
  br label %run
product:
  %counter = getelementptr i64, ptr %at, i64 20
{_word("%hands", 21)}{_pointer("%hall", 22)}
  br label %run
run:
  %work = phi ptr [ %function, %kernel ], [ @{products}, %product ]
  %data = phi ptr [ %arguments, %kernel ], [ %at, %product ]
  %zero = phi ptr [ %arguments, %kernel ], [ %counter, %product ]
  %threads = phi i64 [ %crew, %kernel ], [ %hands, %product ]
  %team = phi ptr [ %pool, %kernel ], [ %hall, %product ]
  store i64 0, ptr %zero
  %alone = icmp slt i64 %threads, 2
  br i1 %alone, label %one, label %several
one:
  call void %work(ptr %data)
  br label %after
several:
  %size = trunc i64 %threads to i32
  call void %team(ptr %work, ptr %data, i32 %size, i32 0)
  br label %after
guard:
{_pointer("%flag", 2)}{_word("%what", 3)}
  %value = load i32, ptr %flag
  %fine = icmp eq i32 %value, 0
  br i1 %fine, label %after, label %wrong
wrong:
  ret i64 %what
after:
  br label %step
}}
"""


@final
@dataclass(frozen=True, slots=True)
class _Text:
    """The function as something that is compiled like a segment, and together with some."""

    cost = 0

    def module(self, name: str, kind: Format, vector_bytes: int) -> str:
        """Return the text of the function."""
        products = f"{name}_products"
        return _products(products) + _region(name, products)


def driver() -> Kernel:
    """Return the function, which need not be compiled yet.

    Raises
    ------
    UnsupportedError : this process cannot compile
    """
    return compiler().later(_Text(), torch.float32)


@cache
def driver_at(address: int) -> Driver:
    """Return the function that was compiled."""
    return ctypes.CFUNCTYPE(ctypes.c_int64, *(ctypes.c_int64,) * 5)(address)
