"""A plan as a picture: its steps from top to bottom, with what is in each and how long it takes; memory beneath.

The one idea: a row is a step, or a unit of a region; where there are too many to be read, rows are the layers of the
network, and then stages of it, each with a bar of its steps' kinds. Lengths are times where a clock has run; before,
what a machine of 50 GFLOP/s and 10 GB/s would take: the heading says so.

Not here: the facts (facts.py), how shapes become a file (base/drawing.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import final

from ...base.drawing import FAINT, INK, QUIET, STRIPE, Area, Box, Line, Picture, Shape, Words, nice
from .facts import Operator, PlanFacts, Step, Unit
from .table import amount, duration, names_of, rate
from .work import KINDS

__all__ = ["draw_plan"]

WIDTH, LEFT, RIGHT = 1200.0, 24.0, 24.0
NAMES, WORK, MOVES, BARS = 300.0, 790.0, 868.0, 884.0  # where columns begin, or end where numbers stand
ROW, SMALL = 26.0, 20.0
ROWS = 44  # more are put together
MEMORY = 150.0  # height of the curve
COLOURS = {"region": "#4C78A8", "library": "#F58518", "native": "#54A24B", "copy": "#E45756", "view": "#BAB0AC",
           "call": "#B279A2", "product": "#F58518", "kernel": "#72B7B2", "pack": "#E45756",
           "guard": "#BAB0AC"}  # fmt: skip
_INSIDE = {"product": "a product inside a region", "kernel": "a fused kernel inside a region",
           "pack": "a weight put in order inside a region"}  # fmt: skip


@final
@dataclass(slots=True)
class _Row:
    """A line of the picture. parts : kind and length of each piece of its bar; inner : a unit of the row above."""

    phase: str
    label: str
    text: str
    kind: str
    flops: int = 0
    moved: int = 0
    seconds: float | None = None
    parts: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    inner: bool = False

    @property
    def length(self) -> float:
        """Seconds, measured or supposed."""
        return sum(length for _, length in self.parts)


def _supposed(step: Step | Unit) -> float:
    return max(step.flops / 50e9, step.moved / 10e9)


def _length(step: Step | Unit, timed: bool) -> float:
    return step.seconds or 0.0 if timed else _supposed(step)


def _short(text: str, pixels: float, size: float) -> str:
    """Return as much of a text as fits."""
    most = int(pixels / (0.56 * size))
    return text if len(text) <= most else text[: max(most - 1, 1)] + "…"


# -- rows --------------------------------------------------------------------------------------------------------------
def _rows(plan: PlanFacts, timed: bool) -> list[_Row]:
    steps = [step for step in plan.steps if step.kind != "view"]
    rows = [row for step in steps for row in _step_rows(step, timed)]
    if len(rows) <= ROWS:
        return rows
    if len(steps) <= ROWS:
        return [row for row in rows if not row.inner]
    deepest = max((_block(step).count("_") for step in steps), default=0)
    for depth in range(deepest, -1, -1):
        rows = _together(steps, timed, lambda block, depth=depth: "_".join(block.split("_")[: depth + 1]))
        if len(rows) <= ROWS:
            return rows
    return _together(steps, timed, lambda block: "", -(-len(steps) // ROWS))  # names do not help: so many at a time


def _step_rows(step: Step, timed: bool) -> Iterator[_Row]:
    label, text = "", names_of(step.operators, 200)
    if step.kind != "region":
        label, text = _title(step.operators[0]), step.operators[0].name
    else:
        label, _, blocks = step.name.partition(": ")
        text = blocks if len(step.units) > 1 else text
    yield _Row(step.phase, label, text, step.kind, step.flops, step.moved, step.seconds,
               [(step.kind, _length(step, timed))])  # fmt: skip
    if len(step.units) > 1:
        for unit in step.units:
            if unit.kind != "guard":
                yield _Row(step.phase, unit.what.partition(":")[0].partition(", ")[0], names_of(unit.operators, 200),
                           unit.kind, unit.flops, unit.moved, unit.seconds, [(unit.kind, _length(unit, timed))],
                           True)  # fmt: skip


def _title(operator: Operator) -> str:
    return operator.operator.strip("_") + (" of" if operator.backward and "gradient" not in operator.operator else "")


def _block(step: Step) -> str:
    """Return the layer that a step belongs to: that of most of its operators."""
    counted = Counter(operator.block for operator in step.operators if operator.block)
    return counted.most_common(1)[0][0] if counted else ""


def _together(steps: Sequence[Step], timed: bool, shorten: Callable[[str], str], most: int = 10**9) -> list[_Row]:
    """Return a row for each run of steps of the same layer."""
    rows: list[_Row] = []
    groups: list[list[Step]] = []
    for step in steps:
        name = shorten(_block(step))
        if groups and groups[-1][0].phase == step.phase and len(groups[-1]) < most and (
            not name or name == shorten(_block(groups[-1][0])) or _slight(step)
        ):
            groups[-1].append(step)
        else:
            groups.append([step])
    for group in groups:
        kinds = Counter(step.kind if step.kind == "region" else _title(step.operators[0]) for step in group)
        text = ", ".join(f"{count} {name}" if count > 1 else name for name, count in kinds.most_common())
        main = max(group, key=lambda step: _length(step, timed))
        seconds = sum(step.seconds or 0.0 for step in group) if timed else None
        label = shorten(_block(group[0])) or f"steps {group[0].number} to {group[-1].number}"
        rows.append(_Row(group[0].phase, label, text, main.kind, sum(step.flops for step in group),
                         sum(step.moved for step in group), seconds,
                         [(step.kind, _length(step, timed)) for step in group]))  # fmt: skip
    return rows


def _slight(step: Step) -> bool:
    return step.kind == "copy" or not step.operators[0].block


# -- shapes ------------------------------------------------------------------------------------------------------------
def draw_plan(plan: PlanFacts) -> Picture:
    """Return the picture of a plan."""
    timed = plan.seconds is not None
    rows = _rows(plan, timed)
    y = 108.0
    shapes: list[Shape] = [*_heading(plan, timed)]
    longest = max((row.length for row in rows if not row.inner), default=0.0) or 1.0
    whole = sum(row.length for row in rows if not row.inner) or 1.0
    phase = ""
    for row in rows:
        if row.phase != phase:
            phase = row.phase
            shapes += [Line(LEFT, y + 3, WIDTH - RIGHT, y + 3, FAINT), Words(LEFT, y + 19, phase, 12, QUIET, bold=True)]
            y += ROW
        shapes += _row(row, y, longest, whole, timed)
        y += SMALL if row.inner else ROW
    y += 26
    shapes += _memory(plan, y, timed)
    y += MEMORY + 62
    used = [*dict.fromkeys(kind for row in rows for kind, _ in row.parts)]
    shapes += _legend(used, y)
    said = (f"{plan.operators} operators in {len(plan.steps)} steps, {amount(plan.flops, 'FLOP')}, "
            f"{amount(plan.planned, 'B')} of memory.")  # fmt: skip
    return Picture(shapes, WIDTH, y + 14 + 22 * len(_legend_rows(used)), f"Plan of {plan.name}", said)


def _heading(plan: PlanFacts, timed: bool) -> Iterator[Shape]:
    time = f" in {duration(plan.seconds)}" if plan.seconds is not None else ""
    yield Words(LEFT, 34, f"{plan.name}: {plan.operators} operators run as {len(plan.steps)} "
                f"step{'' if len(plan.steps) == 1 else 's'}{time}", 20, bold=True)  # fmt: skip
    yield Words(LEFT, 56, f"{plan.title}; {plan.signature}; compiled in {plan.compile_seconds * 1e3:.0f} ms; "
                f"{amount(plan.flops, 'FLOP')} per call", 13, QUIET)  # fmt: skip
    yield Words(LEFT, 92, "steps", 11, QUIET)
    yield Words(NAMES, 92, "operators", 11, QUIET)
    yield Words(WORK, 92, "work", 11, QUIET, "end")
    yield Words(MOVES, 92, "moves", 11, QUIET, "end")
    yield Words(BARS, 92, "time, share, rate" if timed else "supposed share of time (no clock has run: profile=True)",
                11, QUIET)  # fmt: skip


def _row(row: _Row, y: float, longest: float, whole: float, timed: bool) -> Iterator[Shape]:
    height = SMALL if row.inner else ROW
    size, x = (11.0, LEFT + 18) if row.inner else (12.0, LEFT)
    base, box = y + height / 2 + 4, height - 5
    end = NAMES - 12
    if row.inner:
        yield Box(x, y + 2.5, end - x, box, STRIPE)
        yield Box(x, y + 2.5, 5, box, COLOURS[row.kind], row.kind, row.text)
    else:
        yield Box(x, y + 2.5, end - x, box, COLOURS[row.kind], row.kind, f"{row.label}: {row.text}")
    ink = INK if row.inner or row.kind == "view" else "#FFFFFF"
    yield Words(x + 10, base, _short(row.label, end - x - 14, size), size, ink, bold=not row.inner)
    yield Words(NAMES, base, _short(row.text, WORK - 68 - NAMES, 11), 11, QUIET if row.inner else INK)
    yield Words(WORK, base, amount(row.flops, ""), 11, QUIET, "end")
    yield Words(MOVES, base, amount(row.moved, "B"), 11, QUIET, "end")
    at, scale = BARS, (WIDTH - RIGHT - BARS - 168) / longest
    for kind, length in row.parts:
        wide = length * scale
        if wide >= 0.05:
            yield Box(at, y + 5, wide, height - 10, COLOURS[kind], "bar", "", 0.55 if row.inner else 1.0)
        at += wide
    share = row.length / whole
    text = f"{share:.0%}" if not timed else f"{duration(row.seconds or 0.0)}, {share:.0%}"
    speed = rate(row.flops, row.moved, row.seconds)
    yield Words(max(at, BARS) + 5, base, text + (f", {speed}" if speed else ""), 11, QUIET)


def _memory(plan: PlanFacts, y: float, timed: bool) -> Iterator[Shape]:
    """The curve of memory: over time where it is known, else step by step."""
    steps = plan.steps
    widths = [(step.seconds or 0.0) if timed else 1.0 for step in steps]
    scale = (WIDTH - RIGHT - 94) / (sum(widths) or 1.0)
    top = max(plan.naive, plan.planned, 1)
    low = y + 24 + MEMORY
    yield Words(LEFT, y + 8, "memory over " + ("time" if timed else "the steps"), 12, QUIET, bold=True)
    yield Words(190, y + 8, f"planned: {amount(plan.planned, 'B')} at most; each result in memory of its own: "
                f"{amount(plan.naive, 'B')}; parameters and inputs are in neither", 11, QUIET)  # fmt: skip
    tick = nice(top / 3)
    for index in range(int(top / tick) + 1):
        height = low - MEMORY * index * tick / top
        yield Line(94, height, WIDTH - RIGHT, height, FAINT)
        yield Words(88, height + 4, amount(index * tick, "B"), 11, QUIET, "end")
    for values, fill, opacity in (([s.naive for s in steps], "#E45756", 0.25), ([s.planned for s in steps], "#4C78A8",
                                                                               0.8)):  # fmt: skip
        x, corners = 94.0, [(94.0, low)]
        for width, value in zip(widths, values):
            corners += [(x, low - MEMORY * value / top), (x + width * scale, low - MEMORY * value / top)]
            x += width * scale
        yield Area((*corners, (x, low)), fill, opacity)
    x, phase = 94.0, steps[0].phase if steps else ""
    for width, step in zip(widths, steps):
        if step.phase != phase:
            phase = step.phase
            yield Line(x, y + 18, x, low, INK, True)
            yield Words(x + 4, y + 28, phase, 11, INK)
        x += width * scale


def _legend_rows(kinds: Sequence[str]) -> list[list[tuple[str, str, float]]]:
    """Return lines of (kind, words, width)."""
    said = {**KINDS, **_INSIDE}
    rows: list[list[tuple[str, str, float]]] = [[]]
    for kind in kinds:
        if kind in said:
            width = 44 + 6.8 * len(said[kind])
            if sum(one[2] for one in rows[-1]) + width > WIDTH - LEFT - RIGHT:
                rows.append([])
            rows[-1].append((kind, said[kind], width))
    memory = [("planned", "memory that is planned", 190.0), ("naive", "memory without planning", 190.0)]
    return [*rows, [("planned", memory[0][1], 190.0), ("naive", memory[1][1], 190.0)]]


def _legend(kinds: Sequence[str], y: float) -> Iterator[Shape]:
    for number, row in enumerate(_legend_rows(kinds)):
        x = LEFT
        for kind, words, width in row:
            fill, opacity = COLOURS.get(kind, "#4C78A8"), 0.8 if kind == "planned" else 1.0
            if kind == "naive":
                fill, opacity = "#E45756", 0.25
            yield Box(x, y - 10 + 22 * number, 14, 12, fill, "legend", "", opacity)
            yield Words(x + 20, y + 0.5 + 22 * number, words, 12, QUIET)
            x += width
