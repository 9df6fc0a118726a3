"""Typed operator attributes: for each annotation a parser from what a user passes, or from the text in a model file,
to one value.

The one idea: inside, an attribute is always a plain hashable Python value (int, float, bool, str, tuple, torch.dtype,
None); text exists only in files, and `to_text` is the inverse of the parsers.
"""
from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch

from ..base import dtype as dtypes

__all__ = ["PARSERS", "REQUIRED", "to_text", "Shape", "Axis", "Floats", "DType", "Number"]

Shape: TypeAlias = tuple[int, ...]  # an int is taken as a tuple of one
Axis: TypeAlias = "int | tuple[int, ...] | None"
Floats: TypeAlias = tuple[float, ...]
DType: TypeAlias = torch.dtype
Number: TypeAlias = "int | float | bool"


class _Required:
    """The default of an attribute that must be given."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Any = _Required()


def _literal(value: Any) -> Any:
    """Read "(2, 3)", "[2,3]", "2L", "None"; other values pass."""
    if isinstance(value, str):
        try:
            return ast.literal_eval(value.replace("L", "").strip())
        except (RecursionError, MemoryError):  # nested too deep
            raise ValueError(value[:40]) from None
    return value


def _int(value: Any) -> int:
    value = _literal(value)
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    return int(value)


def _float(value: Any) -> float:
    if isinstance(value, str) and value[-1:] == "f" and value[-2:-1].isdigit():
        value = value[:-1]  # "0.9f", as programs in C++ wrote
    return float(value)


def _bool(value: Any) -> bool:
    if isinstance(value, str):
        lowered = value.strip().lower()
        if lowered in ("true", "1"):
            return True
        if lowered in ("false", "0"):
            return False
        raise ValueError(value)
    return bool(value)


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _shape(value: Any) -> tuple[int, ...]:
    value = _literal(value)
    if isinstance(value, (int, np.integer)):
        return (int(value),)
    return tuple(None if v is None else _int(v)
                 for v in value)  # type: ignore[misc]  # slices carry None as "from the end"


def _axis(value: Any) -> Any:
    value = _literal(value)
    if value is None or isinstance(value, (int, np.integer)):
        return None if value is None else int(value)
    return tuple(_int(v) for v in value)


def _floats(value: Any) -> tuple[float, ...]:
    value = _literal(value)
    if isinstance(value, (int, float, np.number)):
        return (float(value),)
    return tuple(float(v) for v in value)


def _number(value: Any) -> Any:
    value = _literal(value) if isinstance(value, str) and value not in ("inf", "-inf", "nan") else value
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    return float(value)


def _any(value: Any) -> Any:
    return tuple(_any(v) for v in value) if isinstance(value, list) else value


_BASE: dict[str, Callable[[Any], Any]] = {
    "int": _int, "float": _float, "bool": _bool, "str": _str, "Shape": _shape, "Axis": _axis, "Floats": _floats,
    "Number": _number, "DType": dtypes.as_torch, "Any": _any,
}


def _optional(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None or value == "None" else parse(value)


PARSERS: dict[str, Callable[[Any], Any]] = {**_BASE, **{f"{key} | None": _optional(parse) for key,
                                                        parse in _BASE.items()}}


def to_text(value: Any) -> str:
    """Return the text of an attribute in a model file: the inverse of the parsers.

    >>> to_text((2, 3)), to_text(True), to_text(torch.float16)
    ('(2, 3)', 'True', 'float16')
    """
    if isinstance(value, torch.dtype):
        return dtypes.name_of(value)
    return str(value)
