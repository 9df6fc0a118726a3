"""Mean and variance of columns: all sizes, formats and blocks, hard numbers, as exact as torch's batch norm."""

from __future__ import annotations

from array import array

import pytest
import torch

from glueball.executor.native import available, why_not
from glueball.executor.native.compile import Compiler, parallel
from glueball.executor.native.moments import Merged, Moments

from .test_functions import PROCESSORS

pytestmark = pytest.mark.skipif(not available(), reason=why_not() or "")


@pytest.fixture(params=PROCESSORS, scope="module")
def processor(request: pytest.FixtureRequest) -> Compiler:
    """A compiler for one kind of processor."""
    cpu, size = PROCESSORS[request.param]
    return Compiler(cpu, "", size)


def moments(
    compiler: Compiler, data: torch.Tensor, block: int = 256, across: int = 0, threads: int = 1,
    computing: torch.dtype = torch.float32,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return mean and biased variance of every column of an array (N, H), whose rows may lie apart."""
    rows, columns = data.shape
    width = across or max(columns, 1)
    side = -(-columns // width)
    parts = [torch.full((-(-rows // block), columns), float("nan"), dtype=computing) for _ in range(2)]
    results = [torch.full((columns,), float("nan"), dtype=computing) for _ in range(2)]
    for source, down, tensors in ((Moments(str(data.dtype)[6:]), len(parts[0]), [data, *parts]),
                                  (Merged(), 1, [*parts, *results])):  # fmt: skip
        operands = [word for t in tensors for word in (t.data_ptr(), t.stride(0) if t.dim() == 2 else 0)]
        arguments = array("q", [0, rows, columns, block, width, down * side, side, *operands])
        kernel = compiler.kernel(source, computing)
        team = parallel() if threads > 1 else None
        if team is None:
            kernel.function(arguments.buffer_info()[0])
        else:
            team(kernel.address, arguments.buffer_info()[0], threads, 0)
    return results[0], results[1]


@pytest.mark.parametrize("rows, columns, block, across", [
    (1, 1, 1, 0), (1, 5, 4, 0), (7, 64, 3, 0), (300, 64, 256, 32), (513, 3, 256, 0), (40, 79, 8, 33), (64, 10, 64, 0),
    (5, 0, 2, 0), (256, 150, 256, 0), (97, 16, 1, 0),
])  # fmt: skip
@pytest.mark.parametrize("threads", [1, 2])
def test_sizes(rows: int, columns: int, block: int, across: int, threads: int, processor: Compiler) -> None:
    """Blocks that do not divide the rows, vectors that do not divide the columns, rows that lie apart, in all types."""
    wide = torch.randn(rows, columns + 5, dtype=torch.float64, generator=torch.Generator().manual_seed(rows)) * 3 + 2
    for dtype, computing in ((torch.float32,) * 2, (torch.float64,) * 2, (torch.bfloat16, torch.float32)):
        data = wide.to(dtype)[:, 2 : 2 + columns]
        mean, variance = moments(processor, data, block, across, threads, computing)
        tolerance = 1e-12 if computing is torch.float64 else 2e-6
        torch.testing.assert_close(mean, data.double().mean(0).to(computing), rtol=tolerance, atol=tolerance)
        expected = (data.double() - data.double().mean(0)).square().mean(0).to(computing)
        torch.testing.assert_close(variance, expected, rtol=tolerance, atol=tolerance)
    if rows > 1 and columns and threads == 2:
        alone = moments(processor, wide, block, across, 1, torch.float64)
        together = moments(processor, wide, block, across, 2, torch.float64)
        assert all(torch.equal(*pair) for pair in zip(alone, together, strict=True))


HARD = {
    "far from zero": lambda t: t + 1000,
    "very far from zero": lambda t: t + 30000,
    "an odd first row": lambda t: torch.cat([t[:1] + 50, t[1:] + 100]),
    "a far first row": lambda t: torch.cat([t[:1] - 1e4, t[1:]]),
    "a drift": lambda t: t + torch.arange(len(t))[:, None] * 0.01,
    "constant columns": lambda t: t * 0 + 7.3,
    "mostly zero": lambda t: t.clamp(min=2) - 2,
}


@pytest.mark.parametrize("name", HARD)
def test_hard_numbers(name: str, processor: Compiler) -> None:
    """Means far greater than deviations and first rows that are unlike the rest: no worse than torch's batch norm."""
    plain = torch.randn(6272, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    data = HARD[name](plain).float()
    exact = data.double()
    expected = exact.mean(0), exact.var(0, unbiased=False)
    mine = moments(processor, data)
    _, mean, inverse = torch.native_batch_norm(data, None, None, None, None, True, 0.1, 1e-12)
    theirs = mean, inverse.double().square().reciprocal() - 1e-12
    scale = expected[1].sqrt() + 1e-30, expected[1] + 1e-30
    unit = torch.finfo(torch.float32).eps
    for value, other, right, size in zip(mine, theirs, expected, scale, strict=True):
        off = ((value.double() - right).abs() / size).max()
        reference = ((other.double() - right).abs() / size).max()
        representable = (right.abs() * unit / size).max()
        if name == "constant columns":
            assert (value - right).abs().max() <= 7.3 * unit
        else:
            assert off <= max(2 * reference, 4 * unit, representable), (name, off, reference)


def test_special_values(processor: Compiler) -> None:
    """A NaN or an infinity spoils its column and no other."""
    data = torch.randn(600, 37)
    data[300, 5], data[0, 7], data[599, 36] = float("nan"), float("inf"), float("-inf")
    mean, variance = moments(processor, data, 128)
    spoiled = torch.tensor([k in (5, 7, 36) for k in range(37)])
    assert torch.equal(mean.isfinite(), ~spoiled) and torch.equal(variance.isfinite(), ~spoiled)
