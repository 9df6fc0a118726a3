"""Rarer parts of Gluon: layers (`contrib.nn`, `contrib.cnn`), cells (`contrib.rnn`), a sampler (`contrib.data`).

Each is imported when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["cnn", "data", "nn", "rnn"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"glueball.gluon.contrib has no attribute {name!r}")
