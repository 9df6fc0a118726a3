"""Workload F6, the data: sentences of very different lengths, and the parameters of a transformer that stops early.

The one idea: after each of 12 layers a classifier looks at the first row; where its largest probability passes a
threshold, the sentence is done. Weights are random, with attention sharp enough that the first row depends on the whole
sentence, and classifiers of such a temperature that sentences leave everywhere, after 6 layers on average. Programs:
early_exit_gluon.py, early_exit_torch.py. Nothing but NumPy is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LAYERS, WIDTH, HEADS, INNER, CLASSES = 12, 256, 4, 1024, 3
VOCABULARY = 5000
SHORTEST, LONGEST = 16, 128
THRESHOLD = 0.9
TEMPERATURE = 1.15
SHARPNESS = 2.0  # of attention: the standard deviation of its queries and keys


@dataclass
class Sentence:
    """One sample: its tokens (length,), int64, of which the first stands for the whole."""

    tokens: np.ndarray

    def __post_init__(self) -> None:
        self.tokens = np.asarray(self.tokens, dtype=np.int64)  # a worker gets a list


def sentences(count: int, seed: int = 6) -> list[Sentence]:
    """Return `count` random sentences of 16 to 128 tokens; the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(SHORTEST, LONGEST + 1, count)
    return [Sentence(np.concatenate([[0], rng.integers(1, VOCABULARY, length - 1)])) for length in lengths]


def parameters(seed: int = 0) -> dict[str, np.ndarray]:
    """Return the parameters under the names that the Gluon program gives them; float32."""
    rng = np.random.default_rng(seed)

    def weight(rows: int, columns: int, gain: float = 1.0) -> np.ndarray:
        return (rng.normal(0.0, gain / columns**0.5, (rows, columns))).astype(np.float32)

    values = {
        "tokens.weight": rng.normal(0.0, 1.0, (VOCABULARY, WIDTH)).astype(np.float32),
        "places.weight": rng.normal(0.0, 0.3, (LONGEST, WIDTH)).astype(np.float32),
    }
    values["tokens.weight"][0] *= 0.1  # what stands for the whole says little of its own
    for number in range(LAYERS):
        layer = {
            "project.weight": np.concatenate([weight(2 * WIDTH, WIDTH, SHARPNESS), weight(WIDTH, WIDTH, 2.0)]),
            "rest.attended.weight": weight(WIDTH, WIDTH),
            "rest.widen.weight": weight(INNER, WIDTH),
            "rest.narrow.weight": weight(WIDTH, INNER),
            "exit.weight": weight(CLASSES, WIDTH, TEMPERATURE),
        }
        for name, value in list(layer.items()):
            layer[name.replace("weight", "bias")] = np.zeros(len(value), dtype=np.float32)
        for norm in ("rest.norm_attended", "rest.norm_inner"):
            layer[norm + ".gamma"] = np.ones(WIDTH, dtype=np.float32)
            layer[norm + ".beta"] = np.zeros(WIDTH, dtype=np.float32)
        values.update({f"layers.{number}.{name}": value for name, value in layer.items()})
    return values
