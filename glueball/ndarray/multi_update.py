"""nd.contrib: updates of several weights given as lists of arrays, and draws from Zipf's law.

The one idea: the lists are woven together, weight after weight, as the operators of ops/multi_update_ops.py take them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..dispatch import invoke
from ..ops.opdef import lookup
from . import random
from .creation import full
from .ndarray import NDArray

__all__ = ["multi_adamw_update", "multi_mp_adamw_update", "multi_lamb_update", "multi_mp_lamb_update", "rand_zipfian"]

Arrays = Sequence[NDArray]


def _woven(*lists: Arrays) -> list[NDArray]:
    """Return the first of each list, the second of each list, …"""
    return [array for group in zip(*lists) for array in group]


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(v.asscalar()) if isinstance(v, NDArray) else float(v) for v in values)


def multi_adamw_update(
    weights: Arrays,
    grads: Arrays,
    mean: Arrays,
    var: Arrays,
    rescale_grad: Any,
    lrs: Any,
    wds: Any,
    etas: Any,
    out: Any = None,
    name: str | None = None,
    size: int = 0,
    **kwargs: Any,
) -> Any:
    """Do `adamw_update` for several weights; nothing changes where `rescale_grad` is 0 or not finite."""
    attrs = {"lrs": _numbers(lrs), "wds": _numbers(wds), "etas": _numbers(etas), "num_weights": size or len(weights)}
    inputs = [*_woven(weights, grads, mean, var), _factor(rescale_grad, weights[0])]
    return invoke(lookup("_multi_adamw_update"), inputs, {**attrs, **kwargs}, out, name)


def multi_mp_adamw_update(
    weights: Arrays,
    grads: Arrays,
    mean: Arrays,
    var: Arrays,
    weights32: Arrays,
    rescale_grad: Any,
    lrs: Any,
    wds: Any,
    etas: Any,
    out: Any = None,
    name: str | None = None,
    size: int = 0,
    **kwargs: Any,
) -> Any:
    """Do `mp_adamw_update` for several weights; `weights32` are their float32 copies."""
    attrs = {"lrs": _numbers(lrs), "wds": _numbers(wds), "etas": _numbers(etas), "num_weights": size or len(weights)}
    inputs = [*_woven(weights, grads, mean, var, weights32), _factor(rescale_grad, weights32[0])]
    return invoke(lookup("_multi_mp_adamw_update"), inputs, {**attrs, **kwargs}, out, name)


def _factor(value: Any, like: NDArray) -> NDArray:
    """Return the factor of the gradients as an array on the weights' device."""
    return value if isinstance(value, NDArray) else full((1,), float(value), ctx=like.context)


def multi_lamb_update(
    weights: Arrays,
    grads: Arrays,
    mean: Arrays,
    var: Arrays,
    step_count: Any,
    lrs: Any,
    wds: Any,
    out: Any = None,
    num_tensors: int = 0,
    **kwargs: Any,
) -> Any:
    """Do LAMB's step for several weights; `step_count` counts each weight's updates from 1."""
    attrs = _lamb(weights, step_count, lrs, wds, num_tensors)
    return invoke(lookup("_multi_lamb_update"), _woven(weights, grads, mean, var), {**attrs, **kwargs}, out)


def multi_mp_lamb_update(
    weights: Arrays,
    grads: Arrays,
    mean: Arrays,
    var: Arrays,
    weights32: Arrays,
    step_count: Any,
    lrs: Any,
    wds: Any,
    out: Any = None,
    num_tensors: int = 0,
    **kwargs: Any,
) -> Any:
    """Do LAMB's step for several half-precision weights; `weights32` are their float32 copies."""
    attrs = _lamb(weights, step_count, lrs, wds, num_tensors)
    return invoke(
        lookup("_multi_mp_lamb_update"), _woven(weights, grads, mean, var, weights32), {**attrs, **kwargs}, out
    )


def _lamb(weights: Arrays, step_count: Any, lrs: Any, wds: Any, count: int) -> dict[str, Any]:
    steps = tuple(int(step) for step in _numbers(step_count))
    return {
        "learning_rates": _numbers(lrs),
        "wds": _numbers(wds),
        "step_count": steps,
        "num_tensors": count or len(weights),
    }


def rand_zipfian(
    true_classes: NDArray, num_sampled: int, range_max: int, ctx: Any = None
) -> tuple[NDArray, NDArray, NDArray]:
    """Draw classes by Zipf's law, P(k) = log((k + 2) / (k + 1)) / log(range_max + 1), for a sampled softmax.

    Returns
    -------
    samples : (num_sampled,) int64, classes below `range_max`, drawn with replacement
    expected_true, expected_samples : how often each true class, and each sample, is expected among the samples

    >>> from glueball import nd
    >>> samples, true, sampled = rand_zipfian(nd.array([3]), 4, 5)
    >>> samples.shape, true.shape, sampled.shape
    ((4,), (1,), (4,))
    """
    total = math.log(range_max + 1)
    drawn = random.uniform(0, total, shape=(num_sampled,), dtype="float64", ctx=ctx)
    samples = (drawn.exp() - 1).astype("int64") % range_max

    def expected(classes: NDArray) -> NDArray:
        number = classes.astype("float64")
        return ((number + 2) / (number + 1)).log() / total * num_sampled

    return samples, expected(true_classes.as_in_context(drawn.context)), expected(samples)
