"""What the Gluon sides of F1, F2 and F3 share: the program of one sample is theirs, everything around it is here.

The one idea: a subclass says what a sample is (`Example`), what its losses and its scores are; with glueball inside
`fold.batching()` that is ours folded, without ours unfolded, and with MXNet 1.9.1 it is MXNet per sample. This file
runs in MXNet's Python as well.
"""

from __future__ import annotations

import abc
from contextlib import nullcontext
from typing import Any

import numpy as np
from remote import Arrays, GradientSide


class GluonProgram(GradientSide):
    """One sample after the other: `fold` is "on", "off", or "" for MXNet, which has none.

    A subclass makes `examples` (by id of the sample), `net`, `named` (exported name: parameter) and `trainer`.
    """

    mx: Any
    fold: str
    examples: dict[int, Any]
    net: Any
    named: dict[str, Any]
    trainer: Any
    ignores_stale = False  # whether a batch may leave a parameter out

    @abc.abstractmethod
    def losses(self, example: Any) -> list[Any]:
        """Return the losses of a sample."""

    @abc.abstractmethod
    def scores(self, example: Any) -> list[Any]:
        """Return the answers for a sample, each with its rows along axis 0."""

    def take(self, parameters: Arrays) -> None:
        """Let the network have the parameters that all sides share."""
        for name, parameter in self.named.items():
            parameter.set_data(self.mx.nd.array(parameters[name]))

    def scope(self) -> Any:
        """Return what makes the code inside fold."""
        return self.mx.fold.batching() if self.fold == "on" else nullcontext()

    def total(self, batch: list[Any]) -> Any:
        """Return the sum of the losses, for a backward pass."""
        examples = [self.examples[id(sample)] for sample in batch]
        with self.mx.autograd.record(), self.scope():
            return self.mx.nd.add_n(*[loss for example in examples for loss in self.losses(example)])

    def loss(self, batch: list[Any]) -> float:
        return float(self.total(batch).asscalar())

    def gradients(self, batch: list[Any]) -> Arrays:
        self.total(batch).backward()
        return {name: parameter.grad().asnumpy() for name, parameter in self.named.items()}

    def train(self, batch: list[Any]) -> None:
        self.total(batch).backward()
        self.trainer.step(len(batch), ignore_stale_grad=self.ignores_stale)
        self.mx.nd.waitall()

    def infer(self, batch: list[Any]) -> np.ndarray:
        examples = [self.examples[id(sample)] for sample in batch]
        with self.scope():
            answer = self.mx.nd.concat(*[score for example in examples for score in self.scores(example)], dim=0)
        return answer.asnumpy()

    def explain(self) -> str:
        return str(self.mx.fold.explain()) if self.fold == "on" else ""
