"""Workload F5, the data: sentences with random binary trees, and the parameters of the parser that builds such trees.

The one idea: a tree is kept as `reach`: for every position, how far to the left the longest constituent that ends there
goes back. That is all an oracle has to know to advise in *any* configuration, also after the parser has gone its own
way: reduce when the two topmost constituents lie within one that ends here, else shift. `explore` says, drawn
beforehand so that all sides do the same, at which steps of training the parser follows its own choice instead.
Programs: parser_gluon.py, parser_torch.py, parser_dynet.py. Nothing but NumPy is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VOCABULARY = 4000
EMBEDDING, DIRECTION, ENCODED = 100, 125, 250  # a word; an LSTM of one direction; both directions
HIDDEN = 125  # of a constituent
SCORER = 100
SHIFT, REDUCE = 0, 1
EXPLORATION = 0.1
RATE = 1e-3
SHORTEST, LONGEST = 3, 70


@dataclass
class Sentence:
    """One sample of n words; its tree has 2n - 1 nodes, as many as the parser takes steps.

    words : (n,) int64
    reach : (n + 1,) int64, the leftmost start of a constituent that ends before word k (position 0: 0)
    explore : (2n - 1,) bool, the steps at which training follows the parser's own choice
    """

    words: np.ndarray
    reach: np.ndarray
    explore: np.ndarray

    def __post_init__(self) -> None:
        self.words = np.asarray(self.words, dtype=np.int64)  # a worker gets lists
        self.reach = np.asarray(self.reach, dtype=np.int64)
        self.explore = np.asarray(self.explore, dtype=bool)

    @property
    def length(self) -> int:
        """The number of words."""
        return len(self.words)


def _reach(length: int, rng: np.random.Generator) -> np.ndarray:
    """Return how far the constituents of a random binary tree go back."""
    reach = np.arange(-1, length)
    reach[0] = 0
    spans = [(0, length)]
    while spans:
        start, end = spans.pop()
        reach[end] = min(reach[end], start)
        if end - start > 1:
            middle = int(rng.integers(start + 1, end))
            spans += [(start, middle), (middle, end)]
    return reach


def sentences(count: int, seed: int = 5) -> list[Sentence]:
    """Return `count` random sentences of 23 words on average; the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(np.round(rng.gamma(5.0, 23.0 / 5.0, count)), SHORTEST, LONGEST).astype(int)
    return [
        Sentence(rng.integers(0, VOCABULARY, length), _reach(length, rng), rng.random(2 * length - 1) < EXPLORATION)
        for length in lengths.tolist()
    ]


def parameters(seed: int = 0) -> dict[str, np.ndarray]:
    """Return the parameters under the names that the Gluon program gives them; float32.

    The scorer is wide enough that an untrained parser shifts and reduces about equally often, each sentence in an order
    of its own.
    """
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (VOCABULARY, EMBEDDING)}
    for cell in ("forward_cell", "backward_cell"):
        shapes[cell + ".i2h_weight"] = (4 * DIRECTION, EMBEDDING)
        shapes[cell + ".h2h_weight"] = (4 * DIRECTION, DIRECTION)
        shapes[cell + ".i2h_bias"] = shapes[cell + ".h2h_bias"] = (4 * DIRECTION,)
    for layer, (rows, columns) in {
        "leaf.gates": (3 * HIDDEN, ENCODED),
        "compose.gates": (5 * HIDDEN, 2 * HIDDEN),
        "scorer.hidden": (SCORER, 2 * HIDDEN + ENCODED),
        "scorer.scores": (2, SCORER),
    }.items():
        shapes[layer + ".weight"] = (rows, columns)
        shapes[layer + ".bias"] = (rows,)
    values = {name: rng.normal(0.0, 0.15, shape).astype(np.float32) for name, shape in shapes.items()}
    values["embedding.weight"] *= 6
    values["scorer.scores.bias"][:] = 0
    return values
