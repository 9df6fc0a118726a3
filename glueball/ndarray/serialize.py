"""Files of arrays: MXNet-compatible `.params` (lists and dictionaries of arrays) and safetensors, chosen by the
name's ending.

The one idea: a reader trusts nothing: every length is checked against the bytes that are left before anything is
allocated, and an error names the byte offset. Writing goes to a temporary file that is renamed. Layout:
docs/formats.md. No pickle, nothing is executed.
"""
from __future__ import annotations

import os
import stat
import struct
from collections.abc import Mapping, Sequence
from io import BufferedReader
from typing import Any

import torch

from ..base import dtype as dtypes
from ..base.context import cpu
from ..base.errors import DTypeError, FileFormatError, UnsupportedError, explain
from ..base.files import write_atomically
from ..base.memory import LARGE, keep_freed
from .ndarray import NDArray
from .numpy_files import read_npy, read_npz, to_array
from .sparse_array import CSRNDArray, RowSparseNDArray

__all__ = ["save", "load", "load_frombuffer", "dump_bytes", "parse_bytes"]

LIST_MAGIC = 0x112
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
MAX_AXES = 32
_MOST_ELEMENTS = 1 << 48  # of a sparse array as a whole: more cannot be counted in bytes
_INDEX_FLAGS = (3, 4, 5, 6, 8, 9, 10, 11)


class _Reader:
    """A cursor over bytes whose every step is checked."""

    def __init__(self, data: memoryview, where: str) -> None:
        self.data, self.size, self.where, self.at = data, len(data), where, 0

    def fail(self, problem: str, at: int | None = None) -> FileFormatError:
        return FileFormatError(explain(self.where, problem,
                                       received=f"at byte {self.at if at is None else at} of {self.size}",
                                       fix="the file is truncated, corrupted or of another format; copy it again"))

    def require(self, count: int, what: str) -> None:
        if count < 0 or count > self.size - self.at:
            raise self.fail(f"{what} needs {count} bytes but only {self.size - self.at} are left.")

    def take(self, count: int, what: str) -> bytes | memoryview:
        self.require(count, what)
        self.at += count
        return self._next(count)

    def _next(self, count: int) -> bytes | memoryview:
        return self.data[self.at - count:self.at]

    def _fill(self, target: memoryview) -> None:
        """Copy the bytes before `at` into `target`, as many as it has."""
        target[:] = self._next(len(target))

    def number(self, code: str, what: str) -> Any:
        return self.numbers(code, what)[0]

    def numbers(self, code: str, what: str) -> tuple[Any, ...]:
        code = "<" + code  # without gaps
        return struct.unpack(code, self.take(struct.calcsize(code), what))

    def shape(self, code: str, ndim: int | None = None) -> tuple[int, ...]:
        return self.shape_and(code, "", self.number("i", "a shape") if ndim is None else ndim)[0]

    def shape_and(self, code: str, then: str, ndim: int) -> tuple[tuple[int, ...], tuple[Any, ...]]:
        """Return a shape and the numbers behind it."""
        if not -1 <= ndim <= MAX_AXES:
            raise self.fail(f"a shape of {ndim} axes is not possible.")
        found = self.numbers(f"{max(ndim, 0)}{code}{then}", "a shape, a device and a type flag" if then else "a shape")
        sizes = found[:max(ndim, 0)]
        if min(sizes, default=0) < -1:
            raise self.fail(f"a shape has a negative size: {sizes}.")
        return sizes, found[max(ndim, 0):]

    def values(self, shape: Sequence[int], flag: int) -> torch.Tensor:
        if -1 in shape:
            raise self.fail(f"an array has a negative size: {shape}.")
        try:
            dtype = dtypes.from_flag(flag)
        except DTypeError:
            raise self.fail(f"type flag {flag} is unknown.") from None
        count = 1
        for s in shape:
            count *= s
        self.require(count * dtype.itemsize, f"an array of shape {tuple(shape)}")  # before anything is allocated
        if count == 0:
            try:
                return torch.empty(tuple(shape), dtype=dtype)
            except RuntimeError:  # sizes beside the 0 that no address can count
                raise self.fail(f"an array of shape {tuple(shape)} is not possible.") from None
        values = torch.empty(tuple(shape), dtype=dtype)
        plain = values.view(torch.int16) if dtype is torch.bfloat16 else values  # NumPy lacks it
        self.at += values.nbytes
        self._fill(plain.numpy().reshape(-1).view("u1").data)
        return values


class _FileReader(_Reader):
    """The same over an open file: values go from the file into the arrays' memory, with no copy between."""

    def __init__(self, file: BufferedReader, size: int, where: str) -> None:
        super().__init__(memoryview(b""), where)
        self.file, self.size = file, size

    def _next(self, count: int) -> bytes:
        part = self.file.read(count)
        if len(part) != count:
            raise self.fail("the file was cut while it was read.")
        return part

    def _fill(self, target: memoryview) -> None:
        done = 0
        while done < len(target):
            count = self.file.readinto(target[done:] if done else target)
            if not count:
                raise self.fail("the file was cut while it was read.")
            done += count


def _read_array(reader: _Reader) -> NDArray | None:
    start = reader.at
    magic = reader.number("I", "an array")
    code = "q"
    if magic in (V2, V3):
        stype = reader.number("i", "a storage type")
        if stype in (1, 2):
            return _read_sparse(reader, stype)
        if stype not in (0, -1):
            raise reader.fail(f"storage type {stype} is unknown.", start)
        ndim = reader.number("i", "a shape")
    elif magic == V1:
        ndim = reader.number("i", "a shape")
    elif magic <= MAX_AXES:
        code, ndim = "I", magic
    else:
        raise reader.fail(f"{magic:#x} does not begin an array.", start)
    if magic == V3:  # sizes may say that there is no array, and then nothing follows
        shape = reader.shape(code, ndim)
        if ndim == -1 or -1 in shape:
            return None
        return NDArray(reader.values(shape, reader.numbers("iii", "a device and a type flag")[2]))
    if ndim == 0:
        return None
    shape, (_, _, flag) = reader.shape_and(code, "iii", ndim)
    return NDArray(reader.values(shape, flag))


def _read_sparse(reader: _Reader, stype: int) -> NDArray:
    stored = reader.shape("q")
    shape = reader.shape("q")
    reader.take(8, "a device")
    flag = reader.number("i", "a type flag")
    aux = [(reader.number("i", "an index type"), reader.shape("q")) for _ in range(1 if stype == 1 else 2)]
    data = reader.values(stored, flag)
    if any(f not in _INDEX_FLAGS for f, _ in aux):
        raise reader.fail("the places in a sparse array are not whole numbers.")
    indices = [reader.values(s, f).long() for f, s in aux]
    count = 1
    for s in shape:
        count *= s
    if not shape or min(shape) < 0 or count > _MOST_ELEMENTS:
        raise reader.fail(f"a sparse array of shape {shape} is not possible.")
    problem = (_rows_problem if stype == 1 else _csr_problem)(shape, data, *indices)
    if problem:
        raise reader.fail(f"the parts of a sparse array do not fit its shape {shape}: {problem}.")
    if stype == 1:
        return RowSparseNDArray(data, indices[0], shape, cpu())
    return CSRNDArray(data, indices[0], indices[1], shape, cpu())


def _rows_problem(shape: tuple[int, ...], data: torch.Tensor, rows: torch.Tensor) -> str:
    """Return what is wrong with the parts of a row-sparse array, or nothing."""
    if rows.ndim != 1 or tuple(data.shape) != (len(rows), *shape[1:]):
        return f"{tuple(rows.shape)} row numbers and {tuple(data.shape)} values"
    if len(rows) and (int(rows[0]) < 0 or int(rows[-1]) >= shape[0] or bool((rows.diff() <= 0).any())):
        return "row numbers must rise, from 0 on"
    return ""


def _csr_problem(shape: tuple[int, ...], data: torch.Tensor, starts: torch.Tensor, columns: torch.Tensor) -> str:
    """Return what is wrong with the parts of a CSR matrix, or nothing."""
    if len(shape) != 2 or data.ndim != 1 or starts.ndim != 1 or columns.ndim != 1:
        return "a matrix has vectors of values, row starts and columns"
    if len(starts) != shape[0] + 1 or len(columns) != len(data):
        return f"{len(starts)} row starts, {len(columns)} columns, {len(data)} values"
    if int(starts[0]) != 0 or int(starts[-1]) != len(data) or bool((starts.diff() < 0).any()):
        return f"row starts must rise from 0 to {len(data)}"
    if len(columns) and (int(columns.min()) < 0 or int(columns.max()) >= shape[1]):
        return f"columns must be 0 to {shape[1] - 1}"
    return ""


def parse_bytes(data: bytes | memoryview, where: str = "buffer") -> dict[str, NDArray] | list[NDArray]:
    """Return what the bytes of a `.params` file hold: a dictionary, or a list when there are no names."""
    return _parse(_Reader(memoryview(data), where))


def _read_names(reader: _Reader, count: int) -> list[str]:
    """Return the names, which fill the rest of the file."""
    start, rest = reader.at, bytes(reader.take(reader.size - reader.at, "the names"))
    names, at = [], 0
    for _ in range(count):
        length = int.from_bytes(rest[at:at + 8], "little")
        if at + 8 + length > len(rest):
            raise reader.fail(f"a name needs {8 + length} bytes but only {len(rest) - at} are left.", start + at)
        try:
            names.append(rest[at + 8:at + 8 + length].decode("utf-8"))
        except UnicodeDecodeError:
            raise reader.fail("a name is not UTF-8 text.", start + at) from None
        at += 8 + length
    if at != len(rest):
        raise reader.fail(f"{len(rest) - at} bytes follow the end.", start + at)
    return names


def _parse(reader: _Reader) -> dict[str, NDArray] | list[NDArray]:
    if reader.number("Q", "the header") != LIST_MAGIC:
        raise reader.fail("this is not a file of arrays: its first 8 bytes are not 0x112.", 0)
    reader.take(8, "the header")
    count = reader.number("Q", "the number of arrays")
    if count > reader.size // 8:
        raise reader.fail(f"{count} arrays cannot be in a file of this size.")
    arrays = [_read_array(reader) for _ in range(count)]
    name_count = reader.number("Q", "the number of names")
    if name_count not in (0, count):
        raise reader.fail(f"there are {name_count} names for {count} arrays.")
    names = _read_names(reader, name_count)
    if len(set(names)) != len(names):
        raise reader.fail("a name occurs twice.")
    if names:
        return {name: array for name, array in zip(names, arrays) if array is not None}
    return [array for array in arrays if array is not None]


def _array_bytes(array: NDArray) -> list[bytes]:
    tensor = array._t.detach().cpu().contiguous()
    shape = tuple(tensor.shape)
    zero = 0 in shape or not shape
    header = struct.pack("<Iii", V3 if zero else V2, 0, len(shape)) + struct.pack(f"<{len(shape)}q", *shape)
    header += struct.pack("<iii", 1, 0, dtypes.flag_of(tensor.dtype))
    raw = tensor.view(torch.int16) if tensor.dtype is torch.bfloat16 else tensor
    return [header, raw.numpy().tobytes()]


def dump_bytes(data: Any) -> list[bytes]:
    """Return the pieces of a `.params` file for an array, a list or a dictionary of arrays."""
    if isinstance(data, NDArray):
        data = [data]
    named = isinstance(data, Mapping)
    arrays = list(data.values()) if named else list(data)
    for array in arrays:
        if not isinstance(array, NDArray):
            raise DTypeError(explain("nd.save", "Only NDArrays can be saved.",
                                     expected="an NDArray, or a list or dict of them", received=type(array).__name__))
    parts = [struct.pack("<QQQ", LIST_MAGIC, 0, len(arrays))]
    for array in arrays:
        parts += _array_bytes(array)
    names = [str(name).encode("utf-8") for name in data] if named else []
    parts.append(struct.pack("<Q", len(names)))
    parts += [struct.pack("<Q", len(name)) + name for name in names]
    return parts


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError:
        raise UnsupportedError(explain("safetensors",
                                       "The package that reads and writes .safetensors is not installed.",
                                       fix="pip install safetensors, or use a name that ends in .params")) from None
    return safetensors.torch


def save(fname: str, data: Any) -> None:
    """Write an array, a list or a dictionary of arrays; `.safetensors` by the ending, the compatible `.params` layout
    otherwise.

    >>> import tempfile, os
    >>> from glueball import nd
    >>> path = os.path.join(tempfile.mkdtemp(), "a.params")
    >>> nd.save(path, {"x": nd.ones((2,))})
    >>> nd.load(path)["x"].asnumpy().tolist()
    [1.0, 1.0]
    """
    if str(fname).endswith(".safetensors"):
        named = data if isinstance(data, Mapping) else {str(i): a for i,
                                                        a in enumerate([data] if isinstance(data, NDArray) else data)}
        tensors = {name: array._t.detach().cpu().contiguous().clone() for name, array in named.items()}
        write_atomically(fname, _safetensors().save(tensors, metadata={"format": "glueball"}))
        return
    write_atomically(fname, dump_bytes(data))


def load(fname: str) -> Any:
    """Return what a file holds: a dictionary of arrays, or a list when they have no names. The format is told by its
    first bytes.
    """
    with open(fname, "rb") as file:
        status = os.fstat(file.fileno())
        start = file.peek(8)[:8]
        if stat.S_ISREG(status.st_mode) and start == struct.pack("<Q", LIST_MAGIC):
            if status.st_size >= LARGE // 2:  # most of the time goes into new pages: what was loaded before left some
                keep_freed()
            return _parse(_FileReader(file, status.st_size, os.fspath(fname)))
        data = file.read()
    return load_frombuffer(data, os.fspath(fname))


def load_frombuffer(buf: bytes, where: str = "buffer") -> Any:
    """Return what bytes in the format of a file hold."""
    if buf[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return read_npz(buf, where)
    if buf[:6] == b"\x93NUMPY":
        return [to_array(read_npy(buf, where), where)]
    if len(buf) > 9 and buf[8:9] == b"{":
        return _load_safetensors(buf, where)
    return parse_bytes(buf, where)


def _load_safetensors(buf: bytes, where: str) -> dict[str, NDArray]:
    try:
        tensors = _safetensors().load(buf)
    except UnsupportedError:
        raise
    except Exception as error:  # its exceptions have no common base but this
        raise FileFormatError(explain(where, f"This is not a valid safetensors file: {error}",
                                      received=f"{len(buf)} bytes; the header claims "
                                               f"{int.from_bytes(buf[:8], 'little')} from byte 8")) from None
    for name, tensor in tensors.items():
        if not dtypes.is_known(tensor.dtype):
            raise UnsupportedError(explain(where, f"Array {name!r} has an element type that cannot be read.",
                                           received=tensor.dtype))
    return {name: NDArray(tensor) for name, tensor in tensors.items()}
