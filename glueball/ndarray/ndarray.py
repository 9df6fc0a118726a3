"""NDArray: the mutable array that users hold.

The one idea: a slotted shell around a torch tensor, a Context and, after attach_grad, a Leaf. Operators (and most
methods) are generated from the operator table; what is written here by hand is what is not an operator: conversion,
devices, Python's protocols, in-place arithmetic, and the four arithmetic signs, whose common case is inlined because
small programs live on them.

Not here: indexing (indexing.py), creation (creation.py), files (serialize.py), the tape (autograd/).
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..base import context as contexts
from ..base import dtype as dtypes
from ..base.context import Context
from ..base.errors import AutogradError, DTypeError, MXNetError, ShapeError, explain
from ..base.modes import is_recording
from ..base.writes import lend
from ..dispatch import CURRENT, explain_failure, invoke, set_array
from ..ops.opdef import lookup
from .chain import Result
from .indexing import read, write
from .leaf import Leaf

__all__ = ["NDArray", "from_torch", "to_array", "values_of", "wrap"]

_current = CURRENT.get
_new = object.__new__


class NDArray:
    """An array of numbers on one device.

    Made by `nd.array`, `nd.zeros`, …; every operator is also a function `nd.<name>`. Arithmetic broadcasts; dtypes
    never mix; a slice of the leading axis is a view that writes through.

    >>> x = nd.array([[1, 2], [3, 4]])
    >>> (x * 2 + 1).asnumpy().tolist()
    [[3.0, 5.0], [7.0, 9.0]]
    """

    __slots__ = ("_t", "_ctx", "_ag", "__weakref__")
    __array_priority__ = 1000.0
    _t: torch.Tensor
    _ctx: Context
    _ag: Leaf | Result | str | None

    def __init__(self, handle: torch.Tensor | NDArray, ctx: Context | None = None) -> None:
        if isinstance(handle, NDArray):
            handle, ctx = handle._t, handle._ctx
        if not isinstance(handle, torch.Tensor):
            raise DTypeError(explain("NDArray", "The constructor takes a torch tensor.", received=type(handle).__name__,
                                     fix="use nd.array(...)"))
        self._t = handle
        self._ctx = ctx or contexts.of_tensor(handle)
        self._ag = None

    def __getattr__(self, name: str) -> Any:  # methods of operators are added from the table
        if name == "_t" and type(self._ag) is Result:  # it is not on torch's tape yet
            self._ag.tie(self)
            return self._t
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    @staticmethod
    def _wrap(tensor: torch.Tensor, ctx: Context | None) -> NDArray:
        """Make an array of a kernel's result; outside record() it leaves the tape."""
        if tensor.requires_grad and not is_recording():
            tensor = tensor.detach()
        made = _new(NDArray)
        made._t = tensor
        made._ctx = contexts.of_tensor(tensor) if ctx is None else ctx
        made._ag = None
        return made

    # -- what it is ----------------------------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return tuple((self._t if type(self._ag) is not Result else self._ag.tensor).shape)

    @property
    def dtype(self) -> Any:
        """Element type, as a NumPy scalar type (float32 for bfloat16: see `dtype_name`)."""
        return dtypes.as_numpy(values_of(self).dtype)

    @property
    def dtype_name(self) -> str:
        """Element type as text, e.g. 'bfloat16'."""
        return dtypes.name_of(values_of(self).dtype)

    @property
    def size(self) -> int:
        """Number of elements."""
        return values_of(self).numel()

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return values_of(self).dim()

    @property
    def context(self) -> Context:
        """The device."""
        return self._ctx

    ctx = context

    @property
    def stype(self) -> str:
        """Storage type; 'default' means dense."""
        return "default"

    @property
    def T(self) -> NDArray:
        """The transpose: axes in reverse order."""
        return self.transpose()

    @property
    def handle(self) -> int:
        """An identity of the memory (the data pointer)."""
        return self._t.data_ptr()

    # -- values --------------------------------------------------------------------------------------------------------
    def asnumpy(self) -> np.ndarray:
        """Return a NumPy copy (bfloat16 becomes float32)."""
        tensor = values_of(self).detach()
        if tensor.dtype is torch.bfloat16:
            tensor = tensor.float()
        return np.array(tensor.numpy(force=True))

    def to_torch(self) -> torch.Tensor:
        """Return the torch tensor itself: no copy, on the tape when this array is."""
        lend(self._t)
        return self._t

    def asscalar(self) -> Any:
        """Return the only element as a NumPy scalar."""
        if values_of(self).numel() != 1:
            raise ShapeError(explain("asscalar", "The array must have exactly one element.", expected="size 1",
                                     received=f"shape {self.shape}",
                                     fix="reduce first, for example x.mean().asscalar()"))
        return self.asnumpy().reshape(-1)[0]

    def item(self) -> Any:
        """Return the only element as a Python number."""
        return self.asscalar().item()

    def tolist(self) -> Any:
        """Return nested lists of Python numbers."""
        return values_of(self).tolist()

    def wait_to_read(self) -> None:
        """Wait until the value is there (on a GPU)."""
        tensor = values_of(self)
        if tensor.is_cuda:
            torch.cuda.synchronize(tensor.device)

    wait_to_write = wait_to_read

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.asnumpy()
        return array if dtype is None else array.astype(dtype)

    def __dlpack__(self, **options: Any) -> Any:
        lend(self._t)
        return self._t.detach().__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._t.__dlpack_device__()

    def to_dlpack_for_read(self) -> Any:
        """Return a DLPack capsule that shares the memory."""
        lend(self._t)
        return self._t.detach().__dlpack__()

    to_dlpack_for_write = to_dlpack_for_read

    # -- copies and devices --------------------------------------------------------------------------------------------
    def copy(self) -> NDArray:
        """Return a copy (differentiable under record())."""
        return NDArray._wrap(self._t.clone(), self._ctx)

    def copyto(self, other: NDArray | Context) -> NDArray:
        """Copy into another array of equal shape, or to a device; returns the target."""
        if isinstance(other, Context):
            return NDArray._wrap(self._t.to(other.check(), copy=True), other)
        if other is not self:
            other._assign(self._t)
        return other

    def as_in_context(self, context: Context) -> NDArray:
        """Return this array, or a copy on another device (differentiable under record())."""
        if context is self._ctx:
            return self
        if isinstance(context, Context):
            return NDArray._wrap(self._t.to(context.check(), copy=True), context)
        return self.as_in_context(contexts.as_context(context))

    as_in_ctx = as_in_context

    def astype(self, dtype: Any, copy: bool = True) -> NDArray:
        """Return the array with another element type; the array itself when `copy=False` and nothing changes."""
        if not copy and dtypes.as_torch(dtype) is self._t.dtype:
            return self
        return lookup("Cast")(self, dtype=dtypes.as_torch(dtype))

    def as_nd_ndarray(self) -> NDArray:
        """Return the array itself."""
        return self

    def tostype(self, stype: str) -> Any:
        """Convert to a storage type: 'default', 'csr' or 'row_sparse'."""
        if stype == "default":
            return self
        from . import sparse  # upward edge: only sparse arrays know the other storage types
        return sparse.cast_storage(self, stype)

    def detach(self) -> NDArray:
        """Return an array that shares the memory and is not on the tape."""
        made = _new(NDArray)
        made._t, made._ctx, made._ag = values_of(self).detach(), self._ctx, None
        return made

    def _assign(self, tensor: torch.Tensor) -> None:
        """Overwrite the values in place (out=, copyto)."""
        if tensor.shape != self._t.shape:
            raise ShapeError(explain("copy", "The shapes differ.", expected=self.shape, received=tuple(tensor.shape)))
        self._writable("assignment").copy_(tensor.detach())

    def _writable(self, what: str) -> torch.Tensor:
        """Return the tensor for writing in place; on the tape that is refused."""
        interpreter = _current()
        if interpreter is not None:
            interpreter.before_write(self)
        if self._t.requires_grad and is_recording():
            raise AutogradError(explain(what,
                                        "An array that is being recorded cannot be changed in place: its old value is "
                                        "needed by backward().",
                                        fix="write y = x + 1 instead of x += 1, or do it outside autograd.record()"))
        tensor = self._t.detach() if self._t.requires_grad else self._t
        return tensor

    # -- gradients -----------------------------------------------------------------------------------------------------
    def attach_grad(self, grad_req: str = "write", stype: str | None = None) -> None:
        """Give the array a gradient array (zeros at first), filled by every backward pass that reaches it.

        grad_req : 'write' overwrites at each backward, 'add' accumulates, 'null' takes none.
        """
        if grad_req not in ("write", "add", "null"):
            raise MXNetError(explain("attach_grad", "Unknown grad_req.", expected="'write', 'add' or 'null'",
                                     received=repr(grad_req)))
        if grad_req != "null" and not self._t.dtype.is_floating_point:
            raise DTypeError(explain("attach_grad", "Only floating point arrays have gradients.",
                                     expected="float32, float64, float16 or bfloat16", received=self.dtype_name,
                                     fix="convert first: x = x.astype('float32')"))
        interpreter = _current()
        if interpreter is not None:
            interpreter.before_write(self)  # what was recorded before has no gradient for it
        if isinstance(self._ag, Leaf):
            self._ag.release()
        tensor = self._t.detach()
        if grad_req == "null":
            self._t, self._ag = tensor, None
            return
        self._t = tensor.requires_grad_(True)
        self._ag = Leaf(self._t, NDArray._wrap(torch.zeros_like(tensor), self._ctx), grad_req)

    @property
    def grad(self) -> NDArray | None:
        """The gradient array, or None when attach_grad was not called."""
        return self._ag.grad if isinstance(self._ag, Leaf) else None

    @property
    def _fresh_grad(self) -> bool:
        return self._ag.fresh if isinstance(self._ag, Leaf) else False

    @_fresh_grad.setter
    def _fresh_grad(self, value: bool) -> None:
        if isinstance(self._ag, Leaf):
            self._ag.fresh = value

    def zero_grad(self) -> None:
        """Set the gradient array to zeros."""
        if isinstance(self._ag, Leaf):
            self._ag.grad._t.zero_()

    def backward(self, out_grad: NDArray | None = None, retain_graph: bool = False, train_mode: bool = True) -> None:
        """Compute gradients of this array (summed, unless `out_grad` weighs its elements) for all arrays with
        attached gradients.
        """
        from ..autograd import backward  # upward edge: the tape stands above the array
        backward([self], None if out_grad is None else [out_grad], retain_graph, train_mode)

    # -- Python's protocols --------------------------------------------------------------------------------------------
    def __repr__(self) -> str:
        sizes = "x".join(map(str, self.shape))
        return f"\n{self.asnumpy()}\n<{type(self).__name__} {sizes} @{self._ctx}>"

    def __len__(self) -> int:
        if not self._t.dim():
            raise TypeError("len() of an array without axes")
        return self._t.shape[0]

    def __iter__(self) -> Iterator[NDArray]:
        return (self[index] for index in range(len(self)))

    def __bool__(self) -> bool:
        if self._t.numel() == 0:
            return False
        if self._t.numel() > 1:
            raise ValueError(explain("bool", "The truth value of an NDArray with multiple elements is ambiguous.",
                                     received=f"shape {self.shape}",
                                     fix="use (x > 0).sum().asscalar(), or x.max().asscalar()"))
        return bool(self._t.detach().item())

    def __int__(self) -> int:
        return int(self.asscalar())

    def __float__(self) -> float:
        return float(self.asscalar())

    def __index__(self) -> int:
        if self._t.dtype.is_floating_point:
            raise TypeError("only integer arrays of one element can be an index; write int(x)")
        return int(self.asscalar())

    __hash__ = object.__hash__

    def __reduce__(self) -> tuple[Any, tuple[Any, str, str]]:
        return _rebuild, (self.asnumpy(), self.dtype_name, str(self._ctx))

    def __copy__(self) -> NDArray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> NDArray:
        made = NDArray._wrap(self._t.detach().clone(), self._ctx)
        if isinstance(self._ag, Leaf):
            made.attach_grad(self._ag.req)
        return made

    def __getitem__(self, key: Any) -> NDArray:
        return read(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        write(self, key, value)

    # -- arithmetic: the common case of each sign is inlined -----------------------------------------------------------
    def __add__(self, other: Any) -> NDArray:
        mine = self._t
        if type(other) is NDArray:
            theirs = other._t
            if mine.dtype is theirs.dtype and self._ctx is other._ctx and _current() is None:
                try:
                    return _result(mine + theirs, self._ctx)
                except RuntimeError:
                    pass
        elif (type(other) is float or type(other) is int) and mine.is_floating_point() and _current() is None:
            try:
                return _result(mine + other, self._ctx)
            except OverflowError:  # a whole number of more than 64 bits: the operator says so
                pass
        return _arithmetic("broadcast_add", "_plus_scalar", self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> NDArray:
        mine = self._t
        if type(other) is NDArray:
            theirs = other._t
            if mine.dtype is theirs.dtype and self._ctx is other._ctx and _current() is None:
                try:
                    return _result(mine - theirs, self._ctx)
                except RuntimeError:
                    pass
        elif (type(other) is float or type(other) is int) and mine.is_floating_point() and _current() is None:
            try:
                return _result(mine - other, self._ctx)
            except OverflowError:  # a whole number of more than 64 bits: the operator says so
                pass
        return _arithmetic("broadcast_sub", "_minus_scalar", self, other)

    def __mul__(self, other: Any) -> NDArray:
        mine = self._t
        if type(other) is NDArray:
            theirs = other._t
            if mine.dtype is theirs.dtype and self._ctx is other._ctx and _current() is None:
                try:
                    return _result(mine * theirs, self._ctx)
                except RuntimeError:
                    pass
        elif (type(other) is float or type(other) is int) and mine.is_floating_point() and _current() is None:
            try:
                return _result(mine * other, self._ctx)
            except OverflowError:  # a whole number of more than 64 bits: the operator says so
                pass
        return _arithmetic("broadcast_mul", "_mul_scalar", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> NDArray:
        mine = self._t
        if type(other) is NDArray:
            theirs = other._t
            if (
                mine.dtype is theirs.dtype
                and mine.is_floating_point()
                and self._ctx is other._ctx
                and _current() is None
            ):
                try:
                    return _result(mine / theirs, self._ctx)
                except RuntimeError:
                    pass
        elif (type(other) is float or type(other) is int) and mine.is_floating_point() and _current() is None:
            try:
                return _result(mine / other, self._ctx)
            except OverflowError:  # a whole number of more than 64 bits: the operator says so
                pass
        return _arithmetic("broadcast_div", "_div_scalar", self, other)

    __div__ = __truediv__

    def __neg__(self) -> NDArray:
        return _arithmetic("", "_mul_scalar", self, -1.0 if self._t.is_floating_point() else -1)

    def __abs__(self) -> NDArray:
        return lookup("abs")(self)

    def reshape(self, *shape: Any, **options: Any) -> NDArray:
        """Return the same elements in another shape, as a view.

        Codes: 0 copies the size, -1 infers it, -2 copies all remaining sizes, -3 merges two axes, -4 splits one in
        the two sizes that follow; `reverse=True` matches from the right.
        """
        if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
            shape = tuple(shape[0])
        elif not shape:
            shape = tuple(options.pop("shape"))
        op = lookup("Reshape")
        if _current() is not None or options.keys() - {"reverse"}:
            return op(self, shape=shape, **options)
        try:
            return _result(op.kernel(self._t, shape, **options), self._ctx)
        except MXNetError:
            raise
        except Exception as error:
            raise explain_failure(op, (self._t,), {"shape": shape}, error) from error


wrap = NDArray._wrap


def values_of(array: NDArray) -> torch.Tensor:
    """Return the tensor of an array for its values or its shape: not necessarily on the tape."""
    place = array._ag
    return place.tensor if type(place) is Result else array._t


def _result(tensor: torch.Tensor, ctx: Context) -> NDArray:
    if tensor.requires_grad and not is_recording():
        tensor = tensor.detach()
    made = _new(NDArray)
    made._t = tensor
    made._ctx = ctx
    made._ag = None
    return made


def _arithmetic(array_op: str, scalar_op: str, left: NDArray, right: Any) -> Any:
    """The general case of a sign: symbols, numbers, NumPy arrays, other dtypes, the tracer."""
    if isinstance(right, (bool, int, float, np.number, np.bool_)):
        return invoke(lookup(scalar_op), (left,), {"scalar": right})
    if right is None or isinstance(right, (str, bytes, dict)):
        raise DTypeError(explain(array_op, "An array or a number is expected.",
                                 received=f"type {type(right).__name__}"))
    return invoke(lookup(array_op), (left, right), {})


def _reflected(array_op: str, scalar_op: str) -> Any:
    def method(self: NDArray, other: Any) -> Any:
        if isinstance(other, (bool, int, float, np.number, np.bool_)):
            return invoke(lookup(scalar_op), (self,), {"scalar": other})
        return invoke(lookup(array_op), (other, self), {})
    return method


def _forward(array_op: str, scalar_op: str) -> Any:
    def method(self: NDArray, other: Any) -> Any:
        return _arithmetic(array_op, scalar_op, self, other)
    return method


def _inplace(sign: str, method: str) -> Any:
    function = getattr(torch.Tensor, method)

    def apply(self: NDArray, other: Any) -> NDArray:
        tensor = self._writable(f"x {sign} y")
        value = other._t.detach() if isinstance(other, NDArray) else other
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(np.ascontiguousarray(value)).to(tensor.dtype)
        elif not isinstance(value, torch.Tensor):
            if not tensor.is_floating_point() and not isinstance(value, int):
                value = int(value)
        elif value.dtype is not tensor.dtype:
            raise DTypeError(explain(f"x {sign} y", "The element types differ.", expected=self.dtype_name,
                                     received=dtypes.name_of(value.dtype)))
        try:
            if sign == "/=" and not tensor.is_floating_point():
                tensor.div_(value, rounding_mode="trunc")
            else:
                function(tensor, value)
        except RuntimeError as error:
            raise ShapeError(explain(f"x {sign} y", str(error).splitlines()[0],
                                     expected=f"something that broadcasts to {self.shape}",
                                     received=getattr(other, "shape", other))) from None
        return self
    return apply


for _name, _sign, _torch in (("__iadd__", "+=", "add_"), ("__isub__", "-=", "sub_"), ("__imul__", "*=", "mul_"),
                             ("__itruediv__", "/=", "div_"), ("__imod__", "%=", "remainder_")):
    setattr(NDArray, _name, _inplace(_sign, _torch))
for _name, _array, _scalar in (
        ("__pow__", "broadcast_power", "_power_scalar"), ("__mod__", "broadcast_mod", "_mod_scalar"),
        ("__eq__", "broadcast_equal", "_equal_scalar"), ("__ne__", "broadcast_not_equal", "_not_equal_scalar"),
        ("__gt__", "broadcast_greater", "_greater_scalar"),
        ("__ge__", "broadcast_greater_equal", "_greater_equal_scalar"),
        ("__lt__", "broadcast_lesser", "_lesser_scalar"), ("__le__", "broadcast_lesser_equal", "_lesser_equal_scalar")):
    setattr(NDArray, _name, _forward(_array, _scalar))
for _name, _array, _scalar in (
        ("__rsub__", "broadcast_sub", "_rminus_scalar"), ("__rtruediv__", "broadcast_div", "_rdiv_scalar"),
        ("__rpow__", "broadcast_power", "_rpower_scalar"), ("__rmod__", "broadcast_mod", "_rmod_scalar")):
    setattr(NDArray, _name, _reflected(_array, _scalar))


def from_torch(tensor: torch.Tensor, ctx: Context | None = None) -> NDArray:
    """Return an array that shares a torch tensor's memory; a tensor on torch's tape stays on it under record()."""
    return NDArray(tensor, ctx)


def to_array(value: Any, ctx: Context | None = None, dtype: Any = None) -> NDArray:
    """Return an NDArray for what a user passes instead of one: NumPy arrays, numbers, lists, torch tensors (float32
    unless dtype says).
    """
    if isinstance(value, NDArray):
        return value
    context = contexts.as_context(ctx)
    if isinstance(value, torch.Tensor):
        return NDArray(value, ctx if ctx is not None and ctx.torch_device.type == value.device.type else None)
    try:
        array = np.asarray(value)
        if array.dtype == object:
            raise ValueError("its elements are not numbers of one shape")
        target, device = dtypes.as_torch(dtype), context.check()
        copy = array.astype(dtypes.as_numpy(target), order="C")
        # a few numbers, as labels are: NumPy's copy serves; of many, torch's own lies where its kernels like it
        small = copy.size <= 64 and device.type == "cpu"
        tensor = torch.from_numpy(copy) if small else torch.tensor(copy, device=device)
        if tensor.dtype is not target:
            tensor = tensor.to(target)
    except (ValueError, TypeError) as error:
        if isinstance(error, MXNetError):
            raise
        raise DTypeError(explain("nd.array", f"This cannot become an array: {error}.",
                                 expected="an NDArray, a NumPy array, a number or nested lists",
                                 received=f"{type(value).__name__}",
                                 fix="pad ragged lists to one length first")) from None
    return NDArray(tensor, context)


def _rebuild(array: np.ndarray, dtype: str, ctx: str) -> NDArray:
    return to_array(array, contexts.as_context(ctx), dtype)


set_array(NDArray, to_array)
