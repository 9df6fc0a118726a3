"""RNN, LSTM and GRU: the fused recurrent operator as ONNX's own, layer by layer.

The one idea: the weights stay the network's parameters; what ONNX wants otherwise (gates in another order, directions
stacked) is written as Split and Concat of the weights, which a runtime computes once. Gates: LSTM i f c o becomes i o
f c, GRU r z n becomes z r n with the reset behind the product. Where the parameters come as one packed vector it is
cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...ops.rnn_parameters import direction_count, parameter_shapes
from ..call import Call, Refused, rule

_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn_tanh": (0,), "rnn_relu": (0,)}
_KIND = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}


class _Direction(NamedTuple):
    """The parameters of one direction of one layer."""

    inputs: str
    hidden: str
    input_bias: str
    hidden_bias: str


def _pieces(c: Call) -> list[str]:
    """The weights and biases in the order of the packed vector, each in its own shape."""
    shapes = parameter_shapes(c.attrs, c.size(2))
    sizes = [int(np.prod(shape)) for shape in shapes]
    parts = c.ops("Split", c.ins[1], c.ints(*sizes), outputs=len(sizes), axis=0)
    return [c.op("Reshape", part, c.ints(*shape)) if len(shape) > 1 else part for part, shape in zip(parts, shapes)]


def _directions(c: Call, pieces: Sequence[str]) -> list[_Direction]:
    count = c["num_layers"] * direction_count(c.attrs)
    weights, biases = pieces[: 2 * count], pieces[2 * count :]
    return [_Direction(*weights[2 * i : 2 * i + 2], *biases[2 * i : 2 * i + 2]) for i in range(count)]


def _ordered(c: Call, weight: str) -> str:
    """A weight or bias with its gates in ONNX's order."""
    order = _ORDER[c["mode"]]
    if len(order) == 1:
        return weight
    gates = c.ops("Split", weight, outputs=len(order), axis=0, num_outputs=len(order))
    return c.op("Concat", *(gates[i] for i in order), axis=0)


def _stacked(c: Call, values: Sequence[str]) -> str:
    """Arrays of the directions along a new first axis."""
    raised = [c.op("Unsqueeze", value, c.ints(0)) for value in values]
    return raised[0] if len(raised) == 1 else c.op("Concat", *raised, axis=0)


@rule("RNN")
def _rnn(c: Call) -> Sequence[str]:
    mode, layers, count = c["mode"], c["num_layers"], direction_count(c.attrs)
    if c["projection_size"]:
        raise Refused("ONNX's LSTM has no projection")
    if c["lstm_state_clip_min"] is not None or c["lstm_state_clip_max"] is not None:
        raise Refused("the cell state is clipped, which ONNX's LSTM cannot do")
    lengths = ""
    if c["use_sequence_length"]:
        lengths = c.cast(c.ins[-1], "int32", c.dtype(len(c.ins) - 1))
    directions = _directions(c, _pieces(c))
    flow, hidden, cells = c.x, [], []
    for layer in range(layers):
        here = directions[layer * count : (layer + 1) * count]
        w = _stacked(c, [_ordered(c, d.inputs) for d in here])
        r = _stacked(c, [_ordered(c, d.hidden) for d in here])
        b = _stacked(c, [c.op("Concat", _ordered(c, d.input_bias), _ordered(c, d.hidden_bias), axis=0) for d in here])
        states = [c.slice(state, 0, layer * count, (layer + 1) * count) if layers > 1 else state
                  for state in c.ins[2 : 4 if mode == "lstm" else 3]]
        given = {"hidden_size": c["state_size"], "direction": "bidirectional" if count == 2 else "forward",
                 "linear_before_reset": 1 if mode == "gru" else None,
                 "activations": [mode[4:].capitalize()] * count if mode.startswith("rnn") else None}
        found = c.ops(_KIND[mode], flow, w, r, b, lengths, *states, outputs=3 if mode == "lstm" else 2, **given)
        hidden.append(found[1])
        cells.extend(found[2:])
        joined = c.op("Transpose", found[0], perm=[0, 2, 1, 3])  # (T, N, directions, H)
        flow = c.op("Reshape", joined, c.ints(0, 0, -1))
    results = [flow]
    if c["state_outputs"]:
        results += [_joined(c, part) for part in ((hidden, cells) if mode == "lstm" else (hidden,))]
    return results


def _joined(c: Call, states: Sequence[str]) -> str:
    return states[0] if len(states) == 1 else c.op("Concat", *states, axis=0)
