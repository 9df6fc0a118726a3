"""Random numbers: seeds, shapes, devices, `out=`, what flows back through draws, and that a program draws the same
numbers eagerly, traced and compiled. Means and spreads of every distribution are laws of the operator matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import autograd, gluon, nd, sym
from glueball.base.errors import ArgumentError
from glueball.ndarray import random as functions

NUMBERS = {
    "uniform": {"low": -1, "high": 2},
    "normal": {"loc": 1, "scale": 2},
    "exponential": {"scale": 2},
    "gamma": {"alpha": 2, "beta": 3},
    "poisson": {"lam": 4},
    "negative_binomial": {"k": 3, "p": 0.4},
    "generalized_negative_binomial": {"mu": 3, "alpha": 0.5},
}


@settings(max_examples=20)
@given(
    name=st.sampled_from(sorted(NUMBERS)),
    shape=st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 2**31),
)
def test_the_same_seed_gives_the_same_numbers(name: str, shape: tuple[int, ...], seed: int) -> None:
    draw = getattr(nd.random, name)
    mx.random.seed(seed)
    first, second = draw(shape=shape, **NUMBERS[name]), draw(shape=shape, **NUMBERS[name])
    mx.random.seed(seed)
    again = draw(shape=shape, **NUMBERS[name])
    assert first.shape == shape and first.dtype == np.float32
    assert np.array_equal(first.asnumpy(), again.asnumpy())
    if name == "uniform" and first.size > 3:
        assert not np.array_equal(first.asnumpy(), second.asnumpy())


@pytest.mark.parametrize("name", NUMBERS)
def test_arrays_as_parameters(name: str) -> None:
    parameters = {key: nd.full((2, 3), value) for key, value in NUMBERS[name].items()}
    draw = getattr(nd.random, name)
    assert draw(**parameters).shape == (2, 3)
    assert draw(**parameters, shape=4).shape == (2, 3, 4)
    assert draw(**parameters, shape=(4, 5), dtype="float64").dtype == np.float64


def test_the_mean_of_exponential_is_its_scale() -> None:
    assert nd.random.exponential(10.0, shape=(4000,)).mean().asscalar() == pytest.approx(10, rel=0.1)
    assert nd.random.exponential(nd.array([10.0]), shape=(4000,)).mean().asscalar() == pytest.approx(10, rel=0.1)


def test_shapes_and_defaults() -> None:
    assert nd.random.uniform().shape == (1,)
    assert nd.random.uniform(shape=3).shape == (3,)
    assert nd.random.randn(2, 3, loc=5, scale=0.1).mean().asscalar() == pytest.approx(5, abs=0.5)
    assert nd.random.randint(0, 5, shape=(2,)).dtype == np.int32
    assert nd.random.randint(2**40, 2**40 + 1, dtype="int64").asscalar() == 2**40
    assert nd.random_normal(shape=(2, 2)).shape == nd.normal(shape=(2, 2)).shape == (2, 2)


@pytest.mark.parametrize("name", NUMBERS)
def test_like(name: str) -> None:
    data = nd.ones((3, 2), dtype="float64")
    assert getattr(nd.random, f"{name}_like")(data).dtype == np.float64
    assert getattr(nd.random, f"{name}_like")(data).shape == (3, 2)


def test_out_says_shape_dtype_and_device() -> None:
    target = nd.zeros((2, 5), dtype="float64", ctx=mx.cpu(1))
    result = nd.random.uniform(3, 4, out=target)
    assert result is target and target.context == mx.cpu(1) and target.dtype == np.float64
    assert target.asnumpy().min() >= 3 and target.asnumpy().max() < 4


def test_devices() -> None:
    assert nd.random.normal(shape=(2,), ctx=mx.cpu(1)).context == mx.cpu(1)
    with mx.cpu(2):
        assert nd.random.normal(shape=(2,)).context == mx.cpu(2)
    assert nd.random.normal(nd.zeros((2,), ctx=mx.cpu(1)), nd.ones((2,), ctx=mx.cpu(1))).context == mx.cpu(1)


def test_seed_of_one_device() -> None:
    mx.random.seed(3, ctx=mx.cpu())
    first = mx.random.uniform(shape=3).asnumpy()
    mx.random.seed(3)
    assert np.array_equal(mx.random.uniform(shape=3).asnumpy(), first)


@pytest.mark.parametrize("wrong", ["1", 1.5, None, True])
def test_a_seed_is_an_integer(wrong: object) -> None:
    with pytest.raises(ArgumentError, match="The seed must be an integer"):
        mx.random.seed(wrong)


def test_numbers_and_arrays_do_not_mix() -> None:
    with pytest.raises(ArgumentError, match=r"(?s)Arrays and numbers are mixed.*loc: NDArray, scale: int"):
        nd.random.normal(nd.array([1.0]), 1)


class Noisy(gluon.HybridBlock):
    """Draws in several ways, in an order that must stay."""

    def hybrid_forward(self, F: object, x: nd.NDArray) -> object:
        noise = F.random.normal(0, 1, shape=(2, 3)) * F.random.uniform(1, 2, shape=(2, 3))
        noise = noise + F.random.gamma(2, 1, shape=(2, 3)) + F.random.normal_like(x) + F.random.poisson(x)
        chosen = F.random.multinomial(F.softmax(x), shape=4)
        return F.shuffle(x + noise), F.Dropout(x), chosen, F.random.uniform(x, x + 1)


@pytest.mark.parametrize("training", [False, True])
def test_eager_traced_and_compiled_draw_alike(training: bool) -> None:
    net, x = Noisy(), nd.array([[1, 2, 3], [4, 5, 6]])
    runs = []
    for active in (False, True, True):  # the second compiled run is a pure plan
        if active and len(runs) == 1:
            net.hybridize()
        mx.random.seed(11)
        with autograd.record(train_mode=training):
            runs.append([y.asnumpy() for y in net(x)])
    for other in runs[1:]:
        for a, b in zip(runs[0], other):
            assert np.array_equal(a, b)


def test_compiled_runs_draw_anew() -> None:
    net, x = Noisy(), nd.ones((2, 3))
    net.hybridize()
    assert not np.array_equal(net(x)[3].asnumpy(), net(x)[3].asnumpy())


@pytest.mark.parametrize("active", [False, True])
def test_gradients_through_draws(active: bool) -> None:
    class Net(gluon.HybridBlock):
        def hybrid_forward(self, F: object, x: nd.NDArray) -> object:
            return F.random.multinomial(x, shape=6, get_prob=True)

    net, x = Net(), nd.array([[0.1, 0.9], [0.5, 0.5]])
    net.hybridize(active)
    x.attach_grad()
    with autograd.record():
        drawn, logarithms = net(x)
    logarithms.backward()
    counts = np.stack([np.bincount(row, minlength=2) for row in drawn.asnumpy()])
    assert np.allclose(x.grad.asnumpy(), counts / x.asnumpy(), rtol=1e-5)
    assert np.allclose(logarithms.asnumpy(), np.log(np.take_along_axis(x.asnumpy(), drawn.asnumpy(), 1)), rtol=1e-5)


@pytest.mark.parametrize("active", [False, True])
def test_gradients_through_shuffling(active: bool) -> None:
    class Net(gluon.HybridBlock):
        def hybrid_forward(self, F: object, x: nd.NDArray) -> object:
            return F.shuffle(x)

    net, x = Net(), nd.arange(8).reshape((4, 2))
    net.hybridize(active)
    x.attach_grad()
    with autograd.record():
        y = net(x)
    y.backward(y * 10)
    assert np.array_equal(x.grad.asnumpy(), x.asnumpy() * 10)


def test_nothing_flows_to_parameters_of_draws() -> None:
    mean, spread = nd.ones((3,)), nd.ones((3,))
    for array in (mean, spread):
        array.attach_grad()
    with autograd.record():
        y = nd.random.normal(mean, spread) + mean * 2
    y.backward()
    assert mean.grad.asnumpy().tolist() == [2, 2, 2] and not spread.grad.asnumpy().any()


@pytest.mark.parametrize("name", functions.__all__)
def test_the_same_names_for_arrays_and_symbols(name: str) -> None:
    assert callable(getattr(nd.random, name)) and callable(getattr(sym.random, name))
    assert getattr(nd.random, name).__doc__ == getattr(sym.random, name).__doc__


def test_symbols() -> None:
    noise = sym.random.normal(0, 1, shape=(2, 3), name="noise")
    assert noise.list_outputs() == ["noise_output"] and noise.infer_shape()[1] == [(2, 3)]
    drawn = sym.random.uniform(sym.Variable("a"), sym.Variable("b"), shape=4)
    assert drawn.infer_shape(a=(2,), b=(2,))[1] == [(2, 4)]
    assert noise.eval(ctx=mx.cpu())[0].shape == (2, 3)


def test_zero_probability_is_never_drawn() -> None:
    drawn = nd.random.multinomial(nd.array([0.0, 0.3, 0.0, 0.7]), shape=500).asnumpy()
    assert set(drawn.tolist()) == {1, 3}
