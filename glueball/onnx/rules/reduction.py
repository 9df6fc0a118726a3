"""Sums, means, extremes, products, norms over axes; the position of an extreme; sorting.

The one idea: `reduced` writes any Reduce operator, whose axes are an input for some and an attribute for others in
opset 18; a reduction of everything has shape (1,), as in Gluon.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ops.reduce import reduced_axes
from ..call import Call, Rule, rows, rule

_NARROW = ("int8", "uint8", "bool")  # which some operators of ONNX do not take
_WIDE_ONLY = ("ReduceSum", "ReduceMean", "ReduceProd")
_KINDS = {"sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin", "prod": "ReduceProd"}


def reduced(c: Call, kind: str, value: str, axes: Sequence[int], keepdims: bool) -> str:
    """Write a reduction over `axes`; over none it is the value itself."""
    if not axes:
        return value
    return c.op(kind, value, c.ints(*axes), keepdims=int(keepdims))


def _over(c: Call, kind: str, value: str, given: object, exclude: bool, keepdims: bool) -> str:
    axes = reduced_axes(c.name, given, exclude, c.rank())
    if kind == "ReduceMean" and any(c.shape()[axis] == 0 for axis in axes):
        return c.filled(float("nan"))  # the mean of nothing, which runtimes call 0
    whole = len(axes) == c.rank() and not keepdims
    narrow = c.dtype() in _NARROW and kind in _WIDE_ONLY
    found = reduced(c, kind, c.cast(value, "int32") if narrow else value, axes, keepdims)
    if narrow:
        found = c.cast(found, c.out_dtype())
    if whole:
        return c.op("Reshape", found, c.ints(1))
    return found if axes else c.op("Identity", found)


def _reduction(kind: str) -> Rule:
    return lambda c: _over(c, kind, c.x, c["axis"], c["exclude"], c["keepdims"])


rows({name: _reduction(kind) for name, kind in _KINDS.items()})


@rule("nansum", "nanprod")
def _without_holes(c: Call) -> str:
    filler = c.const(int(c.name == "nanprod"))
    value = c.x if c.whole else c.op("Where", c.op("IsNaN", c.x), filler, c.x)
    return _over(c, _KINDS[c.name[3:]], value, c["axis"], c["exclude"], c["keepdims"])


@rule("_square_sum")
def _square_sum(c: Call) -> str:
    return _over(c, "ReduceSum", c.op("Mul", c.x, c.x), c["axis"], c["exclude"], c["keepdims"])


@rule("norm")
def _norm(c: Call) -> str:
    data = c.cast(c.x, c.out_dtype(), c.dtype())
    if c["ord"] == 1:
        return _over(c, "ReduceSum", c.op("Abs", data), c["axis"], False, c["keepdims"])
    return c.op("Sqrt", _over(c, "ReduceSum", c.op("Mul", data, data), c["axis"], False, c["keepdims"]))


@rule("moments")
def _moments(c: Call) -> Sequence[str]:
    axes = reduced_axes("moments", c["axes"], False, c.rank())
    mean = reduced(c, "ReduceMean", c.x, axes, True)
    centred = c.op("Sub", c.x, mean)
    variance = reduced(c, "ReduceMean", c.op("Mul", centred, centred), axes, True)
    return tuple(c.reshape(value, c.out_shape(i)) for i, value in enumerate((mean, variance)))


@rule("argmax", "argmin", "argmax_channel")
def _arg(c: Call) -> str:
    kind = "ArgMin" if c.name == "argmin" else "ArgMax"
    axis = 1 if c.name == "argmax_channel" else c["axis"]
    keep = bool(c.attrs.get("keepdims", False))
    if axis is None:
        found = c.op(kind, c.op("Reshape", c.x, c.ints(-1)), axis=0, keepdims=1)
        return c.cast(c.reshape(found, c.out_shape()), c.out_dtype(), "int64")
    found = c.op(kind, c.x, axis=c.axis(axis), keepdims=int(keep))
    if c.rank() == 1 and not keep:
        found = c.op("Reshape", found, c.ints(1))
    return c.cast(found, c.out_dtype(), "int64")


@rule("_np_cumsum")
def _cumulative(c: Call) -> str:
    exact = "int32" if c.out_dtype() in _NARROW else c.out_dtype()
    data, axis = c.cast(c.x, exact, c.dtype()), c["axis"]
    if axis is None:
        data, axis = c.op("Reshape", data, c.ints(-1)), 0
    return c.cast(c.op("CumSum", data, c.const(c.axis(axis), "int64")), c.out_dtype(), exact)


# -- order -------------------------------------------------------------------------------------------------------------
def _ordered(c: Call, count: int | None, greatest: bool) -> tuple[str, str, int]:
    """Return (values, positions, axis) of the first `count` elements in order; all where it is None."""
    data, axis = c.x, c["axis"]
    if axis is None:
        data, at = c.op("Reshape", data, c.ints(-1)), 0
        wanted = c.ints(count) if count else c.op("Shape", data)
    else:
        at = c.axis(axis)
        wanted = c.ints(count) if count else c.sizes([c.shape()[at]])
    values, places = c.ops("TopK", data, wanted, outputs=2, axis=at, largest=int(greatest), sorted=1)
    return values, places, at


@rule("sort")
def _sort(c: Call) -> Sequence[str]:
    values, places, _ = _ordered(c, None, not c["is_ascend"])
    return values, places


@rule("argsort")
def _argsort(c: Call) -> str:
    _, places, _ = _ordered(c, None, not c["is_ascend"])
    return c.cast(places, c.out_dtype(), "int64")


@rule("topk")
def _topk(c: Call) -> Sequence[str]:
    count = c["k"] if c["k"] > 0 else None
    values, places, axis = _ordered(c, count, not c["is_ascend"])
    kind = c["ret_typ"]
    if kind == "mask":
        data = c.op("Reshape", c.x, c.ints(-1)) if c["axis"] is None else c.x
        nothing = c.op("Expand", c.const(0), c.op("Shape", data))
        ones = c.op("Expand", c.const(1), c.op("Shape", places))
        return (c.reshape(c.op("ScatterElements", nothing, places, ones, axis=axis), c.out_shape()),)
    if kind == "value":
        return values, c.cast(places, c.out_dtype(1), "int64")
    if kind == "indices":
        return (c.cast(places, c.out_dtype(), "int64"),)
    return values, c.cast(places, c.out_dtype(1), "int64")
