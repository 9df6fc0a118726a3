"""Recurrent cells: unrolling, states, composition, modifiers, and what they refuse. Numbers of MXNet are in
tests/parity; here are the laws: a layer is its unrolled cells, padding changes nothing, compiled is imperative."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import autograd, gluon, nd, sym
from glueball.base.errors import ArgumentError, MXNetError
from glueball.gluon import contrib, rnn

CELLS: dict[str, Any] = {
    "RNNCell": lambda: rnn.RNNCell(4),
    "RNNCell relu": lambda: rnn.RNNCell(4, activation="relu"),
    "RNNCell function": lambda: rnn.RNNCell(4, activation=lambda x: x * 0.5),
    "LSTMCell": lambda: rnn.LSTMCell(4),
    "LSTMCell other activations": lambda: rnn.LSTMCell(4, activation="relu", recurrent_activation="tanh"),
    "GRUCell": lambda: rnn.GRUCell(4),
    "LSTMPCell": lambda: contrib.rnn.LSTMPCell(6, 4),
    "ResidualCell": lambda: rnn.ResidualCell(rnn.GRUCell(3)),
    "ZoneoutCell": lambda: rnn.ZoneoutCell(rnn.LSTMCell(4), 0.3, 0.3),
    "VariationalDropoutCell": lambda: contrib.rnn.VariationalDropoutCell(rnn.LSTMCell(4), 0.3, 0.3, 0.3),
    "Sequential": lambda: stack(rnn.SequentialRNNCell(), rnn.LSTMCell(5), rnn.DropoutCell(0.3), rnn.GRUCell(4)),
    "HybridSequential": lambda: stack(rnn.HybridSequentialRNNCell(), rnn.LSTMCell(5), rnn.RNNCell(4)),
}


def stack(container: Any, *cells: Any) -> Any:
    for cell in cells:
        container.add(cell)
    return container


def numbers(value: Any) -> np.ndarray:
    return np.stack([v.asnumpy() for v in value]) if isinstance(value, (list, tuple)) else value.asnumpy()


def ready(name: str, inputs: int = 3) -> Any:
    cell = CELLS[name]()
    cell.initialize(mx.init.Uniform(0.5))
    cell.unroll(1, nd.ones((1, 1, inputs)))
    return cell


@pytest.mark.parametrize("name", CELLS)
def test_unroll_is_stepping(name: str) -> None:
    cell, x = ready(name), nd.random.uniform(shape=(2, 4, 3))
    outputs, states = cell.unroll(4, x, merge_outputs=True)
    cell.reset()
    own = cell.begin_state(batch_size=2)
    for t in range(4):
        output, own = cell(x[:, t], own)
        assert np.allclose(output.asnumpy(), outputs.asnumpy()[:, t], atol=1e-6)
    for a, b in zip(states, own):
        assert np.allclose(a.asnumpy(), b.asnumpy(), atol=1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_layouts_and_lists(name: str) -> None:
    cell, x = ready(name), nd.random.uniform(shape=(2, 4, 3))
    merged = cell.unroll(4, x, merge_outputs=True)[0]
    assert merged.shape == (2, 4, merged.shape[2])
    steps = [x[:, t] for t in range(4)]
    listed = cell.unroll(4, steps)[0]
    assert isinstance(listed, list) and np.allclose(numbers(listed), merged.asnumpy().swapaxes(0, 1), atol=1e-6)
    assert isinstance(cell.unroll(4, x, merge_outputs=False)[0], list)
    timed = cell.unroll(4, x.swapaxes(0, 1), layout="TNC", merge_outputs=True)[0]
    assert np.allclose(timed.asnumpy(), merged.asnumpy().swapaxes(0, 1), atol=1e-6)


@settings(max_examples=15)
@given(
    name=st.sampled_from(sorted(set(CELLS) - {"ZoneoutCell"})),
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
)
def test_padding_changes_nothing(name: str, lengths: list[int]) -> None:
    cell, x = ready(name), nd.random.uniform(shape=(len(lengths), 4, 3))
    outputs, states = cell.unroll(4, x, valid_length=nd.array(lengths))
    for n, length in enumerate(lengths):
        alone, ends = cell.unroll(length, x[n : n + 1, :length], merge_outputs=True)
        assert np.allclose(outputs.asnumpy()[n, :length], alone.asnumpy()[0], atol=1e-5)
        assert not outputs.asnumpy()[n, length:].any()
        for state, end in zip(states, ends):
            assert np.allclose(state.asnumpy()[n], end.asnumpy()[0], atol=1e-5)


class Unrolled(gluon.HybridBlock):
    """A cell inside a network that is compiled."""

    def __init__(self, cell: Any, begin: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cell, self._begin = cell, begin

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        begin = self.cell.begin_state(batch_size=0, func=F.zeros) if self._begin and F is sym else None
        outputs, states = self.cell.unroll(4, x, begin_state=begin, merge_outputs=True)
        return outputs, states[0]


@pytest.mark.parametrize("begin", [False, True])
@pytest.mark.parametrize("name", sorted(set(CELLS) - {"Sequential"}))
def test_compiled_is_imperative(name: str, begin: bool) -> None:
    net = Unrolled(ready(name), begin)
    for batch in (2, 3):
        x = nd.random.uniform(shape=(batch, 4, 3))
        results = []
        for active in (False, True):
            net.hybridize(active)
            x.attach_grad()
            with autograd.record(train_mode=False):
                out, state = net(x)
                loss = (out * out).sum() + state.sum()
            loss.backward()
            results.append((out.asnumpy(), state.asnumpy(), x.grad.asnumpy()))
        for a, b in zip(*results):
            assert np.allclose(a, b, atol=1e-5)


@settings(max_examples=12)
@given(
    kind=st.sampled_from(["RNN", "LSTM", "GRU"]),
    layers=st.integers(1, 2),
    both=st.booleans(),
    layout=st.sampled_from(["TNC", "NTC"]),
)
def test_a_layer_is_its_unfused_cells(kind: str, layers: int, both: bool, layout: str) -> None:
    layer = getattr(rnn, kind)(3, num_layers=layers, bidirectional=both, layout=layout, dropout=0.3)
    layer.initialize(mx.init.Uniform(0.5))
    x = nd.random.uniform(shape=(4, 2, 5) if layout == "TNC" else (2, 4, 5))
    fused = layer(x)
    unrolled = layer._unfuse().unroll(4, x, layout=layout, merge_outputs=True)[0]
    assert np.allclose(fused.asnumpy(), unrolled.asnumpy(), atol=1e-5)


def test_bidirectional_is_both_ways() -> None:
    left, right = rnn.GRUCell(3, prefix="l_"), rnn.GRUCell(3, prefix="r_")
    both = rnn.BidirectionalCell(left, right)
    both.initialize(mx.init.Uniform(0.5))
    x = nd.random.uniform(shape=(2, 4, 5))
    outputs, states = both.unroll(4, x, merge_outputs=True)
    forward = left.unroll(4, x, merge_outputs=True)[0].asnumpy()
    backward = right.unroll(4, x[:, ::-1], merge_outputs=True)[0].asnumpy()[:, ::-1]
    assert np.allclose(outputs.asnumpy(), np.concatenate([forward, backward], 2), atol=1e-6)
    assert len(states) == 2
    padded = both.unroll(4, x, valid_length=nd.array([2, 4]))[0].asnumpy()
    alone = both.unroll(2, x[:1, :2], merge_outputs=True)[0].asnumpy()
    assert np.allclose(padded[0, :2], alone[0], atol=1e-6) and not padded[0, 2:].any()


def test_zoneout_keeps_and_changes() -> None:
    cell = rnn.ZoneoutCell(rnn.RNNCell(200), zoneout_outputs=0.5)
    cell.initialize(mx.init.Uniform(0.5))
    x = nd.random.uniform(shape=(1, 2, 5))
    with autograd.record():
        first, second = cell.unroll(2, x)[0]
    plain = cell.base_cell
    plain._modified = False
    raw_first, raw_second = plain.unroll(2, x)[0]
    kept = (first == 0).asnumpy()  # zoned out at the first step: the previous output is zeros
    assert 0.2 < kept.mean() < 0.8
    same = second.asnumpy() == first.asnumpy()
    assert 0.2 < same.mean() < 0.8
    assert np.allclose(first.asnumpy()[kept == 0], raw_first.asnumpy()[kept == 0])
    assert np.allclose(second.asnumpy()[~same], raw_second.asnumpy()[~same])


def test_variational_dropout_keeps_its_masks_within_a_sequence() -> None:
    cell = contrib.rnn.VariationalDropoutCell(rnn.RNNCell(50), drop_outputs=0.5)
    cell.initialize(mx.init.Uniform(0.5))
    x = nd.random.uniform(0.5, 1, shape=(2, 4, 5))
    with autograd.record():
        first = cell.unroll(4, x, merge_outputs=True)[0].asnumpy()
        second = cell.unroll(4, x, merge_outputs=True)[0].asnumpy()
    dropped = first == 0
    assert 0.2 < dropped.mean() < 0.8
    assert (dropped == dropped[:, :1]).all()
    assert not np.array_equal(dropped, second == 0)


def test_dropout_cell() -> None:
    cell = rnn.DropoutCell(0.5)
    x = nd.ones((2, 3, 4))
    assert cell.unroll(3, x)[0] is not None and not cell.state_info()
    with autograd.record():
        dropped = cell.unroll(3, x, merge_outputs=True)[0].asnumpy()
    assert set(np.unique(dropped)) <= {0.0, 2.0}
    assert np.array_equal(cell.unroll(3, x, merge_outputs=True)[0].asnumpy(), x.asnumpy())


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_convolutional_cells_with_kernels_of_one_are_plain_cells(kind: str, dims: int) -> None:
    """On images of one pixel the convolutions are products of matrices."""
    cell = getattr(contrib.rnn, f"Conv{dims}D{kind}Cell")((2, *(1,) * dims), 3, 1, 1)
    plain = getattr(rnn, f"{kind}Cell")(3, input_size=2)
    for c in (cell, plain):
        c.initialize(mx.init.Uniform(0.5))
    for name, parameter in plain._collect_params_with_prefix().items():
        parameter.set_data(cell._collect_params_with_prefix()[name].data().reshape(parameter.shape))
    x = nd.random.uniform(shape=(2, 4, 2))
    ours = cell.unroll(4, x.reshape((2, 4, 2, *(1,) * dims)), merge_outputs=True)[0].asnumpy()
    assert np.allclose(ours.reshape(2, 4, 3), plain.unroll(4, x, merge_outputs=True)[0].asnumpy(), atol=1e-5)


def test_convolutional_cells_keep_channels_last() -> None:
    cell = contrib.rnn.Conv2DLSTMCell((5, 6, 2), 3, 3, 3, i2h_pad=1, conv_layout="NHWC")
    assert cell.state_info(4) == [{"shape": (4, 5, 6, 3), "__layout__": "NHWC"}] * 2
    assert cell.i2h_weight.shape == (12, 3, 3, 2)


def test_names_and_shapes() -> None:
    cell = rnn.LSTMCell(4, prefix="lstm_")
    assert list(cell.collect_params()) == ["lstm_i2h_weight", "lstm_h2h_weight", "lstm_i2h_bias", "lstm_h2h_bias"]
    assert cell.i2h_weight.shape == (16, 0)
    cell.initialize()
    cell(nd.ones((2, 7)), cell.begin_state(batch_size=2))
    assert cell.i2h_weight.shape == (16, 7) and repr(cell) == "LSTMCell(7 -> 16)"
    output, _ = cell(sym.Variable("x"), [sym.Variable("h"), sym.Variable("c")])
    assert output.list_arguments() == [
        "x",
        "lstm_i2h_weight",
        "lstm_i2h_bias",
        "h",
        "lstm_h2h_weight",
        "lstm_h2h_bias",
        "c",
    ]


def test_begin_state_of_any_kind() -> None:
    cell = rnn.LSTMCell(4)
    assert [s.shape for s in cell.begin_state(batch_size=3)] == [(3, 4), (3, 4)]
    assert cell.begin_state(3, func=nd.ones, dtype="float64")[0].asnumpy().tolist() == [[1.0] * 4] * 3
    assert cell.begin_state(3, ctx=mx.cpu(1))[1].context == mx.cpu(1)
    assert [s.name for s in cell.begin_state(func=sym.Variable)] == [f"{cell.prefix}begin_state_{i}" for i in (6, 7)]


def test_weights_can_be_shared() -> None:
    first = rnn.GRUCell(4, input_size=3)
    second = rnn.GRUCell(4, input_size=3, params=first.params)
    first.initialize()
    x = nd.ones((2, 3))
    states = first.begin_state(batch_size=2)
    assert np.array_equal(first(x, states)[0].asnumpy(), second(x, states)[0].asnumpy())


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: rnn.BidirectionalCell(rnn.RNNCell(2), rnn.RNNCell(2))(nd.ones((1, 2)), []),
            NotImplementedError,
            "use unroll",
        ),
        (
            lambda: rnn.ZoneoutCell(rnn.BidirectionalCell(rnn.RNNCell(2), rnn.RNNCell(2))),
            ArgumentError,
            "around each of the two cells",
        ),
        (lambda: rnn.DropoutCell("0.5"), ArgumentError, "must be a number"),
        (lambda: rnn.LSTMCell(0), ArgumentError, "hidden size must be positive"),
        (lambda: rnn.LSTMCell(4).begin_state(), ArgumentError, "known batch size"),
        (lambda: rnn.LSTMCell(4).unroll(3, nd.ones((2, 4, 5))), ArgumentError, r"3 steps on axis 1"),
        (lambda: rnn.LSTMCell(4).unroll(3, [nd.ones((2, 5))]), ArgumentError, "3 inputs"),
        (lambda: rnn.LSTMCell(4).unroll(3, nd.ones((2, 3, 5)), layout="NC"), ArgumentError, "'NTC' or 'TNC'"),
        (lambda: contrib.rnn.Conv2DRNNCell((2, 5, 5), 3, 3, 2), ArgumentError, "odd numbers"),
        (lambda: contrib.rnn.Conv2DRNNCell((2, 5), 3, 3, 3), ArgumentError, "3 sizes"),
        (lambda: rnn.RecurrentCell().begin_state(2), NotImplementedError, "state_info"),
        (
            lambda: contrib.rnn.VariationalDropoutCell(rnn.BidirectionalCell(rnn.RNNCell(2), rnn.RNNCell(2)), 0, 0.5),
            ArgumentError,
            "is not stepped",
        ),
    ],
)
def test_what_is_refused(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_a_modified_cell_is_used_through_its_modifier() -> None:
    cell = rnn.GRUCell(3)
    residual = rnn.ResidualCell(cell)
    assert residual.begin_state(batch_size=2)[0].shape == (2, 3)
    with pytest.raises(MXNetError, match="put into a modifier"):
        cell.begin_state(batch_size=2)


class Counter(rnn.HybridRecurrentCell):
    """A cell of one's own: adds up its inputs."""

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        return [{"shape": (batch_size, 3), "__layout__": "NC"}]

    def hybrid_forward(self, F: Any, x: Any, states: Any) -> Any:
        total = x + states[0]
        return total, [total]


@pytest.mark.parametrize("active", [False, True])
def test_a_cell_of_ones_own(active: bool) -> None:
    cell = Counter()
    cell.hybridize(active)
    x = nd.random.uniform(shape=(2, 4, 3))
    outputs, states = cell.unroll(4, x, merge_outputs=True)
    assert np.allclose(outputs.asnumpy(), np.cumsum(x.asnumpy(), 1), atol=1e-6)
    assert np.allclose(states[0].asnumpy(), x.asnumpy().sum(1), atol=1e-6)
