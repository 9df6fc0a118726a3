"""Arrays out of nothing, as operators that graphs and files can hold: _zeros, _ones, _full, _arange, _linspace, _eye.

The one idea: no inputs; the device is the current context's (the door sets it from `ctx=`). The friendly functions
nd.zeros, nd.arange … are in ndarray/creation.py; arrays like another are in passing.py and blocks.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch

from ..base.context import current_context
from ..base.errors import ArgumentError, explain
from .attributes import DType, Number, Shape
from .opdef import REQUIRED, OpDef, Tensor, TensorType, operator
from .rules.check import S, check
from .rules.grad import zero
from .rules.infer import InferRule
from .rules.layers import formula
from .rules.shapes import counted, identity


@final
class _FromAttributes(InferRule):
    """The result has the shape and dtype of the attributes; nothing is allocated to find out.

    A size of 0 is one that the values' users tell (passes/sizes.py), as everywhere in compatible graphs.
    """

    def forward(
        self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], training: bool
    ) -> list[TensorType]:
        return [TensorType(tuple(size or None for size in attrs["shape"] or ()), attrs["dtype"])]


from_attributes = _FromAttributes()


def _device() -> torch.device:
    """Return where arrays are made: the current context, or nowhere while shapes are inferred."""
    default = torch.get_default_device()
    return default if default.type == "meta" else current_context().torch_device


@operator(
    infer=from_attributes,
    gradient=zero,
    aliases=("_zeros_without_dtype",),
    check=check(
        S(shape=(2, 3)), S(shape=(1, 2), dtype="int32"), ref=lambda shape, dtype="float32": np.zeros(shape, dtype)
    ),
)
def _zeros(shape: Shape = (), dtype: DType = torch.float32) -> Tensor:
    """Make an array of zeros."""
    return torch.zeros(tuple(shape), dtype=dtype, device=_device())


@operator(
    infer=from_attributes,
    gradient=zero,
    check=check(
        S(shape=(2, 3)), S(shape=(1,), dtype="float16"), ref=lambda shape, dtype="float32": np.ones(shape, dtype)
    ),
)
def _ones(shape: Shape = (), dtype: DType = torch.float32) -> Tensor:
    """Make an array of ones."""
    return torch.ones(tuple(shape), dtype=dtype, device=_device())


@operator(
    infer=from_attributes,
    gradient=zero,
    check=check(
        S(shape=(2, 3), value=1.5),
        S(shape=(2,), value=3.7, dtype="int32"),
        ref=lambda shape, value, dtype="float32": np.full(shape, value, dtype),
    ),
)
def _full(shape: Shape = (), dtype: DType = torch.float32, value: Number = REQUIRED) -> Tensor:
    """Make an array of one number."""
    return torch.full(tuple(shape), value if dtype.is_floating_point else int(value), dtype=dtype, device=_device())


def _np_arange(
    start: float,
    stop: float | None = None,
    step: float = 1.0,
    repeat: int = 1,
    infer_range: bool = False,
    dtype: str = "float32",
) -> np.ndarray:
    start, stop = (0.0, start) if stop is None else (start, stop)
    return np.repeat(np.arange(start, stop, step), repeat).astype(dtype)


@operator(
    infer=formula(counted),
    gradient=zero,
    check=check(
        S(start=5.0),
        S(start=1.0, stop=4.0, step=0.5),
        S(start=5.0, stop=0.0, step=-2.0, dtype="int32"),
        S(start=0.0, stop=3.0, repeat=2),
        ref=_np_arange,
        errors=[((), {"start": 3.0, "stop": 1.0}, "range"), ((), {"start": 0.0, "stop": 1.0, "step": 0.0}, "range")],
    ),
)
def _arange(
    start: float = REQUIRED,
    stop: float | None = None,
    step: float = 1.0,
    repeat: int = 1,
    infer_range: bool = False,
    dtype: DType = torch.float32,
) -> Tensor:
    """Count from start to stop (exclusive) by step, every number `repeat` times; with stop=None from 0 to start."""
    low, high = (0.0, start) if stop is None else (start, stop)
    if step == 0 or (high - low) * step < 0 or repeat < 1:
        raise ArgumentError(
            explain(
                "arange",
                "The range is empty or endless.",
                expected="a step that leads from start to stop, and repeat >= 1",
                received=f"start={low}, stop={high}, step={step}, repeat={repeat}",
            )
        )
    numbers = torch.arange(low, high, step, dtype=torch.float64, device=_device()).to(dtype)
    return torch.repeat_interleave(numbers, repeat) if repeat != 1 else numbers


@operator(
    infer=formula(counted),
    gradient=zero,
    check=check(
        S(start=0.0, stop=1.0, num=5),
        S(start=1.0, stop=3.0, num=4, endpoint=False, dtype="float64"),
        S(start=2.0, stop=3.0, num=1),
        S(start=2.0, stop=3.0, num=0),
        ref=lambda start, stop, num, endpoint=True, dtype="float32": np.linspace(start, stop, num, endpoint).astype(
            dtype
        ),
        errors=[((), {"start": 0.0, "stop": 1.0, "num": -1}, "num")],
    ),
)
def _linspace(
    start: float = REQUIRED,
    stop: float = REQUIRED,
    num: int = REQUIRED,
    endpoint: bool = True,
    dtype: DType = torch.float32,
) -> Tensor:
    """Make num evenly spaced numbers from start to stop, which is included unless endpoint is False."""
    if num < 0:
        raise ArgumentError(
            explain("linspace", "The number of points is negative.", expected="num >= 0", received=f"num={num}")
        )
    if endpoint or num == 0:
        return torch.linspace(start, stop, num, dtype=torch.float64, device=_device()).to(dtype)
    return (torch.arange(num, dtype=torch.float64, device=_device()) * ((stop - start) / num) + start).to(dtype)


@operator(
    infer=formula(identity),
    gradient=zero,
    check=check(
        S(N=3),
        S(N=2, M=4, k=1),
        S(N=3, M=3, k=-1, dtype="int32"),
        ref=lambda N, M=0, k=0, dtype="float32": np.eye(N, M or N, k, dtype),
    ),
)
def _eye(N: int = REQUIRED, M: int = 0, k: int = 0, dtype: DType = torch.float32) -> Tensor:
    """Make ones on the k-th diagonal of an N x M (N x N for M = 0) matrix of zeros."""
    rows, columns = torch.arange(N, device=_device()).unsqueeze(1), torch.arange(M or N, device=_device())
    return (columns - rows == k).to(dtype)
