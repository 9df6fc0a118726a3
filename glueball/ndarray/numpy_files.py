"""NumPy's files, read without trusting them: `.npy` arrays, and `.npz` archives of them.

The one idea: NumPy allocates what a header claims before it looks whether the bytes are there, and a zip file may
unpack to a thousand times its size. So here headers are compared with the bytes that are left, and what archives unpack
to is bounded (`unpacking_bound`). Objects (pickles) are refused. Writing is NumPy's.
"""
from __future__ import annotations

import io
import zipfile
from typing import IO, Any

import numpy as np
import torch

from ..base.errors import FileFormatError, MXNetError, UnsupportedError, explain
from ..base.files import unpacking_bound
from .ndarray import NDArray

__all__ = ["read_npy", "read_npz", "to_array"]

_MOST_MEMBERS = 1 << 20
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def _fail(where: str, problem: str, at: int, size: int) -> FileFormatError:
    return FileFormatError(explain(where, problem, received=f"at byte {at} of {size}",
                                   fix="the file is truncated, corrupted or of another format; copy it again"))


def read_npy(data: bytes, where: str) -> np.ndarray:
    """Return the array in the bytes of a `.npy` file; it shares their memory where it can."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        if version == (3, 0):  # 2.0 with UTF-8 names of fields, and fields are refused anyway
            version = (2, 0)
        shape, by_columns, dtype = _HEADERS[version](file)
    except Exception as error:  # NumPy evaluates the header as a literal; what that may raise has no common base
        raise _fail(where, f"this NumPy file's header cannot be read: {str(error)[:200]}.", file.tell(),
                    len(data)) from None
    start, count = file.tell(), 1
    if dtype.hasobject:
        raise FileFormatError(explain(where, "This NumPy file holds Python objects (a pickle), which are not read: "
                                             "that would run the code inside."))
    if dtype.kind not in "biuf" or not dtype.itemsize:
        raise UnsupportedError(explain(where, "Arrays of this element type cannot be read.",
                                       expected="numbers or booleans", received=dtype))
    for size in shape:
        if isinstance(size, bool) or size < 0:
            raise _fail(where, f"a shape has a size of {size!r}.", start, len(data))
        count *= size
    if count * dtype.itemsize > len(data) - start:
        raise _fail(where, f"an array of shape {shape} needs {count * dtype.itemsize} bytes but only "
                           f"{len(data) - start} are left.", start, len(data))
    flat = np.frombuffer(data, dtype, count, start)
    try:
        return flat.reshape(shape, order="F" if by_columns else "C")
    except ValueError:  # sizes beside a 0 that no address can count, or more axes than NumPy has
        raise _fail(where, f"an array of shape {shape} is not possible.", start, len(data)) from None


def read_npz(data: bytes, where: str) -> dict[str, NDArray]:
    """Return the arrays in the bytes of a `.npz` file, by name."""
    allowed = unpacking_bound(len(data))
    found: dict[str, NDArray] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            claimed = sum(info.file_size for info in members)
            if claimed > allowed or len(members) > _MOST_MEMBERS:
                raise FileFormatError(explain(
                    where, "This archive would unpack to more than is believed of a file of its size.",
                    expected=f"at most {allowed} bytes", received=f"{claimed} bytes in {len(members)} files",
                    fix="if it is yours, save it again with numpy.savez, which does not compress"))
            for info in members:
                name = info.filename.removesuffix(".npy")
                if name in found:
                    raise _fail(where, f"the name {name!r} occurs twice.", info.header_offset, len(data))
                with archive.open(info) as file:
                    content = _read_all(file, info.file_size)
                found[name] = to_array(read_npy(content, f"{where}, array {name!r}"), f"{where}, array {name!r}")
    except MXNetError:
        raise
    except Exception as error:  # what zipfile raises for odd bytes has no common base
        raise FileFormatError(explain(where, f"This archive of NumPy arrays cannot be read: {error}.",
                                      received=f"{len(data)} bytes")) from None
    return found


def _read_all(file: IO[bytes], size: int) -> bytes:
    """Return a member's bytes, but not more than it claims."""
    content = file.read(size + 1)
    if len(content) != size:
        raise zipfile.BadZipFile(f"{len(content)} bytes instead of {size}")
    return content


def to_array(array: np.ndarray, where: str) -> NDArray:
    """Return a copy of what was read as an NDArray."""
    native: Any = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    try:
        return NDArray(torch.from_numpy(native))
    except TypeError:  # long double
        raise UnsupportedError(explain(where, "Arrays of this element type cannot be read.",
                                       received=array.dtype)) from None
