"""How much memory a plan needs at each of its steps, and how much it would need without planning.

The one idea: a result lives from its step to the last one that reads it or a view of it; what is returned lives on.
"Planned" is what is alive at a step, with the scratch memory of a region while it runs. "Naive" is what operators run
one by one would have made so far, each result in memory of its own and kept, as a tape keeps it for backward. Neither
has inputs and parameters.

Not here: who deletes and overwrites (codegen.py), scratch memory inside a region (jit/memory.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ...ops.opdef import TensorType
from ...symbol.graph import Node, Value
from ..codegen import Source, results_of, roots_of
from ..jit.region import Region
from .work import bytes_of, kind_of

__all__ = ["memory_of"]

Types: TypeAlias = Mapping[Node, "tuple[TensorType, ...]"]


def memory_of(sources: Sequence[Source], types: Types, outputs: int) -> list[tuple[int, int]]:
    """Return per step, of all functions in order, the planned bytes and the naive ones.

    outputs : how many of the first function's results a user gets
    """
    steps = [step for source in sources for step in source.steps]
    roots = roots_of(steps)
    end = len(steps) - 1
    born: dict[Value, int] = {}
    last: dict[Value, int] = {}
    for position, step in enumerate(steps):
        for value in step.inputs:
            last.update(dict.fromkeys(roots.get(value, ()), position))
        for value in results_of(step):
            if roots[value] == frozenset({value}):
                born[value] = last[value] = position
    kept = [*sources[0].results[:outputs], *(v for source in sources[1:] for v in source.results)]
    for value in kept:
        if value is not None:
            last.update(dict.fromkeys(roots.get(value, ()), end))
    begin = 0
    for source in sources:
        for position in source.overwrites:  # the result lies where the operand lay
            over = steps[begin + position].inputs[0]
            last.update(dict.fromkeys(roots[over], begin + position - 1))
        begin += len(source.steps)
    change = [0] * (len(steps) + 1)
    for value, position in born.items():
        size = bytes_of(value, types)
        change[position] += size
        change[last[value] + 1] -= size
    found: list[tuple[int, int]] = []
    alive = naive = 0
    for step, more in zip(steps, change):
        alive += more
        naive += _separate(step, types)
        found.append((alive + (step.scratch if isinstance(step, Region) else 0), naive))
    return found


def _separate(step: Node | Region, types: Types) -> int:
    """Return the bytes that a step's operators would take one by one."""
    nodes = step.nodes if isinstance(step, Region) else [step]
    return sum(bytes_of(Value(node, index), types) for node in nodes
               if kind_of(node) != "view" and not _in_place(node) for index in range(node.num_outputs))  # fmt: skip


def _in_place(node: Node) -> bool:
    return node.op is not None and node.op.name == "_update"
