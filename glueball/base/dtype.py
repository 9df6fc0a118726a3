"""Element types: one table that ties together the public name, NumPy, torch and the flag written in model files.

The one idea: `as_torch` and `as_numpy` accept whatever a user writes ("float32", np.float32, nd.float32,
torch.float32, a type flag) and everything else in the package holds torch dtypes. No promotion rules live here:
operators of unequal types refuse (see ops/).
"""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from .errors import DTypeError, explain

__all__ = ["DTypeInfo", "TABLE", "as_torch", "as_numpy", "name_of", "flag_of", "from_flag", "is_float", "is_known",
           "DEFAULT"]


class DTypeInfo(NamedTuple):
    """One row: public name, torch dtype, NumPy dtype (float32 stands in for bfloat16, which NumPy lacks), file flag."""

    name: str
    torch: torch.dtype
    numpy: Any
    flag: int


TABLE: tuple[DTypeInfo, ...] = (
    DTypeInfo("float32", torch.float32, np.float32, 0),
    DTypeInfo("float64", torch.float64, np.float64, 1),
    DTypeInfo("float16", torch.float16, np.float16, 2),
    DTypeInfo("uint8", torch.uint8, np.uint8, 3),
    DTypeInfo("int32", torch.int32, np.int32, 4),
    DTypeInfo("int8", torch.int8, np.int8, 5),
    DTypeInfo("int64", torch.int64, np.int64, 6),
    DTypeInfo("bool", torch.bool, np.bool_, 7),
    DTypeInfo("int16", torch.int16, np.int16, 8),
    DTypeInfo("uint16", torch.uint16, np.uint16, 9),
    DTypeInfo("uint32", torch.uint32, np.uint32, 10),
    DTypeInfo("uint64", torch.uint64, np.uint64, 11),
    DTypeInfo("bfloat16", torch.bfloat16, np.float32, 12),
)
DEFAULT = torch.float32

_BY_TORCH = {row.torch: row for row in TABLE}
_BY_NAME = {row.name: row for row in TABLE}
_BY_FLAG = {row.flag: row for row in TABLE}
_ALIASES: dict[Any, torch.dtype] = {row.torch: row.torch for row in TABLE}
_ALIASES.update({row.name: row.torch for row in TABLE})
_ALIASES.update({row.numpy: row.torch for row in TABLE if row.name != "bfloat16"})
_ALIASES.update({float: torch.float32, int: torch.int32, bool: torch.bool, "float": torch.float32, "int": torch.int32,
                 "double": torch.float64, "half": torch.float16, "long": torch.int64})


def as_torch(dtype: Any) -> torch.dtype:
    """Return the torch dtype for any way of writing one; None means float32.

    >>> as_torch("float16")
    torch.float16
    """
    if dtype is None:
        return DEFAULT
    try:
        found = _ALIASES.get(dtype)
    except TypeError:
        found = None
    if found is not None:
        return found
    try:
        return _BY_NAME[np.dtype(dtype).name].torch
    except (TypeError, KeyError):
        names = ", ".join(row.name for row in TABLE)
        raise DTypeError(explain("dtype", "This is not an element type.", expected=f"one of {names}",
                                 received=repr(dtype))) from None


def as_numpy(dtype: Any) -> Any:
    """Return the NumPy scalar type for any way of writing a dtype (float32 for bfloat16)."""
    return _BY_TORCH[as_torch(dtype)].numpy


def name_of(dtype: Any) -> str:
    """Return the public name, e.g. ``"float32"``."""
    return _BY_TORCH[as_torch(dtype)].name


def flag_of(dtype: Any) -> int:
    """Return the type flag used in `.params` and `-symbol.json` files."""
    return _BY_TORCH[as_torch(dtype)].flag


def from_flag(flag: int) -> torch.dtype:
    """Return the dtype of a file's type flag."""
    if flag not in _BY_FLAG:
        raise DTypeError(explain("dtype", "Unknown type flag.", expected=f"0..{len(TABLE) - 1}", received=flag))
    return _BY_FLAG[flag].torch


def is_known(dtype: torch.dtype) -> bool:
    """Whether arrays can have this element type."""
    return dtype in _BY_TORCH


def is_float(dtype: torch.dtype) -> bool:
    """Whether gradients can flow through this type."""
    return dtype.is_floating_point
