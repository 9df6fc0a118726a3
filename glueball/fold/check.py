"""mode="check": every call of a batch is run by itself as well, and the first difference is named.

The one idea: after a group has run, each of its calls is computed once more, alone and unbatched, from the same
arguments: an operator by its kernel, a block by the graph traced for its very arguments. In the backward pass the
gradients that a group gave to its arguments and weights are compared with the sum of those of its single calls. Each
group is compared from what went into it, so an error is named where it is made and not where it shows.

Not here: batching itself (execute.py, body.py, backward.py), which knows of this file by one `if` per group.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch

from ..base import aten
from ..base.errors import MXNetError, explain
from ..base.tree import unflatten
from ..dispatch import CURRENT
from ..executor.interpret import interpret
from ..ndarray.creation import own_zeros
from ..ops.opdef import OpDef
from .functions import Sink
from .future import OFFSET, OFFSET_MASK
from .kinds import Pool
from .verify import run_program

__all__ = ["Checker", "blame"]

Tensor = torch.Tensor
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}


@final
class _Difference(MXNetError):
    """What a check has found."""


@final
@dataclass(slots=True)
class _Totals:
    """Gradients of one work that are still being added up: by pool, rows; by identity, weights. owner: by (pool, row),
    the number of a call that reads it.
    """

    expected: dict[Pool, Tensor] = field(default_factory=dict)
    received: dict[Pool, Tensor] = field(default_factory=dict)
    owner: dict[tuple[Pool, int], int] = field(default_factory=dict)
    weights: dict[int, tuple[Any, Tensor]] = field(default_factory=dict)
    found: dict[int, Tensor] = field(default_factory=dict)
    scale: float = 0.0
    terms: int = 1


@final
class Checker:
    """Compares the groups of one scope with their calls run one by one."""

    def __init__(self, engine: Any, tensor_of: Callable[[Any, Any], Tensor]) -> None:
        self.engine = engine
        self.tensor_of = tensor_of  # of a shared array or Parameter, on a device
        self.graphs: dict[Any, Any] = {}
        self.open: dict[int, _Totals] = {}  # by identity of a work that runs in two halves
        self.shared: dict[int, list[Tensor]] = {}  # by identity of a work, what it ran with; see _expect

    # -- values --------------------------------------------------------------------------------------------------------
    def values(self, work: Any, calls: Any) -> None:
        """Compare the results of a group that has just run."""
        signature = work.signature
        if _random(signature):
            remark = "mode='check' does not compare it: it draws random numbers"
            if remark not in signature.remarks:
                signature.remarks.append(remark)
            return
        token = CURRENT.set(None)
        try:
            with torch.no_grad():
                self.shared[id(work)] = self._shared(signature)
                for call in calls:
                    arguments, expected = self.alone(work, int(call))
                    for index, value in enumerate(expected):
                        received = self._result(work, int(call), index, value)
                        scale = _size(_flat(arguments)) if value.is_floating_point() else 0.0
                        if not _close(value, received, scale, _terms(_flat(arguments))):
                            raise self._difference(work, f"result {index}", int(call), value, received)
        finally:
            CURRENT.reset(token)

    def _rows(self, work: Any, call: int, position: int) -> list[tuple[int, int, int]]:
        """Return (value, first row, rows) of an argument of a call; several for a list of children."""
        argument = work.signature.arguments[position]
        count = argument.rows if work.rows is None or argument.children else int(work.rows[call])
        refs = np.atleast_1d(work.references(position, np.array([call])))
        starts = self.engine.store.rows[refs >> OFFSET] + (refs & OFFSET_MASK)
        return [(int(ref) >> OFFSET, int(start), count) for ref, start in zip(refs, starts)]

    def _arguments(self, work: Any, call: int) -> list[Any]:
        """Return copies of the arguments of a call: tensors, and lists of them for children."""
        signature, found = work.signature, []
        for position, argument in enumerate(signature.arguments):
            data = self.engine.store.arena(argument.pool).data
            shape = signature.program.types[signature.program.arguments[position]].shape
            parts = []
            for _, start, count in self._rows(work, call, position):
                rows = data[start:start + count].detach()
                own = signature.ragged and not argument.children  # children are as they are; there are many or few
                parts.append(rows.reshape(_shape(rows if shape is None else shape, count, own)).clone())
            found.append(parts if argument.children else parts[0])
        return found

    def _result(self, work: Any, call: int, index: int, like: Tensor) -> Tensor:
        pool = work.signature.outputs[index].pool
        return self._lying(self.engine.store.arena(pool).data, work, call, index, like)

    def _lying(self, data: Tensor, work: Any, call: int, index: int, like: Tensor) -> Tensor:
        """Return what belongs to a result of a call, in the shape of another tensor where it fits."""
        start = int(self.engine.store.rows[work.ids[call] + index])
        rows = data[start:start + like.numel() // max(math.prod(data.shape[1:]), 1)]
        return rows.reshape(like.shape) if rows.numel() == like.numel() else rows

    def _shared(self, signature: Any) -> list[Tensor]:
        return [self.tensor_of(s, signature.arguments[0].pool.ctx) for s in signature.shared]

    def alone(self, work: Any, call: int) -> tuple[list[Any], list[Tensor]]:
        """Return the arguments of a recorded call, and its results when it is run by itself."""
        arguments = self._arguments(work, call)
        return arguments, self._alone(work.signature, arguments, self._shared(work.signature))

    # -- one call alone ------------------------------------------------------------------------------------------------
    def _alone(self, signature: Any, arguments: Sequence[Any], shared: Sequence[Tensor]) -> list[Tensor]:
        """Return the results of one call; on torch's tape when it is on."""
        if signature.reference is not None:
            graph = self._graph(signature, arguments)
            own = [*[n for n, _ in graph.parameters], *[n for n, _ in graph.constants]]
            if len(own) == len(shared):
                structure = signature.reference[1]
                data = dict(zip(graph.data, _flat(_placed(structure, arguments))))
                return interpret(graph.outputs, {**data, **dict(zip(own, shared))}, signature.training)
        results = run_program(signature.program, arguments, shared, signature.training)
        # rows of children that are a result as they are: one after the other
        return [torch.cat(r) if isinstance(r, list) else r for r in results]

    def _graph(self, signature: Any, arguments: Sequence[Any]) -> Any:
        """Return the block's graph, traced on arrays of just these shapes."""
        key = signature, tuple(tuple(tuple(t.shape) for t in a) if isinstance(a, list) else tuple(a.shape)
                               for a in arguments)
        found = self.graphs.get(key)
        if found is None:
            unit, structure = signature.reference
            ctx = signature.arguments[0].pool.ctx

            def stand_in(value: Any) -> Any:
                if isinstance(value, (list, tuple)):
                    return type(value)(map(stand_in, value))
                return own_zeros(tuple(value.shape), ctx, value.dtype) if isinstance(value, Tensor) else value
            found = self.graphs[key] = unit.trace([stand_in(a) for a in _placed(structure, arguments)],
                                                  signature.training)
        return found

    # -- gradients -----------------------------------------------------------------------------------------------------
    def reverse(self, entry: Any, differentiate: Callable[[], Any]) -> Any:
        """Compute the gradients of a group, and compare them with those of its calls; see Tape.reverse."""
        tape, work = self.engine.tape, entry.work
        kept, tape.sink = tape.sink, Sink()
        try:
            found = differentiate()
        finally:
            own, tape.sink = tape.sink, kept
        weights: dict[int, Tensor] = {}
        for tensor in tape.shared.values():
            copy = Sink()
            copy.uses, copy.biases, copy.whole = dict(own.uses), dict(own.biases), dict(own.whole)
            total = copy.collect(tensor)
            if total is not None:
                weights[id(tensor)] = total
            if id(tensor) in own.whole:
                kept.add(tensor, own.whole[id(tensor)])
        for ours, all_ in ((own.uses, kept.uses), (own.biases, kept.biases)):
            for key, items in ours.items():
                all_.setdefault(key, []).extend(items)
        if not _random(work.signature):
            token = CURRENT.set(None)
            try:
                self._compare(entry, work, found, weights)
            finally:
                CURRENT.reset(token)
        return found

    def _compare(self, entry: Any, work: Any, found: Sequence[Any], weights: dict[int, Tensor]) -> None:
        """Compare one group, or note its part when a work runs in two halves."""
        signature = work.signature
        pools = {argument.pool for argument in signature.arguments}
        first_half = not any(pool is output.pool for pool, _, _ in entry.written for output in signature.outputs)
        second_half = any(pool not in pools for pool, _ in entry.places)
        totals = self.open.pop(id(work), None) or _Totals()
        for (pool, place), gradient in zip(entry.places, found):
            if gradient is not None and pool in pools:
                rows, gradient = self._zeros(totals.received, pool), gradient.reshape(-1, *pool.rest)
                if isinstance(place, Tensor):
                    rows.index_add_(0, place, gradient)
                else:
                    rows[place] += gradient
        for key, gradient in weights.items():
            totals.found[key] = totals.found[key] + gradient if key in totals.found else gradient
        if not first_half:
            for call in entry.calls:
                self._expect(work, int(call), totals)
        if second_half:
            self.open[id(work)] = totals
        else:
            self._decide(work, totals)

    def _zeros(self, held: dict[Pool, Tensor], pool: Pool) -> Tensor:
        found = held.get(pool)
        if found is None:
            arena = self.engine.store.arena(pool)
            found = held[pool] = torch.zeros((arena.used, *pool.rest), dtype=pool.dtype, device=arena.data.device)
        return found

    def _expect(self, work: Any, call: int, totals: _Totals) -> None:
        """Add the gradients of one call, computed alone from the weights that the group ran with: by now a Parameter
        may hold another tensor (its grad_req or dtype was set anew).
        """
        signature, store, tape = work.signature, self.engine.store, self.engine.tape
        arguments = self._arguments(work, call)
        originals = self.shared[id(work)]
        shared = [t.detach().requires_grad_(t.requires_grad) for t in originals]
        leaves: list[tuple[Tensor, Pool, int, int]] = []
        for position, argument in enumerate(signature.arguments):
            parts = arguments[position] if argument.children else [arguments[position]]
            for part, (value, start, count) in zip(parts, self._rows(work, call, position)):
                if store.gradient[value] and argument.pool.floating:
                    leaves.append((part.requires_grad_(), argument.pool, start, count))
        with torch.enable_grad():
            results = self._alone(signature, arguments, shared)
        heads, grads = [], []
        for index, result in enumerate(results):
            pool = signature.outputs[index].pool
            if result.requires_grad and pool in tape.gradients:
                heads.append(result)
                grads.append(self._lying(tape.gradients[pool], work, call, index, result).clone())
        weights = [(t, original) for t, original in zip(shared, originals) if t.requires_grad]
        targets = [*[leaf for leaf, *_ in leaves], *[t for t, _ in weights]]
        if not heads or not targets:
            return
        found = aten.run_gradients(heads, targets, grads, False, False)
        totals.scale = max(totals.scale, _size(grads))
        totals.terms = max(totals.terms, _terms([*_flat(arguments), *grads]) * work.count)
        for (_, pool, start, count), gradient in zip(leaves, found):
            rows = self._zeros(totals.expected, pool)
            totals.owner.update({(pool, row): call for row in range(start, start + count)})
            if gradient is not None:
                rows[start:start + count] += gradient.reshape(count, *pool.rest)
        for (t, original), gradient in zip(weights, found[len(leaves):]):
            held = totals.weights.get(id(original))
            gradient = torch.zeros_like(t) if gradient is None else gradient
            totals.weights[id(original)] = original, gradient if held is None else held[1] + gradient

    def _decide(self, work: Any, totals: _Totals) -> None:
        """Compare what has been added up."""
        signature = work.signature
        for (pool, row), call in totals.owner.items():
            expected, received = totals.expected[pool][row], self._zeros(totals.received, pool)[row]
            if not _close(expected, received, max(totals.scale, _size([totals.expected[pool]])), totals.terms):
                raise self._difference(work, "the gradient of an argument", call, expected, received)
        for key, (original, expected) in totals.weights.items():
            received = totals.found.get(key)
            received = torch.zeros_like(expected) if received is None else received
            if not _close(expected, received, max(totals.scale, _size([expected])), totals.terms):
                names = [getattr(s, "name", "an array") for s in signature.shared
                         if getattr(s, "_t", None) is original or any(
                             held._t is original for held in (getattr(s, "_data", None) or {}).values())]
                raise self._difference(work, f"the gradient of {', '.join(names) or 'a weight'}", None, expected,
                                       received)

    def _difference(self, work: Any, what: str, call: int | None, expected: Tensor, received: Tensor) -> _Difference:
        signature = work.signature
        where = f"call {call} of {work.count}" if call is not None else f"the sum over {work.count} calls"
        origin = self.engine.folder.origins.get(int(work.ids[call or 0]), signature.origin)
        largest, place = "the shapes differ", ""
        if expected.shape == received.shape and expected.numel():
            gap = (expected.double() - received.double()).abs().nan_to_num(nan=math.inf).reshape(-1)
            at = int(gap.argmax())
            largest = f"{gap[at].item():.3g}"
            where_in = tuple(int(i) for i in np.unravel_index(at, tuple(expected.shape)))
            place = f" at {where_in}" if where_in else ""
            values = expected.reshape(-1)[at].item(), received.reshape(-1)[at].item()
        else:
            values = tuple(expected.shape), tuple(received.shape)
        return _Difference(explain(
            f"fold.batching(mode='check'): {signature.name}",
            f"{what[0].upper()}{what[1:]} differs from that of the call run by itself: {where}, recorded at "
            f"{origin}; the largest difference is {largest}{place}.",
            expected=f"{values[0]!r} (by itself)", received=f"{values[1]!r} (in the batch)",
            fix="run this part with fold.batching(mode='off'), and report it with this message"))


def blame(checker: Checker, work: Any, calls: Any, error: Exception) -> Exception:
    """Return what went wrong in a group in the words of the call that fails by itself, with the user's line."""
    if isinstance(error, _Difference):
        return error
    signature, token = work.signature, CURRENT.set(None)
    origin = checker.engine.folder.origins.get(int(work.ids[calls[0]]), signature.origin)
    try:
        for call in calls:
            try:
                with torch.no_grad():
                    checker.alone(work, int(call))
            except Exception as own:
                kind = type(own) if isinstance(own, MXNetError) else MXNetError
                return kind(f"{own}\n  In a folded batch: {signature.name}, first recorded at {origin}")
    finally:
        CURRENT.reset(token)
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return MXNetError(explain(signature.name, f"This failed when it was run for many samples: {first}",
                              received=f"a batch of {len(calls)} calls, first recorded at {origin}",
                              fix="run this part with fold.batching(mode='off'), and report it with this message"))


def _random(signature: Any) -> bool:
    return signature.training and any(isinstance(s.op, OpDef) and s.op.random for s in signature.program.steps) or any(
        isinstance(s.op, OpDef) and s.op.random and not s.inputs for s in signature.program.steps)


def _shape(of: Any, rows: int, ragged: bool) -> tuple[int, ...]:
    """Return the shape of one call's value from the program's (or, where nobody reads it, from its rows); in ragged
    calls the first axis is the call's own.
    """
    if isinstance(of, Tensor):
        return tuple(of.shape)
    return (rows, *of[1:]) if ragged else tuple(of)


def _flat(values: Sequence[Any]) -> list[Tensor]:
    """Return all tensors in nested lists, in order."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, (list, tuple)):
            found += _flat(value)
        elif isinstance(value, Tensor):
            found.append(value)
    return found


def _placed(structure: Any, arguments: Sequence[Any]) -> list[Any]:
    """Return the arguments of a block's call: `structure` says where arrays go, or, for calls with lists of children,
    is a list of markers per argument (see units.py): "array", list, tuple, or a value in a tuple of one.
    """
    if not isinstance(structure, list):
        placed: list[Any] = unflatten(structure, arguments)
        return placed
    single = iter([a for a in arguments if not isinstance(a, list)])
    lists = iter([a for a in arguments if isinstance(a, list)])
    found: list[Any] = []
    for marker in structure:
        if marker == "array":
            found.append(next(single))
        else:
            found.append(marker(next(lists)) if isinstance(marker, type) else marker[0])
    return found


def _size(tensors: Sequence[Tensor]) -> float:
    """Return the largest finite magnitude."""
    sizes = [float(t.detach().double().abs().nan_to_num(0, 0, 0).max()) for t in tensors
             if t.numel() and t.is_floating_point()]
    return max(sizes, default=0.0)


def _terms(tensors: Sequence[Tensor]) -> int:
    """Return about how many numbers are added up for one element."""
    return max([t.numel() for t in tensors], default=1) or 1


def _close(expected: Tensor, received: Tensor, scale: float, terms: int) -> bool:
    """Whether two results agree as well as `terms` sums of numbers up to `scale` in their precision can."""
    if expected.shape != received.shape or expected.dtype != received.dtype:
        return False
    if not expected.is_floating_point():
        return bool((expected == received).all())
    relative = _TOLERANCE.get(expected.dtype, 1e-5) * math.sqrt(terms)
    return torch.allclose(received.double(), expected.double(), rtol=relative, equal_nan=True,
                          atol=relative * min(scale, 1e3))
