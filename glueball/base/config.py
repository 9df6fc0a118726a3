"""Every environment variable that Glueball reads, in one table, typed, with its default and what it does.

The one idea: nothing else in the package reads `os.environ`; `config.get("NAME")` parses, and the docs list this table.
Compatible names of MXNet are accepted where they mean the same.
"""
from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import ArgumentError, explain

__all__ = ["ConfigVar", "VARIABLES", "get", "home", "cache"]


def _flag(text: str) -> bool:
    return text.strip().lower() in ("1", "true", "yes", "on")


@dataclass(frozen=True, slots=True)
class ConfigVar:
    """One environment variable."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    meaning: str
    aliases: tuple[str, ...] = ()


VARIABLES: dict[str, ConfigVar] = {row.name: row for row in (
    ConfigVar("GLUEBALL_HOME", str, "~/.glueball", "where data sets and caches are kept", ("MXNET_HOME",)),
    ConfigVar("GLUEBALL_CACHE", str, None,
              "where compiled code is kept for the next process ('' keeps none); default: in the user's cache folder"),
    ConfigVar("GLUEBALL_REPOSITORY", str, "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/",
              "first place that data sets are downloaded from", ("MXNET_GLUON_REPO",)),
    ConfigVar("GLUEBALL_HYBRIDIZE", _flag, True,
              "0 makes hybridize() a no-op, for debugging with plain imperative code"),
    ConfigVar("GLUEBALL_FOLD", str, "on",
              "the mode of fold.batching() scopes that name none: 'on', 'off' (the same code, eagerly) or 'check'"),
    ConfigVar("GLUEBALL_CORE", _flag, True,
              "0 runs the Python twins of the parts that are compiled where a C compiler was at hand"),
    ConfigVar("GLUEBALL_PASSES", _flag, True,
              "0 turns the optimising passes off: plans are then the traced graph, operator by operator"),
    ConfigVar("GLUEBALL_JIT", _flag, True,
              "0 keeps hybridized graphs from becoming machine code: every operator is then a call of ATen"),
    ConfigVar("GLUEBALL_PROCESSOR", str, "",
              "what machine code is made for, by LLVM's name of a processor (x86-64-v2); default: this machine's"),
    ConfigVar("GLUEBALL_WINOGRAD", _flag, True,
              "0 leaves convolutions of 3×3 kernels to the library, whose rounding is two or three times smaller"),
    ConfigVar("GLUEBALL_PLAN", str, "codegen",
              "'interpret' runs hybridized graphs through the interpreter (the oracle) instead of a generated plan"),
    ConfigVar("GLUEBALL_KEEP_MEMORY", _flag, True,
              "0 lets the C library give freed memory back to the system after every use (slower: it comes back as "
              "pages of zeros); mx.cpu().empty_cache() gives it back at once"),
    ConfigVar("GLUEBALL_FIBERS", str, "auto",
              "what the samples of fold.map run on: 'greenlet', 'threads', or 'auto' (greenlet where it is installed)"),
    ConfigVar("GLUEBALL_SUBGRAPH_DEBUG", _flag, False, "1 prints every generated plan"),
    ConfigVar("GLUEBALL_PROFILE", _flag, False, "1 starts the profiler at import", ("MXNET_PROFILER_AUTOSTART",)),
)}


def get(name: str) -> Any:
    """Return the value of a variable: the environment's, parsed, or its default."""
    row = VARIABLES[name]
    for key in (row.name, *row.aliases):
        text = os.environ.get(key)
        if text is not None:
            try:
                return row.parse(text)
            except ValueError as error:
                raise ArgumentError(explain(key, f"The environment variable cannot be read: {error}.",
                                            received=repr(text))) from None
    return row.default


def home(*parts: str) -> str:
    """Return a path below the directory for data sets and caches."""
    return os.path.join(os.path.expanduser(get("GLUEBALL_HOME")), *parts)


def cache(*parts: str) -> str | None:
    """Return a path below the directory for what can be made again; None: nothing is to be kept."""
    folder = get("GLUEBALL_CACHE")
    if folder is None:
        base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME") or "~/.cache"
        folder = os.path.join(base, "glueball")
    return os.path.join(os.path.expanduser(folder), *parts) if folder else None
