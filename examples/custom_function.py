"""Your own operator with your own gradient: `autograd.Function`, used inside a block and checked against finite
differences.

The function is a straight-through rounding: forward rounds, backward passes the gradient through as if nothing had
happened. It lets a network with rounded weights be trained. Run: python examples/custom_function.py [--smoke]
"""

from __future__ import annotations

import sys

import glueball as mx
from glueball import autograd, gluon, nd


class Round(autograd.Function):
    """Round to multiples of `step`; the gradient ignores the rounding."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: nd.NDArray) -> nd.NDArray:
        return nd.round(x / self.step) * self.step

    def backward(self, dy: nd.NDArray) -> nd.NDArray:
        return dy


class Softplus(autograd.Function):
    """log(1 + exp(x)), written so that large x does not overflow."""

    def forward(self, x: nd.NDArray) -> nd.NDArray:
        self.save_for_backward(x)
        return nd.relu(x) + nd.log1p(nd.exp(-nd.abs(x)))

    def backward(self, dy: nd.NDArray) -> nd.NDArray:
        (x,) = self.saved_tensors
        return dy * nd.sigmoid(x)


class RoundedDense(gluon.Block):
    """A dense layer whose weights are multiples of 1/8."""

    def __init__(self, units: int, in_units: int) -> None:
        super().__init__()
        with self.name_scope():
            self.weight = self.params.get("weight", shape=(units, in_units), init=mx.init.Xavier())

    def forward(self, x: nd.NDArray) -> nd.NDArray:
        return nd.dot(x, Round(1 / 8)(self.weight.data()).T)


def check_gradient() -> None:
    """Compare Softplus with finite differences."""
    x = nd.array([-2.0, -0.5, 0.0, 1.0, 30.0])
    x.attach_grad()
    with autograd.record():
        y = Softplus()(x)
    y.backward()
    step = 1e-2
    slope = (Softplus()(x + step) - Softplus()(x - step)) / (2 * step)
    print("gradient of Softplus:", x.grad.asnumpy().round(3).tolist())
    print("by differences:      ", slope.asnumpy().round(3).tolist())
    mx.test_utils.assert_almost_equal(x.grad, slope, rtol=1e-2, atol=1e-3)


def main() -> None:
    """Recover a rounded linear map from data."""
    check_gradient()
    steps = 20 if "--smoke" in sys.argv else 300
    mx.random.seed(0)
    truth = nd.round(nd.random.uniform(-1, 1, shape=(3, 5)) * 8) / 8
    net = RoundedDense(3, 5)
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01})
    loss_of = gluon.loss.L2Loss()
    for step in range(steps):
        x = nd.random.normal(shape=(64, 5))
        with autograd.record():
            loss = loss_of(net(x), nd.dot(x, truth.T))
        loss.backward()
        trainer.step(64)
        if step % (steps // 5) == 0:
            print(f"step {step:3}: loss {loss.mean().asscalar():.4f}")
    found = nd.round(net.weight.data() * 8) / 8
    print(f"weights found exactly: {int((found == truth).sum().asscalar())} of {truth.size}")


if __name__ == "__main__":
    main()
