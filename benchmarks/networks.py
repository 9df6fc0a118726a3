"""The networks that benchmarks train, twice: in torch's words and in ours. MLP 784-64-64-10 with SGD, LeNet with
Adam, both at batch 64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from glueball import autograd, gluon, nd

BATCH = 64
_rng = np.random.default_rng(0)
LABELS = _rng.integers(0, 10, BATCH)


def torch_step(net: torch.nn.Module, data: np.ndarray, optimizer: Any) -> Callable[[], Any]:
    """Return one training step in torch."""
    x, y, loss = torch.tensor(data), torch.tensor(LABELS), torch.nn.CrossEntropyLoss()
    update = optimizer(net.parameters())

    def step() -> None:
        update.zero_grad()
        loss(net(x), y).backward()
        update.step()

    return step


def our_step(
    net: Any, data: np.ndarray, optimizer: str, options: dict[str, Any], hybridized: bool
) -> Callable[[], Any]:
    """Return one training step in Gluon."""
    net.initialize()
    x, y, loss = nd.array(data), nd.array(LABELS), gluon.loss.SoftmaxCrossEntropyLoss()
    if hybridized:
        net.hybridize()
        loss.hybridize()
    net(x)
    trainer = gluon.Trainer(net.collect_params(), optimizer, options)

    def step() -> None:
        with autograd.record():
            value = loss(net(x), y)
        value.backward()
        trainer.step(BATCH)

    return step


def mlp_sides() -> dict[str, Callable[[], Any]]:
    """Return the sides of the MLP."""
    data = _rng.normal(size=(BATCH, 784)).astype(np.float32)
    layers = torch.nn
    torch_net = layers.Sequential(
        layers.Linear(784, 64), layers.ReLU(), layers.Linear(64, 64), layers.ReLU(), layers.Linear(64, 10)
    )

    def ours() -> Any:
        net = gluon.nn.HybridSequential()
        net.add(gluon.nn.Dense(64, activation="relu"), gluon.nn.Dense(64, activation="relu"), gluon.nn.Dense(10))
        return net

    sgd = {"learning_rate": 0.01}
    return {
        "torch eager": torch_step(torch_net, data, lambda p: torch.optim.SGD(p, lr=0.01)),
        "ours imperative": our_step(ours(), data, "sgd", sgd, False),
        "ours hybridized": our_step(ours(), data, "sgd", sgd, True),
    }


def lenet_sides() -> dict[str, Callable[[], Any]]:
    """Return the sides of LeNet."""
    data = _rng.normal(size=(BATCH, 1, 28, 28)).astype(np.float32)
    t = torch.nn
    torch_net = t.Sequential(
        t.Conv2d(1, 20, 5),
        t.Tanh(),
        t.MaxPool2d(2, 2),
        t.Conv2d(20, 50, 5),
        t.Tanh(),
        t.MaxPool2d(2, 2),
        t.Flatten(),
        t.Linear(800, 500),
        t.Tanh(),
        t.Linear(500, 10),
    )

    def ours() -> Any:
        g = gluon.nn
        net = g.HybridSequential()
        net.add(
            g.Conv2D(20, 5, activation="tanh"),
            g.MaxPool2D(2, 2),
            g.Conv2D(50, 5, activation="tanh"),
            g.MaxPool2D(2, 2),
            g.Flatten(),
            g.Dense(500, activation="tanh"),
            g.Dense(10),
        )
        return net

    adam = {"learning_rate": 0.001}
    return {
        "torch eager": torch_step(torch_net, data, lambda p: torch.optim.Adam(p, lr=0.001)),
        "ours imperative": our_step(ours(), data, "adam", adam, False),
        "ours hybridized": our_step(ours(), data, "adam", adam, True),
    }
