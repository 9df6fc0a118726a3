"""Workload F4: a lattice LSTM that tags Chinese-like sentences, E128 H128: directed acyclic graphs with two kinds of
arcs and sums over whatever arrives. The stress test of a scheduler: the shortest schedule takes thought.

Training (forward, backward, gradient descent) and inference (the scores of all nodes). What is claimed is the schedule:
how many groups 64 lattices run in, against the least possible. `--explain` prints them. DyNet's grouping by depth is no
side: it gives other scores than all other programs here, DyNet's own by agenda among them. Data: lattice.py; programs:
lattice_gluon.py, lattice_torch.py, lattice_dynet.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common import Claim, Peer, Workload, run
from lattice import lattices, parameters
from lattice_gluon import make
from lattice_torch import Torch, by_hand, one_by_one
from pairs import SMOKE

OURS, UNFOLDED, BY_HAND, DYNET = "ours folded", "ours unfolded", "torch, by hand", "DyNet, autobatch"
FEW = (1, 16)  # for sides whose time per sample does not depend on the batch

SAMPLES = sorted(lattices(16), key=lambda s: s.length)[:4] if SMOKE else lattices(1147)
FOLDED = make(parameters(), SAMPLES, folded=True)


@dataclass(frozen=True)
class Groups(Claim):
    """The number of groups of a folded batch against the lower bound."""

    def value(self, rates: dict[tuple[str, int], dict[str, float]]) -> float | None:
        from glueball import fold

        FOLDED.infer(SAMPLES[: self.batch])
        report: Any = fold.last_report()
        return float(report.groups / report.lower_bound)


if __name__ == "__main__":
    run(
        Workload(
            title="F4 lattice LSTM E128 H128",
            samples=SAMPLES,
            parameters=parameters(),
            sides={
                "torch per sample": lambda p, s: Torch(p, one_by_one, FEW),
                BY_HAND: lambda p, s: Torch(p, by_hand),
                UNFOLDED: lambda p, s: make(p, s, sizes=FEW),
                OURS: lambda p, s: make(p, s, folded=True),
                DYNET: Peer("dynet", "lattice_dynet", {"autobatch": 1}),
                "MXNet 1.9.1 hybridized": Peer("mxnet", "lattice_gluon", {"sizes": FEW}),
            },
            claims=[
                Groups("F4 groups of 64 lattices / least possible", OURS, OURS, 1.7, 1.3, "infer", 64, sense="≤"),
            ],
        )
    )
