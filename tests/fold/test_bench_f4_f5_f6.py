"""The workloads F4, F5 and F6 of benchmarks/folding: their data are what they claim to be, and all their programs in
this interpreter compute the same: by hand, per sample, and folded.

The one idea: a benchmark is believed only where its sides agree, so that is a test and not only a check before timing.
Not here: DyNet and MXNet, which other interpreters run (benchmarks/folding/common.py compares them before it times).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "folding"))

import early_exit_data
import early_exit_gluon
import early_exit_torch
import lattice
import lattice_gluon
import lattice_torch
import parser_data
import parser_gluon
import parser_torch

from glueball.fold import last_report


def assert_same_gradients(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    """Compare gradients by name, relative to the largest entry."""
    assert set(left) == set(right)
    for name, expected in right.items():
        scale = float(np.abs(expected).max())
        assert scale > 0, f"{name} has no gradient at all"
        np.testing.assert_allclose(left[name], expected, atol=2e-4 * scale, err_msg=name)


# ------------------------------------------------------------------------------------------------- F4, lattice LSTM
def test_lattices_have_the_numbers_of_the_corpus() -> None:
    found = lattice.statistics(lattice.lattices(1147))
    assert found["nodes"] == pytest.approx(44.1, rel=0.03)
    assert found["character arcs"] == pytest.approx(43.1, rel=0.03)
    assert found["word arcs"] == pytest.approx(23.4, rel=0.03)


def test_lattices_are_well_formed_and_repeatable() -> None:
    samples = lattice.lattices(50, seed=1)
    for sample, again in zip(samples, lattice.lattices(50, seed=1)):
        start, end, _ = sample.words.T
        assert ((end - start >= 2) & (end - start <= 4)).all()
        assert (end <= sample.length).all()
        assert (np.diff(start) > 0).all()
        assert (sample.words == again.words).all()
        assert (sample.characters == again.characters).all()


@pytest.fixture(scope="module")
def lattice_batch() -> list[Any]:
    return [sample for sample in lattice.lattices(60) if sample.length < 40][:6]


@pytest.fixture(scope="module")
def lattice_reference(lattice_batch: list[Any]) -> Any:
    return lattice_torch.Torch(lattice.parameters(), lattice_torch.one_by_one)


@pytest.mark.parametrize("who", ["by hand", "unfolded", "folded"])
def test_lattice_programs_agree(who: str, lattice_batch: list[Any], lattice_reference: Any) -> None:
    if who == "by hand":
        side: Any = lattice_torch.Torch(lattice.parameters(), lattice_torch.by_hand)
    else:
        side = lattice_gluon.make(lattice.parameters(), lattice_batch, folded=who == "folded")
    assert side.loss(lattice_batch) == pytest.approx(lattice_reference.loss(lattice_batch), rel=1e-5)
    np.testing.assert_allclose(side.infer(lattice_batch), lattice_reference.infer(lattice_batch), atol=1e-5)
    assert_same_gradients(side.gradients(lattice_batch), lattice_reference.gradients(lattice_batch))
    before = side.loss(lattice_batch)
    side.train(lattice_batch)
    assert side.loss(lattice_batch) < before


def test_the_schedule_of_a_batch_of_lattices_is_close_to_the_shortest() -> None:
    samples = lattice.lattices(64)
    lattice_gluon.make(lattice.parameters(), samples, folded=True).infer(samples)
    report = last_report()
    assert report.calls > 25 * report.groups
    assert report.lower_bound <= report.groups <= 1.6 * report.lower_bound


# ------------------------------------------------------------------------------------------ F5, shift-reduce parser
def follow(sentence: Any) -> set[tuple[int, int]]:
    """Return the spans that a parser builds which does what the oracle says."""
    stack: list[tuple[int, int]] = []
    built = set()
    position = 0
    while position < sentence.length or len(stack) > 1:
        reduce = len(stack) > 1 and (position == sentence.length or sentence.reach[position] <= stack[-2][0])
        if reduce:
            (_, end), (start, _) = stack.pop(), stack.pop()
            stack.append((start, end))
        else:
            stack.append((position, position + 1))
            position += 1
        built.add(stack[-1])
    return built


def test_the_oracle_builds_a_binary_tree_that_goes_back_as_far_as_it_says() -> None:
    for sentence in parser_data.sentences(30):
        built = follow(sentence)
        assert len(built) == 2 * sentence.length - 1
        for end in range(1, sentence.length + 1):
            assert sentence.reach[end] == min(start for start, stop in built if stop == end)


def test_sentences_have_23_words() -> None:
    samples = parser_data.sentences(1024)
    assert np.mean([sample.length for sample in samples]) == pytest.approx(23, rel=0.05)
    assert np.mean(np.concatenate([sample.explore for sample in samples])) == pytest.approx(0.1, abs=0.01)


@pytest.fixture(scope="module")
def parser_batch() -> list[Any]:
    return [sample for sample in parser_data.sentences(60) if sample.length < 20][:6]


def test_an_untrained_parser_goes_different_ways(parser_batch: list[Any]) -> None:
    model = parser_torch.Model(parser_data.parameters())
    _, actions = parser_torch.one_by_one(model, parser_data.sentences(24), False)
    free: list[int] = []
    for taken in actions:
        words, size, position = (len(taken) + 1) // 2, 0, 0
        for action in taken:
            if size > 1 and position < words:
                free.append(action)
            size += 1 if action == parser_data.SHIFT else -1
            position += action == parser_data.SHIFT
        assert (size, position) == (1, words)
    assert 0.25 < np.mean(free) < 0.75
    assert len({tuple(taken[:8]) for taken in actions}) > 8


@pytest.mark.parametrize("who", ["by hand", "unfolded", "folded"])
def test_parser_programs_agree(who: str, parser_batch: list[Any]) -> None:
    reference = parser_torch.Torch(parser_data.parameters(), parser_torch.one_by_one)
    if who == "by hand":
        side: Any = parser_torch.Torch(parser_data.parameters(), parser_torch.by_hand)
    else:
        side = parser_gluon.make(parser_data.parameters(), parser_batch, folded=who == "folded")
    np.testing.assert_array_equal(side.infer(parser_batch), reference.infer(parser_batch))
    assert side.loss(parser_batch) == pytest.approx(reference.loss(parser_batch), rel=1e-5)
    assert_same_gradients(side.gradients(parser_batch), reference.gradients(parser_batch))
    before = side.loss(parser_batch)
    side.train(parser_batch)
    assert side.loss(parser_batch) < before


# ------------------------------------------------------------------------------------- F6, early-exit transformer
def test_lengths_are_uniform_and_exits_are_spread() -> None:
    samples = early_exit_data.sentences(512)
    lengths = [len(sample.tokens) for sample in samples]
    assert (min(lengths), max(lengths)) == (16, 128)
    assert np.mean(lengths) == pytest.approx(72, rel=0.05)
    side = early_exit_torch.Torch(early_exit_data.parameters(), early_exit_torch.packed)
    exits = side.infer(samples[:64])[:, 0]
    assert 5 < exits.mean() < 7
    assert len(set(exits)) >= 5


@pytest.mark.parametrize("who", ["padded", "packed", "unfolded", "folded"])
def test_early_exits_agree(who: str) -> None:
    batch = [sample for sample in early_exit_data.sentences(60) if len(sample.tokens) < 50][:5]
    parameters = early_exit_data.parameters()
    expected = early_exit_torch.Torch(parameters, early_exit_torch.one_by_one).infer(batch)
    if who in ("padded", "packed"):
        side: Any = early_exit_torch.Torch(parameters, getattr(early_exit_torch, who))
    else:
        side = early_exit_gluon.make(parameters, batch, folded=who == "folded")
    found = side.infer(batch)
    np.testing.assert_array_equal(found[:, 0], expected[:, 0])
    np.testing.assert_allclose(found, expected, atol=1e-4)
