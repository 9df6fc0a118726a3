"""Dense layers, convolutions and products of matrices.

The one idea: weights keep the names and shapes of the network's parameters; where ONNX wants another layout a Transpose
of the weight is written, which every runtime computes once when it loads the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ops.convolution import per_axis
from ...ops.deconvolution import target_geometry
from ..call import Call, Refused, rule
from ..sizes import Size

_CHANNELS_LAST = ("NWC", "NHWC", "NDHWC")


@rule("FullyConnected")
def _dense(c: Call) -> str:
    data, rank = c.x, c.rank()
    if c["flatten"] and rank != 2:
        data, rank = c.op("Flatten", data, axis=1), 2
    if rank == 2:
        return c.op("Gemm", data, *c.ins[1:], transB=1)
    found = c.op("MatMul", data, c.op("Transpose", c.ins[1], perm=[1, 0]))
    return found if len(c.ins) == 2 else c.op("Add", found, c.ins[2])


# -- convolutions ------------------------------------------------------------------------------------------------------
def _first(rank: int) -> list[int]:
    """The permutation that brings channels from the end to axis 1."""
    return [0, rank - 1, *range(1, rank - 1)]


def _last(rank: int) -> list[int]:
    """The permutation that brings channels from axis 1 to the end."""
    return [0, *range(2, rank), 1]


def _geometry(c: Call) -> dict[str, Any]:
    n = len(c["kernel"])
    pad = per_axis(c["pad"], 0, n)
    return {"kernel_shape": list(c["kernel"]), "strides": list(per_axis(c["stride"], 1, n)),
            "dilations": list(per_axis(c["dilate"], 1, n)), "pads": [*pad, *pad], "group": c["num_group"]}


@rule("Convolution")
def _convolution(c: Call) -> str:
    if c["layout"] not in _CHANNELS_LAST:
        return c.op("Conv", *c.ins, **_geometry(c))
    rank = c.rank()
    data, weight = c.transpose(c.x, _first(rank)), c.transpose(c.ins[1], _first(rank))
    return c.transpose(c.op("Conv", data, weight, *c.ins[2:], **_geometry(c)), _last(rank))


@rule("Deconvolution")
def _deconvolution(c: Call) -> str:
    rank, n = c.rank(), len(c["kernel"])
    last = c["layout"] in _CHANNELS_LAST
    given = _geometry(c)
    adj, target = per_axis(c["adj"], 0, n), tuple(c["target_shape"])
    pad = tuple(given["pads"][:n])
    if target and any(target):
        begin = 1 if last else 2
        sizes = [c.size(axis) for axis in range(begin, begin + n)]
        pad, adj = target_geometry(sizes, given["kernel_shape"], given["strides"], given["dilations"], pad, adj, target)
    # what `adj` adds at the end is padding taken back there: ONNX limits output_padding by the stride, pads by nothing
    ends = [p - a for p, a in zip(pad, adj)]
    extra = [max(0, -e) for e in ends]
    if any(e >= max(s, d) for e, s, d in zip(extra, given["strides"], given["dilations"]) if e):
        raise Refused(f"adj={tuple(adj)} enlarges the result by more than a stride")
    given["pads"] = [*pad, *(max(0, e) for e in ends)]
    given["output_padding"] = extra if any(extra) else None
    if not last:
        return c.op("ConvTranspose", *c.ins, **given)
    data, weight = c.transpose(c.x, _first(rank)), c.transpose(c.ins[1], _first(rank))
    return c.transpose(c.op("ConvTranspose", data, weight, *c.ins[2:], **given), _last(rank))


# -- products ----------------------------------------------------------------------------------------------------------
def _turned(c: Call, value: str, rank: int, wanted: bool) -> str:
    """A batch of matrices, transposed if wanted."""
    return c.transpose(value, [*range(rank - 2), rank - 1, rank - 2]) if wanted else value


def _product(sizes: Sequence[Size]) -> int:
    total = 1
    for size in sizes:
        if not isinstance(size, int):
            raise Refused("dot of arrays of more than two axes needs fixed sizes; use batch_dot or reshape first")
        total *= size
    return total


@rule("dot")
def _dot(c: Call) -> str:
    a, b = c.ins
    if c.rank(0) == c.rank(1) == 2:
        return c.op("MatMul", _turned(c, a, 2, c["transpose_a"]), _turned(c, b, 2, c["transpose_b"]))
    if c.rank(1) <= 2 and not c["transpose_a"] and c.rank(0) > 1:
        found = c.op("MatMul", a, _turned(c, b, 2, c["transpose_b"] and c.rank(1) == 2))
        return found
    left, right = c.shape(0), c.shape(1)
    if c["transpose_a"] and c.rank(0) > 1:
        a = c.op("Transpose", c.op("Reshape", a, c.ints(_product(left[:1]), -1)), perm=[1, 0])
    else:
        a = c.op("Reshape", a, c.ints(-1, _product(left[-1:])))
    if c["transpose_b"] and c.rank(1) > 1:
        b = c.op("Transpose", c.op("Reshape", b, c.ints(-1, _product(right[-1:]))), perm=[1, 0])
    else:
        b = c.op("Reshape", b, c.ints(_product(right[:1]), -1))
    return c.reshape(c.op("MatMul", a, b), c.out_shape())


@rule("batch_dot")
def _batch_dot(c: Call) -> str:
    a, b = (_turned(c, value, c.rank(i), c[f"transpose_{'ab'[i]}"]) for i, value in enumerate(c.ins))
    return c.op("MatMul", a, b)


@rule("_linalg_gemm2", "_linalg_gemm")
def _gemm(c: Call) -> str:
    if c["axis"] != -2 and c["axis"] != c.rank() - 2:
        raise Refused("the rows must be the second axis from the end (axis=-2)")
    a, b = (_turned(c, c.ins[i], c.rank(i), c[f"transpose_{'ab'[i]}"]) for i in range(2))
    found = c.op("MatMul", a, b)
    if c["alpha"] != 1:
        found = c.op("Mul", found, c.const(c["alpha"]))
    if c.name == "_linalg_gemm":
        found = c.op("Add", found, c.op("Mul", c.ins[2], c.const(c["beta"])))
    return found


@rule("_linalg_syrk")
def _syrk(c: Call) -> str:
    turned = _turned(c, c.x, c.rank(), True)
    pair = (turned, c.x) if c["transpose"] else (c.x, turned)
    return c.op("Mul", c.op("MatMul", *pair), c.const(c["alpha"]))


@rule("khatri_rao")
def _khatri_rao(c: Call) -> str:
    if any(c.rank(index) != 2 for index in range(len(c.ins))):
        raise Refused("its inputs must be matrices")
    found, count = c.x, c.size(0)
    columns = c.size(1)
    for index in range(1, len(c.ins)):
        rows_here = c.size(0, index)
        pair = c.op("Mul", c.op("Unsqueeze", found, c.ints(1)), c.op("Unsqueeze", c.ins[index], c.ints(0)))
        count *= rows_here
        found = c.op("Reshape", pair, c.ints(count, columns))
    return found
