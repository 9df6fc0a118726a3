"""Calls of single operators: from (operator, arrays, attributes) to a Call.

The one idea: the key is the operator, the attributes by type and text, the modes, and per input its kind, or, for a
parameter, its identity. What the key leads to is built once: a program of one step.

Which arrays are one sample's and which are everybody's? Futures are a sample's. An array from outside is everybody's
when it is what an operator calls a weight, or carries a gradient while another input is a sample's.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..base.context import current_context
from ..base.errors import ContextError, MXNetError, explain, user_frame
from ..dispatch import run_eagerly
from ..ndarray.leaf import Leaf
from ..ndarray.ndarray import NDArray, to_array
from ..ops.opdef import OpDef, TensorType, Unsupported, lookup
from ..symbol.graph import Node, Value
from ..symbol.infer import infer_node
from .body import can_be_ragged
from .future import PART, Future
from .kinds import Kind, kind_of, kind_of_type
from .ragged import to_program
from .signature import Argument, Call, Output, Signature
from .steps import REDUCTIONS, Program, Step

__all__ = ["begin", "record", "record_part", "signature_of", "class_of", "CALLS"]

_WEIGHTS = frozenset({"weight", "bias", "gamma", "beta", "moving_mean", "moving_var", "running_mean", "running_var",
                      "parameters"})
_FIRST = (None, 0, (0,), -1, (-1,))  # the ways to say the only axis of a vector
_INDEXED = frozenset({"Embedding", "one_hot"})  # read vectors of indices, whose length is nobody's business
CALLS: dict[Any, Call] = {}
_LIMIT = 1024  # calls kept; with more a scope begins with none: they hold weights, also of models nobody else holds


def _plain(value: Any) -> Any:
    if type(value) in _EXACT:
        return value
    if type(value) is tuple and _WHOLE.issuperset(map(type, value)):
        return value
    return repr(value)


_EXACT = frozenset({int, str, bool, type(None)})
_WHOLE = frozenset({int})


def _attributes(attrs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the attributes as a key: 1, 1.0 and True are three different values."""
    return tuple([(k, type(v), _plain(v)) for k, v in attrs.items()]) if attrs else ()


def class_of(op: OpDef) -> int:
    """Return how the compiled recorder (recorder.c) may look calls of an operator up: 0 not at all, 1 by the kinds of
    its inputs, 2 the same where the inputs may come as one list, 3 as a sum of any number of arrays of one kind,
    4 as an array made out of nothing, always the same.
    """
    if not op.inputs:
        return 0 if op.random or op.mutates or op.dynamic else 4
    if op.dynamic or op.mutates or op.name in REDUCTIONS:
        return 0
    return 3 if op.name == "add_n" else 2 if op.variadic else 1


def begin() -> None:
    """A scope begins: forget calls when there are too many. Inside a scope equal calls must stay of one signature."""
    for table in (CALLS, _ragged):
        if len(table) > _LIMIT:
            table.clear()


def record(folder: Any, op: OpDef, inputs: Sequence[Any], attrs: Mapping[str, Any]) -> Any:
    """Record a call; return NotImplemented where it must run at once."""
    if op.variadic and len(inputs) == 1 and isinstance(inputs[0], (list, tuple)):
        inputs = inputs[0]
    if not inputs:
        return _constant(folder, op, attrs)
    if op.dynamic or (op.mutates and op.name != "BatchNorm") or attrs.get("ctx") is not None:
        if op.mutates:
            folder.flush(reason=f"{op.name} updates an array in place")
        why = "it changes an array in place" if op.mutates else "it is told on which device to run"
        if op.dynamic and not op.mutates:
            why = op.dynamic if op.random else "the shape of its result depends on values"
        folder.engine.report.at_once[op.name, user_frame()] = why
        return NotImplemented
    if op.name in REDUCTIONS and len(inputs) == 1 and attrs.get("axis") in _FIRST:
        reduced = _over_rows(folder, op, inputs[0], attrs)
        if reduced is not None:
            return reduced
    recording, training = folder.modes()
    parts: list[Any] = [op, _attributes(attrs), recording, training]
    refs: list[int] = []
    shared: list[Any] = []
    own = False
    for value in inputs:
        if type(value) is Future and value.ref >= 0 and value.folder is folder:
            own = True
            break
    for index, value in enumerate(inputs):
        if type(value) is Future and value.ref >= 0 and value.folder is folder:
            parts.append(value.kind)
            refs.append(value.ref)
            continue
        if value is None:
            if op.variadic or index >= len(op.inputs) or not op.inputs[index].optional:
                return NotImplemented  # an argument is missing: the eager call says so
            parts.append(None)
            continue
        array = value if isinstance(value, NDArray) else to_array(value)
        if _is_shared(op, index, array, own):
            parts.append(id(array))
            shared.append(array)
            continue
        ref, kind = folder.external(array, _reads_rows(op, index, array, inputs))
        parts.append(kind)
        refs.append(ref)
    if not refs:
        return NotImplemented
    sized = op.variadic and isinstance(parts[4], Kind) and _takes_children(op, attrs, parts[4]) and all(
        k is parts[4] for k in parts[5:])
    key: Any = (*parts[:4], parts[4].children, 0 if op.name == "add_n" else len(refs)) if sized else tuple(parts)
    if sized and op.name == "add_n" and len(refs) == 1:
        return Future.make(folder, refs[0], parts[4])  # the sum of one array is the array
    call = CALLS.get(key)
    if call is None:
        call = CALLS[key] = _build(folder, op, attrs, parts[4:], shared, recording, training, sized)
    return folder.add(call, refs, len(refs) if sized else 0)


def _over_rows(folder: Any, op: OpDef, value: Any, attrs: Mapping[str, Any]) -> Any:
    """Record the sum, mean or maximum over the rows of a matrix or over a vector that is stored element by element,
    whose number is nobody's business; or return None.
    """
    if type(value) is not Future or value.folder is not folder or value.ref < 0:
        return None
    kind = value.kind
    if not kind.ragged or not kind.shape[0] or attrs.get("exclude"):
        return None
    if len(kind.shape) == 1 and kind.pool.floating:  # with or without keepdims (1,)
        row, out = kind_of(kind.ctx, kind.dtype, (1,), True), kind_of(kind.ctx, kind.dtype, (1,))
    elif len(kind.shape) == 2 and attrs.get("axis") in (0, (0,)) and not attrs.get("keepdims"):
        row = out = kind.part(-1)
    else:
        return None
    recording, training = folder.modes()
    key = (op, "rows", recording, training, row)
    call = CALLS.get(key)
    if call is None:
        of = TensorType(row.shape, row.dtype)
        program = Program((of, of), ("edge", "node"), (0,), (), (Step(op.name, {}, (0,), (1,), "node"),), (1,))
        signature = signature_of(op.name, program, (row,), (True,), (out,), (), (recording, training), user_frame(3))
        call = CALLS[key] = Call(signature, (out,), 0, None)
    return folder.add(call, [value.ref + i for i in range(kind.shape[0])], kind.shape[0])


def _takes_children(op: OpDef, attrs: Mapping[str, Any], kind: Kind) -> bool:
    """Whether a call with any number of arrays of a kind is one with all others: a sum, or rows put together."""
    if op.name == "add_n":
        return True
    if op.name == "Concat":
        return attrs.get("dim", 1) in (0, "0") and len(kind.shape) >= 2
    return op.name == "stack" and attrs.get("axis", 0) in (0, "0") and len(kind.shape) == 1 and not kind.ragged


def _is_shared(op: OpDef, index: int, array: NDArray, own: bool) -> bool:
    """Whether an array from outside is the same for every sample."""
    if not op.variadic and index < len(op.input_names) and op.input_names[index] in _WEIGHTS:
        return True
    return isinstance(array._ag, Leaf) and (own or index > 0)


def _reads_rows(op: OpDef, index: int, array: NDArray, inputs: Sequence[Any]) -> bool:
    """Whether a vector from outside is taken element by element: indices, labels of the rows of a matrix."""
    if array.ndim != 1:
        return False
    if op.name in _INDEXED:
        return True
    first = inputs[0]
    return op.name == "pick" and index == 1 and type(first) is Future and first.ndim == 2 and first.kind.ragged


def _constant(folder: Any, op: OpDef, attrs: Mapping[str, Any]) -> Any:
    """Record a creation without inputs: equal ones are the same array; random ones run at once, in order."""
    if op.random or op.mutates:
        folder.engine.report.at_once[op.name, user_frame()] = "it draws random numbers and has no argument of a sample"
        return NotImplemented
    key = (op, _attributes(attrs), current_context())
    found = folder.constants.get(key)
    if found is None:
        array = run_eagerly(op, (), attrs)
        if not isinstance(array, NDArray):
            return NotImplemented
        found = folder.constants[key] = folder.external(array)
    return Future.make(folder, *found)


def _build(folder: Any, op: OpDef, attrs: Mapping[str, Any], parts: Sequence[Any], shared: Sequence[Any],
           recording: bool, training: bool, sized: bool) -> Call:
    """Make the call, and its signature where there is none yet."""
    clean = {k: v for k, v in attrs.items() if k != "attr" and not (k.startswith("__") and k.endswith("__"))
             and (k != op.variadic_count or k in op.attr_by_name)}
    typed = op.typed(clean)
    shared = list({id(array): array for array in shared}.values())  # each once: one slot, one gradient
    origin = user_frame(3)
    if op.name == "BatchNorm" and training and not typed.get("use_global_stats"):
        refuse_statistics(folder, origin)
    if sized:
        kind: Kind = parts[0]
        if op.name == "add_n":
            signature = signature_of(op.name, _sum_program(kind), (kind,), (True,), (kind,), (), (recording, training),
                                     origin)
            return Call(signature, (kind,), 0, None)
        rows = kind.rows * len(parts)
        out = kind_of(kind.ctx, kind.dtype, (rows, *kind.pool.rest))
        signature = signature_of(op.name, _rows_program(kind), (kind,), (True,), (out,), (), (recording, training),
                                 origin, (op.name, kind))
        return Call(signature, (out,), rows, None)
    kinds = [p for p in parts if isinstance(p, Kind)]
    devices = {str(c) for c in (*[k.ctx for k in kinds], *[a._ctx for a in shared])}
    if len(devices) > 1:
        raise ContextError(explain(op.name, "The arrays live on different devices.", expected="one device",
                                   received=" and ".join(sorted(devices)),
                                   fix="copy one of them with .as_in_context(ctx)"))
    program, outs = _program(op, typed, parts, shared, training)
    ragged = [k.ragged for k in kinds]
    loose = any(ragged) and all(ragged) and can_be_ragged(program, ragged, training)
    out_kinds = tuple(kind_of_type(kinds[0].ctx, t, loose) for t in outs)
    identity = (op, _attributes(typed), tuple(id(s) if not isinstance(s, Kind) else None for s in parts))
    signature = signature_of(op.name, program, kinds, (False,) * len(kinds), out_kinds, tuple(shared),
                             (recording, training), origin, identity if loose else None)
    if isinstance(op.batch, Unsupported):
        signature.remarks.append(f"{op.name} runs sample by sample: {op.batch.why}")
    visible = op.num_visible(typed)
    structure = None if visible == 1 else "list"
    return Call(signature, out_kinds, kinds[0].rows if loose else 0, structure, held=tuple(shared))


_ragged: dict[Any, Signature] = {}


def signature_of(name: str, program: Program, kinds: Sequence[Kind], children: Sequence[bool], outs: Sequence[Kind],
                 shared: Sequence[Any], modes: tuple[bool, bool], origin: str, identity: Any = None) -> Signature:
    """Return the signature of a call; with an `identity`, the one that calls of any number of rows share."""
    key = None
    if identity is not None:
        key = (identity, modes, tuple(k.pool for k in kinds))
        found = _ragged.get(key)
        if found is not None and all(a is b for a, b in zip(found.shared, shared)):
            return found
    ragged = identity is not None
    arguments = tuple(Argument(k.pool, 0 if ragged and not c else k.rows, c) for k, c in zip(kinds, children))
    outputs = tuple(Output(k.pool, 0 if ragged else k.rows) for k in outs)
    made = Signature(name, program, arguments, outputs, tuple(shared), modes[1], modes[0], ragged, origin)
    if key is not None:
        _ragged[key] = made
    return made


def _sum_program(kind: Kind) -> Program:
    """The sum of any number of children."""
    of = TensorType(kind.shape, kind.dtype)
    return Program((of, of), ("edge", "node"), (0,), (), (Step("sum", {}, (0,), (1,), "node"),), (1,))


def _rows_program(kind: Kind) -> Program:
    """The rows of any number of children, one after the other: they lie so when they have been gathered."""
    return Program((TensorType(kind.shape, kind.dtype),), ("edge",), (0,), (), (), (0,))


def _program(op: OpDef, typed: Mapping[str, Any], parts: Sequence[Any], shared: Sequence[Any],
             training: bool) -> tuple[Program, list[TensorType]]:
    """Return the program of one step, and the types of what a user sees of its results."""
    arguments: list[Node] = []
    held: list[Node] = []
    variables: list[Value] = []
    types: dict[Node, tuple[TensorType, ...]] = {}
    names: list[str] = []
    by_identity: dict[int, Node] = {}
    for array in shared:
        node = by_identity[id(array)] = Node(None, f"shared{len(held)}")
        types[node] = (TensorType(array.shape, array._t.dtype),)
        held.append(node)
    for index, part in enumerate(parts):
        if part is None:
            continue
        names.append(op.input_names[0] if op.variadic else op.input_names[index])
        if isinstance(part, Kind):
            node = Node(None, f"input{index}")
            types[node] = (TensorType(part.shape, part.dtype),)
            arguments.append(node)
        else:
            node = by_identity[part]
        variables.append(Value(node))
    hints = {} if op.variadic or tuple(names) == op.present_inputs(typed) else {"__inputs__": ",".join(names)}
    node = Node(op, op.name, tuple(variables), typed, hints)
    _, outs = infer_node(node, [types[v.node][0] for v in variables], (TensorType(),) * node.num_outputs, training)
    types[node] = tuple(outs)
    if not all(t.known for t in outs):
        raise MXNetError(explain(op.name, "The shape of the result is not known before it is computed.",
                                 expected="an operator whose result's shape follows from those of its arguments",
                                 received=repr(parts), fix="run this part with fold.batching(mode='off')"))
    visible = op.num_visible(typed)
    program = to_program([Value(node, i) for i in range(visible)], arguments, held, types)
    return program, list(outs[:visible])


def refuse_statistics(folder: Any, origin: str) -> None:
    """Say why BatchNorm in train mode does not fold, unless the scope was told how it should."""
    if folder.statistics == "refuse":
        raise MXNetError(explain("BatchNorm", "In train mode its statistics would mix the samples of a folded batch, "
                                 "which the same program run sample by sample does not do.",
                                 received=f"a call at {origin} inside fold.batching()",
                                 fix="use LayerNorm, call the layer in predict mode, keep it outside the scope, or "
                                     "say fold.batching(statistics='sample') to run it sample by sample"))


def record_part(folder: Any, future: Future, key: Any) -> Any:
    """Record ``future[key]`` for keys of whole numbers, plain slices and Ellipsis; None for the others."""
    shape = future.kind.shape
    keys = list(key) if isinstance(key, tuple) else [key]
    if len(keys) > len(shape) or any(not (type(k) is int or (type(k) is slice and k.step in (None, 1))) for k in keys):
        return None
    result: Any = future
    slicing, squeeze = lookup("slice_axis"), []
    for axis, k in enumerate(keys):
        size = shape[axis]
        if type(k) is int:
            if not -size <= k < size:
                return None  # the array itself says so, in its own words
            begin = k + size if k < 0 else k
            result = slicing(result, axis=axis, begin=begin, end=begin + 1)
            squeeze.append(axis)
        elif k != slice(None):
            begin, end, _ = k.indices(size)
            if end <= begin:
                return None
            result = slicing(result, axis=axis, begin=begin, end=end)
    if not squeeze:
        return result if result is not future else Future.make(folder, future.ref, future.kind, PART)
    kept = tuple(s for axis, s in enumerate(result.shape) if axis not in squeeze) or (1,)
    return lookup("Reshape")(result, shape=kept)
