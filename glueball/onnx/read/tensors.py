"""Arrays of an ONNX file: TensorProto as NumPy, with every length checked before anything is allocated.

The one idea: the file says sizes twice (dims, and how many bytes or numbers follow), and both must agree. Weights that
lie in another file are read from the model's own directory and from nowhere else. Nothing is executed, no pickle.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple, final

import numpy as np
import onnx
from onnx import TensorProto

from ...base.errors import FileFormatError, UnsupportedError, explain

__all__ = ["ELEMENTS", "Array", "Beside", "array_of", "element_name", "refusal", "shape_of"]

MAX_AXES = 32

# ONNX's number of an element type -> its public name
ELEMENTS: Mapping[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float64",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.UINT8: "uint8",
    TensorProto.UINT16: "uint16",
    TensorProto.UINT32: "uint32",
    TensorProto.UINT64: "uint64",
    TensorProto.INT8: "int8",
    TensorProto.INT16: "int16",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.BOOL: "bool",
}
_BITS = {"float16": np.dtype("<u2"), "bfloat16": np.dtype("<u2")}
# the typed field that holds an element type where raw_data does not
_FIELDS = {"float32": "float_data", "float64": "double_data", "int64": "int64_data", "uint32": "uint64_data",
           "uint64": "uint64_data"}  # the rest: int32_data


class Array(NamedTuple):
    """Numbers and the public name of their element type (bfloat16 comes as float32 numbers)."""

    data: np.ndarray
    dtype: str


def refusal(where: str, problem: str, received: object = None) -> FileFormatError:
    """Return the error about a file that cannot be what it says."""
    return FileFormatError(explain(where, problem, received=received,
                                   fix="the file is truncated, corrupted or of another format; copy it again"))


def element_name(number: int, where: str) -> str:
    """Return the public name of an element type.

    Raises
    ------
    UnsupportedError
        A type that has no arrays here (strings, 8-bit floats, complex numbers).
    """
    found = ELEMENTS.get(number)
    if found is None:
        known = TensorProto.DataType.Name(number) if number in TensorProto.DataType.values() else str(number)
        raise UnsupportedError(explain(where, f"The element type {known} is not supported.",
                                       expected=", ".join(ELEMENTS.values()), received=known))
    return found


def shape_of(dims: Any, where: str) -> tuple[int, ...]:
    """Return sizes that are possible."""
    shape = tuple(int(size) for size in dims)
    if len(shape) > MAX_AXES or any(size < 0 for size in shape):
        raise refusal(where, "These sizes are not possible.", shape[:40])
    return shape


@final
class Beside:
    """The files beside a model: where they lie, and how many of their bytes one reading has taken.

    A few bytes of a model can name the same gigabyte over and over, so what is taken is bounded by what is there.
    """

    def __init__(self, directory: str | None) -> None:
        self.directory = directory
        self._sizes: dict[str, int] = {}
        self._taken = 0

    def take(self, path: str, offset: int, length: int, where: str) -> bytes:
        """Return bytes of a file.

        Raises
        ------
        FileFormatError
            They are not there, or more is taken in all than twice what the files hold.
        """
        name = os.path.basename(path)
        size = self._sizes.setdefault(path, os.path.getsize(path))
        if offset < 0 or offset + length > size:
            raise refusal(where, f"{length} bytes are needed.", f"those from byte {offset} of {size} in {name}")
        self._taken += length
        if self._taken > 2 * sum(self._sizes.values()):
            raise refusal(where, "Its numbers, and those of the arrays before it, are the same bytes over and over.",
                          f"{self._taken} bytes in all from {', '.join(map(os.path.basename, self._sizes))}, "
                          f"which hold {sum(self._sizes.values())}")
        with open(path, "rb") as file:
            file.seek(offset)
            found = file.read(length)
        if len(found) != length:
            raise refusal(where, f"{length} bytes are needed.", f"{len(found)} bytes in {name}")
        return found


def array_of(tensor: onnx.TensorProto, beside: Beside, where: str) -> Array:
    """Return the numbers of a tensor.

    Parameters
    ----------
    tensor : TensorProto
        As the file holds it.
    beside : Beside
        The files beside the model.
    where : str
        What the tensor is, for messages.

    Raises
    ------
    FileFormatError
        Sizes that do not fit the numbers; a path that leaves the directory.
    UnsupportedError
        An element type without arrays.
    """
    name = element_name(tensor.data_type, where)
    shape = shape_of(tensor.dims, where)
    count = math.prod(shape)
    kind: np.dtype[Any] = _BITS[name] if name in _BITS else np.dtype(name).newbyteorder("<")
    if tensor.HasField("segment"):
        raise UnsupportedError(explain(where, "A tensor in segments is not supported."))
    if tensor.data_location == TensorProto.EXTERNAL:
        flat = np.frombuffer(_external(tensor, beside, count * kind.itemsize, where), kind)
    elif tensor.HasField("raw_data"):
        if len(tensor.raw_data) != count * kind.itemsize:
            raise refusal(where, f"Sizes {shape} of {name} need {count * kind.itemsize} bytes.",
                          f"{len(tensor.raw_data)} bytes")
        flat = np.frombuffer(tensor.raw_data, kind)
    else:
        flat = _typed(tensor, name, kind, count, where)
    if name == "bool" and flat.dtype != np.bool_:
        flat = flat != 0
    if name == "bool":
        flat = flat.view(np.uint8) != 0  # any byte but 0 is true
    if name == "float16":
        flat = flat.view(np.float16)
    if name == "bfloat16":
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    native = flat.dtype.newbyteorder("=")
    return Array(flat.astype(native).reshape(shape), name)


def _typed(tensor: onnx.TensorProto, name: str, kind: np.dtype[Any], count: int, where: str) -> np.ndarray:
    """Numbers in a typed field; small types lie in 32-bit ones."""
    values = getattr(tensor, _FIELDS.get(name, "int32_data"))
    if len(values) != count:
        raise refusal(where, f"{count} numbers of {name} are needed.", f"{len(values)} numbers")
    wide = np.array(values, np.dtype({"float_data": "f4", "double_data": "f8", "int64_data": "i8",
                                      "uint64_data": "u8"}.get(_FIELDS.get(name, ""), "i4")))
    return wide.astype(kind)


def _external(tensor: onnx.TensorProto, beside: Beside, length: int, where: str) -> bytes:
    """Read the bytes of a tensor from a file beside the model."""
    facts = {entry.key: entry.value for entry in tensor.external_data}
    location = facts.get("location", "")
    if beside.directory is None:
        raise UnsupportedError(explain(where, "Its numbers lie in another file.", received=location,
                                       fix="give the model's path, so that the file beside it is found"))
    root = os.path.realpath(beside.directory)
    path = os.path.realpath(os.path.join(root, location)) if "\0" not in location else ""
    if not location or os.path.isabs(location) or os.path.commonpath([root, path or os.sep]) != root:
        raise refusal(where, "The path of its numbers leaves the model's directory.", location)
    try:
        offset, said = int(facts.get("offset", 0)), int(facts.get("length", length))
    except ValueError:
        raise refusal(where, "Offset and length of its numbers must be whole numbers.", facts) from None
    if not os.path.isfile(path):
        raise refusal(where, "The file with its numbers is missing.", location)
    if said != length:
        raise refusal(where, f"{length} bytes are needed.", f"{said} bytes from byte {offset} of {location}")
    return beside.take(path, offset, length, where)
