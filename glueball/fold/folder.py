"""The folder: the interpreter that writes down calls instead of running them, for one scope.

The one idea: recording must cost a microsecond or two, so a call is looked up by the kinds of its arguments, its
references are appended to its signature's queue, and futures are returned; everything else (dependencies, groups,
rows) is worked out for all calls at once when values are wanted (`flush`).

Not here: what a call means (operator_calls.py, units.py), schedules and execution (schedule.py, execute.py).
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from ..base.errors import MXNetError, explain, user_frame
from ..base.modes import is_recording, is_training
from ..dispatch import precise, watched
from ..ndarray.ndarray import NDArray, to_array
from ..ops.opdef import OpDef
from . import operator_calls, units
from .execute import Engine, Work
from .fiber import park
from .future import OFFSET, Future
from .kinds import Kind, kind_of
from .signature import Call, Signature

__all__ = ["Folder", "Queue"]

_new = object.__new__


@final
class Queue:
    """The recorded, not yet executed calls of one signature."""

    __slots__ = ("ids", "refs", "children", "rows", "blocks")

    def __init__(self) -> None:
        self.ids: list[int] = []  # number of the first result
        self.refs: list[int] = []  # references of all arguments, call after call; those of children last
        self.children: list[int] = []  # how many children, where there are lists
        self.rows: list[int] = []  # rows per sample, where they differ
        self.blocks: list[Work] = []  # calls given as arrays


@final
class Folder:
    """Records calls; see the module's text."""

    def __init__(self, statistics: str = "refuse", check: bool = False) -> None:
        self.queues: dict[Signature, Queue] = {}
        self.next = 0  # number of the next value
        self.waiting = 0  # recorded and not executed calls
        self.statistics, self.check = statistics, check
        self.externals: dict[int, tuple[int, Kind, NDArray]] = {}
        self.strangers: dict[int, tuple[int, Kind, NDArray]] = {}
        self.fresh: list[tuple[int, Kind, NDArray]] = []  # external arrays not stored in the arenas yet
        self.origins: dict[int, str] = {}  # with check: the user's line that made a value
        if check:
            self.invoke = self._noting(Folder.invoke)  # type: ignore[method-assign]  # nobody else pays for it
            self.call = self._noting(Folder.call)  # type: ignore[method-assign]
        self.engine = Engine(self)
        self.memories: dict[int, list[tuple[dict[int, Any], int]]] = {}  # external arrays by what they lie in
        self.indexed = -1  # how many of them `memories` knows
        self.closed: str | None = None
        self.constants: dict[Any, tuple[int, Kind]] = {}

    # -- the interpreter -----------------------------------------------------------------------------------------------
    def invoke(self, op: OpDef, inputs: Sequence[Any], attrs: Mapping[str, Any], name: str | None) -> Any:
        """Record an operator call."""
        if watched(op):  # mixed precision
            inputs = precise(op, inputs, attrs)
        return operator_calls.record(self, op, inputs, attrs)

    call = units.record  # calls of blocks; no method of its own, for its call would cost a tenth of a recording

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
    def add(self, call: Call, refs: list[int], children: int = 0) -> Any:
        """Append a call; return its results as futures."""
        queue = self.queues.get(call.signature)
        if queue is None:
            queue = self._queue(call.signature)
        number = self.next
        queue.ids.append(number)
        queue.refs.extend(refs)
        if children:
            queue.children.append(children)
        if call.rows or call.signature.ragged:
            queue.rows.append(call.rows)
        kinds = call.kinds
        self.next = number + len(kinds)
        self.waiting += 1
        structure = call.structure
        if structure is None:
            return Future.make(self, number << OFFSET, kinds[0])
        futures = []
        for kind in kinds:
            made = _new(Future)  # as Future.make, whose call would cost as much again
            made.folder = self
            made.ref = number << OFFSET
            made.kind = kind
            made._value = made._ag = None
            futures.append(made)
            number += 1
        if structure == "list":
            return futures
        return tuple(futures) if structure == "tuple" else call.together(futures)

    def _queue(self, signature: Signature) -> Queue:
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
        if demanded is not None:
            self.engine.numbers(demanded)

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
        self.demand(future)
        return self.engine.value(future)

    def number(self, future: Future) -> Any:
        """Return the only element of a future's value."""
        if future.size != 1:
            return None
        self.demand(future)
        return self.engine.number(future) if future._value is None else future._value  # given in the flush

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
