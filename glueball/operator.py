"""User-defined operators: CustomOp (what to compute) and CustomOpProp (names, shapes, types), registered by name,
called with nd.Custom.

The one idea: a registered class becomes a kernel (ops/custom.py): forward runs on NDArrays outside the tape, and one
node of torch's tape calls backward. So the same class works eagerly, in symbols and in hybridized blocks. For
gradients of one function only, see autograd.Function.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from .base import dtype as dtypes
from .base.errors import ArgumentError, MXNetError, explain
from .base.modes import RECORDING
from .base.registry import closest
from .dispatch import CURRENT
from .ndarray import NDArray
from .ops.custom import HOLDER
from .ops.opdef import TensorType

__all__ = ["CustomOp", "CustomOpProp", "register", "get_all_registered_operators"]

P = TypeVar("P", bound="type[CustomOpProp]")
_REGISTERED: dict[str, type[CustomOpProp]] = {}


class CustomOp:
    """What a custom operator computes."""

    def forward(self, is_train: bool, req: Sequence[str], in_data: Sequence[NDArray], out_data: Sequence[NDArray],
                aux: Sequence[NDArray]) -> None:
        """Fill `out_data` with ``self.assign(out_data[i], req[i], value)``. Written by the user."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(self, is_train, req, in_data, out_data, "
                                  "aux)")

    def backward(self, req: Sequence[str], out_grad: Sequence[NDArray], in_data: Sequence[NDArray],
                 out_data: Sequence[NDArray], in_grad: Sequence[NDArray], aux: Sequence[NDArray]) -> None:
        """Fill `in_grad`. Written by the user."""
        raise NotImplementedError(f"{type(self).__name__} must define backward(self, req, out_grad, in_data, "
                                  "out_data, in_grad, aux)")

    def assign(self, dst: NDArray, req: str, src: Any) -> None:
        """Write `src` into `dst` as `req` says: 'null' not at all, 'write'/'inplace' over it, 'add' onto it."""
        if req in ("write", "inplace"):
            dst[:] = src
        elif req == "add":
            dst += src


class CustomOpProp:
    """Names, shapes and types of a custom operator. `need_top_grad`: whether backward uses the gradient of the
    result.
    """

    def __init__(self, need_top_grad: bool = True) -> None:
        self.need_top_grad_ = need_top_grad

    def list_arguments(self) -> list[str]:
        """Names of the inputs."""
        return ["data"]

    def list_outputs(self) -> list[str]:
        """Names of the results."""
        return ["output"]

    def list_auxiliary_states(self) -> list[str]:
        """Names of the states."""
        return []

    def infer_shape(self, in_shape: list[Any]) -> Any:
        """Return (input shapes, result shapes, state shapes); by default every result has the first input's shape."""
        return in_shape, [in_shape[0]] * len(self.list_outputs()), []

    def infer_type(self, in_type: list[Any]) -> Any:
        """Return (input types, result types, state types); by default all have the first input's."""
        return in_type, [in_type[0]] * len(self.list_outputs()), [in_type[0]] * len(self.list_auxiliary_states())

    def create_operator(self, ctx: Any, in_shapes: Any, in_dtypes: Any) -> CustomOp:
        """Return the CustomOp for inputs of these shapes. Written by the user."""
        raise NotImplementedError(f"{type(self).__name__} must define create_operator(self, ctx, in_shapes, in_dtypes)")

    def declare_backward_dependency(self, out_grad: Any, in_data: Any, out_data: Any) -> Any:
        """Compatible; backward is given everything."""
        return [*out_grad, *in_data, *out_data]


def register(reg_name: str) -> Callable[[P], P]:
    """Return a decorator that registers a CustomOpProp under `reg_name`, for ``nd.Custom(x, op_type=reg_name)``."""
    def add(cls: P) -> P:
        if not (isinstance(cls, type) and issubclass(cls, CustomOpProp)):
            raise MXNetError(explain("operator.register", "A CustomOpProp is expected.", received=repr(cls)))
        _REGISTERED[reg_name] = cls
        return cls
    return add


def get_all_registered_operators() -> list[str]:
    """Return the names of the custom operators."""
    return list(_REGISTERED)


def _prop(op_type: str, options: Any) -> CustomOpProp:
    cls = _REGISTERED.get(op_type)
    if cls is None:
        raise ArgumentError(explain("Custom", f"No operator is registered as {op_type!r}.",
                                    fix=closest(op_type, list(_REGISTERED))
                                    if _REGISTERED else "decorate its CustomOpProp with @mx.operator.register(name)"))
    texts: dict[str, Any] = {k: str(v) for k, v in options}
    return cls(**texts)


class _Runner:
    def run(
        self, op_type: str, options: Any, tensors: Sequence[torch.Tensor], training: bool
    ) -> tuple[torch.Tensor, ...]:
        """Run forward, as one node of torch's tape when it is on."""
        return tuple(_Node.apply(_prop(op_type, options), training, *tensors))

    def infer(self, op_type: str, options: Any, ins: Sequence[TensorType]) -> list[TensorType]:
        """Ask the prop."""
        prop = _prop(op_type, options)
        shapes = prop.infer_shape([list(t.shape or ()) for t in ins])[1]
        types = prop.infer_type([dtypes.as_numpy(t.dtype) for t in ins])[1]
        return [TensorType(tuple(s), dtypes.as_torch(t)) for s, t in zip(shapes, types)]

    def count(self, op_type: str, options: Any) -> int:
        """Ask the prop."""
        return len(_prop(op_type, options).list_outputs())


HOLDER.runner = _Runner()


@contextmanager
def _by_itself() -> Iterator[None]:
    """Run the user's code off the tape, and at once: who collects calls has collected this operator as a whole."""
    recording, current = RECORDING.set(False), CURRENT.set(None)
    try:
        yield
    finally:
        CURRENT.reset(current)
        RECORDING.reset(recording)


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, prop: CustomOpProp, training: bool, *tensors: torch.Tensor) -> Any:
        n_in = len(prop.list_arguments())
        arrays = [NDArray._wrap(t.detach(), None) for t in tensors]
        ins, aux = arrays[:n_in], arrays[n_in:]
        shapes = [list(a.shape) for a in ins]
        out_shapes = prop.infer_shape(shapes)[1]
        out_types = prop.infer_type([a.dtype for a in ins])[1]
        outs = [NDArray(torch.zeros(tuple(s), dtype=dtypes.as_torch(t), device=tensors[0].device)) for s,
                t in zip(out_shapes, out_types)]
        with _by_itself():
            op = prop.create_operator(ins[0].context, shapes, [a.dtype for a in ins])
            op.forward(training, ["write"] * len(outs), ins, outs, aux)
        ctx.op, ctx.ins, ctx.outs, ctx.aux = op, ins, outs, aux
        return tuple(o._t for o in outs)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        found = [NDArray(torch.zeros_like(a._t)) for a in ctx.ins]
        with _by_itself():
            ctx.op.backward(["write"] * len(found), [NDArray(g) for g in grads], ctx.ins, ctx.outs, found, ctx.aux)
        return (None, None, *(f._t if f._t.is_floating_point() else None for f in found), *(None for _ in ctx.aux))
