"""Laws for every shape, tried on generated ones: reshape codes, broadcasting, slicing, joining, ordering, inference.

NumPy is the witness wherever it has the operation; sizes of 0 are among the generated ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from glueball import nd, sym
from glueball.base.errors import MXNetError
from glueball.ops.shape_ops import product, reshaped

sizes = st.integers(1, 4)
shapes = st.lists(sizes, min_size=1, max_size=4).map(tuple)
shapes_with_zero = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple)


def numbers(shape: tuple[int, ...]) -> np.ndarray:
    """Distinct numbers in a shape, in no particular order."""
    count = product(shape)
    return ((np.arange(count) * 7919) % max(count, 1) - count / 3).reshape(shape).astype(np.float32)


def same(found: Any, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found.asnumpy(), wanted, rtol=1e-6)


# -- reshape ---------------------------------------------------------------------------------------------------------


@st.composite
def coded(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """A shape, codes for it, and the shape that these must give, built code by code."""
    shape = draw(shapes)
    codes: list[int] = []
    wanted: list[int] = []
    at, inferred = 0, False
    while at < len(shape):
        kind = draw(st.sampled_from(["copy", "infer", "merge", "split", "rest"]))
        if kind == "merge" and at + 1 < len(shape):
            codes.append(-3)
            wanted.append(shape[at] * shape[at + 1])
            at += 2
            continue
        if kind == "rest":
            codes.append(-2)
            wanted.extend(shape[at:])
            break
        if kind == "split":
            first = draw(st.sampled_from([n for n in range(1, shape[at] + 1) if shape[at] % n == 0]))
            codes.extend((-4, first, draw(st.sampled_from([-1, shape[at] // first]))))
            wanted.extend((first, shape[at] // first))
        elif kind == "infer" and not inferred:
            codes.append(-1)
            wanted.append(shape[at])
            inferred = True
        else:
            codes.append(0)
            wanted.append(shape[at])
        at += 1
    return shape, tuple(codes), tuple(wanted)


@given(coded())
def test_reshape_codes_give_what_they_say(case: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]) -> None:
    shape, codes, wanted = case
    assert reshaped(shape, codes) == wanted
    same(nd.Reshape(nd.array(numbers(shape)), shape=codes), numbers(shape).reshape(wanted))


@given(shapes_with_zero, st.data())
def test_reshape_keeps_the_order_of_elements(shape: tuple[int, ...], data: st.DataObject) -> None:
    x = numbers(shape)
    target = data.draw(st.permutations(shape).map(tuple))
    assume(0 not in target)  # 0 is the code for "copy"
    same(nd.array(x).reshape(target), x.reshape(target))


@given(coded())
def test_reverse_is_the_mirror(case: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]) -> None:
    shape, codes, wanted = case
    assume(-4 not in codes)  # the parts of a split would have to be mirrored, too
    assert reshaped(shape[::-1], codes[::-1], reverse=True) == wanted[::-1]


@given(shapes, st.integers(2, 9))
def test_a_shape_of_another_size_is_refused(shape: tuple[int, ...], factor: int) -> None:
    with pytest.raises(MXNetError, match=r"Received|elements"):
        nd.Reshape(nd.array(numbers(shape)), shape=(product(shape) * factor,))


# -- broadcasting ----------------------------------------------------------------------------------------------------


@st.composite
def broadcastable(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    full = draw(shapes_with_zero)
    return (tuple(draw(st.sampled_from([1, n])) for n in full), tuple(draw(st.sampled_from([1, n])) for n in full))


@given(
    broadcastable(), st.sampled_from(["add", "sub", "mul", "maximum", "minimum", "equal", "greater", "lesser_equal"])
)
def test_broadcasting_is_numpy(pair: tuple[tuple[int, ...], tuple[int, ...]], name: str) -> None:
    a, b = numbers(pair[0]), numbers(pair[1])
    witness = {"sub": "subtract", "mul": "multiply", "lesser_equal": "less_equal"}.get(name, name)
    same(getattr(nd, f"broadcast_{name}")(nd.array(a), nd.array(b)), getattr(np, witness)(a, b).astype(np.float32))


@given(shapes, shapes)
def test_broadcasting_refuses_what_numpy_refuses(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    try:
        wanted = np.broadcast_shapes(a, b)
    except ValueError:
        with pytest.raises(MXNetError, match="broadcast"):
            nd.broadcast_add(nd.ones(a), nd.ones(b))
    else:
        assert nd.broadcast_add(nd.ones(a), nd.ones(b)).shape == wanted


@given(broadcastable())
def test_a_stretched_gradient_is_summed_back(pair: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    from glueball import autograd

    x, y = nd.array(numbers(pair[0])), nd.array(numbers(pair[1]))
    x.attach_grad()
    with autograd.record():
        z = nd.broadcast_mul(x, y)
    z.backward()
    full = np.broadcast_to(y.asnumpy(), z.shape)
    axes = tuple(a for a, (n, m) in enumerate(zip(x.shape, z.shape)) if n == 1 and m != 1)
    np.testing.assert_allclose(x.grad.asnumpy(), full.sum(axis=axes, keepdims=True), rtol=1e-5, atol=1e-5)


# -- slices, joints, order -------------------------------------------------------------------------------------------


@st.composite
def sliced(draw: st.DrawFn) -> tuple[tuple[int, ...], list[tuple[Any, Any, Any]]]:
    shape = draw(shapes_with_zero)
    bound = st.none() | st.integers(-5, 5)
    steps = st.none() | st.integers(-3, 3).filter(bool)
    return shape, [(draw(bound), draw(bound), draw(steps)) for _ in shape[: draw(st.integers(1, len(shape)))]]


@given(sliced())
def test_slice_is_numpy(case: tuple[tuple[int, ...], list[tuple[Any, Any, Any]]]) -> None:
    shape, parts = case
    begin, end, step = zip(*parts, strict=True)
    wanted = numbers(shape)[tuple(slice(*p) for p in parts)]
    same(nd.slice(nd.array(numbers(shape)), begin=begin, end=end, step=step), wanted)


@given(sliced())
def test_slice_assignment_is_numpy(case: tuple[tuple[int, ...], list[tuple[Any, Any, Any]]]) -> None:
    shape, parts = case
    begin, end, step = zip(*parts, strict=True)
    wanted = numbers(shape)
    key = tuple(slice(*p) for p in parts)
    value = numbers(wanted[key].shape) + 0.5
    wanted[key] = value
    same(nd._internal._slice_assign(nd.array(numbers(shape)), nd.array(value), begin=begin, end=end, step=step), wanted)


@given(shapes, st.data())
def test_split_undoes_concat(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    parts = [numbers(shape) + i for i in range(data.draw(st.integers(2, 4)))]
    whole = nd.concat(*[nd.array(p) for p in parts], dim=axis)
    same(whole, np.concatenate(parts, axis))
    for found, part in zip(nd.split(whole, num_outputs=len(parts), axis=axis), parts, strict=True):
        same(found, part)


@given(shapes, st.data())
def test_stack_makes_an_axis_that_split_squeezes(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, len(shape)))
    parts = [numbers(shape) + i for i in range(3)]
    whole = nd.stack(*[nd.array(p) for p in parts], axis=axis)
    same(whole, np.stack(parts, axis))
    for found, part in zip(nd.split(whole, num_outputs=3, axis=axis, squeeze_axis=True), parts, strict=True):
        same(found, part)


@given(shapes, st.data())
def test_transpose_and_its_inverse(shape: tuple[int, ...], data: st.DataObject) -> None:
    axes = data.draw(st.permutations(range(len(shape))).map(tuple))
    x = numbers(shape)
    there = nd.transpose(nd.array(x), axes=axes)
    same(there, x.transpose(axes))
    same(nd.transpose(there, axes=tuple(int(i) for i in np.argsort(axes))), x)


@given(shapes, st.data())
def test_reductions_are_numpy(shape: tuple[int, ...], data: st.DataObject) -> None:
    axes = tuple(data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
    keepdims = data.draw(st.booleans())
    x = numbers(shape)
    for name in ("sum", "mean", "max", "min"):
        wanted = np.atleast_1d(getattr(np, name)(x, axis=axes, keepdims=keepdims))
        found = getattr(nd, name)(nd.array(x), axis=axes, keepdims=keepdims)
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found.asnumpy(), wanted, rtol=1e-4, atol=1e-4)
        others = tuple(a for a in range(len(shape)) if a not in axes)
        if others:
            excluded = getattr(nd, name)(nd.array(x), axis=others, keepdims=keepdims, exclude=True)
            np.testing.assert_allclose(excluded.asnumpy(), wanted, rtol=1e-4, atol=1e-4)


@given(shapes, st.data())
def test_sorting_agrees_with_itself_and_numpy(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = np.round(numbers(shape) / 2)  # with ties
    same(nd.sort(nd.array(x), axis=axis), np.sort(x, axis))
    same(nd.argsort(nd.array(x), axis=axis), np.argsort(x, axis, kind="stable").astype(np.float32))
    count = data.draw(st.integers(1, shape[axis]))
    values, places = nd.topk(nd.array(x), axis=axis, k=count, ret_typ="both")
    same(values, np.take_along_axis(x, places.asnumpy().astype(int), axis))
    same(values, -np.take(np.sort(-x, axis), np.arange(count), axis))


@given(shapes, st.data())
def test_taking_rows_is_numpy(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    rows = np.array(data.draw(st.lists(st.integers(-6, 6), min_size=1, max_size=5)))
    x = numbers(shape)
    for mode in ("clip", "wrap"):
        same(nd.take(nd.array(x), nd.array(rows), axis=axis, mode=mode), np.take(x, rows, axis, mode=mode))


@given(shapes, st.data())
def test_gather_undoes_scatter(shape: tuple[int, ...], data: st.DataObject) -> None:
    places = data.draw(
        st.lists(st.tuples(*[st.integers(0, n - 1) for n in shape]), min_size=1, max_size=5, unique=True)
    )
    indices = np.array(places).T
    values = numbers((len(places),))
    whole = nd.scatter_nd(nd.array(values), nd.array(indices), shape=shape)
    same(nd.gather_nd(whole, nd.array(indices)), values)
    flat = nd.ravel_multi_index(nd.array(indices), shape=shape)
    same(nd.unravel_index(flat, shape=shape), indices.astype(np.float32))


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.booleans())
def test_dot_is_matmul(n: int, k: int, m: int, transpose_a: bool, transpose_b: bool) -> None:
    a, b = numbers((k, n) if transpose_a else (n, k)), numbers((m, k) if transpose_b else (k, m))
    wanted = (a.T if transpose_a else a) @ (b.T if transpose_b else b)
    same(nd.dot(nd.array(a), nd.array(b), transpose_a=transpose_a, transpose_b=transpose_b), wanted)


# -- inference -------------------------------------------------------------------------------------------------------


@given(shapes, st.sampled_from(["relu", "sin", "round", "clip", "Cast", "_plus_scalar", "_equal_scalar", "BlockGrad"]))
def test_shapes_flow_backwards_through_functions_of_one_array(shape: tuple[int, ...], name: str) -> None:
    attrs = {"clip": {"a_min": 0, "a_max": 1}, "Cast": {"dtype": "float64"}}.get(
        name, {"scalar": 2} if "scalar" in name else {}
    )
    x = sym.Variable("x")
    space = sym._internal if name.startswith("_") else sym
    both = sym.elemwise_add(
        getattr(space, name)(x, **attrs), sym.Variable("y", dtype="float64" if name == "Cast" else None)
    )
    arguments, results, _ = both.infer_shape(y=shape)
    assert dict(zip(both.list_arguments(), arguments, strict=True))["x"] == shape
    assert results == [shape]


@given(shapes, st.sampled_from(["elemwise_add", "elemwise_mul", "_maximum", "_equal", "where", "add_n"]))
def test_shapes_flow_between_inputs(shape: tuple[int, ...], name: str) -> None:
    x, y, c = sym.Variable("x"), sym.Variable("y"), sym.Variable("c")
    space = sym._internal if name.startswith("_") else sym
    joint = space.where(c, x, y) if name == "where" else getattr(space, name)(x, y)
    known = {"x": shape, "c": shape} if name == "where" else {"x": shape}
    arguments, results, _ = joint.infer_shape(**known)
    assert dict(zip(joint.list_arguments(), arguments, strict=True))["y"] == shape
    assert results == [shape]
