"""Dropout decides alike wherever it runs: imperative, in plans, inside of regions, with any number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.base import config
from glueball.executor.native import available
from glueball.gluon import nn
from glueball.ops import dropout as plain

from ..threads import threads

native = pytest.mark.skipif(not available() or not config.get("GLUEBALL_JIT"), reason="no machine code here")
DTYPES = ["float32", "float64", "bfloat16", "float16"]


def gradient_step(net: Any, x: Any, seed: int) -> list[np.ndarray]:
    mx.random.seed(seed)
    x = x.copy()
    x.attach_grad()
    with autograd.record():
        out = net(x)
        loss = (out * out).sum()
    loss.backward()
    return [a.astype("float64").asnumpy() for a in (out, x.grad)]


class Layers(gluon.HybridBlock):
    """Dropout where it stands in networks: behind an activation, on data, before a norm, on parts."""

    def __init__(self, width: int, p: float, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.one, self.two = nn.Dense(width, flatten=False), nn.Dense(width, flatten=False)
        self.norm = nn.LayerNorm()
        self.drop, self.shared = nn.Dropout(p), nn.Dropout(p, axes=axes)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        h = self.drop(F.relu(self.one(x)))
        h = self.norm(self.two(h) + self.drop(x))
        left, right = F.split(self.drop(h), 2, axis=-1)
        return F.concat(self.shared(right), F.tanh(left), dim=-1) + F.mean(self.drop(h), axis=-1, keepdims=True)


@given(
    batch=st.integers(1, 5), length=st.sampled_from([1, 3, 17]), half=st.sampled_from([1, 4, 9, 33]),
    p=st.sampled_from([0.0, 0.1, 0.5, 0.99, 1.0]), axes=st.sampled_from([(), (1,)]), dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**31 - 1),
)  # fmt: skip
@settings(max_examples=25)
def test_compiled_and_imperative_networks_drop_the_same(
    batch: int, length: int, half: int, p: float, axes: tuple[int, ...], dtype: str, seed: int
) -> None:
    net, twin = Layers(2 * half, p, axes), Layers(2 * half, p, axes)
    x = nd.random.normal(shape=(batch, length, 2 * half)).astype(dtype)
    for each in (net, twin):
        each.initialize()
        each.cast(dtype)
        each(x)
    for ours, theirs in zip(twin.collect_params().values(), net.collect_params().values()):
        ours.set_data(theirs.data())
    twin.hybridize()
    tolerance = {"float32": 2e-4, "float64": 1e-9}.get(dtype, 0.1)
    for _ in range(2):
        for found, wanted in zip(gradient_step(twin, x, seed), gradient_step(net, x, seed)):
            np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * max(1, abs(wanted).max()))


@native
@pytest.mark.parametrize("dtype", DTYPES)
def test_decisions_depend_on_seed_and_place_alone(dtype: str) -> None:
    data = torch.ones(64, 1031, dtype=getattr(torch, dtype))
    seed = torch.tensor([12345])
    found = []
    for count in (1, 2, 3):
        with threads(count):
            found.append(plain.dropped(data, seed, 0.3))
    assert all(torch.equal(found[0], other) for other in found[1:])
    assert torch.equal(found[0].view(-1), plain.dropped(data.view(-1), seed, 0.3))
    turned = torch.ones(1031, 64, dtype=data.dtype).t()  # places are those of reading in order
    assert torch.equal(plain.dropped(turned, seed, 0.3), found[0])
    assert not torch.equal(found[0], plain.dropped(data, seed + 1, 0.3))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_every_element_has_the_same_chance_whatever_its_neighbours_do(p: float) -> None:
    mx.random.seed(7)
    with autograd.train_mode():
        kept = nd.Dropout(nd.ones((400, 1000)), p=p).asnumpy() != 0
    spread = 5 * np.sqrt(p * (1 - p))  # of five deviations
    assert abs(kept.mean() - (1 - p)) < spread / np.sqrt(kept.size)
    for axis in (0, 1):
        means = kept.mean(axis)
        assert abs(means - (1 - p)).max() < spread * 1.2 / np.sqrt(kept.shape[axis])
        later = np.roll(kept, 1, axis)
        both = (kept & later).mean()
        assert abs(both - (1 - p) ** 2) < spread / np.sqrt(kept.size) * 2


@pytest.mark.parametrize("served", [True, False])
def test_gradients_of_gradients(served: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not served:  # as on a GPU
        monkeypatch.setattr(plain, "_native", lambda data, seed, p: None)
    x = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    seed = torch.tensor([3])
    assert torch.autograd.gradcheck(lambda v: plain.dropped(v * v, seed, 0.4), x)
    assert torch.autograd.gradgradcheck(lambda v: plain.dropped(v * v * v, seed, 0.4), x)


@native
def test_a_region_takes_dropout_in() -> None:
    net = nn.HybridSequential()
    net.add(nn.Dense(64, activation="relu"), nn.Dropout(0.5), nn.Dense(64, activation="relu"), nn.Dropout(0.2),
            nn.LayerNorm(), nn.Dense(8))  # fmt: skip
    net.initialize()
    net.hybridize()
    with autograd.record():
        loss = net(nd.ones((32, 20))).sum()
    loss.backward()
    assert "it draws one number" in str(net.explain())
    lines = net.explain(code=True).splitlines()
    assert not [line for line in lines if " = " in line and "_dropped(" in line]  # nothing of it is left outside
