"""`mx.random`: the seed of all random numbers, and the functions of `nd.random` under their short names.

The one idea: every kernel draws from torch's default generator of its device, so one seed fixes dropout,
initialisers, shuffling and `nd.random` alike. Python's `random` and `numpy.random` (samplers of gluon.data, image
augmenters) have seeds of their own.
"""

from __future__ import annotations

from typing import Any

import torch

from .base.context import as_context
from .base.errors import ArgumentError, explain
from .ndarray.random import (
    exponential,
    gamma,
    generalized_negative_binomial,
    multinomial,
    negative_binomial,
    normal,
    poisson,
    randint,
    randn,
    shuffle,
    uniform,
)

__all__ = [
    "seed",
    "uniform",
    "normal",
    "randn",
    "exponential",
    "gamma",
    "poisson",
    "negative_binomial",
    "generalized_negative_binomial",
    "multinomial",
    "randint",
    "shuffle",
]


def seed(seed_state: int, ctx: Any = "all") -> None:
    """Start the random numbers of one device, or of all, anew: the same seed gives the same numbers.

    >>> seed(7); first = uniform(shape=3).asnumpy()
    >>> seed(7); bool((uniform(shape=3).asnumpy() == first).all())
    True

    Raises
    ------
    ArgumentError : `seed_state` is not an integer.
    """
    if isinstance(seed_state, bool) or not hasattr(seed_state, "__index__"):
        raise ArgumentError(
            explain("random.seed", "The seed must be an integer.", expected="an int", received=repr(seed_state))
        )
    number = seed_state.__index__()
    if isinstance(ctx, str) and ctx == "all":
        torch.manual_seed(number)
        return
    device = as_context(ctx).check()
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(number)
    else:
        torch.default_generator.manual_seed(number)
