"""Pooling, adaptive pooling, and making images larger.

The one idea: where ONNX's windows are the operator's, one ONNX operator is written; where the last window hangs over
the edge ("full", "same"), zeros are added by hand and sums are divided by the number of elements of each window,
which is a constant of the geometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...ops.convolution import per_axis
from ...ops.pooling import window_count, window_sizes
from ..call import Call, Refused, rule
from .reduction import reduced

_CHANNELS_LAST = ("NWC", "NHWC", "NDHWC")


class _Windows(NamedTuple):
    """The windows along the spatial axes."""

    kernel: list[int]
    stride: list[int]
    before: list[int]
    after: list[int]
    outs: list[int]

    @property
    def overhangs(self) -> bool:
        """Whether a window reaches beyond the padding that was asked for."""
        return self.before != self.after


def _windows(c: Call, sizes: Sequence[int]) -> _Windows:
    n = len(sizes)
    if len(c["kernel"]) not in (1, n):
        raise Refused(f"kernel={c['kernel']} does not fit data of {n + 2} axes")
    kernel, stride = per_axis(c["kernel"], 1, n), per_axis(c["stride"], 1, n)
    pad, convention = per_axis(c["pad"], 0, n), c["pooling_convention"]
    outs = [window_count(*row, convention) for row in zip(sizes, kernel, stride, pad)]
    after = [p if convention == "valid" else max(0, (out - 1) * s + k - size - p)
             for size, k, s, p, out in zip(sizes, kernel, stride, pad, outs)]
    return _Windows(list(kernel), list(stride), list(pad), after, outs)


def _padded(c: Call, value: str, w: _Windows, filler: float) -> str:
    if all(p < k for p, k in zip([*w.before, *w.after], w.kernel * 2)):
        return c.op("Pad", value, c.ints(0, 0, *w.before, 0, 0, *w.after), c.const(filler), mode="constant")
    # onnxruntime moves a Pad into the pooling behind it, and then refuses padding as large as the window; a further
    # axis of one between the two keeps them apart
    last = len(w.kernel) + 2
    wide = c.op("Unsqueeze", value, c.ints(last))
    wide = c.op("Pad", wide, c.ints(0, 0, *w.before, 0, 0, 0, *w.after, 0), c.const(filler), mode="constant")
    return c.op("Squeeze", wide, c.ints(last))


def _maximum(c: Call, value: str, w: _Windows) -> str:
    if all(b < k and a < k for a, b, k in zip(w.after, w.before, w.kernel)):
        return c.op("MaxPool", value, kernel_shape=w.kernel, strides=w.stride, pads=[*w.before, *w.after])
    lowest = float(np.finfo(c.dtype() if c.dtype() in ("float16", "float64") else "float32").min)
    return c.op("MaxPool", _padded(c, value, w, lowest), kernel_shape=w.kernel, strides=w.stride)


def _sum(c: Call, value: str, w: _Windows) -> str:
    if any(w.before) or any(w.after):
        value = _padded(c, value, w, 0.0)
    mean = c.op("AveragePool", value, kernel_shape=w.kernel, strides=w.stride)
    return c.op("Mul", mean, c.const(int(np.prod(w.kernel))))


def _average(c: Call, value: str, w: _Windows, sizes: Sequence[int]) -> str:
    include = c["count_include_pad"] is not False
    if not w.overhangs and all(p < k for p, k in zip(w.before, w.kernel)):
        return c.op("AveragePool", value, kernel_shape=w.kernel, strides=w.stride, pads=[*w.before, *w.after],
                    count_include_pad=int(include))
    total = np.ones(())
    for axis, row in enumerate(zip(sizes, w.kernel, w.stride, w.before, w.outs)):
        number = np.array(window_sizes(*row, include), np.float64)
        total = total * number.reshape(-1, *[1] * (len(sizes) - 1 - axis))
    return c.op("Div", _sum(c, value, w), c.const(total))


def _power(c: Call, value: str, w: _Windows) -> str:
    power = c["p_value"]
    raised = value
    for _ in range(power - 1):
        raised = c.op("Mul", raised, value)
    total = _sum(c, raised, w)
    if power == 1:
        return total
    if power == 2:
        return c.op("Sqrt", total)
    return c.op("Mul", c.op("Sign", total), c.op("Pow", c.op("Abs", total), c.const(1 / 3)))


@rule("Pooling")
def _pooling(c: Call) -> str:
    rank, last, kind = c.rank(), c["layout"] in _CHANNELS_LAST, c["pool_type"]
    order = [0, rank - 1, *range(1, rank - 1)] if last else list(range(rank))
    value = c.transpose(c.x, order)
    if c["global_pool"] and kind in ("max", "avg"):
        found = c.op("GlobalMaxPool" if kind == "max" else "GlobalAveragePool", value)
    elif c["global_pool"] and kind == "sum":
        found = reduced(c, "ReduceSum", value, range(2, rank), True)
    else:
        sizes = [c.size(axis) for axis in (range(1, rank - 1) if last else range(2, rank))]
        w = _Windows(sizes, [1] * len(sizes), [0] * len(sizes), [0] * len(sizes), [1] * len(sizes)) \
            if c["global_pool"] else _windows(c, sizes)
        if kind == "max":
            found = _maximum(c, value, w)
        elif kind == "avg":
            found = _average(c, value, w, sizes)
        else:
            found = _sum(c, value, w) if kind == "sum" else _power(c, value, w)
    return c.transpose(found, [0, *range(2, rank), 1] if last else list(range(rank)))


@rule("_contrib_AdaptiveAvgPooling2D")
def _adaptive(c: Call) -> str:
    size = c["output_size"] or (1,)
    outs = tuple(size) * 2 if len(size) == 1 else tuple(size)
    if outs == (1, 1) and c.rank() == 4:
        return c.op("GlobalAveragePool", c.x)
    rows, columns = (_averaging(n, out) for n, out in zip((c.size(-2), c.size(-1)), outs))
    return c.op("MatMul", c.op("MatMul", c.const(rows), c.x), c.const(columns.T))


def _averaging(n: int, out: int) -> np.ndarray:
    """The matrix (out, n) that averages an axis over the windows ⌊i·n/out⌋ … ⌈(i + 1)·n/out⌉."""
    matrix = np.zeros((out, n))
    for i in range(out):
        begin, end = i * n // out, -(-(i + 1) * n // out)
        matrix[i, begin:end] = 1 / (end - begin)
    return matrix


@rule("UpSampling")
def _upsampling(c: Call) -> str:
    scale = c["scale"]
    if c["sample_type"] == "bilinear":
        size, pad = 2 * scale - scale % 2, -(-(scale - 1) // 2)
        channels = c.size(1)
        return c.op("ConvTranspose", *c.ins, kernel_shape=[size] * 2, strides=[scale] * 2, pads=[pad] * 4,
                    group=channels)
    height = c.size(2) * scale
    parts: list[str] = []
    for index, value in enumerate(c.ins):
        times = height // c.size(2, index)
        parts.append(_enlarged(c, value, times))
    if len(parts) == 1:
        return parts[0]
    return c.op("Sum", *parts) if c["multi_input_mode"] == "sum" else c.op("Concat", *parts, axis=1)


def _enlarged(c: Call, value: str, times: int) -> str:
    scales = c.const([1.0, 1.0, times, times], "float32")
    return c.op("Resize", value, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
                nearest_mode="floor")


@rule("_contrib_BilinearResize2D")
def _resize(c: Call) -> str:
    corners = "align_corners" if c["align_corners"] else "half_pixel"
    return c.op("Resize", c.x, "", "", c.sizes(c.out_shape()), mode="linear", coordinate_transformation_mode=corners)
