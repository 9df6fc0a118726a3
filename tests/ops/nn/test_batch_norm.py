"""BatchNorm: what it does in train mode, where the matrix of operators does not look because it changes its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import glueball as mx
from glueball import autograd, nd
from glueball.base.errors import ShapeError


def arrays(*shape: int, channels: int, seed: int = 0) -> list[Any]:
    """Data, gamma, beta, moving mean and variance in float64."""
    rng = np.random.default_rng(seed)
    values = [
        rng.normal(size=shape),
        rng.uniform(0.5, 1.5, channels),
        rng.normal(size=channels),
        rng.normal(size=channels),
        rng.uniform(0.5, 2, channels),
    ]
    return [nd.array(v, dtype="float64") for v in values]


def along(v: np.ndarray, rank: int, axis: int) -> np.ndarray:
    return v.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


@pytest.mark.parametrize(
    ("shape", "axis"), [((4, 3), 1), ((2, 3, 5), 1), ((2, 3, 2, 2), 1), ((2, 2, 4, 3), 3), ((2, 2, 3), -1), ((3, 4), 0)]
)
@pytest.mark.parametrize("fix_gamma", [True, False])
def test_train_mode_normalises_by_the_batch_and_moves_the_statistics(
    shape: tuple[int, ...], axis: int, fix_gamma: bool
) -> None:
    x, gamma, beta, mean, var = arrays(*shape, channels=shape[axis])
    others = tuple(i for i in range(len(shape)) if i != axis % len(shape))
    data, old_mean, old_var = x.asnumpy(), mean.asnumpy(), var.asnumpy()
    with autograd.train_mode():
        y = nd.BatchNorm(x, gamma, beta, mean, var, eps=1e-3, momentum=0.8, fix_gamma=fix_gamma, axis=axis)
    batch_mean, batch_var = data.mean(others), data.var(others)
    scale = np.ones_like(batch_mean) if fix_gamma else gamma.asnumpy()
    wanted = (data - along(batch_mean, len(shape), axis)) / np.sqrt(along(batch_var, len(shape), axis) + 1e-3)
    wanted = wanted * along(scale, len(shape), axis) + along(beta.asnumpy(), len(shape), axis)
    np.testing.assert_allclose(y.asnumpy(), wanted, rtol=1e-9)
    np.testing.assert_allclose(mean.asnumpy(), 0.8 * old_mean + 0.2 * batch_mean, rtol=1e-9)
    np.testing.assert_allclose(var.asnumpy(), 0.8 * old_var + 0.2 * batch_var, rtol=1e-9)  # the biased variance


def test_a_batch_of_one_moves_towards_variance_zero_and_an_empty_one_moves_nothing() -> None:
    x, gamma, beta, mean, var = arrays(1, 3, channels=3)
    old_mean, old_var = mean.asnumpy(), var.asnumpy()
    with autograd.train_mode():
        nd.BatchNorm(x, gamma, beta, mean, var, momentum=0.9)
    np.testing.assert_allclose(mean.asnumpy(), 0.9 * old_mean + 0.1 * x.asnumpy()[0], rtol=1e-12)
    np.testing.assert_allclose(var.asnumpy(), 0.9 * old_var, rtol=1e-12)
    before = mean.asnumpy(), var.asnumpy()
    with autograd.train_mode():
        y = nd.BatchNorm(nd.zeros((0, 3), dtype="float64"), gamma, beta, mean, var)
    assert y.shape == (0, 3)
    np.testing.assert_array_equal(mean.asnumpy(), before[0])
    np.testing.assert_array_equal(var.asnumpy(), before[1])


@pytest.mark.parametrize("attrs", [{}, {"use_global_stats": True}])
def test_outside_training_the_statistics_are_used_and_kept(attrs: dict[str, Any]) -> None:
    x, gamma, beta, mean, var = arrays(4, 3, channels=3)
    before = mean.asnumpy(), var.asnumpy()
    with autograd.record(train_mode=bool(attrs)):
        y = nd.BatchNorm(x, gamma, beta, mean, var, eps=1e-3, fix_gamma=False, **attrs)
    wanted = (x.asnumpy() - before[0]) / np.sqrt(before[1] + 1e-3) * gamma.asnumpy() + beta.asnumpy()
    np.testing.assert_allclose(y.asnumpy(), wanted, rtol=1e-9)
    np.testing.assert_array_equal(mean.asnumpy(), before[0])
    np.testing.assert_array_equal(var.asnumpy(), before[1])


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(
    "attrs",
    [
        {"fix_gamma": False},
        {"fix_gamma": True},
        {"fix_gamma": False, "use_global_stats": True},
        {"fix_gamma": False, "axis": 2},
    ],
)
def test_the_gradient_is_the_slope(train: bool, attrs: dict[str, Any]) -> None:
    values = arrays(3, 2, 2, channels=2)
    heads = nd.array(np.random.default_rng(1).normal(size=(3, 2, 2)), dtype="float64")

    def number(arrays_: list[Any]) -> Any:
        copies = [*arrays_[:3], arrays_[3].copy(), arrays_[4].copy()]
        return (nd.BatchNorm(*copies, **attrs) * heads).sum()

    for v in values[:3]:
        v.attach_grad()
    with autograd.record(train_mode=train):
        loss = number(values)
    loss.backward()
    if attrs["fix_gamma"]:
        assert not values[1].grad.asnumpy().any()
    rng, step = np.random.default_rng(2), 1e-6
    for position in (0, 1, 2):
        direction = nd.array(rng.normal(size=values[position].shape), dtype="float64")
        moved = [
            [v.copy() + sign * step * direction if i == position else v.copy() for i, v in enumerate(values)]
            for sign in (1, -1)
        ]
        with autograd.train_mode() if train else autograd.predict_mode():
            slope = (number(moved[0]).asscalar() - number(moved[1]).asscalar()) / (2 * step)
        assert (values[position].grad * direction).sum().asscalar() == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_two_forward_passes_before_one_backward() -> None:
    """The second pass moves the statistics in place, which must not disturb what the first has saved."""
    x, gamma, beta, mean, var = arrays(4, 3, channels=3)
    x.attach_grad()
    with autograd.record():
        once = nd.BatchNorm(x, gamma, beta, mean, var, fix_gamma=False)
    once.backward(x)
    alone = x.grad.asnumpy()
    with autograd.record():
        first = nd.BatchNorm(x, gamma, beta, mean, var, fix_gamma=False)
        nd.BatchNorm(x * 2, gamma, beta, mean, var, fix_gamma=False)
    first.backward(x)
    np.testing.assert_allclose(x.grad.asnumpy(), alone, rtol=1e-9)


def test_half_precision_keeps_float32_parameters() -> None:
    x = nd.array(np.random.default_rng(0).normal(size=(4, 3, 2)), dtype="float16")
    state = [nd.ones(3), nd.zeros(3), nd.zeros(3), nd.ones(3)]
    with autograd.train_mode():
        y = nd.BatchNorm(x, *state, fix_gamma=False)
    assert y.dtype == np.float16
    assert state[2].dtype == np.float32
    np.testing.assert_allclose(state[2].asnumpy(), 0.1 * x.astype("float32").asnumpy().mean((0, 2)), rtol=1e-3)


def test_synchronous_form_is_the_same_on_one_device() -> None:
    one, two = arrays(4, 3, 2, channels=3), arrays(4, 3, 2, channels=3)
    with autograd.train_mode():
        left = nd.BatchNorm(*one, fix_gamma=False)
        right = nd.contrib.SyncBatchNorm(*two, fix_gamma=False, key="bn", ndev=1)
    np.testing.assert_array_equal(left.asnumpy(), right.asnumpy())
    np.testing.assert_array_equal(one[4].asnumpy(), two[4].asnumpy())


def test_a_parameter_of_a_wrong_size_is_named() -> None:
    x, gamma, beta, mean, var = arrays(4, 3, channels=3)
    with autograd.train_mode(), pytest.raises(ShapeError, match="'gamma' does not fit axis 1"):
        nd.BatchNorm(x, nd.ones(5, dtype="float64"), beta, mean, var, fix_gamma=False)
    with pytest.raises(ShapeError, match="'moving_var' does not fit"):
        nd.BatchNorm(x, gamma, beta, mean, nd.ones(2, dtype="float64"))
    assert isinstance(mx.MXNetError, type)
