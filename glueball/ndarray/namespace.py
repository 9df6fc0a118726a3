"""Fills `nd`, `sym` and their sub-namespaces from the operator table, lazily.

The one idea: a module's `__getattr__` looks a name up in the table and builds the function at its first use; `dir()`
lists all of them. A sub-namespace that has a file of its own (nd.random, nd.linalg …) keeps what the file defines and
gets the rest from the table.
"""
from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any

from ..base.registry import closest
from ..ops.opdef import TABLE, OpDef
from .generate import place

__all__ = ["complete", "install", "install_methods", "rebuild"]

Build = Callable[[OpDef, str, str], Any]
_SUBS = ("linalg", "contrib", "image", "sparse", "op", "random", "_internal", "_random", "_np")


_FILES = ("contrib", "random")


def _index(sub: str) -> dict[str, OpDef]:
    found: dict[str, OpDef] = {}
    for op in TABLE.values():
        for name in (op.name, *op.aliases):
            namespace, public = place(name)
            if namespace == sub or (sub in ("op", "sparse") and namespace == ""):
                found.setdefault(public, op)
            if sub == "_internal" and name.startswith("_"):
                found.setdefault(name, op)
    return found


def _hooks(module_name: str, sub: str, build: Build) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    table: dict[str, OpDef] = {}

    def get(name: str) -> Any:
        if not table:
            table.update(_index(sub))
        op = table.get(name)
        if op is None:
            if sub == "" and name in _SUBS:
                return _sub_module(module_name, name, build)
            if name.startswith("__"):
                raise AttributeError(name)
            hint = closest(name, [*table, *(k for k in vars(sys.modules[module_name]) if not k.startswith("_"))])
            hint = hint if hint.startswith("did") else "docs/coverage.md lists what there is"
            raise AttributeError(f"{module_name} has no operator {name!r}; {hint}")
        function = build(op, name, f"{sub}.{name}" if sub else name)
        setattr(sys.modules[module_name], name, function)
        return function

    def names() -> list[str]:
        if not table:
            table.update(_index(sub))
        return sorted({*vars(sys.modules[module_name]), *table, *(_SUBS if sub == "" else ())})

    return get, names


def _sub_module(parent: str, sub: str, build: Build) -> types.ModuleType:
    full = f"{parent}.{sub}"
    try:
        module = importlib.import_module(full)
    except ModuleNotFoundError as error:
        if error.name != full:
            raise
        module = types.ModuleType(full, f"Operators of {sub}, generated from the operator table.")
        sys.modules[full] = module
    module.__dict__["__getattr__"], module.__dict__["__dir__"] = _hooks(full, sub, build)
    setattr(sys.modules[parent], sub, module)
    return module


def install(module_name: str, build: Build) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a module that publishes the table; its sub-namespaces are made
    importable.
    """
    for sub in _SUBS:
        if sub != "random":
            full = f"{module_name}.{sub}"
            if full not in sys.modules:
                _sub_module_later(full, module_name, sub, build)
    return _hooks(module_name, "", build)


def complete(module_name: str, build: Build) -> None:
    """Give the sub-namespaces that have a file the rest of their names, however they are imported; called when the
    package is otherwise ready.
    """
    for sub in _FILES:
        _sub_module(module_name, sub, build)


def _sub_module_later(full: str, parent: str, sub: str, build: Build) -> None:
    if importlib.util.find_spec(full) is None:
        module = types.ModuleType(full, f"Operators of {sub}, generated from the operator table.")
        sys.modules[full] = module
        module.__dict__["__getattr__"], module.__dict__["__dir__"] = _hooks(full, sub, build)
        setattr(sys.modules[parent], sub, module)


def install_methods(cls: Any, build: Callable[[OpDef, str], Any]) -> None:
    """Give an array or symbol class a method for every operator that is one; built at first use."""
    for op in TABLE.values():
        if op.method:
            for name in (op.name, *op.aliases):
                if not name.startswith("_") and name[0].islower() and name not in cls.__dict__:
                    lazy = _LazyMethod(op, name, build)
                    setattr(cls, name, lazy)
                    _methods.append((cls, name, lazy))


_methods: list[tuple[Any, str, _LazyMethod]] = []


def rebuild(package: str) -> None:
    """Forget the functions and methods that were generated for a package, so that the next use builds them anew."""
    for name, module in list(sys.modules.items()):
        if name == package or name.startswith(f"{package}."):
            for key, value in list(vars(module).items()):
                if isinstance(value, types.FunctionType) and value.__code__.co_filename.startswith("<glueball "):
                    delattr(module, key)
    for cls, name, lazy in _methods:
        if cls.__module__.startswith(package):
            setattr(cls, name, lazy)


class _LazyMethod:
    """Replaces itself by the generated method when it is first looked up."""

    def __init__(self, op: OpDef, name: str, build: Callable[[OpDef, str], Any]) -> None:
        self.op, self.name, self.build = op, name, build

    def __get__(self, instance: Any, owner: Any) -> Any:
        function = self.build(self.op, self.name)
        for cls in owner.__mro__:
            if cls.__dict__.get(self.name) is self:
                setattr(cls, self.name, function)
        return function if instance is None else function.__get__(instance, owner)
