"""Claim: MXNet 1.9.1 loads what we write and we load what it writes: every zoo network, layer and recurrent cell.

One line per network with the largest difference (as a share of the largest number) over four ways: an export
(`-symbol.json` and `.params`), structural names, full names, names without the block's prefix. The other half runs in
MXNet's own Python, GLUEBALL_ORACLE_PYTHON; without it nothing is compared. What the rows are: mxnet_rows.py.
`python benchmarks/portability/mxnet_files.py [ROW or GROUP ...] [--json FILE]`
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mxnet_rows import GROUPS, ROWS, WAYS, load, write

TOLERANCE = 1e-4
DIRECTIONS = ("they load ours", "we load theirs")
ORACLE = os.environ.get("GLUEBALL_ORACLE_PYTHON")


def serve() -> None:
    """Be MXNet's half: answer lines of JSON until the input ends."""
    import mxnet as mx

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the log
    for line in sys.stdin:
        what, name, folder = json.loads(line)
        try:
            answer: Any = {"write": write, "load": load}[what](mx, name, folder)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:400]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class Other:
    """MXNet's half, seen from here. Without oneDNN for convolutional cells: with it 1.9.1 now and then stumbles over
    the order of a shared weight ("IsDefaultData").
    """

    def __init__(self, log: str, plain: bool) -> None:
        self.plain = plain
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment["MXNET_MKLDNN_ENABLED"] = "0" if plain else "1"
        with open(log, "w", encoding="utf-8") as errors:
            self.process = subprocess.Popen([str(ORACLE), __file__, "--serve"], stdin=subprocess.PIPE, text=True,
                                            stdout=subprocess.PIPE, stderr=errors, env=environment)  # fmt: skip

    def ask(self, what: str, name: str, folder: str) -> dict[str, Any]:
        """Ask for one thing; an error comes as a dictionary."""
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None or self.process.poll() is not None:
            return {"error": "MXNet's process ended"}
        stdin.write(json.dumps([what, name, folder]) + "\n")
        stdin.flush()
        line = stdout.readline()
        return (json.loads(line) or {}) if line else {"error": "MXNet's process ended"}

    def close(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait()


def row(name: str, log: str, other: list[Other]) -> dict[str, Any]:
    """Return a row of the table: both directions, by way."""
    import glueball as mx

    result: dict[str, Any] = {"row": name}
    plain = name.startswith("Conv") and name.endswith("Cell")
    if not other or other[0].plain != plain or other[0].process.poll() is not None:
        for old in other:
            old.close()
        other[:] = [Other(log, plain)]
    for direction in DIRECTIONS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                if direction == "they load ours":
                    write(mx, name, folder)
                    result[direction] = other[0].ask("load", name, folder)
                else:
                    answer = other[0].ask("write", name, folder)
                    result[direction] = answer or load(mx, name, folder)
            except Exception as error:
                result[direction] = {"error": f"{type(error).__name__}: {error}"[:400]}
    return result


def passed(result: dict[str, Any]) -> bool:
    """Whether all ways of both directions gave the same numbers."""
    directions = [result[direction] for direction in DIRECTIONS]
    return all(d and "error" not in d and max(d.values()) <= TOLERANCE for d in directions)


def shown(found: dict[str, Any]) -> str:
    """Return a cell of the table."""
    return found["error"].replace("\n", " ") if "error" in found else f"{max(found.values()):.1e}"


def main() -> int:
    """Print the table."""
    from pairs import SMOKE

    arguments = sys.argv[1:]
    path = arguments[arguments.index("--json") + 1] if "--json" in arguments else None
    asked = [a for a in arguments if not a.startswith("--") and a != path]
    wanted = [name for a in asked for name in GROUPS.get(a, [a])] or list(ROWS)
    if SMOKE:
        wanted = ["mobilenet0.25", "Conv2D strides=2, padding=1", "LSTMCell"]
    if not ORACLE:
        print("GLUEBALL_ORACLE_PYTHON does not name a Python with MXNet 1.9.1: nothing can be compared.")
        return 0
    results = []
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "log")
        other: list[Other] = []
        print(f"{'network or layer':<44}{'they load ours':>16}{'we load theirs':>16}")
        for name in wanted:
            found = row(name, log, other)
            results.append({**found, "passed": passed(found)})
            cells = "".join(f"{shown(found[d]):>16}" for d in DIRECTIONS)
            print(f"{name:<44}{cells}{'' if passed(found) else '   FAILED'}", flush=True)
        for half in other:
            half.close()
    equal = sum(found["passed"] for found in results)
    differences = [d for found in results if found["passed"] for way in DIRECTIONS for d in found[way].values()]
    print(f"{equal} of {len(results)} equal in both directions, {len(WAYS)} ways each (to {TOLERANCE:g}; the largest "
          f"difference is {max(differences, default=0):.1e})")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"benchmark": "MXNet's files", "rows": results}) + "\n")
    return int(equal < len(results))


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve()
    else:
        sys.exit(main())
