"""Works: the recorded calls of one signature, as arrays.

The one idea: a queue's numbers are taken as they are, call after call, for the compiled planner reads them so; columns
(all calls' first arguments, …) are cut out when somebody asks for them: the planner's twin, the report, mode="check".

Not here: who writes queues (folder.py), and who gives calls as arrays (arrays.py).
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np

from .arena import spans
from .signature import Signature

__all__ = ["Work"]

Ints = Any  # arrays of int64


@final
class Work:
    """The recorded calls of one signature. Calls are numbered 0 … count-1 in the order of the program.

    ids : numbers of first results. children, rows : per call, where there are lists, and where rows differ; else None
    parts : what calls.h reads: (ids, references, children, lists or None, rows, single arguments, lists, results);
    without lists of their own, those of children lie behind those of single arguments, call after call
    """

    __slots__ = ("signature", "ids", "count", "children", "rows", "parts", "_columns", "_ends")

    def __init__(self, signature: Signature, ids: Ints, refs: Ints, children: Ints = None, lists: Any = None,
                 rows: Ints = None) -> None:
        self.signature, self.ids, self.count, self.children, self.rows = signature, ids, len(ids), children, rows
        plain, listed = signature.counts
        self.parts = ids, refs, children, lists, rows, plain, listed, len(signature.outputs)
        self._columns: tuple[Ints, Sequence[Ints]] | None = None
        self._ends: Any = None

    @classmethod
    def queued(cls, signature: Signature, queue: Any) -> Work:
        """Return the calls that a queue holds."""
        return cls(signature, _taken(queue.ids), _taken(queue.refs),
                   _taken(queue.children) if signature.counts[1] else None, None,
                   _taken(queue.rows) if signature.ragged else None)

    @classmethod
    def of(cls, signature: Signature, ids: Ints, fixed: Ints, children: Ints = None, lists: Sequence[Ints] = (),
           rows: Ints = None) -> Work:
        """Return calls given as arrays (see arrays.py), in the order of their ids.

        fixed : (calls, single arguments); children : (calls,); lists : per list argument, the references of all
        children; rows : (calls,), where the signature is ragged
        """
        return cls(signature, _whole(ids), _whole(fixed).reshape(-1), None if children is None else _whole(children),
                   None if children is None else tuple(map(_whole, lists)), None if rows is None else _whole(rows))

    @classmethod
    def merged(cls, parts: Sequence[Work]) -> Work:
        """Return the calls of several works of one signature as one, in the order of their ids."""
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        ids = np.concatenate([part.ids for part in parts])
        order = np.argsort(ids)
        rows = None if first.rows is None else np.concatenate([part.rows for part in parts])[order]
        fixed = np.concatenate([part.fixed for part in parts])[order]
        if first.children is None:
            return cls.of(first.signature, ids[order], fixed, rows=rows)
        children = np.concatenate([part.children for part in parts])
        picked = spans((np.cumsum(children) - children)[order], children[order])
        lists = [np.concatenate(refs)[picked] for refs in zip(*[part.lists for part in parts])]
        return cls.of(first.signature, ids[order], fixed, children[order], lists, rows)

    # -- columns -------------------------------------------------------------------------------------------------------
    @property
    def fixed(self) -> Ints:
        """References of single arguments, (calls, arguments)."""
        return self._cut()[0]

    @property
    def lists(self) -> Sequence[Ints]:
        """Per list argument, the references of all children."""
        return self._cut()[1]

    @property
    def ends(self) -> Ints:
        """Where the children of each call end; None where there are no lists."""
        if self._ends is None and self.children is not None:
            self._ends = np.cumsum(self.children)
        return self._ends

    def _cut(self) -> tuple[Ints, Sequence[Ints]]:
        if self._columns is None:
            _, refs, children, lists, _, plain, listed, _ = self.parts
            if children is None or lists is not None:
                self._columns = refs.reshape(self.count, plain), lists or ()
            else:
                lengths = plain + listed * children
                starts = np.cumsum(lengths) - lengths
                self._columns = refs[starts[:, None] + np.arange(plain)], [
                    refs[spans(starts + plain + j * children, children)] for j in range(listed)]
        return self._columns

    def references(self, argument: int, calls: Ints) -> Ints:
        """Return the references of one argument for some calls; for a list of children those of all children."""
        number = self.signature.numbers[argument]
        if not self.signature.arguments[argument].children:
            return self.fixed[calls, number]
        counts = self.children[calls]
        return self.lists[number][spans(self.ends[calls] - counts, counts)]

    def all_references(self) -> list[tuple[Ints, Ints]]:
        """Return (references, number of the call) pairs of all arguments, in order: lists of children come last."""
        own, fixed = np.arange(self.count), self.fixed
        pairs = [(fixed[:, i], own) for i in range(fixed.shape[1])]
        if self.children is not None:
            owner = np.repeat(own, self.children)
            pairs += [(refs, owner) for refs in self.lists]
        return pairs


def _taken(numbers: Any) -> Ints:
    """Return what was written into a queue: a list of numbers, or memory that holds them."""
    return np.array(numbers, np.int64) if type(numbers) is list else np.frombuffer(numbers, np.int64)


def _whole(numbers: Ints) -> Ints:
    return np.ascontiguousarray(numbers, np.int64)
