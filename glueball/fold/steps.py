"""The straight-line program of a unit: what one folded call computes, per sample, before it is run on many samples.

The one idea: a traced graph becomes a list of steps over numbered slots. A slot lives on one of two levels: "node"
(one value per recorded call) or "edge" (one value per child, when an argument of the call is a list of children).
Steps whose `op` is a word move between the levels: "sum", "mean" and "max" reduce the edges of a node, "spread" gives
each edge its node's value. So one program serves calls with any number of children.

Not here: how a graph becomes steps (units.py; ragged.py for lists of children), how steps run on stacked tensors
(body.py).
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

from ..ops.opdef import OpDef, TensorType

__all__ = ["Level", "Step", "Program", "REDUCTIONS"]

Level: TypeAlias = Literal["node", "edge"]
REDUCTIONS = ("sum", "mean", "max")


@final
@dataclass(frozen=True, slots=True)
class Step:
    """One computation.

    op : an operator of the table, or "sum", "mean", "max" (edges -> node), "spread" (node -> edges)
    attrs : typed attributes of the operator; of "max", {"ties": "first"} where only the first of equal edges gets the
        gradient (a chain of `maximum`) rather than all of them (`max` of a stack)
    inputs : slots in the order of the operator's signature; None for an absent optional input
    outputs : slots of all results (`op.num_outputs(attrs)` of them)
    level : where the results live
    origin : the user's file:line
    """

    op: OpDef | str
    attrs: Mapping[str, Any]
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    level: Level
    origin: str = ""


@final
@dataclass(frozen=True, slots=True)
class Program:
    """A unit's computation per sample.

    types : the type of every slot, per sample (per edge for slots of level "edge")
    levels : the level of every slot; shared slots count as "node"
    arguments : slots of the call's arguments, in order: arrays and, for a list of children, one slot of level "edge"
    shared : slots that are the same for every sample: parameters and constants
    results : slots of the results, in the order of the traced graph's outputs
    """

    types: tuple[TensorType, ...]
    levels: tuple[Level, ...]
    arguments: tuple[int, ...]
    shared: tuple[int, ...]
    steps: tuple[Step, ...]
    results: tuple[int, ...]

    def shape(self, slot: int) -> tuple[int, ...]:
        """Return the shape of a slot's value; programs are made of traced graphs, whose types are complete."""
        return self.types[slot].shape or ()  # type: ignore[return-value]  # complete
