"""Workload F4: a lattice LSTM that tags Chinese-like sentences, E128 H128: directed acyclic graphs with two kinds of
arcs and sums over whatever arrives. The stress test of a scheduler: the shortest schedule takes thought.

Training (forward, backward, gradient descent) and inference (the scores of all nodes). Claims: folded against the same
program unfolded, against torch batched by hand, against DyNet's automatic batching. `--explain` prints the groups of
the fold and their lower bound. Data: lattice.py; programs: lattice_gluon.py, lattice_torch.py, lattice_dynet.py.
"""

from __future__ import annotations

from common import Claim, Peer, Workload, run
from lattice import lattices, parameters
from lattice_gluon import make
from lattice_torch import Torch, by_hand, one_by_one
from pairs import SMOKE

OURS, UNFOLDED, BY_HAND, DYNET = "ours folded", "ours unfolded", "torch, by hand", "DyNet, autobatch"
FEW = (1, 16)  # for sides whose time per sample does not depend on the batch

if __name__ == "__main__":
    run(
        Workload(
            title="F4 lattice LSTM E128 H128",
            samples=sorted(lattices(16), key=lambda s: s.length)[:4] if SMOKE else lattices(1147),
            parameters=parameters(),
            sides={
                "torch per sample": lambda p, s: Torch(p, one_by_one, FEW),
                BY_HAND: lambda p, s: Torch(p, by_hand),
                UNFOLDED: lambda p, s: make(p, s, sizes=FEW),
                OURS: lambda p, s: make(p, s, folded=True),
                DYNET: Peer("dynet", "lattice_dynet", {"autobatch": 1}),
                "DyNet by depth": Peer("dynet", "lattice_dynet", {"autobatch": 2}),
                "MXNet 1.9.1 hybridized": Peer("mxnet", "lattice_gluon", {"sizes": FEW}),
            },
            claims=[
                Claim("F4 training, folded B256 / unfolded B16", OURS, UNFOLDED, 3.0, 8.0, bottom_batch=16),
                Claim("F4 training, folded / torch by hand, B64", OURS, BY_HAND, 0.5, 1.0, batch=64),
                Claim("F4 training, folded / DyNet autobatch, B64", OURS, DYNET, 2, 4, batch=64),
                Claim("F4 inference, folded / torch by hand, B64", OURS, BY_HAND, 0.5, 1.0, mode="infer", batch=64),
            ],
        )
    )
