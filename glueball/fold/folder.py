"""The folder: the interpreter that writes down calls instead of running them, for one scope.

The one idea: what is recorded is only written down (recording.py); everything else (dependencies, groups, rows) is
worked out for all calls at once when values are wanted (`flush`). The folder knows what a scope needs beside that:
arrays from outside, writes in place, values that are read.

Not here: what a call means (operator_calls.py, units.py), schedules and execution (schedule.py, execute.py).
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, final

from ..base.errors import MXNetError, explain, user_frame
from ..base.modes import is_recording, is_training
from ..ndarray.creation import own_zeros
from ..ndarray.ndarray import NDArray, to_array
from . import operator_calls
from .execute import Engine, Work
from .fiber import park
from .future import OFFSET, Future
from .kinds import Kind, kind_of
from .recording import Queue, Recorder
from .signature import Signature
from .switch import CURRENT_FIBER, GreenletFiber

__all__ = ["Folder"]

_current_fiber = CURRENT_FIBER.get
_BLANK = 1 << 16  # elements of zeros that samples share, at most


@final
class Folder(Recorder):
    """A scope: what it has recorded, and the engine that runs it; see the module's text."""

    def __init__(self, statistics: str = "refuse", check: bool = False) -> None:
        super().__init__()
        operator_calls.begin()
        self.statistics, self.check = statistics, check
        self.origins: dict[int, str] = {}  # with check: the user's line that made a value
        if check:
            self.invoke = self._noting(Folder.invoke)  # nobody else pays for it
            self.call = self._noting(Folder.call)
            self.direct = False
        self.engine = Engine(self)
        self.memories: dict[int, list[tuple[dict[int, Any], int]]] = {}  # external arrays by what they lie in
        self.indexed = -1  # how many of them `memories` knows
        self.blanks: dict[int, Any] = {}  # references of shared zeros, and their tensors

    # -- the interpreter, beside what the recorder does --------------------------------------------------------------
    def _noting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a way to record that notes the user's lines."""
        def noted(*arguments: Any) -> Any:
            first = self.next
            result = function(self, *arguments)
            if self.next > first:
                self.origins.update(dict.fromkeys(range(first, self.next), user_frame(2)))
            return result
        return noted

    def before_write(self, array: Any) -> None:
        """Somebody is about to change an array in place: what was recorded with the old values must run first."""
        reason = f"an array is written in place at {user_frame()}" if self.waiting else ""
        if type(array) is Future and array.ref >= 0:  # it gets a tensor of its own
            if array.ref in self.blanks:
                return None
            return self.flush(reason=reason) if self.waiting else None
        size = len(self.externals) + len(self.strangers)
        if self.indexed != size:
            self.indexed, self.memories = size, {}
            for table in (self.externals, self.strangers):
                for key, (_, _, held) in table.items():
                    self.memories.setdefault(_memory(held), []).append((table, key))
        memory = _memory(array)  # other arrays may be views of the same
        changed = self.memories.get(memory, ())
        if self.waiting and (changed or any(_memory(tensor) == memory for signature in self.queues
                                            for shared in signature.shared for tensor in _tensors(shared))):
            self.flush(reason=reason)
        for table, key in changed:
            del table[key]
            self.indexed = -1

    # -- recording -----------------------------------------------------------------------------------------------------
    def _queue(self, signature: Signature) -> Any:
        """Begin the queue of a signature; the report wants to know where its first call in this scope was."""
        origins = self.engine.report.origins
        if signature not in origins:
            origins[signature] = user_frame(2)
        queue = self.queues[signature] = Queue()
        return queue

    def add_arrays(self, work: Work) -> None:
        """Append calls given as arrays, whose ids the caller took from `next`."""
        queue = self.queues.get(work.signature)
        if queue is None:
            queue = self._queue(work.signature)
        queue.blocks.append(work)
        self.waiting += work.count

    def external(self, array: NDArray, ragged: bool = False) -> tuple[int, Kind]:
        """Return (reference, kind) of an array from outside the scope."""
        table = self.strangers if ragged else self.externals
        found = table.get(id(array))
        if found is None:
            tensor = array._t
            kind = kind_of(array._ctx, tensor.dtype, tuple(tensor.shape), ragged)
            found = table[id(array)] = (self.next << OFFSET, kind, array)
            self.fresh.append(found)
            self.next += 1
        return found[0], found[1]

    def zeros(self, shape: Any, dtype: Any, ctx: Any) -> Any:
        """Return a row of zeros that all samples share until they write to it; None for what is no row.

        Nearly every sample of a recurrent network makes its first states, and all are alike.
        """
        try:
            found = self.constants.get((shape, dtype, ctx))
        except TypeError:  # a list
            return None
        if found is None:
            if type(shape) is not tuple or len(shape) < 2 or any(type(size) is not int for size in shape):
                return None
            if shape[0] != 1 or not 1 < prod(shape) <= _BLANK:
                return None
            array = own_zeros(shape, ctx, dtype)
            found = self.constants[shape, dtype, ctx] = self.external(array)
            self.blanks[found[0]] = array._t
        return Future.make(self, *found)

    def reference(self, value: Any) -> tuple[int, Kind]:
        """Return (reference, kind) of an argument that belongs to one sample."""
        if type(value) is Future and value.folder is self and value.ref >= 0:
            return value.ref, value.kind
        if not isinstance(value, NDArray):
            value = to_array(value)
        return self.external(value)

    def modes(self) -> tuple[bool, bool]:
        """Return (recording, training) as they are now."""
        return is_recording(), is_training()

    def part(self, future: Future, key: Any) -> Any:
        """Record ``future[key]`` where the key is plain; None otherwise."""
        return operator_calls.record_part(self, future, key)

    # -- values --------------------------------------------------------------------------------------------------------
    def flush(self, demanded: Sequence[Any] | None = None, reason: str = "samples wait for values") -> None:
        """Run all that is recorded, and read the numbers of the futures that samples wait for in one go."""
        if self.waiting or self.fresh:
            self.engine.flush(reason)
            self.computed = self.next << OFFSET
        if demanded is not None:
            self.engine.numbers(list(demanded))

    def demand(self, future: Future) -> None:
        """See to it that a value has been computed: in a fiber by waiting for the others, else at once."""
        if self.engine.has(future):
            return
        if self.closed is not None:
            raise MXNetError(explain("fold", f"This value was never computed: {self.closed}.",
                                     expected="a value of a scope that ended without an error",
                                     received=f"a future of shape {future.shape}",
                                     fix="read values inside the scope, before the error, or mend the error"))
        if not park(future):
            self.flush(reason=f"a value is read at {user_frame()}")

    def read(self, future: Future) -> Any:
        """Return the tensor of a future's value."""
        blank = self.blanks.get(future.ref)
        if blank is not None:
            return blank.clone()
        self.demand(future)
        return self.engine.value(future)

    def number(self, future: Future) -> Any:
        """Return the only element of a future's value, or None when there are more."""
        if future.kind.size != 1:
            return None
        fiber = None if future.ref < self.computed or self.closed is not None else _current_fiber()
        if type(fiber) is not GreenletFiber or not fiber.wait_for_value(future):
            self.demand(future)
        number = future._value  # given in the flush
        return self.engine.number(future) if number is None else number

    def abandon(self, reason: str) -> None:
        """Forget what was recorded and not run: the scope was left by an error."""
        self.queues.clear()
        self.fresh.clear()
        self.waiting = 0
        self.closed = reason


def _tensors(shared: Any) -> list[Any]:
    """Return the tensors of a shared array, or of a Parameter on all its devices."""
    held = getattr(shared, "_data", None)
    return [shared._t] if held is None else [array._t for array in held.values()]


def _memory(array: Any) -> int:
    """Return which memory an array, or the tensor of one, lies in."""
    return getattr(array, "_t", array).untyped_storage().data_ptr()
