"""Update steps of gradient descent as operators, for client code that calls them: sgd_update, multi_sgd_update, ….

The one idea: an operator returns the new weight (give ``out=weight`` to update in place) and changes its states in
place; all of them first compute the gradient that counts, clip(rescale_grad · grad), by `scaled`. `mp_` variants keep a
float32 copy of a half-precision weight, `multi_` variants update several weights in one call. Adam, LAMB and the other
adaptive rules are in adaptive_ops.py. The optimisers of glueball.optimizer have their own, fused rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ..base.errors import ArgumentError, explain
from .attributes import Floats
from .opdef import REQUIRED, Tensor, operator, unsupported
from .rules.check import A, S, Sample, check

_NO_GRADIENT = unsupported("an update step is the end of differentiation")
POSITIVE = {"low": 0.1, "high": 1.0}  # second moments


def scaled(grad: Tensor, rescale: float, clip: float) -> Tensor:
    """Return clip(rescale · grad); a negative `clip` means none."""
    grad = grad * rescale
    return grad.clamp_(-clip, clip) if clip >= 0 else grad


def np_scaled(grad: np.ndarray, rescale: Any = 1.0, clip: float = -1.0) -> np.ndarray:
    grad = grad * rescale
    return np.clip(grad, -clip, clip) if clip >= 0 else grad


def update(*, aliases: Sequence[str] = (), mutates: Sequence[str], **rules: Any) -> Callable[[Callable[..., Any]], Any]:
    """Declare an update operator: no gradient, no tape, states changed in place."""

    def make(function: Callable[..., Any]) -> Any:
        made = operator(aliases=aliases, mutates=tuple(mutates), gradient=_NO_GRADIENT, **rules)(function)
        made.kernel = torch.no_grad()(function)
        return made

    return make


# ---- stochastic gradient descent
def _np_sgd(
    w: np.ndarray, g: np.ndarray, lr: float, wd: float = 0.0, rescale_grad: float = 1.0, clip_gradient: float = -1.0
) -> np.ndarray:
    return w - lr * (np_scaled(g, rescale_grad, clip_gradient) + wd * w)


def _np_sgd_mom(
    w: np.ndarray, g: np.ndarray, m: np.ndarray, lr: float, momentum: float = 0.0, **options: float
) -> np.ndarray:
    return _np_sgd(w, g, lr, **options) + momentum * m


def _sgd(weight: Tensor, grad: Tensor, lr: Any, wd: Any, rescale: float, clip: float) -> Tensor:
    return weight - (scaled(grad, rescale, clip) + weight * wd) * lr


def _sgd_mom(
    weight: Tensor, grad: Tensor, mom: Tensor, lr: Any, momentum: float, wd: Any, rescale: float, clip: float
) -> Tensor:
    mom.mul_(momentum).sub_((scaled(grad, rescale, clip) + weight * wd) * lr)
    return weight + mom


def update_samples(states: int, positive: int = 0, **attrs: Any) -> list[Sample]:
    """Two samples: plain, and with everything that scales and clips; the last `positive` states are positive."""
    arrays = [A(3, 2)] * (2 + states - positive) + [A(3, 2, **POSITIVE)] * positive
    return [
        S(*arrays, grad=False, lr=0.1, **attrs),
        S(*arrays, grad=False, lr=0.1, wd=0.1, rescale_grad=0.5, clip_gradient=0.2, **attrs),
    ]


@update(mutates=(), check=check(*update_samples(0), ref=_np_sgd))
def sgd_update(
    weight: Tensor,
    grad: Tensor,
    lr: float = REQUIRED,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    lazy_update: bool = True,
) -> Tensor:
    """Return weight − lr · (clip(rescale_grad · grad) + wd · weight)."""
    return _sgd(weight, grad, lr, wd, rescale_grad, clip_gradient)


@update(mutates=("mom",), check=check(*update_samples(1, momentum=0.9), ref=_np_sgd_mom))
def sgd_mom_update(
    weight: Tensor,
    grad: Tensor,
    mom: Tensor,
    lr: float = REQUIRED,
    momentum: float = 0.0,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    lazy_update: bool = True,
) -> Tensor:
    """Update mom ← momentum · mom − lr · (g + wd · weight) and return weight + mom."""
    return _sgd_mom(weight, grad, mom, lr, momentum, wd, rescale_grad, clip_gradient)


def _half(samples: Sequence[Sample]) -> list[Sample]:
    """Samples of a mixed-precision operator: half-precision weight and gradient, and the float32 weight at the end."""
    made = []
    for sample in samples:
        count = len(sample.inputs)
        inputs = [A(3, 2, dtype="float16")] * 2 + [A(3, 2, dtype="float32")] * (count - 2) + [A(3, 2, dtype="float32")]
        made.append(Sample(tuple(inputs), sample.attrs, False))
    return made


def master(weight: Tensor, weight32: Tensor, new: Tensor) -> Tensor:
    """Keep the new weight in float32 and return it in the weight's own dtype."""
    weight32.copy_(new)
    return new.to(weight.dtype)


@update(
    mutates=("weight32",),
    check=check(*_half(update_samples(0)), ref=lambda w, g, m, **k: _np_sgd(m, g, **k).astype(np.float16), rtol=2e-3),
)
def mp_sgd_update(
    weight: Tensor,
    grad: Tensor,
    weight32: Tensor,
    lr: float = REQUIRED,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    lazy_update: bool = True,
) -> Tensor:
    """Do `sgd_update` on the float32 copy of a half-precision weight."""
    return master(weight, weight32, _sgd(weight32, grad.float(), lr, wd, rescale_grad, clip_gradient))


@update(
    mutates=("mom", "weight32"),
    check=check(
        *_half(update_samples(1, momentum=0.9)),
        rtol=2e-3,
        ref=lambda w, g, m, x, **k: _np_sgd_mom(x, g, m, **k).astype(np.float16),
    ),
)
def mp_sgd_mom_update(
    weight: Tensor,
    grad: Tensor,
    mom: Tensor,
    weight32: Tensor,
    lr: float = REQUIRED,
    momentum: float = 0.0,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    lazy_update: bool = True,
) -> Tensor:
    """Do `sgd_mom_update` on the float32 copy of a half-precision weight."""
    return master(
        weight, weight32, _sgd_mom(weight32, grad.float(), mom, lr, momentum, wd, rescale_grad, clip_gradient)
    )


def _np_nag(
    w: np.ndarray, g: np.ndarray, m: np.ndarray, lr: float, momentum: float = 0.0, **options: float
) -> np.ndarray:
    step = w - _np_sgd(w, g, lr, **options)
    return w + momentum * (momentum * m - step) - step


def _nag(
    weight: Tensor, grad: Tensor, mom: Tensor, lr: float, momentum: float, wd: float, rescale: float, clip: float
) -> Tensor:
    step = (scaled(grad, rescale, clip) + weight * wd) * lr
    mom.mul_(momentum).sub_(step)
    return weight + mom * momentum - step


@update(mutates=("mom",), check=check(*update_samples(1, momentum=0.9), ref=_np_nag))
def nag_mom_update(
    weight: Tensor,
    grad: Tensor,
    mom: Tensor,
    lr: float = REQUIRED,
    momentum: float = 0.0,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
) -> Tensor:
    """Nesterov's momentum: s = lr · (g + wd · weight); mom ← momentum · mom − s; return weight + momentum · mom − s."""
    return _nag(weight, grad, mom, lr, momentum, wd, rescale_grad, clip_gradient)


@update(
    mutates=("mom", "weight32"),
    check=check(
        *_half(update_samples(1, momentum=0.9)),
        rtol=2e-3,
        ref=lambda w, g, m, x, **k: _np_nag(x, g, m, **k).astype(np.float16),
    ),
)
def mp_nag_mom_update(
    weight: Tensor,
    grad: Tensor,
    mom: Tensor,
    weight32: Tensor,
    lr: float = REQUIRED,
    momentum: float = 0.0,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
) -> Tensor:
    """Do `nag_mom_update` on the float32 copy of a half-precision weight."""
    return master(weight, weight32, _nag(weight32, grad.float(), mom, lr, momentum, wd, rescale_grad, clip_gradient))


# ---- signs
@update(mutates=(), check=check(*update_samples(0), ref=lambda w, g, lr, wd=0.0, **k: w - lr * (np.sign(g) + wd * w)))
def signsgd_update(
    weight: Tensor,
    grad: Tensor,
    lr: float = REQUIRED,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
) -> Tensor:
    """Return weight − lr · (sign(grad) + wd · weight)."""
    return weight - (torch.sign(scaled(grad, rescale_grad, clip_gradient)) + weight * wd) * lr


def _np_signum(
    w: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    lr: float,
    momentum: float = 0.0,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    wd_lh: float = 0.0,
) -> np.ndarray:
    new = momentum * m - (1 - momentum) * (np_scaled(g, rescale_grad, clip_gradient) + wd * w)
    return (1 - lr * wd_lh) * w + lr * np.sign(new)


@update(
    mutates=("mom",),
    check=check(*update_samples(1, momentum=0.9), *update_samples(1, momentum=0.5, wd_lh=0.1), ref=_np_signum),
)
def signum_update(
    weight: Tensor,
    grad: Tensor,
    mom: Tensor,
    lr: float = REQUIRED,
    momentum: float = 0.0,
    wd: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    wd_lh: float = 0.0,
) -> Tensor:
    """Update mom ← momentum · mom − (1 − momentum) · (g + wd · weight); return (1 − lr · wd_lh) · weight + lr ·
    sign(mom)."""
    mom.mul_(momentum).sub_((scaled(grad, rescale_grad, clip_gradient) + weight * wd) * (1 - momentum))
    return weight * (1 - lr * wd_lh) + torch.sign(mom) * lr


# ---- several weights in one call
def _groups(name: str, data: Sequence[Tensor], count: int, size: int) -> Iterator[tuple[Tensor, ...]]:
    """Yield the arrays of each weight: weight, gradient and states stand together."""
    if len(data) != count * size:
        raise ArgumentError(
            explain(
                name,
                "The number of arrays does not fit num_weights.",
                expected=f"{size} arrays for each of {count} weights",
                received=len(data),
            )
        )
    return (tuple(data[size * i : size * (i + 1)]) for i in range(count))


def _multi_sgd(
    name: str,
    data: Sequence[Tensor],
    count: int,
    lrs: Any,
    wds: Any,
    momentum: float | None,
    mixed: bool,
    rescale: float,
    clip: float,
) -> tuple[Tensor, ...]:
    size = 2 + (momentum is not None) + mixed
    results = []
    for position, (weight, grad, *states) in enumerate(_groups(name, data, count, size)):
        start = states[-1] if mixed else weight
        grad = grad.to(start.dtype)
        if momentum is None:
            new = _sgd(start, grad, lrs[position], wds[position], rescale, clip)
        else:
            new = _sgd_mom(start, grad, states[0], lrs[position], momentum, wds[position], rescale, clip)
        results.append(master(weight, start, new) if mixed else new)
    return tuple(results)


def _np_multi(size: int, momentum: bool, mixed: bool, preloaded: bool = False) -> Callable[..., Any]:
    def reference(
        *data: np.ndarray, lrs: Any = None, wds: Any = None, num_weights: int = 1, **options: Any
    ) -> tuple[np.ndarray, ...]:
        if preloaded:
            *rest, lrs, wds = data
            data = tuple(rest)
        results = []
        for i in range(num_weights):
            weight, grad, *states = data[size * i : size * (i + 1)]
            start = states[-1] if mixed else weight
            arrays = [start, grad.astype(start.dtype), states[0]] if momentum else [start, grad.astype(start.dtype)]
            results.append(
                (_np_sgd_mom if momentum else _np_sgd)(*arrays, lr=lrs[i], wd=wds[i], **options).astype(weight.dtype)
            )
        return tuple(results)

    return reference


def _multi_check(size: int, momentum: bool, mixed: bool, preloaded: bool = False) -> Any:
    half = "float16" if mixed else "float32"
    arrays: list[Any] = []
    for shape in ((3, 2), (4,)):
        arrays += [A(*shape, dtype=half), A(*shape, dtype=half), *[A(*shape, dtype="float32") for _ in range(size - 2)]]
    attrs: dict[str, Any] = {"num_weights": 2, **({"momentum": 0.9} if momentum else {})}
    if preloaded:
        arrays += [np.array([0.1, 0.2], np.float32), np.array([0.0, 0.1], np.float32)]
    else:
        attrs.update(lrs=(0.1, 0.2), wds=(0.0, 0.1))
    return check(
        S(*arrays, grad=False, **attrs),
        ref=_np_multi(size, momentum, mixed, preloaded),
        rtol=2e-3 if mixed else 1e-5,
        errors=[((A(3),), attrs if not preloaded else {"num_weights": 2}, "num_weights")],
    )


def _count(attrs: Any) -> int:
    return attrs["num_weights"]


@update(mutates=(), outputs=_count, check=_multi_check(2, False, False))
def multi_sgd_update(
    *data: Tensor,
    lrs: Floats = REQUIRED,
    wds: Floats = REQUIRED,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    num_weights: int = 1,
) -> Any:
    """Do `sgd_update` for several weights: data are weight, grad of each in turn, `lrs` and `wds` one number per
    weight."""
    return _multi_sgd("multi_sgd_update", data, num_weights, lrs, wds, None, False, rescale_grad, clip_gradient)


@update(mutates=("data",), outputs=_count, check=_multi_check(3, True, False))
def multi_sgd_mom_update(
    *data: Tensor,
    lrs: Floats = REQUIRED,
    wds: Floats = REQUIRED,
    momentum: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    num_weights: int = 1,
) -> Any:
    """Do `sgd_mom_update` for several weights: data are weight, grad, mom of each in turn."""
    return _multi_sgd("multi_sgd_mom_update", data, num_weights, lrs, wds, momentum, False, rescale_grad, clip_gradient)


@update(mutates=("data",), outputs=_count, check=_multi_check(3, False, True))
def multi_mp_sgd_update(
    *data: Tensor,
    lrs: Floats = REQUIRED,
    wds: Floats = REQUIRED,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    num_weights: int = 1,
) -> Any:
    """Do `mp_sgd_update` for several weights: data are weight, grad, weight32 of each in turn."""
    return _multi_sgd("multi_mp_sgd_update", data, num_weights, lrs, wds, None, True, rescale_grad, clip_gradient)


@update(mutates=("data",), outputs=_count, check=_multi_check(4, True, True))
def multi_mp_sgd_mom_update(
    *data: Tensor,
    lrs: Floats = REQUIRED,
    wds: Floats = REQUIRED,
    momentum: float = 0.0,
    rescale_grad: float = 1.0,
    clip_gradient: float = -1.0,
    num_weights: int = 1,
) -> Any:
    """Do `mp_sgd_mom_update` for several weights: data are weight, grad, mom, weight32 of each in turn."""
    return _multi_sgd(
        "multi_mp_sgd_mom_update", data, num_weights, lrs, wds, momentum, True, rescale_grad, clip_gradient
    )


@update(mutates=(), outputs=_count, check=_multi_check(2, False, False, True))
def preloaded_multi_sgd_update(
    *data: Tensor, rescale_grad: float = 1.0, clip_gradient: float = -1.0, num_weights: int = 1
) -> Any:
    """As `multi_sgd_update`, with the learning rates and decays as the last two arrays."""
    return _multi_sgd(
        "preloaded_multi_sgd_update",
        data[:-2],
        num_weights,
        data[-2] if len(data) > 1 else (),
        data[-1] if len(data) > 1 else (),
        None,
        False,
        rescale_grad,
        clip_gradient,
    )


@update(mutates=("data",), outputs=_count, check=_multi_check(3, True, False, True))
def preloaded_multi_sgd_mom_update(
    *data: Tensor, momentum: float = 0.0, rescale_grad: float = 1.0, clip_gradient: float = -1.0, num_weights: int = 1
) -> Any:
    """As `multi_sgd_mom_update`, with the learning rates and decays as the last two arrays."""
    return _multi_sgd(
        "preloaded_multi_sgd_mom_update",
        data[:-2],
        num_weights,
        data[-2:-1] and data[-2],
        data[-1],
        momentum,
        False,
        rescale_grad,
        clip_gradient,
    )


def _np_lars(
    lr: np.ndarray, w: np.ndarray, g: np.ndarray, wd: np.ndarray, eta: float, eps: float, rescale_grad: float = 1.0
) -> np.ndarray:
    norm = np.sqrt(w)
    return np.where((w > 0) & (g > 0), lr * eta * norm / (np.sqrt(g) * rescale_grad + wd * norm + eps), lr)


@update(
    mutates=(),
    check=check(
        S(*[A(4, **POSITIVE)] * 4, grad=False, eta=0.1, eps=1e-3, rescale_grad=0.5),
        S(A(2), np.array([0.0, 1.0]), np.array([1.0, 0.0]), A(2), grad=False, eta=0.1, eps=1e-3),
        ref=_np_lars,
    ),
)
def multi_lars(
    lrs: Tensor,
    weights_sum_sq: Tensor,
    grads_sum_sq: Tensor,
    wds: Tensor,
    eta: float = REQUIRED,
    eps: float = REQUIRED,
    rescale_grad: float = 1.0,
) -> Tensor:
    """LARS (You et al. 2017): each learning rate times eta · |w| / (|g| + wd · |w| + eps), where both norms are
    positive."""
    norm = weights_sum_sq.sqrt()
    scaled = lrs * eta * norm / (grads_sum_sq.sqrt() * rescale_grad + wds * norm + eps)
    return torch.where((weights_sum_sq > 0) & (grads_sum_sq > 0), scaled, lrs)


@update(
    mutates=("data",),
    outputs=lambda attrs: attrs["num_arrays"],
    variadic_count="num_arrays",
    check=check(
        S(A(3, 2), A(4), grad=False, num_arrays=2), ref=lambda *x, num_arrays: tuple(np.zeros_like(a) for a in x)
    ),
)
def reset_arrays(*data: Tensor, num_arrays: int = 1) -> Any:
    """Set arrays to 0 in place."""
    return tuple(array.zero_().clone() for array in data)
