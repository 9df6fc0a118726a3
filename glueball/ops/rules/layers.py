"""Inference rules of layers: a result with an unknown batch size, and results given by a formula.

The one idea of `probing`: a layer's result depends on the batch size in its first axis only (or not at all), so two
runs of the kernel on `meta` tensors tell everything that can be known before the batch size is. `formula` is for
kernels that look at values and so cannot run on `meta`. Rules for whole classes of operators are in infer.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch

from ..opdef import OpDef, TensorType
from .infer import InferRule, kernel_on_meta, unify

__all__ = ["probing", "formula", "Probing", "Formula", "half_keeps_float32"]

DTypeRule = Callable[[Sequence[Any]], Sequence[Any]]


@final
class Probing(InferRule):
    """Completes what follows from data whose first axis is unknown; `dtypes` gives input dtypes from those that are
    known.

    `result` is a formula for complete inputs (shapes.py); where it answers None, the kernel is asked.
    """

    def __init__(self, dtypes: DTypeRule | None = None, result: Callable[..., Any] | None = None) -> None:
        self._dtypes = dtypes
        self._result = result

    def forward(
        self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], training: bool
    ) -> list[TensorType]:
        """Return the types of all results."""
        found = None if self._result is None else self._result(attrs, [t.shape for t in ins], [t.dtype for t in ins])
        return (
            kernel_on_meta(op, attrs, ins, training) if found is None else [TensorType(tuple(s), d) for s, d in found]
        )

    def partial(
        self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], outs: Sequence[TensorType]
    ) -> tuple[list[TensorType], list[TensorType]]:
        """Return inputs with dtypes filled in, and outputs in which only the batch size is left open."""
        if self._dtypes is not None:
            ins = [TensorType(t.shape, d) for t, d in zip(ins, self._dtypes([t.dtype for t in ins]))]
        shapes = [t.shape for t in ins]
        data = shapes[0] if shapes else None
        if data is None or not data or data[0] is not None or None in data[1:]:
            return list(ins), list(outs)
        if op.filler is not None:
            names = op.present_inputs(attrs)
            shapes = [
                unify(known, found, f"{op.name} ({name})")
                for known, found, name in zip(shapes, op.filler(attrs, shapes), names)
            ]
        if any(s is None or None in s[1:] for s in shapes):
            return list(ins), list(outs)
        first, second = (self._probe(op, attrs, shapes, ins, size) for size in (2, 3))
        joined = [
            TensorType(
                unify(out.shape, tuple(a if a == b else None for a, b in zip(x.shape, y.shape)), op.name), x.dtype
            )
            for out, x, y in zip(outs, first, second)
        ]
        batch = joined[0].shape[0] if joined[0].shape else None
        if (
            batch is not None and first[0].shape[0] == 2 and second[0].shape[0] == 3
        ):  # the result's first axis is the batch
            ins = [TensorType((batch, *data[1:]), ins[0].dtype), *ins[1:]]
        return list(ins), joined

    def _probe(
        self, op: OpDef, attrs: Mapping[str, Any], shapes: Sequence[Any], ins: Sequence[TensorType], size: int
    ) -> list[Any]:
        common = next((t.dtype for t in ins if t.dtype is not None), torch.float32)
        types = [TensorType(tuple(size if n is None else n for n in s), t.dtype or common) for s, t in zip(shapes, ins)]
        return self.forward(op, attrs, types, False)


@final
class Formula(InferRule):
    """Results from a formula `(attrs, shapes, dtypes) -> [(shape, dtype), …]`, for kernels that need values."""

    def __init__(self, compute: Callable[..., list[tuple[tuple[int, ...], Any]] | None]) -> None:
        self._compute = compute

    def forward(
        self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], training: bool
    ) -> list[TensorType]:
        """Return the types that the formula gives."""
        found = self._compute(attrs, [t.shape for t in ins], [t.dtype for t in ins])
        if found is None:  # not this formula's case: the kernel knows, or refuses in its own words
            return kernel_on_meta(op, attrs, ins, training)
        return [TensorType(tuple(shape), dtype) for shape, dtype in found]


probing = Probing()
formula = Formula


def half_keeps_float32(known: Sequence[Any]) -> Sequence[Any]:
    """Dtypes of a normalising layer: its parameters and statistics stay float32 when the data have half precision."""
    data = known[0]
    other = torch.float32 if data in (torch.float16, torch.bfloat16) else data
    return [data, *(d or other for d in known[1:])]
