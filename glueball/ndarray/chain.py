"""Recorded calls that stand on no tape of torch's: a chain of their own, for as long as nothing else is recorded.

The one idea: between a compiled network, a compiled loss and `backward()` torch's tape has nothing to do that the calls
do not know themselves: which gradients they compute, and which call or leaf made their inputs. So what such a call
returns has no tensor yet in its slot `_t`; a `Result` stands in for its place on the tape, and `backward` walks the
calls. Whoever reads `_t` (an operator, `autograd.grad`, torch) finds the array on torch's tape, with all that it was
computed from: it is put there at that moment, and torch does the rest as ever.

Not here: what a call computes (executor/recorded.py); who begins a walk (autograd/backward.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import Enum
from itertools import count
from threading import RLock
from typing import Any, TypeAlias, Union, final

import torch

from ..base.aten import has_hooks, set_grad_mode
from .leaf import Leaf

__all__ = ["Call", "Result", "Source", "State", "SPENT", "walk"]

SPENT = "spent"  # in the place of an array's leaf: a backward pass began here and used the tape up
_TYING = RLock()
_numbers = count()

Tensor = torch.Tensor
Source: TypeAlias = Union[Leaf, "tuple[Call, int]"]
"""Where the gradient of an input goes: to a leaf, or to a result of an earlier call."""


class State(Enum):
    """Where a call stands."""

    CHAINED = 1
    USED_UP = 2  # by a walk
    TAPED = 3


@final
class Result:
    """Stands in for an array's place on the tape.

    tensor : the values, off the tape; spent : whether a backward pass that used the chain up began here
    """

    __slots__ = ("call", "tensor", "index", "spent")

    def __init__(self, call: Call, tensor: Tensor, index: int) -> None:
        self.call, self.tensor, self.index, self.spent = call, tensor, index, False

    def tie(self, array: Any) -> None:
        """Put an array on torch's tape, with all that it was computed from."""
        with _TYING:
            if array._ag is self:  # no other thread did so in the meantime
                self.call.tie()


class Call(ABC):
    """A recorded call.

    sources : where gradients go; outputs : what it computed, while it is chained
    arrays : weak references to the arrays that were handed out; number : later calls have greater ones
    """

    __slots__ = ("sources", "outputs", "arrays", "number", "state")

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources
        self.outputs: Sequence[Tensor] = ()
        self.arrays: Sequence[Callable[[], Any]] = ()
        self.number = next(_numbers)
        self.state = State.CHAINED

    @property
    @abstractmethod
    def inputs(self) -> Sequence[Tensor]:
        """The inputs that want gradients, in the order of `sources`, of a call that was not used up."""

    @abstractmethod
    def gradients(self, grads: Sequence[Tensor], keep: bool) -> Sequence[Tensor | None]:
        """Return gradients for `sources`, given one for each output; uses the call up unless it is to be kept.

        Raises
        ------
        AutogradError : it was used up before, or an array that it needs was changed
        """

    @abstractmethod
    def put_on_tape(self, outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> None:
        """Let torch's tape know outputs as results of this call."""

    # -- leaving the chain ---------------------------------------------------------------------------------------------
    def tie(self) -> None:
        """Put the results of this call on torch's tape, and those of all calls before it."""
        found: dict[int, Call] = {self.number: self}
        todo: list[Call] = [self]
        while todo:
            for call in todo.pop()._earlier():
                if call.number not in found:
                    found[call.number] = call
                    todo.append(call)
        before = torch.is_grad_enabled()
        set_grad_mode(True)
        try:
            for number in sorted(found):
                found[number]._tie()
        finally:
            set_grad_mode(before)

    def _earlier(self) -> list[Call]:
        """Return the calls that made the inputs and are not on torch's tape."""
        return [s[0] for s in self.sources if isinstance(s, tuple) and s[0].state is not State.TAPED]

    def _untied(self) -> list[tuple[Any, Result]]:
        """Return the arrays that somebody holds and that are not on torch's tape."""
        held = [array for reference in self.arrays if (array := reference()) is not None]
        return [(a, a._ag) for a in held if type(a._ag) is Result and a._ag.call is self]

    def _tie(self) -> None:
        arrays = self._untied()
        if self.state is State.CHAINED:
            for source, tensor in zip(self.sources, self.inputs):
                if isinstance(source, tuple) and not tensor.requires_grad:  # of a call that was used up
                    source[0].put_on_tape([tensor], source[0]._remote())
            self.put_on_tape(self.outputs, self.inputs)
            self.state, self.outputs = State.TAPED, ()
        elif arrays:
            remote = self._remote()
            for _, result in arrays:
                self.put_on_tape([result.tensor], remote)
        for array, result in arrays:
            array._t = result.tensor
            array._ag = SPENT if result.spent else None

    def _remote(self) -> list[Tensor]:
        """Return what a used-up call was computed from and is still there, be it some calls ago: a pass that comes
        here on its way to one of these must learn that the way is closed.
        """
        found: dict[int, Tensor] = {}
        todo: list[Call] = [self]
        seen = {self.number}
        while todo:
            for source in todo.pop().sources:
                if isinstance(source, Leaf):
                    tensor = source.tensor()
                else:
                    call, index = source
                    array = call.arrays[index]()
                    tensor = None if array is None or type(array._ag) is Result else array._t
                    if tensor is None and call.number not in seen:
                        seen.add(call.number)
                        todo.append(call)
                if tensor is not None and tensor.requires_grad:
                    found[id(tensor)] = tensor
        return list(found.values())


def walk(heads: Sequence[Result], grads: Sequence[Tensor]) -> bool:
    """Compute the gradients of heads for all leaves, and use the calls up; return False, with nothing done, where that
    is torch's business: some call is on its tape, or somebody asked to be told of gradients.
    """
    calls = _chain(heads)
    if calls is None:
        return False
    waiting: dict[int, list[Tensor | None]] = {number: [None] * len(call.outputs) for number, call in calls.items()}
    for head, grad in zip(heads, grads):
        own = waiting[head.call.number]
        own[head.index] = _sum(own[head.index], grad)
    totals: dict[Leaf, Tensor] = {}
    before = torch.is_grad_enabled()
    set_grad_mode(False)
    try:
        for number in sorted(calls, reverse=True):
            call = calls[number]
            given = [torch.zeros_like(o) if g is None else g for g, o in zip(waiting.pop(number), call.outputs)]
            call.state, call.outputs = State.USED_UP, ()
            for source, gradient in zip(call.sources, call.gradients(given, False)):
                if gradient is None:
                    continue
                if isinstance(source, Leaf):
                    totals[source] = _sum(totals.get(source), gradient)
                else:
                    own = waiting[source[0].number]
                    own[source[1]] = _sum(own[source[1]], gradient)
        known = set(map(id, grads))
        for leaf, total in totals.items():
            leaf.take(total.contiguous(), id(total) in known)
            known.add(id(total))
    finally:
        set_grad_mode(before)
    return True


def _sum(total: Tensor | None, gradient: Tensor) -> Tensor:
    return gradient if total is None else total + gradient


def _chain(heads: Sequence[Result]) -> dict[int, Call] | None:
    """Return the calls that heads were computed by, by number; None where they are not a chain alone."""
    if torch.is_anomaly_enabled():
        return None
    found: dict[int, Call] = {}
    todo = [head.call for head in heads]
    while todo:
        call = todo.pop()
        if call.number in found:
            continue
        if call.state is not State.CHAINED:
            return None
        found[call.number] = call
        for source, tensor in zip(call.sources, call.inputs):
            if isinstance(source, tuple):
                todo.append(source[0])
            elif has_hooks(tensor):
                return None
    return found
