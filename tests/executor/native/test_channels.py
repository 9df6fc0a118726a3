"""Sums down the rows of tables: all sizes, blocks, types and processors; threads change nothing."""

from __future__ import annotations

from array import array

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball.executor.native import available, why_not
from glueball.executor.native import expression as e
from glueball.executor.native.channels import Channels
from glueball.executor.native.compile import Compiler, parallel

from .test_functions import PROCESSORS

pytestmark = pytest.mark.skipif(not available(), reason=why_not() or "")

x, mean, factor, y = (e.input(k) for k in range(4))
SOURCES = {
    "sums": ((), (x - mean, e.square(x - mean))),
    "array and sums": ((e.select("le", y, 0.0, 0.0, x),), (e.select("le", y, 0.0, 0.0, x) * factor + 1.0,)),
    "two arrays": (((x - mean) * factor, x * y), (x,)),
    "nothing varies": ((), (mean * factor,)),
}


@pytest.fixture(params=PROCESSORS, scope="module")
def processor(request: pytest.FixtureRequest) -> Compiler:
    """A compiler for one kind of processor."""
    cpu, size = PROCESSORS[request.param]
    return Compiler(cpu, "", size)


def run(compiler: Compiler, what: Channels, tensors: list[torch.Tensor], block: int, width: int, threads: int):
    """Return arrays and sums per block."""
    rows, columns = tensors[0].shape
    across = -(-columns // width)
    down = -(-rows // block)
    arrays = [torch.full_like(tensors[0], 7) for _ in what.outputs]
    sums = [torch.full((down, columns), float("nan")) for _ in what.sums]
    words = [word for t in (*tensors, *arrays, *sums) for word in (t.data_ptr(), t.stride(0) if t.dim() == 2 else 0)]
    arguments = array("q", [0, rows, columns, block, width, down * across, across, *words])
    kernel = compiler.kernel(what, torch.float32)
    team = parallel() if threads > 1 else None
    if team is None:
        kernel.function(arguments.buffer_info()[0])
    else:
        team(kernel.address, arguments.buffer_info()[0], threads, 0)
    return arrays, sums


def check(compiler: Compiler, name: str, dtype: torch.dtype, rows: int, columns: int, block: int, width: int) -> None:
    random = torch.Generator().manual_seed(rows * 1000 + columns)
    data, other = (torch.randn(rows, columns, generator=random).to(dtype) for _ in range(2))
    numbers = [torch.randn(columns, generator=random) for _ in range(2)]
    outputs, sums = SOURCES[name]
    what = Channels(str(dtype)[6:], (True, False, False, True), outputs, sums)
    given = [data, *numbers, other]
    arrays, parts = run(compiler, what, given, block, width, 1)
    wide = [t.double() for t in given]
    masked = torch.where(wide[3] <= 0, 0, wide[0])
    away = wide[0] - wide[1]
    expected = {
        "sums": ((), (away, away.square())),
        "array and sums": ((masked,), (masked * wide[2] + 1,)),
        "two arrays": ((away * wide[2], wide[0] * wide[3]), (wide[0],)),
        "nothing varies": ((), ((wide[1] * wide[2]).expand(rows, columns),)),
    }[name]
    rounding = {torch.float32: 1e-5, torch.bfloat16: 8e-3, torch.float16: 1e-3}[dtype]
    for found, wanted in zip(arrays, expected[0], strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=rounding, atol=1e-5)
    for found, wanted in zip(parts, expected[1], strict=True):
        blocks = torch.stack([part.sum(0) for part in wanted.split(block)])
        torch.testing.assert_close(found.double(), blocks, rtol=1e-4, atol=1e-5 * max(1, block))
    again = run(compiler, what, given, block, width, 2)
    assert all(torch.equal(*pair) for pair in zip((*arrays, *parts), (*again[0], *again[1]), strict=True))


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_all_types_on_all_processors(name: str, dtype: torch.dtype, processor: Compiler) -> None:
    for rows, columns, block, width in ((37, 64, 8, 64), (9, 203, 4, 203), (5, 3, 5, 3)):
        check(processor, name, dtype, rows, columns, block, width)


@given(st.sampled_from(sorted(SOURCES)), st.integers(1, 70), st.integers(1, 300), st.integers(1, 40),
       st.integers(1, 300))  # fmt: skip
@settings(max_examples=60)
def test_all_sizes_and_blocks(name: str, rows: int, columns: int, block: int, width: int) -> None:
    from glueball.executor.native.compile import compiler

    check(compiler(), name, torch.float32, rows, columns, block, width)
