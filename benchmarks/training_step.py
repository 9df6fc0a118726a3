"""Claim: an imperative training step keeps up with torch eager, and hybridizing makes it quicker (MLP with SGD, LeNet
with Adam, batch 64).
"""
from __future__ import annotations

from networks import lenet_sides, mlp_sides
from pairs import compare, report

RATIOS = {"imperative / torch eager": ("ours imperative", "torch eager", "≤ 1.25 (aim 1.05)"),
          "hybridized / our imperative": ("ours hybridized", "ours imperative", "≤ 0.9 (aim 0.6)")}

if __name__ == "__main__":
    report("MLP 784-64-64-10, SGD step", compare(mlp_sides(), calls=40, rounds=31, warmup=20), RATIOS)
    report("LeNet, Adam step", compare(lenet_sides(), calls=4, rounds=31, warmup=5, unit="ms"), RATIOS, unit="ms")
