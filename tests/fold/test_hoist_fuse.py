"""Rewriting a program keeps its meaning: split in two halves, or with its element-wise steps in segments.

The one idea: straight-line programs made up by hypothesis are run as they are, one sample after the other, by the
interpreter that the rewriting knows nothing of; values and gradients of the rewritten program are the same. That what
can go into the first half does is asked of the program's dependencies, worked out here the slow way.

Not here: which arguments come from outside a loop (test_schedule.py), whole scopes (test_oracle.py).
"""
from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball.executor.interpret import run_operator
from glueball.executor.native import available
from glueball.fold.expression import ProgramBuilder
from glueball.fold.fuse import Segment, fuse
from glueball.fold.hoist import Halves, split
from glueball.fold.steps import Program, Step
from glueball.fold.verify import run_program
from glueball.ops.opdef import OpDef, TensorType, lookup

H = 4
Tensor = torch.Tensor
ONE, TWO = ("tanh", "sigmoid", "negative", "square"), ("broadcast_add", "broadcast_mul", "broadcast_sub")


class Maker:
    """Makes up a program; remembers which slots there are of each width."""

    def __init__(self, seed: int) -> None:
        self.random, self.builder = random.Random(seed), ProgramBuilder()
        self.widths: dict[int, int] = {}
        self.arguments = [self.slot((1, H)) for _ in range(self.random.randint(2, 4))]
        self.weights = [self.builder.slot(TensorType((size, H), torch.float64)) for size in (H, 2 * H, 3 * H)]
        self.rows = [self.slot((1, H)) for _ in range(2)]  # shared, of the same shape as a sample's

    def slot(self, shape: tuple[int, ...]) -> int:
        """Return a slot of a row."""
        made = self.builder.slot(TensorType(shape, torch.float64))
        self.widths[made] = shape[-1]
        return made

    def apply(self, name: str, inputs: Sequence[int | None], widths: Sequence[int], **attrs: Any) -> None:
        """Append a step."""
        op = lookup(name)
        kinds = [TensorType((1, width), torch.float64) for width in widths]
        self.widths.update(zip(self.builder.step(op, op.typed(attrs), inputs, kinds), widths))

    def any(self, least: int = H) -> int:
        """Return a slot with columns enough, new ones more often."""
        found = [slot for slot, width in self.widths.items() if width >= least]
        return self.random.choice(found[-self.random.randint(1, len(found)):])

    def step(self) -> None:
        """Append some step."""
        kind = self.random.choice(("one", "two", "two", "linear", "slice", "split"))
        data = self.any(2 * H if kind in ("slice", "split") and max(self.widths.values()) > H else H)
        width = self.widths[data]
        if kind == "one":
            self.apply(self.random.choice(ONE), [data], [width])
        elif kind == "two":
            other = self.random.choice([s for s, w in self.widths.items() if w == width])
            self.apply(self.random.choice(TWO), [data, other], [width])
        elif kind == "linear" and width == H:
            number = self.random.randrange(3)
            size = (number + 1) * H
            self.apply("FullyConnected", [data, self.weights[number], None], [size], num_hidden=size, no_bias=True)
        elif kind == "slice" and width > H:
            begin = self.random.randrange(width - H + 1)
            self.apply("slice_axis", [data], [H], axis=1, begin=begin, end=begin + H)
        elif kind == "split" and width > H:
            self.apply("SliceChannel", [data], [H] * (width // H), num_outputs=width // H, axis=1)

    def program(self) -> Program:
        """Return the program: a few of its last values are the results."""
        for _ in range(self.random.randint(4, 16)):
            self.step()
        results = [slot for slot in list(self.widths)[-4:] if self.random.random() < 0.6] or [max(self.widths)]
        return self.builder.finish(self.arguments, [*self.weights, *self.rows], results)


def made_up(seed: int, samples: int) -> tuple[Program, list[list[Tensor]], list[Tensor]]:
    """Return a program, arguments of some samples, and shared tensors."""
    program, generator = Maker(seed).program(), torch.Generator().manual_seed(seed)

    def drawn(slot: int) -> Tensor:
        return (torch.randn(program.shape(slot), generator=generator, dtype=torch.float64) * 0.5).requires_grad_()
    return program, [[drawn(s) for s in program.arguments] for _ in range(samples)], [drawn(s) for s in program.shared]


def judged(results: Sequence[Tensor], leaves: Sequence[Tensor]) -> list[np.ndarray]:
    """Return values, and gradients of a sum in which every element counts differently."""
    heads = [(r * r * torch.arange(1, r.numel() + 1).reshape(r.shape)).sum() for r in results]
    total = torch.stack(heads).sum()
    found = torch.autograd.grad(total, leaves, allow_unused=True) if total.requires_grad else [None] * len(leaves)
    return [*[r.detach().numpy() for r in results],
            *[np.zeros(leaf.shape) if g is None else g.numpy() for g, leaf in zip(found, leaves)]]


def assert_equal(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> None:
    """Compare arrays in order."""
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9)


def in_halves(halves: Halves, arguments: Sequence[Tensor], shared: Sequence[Tensor]) -> list[Tensor]:
    """Run the first half, cut what crosses out of its results, run the second half."""
    early = run_program(halves.first, [arguments[i] for i in halves.given], shared)
    crossing = [early[c.result][:, c.begin:c.end] for c in halves.frontier]
    return run_program(halves.second, [*[arguments[i] for i in halves.kept], *crossing], shared)


def waits(program: Program, outside: Sequence[bool]) -> set[int]:
    """Return the slots that depend on an argument made inside the loop."""
    found = {slot for slot, free in zip(program.arguments, outside) if not free}
    for step in program.steps:
        if any(slot in found for slot in step.inputs):
            found.update(step.outputs)
    return found


def products(program: Program) -> list[Step]:
    """Return the steps that are matrix products."""
    return [s for s in program.steps if isinstance(s.op, OpDef) and s.op.name == "FullyConnected"]


@settings(max_examples=150)
@given(st.integers(0, 1_000_000))
def test_two_halves_are_the_whole(seed: int) -> None:
    program, (arguments,), shared = made_up(seed, 1)
    outside = [random.Random(seed + i).random() < 0.6 for i in range(len(arguments))]
    halves, late = split(program, outside), waits(program, outside)
    of_samples = waits(program, [False] * len(arguments))
    ahead = [s for s in products(program) if s.inputs[0] in of_samples - late]
    if halves is None:
        assert not ahead
        return
    assert ahead
    assert all(outside[i] for i in halves.given)
    assert not [s for s in products(halves.second) if s.inputs[0] in of_samples - late]
    leaves = [*arguments, *shared]
    assert_equal(judged(run_program(program, arguments, shared), leaves),
                 judged(in_halves(halves, arguments, shared), leaves))


def per_sample(program: Program) -> list[bool]:
    """Return, per slot, whether each sample has its own."""
    own = waits(program, [False] * len(program.arguments))
    return [slot in own for slot in range(len(program.types))]


def run_fused(placed: Sequence[Any], program: Program, arguments: Sequence[Tensor],
              shared: Sequence[Tensor]) -> list[Any]:
    """Run steps and segments on rows of all samples; return the values of all slots."""
    values: list[Any] = [None] * len(program.types)
    for slot, value in zip((*program.arguments, *program.shared), (*arguments, *shared)):
        values[slot] = value
    for item in placed:
        if isinstance(item, Segment):
            found = _Native.apply(item, values, *[values[leaf.slot] for leaf in item.leaves])
            found = found if isinstance(found, tuple) else (found,)
            values = [*values]
            for slot, value in zip(item.outputs, found):
                values[slot] = value
        else:
            names = [name for name, slot in zip(item.op.input_names, item.inputs) if slot is not None]
            found = run_operator(item.op, [values[s] for s in item.inputs if s is not None], item.attrs, False, names)
            for slot, value in zip(item.outputs, found):
                values[slot] = value
    return values


class _Native(torch.autograd.Function):
    """A segment on torch's tape, with its own gradient."""

    @staticmethod
    def forward(ctx: Any, segment: Segment, values: list[Any], *whole: Tensor) -> Any:
        """Return the segment's outputs."""
        ctx.segment, ctx.values, ctx.whole = segment, values, whole
        return tuple(segment.rows.forward([item for item, _ in segment.items(values)]))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Put the leaves' gradients into zeros of their slots' shapes."""
        segment = ctx.segment
        found = segment.rows.backward([item for item, _ in segment.items(ctx.values)],
                                      [g.contiguous() for g in grads], [True] * len(segment.leaves))
        wholes = []
        for leaf, tensor, gradient in zip(segment.leaves, ctx.whole, found):
            full = torch.zeros_like(tensor)
            if gradient is not None:
                full[..., leaf.begin:leaf.end] += gradient.reshape(full[..., leaf.begin:leaf.end].shape)
            wholes.append(full)
        return (None, None, *wholes)


@pytest.mark.skipif(not available(), reason="needs the native compiler (llvmlite)")
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1_000_000))
def test_segments_are_their_steps(seed: int) -> None:
    program, samples, shared = made_up(seed, 3)
    own = per_sample(program)
    arguments = [torch.cat([sample[i] for sample in samples]) for i in range(len(program.arguments))]
    placed = fuse(program, own, {})
    values = run_fused(placed, program, arguments, shared)
    found = [values[slot] if own[slot] else values[slot].expand(3, -1) for slot in program.results]
    alone = [run_program(program, sample, shared) for sample in samples]
    expected = [torch.cat(parts) for parts in zip(*alone)]
    leaves = [*[a for sample in samples for a in sample], *shared]
    assert_equal(judged(expected, leaves), judged(found, leaves))
    left = [item for item in placed if isinstance(item, Step) and isinstance(item.op, OpDef)
            and item.op.name in (*ONE, *TWO) and own[item.outputs[0]]]
    assert len(left) < 2, "element-wise steps of samples were not put into segments"
