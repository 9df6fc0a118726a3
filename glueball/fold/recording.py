"""What writes calls down: the compiled recorder (recorder.c) where there is one, else its twin here.

The one idea: recording must cost next to nothing, because it is done for every node of every sample. A call is looked
up by its form; its references go to the queue of its signature, and futures come back. The compiled recorder does that
for forms that have been seen; new ones, and whatever is unusual, it hands to the functions of units.py and
operator_calls.py, which are all that the twin has.

Not here: what a call means (units.py, operator_calls.py), the scope around it (folder.py).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import dispatch
from ..base.context import CURRENT_CONTEXT
from ..base.modes import RECORDING, TRAINING, set_torch_grad, torch_grad_enabled
from ..gluon.hybrid import Changes, HybridBlock
from ..ndarray.ndarray import NDArray
from ..ops.opdef import OpDef
from . import operator_calls, units
from .arena import Arena
from .core import compiled
from .fiber import Hub
from .future import OFFSET, PART, SCALARS, Future
from .kinds import NO_CHILDREN, Kind, Pool, kind_of
from .signature import Call, Signature
from .switch import CURRENT_FIBER, GreenletFiber, Stop

if TYPE_CHECKING:
    from .execute import Work

__all__ = ["Recorder", "Queue", "TwinRecorder"]

_new = object.__new__


class TwinQueue:
    """The recorded, not yet executed calls of one signature."""

    __slots__ = ("ids", "refs", "children", "rows", "blocks")

    def __init__(self) -> None:
        self.ids: list[int] = []  # number of the first result
        self.refs: list[int] = []  # references of all arguments, call after call; those of children last
        self.children: list[int] = []  # how many children, where there are lists
        self.rows: list[int] = []  # rows per sample, where they differ
        self.blocks: list[Work] = []  # calls given as arrays


def record_operator(folder: Any, op: OpDef, inputs: Sequence[Any], attrs: Mapping[str, Any], name: str | None) -> Any:
    """Record an operator call, of whatever form."""
    if dispatch.watched(op):  # mixed precision
        inputs = dispatch.precise(op, inputs, attrs)
    return operator_calls.record(folder, op, inputs, attrs)


class TwinRecorder:
    """Records calls of blocks and operators."""

    def __init__(self) -> None:
        self.queues: dict[Signature, TwinQueue] = {}
        self.next = 0  # number of the next value
        self.constants: dict[Any, tuple[int, Kind]] = {}  # what was made out of nothing, by how
        self.waiting = 0  # recorded and not executed calls
        self.computed = 0  # what was recorded later, references from here on, waits for the next flush
        self.closed: str | None = None  # why the scope is no more
        self.direct = True  # calls of blocks need not go through `call`; for the compiled recorder
        self.externals: dict[int, tuple[int, Kind, NDArray]] = {}  # arrays from outside
        self.strangers: dict[int, tuple[int, Kind, NDArray]] = {}  # the same, of vectors taken element by element
        self.fresh: list[tuple[int, Kind, NDArray]] = []  # those that are not stored in the arenas yet

    invoke = record_operator
    call = units.record  # no method of its own, for its call would cost a tenth of a recording

    def _queue(self, signature: Signature) -> TwinQueue:
        """Begin the queue of a signature."""
        queue = self.queues[signature] = TwinQueue()
        return queue

    def forget(self) -> None:
        """Look calls up anew; the compiled recorder notes them for the scope (memo.h)."""

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


_core = compiled("recorder")
if TYPE_CHECKING or _core is None:
    Recorder, Queue = TwinRecorder, TwinQueue
else:
    Recorder, Queue = _core.Recorder, _core.Queue
    _core.setup(future=Future, array=NDArray, call=Call, kind=Kind, unit=units.Unit, signature=Signature,
                arena=Arena, pool=Pool, no_children=NO_CHILDREN, part=PART, recording=RECORDING, training=TRAINING,
                current=dispatch.CURRENT, changes=Changes, dispatch=vars(dispatch), calls=operator_calls.CALLS,
                record_block=units.record,
                record_operator=record_operator, classify=operator_calls.class_of, kind_of=kind_of,
                item=Future.__getitem__, asscalar=Future.asscalar, scalars=SCALARS, block=HybridBlock,
                call_block=HybridBlock.__call__, fiber=GreenletFiber, hub=Hub, fiber_here=CURRENT_FIBER,
                device=CURRENT_CONTEXT, stop=Stop, grad_enabled=torch_grad_enabled, set_grad=set_torch_grad)
