"""Reading by index: take, Embedding, pick, one_hot, where, gather_nd.

The one idea: indices are cut down to whole numbers and brought into range first, as the operators do ("clip",
"wrap"), for ONNX leaves what is out of range to the runtime.
"""

from __future__ import annotations

import numpy as np

from ...base import dtype as dtypes
from ..call import Call, rule


@rule("take")
def _take(c: Call) -> str:
    axis = c.axis(c["axis"])
    return c.op("Gather", c.x, c.rows(1, c.size(axis), c["mode"]), axis=axis)


@rule("Embedding")
def _embedding(c: Call) -> str:
    return c.op("Gather", c.ins[1], c.rows(0, c["input_dim"]), axis=0)


@rule("pick", "batch_take")
def _pick(c: Call) -> str:
    axis = c.axis(-1 if c.name == "batch_take" else c["axis"])
    index = c.rows(1, c.size(axis), c.attrs.get("mode", "clip"))
    kept = [1 if a == axis else size for a, size in enumerate(c.shape())]
    found = c.op("GatherElements", c.x, c.reshape(index, kept), axis=axis)
    return c.reshape(found, c.out_shape())


@rule("one_hot")
def _one_hot(c: Call) -> str:
    kind = c.out_dtype()
    numbers = c.op("Unsqueeze", c.cast(c.x, "int64", c.dtype()), c.ints(c.rank()))
    steps = c.writer.constant(np.arange(c["depth"]))
    on, off = (c.const(dtypes.as_numpy(kind)(c[key]), kind) for key in ("on_value", "off_value"))
    return c.op("Where", c.op("Equal", numbers, steps), on, off)


@rule("where")
def _where(c: Call) -> str:
    chosen = c.truth(c.x, 0)
    if c.rank(0) == 1 and c.rank(1) > 1:
        chosen = c.op("Unsqueeze", chosen, c.ints(*range(1, c.rank(1))))
    return c.op("Where", chosen, *c.ins[1:])


def _places(c: Call, index: int) -> str:
    """Indices (M, ...) as ONNX has them, (..., M)."""
    return c.transpose(c.cast(c.ins[index], "int64", c.dtype(index)), [*range(1, c.rank(index)), 0])


@rule("gather_nd")
def _gather_nd(c: Call) -> str:
    return c.op("GatherND", c.x, _places(c, 1))


@rule("_contrib_boolean_mask")
def _mask(c: Call) -> str:
    return c.op("Compress", c.x, c.truth(c.ins[1], 1), axis=c.axis(c["axis"]))


@rule("scatter_nd", "_scatter_nd_add")
def _scatter_nd(c: Call) -> str:
    joined = "add" if c.name == "_scatter_nd_add" else None
    return c.op("ScatterND", c.filled(0), _places(c, 1), c.x, reduction=joined)


@rule("_scatter_set_nd")
def _scatter_set(c: Call) -> str:
    return c.op("ScatterND", c.x, _places(c, 2), c.ins[1])
