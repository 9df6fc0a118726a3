"""The compiled parts of folding, where they are there.

The one idea: a part written in C has a twin in Python that gives the same results, and whoever uses it asks here which
of the two there is. Nothing else knows about compilers.

Not here: what the parts do (recorder.c), how they are built (setup.py).
"""
from __future__ import annotations

import importlib
import warnings
from functools import cache
from typing import Any

from ..base import config
from .sources import digest

__all__ = ["compiled"]


@cache
def compiled(name: str) -> Any:
    """Return a compiled part by its name, such as "recorder"; None where its twin is to be used."""
    if not config.get("GLUEBALL_CORE"):
        return None
    try:
        found: Any = importlib.import_module(f"{__package__}._{name}")
    except ImportError:  # no compiler when the package was installed, or another Python since
        return None
    if _sources() in ("", found.source()):
        return found
    warnings.warn(f"Folding runs without its compiled part {name!r}: it was built from other sources than are here. "
                  "Install the package again (`make install`, or `pip install -e .`).", stacklevel=2)
    return None


_sources = cache(digest)
