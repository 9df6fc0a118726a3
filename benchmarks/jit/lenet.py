"""Claim: a hybridized LeNet trains at least a third faster than torch eager: batch 64, one Adam step."""

from __future__ import annotations

import drive
from drive import EAGER, Workload, shorter

STEP = Workload(
    "LeNet, B64, Adam step",
    "lenet",
    {
        **drive.ours("lenet"),
        **drive.imperative("lenet"),
        **drive.torch_eager("lenet"),
        **drive.torch_eager("lenet", "torch eager fused update", fused=True),
        **drive.torch_compile("lenet"),
        **drive.jax_and_mxnet("lenet"),
    },
    shorter("LeNet step", EAGER, 0.75, 0.5),
)

if __name__ == "__main__":
    drive.run({"speed": lambda: drive.speed(STEP)})
