"""The generators of the folding benchmarks F1–F3: their samples have the published sizes, fan-outs and heights."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "folding"


@pytest.fixture(scope="module")
def data() -> Iterator[ModuleType]:
    """The generators; the benchmarks are programs, not a package, so their folder is put in front for a while."""
    sys.path.insert(0, str(FOLDER))
    try:
        import data

        yield data
    finally:
        sys.path.remove(str(FOLDER))
        for name in ("data", "levels"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def pairs(data: ModuleType) -> list:
    return data.sick_pairs(600, seed=3)


def test_pairs_are_as_large_as_those_of_sick(pairs: list) -> None:
    sizes = np.array([len(pair) for pair in pairs])
    assert sizes.mean() == pytest.approx(19.35, rel=0.04)
    assert abs(np.median(sizes) - 18) <= 1
    assert sizes.min() >= 6
    assert sizes.max() <= 68


def test_trees_have_the_fan_outs_and_heights_of_sick(data: ModuleType, pairs: list) -> None:
    from levels import heights

    fan_outs, tops = np.zeros(len(data.SICK_FAN_OUT)), []
    for pair in pairs:
        for parents in (pair.left_parents, pair.right_parents):
            assert parents.count(-1) == 1
            counts = np.bincount([p for p in parents if p >= 0], minlength=len(parents))
            fan_outs += np.bincount(counts, minlength=len(fan_outs))
            tops.append(heights(parents).max())
    np.testing.assert_allclose(fan_outs / fan_outs.sum(), data.SICK_FAN_OUT, atol=0.015)
    assert np.mean(tops) == pytest.approx(3.36, rel=0.06)
    assert max(tops) <= 14


def test_no_two_arcs_of_a_tree_cross(pairs: list) -> None:
    for pair in pairs[:50]:
        arcs = [tuple(sorted(arc)) for arc in enumerate(pair.left_parents) if arc[1] >= 0]
        for a, b in arcs:
            for c, d in arcs:
                assert not a < c < b < d


def test_the_root_reaches_every_word(pairs: list) -> None:
    def indices(node: object) -> list[int]:
        return [node.index, *(i for child in node.children for i in indices(child))]

    for pair in pairs[:50]:
        assert sorted(indices(pair.left)) == list(range(len(pair.left_words)))
        assert pair.left_parents[pair.left.index] == -1


def test_targets_are_distributions_with_the_score_as_mean(pairs: list) -> None:
    targets = np.array([pair.target for pair in pairs])
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    assert ((targets > 0).sum(1) <= 2).all()
    assert (targets >= 0).all()


def test_reviews_are_shaped_like_those_of_sst(data: ModuleType) -> None:
    leaves, heights = [], []
    for review in data.sst_reviews(600, seed=3):
        height: list[int] = []
        for left, right in zip(review.left, review.right):
            height.append(0 if left < 0 else 1 + max(height[left], height[right]))
        leaves.append(sum(left < 0 for left in review.left))
        assert len(review) == 2 * leaves[-1] - 1
        heights.append(height[-1])
    assert np.mean(leaves) == pytest.approx(19.1, rel=0.05)
    assert np.mean(heights) == pytest.approx(9.8, rel=0.07)
    assert max(heights) <= 40


def test_phrases_cover_their_review(data: ModuleType) -> None:
    def walk(phrase: object) -> list[object]:
        below = [] if phrase.left is None else walk(phrase.left) + walk(phrase.right)
        return [*below, phrase]

    for review in data.sst_reviews(20):
        phrases = walk(review.root)
        assert [phrase.index for phrase in phrases] == list(range(len(review)))
        assert [phrase.label for phrase in phrases] == review.labels
        words = [phrase for phrase in phrases if phrase.left is None]
        assert [phrase.word for phrase in words] == [word for word in review.words if word >= 0]
        assert [phrase.place for phrase in words] == list(range(len(words)))


def test_sentences_have_the_lengths_and_rare_words_of_wikiner(data: ModuleType) -> None:
    sentences = data.tagged_sentences(600, seed=3)
    assert np.mean([len(sentence) for sentence in sentences]) == pytest.approx(23, rel=0.06)
    spelled = [letters for sentence in sentences for letters in sentence.characters if letters]
    assert 0.1 < len(spelled) / sum(map(len, sentences)) < 0.2
    assert np.mean([len(letters) - 2 for letters in spelled]) == pytest.approx(7, rel=0.06)
    assert all(letters[0] == letters[-1] == 0 < min(letters[1:-1]) for letters in spelled)
    for sentence in sentences[:50]:
        assert [word < 0 for word in sentence.words] == [bool(letters) for letters in sentence.characters]


def test_a_seed_fixes_the_samples(data: ModuleType) -> None:
    first, again, other = (data.sick_pairs(5, seed=seed) for seed in (1, 1, 2))
    assert [pair.left_words for pair in first] == [pair.left_words for pair in again]
    assert [pair.left_words for pair in first] != [pair.left_words for pair in other]
