"""The scopes `record`, `pause`, `train_mode`, `predict_mode`, and the switches behind them.

The one idea: a scope is a small reusable object that sets RECORDING and/or TRAINING (None: leaves it) and puts them
back; it also works as a decorator. torch's grad mode follows RECORDING inside a scope only, so that torch code of the
same program is left alone.
"""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, final

import torch

from ..base.aten import set_grad_mode
from ..base.modes import RECORDING, TRAINING, is_recording, is_training

__all__ = ["record", "pause", "train_mode", "predict_mode", "is_recording", "is_training", "set_recording",
           "set_training"]

F = TypeVar("F", bound=Callable[..., Any])


@final
class _Scope:
    """Sets the switches on entry and restores them on exit; may be nested and entered again."""

    __slots__ = ("_recording", "_training", "_stack")

    def __init__(self, recording: bool | None, training: bool | None) -> None:
        self._recording, self._training = recording, training
        self._stack: list[tuple[Any, Any, bool | None]] = []

    def __enter__(self) -> None:
        recording = training = grad = None
        if self._recording is not None:
            recording = RECORDING.set(self._recording)
            grad = torch.is_grad_enabled()
            set_grad_mode(self._recording)
        if self._training is not None:
            training = TRAINING.set(self._training)
        self._stack.append((recording, training, grad))

    def __exit__(self, *exc: object) -> None:
        # The last entry that was made here: threads and the samples of fold.map may hold one scope object open at once.
        for place in range(len(self._stack) - 1, -1, -1):
            recording, training, grad = self._stack[place]
            try:
                if recording is not None:
                    RECORDING.reset(recording)
                if training is not None:
                    TRAINING.reset(training)
            except ValueError:  # an entry of another thread or sample
                continue
            del self._stack[place]
            if recording is not None:
                set_grad_mode(bool(grad))
            return

    def __call__(self, function: F) -> F:
        recording, training = self._recording, self._training

        @functools.wraps(function)
        def scoped(*args: Any, **kwargs: Any) -> Any:
            with _Scope(recording, training):
                return function(*args, **kwargs)
        return scoped  # type: ignore[return-value]  # same signature


def record(train_mode: bool = True) -> _Scope:
    """Return a scope in which operators are recorded for `backward()`, in train mode unless `train_mode=False`.

    >>> from glueball import autograd, nd
    >>> x = nd.array([3.0])
    >>> x.attach_grad()
    >>> with autograd.record():
    ...     y = x * x
    >>> y.backward()
    >>> x.grad.item()
    6.0
    """
    return _Scope(True, train_mode)


def pause(train_mode: bool = False) -> _Scope:
    """Return a scope inside record() in which nothing is recorded."""
    return _Scope(False, train_mode)


def train_mode() -> _Scope:
    """Return a scope in which Dropout and BatchNorm act as in training; recording is left as it is."""
    return _Scope(None, True)


def predict_mode() -> _Scope:
    """Return a scope in which Dropout and BatchNorm act as in prediction; recording is left as it is."""
    return _Scope(None, False)


def set_recording(is_recording: bool) -> bool:
    """Switch recording for good; returns what it was."""
    before = RECORDING.get()
    RECORDING.set(bool(is_recording))
    torch.set_grad_enabled(True)
    return before


def set_training(train_mode: bool) -> bool:
    """Switch train mode for good; returns what it was."""
    before = TRAINING.get()
    TRAINING.set(bool(train_mode))
    return before
