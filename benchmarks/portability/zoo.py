"""Claim: every network of the model zoo is exported as ONNX and computes the same under onnxruntime.

Prints one line per network: seconds, megabytes, the largest difference as a share of the largest number. Networks have
random weights and running statistics that moved. `python benchmarks/portability/zoo.py [NAME ...]`.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pairs import SMOKE

from glueball import autograd, init, nd
from glueball.base.errors import MXNetError
from glueball.gluon.model_zoo import vision
from glueball.onnx.verify import run

NAMES = [f"resnet{d}_v{v}" for v in (1, 2) for d in (18, 34, 50, 101, 152)] + [
    *(f"vgg{d}{norm}" for d in (11, 13, 16, 19) for norm in ("", "_bn")), "alexnet", "inceptionv3",
    *(f"densenet{d}" for d in (121, 161, 169, 201)), "squeezenet1.0", "squeezenet1.1",
    *(f"mobilenet{w}" for w in ("1.0", "0.75", "0.5", "0.25")),
    *(f"mobilenetv2_{w}" for w in ("1.0", "0.75", "0.5", "0.25")),
]  # fmt: skip

TOLERANCE = 1e-4


def export(name: str, folder: str) -> tuple[float, float, float]:
    """Return (seconds, megabytes, difference) of one network."""
    side = 299 if name.startswith("inception") else 224
    net = vision.get_model(name)
    net.initialize(init.Xavier())
    x = nd.random.uniform(shape=(2, 3, side, side))
    with autograd.train_mode():
        net(x)
    start = time.perf_counter()
    path = net.export(os.path.join(folder, name), format="onnx", inputs=[x])
    seconds = time.perf_counter() - start
    size = os.path.getsize(path) / 1e6
    expected = net(x).asnumpy()
    difference = float(np.abs(run(path, {"data": x.asnumpy()})[0] - expected).max() / np.abs(expected).max())
    os.unlink(path)
    return seconds, size, difference


if __name__ == "__main__":
    wanted = [a for a in sys.argv[1:] if not a.startswith("--")] or (["mobilenet0.25"] if SMOKE else NAMES)
    print(f"{'network':<20}{'seconds':>9}{'MB':>9}{'difference':>13}")
    equal = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted:
            try:
                seconds, size, difference = export(name, folder)
            except MXNetError as error:
                print(f"{name:<20}{error}", flush=True)
                continue
            equal += difference <= TOLERANCE
            print(f"{name:<20}{seconds:>9.2f}{size:>9.1f}{difference:>13.1e}", flush=True)
    print(f"{equal} of {len(wanted)} exported and equal (to {TOLERANCE:g} of the largest number)")
    sys.exit(equal < len(wanted))
