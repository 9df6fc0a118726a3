"""Remakes all golden data, with a Python that has MXNet 1.9.1 and NumPy 1.23.5: `make_all.py [topic ...]`.

Each topic runs in its own process, because the oracle now and then brings its process down.
"""

from __future__ import annotations

import os
import subprocess
import sys

TOPICS = [
    "ops_math",
    "ops_shape",
    "ops_nn",
    "ops_vision",
    "layers",
    "training",
    "model_zoo",
    "files",
    "symbols",
    "legacy",
    "records",
    "facts",
]


def main(wanted: list[str]) -> int:
    here = os.path.dirname(os.path.abspath(__file__))
    failed = [
        topic for topic in wanted or TOPICS if subprocess.call([sys.executable, os.path.join(here, topic + ".py")])
    ]
    print("failed: " + ", ".join(failed) if failed else "all topics written")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
