"""One fiber: a function that can be left in the middle and entered again, as a greenlet or as a thread.

The one idea: `Fiber.body` is the whole life of a fiber; a kind adds how control goes from the hub to the fiber
(`enter`) and back (`hand_over`), and whether the caller is inside it (`is_here`). At any time one side runs and the
other waits, so both kinds run the same program in the same order. What is per thread rather than per context, torch's
grad mode, is the hub's wherever control is handed over; a fiber that wants the other sets it on its own side.

A greenlet that waits goes straight to the next one that is ready, without the hub in between: what a value read costs
is mostly the calls on this way.

Not here: who runs when, and what happens when one fails (fiber.py).
"""
from __future__ import annotations

import importlib
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import Context, ContextVar
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, final

from ..base import config
from ..base.errors import ArgumentError, MXNetError, explain
from ..base.modes import set_torch_grad, torch_grad_enabled

if TYPE_CHECKING:
    from .fiber import Group, Hub

__all__ = ["Fiber", "GreenletFiber", "ThreadFiber", "Stop", "CURRENT_FIBER", "backend", "greenlets", "here", "wait_for",
           "add_note", "without_own_frames"]

STACK_PER_LEVEL, LEAST_STACK, MOST_STACK = 8 << 10, 8 << 20, 256 << 20  # bytes, for the stack of a thread


def _nothing() -> None:
    """Stand in for the function of a fiber that has ended."""


class Stop(BaseException):
    """Raised inside a fiber that is to end early, so that its `finally` blocks run."""


def greenlets() -> ModuleType | None:
    """Return the package greenlet, or None where it is not installed."""
    try:
        return importlib.import_module("greenlet")
    except ImportError:
        return None


def backend() -> str:
    """Return what fibers run on: "greenlet" or "threads" (GLUEBALL_FIBERS decides, else what is installed)."""
    wanted = config.get("GLUEBALL_FIBERS")
    if wanted not in ("auto", "greenlet", "threads"):
        raise ArgumentError(explain("GLUEBALL_FIBERS", "No such kind of fiber.", received=repr(wanted),
                                    expected="'auto', 'greenlet' or 'threads'",
                                    fix="unset the variable to take what is installed"))
    if wanted == "greenlet" and greenlets() is None:
        raise ArgumentError(explain("GLUEBALL_FIBERS", "The package greenlet is not installed.", received=repr(wanted),
                                    expected="'auto' or 'threads' where it is missing",
                                    fix="pip install greenlet, or GLUEBALL_FIBERS=threads"))
    if wanted == "auto":
        return "threads" if greenlets() is None else "greenlet"
    return wanted


def add_note(error: BaseException, text: str) -> None:
    """Add a line to an error; its type and traceback stay (before Python 3.11 the line goes into its arguments)."""
    if sys.version_info >= (3, 11):
        error.add_note(text)
    elif error.args and isinstance(error.args[0], str):
        error.args = (f"{error.args[0]}\n{text}", *error.args[1:])
    else:
        error.args = (*error.args, text)


class Fiber(ABC):
    """A function that can be left in the middle and entered again.

    Its life on either kind is `body`; a kind says how control goes from the hub to the fiber (`enter`) and back
    (`hand_over`), and whether the caller is inside it (`is_here`).
    """

    __slots__ = ("hub", "function", "key", "group", "context", "grad", "result", "error", "done", "begun", "stopping",
                 "stop", "interrupt", "parent", "children", "inside", "waiters", "offspring", "taken")

    def __init__(self, hub: Hub, function: Callable[[], Any], key: tuple[int, ...], group: Group | None,
                 context: Context, grad: bool) -> None:
        self.hub, self.function, self.key, self.group, self.context, self.grad = (
            hub, function, key, group, context, grad)
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = self.begun = False
        self.stopping = self.stop = False  # it ends early, for good; and: raise Stop at the place where it waits
        self.interrupt: BaseException | None = None  # to be raised where a value is read next
        self.parent: Fiber | None = None  # who forked it
        self.children: dict[Fiber, None] = {}  # forked here, in order, and not known to have ended well
        self.inside: Group | None = None  # the map inside this fiber that is being run
        self.waiters: list[Fiber] = []
        self.offspring = 0
        self.taken = False  # its error was raised for somebody

    @abstractmethod
    def enter(self) -> None:
        """On the hub's side: run until the fiber leaves or ends."""

    @abstractmethod
    def hand_over(self) -> None:
        """On the fiber's side: let the others run; goes on when the hub says so, or raises what stops the fiber."""

    @abstractmethod
    def is_here(self) -> bool:
        """Whether the caller runs inside this fiber (and not in a thread that was given a copy of its context)."""

    def body(self) -> None:
        """Run the function and keep what comes of it; never raises."""
        CURRENT_FIBER.set(self)
        if torch_grad_enabled() is not self.grad:
            set_torch_grad(self.grad)
        try:
            function: Any = self.function
            if type(function) is partial and not function.keywords and len(function.args) == 1:
                result = function.func(function.args[0])  # one frame of C less, which every switch would copy
            else:
                result = function()
            if self.children:
                self.await_children()
            self.result = result
        except Stop:
            pass
        except BaseException as error:
            self.error = without_own_frames(error)
        finally:
            self.done = True
            self.function = _nothing  # a handle keeps the fiber, but need not keep the arguments
            if torch_grad_enabled() is not self.hub.grad:  # a greenlet's thread goes on
                set_torch_grad(self.hub.grad)

    def await_children(self) -> None:
        """Wait for what was forked and never joined; an error that nobody has seen is raised here."""
        for child in list(self.children):
            wait_for(child)
            if child.error is not None and not child.taken:
                child.taken = True
                raise child.error

    def interrupted(self) -> BaseException | None:
        """Return, once, the signal that arrived in the hub's thread while this fiber ran."""
        error, self.interrupt = self.interrupt, None
        return error

    def next_key(self) -> tuple[int, ...]:
        """Return the place in the order of what this fiber starts next: behind itself, before the next sample."""
        self.offspring += 1
        return (*self.key, self.offspring)


CURRENT_FIBER: ContextVar[Fiber | None] = ContextVar("glueball_fiber", default=None)


@final
class GreenletFiber(Fiber):
    """A fiber that is a greenlet of the hub's."""

    __slots__ = ("greenlet", "current")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.greenlet: Any = None

    def enter(self) -> None:
        """Switch to the greenlet, which begins with the context it was given."""
        workers = self.hub.workers
        if self.greenlet is None:
            self.greenlet, self.current = workers.take(self.context), workers.here
            self.greenlet.switch(self)
        else:
            self.greenlet.switch()
        last = self.hub.running
        if last.done:
            worker, last.greenlet = last.greenlet, None
            workers.give(worker)

    def hand_over(self) -> None:
        """Switch to the fiber that is next; to the hub when there is none, or when it must begin one or end one.

        Budget: 1 µs, of which the switch is the half; hence one function.
        """
        hub = self.hub
        grad = torch_grad_enabled()
        if grad is not hub.grad:
            set_torch_grad(hub.grad)
        ready = hub.ready
        if not ready or hub.urgent or ready[-1].done:
            self.greenlet.parent.switch()
        else:
            hub.running = following = ready[-1]
            del ready[-1]  # no call: between here and the switch no signal is seen, which would lose the fiber
            following.greenlet.switch()
        if grad is not hub.grad:
            set_torch_grad(grad)
        if self.stop:
            self.stop = False
            raise Stop

    def wait_for_value(self, future: Any) -> bool:
        """Do what fiber.park(future) does for a fiber that has been found as the current one, with fewer calls; False
        where that must look closer.
        """
        if self.stopping or self.current() is not self.greenlet:
            return False
        hub = self.hub
        hub.waiting.append((self.key, self, (future,), hub.flusher))
        self.hand_over()
        return True

    def is_here(self) -> bool:
        """Whether this is the fiber's greenlet."""
        return self.current() is self.greenlet


@final
class ThreadFiber(Fiber):
    """A fiber that is a thread; two locks hand control to and fro."""

    __slots__ = ("thread", "wake", "away", "left")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.thread: threading.Thread | None = None
        self.wake, self.away = threading.Lock(), threading.Lock()  # released: the fiber may run; the hub may run
        self.left = False  # about to release `away`
        self.wake.acquire()
        self.away.acquire()

    def enter(self) -> None:
        """Run the fiber; a signal that arrives meanwhile (Ctrl-C) is raised where the fiber next reads a value.

        A second one is raised at once, and the fiber given up: its thread ends when it next reads a value.
        """
        if self.thread is None:
            self._start()
        self.left = entered = False
        while True:
            try:
                if not entered:
                    entered = True
                    self.wake.release()
                self.away.acquire()
                break
            except BaseException as error:
                if self.interrupt is not None:
                    self.stopping = self.stop = self.done = True
                    raise
                self.interrupt = error
                if self.left:  # the signal came just before or just after the lock was taken: nobody can tell
                    self.away.acquire(timeout=0.1)
                    break
        if self.done and self.thread is not None:
            self.thread.join()
            self.thread = None
            self.error = self.error or self.interrupted()  # it ended before it could be told

    def _start(self) -> None:
        """Start the thread, which waits to be entered; it has room for as deep a recursion as the limit allows."""
        before = threading.stack_size()
        thread = threading.Thread(target=self.context.run, args=(self._live,), daemon=True,
                                  name=f"glueball-fiber-{'.'.join(map(str, self.key))}")
        self.thread = thread
        try:
            threading.stack_size(min(max(LEAST_STACK, sys.getrecursionlimit() * STACK_PER_LEVEL), MOST_STACK))
            thread.start()
        except BaseException:  # no more threads to be had, or a signal, before or after the thread came to life
            self.done, self.thread = True, None
            self.wake.release()
            if thread.is_alive():
                thread.join()
            raise
        finally:
            threading.stack_size(before)

    def _live(self) -> None:
        self.wake.acquire()
        if self.done:  # its start was interrupted
            return
        try:
            self.body()
        finally:
            self.left = True
            self.away.release()

    def hand_over(self) -> None:
        """Let the hub run until it enters again; torch's grad mode is this thread's own."""
        self.left = True
        self.away.release()
        self.wake.acquire()
        if self.stop:
            self.stop = False
            raise Stop

    def is_here(self) -> bool:
        """Whether this is the fiber's thread."""
        return threading.current_thread() is self.thread


def without_own_frames(error: BaseException) -> BaseException:
    """Drop the outermost frames that belong to this file, and with them references to fibers that have ended."""
    place = error.__traceback__
    while place is not None and place.tb_frame.f_code.co_filename == __file__:
        place = place.tb_next
    return error if place is None else error.with_traceback(place)


def here() -> Fiber | None:
    """Return the fiber that the caller runs in, if it may wait."""
    fiber = CURRENT_FIBER.get()
    return fiber if fiber is not None and not fiber.stopping and fiber.is_here() else None


def wait_for(fiber: Fiber) -> None:
    """Wait until another fiber of the same hub has ended."""
    if fiber.done:
        return
    caller = here()
    if caller is None or caller.hub is not fiber.hub:
        raise MXNetError(explain("fold.fork", "The result of a forked function is not there yet, and only a fiber of "
                                 "the same map can wait for it.",
                                 expected="result() or join() inside the map that is running",
                                 received="a call in another thread, in another map, or while the sample is stopped",
                                 fix="call result() inside the function that forked"))
    while not fiber.done:
        fiber.waiters.append(caller)
        caller.hand_over()
