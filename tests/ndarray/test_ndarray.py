"""NDArray: construction, arithmetic rules, devices, bridges, in-place operations, Python's protocols."""
from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

import glueball as mx
from glueball import nd
from glueball.base.errors import ContextError, DTypeError, MXNetError, ShapeError


def test_array_is_float32_unless_told():
    for source in ([1, 2], np.array([1, 2]), np.array([1.0, 2.0]), (1, 2)):
        assert nd.array(source).dtype == np.float32
    assert nd.array([1], dtype="int32").dtype == np.int32
    assert nd.array(nd.array([1], dtype="int64")).dtype == np.int64
    assert nd.array(5).shape == ()
    assert nd.from_numpy(np.array([1, 2])).dtype == np.int64


def test_array_copies_and_from_numpy_shares():
    source = np.zeros(3, np.float32)
    copied, shared = nd.array(source), nd.from_numpy(source)
    source[0] = 1
    assert copied.asnumpy()[0] == 0 and shared.asnumpy()[0] == 1
    shared[1] = 2
    assert source[1] == 2


def test_torch_and_dlpack_share_memory():
    tensor = torch.zeros(3)
    shared = nd.from_torch(tensor)
    shared[0] = 4
    assert tensor[0] == 4 and shared.to_torch() is tensor
    assert torch.from_dlpack(shared).data_ptr() == tensor.data_ptr()
    assert nd.from_dlpack(tensor).handle == tensor.data_ptr()
    assert np.from_dlpack(shared)[0] == 4


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16", "int8", "uint8", "int32", "int64",
                                   "bool"])
def test_every_dtype_holds_adds_and_prints(dtype):
    x = nd.ones((2, 2), dtype=dtype)
    assert x.dtype_name == dtype and "2x2 @cpu(0)" in repr(x)
    if dtype != "bool":
        assert (x + x).dtype_name == dtype and (x + x).asnumpy().sum() == 8


def test_numbers_take_the_array_dtype():
    x = nd.array([1, 2, -3], dtype="int32")
    assert (x * 0.5).asnumpy().tolist() == [0, 0, 0]
    assert (x / 2).asnumpy().tolist() == [0, 1, -1]
    assert (x + 1.9).dtype == np.int32
    assert (1 - x).asnumpy().tolist() == [0, -1, 4]


def test_dtypes_never_mix():
    with pytest.raises(DTypeError, match="element types differ"):
        nd.ones((2,)) + nd.ones((2,), dtype="int32")
    with pytest.raises(DTypeError):
        x = nd.ones((2,))
        x += nd.ones((2,), dtype="float64")


def test_signs_broadcast_and_name_misfits():
    assert (nd.ones((2, 1, 3)) * nd.ones((4, 1))).shape == (2, 4, 3)
    with pytest.raises(ShapeError, match=r"\(2,\).*\(3,\)"):
        nd.ones((2,)) + nd.ones((3,))
    for bad in (None, "a"):
        with pytest.raises(TypeError):
            nd.ones((2,)) == bad  # noqa: B015 (the comparison is what is tested)


def test_comparisons_give_numbers():
    x = nd.array([1, 2, 3])
    assert (x > 2).dtype == np.float32 and (x >= 2).asnumpy().tolist() == [0, 1, 1]
    assert (x == nd.array([1, 0, 3])).asnumpy().tolist() == [1, 0, 1]


def test_truth_is_for_one_element():
    assert bool(nd.array([1])) and not bool(nd.array([0]))
    with pytest.raises(ValueError, match="ambiguous"):
        bool(nd.ones((2,)))
    with pytest.raises(ShapeError, match="asscalar"):
        nd.ones((2,)).asscalar()


def test_contexts_are_devices():
    a, b = nd.ones((2,), ctx=mx.cpu(0)), nd.ones((2,), ctx=mx.cpu(1))
    assert a.context == mx.cpu(0) and b.context == mx.cpu(1) and (b + b).context == mx.cpu(1)
    with pytest.raises(ContextError, match="as_in_context"):
        a + b
    with pytest.raises(ContextError):
        nd.concat(a, b, dim=0)
    assert (a + b.as_in_context(mx.cpu(0))).asnumpy().tolist() == [2, 2]
    with mx.cpu(1):
        assert nd.zeros((1,)).context == mx.cpu(1)
    assert a.as_in_context(mx.cpu(0)) is a


def test_an_absent_gpu_is_explained():
    with pytest.raises(ContextError, match="num_gpus"):
        nd.ones((1,), ctx=mx.gpu(99))


def test_copies_and_pickles():
    x = nd.array([1.0, 2.0], ctx=mx.cpu(1))
    for other in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x), x.copy(), copy.copy(x)):
        other[0] = 9
        assert x.asnumpy().tolist() == [1, 2] and other.context == mx.cpu(1)
    y = nd.zeros((2,))
    x.as_in_context(mx.cpu()).copyto(y)
    assert y.asnumpy().tolist() == [1, 2]


def test_out_receives_the_result():
    y = nd.zeros((2,))
    held = y
    nd.exp(nd.zeros((2,)), out=y)
    assert held.asnumpy().tolist() == [1, 1]
    with pytest.raises(ShapeError):
        nd.exp(nd.zeros((3,)), out=y)


def test_other_things_become_arrays():
    assert nd.relu(np.array([-1.0, 2.0])).asnumpy().tolist() == [0, 2]
    assert (nd.ones((2,)) + np.array([1, 2])).asnumpy().tolist() == [2, 3]
    with pytest.raises(DTypeError, match="pad ragged lists"):
        nd.array([[1, 2], [3]])


def test_unknown_names_suggest_the_closest():
    with pytest.raises(AttributeError, match="relu"):
        nd.rellu
    with pytest.raises(MXNetError, match="axis"):
        nd.sum(nd.ones((2,)), axes=0)
    with pytest.raises(MXNetError, match="num_hidden"):
        nd.FullyConnected(nd.ones((2, 3)), nd.ones((4, 3)), no_bias=True)


def test_iteration_and_length():
    x = nd.array([[1, 2], [3, 4]])
    assert len(x) == 2 and [row.asnumpy().tolist() for row in x] == [[1, 2], [3, 4]]
    assert x.size == 4 and x.ndim == 2 and x.T.shape == (2, 2)
    with pytest.raises(TypeError):
        len(nd.array(1))


def test_empty_arrays_pass():
    x = nd.zeros((0, 3))
    assert (x + 1).shape == (0, 3) and nd.concat(x, nd.ones((2, 3)), dim=0).shape == (2, 3) and x.sum().asscalar() == 0


def test_numbers_that_no_element_holds_are_refused_in_our_words():
    x = nd.ones((2,))
    for function in (lambda: x * 2**70, lambda: x + 2**70, lambda: x - 10**400, lambda: x / 2**70, lambda: 2**70 - x,
                     lambda: nd.full((2,), 2**70), lambda: nd.full((2,), 1e300)):
        with pytest.raises(DTypeError, match="too (big|large)"):
            function()
    assert (x * 1e300).asnumpy().tolist() == [np.inf, np.inf]
