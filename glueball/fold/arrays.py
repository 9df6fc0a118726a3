"""Calls given as arrays: a structure's index arrays become the works of a flush, with no Python per node.

The one idea: where all calls of a cell are known beforehand, their numbers, references and children follow from the
structure by arithmetic on arrays. The structure itself (who reads whom), and the groups in which its calls run, depend
on the index arrays only; both are remembered for structures that come again.

Not here: the functions that users call, and what is wrong with their arguments (structure.py).
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, final

import numpy as np

from ..base.errors import MXNetError, ShapeError, TraceError, UnsupportedError, explain
from ..gluon.hybrid import HybridBlock, structural_changes
from ..gluon.rnn.rnn_cell import RecurrentCell
from ..ndarray.ndarray import NDArray, from_torch
from ..ops.opdef import TensorType
from .arena import spans
from .folder import Folder
from .future import OFFSET, Future
from .kinds import NO_CHILDREN, Kind, kind_of
from .schedule import Planned, schedule
from .signature import Argument, Call, Output, Signature
from .steps import Program
from .switch import add_note
from .units import Unit, is_unit
from .work import Work

__all__ = ["Nodes", "Steps", "Rows", "nodes_of_edges", "nodes_of_parents", "steps_of", "record_nodes", "record_steps",
           "run", "unit_of", "cycle_of", "joined_later", "joined_now", "joined_rows"]

Ints = Any  # arrays of int64

REMEMBERED = 64  # structures, and as many plans at most for each of them


@final
@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of arrays from which calls read: the reference of each, and the kind that one of them has by itself."""

    refs: Ints
    kind: Kind


@final
@dataclass(frozen=True, slots=True)
class Members:
    """Some nodes of a structure: their numbers, how many others each reads, and those, node after node."""

    own: Ints
    counts: Ints
    read: Ints


@final
@dataclass(eq=False, slots=True)
class Nodes:
    """Who reads whom: node i reads the nodes `read[ends[i] - counts[i]:ends[i]]`.

    cycle : nodes that read each other in a ring, where there is one; plans : groups found before, see `run`
    """

    counts: Ints
    read: Ints
    cycle: list[int]
    ends: Ints = field(init=False)
    sizes: list[int] = field(init=False)
    plans: dict[Any, Planned] = field(default_factory=dict)
    _members: dict[tuple[int, ...], Members] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ends = np.cumsum(self.counts)
        self.sizes = np.flatnonzero(np.bincount(self.counts)).tolist()

    def members(self, sizes: tuple[int, ...]) -> Members:
        """Return the nodes that read so many others."""
        found = self._members.get(sizes)
        if found is None:
            wanted = np.zeros(self.sizes[-1] + 1, dtype=bool)
            wanted[list(sizes)] = True
            own = np.flatnonzero(wanted[self.counts])
            counts = self.counts[own]
            found = self._members[sizes] = Members(own, counts, self.read[spans(self.ends[own] - counts, counts)])
        return found


@final
@dataclass(eq=False, slots=True)
class Steps:
    """Sequences: step t follows step `before[t]`, or begins the sequence `owner[t]` where that is -1; `last`: the
    final step of each sequence, -1 where it has none.
    """

    before: Ints
    owner: Ints
    last: Ints
    plans: dict[Any, Planned] = field(default_factory=dict)


# -- structures from index arrays --------------------------------------------------------------------------------------
@lru_cache(maxsize=REMEMBERED)
def nodes_of_parents(parents: bytes) -> Nodes:
    """Return the structure of a forest; `parents`: the bytes of int64 numbers, -1 for roots."""
    above = np.frombuffer(parents, np.int64)
    count = len(above)
    inner = above >= 0
    read = np.argsort(above, kind="stable")[count - int(inner.sum()):]
    reached = np.append(np.where(inner, above, count), count)
    for _ in range(count.bit_length()):
        reached = reached[reached]  # the ancestor twice as far away; `count` stands above all roots
    lost = np.flatnonzero(reached != count)
    cycle = cycle_of(above, int(lost[0])) if len(lost) else []
    return Nodes(np.bincount(above[inner], minlength=count), read, cycle)


@lru_cache(maxsize=REMEMBERED)
def nodes_of_edges(count: int, edges: bytes) -> Nodes:
    """Return the structure of a graph; `edges`: the bytes of (edges, 2) int64 numbers, each (read, reader)."""
    pairs = np.frombuffer(edges, np.int64).reshape(-1, 2)
    pairs = pairs[np.argsort(pairs[:, 1], kind="stable")]
    made = Nodes(np.bincount(pairs[:, 1], minlength=count), pairs[:, 0], [])
    waiting = made.counts.copy()
    readers = pairs[np.argsort(pairs[:, 0], kind="stable"), 1]
    degree = np.bincount(pairs[:, 0], minlength=count)
    first = np.cumsum(degree) - degree
    free = np.flatnonzero(waiting == 0)
    while len(free):
        hit, times = np.unique(readers[spans(first[free], degree[free])], return_counts=True)
        waiting[hit] -= times
        free = hit[waiting[hit] == 0]
    stuck = waiting > 0
    if stuck.any():
        inside = stuck[pairs[:, 0]] & stuck[pairs[:, 1]]
        above = np.full(count, -1, np.int64)
        above[pairs[inside, 1]] = pairs[inside, 0]
        made.cycle = cycle_of(above, int(np.flatnonzero(stuck)[0]))[::-1]
    return made


def cycle_of(above: Ints, start: int) -> list[int]:
    """Return the nodes of the ring that the path from `start` runs into, its first node at the end again.

    >>> cycle_of(np.array([1, 2, 1]), 0)
    [1, 2, 1]
    """
    path: dict[int, None] = {}
    while start not in path:
        path[start] = None
        start = int(above[start])
    ring = list(path)
    return [*ring[ring.index(start):], start]


@lru_cache(maxsize=REMEMBERED)
def steps_of(lengths: bytes, reverse: bool) -> Steps:
    """Return the structure of sequences that lie one after the other; `lengths`: the bytes of int64 numbers."""
    sizes = np.frombuffer(lengths, np.int64)
    ends = np.cumsum(sizes)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    before = np.arange(len(owner)) + (1 if reverse else -1)
    some = sizes > 0
    first, last = (ends - 1, ends - sizes) if reverse else (ends - sizes, ends - 1)
    before[first[some]] = -1
    return Steps(before, owner, np.where(some, last, -1))


# -- calls of the cell -------------------------------------------------------------------------------------------------
def unit_of(block: HybridBlock) -> Unit:
    """Return what is known of a cell as one unit; a block that is not hybridized is one here nevertheless."""
    held = block.__dict__
    if is_unit(block):
        unit = held["_fold_unit"]
        if unit is None or unit.changes != structural_changes() or unit.hybridized is not block._active:
            unit = held["_fold_unit"] = Unit(block)
        return unit
    look = _look(block)  # nothing tells when such a block changes: it is compared
    known = held.get("_fold_whole")
    if known is None or len(known[0]) != len(look) or not all(map(_same, known[0], look)):
        known = held["_fold_whole"] = (look, Unit(block))
    return known[1]


_PASSING = frozenset({"_counter", "_init_counter", "_cached", "_fold_unit", "_fold_whole", "_prev_output", "_masks"})


def _look(block: Any) -> list[Any]:
    """Return all that a trace of a block may depend on."""
    found: list[Any] = []
    for key, value in block.__dict__.items():
        if key in _PASSING:
            continue
        found += [key, value]
        if key == "_children":
            for child in value.values():
                found += _look(child)
        elif isinstance(value, dict):
            found += value.values()
        elif isinstance(value, (list, tuple)):
            found += [type(value)(value)]
    return found


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if type(a) in (list, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) in (int, float, str, bool) and a == b


def _call(unit: Unit, folder: Folder, args: Sequence[Any], children: int, where: str) -> Call:
    """Return the call of a cell for arguments like these; lists in them have `children` values each, or none."""
    parts = [*folder.modes(), *[a.kind if isinstance(a, Future) else a[0].kind.children if a else NO_CHILDREN
                                for a in args]]

    def found() -> Call:
        call = unit.calls.get(tuple(parts))
        if call is None:
            call = unit.calls[tuple(parts)] = unit.build(folder, args, parts, children)
        if call.sizes is not None and children not in call.sizes:
            call = unit.other_size(folder, call, args, parts, children)
        return call

    return _guarded(unit, where, found)


def _guarded(unit: Unit, where: str, find: Callable[[], Call]) -> Call:
    """Return what `find` does; errors of the cell say where it was called."""
    if isinstance(unit.block, RecurrentCell):
        unit.block.reset()  # what a trace left there is of that trace
    try:
        call = find()
    except TraceError as error:
        raise _untraceable(unit, where, str(error).splitlines()[0]) from error
    except Exception as error:
        add_note(error, f"{where}: raised by the cell {unit.block.name!r}")
        raise
    if call is unit.not_one:
        raise _untraceable(unit, where, unit.refused or "it cannot be traced")
    return call


def _untraceable(unit: Unit, where: str, why: str) -> MXNetError:
    return UnsupportedError(explain(where, "The cell cannot run as one unit for many nodes at once.", received=why,
                                    expected="hybrid_forward that computes without looking at values",
                                    fix="write the recursion as a function of one sample and run it with "
                                        "fold.map(fn, samples), where values can be read"))


def _sample(folder: Folder, kind: Kind) -> Future:
    """Return a value of a kind, of which only the kind will be looked at."""
    return Future.make(folder, 0, kind)


def record_nodes(folder: Folder, cell: HybridBlock, lists: int | None, x: Rows, nodes: Nodes,
                 where: str) -> tuple[list[Rows], Any, Any]:
    """Write down a cell's calls for all nodes; return, per state, the rows of all nodes; how the cell puts its states
    together; and the key for `run`.

    lists : how many lists of states the cell takes, where that is known
    """
    form = _form_of(folder, cell, lists, x.kind, nodes, where)
    base, width, total = folder.next, len(form.leaf.kinds), len(nodes.counts)
    folder.next += total * width
    by_signature: dict[Signature, list[int]] = {}
    for size in nodes.sizes:
        by_signature.setdefault(form.calls[size].signature, []).append(size)
    for signature, sizes in by_signature.items():
        folder.add_arrays(_work_of_nodes(signature, nodes.members(tuple(sizes)), x, base, width))
    firsts = base + width * np.arange(total)
    states = [Rows((firsts + state) << OFFSET, kind) for state, kind in enumerate(form.leaf.kinds)]
    listed = tuple(any(a.children for a in signature.arguments) for signature in by_signature)
    return states, form.leaf.structure, (tuple(map(tuple, by_signature.values())), listed, width)


def _form_of(folder: Folder, cell: HybridBlock, lists: int | None, kind: Kind, nodes: Nodes, where: str) -> _Form:
    """Return the calls of a cell for all numbers of nodes read that there are, checked against each other."""
    unit = unit_of(cell)
    key = ("nodes", *folder.modes(), kind, lists)
    form: _Form | None = unit.forms.get(key)
    given = _sample(folder, kind)
    if form is None:
        leaf = _call(unit, folder, [given, *[[]] * (lists or 1)], 0, where)
        if lists is None and len(leaf.kinds) != 1:
            leaf = _call(unit, folder, [given, *[[]] * len(leaf.kinds)], 0, where)
        if lists is not None and lists != len(leaf.kinds):
            raise ShapeError(explain(where, "A cell takes as many lists of its children's states as it returns states.",
                                     expected=f"{lists} states, because {cell.name} takes {lists} lists",
                                     received=f"{len(leaf.kinds)} states",
                                     fix="write hybrid_forward(self, F, x, hs, cs) for a cell that returns (h, c)"))
        form = unit.forms[key] = _Form(leaf, {0: leaf})
    kinds = form.leaf.kinds
    for size in nodes.sizes:
        if size in form.calls:
            continue
        call = _call(unit, folder, [given, *[[_sample(folder, k)] * size for k in kinds]], size, where)
        if len(call.kinds) != len(kinds) or any(a is not b for a, b in zip(call.kinds, kinds)):
            raise ShapeError(explain(where, "A cell must return states of the same shapes for every node.",
                                     expected=f"{[k.shape for k in kinds]}, as for nodes that read no others",
                                     received=f"{[k.shape for k in call.kinds]} for nodes that read {size}, such as "
                                              f"node {int(np.flatnonzero(nodes.counts == size)[0])}",
                                     fix="bring what is read to one shape, such as by F.add_n or a Dense layer"))
        form.calls[size] = call
    return form


@final
@dataclass(frozen=True, slots=True)
class _Form:
    """The calls of a cell by the number of nodes read; `leaf`: for none."""

    leaf: Call
    calls: dict[int, Call]


def _work_of_nodes(signature: Signature, members: Members, x: Rows, base: int, width: int) -> Work:
    """Return the calls of one signature for some nodes."""
    ids, words = base + members.own * width, x.refs[members.own][:, None]
    read = base + members.read * width
    if any(a.children for a in signature.arguments):
        return Work.of(signature, ids, words, members.counts, [(read + state) << OFFSET for state in range(width)])
    read = read.reshape(len(ids), -1)  # a cell for a fixed number of nodes takes each by itself
    return Work.of(signature, ids, np.concatenate([words, *[(read + state) << OFFSET for state in range(width)]], 1))


def record_steps(folder: Folder, cell: HybridBlock, x: Rows, states: Sequence[Rows], steps: Steps,
                 where: str) -> tuple[Rows, list[Rows]]:
    """Write down a recurrent cell's calls for all steps; return the rows of all outputs and the final states.

    states : per state, the rows to start with, one per sequence
    """
    call = _call_of_step(folder, cell, x, states, where)
    kinds = call.kinds
    base, width, total = folder.next, len(kinds), len(steps.before)
    folder.next += total * width
    begins = steps.before < 0
    columns = [x.refs]
    for state, rows in enumerate(states):
        made = (base + steps.before * width + 1 + state) << OFFSET
        columns.append(np.where(begins, rows.refs[steps.owner], made))
    folder.add_arrays(Work.of(call.signature, base + width * np.arange(total), np.stack(columns, 1)))
    finals = [Rows(np.where(steps.last < 0, rows.refs, (base + steps.last * width + 1 + state) << OFFSET), rows.kind)
              for state, rows in enumerate(states)]
    return Rows((base + width * np.arange(total)) << OFFSET, kinds[0]), finals


def _call_of_step(folder: Folder, cell: HybridBlock, x: Rows, states: Sequence[Rows], where: str) -> Call:
    unit = unit_of(cell)
    key = ("step", *folder.modes(), x.kind, *[rows.kind for rows in states])
    given = [_sample(folder, x.kind), [_sample(folder, rows.kind) for rows in states]]

    def found() -> Call:
        call = unit.calls.get(key)
        if call is None:
            call = unit.calls[key] = unit.plain(folder, given, folder.modes())
        return call

    call = _guarded(unit, where, found)
    width = len(states)
    structure: Any = call.structure if isinstance(call.structure, tuple) else ()
    states_structure = ("*",) * width
    fitting = len(structure) == 3 and structure[1] == "*" and (
        structure[2] in (("list", *states_structure), ("tuple", *states_structure)))
    if not fitting:
        raise ShapeError(explain(where, "A recurrent cell returns its output and a list of new states.",
                                 expected=f"(output, [{width} states])",
                                 received=f"{len(call.kinds)} arrays, put together as {call.structure or 'one array'}",
                                 fix="return out, [state, ...] with as many states as it is given"))
    for rows, kind in zip(states, call.kinds[1:]):
        if kind is not rows.kind:
            raise ShapeError(explain(where, "A cell's new states must have the shapes of those that it is given.",
                                     expected=repr([rows.kind for rows in states]),
                                     received=repr(list(call.kinds[1:])),
                                     fix="give first states of that shape and type, or mend what the cell returns"))
    return call


# -- results -----------------------------------------------------------------------------------------------------------
_joins: dict[tuple[Any, int, bool], Signature] = {}


def joined_later(folder: Folder, made: Rows, sizes: Sequence[int] | None) -> Any:
    """Return values, one after the other, as one array to come, or as arrays of `sizes` values each."""
    kind = made.kind
    counts = np.array([len(made.refs)] if sizes is None else sizes, np.int64)
    pool, recording = kind.pool, folder.modes()[0]
    signature = _joins.get((pool, kind.rows, recording))
    if signature is None:
        program = Program((TensorType((kind.rows, *pool.rest), kind.dtype),), ("edge",), (0,), (), (), (0,))
        signature = _joins[pool, kind.rows, recording] = Signature(
            "rows of a result", program, (Argument(pool, kind.rows, children=True),), (Output(pool, 0),), (), False,
            recording, True, "")
    rows = counts * kind.rows
    ids = folder.next + np.arange(len(counts))
    folder.next += len(counts)
    folder.add_arrays(Work.of(signature, ids, np.empty((len(counts), 0), np.int64), counts, [made.refs], rows))
    futures = [Future.make(folder, int(number) << OFFSET, _kind_of_joined(kind, int(size)))
               for number, size in zip(ids, rows)]
    return futures[0] if sizes is None else futures


def joined_now(folder: Folder, made: Rows, sizes: Sequence[int] | None) -> Any:
    """Return values that have been computed as one array, or as arrays of `sizes` values each."""
    def array(refs: Ints) -> NDArray:
        kind = _kind_of_joined(made.kind, len(refs) * made.kind.rows)
        return from_torch(folder.engine.joined(refs, made.kind).reshape(kind.shape), kind.ctx)

    if sizes is None:
        return array(made.refs)
    ends = np.cumsum(sizes)
    return [array(made.refs[end - size:end]) for size, end in zip(sizes, ends)]


def _kind_of_joined(kind: Kind, rows: int) -> Kind:
    rest = kind.shape[1:] if len(kind.shape) >= 2 else kind.shape
    return kind_of(kind.ctx, kind.dtype, (rows, *rest), not rest)


def joined_rows(folder: Folder, values: Sequence[Future]) -> Any:
    """Return values of one kind joined along their first axis, as one array."""
    kind = values[0].kind
    made = joined_later(folder, Rows(np.array([value.ref for value in values], np.int64), kind), None)
    return made.reshape((-1,)) if len(kind.shape) == 1 else made


# -- running -----------------------------------------------------------------------------------------------------------
def run(folder: Folder, plans: dict[Any, Planned], key: Any) -> None:
    """Run what was recorded, which is calls of one structure only, in the groups found for it before.

    key : what the groups depend on besides the structure: which calls share a signature
    """
    def plan(works: Sequence[Work], values: int) -> Planned:
        found = plans.get(key)
        if found is None:
            found = schedule(works, values)
            if len(plans) >= REMEMBERED:
                plans.clear()
            plans[key] = found
        return found

    folder.engine.flush("the scope ends", plan)
