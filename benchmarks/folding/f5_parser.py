"""Workload F5: a greedy shift-reduce parser, 100 → BiLSTM 2 × 125 → Tree-LSTM 125: what is computed next depends on the
values computed before, so no graph can be built in advance. Where `fold.map` is needed.

Inference (greedy; the result is the actions) and training (an oracle leads, at a tenth of the steps the parser's own
choice; forward, backward, gradient descent). Claims: folded against the same program unfolded, against torch batched by
hand, against DyNet, which loses its batching at every value that is read, and against DyNet with the hand-written
driver that avoids this. Data: parser_data.py; programs: parser_gluon.py, parser_torch.py, parser_dynet.py.
"""

from __future__ import annotations

from common import Claim, Peer, Workload, run
from pairs import SMOKE
from parser_data import parameters, sentences
from parser_gluon import make
from parser_torch import Torch, by_hand, one_by_one

OURS, UNFOLDED, BY_HAND = "ours folded", "ours unfolded", "torch, by hand"
DYNET, IN_STEP = "DyNet, values read one by one", "DyNet, in step by hand"
FEW = (1, 16)  # for sides whose time per sample does not depend on the batch

if __name__ == "__main__":
    run(
        Workload(
            title="F5 greedy shift-reduce parser",
            samples=sorted(sentences(16), key=lambda s: s.length)[:4] if SMOKE else sentences(1024),
            parameters=parameters(),
            sides={
                "torch per sample": lambda p, s: Torch(p, one_by_one, FEW),
                BY_HAND: lambda p, s: Torch(p, by_hand),
                UNFOLDED: lambda p, s: make(p, s, sizes=FEW),
                OURS: lambda p, s: make(p, s, folded=True),
                DYNET: Peer("dynet", "parser_dynet", {"sizes": FEW}),
                IN_STEP: Peer("dynet", "parser_dynet", {"in_step": True}),
                "MXNet 1.9.1 hybridized": Peer("mxnet", "parser_gluon", {"sizes": FEW}),
            },
            claims=[
                Claim("F5 inference, folded B64 / DyNet value by value B16", OURS, DYNET, 5, 10, "infer", 64, 16),
                Claim("F5 inference, folded B64 / unfolded B16", OURS, UNFOLDED, 10, 20, "infer", 64, 16),
                Claim("F5 inference, folded B256 / DyNet value by value B16", OURS, DYNET, 5, 10, "infer", 256, 16),
                Claim("F5 inference, folded B256 / unfolded B16", OURS, UNFOLDED, 10, 20, "infer", 256, 16),
            ],
        )
    )
