"""Copies of arrays in any order of axes, on every kind of processor: all numbers arrive, and nothing beside them is
written.
"""

from __future__ import annotations

from array import array
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball.executor.native import available, why_not
from glueball.executor.native.compile import Compiler, parallel
from glueball.executor.native.copies import Copies

from .test_panels import KINDS

pytestmark = pytest.mark.skipif(not available(), reason=why_not() or "")

COMPILERS = {name: Compiler(cpu, "", size) for name, (cpu, size) in KINDS.items()} if available() else {}
AXES = st.lists(st.integers(1, 5), min_size=0, max_size=4)
COLUMNS = st.one_of(st.integers(1, 40), st.sampled_from([64, 65, 127]))


@given(AXES, st.integers(1, 9), COLUMNS, st.booleans(), st.permutations(range(6)), st.integers(1, 4),
       st.sampled_from([torch.float32, torch.float64]), st.sampled_from(sorted(KINDS)), st.integers(1, 2))  # fmt: skip
@settings(max_examples=120, deadline=None)
def test_arrays_are_put_in_order(further, rows, columns, together, order, height, dtype, processor, threads):
    sizes = [*further, rows, columns]
    rank = len(sizes)
    # the source lies in another order of axes, with gaps between its columns where they do not lie together
    places = [axis for axis in order if axis < rank - together] + ([rank - 1] if together else [])
    steps, step = [0] * rank, 1 if together else 3
    for axis in reversed(places):
        steps[axis], step = step, step * sizes[axis]
    source = torch.randn(step, dtype=dtype)
    expected = torch.as_strided(source, sizes, steps).contiguous()
    result = torch.full((expected.numel() + 2,), -7.0, dtype=dtype)
    into = list(expected.stride())
    down = -(-rows // height)
    outer = expected.numel() // (rows * columns)
    more = [number for axis in reversed(range(len(further))) for number in (sizes[axis], steps[axis], into[axis])]
    words = array("q", [0, outer * down, down, height, rows, columns, source.data_ptr(), steps[-2], steps[-1],
                        result[1:].data_ptr(), into[-2], into[-1], len(further), *more])  # fmt: skip
    kernel = COMPILERS[processor].kernel(Copies(together), dtype)
    team = parallel() if threads > 1 else None
    if team is None:
        kernel.function(words.buffer_info()[0])
    else:
        team(kernel.address, words.buffer_info()[0], threads, 0)
    assert torch.equal(result[1:-1].view(sizes), expected)
    assert result[0] == result[-1] == -7.0


def test_rows_that_are_no_numbers_are_copied_bit_by_bit():
    for kind, width in product((torch.float32, torch.float64), (3, 33)):
        bits = {torch.float32: torch.int32, torch.float64: torch.int64}[kind]
        source = torch.randint(-(2**31), 2**31 - 1, (2 * width,), dtype=bits)
        result = torch.zeros_like(source)
        words = array("q", [0, 1, 1, 2, 2, width, source.data_ptr(), width, 1, result.data_ptr(), width, 1, 0])
        next(iter(COMPILERS.values())).kernel(Copies(True), kind).function(words.buffer_info()[0])
        assert torch.equal(result, source)
