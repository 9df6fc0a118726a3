"""Dropout: zero a random part of the elements while training.

The one idea: the kernel returns the mask beside the result, which is all that the gradient needs. Random numbers come
from torch's generator of the device, which `glueball.random.seed` sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ..base import aten
from ..base.errors import ArgumentError, explain
from .attributes import Shape
from .opdef import Grad, Tensor, Training, Value, from_kernel, operator
from .rules.check import A, S, check
from .rules.layers import formula
from .rules.shapes import like_first


def _law(inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> bool:
    """Every element is 0 or scaled, the scale is 1/(1 − p), and axes share what is dropped."""
    x, y = inputs[0].astype(np.float64), outputs[0].astype(np.float64)
    if attrs["mode"] == "training" and attrs["p"] < 0.02:
        return bool(np.allclose(x, y))
    kept = np.isclose(y, x / (1 - attrs["p"]), rtol=1e-3) if attrs["p"] < 1 else y == 0
    fair = x.size < 1000 or abs(kept.mean() - (1 - attrs["p"])) < 0.1 or bool(attrs["axes"])
    shared = all((kept == kept.take([0], axis)).all() for axis in attrs["axes"])
    return bool((kept | (y == 0)).all() and fair and shared)


def _emit_dropout(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str | None:
    active = training or attrs["mode"] == "always"
    return f"aten.dropout({args[0]}, {attrs['p']}, True)" if active and attrs["p"] > 0 and not attrs["axes"] else None


@operator(
    emit=_emit_dropout,
    outputs=2,
    visible=1,
    output_names=("output", "mask"),
    random=True,
    infer=formula(lambda a, shapes, dtypes: [(shapes[0], dtypes[0]), (shapes[0], torch.bool)]),
    check=check(
        S(A(40, 50, low=0.5), training=True, grad=False),
        S(A(40, 50, low=0.5), p=0.8, mode="always", grad=False),
        S(A(3, 4), p=0.0, training=True),
        S(A(4, 50, 3, low=0.5), p=0.5, axes=(1,), training=True, grad=False),
        S(A(3, 4), p=0.01),
        S(A(3, 4, low=0.5), p=1.0, training=True, grad=False),
        ref="the result is random; its law is checked",
        law=_law,
        errors=[((A(2, 3),), {"p": 1.5}, "from 0 to 1"), ((A(2, 3),), {"mode": "never"}, "training, always")],
    ),
)
def Dropout(
    data: Tensor,
    p: float = 0.5,
    mode: str = "training",
    axes: Shape = (),
    cudnn_off: bool = False,
    *,
    training: Training = False,
) -> tuple[Tensor, Tensor]:
    """Set each element to 0 with probability `p` and divide the others by 1 − p, while training (mode="training") or
    always.

    Along `axes` one decision holds for all elements. Outside training the result is a copy of the data.

    >>> nd.Dropout(nd.ones(3), p=0.5).asnumpy().tolist()  # nothing happens outside autograd.record()
    [1.0, 1.0, 1.0]
    """
    if not 0 <= p <= 1:
        raise ArgumentError(
            explain("Dropout", "The probability p is out of range.", expected="a number from 0 to 1", received=p)
        )
    if not training and mode == "training" or p == 0 or not data.numel():
        return data.clone(), _true(data.device).expand(data.shape)
    if mode not in ("training", "always"):
        raise ArgumentError(explain("Dropout", "There is no such mode.", expected="training, always", received=mode))
    if not axes:
        return aten.dropout(data, p, True)
    mask = (
        torch.rand(
            [1 if i in axes or i - data.dim() in axes else n for i, n in enumerate(data.shape)], device=data.device
        )
        >= p
    )
    mask = mask.expand(data.shape)
    return _apply(data, mask, p), mask


@lru_cache
def _true(device: torch.device) -> Tensor:
    """The mask that keeps everything, as one element."""
    return torch.ones((), dtype=torch.bool, device=device)


def _apply(data: Tensor, mask: Tensor, p: float) -> Tensor:
    return data * mask * (1 / (1 - p) if p < 1 else 0.0)


@Dropout.grad
def _(c: Grad) -> Value:
    if not c.training and c.attrs["mode"] == "training" or c.attrs["p"] == 0:
        return c.g
    return _dropout_backward(c.g, c.outs[1], p=c.attrs["p"])


@operator(
    infer=formula(like_first),
    gradient=from_kernel,
    check=check(S(A(2, 3), A(2, 3, ints=2, dtype="bool"), p=0.25), ref=lambda g, mask, p: g * mask / (1 - p)),
)
def _dropout_backward(grad: Tensor, mask: Tensor, p: float = 0.5) -> Tensor:
    """Compute grad · mask / (1 − p): the gradient of Dropout."""
    return aten.dropout_backward(grad, mask, 1 / (1 - p) if p < 1 else 0.0)
