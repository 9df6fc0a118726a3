"""Law: `x[key]` and `x[key] = v` agree with NumPy (an element has shape (1,), bool arrays are masks), on generated
keys.
"""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from glueball import autograd, nd
from glueball.base.errors import AutogradError, ShapeError


@st.composite
def array_and_key(draw):
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    parts = []
    for size in shape[:draw(st.integers(1, len(shape)))]:
        parts.append(draw(st.one_of(st.integers(-size, size - 1), st.slices(size))))
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), None)
    if draw(st.booleans()):
        parts.append(Ellipsis)
    key = tuple(parts)
    return np.arange(np.prod(shape),
                     dtype=np.float32).reshape(shape), key if len(key) > 1 or draw(st.booleans()) else key[0]


@given(array_and_key())
def test_reading_agrees_with_numpy(case):
    array, key = case
    expected = np.asarray(array[key])
    found = nd.array(array)[key]
    assert found.shape == (expected.shape or (1,))
    np.testing.assert_array_equal(found.asnumpy().reshape(expected.shape), expected)


@given(array_and_key())
def test_writing_agrees_with_numpy(case):
    array, key = case
    ours = nd.array(array)
    ours[key] = 7
    array[key] = 7
    np.testing.assert_array_equal(ours.asnumpy(), array)


@given(array_and_key())
def test_writing_an_array_agrees_with_numpy(case):
    array, key = case
    ours = nd.array(array)
    value = -1 - np.arange(np.asarray(array[key]).size, dtype=np.float32).reshape(np.asarray(array[key]).shape)
    ours[key] = nd.array(value) if value.shape else float(value)
    array[key] = value
    np.testing.assert_array_equal(ours.asnumpy(), array)


def test_leading_slices_are_views_and_others_are_copies():
    x = nd.zeros((4, 3))
    x[1:3][:] = 1
    assert x.asnumpy().sum() == 6
    x[:, 1][:] = 9
    x[::2][:] = 9
    assert x.asnumpy().max() == 1
    x.reshape((12,))[0] = 5
    assert x[0, 0].asscalar() == 5


def test_results_of_operators_are_independent_memory():
    x = nd.array([[1.0, 2.0], [3.0, 4.0]])
    results = [x.T, nd.transpose(x), x.slice_axis(axis=0, begin=0, end=1), nd.split(x, num_outputs=2, axis=0)[0],
               x.broadcast_to((2, 2)), x.copy()]
    before = [r.asnumpy() for r in results]
    x[:] = 0
    for result, old in zip(results, before):
        np.testing.assert_array_equal(result.asnumpy(), old)


def test_positions_and_masks():
    x = nd.array([10.0, 11.0, 12.0])
    assert x[nd.array([2, 0])].asnumpy().tolist() == [12, 10]
    assert x[[0, 2]].asnumpy().tolist() == [10, 12]
    assert x[np.array([True, False, True])].asnumpy().tolist() == [10, 12]
    y = nd.array(np.arange(6).reshape(2, 3))
    assert y[nd.array([0, 1]), nd.array([2, 0])].asnumpy().tolist() == [2, 3]
    y[[0, 1], [1, 1]] = nd.array([7, 8])
    assert y.asnumpy().tolist() == [[0, 7, 2], [3, 8, 5]]


@pytest.mark.parametrize(("key", "kind", "text"), [
    (5, IndexError, "index 5 is out of bounds for axis 0 with size 3"), ((0, 0), IndexError, "Too many indices"),
    ("a", IndexError, "cannot index"), ([9], IndexError, "out of")])
def test_wrong_keys_say_so(key, kind, text):
    with pytest.raises(kind, match=text):
        nd.zeros((3,))[key]


def test_writing_what_does_not_fit_names_the_shapes():
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        nd.zeros((2, 3))[0] = nd.zeros((4,))


def test_recorded_arrays_cannot_be_written():
    x = nd.ones((3,))
    x.attach_grad()
    with autograd.record():
        with pytest.raises(AutogradError, match="cannot be changed in place"):
            x[0] = 1
        with pytest.raises(AutogradError, match="cannot be changed in place"):
            x += 1
        held = nd.zeros((3,))
        with pytest.raises(AutogradError, match="lose its gradient"):
            held[0] = (x * 2)[0]
    x[0] = 5
    x *= 2
    assert x.asnumpy().tolist() == [10, 2, 2]


def test_reading_is_differentiable():
    x = nd.array([[1.0, 2.0], [3.0, 4.0]])
    x.attach_grad()
    with autograd.record():
        y = x[0].sum() + (x[:, 1] * 2).sum() + x[[1, 1]].sum()
    y.backward()
    assert x.grad.asnumpy().tolist() == [[1, 3], [2, 4]]


def test_reshaping_functions_copy_and_the_method_is_a_view():
    x = nd.zeros((2, 3))
    for other in (x.flatten(), nd.reshape(x, (3, 2)), x.expand_dims(0), nd.squeeze(x), x.reshape_like(nd.zeros((6,)))):
        other += 1
    assert not x.asnumpy().any()
    view = x.reshape((-1,))
    view += 1
    assert x.asnumpy().all()


def test_a_part_may_be_written_over_another_part():
    x = nd.array([1, 2, 3, 4])
    x[1:] = x[:-1]
    assert x.asnumpy().tolist() == [1, 1, 2, 3]
    x[:-1] = x[1:]
    assert x.asnumpy().tolist() == [1, 2, 3, 3]
