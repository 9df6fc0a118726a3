"""Samples for F1–F3 with the published statistics of SICK, SST and WikiNER, and no download: sizes, fan-outs and
heights of the structures are those of the corpora; words, scores and labels are noise.

The one idea: a sample is flat lists of numbers (so that it travels to other interpreters as JSON), and the objects a
newcomer would recurse over (`Node`, `Phrase`) are made from them once. tests/benchmarks/test_folding_data.py holds
the statistics to those of the guides. Read by peers in older Pythons too: numpy only. F4–F6 bring their own data.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

SICK_VOCABULARY = 2412
SST_VOCABULARY = 16000
FREQUENT_WORDS, CHARACTERS, TAGS = 6000, 80, 9

# How many of the 87,089 nodes of SICK's training trees have 0, 1, 2, … children.
SICK_FAN_OUT = np.array([44323, 24023, 8267, 5922, 3249, 1080, 209, 12, 4]) / 87089
# Only draws whose sum is right are kept, which favours few children: lean the other way beforehand.
_LEANING = SICK_FAN_OUT * np.exp(0.045 * (np.arange(9) - 1.0) ** 2)


class Node:
    """A word of a dependency tree, its place in the sentence, and the words that hang on it."""

    __slots__ = ("children", "index", "word")

    def __init__(self, index: int, word: int) -> None:
        self.index, self.word = index, word
        self.children: list[Node] = []


@dataclass(eq=False)
class Pair:
    """Two sentences as dependency trees (`parents[i]` is the head of word i, -1 at the root), and how close they are.

    `target` is the score of 1 to 5 as a distribution over the five: 3.6 is 0.4 at 3 and 0.6 at 4.
    """

    left_words: list[int]
    left_parents: list[int]
    right_words: list[int]
    right_parents: list[int]
    target: list[float]

    @cached_property
    def left(self) -> Node:
        """The root of the first tree."""
        return _tree(self.left_words, self.left_parents)

    @cached_property
    def right(self) -> Node:
        """The root of the second tree."""
        return _tree(self.right_words, self.right_parents)

    def __len__(self) -> int:
        """Return the nodes of both trees."""
        return len(self.left_words) + len(self.right_words)


def _tree(words: list[int], parents: list[int]) -> Node:
    nodes = [Node(index, word) for index, word in enumerate(words)]
    for node, parent in zip(nodes, parents):
        if parent >= 0:
            nodes[parent].children.append(node)
    return nodes[parents.index(-1)]


def _zipf(generator: np.random.Generator, vocabulary: int, size: int) -> list[int]:
    """Draw words: the word of rank r with a probability proportional to 1 / (r + 2.7)."""
    ranks = (3.7 + vocabulary) / 3.7
    return np.minimum(3.7 * (ranks ** generator.random(size) - 1), vocabulary - 1).astype(int).tolist()


def _fan_outs(generator: np.random.Generator, size: int) -> list[int]:
    """Draw the fan-outs of a tree of that size, heads with many children mostly near the root (as verbs are)."""
    while True:
        drawn = generator.choice(len(SICK_FAN_OUT), size=size, p=_LEANING / _LEANING.sum())
        if drawn.sum() == size - 1:
            break
    key = drawn + generator.gumbel(scale=1.3, size=size)
    return drawn[np.argsort(-key)].tolist()


def _dependency_tree(generator: np.random.Generator, size: int) -> list[int]:
    """Return the parents of a random tree, numbered so that no two arcs cross."""
    rest = _fan_outs(generator, size)
    children: list[list[int]] = [[] for _ in range(size)]
    waiting, free = [0], 1  # nodes without fan-out yet, and the next unused number
    while waiting:
        node, at = waiting.pop(0), 0
        if not waiting and len(rest) > 1 and rest[0] == 0:
            at = next(i for i, count in enumerate(rest) if count)  # a leaf here would end the tree too early
        count = rest.pop(at)
        children[node] = list(range(free, free + count))
        waiting.extend(children[node])
        free += count
    order: list[int] = []

    def place(node: int) -> None:
        before = int(generator.integers(0, len(children[node]) + 1))
        for child in children[node][:before]:
            place(child)
        order.append(node)
        for child in children[node][before:]:
            place(child)

    place(0)
    position = {node: index for index, node in enumerate(order)}
    parents = [-1] * size
    for node, below in enumerate(children):
        for child in below:
            parents[position[child]] = position[node]
    return parents


def sick_pairs(count: int, seed: int = 0) -> list[Pair]:
    """Return pairs of dependency trees shaped like SICK's: 9.7 words in a sentence, 19.35 in a pair, height 3.4."""
    generator = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        trees: list[list[int]] = []
        size = 3 + int(generator.negative_binomial(6.5, 0.494))
        for other in (0, int(np.rint(generator.normal(0, 2)))):
            length = int(np.clip(size + other, 3, 34))
            trees += [_zipf(generator, SICK_VOCABULARY, length), _dependency_tree(generator, length)]
        score = float(np.clip(generator.normal(3.5, 1.0), 1, 5))
        low = min(int(score), 4)
        target = [0.0] * 5
        target[low - 1], target[low] = low + 1 - score, score - low
        pairs.append(Pair(*trees, target))
    return pairs


class Phrase:
    """A node of a binary tree: a word, or two phrases. `label` is its sentiment, 0 to 4; `index` its number."""

    __slots__ = ("index", "label", "left", "place", "right", "word")

    def __init__(self, index: int, label: int) -> None:
        self.index, self.label = index, label
        self.word, self.place = -1, -1  # of a word: which, and where in the sentence
        self.left: Phrase | None = None
        self.right: Phrase | None = None


@dataclass(eq=False)
class Review:
    """A sentence as a binary tree. Nodes are in an order in which children come before their parent.

    `left[i]` and `right[i]` are the children of node i, or -1 at a word; `words[i]` is -1 where there are children.
    """

    words: list[int]
    left: list[int]
    right: list[int]
    labels: list[int]

    @cached_property
    def root(self) -> Phrase:
        """The whole sentence."""
        made: list[Phrase] = []
        place = 0
        for index, label in enumerate(self.labels):
            phrase = Phrase(index, label)
            if self.left[index] < 0:
                phrase.word, phrase.place = self.words[index], place
                place += 1
            else:
                phrase.left, phrase.right = made[self.left[index]], made[self.right[index]]
            made.append(phrase)
        return made[-1]

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self.words)


def sst_reviews(count: int, seed: int = 0) -> list[Review]:
    """Return binary trees shaped like SST's: 19.1 words, 37.3 nodes, height 9.8, a label at every node."""
    generator = np.random.default_rng(seed)
    reviews = []
    for _ in range(count):
        length = int(np.clip(1 + np.rint(generator.gamma(3.75, 4.8)), 2, 52))
        found = Review([], [], [], [])

        def build(size: int, found: Review = found) -> int:
            if size == 1:
                children, word = (-1, -1), _zipf(generator, SST_VOCABULARY, 1)[0]
            else:
                # A parse of English mostly takes off a word or two at the left; the rest is as it comes.
                short = generator.random() < 0.68
                first = min(int(generator.geometric(0.65)) if short else int(generator.integers(1, size)), size - 1)
                children, word = (build(first), build(size - first)), -1
            found.words.append(word)
            found.left.append(children[0])
            found.right.append(children[1])
            found.labels.append(int(generator.integers(0, 5)))
            return len(found.words) - 1

        build(length)
        reviews.append(found)
    return reviews


@dataclass(eq=False)
class Sentence:
    """Words with tags. `words[i]` is -1 for a rare word, which is read by its characters `characters[i]`.

    The characters of a frequent word are not needed, and are an empty list; those of a rare one begin and end with 0.
    """

    words: list[int]
    characters: list[list[int]]
    tags: list[int]

    def __len__(self) -> int:
        """Return the number of words."""
        return len(self.words)


def tagged_sentences(count: int, seed: int = 0) -> list[Sentence]:
    """Return sentences shaped like WikiNER's: 23 words, one in seven rare, of 7 characters and two marks."""
    generator = np.random.default_rng(seed)
    sentences = []
    for _ in range(count):
        length = int(np.clip(np.rint(generator.gamma(4.0, 5.8)), 2, 90))
        words = _zipf(generator, FREQUENT_WORDS, length)
        characters: list[list[int]] = [[] for _ in words]
        for i in np.flatnonzero(generator.random(length) < 0.15):
            inside = generator.integers(1, CHARACTERS, min(1 + int(generator.negative_binomial(4, 0.4)), 24)).tolist()
            words[i], characters[i] = -1, [0, *inside, 0]
        sentences.append(Sentence(words, characters, generator.integers(0, TAGS, length).tolist()))
    return sentences
