"""`fold.map`: the program of one sample, run on many samples that wait for each other at every value they read.

The one idea: each sample is a fiber (fiber.py). Where a sample reads a value (`int(x.argmax())`, `if float(p) > t`)
it waits until every other sample also waits or has ended; then one flush runs all that they recorded. With `width`
only so many samples are alive at a time, and when one ends the next begins, so that flushes stay wide to the end.

Not here: scopes and modes (scope.py), what a flush does (folder.py, execute.py).
"""
from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar

from ..base.errors import ArgumentError, explain, user_frame, user_stacklevel
from .fiber import Hub, current_hub, run_fibers
from .scope import batching, current_folder
from .switch import add_note

__all__ = ["map"]

S = TypeVar("S")
T = TypeVar("T")

# A map whose flushes serve hardly more than one sample each gains nothing: that is worth a word, once per place.
NARROW_FLUSHES, NARROW_WIDTH, NARROW_SAMPLES = 32, 1.5, 4
_warned: set[str] = set()


def map(fn: Callable[[S], T], samples: Iterable[S], width: int | None = None) -> list[T]:
    """Run ``fn(sample)`` for every sample, batching what they compute although each may look at its own values.

    Each sample runs until it reads a value (``int(x.argmax())``, ``if float(p) > t``, ``x.asnumpy()``); when all wait,
    one flush runs all that they recorded until then, and they go on in their order. Without a `batching()` scope around
    it, the map is its own scope. Where folding is off it is a plain loop.

    Samples run in turn, never at the same time, but between two reads of a sample others may have run: what they share
    (a list, a counter, an array that is written in place) may have changed: return results and add them up outside.
    Context variables, `record()` and the like belong to each sample.

    Parameters
    ----------
    fn
        The program of one sample. What it returns may hold values not yet computed.
    samples
        Any iterable; one is taken when it is to begin. With `width` it may be longer than memory.
    width
        How many samples are alive at a time: when one ends, the next begins. None: all (on threads, 1024).

    Returns
    -------
    list
        The results, in the order of the samples.

    Raises
    ------
    Exception
        What a sample raised, its type and traceback as they were, with the sample's number as a note. The other
        samples are stopped; their `finally` blocks run.
    ArgumentError
        When `fn` is no plain function, `samples` are not iterable, or `width` is no positive integer.

    Warns
    -----
    UserWarning
        When many flushes served hardly more than one sample each: nothing is gained then.

    >>> from glueball import fold, nd
    >>> def halvings(x):
    ...     count = 0
    ...     while float(x) > 1:          # waits for the other samples
    ...         x, count = x / 2, count + 1
    ...     return count
    >>> fold.map(halvings, [nd.array([v]) for v in (1, 5, 100)])
    [0, 3, 7]
    """
    _check(fn, width)
    with nullcontext() if current_folder() is not None else batching():
        folder = current_folder()
        if folder is None:
            return _one_by_one(fn, _each(samples))
        results, hub = run_fibers((partial(fn, sample) for sample in _each(samples)), width, folder)
    if current_hub() is None:  # a map inside a map shares its hub and leaves the judgement to the outer one
        _warn_if_narrow(hub, len(results), width)
    return results


def _check(fn: Any, width: Any) -> None:
    if not callable(fn):
        raise ArgumentError(explain("fold.map", "The first argument is the program of one sample.",
                                    expected="fold.map(fn, samples) with fn a function of one argument",
                                    received=repr(fn)[:200], fix="put the function first, the samples second"))
    target = fn if inspect.isroutine(fn) else getattr(fn, "__call__", fn)  # noqa: B004  # the method is looked at
    while isinstance(fn, partial):
        target = fn = fn.func
    if inspect.isgeneratorfunction(target) or inspect.iscoroutinefunction(target):
        raise ArgumentError(explain(
            "fold.map", "The program of a sample must be a plain function: calling this one only makes a generator or "
            "coroutine and runs nothing.", expected="a function of one argument that returns its result",
            received=repr(fn), fix="use `return` for the result, and read values with int(x), float(x) or x.asnumpy(); "
                                   "waiting for the other samples needs no `yield` or `await`"))
    if width is not None and hasattr(type(width), "__iter__") and not isinstance(width, str):
        raise ArgumentError(explain("fold.map", "There is one list of samples; what follows it is `width`, a number.",
                                    expected="fold.map(fn, samples)", received=f"two: the second a "
                                    f"{type(width).__name__}", fix="fold.map(lambda both: fn(*both), zip(a, b))"))
    if width is not None and (isinstance(width, bool) or not isinstance(width, int) or width < 1):
        raise ArgumentError(explain("fold.map", "`width` is how many samples are alive at a time.",
                                    expected="an integer of at least 1, or None for all", received=repr(width),
                                    fix="leave it out, unless the samples do not fit into memory together"))


def _each(samples: Iterable[S]) -> Iterator[S]:
    kind = type(samples)
    if not hasattr(kind, "__iter__") and not hasattr(kind, "__getitem__"):
        raise ArgumentError(explain("fold.map", "The second argument is the samples, which are taken one by one.",
                                    expected="a list, an array, a generator or another iterable",
                                    received=repr(samples)[:200],
                                    fix="fold.map(fn, [sample]) for one sample, range(n) to count"))
    return iter(samples)


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
    if width == 1 or place in _warned:  # one at a time is what was asked for
        return
    _warned.add(place)
    warnings.warn(f"fold.map: {hub.flushes} flushes for {samples} samples, of which {hub.parked / hub.flushes:.1f} on "
                  f"average waited for each, so hardly anything was batched: some samples read many more values than "
                  "the others. Give long samples first, put several batches into one map with `width`, or read values "
                  "less often.", UserWarning, stacklevel=user_stacklevel())
