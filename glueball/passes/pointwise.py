"""Convolutions of 1×1 kernels in training: with a stride, plain ones of the pixels that they meet; and gradients as
products of matrices, where the library is slower.

Law: values and gradients are the same to rounding; a second run changes nothing. The one idea: the library's gradient
of a strided 1×1 convolution goes to all pixels, most of which it never saw: here convolutions of the same data share
the few pixels, and the sum of their gradients is spread once. And the library cuts small images into pieces of their
own, where the pixels of all images are the rows of one matrix: for bfloat16 that is a third slower at 7 × 7.

For images of bfloat16 and float16 (float32 has own code: executor/native/pointwise.py) with channels first on a CPU,
without padding, dilation or groups; products also without the gradient of a bias, which nobody asks for where a
normalisation follows. Not here: kernels of 3×3 (winograd.py).
"""

from __future__ import annotations

from ..base import aten
from ..base.dtype import as_torch
from ..ops.opdef import TensorType, lookup
from ..symbol.graph import Node, Value
from .normalise import is_operator
from .program import Growing, Program, rebuild
from .winograd import is_plain, made

__all__ = ["pointwise_convolutions", "ROWS"]

ROWS = 4096  # pixels of all images up to which products of bfloat16 are faster than the library's gradients
_BFLOAT16 = as_torch("bfloat16")
_SMALL = (_BFLOAT16, as_torch("float16"))


def pointwise_convolutions(program: Program) -> Program:
    """Put plain convolutions and products in the place of 1×1 convolutions and of their gradients."""
    types = dict(program.types)
    strided = {(node.inputs[1], _step(node)) for node in program.order
               if is_operator(node, "_convolution_backward") and _is_pointwise(node, node.inputs, types)}  # fmt: skip
    if not strided:
        return program
    sampled: dict[tuple[Value, tuple[int, ...]], Value] = {}
    instead: dict[Value, Value] = {}  # gradients that others make -> what makes them now

    def sample(node: Node, data: Value, types: Growing) -> Value:
        """Return the pixels that a convolution meets."""
        step = _step(node)
        if step == (1, 1):
            return data
        if (data, step) not in sampled:
            kind = types[data.node][data.index]
            n, channels, high, wide = (s or 0 for s in kind.shape or ())
            kind = kind._replace(shape=(n, channels, -(-high // step[0]), -(-wide // step[1])))
            sampled[data, step] = made("_subsample", node, (data,), {"step": step}, kind, types, "_pixels")
        return sampled[data, step]

    def visit(node: Node, inputs: tuple[Value, ...], types: Growing) -> Value | None:
        given = tuple(instead.get(v, v) for v in inputs)
        attrs = node.attrs
        backward = is_operator(node, "_convolution_backward") and _is_pointwise(node, given, types)
        if backward:
            given, attrs = (given[0], sample(node, given[1], types), given[2]), {**attrs, "stride": (1, 1)}
        elif is_operator(node, "Convolution") and (node.inputs[0], _step(node)) in strided and (
            _is_pointwise(node, given[:2], types)
        ):
            given, attrs = (sample(node, given[0], types), *given[1:]), {**attrs, "stride": (1, 1)}
        elif is_operator(node, "elemwise_add") and (spread := _spread_once(node, given, types)) is not None:
            return spread
        if given == node.inputs and not backward:
            return None
        new = Node(node.op, node.name, given, attrs, node.hints, node.origin, node.serial)
        types[new] = types[node]
        return Value(_gradients(node, new, types, instead) if backward else new)

    found = rebuild(program, visit)
    outputs = tuple(None if v is None else instead.get(v, v) for v in found.outputs)
    return Program(outputs, found.types, found.training, found.constants)


def _step(node: Node) -> tuple[int, ...]:
    return tuple(node.attrs["stride"]) or (1, 1)


def _is_pointwise(node: Node, inputs: tuple[Value, ...], types: Growing) -> bool:
    small = types[inputs[0].node][inputs[0].index].dtype in _SMALL
    return small and is_plain(node, inputs, types, (1, 1)) and not any(node.attrs["pad"])


def _gradients(node: Node, plain: Node, types: Growing, instead: dict[Value, Value]) -> Node:
    """Return what makes the gradients of a 1×1 convolution, `plain` being those without a stride."""
    mask, kind = plain.attrs["output_mask"], types[node][0]
    met = types[plain.inputs[1].node][plain.inputs[1].index]
    kinds = (met, *types[node][1:]) if mask[0] else types[node]
    left = plain
    if _by_product(met) and not mask[2]:
        attrs, kinds = {"output_mask": mask[:2]}, kinds[:2]
        op = lookup("_pointwise_backward")
        left = Node(op, node.name, plain.inputs, op.typed(attrs), node.hints, node.origin, node.serial)
    types[left] = kinds
    if mask[0] and _step(node) != (1, 1):
        attrs = {"step": _step(node), "size": tuple(kind.shape or ())[2:]}
        instead[Value(left)] = made("_spread", node, (Value(left),), attrs, kind, types, "_all")
    return left


def _by_product(kind: TensorType) -> bool:
    n, _, high, wide = (s or 0 for s in kind.shape or ())
    return kind.dtype == _BFLOAT16 and n * high * wide <= ROWS and aten.bfloat16_speed() > 1


def _spread_once(node: Node, inputs: tuple[Value, ...], types: Growing) -> Value | None:
    """Return the sum of two spread arrays as a spread sum."""
    one, other = (v.node for v in inputs)
    if not (is_operator(one, "_spread") and is_operator(other, "_spread")) or one.attrs != other.attrs:
        return None
    few = (one.inputs[0], other.inputs[0])
    kind = types[few[0].node][few[0].index]
    total = made("elemwise_add", node, few, {}, kind, types)
    return made("_spread", node, (total,), one.attrs, types[node][0], types, "_all")
