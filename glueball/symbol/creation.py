"""Values out of nothing in a graph: zeros, ones, full, arange, linspace, as operators without inputs."""
from __future__ import annotations

from typing import Any

from ..ops.opdef import lookup
from .compose import compose
from .symbol import Symbol

__all__ = ["zeros", "ones", "full", "arange", "linspace", "eye", "Custom"]


def zeros(shape: Any, dtype: Any = None, name: str | None = None, **kwargs: Any) -> Symbol:
    """Return a symbol of zeros."""
    return compose(lookup("_zeros"), (), {"shape": shape, "dtype": dtype or "float32"}, name)


def ones(shape: Any, dtype: Any = None, name: str | None = None, **kwargs: Any) -> Symbol:
    """Return a symbol of ones."""
    return compose(lookup("_ones"), (), {"shape": shape, "dtype": dtype or "float32"}, name)


def full(shape: Any, val: float, dtype: Any = None, name: str | None = None, **kwargs: Any) -> Symbol:
    """Return a symbol filled with `val`."""
    return compose(lookup("_full"), (), {"shape": shape, "value": float(val), "dtype": dtype or "float32"}, name)


def arange(start: float, stop: float | None = None, step: float = 1.0, repeat: int = 1, infer_range: bool = False,
           name: str | None = None, dtype: Any = None, **kwargs: Any) -> Symbol:
    """Return a symbol of start, start + step, … below stop."""
    return compose(lookup("_arange"), (), {"start": start, "stop": stop, "step": step, "repeat": repeat,
                                           "infer_range": infer_range,
                                           "dtype": dtype or "float32"}, name)


def linspace(start: float, stop: float, num: int, endpoint: bool = True, name: str | None = None, dtype: Any = None,
             **kwargs: Any) -> Symbol:
    """Return a symbol of `num` evenly spaced numbers."""
    return compose(lookup("_linspace"), (), {"start": start, "stop": stop, "num": num, "endpoint": endpoint,
                                             "dtype": dtype or "float32"}, name)


def eye(N: int, M: int = 0, k: int = 0, dtype: Any = None, name: str | None = None,
        **kwargs: Any) -> Symbol:
    """Return a symbol of an N × M matrix with ones on diagonal `k`."""
    return compose(lookup("_eye"), (), {"N": N, "M": M, "k": k, "dtype": dtype or "float32"}, name)


def Custom(*data: Any, op_type: str, name: str | None = None, **kwargs: Any) -> Symbol:
    """Return the symbol of a user-defined operator (glueball.operator); symbols may be given by keyword."""
    from .. import operator  # upward edge: registering the runner is what importing it does
    given = [*data, *(v for v in kwargs.values() if isinstance(v, Symbol))]
    options = tuple((k, str(v)) for k, v in kwargs.items() if not isinstance(v, Symbol))
    names = operator._prop(op_type, options).list_arguments()
    if len(given) < len(names):
        from .symbol import Variable
        given += [Variable(f"{name or op_type}_{n}") for n in names[len(given):]]
    return compose(lookup("Custom"), given, {"op_type": op_type, "options": options}, name)
