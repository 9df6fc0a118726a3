"""Gradient rules that many operators share.

The one idea: a rule is a function of `Grad` that returns one value, or None for "no gradient", per input. Rules of a
single operator stand beneath its definition; only those that several families need are here.
"""

from __future__ import annotations

from ..opdef import Grad, Value

__all__ = ["zero", "passes"]


def zero(c: Grad) -> Value:
    """Give no input a gradient: the result is constant almost everywhere (rounding, comparisons, indices)."""
    return (None,) * len(c.ins)


def passes(c: Grad) -> Value:
    """Hand the gradient of the result to the first input as it is."""
    return (c.g, *(None,) * (len(c.ins) - 1))
