"""Deconvolution: the transpose of a convolution, in one, two and three dimensions, channels first or last.

The one idea: torch's transposed convolution, after `target_shape` has been turned into pad and adj; the gradient is
`_convolution_backward` of convolution.py, where the shapes of weights and the explanation of misfits are, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch

from ..base.errors import ArgumentError, ShapeError, explain
from .attributes import Shape
from .convolution import CHANNELS_LAST, LAYOUTS, _convolution_backward, as_tuple, fill_shapes, misfit, per_axis
from .opdef import REQUIRED, Grad, Tensor, Value, operator
from .rules.check import A, S, check
from .rules.layers import Probing
from .rules.shapes import deconvolved

_TRANSPOSED: Mapping[int, Any] = {3: torch.conv_transpose1d, 4: torch.conv_transpose2d, 5: torch.conv_transpose3d}


def target_geometry(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilate: Sequence[int],
    pad: Sequence[int],
    adj: Sequence[int],
    target: Sequence[int],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (pad, adj) of a Deconvolution: as given, or such that the result has the sizes `target`."""
    if not target or not any(target):
        return tuple(pad), tuple(adj)
    surplus = [s * (size - 1) + d * (k - 1) + 1 - t for size, k, s, d, t in zip(sizes, kernel, stride, dilate, target)]
    if min(surplus) < 0:
        raise ShapeError(
            explain(
                "Deconvolution",
                "The target_shape is too large.",
                expected=f"at most {tuple(t + s for t, s in zip(target, surplus))}",
                received=tuple(target),
            )
        )
    return tuple((s + 1) // 2 for s in surplus), tuple(s % 2 for s in surplus)


def _np_deconvolution(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    kernel: Any = (),
    stride: Any = (),
    dilate: Any = (),
    pad: Any = (),
    adj: Any = (),
    target_shape: Any = (),
    num_filter: int = 0,
    num_group: int = 1,
    **_: Any,
) -> np.ndarray:
    n = len(kernel)
    stride, dilate, pad, adj = stride or (1,) * n, dilate or (1,) * n, pad or (0,) * n, adj or (0,) * n
    pad, adj = target_geometry(x.shape[2:], kernel, stride, dilate, pad, adj, target_shape)
    full = [stride[i] * (x.shape[2 + i] - 1) + dilate[i] * (kernel[i] - 1) + 1 + adj[i] for i in range(n)]
    out = np.zeros((x.shape[0], num_filter, *full))
    per_in, per_out = x.shape[1] // num_group, num_filter // num_group
    for group, at in product(range(num_group), product(*(range(k) for k in kernel))):
        window = tuple(
            slice(at[i] * dilate[i], at[i] * dilate[i] + stride[i] * (x.shape[2 + i] - 1) + 1, stride[i])
            for i in range(n)
        )
        rows = slice(group * per_in, (group + 1) * per_in)
        out[(slice(None), slice(group * per_out, (group + 1) * per_out), *window)] += np.einsum(
            "nc...,co->no...", x[:, rows], w[(rows, slice(None), *at)]
        )
    out = out[(slice(None), slice(None), *(slice(pad[i], full[i] - pad[i]) for i in range(n)))]
    return out if b is None else out + b.reshape(-1, *(1,) * n)


@operator(
    when={"bias": lambda a: not a["no_bias"]},
    infer=Probing(result=deconvolved),
    check=check(
        S(A(2, 3, 4), A(3, 4, 3), kernel=(3,), num_filter=4, stride=(2,)),
        S(
            A(2, 4, 3, 3),
            A(4, 2, 3, 2),
            A(4),
            kernel=(3, 2),
            num_filter=4,
            num_group=2,
            stride=(2, 2),
            pad=(1, 0),
            adj=(1, 1),
            no_bias=False,
        ),
        S(A(1, 2, 3, 3), A(2, 2, 3, 3), kernel=(3, 3), num_filter=2, stride=(2, 2), target_shape=(6, 6)),
        S(A(1, 2, 3, 3), A(2, 2, 2, 2), kernel=(2, 2), num_filter=2, target_shape=(3, 3)),
        S(A(1, 2, 2, 3, 2), A(2, 1, 2, 2, 2), kernel=(2, 2, 2), num_filter=1, dilate=(1, 2, 1)),
        ref=_np_deconvolution,
        grad_rtol=1e-3,
        errors=[
            ((A(1, 3, 4, 4), A(2, 3, 3, 3)), {"kernel": (3, 3), "num_filter": 3}, "leave in_channels out"),
            ((A(1, 2, 3, 3), A(2, 3, 3, 3)), {"kernel": (3, 3), "num_filter": 3, "target_shape": (9, 9)}, "too large"),
        ],
    ),
)
def Deconvolution(
    data: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    kernel: Shape = REQUIRED,
    stride: Shape = (),
    dilate: Shape = (),
    pad: Shape = (),
    adj: Shape = (),
    target_shape: Shape = (),
    num_filter: int = REQUIRED,
    num_group: int = 1,
    workspace: int = 512,
    no_bias: bool = True,
    cudnn_tune: str | None = None,
    cudnn_off: bool = False,
    layout: str | None = None,
) -> Tensor:
    """Apply the transpose of a Convolution: stride makes the result larger.

    data (N, C, size…); weight (C, num_filter/num_group, kernel…); each size becomes
    stride·(size − 1) + dilate·(kernel − 1) + 1 − 2·pad + adj, or `target_shape`, which then decides on pad and adj.

    >>> x, weight = nd.ones((1, 3, 4, 4)), nd.ones((3, 2, 4, 4))
    >>> nd.Deconvolution(x, weight, kernel=(4, 4), num_filter=2, stride=(2, 2), pad=(1, 1)).shape
    (1, 2, 8, 8)
    """
    try:
        if layout in CHANNELS_LAST:
            return Deconvolution.kernel(
                data.movedim(-1, 1),
                weight.movedim(-1, 1),
                bias,
                kernel,
                stride,
                dilate,
                pad,
                adj,
                target_shape,
                num_filter,
                num_group,
            ).movedim(1, -1)
        n = data.dim() - 2
        steps, holes = per_axis(stride, 1, n), per_axis(dilate, 1, n)
        if target_shape:
            pad, adj = target_geometry(data.shape[2:], as_tuple(kernel), steps, holes, pad, adj, as_tuple(target_shape))
        if adj and any(a >= max(s, d) for a, s, d in zip(per_axis(adj, 0, n), steps, holes)):
            result = _wide_adjustment(
                data, weight, bias, steps, per_axis(pad, 0, n), per_axis(adj, 0, n), holes, num_group
            )
        else:
            result = _TRANSPOSED[data.dim()](
                data, weight, bias, stride or 1, pad or 0, adj or 0, num_group, dilate or 1
            )
    except (RuntimeError, KeyError, IndexError) as error:
        if isinstance(error, ShapeError):
            raise
        raise misfit(
            "Deconvolution", data, weight, as_tuple(kernel), num_filter, num_group, layout, True, error
        ) from None
    if result.shape[1] != num_filter or weight.shape[2:] != as_tuple(kernel) or layout not in LAYOUTS:
        raise misfit("Deconvolution", data, weight, as_tuple(kernel), num_filter, num_group, layout, True, None)
    return result


def _wide_adjustment(
    data: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    pad: Sequence[int],
    adj: Sequence[int],
    dilate: Sequence[int],
    groups: int,
) -> Tensor:
    """An adj as large as the stride, which torch refuses: cut it out of the unpadded result (pad ≥ adj wherever
    target_shape made them).
    """
    full = _TRANSPOSED[data.dim()](data, weight, bias, stride, 0, 0, groups, dilate)
    for axis, (p, a) in enumerate(zip(pad, adj), 2):
        if a > p:
            raise ArgumentError(
                explain(
                    "Deconvolution",
                    "adj must be smaller than the stride.",
                    expected=f"adj < {stride}",
                    received=tuple(adj),
                )
            )
        full = full.narrow(axis, p, full.shape[axis] - 2 * p + a)
    return full


@Deconvolution.fill
def _(attrs: Mapping[str, Any], shapes: Sequence[Any]) -> list[Any]:
    return fill_shapes(attrs, shapes, "Deconvolution", True)


@Deconvolution.grad
def _(c: Grad) -> Value:
    attrs, n = c.attrs, len(c.attrs["kernel"])
    sizes = c.shape()[1:-1] if attrs["layout"] in CHANNELS_LAST else c.shape()[2:]
    steps, holes = per_axis(attrs["stride"], 1, n), per_axis(attrs["dilate"], 1, n)
    pad, adj = target_geometry(
        sizes,
        attrs["kernel"],
        steps,
        holes,
        per_axis(attrs["pad"], 0, n),
        per_axis(attrs["adj"], 0, n),
        attrs["target_shape"],
    )
    has_bias = len(c.ins) > 2 and c.ins[2] is not None
    found = _convolution_backward(
        c.g,
        c.x,
        c.ins[1],
        transposed=True,
        stride=steps,
        dilate=holes,
        pad=pad,
        adj=adj,
        num_group=attrs["num_group"],
        layout=attrs["layout"],
        output_mask=(int(c.needs[0]), int(c.needs[1]), int(has_bias)),
    )
    return tuple(found[: 2 + has_bias])
