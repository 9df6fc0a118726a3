"""Times of a plan's steps: the plan is run some times with a reading of the clock before each step.

The one idea: what runs is the plan's own function with a call between the lines (codegen.Source.watched), on copies of
all arrays, with the random numbers' state put back afterwards: nobody can see that it ran. Medians over the rounds.

Not here: what the steps are (facts.py), spans in the profiler's trace (spans.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from statistics import median
from typing import Any

import torch

from ..codegen import Source

__all__ = ["times_of"]

_PATIENCE = 3.0  # seconds, after which no further round is begun once there are three
_LEAST = 3


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put the state of all random numbers back, and leave torch's tape out."""
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    state, devices = torch.get_rng_state(), torch.cuda.get_rng_state_all() if cuda else []
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_rng_state(state)
        if cuda:
            torch.cuda.set_rng_state_all(devices)


class _Watch:
    """Readings of the clock; on a GPU after what was asked of it is done."""

    def __init__(self, cuda: bool) -> None:
        self.cuda, self.begin = cuda, 0
        self.readings: list[tuple[int, int | None, float]] = []

    def __call__(self, step: int, unit: int | None) -> None:
        if self.cuda:
            torch.cuda.synchronize()
        self.readings.append((self.begin + step, unit, time.perf_counter()))


def _round(functions: Sequence[Any], sources: Sequence[Source], watch: _Watch, tensors: Sequence[torch.Tensor],
           outputs: int) -> None:  # fmt: skip
    """Run forward, and backward where there is one, from ones at the outputs."""
    watch.begin = 0
    found = list(functions[0](*tensors))
    for function, before in zip(functions[1:], sources):
        watch.begin += len(before.steps)
        function([*found[outputs:], *(torch.ones_like(t) for t in found[:outputs])])


def times_of(sources: Sequence[Source], tensors: Sequence[torch.Tensor], outputs: int, rounds: int = 10,
             kept: Sequence[torch.Tensor] = ()) -> tuple[list[float], dict[int, list[float]]]:  # fmt: skip
    """Return the seconds of each step of the functions, and by number of the step those of its units.

    Parameters
    ----------
    sources : forward; or forward and backward
    tensors : of the first function; they are copied, and not written to
    outputs : how many results a user gets; the others go to the second function
    rounds : how many times at most
    kept : what a plan keeps itself, after the tensors: nobody writes to it
    """
    watch = _Watch(any(t.is_cuda for t in tensors))
    copies: dict[int, torch.Tensor] = {id(t): torch.empty_like(t.detach()) for t in tensors}
    found: list[dict[tuple[int, int | None], list[float]]] = []
    with _undisturbed():
        for units in (False, True):
            own: dict[tuple[int, int | None], list[float]] = {}
            if units and not any(source.regions for source in sources):
                continue
            functions = [source.watched(watch, units) for source in sources]
            start = time.perf_counter()
            for number in range(rounds + 1):
                for tensor in tensors:
                    copies[id(tensor)].copy_(tensor)
                watch.readings.clear()
                _round(functions, sources, watch, [*(copies[id(t)] for t in tensors), *kept], outputs)
                if number:  # the first round finds memory
                    for place, seconds in _spans(watch.readings):
                        own.setdefault(place, []).append(seconds)
                if number >= _LEAST and time.perf_counter() - start > _PATIENCE:
                    break
            found.append(own)
    count = sum(len(source.steps) for source in sources)
    steps = [median(found[0].get((number, None), [0.0])) for number in range(count)]
    parts: dict[int, list[float]] = {}
    for (step, unit), seconds in sorted(found[-1].items(), key=lambda item: (item[0][0], item[0][1] or 0)):
        if unit is not None:
            parts.setdefault(step, []).append(median(seconds))
    # the last one is empty: what watching costs
    return steps, {step: [max(one - each[-1], 0.0) for one in each[:-1]] for step, each in parts.items()}


def _spans(readings: Sequence[tuple[int, int | None, float]]) -> Iterator[tuple[tuple[int, int | None], float]]:
    """Yield (step, unit) and seconds between each reading and the next one of the same level."""
    steps = [(step, begin) for step, unit, begin in readings if unit is None]
    for (step, begin), (after, end) in pairwise(steps):
        if after == step + 1:  # else a function ended here, and the next began
            yield (step, None), end - begin
    for (step, unit, begin), (_, _, end) in pairwise(readings):
        if unit is not None:
            yield (step, unit), end - begin
