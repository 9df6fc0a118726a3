"""Builds the functions of `sym.*` and the methods of Symbol from the operator table: same signatures as `nd.*`,
composing instead of running.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..base.naming import Hint
from ..dispatch import CURRENT, Symbolic, invoke
from ..ndarray.generate import compile_source, given, signature_source
from ..ops.opdef import REQUIRED, OpDef
from .compose import compose

__all__ = ["build_function", "build_method"]


def _compose(op: OpDef, inputs: tuple[Any, ...], attrs: dict[str, Any], name: str | None) -> Any:
    """Compose; arrays alone, while a block is traced, are computed at once (they are constants)."""
    if op.variadic and len(inputs) == 1 and isinstance(inputs[0], (list, tuple)):
        inputs = tuple(inputs[0])
    if (
        CURRENT.get() is not None
        and inputs
        and not any(isinstance(x, Symbolic) for x in inputs)
        and any(x is not None for x in inputs)
    ):
        return invoke(op, inputs, attrs, None, name)
    return compose(op, inputs, attrs, name)


def build_function(op: OpDef, public: str, label: str, method: bool = False) -> Callable[..., Any]:
    """Return the generated composing function of an operator."""
    names: dict[str, Any] = {"op": op, "REQUIRED": REQUIRED, "given": given, "compose": _compose,
                             "hint": Hint(public.lower())}
    parameters, inputs, attrs = signature_source(op, names, all_optional=not method)
    if not op.variadic and not method:
        parameters = ", ".join(p if "=" in p else f"{p}=None" for p in parameters.split(", ")) if parameters else ""
    extra = f"{parameters}, " if parameters else ""
    collect = f"{{**given({attrs}), **extra}}"
    if op.variadic:
        call = (f"named = [extra.pop(k) for k in list(extra) if isinstance(extra[k], Symbolic)]\n"
                f"    return compose(op, ({op.inputs[0].name}) + tuple(named), {collect}, name or hint)")
        names["Symbolic"] = Symbolic
    else:
        call = f"return compose(op, {inputs}, {collect}, name or hint)"
    source = f"def {public}({extra}name=None, **extra):\n    {call}\n"
    function = compile_source(source, label, names, public)
    function.__doc__ = op.doc
    function.__module__ = "glueball.symbol"
    return function


def build_method(op: OpDef, public: str) -> Callable[..., Any]:
    """Return the generated composing method of an operator."""
    return build_function(op, public, f"Symbol.{public}", method=True)
