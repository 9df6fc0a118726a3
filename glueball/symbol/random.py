"""`sym.random`: random values in graphs; drawn anew at each run.

The one idea: the functions are those of `nd.random`, written once (ops/distributions.py), and composed here. The
generated operators (`sym.random_uniform`, …) stand in `sym` itself.

>>> from glueball import sym
>>> sym.random.uniform(shape=(2, 3)).infer_shape()[1]
[(2, 3)]
"""

from __future__ import annotations

from typing import Any

from ..ops.distributions import Distributions
from ..ops.opdef import OpDef
from .compose import compose
from .symbol import Symbol

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
    return compose(op, inputs, attrs, name)


_functions = Distributions(Symbol, _call)
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
