"""The two modes a program is in: recording (is a tape kept?) and training (do Dropout and BatchNorm act as in
training?).

The one idea: each is one ContextVar, so threads and async tasks have their own; `autograd` sets them, kernels and
plans read them.
"""
from __future__ import annotations

from contextvars import ContextVar

import torch

__all__ = ["RECORDING", "TRAINING", "is_recording", "is_training", "torch_grad_enabled", "set_torch_grad", "no_tape",
           "RETAINING"]

RECORDING: ContextVar[bool] = ContextVar("glueball_recording", default=False)
TRAINING: ContextVar[bool] = ContextVar("glueball_training", default=False)

is_recording = RECORDING.get
is_training = TRAINING.get

# torch's own switch: blocks called outside record() turn it off once, so that no layer inside builds a tape that is
# thrown away
torch_grad_enabled = torch.is_grad_enabled
set_torch_grad = torch.set_grad_enabled
no_tape = torch.no_grad


class _Flag:
    """A switch that the threads of one backward pass share (torch may run a GPU's backward on a thread of its own)."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = False


RETAINING = _Flag()  # set while a backward pass with retain_graph=True runs: saved values must then stay


class _Counter:
    """Counts, for the whole process."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


BACKWARD_PASS = _Counter()  # how many backward passes have begun: what is kept during one is not of another
