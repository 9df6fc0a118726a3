"""Why calls did not run together, and what a user can do about it.

The one idea: calls run together when their signatures are one. So signatures that agree in everything but one thing
(their weights, a shape, a number) are put side by side, and the dependency graph says how many groups fewer there could
be if that thing were equal; a difference that costs nothing is not mentioned. What else keeps groups narrow (values
read half-way, chains, tails) is seen from the flushes and widths; how the steps of a unit run is seen from its body.

Not here: the numbers (facts.py), the text (explain.py).
"""
from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, final

from ..ops.opdef import OpDef
from ..ops.rules.batch import has_stack_rule, keeps_rows
from .body import Body
from .facts import Flush, KindFacts, chains
from .operators import why_not_stacked
from .signature import NOT_RAGGED, Signature
from .steps import Step

__all__ = ["Reason", "StepFacts", "reasons_of", "steps_of", "labels_of"]

MAP_WAITS = "samples wait for values"  # what the folder says when all samples of a map wait
_ORDINARY = ("the scope ends", MAP_WAITS)

_TITLES = {
    "R1": "different weights", "R2": "different shapes", "R3": "no batching rule", "R4": "another static argument",
    "R5": "a value was needed half-way", "R6": "a chain", "R7": "statistics of a batch", "R8": "random numbers",
    "R9": "another dtype, device or mode", "R10": "a long tail", "R11": "many small calls",
}
_ADVICE = {
    "R1": "layers with different weights never share a batch; use one layer for all samples if they are meant to share",
    "R2": "keep the size that varies in axis 0 and use layers that work row by row, or pad to a few sizes",
    "R3": "use operators with a batching rule instead (docs/coverage.md lists them), or call it outside the scope",
    "R4": "pass what varies as an array rather than as a number, or let fewer different numbers occur",
    "R5": "read values after the scope; a program that must look at values belongs into fold.map(fn, samples)",
    "R6": "nothing to be gained within one sample: put more samples into the scope",
    "R7": "use LayerNorm, call the layer in predict mode, or keep it outside the scope",
    "R8": "draw the numbers outside the scope, as one array, and pass rows of it",
    "R9": "cast inputs to one dtype, keep them on one device, and call the block in one mode",
    "R10": "put samples of similar size into a batch, or more samples: few are that deep",
    "R11": "call hybridize() on it, so that each call of it is one unit",
}
_AXIS_0 = "axis 0 may vary only where all steps work row by row: step by step through a cell, or pad to a few lengths"


@final
@dataclass(frozen=True, slots=True)
class Reason:
    """Why something did not run together.

    code : "R1" to "R11"; what : in a sentence; where : the user's file:line, or empty; advice : one line;
    cost : how many runs fewer there could be at most, of groups or of single calls; 0 where that is not the point
    """

    code: str
    what: str
    where: str
    advice: str
    cost: int = 0

    @property
    def title(self) -> str:
        """The kind of reason in two or three words."""
        return _TITLES[self.code]


@final
@dataclass(frozen=True, slots=True)
class StepFacts:
    """How a step of a unit runs. how : "linear", "fused", "rows", "stack", "vmap", "view", "children", "once" or
    "one by one"; why : the reason of the last.
    """

    name: str
    how: str
    why: str = ""
    random: bool = False
    statistics: bool = False


def _reason(code: str, what: str, where: str, cost: int = 0, advice: str = "") -> Reason:
    return Reason(code, what, where, advice or _ADVICE[code], cost)


def reasons_of(flushes: Sequence[Flush], kinds: Sequence[KindFacts], apart: dict[str, str],
               at_once: dict[tuple[str, str], str]) -> list[Reason]:
    """Return all reasons, the most expensive first.

    Parameters
    ----------
    apart : by name of a block's class, why it could not be one unit
    at_once : by (operator, the user's line), why calls were not recorded but run at once
    """
    found = [*_read_values(flushes, kinds), *_small_calls(kinds, apart), *_differences(flushes, kinds)]
    for name, why in apart.items():
        found.append(_reason("R11", f"{name} is hybridized, but its operators ran as calls of their own: {why}", "", 0,
                             "make its hybrid_forward traceable: no values, no lists that depend on them"))
    for (name, where), why in at_once.items():
        found.append(_reason("R8" if "random" in why else "R3", f"{name} ran at once and not as part of a batch: "
                             f"{why}", where))
    for facts in kinds:
        found += [*_one_by_one(facts), *_narrow(facts)]
    return sorted(found, key=lambda reason: -reason.cost)


# -- values read half-way ----------------------------------------------------------------------------------------------
def _read_values(flushes: Sequence[Flush], kinds: Sequence[KindFacts]) -> Iterator[Reason]:
    early: dict[str, int] = {}
    for flush in flushes:
        if flush.reason not in _ORDINARY and flush.works:
            early[flush.reason] = early.get(flush.reason, 0) + 1
    if not early:
        return
    whole = chains(flushes, [[id(work.signature)] for flush in flushes for work in flush.works])
    cost = sum(facts.lower_bound for facts in kinds) - sum(whole.values())
    for text, times in early.items():
        what, _, where = text.rpartition(" at ")
        what, where = (what, where) if what else (text, "")
        again = "once" if times == 1 else f"{times} times"
        yield _reason("R5", f"{what}: {again}, and all calls recorded so far had to run", where, cost)


# -- signatures that differ --------------------------------------------------------------------------------------------
def _shapes(signature: Signature) -> tuple[Any, ...]:
    types, found = signature.program.types, []
    for slot, argument in zip(signature.program.arguments, signature.arguments):
        shape = ("n", *argument.pool.rest) if signature.ragged else types[slot].shape
        found.append((shape, argument.children))
    return tuple(found)


def _attributes(signature: Signature) -> tuple[Any, ...]:
    return tuple(tuple(sorted((key, repr(value)) for key, value in step.attrs.items()))
                 for step in signature.program.steps)


_FEATURES: dict[str, Callable[[Signature], Any]] = {
    "R9": lambda s: (tuple((a.pool.dtype, str(a.pool.ctx)) for a in s.arguments), s.training, s.recording),
    "R2": _shapes,
    "R4": _attributes,
    "R1": lambda s: tuple(id(shared) for shared in s.shared),
}


def _structure(signature: Signature) -> tuple[Any, ...]:
    return tuple((step.op if isinstance(step.op, str) else step.op.name, step.inputs)
                 for step in signature.program.steps)


def _differences(flushes: Sequence[Flush], kinds: Sequence[KindFacts]) -> Iterator[Reason]:
    features = {id(f.signature): {code: of(f.signature) for code, of in _FEATURES.items()} for f in kinds}
    cells: dict[Any, list[KindFacts]] = {}
    for facts in kinds:
        own, structure = features[id(facts.signature)], _structure(facts.signature)
        for code in _FEATURES:
            name = "" if code == "R1" else facts.signature.name
            rest = tuple(value for other, value in own.items() if other != code)
            cells.setdefault((code, name, structure, rest), []).append(facts)
        cells.setdefault(("", facts.signature.name), []).append(facts)
    cells = {key: members for key, members in cells.items() if len(members) > 1}
    labels: dict[int, list[Any]] = {}
    for number, members in enumerate(cells.values()):
        for facts in members:
            labels.setdefault(id(facts.signature), []).append(number)
    merged = dict.fromkeys(range(len(cells)), 0)
    for flush in flushes if cells else ():
        for number, length in chains([flush], [labels.get(id(work.signature), []) for work in flush.works]).items():
            merged[number] += length
    explained: set[int] = set()
    for number, (key, members) in enumerate(cells.items()):
        cost = sum(facts.lower_bound for facts in members) - merged[number]
        if cost <= 0 or (not key[0] and explained.issuperset(id(facts.signature) for facts in members)):
            continue
        explained.update(id(facts.signature) for facts in members)
        code = key[0] or _first_difference([facts.signature for facts in members])
        yield _difference(code, members, cost)


def _first_difference(signatures: Sequence[Signature]) -> str:
    """Return the code of what differs, where several things do."""
    if len({len(signature.arguments) for signature in signatures}) > 1:
        return "R2"
    return next((code for code, of in _FEATURES.items() if len({repr(of(s)) for s in signatures}) > 1), "R2")


def _difference(code: str, members: Sequence[KindFacts], cost: int) -> Reason:
    """Say in what the members of a family differ."""
    ordered = sorted(members, key=lambda facts: facts.first)
    first, second = ordered[0].signature, ordered[1].signature
    calls, groups = sum(f.calls for f in members), sum(f.groups for f in members)
    names = list(dict.fromkeys(facts.signature.name for facts in ordered))
    who = f"{calls} calls of {_listed(names)} are {len(members)} kinds and ran as {groups} groups: "
    where = ordered[1].origin
    shapes = [_shapes(facts.signature) for facts in ordered]
    if code == "R1":
        return _reason(code, f"{who}their weights are different arrays", where, cost)
    if code == "R9":
        return _reason(code, who + _other_mode(first, second), where, cost)
    if code == "R4":
        return _reason(code, who + _other_attribute(ordered), where, cost)
    if len({len(own) for own in shapes}) > 1:
        sizes = _listed([str(n) for n in sorted({len(own) for own in shapes})])
        remarks = [remark for facts in members for remark in facts.signature.remarks]
        why = next((remark.removeprefix(NOT_RAGGED) for remark in remarks if remark.startswith(NOT_RAGGED)), "")
        if why:
            return _reason(code, f"{who}each number of children is a kind of its own, because {why}", where, cost,
                           "combine children by sums, means, maxima or what is done to each of them alone")
        return _reason(code, f"{who}they take {sizes} arrays", where, cost,
                       "pass children as one list of values computed in the scope, or combine them two by two")
    what = _other_shape(shapes)
    return _reason(code, who + what, where, cost, _AXIS_0 if what.endswith("; axis 0 differs") else "")


def _other_shape(shapes: Sequence[tuple[Any, ...]]) -> str:
    for position, column in enumerate(zip(*shapes)):
        different = list(dict.fromkeys(shape for shape, _ in column))
        if len(different) > 1:
            text = f"argument {position + 1} is {_listed([_shown(shape) for shape in different])}"
            ranks = {len(shape) for shape in different}
            axes = [axis for axis in range(min(ranks)) if len({shape[axis] for shape in different}) > 1]
            if len(ranks) > 1:
                return f"{text}, of different numbers of axes"
            return f"{text}; axis {_listed([str(axis) for axis in axes])} differs"
    return "the form of the call differs"


def _other_mode(first: Signature, second: Signature) -> str:
    pairs: list[tuple[str, Any, Any]] = [
        ("train mode", first.training, second.training), ("recording gradients", first.recording, second.recording)]
    for index, (a, b) in enumerate(zip(first.arguments, second.arguments)):
        pairs.append((f"dtype of argument {index + 1}", *[str(x.pool.dtype).removeprefix("torch.") for x in (a, b)]))
        pairs.append((f"device of argument {index + 1}", str(a.pool.ctx), str(b.pool.ctx)))
    return "; ".join(f"{what} is {a} here, {b} there" for what, a, b in pairs if a != b)


def _other_attribute(members: Sequence[KindFacts]) -> str:
    for steps in zip(*[facts.signature.program.steps for facts in members]):
        for key in steps[0].attrs:
            values = list(dict.fromkeys(repr(step.attrs.get(key)) for step in steps))
            if len(values) > 1:
                return f"{_name(steps[0])} has {key}={_listed(values)}"
    return "a static argument differs"


# -- many small calls --------------------------------------------------------------------------------------------------
def _small_calls(kinds: Sequence[KindFacts], apart: dict[str, str]) -> Iterator[Reason]:
    """Find blocks that are not hybridized: the file of the user says in whose hybrid_forward a line is."""
    inside: dict[tuple[str, str, int], list[KindFacts]] = {}
    for facts in kinds:
        path, _, line = facts.origin.rpartition(":")
        for name, begin, end, _ in _traceable(path):
            if line.isdigit() and begin <= int(line) <= end and name not in apart:
                inside.setdefault((path, name, begin), []).append(facts)
    for (path, name, begin), members in inside.items():
        calls = sum(facts.calls for facts in members)
        single = next(lines for own, at, _, lines in _traceable(path) if (own, at) == (name, begin))
        by_name: dict[str, int] = {}
        once: set[str] = set()
        for facts in members:
            by_name[facts.signature.name] = by_name.get(facts.signature.name, 0) + facts.calls
            if int(facts.origin.rpartition(":")[2]) in single:
                once.add(facts.signature.name)
        times = min((by_name[own] for own in once), default=calls)
        if times < calls:
            cost = sum(f.groups for f in members) - max(f.groups for f in members)
            yield _reason("R11", f"{name} is not hybridized: its {calls} calls, of {len(members)} kinds, would be "
                          f"{times}", f"{path}:{begin}", cost, f"hybridize {name}: {calls} calls -> {times}")


@lru_cache(maxsize=64)
def _traceable(path: str) -> list[tuple[str, int, int, frozenset[int]]]:
    """Return (class, first line, last line, lines that run once per call) of each hybrid_forward in a file."""
    try:
        with open(path, encoding="utf-8") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return []
    found: list[tuple[str, int, int, frozenset[int]]] = []
    for owner in [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]:
        for function in owner.body:
            if isinstance(function, ast.FunctionDef) and function.name == "hybrid_forward":
                lines = frozenset(line for statement in function.body if _runs_once(statement)
                                  for line in range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
                found.append((owner.name, function.lineno, function.end_lineno or function.lineno, lines))
    return found


def _runs_once(statement: ast.stmt) -> bool:
    several = (ast.If, ast.For, ast.While, ast.Try, ast.With, ast.IfExp, ast.ListComp, ast.GeneratorExp, ast.SetComp,
               ast.DictComp, ast.Lambda, ast.FunctionDef, ast.BoolOp)
    return not any(isinstance(node, several) for node in ast.walk(statement))


# -- steps -------------------------------------------------------------------------------------------------------------
def steps_of(facts: KindFacts) -> list[StepFacts]:
    """Return how the steps of a kind of call run; the hoisted ones first."""
    compiled = facts.signature.compiled
    bodies: list[Body] = []
    for halves in {id(halves): halves for halves, *_ in facts.hoisted}.values():
        made = next((m for m in compiled.values() if isinstance(m, tuple) and m[0] is halves), None)
        if made is not None:
            bodies += [made[1], made[2]]
    if not bodies and isinstance(compiled.get("body"), Body):
        bodies = [compiled["body"]]
    return [_step_facts(body, step, mode) for body in bodies for step, mode in zip(body.program.steps, body.modes)]


def _step_facts(body: Body, step: Step, mode: str) -> StepFacts:
    name = _name(step)
    op = step.op
    if isinstance(op, str):
        return StepFacts(name, "children")
    random = op.random
    if mode == "loop":
        return StepFacts(name, "one by one", "each sample draws its own random numbers", True)
    if not any(step is item for item in body.placed):
        return StepFacts(name, "view" if op.name in ("slice_axis", "SliceChannel") else "fused")
    if mode != "stack":
        return StepFacts(name, "once" if mode == "plain" else mode)
    flags = [s is not None and body.batched[s] for s in step.inputs]
    shapes: list[Any] = [None if s is None else body.program.types[s].shape for s in step.inputs]
    why = why_not_stacked(op, step.attrs, shapes, flags, body.training)
    if why is not None:
        return StepFacts(name, "one by one", why, random, op.name == "BatchNorm")
    known = has_stack_rule(op, flags) or keeps_rows(op, step.attrs, shapes, flags, body.training)
    return StepFacts(name, "stack" if known else "vmap")


def _one_by_one(facts: KindFacts) -> Iterator[Reason]:
    for step in {s.name: s for s in steps_of(facts) if s.how == "one by one"}.values():
        code = "R7" if step.statistics else "R8" if step.random else "R3"
        within = "" if step.name == facts.signature.name else f" in {facts.signature.name}"
        if facts.calls > 1:
            yield _reason(code, f"{step.name}{within} ran sample by sample, {facts.calls} times: {step.why}",
                          facts.origin, facts.calls - facts.groups)


def _narrow(facts: KindFacts) -> Iterator[Reason]:
    """Chains, and tails of narrow groups."""
    name, where = facts.signature.name, facts.origin
    if facts.chain >= 4 and facts.calls < 1.5 * facts.lower_bound:
        yield _reason("R6", f"{facts.calls} calls of {name} ran as {facts.groups} groups: each needs the result of the "
                      "one before", where)
        return
    widest, tail = max(facts.widths, default=0), 0
    for width in reversed(facts.widths):
        if width > widest // 8:
            break
        tail += 1
    if tail >= 3 and 3 * tail >= facts.groups and widest >= 8:
        yield _reason("R10", f"the last {tail} of {facts.groups} groups of {name} have at most {widest // 8} calls, "
                      f"the widest has {widest}: few are left", where)


# -- words -------------------------------------------------------------------------------------------------------------
def _name(step: Step) -> str:
    return step.op.name if isinstance(step.op, OpDef) else step.op


def _shown(shape: Any) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _listed(words: Sequence[str]) -> str:
    """Return words as an enumeration; long ones are cut."""
    words = list(words)
    if len(words) > 4:
        words = [*words[:3], f"{len(words) - 3} others"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "nothing"


def _label(signature: Signature) -> str:
    """Return a kind of call as text: its name and the shapes of its arguments, "n" for rows of any number."""
    found = [f"[{_shown(shape)}...]" if children else _shown(shape) for shape, children in _shapes(signature)]
    return f"{signature.name} {', '.join(found)}"


def labels_of(signatures: Sequence[Signature]) -> list[str]:
    """Return kinds of calls as texts of which no two are the same, as far as that can be said in a word."""
    same: dict[str, list[Signature]] = {}
    for signature in signatures:
        same.setdefault(_label(signature), []).append(signature)
    found: dict[int, str] = {}
    for label, own in same.items():
        for signature in own:
            more = [] if len(own) == 1 else [word for word, among in zip(_marks(signature), zip(*map(_marks, own)))
                                             if len(set(among)) > 1]
            found[id(signature)] = " ".join([label, *more[:2]])
    return [found[id(signature)] for signature in signatures]


def _marks(signature: Signature) -> list[str]:
    """Return words that tell a kind of call from another one of the same name and shapes."""
    first = signature.arguments[0].pool
    words = [str(first.dtype).removeprefix("torch."), str(first.ctx), "train" if signature.training else "predict",
             "recording" if signature.recording else "not recording"]
    attrs = signature.program.steps[0].attrs if len(signature.program.steps) == 1 else {}
    return [*words, *[f"{key}={value!r}" for key, value in attrs.items()]]


