"""Shapes by formula: `(attrs, shapes, dtypes) -> [(shape, dtype), …]` for the families that programs are made of.

The one idea: running a kernel on stand-ins to learn its result's shape (infer.py) is the default; here are the cases
where a line of arithmetic says it at once, so that tracing a network takes milliseconds. Used through `formula(...)`
and `Probing(result=...)`.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .infer import broadcast_shapes

__all__ = ["like_first", "like_second", "target", "reduced", "joined", "stacked", "matrix_product", "batch_product",
           "dense", "dense_weight",
           "convolved", "pooled", "taken", "picked", "channels_normalised", "axis_normalised", "like_data_and_gains",
           "like_data_as_asked", "sliced_window", "alike", "labelled", "masked", "last_step", "groups_normalised",
           "deconvolved", "places_taken", "heads_scored", "heads_averaged",
           "squared", "on_diagonal", "like_data_and_slopes",
           "stretched", "rows_gathered", "hot", "counted", "identity"]

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
    return [(tuple(attrs["shape"]), dtypes[0])] if min(attrs["shape"], default=0) >= 0 else None


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


def like_data_and_slopes(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """PReLU's backward (grad, data, gamma): gradients like data and gamma."""
    return [(shapes[1], dtypes[1]), (shapes[2], dtypes[2])]


def stretched(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """All inputs broadcast to one shape."""
    result: tuple[int, ...] = ()
    for shape in shapes:
        result = broadcast_shapes(result, shape)
    return [(result, dtypes[0])] if len(set(dtypes)) == 1 else None


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


def alike(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """One result like the inputs, which are all alike."""
    return [(shapes[0], dtypes[0])] if len(set(shapes)) == len(set(dtypes)) == 1 else None


def labelled(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """An output layer's data (N, K) with a class for each row (N,)."""
    data, label = shapes
    return [(data, dtypes[0])] if len(data) == 2 and label == data[:1] and not attrs.get("multi_output") else None


def masked(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """SequenceMask: like the data, with a length for each sequence."""
    data, axis = shapes[0], attrs["axis"]
    fits = len(data) > 1 and axis in (0, 1) and all(lengths == (data[1 - axis],) for lengths in shapes[1:])
    return [(data, dtypes[0])] if fits and attrs["use_sequence_length"] == (len(shapes) == 2) else None


def last_step(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """SequenceLast: the axis of time goes."""
    found, axis = masked(attrs, shapes, dtypes), attrs["axis"]
    data = shapes[0]
    return found and 0 not in data and [((*data[:axis], *data[axis + 1:]), dtypes[0])] or None


def groups_normalised(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """GroupNorm, InstanceNorm: the data's shape, then mean and 1/deviation of (N, groups)."""
    data = shapes[0]
    if len(data) < 2 or len(set(dtypes)) != 1 or str(dtypes[0]) not in ("torch.float32", "torch.float64"):
        return None
    groups = attrs.get("num_groups", data[1])
    if groups < 1 or data[1] % groups or any(s != (groups,) for s in shapes[1:]):
        return None
    return [(data, dtypes[0]), *[((data[0], groups), dtypes[0])] * 2]


def deconvolved(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """Deconvolution in a channels-first layout whose result's size is not asked for."""
    data, weight, kernel = shapes[0], shapes[1], attrs["kernel"]
    n, filters, groups = len(kernel), attrs["num_filter"], attrs["num_group"]
    if attrs["layout"] not in (None, "None", "NCW", "NCHW", "NCDHW") or len(data) != n + 2 or len(set(dtypes)) != 1:
        return None
    if groups < 1 or filters % groups or data[1] % groups or weight != (data[1], filters // groups, *kernel):
        return None
    stride, dilate = attrs["stride"] or (1,) * n, attrs["dilate"] or (1,) * n
    pad, more = attrs["pad"] or (0,) * n, attrs["adj"] or (0,) * n
    if attrs["target_shape"] or any(s != (filters,) for s in shapes[2:]) or min(*stride, *dilate, *data[2:]) < 1:
        return None
    if any(extra >= max(step, hole) for extra, step, hole in zip(more, stride, dilate)):
        return None
    size = tuple(stride[i] * (data[2 + i] - 1) + dilate[i] * (kernel[i] - 1) + 1 - 2 * pad[i] + more[i]
                 for i in range(n))
    return [((data[0], filters, *size), dtypes[0])] if min(size) > 0 else None


def places_taken(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """gather_nd: the axes that the indices (M, …) name are replaced by their other axes."""
    data, indices = shapes
    return [((*indices[1:], *data[indices[0]:]), dtypes[0])] if indices and 0 < indices[0] <= len(data) else None


def heads_scored(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """Attention's scores (batch · heads, queries, keys) of projections (length, batch, heads · parts · size)."""
    heads, queries, keys = attrs["heads"], shapes[0], shapes[-1]
    parts = (3, 3) if len(shapes) == 1 else (1, 2)
    if heads < 1 or len(set(dtypes)) != 1 or any(len(s) != 3 or s[2] % (heads * p) for s, p in zip(shapes, parts)):
        return None
    if queries[1] != keys[1] or queries[2] // parts[0] != keys[2] // parts[1]:
        return None
    return [((queries[1] * heads, queries[0], keys[0]), dtypes[0])]


def heads_averaged(parts: int) -> Callable[..., Any]:
    """Values (keys, batch, heads · parts · size) averaged by scores: (queries, batch, heads · size)."""

    def result(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
        heads, (values, scores) = attrs["heads"], shapes
        if heads < 1 or len(values) != 3 or values[2] % (heads * parts) or len(set(dtypes)) != 1:
            return None
        if len(scores) != 3 or scores[0] != values[1] * heads or scores[2] != values[0]:
            return None
        return [((scores[1], values[1], values[2] // parts), dtypes[0])]

    return result


def squared(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """linalg.syrk: a matrix times its transpose."""
    shape = shapes[0]
    side = shape[-1 if attrs["transpose"] else -2] if len(shape) > 1 else 0
    return [((*shape[:-2], side, side), dtypes[0])] if side else None


def on_diagonal(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """linalg.makediag, and diag of a vector: vectors become square matrices."""
    *leading, last = shapes[0] or (0,)
    if not shapes[0] or ("k" in attrs and leading):
        return None
    side = last + abs(attrs["k" if "k" in attrs else "offset"])
    return [((*leading, side, side), dtypes[0])]


def counted(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """arange: start, start + step, … up to stop, each `repeat` times; linspace: `num` numbers."""
    if "num" in attrs:
        return [((attrs["num"],), attrs["dtype"])] if attrs["num"] >= 0 else None
    low, high = (0.0, attrs["start"]) if attrs["stop"] is None else (attrs["start"], attrs["stop"])
    step, repeat = attrs["step"], attrs["repeat"]
    if step == 0 or (high - low) * step < 0 or repeat < 1:
        return None
    return [((math.ceil((high - low) / step) * repeat,), attrs["dtype"])]


def identity(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """eye: N rows, and as many columns unless M says otherwise."""
    sides = attrs["N"], attrs["M"] or attrs["N"]
    return [(sides, attrs["dtype"])] if min(sides) >= 0 else None


def rows_gathered(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """One element of the data per row number (sort's order applied)."""
    return [(shapes[1], dtypes[0])]


def hot(attrs: Attrs, shapes: Shapes, dtypes: Sequence[Any]) -> Any:
    """one_hot: a new last axis of length `depth`."""
    return [((*shapes[0], attrs["depth"]), attrs["dtype"])] if attrs["depth"] > 0 else None
