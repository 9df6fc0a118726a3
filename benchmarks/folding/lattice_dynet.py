"""Workload F4 in DyNet 2.1: one graph of all lattices of a batch, which DyNet batches by itself.

The one idea: the graph is built lattice by lattice, with DyNet's own fused LSTM cell; `esum` of all losses is run once.
`autobatch` is DyNet's own option: 0 none, 1 by agenda, 2 by depth. Data and parameters: lattice.py.
"""

from __future__ import annotations

from typing import Any

import dynet_config
import numpy as np
from lattice import CHARACTERS, EMBEDDING, HIDDEN, RATE, WORDS, Lattice
from remote import Arrays, TrainingSide


class Dynet(TrainingSide):
    """The side. DyNet's gradients are read row by row; the loss after a step of training is compared instead."""

    def __init__(self, parameters: Arrays, autobatch: int, sizes: tuple[int, ...]) -> None:
        dynet_config.set(mem=3000, autobatch=autobatch, random_seed=1)
        import dynet

        self.dy, self.sizes = dynet, sizes
        for cell in ("character_cell", "word_cell"):
            parameters[cell + ".input.bias"][HIDDEN : 2 * HIDDEN] -= 1  # DyNet's cell adds it by itself
        self._model = model = dynet.ParameterCollection()
        self._tables = {
            name: model.add_lookup_parameters((rows, EMBEDDING), init=parameters[name + ".weight"])
            for name, rows in (("characters", CHARACTERS), ("words", WORDS))
        }
        self._weights = {
            name: model.add_parameters(value.shape, init=dynet.NumpyInitializer(value))
            for name, value in parameters.items()
            if name.split(".")[0] not in self._tables
        }
        self._trainer = dynet.SimpleSGDTrainer(model, learning_rate=RATE)
        self._trainer.set_sparse_updates(True)
        self._trainer.set_clip_threshold(0)

    def _cell(self, name: str, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
        dy, w = self.dy, self._weights
        terms = (w[name + suffix] for suffix in (".input.weight", ".state.weight", ".input.bias"))
        gates = dy.vanilla_lstm_gates(x, h, *terms)
        c = dy.vanilla_lstm_c(c, gates)
        return dy.vanilla_lstm_h(c, gates), c

    def _scores(self, lattice: Lattice) -> list[Any]:
        dy, w = self.dy, self._weights
        arriving: list[list[tuple[Any, Any]]] = [[] for _ in range(lattice.length + 1)]
        words: list[list[tuple[int, int]]] = [[] for _ in range(lattice.length)]
        for start, end, word in lattice.words.tolist():
            words[start].append((end, word))
        h = c = dy.zeros(HIDDEN)
        scores = []
        for node, character in enumerate(lattice.characters.tolist()):
            arriving[node + 1].append(self._cell("character_cell", self._tables["characters"][character], h, c))
            for end, word in words[node]:
                arriving[end].append(self._cell("word_cell", self._tables["words"][word], h, c))
            h, c = arriving[node + 1][0]
            if len(arriving[node + 1]) > 1:
                h = dy.esum([state[0] for state in arriving[node + 1]])
                c = dy.esum([state[1] for state in arriving[node + 1]])
            scores.append(dy.affine_transform([w["output.bias"], w["output.weight"], h]))
        return scores

    def _total(self, batch: list[Lattice]) -> Any:
        dy = self.dy
        dy.renew_cg()
        losses = [
            dy.pickneglogsoftmax(score, tag)
            for lattice in batch
            for score, tag in zip(self._scores(lattice), lattice.tags.tolist())
        ]
        return dy.esum(losses)

    def loss(self, batch: list[Lattice]) -> float:
        return self._total(batch).value()

    def train(self, batch: list[Lattice]) -> None:
        loss = self._total(batch) * (1.0 / len(batch))
        loss.forward()
        loss.backward()
        self._trainer.update()

    def infer(self, batch: list[Lattice]) -> np.ndarray:
        self.dy.renew_cg()
        scores = [score for lattice in batch for score in self._scores(lattice)]
        self.dy.forward(scores)
        return np.stack([score.npvalue() for score in scores])


def make(parameters: Arrays, samples: list[Lattice], autobatch: int = 1, sizes: Any = (1, 16, 64, 256)) -> Dynet:
    """Return the side."""
    return Dynet(parameters, autobatch, tuple(sizes))
