"""A side of a benchmark in a Python of its own: DyNet and MXNet need other interpreters than ours.

The one idea: both ends are this file. `Remote` starts `python remote.py FOLDER` with a folder that holds the
parameters (`parameters.npz`) and the samples (`start.json`), then asks line by line in JSON; the worker times itself,
so neither start-up nor the pipe is counted. `Side` is what every side offers, here or there. Nothing but numpy is
imported, and nothing newer than Python 3.8 is used, so that old peers can run it. What is asked when: common.py.
"""

import abc
import dataclasses
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

Arrays = Dict[str, np.ndarray]


class Side(abc.ABC):
    """What a benchmark asks of a side. One is made from exported parameters, and gets batches as lists of samples.

    `modes` names what can be timed, `sizes` the batch sizes worth timing (slow sides: small ones), `checks_gradients`
    whether `gradients` is there.
    """

    modes: Tuple[str, ...] = ("infer",)
    sizes: Tuple[int, ...] = (1, 16, 64, 256)
    checks_gradients = False
    exact_update = True  # whether a step of the optimizer is the same as the other sides' to rounding

    @abc.abstractmethod
    def infer(self, batch: List[Any]) -> np.ndarray:
        """Return what the program says of each sample: an array whose axis 0 is the samples."""

    def explain(self) -> str:
        """Return a report on where the time goes, or nothing."""
        return ""


class TrainingSide(Side):
    """A side that trains as well."""

    modes = ("train", "infer")

    @abc.abstractmethod
    def loss(self, batch: List[Any]) -> float:
        """Return the sum of the losses of a batch, without changing anything."""

    @abc.abstractmethod
    def train(self, batch: List[Any]) -> None:
        """One training step: forward, backward, optimizer. Must have finished when it returns."""


class GradientSide(TrainingSide):
    """A side that trains and shows its gradients, so that they can be compared."""

    checks_gradients = True

    @abc.abstractmethod
    def gradients(self, batch: List[Any]) -> Arrays:
        """Return the gradients of that sum, named and shaped like the exported parameters."""


def timed(side: Side, what: str, batches: Sequence[List[Any]]) -> float:
    """Return the seconds that `what` ("train" or "infer") takes for some batches."""
    call = getattr(side, what)
    start = time.perf_counter()
    for batch in batches:
        call(batch)
    return time.perf_counter() - start


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)


class Remote:
    """A side that lives in another process; offers what a driver (common.py, ../jit/drive.py) asks, by numbers of
    samples.
    """

    def __init__(
        self,
        python: str,
        module: str,
        parameters: Arrays,
        samples: List[Any],
        options: Dict[str, Any],
        folders: Sequence[Path] = (),
        environment: Sequence[Tuple[str, str]] = (),
    ):
        """Start the worker. `folders`: where `module` is, if not beside this file; `environment`: what it gets besides
        this process's.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="folding-")
        folder = Path(self._folder.name)
        np.savez(folder / "parameters.npz", **parameters)
        kind = type(samples[0])
        start = {
            "module": module,
            "folders": [str(path) for path in folders],
            "options": options,
            "sample": [kind.__module__, kind.__qualname__],
            "samples": [{f.name: getattr(s, f.name) for f in dataclasses.fields(s)} for s in samples],
        }
        (folder / "start.json").write_text(json.dumps(start, default=_plain), encoding="utf-8")
        self._errors = open(folder / "stderr", "w+", encoding="utf-8")  # noqa: SIM115 - closed in close()
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [python, str(Path(__file__).resolve()), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**inherited, **dict(environment)},
            text=True,
        )
        self.process = self._process.pid
        self.traits = self.ask("traits")

    def ask(self, what: str, **more: Any) -> Any:
        """Ask for something and wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = ""
        try:
            self._process.stdin.write(json.dumps({"what": what, **more}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            pass
        if not line:
            self._process.wait()
            self._errors.seek(0)
            raise RuntimeError("the worker ended:\n" + self._errors.read()[-3000:])
        return json.loads(line)

    def arrays(self, what: str, indices: Sequence[int]) -> Arrays:
        """Ask for arrays; they come in a file."""
        with np.load(self.ask(what, batches=[list(map(int, indices))])) as found:
            return {name: found[name] for name in found.files}

    def close(self) -> None:
        """End the worker: it stops when its input ends."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()
        self._folder.cleanup()


def serve(folder: Path) -> None:
    """Be the other end: answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the log
    start = json.loads((folder / "start.json").read_text(encoding="utf-8"))
    sys.path[:0] = start["folders"]
    kind = getattr(importlib.import_module(start["sample"][0]), start["sample"][1])
    samples = [kind(**fields) for fields in start["samples"]]
    with np.load(folder / "parameters.npz") as file:
        parameters = {name: file[name] for name in file.files}
    side = importlib.import_module(start["module"]).make(parameters, samples, **start["options"])
    for line in sys.stdin:
        request = json.loads(line)
        what = request["what"]
        batches = [[samples[i] for i in batch] for batch in request.get("batches", [])]
        answer: Any
        if what == "traits":
            traits = ("modes", "sizes", "checks_gradients", "exact_update")
            answer = {name: getattr(side, name) for name in traits}
        elif what == "loss":
            answer = side.loss(batches[0])
        elif what == "time":
            answer = timed(side, request["mode"], batches)
        elif what == "explain":
            answer = side.explain()
        else:
            found = {"outputs": side.infer(batches[0])} if what == "infer" else getattr(side, what)(batches[0])
            answer = str(folder / "answer.npz")
            np.savez(answer, **found)
        answers.write(json.dumps(answer, default=_plain) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
