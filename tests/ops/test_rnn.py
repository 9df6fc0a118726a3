"""RNN beyond the operator matrix: its gradient rule, the tape that spares a second forward pass, dropout, padded
sequences, and what inference finds out. Numbers of MXNet are in tests/parity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_matrix import Differentiation, run, tensors_of

from glueball import autograd, gluon, nd, sym
from glueball.base.errors import MXNetError
from glueball.executor import plan
from glueball.ops import rnn as module
from glueball.ops.opdef import TABLE
from glueball.ops.rnn_parameters import parameter_count, parameter_shapes

RNN = TABLE["RNN"]
SAMPLES = range(len(RNN.check.samples))


def attrs_of(mode: str, **more: object) -> dict[str, object]:
    return {"mode": mode, "state_size": 3, "num_layers": 1, "bidirectional": False, "projection_size": None, **more}


def arrays_of(attrs: dict[str, object], steps: int = 4, batch: int = 2, inputs: int = 5) -> list[torch.Tensor]:
    rows = attrs["num_layers"] * (2 if attrs["bidirectional"] else 1)
    made = [torch.randn(steps, batch, inputs), torch.randn(parameter_count(attrs, inputs)) * 0.3]
    made += [torch.randn(rows, batch, 3)] * (2 if attrs["mode"] == "lstm" else 1)
    return made


@pytest.mark.parametrize("index", SAMPLES)
def test_gradient_rule_is_the_derivative(index: int) -> None:
    problem = Differentiation(RNN, RNN.check.samples[index])
    truth = problem.slope(problem.value)
    leaves = problem.leaves()
    assert problem.along(problem.rule_gradients(leaves)) == pytest.approx(truth, rel=1e-4, abs=1e-6)
    assert problem.along(problem.tape_gradients(problem.leaves())) == pytest.approx(truth, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("mode", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
def test_kept_tape_and_second_forward_agree(mode: str) -> None:
    attrs = attrs_of(mode, num_layers=2, p=0.4)
    data, parameters, state, *cell = arrays_of(attrs)
    with torch.no_grad():
        results = RNN.kernel(
            data, parameters, state, *(cell or [None]), None, state_outputs=True, training=True, **attrs
        )
        mask = results[-1]
        assert mask.shape == (1, 4, 2, 3) and mask.tape is not None
        options = {k: v for k, v in attrs.items() if k != "p"}
        grads = [torch.randn_like(r) for r in results[:-1]] + [None] * (4 - len(results))
        inputs = (data, parameters, state)
        kept = module._rnn_backward.kernel(*inputs, mask, *(cell or [None]), None, *grads, **options)
        again = module._rnn_backward.kernel(*inputs, mask.clone(), *(cell or [None]), None, *grads, **options)
    for a, b in zip(kept, again):
        torch.testing.assert_close(a, b)


def test_compiled_training_runs_the_sequence_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = module._taped
    monkeypatch.setattr(plan, "SMALL", 0)  # a plan of its own, not torch's tape
    monkeypatch.setattr(module, "_taped", lambda *args: calls.append(1) or real(*args))
    layer = gluon.rnn.LSTM(4, num_layers=2, dropout=0.5)
    layer.initialize()
    layer.hybridize()
    with autograd.record():
        total = layer(nd.ones((3, 2, 5))).sum()
    total.backward()
    assert len(calls) == 1


def test_dropout_acts_between_layers_in_train_mode_only() -> None:
    attrs = attrs_of("gru", num_layers=2, p=1.0)
    data, parameters, state = arrays_of(attrs)
    options = {"state_outputs": False, **attrs}
    predicted = RNN.kernel(data, parameters, state, None, None, training=False, **options)[0]
    kept = RNN.kernel(data, parameters, state, None, None, training=False, **{**options, "p": 0.0})[0]
    trained = RNN.kernel(data, parameters, state, None, None, training=True, **options)[0]
    other = RNN.kernel(data * 2, parameters, state, None, None, training=True, **options)[0]
    assert torch.equal(predicted, kept)
    assert not torch.equal(trained, kept)
    assert torch.equal(trained, other)  # everything that the first layer gave out was dropped


@settings(max_examples=20)
@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    mode=st.sampled_from(["lstm", "gru"]),
    both=st.booleans(),
)
def test_padded_sequences_are_run_one_by_one(lengths: list[int], mode: str, both: bool) -> None:
    attrs = attrs_of(mode, bidirectional=both, num_layers=2)
    data, parameters, state, *cell = arrays_of(attrs, steps=5, batch=len(lengths))
    results = RNN.kernel(
        data,
        parameters,
        state,
        *(cell or [None]),
        torch.tensor(lengths),
        use_sequence_length=True,
        state_outputs=True,
        **attrs,
    )
    for n, length in enumerate(lengths):
        one = slice(n, n + 1)
        states = [s[:, one].contiguous() for s in (state, *cell)]
        alone = RNN.kernel(
            data[:length, one].contiguous(),
            parameters,
            *(states if cell else [*states, None]),
            None,
            state_outputs=True,
            **attrs,
        )
        torch.testing.assert_close(results[0][:length, one], alone[0], rtol=1e-4, atol=1e-5)
        assert not results[0][length:, one].any()
        for whole, end in zip(results[1:-1], alone[1:-1]):
            torch.testing.assert_close(whole[:, one], end, rtol=1e-4, atol=1e-5)


@settings(max_examples=25)
@given(
    mode=st.sampled_from(["lstm", "gru", "rnn_tanh"]),
    layers=st.integers(1, 3),
    both=st.booleans(),
    inputs=st.integers(1, 4),
)
def test_parameter_shapes_fill_the_vector(mode: str, layers: int, both: bool, inputs: int) -> None:
    attrs = attrs_of(mode, num_layers=layers, bidirectional=both)
    count = sum(int(np.prod(shape)) for shape in parameter_shapes(attrs, inputs))
    assert count == parameter_count(attrs, inputs)
    graph = sym.RNN(sym.Variable("x"), state_size=3, num_layers=layers, mode=mode, bidirectional=both, name="r")
    shapes = dict(zip(graph.list_arguments(), graph.infer_shape(x=(4, 2, inputs))[0]))
    assert shapes["r_parameters"] == (count,)
    assert shapes["r_state"] == (layers * (2 if both else 1), 2, 3)


def test_an_unknown_piece_follows_from_the_whole() -> None:
    data = sym.Variable("x")
    pieces = [
        sym.Variable(name, shape=shape) for name, shape in (("w", (6, 0)), ("u", (6, 6)), ("b", (6,)), ("c", (6,)))
    ]
    flat = [sym.reshape(piece, shape=(-1,)) for piece in pieces]
    graph = sym.RNN(data, sym._internal._rnn_param_concat(*flat, dim=0), state_size=6, num_layers=1, mode="rnn_tanh")
    shapes = dict(zip(graph.list_arguments(), graph.infer_shape(x=(4, 2, 5))[0]))
    assert shapes["w"] == (6, 5)


@pytest.mark.parametrize(
    ("given_attrs", "text"),
    [
        ({"mode": "lstm", "lstm_state_clip_min": -1.0}, "unroll an LSTMCell"),
        ({"mode": "gru", "projection_size": 2}, "Only the LSTM has a projection"),
        ({"mode": "lstm"}, "'state_cell' is missing"),
    ],
)
def test_what_it_refuses(given_attrs: dict[str, object], text: str) -> None:
    attrs = {"state_size": 3, "num_layers": 1, **given_attrs}
    with pytest.raises(MXNetError, match=text):
        nd.RNN(nd.ones((4, 2, 5)), nd.ones((9,)), nd.ones((1, 2, 3)), **attrs)


def test_samples_run_without_gradient_tape() -> None:
    for sample in RNN.check.samples:
        arrays = Differentiation(RNN, sample).arrays
        with torch.no_grad():
            assert all(not t.requires_grad for t in run(RNN, sample, tensors_of(arrays)))
