"""Batch normalisation in train mode becomes its statistics and one step for the rest, with the addition and the ReLU
that follow.

Law: values, gradients and moving statistics are the same to rounding; a second run changes nothing. It runs before
differentiation, so that backward is one step, too. Only where native code will run: large arrays of float32, bfloat16
or float16 on a CPU, with float32 numbers per channel, as rows of channels: (N, C), or images next to convolutions,
which lie channels last (layout.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from ..base.dtype import as_torch
from ..ops.opdef import TensorType, lookup
from ..symbol.graph import Node, Value
from .program import Growing, Program, rebuild

__all__ = ["fuse_normalisation", "LEAST", "is_operator", "uses_of", "with_addition", "with_relu"]

_FLOAT32 = as_torch("float32")
_SERVED = (_FLOAT32, as_torch("bfloat16"), as_torch("float16"))
LEAST = 1 << 14  # elements from which it pays


def fuse_normalisation(program: Program, effects: int = 0) -> Program:
    """Put `_batch_statistics` and `_normalise` in the place of BatchNorm, addition and ReLU.

    effects : so many outputs, the last ones, are there only because their operators move states
    """
    if not program.training or not any(is_operator(n, "BatchNorm") for n in program.order):
        return program
    images = any(is_operator(n, "Convolution") or is_operator(n, "Deconvolution") for n in program.order)
    return with_relu(with_addition(_moving(_in_parts(program, images), effects)))


def is_operator(node: Node, *names: str) -> bool:
    """Whether a node applies one of the operators named."""
    return node.op is not None and node.op.name in names


def uses_of(program: Program) -> Counter[Value]:
    """Return how often each value is read or returned."""
    uses: Counter[Value] = Counter(v for node in program.order for v in node.inputs)
    uses.update(v for v in program.outputs if v is not None)
    return uses


def _made(name: str, node: Node, inputs: Sequence[Value], attrs: Mapping[str, Any], kinds: Sequence[TensorType],
          types: Growing) -> Node:  # fmt: skip
    """Return a node in the place of another."""
    op = lookup(name)
    made = Node(op, node.name, tuple(inputs), op.typed(attrs), node.hints, node.origin, node.serial)
    types[made] = tuple(kinds)
    return made


def _in_parts(program: Program, images: bool) -> Program:
    uses = uses_of(program)

    def visit(node: Node, inputs: tuple[Value, ...], types: Growing) -> Value | None:
        if not is_operator(node, "BatchNorm") or uses[Value(node, 1)] or uses[Value(node, 2)]:
            return None
        attrs, kind = node.attrs, types[inputs[0].node][inputs[0].index]
        shape = kind.shape or ()
        if attrs["use_global_stats"] or attrs["output_mean_var"] or attrs["axis"] != 1 or not kind.known:
            return None
        if any(types[v.node][v.index].dtype is not _FLOAT32 for v in inputs[1:]):
            return None
        if kind.dtype not in _SERVED or len(shape) != 2 and not (len(shape) == 4 and images):
            return None
        if prod(s or 0 for s in shape) < LEAST:
            return None
        data, gamma, beta, mean, var = inputs
        channels = types[mean.node][mean.index]
        taken = _made("_batch_statistics", node, (data, mean, var),
                      {"eps": attrs["eps"], "momentum": attrs["momentum"]}, (channels, channels), types)  # fmt: skip
        return Value(_made("_normalise", node, (data, gamma, beta, Value(taken, 0), Value(taken, 1)),
                           {"eps": attrs["eps"], "fix_gamma": attrs["fix_gamma"]}, (kind,), types))  # fmt: skip

    return rebuild(program, visit)


def _moving(program: Program, effects: int) -> Program:
    """Let the effect of a BatchNorm be that of its statistics: nothing else of it has to run."""
    outputs = list(program.outputs)
    for index in range(len(outputs) - effects, len(outputs)):
        value = outputs[index]
        if value is not None and is_operator(value.node, "_normalise"):
            outputs[index] = Value(value.node.inputs[3].node)
    return Program(tuple(outputs), program.types, program.training, program.constants)


def _alone(value: Value, uses: Counter[Value]) -> bool:
    """Whether a value is a plain `_normalise` that is used once."""
    node = value.node
    return is_operator(node, "_normalise") and not node.attrs["relu"] and uses[value] == 1


def with_addition(program: Program) -> Program:
    """Let a `_normalise` that nobody else reads take along the addition that follows it."""
    uses = uses_of(program)

    def visit(node: Node, inputs: tuple[Value, ...], types: Growing) -> Value | None:
        if not is_operator(node, "elemwise_add", "broadcast_add", "_plus") or len(inputs) != 2:
            return None
        ends = [k for k in (0, 1) if _alone(node.inputs[k], uses) and not node.inputs[k].node.attrs["added"]
                and _alone_now(inputs[k])]  # fmt: skip
        kinds = [types[v.node][v.index] for v in inputs]
        if not ends or kinds[0] != kinds[1]:
            return None
        main = max(ends, key=lambda k: inputs[k].node.serial)  # the one that is computed last
        norm = inputs[main].node
        return Value(_made("_normalise", norm, (*norm.inputs, inputs[1 - main]), {**norm.attrs, "added": True},
                           types[norm], types))  # fmt: skip

    return rebuild(program, visit)


def _alone_now(value: Value) -> bool:
    return is_operator(value.node, "_normalise") and not value.node.attrs["added"]


def with_relu(program: Program) -> Program:
    """Let a `_normalise` that nobody else reads take along the ReLU that follows it."""
    uses = uses_of(program)

    def visit(node: Node, inputs: tuple[Value, ...], types: Growing) -> Value | None:
        rectifies = is_operator(node, "relu") or is_operator(node, "Activation") and node.attrs["act_type"] == "relu"
        if not rectifies or not _alone(node.inputs[0], uses):
            return None
        norm = inputs[0].node
        return Value(_made("_normalise", norm, norm.inputs, {**norm.attrs, "relu": True}, types[norm], types))

    return rebuild(program, visit)
