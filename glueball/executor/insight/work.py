"""What steps of a plan cost by count: floating-point operations, bytes read and written, and what kind of step it is.

The one idea: products and convolutions are counted exactly (two operations per multiplication), everything else as one
operation per element and function; bytes are those of a step's operands and results, once each. Views cost nothing.

Not here: how long it takes (clock.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, TypeAlias

from ...ops.opdef import TensorType
from ...symbol.graph import Node, Value
from ..jit.region import Region
from ..jit.units import Copy, Kernel, Pack, Product, Stored, Unit
from ..native import expression as e

__all__ = ["KINDS", "kind_of", "bytes_of", "flops_of", "moved_by", "unit_work"]

Types: TypeAlias = Mapping[Node, "tuple[TensorType, ...]"]

KINDS = {
    "region": "machine code made for this network",
    "library": "a library's kernel for products, convolutions, pooling",
    "native": "machine code made for one layer",
    "copy": "moves numbers, computes nothing",
    "view": "the same numbers seen otherwise, free",
    "call": "another kernel of ATen",
}
"""Kinds of steps, and what they are."""

_LIBRARY = frozenset({"FullyConnected", "dot", "batch_dot", "Convolution", "Deconvolution", "_convolution_backward",
                      "_linear_backward_data", "_linear_backward_weight", "Pooling", "_pooling_backward", "RNN",
                      "BatchNorm", "_batch_norm_backward", "Embedding", "linalg_gemm", "linalg_gemm2",
                      "_finished_convolution", "_added_convolution", "_pointwise_backward"})  # fmt: skip
_NATIVE = frozenset({"_normalise", "_normalise_backward", "_batch_statistics", "_winograd_weight",
                     "_winograd_convolution", "_winograd_weight_gradient"})  # fmt: skip
_COPY = frozenset({"transpose", "Concat", "stack", "SwapAxis", "tile", "repeat", "Pad", "Cast", "_memory_format",
                   "_copy", "broadcast_to", "broadcast_axis", "broadcast_like", "reverse", "zeros_like",
                   "ones_like", "_subsample", "_spread"})  # fmt: skip
_VIEWS = frozenset({"Reshape", "_reshape_to", "Flatten", "expand_dims", "squeeze", "reshape_like", "BlockGrad"})


def kind_of(node: Node) -> str:
    """Return which of `KINDS` a step outside of regions is."""
    assert node.op is not None  # variables are not run
    name = str(node.attrs["op"]) if node.op.name == "_vjp" else node.op.name
    for kind, names in (("view", _VIEWS), ("library", _LIBRARY), ("native", _NATIVE), ("copy", _COPY)):
        if name in names:
            return kind
    return "call" if node.op.view is None else "view"


def _shape(kind: TensorType) -> tuple[int, ...]:
    return tuple(size or 0 for size in kind.shape or ())


def bytes_of(value: Value, types: Types) -> int:
    """Return the bytes of a value; 0 where its size is not known."""
    kind = types[value.node][value.index]
    return prod(_shape(kind)) * kind.dtype.itemsize if kind.known else 0


def moved_by(node: Node, types: Types) -> int:
    """Return the bytes that a step reads and writes."""
    if kind_of(node) == "view":
        return 0
    results = (Value(node, index) for index in range(node.num_outputs))
    return sum(bytes_of(value, types) for value in (*node.inputs, *results))


def flops_of(node: Node, types: Types) -> int:
    """Return the floating-point operations of a node.

    >>> from glueball import sym
    >>> from glueball.ops.opdef import TensorType
    >>> from glueball.symbol.infer import infer
    >>> import torch
    >>> out = sym.FullyConnected(sym.Variable("x"), num_hidden=10, no_bias=True)
    >>> (x,) = [value.node for value in out._outputs[0].node.inputs if value.node.name == "x"]
    >>> types = infer(out._outputs, {x: TensorType((32, 20), torch.float32)}, False)
    >>> flops_of(out._outputs[0].node, types)
    12800
    """
    assert node.op is not None  # variables are not run
    if kind_of(node) in ("view", "copy"):
        return 0
    ins = [_shape(types[value.node][value.index]) for value in node.inputs]
    outs = [_shape(kind) for kind in types[node]]
    if node.op.name == "_vjp":  # (inputs, gradients of the results) -> gradients of some inputs
        count = len(node.attrs["inputs"])
        attrs = dict(node.attrs["op_attrs"])
        once = _product(str(node.attrs["op"]), ins[:count], ins[count], attrs)
        return max(map(prod, ins)) if once is None else once * len(node.attrs["wrt"])
    found = _product(node.op.name, ins, outs[0], node.attrs)
    return max((prod(shape) for shape in (*ins, *outs)), default=0) if found is None else found


def _product(name: str, ins: Sequence[tuple[int, ...]], out: tuple[int, ...], attrs: Mapping[str, Any]) -> int | None:
    """Return the operations of products of matrices; None for everything else."""
    if name in ("FullyConnected", "_linear_backward_data"):
        return 2 * prod(out) * (ins[1][-1] if name == "FullyConnected" else ins[1][0])
    if name == "_linear_backward_weight":
        return 2 * prod(ins[0]) * out[-1]
    if name in ("dot", "batch_dot") and len(ins[0]) > 1:
        left, turned = ins[0], bool(attrs.get("transpose_a"))
        return 2 * prod(out) * (left[-1] if not turned else left[-2] if name == "batch_dot" else left[0])
    if name in ("Convolution", "_finished_convolution"):
        return 2 * prod(out) * prod(ins[1][1:])
    if name == "_winograd_convolution":  # what the plain sum has: rates can then be compared
        return 18 * prod(out) * prod(ins[0][1:2])
    if name == "_winograd_weight_gradient":
        return 18 * prod(ins[0]) * prod(ins[1][1:2])
    if name == "_pointwise_backward":
        return 2 * prod(ins[0]) * prod(ins[2][1:]) * sum(map(bool, attrs["output_mask"]))
    if name == "_added_convolution":
        return 2 * prod(out) * prod(ins[2][1:])
    if name == "Deconvolution":
        return 2 * prod(ins[0]) * prod(ins[1][1:])
    if name == "_convolution_backward":
        wanted = sum(map(bool, attrs["output_mask"][:2]))
        return 2 * prod(ins[1] if attrs["transposed"] else ins[0]) * prod(ins[2][1:]) * wanted
    if name == "RNN":  # every weight once per step and sample
        return 2 * prod(ins[0][:2]) * prod(ins[1])
    return None


def unit_work(region: Region, unit: Unit) -> tuple[int, int]:
    """Return the floating-point operations of a region's unit, and the bytes that it reads and writes."""
    size = region.dtype.itemsize
    if isinstance(unit, Product):
        factors = unit.m * unit.k + unit.k * unit.n + unit.m * unit.n
        return 2 * unit.count * unit.m * unit.n * unit.k, unit.count * factors * size
    if isinstance(unit, Pack):
        return 0, 2 * unit.depth * unit.columns * size
    if isinstance(unit, Copy):
        return 0, 2 * prod(count for count, *_ in unit.axes) * size
    if not isinstance(unit, Kernel):
        return 0, size
    results: list[tuple[e.Expr, Stored]] = [*unit.outputs, *unit.row_outputs, *unit.sums]
    work = [x for x in e.topological([x for x, _ in results]) if x.op not in ("input", "constant", *e.POSITIONS)]
    lengths = {"full": unit.size, "row": unit.size // unit.rows, "column": unit.rows, "one": 1}
    read = sum(lengths[kind] for *_, kind in unit.inputs)
    return (len(work) + len(unit.sums)) * unit.size, size * (read + sum(s.rows * s.columns for _, s in results))
