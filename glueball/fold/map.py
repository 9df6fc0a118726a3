"""`fold.map`: the program of one sample, run on many samples that wait for each other at every value they read.

The one idea: each sample is a fiber (fiber.py). Where a sample reads a value (`int(x.argmax())`, `if float(p) > t`)
it waits until every other sample also waits or has ended; then one flush computes what all of them want. With `width`
only so many samples are alive at a time, and when one ends the next begins, so that flushes stay wide to the end.

Not here: scopes and modes (scope.py), what a flush does (folder.py, execute.py).
"""
from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar

from ..base.errors import ArgumentError, explain, user_frame, user_stacklevel
from .fiber import Flusher, Hub, current_hub, run_fibers
from .switch import add_note

__all__ = ["map_samples"]

S = TypeVar("S")
T = TypeVar("T")

Opened = AbstractContextManager[Flusher | None]  # a fold scope: its flusher, or None where folding is switched off

# A map whose flushes serve hardly more than one sample each gains nothing: that is worth a word, once per place.
NARROW_FLUSHES, NARROW_WIDTH, NARROW_SAMPLES = 32, 1.5, 4
_warned: set[str] = set()


def map_samples(fn: Callable[[S], T], samples: Iterable[S], width: int | None, opened: Opened) -> list[T]:
    """Run `fn` on every sample inside the scope `opened`; see `map`."""
    _check(fn, width)
    with opened as flusher:
        if flusher is None:
            return _one_by_one(fn, samples)
        results, hub = run_fibers((partial(fn, sample) for sample in samples), width, flusher)
    if current_hub() is None:  # a map inside a map shares its hub and leaves the judgement to the outer one
        _warn_if_narrow(hub, len(results), width)
    return results


def _check(fn: Any, width: Any) -> None:
    if not callable(fn):
        raise ArgumentError(explain("fold.map", "The first argument is the program of one sample.",
                                    expected="a function of one argument", received=repr(fn)))
    target = fn if inspect.isroutine(fn) else getattr(fn, "__call__", fn)  # noqa: B004  # the method is looked at
    while isinstance(fn, partial):
        target = fn = fn.func
    if inspect.isgeneratorfunction(target) or inspect.iscoroutinefunction(target):
        raise ArgumentError(explain(
            "fold.map", "The program of a sample must be a plain function: calling this one only makes a generator or "
            "coroutine and runs nothing.", received=repr(fn), fix="use `return` for the result, and read values with "
            "int(x), float(x) or x.asnumpy(); waiting for the other samples needs no `yield` or `await`"))
    if width is not None and (isinstance(width, bool) or not isinstance(width, int) or width < 1):
        raise ArgumentError(explain("fold.map", "`width` is how many samples are alive at a time.",
                                    expected="an integer of at least 1, or None for all", received=repr(width)))


def _one_by_one(fn: Callable[[S], T], samples: Iterable[S]) -> list[T]:
    results: list[T] = []
    for number, sample in enumerate(samples):
        try:
            results.append(fn(sample))
        except BaseException as error:
            add_note(error, f"fold.map: raised in sample {number}")
            raise
    return results


def _warn_if_narrow(hub: Hub, samples: int, width: int | None) -> None:
    if hub.flushes <= NARROW_FLUSHES or samples <= NARROW_SAMPLES or hub.parked >= NARROW_WIDTH * hub.flushes:
        return
    place = user_frame()
    if place in _warned:
        return
    _warned.add(place)
    if width is not None and width <= NARROW_WIDTH:
        advice = f"Leave `width` out, or give more than {width}."
    else:
        advice = ("One sample is much longer than the others, or reads values that only it waits for: give long "
                  "samples first, put several batches into one map with `width`, or read values less often.")
    warnings.warn(f"fold.map: {hub.flushes} flushes for {samples} samples, of which {hub.parked / hub.flushes:.1f} on "
                  f"average waited for each, so hardly anything was batched. {advice}", UserWarning,
                  stacklevel=user_stacklevel())
