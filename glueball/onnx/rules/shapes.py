"""Shapes: reshaping, permuting, joining, splitting, cutting, repeating, padding, broadcasting, and arrays made of
sizes.

The one idea: the result's sizes are known from inference (open ones as a function of the batch), so a rule writes the
sizes down and need not follow an operator's codes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..call import Call, Refused, Rule, rows, rule
from ..sizes import Affine


# -- reshaping and permuting -------------------------------------------------------------------------------------------
@rule("Reshape", "_reshape_to", "reshape_like", "expand_dims", "squeeze")
def _reshape(c: Call) -> str:
    return c.reshape(c.x, c.out_shape())


@rule("Flatten")
def _flatten(c: Call) -> str:
    return c.op("Flatten", c.x, axis=1)


@rule("transpose")
def _transpose(c: Call) -> str:
    axes = [c.axis(a) for a in c["axes"]] or list(reversed(range(c.rank())))
    return c.op("Transpose", c.x, perm=axes)


@rule("SwapAxis")
def _swap(c: Call) -> str:
    axes = list(range(c.rank()))
    one, two = c.axis(c["dim1"]), c.axis(c["dim2"])
    axes[one], axes[two] = axes[two], axes[one]
    return c.op("Transpose", c.x, perm=axes)


@rule("reverse")
def _reverse(c: Call) -> str:
    value = c.x
    for axis in c["axis"]:
        value = c.slice(value, c.axis(axis), -1, None, -1)
    return value


@rule("depth_to_space")
def _depth_to_space(c: Call) -> str:
    return c.op("DepthToSpace", c.x, blocksize=c["block_size"], mode="DCR")


@rule("space_to_depth")
def _space_to_depth(c: Call) -> str:
    return c.op("SpaceToDepth", c.x, blocksize=c["block_size"])


# -- joining and splitting ---------------------------------------------------------------------------------------------
@rule("Concat", "_rnn_param_concat")
def _concat(c: Call) -> str:
    return c.op("Concat", *c.ins, axis=c.axis(c["dim"]))


@rule("stack")
def _stack(c: Call) -> str:
    axis = c["axis"] % (c.rank() + 1)
    return c.op("Concat", *(c.op("Unsqueeze", value, c.ints(axis)) for value in c.ins), axis=axis)


def _cut(c: Call, sizes: Sequence[int], axis: int, squeezed: bool) -> Sequence[str]:
    if len(sizes) == 1:
        parts: Sequence[str] = (c.op("Identity", c.x),)
    else:
        parts = c.ops("Split", c.x, c.ints(*sizes), outputs=len(sizes), axis=axis)
    return [c.op("Squeeze", part, c.ints(axis)) for part in parts] if squeezed else parts


@rule("SliceChannel")
def _split(c: Call) -> Sequence[str]:
    axis, count = c.axis(c["axis"]), c["num_outputs"]
    if isinstance(c.shape()[axis], Affine):
        raise Refused("it splits the batch, whose size is open; export with dynamic_batch=False")
    return _cut(c, [c.size(axis) // count] * count, axis, c["squeeze_axis"])


@rule("_split_v2")
def _split_at(c: Call) -> Sequence[str]:
    axis, size = c.axis(c["axis"]), c.size(c.axis(c["axis"]))
    if c["sections"]:
        return _cut(c, [size // c["sections"]] * c["sections"], axis, c["squeeze_axis"])
    edges = [min(max(i + size if i < 0 else i, 0), size) for i in c["indices"]]
    edges = ([] if edges[:1] == [0] else [0]) + edges
    ends = [*edges[1:], size]
    return _cut(c, [max(0, end - begin) for begin, end in zip(edges, ends)], axis, c["squeeze_axis"])


# -- cutting -----------------------------------------------------------------------------------------------------------
@rule("slice")
def _slice(c: Call) -> str:
    edge = np.iinfo(np.int64)
    begins, ends, axes, steps = [], [], [], []
    step = tuple(c["step"] or ()) or (None,) * len(c["begin"])
    for axis, (b, e, s) in enumerate(zip(c["begin"], c["end"], step)):
        s = 1 if s is None else s
        if b is None and e is None and s == 1:
            continue
        begins.append((0 if s > 0 else edge.max) if b is None else b)
        ends.append((edge.max if s > 0 else edge.min) if e is None else e)
        axes.append(axis)
        steps.append(s)
    if not axes:
        return c.op("Identity", c.x)
    return c.op("Slice", c.x, c.ints(*begins), c.ints(*ends), c.ints(*axes), c.ints(*steps))


@rule("slice_axis")
def _slice_axis(c: Call) -> str:
    return c.slice(c.x, c.axis(c["axis"]), c["begin"], c["end"])


@rule("slice_like")
def _slice_like(c: Call) -> str:
    cut = [axis for axis, (a, b) in enumerate(zip(c.shape(), c.out_shape())) if a != b]
    if not cut:
        return c.op("Identity", c.x)
    ends = c.sizes([c.out_shape()[axis] for axis in cut])
    return c.op("Slice", c.x, c.ints(*[0] * len(cut)), ends, c.ints(*cut))


@rule("Crop")
def _crop(c: Call) -> str:
    height, width = (c.out_shape()[axis] for axis in (2, 3))
    tall, wide = c.size(2), c.size(3)
    if not isinstance(height, int) or not isinstance(width, int):
        raise Refused("its window depends on the batch size")
    top, left = ((tall - height) // 2, (wide - width) // 2) if c["center_crop"] else c["offset"]
    return c.op("Slice", c.x, c.ints(top, left), c.ints(top + height, left + width), c.ints(2, 3))


# -- repeating and padding ---------------------------------------------------------------------------------------------
@rule("tile")
def _tile(c: Call) -> str:
    reps = tuple(c["reps"])
    value, rank = c.x, c.rank()
    if len(reps) > rank:
        value = c.op("Unsqueeze", value, c.ints(*range(len(reps) - rank)))
    return c.op("Tile", value, c.ints(*(1,) * (rank - len(reps)), *reps))


@rule("repeat")
def _repeat(c: Call) -> str:
    times, axis = c["repeats"], c["axis"]
    if axis is None:
        value, at, rank = c.op("Reshape", c.x, c.ints(-1)), 0, 1
    else:
        value, at, rank = c.x, c.axis(axis), c.rank()
    spread = c.op("Tile", c.op("Unsqueeze", value, c.ints(at + 1)),
                  c.ints(*(times if a == at + 1 else 1 for a in range(rank + 1))))
    return c.reshape(spread, c.out_shape())


@rule("Pad")
def _pad(c: Call) -> str:
    width = c["pad_width"]
    pads = c.ints(*width[::2], *width[1::2])
    extra = (c.const(c["constant_value"]),) if c["mode"] == "constant" else ()
    return c.op("Pad", c.x, pads, *extra, mode=c["mode"])


# -- broadcasting ------------------------------------------------------------------------------------------------------
@rule("broadcast_to", "broadcast_axis", "broadcast_like", "_expand_to")
def _broadcast(c: Call) -> str:
    return c.op("Expand", c.x, c.sizes(c.out_shape()))


# -- arrays made of sizes ----------------------------------------------------------------------------------------------
def _made(function: Callable[[Call], np.ndarray]) -> Rule:
    return lambda c: c.op("Identity", c.const(function(c), c.out_dtype()))


def _counted(c: Call) -> np.ndarray:
    size = c.out_shape()[0]
    if not isinstance(size, int):
        raise Refused("its length depends on the batch size")
    start = c["start"] if c["stop"] is not None else 0
    return start + c["step"] * (np.arange(size) // c["repeat"])


rows({
    "_zeros": lambda c: c.filled(0),
    "_ones": lambda c: c.filled(1),
    "_full": lambda c: c.filled(c["value"]),
    "_arange": _made(_counted),
    "_linspace": _made(lambda c: np.linspace(c["start"], c["stop"], c["num"], endpoint=c["endpoint"])),
    "_eye": _made(lambda c: np.eye(c["N"], c["M"] or None, c["k"])),
    "shape_array": lambda c: c.cast(c.op("Shape", c.x), c.out_dtype(), "int64"),
    "size_array": lambda c: c.op("Reshape", c.op("Size", c.x), c.ints(1)),
})  # fmt: skip


@rule("_contrib_arange_like")
def _arange_like(c: Call) -> str:
    if c["axis"] is None:
        count = c.op("Size", c.x)
    else:
        count = c.op("Squeeze", c.sizes([c.shape()[c.axis(c["axis"])]]))
    numbers = c.op("Range", c.const(0, "int64"), count, c.const(1, "int64"))
    if c["repeat"] != 1:
        numbers = c.op("Div", numbers, c.const(c["repeat"], "int64"))
    exact = c.dtype() if c.dtype().startswith("float") else "float64"
    scaled = c.op("Add", c.op("Mul", c.cast(numbers, exact), c.const(c["step"], exact)), c.const(c["start"], exact))
    return c.reshape(c.cast(scaled, c.dtype(), exact), c.out_shape())
