"""Fair timing for benchmarks: all sides in one process, alternating, medians and ratios; JSON with machine and
versions.

The one idea: machines drift, so only ratios of measurements taken in turn are quoted. `compare` runs A B C A B C …,
each a small batch of calls, and reports the median over rounds; a Claim names the figure. Threads are fixed for all
sides (OMP_NUM_THREADS, 2 unless set). `--smoke` runs everything once, to prove that it runs; its figures mean nothing.
`--json FILE` appends a record, from which tools/results_page.py makes RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

THREADS = int(os.environ.setdefault("OMP_NUM_THREADS", "2"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

SMOKE = "--smoke" in sys.argv


@dataclass(frozen=True, slots=True)
class Claim:
    """What a benchmark is for: a median, or the ratio of two, with what it must reach and what it aims at: at most
    (sense ≤), or at least (≥).
    """

    what: str
    top: str
    bottom: str | None
    must: float
    aim: float
    sense: str = "≤"

    def value(self, medians: Mapping[str, float]) -> float | None:
        """Return the figure, or None where one of the two was not measured."""
        if self.top not in medians or (self.bottom and self.bottom not in medians):
            return None
        return medians[self.top] / (medians[self.bottom] if self.bottom else 1.0)


def machine() -> dict[str, Any]:
    """Return what a figure depends on."""
    import torch

    import glueball

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next(
            (line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")),
            model,
        )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": THREADS,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "glueball": glueball.__version__,
    }


def compare(
    sides: dict[str, Callable[[], Any]], calls: int, rounds: int, warmup: int = 3, unit: str = "µs"
) -> dict[str, float]:
    """Time the sides in turn; returns the median time per call of each, in microseconds (or milliseconds)."""
    import torch

    torch.set_num_threads(THREADS)
    if SMOKE:
        calls, rounds, warmup = 1, 1, 1
    scale = {"µs": 1e6, "ms": 1e3}[unit]
    for run in sides.values():
        for _ in range(warmup):
            run()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            start = time.perf_counter()
            for _ in range(calls):
                run()
            times[name].append((time.perf_counter() - start) / calls * scale)
    return {name: statistics.median(values) for name, values in times.items()}


def report(
    title: str, medians: dict[str, float], claims: list[Claim], unit: str = "µs", notes: Mapping[str, Any] | None = None
) -> None:
    """Print medians and what is claimed of them, and append a record to the JSON file when one is asked for.

    A claim about a side that was left out is left out. `notes` go into the record, beside machine and versions.
    """
    print(f"\n{title}" + (" (smoke: figures mean nothing)" if SMOKE else ""))
    for name, value in medians.items():
        print(f"  {name:<34}{value:>12.2f} {unit}")
    rows = [{**asdict(claim), "value": value} for claim in claims if (value := claim.value(medians)) is not None]
    for row in rows:
        sign = "×" if row["bottom"] else f" {unit}"
        sense = row["sense"]
        print(
            f"  {row['what']:<62}{row['value']:>8.2f}{sign}   must {sense} {row['must']:g}, aim {sense} {row['aim']:g}"
        )
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--json")
    path = parser.parse_known_args()[0].json
    if path and not SMOKE:
        with open(path, "a", encoding="utf-8") as file:
            record = {
                "benchmark": title, "unit": unit, "medians": medians, "claims": rows, **machine(), **(notes or {})
            }  # fmt: skip
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
