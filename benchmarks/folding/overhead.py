"""What folding costs beside the arithmetic: microseconds for writing down a call, and for running a group.

The one idea: shapes so small that the arithmetic is next to nothing, one thread, and medians of the process's own time
(so that a busy machine changes little). Writing down: cells of a tree with two results, a leaf and a node with one
child, and single operators. Running: a recurrent cell, H16, 16 chains of 100 steps: 100 groups of 16 calls, forward
and backward, and the same chains unfolded, per step. docs/folding.md and docs/decisions/0006-folding.md speak of these.
Whole workloads are f1_tree_lstm.py to f6_early_exit.py.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before pairs.py reads it: the figures are those of one thread
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from pairs import SMOKE, Claim, report

import glueball as mx
from glueball import autograd, fold, gluon, nd

HIDDEN, FEATURES = 16, 8
CHAINS, STEPS = (2, 3) if SMOKE else (16, 100)
CALLS = 10 if SMOKE else 2000
ROUNDS = 1 if SMOKE else 15


class TreeCell(gluon.HybridBlock):
    """A node x (1, E) and its children's states, two lists of (1, H), to its own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.of_word = gluon.nn.Dense(3 * HIDDEN, in_units=FEATURES)
            self.of_children = gluon.nn.Dense(3 * HIDDEN, in_units=HIDDEN, use_bias=False)

    def hybrid_forward(self, F: Any, x: Any, hs: list[Any], cs: list[Any]) -> Any:
        gates = self.of_word(x)
        if hs:
            gates = gates + self.of_children(F.add_n(*hs))
        i, o, u = F.split(gates, num_outputs=3, axis=1)
        c = F.sigmoid(i) * F.tanh(u)
        if hs:
            c = c + F.add_n(*cs)
        return F.sigmoid(o) * F.tanh(c), c


class Step(gluon.HybridBlock):
    """One step of an LSTM: x (1, E) and the state (1, H) to the next state."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.of_input = gluon.nn.Dense(4 * HIDDEN, in_units=FEATURES)
            self.of_state = gluon.nn.Dense(4 * HIDDEN, in_units=HIDDEN, use_bias=False)

    def hybrid_forward(self, F: Any, x: Any, h: Any, c: Any) -> Any:
        i, f, o, u = F.split(self.of_input(x) + self.of_state(h), num_outputs=4, axis=1)
        c = F.sigmoid(i) * F.tanh(u) + F.sigmoid(f) * c
        return F.sigmoid(o) * F.tanh(c), c


def made(cell: gluon.HybridBlock) -> gluon.HybridBlock:
    """Return the cell, initialized and hybridized."""
    cell.initialize()
    cell.hybridize()
    return cell


def recorded(body: Callable[[Any, Any], Any]) -> float:
    """Return the µs of one call of a body that does nothing but write down a call on the state (h, c) of a node."""
    with fold.batching():
        h, c = TREE(WORD, [], [])
        for _ in range(10):
            body(h, c)
        start = time.process_time()
        kept = [body(h, c) for _ in range(CALLS)]
        spent = time.process_time() - start
    del kept
    return spent / CALLS * 1e6


def recording() -> dict[str, float]:
    """Return one measurement of each kind of writing down."""
    return {
        "writing down a leaf, 2 results": recorded(lambda h, c: TREE(WORD, [], [])),
        "writing down a node of 1 child": recorded(lambda h, c: TREE(WORD, [h], [c])),
        "writing down nd.tanh(h)": recorded(lambda h, c: nd.tanh(h)),
        "writing down h * c": recorded(lambda h, c: h * c),
    }


def chains(mode: str) -> tuple[float, float, float]:
    """Return the seconds of writing down (unfolded: of the whole forward pass), of the groups, and of backward."""
    marks = [time.process_time()]
    with autograd.record():
        scope = fold.batching(mode)
        with scope:
            ends = []
            for rows in ROWS:
                h = c = START
                for x in rows:
                    h, c = STEP(x, h, c)
                ends.append(h.sum())
            total = nd.add_n(*ends)
            marks.append(time.process_time())
        marks.append(time.process_time())
    total.backward()
    mx.nd.waitall()
    marks.append(time.process_time())
    return marks[1] - marks[0], marks[2] - marks[1], marks[3] - marks[2]


def running() -> dict[str, float]:
    """Return one measurement of the chains, folded and not: µs per step of all chains together (a group)."""
    _, forward, backward = chains("on")
    unfolded, rest, unfolded_backward = chains("off")
    scale = 1e6 / STEPS
    return {
        "a group, forward": forward * scale,
        "a group, backward": backward * scale,
        "its 16 calls unfolded, forward": (unfolded + rest) * scale,
        "its 16 calls unfolded, backward": unfolded_backward * scale,
    }


def medians(measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Return the medians of several measurements, the first two of which do not count."""
    found = [measure() for _ in range(ROUNDS + 2)][2:]
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    TREE, STEP = made(TreeCell()), made(Step())
    WORD, START = nd.ones((1, FEATURES)), nd.zeros((1, HIDDEN))
    generator = np.random.default_rng(0)
    ROWS = [[nd.array(row[None]) for row in generator.normal(size=(STEPS, FEATURES))] for _ in range(CHAINS)]
    no_claims: list[Claim] = []  # figures to know, not targets
    report("Folding: writing down calls, one thread", medians(recording), no_claims)
    report("Folding: 100 groups of 16 calls of a recurrent cell, H16, one thread", medians(running), no_claims)
