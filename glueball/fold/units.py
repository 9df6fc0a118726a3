"""Blocks as units: one recorded call for a whole hybridized block or built-in layer.

The one idea: the block is traced once per exact form of its arguments (kinds, structure, mode); the graph becomes the
program of a signature. Lists of children are one argument of any length where the graph allows it (ragged.py), and
calls that differ only in the number of rows of a sequence share a signature where every step sees only rows.

Not here: how the program is found (ragged.py) and checked (verify.py).
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, final

from ..base.errors import UnsupportedError, user_frame
from ..base.modes import is_recording, is_training
from ..base.tree import flatten, unflatten
from ..executor.cached_op import TracedGraph
from ..gluon.hybrid import HybridBlock, structural_changes
from ..gluon.trace import make_cached_op
from ..ndarray.creation import own_zeros
from ..ndarray.generate import compile_source
from ..ndarray.ndarray import NDArray
from ..ops.opdef import Unsupported
from . import operator_calls
from .body import can_be_ragged
from .future import Future
from .kinds import NO_CHILDREN, Kind, kind_of, kind_of_type
from .ragged import find_ragged, to_program
from .signature import NOT_RAGGED, Call
from .steps import Program
from .verify import agrees

__all__ = ["Unit", "record", "is_unit"]

_BUILT_IN = "glueball.gluon."
_TRACED = 3  # children in the trace: with two, a literal half looks like a mean


def is_unit(block: Any) -> bool:
    """Whether a block is recorded as one call: it is hybridized, or a built-in layer without children."""
    return block._active or (not block._children and type(block).__module__.startswith(_BUILT_IN))


def record(folder: Any, block: HybridBlock, args: tuple[Any, ...]) -> Any:
    """Record the call of a block, or return NotImplemented where it must be taken apart.

    Budget: about 2 µs for a tree's cell with two results (fold.explain() shows the time of recording); hence one long
    function.
    """
    held = block.__dict__
    unit = held["_fold_unit"]
    if unit is None or unit.changes != structural_changes() or unit.hybridized is not held["_active"]:
        if not is_unit(block):
            return NotImplemented
        unit = held["_fold_unit"] = Unit(block)
    if held["_forward_hooks"] or held["_forward_pre_hooks"] or unit.refused:
        folder.engine.report.apart[type(block).__name__] = unit.refused or "it has forward hooks"
        return NotImplemented
    parts: list[Any] = [is_recording(), is_training()]
    refs: list[Any] = []
    children = 0
    lists: list[int] | None = None
    outside = late = False  # late: an array comes after a list
    for value in args:
        kind = type(value)
        if kind is Future and value.folder is folder and value.ref >= 0:
            parts.append(value.kind)
            refs.append(value.ref)
            late = lists is not None
        elif kind is list or kind is tuple:
            if not value:
                parts.append(NO_CHILDREN)
                continue
            if lists is None:
                lists, children = [], len(value)
            elif len(value) != children:
                return unit.general(folder, args)
            own: Any = value[0].kind if type(value[0]) is Future else None
            for child in value:
                if type(child) is not Future or child.kind is not own or child.folder is not folder or child.ref < 0:
                    return unit.general(folder, args)
                lists.append(child.ref)
            parts.append(own.children)
        elif isinstance(value, NDArray):
            parts.append(_kind(value, folder).outside)
            refs.append(value)  # registered below, when it is known in which form
            outside, late = True, lists is not None
        elif value is None or kind in (int, bool, str):
            parts.append((kind, value))
        else:
            return unit.general(folder, args)
    key = tuple(parts)
    call = unit.calls.get(key)
    if call is None:
        if not refs and not lists:
            return unit.general(folder, args)
        call = unit.calls[key] = unit.build(folder, args, parts, children)
    if call.sizes is None:
        children = 0
    elif children not in call.sizes:
        call = unit.other_size(folder, call, args, parts, children)
        children = 0 if call.sizes is None else children
    if call is unit.not_one:
        return NotImplemented
    if late and call.sizes is None:  # no list for the call: all arrays in the order they were given
        return folder.add(call, _references(folder, call, flatten(list(args), NDArray)[0]))
    if outside:
        vectors = call.vectors
        for index, value in enumerate(refs):
            if type(value) is not int:
                refs[index] = folder.external(value, vectors and value._t.dim() == 1)[0]
    if lists is not None:
        refs += lists
    return folder.add(call, refs, children)


@final
class Unit:
    """What is known of one block: its calls, by exact form."""

    __slots__ = ("block", "hybridized", "changes", "calls", "loose", "forms", "refused", "not_one", "__weakref__")

    def __init__(self, block: HybridBlock) -> None:
        self.block = block
        self.hybridized = block._active
        self.changes = structural_changes()
        self.calls: dict[Any, Call] = {}
        self.loose: dict[Any, Call] = {}  # calls that serve any number of rows, by what is left of the form without it
        self.forms: dict[Any, Any] = {}  # calls for structures given as arrays (arrays.py)
        self.refused = ""
        self.not_one: Any = object()  # stands for calls that must be taken apart

    # -- general arguments ---------------------------------------------------------------------------------------------
    def general(self, folder: Any, args: tuple[Any, ...]) -> Any:
        """Record a call with arguments of any structure: every array is an argument of its own."""
        found, structure = flatten(list(args), NDArray)
        if not found:
            return NotImplemented
        kinds = [value.kind if _is_own(value, folder) else _kind(value, folder).outside for value in found]
        parts: list[Any] = [*folder.modes(), *kinds]
        key = (structure, *parts)
        try:
            call = self.calls.get(key)
        except TypeError:
            return NotImplemented
        if call is None:
            call = self.calls[key] = self.plain(folder, args, parts)
        if call is self.not_one:
            return NotImplemented
        return folder.add(call, _references(folder, call, found))

    # -- building ------------------------------------------------------------------------------------------------------
    def trace(self, args: Sequence[Any], training: bool) -> TracedGraph | None:
        """Trace the block on arrays of the arguments' shapes; None where it reads values or the like."""
        builder = make_cached_op(self.block).build
        return builder(tuple(_stand_in(a) for a in args), training)

    def plain(self, folder: Any, args: Sequence[Any], parts: Sequence[Any]) -> Call:
        """Build a call in which every array is an argument of its own."""
        recording, training = parts[:2]
        arrays, structure = flatten(list(args), NDArray)
        kinds = [_kind(v, folder) for v in arrays]
        vectors = [v.ndim == 1 and not _is_own(v, folder) for v in arrays]
        form = _form(kinds, vectors, (structure, recording, training))
        known = None if form is None else self.loose.get(form)
        if known is not None:
            return _of_rows(known, kinds[0].shape[0])
        graph = self._traced(args, training)
        if graph is None:
            return self.not_one
        program = to_program(graph.outputs, graph.data, _shared_nodes(graph), graph.types)
        call = self._call(folder, graph, program, kinds, (False,) * len(arrays), vectors, (recording, training))
        call.signature.reference = self, structure
        if call.signature.ragged and form is not None and not graph.asked:
            self.loose[form] = call
        return call

    def _traced(self, args: Sequence[Any], training: bool) -> TracedGraph | None:
        try:
            graph = self.trace(args, training)
        except UnsupportedError as error:
            self.refused = str(error).splitlines()[0]
            return None
        return graph

    def build(self, folder: Any, args: Sequence[Any], parts: Sequence[Any], children: int) -> Call:
        """Build the call for a new form of arguments."""
        if not children:
            return self.plain(folder, args, parts)
        recording, training = parts[:2]
        program = self._ragged(folder, args, training)
        if not isinstance(program, Program):
            call = Call(None, (), 0, None, sizes=set())  # leads to the others only
            call.held = program
            return call
        graph = self._traced(_with_children(args, _TRACED), training)
        assert graph is not None  # it has just been traced
        kinds, listed = _kinds_of(args, folder)
        call = self._call(folder, graph, program, kinds, listed, [False] * len(kinds), (recording, training))
        call.sizes = set()
        call.signature.reference = self, [type(a) if isinstance(a, (list, tuple)) and a else
                                          "array" if isinstance(a, NDArray) else (a,) for a in args]
        return call

    def _ragged(self, folder: Any, args: Sequence[Any], training: bool) -> Program | str:
        try:
            graph = self.trace(_with_children(args, _TRACED), training)
        except Exception as error:  # a block that wants exactly three children says so in its own way
            return str(error).splitlines()[0]
        if graph is None:
            return "the block cannot be traced"
        nodes = iter(graph.data)
        arguments: list[Any] = []
        for value in args:
            if isinstance(value, (list, tuple)):
                if value:
                    arguments.append([next(nodes) for _ in range(_TRACED)])
            elif isinstance(value, NDArray):
                arguments.append(next(nodes))
        return find_ragged(graph.outputs, arguments, _shared_nodes(graph), graph.types)

    def other_size(self, folder: Any, call: Call, args: Sequence[Any], parts: Sequence[Any], children: int) -> Call:
        """Return the call for a number of children that was not seen before."""
        known = call.others.get(children)
        if known is not None:
            return known
        if call.signature is not None:
            graph = self._traced(args, parts[1])
            if graph is not None and _same_shared(call.signature, graph) and agrees(
                    call.signature.program, graph.outputs, _arguments(args, graph.data), _shared_nodes(graph),
                    graph.types):
                assert call.sizes is not None  # the caller looked
                call.sizes.add(children)
                return call
        found = call.others[children] = self.plain(folder, args, parts)
        if found is not self.not_one:
            found.signature.remarks.append(f"{NOT_RAGGED}{call.held}" if call.signature is None else
                                           f"{NOT_RAGGED}with {children} of them the computation is another one")
        return found

    def _call(self, folder: Any, graph: TracedGraph, program: Program, kinds: Sequence[Kind], listed: Sequence[bool],
              vectors: Sequence[bool], modes: tuple[bool, bool]) -> Call:
        """Make the call of a program; `vectors`: arguments from outside that can be taken element by element."""
        shared = [p for _, p in graph.parameters] + [a for _, a in graph.constants]
        for step in program.steps:
            if getattr(step.op, "name", "") == "BatchNorm" and modes[1] and not step.attrs["use_global_stats"]:
                operator_calls.refuse_statistics(folder, user_frame(4))
        ragged = [k.ragged or vector for k, vector in zip(kinds, vectors)]
        loose = not any(listed) and any(ragged) and all(ragged) and can_be_ragged(program, ragged, modes[1])
        if loose:
            kinds = [kind_of(k.ctx, k.dtype, k.shape, True) if vector else k for k, vector in zip(kinds, vectors)]
        types = [graph.types[v.node][v.index] for v in graph.outputs]
        outs = [kind_of_type(kinds[0].ctx, t, loose) for t in types]
        identity = (id(self), _shape_of_program(program)) if loose else None
        signature = operator_calls.signature_of(self.block.name or type(self.block).__name__, program, kinds, listed,
                                                outs, shared, modes, user_frame(4), identity)
        for step in program.steps:
            if not isinstance(step.op, str) and isinstance(step.op.batch, Unsupported):
                signature.remarks.append(f"{step.op.name} runs sample by sample: {step.op.batch.why}")
        return Call(signature, outs, kinds[0].rows if loose else 0, _structure(graph.structure, len(outs)), held=self,
                    vectors=loose, together=_builder(graph.structure, len(outs)))


def _form(kinds: Sequence[Kind], vectors: Sequence[bool], rest: tuple[Any, ...]) -> Any:
    """Return what calls that differ only in the number of rows have in common; None where that is no number of rows."""
    rows = kinds[0].shape[0] if kinds[0].shape else 0
    if rows < 2 or any(not (k.ragged or vector) or k.shape[0] != rows for k, vector in zip(kinds, vectors)):
        return None
    return (*rest, *[(k.ctx, k.dtype, k.shape[1:], vector) for k, vector in zip(kinds, vectors)])


def _of_rows(call: Call, rows: int) -> Call:
    """Return a call like another one for another number of rows."""
    kinds = [kind_of(k.ctx, k.dtype, (rows, *k.shape[1:]), len(k.shape) == 1) for k in call.kinds]
    return replace(call, kinds=kinds, rows=rows)


def _structure(structure: Any, count: int) -> Any:
    """Return how results are put together: None for a bare one, a word for a flat list or tuple."""
    if structure == "*":
        return None
    if structure[0] in ("list", "tuple") and structure[1:] == ("*",) * count:
        return structure[0]
    return structure


def _builder(structure: Any, count: int) -> Any:
    """Return a function from the list of results to nested lists and tuples of them, as fast as written by hand."""
    if structure == "*" or structure[1:] == ("*",) * count:
        return None
    held: list[Any] = []
    numbers = iter(range(count))

    def source(part: Any) -> str:
        if part == "*":
            return f"found[{next(numbers)}]"
        if part[0] == "=":
            held.append(part[1])
            return f"held[{len(held) - 1}]"
        if part[0] not in ("list", "tuple"):
            raise LookupError
        inner = ", ".join([source(p) for p in part[1:]])
        return f"[{inner}]" if part[0] == "list" else f"({inner}{',' if len(part) == 2 else ''})"

    try:
        text = f"def together(found):\n    return {source(structure)}\n"
    except LookupError:  # dictionaries and named tuples
        return lambda found: unflatten(structure, found)
    return compile_source(text, "results of a folded block", {"held": held}, "together")


def _shape_of_program(program: Program) -> tuple[Any, ...]:
    """Return what two programs that differ only in the number of rows have in common."""
    steps = tuple((s.op if isinstance(s.op, str) else s.op.name, s.inputs, s.outputs,
                   tuple(sorted((k, repr(v)) for k, v in s.attrs.items()))) for s in program.steps)
    return steps, program.arguments, program.shared, program.results


def _same_shared(signature: Any, graph: TracedGraph) -> bool:
    """Whether a graph reads the same parameters and constants, in the same order."""
    own = [*[p for _, p in graph.parameters], *[a for _, a in graph.constants]]
    return len(own) == len(signature.shared) and all(a is b for a, b in zip(own, signature.shared))


def _shared_nodes(graph: TracedGraph) -> list[Any]:
    return [n for n, _ in graph.parameters] + [n for n, _ in graph.constants]


def _stand_in(value: Any) -> Any:
    """Return an array of a future's shape for tracing: only its type is looked at."""
    if isinstance(value, Future):
        return own_zeros(value.shape, value.kind.ctx, value.kind.dtype)
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(_stand_in(v) for v in value)
    return value


def _with_children(args: Sequence[Any], count: int) -> list[Any]:
    """Return the arguments with every list of children of one length."""
    return [type(a)([a[0]] * count) if isinstance(a, (list, tuple)) and a else a for a in args]


def _arguments(args: Sequence[Any], data: Sequence[Any]) -> list[Any]:
    """Return the variables of a graph's arguments, those of a list together."""
    nodes = iter(data)
    found: list[Any] = []
    for value in args:
        if isinstance(value, (list, tuple)):
            if value:
                found.append([next(nodes) for _ in value])
        elif isinstance(value, NDArray):
            found.append(next(nodes))
    return found


def _is_own(value: NDArray, folder: Any) -> bool:
    """Whether an array is a future of this scope."""
    return type(value) is Future and value.folder is folder and value.ref >= 0


def _references(folder: Any, call: Call, arrays: Sequence[NDArray]) -> list[int]:
    """Return the references of a call's arrays; those from outside are registered in the form that it wants."""
    return [a.ref if _is_own(a, folder) else folder.external(a, call.vectors and a.ndim == 1)[0] for a in arrays]


def _kind(value: NDArray, folder: Any) -> Kind:
    """Return the kind of an argument; vectors from outside (also another scope's) as whole rows."""
    if type(value) is Future:
        kind = value.kind
        return kind if _is_own(value, folder) else kind_of(kind.ctx, kind.dtype, kind.shape)
    return kind_of(value._ctx, value._t.dtype, tuple(value._t.shape))


def _kinds_of(args: Sequence[Any], folder: Any) -> tuple[list[Kind], list[bool]]:
    """Return the kinds of single arguments and then of lists of children, and which are lists."""
    single = [_kind(a, folder) for a in args if isinstance(a, NDArray)]
    listed = [a[0].kind for a in args if isinstance(a, (list, tuple)) and a]
    return [*single, *listed], [False] * len(single) + [True] * len(listed)
