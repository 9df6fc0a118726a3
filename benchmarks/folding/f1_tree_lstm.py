"""F1: how related two sentences are, by a childsum Tree-LSTM over their dependency trees; shaped like SICK.

With W = [W_iou; W_f]: h~ = Σ h_k over the children; i, o, u = σ, σ, tanh of (W_iou x + U h~ + b_iou);
f_k = σ(W_f x + U_f h_k + b_f); c = i∘u + Σ f_k∘c_k; h = o∘tanh c; a leaf has neither h~ nor f. The head is given the
roots' cell states: [l∘r, |l-r|] → σ(50) → log-softmax(5), KL divergence to the score's distribution. Adagrad 0.02 with
weight decay 1e-4, all parameters trained. Claims: folded natural recursion keeps up with a batch by hand, and leaves
DyNet's autobatching and MXNet per sample far behind. Sides: gluon_f1.py, torch_f1.py, dynet_f1.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from common import CEILING, Claim, Peer, Workload, run
from data import SICK_VOCABULARY, sick_pairs
from gluon_f1 import CLASSES, EMBEDDING, HIDDEN, SIMILARITY, GluonSide, TreeSide
from pairs import SMOKE
from remote import Arrays
from torch_f1 import Arena, Batched, PerSample

import glueball

TITLE = "F1 childsum Tree-LSTM on pairs (SICK)"
BY_HAND = "torch, by hand"
OURS = "ours folded, hybridized cell"
TREE = "ours, fold.tree"
KNOWN = "ours, fold.tree, batches known"
DYNET = "DyNet, autobatch"
MXNET = "MXNet 1.9.1 hybridized"


def parameters(seed: int = 0) -> Arrays:
    """Return the parameters that all sides start from."""
    generator = np.random.default_rng(seed)
    H, shapes = HIDDEN, {}
    shapes["embed"] = (SICK_VOCABULARY, EMBEDDING)
    shapes.update(W=(4 * H, EMBEDDING), b=(4 * H,), U=(3 * H, H), Uf=(H, H))
    shapes.update(Wh=(SIMILARITY, 2 * H), bh=(SIMILARITY,), Wp=(CLASSES, SIMILARITY), bp=(CLASSES,))
    return {
        name: (generator.normal(size=shape) * (0.3 if name == "embed" else 0.08)).astype(np.float32)
        for name, shape in shapes.items()
    }


def flops(batch: list[Any]) -> float:
    """Return the FLOPs of a forward pass that computes nothing it need not (leaves have neither h~ nor f)."""
    total = 0.0
    for pair in batch:
        nodes, edges = len(pair), len(pair) - 2
        inner = len({p for p in pair.left_parents if p >= 0}) + len({p for p in pair.right_parents if p >= 0})
        total += 2 * EMBEDDING * HIDDEN * (3 * nodes + inner) + 2 * HIDDEN * HIDDEN * (3 * inner + edges)
        total += 2 * SIMILARITY * (2 * HIDDEN + CLASSES)
    return total


def ours(hybridize: bool, fold: str) -> Any:
    """Return a maker of one of our sides."""
    return lambda given, samples: GluonSide(glueball, given, samples, hybridize, fold)


CLAIMS = [
    Claim("training B256, folded / torch by hand", OURS, BY_HAND, 0.9, 1.3),
    Claim("training B256, folded / DyNet autobatch", OURS, DYNET, 2.5, 4),
    Claim("training, folded B256 / MXNet 1.9.1 hybridized B16", OURS, MXNET, 100, 150, bottom_batch=16),
    Claim("training B256, fold.tree / GEMM ceiling", TREE, CEILING, 0.5, 0.75),
    Claim("training B256, fold.tree on known batches / GEMM ceiling", KNOWN, CEILING, 0.5, 0.75),
    Claim("inference B256, folded / torch by hand", OURS, BY_HAND, 1.0, 1.5, mode="infer"),
    Claim("training B1, unfolded / folded", "ours hybridized", OURS, 1.3, 1.0, batch=1, sense="≤"),
]

if __name__ == "__main__":
    run(
        Workload(
            TITLE,
            sick_pairs(1024) if not SMOKE else sorted(sick_pairs(8), key=len)[:3],
            parameters(),
            {
                "torch per sample": PerSample,
                BY_HAND: Batched,
                "torch, by hand with an arena": Arena,
                OURS: ours(True, "on"),
                "ours folded, plain": ours(False, "on"),
                TREE: lambda given, samples: TreeSide(glueball, given, samples),
                KNOWN: lambda given, samples: TreeSide(glueball, given, samples, remember=True),
                "ours plain": ours(False, "off"),
                "ours hybridized": ours(True, "off"),
                DYNET: Peer("dynet", "dynet_f1"),
                "DyNet, no autobatch": Peer("dynet", "dynet_f1", {"autobatch": 0}),
                "MXNet 1.9.1": Peer("mxnet", "gluon_f1"),
                MXNET: Peer("mxnet", "gluon_f1", {"hybridize": True}),
            },
            CLAIMS,
            flops=flops,
            repeating=(KNOWN,),
        )
    )
