"""Object code on disk, so that the next process compiles nothing that one before it compiled.

The one idea: the name of a file is a digest of all that code depends on (text, processor, versions), so nothing is ever
out of date; and a file begins with the digest of its contents, so one that was cut off or changed is not used but made
again. Files are written aside and renamed, which makes other processes see all of one or nothing. When they take up
more than `LIMIT` bytes, those that were not used for longest are deleted.

The folder is `config.cache("native")`; it must belong to the user, since code from it is run. Not here: compiling.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from typing import final

__all__ = ["ObjectCache", "LIMIT"]

LIMIT = 64 << 20  # bytes; a kernel takes 2,000 to 10,000
_MAGIC = b"glueball native 1\n"
_SUFFIX = ".object"
_STALE = 600.0  # seconds; writing takes a millisecond


@final
class ObjectCache:
    """A folder of object code. Every failure of the file system is the same as an empty folder.

    folder : made when something is written
    limit : bytes that files may take up
    hits, misses : how many were found and were not
    """

    __slots__ = ("folder", "limit", "hits", "misses", "_swept")

    def __init__(self, folder: str, limit: int = LIMIT) -> None:
        self.folder, self.limit = folder, limit
        self.hits = self.misses = 0
        self._swept = False

    @staticmethod
    def key(*parts: str) -> str:
        """Return the name of what depends on `parts`.

        >>> ObjectCache.key("ab", "c") == ObjectCache.key("a", "bc")
        False
        """
        digest = hashlib.sha256()
        for part in parts:
            data = part.encode()
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
        return digest.hexdigest()[:40]

    def read(self, key: str) -> bytes | None:
        """Return what was written under a name; None: nothing, or nothing whole."""
        path = self._path(key)
        try:
            if not self._safe():
                raise OSError("the folder belongs to somebody else")
            with open(path, "rb") as file:
                data = file.read()
            os.utime(path)  # the sweep keeps what is used
        except OSError:
            data = b""
        start = len(_MAGIC) + 32
        code = data[start:]
        if not code or data[:start] != _MAGIC + hashlib.sha256(code).digest():
            self.misses += 1
            return None
        self.hits += 1
        return code

    def write(self, key: str, code: bytes) -> None:
        """Keep object code under a name."""
        temporary = None
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            if not self._safe():
                return
            handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=_SUFFIX)
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC + hashlib.sha256(code).digest() + code)
            os.replace(temporary, self._path(key))
            temporary = None
            if not self._swept:  # once per process: a process adds little
                self._swept = True
                self.sweep()
        except OSError:
            pass
        finally:
            if temporary is not None:
                try:
                    os.unlink(temporary)
                except OSError:
                    pass

    def sweep(self) -> None:
        """Delete what was not used for longest, until half of the limit is left, if files exceed the limit."""
        files: list[tuple[float, int, str]] = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(_SUFFIX):
                    state = entry.stat()
                    if entry.name.startswith(".") and time.time() - state.st_mtime > _STALE:
                        os.unlink(entry.path)  # what a process that was killed had begun to write
                        continue
                    files.append((state.st_mtime, state.st_size, entry.path))
        total = sum(size for _, size, _ in files)
        if total <= self.limit:
            return
        for _, size, path in sorted(files):
            try:
                os.unlink(path)
            except OSError:  # somebody else deleted it
                continue
            total -= size
            if total <= self.limit // 2:
                return

    def _path(self, key: str) -> str:
        return os.path.join(self.folder, key + _SUFFIX)

    def _safe(self) -> bool:
        """Whether nobody but this user can have written to the folder."""
        if not hasattr(os, "getuid"):
            return True
        state = os.stat(self.folder)
        return state.st_uid == os.getuid() and not state.st_mode & 0o022
