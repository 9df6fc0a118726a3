"""Convolutions of 3×3 kernels by Winograd's way, where that is expected to take less time.

Law: the values are the same to rounding, infinities and NaN too; a second run changes nothing. The one idea: the plain
sum is bound by its multiplications; here there are a quarter as many (more where results do not fill tiles of 4 × 4),
but four times as many weights are read, and data go to the points and back. So it pays for all but few tiles of many
channels: `pays` says so in units of time.

For float32 images with channels first on a CPU, stride 1, no dilation, no groups, channels in multiples of 16 and
filters of 32. GLUEBALL_WINOGRAD=0 leaves it out. Not here: what it computes (ops/winograd.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..base import config
from ..base.dtype import as_torch
from ..ops.opdef import TensorType, lookup
from ..ops.winograd import POINTS, TILE, WIDE
from ..symbol.graph import Node, Value
from .absorb import fixed_nodes
from .normalise import is_operator
from .program import Growing, Program, rebuild

__all__ = ["winograd_predictions", "fits", "pays", "LEAST"]

_FLOAT32 = as_torch("float32")
_DEPTH = 16  # channels are a multiple of
_RATE = 1e11  # multiplications a second, on two cores
_MEMORY = 3e10  # bytes a second
_WAYS = 1.5e9  # channels of a tile that go to the points, or back, a second
LEAST = 1e-6  # seconds to be gained


def fits(data: tuple[int, ...], filters: int, pad: tuple[int, int]) -> bool:
    """Whether there is code for data (N, C, H, W)."""
    n, channels, high, wide = data
    if min(n, channels, filters, high + 2 * pad[0] - 2, wide + 2 * pad[1] - 2) < 1:
        return False
    return channels % _DEPTH == 0 and filters % WIDE == 0


def pays(data: tuple[int, ...], filters: int, pad: tuple[int, int]) -> bool:
    """Whether Winograd's way is expected to take less time for data (N, C, H, W).

    >>> pays((1, 64, 56, 56), 64, (1, 1)), pays((1, 512, 7, 7), 512, (1, 1)), pays((4, 512, 7, 7), 512, (1, 1))
    (True, False, True)
    """
    if not fits(data, filters, pad):
        return False
    n, channels, high, wide = data
    high, wide = high + 2 * pad[0] - 2, wide + 2 * pad[1] - 2
    tiles = n * -(-high // TILE) * -(-wide // TILE)
    weights = channels * filters
    plain = 9 * n * high * wide * weights / _RATE + 36 * weights / _MEMORY
    points = POINTS * POINTS
    fast = points * tiles * weights / _RATE + 4 * points * weights / _MEMORY + tiles * (channels + filters) / _WAYS
    return plain - fast > LEAST and plain > 1.1 * fast


def made(name: str, node: Node, inputs: tuple[Value, ...], attrs: Mapping[str, Any], kind: TensorType, types: Growing,
         suffix: str = "") -> Value:  # fmt: skip
    """Return the only result of a new node that stands for another."""
    op = lookup(name)
    new = Node(op, node.name + suffix, inputs, op.typed(attrs), node.hints, node.origin, node.serial)
    types[new] = (kind,)
    return Value(new)


def form_of(node: Node, inputs: tuple[Value, ...], types: Growing) -> tuple[int, int] | None:
    """Return the padding of a convolution that can be done so; None: it cannot."""
    attrs = node.attrs
    kinds = [types[v.node][v.index] for v in inputs]
    if not is_operator(node, "Convolution") or any(k.dtype != _FLOAT32 or not k.known for k in kinds):
        return None
    shape = kinds[1].shape or ()
    if len(shape) != 4 or tuple(shape[2:]) != (3, 3) or attrs["layout"] not in (None, "None", "NCHW"):
        return None
    if any(s != 1 for s in (*attrs["stride"], *attrs["dilate"])) or attrs["num_group"] != 1:
        return None
    up, side = tuple(attrs["pad"]) or (0, 0)
    return up, side


def points_value(node: Node, weight: Value, turned: bool, types: Growing) -> Value:
    """Return the weights of a convolution at the points."""
    kind = types[weight.node][weight.index]
    filters, channels = (kind.shape or (0, 0))[:2] if not turned else (kind.shape or (0, 0))[1::-1]
    shape = ((filters or 0) // WIDE, POINTS * POINTS, channels or 0, WIDE)
    return made("_winograd_weight", node, (weight,), {"turned": turned}, TensorType(shape, kind.dtype), types,
                "_points")  # fmt: skip


def _sizes(kind: TensorType) -> tuple[int, ...]:
    return tuple(s or 0 for s in kind.shape or ())


def winograd_predictions(program: Program, fixed: Collection[Node]) -> Program:
    """Put Winograd's way in the place of convolutions whose weights depend on the variables `fixed` only."""
    if not config.get("GLUEBALL_WINOGRAD") or not any(is_operator(n, "Convolution") for n in program.order):
        return program
    known = fixed_nodes(program, fixed)

    def visit(node: Node, inputs: tuple[Value, ...], types: Growing) -> Value | None:
        pad = form_of(node, inputs, types) if is_operator(node, "Convolution") else None
        if pad is None or any(v.node not in known for v in node.inputs[1:]):
            return None
        data, weight, *bias = inputs
        if not pays(_sizes(types[data.node][data.index]), _sizes(types[weight.node][weight.index])[0], pad):
            return None
        points = points_value(node, weight, False, types)
        return made("_winograd_convolution", node, (data, points, *bias), {"pad": pad, "no_bias": not bias},
                    types[node][0], types)  # fmt: skip

    return rebuild(program, visit)
