"""Callbacks for training loops: Speedometer, ProgressBar, checkpoints, metrics in the log.

The one idea: a batch callback is called with a `BatchEndParam` (epoch, nbatch, eval_metric), an epoch callback with
(epoch, symbol, args, auxes); all report through `logging.info`. Checkpoint files are written in `model.py`; Gluon's
event handlers are in `gluon/contrib/estimator`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any, final

from .base.errors import ArgumentError, explain
from .model import BatchEndParam, save_checkpoint

__all__ = [
    "Speedometer",
    "ProgressBar",
    "do_checkpoint",
    "module_checkpoint",
    "log_train_metric",
    "LogValidationMetricsCallback",
]

BatchCallback = Callable[[BatchEndParam], None]


def _scores(metric: Any) -> str:
    return "".join(f"\t{name}={value:f}" for name, value in metric.get_name_value())


@final
class Speedometer:
    """Log samples per second and the metric every `frequent` batches.

    Parameters
    ----------
    batch_size : int
        Samples per batch, over all devices.
    frequent : int, default 50
    auto_reset : bool, default True
        Call the metric's `reset_local` after each report, so that it shows the last batches only.

    Examples
    --------
    >>> import glueball as mx
    >>> report = mx.callback.Speedometer(batch_size=32, frequent=100)
    >>> for n in range(300):
    ...     report(mx.model.BatchEndParam(epoch=0, nbatch=n, eval_metric=None, locals=None))
    """

    def __init__(self, batch_size: int, frequent: int = 50, auto_reset: bool = True) -> None:
        if frequent < 1:
            raise ArgumentError(
                explain("Speedometer", "frequent is a number of batches.", expected="1 or more", received=frequent)
            )
        self.batch_size = batch_size
        self.frequent = frequent
        self.auto_reset = auto_reset
        self.last_count = 0
        self._started: float | None = None

    def __call__(self, param: BatchEndParam) -> None:
        count = param.nbatch
        if count < self.last_count:  # a new epoch
            self._started = None
        self.last_count = count
        if self._started is None:
            self._started = time.perf_counter()
            return
        if count % self.frequent:
            return
        elapsed = time.perf_counter() - self._started
        speed = self.frequent * self.batch_size / elapsed if elapsed else math.inf
        scores = ""
        if param.eval_metric is not None:
            scores = _scores(param.eval_metric)
            if self.auto_reset:
                param.eval_metric.reset_local()
        batches = f"{count - self.frequent}-{count}" if self.auto_reset else f"0-{count}"
        logging.info("Epoch[%d] Batch [%s]\tSpeed: %.2f samples/sec%s", param.epoch, batches, speed, scores)
        self._started = time.perf_counter()


@final
class ProgressBar:
    """Log a bar that is full when `total` batches are done.

    >>> import glueball as mx
    >>> bar = mx.callback.ProgressBar(total=10, length=20)
    >>> bar.text(5)
    '[==========----------] 50%'
    """

    def __init__(self, total: int, length: int = 80) -> None:
        self.total = total
        self.bar_len = length

    def text(self, count: int) -> str:
        """Return the bar after `count` batches."""
        filled = round(self.bar_len * count / self.total)
        return f"[{'=' * filled}{'-' * (self.bar_len - filled)}] {math.ceil(100 * count / self.total)}%"

    def __call__(self, param: BatchEndParam) -> None:
        logging.info(self.text(param.nbatch))


@final
class LogValidationMetricsCallback:
    """Log every metric at the end of an evaluation."""

    def __call__(self, param: BatchEndParam) -> None:
        if param.eval_metric is not None:
            for name, value in param.eval_metric.get_name_value():
                logging.info("Epoch[%d] Validation-%s=%f", param.epoch, name, value)


def log_train_metric(period: int, auto_reset: bool = False) -> BatchCallback:
    """Return a batch callback that logs the training metric every `period` batches (and resets its local part)."""

    def callback(param: BatchEndParam) -> None:
        if param.nbatch % period == 0 and param.eval_metric is not None:
            for name, value in param.eval_metric.get_name_value():
                logging.info("Iter[%d] Batch[%d] Train-%s=%f", param.epoch, param.nbatch, name, value)
            if auto_reset:
                param.eval_metric.reset_local()

    return callback


def do_checkpoint(prefix: str, period: int = 1) -> Callable[..., None]:
    """Return an epoch callback that saves a checkpoint after every `period` epochs."""
    period = max(1, int(period))

    def callback(iter_no: int, symbol: Any, arg_params: Any, aux_params: Any) -> None:
        if (iter_no + 1) % period == 0:
            save_checkpoint(prefix, iter_no + 1, symbol, arg_params, aux_params)
            logging.info('Saved checkpoint to "%s-%04d.params"', prefix, iter_no + 1)

    return callback


def module_checkpoint(
    mod: Any, prefix: str, period: int = 1, save_optimizer_states: bool = False
) -> Callable[..., None]:
    """Return an epoch callback that asks an object with `save_checkpoint(prefix, epoch, save_optimizer_states)` to save
    itself.
    """
    period = max(1, int(period))

    def callback(iter_no: int, symbol: Any = None, arg_params: Any = None, aux_params: Any = None) -> None:
        if (iter_no + 1) % period == 0:
            mod.save_checkpoint(prefix, iter_no + 1, save_optimizer_states)

    return callback
