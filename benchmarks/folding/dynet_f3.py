"""F3 in DyNet 2.1 with autobatching; runs in DyNet's own Python.

The one idea: DyNet's own LSTM builder, whose gates are in the order i, f, o, g and whose forget gate has 1 added; the
shared parameters (i, f, g, o) are brought into that form.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from dynet_f1 import configure
from gluon_f3 import LSTMS
from remote import Arrays, GradientSide, Side


class DyNetSide(GradientSide):
    """The program of one sentence; the losses of a batch are summed and evaluated once."""

    exact_update = False  # one bias where others have two, and its Adam corrects the bias in another place

    def __init__(self, dy: Any, parameters: Arrays) -> None:
        self.dy, self.collection = dy, dy.ParameterCollection()
        self.words = self.collection.lookup_parameters_from_numpy(parameters["words"])
        self.characters = self.collection.lookup_parameters_from_numpy(parameters["characters"])
        self.p = {name: self.collection.parameters_from_numpy(parameters[name]) for name in ("Wm", "bm", "Wt", "bt")}
        self.lstms = {}
        for name, (size, hidden) in LSTMS.items():
            self.lstms[name] = dy.VanillaLSTMBuilder(1, size, hidden, self.collection)
            order = np.concatenate([np.arange(hidden) + k * hidden for k in (0, 1, 3, 2)])
            W, U, b, d = (parameters[name + end][order] for end in "WUbd")
            bias = b + d
            bias[hidden : 2 * hidden] -= 1
            for parameter, value in zip(self.lstms[name].get_parameters()[0], (W, U, bias)):
                parameter.set_value(value)
        self.trainer = dy.AdamTrainer(self.collection, 1e-3)
        self.trainer.set_clip_threshold(0)

    def run(self, name: str, inputs: list[Any]) -> list[Any]:
        """Return the output after each input."""
        return self.lstms[name].initial_state().transduce(inputs)

    def spell(self, word: list[int]) -> Any:
        """Return the vector of a word from its characters."""
        letters = [self.dy.lookup(self.characters, letter) for letter in word]
        return self.dy.concatenate([self.run("cf", letters)[-1], self.run("cb", letters[::-1])[-1]])

    def scores(self, sentence: Any) -> list[Any]:
        """Return the scores of each word."""
        dy, p = self.dy, self.p
        x = [
            self.spell(letters) if letters else dy.lookup(self.words, word)
            for word, letters in zip(sentence.words, sentence.characters)
        ]
        before, after = self.run("wf", x), self.run("wb", x[::-1])[::-1]
        hidden = [
            dy.tanh(dy.affine_transform([p["bm"], p["Wm"], dy.concatenate([b, a])])) for b, a in zip(before, after)
        ]
        return [dy.affine_transform([p["bt"], p["Wt"], h]) for h in hidden]

    def total(self, batch: list[Any]) -> Any:
        """Return the sum of the losses."""
        self.dy.renew_cg()
        losses = [
            self.dy.pickneglogsoftmax(score, tag)
            for sentence in batch
            for score, tag in zip(self.scores(sentence), sentence.tags)
        ]
        return self.dy.esum(losses)

    def loss(self, batch: list[Any]) -> float:
        return float(self.total(batch).value())

    def gradients(self, batch: list[Any]) -> Arrays:
        total = self.total(batch)
        total.forward()
        total.backward()
        found = {name: value.grad_as_array().copy() for name, value in self.p.items()}
        every = list(self.p.values())
        for name, (_, hidden) in LSTMS.items():
            own = self.lstms[name].get_parameters()[0]
            every += own
            order = np.concatenate([np.arange(hidden) + k * hidden for k in (0, 1, 3, 2)])
            for end, parameter in zip("WUb", own):
                found[name + end] = parameter.grad_as_array()[order].copy()
        for parameter in every:
            parameter.scale_gradient(0)
        return found

    def train(self, batch: list[Any]) -> None:
        total = self.total(batch) * (1.0 / len(batch))
        total.forward()
        total.backward()
        self.trainer.update()

    def infer(self, batch: list[Any]) -> np.ndarray:
        self.dy.renew_cg()
        scores = [score for sentence in batch for score in self.scores(sentence)]
        return np.asarray(self.dy.concatenate_cols(scores).npvalue()).T


def make(parameters: Arrays, samples: list[Any], autobatch: int = 1) -> Side:
    """Return DyNet's side."""
    return DyNetSide(configure(autobatch, "6000"), parameters)
