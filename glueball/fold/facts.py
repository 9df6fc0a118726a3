"""What happened in a scope, in numbers: groups, their widths, bytes and times, and the least number of groups possible.

The one idea: while a scope runs only clock readings and references to the arrays of the schedule are kept (two readings
of the clock per group). Everything else, bytes and chains too, is worked out from them when somebody looks.

Not here: reasons and advice (reasons.py), the text (explain.py), the picture (picture.py).
"""
from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, final

import numpy as np

from .arena import spans
from .future import OFFSET, OFFSET_MASK
from .schedule import schedule
from .signature import Signature
from .work import Work

__all__ = ["Flush", "Group", "KindFacts", "flush_of", "groups_of", "kinds_of", "add_backward", "chains"]

Ints = Any  # arrays of int64


@final
@dataclass(slots=True)
class Flush:
    """One flush, as it was noted.

    reason : why it happened
    works, planned : the recorded calls and the schedule
    clocks : when it began, when arrays from outside were stored, when the schedule was ready
    marks : per group, when its arguments were gathered, and when it had ended
    ahead : hoisted halves: (work, halves, begin, gathered, end, for how many different calls)
    prepared : (begin, end) of bodies made for the first time
    shared : how many calls were left out because they were equal to others
    ended : when the flush had ended; 0.0 when it failed
    """

    reason: str
    works: Sequence[Any]
    planned: Any
    clocks: tuple[float, float, float]
    shared: int = 0
    marks: list[float] = field(default_factory=list)
    ahead: list[tuple[Any, Any, float, float, float, int]] = field(default_factory=list)
    prepared: list[tuple[float, float]] = field(default_factory=list)
    ended: float = 0.0

    @property
    def end(self) -> float:
        """When it ended or, when it failed, the last that is known of it."""
        return self.ended or (self.marks[-1] if self.marks else self.clocks[2])

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self.planned.groups)

    @property
    def calls(self) -> int:
        """Number of calls."""
        return sum(work.count for work in self.works)


def flush_of(reason: str, ran: tuple[Any, bytes], values: int, clocks: tuple[float, float], ended: float) -> Flush:
    """Return a flush that ran as a round (rounds.py), from its queues and readings of the clock."""
    queues, noted = ran
    marks = array("d", noted)
    works = [Work.queued(signature, queue) for signature, queue in queues.items()]
    return Flush(reason, works, schedule(works, values), (*clocks, marks[0]), marks=marks[1:].tolist(), ended=ended)


@final
@dataclass(slots=True)
class Group:
    """One batched run. width : its calls; begin, gathered, end : by the clock; copied, viewed : bytes of arguments that
    were copied together, or lay in a row already; flush : its number; hoisted : it is the first half of a unit, run for
    all calls at once.
    """

    signature: Signature
    width: int
    begin: float
    gathered: float
    end: float
    copied: int = 0
    viewed: int = 0
    flush: int = 0
    hoisted: bool = False


@final
@dataclass(slots=True)
class KindFacts:
    """What is known of the calls of one signature.

    origin : the user's line of the first of them in the scope; first : its place among all calls
    calls, groups : how many; widths : calls of each group
    lower_bound : the longest chain of such calls that need each other, summed over flushes: fewer groups cannot be
    chain : the longest one in a flush
    copied, viewed : bytes of arguments; gathering, computing, backward : seconds
    hoisted : (halves, calls, how many of them differ and ran) of parts that ran ahead for all calls at once
    """

    signature: Signature
    origin: str
    first: int = -1
    calls: int = 0
    widths: list[int] = field(default_factory=list)
    lower_bound: int = 0
    chain: int = 0
    copied: int = 0
    viewed: int = 0
    gathering: float = 0.0
    computing: float = 0.0
    backward: float = 0.0
    hoisted: list[tuple[Any, int, int]] = field(default_factory=list)

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self.widths)

    @property
    def efficiency(self) -> float:
        """Least possible number of groups, as a part of the number there was."""
        return self.lower_bound / self.groups if self.groups else 1.0


def groups_of(flushes: Sequence[Flush], rows: Ints) -> list[Group]:
    """Return all groups in the order in which they ran.

    Parameters
    ----------
    rows : (values,), the row at which each value lies; None where bytes are not wanted
    """
    found: list[Group] = []
    for number, flush in enumerate(flushes):
        before = flush.clocks[2]
        halves = {id(work): halves for work, halves, *_ in flush.ahead}
        aside = sorted([(begin, end, None) for begin, end in flush.prepared] +
                       [(begin, end, (work, halves, filled)) for work, halves, begin, filled, end, _ in flush.ahead],
                       key=lambda interval: interval[0])
        for (index, calls), gathered, end in zip(flush.planned.groups, flush.marks[::2], flush.marks[1::2]):
            between = 0.0  # from group to group, but for what was done aside
            while aside and aside[0][1] <= gathered:
                begin, done, ahead = aside.pop(0)
                between += begin - before
                before = done
                if ahead is not None:
                    work, half, filled = ahead
                    group = Group(work.signature, work.count, begin, filled, before, 0, 0, number, True)
                    order = [some for number, some in flush.planned.groups if flush.works[number] is work]
                    _add_bytes(group, work, np.concatenate(order), half.given, rows)
                    found.append(group)
            work = flush.works[index]
            group = Group(work.signature, len(calls), before - between, gathered, end, 0, 0, number)
            half = halves.get(id(work))
            _add_bytes(group, work, calls, range(len(work.signature.arguments)) if half is None else half.kept, rows)
            found.append(group)
            before = end
    return found


def _add_bytes(group: Group, work: Any, calls: Ints, positions: Sequence[int], rows: Ints) -> None:
    """Work out how many bytes of arguments were copied together and how many were read where they lay."""
    if rows is None:
        return
    for position in positions:
        argument = work.signature.arguments[position]
        refs = work.references(position, calls)
        starts = rows[refs >> OFFSET] + (refs & OFFSET_MASK)
        sizes = argument.rows if work.rows is None or argument.children else work.rows[calls]
        taken = starts if isinstance(sizes, int) and sizes == 1 else spans(starts, sizes)
        size = len(taken) * prod(argument.pool.rest) * argument.pool.dtype.itemsize
        if len(taken) and bool((np.diff(taken) == 1).all()):
            group.viewed += size
        else:
            group.copied += size


def kinds_of(flushes: Sequence[Flush], groups: Sequence[Group], origins: Mapping[Signature, str]) -> list[KindFacts]:
    """Return the facts of each signature, those of backward left out, in the order of their first groups."""
    found: dict[int, KindFacts] = {}
    for group in groups:
        facts = found.get(id(group.signature))
        if facts is None:
            own = group.signature
            facts = found[id(own)] = KindFacts(own, origins.get(own, own.origin))
        facts.copied += group.copied
        facts.viewed += group.viewed
        facts.gathering += group.gathered - group.begin
        facts.computing += group.end - group.gathered
        if not group.hoisted:
            facts.calls += group.width
            facts.widths.append(group.width)
    for flush in flushes:
        for work in flush.works:
            facts = found.get(id(work.signature))
            if facts is not None and facts.first < 0 and work.count:
                facts.first = int(work.ids[0])
        longest = chains([flush], [[id(work.signature)] for work in flush.works])
        for key, length in longest.items():
            if key in found:
                found[key].lower_bound += length
                found[key].chain = max(found[key].chain, length)
        for work, halves, *_, ran in flush.ahead:
            if id(work.signature) in found:
                found[id(work.signature)].hoisted.append((halves, work.count, ran))
    return list(found.values())


def add_backward(kinds: Sequence[KindFacts], backward: Sequence[tuple[Any, float]]) -> None:
    """Set the seconds of backward, which runs when the scope is long over, and perhaps several times."""
    by_signature = {id(facts.signature): facts for facts in kinds}
    for facts in kinds:
        facts.backward = 0.0
    before = 0.0
    for what, end in backward:
        facts = by_signature.get(id(getattr(what, "signature", None)))
        if facts is not None:
            facts.backward += end - before
        before = end


_TOGETHER = 64  # labels followed at a time: the memory is labels x calls


def chains(flushes: Sequence[Flush], labels: Sequence[Sequence[int]]) -> dict[int, int]:
    """Return, per label, the length of the longest chain of calls that need each other, counting calls of that label.

    Parameters
    ----------
    flushes : whose calls are looked at, together
    labels : per work, in the order of the flushes and their works, the labels of its calls

    Returns
    -------
    dict
        by label; no fewer groups than that can run all calls of one label
    """
    works = [work for flush in flushes for work in flush.works]
    begins = np.cumsum([0, *[work.count for work in works]])
    total = int(begins[-1])
    source, first, degree = _inputs(works, begins)
    names = list(dict.fromkeys(name for own in labels for name in own))
    found: dict[int, int] = {}
    for part in (names[i:i + _TOGETHER] for i in range(0, len(names), _TOGETHER)):
        own = [np.array([i for i, name in enumerate(part) if name in mine], dtype=np.int64) for mine in labels]
        length = np.zeros((len(part), total), dtype=np.int32)
        base = 0
        for flush in flushes:
            for index, picked in flush.planned.groups:
                calls = begins[base + index] + picked
                fed = calls[degree[calls] > 0]
                if len(fed):
                    ends = np.cumsum(degree[fed])
                    before = length[:, source[spans(first[fed], degree[fed])]]
                    length[:, fed] = np.maximum.reduceat(before, ends - degree[fed], axis=1)
                if len(own[base + index]):
                    length[np.ix_(own[base + index], calls)] += 1
            base += len(flush.works)
        found.update(zip(part, length.max(axis=1).tolist() if total else [0] * len(part)))
    return found


def _inputs(works: Sequence[Any], begins: Ints) -> tuple[Ints, Ints, Ints]:
    """Return (calls that calls read from, by reader; where each reader's begin; how many they are)."""
    values = max((int(work.ids[-1]) + len(work.signature.outputs) for work in works if work.count), default=0)
    owner = np.full(values, -1, dtype=np.int64)
    for work, begin in zip(works, begins):
        for result in range(len(work.signature.outputs)):
            owner[work.ids + result] = begin + np.arange(work.count)
    sources, targets = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for work, begin in zip(works, begins):
        for refs, calls in work.all_references():
            value = refs >> OFFSET
            known = value < values
            maker = np.where(known, owner[np.where(known, value, 0)], -1)
            sources.append(maker[maker >= 0])
            targets.append(begin + calls[maker >= 0])
    source, target = np.concatenate(sources), np.concatenate(targets)
    order = np.argsort(target, kind="stable")
    degree = np.bincount(target, minlength=int(begins[-1]))
    return source[order], np.cumsum(degree) - degree, degree
