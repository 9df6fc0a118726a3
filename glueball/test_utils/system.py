"""The surroundings of a test: its default context, environment variables, downloads, and whether a random generator is
fair.

The one idea: whatever is changed is put back (`environment` restores variables even after an error); statistics are
judged with a stated number of standard errors. Arrays are made in samples.py and compared in compare.py.
"""

from __future__ import annotations

import functools
import itertools
import os
import platform
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np

from ..base import context as _context
from ..base.context import Context, current_context, num_gpus
from ..base.errors import ArgumentError, explain

__all__ = [
    "EnvManager",
    "chi_square_check",
    "default_context",
    "discard_stderr",
    "download",
    "environment",
    "gen_buckets_probs_with_ppf",
    "has_tvm_ops",
    "is_aarch64_run",
    "is_cd_run",
    "is_op_runnable",
    "list_gpus",
    "mean_check",
    "retry",
    "set_default_context",
    "var_check",
    "verify_generator",
]

Draw = Callable[[int], Any]


def default_context() -> Context:
    """Return the context tests run in: the current one."""
    return current_context()


def set_default_context(ctx: Context) -> None:
    """Make `ctx` the current context until further notice."""
    _context.CURRENT_CONTEXT.set(ctx)


def list_gpus() -> range:
    """Return the numbers of the CUDA devices.

    >>> isinstance(list_gpus(), range)
    True
    """
    return range(num_gpus())


@contextmanager
def environment(*args: Any) -> Generator[None, None, None]:
    """Set environment variables inside a `with` block: ``environment(name, value)`` or ``environment({name: value})``.

    A value of None removes the variable. Afterwards everything is as before.

    >>> with environment("GLUEBALL_EXAMPLE", "1"):
    ...     os.environ["GLUEBALL_EXAMPLE"]
    '1'
    >>> "GLUEBALL_EXAMPLE" in os.environ
    False
    """
    if len(args) == 1 and isinstance(args[0], dict):
        wanted: dict[str, Any] = args[0]
    elif len(args) == 2:
        wanted = {args[0]: args[1]}
    else:
        raise ArgumentError(
            explain(
                "environment",
                "The arguments are not understood.",
                expected="(name, value) or ({name: value, ...})",
                received=args,
                fix="Write `with environment('NAME', '1'):`",
            )
        )
    before = {name: os.environ.get(name) for name in wanted}
    try:
        _set_environment(wanted)
        yield
    finally:
        _set_environment(before)


def _set_environment(values: dict[str, Any]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = str(value)


class EnvManager:
    """Set one environment variable inside a `with` block; the form of `environment` that older programs use."""

    def __init__(self, key: str, val: str | None) -> None:
        self._manager = environment(key, val)

    def __enter__(self) -> None:
        self._manager.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.__exit__(kind, error, trace)


@contextmanager
def discard_stderr() -> Generator[None, None, None]:
    """Throw away what is written to the process's standard error inside a `with` block, by C code too."""
    saved = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def retry(n: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that runs a test of random numbers up to `n` times before its AssertionError counts."""
    if n < 1:
        raise ArgumentError(
            explain("retry", "A test must run at least once.", expected="n >= 1", received=n, fix="Write @retry(3).")
        )

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(test)
        def repeated(*args: Any, **kwargs: Any) -> Any:
            for _ in range(n - 1):
                try:
                    return test(*args, **kwargs)
                except AssertionError:
                    continue
            return test(*args, **kwargs)

        return repeated

    return decorate


def download(
    url: str, fname: str | None = None, dirname: str | None = None, overwrite: bool = False, retries: int = 5
) -> str:
    """Fetch `url` into `dirname` and return the file's path; `gluon.utils.download` does the work."""
    from ..gluon.utils import download as fetch

    name = fname or url.split("?")[0].rstrip("/").split("/")[-1]
    path = os.path.join(dirname, name) if dirname else name
    if dirname:
        os.makedirs(dirname, exist_ok=True)
    return fetch(url, path=path, overwrite=overwrite, retries=retries)


def has_tvm_ops() -> bool:
    """Return False: there are no operators made by TVM."""
    return False


def is_op_runnable() -> bool:
    """Return True: every operator of the table runs on every device Glueball supports."""
    return True


def is_cd_run() -> bool:
    """Return whether this is a nightly delivery run, told by the variable CD_JOB."""
    return os.environ.get("CD_JOB", "0") == "1"


def is_aarch64_run() -> bool:
    """Return whether the processor is a 64-bit ARM."""
    return platform.machine() in ("aarch64", "arm64")


def _draw(generator: Draw, count: int) -> np.ndarray[Any, Any]:
    drawn = generator(count)
    return np.asarray(drawn.asnumpy() if hasattr(drawn, "asnumpy") else drawn, dtype=np.float64).ravel()


def mean_check(generator: Draw, mu: float, sigma: float, nsamples: int = 1000000) -> bool:
    """Return whether the mean of `nsamples` draws lies within three standard errors of `mu`."""
    drawn = _draw(generator, nsamples)
    return bool(abs(drawn.mean() - mu) < 3 * sigma / np.sqrt(nsamples))


def var_check(generator: Draw, sigma: float, nsamples: int = 1000000) -> bool:
    """Return whether the variance of `nsamples` draws lies within three standard errors of sigma², for a normal
    generator.
    """
    drawn = _draw(generator, nsamples)
    return bool(abs(drawn.var(ddof=1) - sigma**2) < 3 * np.sqrt(2 * sigma**4 / (nsamples - 1)))


def gen_buckets_probs_with_ppf(
    ppf: Callable[[Any], Any], nbuckets: int
) -> tuple[list[tuple[float, float]], list[float]]:
    """Cut a distribution, given by its inverse cumulative function, into buckets of equal probability.

    >>> gen_buckets_probs_with_ppf(lambda p: p, 2)
    ([(0.0, 0.5), (0.5, 1.0)], [0.5, 0.5])
    """
    edges = [float(ppf(index / nbuckets)) for index in range(nbuckets + 1)]
    return list(itertools.pairwise(edges)), [1.0 / nbuckets] * nbuckets


def chi_square_check(
    generator: Draw, buckets: Sequence[Any], probs: Sequence[float], nsamples: int = 1000000
) -> tuple[float, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Compare a generator with a distribution by Pearson's test.

    Parameters
    ----------
    buckets : sequence
        Intervals (low, high) of a continuous distribution, or the values of a discrete one.
    probs : sequence of float
        The probability of each bucket.

    Returns
    -------
    p : float
        The probability of a deviation at least this large; small values speak against the generator.
    observed, expected : numpy.ndarray, shape (buckets,)
    """
    from scipy.stats import chisquare

    drawn = _draw(generator, nsamples)
    if isinstance(buckets[0], (tuple, list)):
        observed = np.array([np.count_nonzero((drawn >= low) & (drawn < high)) for low, high in buckets])
    else:
        observed = np.array([np.count_nonzero(drawn == value) for value in buckets])
    expected = np.asarray(probs, dtype=np.float64) * nsamples
    scaled = expected * (observed.sum() / expected.sum()) if observed.sum() else expected
    return float(chisquare(observed, scaled).pvalue), observed, expected


def verify_generator(
    generator: Draw,
    buckets: Sequence[Any],
    probs: Sequence[float],
    nsamples: int = 1000000,
    nrepeat: int = 5,
    success_rate: float = 0.2,
    alpha: float = 0.05,
) -> list[float]:
    """Run `chi_square_check` several times; raise AssertionError when fewer than `success_rate` of the runs exceed
    `alpha`.
    """
    found = [chi_square_check(generator, buckets, probs, nsamples)[0] for _ in range(nrepeat)]
    passed = sum(p > alpha for p in found)
    if passed < nrepeat * success_rate:
        raise AssertionError(
            f"verify_generator: {passed} of {nrepeat} runs passed, expected at least {nrepeat * success_rate:g}; "
            f"probabilities {[f'{p:.3g}' for p in found]}"
        )
    return found
