"""Claims: hybridized ResNet-50 v1 trains faster than every peer, in less memory, and its first compiled step comes at
once: batch 16, 224², SGD with momentum.

Parts: `fp32`, `bf16` (mixed precision on both sides), `first` (the first compiled step beyond an imperative one),
`memory` (a process each).
"""

from __future__ import annotations

from dataclasses import replace

import drive
from drive import COMPILE, JAX, LAST, MXNET, Workload, at_most, faster, shorter

FP32 = Workload(
    "ResNet-50 v1 training, B16, float32",
    "resnet50",
    {
        **drive.ours("resnet50"),
        **drive.torch_eager("resnet50", LAST, channels_last=True),
        **drive.torch_compile("resnet50", channels_last=True),
        **drive.jax_and_mxnet("resnet50"),
    },
    [
        *faster("ResNet-50 training", LAST, 1.12, 1.25),
        *faster("ResNet-50 training", COMPILE, 1.15, 1.3),
        *faster("ResNet-50 training", MXNET, 1.0, 1.15),
        *faster("ResNet-50 training", JAX, 3, 4),
    ],
    size=16,
    steps=2,
)
AUTOCAST = "torch autocast channels_last"
BF16 = Workload(
    "ResNet-50 v1 training, B16, bfloat16",
    "resnet50",
    {
        **drive.torch_eager("resnet50", AUTOCAST, channels_last=True, autocast=True),
        **drive.ours("resnet50", amp="bfloat16"),
    },
    faster("ResNet-50 training in bfloat16", AUTOCAST, 1.15, 1.4),
    size=16,
    steps=2,
    tolerance=0.05,
)
FIRST = replace(
    FP32,
    title="ResNet-50 v1 training, B16, the first compiled step",
    sides={**drive.ours("resnet50"), **drive.torch_compile("resnet50", channels_last=True),
           **drive.jax_and_mxnet("resnet50")},
    claims=at_most("ResNet-50, first compiled step beyond an imperative one, s", 3, 1),
)  # fmt: skip
MEMORY = replace(
    FP32,
    title="ResNet-50 v1 training, B16, peak memory beyond the weights",
    claims=shorter("ResNet-50 training, peak memory", LAST, 0.8, 0.6),
)

if __name__ == "__main__":
    drive.run(
        {
            "fp32": lambda: drive.speed(FP32),
            "bf16": lambda: drive.speed(BF16),
            "first": lambda: drive.first_step(FIRST, processes=1),
            "memory": lambda: drive.memory(MEMORY),
        }
    )
