"""Signatures that differ in sizes alone: from two that were compiled, plans for all others.

The one idea: a plan is a structure and numbers. Where the plans for two sizes have one structure, and every number in
them grows evenly from the one to the other, the plan for a third size is that structure with the numbers for that size.
What two points cannot show is asked: every operator is inferred for the new size, and must have the types that were
foretold (a slice that is cut off at the end of a short array has not). Anything odd is compiled as always: a forward
that looked at a shape, two axes of one array that change, a size of 0 or 1.

Not here: numbers (affine.py), regions (jit/resized.py), who keeps plans (cached_op.py, gluon/contrib/compiled_step.py).
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import FunctionType
from typing import Any, final

import torch

from ..base.errors import MXNetError
from ..ndarray.generate import compile_source
from ..ops.opdef import TensorType
from ..passes.constants import RECIPE
from ..passes.program import Program
from ..symbol.graph import Node, Value, topological
from ..symbol.infer import infer_node
from .affine import Affine, Different, Line, value, varies
from .codegen import Source
from .interpret import run_operator
from .jit.region import Region
from .jit.resized import RegionForm

__all__ = ["MOST", "Family", "GraphForm", "SourceForm", "TracedForm", "loosely", "make_room", "remember", "sizes_of"]

Types = Mapping[Node, "tuple[TensorType, ...]"]

MOST = 64  # signatures of a block whose plans are kept
FAR = 8  # times as large as what was compiled: what pays for many rows may not have paid for a few
_TRIES = 4  # pairs of signatures that are compared before a family is given up
_serial = itertools.count()


def loosely(key: Any) -> Any:
    """Return what of a signature does not depend on sizes. A signature ends in (shape, dtype) per array."""
    return tuple((len(part[0]), part[1]) if _is_array(part) else part for part in key)


def sizes_of(key: Any) -> tuple[int, ...]:
    """Return the sizes of all axes of the arrays of a signature."""
    return tuple(size for part in key if _is_array(part) for size in part[0])


def _is_array(part: Any) -> bool:
    return isinstance(part, tuple) and len(part) == 2 and isinstance(part[0], torch.Size)


def make_room(kept: dict[Any, Any]) -> None:
    """Let go of what was not used for longest, where there is no room for one more."""
    while len(kept) >= MOST:
        oldest = min(kept, key=lambda key: kept[key].used)
        del kept[oldest]


def remember(families: dict[Any, Family], key: Any, entry: Any) -> Family:
    """Take notice of a signature that was compiled; returns the family that it belongs to."""
    loose, sizes = loosely(key), sizes_of(key)
    family = families.get(loose)
    if family is None or family.outgrown(sizes):
        families.pop(loose, None)
        make_room(families)
        family = families[loose] = Family()
    family.offer(sizes, entry)
    return family


@final
class _Ahead:
    """Work that somebody may ask for, in a thread of its own."""

    def __init__(self) -> None:
        self._jobs: list[Callable[[], Any]] = []
        self._worker: threading.Thread | None = None

    def add(self, job: Callable[[], Any]) -> None:
        """Do something soon."""
        self._jobs.append(job)
        if self._worker is None or not self._worker.is_alive():
            self._worker = threading.Thread(target=self._work, name="glueball sizes")
            self._worker.start()

    def rest(self) -> None:
        """Wait until it is done: a process that is copied has no such thread, and nothing locked by one."""
        if self._worker is not None and self._worker is not threading.current_thread():
            self._worker.join()

    def _work(self) -> None:
        while self._jobs:
            self._jobs.pop(0)()


_ahead = _Ahead()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_ahead.rest)


@final
class Family:
    """Signatures of one structure. bases : sizes (of all axes of all arguments) and entries of two of them."""

    def __init__(self) -> None:
        self.bases: list[tuple[tuple[int, ...], Any]] = []
        self.forms: dict[Any, Any] = {}  # by a key of the caller's: what the bases' plans have in common, or None
        self._tries = self.used = 0
        self._line: Line | None = None
        self._place = 0  # of the axis that is the size
        self._sizes: Any = None
        self._lock = threading.RLock()  # held while plans are compared

    def offer(self, sizes: tuple[int, ...], entry: Any) -> None:
        """Take notice of a signature that was compiled."""
        with self._lock:
            self._offer(sizes, entry)

    def _offer(self, sizes: tuple[int, ...], entry: Any) -> None:
        if self._line is not None and self.forms.get("graph", True) is not None or self._tries >= _TRIES:
            return
        self.bases = [*self.bases[-1:], (sizes, entry)]
        self.forms.clear()
        self._line = None
        if len(self.bases) == 2:
            self._tries += 1
            self._compare()

    def _compare(self) -> None:
        (one, _), (two, _) = self.bases
        changed = [place for place, (a, b) in enumerate(zip(one, two)) if a != b]
        if not changed or any(min(one[place], two[place]) < 2 for place in changed):
            return
        line = Line(one[changed[0]], two[changed[0]])
        try:
            self._sizes, self._line, self._place = line.lift(one, two), line, changed[0]
        except Different:
            return

    def outgrown(self, sizes: tuple[int, ...]) -> bool:
        """Return whether arrays are so much larger than those of the bases that another plan may be better."""
        return len(self.bases) == 2 and any(
            given > FAR * max(pair) for given, *pair in zip(sizes, *(own for own, _ in self.bases))
        )

    def size_of(self, sizes: tuple[int, ...]) -> int | None:
        """Return the size that a signature is for; None where it is not one of these."""
        if self._line is None:
            return None
        size = sizes[self._place]
        if value(self._sizes, size) != sizes or self.outgrown(sizes):
            return None
        return None if any(given < 2 for given, form in zip(sizes, self._sizes) if isinstance(form, Affine)) else size

    def form(self, key: Any, make: Callable[[Any, Any, Line], Any]) -> Any:
        """Return what `make(entry, other, line)` finds that the signatures have in common; None where that fails."""
        with self._lock:
            if key not in self.forms and self._line is not None:
                (_, one), (_, two) = self.bases
                try:
                    self.forms[key] = make(one, two, self._line)
                except Different:
                    self.forms[key] = None
            return self.forms.get(key)

    def ahead(self, key: Any, make: Callable[[Any, Any, Line], Any]) -> None:
        """Let a thread of its own find `form(key, make)`, if there are two signatures: a third may come."""
        if self._line is not None and key not in self.forms:
            _ahead.add(partial(self._still, self.bases, key, make))

    def _still(self, bases: Sequence[Any], key: Any, make: Callable[[Any, Any, Line], Any]) -> None:
        """Find a form, unless others are the bases by now, which need not have such plans."""
        with self._lock:
            if self.bases is bases:
                self.form(key, make)

    def made(self, key: Any, make: Callable[[Any, Any, Line], Any], size: int) -> Any:
        """Return `form(key, make).at(size)`; None where there is none."""
        form = self.form(key, make)
        try:
            return None if form is None else form.at(size)
        except (Different, MXNetError):
            return None


@final
class _TypesAt(Mapping[Node, "tuple[TensorType, ...]"]):
    """The types of a graph for another size, each when it is asked for."""

    def __init__(self, base: Types, forms: Mapping[Node, Any], size: int) -> None:
        self._base, self._forms, self._size = base, forms, size
        self._known: dict[Node, tuple[TensorType, ...]] = {}

    def __getitem__(self, node: Node) -> tuple[TensorType, ...]:
        found = self._known.get(node)
        if found is None:
            form = self._forms.get(node)
            found = self._known[node] = self._base[node] if form is None else value(form, self._size)
        return found

    def __iter__(self) -> Iterator[Node]:
        return iter(self._base)

    def __len__(self) -> int:
        return len(self._base)


@final
class GraphForm:
    """What two graphs have in common: operators, and attributes and types that grow evenly.

    types, attrs : of nodes of the first graph that depend on the size

    Raises
    ------
    Different : they differ in more, or an array changes in two axes
    """

    def __init__(self, one: Program, two: Program, line: Line, ordered: bool = True) -> None:
        left, right = ((p.order if ordered else topological([v for v in p.outputs if v])) for p in (one, two))
        if len(left) != len(right) or len(one.outputs) != len(two.outputs) or one.training != two.training:
            raise Different("graphs")
        self.program, self._line = one, line
        self.types: dict[Node, Any] = {}
        self.attrs: dict[Node, Any] = {}
        self.pairs = dict(zip(left, right))
        self._lifted: dict[Any, tuple[Any, bool]] = {}
        self._kinds: dict[TensorType, int] = {}  # types, those that depend on the size with forms in their shapes
        self._checks: dict[Any, tuple[Node, Any, list[int], list[int]]] = {}
        places = ({node: place for place, node in enumerate(order)} for order in (left, right))
        self._places: list[dict[Node, int]] = list(places)
        for a, b in zip(left, right):
            self._node(a, b, one.types, two.types)
        for mine, its in zip(one.outputs, two.outputs):
            if (mine is None) != (its is None) or (mine and its and self._wires((mine,), (its,))):
                raise Different("outputs")
        self._lifted.clear()

    def _wires(self, mine: Sequence[Value], its: Sequence[Value]) -> bool:
        """Return whether values are other ones than those of the other graph."""
        left, right = self._places
        return [(left[v.node], v.index) for v in mine] != [(right[v.node], v.index) for v in its]

    def _node(self, a: Node, b: Node, one: Types, two: Types) -> None:
        if a.op is not b.op or self._wires(a.inputs, b.inputs):
            raise Different(f"{a.name} and {b.name}")
        types, grow = self._types_of(one[a], two[b])
        for kind in types if grow else ():
            if sum(isinstance(size, Affine) for size in kind.shape or ()) > 1:
                raise Different(f"{a.name} changes in two axes")
        if grow:
            self.types[a] = types
        if a.op is None:
            return
        if a.hints != b.hints:
            raise Different("hints")
        attrs = self._line.lift(dict(a.attrs), dict(b.attrs))
        if varies(attrs):
            self.attrs[a] = attrs
        ins = tuple(self.types.get(v.node, one[v.node])[v.index] for v in a.inputs)
        if a in self.types or a in self.attrs or any(v.node in self.types for v in a.inputs):
            check = a, self.attrs.get(a), self._numbered(ins), self._numbered(types)
            try:
                self._checks.setdefault((a.op, tuple(attrs.values()), ins, types, a.hints.get("__inputs__")), check)
            except TypeError:  # an attribute that cannot be hashed
                self._checks[a] = check

    def _types_of(self, a: tuple[TensorType, ...], b: tuple[TensorType, ...]) -> tuple[Any, bool]:
        """Return what types have in common, and whether they depend on the size: worked out once for equal ones."""
        found = self._lifted.get((a, b))
        if found is None:
            form = self._line.lift(a, b)
            found = self._lifted[a, b] = form, varies(form)
        return found

    def _numbered(self, kinds: Sequence[TensorType]) -> list[int]:
        return [self._kinds.setdefault(kind, len(self._kinds)) for kind in kinds]

    def check(self, size: int) -> None:
        """See whether inference says the same for a size.

        Raises
        ------
        Different : it does not
        MXNetError : it says that there cannot be such a graph
        """
        kinds: list[TensorType] = []
        for form in self._kinds:
            shape = value(form.shape, size)
            for grows, now in zip(form.shape or (), shape or ()):
                if isinstance(grows, Affine) and now < 2:
                    raise Different("a size below 2")
            kinds.append(TensorType(shape, form.dtype))
        training = self.program.training
        for node, attrs, ins, outs in self._checks.values():
            given, wanted = [kinds[number] for number in ins], [kinds[number] for number in outs]
            if attrs is not None:
                node = Node(node.op, node.name, node.inputs, value(attrs, size), node.hints, node.origin, 0)
            new_ins, new_outs = infer_node(node, given, wanted, training)
            if list(new_ins) != given or list(new_outs) != wanted:
                raise Different(f"{node.name}: {new_outs} where {wanted} was foretold")

    def types_at(self, base: Types, size: int) -> Types:
        """Return the types of the graph for a size. base : of the first graph"""
        return _TypesAt(base, self.types, size)

    def outputs_at(self, size: int) -> list[Value]:
        """Return the outputs of the graph for a size: new nodes, where attributes depend on it."""
        made: dict[Node, Node] = {}
        for node in self.pairs:
            inputs = tuple(Value(made[v.node], v.index) for v in node.inputs)
            attrs = self.attrs.get(node)
            if attrs is not None or inputs != node.inputs:
                given = node.attrs if attrs is None else value(attrs, size)
                made[node] = Node(node.op, node.name, inputs, given, node.hints, node.origin, node.serial)
            else:
                made[node] = node
        return [Value(made[v.node], v.index) for v in self.program.outputs if v is not None]


@final
class SourceForm:
    """What two functions of plans have in common.

    Raises
    ------
    Different : they do not do the same
    """

    def __init__(self, one: Source, two: Source, graph: GraphForm, other: Program, line: Line) -> None:
        if (one.marks, one.overwrites, one.shared) != (two.marks, two.overwrites, two.shared):
            raise Different("functions")
        if one.constants.keys() != two.constants.keys():
            raise Different("constants")
        self.base, self._graph, self._line = one, graph, line
        self._code, self._sizes = self._named(line.text(one.text, two.text))
        self._regions: dict[str, RegionForm] = {}
        self._others: dict[str, Any] = {}  # constants that depend on the size
        self._names: dict[Region, str] = {}
        self._varying: dict[str, list[Node]] = {}  # nodes of a region with attributes that depend on the size
        self._made: dict[str, tuple[Node, Node]] = {}
        own, its = ({id(t): node for node, t in p.constants.items()} for p in (graph.program, other))
        for name, a in one.constants.items():
            b = two.constants[name]
            if name in ("__builtins__", one.name):
                continue
            if isinstance(a, Region) and isinstance(b, Region):
                self._regions[name] = RegionForm(a, b, line)
                self._names[a] = name
                self._varying[name] = [node for node in a.nodes if node in graph.attrs]
            elif isinstance(a, torch.Tensor) and id(a) in own and id(b) in its:
                self._constant(name, own[id(a)], its[id(b)], a, b)
            else:
                self._other(name, a, b)

    def _other(self, name: str, a: Any, b: Any) -> None:
        form = self._line.lift(a, b)
        if varies(form):
            self._others[name] = form

    def _named(self, text: Sequence[Any]) -> tuple[Any, dict[str, Affine]]:
        """Return the code of a function that finds its sizes under names, and the sizes."""
        parts = [f"size_{place}" if isinstance(part, Affine) else str(part) for place, part in enumerate(text)]
        sizes = {name: part for name, part in zip(parts, text) if isinstance(part, Affine)}
        self._text: list[Any] = [
            part
            for grows, run in itertools.groupby(text, lambda part: isinstance(part, Affine))
            for part in (run if grows else ["".join(map(str, run))])
        ]
        if not sizes:
            return self.base.function.__code__, sizes
        function = compile_source(
            "".join(parts), f"plan for sizes {next(_serial)} {self.base.name}", {}, self.base.name
        )
        if not sizes.keys() <= set(function.__code__.co_names):
            raise Different("a size in a text")
        return function.__code__, sizes

    def _constant(self, name: str, a: Node, b: Node, one: torch.Tensor, two: torch.Tensor) -> None:
        """Keep a constant that is the same for all sizes; else how it was made."""
        if RECIPE in a.attrs and RECIPE in b.attrs and self._recipe(a, b):
            self._made[name] = a, b
        else:
            self._other(name, one, two)

    def _recipe(self, a: Node, b: Node) -> bool:
        """Return whether a constant depends on the size."""
        first, second = a.attrs[RECIPE], b.attrs[RECIPE]
        if first.op is not second.op or len(first.inputs) != len(second.inputs):
            raise Different("constants")
        deeper = [self._recipe(v.node, w.node) for v, w in zip(first.inputs, second.inputs)]
        return varies(self._line.lift(dict(first.attrs), dict(second.attrs))) or any(deeper)

    def _cooked(self, a: Node, b: Node, size: int) -> torch.Tensor:
        first, second = a.attrs[RECIPE], b.attrs[RECIPE]
        inputs = [self._cooked(v.node, w.node, size) for v, w in zip(first.inputs, second.inputs)]
        attrs = value(self._line.lift(dict(first.attrs), dict(second.attrs)), size)
        with torch.no_grad():
            return run_operator(first.op, inputs, attrs)[0]

    def at(self, size: int) -> Source:
        """Return the function for a size.

        Raises
        ------
        Different : there is none
        """
        base = self.base
        names = dict(base.constants)
        for name, form in self._others.items():
            names[name] = value(form, size)
        for name, region in self._regions.items():
            made = names[name] = region.at(size)
            made.attrs = {node: value(self._graph.attrs[node], size) for node in self._varying[name]}
        for name, (a, b) in self._made.items():
            names[name] = self._cooked(a, b, size)
        text = "".join(str(value(part, size)) for part in self._text)
        names.update({name: value(form, size) for name, form in self._sizes.items()})
        names[base.name] = function = FunctionType(self._code, names, base.name)
        steps = tuple(names[self._names[step]] if isinstance(step, Region) else step for step in base.steps)
        return replace(base, text=text, function=function, steps=steps, constants=names)


@final
class TracedForm:
    """What two traced graphs have in common (cached_op.TracedGraph).

    Raises
    ------
    Different : they may not be one program
    """

    def __init__(self, one: Any, two: Any, training: bool, line: Line) -> None:
        if one.decides or two.decides or one.structure != two.structure or len(one.data) != len(two.data):
            raise Different("traces")
        if [p for _, p in one.parameters] != [p for _, p in two.parameters] or len(one.constants) != len(two.constants):
            raise Different("parameters")
        for (_, a), (_, b) in zip(one.constants, two.constants):
            line.lift(a._t, b._t)
        self._base = one
        first, second = (Program((*g.outputs, *g.effects), g.types, training) for g in (one, two))
        self._graph = GraphForm(first, second, line, False)

    def at(self, size: int) -> Any:
        """Return the traced graph for a size.

        Raises
        ------
        Different, MXNetError : there is none
        """
        self._graph.check(size)
        return replace(self._base, types=self._graph.types_at(self._base.types, size))
