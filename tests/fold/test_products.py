"""Gradients of weights by our own product are what torch's are: any sizes, rows apart, sums, adding to what is there.

The one idea: products of whole numbers are exact in both precisions, so results are compared bit by bit.

Not here: products with a weight that was put in order (test_stream.py).
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glueball.fold import packs
from glueball.fold.core import compiled
from glueball.fold.functions import Sink

runner = compiled("runner")
needs_products = pytest.mark.skipif(
    runner is None or packs.machine() is None or not runner.panel_width(), reason="there is no product of our own here"
)


def numbers(rows: int, columns: int, room: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Return whole numbers whose rows are `room` further apart than they are long."""
    generator = torch.Generator().manual_seed(seed)
    made = torch.randint(-4, 5, (rows, columns + room), generator=generator).to(dtype)
    return made[:, room // 2 : room // 2 + columns]


@needs_products
@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 300), st.integers(24, 130), st.integers(24, 130), st.integers(0, 5), st.booleans(), st.booleans(),
    st.sampled_from([torch.float32, torch.float64]),
)  # fmt: skip
@example(1, 24, 24, 0, False, True, torch.float32)
@example(700, 300, 64, 3, True, True, torch.float32)  # more than one thread's share
def test_products_for_weights(
    count: int, outputs: int, inputs: int, room: int, add: bool, summed: bool, dtype: torch.dtype
) -> None:
    grads, rows = numbers(count, outputs, room, dtype, 1), numbers(count, inputs, room, dtype, 2)
    target = numbers(outputs, inputs, room, dtype, 3)
    sums = torch.ones(outputs, dtype=dtype) if summed else None
    expected = grads.t() @ rows + (target if add else 0)
    assert packs.add_outer(grads, rows, target, add, sums)
    assert torch.equal(target, expected)
    if sums is not None:
        assert torch.equal(sums, grads.sum(0) + 1)


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 30), st.integers(24, 34)), min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
)
def test_a_sink_adds_up_uses(uses: list[tuple[int, int, int]], bias_first: bool, alone: bool) -> None:
    """Parts of a weight's rows, few and many calls, the bias asked for before the weight or after it."""
    weight = torch.zeros(64, 40, dtype=torch.float64, requires_grad=not alone)
    bias = torch.zeros(64, dtype=torch.float64, requires_grad=True)
    sink, whole, sums = Sink(), torch.zeros(64, 40, dtype=torch.float64), torch.zeros(64, dtype=torch.float64)
    for seed, (count, low, width) in enumerate(uses):
        rows, grads = numbers(count, 40, 0, torch.float64, seed), numbers(count, width, 0, torch.float64, seed + 9)
        sink.linear(weight, bias, rows, grads, low)
        whole[low : low + width] += grads.t() @ rows
        sums[low : low + width] += grads.sum(0)
    asked = [(bias, sums), (weight, whole)] if bias_first else [(weight, whole), (bias, sums)]
    for tensor, expected in asked:
        found = sink.collect(tensor)
        assert found is None if alone and tensor is weight else found is not None and torch.equal(found, expected)
    assert sink.collect(weight) is None and sink.collect(bias) is None
