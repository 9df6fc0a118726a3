"""What `explain()` returns: a text that is also data and a picture.

The one idea: it is a `str`, so it prints and can be searched as ever; beside the text it carries the facts that the
text was made of.

Not here: the facts (facts.py), the lines (table.py), the shapes (picture.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any, final

from ...base.errors import MXNetError, explain
from ...base.files import write_atomically
from .facts import PlanFacts, Step
from .picture import draw_plan

__all__ = ["Explanation"]

_ENDINGS = (".svg", ".png", ".html", ".txt", ".json")


@final
class Explanation(str):
    """What compiled plans do, as text; see `HybridBlock.explain`.

    Attributes
    ----------
    plans : tuple of PlanFacts
        One per compiled plan, the one that was compiled first first. A plan has `steps`, `flops`, `planned` and `naive`
        bytes of memory, `compile_seconds`, and `seconds` when it was profiled.

    >>> from glueball import gluon, nd
    >>> net = gluon.nn.Dense(4, in_units=3)
    >>> net.initialize()
    >>> net.hybridize()
    >>> y = net(nd.ones((2, 3)))
    >>> found = net.explain()
    >>> found.plans[0].flops >= 2 * 2 * 3 * 4, "FullyConnected" in found
    (True, True)
    """

    plans: tuple[PlanFacts, ...]

    def __new__(cls, text: str, plans: Sequence[PlanFacts] = ()) -> Explanation:
        """Make it of its text and its facts."""
        made = super().__new__(cls, text)
        made.plans = tuple(plans)
        return made

    def __repr__(self) -> str:
        return str(self)

    @property
    def text(self) -> str:
        """The text alone."""
        return str.__str__(self)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of all plans."""
        return tuple(step for plan in self.plans for step in plan.steps)

    @property
    def main(self) -> PlanFacts:
        """The plan that pictures show: of those that were profiled, else of all, the one that computes most.

        Raises
        ------
        MXNetError : nothing was compiled
        """
        chosen = [plan for plan in self.plans if plan.seconds is not None] or list(self.plans)
        if not chosen:
            raise MXNetError(explain("explain", "There is no plan to be drawn.",
                                     fix="GLUEBALL_PLAN and the backend must be the default ones, and the block must "
                                         "have been called"))  # fmt: skip
        return max(chosen, key=lambda plan: plan.flops)

    def _repr_svg_(self) -> str | None:
        return draw_plan(self.main).svg() if self.plans else None

    def _repr_html_(self) -> str:
        drawn = f'<div style="max-width:1200px">{draw_plan(self.main).svg()}</div>' if self.plans else ""
        return f'{drawn}<pre style="font-size:12px;line-height:1.25">{escape(self.text)}</pre>'

    def save(self, path: str | os.PathLike[str], plan: int | None = None) -> None:
        """Write to a file; the ending says how.

        Parameters
        ----------
        path : ends in ``.svg`` or ``.png`` (the picture), ``.html`` (picture and text), ``.txt``, or ``.json`` (facts)
        plan : the number of the plan in the picture; default: the profiled one that computes most

        Raises
        ------
        MXNetError : another ending; no such plan; a PNG without matplotlib
        """
        target = Path(path)
        ending = target.suffix.lower()
        if ending not in _ENDINGS:
            raise MXNetError(explain("explain().save", "The ending of the file's name says what is written.",
                                     expected=f"one of {', '.join(_ENDINGS)}", received=str(path),
                                     fix=f"name it {target.stem or 'plan'}.svg"))  # fmt: skip
        if plan is not None and not -len(self.plans) <= plan < len(self.plans):
            raise MXNetError(explain("explain().save", "There is no such plan.",
                                     expected=f"a number below {len(self.plans)}", received=plan))  # fmt: skip
        if ending in (".svg", ".png"):
            draw_plan(self.main if plan is None else self.plans[plan]).save(target, "explain().save")
            return
        if ending == ".json":
            text = json.dumps({"plans": [_data(each) for each in self.plans]}, indent=1)
        elif ending == ".html":
            text = f'<!DOCTYPE html>\n<meta charset="utf-8">\n<title>Plan</title>\n{self._repr_html_()}\n'
        else:
            text = self.text + "\n"
        write_atomically(target, text.encode())


def _data(plan: PlanFacts) -> dict[str, Any]:
    totals = {name: getattr(plan, name) for name in ("flops", "planned", "naive", "seconds")}
    return {**totals, **asdict(plan)}
