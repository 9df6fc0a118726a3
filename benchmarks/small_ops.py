"""Claim: a small operator costs little more than torch's own (4×4 add and relu), unrecorded, and recorded with its
share of backward.
"""

from __future__ import annotations

import torch
from pairs import Claim, compare, report

from glueball import autograd, nd

CHAIN = 50


def unrecorded() -> None:
    """One operator, nothing recorded."""
    a, b = nd.ones((4, 4)), nd.ones((4, 4))
    x, y = torch.ones(4, 4), torch.ones(4, 4)
    found = compare(
        {
            "torch add": lambda: x + y,
            "ours add": lambda: a + b,
            "torch relu": lambda: torch.relu(x),
            "ours relu": lambda: nd.relu(a),
        },
        calls=2000,
        rounds=41,
    )
    report(
        "small operator, not recorded",
        found,
        [
            Claim("4×4 add, ours / torch", "ours add", "torch add", 1.8, 1.3),
            Claim("4×4 relu, ours / torch", "ours relu", "torch relu", 1.8, 1.3),
        ],
    )


def recorded() -> None:
    """A chain of recorded operators and its backward, per operator."""
    a, b = nd.ones((4, 4)), nd.ones((4, 4))
    a.attach_grad()
    x, y = torch.ones(4, 4, requires_grad=True), torch.ones(4, 4)
    head = torch.ones(4, 4)

    def torch_side() -> None:
        z = x
        for _ in range(CHAIN):
            z = z + y
        z.backward(head)
        x.grad = None

    def our_side() -> None:
        with autograd.record():
            z = a
            for _ in range(CHAIN):
                z = z + b
        z.backward()

    found = compare({"torch": torch_side, "ours": our_side}, calls=20, rounds=41)
    found = {name: value / CHAIN for name, value in found.items()}
    report(
        "small operator, recorded, with its share of backward",
        found,
        [Claim("4×4 add recorded, ours / torch", "ours", "torch", 1.6, 1.2)],
    )


if __name__ == "__main__":
    unrecorded()
    recorded()
