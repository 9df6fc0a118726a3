"""Update operators: states change in place, `out=` takes the weight, several steps follow the written formulas.

The matrix checks one step's new weight against NumPy; here are the states, the mixed-precision copies and the laws
between operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from glueball import autograd, nd

RATE, DECAY = 0.1, 0.05


def random_array(seed: int, low: float = -1.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, 1, (3, 2)).astype(np.float32)


def sgd_mom(w: Any, g: Any, m: Any) -> tuple[Any, ...]:
    m = 0.9 * m - RATE * (g + DECAY * w)
    return w + m, m


def adam(w: Any, g: Any, m: Any, v: Any) -> tuple[Any, ...]:
    g = g + DECAY * w
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return w - RATE * m / (np.sqrt(v) + 1e-8), m, v


def rmsprop(w: Any, g: Any, n: Any) -> tuple[Any, ...]:
    g = g + DECAY * w
    n = 0.95 * n + 0.05 * g * g
    return w - RATE * g / np.sqrt(n + 1e-8), n


def alex(w: Any, g: Any, n: Any, s: Any, d: Any) -> tuple[Any, ...]:
    g = g + DECAY * w
    n, s = 0.95 * n + 0.05 * g * g, 0.95 * s + 0.05 * g
    d = 0.9 * d - RATE * g / np.sqrt(n - s * s + 1e-8)
    return w + d, n, s, d


def ftrl(w: Any, g: Any, z: Any, n: Any) -> tuple[Any, ...]:
    z = z + g - (np.sqrt(n + g * g) - np.sqrt(n)) / RATE * w
    n = n + g * g
    return (np.sign(z) * 0.01 - z) / ((1 + np.sqrt(n)) / RATE + DECAY) * (np.abs(z) > 0.01), z, n


def signum(w: Any, g: Any, m: Any) -> tuple[Any, ...]:
    m = 0.9 * m - 0.1 * (g + DECAY * w)
    return w + RATE * np.sign(m), m


RULES: dict[str, tuple[Callable[..., Any], int, dict[str, float]]] = {
    "sgd_mom_update": (sgd_mom, 1, {"momentum": 0.9}),
    "adam_update": (adam, 2, {}),
    "rmsprop_update": (rmsprop, 1, {}),
    "rmspropalex_update": (alex, 3, {}),
    "ftrl_update": (ftrl, 2, {}),
    "signum_update": (signum, 1, {"momentum": 0.9}),
}


@pytest.mark.parametrize("name", RULES)
def test_three_steps_with_states(name: str) -> None:
    rule, states, options = RULES[name]
    weight, held = random_array(0), [np.zeros((3, 2), np.float32) for _ in range(states)]
    w, arrays = nd.array(weight), [nd.array(s) for s in held]
    for step in range(3):
        grad = random_array(step + 1)
        weight, *held = rule(weight, grad, *held)
        result = getattr(nd, name)(w, nd.array(grad), *arrays, lr=RATE, wd=DECAY, out=w, **options)
        assert result is w
        assert np.allclose(w.asnumpy(), weight, rtol=1e-4, atol=1e-6)
        for array, state in zip(arrays, held):
            assert np.allclose(array.asnumpy(), state, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "states", "options"),
    [("sgd", 0, {}), ("sgd_mom", 1, {"momentum": 0.9}), ("nag_mom", 1, {"momentum": 0.9})],
)
def test_mixed_precision_follows_single(name: str, states: int, options: dict[str, float]) -> None:
    weight, half = nd.array(random_array(0)), nd.array(random_array(0), dtype="float16")
    master = half.astype("float32")
    weight = master.copy()
    ours, theirs = [nd.zeros((3, 2)) for _ in range(states)], [nd.zeros((3, 2)) for _ in range(states)]
    for step in range(3):
        grad = nd.array(random_array(step + 1), dtype="float16")
        getattr(nd, f"mp_{name}_update")(half, grad, *ours, master, lr=RATE, wd=DECAY, out=half, **options)
        getattr(nd, f"{name}_update")(weight, grad.astype("float32"), *theirs, lr=RATE, wd=DECAY, out=weight, **options)
    assert np.allclose(master.asnumpy(), weight.asnumpy(), rtol=1e-5)
    assert half.dtype == np.float16 and np.allclose(half.asnumpy(), master.asnumpy(), rtol=2e-3)


def test_several_at_once_are_one_by_one() -> None:
    weights, grads, moms = ([nd.array(random_array(10 * k + i)) for i in range(2)] for k in range(3))
    lone = [(w.copy(), g, m.copy()) for w, g, m in zip(weights, grads, moms)]
    data = [array for group in zip(weights, grads, moms) for array in group]
    nd.multi_sgd_mom_update(*data, lrs=(0.1, 0.2), wds=(0.0, 0.1), momentum=0.9, num_weights=2, out=weights)
    rates = [nd.array([0.1, 0.2]), nd.array([0.0, 0.1])]
    other = [array.copy() for group in lone for array in group]
    found = nd.preloaded_multi_sgd_mom_update(*other, *rates, momentum=0.9, num_weights=2)
    for i, (w, g, m) in enumerate(lone):
        nd.sgd_mom_update(w, g, m, lr=(0.1, 0.2)[i], wd=(0.0, 0.1)[i], momentum=0.9, out=w)
        assert np.allclose(weights[i].asnumpy(), w.asnumpy()) and np.allclose(moms[i].asnumpy(), m.asnumpy())
        assert np.allclose(found[i].asnumpy(), w.asnumpy())


@pytest.mark.parametrize("factor", [0.0, np.inf, np.nan])
def test_adamw_skips_an_overflow(factor: float) -> None:
    weight, mean, var = nd.array(random_array(0)), nd.array(random_array(1)), nd.array(random_array(2, 0.1))
    before = [array.asnumpy() for array in (weight, mean, var)]
    nd.contrib.adamw_update(
        weight, nd.full((3, 2), np.inf), mean, var, nd.array([factor]), lr=0.1, eta=1.0, wd=0.1, out=weight
    )
    for array, old in zip((weight, mean, var), before):
        assert np.array_equal(array.asnumpy(), old)


def test_lamb_is_its_two_phases() -> None:
    weight, grad, mean, var = (nd.array(random_array(i, 0.1)) for i in range(4))
    direction = nd.lamb_update_phase1(weight, grad, mean, var, t=1, wd=0.1)
    new = nd.lamb_update_phase2(weight, direction, weight.norm(), direction.norm(), lr=0.1)
    ratio = np.linalg.norm(weight.asnumpy()) / np.linalg.norm(direction.asnumpy())
    assert np.allclose(new.asnumpy(), weight.asnumpy() - 0.1 * ratio * direction.asnumpy(), rtol=1e-5)


def test_an_update_leaves_no_tape() -> None:
    weight = nd.ones((2,))
    weight.attach_grad()
    with autograd.record():
        loss = (weight * weight).sum()
    loss.backward()
    nd.sgd_update(weight, weight.grad, lr=0.5, out=weight)
    assert weight.asnumpy().tolist() == [0.0, 0.0]
    with autograd.record():
        loss = (weight * 3).sum()
    loss.backward()
    assert weight.grad.asnumpy().tolist() == [3.0, 3.0]


@pytest.mark.parametrize("mixed", [False, True])
def test_adamw_and_lamb_of_lists(mixed: bool) -> None:
    kind = "float16" if mixed else "float32"

    def arrays() -> list[list[nd.NDArray]]:
        lists = [
            [nd.array(random_array(10 * k + i, 0.1), dtype=kind if k < 2 else "float32") for i in range(2)]
            for k in range(4)
        ]
        return [*lists, [w.astype("float32") for w in lists[0]]] if mixed else lists

    start = "mp_" if mixed else ""
    ours, theirs = arrays(), arrays()
    factor = nd.array([0.5])
    getattr(nd.contrib, f"multi_{start}adamw_update")(*ours, factor, (0.1, 0.2), (0.0, 0.1), (1.0, 0.5), out=ours[0])
    for i in range(2):
        own = [part[i] for part in theirs]
        rates = {"lr": (0.1, 0.2)[i], "wd": (0.0, 0.1)[i], "eta": (1.0, 0.5)[i]}
        getattr(nd.contrib, f"{start}adamw_update")(*own, factor, **rates, out=own[0])
    for mine, others in zip(ours, theirs):
        for a, b in zip(mine, others):
            assert np.array_equal(a.asnumpy(), b.asnumpy())
    getattr(nd.contrib, f"multi_{start}lamb_update")(*ours, (1, 3), (0.1, 0.2), (0.0, 0.1), out=ours[0])
    for i in range(2):
        weight, grad, mean, var, *full = (part[i] for part in theirs)
        single = full[0] if mixed else weight
        direction = nd.lamb_update_phase1(single, grad.astype("float32"), mean, var, t=(1, 3)[i], wd=(0.0, 0.1)[i])
        new = nd.lamb_update_phase2(single, direction, single.norm(), direction.norm(), lr=(0.1, 0.2)[i])
        assert np.allclose(ours[-1 if mixed else 0][i].asnumpy(), new.asnumpy(), rtol=1e-5)


def test_draws_from_zipfs_law() -> None:
    samples, true, sampled = nd.contrib.rand_zipfian(nd.array([0, 3]), 20000, 5)
    counts = np.bincount(samples.asnumpy(), minlength=5)
    law = np.log((np.arange(5) + 2) / (np.arange(5) + 1)) / np.log(6) * 20000
    assert np.allclose(counts, law, rtol=0.1)
    assert np.allclose(true.asnumpy(), law[[0, 3]])
    assert np.allclose(sampled.asnumpy(), law[samples.asnumpy()])
