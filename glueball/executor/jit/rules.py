"""What operators become in a region: a row per operator, `accepts` (does this node fit?) and `lower` (add it).

The one idea: element-wise operators come from native/operators.py as they are; here are the few that do more: products,
reductions over rows, sums down rows, shapes, parts and wholes. An operator that is not listed, or a node that a row
does not accept (another axis, another type), is left to ATen by partition.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import NamedTuple, TypeAlias

from ...ops.opdef import TensorType
from ...symbol.graph import Node, Value
from ..native import expression as e
from ..native.derivative import gradients
from ..native.dropout import decided
from ..native.expression import Expr
from ..native.memory import MEMORY
from ..native.operators import EXPRESSIONS
from .build import Builder
from .rewrite import substitute
from .strides import Strided
from .units import Computed, Constant, Kind, Shape, Stored, arrange
from .update import lower_update

__all__ = ["RULES", "Rule", "accepted"]

_LABELS = {"_class_likelihood": 1, "_class_likelihood_backward": 1, "_dropped": 1}  # inputs that may be of any type

Types: TypeAlias = Mapping[Node, "tuple[TensorType, ...]"]


class Rule(NamedTuple):
    """accepts(node, shapes of inputs, shapes of outputs) -> whether it fits; lower(builder, node) adds it."""

    accepts: Callable[[Node, Sequence[Shape], Sequence[Shape]], bool]
    lower: Callable[[Builder, Node], None]


def accepted(node: Node, types: Types) -> bool:
    """Return whether a node can be part of a region: known sizes, none of them 0, one type throughout."""
    rule = RULES.get(node.op.name) if node.op is not None else None
    if rule is None:
        return False
    ins = [types[v.node][v.index] for v in node.inputs]
    outs = types[node]
    if not all(kind.known for kind in (*ins, *outs)) or any(0 in (kind.shape or ()) for kind in (*ins, *outs)):
        return False
    label = _LABELS.get(node.op.name if node.op is not None else "")
    if len({kind.dtype for place, kind in enumerate(ins) if place != label} | {kind.dtype for kind in outs}) != 1:
        return False
    if label is not None and str(ins[label].dtype).removeprefix("torch.") not in MEMORY:
        return False
    shapes = [[tuple(size or 0 for size in kind.shape or ()) for kind in kinds] for kinds in (ins, outs)]
    return rule.accepts(node, *shapes)


# -- element by element ------------------------------------------------------------------------------------------------


def _element_accepts(node: Node, ins: Sequence[Shape], outs: Sequence[Shape]) -> bool:
    assert node.op is not None
    return (len(outs) == 1 and arrange(outs[0], list(ins)) is not None
            and EXPRESSIONS[node.op.name](node.attrs, *map(e.input, range(len(ins)))) is not None)  # fmt: skip


def _backward_accepts(node: Node, ins: Sequence[Shape], outs: Sequence[Shape]) -> bool:
    return len(ins) == 2 and node.attrs["act_type"] != "rrelu" and arrange(outs[0], list(ins)) is not None


def _leaky_backward(b: Builder, node: Node) -> None:
    """The derivative of the forward expression."""
    g, x = e.input(0), e.input(1)
    forward = EXPRESSIONS["LeakyReLU"](node.attrs, x)
    assert forward is not None  # every activation of one input is an expression
    (found,) = gradients([forward], [g], [1])
    b.compute(Value(node), node.inputs, lambda *given: substitute(found or e.constant(0.0), dict(enumerate(given))))


def _element_lower(b: Builder, node: Node) -> None:
    assert node.op is not None
    row = EXPRESSIONS[node.op.name]

    def function(*arguments: Expr) -> Expr:
        found = row(node.attrs, *arguments)
        assert found is not None  # accepted
        return found

    b.compute(Value(node), node.inputs, function)


_ELEMENT = Rule(_element_accepts, _element_lower)


def _dropped_accepts(node: Node, ins: Sequence[Shape], outs: Sequence[Shape]) -> bool:
    return not node.attrs["axes"] and prod(ins[0]) > 1 and node.attrs["p"] < 1


def _dropped(b: Builder, node: Node) -> None:
    """What a seed decides, by the element's place in the whole array: its kernel may have rows of any length."""
    data, seed = node.inputs
    needs: list[tuple[Value, Kind]] = [(data, "full"), (seed, "one")]
    kernel = b.kernel(prod(b.shape(data)), None, needs)
    x, number = (b.operand(kernel, value, kind) for value, kind in needs)
    p = float(node.attrs["p"])
    b.states[Value(node)] = Computed(kernel, decided(x, number, p, 1 / (1 - p)), "full")


# -- shapes ------------------------------------------------------------------------------------------------------------


def _same(b: Builder, node: Node) -> None:
    b.alias(Value(node), node.inputs[0])


_ALIAS = Rule(lambda node, ins, outs: prod(ins[0]) == prod(outs[0]), _same)


def _transpose_accepts(node: Node, ins: Sequence[Shape], outs: Sequence[Shape]) -> bool:
    """The last axis stays the last: runs of elements are moved, not single ones."""
    axes = _order(node, ins[0])
    return len(axes) > 2 and axes[-1] == len(axes) - 1


def _order(node: Node, shape: Shape) -> tuple[int, ...]:
    axes = node.attrs["axes"] or tuple(reversed(range(len(shape))))
    return tuple(axis % len(shape) for axis in axes)


def _transpose(b: Builder, node: Node) -> None:
    shape = b.shape(node.inputs[0])
    found = b.strided(node.inputs[0], shape)
    cut = found.cut(shape)
    assert cut is not None  # `strided` saw to it
    axes = tuple(axis for place in _order(node, shape) for axis in cut[place])
    b.states[Value(node)] = Strided(found.buffer, found.offset, axes, found.ready)


def _axis(node: Node, name: str, rank: int) -> int:
    axis = node.attrs[name]
    return axis + rank if axis < 0 else axis


def _cut(b: Builder, value: Value, out: Value, axis: int, begin: int, end: int) -> None:
    """Let `out` be a value's part from begin to end along an axis."""
    shape = b.shape(value)
    rows, inner = prod(shape[:axis]), prod(shape[axis + 1 :])
    width, wide = (end - begin) * inner, shape[axis] * inner
    state = b.state(value)
    if isinstance(state, Computed) and rows > 1 and state.kind == "full" and state.kernel.columns in (None, wide):
        narrow = b.narrowed(out, state, begin * inner, width, wide)
        if narrow is not None:
            b.states[out] = narrow
            return
    source = b.whole(value, wide)
    if rows == 1:
        b.states[out] = Stored(source.buffer, source.offset + begin * inner, 1, width, width, source.ready)
    else:
        b.states[out] = Stored(source.buffer, source.offset + begin * inner, rows, width, source.stride, source.ready)


def _split(b: Builder, node: Node) -> None:
    value = node.inputs[0]
    axis = _axis(node, "axis", len(b.shape(value)))
    size = b.shape(value)[axis] // node.attrs["num_outputs"]
    for index in range(node.num_outputs):
        _cut(b, value, Value(node, index), axis, index * size, (index + 1) * size)


def _slice(b: Builder, node: Node) -> None:
    value = node.inputs[0]
    shape = b.shape(value)
    axis = _axis(node, "axis", len(shape))
    begin, end, _ = slice(node.attrs["begin"], node.attrs["end"]).indices(shape[axis])
    _cut(b, value, Value(node), axis, begin, end)


def parts_of(node: Node, shapes: Sequence[Shape]) -> list[tuple[int, int, int]]:
    """Return where each input of Concat or stack lies in the result: offset, columns, stride (0: in one piece)."""
    assert node.op is not None
    stacked = node.op.name == "stack"
    axis = _axis(node, "axis" if stacked else "dim", len(shapes[0]) + stacked)
    rows = prod(shapes[0][:axis])
    widths = [prod(shape[axis:]) for shape in shapes]
    found, offset = [], 0
    for width in widths:
        found.append((offset, width, sum(widths) if rows > 1 else 0))
        offset += width
    return found


def _join(b: Builder, node: Node) -> None:
    out = Value(node)
    whole = b.outer(out)
    ready = -1
    for value, (offset, columns, stride) in zip(node.inputs, parts_of(node, [b.shape(v) for v in node.inputs])):
        state = b.state(value)
        if not isinstance(state, Stored) and b.places.get(value, (None,))[0] == out:
            state = b.stored(value)  # its kernel writes it into the whole
        spot = (whole.buffer, whole.offset + offset)
        second = None if isinstance(state, Stored) else b.also(value, *spot, columns, stride)
        if second is not None:
            state = second
        elif not isinstance(state, Stored) or (state.buffer, state.offset) != spot:
            computed = b.load(b.stored(value) if stride == 0 else b.whole(value, columns))
            if stride:
                computed.kernel.columns = columns
            rows = computed.kernel.size // columns
            state = Stored(*spot, rows, columns, stride or columns, computed.kernel.number)
            computed.kernel.outputs.append((computed.expression, state))
        ready = max(ready, state.ready)
    size = prod(b.shape(out))
    b.states[out] = Stored(whole.buffer, whole.offset, 1, size, size, ready)


# -- products ----------------------------------------------------------------------------------------------------------


def _dense(b: Builder, node: Node) -> None:
    """data · weightᵀ + bias"""
    data, weight = node.inputs[:2]
    n, k = b.shape(weight)
    m = prod(b.shape(data)) // k
    out = Value(node)
    left, right = b.whole(data, k), b.together(weight)
    if len(node.inputs) < 3:
        b.product(out, left, right.as_rows(k) or right, (m, n, k), (False, True))
        return
    before = Value(node, -1)  # the product alone, which is no value of the graph
    b.product(before, left, right.as_rows(k) or right, (m, n, k), (False, True))
    kernel, (x, bias) = b.over_rows([(before, "full"), (node.inputs[2], "row")], m * n, n)
    b.states[out] = Computed(kernel, x + bias, "full")


def _dense_data(b: Builder, node: Node) -> None:
    """grad · weight"""
    grad, weight = node.inputs
    k, n = b.shape(weight)
    m = prod(b.shape(grad)) // k
    b.product(Value(node), b.whole(grad, k), b.whole(weight, n), (m, n, k), (False, False))


def _dense_weight(b: Builder, node: Node) -> None:
    """gradᵀ · data"""
    grad, data = node.inputs
    m, n = b.shape(Value(node))
    k = prod(b.shape(grad)) // m
    b.product(Value(node), b.whole(grad, m), b.whole(data, n), (m, n, k), (True, False))


def _dense_bias(b: Builder, node: Node) -> None:
    """Sums down the rows of grad"""
    b.sum_down(Value(node), node.inputs[0], b.shape(node.inputs[0])[-1])


def _batch_dot(b: Builder, node: Node) -> None:
    left, right = node.inputs
    b.products(Value(node), left, right, (bool(node.attrs["transpose_a"]), bool(node.attrs["transpose_b"])))


def _dot(b: Builder, node: Node) -> None:
    left, right = node.inputs
    m, n = b.shape(Value(node))
    turned = bool(node.attrs["transpose_a"]), bool(node.attrs["transpose_b"])
    k = b.shape(left)[0 if turned[0] else 1]
    a, c = b.whole(left, b.shape(left)[1]), b.whole(right, b.shape(right)[1])
    b.product(Value(node), a, c, (m, n, k), turned)


# -- rows --------------------------------------------------------------------------------------------------------------


def _last_axis(name: str) -> Callable[[Node, Sequence[Shape], Sequence[Shape]], bool]:
    def accepts(node: Node, ins: Sequence[Shape], outs: Sequence[Shape]) -> bool:
        axis = node.attrs[name]
        return isinstance(axis, int) and axis in (-1, len(ins[0]) - 1) and len(ins[0]) > 0

    return accepts


def _softmax_accepts(node: Node, ins: Sequence[Shape], outs: Sequence[Shape]) -> bool:
    attrs = node.attrs
    return (len(ins) == 1 and _last_axis("axis")(node, ins, outs) and attrs["temperature"] in (None, 1.0)
            and attrs["dtype"] is None)  # fmt: skip


def _softmax(logarithm: bool) -> Callable[[Builder, Node], None]:
    def lower(b: Builder, node: Node) -> None:
        shape = b.shape(node.inputs[0])
        kernel, (x,) = b.over_rows([(node.inputs[0], "full")], prod(shape), shape[-1])
        moved = x - e.peak(x)
        power = e.exp(moved)
        result = moved - e.log(e.total(power)) if logarithm else power / e.total(power)
        b.states[Value(node)] = Computed(kernel, result, "full")

    return lower


def _softmax_backward(logarithm: bool) -> Callable[[Builder, Node], None]:
    def lower(b: Builder, node: Node) -> None:
        grad, out = node.inputs
        shape = b.shape(out)
        kernel, (g, y) = b.over_rows([(grad, "full"), (out, "full")], prod(shape), shape[-1])
        result = g - e.exp(y) * e.total(g) if logarithm else y * (g - e.total(g * y))
        b.states[Value(node)] = Computed(kernel, result * float(node.attrs["scale"]), "full")

    return lower


def _likelihood_accepts(node: Node, ins: Sequence[Shape], outs: Sequence[Shape]) -> bool:
    """Two axes, and a label per row; what does not fit is left to the kernel, which says so."""
    return len(ins[0]) == 2 and prod(ins[1]) == ins[0][0]


def _likelihood_backward_accepts(node: Node, ins: Sequence[Shape], outs: Sequence[Shape]) -> bool:
    return len(ins[2]) == 2 and prod(ins[0]) == prod(ins[1]) == ins[2][0]


def _likelihood(b: Builder, node: Node) -> None:
    data, label = node.inputs
    size, classes = prod(b.shape(data)), b.shape(data)[1]
    kernel, (x, raw) = b.over_rows([(data, "full"), (label, "column")], size, classes)
    wanted = e.trunc(raw)
    inside = e.select("lt", wanted, float(classes), 1.0, 0.0) * e.select("le", 0.0, wanted, 1.0, 0.0)
    b.guard(node, kernel, 1.0 - inside)
    moved = x - e.peak(x)
    logs = moved - e.log(e.total(e.exp(moved)))
    picked = e.total(e.select("eq", e.column_index(), wanted, logs, 0.0))
    b.states[Value(node, 0)] = Computed(kernel, -picked, "column")
    b.states[Value(node, 1)] = Computed(kernel, logs, "full")


def _likelihood_backward(b: Builder, node: Node) -> None:
    grad, label, logarithms = node.inputs
    size, classes = prod(b.shape(logarithms)), b.shape(logarithms)[1]
    needs: list[tuple[Value, Kind]] = [(grad, "column"), (label, "column"), (logarithms, "full")]
    kernel, (g, raw, logs) = b.over_rows(needs, size, classes)
    hot = e.select("eq", e.column_index(), e.trunc(raw), 1.0, 0.0)
    b.states[Value(node)] = Computed(kernel, g * (e.exp(logs) - hot), "full")


def _layer_norm_accepts(node: Node, ins: Sequence[Shape], outs: Sequence[Shape]) -> bool:
    return _last_axis("axis")(node, ins, outs) and len(ins) == 3 and not node.attrs["output_mean_var"]


def _layer_norm(b: Builder, node: Node) -> None:
    shape = b.shape(node.inputs[0])
    needs: list[tuple[Value, Kind]] = [(node.inputs[0], "full"), (node.inputs[1], "row"), (node.inputs[2], "row")]
    kernel, (x, gamma, beta) = b.over_rows(needs, prod(shape), shape[-1])
    mean = e.total(x) * (1.0 / shape[-1])
    moved = x - mean
    variance = e.total(moved * moved) * (1.0 / shape[-1])
    scale = e.rsqrt(variance + float(node.attrs["eps"]))
    b.states[Value(node, 0)] = Computed(kernel, moved * scale * gamma + beta, "full")
    b.states[Value(node, 1)] = Computed(kernel, mean, "column")
    b.states[Value(node, 2)] = Computed(kernel, scale, "column")


def _layer_norm_backward_accepts(node: Node, ins: Sequence[Shape], outs: Sequence[Shape]) -> bool:
    return _last_axis("axis")(node, ins, outs) and not node.attrs["inverted"]


def _layer_norm_backward(b: Builder, node: Node) -> None:
    grad, data, gamma, mean, spread = node.inputs
    shape = b.shape(data)
    needs: list[tuple[Value, Kind]] = [(grad, "full"), (data, "full"), (gamma, "row"), (mean, "column"),
                                       (spread, "column")]  # fmt: skip
    kernel, (g, x, gain, middle, scale) = b.over_rows(needs, prod(shape), shape[-1])
    hat, scaled = (x - middle) * scale, g * gain
    share = 1.0 / shape[-1]
    back = scale * (scaled - e.total(scaled) * share - hat * (e.total(scaled * hat) * share))
    b.states[Value(node, 0)] = Computed(kernel, back, "full")
    b.states[Value(node, 1)] = b.add_sum(kernel, g * hat, shape[-1])
    b.states[Value(node, 2)] = b.add_sum(kernel, g, shape[-1])


def _mean_accepts(node: Node, ins: Sequence[Shape], outs: Sequence[Shape]) -> bool:
    """Means and sums over the last axes, or over axes of one element."""
    return _reduced(node, ins[0]) is not None


def _reduced(node: Node, shape: Shape) -> int | None:
    """Return how many elements are reduced to one, when they lie together."""
    axes = node.attrs["axis"]
    rank = len(shape)
    chosen = set(range(rank)) if axes is None or axes == () else {a % rank for a in (
        axes if isinstance(axes, (tuple, list)) else (axes,))}  # fmt: skip
    if node.attrs["exclude"]:
        chosen = set(range(rank)) - chosen
    real = [a for a in range(rank) if shape[a] != 1]
    reduced = [a for a in real if a in chosen]
    if reduced and reduced != real[len(real) - len(reduced) :]:
        return None
    return prod(shape[a] for a in reduced)


def _reduce(mean: bool) -> Callable[[Builder, Node], None]:
    def lower(b: Builder, node: Node) -> None:
        value = node.inputs[0]
        shape = b.shape(value)
        columns = _reduced(node, shape)
        assert columns is not None  # accepted
        if columns == 1:
            b.alias(Value(node), value)
            return
        kernel, (x,) = b.over_rows([(value, "full")], prod(shape), columns)
        total = e.total(x)
        b.states[Value(node)] = Computed(kernel, total * (1.0 / columns) if mean else total, "column")

    return lower


# -- constants ---------------------------------------------------------------------------------------------------------


def _constant(number: float) -> Callable[[Builder, Node], None]:
    def lower(b: Builder, node: Node) -> None:
        b.states[Value(node)] = Constant(number)

    return lower


def _always(node: Node, ins: Sequence[Shape], outs: Sequence[Shape]) -> bool:
    return True


def _two_axes(node: Node, ins: Sequence[Shape], outs: Sequence[Shape]) -> bool:
    return all(len(shape) == 2 for shape in (*ins, *outs))


RULES: dict[str, Rule] = {
    **dict.fromkeys(EXPRESSIONS, _ELEMENT),
    **dict.fromkeys(("Reshape", "_reshape_to", "Flatten", "expand_dims", "squeeze", "_copy", "reshape_like"), _ALIAS),
    "_leaky_relu_backward": Rule(_backward_accepts, _leaky_backward),
    "_dropped": Rule(_dropped_accepts, _dropped),
    "transpose": Rule(_transpose_accepts, _transpose),
    "SliceChannel": Rule(_always, _split),
    "slice_axis": Rule(_always, _slice),
    "Concat": Rule(_always, _join),
    "stack": Rule(_always, _join),
    "FullyConnected": Rule(_always, _dense),
    "_linear_backward_data": Rule(_always, _dense_data),
    "_linear_backward_weight": Rule(_always, _dense_weight),
    "_linear_backward_bias": Rule(_always, _dense_bias),
    "batch_dot": Rule(_always, _batch_dot),
    "dot": Rule(_two_axes, _dot),
    "softmax": Rule(_softmax_accepts, _softmax(False)),
    "log_softmax": Rule(_softmax_accepts, _softmax(True)),
    "_softmax_backward": Rule(_last_axis("axis"), _softmax_backward(False)),
    "_log_softmax_backward": Rule(_last_axis("axis"), _softmax_backward(True)),
    "_class_likelihood": Rule(_likelihood_accepts, _likelihood),
    "_class_likelihood_backward": Rule(_likelihood_backward_accepts, _likelihood_backward),
    "LayerNorm": Rule(_layer_norm_accepts, _layer_norm),
    "_layer_norm_backward": Rule(_layer_norm_backward_accepts, _layer_norm_backward),
    "sum": Rule(_mean_accepts, _reduce(False)),
    "mean": Rule(_mean_accepts, _reduce(True)),
    "_update": Rule(_always, lower_update),
    "zeros_like": Rule(_always, _constant(0.0)),
    "ones_like": Rule(_always, _constant(1.0)),
}
"""Operator name -> its row."""
