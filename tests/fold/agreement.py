"""`agree`: a program run with and without folding gives the same results and gradients; arrays and layers for it.

Not here: the programs (test_bug_classes.py, test_changes.py), random ones (programs.py).
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from glueball import autograd, fold, gluon, init, nd

H = 3
nn = gluon.nn


def arrays(count: int = 4, shape: tuple[int, ...] = (1, H), dtype: str = "float64", seed: int = 0,
           attach: bool = True) -> list[Any]:
    """Return random arrays, with gradients."""
    generator = np.random.RandomState(seed)
    found = [nd.array(generator.randn(*shape), dtype=dtype) for _ in range(count)]
    for array in found if attach else ():
        array.attach_grad()
    return found


def layer(units: int = H, **options: Any) -> Any:
    """Return a Dense layer with weights."""
    made = nn.Dense(units, in_units=H, flatten=False, **options)
    made.initialize(init.Normal(0.5))
    made.cast("float64")
    return made


def parameters(*blocks: Any) -> list[Any]:
    """Return the parameters of blocks."""
    return [p for block in blocks for p in block.collect_params().values()]


def gradients(params: Sequence[Any], leaves: Sequence[Any]) -> list[np.ndarray]:
    """Return gradients of parameters and of arrays."""
    return [p.grad().asnumpy() for p in params] + [a.grad.asnumpy() for a in leaves if a.grad is not None]


def agree(program: Callable[[Any], Any], xs: Sequence[Any], *blocks: Any, leaves: Sequence[Any] = (),
          tolerance: float = 1e-9) -> None:
    """Run a program on each sample, eagerly and folded; compare results and gradients."""
    found = []
    held = [*[x for x in xs if isinstance(x, nd.NDArray)], *leaves]
    for mode in ("off", "on"):
        for parameter in parameters(*blocks):
            parameter.zero_grad()
        for array in held:
            array.zero_grad()
        with autograd.record(train_mode=False), fold.batching(mode):
            outs = [program(x) for x in xs]
        outs = [list(o) if isinstance(o, (list, tuple)) else [o] for o in outs]
        with autograd.record():
            heads = [(value * value + value).sum() for out in outs for value in out
                     if value.dtype in (np.float32, np.float64)]
        if any(head._t.requires_grad for head in heads):
            autograd.backward([head for head in heads if head._t.requires_grad])
        found.append([v.asnumpy() for out in outs for v in out] + gradients(parameters(*blocks), held))
    for one, other in zip(*found, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        np.testing.assert_allclose(other, one, tolerance, tolerance)
