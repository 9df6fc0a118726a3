"""Inference with an unknown batch size: run the kernel for two batch sizes and see which sizes of the result change.

The one idea: a layer's result depends on the batch size in its first axis only (or not at all), so two runs on `meta` tensors tell
everything that can be known before the batch size is. Rules for whole classes of operators are in infer.py.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch

from ..opdef import OpDef, TensorType
from .infer import InferRule, kernel_on_meta, unify

__all__ = ["probing", "Probing"]

PartialShape = tuple[int | None, ...]


@final
class Probing(InferRule):
    """Completes what follows from data whose first axis is unknown; `dtypes` gives input dtypes from those that are known."""

    def __init__(self, dtypes: Callable[[Sequence[torch.dtype | None]], Sequence[torch.dtype | None]] | None = None) -> None:
        self._dtypes = dtypes

    def partial(self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType],
                outs: Sequence[TensorType]) -> tuple[list[TensorType], list[TensorType]]:
        """Return inputs with dtypes filled in, and outputs in which only the batch size is left open."""
        if self._dtypes is not None:
            ins = [TensorType(t.shape, d) for t, d in zip(ins, self._dtypes([t.dtype for t in ins]))]
        shapes = [t.shape for t in ins]
        data = shapes[0] if shapes else None
        if data is None or not data or data[0] is not None or None in data[1:]:
            return list(ins), list(outs)
        if op.filler is not None:
            names = op.present_inputs(attrs)
            shapes = [unify(known, found, f"{op.name} ({name})") for known, found, name in zip(shapes, op.filler(attrs, shapes), names)]
        if any(s is None or None in s[1:] for s in shapes):
            return list(ins), list(outs)
        found = [self._probe(op, attrs, shapes, ins, size) for size in (2, 3)]
        joined = [TensorType(unify(out.shape, tuple(a if a == b else None for a, b in zip(x.shape, y.shape)), op.name), x.dtype)
                  for out, x, y in zip(outs, *found)]
        return list(ins), joined

    @staticmethod
    def _probe(op: OpDef, attrs: Mapping[str, Any], shapes: Sequence[Any], ins: Sequence[TensorType], size: int) -> list[Any]:
        common = next((t.dtype for t in ins if t.dtype is not None), torch.float32)
        types = [TensorType(tuple(size if n is None else n for n in s), t.dtype or common) for s, t in zip(shapes, ins)]
        return kernel_on_meta(op, attrs, types, False)


probing = Probing()


def half_keeps_float32(known: Sequence[torch.dtype | None]) -> Sequence[torch.dtype | None]:
    """Dtypes of a normalising layer: its parameters and statistics stay float32 when the data have half precision."""
    data = known[0]
    other = torch.float32 if data in (torch.float16, torch.bfloat16) else data
    return [data, *(d or other for d in known[1:])]
