"""Every operator's batching rule, held to its word: one call for many samples gives what single calls give.

The laws, for each operator, each of its samples and each sensible choice of inputs that differ from sample to sample
(the others are shared): a stack of three samples = the three calls; where the rule allows rows, samples with one, two
and all rows concatenated = the three calls; values, and gradients along a random direction. An operator that claims a
rule must have been compared: each test counts. Random operators are held to shapes and independence.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from operator_matrix import differentiable, make_inputs, name_of, tensors_of

from glueball import autograd
from glueball.dispatch import run_kernel
from glueball.fold import operators
from glueball.fold.operators import run_rows, run_stacked, why_not_rows, why_not_stacked
from glueball.ops import TABLE
from glueball.ops.opdef import OpDef, Unsupported
from glueball.ops.rules.batch import never, refused
from glueball.ops.rules.batch_table import constant
from glueball.ops.rules.check import A, S, Sample
from glueball.ops.rules.grad import zero

SAMPLES = 3
# calls whose rows are independent, for operators whose own samples have none
MORE: dict[str, tuple[Sample, ...]] = {
    "_expand_to": (S(A(2, 3), shape=(4, 2, 3)),),
    "broadcast_to": (S(A(2, 1), shape=(0, 3)),),
    "reshape_like": (S(A(4, 6), A(4, 2, 3)), S(A(4, 6), A(4, 2, 3), lhs_begin=1, rhs_begin=1)),
    "squeeze": (S(A(2, 1, 3, 1), axis=1), S(A(2, 1, 3, 1), axis=(1, -1))),
    "transpose": (S(A(2, 3, 4), axes=(0, 2, 1)),),
    "_slice_assign": (S(A(2, 4), A(2, 2), begin=(None, 1), end=(None, 3)),),
    "_slice_assign_scalar": (S(A(2, 4), begin=(None, 1), end=(None, 3), scalar=2.0),),
    "slice_like": (S(A(2, 4), A(2, 3), axes=(1,)), S(A(2, 4, 5), A(3, 3, 2), axes=(-1, 1))),
    "moments": (S(A(2, 3, 4), axes=(1, 2)), S(A(2, 3, 4), axes=(-1,), keepdims=True)),
}
# operators whose written-out arrays keep their meaning along the last axis only (axis 0 names an axis of the data)
PLACES = ("gather_nd", "scatter_nd", "_scatter_nd_add", "_scatter_set_nd")


def copies(op: OpDef, sample: Sample) -> list[list[np.ndarray | None]]:
    """Three different inputs of one call; arrays written out in samples are rotated."""
    found = []
    for index in range(SAMPLES):
        arrays = make_inputs(sample, seed=7 + index)
        axis = -1 if op.name in PLACES else 0
        found.append([np.roll(a, index, axis) if isinstance(spec, np.ndarray) and spec.ndim else a
                      for spec, a in zip(sample.inputs, arrays)])
    return found


def choices(present: Sequence[bool]) -> list[tuple[bool, ...]]:
    """Which inputs differ from sample to sample: every choice for up to three, some for more."""
    places = [i for i, flag in enumerate(present) if flag]
    if len(places) <= 3:
        chosen = [c for size in range(1, len(places) + 1) for c in itertools.combinations(places, size)]
    else:
        chosen = [tuple(places), tuple(places[:1]), tuple(places[:2]), tuple(places[:3]), tuple(places[:-1]),
                  (places[0], *places[2:])]
    return [tuple(i in c for i in range(len(present))) for c in chosen]


def heads_for(results: Sequence[torch.Tensor]) -> list[torch.Tensor | None]:
    """Random head gradients of float results."""
    rng = np.random.default_rng(11)
    return [torch.from_numpy(np.asarray(rng.uniform(0.5, 1.5, tuple(t.shape)))).to(t.dtype)
            if t.is_floating_point() else None for t in results]


class Comparison:
    """One operator at one sample with one choice of batched inputs: folded against single calls."""

    def __init__(self, op: OpDef, sample: Sample, flags: tuple[bool, ...]) -> None:
        self.op, self.sample, self.flags = op, sample, flags
        self.attrs = op.typed(sample.attrs)
        self.arrays = copies(op, sample)
        self.shown = op.num_visible(self.attrs)
        self.positions = [] if isinstance(op.gradient, Unsupported) else differentiable(op, self.arrays[0])
        self.shapes = [None if a is None else a.shape for a in self.arrays[0]]

    def alone(self, tensors: Sequence[torch.Tensor | None]) -> list[torch.Tensor]:
        """The visible results of a single call."""
        result = run_kernel(self.op, tensors, self.attrs, training=self.sample.training)
        results = list(result) if isinstance(result, (tuple, list)) else [result]
        return results[: self.shown]

    def leaves(self, joined: Sequence[np.ndarray | None]) -> list[torch.Tensor | None]:
        """Tensors to differentiate by."""
        leaves = tensors_of(joined)
        for i in self.positions:
            leaves[i].requires_grad_()
        return leaves

    def compare(self, leaves: list[torch.Tensor | None], folded: Any, single: Any, slopes: bool) -> bool:
        """Compare results and gradients of two functions of the leaves; return whether a gradient was compared."""
        with autograd.record(train_mode=self.sample.training):
            torch.manual_seed(3)
            ours, theirs = folded(leaves), single(leaves)
            assert len(ours) == len(theirs) == self.shown
            for a, b in zip(ours, theirs):
                assert a.shape == b.shape, f"shape {tuple(a.shape)}, wanted {tuple(b.shape)}"
                assert a.dtype == b.dtype
                if slopes:
                    torch.testing.assert_close(a.detach(), b.detach(), rtol=1e-6, atol=1e-8, equal_nan=True)
            if not slopes or not self.positions or not any(t.requires_grad for t in theirs):
                return False
            heads = heads_for(theirs)
            found = [self.gradients(results, heads, leaves) for results in (ours, theirs)]
        for i, a, b in zip(self.positions, *found):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8, equal_nan=True, msg=lambda m, i=i: f"input {i}: {m}")
        return True

    def gradients(self, results: Sequence[torch.Tensor], heads: Sequence[torch.Tensor | None],
                  leaves: Sequence[torch.Tensor | None]) -> list[torch.Tensor]:
        """Gradients by the leaves, zeros where there is none."""
        pairs = [(t, h) for t, h in zip(results, heads) if h is not None and t.requires_grad]
        wanted = [leaves[i] for i in self.positions]
        if not pairs:
            return [torch.zeros_like(t) for t in wanted]
        found = torch.autograd.grad([t for t, _ in pairs], wanted, [h for _, h in pairs], allow_unused=True)
        return [torch.zeros_like(t) if g is None else g for t, g in zip(wanted, found)]

    def certain(self) -> bool:
        """Whether the call gives the same twice (Dropout in predict mode does, in train mode not)."""
        if not self.op.random:
            return True
        found = [self.alone(tensors_of(self.arrays[0])) for _ in range(2)]
        return all(torch.equal(a, b) for a, b in zip(*found))

    def stacked(self) -> bool:
        """Compare a stack of the samples with single calls."""
        joined = [None if a is None else np.stack([s[i] for s in self.arrays]) if flag else a
                  for i, (a, flag) in enumerate(zip(self.arrays[0], self.flags))]

        def folded(leaves: list[torch.Tensor | None]) -> list[torch.Tensor]:
            results = run_stacked(self.op, leaves, self.flags, self.attrs, self.sample.training)
            return list(results[: self.shown])

        def single(leaves: list[torch.Tensor | None]) -> list[torch.Tensor]:
            calls = [self.alone([t[k] if flag and t is not None else t for t, flag in zip(leaves, self.flags)])
                     for k in range(SAMPLES)]
            return [torch.stack(column) for column in zip(*calls)]

        return self.compare(self.leaves(joined), folded, single, self.certain())

    def in_rows(self) -> bool:
        """Compare samples of unequal numbers of rows, concatenated, with single calls."""
        size = next(s[0] for s, flag in zip(self.shapes, self.flags) if flag)
        rows = [np.arange(size), np.tile(np.arange(size), 2), np.arange(min(size, 1))]
        counts = [len(r) for r in rows]
        for k in range(SAMPLES):  # a promise for any numbers of rows
            shapes = [(counts[k], *s[1:]) if flag else s for s, flag in zip(self.shapes, self.flags)]
            assert why_not_rows(self.op, self.attrs, shapes, self.flags, self.sample.training) is None, shapes
        joined = [None if a is None else np.concatenate([s[i][r] for s, r in zip(self.arrays, rows)]) if flag else a
                  for i, (a, flag) in enumerate(zip(self.arrays[0], self.flags))]

        def folded(leaves: list[torch.Tensor | None]) -> list[torch.Tensor]:
            return list(run_rows(self.op, leaves, self.attrs, self.sample.training)[: self.shown])

        def single(leaves: list[torch.Tensor | None]) -> list[torch.Tensor]:
            pieces = [t.split(counts) if flag and t is not None else None for t, flag in zip(leaves, self.flags)]
            calls = [self.alone([t if p is None else p[k] for t, p in zip(leaves, pieces)]) for k in range(SAMPLES)]
            for count, results in zip(counts, calls):
                assert all(t.shape[0] == count for t in results), "the results do not have the rows of the inputs"
            return [torch.cat(column) for column in zip(*calls)]

        return self.compare(self.leaves(joined), folded, single, self.certain())


@pytest.mark.parametrize("op", [op for op in TABLE.values() if not isinstance(op.batch, Unsupported)], ids=name_of)
def test_folded_calls_are_single_calls(op: OpDef, monkeypatch: pytest.MonkeyPatch) -> None:
    if op.batch is constant:
        assert not op.inputs, "only what has no inputs is the same for all samples"
        return
    monkeypatch.setattr(operators, "_one_by_one", _refuse)
    stacks = rows = slopes = 0
    for sample in (*op.check.samples, *MORE.get(op.name, ())):
        if refused(op, sample.training) is not None:
            continue
        for flags in choices([spec is not None for spec in sample.inputs]):
            comparison = Comparison(op, sample, flags)
            where = (op.attrs and sample.attrs, comparison.shapes, flags)
            call = (op, comparison.attrs, comparison.shapes, flags, sample.training)
            try:
                if why_not_stacked(*call) is None:
                    slopes += comparison.stacked()
                    stacks += 1
                if why_not_rows(*call) is None:
                    slopes += comparison.in_rows()
                    rows += 1
            except Exception as error:
                error.add_note(f"{op.name} {where}")
                raise
    assert stacks, "no stack was compared"
    assert rows or op.batch.rows is never, "the rule speaks of rows, but no sample has them: add one to MORE"
    assert slopes or op.random or not _has_gradient(op), "no gradient was compared"


def _refuse(op: OpDef, *_: Any) -> Any:
    raise AssertionError(f"{op.name} was run sample by sample although it says that it is not")


def _has_gradient(op: OpDef) -> bool:
    """Whether a sample takes a gradient by the kernel's or the operator's own rule."""
    return not isinstance(op.gradient, Unsupported) and op.gradient is not zero and any(
        differentiable(op, make_inputs(s)) and s.grad and not refused(op, s.training) for s in op.check.samples)
