"""Example inputs of an export: what onnx_file.py and pt2_file.py begin with. The trace is trace.py's.

The one idea: an example says shapes and types, and serves the comparison afterwards; `wider` is a second one of another
batch size, by which an open batch is held to its word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import pause
from ..base.dtype import is_float
from ..base.errors import ArgumentError, MXNetError, explain
from ..base.tree import flatten
from ..ndarray import NDArray, array

__all__ = ["example_arguments", "wider"]


def example_arguments(block: Any, inputs: Any) -> tuple[Any, ...]:
    """Return the arguments of a call: the examples, or random numbers in the last call's shapes.

    Raises
    ------
    ArgumentError : the examples hold no array
    MXNetError : there are no examples, and there was no hybridized call
    """
    if inputs is not None:
        given = [inputs] if isinstance(inputs, (NDArray, np.ndarray)) else inputs
        args = tuple(array(a) if isinstance(a, np.ndarray) else a for a in given)
        if not flatten(list(args), NDArray)[0]:
            raise ArgumentError(explain("export", "The example inputs hold no array.", expected="inputs=[x, ...]",
                                        received=repr(inputs)[:100]))
        if any(parameter._data is None for parameter in block.collect_params().values()):
            with pause():
                block(*args)  # unknown sizes are found here
        return args
    cached = getattr(block, "_cached", None)
    if cached is None or not cached.last_args:
        raise MXNetError(explain("export", "The shapes of the inputs are not known.",
                                 fix="pass an example: net.export(path, format=..., inputs=[x]); or call "
                                     "net.hybridize() and net(x) once before"))
    random = np.random.RandomState(0)
    for one in flatten(list(cached.last_args), NDArray)[0]:  # the stand-ins hold no numbers yet
        one[:] = array(random.uniform(-1, 1, one.shape) if is_float(one._t.dtype) else np.zeros(one.shape),
                       dtype=one.dtype)
    return cached.last_args


def wider(samples: Sequence[NDArray]) -> list[NDArray]:
    """Return twice the samples, the second half with its last axis turned by one, so that no row stands for another;
    nothing where a sample has no rows.
    """
    if not all(a.shape[0] for a in samples if a.shape):
        return []
    pairs = [(a, a.asnumpy()) for a in samples]
    return [array(np.concatenate([held, np.roll(held, 1, axis=-1)]), dtype=a.dtype) if a.shape else a
            for a, held in pairs]
