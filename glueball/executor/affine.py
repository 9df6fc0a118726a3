"""Numbers that grow evenly: what two things that were made for two sizes have in common.

The one idea: `lift(a, b)` walks two values of one shape side by side; integers that differ become `Affine`, a number
plus a multiple of the size; everything else must be equal. `value(form, size)` is what it would be for another size.
Two points say nothing about whether numbers do grow evenly: whoever uses this checks (executor/family.py).

Not here: regions (jit/resized.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, final

import torch

__all__ = ["Affine", "Different", "Line", "value", "varies"]

_INTEGER = re.compile(r"(?<![\w.])(?<!e[-+])(\d+)(?![\w.])")


class Different(Exception):
    """Two things have more than sizes to tell them apart; or one is not what was expected of it."""


class Affine(NamedTuple):
    """base + slope · size"""

    base: int
    slope: int


@final
class Line:
    """Two sizes, and what was made for them.

    >>> line = Line(2, 4)
    >>> line.lift((2, 3, "x"), (4, 3, "x"))
    (Affine(base=0, slope=1), 3, 'x')
    >>> value(line.lift([5, (6,)], [7, (10,)]), 10)
    [13, (22,)]
    """

    __slots__ = ("one", "two")

    def __init__(self, one: int, two: int) -> None:
        self.one, self.two = one, two

    def number(self, a: int, b: int) -> int | Affine:
        """Return two integers as one that depends on the size.

        Raises
        ------
        Different : it would not grow by whole numbers
        """
        if a == b:
            return a
        slope, rest = divmod(b - a, self.two - self.one)
        if rest:
            raise Different(f"{a} and {b}")
        return Affine(a - slope * self.one, slope)

    def lift(self, a: Any, b: Any) -> Any:
        """Return what two values have in common.

        Raises
        ------
        Different : they differ in more than integers
        """
        if a is b:
            return a
        kind = type(a)
        if kind is not type(b):
            raise Different(f"{a!r} and {b!r}")
        if kind is int:
            return self.number(a, b)
        if isinstance(a, (tuple, list)):
            if len(a) != len(b):
                raise Different(f"{len(a)} and {len(b)} parts")
            parts = [self.lift(x, y) for x, y in zip(a, b)]
            if hasattr(a, "_fields"):
                return kind(*parts)
            return kind(parts)
        if isinstance(a, dict):
            if a.keys() != b.keys():
                raise Different("keys")
            return {key: self.lift(x, b[key]) for key, x in a.items()}
        if isinstance(a, torch.Tensor):
            same = a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)
        else:
            same = a == b
        if same is not True:
            raise Different(f"{a!r} and {b!r}")
        return a

    def text(self, a: str, b: str) -> list[Any]:
        """Return two texts that differ in whole numbers as text, number, text, …

        >>> Line(2, 4).text("x.expand((2, 3))", "x.expand((4, 3))")
        ['x.expand((', Affine(base=0, slope=1), ', ', 3, '))']
        """
        if a == b:
            return [a]
        left, right = _INTEGER.split(a), _INTEGER.split(b)
        found = [[int(part) if place % 2 else part for place, part in enumerate(own)] for own in (left, right)]
        return self.lift(*found)


def varies(form: Any) -> bool:
    """Return whether a form depends on the size."""
    if isinstance(form, Affine):
        return True
    if isinstance(form, dict):
        return any(map(varies, form.values()))
    return isinstance(form, (tuple, list)) and any(map(varies, form))


def value(form: Any, size: int) -> Any:
    """Return what a form is for a size."""
    if isinstance(form, Affine):
        return form.base + form.slope * size
    if isinstance(form, (tuple, list)):
        parts: Sequence[Any] = [value(part, size) for part in form]
        kind: Any = type(form)
        return kind(*parts) if hasattr(form, "_fields") else kind(parts)
    if isinstance(form, dict):
        return {key: value(part, size) for key, part in form.items()}
    return form
