"""F1 in DyNet 2.1, written so that everything can be autobatched; runs in DyNet's own Python.

The one idea: only nodes with a batching rule are used. |a - b| is relu(a - b) + relu(b - a), since `abs` has none, and
the KL divergence to the two neighbouring scores is a constant and two picks of the log-softmax. DyNet's CPU kernels
use one thread.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from remote import Arrays, GradientSide, Side

H = 150


def configure(autobatch: int, memory: str = "1536") -> Any:
    """Import DyNet: its options must be known before."""
    import dynet_config  # type: ignore[import-not-found]

    dynet_config.set(mem=memory, autobatch=autobatch, random_seed=1)
    import dynet  # type: ignore[import-not-found]

    return dynet


class DyNetSide(GradientSide):
    """The program of one pair; the losses of a batch are summed and evaluated once."""

    exact_update = False  # its Adagrad has another epsilon, and its weight decay is multiplicative

    def __init__(self, dy: Any, parameters: Arrays) -> None:
        self.dy, self.collection = dy, dy.ParameterCollection()  # the trainer does not keep it alive
        collection = self.collection
        collection.set_weight_decay_lambda(1e-4 * 0.02)
        self.embed = collection.lookup_parameters_from_numpy(parameters["embed"])
        split = {
            "W": parameters["W"][: 3 * H],
            "Wf": parameters["W"][3 * H :],
            "b": parameters["b"][: 3 * H],
            "bf": parameters["b"][3 * H :],
        }
        rest = {name: value for name, value in parameters.items() if name not in ("embed", "W", "b")}
        self.p = {name: collection.parameters_from_numpy(value) for name, value in {**rest, **split}.items()}
        self.trainer = dy.AdagradTrainer(collection, learning_rate=0.02, eps=1e-7)
        self.trainer.set_clip_threshold(0)

    def encode(self, tree: Any) -> Any:
        """Return the state (h, c) of a tree."""
        dy, p = self.dy, self.p
        children = [self.encode(child) for child in tree.children]
        x = dy.lookup(self.embed, tree.word)
        parts = [p["b"], p["W"], x]
        if children:
            parts += [p["U"], dy.esum([h for h, _ in children])]
        gates = dy.affine_transform(parts)
        i, o, u = (dy.pick_range(gates, k * H, (k + 1) * H) for k in range(3))
        c = dy.cmult(dy.logistic(i), dy.tanh(u))
        if children:
            word = dy.affine_transform([p["bf"], p["Wf"], x])
            kept = [dy.cmult(dy.logistic(word + p["Uf"] * h), old) for h, old in children]
            c = dy.esum([c, *kept])
        return dy.cmult(dy.logistic(o), dy.tanh(c)), c

    def scores(self, pair: Any) -> Any:
        """Return the scores before the log-softmax."""
        dy, p = self.dy, self.p
        (_, left), (_, right) = self.encode(pair.left), self.encode(pair.right)
        distance = dy.rectify(left - right) + dy.rectify(right - left)
        both = dy.concatenate([dy.cmult(left, right), distance])
        hidden = dy.logistic(dy.affine_transform([p["bh"], p["Wh"], both]))
        return dy.affine_transform([p["bp"], p["Wp"], hidden])

    def total(self, batch: list[Any]) -> Any:
        """Return the sum of the losses: their variable part, and the constant."""
        dy = self.dy
        dy.renew_cg()
        parts, constant = [], 0.0
        for pair in batch:
            scores = self.scores(pair)
            for k, share in enumerate(pair.target):
                if share:
                    parts.append(dy.pickneglogsoftmax(scores, k) * share)
                    constant += share * math.log(share + 1e-12)
        return dy.esum(parts), constant

    def loss(self, batch: list[Any]) -> float:
        total, constant = self.total(batch)
        return float(total.value()) + constant

    def gradients(self, batch: list[Any]) -> Arrays:
        total, _ = self.total(batch)
        total.forward()
        total.backward()
        grads = {name: value.grad_as_array() for name, value in self.p.items()}
        found = {name: grads[name] for name in ("U", "Uf", "Wh", "bh", "Wp", "bp")}
        found["W"] = np.concatenate([grads["W"], grads["Wf"]])
        found["b"] = np.concatenate([grads["b"], grads["bf"]])
        found = {name: value.copy() for name, value in found.items()}
        for value in self.p.values():
            value.scale_gradient(0)
        return found

    def train(self, batch: list[Any]) -> None:
        total, _ = self.total(batch)
        total = total * (1.0 / len(batch))
        total.forward()
        total.backward()
        self.trainer.update()

    def infer(self, batch: list[Any]) -> np.ndarray:
        dy = self.dy
        dy.renew_cg()
        scores = [self.scores(pair) for pair in batch]
        dy.forward(scores)
        found = np.stack([np.asarray(score.npvalue()) for score in scores])
        found = found - found.max(1, keepdims=True)
        return found - np.log(np.exp(found).sum(1, keepdims=True))


def make(parameters: Arrays, samples: list[Any], autobatch: int = 1) -> Side:
    """Return DyNet's side."""
    return DyNetSide(configure(autobatch), parameters)
