"""Nested arguments: lists, tuples and dicts of arrays, taken apart into leaves and put together again.

The one idea: `flatten` returns the leaves and a hashable description of the structure around them; two calls of equal
structure have equal descriptions, so the description is part of a signature. None and numbers are part of the
structure, not leaves; 1, 1.0 and True are three numbers, and so are 0.0 and -0.0.
"""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["flatten", "unflatten", "leaves"]

_LEAF = "*"


def flatten(value: Any, leaf: type | tuple[type, ...]) -> tuple[list[Any], Any]:
    """Return (leaves, structure).

    >>> flatten([1.5, ("a", [2.5])], float)
    ([1.5, 2.5], ('list', '*', ('tuple', ('=', 'a', <class 'str'>), ('list', '*'))))
    """
    found: list[Any] = []
    return found, _flatten(value, leaf, found)


def _flatten(value: Any, leaf: Any, found: list[Any]) -> Any:
    if isinstance(value, leaf):
        found.append(value)
        return _LEAF
    if isinstance(value, list):
        return ("list", *[_flatten(v, leaf, found) for v in value])
    if isinstance(value, tuple):
        if hasattr(value, "_fields"):
            return ("namedtuple", type(value), *[_flatten(v, leaf, found) for v in value])
        return ("tuple", *[_flatten(v, leaf, found) for v in value])
    if isinstance(value, dict):
        return ("dict", tuple(value), *[_flatten(v, leaf, found) for v in value.values()])
    if value is None or isinstance(value, str):
        return ("=", value, type(value), str(value)) if isinstance(value, float) else ("=", value, type(value))
    if isinstance(value, float):
        return ("=", value, type(value), math.copysign(1.0, value))
    return ("=", value, type(value))


def unflatten(structure: Any, values: Sequence[Any]) -> Any:
    """Put leaves back into a structure."""
    return _unflatten(structure, iter(values))


def _unflatten(structure: Any, values: Iterator[Any]) -> Any:
    if structure == _LEAF:
        return next(values)
    kind = structure[0]
    if kind == "=":
        return structure[1]
    if kind == "list":
        return [_unflatten(s, values) for s in structure[1:]]
    if kind == "tuple":
        return tuple(_unflatten(s, values) for s in structure[1:])
    if kind == "namedtuple":
        return structure[1](*[_unflatten(s, values) for s in structure[2:]])
    return dict(zip(structure[1], [_unflatten(s, values) for s in structure[2:]]))


def leaves(value: Any, leaf: type | tuple[type, ...]) -> list[Any]:
    """Return only the leaves."""
    return flatten(value, leaf)[0]
