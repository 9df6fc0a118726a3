"""Derived values: what a plan computes from parameters alone is computed once and kept, until a parameter changes.

The one idea: a value that no data, chance or state reaches is as constant as the parameters are. A plan asks `Derived`
for such values; it compares the parameters' tensors (the very objects) and their counts of writes with those it
computed from, and computes anew when anything differs. Writes that torch does not count are in base/writes.py; memory
that others may write to at any time is compared with a copy, bit by bit, at every call.

Values are shared by the plans of one block: `Store` keeps them by what they are computed from, and nothing that was
computed from parameters as they are no longer. Which values: `derivable`. What makes them: passes/absorb.py, finish.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from operator import attrgetter, is_
from typing import Any, final

import torch

from ..base.writes import UNSEEN, is_lent, unseen_writes
from ..ops.opdef import TensorType
from ..passes.absorb import fixed_nodes
from ..passes.layout import FINISHED
from ..passes.program import Program
from ..symbol.graph import Node, Value, topological
from .interpret import interpret

__all__ = ["Derived", "Store", "derivable", "swallows", "MOST_ARRANGED"]

Tensor = torch.Tensor
Types = Mapping[Node, "tuple[TensorType, ...]"]

SMALL = 65536  # elements: a value may always be so large, a larger one no larger than what it is computed from
MOST_ARRANGED = 4  # plans of a block that may keep weights in an order of their own; later ones share plain ones

_version = attrgetter("_version")
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def derivable(program: Program, parameters: Mapping[Node, Hashable]) -> list[Value]:
    """Return the values that depend on parameters alone and that other nodes read, or the caller.

    Views of parameters are left out, for they cost nothing, and so is what is larger than the parameters themselves.
    """
    fixed = fixed_nodes(program, parameters)
    kept: set[Node] = set()
    sources: dict[Node, frozenset[Node]] = {}
    computed: set[Node] = set()
    for node in program.order:
        if node not in fixed:
            continue
        if node.is_variable:
            sources[node] = frozenset({node})
            continue
        if any(v.node not in sources for v in node.inputs):
            continue
        own = frozenset[Node]().union(*(sources[v.node] for v in node.inputs))
        most = sum(_size(program.types[n][0]) for n in own) * (4 if _at_points(node) else 1)
        if any(_size(k) > max(SMALL, most) for k in program.types[node]):
            continue
        sources[node] = own
        kept.add(node)
        if (node.op is not None and node.op.view is None) or any(v.node in computed for v in node.inputs):
            computed.add(node)
    read = [v for node in program.order if node not in kept for v in node.inputs]
    read += [v for v in program.outputs if v is not None]
    return list(dict.fromkeys(v for v in read if v.node in computed))


def _at_points(node: Node) -> bool:
    """Whether a node brings weights to Winograd's points, which are four times as many numbers."""
    return node.op is not None and node.op.name == "_winograd_weight"


def _size(kind: TensorType) -> int:
    return prod(s or 0 for s in kind.shape or ())


@final
@dataclass(slots=True)
class _State:
    """Values, and what they were computed from: tensors, their counts of writes, whose memory is lent, and copies of
    it. total, lost : of `UNSEEN`, at most as late as the rest.
    """

    tensors: list[Tensor]
    versions: list[int]
    writes: list[int]
    lent: list[bool]
    copies: list[Tensor | None]
    total: int
    lost: int
    values: list[Tensor]

    def holds(self, given: Sequence[Tensor]) -> bool:
        """Whether the parameters are what they were."""
        if not all(map(is_, given, self.tensors)) or list(map(_version, given)) != self.versions:
            return False
        if UNSEEN.total != self.total and not self._still(given):
            return False
        return not self.copies or all(
            copy is None or torch.equal(_bits(tensor), copy) for tensor, copy in zip(given, self.copies)
        )

    def _still(self, given: Sequence[Tensor]) -> bool:
        """Whether what happened unseen since then concerns other memory."""
        total = UNSEEN.total
        if UNSEEN.lost != self.lost or list(map(unseen_writes, given)) != self.writes:
            return False
        if list(map(is_lent, given)) != self.lent:
            return False
        self.total = total
        return True


def _bits(tensor: Tensor) -> Tensor:
    """Return a view of the tensor's bits: equal numbers need not be the same, and NaN is not equal to itself."""
    found = tensor.detach()
    if found.is_complex():
        found = torch.view_as_real(found)
    return found.view(_BITS[found.element_size()])


def _is_finite(tensor: Tensor) -> bool:
    """Return whether a tensor holds no infinity and no NaN; large numbers may be taken for infinite."""
    return not tensor.is_floating_point() or isfinite(tensor.detach().sum().item())


def swallows(program: Program) -> bool:
    """Return whether a program has calls whose activation makes a number of NaN, as the library's ReLU does."""
    return any(n.op is not None and n.op.name in FINISHED and n.attrs["act"] != "none" for n in program.order)


@final
class Store:
    """What the plans of one block have derived; see the module's text."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.values: dict[Any, Tensor] = {}
        self.users: list[Derived] = []
        self.arranging = 0  # plans that keep weights in an order of their own
        self._seen: dict[Hashable, tuple[Tensor, int, int]] = {}
        self._lost = 0
        self._names: dict[Any, int] = {}

    def name(self, value: Value, parameters: Mapping[Node, Hashable], names: dict[Node, Any]) -> Any:
        """Return what a value is computed from, as a key: equal for equal computations on the same parameters."""
        for node in topological([value]):
            if node in names:
                continue
            if node.is_variable:
                form: Any = ("parameter", parameters[node])
            else:
                form = (node.op, node.attr_key, tuple((names[v.node], v.index) for v in node.inputs))
            try:
                names[node] = self._names.setdefault(form, len(self._names))
            except TypeError:  # an attribute that cannot be hashed
                names[node] = self._names.setdefault(node, len(self._names))
        return names[value.node], value.index

    def accept(self, owners: Sequence[Hashable], tensors: Sequence[Tensor], versions: Sequence[int],
               writes: Sequence[int], lost: int) -> None:  # fmt: skip
        """Take note of how parameters are now; forget everything when one of them was different."""
        now = dict(zip(owners, zip(tensors, versions, writes)))
        for owner, (tensor, version, count) in now.items():
            before = self._seen.get(owner)
            if lost != self._lost or before is not None and (
                before[0] is not tensor or before[1] != version or before[2] != count
            ):
                self.clear()
                break
        self._lost = lost
        self._seen.update(now)

    def clear(self) -> None:
        """Forget all values."""
        self.values.clear()
        self._seen.clear()
        for user in self.users:
            user.forget()


@final
class Derived:
    """The derived values of one plan: `derived(tensors of the plan's inputs)` returns them, in the order of `values`.

    inputs : of the plan; parameters : those among them that are parameters, with what each belongs to; constants :
    variables whose tensors the plan holds
    """

    def __init__(self, store: Store, values: Sequence[Value], inputs: Sequence[Node],
                 parameters: Mapping[Node, Hashable], constants: Mapping[Node, Tensor]) -> None:  # fmt: skip
        self.store, self.values = store, list(values)
        order = topological(values)
        needed = {node for node in order if node.is_variable}
        self.operators = [node for node in order if not node.is_variable]
        self._positions = [i for i, node in enumerate(inputs) if node in needed]
        self._nodes = [inputs[i] for i in self._positions]
        self._owners = [parameters[node] for node in self._nodes]
        self._constants = {node: tensor for node, tensor in constants.items() if node in needed}
        names: dict[Node, Any] = {}
        known = {**parameters, **{node: node for node in self._constants}}
        with store.lock:
            self._keys = [store.name(value, known, names) for value in values]
            store.users.append(self)
        self._state: _State | None = None
        self._data = [i for i, node in enumerate(inputs) if node not in parameters]
        self._finite = True  # whether the parameters of the last call are numbers
        self.plainly: Callable[..., Any] | None = None  # the results without what swallows NaN; None: nothing does

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the values for the parameters as they are now."""
        given = [tensors[i] for i in self._positions]
        state = self._state
        if state is not None and state.holds(given):
            return state.values
        with self.store.lock, torch.no_grad():
            return self._compute(given)

    def are_numbers(self, tensors: Sequence[Tensor]) -> bool:
        """Return whether neither data nor parameters hold infinities or NaN; after a call for these tensors."""
        return self._finite and all(_is_finite(tensors[i]) for i in self._data)

    def text(self, program: Program) -> str:
        """Return in one line what is kept, and what it is for."""
        size = sum(_size(k := program.types[v.node][v.index]) * k.dtype.itemsize for v in self.values)
        absorbed = sum(n.op is not None and n.op.name == "_absorbed_bias" for n in self.operators)
        finished = sum(n.op is not None and n.op.name in FINISHED for n in program.order)
        notes = [f"kept while parameters do not change: {len(self.values)} value(s), {size / 1e6:.2f} MB"]
        notes += [f"{absorbed} normalisation(s) absorbed by weights"] if absorbed else []
        notes += [f"{finished} convolution(s) that finish what follows"] if finished else []
        fast = sum(map(_at_points, self.operators))
        notes += [f"{fast} of them by Winograd's way"] if fast else []
        return "; ".join(notes)

    def forget(self) -> None:
        """Give the values up."""
        self._state = None

    def _compute(self, given: list[Tensor]) -> list[Tensor]:
        self._finite = self.plainly is None or all(map(_is_finite, given))
        if any(t.is_inference() for t in given):  # they do not count writes
            return self._run(self.values, given)
        total, lost = UNSEEN.total, UNSEEN.lost  # first: what happens from here on will be noticed
        versions, writes = list(map(_version, given)), list(map(unseen_writes, given))
        lent = list(map(is_lent, given))
        copies = [_bits(t).clone() if yes else None for t, yes in zip(given, lent)] if any(lent) else []
        self.store.accept(self._owners, given, versions, writes, lost)
        kept = {} if copies else self.store.values
        missing = [k for k, key in enumerate(self._keys) if key not in kept]
        for k, tensor in zip(missing, self._run([self.values[k] for k in missing], given)):
            kept[self._keys[k]] = tensor
        values = [kept[key] for key in self._keys]
        self._state = _State(given, versions, writes, lent, copies, total, lost, values)
        return values

    def _run(self, values: Sequence[Value], given: Sequence[Tensor]) -> list[Tensor]:
        known = dict(zip(self._nodes, (t.detach() for t in given)))
        return interpret(values, {**known, **self._constants}, False)
