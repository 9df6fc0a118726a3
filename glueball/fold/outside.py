"""Arrays from outside: how what samples bring along gets into the arenas.

The one idea: a batch brings thousands of small arrays, so what is done per array is a few look-ups, and the copying is
one call per pool. Their owners may write to them later: what is recorded are copies.

Not here: which arrays are from outside (folder.py), the arenas (arena.py).
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..base.aten import set_grad_mode
from .arena import Store
from .future import OFFSET
from .kinds import Kind, Pool

__all__ = ["take_in"]

Tensor = torch.Tensor
Source = tuple[Tensor, Pool, int, int, int]


def take_in(fresh: Sequence[tuple[int, Kind, Any]], store: Store) -> list[Source]:
    """Store arrays, given as (reference, kind, array).

    Returns
    -------
    list
        (tensor, pool, first row, rows, value) of those that want gradients
    """
    by_pool: dict[Pool, tuple[list[Tensor], list[int], list[Kind]]] = {}
    for ref, kind, array in fresh:
        held = by_pool.get(kind.pool)
        if held is None:
            held = by_pool[kind.pool] = [], [], []
        held[0].append(array._t)
        held[1].append(ref)
        held[2].append(kind)
    sources: list[Source] = []
    for pool, (tensors, refs, kinds) in by_pool.items():
        values = np.array(refs) >> OFFSET
        rows = _joined(tensors, kinds, pool)
        start = store.arena(pool).append(rows)
        same = kinds.count(kinds[0]) == len(kinds)
        sizes = np.full(len(kinds), kinds[0].rows) if same else np.array([kind.rows for kind in kinds])
        starts = start + np.cumsum(sizes) - sizes
        store.rows[values] = starts
        if rows.requires_grad:  # torch knows whether any of them does
            for tensor, value, first, size in zip(tensors, values.tolist(), starts.tolist(), sizes.tolist()):
                if tensor.requires_grad:
                    store.gradient[value] = True
                    sources.append((tensor, pool, first, size, value))
    return sources


def _joined(tensors: list[Tensor], kinds: Sequence[Kind], pool: Pool) -> Tensor:
    """Return arrays as rows of a new tensor, on torch's tape where one of them is."""
    before = torch.is_grad_enabled()
    set_grad_mode(True)
    try:
        ranks = {len(kind.shape) for kind in kinds}
        if ranks == {1 + len(pool.rest)}:
            return torch.cat(tensors)
        if ranks == {len(pool.rest)} and not kinds[0].ragged:
            return torch.stack(tensors)
        return torch.cat([t.reshape(kind.rows, *pool.rest) for t, kind in zip(tensors, kinds)])
    finally:
        set_grad_mode(before)
