"""`fold.tree`, `fold.dag` and `fold.scan`: structure given as index arrays, with no Python per node.

The one idea: a batch of trees, graphs or sequences that a data loader gives as arrays of numbers need not be walked in
Python: one call runs the cell on all nodes, level by level, in the groups that recording each call would have led to.
Inside a scope the results are futures and batch with everything else; outside they are plain arrays.

Not here: how arrays become calls (arrays.py).
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, final

import numpy as np

from .. import ndarray as nd
from ..base.errors import ArgumentError, ShapeError, UnsupportedError, explain
from ..base.tree import flatten, unflatten
from ..gluon.block import Block
from ..gluon.contrib.rnn import VariationalDropoutCell
from ..gluon.hybrid import HybridBlock
from ..gluon.rnn import BidirectionalCell, RecurrentCell, ZoneoutCell
from ..ndarray.creation import own_zeros
from ..ndarray.ndarray import NDArray, to_array
from ..symbol.symbol import Symbol
from .arrays import (
    Nodes,
    Rows,
    joined_later,
    joined_now,
    nodes_of_edges,
    nodes_of_parents,
    record_nodes,
    record_steps,
    run,
    steps_of,
)
from .folder import Folder
from .future import OFFSET_MASK
from .scope import batching, current_folder

__all__ = ["tree", "dag", "scan"]

Ints = Any  # arrays of int64


def tree(cell: HybridBlock, x: Any, parents: Any) -> Any:
    """Run a cell on all nodes of a forest, children before their parents.

    Node i computes ``cell(x[i:i+1], [h of its children], [c of its children], ...)``, as recursive code would, with one
    list per state that the cell returns; leaves get empty lists. Children are in the order of their numbers. The cell
    is compiled for this whether or not it is hybridized.

    Parameters
    ----------
    cell
        A HybridBlock that returns one state or a tuple or list of them, each (1, ...) or a vector.
    x
        (nodes, ...), a row for each node of all trees; vectors, such as word numbers, give each node an array (1,).
        Or a list of such arrays, one per tree.
    parents
        (nodes,) whole numbers: the parent of each node, -1 for roots; nodes in any order. Where `x` is a list, a list
        of such arrays, whose numbers count within their tree.

    Returns
    -------
    The states of all nodes in the order of `x`, (nodes, ...) each, put together as the cell returns them. Where `x` is
    a list, each is a list of arrays, one per tree.

    Raises
    ------
    ArgumentError
        When nodes are their own ancestors, parents are out of range or no whole numbers.
    ShapeError
        When sizes do not fit together.
    UnsupportedError
        When the cell cannot run as one unit.

    >>> from glueball import fold, gluon, nd
    >>> class Sum(gluon.HybridBlock):
    ...     def hybrid_forward(self, F, x, children):
    ...         return F.add_n(x, *children)
    >>> numbers = nd.array([[1], [10], [100], [1000]])
    >>> fold.tree(Sum(), numbers, [2, 2, -1, 1]).asnumpy().ravel().tolist()
    [1.0, 1010.0, 1111.0, 1000.0]
    """
    return _graph("fold.tree", cell, x, parents, _of_parents)


def dag(cell: HybridBlock, x: Any, edges: Any) -> Any:
    """Run a cell on all nodes of directed graphs without cycles, each after the nodes that it reads.

    Node i computes ``cell(x[i:i+1], [h of the nodes it reads], [c of them], ...)``, with one list per state that the
    cell returns, in the order of the edges.

    Parameters
    ----------
    cell
        A HybridBlock that returns one state or a tuple or list of them, each (1, ...) or a vector.
    x
        (nodes, ...), a row for each node. Or a list of such arrays, one per graph.
    edges
        (edges, 2) whole numbers: (from, to), where `to` reads `from`; the same edge twice is read twice. Where `x` is a
        list, a list of such arrays, whose numbers count within their graph.

    Returns
    -------
    The states of all nodes in the order of `x`, as `tree` returns them.

    Raises
    ------
    ArgumentError
        When edges form a cycle, are out of range or no whole numbers.
    ShapeError
        When sizes do not fit together.
    UnsupportedError
        When the cell cannot run as one unit.

    >>> from glueball import fold, gluon, nd
    >>> class Paths(gluon.HybridBlock):
    ...     def hybrid_forward(self, F, x, before):
    ...         return F.add_n(*before) if before else x
    >>> diamond = [(0, 1), (0, 2), (1, 3), (2, 3)]
    >>> fold.dag(Paths(), nd.ones((4, 1)), diamond).asnumpy().ravel().tolist()
    [1.0, 1.0, 1.0, 2.0]
    """
    return _graph("fold.dag", cell, x, edges, _of_edges)


def scan(cell: HybridBlock, x: Any, lengths: Any = None, state: Any = None, reverse: bool = False) -> Any:
    """Run a recurrent cell over sequences of different lengths, without padding.

    Step t of a sequence computes ``out, states = cell(x[t:t+1], states)``, as cells of `gluon.rnn` do.

    Parameters
    ----------
    cell
        A HybridBlock called that way. Cells of `gluon.rnn` make their own first states.
    x
        (steps, ...), the rows of all sequences one after the other; or a list of such arrays, one per sequence.
    lengths
        (sequences,) whole numbers that add up to the steps; 0 is allowed. None: `x` is one sequence, or a list.
    state
        First states, a list of (sequences, ...); or one array for a cell of one state. None: ``cell.begin_state``.
    reverse
        Whether to go from the last step of each sequence to its first. Outputs keep the order of `x`.

    Returns
    -------
    outs, states
        outs : (steps, ...), or a list of such arrays where `x` is one; states : a list of (sequences, ...), the states
        after the last step that was run, or the first ones where a sequence is empty

    Raises
    ------
    ArgumentError
        When lengths are no whole numbers of at least 0, or there are no first states.
    ShapeError
        When sizes do not fit together.
    UnsupportedError
        When the cell cannot run as one unit, or keeps values from step to step beside its states.

    >>> from glueball import fold, gluon, nd
    >>> cell = gluon.rnn.LSTMCell(4); cell.initialize()
    >>> outs, (h, c) = fold.scan(cell, nd.ones((5, 3)), [2, 0, 3])
    >>> outs.shape, h.shape, bool((outs[4] == h[2]).asnumpy().all())
    ((5, 4), (3, 4), True)
    """
    where = "fold.scan"
    _check_cell(where, cell, "cell(x, states) -> (out, states)")
    _check_steps(where, cell)
    given = _Given(where, x)
    sizes = _lengths(where, given, lengths)
    first = None if state is None else [_array(where, s, "state") for s in
                                        (state if isinstance(state, (list, tuple)) else [state])]
    for number, array in enumerate(first or ()):
        if array.ndim < 1 or array.shape[0] != len(sizes):
            raise ShapeError(explain(where, "A first state has one row per sequence.",
                                     expected=f"state[{number}] of shape ({len(sizes)}, ...)", received=array.shape,
                                     fix="nd.repeat one row, or nd.concat the rows of all, along axis 0"))

    def record(folder: Folder) -> tuple[Any, Any, Any]:
        steps = steps_of(sizes.tobytes(), bool(reverse))
        states = [_rows_of_states(folder, array, len(sizes))
                  for array in (first if first is not None else _begin(where, cell, given, 1))]
        outs, finals = record_steps(folder, cell, given.rows(folder), states, steps, where)
        return (_Result(outs, given.sizes), [_Result(rows, None) for rows in finals]), steps.plans, None

    def step_by_step() -> Any:
        return _scan_by_hand(cell, given, sizes, first or _begin(where, cell, given, len(sizes)), reverse)

    return _evaluated(record, step_by_step)


# -- running -----------------------------------------------------------------------------------------------------------
@final
@dataclass(frozen=True, slots=True)
class _Result:
    """Rows to be joined into one array, or into arrays of `sizes` rows."""

    rows: Rows
    sizes: list[int] | None


def _evaluated(record: Callable[[Folder], tuple[Any, Any, Any]], by_hand: Callable[[], Any]) -> Any:
    """Record in the scope there is, or in one of its own and read the results; call by call where folding is off."""
    folder = current_folder()
    join = joined_later
    if folder is not None:
        results = record(folder)[0]
    else:
        with batching():
            folder = current_folder()
            if folder is None:
                return by_hand()
            results, plans, key = record(folder)
            run(folder, plans, key)
        join = joined_now
    found, structure = flatten(results, _Result)
    return unflatten(structure, [join(folder, result.rows, result.sizes) for result in found])


def _graph(where: str, cell: Any, x: Any, numbers: Any, structure_of: Callable[[str, _Given, Any], Nodes]) -> Any:
    """Run a cell on the nodes of trees or graphs."""
    _check_cell(where, cell, "cell(x, [states of others], ...) -> states")
    given = _Given(where, x)
    nodes = structure_of(where, given, numbers)
    if nodes.cycle:
        ring = " -> ".join(map(str, nodes.cycle if len(nodes.cycle) < 12 else [*nodes.cycle[:10], "...",
                                                                              nodes.cycle[-1]]))
        raise ArgumentError(explain(where, "Nodes wait for each other in a ring.", expected="no cycles",
                                    received=f"{ring}{given.place(nodes.cycle[0])}",
                                    fix="take one of these edges out; a root has no parent: -1 for fold.tree"))
    lists = _lists_taken(cell)

    def record(folder: Folder) -> tuple[Any, Any, Any]:
        states, structure, key = record_nodes(folder, cell, lists, given.rows(folder), nodes, where)
        return _put_together(structure, [_Result(rows, given.sizes) for rows in states]), nodes.plans, key

    return _evaluated(record, lambda: _graph_by_hand(cell, given, nodes, lists))


def _put_together(structure: Any, states: Sequence[Any]) -> Any:
    if structure is None:
        return states[0]
    if isinstance(structure, str):
        return tuple(states) if structure == "tuple" else list(states)
    return unflatten(structure, states)


# -- what users give ---------------------------------------------------------------------------------------------------
@final
class _Given:
    """The rows that a user gives: one array for all nodes, or one per tree.

    sizes : nodes per tree, where there is a list; total : all nodes
    """

    def __init__(self, where: str, x: Any) -> None:
        self.where = where
        listed = isinstance(x, (list, tuple))
        self.arrays = [_array(where, part, f"x[{i}]" if listed else "x") for i, part in enumerate(x if listed else [x])]
        for i, array in enumerate(self.arrays):
            if array.ndim < 1:
                raise ShapeError(explain(where, "Every node has a row of its own.", expected="x of shape (nodes, ...)",
                                         received="an array without axes",
                                         fix="x.reshape((1,)) for a single node that is a number"))
            first = self.arrays[0]
            if array.shape[1:] != first.shape[1:] or array.dtype != first.dtype or array.context != first.context:
                raise ShapeError(explain(
                    where, "Rows must be of the same shape, element type and device in all arrays.",
                    expected=f"(nodes{''.join(f', {s}' for s in first.shape[1:])}) {first.dtype_name} on "
                             f"{first.context}, as x[0]",
                    received=f"x[{i}]: {array.shape} {array.dtype_name} on {array.context}",
                    fix="bring them to one form first: reshape, astype or as_in_context"))
        if listed and not self.arrays:
            raise ArgumentError(explain(where, "There is no array in the list, so the shape of a row is not known.",
                                        expected="at least one array", received="[]",
                                        fix="skip empty batches, or give one array of shape (0, ...)"))
        self.vectors = self.arrays[0].ndim == 1  # each number then is a node's array (1,)
        if self.vectors:
            self.arrays = [array.reshape((-1, 1)) for array in self.arrays]
        self.each = [array.shape[0] for array in self.arrays]
        self.sizes = self.each if listed else None
        self.total = sum(self.each)

    def rows(self, folder: Folder) -> Rows:
        """Return references to the rows of all nodes."""
        refs: list[Any] = []
        kind: Any = None
        for array, size in zip(self.arrays, self.each):
            ref, whole = folder.reference(array)
            kind = whole.part(-1 if self.vectors else 1) if kind is None else kind
            if (ref & OFFSET_MASK) + size > OFFSET_MASK:
                raise UnsupportedError(explain(self.where, "One array holds the rows of too many nodes.",
                                               expected=f"at most {OFFSET_MASK} rows", received=size,
                                               fix="give a list of arrays, one per tree"))
            refs.append(ref + np.arange(size))
        return Rows(np.concatenate(refs), kind)

    def row(self, number: int) -> NDArray:
        """Return the row of one node as the cell sees it."""
        for array, size in zip(self.arrays, self.each):
            if number < size:
                return array[number] if self.vectors else array[number:number + 1]
            number -= size
        raise IndexError(number)

    def empty_row(self) -> NDArray:
        """Return a row of zeros."""
        first = self.arrays[0]
        shape = first.shape[1:] if self.vectors else (1, *first.shape[1:])
        return own_zeros(shape, first.context, first.dtype)

    def place(self, number: int) -> str:
        """Return in which tree a node is."""
        if self.sizes is None:
            return ""
        ends = np.cumsum(self.each)
        tree_number = int(np.searchsorted(ends, number, side="right"))
        return f" (x[{tree_number}] begins with node {int(ends[tree_number] - self.each[tree_number])} of all)"


def _array(where: str, value: Any, name: str) -> NDArray:
    if isinstance(value, Symbol):
        raise UnsupportedError(explain(where, "Structure is data, so it cannot be part of a traced network.",
                                       expected="arrays", received=f"{name}: a symbol",
                                       fix="call it in a gluon.Block, or do not hybridize the block around it"))
    return to_array(value)


def _whole(where: str, values: Any, name: str, ndim: int) -> Ints:
    """Return whole numbers as int64."""
    found: Any = values.asnumpy() if isinstance(values, NDArray) else np.asarray(values)
    if not found.size:
        found = found.reshape((0, 2) if ndim == 2 else (0,)).astype(np.int64)
    if found.ndim != ndim or (ndim == 2 and found.shape[1] != 2):
        raise ShapeError(explain(where, f"`{name}` has the wrong shape.",
                                 expected="(edges, 2)" if ndim == 2 else "one axis", received=found.shape,
                                 fix="edges are pairs: [(from, to), ...]" if ndim == 2 else
                                 "give a flat list, one number per node or sequence"))
    if found.dtype.kind == "f":  # what nd.array makes of a list
        broken = np.argwhere(found != np.floor(found))
        if len(broken):
            place = tuple(int(i) for i in broken[0])
            raise ArgumentError(explain(where, f"`{name}` must be whole numbers.", expected="integers",
                                        received=f"{found[place]} at {name}[{', '.join(map(str, place))}]",
                                        fix="they are numbers of nodes or of steps: round them where they are made"))
    elif found.dtype.kind not in "iu":
        raise ArgumentError(explain(where, f"`{name}` must be whole numbers.", expected="integers",
                                    received=f"an array of {found.dtype}",
                                    fix="np.flatnonzero makes numbers of a mask; -1 stands for no parent"))
    return np.ascontiguousarray(found, dtype=np.int64)


def _numbers(where: str, given: _Given, numbers: Any, name: str, ndim: int, low: int) -> Ints:
    """Return node numbers, those of lists counted through all trees."""
    if given.sizes is None:
        found = _whole(where, numbers, name, ndim)
        _check_range(where, found, name, low, given.total)
        return found
    if not isinstance(numbers, (list, tuple)) or len(numbers) != len(given.sizes):
        received = f"{len(numbers)} arrays" if isinstance(numbers, (list, tuple)) else type(numbers).__name__
        raise ShapeError(explain(where, f"Where x is a list, `{name}` is a list of as many arrays.",
                                 expected=f"{len(given.sizes)} arrays", received=received,
                                 fix="give one for each array of x, or nd.concat x and count through all its rows"))
    parts: list[Any] = []
    start = 0
    for i, (part, size) in enumerate(zip(numbers, given.sizes)):
        found = _whole(where, part, f"{name}[{i}]", ndim)
        _check_range(where, found, f"{name}[{i}]", low, size)
        if ndim == 1 and len(found) != size:
            raise _differ(where, f"{name}[{i}]", len(found), f"x[{i}]", size)
        parts.append(np.where(found < 0, found, found + start))
        start += size
    return np.concatenate(parts)


def _differ(where: str, name: str, count: int, other: str, size: int) -> ShapeError:
    return ShapeError(explain(where, f"`{name}` and `{other}` differ in length.",
                              expected=f"{size} numbers, one per row of {other}", received=count,
                              fix="a root counts too: its number is -1"))


def _check_range(where: str, found: Ints, name: str, low: int, size: int) -> None:
    wrong = np.argwhere((found < low) | (found >= size))
    if len(wrong):
        place = tuple(int(i) for i in wrong[0])
        raise ArgumentError(explain(
            where, f"`{name}` names a node that there is not.",
            expected=f"numbers from {low} to {size - 1}" + (" (-1: a root)" if low < 0 else ""),
            received=f"{int(found[place])} at {name}[{', '.join(map(str, place))}]",
            fix="count the nodes from 0, in a list of trees each tree by itself"))


def _of_parents(where: str, given: _Given, parents: Any) -> Nodes:
    found = _numbers(where, given, parents, "parents", 1, -1)
    if len(found) != given.total:
        raise _differ(where, "parents", len(found), "x", given.total)
    return nodes_of_parents(found.tobytes())


def _of_edges(where: str, given: _Given, edges: Any) -> Nodes:
    found = _numbers(where, given, edges, "edges", 2, 0)
    return nodes_of_edges(given.total, found.tobytes())


def _lengths(where: str, given: _Given, lengths: Any) -> Ints:
    if lengths is None or given.sizes is not None:
        if lengths is not None and _whole(where, lengths, "lengths", 1).tolist() != given.sizes:
            raise ShapeError(explain(where, "x is a list of sequences, whose lengths are those of its arrays.",
                                     expected=f"lengths=None, or {given.sizes}", received=lengths,
                                     fix="leave lengths out"))
        return np.array(given.each, np.int64)
    found = _whole(where, lengths, "lengths", 1)
    if (found < 0).any():
        place = int(np.flatnonzero(found < 0)[0])
        raise ArgumentError(explain(where, "A length cannot be negative.", expected="numbers from 0 on",
                                    received=f"{int(found[place])} at lengths[{place}]",
                                    fix="0 stands for a sequence without steps"))
    if int(found.sum()) != given.total:
        raise ShapeError(explain(where, "The lengths do not add up to the rows of x.", expected=given.total,
                                 received=f"{int(found.sum())}, the sum of {len(found)} lengths",
                                 fix="take padding out of x: its rows are the steps of one sequence after the other"))
    return found


# -- cells -------------------------------------------------------------------------------------------------------------
def _check_cell(where: str, cell: Any, form: str) -> None:
    if not isinstance(cell, HybridBlock):
        kind = "a gluon.Block that is no HybridBlock" if isinstance(cell, Block) else type(cell).__name__
        raise ArgumentError(explain(
            where, "The cell must be a HybridBlock, which can be traced once and then run for many nodes at once.",
            expected=f"a HybridBlock called as {form}", received=f"{kind}: {cell!r}",
            fix="derive it from HybridBlock and write hybrid_forward(self, F, x, ...); or write the recursion as plain "
                "code inside `with fold.batching():`, where any Block can be called"))
    if cell._forward_hooks or cell._forward_pre_hooks:
        raise UnsupportedError(explain(where, "Hooks would have to run once per node.",
                                       expected="a cell without hooks", received=f"hooks of {cell.name}",
                                       fix="detach them, or write the recursion inside `with fold.batching():`"))


def _check_steps(where: str, cell: Any) -> None:
    """Refuse cells that remember more than their states."""
    if isinstance(cell, BidirectionalCell):
        raise UnsupportedError(explain(where, "A BidirectionalCell is not stepped.", received=repr(cell.name),
                                       expected="a cell called as cell(x, states)",
                                       fix="scan each of its two cells, one of them with reverse=True, and nd.concat"))
    for part in _parts(cell):
        if isinstance(part, VariationalDropoutCell) or (isinstance(part, ZoneoutCell) and part.zoneout_outputs):
            raise UnsupportedError(explain(where, "The cell keeps values from step to step beside its states.",
                                           expected="a cell that keeps all in its states",
                                           received=repr(part.name), fix="use cell.unroll inside `fold.batching()`"))


def _parts(block: Any) -> list[Any]:
    return [block, *[part for child in block._children.values() for part in _parts(child)]]


def _lists_taken(cell: Any) -> int | None:
    """Return how many lists of states a cell takes after x; None where its signature does not tell."""
    own = type(cell).hybrid_forward
    names = _taken_by(own, 3) if own is not HybridBlock.hybrid_forward else _taken_by(type(cell).forward, 2)
    return None if names is None else sum(name not in cell._reg_params for name in names)


@lru_cache(maxsize=256)
def _taken_by(function: Any, first: int) -> tuple[str, ...] | None:
    """Return the names of a function's arguments from `first` on; None where it takes any number of them."""
    found: list[str] = []
    for parameter in list(inspect.signature(function).parameters.values())[first:]:
        if parameter.kind is parameter.VAR_POSITIONAL:
            return None
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) and (
                parameter.default is parameter.empty):
            found.append(parameter.name)
    return tuple(found)


def _begin(where: str, cell: Any, given: _Given, count: int) -> list[Any]:
    """Return the first states that a cell makes for so many sequences."""
    if not isinstance(cell, RecurrentCell):
        raise ArgumentError(explain(where, "The cell does not say with which states a sequence begins.",
                                    expected="a cell of gluon.rnn, or state=[...]", received=type(cell).__name__,
                                    fix="pass state=[nd.zeros((sequences, size)), ...], or derive the cell from "
                                        "gluon.rnn.HybridRecurrentCell and write state_info"))
    first = given.arrays[0]
    dtype = first.dtype if np.dtype(first.dtype).kind == "f" else "float32"
    return cell.begin_state(batch_size=count, ctx=first.context, dtype=dtype)


def _rows_of_states(folder: Folder, array: NDArray, count: int) -> Rows:
    ref, kind = folder.reference(array)
    if kind.shape[0] != count:  # one row for all
        return Rows(np.full(count, ref), kind.part(1))
    return Rows(ref + np.arange(count), kind.part(1))


# -- call by call, where folding is off --------------------------------------------------------------------------------
def _joined(values: Sequence[Any], sample: Any) -> Any:
    """Return values of several nodes as one array; without any, an empty one for values like the sample."""
    if not values:
        return (sample if sample.ndim >= 2 else sample.reshape((1, *sample.shape)))[:0]
    return nd.concat(*values, dim=0) if values[0].ndim >= 2 else nd.stack(*values, axis=0)


def _by_array(values: dict[int, Any], given: _Given, sample: Any) -> Any:
    """Return the values of all nodes as one array, or as one array per tree."""
    ends = np.cumsum(given.each).tolist()
    parts = [_joined([values[n] for n in range(end - size, end)], sample) for size, end in zip(given.each, ends)]
    return parts if given.sizes is not None else parts[0]


def _graph_by_hand(cell: Any, given: _Given, nodes: Nodes, lists: int | None) -> Any:
    done: dict[int, list[Any]] = {}
    if lists is None:
        lists = len(flatten(cell(given.empty_row(), []), NDArray)[0])
    count = lists

    def called(x: Any, read: Sequence[int]) -> tuple[list[Any], Any]:
        return flatten(cell(x, *[[done[n][i] for n in read] for i in range(count)]), NDArray)

    sample, structure = called(given.empty_row(), [])
    waiting = list(range(given.total))[::-1]
    while waiting:
        node = waiting[-1]
        read = nodes.read[nodes.ends[node] - nodes.counts[node]:nodes.ends[node]].tolist()
        missing = [n for n in read if n not in done]
        waiting += missing
        if not missing:
            if node not in done:
                done[node], _ = called(given.row(node), read)
            waiting.pop()
    return unflatten(structure, [_by_array({n: states[i] for n, states in done.items()}, given, sample[i])
                                 for i in range(len(sample))])


def _scan_by_hand(cell: Any, given: _Given, sizes: Ints, first: Sequence[Any], reverse: bool) -> Any:
    outs: dict[int, Any] = {}
    finals: list[list[Any]] = []
    start = 0
    for number, size in enumerate(sizes.tolist()):
        states = [s[number:number + 1] for s in first]
        if isinstance(cell, RecurrentCell):
            cell.reset()
        for step in range(start + size - 1, start - 1, -1) if reverse else range(start, start + size):
            outs[step], states = cell(given.row(step), states)
        finals.append(list(states))
        start += size
    sample = next(iter(outs.values())) if outs else cell(given.empty_row(), [nd.zeros_like(s[:1]) for s in first])[0]
    ends = [_joined([states[i] for states in finals], state) for i, state in enumerate(first)]
    return _by_array(outs, given, sample), ends
