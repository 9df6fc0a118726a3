"""Workload F6 in Gluon: a transformer that stops as soon as it is sure, for one sentence.

The one idea: `if float(p.max()) > threshold: return`, in Python. What works row by row (projections, feed-forward) is
a hybridized block over (length, width), so that a fold may put the rows of all sentences below one another, whatever
their lengths; attention is a block of its own, because there the rows of one sentence see each other. The same file
runs on MXNet 1.9.1 as a peer. Data: early_exit_data.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from early_exit_data import CLASSES, HEADS, INNER, LAYERS, LONGEST, THRESHOLD, VOCABULARY, WIDTH, Sentence
from remote import Arrays, Side

try:
    from glueball import gluon, nd
except ImportError:  # the interpreter of a peer
    from mxnet import gluon, nd


class Attention(gluon.HybridBlock):
    """Self-attention without its projections: (length, 3 · width) to (length, width)."""

    def hybrid_forward(self, F: Any, projected: Any) -> Any:
        heads = F.reshape(projected, (0, 3 * HEADS, -1)).transpose((1, 0, 2))  # (3 · heads, length, width / heads)
        q, k, v = F.split(heads, num_outputs=3, axis=0)
        weights = F.softmax(F.batch_dot(q, k, transpose_b=True) * (WIDTH // HEADS) ** -0.5)
        return F.reshape(F.batch_dot(weights, v).transpose((1, 0, 2)), (0, -1))


class Rest(gluon.HybridBlock):
    """All that follows attention, row by row. Inputs: x and attended (length, width); output: the same shape."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.attended = gluon.nn.Dense(WIDTH, in_units=WIDTH)
            self.norm_attended = gluon.nn.LayerNorm(in_channels=WIDTH)
            self.widen = gluon.nn.Dense(INNER, activation="relu", in_units=WIDTH)
            self.narrow = gluon.nn.Dense(WIDTH, in_units=INNER)
            self.norm_inner = gluon.nn.LayerNorm(in_channels=WIDTH)

    def hybrid_forward(self, F: Any, x: Any, attended: Any) -> Any:
        x = self.norm_attended(x + self.attended(attended))
        return self.norm_inner(x + self.narrow(self.widen(x)))


class Layer(gluon.Block):
    """One layer: (length, width) to the same, and the scores (1, classes) of its classifier."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.project = gluon.nn.Dense(3 * WIDTH, in_units=WIDTH)
            self.attention = Attention()
            self.rest = Rest()
            self.exit = gluon.nn.Dense(CLASSES, in_units=WIDTH)

    def forward(self, x: Any) -> Any:
        x = self.rest(x, self.attention(self.project(x)))
        return x, self.exit(x[0:1])


class Classifier(gluon.Block):
    """Return after how many layers a sentence was decided, and its scores (1, classes)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.tokens = gluon.nn.Embedding(VOCABULARY, WIDTH)
            self.places = gluon.nn.Embedding(LONGEST, WIDTH)
            self.layers = gluon.nn.Sequential()
            for _ in range(LAYERS):
                self.layers.add(Layer())

    def forward(self, tokens: Any, places: Any) -> Any:
        x = self.tokens(tokens) + self.places(places)
        scores = None
        for depth, layer in enumerate(self.layers, 1):
            x, scores = layer(x)
            if float(nd.softmax(scores).max().asscalar()) > THRESHOLD:
                return depth, scores
        return LAYERS, scores


class Gluon(Side):
    """The side: `folded` says whether a batch is a `fold.map` or a loop."""

    def __init__(self, parameters: Arrays, samples: list[Sentence], folded: bool, hybridized: bool) -> None:
        self._folded = folded
        self._net = Classifier()
        self._net.initialize()
        for name, parameter in self._net._collect_params_with_prefix().items():
            parameter.set_data(nd.array(parameters[name]))
        if hybridized:
            self._net.hybridize()
        self._inputs = {
            id(sample): (nd.array(sample.tokens, dtype="int32"), nd.arange(len(sample.tokens), dtype="int32"))
            for sample in samples
        }

    def _classify(self, sentence: Sentence) -> Any:
        return self._net(*self._inputs[id(sentence)])

    def infer(self, batch: list[Sentence]) -> np.ndarray:
        if self._folded:
            from glueball import fold

            found = fold.map(self._classify, batch)
        else:
            found = [self._classify(sentence) for sentence in batch]
        return np.stack([np.append(scores.asnumpy().ravel(), depth) for depth, scores in found])[:, [-1, 0, 1, 2]]

    def explain(self) -> str:
        if not self._folded:
            return ""
        from glueball import fold

        return str(fold.explain())


def make(
    parameters: Arrays,
    samples: list[Sentence],
    folded: bool = False,
    hybridized: bool = True,
    sizes: Sequence[int] = Side.sizes,
) -> Gluon:
    """Return the side."""
    side = Gluon(parameters, samples, folded, hybridized)
    side.sizes = tuple(sizes)
    return side
