"""Whole numbers that stand for real ones: QuantizeLinear and DequantizeLinear, and products of such numbers.

The one idea: everything is computed with real numbers, which hold the sums of products of 8-bit numbers exactly, and
rounded as ONNX says. This reads quantised models; it does not make them fast.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..held import Held, Refused
from ..node import IMPORTERS, Step, reads
from ..tensors import element_name
from .arithmetic import halves_to_even
from .products import matmul

_RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535)}


def _along(s: Step, held: Held, x: Held, axis: int) -> Held:
    """Scales or zero points beside the data: one number, one per row of an axis, or one per block of rows."""
    if not held.rank or held.shape == (1,):
        return s.reshape(held, ())
    at = s.axis(axis, x.rank)
    if held.rank == 1 and not s.get("block_size", 0):
        return s.reshape(held, tuple(held.size(0) if i == at else 1 for i in range(x.rank)))
    block = s.get("block_size", 0)
    if held.rank != x.rank or block < 1:
        raise Refused("its scales do not fit its data")
    spread = s.call("repeat", held, repeats=block, axis=at)
    return s.call("slice_axis", spread, axis=at, begin=0, end=x.size(at))


@reads("DequantizeLinear")
def _dequantize(s: Step) -> Held:
    return _real(s, s.x, s.input(1), s.maybe(2), s.get("axis", 1))


def _real(s: Step, x: Held, scale: Held, zero: Held | None, axis: int = 1) -> Held:
    kind = scale.dtype
    found = s.cast(x, "float32")
    if zero is not None:
        found = s.call("broadcast_sub", found, s.cast(_along(s, zero, x, axis), "float32"))
    return s.cast(s.call("broadcast_mul", found, s.cast(_along(s, scale, x, axis), "float32")), kind)


@reads("QuantizeLinear")
def _quantize(s: Step) -> Held:
    zero = s.maybe(2)
    kind = zero.dtype if zero is not None else "uint8"
    if zero is None and s.attrs.get("output_dtype"):
        kind = element_name(s.attrs["output_dtype"], s.name)
    return _whole(s, s.x, s.input(1), zero, kind, s.get("axis", 1))


def _whole(s: Step, x: Held, scale: Held, zero: Held | None, kind: str, axis: int = 1) -> Held:
    if kind not in _RANGES:
        raise Refused(f"it quantises to {kind}")
    low, high = _RANGES[kind]
    real = s.cast(x, "float32")
    found = halves_to_even(s, s.call("broadcast_div", real, s.cast(_along(s, scale, x, axis), "float32")))
    if zero is not None:
        found = s.call("broadcast_add", found, s.cast(_along(s, zero, x, axis), "float32"))
    return s.cast(s.cast(s.call("clip", found, a_min=float(low), a_max=float(high)), "int32"), kind)


@reads("DynamicQuantizeLinear")
def _dynamic(s: Step) -> Sequence[Held]:
    zero = s.const(0.0)
    low = s.call("broadcast_minimum", s.reshape(s.call("min", s.x), ()), zero)
    high = s.call("broadcast_maximum", s.reshape(s.call("max", s.x), ()), zero)
    scale = s.call("_div_scalar", s.call("broadcast_sub", high, low), scalar=255.0)
    middle = halves_to_even(s, s.call("broadcast_div", s.call("negative", low), scale))
    point = s.cast(s.cast(s.call("clip", middle, a_min=0.0, a_max=255.0), "int32"), "uint8")
    return [_whole(s, s.x, scale, point, "uint8"), scale, point]


def _centred(s: Step, x: Held, zero: Held | None, rows: int | None = None) -> Held:
    """Numbers less their zero point (one for all, or one per row of an axis) as float64."""
    found = s.cast(x, "float64")
    if zero is None:
        return found
    point = s.cast(zero, "float64")
    if point.rank == 1 and point.shape != (1,) and rows is not None:
        shape = [1] * x.rank
        shape[rows] = point.size(0)
        point = s.reshape(point, tuple(shape))
    return s.call("broadcast_sub", found, point if point.rank != 1 or point.shape != (1,) else s.reshape(point, ()))


@reads("MatMulInteger")
def _matmul_integer(s: Step) -> Held:
    a, b = s.x, s.input(1)
    found = matmul(s, _centred(s, a, s.maybe(2), a.rank - 2), _centred(s, b, s.maybe(3), b.rank - 1))
    return s.cast(found, "int32")


@reads("QLinearMatMul")
def _linear_matmul(s: Step) -> Held:
    a, scale_a, zero_a, b, scale_b, zero_b, scale, zero = s.all
    real = matmul(s, _scaled(s, a, scale_a, zero_a, a.rank - 2), _scaled(s, b, scale_b, zero_b, b.rank - 1))
    return _whole(s, real, scale, zero, zero.dtype)


def _scaled(s: Step, x: Held, scale: Held, zero: Held, axis: int) -> Held:
    found = _centred(s, x, zero, axis)
    return s.call("broadcast_mul", found, s.cast(_along(s, scale, x, axis), "float64"))


def _convolved(s: Step, x: Held, weight: Held, bias: Held | None = None) -> Held:
    inner = Step(s.builder, "Conv", s.name, s.version, [x, weight, bias], s.attrs, s.outputs, s.around)
    found = IMPORTERS["", "Conv"](inner)
    if not isinstance(found, Held):
        raise Refused("a convolution has one result")
    return found


@reads("ConvInteger")
def _conv_integer(s: Step) -> Held:
    return s.cast(_convolved(s, _centred(s, s.x, s.maybe(2)), _centred(s, s.input(1), s.maybe(3), 0)), "int32")


@reads("QLinearConv")
def _linear_conv(s: Step) -> Held:
    x, scale_x, zero_x, weight, scale_w, zero_w, scale, zero = (s.input(i) for i in range(8))
    bias = s.maybe(8)
    real = _convolved(s, _centred(s, x, zero_x), _centred(s, weight, zero_w, 0))
    spatial = [1] * (x.rank - 2)
    if bias is not None:
        real = s.call("broadcast_add", real, s.reshape(s.cast(bias, "float64"), (1, bias.size(0), *spatial)))
    both = s.call("broadcast_mul", s.cast(s.reshape(scale_x, ()), "float64"), s.cast(scale_w, "float64"))
    both = s.reshape(both, (1, both.size(0), *spatial) if both.rank and both.shape != (1,) else ())
    return _whole(s, s.call("broadcast_mul", real, both), scale, zero, zero.dtype)
