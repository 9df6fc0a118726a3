"""F2: the sentiment of every phrase of a sentence, by a binary Tree-LSTM over its parse; shaped like SST.

A word: i, o, u = σ, σ, tanh of (W x + b), c = i∘u. Two phrases: i, o, u from U [h1; h2] + b;
f1 = σ(U1 h1 + b1), f2 = σ(U2 h2 + b2); c = i∘u + f1∘c1 + f2∘c2. Always h = o∘tanh c, and the cross-entropy of Ws h
with the phrase's label is added to the loss. 256 wide, Adam 1e-3. Claim: folded natural recursion leaves DyNet's
autobatching behind. Sides: gluon_f2.py, torch_f2.py, dynet_f2.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from common import Claim, Peer, Workload, run
from data import SST_VOCABULARY, sst_reviews
from gluon_f2 import CLASSES, EMBEDDING, HIDDEN, GluonSide
from pairs import SMOKE
from remote import Arrays
from torch_f2 import Batched, PerSample

import glueball

BY_HAND = "torch, by hand"
OURS = "ours folded, hybridized cells"
DYNET = "DyNet, autobatch"


def parameters(seed: int = 0) -> Arrays:
    """Return the parameters that all sides start from."""
    generator = np.random.default_rng(seed)
    E, H, shapes = EMBEDDING, HIDDEN, {}
    shapes["embed"] = (SST_VOCABULARY if not SMOKE else 200, E)
    shapes.update(W=(3 * H, E), b=(3 * H,), U=(3 * H, 2 * H), bu=(3 * H,))
    shapes.update(U1=(H, H), b1=(H,), U2=(H, H), b2=(H,), Ws=(CLASSES, H))
    return {
        name: (generator.normal(size=shape) * (0.3 if name == "embed" else 0.06)).astype(np.float32)
        for name, shape in shapes.items()
    }


def flops(batch: list[Any]) -> float:
    """Return the FLOPs of a forward pass."""
    E, H = EMBEDDING, HIDDEN
    leaves = sum((len(review) + 1) // 2 for review in batch)
    joins = leaves - len(batch)
    return 2.0 * (leaves * 3 * H * E + joins * (6 * H * H + 2 * H * H) + (leaves + joins) * H * CLASSES)


def ours(hybridize: bool, fold: str) -> Any:
    """Return a maker of one of our sides."""
    return lambda given, samples: GluonSide(glueball, given, samples, hybridize, fold)


CLAIMS = [
    Claim("training B64, folded / DyNet autobatch", OURS, DYNET, 2, 4, batch=64),
    Claim("training B256, folded / DyNet autobatch", OURS, DYNET, 2, 4),
    Claim("inference B64, folded / DyNet autobatch", OURS, DYNET, 2, 4, mode="infer", batch=64),
]

if __name__ == "__main__":
    reviews = sst_reviews(1024) if not SMOKE else sorted(sst_reviews(8), key=len)[:3]
    if SMOKE:
        for review in reviews:
            review.words = [min(word, 199) for word in review.words]
    run(
        Workload(
            "F2 binary Tree-LSTM, a loss at every phrase (SST)",
            reviews,
            parameters(),
            {
                "torch per sample": PerSample,
                BY_HAND: Batched,
                OURS: ours(True, "on"),
                "ours folded, plain": ours(False, "on"),
                "ours plain": ours(False, "off"),
                "ours hybridized": ours(True, "off"),
                DYNET: Peer("dynet", "dynet_f2"),
                "DyNet, no autobatch": Peer("dynet", "dynet_f2", {"autobatch": 0}),
                "MXNet 1.9.1": Peer("mxnet", "gluon_f2"),
                "MXNet 1.9.1 hybridized": Peer("mxnet", "gluon_f2", {"hybridize": True}),
            },
            CLAIMS,
            flops=flops,
            gemm=(2400, 512, 768),
        )
    )
