"""Schedulers against numbers that MXNet 1.9.1 gave for the same settings, and their law: a schedule has no memory."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glueball import lr_scheduler as schedulers

# What MXNet 1.9.1 answers to scheduler(0), scheduler(1), … scheduler(14).
GOLDEN: list[tuple[schedulers.LRScheduler, list[float]]] = [
    (
        schedulers.FactorScheduler(3, 0.5, 0.02, 0.1),
        [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.02, 0.02, 0.02, 0.02, 0.02],
    ),
    (
        schedulers.FactorScheduler(3, 0.5, base_lr=1, warmup_steps=4, warmup_begin_lr=0.2),
        [0.2, 0.4, 0.6, 0.8, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125, 0.0625, 0.0625],
    ),
    (
        schedulers.MultiFactorScheduler([3, 6, 10], 0.1, 1.0),
        [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.001, 0.001, 0.001, 0.001],
    ),
    (
        schedulers.MultiFactorScheduler([3, 6], 0.1, 1.0, warmup_steps=2, warmup_begin_lr=0.1, warmup_mode="constant"),
        [0.1, 0.1, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01],
    ),
    (
        schedulers.PolyScheduler(10, 1.0, 2, 0.1),
        [1.0, 0.829, 0.676, 0.541, 0.424, 0.325, 0.244, 0.181, 0.136, 0.109, 0.1, 0.1, 0.1, 0.1, 0.1],
    ),
    (
        schedulers.PolyScheduler(10, 1.0, 2, 0.1, warmup_steps=3),
        [
            0.0,
            0.333333,
            0.666667,
            1.0,
            0.761224,
            0.559184,
            0.393878,
            0.265306,
            0.173469,
            0.118367,
            0.1,
            0.1,
            0.1,
            0.1,
            0.1,
        ],
    ),
    (
        schedulers.CosineScheduler(10, 1.0, 0.1, warmup_steps=3, warmup_begin_lr=0.5),
        [
            0.5,
            0.666667,
            0.833333,
            1.0,
            0.955436,
            0.83057,
            0.650134,
            0.449866,
            0.26943,
            0.144564,
            0.1,
            0.1,
            0.1,
            0.1,
            0.1,
        ],
    ),
]


@pytest.mark.parametrize(("scheduler", "expected"), GOLDEN, ids=lambda value: type(value).__name__)
def test_same_rates_as_mxnet(scheduler: schedulers.LRScheduler, expected: list[float]) -> None:
    assert [scheduler(n) for n in range(len(expected))] == pytest.approx(expected, rel=1e-5)


@given(st.lists(st.integers(0, 40), max_size=10), st.integers(0, 40))
def test_a_schedule_has_no_memory(earlier: list[int], now: int) -> None:
    for scheduler, _ in GOLDEN:
        fresh = scheduler(now)
        for n in earlier:
            scheduler(n)
        assert scheduler(now) == fresh


def test_base_lr_may_be_set_later() -> None:
    scheduler = schedulers.FactorScheduler(step=1, factor=0.5)
    scheduler.base_lr = 8.0
    assert [scheduler(n) for n in (1, 2, 3)] == [8.0, 4.0, 2.0]


def test_a_factor_of_one_does_not_lift_a_tiny_rate_to_the_stop() -> None:
    assert schedulers.FactorScheduler(step=1, base_lr=1e-9)(5) == 1e-9


def test_the_base_class_says_what_to_define() -> None:
    with pytest.raises(NotImplementedError, match=r"LRScheduler must define rate"):
        schedulers.LRScheduler()(3)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: schedulers.FactorScheduler(0), "step is a number of updates"),
        (lambda: schedulers.FactorScheduler(1, 2.0), "A factor above 1"),
        (lambda: schedulers.MultiFactorScheduler([3, 2]), "increasing list"),
        (lambda: schedulers.MultiFactorScheduler([0]), "each 1 or more"),
        (lambda: schedulers.MultiFactorScheduler([]), "Received: step="),
        (lambda: schedulers.PolyScheduler(0), "max_update"),
        (lambda: schedulers.CosineScheduler(1.5), "Received: max_update=1.5"),  # type: ignore[arg-type]
        (lambda: schedulers.CosineScheduler(5, warmup_steps=5), "above warmup_steps"),
        (lambda: schedulers.LRScheduler(0.1, warmup_mode="fast"), "'linear' or 'constant'"),
        (lambda: schedulers.LRScheduler(0.1, -1), "warmup_steps"),
        (lambda: schedulers.LRScheduler(0.1, 2, 3.0), "rises to base_lr"),
    ],
)
def test_wrong_settings_are_explained(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()
