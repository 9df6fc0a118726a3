"""Small programs over the public API whose results the oracle has told; run by the generator and by the parity tests.

A program is a string; it is executed with the names of `scope`, and the value of its last line is the result.
`result_of` turns results into plain data and arrays; an exception counts as a result, by class. Types are compared as
names.
"""

from __future__ import annotations

from typing import Any

import numpy

SETUP = {
    "x": "numpy.arange(24).reshape(2, 3, 4)",
    "m": "numpy.array([[1.5, -2, 3], [4, 5, -6]])",
    "v": "numpy.array([1, 2, 3, 4, 5])",
}


def scope(mx: Any) -> dict[str, Any]:
    """The names that a program sees: the package as `mx` and its parts, NumPy as `np`, and three small arrays."""
    names: dict[str, Any] = {
        "mx": mx,
        "nd": mx.nd,
        "sym": mx.sym,
        "gluon": mx.gluon,
        "nn": mx.gluon.nn,
        "rnn": mx.gluon.rnn,
        "autograd": mx.autograd,
        "init": mx.init,
        "np": numpy,
    }
    for name, text in SETUP.items():
        names[name] = mx.nd.array(eval(text, {"numpy": numpy}))
    return names


def execute(code: str, names: dict[str, Any]) -> Any:
    """Run all lines, return the value of the last one (which must be an expression)."""
    import ast

    tree = ast.parse(code)
    last = tree.body.pop()
    if not isinstance(last, ast.Expr):
        raise TypeError(f"the last line must be an expression: {code!r}")
    exec(compile(tree, "<program>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<program>", "eval"), names)


def result_of(value: Any) -> Any:
    """Plain data: arrays as NumPy arrays, types and dtypes as names, the rest as it is or as repr."""
    if hasattr(value, "asnumpy"):
        return value.asnumpy()
    if isinstance(value, (list, tuple)):
        return [result_of(item) for item in value]
    if isinstance(value, dict):
        return {str(key): result_of(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, numpy.generic):
        return value.item()
    if isinstance(value, numpy.ndarray):
        return value
    if isinstance(value, type):
        return value.__name__
    return str(value)
