"""Claims: hybridizing costs milliseconds: the first compiled step of a process with cold caches, beyond an imperative
one; and a batch size that a compiled network has not met, after three others (the second and the third are reported
without a claim). A size beyond all others also touches memory for the first time.

Parts: `first`, `sizes`. A peer's first step is counted beyond a plain one of its own, or a later one where it has no
plain ones (JAX).
"""

from __future__ import annotations

import drive
from drive import Workload, at_most

SIZES = {"mlp": ("MLP", 64), "lenet": ("LeNet", 64), "lstm": ("LSTM", 20), "transformer": ("Transformer", 16)}
MUST = {"mlp": 0.15, "lenet": 0.3, "lstm": 0.5, "transformer": 1.0}

MORE = [16, -3, 8, -5, 12, 3, -7, 5, -9]  # rows of new batches beyond the usual ones


def sides(network: str) -> dict[str, drive.Program]:
    """Return who is timed."""
    compiled = drive.torch_compile(network, looped=True) if network == "lstm" else drive.torch_compile(network)
    return {**drive.ours(network), **compiled, **drive.jax_and_mxnet(network)}


def first() -> None:
    """Time first steps."""
    for network, (name, size) in SIZES.items():
        must = MUST[network]
        claims = at_most(f"{name}, cold compile time, s", must, round(must / 3, 3))
        drive.first_step(Workload(f"{name}, the first compiled step", network, sides(network), claims, size))


def sizes() -> None:
    """Time new batch sizes."""
    for network, (name, size) in SIZES.items():
        claims = at_most(f"{name}, a new batch size, ms", 10, 2)
        workload = Workload(f"{name}, a new batch size", network, sides(network), claims, size)
        drive.new_size(workload, [3, 2] if drive.SMOKE else [size + more for more in MORE])


if __name__ == "__main__":
    drive.run({"first": first, "sizes": sizes})
