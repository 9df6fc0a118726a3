"""A plan's function that says where it is: the same results, and every step and unit in its order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glueball import autograd, nd
from glueball.base import config
from glueball.executor.jit.partition import usable
from glueball.executor.jit.region import Region
from glueball.gluon import nn

with_regions = pytest.mark.skipif(not usable() or not config.get("GLUEBALL_JIT"), reason="no regions here")


def _plan(net: nn.HybridSequential, x: nd.NDArray):
    """Return the plan of a net's training, and what it takes."""
    net.initialize()
    net.hybridize()
    with autograd.record():
        net(x)
    (entry,) = net._cached.entries.values()
    (plan,) = entry.plans.values()
    return plan, [x._t, *[p.data()._t.detach() for _, p in entry.graph.parameters]]


@pytest.mark.parametrize("units", [False, True])
def test_a_watched_function_does_the_same_and_tells_each_step(units: bool) -> None:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(3, 3, padding=1), nn.Activation("sigmoid"))
    net.add(*[nn.Dense(6, activation="tanh") for _ in range(8)])  # more operators than torch's tape is good for
    plan, given = _plan(net, nd.random.normal(shape=(2, 2, 4, 4)))
    source = plan.sources["forward"]
    seen: list[tuple[int, int | None]] = []
    with torch.no_grad():
        watched = source.watched(lambda step, unit: seen.append((step, unit)), units)(*given)
        plain = source.function(*given)
    for a, b in zip(watched, plain):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert [step for step, unit in seen if unit is None] == list(range(len(source.steps) + 1))
    for number, step in enumerate(source.steps):
        found = [unit for place, unit in seen if place == number and unit is not None]
        assert found == (list(range(len(step.units) + 1)) if units and isinstance(step, Region) else [])  # one is empty


@with_regions
def test_a_region_knows_which_unit_makes_a_node() -> None:
    net = nn.HybridSequential()
    net.add(nn.Dense(6, activation="tanh"), nn.LayerNorm(), nn.Dense(3))
    plan, _ = _plan(net, nd.random.normal(shape=(5, 4)))
    (region,) = plan.sources["forward"].regions
    first, activation, norm, second = (region.made_by[node] for node in region.nodes)
    assert activation == norm == {1} and first == {0, 1} and second == {2, 3}  # product, kernel, product, kernel
