"""Shapes: Reshape and its kin, Transpose, Concat, Split, Slice, Expand, Tile, Pad, and arrays made of sizes.

The one idea: what decides about a shape (targets, axes, pads) is known while reading: a constant of the file, or
computed from sizes. Shape itself is such a constant, per world.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ....base.dtype import as_numpy
from ..held import Held, Refused, Varies, common
from ..node import Step, array_attribute, reads
from ..tensors import element_name

_SMALL = 2**16  # elements of a range


# -- reading sizes -----------------------------------------------------------------------------------------------------
@reads("Shape")
def _shape(s: Step) -> Held:
    start, end = s.get("start", 0), s.attrs.get("end")
    return s.builder.known([np.array(shape[start:end], np.int64) for shape in s.x.shapes])


@reads("Size")
def _size(s: Step) -> Held:
    return s.builder.known([np.array(math.prod(shape), np.int64) for shape in s.x.shapes])


# -- another shape -----------------------------------------------------------------------------------------------------
@reads("Reshape")
def _reshape(s: Step) -> Held:
    zero = bool(s.get("allowzero", 0))
    targets = [_target(shape, [int(n) for n in np.ravel(wanted)], zero)
               for shape, wanted in zip(s.x.shapes, s.known(1))]
    return s.reshape(s.x, targets)


def _target(shape: tuple[int, ...], wanted: Sequence[int], zero: bool) -> tuple[int, ...]:
    """The sizes that Reshape's target means."""
    if any(size < -1 for size in wanted) or list(wanted).count(-1) > 1:
        raise Refused(f"no shape is {tuple(wanted)}")
    if not zero and any(size == 0 and axis >= len(shape) for axis, size in enumerate(wanted)):
        raise Refused(f"{tuple(wanted)} copies a size that is not there")
    sizes = [shape[axis] if size == 0 and not zero else size for axis, size in enumerate(wanted)]
    if -1 in sizes:
        rest = math.prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = math.prod(shape) // rest if rest else 0
    if math.prod(sizes) != math.prod(shape):
        raise Refused(f"{shape} does not become {tuple(wanted)}")
    return tuple(sizes)


@reads("Flatten")
def _flatten(s: Step) -> Held:
    axis = s.get("axis", 1)
    if not -s.x.rank <= axis <= s.x.rank:
        raise Refused(f"there is no axis {axis}")
    at = axis + s.x.rank if axis < 0 else axis
    return s.reshape(s.x, [(math.prod(shape[:at]), math.prod(shape[at:])) for shape in s.x.shapes])


@reads("Squeeze")
def _squeeze(s: Step) -> Held:
    axes = s.axes(1, s.x.rank)
    if axes is None:
        axes = common([[axis for axis, size in enumerate(shape) if size == 1] for shape in s.x.shapes])
        if len(set(s.x.shapes)) > 1:
            raise Varies  # an open size may be one
    if any(shape[axis] != 1 for shape in s.x.shapes for axis in axes):
        raise Refused("it takes away an axis of more than one")
    return s.reshape(s.x, [tuple(n for axis, n in enumerate(shape) if axis not in axes) for shape in s.x.shapes])


@reads("Unsqueeze")
def _unsqueeze(s: Step) -> Held:
    given = s.value(1).ravel().tolist() if s.maybe(1) is not None else s.ints("axes")
    rank = s.x.rank + len(given)
    axes = {s.axis(int(axis), rank) for axis in given}
    targets: list[tuple[int, ...]] = []
    for shape in s.x.shapes:
        rest = iter(shape)
        targets.append(tuple(1 if axis in axes else next(rest) for axis in range(rank)))
    if len(axes) == 1 and not s.x.fixed and s.x.rank:
        return s.call("expand_dims", s.x, axis=next(iter(axes)))
    return s.reshape(s.x, targets)


@reads("Transpose")
def _transpose(s: Step) -> Held:
    order = s.ints("perm", list(reversed(range(s.x.rank))))
    if sorted(order) != list(range(s.x.rank)):
        raise Refused(f"{order} is no order of {s.x.rank} axes")
    return s.x if order == sorted(order) else s.call("transpose", s.x, axes=tuple(order))


@reads("DepthToSpace", "SpaceToDepth")
def _blocks(s: Step) -> Held:
    size = s.get("blocksize", 0)
    if size < 1 or s.x.rank != 4:
        raise Refused(f"blocks of {size} do not fit an array of {s.x.rank} axes")
    if s.kind == "SpaceToDepth":
        if s.get("mode", "DCR") == "DCR":
            return s.call("space_to_depth", s.x, block_size=size)
        parts = [(n, c, h // size, size, w // size, size) for n, c, h, w in s.x.shapes]
        turned = s.call("transpose", s.reshape(s.x, parts), axes=(0, 1, 3, 5, 2, 4))
        return s.reshape(turned, [(n, c * size**2, h // size, w // size) for n, c, h, w in s.x.shapes])
    if s.get("mode", "DCR") == "DCR":
        return s.call("depth_to_space", s.x, block_size=size)
    parts = [(n, c // size**2, size, size, h, w) for n, c, h, w in s.x.shapes]
    turned = s.call("transpose", s.reshape(s.x, parts), axes=(0, 1, 4, 2, 5, 3))
    return s.reshape(turned, [(n, c // size**2, h * size, w * size) for n, c, h, w in s.x.shapes])


# -- joining and cutting -----------------------------------------------------------------------------------------------
@reads("Concat")
def _concat(s: Step) -> Held:
    axis = s.axis(s.get("axis", 1 if s.version < 4 else 0), s.x.rank)
    return s.x if len(s.all) == 1 else s.call("Concat", *s.all, dim=axis)


@reads("Split")
def _split(s: Step) -> Sequence[Held]:
    axis = s.axis(s.get("axis", 0), s.x.rank)
    if s.maybe(1) is not None:
        sizes = [int(n) for n in s.value(1)]
    elif "split" in s.attrs:
        sizes = s.ints("split")
    else:
        count = s.get("num_outputs", len(s.outputs))
        total = s.x.size(axis)
        if not 0 < count <= max(total, 1):
            raise Refused(f"{total} rows are not split into {count} parts")
        part = -(-total // count)
        sizes = [part] * (count - 1) + [total - part * (count - 1)]
    if any(n < 0 for n in sizes) or sum(sizes) != s.x.size(axis):
        raise Refused(f"parts {sizes} do not add up to {s.x.size(axis)}")
    edges = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    return [s.call("slice_axis", s.x, axis=axis, begin=begin, end=end) for begin, end in pairwise(edges)]


@reads("Slice")
def _slice(s: Step) -> Held:
    rank = s.x.rank
    if s.version < 10:
        starts, ends = s.ints("starts"), s.ints("ends")
        axes, steps = s.ints("axes", list(range(len(starts)))), [1] * len(starts)
        rows = [(starts, ends)] * s.builder.worlds
    else:
        rows = [([int(n) for n in a], [int(n) for n in b]) for a, b in zip(s.known(1), s.known(2))]
        axes = [int(n) for n in s.value(3)] if s.maybe(3) is not None else list(range(len(rows[0][0])))
        steps = [int(n) for n in s.value(4)] if s.maybe(4) is not None else [1] * len(axes)
    cuts: list[dict[int, tuple[int | None, int | None, int]]] = []
    for (starts, ends), shape in zip(rows, s.x.shapes):
        if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
            raise Refused("starts, ends, axes and steps do not fit together")
        _not_by_chance(s, axes, ends)
        cuts.append({s.axis(axis, rank): _cut(begin, end, step, shape[s.axis(axis, rank)])
                     for axis, begin, end, step in zip(axes, starts, ends, steps)})
    chosen = common(cuts)
    table = [chosen.get(axis, (None, None, 1)) for axis in range(rank)]
    if all(cut == (None, None, 1) for cut in table):
        return s.x
    begins, stops, strides = zip(*table)
    return s.call("slice", s.x, begin=begins, end=stops, step=strides)


def _not_by_chance(s: Step, axes: Sequence[int], ends: Sequence[int]) -> None:
    """An end that no world reaches may cut larger ones: then the graph is read for each call's sizes."""
    for axis, end in zip(axes, ends):
        sizes = [shape[s.axis(axis, s.x.rank)] for shape in s.x.shapes]
        if len(set(sizes)) > 1 and max(sizes) < end < 2**31 - 1:
            raise Varies


def _cut(begin: int, end: int, step: int, size: int) -> tuple[int | None, int | None, int]:
    """Begin and end as our slice has them: None for an open one, counted from the end where they were."""
    low, high, _ = slice(begin, end if step > 0 or end >= -size else None, step).indices(size)
    if step > 0:
        if high <= low:
            return 0, 0, step
        last = None if high == size and end >= size else end
        return None if low == 0 else begin, last, step
    if low <= high:
        return 0, 0, 1
    return None if begin >= size - 1 else begin, None if high < 0 else end, step


# -- repeating and padding ---------------------------------------------------------------------------------------------
@reads("Expand")
def _expand(s: Step) -> Held:
    targets = [tuple(int(n) for n in np.broadcast_shapes(shape, tuple(int(n) for n in row)))
               for shape, row in zip(s.x.shapes, s.known(1))]
    return s.expand(s.x, targets)


@reads("Tile")
def _tile(s: Step) -> Held:
    reps = [int(n) for n in s.value(1)]
    if len(reps) != s.x.rank or any(n < 0 for n in reps):
        raise Refused(f"{reps} does not say how often each of {s.x.rank} axes is repeated")
    return s.call("tile", s.x, reps=tuple(reps)) if reps else s.x


@reads("Pad")
def _pad(s: Step) -> Held:
    rank, mode, fill = s.x.rank, s.get("mode", "constant"), 0.0
    if s.version < 11:
        pads, fill = s.ints("pads"), s.get("value", 0.0)
    else:
        pads = [int(n) for n in s.value(1)]
        fill = float(s.number(2)) if s.maybe(2) is not None else 0.0
    axes = s.axes(3, rank, list(range(rank))) or list(range(rank))
    if len(pads) != 2 * len(axes):
        raise Refused(f"{len(pads)} pads do not fit {len(axes)} axes")
    width = [(0, 0)] * rank
    for at, axis in enumerate(axes):
        width[axis] = (pads[at], pads[at + len(axes)])
    return padded(s, s.x, width, mode, fill)


def padded(s: Step, x: Held, width: Sequence[tuple[int, int]], mode: str = "constant", fill: float = 0.0) -> Held:
    """Pad (before, after) of each axis; negative pads cut."""
    if any(n < 0 for pair in width for n in pair):
        cut = [(max(-a, 0) or None, -max(-b, 0) or None) for a, b in width]
        x = s.call("slice", x, begin=tuple(a for a, _ in cut), end=tuple(b for _, b in cut))
        width = [(max(a, 0), max(b, 0)) for a, b in width]
    if not any(n for pair in width for n in pair):
        return x
    if mode == "wrap":
        for axis, (before, after) in enumerate(width):
            if before or after:
                size = x.size(axis)
                s.affordable(before + size + after)
                rows = np.arange(-before, size + after) % size
                x = s.call("take", x, s.const(rows, "int64"), axis=axis)
        return x
    if mode not in ("constant", "edge", "reflect"):
        raise Refused(f"it pads in the mode {mode}")
    flat = tuple(n for pair in width for n in pair)
    return s.call("Pad", x, mode=mode, pad_width=flat, constant_value=fill)


# -- arrays made of sizes ----------------------------------------------------------------------------------------------
@reads("ConstantOfShape")
def _constant_of_shape(s: Step) -> Held:
    found = array_attribute(s, "value")
    value, dtype = (np.zeros((), np.float32), "float32") if found is None else (found.data.reshape(()), found.dtype)
    shapes = [tuple(int(n) for n in np.ravel(row)) for row in s.known(0)]
    if any(n < 0 for shape in shapes for n in shape):
        raise Refused(f"no array has the shape {shapes[0]}")
    return s.expand(s.builder.known(value, dtype), shapes)


@reads("Range")
def _range(s: Step) -> Held:
    rows: list[np.ndarray] = []
    for three in zip(s.known(0), s.known(1), s.known(2)):
        if any(row.size != 1 for row in three):
            raise Refused("start, end and step must be numbers")
        start, stop, step = (row.ravel()[0] for row in three)
        if not step or (float(stop) - float(start)) / float(step) > _SMALL:
            raise Refused(f"a range from {start} to {stop} by {step} is not possible")
        count = max(math.ceil((float(stop) - float(start)) / float(step)), 0)
        s.affordable(count)
        rows.append((start + np.arange(count) * step).astype(as_numpy(s.x.dtype)))
    return s.builder.known(rows, s.x.dtype)


@reads("EyeLike")
def _eye(s: Step) -> Held:
    rows, columns = s.x.shape
    dtype = element_name(s.attrs["dtype"], s.name) if "dtype" in s.attrs else s.x.dtype
    return s.call("_eye", N=rows, M=columns, k=s.get("k", 0), dtype=dtype)


@reads("Trilu")
def _trilu(s: Step) -> Held:
    upper, k = bool(s.get("upper", 1)), int(s.number(1)) if s.maybe(1) is not None else 0
    masks: list[Any] = []
    for shape in s.x.shapes:
        s.affordable(math.prod(shape[-2:]))
        ones = np.ones(shape[-2:], np.bool_)
        masks.append(np.triu(ones, k) if upper else np.tril(ones, k - 0))
    mask = s.builder.known(masks)
    if s.x.fixed:
        return s.builder.known([np.where(m, row, np.zeros((), row.dtype)) for m, row in zip(masks, s.x.known or ())],
                               s.x.dtype)
    return s.call("where", s.expand(mask, s.x.shapes), s.x, s.call("zeros_like", s.x))


@reads("CenterCropPad")
def _center(s: Step) -> Held:
    wanted = [int(n) for n in s.value(1)]
    axes = [s.axis(axis, s.x.rank) for axis in s.ints("axes", list(range(s.x.rank)))]
    width = [(0, 0)] * s.x.rank
    for axis, size in zip(axes, wanted):
        extra = size - s.x.size(axis)
        before = extra // 2 if extra >= 0 else -((-extra) // 2)
        width[axis] = (before, extra - before)
    return padded(s, s.x, width)
