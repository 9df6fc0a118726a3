"""What compiled code that runs groups by itself is told about this process: products, threads, from where they pay.

The one idea: torch's own library has the matrix product under its Fortran name, for the same threads as torch's. It is
looked up at run time and tried on a small product before anybody relies on it; where it is missing, `machine` returns
None.

Not here: who calls it (fold/stream.py).
"""

from __future__ import annotations

import ctypes
import os
from array import array
from functools import cache
from glob import glob
from typing import Any

import torch

from .compile import parallel
from .places import BLOCK, PARALLEL

__all__ = ["machine"]


def _product(library: ctypes.CDLL, name: str, number: Any, dtype: torch.dtype) -> int | None:
    """Return the address of a matrix product; None where it is not there, or gives something else."""
    try:
        function = getattr(library, name)
    except AttributeError:
        return None
    function.restype = None
    a, b = torch.arange(6, dtype=dtype).view(2, 3), torch.arange(12, dtype=dtype).view(4, 3)
    c = torch.ones(2, 4, dtype=dtype)
    m, n, k = ctypes.c_int64(4), ctypes.c_int64(2), ctypes.c_int64(3)  # right for 32 and 64 bits, if little comes first
    one = number(1)
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (b, a, c)]
    function(b"T", b"N", *map(ctypes.byref, (m, n, k, one)), pointers[0], ctypes.byref(k), pointers[1], ctypes.byref(k),
             ctypes.byref(one), pointers[2], ctypes.byref(m))  # fmt: skip
    if not torch.equal(c, a @ b.t() + 1):
        return None
    return ctypes.cast(function, ctypes.c_void_p).value


@cache
def _products() -> tuple[int, int] | None:
    if not torch.backends.mkl.is_available() or not hasattr(os, "RTLD_NOLOAD"):
        return None
    for name in glob(os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.*")):
        try:
            library = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        except OSError:
            continue
        single = _product(library, "sgemm_", ctypes.c_float, torch.float32)
        double = _product(library, "dgemm_", ctypes.c_double, torch.float64)
        if single and double:
            return single, double
    return None


@cache
def _words(threads: int) -> array[int] | None:
    products, team = _products(), parallel()
    if products is None:
        return None
    function: Any = team  # of ctypes, whose `cast` is not typed for functions
    address = 0 if team is None else ctypes.cast(function, ctypes.c_void_p).value or 0
    return array("q", [*products, address, threads, BLOCK, PARALLEL])


def machine() -> array[int] | None:
    """Return addresses of products for both precisions and of the threads' pool, the number of threads, the elements
    that a thread takes at a time, and from how much work threads pay; None where there is no product to call.
    """
    return _words(torch.get_num_threads())
