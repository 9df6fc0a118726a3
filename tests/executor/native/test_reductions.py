"""Expressions of whole rows: sums and maxima inside other expressions, numbers per row, positions; compiled and through
torch, against float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball.base.errors import ArgumentError
from glueball.executor.native import available, input, why_not
from glueball.executor.native import expression as e
from glueball.executor.native.compile import Compiler
from glueball.executor.native.derivative import gradients
from glueball.executor.native.evaluate import evaluate
from glueball.executor.native.expression import Expr
from glueball.executor.native.segment import Schedule, Segment

from .calling import run
from .test_functions import PROCESSORS

pytestmark = pytest.mark.skipif(not available(), reason=why_not() or "")

x, y, z, w = (input(k) for k in range(4))
SIZES = [(0, 3), (1, 1), (1, 10), (5, 16), (3, 17), (64, 10), (4, 1000), (2, 9001)]


@pytest.fixture(params=PROCESSORS, scope="module")
def processor(request: pytest.FixtureRequest) -> Compiler:
    """A compiler for one kind of processor."""
    cpu, size = PROCESSORS[request.param]
    return Compiler(cpu, "", size)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return float64 normal numbers."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def softmax(of: Expr) -> Expr:
    """Softmax of a row."""
    shifted = e.exp(of - e.peak(of))
    return shifted / e.total(shifted)


def log_sum(of: Expr) -> Expr:
    """log Σ exp of a row."""
    return e.log(e.total(e.exp(of - e.peak(of)))) + e.peak(of)


def normalised(of: Expr) -> Expr:
    """A row with mean 0 and variance 1."""
    centred = of - e.total(of) / e.column_count()
    return centred * e.rsqrt(e.total(centred * centred) / e.column_count() + 1e-5)


WELL_KNOWN: dict[str, tuple[Expr, Callable[[torch.Tensor], torch.Tensor]]] = {
    "softmax": (softmax(x), lambda t: t.softmax(1)),
    "log_softmax": (x - log_sum(x), lambda t: t.log_softmax(1)),
    "layer_norm": (normalised(x), lambda t: torch.nn.functional.layer_norm(t, t.shape[1:])),
    "l2": (x * e.rsqrt(e.total(x * x) + 1e-10), lambda t: t * (t.square().sum(1, True) + 1e-10).rsqrt()),
    "softmax of softmax": (softmax(softmax(x)), lambda t: t.softmax(1).softmax(1)),
}


@pytest.mark.parametrize("name", WELL_KNOWN)
@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_well_known_functions(name: str, shape: tuple[int, int], processor: Compiler) -> None:
    """Softmax, its logarithm, layer norm: in place, too, in both precisions."""
    made, by_torch = WELL_KNOWN[name]
    for dtype, tolerance in ((torch.float32, 3e-6), (torch.float64, 1e-12)):
        data = (numbers(*shape) * 3).to(dtype)
        expected = by_torch(data.double()).to(dtype)
        out = torch.full_like(data, math.nan)
        run(processor, Segment((0,), frozenset(), (made,)), [data], [out], shape, dtype)
        torch.testing.assert_close(out, expected, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(evaluate([made], [data])[0], expected, rtol=2 * tolerance, atol=tolerance)
        run(processor, Segment((0,), frozenset(), (made,)), [data], [data], shape, dtype)
        assert torch.equal(data, out)


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_numbers_per_row(shape: tuple[int, int], processor: Compiler) -> None:
    """Cross entropy of labels in one function, strided rows, the probabilities beside it."""
    rows, columns = shape
    data = numbers(rows, columns + 7).float()[:, 3 : 3 + columns]
    labels = torch.arange(rows)[:, None] % columns
    loss, peak = torch.empty(rows, 1), torch.empty(rows, 3)[:, 1:2]
    made = log_sum(x) - e.total(e.select("eq", e.column_index(), y, x, 0.0))
    segment = Segment((0, 1), frozenset([1]), (softmax(x),), numbers=(made, e.peak(x) + y),
                      formats=("float32", "int64", "float32", "float32", "float32"))  # fmt: skip
    out = torch.empty(rows, columns)
    run(processor, segment, [data, labels], [out, loss, peak], shape)
    expected = torch.nn.functional.cross_entropy(data.double(), labels[:, 0], reduction="none").float()
    torch.testing.assert_close(loss[:, 0], expected, rtol=1e-6, atol=3e-6)
    torch.testing.assert_close(out, data.softmax(1), rtol=1e-5, atol=1e-7)
    assert torch.equal(peak, data.amax(1, keepdim=True) + labels if rows else peak)
    by_torch = evaluate([made], [data, labels], shape, torch.float64)[0]
    torch.testing.assert_close(by_torch[:, 0].float(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_special_values(dtype: torch.dtype, processor: Compiler) -> None:
    """NaN wins a maximum wherever it lies; infinities; a sum of both infinities is NaN; short rows."""
    for columns in (1, 3, 16, 37):
        data = numbers(columns + 4, columns).to(dtype)
        for k in range(columns):
            data[k, k] = math.nan
        data[columns] = -math.inf
        data[columns + 1, 0] = math.inf
        data[columns + 2, [0, -1]] = torch.tensor([math.inf, -math.inf], dtype=dtype)[: min(2, columns)][[0, -1]]
        rows = len(data)
        found = [torch.empty(rows, 1, dtype=dtype) for _ in range(2)]
        segment = Segment((0,), frozenset(), (), numbers=(e.peak(x), e.total(x)))
        run(processor, segment, [data], found, (rows, columns), dtype)
        torch.testing.assert_close(found[0], data.amax(1, keepdim=True), rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(found[1], data.sum(1, keepdim=True), rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("threads", [1, 2])
def test_sums_down_the_rows_beside_sums_along_them(threads: int, processor: Compiler) -> None:
    """Layer norm's gradients in one function: blocks of rows, then one row of the partial sums; on two threads, too."""
    rows, columns, block = 37, 50, 8
    data, heads = numbers(rows, columns).float(), numbers(rows, columns, seed=1).float()
    gamma = numbers(columns, seed=2).float()
    made = normalised(x) * y
    (down, _), (scale,) = gradients([made], [z], [0, 1]), gradients([made], [z], [1])
    assert down is not None and scale is not None
    segment = Segment((0, 1, 2), frozenset(), (down,), row_sums=(scale, z), fresh=True)
    gradient = torch.empty_like(data)
    parts = [torch.full((-(-rows // block), columns), math.nan) for _ in range(2)]
    results = [gradient, *parts]
    run(processor, segment, [data, gamma, heads], results, (rows, columns), block_rows=block, threads=threads)
    sums = [torch.full((1, columns), math.nan) for _ in parts]
    both = Segment((0, 1), frozenset(), (), row_sums=(x, y), fresh=True)
    run(processor, both, parts, sums, (len(parts[0]), columns))
    leaves = [t.double().requires_grad_() for t in (data, gamma)]
    value = torch.nn.functional.layer_norm(leaves[0], (columns,)) * leaves[1]
    expected = torch.autograd.grad(value, leaves, heads.double())
    torch.testing.assert_close(gradient, expected[0].float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sums[0][0], expected[1].float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sums[1][0], heads.double().sum(0).float(), rtol=1e-5, atol=1e-5)


def test_sums_add_to_what_is_there(processor: Compiler) -> None:
    """Without `fresh`, sums over rows go on from the contents of memory."""
    data, sums = numbers(9, 21).float(), torch.ones(1, 21)
    run(processor, Segment((0,), frozenset(), (), row_sums=(x,)), [data], [sums], (9, 21))
    torch.testing.assert_close(sums, 1 + data.sum(0, keepdim=True))


def test_positions(processor: Compiler) -> None:
    """Index of row and column, their counts; blocks that cut rows know where they are."""
    made = (e.column_index() + e.row_index() * 100.0, e.column_count() + x * 0.0, e.row_count() + x * 0.0)
    segment = Segment((0,), frozenset(), made)
    data = numbers(6, 45).float()
    for block in (0, 16, 20):
        found = [torch.empty(6, 45) for _ in made]
        run(processor, segment, [data], found, (6, 45), block_rows=4, block_columns=block)
        assert all(torch.equal(*pair) for pair in zip(found, evaluate(made, [data], (6, 45)), strict=True))
    assert not segment.flat and not segment.whole_rows


def test_what_is_dear_is_computed_once() -> None:
    """The exponential of softmax is kept between its loops; a subtraction is not; what does not vary needs no loop."""
    schedule = Schedule(Segment((0,), frozenset(), (softmax(x),)))
    assert [node.op for node in schedule.kept] == ["exp"]
    assert [len(p.sums) + len(p.peaks) for p in schedule.phases] == [1, 1, 0]
    assert not Schedule(Segment((0,), frozenset(), (normalised(x),))).kept
    assert Schedule(Segment((1,), frozenset([1]), (), numbers=(e.total(y),))).phases == []
    again = Schedule(Segment((0,), frozenset(), (), numbers=(log_sum(x), e.total(x))))
    assert [len(p.sums) + len(p.peaks) for p in again.phases] == [2, 1]


def test_totals_of_what_does_not_vary(processor: Compiler) -> None:
    """total(c) is c times the number of columns, peak(c) is c."""
    column, found = numbers(5, 1).float(), [torch.empty(5, 1) for _ in range(2)]
    segment = Segment((1,), frozenset([1]), (), numbers=(e.total(y + 1.0), e.peak(y)))
    run(processor, segment, [column], found, (5, 12))
    torch.testing.assert_close(found, [(column + 1) * 12, column])


def test_misfits_are_refused() -> None:
    """Numbers that vary with the column, formats that are not there or too few."""
    with pytest.raises(ArgumentError, match="varies with the column"):
        Segment((0,), frozenset(), (), numbers=(e.total(x) + x,))
    with pytest.raises(ArgumentError, match="formats do not fit"):
        Segment((0,), frozenset(), (x,), formats=("float32",))
    with pytest.raises(ArgumentError, match="formats do not fit"):
        Segment((0,), frozenset(), (x,), formats=("float32", "complex64"))


# -- generated expressions -------------------------------------------------------------------------------------------


OPERATIONS = ["total", "peak", "tanh", "exp", "log", "add", "sub", "mul", "div", "select", "sigmoid"]


@st.composite
def rows_of_expressions(draw: st.DrawFn) -> tuple[list[Expr], list[str]]:
    """Draw expressions that stay finite, with sums and maxima of rows at any depth."""
    kinds = ["full", *draw(st.lists(st.sampled_from(["full", "row", "column"]), max_size=3))]
    nodes = [input(k) for k in range(len(kinds))]
    for _ in range(draw(st.integers(2, 14))):
        op = draw(st.sampled_from(OPERATIONS))
        a, b = draw(st.sampled_from(nodes)), draw(st.sampled_from(nodes))
        nodes.append({
            "total": lambda: e.total(a) / e.column_count(), "peak": lambda: e.peak(a), "tanh": lambda: e.tanh(a),
            "exp": lambda: e.exp(e.tanh(a)), "log": lambda: e.log(e.abs(a) + 0.5), "add": lambda: a + b,
            "sub": lambda: a - b, "mul": lambda: e.tanh(a) * b, "div": lambda: a / (e.abs(b) + 1.0),
            "select": lambda: e.select("lt", a, b, e.tanh(b), a), "sigmoid": lambda: e.sigmoid(a),
        }[op]())  # fmt: skip
    return draw(st.lists(st.sampled_from(nodes), min_size=1, max_size=4)), kinds


@settings(max_examples=60, deadline=None)
@given(rows_of_expressions(), st.integers(0, 5), st.integers(1, 40), st.integers(0, 1000), st.integers(1, 3))
def test_generated_expressions(
    program: tuple[list[Expr], list[str]], rows: int, columns: int, seed: int, block: int
) -> None:
    """Compiled for two processors they equal torch's evaluation; gradients equal those of torch's tape."""
    outputs, kinds = program
    shapes = {"full": (rows, columns), "row": (columns,), "column": (rows, 1)}
    tensors = [numbers(*shapes[kind], seed=seed + 7 * k) for k, kind in enumerate(kinds)]
    columned = frozenset(k for k, kind in enumerate(kinds) if kind == "column")
    wide = e.varying(e.topological(outputs), columned)
    full, single = [o for o in outputs if o in wide], [o for o in outputs if o not in wide]
    expected = [v.expand(rows, columns if o in wide else 1)
                for o, v in zip([*full, *single], evaluate([*full, *single], tensors, (rows, columns)))]  # fmt: skip
    segment = Segment(tuple(range(len(kinds))), columned, tuple(full), numbers=tuple(single))
    for cpu, size in PROCESSORS.values():
        results = [torch.empty(value.shape, dtype=torch.float64) for value in expected]
        compiler = COMPILERS.setdefault(cpu, Compiler(cpu, "", size))
        run(compiler, segment, tensors, results, (rows, columns), torch.float64, block)
        torch.testing.assert_close(results, expected, rtol=1e-11, atol=1e-12)
    if rows:
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        heads = [numbers(*value.shape, seed=seed + 90 + k) for k, value in enumerate(expected)]
        values = evaluate([*full, *single], leaves, (rows, columns))
        theirs = torch.autograd.grad(
            sum((v.expand(h.shape) * h).sum() for v, h in zip(values, heads)), leaves, allow_unused=True,
            materialize_grads=True)  # fmt: skip
        count = len(kinds)
        seeds = [input(count + k) for k in range(len(heads))]
        known = columned | {count + k for k in range(len(full), len(heads))}
        mine = gradients([*full, *single], seeds, range(count), known)
        for k, gradient in enumerate(mine):
            made = e.constant(0.0) if gradient is None else gradient
            value = evaluate([made], [*tensors, *heads], (rows, columns))[0]
            value = value.double().expand(rows, 1 if k in columned else columns)
            torch.testing.assert_close(value.sum_to_size(theirs[k].shape), theirs[k], rtol=1e-9, atol=1e-9)


SPECIAL = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-310, 1e300, 1.0]


@settings(max_examples=60, deadline=None)
@given(rows_of_expressions(), st.integers(1, 6), st.integers(1, 35), st.integers(0, 1000), st.data())
def test_generated_expressions_of_special_values(
    program: tuple[list[Expr], list[str]], rows: int, columns: int, seed: int, data: st.DataObject
) -> None:
    """NaN, infinities and zeros go through as through torch; rows lie apart, in blocks, on one thread and on two."""
    outputs, kinds = program
    wide = numbers(len(kinds), rows, columns + 3, seed=seed)
    spots = data.draw(st.lists(st.tuples(*[st.integers(0, size - 1) for size in wide.shape]), max_size=6))
    for spot in spots:
        wide[spot] = data.draw(st.sampled_from(SPECIAL))
    tensors = [{"full": t[:, 2 : columns + 2], "row": t[0, 1 : columns + 1], "column": t[:, :1]}[kind]
               for t, kind in zip(wide, kinds)]  # fmt: skip
    columned = frozenset(k for k, kind in enumerate(kinds) if kind == "column")
    seen = e.varying(e.topological(outputs), columned)
    full, single = [o for o in outputs if o in seen], [o for o in outputs if o not in seen]
    values = evaluate([*full, *single], tensors, (rows, columns))
    expected = [value.expand(rows, columns if k < len(full) else 1) for k, value in enumerate(values)]
    segment = Segment(tuple(range(len(kinds))), columned, tuple(full), numbers=tuple(single))
    block, threads = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 2))
    for cpu, size in PROCESSORS.values():
        results = [torch.empty(value.shape, dtype=torch.float64) for value in expected]
        compiler = COMPILERS.setdefault(cpu, Compiler(cpu, "", size))
        run(compiler, segment, tensors, results, (rows, columns), torch.float64, block, 0, threads)
        torch.testing.assert_close(results, expected, rtol=1e-11, atol=1e-12, equal_nan=True)


COMPILERS: dict[str, Compiler] = {}
