"""Claim: hybridized ResNet-50 v1 answers at least as fast as compilers that only do inference: batches 1 and 32, 224².

Parts: `B1`, `B32`. torch.compile runs channels-last, once as it comes and once with frozen weights.
onnxruntime's threads go on looking for work after an answer, which doubles the time of whoever is asked at once on the
same cores; so there is a pause before each turn.
"""

from __future__ import annotations

import drive
from drive import COMPILE, LAST, ONNX, Program, Workload, faster

FROZEN = "torch.compile frozen"


def asking(size: int) -> Workload:
    """Return the workload of a batch size."""
    name = f"ResNet-50 inference B{size}"
    return Workload(
        f"ResNet-50 v1 inference, B{size}",
        "resnet50",
        {
            **drive.ours("resnet50", training=False),
            **drive.torch_eager("resnet50", LAST, channels_last=True),
            **drive.torch_compile("resnet50", channels_last=True),
            **drive.torch_compile("resnet50", FROZEN, channels_last=True, freeze=True),
            ONNX: Program("onnx_side", {"network": "resnet50"}, smoke=False),
            **drive.jax_and_mxnet("resnet50"),
        },
        [*faster(name, COMPILE, 1.0, 1.15), *faster(name, FROZEN, 1.0, 1.15), *faster(name, ONNX, 1.0, 1.15)],
        size=size,
        mode="infer",
        pause=0.3,
    )


if __name__ == "__main__":
    drive.run({f"B{size}": lambda size=size: drive.speed(asking(size)) for size in (1, 32)})
