"""Fibers: many per-sample programs that stop where they read a value and go on together once all values are there.

The one idea: exactly one fiber runs at a time, in an order that depends on nothing but the program. A fiber runs until
it ends or `park`s; when every fiber is parked, the hub asks the flusher once, which runs all that was recorded, and
wakes the fibers in the order of their samples. So a batch of value-dependent loops costs one flush per round instead
of one per sample and step, and a run can be repeated exactly.

A fiber is a greenlet where that package is installed, else a thread to which control is handed (the same order, the
same results, some ten times slower switches). Either has a copy of the caller's context (recording, train mode, the
open scope, ...) and torch's grad mode of its own. `fork` starts a fiber inside a fiber; a map inside a fiber runs as
more fibers of the same hub, so that all levels wait for the same flush.

Not here: what a flush does (the folder behind `Flusher`), and `fold.map` (map.py).
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, final

from ..base.errors import ArgumentError, MXNetError, explain
from ..base.modes import set_torch_grad, torch_grad_enabled
from .switch import (
    CURRENT_FIBER,
    Fiber,
    GreenletFiber,
    Stop,
    ThreadFiber,
    add_note,
    backend,
    greenlets,
    here,
    wait_for,
    without_own_frames,
)
from .workers import Workers

__all__ = ["Flusher", "Hub", "Group", "Handle", "run_fibers", "park", "in_fiber", "current_hub", "fork"]

T = TypeVar("T")

MOST_THREADS = 1024  # fibers of one map that are alive at a time when they are threads; more would exhaust the system


class Flusher(Protocol):
    """What computes values."""

    def flush(self, demanded: Sequence[Any]) -> None:
        """Compute these futures; the engine runs all that is recorded, asked for or not."""
        ...


# -- the fibers of one map ---------------------------------------------------------------------------------------------
@final
class Group:
    """The samples of one map: which have begun, how many are alive, what came of them."""

    __slots__ = ("functions", "width", "prefix", "context", "pulling", "grad", "pulling_grad", "results", "alive",
                 "exhausted", "error", "waiter", "closed")

    def __init__(self, functions: Iterator[Callable[[], Any]], width: int | None, prefix: tuple[int, ...],
                 waiter: Fiber | None) -> None:
        self.functions, self.width, self.prefix, self.waiter = functions, width, prefix, waiter
        self.context, self.grad = copy_context(), torch_grad_enabled()
        self.pulling_grad = self.grad
        self.pulling = copy_context()  # what the samples' own iterator runs in: a generator may read and set variables
        self.pulling.run(CURRENT_FIBER.set, None)
        self.results: list[Any] = []
        self.alive: dict[int, Fiber] = {}
        self.exhausted = self.closed = False  # all samples have begun; the waiter was told the end
        self.error: BaseException | None = None

    @property
    def has_room(self) -> bool:
        """Whether one more sample may begin."""
        return not self.exhausted and (self.width is None or len(self.alive) < self.width)

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        return self.exhausted and not self.alive


@final
class Hub:
    """Runs fibers in rounds: each until it waits, then one flush for all of them, and again.

    Parameters
    ----------
    flusher
        Computes the values that fibers wait for.
    kind
        "greenlet" or "threads"; None: `backend()`.

    Attributes
    ----------
    flushes, parked : int
        How many flushes there were, and how many fibers waited for them in all.

    >>> class Doubler:
    ...     def flush(self, demanded):
    ...         for box in demanded:
    ...             box[0] *= 2
    >>> def program(x):
    ...     box = [x]
    ...     while box[0] < 10 and park(box):
    ...         pass
    ...     return box[0]
    >>> hub = Hub(Doubler())
    >>> hub.run([lambda: program(1), lambda: program(3), lambda: program(20)])
    [16, 12, 20]
    >>> hub.flushes, hub.parked
    (4, 6)
    """

    __slots__ = ("flusher", "kind", "make", "workers", "grad", "flushes", "parked", "running", "ready", "urgent",
                 "_open", "waiting")

    def __init__(self, flusher: Flusher, kind: str | None = None) -> None:
        self.flusher = flusher
        self.kind = backend() if kind is None else kind
        self.make: Callable[..., Any] = GreenletFiber if self.kind == "greenlet" else ThreadFiber
        module = greenlets() if self.kind == "greenlet" else None
        self.workers: Any = None if module is None else Workers(module)
        self.grad = torch_grad_enabled()  # torch's grad mode wherever control is handed over
        self.flushes = self.parked = 0
        self.running: Any = None  # the fiber that was entered last
        self.ready: list[Any] = []  # fibers that may go on, by descending key: the last is next
        self.urgent: list[Fiber] = []  # a fiber that forked and the forked one, which runs first
        self._open: list[Group] = []  # groups with samples that have not begun; the innermost is last
        self.waiting: list[tuple[tuple[int, ...], Fiber, Sequence[Any], Flusher]] = []  # parked, by their keys

    def run(self, functions: Iterable[Callable[[], T]], width: int | None = None) -> list[T]:
        """Run every function as a fiber, at most `width` at a time, and return the results in order.

        Raises
        ------
        Exception
            What a function raised, with the number of its sample; all others are stopped, their `finally` blocks run.
        """
        group = self._group(functions, width, (), None)
        self.grad = group.grad
        self._open.append(group)
        try:
            while not group.finished:
                self._step()
            if group.error is not None:
                raise group.error
            return group.results
        except BaseException as error:
            for fiber in list(group.alive.values()):
                self._stop(fiber, error)
            raise
        finally:
            group.error = None  # no reference from an error's traceback back to the error
            self.running = None
            for kept in (self.ready, self.urgent, self._open, self.waiting):
                kept.clear()

    def run_inside(self, fiber: Fiber, functions: Iterable[Callable[[], T]], width: int | None) -> list[T]:
        """Do the same inside a fiber of this hub: its samples wait for the same flushes as all others."""
        group = self._group(functions, width, fiber.next_key(), fiber)
        self._open.append(group)
        fiber.inside = group
        try:
            while not group.closed:
                fiber.hand_over()
        finally:
            fiber.inside = None
        if group.error is not None:
            error, group.error = group.error, None
            raise error
        return group.results

    def _group(self, functions: Iterable[Callable[[], Any]], width: int | None, prefix: tuple[int, ...],
               waiter: Fiber | None) -> Group:
        if width is None and self.kind == "threads":
            width = MOST_THREADS
        return Group(iter(functions), width, prefix, waiter)

    # -- rounds --------------------------------------------------------------------------------------------------------
    def _step(self) -> None:
        """Run fibers until none is ready, or begin a sample, or flush."""
        if self.urgent:
            fiber = self.urgent.pop()
        elif self.ready:
            fiber = self.ready.pop()
        else:
            group = next((group for group in reversed(self._open) if group.has_room), None)
            if group is not None:
                fiber = self._begin(group)
            elif self.waiting:
                return self._flush()
            else:
                raise MXNetError(explain("fold.fork", "The fibers wait for each other, so none can go on.",
                                         expected="functions of which one at least can end",
                                         received="calls of result() or join() that form a ring",
                                         fix="call result() only on handles forked by the same function"))
        if fiber is not None and not fiber.done:
            self._enter(fiber)

    def _enter(self, fiber: Fiber) -> None:
        fiber.begun = True
        self.running = fiber
        fiber.enter()
        last = self.running  # greenlets hand over among themselves
        if last.done:
            self._ended(last)

    def _begin(self, group: Group) -> Fiber | None:
        """Take the next sample of a group and make its fiber; None when there is none."""
        own = group.pulling_grad is self.grad
        try:
            if not own:
                set_torch_grad(group.pulling_grad)
            function = group.pulling.run(next, group.functions, None)
        except Exception as error:
            add_note(error, f"fold.map: raised while sample {len(group.results)} was taken from `samples`")
            self._fail(group, without_own_frames(error))
            return None
        finally:
            group.pulling_grad = torch_grad_enabled()
            if group.pulling_grad is not self.grad:
                set_torch_grad(self.grad)
        if function is None:
            group.exhausted = True
            self._open.remove(group)
            if group.finished:
                self._close(group)
            return None
        number = len(group.results)
        fiber = self.make(self, function, (*group.prefix, number), group, group.context.copy(), group.grad)
        group.results.append(None)
        group.alive[number] = fiber
        return fiber

    def _flush(self) -> None:
        waiting = self.waiting
        waiting.sort()  # by key; no two are equal
        self.waiting = []
        fibers: list[Fiber] = []
        demanded: list[Any] = []
        flusher, one = self.flusher, True
        for _, fiber, futures, own in waiting:
            if not fiber.done:
                fibers.append(fiber)
                demanded += futures
                one = one and own is flusher
        self.flushes += 1
        self.parked += len(fibers)
        try:
            if one and fibers:
                flusher.flush(demanded)
            elif fibers:
                rows = [row for row in waiting if not row[1].done]
                for flusher in {id(row[3]): row[3] for row in rows}.values():
                    flusher.flush([future for row in rows if row[3] is flusher for future in row[2]])
        except Exception as error:
            samples = list(dict.fromkeys(str(fiber.key[0]) for fiber in fibers))
            add_note(error, f"fold.map: raised while values were computed that {_numbered(samples)} waited for")
            raise
        fibers.reverse()
        self.ready = fibers  # none was ready, or there had been no flush

    def wake(self, fiber: Fiber) -> None:
        """Let a fiber go on when its turn comes."""
        ready, key = self.ready, fiber.key
        first, end = 0, len(ready)
        while first < end:
            middle = (first + end) // 2
            if ready[middle].key > key:
                first = middle + 1
            else:
                end = middle
        ready.insert(first, fiber)

    # -- ends ----------------------------------------------------------------------------------------------------------
    def _ended(self, fiber: Fiber) -> None:
        """Keep the result, or stop what hangs on a fiber that failed; wake who waited for it."""
        group, error = fiber.group, fiber.error
        if error is not None:
            for child in list(fiber.children):
                self._stop(child, error)
        elif fiber.parent is not None:
            del fiber.parent.children[fiber]
        for waiter in fiber.waiters:
            self.wake(waiter)
        fiber.waiters = []
        if group is None:
            if error is not None and not isinstance(error, Exception):
                raise error  # KeyboardInterrupt, SystemExit: at once, not when somebody asks for the result
            return
        number = fiber.key[-1]
        del group.alive[number]
        if fiber.stopping:
            return
        if error is None:
            group.results[number] = fiber.result
            if group.finished:
                self._close(group)
            return
        fiber.error = None
        add_note(error, f"fold.map: raised in sample {number}")
        if not isinstance(error, Exception):
            raise error
        self._fail(group, error)

    def _fail(self, group: Group, error: BaseException) -> None:
        """Stop the other samples of a group and give its error to who waits."""
        if not group.exhausted:
            group.exhausted = True
            self._open.remove(group)
        for other in list(group.alive.values()):
            self._stop(other, error)
        group.error = error
        self._close(group)

    def _close(self, group: Group) -> None:
        group.closed = True
        if group.waiter is not None and not group.waiter.stopping:
            self.wake(group.waiter)

    def _stop(self, fiber: Fiber, reason: BaseException) -> None:
        """End a fiber early: what it started first, then its own `finally` blocks."""
        if fiber.done or fiber.stopping and not fiber.stop:
            return
        fiber.stopping = True
        for child in list(fiber.children):
            self._stop(child, reason)
        inside = fiber.inside
        if inside is not None:
            if not inside.exhausted:
                inside.exhausted = True
                self._open.remove(inside)
            for child in list(inside.alive.values()):
                self._stop(child, reason)
        if not fiber.begun:
            fiber.done = True
            if fiber.group is not None:
                del fiber.group.alive[fiber.key[-1]]
            return
        fiber.stop = True
        self._enter(fiber)
        if fiber.error is not None:
            number = ".".join(map(str, fiber.key))
            add_note(reason, f"fold.map: while sample {number} was stopped, it raised {fiber.error!r}")
            fiber.error = None

    # -- inside fibers -------------------------------------------------------------------------------------------------
    def start(self, parent: Fiber, function: Callable[[], Any]) -> Fiber:
        """Run a function as a fiber that belongs to `parent`, until it waits for the first time."""
        child = self.make(self, function, parent.next_key(), None, copy_context(), torch_grad_enabled())
        child.parent = parent
        parent.children[child] = None
        self.urgent += [parent, child]
        parent.hand_over()
        return child


def _numbered(samples: list[str]) -> str:
    if len(samples) == 1:
        return f"sample {samples[0]}"
    return f"samples {', '.join(samples[:8])}{' ...' if len(samples) > 8 else ''}"


# -- what others call --------------------------------------------------------------------------------------------------
def in_fiber() -> bool:
    """Return whether the caller runs inside a fiber (one look at a context variable)."""
    return CURRENT_FIBER.get() is not None


def current_hub() -> Hub | None:
    """Return the hub whose fiber the caller runs in, or None."""
    fiber = here()
    return None if fiber is None else fiber.hub


def park(*demanded: Any, flusher: Flusher | None = None) -> bool:
    """Wait inside a fiber until the next flush; outside of one return False: the caller then flushes at once.

    False also while a fiber is being stopped: a value read in its `finally` block is then computed alone.

    Parameters
    ----------
    demanded
        The futures whose values must be there afterwards.
    flusher
        Who computes them; None: the hub's flusher.

    >>> park()
    False
    """
    fiber = here()
    if fiber is None:
        given_up = CURRENT_FIBER.get()
        if given_up is not None and given_up.stop:
            raise Stop
        return False
    hub = fiber.hub
    hub.waiting.append((fiber.key, fiber, demanded, hub.flusher if flusher is None else flusher))
    fiber.hand_over()
    signal = fiber.interrupt
    if signal is not None:
        fiber.interrupt = None
        raise signal
    return True


def run_fibers(functions: Iterable[Callable[[], T]], width: int | None, flusher: Flusher) -> tuple[list[T], Hub]:
    """Run functions as fibers: of the hub that the caller already runs in, or of a new one; return that hub too."""
    fiber = here()
    if fiber is not None:
        return fiber.hub.run_inside(fiber, functions, width), fiber.hub
    hub = Hub(flusher)
    return hub.run(functions, width), hub


@final
class Handle(Generic[T]):
    """What `fork` returns: the promise of a result."""

    __slots__ = ("_fiber", "_result")

    def __init__(self, fiber: Fiber | None, result: Any = None) -> None:
        self._fiber, self._result = fiber, result

    @property
    def done(self) -> bool:
        """Whether the function has ended."""
        return self._fiber is None or self._fiber.done

    def join(self) -> None:
        """Wait until the function has ended, well or not."""
        if self._fiber is not None:
            wait_for(self._fiber)

    def result(self) -> T:
        """Wait until the function has ended; return its result, or raise what it raised."""
        fiber = self._fiber
        if fiber is None:
            return self._result
        wait_for(fiber)
        if fiber.error is not None:
            fiber.taken = True
            raise fiber.error
        if fiber.stopping:
            raise MXNetError(explain("fold.fork", "The forked function was stopped before it had a result.",
                                     expected="a function that ran to its end",
                                     received="one that was stopped because another failed",
                                     fix="mend what failed, and ask for results inside the function that forked"))
        return fiber.result


def fork(function: Callable[..., T], *args: Any, **kwargs: Any) -> Handle[T]:
    """Run `function(*args, **kwargs)` beside the rest of the sample: for children of a tree, items of a beam.

    Inside `fold.map` the function begins at once and runs until it first reads a value; then the caller goes on, and
    both wait for the same flushes. Its error is raised by `result()`, or, when nobody asks, at the end of the function
    that forked. Outside `fold.map` it simply runs, to its end.

    Returns
    -------
    Handle
        `result()` waits and returns the result; `join()` only waits; `done` says whether it has ended.

    Raises
    ------
    ArgumentError
        When `function` cannot be called.

    >>> from glueball import fold, nd
    >>> def total(tree):                     # the children of a node wait for their values together
    ...     handles = [fold.fork(total, child) for child in tree[1:]]
    ...     here = float(nd.array([tree[0]]) * 2)
    ...     return here + sum(handle.result() for handle in handles)
    >>> fold.map(total, [(1, (2,), (3, (4,))), (5,)])
    [20.0, 10.0]
    """
    if not callable(function):
        raise ArgumentError(explain("fold.fork", "The first argument is the function to run.",
                                    expected="fork(function, *args) with a function", received=repr(function)[:200],
                                    fix="give the function and its arguments, not its result: fork(f, x), "
                                        "not fork(f(x))"))
    fiber = here()
    if fiber is None:
        return Handle(None, function(*args, **kwargs))
    return Handle(fiber.hub.start(fiber, partial(function, *args, **kwargs)))
