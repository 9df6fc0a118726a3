"""Gluon: networks as Python classes, with sizes inferred from data.

Blocks are in block.py and hybrid.py, parameters in parameter.py, layers in nn/ and rnn/, losses in loss/, the
training step in trainer.py, data sets and loaders in data/, ready-made networks in model_zoo/. Names are MXNet's.
"""
from __future__ import annotations

import importlib
from typing import Any

from . import loss, nn, utils
from .block import Block
from .hybrid import HybridBlock
from .model_file import load
from .parameter import Constant, DeferredInitializationError, Parameter, tensor_types
from .parameter_dict import ParameterDict
from .symbol_block import SymbolBlock

__all__ = ["Block", "HybridBlock", "SymbolBlock", "Parameter", "Constant", "ParameterDict",
           "DeferredInitializationError", "Trainer", "tensor_types", "load",
           "nn", "rnn", "loss", "data", "utils", "model_zoo", "contrib"]

_LAZY = ("data", "rnn", "model_zoo", "contrib")


def __getattr__(name: str) -> Any:
    if name == "Trainer":
        from .trainer import Trainer
        return Trainer
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"glueball.gluon has no attribute {name!r}")
