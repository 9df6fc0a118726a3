"""The scope `fold.batching()`, and the modes in which it can be left on.

The one idea: the scope makes a Folder the current interpreter; leaving it runs what was recorded. Scopes inside a scope
are part of it. An error leaves no trace: what was recorded is forgotten, and the next scope starts clean. As a
decorator the scope is opened anew around every call of a function.
"""
from __future__ import annotations

import functools
import gc
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar, final

from ..base import config
from ..base.errors import ArgumentError, MXNetError, explain
from ..base.modes import is_recording, no_tape
from ..dispatch import CURRENT
from .explain import Report, last_report
from .folder import Folder

__all__ = ["batching", "current_folder"]

F = TypeVar("F", bound=Callable[..., Any])

_MODES = ("on", "off", "check")
_OFF: ContextVar[bool] = ContextVar("glueball_fold_off", default=False)  # inside a scope with mode="off"


@final
class batching:  # a scope is written like a function, as autograd.record is
    """A scope in which calls are recorded and run together, sample with sample.

    ``@fold.batching()`` above a function runs each of its calls in such a scope.

    Parameters
    ----------
    mode
        ``"on"`` batches, ``"off"`` runs the same code eagerly, ``"check"`` batches, runs every call by itself as well
        and names the first one whose value or gradient differs. Left out: what GLUEBALL_FOLD says, or "on".
    statistics
        What BatchNorm in train mode does: ``"refuse"`` raises, ``"sample"`` runs it sample by sample.

    Raises
    ------
    MXNetError
        When a mode is unknown, or what is inside cannot be computed.

    >>> from glueball import fold, gluon, nd
    >>> net = gluon.nn.Dense(2)
    >>> net.initialize()
    >>> with fold.batching():
    ...     outs = [net(nd.ones((1, 3)) * i) for i in range(4)]  # one matrix product for the four
    >>> outs[3].shape
    (1, 2)
    """

    def __init__(self, mode: str | None = None, statistics: str = "refuse") -> None:
        mode = config.get("GLUEBALL_FOLD") if mode is None else mode
        if mode not in _MODES:
            raise MXNetError(explain("fold.batching", "There is no such mode.",
                                     expected=" or ".join(map(repr, _MODES)), received=repr(mode)[:200],
                                     fix="as a decorator write @fold.batching(), with brackets" if callable(mode)
                                     else "leave it out for 'on', or look at GLUEBALL_FOLD"))
        if statistics not in ("refuse", "sample"):
            raise MXNetError(explain("fold.batching", "There is no such treatment of statistics.",
                                     expected="'refuse' or 'sample'", received=repr(statistics),
                                     fix="leave it out to be told where BatchNorm in train mode is called"))
        self.mode, self.statistics = mode, statistics
        self._open: list[tuple[Any, Any, Any, bool]] = []
        self._report: Report | None = None

    def __enter__(self) -> batching:
        current = CURRENT.get()
        if self.mode == "off" or isinstance(current, Folder) or _OFF.get():
            token = CURRENT.set(None) if self.mode == "off" and isinstance(current, Folder) else None
            if token is not None and isinstance(current, Folder):
                current.flush(reason="a scope with mode='off' begins")
            self._open.append((None, token, _OFF.set(True) if self.mode == "off" else None, False))
            return self
        folder = Folder(self.statistics, self.mode == "check")
        quiet = None if is_recording() else no_tape()
        if quiet is not None:
            quiet.__enter__()  # no tape for the whole scope: blocks need not switch it off one by one
        collecting = gc.isenabled()
        gc.disable()  # thousands of futures and no cycles: collecting in between costs a fifth of the recording
        interpreter: Any = folder  # its `call` is a function of units.py, which becomes a method
        self._open.append((folder, CURRENT.set(interpreter), quiet, collecting))
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        folder, token, quiet, collecting = self._open.pop()
        if folder is None:
            if token is not None:
                CURRENT.reset(token)
            if quiet is not None:
                _OFF.reset(quiet)
            return
        try:
            if kind is None:
                folder.flush(reason="the scope ends")
            else:
                folder.abandon(f"the scope was left by {kind.__name__}")
        except BaseException:
            folder.abandon("the batch failed")
            raise
        finally:
            CURRENT.reset(token)
            folder.engine.end()
            folder.forget()
            if quiet is not None:
                quiet.__exit__(None, None, None)
            if collecting:
                gc.enable()
            report = self._report = folder.engine.report
            report.close(folder.engine.store.rows)

    def __call__(self, function: F) -> F:
        """Return the function with a scope like this one around each call."""
        if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function) or not callable(function):
            raise ArgumentError(explain("fold.batching", "A scope is put around the calls of a plain function.",
                                        expected="@fold.batching() above a function that returns its result",
                                        received=repr(function)[:200],
                                        fix="write `with fold.batching():` where the computing is done"))
        mode, statistics = self.mode, self.statistics

        @functools.wraps(function)
        def scoped(*args: Any, **kwargs: Any) -> Any:
            with batching(mode, statistics):
                return function(*args, **kwargs)

        return scoped  # type: ignore[return-value]  # same signature

    def explain(self, times: bool = True) -> str:
        """Return what this scope did, as text; see fold.explain."""
        return (last_report() if self._report is None else self._report).text(times)


def current_folder() -> Folder | None:
    """Return the folder that records now, if one does."""
    current = CURRENT.get()
    return current if isinstance(current, Folder) else None
