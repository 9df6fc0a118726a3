"""The two modes a program is in: recording (is a tape kept?) and training (do Dropout and BatchNorm act as in
training?).

The one idea: each is one ContextVar, so threads and async tasks have their own; `autograd` sets them, kernels and
plans read them.
"""
from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import torch

from .aten import backward_pass, keeps_graph

__all__ = ["RECORDING", "TRAINING", "is_recording", "is_training", "torch_grad_enabled", "set_torch_grad", "no_tape",
           "RETAINING", "BACKWARD_PASS"]

RECORDING: ContextVar[bool] = ContextVar("glueball_recording", default=False)
TRAINING: ContextVar[bool] = ContextVar("glueball_training", default=False)

is_recording = RECORDING.get
is_training = TRAINING.get

# torch's own switch: blocks called outside record() turn it off once, so that no layer inside builds a tape that is
# thrown away
torch_grad_enabled = torch.is_grad_enabled
set_torch_grad = torch.set_grad_enabled
no_tape = torch.no_grad


class _OfThePass:
    """What the running backward pass is asked. torch's engine knows it on every thread that works for the pass (a GPU's
    part runs on a thread of its own), and keeps passes of several threads apart.
    """

    __slots__ = ("_ask",)

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._ask = ask

    @property
    def value(self) -> Any:
        """The answer now."""
        return self._ask()


RETAINING = _OfThePass(keeps_graph)  # true when a pass with retain_graph=True runs: saved values must then stay
BACKWARD_PASS = _OfThePass(backward_pass)  # its number: what is kept during one pass is not of another
