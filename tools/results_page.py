"""Writes benchmarks/RESULTS.md from the records of `--json FILE`: `python tools/results_page.py FILE`.

The newest record of each benchmark counts, claim by claim and side by side: a long benchmark may be run in parts
(`--only`), since a claim's two figures always come from one run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HEAD = """# Results

Made by `tools/results_page.py` from the benchmarks' own records. The sides of a benchmark run in turn, with the same
number of threads, in one process (imports, memory and everything of `jit/`: a process each); figures are medians.
Of ratios of times (must ≤) smaller is better, of ratios of speeds (must ≥) larger. Reproduce with

```text
for b in small_ops training_step dropout first_call import_time peak_memory; do
    python benchmarks/$b.py --json records.json
done
# Pythons with DyNet, MXNet 1.9.1 and JAX, where there are any:
export GLUEBALL_DYNET_PYTHON=... GLUEBALL_ORACLE_PYTHON=... GLUEBALL_JAX_PYTHON=...
for b in mlp lenet lstm transformer resnet50_training resnet50_inference compile_time; do
    python benchmarks/jit/$b.py --json records.json      # torch.compile takes minutes; --only leaves it out
done
python benchmarks/portability/load_params.py --json records.json
python benchmarks/portability/export_time.py --json records.json             # needs onnxscript for torch's side
for b in benchmarks/folding/overhead.py benchmarks/folding/f[0-9]_*.py; do   # overhead.py: by itself on one thread
    python $b --json records.json
done
python tools/results_page.py records.json
```
"""


def newest(records: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return one record per benchmark: each of its claims and medians as the last record that has it says."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        before = found.get(record["benchmark"], {"claims": [], "medians": {}})
        claims = {row["what"]: row for row in [*before["claims"], *record["claims"]]}
        medians = {**before["medians"], **record["medians"]}
        found[record["benchmark"]] = {**record, "claims": list(claims.values()), "medians": medians}
    return found


def verdict(row: dict[str, Any]) -> str:
    """Say in words how a figure stands to its targets (at most, or at least where the row says ≥)."""
    larger = row.get("sense") == "≥"
    if row["value"] >= row["aim"] if larger else row["value"] <= row["aim"]:
        return "aim reached"
    if row["value"] >= row["must"] if larger else row["value"] <= row["must"]:
        return f"must reached; {row['value'] / row['aim']:.2f}× the aim"
    return f"**falls short**: {row['value'] / row['must']:.2f}× what it must be"


def page(records: dict[str, dict[str, Any]]) -> str:
    """Return the page."""
    parts = [HEAD]
    first = next(iter(records.values()))
    parts.append(
        f"Machine: {first['cpu']}, {first['threads']} threads; Python {first['python']}, torch {first['torch']}, "
        f"glueball {first['glueball']}.\n"
    )
    parts.append("| claim | figure | must | aim | verdict |\n|---|---:|---:|---:|---|")
    for record in records.values():
        for row in record["claims"]:
            unit = "×" if row["bottom"] else f" {record['unit']}"
            workload = record["benchmark"].split()[0]  # F1 … F6 are named in their claims
            named = workload[0] != "F" or not workload[1:].isdigit() or row["what"].startswith(workload)
            what = row["what"] if named else f"{workload} {row['what']}"
            parts.append(
                f"| {what} | {row['value']:.2f}{unit} | {row.get('sense', '≤')} {row['must']:g} | "
                f"{row['aim']:g} | {verdict(row)} |"
            )
    parts.append("\n| benchmark | side | median |\n|---|---|---:|")
    for record in records.values():
        for name, value in record["medians"].items():
            parts.append(f"| {record['benchmark']} | {name} | {value:.2f} {record['unit']} |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    root = Path(__file__).resolve().parent.parent
    (root / "benchmarks" / "RESULTS.md").write_text(page(newest(map(json.loads, lines))), encoding="utf-8")
