"""Vectors whose length differs from sample to sample: what reduces one to a number is one group for all lengths.

The one idea: such a vector lies element by element in the arenas, so its sum is that of any number of children. Every
test computes the same sample by sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from glueball import autograd, fold, gluon, nd

LENGTHS = (3, 7, 7, 2, 5)


def vectors() -> list[Any]:
    """Matrices of different heights, from which a layer makes one number per row."""
    random = np.random.RandomState(0)
    return [nd.array(random.randn(length, 4)) for length in LENGTHS]


class PerRow(gluon.HybridBlock):
    """One number for each row: a vector as long as the matrix is high."""

    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.weights = self.params.get("weights", shape=(1, 4), init="normal")

    def hybrid_forward(self, F: Any, x: Any, weights: Any) -> Any:
        return F.tanh(F.broadcast_mul(x, weights)).mean(axis=1)


def reduced(how: str, **attrs: Any) -> Any:
    def program(net: Any, x: Any) -> Any:
        y = net(x)
        return getattr(y, how)(**attrs) * 2.0 + 1.0
    return program


def run(program: Any, folded: bool, mode: str = "on") -> tuple[list[np.ndarray], np.ndarray, str]:
    """Return the values, the gradient of the weights, and what the scope did."""
    net, text = PerRow(), ""
    net.initialize()
    net.weights.set_data(nd.array([[1.0, -2.0, 0.5, 3.0]]))
    net.hybridize()
    with autograd.record():
        if folded:
            with fold.batching(mode) as scope:
                outs = [program(net, x) for x in vectors()]
                total = nd.add_n(*[out * (i + 1.0) for i, out in enumerate(outs)])
            text = scope.explain()
        else:
            outs = [program(net, x) for x in vectors()]
            total = nd.add_n(*[out * (i + 1.0) for i, out in enumerate(outs)])
    total.backward()
    return [out.asnumpy() for out in outs], net.weights.grad().asnumpy(), text


@pytest.mark.parametrize("mode", ["on", "check"])
@pytest.mark.parametrize("attrs", [{}, {"axis": 0}, {"axis": -1}, {"axis": (0,)}, {"keepdims": True}], ids=str)
@pytest.mark.parametrize("how", ["sum", "mean", "max"])
def test_one_group_for_all_lengths(how: str, attrs: dict[str, Any], mode: str) -> None:
    program = reduced(how, **attrs)
    values, gradient, text = run(program, folded=True, mode=mode)
    expected, expected_gradient, _ = run(program, folded=False)
    for found, right in zip(values, expected):
        assert found.shape == right.shape
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-6)
    kinds = [line for line in text.splitlines() if line.strip().startswith(f"{how} ")]
    assert len(kinds) == 1, text
    assert "R2: different shapes" not in text


def test_elements_of_the_vector_may_be_read_as_well() -> None:
    """The sum and the vector itself: both see the same rows, and gradients of both arrive."""
    def program(net: Any, x: Any) -> Any:
        y = net(x)
        return y.sum() + (y * y).sum() * 0.5 + y.max()

    values, gradient, _ = run(program, folded=True)
    expected, expected_gradient, _ = run(program, folded=False)
    np.testing.assert_allclose(np.concatenate(values), np.concatenate(expected), rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-6)


def test_the_largest_of_equal_elements_shares_its_gradient_as_without_folding() -> None:
    def program(net: Any, x: Any) -> Any:
        return net(x * 0.0).max()

    _, gradient, _ = run(program, folded=True)
    _, expected, _ = run(program, folded=False)
    np.testing.assert_allclose(gradient, expected)


def test_values_are_read_in_a_map() -> None:
    net = PerRow()
    net.initialize()
    net.hybridize()

    def program(x: Any) -> float:
        y = net(x)
        return float(y.sum()) if float(y.mean()) > 0 else float(y.max())

    np.testing.assert_allclose(fold.map(program, vectors()), [program(x) for x in vectors()], rtol=1e-5)


def test_integers_and_what_is_left_out_are_as_they_were() -> None:
    """Integers are added up as the operator does it, in their own type."""
    ids = [nd.array(np.arange(n), dtype="int32") for n in LENGTHS]
    table = nd.array(np.random.RandomState(1).randn(8, 3))
    with fold.batching():
        rows = [nd.Embedding(i, table, input_dim=8, output_dim=3) for i in ids]
        sums = [r.sum(axis=1).sum() for r in rows]
        excluded = [r.sum(axis=1).sum(axis=0, exclude=True) for r in rows]
    for n, found, same in zip(LENGTHS, sums, excluded):
        right = table.asnumpy()[np.arange(n)]
        np.testing.assert_allclose(found.asnumpy(), [right.sum()], rtol=1e-5)
        np.testing.assert_allclose(same.asnumpy(), right.sum(axis=1), rtol=1e-5)


class Bent(gluon.HybridBlock):
    """tanh of a vector, and of its children, which come before or after it."""

    def hybrid_forward(self, F: Any, *args: Any) -> Any:
        flat = [part for arg in args for part in (arg if isinstance(arg, (list, tuple)) else [arg])]
        made = F.tanh(flat[0])
        for factor, part in enumerate(flat[1:]):
            made = made + F.tanh(part) * (factor + 2.0)  # by position: no list of any length
        return made


def two_vectors(i: int) -> tuple[Any, Any]:
    """Return a vector from outside, and one that is computed in the scope."""
    numbers = np.random.RandomState(i).randn(1 + i % 3)
    return nd.array(numbers), nd.array(numbers) + 1


@pytest.mark.parametrize("swapped", [False, True])
def test_vectors_from_outside_and_of_the_scope_are_calls_of_different_forms(swapped: bool) -> None:
    net = Bent()
    net.hybridize()

    def program() -> list[Any]:
        return [net(two_vectors(i)[how]) for how in ((1, 0) if swapped else (0, 1)) for i in range(6)]

    for _ in range(2):  # new forms, and forms that have been seen
        with fold.batching():
            folded = program()
        for found, expected in zip(folded, program()):
            np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), rtol=1e-5)


@pytest.mark.parametrize("late", [False, True])
def test_vectors_beside_children_that_count_by_position(late: bool) -> None:
    net = Bent()
    net.hybridize()

    def program() -> list[Any]:
        found = []
        for i in range(6):
            x, y = two_vectors(i)
            below = [net(x), net(nd.array(x.asnumpy() * 0.5))]  # these lie element by element
            found += [net(below, y) if late else net(y, below), net(below, x) if late else net(x, below)]
        return found

    for _ in range(2):
        with fold.batching():
            folded = program()
        for found, expected in zip(folded, program()):
            np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), rtol=1e-5)


def test_vectors_that_lie_element_by_element_and_as_rows_meet() -> None:
    net = Bent()
    net.hybridize()

    def program() -> list[Any]:
        apart = [net(two_vectors(i)[0]) for i in range(6)]  # element by element
        rows = [net(two_vectors(i)[1]) for i in range(6)]
        return [made for x, y in zip(apart, rows) for made in (net(x), net(net(x)), net(x, y), net(y, x), x + y)]

    for _ in range(2):
        with fold.batching():
            folded = program()
        for found, expected in zip(folded, program()):
            np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), rtol=1e-5)
