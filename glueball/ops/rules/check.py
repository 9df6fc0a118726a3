"""How an operator is tested: samples of its inputs and attributes, a NumPy reference, and calls that must fail in
words.

The one idea: the samples hang beneath the definition, and ONE matrix (tests/ops/test_matrix.py) runs them through
every interpreter: kernel = reference, inferred = real, gradient = finite differences, eager = traced = compiled. An
operator without samples cannot enter the table. NumPy only; nothing here knows torch.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

__all__ = ["Sample", "Check", "A", "S", "check", "unary", "binary", "ArraySpec"]


@final
@dataclass(frozen=True, slots=True)
class ArraySpec:
    """A random input: uniform in [low, high), or integers below `ints` (stored as float32 unless dtype says otherwise).

    `distinct`: no two elements closer than 0.05 (so that maxima and orderings are stable under finite differences).
    """

    shape: tuple[int, ...]
    low: float = -1.0
    high: float = 1.0
    ints: int | None = None
    dtype: str | None = None
    distinct: bool = False
    posdef: bool = False

    def make(self, rng: np.random.Generator, float_dtype: Any = np.float64) -> np.ndarray:
        """Return the array."""
        if self.ints is not None:
            return rng.integers(0, self.ints, self.shape).astype(self.dtype or np.float32)
        if self.posdef:
            base = rng.uniform(-1, 1, self.shape)
            return (base @ np.swapaxes(base, -1, -2) + 2 * np.eye(self.shape[-1])).astype(float_dtype)
        if self.distinct:
            count = int(np.prod(self.shape))
            values = (np.arange(count) - count / 2 + 0.25) * max(0.05, (self.high - self.low) / max(count, 1))
            return rng.permutation(values).reshape(self.shape).astype(self.dtype or float_dtype)
        return rng.uniform(self.low, self.high, self.shape).astype(self.dtype or float_dtype)


def A(*shape: int, **options: Any) -> ArraySpec:
    """Short for ArraySpec."""
    return ArraySpec(tuple(shape), **options)


@final
@dataclass(frozen=True, slots=True)
class Sample:
    """One call: inputs (ArraySpec, array, or None for an absent optional one) and attributes; `grad` False where none
    is defined.
    """

    inputs: tuple[Any, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    grad: bool = True
    training: bool = False


def S(*inputs: Any, grad: bool = True, training: bool = False, **attrs: Any) -> Sample:
    """Short for Sample: ``S(A(2, 3), axis=1)``."""
    return Sample(tuple(inputs), attrs, grad, training)


@final
@dataclass(frozen=True, slots=True)
class Check:
    """Everything the matrix needs of one operator.

    reference(*arrays, **attrs) -> array or tuple of the VISIBLE results, in NumPy; or a sentence that says why there
    is none (random results, or a factorisation that is only unique up to sign, which `law` then checks: law(inputs,
    outputs, attrs) -> bool). errors: (inputs, attrs, regular expression of the message). second_order: whether
    gradients of gradients are checked (False, with the reason beside it, where the kernel has none).
    """

    samples: Sequence[Sample]
    reference: Callable[..., Any] | str
    errors: Sequence[tuple[tuple[Any, ...], dict[str, Any], str]] = ()
    law: Callable[..., bool] | None = None
    rtol: float = 1e-5
    atol: float = 1e-6
    grad_rtol: float = 1e-4
    second_order: bool = True


def check(*samples: Sample, ref: Callable[..., Any] | str, **options: Any) -> Check:
    """Build a Check from samples and a reference."""
    return Check(samples, ref, **options)


def unary(ref: Callable[..., Any], low: float = -2.0, high: float = 2.0, **options: Any) -> Check:
    """Samples for an element-by-element function of one input: a matrix, an empty array, one element."""
    return Check((S(A(2, 3, low=low, high=high)), S(A(0, 3, low=low, high=high)), S(A(1, low=low, high=high))), ref,
                 **options)


def binary(ref: Callable[..., Any], low: float = -2.0, high: float = 2.0, broadcast: bool = True,
           **options: Any) -> Check:
    """Samples for an element-by-element function of two inputs, with broadcasting where the operator has it."""
    def arr(*shape: int) -> ArraySpec:
        return A(*shape, low=low, high=high)
    samples = [S(arr(2, 3), arr(2, 3)), S(arr(0, 3), arr(0, 3))]
    if broadcast:
        samples += [S(arr(2, 1, 3), arr(1, 4, 3)), S(arr(2, 3), arr(1, 1))]
    return Check(tuple(samples), ref, **options)
