"""Workload F5 in Gluon: a greedy shift-reduce parser that builds the vectors of constituents, for one sentence.

The one idea: the program reads its own scores in Python, `int(scores.argmax())`, and goes where they say. It knows no
batch; `fold.map` runs many of it that wait for each other at every value they read. Training follows an oracle, and at
some steps the parser's own choice. The same file runs on MXNet 1.9.1 as a peer. Data: parser_data.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from parser_data import DIRECTION, EMBEDDING, ENCODED, HIDDEN, RATE, REDUCE, SCORER, SHIFT, VOCABULARY, Sentence
from remote import Arrays, GradientSide, Side

try:
    from glueball import autograd, gluon, nd
except ImportError:  # the interpreter of a peer
    from mxnet import autograd, gluon, nd


class Leaf(gluon.HybridBlock):
    """A word becomes a constituent. Input: x (1, encoded); outputs: h and c (1, hidden)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.gates = gluon.nn.Dense(3 * HIDDEN, in_units=ENCODED)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        i, o, u = F.split(self.gates(x), num_outputs=3, axis=1)
        c = F.sigmoid(i) * F.tanh(u)
        return F.sigmoid(o) * F.tanh(c), c


class Compose(gluon.HybridBlock):
    """Two constituents become one. Inputs and outputs: h and c (1, hidden)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.gates = gluon.nn.Dense(5 * HIDDEN, in_units=2 * HIDDEN)

    def hybrid_forward(self, F: Any, left_h: Any, left_c: Any, right_h: Any, right_c: Any) -> Any:
        gates = self.gates(F.concat(left_h, right_h, dim=1))
        i, o, u, left, right = F.split(gates, num_outputs=5, axis=1)
        c = F.sigmoid(i) * F.tanh(u) + F.sigmoid(left) * left_c + F.sigmoid(right) * right_c
        return F.sigmoid(o) * F.tanh(c), c


class Scorer(gluon.HybridBlock):
    """Scores (1, 2) of shifting and reducing, of the two topmost constituents and the next word."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.hidden = gluon.nn.Dense(SCORER, activation="tanh", in_units=2 * HIDDEN + ENCODED)
            self.scores = gluon.nn.Dense(2, in_units=SCORER)

    def hybrid_forward(self, F: Any, top: Any, below: Any, word: Any) -> Any:
        return self.scores(self.hidden(F.concat(top, below, word, dim=1)))


class Parser(gluon.Block):
    """Parse one sentence greedily: return the actions, and the losses of the decisions where there is an oracle."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.embedding = gluon.nn.Embedding(VOCABULARY, EMBEDDING)
            self.forward_cell = gluon.rnn.LSTMCell(DIRECTION, input_size=EMBEDDING)
            self.backward_cell = gluon.rnn.LSTMCell(DIRECTION, input_size=EMBEDDING)
            self.leaf = Leaf()
            self.compose = Compose()
            self.scorer = Scorer()
            self.loss = gluon.loss.SoftmaxCrossEntropyLoss()

    def encode(self, words: Any) -> list[Any]:
        """Return what each word means where it stands, (1, encoded), from left and from right."""
        embedded = self.embedding(words)
        vectors = [embedded[i : i + 1] for i in range(len(words))]
        directions = []
        for cell, inputs in ((self.forward_cell, vectors), (self.backward_cell, vectors[::-1])):
            state, outputs = [nd.zeros((1, DIRECTION)), nd.zeros((1, DIRECTION))], []
            for x in inputs:
                output, state = cell(x, state)
                outputs.append(output)
            directions.append(outputs)
        return [nd.concat(left, right, dim=1) for left, right in zip(directions[0], directions[1][::-1])]

    def forward(self, words: Any, oracle: Sentence | None = None) -> Any:
        buffer = self.encode(words)
        leaves = [self.leaf(x) for x in buffer]
        stack: list[Any] = []  # h, c, and where the constituent starts
        actions, losses, position = [], [], 0
        while position < len(buffer) or len(stack) > 1:
            if len(stack) < 2:
                action = SHIFT
            elif position == len(buffer):
                action = REDUCE
            else:
                scores = self.scorer(stack[-1][0], stack[-2][0], buffer[position])
                if oracle is not None:
                    action = REDUCE if oracle.reach[position] <= stack[-2][2] else SHIFT
                    losses.append(self.loss(scores, nd.array([action])))
                if oracle is None or oracle.explore[len(actions)]:
                    action = int(scores.argmax().asscalar())
            if action == SHIFT:
                stack.append((*leaves[position], position))
                position += 1
            else:
                right, left = stack.pop(), stack.pop()
                stack.append((*self.compose(*left[:2], *right[:2]), left[2]))
            actions.append(action)
        return actions, losses


class Gluon(GradientSide):
    """The side: `folded` says whether a batch is a `fold.map` or a loop."""

    def __init__(self, parameters: Arrays, samples: list[Sentence], folded: bool, sizes: tuple[int, ...]) -> None:
        self.sizes, self._folded = sizes, folded
        self._net = Parser()
        self._net.initialize()
        for name, parameter in self._net._collect_params_with_prefix().items():
            parameter.set_data(nd.array(parameters[name]))
        self._net.hybridize()
        self._trainer = gluon.Trainer(self._net.collect_params(), "sgd", {"learning_rate": RATE})
        self._words = {id(sample): nd.array(sample.words, dtype="int32") for sample in samples}

    def _each(self, program: Any, batch: list[Sentence]) -> list[Any]:
        if not self._folded:
            return [program(sentence) for sentence in batch]
        from glueball import fold

        return fold.map(program, batch)

    def _learn(self, sentence: Sentence) -> Any:
        return nd.add_n(*self._net(self._words[id(sentence)], sentence)[1])

    def _total(self, batch: list[Sentence]) -> Any:
        with autograd.record():
            return nd.add_n(*self._each(self._learn, batch))

    def loss(self, batch: list[Sentence]) -> float:
        return float(self._total(batch).asscalar())

    def gradients(self, batch: list[Sentence]) -> Arrays:
        self._total(batch).backward()
        return {name: p.grad().asnumpy() for name, p in self._net._collect_params_with_prefix().items()}

    def train(self, batch: list[Sentence]) -> None:
        self._total(batch).backward()
        self._trainer.step(len(batch))
        nd.waitall()

    def infer(self, batch: list[Sentence]) -> np.ndarray:
        return np.concatenate(self._each(lambda sentence: self._net(self._words[id(sentence)])[0], batch))

    def explain(self) -> str:
        if not self._folded:
            return ""
        from glueball import fold

        return str(fold.explain())


def make(parameters: Arrays, samples: list[Sentence], folded: bool = False, sizes: Any = Side.sizes) -> Gluon:
    """Return the side."""
    return Gluon(parameters, samples, folded, tuple(sizes))
