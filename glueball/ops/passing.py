"""Operators that hand data on: identities, stopped and scaled gradients, casts, arrays like another, finiteness.

The one idea: the values pass (or become constants); what differs is the gradient. Casts keep the tape: the gradient
is cast back. Losses with a gradient of their own (SoftmaxOutput …) are in the loss families; arrays made from a shape
in create.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch

from ..base.errors import UnsupportedError, explain
from .attributes import DType, Number
from .opdef import REQUIRED, Grad, OpDef, Tensor, TensorType, Value, lookup, operator, unsupported
from .rules.check import A, S, binary, check, unary
from .rules.grad import passes, zero
from .rules.infer import InferRule, same_shape, unify

_IDENTICAL = unary(lambda x: x)
# finite differences cannot see what these gradients are on purpose (stopped, scaled, replaced): that is what
# tests/ops/test_own_gradients.py is for
_NOT_THE_DERIVATIVE = check(S(A(2, 3), grad=False), S(A(0, 3), grad=False), ref=lambda x, **attrs: x)


class _SameShapeOtherType(InferRule):
    """The result has the first input's shape, the other way round too, and the dtype of an attribute."""

    def partial(
        self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], outs: Sequence[TensorType]
    ) -> tuple[list[TensorType], list[TensorType]]:
        shape = unify(ins[0].shape, outs[0].shape, op.name)
        return [TensorType(shape, ins[0].dtype)], [TensorType(shape, attrs["dtype"])]

    def forward(
        self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], training: bool
    ) -> list[TensorType]:
        return [TensorType(ins[0].shape, attrs["dtype"])]


@final
class _SameShapeFloatType(_SameShapeOtherType):
    """As before, but only floating-point data change their type."""

    def partial(
        self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], outs: Sequence[TensorType]
    ) -> tuple[list[TensorType], list[TensorType]]:
        [known], [result] = super().partial(op, attrs, ins, outs)
        return [known], [result if known.dtype in _FLOATS else TensorType(result.shape, known.dtype)]

    def forward(
        self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], training: bool
    ) -> list[TensorType]:
        return super().forward(op, attrs, ins, training) if ins[0].dtype in _FLOATS else [ins[0]]


_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
same_shape_other_type = _SameShapeOtherType()
same_shape_float_type = _SameShapeFloatType()


# -- identities ------------------------------------------------------------------------------------------------------


@operator(
    name="_copy", aliases=("identity", "_copyto", "_np_copy"), infer=same_shape, gradient=passes, check=_IDENTICAL
)
def identity(data: Tensor) -> Tensor:
    """Return a copy of the data."""
    return data.clone()


@operator(infer=same_shape, gradient=zero, aliases=("stop_gradient",), check=_NOT_THE_DERIVATIVE)
def BlockGrad(data: Tensor) -> Tensor:
    """Return the data and stop the gradient: to what comes before, the result is a constant."""
    if not data.requires_grad or not torch.is_grad_enabled():
        return data.clone()
    stopped = data.detach()  # chosen everywhere, so that the tape leads to the data with a gradient of 0, at any order
    return torch.where(torch.ones((), dtype=torch.bool, device=data.device), stopped, data)


@operator(infer=same_shape, own_gradient=True, check=_NOT_THE_DERIVATIVE)
def make_loss(data: Tensor) -> Tensor:
    """Return the data as a loss: its gradient is 1, whatever gradient comes from behind."""
    return data.clone()


@make_loss.grad
def _(c: Grad) -> Value:
    return ones_like(c.x)


@operator(infer=same_shape, own_gradient=True, check=_NOT_THE_DERIVATIVE)
def MakeLoss(data: Tensor, grad_scale: float = 1.0, valid_thresh: float = 0.0, normalization: str = "null") -> Tensor:
    """Return the data as a loss whose gradient is grad_scale, whatever gradient comes from behind.

    normalization: "null"; "batch", divided by the first size; "valid", divided by the number of elements above
    valid_thresh.
    """
    return data.clone()


@MakeLoss.grad
def _(c: Grad) -> Value:
    one = ones_like(c.x) * c.attrs["grad_scale"]
    how = c.attrs["normalization"]
    if how == "batch":  # an array of one axis counts as one sample
        return one / (c.shape()[0] if len(c.shape()) > 1 else 1)
    if how == "valid":
        count = lookup("sum")(c.x > c.attrs["valid_thresh"])
        return lookup("broadcast_div")(
            one, lookup("broadcast_to")(lookup("Reshape")(count, shape=(1,) * len(c.shape())), shape=c.shape())
        )
    return one


@operator(
    name="_contrib_gradientmultiplier",
    infer=same_shape,
    own_gradient=True,
    check=check(S(A(2, 3), scalar=0.5, grad=False), ref=lambda x, scalar: x),
)
def gradientmultiplier(data: Tensor, scalar: Number = 1.0, is_int: bool = True) -> Tensor:
    """Return the data and multiply the gradient by scalar (negative: gradient reversal)."""
    return data.clone()


@gradientmultiplier.grad
def _(c: Grad) -> Value:
    return c.g * c.attrs["scalar"]


@operator(
    infer=same_shape,
    own_gradient=True,
    check=check(S(A(4, 3, low=0.1, high=0.9), grad=False), ref=lambda x, **attrs: x),
)
def IdentityAttachKLSparseReg(
    data: Tensor, sparseness_target: float = 0.1, penalty: float = 0.001, momentum: float = 0.9
) -> Tensor:
    """Return the data and add the gradient of a penalty that keeps each unit's mean activation near a target.

    The mean of each unit is the batch's own: no moving average is kept, so `momentum` has no effect.
    """
    return data.clone()


@IdentityAttachKLSparseReg.grad
def _(c: Grad) -> Value:
    target, penalty = c.attrs["sparseness_target"], c.attrs["penalty"]
    active = lookup("mean")(c.x, axis=0, keepdims=True)
    pull = ((1 - target) / (1 - active) - target / active) * penalty
    return lookup("broadcast_add")(c.g, pull)


@operator(infer=same_shape, nondiff=("rhs",), gradient=passes, check=binary(lambda x, y: x, broadcast=False))
def _identity_with_attr_like_rhs(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Return a copy of lhs; rhs only lends its shape to inference."""
    return lhs.clone()


# -- types -----------------------------------------------------------------------------------------------------------


def _np_cast(x: np.ndarray, dtype: str) -> np.ndarray:
    return x.astype(dtype)


@operator(
    aliases=("cast",),
    infer=same_shape_other_type,
    check=check(
        S(A(2, 3, low=-3, high=3), dtype="int32", grad=False),
        S(A(2, 3), dtype="float64"),
        S(A(2, 3), dtype="float32", grad=False),
        S(A(0, 3), dtype="float16", grad=False),
        S(A(4, ints=3), dtype="bool", grad=False),
        ref=_np_cast,
        rtol=1e-3,
        errors=[((A(2),), {"dtype": "float31"}, "dtype"), ((A(2),), {}, "dtype")],
    ),
)
def Cast(data: Tensor, dtype: DType = REQUIRED) -> Tensor:
    """Convert to another element type; fractions are dropped towards 0, narrow integers wrap around."""
    if data.dtype is dtype:
        return data.clone()
    if data.dtype.is_floating_point and dtype in (torch.uint8, torch.int8, torch.int16):
        return data.to(torch.int64).to(dtype)  # the direct conversion of what does not fit is undefined in C
    return data.to(dtype)


@Cast.grad
def _(c: Grad) -> Value:
    kind = c.in_types[0].dtype
    return Cast(c.g, dtype=kind) if kind is not None and c.out_types[0].dtype is not kind else c.g


@operator(
    infer=same_shape,
    gradient=passes,
    check=check(
        S(A(2, 3), stype="default"),
        ref=lambda x, stype: x,
        errors=[((A(2),), {"stype": "csr"}, "dense"), ((A(2),), {}, "stype")],
    ),
)
def cast_storage(data: Tensor, stype: str = REQUIRED) -> Tensor:
    """Return a copy in the storage type "default" (dense), the only one there is."""
    if stype != "default":
        raise UnsupportedError(
            explain("cast_storage", "All arrays are dense.", expected='stype="default"', received=repr(stype))
        )
    return data.clone()


@operator(
    infer=same_shape_float_type,
    check=check(
        S(A(2, 3), dtype="float64"),
        S(A(2, 3), dtype="float16", grad=False),
        S(A(4, ints=3, dtype="int32"), dtype="float16"),
        ref=lambda x, dtype: x if x.dtype.kind != "f" else x.astype(dtype),
        rtol=1e-3,
        atol=1e-3,
    ),
)
def amp_cast(data: Tensor, dtype: DType = REQUIRED) -> Tensor:
    """Convert floating-point data to another floating-point type; integers pass as they are (mixed precision)."""
    if data.dtype not in _FLOATS or data.dtype is dtype:
        return data.clone()
    return data.to(dtype)


amp_cast.grad(Cast.gradient)


def _np_multicast(*xs: np.ndarray, num_outputs: int, cast_narrow: bool = False) -> tuple[np.ndarray, ...]:
    kind = (min if cast_narrow else max)((x.dtype for x in xs if x.dtype.kind == "f"), key=lambda d: d.itemsize)
    return tuple(x if x.dtype.kind != "f" else x.astype(kind) for x in xs)


@operator(
    outputs=lambda attrs: attrs["num_outputs"],
    variadic_count="num_outputs",
    check=check(
        S(A(2, 3), A(2, 3, dtype="float32"), num_outputs=2, grad=False),
        S(A(2, 3), A(2, 3, dtype="float16"), num_outputs=2, cast_narrow=True, grad=False),
        ref=_np_multicast,
        rtol=1e-3,
        atol=1e-3,
    ),
)
def amp_multicast(*data: Tensor, num_outputs: int = 1, cast_narrow: bool = False) -> list[Tensor]:
    """Convert all floating-point inputs to the widest type among them (with cast_narrow, to the narrowest)."""
    kinds = [t.dtype for t in data if t.dtype in _FLOATS]
    if not kinds:
        return [t.clone() for t in data]
    kind = (min if cast_narrow else max)(kinds, key=_FLOATS.index)
    return [t.to(kind, copy=True) if t.dtype in _FLOATS else t.clone() for t in data]


@amp_multicast.grad
def _(c: Grad) -> Value:
    return tuple(
        None if g is None or t.dtype not in _FLOATS else Cast(g, dtype=t.dtype) for g, t in zip(c.grads, c.in_types)
    )


# -- arrays like another ---------------------------------------------------------------------------------------------


@operator(infer=same_shape, method=True, gradient=zero, check=unary(np.zeros_like))
def zeros_like(data: Tensor) -> Tensor:
    """Return zeros of the data's shape and type."""
    return torch.zeros_like(data, memory_format=torch.contiguous_format)


@operator(infer=same_shape, method=True, gradient=zero, check=unary(np.ones_like))
def ones_like(data: Tensor) -> Tensor:
    """Return ones of the data's shape and type."""
    return torch.ones_like(data, memory_format=torch.contiguous_format)


_ABOUT_THE_SHAPE = unsupported("the result tells about the shape of the data, not about its values")


@operator(
    method=True, gradient=_ABOUT_THE_SHAPE, check=check(S(A(2, 3, 4)), S(A(0, 3)), ref=lambda x: np.array(x.shape))
)
def shape_array(data: Tensor) -> Tensor:
    """Return the shape as an int64 array of one axis."""
    return torch.tensor(tuple(data.shape), dtype=torch.int64, device=data.device)


@operator(
    method=True, gradient=_ABOUT_THE_SHAPE, check=check(S(A(2, 3, 4)), S(A(0, 3)), ref=lambda x: np.array([x.size]))
)
def size_array(data: Tensor) -> Tensor:
    """Return the number of elements as an int64 array of shape (1,)."""
    return torch.tensor([data.numel()], dtype=torch.int64, device=data.device)


# -- finiteness ------------------------------------------------------------------------------------------------------

_ODD = np.array([[1.0, np.nan, np.inf], [-np.inf, 0.0, 2.0]])


@operator(
    name="_contrib_isnan",
    infer=same_shape,
    gradient=zero,
    check=check(S(_ODD, grad=False), S(A(0, 2)), ref=lambda x: np.isnan(x).astype(x.dtype)),
)
def isnan(data: Tensor) -> Tensor:
    """Compute 1 where an element is NaN, else 0, in the data's type."""
    return torch.isnan(data).to(data.dtype)


@operator(
    name="_contrib_isinf",
    infer=same_shape,
    gradient=zero,
    check=check(S(_ODD, grad=False), S(A(0, 2)), ref=lambda x: np.isinf(x).astype(x.dtype)),
)
def isinf(data: Tensor) -> Tensor:
    """Compute 1 where an element is infinite, else 0, in the data's type."""
    return torch.isinf(data).to(data.dtype)


@operator(
    name="_contrib_isfinite",
    infer=same_shape,
    gradient=zero,
    check=check(S(_ODD, grad=False), S(A(0, 2)), ref=lambda x: np.isfinite(x).astype(x.dtype)),
)
def isfinite(data: Tensor) -> Tensor:
    """Compute 1 where an element is neither infinite nor NaN, else 0, in the data's type."""
    return torch.isfinite(data).to(data.dtype)


def _np_finite(*xs: np.ndarray, **attrs: Any) -> np.ndarray:
    return np.array([float(all(np.isfinite(x).all() for x in xs))], dtype=np.float32)


_YES_OR_NO = unsupported("the result says yes or no")


@operator(gradient=_YES_OR_NO, check=check(S(A(2, 3)), S(_ODD), S(A(0, 3)), ref=_np_finite))
def all_finite(data: Tensor, init_output: bool = True) -> Tensor:
    """Return [1] when every element is finite, else [0] (float32)."""
    return torch.isfinite(data).all().to(torch.float32).reshape(1)


@operator(
    gradient=_YES_OR_NO,
    variadic_count="num_arrays",
    check=check(S(A(2, 3), A(4), num_arrays=2), S(A(2), _ODD, num_arrays=2), ref=_np_finite),
)
def multi_all_finite(*data: Tensor, num_arrays: int = 1, init_output: bool = True) -> Tensor:
    """Return [1] when every element of every array is finite, else [0] (float32)."""
    return torch.stack([torch.isfinite(t).all() for t in data]).all().to(torch.float32).reshape(1)


def _np_allclose(
    a: np.ndarray, b: np.ndarray, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = True
) -> np.ndarray:
    return np.array([float(np.allclose(a, b, rtol, atol, equal_nan))], dtype=np.float32)


@operator(
    name="_contrib_allclose",
    gradient=_YES_OR_NO,
    check=check(
        S(_ODD, _ODD),
        S(_ODD, _ODD, equal_nan=False),
        S(A(2, 3), A(2, 3)),
        S(np.ones(3), np.full(3, 1.001), rtol=0.01),
        ref=_np_allclose,
    ),
)
def allclose(a: Tensor, b: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = True) -> Tensor:
    """Return [1] when |a - b| <= atol + rtol |b| everywhere, else [0] (float32)."""
    return torch.isclose(a, b, rtol=rtol, atol=atol, equal_nan=equal_nan).all().to(torch.float32).reshape(1)


@operator(
    gradient=unsupported("it serves optimisers (LARS), outside of what is differentiated"),
    variadic_count="num_arrays",
    check=check(S(A(2, 3), A(4), num_arrays=2), ref=lambda *xs, num_arrays: np.array([np.square(x).sum() for x in xs])),
)
def multi_sum_sq(*data: Tensor, num_arrays: int = 1) -> Tensor:
    """Return the sum of squares of each array, as one array of length num_arrays."""
    return torch.stack([torch.sum(t * t) for t in data])
