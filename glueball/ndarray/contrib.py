"""nd.contrib: control flow on arrays, and (from the table) the contrib operators.

The one idea: on arrays, loops and branches are Python's own; the functions exist so that the same code traces
(symbol/contrib.py).
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..base.errors import ArgumentError, explain
from ..base.tree import flatten, leaves, unflatten
from ..dispatch import Symbolic
from ..ops.opdef import lookup
from .creation import zeros
from .multi_update import (
    multi_adamw_update,
    multi_lamb_update,
    multi_mp_adamw_update,
    multi_mp_lamb_update,
    rand_zipfian,
)
from .ndarray import NDArray

__all__ = ["foreach", "while_loop", "cond", "isinf", "isnan", "isfinite", "multi_adamw_update", "multi_mp_adamw_update",
           "multi_lamb_update", "multi_mp_lamb_update", "rand_zipfian"]


def _symbolic(*values: Any) -> Any:
    """Return sym.contrib when a symbol is among the values: the call is part of a trace."""
    if any(leaves(v, Symbolic) for v in values):
        from ..symbol import contrib  # upward edge: the composing twin
        return contrib
    return None


def foreach(body: Callable[..., Any], data: Any, init_states: Any, name: str = "foreach") -> tuple[Any, Any]:
    """Run ``body(step_data, states) -> (outputs, new_states)`` over the leading axis of `data`; returns (stacked
    outputs, last states).

    >>> from glueball import nd
    >>> out, last = nd.contrib.foreach(lambda x, s: (x + s, x + s), nd.array([1, 2, 3]), nd.zeros((1,)))
    >>> out.asnumpy().ravel().tolist()
    [1.0, 3.0, 6.0]
    """
    twin = _symbolic(data, init_states)
    if twin is not None:
        return twin.foreach(body, data, init_states, name)
    rows, structure = flatten(data, NDArray)
    if not rows or len({r.shape[0] for r in rows}) != 1:
        raise ArgumentError(explain("foreach", "All data must have one length along the leading axis.",
                                    received=[r.shape for r in rows]))
    states = init_states
    columns: list[list[NDArray]] | None = None
    out_structure: Any = None
    for step in range(rows[0].shape[0]):
        outputs, states = body(unflatten(structure, [r[step] for r in rows]), states)
        found, out_structure = flatten(outputs, NDArray)
        columns = columns or [[] for _ in found]
        for column, value in zip(columns, found):
            column.append(value)
    return unflatten(out_structure, [lookup("stack")(*column, axis=0) for column in columns or []]), states


def while_loop(cond: Callable[..., Any], func: Callable[..., Any], loop_vars: Any, max_iterations: int | None = None,
               name: str = "while_loop") -> tuple[Any, Any]:
    """Run ``func(*loop_vars) -> (outputs, new_loop_vars)`` while ``cond(*loop_vars)`` holds; outputs are padded with
    zeros to `max_iterations`.
    """
    twin = _symbolic(loop_vars)
    if twin is not None:
        return twin.while_loop(cond, func, loop_vars, max_iterations, name)
    if max_iterations is None:
        raise ArgumentError(explain("while_loop", "max_iterations must be given."))
    states = list(loop_vars) if isinstance(loop_vars, (list, tuple)) else [loop_vars]
    columns: list[list[NDArray]] | None = None
    out_structure: Any = None
    steps = 0
    while steps < max_iterations and bool(cond(*states)):
        outputs, states = func(*states)
        states = list(states) if isinstance(states, (list, tuple)) else [states]
        found, out_structure = flatten([] if outputs is None else outputs, NDArray)
        columns = columns or [[] for _ in found]
        for column, value in zip(columns, found):
            column.append(value)
        steps += 1
    if columns is None:
        raise ArgumentError(explain("while_loop",
                                    "The condition was false at once, so the outputs' shapes are not known.",
                                    fix="make sure that the loop runs at least once"))
    stacked = []
    for column in columns:
        out = lookup("stack")(*column, axis=0)
        missing = max_iterations - steps
        stacked.append(lookup("Concat")(out, zeros((missing, *out.shape[1:]), ctx=out.ctx, dtype=out.dtype), dim=0)
                       if missing else out)
    return unflatten(out_structure, stacked), states


def cond(pred: Any, then_func: Callable[[], Any], else_func: Callable[[], Any], name: str = "cond") -> Any:
    """Return ``then_func()`` when `pred` (one element) is true, else ``else_func()``."""
    twin = _symbolic(pred)
    if twin is not None:
        return twin.cond(pred, then_func, else_func, name)
    return then_func() if bool(pred) else else_func()


def isnan(data: NDArray) -> NDArray:
    """Return 1 where an element is not a number."""
    return data != data  # type: ignore[return-value]  # a comparison of arrays is an array


def isinf(data: NDArray) -> NDArray:
    """Return 1 where an element is infinite."""
    return lookup("abs")(data) == float("inf")


def isfinite(data: NDArray) -> NDArray:
    """Return 1 where an element is a finite number."""
    return lookup("broadcast_logical_and")(data == data, lookup("abs")(data) != float("inf"))
