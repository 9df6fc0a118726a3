"""Claim: a hybridized transformer encoder trains faster than torch's with fused attention: 4 layers, width 256, 4
heads, 128 words, batch 16, Adam.
"""

from __future__ import annotations

import drive
from drive import COMPILE, EAGER, Workload, shorter

STEP = Workload(
    "Transformer encoder 4 × 256, T128, B16, training step",
    "transformer",
    {
        **drive.ours("transformer"),
        **drive.torch_eager("transformer"),
        **drive.torch_compile("transformer"),
        **drive.jax_and_mxnet("transformer"),
    },
    [*shorter("Transformer step", EAGER, 0.9, 0.75), *shorter("Transformer step", COMPILE, 1.0, 0.85)],
    size=16,
)

if __name__ == "__main__":
    drive.run({"speed": lambda: drive.speed(STEP)})
