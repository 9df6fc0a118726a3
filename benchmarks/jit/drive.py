"""Drives the JIT benchmarks: sides in a process each, made from the same arrays, held to each other's losses, timed in
turn.

The one idea: a `Workload` is a network, a batch and named programs. `speed` asks A B C A B C …, each for as many steps
as fill a tenth of a second, and waits for the last of them; `memory` gives every program a fresh process, `first_step`
empty caches as well; `new_size` meets batch sizes for the first time. A side whose losses or outputs differ from
the first one's is not timed. Options: `--smoke`, `--json FILE`, `--only "ours,JAX jit"` (titles or parts of them),
`--parts speed,first` (where a benchmark has several), `--rounds N`. GLUEBALL_ORACLE_PYTHON and GLUEBALL_JAX_PYTHON name
the Pythons of MXNet 1.9.1 and of JAX; a peer that is missing is left out, and in --smoke one that compiles slowly.
The pipe to another process, and claims: ../folding/remote.py, ../pairs.py.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "folding"))

from common import PEERS, Local
from pairs import SMOKE, Claim, report
from remote import Remote
from workloads import Arrays, Batch, arrays

HERE = Path(__file__).resolve().parent
FOLDERS = [HERE, HERE.parent.parent]  # what a worker needs to find: the sides, and the package
OURS, STEP, IMPERATIVE = "ours", "ours CompiledStep", "ours imperative"
EAGER, LAST, COMPILE = "torch eager", "torch eager channels_last", "torch.compile"
JAX, MXNET, ONNX = "JAX jit", "MXNet 1.9.1 hybridized", "onnxruntime"


@dataclass(frozen=True)
class Program:
    """How a side is made: `module.make(arrays, batches, **options)` in the Python of a peer ("" for this one).

    `smoke`: whether --smoke runs it; `alone`: it changes its whole process and so always has one of its own.
    """

    module: str
    options: dict[str, Any] = field(default_factory=dict)
    peer: str = ""
    smoke: bool = True
    alone: bool = False

    def missing(self) -> str:
        """Say why it cannot run here, or nothing."""
        if SMOKE and not self.smoke:
            return "smoke"
        if self.peer and not os.environ.get(PEERS[self.peer]):
            return f"{PEERS[self.peer]} names no Python"
        needs = {"onnx_side": ("onnx", "onnxruntime")}.get(self.module, ())
        return ", ".join(f"no {name} here" for name in needs if importlib.util.find_spec(name) is None)


def ours(network: str, training: bool = True, **options: Any) -> dict[str, Program]:
    """Return our programs: ordinary hybridized code, and the step that is one call."""
    options = {"library": "glueball", "network": network, **options}
    alone = "amp" in options
    found = {OURS: Program("gluon_side", options, alone=alone)}
    if training:
        found[STEP] = Program("gluon_side", {**options, "compiled_step": True}, alone=alone)
    return found


def imperative(network: str) -> dict[str, Program]:
    """Return our program without hybridize()."""
    return {IMPERATIVE: Program("gluon_side", {"library": "glueball", "network": network, "hybridize": False})}


def torch_eager(network: str, title: str = EAGER, **options: Any) -> dict[str, Program]:
    """Return a program of torch, eager."""
    return {title: Program("torch_side", {"network": network, **options})}


def torch_compile(network: str, title: str = COMPILE, **options: Any) -> dict[str, Program]:
    """Return a program of torch.compile."""
    return {title: Program("torch_side", {"network": network, "compile": True, **options}, smoke=False)}


def jax_and_mxnet(network: str) -> dict[str, Program]:
    """Return the programs of the peers in other Pythons."""
    mxnet = {"library": "mxnet", "network": network}
    return {
        MXNET: Program("gluon_side", mxnet, "mxnet", smoke=False),
        JAX: Program("jax_side", {"network": network}, "jax", smoke=False),
    }


@dataclass(frozen=True)
class Workload:
    """A network at a batch size, who runs it, and what is claimed. `steps`: losses that are compared, within
    `tolerance` of each other (the first within a tenth of it). `pause`: seconds before each side's turn, for threads of
    the one before may go on spinning for a while.
    """

    title: str
    network: str
    sides: dict[str, Program]
    claims: list[Claim] = field(default_factory=list)
    size: int = 64
    mode: str = "train"
    steps: int = 6
    tolerance: float = 1e-3
    unit: str = "ms"
    pause: float = 0.0

    @property
    def rows(self) -> int:
        """The batch size, a small one in --smoke."""
        return min(self.size, 4) if SMOKE else self.size


def faster(what: str, peer: str, must: float, aim: float) -> list[Claim]:
    """Claim that our programs do at least so many times as much per second as a peer."""
    return [Claim(f"{what}, {us} / {peer}, speed", peer, us, must, aim, "≥") for us in (OURS, STEP)]


def shorter(what: str, peer: str, must: float, aim: float) -> list[Claim]:
    """Claim that our programs take at most so much of what a peer takes (time, memory)."""
    return [Claim(f"{what}, {us} / {peer}", us, peer, must, aim) for us in (OURS, STEP)]


def at_most(what: str, must: float, aim: float) -> list[Claim]:
    """Claim that our programs need at most so much."""
    return [Claim(f"{what}, {us}", us, None, must, aim) for us in (OURS, STEP)]


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description="A benchmark of hybridize(); see drive.py.")
    parser.add_argument("--smoke", action="store_true", help="run everything once, small; figures mean nothing")
    parser.add_argument("--json", help="append records to this file")
    parser.add_argument("--only", default="", help="only these sides: titles, or parts of titles, separated by commas")
    parser.add_argument("--parts", default="", help="only these parts of the benchmark, separated by commas")
    parser.add_argument("--rounds", type=int, default=21)
    return parser.parse_args()


def chosen(sides: dict[str, Program]) -> dict[str, Program]:
    """Return the sides that were asked for and can run, with a note on those that cannot."""
    wanted = [part.strip() for part in arguments().only.split(",") if part.strip()]
    wanted = [[part] if part in sides else [title for title in sides if part in title] for part in wanted]
    found = {}
    for title, program in sides.items():
        if wanted and not any(title in titles for titles in wanted):
            continue
        if why := program.missing():
            print(f"  left out: {title} ({why})", flush=True)
        else:
            found[title] = program
    return found


Driven = Local | Remote


@lru_cache(maxsize=1)  # many sides in turn start from the same arrays
def _given(network: str, rows: int) -> Arrays:
    return arrays(network, rows, SMOKE)


@contextmanager
def started(
    workload: Workload, program: Program, sizes: Sequence[int], cold: bool = True, apart: bool = False
) -> Iterator[Driven]:
    """Start a side; `cold`: with empty caches of compiled code; `apart`: even --smoke gives it a process of its own."""
    given, batches = _given(workload.network, max(sizes)), [Batch(size) for size in sizes]
    if SMOKE and not (apart or program.alone):
        yield Local(importlib.import_module(program.module).make(given, batches, **program.options), batches)
        return
    python = os.environ[PEERS[program.peer]] if program.peer else sys.executable
    with tempfile.TemporaryDirectory(prefix="jit-") as empty:
        caches = [(name, empty) for name in ("GLUEBALL_CACHE", "TORCHINDUCTOR_CACHE_DIR")] if cold else []
        side = Remote(python, program.module, given, batches, program.options, FOLDERS, caches)
        try:
            yield side
        finally:
            side.close()


def check(workload: Workload, sides: dict[str, Driven]) -> None:
    """Compare every side with the first: the losses of the first steps of training, or the outputs.

    Raises
    ------
    SystemExit
        Naming the side and what differs: a figure of a program that computes something else means nothing.
    """
    expected: dict[str, np.ndarray] = {}
    for title, side in sides.items():
        if workload.mode == "infer":
            found = side.arrays("infer", [0])["outputs"]
        else:
            found = side.arrays("losses", [0] * workload.steps)["losses"]
            if not found[-1] < found[0]:
                raise SystemExit(f"{workload.title}: '{title}' does not learn: {found}")
        first = expected.setdefault("first", found)
        error = abs(found - first) / abs(first).max()
        if not error.max() <= workload.tolerance or (workload.mode == "train" and error[0] > workload.tolerance / 10):
            against = next(iter(sides))
            raise SystemExit(f"{workload.title}: '{title}' against '{against}': {found} is not {first}")


def turns(workload: Workload, sides: dict[str, Driven]) -> dict[str, float]:
    """Ask the sides in turn; returns the median time of one step or call, in the workload's unit."""
    scale = {"µs": 1e6, "ms": 1e3}[workload.unit]
    rounds = 1 if SMOKE else arguments().rounds
    calls: dict[str, int] = {}
    for title, side in sides.items():
        seconds = side.ask("time", batches=[[0]], mode=workload.mode)
        if seconds < 0.1 and not SMOKE:
            seconds = side.ask("time", batches=[[0] * 5], mode=workload.mode) / 5
        calls[title] = 1 if SMOKE else max(1, min(2000, round(0.1 / seconds)))
    times: dict[str, list[float]] = {title: [] for title in sides}
    for _ in range(rounds):
        for title, side in sides.items():
            if len(times[title]) >= 3 and sum(times[title]) * calls[title] > 10 * scale:
                continue  # a slow side: its median is known well enough
            time.sleep(0 if SMOKE else workload.pause)
            seconds = side.ask("time", batches=[[0] * calls[title]], mode=workload.mode)
            times[title].append(seconds / calls[title] * scale)
    return {title: statistics.median(values) for title, values in times.items()}


def speed(workload: Workload) -> None:
    """Start, check, time and report the sides of a workload."""
    print(f"\n{workload.title} ...", flush=True)
    sides: dict[str, Driven] = {}
    with _all(workload, sides):
        check(workload, sides)
        medians = turns(workload, sides)
        versions = sorted({side.ask("explain") for side in sides.values()})
    report(workload.title, medians, workload.claims, workload.unit, {"versions": versions})


@contextmanager
def _all(workload: Workload, sides: dict[str, Driven]) -> Iterator[None]:
    with ExitStack() as stack:
        for title, program in chosen(workload.sides).items():
            sides[title] = stack.enter_context(started(workload, program, [workload.rows], cold=False))
        if not sides:
            raise SystemExit("no side is left")
        yield


def first_step(workload: Workload, processes: int = 3) -> None:
    """Report the seconds that the first compiled step of a process takes beyond an uncompiled one (beyond a later one,
    where a side has no other), with nothing in caches.
    """
    print(f"\n{workload.title} ...", flush=True)
    medians = {}
    for title, program in chosen(workload.sides).items():
        found = []
        for _ in range(1 if SMOKE else processes):
            with started(workload, program, [workload.rows]) as side:

                def time(mode: str, side: Driven = side) -> float:
                    return side.ask("time", batches=[[0]], mode=mode)

                plain = "plain" in side.traits["modes"]
                if plain:
                    time("plain")
                usual = [time("plain") for _ in range(3)] if plain else []
                first = time("train")
                found.append(first - statistics.median(usual or [time("train") for _ in range(3)]))
            if first > 10:
                break  # a slow compiler: known well enough
        medians[title] = statistics.median(found)
    report(workload.title, medians, workload.claims, "s")


def new_size(workload: Workload, sizes: Sequence[int]) -> None:
    """Report the milliseconds that the first step at a new batch size takes beyond a later one: the median over
    `sizes`, which come after three others. Without claims: the second size of a process, and the third.
    """
    print(f"\n{workload.title} ...", flush=True)
    medians: dict[str, dict[str, float]] = {"second": {}, "third": {}, "further": {}}
    second, third = workload.rows + 1, workload.rows + 2
    for title, program in chosen(workload.sides).items():
        with started(workload, program, [workload.rows, second, third, *sizes]) as side:

            def extra(place: int, side: Driven = side) -> float:
                first, *later = [side.ask("time", batches=[[place]], mode="train") for _ in range(4)]
                return (first - statistics.median(later)) * 1e3

            extra(0)
            medians["second"][title], medians["third"][title] = extra(1), extra(2)
            medians["further"][title] = statistics.median(extra(place) for place in range(3, 3 + len(sizes)))
    for which in ("second", "third"):
        report(f"{workload.title}: the {which} of a process", medians[which], [], "ms")
    report(workload.title, medians["further"], workload.claims, "ms")


def _megabytes(process: int, name: str) -> float:
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def memory(workload: Workload, steps: int = 3) -> None:
    """Report the largest resident size during three steps beyond what the process held before the first (libraries,
    weights, data). Needs Linux.
    """
    print(f"\n{workload.title} ...", flush=True)
    medians = {}
    for title, program in chosen(workload.sides).items():
        with started(workload, program, [workload.rows], cold=False, apart=True) as side:
            assert isinstance(side, Remote)
            process = side.process
            Path(f"/proc/{process}/clear_refs").write_text("5", encoding="utf-8")  # the high-water mark starts anew
            before = _megabytes(process, "VmRSS")
            side.ask("time", batches=[[0] * steps], mode="train")
            medians[title] = _megabytes(process, "VmHWM") - before
    report(workload.title, medians, workload.claims, "MB")


def run(parts: dict[str, Callable[[], None]]) -> None:
    """Run the parts of a benchmark, or those that were asked for."""
    wanted = [part for part in arguments().parts.split(",") if part]
    unknown = set(wanted) - parts.keys()
    if unknown:
        raise SystemExit(f"there are no parts {sorted(unknown)}; there are {', '.join(parts)}")
    for name, part in parts.items():
        if not wanted or name in wanted:
            part()
