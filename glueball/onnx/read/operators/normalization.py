"""Normalisation: by batch, instance, layer, group and length; Softmax and its kin.

The one idea: BatchNormalization with parameters is our BatchNorm, whose running statistics train on; the others are
our operators, or sums and products where ONNX normalises other axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..held import Held, Refused
from ..node import Step, reads


@reads("BatchNormalization")
def _batch(s: Step) -> Held | Sequence[Held]:
    x, *rest = s.all
    if len(rest) != 4 or any(held.rank != 1 for held in rest):
        raise Refused("scale, shift, mean and variance must be four vectors")
    gamma, beta, mean, variance = rest
    eps, momentum = s.get("epsilon", 1e-5), s.get("momentum", 0.9)
    if not s.get("spatial", 1):
        raise Refused("statistics of every place (spatial=0) are not read")
    if s.get("training_mode", 0) or (s.version < 14 and s.wants(1)):
        return _training(s, x, rest, eps, momentum)
    if mean.weight is not None and variance.weight is not None and x.dtype == mean.dtype:
        return s.call("BatchNorm", x, gamma, beta, mean, variance, eps=eps, momentum=momentum, fix_gamma=False)
    return _applied(s, x, gamma, beta, mean, variance, eps)


def _columns(s: Step, vector: Held, x: Held) -> Held:
    return s.cast(s.reshape(vector, (1, vector.size(0), *[1] * (x.rank - 2))), x.dtype)


def _applied(s: Step, x: Held, gamma: Held, beta: Held, mean: Held, variance: Held, eps: float) -> Held:
    wide = [_columns(s, vector, x) for vector in (gamma, beta, mean, variance)]
    spread = s.call("rsqrt", s.call("_plus_scalar", wide[3], scalar=eps))
    scaled = s.call("broadcast_mul", s.call("broadcast_sub", x, wide[2]), s.call("broadcast_mul", spread, wide[0]))
    return s.call("broadcast_add", scaled, wide[1])


def _training(s: Step, x: Held, rest: Sequence[Held], eps: float, momentum: float) -> Sequence[Held]:
    """Statistics of this batch, and the running ones after it."""
    if s.version < 14 and (s.wants(3) or s.wants(4)):
        raise Refused("saved statistics of old operator sets are not read")
    gamma, beta, mean, variance = rest
    axes = (0, *range(2, x.rank))
    own = s.call("mean", x, axis=axes)
    gap = s.call("square", s.call("broadcast_sub", x, _columns(s, own, x)))
    spread = s.call("mean", gap, axis=axes)
    moved = [s.call("broadcast_add", s.scaled(old, momentum), s.scaled(s.cast(new, old.dtype), 1 - momentum))
             for old, new in ((mean, own), (variance, spread))]
    return [_applied(s, x, gamma, beta, own, spread, eps), *moved]


@reads("InstanceNormalization")
def _instance(s: Step) -> Held:
    return s.call("InstanceNorm", s.x, s.input(1), s.input(2), eps=s.get("epsilon", 1e-5))


@reads("LayerNormalization", "RMSNormalization")
def _layer(s: Step) -> Held | Sequence[Held]:
    axis, eps, rank = s.axis(s.get("axis", -1), s.x.rank), s.get("epsilon", 1e-5), s.x.rank
    gamma, beta = s.input(1), s.maybe(2)
    layer = s.kind == "LayerNormalization"
    plain = layer and axis == rank - 1 and beta is not None and gamma.rank == beta.rank == 1 and len(s.outputs) == 1
    if plain and beta is not None and gamma.shape == beta.shape == (s.x.size(rank - 1),):
        return s.call("LayerNorm", s.x, gamma, beta, axis=-1, eps=eps)
    axes = tuple(range(axis, rank))
    x = s.x if s.x.dtype == "float64" else s.cast(s.x, "float32")
    mean = s.call("mean", x, axis=axes, keepdims=True)
    centred = s.call("broadcast_sub", x, mean) if layer else x
    variance = s.call("mean", s.call("square", centred), axis=axes, keepdims=True)
    spread = s.call("rsqrt", s.call("_plus_scalar", variance, scalar=eps))
    found = s.cast(s.call("broadcast_mul", centred, spread), s.x.dtype)
    found = s.call("broadcast_mul", found, gamma)
    found = found if beta is None else s.call("broadcast_add", found, beta)
    return [found, mean, spread] if layer else found


@reads("GroupNormalization")
def _group(s: Step) -> Held:
    groups, channels = s.get("num_groups", 1), s.x.size(1)
    gamma, beta = s.input(1), s.input(2)
    if groups < 1 or channels % groups:
        raise Refused(f"{channels} channels do not make {groups} groups")
    if s.version < 21:  # a scale and a shift for each group, and since then for each channel
        return s.call("GroupNorm", s.x, gamma, beta, num_groups=groups, eps=s.get("epsilon", 1e-5))
    one, zero = s.const([1.0] * groups), s.const([0.0] * groups)
    found = s.call("GroupNorm", s.x, one, zero, num_groups=groups, eps=s.get("epsilon", 1e-5))
    wide = (1, channels, *[1] * (s.x.rank - 2))
    return s.call("broadcast_add", s.call("broadcast_mul", found, s.reshape(gamma, wide)), s.reshape(beta, wide))


@reads("LRN")
def _lrn(s: Step) -> Held:
    return s.call("LRN", s.x, alpha=s.get("alpha", 1e-4), beta=s.get("beta", 0.75), knorm=s.get("bias", 1.0),
                  nsize=s.get("size", 0))


@reads("LpNormalization")
def _lp(s: Step) -> Held:
    axis, power = s.axis(s.get("axis", -1), s.x.rank), s.get("p", 2)
    total = s.call("norm", s.x, ord=power, axis=(axis,), keepdims=True)
    safe = s.call("where", s.call("_equal_scalar", total, scalar=0.0), s.call("ones_like", total), total)
    return s.call("broadcast_div", s.x, safe)


@reads("MeanVarianceNormalization")
def _mean_variance(s: Step) -> Held:
    axes = tuple(s.axis(axis, s.x.rank) for axis in s.ints("axes", [0, 2, 3]))
    centred = s.call("broadcast_sub", s.x, s.call("mean", s.x, axis=axes, keepdims=True))
    spread = s.call("sqrt", s.call("mean", s.call("square", centred), axis=axes, keepdims=True))
    return s.call("broadcast_div", centred, s.call("_plus_scalar", spread, scalar=1e-9))


@reads("Softmax", "LogSoftmax", "Hardmax")
def _softmax(s: Step) -> Held:
    old = s.version < 13  # the axes from `axis` on are one
    rank = s.x.rank
    axis = s.axis(s.get("axis", 1 if old else -1), rank)
    if old and axis != rank - 1:
        flat = [(math.prod(shape[:axis]), math.prod(shape[axis:])) for shape in s.x.shapes]
        return s.reshape(_over(s, s.reshape(s.x, flat), 1), s.x.shapes)
    return _over(s, s.x, axis)


def _over(s: Step, x: Held, axis: int) -> Held:
    if s.kind != "Hardmax":
        return s.call("softmax" if s.kind == "Softmax" else "log_softmax", x, axis=axis)
    first = s.call("argmax", x, axis=axis)
    if x.rank == 1:
        first = s.reshape(first, (1,))
    hot = s.call("one_hot", first, depth=x.size(axis), dtype=x.dtype)
    if x.rank == 1:
        return s.reshape(hot, x.shapes)
    order = list(range(x.rank - 1))
    order.insert(axis, x.rank - 1)
    return hot if axis == x.rank - 1 else s.call("transpose", hot, axes=tuple(order))
