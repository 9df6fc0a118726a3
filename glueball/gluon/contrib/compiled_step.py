"""CompiledStep: forward, loss, backward and the update of all weights compiled as one program.

The one idea: the ordinary loop of four lines is what a user knows, and this is the same in one line; where something
cannot be compiled (several devices, gradients that add up, an optimiser that needs norms), the ordinary lines run
instead, with the same results, and `explain` says why. Not here: the plan (executor/step.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from ... import autograd, nd
from ...base.errors import ArgumentError, MXNetError, explain
from ...base.tree import flatten, unflatten
from ...executor.affine import Line
from ...executor.family import Family, TracedForm, loosely, make_room, remember, sizes_of
from ...executor.insight.explanation import Explanation
from ...executor.insight.facts import PlanFacts
from ...executor.insight.table import plan_lines
from ...executor.jit.update import NotCompiled
from ...executor.step import StepForm, StepPlan, make_step
from ...ndarray import NDArray
from ...optimizer.tracing import Updates, counted, states_of, why_not
from ...symbol.graph import topological
from ..block import Block, as_arrays
from ..hybrid import Changes, HybridBlock
from ..trace import make_cached_op
from ..trainer import Trainer

__all__ = ["CompiledStep"]


@final
class _WithLoss(HybridBlock):
    """A network and its loss as one block; the last arguments are the loss's."""

    def __init__(self, net: HybridBlock, loss: Any, labels: int) -> None:
        super().__init__(prefix="")
        self.net, self.loss, self._labels = net, loss, labels

    def hybrid_forward(self, F: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        every = (x, *args)
        cut = len(every) - self._labels
        return self.loss(self.net(*every[:cut]), *every[cut:])


@final
class CompiledStep:
    """A training step as one compiled program.

    Does what these lines do, without a tape, without gradient arrays, and with one native call for all that is not a
    library's kernel::

        with autograd.record():
            values = loss(net(data), label)
        values.backward()
        trainer.step(batch_size)

    Parameters
    ----------
    net : HybridBlock
    loss : HybridBlock
        Takes what the network returns, then the labels; gives one number per sample.
    trainer : Trainer
        Its optimiser, learning rate and states are used; they may be changed and saved at any time.
    labels : int, default 1
        How many of the last arguments of a call belong to the loss.

    Notes
    -----
    `parameter.grad()` is not written. The first call with new shapes compiles, as with `hybridize()`. `reason` says why
    the last step was not compiled (None: it was).

    Examples
    --------
    >>> from glueball import gluon, nd
    >>> net = gluon.nn.Dense(1)
    >>> net.initialize(init="zeros")
    >>> trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.5})
    >>> step = gluon.contrib.CompiledStep(net, gluon.loss.L2Loss(), trainer)
    >>> x, y = nd.array([[1.0], [2.0]]), nd.array([[1.0], [1.0]])
    >>> [round(step(x, y).mean().asscalar().item(), 4) for _ in range(3)]
    [0.5, 0.2656, 0.1455]
    """

    def __init__(self, net: HybridBlock, loss: Any, trainer: Trainer, labels: int = 1) -> None:
        for name, given, wanted in (("net", net, HybridBlock), ("trainer", trainer, Trainer)):
            if not isinstance(given, wanted):
                raise ArgumentError(explain("CompiledStep", f"{name} cannot be compiled.",
                                            expected=f"a {wanted.__name__}", received=type(given).__name__,
                                            fix="write the network as HybridBlock with hybrid_forward"
                                            if isinstance(given, Block) and name == "net" else None))  # fmt: skip
        self._both = _WithLoss(net, loss, labels)
        self._trainer, self._labels = trainer, labels
        self._build: Any = None
        self._changes = -1
        self._entries: dict[Any, _Entry] = {}
        self._families: dict[Any, Family] = {}
        self._calls = 0
        self.reason: str | None = None

    def __call__(self, *args: Any, batch_size: float | None = None) -> NDArray:
        """Make a step; return the losses (N,) as they were before the update.

        Parameters
        ----------
        args : NDArray
            Data (N, …), then labels.
        batch_size : float, optional
            What gradients are divided by; default N.
        """
        if len(args) <= self._labels:
            raise ArgumentError(explain("CompiledStep", "A step takes data and labels.",
                                        expected=f"data, and {self._labels} argument(s) of the loss",
                                        received=f"{len(args)} argument(s)"))  # fmt: skip
        args = as_arrays(args)
        trainer = self._trainer
        _check_data(args, batch_size)
        size = args[0].shape[0] if batch_size is None else batch_size
        trainer._prepare(size)
        reason = self._reason()
        if reason is None:
            try:
                return self._compiled(args)
            except NotCompiled as error:
                reason = str(error)
        self.reason = reason
        return self._plainly(args, size)

    def _compiled(self, args: tuple[Any, ...]) -> NDArray:
        """Make the step by its plan.

        Raises
        ------
        NotCompiled : there can be none, and why; nothing has been done
        """
        if self._build is None or self._changes != Changes.count:
            self._build, self._changes = make_cached_op(self._both).build, Changes.count
            self._entries.clear()
            self._families.clear()
        found, structure = flatten(list(args), NDArray)
        ctx = found[0]._ctx
        key = (structure, ctx, *[(a._t.shape, a._t.dtype) for a in found])
        entry = self._entries.get(key) or self._derived(key)
        graph = self._build(args, True) if entry is None else entry.graph
        arrays = [parameter.data(ctx) for _, parameter in graph.parameters]
        index_of = self._trainer._indices()
        trained = [(place, index_of[p]) for place, (_, p) in enumerate(graph.parameters) if p in index_of]
        if index_of and not trained:
            raise ArgumentError(explain("CompiledStep", "The trainer has none of the network's parameters.",
                                        expected=", ".join(p.name for _, p in graph.parameters[:3]) + " …",
                                        received=", ".join(p.name for p in list(index_of)[:3]) + " …",
                                        fix="make the Trainer of net.collect_params()"))  # fmt: skip
        if len(trained) != len(index_of):
            raise NotCompiled("the trainer has parameters that the network does not use")
        updater = self._trainer._updaters[0]
        indices, weights = [index for _, index in trained], [arrays[place] for place, _ in trained]
        states = [states_of(updater, index, weight) for index, weight in zip(indices, weights)]
        with counted(updater.optimizer, indices):
            if entry is None or entry.updates.indices != indices or not entry.updates.refresh():
                updates = Updates(updater.optimizer, indices, [len(own) for own in states])
                plan = _plan(graph, [len(found) + place for place, _ in trained], weights, updates)
                entry = self._keep(key, _Entry(graph, plan, updates))
            self._calls += 1
            entry.used = self._calls
            given = [a._t for own in (found, arrays, [c for _, c in graph.constants], *states) for a in own]
            results = entry.plan.run(given, [w._t for w in weights], entry.updates.numbers)
        entry.calls += 1
        self.reason = None
        made = [NDArray._wrap(t, ctx) for t in results]
        return made[0] if graph.structure == "*" else unflatten(graph.structure, made)

    def _keep(self, key: Any, entry: _Entry) -> _Entry:
        """Keep a step that was compiled, for its signature and for those that differ in sizes."""
        make_room(self._entries)
        self._entries[key] = entry
        family = remember(self._families, key, entry)
        family.ahead("graph", _graphs)
        family.ahead("plan", _steps)
        return entry

    def _derived(self, key: Any) -> _Entry | None:
        """Return the step of a signature that differs from others in sizes alone; None where that cannot be said."""
        family = self._families.get(loosely(key))
        size = None if family is None else family.size_of(sizes_of(key))
        if family is None or size is None:
            return None
        graph = family.made("graph", _graphs, size)
        plan = None if graph is None else family.made("plan", _steps, size)
        if plan is None:
            return None
        make_room(self._entries)
        entry = self._entries[key] = _Entry(graph, plan, family.bases[0][1].updates)
        return entry

    def _reason(self) -> str | None:
        """Return why no step is compiled now; None when they are, as far as can be said without the graph."""
        trainer = self._trainer
        if trainer._kvstore is not None or len(trainer._updaters) != 1:
            return "parameters lie on several devices"
        if trainer._amp_loss_scaler is not None:
            return "losses are scaled for mixed precision"
        if any(p.grad_req == "add" for p in trainer._params):
            return "gradients are added up (grad_req='add')"
        return why_not(trainer._updaters[0])

    def _plainly(self, args: tuple[Any, ...], size: float) -> NDArray:
        with autograd.record():
            values = self._both(*args)
        values.backward()
        self._trainer.step(size)
        return values.detach()

    def explain(self, *args: Any, profile: bool = False, code: bool = False, rounds: int = 10) -> Explanation:
        """Return what the compiled steps do, or why there are none; see `HybridBlock.explain`.

        Parameters
        ----------
        args : NDArray
            Data and labels to profile with; default: zeros.
        profile : bool, default False
            Run the step that was compiled last with a clock, on copies: weights and states stay as they are.
        code : bool, default False
            Add the generated functions.
        rounds : int, default 10
            How often it runs, at most.

        Raises
        ------
        MXNetError : no step was made yet, or the last one with other arrays than these
        """
        if self.reason is not None:
            return Explanation(f"not compiled: {self.reason}; the ordinary lines run instead")
        if not self._entries:
            raise MXNetError(explain("CompiledStep.explain", "Nothing has been compiled yet.",
                                     fix="make a step first"))  # fmt: skip
        last = list(self._entries)[-1]
        plans: list[PlanFacts] = []
        lines: list[str] = [f"{self._both.net.name} with its loss and its optimiser: {len(self._entries)} signature(s)"]
        for key, entry in self._entries.items():
            shapes = ", ".join(f"{tuple(s)} {str(d).removeprefix('torch.')}" for s, d in key[2:])
            given = self._given(entry, key, args) if profile and key == last else None
            plans.append(entry.plan.explained(self._both.net.name, shapes, entry.calls, given, rounds))
            lines += ["", f"signature: {shapes}; called {entry.calls}×", *plan_lines(plans[-1])]
            if code:
                lines += [entry.plan.source.text.rstrip(), *[region.text() for region in entry.plan.source.regions]]
        return Explanation("\n".join(lines), plans)

    def _given(self, entry: _Entry, key: Any, args: tuple[Any, ...]) -> tuple[list[Any], list[float]]:
        """Return the tensors and numbers of a step; without arguments zeros, which are valid labels and indices."""
        ctx = key[1]
        found = [a._t for a in flatten(list(as_arrays(args)), NDArray)[0]]
        if found and [(t.shape, t.dtype) for t in found] != list(key[2:]):
            raise MXNetError(explain("CompiledStep.explain", "The last step was compiled for other arrays.",
                                     expected=[tuple(shape) for shape, _ in key[2:]],
                                     received=[tuple(t.shape) for t in found],
                                     fix="make a step with these first"))  # fmt: skip
        found = found or [nd.zeros(tuple(shape), ctx)._t.to(dtype) for shape, dtype in key[2:]]
        weights = [parameter.data(ctx) for _, parameter in entry.graph.parameters]
        index_of, updater = self._trainer._indices(), self._trainer._updaters[0]
        pairs = [(p, weight) for (_, p), weight in zip(entry.graph.parameters, weights) if p in index_of]
        states = [states_of(updater, index_of[parameter], weight) for parameter, weight in pairs]
        rest = [a._t.detach() for own in (weights, [c for _, c in entry.graph.constants], *states) for a in own]
        return [*found, *rest], list(entry.updates.numbers)


@final
@dataclass(slots=True)
class _Entry:
    """A signature: its graph, its plan, what the optimiser does, how many steps it made, and when it was used last."""

    graph: Any
    plan: StepPlan
    updates: Updates
    calls: int = 0
    used: int = 0


def _check_data(args: tuple[Any, ...], batch_size: float | None) -> None:
    """Refuse arrays of other libraries, and a batch without samples."""
    foreign = next((a for a in args if not isinstance(a, NDArray) and hasattr(a, "__array__")), None)
    if foreign is not None:
        kind = type(foreign)
        raise ArgumentError(explain("CompiledStep", "Data and labels are no arrays of NumPy or Glueball.",
                                    expected="NDArray", received=f"{kind.__module__}.{kind.__qualname__}",
                                    fix="nd.from_torch(tensor), or nd.array(values)"))  # fmt: skip
    if batch_size is None and isinstance(args[0], NDArray) and not args[0].shape[0]:
        raise ArgumentError(explain("CompiledStep", "There is no sample in the batch.", expected="at least one",
                                    received=f"data of shape {args[0].shape}", fix="leave empty batches out"))


def _graphs(one: _Entry, two: _Entry, line: Line) -> TracedForm:
    return TracedForm(one.graph, two.graph, True, line)


def _steps(one: _Entry, two: _Entry, line: Line) -> StepForm:
    return StepForm(one.plan, two.plan, line)


def _plan(graph: Any, trained: list[int], weights: list[NDArray], updates: Updates) -> StepPlan:
    for weight in weights:
        if not weight._t.is_cpu or not weight._t.is_contiguous() or weight.dtype != weights[0].dtype:
            raise NotCompiled("weights are of several types, or not together in the CPU's memory")
    if any(node.op is not None and node.op.name == "_torch_module" for node in topological(graph.outputs)):
        raise NotCompiled("a torch module is part of it, which torch's tape differentiates")
    inputs = [*graph.data, *[n for n, _ in graph.parameters], *[n for n, _ in graph.constants]]
    return make_step(graph.outputs, inputs, graph.types, trained, graph.effects, updates)
