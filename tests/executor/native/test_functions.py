"""exp, tanh, sigmoid … as compiled: within a few units in the last place of torch everywhere, on several processors."""

from __future__ import annotations

import math
import platform
import re

import pytest
import torch

from glueball.executor.native import available, input, run, why_not
from glueball.executor.native import expression as e
from glueball.executor.native.compile import Compiler
from glueball.executor.native.emit import Segment
from glueball.executor.native.evaluate import evaluate
from glueball.executor.native.vector_math import FUNCTIONS

pytestmark = pytest.mark.skipif(not available(), reason=why_not() or "")

x, y = input(0), input(1)
INF, NAN = math.inf, math.nan
SPECIAL = [
    0.0, -0.0, INF, -INF, NAN, 1e-45, -1e-45, 1e-40, -1e-40, 1e-310, -1e-310, 5e-324, 88.7, 88.8, -87.5, -88.8, -100.0,
    -103.9, -104.5, 709.7, 710.0, -708.0, -745.0, -746.0, 1e30, -1e30, 1.0, -1.0, 0.5, -0.5, 1e-10, -1e-10, 1e-5, 2.0,
    3.0, 20.0, -20.0, 29.9, 1e308, 2.5, -2.5, 1e-38, 2.2e-308,
]  # fmt: skip
# This machine's processor, and a poorer one whose code runs on it, too: (cpu, bytes of a vector)
PROCESSORS: dict[str, tuple[str, int | None]] = {"host": ("", None)}
if platform.machine() in ("x86_64", "AMD64"):
    PROCESSORS["x86-64-v2"] = ("x86-64-v2", 16)


@pytest.fixture(params=PROCESSORS, scope="module")
def processor(request: pytest.FixtureRequest) -> Compiler:
    """A compiler for one kind of processor."""
    cpu, size = PROCESSORS[request.param]
    return Compiler(cpu, "", size)


@pytest.fixture
def compiled(processor: Compiler, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    """Segments are compiled by `processor`."""
    monkeypatch.setattr(run, "compiler", lambda: processor)
    return processor


def points(dtype: torch.dtype) -> torch.Tensor:
    """Return values of every magnitude, (1, n)."""
    generator = torch.Generator().manual_seed(0)
    spread = [torch.randn(3000, dtype=torch.float64, generator=generator) * s for s in (1e-6, 1e-3, 0.3, 1, 5, 40, 300)]
    near_one = 1 + 1e-4 * torch.randn(500, dtype=torch.float64, generator=generator)
    return torch.cat([*spread, near_one, torch.tensor(SPECIAL, dtype=torch.float64)]).to(dtype)[None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_one_value(name: str, dtype: torch.dtype, compiled: Compiler) -> None:
    """At most four units in the last place from torch; infinities, NaN and signs of zeros equal."""
    at = points(dtype)
    rows = run.Rows((getattr(e, name)(x),), ("full",), dtype)
    actual, expected = rows.forward([at])[0], evaluate(rows.outputs, [at])[0]
    exact = (actual == expected) | (actual.isnan() & expected.isnan())
    unit = torch.nextafter(expected.abs(), torch.tensor(INF, dtype=dtype)) - expected.abs()
    if name == "softrelu":  # torch leaves out what is less than 1e-13 of the value
        unit = unit.maximum(expected.abs() * 2e-15)
    off = torch.where(exact, 0, (actual - expected).abs() / unit)
    assert not off.isnan().any(), at[off.isnan()]
    assert off.max() <= 4, (at.flatten()[off.argmax()], off.max())
    zeros = (expected == 0) & (actual == 0) & (at == 0)
    assert torch.equal(torch.signbit(actual[zeros]), torch.signbit(expected[zeros]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_operations_of_two_values(dtype: torch.dtype, compiled: Compiler) -> None:
    """Arithmetic, choices and comparisons of all pairs of special values are torch's to the bit."""
    values = torch.tensor(SPECIAL, dtype=torch.float64).to(dtype)
    a, b = (t.contiguous() for t in torch.meshgrid(values, values, indexing="ij"))
    made = [x + y, x - y, x * y, x / y, e.maximum(x, y), e.minimum(x, y), e.relu(x) * e.sign(y)]
    made += [e.select(p, x, y, x, 7.0) for p in ("lt", "le", "eq", "ne", "gt", "ge")]
    for function in made:
        rows = run.Rows((function,), ("full", "full"), dtype)
        torch.testing.assert_close(
            rows.forward([a, b])[0], evaluate([function], [a, b])[0].contiguous(), rtol=0, atol=0, equal_nan=True
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_constants(dtype: torch.dtype, compiled: Compiler) -> None:
    """Every special value as a constant, evaluated by torch and compiled, keeps its bits: also -0.0."""
    at = torch.tensor([[1.0, -1.0, 0.0]], dtype=dtype)
    numbers = torch.tensor(SPECIAL, dtype=torch.float64).to(dtype)
    rows = run.Rows(tuple(map(e.constant, SPECIAL)), ("full",), dtype)
    for number, mine, theirs in zip(numbers, rows.forward([at]), evaluate(rows.outputs, [at])):
        expected = number.expand(1, 3)
        torch.testing.assert_close(mine, expected, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(theirs.expand(1, 3), expected, rtol=0, atol=0, equal_nan=True)
        if number == 0:
            assert torch.equal(torch.signbit(mine), torch.signbit(expected))
            assert torch.signbit(theirs) == torch.signbit(number)


def test_the_text_names_no_processor() -> None:
    """Only LLVM's own vector operations occur, so that other processors can be given the same text; AVX-512, which
    alone has vectors of 64 bytes, scales by powers of two in an instruction of its own.
    """
    everything = tuple(getattr(e, name)(x) for name in FUNCTIONS) + (e.maximum(x, y), x / y)
    segment = Segment((0, 1), frozenset(), everything, (x * y,), (x + y,), (e.peak(x),))
    for size in (16, 32, 64):
        text = Compiler(vector_bytes=size).text(segment, torch.float32)
        called = set(re.findall(r"@llvm\.([a-z.]*?)\.v\d+(?:f32|i1)", text))
        assert called == {"fmuladd", "copysign", "fabs", "sqrt", "floor", "ceil", "trunc", "masked.load",
                          "masked.store", "vector.reduce.fadd", "vector.reduce.fmax", "vector.reduce.or"}  # fmt: skip
        assert set(re.findall(r"x86[\w.]*", text)) == ({"x86.avx512.mask.scalef.ps.512"} if size == 64 else set())
