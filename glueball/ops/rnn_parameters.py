"""The packed parameters of RNN: one vector for all weights and biases, its pieces, and what joins and cuts it.

The one idea: `parameter_shapes` is the only place that knows the order of the pieces. The operator that uses them is in
rnn.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch

from ..base.errors import ShapeError, explain
from .attributes import Shape
from .opdef import REQUIRED, Grad, OpDef, Tensor, TensorType, Value, operator
from .rules.check import A, S, check
from .rules.infer import InferRule

GATES = {"rnn_relu": 1, "rnn_tanh": 1, "lstm": 4, "gru": 3}
Attrs = Mapping[str, Any]


def direction_count(attrs: Attrs) -> int:
    return 2 if attrs["bidirectional"] else 1


def state_width(attrs: Attrs) -> int:
    """Size of the hidden state that goes to the next step: the projection's where there is one."""
    return attrs["projection_size"] or attrs["state_size"]


def parameter_shapes(attrs: Attrs, input_size: int) -> list[tuple[int, ...]]:
    """Return the shapes of the pieces in the order of the packed vector: all weights, layer by layer, direction by
    direction, then all biases.

    Per direction: i2h weight (gates·H, inputs), h2h weight (gates·H, width), projection (width, H) if any; then i2h
    and h2h bias (gates·H,).
    """
    gates, hidden, width, directions = (
        GATES[attrs["mode"]] * attrs["state_size"],
        attrs["state_size"],
        state_width(attrs),
        direction_count(attrs),
    )
    weights: list[tuple[int, ...]] = []
    biases: list[tuple[int, ...]] = []
    for layer in range(attrs["num_layers"]):
        size = input_size if layer == 0 else width * directions
        for _ in range(directions):
            weights += [(gates, size), (gates, width)]
            if attrs["projection_size"]:
                weights.append((width, hidden))
            biases += [(gates,), (gates,)]
    return weights + biases


def parameter_count(attrs: Attrs, input_size: int) -> int:
    """Return the length of the packed parameter vector."""
    return sum(int(np.prod(shape)) for shape in parameter_shapes(attrs, input_size))


def cut(parameters: Tensor, input_size: int, attrs: Attrs) -> list[list[Tensor]]:
    """Cut the packed vector into views, per layer in torch's order: for each direction w_ih, w_hh, b_ih, b_hh (,
    w_hr)."""
    shapes = parameter_shapes(attrs, input_size)
    sizes = [int(np.prod(shape)) for shape in shapes]
    if parameters.dim() != 1 or parameters.numel() != sum(sizes):
        raise ShapeError(
            explain(
                "RNN",
                "The packed parameter vector has the wrong length.",
                expected=(sum(sizes),),
                received=f"{tuple(parameters.shape)} for {input_size} input features",
            )
        )
    pieces = [part.view(shape) for part, shape in zip(torch.split(parameters, sizes), shapes)]
    per = 3 if attrs["projection_size"] else 2
    count = attrs["num_layers"] * direction_count(attrs)
    weights, biases = pieces[: per * count], pieces[per * count :]
    units = [
        [*weights[per * i : per * i + 2], *biases[2 * i : 2 * i + 2], *weights[per * i + 2 : per * i + per]]
        for i in range(count)
    ]
    step = direction_count(attrs)
    return [
        [piece for unit in units[layer * step : (layer + 1) * step] for piece in unit]
        for layer in range(attrs["num_layers"])
    ]


@final
class _ConcatenatedParameters(InferRule):
    """The lengths add up, and one unknown length follows from the others."""

    def forward(self, op: OpDef, attrs: Attrs, ins: Sequence[TensorType], training: bool) -> list[TensorType]:
        return [TensorType((sum(t.shape[0] for t in ins if t.shape), *ins[0].shape[1:]), ins[0].dtype)]  # type: ignore[misc, index]  # complete

    def partial(
        self, op: OpDef, attrs: Attrs, ins: Sequence[TensorType], outs: Sequence[TensorType]
    ) -> tuple[list[TensorType], list[TensorType]]:
        total = outs[0].shape
        open_ones = [i for i, t in enumerate(ins) if not t.shape or t.shape[0] is None]
        ins = list(ins)
        if total and total[0] is not None and len(open_ones) == 1:
            rest = total[0] - sum(t.shape[0] for i, t in enumerate(ins) if i != open_ones[0] and t.shape)  # type: ignore[misc]  # known: not open
            ins[open_ones[0]] = TensorType((rest,), ins[open_ones[0]].dtype)
        return ins, list(outs)


@operator(
    infer=_ConcatenatedParameters(),
    variadic_count="num_args",
    check=check(S(A(3), A(4), A(1), dim=0), S(A(3), dim=0), ref=lambda *x, dim, num_args=0: np.concatenate(x, dim)),
)
def _rnn_param_concat(*data: Tensor, num_args: int = 0, dim: int = 1) -> Tensor:
    """Join flat weights and biases to the packed parameter vector of RNN."""
    return torch.cat(data, dim)


@_rnn_param_concat.grad
def _(c: Grad) -> Value:
    sizes = tuple(t.shape[0] for t in c.in_types)  # type: ignore[index]  # complete by the time a gradient is built
    found = _rnn_param_split(c.g, sizes=sizes)
    return tuple(found) if len(sizes) > 1 else (found,)


@operator(
    view="copy",
    outputs=lambda attrs: len(attrs["sizes"]),
    check=check(
        S(A(8), sizes=(3, 4, 1)), S(A(3), sizes=(3,)), ref=lambda x, sizes: tuple(np.split(x, np.cumsum(sizes)[:-1]))
    ),
)
def _rnn_param_split(data: Tensor, sizes: Shape = REQUIRED) -> Any:
    """Cut a packed vector into parts of the given lengths: the gradient of `_rnn_param_concat`."""
    return tuple(torch.split(data, list(sizes)))


@_rnn_param_split.grad
def _(c: Grad) -> Value:
    parts = [_zeros_part(c, i) if g is None else g for i, g in enumerate(c.grads)]
    return _rnn_param_concat(*parts, dim=0)


def _zeros_part(c: Grad, index: int) -> Value:
    """Zeros for a part whose gradient nobody asked for."""
    return c.outs[index] * 0
