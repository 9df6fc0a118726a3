"""`nd.random`: random arrays.

The one idea: the functions are written once for arrays and symbols (ops/distributions.py) and run eagerly here.
Seeds: `mx.random.seed` (random.py). The generated operators (`nd.random_uniform`, `nd.sample_normal`, …) stand in
`nd` itself.

>>> from glueball import nd
>>> nd.random.uniform(shape=(2, 3)).shape
(2, 3)
"""

from __future__ import annotations

from typing import Any

from ..dispatch import Symbolic, invoke
from ..ops.distributions import Distributions
from ..ops.opdef import OpDef
from .ndarray import NDArray

__all__ = [
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
    "uniform_like",
    "normal_like",
    "exponential_like",
    "gamma_like",
    "poisson_like",
    "negative_binomial_like",
    "generalized_negative_binomial_like",
]


def _call(op: OpDef, inputs: tuple[Any, ...], attrs: dict[str, Any], out: Any) -> Any:
    name = attrs.pop("name", None)
    return invoke(op, inputs, attrs, out, name)


_functions = Distributions((NDArray, Symbolic), _call)  # symbols: a forward that is being traced
uniform = _functions.uniform
normal = _functions.normal
randn = _functions.randn
exponential = _functions.exponential
gamma = _functions.gamma
poisson = _functions.poisson
negative_binomial = _functions.negative_binomial
generalized_negative_binomial = _functions.generalized_negative_binomial
multinomial = _functions.multinomial
randint = _functions.randint
shuffle = _functions.shuffle
uniform_like = _functions.uniform_like
normal_like = _functions.normal_like
exponential_like = _functions.exponential_like
gamma_like = _functions.gamma_like
poisson_like = _functions.poisson_like
negative_binomial_like = _functions.negative_binomial_like
generalized_negative_binomial_like = _functions.generalized_negative_binomial_like
