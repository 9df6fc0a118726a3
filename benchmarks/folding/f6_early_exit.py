"""Workload F6: a transformer of 12 layers, width 256, 4 heads, inner width 1024, that leaves a sentence alone as soon
as a layer's classifier is sure; sentences of 16 to 128 tokens. Inference only: work that depends on values, at a coarse
grain, on ragged rows.

Claims: folded against the same program unfolded, against torch padded and masked by hand with a batch that shrinks
(the usual way), and against torch on packed rows (what an expert of ragged data writes). Data: early_exit_data.py;
programs: early_exit_gluon.py, early_exit_torch.py. DyNet has no batched attention and is left out.
"""

from __future__ import annotations

from common import Claim, Peer, Workload, run
from early_exit_data import INNER, WIDTH, Sentence, parameters, sentences
from early_exit_gluon import make
from early_exit_torch import Torch, one_by_one, packed, padded
from pairs import SMOKE

OURS, UNFOLDED, PADDED, PACKED = "ours folded", "ours unfolded", "torch, by hand (padded)", "torch, by hand (packed)"
MEAN_EXIT = 6
FEW = (1, 16)  # for sides whose time per sample does not depend on the batch


def flops(batch: list[Sentence]) -> float:
    """Return the FLOPs of a forward pass without padding, through as many layers as is usual."""
    lengths = [len(sentence.tokens) for sentence in batch]
    rows = 2.0 * (4 * WIDTH * WIDTH + 2 * WIDTH * INNER)
    return MEAN_EXIT * sum(length * (rows + 4.0 * length * WIDTH) for length in lengths)


if __name__ == "__main__":
    run(
        Workload(
            title="F6 early-exit transformer 12 × 256",
            samples=sentences(2 if SMOKE else 512),
            parameters=parameters(),
            sides={
                "torch per sample": lambda p, s: Torch(p, one_by_one, FEW),
                PADDED: lambda p, s: Torch(p, padded),
                PACKED: lambda p, s: Torch(p, packed),
                UNFOLDED: lambda p, s: make(p, s, hybridized=False, sizes=FEW),  # else every new length compiles
                OURS: lambda p, s: make(p, s, folded=True),
                "MXNet 1.9.1 hybridized": Peer("mxnet", "early_exit_gluon", {"sizes": FEW}),
            },
            claims=[
                Claim("F6 inference, folded / torch padded, B64", OURS, PADDED, 0.9, 1.2, "infer", 64),
            ],
            modes=("infer",),
            flops=flops,
            gemm=(4096, 256, 1024),
        )
    )
