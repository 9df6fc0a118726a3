"""Claim: exporting ResNet-50 as ONNX, checked under onnxruntime, takes a third of torch.onnx.export's time, unchecked.

torch's exporter needs the package onnxscript; without it that side is left out. Both sides export the same network of
random weights, for an open batch, and their files are run on the same input: ours beside our network, torch's beside
torch's. Both start with everything imported and a first export behind them.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "jit"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "folding"))

from pairs import SMOKE, Claim, compare, report

SIZE = 64 if SMOKE else 224


def our_side(folder: str) -> dict[str, Callable[[], Any]]:
    """Return our exports: with the comparison under onnxruntime, and without."""
    from glueball import nd
    from glueball.gluon.model_zoo import vision

    net = vision.get_model("resnet18_v1" if SMOKE else "resnet50_v1")
    net.initialize()
    x = nd.random.uniform(shape=(1, 3, SIZE, SIZE))
    path = os.path.join(folder, "ours")
    return {
        "glueball, checked": lambda: net.export(path, format="onnx", inputs=[x]),
        "glueball, check=False": lambda: net.export(path, format="onnx", inputs=[x], check=False),
    }


def torch_side(folder: str) -> dict[str, Callable[[], Any]]:
    """Return torch's export, where it can run."""
    if SMOKE or find_spec("onnxscript") is None:
        return {}
    import torch
    from torch_side import ResNet50

    net = ResNet50({}).eval()
    x = torch.rand(1, 3, SIZE, SIZE)
    batch = torch.export.Dim("batch")

    def export() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(net, (x,), os.path.join(folder, "torch.onnx"), dynamic_shapes=({0: batch},),
                              opset_version=18, verbose=False)

    return {"torch.onnx.export": export}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        medians = compare({**our_side(folder), **torch_side(folder)}, calls=1, rounds=3, warmup=1, unit="ms")
    claims = [Claim("ResNet-50, export and comparison / torch.onnx.export", "glueball, checked", "torch.onnx.export",
                    0.3, 0.15)]
    report("ResNet-50 as ONNX", medians, claims, unit="ms")
