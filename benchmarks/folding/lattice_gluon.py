"""Workload F4 in Gluon: a lattice LSTM that tags one sentence, written as one writes it for one sentence.

The one idea: nothing here knows of batches. A node's state is the sum of what its arcs bring; characters and words have
cells of their own. The same file runs on MXNet 1.9.1 as a peer. Data: lattice.py.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from lattice import CHARACTERS, EMBEDDING, HIDDEN, RATE, TAGS, WORDS, Lattice
from remote import Arrays, GradientSide

try:
    from glueball import autograd, gluon, nd
except ImportError:  # the interpreter of a peer
    from mxnet import autograd, gluon, nd


class Cell(gluon.HybridBlock):
    """An LSTM cell. Inputs: x (1, embedding), h and c (1, hidden); outputs: the next h and c."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.input = gluon.nn.Dense(4 * HIDDEN, in_units=EMBEDDING)
            self.state = gluon.nn.Dense(4 * HIDDEN, in_units=HIDDEN, use_bias=False)

    def hybrid_forward(self, F: Any, x: Any, h: Any, c: Any) -> Any:
        gates = self.input(x) + self.state(h)
        i, f, o, u = F.split(gates, num_outputs=4, axis=1)
        c = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(u)
        return F.sigmoid(o) * F.tanh(c), c


class Sentence:
    """A lattice as the program reads it: arrays on the device, and the words that begin at each node."""

    def __init__(self, lattice: Lattice) -> None:
        self.characters = nd.array(lattice.characters, dtype="int32")
        self.tags = nd.array(lattice.tags)
        self.names = nd.array(lattice.words[:, 2], dtype="int32") if len(lattice.words) else None
        self.ends: list[list[tuple[int, int]]] = [[] for _ in range(lattice.length)]
        for number, (start, end, _) in enumerate(lattice.words.tolist()):
            self.ends[start].append((number, end))


class Tagger(gluon.Block):
    """Return the scores of each node's tags: a list of n arrays (1, tags)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.characters = gluon.nn.Embedding(CHARACTERS, EMBEDDING)
            self.words = gluon.nn.Embedding(WORDS, EMBEDDING)
            self.character_cell = Cell()
            self.word_cell = Cell()
            self.output = gluon.nn.Dense(TAGS, in_units=HIDDEN)

    def forward(self, sentence: Sentence) -> Any:
        characters = self.characters(sentence.characters)
        words = self.words(sentence.names) if sentence.names is not None else None
        arriving: list = [[] for _ in range(len(sentence.ends) + 1)]
        h = c = nd.zeros((1, HIDDEN))
        scores = []
        for node, starting in enumerate(sentence.ends):
            arriving[node + 1].append(self.character_cell(characters[node : node + 1], h, c))
            for number, end in starting:
                arriving[end].append(self.word_cell(words[number : number + 1], h, c))
            h, c = arriving[node + 1][0]
            if len(arriving[node + 1]) > 1:
                h = nd.add_n(*[state[0] for state in arriving[node + 1]])
                c = nd.add_n(*[state[1] for state in arriving[node + 1]])
            scores.append(self.output(h))
        return scores


class Gluon(GradientSide):
    """The side: `folded` says whether the loop over a batch stands in a fold."""

    def __init__(self, parameters: Arrays, samples: list[Lattice], folded: bool, sizes: tuple[int, ...]) -> None:
        self.sizes = sizes
        self._scope = contextlib.nullcontext
        if folded:
            from glueball import fold

            self._scope = fold.batching
        self._net, self._loss = Tagger(), gluon.loss.SoftmaxCrossEntropyLoss()
        self._net.initialize()
        for name, parameter in self._net._collect_params_with_prefix().items():
            parameter.set_data(nd.array(parameters[name]))
        self._net.hybridize()
        self._loss.hybridize()
        self._trainer = gluon.Trainer(self._net.collect_params(), "sgd", {"learning_rate": RATE})
        self._sentences = {id(sample): Sentence(sample) for sample in samples}

    def _recorded(self, batch: list[Lattice]) -> Any:
        with autograd.record(), self._scope():
            losses = []
            for lattice in batch:
                sentence = self._sentences[id(lattice)]
                scores = self._net(sentence)
                losses += [self._loss(score, sentence.tags[i : i + 1]) for i, score in enumerate(scores)]
            return nd.add_n(*losses)

    def loss(self, batch: list[Lattice]) -> float:
        return float(self._recorded(batch).asscalar())

    def gradients(self, batch: list[Lattice]) -> Arrays:
        self._recorded(batch).backward()
        return {name: p.grad().asnumpy() for name, p in self._net._collect_params_with_prefix().items()}

    def train(self, batch: list[Lattice]) -> None:
        self._recorded(batch).backward()
        self._trainer.step(len(batch))
        nd.waitall()

    def infer(self, batch: list[Lattice]) -> np.ndarray:
        with self._scope():
            scores = [nd.concat(*self._net(self._sentences[id(lattice)]), dim=0) for lattice in batch]
        return np.concatenate([score.asnumpy() for score in scores])

    def explain(self) -> str:
        if self._scope is contextlib.nullcontext:
            return ""
        from glueball import fold

        return str(fold.explain())


def make(parameters: Arrays, samples: list[Lattice], folded: bool = False, sizes: Any = (1, 16, 64, 256)) -> Gluon:
    """Return the side."""
    return Gluon(parameters, samples, folded, tuple(sizes))
