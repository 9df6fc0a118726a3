"""Law: products of many matrices, whose axes lie in any order, are what ATen computes, forward and backward, and one
unit of a region, however many matrices there are.
"""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball import autograd, gluon, nd
from glueball.base import config
from glueball.executor.jit.partition import usable
from glueball.executor.jit.units import Copy, Product

pytestmark = pytest.mark.skipif(not usable() or not config.get("GLUEBALL_JIT"), reason="no regions here")

OUTER = st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=3)


class Attended(gluon.HybridBlock):
    """Rows in an order of axes, times columns in another one."""

    def __init__(self, left, right, turned):
        super().__init__()
        self.left, self.right, self.turned = left, right, turned

    def hybrid_forward(self, F, x, y):
        factors = []
        for value, (shape, axes, matrices) in ((F.tanh(x), self.left), (y * 2, self.right)):
            value = F.transpose(F.reshape(value, shape), axes)
            factors.append(F.reshape(value, matrices))
        a, b = self.turned
        return F.batch_dot(*factors, transpose_a=a, transpose_b=b) * 0.5


def ordered(draw, sizes, rows):
    """Return a shape, the axes that bring it into the order of `sizes`, and matrices of so many rows."""
    order = draw(st.permutations(range(len(sizes))))
    shape = tuple(sizes[axis] for axis in order)
    axes = tuple(order.index(axis) for axis in range(len(sizes)))
    return (*shape, 3), (*axes, len(sizes)), (prod(sizes) // rows, rows, 3)


@given(st.data(), OUTER, st.sampled_from([1, 2, 5]), st.sampled_from([(False, True), (True, False)]))
@settings(max_examples=80, deadline=None)
def test_products_of_matrices_in_any_order_equal_aten(data, outer, rows, turned):
    rows = 3 if turned == (True, False) and not data.draw(st.booleans()) else rows
    left, right = (ordered(data.draw, [*outer, rows], rows) for _ in range(2))
    size = prod(outer) * rows * 3
    results = []
    for jit in ("0", "1"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GLUEBALL_JIT", jit)
            net = Attended(left, right, turned)
            net.hybridize()
            rng = np.random.default_rng(size)
            x, y = (nd.array(rng.normal(size=(size,)), dtype="float64") for _ in range(2))
            x.attach_grad()
            y.attach_grad()
            with autograd.record():
                out = net(x, y)
                total = (out * out).sum()
            total.backward()
            results.append([out.asnumpy(), x.grad.asnumpy(), y.grad.asnumpy()])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    (entry,) = net._cached.entries.values()
    (plan,) = entry.plans.values()
    regions = plan.sources["forward"].regions if "forward" in plan.sources else ()
    units = [unit for region in regions for unit in region.units]
    assert sum(isinstance(unit, Product) for unit in units) <= 1
    assert sum(isinstance(unit, Copy) for unit in units) <= 4
