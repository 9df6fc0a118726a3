"""LSTM, GRU and RNN as our fused recurrent operator.

The one idea: ONNX's weights stay the parameters; the packed vector that our operator takes is written as a
concatenation of their parts with the gates in our order, so gradients reach the weights as the file has them. What the
operator lacks (peepholes, clipping, other activations, a GRU with the reset before the product) is done step by step,
in cells.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..held import Held, Refused
from ..node import Step, reads
from .cells import unrolled

_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}  # ours from theirs: i o f c -> i f c o, z r n -> r z n
_DEFAULT = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


@reads("LSTM", "GRU", "RNN")
def _recurrent(s: Step) -> Sequence[Held]:
    mode, directions, hidden, names = _checked(s)
    turned = s.get("layout", 0)
    x = s.call("SwapAxis", s.x, dim1=0, dim2=1) if turned else s.x
    if x.rank != 3:
        raise Refused(f"its data have {x.rank} axes and not 3")
    states = [_state(s, x, index, directions, hidden, turned) for index in ((5, 6) if s.kind == "LSTM" else (5,))]
    if mode is None:
        way = s.get("direction", "forward")
        output, last = unrolled(s, x, names, hidden, states, [way == "reverse", True][:directions])
        output = s.call("transpose", output, axes=(2, 0, 1, 3)) if turned else output
        return [output, *(s.call("SwapAxis", state, dim1=0, dim2=1) if turned else state for state in last)]
    if s.get("direction", "forward") == "reverse":
        x = _turned(s, x)
    lengths = s.maybe(4)
    found = s.calls("RNN", x, _packed(s, directions, hidden), states[0], states[1] if len(states) > 1 else None,
                    None if lengths is None else s.cast(lengths, "int32"), mode=mode, state_size=hidden, num_layers=1,
                    bidirectional=directions == 2, state_outputs=True, use_sequence_length=lengths is not None)
    output, last = found[0], list(found[1:])
    if s.get("direction", "forward") == "reverse":
        output = _turned(s, output)
    split = [(t, n, directions, w // directions) for t, n, w in output.shapes]
    output = s.reshape(output, split)
    output = s.call("transpose", output, axes=(1, 0, 2, 3) if turned else (0, 2, 1, 3))
    return [output, *(s.call("SwapAxis", state, dim1=0, dim2=1) if turned else state for state in last)]


def _turned(s: Step, x: Held) -> Held:
    """Back to front, each sequence within its length."""
    lengths = s.maybe(4)
    if lengths is None:
        return s.call("reverse", x, axis=(0,))
    return s.call("SequenceReverse", x, s.cast(lengths, "float32"), use_sequence_length=True)


def _checked(s: Step) -> tuple[str | None, int, int, list[str]]:
    """Our mode (None where our operator has not got it), the numbers of directions and hidden units, activations."""
    directions = 2 if s.get("direction", "forward") == "bidirectional" else 1
    given = s.attrs.get("activations") or _DEFAULT[s.kind] * directions
    names = [str(name).capitalize() for name in given]
    mode = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn_tanh"}[s.kind]
    if s.kind == "RNN" and names == ["Relu"] * directions:
        mode = "rnn_relu"
    elif names != _DEFAULT[s.kind] * directions:
        mode = None
    if s.attrs.get("clip") or s.get("input_forget", 0) or s.maybe(7) is not None:
        mode = None
    if s.kind == "GRU" and not s.get("linear_before_reset", 0):
        mode = None
    if s.input(2).rank != 3:
        raise Refused("its weights do not have three axes")
    hidden = s.input(2).size(2)
    if s.input(1).rank != 3 or s.input(2).rank != 3 or s.input(1).size(0) != directions:
        raise Refused("its weights do not fit its directions")
    if len(names) != len(_DEFAULT[s.kind]) * directions:
        raise Refused(f"{len(names)} activations do not fit its directions")
    return mode, directions, hidden, names


def _part(s: Step, weights: Held, direction: int, begin: int, end: int) -> Held:
    """Rows of one direction's weights, flat."""
    found = s.call("slice", weights, begin=(direction, begin), end=(direction + 1, end))
    return s.reshape(found, (math.prod(found.shape),))


def _packed(s: Step, directions: int, hidden: int) -> Held:
    """All parameters as the vector that our operator takes: weights of each direction, then biases."""
    order, parts = _ORDER[s.kind], list[Held]()
    for direction in range(directions):
        for weights in (s.input(1), s.input(2)):
            parts += [_part(s, weights, direction, g * hidden, (g + 1) * hidden) for g in order]
    bias, width = s.maybe(3), len(order) * hidden
    for direction in range(directions):
        for half in (0, width):
            if bias is None:
                parts.append(s.call("_zeros", shape=(width,), dtype=s.x.dtype))
            else:
                parts += [_part(s, bias, direction, half + g * hidden, half + (g + 1) * hidden) for g in order]
    return s.call("Concat", *parts, dim=0)


def _state(s: Step, x: Held, index: int, directions: int, hidden: int, turned: int) -> Held:
    """A first state: given, or zeros of the batch's size."""
    state = s.maybe(index)
    if state is not None and not _nothing(state):
        return s.call("SwapAxis", state, dim1=0, dim2=1) if turned else state
    if len(set(x.shapes)) == 1:
        return s.call("_zeros", shape=(directions, x.size(1), hidden), dtype=x.dtype)
    row = s.call("slice_axis", s.call("slice_axis", x, axis=0, begin=0, end=1), axis=2, begin=0, end=1)
    return s.call("tile", s.call("zeros_like", row), reps=(directions, 1, hidden))


def _nothing(state: Held) -> bool:
    return state.fixed and state.known is not None and not any(row.any() for row in state.known)
