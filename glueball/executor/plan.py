"""A plan: the compiled forward and, where gradients are wanted, backward function of one graph in one mode.

The one idea: forward and gradient graph are optimised as one program; what backward reads of forward's values is
saved, as a list that backward empties as it goes, so memory is freed at the earliest moment. The pieces:
differentiate → optimise → split → write. A graph of a few cheap operators (SMALL, WORTH) runs on torch's own tape
instead.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Any, final

import torch

from ..base import config
from ..base.memory import Settling, keep_freed
from ..ops.opdef import TensorType, Unsupported
from ..passes.gradient import differentiate
from ..passes.pipeline import optimise, prepare
from ..passes.program import Program
from ..passes.recompute import recompute
from ..passes.sizes import with_sizes
from ..symbol.graph import Node, Value, topological, variables
from .affine import Different, Line
from .codegen import Source, Step, write_function
from .derived import MOST_ARRANGED, Derived, Store, derivable, swallows
from .family import GraphForm, SourceForm
from .insight.spans import enlist, spanned
from .insight.work import bytes_of
from .interpret import interpret, run_operator
from .jit.partition import all_native, partition
from .native import available

__all__ = ["Plan", "PlanForm", "make_plan", "SMALL"]

SMALL = 16  # operators; up to here torch's tape, walked in C++, costs less than a backward in Python
WORTH = 1 << 18  # elements of results (some 100 µs): beyond, what fusion saves is more than that, however few there are


@final
@dataclass(eq=False)
class Plan:
    """What runs. `forward(*inputs) -> outputs + saved`; `backward(saved + head gradients as one list) -> gradients`.

    native : whether the arrays are the CPU's; compiled : whether parts may be machine code
    chained : whether calls need no tape of torch's (None: to be found out)
    """

    inputs: list[Node]
    outputs: list[Value]
    effects: list[Value]
    wrt: list[Node]
    training: bool
    random: bool
    mutated: list[int]
    forward: Any
    backward: Any
    count: int
    saved: list[Value]
    watched: list[int]  # positions in `saved` of what a user can reach and change: inputs and outputs
    differentiable: list[bool]
    types: Mapping[Node, tuple[TensorType, ...]]
    program: Program
    sources: dict[str, Source]
    log: list[tuple[str, int]]
    seconds: float
    name: str = "plan"
    native: bool = False
    compiled: bool = False
    derived: Derived | None = None
    graph: Callable[[], list[Value]] | None = None  # of a plan for another size: its outputs, where they are needed
    settling: Settling = field(default_factory=lambda: Settling(0))
    chained: bool | None = None

    def __post_init__(self) -> None:
        if self.chained is None:
            self.chained = self.native and self.backward is not None and not any(
                node.op is not None and node.op.name == "_torch_module" for node in self.program.order)
        enlist(self)

    def watch(self, units: bool) -> None:
        """Run functions that open spans for the profiler (insight/spans.py)."""
        first, *rest = self.sources.values()
        self.forward = _with(spanned(f"{self.name} forward", first, units), self.derived)
        if rest:
            self.backward = spanned(f"{self.name} backward", rest[0], units)

    def unwatch(self) -> None:
        """Run the plain functions again."""
        first, *rest = self.sources.values()
        self.forward, self.backward = _with(first.function, self.derived), rest[0].function if rest else None

    def replay(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Run the graph through the interpreter, on torch's tape when it is on (gradients of gradients)."""
        given = [t.clone() if i in self.mutated else t for i, t in enumerate(tensors)]
        outputs = self.outputs if self.graph is None else self.graph()
        return interpret(outputs, dict(zip(self.inputs, given)), self.training)


@final
class PlanForm:
    """What the plans for two sizes have in common (family.py).

    Raises
    ------
    Different : they have more than sizes to tell them apart
    """

    def __init__(self, one: Plan, two: Plan, line: Line) -> None:
        plain = ("count", "watched", "differentiable", "mutated", "random", "training")
        if any(getattr(one, name) != getattr(two, name) for name in plain) or one.sources.keys() != two.sources.keys():
            raise Different("plans")
        if one.derived is not None or two.derived is not None:
            raise Different("what is derived from parameters is arranged for the data's shape")
        self._base, self._other, self._line = one, two, line
        self._graph = GraphForm(one.program, two.program, line)
        self._sources = {name: SourceForm(source, two.sources[name], self._graph, two.program, line)
                         for name, source in one.sources.items()}  # fmt: skip

    def at(self, size: int) -> Plan:
        """Return the plan for a size.

        Raises
        ------
        Different, MXNetError : there is none
        """
        start = time.perf_counter()
        self._graph.check(size)
        sources = {name: form.at(size) for name, form in self._sources.items()}
        functions = {name: source.function for name, source in sources.items()}
        forward = functions["taped"] if "taped" in functions else functions["forward"]
        return replace(self._base, forward=forward, backward=functions.get("backward"), sources=sources,
                       types=self._graph.types_at(self._base.types, size), graph=partial(self._outputs, size),
                       settling=Settling(0),  # what stays has its place since the plans for other sizes
                       seconds=time.perf_counter() - start)  # fmt: skip

    def _outputs(self, size: int) -> list[Value]:
        one, two = (Program(tuple(p.outputs), p.types, p.training) for p in (self._base, self._other))
        return GraphForm(one, two, self._line).outputs_at(size)


def _run(op: Any, tensors: Sequence[torch.Tensor], attrs: Any) -> torch.Tensor:
    with torch.no_grad():
        return run_operator(op, tensors, attrs)[0]


def make_plan(outputs: Sequence[Value], inputs: Sequence[Node], types: Mapping[Node, tuple[TensorType, ...]],
              training: bool, wrt: Sequence[Node], effects: Sequence[Value] = (), native: bool = False,
              name: str = "plan", parameters: Mapping[Node, Hashable] | None = None,
              store: Store | None = None) -> Plan:  # fmt: skip
    """Compile a graph for one mode.

    wrt : the inputs for which backward returns gradients (none: forward only)
    native : whether the arrays are on the CPU, so that parts of the plan can be machine code (jit/)
    effects : values of nodes that update a state and therefore run, used or not
    name : whose plan it is, for the profiler
    parameters : the inputs that are parameters, with what each belongs to: a plan that predicts keeps what it computes
        from them alone in the `store`
    """
    start = time.perf_counter()
    keep_freed()
    compiled = native and bool(config.get("GLUEBALL_JIT"))
    outputs, types = with_sizes(outputs, types)
    fixed = parameters if parameters and store is not None and not (training or wrt or effects) else {}
    if config.get("GLUEBALL_PASSES"):
        prepared = prepare(Program((*outputs, *effects), types, training), compiled and available(), len(effects),
                           bool(fixed) and native)  # fmt: skip
        found = [v for v in prepared.outputs if v is not None]
        outputs, effects, types = found[:len(outputs)], found[len(outputs):], prepared.types
    order = topological([*outputs, *effects])
    if wrt and _is_small(order) and not (compiled and (all_native(order, types) or _work(order, types) >= WORTH)):
        plan = _taped_plan(outputs, effects, inputs, types, training, wrt, order, start)
        plan.name, plan.native, plan.compiled = name, native, compiled
        return plan
    heads = [Value(Node(None, f"_head{i}")) for i in range(len(outputs))]
    grads: list[Value | None] = []
    all_types: Mapping[Node, Any] = types
    out_types = [types[v.node][v.index] for v in outputs]
    if wrt:
        grads, all_types = differentiate(outputs, order, types, wrt, heads, out_types, training)
    program = Program((*outputs, *grads, *effects), all_types, training)
    log = [("traced", len(order)), ("with gradient", len(program.order))] if wrt else [("traced", len(order))]
    if config.get("GLUEBALL_PASSES"):
        arrange = store is None or store.arranging < MOST_ARRANGED
        program, passed = optimise(program, _run, native, fixed, compiled and available(), arrange)
        log += passed[1:]
        at = len(outputs) + len(grads)
        program = recompute(program, [v for v in (*program.outputs[:len(outputs)], *program.outputs[at:]) if v])
    count = len(outputs)
    new_outputs = [v for v in program.outputs[:count] if v is not None]
    new_grads = list(program.outputs[count:count + len(grads)])
    new_effects = [v for v in program.outputs[count + len(grads):] if v is not None]
    head_nodes = {h.node for h in heads}
    derived = _derived(program, outputs, inputs, fixed, store)
    forward_nodes, backward_nodes = _split(program, [*new_outputs, *new_effects], derived)
    saved = _saved(backward_nodes, new_grads, set(forward_nodes), set(inputs), head_nodes)
    input_values = [*map(Value, inputs), *(derived.values if derived is not None else ())]
    made = [*new_outputs, *saved]

    def steps(nodes: list[Node], results: Sequence[Value | None]) -> Sequence[Step]:
        return partition(nodes, results, program.types, training) if compiled else nodes

    sources = {"forward": write_function("forward", steps(forward_nodes, made), input_values, made, program.types,
                                         training, program.constants, copies=count)}
    if wrt:
        sources["backward"] = write_function("backward", steps(backward_nodes, new_grads), [*saved, *heads], new_grads,
                                             program.types, training, program.constants, from_list=True)
    if config.get("GLUEBALL_SUBGRAPH_DEBUG"):
        print("\n".join(s.text for s in sources.values()))
    auxiliary = set(variables(order)[1])
    kept = Settling(sum(bytes_of(v, program.types) for v in saved if not v.node.is_variable))
    given, shown = set(inputs), {p - count for p in sources["forward"].shared}
    return Plan(list(inputs), list(outputs), list(effects), list(wrt), training,
                any(n.op is not None and n.op.random for n in order),
                [i for i, n in enumerate(inputs) if n in auxiliary], _with(sources["forward"].function, derived),
                sources["backward"].function if wrt else None, count, saved,
                [i for i, v in enumerate(saved) if v.node in given or i in shown],
                [t.dtype.is_floating_point for t in out_types], program.types, program, sources, log,
                time.perf_counter() - start, name, native, compiled, derived, settling=kept)


def _derived(program: Program, outputs: Sequence[Value], inputs: Sequence[Node], parameters: Mapping[Node, Hashable],
             store: Store | None) -> Derived | None:  # fmt: skip
    """Return what the program computes from parameters alone; None: nothing, or it may not be kept.

    outputs : of the graph that the program was made of
    """
    if not parameters or store is None or not config.get("GLUEBALL_PASSES"):
        return None
    values = derivable(program, {**parameters, **{node: node for node in program.constants}})
    if not values:
        return None
    store.arranging += any(n.op is not None and n.op.name == "_arranged_weight" for n in program.order)
    derived = Derived(store, values, inputs, parameters, program.constants)
    if swallows(program):
        derived.plainly = partial(_plainly, list(outputs), list(inputs))
    return derived


def _plainly(outputs: Sequence[Value], inputs: Sequence[Node], *tensors: torch.Tensor) -> list[torch.Tensor]:
    """Return the results of a graph that predicts, by one call for each operator."""
    with torch.no_grad():
        return interpret(outputs, dict(zip(inputs, tensors)), False)


def _with(function: Any, derived: Derived | None) -> Any:
    """Return the function of a plan's inputs; `function` wants the derived values after them.

    A network that has diverged must not look healthy: where calls would make numbers of NaN, data and parameters that
    are no numbers go another way.
    """
    if derived is None:
        return function

    plainly = derived.plainly
    if plainly is None:
        return lambda *tensors: function(*tensors, *derived(tensors))

    def forward(*tensors: torch.Tensor) -> Any:
        values = derived(tensors)
        return function(*tensors, *values) if derived.are_numbers(tensors) else plainly(*tensors)

    return forward


def _is_small(order: Sequence[Node]) -> bool:
    """Whether a graph is better off on torch's own tape: few operators, none with a gradient rule that differs."""
    operators = [n.op for n in order if n.op is not None]
    special = any(op.own_gradient or op.name == "_normalise" or isinstance(op.gradient, Unsupported)
                  for op in operators)
    return len(operators) <= SMALL and not special


def _work(order: Sequence[Node], types: Mapping[Node, tuple[TensorType, ...]]) -> int:
    """Return how many elements the operators' results have, as far as their sizes are known."""
    return sum(prod(size or 0 for size in types[node][0].shape or ()) for node in order if not node.is_variable)


def _taped_plan(outputs: Sequence[Value], effects: Sequence[Value], inputs: Sequence[Node], types: Any, training: bool,
                wrt: Sequence[Node], order: Sequence[Node], start: float) -> Plan:
    """Return a plan whose forward runs on torch's tape, operator by operator."""
    program = Program((*outputs, *effects), types, training)
    nodes = [n for n in program.order if not n.is_variable]
    source = write_function("taped", nodes, [Value(n) for n in inputs], outputs, types, training, {},
                            copies=len(outputs), overwrite=False)
    return Plan(list(inputs), list(outputs), list(effects), list(wrt), training, False, [], source.function, None,
                len(outputs), [], [], [types[v.node][v.index].dtype.is_floating_point for v in outputs], types,
                program, {"taped": source}, [("traced", len(order))], time.perf_counter() - start)


def _split(program: Program, outputs: Sequence[Value], derived: Derived | None) -> tuple[list[Node], list[Node]]:
    """Return (nodes of forward, nodes of backward). Forward runs what its outputs need and is not derived; backward
    the rest.
    """
    known = set() if derived is None else set(derived.operators)
    forward = {n for n in topological(outputs) if not n.is_variable}
    forward_nodes = [n for n in program.order if n in forward and n not in known]
    backward_nodes = [n for n in program.order if not n.is_variable and n not in forward]
    return forward_nodes, backward_nodes


def _saved(backward: Sequence[Node], grads: Sequence[Value | None], forward: set[Node], inputs: set[Node],
           heads: set[Node]) -> list[Value]:
    """Return the values that backward reads and forward (or the caller) has, each once."""
    found: dict[Value, None] = {}
    reads = [v for node in backward for v in node.inputs] + [g for g in grads if g is not None]
    for value in reads:
        if value.node in forward or (value.node in inputs):
            found.setdefault(value)
    return list(found)
