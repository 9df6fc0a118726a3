"""Equal calls are computed once: words that occur several times in a batch, and what is made of nothing but words.

The one idea: rows of an embedding are equal where their words are, so references to them can all be the first one's.
A call that reads only such rows, and arrays that were there before, is then equal to another one where its references
are; it is taken out, and its results become other names of the other one's. Values are the same and gradients add up,
for a gradient is linear in those of the results. What draws random numbers, or is a user's operator, stays as it is.

Not here: which groups the remaining calls form (schedule.py). mode="check" does without: it looks at every call.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ops.opdef import OpDef
from .arena import Store
from .future import OFFSET, OFFSET_MASK
from .signature import Signature
from .steps import Program
from .work import Work

__all__ = ["share", "repeatable"]

Ints = Any  # arrays of int64
_WORTH = 0.9  # more different calls than this part of all: taking the others out does not pay


def share(works: Sequence[Work], store: Store) -> tuple[list[Work], int]:
    """Leave out calls that are equal to others.

    Returns
    -------
    the works, some with fewer calls, and how many were left out
    """
    tables = [work for work in works if _is_table(work.signature) and work.count]
    if not tables:
        return [_renamed(work, store.origin) for work in works] if store.same is not None else list(works), 0
    rows = _Rows(tables, store)
    pending = np.zeros(len(store.rows), bool)  # values that this flush makes, of which nothing is known yet
    for work in works:
        if work not in tables:
            for result in range(len(work.signature.outputs)):
                pending[work.ids + result] = True
    left_out = 0
    found: list[Work] = []
    for work in works:
        if work in tables:
            found.append(work)
            continue
        named = work if store.same is None else _renamed(work, store.origin)
        made = _renamed(named, rows.first) if all(a.rows == 1 for a in work.signature.arguments) else named
        if made is not work and _pure(made.signature) and not pending[made.parts[1] >> OFFSET].any():
            made = _unique(made, store)
            left_out += work.count - made.count
            for result in range(len(work.signature.outputs)):
                pending[work.ids + result] = False
        found.append(made)
    if left_out:  # works that were looked at before those whose results they read
        found = [_renamed(work, store.origin) for work in found]
    return found, left_out


class _Rows:
    """The rows of embeddings: for each the first one that is equal to it."""

    def __init__(self, tables: Sequence[Work], store: Store) -> None:
        self._base = min(int(work.ids[0]) for work in tables)
        self._begins = np.full(max(int(work.ids[-1]) for work in tables) - self._base + 1, -1, np.int64)
        firsts: list[Ints] = []
        total = 0
        for work in tables:
            read = work.parts[1]
            starts = store.rows[read >> OFFSET] + (read & OFFSET_MASK)
            if (store.rows[read >> OFFSET] < 0).any():
                continue  # words that are computed themselves
            size = work.signature.arguments[0].rows
            sizes = np.full(work.count, size, np.int64) if work.rows is None else work.rows
            before = np.cumsum(sizes) - sizes
            count = int(sizes.sum())
            self._begins[work.ids - self._base] = total + before
            data = store.arena(work.signature.arguments[0].pool).data
            words = (data.double() if data.dtype.is_floating_point else data).numpy()[  # NumPy has no bfloat16
                np.repeat(starts - before, sizes) + np.arange(count)]
            _, places, inverse = np.unique(words, return_index=True, return_inverse=True)
            refs = np.repeat((work.ids << OFFSET) - before, sizes) + np.arange(count)
            firsts.append(refs[places][inverse.reshape(-1)])
            total += count
        self._firsts = np.concatenate(firsts) if firsts else np.empty(0, np.int64)

    def first(self, refs: Ints) -> Ints:
        """Return the references with those to rows of embeddings replaced; the same array where there are none."""
        values = (refs >> OFFSET) - self._base
        inside = (values >= 0) & (values < len(self._begins))
        begins = self._begins[values[inside]]
        inside[inside] = begins >= 0
        if not inside.any():
            return refs
        made = refs.copy()
        made[inside] = self._firsts[begins[begins >= 0] + (refs[inside] & OFFSET_MASK)]
        return made


def _is_table(signature: Signature) -> bool:
    """Whether calls look rows of a weight up, by numbers that are rows themselves."""
    steps, arguments = signature.program.steps, signature.arguments
    if len(steps) != 1 or len(arguments) != 1 or not isinstance(steps[0].op, OpDef) or steps[0].op.name != "Embedding":
        return False
    return (signature.program.results == steps[0].outputs[:1] and arguments[0].pool.rest == ()
            and arguments[0].rows == signature.outputs[0].rows and arguments[0].pool.ctx.device_type == "cpu")


def _pure(signature: Signature) -> bool:
    """Whether equal arguments give equal results, and a call reads one row for each argument."""
    known = signature.compiled.get("pure")
    if known is None:
        known = signature.compiled["pure"] = (not signature.counts[1] and not signature.ragged
                                              and repeatable(signature.program, signature.training))
    return bool(known)


def repeatable(program: Program, training: bool = True) -> bool:
    """Whether equal arguments give equal results, however often it is run."""
    return all(isinstance(step.op, OpDef) and not step.op.mutates and step.op.name != "Custom"
               and not (step.op.random and (training or not step.op.takes_training
                                            or step.attrs.get("mode") == "always"))
               for step in program.steps)


def _renamed(work: Work, rename: Callable[[Ints], Ints]) -> Work:
    """Return the calls with other references; the same work where nothing changes."""
    ids, refs, children, lists, rows, *_ = work.parts
    new = rename(refs)
    new_lists = None if lists is None else tuple(map(rename, lists))
    if new is refs and (lists is None or all(a is b for a, b in zip(lists, new_lists or ()))):
        return work
    return Work(work.signature, ids, new, children, new_lists, rows)


def _unique(work: Work, store: Store) -> Work:
    """Return the different calls; the others' results become names of theirs."""
    columns = work.fixed
    order = np.lexsort(columns.T[::-1])  # stable: of equal calls the first one comes first
    ordered = columns[order]
    new = np.empty(work.count, bool)
    new[:1] = True
    new[1:] = (ordered[1:] != ordered[:-1]).any(1)
    if np.count_nonzero(new) > _WORTH * work.count:
        return work
    leaders = order[new]
    leader = np.empty(work.count, np.int64)
    leader[order] = leaders[np.cumsum(new) - 1]
    kept = np.sort(leaders)
    others = np.flatnonzero(leader != np.arange(work.count))
    for result in range(len(work.signature.outputs)):
        store.rename(work.ids[others] + result, work.ids[leader[others]] + result)
    return Work(work.signature, work.ids[kept], np.ascontiguousarray(columns[kept]).reshape(-1))
