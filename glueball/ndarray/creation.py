"""Making arrays: array, zeros, ones, full, empty, arange, linspace, eye, and bridges from NumPy, torch and DLPack.

The one idea: `ctx` chooses the device (the current one by default) and `dtype` is float32 unless given. Inside a
hybridized forward these calls are constants of the trace. Random arrays: nd.random.
"""
from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..base import context as contexts
from ..base import dtype as dtypes
from ..base.context import Context
from ..base.errors import DTypeError, ShapeError, explain
from ..dispatch import CURRENT
from .ndarray import NDArray, from_torch, to_array

__all__ = ["array", "zeros", "ones", "full", "empty", "arange", "linspace", "eye", "from_numpy", "from_dlpack",
           "to_dlpack_for_read",
           "to_dlpack_for_write", "from_torch", "concatenate", "Custom", "moveaxis", "onehot_encode", "imdecode",
           "waitall"]

_current = CURRENT.get


def _made(tensor: torch.Tensor, context: Context) -> NDArray:
    return NDArray(tensor, context)


def _sizes(shape: Any) -> tuple[int, ...]:
    if type(shape) is tuple and len(shape) == 2:  # most are written like this
        rows, columns = shape
        if type(rows) is int and type(columns) is int and rows >= 0 and columns >= 0:
            return shape
    sizes = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(int(s) for s in shape)
    if any(s < 0 for s in sizes):
        raise ShapeError(explain("shape", "Sizes cannot be negative.", received=sizes))
    return sizes


def array(source_array: Any, ctx: Context | None = None, dtype: Any = None) -> NDArray:
    """Return an array with a copy of the values. float32, unless `dtype` says otherwise or the source is an NDArray.

    >>> array([[1, 2, 3]]).shape
    (1, 3)
    """
    if isinstance(source_array, NDArray):
        context = source_array._ctx if ctx is None else contexts.as_context(ctx)
        tensor = source_array._t.detach().to(device=context.check(), dtype=source_array._t.dtype if dtype is None
                                             else dtypes.as_torch(dtype), copy=True)
        return _made(tensor, context)
    if isinstance(source_array, (list, tuple)) and source_array and isinstance(source_array[0], NDArray):
        source_array = [x.asnumpy() if isinstance(x, NDArray) else x for x in source_array]
    if isinstance(source_array, torch.Tensor):
        source_array = source_array.detach().cpu().numpy()
    context = contexts.as_context(ctx)
    return to_array(source_array, context, dtype)


def zeros(shape: Any, ctx: Context | None = None, dtype: Any = None, stype: str | None = None,
          out: NDArray | None = None, **kwargs: Any) -> NDArray:
    """Return an array of zeros."""
    context = contexts.as_context(ctx)
    if stype not in (None, "default"):
        from . import sparse  # upward edge: only sparse arrays know the other storage types
        return sparse.zeros(stype, shape, context, dtype)
    interpreter = _current()
    if interpreter is not None and out is None:
        found = interpreter.zeros(shape, dtype, context)
        if found is not None:
            return found
    return _into(out, torch.zeros(_sizes(shape), dtype=dtypes.as_torch(dtype), device=context.check()), context)


def own_zeros(shape: Any, ctx: Context, dtype: Any) -> NDArray:
    """Return an array of zeros, whoever listens."""
    return _made(torch.zeros(_sizes(shape), dtype=dtypes.as_torch(dtype), device=ctx.check()), ctx)


def ones(shape: Any, ctx: Context | None = None, dtype: Any = None, out: NDArray | None = None,
         **kwargs: Any) -> NDArray:
    """Return an array of ones."""
    context = contexts.as_context(ctx)
    return _into(out, torch.ones(_sizes(shape), dtype=dtypes.as_torch(dtype), device=context.check()), context)


def full(shape: Any, val: Any, ctx: Context | None = None, dtype: Any = None, out: NDArray | None = None) -> NDArray:
    """Return an array filled with `val`."""
    context = contexts.as_context(ctx)
    try:
        filled = torch.full(_sizes(shape), val, dtype=dtypes.as_torch(dtype), device=context.check())
    except (OverflowError, RuntimeError) as error:
        if "overflow" not in str(error) and not isinstance(error, OverflowError):
            raise
        raise DTypeError(explain("full", "The number is too large for the element type.",
                                 expected=dtypes.name_of(dtype), received=val)) from None
    return _into(out, filled, context)


def empty(shape: Any, ctx: Context | None = None, dtype: Any = None, stype: str | None = None) -> NDArray:
    """Return an array whose values are not set."""
    context = contexts.as_context(ctx)
    return _made(torch.empty(_sizes(shape), dtype=dtypes.as_torch(dtype), device=context.check()), context)


def arange(start: float, stop: float | None = None, step: float = 1.0, repeat: int = 1, infer_range: bool = False,
           ctx: Context | None = None, dtype: Any = None) -> NDArray:
    """Return start, start + step, … below stop, each repeated `repeat` times.

    >>> arange(3).asnumpy().tolist()
    [0.0, 1.0, 2.0]
    """
    context = contexts.as_context(ctx)
    if stop is None:
        start, stop = 0, start
    values = torch.arange(start, stop, step, dtype=dtypes.as_torch(dtype), device=context.check())
    return _made(values.repeat_interleave(repeat) if repeat != 1 else values, context)


def linspace(start: float, stop: float, num: int, endpoint: bool = True, ctx: Context | None = None,
             dtype: Any = None) -> NDArray:
    """Return `num` evenly spaced numbers."""
    context = contexts.as_context(ctx)
    values = np.linspace(start, stop, num, endpoint=endpoint)
    return to_array(values, context, dtype)


def eye(N: int, M: int = 0, k: int = 0, ctx: Context | None = None, dtype: Any = None,
        **kwargs: Any) -> NDArray:
    """Return an N × M matrix (M = 0: square) with ones on diagonal `k`."""
    return to_array(np.eye(N, M or None, k), contexts.as_context(ctx), dtype)


def _into(out: NDArray | None, tensor: torch.Tensor, context: Context) -> NDArray:
    if out is None:
        return _made(tensor, context)
    out._assign(tensor)
    return out


def from_numpy(ndarray: np.ndarray, zero_copy: bool = True) -> NDArray:
    """Return an array that shares the memory of a NumPy array (a copy when `zero_copy` is False); the dtype is kept."""
    tensor = torch.from_numpy(ndarray if ndarray.flags.writeable and zero_copy else ndarray.copy())
    return _made(tensor, contexts.cpu())


def from_dlpack(dlpack: Any) -> NDArray:
    """Return an array that shares the memory of any DLPack object or capsule."""
    return from_torch(torch.from_dlpack(dlpack))


def to_dlpack_for_read(data: NDArray) -> Any:
    """Return a DLPack capsule that shares the array's memory."""
    return data.to_dlpack_for_read()


to_dlpack_for_write = to_dlpack_for_read


def concatenate(arrays: Any, axis: int = 0, always_copy: bool = True) -> NDArray:
    """Join arrays along an existing axis."""
    from ..ops.opdef import lookup
    return lookup("Concat")(*arrays, dim=axis)


def Custom(*data: Any, op_type: str, name: str | None = None, **kwargs: Any) -> Any:
    """Run a user-defined operator (glueball.operator); other keyword arguments go to its constructor."""
    from ..dispatch import invoke
    from ..ops.opdef import lookup
    return invoke(lookup("Custom"), data,
                  {"op_type": op_type, "options": tuple((k, str(v)) for k, v in kwargs.items())}, None, name)


def moveaxis(tensor: NDArray, source: Any, destination: Any) -> NDArray:
    """Move axes to new places; the others keep their order."""
    rank = tensor.ndim
    sources = [s % rank for s in ((source,) if isinstance(source, int) else source)]
    targets = [d % rank for d in ((destination,) if isinstance(destination, int) else destination)]
    order = [axis for axis in range(rank) if axis not in sources]
    for target, axis in sorted(zip(targets, sources)):
        order.insert(target, axis)
    return tensor.transpose(order)


def onehot_encode(indices: NDArray, out: NDArray) -> NDArray:
    """Write the one-hot rows of `indices` into `out`."""
    from ..ops.opdef import lookup
    out._assign(lookup("one_hot")(indices, depth=out.shape[1])._t.to(out._t.dtype))
    return out


def imdecode(str_img: bytes, *args: Any, **kwargs: Any) -> NDArray:
    """Decode an encoded image: see `glueball.image.imdecode`."""
    from ..image import imdecode as decode  # upward edge: kept for the old name
    return decode(str_img, *args, **kwargs)


def waitall() -> None:
    """Wait until all work on all devices is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
