"""mx.util: environment variables, what is known about GPUs, and the answers about NumPy-like arrays: there are none.

The one idea: questions are answered (`is_np_array()` is False), and what would switch to the NumPy-like arrays of 1.6
and later (`mx.np`) is refused in words, because code that asks for them would go on with other arrays than it expects.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .base.context import gpu_memory_info, num_gpus
from .base.errors import UnsupportedError, explain

__all__ = ["get_gpu_count", "get_gpu_memory", "getenv", "is_np_array", "is_np_shape", "makedirs", "np_array",
           "np_shape", "reset_np", "set_np", "set_np_shape", "setenv", "use_np",
           "use_np_array", "use_np_shape"]  # fmt: skip


def getenv(name: str) -> str | None:
    """Return an environment variable, or None."""
    return os.environ.get(name)


def setenv(name: str, value: str | None) -> None:
    """Set an environment variable; None removes it."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def makedirs(d: str) -> None:
    """Make a directory and those above it; no error when it is there."""
    os.makedirs(os.path.expanduser(d), exist_ok=True)


def get_gpu_count() -> int:
    """Return the number of GPUs."""
    return num_gpus()


def get_gpu_memory(gpu_dev_id: int) -> tuple[int, int]:
    """Return (free, total) bytes of a GPU."""
    return gpu_memory_info(gpu_dev_id)


def is_np_array() -> bool:
    """Return False: arrays are NDArrays."""
    return False


def is_np_shape() -> bool:
    """Return False: a size of 0 in a parameter's shape means unknown, a full reduction has shape (1,)."""
    return False


def _refuse(name: str) -> None:
    raise UnsupportedError(
        explain(name, "The NumPy-like arrays of 1.6 and later (mx.np, mx.npx) are not part of Glueball.",
                fix="write the program with mx.nd, or with NumPy itself")
    )  # fmt: skip


def _refused(name: str) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        _refuse(f"util.{name}")

    function.__name__ = function.__qualname__ = name
    function.__doc__ = "Refused: the NumPy-like arrays are not part of Glueball."
    function.refused = True  # type: ignore[attr-defined]  # the coverage page lists it as absent
    return function


set_np, use_np, use_np_array, use_np_shape = map(_refused, ("set_np", "use_np", "use_np_array", "use_np_shape"))


def reset_np() -> None:
    """Do nothing: the NumPy-like arrays are never on."""


def set_np_shape(active: bool) -> bool:
    """Return False, the state before; True is refused."""
    if active:
        _refuse("util.set_np_shape")
    return False


@contextmanager
def np_shape(active: bool = True) -> Iterator[None]:
    """Within `with np_shape(False)`: as always; True is refused."""
    if active:
        _refuse("util.np_shape")
    yield


@contextmanager
def np_array(active: bool = True) -> Iterator[None]:
    """Within `with np_array(False)`: as always; True is refused."""
    if active:
        _refuse("util.np_array")
    yield
