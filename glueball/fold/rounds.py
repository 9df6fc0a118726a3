"""Rounds: flushes in which nothing is new, run by one native call each.

The one idea: samples of a map read a value, all wait, a flush with few calls runs, and so on, scores of times; what
such a flush costs is not its arithmetic but the objects that are made for it. Nearly all of them have the same few
signatures. So a signature that has been run once is learned: what the runner must be told of it stays as it is, but for
where rows lie. When all that is recorded is of such signatures, round.h does the whole flush, from the queues to the
values.

A round gives the groups, rows and values that execute.py gives, which is its twin. Only what is plain is learned: no
gradients, no lists of children, a row per value. When a weight is another one, or has been written to, all is learned
anew.

Not here: the round itself (native/round.h), flushes in general (execute.py).
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, final

from ..base import dtype as dtypes
from ..executor.native import machine
from .arena import Store
from .commands import argument_root, packed_root, result_root
from .core import compiled
from .future import Future
from .schedule import Planned
from .stream import Part, usable

__all__ = ["Rounds", "rounds"]

_LETTERS = {"float32": "f", "float64": "d", "int64": "q", "int32": "i", "int8": "b", "uint8": "B", "bool": "?"}
_ROOTS = 16  # where the roots begin in an environment; as in stream.py


@cache
def _walker() -> tuple[int, int]:
    """Return where the function that runs groups lies, and the words about the machine."""
    words = machine()
    assert words is not None  # `usable` said so
    return compiled("runner").walker(), words.buffer_info()[0]


def rounds(store: Store, tensor_of: Callable[[Any, Any], Any]) -> Rounds | None:
    """Return the rounds of a scope, or None where there is no compiler."""
    native = compiled("recorder")
    return None if native is None or not usable() else Rounds(native.Rounds(*_walker()), store, tensor_of)


@final
class Rounds:
    """What the flushes of one scope have in common.

    tensor_of : finds the tensor of a shared array on a device
    """

    __slots__ = ("_native", "_store", "_tensor_of", "_weights", "_met")

    def __init__(self, native: Any, store: Store, tensor_of: Callable[[Any, Any], Any]) -> None:
        self._native, self._store, self._tensor_of = native, store, tensor_of
        self._weights: list[tuple[Any, Any, Any, int, int]] = []  # shared array, device, tensor, version, address
        self._met: set[Any] = set()  # signatures that need not be looked at again, and their ways to be outside

    def run(self, folder: Any) -> Any:
        """Run all that is recorded; return (queues, readings of the clock), or None, and then nothing was done."""
        if not self._met:
            return None
        for shared, ctx, tensor, version, address in self._weights:
            if (self._tensor_of(shared, ctx) is not tensor or tensor._version != version
                    or tensor.data_ptr() != address):
                self.forget()
                return None
        return self._native.run(folder, self._store.rows, self._store.same)

    def forget(self) -> None:
        """Begin anew."""
        self._native.forget()
        self._weights.clear()
        self._met.clear()

    def learn(self, layouts: Sequence[Any], planned: Planned) -> None:
        """Note what a flush ran that can be part of rounds."""
        for index, layout in enumerate(layouts):
            if layout is None or layout.bound is None or layout.ahead is not None or layout.work.signature.recording:
                continue
            signature = layout.work.signature
            if signature not in self._met:
                if not self._learned(layout):
                    continue
                for outside in list(signature.compiled):  # in scopes before this one, too
                    self._allow(signature, outside)
            self._allow(signature, tuple(planned.outside[index]))

    def _allow(self, signature: Any, outside: Any) -> None:
        """Note that nothing of a signature can run ahead where these arguments come from outside, if that is known."""
        if type(outside) is tuple and (signature, outside) not in self._met:
            if signature.compiled.get(outside, True) is None:
                self._met.add((signature, outside))
                self._native.allow(signature, sum(1 << i for i, flag in enumerate(outside) if flag))

    def _learned(self, layout: Any) -> bool:
        """Learn a signature; False where it will not do, or not yet."""
        bound, signature, store = layout.bound, layout.work.signature, self._store
        body, forward = bound.body, bound.forward
        if layout.edges is not None or layout.rows is not None or any(o.rows != 1 for o in signature.outputs):
            return False
        part = Part(bound, 0, len(layout.sizes), 0)
        words = part.environment(store, forward.code, ())
        for number, _, weight, low, high in bound.products:
            packed = words[_ROOTS + packed_root(body, number)] = store.packs.address(weight, low, high, False, 0, 0)
            if not packed and high > low and compiled("runner").panel_width():
                return False  # not in order yet: that pays after a few groups
        sources, targets = [read.arena for read in bound.reads], [arena for arena, _ in layout.writes]
        if not self._native.learn(signature, words.buffer_info()[0], (words, forward, bound.known.shared),
                                  _ROOTS + argument_root(body, 0), _ROOTS + result_root(body, 0), tuple(sources),
                                  tuple(targets), forward.scratch.nodes):
            return False
        self._met.add(signature)
        ctx = signature.arguments[0].pool.ctx
        self._weights += [(signature.shared[i], ctx, tensor, tensor._version, tensor.data_ptr())
                          for i, tensor in enumerate(bound.known.shared)]
        return True

    def numbers(self, futures: list[Future]) -> list[Future]:
        """Give futures of one element their numbers; return those that somebody else must look at."""
        others: list[Future] = self._native.numbers(futures, self._store.rows)
        if not others:
            return others
        for kind in {future.kind for future in others if future.ref >= 0 and future._value is None}:
            letter = _LETTERS.get(dtypes.name_of(kind.dtype))
            if kind.size == 1 and letter is not None and kind.ctx.device_type == "cpu":
                self._native.read(kind, self._store.arena(kind.pool), letter)
        return others
