"""Try an installed Glueball: a folded batch gives what its samples give alone; say which compiled parts are there.

`python tools/smoke_wheel.py` runs wherever the package is installed, not in the sources; `--compiled` fails where a
part of the C core is missing, which setup.py alone would let pass. Only the package and what it needs are imported.
What a release does with it: CONTRIBUTING.md and `[tool.cibuildwheel]` of pyproject.toml.
"""

from __future__ import annotations

import sys

from glueball import __file__ as where
from glueball import autograd, fold, nd
from glueball.fold.core import compiled
from glueball.gluon import nn

PARTS = ("recorder", "runner", "planner", "placer")


def main(arguments: list[str]) -> int:
    """Return the exit status."""
    there = [part for part in PARTS if compiled(part) is not None]
    print(f"{where}: compiled parts: {', '.join(there) or 'none, their twins in Python run'}")
    dense = nn.Dense(3, in_units=3)
    dense.initialize()

    def program(x: nd.NDArray) -> int:
        steps = 0
        while steps < 5 and float(nd.abs(x).sum()) > 0.01:
            x, steps = nd.tanh(dense(x)), steps + 1
        return steps

    samples = [nd.ones((1, 3)) * scale for scale in (0.0, 0.1, 1.0)]
    if fold.map(program, samples) != [program(x) for x in samples]:
        print("a folded batch gives something else than its samples alone")
        return 1
    gradients = []
    for mode in ("on", "off"):
        with autograd.record(), fold.batching(mode):
            total = nd.add_n(*[nd.tanh(dense(x)).sum() for x in samples])
        total.backward()
        gradients.append(dense.weight.grad().copy())
    if nd.abs(gradients[0] - gradients[1]).max().asscalar() > 1e-5:
        print("a folded batch has other gradients than its samples alone")
        return 1
    if "--compiled" in arguments and len(there) < len(PARTS):
        print(f"expected compiled parts: {', '.join(PARTS)}; build with a C compiler at hand")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
