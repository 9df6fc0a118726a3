"""What the torch sides of F1, F2 and F3 share: how a step and its gradients are taken, whoever computes the loss."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
import torch
from remote import Arrays, GradientSide
from torch import Tensor


class TorchProgram(GradientSide):
    """A subclass makes the parameters `p`, their `optimizer`, and the sum of the losses of a batch."""

    p: dict[str, Tensor]
    optimizer: Any

    @abc.abstractmethod
    def total(self, batch: list[Any]) -> Tensor:
        """Return the sum of the losses."""

    @abc.abstractmethod
    def answer(self, batch: list[Any]) -> Tensor:
        """Return the scores, a row for each thing that is asked."""

    def loss(self, batch: list[Any]) -> float:
        return self.total(batch).item()

    def gradients(self, batch: list[Any]) -> Arrays:
        self.total(batch).backward()
        found = {name: value.grad.numpy() for name, value in self.p.items() if value.grad is not None}
        for value in self.p.values():
            value.grad = None
        return found

    def train(self, batch: list[Any]) -> None:
        (self.total(batch) / len(batch)).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def infer(self, batch: list[Any]) -> np.ndarray:
        with torch.no_grad():
            return self.answer(batch).numpy()
