"""Optimisers: `mx.optimizer.SGD`, `create("adam", …)`, `register`, `get_updater`.

The one idea: an optimiser is two short methods on plain tensors (`optimizer.py` says how they reach one weight or all
of them). To add one: a class with `state` and `rule` in the file of its family, and a line of golden results in
`tests/optimizer/`.
"""

from __future__ import annotations

from . import contrib
from .adam import FTML, Adam, Adamax, AdamW, Nadam
from .adaptive import AdaDelta, AdaGrad, Ftrl, RMSProp
from .contrib import GroupAdaGrad
from .large_batch import LAMB, LARS, LBSGD
from .optimizer import Optimizer, Step, create, register
from .sgd import DCASGD, NAG, SGD, SGLD, Signum, Test, ccSGD
from .updater import Updater, get_updater

__all__ = [
    "DCASGD",
    "FTML",
    "LAMB",
    "LARS",
    "LBSGD",
    "NAG",
    "SGD",
    "SGLD",
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "GroupAdaGrad",
    "Nadam",
    "Optimizer",
    "RMSProp",
    "Signum",
    "Step",
    "Test",
    "Updater",
    "ccSGD",
    "contrib",
    "create",
    "get_updater",
    "register",
]
