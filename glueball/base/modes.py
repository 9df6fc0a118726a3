"""The two modes a program is in: recording (is a tape kept?) and training (do Dropout and BatchNorm act as in training?).

The one idea: each is one ContextVar, so threads and async tasks have their own; `autograd` sets them, kernels and plans read them.
"""
from __future__ import annotations

from contextvars import ContextVar

__all__ = ["RECORDING", "TRAINING", "is_recording", "is_training"]

RECORDING: ContextVar[bool] = ContextVar("glueball_recording", default=False)
TRAINING: ContextVar[bool] = ContextVar("glueball_training", default=False)

is_recording = RECORDING.get
is_training = TRAINING.get
