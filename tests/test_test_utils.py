"""The helpers for tests, tested: they accept what is right and, above all, refuse what is wrong."""

from __future__ import annotations

import os

import numpy as np
import pytest

import glueball as mx
from glueball import nd
from glueball import test_utils as tu


def test_tolerances_are_those_of_1_9_1() -> None:
    """Observed on MXNet 1.9.1."""
    assert tu.default_rtols()[np.dtype("float16")] == 1e-2
    assert tu.default_atols()[np.dtype("float32")] == 1e-3
    assert tu.get_tols(np.zeros(2, "float16"), np.zeros(2, "float32"), None, None) == (1e-2, 1e-1)
    assert tu.get_tols(nd.zeros(2), np.zeros(2), 1e-2, None) == (1e-2, 1e-3)
    assert (tu.get_atol(), tu.get_rtol(), tu.get_etol()) == (1e-20, 1e-5, 0)


def test_assert_almost_equal() -> None:
    """Equal passes, unequal names the place."""
    tu.assert_almost_equal(nd.ones(3), np.ones(3))
    tu.assert_almost_equal(np.ones(3), np.ones((2, 3)))
    with pytest.raises(AssertionError, match=r"\(2,\), left=3\.0000.*right=3\.1"):
        tu.assert_almost_equal(np.array([1.0, 2, 3]), np.array([1, 2, 3.1]), names=("left", "right"))
    with pytest.raises(AssertionError, match="shape"):
        tu.assert_almost_equal(np.ones(3), np.ones((2, 3)), use_broadcast=False)
    with pytest.raises(AssertionError):
        tu.assert_almost_equal(np.array([np.nan]), np.array([np.nan]))
    tu.assert_almost_equal(np.array([np.nan]), np.array([np.nan]), equal_nan=True)
    tu.assert_almost_equal_ignore_nan(np.array([np.nan, 1]), np.array([2.0, 1]))
    tu.assert_almost_equal_with_err(np.array([1.0, 2, 3]), np.array([1, 2, 3.1]), etol=0.5)
    with pytest.raises(AssertionError):
        tu.assert_almost_equal_with_err(np.array([1.0, 2, 3]), np.array([1, 2, 3.1]), etol=0.1)


def test_same_array_looks_at_memory() -> None:
    """Equal values are not enough, and nothing is left changed."""
    x = nd.ones(3)
    assert tu.same_array(x, x[:])
    assert not tu.same_array(x, x.copy())
    assert tu.same(x, np.ones(3))


def test_random_shapes_and_arrays() -> None:
    """Shapes stay within bounds; one array comes unwrapped."""
    assert all(1 <= size <= 4 for _ in range(20) for size in tu.rand_shape_nd(3, 4))
    assert len(tu.rand_shape_2d()) == 2
    assert tu.rand_ndarray((2, 3), dtype="float64").dtype == np.float64
    assert tu.random_arrays((2,)).shape == (2,)
    assert [each.shape for each in tu.random_arrays((2,), (1, 2))] == [(2,), (1, 2)]
    assert all(tu.random_uniform_arrays((50,), low=1, high=2)[0] >= 1)
    basis = tu.new_orthonormal_matrix_2d(4)
    tu.assert_almost_equal(basis @ basis.T, np.eye(4), atol=1e-10)
    assert np.isreal(np.linalg.eigvals(tu.new_matrix_with_real_eigvals_nd((2, 3, 3)))).all()


def test_symbolic_checks_accept_and_refuse() -> None:
    """A right expectation passes, a wrong one does not."""
    a, b = mx.sym.Variable("a"), mx.sym.Variable("b")
    product, ones = a * b, np.ones(2)
    tu.check_symbolic_forward(product, [ones, ones * 3], [ones * 3])
    tu.check_symbolic_backward(product, {"a": ones, "b": ones * 3}, [ones], {"a": ones * 3, "b": ones})
    tu.check_symbolic_backward(product, [ones, ones * 3], [ones], [ones * 3, ones], grad_req="add")
    with pytest.raises(AssertionError, match="FORWARD"):
        tu.check_symbolic_forward(product, [ones, ones], [ones * 2])
    with pytest.raises(AssertionError, match="BACKWARD_a"):
        tu.check_symbolic_backward(product, [ones, ones], [ones], {"a": ones * 2})
    with pytest.raises(ValueError, match="Names"):
        tu.check_symbolic_forward(product, {"a": ones}, [ones])
    assert tu.simple_forward(product, a=ones, b=ones * 2).tolist() == [2, 2]


def test_numeric_gradient_accepts_and_refuses() -> None:
    """A right gradient passes; a blocked one is found out."""
    a, b = mx.sym.Variable("a"), mx.sym.Variable("b")
    location = [np.random.rand(2, 3) + 0.5, np.random.rand(2, 3) + 0.5]
    tu.check_numeric_gradient(mx.sym.tanh(a) * b, location)
    with pytest.raises(AssertionError, match="NUMERICAL_a"):
        tu.check_numeric_gradient(mx.sym.BlockGrad(a) * b, location)


def test_consistency_between_devices_and_dtypes() -> None:
    """The same symbol on two devices and in two dtypes."""
    net = mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=4, name="fc")
    tu.check_consistency(net, [{"ctx": mx.cpu(0), "data": (2, 3)}, {"ctx": mx.cpu(1), "data": (2, 3)},
                               {"ctx": mx.cpu(0), "data": (2, 3), "type_dict": {"data": "float64"}}])


def test_gluon_hybridize_consistency() -> None:
    """The harness for blocks."""
    tu.check_gluon_hybridize_consistency(
        lambda prefix: mx.gluon.nn.Dense(3, prefix=prefix), [nd.random.normal(shape=(2, 4))]
    )


def test_compare_optimizer_accepts_and_refuses() -> None:
    """Equal optimisers pass, different ones do not."""
    tu.compare_optimizer(mx.optimizer.SGD(learning_rate=0.1), mx.optimizer.SGD(learning_rate=0.1), (3, 4), "float32")
    with pytest.raises(AssertionError):
        tu.compare_optimizer(
            mx.optimizer.SGD(learning_rate=0.1), mx.optimizer.SGD(learning_rate=0.9), (3, 4), "float32"
        )


def test_symbol_structure() -> None:
    """Names do not matter, operators do."""
    a, b = mx.sym.Variable("a"), mx.sym.Variable("b")
    assert tu.same_symbol_structure(a + b, b + a)
    assert not tu.same_symbol_structure(a + b, a * b)


def test_environment_is_restored() -> None:
    """Also after an error."""
    with pytest.raises(ZeroDivisionError), tu.environment({"GLUEBALL_TEST_A": "1", "GLUEBALL_TEST_B": None}):
        assert os.environ["GLUEBALL_TEST_A"] == "1"
        raise ZeroDivisionError
    assert "GLUEBALL_TEST_A" not in os.environ
    with tu.EnvManager("GLUEBALL_TEST_A", "2"):
        assert os.environ["GLUEBALL_TEST_A"] == "2"


def test_default_context_can_be_set() -> None:
    """And set back."""
    tu.set_default_context(mx.cpu(1))
    try:
        assert nd.ones(1).context == mx.cpu(1)
        assert tu.default_context() == mx.cpu(1)
    finally:
        tu.set_default_context(mx.cpu(0))


def test_generators_are_judged() -> None:
    """A fair generator passes, a biased one does not."""
    buckets, shares = tu.gen_buckets_probs_with_ppf(lambda p: p, 5)
    tu.verify_generator(lambda n: np.random.rand(n), buckets, shares, nsamples=5000, nrepeat=3)
    with pytest.raises(AssertionError, match="runs passed"):
        tu.verify_generator(lambda n: np.random.rand(n) ** 2, buckets, shares, nsamples=5000, nrepeat=3)
    assert tu.mean_check(lambda n: np.random.normal(0, 1, n), 0, 1, 5000)
    assert not tu.mean_check(lambda n: np.random.normal(0.5, 1, n), 0, 1, 5000)
    assert not tu.var_check(lambda n: np.random.normal(0, 2, n), 1, 5000)


def test_retry_repeats_and_gives_up() -> None:
    """As often as it was told to."""
    calls = []

    @tu.retry(3)
    def flaky() -> None:
        calls.append(1)
        assert len(calls) == 3

    flaky()
    assert len(calls) == 3
    with pytest.raises(AssertionError):
        flaky()
    assert len(calls) == 6


def test_assert_exception() -> None:
    """Accepts the right error, refuses silence."""
    tu.assert_exception(lambda: 1 / 0, ZeroDivisionError)
    with pytest.raises(AssertionError, match="ValueError"):
        tu.assert_exception(lambda: None, ValueError)
