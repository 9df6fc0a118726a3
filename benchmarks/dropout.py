"""Claim: a layer with Dropout trains faster than torch's, whose random numbers are drawn by one thread: the inner part
of a transformer's layer, 2048 words of width 256, forward and backward, imperative and hybridized.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pairs import Claim, compare, report

WORDS, WIDTH, P = 2048, 256, 0.1


def torch_side() -> Callable[[], Any]:
    """Return a step of torch's layer."""
    nn = torch.nn
    inner = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Dropout(P), nn.Linear(4 * WIDTH, WIDTH),
                          nn.Dropout(P))  # fmt: skip
    norm = nn.LayerNorm(WIDTH)
    x = torch.randn(WORDS, WIDTH)

    def step() -> None:
        norm(x + inner(x)).sum().backward()

    return step


def our_side(hybridize: bool) -> Callable[[], Any]:
    """Return a step of the same layer in Gluon."""
    from glueball import autograd, gluon, nd
    from glueball.gluon import nn

    class Inner(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.widen, self.narrow = nn.Dense(4 * WIDTH), nn.Dense(WIDTH)
            self.active, self.drop, self.norm = nn.GELU(), nn.Dropout(P), nn.LayerNorm()

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return self.norm(x + self.drop(self.narrow(self.drop(self.active(self.widen(x))))))

    net = Inner()
    net.initialize()
    net.hybridize(hybridize)
    x = nd.random.normal(shape=(WORDS, WIDTH))

    def step() -> None:
        with autograd.record():
            loss = net(x).sum()
        loss.backward()
        net.widen.weight.grad().wait_to_read()

    return step


CLAIMS = [
    Claim("a layer with Dropout, imperative / torch eager", "ours imperative", "torch eager", 0.9, 0.7),
    Claim("a layer with Dropout, hybridized / torch eager", "ours hybridized", "torch eager", 0.7, 0.5),
]

if __name__ == "__main__":
    sides = {"torch eager": torch_side(), "ours imperative": our_side(False), "ours hybridized": our_side(True)}
    report("A layer with Dropout 0.1, 2048 × 256, forward and backward",
           compare(sides, calls=4, rounds=21, warmup=5, unit="ms"), CLAIMS, unit="ms")  # fmt: skip
