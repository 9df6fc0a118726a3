"""Reductions over axes, places of extremes, cumulative sums, the first in order.

The one idea: axes are an attribute in old operator sets and an input in new ones; a reduction over all axes has no axis
left, which our operators answer with one of size 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..held import Held, Refused
from ..node import Step, reads

_KINDS = {"ReduceSum": "sum", "ReduceMean": "mean", "ReduceMax": "max", "ReduceMin": "min", "ReduceProd": "prod"}


def _reduced(s: Step, kind: str, x: Held) -> Held:
    axes = s.axes(1, x.rank)
    if not axes:
        if s.get("noop_with_empty_axes", 0):
            return x
        axes = list(range(x.rank))
    keep = bool(s.get("keepdims", 1))
    targets = [tuple(1 if a in axes else n for a, n in enumerate(shape) if keep or a not in axes)
               for shape in x.shapes]
    if not x.rank:
        return x
    if any(0 in shape for shape in x.shapes) and kind in ("max", "min"):
        if any(0 in target for target in targets):
            raise Refused("it reduces an array without elements")
        lowest = _edge(x.dtype, lowest=kind == "max")
        return s.expand(s.const(lowest, x.dtype), targets)
    found = s.call(kind, x, axis=tuple(axes), keepdims=True)
    return s.reshape(found, targets)


def _edge(dtype: str, lowest: bool) -> float:
    if "float" in dtype:
        return -np.inf if lowest else np.inf
    if dtype == "bool":
        return 0 if lowest else 1
    return int(np.iinfo(dtype).min if lowest else np.iinfo(dtype).max)


@reads(*_KINDS)
def _plain(s: Step) -> Held:
    if s.x.dtype == "bool":
        small = s.call("_minimum_scalar", s.call("_maximum_scalar", _reduced(s, _KINDS[s.kind], s.cast(s.x, "int32")),
                                                 scalar=0), scalar=1)  # of no elements: the edge of whole numbers
        return s.cast(small, "bool")
    if s.kind == "ReduceMean" and not s.x.is_float:
        return s.cast(s.call("trunc", _reduced(s, "mean", s.cast(s.x, "float64"))), s.x.dtype)
    return s.cast(_reduced(s, _KINDS[s.kind], s.x), s.x.dtype)


@reads("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum")
def _composed(s: Step) -> Held:
    x = s.x if s.x.is_float else s.cast(s.x, "float64")
    if s.kind == "ReduceL1":
        found = _reduced(s, "sum", s.call("abs", x))
    elif s.kind == "ReduceLogSum":
        found = s.call("log", _reduced(s, "sum", x))
    else:
        found = _reduced(s, "sum", s.call("square", x))
        found = s.call("sqrt", found) if s.kind == "ReduceL2" else found
    return s.cast(found, s.x.dtype)


@reads("ReduceLogSumExp")
def _log_sum_exp(s: Step) -> Held:
    x = s.x if s.x.is_float else s.cast(s.x, "float64")
    axes = s.axes(1, x.rank)
    if not axes:
        if s.get("noop_with_empty_axes", 0):
            return s.x
        axes = list(range(x.rank))
    if any(0 in shape for shape in x.shapes) or not x.rank:
        return s.cast(s.call("log", _reduced(s, "sum", s.call("exp", x))), s.x.dtype)
    top = s.call("max", x, axis=tuple(axes), keepdims=True)
    total = s.call("sum", s.call("exp", s.call("broadcast_sub", x, top)), axis=tuple(axes), keepdims=True)
    found = s.call("broadcast_add", s.call("log", total), top)
    keep = bool(s.get("keepdims", 1))
    targets = [tuple(1 if a in axes else n for a, n in enumerate(shape) if keep or a not in axes)
               for shape in x.shapes]
    return s.cast(s.reshape(found, targets), s.x.dtype)


@reads("ArgMax", "ArgMin")
def _arg(s: Step) -> Held:
    axis, keep = s.axis(s.get("axis", 0), s.x.rank), bool(s.get("keepdims", 1))
    kind = "argmax" if s.kind == "ArgMax" else "argmin"
    x = s.x if s.x.is_float else s.cast(s.x, "float64")
    if s.get("select_last_index", 0):
        turned = s.call(kind, s.call("reverse", x, axis=(axis,)), axis=axis, keepdims=True)
        found = s.call("_rminus_scalar", turned, scalar=float(x.size(axis) - 1))
    else:
        found = s.call(kind, x, axis=axis, keepdims=True)
    targets = [tuple(1 if a == axis else n for a, n in enumerate(shape) if keep or a != axis) for shape in x.shapes]
    return s.cast(s.reshape(found, targets), "int64")


@reads("CumSum")
def _cumulative(s: Step) -> Held:
    axis = s.axis(int(s.number(1)), s.x.rank)
    x = s.call("reverse", s.x, axis=(axis,)) if s.get("reverse", 0) else s.x
    found = s.call("_np_cumsum", x, axis=axis)
    if s.get("exclusive", 0):
        found = s.call("broadcast_sub", found, x)
    return s.cast(s.call("reverse", found, axis=(axis,)) if s.get("reverse", 0) else found, s.x.dtype)


@reads("TopK")
def _topk(s: Step) -> Sequence[Held]:
    axis = s.axis(s.get("axis", -1), s.x.rank)
    count = int(s.get("k", 0)) if s.version < 10 else int(s.number(1))
    if not 0 < count <= s.x.size(axis):
        raise Refused(f"there are no first {count} of {s.x.size(axis)}")
    values, places = s.calls("topk", s.x, axis=axis, k=count, ret_typ="both", is_ascend=not s.get("largest", 1),
                             dtype="int64")
    return [values, places]
