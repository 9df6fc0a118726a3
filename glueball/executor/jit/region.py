"""A region: part of a plan that runs in one native call. Building it from nodes, and calling it with tensors.

The one idea: a call costs one block of scratch memory, one tensor per result, and one look at each input; everything
else was decided when the region was built. Words are taken from a pool, so that threads and nested calls never share
them.

Not here: which nodes (partition.py), what they become (rules.py), the machine's side (encode.py, driver.py).
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from itertools import pairwise
from typing import Any, NamedTuple, final

import torch

from ...base.memory import on_release
from ...ops.opdef import TensorType
from ...symbol.graph import Node, Value
from ..interpret import run_node
from ..native.compile import compiler
from .assemble import Words
from .build import Builder
from .driver import END, Driver, driver, driver_at
from .encode import encode
from .memory import Layout, lay_out
from .pack import pack
from .rules import RULES, parts_of
from .units import Copy, Kernel, Pack, Product, Unit

__all__ = ["Region"]

Tensor = torch.Tensor

_BLOCKS: list[Tensor] = []  # scratch memory that no call uses now; fresh memory costs more than the call
on_release(_BLOCKS.clear)


def _block(size: int) -> Tensor:
    """Return scratch memory of at least so many bytes."""
    try:
        found = _BLOCKS.pop()
    except IndexError:
        return torch.empty(size, dtype=torch.uint8)
    return found if found.numel() >= size else torch.empty(size, dtype=torch.uint8)


class _Arranged(NamedTuple):
    """Units, what they compute, and their memory: see `Region`."""

    units: list[Unit]
    made_by: Mapping[Node, set[int]]
    layout: Layout


@final
class Region:
    """Nodes that run together.

    nodes : in order; results : the values that are handed out; attrs : of nodes for which they are others than when the
    nodes were made (a region for another size); seconds : of building; waited : seconds in which the first call waited
    for machine code, which a thread of its own compiles
    """

    def __init__(self, nodes: Sequence[Node], results: Sequence[Value], types: Mapping[Node, tuple[TensorType, ...]],
                 training: bool) -> None:  # fmt: skip
        start = time.perf_counter()
        self.nodes, self.results, self.training = list(nodes), list(results), training
        builder = Builder(types, nodes, training)
        _reserve(builder, nodes, set(results))
        self.attrs: Mapping[Node, Mapping[str, Any]] = {}
        made: dict[Node, set[Unit]] = {}
        for node in nodes:
            assert node.op is not None  # variables are inputs
            before = len(builder.units)
            RULES[node.op.name].lower(builder, node)
            made[node] = {*builder.units[before:], *builder.units_of(node)}
        builder.outputs(results)
        self.inputs = builder.inputs
        units = [u for u in builder.units if not isinstance(u, Kernel) or u.outputs or u.sums or u.row_outputs]
        self.dtype: torch.dtype = builder.dtype
        places = {unit: place for place, unit in enumerate(units)}
        self._own = {node: [places[unit] for unit in own if unit in places] for node, own in made.items()}
        self.shapes = [builder.shape(v) for v in results]
        self._begin(lambda: units, None)
        self.seconds = time.perf_counter() - start

    @property
    def plain(self) -> list[Unit]:
        """The units without those that only put weights in order: what the nodes were made into."""
        return [unit for unit in self.units if not isinstance(unit, Pack)]

    def again(self, plain: Callable[[], Sequence[Unit]], words: Words, shapes: Sequence[tuple[int, ...]]) -> Region:
        """Return the region of the same nodes for other sizes. plain : makes the units; shapes : of the results"""
        made = copy(self)
        made.shapes = list(shapes)
        made._begin(plain, words)
        return made

    def _begin(self, plain: Callable[[], Sequence[Unit]], words: Words | None) -> None:
        """Choose how products are done, give the units memory, and write them down for the driver, unless they are."""
        self._arranged: _Arranged | None = None
        self._plain = plain
        if words is None:
            words = encode(self.units, self.layout, len(self.inputs), self.dtype)
        self._words = words
        one = torch.empty((), dtype=self.dtype)
        self._likes = [one.expand(shape) for shape in self.shapes]  # torch makes an array like another one faster
        self._driver = driver()
        compiler().begin()
        self._run: Driver | None = None
        self.waited = 0.0
        self._pool: list[array[int]] = []
        self._relocations = words.relocations.buffer_info()[0], len(words.relocations) // 3

    def _arrange(self) -> _Arranged:
        if self._arranged is None:
            plain = self._plain()
            units = pack(plain, compiler().vector_bytes // self.dtype.itemsize, torch.get_num_threads())
            made_by = {node: {plain[place].number for place in own} for node, own in self._own.items()}
            self._arranged = _Arranged(units, made_by, lay_out(units, self.dtype.itemsize))
        return self._arranged

    @property
    def units(self) -> list[Unit]:
        """What runs, in order."""
        return self._arrange().units

    @property
    def made_by(self) -> Mapping[Node, set[int]]:
        """Numbers of the units in which a node is computed."""
        return self._arrange().made_by

    @property
    def layout(self) -> Layout:
        """Where scratch memory lies."""
        return self._arrange().layout

    def __call__(self, *tensors: Tensor) -> Any:
        """Run; tensors are the inputs in order. Returns a tensor for one result, else a list."""
        bases, results, kept = self._bases(tensors)
        try:
            words = self._pool.pop()
        except IndexError:
            words = self._copy()
        bases[0] = words.buffer_info()[0]
        run = self._run
        assert run is not None  # there are words
        stopped = run(bases[0], *self._relocations, bases.buffer_info()[0], 0)
        self._pool.append(words)
        _BLOCKS.append(kept[0])
        if stopped:
            self._complain(stopped - 1, kept[1:])
        return results[0] if len(results) == 1 else results

    def _bases(self, tensors: Sequence[Tensor]) -> tuple[array[int], list[Tensor], list[Tensor]]:
        """Return the addresses for the driver, the results' memory, and what must live as long as the call."""
        given = [t if t.is_contiguous() else t.contiguous() for t in tensors]
        results = [torch.empty_like(like, memory_format=torch.contiguous_format) for like in self._likes]
        scratch = _block(self._words.scratch)
        places = [t.data_ptr() for own in ((scratch,), given, results) for t in own]
        return array("q", [0, *places]), results, [scratch, *given]

    def _copy(self) -> array[int]:
        """Return words that no call uses; what they need is compiled by then."""
        if self._run is None:
            start = time.perf_counter()
            self._words.complete()
            compiler().wait((self._driver,))
            self._run = driver_at(self._driver.address)
            self.waited = time.perf_counter() - start
        return array("q", self._words.words)

    def by_units(self, watch: Callable[[int], None], *tensors: Tensor) -> Any:
        """Run unit by unit, as a call does at once; `watch` is called before each with its place among `units`, and
        before one more that is empty: what the watching itself costs.
        """
        bases, results, kept = self._bases(tensors)
        for place, (begin, end) in enumerate(pairwise(self._words.starts)):
            words = self._copy()
            words[end] = END
            bases[0] = words.buffer_info()[0]
            watch(place)
            run = self._run
            assert run is not None  # there are words
            stopped = run(bases[0], *self._relocations, bases.buffer_info()[0], begin)
            if stopped:
                self._complain(stopped - 1, kept[1:])
        words = self._copy()
        bases[0] = words.buffer_info()[0]
        watch(len(self.units))
        run = self._run
        assert run is not None  # there are words
        run(bases[0], *self._relocations, bases.buffer_info()[0], self._words.starts[-1])
        return results[0] if len(results) == 1 else results

    def _complain(self, position: int, tensors: Sequence[Tensor]) -> None:
        """Raise the error of the node that stopped the region: run it by its own kernel, with what comes before it."""
        values = dict(zip(self.inputs, tensors))
        for node in self.nodes[:position]:
            attrs = self.attrs.get(node, node.attrs)
            given = Node(node.op, node.name, node.inputs, attrs, node.hints, node.origin, node.serial)
            found = run_node(given, [values[v] for v in node.inputs], self.training)
            values.update({Value(node, index): tensor for index, tensor in enumerate(found)})
        last = self.nodes[position]
        assert last.op is not None  # variables are inputs
        last.op.kernel(*[values[v] for v in last.inputs], **self.attrs.get(last, last.attrs))
        raise AssertionError(f"{self.nodes[position].name} stopped its region, and finds no fault by itself")

    @property
    def scratch(self) -> int:
        """Bytes that a call needs beside its inputs and results."""
        return self._words.scratch

    def text(self) -> str:
        """Return the units, a line each, with sizes and memory."""
        shared, separate = self.layout.size / 1e6, self.layout.naive / 1e6
        lines = [f"region of {len(self.nodes)} operators: {len(self.units)} units, {shared:.2f} MB of scratch memory "
                 f"({separate:.2f} MB without sharing), built in {self.seconds * 1e3:.1f} ms"]  # fmt: skip
        return "\n".join([*lines, *[f"  {unit.number}: {self.line(unit)}" for unit in self.units]])

    def line(self, unit: Unit) -> str:
        """Return what a unit does, in a few words."""
        if isinstance(unit, Kernel):
            made = ((len(unit.outputs), "array(s)"), (len(unit.row_outputs), "number(s) per row"),
                    (len(unit.sums), "sums down the rows"))  # fmt: skip
            return (f"kernel over {unit.rows} × {unit.size // unit.rows}: reads {len(unit.inputs)}, writes "
                    + ", ".join(f"{count} {what}" for count, what in made if count))  # fmt: skip
        if isinstance(unit, Product):
            many = f"{unit.count} × " if unit.count > 1 else ""
            flops = 2 * unit.count * unit.m * unit.n * unit.k
            own = ", by panels" if unit.packed is not None else ""
            return f"product {many}({unit.m} × {unit.k}) · ({unit.k} × {unit.n}), {flops / 1e6:.2f} MFLOP{own}"
        if isinstance(unit, Copy):
            return f"array of {' × '.join(str(size) for size, *_ in unit.axes)} put in order"
        if isinstance(unit, Pack):
            return f"panels of a weight ({unit.depth} × {unit.columns})"
        return f"guard of {self.nodes[unit.what].name}"


def _reserve(builder: Builder, nodes: Sequence[Node], results: set[Value]) -> None:
    """Give the parts of wider arrays their places there, where nothing else asks for them as results."""
    made = set(nodes)
    for node in reversed(nodes):
        if node.op is None or node.op.name not in ("Concat", "stack"):
            continue
        for value, spot in zip(node.inputs, parts_of(node, [builder.shape(v) for v in node.inputs])):
            if value.node in made and value not in results and value not in builder.places:
                builder.places[value] = (Value(node), *spot)

