"""Claim: loading a `.params` file of 100 MB takes at most 1.2 times what MXNet's own nd.load takes.

Both sides live in processes of their own, which have read a small file before (so that everything is imported). A
round starts a pair in turn: each loads the file once, which gets new memory from the system, and four times again,
which may use memory that was freed. MXNet 1.9.1 is found by GLUEBALL_ORACLE_PYTHON; without it only our side is timed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ORACLE = os.environ.get("GLUEBALL_ORACLE_PYTHON")
SIDES = {"glueball": sys.executable, **({"mxnet": ORACLE} if ORACLE else {})}


def worker(package: str, small: str, file: str) -> None:
    """Load in this process, and print the milliseconds of the first load and the median of the others."""
    import importlib

    nd: Any = importlib.import_module(package).nd
    nd.load(small)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        arrays = nd.load(file)
        nd.waitall()
        times.append((time.perf_counter() - start) * 1e3)
        assert len(arrays) > 100
        del arrays
    print(json.dumps([times[0], statistics.median(times[1:])]))


def one(side: str, small: str, file: str) -> list[float]:
    """Return what a fresh process measures."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if side == "glueball":
        environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([SIDES[side], __file__, "--worker", side, small, file], env=environment, capture_output=True,
                          text=True, check=True)  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Write the files, time the pairs, report."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import numpy as np
    from pairs import SMOKE, Claim, report

    from glueball import nd
    from glueball.gluon.model_zoo import vision

    rows = 1 if SMOKE else 7
    with tempfile.TemporaryDirectory() as folder:
        small, file = os.path.join(folder, "small.params"), os.path.join(folder, "resnet50.params")
        random = np.random.RandomState(0)
        nd.save(small, {f"p{i}": nd.ones((3,)) for i in range(200)})
        net = vision.resnet50_v1()
        net.initialize()
        net(nd.zeros((1, 3, 32, 32)))
        arrays = {name: nd.array(random.standard_normal(p.shape)) for name, p in net.collect_params().items()}
        nd.save(file, arrays)  # 102 MB in 299 arrays
        found: dict[str, list[list[float]]] = {side: [] for side in SIDES}
        for _ in range(rows):
            for side in SIDES:
                found[side].append(one(side, small, file))
    medians = {f"{side}, {what}": statistics.median(pair[i] for pair in found[side])
               for i, what in enumerate(("first load", "loaded again")) for side in SIDES}
    claims = [Claim(f"{what}: glueball / mxnet", f"glueball, {what}", f"mxnet, {what}", 1.2, 1.0)
              for what in ("first load", "loaded again")]
    if not ORACLE:
        print("GLUEBALL_ORACLE_PYTHON does not name a Python with MXNet 1.9.1: only our side is timed.")
    report("Loading a .params file of 102 MB", medians, claims, unit="ms")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        main()
