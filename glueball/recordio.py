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
from collections.abc import Callable, Iterator
from numbers import Number
from typing import Any, NamedTuple

import numpy as np

from .base.errors import ArgumentError, FileFormatError, MXNetError, explain
from .base.files import AtomicFile, text_lines, write_atomically
from .base.record_file import RecordFile, encode_record
from .base.record_file import refusal as _refusal

__all__ = ["IRHeader", "MXIndexedRecordIO", "MXRecordIO", "MissingRecordError"]
__all__ += ["pack", "pack_img", "rebuild_index", "unpack", "unpack_img"]

class MissingRecordError(MXNetError, KeyError):
    """An index has no record of the key asked for."""

    def __str__(self) -> str:  # KeyError would print the quoted repr
        return str(self.args[0]) if self.args else ""


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


class MXRecordIO:
    """Read or write a RecordIO file one record after another.

    Parameters
    ----------
    uri : str or path
        The file.
    flag : str
        ``"r"`` to read or ``"w"`` to write. What is written appears under its name at `close`, so a half-written file
        is never mistaken for a whole one; what a killed process leaves (``.<name>.01234567.partial``) is deleted when
        the file is written again.

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
            self._draft = AtomicFile(path)
            self._damaged = False
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
        if not keep:
            self._draft.discard()
        elif self._damaged:
            self._draft.discard()
            raise _refusal(
                MXNetError,
                type(self).__name__,
                "Writing a record failed, so the file was not given its name.",
                received=repr(self.uri),
                fix="Write all records again.",
            )
        else:
            self._publish()

    def _publish(self) -> None:
        self._draft.commit()

    def reset(self) -> None:
        """Go back to the first record; a writer starts over with an empty file."""
        self.close()
        self.open()

    def write(self, buf: bytes) -> None:
        """Append one record."""
        self._require(writable=True)
        data = encode_record(bytes(buf))
        self._damaged = True  # until all of it is written: the disk may be full, the user may interrupt
        self._draft.file.write(data)
        self._damaged = False
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
        return {key: value for key, value in self.__dict__.items() if key not in ("_in", "_draft")}

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

    def _publish(self) -> None:
        try:
            index = AtomicFile(_local_path(self.idx_path))
            index.file.writelines(_index_lines(self.idx))
            index.settle()
        except BaseException:
            self._draft.discard()
            raise
        try:  # both are on the disk: between the two names there is nothing but a system call
            self._draft.commit()
        except BaseException:
            index.discard()
            raise
        index.commit()

    def seek(self, idx: Any) -> None:
        """Go to the record of key `idx`."""
        self._require(writable=False)
        self._offset = self._position(idx)

    def read_idx(self, idx: Any) -> bytes:
        """Return the record of key `idx`. Several threads may do so at once; `read` goes on behind it."""
        self._require(writable=False)
        position = self._position(idx)
        try:
            data, behind = self._in.record(position)
        except FileFormatError as error:
            raise _refusal(
                FileFormatError,
                f"Index {os.fspath(self.idx_path)!r}",
                f"No record can be read where it says that {idx!r} is, at byte {position} of {self._in.path!r}.",
                received=str(error).splitlines()[0],
                fix="Are the two files of different moments? Make the index again: "
                "glueball.recordio.rebuild_index(rec_path, idx_path). Else the records are damaged.",
            ) from None
        self._offset = behind
        return data  # type: ignore[return-value]  (payload was asked for)

    def write_idx(self, idx: Any, buf: bytes) -> None:
        """Append a record and remember where it begins under key `idx`."""
        key = self.key_type(idx)
        if any(mark in str(key) for mark in "\t\n\r"):
            raise _refusal(
                ArgumentError,
                "MXIndexedRecordIO.write_idx",
                "A key stands in a line of text, before a tab.",
                received=repr(key),
                fix="Use keys without tabs and line breaks.",
            )
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
    for number, at, line in text_lines(path, f"Index {path!r}"):
        if not line.strip():
            continue
        try:
            key, offset = line.split("\t")
            position = int(offset)
            index[key_type(key)] = position
        except ValueError:
            raise _refusal(
                FileFormatError,
                f"Index {path!r}",
                f"Line {number} cannot be read, at byte {at}.",
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


def _index_lines(index: dict[Any, int]) -> Iterator[bytes]:
    return (f"{key}\t{offset}\n".encode() for key, offset in index.items())


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
        write_atomically(_local_path(idx_path), _index_lines(index))
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
