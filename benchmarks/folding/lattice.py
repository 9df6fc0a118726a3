"""Workload F4, the data: word lattices over Chinese-like sentences, and the parameters of the tagger that reads them.

The one idea: a lattice is a sentence of characters in which some spans of two to four characters are words of a
dictionary. Nodes are the gaps between characters; every character is an arc from a node to the next one, every word an
arc that jumps over its characters. Lengths follow a gamma distribution, so that a batch holds short and long ones; the
mean numbers are those of a Chinese tagging corpus: 44.1 nodes, 43.1 character arcs and 23.4 word arcs. Nothing but
NumPy is imported: every peer's interpreter reads this file. Models: lattice_gluon.py, lattice_torch.py,
lattice_dynet.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EMBEDDING = 128
HIDDEN = 128
TAGS = 4
RATE = 0.05  # of plain gradient descent on the mean loss of a batch
CHARACTERS = 3000
WORDS = 5000
WORD_CHANCE = 0.569  # of a character that begins a word; words that would reach past the end are dropped
SHORTEST, LONGEST = 4, 160


@dataclass
class Lattice:
    """One sample: n characters, their tags, and the words among them.

    characters, tags : (n,) int64
    words : (words, 3) int64, rows (start, end, word) in the order of start; the arc leads from node start to node end
    """

    characters: np.ndarray
    tags: np.ndarray
    words: np.ndarray

    def __post_init__(self) -> None:
        for name in ("characters", "tags"):
            setattr(self, name, np.asarray(getattr(self, name), dtype=np.int64))  # a worker gets lists
        self.words = np.asarray(self.words, dtype=np.int64).reshape(-1, 3)

    @property
    def length(self) -> int:
        """The number of characters; there is one node more."""
        return len(self.characters)


def lattices(count: int, seed: int = 4) -> list[Lattice]:
    """Return `count` random lattices; the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(np.round(rng.gamma(3.0, 43.6 / 3.0, count)), SHORTEST, LONGEST).astype(int)
    result: list[Lattice] = []
    for length in lengths.tolist():
        begins = rng.random(length) < WORD_CHANCE
        spans = rng.integers(2, 5, length)
        names = rng.integers(0, WORDS, length)
        start = np.flatnonzero(begins & (np.arange(length) + spans <= length))
        words = np.stack([start, start + spans[start], names[start]], 1)
        result.append(Lattice(rng.integers(0, CHARACTERS, length), rng.integers(0, TAGS, length), words))
    return result


def statistics(samples: list[Lattice]) -> dict[str, float]:
    """Return the mean numbers of nodes and arcs."""
    nodes = float(np.mean([sample.length + 1 for sample in samples]))
    words = float(np.mean([len(sample.words) for sample in samples]))
    return {"nodes": nodes, "character arcs": nodes - 1.0, "word arcs": words}


def parameters(seed: int = 0) -> dict[str, np.ndarray]:
    """Return the parameters of the tagger under the names that the Gluon program gives them; float32."""
    rng = np.random.default_rng(seed)
    shapes = {
        "characters.weight": (CHARACTERS, EMBEDDING),
        "words.weight": (WORDS, EMBEDDING),
        "output.weight": (TAGS, HIDDEN),
        "output.bias": (TAGS,),
    }
    for cell in ("character_cell", "word_cell"):
        shapes[cell + ".input.weight"] = (4 * HIDDEN, EMBEDDING)
        shapes[cell + ".input.bias"] = (4 * HIDDEN,)
        shapes[cell + ".state.weight"] = (4 * HIDDEN, HIDDEN)
    return {name: rng.uniform(-0.1, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
