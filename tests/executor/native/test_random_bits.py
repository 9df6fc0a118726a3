"""Random numbers of a counter: the same for all blocks, threads and processors; evenly spread, unrelated."""

from __future__ import annotations

import pytest
import torch

from glueball.base.errors import ArgumentError
from glueball.executor.native import available, input, why_not
from glueball.executor.native import expression as e
from glueball.executor.native.compile import Compiler
from glueball.executor.native.evaluate import evaluate
from glueball.executor.native.random_bits import evaluated
from glueball.executor.native.segment import Segment

from .calling import run
from .test_functions import PROCESSORS

compiled = pytest.mark.skipif(not available(), reason=why_not() or "")
x, seed = input(0), input(1)
ONE = frozenset([1])


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_the_same_numbers_however_they_are_made(dtype: torch.dtype) -> None:
    """Compiled for two processors, in blocks of any size, on threads, as one long row, and through torch."""
    rows, columns = 13, 77
    made = (e.uniform(seed, 3), e.uniform(seed, 4))
    name = str(dtype)[6:]
    segment = Segment((1,), ONE, made, formats=("int64", name, name))
    for start in (0, -1, 2**62 + 12345, -(2**63)):
        number = torch.tensor([start])
        expected = [value.to(dtype) for value in evaluate(made, [None, number], (rows, columns), dtype)]
        for cpu, size in PROCESSORS.values():
            compiler = Compiler(cpu, "", size)
            for block, width, threads in ((0, 0, 1), (4, 0, 2), (3, 32, 2), (1, 10, 1)):
                found = [torch.empty(rows, columns, dtype=dtype) for _ in made]
                run(compiler, segment, [number], found, (rows, columns), dtype, block, width, threads)
                assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
            found = [torch.empty(1, rows * columns, dtype=dtype) for _ in made]
            run(compiler, segment, [number], found, (1, rows * columns), dtype, 0, 100)
            assert all(torch.equal(a.view(rows, columns), b) for a, b in zip(found, expected, strict=True))


def test_numbers_are_spread_evenly() -> None:
    """Mean, variance, 64 bins (χ²), and no correlation with neighbours, rows, the next seed, and the next stream."""
    shape = (512, 512)
    count = shape[0] * shape[1]
    value = evaluated(torch.tensor(11), 0, shape, torch.float64).flatten()
    assert value.min() >= 0 and value.max() < 1
    assert abs(value.mean() - 0.5) < 4 * (1 / 12 / count) ** 0.5
    assert abs(value.var() - 1 / 12) < 4 * (1 / 180 / count) ** 0.5
    bins = torch.histc(value, 64, 0, 1)
    statistic = ((bins - count / 64).square() / (count / 64)).sum()
    assert 63 - 4 * 126**0.5 < statistic < 63 + 4 * 126**0.5
    others = [value.roll(1), value.roll(2), value.roll(shape[1]), value.roll(64),
              evaluated(torch.tensor(12), 0, shape, torch.float64).flatten(),
              evaluated(torch.tensor(11), 1, shape, torch.float64).flatten()]  # fmt: skip
    for other in others:
        assert abs(((value - 0.5) * (other - 0.5)).mean() * 12) < 4 / count**0.5
    single = evaluated(torch.tensor(11), 0, shape, torch.float32)
    assert single.max() < 1 and torch.allclose(single.double().flatten(), value, rtol=0, atol=2.0**-24)


@compiled
def test_a_mask_and_its_gradient_agree() -> None:
    """Dropout: forward and backward draw the same mask again from the seed; it is kept between loops of a row."""
    rows, columns, keep = 20, 100, 0.7
    compiler = Compiler()
    mask = e.select("lt", e.uniform(seed), keep, 1 / keep, 0.0)
    number = torch.tensor([99])
    data, out, gradient = torch.randn(rows, columns), torch.empty(rows, columns), torch.empty(rows, columns)
    formats = ("float32", "int64", "float32")
    run(compiler, Segment((0, 1), ONE, (x * mask,), formats=formats), [data, number], [out], (rows, columns))
    ones = torch.ones_like(data)
    run(compiler, Segment((0, 1), ONE, (x * mask,), formats=formats), [ones, number], [gradient], (rows, columns))
    assert torch.equal(out != 0, gradient != 0) and 0.6 < (out != 0).float().mean() < 0.8
    torch.testing.assert_close(out, data * gradient)
    normed = x * mask / e.total(x * mask)
    run(compiler, Segment((0, 1), ONE, (normed,), formats=formats), [ones, number], [out], (rows, columns))
    torch.testing.assert_close(out, gradient / gradient.sum(1, keepdim=True))


def test_seeds_that_are_none() -> None:
    """A seed is an int64 that is the same for the row and is nothing else; and it is an input."""
    value = e.uniform(seed)
    formats = ("int64", "float32")
    for arguments in (((1,), frozenset(), (value,), (), (), (), formats), ((1,), ONE, (value,)),
                      ((1,), ONE, (value + seed,), (), (), (), formats)):  # fmt: skip
        with pytest.raises(ArgumentError, match="is no seed"):
            Segment(*arguments)
    with pytest.raises(ArgumentError, match="expected: an input|Expected: an input"):
        e.uniform(seed + 1.0)
