"""Monitor: look at the outputs of every layer (or of an executor) while training, every few batches.

The one idea: between `tic` and `toc` the arrays that pass a hook and whose names fit a pattern are reduced to a number
each. Blocks report through `register_op_hook`; of an executor the arguments and outputs are read at `toc`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, final

import numpy as np

from .base.errors import ArgumentError, explain
from .ndarray import NDArray

__all__ = ["Monitor"]

Row = tuple[int, str, str]


def _size_of(array: NDArray) -> Any:
    """The root mean square of the elements."""
    return np.sqrt(np.mean(np.square(array.asnumpy().astype(np.float64))))


@final
class Monitor:
    """Collect a statistic of arrays by name.

    Parameters
    ----------
    interval : int
        Every how many `tic` … `toc` rounds to collect.
    stat_func : callable, optional
        From an NDArray to a number, an NDArray or a list of these; default the root mean square.
    pattern : str
        Regular expression of the names to collect.
    sort : bool, default False
        Sort the rows by name.
    monitor_all : bool, default False
        The inputs of layers, too.

    Examples
    --------
    >>> import glueball as mx
    >>> net = mx.gluon.nn.Dense(2, in_units=2, prefix="fc_")
    >>> net.initialize(init="ones")
    >>> monitor = mx.mon.Monitor(interval=1)
    >>> monitor.install(net)
    >>> monitor.tic()
    >>> _ = net(mx.nd.ones((1, 2)))
    >>> [(name, value.strip()) for _, name, value in monitor.toc()]
    [('fc_output0', '2.0')]
    """

    def __init__(
        self,
        interval: int,
        stat_func: Callable[[NDArray], Any] | None = None,
        pattern: str = ".*",
        sort: bool = False,
        monitor_all: bool = False,
    ) -> None:
        if interval < 1:
            raise ArgumentError(explain("Monitor", "interval counts batches.", expected="1 or more", received=interval))
        self.interval = interval
        self.stat_func = stat_func or _size_of
        self.re_prog = re.compile(pattern)
        self.sort = sort
        self.monitor_all = monitor_all
        self.activated = False
        self.step = 0
        self.queue: list[tuple[int, str, Any]] = []
        self.exes: list[Any] = []

    def install(self, exe: Any) -> None:
        """Watch a Block, or an executor of a symbol."""
        if hasattr(exe, "register_op_hook"):
            exe.register_op_hook(lambda name, operator, array: self.stat_helper(name, array), self.monitor_all)
        elif hasattr(exe, "output_dict"):
            self.exes.append(exe)
        else:
            raise ArgumentError(
                explain("Monitor.install", "This cannot be watched.", expected="a Block or an executor", received=exe)
            )

    def stat_helper(self, name: str, array: NDArray) -> None:
        """Take the statistic of one array, if a round is being collected and the name fits."""
        if self.activated and self.re_prog.match(name):
            self.queue.append((self.step, name, self.stat_func(array)))

    def tic(self) -> None:
        """Begin a round, before the forward pass."""
        if self.step % self.interval == 0:
            self.queue, self.activated = [], True
        self.step += 1

    def toc(self) -> list[Row]:
        """End the round; return (number of the round, name, text of the statistic) for each array."""
        if not self.activated:
            return []
        for exe in self.exes:
            for arrays in (exe.arg_dict, exe.aux_dict, exe.output_dict):
                for name, array in arrays.items():
                    self.stat_helper(name, array)
        self.activated = False
        rows = [(step, name, _text(value)) for step, name, value in self.queue]
        self.queue = []
        return sorted(rows, key=lambda row: row[1]) if self.sort else rows

    def toc_print(self) -> None:
        """End the round and log its rows."""
        for step, name, value in self.toc():
            logging.info("Batch: %7d %30s %s", step, name, value)


def _text(value: Any) -> str:
    values = value if isinstance(value, (list, tuple)) else [value]
    texts = []
    for each in values:
        plain = np.asarray(each.asnumpy() if isinstance(each, NDArray) else each)
        texts.append(str(plain.reshape(-1)[0] if plain.size == 1 else plain))
    return "\t".join(texts) + "\t"
