"""How a compiled plan writes an operator: text that calls torch directly, one Python call less than the kernel.

The one idea: a template of the arguments and attributes, for operators whose text does not depend on the inputs'
shapes and types (what the kernel checks, inference has checked before). Everything else is called through its kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["Emit", "text", "many"]

Emit = Callable[[Sequence[str], Mapping[str, Any], bool], str | None]


def text(template: str) -> Emit:
    """Return a rule that fills a template with arguments by position and attributes by name.

    >>> text("torch.permute({0}, {axes})")(["x"], {"axes": (1, 0)}, False)
    'torch.permute(x, (1, 0))'
    """

    def emit(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str | None:
        return template.format(*args, **attrs)

    return emit


def many(template: str) -> Emit:
    """Return a rule for any number of arguments, which stand as `{0}`, separated by commas.

    >>> many("torch.cat(({0}), {dim})")(["x", "y"], {"dim": 1}, False)
    'torch.cat((x, y), 1)'
    """

    def emit(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str | None:
        return template.format(", ".join(args), **attrs) if len(args) > 1 else None

    return emit
