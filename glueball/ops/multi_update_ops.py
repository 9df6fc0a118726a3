"""Updates of several weights in one call: multi_sgd_update and its variants, LARS' rates, multi_lamb_update, ….

The one idea: the arrays of each weight stand together (weight, gradient, states), weight after weight; each weight gets
the step of its own operator in optimizer_ops.py or adaptive_ops.py. The friendly functions with lists of arrays are in
nd.contrib.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ..base.errors import ArgumentError, explain
from .adaptive_ops import adamw_step, lamb_direction, lamb_step, np_adamw, np_lamb_direction, np_lamb_step
from .attributes import Floats, Shape
from .opdef import REQUIRED, Tensor
from .optimizer_ops import POSITIVE, master, np_sgd, np_sgd_mom, sgd_mom_step, sgd_step, update
from .rules.check import A, S, check


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
            new = sgd_step(start, grad, lrs[position], wds[position], rescale, clip)
        else:
            new = sgd_mom_step(start, grad, states[0], lrs[position], momentum, wds[position], rescale, clip)
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
                (np_sgd_mom if momentum else np_sgd)(*arrays, lr=lrs[i], wd=wds[i], **options).astype(weight.dtype)
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


def _preloaded(
    name: str, data: Sequence[Tensor], count: int, momentum: float | None, mixed: bool, rescale: float, clip: float
) -> Any:
    """Take the learning rates and decays from the last two arrays."""
    rates = list(data[-2:]) if len(data) > 1 else [(), ()]
    return _multi_sgd(name, data[:-2], count, rates[0], rates[1], momentum, mixed, rescale, clip)


@update(mutates=(), outputs=_count, check=_multi_check(2, False, False, True))
def preloaded_multi_sgd_update(
    *data: Tensor, rescale_grad: float = 1.0, clip_gradient: float = -1.0, num_weights: int = 1
) -> Any:
    """As `multi_sgd_update`, with the learning rates and decays as the last two arrays."""
    return _preloaded("preloaded_multi_sgd_update", data, num_weights, None, False, rescale_grad, clip_gradient)


@update(mutates=("data",), outputs=_count, check=_multi_check(3, True, False, True))
def preloaded_multi_sgd_mom_update(
    *data: Tensor, momentum: float = 0.0, rescale_grad: float = 1.0, clip_gradient: float = -1.0, num_weights: int = 1
) -> Any:
    """As `multi_sgd_mom_update`, with the learning rates and decays as the last two arrays."""
    name = "preloaded_multi_sgd_mom_update"
    return _preloaded(name, data, num_weights, momentum, False, rescale_grad, clip_gradient)


@update(mutates=("data",), outputs=_count, check=_multi_check(3, False, True, True))
def preloaded_multi_mp_sgd_update(
    *data: Tensor, rescale_grad: float = 1.0, clip_gradient: float = -1.0, num_weights: int = 1
) -> Any:
    """As `multi_mp_sgd_update`, with the learning rates and decays as the last two arrays."""
    return _preloaded("preloaded_multi_mp_sgd_update", data, num_weights, None, True, rescale_grad, clip_gradient)


@update(mutates=("data",), outputs=_count, check=_multi_check(4, True, True, True))
def preloaded_multi_mp_sgd_mom_update(
    *data: Tensor, momentum: float = 0.0, rescale_grad: float = 1.0, clip_gradient: float = -1.0, num_weights: int = 1
) -> Any:
    """As `multi_mp_sgd_mom_update`, with the learning rates and decays as the last two arrays."""
    name = "preloaded_multi_mp_sgd_mom_update"
    return _preloaded(name, data, num_weights, momentum, True, rescale_grad, clip_gradient)


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


# ---- Adam and LAMB
def _np_each(size: int, step: Callable[..., np.ndarray]) -> Callable[..., Any]:
    """Build a reference that does `step(position, arrays, attributes)` for each weight."""

    def reference(*data: np.ndarray, **attrs: Any) -> tuple[np.ndarray, ...]:
        shared = data[-1] if len(data) % size else None
        count = len(data) // size
        return tuple(step(i, data[size * i : size * (i + 1)], shared, attrs) for i in range(count))

    return reference


def _np_adamw_of(i: int, arrays: Sequence[np.ndarray], shared: Any, attrs: Any) -> np.ndarray:
    start = arrays[4] if len(arrays) == 5 else arrays[0]
    each = {"lr": attrs["lrs"][i], "wd": attrs["wds"][i], "eta": attrs["etas"][i]}
    new = np_adamw(start, arrays[1].astype(start.dtype), arrays[2], arrays[3], shared, **each)
    return new.astype(arrays[0].dtype)


def _np_lamb_of(i: int, arrays: Sequence[np.ndarray], shared: Any, attrs: Any) -> np.ndarray:
    start = arrays[4] if len(arrays) == 5 else arrays[0]
    grad = arrays[1].astype(start.dtype)
    direction = np_lamb_direction(start, grad, arrays[2], arrays[3], t=attrs["step_count"][i], wd=attrs["wds"][i])
    norms = [np.linalg.norm(x).reshape(1) for x in (start, direction)]
    return np_lamb_step(start, direction, *norms, lr=attrs["learning_rates"][i]).astype(arrays[0].dtype)


def _many(mixed: bool, shared: bool) -> list[Any]:
    """Arrays of two weights: weight, grad, mean, var (, weight32), and the shared factor at the end."""
    arrays: list[Any] = []
    for shape in ((3, 2), (4,)):
        half = "float16" if mixed else "float32"
        arrays += [A(*shape, dtype=half), A(*shape, dtype=half), A(*shape, dtype="float32")]
        arrays += [A(*shape, dtype="float32", **POSITIVE) for _ in range(2 if mixed else 1)]
    return [*arrays, np.array([0.5], np.float32)] if shared else arrays


def _adamw_check(mixed: bool) -> Any:
    sample = S(*_many(mixed, True), grad=False, lrs=(0.1, 0.2), wds=(0.0, 0.1), etas=(1.0, 0.5), num_weights=2)
    return check(sample, ref=_np_each(5 if mixed else 4, _np_adamw_of), rtol=2e-3 if mixed else 1e-4)


def _lamb_check(mixed: bool) -> Any:
    sample = S(
        *_many(mixed, False), grad=False, learning_rates=(0.1, 0.2), wds=(0.0, 0.1), step_count=(1, 3), num_tensors=2
    )
    return check(sample, ref=_np_each(5 if mixed else 4, _np_lamb_of), rtol=2e-3 if mixed else 1e-4)


def _multi_adamw(
    data: Sequence[Tensor], count: int, mixed: bool, rates: Sequence[Any], options: Sequence[float]
) -> Any:
    lrs, wds, etas = rates
    beta1, beta2, epsilon, clip = options
    results = []
    groups = _groups("multi_adamw_update", data[:-1], count, 5 if mixed else 4)
    for i, (weight, grad, mean, var, *master32) in enumerate(groups):
        start = master32[0] if mixed else weight
        each = (lrs[i], etas[i], beta1, beta2, epsilon, wds[i], clip)
        new = adamw_step(start, grad.to(start.dtype), mean, var, data[-1], *each)
        results.append(master(weight, start, new) if mixed else new)
    return tuple(results)


@update(mutates=("data",), outputs=_count, check=_adamw_check(False))
def _multi_adamw_update(
    *data: Tensor,
    lrs: Floats = REQUIRED,
    wds: Floats = REQUIRED,
    etas: Floats = REQUIRED,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    clip_gradient: float = -1.0,
    num_weights: int = 1,
) -> Any:
    """Do `_adamw_update` for several weights: data are weight, grad, mean, var of each in turn, then rescale_grad."""
    return _multi_adamw(data, num_weights, False, (lrs, wds, etas), (beta1, beta2, epsilon, clip_gradient))


@update(mutates=("data",), outputs=_count, check=_adamw_check(True))
def _multi_mp_adamw_update(
    *data: Tensor,
    lrs: Floats = REQUIRED,
    wds: Floats = REQUIRED,
    etas: Floats = REQUIRED,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    clip_gradient: float = -1.0,
    num_weights: int = 1,
) -> Any:
    """Do `_mp_adamw_update` for several weights: weight, grad, mean, var, weight32 of each, then rescale_grad."""
    return _multi_adamw(data, num_weights, True, (lrs, wds, etas), (beta1, beta2, epsilon, clip_gradient))


def _multi_lamb(data: Sequence[Tensor], count: int, mixed: bool, rates: Sequence[Any], options: Sequence[Any]) -> Any:
    lrs, wds, steps = rates
    beta1, beta2, epsilon, rescale, lower, upper, clip, correct = options
    results = []
    groups = _groups("multi_lamb_update", data, count, 5 if mixed else 4)
    for i, (weight, grad, mean, var, *master32) in enumerate(groups):
        start = master32[0] if mixed else weight
        each = (beta1, beta2, epsilon, steps[i], correct, wds[i], rescale, clip)
        direction = lamb_direction(start, grad.to(start.dtype), mean, var, *each)
        norms = [torch.linalg.vector_norm(x).reshape(1) for x in (start, direction)]
        new = lamb_step(start, direction, norms[0], norms[1], lrs[i], lower, upper)
        results.append(master(weight, start, new) if mixed else new)
    return tuple(results)


def _tensors(attrs: Any) -> int:
    return attrs["num_tensors"]


@update(mutates=("data",), outputs=_tensors, check=_lamb_check(False))
def _multi_lamb_update(
    *data: Tensor,
    learning_rates: Floats = REQUIRED,
    wds: Floats = REQUIRED,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-6,
    rescale_grad: float = 1.0,
    lower_bound: float = -1.0,
    upper_bound: float = -1.0,
    clip_gradient: float = -1.0,
    bias_correction: bool = True,
    step_count: Shape = REQUIRED,
    num_tensors: int = 1,
) -> Any:
    """Do both phases of LAMB for several weights: data are weight, grad, mean, var of each in turn."""
    options = (beta1, beta2, epsilon, rescale_grad, lower_bound, upper_bound, clip_gradient, bias_correction)
    return _multi_lamb(data, num_tensors, False, (learning_rates, wds, step_count), options)


@update(mutates=("data",), outputs=_tensors, check=_lamb_check(True))
def _multi_mp_lamb_update(
    *data: Tensor,
    learning_rates: Floats = REQUIRED,
    wds: Floats = REQUIRED,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-6,
    rescale_grad: float = 1.0,
    lower_bound: float = -1.0,
    upper_bound: float = -1.0,
    clip_gradient: float = -1.0,
    bias_correction: bool = True,
    step_count: Shape = REQUIRED,
    num_tensors: int = 1,
) -> Any:
    """Do both phases of LAMB for several weights: weight, grad, mean, var, weight32 of each in turn."""
    options = (beta1, beta2, epsilon, rescale_grad, lower_bound, upper_bound, clip_gradient, bias_correction)
    return _multi_lamb(data, num_tensors, True, (learning_rates, wds, step_count), options)
