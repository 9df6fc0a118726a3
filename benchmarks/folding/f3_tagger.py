"""F3: tagging with features from characters; shaped like WikiNER.

A frequent word is an embedding (256); a rare one (here marked in the data: one in seven) is read by its characters
(64), forwards and backwards, by two LSTMs of 128. Two LSTMs of 256 read the sentence; tanh MLP of 256, nine tags, the
sum of the cross-entropies; Adam 1e-3. Chains of very different lengths on two levels, and a branch on data. Claim:
folded cells leave DyNet's autobatching behind. Sides: gluon_f3.py, torch_f3.py, dynet_f3.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from common import Claim, Peer, Workload, run
from data import CHARACTERS, FREQUENT_WORDS, TAGS, tagged_sentences
from gluon_f3 import CHARACTER, HIDDEN, LSTMS, MLP, WORD, GluonSide
from pairs import SMOKE
from remote import Arrays
from torch_f3 import Batched, Packed, PerSample

import glueball

BY_HAND = "torch, by hand"
OURS = "ours folded, hybridized cells"
DYNET = "DyNet, autobatch"


def parameters(seed: int = 0) -> Arrays:
    """Return the parameters that all sides start from."""
    generator = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"words": (FREQUENT_WORDS, WORD), "characters": (CHARACTERS, CHARACTER)}
    for name, (size, hidden) in LSTMS.items():
        shapes[name + "W"], shapes[name + "U"] = (4 * hidden, size), (4 * hidden, hidden)
        shapes[name + "b"] = shapes[name + "d"] = (4 * hidden,)
    shapes.update(Wm=(MLP, 2 * HIDDEN), bm=(MLP,), Wt=(TAGS, MLP), bt=(TAGS,))
    return {
        name: (generator.normal(size=shape) * (0.3 if name in ("words", "characters") else 0.06)).astype(np.float32)
        for name, shape in shapes.items()
    }


def flops(batch: list[Any]) -> float:
    """Return the FLOPs of a forward pass."""
    words = sum(len(sentence) for sentence in batch)
    letters = sum(len(word) for sentence in batch for word in sentence.characters)
    cost = {name: 8.0 * hidden * (size + hidden) for name, (size, hidden) in LSTMS.items()}
    head = 2.0 * MLP * (2 * HIDDEN + TAGS)
    return words * (cost["wf"] + cost["wb"] + head) + letters * (cost["cf"] + cost["cb"])


def ours(hybridize: bool, fold: str) -> Any:
    """Return a maker of one of our sides."""
    return lambda given, samples: GluonSide(glueball, given, samples, hybridize, fold)


CLAIMS = [
    Claim("training B64, folded / DyNet autobatch", OURS, DYNET, 2, 4, batch=64),
    Claim("training B256, folded / DyNet autobatch", OURS, DYNET, 2, 4),
    Claim("inference B64, folded / DyNet autobatch", OURS, DYNET, 2, 4, mode="infer", batch=64),
]

if __name__ == "__main__":
    run(
        Workload(
            "F3 BiLSTM tagger with characters (WikiNER)",
            tagged_sentences(1024) if not SMOKE else sorted(tagged_sentences(8), key=len)[:3],
            parameters(),
            {
                "torch per sample": PerSample,
                BY_HAND: Batched,
                "torch, packed nn.LSTM": Packed,
                OURS: ours(True, "on"),
                "ours folded, plain": ours(False, "on"),
                "ours plain": ours(False, "off"),
                "ours hybridized": ours(True, "off"),
                DYNET: Peer("dynet", "dynet_f3"),
                "DyNet, no autobatch": Peer("dynet", "dynet_f3", {"autobatch": 0}),
                "MXNet 1.9.1": Peer("mxnet", "gluon_f3"),
                "MXNet 1.9.1 hybridized": Peer("mxnet", "gluon_f3", {"hybridize": True}),
            },
            CLAIMS,
            flops=flops,
            gemm=(1500, 512, 1024),
        )
    )
