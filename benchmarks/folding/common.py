"""What the folding benchmarks F1–F6 share: sides made from the same parameters, checked against each other, timed in
turn, and reported as samples per second.

The one idea: a `Workload` is samples, parameters, and named sides; `run` makes the sides, refuses to time any whose
losses, outputs or gradients differ from the first one's, then runs A B C A B C … on the same batches, freshly drawn in
each round, so that no side meets a batch twice. Peers in other interpreters are workers (remote.py); one that is not
installed is skipped with a note. Options: `--smoke`, `--json FILE`, `--batch 1,16,64,256`, `--sides "ours;torch"`
(parts of titles), `--rounds N`, `--modes train,infer`, `--explain`. GLUEBALL_DYNET_PYTHON and GLUEBALL_ORACLE_PYTHON
name the Pythons of DyNet and of MXNet 1.9.1.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pairs import SMOKE, THREADS, machine
from remote import Arrays, Remote, Side, timed

PEERS = {"dynet": "GLUEBALL_DYNET_PYTHON", "mxnet": "GLUEBALL_ORACLE_PYTHON", "jax": "GLUEBALL_JAX_PYTHON"}
MODES = {"train": "training", "infer": "inference"}
CEILING = "GEMM ceiling"


@dataclass(frozen=True)
class Peer:
    """A side that runs in the interpreter of a peer: `module.make(parameters, samples, **options)` there."""

    peer: str
    module: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """The ratio of two sides' samples per second, with what it must reach and what it aims at."""

    what: str
    top: str
    bottom: str
    must: float
    aim: float
    mode: str = "train"
    batch: int = 256
    bottom_batch: int | None = None  # when the other side is too slow for the same batch size
    sense: str = "≥"

    def value(self, rates: dict[tuple[str, int], dict[str, float]]) -> float | None:
        """Return the figure, or None where one of the two was not measured."""
        top = rates.get((self.mode, self.batch), {}).get(self.top)
        bottom = rates.get((self.mode, self.bottom_batch or self.batch), {}).get(self.bottom)
        return None if top is None or bottom is None else top / bottom


@dataclass
class Workload:
    """One benchmark: what is run, by whom, and what is claimed of it.

    `sides` maps a title to a maker `(parameters, samples) -> Side`, or to a `Peer`. The first is the reference of the
    checks. `flops` counts the least FLOPs of a forward pass over a batch; with it the ceiling of the machine is shown.
    """

    title: str
    samples: list[Any]
    parameters: Arrays
    sides: dict[str, Callable[[Arrays, list[Any]], Side] | Peer]
    claims: list[Claim] = field(default_factory=list)
    modes: tuple[str, ...] = ("train", "infer")
    flops: Callable[[list[Any]], float] | None = None
    flops_of_training: float = 3.0  # as a multiple of the forward pass's
    gemm: tuple[int, int, int] = (5000, 300, 600)
    batches: tuple[int, ...] = (1, 16, 64, 256)
    repeating: tuple[str, ...] = ()  # sides that are given the same batches in every round, as their titles say
    rtol: float = 1e-4


class Local:
    """A side in this process, driven by numbers of samples like a Remote one."""

    def __init__(self, side: Side, samples: list[Any]) -> None:
        self.side, self._samples = side, samples
        self.traits = {name: getattr(side, name) for name in ("modes", "sizes", "checks_gradients", "exact_update")}

    def _batch(self, indices: Sequence[int]) -> list[Any]:
        return [self._samples[i] for i in indices]

    def ask(self, what: str, batches: Sequence[Sequence[int]] = (), mode: str = "") -> Any:
        """Answer what a worker would."""
        chosen = [self._batch(batch) for batch in batches]
        if what == "time":
            return timed(self.side, mode, chosen)
        return self.side.loss(chosen[0]) if what == "loss" else self.side.explain()

    def arrays(self, what: str, indices: Sequence[int]) -> Arrays:
        """Return arrays that a method of the side finds (gradients), or its outputs."""
        batch = self._batch(indices)
        if what == "infer":
            return {"outputs": np.asarray(self.side.infer(batch))}
        return getattr(self.side, what)(batch)

    def close(self) -> None:
        """Nothing to end."""


def arguments(workload: Workload) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=workload.title)
    parser.add_argument("--smoke", action="store_true", help="run everything once, small; figures mean nothing")
    parser.add_argument("--json", help="append records to this file")
    parser.add_argument("--batch", default=",".join(map(str, workload.batches)))
    parser.add_argument("--sides", default="", help="only sides whose title has one of these parts, separated by ;")
    parser.add_argument("--modes", default=",".join(workload.modes))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--explain", action="store_true", help="print each side's own report at the end")
    options = parser.parse_args()
    options.batch = [min(workload.batches)] if SMOKE else [int(size) for size in options.batch.split(",")]
    options.modes = [mode for mode in options.modes.split(",") if mode in workload.modes]
    return options


def prepare(workload: Workload, wanted: str) -> dict[str, Local | Remote]:
    """Make the sides; one that is not installed is left out with a note."""
    import torch

    torch.set_num_threads(THREADS)
    made: dict[str, Local | Remote] = {}
    for title, maker in workload.sides.items():
        if wanted and not any(part.strip() in title for part in wanted.split(";")):
            continue
        copies = {name: value.copy() for name, value in workload.parameters.items()}
        if not isinstance(maker, Peer):
            made[title] = Local(maker(copies, workload.samples), workload.samples)
        elif SMOKE:
            print(f"  skipped: {title} (smoke)")
        elif python := os.environ.get(PEERS[maker.peer]):
            made[title] = Remote(python, maker.module, copies, workload.samples, maker.options)
        else:
            print(f"  skipped: {title} ({PEERS[maker.peer]} names no Python)")
    return made


def differs(found: Arrays, expected: Arrays, rtol: float) -> str:
    """Say which array differs by more than rtol of the expected one's norm, or return nothing."""
    for name, right in expected.items():
        if name not in found:
            continue
        left = np.asarray(found[name], dtype=np.float64).reshape(right.shape)
        error = float(np.linalg.norm(left - right) / (np.linalg.norm(right) + 1e-12))
        if not error <= rtol:
            return f"{name} differs by {error:.1e}"
    return ""


def check(workload: Workload, sides: dict[str, Local | Remote], batch: Sequence[int]) -> None:
    """Compare every side with the first: losses, outputs, gradients, and the loss after one step of training.

    Raises
    ------
    SystemExit
        Naming the side and what differs: a figure of a program that computes something else means nothing.
    """
    first = next(iter(sides))
    expected: dict[str, Any] = {}
    for title, side in sides.items():
        able = side.traits["modes"]
        wrong = ""
        if "infer" in able and "infer" in workload.modes:
            outputs = side.arrays("infer", batch)
            wrong = differs(outputs, expected.setdefault("outputs", outputs), 10 * workload.rtol)
        if "train" in able and "train" in workload.modes:
            before = side.ask("loss", batches=[list(batch)])
            wrong = wrong or differs({"loss": before}, expected.setdefault("loss", {"loss": np.asarray(before)}), 1e-4)
            if side.traits["checks_gradients"]:
                found = side.arrays("gradients", batch)
                wrong = wrong or differs(found, expected.setdefault("gradients", found), 20 * workload.rtol)
            side.ask("time", batches=[list(batch)], mode="train")
            after = side.ask("loss", batches=[list(batch)])
            if not after < before:
                wrong = wrong or f"a step of training does not help: {before} -> {after}"
            elif side.traits["exact_update"]:
                after = {"the loss after a step": np.asarray(after)}
                wrong = wrong or differs(after, expected.setdefault("after", after), 10 * workload.rtol)
        if wrong:
            raise SystemExit(f"{workload.title}: '{title}' against '{first}': {wrong}")


def sgemm(m: int, k: int, n: int) -> Callable[[], float]:
    """Return a function that measures the FLOP/s of one matrix product."""
    import torch

    a, b = torch.randn(m, k), torch.randn(k, n)
    out = torch.empty(m, n)

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(4):
            torch.mm(a, b, out=out)
        return 4 * 2.0 * m * k * n / (time.perf_counter() - start)

    measure()
    return measure


def measure(
    workload: Workload, sides: dict[str, Local | Remote], mode: str, size: int, rounds: int
) -> dict[str, float]:
    """Return the median samples per second of each side that can do this at this batch size."""
    taking = {
        title: side for title, side in sides.items() if mode in side.traits["modes"] and size in side.traits["sizes"]
    }
    generator = np.random.default_rng(size)
    repeats = 1 if SMOKE else max(1, 32 // size)
    found: dict[str, list[float]] = {title: [] for title in taking}
    first: list[list[int]] = []
    ceilings: list[float] = []
    gemm = sgemm(*workload.gemm) if workload.flops else None
    gc.collect()
    gc.freeze()  # what the benchmark itself holds should not be looked at again and again
    for number in range(1 if SMOKE else rounds + 2):
        batches = [generator.permutation(len(workload.samples))[:size].tolist() for _ in range(repeats)]
        first = batches if number == 0 else first
        for title, side in taking.items():
            spent = sum(repeats * size / rate for rate in found[title])
            if len(found[title]) >= 2 and spent > 8:  # a slow side: its median is known well enough
                continue
            given = first if title in workload.repeating else batches
            seconds = side.ask("time", batches=given, mode=mode)
            if SMOKE or number >= 2:
                found[title].append(repeats * size / seconds)
        if gemm and workload.flops:
            least = sum(workload.flops([workload.samples[i] for i in batch]) for batch in batches)
            least *= workload.flops_of_training if mode == "train" else 1.0
            ceilings.append(gemm() * repeats * size / least)
    rates = {title: statistics.median(values) for title, values in found.items()}
    if ceilings:
        rates[CEILING] = statistics.median(ceilings)
    return rates


def report(
    workload: Workload, rates: dict[tuple[str, int], dict[str, float]], path: str | None, notes: dict[str, Any]
) -> None:
    """Print the figures and what is claimed of them, and append records to the JSON file when one is asked for."""
    for (mode, size), found in rates.items():
        title = f"{workload.title}, {MODES[mode]}, B{size}"
        print(f"\n{title}" + (" (smoke: figures mean nothing)" if SMOKE else ""))
        for name, value in found.items():
            print(f"  {name:<44}{value:>12.1f} samples/s")
        rows = []
        for claim in workload.claims:
            value = claim.value(rates)
            if (claim.mode, claim.batch) == (mode, size) and value is not None:
                rows.append({**asdict(claim), "value": value})
                print(f"  {claim.what:<62}{value:>8.2f}×   must {claim.sense} {claim.must:g}, aim {claim.aim:g}")
        if path and not SMOKE:
            record = {"benchmark": title, "unit": "samples/s", "medians": found, "claims": rows, **machine(), **notes}
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")


def run(workload: Workload) -> None:
    """Make, check, measure and report the sides of a workload, as the command line asks."""
    options = arguments(workload)
    print(workload.title, flush=True)
    sides = prepare(workload, options.sides)
    if not sides:
        raise SystemExit("no side has a title with " + options.sides)
    try:
        check(workload, sides, range(2 if SMOKE else 16))
        rates = {
            (mode, size): measure(workload, sides, mode, size, options.rounds)
            for mode in options.modes
            for size in options.batch
        }
        report(workload, rates, options.json, {"sides": list(sides)})
        if options.explain:
            size = 2 if SMOKE else max(options.batch)
            for title, side in sides.items():
                side.ask("time", batches=[list(range(size))], mode=options.modes[0])
                if text := side.ask("explain"):
                    print(f"\n--- {title}\n{text}")
    finally:
        for side in sides.values():
            side.close()
