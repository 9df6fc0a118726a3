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

from .expression import POSITIONS, REDUCTIONS, Expr, index_of, number_of, topological
from .random_bits import evaluated

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


def _whole(tensors: Sequence[Tensor | None]) -> tuple[int, int]:
    """Return (N, H) of tensors that are (N, H), (H,), (N, 1) or one number."""
    shape = torch.broadcast_shapes(*[tensor.shape for tensor in tensors if tensor is not None])
    return (1,) * (2 - len(shape)) + tuple(shape)  # type: ignore[return-value]  # of two numbers now


def _position(name: str, shape: tuple[int, int], like: Tensor, dtype: torch.dtype) -> Tensor:
    rows, columns = shape
    if name == "column_index":
        return torch.arange(columns, dtype=dtype, device=like.device)
    if name == "row_index":
        return torch.arange(rows, dtype=dtype, device=like.device).view(rows, 1)
    return torch.full((), rows if name == "row_count" else columns, dtype=dtype, device=like.device)


def evaluate(
    outputs: Sequence[Expr],
    tensors: Sequence[Tensor | None],
    shape: tuple[int, int] | None = None,
    dtype: torch.dtype | None = None,
) -> list[Tensor]:
    """Return the values of expressions; arrays of unequal shapes are broadcast as torch does.

    Parameters
    ----------
    tensors : one per input
    shape : (N, H), for what depends on whole rows; None: what the tensors broadcast to
    dtype : what is computed in; None: the type of the tensors

    Returns
    -------
    arrays that broadcast to (N, H); what is one number per row may be (N, 1)

    >>> from .expression import input, relu, total
    >>> evaluate([relu(input(0)) + 1.0], [torch.tensor([-1.0, 2.0])])
    [tensor([1., 3.])]
    >>> evaluate([input(0) / total(input(0))], [torch.tensor([[1.0, 3.0]])])
    [tensor([[0.2500, 0.7500]])]
    """
    like = next(tensor for tensor in tensors if tensor is not None)
    kind = like.dtype if dtype is None else dtype
    given = [t if t is None or dtype is None else t.to(dtype) for t in tensors]
    values: dict[Expr, Any] = {}
    for node in topological(outputs):
        index, number = index_of(node), number_of(node)
        if index is not None:
            values[node] = given[index]
        elif number is not None:
            values[node] = _constant(number, like if dtype is None else like.new_empty((), dtype=dtype))
        elif node.op == "select":
            left, right, yes, no = (values[argument] for argument in node.args)
            values[node] = torch.where(_COMPARISONS[node.value](left, right), yes, no)
        elif node.op in _FUNCTIONS:
            values[node] = _FUNCTIONS[node.op](*(values[argument] for argument in node.args))
        else:
            shape = shape or _whole(tensors)
            values[node] = _of_rows(node, [values[argument] for argument in node.args], shape, like, kind, tensors)
    return [values[output] for output in outputs]


def _of_rows(
    node: Expr, args: Sequence[Tensor], shape: tuple[int, int], like: Tensor, dtype: torch.dtype,
    tensors: Sequence[Tensor | None],
) -> Tensor:  # fmt: skip
    """Return the value of a node that depends on where its element is, or on the whole row."""
    if node.op in POSITIONS:
        return _position(node.op, shape, like, dtype)
    if node.op == "uniform":
        seed = tensors[index_of(node.args[0]) or 0]
        assert seed is not None  # an input of the expression
        return evaluated(seed, int(node.value or 0), shape, dtype)
    assert node.op in REDUCTIONS
    whole = args[0].expand(shape)
    if node.op == "total":
        return whole.sum(1, keepdim=True)
    return whole.amax(1, keepdim=True) if shape[1] else whole.new_full((shape[0], 1), -math.inf)
