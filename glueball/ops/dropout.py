"""Dropout: zero a random part of the elements while training.

The one idea: a call draws one number, its seed, from torch's generator (which `glueball.random.seed` sets); what is
dropped is a function of the seed and the element's place. So nothing but the seed is kept for the gradient, which does
the same to another array, and a compiled plan decides inside of its kernels as the imperative call does.

Not here: machine code for the decisions, which executor/native/dropout.py offers (`serve`); without it torch draws
them from a generator of their own. The mask between the layers of the RNN operator is in rnn.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from ..base.errors import ArgumentError, explain
from .attributes import Shape
from .opdef import Grad, Tensor, Training, Value, operator, unsupported
from .rules.check import A, S, check
from .rules.layers import formula
from .rules.shapes import like_first

Native: TypeAlias = Callable[[Tensor, Tensor, float], "Tensor | None"]

_native: Native | None = None  # until somebody serves


def serve(native: Native) -> None:
    """Let machine code decide: native(data, seed, p) -> the result, or None for arrays it has no code for."""
    global _native
    _native = native


# -- the decisions -----------------------------------------------------------------------------------------------------


def dropped(data: Tensor, seed: Tensor, p: float, axes: Sequence[int] = ()) -> Tensor:
    """Return data with the elements that a seed drops as 0, the others divided by 1 − p; on the tape where that is on.

    data : any shape, floating; seed : (1,) int64; axes : along these one decision holds for all elements
    """
    if axes:
        alone = [1 if i in axes or i - data.dim() in axes else n for i, n in enumerate(data.shape)]
        return data * _values(data.new_ones(alone), seed, p)
    if torch.is_grad_enabled() and data.requires_grad:
        return _Dropped.apply(data, seed, p)
    return _values(data, seed, p)


def _values(data: Tensor, seed: Tensor, p: float) -> Tensor:
    if p >= 1:
        return torch.zeros_like(data)
    found = None if _native is None else _native(data, seed, p)
    if found is not None:
        return found
    generator = torch.Generator(data.device)
    generator.manual_seed(int(seed))
    mask = torch.empty(data.shape, dtype=data.dtype, device=data.device).bernoulli_(1 - p, generator=generator)
    return mask.div_(1 - p).mul_(data)


class _Dropped(torch.autograd.Function):
    """The decisions on torch's tape, which keeps the seed alone."""

    @staticmethod
    def forward(ctx: Any, data: Tensor, seed: Tensor, p: float) -> Tensor:
        ctx.seed, ctx.p = seed, p
        return _values(data, seed, p)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return dropped(grad, ctx.seed, ctx.p), None, None


# -- the operator ------------------------------------------------------------------------------------------------------


def _law(inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> bool:
    """Every element is 0 or scaled, the scale is 1/(1 − p), and axes share what is dropped."""
    x, y = inputs[0].astype(np.float64), outputs[0].astype(np.float64)
    if attrs["mode"] == "training" and attrs["p"] < 0.02:
        return bool(np.allclose(x, y))
    kept = np.isclose(y, x / (1 - attrs["p"]), rtol=1e-3) if attrs["p"] < 1 else y == 0
    fair = x.size < 1000 or abs(kept.mean() - (1 - attrs["p"])) < 0.1 or bool(attrs["axes"])
    shared = all((kept == kept.take([0], axis)).all() for axis in attrs["axes"])
    return bool((kept | (y == 0)).all() and fair and shared)


@operator(
    outputs=2,
    visible=1,
    output_names=("output", "seed"),
    random=True,
    infer=formula(lambda a, shapes, dtypes: [(shapes[0], dtypes[0]), ((1,), torch.int64)]),
    check=check(
        S(A(40, 50, low=0.5), training=True, grad=False),
        S(A(40, 50, low=0.5), p=0.8, mode="always", grad=False),
        S(A(3, 4), p=0.0, training=True),
        S(A(4, 50, 3, low=0.5), p=0.5, axes=(1,), training=True, grad=False),
        S(A(3, 4), p=0.01),
        S(A(3, 4, low=0.5), p=1.0, training=True, grad=False),
        ref="the result is random; its law is checked",
        law=_law,
        errors=[((A(2, 3),), {"p": 1.5}, "from 0 to 1"), ((A(2, 3),), {"mode": "never"}, "training, always")],
    ),
)
def Dropout(
    data: Tensor,
    p: float = 0.5,
    mode: str = "training",
    axes: Shape = (),
    cudnn_off: bool = False,
    *,
    training: Training = False,
) -> tuple[Tensor, Tensor]:
    """Set each element to 0 with probability `p` and divide the others by 1 − p, while training (mode="training") or
    always.

    Along `axes` one decision holds for all elements. Outside training the result is a copy of the data.

    >>> nd.Dropout(nd.ones(3), p=0.5).asnumpy().tolist()  # nothing happens outside autograd.record()
    [1.0, 1.0, 1.0]
    """
    if not 0 <= p <= 1:
        raise ArgumentError(
            explain("Dropout", "The probability p is out of range.", expected="a number from 0 to 1", received=p)
        )
    if not training and mode == "training" or p == 0 or not data.numel():
        return data.clone(), _NO_SEED
    if mode not in ("training", "always"):
        raise ArgumentError(explain("Dropout", "There is no such mode.", expected="training, always", received=mode))
    seed = draw()
    return dropped(data, seed, p, axes), seed


_NO_SEED = torch.zeros(1, dtype=torch.int64)


def draw() -> Tensor:
    """Return a seed, (1,) int64, from torch's generator."""
    return torch.empty(1, dtype=torch.int64).random_()


def active(attrs: Mapping[str, Any], training: bool) -> bool:
    """Whether a Dropout of such attributes drops anything."""
    return attrs["p"] > 0 and (training or attrs["mode"] == "always")


@Dropout.grad
def _(c: Grad) -> Value:
    if not active(c.attrs, c.training):
        return c.g
    return _dropped(c.g, c.outs[1], p=c.attrs["p"], axes=c.attrs["axes"])


# -- in compiled plans: the seed and what it decides are two nodes (passes/seeds.py) -----------------------------------


@operator(
    random=True,
    infer=formula(lambda a, shapes, dtypes: [((1,), torch.int64)]),
    gradient=unsupported("a seed is a random integer"),
    batch=unsupported("passes put it into compiled plans"),
    check=check(S(grad=False), ref="the result is random; its law is checked", law=lambda i, o, a: o[0].shape == (1,)),
)
def _draw_seed() -> Tensor:
    """Draw the seed of a Dropout."""
    return draw()


@operator(
    nondiff=("seed",),
    infer=formula(like_first),
    batch=unsupported("one seed decides for a whole batch, in compiled plans"),
    check=check(
        S(A(40, 50, low=0.5), A(1, ints=9, dtype="int64"), p=0.25),
        S(A(4, 50, 3, low=0.5), A(1, ints=9, dtype="int64"), p=0.5, axes=(1,)),
        S(A(3, 4), A(1, ints=9, dtype="int64"), p=1.0),
        ref="what a seed drops is no formula; its law is checked",
        law=lambda i, o, a: _law(i, o, {**a, "mode": "always"}),
    ),
)
def _dropped(data: Tensor, seed: Tensor, p: float = 0.5, axes: Shape = ()) -> Tensor:
    """Set the elements to 0 that a seed drops and divide the others by 1 − p: Dropout, and its gradient."""
    return dropped(data, seed, p, axes)


@_dropped.grad
def _(c: Grad) -> Value:
    return _dropped(c.g, c.ins[1], p=c.attrs["p"], axes=c.attrs["axes"]), None
