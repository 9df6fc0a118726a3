"""Claim: hybridize() makes the first call milliseconds longer: extra time of the first compiled forward + backward
beyond an imperative one.

The imperative time is the median of several steps (everything warm); each compiled time is of a fresh network, so
tracing, differentiation, passes and code generation all count. The very first compilation of the process is reported
apart: it imports our compiler, too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from pairs import SMOKE, Claim, report

from glueball import autograd, gluon, nd

torch.set_num_threads(2)


def mlp() -> tuple[Any, Any]:
    """Return a fresh MLP and data."""
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(64, activation="relu"), gluon.nn.Dense(64, activation="relu"), gluon.nn.Dense(10))
    return net, nd.random.uniform(shape=(64, 784))


def resnet() -> tuple[Any, Any]:
    """Return a fresh ResNet-50 and data (small images: compilation does not depend on their size)."""
    from glueball.gluon.model_zoo import vision

    return vision.resnet50_v1(classes=10), nd.random.uniform(shape=(2, 3, 64, 64))


def once(net: Any, x: Any) -> float:
    """Return the seconds of one forward and backward."""
    start = time.perf_counter()
    with autograd.record():
        y = net(x)
    y.backward()
    return time.perf_counter() - start


def measure(make: Callable[[], tuple[Any, Any]], repeats: int) -> dict[str, float]:
    """Return milliseconds: an imperative step, the extra of a first compiled step, and of the first in this process."""
    extras, plain = [], []
    for _ in range(1 if SMOKE else repeats):
        net, x = make()
        net.initialize()
        once(net, x)
        imperative = statistics.median(once(net, x) for _ in range(1 if SMOKE else 5))
        net.hybridize()
        extras.append((once(net, x) - imperative) * 1e3)
        plain.append(imperative * 1e3)
    rest = extras[1:] or extras
    return {
        "imperative step": statistics.median(plain),
        "extra of a first compiled step": statistics.median(rest),
        "extra, first of the process": extras[0],
    }


if __name__ == "__main__":
    for name, make, must, aim in (("MLP", mlp, 100, 20), ("ResNet-50", resnet, 2000, 500)):
        claim = Claim(f"first hybridized call, extra time, {name}", "extra of a first compiled step", None, must, aim)
        report(f"first hybridized call, {name}", measure(make, 5), [claim], unit="ms")
