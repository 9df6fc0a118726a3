"""RecordIO: the `.rec` container of (image) records and its `.idx` index, byte for byte as MXNet 1.x writes it.

The one idea: a record is one or more *parts* `magic, flag and length, payload, padding to 4 bytes`; wherever the magic
number stands at a 4-byte boundary of a payload the writer cuts there and leaves the magic out, so that a reader can
find its feet anywhere in a file. Everything read is checked before it is believed: a file that is truncated or lies
about a length raises FileFormatError with the byte offset. Reads name their position (`pread`), so threads and forked
workers may share one reader. Images are encoded in image/codec.py.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections.abc import Callable, Iterator
from numbers import Number
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .base.errors import ArgumentError, FileFormatError, MXNetError, explain

__all__ = ["IRHeader", "MXIndexedRecordIO", "MXRecordIO", "MissingRecordError"]
__all__ += ["pack", "pack_img", "rebuild_index", "unpack", "unpack_img"]

_MAGIC = 0xCED7230A
_MAGIC_BYTES = struct.pack("<I", _MAGIC)
_PART = struct.Struct("<II")
_LENGTH_LIMIT = 1 << 29  # three bits of the second word are the flag
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)


class MissingRecordError(MXNetError, KeyError):
    """An index has no record of the key asked for."""

    def __str__(self) -> str:  # KeyError would print the quoted repr
        return str(self.args[0]) if self.args else ""


Kind = TypeVar("Kind", bound=MXNetError)


def _refusal(kind: type[Kind], where: str, problem: str, **details: Any) -> Kind:
    """Return an error whose message is made of these parts."""
    return kind(explain(where, problem, **details))


def _local_path(uri: str | os.PathLike[str]) -> str:
    """Return the path of a local file, also for a `file://` address."""
    path = os.fspath(uri)
    if path.startswith("file://"):
        return path[len("file://") :]
    if "://" in path:
        raise _refusal(
            ArgumentError,
            "MXRecordIO",
            "Only local files can be opened.",
            received=repr(path),
            fix="Download it first, e.g. with gluon.utils.download.",
        )
    return path


def _split(payload: bytes) -> list[bytes]:
    """Cut a payload at each magic number that stands on a 4-byte boundary; the magic itself is left out."""
    pieces, start, search = [], 0, 0
    while (found := payload.find(_MAGIC_BYTES, search)) >= 0:
        if found % 4:
            search = found + 1
            continue
        pieces.append(payload[start:found])
        start = search = found + 4
    pieces.append(payload[start:])
    return pieces


def _encode_record(payload: bytes) -> bytes:
    """Return the bytes of one record as they stand in the file."""
    if len(payload) >= _LENGTH_LIMIT:
        raise _refusal(
            ArgumentError,
            "MXRecordIO.write",
            "A record is limited to 2**29 - 1 bytes.",
            received=f"{len(payload)} bytes",
            fix="Split it into several records.",
        )
    pieces = _split(payload)
    flags = [_WHOLE] if len(pieces) == 1 else [_FIRST, *[_MIDDLE] * (len(pieces) - 2), _LAST]
    out = bytearray()
    for flag, piece in zip(flags, pieces):
        out += _PART.pack(_MAGIC, flag << 29 | len(piece))
        out += piece
        out += b"\0" * (-len(piece) % 4)
    return bytes(out)


class RecordFile:
    """Positioned, bounds-checked reads from a record file; safe for threads and across fork."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115  (closed by close())
        self.size = os.fstat(self._file.fileno()).st_size
        self._lock = threading.Lock()  # only where the system has no pread

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.close()

    def _bytes(self, offset: int, count: int, what: str) -> bytes:
        if offset + count > self.size:
            raise self._error(
                f"The file ends inside {what}",
                offset,
                expected=f"{count} bytes from byte {offset}",
                received=f"{self.size - offset} bytes",
            )
        chunks: list[bytes] = []
        wanted = count
        while wanted:
            position = offset + count - wanted
            if hasattr(os, "pread"):
                chunk = os.pread(self._file.fileno(), wanted, position)
            else:
                with self._lock:
                    self._file.seek(position)
                    chunk = self._file.read(wanted) or b""
            if not chunk:
                raise self._error(f"The file shrank while {what} was read", position)
            chunks.append(chunk)
            wanted -= len(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _error(self, problem: str, offset: int, **details: Any) -> FileFormatError:
        return _refusal(
            FileFormatError,
            f"RecordIO file {self.path!r}",
            f"{problem}, at byte {offset}.",
            **details,
            fix="Copy or write the file again; it is damaged or not a RecordIO file.",
        )

    def part(self, offset: int) -> tuple[int, int, int]:
        """Return flag, payload offset and payload length of the part at `offset`, checked against the file's size."""
        magic, word = _PART.unpack(self._bytes(offset, _PART.size, "the head of a part"))
        if magic != _MAGIC:
            raise self._error("No record begins here", offset, expected=f"0x{_MAGIC:08X}", received=f"0x{magic:08X}")
        flag, length = word >> 29, word & (_LENGTH_LIMIT - 1)
        if flag > _LAST:
            raise self._error("A part has an unknown flag", offset + 4, expected="0..3", received=flag)
        start = offset + _PART.size
        if start + length + (-length % 4) > self.size:
            raise self._error(
                "A part claims more bytes than the file has",
                offset,
                expected=f"at most {max(self.size - start, 0)} bytes",
                received=f"{length} bytes",
            )
        return flag, start, length

    def record(self, offset: int, payload: bool = True) -> tuple[bytes | None, int]:
        """Return the record at `offset` (or None where only its extent is asked for) and the offset behind it."""
        pieces: list[bytes] = []
        position, expected = offset, (_WHOLE, _FIRST)
        while True:
            if position >= self.size:
                raise self._error(f"The file ends between the parts of the record at byte {offset}", position)
            flag, start, length = self.part(position)
            if flag not in expected:
                raise self._error(
                    "A part is out of order",
                    position,
                    received=f"flag {flag}",
                    expected=f"flag {expected[0]} or {expected[1]}",
                )
            if payload:
                pieces.append(self._bytes(start, length, "a payload"))
            position = start + length + (-length % 4)
            if flag in (_WHOLE, _LAST):
                return (_MAGIC_BYTES.join(pieces) if payload else None), position
            expected = (_MIDDLE, _LAST)

    def offsets(self) -> Iterator[int]:
        """Yield where each record begins."""
        position = 0
        while position < self.size:
            yield position
            position = self.record(position, payload=False)[1]


class MXRecordIO:
    """Read or write a RecordIO file one record after another.

    Parameters
    ----------
    uri : str or path
        The file.
    flag : str
        ``"r"`` to read or ``"w"`` to write. What is written appears under its name at `close` (until then it is
        ``<uri>.partial``), so a half-written file is never mistaken for a whole one.

    Raises
    ------
    FileFormatError
        The file is truncated or damaged; the message names the byte offset.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "a.rec")
    >>> with MXRecordIO(path, "w") as out:
    ...     out.write(b"first")
    ...     out.write(b"second")
    >>> with MXRecordIO(path, "r") as records:
    ...     list(records)
    [b'first', b'second']
    """

    def __init__(self, uri: str | os.PathLike[str], flag: str) -> None:
        self.uri = uri
        self.flag = flag
        self.is_open = False
        self.open()

    def open(self) -> None:
        """Open the file; `__init__` does so already."""
        path = _local_path(self.uri)
        self._offset = 0
        if self.flag == "w":
            self.writable = True
            self._out = open(path + ".partial", "wb")  # noqa: SIM115  (closed by close())
        elif self.flag == "r":
            self.writable = False
            self._in = RecordFile(path)
        else:
            raise _refusal(
                ArgumentError,
                type(self).__name__,
                "A file is opened for reading or for writing.",
                expected='flag "r" or "w"',
                received=repr(self.flag),
            )
        self._owner = os.getpid()
        self.is_open = True

    def close(self) -> None:
        """Close the file; a written one gets its final name now."""
        self._finish(keep=True)

    def _finish(self, keep: bool) -> None:
        if not self.is_open:
            return
        self.is_open = False
        if not self.writable:
            self._in.close()
            return
        if self._owner != os.getpid():  # a forked child must not publish its parent's half-written file
            return
        self._out.close()
        path = _local_path(self.uri)
        if keep:
            os.replace(path + ".partial", path)
        else:
            os.remove(path + ".partial")

    def reset(self) -> None:
        """Go back to the first record; a writer starts over with an empty file."""
        self.close()
        self.open()

    def write(self, buf: bytes) -> None:
        """Append one record."""
        self._require(writable=True)
        data = _encode_record(bytes(buf))
        self._out.write(data)
        self._offset += len(data)

    def read(self) -> bytes | None:
        """Return the next record, or None at the end of the file."""
        self._require(writable=False)
        if self._offset >= self._in.size:
            return None
        data, self._offset = self._in.record(self._offset)
        return data

    def tell(self) -> int:
        """Return the byte offset at which the next record is read or written."""
        return self._offset

    def _require(self, writable: bool) -> None:
        name = type(self).__name__
        if not self.is_open:
            raise _refusal(ArgumentError, name, "The file is closed.", received=repr(self.uri), fix="Call open().")
        if self.writable != writable:
            verb, flag = ("written", "w") if writable else ("read", "r")
            raise _refusal(
                ArgumentError,
                name,
                f"This file cannot be {verb}.",
                expected=f'flag "{flag}"',
                received=f'flag "{self.flag}" for {self.uri!r}',
            )
        if writable and self._owner != os.getpid():
            raise _refusal(
                ArgumentError,
                name,
                "A forked process cannot write to its parent's file.",
                received=repr(self.uri),
                fix="Open one file per process.",
            )

    def __iter__(self) -> Iterator[bytes]:
        while (record := self.read()) is not None:
            yield record

    def __enter__(self) -> MXRecordIO:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: Any) -> None:
        self._finish(keep=kind is None)  # an exception in the block discards what was written

    def __del__(self) -> None:
        if getattr(self, "is_open", False):
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        if self.writable and self.is_open:
            raise _refusal(
                ArgumentError,
                type(self).__name__,
                "A file opened for writing cannot be sent to another process.",
                received=repr(self.uri),
                fix="Open it there.",
            )
        return {key: value for key, value in self.__dict__.items() if key not in ("_in", "_out")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if state["is_open"]:
            self.is_open = False
            offset = self._offset
            self.open()
            self._offset = offset


class MXIndexedRecordIO(MXRecordIO):
    """Read or write a RecordIO file with an index, so that records are found by key.

    Parameters
    ----------
    idx_path : str or path
        The index: lines ``key<TAB>byte offset``.
    uri, flag
        As for `MXRecordIO`.
    key_type : callable
        Turns the text of a key into a key.

    Raises
    ------
    FileFormatError, MissingRecordError (a KeyError)
        The index or the file is damaged; no record has the key.

    Examples
    --------
    >>> import os, tempfile
    >>> stem = os.path.join(tempfile.mkdtemp(), "a")
    >>> with MXIndexedRecordIO(stem + ".idx", stem + ".rec", "w") as out:
    ...     out.write_idx(7, b"seven")
    >>> MXIndexedRecordIO(stem + ".idx", stem + ".rec", "r").read_idx(7)
    b'seven'
    """

    def __init__(
        self,
        idx_path: str | os.PathLike[str],
        uri: str | os.PathLike[str],
        flag: str,
        key_type: Callable[[str], Any] = int,
    ) -> None:
        self.idx_path = idx_path
        self.key_type = key_type
        self.idx: dict[Any, int] = {}
        self.keys: list[Any] = []
        super().__init__(uri, flag)

    def open(self) -> None:
        """Open the record file and read its index."""
        self.idx, self.keys = {}, []
        super().open()
        if not self.writable:
            try:
                self.idx = read_index(_local_path(self.idx_path), self.key_type, self._in.size)
            except BaseException:
                self.close()
                raise
            self.keys = list(self.idx)

    def _finish(self, keep: bool) -> None:
        publish = self.is_open and self.writable and self._owner == os.getpid() and keep
        super()._finish(keep)
        if publish:
            _write_index(_local_path(self.idx_path), self.idx)

    def seek(self, idx: Any) -> None:
        """Go to the record of key `idx`."""
        self._require(writable=False)
        self._offset = self._position(idx)

    def read_idx(self, idx: Any) -> bytes:
        """Return the record of key `idx`. Several threads may do so at once; `read` goes on behind it."""
        self._require(writable=False)
        data, behind = self._in.record(self._position(idx))
        self._offset = behind
        return data  # type: ignore[return-value]  (payload was asked for)

    def write_idx(self, idx: Any, buf: bytes) -> None:
        """Append a record and remember where it begins under key `idx`."""
        key = self.key_type(idx)
        position = self.tell()
        self.write(buf)
        self.idx[key] = position
        self.keys.append(key)

    def _position(self, key: Any) -> int:
        try:
            return self.idx[key]
        except KeyError:
            sample = ", ".join(map(repr, self.keys[:3])) + (", ..." if len(self.keys) > 3 else "")
            raise MissingRecordError(
                explain(
                    "MXIndexedRecordIO",
                    f"{self.idx_path!r} has no such key.",
                    expected=f"one of its {len(self.keys)} keys ({sample})",
                    received=repr(key),
                )
            ) from None


def read_index(path: str, key_type: Callable[[str], Any], file_size: int) -> dict[Any, int]:
    """Return the index file at `path`, key to byte offset, checked against the size of the record file."""
    if not os.path.exists(path):
        raise FileNotFoundError(
            explain(
                "MXIndexedRecordIO",
                "There is no index.",
                received=repr(path),
                fix="Make one: glueball.recordio.rebuild_index(rec_path, idx_path).",
            )
        )
    index: dict[Any, int] = {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                key, offset = line.rstrip("\n").split("\t")
                position = int(offset)
                index[key_type(key)] = position
            except ValueError:
                raise _refusal(
                    FileFormatError,
                    f"Index {path!r}",
                    f"Line {number} cannot be read.",
                    received=repr(line[:80]),
                    expected="key<TAB>byte offset",
                ) from None
            if not 0 <= position < max(file_size, 1):
                raise _refusal(
                    FileFormatError,
                    f"Index {path!r}",
                    f"Line {number} points outside the record file.",
                    expected=f"a byte offset below {file_size}",
                    received=position,
                    fix="Make the index again: glueball.recordio.rebuild_index.",
                )
    return index


def _write_index(path: str, index: dict[Any, int]) -> None:
    with open(path + ".partial", "w", encoding="utf-8", newline="\n") as out:
        out.writelines(f"{key}\t{offset}\n" for key, offset in index.items())
    os.replace(path + ".partial", path)


def rebuild_index(uri: str | os.PathLike[str], idx_path: str | os.PathLike[str] | None = None) -> dict[int, int]:
    """Read through a record file, and return (and write, if `idx_path` is given) its index with keys 0, 1, 2 ...

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "a.rec")
    >>> with MXRecordIO(path, "w") as out:
    ...     out.write(b"first")
    ...     out.write(b"second")
    >>> rebuild_index(path)
    {0: 0, 1: 16}
    """
    with contextlib.closing(RecordFile(_local_path(uri))) as records:
        index = dict(enumerate(records.offsets()))
    if idx_path is not None:
        _write_index(_local_path(idx_path), index)
    return index


# -------------------------------------------------------------------------------------------------------- image records
class IRHeader(NamedTuple):
    """The head of an image record: `flag` counts the labels (0: one `label`), `id` and `id2` number the record."""

    flag: int
    label: Any
    id: int
    id2: int


_HEADER = struct.Struct("<IfQQ")


def pack(header: IRHeader, s: bytes) -> bytes:
    """Return `header` and the content `s` as one payload.

    A single number is stored as the label (flag 0); a sequence as `flag` float32 numbers behind the head.

    >>> payload = pack(IRHeader(0, [1.0, 2.0], 7, 0), b"image")
    >>> unpack(payload)[0].label
    array([1., 2.], dtype=float32)
    """
    _, label, number, number2 = header
    if isinstance(label, Number):
        return _HEADER.pack(0, label, number, number2) + s
    labels = np.asarray(label, dtype="<f4").ravel()
    return _HEADER.pack(labels.size, 0, number, number2) + labels.tobytes() + s


def unpack(s: bytes) -> tuple[IRHeader, bytes]:
    """Return the header and the content of a payload; several labels come as a float32 array.

    >>> unpack(pack(IRHeader(0, 3.0, 7, 0), b"image"))
    (IRHeader(flag=0, label=3.0, id=7, id2=0), b'image')
    """
    if len(s) < _HEADER.size:
        raise _refusal(
            FileFormatError,
            "recordio.unpack",
            "An image record begins with a head of 24 bytes.",
            received=f"{len(s)} bytes",
            fix="Was the record written with recordio.pack?",
        )
    header = IRHeader(*_HEADER.unpack_from(s))
    content = s[_HEADER.size :]
    if header.flag == 0:
        return header, content
    if header.flag * 4 > len(content):
        raise _refusal(
            FileFormatError,
            "recordio.unpack",
            "The head claims more labels than the record has bytes.",
            expected=f"at most {len(content) // 4} labels (from byte {_HEADER.size})",
            received=f"{header.flag} labels",
        )
    labels = np.frombuffer(content, dtype="<f4", count=header.flag).astype(np.float32)
    return header._replace(label=labels), content[header.flag * 4 :]


def pack_img(header: IRHeader, img: Any, quality: int = 95, img_fmt: str = ".jpg") -> bytes:
    """Encode an image (height × width × channels, uint8, channels in the order **blue, green, red**) and pack it.

    `quality` is 1..100 for JPEG and the compression 0..9 for PNG. Needs Pillow.
    """
    from .image.codec import encode

    pixels = np.asarray(img.asnumpy() if hasattr(img, "asnumpy") else img)
    return pack(header, encode(_swap_red_and_blue(pixels), img_fmt, quality))


def unpack_img(s: bytes, iscolor: int = -1) -> tuple[IRHeader, np.ndarray]:
    """Return the header and the decoded image of a payload.

    The image is height × width (× channels in the order **blue, green, red**), uint8. `iscolor`: 1 always colour, 0
    always grey, -1 as the file has it. Needs Pillow.
    """
    from .image.codec import decode

    header, content = unpack(s)
    if iscolor not in (-1, 0, 1):
        raise _refusal(ArgumentError, "recordio.unpack_img", "iscolor is -1, 0 or 1.", received=repr(iscolor))
    pixels = decode(content, {-1: "as stored", 0: "grey", 1: "colour"}[iscolor])
    if pixels.shape[2] == 1:
        return header, pixels[:, :, 0]
    return header, np.ascontiguousarray(_swap_red_and_blue(pixels))


def _swap_red_and_blue(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        return pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    return pixels
