"""The schedule: in which groups the recorded calls run.

The one idea: signatures form a graph (an edge where a call of one reads a result of another). Its strongly connected
components are run in topological order, so that what nobody in a loop waits for (a classifier per node) is put off
until it can run for all samples at once; inside a component the signature whose ready calls are the largest part of
its remaining ones goes first. For one signature that feeds itself (a tree's cell) this gives one group per level, the
least there can be. The compiled planner (planner.c) does it in one pass over all references; its twin here on arrays,
with a few NumPy calls per group.

Not here: where everything lies (layout.py).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from .arena import spans
from .core import compiled
from .future import OFFSET

__all__ = ["Planned", "schedule", "components"]

Ints = Any  # arrays of int64


@final
@dataclass(slots=True)
class Planned:
    """Which groups there are, and in which order they run.

    order : the calls of each work in the order they run, work after work. turns : per group, the number of its work.
    sizes : per work, how many calls each of its groups has. component, recurrent, outside : per work, its component,
    whether it feeds itself through it, and per argument whether its values come from other components
    """

    order: Ints
    turns: list[int]
    sizes: list[list[int]]
    component: list[int]
    recurrent: list[bool]
    outside: list[list[bool]]
    _groups: list[tuple[int, Ints]] | None = field(default=None, repr=False)

    @property
    def groups(self) -> list[tuple[int, Ints]]:
        """The groups in the order to run them: (number of the work, numbers of its calls)."""
        if self._groups is None:
            done = np.cumsum([0, *map(sum, self.sizes)]).tolist()
            following = [iter(sizes) for sizes in self.sizes]
            self._groups = []
            for index in self.turns:
                begin, done[index] = done[index], done[index] + next(following[index])
                self._groups.append((index, self.order[begin:done[index]]))
        return self._groups


@final
@dataclass(slots=True)
class _Edges:
    """Dependencies between calls numbered through all works. begins: where each work's calls begin; kinds: the work
    of each call; makers: per work and argument, the works that make its values.
    """

    source: Ints
    target: Ints
    begins: Ints
    kinds: Ints
    makers: list[list[set[int]]]


def _edges(works: Sequence[Any], values: int) -> _Edges:
    begins = np.cumsum([0, *[work.count for work in works]])
    kinds = np.repeat(np.arange(len(works)), [work.count for work in works])
    base = min((int(work.ids[0]) for work in works if work.count), default=0)
    owner = np.full(max(values - base, 0), -1, dtype=np.int64)
    for index, work in enumerate(works):
        calls = begins[index] + np.arange(work.count)
        for result in range(len(work.signature.outputs)):
            owner[work.ids - base + result] = calls
    sources: list[Ints] = []
    targets: list[Ints] = []
    makers: list[list[set[int]]] = [[] for _ in works]
    for index, work in enumerate(works):
        for refs, calls in work.all_references():
            value = (refs >> OFFSET) - base
            pending = value >= 0
            producer = owner[value[pending]]
            known = producer >= 0
            producer = producer[known]
            sources.append(producer)
            targets.append(begins[index] + calls[pending][known])
            makers[index].append(set(np.flatnonzero(np.bincount(kinds[producer], minlength=len(works))).tolist()))
    empty = np.empty(0, np.int64)
    return _Edges(np.concatenate(sources) if sources else empty, np.concatenate(targets) if targets else empty, begins,
                  kinds, makers)


def components(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return, per vertex, the number of its strongly connected component; numbers are in topological order.

    >>> components(4, [(0, 1), (1, 2), (2, 1), (2, 3)])
    [0, 1, 1, 2]
    """
    if all(source <= target for source, target in edges):  # they came in such an order, as most programs do
        return list(range(count))
    forward: list[list[int]] = [[] for _ in range(count)]
    for source, target in edges:
        forward[source].append(target)
    index, low, found, on_stack = [-1] * count, [0] * count, [-1] * count, [False] * count
    stack: list[int] = []
    clock = numbered = 0
    for root in range(count):
        if index[root] >= 0:
            continue
        path: list[tuple[int, int]] = [(root, 0)]
        while path:
            vertex, position = path.pop()
            if position == 0:
                index[vertex] = low[vertex] = clock
                clock += 1
                stack.append(vertex)
                on_stack[vertex] = True
            elif on_stack[forward[vertex][position - 1]]:
                low[vertex] = min(low[vertex], low[forward[vertex][position - 1]])
            for step in range(position, len(forward[vertex])):
                child = forward[vertex][step]
                if index[child] < 0:
                    path.append((vertex, step + 1))
                    path.append((child, 0))
                    break
                if on_stack[child]:
                    low[vertex] = min(low[vertex], index[child])
            else:
                if low[vertex] == index[vertex]:
                    while True:
                        member = stack.pop()
                        on_stack[member] = False
                        found[member] = numbered
                        if member == vertex:
                            break
                    numbered += 1
    return [numbered - 1 - number for number in found]  # Tarjan finds the last ones first


def schedule(works: Sequence[Any], values: int) -> Planned:
    """Return the groups for all calls of some works; `values`: one past the greatest number of a value."""
    planner = compiled("planner")
    if planner is None:
        return twin(works, values)
    order, turns, sizes, component, recurrent, outside = planner.schedule([work.parts for work in works], values)
    return Planned(np.frombuffer(order, np.int64), turns, sizes, component, recurrent, outside)


def twin(works: Sequence[Any], values: int) -> Planned:
    """Return what `schedule` returns, without the compiled planner."""
    edges = _edges(works, values)
    component, recurrent, outside = _classify(edges.makers)
    groups = _run(works, edges, component)
    parts: list[list[Ints]] = [[] for _ in works]
    for index, calls in groups:
        parts[index].append(calls)
    order = [calls for own in parts for calls in own]
    return Planned(np.concatenate(order) if order else np.empty(0, np.int64), [index for index, _ in groups],
                   [[len(calls) for calls in own] for own in parts], component, recurrent, outside)


def _classify(makers: Sequence[Sequence[set[int]]]) -> tuple[list[int], list[bool], list[list[bool]]]:
    """Return (component, recurrent, outside) of Planned from the works that make the values of each argument."""
    count = len(makers)
    between = [(maker, index) for index, arguments in enumerate(makers) for maker in sorted(set().union(*arguments))]
    component = components(count, between)
    recurrent = [False] * count
    for a, b in between:
        if component[a] == component[b]:
            recurrent[a] = recurrent[b] = True
    outside = [[not any(component[maker] == component[index] for maker in some) for some in arguments]
               for index, arguments in enumerate(makers)]
    return component, recurrent, outside


def _members(component: Sequence[int]) -> list[list[int]]:
    """Return the works of each component, in the order in which components run."""
    members: dict[int, list[int]] = {}
    for index, number in enumerate(component):
        members.setdefault(number, []).append(index)
    return [members[number] for number in sorted(members)]


def _run(works: Sequence[Any], edges: _Edges, component: Sequence[int]) -> list[tuple[int, Ints]]:
    source, target, begins, kinds = edges.source, edges.target, edges.begins, edges.kinds
    total = int(begins[-1])
    waiting = np.bincount(target, minlength=total)
    order = np.argsort(source, kind="stable")
    successors = target[order]
    degree = np.bincount(source, minlength=total)
    first = np.cumsum(degree) - degree
    ready: dict[int, list[Ints]] = {}
    remaining = [work.count for work in works]
    free = np.flatnonzero(waiting == 0)
    _sort_in(ready, free, kinds)
    groups: list[tuple[int, Ints]] = []
    for inside in _members(component):
        while True:
            sizes = {index: sum(map(len, ready[index])) for index in inside if index in ready}
            chosen = _choose(inside, sizes, remaining)
            if chosen < 0:
                break
            parts = ready.pop(chosen)
            calls = parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts))
            remaining[chosen] -= len(calls)
            groups.append((chosen, calls - begins[chosen]))
            after = successors[spans(first[calls], degree[calls])]
            if len(after):
                np.subtract.at(waiting, after, 1)
                free = after[waiting[after] == 0]
                if len(free) > 1:
                    free.sort()
                    free = free[np.concatenate((_FIRST, free[1:] != free[:-1]))]
                _sort_in(ready, free, kinds)
    return groups


def _sort_in(ready: dict[int, list[Ints]], calls: Ints, kinds: Ints) -> None:
    """Put calls that became ready to the ready ones of their work."""
    if not len(calls):
        return
    own = kinds[calls]
    low, high = int(own[0]), int(own[-1])  # calls are sorted, and works are numbered in the calls' order
    if low == high:
        ready.setdefault(low, []).append(calls)
        return
    ends = [*(np.flatnonzero(own[1:] != own[:-1]) + 1).tolist(), len(own)]
    begin = 0
    for end in ends:
        ready.setdefault(int(own[begin]), []).append(calls[begin:end])
        begin = end


_FIRST = np.ones(1, dtype=bool)


def _choose(inside: Sequence[int], ready: Mapping[int, int], remaining: Sequence[int]) -> int:
    """Return the work to run next: the largest part of its remaining calls ready, then the most calls; -1: none.

    ready : per work, how many of its calls are ready
    """
    best, chosen = (-1.0, -1), -1
    for index in inside:
        size = ready.get(index, 0)
        if size:
            rank = (size / remaining[index], size)
            if rank > best:
                best, chosen = rank, index
    return chosen
