"""Products with a weight in panels: all sizes, strides and threads, on every kind of processor, as exact as torch's."""

from __future__ import annotations

from array import array

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball.executor.native import available, why_not
from glueball.executor.native.compile import Compiler, Kernel, parallel
from glueball.executor.native.panels import SIDE, FewRows, Panels, best_height, panel_size, turned_height

from .test_functions import PROCESSORS

pytestmark = pytest.mark.skipif(not available(), reason=why_not() or "")

KINDS = dict(PROCESSORS)
if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
    KINDS["x86-64-v3"] = ("x86-64-v3", 32)
COMPILERS: dict[str, Compiler] = {}


def compiler_for(name: str) -> Compiler:
    """Return the compiler for one kind of processor."""
    if name not in COMPILERS:
        cpu, size = KINDS[name]
        COMPILERS[name] = Compiler(cpu, "", size)
    return COMPILERS[name]


def call(kernel: Kernel, arguments: list[int], threads: int) -> None:
    """Call compiled code from some threads."""
    words = array("q", [0, *arguments])
    team = parallel() if threads > 1 else None
    if team is None:
        kernel.function(words.buffer_info()[0])
    else:
        team(kernel.address, words.buffer_info()[0], threads, 0)


def product(compiler: Compiler, rows: torch.Tensor, weight: torch.Tensor, turned: bool, threads: int, each: int,
            height: int = 0) -> torch.Tensor:  # fmt: skip
    """Return rows · weight, or rows · weightᵀ where it is turned; neither has to lie together."""
    dtype, (m, k) = rows.dtype, rows.shape
    n = weight.shape[0 if turned else 1]
    panels, size = panel_size(k, n, compiler.vector_bytes // rows.element_size())
    packed = torch.full((panels * size,), float("nan"), dtype=dtype)
    wide = torch.full((m, n + 3), -7.0, dtype=dtype)
    shared = [-(-panels // each), each, panels, k, n]
    call(compiler.kernel(Panels(turned), dtype), [*shared, weight.data_ptr(), weight.stride(0), packed.data_ptr()],
         threads)  # fmt: skip
    code = compiler.kernel(FewRows(height or best_height(m, compiler.vector_bytes)), dtype)
    step, height, group = rows.stride(0), code.source.height, 2 * compiler.vector_bytes // rows.element_size()
    steps = [step, 1, group * step, m - height]
    call(code, [*shared, m, rows.data_ptr(), *steps, packed.data_ptr(), wide.data_ptr(), n + 3], threads)
    assert (wide[:, n:] == -7.0).all()  # nothing is written beside it
    return wide[:, :n]


def operands(m: int, k: int, n: int, turned: bool, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return factors that do not lie together, with NaN all around."""
    random = torch.Generator().manual_seed(m * 10007 + k * 101 + n)
    found: list[torch.Tensor] = []
    for down, along in ((m, k), (n, k) if turned else (k, n)):
        around = torch.full((down + 2, along + 5), float("nan"), dtype=dtype)
        around[1:-1, 2 : 2 + along] = torch.randn(down, along, dtype=dtype, generator=random)
        found.append(around[1:-1, 2 : 2 + along])
    return found[0], found[1]


ROWS = st.sampled_from([1, 2, 5, 6, 7, 11, 12, 13, 19, 20, 21, 24, 25, 63, 64, 65])
SIZES = st.one_of(st.integers(1, 70), st.sampled_from([127, 128, 129, 256]))


@given(ROWS, SIZES, SIZES, st.booleans(), st.sampled_from([torch.float32, torch.float64]),
       st.sampled_from(sorted(KINDS)), st.integers(1, 2), st.integers(1, 5))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_products_equal_torch(m: int, k: int, n: int, turned: bool, dtype: torch.dtype, processor: str, threads: int,
                              each: int) -> None:  # fmt: skip
    compiler = compiler_for(processor)
    k = max(k, SIDE) if turned else k
    rows, weight = operands(m, k, n, turned, dtype)
    found = product(compiler, rows, weight, turned, threads, each)
    expected = rows.double() @ (weight.t() if turned else weight).double()
    sizes = rows.double().abs() @ (weight.t() if turned else weight).double().abs()
    assert ((found.double() - expected).abs() <= sizes * torch.finfo(dtype).eps * max(4, k**0.5)).all()
    alone = product(compiler, rows, weight, turned, 1, 10**6)
    assert torch.equal(found, alone)  # threads and blocks change no bit


@given(ROWS, SIZES, SIZES, st.sampled_from([torch.float32, torch.float64]), st.sampled_from(sorted(KINDS)),
       st.integers(1, 2), st.integers(1, 5))  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_products_of_two_operands_in_panels_equal_torch(m: int, k: int, n: int, dtype: torch.dtype, processor: str,
                                                        threads: int, each: int) -> None:  # fmt: skip
    compiler = compiler_for(processor)
    left, right = operands(k, m, n, False, dtype)[0], operands(m, k, n, False, dtype)[1]
    lanes, packed = compiler.vector_bytes // left.element_size(), []
    for matrix in (left, right):
        panels, size = panel_size(k, matrix.shape[1], lanes)
        packed.append(torch.full((panels * size,), float("nan"), dtype=dtype))
        call(compiler.kernel(Panels(False), dtype),
             [panels, 1, panels, k, matrix.shape[1], matrix.data_ptr(), matrix.stride(0), packed[-1].data_ptr()],
             threads)  # fmt: skip
    panels, _ = panel_size(k, n, lanes)
    wide = torch.full((m + 1, n + 3), -7.0, dtype=dtype)
    code = compiler.kernel(FewRows(turned_height(compiler.vector_bytes)), dtype)
    steps = [1, 2 * lanes, panel_size(k, m, lanes)[1], m - 1]
    call(code, [-(-panels // each), each, panels, k, n, m, packed[0].data_ptr(), *steps, packed[1].data_ptr(),
                wide.data_ptr(), n + 3], threads)  # fmt: skip
    assert (wide[:, n:] == -7.0).all() and (wide[m:] == -7.0).all()
    expected, sizes = left.double().t() @ right.double(), left.double().abs().t() @ right.double().abs()
    error = (wide[:m, :n].double() - expected).abs()
    assert (error <= sizes * torch.finfo(dtype).eps * max(4, k**0.5)).all()


@pytest.mark.parametrize("processor", sorted(KINDS))
@pytest.mark.parametrize("turned", [False, True])
def test_what_is_no_number_stays_where_it_belongs(processor: str, turned: bool) -> None:
    rows, weight = operands(21, 37, 45, turned, torch.float32)
    rows[20, 3], rows[2, 36], (weight.t() if turned else weight)[5, 44] = float("nan"), float("inf"), float("-inf")
    found = product(compiler_for(processor), rows, weight, turned, 2, 1)
    expected = rows @ (weight.t() if turned else weight)
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(found.isposinf(), expected.isposinf())
    assert torch.equal(found.isneginf(), expected.isneginf())
    assert found.isnan().any() and found.isposinf().any() and found.isneginf().any()


@pytest.mark.parametrize("size", [16, 32, 64])
def test_tiles_cover_rows_and_never_exceed_them(size: int) -> None:
    for rows in range(1, 200):
        height, most = best_height(rows, size), 12 if size == 64 else 6
        assert 1 <= height <= min(rows, most)
        assert rows < most or -(-rows // height) * (height + 1) <= -(-rows // most) * (most + 1)  # no worse
