"""Why a step of a plan is a call of ATen and no part of a region, and what a user can do about it.

The one idea: the rules that take nodes into regions are asked again, with one thing changed at a time (another type,
known sizes), so that what is said here cannot differ from what they do.

Not here: the rules (jit/rules.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

import torch

from ...base import config
from ...ops.opdef import TensorType
from ...passes.layout import ORDER
from ...symbol.graph import Node
from ..jit.partition import is_native, usable
from ..jit.rules import RULES
from .work import kind_of

__all__ = ["Reason", "reason_of"]

Types: TypeAlias = Mapping[Node, "tuple[TensorType, ...]"]


@final
@dataclass(frozen=True, slots=True)
class Reason:
    """code : a word for programs; why : of the step; advice : what to do, empty where nothing is wrong."""

    code: str
    why: str
    advice: str = ""


_NO_COMPILER = Reason("off", "regions are switched off or cannot be compiled here",
                      "GLUEBALL_JIT=1, and the package llvmlite")  # fmt: skip
_DEVICE = Reason("device", "regions are for the CPU")
_LIBRARY = Reason("library", "a library's kernel does this best")
_LAYER = Reason("layer", "machine code of its own, made for this layer")
_BORDER = Reason("layout", "it puts numbers in the order of memory that convolutions want, or back")
_CAST = Reason("type", "it changes the type of numbers", "one type throughout needs no change")
_LAYOUT = Reason("layout", "its numbers lie channels-last, as convolutions want them")
_RANDOM = Reason("random", "it draws random numbers")
_SEED = Reason("random", "it draws one number, by which a kernel decides what is dropped")
_CUSTOM = Reason("custom", "it runs a user's or a control-flow operator's Python",
                 "write it with F's operators where that can be done")  # fmt: skip
_CONTROL = frozenset({"Custom", "_foreach", "_while_loop", "_cond"})
_INDEXING = Reason("rule", "regions have no rule for this operator",
                   "keep such operators together, before or after the arithmetic: each one cuts a region in two")
_SIZES = Reason("sizes", "an array of it has no numbers, or a size that is not known")
_ALONE = Reason("alone", "by itself it would gain nothing as a region")
_MOVED = Reason("copy", "it only moves numbers", "reorder axes once at the border of the network, not within it")


def reason_of(node: Node, types: Types, compiled: bool, native: bool) -> Reason | None:
    """Return why a step is no part of a region; None for views, which cost nothing.

    compiled : whether regions are switched on for this plan; native : whether its arrays are the CPU's
    """
    assert node.op is not None  # variables are not run
    kind = kind_of(node)
    name = node.op.name
    if kind == "view":
        return None
    if kind == "native":
        return _LAYER
    if not native:
        return _DEVICE
    if not compiled or not config.get("GLUEBALL_JIT") or not usable():
        return _NO_COMPILER
    if name in _CONTROL:
        return _CUSTOM
    if node.op.random:
        return _SEED if name == "_draw_seed" else _RANDOM
    if name in ("_memory_format", "Cast"):
        return _CAST if name == "Cast" else _BORDER
    if name not in RULES:
        return _LIBRARY if kind == "library" else _MOVED if kind == "copy" else _INDEXING
    if ORDER in node.hints:
        return _LAYOUT
    return _ALONE if is_native(node, types) else _refused(node, types)


def _refused(node: Node, types: Types) -> Reason:
    """Return what about a node its rule does not accept."""
    assert node.op is not None
    kinds = [*(types[value.node][value.index] for value in node.inputs), *types[node]]
    if not all(kind.known for kind in kinds) or any(0 in (kind.shape or ()) for kind in kinds):
        return _SIZES
    found = sorted({str(kind.dtype).removeprefix("torch.") for kind in kinds})
    single = {other: tuple(TensorType(kind.shape, torch.float32) for kind in types[other])
              for other in (node, *(value.node for value in node.inputs))}  # fmt: skip
    if is_native(node, single):
        return Reason("type", f"regions do not compute with {' and '.join(found)} here",
                      "give all operands the network's own type, float32 or float64")  # fmt: skip
    axis = node.attrs.get("axis")
    if axis is not None:
        return Reason("axis", f"regions know the last axes, not axis={axis!r} of "
                      f"{kinds[0].shape}", "put the axis last: transpose once, early")  # fmt: skip
    return Reason("shape", "its operands' shapes or options have no rule: "
                  f"{', '.join(str(tuple(kind.shape or ())) for kind in kinds[:-1])}",
                  "broadcast over leading or trailing axes only; reshape to two axes first")  # fmt: skip
