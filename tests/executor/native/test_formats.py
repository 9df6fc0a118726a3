"""Element types in memory: every bit pattern of the small ones, rounding, integers, mixed operands."""

from __future__ import annotations

import math

import pytest
import torch

from glueball.executor.native import available, input, why_not
from glueball.executor.native import expression as e
from glueball.executor.native.compile import Compiler
from glueball.executor.native.segment import Segment

from .calling import run
from .test_functions import PROCESSORS

pytestmark = pytest.mark.skipif(not available(), reason=why_not() or "")

x, y, z = (input(k) for k in range(3))


@pytest.fixture(params=PROCESSORS, scope="module")
def processor(request: pytest.FixtureRequest) -> Compiler:
    """A compiler for one kind of processor."""
    cpu, size = PROCESSORS[request.param]
    return Compiler(cpu, "", size)


def converted(processor: Compiler, data: torch.Tensor, to: torch.dtype, computing: torch.dtype) -> torch.Tensor:
    """Copy an array (N, H) by compiled code."""
    out = torch.empty(data.shape, dtype=to)
    segment = Segment((0,), frozenset(), (x,), formats=(str(data.dtype)[6:], str(to)[6:]))
    run(processor, segment, [data], [out], (data.shape[0], data.shape[1]), computing)
    return out


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_every_small_number_is_read_and_written(dtype: torch.dtype, processor: Compiler) -> None:
    """All 65,536 patterns become the right float32 and float64 and come back; NaN stays NaN."""
    patterns = torch.arange(-32768, 32768, dtype=torch.int32).to(torch.int16).view(dtype).view(-1, 257 - 1)
    for wide in (torch.float32, torch.float64):
        read = converted(processor, patterns, wide, wide)
        torch.testing.assert_close(read, patterns.to(wide), rtol=0, atol=0, equal_nan=True)
        back = converted(processor, read, dtype, wide)
        torch.testing.assert_close(back, patterns, rtol=0, atol=0, equal_nan=True)
        zeros = patterns == 0
        assert torch.equal(torch.signbit(back[zeros]), torch.signbit(patterns[zeros]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_rounding_is_to_nearest_even(dtype: torch.dtype, processor: Compiler) -> None:
    """Half way between neighbours, just beside it, from the smallest to beyond the greatest: as torch rounds."""
    ordered = torch.arange(0, 0x7C00 if dtype is torch.float16 else 0x7F80, dtype=torch.int16).view(dtype).float()
    middle = (ordered[:-1] + ordered[1:]) / 2
    below, above = (torch.nextafter(middle, torch.tensor(way)) for way in (-math.inf, math.inf))
    greatest = torch.tensor([65503.0, 65519.996, 65520.0, 65536.0, 3.3895314e38, 3.4e38, math.inf, 6e-8, 2e-8, 1e-45])
    data = torch.cat([middle, below, above, greatest])
    data = torch.cat([data, -data])[None]
    torch.testing.assert_close(converted(processor, data, dtype, torch.float32), data.to(dtype), rtol=0, atol=0)


@pytest.mark.parametrize("computing", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_integers(computing: torch.dtype, processor: Compiler) -> None:
    """Integers of all sizes go in and out; up to 2**24 exactly, in float64 up to 2**53; bool is what is not 0."""
    for dtype in (torch.int8, torch.uint8, torch.int32, torch.int64, torch.bool):
        data = torch.tensor([[0, 1, 2, 100, 127, -1, -100, 65535, 2**24, -(2**24) + 1] * 4]).to(dtype)[:, :37]
        assert torch.equal(converted(processor, data, computing, computing), data.to(computing))
        assert torch.equal(converted(processor, data, dtype, computing), data)
    ones = torch.tensor([[0.0, -0.0, 0.5, -3.0, math.nan]], dtype=computing)
    assert torch.equal(converted(processor, ones, torch.bool, computing), ones.to(torch.bool))
    assert torch.equal(converted(processor, torch.tensor([[1.9, -1.9, 77.5]]), torch.int64, computing),
                       torch.tensor([[1, -1, 77]]))  # fmt: skip
    exact = torch.tensor([[2**53 - 1, -(2**53) + 1, 2**40 + 1]])
    assert torch.equal(converted(processor, exact, torch.int64, torch.float64), exact)


@pytest.mark.parametrize("columns", [1, 7, 16, 45])
def test_every_operand_has_its_own(columns: int, processor: Compiler) -> None:
    """A mixed step: bfloat16 gradients, float32 weights, a mask, labels, sums per row; float64 makes all float64."""
    generator = torch.Generator().manual_seed(columns)
    weight = torch.randn(5, columns, generator=generator)
    gradient = torch.randn(5, columns, generator=generator).to(torch.bfloat16)
    mask = torch.rand(5, columns, generator=generator) < 0.5
    made = x - y * 0.1 * z
    for computing in (torch.float32, torch.float64):
        out, small = torch.empty(5, columns, dtype=computing), torch.empty(5, columns, dtype=torch.float16)
        sums, number = torch.zeros(1, columns, dtype=computing), torch.empty(5, 1, dtype=torch.bfloat16)
        across = torch.empty(5, 1, dtype=torch.int32)
        name = str(computing)[6:]
        segment = Segment((0, 1, 2), frozenset(), (made, made), (made,), (z,), (e.total(made),),
                          ("float32", "bfloat16", "bool", name, "float16", name, "int32", "bfloat16"))  # fmt: skip
        run(processor, segment, [weight, gradient, mask], [out, small, sums, across, number], (5, columns), computing)
        expected = weight.double() - gradient.double() * 0.1 * mask
        torch.testing.assert_close(out, expected.to(computing), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(small, expected.half(), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(sums[0], expected.sum(0).to(computing), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(number, expected.sum(1, True).bfloat16(), rtol=1e-2, atol=1e-2)
        assert torch.equal(across[:, 0], mask.sum(1).int())
