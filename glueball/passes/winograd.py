"""Convolutions of 3×3 kernels by Winograd's way, where that is expected to take less time.

Law: the values are the same to rounding, infinities and NaN too; a second run changes nothing. The one idea: the plain
sum is bound by its multiplications; here there are a quarter as many (more where results do not fill tiles of 4 × 4),
but four times as many weights are read, and data go to the points and back. So it pays for all but few tiles of many
channels: `best_tile` says so in units of time. Images of bfloat16 and float16 may have tiles of 7 × 7: their own
rounding hides that of these.

For images of float32, bfloat16 or float16 with channels first on a CPU, stride 1, no dilation, no groups, channels in
multiples of 16 and filters of 32. GLUEBALL_WINOGRAD=0 leaves it out. Not here: what it computes (ops/winograd.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..base import aten, config
from ..base.dtype import as_torch
from ..base.tilings import FOUR, SEVEN, TILINGS, Tiling
from ..ops.opdef import TensorType, lookup
from ..ops.winograd import WIDE
from ..symbol.graph import Node, Value
from .absorb import fixed_nodes
from .normalise import is_operator
from .program import Growing, Program, rebuild
from .recompute import LATE

__all__ = ["winograd_predictions", "winograd_convolutions", "fits", "best_tile", "LEAST"]

_FLOAT32, _BFLOAT16, _FLOAT16 = (as_torch(name) for name in ("float32", "bfloat16", "float16"))
_TILINGS: Mapping[Any, tuple[Tiling, ...]] = {_FLOAT32: (FOUR,), _BFLOAT16: (FOUR, SEVEN), _FLOAT16: (FOUR, SEVEN)}
_DEPTH = 16  # channels are a multiple of
_RATE = 1e11  # multiplications a second, on two cores
_MEMORY = 3e10  # bytes a second
_WAYS = 3.5e8  # channels of a tile of 4 × 4 that go to the points, or back, a second
LEAST = 1e-6  # seconds to be gained


def fits(data: tuple[int, ...], filters: int, pad: tuple[int, int]) -> bool:
    """Whether there is code for data (N, C, H, W)."""
    n, channels, high, wide = data
    if min(n, channels, filters, high + 2 * pad[0] - 2, wide + 2 * pad[1] - 2) < 1:
        return False
    return channels % _DEPTH == 0 and filters % WIDE == 0


def best_tile(data: tuple[int, ...], filters: int, pad: tuple[int, int], dtype: Any = _FLOAT32,
              again: bool = False) -> int:  # fmt: skip
    """Return the tile with which data (N, C, H, W) are expected to take least time; 0: the plain sum takes less.

    again : whether weights are brought to the points, or gradients back from there, in each call

    >>> best_tile((1, 64, 56, 56), 64, (1, 1)), best_tile((1, 512, 7, 7), 512, (1, 1))
    (4, 0)
    """
    if dtype not in _TILINGS or not fits(data, filters, pad):
        return 0
    n, channels, high, wide = data
    high, wide = high + 2 * pad[0] - 2, wide + 2 * pad[1] - 2
    weights = channels * filters
    plain = 9 * n * high * wide * weights / _plain_rate(dtype) + 36 * weights / _MEMORY
    times: dict[int, float] = {}
    for tiling in _TILINGS[dtype]:
        tiles = n * -(-high // tiling.tile) * -(-wide // tiling.tile)
        ways = tiles * (channels + filters) * tiling.square / FOUR.square / _WAYS
        moved = (3 if again else 1) * 4 * tiling.square * weights / _MEMORY
        times[tiling.tile] = tiling.square * tiles * weights / _RATE + ways + moved
    best = min(times, key=lambda tile: times[tile])
    return best if plain - times[best] > LEAST and plain > 1.1 * times[best] else 0


def _plain_rate(dtype: Any) -> float:
    """Return multiplications a second of the library's convolutions."""
    return _RATE * aten.bfloat16_speed() if dtype == _BFLOAT16 else _RATE


def made(name: str, node: Node, inputs: tuple[Value, ...], attrs: Mapping[str, Any], kind: TensorType, types: Growing,
         suffix: str = "", hints: Mapping[str, str] | None = None) -> Value:  # fmt: skip
    """Return the only result of a new node that stands for another. hints : further ones than the other's"""
    op = lookup(name)
    new = Node(op, node.name + suffix, inputs, op.typed(attrs), {**node.hints, **(hints or {})}, node.origin,
               node.serial)  # fmt: skip
    types[new] = (kind,)
    return Value(new)


def is_plain(node: Node, inputs: tuple[Value, ...], types: Growing, kernel: tuple[int, int]) -> bool:
    """Whether a convolution, or its gradients, is of this kernel, of images with channels first and of one type, in one
    group, without dilation.

    inputs : (data, weight) or (gradient, data, weight)
    """
    attrs = node.attrs
    kinds = [types[v.node][v.index] for v in inputs]
    if any(k.dtype != kinds[0].dtype or not k.known for k in kinds) or kinds[0].dtype not in _TILINGS:
        return False
    if attrs.get("transposed") or attrs.get("adj") or attrs["layout"] not in (None, "None", "NCHW"):
        return False
    shape = kinds[-1].shape or ()  # of the weights
    return (len(shape) == 4 and tuple(shape[2:]) == kernel and attrs["num_group"] == 1
            and all(s == 1 for s in attrs["dilate"]))  # fmt: skip


def form_of(node: Node, inputs: tuple[Value, ...], types: Growing) -> tuple[int, int] | None:
    """Return the padding of a convolution that can be done so, or whose gradients can; None: it cannot."""
    if not is_plain(node, inputs, types, (3, 3)) or any(s != 1 for s in node.attrs["stride"]):
        return None
    up, side = tuple(node.attrs["pad"]) or (0, 0)
    return up, side


def points_value(node: Node, weight: Value, turned: bool, tile: int, types: Growing) -> Value:
    """Return the weights of a convolution at the points."""
    kind = types[weight.node][weight.index]
    filters, channels = (kind.shape or (0, 0))[:2] if not turned else (kind.shape or (0, 0))[1::-1]
    shape = ((filters or 0) // WIDE, TILINGS[tile].square, channels or 0, WIDE)
    attrs = {"turned": turned, "seven": tile == SEVEN.tile}
    return made("_winograd_weight", node, (weight,), attrs, TensorType(shape, _FLOAT32), types,
                "_points", {LATE: "1"})  # weights are there from the start, and so would points be, four times as large


def _sizes(kind: TensorType) -> tuple[int, ...]:
    return tuple(s or 0 for s in kind.shape or ())


def winograd_convolutions(program: Program) -> Program:
    """Put Winograd's way in the place of convolutions and of their gradients, whatever their weights depend on."""
    if not config.get("GLUEBALL_WINOGRAD"):
        return program
    if not any(is_operator(n, "Convolution", "_convolution_backward") for n in program.order):
        return program
    instead: dict[Value, Value] = {}  # gradients that others make -> what makes them now

    def visit(node: Node, inputs: tuple[Value, ...], types: Growing) -> Value | None:
        inputs = tuple(instead.get(v, v) for v in inputs)
        if is_operator(node, "Convolution"):
            found = _forward(node, inputs, types)
            if found is not None:
                return found
        kept = Node(node.op, node.name, inputs, node.attrs, node.hints, node.origin, node.serial)
        if is_operator(node, "_convolution_backward"):
            kept = _backward(node, inputs, types, instead)
        if kept.inputs == node.inputs and kept.attrs is node.attrs:
            return None
        types.setdefault(kept, types[node])
        return Value(kept)

    found = rebuild(program, visit)
    outputs = tuple(None if v is None else instead.get(v, v) for v in found.outputs)
    return Program(outputs, found.types, found.training, found.constants)


def _forward(node: Node, inputs: tuple[Value, ...], types: Growing) -> Value | None:
    pad = form_of(node, inputs[:2], types)
    data, weight, *bias = inputs
    kinds = [types[v.node][v.index] for v in (data, weight)]
    tile = 0 if pad is None else best_tile(_sizes(kinds[0]), _sizes(kinds[1])[0], pad, kinds[0].dtype, True)
    if not tile:
        return None
    points = points_value(node, weight, False, tile, types)
    return made("_winograd_convolution", node, (data, points, *bias), {"pad": pad, "no_bias": not bias}, types[node][0],
                types)  # fmt: skip


def _backward(node: Node, inputs: tuple[Value, ...], types: Growing, instead: dict[Value, Value]) -> Node:
    """Return what is left of the gradients of a convolution; note what makes the others."""
    kept = Node(node.op, node.name, inputs, node.attrs, node.hints, node.origin, node.serial)
    types[kept] = types[node]
    pad = form_of(node, inputs, types)
    if pad is None:
        return kept
    grad, data, weight = inputs
    given, shape = (_sizes(types[v.node][v.index]) for v in (grad, data))
    dtype = types[data.node][data.index].dtype
    mask, kinds = list(node.attrs["output_mask"]), list(types[node])
    back = (2 - pad[0], 2 - pad[1])
    found: dict[int, Value] = {}
    if mask[0] and min(back) >= 0 and (tile := best_tile(given, shape[1], back, dtype, True)):
        points = points_value(node, weight, True, tile, types)
        attrs = {"pad": back, "no_bias": True}
        found[0] = made("_winograd_convolution", node, (grad, points), attrs, kinds[0], types, "_data")
    if mask[1] and (tile := best_tile(shape, given[1], pad, dtype, True)):
        attrs = {"pad": pad, "seven": tile == SEVEN.tile}
        found[1] = made("_winograd_weight_gradient", node, (grad, data), attrs, kinds[1], types, "_weight")
    if not found:
        return kept
    for index in found:
        mask[index], kinds[index] = 0, kinds[index]._replace(shape=(0,))
    left = Node(node.op, node.name, inputs, {**node.attrs, "output_mask": tuple(mask)}, node.hints, node.origin,
                node.serial)  # fmt: skip
    types[left] = tuple(kinds)
    instead.update({Value(left, index): value for index, value in found.items()})
    return left


def winograd_predictions(program: Program, fixed: Collection[Node]) -> Program:
    """Put Winograd's way in the place of convolutions whose weights depend on the variables `fixed` only."""
    if not config.get("GLUEBALL_WINOGRAD") or not any(is_operator(n, "Convolution") for n in program.order):
        return program
    known = fixed_nodes(program, fixed)

    def visit(node: Node, inputs: tuple[Value, ...], types: Growing) -> Value | None:
        pad = form_of(node, inputs[:2], types) if is_operator(node, "Convolution") else None
        if pad is None or any(v.node not in known for v in node.inputs[1:]):
            return None
        data, weight, *bias = inputs
        kind, filters = types[data.node][data.index], _sizes(types[weight.node][weight.index])[0]
        tile = best_tile(_sizes(kind), filters, pad, kind.dtype)
        if not tile:
            return None
        points = points_value(node, weight, False, tile, types)
        return made("_winograd_convolution", node, (data, points, *bias), {"pad": pad, "no_bias": not bias},
                    types[node][0], types)  # fmt: skip

    return rebuild(program, visit)
