"""The report of a scope: what was batched, what was not and why, where the time went.

The one idea: the engine notes a few references and clock readings per group here; numbers, reasons and words are made
of them when somebody asks. `fold.explain()` is the text, `fold.last_report()` the numbers, `fold.draw()` the picture.

Not here: how numbers are worked out (facts.py), reasons (reasons.py), drawing (picture.py).
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from os import PathLike
from time import perf_counter
from typing import Any, final

from ..base import errors
from ..base.errors import short_place
from .facts import Flush, Group, KindFacts, add_backward, flush_of, groups_of, kinds_of
from .picture import draw_groups
from .reasons import MAP_WAITS, Reason, labels_of, reasons_of, steps_of
from .signature import Signature

__all__ = ["Report", "explain", "last_report", "draw"]

_KINDS, _REASONS = 24, 12  # lines of the text
_WORDS = {
    "linear": "one matrix product for all rows; its weight's gradient is computed once, at the end",
    "rows": "the samples' rows one below the other, one run of the operator",
    "stack": "the samples along a new first axis, one run of the operator",
    "vmap": "the same, through torch.func.vmap",
    "fused": "element by element, several steps in one piece of machine code",
    "view": "columns of another result, nothing is computed",
    "children": "sums and the like over the children of each node",
    "once": "the same for all samples, computed once per group",
    "one by one": "once per sample: this does not batch",
}


@final
class Report:
    """What one scope did. Everything but the notes is worked out when it is first asked for.

    Attributes
    ----------
    flushes : list of facts.Flush
        each time that recorded calls were run, with the reason
    calls, groups, lower_bound : int
        recorded calls; groups in which they ran; the least possible number of groups: for each kind of call the longest
        chain of such calls that need each other, added up
    efficiency : float
        lower_bound / groups
    widths : list of int
        calls of each group, in the order they ran
    hoisted : int
        runs of a unit's first half, for all its calls at once, beside the groups
    kinds : list of facts.KindFacts
        the same for each kind of call, with bytes and seconds
    copied, viewed : int
        bytes of arguments that were copied together, or read where they lay
    seconds : dict
        "recording" (the scope's life without its flushes), "scheduling", "preparing" (what is done only the first
        time), "gathering" (also of what comes from outside the scope), "computing", "backward"
    reasons : list of reasons.Reason
        why what did not run together did not, the most expensive first
    """

    def __init__(self) -> None:
        self.opened = perf_counter()
        self.closed = 0.0
        self._noted: list[Any] = []  # flushes; of rounds what `flush_of` makes them from
        self._made = 0  # how many of them have been made
        self.backward: list[tuple[Any, float]] = []
        self.origins: dict[Signature, str] = {}  # the user's line of the first call in this scope
        self.apart: dict[str, str] = {}
        self.at_once: dict[tuple[str, str], str] = {}
        self.current: Any = None  # the flush that runs
        self.clock: Any = None  # notes a reading, once per group when it is gathered and once when it has ended
        self._rows: Any = None
        self._known: tuple[list[Group], list[KindFacts]] | None = None

    # -- notes of the engine -------------------------------------------------------------------------------------------
    def begin(self, reason: str, works: Sequence[Any], planned: Any, clocks: tuple[float, float, float],
              shared: int) -> None:
        """Note a flush that is about to run; see facts.Flush."""
        self.current = Flush(reason, works, planned, clocks, shared)
        self._noted.append(self.current)
        self.clock = self.current.marks.append

    def ahead(self, work: Any, halves: Any, begin: float, gathered: float, ran: int) -> None:
        """Note that the first half of a unit has run for all its calls, of which so many were different."""
        self.flushes[-1].ahead.append((work, halves, begin, gathered, perf_counter(), ran))

    def prepared(self, begin: float) -> None:
        """Note that a body was made."""
        self.flushes[-1].prepared.append((begin, perf_counter()))

    def end(self) -> None:
        """Note that the flush has run."""
        self.current.ended = perf_counter()

    def round(self, reason: str, ran: Any, values: int, clocks: tuple[float, float]) -> None:
        """Note a flush that has run as a round (rounds.py): `ran` are its queues and readings of the clock."""
        self._noted.append((reason, ran, values, clocks, perf_counter()))

    @property
    def flushes(self) -> list[Flush]:
        """Each time that recorded calls were run."""
        noted = self._noted
        for number in range(self._made, len(noted)):
            if type(noted[number]) is tuple:
                noted[number] = flush_of(*noted[number])
        self._made = len(noted)
        return noted

    def close(self, rows: Any) -> None:
        """Note that the scope was left; rows : (values,), where each value lies."""
        self.closed, self._rows = perf_counter(), rows
        _last[:] = [self]

    # -- numbers -------------------------------------------------------------------------------------------------------
    def _work_out(self) -> tuple[list[Group], list[KindFacts]]:
        if self._known is not None:
            return self._known
        runs = groups_of(self.flushes, self._rows)
        found = runs, kinds_of(self.flushes, runs, self.origins)
        if self.closed:  # an open scope goes on
            self._known = found
        return found

    @property
    def runs(self) -> list[Group]:
        """Groups and hoisted halves with their times, in the order they ran."""
        return self._work_out()[0]

    @property
    def kinds(self) -> list[KindFacts]:
        """The facts of each kind of call, in the order of their first groups."""
        kinds = self._work_out()[1]
        add_backward(kinds, self.backward)
        return kinds

    @property
    def calls(self) -> int:
        """Number of recorded calls."""
        return sum(flush.calls for flush in self.flushes)

    @property
    def groups(self) -> int:
        """Number of groups."""
        return sum(flush.groups for flush in self.flushes)

    @property
    def widths(self) -> list[int]:
        """Calls of each group, in the order they ran."""
        return [len(calls) for flush in self.flushes for _, calls in flush.planned.groups]

    @property
    def hoisted(self) -> int:
        """Runs of a unit's first half for all its calls at once."""
        return sum(len(flush.ahead) for flush in self.flushes)

    @property
    def lower_bound(self) -> int:
        """The least possible number of groups."""
        return sum(facts.lower_bound for facts in self.kinds)

    @property
    def efficiency(self) -> float:
        """Least possible number of groups, as a part of the number there was."""
        return self.lower_bound / self.groups if self.groups else 1.0

    @property
    def copied(self) -> int:
        """Bytes of arguments that were copied together."""
        return sum(group.copied for group in self.runs)

    @property
    def viewed(self) -> int:
        """Bytes of arguments that were read where they lay."""
        return sum(group.viewed for group in self.runs)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by phase; on a GPU computing runs beside the program, so these are times of the program."""
        end = self.closed or perf_counter()
        flushed = sum(flush.end - flush.clocks[0] for flush in self.flushes)
        # floats: a scope that did nothing but flush may come out at a negative rounding error
        found = {"recording": max(end - self.opened - flushed, 0.0), "scheduling": 0.0, "preparing": 0.0,
                 "gathering": 0.0, "computing": 0.0, "backward": 0.0}
        for flush in self.flushes:
            begin, stored, planned = flush.clocks
            found["gathering"] += stored - begin
            found["scheduling"] += planned - stored
            found["preparing"] += sum(end - begin for begin, end in flush.prepared)
            if flush.ended and flush.marks:
                found["computing"] += flush.ended - flush.marks[-1]
        for group in self.runs:
            found["gathering"] += group.gathered - group.begin
            found["computing"] += group.end - group.gathered
        before = 0.0
        for what, end in self.backward:
            found["backward"] += end - before if what is not None else 0.0
            before = end
        return found

    @property
    def reasons(self) -> list[Reason]:
        """Why what did not run together did not, the most expensive first."""
        return reasons_of(self.flushes, self.kinds, self.apart, self.at_once)

    def draw(self, path: str | PathLike[str]) -> None:
        """Draw the schedule into a file that ends in ``.svg`` or ``.png``; see fold.draw."""
        draw_groups(self, path)

    # -- the text ------------------------------------------------------------------------------------------------------
    def text(self, times: bool = True) -> str:
        """Return the report as text; without `times` it is the same each time."""
        kinds = self.kinds
        lines = [*self._summary(len(kinds), times), *_table(kinds, times), *self._flushes()]
        found = self.reasons
        if found:
            lines += ["", "What did not run together, and what to do"]
        for reason in found[:_REASONS]:
            cost = f"; up to {_count(reason.cost, 'run')} fewer" if reason.cost else ""
            lines.append(f"  [{reason.code}: {reason.title}{cost}] {reason.what}.")
            lines.append(f"      {'at ' + short_place(reason.where) + ': ' if reason.where else ''}{reason.advice}")
        if len(found) > _REASONS:
            lines.append(f"  and {len(found) - _REASONS} more of less weight")
        return "\n".join(lines)

    def _summary(self, kinds: int, times: bool) -> Iterator[str]:
        yield (f"{_count(self.calls, 'call')} of {_count(kinds, 'kind')} ran as {_count(self.groups, 'group')}; "
               f"the least possible is {self.lower_bound} ({self.efficiency:.0%}).")
        if self.groups:
            widths = self.widths
            yield f"A group ran {sum(widths) / len(widths):.1f} calls on average, {max(widths)} at most."
        if self.hoisted:
            yield f"Beside them {_count(self.hoisted, 'run')} of parts that need not wait, for all calls at once."
        shared = sum(flush.shared for flush in self.flushes)
        if shared:
            verb = "was" if shared == 1 else "were"
            yield f"{_count(shared, 'more call')} {verb} equal to others and computed once with them."
        yield f"Arguments: {_size(self.copied)} copied together, {_size(self.viewed)} read where they lay."
        if times:
            yield "Time: " + ", ".join(f"{name} {_time(value)}" for name, value in self.seconds.items() if value) + "."

    def _flushes(self) -> Iterator[str]:
        if len(self.flushes) < 2:
            return
        counted = Counter(flush.reason for flush in self.flushes)
        yield ""
        yield f"Recorded calls were run {len(self.flushes)} times, because"
        for reason, times in counted.most_common(_REASONS):
            own = [flush for flush in self.flushes if flush.reason == reason]
            what, _, where = reason.rpartition(" at ")
            shown = f"{what} at {short_place(where)}" if what else reason
            if reason == MAP_WAITS:
                shown = "all samples of a map waited for values"
            yield (f"  {times:5} x {shown}: {_count(sum(f.calls for f in own), 'call')} in "
                   f"{_count(sum(f.groups for f in own), 'group')}")
        if len(counted) > _REASONS:
            yield f"  and {len(counted) - _REASONS} other reasons"


def _table(kinds: Sequence[KindFacts], times: bool) -> Iterator[str]:
    """The kinds of calls, and how each runs."""
    ordered = sorted(kinds, key=lambda facts: (-facts.groups, -facts.calls, facts.first))
    shown = ordered[:_KINDS]
    if not shown:
        return
    heads = ["calls", "groups", "least", "mean", "widest", "copied", "viewed"]
    heads += ["gather", "compute"] if times else []
    heads += ["backward"] if times and any(facts.backward for facts in kinds) else []
    yield ""
    yield f"{'Kinds of calls':<48}" + "".join(f"{head:>9}" for head in heads)
    used: set[str] = set()
    for facts, name in zip(shown, labels_of([facts.signature for facts in shown])):
        cells = [str(facts.calls), str(facts.groups), str(facts.lower_bound),
                 f"{facts.calls / max(facts.groups, 1):.1f}", str(max(facts.widths, default=0)), _size(facts.copied),
                 _size(facts.viewed)]
        cells += [_time(seconds) for seconds in (facts.gathering, facts.computing, facts.backward)]
        name = name if len(name) <= 45 else name[:42] + "..."
        yield f"  {name:<46}" + "".join(f"{cell:>9}" for cell in cells[:len(heads)])
        yield f"      first at {short_place(facts.origin)}"
        steps = steps_of(facts)
        used.update(step.how for step in steps)
        if len(steps) > 1 or any(step.how == "one by one" for step in steps):
            ways: dict[str, Counter[str]] = {}
            for step in steps:
                ways.setdefault(step.how, Counter())[step.name] += 1
            yield "      runs " + "; ".join(f"{how}: {_names(names)}" for how, names in ways.items())
        for halves, calls, ran in facts.hoisted[:1]:
            ahead = Counter(step.op.name for step in halves.first.steps if not isinstance(step.op, str))
            some = f"the {ran} different ones of {calls} calls" if ran < calls else f"all {calls} calls at once"
            yield f"      ahead, for {some}: {_names(ahead)}"
        yield from (f"      {remark}" for remark in facts.signature.remarks if "runs sample by sample" not in remark)
    if len(ordered) > len(shown):
        rest = ordered[_KINDS:]
        yield (f"  and {len(rest)} more kinds: {_count(sum(f.calls for f in rest), 'call')} in "
               f"{_count(sum(f.groups for f in rest), 'group')}")
    if used & set(_WORDS):
        yield "  How steps run"
        yield from (f"      {how}: {_WORDS[how]}" for how in _WORDS if how in used)


def _names(names: Counter[str]) -> str:
    listed = [f"{name} x{times}" if times > 1 else name for name, times in names.most_common(8)]
    return ", ".join(listed) + (" and others" if len(names) > 8 else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms" if seconds >= 1e-4 else (
        f"{1e6 * seconds:.0f} us")


_last: list[Report] = []


def last_report() -> Report:
    """Return the report of the last scope: numbers for programs.

    Raises
    ------
    MXNetError
        When nothing has been folded yet.

    >>> from glueball import fold, nd
    >>> with fold.batching():
    ...     rows = [nd.ones((1, 2)) * i for i in range(5)]
    >>> fold.last_report().calls
    5
    """
    if not _last:
        raise errors.MXNetError(errors.explain("fold.explain", "Nothing has been folded yet.",
                                               fix="run a scope first: `with fold.batching(): ...`"))
    return _last[0]


def explain(times: bool = True) -> str:
    """Return what the last scope did, as text: what ran together, what did not and why, where the time went.

    Parameters
    ----------
    times
        Whether durations are shown; without them the text of the same program is the same each time.

    Raises
    ------
    MXNetError
        When nothing has been folded yet.

    >>> from glueball import fold, gluon, nd
    >>> net = gluon.nn.Dense(2)
    >>> net.initialize()
    >>> with fold.batching():
    ...     outs = [net(nd.ones((1, 3)) * i) for i in (1.0, 1.0, 1.0)]
    >>> print(fold.explain(times=False).splitlines()[0])
    6 calls of 2 kinds ran as 2 groups; the least possible is 2 (100%).
    """
    return last_report().text(times)


def draw(path: str | PathLike[str]) -> None:
    """Draw the last scope's schedule: a row for each kind of call, a box for each group, along the time.

    Parameters
    ----------
    path
        A file that ends in ``.svg``, or in ``.png`` where matplotlib is installed.

    Raises
    ------
    MXNetError
        When nothing has been folded yet, `path` is no name of a file, or the name has another ending.

    >>> import os, tempfile
    >>> from glueball import fold, nd
    >>> with fold.batching():
    ...     rows = [nd.ones((1, 2)) * 2 for i in range(5)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fold.draw(os.path.join(folder, "schedule.svg"))
    """
    last_report().draw(path)
