"""What one compiled function computes, and in how many passes over a row.

The one idea: an expression that needs sums over the row ("total", "peak") is computed in phases, one loop over the
row's columns per level of nesting and a last one that writes; the row stays in the cache. What is the same for the
whole row is computed once between the loops; what is dear and occurs in several loops is kept in a scratch row.

Not here: the text of the loops (emit.py, which says how a function is called), expressions (expression.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from ...base.errors import ArgumentError, explain
from .expression import POSITIONS, REDUCTIONS, Expr, index_of, topological, varying
from .memory import MEMORY

__all__ = ["Segment", "Phase", "Schedule", "cost"]

# Relative to an addition, for the choice of the number of threads and of what is kept
_COSTS = {"exp": 12, "expm1": 14, "tanh": 20, "sigmoid": 18, "log": 24, "log1p": 30, "softrelu": 45, "erf": 35,
          "div": 5, "sqrt": 5, "rsqrt": 8, "softsign": 7, "uniform": 20}  # fmt: skip
_KEPT = 8  # what costs at least this much is not computed twice


@final
@dataclass(frozen=True, slots=True)
class Segment:
    """What one function computes.

    inputs : the indices of the inputs it reads
    columns : those of them that are one number per row
    outputs : results written as whole arrays
    row_sums : results summed over rows, one row of sums per block of rows
    column_sums : results summed over columns, one number per row
    numbers : results that are one number per row: made of `total`, `peak`, `columns` and constants
    formats : the element type in memory of every operand (inputs, outputs, row_sums, column_sums, numbers), names of
        `memory.MEMORY`; empty: all are of the type that is computed in. row_sums always are
    fresh : whether row_sums overwrite; else they add to what memory holds

    Raises
    ------
    ArgumentError : formats do not fit; a number varies with the column
    """

    inputs: tuple[int, ...]
    columns: frozenset[int]
    outputs: tuple[Expr, ...]
    row_sums: tuple[Expr, ...] = ()
    column_sums: tuple[Expr, ...] = ()
    numbers: tuple[Expr, ...] = ()
    formats: tuple[str, ...] = ()
    fresh: bool = False

    def __post_init__(self) -> None:
        count = len(self.inputs) + len(self.results)
        if self.formats and (len(self.formats) != count or not MEMORY.keys() >= set(self.formats)):
            raise ArgumentError(explain("Segment", "The formats do not fit the operands.",
                                        expected=f"{count} of {', '.join(MEMORY)}", received=self.formats))  # fmt: skip
        self._check_seeds()
        if self.numbers:
            wide = varying(topological(self.numbers), self.columns)
            for number in self.numbers:
                if number in wide:
                    raise ArgumentError(explain("Segment", "A number per row varies with the column.",
                                                expected="totals, peaks, inputs that are one number per row",
                                                received=number))  # fmt: skip

    def _check_seeds(self) -> None:
        order = topological(self.results)
        seeds = {node.args[0] for node in order if node.op == "uniform"}
        if not seeds:
            return
        formats = dict(zip(self.inputs, self.formats))
        for seed in seeds:
            index = index_of(seed) or 0
            kind = formats.get(index)
            read = any(seed in node.args for node in order if node.op != "uniform") or seed in self.results
            if index not in self.columns or kind != "int64" or read:
                expected = "an int64, one number per row, that nothing else reads"
                raise ArgumentError(
                    explain("Segment", f"{seed} is no seed.", expected=expected, received=f"format {kind}")
                )

    @property
    def results(self) -> tuple[Expr, ...]:
        """All results, in the order of the operands."""
        return self.outputs + self.row_sums + self.column_sums + self.numbers

    @property
    def whole_rows(self) -> bool:
        """Whether blocks must hold whole rows (blocks_across 1)."""
        return bool(self.column_sums or self.numbers) or any(n.op in REDUCTIONS for n in topological(self.results))

    @property
    def flat(self) -> bool:
        """Whether rows that lie one behind the other may be taken for one long row."""
        return not (self.whole_rows or self.row_sums or self.columns & set(self.inputs)) and not any(
            node.op in POSITIONS for node in topological(self.results)
        )


def cost(segment: Segment) -> int:
    """Return about how many additions one element costs."""
    return sum(_COSTS.get(node.op, 1) for node in topological(segment.results))


@final
@dataclass(slots=True)
class Phase:
    """One loop over the columns of a row.

    before : nodes that are the same for the whole row and are computed before the loop, arguments first
    sums, peaks : reductions that the loop finds
    order : nodes that vary and are computed in the loop, arguments first
    writes : whether it is the last loop, which writes results
    """

    before: list[Expr] = field(default_factory=list[Expr])
    sums: list[Expr] = field(default_factory=list[Expr])
    peaks: list[Expr] = field(default_factory=list[Expr])
    order: list[Expr] = field(default_factory=list[Expr])
    writes: bool = False


@final
class Schedule:
    """The loops of a segment.

    phases : in order; the last one writes, if anything is written as an array
    after : nodes that are the same for the whole row and are left for the numbers
    first : nodes that vary -> number of the phase that computes them first
    kept : nodes that this phase keeps in a scratch row for others -> number of the scratch row
    """

    def __init__(self, segment: Segment) -> None:
        self.kept: dict[Expr, int] = {}
        self.first: dict[Expr, int] = {}
        self._order = topological(segment.results)
        self._wide = varying(self._order, segment.columns)
        self._placed: set[Expr] = set()  # nodes of the whole row that an earlier phase has
        levels = self._levels()
        looped = [n for n in self._order if n.op in REDUCTIONS and n.args[0] in self._wide]
        self.phases = [self._phase([n for n in looped if levels[n] == level], k)
                       for k, level in enumerate(sorted({levels[n] for n in looped}))]  # fmt: skip
        written = (*segment.outputs, *segment.row_sums, *segment.column_sums)
        if written:
            last = self._loop(written, len(self.phases))
            last.writes = True
            self.phases.append(last)
        self.after = self._same([*segment.numbers])

    def _levels(self) -> Mapping[Expr, int]:
        """Return how deep sums over the row are nested in each node."""
        levels: dict[Expr, int] = {}
        for node in self._order:
            level = max((levels[argument] for argument in node.args), default=0)
            levels[node] = level + (node.op in REDUCTIONS and node.args[0] in self._wide)
        return levels

    def _phase(self, reductions: Sequence[Expr], number: int) -> Phase:
        phase = self._loop([node.args[0] for node in reductions], number)
        phase.sums = [node for node in reductions if node.op == "total"]
        phase.peaks = [node for node in reductions if node.op == "peak"]
        self._placed.update(reductions)
        return phase

    def _loop(self, roots: Sequence[Expr], number: int) -> Phase:
        """Find what a loop computes, what it needs before, and what it can read from earlier loops."""
        phase, reached = Phase(), set[Expr]()
        edge: list[Expr] = []
        stack = list(roots)
        while stack:
            node = stack.pop()
            if node in reached:
                continue
            reached.add(node)
            if node not in self._wide:
                edge.append(node)
            elif node not in self.kept:
                if self.first.get(node, number) < number and self._weight(node) >= _KEPT:
                    self.kept[node] = len(self.kept)
                else:
                    stack.extend(node.args)
        phase.order = [node for node in self._order if node in reached and node in self._wide]
        phase.before = self._same(edge)
        for node in phase.order:
            self.first.setdefault(node, number)
        return phase

    def _weight(self, node: Expr) -> int:
        """What computing a node again would cost."""
        return sum(_COSTS.get(part.op, 1) for part in self._below(node) if part in self._wide)

    def _below(self, node: Expr) -> set[Expr]:
        found: set[Expr] = set()
        stack = [node]
        while stack:
            part = stack.pop()
            if part not in found:
                found.add(part)
                if part.op not in REDUCTIONS:
                    stack.extend(part.args)
        return found

    def _same(self, roots: Sequence[Expr]) -> list[Expr]:
        """Return what of the whole row is needed for nodes and not there yet, arguments first."""
        needed: set[Expr] = set()
        stack = list(roots)
        while stack:
            node = stack.pop()
            if node not in needed and node not in self._placed:
                needed.add(node)
                stack.extend(node.args)
        self._placed |= needed
        return [node for node in self._order if node in needed]
