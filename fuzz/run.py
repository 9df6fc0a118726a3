"""`make fuzz`: every reader under atheris, a coverage-guided fuzzer, and a table of what came of it.

    python fuzz/run.py [--runs 100000] [--only params,symbol] [--out out/fuzz]

The one idea: one process per kind of file and one at a time; a finding does not end a run but is kept, once per place
in the package, with the bytes that caused it: `out/fuzz/NAME/*.bin`, which `python fuzz/run.py --again FILE` reads once
more. What is fuzzed is in targets.py, and how files are changed in mutate.py.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import json
import os
import random
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ALLOCATION = 1 << 30  # address space beyond what the process has after its start; an allocation beyond it fails


def one(name: str, runs: int, out: Path) -> None:
    """Fuzz one kind of file in this process; ends the process."""
    import atheris

    modules = json.loads(os.environ["FUZZ_MODULES"])
    with atheris.instrument_imports(include=modules):
        for module in modules:  # now: much of the package is imported when it is first used
            importlib.import_module(module)
        import targets
    target = targets.TARGETS[name]
    corpus = out / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
        targets.guard(target, seed)
    counts = {"executions": 0, "read": 0}
    findings: dict[str, str] = {}
    start = time.monotonic()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ALLOCATION
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def finish() -> None:
        result = {**counts, "findings": findings, "seconds": time.monotonic() - start, "peak": targets._peak()}
        (out / name / "result.json").write_text(json.dumps(result))

    def test(data: bytes) -> None:
        try:
            counts["read"] += targets.guard(target, data)
        except targets.Finding as error:
            first, _, where = str(error).partition("\n")  # one finding for each kind of error and place
            key = hashlib.sha1(f"{first.split(':')[0]}{where}".encode(), usedforsecurity=False).hexdigest()[:12]
            if key not in findings:
                findings[key] = str(error)
                (out / name / f"{key}.bin").write_bytes(data)
                (out / name / f"{key}.txt").write_text(str(error))
        counts["executions"] += 1
        if counts["executions"] >= runs:
            finish()
            sys.stderr.flush()
            os._exit(0)

    def change(data: bytes, longest: int, seed: int) -> bytes:
        def blind(content: bytes) -> bytes:
            return atheris.Mutate(content, max(len(content), min(longest, len(content) + 64), 1))

        made = target.mutate(data, random.Random(seed), blind)
        return made if len(made) <= longest else blind(data)

    options = [sys.argv[0], f"-runs={runs * 2}", f"-max_len={target.longest}", "-len_control=0", "-timeout=900",
               "-rss_limit_mb=8000", "-print_final_stats=0", f"-artifact_prefix={out / name}/", str(corpus)]
    atheris.Setup(options, test, **({"custom_mutator": change} if target.mutate else {}))
    atheris.Fuzz()


def again(path: str, name: str) -> None:
    """Read a finding's bytes once more, without a guard."""
    import targets

    targets.TARGETS[name].run(Path(path).read_bytes())
    print("read without an error")


def _row(name: str, runs: int, out: Path, modules: tuple[str, ...]) -> dict[str, Any]:
    """Run one kind in a process of its own; return its row of the table."""
    (out / name).mkdir(parents=True, exist_ok=True)
    result = out / name / "result.json"
    result.unlink(missing_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FUZZ_MODULES": json.dumps(modules)}
    command = [sys.executable, __file__, "--one", name, "--runs", str(runs), "--out", str(out)]
    with open(out / name / "log.txt", "w", encoding="utf-8") as log:
        code = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False).returncode
    edges = [int(n) for n in re.findall(r"cov: (\d+)", (out / name / "log.txt").read_text(errors="replace"))]
    if result.exists():
        row = json.loads(result.read_text())
    else:
        row = {"executions": 0, "read": 0, "seconds": 0.0, "peak": 0,
               "findings": {"ended": f"the process ended with {code}; see {out / name}"}}
    return {**row, "name": name, "first": edges[0] if edges else 0, "edges": edges[-1] if edges else 0}


def main() -> int:
    """Fuzz the kinds that are asked for; return 1 if anything was found."""
    parser = argparse.ArgumentParser(description="Fuzz every reader of files.")
    parser.add_argument("--runs", type=int, default=100_000, help="executions for each kind of file")
    parser.add_argument("--only", help="kinds, separated by commas")
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--again", nargs=2, metavar=("FILE", "KIND"), help="read the bytes of a finding once more")
    options = parser.parse_args()
    sys.path.insert(0, str(HERE.parent))
    if options.one:
        one(options.one, options.runs, options.out)
    if options.again:
        again(*options.again)
        return 0
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install atheris (CPython on Linux), or use make fuzz.", file=sys.stderr)
        return 2
    import targets

    options.out.mkdir(parents=True, exist_ok=True)
    names = options.only.split(",") if options.only else list(targets.TARGETS)
    rows = []
    print(f"{'file':12} {'executions':>10} {'read':>9} {'edges':>6} {'new':>5} {'findings':>8} {'MiB':>6} {'s':>6}")
    for name in names:
        target = targets.TARGETS[name]
        if missing := [package for package in target.needs if importlib.util.find_spec(package) is None]:
            print(f"{name:12} left out: {', '.join(missing)} is not installed")
            continue
        row = _row(name, options.runs, options.out.resolve(), target.modules)
        rows.append(row)
        new = row["edges"] - row["first"]
        print(f"{name:12} {row['executions']:>10,} {row['read']:>9,} {row['edges']:>6} {new:>5} "
              f"{len(row['findings']):>8} {row['peak'] >> 20:>6} {row['seconds']:>6.0f}", flush=True)
    for row in rows:
        for key, text in row["findings"].items():
            print(f"\n{row['name']} {key}: {text}")
    print(f"\n{sum(row['executions'] for row in rows):,} executions, {sum(len(r['findings']) for r in rows)} findings")
    return int(any(row["findings"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
