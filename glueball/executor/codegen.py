"""Writes a plan: a straight line of ATen calls as one Python function, with in-place writes and lifetimes decided here.

The one idea: names in the function are values of the graph; each line is an operator's `emit` text or a call of its
kernel with the attributes bound as constants; a value is deleted after its last use, and an operator with an
`inplace` template overwrites its first input when nobody else can see that buffer. The same writer makes forward and
backward functions.

Not here: which values are computed (plan.py), what is equal to what (passes/).
"""
from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf, nan
from typing import Any, TypeAlias, final

import torch

from ..base import aten
from ..ndarray.generate import compile_source
from ..ops.opdef import TensorType
from ..symbol.graph import Node, Value, present
from .jit.region import Region
from .native import buffers, convolve, normalise, pointwise

__all__ = ["write_function", "Source", "Step", "Watch", "results_of", "roots_of"]

Step: TypeAlias = "Node | Region"
Watch: TypeAlias = "Callable[[int, int | None], None]"

_serial = itertools.count()

# Operators whose kernel always returns new memory, so that overwriting it cannot be seen through an alias.
FRESH = frozenset({
    "FullyConnected", "Convolution", "Deconvolution", "elemwise_add", "elemwise_sub", "elemwise_mul", "elemwise_div",
    "broadcast_add", "broadcast_sub", "broadcast_mul", "broadcast_div", "dot", "batch_dot", "Pooling", "BatchNorm",
    "LayerNorm", "sigmoid", "tanh", "exp", "relu", "Activation", "_plus_scalar", "_minus_scalar", "_mul_scalar",
    "_div_scalar", "_rminus_scalar", "_rdiv_scalar", "_relu_backward", "_sigmoid_backward", "_tanh_backward", "sqrt",
    "square", "Concat", "sum", "mean", "softmax", "log_softmax", "_convolution_backward", "_batch_norm_backward",
    "_pooling_backward", "_layer_norm_backward",
    "_batch_statistics", "_normalise", "_normalise_backward", "_finished_convolution", "_added_convolution",
    "_winograd_weight", "_winograd_convolution", "_winograd_weight_gradient", "_subsample", "_spread",
    "_pointwise_backward"})

# Operators whose results may be any of their inputs: they run sub-graphs, user code, or another kernel's derivative.
HANDING_ON = frozenset({"_foreach", "_while_loop", "_cond", "Custom", "_vjp", "amp_multicast"})


@final
@dataclass(frozen=True, slots=True)
class Source:
    """A generated function.

    text, function, name : what was written, the callable, and what it is called there
    steps, marks : what runs, in order, and the line of the text where each step begins
    overwrites : positions of the steps that write in place
    results : values that are returned
    shared : results that may share memory with the leading ones
    """

    text: str
    function: Any
    name: str
    steps: tuple[Step, ...]
    marks: tuple[int, ...]
    overwrites: frozenset[int]
    results: tuple[Value | None, ...]
    shared: tuple[int, ...] = ()
    constants: Mapping[str, Any] = field(default_factory=dict)

    @property
    def inplace(self) -> int:
        """How many operators write in place."""
        return len(self.overwrites)

    @property
    def waited(self) -> float:
        """Seconds in which first calls waited for machine code."""
        return sum(region.waited for region in self.regions)

    @property
    def regions(self) -> tuple[Region, ...]:
        """The regions that the function calls."""
        return tuple(step for step in self.steps if isinstance(step, Region))

    def watched(self, watch: Watch, units: bool = False) -> Callable[..., Any]:
        """Return a function that does the same and calls `watch(number of a step, None)` before each step, and with
        the number of steps at the end.

        units : whether regions run unit by unit, with `watch(number of the step, number of the unit)` before each
        """
        lines = self.text.split("\n")
        for number, mark in reversed(list(enumerate(self.marks))):
            lines.insert(mark, f"    watch({number}, None)")
        last = max(number for number, line in enumerate(lines) if line.startswith("    return "))
        lines.insert(last, f"    watch({len(self.steps)}, None)")
        names = {**self.constants, "watch": watch}
        if units:
            names.update({name: partial(value.by_units, partial(watch, self.steps.index(value)))
                          for name, value in names.items() if isinstance(value, Region)})  # fmt: skip
        return compile_source("\n".join(lines), f"plan {next(_serial)} {self.name} watched", names, self.name)


def results_of(step: Step) -> list[Value]:
    """Return the values that a step of a plan makes."""
    return step.results if isinstance(step, Region) else [Value(step, i) for i in range(step.num_outputs)]


def roots_of(steps: Sequence[Step]) -> dict[Value, frozenset[Value]]:
    """Return, per result of `steps` (in order), the values whose memory it may be or share; others are their own."""
    roots: dict[Value, frozenset[Value]] = {}
    for node in steps:
        if isinstance(node, Region):
            roots.update({value: frozenset({value}) for value in node.results})
            continue
        op = node.op
        assert op is not None  # variables are not run
        sources = [roots.get(v, frozenset({v})) for v in node.inputs]
        for index in range(node.num_outputs):
            value = Value(node, index)
            if op.name in HANDING_ON:
                roots[value] = frozenset({value}).union(*sources)
            elif sources and (op.view is not None or (index == 0 and op.name not in FRESH)):
                roots[value] = sources[0]
            else:
                roots[value] = frozenset({value})
    return roots


class _Writer:
    def __init__(self, types: Mapping[Node, tuple[TensorType, ...]], training: bool) -> None:
        self.types, self.training = types, training
        self.names: dict[Value, str] = {}
        self.constants: dict[str, Any] = {"torch": torch, "aten": aten, "normalise": normalise, "buffers": buffers,
                                         "convolve": convolve, "pointwise": pointwise,
                                         "inf": inf, "nan": nan}  # as repr writes them
        self.lines: list[str] = []
        self._interned: dict[int, str] = {}

    def name(self, value: Value) -> str:
        if value not in self.names:
            self.names[value] = f"v{len(self.names)}"
        return self.names[value]

    def constant(self, value: Any) -> str:
        """Return source for a constant: its literal where that is exact, else a bound name."""
        if (
            value is None
            or isinstance(value, (bool, int, str))
            or (isinstance(value, tuple) and all(isinstance(v, (bool, int, str)) for v in value))
        ):
            return repr(value)
        name = self._interned.get(id(value))
        if name is None:
            name = f"c{len(self._interned)}"
            self._interned[id(value)] = name
            self.constants[name] = value
        return name

    def call(self, node: Node) -> str:
        """Return the source of a node's computation."""
        op = node.op
        assert op is not None  # variables are inputs of the function
        args = [self.name(v) for v in node.inputs]
        names = present(node)
        if op.emit is not None:
            text = op.emit(args, node.attrs, self.training)
            if text is not None:
                return text
        kernel = self.constant(op.kernel)
        if op.variadic:
            rest = [f"{k}={self.constant(v)}" for k, v in node.attrs.items()]
        else:
            by_name = dict(zip(names, args))
            args = [by_name.get(n, "None") for n in op.input_names]
            rest = [self.constant(node.attrs[k]) for k in op.attr_names]
        if op.takes_training:
            rest.append(f"training={self.training}")
        return f"{kernel}({', '.join([*args, *rest])})"

    def write(self, node: Step, overwrite: bool) -> None:
        """Append the line(s) of a step."""
        if isinstance(node, Region):
            targets = [self.name(value) for value in node.results]
            call = f"{self.constant(node)}({', '.join(self.name(v) for v in node.inputs)})"
            self.lines.append(f"{', '.join(targets)} = {call}" if targets else call)
            return
        if overwrite:
            template = None if node.op is None else node.op.overwrites(node.attrs)
            assert template is not None  # the caller looked
            targets = ", ".join(self.name(Value(node, i)) for i in range(node.num_outputs))
            self.lines.append(f"{targets} = {template.format(*[self.name(v) for v in node.inputs])}")
            return
        targets = [self.name(Value(node, i)) for i in range(node.num_outputs)]
        call = self.call(node)
        if len(targets) == 1 and node.op is not None and callable(node.op.outputs):
            call = f"{self.constant(_only)}({call})"
        self.lines.append(f"{', '.join(targets)} = {call}")


def _only(result: Any) -> torch.Tensor:
    """Return the single result of a kernel that can have several: some give it bare, some in a tuple."""
    return result if isinstance(result, torch.Tensor) else result[0]


def write_function(name: str, nodes: Sequence[Step], arguments: Sequence[Value], results: Sequence[Value | None],
                   types: Mapping[Node, Any], training: bool, held: Mapping[Node, torch.Tensor],
                   from_list: bool = False, copies: int = 0, overwrite: bool = True) -> Source:
    """Write and compile one function.

    Parameters
    ----------
    nodes
        Operators and regions to run, in order.
    arguments
        Values that come in; with `from_list` as one list named `S`, whose entries are taken out and freed.
    results
        Values to return (None stays None).
    held
        Constants.
    copies
        So many leading results are copied when they may share memory with an argument or another leading result; a
        further one that shares memory with them is detached from their place on the tape.
    overwrite
        Whether operators may write over dead memory.
    """
    writer = _Writer(types, training)
    for node, tensor in held.items():
        writer.names[Value(node, 0)] = writer.constant(tensor)
    fixed = set(writer.names)
    arguments = [a for a in arguments if a not in fixed]
    names = [writer.name(a) for a in arguments]
    roots = roots_of(nodes)
    last: dict[Value, int] = {}
    readers: dict[Value, int] = {}
    for position, node in enumerate(nodes):
        for value in node.inputs:
            last[value] = position
            for root in roots.get(value, ()):
                readers[root] = position
    keep = {v for v in results if v is not None}
    kept_roots = {root for v in keep for root in roots.get(v, ())}
    owned = {value for step in nodes for value in results_of(step)}
    taken = list(arguments) if from_list else []
    if from_list:
        writer.lines += [f"{n} = S[{i}]; S[{i}] = None" for i, n in enumerate(names)] if names else []
    marks: list[int] = []
    over: set[int] = set()
    for position, node in enumerate(nodes):
        marks.append(1 + len(writer.lines))
        if overwrite and _can_overwrite(node, position, readers, kept_roots, roots, types):
            over.add(position)
        writer.write(node, position in over)
        dead = {v for v in node.inputs if last.get(v) == position and v not in keep and v not in fixed
                and (v in owned or v in taken)}
        dead |= {value for value in results_of(node) if value not in last and value not in keep}
        if dead:
            writer.lines.append("del " + ", ".join(sorted(writer.name(v) for v in dead)))
    returned, shared = _results(writer, results, roots, copies)
    writer.lines.append(f"return [{', '.join(returned)}]")
    parameters = "S" if from_list else ", ".join(names)
    text = f"def {name}({parameters}):\n    " + "\n    ".join(writer.lines) + "\n"
    label = f"plan {next(_serial)} {name}"
    return Source(text, compile_source(text, label, writer.constants, name), name, tuple(nodes), tuple(marks),
                  frozenset(over), tuple(results), shared, writer.constants)


def _can_overwrite(node: Step, position: int, readers: Mapping[Value, int], kept_roots: set[Value],
                   roots: Mapping[Value, frozenset[Value]], types: Mapping[Node, Any]) -> bool:
    """Whether a node may write its result over its first input's memory."""
    op = None if isinstance(node, Region) else node.op
    if isinstance(node, Region) or op is None or op.inplace is None or op.overwrites(node.attrs) is None:
        return False
    source = node.inputs[0]
    if source.node.op is None or source.node.op.name not in FRESH or source not in roots or source in kept_roots:
        return False
    if any(source in roots.get(v, ()) for v in node.inputs[1:]):  # a view read while its memory is written
        return False
    if types[source.node][source.index] != types[node][0]:
        return False
    return readers[source] <= position


def _results(writer: _Writer, results: Sequence[Value | None], roots: Mapping[Value, frozenset[Value]],
             copies: int) -> tuple[list[str], tuple[int, ...]]:
    texts: list[str] = []
    shared: list[int] = []
    taken: set[Value] = set()
    for position, value in enumerate(results):
        if value is None:
            texts.append("None")
            continue
        text, mine = writer.name(value), roots.get(value, frozenset())
        overlaps = not mine or not mine <= roots.keys() or not mine.isdisjoint(taken)
        if position < copies:
            texts.append(f"{text}.clone()" if overlaps else text)
            taken |= mine if not overlaps else frozenset()
        elif not mine.isdisjoint(taken):
            texts.append(f"{text}.detach()")
            shared.append(position)
        else:
            texts.append(text)
    return texts, tuple(shared)
