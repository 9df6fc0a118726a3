"""Which nodes of a plan run in regions, and where the regions lie among the calls of ATen.

The one idea: nodes are taken in turns: as many as can be of the kind that was taken last (regions, or ATen), in their
order, before the other kind; so regions are few and long. A region that would not save anything (a single cheap node,
nothing but shapes) is left to ATen.

Not here: what fits into a region (rules.py).
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch

from ...ops.opdef import TensorType
from ...passes.layout import ORDER
from ...passes.recompute import LATE
from ...symbol.graph import Node, Value
from ..native import available, machine
from .region import Region
from .rules import accepted

__all__ = ["all_native", "is_native", "partition", "usable"]

Types = Mapping[Node, "tuple[TensorType, ...]"]

_WORTH = frozenset({"FullyConnected", "dot", "batch_dot", "_linear_backward_data", "_linear_backward_weight",
                    "LayerNorm", "_update", "_layer_norm_backward", "softmax", "log_softmax", "_class_likelihood",
                    "_class_likelihood_backward"})  # fmt: skip
_FREE = frozenset({"Reshape", "_reshape_to", "Flatten", "expand_dims", "squeeze", "SliceChannel", "slice_axis"})


def usable() -> bool:
    """Return whether regions can be compiled and run in this process."""
    return available() and machine() is not None


def partition(nodes: Sequence[Node], results: Sequence[Value | None], types: Types, training: bool,
              last: Sequence[Node] = ()) -> list[Node | Region]:  # fmt: skip
    """Return the nodes, each region in the place of its own.

    results : values that must be there at the end
    last : further nodes, which run after all others: they write over what those read
    """
    if not usable():
        return [*nodes, *last]
    native = {node for node in (*nodes, *last) if is_native(node, types)}
    runs = _runs(nodes, native)
    for node in last:
        if runs and (node in native) == (runs[-1][0] in native):
            runs[-1].append(node)
        else:
            runs.append([node])
    readers: dict[Value, set[int]] = {}
    for number, run in enumerate(runs):
        for node in run:
            for value in node.inputs:
                readers.setdefault(value, set()).add(number)
    wanted = {value for value in results if value is not None}
    order: list[Node | Region] = []
    for number, run in enumerate(runs):
        if run[0] not in native or not _worth(run):
            order += run
            continue
        outputs = [value for node in run for value in (Value(node, i) for i in range(node.num_outputs))
                   if value in wanted or readers.get(value, set()) - {number}]  # fmt: skip
        order.append(Region(run, outputs, types, training))
    return order


def all_native(order: Sequence[Node], types: Types) -> bool:
    """Return whether a graph becomes one region, and is worth it: then even a small one does not need the tape."""
    nodes = [node for node in order if not node.is_variable]
    return usable() and _worth(nodes) and all(is_native(node, types) for node in nodes)


def is_native(node: Node, types: Types) -> bool:
    """Return whether a node can be part of a region."""
    if ORDER in node.hints:  # regions know one order of the axes in memory
        return False
    return types[node][0].dtype in (torch.float32, torch.float64) and accepted(node, types)


def _worth(run: Sequence[Node]) -> bool:
    names = [node.op.name for node in run if node.op is not None and node.op.name not in _FREE]
    return len(names) > 1 or any(name in _WORTH for name in names)


def _needs(nodes: Sequence[Node]) -> dict[Node, set[Node]]:
    """Return what has to run before each node: what it reads. What draws random numbers, changes a state or runs a
    user's code keeps its order. What is marked to run late, to save memory, runs after everything else that its first
    reader reads.
    """
    inside = set(nodes)
    needs = {node: {v.node for v in node.inputs if v.node in inside} for node in nodes}
    ordered = [node for node in nodes if node.op is not None
               and (node.op.random or node.op.mutates or node.op.name == "Custom")]  # fmt: skip
    for before, after in pairwise(ordered):
        needs[after].add(before)
    first: dict[Node, Node] = {}
    for node in nodes:
        for source in needs[node]:
            first.setdefault(source, node)
    for node in reversed(nodes):  # readers before what they read
        if LATE in node.hints and node in first:
            needs[node] |= {source for source in needs[first[node]] if source is not node and LATE not in source.hints}
    return needs


def _runs(nodes: Sequence[Node], native: set[Node]) -> list[list[Node]]:
    """Return the nodes in runs of one kind, in an order in which each comes after its inputs."""
    needs = _needs(nodes)
    waiting = {node: len(sources) for node, sources in needs.items()}
    users: dict[Node, list[Node]] = {}
    for node, sources in needs.items():
        for source in sources:
            users.setdefault(source, []).append(node)
    rank = {node: index for index, node in enumerate(nodes)}
    ready: tuple[list[tuple[int, Node]], list[tuple[int, Node]]] = ([], [])
    for node in nodes:
        if not waiting[node]:
            heapq.heappush(ready[node in native], (rank[node], node))
    runs: list[list[Node]] = []
    kind = bool(ready[1])
    while ready[0] or ready[1]:
        if not ready[kind]:
            kind = not kind
        run: list[Node] = []
        while ready[kind]:
            _, node = heapq.heappop(ready[kind])
            run.append(node)
            for user in users.get(node, ()):
                waiting[user] -= 1
                if not waiting[user]:
                    heapq.heappush(ready[user in native], (rank[user], user))
        runs.append(run)
        kind = not kind
    return runs
