"""Writing files so that nothing is lost: to a temporary name beside the target, flushed, then renamed over it."""
from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable

__all__ = ["write_atomically"]


def write_atomically(path: str | os.PathLike[str], parts: bytes | Iterable[bytes]) -> None:
    """Write `parts` to `path`; a reader (or a crash) sees the old file or the whole new one, never a mixture."""
    path = os.fspath(path)
    folder = os.path.dirname(os.path.abspath(path))
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{os.path.basename(path)}.")
    try:
        with os.fdopen(handle, "wb") as file:
            for part in ((parts,) if isinstance(parts, bytes) else parts):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
