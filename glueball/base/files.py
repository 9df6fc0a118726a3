"""Writing files so that nothing is lost: to a temporary name beside the target, flushed, then renamed over it.

The one idea: whoever writes holds a lock on the temporary file, and the kernel lets go of it when the process dies. So
the next save of the same file knows which temporaries are leftovers of killed processes (`.NAME.01234567.partial`) and
deletes those, and no others. A symbolic link stays a link, and the permissions of the file that is replaced stay; a
pipe or a device is written directly. Reading here is what several formats share:
`text_lines` and `unpack_gzip`. Not here: what the bytes are.
"""
from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import re
import secrets
import shutil
import stat
import time
import zlib
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import IO, final

from .errors import FileFormatError, explain

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["AtomicFile", "draft_folder", "text_lines", "unpack_gzip", "unpacking_bound",
           "write_atomically"]

_SUFFIX = ".partial"
_LONGEST = 180  # bytes of a name that a temporary name repeats: file systems allow 255 in all
_DAY = 86_400.0


def write_atomically(path: str | os.PathLike[str], parts: bytes | Iterable[bytes]) -> None:
    """Write `parts` to `path`; a reader (or a crash) sees the old file or the whole new one, never a mixture."""
    with AtomicFile(path) as file:
        for part in ((parts,) if isinstance(parts, bytes) else parts):
            file.write(part)


@final
class AtomicFile:
    """A file that gets its name only when it is whole: `commit` renames it, `discard` leaves what was there before.

    As a context it gives the open binary file, and discards when the block raises.

    Raises
    ------
    OSError
        The folder is missing, read-only or full, or the file itself is write-protected; the old file stays as it was.
    """

    __slots__ = ("_old", "_settled", "_temporary", "file", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.realpath(os.fspath(path))  # through a symbolic link, as open() would
        self._old = _state(self.path)
        self._temporary: str | None = None
        self._settled = False
        if self._old is not None and not stat.S_ISREG(self._old.st_mode):
            self.file: IO[bytes] = open(self.path, "wb")  # noqa: SIM115  a pipe or a device; a folder raises
            return
        if self._old is not None and not os.access(self.path, os.W_OK):
            raise PermissionError(errno.EACCES, "the file is write-protected", os.fspath(path))
        _sweep(self.path)
        try:
            self._temporary, handle = _create(self.path)
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        self.file = os.fdopen(handle, "wb")

    def settle(self) -> None:
        """Bring everything to the disk, under the temporary name still: after this only renaming is left."""
        try:
            self.file.flush()
            if self._temporary is not None:
                if self._old is not None:
                    _keep_permissions(self.file.fileno(), self._temporary, self._old)
                os.fsync(self.file.fileno())
            self._settled = True
        except BaseException:
            self.discard()
            raise

    def commit(self) -> None:
        """Bring everything to the disk and give the file its name."""
        if not self._settled:
            self.settle()
        try:
            if fcntl is None:  # an open file cannot be renamed there; elsewhere the lock is kept to the end
                self.file.close()
            if self._temporary is not None:
                os.replace(self._temporary, self.path)
                self._temporary = None
            self.file.close()
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Forget what was written."""
        with contextlib.suppress(OSError):  # closing flushes, which fails on a full disk
            if fcntl is None:
                self.file.close()
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)
            self._temporary = None
        with contextlib.suppress(OSError):
            self.file.close()

    def __enter__(self) -> IO[bytes]:
        return self.file

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


@contextlib.contextmanager
def draft_folder(path: str | os.PathLike[str]) -> Iterator[str]:
    """Give a temporary folder beside `path`, for files that are checked together before they get their names."""
    path = os.path.realpath(os.fspath(path))
    _sweep(path)
    handle = None
    while True:
        folder = _temporary_name(path)
        os.mkdir(folder, 0o700)
        if fcntl is None:
            break
        handle = os.open(folder, os.O_RDONLY)
        if _hold(handle, folder):
            break
        os.close(handle)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def text_lines(path: str | os.PathLike[str], where: str) -> Iterator[tuple[int, int, str]]:
    """Yield number, byte offset and text of each line of a UTF-8 file; FileFormatError for other bytes."""
    offset = 0
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield number, offset, line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise FileFormatError(explain(where, f"Line {number} is not UTF-8 text.",
                                              received=f"{line[error.start:error.start + 8]!r} at byte "
                                                       f"{offset + error.start}")) from None
            offset += len(line)


def unpacking_bound(size: int) -> int:
    """Return how many bytes a packed file of `size` bytes may unpack to: 64 MiB, or 64 times its size if that is more.

    A kilobyte can unpack to a megabyte and more, so what a stranger's file unpacks to is bounded; weights and images
    shrink to a half or a tenth.
    """
    return max(64 << 20, 64 * size)


def unpack_gzip(content: bytes, where: str) -> bytes:
    """Return what gzip packed; FileFormatError when that is damaged, or larger than is believed."""
    allowed, found = unpacking_bound(len(content)), bytearray()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            while chunk := file.read(1 << 20):
                found += chunk
                if len(found) > allowed:
                    raise FileFormatError(explain(where, "It unpacks to more than is believed of a file of its size.",
                                                  expected=f"at most {allowed} bytes", received=f"{len(content)} bytes",
                                                  fix="if it is yours, unpack it first"))
    except (EOFError, OSError, zlib.error) as error:
        raise FileFormatError(explain(where, f"It cannot be unpacked: {error}.",
                                      received=f"{len(content)} bytes")) from None
    return bytes(found)


def _state(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _prefix(path: str) -> str:
    name = os.path.basename(path)
    return f".{os.fsdecode(os.fsencode(name)[:_LONGEST])}."


def _temporary_name(path: str) -> str:
    return os.path.join(os.path.dirname(path), f"{_prefix(path)}{secrets.token_hex(4)}{_SUFFIX}")


def _create(path: str) -> tuple[str, int]:
    """Make and lock a temporary file beside `path`, with the permissions of any new file."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    while True:
        temporary = _temporary_name(path)
        try:
            handle = os.open(temporary, flags, 0o666)
        except FileExistsError:
            continue
        if _hold(handle, temporary):
            return temporary, handle
        os.close(handle)


def _hold(handle: int, temporary: str) -> bool:
    """Lock a temporary; False when another process took it for a leftover before it was locked."""
    if fcntl is None:
        return True
    with contextlib.suppress(OSError):  # a file system without locks: nothing is swept there
        fcntl.flock(handle, fcntl.LOCK_EX)
    return os.path.exists(temporary)


def _keep_permissions(handle: int, temporary: str, old: os.stat_result) -> None:
    """Give a file the owner (where that is allowed) and the mode of the one that it replaces."""
    mode = stat.S_IMODE(old.st_mode)
    if not hasattr(os, "fchmod"):
        os.chmod(temporary, mode)
        return
    own = os.fstat(handle)
    with contextlib.suppress(OSError):
        if (own.st_uid, own.st_gid) != (old.st_uid, old.st_gid):
            os.fchown(handle, old.st_uid, old.st_gid)
    os.fchmod(handle, mode)


def _sweep(path: str) -> None:
    """Delete the temporaries of `path` whose writers are no more."""
    pattern = re.compile(re.escape(_prefix(path)) + "[0-9a-f]{8}" + re.escape(_SUFFIX))
    try:
        with os.scandir(os.path.dirname(path)) as entries:
            found = [entry.path for entry in entries if pattern.fullmatch(entry.name)]
    except OSError:  # the folder cannot be read, or is missing: whoever writes will say so
        return
    for leftover in found:
        with contextlib.suppress(OSError):  # its writer lives, or somebody else was faster
            _remove_leftover(leftover)


def _remove_leftover(leftover: str) -> None:
    handle = None
    try:
        if fcntl is not None:
            handle = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif time.time() - os.stat(leftover).st_mtime < _DAY:
            return
        if os.path.isdir(leftover):
            shutil.rmtree(leftover)
        else:
            os.unlink(leftover)
    finally:
        if handle is not None:
            os.close(handle)
