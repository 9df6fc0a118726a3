"""argmax and argmin of values of one row: the runner's, the step's and the operator's own answers are the same.

The one idea: what programs read to decide where to go has a step of its own; it is compared with the plain loop on
ties, on what is no number, on all axes and forms, and so are gradients of what is beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from glueball import autograd, fold, gluon, nd
from glueball.fold import execute, stream

NAN, INF = float("nan"), float("inf")
ROWS = [[1.0, 3.0, 3.0], [5.0, -1.0, 5.0], [NAN, 1.0, NAN], [0.0, NAN, 7.0], [-INF, -INF, -INF], [-2.0, -1.0, -3.0],
        [INF, 0.0, INF], [0.0, -0.0, 0.0]]


@pytest.fixture(params=[pytest.param(True, marks=pytest.mark.skipif(not stream.usable(), reason="no runner here")),
                        False], ids=["runner", "steps"], autouse=True)
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """With the compiled runner and without it."""
    if not request.param:
        monkeypatch.setattr(execute, "usable", lambda: False)
    return bool(request.param)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("how", ["argmax", "argmin"])
@pytest.mark.parametrize(("shape", "attrs"), [
    ((1, 3), {}), ((1, 3), {"axis": 1}), ((1, 3), {"axis": -1}), ((1, 3), {"axis": 1, "keepdims": True}),
    ((1, 3), {"keepdims": True}), ((3,), {}), ((3,), {"axis": 0}), ((3,), {"axis": 0, "keepdims": True}),
    ((1, 3), {"axis": 0}), ((3, 1), {}), ((3, 1), {"axis": 0}), ((3, 1), {"axis": 1}), ((1, 1), {}),
], ids=str)
def test_as_the_operator(shape: tuple[int, ...], attrs: dict[str, Any], how: str, dtype: str) -> None:
    arrays = [nd.array(np.array(row[:int(np.prod(shape))]).reshape(shape), dtype=dtype) for row in ROWS]
    expected = [getattr(x * 1.0, how)(**attrs) for x in arrays]
    with fold.batching():
        found = [getattr(x * 1.0, how)(**attrs) for x in arrays]
        twice = [getattr(x * 1.0, how)(**attrs) + 1.0 for x in arrays]
    for a, b, right in zip(found, twice, expected):
        assert (a.shape, a.dtype) == (right.shape, right.dtype)
        np.testing.assert_array_equal(a.asnumpy(), right.asnumpy())
        np.testing.assert_array_equal(b.asnumpy(), right.asnumpy() + 1)


def test_inside_a_block_beside_other_steps() -> None:
    class Chooser(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            with self.name_scope():
                self.layer = gluon.nn.Dense(4, in_units=3)

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            scores = self.layer(x)
            return F.argmax(scores, axis=1), F.argmin(F.tanh(scores)), F.sigmoid(scores)

    net = Chooser()
    net.initialize()
    net.hybridize()
    random = np.random.RandomState(4)
    arrays = [nd.array(random.randn(1, 3)) for _ in range(7)]
    expected = [net(x) for x in arrays]
    with fold.batching():
        found = [net(x) for x in arrays]
    for outs, rights in zip(found, expected):
        for out, right in zip(outs, rights):
            np.testing.assert_allclose(out.asnumpy(), right.asnumpy(), rtol=1e-5)
    assert fold.map(lambda x: int(net(x)[0].asscalar()), arrays) == [int(right[0].asscalar()) for right in expected]


@pytest.mark.parametrize("mode", ["on", "check"])
def test_no_gradient_flows_through(mode: str) -> None:
    """What leads to an argmax only is left alone, as without folding."""
    def gradients(folded: bool) -> list[np.ndarray]:
        arrays = [nd.array([[0.5, 2.0, -1.0]]) * (i + 1) for i in range(4)]
        for x in arrays:
            x.attach_grad()
            x.grad[:] = 9.0
        with autograd.record():
            if folded:
                with fold.batching(mode):
                    total = nd.add_n(*[loss(i, x) for i, x in enumerate(arrays)])
            else:
                total = nd.add_n(*[loss(i, x) for i, x in enumerate(arrays)])
        total.backward()
        return [x.grad.asnumpy() for x in arrays]

    def loss(i: int, x: Any) -> Any:
        y = x * 2.0
        return y.argmax() if i % 2 else y.argmax() * 3.0 + (y * y).sum()

    for found, right in zip(gradients(True), gradients(False)):
        np.testing.assert_allclose(found, right, rtol=1e-5)


@pytest.mark.parametrize("mode", ["on", "check"])
def test_gradients_beside_it(mode: str) -> None:
    """A block that chooses and computes: the layer's gradient is that of what it computes."""
    class Chooser(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            with self.name_scope():
                self.layer = gluon.nn.Dense(4, in_units=4)

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            scores = self.layer(x)
            return F.tanh(scores), F.argmax(scores, axis=1)

    def gradient(folded: bool) -> np.ndarray:
        with autograd.record():
            with fold.batching(mode if folded else "off"):
                losses = []
                for start in starts:
                    state = start
                    for _ in range(3):
                        state, choice = net(state)
                        losses.append((state * (choice + 1.0).reshape((1, 1))).sum())
                total = nd.add_n(*losses)
        total.backward()
        return net.layer.weight.grad().asnumpy()

    random = np.random.RandomState(5)
    starts = [nd.array(random.randn(1, 4)) for _ in range(5)]
    net = Chooser()
    net.initialize()
    net.layer.weight.set_data(nd.array(random.randn(4, 4)))
    net.hybridize()
    np.testing.assert_allclose(gradient(True), gradient(False), rtol=1e-4, atol=1e-5)
