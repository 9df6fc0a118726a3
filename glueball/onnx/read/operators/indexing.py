"""Elements by index: Gather and Scatter in their forms, OneHot, NonZero, Compress, ReverseSequence, Einsum.

The one idea: negative indices are counted from the end beforehand; elements along an axis are picked and placed
through the flat array, so one gather and one scatter of our table serve all forms.
"""

from __future__ import annotations

import math

import numpy as np

from ..held import Held, Refused, Shape, Varies
from ..node import Step, reads


def _counted(s: Step, places: Held, size: int) -> Held:
    """Indices counted from the front."""
    if places.fixed and places.known is not None:
        rows = [np.where(row < 0, row + size, row) for row in places.known]
        if any(row.size and (row.min() < 0 or row.max() >= size) for row in rows):
            raise Refused(f"an index is outside of the {size} elements")
        return s.builder.known(rows, places.dtype)
    below = s.cast(s.call("broadcast_lesser", places, s.const(0, places.dtype)), places.dtype)
    return s.call("broadcast_add", places, s.call("broadcast_mul", below, s.const(size, places.dtype)))


@reads("Gather")
def _gather(s: Step) -> Held:
    axis, places = s.axis(s.get("axis", 0), s.x.rank), s.input(1)
    if s.x.fixed and places.fixed:
        for shape, at in zip(s.x.shapes, places.shapes):
            s.affordable(math.prod((*shape[:axis], *at, *shape[axis + 1 :])))
        return s.builder.known([np.take(row, at, axis) for row, at in zip(s.x.known or (), places.known or ())],
                               s.x.dtype)
    dropped = [shape[:axis] + shape[axis + 1 :] for shape in s.x.shapes]
    if places.fixed and len({shape[axis] for shape in s.x.shapes}) > 1:  # an open axis: counted from the end as it is
        at = s.value(1)
        if at.ndim == 0 and at < 0:
            last = s.call("slice_axis", s.x, axis=axis, begin=int(at), end=int(at) + 1 or None)
            return s.reshape(last, dropped)
        if (at < 0).any():
            raise Varies
        places = s.cast(places, "int64")
    else:
        places = s.cast(_counted(s, places, s.x.size(axis)), "int64")
    if not places.rank:
        return s.reshape(s.call("take", s.x, s.reshape(places, (1,)), axis=axis), dropped)
    return s.call("take", s.x, places, axis=axis)


def _flat_places(s: Step, places: Held, shape: Shape, axis: int) -> Held:
    """Indices along one axis as indices into the flat array."""
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    rest = np.zeros((1,) * len(shape), np.int64)
    s.affordable(math.prod(size for at, size in enumerate(places.shape) if at != axis))
    for at, size in enumerate(places.shape):
        if at != axis:
            steps = np.arange(size) * strides[at]
            rest = rest + steps.reshape([-1 if i == at else 1 for i in range(len(shape))])
    moved = s.call("broadcast_mul", places, s.const(strides[axis], "int64"))
    return s.call("broadcast_add", moved, s.const(rest, "int64"))


@reads("GatherElements")
def _gather_elements(s: Step) -> Held:
    axis, places = s.axis(s.get("axis", 0), s.x.rank), s.input(1)
    places = s.cast(_counted(s, places, s.x.size(axis)), "int64")
    at = _flat_places(s, places, s.x.shape, axis)
    found = s.call("take", s.reshape(s.x, (math.prod(s.x.shape),)), s.reshape(at, (math.prod(places.shape),)), axis=0)
    return s.reshape(found, places.shapes)


def _nd_places(s: Step, places: Held, shape: Shape, batch: int) -> Held:
    """Rows of indices (…, k) as indices of flat blocks."""
    width = places.size(-1)
    if width > len(shape) - batch:
        raise Refused(f"rows of {width} indices do not fit an array of {len(shape)} axes")
    strides = [math.prod(shape[batch + i + 1 : batch + width]) for i in range(width)]
    sizes = np.array(shape[batch : batch + width], np.int64)
    negative = s.cast(s.call("broadcast_lesser", places, s.const(0, "int64")), "int64")
    places = s.call("broadcast_add", places, s.call("broadcast_mul", negative, s.const(sizes, "int64")))
    moved = s.call("broadcast_mul", places, s.const(np.array(strides), "int64"))
    return s.cast(s.call("sum", moved, axis=(-1,), keepdims=True), "int64")


@reads("GatherND")
def _gather_nd(s: Step) -> Held:
    batch, places = s.get("batch_dims", 0), s.cast(s.input(1), "int64")
    shape, width = s.x.shape, places.size(-1)
    at = _nd_places(s, places, shape, batch)
    lead, middle = math.prod(shape[:batch]), math.prod(shape[batch : batch + width])
    tail = shape[batch + width :]
    rows = s.reshape(s.x, (lead * middle, math.prod(tail)))
    at = s.reshape(at, (lead, math.prod(places.shape[batch:-1])))
    at = s.call("broadcast_add", at, s.const(np.arange(s.affordable(lead)).reshape(-1, 1) * middle, "int64"))
    found = s.call("take", rows, s.reshape(at, (math.prod(places.shape[:-1]),)), axis=0)
    return s.reshape(found, (*places.shape[:-1], *tail))


def _placed(s: Step, data: Held, at: Held, updates: Held, how: str) -> Held:
    """Put rows (n, w) into data (m, w) at places (n)."""
    if how not in ("none", "add"):
        raise Refused(f"it joins with what is there by {how}")
    index = s.reshape(at, (1, *at.shape))
    name = "_scatter_nd_add" if how == "add" else "_scatter_set_nd"
    if how == "add":
        return s.call("broadcast_add", data, s.call(name, updates, index, shape=data.shape))
    return s.call(name, data, updates, index, shape=data.shape)


@reads("ScatterElements", "Scatter")
def _scatter_elements(s: Step) -> Held:
    axis, places, updates = s.axis(s.get("axis", 0), s.x.rank), s.input(1), s.input(2)
    places = s.cast(_counted(s, places, s.x.size(axis)), "int64")
    count, total = math.prod(places.shape), math.prod(s.x.shape)
    at = s.reshape(_flat_places(s, places, s.x.shape, axis), (count,))
    found = _placed(s, s.reshape(s.x, (total,)), at, s.reshape(updates, (count,)), s.get("reduction", "none"))
    return s.reshape(found, s.x.shapes)


@reads("ScatterND")
def _scatter_nd(s: Step) -> Held:
    places, updates, shape = s.cast(s.input(1), "int64"), s.input(2), s.x.shape
    width = places.size(-1)
    count, tail = math.prod(places.shape[:-1]), math.prod(shape[width:])
    at = s.reshape(_nd_places(s, places, shape, 0), (count,))
    data = s.reshape(s.x, (math.prod(shape[:width]), tail))
    found = _placed(s, data, at, s.reshape(updates, (count, tail)), s.get("reduction", "none"))
    return s.reshape(found, s.x.shapes)


@reads("OneHot")
def _one_hot(s: Step) -> Held:
    depth, values = int(s.number(1)), s.input(2)
    axis = s.axis(s.get("axis", -1), s.x.rank + 1)
    if depth < 1:
        raise Refused(f"{depth} classes are not possible")
    shape = list(s.x.shape)
    places = s.cast(s.x, "int64")
    below = s.cast(s.call("broadcast_lesser", places, s.const(0, "int64")), "int64")
    places = s.call("broadcast_add", places, s.call("broadcast_mul", below, s.const(depth, "int64")))
    shape.insert(axis, 1)
    classes = np.arange(s.affordable(depth)).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    hot = s.cast(s.call("broadcast_equal", s.reshape(places, tuple(shape)), s.const(classes, "int64")), values.dtype)
    off, on = (s.call("slice_axis", values, axis=0, begin=i, end=i + 1) for i in (0, 1))
    off, on = s.reshape(off, (1,) * len(shape)), s.reshape(on, (1,) * len(shape))
    return s.call("broadcast_add", s.call("broadcast_mul", hot, s.call("broadcast_sub", on, off)), off)


@reads("NonZero")
def _non_zero(s: Step) -> Held:
    rows = s.known(0)
    s.affordable(sum(row.size * row.ndim for row in rows))
    return s.builder.known([np.array(np.nonzero(row), np.int64) for row in rows])


@reads("Compress")
def _compress(s: Step) -> Held:
    rows = np.flatnonzero(s.value(1))
    axis = s.attrs.get("axis")
    if axis is None:
        flat = s.reshape(s.x, (math.prod(s.x.shape),))
        return s.call("take", flat, s.const(rows, "int64"), axis=0)
    return s.call("take", s.x, s.const(rows, "int64"), axis=s.axis(axis, s.x.rank))


@reads("ReverseSequence")
def _reverse_sequence(s: Step) -> Held:
    batch, time = s.get("batch_axis", 1), s.get("time_axis", 0)
    x = s.x if time == 0 else s.call("SwapAxis", s.x, dim1=0, dim2=1)
    if {batch, time} != {0, 1}:
        raise Refused("batch and time must be the first two axes")
    lengths = s.cast(s.input(1), "float32")
    found = s.call("SequenceReverse", x, lengths, use_sequence_length=True)
    return found if time == 0 else s.call("SwapAxis", found, dim1=0, dim2=1)
