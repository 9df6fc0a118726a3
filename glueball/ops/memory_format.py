"""How an array lies in memory, as an operator: made by a pass for compiled plans, never by a user.

The one idea: channels-last is a property of the memory and not of the array: the axes stay (N, C, H, W), only the
strides change. So the operator is an identity whose result lies as wanted, and costs nothing where it does already.
Who puts it where is passes/layout.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .opdef import Grad, Tensor, Value, operator, unsupported
from .rules.check import A, S, check
from .rules.infer import same_shape


def _emit(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str | None:
    return None if attrs["last"] else f"buffers.in_order({args[0]})"


@operator(
    emit=_emit,
    infer=same_shape,
    view="copy",
    batch=unsupported("passes put it into compiled plans"),
    check=check(
        S(A(2, 3, 4, 5)),
        S(A(2, 1, 4, 5)),
        S(A(2, 3, 1, 1)),
        S(A(0, 3, 2, 2)),
        S(A(2, 3, 4, 5), last=False),
        ref=lambda x, last=True: x,
    ),
)
def _memory_format(data: Tensor, last: bool = True) -> Tensor:
    """Return data (N, C, H, W) whose channels (`last`) or columns lie side by side in memory: itself where they do."""
    if not last:
        return data.contiguous()
    _, channels, height, width = data.shape
    if (channels == 1 or height == width == 1) and data.is_contiguous():
        # both orders at once: say so in the strides, by which kernels choose
        return data.as_strided(data.shape, (channels * height * width, 1, width * channels, channels))
    return data.contiguous(memory_format=torch.channels_last)


@_memory_format.grad
def _(c: Grad) -> Value:
    return c.g
