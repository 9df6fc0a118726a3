"""The door itself: a finder on `sys.meta_path` that answers `mxnet` and `mxnet.*` with Glueball's own modules.

The one idea: importing `mxnet.a.b` imports `glueball.a.b` and stores that very module under both names. `install` puts
the finder first on `sys.meta_path`; `uninstall` takes it away together with every name it answered. The differing names
are tables in names.py.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from ..base.errors import MXNetError, explain
from ..base.registry import closest
from .names import ABSENT, ALIASES, COMPATIBLE_VERSION, HOMES, SHORT_NAMES

__all__ = ["install", "installed", "uninstall"]

_OURS = "glueball"
_THEIRS = "mxnet"
_DOCUMENT = "docs/differences.md lists what is left out on purpose, docs/coverage.md every operator."


def install() -> None:
    """Open the door: from now on `import mxnet` and its submodules resolve to Glueball. Calling it twice does no harm.

    Raises
    ------
    MXNetError
        When the real package is already imported: two libraries of one name in one process would mix their arrays.

    Examples
    --------
    >>> from glueball import compat
    >>> compat.install()
    >>> import mxnet as mx
    >>> from mxnet.gluon import nn
    >>> import glueball
    >>> nn.Dense is glueball.gluon.nn.Dense
    True
    >>> compat.uninstall()
    """
    if installed():
        return
    present = sys.modules.get(_THEIRS)
    if present is not None:
        raise MXNetError(
            explain(
                "compat.install",
                "Another `mxnet` is already imported in this process, and its arrays are not ours.",
                expected="a process in which mxnet was not imported yet",
                received=getattr(present, "__file__", repr(present)),
                fix="Call glueball.compat.install() before anything imports mxnet, or start with "
                "`python -m glueball run script.py`.",
            )
        )
    for name, home in HOMES.items():
        _share(importlib.import_module(name), home)
    sys.meta_path.insert(0, _DoorFinder())


def uninstall() -> None:
    """Close the door: forget every `mxnet` name that it answered. Objects already obtained stay valid, for they are
    Glueball's.
    """
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _DoorFinder)]
    if isinstance(sys.modules.get(_THEIRS), _TopModule):
        for name in [name for name in sys.modules if name == _THEIRS or name.startswith(_THEIRS + ".")]:
            del sys.modules[name]


def installed() -> bool:
    """Return whether the door is open."""
    return any(isinstance(finder, _DoorFinder) for finder in sys.meta_path)


def _share(module: ModuleType, home: str) -> None:
    """Let a module answer with the public names of the package it is in, as 1.9.1's larger files do."""

    def get(name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(home), name)

    module.__dict__.setdefault("__getattr__", get)


def resolve(name: str) -> str:
    """Return the name of our module that answers 1.9.1's module `name`; ModuleNotFoundError in words when there is
    none.

    >>> resolve("mxnet.gluon.nn")
    'glueball.gluon.nn'
    """
    for candidate in _candidates(name):
        if _exists(candidate):
            return candidate
    raise ModuleNotFoundError(_why_absent(name), name=name)


def _candidates(name: str) -> Sequence[str]:
    """Return our possible names for `name`, best first."""
    if name in ALIASES:
        return ALIASES[name]
    ours = _OURS + name.removeprefix(_THEIRS)
    parent, _, last = name.rpartition(".")
    if parent in ALIASES:
        return (ours, *(f"{candidate}.{last}" for candidate in ALIASES[parent]))
    return (ours,)


def _exists(name: str) -> bool:
    """Return whether a module can be imported, without importing more than its parents."""
    if name in sys.modules:
        return True
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _why_absent(name: str) -> str:
    """Return the sentence for a module that Glueball does not have."""
    parts = name.split(".")
    for length in range(len(parts), 1, -1):
        reason = ABSENT.get(".".join(parts[:length]))
        if reason:
            return f"No module named {name!r} behind the compatibility door: {reason}. {_DOCUMENT}"
    return f"No module named {name!r} behind the compatibility door. {_DOCUMENT}"


class _DoorFinder(MetaPathFinder):
    """Answers `mxnet` and `mxnet.*`, nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec whose loader hands out our module."""
        if fullname == _THEIRS:
            return ModuleSpec(fullname, _TopLoader(), is_package=True)
        if fullname.startswith(_THEIRS + "."):
            ours = resolve(fullname)
            return ModuleSpec(fullname, _SameModuleLoader(ours), is_package=True)
        return None


class _SameModuleLoader(Loader):
    """Hands out a module that exists already. The import system labels what it loads, so the labels are put back
    afterwards.
    """

    def __init__(self, ours: str) -> None:
        self.ours = ours

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return our module and remember its labels: `__spec__` is overwritten by the import system."""
        module = importlib.import_module(self.ours)
        self.labels = {key: module.__dict__[key] for key in _LABELS if key in module.__dict__}
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing: the module was executed under its own name. Seed the names below it that are the same module."""
        door_name = module.__dict__["__spec__"].name
        for key in _LABELS:
            module.__dict__.pop(key, None)
        module.__dict__.update(self.labels)
        # mxnet.image.image is our file image.py: no package, so it cannot be searched
        if not hasattr(module, "__path__"):
            for alias, candidates in ALIASES.items():
                if alias.startswith(door_name + ".") and candidates[-1] == self.ours:
                    sys.modules.setdefault(alias, module)


_LABELS = ("__name__", "__loader__", "__package__", "__spec__", "__path__", "__file__", "__cached__")


class _TopLoader(Loader):
    """Makes the top module `mxnet`."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the forwarding module."""
        return _TopModule(spec.name, importlib.import_module(_OURS))

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing."""


class _TopModule(ModuleType):
    """The module `mxnet`: Glueball's names and 1.9.1's version."""

    def __init__(self, name: str, ours: ModuleType) -> None:
        super().__init__(name, ours.__doc__)
        self.__dict__["_ours"] = ours
        self.__dict__["__version__"] = COMPATIBLE_VERSION
        self.__dict__["__file__"] = ours.__file__

    def __getattr__(self, name: str) -> Any:
        ours = self.__dict__["_ours"]
        if f"{_THEIRS}.{name}" in ALIASES:  # mx.base is what mxnet.base is, not our package of the same name
            return importlib.import_module(f"{_THEIRS}.{name}")
        if hasattr(ours, name):
            return getattr(ours, name)
        if name.startswith("__"):
            raise AttributeError(f"module {_THEIRS!r} has no attribute {name!r}")
        try:  # `import mxnet as mx; mx.test_utils.same(...)` without importing the submodule, as 1.9.1 allows
            return importlib.import_module(f"{_THEIRS}.{name}")
        except ModuleNotFoundError:
            long_name = f"{_THEIRS}.{SHORT_NAMES.get(name, name)}"
            if long_name in ABSENT:
                raise AttributeError(_why_absent(long_name)) from None
        known = [each for each in dir(ours) if not each.startswith("_")]
        raise AttributeError(
            f"mxnet.{name} does not exist behind the compatibility door: {closest(name, known)[:400]} {_DOCUMENT}"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__") or isinstance(value, ModuleType):
            super().__setattr__(name, value)
        else:  # mx.something = ... patches the library that is really running
            setattr(self.__dict__["_ours"], name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__:
            super().__delattr__(name)
        else:
            delattr(self.__dict__["_ours"], name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(self.__dict__["_ours"]), *self.__dict__})
