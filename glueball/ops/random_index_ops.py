"""Random indices and orderings: multinomial draws and shuffling.

The one idea: what was drawn (an index, an order) is a result, so that the gradient can be written with it. The
continuous and counting distributions are in random_ops.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch

from ..base.errors import ArgumentError, explain
from .attributes import DType, Shape
from .opdef import Grad, OpDef, Tensor, TensorType, Value, from_kernel, operator
from .random_ops import RANDOM
from .rules.check import A, S, check
from .rules.infer import InferRule


def _multinomial_law(inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> bool:
    probabilities = inputs[0].reshape(-1, inputs[0].shape[-1])
    indices = np.asarray(outputs[0]).reshape(len(probabilities), -1).astype(int)
    if indices.shape[1] >= 1000:
        found = np.stack([np.bincount(row, minlength=probabilities.shape[1]) for row in indices]) / indices.shape[1]
        if np.abs(found - probabilities).max() > 0.08:
            return False
    if attrs.get("get_prob"):
        expected = np.log(np.take_along_axis(probabilities, indices, 1))
        return bool(np.allclose(expected.ravel(), np.asarray(outputs[1]).ravel(), rtol=1e-4, atol=1e-5))
    return bool(((indices >= 0) & (indices < probabilities.shape[1])).all())


@final
class _MultinomialTypes(InferRule):
    """Indices, and the logarithms of their probabilities: the rows' shape and the wanted one."""

    def forward(
        self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], training: bool
    ) -> list[TensorType]:
        shape = tuple(ins[0].shape or ())[:-1] + tuple(attrs["shape"] or ()) or (1,)
        return [TensorType(shape, attrs["dtype"]), TensorType(shape, ins[0].dtype)][: op.num_outputs(attrs)]


@operator(
    aliases=("sample_multinomial",),
    random=True,
    infer=_MultinomialTypes(),
    outputs=lambda attrs: 2 if attrs["get_prob"] else 1,
    check=check(
        S(np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]]), shape=(3000,), grad=False),
        S(np.array([0.3, 0.7]), grad=False),
        S(np.array([[0.3, 0.7]]), get_prob=True, shape=(2, 3), grad=False),
        S(np.array([0.3, 0.7]), dtype="float32", grad=False),
        ref=RANDOM,
        law=_multinomial_law,
        errors=[((np.float32(1.0),), {}, "at least one axis")],
    ),
)
def _sample_multinomial(
    data: Tensor, shape: Shape | None = None, get_prob: bool = False, dtype: DType = torch.int32
) -> Any:
    """Draw indices with the probabilities that stand along the last axis of `data`; each row sums to 1.

    The result has shape data.shape[:-1] + shape; (1,) for one row and no `shape`. With `get_prob` the logarithms of
    the probabilities of what was drawn come too, and gradients flow through them (the REINFORCE estimator).
    """
    if data.dim() < 1:
        raise ArgumentError(
            explain(
                "_sample_multinomial",
                "The data must have at least one axis of probabilities.",
                expected="(..., classes)",
                received=tuple(data.shape),
            )
        )
    wanted = tuple(shape or ())
    count = math.prod(wanted)
    result = tuple(data.shape[:-1]) + wanted or (1,)
    rows = data.reshape(-1, data.shape[-1])
    indices = torch.multinomial(rows.detach().float(), count, replacement=True)
    drawn_indices = indices.reshape(result).to(dtype)
    if not get_prob:
        return drawn_indices
    return drawn_indices, torch.log(torch.gather(rows, 1, indices)).reshape(result)


@_sample_multinomial.grad
def _(c: Grad) -> Value:
    if not c.attrs["get_prob"] or c.grads[1] is None:
        return None
    return _multinomial_backward(c.grads[1], c.outs[0], c.x)


def _np_multinomial_backward(grad: np.ndarray, indices: np.ndarray, data: np.ndarray) -> np.ndarray:
    rows = data.reshape(-1, data.shape[-1])
    chosen = indices.astype(int).reshape(len(rows), -1)
    result = np.zeros_like(rows)
    for row in range(len(rows)):
        np.add.at(result[row], chosen[row], grad.reshape(chosen.shape)[row] / rows[row, chosen[row]])
    return result.reshape(data.shape)


@operator(
    gradient=from_kernel,
    nondiff=("indices",),
    check=check(
        S(A(2, 4), A(2, 4, ints=3), A(2, 3, low=0.2, high=0.8)),
        S(A(4), A(4, ints=3), A(3, low=0.2, high=0.8)),
        ref=_np_multinomial_backward,
    ),
)
def _multinomial_backward(grad: Tensor, indices: Tensor, data: Tensor) -> Tensor:
    """Add grad / probability of each drawn index to its place in the shape of `data`."""
    rows = data.reshape(-1, data.shape[-1])
    chosen = indices.to(torch.int64).reshape(rows.shape[0], -1)
    share = grad.reshape(chosen.shape) / torch.gather(rows, 1, chosen)
    return torch.zeros_like(rows).scatter_add(1, chosen, share).reshape(data.shape)


def _shuffle_law(inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> bool:
    before, after = np.asarray(inputs[0]), np.asarray(outputs[0])

    def rows(x: np.ndarray) -> list[bytes]:
        return sorted(row.tobytes() for row in x)

    return before.shape == after.shape and rows(before) == rows(after)


@final
class _ShuffleTypes(InferRule):
    """The data's type, and one position per row."""

    def forward(
        self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], training: bool
    ) -> list[TensorType]:
        return [ins[0], TensorType((ins[0].shape or (None,))[:1], torch.int64)]


@operator(
    aliases=("shuffle", "_random_shuffle", "random_shuffle"),
    random=True,
    infer=_ShuffleTypes(),
    outputs=2,
    visible=1,
    output_names=("output", "order"),
    check=check(
        S(A(20, 3), grad=False),
        S(A(5), grad=False),
        S(A(0, 2), grad=False),
        S(A(1), grad=False),
        ref=RANDOM,
        law=_shuffle_law,
    ),
)
def _shuffle(data: Tensor) -> tuple[Tensor, Tensor]:
    """Put the rows (first axis) in random order, every order equally likely."""
    order = torch.randperm(data.shape[0], device=data.device)
    return data.index_select(0, order), order


@_shuffle.grad
def _(c: Grad) -> Value:
    return _unshuffle(c.g, c.outs[1])


@operator(
    gradient=from_kernel,
    nondiff=("order",),
    check=check(
        S(A(4, 2), np.array([2, 0, 3, 1])), S(A(3), np.array([0, 2, 1])), ref=lambda x, order: x[np.argsort(order)]
    ),
)
def _unshuffle(data: Tensor, order: Tensor) -> Tensor:
    """Put shuffled rows back: row i of `data` goes to row order[i]."""
    return data.index_select(0, torch.argsort(order))
