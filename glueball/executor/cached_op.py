"""CachedOp: a hybridized block's callable: signature → plan, built at the first call of each signature.

The one idea: what a plan depends on (structure, shapes and dtypes of the arguments, mode, device, which inputs need
gradients) is a key; a hit costs a dictionary look-up. Recorded calls put ONE node on torch's tape whose backward is
the plan's; gradients of gradients replay the graph through the interpreter. Statistics and `explain()` are here, too.
How a block is traced is gluon/trace.py.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import numpy as np
import torch

from ..base.context import Context
from ..base.errors import MXNetError, explain
from ..base.modes import is_recording, is_training
from ..base.tree import flatten, unflatten
from ..ndarray.ndarray import NDArray, to_array, values_of
from ..ops.opdef import TensorType
from ..symbol.graph import Node, Value
from ..symbol.text import to_text
from .affine import Line
from .derived import Store
from .family import Family, TracedForm, loosely, make_room, remember, sizes_of
from .inductor import run_inductor
from .insight.clock import times_of
from .insight.explanation import Explanation
from .insight.facts import PlanFacts, plan_facts, with_times
from .insight.table import plan_lines
from .insight.work import bytes_of
from .plan import Plan, PlanForm, make_plan
from .recorded import config_interpret, run_chained, run_plan, sources_of

__all__ = ["CachedOp", "TracedGraph"]

_LEAF = "*"


@final
@dataclass(slots=True)
class TracedGraph:
    """A graph traced for one signature. Parameters are any objects with `_data[ctx]` arrays. asked: whether the block
    looked at a shape; decides: whether it may have decided something by it.
    """

    outputs: list[Value]
    structure: Any
    data: list[Node]
    parameters: list[tuple[Node, Any]]
    constants: list[tuple[Node, NDArray]]
    types: Mapping[Node, tuple[TensorType, ...]]
    effects: list[Value]
    asked: bool = False
    decides: bool = False


@final
@dataclass(slots=True)
class _Entry:
    """One signature: its graph and the plans made for it so far, by which inputs need gradients."""

    graph: TracedGraph
    training: bool
    trace_seconds: float
    plans: dict[Any, Plan] = field(default_factory=dict)
    calls: int = 0
    one: bool = False
    others: dict[str, Any] = field(default_factory=dict)
    used: int = 0  # when it was called last, in calls
    family: Family | None = None  # for a graph that is another one's for another size
    size: int = 0


class CachedOp:
    """The compiled callable of a block; see the module's text."""

    def __init__(self, name: str, build: Callable[[tuple[Any, ...], bool], TracedGraph], **flags: Any) -> None:
        self.name, self.build, self.flags = name, build, flags
        self.entries: dict[Any, _Entry] = {}
        self.store = Store()  # what plans compute from parameters alone
        self.families: dict[Any, Family] = {}
        self.calls = 0
        self.last_args: tuple[Any, ...] | None = None
        self.changes = 0  # kept by the block: how many structural changes there had been when this was made

    def __call__(self, args: tuple[Any, ...]) -> Any:
        """Run the block's graph on arrays (nested lists of arrays, None and numbers are part of the signature)."""
        if all(type(a) is NDArray for a in args) and args:
            found, structure = args, ("list", *(_LEAF,) * len(args))
        else:
            args = tuple(to_array(a) if isinstance(a, np.ndarray) else a for a in args)
            found, structure = flatten(list(args), NDArray)
            if not found:
                raise MXNetError(explain(self.name, "A hybridized block needs at least one array.",
                                         received=repr(args)))
        training = is_training()
        ctx = found[0]._ctx
        key = (structure, training, ctx, *[(t.shape, t.dtype) for t in map(values_of, found)])
        try:
            entry = self.entries.get(key)
        except TypeError:
            raise MXNetError(explain(self.name, "An argument of a hybridized block cannot be part of its signature.",
                                     expected="arrays, None, numbers, text, and lists, tuples or dicts of these",
                                     received=repr(args)[:200])) from None
        if entry is None:
            entry = self._derive(key, training) or self._trace(key, args, training)
        entry.calls += 1
        self.calls += 1
        entry.used = self.calls
        arrays = list(found)
        for _, parameter in entry.graph.parameters:
            held = parameter._data
            array = held.get(ctx) if held is not None else None
            arrays.append(parameter.data(ctx) if array is None else array)
        arrays += [array for _, array in entry.graph.constants]
        results = self._run(key, entry, arrays, ctx)
        if results is None:
            self._trace(key, args, training)
            return self(args)
        return results[0] if entry.one else unflatten(entry.graph.structure, results)

    def _derive(self, key: Any, training: bool) -> _Entry | None:
        """Return the entry of a signature that differs from others in sizes alone; None where that cannot be said."""
        family = self.families.get(loosely(key))
        sizes = sizes_of(key)
        size = None if family is None else family.size_of(sizes)
        if family is None or size is None or config_interpret() or self.flags.get("backend") == "inductor":
            return None
        start = time.perf_counter()
        graph = family.made("graph", partial(_graphs, training), size)
        if graph is None:
            return None
        make_room(self.entries)
        entry = self.entries[key] = _Entry(graph, training, time.perf_counter() - start, one=graph.structure == _LEAF,
                                           family=family, size=size)
        return entry

    def _trace(self, key: Any, args: tuple[Any, ...], training: bool) -> _Entry:
        start = time.perf_counter()
        graph = self.build(args, training)
        make_room(self.entries)
        entry = self.entries[key] = _Entry(graph, training, time.perf_counter() - start, one=graph.structure == _LEAF)
        remember(self.families, key, entry).ahead("graph", partial(_graphs, training))
        found, structure = flatten(list(args), NDArray)
        # enough to trace once more (export), without holding the caller's data
        self.last_args = tuple(unflatten(structure,
                                         [NDArray(torch.empty_like(values_of(a).detach(), device="cpu"), a._ctx)
                                          for a in found]))
        return entry

    def _run(self, key: Any, entry: _Entry, arrays: list[NDArray], ctx: Context) -> list[NDArray] | None:
        """Run an entry's plan; None where it has a graph for another size, and there is no such plan."""
        if is_recording() and torch.is_grad_enabled():
            tensors, mask, sources = sources_of(arrays)
        else:
            tensors, mask, sources = [values_of(a) for a in arrays], (), None
        if self.flags.get("backend") == "inductor":
            results = run_inductor(entry.graph, [a._t for a in arrays] if mask else tensors, entry.training,
                                   entry.others)  # fmt: skip
            return [NDArray._wrap(t, ctx) for t in results]
        plan = entry.plans.get(mask) or self._plan(key, entry, tensors, mask, ctx)
        if plan is None:
            return None
        if mask and sources is not None and plan.chained and not config_interpret():
            return run_chained(plan, tensors, mask, sources, ctx)
        results = run_plan(plan, [a._t for a in arrays] if mask else tensors, mask)
        return [NDArray._wrap(t, ctx) for t in results]

    def _plan(self, key: Any, entry: _Entry, tensors: list[torch.Tensor], mask: tuple[int, ...],
              ctx: Context) -> Plan | None:  # fmt: skip
        """Make an entry's plan for these inputs that want gradients."""
        if entry.family is not None:
            plan = None
            if all(mask in base.plans for _, base in entry.family.bases):
                plan = entry.family.made(mask, partial(_in_common, mask), entry.size)
            if plan is not None:
                entry.plans[mask] = plan
            return plan
        graph = entry.graph
        inputs = [*graph.data, *[n for n, _ in graph.parameters], *[n for n, _ in graph.constants]]
        plan = entry.plans[mask] = make_plan(graph.outputs, inputs, graph.types, entry.training,
                                             [inputs[i] for i in mask], graph.effects,
                                             all(t.is_cpu for t in tensors), self.name,
                                             {n: (p, ctx) for n, p in graph.parameters}, self.store)
        family = self.families.get(loosely(key))
        if family is not None and all(mask in base.plans for _, base in family.bases):
            family.ahead(mask, partial(_in_common, mask))
        return plan

    # -- insight -------------------------------------------------------------------------------------------------------
    def explain(self, args: tuple[Any, ...] = (), profile: bool = False, code: bool = False,
                rounds: int = 10) -> Explanation:  # fmt: skip
        """Return what the plans of every signature do; see HybridBlock.explain."""
        chosen = dict(self.entries)
        if args:
            found, structure = flatten([to_array(a) if isinstance(a, np.ndarray) else a for a in args], NDArray)
            kinds = [found[0]._ctx, *[(a._t.shape, a._t.dtype) for a in found]]
            chosen = {key: entry for key, entry in chosen.items() if [*key[2:]] == kinds and key[0] == structure}
            if not chosen:
                raise MXNetError(explain(f"{self.name}.explain", "Nothing was compiled for arrays like these.",
                                         received=[a.shape for a in found],
                                         fix="call the block with them first"))  # fmt: skip
        lines = [f"{self.name}: {len(self.entries)} signature(s)"]
        plans: list[PlanFacts] = []
        last = next(reversed(chosen), None)
        for key, entry in chosen.items():
            shapes = ", ".join(f"{tuple(s)} {str(d).removeprefix('torch.')}" for s, d in key[3:])
            signature = f"{shapes}; {'train' if entry.training else 'predict'} mode on {key[2]}"
            lines.append(f"\nsignature: {signature}; called {entry.calls}×; traced in "
                         f"{entry.trace_seconds * 1e3:.1f} ms")  # fmt: skip
            tensors = self._tensors(entry, key, args) if profile and key == last else None
            for mask, plan in entry.plans.items():
                plans.append(_facts(self.name, signature, entry, mask, plan, tensors, rounds))
                lines += plan_lines(plans[-1])
            lines += [f"compiled by {self.flags['backend']}: it has no steps of ours"] if entry.others else []
            lines += _code(entry) if code else []
        return Explanation("\n".join(lines), plans)

    def _tensors(self, entry: _Entry, key: Any, args: tuple[Any, ...]) -> list[list[torch.Tensor]]:
        """Return what to profile with: the given arrays; else standard normal ones, and zeros in case those are no
        indices.
        """
        given = [a._t for a in flatten(list(args), NDArray)[0]]
        device = key[2].torch_device
        rest = [p.data(key[2])._t.detach() for _, p in entry.graph.parameters]
        rest += [a._t for _, a in entry.graph.constants]
        if given:
            return [[*given, *rest]]
        numbers = torch.Generator(device).manual_seed(0)
        normal = [torch.randn(s, generator=numbers, device=device, dtype=d) if d.is_floating_point
                  else torch.zeros(s, dtype=d, device=device) for s, d in key[3:]]  # fmt: skip
        return [[*normal, *rest], [*map(torch.zeros_like, normal), *rest]]


def _facts(name: str, signature: str, entry: _Entry, mask: Any, plan: Plan, tensors: list[list[torch.Tensor]] | None,
           rounds: int) -> PlanFacts:  # fmt: skip
    """Return the facts of a plan; with times where there are tensors to run it with."""
    count = len(plan.outputs)
    sources = {"forward" if phase == "taped" else phase: source for phase, source in plan.sources.items()}
    steps = plan_facts(sources, plan.types, count, plan.compiled, plan.native)
    note = ""
    if mask and plan.backward is None:
        note = "a graph this small is differentiated by torch's tape: its backward has no steps of ours"
    if plan.derived is not None:
        note = plan.derived.text(plan.program)
    for number, given in enumerate(tensors or ()):
        try:
            known = plan.derived(given) if plan.derived is not None else ()
            steps = with_times(steps, *times_of(list(sources.values()), given, count, rounds, known))
            break
        except (MXNetError, IndexError, RuntimeError):
            if number + 1 == len(tensors or ()):
                raise
    title = f"with gradients for {len(mask)} input(s)" if mask else "forward only"
    seconds = plan.seconds + sum(source.waited for source in sources.values())
    return PlanFacts(name, signature, title, entry.calls, steps, seconds, _bytes(plan), note)


def _code(entry: _Entry) -> list[str]:
    """Return the graph and the generated functions as text."""
    lines = ["graph", to_text(entry.graph.outputs, entry.graph.types)]
    for plan in entry.plans.values():
        lines.append(f"nodes after each pass: {', '.join(f'{n} {c}' for n, c in plan.log)}; "
                     f"{sum(s.inplace for s in plan.sources.values())} in-place")  # fmt: skip
        for source in plan.sources.values():
            lines += [source.text.rstrip(), *[region.text() for region in source.regions]]
    return lines


def _graphs(training: bool, one: _Entry, two: _Entry, line: Line) -> TracedForm:
    return TracedForm(one.graph, two.graph, training, line)


def _in_common(mask: Any, one: _Entry, two: _Entry, line: Line) -> PlanForm:
    return PlanForm(one.plans[mask], two.plans[mask], line)


def _bytes(plan: Plan) -> int:
    """Return how much forward keeps for backward."""
    inputs = set(plan.inputs)
    return sum(bytes_of(value, plan.types) for value in plan.saved if value.node not in inputs)
