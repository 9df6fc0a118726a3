"""Channels last: convolutions and what surrounds them run on arrays whose channels lie side by side.

Law: values, gradients and shapes are the same to rounding; a second run changes nothing. The one idea: the order is in
the strides, so nothing in the graph changes but that conversions (`_memory_format`) stand where data come in from
elsewhere; torch's kernels then hand the order on. It runs after differentiation, so that gradients are treated like
data. What a caller gets as the gradient of a 4-D input lies as the input does: channels first.

Only float32 and half precision on a CPU, where the library of convolutions prefers that order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..base.dtype import as_torch
from ..ops.opdef import OpDef, TensorType, lookup
from ..ops.rules.infer import broadcasting, elementwise, same_shape
from ..symbol.graph import Node, Value
from .program import Growing, Program, Types, rebuild

__all__ = ["channels_last", "FINISHED", "ORDER"]

ORDER = "__memory__"  # the hint that a node's results lie channels last

# operator -> positions of the inputs that should lie channels last
_WANT: Mapping[str, tuple[int, ...]] = {
    "Convolution": (0,), "_convolution_backward": (0, 1), "Deconvolution": (0,), "_normalise_backward": (0, 1, 6),
    "_normalise": (0, 5), "_finished_convolution": (0,), "_added_convolution": (0, 1),
    "_winograd_convolution": (0, 2, 3), "_winograd_weight_gradient": (0, 1),
    "_pointwise_backward": (0, 1),
}  # fmt: skip
# operators whose results lie as their first input does, and the positions of the inputs that should lie alike
_FOLLOW: Mapping[str, tuple[int, ...]] = {
    "Pooling": (), "_pooling_backward": (0,), "BatchNorm": (), "_batch_norm_backward": (1, 0),
    "Activation": (), "LeakyReLU": (), "clip": (),
    "_contrib_AdaptiveAvgPooling2D": (), "_subsample": (), "_spread": (),
}  # fmt: skip
FINISHED = ("_finished_convolution", "_added_convolution", "_winograd_convolution")
_BACKWARD = ("_convolution_backward", "_pointwise_backward")  # results: gradients of data, and of weights
_CONVOLUTIONS = ("Convolution", "_convolution_backward", "Deconvolution", *FINISHED)
_DTYPES = tuple(map(as_torch, ("float32", "bfloat16", "float16")))


def channels_last(program: Program) -> Program:
    """Put conversions before convolutions, and let what lies between them follow."""
    if not any(_is_convolution(node, program.types) for node in program.order if node.op is not None):
        return program
    convert = lookup("_memory_format")
    last: set[Value] = set()
    converted: dict[tuple[Value, bool], Value] = {}

    def as_wanted(value: Value, types: Growing, wanted: bool) -> Value:
        if (value in last) is wanted or len(types[value.node][value.index].shape or ()) != 4:
            return value
        made = converted.get((value, wanted))
        if made is None:
            node = Node(convert, f"{value.node.name}_memory", (value,), {"last": wanted}, {}, value.node.origin,
                        value.node.serial)  # fmt: skip
            types[node] = (types[value.node][value.index],)
            made = converted[value, wanted] = Value(node)
            if wanted:
                last.add(made)
        return made

    def visit(node: Node, inputs: tuple[Value, ...], types: Growing) -> Value | None:
        op = node.op
        assert op is not None  # rebuild keeps variables
        if op is convert:
            if node.attrs["last"]:
                last.add(Value(node))
            return None
        wanted = _wanted(node, op, inputs, types, last)
        if not wanted:
            return None
        given = list(inputs)
        for position in wanted:
            if position < len(given):
                given[position] = as_wanted(given[position], types, True)
        new = Node(op, node.name, tuple(given), node.attrs, {**node.hints, ORDER: "last"}, node.origin, node.serial)
        types[new] = types[node]
        for index, kind in enumerate(types[node]):
            weight = op.name in _BACKWARD and index != 0 or op.name == "_winograd_weight_gradient"
            if len(kind.shape or ()) == 4 and not weight:
                last.add(Value(new, index))
        return Value(new, 0)

    result = rebuild(program, visit)
    types = dict(result.types)
    weights = {Value(n, 1) for n in result.order if n.op is not None and n.op.name == "_convolution_backward"}
    last |= weights  # their gradients lie as the library likes
    outputs = [v if v is None or v not in weights else as_wanted(v, types, False) for v in result.outputs]
    return Program(tuple(outputs), types, result.training, result.constants)


def _is_convolution(node: Node, types: Types) -> bool:
    """Whether a node is a convolution of images with channels first, of an element type that gains."""
    if node.op is None or node.op.name not in _CONVOLUTIONS:
        return False
    if node.op.name in FINISHED:
        return True
    kind: TensorType = types[node.inputs[0].node][node.inputs[0].index]
    return len(kind.shape or ()) == 4 and kind.dtype in _DTYPES and node.attrs["layout"] in (None, "None", "NCHW")


def _wanted(node: Node, op: OpDef, inputs: Sequence[Value], types: Types, last: set[Value]) -> tuple[int, ...]:
    """Return the positions of the inputs that should lie channels last: none for operators that are left alone."""
    if op.name in _WANT:
        return _WANT[op.name] if op.name.startswith("_") or _is_convolution(node, types) else ()
    followed = _FOLLOW.get(op.name)
    if followed is not None:
        leader = 1 if op.name in ("_pooling_backward", "_batch_norm_backward") else 0
        plain = node.attrs.get("layout") in (None, "None", "NCHW") and node.attrs.get("axis", 1) == 1
        return (leader, *followed) if plain and inputs[leader] in last else ()
    if op.infer is same_shape or op.infer is elementwise or op.infer is broadcasting or op.name in ("add_n", "Concat"):
        return _alike(op, inputs, types, last)
    return ()


def _alike(op: OpDef, inputs: Sequence[Value], types: Types, last: set[Value]) -> tuple[int, ...]:
    """Element by element: all inputs of one shape lie as the first that lies channels last."""
    if op.mutates or not any(v in last for v in inputs):
        return ()
    shapes = {types[v.node][v.index].shape for v in inputs}
    if len(shapes) > 1 and op.name != "Concat":
        return ()
    return tuple(range(len(inputs)))
