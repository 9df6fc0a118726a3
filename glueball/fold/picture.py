"""The schedule of a scope as a picture: a row for each kind of call, a box for each group, along the time.

The one idea: the picture is a list of rectangles, lines and words.

Not here: where times and widths come from (facts.py), and how the shapes become a file (base/drawing.py).
"""
from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any, final

from ..base import errors
from ..base.drawing import COLOURS, FAINT, INK, QUIET, STRIPE, Box, Line, Picture, Words, milliseconds, nice
from ..base.errors import short_place
from .facts import Group
from .reasons import MAP_WAITS, labels_of

__all__ = ["draw_groups"]

WIDTH, LEFT, RIGHT = 1200.0, 320.0, 24.0
TOP, LANE, GAP = 92.0, 32.0, 15.0
LANES = 24  # kinds of calls with a row of their own; the others share one
WORK = {"recording": "#D5D9E0", "scheduling": "#8A93A3", "preparing": "#EBD9A8", "weights": "#5E6675"}
WORDS = {"recording": "your program runs, calls are recorded", "scheduling": "sorted into groups",
         "preparing": "made ready, the first time only", "weights": "gradients of weights"}


def draw_groups(report: Any, path: str | os.PathLike[str]) -> None:
    """Draw a report's schedule into a file; the ending says how (svg, png)."""
    given: object = path
    if not isinstance(given, (str, os.PathLike)):
        raise errors.ArgumentError(errors.explain("fold.draw", "The picture goes into a file.",
                                                  expected="a name that ends in .svg or .png", received=repr(given),
                                                  fix='fold.draw("schedule.svg")'))
    shapes, height = _Schedule(report).shapes()
    said = f"{report.calls} calls ran as {report.groups} groups, {len(report.flushes)} times recorded calls were run."
    Picture(shapes, WIDTH, height, "Schedule of a folded batch", said).save(path, "fold.draw")


@final
@dataclass(frozen=True, slots=True)
class _Span:
    """A stretch of time: a group, or work between groups. lane : the kind's number, -1 for what is no group."""

    begin: float
    end: float
    lane: int
    what: str
    group: Group | None = None


@final
class _Schedule:
    """Lays a report out; x is time, y the lanes."""

    def __init__(self, report: Any) -> None:
        self.report = report
        kinds = report.kinds
        self.lanes = {id(facts.signature): min(i, LANES) for i, facts in enumerate(kinds)}
        self.labels = labels_of([facts.signature for facts in kinds[:LANES]])
        if len(kinds) > LANES:
            self.labels.append(f"{len(kinds) - LANES} other kinds")
        self.widest = max(report.widths, default=1)
        self.forward = self._forward()
        self.turn = max((span.end for span in self.forward), default=0.0)
        self.backward = self._backward(self.turn)
        end = max([self.turn, *[span.end for span in self.backward]])
        self.scale = (WIDTH - LEFT - RIGHT) / (end or 1.0)
        self.end = end
        self.bottom = TOP + (LANE + GAP) * (len(self.labels) + 1)

    def _forward(self) -> list[_Span]:
        """Recording, scheduling and groups, in seconds since the scope was opened."""
        report, spans = self.report, []
        start, before = report.opened, report.opened
        for flush in report.flushes:
            begin, _, planned = flush.clocks
            spans.append(_Span(before - start, begin - start, -1, "recording"))
            spans.append(_Span(begin - start, planned - start, -1, "scheduling"))
            spans += [_Span(a - start, b - start, -1, "preparing") for a, b in flush.prepared]
            before = flush.end
        spans.append(_Span(before - start, (report.closed or before) - start, -1, "recording"))
        for group in report.runs:
            spans.append(_Span(group.begin - start, group.end - start, self.lanes[id(group.signature)], "group", group))
        return spans

    def _backward(self, at: float) -> list[_Span]:
        """The backward passes, set right behind: what happened in between is no part of the scope."""
        spans: list[_Span] = []
        before = 0.0
        for what, end in self.report.backward:
            if what is not None:
                lane = self.lanes.get(id(getattr(what, "signature", None)), -1)
                spans.append(_Span(at, at + end - before, lane, "weights" if lane < 0 else "backward"))
                at += end - before
            before = end
        return spans

    # -- shapes --------------------------------------------------------------------------------------------------------
    def _x(self, seconds: float) -> float:
        return LEFT + seconds * self.scale

    def _y(self, lane: int) -> float:
        return TOP + (LANE + GAP) * (lane + 1)

    def shapes(self) -> tuple[list[Any], float]:
        """Return what to draw, and the height of the picture."""
        legend = self._legend()
        return [*self._heading(), *self._rows(), *self._axis(), *self._flushes(), *self._program(), *self._groups(),
                *self._reverse(), *legend], self.bottom + 112.0

    def _heading(self) -> list[Any]:
        report = self.report
        least = f"at least {report.lower_bound} are needed"
        seconds = report.seconds
        forward = sum(value for name, value in seconds.items() if name != "backward")
        time = f"{milliseconds(forward)} ms"
        if seconds["backward"]:
            time += f", and {milliseconds(seconds['backward'])} ms backward"
        return [Words(24, 34, f"{report.calls} calls ran as {report.groups} groups", 20, bold=True),
                Words(24, 56, f"{least}; {time}", 13, QUIET)]

    def _rows(self) -> list[Any]:
        found: list[Any] = [Words(24, self._y(-1) + 21, "program", 12, QUIET)]
        for lane, label in enumerate(self.labels):
            y = self._y(lane)
            found.append(Box(LEFT, y, WIDTH - LEFT - RIGHT, LANE, STRIPE))
            found.append(Box(24, y + 11, 12, 12, _colour(lane)))
            found.append(Words(44, y + 21, label if len(label) <= 38 else label[:36] + "...", 12))
        return found

    def _axis(self) -> list[Any]:
        found: list[Any] = []
        step = nice(self.end / 8)
        for index in range(int(self.end / step) + 1 if step else 0):
            x = self._x(index * step)
            found.append(Line(x, TOP - 4, x, self.bottom, FAINT))
            found.append(Words(x, self.bottom + 16, f"{1000 * index * step:g}", 11, QUIET, "middle"))
        found.append(Words(LEFT, self.bottom + 34, "milliseconds since the scope began", 11, QUIET))
        return found

    def _flushes(self) -> list[Any]:
        """A dashed line where recorded calls were run; a word on it where there is room."""
        found: list[Any] = []
        free, before = LEFT, ""
        low = self.bottom if len(self.report.flushes) <= 30 else self._y(0) - GAP
        for flush in self.report.flushes:
            x = self._x(flush.clocks[0] - self.report.opened)
            found.append(Line(x, TOP - 14, x, low, QUIET, True))
            what, _, where = flush.reason.rpartition(" at ")
            text = f"{what} at {os.path.basename(short_place(where))}" if what else flush.reason
            text = "all samples wait" if flush.reason == MAP_WAITS else text
            size = 5.6 * len(text)
            if text == before:
                continue
            before = text
            if x - 4 >= free and x + size < WIDTH:
                found.append(Words(x, TOP - 18, text, 11, QUIET))
                free = x + size + 10
            elif x - size - 4 >= free:
                found.append(Words(x, TOP - 18, text, 11, QUIET, "end"))
                free = x + 10
        if self.backward:
            x = self._x(self.turn)
            found.append(Line(x, TOP - 14, x, self.bottom, INK))
            found.append(Words(x + 5, TOP - 4, "backward", 11, INK))
        return found

    def _program(self) -> list[Any]:
        y = self._y(-1)
        found: list[Any] = []
        for span in [*self.forward, *self.backward]:
            if span.lane >= 0 or (span.end - span.begin) * self.scale < 0.5:
                continue
            box = self._box(span, y, LANE, WORK[span.what], "program", WORDS[span.what])
            found.append(box)
            for text in (f"{span.what} {milliseconds(span.end - span.begin)} ms", span.what):
                if 6.4 * len(text) + 8 <= box.width:
                    dark = span.what in ("scheduling", "weights")
                    found.append(Words(box.x + box.width / 2, y + 20, text, 11, "#FFFFFF" if dark else INK, "middle"))
                    break
        return found

    def _box(self, span: _Span, y: float, height: float, fill: str, name: str, what: str, opacity: float = 1.0) -> Box:
        x, end = self._x(span.begin), self._x(span.end)
        tip = f"{what}: {1000 * (span.end - span.begin):.2f} ms"
        room = end - x - 0.6 if end - x > 3 else end - x  # boxes behind each other stay apart
        return Box(x, y, max(room, 0.8), height, fill, name, tip, opacity)

    def _groups(self) -> list[Any]:
        found: list[Any] = []
        free: dict[int, float] = {}  # by lane, where there is room for a number above a narrow box
        for span in self.forward:
            group = span.group
            if group is None:
                continue
            height = 8.0 + (LANE - 8.0) * math.sqrt(group.width / max(self.widest, group.width))
            y = self._y(span.lane) + LANE - height
            colour = _colour(span.lane)
            what = f"{group.signature.name}: {group.width} call{'' if group.width == 1 else 's'}"
            what += " ahead of their groups" if group.hoisted else ""
            name, opacity = ("ahead", 0.7) if group.hoisted else ("group", 1.0)
            box = self._box(span, y, height, colour, name, what, opacity)
            found.append(box)
            gathering = (group.gathered - group.begin) * self.scale
            if gathering >= 0.5:
                found.append(Box(box.x, y, min(gathering, box.width), height, "#000000", "gather", box.tip, 0.28))
            text = str(group.width)
            middle, half = box.x + box.width / 2, 3.4 * len(text)
            if box.width >= 2 * half + 3 and height >= 14:
                found.append(Words(middle, y + height - 4, text, 10.5, "#FFFFFF", "middle", True))
            elif middle - half >= free.get(span.lane, 0.0):
                found.append(Words(middle, y - 3, text, 10, INK, "middle"))
                free[span.lane] = middle + half + 3
        return found

    def _reverse(self) -> list[Any]:
        return [self._box(span, self._y(span.lane) + 6, LANE - 6, _colour(span.lane), "backward", "gradient of a group",
                          0.45) for span in self.backward if span.lane >= 0]

    def _legend(self) -> list[Any]:
        found: list[Any] = []
        y, x = self.bottom + 58, 24.0
        used = {span.what for span in [*self.forward, *self.backward]}
        entries: list[tuple[str, float, str]] = [(WORK[name], 1.0, WORDS[name]) for name in WORK if name in used]
        groups = [(_colour(0), 1.0, "a group of calls run at once; height and number: how many"),
                  (_mixed(_colour(0)), 1.0, "arguments are gathered")]
        if self.report.hoisted:
            groups.append((_colour(0), 0.7, "a part of many groups, ahead of them"))
        if "backward" in used:
            groups.append((_colour(0), 0.45, "gradients"))
        for fill, opacity, text in [*groups, *entries]:
            size = 22 + 6.1 * len(text) + 18
            if x + size > WIDTH - RIGHT:
                x, y = 24.0, y + 22
            found += [Box(x, y, 14, 12, fill, "legend", "", opacity), Words(x + 20, y + 10.5, text, 12, QUIET)]
            x += size
        return found


def _colour(lane: int) -> str:
    return COLOURS[lane % len(COLOURS)]


def _mixed(colour: str) -> str:
    """Return a colour under the shade of gathering."""
    return "#" + "".join(f"{int(int(colour[i:i + 2], 16) * 0.72):02X}" for i in (1, 3, 5))
