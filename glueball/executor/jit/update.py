"""An optimiser's rule as expressions of one element: the rule itself is run on proxies that write down what it does.

The one idea: a rule is a few lines of arithmetic on a weight, a gradient and states (optimizer/), so running it once on
proxies gives expressions for the new weight and states. Every number that the rule uses (learning rate, decay, the
correction for the number of steps) becomes an input of the expressions, in the order of use; at every further step the
rule is run on proxies that only collect its numbers. A rule that asks for anything else (noise, norms, the shape) is
refused with `NotCompiled`, and the trainer updates with it as always.

Not here: when an update happens (executor/step.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, final

import torch

from ...ops.opdef import InputSpec, OpDef, unsupported
from ...symbol.graph import Node, Value
from ..native import expression as e
from ..native.evaluate import evaluate
from ..native.expression import Expr
from .build import Builder
from .rewrite import substitute
from .units import Computed, Kernel, Stored

__all__ = ["NotCompiled", "Traced", "trace_rule", "UPDATE", "lower_update"]

Tensor = torch.Tensor
Rule = Callable[..., None]  # (weight, gradient, states)


class NotCompiled(Exception):
    """A step cannot be compiled; the text says why."""


@final
class _Log:
    """What a rule did: the numbers it used, and the names of its operations."""

    __slots__ = ("numbers", "names", "first")

    def __init__(self, first: int | None) -> None:
        self.numbers: list[float] = []
        self.names: list[str] = []
        self.first = first  # the index of the first number among the inputs; None: no expressions are made

    def number(self, value: Any) -> Expr:
        """Return an argument as an expression; a number as an input."""
        if isinstance(value, Proxy):
            return value.expression
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise NotCompiled(f"the optimiser's rule computes with a {type(value).__name__}")
        self.numbers.append(float(value))
        return _NOTHING if self.first is None else e.input(self.first + len(self.numbers) - 1)


_NOTHING = e.constant(0.0)


@final
class Proxy:
    """Stands for a tensor in a rule; methods ending in _ change it, as a tensor's do."""

    __slots__ = ("expression", "log")

    def __init__(self, expression: Expr, log: _Log) -> None:
        self.expression, self.log = expression, log

    def __getattr__(self, name: str) -> Callable[..., Proxy]:
        function = _METHODS.get(name.removesuffix("_"))
        if function is None or name.startswith("_"):
            raise NotCompiled(f"the optimiser's rule uses {name}()")
        return lambda *arguments, **options: self._call(name, function, arguments, options)

    def _call(self, name: str, function: Callable[..., Expr], arguments: Any, options: dict[str, Any]) -> Proxy:
        log = self.log
        log.names.append(name)
        values = [log.number(value) for value in arguments]
        # a factor of 1, the default, is no number of the rule
        factors = {key: log.number(value) for key, value in options.items() if key != "alpha" or value != 1.0}
        if log.first is None:
            return self
        result = function(self.expression, *values, **factors)
        if name.endswith("_"):
            self.expression = result
            return self
        return Proxy(result, log)

    def __add__(self, other: Any) -> Proxy:
        return self.add(other)

    def __sub__(self, other: Any) -> Proxy:
        return self.sub(other)

    def __mul__(self, other: Any) -> Proxy:
        return self.mul(other)

    def __truediv__(self, other: Any) -> Proxy:
        return self.div(other)

    def __neg__(self) -> Proxy:
        return self.neg()

    def __rsub__(self, other: Any) -> Proxy:
        return self.neg().add(other)

    def __rtruediv__(self, other: Any) -> Proxy:
        return self.reciprocal().mul(other)

    def __bool__(self) -> bool:
        raise NotCompiled("the optimiser's rule depends on values")

    __radd__, __rmul__ = __add__, __mul__


def _scaled(y: Expr, factor: Expr | None) -> Expr:
    return y if factor is None else y * factor


_METHODS: dict[str, Callable[..., Expr]] = {
    "add": lambda x, y, alpha=None: x + _scaled(y, alpha),
    "sub": lambda x, y, alpha=None: x - _scaled(y, alpha),
    "addcmul": lambda x, a, b, value=None: x + _scaled(a, value) * b,
    "addcdiv": lambda x, a, b, value=None: x + _scaled(a / b, value),
    "clamp": lambda x, low, high: e.minimum(e.maximum(x, low), high),
    "mul": e.mul, "div": e.div, "neg": e.neg, "sqrt": e.sqrt, "rsqrt": e.rsqrt, "square": e.square, "sign": e.sign,
    "abs": e.abs, "reciprocal": e.reciprocal, "maximum": e.maximum, "minimum": e.minimum, "exp": e.exp,
    "copy": lambda x, y: y, "clone": lambda x: x, "clamp_min": e.maximum, "clamp_max": e.minimum,
}  # fmt: skip


@final
class Traced:
    """A rule as expressions. Inputs: weight, gradient, states, then the numbers.

    results : the new weight and states (None: unchanged); names: the operations, in order
    """

    def __init__(self, results: Sequence[Expr | None], numbers: Sequence[float], names: Sequence[str]) -> None:
        self.results, self.numbers, self.names = tuple(results), list(numbers), tuple(names)

    def numbers_now(self, rule: Rule, states: int) -> list[float] | None:
        """Run a rule for its numbers alone; None where it did not do the same as before."""
        log = _Log(None)
        proxies = [Proxy(_NOTHING, log) for _ in range(2 + states)]
        rule(proxies[0], proxies[1], tuple(proxies[2:]))
        return log.numbers if tuple(log.names) == self.names and len(log.numbers) == len(self.numbers) else None

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for rules that differ in their numbers alone."""
        return self.results, self.names, len(self.numbers)


def trace_rule(rule: Rule, states: int) -> Traced:
    """Run a rule on proxies.

    Raises
    ------
    NotCompiled : it needs more of a tensor
    """
    log = _Log(2 + states)
    proxies = [Proxy(e.input(index), log) for index in range(2 + states)]
    try:
        rule(proxies[0], proxies[1], tuple(proxies[2:]))
    except (TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise NotCompiled("the optimiser's rule needs arrays, not only arithmetic of their elements") from error
    changed = [None if p.expression is e.input(i) else p.expression for i, p in enumerate(proxies) if i != 1]
    return Traced(changed, log.numbers, log.names)


def _update(*tensors: Tensor, traced: Traced, first: int) -> Tensor:
    """Update in place what a rule changes: the same expressions through torch."""
    numbers = tensors[-1][first : first + len(traced.numbers)].to(tensors[0].dtype)
    targets = [tensors[0], *tensors[2:-1]]
    wanted = [(target, result) for target, result in zip(targets, traced.results) if result is not None]
    found = evaluate([result for _, result in wanted], [*tensors[:-1], *numbers.unbind()])
    for (target, _), value in zip(wanted, found):
        target.copy_(value)
    return tensors[0]


UPDATE = OpDef(name="_update", kernel=_update, inputs=(InputSpec("data", variadic=True),), attrs=(),
               doc="Update a weight and its states in place: (weight, gradient, states, numbers).",
               gradient=unsupported("it ends a training step"))  # fmt: skip
"""The operator of an update. attrs: traced, the rule; first, where its numbers begin in the array of numbers."""


def lower_update(b: Builder, node: Node) -> None:
    """Add the kernel of an update: it writes over its own inputs, after everything else has read them."""
    weight, gradient, *states, numbers = node.inputs
    traced, first = node.attrs["traced"], node.attrs["first"]
    size = prod(b.shape(weight))
    b.stored(gradient)
    kernel = Kernel(len(b.units), size)
    b.units.append(kernel)
    arguments = [b.read(kernel, b.stored(value), "full") for value in (weight, gradient, *states)]
    place = b.stored(numbers)
    for index in range(len(traced.numbers)):
        one = Stored(place.buffer, place.offset + first + index, 1, 1, 1, place.ready)
        arguments.append(b.read(kernel, one, "one"))
    mapping = dict(enumerate(arguments))
    for value, result in zip((weight, *states), traced.results):
        if result is not None:
            kernel.outputs.append((substitute(result, mapping), b.stored(value)))
    b.states[Value(node)] = Computed(kernel, substitute(e.input(0), mapping), "full")
