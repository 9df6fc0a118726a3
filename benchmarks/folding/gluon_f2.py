"""F2 as a newcomer writes it in Gluon: a binary Tree-LSTM over a sentence, and the loss of every phrase in it.

The one idea: the program of one sentence, and nothing else; see gluon_f1.py. The formulas are in f2_sentiment.py.
"""

from __future__ import annotations

from typing import Any

from gluon_program import GluonProgram
from remote import Arrays, Side

EMBEDDING = HIDDEN = 256
CLASSES = 5


def classes(mx: Any) -> Any:
    """Return the network's class, over glueball or MXNet."""
    gluon = mx.gluon

    class Leaf(gluon.HybridBlock):
        """A word (1, E) to its state."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            with self.name_scope():
                self.gates = gluon.nn.Dense(3 * HIDDEN, in_units=EMBEDDING)

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            i, o, u = F.split(self.gates(x), num_outputs=3, axis=1)
            c = F.sigmoid(i) * F.tanh(u)
            return F.sigmoid(o) * F.tanh(c), c

    class Join(gluon.HybridBlock):
        """The states of two phrases, side by side, to that of the phrase they make."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            with self.name_scope():
                self.gates = gluon.nn.Dense(3 * HIDDEN, in_units=2 * HIDDEN)
                self.keep_left = gluon.nn.Dense(HIDDEN, in_units=HIDDEN, activation="sigmoid")
                self.keep_right = gluon.nn.Dense(HIDDEN, in_units=HIDDEN, activation="sigmoid")

        def hybrid_forward(self, F: Any, left: Any, left_c: Any, right: Any, right_c: Any) -> Any:
            i, o, u = F.split(self.gates(F.concat(left, right, dim=1)), num_outputs=3, axis=1)
            c = F.sigmoid(i) * F.tanh(u) + self.keep_left(left) * left_c + self.keep_right(right) * right_c
            return F.sigmoid(o) * F.tanh(c), c

    class Sentiment(gluon.Block):
        """A sentence to the scores (1, 5) of each phrase, children before their parent."""

        def __init__(self, vocabulary: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            with self.name_scope():
                self.embed = gluon.nn.Embedding(vocabulary, EMBEDDING)
                self.leaf, self.join = Leaf(), Join()
                self.score = gluon.nn.Dense(CLASSES, in_units=HIDDEN, use_bias=False)

        def read(self, phrase: Any, x: Any, scores: list[Any]) -> Any:
            """Return the state of a phrase, and put its score at the end of the list."""
            if phrase.left is None:
                state = self.leaf(x[phrase.place : phrase.place + 1])
            else:
                left, right = self.read(phrase.left, x, scores), self.read(phrase.right, x, scores)
                state = self.join(left[0], left[1], right[0], right[1])
            scores.append(self.score(state[0]))
            return state

        def forward(self, review: Any) -> list[Any]:
            scores: list[Any] = []
            self.read(review.root, self.embed(review.words), scores)
            return scores

    return Sentiment


class Example:
    """A sentence, loaded once: its tree, its words, and a label (1,) for each phrase."""

    __slots__ = ("labels", "root", "words")

    def __init__(self, nd: Any, review: Any) -> None:
        self.root = review.root
        self.words = nd.array([word for word in review.words if word >= 0], dtype="int32")
        self.labels = [nd.array([label]) for label in review.labels]


class GluonSide(GluonProgram):
    """F2 by the program above: `fold` is "on", "off", or "" for MXNet, which has none."""

    def __init__(self, mx: Any, parameters: Arrays, samples: list[Any], hybridize: bool, fold: str) -> None:
        self.mx, self.fold = mx, fold
        if fold == "off":
            self.sizes = (1, 16, 64)  # a rate that no longer changes with the batch
        self.examples = {id(sample): Example(mx.nd, sample) for sample in samples}
        self.net = net = classes(mx)(parameters["embed"].shape[0])
        net.initialize()
        self.named = {
            "embed": net.embed.weight,
            "W": net.leaf.gates.weight,
            "b": net.leaf.gates.bias,
            "U": net.join.gates.weight,
            "bu": net.join.gates.bias,
            "U1": net.join.keep_left.weight,
            "b1": net.join.keep_left.bias,
            "U2": net.join.keep_right.weight,
            "b2": net.join.keep_right.bias,
            "Ws": net.score.weight,
        }
        self.take(parameters)
        self.cross_entropy = mx.gluon.loss.SoftmaxCrossEntropyLoss()
        if hybridize:
            net.hybridize()
            self.cross_entropy.hybridize()
        self.trainer = mx.gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 1e-3})

    def losses(self, example: Any) -> list[Any]:
        return [self.cross_entropy(score, label) for score, label in zip(self.net(example), example.labels)]

    def scores(self, example: Any) -> list[Any]:
        return self.net(example)


def make(parameters: Arrays, samples: list[Any], hybridize: bool = False) -> Side:
    """Return MXNet's side, in MXNet's Python."""
    import mxnet

    side = GluonSide(mxnet, parameters, samples, hybridize, "")
    side.sizes = (1, 16)
    return side
