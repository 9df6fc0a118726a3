"""F2 in DyNet 2.1 with autobatching; runs in DyNet's own Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from dynet_f1 import configure
from remote import Arrays, GradientSide, Side

H = 256


class DyNetSide(GradientSide):
    """The program of one sentence; the losses of all phrases of a batch are summed and evaluated once."""

    exact_update = False  # its Adam corrects the bias in another place

    def __init__(self, dy: Any, parameters: Arrays) -> None:
        self.dy, self.collection = dy, dy.ParameterCollection()
        self.embed = self.collection.lookup_parameters_from_numpy(parameters["embed"])
        self.p = {
            name: self.collection.parameters_from_numpy(value) for name, value in parameters.items() if name != "embed"
        }
        self.trainer = dy.AdamTrainer(self.collection, 1e-3)
        self.trainer.set_clip_threshold(0)

    def read(self, phrase: Any, scores: list[Any]) -> Any:
        """Return the state of a phrase; put its score at the end of the list."""
        dy, p = self.dy, self.p
        kept = []
        if phrase.left is None:
            gates = dy.affine_transform([p["b"], p["W"], dy.lookup(self.embed, phrase.word)])
        else:
            (h1, c1), (h2, c2) = self.read(phrase.left, scores), self.read(phrase.right, scores)
            gates = dy.affine_transform([p["bu"], p["U"], dy.concatenate([h1, h2])])
            kept = [
                dy.cmult(dy.logistic(dy.affine_transform([p["b1"], p["U1"], h1])), c1),
                dy.cmult(dy.logistic(dy.affine_transform([p["b2"], p["U2"], h2])), c2),
            ]
        i, o, u = (dy.pick_range(gates, k * H, (k + 1) * H) for k in range(3))
        c = dy.cmult(dy.logistic(i), dy.tanh(u))
        c = dy.esum([c, *kept]) if kept else c
        h = dy.cmult(dy.logistic(o), dy.tanh(c))
        scores.append(p["Ws"] * h)
        return h, c

    def total(self, batch: list[Any]) -> Any:
        """Return the sum of the losses."""
        dy, losses = self.dy, []
        dy.renew_cg()
        for review in batch:
            scores: list[Any] = []
            self.read(review.root, scores)
            losses += [dy.pickneglogsoftmax(score, label) for score, label in zip(scores, review.labels)]
        return dy.esum(losses)

    def loss(self, batch: list[Any]) -> float:
        return float(self.total(batch).value())

    def gradients(self, batch: list[Any]) -> Arrays:
        total = self.total(batch)
        total.forward()
        total.backward()
        found = {name: value.grad_as_array().copy() for name, value in self.p.items()}
        for value in self.p.values():
            value.scale_gradient(0)
        return found

    def train(self, batch: list[Any]) -> None:
        total = self.total(batch) * (1.0 / len(batch))
        total.forward()
        total.backward()
        self.trainer.update()

    def infer(self, batch: list[Any]) -> np.ndarray:
        self.dy.renew_cg()
        scores: list[Any] = []
        for review in batch:
            self.read(review.root, scores)
        return np.asarray(self.dy.concatenate_cols(scores).npvalue()).T


def make(parameters: Arrays, samples: list[Any], autobatch: int = 1) -> Side:
    """Return DyNet's side."""
    return DyNetSide(configure(autobatch), parameters)
