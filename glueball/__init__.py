"""Glueball: Gluon, made new, on PyTorch's kernels.

    import glueball as mx
    from glueball import autograd, gluon, nd
"""
from __future__ import annotations

from . import autograd, base, ndarray
from . import ndarray as nd
