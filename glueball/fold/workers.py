"""Greenlets that live the lives of many fibers, one after the other.

The one idea: what a greenlet costs is mostly the memory for its Python frames, which the interpreter takes from the
system when the first one is called and gives back at the end; every other thread stops for that. So a greenlet whose
fiber has ended waits for the next one, of this map or of a later one of the thread.

A greenlet keeps the depth of the stack at which it began, and with it how deep a recursion may still go. So those that
began at one depth serve maps that are called at that depth.

Not here: how control goes to and fro (switch.py), who runs when (fiber.py).
"""
from __future__ import annotations

import sys
import threading
from types import FrameType, ModuleType
from typing import Any, final

__all__ = ["Workers"]

_MOST = 512  # waiting greenlets of one depth: some 20 KB each
_DEPTHS = 4  # for which greenlets wait; one more, and all of them are let go


class _Idle(threading.local):
    """The waiting greenlets of a thread, by how many frames lie below them."""

    def __init__(self) -> None:
        self.at: dict[int, list[Any]] = {}


_idle = _Idle()


def _waiting_here() -> list[Any]:
    """Return the list of the greenlets that wait at this depth of the stack."""
    depth, frame = 0, sys._getframe()
    while isinstance(frame, FrameType):
        depth, frame = depth + 1, frame.f_back
    if depth not in _idle.at and len(_idle.at) == _DEPTHS:
        _idle.at.clear()
    return _idle.at.setdefault(depth, [])


def _live(here: Any) -> None:
    """Live the lives of the fibers that are given; between them the greenlet below runs."""
    while True:
        fiber = here().parent.switch()
        fiber.body()
        del fiber  # while this waits nothing shall lead to it


@final
class Workers:
    """The greenlets of one hub.

    here : returns the current greenlet
    """

    __slots__ = ("here", "_make", "_parent", "_waiting")

    def __init__(self, module: ModuleType) -> None:
        self.here, self._make = module.getcurrent, module.greenlet
        self._parent = self.here()
        # inside a greenlet of somebody else's the frames below it are not seen
        self._waiting: list[Any] = _waiting_here() if self._parent.parent is None else []

    def take(self, context: Any) -> Any:
        """Return a greenlet that waits for a fiber, ``switch(fiber)``, and lives it in that context."""
        if self._waiting:
            worker = self._waiting.pop()
        else:
            worker = self._make(_live)
            worker.switch(self.here)
        if worker.parent is not self._parent:
            worker.parent = self._parent
        worker.gr_context = context
        return worker

    def give(self, worker: Any) -> None:
        """Take a greenlet back whose fiber has ended."""
        worker.gr_context = None  # it leads to the fiber
        if len(self._waiting) < _MOST:
            self._waiting.append(worker)
