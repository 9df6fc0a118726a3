"""Claim: an imperative training step keeps up with torch eager, and hybridizing makes it quicker (MLP with SGD, LeNet
with Adam, batch 64).
"""

from __future__ import annotations

from networks import sides
from pairs import Claim, compare, report


def claims(name: str) -> list[Claim]:
    """Return what is claimed of a network's step."""
    return [
        Claim(f"{name} step, imperative / torch eager", "ours imperative", "torch eager", 1.25, 1.05),
        Claim(f"{name} step, hybridized / our imperative", "ours hybridized", "ours imperative", 0.9, 0.6),
    ]


if __name__ == "__main__":
    report("MLP 784-64-64-10, SGD step", compare(sides("mlp"), calls=40, rounds=31, warmup=20), claims("MLP"))
    found = compare(sides("lenet"), calls=4, rounds=31, warmup=5, unit="ms")
    report("LeNet, Adam step", found, claims("LeNet"), unit="ms")
