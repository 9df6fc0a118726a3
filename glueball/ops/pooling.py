"""Pooling (max, avg, sum, lp; windows or global) in one, two and three dimensions, and AdaptiveAvgPooling2D.

The one idea: where torch's own window arithmetic agrees (it nearly always does) the kernel is one ATen call;
elsewhere (windows that begin in the padding, padding wider than half a window) the data are padded by hand first. A
maximum also returns where it was found, which is all that its gradient needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np
import torch

from ..base import aten
from ..base.errors import ArgumentError, ShapeError, explain
from .attributes import Shape
from .opdef import Grad, Tensor, Value, from_kernel, operator
from .rules.check import A, S, check
from .rules.layers import Probing, formula, probing
from .rules.shapes import like_second, pooled

_CHANNELS_LAST = ("NWC", "NHWC", "NDHWC")
_TYPES = ("max", "avg", "sum", "lp")
_CONVENTIONS = ("valid", "full", "same")


def window_count(n: int, k: int, s: int, p: int, convention: str) -> int:
    """Number of windows along one axis."""
    if convention == "same":
        return -(-(n + 2 * p) // s)
    room = n + 2 * p - k
    return 1 + (-(-room // s) if convention == "full" else room // s)


def _torch_size(n: int, k: int, s: int, p: int, ceil: bool) -> int:
    """The same for torch, which drops a window that would begin behind the data and their left padding."""
    count = 1 + (-(-(n + 2 * p - k) // s) if ceil else (n + 2 * p - k) // s)
    return count - 1 if ceil and (count - 1) * s >= n + p else count


@lru_cache(maxsize=4096)
def _geometry(
    sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int], convention: str
) -> tuple[bool, list[int] | None]:
    """Return (ceil mode, None) where torch has these windows, else (False, padding by hand in the order of torch's
    pad).
    """
    ceil = convention == "full"
    outs = [window_count(n, k, s, p, convention) for n, k, s, p in zip(sizes, kernel, stride, pad)]
    if min(outs) < 1:
        raise ShapeError(
            explain(
                "Pooling",
                "The window is larger than the data.",
                expected=f"kernel at most {tuple(n + 2 * p for n, p in zip(sizes, pad))}",
                received=f"kernel={tuple(kernel)}, data of sizes {tuple(sizes)}, pad={tuple(pad)}",
                fix="use a smaller kernel, or global_pool=True",
            )
        )
    rows = list(zip(sizes, kernel, stride, pad, outs))
    fits = all(2 * p <= k and _torch_size(n, k, s, p, ceil) == out for n, k, s, p, out in rows)
    if fits and (len(rows) < 3 or all(n >= k for n, k, *_ in rows)):  # torch's volumes must be as large as the window
        return ceil, None
    by_hand: list[int] = []
    for n, k, s, p, out in reversed(rows):
        by_hand += [p, max(0, (out - 1) * s + k - n - p)]
    return False, by_hand


def window_sizes(n: int, k: int, s: int, p: int, out: int, include_pad: bool) -> list[int]:
    """Number of elements that each window along one axis averages over."""
    starts = [i * s - p for i in range(out)]
    if include_pad:
        return [max(1, min(b + k, n + p) - b) for b in starts]
    return [max(1, min(b + k, n) - max(b, 0)) for b in starts]


def _normal(value: Any, default: int, n: int) -> tuple[int, ...]:
    if not value:
        return (default,) * n
    return (value,) * n if isinstance(value, int) else tuple(value)


def _max(
    data: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    pad: Sequence[int],
    ceil: bool,
    by_hand: list[int] | None,
) -> tuple[Tensor, Tensor]:
    if by_hand is not None:
        data, pad = torch.nn.functional.pad(data, by_hand, value=torch.finfo(data.dtype).min), (0,) * len(kernel)
    if len(kernel) == 2:
        return aten.max_pool2d(data, kernel, stride, pad, (1, 1), ceil)
    if len(kernel) == 3:
        return aten.max_pool3d(data, kernel, stride, pad, (1, 1, 1), ceil)
    values, places = aten.max_pool2d(data.unsqueeze(2), (1, *kernel), (1, *stride), (0, *pad), (1, 1), ceil)
    return values.squeeze(2), places.squeeze(2)


def _average(
    data: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    pad: Sequence[int],
    ceil: bool,
    include: bool,
    divisor: int | None,
) -> Tensor:
    if len(kernel) == 2:
        return aten.avg_pool2d(data, kernel, stride, pad, ceil, include, divisor)
    if len(kernel) == 3:
        if data.dtype is torch.float16 and data.device.type == "cpu":  # no such kernel on the CPU
            return aten.avg_pool3d(data.float(), kernel, stride, pad, ceil, include, divisor).half()
        return aten.avg_pool3d(data, kernel, stride, pad, ceil, include, divisor)
    return aten.avg_pool2d(data.unsqueeze(2), (1, *kernel), (1, *stride), (0, *pad), ceil, include, divisor).squeeze(2)


def _sum_or_average(
    data: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    pad: tuple[int, ...],
    convention: str,
    average: bool,
    include: bool,
) -> Tensor:
    sizes = data.shape[2:]
    ceil, by_hand = _geometry(sizes, kernel, stride, pad, convention)
    if by_hand is None:
        return _average(data, kernel, stride, pad, ceil, include, None if average else 1)
    total = _average(torch.nn.functional.pad(data, by_hand), kernel, stride, (0,) * len(kernel), False, True, 1)
    if not average:
        return total
    for axis, (n, k, s, p, out) in enumerate(zip(sizes, kernel, stride, pad, total.shape[2:]), 2):
        counts = torch.tensor(window_sizes(n, k, s, p, out, include), dtype=data.dtype, device=data.device)
        total = total / counts.view(-1, *(1,) * (data.dim() - 1 - axis))
    return total


def _lp(data: Tensor, power: int | None, pool: Callable[[Tensor], Tensor]) -> Tensor:
    """(Σ xᵖ)^(1/p) with the sign kept for odd p."""
    if power == 1:
        return pool(data)
    if power == 2:
        return pool(data * data).sqrt()
    if power == 3:
        total = pool(data * data * data)
        return total.abs().pow(1 / 3) * total.sign()
    raise ArgumentError(
        explain("Pooling", "p_value of pool_type='lp' is out of range.", expected="1, 2 or 3", received=power)
    )


def _pool(
    data: Tensor,
    kernel: Any,
    kind: str,
    everything: bool,
    convention: str,
    stride: Any,
    pad: Any,
    power: int | None,
    include: bool,
) -> tuple[Tensor, ...]:
    """Pool data (N, C, size…); the maximum comes with its places."""
    n = data.dim() - 2
    if not 1 <= n <= 3 or kind not in _TYPES or convention not in _CONVENTIONS:
        raise _misuse(data, kind, convention)
    if everything:
        axes = tuple(range(2, n + 2))
        if kind == "avg":
            return (data.mean(axes, keepdim=True),)
        kernel, stride, pad, convention = tuple(data.shape[2:]), 1, 0, "valid"
    elif not kernel or not isinstance(kernel, int) and len(kernel) != n:
        raise ShapeError(
            explain(
                "Pooling",
                "The kernel does not fit the data.",
                expected=f"{n} numbers for data of {n + 2} axes",
                received=f"kernel={kernel}, data {tuple(data.shape)}",
                fix="give kernel=, or global_pool=True",
            )
        )
    kernel, stride, pad = _normal(kernel, 1, n), _normal(stride, 1, n), _normal(pad, 0, n)
    if kind == "max":
        return _max(data, kernel, stride, pad, *_geometry(data.shape[2:], kernel, stride, pad, convention))
    if kind == "lp":
        return (_lp(data, power, lambda x: _sum_or_average(x, kernel, stride, pad, convention, False, True)),)
    return (_sum_or_average(data, kernel, stride, pad, convention, kind == "avg", include),)


def _misuse(data: Tensor, kind: str, convention: str) -> Exception:
    if kind not in _TYPES:
        return ArgumentError(
            explain("Pooling", "There is no such pool_type.", expected=", ".join(_TYPES), received=kind)
        )
    if convention not in _CONVENTIONS:
        return ArgumentError(
            explain(
                "Pooling", "There is no such pooling_convention.", expected=", ".join(_CONVENTIONS), received=convention
            )
        )
    return ShapeError(
        explain(
            "Pooling",
            "The data have a wrong number of axes.",
            expected="(N, C, W), (N, C, H, W) or (N, C, D, H, W)",
            received=tuple(data.shape),
        )
    )


def _np_pooling(
    x: np.ndarray,
    kernel: Any = (),
    pool_type: str = "max",
    global_pool: bool = False,
    pooling_convention: str = "valid",
    stride: Any = (),
    pad: Any = (),
    p_value: int | None = None,
    count_include_pad: bool | None = None,
    layout: str | None = None,
) -> np.ndarray:
    if layout in _CHANNELS_LAST:
        first = _np_pooling(
            np.moveaxis(x, -1, 1),
            kernel,
            pool_type,
            global_pool,
            pooling_convention,
            stride,
            pad,
            p_value,
            count_include_pad,
        )
        return np.moveaxis(first, 1, -1)
    n = x.ndim - 2
    if global_pool:
        kernel, stride, pad, pooling_convention = x.shape[2:], (1,) * n, (0,) * n, "valid"
    stride, pad = stride or (1,) * n, pad or (0,) * n
    sizes = x.shape[2:]
    outs = [window_count(sizes[i], kernel[i], stride[i], pad[i], pooling_convention) for i in range(n)]
    out = np.zeros((*x.shape[:2], *outs))
    for at in product(*(range(o) for o in outs)):
        starts = [at[i] * stride[i] - pad[i] for i in range(n)]
        window = x[(slice(None), slice(None), *(slice(max(b, 0), max(b + kernel[i], 0)) for i, b in enumerate(starts)))]
        axes = tuple(range(2, n + 2))
        if pool_type == "max":
            value = window.max(axes)
        elif pool_type == "lp" and p_value:
            total = (window**p_value).sum(axes)
            value = np.sign(total) * np.abs(total) ** (1 / p_value)
        else:
            inside = [min(b + kernel[i], sizes[i] + pad[i]) - b for i, b in enumerate(starts)]
            count = np.prod(window.shape[2:]) if count_include_pad is False else np.prod(inside)
            value = window.sum(axes) / (count if pool_type == "avg" else 1)
        out[(slice(None), slice(None), *at)] = value
    return out


_SAMPLES = (
    S(A(2, 2, 6, 5, distinct=True), kernel=(2, 3), stride=(2, 1)),
    S(A(1, 2, 5, 5, distinct=True), kernel=(3, 3), stride=(2, 2), pad=(1, 1)),
    S(A(1, 2, 6, 6, distinct=True), kernel=(3, 3), stride=(2, 2), pooling_convention="full"),
    S(A(1, 2, 6, 6), kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="avg", pooling_convention="full"),
    S(A(1, 2, 6, 6), kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="avg", count_include_pad=False),
    S(A(1, 2, 5), kernel=(3,), pad=(2,), pool_type="avg"),
    S(A(1, 2, 5), kernel=(3,), pad=(2,), pool_type="avg", count_include_pad=False),
    S(A(1, 2, 5, distinct=True), kernel=(3,), pad=(2,)),
    S(A(1, 2, 7, distinct=True), kernel=(3,), stride=(2,), pooling_convention="same"),
    S(A(1, 2, 5, 4), kernel=(2, 2), pool_type="sum"),
    S(A(1, 2, 4, 4, low=0.3), kernel=(2, 2), pool_type="lp", p_value=2),
    S(A(1, 2, 4, 4, low=0.3), kernel=(2, 2), pool_type="lp", p_value=3),
    S(A(1, 2, 3, 4, 4, distinct=True), kernel=(2, 2, 2), stride=(1, 2, 2)),
    S(A(1, 2, 3, 4, 4), kernel=(2, 2, 2), pool_type="avg"),
    S(A(2, 3, 4, 4, distinct=True), global_pool=True),
    S(A(2, 3, 4, 4), global_pool=True, pool_type="avg"),
    S(A(2, 3, 4), global_pool=True, pool_type="sum", kernel=(1,)),
    S(A(2, 5, 4, 3), kernel=(2, 2), stride=(2, 2), pool_type="avg", layout="NHWC"),
    S(A(2, 4, 3, distinct=True), kernel=(2,), layout="NWC"),
    S(A(0, 2, 4, 4), kernel=(2, 2)),
)


def _plain_windows(attrs: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """(kernel, stride, pad) where torch's 2-D window arithmetic agrees whatever the size of the data."""
    kernel, n = attrs["kernel"], len(attrs["kernel"])
    stride, pad = _normal(attrs["stride"], 1, n), _normal(attrs["pad"], 0, n)
    plain = n == 2 and attrs["pooling_convention"] == "valid" and not attrs["global_pool"]
    if not plain or attrs["layout"] in _CHANNELS_LAST or any(2 * p > k for p, k in zip(pad, kernel)):
        return None
    return kernel, stride, pad


def _emit_pooling(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str | None:
    kind, windows = attrs["pool_type"], _plain_windows(attrs)
    if attrs["global_pool"] and kind == "avg" and attrs["kernel"] and attrs["layout"] not in _CHANNELS_LAST:
        return f"{args[0]}.mean({tuple(range(2, 2 + len(attrs['kernel'])))}, True)"
    if windows is None or kind not in ("max", "avg"):
        return None
    kernel, stride, pad = windows
    if kind == "max":
        return f"aten.max_pool2d({args[0]}, {kernel}, {stride}, {pad}, (1, 1), False)"
    return (
        f"aten.avg_pool2d({args[0]}, {kernel}, {stride}, {pad}, False, {attrs['count_include_pad'] is not False}, None)"
    )


@operator(
    emit=_emit_pooling,
    aliases=("Pooling_v1",),
    outputs=lambda a: 2 if a["pool_type"] == "max" else 1,
    visible=1,
    infer=Probing(result=pooled),
    check=check(
        *_SAMPLES,
        ref=_np_pooling,
        grad_rtol=1e-3,
        errors=[
            ((A(1, 2, 4, 4),), {"kernel": (5, 5)}, "larger than the data"),
            ((A(1, 2, 4, 4),), {"kernel": (2,)}, "2 numbers"),
            ((A(1, 2, 4, 4),), {"kernel": (2, 2), "pool_type": "mean"}, "max, avg, sum, lp"),
            ((A(1, 2, 4, 4),), {"kernel": (2, 2), "pool_type": "lp"}, "1, 2 or 3"),
            ((A(2, 4),), {"kernel": (2, 2)}, "number of axes"),
            ((A(1, 2, 4, 4),), {"kernel": (2, 2), "pooling_convention": "half"}, "valid, full, same"),
        ],
    ),
)
def Pooling(
    data: Tensor,
    kernel: Shape = (),
    pool_type: str = "max",
    global_pool: bool = False,
    cudnn_off: bool = False,
    pooling_convention: str = "valid",
    stride: Shape = (),
    pad: Shape = (),
    p_value: int | None = None,
    count_include_pad: bool | None = None,
    layout: str | None = None,
) -> Any:
    """Reduce windows of the spatial axes to their maximum, average, sum or p-norm.

    data (N, C, size…), or (N, size…, C) with a layout such as "NHWC". Each size becomes ⌊(size + 2·pad −
    kernel)/stride⌋ + 1; with pooling_convention="full" rounded up, with "same" ⌈(size + 2·pad)/stride⌉. `stride`
    defaults to 1. `global_pool` takes the whole axes. An average counts padding unless count_include_pad=False.

    >>> nd.Pooling(nd.array([[[1, 3, 2, 5]]]), kernel=(2,), stride=(2,)).asnumpy().tolist()
    [[[3.0, 5.0]]]
    """
    include = count_include_pad is not False
    if pooling_convention == "valid" and not global_pool and len(kernel) == 2 and layout != "NHWC" and data.dim() == 4:
        try:  # the usual case costs no arithmetic here; what torch refuses is refused (or padded) below, in words
            if pool_type == "max":
                return aten.max_pool2d(data, kernel, stride or (1, 1), pad or (0, 0), (1, 1), False)
            if pool_type == "avg":
                return aten.avg_pool2d(data, kernel, stride or (1, 1), pad or (0, 0), False, include, None)
        except RuntimeError:
            pass
    if layout in _CHANNELS_LAST:
        found = _pool(
            data.movedim(-1, 1), kernel, pool_type, global_pool, pooling_convention, stride, pad, p_value, include
        )
        found = tuple(t.movedim(1, -1) for t in found)
    else:
        found = _pool(data, kernel, pool_type, global_pool, pooling_convention, stride, pad, p_value, include)
    return found if pool_type == "max" else found[0]


@Pooling.grad
def _(c: Grad) -> Value:
    attrs = {k: v for k, v in c.attrs.items() if k != "cudnn_off"}
    return _pooling_backward(c.g, c.x, *c.outs[1:2], **attrs)


def _max_backward(
    grad: Tensor,
    data: Tensor,
    places: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    pad: tuple[int, ...],
    convention: str,
) -> Tensor:
    ceil, by_hand = _geometry(data.shape[2:], kernel, stride, pad, convention)
    if by_hand is not None:
        padded = torch.nn.functional.pad(data, by_hand)
        back = _max_backward(grad, padded, places, kernel, stride, (0,) * len(kernel), "valid")
        return torch.nn.functional.pad(back, [-b for b in by_hand])
    if len(kernel) == 1:
        return aten.max_pool2d_backward(
            grad.unsqueeze(2),
            data.unsqueeze(2),
            (1, *kernel),
            (1, *stride),
            (0, *pad),
            (1, 1),
            ceil,
            places.unsqueeze(2),
        ).squeeze(2)
    backward = aten.max_pool2d_backward if len(kernel) == 2 else aten.max_pool3d_backward
    return backward(grad, data, kernel, stride, pad, (1,) * len(kernel), ceil, places)


def _linear_backward(
    grad: Tensor,
    data: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    pad: tuple[int, ...],
    ceil: bool,
    include: bool,
    divisor: int | None,
) -> Tensor:
    if len(kernel) == 1:
        return aten.avg_pool2d_backward(
            grad.unsqueeze(2), data.unsqueeze(2), (1, *kernel), (1, *stride), (0, *pad), ceil, include, divisor
        ).squeeze(2)
    backward = aten.avg_pool2d_backward if len(kernel) == 2 else aten.avg_pool3d_backward
    if len(kernel) == 3 and grad.dtype is torch.float16 and grad.device.type == "cpu":
        return backward(grad.float(), data.float(), kernel, stride, pad, ceil, include, divisor).half()
    return backward(grad, data, kernel, stride, pad, ceil, include, divisor)


def through_autograd(function: Callable[[Tensor], Tensor], data: Tensor, grad: Tensor) -> Tensor:
    """Differentiate by torch's tape: for the rare cases that have no backward kernel; differentiable again where the
    tape is on.
    """
    again = torch.is_grad_enabled() and (data.requires_grad or grad.requires_grad)
    with torch.enable_grad():
        leaf = data if data.requires_grad and again else data.detach().requires_grad_()
        return torch.autograd.grad(function(leaf), leaf, grad, create_graph=again)[0]


def _emit_backward(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str | None:
    windows, kind = _plain_windows(attrs), attrs["pool_type"]
    if windows is None or kind not in ("max", "avg"):
        return None
    kernel, stride, pad = windows
    given = f"{args[0]}, {args[1]}, {kernel}, {stride}, {pad}"
    if kind == "max":
        return f"aten.max_pool2d_backward({given}, (1, 1), False, {args[2]})"
    return f"aten.avg_pool2d_backward({given}, False, {attrs['count_include_pad'] is not False}, None)"


@operator(
    emit=_emit_backward,
    infer=formula(like_second),
    when={"places": lambda a: a["pool_type"] == "max"},
    gradient=from_kernel,
    nondiff=("places",),
    check=check(
        S(A(2, 2, 3, 2), A(2, 2, 6, 5), kernel=(2, 3), stride=(2, 2), pool_type="avg"),
        S(A(1, 2, 4), A(1, 2, 4, low=0.3), kernel=(1,), pool_type="lp", p_value=2),
        S(A(1, 2, 1, 1), A(1, 2, 2, 2), global_pool=True, pool_type="avg"),
        ref="the matrix compares the gradient of Pooling, which this is, with finite differences",
    ),
)
def _pooling_backward(
    grad: Tensor,
    data: Tensor,
    places: Tensor | None = None,
    kernel: Shape = (),
    pool_type: str = "max",
    global_pool: bool = False,
    pooling_convention: str = "valid",
    stride: Shape = (),
    pad: Shape = (),
    p_value: int | None = None,
    count_include_pad: bool | None = None,
    layout: str | None = None,
) -> Tensor:
    """Compute the gradient of Pooling; of `data` only a maximum or p-norm needs more than the shape."""
    include = count_include_pad is not False
    if layout in _CHANNELS_LAST:
        grad, data, places = grad.movedim(-1, 1), data.movedim(-1, 1), None if places is None else places.movedim(-1, 1)
        return _pooling_backward.kernel(
            grad,
            data,
            places,
            kernel,
            pool_type,
            global_pool,
            pooling_convention,
            stride,
            pad,
            p_value,
            count_include_pad,
        ).movedim(1, -1)
    n = data.dim() - 2
    if global_pool and pool_type == "avg":
        return (grad / prod(data.shape[2:])).expand(data.shape).contiguous()
    if global_pool:
        kernel, stride, pad, pooling_convention = tuple(data.shape[2:]), (), (), "valid"
    kernel, stride, pad = _normal(kernel, 1, n), _normal(stride, 1, n), _normal(pad, 0, n)
    if pool_type == "max" and places is not None:
        return _max_backward(grad, data, places, kernel, stride, pad, pooling_convention)
    ceil, by_hand = _geometry(data.shape[2:], kernel, stride, pad, pooling_convention)
    if by_hand is None and pool_type != "lp":
        return _linear_backward(grad, data, kernel, stride, pad, ceil, include, None if pool_type == "avg" else 1)
    return through_autograd(
        lambda x: _pool(x, kernel, pool_type, False, pooling_convention, stride, pad, p_value, include)[0], data, grad
    )


def _np_adaptive(x: np.ndarray, output_size: Any = ()) -> np.ndarray:
    size = tuple(output_size) if output_size else (1, 1)
    size = size * 2 if len(size) == 1 else size
    out = np.zeros((*x.shape[:2], *size))
    for i, j in product(range(size[0]), range(size[1])):
        rows = slice(i * x.shape[2] // size[0], -(-(i + 1) * x.shape[2] // size[0]))
        out[:, :, i, j] = x[:, :, rows, j * x.shape[3] // size[1] : -(-(j + 1) * x.shape[3] // size[1])].mean((2, 3))
    return out


@operator(
    name="_contrib_AdaptiveAvgPooling2D",
    infer=probing,
    check=check(
        S(A(2, 3, 5, 4)), S(A(2, 3, 5, 4), output_size=(3, 2)), S(A(1, 2, 4, 4), output_size=(2,)), ref=_np_adaptive
    ),
)
def AdaptiveAvgPooling2D(data: Tensor, output_size: Shape = ()) -> Tensor:
    """Average the windows ⌊i·size/out⌋ … ⌈(i + 1)·size/out⌉ of data (N, C, H, W); `output_size` defaults to (1, 1),
    one number means a square.

    >>> nd.contrib.AdaptiveAvgPooling2D(nd.ones((1, 2, 7, 5)), output_size=(3, 2)).shape
    (1, 2, 3, 2)
    """
    size: Any = (output_size,) if isinstance(output_size, int) else tuple(output_size) or (1,)
    size = size * 2 if len(size) == 1 else size
    return torch.nn.functional.adaptive_avg_pool2d(data, size)


@AdaptiveAvgPooling2D.grad
def _(c: Grad) -> Value:
    return _adaptive_avg_pooling_backward(c.g, c.x)


@operator(
    infer=formula(like_second),
    gradient=from_kernel,
    check=check(
        S(A(1, 2, 1, 1), A(1, 2, 2, 3)), ref=lambda g, x: np.broadcast_to(g / (x.shape[2] * x.shape[3]), x.shape)
    ),
)
def _adaptive_avg_pooling_backward(grad: Tensor, data: Tensor) -> Tensor:
    """Compute the gradient of AdaptiveAvgPooling2D; `data` gives the shape."""
    return aten.adaptive_avg_pool2d_backward(grad, data)
