"""Claim: a cell unrolled in Python, hybridized, keeps up with torch's fused LSTM: 35 steps, batch 20, 128 inputs, 256
states, training step with SGD.

torch's program is nn.LSTM; the loop over nn.LSTMCell, which is the program that ours is, stands beside it.
"""

from __future__ import annotations

import drive
from drive import Workload, shorter

FUSED = "torch nn.LSTM"

STEP = Workload(
    "LSTM T35 E128 H256, B20, training step",
    "lstm",
    {
        **drive.ours("lstm"),
        **drive.torch_eager("lstm", FUSED),
        **drive.torch_eager("lstm", "torch eager loop over the cell", looped=True),
        **drive.torch_compile("lstm", "torch.compile loop over the cell", looped=True),
        **drive.jax_and_mxnet("lstm"),
    },
    shorter("LSTM step", FUSED, 1.15, 0.9),
    size=20,
)

if __name__ == "__main__":
    drive.run({"speed": lambda: drive.speed(STEP)})
