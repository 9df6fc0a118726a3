"""The fuzzer's targets (fuzz/targets.py) as fixtures: `targets`, and `target_of`, which skips what a package is missing
for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "fuzz"


@pytest.fixture(scope="session")
def targets() -> Iterator[ModuleType]:
    """The fuzzer is a program, not a package, so its folder is put in front for a while."""
    sys.path.insert(0, str(FOLDER))
    try:
        import targets

        yield targets
    finally:
        sys.path.remove(str(FOLDER))
        for name in ("targets", "mutate"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="session")
def target_of(targets: ModuleType) -> Callable[[str], Any]:
    def find(kind: str) -> Any:
        target = targets.TARGETS[kind]
        for package in target.needs:
            pytest.importorskip(package)
        return target

    return find
