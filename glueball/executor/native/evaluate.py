"""Evaluates expressions with torch, one ATen call per node.

The one idea: the same expressions, slowly but everywhere: this is what runs without llvmlite, on a GPU, and on torch's
tape, whose gradients are then those of derivative.py, at ties, too; and it is what compiled code is tested against.

Not here: compiled code (compile.py, run.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .expression import Expr, index_of, number_of, topological

__all__ = ["evaluate"]

_FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    # torch's own would halve the gradient of ties
    "maximum": lambda a, b: torch.where((a >= b) | (a != a), a, b),
    "minimum": lambda a, b: torch.where((a <= b) | (a != a), a, b),
    "neg": torch.neg,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "abs": torch.abs,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softsign": torch.nn.functional.softsign,
    "softrelu": lambda x: torch.nn.functional.softplus(x, 1.0, 30.0),
    "erf": torch.erf,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "trunc": torch.trunc,
}
_COMPARISONS: Mapping[Any, Callable[..., Tensor]] = {
    "lt": torch.lt, "le": torch.le, "eq": torch.eq, "ne": torch.ne,
}  # fmt: skip


def _constant(number: float, like: Tensor) -> Tensor:
    """Return a number as an array without axes; what is too large for the type is infinite, as in arithmetic."""
    if math.isfinite(number) and abs(number) > torch.finfo(like.dtype).max:
        number = math.copysign(math.inf, number)
    return torch.full((), number, dtype=like.dtype, device=like.device)


def evaluate(outputs: Sequence[Expr], tensors: Sequence[Tensor | None]) -> list[Tensor]:
    """Return the values of expressions; arrays of unequal shapes are broadcast as torch does.

    >>> from .expression import input, relu
    >>> evaluate([relu(input(0)) + 1.0], [torch.tensor([-1.0, 2.0])])
    [tensor([1., 3.])]
    """
    like = next(tensor for tensor in tensors if tensor is not None)
    values: dict[Expr, Any] = {}
    for node in topological(outputs):
        index, number = index_of(node), number_of(node)
        if index is not None:
            values[node] = tensors[index]
        elif number is not None:
            values[node] = _constant(number, like)
        elif node.op == "select":
            left, right, yes, no = (values[argument] for argument in node.args)
            values[node] = torch.where(_COMPARISONS[node.value](left, right), yes, no)
        else:
            values[node] = _FUNCTIONS[node.op](*(values[argument] for argument in node.args))
    return [values[output] for output in outputs]
