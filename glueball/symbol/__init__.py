"""`sym`: graphs of operators that are composed now and run later.

Public names are MXNet's. graph.py has the immutable graph, symbol.py the class users hold, compose.py how calls
become nodes, infer.py shapes and dtypes, tracer.py what hybridize() uses, json.py the file format. Operators are
generated from the table at first use.
"""
from __future__ import annotations

from typing import Any

from ..ndarray import arithmetic, namespace
from ..ndarray.arithmetic import split_v2
from . import generate
from .compose import compose
from .creation import Custom, arange, eye, full, linspace, ones, zeros
from .json import fromjson, load, load_json
from .symbol import Group, Symbol, Variable, var

__all__ = ["Symbol", "Variable", "var", "Group", "load", "load_json", "fromjson", "compose", "split_v2", "zeros",
           "ones", "full", "arange", "linspace", "eye", "Custom", "pow"]


arithmetic.install(globals())
pow = arithmetic.make("power")


def _build(op: Any, public: str, label: str) -> Any:
    return generate.build_function(op, public, f"sym.{label}")


__getattr__, __dir__ = namespace.install(__name__, _build)
namespace.install_methods(Symbol, generate.build_method)
namespace.complete(__name__, _build)
