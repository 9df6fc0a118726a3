"""Gradients that are not the derivative, or are chosen at edges: ties, limits, stopped, scaled and replaced gradients.

The matrix compares rules with finite differences, which cannot see these. Expected numbers are what MXNet 1.9.1
gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from glueball import autograd, gluon, nd


def gradients(function: Callable[..., Any], *inputs: Any, head: Any = None, hybrid: bool = False) -> list[Any]:
    """The gradients of a function of arrays, called eagerly or in a hybridized block."""
    arrays = [nd.array(x) for x in inputs]
    for array in arrays:
        array.attach_grad()
    call = function
    if hybrid:

        class Block(gluon.HybridBlock):
            def hybrid_forward(self, F: Any, *xs: Any) -> Any:
                return function(*xs, F=F)

        call = Block()
        call.hybridize()
    with autograd.record():
        result = call(*arrays) if hybrid else call(*arrays, F=nd)
    result.backward(None if head is None else nd.array(head))
    return [a.grad.asnumpy().tolist() for a in arrays]


CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...], Any, list[Any]]] = {
    "abs at 0": (lambda x, F: F.abs(x), ([-1.0, 0.0, 2.0],), None, [[-1.0, 0.0, 1.0]]),
    "relu at 0": (lambda x, F: F.relu(x), ([-1.0, 0.0, 2.0],), None, [[0.0, 0.0, 1.0]]),
    "clip at both edges": (
        lambda x, F: F.clip(x, -1, 1),
        ([-2.0, -1.0, 0.0, 1.0, 2.0],),
        None,
        [[0.0, 1.0, 1.0, 1.0, 0.0]],
    ),
    "hard_sigmoid at its edges": (
        lambda x, F: F.hard_sigmoid(x),
        ([-3.0, -2.5, 2.5, 3.0],),
        None,
        [[0.0, 0.0, 0.0, 0.0]],
    ),
    "max gives every tie all": (lambda x, F: F.max(x), ([[1.0, 3.0, 3.0]],), None, [[[0.0, 1.0, 1.0]]]),
    "min along an axis": (lambda x, F: F.min(x, axis=1), ([[1.0, 3.0, 1.0]],), [2.0], [[[2.0, 0.0, 2.0]]]),
    "maximum gives ties to lhs": (
        lambda x, y, F: F.broadcast_maximum(x, y),
        ([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]),
        None,
        [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]],
    ),
    "minimum gives ties to lhs": (
        lambda x, y, F: F.broadcast_minimum(x, y),
        ([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]),
        None,
        [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    ),
    "maximum with a number": (lambda x, F: F.maximum(x, 1.0), ([0.0, 1.0, 2.0],), None, [[0.0, 1.0, 1.0]]),
    "minimum with a number": (lambda x, F: F.minimum(x, 1.0), ([0.0, 1.0, 2.0],), None, [[1.0, 1.0, 0.0]]),
    "remainder": (
        lambda x, y, F: F.broadcast_mod(x, y),
        ([5.0, -5.0, 3.0], [3.0, 3.0, -2.0]),
        None,
        [[1.0, 1.0, 1.0], [-1.0, 2.0, 2.0]],
    ),
    "sqrt at 0": (lambda x, F: F.sqrt(x), ([0.0, 4.0],), None, [[np.inf, 0.25]]),
    "cbrt at 0": (lambda x, F: F.cbrt(x), ([0.0, 8.0],), None, [[np.inf, 1 / 12]]),
    "norm at a zero vector": (
        lambda x, F: F.norm(x, axis=1),
        ([[0.0, 0.0], [3.0, 4.0]],),
        None,
        [[[0.0, 0.0], [0.6, 0.8]]],
    ),
    "smooth_l1": (lambda x, F: F.smooth_l1(x, scalar=1.0), ([-2.0, -1.0, 0.5, 1.0],), None, [[-1.0, -1.0, 0.5, 1.0]]),
    "stop_gradient": (lambda x, F: F.stop_gradient(x) * x, ([2.0, 3.0],), None, [[2.0, 3.0]]),
    "make_loss ignores the head": (lambda x, F: F.make_loss(x * 2), ([1.0, 2.0],), [5.0, 5.0], [[2.0, 2.0]]),
    "MakeLoss grad_scale": (lambda x, F: F.MakeLoss(x * 2, grad_scale=3.0), ([1.0, 2.0],), [5.0, 5.0], [[6.0, 6.0]]),
    "MakeLoss batch": (
        lambda x, F: F.MakeLoss(x, grad_scale=3.0, normalization="batch"),
        ([[1.0, 2.0], [3.0, 4.0]],),
        None,
        [[[1.5, 1.5], [1.5, 1.5]]],
    ),
    "MakeLoss valid": (
        lambda x, F: F.MakeLoss(x, grad_scale=3.0, normalization="valid", valid_thresh=2.5),
        ([1.0, 3.0, 4.0],),
        None,
        [[1.5, 1.5, 1.5]],
    ),
    "gradientmultiplier": (
        lambda x, F: F.contrib.gradientmultiplier(x, scalar=-0.5),
        ([1.0, 2.0],),
        None,
        [[-0.5, -0.5]],
    ),
    "round_ste": (lambda x, F: F.contrib.round_ste(x), ([0.3, 1.7],), [2.0, 3.0], [[2.0, 3.0]]),
    "sign_ste": (lambda x, F: F.contrib.sign_ste(x), ([0.3, -1.7],), [2.0, 3.0], [[2.0, 3.0]]),
    "indices take no gradient": (
        lambda x, i, F: F.take(x, i),
        ([1.0, 2.0, 3.0], [0.0, 0.0, 9.0]),
        None,
        [[2.0, 0.0, 1.0], [0.0, 0.0, 0.0]],
    ),
    "power at 0": (lambda x, F: x**2, ([0.0, 3.0],), None, [[0.0, 6.0]]),
    "shapes of others take no gradient": (
        lambda x, y, F: F.broadcast_like(x, y),
        ([[1.0]], [[1.0, 2.0]]),
        None,
        [[[2.0]], [[0.0, 0.0]]],
    ),
}


@pytest.mark.parametrize("hybrid", [False, True], ids=["eager", "hybridized"])
@pytest.mark.parametrize("name", CASES)
def test_gradient(name: str, hybrid: bool) -> None:
    function, inputs, head, expected = CASES[name]
    for found, wanted in zip(gradients(function, *inputs, head=head, hybrid=hybrid), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_penalty_of_sparseness() -> None:
    x = nd.array([[0.2, 0.5], [0.4, 0.5]])
    x.attach_grad()
    with autograd.record():
        y = nd.IdentityAttachKLSparseReg(x, sparseness_target=0.1, penalty=0.01)
    y.backward()
    mean = np.array([0.3, 0.5])
    np.testing.assert_allclose(
        x.grad.asnumpy(), np.tile(1 + 0.01 * (-0.1 / mean + 0.9 / (1 - mean)), (2, 1)), rtol=1e-5
    )


def test_values_at_edges() -> None:
    """Integers are computed and truncated; what has no sign, no fraction or no divisor."""
    whole = nd.array([-2, -1, 0, 1, 2, 3], dtype="int32")
    assert nd.exp(whole).asnumpy().tolist() == [0, 0, 1, 2, 7, 20]
    assert (whole / 2).asnumpy().tolist() == [-1, 0, 0, 0, 1, 1]
    assert (whole * 1.7).asnumpy().tolist() == [-2, -1, 0, 1, 2, 3]
    assert (1.5 - whole).asnumpy().tolist() == [3, 2, 1, 0, -1, -2]
    assert (nd.array([1, 2], dtype="uint8") * 300).asnumpy().tolist() == [44, 88]
    assert nd.broadcast_mod(nd.array([5.0, 1.0]), nd.array([0.0, 0.0])).asnumpy().tolist() == [0.0, 0.0]
    assert nd.mean(whole).asnumpy().tolist() == [0]
    assert nd.argmax(whole).dtype == np.int32
    assert nd.gamma(nd.array([0.5, -0.5, 5.0])).asnumpy() == pytest.approx([1.7724539, -3.5449077, 24.0], rel=1e-5)
    assert nd.Cast(nd.array([1.7, -1.7, 300.0]), dtype="uint8").asnumpy().tolist() == [1, 255, 44]


@pytest.mark.parametrize("hybrid", [False, True])
def test_regions_take_no_gradient(hybrid: bool) -> None:
    """ROIAlign interpolates at coordinates, yet trains the features alone, imperatively as compiled."""

    class Align(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, data: Any, rois: Any) -> Any:
            return F.contrib.ROIAlign(data, rois, pooled_size=(2, 2), spatial_scale=0.7)

    net = Align()
    if hybrid:
        net.hybridize()
    data = nd.array(np.random.default_rng(0).normal(size=(1, 2, 6, 6)))
    rois = nd.array([[0, 0.5, 0.5, 4, 4]])
    data.attach_grad()
    rois.attach_grad()
    with autograd.record():
        pooled = net(data, rois)
    pooled.backward()
    assert np.abs(data.grad.asnumpy()).max() > 0
    assert not rois.grad.asnumpy().any()
