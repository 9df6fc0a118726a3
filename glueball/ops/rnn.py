"""RNN: the fused recurrent operator (rnn_relu, rnn_tanh, lstm, gru) over whole sequences, layers and directions.

The one idea: MXNet's packed parameter vector is cut into views that torch's fused kernels take as they are, because
the gates stand in the same order (LSTM i, f, c, o; GRU r, z, n, the reset applied after the hidden product). Data are
(T, N, C), states (layers·directions, N, H).

The last, hidden result serves the gradient of compiled graphs: it holds the dropout mask between layers and, in train
mode, carries torch's tape of this very call, so that the backward operator need not run the sequence again; whoever
loses the tape pays for one more forward pass and gets the same numbers. Cells that are unrolled step by step are in
gluon/rnn.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, final

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ..base.errors import ArgumentError, ShapeError, UnsupportedError, explain
from .dropout import draw, dropped
from .opdef import REQUIRED, Grad, OpDef, Tensor, TensorType, Training, Value, operator, unsupported
from .rnn_parameters import GATES, Attrs, cut, direction_count, parameter_count, parameter_shapes, state_width
from .rules.check import A, S, check
from .rules.infer import InferRule, unify

_KERNELS: dict[str, Any] = {
    "rnn_relu": torch.rnn_relu,
    "rnn_tanh": torch.rnn_tanh,
    "lstm": torch.lstm,
    "gru": torch.gru,
}


# ---- the forward pass
def _verify(data: Tensor, state: Tensor, cell: Tensor | None, attrs: Attrs) -> None:
    """Refuse what the kernels cannot do, in words."""
    mode = attrs["mode"]
    if mode not in GATES:
        raise ArgumentError(explain("RNN", "Unknown mode.", expected=" or ".join(GATES), received=repr(mode)))
    if any(attrs[name] is not None for name in ("lstm_state_clip_min", "lstm_state_clip_max")):
        raise UnsupportedError(
            explain(
                "RNN",
                "Clipping of the cell state is not available in the fused kernels.",
                received="lstm_state_clip_min/max",
                fix="unroll an LSTMCell and clip its state",
            )
        )
    if attrs["projection_size"] and mode != "lstm":
        raise ArgumentError(
            explain("RNN", "Only the LSTM has a projection.", expected="mode='lstm'", received=f"mode={mode!r}")
        )
    if data.dim() != 3:
        raise ShapeError(
            explain(
                "RNN",
                "The data must have three axes.",
                expected="(sequence, batch, features)",
                received=tuple(data.shape),
            )
        )
    layers = attrs["num_layers"] * direction_count(attrs)
    wanted = [("state", state, state_width(attrs))] + (
        [("state_cell", cell, attrs["state_size"])] if mode == "lstm" else []
    )
    for name, value, width in wanted:
        if value is None:
            raise ArgumentError(
                explain(
                    "RNN",
                    f"The input {name!r} is missing.",
                    expected="an array for the state of an LSTM's cells",
                    received="None",
                )
            )
        if tuple(value.shape) != (layers, data.shape[1], width):
            raise ShapeError(
                explain(
                    "RNN",
                    f"The {name} has the wrong shape.",
                    expected=f"(layers·directions, batch, width) = {(layers, data.shape[1], width)}",
                    received=tuple(value.shape),
                )
            )


@final
class _Packing:
    """Sequences of different lengths, packed as torch's kernels take them: step by step, the longest sequence first."""

    def __init__(self, data: Tensor, lengths: Tensor) -> None:
        self._lengths = lengths.detach().to("cpu", torch.int64)
        self._steps = data.shape[0]
        packed = pack_padded_sequence(data, self._lengths, enforce_sorted=False)
        self.data, self.batch_sizes = packed.data, packed.batch_sizes
        self._order: Any = packed.sorted_indices
        self._back: Any = packed.unsorted_indices

    def pack(self, data: Tensor) -> Tensor:
        """Return the valid steps of other data (T, N, …) in this packing's order."""
        return pack_padded_sequence(data, self._lengths, enforce_sorted=False).data

    def unpack(self, flow: Tensor) -> Tensor:
        """Return (T, N, …) with zeros after the end of each sequence."""
        packed = PackedSequence(flow, self.batch_sizes, self._order, self._back)
        return pad_packed_sequence(packed, total_length=self._steps)[0]

    def sort(self, state: Tensor) -> Tensor:
        """Bring the batch axis of a state into this packing's order."""
        return state.index_select(1, self._order)

    def unsort(self, state: Tensor) -> Tensor:
        """Bring the batch axis of a state back."""
        return state.index_select(1, self._back)


def _call(
    flow: Tensor, packing: _Packing | None, initial: Any, weights: list[Tensor], layers: int, attrs: Attrs
) -> Any:
    """Call torch's kernel for some layers; its dropout is never used, because the mask is ours."""
    kernel = _KERNELS[attrs["mode"]]
    has_biases, dropout, train = True, 0.0, torch.is_grad_enabled()
    options = (has_biases, layers, dropout, train, attrs["bidirectional"])
    with warnings.catch_warnings() if attrs["projection_size"] else nullcontext():
        if attrs["projection_size"]:  # that oneDNN has none is no news to the user
            warnings.filterwarnings("ignore", "LSTM with projections")
        if packing is None:
            return kernel(flow, initial, weights, *options, False)
        return kernel(flow, packing.batch_sizes, initial, weights, *options)


def _run(
    data: Tensor,
    parameters: Tensor,
    state: Tensor,
    cell: Tensor | None,
    lengths: Tensor | None,
    mask: Tensor,
    attrs: Attrs,
) -> list[Tensor]:
    """Return [output, last state (, last cell state)]; a mask that is not empty multiplies what each layer but the
    last gives out."""
    layers, directions = cut(parameters, data.shape[2], attrs), direction_count(attrs)
    packing = None if lengths is None else _Packing(data, lengths)
    flow = data if packing is None else packing.data
    states = [s if packing is None else packing.sort(s) for s in (state, cell) if s is not None]
    ranges = [(0, len(layers))] if mask.numel() == 0 else [(i, i + 1) for i in range(len(layers))]
    finals: list[Sequence[Tensor]] = []
    for first, last in ranges:
        if first:
            kept = mask[first - 1]
            flow = flow * (kept if packing is None else packing.pack(kept))
        initial = [s[first * directions : last * directions] for s in states]
        weights = [piece for layer in layers[first:last] for piece in layer]
        flow, *final = _call(flow, packing, initial if len(initial) > 1 else initial[0], weights, last - first, attrs)
        finals.append(final)
    ends = [
        finals[0][i] if len(finals) == 1 else torch.cat([final[i] for final in finals], 0) for i in range(len(states))
    ]
    return [flow, *ends] if packing is None else [packing.unpack(flow), *[packing.unsort(end) for end in ends]]


def _mask(data: Tensor, attrs: Attrs, training: bool) -> Tensor:
    """Draw the dropout mask between layers, (layers - 1, T, N, width·directions), or an empty array where nothing is
    dropped."""
    rate = attrs["p"]
    if not training or rate <= 0 or attrs["num_layers"] < 2:
        return data.new_empty(0)
    shape = (attrs["num_layers"] - 1, *data.shape[:2], state_width(attrs) * direction_count(attrs))
    return dropped(data.new_ones(shape), draw(), rate)


def _visible(attrs: Attrs) -> int:
    return (3 if attrs["mode"] == "lstm" else 2) if attrs["state_outputs"] else 1


@final
class _RNNShapes(InferRule):
    """Output (T, N, width·directions), last states like the initial ones, and the mask."""

    def forward(self, op: OpDef, attrs: Attrs, ins: Sequence[TensorType], training: bool) -> list[TensorType]:
        shapes = _fill(attrs, [t.shape for t in ins])
        for given, found, name in zip(ins, shapes, op.present_inputs(attrs)):
            unify(given.shape, found, f"RNN ({name})")
        return self._results(attrs, ins[0].shape, ins[0].dtype, training)

    def partial(
        self, op: OpDef, attrs: Attrs, ins: Sequence[TensorType], outs: Sequence[TensorType]
    ) -> tuple[list[TensorType], list[TensorType]]:
        shape = ins[0].shape
        if shape is None or len(shape) != 3:
            return list(ins), list(outs)
        found = self._results(attrs, shape, ins[0].dtype, False)[:-1]
        joined = [TensorType(unify(o.shape, f.shape, op.name), f.dtype or o.dtype) for o, f in zip(outs, found)]
        return list(ins), [*joined, *outs[len(joined) :]]

    @staticmethod
    def _results(attrs: Attrs, shape: Any, dtype: Any, training: bool) -> list[TensorType]:
        directions, width, layers = direction_count(attrs), state_width(attrs), attrs["num_layers"]
        rows = layers * directions
        output = (shape[0], shape[1], width * directions)
        ends = [(rows, shape[1], width), (rows, shape[1], attrs["state_size"])][: _visible(attrs) - 1]
        mask = (
            (layers - 1, shape[0], shape[1], width * directions) if training and attrs["p"] > 0 and layers > 1 else (0,)
        )
        return [TensorType(s, dtype) for s in (output, *ends, mask)]


def _fill(attrs: Attrs, shapes: Sequence[Any]) -> list[Any]:
    """Complete parameters and states from the data's shape."""
    data = shapes[0]
    if len(data) != 3:
        raise ShapeError(
            explain("RNN", "The data must have three axes.", expected="(sequence, batch, features)", received=data)
        )
    rows = attrs["num_layers"] * direction_count(attrs)
    found: list[Any] = [
        data,
        None if data[2] is None else (parameter_count(attrs, data[2]),),
        (rows, data[1], state_width(attrs)),
    ]
    if attrs["mode"] == "lstm":
        found.append((rows, data[1], attrs["state_size"]))
    if attrs["use_sequence_length"]:
        found.append((data[1],))
    return [*found, *shapes[len(found) :]]


# ---- the reference, one step at a time in NumPy
def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _np_step(
    mode: str, x: np.ndarray, h: np.ndarray, c: np.ndarray, w: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """One step of one layer; `w` is i2h weight, h2h weight, (projection,) i2h bias, h2h bias."""
    left, right = x @ w[0].T + w[-2], h @ w[1].T + w[-1]
    if mode == "gru":
        (r1, z1, n1), (r2, z2, n2) = np.split(left, 3, -1), np.split(right, 3, -1)
        update = _sigmoid(z1 + z2)
        return (1 - update) * np.tanh(n1 + _sigmoid(r1 + r2) * n2) + update * h, c
    if mode == "lstm":
        i, f, g, o = np.split(left + right, 4, -1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        out = _sigmoid(o) * np.tanh(c)
        return (out @ w[2].T if len(w) == 5 else out), c
    return (np.tanh(left + right) if mode == "rnn_tanh" else np.maximum(left + right, 0)), c


def _np_rnn(
    data: np.ndarray,
    parameters: np.ndarray,
    state: np.ndarray,
    state_cell: np.ndarray | None = None,
    sequence_length: np.ndarray | None = None,
    **given: Any,
) -> Any:
    attrs = {**RNN.defaults, **given}
    shapes = parameter_shapes(attrs, data.shape[2])
    pieces = [
        p.reshape(s) for p, s in zip(np.split(parameters, np.cumsum([int(np.prod(s)) for s in shapes])[:-1]), shapes)
    ]
    per, count, directions = (
        3 if attrs["projection_size"] else 2,
        attrs["num_layers"] * direction_count(attrs),
        direction_count(attrs),
    )
    steps, batch = data.shape[:2]
    lengths = np.full(batch, steps) if sequence_length is None else sequence_length.astype(int)
    cells = np.zeros((count, batch, attrs["state_size"])) if state_cell is None else state_cell
    ends_h, ends_c = state.copy(), cells.copy()
    flow = data
    for layer in range(attrs["num_layers"]):
        outs = []
        for direction in range(directions):
            unit = layer * directions + direction
            weights = [
                *pieces[per * unit : per * unit + per],
                *pieces[per * count + 2 * unit : per * count + 2 * unit + 2],
            ]
            out = np.zeros((steps, batch, state_width(attrs)))
            for n in range(batch):
                h, c = state[unit, n], cells[unit, n]
                for t in range(lengths[n]) if direction == 0 else range(lengths[n] - 1, -1, -1):
                    h, c = _np_step(attrs["mode"], flow[t, n], h, c, weights)
                    out[t, n] = h
                ends_h[unit, n], ends_c[unit, n] = h, c
            outs.append(out)
        flow = np.concatenate(outs, -1)
    return (flow, ends_h, ends_c)[: _visible(attrs)]


def _sample(mode: str, inputs: int = 3, **attrs: Any) -> Any:
    full: dict[str, Any] = {
        "mode": mode,
        "state_size": 4,
        "num_layers": 1,
        "bidirectional": False,
        "projection_size": None,
        **attrs,
    }
    rows = full["num_layers"] * direction_count(full)
    arrays: list[Any] = [
        A(5, 2, inputs),
        A(parameter_count(full, inputs), low=-0.5, high=0.5),
        A(rows, 2, state_width(full)),
    ]
    arrays.append(A(rows, 2, 4) if mode == "lstm" else None)
    if full.get("use_sequence_length"):
        arrays.append(np.array([5.0, 3.0], np.float32))
    while arrays[-1] is None:
        arrays.pop()
    return S(*arrays, **{k: v for k, v in full.items() if v is not None})


# ---- the operators
@operator(
    outputs=lambda attrs: _visible(attrs) + 1,
    visible=_visible,
    output_names=("output", "state_output", "statecell_output"),
    infer=_RNNShapes(),
    random=True,
    nondiff=("sequence_length",),
    when={"state_cell": lambda a: a["mode"] == "lstm", "sequence_length": lambda a: a["use_sequence_length"]},
    check=check(
        _sample("lstm", state_outputs=True),
        _sample("lstm", num_layers=2, bidirectional=True, state_outputs=True),
        _sample("gru"),
        _sample("gru", num_layers=2, bidirectional=True, state_outputs=True),
        _sample("rnn_tanh", num_layers=2, state_outputs=True),
        _sample("rnn_relu", bidirectional=True),
        _sample("lstm", projection_size=2, num_layers=2, state_outputs=True),
        _sample("lstm", use_sequence_length=True, num_layers=2, bidirectional=True, state_outputs=True),
        _sample("gru", use_sequence_length=True, state_outputs=True),
        ref=_np_rnn,
        rtol=1e-4,
        atol=1e-5,
        second_order=False,
        errors=[
            ((A(5, 2, 3), A(10), A(1, 2, 4)), {"mode": "gru", "state_size": 4, "num_layers": 1}, "wrong length"),
            ((A(5, 2, 3), A(10), A(1, 3, 4)), {"mode": "gru", "state_size": 4, "num_layers": 1}, "wrong shape"),
            ((A(5, 2), A(10), A(1, 2, 4)), {"mode": "gru", "state_size": 4, "num_layers": 1}, "three axes"),
            ((A(5, 2, 3), A(10), A(1, 2, 4)), {"mode": "mlp", "state_size": 4, "num_layers": 1}, "Unknown mode"),
        ],
    ),
)
def RNN(
    data: Tensor,
    parameters: Tensor,
    state: Tensor,
    state_cell: Tensor | None = None,
    sequence_length: Tensor | None = None,
    state_size: int = REQUIRED,
    num_layers: int = REQUIRED,
    bidirectional: bool = False,
    mode: str = REQUIRED,
    p: float = 0.0,
    state_outputs: bool = False,
    projection_size: int | None = None,
    lstm_state_clip_min: float | None = None,
    lstm_state_clip_max: float | None = None,
    lstm_state_clip_nan: bool = False,
    use_sequence_length: bool = False,
    *,
    training: Training = False,
) -> Any:
    """Run a recurrent network over whole sequences.

    data (T, N, C) → output (T, N, directions·width); with `state_outputs` also the last state (layers·directions, N,
    width) and, for mode "lstm", the last cell state (layers·directions, N, state_size); width is `projection_size`,
    or `state_size` without one. In train mode a share `p` of what each layer but the last gives out is set to 0. With
    `use_sequence_length` sequence n ends after sequence_length[n] steps: later outputs are 0, and the last state is
    that of its last step.
    """
    attrs = {
        "state_size": state_size,
        "num_layers": num_layers,
        "bidirectional": bidirectional,
        "mode": mode,
        "p": p,
        "projection_size": projection_size,
        "lstm_state_clip_min": lstm_state_clip_min,
        "lstm_state_clip_max": lstm_state_clip_max,
    }
    _verify(data, state, state_cell, attrs)
    mask = _mask(data, attrs, training)
    lengths = sequence_length if use_sequence_length else None
    count = _visible({**attrs, "state_outputs": state_outputs})
    if not training or torch.is_grad_enabled() or torch.is_inference_mode_enabled():
        return (*_run(data, parameters, state, state_cell, lengths, mask, attrs)[:count], mask)
    leaves, results = _taped(data, parameters, state, state_cell, lengths, mask, attrs)
    mask.tape = (leaves, results)  # type: ignore[attr-defined]  # an attribute of the tensor object: see the file's first lines
    return (*(result.detach() for result in results[:count]), mask)


def _taped(
    data: Tensor,
    parameters: Tensor,
    state: Tensor,
    cell: Tensor | None,
    lengths: Tensor | None,
    mask: Tensor,
    attrs: Attrs,
) -> tuple[list[Tensor], list[Tensor]]:
    """Run with torch's tape on; return the leaves to differentiate by, and the results."""
    leaves = [t.detach().requires_grad_() for t in (data, parameters, state, cell) if t is not None]
    with torch.enable_grad():
        return leaves, _run(
            leaves[0], leaves[1], leaves[2], leaves[3] if cell is not None else None, lengths, mask, attrs
        )


RNN.fill(_fill)


@RNN.grad
def _(c: Grad) -> Value:
    cell = c.attrs["mode"] == "lstm"
    state_cell = c.ins[3] if cell else None
    lengths = c.ins[-1] if c.attrs["use_sequence_length"] else None
    grads = [*c.grads[: _visible(c.attrs)], None, None][:3]
    wanted = [*c.needs[:3], cell and c.needs[3]]
    result = _rnn_backward(
        c.ins[0],
        c.ins[1],
        c.ins[2],
        c.outs[-1],
        state_cell,
        lengths,
        *grads,
        **{k: v for k, v in c.attrs.items() if k in _rnn_backward.attr_by_name},
        given="".join("01"[g is not None] for g in grads),
        wanted="".join("01"[bool(need)] for need in wanted),
    )
    found = iter([result] if sum(wanted) == 1 else result)
    return [next(found) if need else None for need in wanted][: len(c.ins)] + [None] * (len(c.ins) - 4)


@final
class _BackwardShapes(InferRule):
    """Gradients have the shapes of data, parameters, state and cell state."""

    def forward(self, op: OpDef, attrs: Attrs, ins: Sequence[TensorType], training: bool) -> list[TensorType]:
        kinds = [*ins[:3], ins[4] if attrs["mode"] == "lstm" else ins[0]]
        return [kind for kind, need in zip(kinds, attrs["wanted"]) if need == "1"]


def _sample_backward(mode: str) -> Any:
    """Inputs of the backward operator, with gradients of the output and of the last state."""
    sample = _sample(mode)
    data, parameters, state, *rest = sample.inputs
    grads = [A(5, 2, 4), A(1, 2, 4), None]
    attrs = {k: v for k, v in sample.attrs.items() if k != "state_outputs"}
    attrs.update(given="110", wanted="1111" if mode == "lstm" else "1110")
    return S(data, parameters, state, np.zeros(0), *(rest or [None]), None, *grads, grad=False, **attrs)


def _backward_law(inputs: Sequence[Any], outputs: Sequence[np.ndarray], attrs: Attrs) -> bool:
    """Whether the gradients predict what a small step does to the weighted sum of the results."""
    given = {k: v for k, v in attrs.items() if k not in ("given", "wanted")}
    starts = [np.asarray(x, np.float64) for x in (*inputs[:3], inputs[4]) if x is not None]
    weights = [np.asarray(g, np.float64) for g in inputs[6:8]]
    steps = [np.cos(np.arange(x.size)).reshape(x.shape) for x in starts]

    def total(size: float) -> float:
        results = _np_rnn(*[x + size * step for x, step in zip(starts, steps)], state_outputs=True, **given)
        return sum(float((r * w).sum()) for r, w in zip(results, weights))

    slope = (total(1e-5) - total(-1e-5)) / 2e-5
    return bool(
        np.isclose(
            slope, sum(float((np.asarray(g) * step).sum()) for g, step in zip(outputs, steps)), rtol=1e-3, atol=1e-3
        )
    )


def _grad_given(position: int) -> Any:
    return lambda attrs: attrs["given"][position] == "1"


@operator(
    outputs=lambda attrs: attrs["wanted"].count("1"),
    infer=_BackwardShapes(),
    gradient=unsupported(
        "second derivatives of the fused kernels; unroll a cell to differentiate twice in a compiled graph"
    ),
    when={
        "state_cell": lambda a: a["mode"] == "lstm",
        "sequence_length": lambda a: a["use_sequence_length"],
        "grad": _grad_given(0),
        "grad_state": _grad_given(1),
        "grad_cell": _grad_given(2),
    },
    check=check(
        _sample_backward("gru"),
        _sample_backward("lstm"),
        law=_backward_law,
        ref="finite differences of the NumPy network: the law",
    ),
)
def _rnn_backward(
    data: Tensor,
    parameters: Tensor,
    state: Tensor,
    mask: Tensor,
    state_cell: Tensor | None = None,
    sequence_length: Tensor | None = None,
    grad: Tensor | None = None,
    grad_state: Tensor | None = None,
    grad_cell: Tensor | None = None,
    state_size: int = REQUIRED,
    num_layers: int = REQUIRED,
    bidirectional: bool = False,
    mode: str = REQUIRED,
    projection_size: int | None = None,
    use_sequence_length: bool = False,
    given: str = "100",
    wanted: str = "1111",
) -> Any:
    """Compute the gradients of RNN for those of data, parameters, state and cell state that are wanted."""
    attrs = {
        "state_size": state_size,
        "num_layers": num_layers,
        "bidirectional": bidirectional,
        "mode": mode,
        "projection_size": projection_size,
    }
    tape = getattr(mask, "tape", None)
    leaves, results = tape or _taped(
        data, parameters, state, state_cell, sequence_length if use_sequence_length else None, mask, attrs
    )
    leaves = [leaf for leaf, need in zip(leaves, wanted) if need == "1"]
    pairs = [(r, g) for r, g in zip(results, (grad, grad_state, grad_cell)) if g is not None]
    if not pairs:
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    found: Any = torch.autograd.grad(
        [r for r, _ in pairs], leaves, [g for _, g in pairs], retain_graph=True, allow_unused=True
    )
    return tuple(torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, found))
