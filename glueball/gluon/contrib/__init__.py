"""Rarer parts of Gluon: layers (`contrib.nn`, `contrib.cnn`), cells (`contrib.rnn`), a sampler (`contrib.data`),
torch modules as blocks (`contrib.torch`), ONNX by MXNet's names (`contrib.onnx`).

`CompiledStep` compiles a whole training step. Each is imported when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["CompiledStep", "cnn", "data", "nn", "onnx", "rnn", "torch"]


def __getattr__(name: str) -> Any:
    if name == "CompiledStep":
        return importlib.import_module(f"{__name__}.compiled_step").CompiledStep
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"glueball.gluon.contrib has no attribute {name!r}")
