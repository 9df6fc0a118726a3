"""Every operator's batching rule, held to its word: one call for many samples gives what single calls give.

The laws, for each operator, each of its samples and each sensible choice of inputs that differ from sample to sample
(the others are shared): a stack of three samples = the three calls; where the rule allows rows, samples with one, two
and all rows concatenated = the three calls; values, and gradients along a random direction. An operator that claims a
rule must have been compared: each test counts. Random operators are held to shapes and independence.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from operator_matrix import differentiable, make_inputs, name_of, tensors_of

from glueball import autograd
from glueball.base.errors import ArgumentError, MXNetError
from glueball.dispatch import run_kernel
from glueball.fold import operators
from glueball.fold.operators import run_rows, run_stacked, why_not_stacked
from glueball.ops import TABLE, lookup
from glueball.ops.opdef import OpDef, Unsupported, freeze
from glueball.ops.rules.batch import keeps_rows, never, refused
from glueball.ops.rules.batch_table import _CLASSES, broadcasting, constant
from glueball.ops.rules.check import A, ArraySpec, S, Sample
from glueball.ops.rules.grad import zero

SAMPLES = 3
_LOW, _HIGH = np.array([[1.0, 2.0], [3.0, 1.0]]), np.array([[1.0, 5.0], [0.0, 1.0]])  # with ties
_LABELS = np.array([0.0, 3.0, 1.0])
# calls that an operator's own samples lack: rows that are independent or are not, ties, counts of the whole batch
MORE: dict[str, tuple[Sample, ...]] = {
    "_expand_to": (S(A(2, 3), shape=(4, 2, 3)),),
    "broadcast_like": (S(A(2, 1), A(2, 3)), S(A(2, 1, 3), A(2, 4), lhs_axes=(1,), rhs_axes=(-1,)),
                       S(A(2, 1), A(2, 3), lhs_axes=(1,), rhs_axes=(0,))),
    "broadcast_to": (S(A(2, 1), shape=(0, 3)),),
    "reshape_like": (S(A(4, 6), A(4, 2, 3)), S(A(4, 6), A(4, 2, 3), lhs_begin=1, rhs_begin=1)),
    "squeeze": (S(A(2, 1, 3, 1), axis=1), S(A(2, 1, 3, 1), axis=(1, -1))),
    "transpose": (S(A(2, 3, 4), axes=(0, 2, 1)),),
    "_slice_assign": (S(A(2, 4), A(2, 2), begin=(None, 1), end=(None, 3)),),
    "_slice_assign_scalar": (S(A(2, 4), begin=(None, 1), end=(None, 3), scalar=2.0),),
    "slice_like": (S(A(2, 4), A(2, 3), axes=(1,)), S(A(2, 4, 5), A(3, 3, 2), axes=(-1, 1))),
    **{name: (S(_LOW, _HIGH),) for name in ("_maximum", "_minimum", "broadcast_maximum", "broadcast_minimum", "_mod")},
    **{name: (S(_LOW, axis=1), S(np.ones((2, 2)), axis=0), S(np.ones((2, 3)))) for name in ("max", "min")},
    "MakeLoss": (S(A(2, 3), normalization="batch"), S(A(2, 3), normalization="valid"), S(A(2, 3), grad_scale=2.0)),
    "SoftmaxOutput": (S(A(3, 4), _LABELS, normalization="batch"),
                      S(A(3, 4), _LABELS, normalization="valid", use_ignore=True, ignore_label=1.0)),
    "SequenceMask": (S(A(2, 2, 3), np.array([1.0, 2.0]), use_sequence_length=True),),
    "SequenceLast": (S(A(2, 2, 3), np.array([1.0, 2.0]), use_sequence_length=True),),
    "LeakyReLU": (S(A(3), A(3), act_type="prelu"), S(A(3), A(1), act_type="prelu")),
    "BatchNorm": (S(A(3, 2), A(2), A(2), A(2), A(2, low=0.5), training=True), S(A(2, 2), A(2), A(2), A(2),
                                                                              A(2, low=0.5), axis=0)),
    "moments": (S(A(2, 3, 4), axes=(1, 2)), S(A(2, 3, 4), axes=(-1,), keepdims=True)),
}
# operators whose written-out arrays keep their meaning along the last axis only (axis 0 names an axis of the data)
PLACES = ("gather_nd", "scatter_nd", "_scatter_nd_add", "_scatter_set_nd")


def of_other_ranks(op: OpDef) -> list[Sample]:
    """The operator's first call with inputs of one, two and three axes (broadcasting: mixed) if they have one."""
    first = op.check.samples[0]
    specs = [spec for spec in first.inputs if spec is not None]
    if not all(isinstance(spec, ArraySpec) and spec.shape == specs[0].shape and not spec.posdef for spec in specs):
        return []

    def reshaped(*shapes: tuple[int, ...]) -> Sample:
        wanted = itertools.cycle(shapes)
        return replace(first, inputs=tuple(s if s is None else replace(s, shape=next(wanted)) for s in first.inputs))

    found = [reshaped(shape) for shape in ((4,), (3, 2), (2, 3, 2))]
    if op.batch is broadcasting:
        found += [reshaped((2, 3), (3,)), reshaped((3,), (2, 3)), reshaped((3, 2, 3), (1, 3))]
    return found


def accepted(op: OpDef, sample: Sample) -> bool:
    """Whether a single call takes these inputs."""
    try:
        run_kernel(op, tensors_of(make_inputs(sample)), op.typed(sample.attrs), training=sample.training)
    except MXNetError:
        return False
    return True


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
            assert keeps_rows(self.op, self.attrs, shapes, self.flags, self.sample.training), shapes
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
    others = [sample for sample in (*MORE.get(op.name, ()), *of_other_ranks(op)) if accepted(op, sample)]
    for sample in (*op.check.samples, *others):
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
                if keeps_rows(*call):
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


def test_dropout_decides_for_each_sample() -> None:
    op, ones = lookup("Dropout"), torch.ones(3, 40, 50)
    shared = op.typed({"axes": (0,)})  # one decision for a column of a sample
    assert not keeps_rows(op, shared, [(40, 50)], [True], training=True)
    kept = run_stacked(op, [ones], [True], shared, training=True)[0] != 0
    assert (kept == kept[:, :1]).all()
    assert not torch.equal(kept[0], kept[1])
    plain = op.typed({"axes": (1,)})
    assert keeps_rows(op, plain, [(40, 50)], [True], training=True)
    kept = run_rows(op, [ones.flatten(0, 1)], plain, training=True)[0] != 0
    assert (kept == kept[:, :1]).all()
    assert not torch.equal(kept[:40], kept[40:80])


def test_a_stack_without_samples_is_refused() -> None:
    op = lookup("relu")
    with pytest.raises(MXNetError, match="No input carries an axis of samples"):
        run_stacked(op, [torch.ones(2, 3)], [False], op.typed({}))


def test_random_operators_of_arrays_draw_for_each_sample() -> None:
    op, same = lookup("_sample_normal"), torch.zeros(3, 4)
    attrs = op.typed({"shape": (5,)})
    drawn = run_stacked(op, [same, same + 1], [True, True], attrs)[0]
    assert drawn.shape == (3, 4, 5)
    assert not torch.equal(drawn[0], drawn[1])
    like = run_stacked(lookup("_random_uniform_like"), [same], [True], lookup("_random_uniform_like").typed({}))[0]
    assert not torch.equal(like[0], like[1])


@pytest.mark.parametrize("name, words", [
    ("_random_normal", "its own random numbers"), ("sgd_update", "update of a parameter"),
    ("_contrib_boolean_mask", "depends on the values"), ("_foreach", "functions of the user"),
    ("IdentityAttachKLSparseReg", "whole batch")])
def test_what_is_not_batched_says_why(name: str, words: str) -> None:
    op = lookup(name)
    assert words in (why_not_stacked(op, {}, [(2, 2)], [True]) or "")
    assert not keeps_rows(op, {}, [(2, 2)], [True])


def test_batch_norm_is_batched_in_predict_mode_only() -> None:
    op = lookup("BatchNorm")
    call = (op, op.typed({}), [(2, 3), (3,), (3,), (3,), (3,)], [True, False, False, False, False])
    assert keeps_rows(*call)
    assert not keeps_rows(*call, training=True)
    assert "statistics" in (why_not_stacked(*call, training=True) or "")


def test_an_operator_without_a_batching_rule_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup("dot"), "batch", None)
    with pytest.raises(TypeError, match=r"dot \(dot\): no batching rule"):
        freeze()


def test_the_table_names_operators() -> None:
    names = [name for _, several in _CLASSES for name in several.split()]
    assert sorted(names) == sorted(set(names)), "named twice"
    assert set(names) <= set(TABLE)


def test_unbatched_operators_still_run() -> None:
    op, x = lookup("IdentityAttachKLSparseReg"), torch.rand(3, 4, 2)
    assert torch.equal(run_stacked(op, [x], [True], op.typed({}))[0], x)
    with pytest.raises(ArgumentError, match="axis of samples"):
        run_stacked(op, [x], [False], op.typed({}))


# -- calls drawn at random: axes, codes and ranks that no sample thought of --------------------------------------------


def shape_of(draw: np.random.Generator, least: int = 1, most: int = 4) -> tuple[int, ...]:
    """A shape with small sizes, ones among them."""
    return tuple(int(n) for n in draw.integers(1, 4, draw.integers(least, most + 1)))


def axis_of(draw: np.random.Generator, rank: int) -> int:
    """An axis, counted from either end."""
    return int(draw.integers(-rank, rank))


def some_axes(draw: np.random.Generator, rank: int) -> Any:
    """None, one axis, or several."""
    kind = draw.integers(3)
    chosen = draw.permutation(rank)[: draw.integers(1, rank + 1)]
    signed = tuple(int(a) - rank * int(draw.integers(2)) for a in chosen)
    return None if kind == 0 else signed[0] if kind == 1 else signed


def flag(draw: np.random.Generator) -> bool:
    return bool(draw.integers(2))


def with_axis(draw: np.random.Generator, key: str = "axis", **attrs: Any) -> Sample:
    shape = shape_of(draw)
    return S(A(*shape), **{key: axis_of(draw, len(shape))}, **attrs)


def reduction(draw: np.random.Generator) -> Sample:
    shape = shape_of(draw)
    return S(A(*shape, distinct=True), axis=some_axes(draw, len(shape)), keepdims=flag(draw), exclude=flag(draw))


def position(draw: np.random.Generator) -> Sample:
    shape = shape_of(draw)
    axis = None if flag(draw) else axis_of(draw, len(shape))
    return S(A(*shape, distinct=True), axis=axis, keepdims=flag(draw))


def joined(draw: np.random.Generator) -> Sample:
    shape = shape_of(draw)
    at = axis_of(draw, len(shape))
    other = list(shape)
    other[at] = 2
    return S(A(*shape), A(*other), dim=at)


def piled(draw: np.random.Generator) -> Sample:
    shape = shape_of(draw, most=3)
    return S(A(*shape), A(*shape), axis=axis_of(draw, len(shape) + 1))


def codes(draw: np.random.Generator) -> Sample:
    shape = shape_of(draw, least=2)
    total = int(np.prod(shape))
    choices_ = [(0, -1), (-1, *shape[1:]), (0, 0, -1), (-3, -2), (-1,), (0, -2), (total, 1), (1, *shape), (-1, 1),
                (0, -4, -1, 1, -2), (-4, 1, -1, -2), (-1, shape[-1]), (shape[0], -1), (0, 1, -2), (-2, 1), (0, -3, -2)]
    return S(A(*shape), shape=choices_[draw.integers(len(choices_))], reverse=bool(draw.integers(4) == 0))


def contracted(draw: np.random.Generator) -> Sample:
    left, right, inner = shape_of(draw, 0, 2), shape_of(draw, 0, 2), 3
    first, last = flag(draw), flag(draw)
    return S(A(*((inner, *left) if first else (*left, inner))), A(*((*right, inner) if last else (inner, *right))),
             transpose_a=first, transpose_b=last)


def stretched_pair(draw: np.random.Generator) -> Sample:
    whole = shape_of(draw)
    left, right = ([n if flag(draw) else 1 for n in whole][draw.integers(len(whole)):] for _ in range(2))
    return S(A(*left, low=0.3, high=2.0), A(*right, low=0.3, high=2.0))


def windows(draw: np.random.Generator) -> Sample:
    shape = shape_of(draw)
    count = int(draw.integers(1, len(shape) + 1))
    begin = [None if flag(draw) else int(draw.integers(0, shape[i])) for i in range(count)]
    end = [None if flag(draw) else shape[i] for i in range(count)]
    return S(A(*shape), begin=tuple(begin), end=tuple(end), step=(1,) * count if flag(draw) else ())


def rows_by_number(draw: np.random.Generator) -> Sample:
    shape = shape_of(draw)
    return S(A(*shape), A(*shape_of(draw, most=2), ints=4), axis=axis_of(draw, len(shape)),
             mode="wrap" if flag(draw) else "clip")


def picks(draw: np.random.Generator) -> Sample:
    shape = shape_of(draw)
    at = axis_of(draw, len(shape)) % len(shape)
    rest = (*shape[:at], *shape[at + 1:])
    index = (*shape[:at], 1, *shape[at + 1:]) if flag(draw) or not rest else rest
    return S(A(*shape), A(*index, ints=3), axis=at, keepdims=flag(draw))


def layers(draw: np.random.Generator) -> Sample:
    shape, flatten = shape_of(draw), flag(draw)
    units = int(np.prod(shape[1:])) if flatten else shape[-1]
    return S(A(*shape), A(4, units), A(4), num_hidden=4, flatten=flatten)


def squeezes(draw: np.random.Generator) -> Sample:
    shape = shape_of(draw)
    ones = tuple(a for a, n in enumerate(shape) if n == 1)
    return S(A(*shape), axis=ones[:1] if ones and flag(draw) else ones or None)


def orders(draw: np.random.Generator) -> Sample:
    shape = shape_of(draw)
    return S(A(*shape), axes=tuple(int(a) for a in draw.permutation(len(shape))) if flag(draw) else ())


def exchanges(draw: np.random.Generator) -> Sample:
    shape = shape_of(draw)
    return S(A(*shape), dim1=axis_of(draw, len(shape)), dim2=axis_of(draw, len(shape)))


def gains(draw: np.random.Generator) -> Sample:
    shape = shape_of(draw, most=3)
    at = axis_of(draw, len(shape))
    return S(A(*shape), A(shape[at]), A(shape[at]), axis=at)


def ranges(draw: np.random.Generator) -> Sample:
    shape = shape_of(draw)
    at = axis_of(draw, len(shape))
    return S(A(*shape), axis=at, begin=0, end=None if flag(draw) else shape[at])


def cuts_like(draw: np.random.Generator) -> Sample:
    shape = shape_of(draw)
    axes = some_axes(draw, len(shape))
    like = tuple(int(draw.integers(1, n + 1)) for n in shape)
    return S(A(*shape), A(*like), axes=() if axes is None else (axes,) if isinstance(axes, int) else axes)


def repetitions(draw: np.random.Generator) -> Sample:
    return S(A(*shape_of(draw, most=3)), reps=tuple(int(n) for n in draw.integers(1, 3, draw.integers(1, 5))))


def selections(draw: np.random.Generator) -> Sample:
    shape = shape_of(draw)
    condition = shape[:1] if flag(draw) else shape
    return S(A(*condition, ints=2), A(*shape), A(*shape))


DRAWN: dict[str, Any] = {
    "sum": reduction, "mean": reduction, "max": reduction, "prod": reduction, "argmax": position, "argmin": position,
    "softmax": with_axis, "log_softmax": with_axis, "reverse": with_axis, "Concat": joined, "stack": piled,
    "Reshape": codes, "dot": contracted, "broadcast_add": stretched_pair, "broadcast_maximum": stretched_pair,
    "broadcast_power": stretched_pair, "slice": windows, "take": rows_by_number, "pick": picks,
    "FullyConnected": layers, "squeeze": squeezes, "transpose": orders, "SwapAxis": exchanges, "LayerNorm": gains,
    "slice_axis": ranges, "slice_like": cuts_like, "tile": repetitions, "where": selections,
    "expand_dims": lambda draw: with_axis(draw), "sort": position, "_np_cumsum": lambda draw: with_axis(draw),
    "repeat": lambda draw: with_axis(draw, repeats=2),
    "topk": lambda draw: with_axis(draw, k=1, ret_typ=("value", "indices", "mask", "both")[draw.integers(4)]),
    "SliceChannel": lambda draw: S(A(4, 2, 4), num_outputs=2, axis=axis_of(draw, 3)),
    "_split_v2": lambda draw: S(A(4, 2, 4), indices=(0, 1), axis=axis_of(draw, 3)),
}


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_calls_are_single_calls(name: str) -> None:
    """The same laws for calls drawn at random; what a single call refuses is not compared."""
    op, draw = lookup(name), np.random.default_rng(sum(map(ord, name)))
    stacks = rows = 0
    for _ in range(40):
        sample = DRAWN[name](draw)
        if "keepdims" in sample.attrs and "keepdims" not in op.attr_by_name:
            del sample.attrs["keepdims"]
        for flags in choices([True] * len(sample.inputs)):
            comparison = Comparison(op, sample, flags)
            call = (op, comparison.attrs, comparison.shapes, flags)
            try:
                comparison.alone(tensors_of(comparison.arrays[0]))
            except MXNetError:
                continue
            try:
                if why_not_stacked(*call) is None:
                    comparison.stacked()
                    stacks += 1
                if keeps_rows(*call):
                    comparison.in_rows()
                    rows += 1
            except Exception as error:
                error.add_note(f"{sample} {flags}")
                raise
    assert stacks >= 20, stacks
    assert rows >= 5, rows
