"""The facts of compiled plans as text: a summary, a table of steps with the units of each region, and advice.

Not here: the facts (facts.py), the object that carries all of it (explanation.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from .facts import Operator, PlanFacts, Step, Unit

__all__ = ["plan_lines", "amount", "duration", "names_of", "rate"]

_NAMES = 90  # characters for operators on a line
_WIDE = 78  # characters of what a step is


def amount(number: float, unit: str) -> str:
    """Return a number in three digits with a prefix.

    >>> amount(1234567, "FLOP"), amount(96, "B"), amount(3.5e10, "B")
    ('1.23 MFLOP', '96 B', '35.0 GB')
    """
    prefixes = ["T", "G", "M", "k", ""]
    while number >= 999.5 and len(prefixes) > 1:
        number /= 1000
        prefixes.pop()
    prefix = prefixes[-1]
    digits = 0 if number >= 99.5 or (not prefix and number == int(number)) else 1 if number >= 9.95 else 2
    return f"{number:.{digits}f} {prefix}{unit}"


def duration(seconds: float) -> str:
    """Return a time in three digits.

    >>> duration(0.01234), duration(4.2e-6)
    ('12.3 ms', '4.20 µs')
    """
    if seconds < 5e-8:
        return "< 0.1 µs"
    factor, unit = (1.0, "s") if seconds >= 1 else (1e3, "ms") if seconds >= 1e-3 else (1e6, "µs")
    number = seconds * factor
    return f"{number:.{0 if number >= 99.5 else 1 if number >= 9.95 else 2}f} {unit}"


def rate(flops: int, moved: int, seconds: float | None) -> str:
    """Return how fast a step was, in operations where it computes much with each number, else in bytes."""
    if not seconds or seconds < 5e-8:
        return ""
    return f"{flops / seconds / 1e9:.1f} GFLOP/s" if flops > 4 * moved else f"{moved / seconds / 1e9:.1f} GB/s"


def names_of(operators: Sequence[Operator], most: int = _NAMES) -> str:
    """Return operators on a line; many as counts of each kind."""
    text = ", ".join(map(str, operators))
    if len(text) <= most:
        return text
    counted = Counter(operator.operator + (" of" if operator.backward else "") for operator in operators)
    names: dict[str, list[str]] = {}
    for operator in operators:
        names.setdefault(operator.operator + (" of" if operator.backward else ""), []).append(operator.name)
    text = ", ".join(f"{count} {name}" if count > 1 else f"{name} {names[name][0]}"
                     for name, count in counted.most_common())  # fmt: skip
    return text if len(text) <= most else text[: most - 1] + "…"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _summary(plan: PlanFacts) -> Iterator[str]:
    regions, kinds = plan.count("region"), Counter(step.kind for step in plan.steps if step.kind != "region")
    inside = sum(len(step.operators) for step in plan.steps if step.kind == "region")
    outside = ", ".join(f"{count} {_KIND[kind][count != 1]}" for kind, count in kinds.most_common())
    yield (f"plan {plan.title}: compiled in {plan.compile_seconds * 1e3:.1f} ms; {_count(plan.operators, 'operator')}, "
           + (f"{inside} of them in {_count(regions, 'region')}" if regions else "none of them in regions")
           + (f"; {outside}" if outside else ""))  # fmt: skip
    phases = dict.fromkeys(step.phase for step in plan.steps)
    work = {phase: sum(step.flops for step in plan.steps if step.phase == phase) for phase in phases}
    parts = "" if len(work) < 2 else " (" + ", ".join(f"{p} {amount(n, 'FLOP')}" for p, n in work.items()) + ")"
    yield (f"work: {amount(plan.flops, 'FLOP')} per call{parts}; memory: {amount(plan.planned, 'B')} at most, "
           f"{amount(plan.naive, 'B')} if each result kept its own; saved for backward {amount(plan.kept, 'B')}")
    if plan.seconds is not None:
        yield f"time: {duration(plan.seconds)} per call, {rate(plan.flops, 0, plan.seconds)}"
    if plan.note:
        yield plan.note


_KIND = {"library": ("library call", "library calls"), "native": ("native step", "native steps"),
         "copy": ("copy", "copies"), "view": ("view", "views"),
         "call": ("call of ATen", "calls of ATen")}  # fmt: skip


def plan_lines(plan: PlanFacts) -> Iterator[str]:
    """Yield the text of a plan."""
    yield from _summary(plan)
    phase = ""
    heads = "".join(f"{head:>12}" for head in ("work", "moves", "memory"))
    if plan.seconds is not None:
        heads += "".join(f"{head:>{width}}" for head, width in (("time", 11), ("share", 7), ("rate", 15)))
    for step in plan.steps:
        if step.phase != phase:
            phase = step.phase
            yield f"  {phase:<{_WIDE}}{heads}"
        yield _row(f"  {step.number:>3} {step.name}", step, plan, amount(step.planned, "B"))
        if len(step.operators) > 1 and not step.units:
            yield f"        {names_of(step.operators)}"
        for number, unit in enumerate(step.units):
            what = re.sub(r", [\d.]+ MFLOP", "", unit.what)  # it has a column
            yield _row(f"        {number}: {what}", unit, plan)
            if unit.operators:
                yield f"           {names_of(unit.operators)}{_place(unit.operators)}"
    yield from _advice(plan)


def _place(operators: Sequence[Operator]) -> str:
    lines = list(dict.fromkeys(operator.line for operator in operators if operator.line and not operator.backward))
    return f"  ({lines[0]})" if len(lines) == 1 else ""


def _row(what: str, step: Step | Unit, plan: PlanFacts, memory: str = "") -> str:
    what = what if len(what) <= _WIDE + 1 else what[:_WIDE] + "…"
    text = f"{what:<{_WIDE + 2}}{amount(step.flops, 'FLOP'):>12}{amount(step.moved, 'B'):>12}{memory:>12}"
    if step.seconds is not None and plan.seconds:
        text += f"{duration(step.seconds):>11}{step.seconds / plan.seconds:>7.1%}"
        text += f"{rate(step.flops, step.moved, step.seconds):>15}"
    return text.rstrip()


def _advice(plan: PlanFacts) -> Iterator[str]:
    """What did not become part of a region, by reason."""
    found: dict[tuple[str, str], list[Step]] = {}
    for step in plan.steps:
        if step.why:
            found.setdefault((step.why, step.advice), []).append(step)
    if not found:
        return
    yield "  outside of regions"
    for (why, advice), steps in sorted(found.items(), key=lambda item: (not item[0][1], -len(item[1]))):
        names = names_of([step.operators[0] for step in steps])
        line = next((s.operators[0].line for s in steps if s.operators[0].line), "")
        yield f"    {names}: {why}" + (f" ({line})" if advice and line else "")
        if advice:
            yield f"      advice: {advice}"
