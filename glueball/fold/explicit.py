"""`fold.Fold`: calls recorded by hand and run in batches, with the interface of mxnet-fold.

The one idea: a record is an operator and its arguments, no value; asked for some records, the fold runs those that they
need, each for its own sample, inside `batching()`, which batches them. So what a batch computes is by definition what
its samples would compute, whatever an operator does along the batch axis; that axis only says how results are joined.

Not here: how calls are batched (folder.py). New programs need no Fold: `with fold.batching():` records by itself.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, final

from .. import ndarray as nd
from ..base.context import Context
from ..base.errors import ArgumentError, MXNetError, explain, user_frame
from ..base.tree import flatten, unflatten
from ..gluon.rnn.rnn_cell import steps_of, time_axis_of
from ..ndarray.ndarray import NDArray, from_torch
from .arrays import joined_rows
from .future import Future
from .scope import batching, current_folder
from .switch import add_note

__all__ = ["Fold", "FoldNode", "fold_unroll"]


@final
class _Record:
    """One recorded call. reads: numbers of the records whose values it takes."""

    __slots__ = ("op", "args", "axis", "reads", "origin")

    def __init__(self, op: Callable[..., Any], args: tuple[Any, ...], axis: int, reads: set[int], origin: str) -> None:
        self.op, self.args, self.axis, self.reads, self.origin = op, args, axis, reads, origin


@final
class FoldNode:
    """The result of a recorded call, or a part of it; `Fold.record` makes them.

    It has no value: ``fold([[node, ...], ...])`` computes it.
    """

    __slots__ = ("fold", "records", "number", "path", "shared")

    def __init__(self, fold: Fold, records: list[_Record], number: int, path: tuple[tuple[str, int], ...] = (),
                 shared: bool = False) -> None:
        self.fold, self.records, self.number, self.path, self.shared = fold, records, number, path, shared

    def _part(self, step: tuple[str, int]) -> FoldNode:
        return FoldNode(self.fold, self.records, self.number, (*self.path, step), self.shared)

    def __getitem__(self, key: Any) -> Any:
        """Return part `key` of the result; for a slice with an end, a tuple of parts."""
        if type(key) is int:
            return self._part(("item", key))
        if isinstance(key, slice) and type(key.stop) is int and key.stop >= 0 and (key.start or 0) >= 0:
            return tuple(self._part(("item", i)) for i in range(key.stop)[key])
        raise ArgumentError(explain("Fold", "A part of a result that is not computed yet is taken by its place.",
                                    expected="an integer, or a slice with an end, counted from the front",
                                    received=repr(key), fix="node[0], node[:2], or node.split(2) for all of two"))

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(explain("Fold", "How many parts a result has is not known before it is computed.",
                                expected="a number of parts", received=repr(self),
                                fix="say how many: `h, c = node.split(2)`"))

    def split(self, num: int) -> tuple[FoldNode, ...]:
        """Return the first `num` parts of a result of several values.

        >>> from glueball import fold, nd
        >>> f = fold.Fold()
        >>> low, high = f.record(0, lambda x: (x - 1, x + 1), nd.ones((1, 1))).split(2)
        >>> [v.asnumpy().tolist() for v in f([[low], [high]])]
        [[[0.0]], [[2.0]]]
        """
        if type(num) is not int or num < 1:
            raise ArgumentError(explain("Fold", "A result is split into a number of parts.",
                                        expected="an integer of at least 1", received=repr(num),
                                        fix="say how many values the operator returns"))
        return tuple(self._part(("item", i)) for i in range(num))

    def expand_dims(self, axis: int) -> FoldNode:
        """Return the result with a new axis of size 1."""
        return self._part(("axis", axis))

    def no_batch(self) -> FoldNode:
        """Mark the result as one that all samples share; where it is asked for, it comes once instead of joined.

        >>> from glueball import fold, nd
        >>> f = fold.Fold()
        >>> shared = f.record(0, nd.ones, (3, 2)).no_batch()
        >>> rows = [f.record(0, nd.dot, nd.ones((1, 3)), shared) for _ in range(4)]
        >>> [v.shape for v in f([rows, [shared, shared]])]
        [(4, 2), (3, 2)]
        """
        return FoldNode(self.fold, self.records, self.number, self.path, True)

    def __repr__(self) -> str:
        parts = "".join(f"[{i}]" if kind == "item" else f".expand_dims({i})" for kind, i in self.path)
        return f"<call {self.number} of a Fold, {_name(self.records[self.number].op)}>{parts}"


@final
class Fold:
    """Records calls for many samples, and runs them in batches when values are asked for.

    Parameters
    ----------
    ctx
        The device on which operators that make arrays make them. None: the current one.

    >>> from glueball import autograd, fold, gluon, nd
    >>> net = gluon.nn.Dense(1); net.initialize()
    >>> f = fold.Fold()
    >>> scores = [f.record(0, net, nd.ones((1, 3)) * i) for i in range(4)]
    >>> losses = [f.record(0, nd.square, score) for score in scores]
    >>> with autograd.record():
    ...     predictions, loss = f([scores, losses])
    >>> predictions.shape
    (4, 1)
    >>> loss.backward()
    """

    def __init__(self, ctx: Context | None = None) -> None:
        if ctx is not None and not isinstance(ctx, Context):
            raise ArgumentError(explain("Fold", "`ctx` is a device.", expected="a Context such as mx.cpu()",
                                        received=repr(ctx), fix="leave it out for the current device"))
        self.ctx = ctx
        self._records: list[_Record] = []

    def record(self, batch_axis: int, op: Callable[..., Any], *args: Any) -> FoldNode:
        """Write down the call ``op(*args)`` of one sample.

        Parameters
        ----------
        batch_axis
            The axis along which results are joined with those of other samples.
        op
            A block, an operator such as ``nd.dot``, or any function of arrays.
        args
            Arrays, results of other records, lists and tuples of them, or anything else that the operator takes.

        Returns
        -------
        FoldNode

        Raises
        ------
        ArgumentError
            When the axis is negative, the operator cannot be called, or an argument belongs to another Fold.
        """
        if type(batch_axis) is not int or batch_axis < 0:
            raise ArgumentError(explain("Fold.record", "The batch axis is counted from the front.",
                                        expected="an integer of at least 0", received=repr(batch_axis),
                                        fix="0 where each sample's result is a row: record(0, op, *args)"))
        if not callable(op):
            raise ArgumentError(explain("Fold.record", "The operator comes second.",
                                        expected="record(batch_axis, op, *args) with a callable op",
                                        received=repr(op)[:200], fix="put the block or function before its arguments"))
        nodes = flatten(args, FoldNode)[0]
        for node in nodes:
            self._check(node, "Fold.record")
        self._records.append(_Record(op, args, batch_axis, {node.number for node in nodes}, user_frame(2)))
        return FoldNode(self, self._records, len(self._records) - 1)

    def __call__(self, nodes: Sequence[Sequence[FoldNode]], reset: bool = True) -> list[Any]:
        """Compute results.

        Parameters
        ----------
        nodes
            A list of lists: the results in one list are joined along their batch axis.
        reset
            Whether to forget what was recorded; False keeps it, to be run again with other parameters.

        Returns
        -------
        list
            One array per list; for results of several values that were not split, such values of arrays.

        Raises
        ------
        ArgumentError
            When `nodes` is no list of lists of results of this Fold, or results in one list have different batch axes.
        Exception
            What an operator raised, with the line of its record as a note.
        """
        for number, part in enumerate(nodes):
            self._check_list(part, number)
        inner = current_folder() is not None
        try:
            with self.ctx or nullcontext(), nullcontext() if inner else batching():
                values = self._run({node.number for part in nodes for node in part})
                results = [self._joined(part, values) for part in nodes]
        finally:
            if reset:
                self.reset()
        if inner:
            return results
        found, structure = flatten(results, NDArray)
        return unflatten(structure, [from_torch(v._t, v.context) if isinstance(v, Future) else v for v in found])

    def reset(self) -> None:
        """Forget what was recorded; results of it can no longer be asked for."""
        self._records = []

    def __repr__(self) -> str:
        kinds = Counter((_name(record.op), record.axis, record.origin) for record in self._records)
        lines = [f"  {count} x {name}, batch axis {axis}, at {origin}" for (name, axis, origin), count in kinds.items()]
        return "\n".join([f"Fold of {len(self._records)} calls", *lines])

    # -- running -------------------------------------------------------------------------------------------------------
    def _check(self, node: FoldNode, where: str) -> None:
        if node.fold is not self:
            raise ArgumentError(explain(where, "A result belongs to the Fold that recorded it.",
                                        expected="results of this Fold", received=f"{node!r} of another one",
                                        fix="compute it there first, and give the array"))
        if node.records is not self._records:
            raise ArgumentError(explain(where, "What led to this result was forgotten by reset().",
                                        expected="a result recorded since", received=repr(node),
                                        fix="ask for all results in one call, or call fold(nodes, reset=False)"))

    def _check_list(self, part: Any, number: int) -> None:
        where = f"list {number}"
        if isinstance(part, FoldNode) or not isinstance(part, (list, tuple)) or not part or not all(
                isinstance(node, FoldNode) for node in part):
            received = "an empty list" if isinstance(part, (list, tuple)) and not part else repr(part)
            raise ArgumentError(explain("Fold", "What is to be computed is given as lists of results.",
                                        expected="fold([[node, ...], ...]), each list joined into one array",
                                        received=f"{where}: {received[:200]}",
                                        fix="put results that belong together into one list, and leave out empty ones"))
        for node in part:
            self._check(node, "Fold")
        axes = {node.records[node.number].axis for node in part}
        if len(axes) > 1:
            raise ArgumentError(explain("Fold", "Results in one list are joined along one axis.",
                                        expected="one batch axis for all of them",
                                        received=f"{where}: batch axes {sorted(axes)}",
                                        fix="ask for them in two lists"))

    def _run(self, wanted: set[int]) -> dict[int, Any]:
        """Run the calls that some results need, in the order of their records; return their values by number."""
        needed: set[int] = set()
        waiting = list(wanted)
        while waiting:
            number = waiting.pop()
            if number not in needed:
                needed.add(number)
                waiting += self._records[number].reads
        values: dict[int, Any] = {}
        for number in sorted(needed):
            record = self._records[number]
            try:
                values[number] = record.op(*[_given(arg, values) for arg in record.args])
            except Exception as error:
                add_note(error, f"Fold: raised by {_name(record.op)}, call {number}, recorded at {record.origin}")
                raise
        return values

    def _joined(self, part: Sequence[FoldNode], values: dict[int, Any]) -> Any:
        """Return the results of one list as one array."""
        found = [_value(node, values) for node in part]
        if any(node.shared for node in part):
            if any(value is not found[0] for value in found[1:]) and any(
                    (node.number, node.path) != (part[0].number, part[0].path) for node in part):
                raise ArgumentError(explain("Fold", "A result marked with no_batch() is asked for once.",
                                            expected="the same result throughout its list",
                                            received=f"{len(part)} results: {list(part)!r}"[:300],
                                            fix="give it a list of its own"))
            return found[0]
        axis = part[0].records[part[0].number].axis
        flat = [flatten(value, NDArray) for value in found]
        if any(structure != flat[0][1] for _, structure in flat) or not flat[0][0]:
            raise MXNetError(explain("Fold", "Results that are joined must be arrays, or alike structures of them.",
                                     expected="arrays, or tuples or lists of as many arrays each",
                                     fix="ask for results of different kinds in different lists",
                                     received=", ".join(sorted({type(value).__name__ for value in found}))))
        return unflatten(flat[0][1], [_concat([arrays[i] for arrays, _ in flat], axis)
                                      for i in range(len(flat[0][0]))])


def _name(op: Any) -> str:
    return str(getattr(op, "name", "") or getattr(op, "__name__", "") or type(op).__name__)


def _given(arg: Any, values: dict[int, Any]) -> Any:
    """Return an argument with values in place of results."""
    if isinstance(arg, FoldNode):
        return _value(arg, values)
    if type(arg) in (list, tuple):
        return type(arg)(_given(part, values) for part in arg)
    if isinstance(arg, (list, tuple, dict)):
        nodes, structure = flatten(arg, FoldNode)
        return unflatten(structure, [_value(node, values) for node in nodes]) if nodes else arg
    return arg


def _value(node: FoldNode, values: dict[int, Any]) -> Any:
    value = values[node.number]
    for kind, place in node.path:
        try:
            value = value[place] if kind == "item" else value.expand_dims(axis=place)
        except (IndexError, TypeError) as error:
            raise ArgumentError(explain("Fold", "The result of a call has no such part.",
                                        expected=f"{node!r}, recorded at {node.records[node.number].origin}",
                                        received=f"{type(value).__name__}: {error}",
                                        fix="split it into as many parts as the operator returns")) from error
    return value


def _concat(arrays: Sequence[Any], axis: int) -> Any:
    """Return arrays joined along an axis."""
    if len(arrays) == 1:
        return arrays[0]
    folder = current_folder()
    if folder is not None and axis == 0 and all(type(a) is Future and a.folder is folder and a.ref >= 0 and
                                                a.kind is arrays[0].kind for a in arrays):
        return joined_rows(folder, arrays)
    return nd.concat(*arrays, dim=axis)


# -- recurrent cells ---------------------------------------------------------------------------------------------------
def fold_unroll(cell: Any, fold: Fold, length: int, inputs: Any, begin_state: Any = None,
                layout: str = "NTC") -> tuple[list[FoldNode], list[FoldNode]]:
    """Record the steps of a recurrent cell over one sequence.

    Parameters
    ----------
    cell
        A cell of `gluon.rnn`, or a block called as ``out, states = cell(x, states)`` that has `state_info`.
    fold
        The Fold that records.
    length
        Number of steps.
    inputs
        One array with the axes that `layout` says, or a result of a record; or a list of `length` of either, each
        (batch, ...).
    begin_state
        List of first states, arrays or results. None: zeros.
    layout
        "NTC" or "TNC".

    Returns
    -------
    outputs, states
        The result of each step, and the last states, each (batch, ...).

    Raises
    ------
    ArgumentError
        When the inputs do not have that length.

    >>> from glueball import fold, gluon, nd
    >>> cell = gluon.rnn.LSTMCell(4); cell.initialize()
    >>> f = fold.Fold()
    >>> last = [fold.fold_unroll(cell, f, n, nd.ones((1, n, 3)))[1][0] for n in (2, 5, 3)]
    >>> f([last])[0].shape
    (3, 4)
    """
    if type(length) is not int or length < 1:
        raise ArgumentError(explain("fold_unroll", "A sequence has at least one step.",
                                    expected="an integer of at least 1", received=repr(length),
                                    fix="leave empty sequences out, or use fold.scan, which takes them"))
    axis = time_axis_of(layout, "fold_unroll")
    if isinstance(inputs, NDArray) and (inputs.ndim <= axis or inputs.shape[axis] != length):
        raise ArgumentError(explain("fold_unroll", f"The sequence does not have the length to unroll ({layout}).",
                                    expected=f"{length} steps on axis {axis}",
                                    received=f"inputs of shape {inputs.shape}",
                                    fix="give its own length for each sequence, and layout as the axes lie"))
    steps: Any = steps_of(inputs, length, layout, "fold_unroll") if isinstance(inputs, (list, tuple)) else (
        fold.record(0, steps_of, inputs, length, layout, "fold_unroll"))
    count = len(cell.state_info()) if begin_state is None else len(begin_state)
    states: Any = list(begin_state) if begin_state is not None else list(
        fold.record(0, _first_states, cell, steps[0]).split(count) if count else ())
    outputs: list[FoldNode] = []
    for step in range(length):
        output, new = fold.record(0, cell if step else _first_step(cell), steps[step], states).split(2)
        states = list(new.split(count)) if count else []
        outputs.append(output)
    return outputs, states


def _first_states(cell: Any, first: NDArray) -> list[NDArray]:
    return cell.begin_state(batch_size=first.shape[0], ctx=first.context, dtype=first.dtype)


def _first_step(cell: Any) -> Callable[[Any, Any], Any]:
    """Return the first step of a sequence: what the cell kept of another one is forgotten."""
    def first_step(x: Any, states: Any) -> Any:
        cell.reset()
        return cell(x, states)

    return first_step
