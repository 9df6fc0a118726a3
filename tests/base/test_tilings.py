"""Tilings: the matrices compute the sum, weights come back, and pairs of points have the rows that code relies on."""

from __future__ import annotations

import numpy as np
import pytest

from glueball.base.tilings import TILINGS


@pytest.mark.parametrize("tiling", TILINGS.values(), ids=TILINGS.keys())
def test_products_at_the_points_are_the_sum(tiling):
    rng = np.random.default_rng(0)
    data, weight = rng.normal(size=tiling.points), rng.normal(size=3)
    at_points = (np.array(tiling.data) @ data) * (np.array(tiling.weights) @ weight)
    np.testing.assert_allclose(np.array(tiling.results).T @ at_points, np.correlate(data, weight), rtol=1e-9)
    grad = rng.normal(size=tiling.tile)
    at_points = (np.array(tiling.data) @ data) * (np.array(tiling.results) @ grad)
    np.testing.assert_allclose(np.array(tiling.weights).T @ at_points, np.correlate(data, grad), rtol=1e-9)
    np.testing.assert_allclose(np.array(tiling.unweights) @ (np.array(tiling.weights) @ weight), weight, rtol=1e-9)


@pytest.mark.parametrize("tiling", TILINGS.values(), ids=TILINGS.keys())
def test_rows_of_a_pair_differ_in_the_sign_of_odd_columns(tiling):
    for rows in (tiling.weights, tiling.data, tiling.results):
        pairs = np.array(rows[tiling.zero : -1])
        np.testing.assert_array_equal(pairs[::2, ::2], pairs[1::2, ::2])
        np.testing.assert_array_equal(pairs[::2, 1::2], -pairs[1::2, 1::2])
