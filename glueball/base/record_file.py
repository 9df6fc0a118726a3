"""Records in bytes: one record as it stands in a RecordIO file, and checked reads of a file of them.

The one idea: nothing is read before it is known to lie within the file: each length is compared with the file's size,
and an error names the byte offset. Not here: readers and writers of whole files, indices, image records (recordio.py).
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

from .errors import ArgumentError, FileFormatError, MXNetError, explain

__all__ = ["RecordFile", "encode_record", "refusal"]

_MAGIC = 0xCED7230A
_MAGIC_BYTES = struct.pack("<I", _MAGIC)
_PART = struct.Struct("<II")
_LENGTH_LIMIT = 1 << 29  # three bits of the second word are the flag
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)

Kind = TypeVar("Kind", bound=MXNetError)


def refusal(kind: type[Kind], where: str, problem: str, **details: Any) -> Kind:
    """Return an error whose message is made of these parts."""
    return kind(explain(where, problem, **details))


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


def encode_record(payload: bytes) -> bytes:
    """Return the bytes of one record as they stand in the file."""
    if len(payload) >= _LENGTH_LIMIT:
        raise refusal(
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
        return refusal(
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
