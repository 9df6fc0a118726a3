"""Normalisation in predict mode: batch, layer, instance, group, L2, LRN.

The one idea: BatchNorm uses its running statistics, so it is ONNX's BatchNormalization; the others compute moments of
the data, in ONNX's own operator where axes and types fit and by ReduceMean elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..call import Call, Refused, on_reals, rule
from .reduction import reduced


@rule("BatchNorm", "_contrib_SyncBatchNorm")
def _batch_norm(c: Call) -> str | Sequence[str]:
    rank, axis = c.rank(), c.axis(c.attrs.get("axis", 1))
    data, gamma, beta, mean, variance = c.ins
    if c["fix_gamma"]:
        gamma = c.const(np.ones(c.size(0, 1)), c.dtype(1))
    others = [a for a in range(rank) if a != axis]
    order = [*others[:1], axis, *others[1:]]
    found = c.op("BatchNormalization", c.transpose(data, order), gamma, beta, mean, variance, epsilon=c["eps"])
    inverse = c.op("Reciprocal", c.op("Sqrt", c.op("Add", variance, c.const(c["eps"], c.dtype(4)))))
    return c.transpose(found, [order.index(a) for a in range(rank)]), mean, inverse


def _normalised(c: Call, value: str, axes: Sequence[int], eps: float) -> tuple[str, str, str]:
    """Return (value without mean and spread, mean, spread), over axes that are kept."""
    mean = reduced(c, "ReduceMean", value, axes, True)
    centred = c.op("Sub", value, mean)
    variance = reduced(c, "ReduceMean", c.op("Mul", centred, centred), axes, True)
    spread = c.op("Sqrt", c.op("Add", variance, c.const(eps)))
    return c.op("Div", centred, spread), mean, spread


def _affine(c: Call, value: str, shape: Sequence[int]) -> str:
    """value · gamma + beta, whose vectors lie along one axis of `shape`."""
    gamma, beta = (c.op("Reshape", name, c.ints(*shape)) for name in c.ins[1:3])
    return c.op("Add", c.op("Mul", value, gamma), beta)


@rule("LayerNorm")
def _layer_norm(c: Call) -> Sequence[str]:
    rank, axis = c.rank(), c.axis(c["axis"])
    if axis == rank - 1 and c.dtype() == "float32" and not c["output_mean_var"]:
        return (c.op("LayerNormalization", *c.ins, axis=-1, epsilon=c["eps"]),)
    found, mean, spread = _normalised(c, c.x, (axis,), c["eps"])
    return (_affine(c, found, [-1 if a == axis else 1 for a in range(rank)]),
            c.reshape(mean, c.out_shape(1)), c.reshape(spread, c.out_shape(2)))


@rule("InstanceNorm")
def _instance_norm(c: Call) -> str:
    if c.rank() < 3:  # every value is its own mean; onnxruntime wants at least three axes
        wide = c.op("Unsqueeze", c.x, c.ints(2))
        return c.op("Squeeze", c.op("InstanceNormalization", wide, *c.ins[1:], epsilon=c["eps"]), c.ints(2))
    return c.op("InstanceNormalization", *c.ins, epsilon=c["eps"])


@rule("GroupNorm")
def _group_norm(c: Call) -> Sequence[str]:
    groups = c["num_groups"]
    width = int(np.prod([c.size(axis) for axis in range(1, c.rank())])) // groups
    split = c.reshape(c.x, (c.shape()[0], groups, width))
    found, mean, spread = _normalised(c, split, (2,), c["eps"])
    rank, gains = c.rank(), c.size(0, 1)
    if gains == groups and groups != c.size(1):  # one gain per group
        whole = c.reshape(_affine(c, found, (1, groups, 1)), c.out_shape())
    else:
        whole = _affine(c, c.reshape(found, c.out_shape()), [1, -1, *[1] * (rank - 2)])
    return whole, c.op("Squeeze", mean, c.ints(2)), c.op("Squeeze", spread, c.ints(2))


@rule("L2Normalization")
@on_reals
def _l2(c: Call) -> str:
    axes = {"channel": (1,), "instance": tuple(range(1, c.rank())), "spatial": tuple(range(2, c.rank()))}.get(c["mode"])
    if axes is None:
        raise Refused(f"there is no mode {c['mode']!r}")
    total = reduced(c, "ReduceSum", c.op("Mul", c.x, c.x), axes, True)
    return c.op("Div", c.x, c.op("Sqrt", c.op("Add", total, c.const(c["eps"]))))


@rule("LRN")
def _lrn(c: Call) -> str:
    given = {"alpha": c["alpha"], "beta": c["beta"], "bias": c["knorm"], "size": c["nsize"]}
    if c.rank() == 4:
        return c.op("LRN", c.x, **given)
    flat = c.reshape(c.x, (*c.shape()[:2], 1, int(np.prod(c.spatial()))))  # onnxruntime takes images only
    return c.reshape(c.op("LRN", flat, **given), c.out_shape())
