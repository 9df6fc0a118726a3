"""Recurrent layers step by step, for what the fused operator has not: a reset before the product, peepholes, clipping,
other activations.

The one idea: ONNX's equations, one step at a time, in operators of our table. The number of steps must be known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..held import Held, Refused
from ..node import Step

_DEFAULTS = {"Affine": (1.0, 0.0), "Leakyrelu": (0.01, 0.0), "Thresholdedrelu": (1.0, 0.0), "Scaledtanh": (1.0, 1.0),
             "Hardsigmoid": (0.2, 0.5), "Elu": (1.0, 0.0)}


def activation(s: Step, name: str, alpha: float | None, beta: float | None) -> Callable[[Held], Held]:
    """Return a gate's function."""
    first, second = _DEFAULTS.get(name, (0.0, 0.0))
    a, b = first if alpha is None else alpha, second if beta is None else beta
    table: dict[str, Callable[[Held], Held]] = {
        "Sigmoid": lambda x: s.call("sigmoid", x),
        "Tanh": lambda x: s.call("tanh", x),
        "Relu": lambda x: s.call("relu", x),
        "Softsign": lambda x: s.call("softsign", x),
        "Softplus": lambda x: s.call("Activation", x, act_type="softrelu"),
        "Affine": lambda x: s.call("_plus_scalar", s.scaled(x, a), scalar=b),
        "Leakyrelu": lambda x: s.call("LeakyReLU", x, act_type="leaky", slope=a),
        "Elu": lambda x: s.call("LeakyReLU", x, act_type="elu", slope=a),
        "Scaledtanh": lambda x: s.scaled(s.call("tanh", s.scaled(x, b)), a),
        "Hardsigmoid": lambda x: s.call("hard_sigmoid", x, alpha=a, beta=b),
    }
    if name not in table:
        raise Refused(f"its activation {name} is not read")
    return table[name]


class Cell:
    """One direction of a recurrent layer."""

    def __init__(self, s: Step, direction: int, names: Sequence[str], hidden: int) -> None:
        self.s, self.kind, self.hidden = s, s.kind, hidden
        count = {"LSTM": 3, "GRU": 2, "RNN": 1}[s.kind]
        offset = direction * count
        alphas, betas = s.attrs.get("activation_alpha", []), s.attrs.get("activation_beta", [])
        self.functions = [activation(s, names[offset + i], alphas[offset + i] if offset + i < len(alphas) else None,
                                     betas[offset + i] if offset + i < len(betas) else None) for i in range(count)]
        self.w, self.r = (self.row(s.input(index), direction) for index in (1, 2))
        bias = s.maybe(3)
        gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[s.kind] * hidden
        both = None if bias is None else self.row(bias, direction)
        self.wb = None if both is None else s.call("slice_axis", both, axis=0, begin=0, end=gates)
        self.rb = None if both is None else s.call("slice_axis", both, axis=0, begin=gates, end=2 * gates)
        peeps = s.maybe(7) if s.kind == "LSTM" else None
        self.peeps = None if peeps is None else self.row(peeps, direction)
        self.clip, self.coupled = s.attrs.get("clip"), bool(s.get("input_forget", 0))
        self.late = bool(s.get("linear_before_reset", 0))

    def row(self, held: Held, direction: int) -> Held:
        """One direction of an array that has all."""
        cut = self.s.call("slice_axis", held, axis=0, begin=direction, end=direction + 1)
        return self.s.reshape(cut, [shape[1:] for shape in cut.shapes])

    def _part(self, held: Held, index: int, axis: int = -1) -> Held:
        size = self.hidden
        return self.s.call("slice_axis", held, axis=held.rank - 1 if axis < 0 else axis, begin=index * size,
                           end=(index + 1) * size)

    def _bounded(self, x: Held) -> Held:
        limit = self.clip
        return x if not limit else self.s.call("clip", x, a_min=-float(limit), a_max=float(limit))

    def _sum(self, *values: Held | None) -> Held:
        given = [value for value in values if value is not None]
        total = given[0]
        for value in given[1:]:
            total = self.s.call("broadcast_add", total, value)
        return total

    def _product(self, x: Held, weight: Held, bias: Held | None) -> Held:
        return self._sum(self.s.call("dot", x, weight, transpose_b=True), bias)

    def step(self, x: Held, states: Sequence[Held]) -> list[Held]:
        """Return the states after one step: x (N, C), states (N, hidden)."""
        return {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}[self.kind](x, states)

    def _rnn(self, x: Held, states: Sequence[Held]) -> list[Held]:
        total = self._sum(self._product(x, self.w, self.wb), self._product(states[0], self.r, self.rb))
        return [self.functions[0](self._bounded(total))]

    def _lstm(self, x: Held, states: Sequence[Held]) -> list[Held]:
        s, (h, c) = self.s, states
        total = self._sum(self._product(x, self.w, self.wb), self._product(h, self.r, self.rb))
        i, o, f, g = (self._part(total, at) for at in range(4))
        f1, f2, f3 = self.functions

        def seen(gate: Held, at: int, cell: Held) -> Held:
            if self.peeps is None:
                return gate
            return self._sum(gate, s.call("broadcast_mul", cell, self._part(self.peeps, at)))

        i = f1(self._bounded(seen(i, 0, c)))
        f = s.call("_rminus_scalar", i, scalar=1.0) if self.coupled else f1(self._bounded(seen(f, 2, c)))
        c = self._sum(s.call("broadcast_mul", f, c), s.call("broadcast_mul", i, f2(self._bounded(g))))
        o = f1(self._bounded(seen(o, 1, c)))
        return [s.call("broadcast_mul", o, f3(c)), c]

    def _gru(self, x: Held, states: Sequence[Held]) -> list[Held]:
        s, h = self.s, states[0]
        f, g = self.functions
        wx = self._product(x, self.w, self.wb)
        rows = [self._part(self.r, at, axis=0) for at in range(3)]
        biases = [None if self.rb is None else self._part(self.rb, at) for at in range(3)]
        z = f(self._bounded(self._sum(self._part(wx, 0), self._product(h, rows[0], biases[0]))))
        r = f(self._bounded(self._sum(self._part(wx, 1), self._product(h, rows[1], biases[1]))))
        if self.late:
            inner = s.call("broadcast_mul", r, self._product(h, rows[2], biases[2]))
        else:
            inner = self._product(s.call("broadcast_mul", r, h), rows[2], biases[2])
        n = g(self._bounded(self._sum(self._part(wx, 2), inner)))
        kept = s.call("broadcast_mul", z, h)
        return [self._sum(s.call("broadcast_mul", s.call("_rminus_scalar", z, scalar=1.0), n), kept)]


def unrolled(s: Step, x: Held, names: Sequence[str], hidden: int, first: Sequence[Held],
             backwards: Sequence[bool]) -> tuple[Held, list[Held]]:
    """Return the outputs (T, directions, N, hidden) and last states (directions, N, hidden) of x (T, N, C)."""
    length = x.size(0)
    if length > 1000 or not length:
        raise Refused(f"{length} steps are not written out one by one")
    rows = [s.reshape(s.call("slice_axis", x, axis=0, begin=t, end=t + 1), [shape[1:] for shape in x.shapes])
            for t in range(length)]
    outputs: list[Held] = []
    lasts: list[list[Held]] = [[] for _ in first]
    for direction, back in enumerate(backwards):
        cell = Cell(s, direction, names, hidden)
        states = [cell.row(state, direction) for state in first]
        column: list[Held] = [x] * length
        for t in reversed(range(length)) if back else range(length):
            moved = cell.step(rows[t], states)
            column[t], states = _masked(s, t, moved, states)
        outputs.append(s.call("stack", *column, axis=0))
        for place, state in zip(lasts, states):
            place.append(state)
    return s.call("stack", *outputs, axis=1), [s.call("stack", *place, axis=0) for place in lasts]


def _masked(s: Step, t: int, moved: Sequence[Held], states: Sequence[Held]) -> tuple[Held, list[Held]]:
    """A sequence that has ended keeps its states, and gives out zeros."""
    lengths = s.maybe(4)
    if lengths is None:
        return moved[0], list(moved)
    going = s.call("expand_dims", s.call("_greater_scalar", s.cast(lengths, "float32"), scalar=float(t)), axis=1)
    mask = s.call("broadcast_like", s.cast(going, moved[0].dtype), moved[0])
    kept = [s.call("where", mask, new, old) for new, old in zip(moved, states)]
    return s.call("broadcast_mul", moved[0], mask), kept
