"""Evaluates expressions with torch, one ATen call per node.

The one idea: the same expressions, slowly but everywhere: this is what runs without llvmlite, on a GPU, and on torch's
tape for gradients of gradients; and it is what compiled code is tested against.

Not here: compiled code (compile.py, run.py).
"""

from __future__ import annotations

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
    "maximum": torch.maximum,
    "minimum": torch.minimum,
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
            # through float64, so that what is too large for the type becomes infinite, as in torch's arithmetic
            values[node] = torch.tensor(number, dtype=torch.float64).to(device=like.device, dtype=like.dtype)
        elif node.op == "select":
            left, right, yes, no = (values[argument] for argument in node.args)
            values[node] = torch.where(_COMPARISONS[node.value](left, right), yes, no)
        else:
            values[node] = _FUNCTIONS[node.op](*(values[argument] for argument in node.args))
    return [values[output] for output in outputs]
