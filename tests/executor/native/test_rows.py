"""Segments on tensors: sizes, strides, broadcast inputs, targets, threads, the tape, and life without llvmlite."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball.base.errors import ArgumentError, ContextError, DTypeError, ShapeError, UnsupportedError
from glueball.executor.native import Split, compile, compile_rows, input, places, run
from glueball.executor.native import expression as e
from glueball.executor.native.evaluate import evaluate
from glueball.executor.native.expression import Expr

from ...threads import threads

DOUBLE = torch.float64
a, b, c, d = (input(k) for k in range(4))


@pytest.fixture(params=["compiled", "evaluated"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the compiler, and as if llvmlite were not installed."""
    if request.param == "evaluated":
        monkeypatch.setattr(run, "available", lambda: False)

        def missing() -> None:
            raise AssertionError("the compiler was asked for")

        monkeypatch.setattr(run, "compiler", missing)
    elif not compile.available():
        pytest.skip(compile.why_not() or "")
    return request.param


def numbers(*shape: int, dtype: torch.dtype = DOUBLE, seed: int = 0) -> torch.Tensor:
    """Return normal numbers."""
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed + sum(shape)))


def lstm() -> tuple[Expr, Expr]:
    """The element-wise part of an LSTM cell, over i, f, o, u and the old state."""
    i, f, o, u, old = (input(k) for k in range(5))
    state = e.sigmoid(i) * e.tanh(u) + e.sigmoid(f) * old
    return e.sigmoid(o) * e.tanh(state), state


def by_torch(outputs: tuple[Expr, ...], tensors: list[torch.Tensor], heads: list[torch.Tensor | None]
             ) -> tuple[list[torch.Tensor], list[torch.Tensor | None]]:  # fmt: skip
    """Values and gradients by torch's tape."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    values = evaluate(outputs, leaves)
    total = sum((value * head).sum() for value, head in zip(values, heads) if head is not None)
    return [v.detach() for v in values], list(torch.autograd.grad(total, leaves, allow_unused=True))


@pytest.mark.parametrize("columns", [1, 3, 8, 150, 1024])
@pytest.mark.parametrize("rows", [0, 1, 2, 17, 1000])
def test_slices_are_read_and_written_in_place(rows: int, columns: int, way: str) -> None:
    """The gates are slices of one projection; gradients go into slices of one array; what is beside stays."""
    outputs = lstm()
    cell = compile_rows(outputs, ["full"] * 5, DOUBLE)
    projection, old = numbers(rows, 4 * columns), numbers(rows, columns, seed=1)
    tensors = [*projection.split(columns, 1), old]
    heads = [numbers(rows, columns, seed=2), numbers(rows, columns, seed=3)]
    wide = torch.full((rows, 3 * columns), 7.0, dtype=DOUBLE)
    targets = [wide[:, :columns], wide[:, 2 * columns :]]
    given = cell.forward(tensors, targets)
    values, gradients = by_torch(outputs, tensors, heads)
    assert [g.data_ptr() for g in given] == [t.data_ptr() for t in targets]
    assert (wide[:, columns : 2 * columns] == 7).all()
    for mine, fresh, theirs in zip(given, cell.forward(tensors), values):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(fresh, theirs, rtol=1e-12, atol=1e-14)
    into = torch.full((rows, 5 * columns), 7.0, dtype=DOUBLE)
    found = cell.backward(
        [Split(projection, (columns,) * 4), old], heads, [True] * 5, [*into[:, : 4 * columns].split(columns, 1), None]
    )
    for mine, theirs in zip(found, gradients):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(into[:, :columns], gradients[0], rtol=1e-12, atol=1e-14)
    assert (into[:, 4 * columns :] == 7).all()


@pytest.mark.parametrize("columns", [1, 3, 8, 150, 1024])
@pytest.mark.parametrize("rows", [0, 1, 2, 17, 1000])
def test_rows_and_columns_are_broadcast_and_summed(rows: int, columns: int, way: str) -> None:
    """(H,) holds for all rows, (N, 1) for a row; their gradients are sums in their own shapes."""
    made = (e.tanh(a * b + c) * d, e.exp(b) * c)
    segment = compile_rows(made, ["full", "row", "column", "full"], DOUBLE)
    tensors = [numbers(rows, columns), numbers(columns), numbers(rows, 1), numbers(rows, columns, seed=1)]
    heads: list[torch.Tensor | None] = [numbers(rows, columns, seed=2), numbers(rows, columns, seed=3)]
    for present in (heads, [heads[0], None], [None, heads[1]]):
        values, gradients = by_torch(made, tensors, present)
        for mine, theirs in zip(segment.forward(tensors), values):
            torch.testing.assert_close(mine, theirs.expand(rows, columns), rtol=1e-12, atol=1e-14)
        for mine, theirs in zip(segment.backward(tensors, present, [True] * 4), gradients):
            assert (mine is None) == (theirs is None)
            if mine is not None:
                torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-12)


def test_needs_and_targets(way: str) -> None:
    """What is not needed is None; a target of a gradient that is nothing is filled with 0; sums go to targets, too."""
    segment = compile_rows([a * b], ["full", "row", "full"], DOUBLE)
    tensors = [numbers(5, 4), numbers(4), numbers(5, 4)]
    head = numbers(5, 4, seed=4)
    found = segment.backward(tensors, [head], [True, False, True])
    torch.testing.assert_close(found[0], head * tensors[1])
    assert found[1] is None and found[2] is None
    targets = [None, torch.ones(4, dtype=DOUBLE), torch.ones(5, 4, dtype=DOUBLE)]
    found = segment.backward(tensors, [head], [False, True, True], targets)
    assert found[0] is None and found[1] is targets[1]
    torch.testing.assert_close(targets[1], (head * tensors[0]).sum(0))
    assert not targets[2].any()


def test_layouts(way: str) -> None:
    """Transposed inputs and targets are copied, expanded rows and gradients are read, outputs may be inputs."""
    segment = compile_rows([a + b * 2.0], ["full", "full"], DOUBLE)
    first, second = numbers(6, 5), numbers(5, 6, seed=1).t()
    expected = first + 2 * second
    torch.testing.assert_close(segment.forward([first, second])[0], expected)
    target = torch.empty(5, 6, dtype=DOUBLE).t()
    assert segment.forward([first, second], [target])[0] is target
    torch.testing.assert_close(target, expected)
    one = numbers(1, 5).expand(6, 5)
    torch.testing.assert_close(segment.forward([first, one])[0], first + 2 * one)
    ones = torch.ones((), dtype=DOUBLE).expand(6, 5)
    torch.testing.assert_close(segment.backward([first, second], [ones], [True, True])[1], 2 * ones)
    same = first.clone()
    segment.forward([same, second], [same])
    torch.testing.assert_close(same, expected)


def test_writing_is_seen_by_the_tape(way: str) -> None:
    """An array that the tape has kept and that is overwritten through `outs` is reported by torch."""
    kept = numbers(3, 4).requires_grad_()
    middle = kept * 1.0
    result = middle.exp() * middle
    compile_rows([a + 1.0], ["full"], DOUBLE).forward([numbers(3, 4)], [middle.detach()])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.sum().backward()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_threads(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every number of threads gives the same bits: whole arrays, slices, sums over rows and over columns."""
    if not compile.available():
        pytest.skip(compile.why_not() or "")
    made = [e.tanh(a * b + c), e.sigmoid(a)]
    segment = compile_rows(made, ["full", "row", "column"], torch.float32)
    flat = compile_rows([e.sigmoid(a) * b], ["full", "full"], torch.float32)
    wide = numbers(3000, 300, dtype=torch.float32)
    tensors = [wide[:, 100:200], numbers(100, dtype=torch.float32), numbers(3000, 1, dtype=torch.float32)]
    heads = [wide[:, :100], wide[:, 200:]]
    teams: list[int] = []
    team = compile.parallel()
    if team is not None:
        monkeypatch.setattr(places, "parallel", lambda: lambda f, x, n, flags: (teams.append(n), team(f, x, n, flags)))
    results = []
    for many in (1, count):
        with threads(many):
            results.append([*segment.forward(tensors), *segment.backward(tensors, heads, [True] * 3),
                            *flat.forward([wide, wide])])  # fmt: skip
    assert teams == ([count] * 3 if team is not None and count > 1 else [])
    for alone, together in zip(*results):
        assert torch.equal(alone, together)
    torch.testing.assert_close(results[0][3], by_torch(tuple(made), [t.double() for t in tensors],
                                                       [h.double() for h in heads])[1][1].float(),
                               rtol=1e-4, atol=1e-3)  # fmt: skip


def test_several_threads_of_python() -> None:
    """Calls from threads of Python share compiled code and nothing else."""
    from concurrent.futures import ThreadPoolExecutor

    segment = compile_rows([e.exp(-e.abs(a)) + b], ["full", "full"], DOUBLE)
    inputs = [[numbers(60, 70, seed=k), numbers(60, 70, seed=k + 50)] for k in range(12)]
    with ThreadPoolExecutor(4) as pool:
        for found, (x, y) in zip(pool.map(lambda pair: segment.forward(pair)[0], inputs), inputs):
            torch.testing.assert_close(found, torch.exp(-x.abs()) + y, rtol=1e-12, atol=0)


@pytest.mark.parametrize("rows", [1, 9])
def test_on_the_tape(rows: int, way: str) -> None:
    """apply: gradients of first and second order equal torch's; a split projection gets one gradient."""
    columns = 6
    cell = compile_rows(lstm(), ["full"] * 5, DOUBLE)
    projection = numbers(rows, 4 * columns).requires_grad_()
    old = numbers(rows, columns, seed=1).requires_grad_()

    def mine(p: torch.Tensor, s: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(cell.apply(Split(p, (columns,) * 4), s))

    def theirs(p: torch.Tensor, s: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(evaluate(lstm(), [*p.split(columns, 1), s]))

    heads = [numbers(rows, columns, seed=2), numbers(rows, columns, seed=3)]
    for x, y in zip(torch.autograd.grad(mine(projection, old), [projection, old], heads),
                    torch.autograd.grad(theirs(projection, old), [projection, old], heads)):  # fmt: skip
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-14)
    assert torch.autograd.gradgradcheck(mine, (projection, old))
    with torch.no_grad():
        assert not any(value.requires_grad for value in mine(projection, old))


def test_tape_with_broadcast_inputs_and_unused_outputs(way: str) -> None:
    """Only what the loss uses is derived; inputs without gradients get none; shapes (H,), (1, H), (N, 1)."""
    made = [a * b + c, e.tanh(a)]
    segment = compile_rows(made, ["full", "row", "column"], DOUBLE)
    for shape in ((4,), (1, 4)):
        tensors = [numbers(5, 4), numbers(*shape).requires_grad_(), numbers(5, 1).requires_grad_()]
        segment.apply(*tensors)[0].square().sum().backward()
        expected = torch.autograd.grad((tensors[0] * tensors[1] + tensors[2]).square().sum(), tensors[1:])
        assert tensors[0].grad is None
        torch.testing.assert_close(tensors[1].grad, expected[0])
        torch.testing.assert_close(tensors[2].grad, expected[1])


def test_ties_and_corners_on_the_tape(way: str) -> None:
    """At ties the left of maximum and minimum gets the gradient, the edges of a clip get it, relu at 0 does not."""
    made = [e.maximum(a, b), e.minimum(a, b) * 3.0, e.minimum(e.maximum(a, -1.0), 1.0), e.relu(a - b)]
    segment = compile_rows(made, ["full", "full"], DOUBLE)
    x = torch.tensor([[1.0, -1.0, 2.0]], dtype=DOUBLE).requires_grad_()
    y = torch.tensor([[1.0, -1.0, 1.0]], dtype=DOUBLE).requires_grad_()
    found = [torch.autograd.grad(out.sum(), [x, y], retain_graph=True, allow_unused=True,
                                 materialize_grads=True)
             for out in segment.apply(x, y)]  # fmt: skip
    expected = [([1, 1, 1], [0, 0, 0]), ([3, 3, 0], [0, 0, 3]), ([1, 1, 0], [0, 0, 0]), ([0, 0, 1], [0, 0, -1])]
    assert [tuple(g[0].tolist() for g in pair) for pair in found] == expected


def test_other_types_are_evaluated() -> None:
    """bfloat16 is not compiled, but computed."""
    x = numbers(3, 4, dtype=torch.bfloat16)
    torch.testing.assert_close(compile_rows([e.tanh(a)], ["full"], torch.bfloat16).forward([x])[0], x.tanh())


def test_misfits_are_refused(way: str) -> None:
    """Sizes, types, numbers and kinds are checked before memory is touched."""
    segment = compile_rows([a + b], ["full", "row"], DOUBLE)
    with pytest.raises(ShapeError, match=r"Input 1 \(row\)"):
        segment.forward([numbers(3, 4), numbers(3)])
    with pytest.raises(DTypeError, match="float32"):
        segment.forward([numbers(3, 4), numbers(4, dtype=torch.float32)])
    with pytest.raises(ArgumentError, match="number of tensors"):
        segment.forward([numbers(3, 4)])
    with pytest.raises(ShapeError, match="target"):
        segment.forward([numbers(3, 4), numbers(4)], [numbers(4, 3)])
    with pytest.raises(ShapeError, match="two axes"):
        segment.forward([numbers(3), numbers(4)])
    elsewhere = torch.empty(4, dtype=DOUBLE, device="meta")
    with pytest.raises(ContextError, match="Input 1 is on another device"):
        segment.forward([numbers(3, 4), elsewhere])
    with pytest.raises(ContextError, match="target"):
        segment.forward([numbers(3, 4), numbers(4)], [elsewhere.expand(3, 4)])
    with pytest.raises(ContextError, match="Gradient 0"):
        segment.backward([numbers(3, 4), numbers(4)], [elsewhere.expand(3, 4)], [True, True])
    with pytest.raises(ShapeError, match="Gradient 0"):
        segment.backward([numbers(3, 4), numbers(4)], [numbers(4, 4)], [True, True])
    with pytest.raises(ArgumentError, match="number of targets"):
        segment.forward([numbers(3, 4), numbers(4)], [numbers(3, 4), numbers(3, 4)])
    with pytest.raises(ArgumentError, match="number of targets"):
        segment.backward([numbers(3, 4), numbers(4)], [numbers(3, 4)], [True, True], [None])
    pair = compile_rows([a * b + c], ["full", "full", "row"], DOUBLE)
    torch.testing.assert_close(
        pair.forward([Split(numbers(3, 8), (4, 4)), numbers(4)]), pair.forward([*numbers(3, 8).split(4, 1), numbers(4)])
    )
    for sizes in ((4, 3), (2, 6), (4, 4, 4)):
        with pytest.raises(ShapeError, match="cannot be split|row"):
            pair.forward([Split(numbers(3, 8), sizes), numbers(4)])
    with pytest.raises(ShapeError, match="cannot be split"):
        compile_rows([a + b], ["full", "row"], DOUBLE).forward([Split(numbers(3, 8), (4, 4))])
    with pytest.raises(ArgumentError, match="full, row or column"):
        compile_rows([a], ["wide"], DOUBLE)  # type: ignore[list-item]
    with pytest.raises(ArgumentError, match="inputs that are declared"):
        compile_rows([a + b], ["full"], DOUBLE)


def test_segments_are_compiled_once() -> None:
    """Equal expressions are the same segment, and its code is made once for all sizes."""
    if not compile.available():
        pytest.skip(compile.why_not() or "")
    first = compile_rows([e.tanh(a * 3.25) + b], ["full", "full"], DOUBLE)
    assert compile_rows([b + e.tanh(3.25 * a)], ["full", "full"], DOUBLE) is first
    first.forward([numbers(3, 4), numbers(3, 4)])
    count = len(compile.compiler()._kernels)
    first.forward([numbers(5, 7), numbers(5, 7)])
    assert len(compile.compiler()._kernels) == count


def test_without_llvmlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is given in words; asking again does not import again."""
    monkeypatch.setattr(compile, "_compiler", None)
    monkeypatch.setattr(compile, "_problem", None)
    monkeypatch.setitem(__import__("sys").modules, "llvmlite.binding", None)
    assert not compile.available()
    assert "pip install 'llvmlite>=0.45'" in (compile.why_not() or "")
    with pytest.raises(UnsupportedError, match="torch"):
        compile.compiler()


def test_an_old_llvm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of emit.py needs LLVM 20; an older one is named, with the way out."""
    if not compile.available():
        pytest.skip(compile.why_not() or "")
    import llvmlite.binding

    monkeypatch.setattr(llvmlite.binding, "llvm_version_info", (15, 0, 7))
    with pytest.raises(UnsupportedError, match=r"LLVM 15, which is too old(.|\n)*pip install"):
        compile.Compiler()


# -- random segments -------------------------------------------------------------------------------------------------

SMOOTH = ("neg", "abs", "sigmoid", "tanh", "softsign", "softrelu", "erf")


@st.composite
def segments(draw: st.DrawFn) -> tuple[tuple[Expr, ...], list[str]]:
    """Draw expressions that stay finite, over inputs of all kinds."""
    kinds = ["full", *draw(st.lists(st.sampled_from(["full", "row", "column"]), max_size=3))]
    nodes = [input(k) for k in range(len(kinds))]
    for _ in range(draw(st.integers(1, 12))):
        op = draw(st.sampled_from([*SMOOTH, "exp", "log", "sqrt", "add", "sub", "mul", "div", "maximum", "select"]))
        left, right = draw(st.sampled_from(nodes)), draw(st.sampled_from(nodes))
        if op in SMOOTH:
            made = getattr(e, op)(left)
        elif op in ("exp", "log", "sqrt"):
            made = {"exp": lambda t: e.exp(e.tanh(t)), "log": lambda t: e.log(e.abs(t) + 0.5),
                    "sqrt": lambda t: e.sqrt(e.abs(t) + 0.25)}[op](left)  # fmt: skip
        elif op == "mul":
            made = e.tanh(left) * right
        elif op == "div":
            made = left / (e.abs(right) + 1.0)
        elif op == "select":
            made = e.select(draw(st.sampled_from(["lt", "ge"])), left, right, e.tanh(left), right * 0.5)
        else:
            made = getattr(e, op)(left, right)
        nodes.append(made)
    outputs = draw(st.lists(st.sampled_from(nodes[1:]), min_size=1, max_size=3))
    return tuple(outputs), kinds


@settings(max_examples=40, deadline=None)
@given(segments(), st.integers(1, 5), st.integers(1, 19), st.integers(0, 1000))
def test_random_segments(segment: tuple[tuple[Expr, ...], list[str]], rows: int, columns: int, seed: int) -> None:
    """A compiled segment and its gradient equal torch's operators and torch's tape."""
    outputs, kinds = segment
    shapes = {"full": (rows, columns), "row": (columns,), "column": (rows, 1)}
    tensors = [numbers(*shapes[kind], seed=seed + 7 * k) for k, kind in enumerate(kinds)]
    heads: list[torch.Tensor | None] = [numbers(rows, columns, seed=seed + 90 + k) for k in range(len(outputs))]
    made = run.Rows(outputs, tuple(kinds), DOUBLE)  # type: ignore[arg-type]
    values, gradients = by_torch(outputs, tensors, heads)
    for mine, theirs in zip(made.forward(tensors), values):
        torch.testing.assert_close(mine, theirs.expand(rows, columns), rtol=1e-11, atol=1e-12)
    for mine, theirs in zip(made.backward(tensors, heads, [True] * len(kinds)), gradients):
        if mine is None or theirs is None:
            assert all(g is None or not g.any() for g in (mine, theirs))
        else:
            torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-11)
