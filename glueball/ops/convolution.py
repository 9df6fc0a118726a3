"""Convolution in one, two and three dimensions, channels first or last, and the gradients of all convolutions.

The one idea: torch's own convolution forward, and one private operator `_convolution_backward` for the gradients of
both, whose `output_mask` says which of them to compute. Weights follow the data's layout: NCHW has (out, in/groups,
kernel…), NHWC has (out, kernel…, in/groups). Pooling is in pooling.py, the transpose in deconvolution.py, deformable
convolution in contrib_nn.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch

from ..base import aten
from ..base.errors import ArgumentError, DTypeError, ShapeError, explain
from .attributes import Shape
from .opdef import REQUIRED, Grad, Tensor, Value, from_kernel, operator
from .rules.check import A, S, check
from .rules.layers import Probing, formula
from .rules.shapes import convolved

_FORWARD: Mapping[int, Any] = {3: torch.conv1d, 4: torch.conv2d, 5: torch.conv3d}
CHANNELS_LAST = ("NWC", "NHWC", "NDHWC")
_LOOKS_LAST = "the data look like NHWC (channels last): use layout='NHWC', or x.transpose((0, 3, 1, 2))"
LAYOUTS = (None, "None", "NCW", "NCHW", "NCDHW", *CHANNELS_LAST)


def _missing_axis(has: int, kernel: int) -> str:
    """Say what to do about data of another number of axes."""
    if has == kernel + 1:
        return "x.expand_dims(0) makes a batch of one sample, x.expand_dims(1) an axis of one channel"
    places = ", ".join(("depth", "height", "width")[-kernel:])
    return f"give (batch, channels, {places}) in the order of the layout, or use another of Conv1D, Conv2D, Conv3D"


def misfit(
    where: str,
    data: Tensor,
    weight: Tensor,
    kernel: Sequence[int],
    filters: int,
    groups: int,
    layout: str | None,
    transposed: bool,
    error: Exception | None,
) -> Exception:
    """Say which of the inputs does not fit; called only after torch has refused them."""
    received = (
        f"data {tuple(data.shape)}, weight {tuple(weight.shape)}; kernel={tuple(kernel)}, num_filter={filters}, "
        f"num_group={groups}"
    )
    if layout not in LAYOUTS:
        return ArgumentError(
            explain(
                where, "This layout does not exist.", expected=", ".join(str(v) for v in LAYOUTS[2:]), received=layout
            )
        )
    last = layout in CHANNELS_LAST
    if data.dim() != len(kernel) + 2:
        return ShapeError(
            explain(
                where,
                f"A kernel of {len(kernel)} dimensions needs data of {len(kernel) + 2} axes.",
                received=received,
                fix=_missing_axis(data.dim(), len(kernel)),
            )
        )
    if data.dtype is not weight.dtype:
        return DTypeError(
            explain(
                where,
                "The element types differ.",
                expected=f"data of {str(weight.dtype)[6:]}, like the weight",
                received=f"data {str(data.dtype)[6:]}, weight {str(weight.dtype)[6:]}",
                fix="images of bytes: use transforms.ToTensor() or x.astype('float32')",
            )
        )
    channels = data.shape[-1] if last else data.shape[1]
    inputs = weight.shape[0] if transposed else (weight.shape[-1] if last else weight.shape[1]) * groups
    if channels != inputs:
        fix = "leave in_channels out: the layer infers it from the first batch"
        if not last and data.shape[-1] == inputs and len(kernel) > 1:
            fix = _LOOKS_LAST
        elif last and data.shape[1] == inputs:
            fix = "the data look like NCHW (channels first): use layout='NCHW', or x.transpose((0, 2, 3, 1))"
        return ShapeError(
            explain(
                where,
                f"The data have {channels} channels, the weight wants {inputs}.",
                expected=f"{inputs} channels",
                received=received,
                fix=fix,
            )
        )
    wanted = weight_shape(kernel, filters, channels, groups, last, transposed)
    if tuple(weight.shape) != wanted:
        return ShapeError(
            explain(
                where,
                "The weight does not fit the attributes.",
                expected=f"weight of shape {wanted}",
                received=received,
            )
        )
    return _unknown_misfit(where, data, last, received, error)


def _unknown_misfit(where: str, data: Tensor, last: bool, received: str, error: Exception | None) -> Exception:
    """What torch says; for a kernel larger than the data in our words, with the likeliest reason."""
    text = str(error).splitlines()[0] if error else "The inputs do not fit."
    if "greater than actual input size" not in text:
        return ShapeError(explain(where, text, received=received))
    fix = "use a smaller kernel, or pad="
    if not last and data.dim() == 4 and data.shape[-1] <= 4 < min(data.shape[1:3]):
        fix = _LOOKS_LAST
    return ShapeError(explain(where, "The kernel is larger than the padded data.", received=received, fix=fix))


def weight_shape(
    kernel: Sequence[int], filters: int, channels: int | None, groups: int, last: bool, transposed: bool
) -> tuple[Any, ...]:
    """Return the shape of the weight: the first axis is what comes out (Convolution) or goes in (Deconvolution)."""
    if transposed:
        first, second = channels, filters // groups
    else:
        first, second = filters, None if channels is None else channels // groups
    return (first, *kernel, second) if last else (first, second, *kernel)


def fill_shapes(attrs: Mapping[str, Any], shapes: Sequence[Any], where: str, transposed: bool) -> list[Any]:
    data, kernel, groups, last = shapes[0], attrs["kernel"], attrs["num_group"], attrs["layout"] in CHANNELS_LAST
    if data is None or len(data) != len(kernel) + 2:
        raise ShapeError(
            explain(
                where,
                f"A kernel of {len(kernel)} dimensions needs data of {len(kernel) + 2} axes.",
                received=data,
                fix=None if data is None else _missing_axis(len(data), len(kernel)),
            )
        )
    channels = data[-1 if last else 1]
    if channels is not None and (channels % groups or attrs["num_filter"] % groups):
        raise ShapeError(
            explain(
                where,
                "num_group must divide the channels of the data and num_filter.",
                received=f"{channels} channels, num_filter={attrs['num_filter']}, num_group={groups}",
            )
        )
    weight = weight_shape(kernel, attrs["num_filter"], channels, groups, last, transposed)
    return [data, weight, (attrs["num_filter"],)][: len(shapes)]


def _np_convolution(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    kernel: Any = (),
    stride: Any = (),
    dilate: Any = (),
    pad: Any = (),
    num_filter: int = 0,
    num_group: int = 1,
    layout: str | None = None,
    **_: Any,
) -> np.ndarray:
    if layout in CHANNELS_LAST:
        first = _np_convolution(
            np.moveaxis(x, -1, 1), np.moveaxis(w, -1, 1), b, kernel, stride, dilate, pad, num_filter, num_group
        )
        return np.moveaxis(first, 1, -1)
    n = len(kernel)
    stride, dilate, pad = stride or (1,) * n, dilate or (1,) * n, pad or (0,) * n
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pad)])
    size = [(x.shape[2 + i] - dilate[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(n)]
    out = np.zeros((x.shape[0], num_filter, *size))
    per_in, per_out = x.shape[1] // num_group, num_filter // num_group
    for group, at in product(range(num_group), product(*(range(k) for k in kernel))):
        window = tuple(
            slice(at[i] * dilate[i], at[i] * dilate[i] + stride[i] * (size[i] - 1) + 1, stride[i]) for i in range(n)
        )
        part = x[(slice(None), slice(group * per_in, (group + 1) * per_in), *window)]
        rows = slice(group * per_out, (group + 1) * per_out)
        out[:, rows] += np.einsum("nc...,oc->no...", part, w[(rows, slice(None), *at)])
    return out if b is None else out + b.reshape(-1, *(1,) * n)


def _by_pixels(attrs: Mapping[str, Any]) -> bool:
    """Whether a kernel of 1×1 would be a product for each pixel that is read."""
    return attrs["num_group"] == 1 and not any(attrs["pad"])


def _emit_convolution(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str | None:
    """The plain call; what the kernel would check was checked when the shapes were inferred."""
    rank = len(attrs["kernel"])
    if attrs["layout"] in CHANNELS_LAST or not 1 <= rank <= 3:
        return None
    bias = args[2] if len(args) > 2 else "None"
    if attrs["kernel"] == (1, 1) and _by_pixels(attrs):
        return f"pointwise.convolution({args[0]}, {args[1]}, {bias}, {attrs['stride'] or (1, 1)})"
    more = (attrs["stride"] or 1, attrs["pad"] or 0, attrs["dilate"] or 1, attrs["num_group"])
    return f"torch.conv{rank}d({args[0]}, {args[1]}, {bias}, {', '.join(map(repr, more))})"


@operator(
    aliases=("Convolution_v1",),
    emit=_emit_convolution,
    when={"bias": lambda a: not a["no_bias"]},
    infer=Probing(result=convolved),
    check=check(
        S(A(2, 3, 7), A(4, 3, 3), A(4), kernel=(3,), num_filter=4, stride=(2,), pad=(1,)),
        S(
            A(2, 4, 6, 5),
            A(6, 2, 3, 2),
            A(6),
            kernel=(3, 2),
            num_filter=6,
            num_group=2,
            stride=(2, 1),
            pad=(1, 0),
            dilate=(1, 2),
        ),
        S(A(2, 2, 4, 4), A(3, 2, 3, 3), kernel=(3, 3), num_filter=3, no_bias=True),
        S(A(1, 2, 3, 4, 4), A(2, 2, 2, 3, 3), A(2), kernel=(2, 3, 3), num_filter=2, pad=(0, 1, 1)),
        S(A(2, 5, 4, 3), A(4, 3, 2, 3), A(4), kernel=(3, 2), num_filter=4, pad=(1, 0), layout="NHWC"),
        S(A(0, 2, 4, 4), A(3, 2, 3, 3), A(3), kernel=(3, 3), num_filter=3),
        ref=_np_convolution,
        grad_rtol=1e-3,
        errors=[
            ((A(4, 28, 28, 1), A(8, 1, 3, 3), A(8)), {"kernel": (3, 3), "num_filter": 8}, "look like NHWC"),
            ((A(4, 2, 8, 8), A(8, 3, 3, 3), A(8)), {"kernel": (3, 3), "num_filter": 8}, "leave in_channels out"),
            (
                (A(4, 3, 8, 8), A(8, 3, 3, 3), A(8)),
                {"kernel": (5, 5), "num_filter": 8},
                r"weight of shape \(8, 3, 5, 5\)",
            ),
            ((A(4, 3, 8, 8, dtype="uint8"), A(8, 3, 3, 3), A(8)), {"kernel": (3, 3), "num_filter": 8}, "ToTensor"),
            ((A(3, 8, 8), A(8, 3, 3, 3), A(8)), {"kernel": (3, 3), "num_filter": 8}, "needs data of 4 axes"),
            ((A(3, 8, 8), A(8, 3, 3, 3), A(8)), {"kernel": (3, 3), "num_filter": 8}, r"expand_dims\(0\)"),
            ((A(4, 28, 28, 1), A(8, 28, 3, 3), A(8)), {"kernel": (3, 3), "num_filter": 8}, "look like NHWC"),
            ((A(4, 3, 2, 2), A(8, 3, 3, 3), A(8)), {"kernel": (3, 3), "num_filter": 8}, "use a smaller kernel"),
        ],
    ),
)
def Convolution(
    data: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    kernel: Shape = REQUIRED,
    stride: Shape = (),
    dilate: Shape = (),
    pad: Shape = (),
    num_filter: int = REQUIRED,
    num_group: int = 1,
    workspace: int = 1024,
    no_bias: bool = False,
    cudnn_tune: str | None = None,
    cudnn_off: bool = False,
    layout: str | None = None,
) -> Tensor:
    """Correlate the data with `num_filter` kernels.

    data (N, C, size…), or (N, size…, C) with a layout such as "NHWC"; weight (num_filter, C/num_group, kernel…), or
    (num_filter, kernel…, C/num_group); bias (num_filter,). Each spatial size becomes ⌊(size + 2·pad − dilate·(kernel
    − 1) − 1)/stride⌋ + 1. `stride` and `dilate` default to 1, `pad` to 0. workspace, cudnn_tune and cudnn_off are
    accepted and have no effect.

    Raises ShapeError that says which input does not fit, and when the data look like another layout.

    >>> x, weight = nd.ones((1, 3, 8, 8)), nd.ones((4, 3, 3, 3))
    >>> nd.Convolution(x, weight, kernel=(3, 3), num_filter=4, pad=(1, 1), no_bias=True).shape
    (1, 4, 8, 8)
    """
    try:
        if layout in CHANNELS_LAST:
            return _FORWARD[data.dim()](
                data.movedim(-1, 1), weight.movedim(-1, 1), bias, stride or 1, pad or 0, dilate or 1, num_group
            ).movedim(1, -1)
        result = _FORWARD[data.dim()](data, weight, bias, stride or 1, pad or 0, dilate or 1, num_group)
    except (RuntimeError, KeyError, IndexError) as error:
        raise misfit(
            "Convolution", data, weight, as_tuple(kernel), num_filter, num_group, layout, False, error
        ) from None
    shape = weight.shape
    if (
        shape[0] != num_filter
        or shape[2:] != kernel
        and shape[2:] != as_tuple(kernel)
        or layout is not None
        and layout not in LAYOUTS
    ):
        raise misfit("Convolution", data, weight, as_tuple(kernel), num_filter, num_group, layout, False, None)
    return result


def per_axis(value: Any, default: int, n: int) -> tuple[int, ...]:
    if not value:
        return (default,) * n
    return (value,) * n if isinstance(value, int) else tuple(value)


def as_tuple(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


@Convolution.fill
def _(attrs: Mapping[str, Any], shapes: Sequence[Any]) -> list[Any]:
    return fill_shapes(attrs, shapes, "Convolution", False)


@Convolution.grad
def _(c: Grad) -> Value:
    has_bias = len(c.ins) > 2 and c.ins[2] is not None
    kept = {k: c.attrs[k] for k in ("stride", "dilate", "pad", "num_group", "layout")}
    found = _convolution_backward(
        c.g, c.x, c.ins[1], output_mask=(int(c.needs[0]), int(c.needs[1]), int(has_bias)), **kept
    )
    return tuple(found[: 2 + has_bias])


def _backward_types(attrs: Mapping[str, Any], shapes: Sequence[Any], dtypes: Sequence[Any]) -> list[Any]:
    mask, grad = attrs["output_mask"], shapes[0]
    bias = (grad[-1 if attrs["layout"] in CHANNELS_LAST else 1],)
    return [(shape if used else (0,), dtypes[0]) for shape, used in zip((shapes[1], shapes[2], bias), mask)]


def _np_convolution_backward(g: np.ndarray, x: np.ndarray, w: np.ndarray, **attrs: Any) -> tuple[np.ndarray, ...]:
    """By the definition of a gradient: the forward pass is linear in each of its inputs."""
    call: dict[str, Any] = {k: v for k, v in attrs.items() if k != "output_mask"}
    call |= {"kernel": w.shape[2:], "num_filter": w.shape[0]}
    found: list[np.ndarray] = []
    for array, forward in ((x, lambda v: _np_convolution(v, w, **call)), (w, lambda v: _np_convolution(x, v, **call))):
        units = np.eye(array.size).reshape(array.size, *array.shape)
        found.append(np.array([(g * forward(unit)).sum() for unit in units]).reshape(array.shape))
    return (*found, g.sum((0, *range(2, g.ndim))))


def _emit_backward(args: Sequence[str], attrs: Mapping[str, Any], training: bool) -> str | None:
    """One call for channels first; None stands where the mask leaves a gradient out."""
    rank = len(attrs["stride"])
    if attrs["layout"] in CHANNELS_LAST or attrs["adj"] or not rank:
        return None
    mask = tuple(bool(m) for m in attrs["output_mask"])
    if rank == 2 and _by_pixels(attrs) and not attrs["transposed"] and all(d == 1 for d in attrs["dilate"]):
        return f"pointwise.gradients({', '.join(args)}, {attrs['stride']}, {mask})"
    more = (
        attrs["stride"],
        attrs["pad"] or (0,) * rank,
        attrs["dilate"] or (1,) * rank,
        attrs["transposed"],
        (0,) * rank,
    )
    return (
        f"aten.convolution_backward({', '.join(args)}, ({args[0]}.shape[1],), {', '.join(map(repr, more))}, "
        f"{attrs['num_group']}, {mask})"
    )


@operator(
    emit=_emit_backward,
    outputs=3,
    infer=formula(_backward_types),
    gradient=from_kernel,
    check=check(
        S(A(2, 3, 2, 2), A(2, 2, 4, 4), A(3, 2, 3, 3), output_mask=(1, 1, 1)),
        S(A(2, 4, 2, 3), A(2, 2, 4, 4), A(4, 1, 3, 2), num_group=2, stride=(2, 1), pad=(1, 0), output_mask=(1, 1, 1)),
        ref=_np_convolution_backward,
    ),
)
def _convolution_backward(
    grad: Tensor,
    data: Tensor,
    weight: Tensor,
    stride: Shape = (),
    dilate: Shape = (),
    pad: Shape = (),
    adj: Shape = (),
    num_group: int = 1,
    layout: str | None = None,
    transposed: bool = False,
    output_mask: Shape = (1, 1, 1),
) -> list[Tensor]:
    """Compute the gradients of Convolution or Deconvolution (`transposed`) for data, weight and bias.

    What `output_mask` leaves out is not computed; an array of size 0 stands in its place.
    """
    last = layout in CHANNELS_LAST
    if last:
        grad, data, weight = grad.movedim(-1, 1), data.movedim(-1, 1), weight.movedim(-1, 1)
    n = data.dim() - 2
    mask = [bool(m) for m in output_mask]
    if adj and any(
        a >= max(s, d) for a, s, d in zip(per_axis(adj, 0, n), per_axis(stride, 1, n), per_axis(dilate, 1, n))
    ):
        pads = zip(reversed(per_axis(pad, 0, n)), reversed(per_axis(adj, 0, n)))
        grad, pad, adj = torch.nn.functional.pad(grad, [v for p, a in pads for v in (p, p - a)]), (), ()
    found = aten.convolution_backward(
        grad,
        data,
        weight,
        [grad.shape[1]],
        stride or [1],
        pad or [0],
        dilate or [1],
        transposed,
        adj or [0] * n,
        num_group,
        mask,
    )
    result = [grad.new_empty(0) if g is None else g for g in found]
    return (
        [
            result[0].movedim(1, -1) if mask[0] else result[0],
            result[1].movedim(1, -1) if mask[1] else result[1],
            result[2],
        ]
        if last
        else result
    )
