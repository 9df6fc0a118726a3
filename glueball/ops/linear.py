"""FullyConnected: data · weightᵀ + bias, the layer Dense.

The one idea: one `addmm` forward, and for the gradient three small operators of one ATen call each, so that a
compiled backward pass computes only those that somebody needs. The product of any two matrices is in dot.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch

from ..base.errors import DTypeError, ShapeError, explain
from .attributes import Shape
from .opdef import REQUIRED, Grad, Tensor, Value, from_kernel, operator
from .rules.check import A, S, check
from .rules.layers import Probing, formula
from .rules.shapes import dense, dense_weight, target

_linear = torch.nn.functional.linear


def _np_fully_connected(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    num_hidden: int = 0,
    no_bias: bool = False,
    flatten: bool = True,
) -> np.ndarray:
    x = x.reshape(len(x), int(np.prod(x.shape[1:]))) if flatten else x
    return x @ w.T if b is None else x @ w.T + b


def _explain_misfit(data: Tensor, weight: Tensor, bias: Tensor | None, num_hidden: int, flatten: bool) -> Exception:
    """Say which of the inputs does not fit; None of the checks runs as long as torch is content."""
    where = "FullyConnected"
    if data.dtype is not weight.dtype or (bias is not None and bias.dtype is not data.dtype):
        names = {"data": data, "weight": weight, "bias": bias}
        return DTypeError(
            explain(
                where,
                "The element types differ.",
                expected=f"data of {str(weight.dtype)[6:]}, like the weight",
                received=", ".join(f"{k} {str(v.dtype)[6:]}" for k, v in names.items() if v is not None),
                fix="images of bytes: use transforms.ToTensor() or x.astype('float32')",
            )
        )
    units = prod(data.shape[1:]) if flatten else data.shape[-1]
    if weight.dim() != 2 or weight.shape[0] != num_hidden:
        return ShapeError(
            explain(
                where,
                "The weight does not fit num_hidden.",
                expected=f"weight of shape ({num_hidden}, {units})",
                received=f"weight of shape {tuple(weight.shape)}",
            )
        )
    if weight.shape[1] != units:
        how = "all axes of the data but the first, flattened" if flatten else "the last axis of the data"
        return ShapeError(
            explain(
                where,
                f"The data have {units} features per row ({how}), the weight wants {weight.shape[1]}.",
                expected=f"{weight.shape[1]} features",
                received=f"data {tuple(data.shape)}, weight {tuple(weight.shape)}",
                fix="leave in_units out: Dense infers it from the first batch (or feed data of the built size)",
            )
        )
    return ShapeError(
        explain(
            where,
            "The bias does not fit num_hidden.",
            expected=f"bias of shape ({num_hidden},)",
            received=f"{None if bias is None else tuple(bias.shape)}",
        )
    )


def _emit_fully_connected(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str | None:
    x = args[0]
    data = (
        f"({x} if {x}.dim() == 2 else {x}.flatten(1) if {x}.dim() > 2 else {x}.unsqueeze(1))" if attrs["flatten"] else x
    )
    return f"torch.nn.functional.linear({data}, {', '.join(args[1:])})"


@operator(
    when={"bias": lambda a: not a["no_bias"]},
    infer=Probing(result=dense),
    emit=_emit_fully_connected,
    check=check(
        S(A(4, 3), A(5, 3), A(5), num_hidden=5),
        S(A(2, 3, 2), A(5, 6), A(5), num_hidden=5),
        S(A(0, 3), A(5, 3), A(5), num_hidden=5),
        S(A(2, 3, 2), A(5, 2), num_hidden=5, no_bias=True, flatten=False),
        S(A(2, 3, 2), A(4, 2), A(4), num_hidden=4, flatten=False),
        S(A(3), A(4, 1), A(4), num_hidden=4),
        S(A(3), A(4, 3), A(4), num_hidden=4, flatten=False),
        ref=_np_fully_connected,
        errors=[
            ((A(4, 3), A(5, 2), A(5)), {"num_hidden": 5}, "leave in_units out"),
            ((A(4, 3), A(5, 3), A(4)), {"num_hidden": 5}, r"bias of shape \(5,\)"),
            ((A(4, 3), A(6, 3), A(6)), {"num_hidden": 5}, r"weight of shape \(5, 3\)"),
            ((A(4, 3, dtype="uint8"), A(5, 3), A(5)), {"num_hidden": 5}, "ToTensor"),
        ],
    ),
)
def FullyConnected(
    data: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    num_hidden: int = REQUIRED,
    no_bias: bool = False,
    flatten: bool = True,
) -> Tensor:
    """Compute data · weightᵀ + bias.

    data (N, …), taken as (N, in) with `flatten`, else (…, in); weight (num_hidden, in); bias (num_hidden,). The
    result is (N, num_hidden), without `flatten` (…, num_hidden). All inputs have one dtype.

    Raises ShapeError that names the input that does not fit.

    >>> nd.FullyConnected(nd.ones((2, 3)), nd.ones((4, 3)), nd.zeros(4), num_hidden=4).shape
    (2, 4)
    """
    try:
        if flatten and data.dim() != 2:
            data = data.flatten(1) if data.dim() > 2 else data.reshape(-1, 1)
        result = _linear(data, weight, bias)
    except RuntimeError:
        raise _explain_misfit(data, weight, bias, num_hidden, flatten) from None
    if result.shape[-1] != num_hidden:
        raise _explain_misfit(data, weight, bias, num_hidden, flatten)
    return result


@FullyConnected.fill
def _(attrs: Mapping[str, Any], shapes: Sequence[Any]) -> list[Any]:
    data = shapes[0]
    units = None
    if data is not None:
        features = data[1:] if attrs["flatten"] else data[-1:]
        units = None if None in features else prod(features)
    return [data, (attrs["num_hidden"], units), (attrs["num_hidden"],)][: len(shapes)]


@FullyConnected.grad
def _(c: Grad) -> Value:
    flatten = c.attrs["flatten"]
    data = _linear_backward_data(c.g, c.ins[1], shape=c.shape())
    weight = _linear_backward_weight(c.g, c.x, flatten=flatten)
    return (data, weight) if len(c.ins) < 3 or c.ins[2] is None else (data, weight, _linear_backward_bias(c.g))


def _np_backward_weight(g: np.ndarray, x: np.ndarray, flatten: bool = True) -> np.ndarray:
    return g.reshape(-1, g.shape[-1]).T @ x.reshape(int(np.prod(g.shape[:-1])), -1 if x.size else x.shape[-1])


@operator(
    infer=formula(target),
    gradient=from_kernel,
    check=check(
        S(A(4, 5), A(5, 3), shape=(4, 3)),
        S(A(4, 5), A(5, 6), shape=(4, 3, 2)),
        ref=lambda g, w, shape: (g @ w).reshape(shape),
    ),
)
def _linear_backward_data(grad: Tensor, weight: Tensor, shape: Shape = REQUIRED) -> Tensor:
    """Compute grad · weight in the data's shape: the gradient of FullyConnected for its data."""
    return grad @ weight if grad.dim() == len(shape) == 2 else (grad @ weight).view(shape)


@operator(
    infer=formula(dense_weight),
    gradient=from_kernel,
    check=check(
        S(A(4, 5), A(4, 3)), S(A(4, 5), A(4, 3, 2)), S(A(2, 4, 5), A(2, 4, 3), flatten=False), ref=_np_backward_weight
    ),
)
def _linear_backward_weight(grad: Tensor, data: Tensor, flatten: bool = True) -> Tensor:
    """Compute gradᵀ · data, summed over all axes but the last: the gradient of FullyConnected for its weight."""
    if grad.dim() == data.dim() == 2:
        return grad.t() @ data
    rows = (
        data.reshape(-1, data.shape[-1]) if not flatten else data.flatten(1) if data.dim() > 1 else data.reshape(-1, 1)
    )
    return grad.reshape(-1, grad.shape[-1]).t() @ rows


@operator(
    infer=formula(lambda attrs, shapes, dtypes: [(shapes[0][-1:], dtypes[0])]),
    gradient=from_kernel,
    check=check(S(A(4, 5)), S(A(2, 4, 5)), ref=lambda g: g.reshape(-1, g.shape[-1]).sum(0)),
)
def _linear_backward_bias(grad: Tensor) -> Tensor:
    """Sum over all axes but the last: the gradient of FullyConnected for its bias."""
    return grad.sum(0) if grad.dim() == 2 else grad.reshape(-1, grad.shape[-1]).sum(0)
