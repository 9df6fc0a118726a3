"""Operators that users write in Python: run, differentiated, in a graph, hybridized, and asked for by a wrong name."""

from __future__ import annotations

import numpy as np
import pytest

import glueball as mx
from glueball import autograd, gluon, nd


@mx.operator.register("test_scaled_sigmoid")
class ScaledSigmoidProp(mx.operator.CustomOpProp):
    """scale / (1 + exp(-x)); the scale comes as text, as from a file."""

    def __init__(self, scale="1.0"):
        super().__init__(need_top_grad=True)
        self.scale = float(scale)

    def list_arguments(self):
        return ["data"]

    def list_outputs(self):
        return ["output"]

    def infer_shape(self, in_shape):
        return in_shape, [in_shape[0]], []

    def create_operator(self, ctx, shapes, dtypes):
        return ScaledSigmoid(self.scale)


class ScaledSigmoid(mx.operator.CustomOp):
    """Written in NumPy, as most of them are."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, is_train, req, in_data, out_data, aux):
        x = in_data[0].asnumpy()
        self.assign(out_data[0], req[0], nd.array(self.scale / (1 + np.exp(-x))))

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        y = out_data[0].asnumpy() / self.scale
        self.assign(in_grad[0], req[0], nd.array(out_grad[0].asnumpy() * self.scale * y * (1 - y)))


def expected(x: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return value and slope by formula."""
    y = 1 / (1 + np.exp(-x))
    return scale * y, scale * y * (1 - y)


def test_eager_with_gradient() -> None:
    """The user's backward is the gradient."""
    x = nd.array([-1.0, 0.0, 2.0])
    x.attach_grad()
    with autograd.record():
        y = nd.Custom(x, op_type="test_scaled_sigmoid", scale=3)
    y.backward()
    value, slope = expected(x.asnumpy(), 3)
    np.testing.assert_allclose(y.asnumpy(), value, rtol=1e-5)
    np.testing.assert_allclose(x.grad.asnumpy(), slope, rtol=1e-5)


def test_in_a_graph() -> None:
    """Shapes are asked of the prop; forward and backward run through bind."""
    data = mx.sym.Variable("data")
    net = mx.sym.Custom(data, op_type="test_scaled_sigmoid", scale=2, name="own")
    assert net.infer_shape(data=(2, 3))[1] == [(2, 3)]
    executor = net.bind(mx.cpu(), {"data": nd.array([0.5, -0.5])}, {"data": nd.zeros((2,))})
    value, slope = expected(np.array([0.5, -0.5]), 2)
    np.testing.assert_allclose(executor.forward(is_train=True)[0].asnumpy(), value, rtol=1e-5)
    executor.backward(nd.ones((2,)))
    np.testing.assert_allclose(executor.grad_dict["data"].asnumpy(), slope, rtol=1e-5)


class Own(gluon.HybridBlock):
    """A block around it."""

    def hybrid_forward(self, F, x):
        return F.Custom(x * 2, op_type="test_scaled_sigmoid")


@pytest.mark.parametrize("hybridize", [False, True])
def test_in_a_block(hybridize: bool) -> None:
    """The same, compiled or not."""
    block, x = Own(), nd.array([0.1, -0.3])
    if hybridize:
        block.hybridize()
    x.attach_grad()
    with autograd.record():
        y = block(x)
    y.backward()
    value, slope = expected(2 * x.asnumpy(), 1)
    np.testing.assert_allclose(y.asnumpy(), value, rtol=1e-5)
    np.testing.assert_allclose(x.grad.asnumpy(), 2 * slope, rtol=1e-5)


def test_unknown_name() -> None:
    """The closest name is offered."""
    with pytest.raises(mx.MXNetError, match="test_scaled_sigmoid"):
        nd.Custom(nd.ones(2), op_type="test_scaled_sigmod")
