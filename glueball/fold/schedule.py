"""The schedule: in which groups the recorded calls run.

The one idea: signatures form a graph (an edge where a call of one reads a result of another). Its strongly connected
components are run in topological order, so that what nobody in a loop waits for (a classifier per node) is put off
until it can run for all samples at once; inside a component the signature whose ready calls are the largest part of
its remaining ones goes first. For one signature that feeds itself (a tree's cell) this gives one group per level, the
least there can be. All of it is done on arrays; per group a few NumPy calls.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from .arena import spans
from .future import OFFSET

__all__ = ["Planned", "schedule", "components"]

Ints = Any  # arrays of int64


@final
@dataclass(slots=True)
class Planned:
    """Groups in the order to run them: (number of the work, numbers of its calls); and, per work, whether it feeds
    itself through its component, the component, and per argument whether its values come from other components.
    """

    groups: list[tuple[int, Ints]]
    component: list[int]
    recurrent: list[bool]
    outside: list[list[bool]]


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
    makers: list[list[Ints]]


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
    makers: list[list[Ints]] = [[] for _ in works]
    for index, work in enumerate(works):
        for refs, calls in work.all_references():
            value = (refs >> OFFSET) - base
            pending = value >= 0
            producer = owner[value[pending]]
            known = producer >= 0
            producer = producer[known]
            sources.append(producer)
            targets.append(begins[index] + calls[pending][known])
            makers[index].append(np.flatnonzero(np.bincount(kinds[producer], minlength=len(works))))
    empty = np.empty(0, np.int64)
    return _Edges(np.concatenate(sources) if sources else empty, np.concatenate(targets) if targets else empty, begins,
                  kinds, makers)


def components(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return, per vertex, the number of its strongly connected component; numbers are in topological order.

    >>> components(4, [(0, 1), (1, 2), (2, 1), (2, 3)])
    [0, 1, 1, 2]
    """
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
    edges = _edges(works, values)
    count = len(works)
    between = [(int(maker), index) for index, arguments in enumerate(edges.makers)
               for maker in {int(m) for makers in arguments for m in makers}]
    component = components(count, between)
    recurrent = [False] * count
    for a, b in between:
        if component[a] == component[b]:
            recurrent[a] = recurrent[b] = True
    outside = [[not any(component[int(m)] == component[index] for m in makers) for makers in arguments]
               for index, arguments in enumerate(edges.makers)]
    return Planned(_run(works, edges, component), component, recurrent, outside)


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
    members: dict[int, list[int]] = {}
    for index, number in enumerate(component):
        members.setdefault(number, []).append(index)
    free = np.flatnonzero(waiting == 0)
    _sort_in(ready, free, kinds)
    groups: list[tuple[int, Ints]] = []
    for number in sorted(members):
        inside = members[number]
        while True:
            chosen = _choose(inside, ready, remaining)
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


def _choose(inside: Sequence[int], ready: dict[int, list[Ints]], remaining: Sequence[int]) -> int:
    """Return the work to run next: the largest part of its remaining calls ready, then the most calls; -1: none."""
    best, chosen = (-1.0, -1), -1
    for index in inside:
        parts = ready.get(index)
        if parts:
            size = sum(len(p) for p in parts)
            rank = (size / remaining[index], size)
            if rank > best:
                best, chosen = rank, index
    return chosen
