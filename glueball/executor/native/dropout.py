"""What Dropout decides, as machine code for arrays of any floating type on the CPU.

The one idea: the same random numbers as in regions (random_bits.py), by the element's place in the array read in
order: an imperative call and a compiled plan drop the same elements for the same seed.

Not here: seeds, other devices, the tape (ops/dropout.py); Dropout inside of a region (jit/rules.py).
"""

from __future__ import annotations

from functools import cache, lru_cache

import torch
from torch import Tensor

from ...base import config
from ...ops import dropout
from . import expression as e
from .compile import Kernel, available, compiler
from .places import call
from .segment import Segment

__all__ = ["dropped", "decided"]

_NAMES = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16", torch.float16: "float16"}
_PLAIN = (Tensor, torch.nn.Parameter)  # what has memory to read: not what stands for an array while torch traces


def decided(data: e.Expr, seed: e.Expr, p: e.Expr | float, scale: e.Expr | float) -> e.Expr:
    """Return an element after Dropout."""
    return e.select("lt", e.uniform(seed), p, 0.0, data * scale)


def dropped(data: Tensor, seed: Tensor, p: float) -> Tensor | None:
    """Return Dropout of an array of any shape; None: there is no machine code for it."""
    if data.dtype not in _NAMES or not data.is_cpu or type(data) not in _PLAIN or not _serving():
        return None
    source = data.contiguous()
    out = torch.empty_like(source)
    size = source.numel()
    number = _numbers(p, torch.float64 if data.dtype is torch.float64 else torch.float32)
    places = [(source.data_ptr(), size), (seed.data_ptr(), 0)]
    places += [(number.data_ptr(), 0), (number.data_ptr() + number.itemsize, 0), (out.data_ptr(), size)]
    call(_kernel(data.dtype), 1, size, places)
    return out


def _serving() -> bool:
    return bool(config.get("GLUEBALL_JIT")) and available()


@lru_cache(64)
def _numbers(p: float, dtype: torch.dtype) -> Tensor:
    return torch.tensor([p, 1 / (1 - p)], dtype=dtype)


@cache
def _kernel(dtype: torch.dtype) -> Kernel:
    own, name = "float64" if dtype is torch.float64 else "float32", _NAMES[dtype]
    data, seed, p, scale = map(e.input, range(4))
    segment = Segment((0, 1, 2, 3), frozenset({1, 2, 3}), (decided(data, seed, p, scale),),
                      formats=(name, "int64", own, own, name))  # fmt: skip
    return compiler().kernel(segment, torch.float64 if own == "float64" else torch.float32)


dropout.serve(dropped)
