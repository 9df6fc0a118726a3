"""Being an ordinary user for a while: what a system forbids is then tested by the superuser, too (in containers)."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = 65534


@contextmanager
def ordinary_user(*files: Path) -> Iterator[Path]:
    """Give a directory with copies of some files, all owned by the user that the process is inside."""
    folder = Path(tempfile.mkdtemp())
    for file in files:
        shutil.copy(file, folder)
    root = os.geteuid() == 0
    if root:
        for path in (folder, *folder.iterdir()):
            os.chown(path, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, 0)  # root is saved, to come back to
    try:
        yield folder
    finally:
        if root:
            os.setresuid(0, 0, 0)
        folder.chmod(0o700)
        shutil.rmtree(folder)
