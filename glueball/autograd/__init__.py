"""autograd: when a tape is kept, and how gradients are taken from it.

The one idea: `record()` turns two switches (base/modes.py) and torch's own grad mode; every eager operator is then on
torch's tape because its inputs are. Leaving the scope turns them back. Backward passes are in backward.py,
user-defined gradients in function.py.
"""
from __future__ import annotations

from .backward import backward, get_symbol, grad, mark_variables
from .function import Function
from .scope import is_recording, is_training, pause, predict_mode, record, set_recording, set_training, train_mode

__all__ = ["record", "pause", "train_mode", "predict_mode", "is_recording", "is_training", "set_recording",
           "set_training", "backward",
           "grad", "mark_variables", "get_symbol", "Function"]
