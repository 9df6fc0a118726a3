"""A training step as one plan: forward, loss, backward and the optimiser's update of every weight.

The one idea: it is a plan like any other (plan.py), whose backward begins with ones at the losses and whose last nodes
are the updates (jit/update.py); nothing goes on torch's tape, gradients exist only where the plan needs them. Weights
and states are written in place; the numbers of the optimiser's rule (learning rates, corrections) are one more input.

Not here: the user's side, and what is done with an optimiser that cannot be compiled (gluon/contrib/compiled_step.py).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, final

import torch

from ..base import aten, config
from ..base.memory import Settling, keep_freed
from ..ops.opdef import TensorType, lookup
from ..passes.gradient import differentiate
from ..passes.pipeline import optimise, prepare
from ..passes.program import Program
from ..passes.recompute import recompute
from ..passes.sizes import with_sizes
from ..symbol.graph import Node, Value, topological
from .affine import Line
from .codegen import Source, write_function
from .family import GraphForm, SourceForm
from .insight.clock import times_of
from .insight.facts import PlanFacts, plan_facts, with_times
from .insight.spans import enlist, spanned
from .insight.work import moved_by
from .interpret import run_operator
from .jit.partition import partition
from .jit.update import UPDATE, Traced
from .native import available
from .native.places import changed

__all__ = ["StepForm", "StepPlan", "Updates", "make_step"]

Tensor = torch.Tensor


class Updates(Protocol):
    """What the optimiser does (optimizer/tracing.py)."""

    traced: list[Traced]
    first: list[int]
    numbers: list[float]
    group_of: list[int]
    counts: list[int]


@final
class StepPlan:
    """A compiled step.

    source : the plan's function, and its regions; seconds : of compiling
    settled : what stays has its place, since steps for other sizes have run
    """

    def __init__(self, source: Source, program: Program, types: Mapping[Node, Any], dtype: torch.dtype, native: bool,
                 seconds: float, settled: bool = False) -> None:  # fmt: skip
        self.source, self.program, self.types, self.dtype, self.seconds = source, program, types, dtype, seconds
        self.compiled = native
        self._function = source.function
        self._values: list[float] = []
        self._numbers = torch.zeros(1, dtype=dtype)
        moved = 0 if settled else sum(moved_by(node, types) for node in program.order if not node.is_variable)
        self._settling = Settling(moved)
        enlist(self)

    def watch(self, units: bool) -> None:
        """Run a function that opens spans for the profiler (insight/spans.py)."""
        self._function = spanned("CompiledStep", self.source, units)

    def unwatch(self) -> None:
        """Run the plain function again."""
        self._function = self.source.function

    def run(self, tensors: Sequence[Tensor], weights: Sequence[Tensor], numbers: list[float]) -> list[Tensor]:
        """Make a step.

        Parameters
        ----------
        tensors : of the graph's inputs, then the states of each weight
        weights : those that are updated: torch's tape is told
        numbers : of the optimiser's rules

        Returns
        -------
        what the graph returns, off the tape
        """
        if numbers != self._values:
            self._numbers = torch.tensor(numbers, dtype=self._numbers.dtype)
            self._values = list(numbers)
        self._settling.run()
        recording = torch.is_grad_enabled()
        aten.set_grad_mode(False)
        try:
            results = self._function(*tensors, self._numbers)
        finally:
            aten.set_grad_mode(recording)
        changed(weights)
        return results

    def explained(self, name: str, signature: str, calls: int, profiled: tuple[Sequence[Tensor], list[float]] | None,
                  rounds: int) -> PlanFacts:  # fmt: skip
        """Return the facts of the step. profiled : tensors and numbers to run it with, as `run` takes them."""
        outputs = len(self.source.results)
        steps = plan_facts({"step": self.source}, self.types, outputs, self.compiled, True)
        if profiled is not None:
            tensors, numbers = profiled
            given = [*tensors, torch.tensor(numbers or [0.0], dtype=self._numbers.dtype)]
            steps = with_times(steps, *times_of([self.source], given, outputs, rounds))
        seconds = self.seconds + self.source.waited
        return PlanFacts(name, signature, "of a training step", calls, steps, seconds, 0)


@final
class StepForm:
    """What the steps for two sizes have in common (family.py).

    Raises
    ------
    Different : they have more than sizes to tell them apart
    """

    def __init__(self, one: StepPlan, two: StepPlan, line: Line) -> None:
        self._base = one
        self._graph = GraphForm(one.program, two.program, line)
        self._source = SourceForm(one.source, two.source, self._graph, two.program, line)

    def at(self, size: int) -> StepPlan:
        """Return the step for a size.

        Raises
        ------
        Different, MXNetError : there is none
        """
        start = time.perf_counter()
        self._graph.check(size)
        base = self._base
        program = replace(base.program, types=self._graph.types_at(base.program.types, size))
        return StepPlan(self._source.at(size), program, self._graph.types_at(base.types, size), base.dtype,
                        base.compiled, time.perf_counter() - start, True)  # fmt: skip


def make_step(outputs: Sequence[Value], inputs: Sequence[Node], types: Mapping[Node, tuple[TensorType, ...]],
              trained: Sequence[int], effects: Sequence[Value], updates: Updates) -> StepPlan:  # fmt: skip
    """Compile a training step.

    Parameters
    ----------
    outputs : the first is the loss, of which the sum is differentiated
    inputs : variables of the graph; trained: positions of those that are updated
    updates : the rules of the weights, in the order of `trained`
    """
    start = time.perf_counter()
    outputs, types = with_sizes(outputs, types)
    keep_freed()
    native = bool(config.get("GLUEBALL_JIT"))
    prepared = None
    if config.get("GLUEBALL_PASSES"):
        prepared = prepare(Program((*outputs, *effects), types, True), native and available(), len(effects))
    if prepared is not None:
        found = [v for v in prepared.outputs if v is not None]
        outputs, effects, types = found[: len(outputs)], found[len(outputs) :], prepared.types
    order = topological([*outputs, *effects])
    wrt = [inputs[i] for i in trained]
    loss = outputs[0]
    head = Value(Node(lookup("ones_like"), "_ones", (loss,), {}))
    kind = types[loss.node][loss.index]
    grads, all_types = differentiate(outputs[:1], order, types, wrt, [head], [kind], True)
    program = Program((*outputs, *effects, *grads), all_types, True)
    if config.get("GLUEBALL_PASSES"):
        program, _ = optimise(program, _run, native, native=native and available())
        program = recompute(program, [v for v in program.outputs[: len(outputs) + len(effects)] if v is not None])
    made = list(program.outputs)
    results = [v for v in made[: len(outputs)] if v is not None]
    found_grads = made[len(made) - len(grads) :]
    nodes: list[Any] = [n for n in program.order if not n.is_variable]
    arguments = [Value(n) for n in inputs]
    all_types = dict(program.types)
    finish = _updates(found_grads, wrt, updates, all_types, arguments)
    steps = partition(nodes, results, all_types, True, finish) if native else [*nodes, *finish]
    source = write_function("step", steps, arguments, results, all_types, True, program.constants, copies=len(results))
    return StepPlan(source, program, all_types, types[wrt[0]][0].dtype, native, time.perf_counter() - start)


def _updates(grads: Sequence[Value | None], wrt: Sequence[Node], updates: Updates, types: dict[Node, Any],
             arguments: list[Value]) -> list[Node]:  # fmt: skip
    """Return the nodes that update; adds the states and the numbers to the arguments."""
    dtype = next(iter(types[node][0].dtype for node in wrt))
    numbers = Node(None, "_numbers")
    types[numbers] = (TensorType((max(len(updates.numbers), 1),), dtype),)
    nodes: list[Node] = []
    for node, gradient, group, count in zip(wrt, grads, updates.group_of, updates.counts):
        states = [Node(None, f"_{node.name}_state{i}") for i in range(count)]
        arguments += [Value(state) for state in states]
        types.update(dict.fromkeys(states, types[node]))
        if gradient is None:
            zero = Node(lookup("zeros_like"), f"_{node.name}_zero", (Value(node),), {})
            types[zero] = types[node]
            gradient = Value(zero)
            nodes.append(zero)
        made = Node(UPDATE, f"_{node.name}_update", (Value(node), gradient, *map(Value, states), Value(numbers)),
                    {"traced": updates.traced[group], "first": updates.first[group]})  # fmt: skip
        types[made] = types[node]
        nodes.append(made)
    arguments.append(Value(numbers))
    return nodes


def _run(op: Any, tensors: Sequence[Tensor], attrs: Any) -> Tensor:
    with torch.no_grad():
        return run_operator(op, tensors, attrs)[0]
