"""Optimiser states as bytes: the safetensors layout, written and read here in a page, never a pickle.

Layout: u64 length of the header (little endian), the header as JSON, then the arrays. The header maps a name such as
``"3.1"`` (second array of weight 3) to dtype, shape and byte range; its ``__metadata__`` holds the structure of the
states, the optimiser's plain settings and the update counts. Any safetensors reader opens it. A pickle could run code
of whoever wrote it, so MXNet's are refused.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import torch

from ..base.errors import FileFormatError, explain
from ..ndarray import NDArray

if TYPE_CHECKING:
    from .optimizer import Optimizer, State

__all__ = ["encode", "decode"]

FORMAT = "glueball.optimizer.states/1"
_DTYPES = {
    "F32": torch.float32,
    "F64": torch.float64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_LARGEST_HEADER = 100_000_000
_NOT_RESTORED = {"rescale_grad"}  # Trainer sets it anew at every step


def encode(states: dict[Any, State], optimizer: Optimizer | None) -> bytes:
    """Return the bytes for the states, with the optimiser's settings and counts when it is given."""
    tensors: dict[str, torch.Tensor] = {}
    structure = [[index, _flatten(state, str(index), tensors)] for index, state in states.items()]
    metadata = {"format": FORMAT, "structure": json.dumps(structure)}
    if optimizer is not None:
        metadata["optimizer"] = json.dumps(_settings(optimizer))
    header: dict[str, Any] = {"__metadata__": metadata}
    chunks, position = [], 0
    for name, tensor in tensors.items():
        chunk = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, position + len(chunk)],
        }
        chunks.append(chunk)
        position += len(chunk)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *chunks])


def _flatten(state: State, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Put the arrays of a state into `tensors`; return its structure: None, 0 for an array, or a list."""
    if state is None:
        return None
    if isinstance(state, (tuple, list)):
        return [_flatten(part, f"{name}.{number}", tensors) for number, part in enumerate(state)]
    tensors[name] = state._t
    return 0


def _settings(optimizer: Optimizer) -> dict[str, Any]:
    counts = [[device, list(own.items())] for device, own in optimizer._all_index_update_counts.items() if own]
    scheduler = optimizer.lr_scheduler
    return {
        "class": type(optimizer).__name__,
        "values": _plain_values(optimizer),
        "counts": counts,
        "scheduler": None if scheduler is None else [type(scheduler).__name__, _plain_values(scheduler)],
    }


def _plain_values(thing: object) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(thing).items()
        if (value is None or type(value) in (bool, int, float, str)) and name not in _NOT_RESTORED
    }


def decode(data: bytes, optimizer: Optimizer) -> dict[Any, State]:
    """Return the states in `data`; settings and counts go to `optimizer` once everything has been read."""
    header, body = _split(data)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise _broken("This is a safetensors file, but not one of optimizer states.", f"format {FORMAT!r}")
    try:
        claimed = sum(entry["data_offsets"][1] - entry["data_offsets"][0] for entry in header.values())
        if not claimed <= len(body):  # arrays that overlap would take up more memory than the file; NaN fails as well
            raise _broken("Arrays overlap, or the file ends early.", f"{claimed} bytes of arrays",
                          f"{len(body)} from byte {len(data) - len(body)}")
        arrays = {name: _array(name, entry, body) for name, entry in header.items()}
        states = {index: _unflatten(shape, str(index), arrays) for index, shape in json.loads(metadata["structure"])}
        settings = _read_settings(metadata["optimizer"]) if "optimizer" in metadata else None
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise _broken(
            f"The header is inconsistent: {type(error).__name__}: {error}.", "a file written by Trainer.save_states"
        ) from None
    if settings is not None:
        _restore(optimizer, *settings)
    return states


def _read_settings(
    text: str,
) -> tuple[str, dict[str, Any], dict[Any, dict[Any, int]], tuple[str, dict[str, Any]] | None]:
    """Return class, plain values, counts and (class, values) of the scheduler; any surprise is a KeyError, TypeError or
    ValueError.
    """
    settings = json.loads(text)
    scheduler = (
        None if settings["scheduler"] is None else (str(settings["scheduler"][0]), dict(settings["scheduler"][1]))
    )
    counts = {device: {index: int(n) for index, n in own} for device, own in settings["counts"]}
    return str(settings["class"]), dict(settings["values"]), counts, scheduler


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the bytes behind it."""
    if data[:1] == b"\x80" or data[:2] in (b"(d", b"(l", b"c_", b"}q"):
        raise FileFormatError(
            explain(
                "optimizer states",
                "This is a Python pickle, as MXNet writes it. It is not read: that would run the code inside it.",
                expected="a file written by Glueball's Trainer.save_states",
                fix="keep the network's weights (.params files load as they are); a few steps of training rebuild the "
                "states",
            )
        )
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, _LARGEST_HEADER):
        raise _broken(
            "The file is truncated or of another kind.", f"a header of {length} bytes", f"{len(data)} bytes in all"
        )
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise _broken("The header is not JSON.", "a file written by Trainer.save_states", repr(data[8:40]))
    return header, data[8 + length :]


def _array(name: str, entry: dict[str, Any], body: bytes) -> NDArray:
    """Return one array after checking its claims against the bytes that are there."""
    dtype, shape, (start, stop) = _DTYPES[entry["dtype"]], [int(n) for n in entry["shape"]], entry["data_offsets"]
    count = math.prod(shape)
    possible = math.prod(size or 1 for size in shape) < 1 << 60  # sizes beside a 0 that no address can count
    fits = 0 <= start <= stop <= len(body) and stop - start == count * dtype.itemsize
    if min(shape, default=0) < 0 or not possible or len(shape) > 32 or not fits:
        raise _broken(
            f"Array {name!r} does not fit into the file.",
            f"{count * dtype.itemsize} bytes for shape {tuple(shape)}",
            f"bytes {start} to {stop} of {len(body)}",
        )
    tensor = torch.frombuffer(bytearray(body[start:stop]), dtype=dtype) if count else torch.empty(0, dtype=dtype)
    return NDArray(tensor.reshape(shape))


def _unflatten(shape: Any, name: str, arrays: dict[str, NDArray]) -> State:
    if shape is None:
        return None
    if isinstance(shape, list):
        return tuple(_unflatten(part, f"{name}.{number}", arrays) for number, part in enumerate(shape))
    return arrays[name]


def _restore(
    optimizer: Optimizer,
    name: str,
    values: dict[str, Any],
    counts: dict[Any, dict[Any, int]],
    scheduler: tuple[str, dict[str, Any]] | None,
) -> None:
    own = type(optimizer).__name__
    if name != own:
        raise FileFormatError(
            explain(
                "optimizer states",
                "They were saved by another optimizer.",
                expected=own,
                received=name,
                fix=f"create the Trainer with {name.lower()!r}",
            )
        )
    _set_values(optimizer, values)
    if scheduler is not None and type(optimizer.lr_scheduler).__name__ == scheduler[0]:
        _set_values(optimizer.lr_scheduler, scheduler[1])
    current = next(
        (device for device, own in optimizer._all_index_update_counts.items() if own is optimizer._index_update_count),
        0,
    )
    optimizer._all_index_update_counts = counts
    optimizer._set_current_context(current)


def _set_values(thing: object, values: dict[str, Any]) -> None:
    own = vars(thing)
    own.update(
        {
            name: value
            for name, value in values.items()
            if name in own and name not in _NOT_RESTORED and _same_kind(own[name], value)
        }
    )


def _same_kind(old: object, new: object) -> bool:
    """Whether a setting may take a value from a file: plain, and of the kind that it has."""
    if old is None or new is None:
        return all(value is None or type(value) in (bool, int, float, str) for value in (old, new))
    return type(old) in (bool, int, float, str) and (type(old) is type(new) or {type(old), type(new)} == {int, float})


def _broken(problem: str, expected: object, received: object = None) -> FileFormatError:
    return FileFormatError(
        explain(
            "optimizer states",
            problem,
            expected=expected,
            received=received,
            fix="save the states again with Trainer.save_states, or train without loading them",
        )
    )
