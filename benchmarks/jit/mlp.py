"""Claim: where nothing but overhead and small products is to be done, a hybridized network is several times as fast as
the peers: dense 784-64-64-10, batch 64, one SGD step.
"""

from __future__ import annotations

import drive
from drive import COMPILE, EAGER, JAX, Workload, shorter

STEP = Workload(
    "MLP 784-64-64-10, B64, SGD step",
    "mlp",
    {
        **drive.ours("mlp"),
        **drive.imperative("mlp"),
        **drive.torch_eager("mlp"),
        **drive.torch_eager("mlp", "torch eager fused update", fused=True),
        **drive.torch_compile("mlp"),
        **drive.jax_and_mxnet("mlp"),
    },
    [
        *shorter("MLP step", EAGER, 0.55, 0.35),
        *shorter("MLP step", JAX, 0.9, 0.6),
        *shorter("MLP step", COMPILE, 0.5, 0.3),
    ],
    unit="µs",
)

if __name__ == "__main__":
    drive.run({"speed": lambda: drive.speed(STEP)})
