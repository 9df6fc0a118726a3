"""Reading and writing parts of an array: `x[key]` and `x[key] = value`.

The one idea: a key is turned once into what torch understands (positions checked, negative steps and float positions
resolved); a part that lies contiguously in memory is a view that writes through, any other part is a copy, as in
Gluon 1.x. Arrays and lists in a key are positions; arrays of dtype bool are masks.
"""
from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..base.errors import AutogradError, ShapeError, explain
from ..base.modes import is_recording

__all__ = ["read", "write"]

_HELP = "an int, a slice, None, Ellipsis, a list or array of positions, a bool mask, or a tuple of these"


def read(array: Any, key: Any) -> Any:
    """Return ``array[key]``: a view when the part is contiguous in memory, a copy otherwise."""
    tensor = array._t
    resolved = _resolve(key, tensor)
    try:
        part = _apply(tensor, resolved)
    except (IndexError, RuntimeError) as error:
        raise _failure(key, tensor, error) from None
    if not part.is_contiguous():
        part = part.contiguous()
    if part.dim() == 0:
        part = part.reshape(1)  # an element is an array of shape (1,): there are no scalars in the classic API
    return type(array)._wrap(part, array._ctx)


def write(array: Any, key: Any, value: Any) -> None:
    """Do ``array[key] = value`` in place; the value is cast to the array's dtype and broadcast."""
    source = getattr(value, "_t", value)
    if is_recording() and isinstance(source, torch.Tensor) and source.requires_grad:
        raise AutogradError(explain("x[...] = y", "Writing a recorded value into an array would lose its gradient.",
                                    fix="build the array with nd.stack, nd.concat or nd.where instead of filling it"))
    tensor = array._writable("x[...] = y")
    if not isinstance(source, (torch.Tensor, int, float, bool)):
        source = torch.as_tensor(np.asarray(source))
    if isinstance(source, torch.Tensor):
        source = source.detach().to(device=tensor.device, dtype=tensor.dtype)
        if source.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr():
            source = source.clone()  # x[1:] = x[:-1] reads what it writes
    elif isinstance(source, float) and not tensor.dtype.is_floating_point:
        source = int(source)
    if isinstance(key, slice) and key == slice(None):
        resolved: Any = (slice(None),) if tensor.dim() else ()
    else:
        resolved = _resolve(key, tensor)
    try:
        _assign(tensor, resolved, source)
    except (IndexError, RuntimeError) as error:
        raise _failure(key, tensor, error, value) from None


def _has_negative_step(resolved: Any) -> bool:
    return isinstance(resolved, tuple) and any(isinstance(k, slice) and k.step is not None and k.step < 0
                                               for k in resolved)


def _positions(tensor: torch.Tensor, resolved: Any) -> torch.Tensor:
    """Return the flat positions of the elements that a key selects, by asking NumPy: torch refuses negative steps."""
    key = tuple(k.cpu().numpy() if isinstance(k, torch.Tensor) else k for k in resolved)
    places = np.arange(tensor.numel()).reshape(tuple(tensor.shape))[key]
    return torch.from_numpy(np.array(places)).to(tensor.device)


def _apply(tensor: torch.Tensor, resolved: Any) -> torch.Tensor:
    if _has_negative_step(resolved):
        return tensor.reshape(-1)[_positions(tensor, resolved)]
    return tensor[resolved]


def _assign(tensor: torch.Tensor, resolved: Any, source: Any) -> None:
    places = _positions(tensor, resolved) if _has_negative_step(resolved) else None
    if isinstance(source, torch.Tensor) and source.dim():
        shape = tensor[resolved].shape if places is None else places.shape
        if source.shape != shape and source.numel() == shape.numel():
            source = source.reshape(shape)  # (1, n) into (n,) and the like
    if places is None:
        tensor[resolved] = source
    else:
        values = source.expand(places.shape).reshape(-1) if isinstance(source, torch.Tensor) else torch.full(
            (places.numel(),), source, dtype=tensor.dtype, device=tensor.device)
        tensor.put_(places.reshape(-1), values)


def _resolve(key: Any, tensor: torch.Tensor) -> Any:
    """Return the key in torch's terms."""
    if isinstance(key, tuple):
        expanded = _expand_ellipsis(key, tensor.dim())
        resolved: list[Any] = []
        axis = 0
        for part in expanded:
            resolved.append(_part(part, tensor, axis))
            if part is not None:
                mask = resolved[-1]
                axis += mask.dim() if isinstance(mask, torch.Tensor) and mask.dtype is torch.bool else 1
        return tuple(resolved)
    part = _part(key, tensor, 0)
    return (part,) if isinstance(part, slice) else part


def _expand_ellipsis(key: tuple[Any, ...], rank: int) -> tuple[Any, ...]:
    spots = [i for i, k in enumerate(key) if k is Ellipsis]
    if not spots:
        return key
    used = sum(1 for k in key if k is not None and k is not Ellipsis)
    fill = (slice(None),) * (rank - used)
    return key[:spots[0]] + fill + key[spots[0] + 1:]


def _part(part: Any, tensor: torch.Tensor, axis: int) -> Any:
    if part is None or part is Ellipsis or isinstance(part, slice):
        return (
            part
            if not isinstance(part, slice)
            else slice(*(None if v is None else int(v) for v in (part.start, part.stop, part.step)))
        )
    if isinstance(part, (bool, np.bool_)):
        return torch.tensor(bool(part), device=tensor.device)
    if isinstance(part, (int, np.integer)):
        size = tensor.shape[axis] if axis < tensor.dim() else None
        if size is None:
            raise IndexError(explain("x[key]", "Too many indices.", expected=f"at most {tensor.dim()} axes",
                                     received=f"shape {tuple(tensor.shape)}"))
        if not -size <= part < size:
            raise IndexError(f"index {part} is out of bounds for axis {axis} with size {size}")
        return int(part)
    held = getattr(part, "_t", part)
    if isinstance(part, (float, np.floating)):
        raise IndexError(explain("x[key]", "A position must be a whole number.", expected=_HELP, received=repr(part),
                                 fix="int(...)"))
    if not isinstance(held, torch.Tensor):
        try:
            held = torch.as_tensor(np.asarray(held))
        except (TypeError, ValueError):
            raise IndexError(explain("x[key]", "This cannot index an array.", expected=_HELP,
                                     received=repr(part))) from None
    if held.dtype is torch.bool:
        return held.detach().to(tensor.device)
    if held.numel() == 0:
        return held.detach().to(tensor.device, torch.int64)
    return held.detach().to(tensor.device, torch.int64)


def _failure(key: Any, tensor: torch.Tensor, error: Exception, value: Any = None) -> Exception:
    text = str(error).splitlines()[0]
    if isinstance(error, IndexError):
        return IndexError(
            text
            if text.startswith(("index", "x["))
            else explain("x[key]", text, expected=_HELP, received=f"key {key!r}, shape {tuple(tensor.shape)}")
        )
    received = f"shape {tuple(tensor.shape)}, key {key!r}" + ("" if value is None
                                                              else f", value {getattr(value, 'shape', value)}")
    return ShapeError(explain("x[key] = value" if value is not None else "x[key]", text, received=received))
