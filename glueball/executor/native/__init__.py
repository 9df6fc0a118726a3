"""A small native compiler: element-wise segments become machine code in milliseconds, forward and backward.

expression.py is the graph of one element of a row, derivative.py its gradient, operators.py the operator table in it;
segment.py says what one function computes in which loops, emit.py writes LLVM's language (frame.py: arguments and
blocks, memory.py: loads and stores, vector_math.py: exp and the like, random_bits.py: random numbers); channels.py,
panels.py, winograd.py (called by convolve.py) and pixels.py (by pointwise.py) are functions that are no segments;
compile.py makes code of it (object_cache.py keeps it on disk). buffers.py is the memory of large arrays. run.py calls
it with tensors (places.py: where they lie; tape.py: as a node of torch's tape). evaluate.py does the same through
torch, where llvmlite is not installed; machine.py: what compiled code elsewhere needs to know of this process.
"""

from __future__ import annotations

from .compile import available, why_not
from .expression import Expr, input
from .machine import machine
from .operators import EXPRESSIONS
from .places import launch
from .run import Rows, Split, compile_rows

__all__ = ["available", "why_not", "Expr", "input", "EXPRESSIONS", "Rows", "Split", "compile_rows", "launch", "machine"]
