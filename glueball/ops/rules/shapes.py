"""Shapes by formula: `(attrs, shapes, dtypes) -> [(shape, dtype), …]` for the families that programs are made of.

The one idea: running a kernel on stand-ins to learn its result's shape (infer.py) is the default; here are the cases
where a line of arithmetic says it at once, so that tracing a network takes milliseconds. Used through `formula(...)`
and `Probing(result=...)`.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["like_first", "like_second", "target", "reduced", "joined", "stacked", "matrix_product", "batch_product",
           "dense", "dense_weight",
           "convolved", "pooled", "taken", "picked", "channels_normalised", "axis_normalised", "like_data_and_gains",
           "like_data_as_asked", "sliced_window"]

Attrs = Mapping[str, Any]
Shapes = Sequence[tuple[int, ...]]
Result = "list[tuple[tuple[int, ...], Any]]"


def like_first(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """One result like the first input."""
    return [(shapes[0], dtypes[0])]


def like_second(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """One result like the second input (a gradient beside the data it is for)."""
    return [(shapes[1], dtypes[1])]


def target(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """One result of the shape in the attribute `shape`."""
    return [(tuple(attrs["shape"]), dtypes[0])]


def reduced(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """A reduction over `axis` (or all others with `exclude`); a full one leaves one element."""
    shape, axis = shapes[0], attrs.get("axis")
    rank = len(shape)
    axes = (
        set(range(rank))
        if axis is None or axis == ()
        else {a % rank for a in ((axis,) if isinstance(axis, int) else axis)}
    )
    if attrs.get("exclude") and axis not in (None, ()):
        axes = set(range(rank)) - axes
    kept = (
        tuple(1 if i in axes else s for i, s in enumerate(shape))
        if attrs.get("keepdims")
        else tuple(s for i, s in enumerate(shape) if i not in axes)
    )
    return [(kept or (1,), attrs.get("dtype") or dtypes[0])]


def joined(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """A concatenation along `dim`; the kernel says what is wrong with what does not fit."""
    if len(set(dtypes)) != 1 or not -len(shapes[0]) <= attrs["dim"] < len(shapes[0]):
        return None
    first = list(shapes[0])
    dim = attrs["dim"] % len(first)
    for other in shapes[1:]:
        if len(other) != len(first) or any(a != b for i, (a, b) in enumerate(zip(first, other)) if i != dim):
            return None
    first[dim] = sum(s[dim] for s in shapes)
    return [(tuple(first), dtypes[0])]


def stacked(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """A new axis along which equal shapes are put side by side."""
    if len(set(dtypes)) != 1 or any(s != shapes[0] for s in shapes):
        return None
    rank = len(shapes[0]) + 1
    if not -rank <= attrs["axis"] < rank:
        return None
    axis = attrs["axis"] % rank
    return [((*shapes[0][:axis], len(shapes), *shapes[0][axis:]), dtypes[0])]


def matrix_product(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """`dot`: the last axis of the left with the first of the right."""
    a, b = shapes
    if attrs.get("transpose_a"):
        a = (*a[1:], a[0])
    if attrs.get("transpose_b"):
        b = (b[-1], *b[:-1])
    if a[-1] != b[0]:
        return None
    return [((*a[:-1], *b[1:]) or (1,), dtypes[0])]


def batch_product(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """Matrix products over leading axes of equal sizes."""
    a, b = shapes[:2]
    if len(a) < 3 or len(a) != len(b) or a[:-2] != b[:-2] or attrs.get("axis", -2) != -2:
        return None
    rows, inner = (a[-1], a[-2]) if attrs.get("transpose_a") else (a[-2], a[-1])
    inner_b, columns = (b[-1], b[-2]) if attrs.get("transpose_b") else (b[-2], b[-1])
    if inner != inner_b:
        return None
    return [((*a[:-2], rows, columns), dtypes[0])]


def dense(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """FullyConnected: (batch, units), or all leading axes kept."""
    data, weight = shapes[0], shapes[1]
    inner = 1
    for s in data[1:] if attrs["flatten"] else data[-1:]:
        inner *= s
    if (
        weight != (attrs["num_hidden"], inner)
        or len(set(dtypes)) != 1
        or any(s != (attrs["num_hidden"],) for s in shapes[2:])
    ):
        return None
    return [((data[0], weight[0]) if attrs["flatten"] else (*data[:-1], weight[0]), dtypes[0])]


def convolved(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """Convolution in a channels-first layout."""
    data, weight, kernel = shapes[0], shapes[1], attrs["kernel"]
    n = len(kernel)
    if attrs["layout"] not in (None, "None", "NCW", "NCHW", "NCDHW") or len(data) != n + 2 or len(set(dtypes)) != 1:
        return None
    if weight != (attrs["num_filter"], data[1] // attrs["num_group"],
                  *kernel) or data[1] % attrs["num_group"] or attrs["num_filter"] % attrs["num_group"]:
        return None
    stride, dilate, pad = attrs["stride"] or (1,) * n, attrs["dilate"] or (1,) * n, attrs["pad"] or (0,) * n
    size = tuple((data[2 + i] + 2 * pad[i] - dilate[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(n))
    if min(size) <= 0:
        return None
    return [((data[0], attrs["num_filter"], *size), dtypes[0])]


def pooled(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """Pooling in a channels-first layout, 'valid' convention; the places of maxima come second, as int64."""
    import torch
    data = shapes[0]
    n = len(data) - 2
    if attrs["layout"] not in (None, "None", "NCW", "NCHW", "NCDHW"):
        return None
    if attrs["global_pool"]:
        size = (1,) * n
    else:
        kernel = attrs["kernel"]
        if attrs["pooling_convention"] != "valid" or len(kernel) != n:
            return None
        stride, pad = attrs["stride"] or (1,) * n, attrs["pad"] or (0,) * n
        size = tuple((data[2 + i] + 2 * pad[i] - kernel[i]) // stride[i] + 1 for i in range(n))
        if min(size, default=1) <= 0 or any(2 * p > k for p, k in zip(pad, kernel)):
            return None
    result = [((*data[:2], *size), dtypes[0])]
    return result + [((*data[:2], *size),
                      torch.int64)] if attrs["pool_type"] == "max" and not attrs["global_pool"] else \
        None if attrs["pool_type"] == "max" else result


def taken(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """take: the axis is replaced by the shape of the indices."""
    data, indices = shapes[0], shapes[1]
    axis = attrs["axis"] % len(data)
    return [((*data[:axis], *indices, *data[axis + 1:]), dtypes[0])]


def picked(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """pick: one element along an axis."""
    shape, axis = shapes[0], attrs["axis"]
    if axis is None or shapes[1] not in ((*shape[:axis % len(shape)], *shape[axis % len(shape) + 1:]),
                                         (*shape[:axis % len(shape)], 1, *shape[axis % len(shape) + 1:])):
        return None
    axis %= len(shape)
    kept = (*shape[:axis], *((1,) if attrs["keepdims"] else ()), *shape[axis + 1:])
    return [(kept or (1,), dtypes[0])]


def channels_normalised(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """BatchNorm: the data's shape, then mean and 1/deviation per channel, in the type of the statistics."""
    data, axis = shapes[0], attrs.get("axis", 1)
    if not -len(data) <= axis < len(data) or any(s != (data[axis],) for s in shapes[1:]):
        return None
    return [(data, dtypes[0]), ((data[axis],), dtypes[1]), ((data[axis],), dtypes[1])]


def axis_normalised(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """LayerNorm: the data's shape, then mean and deviation with the axis kept at size 1."""
    data, axis = shapes[0], attrs["axis"] % max(len(shapes[0]), 1)
    if (
        not data
        or any(s != (data[axis],) for s in shapes[1:])
        or len(set(dtypes)) != 1
        or str(dtypes[0]) not in ("torch.float32", "torch.float64")
    ):
        return None
    rest = tuple(1 if i == axis else s for i, s in enumerate(data))
    return [(data, dtypes[0]), (rest, dtypes[0]), (rest, dtypes[0])]


def like_data_and_gains(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """A normalisation's backward (grad, data, gamma, …): gradients like data, gamma and gamma."""
    return [(shapes[1], dtypes[1]), (shapes[2], dtypes[2]), (shapes[2], dtypes[2])]


def like_data_as_asked(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """The data's shape, in the dtype of the attribute when one is given (softmax)."""
    return [(shapes[0], attrs.get("dtype") or dtypes[0])]


def dense_weight(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """The gradient of FullyConnected's weight: (units, inputs)."""
    grad, data = shapes
    inner = 1
    for s in data[1:] if attrs["flatten"] else data[-1:]:
        inner *= s
    return [((grad[-1], inner), dtypes[0])]


def sliced_window(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """slice: begin:end:step of the leading axes."""
    shape = list(shapes[0])
    begin, end = attrs["begin"], attrs["end"]
    if not len(begin) == len(end) <= len(shape):
        return None
    step = attrs["step"] or (None,) * len(begin)
    for i, (b, e) in enumerate(zip(begin, end)):
        s = step[i] if i < len(step) else None
        shape[i] = len(range(*slice(b, e, s).indices(shape[i])))
    return [(tuple(shape), dtypes[0])]
