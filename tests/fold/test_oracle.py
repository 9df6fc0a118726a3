"""The oracle: ``fold(program) == [program(x) for x in xs]``, in values and gradients, for random programs.

The one idea: programs.py draws a program and samples; eager execution is the truth. Beside that comparison itself, the
laws that a batch must obey: the order of samples, how they are split into scopes, how scopes nest, where losses are
summed and where values are read make no difference.

Not here: single situations (test_bug_classes.py), mode="check" (test_check.py).
"""
from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball import autograd, fold, nd

from . import programs
from .programs import Model, Program, RandomCell, assert_same, loss_of, make_samples, random_program, run, tree_program

SEEDS = st.integers(0, 100_000)
MODEL = Model(0)


def _program(seed: int, length: int = 10) -> Program:
    return random_program(seed, MODEL, length)


@settings(max_examples=60)
@given(SEEDS, st.integers(0, 6))
def test_a_folded_batch_is_its_samples(seed: int, count: int) -> None:
    program, samples = _program(seed, 14), make_samples(seed, count)
    assert_same(run(program, MODEL, samples, None), run(program, MODEL, samples, "on"))


@settings(max_examples=20)
@given(SEEDS)
def test_inputs_without_gradients(seed: int) -> None:
    program, samples = _program(seed, 14), make_samples(seed, 5, attach=False)
    assert_same(run(program, MODEL, samples, None), run(program, MODEL, samples, "on"))


@settings(max_examples=15)
@given(SEEDS)
def test_single_precision(seed: int) -> None:
    model = Model(1, "float32")
    program, samples = random_program(seed, model), make_samples(seed, 4, "float32")
    assert_same(run(program, model, samples, None), run(program, model, samples, "on"), 2e-4)


@settings(max_examples=25)
@given(SEEDS, st.integers(1, 8), st.booleans())
def test_recurrent_units_on_trees(seed: int, length: int, hybridize: bool) -> None:
    cell = RandomCell(seed, MODEL, length)
    program, samples = tree_program(seed, cell), make_samples(seed, 4)
    expected = run(program, MODEL, samples, None)
    if hybridize:
        cell.hybridize()
    assert_same(expected, run(program, MODEL, samples, "on"))


@settings(max_examples=15)
@given(SEEDS)
def test_without_hybridizing(seed: int) -> None:
    model = Model(2, hybridize=False)
    program, samples = random_program(seed, model), make_samples(seed, 4)
    assert_same(run(program, model, samples, None), run(program, model, samples, "on"))


@settings(max_examples=15)
@given(SEEDS)
def test_sequences_of_no_length(seed: int) -> None:
    program, samples = _program(seed), make_samples(seed, 5, lengths=(0, 1, 3))
    try:
        expected = run(program, MODEL, samples, None)
    except (programs.base_errors, IndexError):  # the last row, or the maximum, of nothing
        with pytest.raises((programs.base_errors, IndexError)):
            run(program, MODEL, samples, "on")
        return
    assert_same(expected, run(program, MODEL, samples, "on"))


@settings(max_examples=15)
@given(SEEDS, st.permutations(range(5)))
def test_the_order_of_samples_does_not_matter(seed: int, order: list[int]) -> None:
    program, samples = _program(seed), make_samples(seed, 5)
    expected = run(program, MODEL, samples, "on")
    received = run(program, MODEL, [samples[i] for i in order], "on")
    for values, i in zip(received.values, order):
        for one, other in zip(expected.values[i], values):
            np.testing.assert_allclose(other, one, 1e-9, 1e-9)
    for one, other in zip(expected.shared, received.shared):
        np.testing.assert_allclose(other, one, 1e-9, 1e-9)


@settings(max_examples=15)
@given(SEEDS, st.integers(0, 5))
def test_a_batch_in_two_scopes(seed: int, cut: int) -> None:
    program, samples = _program(seed), make_samples(seed, 5)
    expected = run(program, MODEL, samples, "on")
    MODEL.zero()
    with autograd.record(train_mode=False):
        losses = [(MODEL.leaf * 0.5).sum()]
        for part in (samples[:cut], samples[cut:]):
            with fold.batching():
                losses += [loss_of(program(sample)) for sample in part]
        total = nd.add_n(*losses)
    total.backward()
    for one, other in zip(expected.shared, MODEL.gradients()):
        np.testing.assert_allclose(other, one, 1e-9, 1e-9)


@settings(max_examples=15)
@given(SEEDS, st.lists(st.integers(0, 12), max_size=4))
def test_values_may_be_read_anywhere(seed: int, readings: list[int]) -> None:
    program, samples = _program(seed), make_samples(seed, 4)
    expected = run(program, MODEL, samples, None)
    reading = Program(MODEL, [*program.steps], program.types, picked=program.picked)
    for place in readings:
        name, function, arguments, guard = reading.steps[place % len(reading.steps)]
        reading.steps[place % len(reading.steps)] = name, _read_first(function), arguments, guard
    assert_same(expected, run(reading, MODEL, samples, "on"))


@settings(max_examples=15)
@given(SEEDS, st.lists(st.integers(0, 12), max_size=4), st.sampled_from([None, 2]))
def test_samples_of_a_map_may_read_values_too(seed: int, readings: list[int], width: int | None) -> None:
    program, samples = _program(seed), make_samples(seed, 5)
    expected = run(program, MODEL, samples, None)
    reading = Program(MODEL, [*program.steps], program.types, picked=program.picked)
    for place in readings:
        name, function, arguments, guard = reading.steps[place % len(reading.steps)]
        reading.steps[place % len(reading.steps)] = name, _read_first(function), arguments, guard
    received = run(reading, MODEL, samples, "on", lambda f, xs: fold.map(f, xs, width=width))
    assert_same(expected, received)


def _read_first(function: Any) -> Any:
    def wrapped(*arguments: Any) -> Any:
        for value in arguments:
            if hasattr(value, "asnumpy"):
                value.asnumpy()
        return function(*arguments)
    return wrapped


@settings(max_examples=10)
@given(SEEDS)
def test_scopes_in_scopes(seed: int) -> None:
    program, samples = _program(seed), make_samples(seed, 4)

    def nested(sample: Any) -> Any:
        with fold.batching():
            return program(sample)
    assert_same(run(program, MODEL, samples, None), run(nested, MODEL, samples, "on"))


@settings(max_examples=10)
@given(SEEDS)
def test_an_unbatched_part_inside_a_scope(seed: int) -> None:
    program, samples = _program(seed), make_samples(seed, 4)

    def partly(sample: Any) -> Any:
        if sample.choices[0] % 2:
            with fold.batching(mode="off"):
                return program(sample)
        return program(sample)
    assert_same(run(program, MODEL, samples, None), run(partly, MODEL, samples, "on"))


@settings(max_examples=10)
@given(SEEDS)
def test_the_same_sample_many_times(seed: int) -> None:
    program, sample = _program(seed), make_samples(seed, 1)[0]
    assert_same(run(program, MODEL, [sample] * 3, None), run(program, MODEL, [sample] * 3, "on"))


@settings(max_examples=10)
@given(SEEDS)
def test_results_of_one_scope_in_the_next(seed: int) -> None:
    first, second = _program(seed), _program(seed + 1)
    samples = make_samples(seed, 4)

    def both(enter: Any) -> list[np.ndarray]:
        MODEL.zero()
        for sample in samples:
            for array in sample.arrays.values():
                array.zero_grad()
        with autograd.record(train_mode=False):
            with enter():
                rows = [MODEL.rows(nd.tanh(nd.add_n(*[v.sum() for v in first(s)]).reshape((1, 1)) * s.arrays["R"]))
                        for s in samples]
            with enter():
                losses = [loss_of(second(s)) + (s.arrays["R"] * row * MODEL.leaf).sum()
                          for s, row in zip(samples, rows)]
            total = nd.add_n(*losses)
        total.backward()
        found = [total.asnumpy(), *MODEL.gradients()]
        for sample in samples:
            found += sample.gradients()
        return found
    for one, other in zip(both(lambda: fold.batching("off")), both(fold.batching)):
        np.testing.assert_allclose(other, one, 1e-8, 1e-8)


@settings(max_examples=10)
@given(SEEDS)
def test_without_recording(seed: int) -> None:
    program, samples = _program(seed), make_samples(seed, 4)
    expected = [[v.asnumpy() for v in program(sample)] for sample in samples]
    with fold.batching():
        outputs = [program(sample) for sample in samples]
    for values, found in zip(expected, outputs):
        for one, other in zip(values, found):
            np.testing.assert_allclose(other.asnumpy(), one, 1e-9, 1e-9)


@settings(max_examples=8)
@given(SEEDS)
def test_backward_of_several_losses_of_one_scope(seed: int) -> None:
    program, samples = _program(seed), make_samples(seed, 3)

    def gradients(mode: str) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        with autograd.record(train_mode=False), fold.batching(mode):
            losses = [loss_of(program(sample)) + (MODEL.leaf * 0.5).sum() for sample in samples]
        for loss in losses:
            MODEL.zero()
            for sample in samples:
                for array in sample.arrays.values():
                    array.zero_grad()
            loss.backward(retain_graph=True)
            found += MODEL.gradients()
            for sample in samples:
                found += sample.gradients()
        return found
    for one, other in zip(gradients("off"), gradients("on")):
        np.testing.assert_allclose(other, one, 1e-9, 1e-9)


@settings(max_examples=8)
@given(SEEDS)
def test_backward_inside_the_scope(seed: int) -> None:
    program, samples = _program(seed), make_samples(seed, 3)
    expected = run(program, MODEL, samples, None)
    MODEL.zero()
    for sample in samples:
        for array in sample.arrays.values():
            array.zero_grad()
    with autograd.record(train_mode=False), fold.batching():
        outputs = [program(sample) for sample in samples]
        total = nd.add_n(*[loss_of(found) for found in outputs], (MODEL.leaf * 0.5).sum())
        total.backward()
        again = nd.tanh(samples[0].arrays["R"]) * 2  # the scope goes on
    for one, other in zip(expected.shared, MODEL.gradients()):
        np.testing.assert_allclose(other, one, 1e-9, 1e-9)
    np.testing.assert_allclose(again.asnumpy(), 2 * np.tanh(samples[0].arrays["R"].asnumpy()))


def test_two_threads_fold_at_once() -> None:
    models = [Model(3), Model(4)]
    work = []
    for number, model in enumerate(models):
        items = [(random_program(seed, model), make_samples(seed, 4)) for seed in range(8 * number, 8 * number + 8)]
        work.append([(program, samples, run(program, model, samples, None)) for program, samples in items])
    failures: list[BaseException] = []

    def fold_all(number: int) -> None:
        try:
            for program, samples, expected in work[number]:
                assert_same(expected, run(program, models[number], samples, "on"))
        except BaseException as error:
            failures.append(error)
    threads = [threading.Thread(target=fold_all, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
