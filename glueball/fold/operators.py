"""Running one operator for many samples: along rows, or on a stack.

The one idea: an operator's batching rule (ops/rules/batch.py) says what may be done; here it is done, with the
operator's own gradient on the tape where it has one. A stack is computed by the first way that is open: the
hand-written rule, rows (the axis of samples merged into axis 0), torch.func.vmap of the kernel, sample by sample.

Results may share memory with inputs: nothing that these functions return may be written over.
Not here: whole programs of operators (body.py), which samples go together (the scheduler).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..base.errors import ArgumentError, explain
from ..dispatch import apply_own_rule, needs_own_rule
from ..ops.opdef import OpDef, Unsupported
from ..ops.rules.batch import has_stack_rule, keeps_rows, refused

__all__ = ["run_stacked", "run_rows", "why_not_stacked"]

Shape = tuple[int, ...]


def why_not_stacked(op: OpDef, attrs: Mapping[str, Any], shapes: Sequence[Shape | None], batched: Sequence[bool],
                    training: bool = False) -> str | None:
    """Say why a stack of samples would be computed one by one, or None when one call does it.

    Parameters
    ----------
    shapes : shape of each input of one sample; None for an absent input
    batched : whether an input differs from sample to sample; the others are shared
    """
    why = refused(op, training)
    if why is not None or has_stack_rule(op, batched) or keeps_rows(op, attrs, shapes, batched, training):
        return why
    if op.batch.unmapped:
        unmapped: str = op.batch.unmapped
        return unmapped
    return "its gradient is not that of its kernel" if op.own_gradient else None


def run_rows(op: OpDef, tensors: Sequence[torch.Tensor | None], attrs: Mapping[str, Any],
             training: bool = False) -> tuple[torch.Tensor, ...]:
    """Run an operator on concatenated samples: its kernel, with its own gradient on the tape where it has one."""
    typed = {**attrs, "training": training} if op.takes_training else attrs
    found = apply_own_rule(op, typed, tensors) if needs_own_rule(op, tensors) else op.kernel(*tensors, **typed)
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


def run_stacked(op: OpDef, tensors: Sequence[torch.Tensor | None], batched: Sequence[bool], attrs: Mapping[str, Any],
                training: bool = False) -> tuple[torch.Tensor, ...]:
    """Run an operator on stacks of samples.

    Parameters
    ----------
    tensors : (N, ...) where batched, else as for one sample; None for an absent input
    batched : which inputs carry the axis of samples; at least one

    Returns
    -------
    tuple
        all results, each (N, ...)

    >>> from glueball.ops import lookup
    >>> x, w = torch.ones(4, 2, 3), torch.ones(3, 5)
    >>> run_stacked(lookup("dot"), [x, w], [True, False], lookup("dot").typed({}))[0].shape
    torch.Size([4, 2, 5])
    """
    rule = op.batch
    if not any(batched):
        raise ArgumentError(explain(op.name, "No input carries an axis of samples.", expected="at least one",
                                    received=f"batched={list(batched)}",
                                    fix="run the operator itself: its result is that of every sample"))
    if isinstance(rule, Unsupported):
        return _one_by_one(op, tensors, batched, attrs, training)

    def call(given: Sequence[torch.Tensor | None], moved: Mapping[str, Any]) -> Any:
        typed = {**moved, "training": training} if op.takes_training else moved
        return apply_own_rule(op, typed, given) if needs_own_rule(op, given) else op.kernel(*given, **typed)

    if has_stack_rule(op, batched):
        found = rule.stack(call, tensors, batched, attrs)
        if found is not NotImplemented:
            return tuple(found) if isinstance(found, (tuple, list)) else (found,)
    shapes = [None if t is None else tuple(t.shape[flag:]) for t, flag in zip(tensors, batched)]
    if keeps_rows(op, attrs, shapes, batched, training):
        return _merged(op, tensors, batched, attrs, training)
    if rule.unmapped or op.own_gradient or refused(op, training) is not None:
        return _one_by_one(op, tensors, batched, attrs, training)
    return _mapped(op, tensors, batched, attrs, training)


def _merged(op: OpDef, tensors: Sequence[torch.Tensor | None], batched: Sequence[bool], attrs: Mapping[str, Any],
            training: bool) -> tuple[torch.Tensor, ...]:
    """Stack by rows: (N, B, ...) is (N * B, ...) for the operator."""
    n, rows = next(t.shape[:2] for t, flag in zip(tensors, batched) if flag and t is not None)
    given = [t.reshape(n * rows, *t.shape[2:]) if flag and t is not None else t for t, flag in zip(tensors, batched)]
    found = run_rows(op, given, attrs, training)
    shown = op.num_visible(attrs)
    return tuple(t.reshape(n, rows, *t.shape[1:]) if i < shown else t for i, t in enumerate(found))


def _mapped(op: OpDef, tensors: Sequence[torch.Tensor | None], batched: Sequence[bool], attrs: Mapping[str, Any],
            training: bool) -> tuple[torch.Tensor, ...]:
    """Stack by torch.func.vmap of the kernel."""
    typed = {**attrs, "training": training} if op.takes_training else attrs
    places = [i for i, flag in enumerate(batched) if flag and tensors[i] is not None]

    def one(*moving: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = list(tensors)
        for place, tensor in zip(places, moving):
            given[place] = tensor
        found = op.kernel(*given, **typed)
        return tuple(found) if isinstance(found, (tuple, list)) else (found,)

    mapped: Any = torch.func.vmap(one, randomness="different")
    found: tuple[torch.Tensor, ...] = mapped(*[tensors[i] for i in places])
    return found


def _one_by_one(op: OpDef, tensors: Sequence[torch.Tensor | None], batched: Sequence[bool], attrs: Mapping[str, Any],
                training: bool) -> tuple[torch.Tensor, ...]:
    """Run sample after sample: always right, never fast."""
    n = next(t.shape[0] for t, flag in zip(tensors, batched) if flag and t is not None)
    found = [run_rows(op, [t[i] if flag and t is not None else t for t, flag in zip(tensors, batched)], attrs, training)
             for i in range(n)]
    return tuple(torch.stack(column) for column in zip(*found))
