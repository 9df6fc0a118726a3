"""F3 as a newcomer writes it in Gluon: a tagger that reads a rare word by its characters, with LSTM cells.

The one idea: the program of one sentence, and nothing else; see gluon_f1.py. The formulas are in f3_tagger.py.
"""

from __future__ import annotations

from typing import Any

from gluon_program import GluonProgram
from remote import Arrays, Side

WORD, CHARACTER, CHARACTER_HIDDEN, HIDDEN, MLP = 256, 64, 128, 256, 256
LSTMS = {  # name: (input, hidden) of the four LSTMs
    "cf": (CHARACTER, CHARACTER_HIDDEN),
    "cb": (CHARACTER, CHARACTER_HIDDEN),
    "wf": (WORD, HIDDEN),
    "wb": (WORD, HIDDEN),
}


def classes(mx: Any) -> Any:
    """Return the network's class, over glueball or MXNet."""
    gluon, nd = mx.gluon, mx.nd

    class Head(gluon.HybridBlock):
        """What was read up to a word from both sides, to the scores (1, T) of the tags."""

        def __init__(self, tags: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            with self.name_scope():
                self.hidden = gluon.nn.Dense(MLP, in_units=2 * HIDDEN, activation="tanh")
                self.score = gluon.nn.Dense(tags, in_units=MLP)

        def hybrid_forward(self, F: Any, before: Any, after: Any) -> Any:
            return self.score(self.hidden(F.concat(before, after, dim=1)))

    class Tagger(gluon.Block):
        """A sentence to the scores (n, T) of its words."""

        def __init__(self, words: int, characters: int, tags: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            with self.name_scope():
                self.words = gluon.nn.Embedding(words, WORD)
                self.characters = gluon.nn.Embedding(characters, CHARACTER)
                self.cf, self.cb = (gluon.rnn.LSTMCell(CHARACTER_HIDDEN, input_size=CHARACTER) for _ in range(2))
                self.wf, self.wb = (gluon.rnn.LSTMCell(HIDDEN, input_size=WORD) for _ in range(2))
                self.head = Head(tags)

        def run(self, cell: Any, inputs: list[Any]) -> list[Any]:
            """Return the output after each input."""
            state, outputs = cell.begin_state(batch_size=1), []
            for x in inputs:
                h, state = cell(x, state)
                outputs.append(h)
            return outputs

        def spell(self, word: Any) -> Any:
            """Return the vector (1, 256) of a word from its characters."""
            rows = self.characters(word)
            letters = [rows[i : i + 1] for i in range(len(word))]
            return nd.concat(self.run(self.cf, letters)[-1], self.run(self.cb, letters[::-1])[-1], dim=1)

        def forward(self, sentence: Any) -> Any:
            known = iter(())
            if sentence.known is not None:
                rows = self.words(sentence.known)
                known = (rows[i : i + 1] for i in range(len(sentence.known)))
            x = [self.spell(rare) if rare is not None else next(known) for rare in sentence.rare]
            before, after = self.run(self.wf, x), self.run(self.wb, x[::-1])[::-1]
            return nd.concat(*[self.head(b, a) for b, a in zip(before, after)], dim=0)

    return Tagger


class Example:
    """A sentence, loaded once: the frequent words as one array, each rare word's characters, and the tags."""

    __slots__ = ("known", "rare", "tags")

    def __init__(self, nd: Any, sentence: Any) -> None:
        known = [word for word in sentence.words if word >= 0]
        self.known = nd.array(known, dtype="int32") if known else None
        self.rare = [nd.array(letters, dtype="int32") if letters else None for letters in sentence.characters]
        self.tags = nd.array(sentence.tags)


class GluonSide(GluonProgram):
    """F3 by the program above: `fold` is "on", "off", or "" for MXNet, which has none."""

    ignores_stale = True  # there may be no rare word in a batch

    def __init__(self, mx: Any, parameters: Arrays, samples: list[Any], hybridize: bool, fold: str) -> None:
        self.mx, self.fold = mx, fold
        if fold == "off":
            self.sizes = (1, 16, 64)  # a rate that no longer changes with the batch
        self.examples = {id(sample): Example(mx.nd, sample) for sample in samples}
        net = classes(mx)(len(parameters["words"]), len(parameters["characters"]), len(parameters["bt"]))
        net.initialize()
        self.net, head = net, net.head
        self.named = {"words": net.words.weight, "characters": net.characters.weight}
        self.named.update(Wm=head.hidden.weight, bm=head.hidden.bias, Wt=head.score.weight, bt=head.score.bias)
        for name in LSTMS:
            cell = getattr(net, name)
            for end, parameter in zip("WUbd", (cell.i2h_weight, cell.h2h_weight, cell.i2h_bias, cell.h2h_bias)):
                self.named[name + end] = parameter
        self.take(parameters)
        self.cross_entropy = mx.gluon.loss.SoftmaxCrossEntropyLoss()
        if hybridize:
            net.hybridize()
            self.cross_entropy.hybridize()
        self.trainer = mx.gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 1e-3})

    def losses(self, example: Any) -> list[Any]:
        return [self.cross_entropy(self.net(example), example.tags).sum()]

    def scores(self, example: Any) -> list[Any]:
        return [self.net(example)]


def make(parameters: Arrays, samples: list[Any], hybridize: bool = False) -> Side:
    """Return MXNet's side, in MXNet's Python."""
    import mxnet

    side = GluonSide(mxnet, parameters, samples, hybridize, "")
    side.sizes = (1, 16)
    return side
