"""The facts of a compiled plan as data: its steps, the operators in each by their user's names, work, memory and times.

The one idea: everything is worked out from what the plan keeps anyway (its generated functions and their steps), when
somebody asks.

Not here: how facts look (table.py, picture.py), how times are taken (clock.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, final

from ...base.errors import short_place
from ...ops.opdef import TensorType
from ...symbol.graph import Node
from ..codegen import Source
from ..jit.region import Region
from ..jit.units import Copy, Guard, Kernel, Pack, Product
from .lifetimes import memory_of
from .reasons import reason_of
from .work import flops_of, kind_of, moved_by, unit_work

__all__ = ["Operator", "Unit", "Step", "PlanFacts", "block_of", "plan_facts", "step_names", "with_times"]

Types: TypeAlias = Mapping[Node, "tuple[TensorType, ...]"]

_HELPERS = re.compile(r"(_fwd|_together|_parts|_joined|_memory|_update|_zero|_again)+$")


@final
@dataclass(frozen=True, slots=True)
class Operator:
    """An operator in a step. name : of the call in the network; block : the layer's; line : the user's file:line;
    backward : whether it is a part of the gradient of `name`.
    """

    operator: str
    name: str
    block: str
    line: str
    backward: bool

    def __str__(self) -> str:
        if self.operator == "_update":
            return f"update of {self.name}"
        return f"{self.operator} of {self.name}" if self.backward else f"{self.operator} {self.name}"


@final
@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a region: a product, a kernel, a weight put in order, or a guard.

    flops : operations; moved : bytes read and written
    """

    what: str
    kind: str
    operators: tuple[Operator, ...]
    flops: int
    moved: int
    seconds: float | None = None


@final
@dataclass(frozen=True, slots=True)
class Step:
    """A step of a plan.

    phase : "forward", "backward", or "step"; kind : a key of work.KINDS
    flops : operations; moved : bytes read and written
    planned, naive : bytes of memory, see lifetimes.py
    why, advice : of a step that is no region
    seconds : the median of some runs; None before a clock has run
    """

    number: int
    phase: str
    kind: str
    name: str
    operators: tuple[Operator, ...]
    units: tuple[Unit, ...]
    flops: int
    moved: int
    planned: int
    naive: int
    why: str = ""
    advice: str = ""
    seconds: float | None = None


@final
@dataclass(frozen=True, slots=True)
class PlanFacts:
    """A plan.

    name : of the block; signature : shapes, mode, device; calls : how often the signature was called
    compile_seconds : from graph to plan, and of waiting for machine code; kept : bytes that forward keeps for backward
    note : what there is to know beside
    """

    name: str
    signature: str
    title: str
    calls: int
    steps: tuple[Step, ...]
    compile_seconds: float
    kept: int
    note: str = ""

    @property
    def flops(self) -> int:
        """Floating-point operations of a call."""
        return sum(step.flops for step in self.steps)

    @property
    def planned(self) -> int:
        """The most bytes at any step."""
        return max((step.planned for step in self.steps), default=0)

    @property
    def naive(self) -> int:
        """The bytes of all results in memory of their own."""
        return self.steps[-1].naive if self.steps else 0

    @property
    def seconds(self) -> float | None:
        """Time of a call, the sum of its steps'; None before a clock has run."""
        found = [step.seconds for step in self.steps if step.seconds is not None]
        return sum(found) if found else None

    @property
    def operators(self) -> int:
        """How many operators the steps have."""
        return sum(len(step.operators) for step in self.steps)

    def count(self, *kinds: str) -> int:
        """Return how many steps are of some kinds."""
        return sum(step.kind in kinds for step in self.steps)


def block_of(name: str) -> str:
    """Return the name of the layer that made an operator of this name, as far as the name tells.

    >>> block_of("stage1_conv0_fwd"), block_of("loss0__mulscalar0"), block_of("elemwise_add0")
    ('stage1_conv0', 'loss0', '')
    """
    short = _HELPERS.sub("", name.split("/")[0].lstrip("_"))
    if short != name:
        return short
    while "_" in short:
        short = short.rpartition("_")[0].rstrip("_")
        if short[-1:].isdigit():
            return short
    return ""


def _operator(node: Node, lines: Mapping[str, str]) -> Operator:
    assert node.op is not None  # variables are not run
    name, _, inner = node.name.partition("/")
    operator = node.op.name if node.op.name != "_vjp" else f"gradient of {node.attrs['op']}"
    operator = _NAMES.get(operator, operator)
    if operator == "_update":
        name = name.removeprefix("_").removesuffix("_update")
    line = lines.get(name, node.origin)
    return Operator(operator, name, block_of(name), short_place(line), bool(inner))


_NAMES = {"_winograd_convolution": "convolution 3×3 by Winograd's way",
          "_winograd_weight_gradient": "gradient of 3×3 weights by Winograd's way",
          "_winograd_weight": "weights at Winograd's points",
          "_pointwise_backward": "gradients of a 1×1 convolution as products",
          "_subsample": "pixels that strides meet", "_spread": "gradients of pixels that strides meet"}  # fmt: skip


def _listed(names: Iterable[str], most: int = 4) -> str:
    found = [name for name in dict.fromkeys(names) if name]
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")


def _region_name(count: int, blocks: str) -> str:
    return f"region of {count} operator{'' if count == 1 else 's'}" + (f": {blocks}" if blocks else "")


def _region_units(region: Region, lines: Mapping[str, str]) -> tuple[Unit, ...]:
    inside: dict[int, list[Operator]] = {}
    for node in region.nodes:
        if kind_of(node) != "view":
            for number in region.made_by[node]:
                inside.setdefault(number, []).append(_operator(node, lines))
    kinds = {Kernel: "kernel", Product: "product", Copy: "copy", Pack: "pack", Guard: "guard"}
    return tuple(Unit(region.line(unit), kinds[type(unit)], tuple(inside.get(unit.number, ())),
                      *unit_work(region, unit)) for unit in region.units)  # fmt: skip


def plan_facts(sources: Mapping[str, Source], types: Types, outputs: int, compiled: bool, native: bool,
               ) -> tuple[Step, ...]:  # fmt: skip
    """Return the facts of all steps.

    Parameters
    ----------
    sources : the functions by phase, in the order in which they run
    outputs : how many of the first function's results a user gets
    compiled, native : whether regions are on, and the arrays the CPU's
    """
    lines = {node.name: node.origin for node in types if "/" not in node.name}
    memory = iter(memory_of(list(sources.values()), types, outputs))
    found: list[Step] = []
    for phase, source in sources.items():
        for step in source.steps:
            planned, naive = next(memory)
            if isinstance(step, Region):
                units = _region_units(step, lines)
                operators = tuple(_operator(node, lines) for node in step.nodes)
                blocks = _listed(operator.block for operator in operators)
                name = _region_name(len(operators), blocks)
                found.append(Step(len(found), phase, "region", name, operators, units, sum(u.flops for u in units),
                                  sum(u.moved for u in units), planned, naive))  # fmt: skip
                continue
            operator, reason = _operator(step, lines), reason_of(step, types, compiled, native)
            found.append(Step(len(found), phase, kind_of(step), str(operator), (operator,), (), flops_of(step, types),
                              moved_by(step, types), planned, naive, "" if reason is None else reason.why,
                              "" if reason is None else reason.advice))  # fmt: skip
    return tuple(found)


def step_names(source: Source) -> tuple[list[str], list[list[str]]]:
    """Return what the profiler calls each step of a function, and each unit of each step."""
    names: list[str] = []
    units: list[list[str]] = []
    for step in source.steps:
        if isinstance(step, Region):
            blocks = _listed(block_of(node.name) for node in step.nodes)
            names.append(_region_name(len(step.nodes), blocks))
            units.append([step.line(unit) for unit in step.units])
        else:
            names.append(str(_operator(step, {})))
            units.append([])
    return names, units


def with_times(steps: Sequence[Step], seconds: Sequence[float], units: Mapping[int, Sequence[float]]) -> tuple[
        Step, ...]:  # fmt: skip
    """Return the steps with the times of a clock."""
    found: list[Step] = []
    for step, time in zip(steps, seconds):
        parts = tuple(replace(unit, seconds=each) for unit, each in zip(step.units, units.get(step.number, ())))
        found.append(replace(step, seconds=time, units=parts or step.units))
    return (*found, *steps[len(found) :])
