"""CachedOp: a hybridized block's callable: signature → plan, built at the first call of each signature.

The one idea: what a plan depends on (structure, shapes and dtypes of the arguments, mode, device, which inputs need
gradients) is a key; a hit costs a dictionary look-up. Recorded calls put ONE node on torch's tape whose backward is
the plan's; gradients of gradients replay the graph through the interpreter. Statistics and `explain()` are here, too.
How a block is traced is gluon/trace.py.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import numpy as np
import torch

from ..base import aten, config
from ..base.context import Context
from ..base.errors import AutogradError, MXNetError, explain
from ..base.modes import RETAINING, is_recording, is_training
from ..base.tree import flatten, unflatten
from ..ndarray.ndarray import NDArray, to_array
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
from .interpret import interpret
from .plan import Plan, PlanForm, make_plan

__all__ = ["CachedOp", "TracedGraph", "run_plan"]

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
        tensors = [a._t for a in found]
        key = (structure, training, ctx, *[(t.shape, t.dtype) for t in tensors])
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
        for _, parameter in entry.graph.parameters:
            held = parameter._data
            array = held.get(ctx) if held is not None else None
            tensors.append((parameter.data(ctx) if array is None else array)._t)
        tensors += [array._t for _, array in entry.graph.constants]
        results = self._run(entry, tensors, ctx)
        if results is None:
            self._trace(key, args, training)
            return self(args)
        wrap = NDArray._wrap
        if entry.one:
            return wrap(results[0], ctx)
        return unflatten(entry.graph.structure, [wrap(t, ctx) for t in results])

    def _derive(self, key: Any, training: bool) -> _Entry | None:
        """Return the entry of a signature that differs from others in sizes alone; None where that cannot be said."""
        family = self.families.get(loosely(key))
        sizes = sizes_of(key)
        size = None if family is None else family.size_of(sizes)
        if family is None or size is None or config_interpret() or self.flags.get("backend") == "inductor":
            return None
        start = time.perf_counter()
        graph = family.made("graph", lambda a, b, line: TracedForm(a.graph, b.graph, training, line), size)
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
        remember(self.families, key, entry)
        found, structure = flatten(list(args), NDArray)
        # enough to trace once more (export), without holding the caller's data
        self.last_args = tuple(unflatten(structure,
                                         [NDArray(torch.empty_like(a._t.detach(), device="cpu"), a._ctx)
                                          for a in found]))
        return entry

    def _run(self, entry: _Entry, tensors: list[torch.Tensor], ctx: Context) -> Sequence[torch.Tensor] | None:
        """Run an entry's plan; None where it has a graph for another size, and there is no such plan."""
        recording = is_recording() and torch.is_grad_enabled()
        mask = tuple(i for i, t in enumerate(tensors) if t.requires_grad) if recording else ()
        plan = entry.plans.get(mask)
        if plan is None:
            if entry.family is not None:
                if all(mask in base.plans for _, base in entry.family.bases):
                    plan = entry.family.made(mask, partial(_in_common, mask), entry.size)
                if plan is None:
                    return None
                entry.plans[mask] = plan
                return run_plan(plan, tensors, mask)
            graph = entry.graph
            inputs = [*graph.data, *[n for n, _ in graph.parameters], *[n for n, _ in graph.constants]]
            if self.flags.get("backend") == "inductor":
                return run_inductor(entry.graph, tensors, entry.training, entry.others)
            plan = entry.plans[mask] = make_plan(graph.outputs, inputs, graph.types, entry.training,
                                                 [inputs[i] for i in mask], graph.effects,
                                                 all(t.is_cpu for t in tensors), self.name,
                                                 {n: (p, ctx) for n, p in graph.parameters}, self.store)
        return run_plan(plan, tensors, mask)

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
    return PlanFacts(name, signature, title, entry.calls, steps, plan.seconds, _bytes(plan), note)


def _code(entry: _Entry) -> list[str]:
    """Return the graph and the generated functions as text."""
    lines = ["graph", to_text(entry.graph.outputs, entry.graph.types)]
    for plan in entry.plans.values():
        lines.append(f"nodes after each pass: {', '.join(f'{n} {c}' for n, c in plan.log)}; "
                     f"{sum(s.inplace for s in plan.sources.values())} in-place")  # fmt: skip
        for source in plan.sources.values():
            lines += [source.text.rstrip(), *[region.text() for region in source.regions]]
    return lines


def _in_common(mask: Any, one: _Entry, two: _Entry, line: Line) -> PlanForm:
    return PlanForm(one.plans[mask], two.plans[mask], line)


def _bytes(plan: Plan) -> int:
    """Return how much forward keeps for backward."""
    inputs = set(plan.inputs)
    return sum(bytes_of(value, plan.types) for value in plan.saved if value.node not in inputs)


def run_plan(plan: Plan, tensors: Sequence[torch.Tensor], mask: Sequence[int]) -> Sequence[torch.Tensor]:
    """Run a plan; with gradients wanted (`mask` not empty), as one node on torch's tape."""
    if config_interpret():
        return interpret([*plan.outputs, *plan.effects], dict(zip(plan.inputs, tensors)), plan.training)[:plan.count]
    if mask and plan.backward is None:
        return plan.forward(*tensors)  # on torch's tape: see plan.SMALL
    if mask:
        plan.settling.run()
        return _Recorded.apply(plan, mask, *tensors)
    if torch.is_grad_enabled():
        with torch.no_grad():
            return plan.forward(*tensors)
    return plan.forward(*tensors)


def config_interpret() -> bool:
    """Whether plans are to be interpreted (GLUEBALL_PLAN=interpret), looked up once."""
    global _interpret
    if _interpret is None:
        _interpret = config.get("GLUEBALL_PLAN") == "interpret"
    return bool(_interpret)


_interpret: bool | None = None


class _Recorded(torch.autograd.Function):
    """A plan on torch's tape."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, mask: Sequence[int], *tensors: torch.Tensor) -> Any:
        if plan.random:
            ctx.rng = torch.get_rng_state()
        found = plan.forward(*tensors)
        outputs, saved = tuple(found[:plan.count]), found[plan.count:]
        ctx.plan, ctx.mask, ctx.saved, ctx.tensors = plan, mask, saved, tensors
        ctx.versions = [saved[i]._version for i in plan.watched]
        if not all(plan.differentiable):
            ctx.mark_non_differentiable(*[t for t, yes in zip(outputs, plan.differentiable) if not yes])
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        plan, mask, tensors = ctx.plan, ctx.mask, ctx.tensors
        if ctx.saved is not None:
            _check_unchanged(ctx)
        if torch.is_grad_enabled():  # gradients of gradients: replay on the tape
            found = _replayed(ctx, grads)
        else:
            if ctx.saved is None:
                raise AutogradError(explain("backward", "Part of this tape has been used up by an earlier backward().",
                                            fix="pass retain_graph=True to the first backward(), or add the losses up "
                                                "and call backward() once"))
            saved = list(ctx.saved) if RETAINING.value else ctx.saved
            if not RETAINING.value:
                ctx.saved = ctx.tensors = None
                del tensors
            saved.extend(grads)
            found = plan.backward(saved)
        result: list[torch.Tensor | None] = [None] * (2 + len(plan.inputs))
        for index, gradient in zip(mask, found):
            result[2 + index] = gradient
        return tuple(result)


def _check_unchanged(ctx: Any) -> None:
    """Raise when an input or output of the block that backward reads was written to since it was recorded."""
    plan = ctx.plan
    for index, version in zip(plan.watched, ctx.versions):
        if ctx.saved[index]._version != version:
            node = plan.saved[index].node
            raise AutogradError(explain("backward", "An array that backward() needs was changed in place after it was "
                                        "recorded.",
                                        received=f"input {node.name!r} of a hybridized block" if node.is_variable
                                        else f"the output that {node.name!r} made in a hybridized block",
                                        fix="write y = x + 1 instead of x += 1; update parameters only after "
                                            "backward()"))


def _replayed(ctx: Any, grads: Sequence[torch.Tensor]) -> Sequence[torch.Tensor | None]:
    plan, tensors = ctx.plan, ctx.tensors
    if tensors is None:
        raise AutogradError(explain("backward", "Part of this tape has been used up by an earlier backward().",
                                    fix="pass retain_graph=True to the first backward()"))
    after = torch.get_rng_state() if plan.random else None
    if plan.random:
        torch.set_rng_state(ctx.rng)
    outputs = plan.replay(tensors)
    if after is not None:
        torch.set_rng_state(after)
    pairs = [(o, g) for o, g in zip(outputs, grads) if o.requires_grad]
    return aten.run_gradients([o for o, _ in pairs], [tensors[i] for i in ctx.mask], [g for _, g in pairs], True, True)
