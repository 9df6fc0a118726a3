"""Does a program mean the same as a graph? Answered by running both, one sample at a time, on random numbers.

The one idea: what an operator does along the axis of stacked children is asked of its kernel, not of a list of
operators: it is run on the whole stack and on each child, and the results are compared (`lift`). A whole program is
compared with a whole graph in the same way (`agrees`). Numbers come from a generator of this file's own; the user's
random state stays as it is.

Not here: what is made of the answers (ragged.py); running programs on many samples (body.py).
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch

from ..base.errors import MXNetError
from ..executor.interpret import run_operator
from ..ops.opdef import OpDef, TensorType
from ..symbol.graph import Node, Value, execution_order, present
from .steps import Program

__all__ = ["Lifted", "Operand", "agrees", "lift", "run_program"]

Tensor = torch.Tensor
Runner = Callable[[OpDef, Sequence["Tensor | None"], Mapping[str, Any]], "tuple[Tensor, ...]"]
FAILURES = (MXNetError, RuntimeError, TypeError, ValueError, IndexError, NotImplementedError)
_REDUCE: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {
    "sum": lambda parts: torch.stack(list(parts)).sum(0),
    "mean": lambda parts: torch.stack(list(parts)).mean(0),
    "max": lambda parts: torch.stack(list(parts)).amax(0),
    "min": lambda parts: torch.stack(list(parts)).amin(0),
}
_TOLERANCE = {torch.float16: 3e-2, torch.bfloat16: 1e-1, torch.float32: 2e-4, torch.float64: 1e-9}


def run_program(program: Program, arguments: Sequence[Tensor | Sequence[Tensor]], shared: Sequence[Tensor],
                training: bool = False) -> list[Tensor]:
    """Run a program on one sample; a list of children is a sequence of tensors.

    Returns
    -------
    The results, in the program's order. On torch's tape when it is on.
    """
    return _interpret(program, arguments, shared, lambda op, given, attrs: _run(op, given, attrs, training))


def _interpret(program: Program, arguments: Sequence[Tensor | Sequence[Tensor]], shared: Sequence[Tensor],
               run: Runner) -> list[Tensor]:
    values: dict[int, Any] = dict(zip(program.shared, shared))
    values.update((slot, list(a) if isinstance(a, Sequence) else a) for slot, a in zip(program.arguments, arguments))
    count = next((len(a) for a in arguments if isinstance(a, Sequence)), 0)
    for step in program.steps:
        given = [None if slot is None else values[slot] for slot in step.inputs]
        if step.op == "spread":
            values[step.outputs[0]] = given * count
        elif isinstance(step.op, str):
            edges_of: Any = given[0]
            values[step.outputs[0]] = _REDUCE[step.op](edges_of)
        elif step.level == "node":
            values.update(zip(step.outputs, run(step.op, given, step.attrs)))
        else:
            edges = [run(step.op, [v[i] if isinstance(v, list) else v for v in given], step.attrs)
                     for i in range(count)]
            values.update(zip(step.outputs, (list(column) for column in zip(*edges))))
    return [values[slot] for slot in program.results]


def _run(op: OpDef, given: Sequence[Tensor | None], attrs: Mapping[str, Any], training: bool) -> tuple[Tensor, ...]:
    names = None if op.variadic else [n for n, t in zip(op.input_names, given) if t is not None]
    return run_operator(op, [t for t in given if t is not None], attrs, training, names)


# -- comparing programs with graphs ------------------------------------------------------------------------------------
def agrees(program: Program, outputs: Sequence[Value], arguments: Sequence[Node | Sequence[Node]],
           shared: Sequence[Node], types: Mapping[Node, tuple[TensorType, ...]]) -> bool:
    """Whether a program means the same as a graph, which may be traced for any number of children.

    Both are run on two draws of random numbers, in predict mode. Shared variables take random values, too, and are
    paired in order: that they stand for the same parameters and for equal constants is the caller's to know.

    Parameters
    ----------
    program
        Made by `ragged.find_ragged` or `ragged.to_program`.
    outputs, arguments, shared, types
        The graph, as for `find_ragged`.
    """
    lists = [isinstance(a, Sequence) for a in arguments]
    if (len(shared), len(outputs)) != (len(program.shared), len(program.results)) or lists != [
            program.levels[slot] == "edge" for slot in program.arguments]:
        return False
    generator = torch.Generator().manual_seed(20)
    seen = [False] * len(outputs)
    for positive in (False, True):
        def value(node: Node, positive: bool = positive) -> Tensor:
            return _draw(types[node][0], generator, positive) if node in types else torch.zeros(())
        common = [value(n) for n in shared]
        pairs: dict[Node, Tensor] = dict(zip(shared, common))
        pairs.update({n: value(n) for a in arguments for n in (a if isinstance(a, Sequence) else (a,))})
        given = [[pairs[n] for n in a] if isinstance(a, Sequence) else pairs[a] for a in arguments]
        try:
            with _still() as run:
                expected = _run_graph(outputs, pairs, run)
                found = _interpret(program, given, common, run)
        except FAILURES:
            return False
        if not all(_close(e, f) for e, f in zip(expected, found)):
            return False
        seen = [s or not e.numel() or bool(torch.isfinite(e).any()) for s, e in zip(seen, expected)]
    return all(seen)  # a result that was never finite was never compared


@contextmanager
def _still() -> Iterator[Runner]:
    """Give a runner of operators whose draws are always the same, and leave the user's random state as it was."""
    before = torch.get_rng_state()
    fixed = torch.Generator().manual_seed(7).get_state()

    def run(op: OpDef, given: Sequence[Tensor | None], attrs: Mapping[str, Any]) -> tuple[Tensor, ...]:
        if op.random:
            torch.set_rng_state(fixed)
        return _run(op, given, attrs, False)
    try:
        with torch.no_grad():
            yield run
    finally:
        torch.set_rng_state(before)


def _run_graph(outputs: Sequence[Value], inputs: Mapping[Node, Tensor], run: Runner) -> list[Tensor]:
    results: dict[Node, tuple[Tensor, ...]] = {node: (tensor,) for node, tensor in inputs.items()}
    for node in execution_order(outputs):
        if node.op is not None:
            tensors: list[Tensor | None] = [results[v.node][v.index] for v in node.inputs]
            if not node.op.variadic:
                by_name = dict(zip(present(node), tensors))
                tensors = [by_name.get(name) for name in node.op.input_names]
            results[node] = run(node.op, tensors, node.attrs)
    return [results[v.node][v.index] for v in outputs]


def _draw(kind: TensorType, generator: torch.Generator, positive: bool = False) -> Tensor:
    """Return random values: small, so that nothing saturates; not negative for integers, which may be indices."""
    shape = [s or 0 for s in kind.shape or ()]
    if kind.dtype is None or not kind.dtype.is_floating_point:
        return torch.randint(0, 4, shape, generator=generator).to(kind.dtype or torch.int64)
    dtype = kind.dtype if kind.dtype in (torch.float32, torch.float64) else torch.float32
    if positive:
        values = torch.rand(shape, generator=generator, dtype=dtype) + 0.1
    else:
        values = torch.randn(shape, generator=generator, dtype=dtype)
    if len(shape) > 1:
        values = values * min(1.0, 3.0 / max(shape[-1], 1) ** 0.5)
    return values.to(kind.dtype)


def _close(expected: Tensor, found: Tensor) -> bool:
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return False
    tolerance = _TOLERANCE.get(expected.dtype)
    if tolerance is None:
        return torch.equal(expected, found)
    finite = expected[torch.isfinite(expected)]
    scale = float(finite.abs().max()) if finite.numel() else 1.0
    return torch.allclose(expected.double(), found.double(), tolerance, tolerance * min(scale, 1.0), equal_nan=True)


# -- operators on stacked children -------------------------------------------------------------------------------------
@final
@dataclass(frozen=True, slots=True)
class Operand:
    """An input of an operator: a node's value (`axis` None) or its children joined along `axis`.

    type : the type of the node's value, or of one child's part
    stacked : the children are stacked (the parts have no such axis) rather than concatenated
    """

    type: TensorType
    axis: int | None = None
    stacked: bool = False


@final
@dataclass(frozen=True, slots=True)
class Lifted:
    """What an operator on joined children is, child by child.

    expand : stacked parts get an axis of size 1 before the operator is applied to them
    apply : whether the operator is applied to the parts at all
    kind : "stack" or "concat" (the parts' results, joined along `axes`, one per result), or a reduction of them:
        "sum", "mean", "max", "min"
    keepdims : the axis that the reduction keeps with size 1, if the parts do not have it
    squeeze : the axis of size 1 that the parts have and the result has not
    attrs : the operator's attributes for one part
    types : the types of one part's results
    """

    kind: str
    attrs: Mapping[str, Any]
    types: tuple[TensorType, ...]
    axes: tuple[int, ...] = ()
    expand: bool = False
    apply: bool = True
    keepdims: int | None = None
    squeeze: int | None = None


def lift(op: OpDef, attrs: Mapping[str, Any], operands: Sequence[Operand | None], count: int) -> Lifted | None:
    """Find out what an operator on children joined along an axis does to each child.

    Parameters
    ----------
    op, attrs
        The operator as it was called on the joined values.
    operands
        Its inputs in the order of its signature, None where an optional one is absent.
    count
        Number of children that were joined.
    """
    generator = torch.Generator().manual_seed(21)
    parts: list[list[Tensor] | Tensor | None] = []
    for operand in operands:
        if operand is None or operand.axis is None:
            parts.append(None if operand is None else _draw(operand.type, generator))
        else:
            parts.append([_draw(operand.type, generator) for _ in range(count)])
    joined = [_join(p, o.axis, o.stacked) if o is not None and o.axis is not None and isinstance(p, list) else p
              for p, o in zip(parts, operands)]
    with _still() as run:
        try:
            whole = run(op, [t for t in joined if not isinstance(t, list)], attrs)
        except FAILURES:
            return None
        return _as_reduction(operands, parts, whole) or _by_parts(op, attrs, operands, parts, whole, count, run)


def _join(parts: list[Tensor], axis: int, stacked: bool) -> Tensor:
    return torch.stack(parts, axis) if stacked else torch.cat(parts, axis)


def _type(tensor: Tensor) -> TensorType:
    return TensorType(tuple(tensor.shape), tensor.dtype)


def _as_reduction(operands: Sequence[Operand | None], parts: Sequence[list[Tensor] | Tensor | None],
                  whole: Sequence[Tensor]) -> Lifted | None:
    """Recognise the operator as a plain reduction over children with nothing to do in each."""
    given = [o for o in operands if o is not None]
    values = parts[0] if parts else None
    if len(given) != 1 or len(whole) != 1 or given[0].axis is None or not isinstance(values, list):
        return None
    axis, stacked, result = given[0].axis, given[0].stacked, whole[0]
    if not stacked and values[0].shape[axis] != 1:
        return None
    for kind, function in _REDUCE.items():
        if not values[0].is_floating_point() and kind == "mean":
            continue
        reduced = function(values)
        if _close(result, reduced):
            return Lifted(kind, {}, (_type(reduced),), apply=False)
        if stacked and _close(result, reduced.unsqueeze(axis)):
            return Lifted(kind, {}, (_type(reduced),), apply=False, keepdims=axis)
        if not stacked and _close(result, reduced.squeeze(axis)):
            return Lifted(kind, {}, (_type(reduced),), apply=False, squeeze=axis)
    return None


def _by_parts(op: OpDef, attrs: Mapping[str, Any], operands: Sequence[Operand | None],
              parts: Sequence[list[Tensor] | Tensor | None], whole: Sequence[Tensor], count: int,
              run: Runner) -> Lifted | None:
    """Run the operator on each child's part, in every way that could make sense, until one gives the same."""
    axes = [o.axis for o in operands if o is not None and o.axis is not None]
    sizes = {1 if o.stacked else int((o.type.shape or ())[o.axis] or 0)
             for o in operands if o is not None and o.axis is not None}
    ways = (False, True) if any(o is not None and o.stacked for o in operands) else (False,)
    for expand in ways:
        for variant in _variants(attrs, sizes, count, None if expand else min(axes)):
            results: list[tuple[Tensor, ...]] = []
            try:
                for i in range(count):
                    given = [_part(p, o, i, expand) for p, o in zip(parts, operands)]
                    results.append(run(op, given, variant))
            except FAILURES:
                continue
            found = _match(whole, list(zip(*results)), axes)
            if found is not None:
                return Lifted(found[0], variant, tuple(_type(t) for t in results[0]), found[1], expand)
    return None


def _part(values: list[Tensor] | Tensor | None, operand: Operand | None, child: int, expand: bool) -> Tensor | None:
    if not isinstance(values, list):
        return values
    if expand and operand is not None and operand.stacked and operand.axis is not None:
        return values[child].unsqueeze(operand.axis)
    return values[child]


def _variants(attrs: Mapping[str, Any], sizes: set[int], count: int, gone: int | None) -> Iterator[Mapping[str, Any]]:
    """Yield the attributes, then with later axes renumbered when the axis `gone` is not there, then with the joined
    size in a shape replaced by that of one part.
    """
    yield attrs
    axis: Any = attrs.get("axis")
    if gone is not None and isinstance(axis, int) and axis > gone:
        yield {**attrs, "axis": axis - 1}
    if gone is not None and isinstance(axis, tuple) and gone not in axis:
        places: tuple[int, ...] = axis
        yield {**attrs, "axis": tuple(a - (a > gone) for a in places)}
    for size in sorted(sizes | {1}):
        for name, value in attrs.items():
            if isinstance(value, tuple) and count * size in value:
                for place, entry in enumerate(value):
                    if entry == count * size:
                        yield {**attrs, name: (*value[:place], size, *value[place + 1:])}


def _match(whole: Sequence[Tensor], columns: Sequence[Sequence[Tensor]],
           preferred: Sequence[int]) -> tuple[str, tuple[int, ...]] | None:
    """Return how the parts' results make up the whole's: joined along an axis each, or reduced."""
    if len(whole) != len(columns):
        return None
    for kind, join in (("stack", torch.stack), ("concat", torch.cat)):
        axes: list[int] = []
        for result, column in zip(whole, columns):
            for axis in [*preferred, *[a for a in range(result.dim()) if a not in preferred]]:
                if axis < column[0].dim() + (kind == "stack") and _close(result, join(list(column), axis)):
                    axes.append(axis)
                    break
            else:
                break
        if len(axes) == len(whole):
            return kind, tuple(axes)
    if len(whole) == 1:
        for kind, function in _REDUCE.items():
            column = columns[0]
            if column[0].shape == whole[0].shape and (kind != "mean" or column[0].is_floating_point()) and _close(
                    whole[0], function(column)):
                return kind, ()
    return None
