"""Small helpers under 1.9.1's names: environment variables, GPUs, and the question whether NumPy-like arrays are on
(they are not).

The one idea: programs ask `is_np_array()` to choose between two interfaces; the answer False leads them to the one
that is here. What would switch the other on is an error in words.
"""

from __future__ import annotations

import os
from typing import NoReturn

from .base.context import gpu_memory_info, num_gpus
from .base.errors import UnsupportedError, explain

__all__ = ["get_gpu_count", "get_gpu_memory", "getenv", "is_np_array", "is_np_shape", "set_np", "setenv", "use_np"]


def getenv(name: str) -> str | None:
    """Return an environment variable, or None."""
    return os.environ.get(name)


def setenv(name: str, value: str | None) -> None:
    """Set an environment variable of this process; None removes it."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def get_gpu_count() -> int:
    """Return the number of CUDA devices."""
    return num_gpus()


def get_gpu_memory(gpu_dev_id: int) -> tuple[int, int]:
    """Return (free, total) bytes of a GPU."""
    return gpu_memory_info(gpu_dev_id)


def is_np_array() -> bool:
    """Return False: arrays are `nd.NDArray`.

    >>> is_np_array()
    False
    """
    return False


def is_np_shape() -> bool:
    """Return False: a reduction over all axes has shape (1,), and 0 in a parameter's shape means unknown."""
    return False


def set_np(shape: bool = True, array: bool = True) -> None:
    """Accept ``set_np(False, False)``; raise UnsupportedError for anything that asks for NumPy-like arrays."""
    if shape or array:
        _refuse("set_np")


def use_np(func: object) -> NoReturn:
    """Raise UnsupportedError: a block for NumPy-like arrays cannot run on NDArrays."""
    _refuse("use_np")


def _refuse(name: str) -> NoReturn:
    raise UnsupportedError(explain(f"util.{name}", "NumPy-like arrays (mx.np, mx.npx) are not part of Glueball.",
                                   expected="code written for mx.nd",
                                   fix="Use mx.nd and gluon; a.asnumpy() gives a NumPy array."))
